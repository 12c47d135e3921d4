// Quantization: groups of the last axis, their elements packed in a little-endian stream of bits as
// integers (affine: w ~ scale * q + bias) or as small floats times a scale. Packing is arithmetic
// on whole blocks: the fewest values that fill a whole number of 32-bit words.
#include <algorithm>
#include <limits>
#include <numeric>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace {

using Mode = QuantizationMode;

// ---- Formats ----

// The formats of small floats: exponents of `bits` - 1 - `mantissa` bits with the usual bias, no
// infinities, subnormals; of 8 bits the code with all bits set is nan.
struct SmallFloat {
  int bits, mantissa;
  double largest;
  int emax;  // the largest's exponent
  int bias() const { return (1 << (bits - 2 - mantissa)) - 1; }
};
constexpr SmallFloat kE2M1{4, 1, 6, 2}, kE4M3{8, 3, 448, 8};
const SmallFloat& element_of(const QuantizedFormat& f) { return f.bits == 4 ? kE2M1 : kE4M3; }

struct ModeInfo {
  std::string_view name;
  std::vector<int> bits, groups;
  int default_bits, default_group;
};
const ModeInfo& info(Mode mode) {
  static const ModeInfo infos[] = {{"affine", {2, 3, 4, 5, 6, 8}, {32, 64, 128}, 4, 64},
                                   {"mxfp4", {4}, {32}, 4, 32},
                                   {"mxfp8", {8}, {32}, 8, 32},
                                   {"nvfp4", {4}, {16}, 4, 16}};
  return infos[static_cast<std::size_t>(mode)];
}

void check_choice(std::string_view op, std::string_view what, Mode mode, int value,
                  const std::vector<int>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  std::string expected;
  for (const int c : choices) expected += (expected.empty() ? "" : ", ") + std::to_string(c);
  fail(op, what, " is ", value, ", mode '", name_of(mode), "' has ", expected);
}

void check_floats(std::string_view op, Mode mode) {
  if (mode == Mode::affine)
    fail(op, "mode 'affine' is not supported, expected 'mxfp4', 'mxfp8' or 'nvfp4'");
}

}  // namespace

QuantizedFormat format_of(std::string_view op, Mode mode, std::optional<int> group_size,
                          std::optional<int> bits, bool transpose) {
  const ModeInfo& m = info(mode);
  const QuantizedFormat f{mode, bits.value_or(m.default_bits), group_size.value_or(m.default_group),
                          transpose};
  check_choice(op, "bits", mode, f.bits, m.bits);
  check_choice(op, "group_size", mode, f.group_size, m.groups);
  return f;
}

// A global scale is one number for each matrix: it broadcasts to the scales and is the same for all
// of a matrix.
void check_global(std::string_view op, Mode mode, const array& global_scale, Shape scales) {
  if (mode != Mode::nvfp4) fail(op, "mode '", name_of(mode), "' has no global_scale");
  if (global_scale.dtype() != float32)
    fail(op, "global_scale is ", global_scale.dtype(), ", expected float32");
  for (std::size_t i = 0; i < std::min<std::size_t>(scales.size(), 2); ++i)
    scales[scales.size() - 1 - i] = 1;
  if (!broadcasts_to(global_scale.shape(), scales))
    fail(op, "global_scale ", global_scale.shape(), " is not one number for each matrix");
}

namespace {

// Packed arrays as the composites take them: w, scales, biases, global scale.
Arrays parts_of(std::string_view op, Mode mode, const array& w, const array& scales,
                const std::optional<array>& biases, const std::optional<array>& global_scale) {
  if (mode == Mode::affine && !biases) fail(op, "mode 'affine' needs biases");
  if (mode != Mode::affine && biases) fail(op, "mode '", name_of(mode), "' has no biases");
  Arrays parts{w, scales};
  if (biases) parts.push_back(*biases);
  if (global_scale) {
    check_global(op, mode, *global_scale, scales.shape());
    parts.push_back(*global_scale);
  }
  return parts;
}

std::string text_of(const QuantizedFormat& f) {
  return "group_size=" + std::to_string(f.group_size) + ", bits=" + std::to_string(f.bits) +
         ", mode=" + std::string(name_of(f.mode));
}

// Value v of a block begins (v * bits - 32 * w) bits behind the start of word w.
struct Block {
  int values, words;
  array ahead, behind;  // shifts (words, values): that distance where positive, and its negative

