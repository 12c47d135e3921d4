// argmax and argmin: the first index of the extreme; a nan is more extreme than any number.
#include <stdexcept>
#include <string>

#include "cpu/arg_reduce.h"
#include "cpu/columns.h"
#include "cpu/loops.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// Rows in two steps while they are in a cache: their extremes, and where these are.
struct Rows {
  RowLoop reduce;
  ArgReduceLoops loops;
  const std::byte* data;
  std::int64_t n, size;  // elements of a row, bytes of one
};

// Rows of a block at most.
void along_rows(const Rows& r, std::uint32_t* out, std::int64_t rows) {
  const std::int64_t together = std::clamp<std::int64_t>(kBlock / r.n, 1, 256);
  parallel_for(rows, grain_for(r.n), [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::byte extremes[256 * 8];
    for (; begin < end; begin += together) {
      const std::int64_t count = std::min(together, end - begin);
      const std::byte* row = r.data + begin * r.n * r.size;
      r.reduce(extremes, row, count, r.n);
      r.loops.find(out + begin, row, extremes, count, r.n);
    }
  });
}

// Longer rows, in parts: V is what their elements are compared as.
template <bool kMax, class V>
void along_long_rows(const Rows& r, std::uint32_t* out, std::int64_t rows) {
  struct Best {
    V value;
    std::int64_t index;
    void follow(V other, std::int64_t at) {
      if (is_nan(value) || (!is_nan(other) && !(kMax ? less(value, other) : less(other, value))))
        return;
      value = other;
      index = at;
    }
  };
  const std::int64_t parts = (r.n - 1) / kGrain + 1;
  const Workspace<Best> found(rows * parts);
  parallel_for(rows * parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (; begin < end; ++begin) {
      const std::int64_t first = begin % parts * kGrain, last = std::min(r.n, first + kGrain);
      const std::byte* row = r.data + begin / parts * r.n * r.size;
      Best best{};
      for (std::int64_t b = first; b < last; b += kBlock) {
        V value;
        r.reduce(&value, row + b * r.size, 1, std::min(kBlock, last - b));
        b == first ? void(best = {value, b}) : best.follow(value, b);
      }
      std::uint32_t place;
      r.loops.find(&place, row + best.index * r.size, &best.value, 1,
                   std::min(kBlock, last - best.index));
      found.get()[begin] = {best.value, best.index + place};
    }
  });
  for (std::int64_t row = 0; row < rows; ++row) {
    Best best = found.get()[row * parts];
    for (std::int64_t p = 1; p < parts; ++p) {
      const Best& next = found.get()[row * parts + p];
      best.follow(next.value, next.index);
    }
    out[row] = static_cast<std::uint32_t>(best.index);
  }
}

}  // namespace

void arg_reduce(const ArgReduce& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  if (split.n == 0)
    throw std::invalid_argument(std::string(p.name()) + ": axis " + std::to_string(p.axis) +
                                " has no elements");
  if (out.size() == 0) return;
  std::optional<Scratch> holder;
  const Tensor x = dense(a, holder);
  const int t = static_cast<int>(a.dtype), op = static_cast<int>(p.max ? Op::maximum : Op::minimum);
  const auto size = static_cast<std::int64_t>(size_of(a.dtype));
  auto* const to = data<std::uint32_t>(out);
  const auto l = CERMET_DISPATCH(arg_reduce_loops(a.dtype, p.max));
  if (split.inner > 1)
    return for_each_band(split.outer, split.n, split.inner, 1024,
                         [&](std::int64_t outer, std::int64_t first, std::int64_t columns) {
                           l.columns(to + outer * split.inner + first,
                                     x.data + (outer * split.n * split.inner + first) * size,
                                     split.inner, split.n, columns);
                         });
  const Rows rows{loops().reduce_rows[op][t], l, x.data, split.n, size};
  if (split.n <= kBlock) return along_rows(rows, to, split.outer);
  visit(a.dtype, [&]<class T>(Type<T>) {
    using V = std::conditional_t<kIsHalf<T>, float, T>;
    p.max ? along_long_rows<true, V>(rows, to, split.outer)
          : along_long_rows<false, V>(rows, to, split.outer);
  });
}

}  // namespace cermet::cpu
