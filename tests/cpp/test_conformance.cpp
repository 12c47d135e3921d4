// Every operation of the elementwise table x every type that it takes x layouts, reductions, scans,
// sorts and products, against references in long double with bounds in ULPs of the result's type.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "cermet/cermet.h"

using namespace cermet;

namespace {

using Real = long double;
using Complex = std::complex<Real>;
using Values = std::vector<Complex>;

const Dtype kTypes[] = {bool_, uint8, uint16,  uint32,   uint64,  int8,    int16,
                        int32, int64, float16, bfloat16, float32, float64, complex64};
constexpr Real kInf = std::numeric_limits<Real>::infinity();
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

// ---- Elements -----------------------------------------------------------------------------------

template <class T>
T narrow(Complex x) {
  if constexpr (std::is_same_v<T, float16_t>)
    return to_float16(static_cast<float>(x.real()));
  else if constexpr (std::is_same_v<T, bfloat16_t>)
    return to_bfloat16(static_cast<float>(x.real()));
  else if constexpr (std::is_same_v<T, complex64_t>)
    return {static_cast<float>(x.real()), static_cast<float>(x.imag())};
  else
    return static_cast<T>(x.real());
}
template <class T>
Complex widen(T x) {
  if constexpr (std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>)
    return to_float(x);
  else if constexpr (std::is_same_v<T, complex64_t>)
    return {x.re, x.im};
  else
    return static_cast<Real>(x);
}

// Rounds values to the type, so that array and reference see the same.
array make(Values& values, const Shape& shape, Dtype t) {
  return visit(t, [&]<class T>(Type<T>) {
    const auto rounded = std::make_unique<T[]>(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      rounded[i] = narrow<T>(values[i]);
      values[i] = widen(rounded[i]);
    }
    return array(rounded.get(), shape);
  });
}
Values values_of(const array& a) {
  const array dense = contiguous(a);
  dense.eval();
  Values values;
  visit(a.dtype(), [&]<class T>(Type<T>) {
    for (std::int64_t i = 0; i < dense.size(); ++i) values.push_back(widen(dense.data<T>()[i]));
  });
  return values;
}

// The distance of a real number from the exact value in units of its last place in the type.
Real ulps(Dtype t, Real got, Real want) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) == std::isnan(got) ? 0 : kInf;
  if (got == want) return 0;
  if (!is_inexact(t)) return kInf;
  struct Format {
    int digits, least, largest;  // exponents
  };
  const auto [digits, least, largest] = t == float16    ? Format{11, -14, 15}
                                        : t == bfloat16 ? Format{8, -126, 127}
                                        : t == float64  ? Format{53, -1022, 1023}
                                                        : Format{24, -126, 127};
  const auto unit = [&](int exponent) { return std::ldexp(Real(1), exponent - digits + 1); };
  const Real most = std::ldexp(Real(2), largest) - unit(largest) / 2;
  if (std::isinf(got)) return got * want > 0 && std::abs(want) >= most * 0.9999999 ? 0 : kInf;
  if (std::isinf(want)) return kInf;
  return std::abs(got - want) /
         unit(want == 0 ? least : std::clamp(std::ilogb(want), least, largest));
}

// Compares with the reference; a complex number's error is in units of its modulus.
void check(const std::string& what, const array& got, const Values& want, Real bound) {
  const Values values = values_of(got);
  REQUIRE(values.size() == want.size());
  Real worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const Dtype t = got.dtype();
    Real error = ulps(t, values[i].real(), want[i].real());
    if (is_complex(t)) {
      const Real modulus = std::abs(want[i]);
      error = ulps(t, modulus + std::abs(values[i] - want[i]), modulus);
    }
    if (error > worst) worst = error, at = i;
  }
  INFO(what << " " << name_of(got.dtype()) << ": " << static_cast<double>(values[at].real()) << " "
            << static_cast<double>(values[at].imag()) << " at " << at << ", expected "
            << static_cast<double>(want[at].real()) << " " << static_cast<double>(want[at].imag())
            << ", " << static_cast<double>(worst) << " ULPs");
  CHECK(worst <= bound);
}

// What an error of `bound` ULPs in float32 may be in the type: halves are rounded once more, and
// functions of float64 are made otherwise.
Real bound_in(Dtype t, double bound) {
  if (bound == 0) return 0;
  return is_half(t) ? 0.5L + bound / 512 : t == float64 ? std::max(bound, 1.5) : bound;
}

// ---- The table ----------------------------------------------------------------------------------

