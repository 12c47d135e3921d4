// What a forked child has of its parent's threads: nothing but locks that are free.
#pragma once

#include <cstdint>
#include <mutex>

namespace cermet {

// The locks of the process, in the order in which they may be taken: who holds one takes only those
// after it. A fork takes them all, so that none is held by a thread that the child does not have.
enum class Lock : std::uint8_t {
  random,      // the global state
  graph,       // planning
  workers,     // the threads of streams
  expansions,  // of composites
  running,     // traces under way
  kernels,     // of programs
  batches,     // who waits for one, and its errors
  devices,
  memory,
  count
};
std::mutex& mutex_of(Lock lock);

// How many forks lie between the first process and this one. Threads that were started in another
// generation are not here.
int process_generation();

}  // namespace cermet
