// Memory: the buffers behind arrays, the caching allocator and its statistics and limits.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>

#include "cermet/ref.h"

namespace cermet {

// Raised when an allocation would pass the memory limit or the system refuses it.
class OutOfMemory : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A block of memory with a reference count. It goes back to the allocator's cache, or to the owner
// it was borrowed from, with its last reference.
class Buffer : public RefCounted {
 public:
  Buffer(void* data, std::size_t bytes, std::size_t capacity, std::function<void()> give_back)
      : data_(data), bytes_(bytes), capacity_(capacity), give_back_(std::move(give_back)) {}
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  std::size_t capacity() const { return capacity_; }
  // Borrowed memory belongs to someone else and is never written.
  bool borrowed() const { return capacity_ == 0; }

 private:
  void* data_;
  std::size_t bytes_, capacity_;
  std::function<void()> give_back_;
};

// At least `bytes` bytes, aligned to 64 (large ones to a page). Throws OutOfMemory.
Ref<Buffer> allocate(std::size_t bytes);
// Wraps memory that someone else owns; `give_back` runs when the last reference is gone.
Ref<Buffer> borrow(const void* data, std::size_t bytes, std::function<void()> give_back);

std::size_t get_active_memory();
std::size_t get_peak_memory();
void reset_peak_memory();
std::size_t get_cache_memory();
// Bytes that arrays may hold before an allocation raises OutOfMemory. Returns the limit before.
std::size_t set_memory_limit(std::size_t limit);
std::size_t get_memory_limit();
// Bytes of free memory kept for reuse. Returns the limit before.
std::size_t set_cache_limit(std::size_t limit);
// Bytes of arrays that the system is to keep where the GPU finds them at once; none at first.
// Returns the limit before. std::invalid_argument above what device_info recommends; without a GPU
// it does nothing and returns 0.
std::size_t set_wired_limit(std::size_t limit);
void clear_cache();

}  // namespace cermet
