// The state of the engine: the threads of the threadgroup that runs, and what they wait for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "metal/simulator/engine.h"
#include "metal/simulator/fibers.h"
#include "metal/simulator/sanitizer.h"

namespace cermet::metal::simulator {

inline constexpr std::size_t kValueBytes = 64;  // the most that a lane gives to an operation

struct Thread {
  cermet_thread view;
  Fiber* fiber;       // while it has begun and not ended
  const void* site;   // of the operation it waits for
  unsigned argument;  // of the barrier: its flags; of an operation: the bytes of the lane's value
};

// Sets of lanes, one bit each. A lane that is in none of the first five runs or has ended.
struct Simdgroup {
  std::uint32_t fresh, ready, at_operation, at_barrier, at_threadgroup_barrier;
  std::uint32_t all, abandoned;
  std::uint32_t active;  // the lanes of the operation that completed last
  alignas(64) std::byte exchange[kSimdWidth][kValueBytes];
  alignas(64) std::byte published[kSimdWidth][kValueBytes];

  std::uint32_t runnable() const { return fresh | ready; }
  std::uint32_t at_simd() const { return at_operation | at_barrier; }
  std::uint32_t alive() const { return runnable() | at_simd() | at_threadgroup_barrier; }
};

struct ThreadgroupVariable {
  int id;
  std::size_t offset, bytes;
};

// Threadgroup memory lies in an arena with gaps, so that a check sees where a variable ends. Its
// address space is large and its pages are made when touched.
inline constexpr std::size_t kArenaBytes = std::size_t{64} << 20;
inline constexpr std::size_t kArenaGap = 1024;
inline constexpr int kPoison = 0xff;  // what was not written reads as NaN

// The one global state of the simulator: compiled kernels call back without a context. One dispatch
// holds it at a time.
class Engine {
 public:
  static Engine& instance() {
    static Engine* const engine = new Engine;  // for as long as anything in the process may run
    return *engine;
  }

  void run(const Dispatch& dispatch, const Options& options, Counters& counters);
  void declare(const void* data, std::size_t bytes, bool undefined) {
    const std::lock_guard lock(mutex_);
    sanitizer_.set_undefined(data, bytes, undefined);
  }
  void forget() {
    const std::lock_guard lock(mutex_);
    sanitizer_.forget();
  }

 private:
  Engine();

  void bind(const Dispatch& dispatch);
  void begin_threadgroup(const Dispatch& dispatch, Size position);
  void shape_threadgroup(const Dispatch& dispatch, Size size);

  // The scheduler; it runs on the fibers.
  static void fiber_body();
  void begin(Thread& thread);
  void wait(std::uint32_t Simdgroup::* set, const void* site, unsigned argument);
  Thread* next(std::uint32_t simdgroup);
  void complete(std::uint32_t simdgroup);
  static void publish(Simdgroup& simdgroup, std::uint32_t lanes, unsigned bytes);
  void release_threadgroup_barrier();
  void resume(Thread* thread, Fiber* finished = nullptr);
  void abandon();
  void stop(const char* error, std::size_t limit);

  // What kernels call.
  static cermet_runtime_table runtime_table();
  unsigned long threadgroup_variable(int id, std::size_t bytes, std::size_t alignment);
  std::size_t allocate(std::size_t bytes, std::size_t alignment, std::string name);
  void access(const MemoryAccess& access);

  std::uint32_t index(const Thread& thread) const {
    return static_cast<std::uint32_t>(&thread - threads_.data());
  }

  std::mutex mutex_;
  cermet_runtime_table table_ = runtime_table();
  FiberPool fibers_;
  Sanitizer sanitizer_;
  std::mt19937_64 random_;
  std::vector<Thread> threads_;  // of the largest threadgroup
  std::vector<Simdgroup> simdgroups_;
  std::byte* arena_ = nullptr;

  // The dispatch that runs.
  const KernelInfo* kernel_ = nullptr;
  cermet_thread** library_current_ = nullptr;
  cermet_arguments arguments_{};
  Options options_;
  bool watching_ = false;  // the sanitizer wants to see accesses
  Counters* counters_ = nullptr;
  std::string error_;
  std::vector<ThreadgroupVariable> variables_;
  std::size_t arena_top_ = 0, threadgroup_bytes_ = 0;

  // The threadgroup that runs.
  Size position_, size_, origin_;  // origin: where its first thread is in the grid
  std::uint32_t thread_count_ = 0, simdgroup_count_ = 0, alive_ = 0, abandoned_ = 0;
  Thread* current_ = nullptr;
  Fiber* running_ = nullptr;
  Fiber* main_ = nullptr;  // where run() waits
};

}  // namespace cermet::metal::simulator
