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
  const Dtype out = norm_type(x, weight);
  require_floating("rms_norm", out);
  check_norm("rms_norm", x, "weight", weight);
  const Dtype t = accurate(out);
  const array wide = astype(x, t, s);
  const array power = mean(square(wide, s), Axes{-1}, true, s);
  array y = multiply(wide, rsqrt(add(power, array(eps, t), s), s), s);
  if (weight) y = multiply(y, astype(*weight, t, s), s);
  return astype(y, out, s);
}

array layer_norm(const array& x, const std::optional<array>& weight,
                 const std::optional<array>& bias, double eps, StreamOrDevice s) {
  Dtype out = norm_type(x, weight);
  if (weight && bias) out = promote(out, bias->dtype());
  require_floating("layer_norm", out);
  check_norm("layer_norm", x, "weight", weight);
  check_norm("layer_norm", x, "bias", bias);
  const Dtype t = accurate(out);
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
  const array& a = inputs[0];
  const int last = a.ndim() - 1;
  const std::int64_t width = node.shape.back(), half = dims / 2;
  // The first numbers of the pairs, or the second ones: neighbours, or halves.
  const auto side = [&](int which) {
    const array part = traditional ? section(a, last, which, dims, 2, s)
                                   : section(a, last, which * half, (which + 1) * half, 1, s);
    return astype(part, accurate(a.dtype()), s);
  };
  std::optional<array> freqs;
  if (!base) freqs = inputs[2];
  const array turn = fast::angles(a, dims, base, scale, inputs[1], freqs, s);
  // Sines are computed once for all heads, not once for each.
  const array c = contiguous(cos(turn, s), false, s), d = contiguous(sin(turn, s), false, s);
  const array x = side(0), y = side(1);
  Arrays turned{subtract(multiply(x, c, s), multiply(y, d, s), s),
                add(multiply(y, c, s), multiply(x, d, s), s)};
  for (array& t : turned) {
    t = astype(t, a.dtype(), s);
    if (traditional) t = expand_dims(t, {-1}, s);
  }
  // Both are stored where they belong by what computes them.
  array out = concatenate(turned, -1, s);
  Shape rotated = a.shape();
  rotated.back() = dims;
  if (traditional) out = reshape(out, rotated, s);
  return {dims < width ? concatenate({out, section(a, last, dims, width, 1, s)}, -1, s) : out};
}

namespace fast {

Arrays gated_delta_update(const array& q, const array& k, const array& v, const array& gamma,
                          const array& beta, const std::optional<array>& initial_state,
                          const std::optional<array>& mask, StreamOrDevice s) {
  const std::string_view op = "gated_delta_update";
  if (q.ndim() != 4 || v.ndim() != 4)
    fail(op, "q has shape ", q.shape(), " and v ", v.shape(), ", expected 4 dimensions");
  const std::int64_t batch = q.shape(0), length = q.shape(1), key_heads = q.shape(2),
                     keys = q.shape(3), heads = v.shape(2), values = v.shape(3);
  const auto check = [&](std::string_view name, const array& a, const Shape& expected) {
    if (a.shape() != expected) fail(op, name, " has shape ", a.shape(), ", expected ", expected);
  };
  check("k", k, q.shape());
  check("v", v, {batch, length, heads, values});
  if (key_heads == 0 ? heads != 0 : heads % key_heads != 0)
    fail(op, "v has ", heads, " heads, expected a multiple of the ", key_heads, " of q");
  const bool by_key = gamma.ndim() == 4;
  check("gamma", gamma, by_key ? Shape{batch, length, heads, keys} : Shape{batch, length, heads});
  check("beta", beta, {batch, length, heads});
  const Shape of_state{batch, heads, values, keys};
  if (initial_state) check("initial_state", *initial_state, of_state);
  if (mask) check("mask", *mask, {batch, length});

  Dtype t = float32;
  for (const array* a : {&q, &k, &v, &gamma, &beta}) t = promote(t, a->dtype());
  const Dtype out = is_inexact(q.dtype()) ? q.dtype() : t;
  // What a head has at a time, as rows or columns of its state.
  const auto at = [&](const array& a, std::int64_t time, const Shape& shape) {
    return reshape(astype(section(a, 1, time, time + 1, 1, s), t, s), shape, s);
  };
  const auto of_keys = [&](const array& a, std::int64_t time) {
    const array one = at(a, time, {batch, key_heads, 1, keys});
    return key_heads == heads ? one : repeat(one, static_cast<int>(heads / key_heads), 1, s);
  };
  const Shape column{batch, heads, values, 1}, scalar{batch, heads, 1, 1};
  array state = initial_state ? astype(*initial_state, t, s) : zeros(of_state, t, s);
  const array zero(0.0, t);
  std::vector<array> results;
  for (std::int64_t i = 0; i < length; ++i) {
    const array key = of_keys(k, i);
    const array decay = at(gamma, i, by_key ? Shape{batch, heads, 1, keys} : scalar);
    const array kept = multiply(state, decay, s);
    const array answer = sum(multiply(kept, key, s), Axes{-1}, true, s);
    const array change = multiply(subtract(at(v, i, column), answer, s), at(beta, i, scalar), s);
    array next = add(kept, multiply(key, change, s), s);
    array result = sum(multiply(next, of_keys(q, i), s), Axes{-1}, true, s);
    if (mask) {
      const array on =
          reshape(astype(section(*mask, 1, i, i + 1, 1, s), bool_, s), {batch, 1, 1, 1}, s);
      next = where(on, next, state, s);
      result = where(on, result, zero, s);
    }
    results.push_back(reshape(astype(result, out, s), {batch, 1, heads, values}, s));
    state = next;
  }
  return {length ? concatenate(results, 1, s) : zeros({batch, 0, heads, values}, out, s), state};
}

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
  return squeeze(loss, {-1}, s);
}

}  // namespace fast
}  // namespace cermet
