// The derivatives of the elementwise operations: one row each. An operation without a row has a
// derivative that is zero or undefined everywhere, and derivatives stop there.
#include <array>
#include <cmath>
#include <numbers>

#include "graph/primitives/arithmetic.h"
#include "graph/rules.h"

namespace cermet {
namespace {

using std::numbers::inv_sqrtpi;
using std::numbers::ln10;
using std::numbers::ln2;

// Where a derivative is taken: y = op(inputs), a and b the first and the last input, and `t` is to
// be multiplied by dy / d inputs[i]. (select's a is its condition.)
struct Point {
  int i;
  const array &a, &b, &y, &t;
};
using Map = array (*)(const Point& p);

array zero_like(const array& a) { return scalar_like(0, a); }
// Conversion of a tangent: a real number is the real part.
array to(Dtype dtype, const array& t) { return astype(is_complex(dtype) ? t : real(t), dtype); }
// t where the condition is what the chosen input needs, else zero.
array route(const Point& p, const array& condition, bool chosen) {
  return chosen ? select(condition, p.t, zero_like(p.t)) : select(condition, zero_like(p.t), p.t);
}
// 1 where the condition holds: for elements of which no derivative is taken.
array replaced(const array& condition, const array& a) {
  return select(condition, scalar_like(1, a), a);
}
// z / |z| turns with the part of t across z. At 0 it counts as constant, as it does for real
// numbers.
array sign_map(const Point& p) {
  if (!is_complex(p.t.dtype())) return zeros_like(p.t);
  const array length = abs(p.a), none = equal(length, scalar_like(0, length));
  const array turned = (p.t - p.y * real(conjugate(p.y) * p.t)) / replaced(none, length);
  return select(none, zero_like(turned), turned);
}

struct Row {
  Op op;
  Map forward;
  // The transpose, for maps that are not multiplication by a complex number.
  Map reverse = nullptr;
};

constexpr Row kRows[] = {
    {Op::cast, [](const Point& p) { return to(p.y.dtype(), p.t); },
     [](const Point& p) { return to(p.a.dtype(), p.t); }},
    {Op::abs, [](const Point& p) { return real(conjugate(sign(p.a)) * p.t); },
     [](const Point& p) { return sign(p.a) * p.t; }},
    {Op::sign, sign_map, sign_map},
    {Op::real, [](const Point& p) { return real(p.t); },
     [](const Point& p) { return to(p.a.dtype(), p.t); }},
    {Op::imag, [](const Point& p) { return imag(p.t); },
     [](const Point& p) {
       return is_complex(p.a.dtype()) ? array(std::complex<float>(0, 1)) * p.t : zeros_like(p.t);
     }},
    {Op::conjugate, [](const Point& p) { return conjugate(p.t); },
     [](const Point& p) { return conjugate(p.t); }},
    {Op::negative, [](const Point& p) { return -p.t; }},
    {Op::square, [](const Point& p) { return p.t * p.a * 2.0; }},
    {Op::sqrt, [](const Point& p) { return p.t / (p.y * 2.0); }},
    {Op::rsqrt, [](const Point& p) { return p.t * p.y * p.y * p.y * -0.5; }},
    {Op::reciprocal, [](const Point& p) { return -p.t * p.y * p.y; }},
    {Op::exp, [](const Point& p) { return p.t * p.y; }},
    {Op::expm1, [](const Point& p) { return p.t * (p.y + 1.0); }},
    {Op::log, [](const Point& p) { return p.t / p.a; }},
    {Op::log2, [](const Point& p) { return p.t / (p.a * ln2); }},
    {Op::log10, [](const Point& p) { return p.t / (p.a * ln10); }},
    {Op::log1p, [](const Point& p) { return p.t / (p.a + 1.0); }},
    {Op::sigmoid, [](const Point& p) { return p.t * p.y * (1.0 - p.y); }},
    {Op::silu,
     [](const Point& p) {
       const array s = sigmoid(p.a);
       return p.t * (s + p.y * (1.0 - s));
     }},
    {Op::erf, [](const Point& p) { return p.t * exp(-square(p.a)) * (2 * inv_sqrtpi); }},
    {Op::erfinv, [](const Point& p) { return p.t * exp(square(p.y)) * (0.5 / inv_sqrtpi); }},
    {Op::sin, [](const Point& p) { return p.t * cos(p.a); }},
    {Op::cos, [](const Point& p) { return -p.t * sin(p.a); }},
    {Op::tan, [](const Point& p) { return p.t * (square(p.y) + 1.0); }},
    {Op::arcsin, [](const Point& p) { return p.t * rsqrt(1.0 - square(p.a)); }},
    {Op::arccos, [](const Point& p) { return -p.t * rsqrt(1.0 - square(p.a)); }},
    {Op::arctan, [](const Point& p) { return p.t / (square(p.a) + 1.0); }},
    {Op::sinh, [](const Point& p) { return p.t * cosh(p.a); }},
    {Op::cosh, [](const Point& p) { return p.t * sinh(p.a); }},
    {Op::tanh, [](const Point& p) { return p.t * (1.0 - square(p.y)); }},
    {Op::arcsinh, [](const Point& p) { return p.t * rsqrt(square(p.a) + 1.0); }},
    {Op::arccosh, [](const Point& p) { return p.t * rsqrt(p.a - 1.0) * rsqrt(p.a + 1.0); }},
    {Op::arctanh, [](const Point& p) { return p.t / (1.0 - square(p.a)); }},
    {Op::add, [](const Point& p) { return p.t; }},
    {Op::subtract, [](const Point& p) { return p.i == 0 ? p.t : -p.t; }},
    {Op::multiply, [](const Point& p) { return p.t * (p.i == 0 ? p.b : p.a); }},
    {Op::divide, [](const Point& p) { return p.i == 0 ? p.t / p.b : -p.t * p.y / p.b; }},
    {Op::remainder, [](const Point& p) { return p.i == 0 ? p.t : -p.t * floor_divide(p.a, p.b); }},
    // 0^0 and 0 log 0 count as constant.
    {Op::power,
     [](const Point& p) {
       if (p.i == 1)
         return p.t * p.y * log(replaced(logical_and(p.a == 0.0, real(p.b) >= 0.0), p.a));
       // The square is zero, too, where the reciprocal overflows.
       const array none = logical_not(square(abs(p.a)) > 0.0);
       return p.t * p.b * power(replaced(logical_and(p.b == 0.0, none), p.a), p.b - 1.0);
     }},
    // Equal elements count as the second's.
    {Op::maximum, [](const Point& p) { return route(p, p.a > p.b, p.i == 0); }},
    {Op::minimum, [](const Point& p) { return route(p, p.a < p.b, p.i == 0); }},
    {Op::select, [](const Point& p) { return route(p, p.a, p.i == 1); }},
    {Op::logaddexp, [](const Point& p) { return p.t * sigmoid(p.i == 0 ? p.a - p.b : p.b - p.a); }},
    {Op::arctan2,
     [](const Point& p) {
       const array square_of_radius = square(p.a) + square(p.b);
       return p.t * (p.i == 0 ? p.b : -p.a) / replaced(square_of_radius == 0.0, square_of_radius);
     }},
};

// The rows by operation.
const Row* row(Op op) {
  static const auto table = [] {
    std::array<const Row*, kOpCount> t{};
    for (const Row& r : kRows) t[static_cast<int>(r.op)] = &r;
    return t;
  }();
  return table[static_cast<int>(op)];
}

}  // namespace

bool Elementwise::differentiable() const { return row(op) != nullptr; }

array Elementwise::jvp(const Edge& e, const array& tangent) const {
  const Point p{e.i, e.inputs.front(), e.inputs.back(), e.output, tangent};
  return broadcast_to(row(op)->forward(p), e.output.shape());
}

array Elementwise::vjp(const Edge& e, const array& cotangent) const {
  const auto transposed = [&](const array& t) {
    const Row& r = *row(op);
    const Point p{e.i, e.inputs.front(), e.inputs.back(), e.output, t};
    if (r.reverse) return r.reverse(p);
    if (!is_complex(e.output.dtype())) return r.forward(p);
    // The map multiplies by a complex number: its transpose multiplies by the conjugate.
    const array conjugated = conjugate(t);
    return conjugate(r.forward({e.i, p.a, p.b, e.output, conjugated}));
  };
  return sum_to_shape(transposed(cotangent), e.input().shape());
}

array Elementwise::vmap(const Batched& in, const array& output) const {
  SmallVector<array, 2> aligned;
  for (std::size_t i = 0; i < in.inputs.size(); ++i)
    aligned.push_back(in.flags[i] ? expand_entries(in.inputs[i], output.ndim()) : in.inputs[i]);
  return array(Elementwise::instance(op), batch_shape(in.size, output.shape()), output.dtype(),
               std::move(aligned), output.stream());
}

}  // namespace cermet
