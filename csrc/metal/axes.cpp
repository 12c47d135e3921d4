// Layouts, words and grids of the kernels that move elements.
#include "metal/axes.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>

namespace cermet::metal {
namespace {

Tensor in_bytes(Tensor t) {
  const auto size = static_cast<std::int64_t>(size_of(t.dtype));
  for (auto& stride : t.strides) stride *= size;
  t.shape.push_back(size);
  t.strides.push_back(1);
  t.dtype = uint8;
  return t;
}

}  // namespace

Walk in_elements(const Tensor& from, const Tensor& to) {
  Layout layout = collapse({&from, &to});
  return {std::move(layout.shape), std::move(layout.strides[0]), std::move(layout.strides[1]),
          static_cast<std::int64_t>(size_of(to.dtype))};
}

Walk in_words(const Tensor& from, const Tensor& to, const Strides& steps) {
  const auto element = static_cast<std::int64_t>(size_of(from.dtype));
  Walk walk = in_elements(in_bytes(from), in_bytes(to));
  if (walk.from.back() != 1 || walk.to.back() != 1) {
    walk.shape.push_back(1);
    walk.from.push_back(1);
    walk.to.push_back(1);
  }
  const std::size_t inner = walk.shape.size() - 1;
  std::int64_t bits =
      16 | static_cast<std::int64_t>(from.address() | to.address()) | walk.shape[inner];
  for (std::size_t i = 0; i < inner; ++i) bits |= walk.from[i] | walk.to[i];
  for (auto step : steps) bits |= step * element;

  const std::int64_t word = bits & -bits;
  walk.unit = word;
  walk.shape[inner] /= word;
  for (std::size_t i = 0; i < inner; ++i) {
    walk.from[i] /= word;
    walk.to[i] /= word;
  }
  if (inner > 0 && walk.shape[inner] == 1) {
    walk.shape.pop_back();
    walk.from.pop_back();
    walk.to.pop_back();
  }
  return walk;
}

std::string word_name(std::int64_t bytes) {
  switch (bytes) {
    case 1: return "uchar";
    case 2: return "ushort";
    case 4: return "uint";
    case 8: return "ulong";
    default: return "uint4";
  }
}

std::string index_for(std::int64_t unit, std::initializer_list<const Tensor*> tensors) {
  const auto element = static_cast<std::int64_t>(size_of((*tensors.begin())->dtype));
  return unit < element ? "long" : index_type(tensors);
}

StridedAxes strided_axes(const Shape& shape, const Strides& strides) {
  if (shape.size() > CERMET_MAX_AXES)
    throw std::length_error("a layout of " + std::to_string(shape.size()) +
                            " axes that cannot be merged, the GPU takes " +
                            std::to_string(CERMET_MAX_AXES));
  StridedAxes axes{};
  axes.count = static_cast<cermet_uint>(shape.size());
  std::reverse_copy(shape.begin(), shape.end(), axes.shape);
  std::reverse_copy(strides.begin(), strides.end(), axes.strides);
  return axes;
}

Size block_grid(std::string_view op, std::int64_t size, std::int64_t blocks) {
  constexpr std::int64_t kWide = std::int64_t{1} << 30;
  if (blocks >= std::numeric_limits<std::uint32_t>::max())
    throw std::length_error(std::string(op) + ": " + std::to_string(blocks) +
                            " entries, the GPU takes fewer than 2^32 - 1");
  return {static_cast<std::uint32_t>(std::min(size, kWide)), static_cast<std::uint32_t>(blocks),
          static_cast<std::uint32_t>((size - 1) / kWide + 1)};
}

Size group_for(Size grid) {
  std::uint32_t room = 256;
  auto take = [&](std::uint32_t extent) {
    const std::uint32_t n = std::bit_ceil(std::min(extent, room));
    room /= n;
    return n;
  };
  Size group;
  group.x = take(grid.x);
  group.y = take(grid.y);
  group.z = take(grid.z);
  return group;
}

Combination combination_of(Dtype dtype, Update mode) {
  // Bools are bytes, of which the greater is their `or` and the lesser their `and`.
  if (dtype == Dtype::bool_) {
    const bool larger = mode == Update::add || mode == Update::maximum;
    return {"uchar", larger ? "Max<uchar>" : "Min<uchar>"};
  }
  const bool ordered = mode == Update::minimum || mode == Update::maximum;
  const std::string type = is_inexact(dtype) || ordered
                               ? type_name(dtype)
                               : word_name(static_cast<std::int64_t>(size_of(dtype)));
  auto named = [&](std::string_view name) {
    return Combination{type, std::string(name) + "<" + type + ">"};
  };
  switch (mode) {
    case Update::add: return named("Sum");
    case Update::multiply: return named("Prod");
    case Update::minimum: return named("Min");
    default: return named("Max");
  }
}

}  // namespace cermet::metal
