// Locks and the count of generations.
#include "graph/fork.h"

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace cermet {
namespace {

std::atomic<int> generation{0};

struct Locks {
  std::array<std::mutex, static_cast<std::size_t>(Lock::count)> all;

  void release() {
    for (auto it = all.rbegin(); it != all.rend(); ++it) it->unlock();
  }
};
Locks& locks() {
  static Locks* const it = [] {
    pthread_atfork(
        [] {
          for (std::mutex& m : locks().all) m.lock();
        },
        [] { locks().release(); },
        [] {
          ++generation;
          locks().release();
        });
    return new Locks;  // threads may outlive static objects
  }();
  return *it;
}

}  // namespace

std::mutex& mutex_of(Lock lock) { return locks().all[static_cast<std::size_t>(lock)]; }
int process_generation() { return generation.load(std::memory_order_relaxed); }

}  // namespace cermet
