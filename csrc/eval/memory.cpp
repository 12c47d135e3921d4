// The caching allocator. A freed block waits in a list of its size class: on a server or a virtual
// machine the page faults of a fresh block cost more than the arithmetic on it. Small blocks are
// cut from slabs; slabs, and blocks below a huge page, from chunks of huge pages, so that a
// processor has to look up few and a GPU to map few. A GPU takes only what the system has mapped,
// not malloc's.
#include "eval/memory.h"

#include "cermet/memory.h"
#include "graph/context.h"
#include "graph/fork.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <bitset>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <new>
#include <utility>

namespace cermet {
namespace {

constexpr std::size_t kHuge = std::size_t{2} << 20;   // from here on blocks are whole huge pages
constexpr std::size_t kPage = std::size_t{16} << 10;  // Apple's, the largest
constexpr std::size_t kSlab = std::size_t{1} << 20;   // blocks below a page are cut from these
constexpr std::size_t kChunk = 8 * kHuge;             // and blocks below a huge page from these
constexpr std::size_t kKept = std::size_t{64} << 20;  // free memory that is never too much

// How much larger than asked for a free block may be, and all memory than what arrays held at most.
constexpr std::size_t with_a_quarter(std::size_t bytes) { return bytes + bytes / 4; }
constexpr std::size_t with_a_half(std::size_t bytes) { return bytes + bytes / 2; }

// Stands at the start of a slab, which is aligned to its size.
struct alignas(64) Slab {
  std::size_t capacity;  // of its blocks
  std::size_t held = 0;  // blocks in use or waiting; the others are spare
  std::size_t next = 1;  // the first block never used; block 0 holds this (see block())
  Slab* next_unused = nullptr;

