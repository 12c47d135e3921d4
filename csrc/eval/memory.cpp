// The caching allocator. A freed block waits in a list of its size class: on a server or a virtual
// machine the page faults of a fresh block cost more than the arithmetic on it.
#include "cermet/memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <vector>

namespace cermet {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;  // from here on blocks are whole huge pages

// Sizes are rounded up so that at most an eighth is wasted and similar sizes share blocks.
std::size_t round_up(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = bytes > kHuge ? std::max(kHuge / 8, std::bit_floor(bytes) / 64)
                                         : std::max<std::size_t>(64, std::bit_floor(bytes) / 8);
  if (bytes > std::numeric_limits<std::size_t>::max() - step) return bytes;
  return (bytes + step - 1) / step * step;
}

std::size_t physical_memory() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

class Allocator {
 public:
  Ref<Buffer> allocate(std::size_t bytes) {
    const std::size_t capacity = round_up(bytes);
    void* data = nullptr;
    {
      std::scoped_lock lock(mutex_);
      if (capacity > limit_ || active_ > limit_ - capacity) fail(bytes);
      data = take(capacity);
      if (!data && active_ + cached_ + capacity > limit_) trim(limit_ - active_ - capacity);
      active_ += capacity;
      peak_ = std::max(peak_, active_);
    }
    if (!data) data = fresh(capacity);
    if (!data) {  // the system refuses: give back what waits, then try once more
      clear();
      data = fresh(capacity);
    }
    if (!data) {
      std::scoped_lock lock(mutex_);
      active_ -= capacity;
      fail(bytes);
    }
    return Ref<Buffer>(new Buffer(data, bytes, capacity, nullptr));
  }

  void free(void* data, std::size_t capacity) {
    {
      std::scoped_lock lock(mutex_);
      active_ -= capacity;
      cached_ += capacity;
      blocks_[capacity].push_back(data);
      if (cached_ > cache_limit_) trim(cache_limit_);
    }
  }

  void clear() {
    std::scoped_lock lock(mutex_);
    trim(0);
  }

  std::size_t get(std::size_t Allocator::* field) {
    std::scoped_lock lock(mutex_);
    return this->*field;
  }
  std::size_t set(std::size_t Allocator::* field, std::size_t value) {
    std::scoped_lock lock(mutex_);
    const std::size_t before = std::exchange(this->*field, value);
    if (cached_ > cache_limit_) trim(cache_limit_);
    return before;
  }
  void reset_peak() {
    std::scoped_lock lock(mutex_);
    peak_ = 0;
  }

  std::size_t active_ = 0, cached_ = 0, peak_ = 0;
  std::size_t limit_ = physical_memory(), cache_limit_ = physical_memory() / 2, wired_limit_ = 0;

 private:
  [[noreturn]] void fail(std::size_t bytes) const {
    throw OutOfMemory("out of memory: " + std::to_string(bytes) + " bytes asked for, " +
                      std::to_string(active_) + " in use, the limit is " + std::to_string(limit_));
  }

  void* take(std::size_t capacity) {
    const auto it = blocks_.find(capacity);
    if (it == blocks_.end() || it->second.empty()) return nullptr;
    void* data = it->second.back();
    it->second.pop_back();
    cached_ -= capacity;
    return data;
  }

  // Frees the largest waiting blocks until at most `target` bytes wait.
  void trim(std::size_t target) {
    for (auto it = blocks_.end(); cached_ > target && it != blocks_.begin();) {
      --it;
      while (cached_ > target && !it->second.empty()) {
        std::free(it->second.back());
        it->second.pop_back();
        cached_ -= it->first;
      }
    }
  }

  static void* fresh(std::size_t capacity) {
    const bool huge = capacity >= kHuge;
    const std::size_t alignment = huge ? kHuge : 64;
    if (capacity > std::numeric_limits<std::size_t>::max() - alignment) return nullptr;
    void* data = std::aligned_alloc(alignment, (capacity + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
    if (data && huge) madvise(data, capacity, MADV_HUGEPAGE);
#endif
    return data;
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> blocks_;
};

// Never destroyed: arrays may outlive every static object.
Allocator& allocator() {
  static Allocator* const a = new Allocator;
  return *a;
}

}  // namespace

Buffer::~Buffer() {
  if (give_back_)
    give_back_();
  else
    allocator().free(data_, capacity_);
}

Ref<Buffer> allocate(std::size_t bytes) { return allocator().allocate(bytes); }
Ref<Buffer> borrow(const void* data, std::size_t bytes, std::function<void()> give_back) {
  if (!give_back) give_back = [] {};
  return Ref<Buffer>(new Buffer(const_cast<void*>(data), bytes, 0, std::move(give_back)));
}

std::size_t get_active_memory() { return allocator().get(&Allocator::active_); }
std::size_t get_peak_memory() { return allocator().get(&Allocator::peak_); }
void reset_peak_memory() { allocator().reset_peak(); }
std::size_t get_cache_memory() { return allocator().get(&Allocator::cached_); }
std::size_t set_memory_limit(std::size_t limit) {
  return allocator().set(&Allocator::limit_, limit);
}
std::size_t get_memory_limit() { return allocator().get(&Allocator::limit_); }
std::size_t set_cache_limit(std::size_t limit) {
  return allocator().set(&Allocator::cache_limit_, limit);
}
std::size_t set_wired_limit(std::size_t limit) {
  return allocator().set(&Allocator::wired_limit_, limit);
}
void clear_cache() { allocator().clear(); }

}  // namespace cermet