Real inverse_erf(Real x) {
  if (!(std::abs(x) < 1)) return std::abs(x) == 1 ? std::copysign(kInf, x) : kNan;
  Real low = 0, high = 7;
  for (int i = 0; i < 70; ++i) {
    const Real middle = (low + high) / 2;
    const bool below = x > -0.5L && x < 0.5L ? std::erf(middle) < std::abs(x)
                                             : std::erfc(middle) > 1 - std::abs(x);
    (below ? low : high) = middle;
  }
  return std::copysign(low, x);
}
Real remainder_of(Real x, Real y, bool integer) {
  if (integer && y == 0) return 0;
  const Real r = std::fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
// Of two equal infinities their value, else the sum of exponentials around the larger.
template <class T>
T add_exponentials(T x, T y) {
  if (std::real(x) < std::real(y)) std::swap(x, y);
  return std::isinf(std::real(x)) ? x : x + std::log(T(1) + std::exp(y - x));
}
Complex sign_of(Complex x) { return x == Complex(0) ? Complex(0) : x / std::abs(x); }

struct Row {
  Op op;
  double bound;          // ULPs of float32
  double complex_bound;  // ULPs of the modulus; 0: the type is not compared
  double low, high;      // of the first input
  double low2, high2;    // of the second
  Real (*real)(Real, Real, Real, bool integer);
  Complex (*complex)(Complex, Complex);
};
#define REAL(expression)                                                        \
  []([[maybe_unused]] Real x, [[maybe_unused]] Real y, [[maybe_unused]] Real z, \
     [[maybe_unused]] bool integer) -> Real { return expression; }
#define COMPLEX(expression) \
  [](Complex x, [[maybe_unused]] Complex y) -> Complex { return expression; }
#define BOTH(expression) REAL(expression), COMPLEX(expression)
#define WHOLE(symbol) \
  REAL(static_cast<Real>(static_cast<long long>(x) symbol static_cast<long long>(y)))

const Row kRows[] = {
    {Op::abs, 0, 2, -9, 9, 0, 0, BOTH(std::abs(x))},
    {Op::negative, 0, 0.5, -9, 9, 0, 0, BOTH(-x)},
    {Op::sign, 0, 2, -9, 9, 0, 0, REAL((x > 0) - (x < 0) + (x != x ? x : 0)), COMPLEX(sign_of(x))},
    {Op::square, 0.5, 2, -11, 11, 0, 0, BOTH(x * x)},
    {Op::sqrt, 0.5, 4, -1, 90, 0, 0, BOTH(std::sqrt(x))},
    {Op::rsqrt, 1.5, 8, 0, 90, 0, 0, BOTH(Real(1) / std::sqrt(x))},
    {Op::reciprocal, 0.5, 4, -9, 9, 0, 0, BOTH(Real(1) / x)},
    {Op::exp, 1.1, 4, -9, 9, 0, 0, BOTH(std::exp(x))},
    {Op::expm1, 1.8, 8, -9, 9, 0, 0, REAL(std::expm1(x)), nullptr},
    {Op::log, 1, 4, 0, 90, 0, 0, BOTH(std::log(x))},
    {Op::log2, 2, 8, 0, 90, 0, 0, REAL(std::log2(x)), COMPLEX(std::log(x) / std::log(Real(2)))},
    {Op::log10, 2.5, 8, 0, 90, 0, 0, BOTH(std::log10(x))},
    {Op::log1p, 1.8, 8, -1, 90, 0, 0, REAL(std::log1p(x)), COMPLEX(std::log(Real(1) + x))},
    {Op::sigmoid, 3, 8, -30, 30, 0, 0, BOTH(Real(1) / (Real(1) + std::exp(-x)))},
    {Op::silu, 4, 8, -30, 30, 0, 0, BOTH(x / (Real(1) + std::exp(-x)))},
    {Op::erf, 2, 0, -5, 5, 0, 0, REAL(std::erf(x)), nullptr},
    {Op::erfinv, 4, 0, -1, 1, 0, 0, REAL(inverse_erf(x)), nullptr},
    {Op::sin, 1.7, 8, -9, 9, 0, 0, BOTH(std::sin(x))},
    {Op::cos, 1.7, 8, -9, 9, 0, 0, BOTH(std::cos(x))},
    {Op::tan, 2.2, 8, -9, 9, 0, 0, BOTH(std::tan(x))},
    {Op::arcsin, 3, 8, -1, 1, 0, 0, BOTH(std::asin(x))},
    {Op::arccos, 3, 8, -1, 1, 0, 0, BOTH(std::acos(x))},
    {Op::arctan, 3, 8, -9, 9, 0, 0, BOTH(std::atan(x))},
    {Op::sinh, 3, 8, -9, 9, 0, 0, BOTH(std::sinh(x))},
    {Op::cosh, 3, 8, -9, 9, 0, 0, BOTH(std::cosh(x))},
    {Op::tanh, 3, 8, -9, 9, 0, 0, BOTH(std::tanh(x))},
    {Op::arcsinh, 3, 8, -90, 90, 0, 0, BOTH(std::asinh(x))},
    {Op::arccosh, 3, 8, 1, 90, 0, 0, BOTH(std::acosh(x))},
    {Op::arctanh, 3, 8, -1, 1, 0, 0, BOTH(std::atanh(x))},
    {Op::floor, 0, 0, -9, 9, 0, 0, REAL(std::floor(x)), nullptr},
    {Op::ceil, 0, 0, -9, 9, 0, 0, REAL(std::ceil(x)), nullptr},
    {Op::trunc, 0, 0, -9, 9, 0, 0, REAL(std::trunc(x)), nullptr},
    {Op::rint, 0, 0, -9, 9, 0, 0, REAL(std::nearbyint(x)), nullptr},
    {Op::isnan, 0, 1, -9, 9, 0, 0, REAL(std::isnan(x)), COMPLEX(x != x)},
    {Op::isinf, 0, 1, -9, 9, 0, 0, REAL(std::isinf(x)), COMPLEX(std::isinf(std::abs(x)))},
    {Op::isfinite, 0, 1, -9, 9, 0, 0, REAL(std::isfinite(x)), COMPLEX(std::isfinite(std::abs(x)))},
    {Op::logical_not, 0, 0, 0, 1, 0, 0, REAL(!x), nullptr},
    {Op::bitwise_invert, 0, 0, 0, 9, 0, 0, REAL(-x - 1), nullptr},
    {Op::real, 0, 1, -9, 9, 0, 0, REAL(x), COMPLEX(x.real())},
    {Op::imag, 0, 1, -9, 9, 0, 0, REAL(0), COMPLEX(x.imag())},
    {Op::conjugate, 0, 1, -9, 9, 0, 0, REAL(x), COMPLEX(std::conj(x))},
    {Op::add, 0.5, 1, -9, 9, -9, 9, BOTH(x + y)},
    {Op::subtract, 0.5, 1, -9, 9, -9, 0, BOTH(x - y)},
    {Op::multiply, 0.5, 2, -11, 11, -9, 9, BOTH(x * y)},
    {Op::divide, 0.5, 4, -9, 9, -9, 9, BOTH(x / y)},
    {Op::floor_divide, 0, 0, -9, 9, 1, 4, REAL(integer && y == 0 ? 0 : std::floor(x / y)), nullptr},
    {Op::remainder, 0.5, 0, -9, 9, -4, 4, REAL(remainder_of(x, y, integer)), nullptr},
    {Op::power, 2, 32, 0, 3, 0, 4, BOTH(std::pow(x, y))},
    {Op::maximum, 0, 0, -9, 9, -9, 9, REAL(x != x || x > y ? x : y), nullptr},
    {Op::minimum, 0, 0, -9, 9, -9, 9, REAL(x != x || x < y ? x : y), nullptr},
    {Op::logaddexp, 4, 0, 0, 9, 0, 9, REAL(add_exponentials(x, y)), nullptr},
    {Op::arctan2, 3, 0, -9, 9, -9, 9, REAL(std::atan2(x, y)), nullptr},
    {Op::equal, 0, 1, 0, 9, 0, 9, BOTH(x == y)},
    {Op::not_equal, 0, 1, 0, 9, 0, 9, BOTH(x != y)},
    {Op::less, 0, 0, 0, 9, 0, 9, REAL(x < y), nullptr},
    {Op::less_equal, 0, 0, 0, 9, 0, 9, REAL(x <= y), nullptr},
    {Op::greater, 0, 0, 0, 9, 0, 9, REAL(x > y), nullptr},
    {Op::greater_equal, 0, 0, 0, 9, 0, 9, REAL(x >= y), nullptr},
    {Op::logical_and, 0, 0, 0, 1, 0, 1, REAL(x && y), nullptr},
    {Op::logical_or, 0, 0, 0, 1, 0, 1, REAL(x || y), nullptr},
    {Op::logical_xor, 0, 0, 0, 1, 0, 1, REAL(!x != !y), nullptr},
    {Op::bitwise_and, 0, 0, 0, 99, 0, 99, WHOLE(&), nullptr},
    {Op::bitwise_or, 0, 0, 0, 99, 0, 99, WHOLE(|), nullptr},
    {Op::bitwise_xor, 0, 0, 0, 99, 0, 99, WHOLE(^), nullptr},
    {Op::left_shift, 0, 0, 0, 9, 0, 3, WHOLE(<<), nullptr},
    {Op::right_shift, 0, 0, -99, 99, 0, 5, WHOLE(>>), nullptr},
    {Op::select, 0, 1, 0, 1, -9, 9, REAL(x ? y : z), nullptr},
};

std::mt19937 rng(3);

// Uniform numbers of the interval, after special ones where `specials`.
Values sample(std::size_t n, Dtype t, double low, double high, bool specials) {
  if (is_unsigned(t) || t == bool_) low = std::max(low, 0.0);
  Values values;
  if (specials && is_floating(t)) values = {0, -0.0L, 1, -1, 0.5L, -0.5L, kInf, -kInf, kNan};
  const auto draw = [&] {
    const Real x = std::uniform_real_distribution<double>(low, high)(rng);
    return is_inexact(t) ? x : std::round(x);
  };
  while (values.size() < n)
    values.push_back(is_complex(t) ? Complex(draw(), draw()) : Complex(draw()));
  return values;
}

enum class Layout { contiguous, strided, reversed, broadcast };

// The values as a vector in a layout; a broadcast one has the first everywhere.
array laid(Values& values, Dtype t, Layout layout) {
  const auto n = static_cast<std::int64_t>(values.size());
  switch (layout) {
    case Layout::strided: {
      const array doubled = repeat(make(values, {n}, t), 2, 0);
      doubled.eval();
      return slice(doubled, Shape{1}, Shape{2 * n}, Shape{2});
    }
    case Layout::reversed: {
      Values turned(values.rbegin(), values.rend());
      const array a = make(turned, {n}, t);
      values.assign(turned.rbegin(), turned.rend());
      return slice(a, Shape{n - 1}, Shape{-1}, Shape{-1});
    }
    case Layout::broadcast: {
      Values one{values.back()};
      const array a = make(one, {1}, t);
      values.assign(values.size(), one[0]);
      return broadcast_to(a, {n});
    }
    default: return make(values, {n}, t);
  }
}

bool takes(Op op, Dtype t) {
  const Rule rule = info(op).rule;
  if (rule == Rule::bitwise) return !is_inexact(t);
  if (rule == Rule::logical) return t == bool_;
  if (op == Op::negative || op == Op::subtract) return t != bool_;
  if (is_complex(t))
    return rule != Rule::real_inexact && rule != Rule::real && rule != Rule::rounding;
  return true;
}

}  // namespace

