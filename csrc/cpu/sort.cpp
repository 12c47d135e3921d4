// Sorting: values or indices, whole or partitioned.
//
// Elements become unsigned keys in their order (nan last; by parts for complex). For indices the
// place stands below the key, which makes the sort stable. Nothing that comes of it depends on the
// instruction set or the number of threads: equal items are the same, and partitions keep the order
// of either side.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cermet/eval.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/sort_keys.h"
#include "cpu/sort_loops.h"

namespace cermet::cpu {

const SortLoops& sort_loops() {
  static const SortLoops table = [] {
    SortLoops t;
    CERMET_DISPATCH(fill_sort(t));
    return t;
  }();
  return table;
}

namespace {

constexpr std::int64_t kHuge = 4 * kGrain;  // a row that several threads sort
constexpr std::int64_t kFew = 256;          // what a selection sorts
constexpr std::uint32_t kAnyPlace = std::numeric_limits<std::uint32_t>::max();

// What is sorted, one struct for each kind of items. last(x) is the last item of x's value, and
// before(x) the last one of those below, if any_before(x).

// Keys alone, of the type K.
template <class K>
struct Values {
  using Item = K;
  static constexpr int kFirstByte = 0;
  explicit Values(Dtype t) : dtype(t), zero(is_floating(t) ? K{1} << (8 * size_of(t) - 1) : K{0}) {}

  void make(K* items, const std::byte* row, std::int64_t first, std::int64_t n) const {
    sort_loops().to_keys[static_cast<int>(dtype)](items, row + first * width(), n, false);
  }
  void give(std::byte* row, const K* items, std::int64_t first, std::int64_t n) const {
    sort_loops().from_keys[static_cast<int>(dtype)](row + first * width(), items, n);
  }
  std::int64_t width() const { return static_cast<std::int64_t>(size_of(dtype)); }
  // Zeros of both signs go together, as their places do.
  K last(K x) const { return zero && x + 1 == zero ? zero : x; }
  bool any_before(K x) const { return x > 0; }
  K before(K x) const { return zero && last(x) == zero ? zero - 2 : x - 1; }

  const Dtype dtype;
  const K zero;  // the key of a float's zero
};

// Calls f(keys, i, count) for pieces of a row's keys, of the elements from `first` on.
template <class K, class F>
void with_keys(Dtype t, const std::byte* row, std::int64_t first, std::int64_t n, F f) {
  constexpr std::int64_t kPiece = 512;
  K keys[kPiece];
  for (std::int64_t i = 0; i < n; i += kPiece) {
    const std::int64_t count = std::min(kPiece, n - i);
    const auto* in = row + (first + i) * static_cast<std::int64_t>(size_of(t));
    sort_loops().to_keys[static_cast<int>(t)](keys, in, count, true);
    f(keys, i, count);
  }
}

// Keys of 32 bits above places.
struct Places {
  using Item = std::uint64_t;
  static constexpr int kFirstByte = 4;  // the places are in order from the start

  void make(Item* items, const std::byte* row, std::int64_t first, std::int64_t n) const {
    with_keys<std::uint32_t>(dtype, row, first, n, [&](const auto* keys, auto i, auto count) {
      for (std::int64_t k = 0; k < count; ++k)
        items[i + k] = Item{keys[k]} << 32 | static_cast<std::uint32_t>(first + i + k);
    });
  }
  void give(std::byte* row, const Item* items, std::int64_t first, std::int64_t n) const {
    auto* out = reinterpret_cast<std::uint32_t*>(row) + first;
    for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<std::uint32_t>(items[i]);
  }
  Item last(Item x) const { return x | kAnyPlace; }
  bool any_before(Item x) const { return x > kAnyPlace; }
  Item before(Item x) const { return last(x) - (Item{1} << 32); }

  const Dtype dtype;
};

// Keys of 64 bits beside places.
struct WidePlaces {
  using Item = Placed<std::uint64_t>;
  static constexpr int kFirstByte = 0;

  void make(Item* items, const std::byte* row, std::int64_t first, std::int64_t n) const {
    with_keys<std::uint64_t>(dtype, row, first, n, [&](const auto* keys, auto i, auto count) {
      for (std::int64_t k = 0; k < count; ++k)
        items[i + k] = {keys[k], static_cast<std::uint32_t>(first + i + k)};
    });
  }
  void give(std::byte* row, const Item* items, std::int64_t first, std::int64_t n) const {
    auto* out = reinterpret_cast<std::uint32_t*>(row) + first;
    for (std::int64_t i = 0; i < n; ++i) out[i] = items[i].place;
  }
  Item last(Item x) const { return {x.key, kAnyPlace}; }
  bool any_before(Item x) const { return x.key > 0; }
  Item before(Item x) const { return {x.key - 1, kAnyPlace}; }

