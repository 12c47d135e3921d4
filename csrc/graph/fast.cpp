// The compositions of language models. Values of float16 and bfloat16 are computed in float32.
#include "cermet/fast.h"

#include <cmath>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace fast {
namespace {

void check_norm(std::string_view op, const array& x, std::string_view name,
                const std::optional<array>& parameter) {
  if (x.ndim() < 1) fail(op, "expected at least 1 dimension, got a scalar");
  if (parameter && parameter->shape() != Shape{x.shape(-1)})
    fail(op, name, " has shape ", parameter->shape(), ", expected ", Shape{x.shape(-1)});
}

Dtype norm_type(const array& x, const std::optional<array>& weight) {
  return weight ? promote(x.dtype(), weight->dtype()) : x.dtype();
}

// (..., D) as pairs of halves, (..., 2, D / 2), or of neighbours, (..., D / 2, 2).
Shape paired(const array& a, bool traditional) {
  Shape shape = a.shape();
  const std::int64_t half = shape.back() / 2;
  shape.back() = traditional ? half : 2;
  shape.push_back(traditional ? 2 : half);
  return shape;
}

// Angles of rotation (..., L, dims / 2) for positions (L,) or (B, ..., L).
array angles(const array& a, int dims, const std::optional<double>& base, double scale,
             const array& offset, const std::optional<array>& freqs, StreamOrDevice s) {
  array start = offset;
  if (offset.ndim() == 1) {
    Shape shape(a.ndim(), 1);
    shape[0] = offset.size();
    start = reshape(offset, shape, s);
  }
  const array counted = expand_dims(arange(a.shape(-2), s), {1}, s);
  const array positions = multiply(astype(add(counted, start, s), float32, s), array(scale), s);
  if (freqs) return divide(positions, astype(*freqs, float32, s), s);
  std::vector<float> speeds;
  for (int i = 0; i < dims; i += 2)
    speeds.push_back(static_cast<float>(std::pow(*base, -static_cast<double>(i) / dims)));
  return multiply(positions, array(speeds, {dims / 2}), s);
}

}  // namespace

array rms_norm(const array& x, const std::optional<array>& weight, double eps, StreamOrDevice s) {
  require_floating("rms_norm", x.dtype());
  check_norm("rms_norm", x, "weight", weight);
  const Dtype out = norm_type(x, weight), t = accurate(out);
  const array wide = astype(x, t, s);
  const array power = mean(square(wide, s), Axes{-1}, true, s);
  array y = multiply(wide, rsqrt(add(power, array(eps, t), s), s), s);
  if (weight) y = multiply(y, astype(*weight, t, s), s);
  return astype(y, out, s);
}

array layer_norm(const array& x, const std::optional<array>& weight,
                 const std::optional<array>& bias, double eps, StreamOrDevice s) {
  require_floating("layer_norm", x.dtype());
  check_norm("layer_norm", x, "weight", weight);
  check_norm("layer_norm", x, "bias", bias);
  const Dtype out = norm_type(x, weight), t = accurate(out);
  const array wide = astype(x, t, s);
  const array centred = subtract(wide, mean(wide, Axes{-1}, true, s), s);
  const array variance = mean(square(centred, s), Axes{-1}, true, s);
  array y = multiply(centred, rsqrt(add(variance, array(eps, t), s), s), s);
  if (weight) y = multiply(y, astype(*weight, t, s), s);
  if (bias) y = add(y, astype(*bias, t, s), s);
  return astype(y, out, s);
}

array rope(const array& a, int dims, bool traditional, std::optional<double> base, double scale,
           const array& offset, const std::optional<array>& freqs, StreamOrDevice s) {
  require_floating("rope", a.dtype());
  if (a.ndim() < 3) fail("rope", "expected at least 3 dimensions, got shape ", a.shape());
  if (dims <= 0 || dims % 2 != 0 || dims > a.shape(-1))
    fail("rope", "dims is ", dims, ", expected an even number up to the last extent of ",
         a.shape());
  if (base.has_value() == freqs.has_value()) fail("rope", "expected one of base and freqs");
  if (freqs && freqs->shape() != Shape{dims / 2})
    fail("rope", "freqs has shape ", freqs->shape(), ", expected ", Shape{dims / 2});
  if (!is_integer(offset.dtype()) || offset.ndim() > 1 ||
      (offset.ndim() == 1 && offset.size() != 1 && offset.size() != a.shape(0)))
    fail("rope", "the offset is ", offset.dtype(), " of shape ", offset.shape(),
         ", expected integers () or ", Shape{a.shape(0)});
  if (a.size() == 0) return a;
  SmallVector<array, 2> inputs{a, offset};
  if (freqs) inputs.push_back(*freqs);
  return array(make_ref<const Rope>(RopeOptions{dims, traditional, base, scale}), a.shape(),
               a.dtype(), std::move(inputs), s.resolve());
}

}  // namespace fast