  Block(int bits, StreamOrDevice s)
      : values(32 / std::gcd(32, bits)), words(bits / std::gcd(32, bits)), ahead(0), behind(0) {
    const array v = arange(0, values * bits, bits, int32, s);
    const array w = expand_dims(arange(0, words * 32, 32, int32, s), {1}, s);
    const array distance = subtract(v, w, s), zero(0);
    ahead = astype(maximum(distance, zero, s), uint32, s);
    behind = astype(maximum(negative(distance, s), zero, s), uint32, s);
  }
};

// The shape with its last axis replaced.
Shape with_last(Shape shape, std::initializer_list<std::int64_t> last) {
  shape.pop_back();
  for (const std::int64_t n : last) shape.push_back(n);
  return shape;
}

// A sum over one axis; over an axis of extent 1 there is nothing to add.
array sum_axis(const array& a, int axis, StreamOrDevice s) {
  return a.shape(axis) == 1 ? squeeze(a, {axis}, s) : sum(a, Axes{axis}, false, s);
}

// (..., k) integers below 2^bits to (..., k * bits / 32) words.
array pack(const array& q, int bits, StreamOrDevice s) {
  const Block block(bits, s);
  const std::int64_t blocks = q.shape(-1) / block.values;
  const array lanes = reshape(q, with_last(q.shape(), {blocks, 1, block.values}), s);
  // Shifted to its place in each word; what lies outside the word falls off.
  const array placed = right_shift(left_shift(lanes, block.ahead, s), block.behind, s);
  return reshape(sum_axis(placed, -1, s), with_last(q.shape(), {blocks * block.words}), s);
}

array unpack(const array& w, int bits, StreamOrDevice s) {
  const Block block(bits, s);
  const std::int64_t blocks = w.shape(-1) / block.words;
  const array words = reshape(w, with_last(w.shape(), {blocks, block.words, 1}), s);
  const array moved = left_shift(right_shift(words, block.ahead, s), block.behind, s);
  const array parts = bitwise_and(moved, array((std::int64_t{1} << bits) - 1, uint32), s);
  return reshape(sum_axis(parts, -2, s), with_last(w.shape(), {blocks * block.values}), s);
}

// The extent k that packed arrays stand for, checked against each other.
std::int64_t check_packed(std::string_view op, std::span<const array> parts,
                          const QuantizedFormat& f) {
  const array &w = parts[0], &scales = parts[1];
  if (w.dtype() != uint32) fail(op, "the packed array is ", w.dtype(), ", expected uint32");
  if (f.is_affine())
    require_floating(op, promote(scales.dtype(), parts[2].dtype()));
  else if (scales.dtype() != uint8)
    fail(op, "scales are ", scales.dtype(), ", mode '", name_of(f.mode), "' has codes in uint8");
  if (w.ndim() < 1) fail(op, "the packed array is a scalar, expected at least 1 dimension");
  const std::int64_t k = w.shape(-1) * 32 / f.bits;
  const Shape expected = with_last(w.shape(), {k / f.group_size});
  if (w.shape(-1) * 32 % f.bits != 0 || k % f.group_size != 0 || scales.shape() != expected ||
      (f.is_affine() && parts[2].shape() != expected))
    fail(op, "packed ", w.shape(), ", scales ", scales.shape(),
         f.is_affine() ? " and biases " + to_string(parts[2].shape()) : "",
         " do not fit groups of ", f.group_size, " elements of ", f.bits, " bits");
  return k;
}

// (..., k) as (..., groups, group size), and one value a group to go with it.
array grouped(const array& a, const QuantizedFormat& f, StreamOrDevice s) {
  return unflatten(a, -1, {-1, f.group_size}, s);
}
array per_group(const array& a, Dtype t, StreamOrDevice s) {
  return expand_dims(astype(a, t, s), {-1}, s);
}

// ---- Small floats ----

array word(std::int64_t n) { return array(n, uint32); }
array number(double v) { return array(v, float32); }
array nan32() { return number(std::numeric_limits<double>::quiet_NaN()); }

// The codes, in uint32, of float32 values: rounded to nearest, halves to even, limited to the
// largest; what is nan has the code given.
array encode(const array& v, const SmallFloat& f, int nan_code, StreamOrDevice s) {
  const array a = minimum(abs(v, s), number(f.largest), s);
  // Rounded at the last bit of the mantissa; then the exponent's bias falls from 127.
  const int shift = 23 - f.mantissa;
  const array bits = view(a, uint32, s);
  const array odd = bitwise_and(right_shift(bits, word(shift), s), word(1), s);
  const array rounded = add(bits, add(odd, word((1 << (shift - 1)) - 1), s), s);
  const array normal =
      subtract(right_shift(rounded, word(shift), s), word((127 - f.bias()) << f.mantissa), s);
  // Subnormals count steps, as the last bits of a number this large do.
  const int steps = f.bias() - 1 + f.mantissa;
  const array large(std::ldexp(1.0, 23 - steps), float32);
  const array small = subtract(view(add(a, large, s), uint32, s), view(large, uint32, s), s);
  const array code = where(less(a, number(std::ldexp(1.0, 1 - f.bias())), s), small, normal, s);
  const array sign = left_shift(right_shift(view(v, uint32, s), word(31), s), word(f.bits - 1), s);
  return where(isnan(v, s), word(nan_code), bitwise_or(code, sign, s), s);
}

// Back, in float32, from codes in uint32.
array decode(const array& code, const SmallFloat& f, StreamOrDevice s) {
  const array magnitude = bitwise_and(code, word((1 << (f.bits - 1)) - 1), s);
  const array normal =
      view(add(left_shift(magnitude, word(23 - f.mantissa), s), word((127 - f.bias()) << 23), s),
           float32, s);
  const array small = multiply(astype(magnitude, float32, s),
                               number(std::ldexp(1.0, 1 - f.bias() - f.mantissa)), s);
  const array value = where(less(magnitude, word(1 << f.mantissa), s), small, normal, s);
  const array sign = left_shift(right_shift(code, word(f.bits - 1), s), word(31), s);
  const array number = view(bitwise_or(view(value, uint32, s), sign, s), float32, s);
  return f.bits == 8 ? where(equal(magnitude, word(0x7F), s), nan32(), number, s) : number;
}

// What the codes of scales stand for, in float32.
array decode_scales(const array& codes, const QuantizedFormat& f,
                    const std::optional<array>& global_scale, StreamOrDevice s) {
  const array code = astype(codes, uint32, s);
  if (f.mode == Mode::nvfp4) {
    const array scale = decode(code, kE4M3, s);
    return global_scale ? multiply(scale, divide(*global_scale, number(kGlobalUnit), s), s) : scale;
  }
  // The exponent's bits of a float32, but for 2^-127, which is subnormal, and nan.
  const array bits =
      where(equal(code, word(0), s), word(1 << 22), left_shift(code, word(23), s), s);
  return where(equal(code, word(255), s), nan32(), view(bits, float32, s), s);
}

// The codes of scales for groups with these largest magnitudes: 1 for groups of zeros, nan where
// the magnitude is not finite.
array encode_scales(const array& largest, const QuantizedFormat& f,
                    const std::optional<array>& global_scale, StreamOrDevice s) {
  array code = word(0);
  if (f.mode == Mode::nvfp4) {
    // So that the largest element becomes 6. No element is lost to a scale of 0.
    const array six = global_scale
                          ? multiply(divide(*global_scale, number(kGlobalUnit), s), number(6), s)
                          : number(6);
    code = maximum(encode(divide(largest, six, s), kE4M3, 0x7F, s), word(1), s);
  } else {
    // So that its exponent becomes the largest of the elements' type.
    const array emax = word(element_of(f).emax);
    code = subtract(maximum(right_shift(view(largest, uint32, s), word(23), s), emax, s), emax, s);
  }
  const bool nv = f.mode == Mode::nvfp4;
  code = where(equal(largest, number(0), s), word(nv ? 0x38 : 127), code, s);
  return astype(where(isfinite(largest, s), code, word(nv ? 0x7F : 255), s), uint8, s);
}

// Scale and bias of groups with these extremes.
array affine_scales(const array& high, const array& low, int bits, StreamOrDevice s) {
  const auto number = [&](double v) { return array(v, high.dtype()); };
  const double steps = (1 << bits) - 1;
  // Counted from the edge of larger magnitude, which a whole number of steps from zero represents
  // exactly; then so is zero.
  const array from_low = greater(abs(low, s), abs(high, s), s);
  const array width = maximum(divide(subtract(high, low, s), number(steps), s), number(1e-7), s);
  const array step = select(from_low, width, negative(width, s), s);
  const array edge = select(from_low, low, high, s);
  const array whole = rint(divide(edge, step, s), s);
  const array zero = equal(whole, number(0), s);
  const array scale = select(zero, step, divide(edge, select(zero, number(1), whole, s), s), s);
  return stack({scale, select(zero, number(0), edge, s)}, 0, s);
}

// ---- Nodes ----

template <class P>
array node(const QuantizedFormat& f, Shape shape, Dtype dtype, std::initializer_list<array> inputs,
           const std::optional<array>& last, StreamOrDevice s) {
  SmallVector<array, 2> all(inputs.begin(), inputs.end());
  if (last) all.push_back(*last);
  return array(make_ref<const P>(f), std::move(shape), dtype, std::move(all), s.resolve());
}

array dequantize_parts(const Arrays& parts, const QuantizedFormat& f, Dtype dtype,
                       StreamOrDevice s) {
  const std::int64_t k = check_packed("dequantize", parts, f);
  return array(make_ref<const Dequantize>(f), with_last(parts[0].shape(), {k}), dtype,
               SmallVector<array, 2>(parts.begin(), parts.end()), s.resolve());
}

}  // namespace