  std::byte* block(std::size_t i) {
    return reinterpret_cast<std::byte*>(this) + sizeof(Slab) + (i - 1) * capacity;
  }
  bool is_full() { return block(next + 1) > reinterpret_cast<std::byte*>(this) + kSlab; }
};
Slab& slab_of(void* block) {
  return *reinterpret_cast<Slab*>(reinterpret_cast<std::uintptr_t>(block) & ~(kSlab - 1));
}
bool is_small(std::size_t capacity) { return capacity < kPage; }

#ifdef __SANITIZE_ADDRESS__
constexpr bool kWatched = true;  // each block of malloc's for itself
#else
constexpr bool kWatched = false;
#endif
bool is_medium(std::size_t capacity) {
  return !kWatched && !is_small(capacity) && capacity < kHuge;
}

// Memory in huge pages, where the system has any; null if there is none. It comes from the system
// itself, as what goes back to malloc may stay a hole in its heap.
void* map_memory(std::size_t alignment, std::size_t bytes) {
  if (kWatched) return std::aligned_alloc(alignment, bytes);
  if (bytes > std::numeric_limits<std::size_t>::max() - alignment) return nullptr;
  void* const region =
      mmap(nullptr, bytes + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (region == MAP_FAILED) return nullptr;
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(region) % alignment;
  std::byte* const data = static_cast<std::byte*>(region) + before;
  if (before > 0) munmap(region, before);
  if (before < alignment) munmap(data + bytes, alignment - before);
#ifdef MADV_HUGEPAGE
  madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}
void unmap_memory(void* data, std::size_t bytes) {
  kWatched ? std::free(data) : void(munmap(data, bytes));
}
std::size_t whole(std::size_t bytes, std::size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Told of regions that go back to the system, and of blocks whose bytes mean nothing any more.
std::atomic<void (*)(const void*)> release_hook{nullptr};
std::atomic<void (*)(void*, std::size_t)> reused_hook{nullptr};

// Slabs and medium blocks: runs of pages in chunks, the first that is free.
class Chunks {
 public:
  // The chunk that a block lies in.
  static void* chunk_of(const void* block) {
    return reinterpret_cast<void*>(reinterpret_cast<std::uintptr_t>(block) & ~(kChunk - 1));
  }
  // Null without memory for another chunk.
  void* take(std::size_t capacity, std::size_t alignment = kPage) {
    const std::size_t pages = pages_of(capacity), step = alignment / kPage;
    for (Chunk* c = first_; c; c = c->next)
      if (void* const block = c->take(pages, step)) return block;
    void* const memory = map_memory(kChunk, kChunk);
    if (!memory) return nullptr;
    first_ = new (memory) Chunk{first_, {}};
    first_->used.set(0);
    return first_->take(pages, step);
  }
  void give(void* block, std::size_t capacity) {
    const auto address = reinterpret_cast<std::uintptr_t>(block);
    auto* const chunk = static_cast<Chunk*>(chunk_of(block));
    const std::size_t page = (address & (kChunk - 1)) / kPage;
    for (std::size_t i = 0; i < pages_of(capacity); ++i) chunk->used.reset(page + i);
    if (chunk->used.count() > 1) return;
    Chunk** at = &first_;
    while (*at != chunk) at = &(*at)->next;
    *at = chunk->next;
    if (auto* hook = release_hook.load()) hook(chunk);
    unmap_memory(chunk, kChunk);
  }

 private:
  static std::size_t pages_of(std::size_t bytes) { return whole(bytes, kPage) / kPage; }
  // Stands at the start of its memory, which is aligned to its size, and uses a page of it.
  struct Chunk {
    Chunk* next;
    std::bitset<kChunk / kPage> used;

    void* take(std::size_t pages, std::size_t step) {
      for (std::size_t i = 1, run = 0; i < used.size(); ++i) {
        run = used[i] || (run == 0 && i % step != 0) ? 0 : run + 1;
        if (run < pages) continue;
        for (; run > 0; --run) used.set(i + 1 - run);
        return reinterpret_cast<std::byte*>(this) + (i + 1 - pages) * kPage;
      }
      return nullptr;
    }
  };
  Chunk* first_ = nullptr;
};

// Free blocks, each with the link to the next in it: to free memory takes none.
class Stack {
 public:
  bool empty() const { return !top_; }
  void push(void* block) { top_ = new (block) Link{top_}; }
  void* pop() { return top_ ? std::exchange(top_, top_->next) : nullptr; }
  template <class Condition>
  void erase_if(Condition condition) {
    for (Link** at = &top_; *at;)
      condition(*at) ? void(*at = (*at)->next) : void(at = &(*at)->next);
  }

 private:
  struct Link {
    Link* next;
  };
  Link* top_ = nullptr;
};

// Sizes are rounded up so that at most an eighth is wasted and similar sizes share blocks.
std::size_t round_up(std::size_t bytes) {
  if (bytes <= 64) return 64;
  const std::size_t step = bytes > kHuge ? std::max(kHuge / 8, std::bit_floor(bytes) / 64)
                                         : std::max<std::size_t>(64, std::bit_floor(bytes) / 8);
  if (bytes > std::numeric_limits<std::size_t>::max() - step) return bytes;
  return (bytes + step - 1) / step * step;
}

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
      classes_[capacity];
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
      data = take(capacity);
      if (!data) data = fresh(capacity);
    }
    if (!data) {
      std::scoped_lock lock(mutex_of(Lock::memory));
      active_ -= capacity;
      fail(bytes);
    }
    try {
      return Ref<Buffer>(new Buffer(data, bytes, capacity, nullptr));
    } catch (...) {
      free(data, capacity);
      throw;
    }
  }

