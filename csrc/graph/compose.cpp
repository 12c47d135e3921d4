// Elementwise functions composed of the table's operations.
#include <cmath>
#include <numbers>

#include "graph/check.h"
#include "graph/primitive.h"

namespace cermet {
namespace {

// A complex array as its float32 components, changed by `f`, and back.
template <class F>
array map_components(const array& a, F f, StreamOrDevice s) {
  const array parts = view(reshape(a, {-1}, s), float32, s);
  return reshape(view(f(parts), complex64, s), a.shape(), s);
}

// The largest finite element of a floating type.
double largest(Dtype t) {
  switch (t) {
    case float16: return 65504;
    case bfloat16: return 0x1.fep127;
    case float64: return std::numeric_limits<double>::max();
    default: return std::numeric_limits<float>::max();
  }
}

// Integers to a multiple of 10^digits, halves to the even multiple.
array round_integers(const array& a, int digits, StreamOrDevice s) {
  const double scale = std::pow(10.0, digits);
  if (scale > std::pow(2.0, 8.0 * a.itemsize() - is_signed_integer(a.dtype())))
    return zeros_like(a, {}, s);
  const array unit = array(static_cast<std::int64_t>(scale), a.dtype());
  const array rest = remainder(a, unit, s), down = subtract(a, rest, s);
  const array odd = remainder(floor_divide(down, unit, s), scalar_like(2, a), s);
  const array up = greater(add(rest, odd, s), subtract(unit, rest, s), s);
  return select(up, add(down, unit, s), down, s);
}

array is_infinity(const array& a, double infinity, StreamOrDevice s) {
  if (!is_inexact(a.dtype())) return full(a.shape(), array(false), {}, s);
  return equal(a, scalar_like(infinity, a), s);
}

array both_nan(const array& a, const array& b, StreamOrDevice s) {
  return logical_and(isnan(a, s), isnan(b, s), s);
}

}  // namespace

array length_of_square(const array& a, StreamOrDevice s) {
  const array zero = equal(a, scalar_like(0, a), s);
  return select(zero, scalar_like(0, a), sqrt(select(zero, scalar_like(1, a), a, s), s), s);
}

array where(const array& condition, const array& x, const array& y, StreamOrDevice s) {
  return select(condition, x, y, s);
}

array clip(const array& a, const std::optional<array>& min, const std::optional<array>& max,
           StreamOrDevice s) {
  if (!min && !max) fail("clip", "neither a minimum nor a maximum is given");
  array out = a;
  if (min) out = maximum(out, *min, s);
  if (max) out = minimum(out, *max, s);
  return out;
}

array round(const array& a, int decimals, StreamOrDevice s) {
  const Dtype t = a.dtype();
  if (is_complex(t))
    return map_components(a, [&](const array& parts) { return round(parts, decimals, s); }, s);
  if (!is_inexact(t) && decimals >= 0) return a;
  if (t == Dtype::bool_) return zeros_like(a, {}, s);
  if (!is_inexact(t)) return round_integers(a, -decimals, s);
  if (decimals == 0) return rint(a, s);
  const array wide = astype(a, accurate(t), s);
  const array scale = scalar_like(std::pow(10.0, std::abs(decimals)), wide);
  return astype(decimals > 0 ? divide(rint(multiply(wide, scale, s), s), scale, s)
                             : multiply(rint(divide(wide, scale, s), s), scale, s),
                t, s);
}

array positive(const array& a, StreamOrDevice) { return a; }

array degrees(const array& a, StreamOrDevice s) {
  const array x = astype(a, to_inexact(a.dtype()), s);
  return multiply(x, scalar_like(180 / std::numbers::pi, x), s);
}
array radians(const array& a, StreamOrDevice s) {
  const array x = astype(a, to_inexact(a.dtype()), s);
  return multiply(x, scalar_like(std::numbers::pi / 180, x), s);
}

array isposinf(const array& a, StreamOrDevice s) { return is_infinity(a, HUGE_VAL, s); }
array isneginf(const array& a, StreamOrDevice s) { return is_infinity(a, -HUGE_VAL, s); }

array nan_to_num(const array& a, double nan, std::optional<double> posinf,
                 std::optional<double> neginf, StreamOrDevice s) {
  const Dtype t = a.dtype();
  if (!is_inexact(t)) return a;
  if (is_complex(t))
    return map_components(
        a, [&](const array& parts) { return nan_to_num(parts, nan, posinf, neginf, s); }, s);
  const array high(posinf.value_or(largest(t)), t), low(neginf.value_or(-largest(t)), t);
  const array finite = select(isposinf(a, s), high, select(isneginf(a, s), low, a, s), s);
  return select(isnan(a, s), array(nan, t), finite, s);
}

std::pair<array, array> divmod(const array& a, const array& b, StreamOrDevice s) {
  return {floor_divide(a, b, s), remainder(a, b, s)};
}

array isclose(const array& a, const array& b, double rtol, double atol, bool equal_nan,
              StreamOrDevice s) {
  const Dtype t = accurate(promote(a.dtype(), b.dtype()));
  const array x = astype(a, t, s), y = astype(b, t, s);
  const array distance = abs(subtract(x, y, s), s), size = abs(y, s);
  const array bound = add(multiply(size, scalar_like(rtol, size), s), scalar_like(atol, size), s);
  // Infinities are close to their equals alone.
  array close =
      logical_or(equal(x, y, s), logical_and(less_equal(distance, bound, s), isfinite(y, s), s), s);
  if (equal_nan) close = logical_or(close, both_nan(x, y, s), s);
  return close;
}

array allclose(const array& a, const array& b, double rtol, double atol, bool equal_nan,
               StreamOrDevice s) {
  return all(isclose(a, b, rtol, atol, equal_nan, s), {}, false, s);
}

array array_equal(const array& a, const array& b, bool equal_nan, StreamOrDevice s) {
  if (a.shape() != b.shape()) return array(false);
  array same = equal(a, b, s);
  if (equal_nan) same = logical_or(same, both_nan(a, b, s), s);
  return all(same, {}, false, s);
}

}  // namespace cermet
