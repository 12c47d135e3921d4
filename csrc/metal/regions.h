// The allocator's memory as the GPU has it.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "eval/memory.h"
#include "metal/device.h"

namespace cermet::metal {

// Regions are mapped once, when the GPU first uses them, until they go. Up to a limit they are
// wired: the system keeps them where the GPU finds them, however long it does not use them.
class Regions {
 public:
  explicit Regions(Device& device) : device_(device) {}

  // OutOfMemory where the device has no room for it.
  std::shared_ptr<Memory> map(const MemoryRegion& region);
  void forget(const void* key);
  // Bytes to wire; none at first. Gives the limit before.
  std::size_t set_wired_limit(std::size_t limit);

 private:
  struct Mapped {
    std::shared_ptr<Memory> memory;
    std::size_t bytes;
    bool wired = false;
  };
  std::shared_ptr<Memory> try_map(const MemoryRegion& region);
  void wire_what_fits(Mapped& mapped);
  void unwire(Mapped& mapped);

  Device& device_;
  std::mutex mutex_;
  std::map<const void*, Mapped> mapped_;  // by the key
  std::size_t wired_ = 0, limit_ = 0;     // bytes
};
// Those of device().
Regions& regions();

}  // namespace cermet::metal