std::string_view name_of(Mode mode) { return info(mode).name; }

Mode quantization_mode(std::string_view op, std::string_view name) {
  for (const Mode m : {Mode::affine, Mode::mxfp4, Mode::mxfp8, Mode::nvfp4})
    if (name_of(m) == name) return m;
  fail(op, "mode is '", name, "', expected 'affine', 'mxfp4', 'mxfp8' or 'nvfp4'");
}

// ---- Quantizing and back ----

Quantized quantize(const array& w, std::optional<int> group_size, std::optional<int> bits,
                   Mode mode, const std::optional<array>& global_scale, StreamOrDevice s) {
  constexpr std::string_view op = "quantize";
  const QuantizedFormat f = format_of(op, mode, group_size, bits);
  if (w.ndim() < 2) fail(op, "expected at least 2 axes, got shape ", w.shape());
  require_floating(op, w.dtype());
  if (w.shape(-1) % f.group_size != 0)
    fail(op, "the last axis of ", w.shape(), " is not a multiple of the group size ", f.group_size);
  if (global_scale) check_global(op, mode, *global_scale, w.shape());
  Shape groups = with_last(w.shape(), {w.shape(-1) / f.group_size});
  Shape words = with_last(w.shape(), {w.shape(-1) * f.bits / 32});
  if (f.is_affine()) {
    groups.insert(groups.begin(), 2);
    const array both = node<QuantizeScales>(f, std::move(groups), accurate(w.dtype()), {w}, {}, s);
    const auto part = [&](int i) { return squeeze(section(both, 0, i, i + 1, 1, s), {0}, s); };
    const array scales = part(0), biases = part(1);
    return {node<QuantizeWords>(f, std::move(words), uint32, {w, scales, biases}, {}, s),
            astype(scales, w.dtype(), s), astype(biases, w.dtype(), s)};
  }
  const array x = w.dtype() == float64 ? astype(w, float32, s) : w;
  const array codes = node<QuantizeScales>(f, std::move(groups), uint8, {x}, global_scale, s);
  return {node<QuantizeWords>(f, std::move(words), uint32, {x, codes}, global_scale, s), codes, {}};
}