Arrays Rope::expand(const Node& node, std::span<const array> inputs) const {
  const auto& [dims, traditional, base, scale] = options;
  const StreamOrDevice s = node.stream;
  const std::int64_t width = node.shape.back();
  const auto columns = [&](std::int64_t start, std::int64_t stop) {
    return section(inputs[0], inputs[0].ndim() - 1, start, stop, 1, s);
  };
  const array a = dims < width ? columns(0, dims) : inputs[0];
  std::optional<array> freqs;
  if (!base) freqs = inputs[2];
  // (x, y) turns to (x cos - y sin, y cos + x sin): the pair, and the pair flipped.
  const int pair = traditional ? -1 : -2;
  const array turn = fast::angles(a, dims, base, scale, inputs[1], freqs, s);
  // Sines are computed once for all heads, not once for each.
  const array signs = reshape(array({-1.0f, 1.0f}), traditional ? Shape{2} : Shape{2, 1}, s);
  const array along = contiguous(expand_dims(cos(turn, s), {pair}, s), false, s);
  const array across =
      contiguous(multiply(expand_dims(sin(turn, s), {pair}, s), signs, s), false, s);
  const array x = astype(reshape(a, fast::paired(a, traditional), s), accurate(a.dtype()), s);
  const array turned = add(multiply(x, along, s), multiply(flip(x, {pair}, s), across, s), s);
  const array out = astype(reshape(turned, a.shape(), s), a.dtype(), s);
  return {dims < width ? concatenate({out, columns(dims, width)}, -1, s) : out};
}

namespace fast {

array scaled_dot_product_attention(const array& q, const array& k, const array& v, double scale,
                                   const std::optional<array>& mask, bool causal,
                                   const std::optional<array>& sinks, StreamOrDevice s) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  for (const array& a : {q, k, v})
    if (a.ndim() != 4) fail(op, "expected 4 dimensions, got shape ", a.shape());
  const std::int64_t batch = q.shape(0), heads = q.shape(1), rows = q.shape(2), dim = q.shape(3);
  const std::int64_t groups = k.shape(1), columns = k.shape(2);
  if (k.shape(0) != batch || k.shape(3) != dim || v.shape(0) != batch || v.shape(1) != groups ||
      v.shape(2) != columns || groups == 0 || heads % groups != 0)
    fail(op, "queries ", q.shape(), ", keys ", k.shape(), " and values ", v.shape(), " do not fit");
  const Dtype t = promote(promote(q.dtype(), k.dtype()), v.dtype());
  require_floating(op, t);
  if (mask && causal) fail(op, "both a mask and causal are given");
  SmallVector<array, 2> inputs{astype(q, t, s), astype(k, t, s), astype(v, t, s)};
  if (mask) {
    const Shape full{batch, heads, rows, columns};
    if (!broadcasts_to(mask->shape(), full))
      fail(op, "the mask of shape ", mask->shape(), " does not broadcast to ", full);
    if (promote(mask->dtype(), t) != t)
      fail(op, "the mask is ", mask->dtype(), ", which does not promote to ", t);
    inputs.push_back(*mask);
  }
  if (sinks) {
    if (sinks->shape() != Shape{heads})
      fail(op, "sinks have shape ", sinks->shape(), ", expected ", Shape{heads});
    inputs.push_back(*sinks);
  }
  const AttentionOptions options{scale, causal, mask.has_value(), sinks.has_value()};
  return array(make_ref<const Attention>(options), {batch, heads, rows, v.shape(3)}, t,
               std::move(inputs), s.resolve());
}

}  // namespace fast

std::string Attention::parameters() const {
  return "scale=" + std::to_string(options.scale) + (options.causal ? ", causal" : "") +
         (options.mask ? ", mask" : "") + (options.sinks ? ", sinks" : "");
}

