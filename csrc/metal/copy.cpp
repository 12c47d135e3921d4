// Copies between layouts on the GPU, and the primitive that is some: concatenate.
#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "metal/axes.h"

namespace cermet::metal {
namespace {

// Orders the axes by to's strides, largest first, so that neighbouring threads write neighbours.
void order_axes(Tensor& from, Tensor& to) {
  std::vector<std::size_t> order(to.shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
    return std::abs(to.strides[i]) > std::abs(to.strides[j]);
  });
  auto permute = [&](auto& values) {
    auto before = values;
    for (std::size_t i = 0; i < order.size(); ++i) values[i] = before[order[i]];
  };
  for (Tensor* t : {&from, &to}) {
    permute(t->shape);
    permute(t->strides);
  }
}

// Elements [begin, end) along the first axis.
Tensor part_of(Tensor t, std::int64_t begin, std::int64_t end) {
  t.offset += static_cast<std::size_t>(begin * t.strides[0]) * size_of(t.dtype);
  t.shape[0] = end - begin;
  return t;
}

// Calls body(from, to) on tensors of merged axes, in parts that a grid and a kernel's arguments
// have room for.
template <class Body>
void for_each_grid(Tensor from, Tensor to, const Body& body) {
  order_axes(from, to);
  const Walk walk = in_elements(from, to);
  from.shape = to.shape = walk.shape;
  from.strides = walk.from;
  to.strides = walk.to;
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const std::int64_t inner = walk.shape.back();
  // Words narrower than elements may add an axis.
  if (walk.shape.size() < CERMET_MAX_AXES && inner < kMost && walk.size() / inner < kMost)
    return body(from, to);
  const std::int64_t n = from.shape[0], half = n / 2;
  for_each_grid(part_of(from, 0, half), part_of(to, 0, half), body);
  for_each_grid(part_of(from, half, n), part_of(to, half, n), body);
}

// The extents of a grid over the axes: the two innermost, and the others together.
Size grid_over(const Shape& shape) {
  std::int64_t extents[3] = {1, 1, 1};
  for (std::size_t i = 0; i < shape.size(); ++i)
    extents[std::min<std::size_t>(i, 2)] *= shape[shape.size() - 1 - i];
  return {static_cast<std::uint32_t>(extents[0]), static_cast<std::uint32_t>(extents[1]),
          static_cast<std::uint32_t>(extents[2])};
}

// A kernel with a thread an element. The types are its first template arguments.
void run_elements(Commands& commands, std::string_view function, const std::string& type,
                  const std::string& other, const Walk& walk, const Tensor& from,
                  const Tensor& to) {
  const std::size_t n = walk.shape.size();
  const Kernel& k =
      kernel("copy", function,
             {type, other, index_for(walk.unit, {&to, &from}), std::to_string(n <= 3 ? n : 0)});
  const CopyArguments arguments{strided_axes(walk.shape, walk.from),
                                strided_axes(walk.shape, walk.to)};
  const Size grid = grid_over(walk.shape);
  commands.threads(k, {in(from), out(to), value(arguments)}, grid, group_for(grid));
}

// Moves the axis that `from` is contiguous along next to the innermost one, that `to` is contiguous
// along. False where there is none or tiles do not pay off.
bool expose_transpose(Walk& walk) {
  constexpr std::int64_t kWorthwhile = 16;
  const std::size_t last = walk.shape.size() - 1;
  if (walk.to[last] != 1 || std::abs(walk.from[last]) <= 1 || walk.shape[last] < kWorthwhile)
    return false;
  for (std::size_t i = 0; i < last; ++i) {
    if (std::abs(walk.from[i]) != 1 || walk.shape[i] < kWorthwhile) continue;
    auto rotate = [&](auto& v) { std::rotate(v.begin() + i, v.begin() + i + 1, v.begin() + last); };
    rotate(walk.shape);
    rotate(walk.from);
    rotate(walk.to);
    return true;
  }
  return false;
}

void copy_words(Commands& commands, const Tensor& from, const Tensor& to) {
  Walk walk = in_words(from, to);
  const std::string type = word_name(walk.unit);
  if (!expose_transpose(walk))
    return run_elements(commands, "copy_elements", type, type, walk, from, to);
  constexpr std::uint32_t kTile = 32;
  const CopyArguments arguments{strided_axes(walk.shape, walk.from),
                                strided_axes(walk.shape, walk.to)};
  const Size grid = grid_over(walk.shape);
  commands.groups(kernel("copy", "copy_transposed", {type, index_for(walk.unit, {&to, &from})}),
                  {in(from), out(to), value(arguments)},
                  {(grid.x - 1) / kTile + 1, (grid.y - 1) / kTile + 1, grid.z}, {kTile, 8, 1});
}

// Where to cut a long run whose length only narrow words divide, so that all but its end is moved
// by the widest; 0: nowhere.
std::int64_t widest_part(const Tensor& from, const Tensor& to) {
  constexpr std::int64_t kLong = 4096;
  const std::int64_t n = to.shape[0],
                     wide = n - n % (16 / static_cast<std::int64_t>(size_of(to.dtype)));
  const bool run = to.shape.size() == 1 && from.strides[0] == 1 && to.strides[0] == 1;
  return run && n >= kLong && n != wide ? wide : 0;
}

Tensor slice_of(Tensor t, const Shape& start, const Shape& step, const Shape& shape) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    offset += start[i] * t.strides[i];
    t.strides[i] *= step[i];
  }
  t.offset += static_cast<std::size_t>(offset) * size_of(t.dtype);
  t.shape = shape;
  return t;
}

}  // namespace

void copy(Commands& commands, const Tensor& from, const Tensor& to) {
  const bool same = from.buffer.get() == to.buffer.get() && from.offset == to.offset &&
                    from.dtype == to.dtype && from.strides == to.strides;
  if (same || to.size() == 0) return;
  for_each_grid(from, to, [&](const Tensor& f, const Tensor& t) {
    if (f.dtype != t.dtype)
      return run_elements(commands, "copy_elements", type_name(f.dtype), type_name(t.dtype),
                          in_elements(f, t), f, t);
    const std::int64_t n = t.shape[0], cut = widest_part(f, t);
    if (cut > 0) copy_words(commands, part_of(f, 0, cut), part_of(t, 0, cut));
    copy_words(commands, part_of(f, cut, n), part_of(t, cut, n));
  });
}

void concatenate(Commands& commands, const Concatenate& primitive, std::span<const Tensor> inputs,
                 const Tensor& out) {
  Shape start(out.shape.size()), step(out.shape.size(), 1);
  for (const Tensor& input : inputs) {
    copy(commands, input, slice_of(out, start, step, input.shape));
    start[primitive.axis] += input.shape[primitive.axis];
  }
}

}  // namespace cermet::metal
