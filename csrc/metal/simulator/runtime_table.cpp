// What kernels call: operations of threads, and memory.
#include <algorithm>
#include <cstring>

#include "metal/simulator/engine_state.h"

namespace cermet::metal::simulator {

cermet_runtime_table Engine::runtime_table() {
  cermet_runtime_table t;
  t.simd_sync = [](unsigned bytes, const void* site) {
    instance().wait(&Simdgroup::at_operation, site, bytes);
  };
  t.simdgroup_barrier = [](int flags, const void* site) {
    instance().wait(&Simdgroup::at_barrier, site, static_cast<unsigned>(flags));
  };
  t.threadgroup_barrier = [](int flags, const void* site) {
    instance().wait(&Simdgroup::at_threadgroup_barrier, site, static_cast<unsigned>(flags));
  };
  t.threadgroup_variable = [](int id, unsigned long bytes, unsigned long alignment, const void*) {
    return instance().threadgroup_variable(id, bytes, alignment);
  };
  t.max_threads = [](int limit, const void*) {
    Engine& engine = instance();
    if (engine.thread_count_ > static_cast<std::uint32_t>(limit))
      engine.stop("the threadgroup has more threads than max_total_threads_per_threadgroup, ",
                  static_cast<std::size_t>(limit));
  };
  t.atomic = [](unsigned long address, unsigned size, int writes, const void* site) {
    Engine& engine = instance();
    ++engine.counters_->atomics;
    if (engine.watching_)
      engine.access({address, size, writes != 1, writes != 0, true, true, site});
  };
  t.count_macs = [](unsigned long count) { instance().counters_->simdgroup_macs += count; };
  t.access = [](unsigned long address, unsigned long size, int writes, const void* site) {
    const bool write = writes & 1;
    Engine& engine = instance();
    if (engine.watching_) engine.access({address, size, !write, write, false, writes < 2, site});
  };
  return t;
}

unsigned long Engine::threadgroup_variable(int id, std::size_t bytes, std::size_t alignment) {
  auto variable = std::find_if(variables_.begin(), variables_.end(),
                               [&](const ThreadgroupVariable& v) { return v.id == id; });
  if (variable == variables_.end()) {
    const auto offset = allocate(bytes, alignment, "a threadgroup variable");
    if (threadgroup_bytes_ > kThreadgroupBytes)
      stop("more threadgroup memory than the limit of bytes, ", kThreadgroupBytes);
    std::memset(arena_ + offset, kPoison, bytes);
    variable = variables_.insert(variables_.end(), {id, offset, bytes});
  }
  return reinterpret_cast<std::uintptr_t>(arena_ + variable->offset);
}

// The offset of new threadgroup memory in the arena.
std::size_t Engine::allocate(std::size_t bytes, std::size_t alignment, std::string name) {
  const auto round_up = [&](std::size_t n) { return (n + alignment - 1) / alignment * alignment; };
  threadgroup_bytes_ = round_up(threadgroup_bytes_) + bytes;
  const auto offset = round_up(arena_top_ + kArenaGap);
  arena_top_ = offset + bytes;
  if (watching_)
    sanitizer_.add_region({reinterpret_cast<std::uintptr_t>(arena_ + offset), bytes,
                           Space::threadgroup, true, std::move(name)});
  return offset;
}

void Engine::access(const MemoryAccess& access) {
  if (running_->on_stack(access.address)) return;
  if (!sanitizer_.access(access, index(*current_))) abandon();
}

}  // namespace cermet::metal::simulator