Arrays QuantizeScales::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const array x = grouped(astype(inputs[0], accurate(inputs[0].dtype()), s), options, s);
  const array high = max(x, Axes{-1}, false, s), low = min(x, Axes{-1}, false, s);
  if (options.is_affine()) return {affine_scales(high, low, options.bits, s)};
  const auto global = inputs.size() > 1 ? std::optional(inputs[1]) : std::nullopt;
  return {encode_scales(maximum(abs(high, s), abs(low, s), s), options, global, s)};
}

Arrays QuantizeWords::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const bool affine = options.is_affine();
  const Dtype t = affine ? inputs[1].dtype() : float32;
  const auto number = [&](double v) { return array(v, t); };
  array x = grouped(astype(inputs[0], t, s), options, s), q = x;
  if (affine) {
    x = divide(subtract(x, per_group(inputs[2], t, s), s), per_group(inputs[1], t, s), s);
    // A nan is not greater than 0, and the code 0.
    const array limited = select(greater(x, number(0), s),
                                 minimum(x, number((1 << options.bits) - 1), s), number(0), s);
    q = astype(rint(limited, s), uint32, s);
  } else {
    const auto global = inputs.size() > 2 ? std::optional(inputs[2]) : std::nullopt;
    const array scales = decode_scales(inputs[1], options, global, s);
    q = encode(divide(x, per_group(scales, t, s), s), element_of(options), 0, s);
  }
  return {pack(reshape(q, inputs[0].shape(), s), options.bits, s)};
}

