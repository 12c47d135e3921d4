// Rows along an axis, and elements as keys.
#include "metal/rows.h"

#include <cstdlib>
#include <optional>
#include <stdexcept>

#include "graph/layout.h"

namespace cermet::metal {
namespace {

// Axes that one stride steps through.
struct Run {
  std::int64_t extent = 1, stride = 0;
};

// The axes [begin, end) as one, if their strides allow it.
std::optional<Run> merge(const Tensor& t, int begin, int end) {
  Shape extents(t.shape.begin() + begin, t.shape.begin() + end);
  Strides strides(t.strides.begin() + begin, t.strides.begin() + end);
  merge_axes(extents, {&strides, 1});
  if (extents.size() > 1) return std::nullopt;
  return extents.empty() ? Run{} : Run{extents[0], strides[0]};
}

int ndim(const Tensor& t) { return static_cast<int>(t.shape.size()); }

RowsArguments layout_of(const Tensor& t, int axis, const Run& outer, const Run& inner) {
  constexpr std::int64_t kMost = 0xffffffff - 4096;  // kernels count beyond the end by a block
  if (outer.extent * inner.extent > kMost || t.shape[axis] > kMost)
    throw std::length_error("rows along an axis: shape " + to_string(t.shape) +
                            " has 2^32 or more of them, or of elements in one");
  return {.outer_stride = outer.stride,
          .inner_stride = inner.stride,
          .stride = t.strides[axis],
          .rows = static_cast<std::uint32_t>(outer.extent * inner.extent),
          .inner = static_cast<std::uint32_t>(inner.extent),
          .n = static_cast<std::uint32_t>(t.shape[axis])};
}

}  // namespace

Rows rows_of(Commands& commands, const Tensor& t, int axis) {
  const auto outer = merge(t, 0, axis), inner = merge(t, axis + 1, ndim(t));
  if (outer && inner) return {t, layout_of(t, axis, *outer, *inner)};
  const Tensor dense = commands.temporary(t.shape, t.dtype);
  copy(commands, t, dense);
  return {dense, dense_rows(dense, axis)};
}

RowsArguments dense_rows(const Tensor& t, int axis) {
  return layout_of(t, axis, *merge(t, 0, axis), *merge(t, axis + 1, ndim(t)));
}

Division divide(const RowsArguments& rows, std::uint32_t n) {
  constexpr std::uint32_t kManyRows = 1024, kFewRows = 256, kChunk = 1024;
  // Neighbouring threads should read neighbouring elements.
  const std::int64_t between = rows.inner > 1 ? rows.inner_stride : rows.outer_stride;
  const bool neighbours = std::abs(between) < std::abs(rows.stride);
  if (n <= kSimdWidth || (neighbours && rows.rows >= kManyRows)) return {rows.rows, 1, n, 1};
  const bool split = rows.rows < kFewRows && n > 2 * kChunk;
  const std::uint32_t chunk = split ? kChunk : n;
  return {rows.rows, kSimdWidth, chunk, (n - 1) / chunk + 1};
}

Dtype key_dtype(Dtype dtype) {
  switch (size_of(dtype)) {
    case 1: return uint8;
    case 2: return uint16;
    case 4: return uint32;
    default: return uint64;
  }
}

KeyArguments key_arguments(Dtype dtype) {
  switch (dtype) {
    case Dtype::float16: return {kKeyFloat, 0x7c00};
    case Dtype::bfloat16: return {kKeyFloat, 0x7f80};
    case Dtype::float32: return {kKeyFloat, 0x7f800000};
    case Dtype::complex64: return {kKeyComplex, 0x7f800000};
    case Dtype::int8:
    case Dtype::int16:
    case Dtype::int32:
    case Dtype::int64: return {kKeySigned, 0};
    default: return {kKeyUnsigned, 0};
  }
}

}  // namespace cermet::metal
