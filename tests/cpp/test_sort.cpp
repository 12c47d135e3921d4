// Sorting of keys: in parts, which rows longer than a radix sort counts are sorted by, and the
// loops of each instruction set.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "cpu/sort_keys.h"
#include "cpu/sort_loops.h"

using namespace cermet::cpu;

namespace {

// The loops of every instruction set that runs here.
std::vector<SortLoops> all_loops() {
  std::vector<SortLoops> all;
  const auto add = [&](auto fill) { fill(all.emplace_back()); };
#if defined(__x86_64__) && !defined(CERMET_BASE_ISA)
  add(v2::fill_sort);
  if (isa() >= Isa::v3) add(v3::fill_sort);
  if (isa() >= Isa::v4) add(v4::fill_sort);
#else
  add(base::fill_sort);
#endif
  return all;
}

// Items of which `distinct` differ.
template <class Item>
std::vector<Item> random_items(std::int64_t n, std::uint64_t distinct) {
  std::mt19937_64 random(n);
  std::vector<Item> items(n);
  for (Item& x : items) x = static_cast<Item>(~Item{0} - random() % distinct * 0x9e3779b97f4a7c15u);
  return items;
}

// A word before and behind `items` is not touched.
template <class Item, class F>
std::vector<Item> guarded(const std::vector<Item>& items, F f) {
  const auto n = static_cast<std::int64_t>(items.size());
  std::vector<Item> x(n + 2, 77), spare(n + 2, 78);
  std::copy(items.begin(), items.end(), x.begin() + 1);
  f(x.data() + 1, spare.data() + 1, n);
  CHECK((x.front() == 77 && x.back() == 77 && spare.front() == 78 && spare.back() == 78));
  return {x.begin() + 1, x.end() - 1};
}

const std::int64_t kSizes[] = {0,  1,  2,  7,   8,   9,   15,  16,  17,  31,  32,   33,   63,
                               64, 65, 96, 127, 128, 129, 255, 256, 257, 511, 1030, 4097, 20000};

template <class Item>
void check_items(const ItemLoops<Item>& loops) {
  for (const std::int64_t n : kSizes)
    for (const std::uint64_t distinct : {std::uint64_t{1}, std::uint64_t{3}, ~std::uint64_t{0}}) {
      CAPTURE(n);
      const auto items = random_items<Item>(n, distinct);
      auto want = items;
      std::sort(want.begin(), want.end());
      if (loops.sort) {
        bool sorted = false;
        CHECK(guarded(items, [&](auto* x, auto* spare, auto count) {
                sorted = loops.sort(x, spare, count);
              }) == want);
        CHECK(sorted);
        CHECK(guarded(want, loops.sort) == want);
      }
      const Item last = n ? want[n / 2] : Item{0};
      want = items;
      std::stable_partition(want.begin(), want.end(), [&](Item x) { return x <= last; });
      CHECK(guarded(items, [&](auto* x, auto* spare, auto count) {
              CHECK(loops.partition(x, spare, count, last) ==
                    std::count_if(items.begin(), items.end(), [&](Item x) { return x <= last; }));
            }) == want);
    }
}

}  // namespace

TEST_CASE("sort: the loops sort any number of items and partition them in their order") {
  for (const SortLoops& loops : all_loops()) {
    check_items(loops.narrow);
    check_items(loops.wide);
  }
}

TEST_CASE("sort: parts are a power of two, and none is longer than a radix sort counts") {
  for (const std::int64_t n : {std::int64_t{5}, kLongestRun, kLongestRun + 1, 5 * kLongestRun + 7})
    for (const int threads : {1, 3, 8}) {
      const std::int64_t parts = parts_of(n, threads);
      CHECK(std::has_single_bit(static_cast<std::uint64_t>(parts)));
      CHECK(parts >= threads);
      CHECK((n - 1) / parts + 1 <= kLongestRun);
      CHECK(parts < 2 * std::max<std::int64_t>(threads, n / kLongestRun + 1));
    }
}

TEST_CASE("sort: the number of parts changes nothing") {
  std::mt19937 random(7);
  for (const std::int64_t n : {1, 255, 1000, 70000, 262145}) {
    std::vector<Placed<std::uint16_t>> items(n), spare(n);
    for (std::int64_t i = 0; i < n; ++i)
      items[i] = {static_cast<std::uint16_t>(random() % 1000), static_cast<std::uint32_t>(i)};
    auto want = items;
    std::sort(want.begin(), want.end());
    for (const std::int64_t parts : {1, 2, 8, 64}) {
      auto got = items;
      sort_in_parts(got.data(), spare.data(), n, parts);
      const bool same = std::equal(got.begin(), got.end(), want.begin(), [](auto a, auto b) {
        return a.key == b.key && a.place == b.place;
      });
      CHECK(same);
    }
  }
}
