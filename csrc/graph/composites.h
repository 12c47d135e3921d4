// The composites, one class each: a backend that has a kernel for one computes it whole.
#pragma once

#include <variant>

#include "graph/convolution.h"
#include "graph/primitives/movement.h"

namespace cermet {

// A composite is told from others of its class by its options.
template <class Self, class OptionsOf>
class CompositeWith : public Composite {
 public:
  using Options = OptionsOf;
  explicit CompositeWith(Options options) : options(std::move(options)) {}
  const Options options;
  CERMET_FIELDS(options)
  bool equals(const Primitive& o) const override {
    const auto* other = dynamic_cast<const Self*>(&o);
    return other && options == other->options;
  }
};

#define CERMET_COMPOSITE(kind_name)                            \
  std::string_view name() const override { return kind_name; } \
  Arrays expand(const Node& node, std::span<const array> inputs) const override;

// ---- Products: an order of their own, and rules that keep them whole ----

// beta c + alpha (a @ b): c broadcasts to the product, of matrices or of batches that broadcast.
class Addmm final : public Composite {
 public:
  Addmm(double alpha, double beta) : alpha(alpha), beta(beta) {}
  const double alpha, beta;
  CERMET_FIELDS(alpha, beta)
  bool equals(const Primitive& o) const override {
    const auto* m = dynamic_cast<const Addmm*>(&o);
    return m && tied() == m->tied();
  }
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  CERMET_RULES("addmm")
};

// a @ b in type t for the operation `op`. A vector is a row on the left and a column on the right,
// and its axis goes.
array multiply_any(std::string_view op, const array& a, const array& b, Dtype t, StreamOrDevice s);

// A global scale is in units of its largest element: that of E2M1 times that of E4M3.
inline constexpr float kGlobalUnit = 6 * 448;

// How weights are packed, and whether a product is with their transpose.
struct QuantizedFormat {
  QuantizationMode mode;
  int bits, group_size;
  bool transpose = false;
  CERMET_FIELDS(mode, bits, group_size, transpose)
  bool operator==(const QuantizedFormat&) const = default;
  bool is_affine() const { return mode == QuantizationMode::affine; }
  // Of w, scales and, for affine, biases.
  std::size_t parts() const { return is_affine() ? 3 : 2; }
};

// Inputs x (..., k), w packed, scales, for affine biases, and the global scale where there is one,
// with equal leading axes of w, scales and biases and either none or those of x. The global scale
// broadcasts to the scales.
class QuantizedMatmul final : public CompositeWith<QuantizedMatmul, QuantizedFormat> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override { return i != 1 && (i != 2 || options.is_affine()); }
  std::string parameters() const override;
  CERMET_RULES("quantized_matmul")
};

// Throw where a mode has no such format or no such scale for arrays of the scales' shape.
QuantizedFormat format_of(std::string_view op, QuantizationMode mode, std::optional<int> group_size,
                          std::optional<int> bits, bool transpose = false);
void check_global(std::string_view op, QuantizationMode mode, const array& global_scale,
                  Shape scales);
// The product of such inputs, which are checked and brought to the node's form.
array quantized_matmul(const Arrays& inputs, const QuantizedFormat& format, StreamOrDevice s);

// Products of chosen matrices. Inputs a and b, or those of QuantizedMatmul; then the indices there
// are: of matrices of a and b, and of the sums, of which there are so many, that products go to.
// With `sums` it is closed: the derivative by each of the three is such a product.
struct GatheredOptions {
  std::optional<QuantizedFormat> format;
  bool global_scale, left, right;  // which side has indices
  std::optional<std::int64_t> sums;
  CERMET_FIELDS(format, global_scale, left, right, sums)
  bool operator==(const GatheredOptions&) const = default;
  // The inputs that are b or stand for it are 1 to here.
  std::size_t factors() const { return format ? 1 + format->parts() : 2; }
};
class GatheredMatmul final : public CompositeWith<GatheredMatmul, GatheredOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override;
  Shape output_shape(const Node& node, std::span<const array> inputs) const override {
    return Composite::output_shape(node, inputs);
  }
  std::string_view name() const override { return options.format ? "gather_qmm" : "gather_mm"; }
  array vjp(const Edge& e, const array& cotangent) const override;
  array jvp(const Edge& e, const array& tangent) const override;
  array vmap(const Batched& in, const array& output) const override;
};