array dequantize(const array& w, const array& scales, const std::optional<array>& biases,
                 std::optional<int> group_size, std::optional<int> bits, Mode mode,
                 const std::optional<array>& global_scale, std::optional<Dtype> dtype,
                 StreamOrDevice s) {
  constexpr std::string_view op = "dequantize";
  const QuantizedFormat f = format_of(op, mode, group_size, bits);
  const Arrays parts = parts_of(op, mode, w, scales, biases, global_scale);
  const Dtype given = biases         ? promote(scales.dtype(), biases->dtype())
                      : global_scale ? float32
                                     : bfloat16;
  require_floating(op, dtype.value_or(given));
  return dequantize_parts(parts, f, dtype.value_or(given), s);
}

Arrays Dequantize::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const array code = unpack(inputs[0], options.bits, s);
  const auto finish = [&](const array& v) {
    return astype(reshape(v, node.shape, s), node.dtype, s);
  };
  if (!options.is_affine()) {
    const auto global = inputs.size() > 2 ? std::optional(inputs[2]) : std::nullopt;
    const array scales = decode_scales(inputs[1], options, global, s);
    return {finish(multiply(grouped(decode(code, element_of(options), s), options, s),
                            per_group(scales, float32, s), s))};
  }
  const Dtype t = accurate(promote(inputs[1].dtype(), inputs[2].dtype()));
  const array q = grouped(astype(code, t, s), options, s);
  return {finish(add(multiply(q, per_group(inputs[1], t, s), s), per_group(inputs[2], t, s), s))};
}

Arrays Requantize::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const auto global = inputs.size() > 1 ? std::optional(inputs[1]) : std::nullopt;
  const Quantized q =
      quantize(inputs[0], options.group_size, options.bits, options.mode, global, s);
  return {dequantize(q.w, q.scales, q.biases, options.group_size, options.bits, options.mode,
                     global, node.dtype, s)};
}
Shape Requantize::output_shape(const Node&, std::span<const array> inputs) const {
  return inputs[0].shape();
}
array Requantize::vjp(const Edge&, const array& cotangent) const { return cotangent; }
array Requantize::jvp(const Edge&, const array& tangent) const { return tangent; }
array Requantize::vmap(const Batched& in, const array& output) const {
  Arrays all = in.all();
  if (all.size() > 1) all[1] = expand_entries(all[1], output.ndim());
  return array(Ref<const Requantize>(this), all[0].shape(), output.dtype(),
               SmallVector<array, 2>(all.begin(), all.end()), output.stream());
}

std::string Dequantize::parameters() const { return text_of(options); }
std::string QuantizeScales::parameters() const { return text_of(options); }
std::string QuantizeWords::parameters() const { return text_of(options); }
std::string Requantize::parameters() const { return text_of(options); }
std::string QuantizedMatmul::parameters() const {
  return "transpose=" + std::string(options.transpose ? "true" : "false") + ", " + text_of(options);
}