TEST_CASE("conformance: every operation of the table has its row, in order") {
  REQUIRE(std::size(kRows) == elementwise_table().size());
  for (std::size_t i = 0; i < std::size(kRows); ++i) CHECK(kRows[i].op == static_cast<Op>(i));
}

TEST_CASE("conformance: elementwise operations x types x layouts") {
  constexpr std::size_t n = 700;
  for (const Row& row : kRows)
    for (const Dtype t : kTypes) {
      const int arity = info(row.op).arity;
      if (!takes(row.op, t) || (is_complex(t) && !row.complex)) continue;
      if (t == bool_ && (row.op == Op::bitwise_invert || row.op == Op::left_shift)) continue;
      if (is_unsigned(t) && (row.op == Op::negative || row.op == Op::bitwise_invert)) continue;
      for (const Layout layout :
           {Layout::contiguous, Layout::strided, Layout::reversed, Layout::broadcast}) {
        const bool choice = row.op == Op::select;
        Values in[3];
        Arrays inputs;
        for (int i = 0; i < arity; ++i) {
          const Dtype type = choice && i == 0 ? bool_ : t;
          in[i] = i ? sample(n, type, row.low2, row.high2, false)
                    : sample(n, type, row.low, row.high, true);
          if (row.op == Op::subtract && is_unsigned(t))
            in[i].assign(n, i ? Complex(2) : Complex(7));
          // Of two inputs the last is broadcast.
          inputs.push_back(
              laid(in[i], type,
                   layout == Layout::broadcast && i + 1 < arity ? Layout::contiguous : layout));
        }
        Values want;
        for (std::size_t i = 0; i < n; ++i) {
          const auto part = [&](int k) { return k < arity ? in[k][i] : Complex(0); };
          Complex w = is_complex(t) ? row.complex(part(0), part(1))
                                    : row.real(part(0).real(), part(1).real(), part(2).real(),
                                               !is_inexact(t));
          if (t == bool_ && (row.op == Op::add)) w = w != Complex(0);
          want.push_back(w);
        }
        const double bound = is_complex(t) ? row.complex_bound : row.bound;
        check(std::string(info(row.op).name), elementwise(row.op, inputs), want,
              bound_in(t, bound));
      }
    }
}

