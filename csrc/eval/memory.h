// What a device that maps memory has to know of the allocator.
#pragma once

#include <cstddef>

#include "cermet/memory.h"

namespace cermet {

// The memory a buffer lies in: a block, or a slab that many small buffers share.
struct Region {
  void* data;
  std::size_t bytes;
  bool owned;  // by the allocator; else it lives as long as the buffer
};
Region region_of(const Buffer& buffer);

// `released` is called with the start of each region before it goes back to the system, `reused`
// with each block that is freed, whatever becomes of it.
void set_memory_hooks(void (*released)(void*), void (*reused)(void*, std::size_t));

// Unused bytes after each buffer allocated from now on, so that a kernel's overrun does not reach a
// neighbour (for sanitizers). 0 at first.
void set_allocation_gap(std::size_t bytes);

}  // namespace cermet
