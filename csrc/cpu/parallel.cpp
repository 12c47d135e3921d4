// The thread pool behind parallel_for.
//
// A loop is a job on the caller's stack. Workers join published jobs, take pieces from an atomic
// counter and leave; the caller works too, then waits for those who joined. On Apple, Grand Central
// Dispatch lends the threads.
#include "cpu/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>
#ifdef __APPLE__
#include <dispatch/dispatch.h>
#endif

#include "cermet/eval.h"
#include "cpu/floating_mode.h"
#include "eval/interrupt.h"
#include "graph/fork.h"

namespace cermet::cpu {
namespace {

using Clock = std::chrono::steady_clock;

struct ThreadState {
  bool in_loop = false;
  int index = 0;
};
thread_local ThreadState t_state;

class Job {
 public:
  Job(std::int64_t n, std::int64_t grain, LoopBody body, int threads)
      : threads(threads), polls_(is_interruptible()), n_(n), grain_(grain), body_(body) {}

  // Takes pieces until none is left, as thread `index` of the loop.
  void work(int index) noexcept {
    const DefaultFloatingMode mode;
    const bool was_in_loop = std::exchange(t_state.in_loop, true);
    const int was_index = std::exchange(t_state.index, index);
    try {
      for (;;) {
        if (index == 0 && polls_) poll_interrupt();
        const std::int64_t b = next_.fetch_add(grain_, std::memory_order_relaxed);
        if (b >= n_) break;
        body_(b, std::min(b + grain_, n_));
      }
    } catch (...) {
      next_.store(n_, std::memory_order_relaxed);
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    t_state.in_loop = was_in_loop;
    t_state.index = was_index;
  }
  bool has_work() const { return next_.load(std::memory_order_relaxed) < n_; }
  // Called when every thread has left.
  void rethrow() {
    if (error_) std::rethrow_exception(error_);
  }

  const int threads;            // that may take part, the caller included
  int joined = 1;               // guarded by the pool's mutex
  std::atomic<int> helpers{0};  // joined and not yet left

 private:
  const bool polls_;
  const std::int64_t n_, grain_;
  const LoopBody body_;
  std::atomic<std::int64_t> next_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;
};

#ifdef __APPLE__

void spread(Job& job) {
  dispatch_apply_f(
      static_cast<std::size_t>(job.threads), DISPATCH_APPLY_AUTO, &job,
      [](void* job, std::size_t i) { static_cast<Job*>(job)->work(static_cast<int>(i)); });
}

#else

// Waits for a condition without sleeping, for about as long as a wake-up costs.
template <class Condition>
bool spin_until(Condition condition) {
  const auto end = Clock::now() + std::chrono::microseconds(30);
  do {
    for (int i = 0; i < 32; ++i) {
      if (condition()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("yield");
#endif
    }
  } while (Clock::now() < end);
  return false;
}

class Pool {
 public:
  // Whether it has its threads.
  bool is_here() const { return generation_ == process_generation(); }
  void run(Job& job) {
    const int wanted = job.threads - 1;
    int to_wake;
    {
      std::lock_guard lock(mutex_);
      try {
        for (; workers_ < wanted; ++workers_) std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {  // fewer do it, too
      }
      jobs_.push_back(&job);
      published_.fetch_add(1, std::memory_order_relaxed);
      to_wake = std::min(wanted, sleeping_);
    }
    while (to_wake-- > 0) wake_.notify_one();
    job.work(0);
    if (!is_here()) restart_evaluation();  // alone, in a forked child
    {
      std::lock_guard lock(mutex_);
      jobs_.erase(std::find(jobs_.begin(), jobs_.end(), &job));
    }
    auto finished = [&] { return job.helpers.load(std::memory_order_acquire) == 0; };
    if (!spin_until(finished)) {
      std::unique_lock lock(mutex_);
      finished_.wait(lock, finished);
    }
  }

 private:
  void serve() {
    become_own_thread();
    const Uninterrupted guard;
    std::unique_lock lock(mutex_);
    for (;;) {
      if (Job* job = find_job()) {
        const int index = job->joined++;
        job->helpers.fetch_add(1, std::memory_order_relaxed);
        lock.unlock();
        job->work(index);
        lock.lock();
        // The job may be gone once it reads zero here.
        if (job->helpers.fetch_sub(1, std::memory_order_acq_rel) == 1) finished_.notify_all();
        continue;
      }
      const auto seen = published_.load(std::memory_order_relaxed);
      lock.unlock();
      const bool more =
          spin_until([&] { return published_.load(std::memory_order_relaxed) != seen; });
      lock.lock();
      if (more || published_.load(std::memory_order_relaxed) != seen) continue;
      ++sleeping_;
      wake_.wait(lock);
      --sleeping_;
    }
  }
  Job* find_job() const {
    for (Job* job : jobs_)
      if (job->joined < job->threads && job->has_work()) return job;
    return nullptr;
  }

  const int generation_ = process_generation();
  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::vector<Job*> jobs_;
  std::atomic<std::uint64_t> published_{0};
  int workers_ = 0, sleeping_ = 0;
};

// Never destroyed, for its threads may outlive main; a forked child, which has none of them, makes
// its own.
std::atomic<Pool*> g_pool{nullptr};

Pool& pool() {
  Pool* expected = g_pool.load(std::memory_order_acquire);
  if (expected && expected->is_here()) return *expected;
  auto fresh = std::make_unique<Pool>();
  if (g_pool.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel))
    return *fresh.release();
  return *expected;
}

void spread(Job& job) { pool().run(job); }

#endif

int default_threads() {
  if (const char* text = std::getenv("CERMET_NUM_THREADS"); text && *text) {
    char* end;
    const long n = std::strtol(text, &end, 10);
    if (*end || n < 1 || n > 4096)
      throw std::invalid_argument("CERMET_NUM_THREADS=" + std::string(text) +
                                  ": expected a number from 1 to 4096");
    return static_cast<int>(n);
  }
#ifdef __linux__
  cpu_set_t set;
  if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0)
    return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{default_threads()};
  return count;
}

}  // namespace

void parallel_for(std::int64_t n, std::int64_t grain, LoopBody body) {
  if (n <= 0) return;
  const DefaultFloatingMode mode;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t pieces = (n - 1) / grain + 1;
  if (pieces == 1) return body(0, n);
  const auto threads = t_state.in_loop ? 1 : std::min<std::int64_t>(pieces, get_num_threads());
  if (threads == 1) {
    for (std::int64_t b = 0; b < n; b += grain) {
      poll_interrupt();
      body(b, std::min(b + grain, n));
    }
    return;
  }
  Job job(n, grain, body, static_cast<int>(threads));
  spread(job);
  job.rethrow();
}

int thread_index() { return t_state.index; }

}  // namespace cermet::cpu

namespace cermet {

int get_num_threads() { return cpu::thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  if (n < 1)
    throw std::invalid_argument("set_num_threads: expected at least 1, got " + std::to_string(n));
  cpu::thread_count().store(n, std::memory_order_relaxed);
}

}  // namespace cermet