TEST_CASE("conformance: integers wrap, counts beyond the width shift everything out") {
  for (const Dtype t : {uint8, uint16, uint32, uint64, int8, int16, int32, int64}) {
    const bool positive = is_unsigned(t);
    const Real bits = 8 * static_cast<Real>(size_of(t));
    const Real most = std::exp2(positive ? bits : bits - 1) - 1, least = positive ? 0 : -most - 1;
    Values edge{most, least, 1}, one{1, 1, 1}, width{bits, bits, bits};
    const array a = make(edge, {3}, t), b = make(one, {3}, t), w = make(width, {3}, t);
    check("add", add(a, b), {least, least + 1, 2}, 0);
    check("subtract", subtract(a, b), {most - 1, most, 0}, 0);
    check("multiply", multiply(a, a), {1, 0, 1}, 0);
    check("negative", negative(a), {positive ? Real(1) : -most, least, positive ? most : Real(-1)},
          0);
    check("bitwise_invert", bitwise_invert(a), {least, most, positive ? most - 1 : Real(-2)}, 0);
    check("left_shift", left_shift(a, w), {0, 0, 0}, 0);
    check("right_shift", right_shift(a, w), {0, Real(positive ? 0 : -1), 0}, 0);
  }
}

TEST_CASE("conformance: casts between all types, of numbers that both hold") {
  for (const Dtype from : kTypes)
    for (const Dtype to : kTypes) {
      Values values = sample(300, from, is_unsigned(to) || is_complex(from) ? 0 : -100, 100, false);
      if (to == bool_ || from == bool_) values = {0, 1, 1, 0};
      const array a = make(values, {static_cast<std::int64_t>(values.size())}, from);
      for (Complex& x : values) {
        if (!is_complex(to)) x = x.real();
        if (!is_inexact(to)) x = std::trunc(x.real());
      }
      check("astype", astype(a, to), values, is_inexact(to) && to != float64 ? 0.5 : 0);
    }
}