  void free(void* data, std::size_t capacity) {
    if (auto* hook = reused_hook.load()) hook(data, capacity);
    {
      std::scoped_lock lock(mutex_of(Lock::memory));
      active_ -= capacity;
      cached_ += capacity;
      Class& own = classes_.find(capacity)->second;
      own.waiting.push(data);
      own.used = ++clock_;
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

  // Blocks of a capacity.
  struct Class {
    Stack waiting;
    std::uint64_t used = 0;   // when one came or went
    Stack spare;              // of slabs, uncounted
    Slab* cutting = nullptr;  // where the next one is cut
  };
  using Classes = std::map<std::size_t, Class>;

  // A free block. A large one may have more bytes than were asked for: `capacity` becomes its own.
  void* take(std::size_t& capacity) {
    const std::size_t most =
        is_small(capacity) ? capacity : std::min(with_a_quarter(capacity), limit_ - active_);
    for (auto it = classes_.lower_bound(capacity); it != classes_.end() && it->first <= most;
         ++it) {
      void* const data = it->second.waiting.pop();
      if (!data) continue;
      it->second.used = ++clock_;
      cached_ -= capacity = it->first;
      return data;
    }
    if (is_medium(capacity)) return chunks_.take(capacity);
    if (!is_small(capacity)) return nullptr;
    Class& own = classes_[capacity];
    void* data = own.spare.pop();
    if (!data) data = cut(own, capacity);
    if (data) ++slab_of(data).held;
    return data;
  }

  // A block never used before.
  void* cut(Class& own, std::size_t capacity) {
    if (!own.cutting || own.cutting->is_full()) {
      void* memory = kWatched ? std::aligned_alloc(kSlab, kSlab) : chunks_.take(kSlab, kSlab);
      if (!memory) return nullptr;
      own.cutting = new (memory) Slab{capacity};
    }
    return own.cutting->block(own.cutting->next++);
  }

  // The class of large blocks that was not used for longest; without any, one of small blocks.
  Classes::iterator least_used() {
    auto found = classes_.end();
    for (auto it = classes_.begin(); it != classes_.end(); ++it)
      if (!it->second.waiting.empty() && (found == classes_.end() || is_small(found->first) ||
                                          it->second.used < found->second.used))
        found = it;
    return found;
  }

  // Gives back waiting blocks until at most `target` bytes wait. A small one becomes spare: its
  // slab goes when none of its blocks is in use.
  void trim(std::size_t target) {
    Slab* unused = nullptr;
    while (cached_ > target) {
      const auto it = least_used();
      auto& [capacity, own] = *it;
      for (; cached_ > target && !own.waiting.empty(); cached_ -= capacity) {
        void* const data = own.waiting.pop();
        if (!is_small(capacity)) {
          release(data, capacity);
          continue;
        }
        own.spare.push(data);
        Slab& slab = slab_of(data);
        if (--slab.held == 0) slab.next_unused = std::exchange(unused, &slab);
      }
    }
    for (Slab* slab = unused; slab; slab = slab->next_unused) {
      Class& own = classes_.find(slab->capacity)->second;
      own.spare.erase_if([&](void* block) { return &slab_of(block) == slab; });
      if (own.cutting == slab) own.cutting = nullptr;
    }
    while (unused) release(std::exchange(unused, unused->next_unused), 0);
  }

  // A large or medium block of a capacity, or, without one, a slab.
  void release(void* data, std::size_t capacity) {
    if (is_medium(capacity) || (!kWatched && capacity == 0))
      return chunks_.give(data, std::max(capacity, kSlab * (capacity == 0)));
    if (auto* hook = release_hook.load()) hook(data);
    if (capacity >= kHuge)
      unmap_memory(data, whole(capacity, kHuge));
    else
      std::free(data);
  }

  static void* fresh(std::size_t capacity) {
    if (is_small(capacity) || is_medium(capacity)) return nullptr;
    if (capacity > std::numeric_limits<std::size_t>::max() - kHuge) return nullptr;
    return capacity < kHuge ? std::aligned_alloc(kPage, whole(capacity, kPage))
                            : map_memory(kHuge, whole(capacity, kHuge));
  }

  std::size_t high_ = 0;  // the most that arrays held
  std::uint64_t clock_ = 0;
  Classes classes_;  // none goes: what was allocated can be freed
  Chunks chunks_;
};

// Never destroyed: arrays may outlive every static object.
Allocator& allocator() {
  static Allocator* const a = new Allocator;
  return *a;
}

}  // namespace

MemoryRegion region_of(const Buffer& buffer) {
  void* const data = buffer.data();
  if (buffer.borrowed()) return {data, buffer.bytes(), &buffer};
  void* const chunk = Chunks::chunk_of(data);
  if (!kWatched && buffer.capacity() < kHuge) return {chunk, kChunk, chunk};
  if (is_small(buffer.capacity())) return {&slab_of(data), kSlab, &slab_of(data)};
  return {data, buffer.capacity(), data};
}
void set_allocation_gap(std::size_t bytes) { allocation_gap = bytes; }
void set_memory_hooks(void (*released)(const void*), void (*reused)(void*, std::size_t)) {
  release_hook = released;
  reused_hook = reused;
}

Ref<Buffer> allocate(std::size_t bytes) { return allocator().allocate(bytes); }
Ref<Buffer> context::allocate(std::size_t bytes) { return cermet::allocate(bytes); }
void context::release(void* data, std::size_t capacity) { allocator().free(data, capacity); }
void context::give_back(const Buffer& buffer) {
  if (auto* hook = release_hook.load()) hook(&buffer);
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
void clear_cache() { allocator().clear(); }

}  // namespace cermet
