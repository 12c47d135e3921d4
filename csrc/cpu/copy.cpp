// Copies between layouts, and the primitive that is some: concatenate.
#include <algorithm>
#include <cstring>

#include "cpu/layout.h"
#include "cpu/primitives.h"

namespace cermet::cpu {
namespace {

// The axis that `src` is contiguous along while dst is so along the last, if blocks pay off.
std::size_t transposed_axis(const Domain<2>& d) {
  const std::size_t last = d.shape.size() - 1;
  if (d.strides[0][last] == 1 && d.strides[1][last] != 1 && d.shape[last] >= 8)
    for (std::size_t i = 0; i < last; ++i)
      if (d.strides[1][i] == 1 && d.shape[i] >= 8) return i;
  return last;
}

// Rows of n adjacent elements, which lie `steps` apart in dst and src.
template <class U>
void copy_rows(U* to, const U* from, std::int64_t rows, std::int64_t n,
               const std::array<std::int64_t, 2>& steps, bool past_caches) {
  const auto bytes = static_cast<std::size_t>(n) * sizeof(U);
  for (; rows > 0; --rows, to += steps[0], from += steps[1]) {
    if (past_caches)
      stream(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(from), bytes);
    else
      std::memcpy(to, from, bytes);
  }
  if (past_caches) end_stream();
}

template <class U>
void copy_elements(const U* src, U* dst, Domain<2> domain) {
  const std::size_t last = domain.shape.size() - 1;
  const std::size_t axis = transposed_axis(domain);
  const bool past_caches = domain.size() * static_cast<std::int64_t>(sizeof(U)) >= kStreamed;
  if (axis == last && last > 0 && domain.strides[0][last] == 1 && domain.strides[1][last] == 1) {
    const auto [n, unit] = domain.pop();
    const auto [rows, steps] = domain.pop();
    const bool lines = past_caches && n * sizeof(U) >= 128;
    const std::int64_t total = domain.size() * rows;
    return parallel_for(
        total, grain_for(n),
        [&, n = n, rows = rows, steps = steps](std::int64_t begin, std::int64_t end) {
          Walk<2> walk(domain, begin / rows);
          for (std::int64_t first = begin % rows, count; begin < end; begin += count, first = 0) {
            count = std::min(rows - first, end - begin);
            copy_rows(dst + walk.offset[0] + first * steps[0],
                      src + walk.offset[1] + first * steps[1], count, n, steps, lines);
            walk.next();
          }
        });
  }
  if (axis == last) {
    return for_each_run(domain, [&](auto offsets, std::int64_t n, auto steps) {
      U* to = dst + offsets[0];
      const U* from = src + offsets[1];
      if (steps[0] == 1 && steps[1] == 1)
        copy_rows(to, from, 1, n, steps, past_caches);
      else if (steps[0] == 1 && steps[1] == 0)
        std::fill_n(to, n, *from);
      else if (steps[0] == 1)
        for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * steps[1]];
      else
        for (std::int64_t i = 0; i < n; ++i) to[i * steps[0]] = from[i * steps[1]];
    });
  }
  // Tiles of 4 KB of src's rows and 512 bytes of dst's, which both read and write in few pages.
  constexpr std::int64_t kColumns = 4096 / sizeof(U), kRows = 512 / sizeof(U);
  domain.swap_axes(axis, last - 1);
  const auto [rows, row_steps] = domain.pop();
  const auto [columns, column_steps] = domain.pop();
  const std::int64_t across = (columns - 1) / kColumns + 1, down = (rows - 1) / kRows + 1;
  parallel_for(
      domain.size() * across * down, grain_for(std::min(kColumns, columns) * std::min(kRows, rows)),
      [&, rows = rows, columns = columns, row_step = row_steps[1], column_step = column_steps[0]](
          std::int64_t begin, std::int64_t end) {
        for (; begin < end; ++begin) {
          const Walk<2> walk(domain, begin / (across * down));
          const std::int64_t c = begin % across * kColumns;
          const std::int64_t r = begin / across % down * kRows;
          transpose(src + walk.offset[1] + r * row_step + c, row_step,
                    dst + walk.offset[0] + c * column_step + r, column_step,
                    std::min(kRows, rows - r), std::min(kColumns, columns - c), past_caches);
        }
      });
}

// Orders the axes by dst's strides, largest first, so that writing is as sequential as can be.
void order_axes(Domain<2>& domain) {
  for (std::size_t i = 1; i < domain.shape.size(); ++i)
    for (std::size_t j = i;
         j > 0 && std::abs(domain.strides[0][j - 1]) < std::abs(domain.strides[0][j]); --j)
      domain.swap_axes(j - 1, j);
}

}  // namespace

void copy(const Tensor& src, const Tensor& dst) {
  if (dst.size() == 0) return;
  Domain<2> domain{dst.shape, {dst.strides, src.strides}};
  order_axes(domain);
  domain.collapse();
  if (domain.shape.empty()) {
    std::memcpy(dst.data, src.data, size_of(dst.dtype));
    return;
  }
  by_size(size_of(dst.dtype),
          [&]<class U>(Type<U>) { copy_elements(data<const U>(src), data<U>(dst), domain); });
}

Tensor dense(const Tensor& a, std::optional<Scratch>& holder) {
  if (is_row_major(a.shape, a.strides)) return a;
  holder.emplace(a.dtype, a.shape);
  copy(a, holder->tensor);
  return holder->tensor;
}

Tensor with_axis_last(Tensor a, int axis) {
  std::rotate(a.shape.begin() + axis, a.shape.begin() + axis + 1, a.shape.end());
  std::rotate(a.strides.begin() + axis, a.strides.begin() + axis + 1, a.strides.end());
  return a;
}

Tensor slice_of(Tensor a, const Shape& start, const Shape& step, const Shape& shape) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    offset += start[i] * a.strides[i];
    a.strides[i] *= step[i];
  }
  a.data += offset * static_cast<std::int64_t>(size_of(a.dtype));
  a.shape = shape;
  return a;
}

void concatenate(const Concatenate& p, std::span<const Tensor> inputs, const Tensor& out) {
  Shape start(out.shape.size()), step(out.shape.size(), 1);
  for (const Tensor& input : inputs) {
    const Tensor part = slice_of(out, start, step, input.shape);
    if (part.data != input.data) copy(input, part);
    start[p.axis] += input.shape[p.axis];
  }
}

}  // namespace cermet::cpu