namespace {

const Shape kBox{7, 37, 19};

// The box in a layout: as it is, from one with its axes reversed, or every second element.
array boxed(Values& values, Dtype t, Layout layout) {
  const auto element = [&](std::int64_t i, std::int64_t j, std::int64_t k) -> Complex& {
    return values[static_cast<std::size_t>((i * kBox[1] + j) * kBox[2] + k)];
  };
  if (layout == Layout::strided) {
    const array doubled = repeat(make(values, kBox, t), 2, 2);
    doubled.eval();
    return slice(doubled, Shape{0, 0, 1}, doubled.shape(), Shape{1, 1, 2});
  }
  if (layout == Layout::contiguous) return make(values, kBox, t);
  Values turned;
  for (std::int64_t k = 0; k < kBox[2]; ++k)
    for (std::int64_t j = 0; j < kBox[1]; ++j)
      for (std::int64_t i = 0; i < kBox[0]; ++i) turned.push_back(element(i, j, k));
  const array a = make(turned, {kBox[2], kBox[1], kBox[0]}, t);
  std::size_t at = 0;
  for (std::int64_t k = 0; k < kBox[2]; ++k)
    for (std::int64_t j = 0; j < kBox[1]; ++j)
      for (std::int64_t i = 0; i < kBox[0]; ++i) element(i, j, k) = turned[at++];
  return transpose(a);
}
constexpr Layout kBoxLayouts[] = {Layout::contiguous, Layout::strided, Layout::reversed};

// Calls f(line) with the places of the elements along an axis of the box.
template <class F>
void for_each_line(int axis, F&& f) {
  std::int64_t inner = 1;
  for (int i = axis + 1; i < 3; ++i) inner *= kBox[i];
  const std::int64_t n = kBox[axis], all = element_count(kBox);
  for (std::int64_t start = 0; start < all; ++start) {
    if (start / inner % n != 0) continue;
    std::vector<std::size_t> line;
    for (std::int64_t i = 0; i < n; ++i)
      line.push_back(static_cast<std::size_t>(start + i * inner));
    f(line);
  }
}

bool before(Complex a, Complex b) {
  return a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag());
}
template <class Operation>
Complex combine(Operation op, Complex a, Complex b) {
  switch (op) {
    case Operation::sum: return a + b;
    case Operation::prod: return a * b;
    case Operation::min: return before(b, a) ? b : a;
    case Operation::max: return before(a, b) ? b : a;
    default: break;
  }
  if constexpr (std::is_same_v<Operation, ScanOp>)
    return add_exponentials(a.real(), b.real());
  else
    return op == ReduceOp::all ? Real(a != Complex(0) && b != Complex(0))
                               : Real(a != Complex(0) || b != Complex(0));
}