array gathered(Arrays factors, const std::optional<array>& left, const std::optional<array>& right,
               const std::optional<QuantizedFormat>& format, Dtype dtype, StreamOrDevice s);

// Inputs a and b of one type, then the masks there are, of bools.
struct BlockMaskedOptions {
  int block_size;
  bool out, left, right;  // which have a mask
  CERMET_FIELDS(block_size, out, left, right)
  bool operator==(const BlockMaskedOptions&) const = default;
};
class BlockMaskedMatmul final : public CompositeWith<BlockMaskedMatmul, BlockMaskedOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override { return i < 2; }
  std::string parameters() const override;
  CERMET_RULES("block_masked_mm")
};

// Inputs a (m, k), b (k, n) and segments (..., 2) of k: products of a's columns and b's rows in
// each of them. Spread: inputs x (..., m, n), y (n, k) and such segments; the columns of the result
// in each are the sum of x y for those that have them. Each is a derivative of the other.
class SegmentedMatmul final : public CompositeWith<SegmentedMatmul, bool> {  // spread?
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override { return i < 2; }
  std::string parameters() const override { return options ? "spread" : ""; }
  CERMET_RULES("segmented_mm")
};

// What quantized arrays stand for, in the node's type. Inputs: w packed, scales, biases for affine,
// and the global scale where there is one.
class Dequantize final : public CompositeWith<Dequantize, QuantizedFormat> {
 public:
  using CompositeWith::CompositeWith;
  std::string parameters() const override;
  CERMET_COMPOSITE("dequantize")
};

// The scales for x (..., k), with what quantizing brings along: inputs x, floating, and the global
// scale where there is one. As codes (..., k / group size); for affine, scales and biases as
// (2, ..., k / group size) in the type that x is accumulated in.
class QuantizeScales final : public CompositeWith<QuantizeScales, QuantizedFormat> {
 public:
  using CompositeWith::CompositeWith;
  std::string parameters() const override;
  CERMET_COMPOSITE("quantize_scales")
};

// The elements of x (..., k), packed. Inputs: x, then what QuantizeScales gave: scales and biases,
// or codes and the global scale where there is one.
class QuantizeWords final : public CompositeWith<QuantizeWords, QuantizedFormat> {
 public:
  using CompositeWith::CompositeWith;
  std::string parameters() const override;
  CERMET_COMPOSITE("quantize")
};

// dequantize(quantize(x)), with derivatives as if it were x. Inputs: x and the global scale where
// there is one.
class Requantize final : public CompositeWith<Requantize, QuantizedFormat> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override { return i == 0; }
  std::string parameters() const override;
  CERMET_RULES("requantize")
};

// Inputs q (n, heads, rows, d), k and v (n, groups of heads, columns, d or any) of one type, then
// the mask and the sinks, (heads,) or (n, heads), where there are such.
struct AttentionOptions {
  double scale;
  bool causal, mask, sinks;
  CERMET_FIELDS(scale, causal, mask, sinks)
  bool operator==(const AttentionOptions&) const = default;
};
class Attention final : public CompositeWith<Attention, AttentionOptions> {
 public:
  using CompositeWith::CompositeWith;
  Rules rules() const override { return Rules::backward; }
  std::string parameters() const override;
  CERMET_COMPOSITE("scaled_dot_product_attention")
  array vmap(const Batched& in, const array& output) const override;
  array vjp(const Edge& e, const array& cotangent) const override;
  std::vector<std::optional<array>> vjp_together(std::span<const array> inputs, const array& output,
                                                 const array& cotangent) const override;
};

// Inputs those of an attention, its output and the cotangent of that: the cotangents of queries,
// keys, values and, where there are such, sinks, one after the other. Blocks of weights are
// computed again, so no scores are kept.
class AttentionGradient final : public CompositeWith<AttentionGradient, AttentionOptions> {
 public:
  using CompositeWith::CompositeWith;
  std::string parameters() const override;
  CERMET_COMPOSITE("attention_gradient")
  // Whether the cotangent of an attention's input i is among them.
  static bool gives(const AttentionOptions& options, std::size_t i);
};

// Inputs (n, *spatial, c) and (o, *kernel, c / groups) of one type.
class Convolution final : public CompositeWith<Convolution, ConvOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  CERMET_RULES("convolution")
};