  const Dtype dtype;
};

std::int64_t partition(std::uint32_t* x, std::uint32_t* spare, std::int64_t n, std::uint32_t last) {
  return sort_loops().narrow.partition(x, spare, n, last);
}
std::int64_t partition(std::uint64_t* x, std::uint64_t* spare, std::int64_t n, std::uint64_t last) {
  return sort_loops().wide.partition(x, spare, n, last);
}
using Wide = Placed<std::uint64_t>;
std::int64_t partition(Wide* x, Wide* spare, std::int64_t n, Wide last) {
  std::int64_t low = 0, high = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const Wide item = x[i];
    x[low] = spare[high] = item;
    const bool above = last < item;
    low += !above;
    high += above;
  }
  std::copy_n(spare, high, x + low);
  return low;
}

bool has_quicksort(std::uint32_t) { return sort_loops().narrow.sort; }
bool has_quicksort(std::uint64_t) { return sort_loops().wide.sort; }
bool has_quicksort(Wide) { return false; }
bool quicksort(std::uint32_t* x, std::uint32_t* spare, std::int64_t n) {
  return sort_loops().narrow.sort(x, spare, n);
}
bool quicksort(std::uint64_t* x, std::uint64_t* spare, std::int64_t n) {
  return sort_loops().wide.sort(x, spare, n);
}
bool quicksort(Wide*, Wide*, std::int64_t) { return false; }

// On one thread. Places are in order where keys are equal, or the radix starts with theirs.
template <class Item>
void sort_alone(Item* items, Item* spare, std::int64_t n, int first_byte) {
  if (!has_quicksort(Item{}))
    sort_items(items, spare, n, first_byte);
  else if (!quicksort(items, spare, n))
    std::sort(items, items + n);
}

// The element of a sorted sample that is `margin` of its elements behind (or before) the one where
// the item `kth` of n is to be expected.
template <class Item>
Item sampled(const Item* items, std::int64_t n, std::int64_t kth, int margin) {
  constexpr int kMost = 256;
  const int count = n < 64 * kMost ? kMost / 4 : kMost;
  const std::int64_t step = n / count;
  Item sample[kMost], spare[kMost];
  std::uint64_t random = 1;  // irregular steps, which keep it apart from patterns
  for (int i = 0; i < count; ++i) {
    random = random * kRandomFactor + kRandomAddend;
    const auto jump = (random >> 33) % static_cast<std::uint64_t>(step);
    sample[i] = items[i * step + static_cast<std::int64_t>(jump)];
  }
  sort_alone(sample, spare, count, 0);
  const auto expected = static_cast<int>(static_cast<double>(kth) / static_cast<double>(n) * count);
  return sample[std::clamp(expected + margin * (count == kMost ? 2 : 1), 0, count - 1)];
}

// Partitions on all threads, from `from` to `to`.
template <class Item>
std::int64_t partition_together(Item* from, Item* to, std::int64_t n, Item last) {
  std::vector<std::int64_t> low((n - 1) / kGrain + 1);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    low[begin / kGrain] = partition(from + begin, to + begin, end - begin, last);
  });
  std::int64_t total = 0;
  for (auto& count : low) total += std::exchange(count, total);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    const std::size_t piece = begin / kGrain;
    const std::int64_t at = low[piece];
    const std::int64_t count = (piece + 1 < low.size() ? low[piece + 1] : total) - at;
    std::copy_n(from + begin, count, to + at);
    std::copy_n(from + begin + count, end - begin - count, to + total + begin - at);
  });
  return total;
}

// Puts the item `kth` in its place and no smaller ones behind it, by partitions at both sides of
// where it should be.
template <class Kind, class Item = typename Kind::Item>
void select(const Kind& kind, Item* items, Item* spare, std::int64_t n, std::int64_t kth,
            bool together) {
  constexpr int kRounds = 64, kMargin = 5;
  const auto divide = [&](std::int64_t begin, std::int64_t count, Item last) {
    if (!together || count < kHuge) return partition(items + begin, spare + begin, count, last);
    const std::int64_t low = partition_together(items + begin, spare + begin, count, last);
    parallel_for(count, kGrain, [&](std::int64_t b, std::int64_t e) {
      std::copy_n(spare + begin + b, e - b, items + begin + b);
    });
    return low;
  };
  std::int64_t begin = 0, end = n;
  for (int round = 0; round < kRounds && end - begin > kFew; ++round) {
    const std::int64_t count = end - begin, k = kth - begin;
    const Item last =
        kind.last(sampled(items + begin, count, k, 2 * k < count ? kMargin : -kMargin));
    std::int64_t low = divide(begin, count, last);
    if (low == count) {  // none is above: those of this value are in their places
      if (!kind.any_before(last)) return;
      low = divide(begin, count, kind.before(last));
      if (k >= low) return;
    }
    (k < low ? end : begin) = begin + low;
  }
  sort_alone(items + begin, spare + begin, end - begin, 0);
}

