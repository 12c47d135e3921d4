// Sorting of keys in parts: what rows longer than a radix sort counts are sorted by.
#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "cpu/sort_keys.h"

using namespace cermet::cpu;

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
