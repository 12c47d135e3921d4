// Copies between layouts: every permutation, sizes around the blocks of a transposed copy, and
// those that go past the caches.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/layout.h"

using namespace cermet;
using namespace cermet::cpu;

namespace {

// Copies an array of this shape with its axes in this order, into memory with guard words.
void check(const Shape& shape, const std::vector<int>& order, Dtype dtype) {
  CAPTURE(dtype);
  const auto width = static_cast<std::int64_t>(size_of(dtype));
  const std::int64_t bytes = element_count(shape) * width;
  constexpr std::int64_t kGuard = 64;
  std::vector<std::byte> from(bytes), to(bytes + 2 * kGuard, std::byte{77});
  std::mt19937 random(static_cast<unsigned>(bytes));
  std::generate(from.begin(), from.end(), [&] { return static_cast<std::byte>(random()); });

  Tensor view{from.data(), dtype, {}, {}};
  const Strides strides = row_major(shape);
  for (const int axis : order) {
    view.shape.push_back(shape[axis]);
    view.strides.push_back(strides[axis]);
  }
  copy(view, {to.data() + kGuard, dtype, view.shape, row_major(view.shape)});

  const Domain<1> domain{view.shape, {view.strides}};
  Walk<1> walk(domain, 0);
  bool same = true;
  for (std::int64_t i = 0; i < bytes; i += width, walk.next())
    same &= !std::memcmp(to.data() + kGuard + i, from.data() + walk.offset[0] * width,
                         static_cast<std::size_t>(width));
  CHECK(same);
  const auto guards = [](std::byte b) { return b == std::byte{77}; };
  CHECK(std::all_of(to.begin(), to.begin() + kGuard, guards));
  CHECK(std::all_of(to.end() - kGuard, to.end(), guards));
}

const Dtype kSizes[] = {uint8, uint16, uint32, uint64};

}  // namespace

TEST_CASE("copy: matrices of any size are transposed") {
  const std::int64_t sizes[] = {1, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 300, 513};
  for (const Dtype t : kSizes)
    for (const std::int64_t rows : sizes)
      for (const std::int64_t columns : sizes) check({rows, columns}, {1, 0}, t);
}

TEST_CASE("copy: axes in any order") {
  for (const Dtype t : kSizes)
    for (const Shape& shape : {Shape{2, 9, 3, 17}, Shape{20, 3, 33, 8}, Shape{3, 40, 2, 64}}) {
      std::vector<int> order{0, 1, 2, 3};
      do check(shape, order, t);
      while (std::next_permutation(order.begin(), order.end()));
    }
}

TEST_CASE("copy: past the caches") {
  for (const Dtype t : {uint8, uint32}) {
    const std::int64_t n = kStreamed / static_cast<std::int64_t>(size_of(t));
    check({4099, n / 4096}, {1, 0}, t);
    check({3, 211, n / 600}, {1, 0, 2}, t);
    check({n + 5}, {0}, t);
  }
}
