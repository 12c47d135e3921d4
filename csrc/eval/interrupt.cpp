#include "eval/interrupt.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "cermet/eval.h"
#include "graph/fork.h"

namespace cermet {
namespace {

// A clock that is fast to read and may be some milliseconds late.
std::int64_t milliseconds() {
#ifdef CLOCK_MONOTONIC_COARSE
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1000000;
#else
  using std::chrono::steady_clock, std::chrono::milliseconds, std::chrono::duration_cast;
  return duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
#endif
}

thread_local bool interruptible = true;
thread_local bool own_thread = false;
thread_local bool ends_process = false;
thread_local std::int64_t asked = 0;
thread_local Evaluation* current = nullptr;

std::atomic<bool (*)()> g_check{nullptr};
std::atomic<void* (*)()> g_unlock{nullptr};
std::atomic<void (*)(void*)> g_lock{nullptr};

// Batches that run now in the threads of a generation.
struct Running {
  std::atomic<int> count{0}, generation{0};
};
std::atomic<bool> ending{false};
Running running;

// A forked child has only the evaluations of the thread that forked.
std::atomic<int>& running_here() {
  const int generation = process_generation();
  if (running.generation.load() != generation) {
    running.generation = generation;
    int depth = 0;
    for (const Evaluation* e = current; e; e = e->outer) ++depth;
    running.count = depth;
  }
  return running.count;
}

// Libraries are taken down behind evaluations that still use them, so they end first.
void end_evaluations() {
  ends_process = true;
  ending = true;
  int mine = 0;
  for (const Evaluation* e = current; e; e = e->outer) ++mine;
  while (running_here() > mine) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

[[noreturn]] void park() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

}  // namespace

bool is_ending() { return ending.load() && !ends_process; }

void poll_interrupt() {
  if (!interruptible) return;
  if (is_ending()) {
    if (!current) park();
    throw Interrupted();
  }
  const auto check = g_check.load(std::memory_order_relaxed);
  if (own_thread || !check) return;
  const std::int64_t now = milliseconds();
  if (now - asked < 20) return;
  asked = now;
  if (check()) {
    if (current) current->withdrawn = false;
    throw Interrupted();
  }
  if (current && current->withdrawn) throw Interrupted();
}

void run_apart(std::function<void()> f) {
  struct Run {
    std::function<void()> f;
    std::mutex mutex{};
    std::condition_variable changed{};
    bool done = false;
    std::exception_ptr error{};
  };
  const auto run = std::make_shared<Run>(std::move(f));
  const int generation = process_generation();
  ++running_here();
  try {
    std::thread([run] {
      become_own_thread();
      try {
        std::exchange(run->f, nullptr)();
      } catch (...) {
        run->error = std::current_exception();
      }
      {
        const std::lock_guard lock(run->mutex);
        run->done = true;
      }
      run->changed.notify_all();
      --running_here();
    }).detach();
  } catch (const std::system_error&) {
    --running_here();
    return run->f();
  }
  for (std::unique_lock lock(run->mutex); !run->done; lock.lock()) {
    run->changed.wait_for(lock, std::chrono::milliseconds(20));
    if (run->done) break;
    lock.unlock();
    poll_interrupt();
    if (generation != process_generation()) restart_evaluation();
  }
  if (run->error) std::rethrow_exception(run->error);
}

Uninterrupted::Uninterrupted() : before_(std::exchange(interruptible, false)) {}
Uninterrupted::~Uninterrupted() { interruptible = before_; }
bool is_interruptible() { return interruptible; }

Evaluation::Evaluation(Batch& batch) : batch(batch), outer(current) {
  static const int registered = std::atexit(end_evaluations);
  (void)registered;
  ++running_here();
  current = this;
  if (is_ending() && !own_thread) {
    --running_here();
    park();
  }
}
Evaluation::~Evaluation() {
  current = outer;
  --running_here();
  if (is_ending() && !own_thread) park();
}
void add_background(int change) { running_here() += change; }
Evaluation* Evaluation::innermost() { return current; }
void restart_evaluation() {
  if (current) current->withdrawn = true;
  throw Interrupted();
}

void become_own_thread() { own_thread = true; }

Unlocked::Unlocked() {
  const auto unlock = g_unlock.load(std::memory_order_acquire);
  state_ = unlock ? unlock() : nullptr;
}
Unlocked::~Unlocked() {
  if (state_) g_lock.load(std::memory_order_acquire)(state_);
}

void set_interrupt_check(bool (*check)()) { g_check.store(check, std::memory_order_relaxed); }
void set_unlocking(void* (*unlock)(), void (*lock)(void*)) {
  g_lock.store(lock, std::memory_order_release);
  g_unlock.store(unlock, std::memory_order_release);
}

}  // namespace cermet