// ---- Products ----

array quantized_matmul(const Arrays& inputs, const QuantizedFormat& format, StreamOrDevice s) {
  constexpr std::string_view op = "quantized_matmul";
  const array &x = inputs[0], &w = inputs[1];
  const std::int64_t extent = check_packed(op, std::span(inputs).subspan(1), format);
  if (x.ndim() < 1 || w.ndim() < 2)
    fail(op, "x ", x.shape(), " and packed ", w.shape(), ": expected at least 1 and 2 dimensions");
  const bool affine = format.is_affine();
  Dtype t = x.dtype();
  if (affine) t = promote(t, promote(inputs[2].dtype(), inputs[3].dtype()));
  require_floating(op, t);
  const std::int64_t k = format.transpose ? extent : w.shape(-2),
                     n = format.transpose ? w.shape(-2) : extent;
  if (x.shape(-1) != k)
    fail(op, "x ", x.shape(), " has ", x.shape(-1), " columns, the quantized matrix needs ", k);
  if (x.ndim() == 1) {
    Arrays rows = inputs;
    rows[0] = expand_dims(x, {0}, s);
    return squeeze(quantized_matmul(rows, format, s), {-2}, s);
  }
  // A single matrix serves every row of x; otherwise both have the same batch axes.
  const bool one = w.ndim() == 2;
  const Shape batch = one ? batch_of(x) : broadcast_shapes(batch_of(x), batch_of(w));
  SmallVector<array, 2> node_inputs;
  // Scales and biases of 16 bits stay: widened ones would be a copy.
  const bool kept = affine && inputs[2].dtype() == inputs[3].dtype() &&
                    (inputs[2].dtype() == float16 || inputs[2].dtype() == bfloat16);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const bool floats = i == 0 || (affine && i > 1 && !kept);
    array a = floats ? astype(inputs[i], t, s) : inputs[i];
    if (!one && i <= format.parts())
      a = broadcast_to(a, matrices(batch, a.shape(-2), a.shape(-1)), s);
    node_inputs.push_back(std::move(a));
  }
  return array(make_ref<const QuantizedMatmul>(format), matrices(batch, x.shape(-2), n), t,
               std::move(node_inputs), s.resolve());
}

array quantized_matmul(const array& x, const array& w, const array& scales,
                       const std::optional<array>& biases, bool transpose,
                       std::optional<int> group_size, std::optional<int> bits, Mode mode,
                       const std::optional<array>& global_scale, StreamOrDevice s) {
  constexpr std::string_view op = "quantized_matmul";
  const QuantizedFormat f = format_of(op, mode, group_size, bits, transpose);
  Arrays inputs = parts_of(op, mode, w, scales, biases, global_scale);
  inputs.insert(inputs.begin(), x);
  return quantized_matmul(inputs, f, s);
}

// In the type that a product is accumulated in, as a device does that takes it whole.
Arrays QuantizedMatmul::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const Dtype t = accurate(node.dtype);
  const array w = dequantize_parts(Arrays(inputs.begin() + 1, inputs.end()), options, t, s);
  return {astype(matmul(astype(inputs[0], t, s), options.transpose ? swapaxes(w, -1, -2, s) : w, s),
                 node.dtype, s)};
}

array gather_qmm(const array& x, const array& w, const array& scales,
                 const std::optional<array>& biases, const std::optional<array>& lhs_indices,
                 const std::optional<array>& rhs_indices, bool transpose,
                 std::optional<int> group_size, std::optional<int> bits, Mode mode,
                 const std::optional<array>& global_scale, StreamOrDevice s) {
  constexpr std::string_view op = "gather_qmm";
  const QuantizedFormat f = format_of(op, mode, group_size, bits, transpose);
  Arrays inputs = parts_of(op, mode, w, scales, biases, global_scale);
  check_packed(op, inputs, f);
  if (x.ndim() < 2 || w.ndim() < 2)
    fail(op, "x ", x.shape(), " and packed ", w.shape(), ": expected at least 2 dimensions");
  if (global_scale) {  // indices choose matrices, not their scale
    if (global_scale->size() != 1)
      fail(op, "global_scale ", global_scale->shape(), " is not one number");
    inputs.back() = reshape(*global_scale, {}, s);
  }
  Dtype t = x.dtype();
  if (biases) {
    t = promote(t, promote(scales.dtype(), biases->dtype()));
    for (std::size_t i : {1, 2}) inputs[i] = astype(inputs[i], t, s);
  }
  inputs.insert(inputs.begin(), astype(x, t, s));
  return gathered(std::move(inputs), lhs_indices, rhs_indices, f, t, s);
}