// Numbers whose sums and products all types hold to a few units; `near`: about one.
Values box_values(Dtype t, bool near) {
  Values values = sample(static_cast<std::size_t>(element_count(kBox)), t, near ? 0.9 : 0,
                         near            ? 1.1
                         : is_inexact(t) ? 2
                                         : 3,
                         false);
  if (is_complex(t) && near)
    for (Complex& x : values) x = {x.real(), x.imag() - 1};
  return values;
}

}  // namespace

TEST_CASE("conformance: reductions x types x axes x layouts") {
  for (const ReduceOp op :
       {ReduceOp::sum, ReduceOp::prod, ReduceOp::min, ReduceOp::max, ReduceOp::all, ReduceOp::any})
    for (const Dtype t : kTypes)
      for (const Layout layout : kBoxLayouts) {
        Values values = box_values(t, op == ReduceOp::prod);
        const array a = boxed(values, t, layout);
        // Sums of bools and small integers are larger ones.
        const auto of = [&](const Axes& axes) {
          return op == ReduceOp::sum    ? sum(a, OptionalAxes(axes))
                 : op == ReduceOp::prod ? prod(a, OptionalAxes(axes))
                                        : reduce(op, a, OptionalAxes(axes));
        };
        const bool exact = op != ReduceOp::sum && op != ReduceOp::prod;
        for (const int axis : {0, 1, 2}) {
          Values want;
          for_each_line(axis, [&](const std::vector<std::size_t>& line) {
            Complex total = values[line[0]];
            if (op == ReduceOp::all || op == ReduceOp::any) total = total != Complex(0);
            for (std::size_t i = 1; i < line.size(); ++i)
              total = combine(op, total, values[line[i]]);
            want.push_back(total);
          });
          check(std::string(name_of(op)), of({axis}), want, exact ? 0 : bound_in(t, 16));
        }
        if (op == ReduceOp::prod) continue;
        Complex total = values[0];
        if (op == ReduceOp::all || op == ReduceOp::any) total = total != Complex(0);
        for (std::size_t i = 1; i < values.size(); ++i) total = combine(op, total, values[i]);
        check(std::string(name_of(op)), of({0, 1, 2}), {total}, exact ? 0 : bound_in(t, 16));
      }
}

TEST_CASE("conformance: scans x types x axes x directions") {
  for (const ScanOp op : {ScanOp::sum, ScanOp::prod, ScanOp::min, ScanOp::max, ScanOp::logaddexp})
    for (const Dtype t : kTypes) {
      if (op == ScanOp::logaddexp && (!is_floating(t) || is_half(t))) continue;
      if (op == ScanOp::sum && is_half(t)) continue;  // each partial sum is rounded
      for (const Layout layout : kBoxLayouts)
        for (const int axis : {0, 1, 2})
          for (const bool reverse : {false, true}) {
            Values values = box_values(t, op == ScanOp::prod);
            if (op == ScanOp::prod && is_half(t)) continue;
            const array a = boxed(values, t, layout);
            Values want(values.size());
            for_each_line(axis, [&](std::vector<std::size_t> line) {
              if (reverse) std::reverse(line.begin(), line.end());
              Complex total = values[line[0]];
              want[line[0]] = total;
              for (std::size_t i = 1; i < line.size(); ++i)
                want[line[i]] = total = combine(op, total, values[line[i]]);
            });
            const bool exact = op == ScanOp::min || op == ScanOp::max || !is_inexact(t);
            check("scan " + std::string(name_of(op)), scan(op, a, axis, reverse), want,
                  exact ? 0 : 24);
          }
    }
}

TEST_CASE("conformance: sorts and extremes x types x axes x layouts") {
  for (const Dtype t : kTypes)
    for (const Layout layout : kBoxLayouts)
      for (const int axis : {0, 1, 2}) {
        Values values = sample(static_cast<std::size_t>(element_count(kBox)), t, -9, 9, true);
        const array a = boxed(values, t, layout);
        const auto is_nan = [](Complex x) { return x != x; };
        const auto less = [&](Complex x, Complex y) {
          return !is_nan(x) && (is_nan(y) || before(x, y));
        };
        Values sorted(values.size()), places(values.size()), largest;
        for_each_line(axis, [&](const std::vector<std::size_t>& line) {
          std::vector<std::size_t> order(line.size());
          std::iota(order.begin(), order.end(), std::size_t{0});
          std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) {
            return less(values[line[i]], values[line[j]]);
          });
          for (std::size_t i = 0; i < line.size(); ++i) {
            sorted[line[i]] = values[line[order[i]]];
            places[line[i]] = static_cast<Real>(order[i]);
          }
          const auto top = std::max_element(
              line.begin(), line.end(),
              [&](std::size_t i, std::size_t j) { return less(values[i], values[j]); });
          largest.push_back(static_cast<Real>(top - line.begin()));
        });
        check("sort", sort(a, axis), sorted, 0);
        check("argsort", argsort(a, axis), places, 0);
        check("argmax", argmax(a, axis), largest, 0);
      }
}

