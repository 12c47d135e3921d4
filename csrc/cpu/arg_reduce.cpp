// argmax and argmin: the first index of the extreme; a nan is more extreme than any number.
#include "cpu/arg_reduce.h"

#include <stdexcept>
#include <string>

#include "cpu/columns.h"
#include "cpu/primitives.h"

namespace cermet::cpu {
namespace {

// Rows in parts, which threads share.
void along_rows(const ArgReduceLoops& loops, const std::byte* x, std::uint32_t* out, const Split& s,
                std::int64_t size) {
  const std::int64_t parts = (s.n - 1) / kGrain + 1;
  if (parts == 1)
    return parallel_for(s.outer, grain_for(s.n), [&](std::int64_t begin, std::int64_t end) {
      loops.rows(out + begin, nullptr, x + begin * s.n * size, end - begin, s.n);
    });
  const Workspace<std::int64_t> keys(s.outer * parts);
  const Workspace<std::uint32_t> places(s.outer * parts);
  parallel_for(s.outer * parts, 1, [&](std::int64_t begin, std::int64_t end) {
    for (; begin < end; ++begin) {
      const std::int64_t row = begin / parts, first = begin % parts * kGrain;
      loops.rows(places.get() + begin, keys.get() + begin, x + (row * s.n + first) * size, 1,
                 std::min(kGrain, s.n - first));
    }
  });
  for (std::int64_t row = 0; row < s.outer; ++row) {
    const std::int64_t* const key = keys.get() + row * parts;
    const std::int64_t best = std::max_element(key, key + parts) - key;
    out[row] = static_cast<std::uint32_t>(best * kGrain) + places.get()[row * parts + best];
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
  const auto loops = CERMET_DISPATCH(arg_reduce_loops(a.dtype, p.max));
  const auto size = static_cast<std::int64_t>(size_of(a.dtype));
  auto* const to = data<std::uint32_t>(out);
  if (split.inner == 1) return along_rows(loops, x.data, to, split, size);
  for_each_band(split.outer, split.n, split.inner, 1024,
                [&](std::int64_t outer, std::int64_t first, std::int64_t columns) {
                  loops.columns(to + outer * split.inner + first,
                                x.data + (outer * split.n * split.inner + first) * size,
                                split.inner, split.n, columns);
                });
}

}  // namespace cermet::cpu
