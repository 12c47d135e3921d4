// Mapping and wiring of regions.
#include "metal/regions.h"

#include <utility>

#include "cermet/memory.h"

namespace cermet::metal {

std::shared_ptr<Memory> Regions::map(const MemoryRegion& region) {
  try {
    return try_map(region);
  } catch (const OutOfMemory&) {  // what nobody uses may be mapped, too
    clear_cache();
  }
  return try_map(region);
}

std::shared_ptr<Memory> Regions::try_map(const MemoryRegion& region) {
  const std::scoped_lock lock(mutex_);
  auto [it, is_new] = mapped_.try_emplace(region.key);
  if (is_new) try {
      it->second = {device_.wrap(region.data, region.bytes), region.bytes};
    } catch (...) {
      mapped_.erase(it);
      throw;
    }
  if (is_new) wire_what_fits(it->second);
  return it->second.memory;
}

void Regions::forget(const void* key) {
  std::shared_ptr<Memory> gone;  // its end waits for nobody's lock
  const std::scoped_lock lock(mutex_);
  const auto it = mapped_.find(key);
  if (it == mapped_.end()) return;
  unwire(it->second);
  gone = std::move(it->second.memory);
  mapped_.erase(it);
}

std::size_t Regions::set_wired_limit(std::size_t limit) {
  const std::scoped_lock lock(mutex_);
  const std::size_t before = std::exchange(limit_, limit);
  for (auto& [data, mapped] : mapped_)
    if (wired_ > limit_) unwire(mapped);
  for (auto& [data, mapped] : mapped_) wire_what_fits(mapped);
  return before;
}

void Regions::wire_what_fits(Mapped& mapped) {
  if (mapped.wired || wired_ + mapped.bytes > limit_) return;
  device_.set_resident(*mapped.memory, true);
  mapped.wired = true;
  wired_ += mapped.bytes;
}

void Regions::unwire(Mapped& mapped) {
  if (!mapped.wired) return;
  device_.set_resident(*mapped.memory, false);
  mapped.wired = false;
  wired_ -= mapped.bytes;
}

Regions& regions() {
  static Regions* const r = [] {
    set_memory_hooks(
        [](const void* key) { regions().forget(key); },
        [](void* block, std::size_t bytes) { device()->declare_defined(block, bytes); });
    return new Regions(*device());  // the allocator's hooks use it at any time
  }();
  return *r;
}

}  // namespace cermet::metal