// Sorts on all threads, by partitions that go to the other array each, and gives the array where
// the items are in the end.
template <class Item>
Item* sort_together(Item* items, Item* spare, std::int64_t n) {
  struct Run {
    std::int64_t begin, n;
  };
  std::vector<Run> runs{{0, n}}, halves;
  const auto wanted = std::bit_ceil(2 * static_cast<unsigned>(get_num_threads()));
  for (unsigned count = 1; count < wanted; count *= 2) {
    halves.clear();
    for (const Run& run : runs) {
      if (run.n < kGrain) {
        std::copy_n(items + run.begin, run.n, spare + run.begin);
        halves.push_back(run);
        continue;
      }
      Item* from = items + run.begin;
      const std::int64_t low =
          partition_together(from, spare + run.begin, run.n, sampled(from, run.n, run.n / 2, 0));
      halves.push_back({run.begin, low});
      halves.push_back({run.begin + low, run.n - low});
    }
    std::swap(runs, halves);
    std::swap(items, spare);
  }
  parallel_for(static_cast<std::int64_t>(runs.size()), 1,
               [&](std::int64_t begin, std::int64_t end) {
                 for (; begin < end; ++begin) {
                   const Run& run = runs[begin];
                   sort_alone(items + run.begin, spare + run.begin, run.n, 0);
                 }
               });
  return items;
}

// Rows of n elements.
template <class Kind>
void sort_rows(const Kind& kind, const Tensor& from, const Tensor& to, std::int64_t rows,
               std::int64_t n, std::int64_t kth) {
  using Item = typename Kind::Item;
  const auto row_of = [&](const Tensor& t, std::int64_t row) {
    return t.data + row * n * static_cast<std::int64_t>(size_of(t.dtype));
  };
  if (n >= kHuge && (rows < get_num_threads() || n > kLongestRun)) {
    const Workspace<Item> items(n), spare(n);
    for (std::int64_t row = 0; row < rows; ++row) {
      Item* result = items.get();
      parallel_for(n, kGrain, [&](std::int64_t b, std::int64_t e) {
        kind.make(result + b, row_of(from, row), b, e - b);
      });
      if (kth >= 0)
        select(kind, result, spare.get(), n, kth, true);
      else if (has_quicksort(Item{}))
        result = sort_together(result, spare.get(), n);
      else
        sort_in_parts(result, spare.get(), n, parts_of(n, get_num_threads()), Kind::kFirstByte);
      parallel_for(n, kGrain, [&](std::int64_t b, std::int64_t e) {
        kind.give(row_of(to, row), result + b, b, e - b);
      });
    }
    return;
  }
  parallel_for(rows, grain_for(4 * n), [&](std::int64_t row, std::int64_t end) {
    const Workspace<Item> items(n), spare(n);
    for (; row < end; ++row) {
      kind.make(items.get(), row_of(from, row), 0, n);
      if (kth >= 0)
        select(kind, items.get(), spare.get(), n, kth, false);
      else
        sort_alone(items.get(), spare.get(), n, Kind::kFirstByte);
      kind.give(row_of(to, row), items.get(), 0, n);
    }
  });
}

}  // namespace

void sort(const Sort& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  std::optional<Scratch> in_holder, out_holder;
  const Tensor from = dense(with_axis_last(a, p.axis), in_holder);
  const Tensor target = with_axis_last(out, p.axis);
  const bool direct = is_row_major(target.shape, target.strides);
  if (!direct) out_holder.emplace(out.dtype, target.shape);
  const Tensor to = direct ? target : out_holder->tensor;
  const auto rows = [&](const auto& kind) {
    sort_rows(kind, from, to, split.outer * split.inner, split.n, p.kth);
  };
  const bool wide = size_of(a.dtype) == 8;
  if (p.indices)
    wide ? rows(WidePlaces{a.dtype}) : rows(Places{a.dtype});
  else
    wide ? rows(Values<std::uint64_t>(a.dtype)) : rows(Values<std::uint32_t>(a.dtype));
  if (!direct) copy(to, target);
}

}  // namespace cermet::cpu
