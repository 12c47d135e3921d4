// Random numbers: compositions over the bits that a key gives.
#include "cermet/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "cermet/linalg.h"
#include "graph/check.h"
#include "graph/fork.h"
#include "graph/primitives/creation.h"
#include "graph/random_state.h"
#include "ops/cpp.h"

namespace cermet::random {
namespace {

void check_state(const array& state) {
  if (state.dtype() != uint32 || state.shape() != Shape{2})
    fail("random", "the state is ", state.dtype(), " of shape ", state.shape(),
         ", expected uint32 (2,)");
}

// Under Lock::random.
struct Global {
  array state = key(0);
  const array* lent = nullptr;  // what others may have assigned to since it was a copy of the state

  void take_back() {
    if (!lent) return;
    check_state(*lent);
    state = *std::exchange(lent, nullptr);
  }
};
Global& global() {
  static Global* const g = new Global;  // never destroyed: other threads may still draw at exit
  return *g;
}

thread_local array* scoped = nullptr;  // the state of the innermost StateContext

array make_key(std::uint32_t x, std::uint32_t y) {
  const std::uint32_t words[] = {x, y};
  return array(words, {2});
}

array row(const array& keys, std::int64_t i) {
  return squeeze(slice(keys, {i, 0}, {i + 1, 2}), {0});
}

// A key split off a state.
array split_off(array& state) {
  if (state.is_available()) {  // split here: numbers that nobody asks for leave no graph
    const auto* words = state.data<std::uint32_t>();
    const cpu::plain::Words own{words[0], words[state.strides()[0]]};
    const cpu::plain::Words first = threefry(own, {0, 2}), second = threefry(own, {1, 3});
    state = make_key(first.x, second.x);
    return make_key(first.y, second.y);
  }
  const array keys = split(state);
  state = row(keys, 0);
  return row(keys, 1);
}

// The given key, or one of the thread's own state or the global one.
array resolve(const Key& key) {
  if (key) return *key;
  if (scoped) return split_off(*scoped);
  Global& g = global();
  const std::lock_guard lock(mutex_of(Lock::random));
  g.take_back();
  return split_off(g.state);
}

// The integers of a type, from the lowest to the highest.
std::pair<double, double> range_of(Dtype t) {
  const int bits = 8 * static_cast<int>(size_of(t));
  if (t == Dtype::bool_) return {0, 1};
  if (is_unsigned(t)) return {0, std::ldexp(1, bits) - 1};
  return {-std::ldexp(1, bits - 1), std::ldexp(1, bits - 1) - 1};
}

// The upper tail's share beyond x >= 3 over its density: Laplace's continued fraction.
array mills_ratio(const array& x, StreamOrDevice s) {
  array fraction = x;
  for (int i = 8; i > 0; --i)
    fraction = add(x, divide(array(static_cast<double>(i), x.dtype()), fraction, s), s);
  return reciprocal(fraction, s);
}

// Normal numbers between bounds far out in the upper tail: those beyond `low` as many as u says.
// Where the density is exp(-x^2 / 2) alone the root is exact; Newton's steps do the rest.
array normal_tail(const array& u, const array& low, const array& high, StreamOrDevice s) {
  const Dtype t = u.dtype();
  const array half(0.5, t), ratio = mills_ratio(low, s);
  // The logarithm of the share beyond x of that beyond `low`.
  const auto share = [&](const array& x, const array& m) {
    const array distance = multiply(subtract(x, low, s), add(x, low, s), s);
    return subtract(log(divide(m, ratio, s), s), multiply(distance, half, s), s);
  };
  const array inside = expm1(share(high, mills_ratio(high, s)), s);  // -1: all of it
  const array wanted = log1p(multiply(u, inside, s), s);
  array x = sqrt(subtract(square(low, s), multiply(array(2.0, t), wanted, s), s), s);
  for (int i = 0; i < 3; ++i) {
    const array m = mills_ratio(x, s);
    x = add(x, multiply(subtract(share(x, m), wanted, s), m, s), s);
  }
  return x;
}

void check_shape(std::string_view op, const Shape& wanted, const Shape& parameters) {
  if (!broadcasts_to(parameters, wanted))
    fail(op, "parameters of shape ", parameters, " do not broadcast to the shape ", wanted);
}

// The type a distribution is computed in, and the largest of its numbers below 1.
Dtype working(Dtype t) { return t == float64 ? float64 : float32; }
double below_one(Dtype t) {
  switch (t) {
    case float16: return 1 - 0x1p-11;
    case bfloat16: return 1 - 0x1p-8;
    case float64: return 1 - 0x1p-53;
    default: return 1 - 0x1p-24;
  }
}

// Uniform in [0, 1) in the working type of `dtype`.
array unit(const Shape& shape, Dtype dtype, const Key& key, StreamOrDevice s) {
  const Dtype t = working(dtype);
  const int width = static_cast<int>(size_of(t));
  const array scale(std::ldexp(1.0, -8 * width), t);
  const array u = multiply(astype(bits(shape, width, key, s), t, s), scale, s);
  return minimum(u, array(below_one(t), t), s);  // the largest bits round to 1
}

// Uniform in (-1, 1) in the working type of `dtype`.
array symmetric(const Shape& shape, Dtype dtype, const Key& key, StreamOrDevice s) {
  const Dtype t = working(dtype);
  return subtract(multiply(unit(shape, dtype, key, s), array(2.0, t), s), array(below_one(t), t),
                  s);
}

// Draws in [low, high) may round to `high`: the type's numbers just below it bound them.
array keep_below(const array& x, const array& low, const array& high, StreamOrDevice s) {
  const Dtype t = x.dtype();
  const double epsilon = 2 * (1 - below_one(t));
  const double tiny = t == float16 ? 0x1p-24 : t == float64 ? 0x1p-1022 : 0x1p-126;
  const array gap = maximum(multiply(abs(high, s), array(epsilon, t), s), array(tiny, t), s);
  return maximum(minimum(x, subtract(high, gap, s), s), low, s);
}

}  // namespace

array key(std::uint64_t seed) {
  return make_key(static_cast<std::uint32_t>(seed >> 32), static_cast<std::uint32_t>(seed));
}

void seed(std::uint64_t seed) { set_state(key(seed)); }

array state() {
  if (scoped) return *scoped;
  Global& g = global();
  const std::lock_guard lock(mutex_of(Lock::random));
  return g.lent ? *g.lent : g.state;
}

void set_state(const array& state) {
  check_state(state);
  if (scoped) {
    *scoped = state;
    return;
  }
  Global& g = global();
  const std::lock_guard lock(mutex_of(Lock::random));
  g.lent = nullptr;
  g.state = state;
}

void lend_state(array& variable) {
  if (scoped) {
    variable = *scoped;
    return;
  }
  Global& g = global();
  const std::lock_guard lock(mutex_of(Lock::random));
  g.take_back();
  variable = g.state;
  g.lent = &variable;
}

bool is_lent(const array& variable) {
  if (scoped) return false;
  Global& g = global();
  const std::lock_guard lock(mutex_of(Lock::random));
  return g.lent == &variable;
}

StateContext::StateContext(const array& state) : state_(state), before_(scoped) {
  Global& g = global();
  {
    const std::lock_guard lock(mutex_of(Lock::random));
    g.take_back();  // whoever shows the state meanwhile may let go of what was lent
  }
  scoped = &state_;
}
StateContext::~StateContext() { scoped = before_; }

array split(const array& key, int num, StreamOrDevice s) {
  if (num < 0) fail("split", "the number of keys is ", num, ", expected at least 0");
  return bits({num, 2}, 4, key, s);
}

array bits(const Shape& shape, int width, const Key& key, StreamOrDevice s) {
  const Dtype t = width == 1 ? uint8 : width == 2 ? uint16 : width == 4 ? uint32 : uint64;
  if (static_cast<int>(size_of(t)) != width)
    fail("bits", "the width is ", width, " bytes, expected 1, 2, 4 or 8");
  const std::int64_t n = count_of("random", shape);
  if (key && (key->dtype() != uint32 || key->shape() != Shape{2}))
    fail("random", "the key is ", key->dtype(), " of shape ", key->shape(),
         ", expected uint32 (2,)");
  const array flat(the<RandomBits>(), {n}, t, {resolve(key)}, s.resolve());
  return reshape(flat, shape, s);
}

array uniform(const array& low, const array& high, const Shape& shape, Dtype dtype, const Key& key,
              StreamOrDevice s) {
  require_floating("uniform", dtype);
  check_shape("uniform", shape, broadcast_shapes(low.shape(), high.shape()));
  const array u = unit(shape, dtype, key, s);
  const array from = astype(low, u.dtype(), s), to = astype(high, u.dtype(), s);
  const array x = add(from, multiply(u, subtract(to, from, s), s), s);
  return keep_below(astype(x, dtype, s), astype(low, dtype, s), astype(high, dtype, s), s);
}

array uniform(const Shape& shape, Dtype dtype, const Key& key, StreamOrDevice s) {
  require_floating("uniform", dtype);
  const array u = unit(shape, dtype, key, s);
  if (!is_half(dtype)) return u;
  return minimum(astype(u, dtype, s), array(below_one(dtype), dtype), s);
}

array normal(const Shape& shape, Dtype dtype, const std::optional<array>& loc,
             const std::optional<array>& scale, const Key& key, StreamOrDevice s) {
  require_inexact("normal", dtype);
  array x(0);
  if (is_complex(dtype)) {  // each component has variance 1/2
    Shape pairs = shape;
    pairs.push_back(2);
    const array parts = erfinv(symmetric(pairs, float32, key, s), s);
    x = reshape(view(parts, complex64, s), shape, s);
  } else {
    const array u = symmetric(shape, dtype, key, s);
    x = multiply(erfinv(u, s), array(std::numbers::sqrt2, u.dtype()), s);
  }
  if (scale) x = multiply(x, astype(*scale, x.dtype(), s), s);
  if (loc) x = add(x, astype(*loc, x.dtype(), s), s);
  return astype(x, dtype, s);
}

array multivariate_normal(const array& mean, const array& covariance,
                          const std::optional<Shape>& shape, Dtype dtype, const Key& key,
                          StreamOrDevice s) {
  constexpr std::string_view op = "multivariate_normal";
  require_floating(op, dtype);
  const std::int64_t n = mean.ndim() < 1 ? 0 : mean.shape(-1);
  if (n == 0 || covariance.ndim() < 2 || covariance.shape(-1) != n || covariance.shape(-2) != n)
    fail(op, "the mean has shape ", mean.shape(), " and the covariance ", covariance.shape(),
         ", expected (..., n) and (..., n, n)");
  const Shape leading =
      broadcast_shapes({mean.shape().begin(), mean.shape().end() - 1}, batch_of(covariance));
  Shape full = shape.value_or(leading);
  check_shape(op, full, leading);
  full.push_back(n);
  // With u s vt the covariance, sqrt(s) vt takes independent components to correlated ones.
  const Dtype t = working(dtype);
  const auto [u, variances, vt] = linalg::svd(astype(covariance, t, s), s);
  const array scale = multiply(expand_dims(sqrt(variances, s), {-1}, s), vt, s);
  const array z = expand_dims(normal(full, t, {}, {}, key, s), {-2}, s);
  const array x = squeeze(matmul(z, scale, s), {-2}, s);
  return astype(add(x, astype(mean, t, s), s), dtype, s);
}

array randint(const array& low, const std::optional<array>& high, const Shape& shape, Dtype dtype,
              const Key& key, StreamOrDevice s) {
  if (is_inexact(dtype)) fail("randint", dtype, " is not supported, expected an integer type");
  check_shape("randint", shape, broadcast_shapes(low.shape(), high ? high->shape() : Shape()));
  const auto [lowest, highest] = range_of(dtype);
  const auto known_high = high ? known_value(*high) : highest + 1;
  const double first = known_value(low).value_or(lowest), end = known_high.value_or(highest);
  if (first < lowest || first > highest || end < lowest || end > highest + 1)
    fail("randint", "a bound is outside the range of ", dtype);
  const Dtype wide = dtype == uint64 ? uint64 : int64;
  const bool narrow = size_of(dtype) <= 4;
  const array drawn = astype(bits(shape, narrow ? 4 : 8, key, s), uint64, s);
  array from = astype(low, wide, s);
  if (!high && !narrow) {  // the end is 2^64 or 2^63, and 2^64 numbers count as 0
    const array end_bits(is_unsigned(dtype) ? 0 : std::numeric_limits<std::int64_t>::min(), uint64);
    const array range = subtract(end_bits, astype(from, uint64, s), s);
    const array none(std::int64_t{0}, uint64);
    const array offset = where(equal(range, none, s), drawn, remainder(drawn, range, s), s);
    return add(from, astype(offset, wide, s), s);
  }
  array to = high ? astype(*high, wide, s) : array(highest + 1, wide);
  if (narrow && !(known_value(low) && known_high)) {  // of bounds that are arrays, what it holds
    const array least(lowest, wide), most(highest, wide);
    from = clip(from, least, most, s);
    to = minimum(to, add(most, array(1.0, wide), s), s);
  }
  const array range = astype(subtract(maximum(to, from, s), from, s), uint64, s);
  // Of a narrow type, the top half of range * bits; of a wide one, the remainder by the range.
  const array offset =
      narrow ? right_shift(multiply(drawn, range, s), array(std::int64_t{32}, uint64), s)
             : remainder(drawn, range, s);
  return astype(add(from, astype(offset, wide, s), s), dtype, s);
}

array bernoulli(const array& p, const std::optional<Shape>& shape, const Key& key,
                StreamOrDevice s) {
  require_floating("bernoulli", p.dtype());
  const Shape to = shape.value_or(p.shape());
  check_shape("bernoulli", to, p.shape());
  return less(unit(to, p.dtype(), key, s), p, s);
}

array truncated_normal(const array& lower, const array& upper, const std::optional<Shape>& shape,
                       Dtype dtype, const Key& key, StreamOrDevice s) {
  require_floating("truncated_normal", dtype);
  const Shape bounds = broadcast_shapes(lower.shape(), upper.shape());
  const Shape to = shape.value_or(bounds);
  check_shape("truncated_normal", to, bounds);
  // The inverse of the distribution function, at uniform points between its values at the bounds.
  const Dtype t = working(dtype);
  const array root(std::numbers::sqrt2, t);
  const array a = astype(lower, t, s), b = astype(upper, t, s);
  const array from = erf(divide(a, root, s), s), end = erf(divide(b, root, s), s);
  const array at = unit(to, dtype, key, s);
  const array u = add(from, multiply(at, subtract(end, from, s), s), s);
  array x = multiply(erfinv(u, s), root, s);
  // Where both bounds are far on one side, erf is 1: there the tail is cut itself.
  const array far(t == float64 ? 5.0 : 3.0, t);
  if (const auto low = known_value(lower), high = known_value(upper);
      !(low && high) || *low > *known_value(far) || *high < -*known_value(far)) {
    const array below = less(b, negative(far, s), s), above = greater(a, far, s);
    const array near = select(below, negative(b, s), select(above, a, far, s), s);
    const array end = select(below, negative(a, s), select(above, b, far, s), s);
    const array tail = normal_tail(at, near, end, s);
    x = select(logical_or(below, above, s), select(below, negative(tail, s), tail, s), x, s);
  }
  return astype(clip(x, a, b, s), dtype, s);
}

array gumbel(const Shape& shape, Dtype dtype, const Key& key, StreamOrDevice s) {
  require_floating("gumbel", dtype);
  const array u = unit(shape, dtype, key, s);
  return astype(negative(log(negative(log(u, s), s), s), s), dtype, s);
}

array laplace(const Shape& shape, Dtype dtype, double loc, double scale, const Key& key,
              StreamOrDevice s) {
  require_floating("laplace", dtype);
  const array u = symmetric(shape, dtype, key, s);
  array x = multiply(sign(u, s), log1p(negative(abs(u, s), s), s), s);
  if (scale != 1) x = multiply(x, scalar_like(scale, x), s);
  if (loc != 0) x = add(x, scalar_like(loc, x), s);
  return astype(x, dtype, s);
}

// The largest of logits with Gumbel noise is distributed as their softmax (Gumbel 1954).
array categorical(const array& logits, int axis, const std::optional<Shape>& shape, const Key& key,
                  StreamOrDevice s) {
  axis = normalize_axis("categorical", axis, logits.ndim());
  Shape result = logits.shape();
  result.erase(result.begin() + axis);
  if (shape) {
    check_shape("categorical", *shape, result);
    result = *shape;
  }
  const int from_end = logits.ndim() - axis;
  Shape noise = result;
  noise.insert(noise.end() - (from_end - 1), logits.shape()[axis]);
  return argmax(add(logits, gumbel(noise, float32, key, s), s), -from_end, false, s);
}

array categorical(const array& logits, int axis, int num_samples, const Key& key,
                  StreamOrDevice s) {
  axis = normalize_axis("categorical", axis, logits.ndim());
  if (num_samples < 0)
    fail("categorical", "the number of samples is ", num_samples, ", expected at least 0");
  Shape noise = logits.shape();
  noise.push_back(num_samples);
  return argmax(add(expand_dims(logits, {-1}, s), gumbel(noise, float32, key, s), s), axis, false,
                s);
}

array permutation(const array& a, int axis, const Key& key, StreamOrDevice s) {
  axis = normalize_axis("permutation", axis, a.ndim());
  return take(a, permutation(a.shape()[axis], key, s), axis, s);
}

array permutation(std::int64_t n, const Key& key, StreamOrDevice s) {
  if (n < 0) fail("permutation", "n is ", n, ", expected at least 0");
  return argsort(bits({n}, 4, key, s), 0, s);
}

}  // namespace cermet::random
