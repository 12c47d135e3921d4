// The caching allocator. A freed block waits in a list of its size class: on a server or a virtual
// machine the page faults of a fresh block cost more than the arithmetic on it. Small blocks are
// cut from slabs, so that a GPU has to map few regions.
#include "eval/memory.h"

#include "cermet/memory.h"
#include "graph/context.h"
#include "graph/fork.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <set>
#include <vector>

namespace cermet {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;   // from here on blocks are whole huge pages
constexpr std::size_t kPage = std::size_t{16} << 10;  // Apple's, the largest
constexpr std::size_t kSlab = std::size_t{1} << 20;   // blocks below a page are cut from these
constexpr std::size_t kKept = std::size_t{64} << 20;  // free memory that is never too much

// How much larger than asked for a free block may be, and all memory than what arrays held at most.
constexpr std::size_t with_a_quarter(std::size_t bytes) { return bytes + bytes / 4; }
constexpr std::size_t with_a_half(std::size_t bytes) { return bytes + bytes / 2; }

// Stands at the start of a slab, which is aligned to its size.
struct alignas(64) Slab {
  std::size_t capacity;  // of its blocks
  std::size_t held = 0;  // blocks in use or waiting; the others are spare
  std::size_t next = 1;  // the first block never used; block 0 holds this (see block())

  std::byte* block(std::size_t i) {
    return reinterpret_cast<std::byte*>(this) + sizeof(Slab) + (i - 1) * capacity;
  }
  bool is_full() { return block(next + 1) > reinterpret_cast<std::byte*>(this) + kSlab; }
};
Slab& slab_of(void* block) {
  return *reinterpret_cast<Slab*>(reinterpret_cast<std::uintptr_t>(block) & ~(kSlab - 1));
}
bool is_small(std::size_t capacity) { return capacity < kPage; }

// Sizes are rounded up so that at most an eighth is wasted and similar sizes share blocks.
std::size_t round_up(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = bytes > kHuge ? std::max(kHuge / 8, std::bit_floor(bytes) / 64)
                                         : std::max<std::size_t>(64, std::bit_floor(bytes) / 8);
  if (bytes > std::numeric_limits<std::size_t>::max() - step) return bytes;
  return (bytes + step - 1) / step * step;
}

// Told of regions that go back to the system, and of blocks whose bytes mean nothing any more.
std::atomic<void (*)(void*)> release_hook{nullptr};
std::atomic<void (*)(void*, std::size_t)> reused_hook{nullptr};

std::atomic<std::size_t> allocation_gap{0};

class Allocator {
 public:
  Ref<Buffer> allocate(std::size_t bytes) {
    const std::size_t gap = allocation_gap.load(std::memory_order_relaxed);
    std::size_t capacity = round_up(std::max(bytes, bytes + gap));  // the sum may wrap
    void* data = nullptr;
    {
      std::scoped_lock lock(mutex_of(Lock::memory));
      if (capacity > limit_ || active_ > limit_ - capacity) fail(bytes);
      data = take(capacity);
      active_ += capacity;
      peak_ = std::max(peak_, active_);
      high_ = std::max(high_, active_);
      // What is free and fits nothing, as an array that grows leaves behind, must not add up.
      if (!data) trim(std::min(limit_, std::max(with_a_half(high_), active_ + kKept)) - active_);
    }
    if (!data) data = fresh(capacity);
    if (!data) {  // the system refuses: give back what waits, then try once more
      std::scoped_lock lock(mutex_of(Lock::memory));
      trim(0);
      data = is_small(capacity) ? take(capacity) : fresh(capacity);
    }
    if (!data) {
      std::scoped_lock lock(mutex_of(Lock::memory));
      active_ -= capacity;
      fail(bytes);
    }
    return Ref<Buffer>(new Buffer(data, bytes, capacity, nullptr));
  }

  void free(void* data, std::size_t capacity) {
    if (auto* hook = reused_hook.load()) hook(data, capacity);
    {
      std::scoped_lock lock(mutex_of(Lock::memory));
      active_ -= capacity;
      cached_ += capacity;
      Waiting& waiting = waiting_[capacity];
      waiting.blocks.push_back(data);
      waiting.used = ++clock_;
      if (cached_ > cache_limit_) trim(cache_limit_);
    }
  }

  void clear() {
    std::scoped_lock lock(mutex_of(Lock::memory));
    trim(0);
    high_ = active_;
  }

  std::size_t get(std::size_t Allocator::* field) {
    std::scoped_lock lock(mutex_of(Lock::memory));
    return this->*field;
  }
  std::size_t set(std::size_t Allocator::* field, std::size_t value) {
    std::scoped_lock lock(mutex_of(Lock::memory));
    const std::size_t before = std::exchange(this->*field, value);
    if (cached_ > cache_limit_) trim(cache_limit_);
    return before;
  }
  void reset_peak() {
    std::scoped_lock lock(mutex_of(Lock::memory));
    peak_ = 0;
  }

