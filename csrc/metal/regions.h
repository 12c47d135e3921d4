// The allocator's memory as the GPU has it.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "eval/memory.h"
#include "metal/device.h"

namespace cermet::metal {

// Regions are mapped once, when the GPU first uses them. Up to a limit they are wired: the system
// keeps them where the GPU finds them, however long it does not use them.
class Regions {
 public:
  explicit Regions(Device& device) : device_(device) {}

  std::shared_ptr<Memory> map(const MemoryRegion& region);
  void forget(void* region);
  // Bytes to wire; none at first. Gives the limit before.
  std::size_t set_wired_limit(std::size_t limit);

 private:
  struct Mapped {
    std::shared_ptr<Memory> memory;
    std::size_t bytes;
    bool wired = false;
  };
  void wire_what_fits(Mapped& mapped);
  void unwire(Mapped& mapped);

  Device& device_;
  std::mutex mutex_;
  std::map<void*, Mapped> mapped_;
  std::size_t wired_ = 0, limit_ = 0;  // bytes
};
// Those of device().
Regions& regions();

}  // namespace cermet::metal
