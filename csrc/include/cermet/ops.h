// Operations on arrays beyond the elementwise table: creation, shape, indexing, reductions, scans,
// sorting and products. Most are compositions of a few primitives.
//
// Axes may be negative. An axis out of range raises AxisError; a shape, dtype or value that does
// not fit raises std::invalid_argument; both name the operation. Nothing here computes: results are
// lazy.
#pragma once

#include <concepts>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cermet/array.h"
#include "cermet/elementwise.h"

namespace cermet {

// An axis outside [-ndim, ndim).
class AxisError : public std::out_of_range {
 public:
  AxisError(std::string_view op, std::int64_t axis, int ndim);
};
// An index outside an axis; raised when indices are known, or carried by the array that used them.
class IndexError : public std::out_of_range {
 public:
  using std::out_of_range::out_of_range;
};

// The axis as a number in [0, ndim); AxisError otherwise.
int normalize_axis(std::string_view op, std::int64_t axis, int ndim);

using Axes = SmallVector<int, 4>;

// ---- Creation ----
// `value` as a 0-d array of a type that does not promote `like`, as Python scalars behave.
array scalar_like(double value, const array& like);
array full(const Shape& shape, const array& value, std::optional<Dtype> dtype = {},
           StreamOrDevice s = {});
array zeros(const Shape& shape, Dtype dtype = float32, StreamOrDevice s = {});
array ones(const Shape& shape, Dtype dtype = float32, StreamOrDevice s = {});
array zeros_like(const array& a, std::optional<Dtype> dtype = {}, StreamOrDevice s = {});
array ones_like(const array& a, std::optional<Dtype> dtype = {}, StreamOrDevice s = {});
array full_like(const array& a, const array& value, std::optional<Dtype> dtype = {},
                StreamOrDevice s = {});
// start, start + step, ... below stop (above, for a negative step).
array arange(double start, double stop, double step, Dtype dtype, StreamOrDevice s = {});
array count_from(std::int64_t start, std::int64_t stop, std::int64_t step, Dtype dtype,
                 StreamOrDevice s = {});
array arange(std::integral auto start, std::integral auto stop, std::integral auto step,
             Dtype dtype, StreamOrDevice s = {}) {  // whole numbers are counted exactly
  return count_from(start, stop, step, dtype, s);
}
array arange(std::int64_t stop, StreamOrDevice s = {});
array linspace(double start, double stop, std::int64_t num = 50, bool endpoint = true,
               Dtype dtype = float32, StreamOrDevice s = {});
array eye(std::int64_t n, std::int64_t m, int k = 0, Dtype dtype = float32, StreamOrDevice s = {});
array identity(std::int64_t n, Dtype dtype = float32, StreamOrDevice s = {});
array tri(std::int64_t n, std::int64_t m, int k = 0, Dtype dtype = float32, StreamOrDevice s = {});
array tril(const array& a, int k = 0, StreamOrDevice s = {});
array triu(const array& a, int k = 0, StreamOrDevice s = {});
Arrays meshgrid(const Arrays& arrays, bool sparse = false, const std::string& indexing = "xy",
                StreamOrDevice s = {});

// ---- Types ----
array astype(const array& a, Dtype dtype, StreamOrDevice s = {});
// The same bytes read as another type; the last axis scales with the sizes' ratio.
array view(const array& a, Dtype dtype, StreamOrDevice s = {});
array stop_gradient(const array& a, StreamOrDevice s = {});
// Each input, available only once all dependencies are computed.
Arrays depends(const Arrays& inputs, const Arrays& dependencies);

// ---- Elementwise compositions ----
array where(const array& condition, const array& x, const array& y, StreamOrDevice s = {});
array clip(const array& a, const std::optional<array>& min, const std::optional<array>& max,
           StreamOrDevice s = {});
array round(const array& a, int decimals = 0, StreamOrDevice s = {});
array positive(const array& a, StreamOrDevice s = {});
array degrees(const array& a, StreamOrDevice s = {});
array radians(const array& a, StreamOrDevice s = {});
array isposinf(const array& a, StreamOrDevice s = {});
array isneginf(const array& a, StreamOrDevice s = {});
array nan_to_num(const array& a, double nan = 0, std::optional<double> posinf = {},
                 std::optional<double> neginf = {}, StreamOrDevice s = {});
std::pair<array, array> divmod(const array& a, const array& b, StreamOrDevice s = {});
array isclose(const array& a, const array& b, double rtol = 1e-5, double atol = 1e-8,
              bool equal_nan = false, StreamOrDevice s = {});
array allclose(const array& a, const array& b, double rtol = 1e-5, double atol = 1e-8,
               bool equal_nan = false, StreamOrDevice s = {});
array array_equal(const array& a, const array& b, bool equal_nan = false, StreamOrDevice s = {});

// ---- Shape and layout ----
// One extent may be -1: it takes what is left.
array reshape(const array& a, Shape shape, StreamOrDevice s = {});
array flatten(const array& a, int start_axis = 0, int end_axis = -1, StreamOrDevice s = {});
array unflatten(const array& a, int axis, Shape shape, StreamOrDevice s = {});
array squeeze(const array& a, StreamOrDevice s = {});
array squeeze(const array& a, const Axes& axes, StreamOrDevice s = {});
array expand_dims(const array& a, const Axes& axes, StreamOrDevice s = {});
array transpose(const array& a, StreamOrDevice s = {});
array transpose(const array& a, const Axes& axes, StreamOrDevice s = {});
array matrix_transpose(const array& a, StreamOrDevice s = {});
array swapaxes(const array& a, int axis1, int axis2, StreamOrDevice s = {});
array moveaxis(const array& a, int source, int destination, StreamOrDevice s = {});
array flip(const array& a, const Axes& axes, StreamOrDevice s = {});
array flip(const array& a, StreamOrDevice s = {});
array concatenate(const Arrays& arrays, int axis = 0, StreamOrDevice s = {});
// Flattens, then concatenates.
array concatenate_flat(const Arrays& arrays, StreamOrDevice s = {});
array stack(const Arrays& arrays, int axis = 0, StreamOrDevice s = {});
Arrays unstack(const array& a, int axis = 0, StreamOrDevice s = {});
// Equal sections, or at the given indices.
Arrays split(const array& a, int sections, int axis = 0, StreamOrDevice s = {});
Arrays split(const array& a, const Shape& indices, int axis = 0, StreamOrDevice s = {});
array repeat(const array& a, std::int64_t repeats, std::optional<int> axis = {},
             StreamOrDevice s = {});
array tile(const array& a, Shape reps, StreamOrDevice s = {});
// Modes: constant, edge, reflect, symmetric.
array pad(const array& a, const std::vector<std::pair<std::int64_t, std::int64_t>>& widths,
          const array& value = array(0), const std::string& mode = "constant",
          StreamOrDevice s = {});
array broadcast_to(const array& a, const Shape& shape, StreamOrDevice s = {});
Arrays broadcast_arrays(const Arrays& arrays, StreamOrDevice s = {});
Shape broadcast_shapes(const Shape& a, const Shape& b);
array atleast_nd(const array& a, int n, StreamOrDevice s = {});
array roll(const array& a, const Shape& shift, const Axes& axes, StreamOrDevice s = {});
array roll(const array& a, std::int64_t shift, StreamOrDevice s = {});  // of the flattened array
// A view with any shape, strides (in elements) and offset over the row-major elements of `a`;
// std::invalid_argument when it would reach outside.
array as_strided(const array& a, const Shape& shape, const Strides& strides,
                 std::int64_t offset = 0, StreamOrDevice s = {});
array contiguous(const array& a, bool allow_col_major = false, StreamOrDevice s = {});
array diag(const array& a, int k = 0, StreamOrDevice s = {});
array diagonal(const array& a, int offset = 0, int axis1 = 0, int axis2 = 1, StreamOrDevice s = {});
array trace(const array& a, int offset = 0, int axis1 = 0, int axis2 = 1,
            std::optional<Dtype> dtype = {}, StreamOrDevice s = {});

// ---- Indexing ----
// a[start:stop:step] on every axis; start and stop are already within the axis, as Python's
// slice.indices gives them. A stop of -1 with a negative step runs to the first element.
array slice(const array& a, const Shape& start, const Shape& stop, const Shape& step,
            StreamOrDevice s = {});
array slice(const array& a, const Shape& start, const Shape& stop, StreamOrDevice s = {});
// A block of fixed size at start indices that are an integer array, one for each of `axes`.
array slice(const array& a, const array& start, const Axes& axes, const Shape& size,
            StreamOrDevice s = {});

// How an update meets the element it falls on.
enum class Update : std::uint8_t { set, add, multiply, minimum, maximum };
std::string_view name_of(Update u);

// A copy of `a` whose slice is set to (or combined with) `update`, which broadcasts to the slice.
array slice_update(const array& a, const array& update, const Shape& start, const Shape& stop,
                   const Shape& step, Update mode = Update::set, StreamOrDevice s = {});
array slice_update(const array& a, const array& update, const array& start, const Axes& axes,
                   StreamOrDevice s = {});
// The elements of `a` at integer indices along `axes`: the indices broadcast to one shape I, and
// the result has shape I + (the extents of the other axes). Negative indices count from the end; an
// index out of range raises IndexError at evaluation.
array gather(const array& a, const Arrays& indices, const Axes& axes, StreamOrDevice s = {});
// A copy of `a` with `updates` (shape as gather's result, or broadcast to it) put at the indices.
// Colliding updates combine, in an unspecified order; with set, one of them wins.
array scatter(const array& a, const Arrays& indices, const array& updates, const Axes& axes,
              Update mode = Update::set, StreamOrDevice s = {});
array take(const array& a, const array& indices, int axis, StreamOrDevice s = {});
array take(const array& a, const array& indices, StreamOrDevice s = {});  // of the flattened array
array take_along_axis(const array& a, const array& indices, int axis, StreamOrDevice s = {});
array put_along_axis(const array& a, const array& indices, const array& values, int axis,
                     StreamOrDevice s = {});
// The places of the elements that are not zero, row-major: an array of integers for each axis.
// Their number follows from values, so `a` is evaluated. `op` is named by errors.
Arrays nonzero(const array& a, std::string_view op = "nonzero");

// ---- Reductions ---- (over all axes when `axes` is absent)
enum class ReduceOp : std::uint8_t { sum, prod, min, max, all, any };
std::string_view name_of(ReduceOp r);

// All axes when absent; converts from a braced list: sum(a, {0, 1}).
class OptionalAxes : public std::optional<Axes> {
 public:
  using std::optional<Axes>::optional;
  OptionalAxes(std::initializer_list<int> axes) : std::optional<Axes>(Axes(axes)) {}
};
array reduce(ReduceOp op, const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
             StreamOrDevice s = {});
// bool, int8 and int16 sum and multiply as int32, uint8 and uint16 as uint32.
array sum(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
          StreamOrDevice s = {});
array prod(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
           StreamOrDevice s = {});
// nan if any element is nan; std::invalid_argument for an empty axis.
array min(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
          StreamOrDevice s = {});
array max(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
          StreamOrDevice s = {});
array all(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
          StreamOrDevice s = {});
array any(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
          StreamOrDevice s = {});
// float16 and bfloat16 are averaged in float32.
array mean(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
           StreamOrDevice s = {});
array median(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
             StreamOrDevice s = {});
array var(const array& a, const OptionalAxes& axes = {}, bool keepdims = false, int ddof = 0,
          StreamOrDevice s = {});
array std(const array& a, const OptionalAxes& axes = {}, bool keepdims = false, int ddof = 0,
          StreamOrDevice s = {});
array logsumexp(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
                StreamOrDevice s = {});
array softmax(const array& a, const OptionalAxes& axes = {}, bool precise = false,
              StreamOrDevice s = {});
array count_nonzero(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
                    StreamOrDevice s = {});
// Indices are uint32; the first of equal elements wins, and a nan wins over numbers.
array argmin(const array& a, std::optional<int> axis = {}, bool keepdims = false,
             StreamOrDevice s = {});
array argmax(const array& a, std::optional<int> axis = {}, bool keepdims = false,
             StreamOrDevice s = {});

// ---- Scans ----
enum class ScanOp : std::uint8_t { sum, prod, min, max, logaddexp };
std::string_view name_of(ScanOp s);
array scan(ScanOp op, const array& a, int axis, bool reverse = false, bool inclusive = true,
           StreamOrDevice s = {});
array cumsum(const array& a, int axis, bool reverse = false, bool inclusive = true,
             std::optional<Dtype> dtype = {}, StreamOrDevice s = {});
array cumprod(const array& a, int axis, bool reverse = false, bool inclusive = true,
              std::optional<Dtype> dtype = {}, StreamOrDevice s = {});
array cummin(const array& a, int axis, bool reverse = false, bool inclusive = true,
             StreamOrDevice s = {});
array cummax(const array& a, int axis, bool reverse = false, bool inclusive = true,
             StreamOrDevice s = {});
array logcumsumexp(const array& a, int axis, bool reverse = false, bool inclusive = true,
                   StreamOrDevice s = {});
array diff(const array& a, int n = 1, int axis = -1, StreamOrDevice s = {});

// ---- Sorting and search ---- (nan sorts last; sorts are stable)
array sort(const array& a, int axis = -1, StreamOrDevice s = {});
array argsort(const array& a, int axis = -1, StreamOrDevice s = {});
array partition(const array& a, std::int64_t kth, int axis = -1, StreamOrDevice s = {});
array argpartition(const array& a, std::int64_t kth, int axis = -1, StreamOrDevice s = {});
// The k largest, in no promised order.
array topk(const array& a, std::int64_t k, int axis = -1, StreamOrDevice s = {});
array searchsorted(const array& sorted, const array& values, bool right = false,
                   StreamOrDevice s = {});
// The first `size` of the distinct elements, ascending, and of each the uint32 index where it comes
// first and how often (int32); inverse, of the shape of `a`, says which (uint32, at most size - 1)
// each element is. Missing values are `fill_value`, or the smallest element; their counts are 0. An
// `a` without elements needs a `fill_value`.
struct Unique {
  array values, indices, inverse, counts;
};
Unique unique(const array& a, std::int64_t size, const std::optional<array>& fill_value = {},
              StreamOrDevice s = {});

// ---- Products ----
array matmul(const array& a, const array& b, StreamOrDevice s = {});
// alpha * (a @ b) + beta * c
array addmm(const array& c, const array& a, const array& b, double alpha = 1, double beta = 1,
            StreamOrDevice s = {});
array inner(const array& a, const array& b, StreamOrDevice s = {});
array outer(const array& a, const array& b, StreamOrDevice s = {});
array vecdot(const array& a, const array& b, int axis = -1, StreamOrDevice s = {});
array tensordot(const array& a, const array& b, const Axes& axes_a, const Axes& axes_b,
                StreamOrDevice s = {});
array tensordot(const array& a, const array& b, int axes = 2, StreamOrDevice s = {});
array kron(const array& a, const array& b, StreamOrDevice s = {});
array einsum(const std::string& subscripts, const Arrays& operands, StreamOrDevice s = {});
// How einsum contracts: which two of the terms left are replaced by their product, put last; and
// the multiplications, against those of a single sum over all labels.
struct EinsumPath {
  std::vector<std::pair<int, int>> pairs;
  double work, work_at_once;
};
EinsumPath einsum_path(const std::string& subscripts, const Arrays& operands);
// Products of the matrices of a (..., m, k) and b (..., k, n) that indices into their flattened
// leading axes name. The indices broadcast; without them the leading axes do.
array gather_mm(const array& a, const array& b, const std::optional<array>& lhs_indices = {},
                const std::optional<array>& rhs_indices = {}, StreamOrDevice s = {});
// A product with square blocks of a, b and the result zeroed (a bool mask) or scaled (a number for
// each block).
array block_masked_mm(const array& a, const array& b, int block_size = 64,
                      const std::optional<array>& mask_out = {},
                      const std::optional<array>& mask_lhs = {},
                      const std::optional<array>& mask_rhs = {}, StreamOrDevice s = {});
// a[:, i:j] @ b[i:j] for the segments (..., 2) of pairs i, j: shape (..., m, n).
array segmented_mm(const array& a, const array& b, const array& segments, StreamOrDevice s = {});
// The last axis, m * 2^k long with m one of 1, 12, 20, 28, times a Hadamard matrix and `scale`
// (1 / sqrt(length)).
array hadamard_transform(const array& a, std::optional<double> scale = {}, StreamOrDevice s = {});

// ---- Convolution ---- (of 1 to 3 dimensions; channels last)
// What is given once serves all spatial axes.
struct ConvOptions {
  Shape stride{1}, padding_low{0}, padding_high{0};  // a negative padding crops
  Shape kernel_dilation{1}, input_dilation{1};
  int groups = 1;
  bool flip = false;  // the kernel's spatial axes: a convolution instead of a correlation
  bool operator==(const ConvOptions&) const = default;
};
// input (n, *spatial, c), weight (o, *kernel, c / groups) -> (n, *out, o).
array conv_general(const array& input, const array& weight, const ConvOptions& options = {},
                   StreamOrDevice s = {});
// In `dims` dimensions: conv1d, conv2d, conv3d.
array conv(int dims, const array& input, const array& weight, const Shape& stride = {1},
           const Shape& padding = {0}, const Shape& dilation = {1}, int groups = 1,
           StreamOrDevice s = {});
// The transpose of a convolution from o to c channels: out = (in - 1) * stride - 2 * padding +
// dilation * (kernel - 1) + output_padding + 1.
array conv_transpose(int dims, const array& input, const array& weight, const Shape& stride = {1},
                     const Shape& padding = {0}, const Shape& dilation = {1},
                     const Shape& output_padding = {0}, int groups = 1, StreamOrDevice s = {});
// The convolution of two sequences. Modes: full, same (as long as the longer), valid.
array convolve(const array& a, const array& v, const std::string& mode = "full",
               StreamOrDevice s = {});

// ---- Quantization ---- of groups along the last axis; q is a little-endian stream of bits
enum class QuantizationMode : std::uint8_t {
  affine,  // scale * q + bias, q of 2, 3, 4, 5, 6 or 8 bits, groups of 32, 64 or 128
  // Floats of 4 bits (E2M1) or 8 (E4M3) times a scale that a uint8 code (E8M0 or E4M3) stands for.
  // mx: OCP Microscaling Formats 1.0, groups of 32 that share a power of two.
  mxfp4,  // E2M1 * E8M0
  mxfp8,  // E4M3 * E8M0
  // E2M1 * E4M3, groups of 16; times global_scale / 2688 where there is one. It is the largest
  // magnitude of all groups, so that the largest scale is the largest of E4M3, 448.
  nvfp4,
};
std::string_view name_of(QuantizationMode mode);
// std::invalid_argument, naming `op`, where there is none of that name.
QuantizationMode quantization_mode(std::string_view op, std::string_view name);

struct Quantized {
  array w, scales;
  std::optional<array> biases;  // affine
};
// w: (..., k) floating with k a multiple of the group size; the packed result is
// (..., k * bits / 32) uint32, scales and biases (..., k / group size). Group size and bits not
// given are the mode's: 64 and 4 for affine.
Quantized quantize(const array& w, std::optional<int> group_size = {}, std::optional<int> bits = {},
                   QuantizationMode mode = QuantizationMode::affine,
                   const std::optional<array>& global_scale = {}, StreamOrDevice s = {});
// As the scales' type unless told; float32 with a global scale, else bfloat16 where they are codes.
array dequantize(const array& w, const array& scales, const std::optional<array>& biases = {},
                 std::optional<int> group_size = {}, std::optional<int> bits = {},
                 QuantizationMode mode = QuantizationMode::affine,
                 const std::optional<array>& global_scale = {}, std::optional<Dtype> dtype = {},
                 StreamOrDevice s = {});
// x @ w, or x @ w.T when `transpose`, with w quantized.
array quantized_matmul(const array& x, const array& w, const array& scales,
                       const std::optional<array>& biases = {}, bool transpose = true,
                       std::optional<int> group_size = {}, std::optional<int> bits = {},
                       QuantizationMode mode = QuantizationMode::affine,
                       const std::optional<array>& global_scale = {}, StreamOrDevice s = {});
// As gather_mm, with w quantized.
array gather_qmm(const array& x, const array& w, const array& scales,
                 const std::optional<array>& biases = {},
                 const std::optional<array>& lhs_indices = {},
                 const std::optional<array>& rhs_indices = {}, bool transpose = true,
                 std::optional<int> group_size = {}, std::optional<int> bits = {},
                 QuantizationMode mode = QuantizationMode::affine,
                 const std::optional<array>& global_scale = {}, StreamOrDevice s = {});
// x @ w.T of both rounded to a format of floats; w is packed already where scales are given. The
// derivatives are those of the product of the rounded values (straight-through).
array qqmm(const array& x, const array& w, const std::optional<array>& scales = {},
           std::optional<int> group_size = {}, std::optional<int> bits = {},
           QuantizationMode mode = QuantizationMode::nvfp4,
           const std::optional<array>& global_scale_x = {},
           const std::optional<array>& global_scale_w = {}, StreamOrDevice s = {});
array gather_qqmm(const array& x, const array& w, const std::optional<array>& scales = {},
                  const std::optional<array>& lhs_indices = {},
                  const std::optional<array>& rhs_indices = {}, std::optional<int> group_size = {},
                  std::optional<int> bits = {}, QuantizationMode mode = QuantizationMode::nvfp4,
                  const std::optional<array>& global_scale_x = {},
                  const std::optional<array>& global_scale_w = {}, StreamOrDevice s = {});
// Values in the 8-bit float format E4M3 (Micikevicius et al., 2022, arXiv:2209.05433), as uint8:
// rounded to nearest, halves to even, and limited to +-448, infinities too.
array to_fp8(const array& x, StreamOrDevice s = {});
array from_fp8(const array& x, Dtype dtype = bfloat16, StreamOrDevice s = {});

// ---- Operators ---- (a C++ number behaves as a Python scalar: it does not promote the array)
inline array operator-(const array& a) { return negative(a); }
#define CERMET_OPERATOR(symbol, function)                                                 \
  inline array operator symbol(const array& a, const array& b) { return function(a, b); } \
  inline array operator symbol(const array& a, double b) {                                \
    return function(a, scalar_like(b, a));                                                \
  }                                                                                       \
  inline array operator symbol(double a, const array& b) { return function(scalar_like(a, b), b); }
CERMET_OPERATOR(+, add)
CERMET_OPERATOR(-, subtract)
CERMET_OPERATOR(*, multiply)
CERMET_OPERATOR(/, divide)
CERMET_OPERATOR(%, remainder)
CERMET_OPERATOR(==, equal)
CERMET_OPERATOR(!=, not_equal)
CERMET_OPERATOR(<, less)
CERMET_OPERATOR(<=, less_equal)
CERMET_OPERATOR(>, greater)
CERMET_OPERATOR(>=, greater_equal)
#undef CERMET_OPERATOR

}  // namespace cermet