  std::size_t active_ = 0, cached_ = 0, peak_ = 0;
  std::size_t limit_ = system_memory(), cache_limit_ = limit_ / 2;

 private:
  [[noreturn]] void fail(std::size_t bytes) const {
    throw OutOfMemory("out of memory: " + std::to_string(bytes) + " bytes asked for, " +
                      std::to_string(active_) + " in use, the limit is " + std::to_string(limit_));
  }

  // A free block. A large one may have more bytes than were asked for: `capacity` becomes its own.
  void* take(std::size_t& capacity) {
    const std::size_t most =
        is_small(capacity) ? capacity : std::min(with_a_quarter(capacity), limit_ - active_);
    for (auto it = waiting_.lower_bound(capacity); it != waiting_.end() && it->first <= most;
         ++it) {
      auto& [blocks, used] = it->second;
      if (blocks.empty()) continue;
      void* data = blocks.back();
      blocks.pop_back();
      used = ++clock_;
      cached_ -= capacity = it->first;
      return data;
    }
    if (!is_small(capacity)) return nullptr;
    std::vector<void*>& spare = spare_[capacity];
    void* data = spare.empty() ? cut(capacity) : spare.back();
    if (!spare.empty()) spare.pop_back();
    if (data) ++slab_of(data).held;
    return data;
  }

  struct Waiting {
    std::vector<void*> blocks;
    std::uint64_t used = 0;  // when one came or went
  };
  using Classes = std::map<std::size_t, Waiting>;  // by capacity

  // A block never used before.
  void* cut(std::size_t capacity) {
    Slab*& slab = cutting_[capacity];
    if (!slab || slab->is_full()) {
      void* memory = std::aligned_alloc(kSlab, kSlab);
      if (!memory) return nullptr;
      slab = new (memory) Slab{capacity};
    }
    return slab->block(slab->next++);
  }

  // The class of large blocks that was not used for longest; without any, one of small blocks.
  Classes::iterator least_used() {
    auto found = waiting_.end();
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it)
      if (!it->second.blocks.empty() && (found == waiting_.end() || is_small(found->first) ||
                                         it->second.used < found->second.used))
        found = it;
    return found;
  }

  // Gives back waiting blocks until at most `target` bytes wait. A small one becomes spare: its
  // slab goes when none of its blocks is in use.
  void trim(std::size_t target) {
    std::set<Slab*> unused;
    while (cached_ > target) {
      const auto it = least_used();
      const std::size_t capacity = it->first;
      std::vector<void*>& blocks = it->second.blocks;
      for (; cached_ > target && !blocks.empty(); cached_ -= capacity) {
        void* data = blocks.back();
        blocks.pop_back();
        if (!is_small(capacity)) {
          release(data);
          continue;
        }
        spare_[capacity].push_back(data);
        if (--slab_of(data).held == 0) unused.insert(&slab_of(data));
      }
    }
    for (Slab* slab : unused) {
      const std::size_t capacity = slab->capacity;
      std::erase_if(spare_[capacity], [&](void* block) { return &slab_of(block) == slab; });
      if (cutting_[capacity] == slab) cutting_[capacity] = nullptr;
      release(slab);
    }
  }

  static void release(void* data) {
    if (auto* hook = release_hook.load()) hook(data);
    std::free(data);
  }

  static void* fresh(std::size_t capacity) {
    if (is_small(capacity)) return nullptr;
    const bool huge = capacity >= kHuge;
    const std::size_t alignment = huge ? kHuge : kPage;
    if (capacity > std::numeric_limits<std::size_t>::max() - alignment) return nullptr;
    void* data = std::aligned_alloc(alignment, (capacity + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
    if (data && huge) madvise(data, capacity, MADV_HUGEPAGE);
#endif
    return data;
  }

  std::size_t high_ = 0;  // the most that arrays held
  std::uint64_t clock_ = 0;
  Classes waiting_;
  std::map<std::size_t, std::vector<void*>> spare_;  // of slabs, uncounted
  std::map<std::size_t, Slab*> cutting_;             // where the next block of a capacity is cut
};

// Never destroyed: arrays may outlive every static object.
Allocator& allocator() {
  static Allocator* const a = new Allocator;
  return *a;
}

}  // namespace

Region region_of(const Buffer& buffer) {
  if (buffer.borrowed()) return {buffer.data(), buffer.bytes(), false};
  if (is_small(buffer.capacity())) return {&slab_of(buffer.data()), kSlab, true};
  return {buffer.data(), buffer.capacity(), true};
}
void set_allocation_gap(std::size_t bytes) { allocation_gap = bytes; }
void set_memory_hooks(void (*released)(void*), void (*reused)(void*, std::size_t)) {
  release_hook = released;
  reused_hook = reused;
}

Ref<Buffer> allocate(std::size_t bytes) { return allocator().allocate(bytes); }
Ref<Buffer> context::allocate(std::size_t bytes) { return cermet::allocate(bytes); }
void context::release(void* data, std::size_t capacity) { allocator().free(data, capacity); }

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
void clear_cache() { allocator().clear(); }

}  // namespace cermet