Arrays Attention::expand(const Node& node, std::span<const array> inputs) const {
  const array &q = inputs[0], &k = inputs[1], &v = inputs[2];
  const StreamOrDevice s = node.stream;
  const Dtype t = node.dtype;
  const std::int64_t batch = q.shape(0), heads = q.shape(1), rows = q.shape(2), dim = q.shape(3);
  const std::int64_t groups = k.shape(1), columns = k.shape(2);
  // The queries that share a head of keys are the rows of one matrix: keys are not repeated.
  const Shape grouped{batch, groups, heads / groups * rows, columns};
  const array scaled = multiply(q, array(options.scale, t), s);
  const array queries = reshape(scaled, {batch, groups, grouped[2], dim}, s);
  const array products = matmul(queries, swapaxes(k, -1, -2, s), s);
  const Shape full{batch, heads, rows, columns};
  const Dtype wide = accurate(t);
  array scores = reshape(astype(products, wide, s), full, s);

  const auto keep = [&](const array& attends) {
    return select(attends, scores, array(-std::numeric_limits<float>::max(), wide), s);
  };
  if (options.causal) {
    // The last query sees every key.
    const array row =
        arange(static_cast<double>(columns - rows), static_cast<double>(columns), 1, int32, s);
    scores = keep(greater_equal(expand_dims(row, {1}, s), arange(columns, s), s));
  } else if (options.mask) {
    const array& mask = inputs[3];
    scores = mask.dtype() == Dtype::bool_ ? keep(mask) : add(scores, astype(mask, wide, s), s);
  }

  array weights = scores;
  if (options.sinks) {
    // One more score a head that takes part in the sum alone.
    const array sink = reshape(astype(inputs.back(), wide, s), {-1, heads, 1, 1}, s);
    const array high = stop_gradient(maximum(max(scores, Axes{-1}, true, s), sink, s), s);
    const array e = exp(subtract(scores, high, s), s);
    const array total = add(sum(e, Axes{-1}, true, s), exp(subtract(sink, high, s), s), s);
    weights = divide(e, total, s);
  } else {
    weights = softmax(scores, Axes{-1}, true, s);
  }
  const array out = matmul(reshape(astype(weights, t, s), grouped, s), v, s);
  return {reshape(out, {batch, heads, rows, v.shape(3)}, s)};
}

array Attention::vmap(const Batched& in, const array& output) const {
  // The entries of the batch become entries of the node's own.
  const std::int64_t n = output.shape(0);
  SmallVector<array, 2> folded;
  for (std::size_t i = 0; i < in.inputs.size(); ++i) {
    const int axes = options.sinks && i + 1 == in.inputs.size() ? 2 : 4;
    array a = in.inputs[i];
    if (in.flags[i] || (a.ndim() == axes && a.shape(0) == n)) {
      a = expand_entries(Batched{{&a, 1}, {&in.flags[i], 1}, in.size}.all()[0], axes);
      Shape shape = a.shape();
      shape[1] = n;
      a = fold_batch(broadcast_to(a, shape));
    }
    folded.push_back(a);  // what has no entries of its own serves all
  }
  Shape shape = output.shape();
  shape[0] *= in.size;
  const array out(Ref<const Primitive>(this), shape, output.dtype(), folded, output.stream());
  return reshape(out, batch_shape(in.size, output.shape()));
}

namespace fast {

array cross_entropy(const array& logits, const array& targets, StreamOrDevice s) {
  require_floating("cross_entropy", logits.dtype());
  if (!is_integer(targets.dtype()))
    fail("cross_entropy", "targets are ", targets.dtype(), ", expected an integer type");
  if (logits.ndim() < 1 ||
      targets.shape() != Shape(logits.shape().begin(), logits.shape().end() - 1))
    fail("cross_entropy", "targets of shape ", targets.shape(), " for logits ", logits.shape(),
         ": expected the shape without the last axis");
  const array wide = astype(logits, accurate(logits.dtype()), s);
  const array chosen = take_along_axis(logits, expand_dims(targets, {-1}, s), -1, s);
  const auto [high, total] = log_total(wide, {logits.ndim() - 1}, s);
  const array loss = subtract(total, subtract(astype(chosen, wide.dtype(), s), high, s), s);
  return astype(squeeze(loss, {-1}, s), logits.dtype(), s);
}

}  // namespace fast
}  // namespace cermet