TEST_CASE("conformance: matrix products x types x extents x layouts") {
  const Shape extents[] = {{1, 1, 1},   {1, 40, 33},    {40, 33, 1},   {5, 7, 3},
                           {17, 64, 9}, {30, 2100, 20}, {130, 70, 129}};
  for (const Dtype t : {float16, bfloat16, float32, float64, complex64})
    for (const Shape& e : extents)
      for (const bool left : {false, true})
        for (const bool right : {false, true}) {
          const std::int64_t m = e[0], k = e[1], n = e[2];
          Values x = sample(static_cast<std::size_t>(m * k), t, 0.5, 1, false);
          Values y = sample(static_cast<std::size_t>(k * n), t, 0.5, 1, false);
          const array a = make(x, left ? Shape{k, m} : Shape{m, k}, t);
          const array b = make(y, right ? Shape{n, k} : Shape{k, n}, t);
          Values want;
          for (std::int64_t i = 0; i < m; ++i)
            for (std::int64_t j = 0; j < n; ++j) {
              Complex sum = 0;
              for (std::int64_t p = 0; p < k; ++p)
                sum += x[static_cast<std::size_t>(left ? p * m + i : i * k + p)] *
                       y[static_cast<std::size_t>(right ? j * k + p : p * n + j)];
              want.push_back(sum);
            }
          check("matmul", matmul(left ? transpose(a) : a, right ? transpose(b) : b), want,
                bound_in(t, 2 + std::sqrt(static_cast<double>(k))));
        }
}

TEST_CASE("conformance: a row of a product has the same bits alone and among others") {
  const int threads = get_num_threads();
  set_num_threads(8);
  const Shape extents[] = {{31, 1, 37},     {31, 2, 37},     {31, 7, 37},
                           {31, 64, 37},    {31, 513, 37},   {31, 2101, 37},
                           {392, 2048, 20}, {20, 4100, 600}, {40, 2049, 1}};
  for (const Dtype t : {float16, bfloat16, float32, float64, complex64})
    for (const Shape& e : extents) {
      const std::int64_t m = e[0], k = e[1], n = e[2];
      Values x = sample(static_cast<std::size_t>(m * k), t, 0.5, 1, false);
      Values y = sample(static_cast<std::size_t>(k * n), t, 0.5, 1, false);
      const array a = make(x, {m, k}, t), b = make(y, {k, n}, t);
      const array whole = matmul(a, b);
      for (const std::int64_t rows : {1, 4, 9, 12, 17})
        for (const std::int64_t first : {std::int64_t{0}, m - rows}) {
          const array part =
              matmul(slice(a, Shape{first, 0}, Shape{first + rows, k}, Shape{1, 1}), b);
          const array same = slice(whole, Shape{first, 0}, Shape{first + rows, n}, Shape{1, 1});
          CHECK(array_equal(part, same).item<bool>());
        }
      // Elements may lie anywhere that their type may.
      array wide = pad(a, {{0, 0}, {1, 1}});
      wide.eval();
      const array view = slice(wide, Shape{0, 1}, Shape{m, k + 1}, Shape{1, 1});
      CHECK(array_equal(matmul(view, b), whole).item<bool>());
    }
  set_num_threads(threads);
}

