// Memory for those below the public header: what the system has, and what a device that maps memory
// has to know of the allocator.
#pragma once

#include <cstddef>
#include <filesystem>

#include "cermet/memory.h"

namespace cermet {

// The bytes that the control groups of this process allow, by the files below `root` ("/"); the
// largest number where nothing does.
std::size_t group_memory_limit(const std::filesystem::path& root);
// What the machine has and the control groups allow.
std::size_t system_memory();

// The memory a buffer lies in, in whole pages of the system's: a block, or a chunk that many share.
struct MemoryRegion {
  void* data;
  std::size_t bytes;
  const void* key;  // that tells when it goes: its start, or the buffer where that has borrowed it
};
MemoryRegion region_of(const Buffer& buffer);

// `released` is called with the key of each region before it goes back to the system or its owner,
// `reused` with each block that is freed, whatever becomes of it.
void set_memory_hooks(void (*released)(const void*), void (*reused)(void*, std::size_t));

// Unused bytes after each buffer allocated from now on, so that a kernel's overrun does not reach a
// neighbour (for sanitizers). 0 at first.
void set_allocation_gap(std::size_t bytes);

}  // namespace cermet
