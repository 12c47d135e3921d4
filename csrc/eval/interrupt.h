// Stopping an evaluation from outside: by the caller's interrupt check, and by the process's end.
#pragma once

#include <functional>

namespace cermet {

class Batch;

// Throws Interrupted when the evaluation is to stop: the interrupt check says so (asked at most
// every 20 ms, and not in threads of our own), or the process ends.
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

// A batch that this thread runs. What the interrupt check calls (a signal's handler) may evaluate,
// too, so there can be several. When the process ends, it waits until none is left.
class Evaluation {
 public:
  explicit Evaluation(Batch& batch);
  ~Evaluation();  // does not return when the process ends
  Evaluation(const Evaluation&) = delete;
  Evaluation& operator=(const Evaluation&) = delete;
  static Evaluation* innermost();

  Batch& batch;
  Evaluation* const outer;
  // It was given back while it ran, to be asked for again: the next poll stops it.
  bool withdrawn = false;
};
// Counts work that goes on without an evaluation; the process's end waits for it, too.
void add_background(int change);
// Stops the innermost evaluation of this thread, which then begins anew: threads that worked for it
// are not in this process.
[[noreturn]] void restart_evaluation();

// Runs f in a thread of its own and waits, so that the caller can be interrupted though f cannot: f
// then goes on alone, and owns all that it uses. Where no thread can start, the caller runs it.
void run_apart(std::function<void()> f);

// Declares this thread one of our own, for which nobody's check is asked.
void become_own_thread();
// Whether the process ends, and this thread with it.
bool is_ending();

// Lets the caller's language let go of its lock while something waits.
class Unlocked {
 public:
  Unlocked();
  ~Unlocked();
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  void* state_;
};

}  // namespace cermet