// The gradients of a convolution, which is linear in each of its inputs. So are they, and each of
// the three is a derivative of the others.
struct ConvolutionGradientOptions {
  ConvOptions forward;
  Shape extents;  // of the space that the result has
  CERMET_FIELDS(forward, extents)
  bool operator==(const ConvolutionGradientOptions&) const = default;
};
// Inputs: the cotangent (n, *out, o) and the weight.
class ConvolutionInputGradient final
    : public CompositeWith<ConvolutionInputGradient, ConvolutionGradientOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  Shape input_shape(std::span<const array> inputs) const;
  CERMET_RULES("convolution_input_gradient")
};
// Inputs: the convolution's input and the cotangent.
class ConvolutionWeightGradient final
    : public CompositeWith<ConvolutionWeightGradient, ConvolutionGradientOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  CERMET_RULES("convolution_weight_gradient")
};

// ---- Others: they have the bits of their expansion ----

// Maxima of windows that slide over the spatial axes of x (n, *spatial, channels).
struct MaxPoolOptions {
  enum class Role : std::uint8_t {
    maximum,
    pick,   // from a second input of x's shape, at the places of the maxima
    spread  // a second input with an element for each window, added up at these places
  } role;
  Shape kernel, stride, padding;
  CERMET_FIELDS(role, kernel, stride, padding)
  bool operator==(const MaxPoolOptions&) const = default;
  std::vector<Along> axes(const Shape& input) const;
};
class MaxPool final : public CompositeWith<MaxPool, MaxPoolOptions> {
 public:
  using CompositeWith::CompositeWith;
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  bool differentiable_by(int i) const override {
    return options.role == MaxPoolOptions::Role::maximum || i == 1;
  }
  std::string parameters() const override;
  CERMET_RULES("max_pool")
};

// Inputs a (n, ..., l, d), the offset () or (n,), and the frequencies where there is no base.
struct RopeOptions {
  int dims;
  bool traditional;
  std::optional<double> base;
  double scale;
  CERMET_FIELDS(dims, traditional, base, scale)
  bool operator==(const RopeOptions&) const = default;
};
class Rope final : public CompositeWith<Rope, RopeOptions> {
 public:
  using CompositeWith::CompositeWith;
  CERMET_COMPOSITE("rope")
};

// Inputs of one type: the sorted sequence and the values whose places are asked for.
class SearchSorted final : public CompositeWith<SearchSorted, bool> {  // right of equal elements?
 public:
  using CompositeWith::CompositeWith;
  CERMET_COMPOSITE("searchsorted")
};

// What follows from its inputs' extents: in a shapeless trace it is computed again for others.
template <class Self, class OptionsOf>
class OfExtents : public CompositeWith<Self, OptionsOf> {
 public:
  using CompositeWith<Self, OptionsOf>::CompositeWith;
  Composite::Rules rules() const override { return Composite::Rules::all; }
  bool differentiable_by(int) const override { return false; }
  array vmap(const Batched& in, const array& output) const override {
    return Batched{{&expansion_of(*output.node()), 1}, std::array{false}, in.size}.all()[0];
  }
};
// How many elements an array has along some axes, less a number: a scalar of its type.
struct CountOptions {
  Axes axes;
  int less;
  CERMET_FIELDS(axes, less)
  bool operator==(const CountOptions&) const = default;
};
class Count final : public OfExtents<Count, CountOptions> {
 public:
  using OfExtents::OfExtents;
  CERMET_COMPOSITE("count")
};
// Inputs an array and a number, which is put in every place of such an array.
class Filled final : public OfExtents<Filled, std::monostate> {
 public:
  using OfExtents::OfExtents;
  CERMET_COMPOSITE("full_like")
};

// Inputs a and the indices along the axis, of equal extents but for it.
class TakeAlongAxis final : public CompositeWith<TakeAlongAxis, int> {
 public:
  using CompositeWith::CompositeWith;
  Rules rules() const override { return Rules::backward; }
  std::string parameters() const override { return "axis=" + std::to_string(options); }
  CERMET_COMPOSITE("take_along_axis")
  array vjp(const Edge& e, const array& cotangent) const override;
  array vmap(const Batched& in, const array& output) const override;
};
#undef CERMET_COMPOSITE

}  // namespace cermet