namespace {

// `a` rounded to a format of floats.
array requantize(std::string_view op, const array& a, const QuantizedFormat& f,
                 const std::optional<array>& global_scale, StreamOrDevice s) {
  require_floating(op, a.dtype());
  if (a.ndim() < 1 || a.shape(-1) % f.group_size != 0)
    fail(op, "the last axis of ", a.shape(), " is not a multiple of the group size ", f.group_size);
  SmallVector<array, 2> inputs{a};
  if (global_scale) {
    check_global(op, f.mode, *global_scale, a.shape());
    inputs.push_back(*global_scale);
  }
  return array(make_ref<const Requantize>(f), a.shape(), a.dtype(), std::move(inputs), s.resolve());
}

}  // namespace

array qqmm(const array& x, const array& w, const std::optional<array>& scales,
           std::optional<int> group_size, std::optional<int> bits, Mode mode,
           const std::optional<array>& global_scale_x, const std::optional<array>& global_scale_w,
           StreamOrDevice s) {
  constexpr std::string_view op = "qqmm";
  check_floats(op, mode);
  const QuantizedFormat f = format_of(op, mode, group_size, bits, true);
  if (x.ndim() == 1)
    return squeeze(qqmm(expand_dims(x, {0}, s), w, scales, group_size, bits, mode, global_scale_x,
                        global_scale_w, s),
                   {-2}, s);
  if (w.ndim() < 2) fail(op, "w ", w.shape(), ": expected at least 2 dimensions");
  const array rounded = requantize(op, x, f, global_scale_x, s);
  if (!scales)
    return matmul(rounded, swapaxes(requantize(op, w, f, global_scale_w, s), -1, -2, s), s);
  Arrays inputs = parts_of(op, mode, w, *scales, {}, global_scale_w);
  inputs.insert(inputs.begin(), rounded);
  return quantized_matmul(inputs, f, s);
}

array gather_qqmm(const array& x, const array& w, const std::optional<array>& scales,
                  const std::optional<array>& lhs_indices, const std::optional<array>& rhs_indices,
                  std::optional<int> group_size, std::optional<int> bits, Mode mode,
                  const std::optional<array>& global_scale_x,
                  const std::optional<array>& global_scale_w, StreamOrDevice s) {
  constexpr std::string_view op = "gather_qqmm";
  check_floats(op, mode);
  const QuantizedFormat f = format_of(op, mode, group_size, bits, true);
  if (x.ndim() < 2 || w.ndim() < 2)
    fail(op, "shapes ", x.shape(), " and ", w.shape(), ": expected at least 2 dimensions");
  const array rounded = requantize(op, x, f, global_scale_x, s);
  if (!scales)
    return gather_mm(rounded, swapaxes(requantize(op, w, f, global_scale_w, s), -1, -2, s),
                     lhs_indices, rhs_indices, s);
  return gather_qmm(rounded, w, *scales, {}, lhs_indices, rhs_indices, true, f.group_size, f.bits,
                    mode, global_scale_w, s);
}

// ---- 8-bit floats ----

array to_fp8(const array& x, StreamOrDevice s) {
  if (!is_floating(x.dtype())) fail("to_fp8", x.dtype(), " is not supported, expected a float");
  return astype(encode(astype(x, float32, s), kE4M3, 0x7F, s), uint8, s);
}

array from_fp8(const array& x, Dtype dtype, StreamOrDevice s) {
  if (x.dtype() != uint8) fail("from_fp8", "x is ", x.dtype(), ", expected uint8");
  if (!is_floating(dtype)) fail("from_fp8", dtype, " is not supported, expected a float");
  return astype(decode(astype(x, uint32, s), kE4M3, s), dtype, s);
}

}  // namespace cermet
