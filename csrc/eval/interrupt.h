// Stopping an evaluation from outside.
#pragma once

namespace cermet {

// Throws Interrupted when the interrupt check says so (asked at most every 20 ms, a thread).
void poll_interrupt();

// While it lives, this thread does not ask: for work that overwrites what it reads, so that it
// could not be done again, and for threads that help others.
class Uninterrupted {
 public:
  Uninterrupted();
  ~Uninterrupted();
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;

 private:
  const bool before_;
};
// Whether this thread asks.
bool is_interruptible();

}  // namespace cermet
