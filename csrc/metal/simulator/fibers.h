// Fibers: stacks of their own for GPU threads, and the switch from one to another, which takes a
// few nanoseconds. A fiber stays on the operating system's thread that resumed it until it is given
// back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace cermet::metal::simulator {

class Fiber {
 public:
  // The stack that the caller already runs on.
  Fiber();
  // A new stack. Fibers of different `colour` keep their frames in different sets of the cache.
  explicit Fiber(unsigned colour);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to this fiber calls `body`, which calls started() first and may not return.
  // What ran on it is forgotten without being unwound.
  void restart(void (*body)());
  static void started();
  // Leaves `from`, which is running, for `to`. Returns when something switches back.
  static void change(Fiber& from, Fiber& to);

  bool on_stack(std::uintptr_t address) const { return address - base_ < bytes_; }

 private:
  void* pointer_ = nullptr;  // the stack pointer while it does not run
  std::uintptr_t base_ = 0;
  std::size_t bytes_ = 0;
  std::size_t unused_ = 0;  // bytes at the top of the stack, by its colour
  bool mapped_ = false;
};

// Fibers that are out of use. Their memory is touched only as far as it is used.
class FiberPool {
 public:
  Fiber* take();
  void give(Fiber* fiber) { free_.push_back(fiber); }

 private:
  std::vector<std::unique_ptr<Fiber>> all_;
  std::vector<Fiber*> free_;
};

}  // namespace cermet::metal::simulator
