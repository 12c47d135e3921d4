// Affine quantization: groups of the last axis as w ~ scale * q + bias, the integers q packed in a
// little-endian stream of bits. Packing is arithmetic on whole blocks: the fewest values that fill
// a whole number of 32-bit words. And 8-bit floats, converted through the bits of wider ones.
#include <algorithm>
#include <limits>
#include <numeric>

#include "graph/check.h"
#include "graph/composites.h"

namespace cermet {
namespace {

template <class List>
void check_choice(std::string_view op, std::string_view what, int value, const List& choices) {
  if (std::find(std::begin(choices), std::end(choices), value) != std::end(choices)) return;
  std::string expected;
  for (const int c : choices) expected += (expected.empty() ? "" : ", ") + std::to_string(c);
  fail(op, what, " is ", value, ", expected one of ", expected);
}

void check_format(std::string_view op, int group_size, int bits) {
  constexpr int kBits[] = {2, 3, 4, 5, 6, 8}, kGroups[] = {32, 64, 128};
  check_choice(op, "bits", bits, kBits);
  check_choice(op, "group_size", group_size, kGroups);
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

// The extent k that packed words, scales and biases stand for, checked against each other.
std::int64_t check_packed(std::string_view op, const array& w, const array& scales,
                          const array& biases, int group_size, int bits) {
  check_format(op, group_size, bits);
  if (w.dtype() != uint32) fail(op, "the packed array is ", w.dtype(), ", expected uint32");
  require_floating(op, promote(scales.dtype(), biases.dtype()));
  if (w.ndim() < 1) fail(op, "the packed array is a scalar, expected at least 1 dimension");
  const std::int64_t k = w.shape(-1) * 32 / bits;
  const Shape expected = with_last(w.shape(), {k / group_size});
  if (w.shape(-1) * 32 % bits != 0 || k % group_size != 0 || scales.shape() != expected ||
      biases.shape() != expected)
    fail(op, "packed ", w.shape(), ", scales ", scales.shape(), " and biases ", biases.shape(),
         " do not fit groups of ", group_size, " elements of ", bits, " bits");
  return k;
}

}  // namespace

Quantized quantize(const array& w, int group_size, int bits, StreamOrDevice s) {
  check_format("quantize", group_size, bits);
  if (w.ndim() < 2) fail("quantize", "expected at least 2 axes, got shape ", w.shape());
  require_floating("quantize", w.dtype());
  if (w.ndim() < 1 || w.shape(-1) % group_size != 0)
    fail("quantize", "the last axis of ", w.shape(), " is not a multiple of the group size ",
         group_size);
  const Dtype t = accurate(w.dtype());
  const auto number = [&](double v) { return array(v, t); };
  const std::int64_t groups = w.shape(-1) / group_size;
  const array x = astype(reshape(w, with_last(w.shape(), {groups, group_size}), s), t, s);
  const array high = max(x, Axes{-1}, true, s), low = min(x, Axes{-1}, true, s);
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
  const array bias = select(zero, number(0), edge, s);
  const array q =
      clip(rint(divide(subtract(x, bias, s), scale, s), s), number(0), number(steps), s);
  const auto finish = [&](const array& a) { return astype(squeeze(a, {-1}, s), w.dtype(), s); };
  return {pack(reshape(astype(q, uint32, s), w.shape(), s), bits, s), finish(scale), finish(bias)};
}

array dequantize(const array& w, const array& scales, const array& biases, int group_size, int bits,
                 std::optional<Dtype> dtype, StreamOrDevice s) {
  const std::int64_t k = check_packed("dequantize", w, scales, biases, group_size, bits);
  const Dtype given = promote(scales.dtype(), biases.dtype()), t = accurate(given);
  const array q = astype(unpack(w, bits, s), t, s);
  const array grouped = reshape(q, with_last(w.shape(), {k / group_size, group_size}), s);
  const array out = add(multiply(grouped, expand_dims(astype(scales, t, s), {-1}, s), s),
                        expand_dims(astype(biases, t, s), {-1}, s), s);
  return astype(reshape(out, with_last(w.shape(), {k}), s), dtype.value_or(given), s);
}

array quantized_matmul(const array& x, const array& w, const array& scales, const array& biases,
                       bool transpose, int group_size, int bits, StreamOrDevice s) {
  constexpr std::string_view op = "quantized_matmul";
  const std::int64_t extent = check_packed(op, w, scales, biases, group_size, bits);
  if (x.ndim() < 1 || w.ndim() < 2)
    fail(op, "x ", x.shape(), " and packed ", w.shape(), ": expected at least 1 and 2 dimensions");
  const Dtype t = promote(x.dtype(), promote(scales.dtype(), biases.dtype()));
  require_floating(op, t);
  const std::int64_t k = transpose ? extent : w.shape(-2), n = transpose ? w.shape(-2) : extent;
  if (x.shape(-1) != k)
    fail(op, "x ", x.shape(), " has ", x.shape(-1), " columns, the quantized matrix needs ", k);
  if (x.ndim() == 1)
    return squeeze(
        quantized_matmul(expand_dims(x, {0}, s), w, scales, biases, transpose, group_size, bits, s),
        {-2}, s);
  // A single matrix serves every row of x; otherwise both have the same batch axes.
  Shape batch = batch_of(x);
  const auto batched = [&](const array& a, Dtype dtype) {
    return broadcast_to(astype(a, dtype, s), matrices(batch, a.shape(-2), a.shape(-1)), s);
  };
  SmallVector<array, 2> inputs;
  if (w.ndim() == 2) {
    inputs = {astype(x, t, s), w, astype(scales, t, s), astype(biases, t, s)};
  } else {
    batch = broadcast_shapes(batch, batch_of(w));
    inputs = {batched(x, t), batched(w, uint32), batched(scales, t), batched(biases, t)};
  }
  return array(make_ref<const QuantizedMatmul>(QuantizedFormat{transpose, group_size, bits}),
               matrices(batch, x.shape(-2), n), t, std::move(inputs), s.resolve());
}

Arrays QuantizedMatmul::expand(const Node& node, std::span<const array> inputs) const {
  const array w = dequantize(inputs[1], inputs[2], inputs[3], options.group_size, options.bits,
                             node.dtype, node.stream);
  return {matmul(inputs[0], options.transpose ? swapaxes(w, -1, -2, node.stream) : w, node.stream)};
}

array gather_qmm(const array& x, const array& w, const array& scales, const array& biases,
                 const std::optional<array>& lhs_indices, const std::optional<array>& rhs_indices,
                 bool transpose, int group_size, int bits, StreamOrDevice s) {
  constexpr std::string_view op = "gather_qmm";
  check_packed(op, w, scales, biases, group_size, bits);
  if (x.ndim() < 2 || w.ndim() < 2)
    fail(op, "x ", x.shape(), " and packed ", w.shape(), ": expected at least 2 dimensions");
  return gathered({x, w, scales, biases}, lhs_indices, rhs_indices,
                  QuantizedFormat{transpose, group_size, bits}, s);
}

array to_fp8(const array& x, StreamOrDevice s) {
  if (!is_floating(x.dtype())) fail("to_fp8", x.dtype(), " is not supported, expected a float");
  const auto word = [](std::int64_t n) { return array(n, uint32); };
  const array v = astype(x, float32, s), a = minimum(abs(v, s), array(448.0, float32), s);
  // Rounded at bit 20, the last of 3 mantissa bits; the exponent's bias falls from 127 to 7.
  const array bits = view(a, uint32, s);
  const array odd = bitwise_and(right_shift(bits, word(20), s), word(1), s);
  const array rounded = add(bits, add(odd, word(0x7FFFF), s), s);
  const array normal = subtract(right_shift(rounded, word(20), s), word(120 << 3), s);
  // Below 2^-6 the codes count steps of 2^-9.
  const array steps = astype(round(multiply(a, array(512.0, float32), s), 0, s), uint32, s);
  const array code = where(less(a, array(0x1p-6, float32), s), steps, normal, s);
  const array sign = bitwise_and(right_shift(view(v, uint32, s), word(24), s), word(0x80), s);
  return astype(bitwise_or(where(isnan(v, s), word(0x7F), code, s), sign, s), uint8, s);
}

array from_fp8(const array& x, Dtype dtype, StreamOrDevice s) {
  if (x.dtype() != uint8) fail("from_fp8", "x is ", x.dtype(), ", expected uint8");
  if (!is_floating(dtype)) fail("from_fp8", dtype, " is not supported, expected a float");
  const auto word = [](std::int64_t n) { return array(n, uint16); };
  const array wide = astype(x, uint16, s), code = bitwise_and(wide, word(0x7F), s);
  const array sign = bitwise_and(left_shift(wide, word(8), s), word(0x8000), s);
  // The bits of a float16, whose exponent's bias is larger by 8.
  const array half = view(bitwise_or(left_shift(code, word(7), s), sign, s), float16, s);
  const array value = multiply(astype(half, float32, s), array(256.0, float32), s);
  const array nan(std::numeric_limits<double>::quiet_NaN(), float32);
  return astype(where(equal(code, word(0x7F), s), nan, value, s), dtype, s);
}

}  // namespace cermet