TEST_CASE("conformance: packed matrices stored by columns have the bits of those stored by rows") {
  const auto drawn = [](const Shape& shape, Dtype t) {
    Values values = sample(static_cast<std::size_t>(element_count(shape)), t, 0.5, 1, false);
    return make(values, shape, t);
  };
  const auto by_columns = [](const array& a) {
    array out = swapaxes(contiguous(swapaxes(a, -1, -2)), -1, -2);
    out.eval();
    return out;
  };
  const auto check = [&](QuantizationMode mode, int group, int bits) {
    for (const Dtype t : {float32, float16, bfloat16})
      for (const Shape& e : {Shape{16, 128}, Shape{80, 384}, Shape{48, 2304}}) {
        const std::int64_t n = e[0], k = e[1];
        const Quantized w = quantize(drawn({2, n, k}, t), group, bits, mode);
        for (const std::int64_t rows : {1, 2, 3, 5, 8, 9, 33}) {
          const array x = drawn({2, rows, k}, t);
          const array want = quantized_matmul(x, w.w, w.scales, w.biases, true, group, bits, mode);
          std::optional<array> biases;
          if (w.biases) biases = by_columns(*w.biases);
          const array got = quantized_matmul(x, by_columns(w.w), by_columns(w.scales), biases, true,
                                             group, bits, mode);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(rows);
          CAPTURE(bits);
          CHECK(array_equal(got, want).item<bool>());
        }
      }
  };
  for (const int bits : {2, 3, 4, 5, 6, 8}) check(QuantizationMode::affine, 32, bits);
  check(QuantizationMode::affine, 128, 4);
  check(QuantizationMode::mxfp4, 32, 4);
  check(QuantizationMode::nvfp4, 16, 4);
}

TEST_CASE("conformance: products of what is chosen have the bits of plain ones") {
  const Shape extents[] = {{1, 40, 33}, {5, 301, 70}, {40, 2100, 20}};
  const array left({0, 2, 2, 1, 0, 1}), right({3, 0, 3, 3, -1, 1});
  for (const Dtype t : {float16, bfloat16, float32, float64})
    for (const Shape& e : extents) {
      const std::int64_t m = e[0], k = e[1], n = e[2];
      Values x = sample(static_cast<std::size_t>(3 * m * k), t, 0.5, 1, false);
      Values y = sample(static_cast<std::size_t>(4 * k * n), t, 0.5, 1, false);
      const array a = make(x, {3, m, k}, t), b = make(y, {4, k, n}, t);
      const array p = take(a, left, 0), q = take(b, right, 0);
      const auto same = [](const array& got, const array& want) {
        CHECK(array_equal(got, want).item<bool>());
      };
      same(gather_mm(a, b, left, right), matmul(p, q));
      const array products = matmul(p, q);
      const auto [out, changes] =
          vjp([&](const Arrays& in) { return Arrays{gather_mm(in[0], in[1], left, right)}; },
              {a, b}, {products});
      const array back = matmul(products, swapaxes(q, -1, -2));
      const array sums =
          scatter(zeros_like(astype(a, float64)), {left}, astype(back, float64), {0}, Update::add);
      const double bound = 64 * (t == bfloat16 ? 0x1p-8 : t == float16 ? 0x1p-11 : 0x1p-20);
      CHECK(allclose(astype(changes[0], float64), sums, bound, bound * static_cast<double>(n))
                .item<bool>());
      CHECK(changes[1].shape() == b.shape());
      const array first = take(a, array(0), 0), matrix = take(b, array(1), 0);
      const array ends = reshape(array({0, 7, 7, static_cast<int>(k), 3, 3}), {3, 2});
      const array parts = segmented_mm(first, matrix, ends);
      same(take(parts, array(1), 0), matmul(slice(first, Shape{0, 7}, Shape{m, k}, Shape{1, 1}),
                                            slice(matrix, Shape{7, 0}, Shape{k, n}, Shape{1, 1})));
      const std::int64_t blocks = (k + 31) / 32;
      const array mask =
          equal(remainder(arange(0, static_cast<double>(blocks), 1, int32), array(3)), array(1));
      const array rows = slice(repeat(mask, 32, 0), Shape{0}, Shape{k}, Shape{1});
      same(block_masked_mm(first, matrix, 32, {}, {},
                           broadcast_to(expand_dims(mask, {1}), {blocks, (n + 31) / 32})),
           matmul(first, where(expand_dims(rows, {1}), matrix, zeros({}, t))));
    }
}

TEST_CASE("conformance: linear algebra, or an error that names it and the build's option") {
  const array a = reshape(array({4.0f, 2.0f, 2.0f, 5.0f}), {2, 2});
  try {
    check("cholesky", linalg::cholesky(a), {2, 0, 1, 2}, 1);
    check("eigvalsh", linalg::eigvalsh(a), {4.5L - std::sqrt(4.25L), 4.5L + std::sqrt(4.25L)}, 4);
    const auto [q, r] = linalg::qr(a);
    check("qr", matmul(q, r), {4, 2, 2, 5}, 8);
  } catch (const std::invalid_argument& error) {
    CHECK(std::string(error.what()).find("cholesky: ") == 0);
    CHECK(std::string(error.what()).find("CERMET_BLAS=OFF") != std::string::npos);
  }
}
