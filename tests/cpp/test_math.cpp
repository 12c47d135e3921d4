// The CPU's scalar functions: their error in ULPs against double, their special values, and the
// 16-bit conversions.
//
// Compiled once for each instruction set. The float functions are called through the kernels'
// loops, so that it is the vectorised form that is tested.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/convert.h"
#include "isa_loops.h"

namespace {

namespace cpu = cermet::cpu::CERMET_ISA;
using cermet::complex64_t;
using Float16 = cermet::float16_t;  // arm_neon.h has its own float16_t
using BFloat16 = cermet::bfloat16_t;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kMax = std::numeric_limits<float>::max();
constexpr float kTiny = std::numeric_limits<float>::denorm_min();

const std::vector<float> kSpecials = {
    0.0f,  -0.0f,  kTiny, -kTiny, 0x1p-126f,   -0x1p-126f,   0.5f,
    -0.5f, 1.0f,   -1.0f, 1.5f,   -1.5f,       2.0f,         -2.0f,
    3.0f,  -3.0f,  2.5f,  88.7f,  100,         -88.7f,       1e10f,
    -1e10, 1e-10f, 12000, 131072, 16777215.0f, -16777216.0f, 0x1.fffffep-1f,
    kMax,  -kMax,  kInf,  -kInf,  kNan};

float from_bits(uint32_t b) {
  float x;
  std::memcpy(&x, &b, sizeof x);
  return x;
}
uint32_t bits(float x) {
  uint32_t b;
  std::memcpy(&b, &x, sizeof b);
  return b;
}

// The distance of y from the exact value, in units of the exact value's last place as a float.
double ulp_error(float y, double exact) {
  constexpr double kWrong = 1e30;
  if (std::isnan(exact)) return std::isnan(y) ? 0 : kWrong;
  if (exact == 0) return y == 0 && std::signbit(y) == std::signbit(exact) ? 0 : kWrong;
  float rounded = static_cast<float>(exact);
  if (y == rounded && std::isinf(y)) return 0;
  if (!std::isfinite(y) || std::isinf(exact))
    return std::abs(exact) > 0.9999999 * kMax && y == std::copysign(kInf, rounded) ? 0 : kWrong;
  int exponent = std::clamp(std::ilogb(exact), -126, 127);
  return std::abs(y - exact) / std::ldexp(1.0, exponent - 23);
}

double erfinv_by_bisection(double x) {
  if (!(std::abs(x) < 1)) return std::abs(x) == 1 ? std::copysign(kInf, x) : kNan;
  if (x == 0) return x;
  double a = std::abs(x), low = a * 0.886, high = a < 0.1 ? a * 0.89 : 7;
  for (int i = 0; i < 54; ++i) {
    double middle = 0.5 * (low + high);
    bool below = a < 0.5 ? std::erf(middle) < a : std::erfc(middle) > 1 - a;
    (below ? low : high) = middle;
  }
  return std::copysign(low, x);
}

double python_remainder(double a, double b) {
  double r = std::fmod(a, b);
  if (r == 0) return std::copysign(0.0, b);
  return (r < 0) != (b < 0) ? r + b : r;
}

// No integer is that of an infinity; one by an infinity is between 0 and -1.
double whole_quotient(double a, double b) { return std::floor(a / b); }

struct Function {
  std::string name;
  cermet::Op op;
  double (*exact)(double, double);
  double bound;      // ULPs
  double low, high;  // where it is sampled densely
};

#define ERROR_BOUND(f, bound, low, high, expression)                                          \
  {#f,                                                                                        \
   cermet::Op::f,                                                                             \
   []([[maybe_unused]] double x, [[maybe_unused]] double y) -> double { return expression; }, \
   bound,                                                                                     \
   low,                                                                                       \
   high},
#define COMPLEX_BOUND_1(...)
#define COMPLEX_BOUND_2(...)
const Function kUnary[] = {
#define ERROR_BOUND_1 ERROR_BOUND
#define ERROR_BOUND_2(...)
#include "../error_bounds.def"
#undef ERROR_BOUND_1
#undef ERROR_BOUND_2
};
const Function kBinary[] = {
#define ERROR_BOUND_1(...)
#define ERROR_BOUND_2 ERROR_BOUND
#include "../error_bounds.def"
};

using Floats = std::vector<float>;

void run(cermet::Op op, const Floats& x, const Floats& y, Floats& out) {
  const int float32 = static_cast<int>(cermet::float32);
  isa_loops().op[static_cast<int>(op)][float32](out.data(), x.data(), y.data(), nullptr,
                                                std::ssize(x));
}

void check(const Function& f, const Floats& x, const Floats& y) {
  Floats out(x.size());
  run(f.op, x, y, out);
  double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    double error = ulp_error(out[i], f.exact(x[i], y[i]));
    if (error > worst) worst = error, at = i;
  }
  INFO(f.name << " at " << x[at] << ", " << y[at] << ": " << out[at]);
  CHECK(worst <= f.bound);
}

}  // namespace

TEST_CASE("float functions of one argument keep to their error bounds") {
  Floats everywhere = kSpecials;
  for (uint64_t b = 0; b < uint64_t(1) << 32; b += 4099)
    everywhere.push_back(from_bits(uint32_t(b)));
  for (const Function& f : kUnary) {
    check(f, everywhere, everywhere);
    Floats dense(1000001);
    for (size_t i = 0; i < dense.size(); ++i) {
      dense[i] =
          static_cast<float>(f.low + (f.high - f.low) * double(i) / double(dense.size() - 1));
    }
    check(f, dense, dense);
  }
}

TEST_CASE("float functions of two arguments keep to their error bounds") {
  Floats x, y;
  for (float a : kSpecials) {
    for (float b : kSpecials) x.push_back(a), y.push_back(b);
  }
  std::mt19937 random(1);
  for (int i = 0; i < 300000; ++i)
    x.push_back(from_bits(random())), y.push_back(from_bits(random()));
  for (const Function& f : kBinary) {
    check(f, x, y);
    std::uniform_real_distribution<float> dense(float(f.low), float(f.high));
    Floats a(500001), b(a.size());
    for (size_t i = 0; i < a.size(); ++i) a[i] = dense(random), b[i] = dense(random);
    check(f, a, b);
  }
}

TEST_CASE("rare arguments are answered wherever in a loop they stand, in place too") {
  Floats x(1027, 1.0f), out(x.size());
  x[300] = 1e30f;
  x[1026] = -kInf;
  run(cermet::Op::sin, x, x, out);
  Floats in_place = x;
  run(cermet::Op::sin, in_place, in_place, in_place);
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK(ulp_error(out[i], std::sin(double(x[i]))) <= 2);
    CHECK((std::isnan(x[i] - x[i]) || bits(out[i]) == bits(cpu::sin(x[i]))));
    CHECK((std::isnan(x[i] - x[i]) || bits(out[i]) == bits(in_place[i])));
  }
}

TEST_CASE("a power has the same bits beside any others") {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> dense(-3, 3);
  Floats x(1100), y(x.size()), out(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::exp(dense(random)), y[i] = 9 * dense(random);
  for (const float other : {1.0f, -2.0f, 0.0f, -0.0f, 0x1p-140f, kInf, kNan}) {
    x[300] = other, y[300] = 3;
    y[700] = other;
    x[900] = other, y[900] = 500;
    run(cermet::Op::power, x, y, out);
    for (size_t i = 0; i < x.size(); ++i) {
      const float alone = cpu::power(x[i], y[i]);
      CHECK((bits(out[i]) == bits(alone) || (std::isnan(out[i]) && std::isnan(alone))));
    }
  }
}

TEST_CASE("logaddexp is accurate to its greater operand's last place, and takes infinities") {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> dense(-20, 20);
  for (int i = 0; i < 100000; ++i) {
    float a = dense(random), b = dense(random);
    double exact = std::max(a, b) + std::log1p(std::exp(-std::abs(double(a) - b)));
    CHECK(std::abs(cpu::logaddexp(a, b) - exact) <=
          1.5 * 0x1p-23 * std::max(std::abs(double(std::max(a, b))), std::abs(exact)) + 1e-7);
  }
  CHECK(cpu::logaddexp(kInf, kInf) == kInf);
  CHECK(cpu::logaddexp(-kInf, -kInf) == -kInf);
  CHECK(cpu::logaddexp(-kInf, 3.0f) == 3.0f);
  CHECK(std::isnan(cpu::logaddexp(kNan, 1.0f)));
  CHECK(std::isnan(cpu::logaddexp(1.0f, kNan)));
}

TEST_CASE("double erfinv, sigmoid, remainder and floor_divide") {
  for (double x : {-0.999999999999, -0.9, -0.3, 1e-12, 0.1, 0.5, 0.75, 0.99999}) {
    CHECK(std::erf(cpu::erfinv(x)) == doctest::Approx(x).epsilon(1e-15));
  }
  CHECK(std::erfc(cpu::erfinv(1 - 0x1p-40)) == doctest::Approx(0x1p-40).epsilon(1e-12));
  CHECK(cpu::erfinv(-1.0) == -kInf);
  CHECK(std::isnan(cpu::erfinv(1.5)));
  CHECK(cpu::sigmoid(-740.0) == std::exp(-740.0));
  CHECK(cpu::remainder(-7.5, 2.0) == 0.5);
  CHECK(cpu::floor_divide(-7.5, 2.0) == -4);
  CHECK(cpu::floor_divide(1.0, 0.1) == 9);  // 0.1 is a little more than a tenth
  CHECK(cpu::floor_divide(1.0, 0.0) == kInf);
  const double numbers[] = {-kInf, -2.5, -0.5, -0.0, 0.0, 1e-300, 0.5, 2.5, kInf, kNan};
  for (double a : numbers)
    for (double b : numbers) {
      const double want = whole_quotient(a, b), got = cpu::floor_divide(a, b);
      CHECK((got == want || (got != got && want != want)));
    }
}

TEST_CASE_TEMPLATE("integer division floors and never traps", T, int8_t, int16_t, int32_t,
                   int64_t) {
  const T lowest = std::numeric_limits<T>::min(), highest = std::numeric_limits<T>::max();
  CHECK(cpu::floor_divide(lowest, T(-1)) == lowest);
  CHECK(cpu::remainder(lowest, T(-1)) == 0);
  CHECK(cpu::abs(lowest) == lowest);
  for (T a : {lowest, T(lowest + 1), T(-8), T(-7), T(-1), T(0), T(1), T(7), T(8), highest}) {
    CHECK(cpu::floor_divide(a, T(0)) == 0);
    CHECK(cpu::remainder(a, T(0)) == 0);
    for (T b : {lowest, T(-7), T(-2), T(1), T(2), T(7), highest}) {
      T q = cpu::floor_divide(a, b), r = cpu::remainder(a, b);
      CHECK(T(q * b + r) == a);
      CHECK((r == 0 || (r < 0) == (b < 0)));
      CHECK((b < 0 ? r > b && r <= 0 : r < b && r >= 0));
    }
  }
}

TEST_CASE("unsigned division") {
  CHECK(cpu::floor_divide(uint8_t(255), uint8_t(2)) == 127);
  CHECK(cpu::remainder(uint64_t(7), uint64_t(0)) == 0);
  CHECK(cpu::floor_divide(uint32_t(7), std::numeric_limits<uint32_t>::max()) == 0);
}

TEST_CASE("integer power wraps; a negative one is 0 but for a base of 1 or -1") {
  CHECK(cpu::power(int32_t(3), int32_t(5)) == 243);
  CHECK(cpu::power(int32_t(-2), int32_t(31)) == std::numeric_limits<int32_t>::min());
  CHECK(cpu::power(int8_t(2), int8_t(8)) == 0);
  CHECK(cpu::power(uint16_t(65535), uint16_t(2)) == 1);
  CHECK(cpu::power(int64_t(0), int64_t(0)) == 1);
  CHECK(cpu::power(int32_t(2), int32_t(-1)) == 0);
  CHECK(cpu::power(int32_t(-1), int32_t(-3)) == -1);
  CHECK(cpu::power(int32_t(-1), int32_t(-4)) == 1);
  CHECK(cpu::power(true, false));
}

TEST_CASE("sign, maximum and minimum propagate nan") {
  CHECK(cpu::sign(-3.0f) == -1);
  CHECK(cpu::sign(-0.0f) == 0);
  CHECK(std::isnan(cpu::sign(kNan)));
  CHECK(cpu::sign(uint8_t(200)) == 1);
  CHECK(cpu::maximum(1.0f, 2.0f) == 2);
  CHECK(cpu::minimum(1.0f, 2.0f) == 1);
  for (float x : {1.0f, kInf, kNan}) {
    for (float y : {cpu::maximum(x, kNan), cpu::maximum(kNan, x), cpu::minimum(x, kNan),
                    cpu::minimum(kNan, x)}) {
      CHECK(std::isnan(y));
    }
  }
  complex64_t small{1, 5}, big{2, 0}, bigger{2, 1}, nan{0, kNan};
  CHECK(cpu::equal(cpu::maximum(small, big), big));
  CHECK(cpu::equal(cpu::maximum(big, bigger), bigger));
  CHECK(cpu::equal(cpu::minimum(big, bigger), big));
  CHECK(cpu::isnan(cpu::maximum(nan, big)));
  CHECK(cpu::isnan(cpu::minimum(big, nan)));
}

TEST_CASE("predicates") {
  CHECK(cpu::isnan(kNan));
  CHECK(!cpu::isnan(kInf));
  CHECK(cpu::isinf(-kInf));
  CHECK(!cpu::isinf(kMax));
  CHECK(!cpu::isfinite(kNan));
  CHECK(cpu::isfinite(3));
  CHECK(cpu::isinf(complex64_t{0, -kInf}));
}

TEST_CASE("every float16 is widened exactly and narrowed back to its bits") {
  std::vector<Float16> half(65536 + 3), back(half.size());
  for (size_t i = 0; i < half.size(); ++i) half[i].bits = uint16_t(i);
  Floats wide(half.size());
  cpu::widen(half.data(), wide.data(), std::ssize(half));
  cpu::narrow(wide.data(), back.data(), std::ssize(wide));
  for (size_t i = 0; i < half.size(); ++i) {
    int exponent = half[i].bits >> 10 & 31, fraction = half[i].bits & 1023;
    double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) magnitude = fraction ? double(kNan) : double(kInf);
    bool same = std::isnan(magnitude) ? std::isnan(wide[i]) : std::abs(wide[i]) == magnitude;
    uint16_t quiet = uint16_t(half[i].bits | (std::isnan(magnitude) ? 0x200 : 0));
    bool right = same && std::signbit(wide[i]) == (half[i].bits >> 15) && back[i].bits == quiet &&
                 bits(cpu::widen(half[i])) == bits(wide[i]);
    if (!right)
      FAIL_CHECK("float16 bits " << half[i].bits << " -> " << wide[i] << " -> " << back[i].bits);
  }
}

// The nearest of Half's values, by search among all of them.
template <class Half>
float nearest(float x, const Floats& sorted) {
  auto above = std::lower_bound(sorted.begin(), sorted.end(), std::abs(x));
  if (above == sorted.begin()) return std::copysign(*above, x);
  size_t i = size_t(above - sorted.begin());
  double high = i == sorted.size() - 1 ? 2 * double(sorted[i - 1]) - sorted[i - 2] : sorted[i];
  double to_high = high - std::abs(double(x)), to_low = std::abs(double(x)) - sorted[i - 1];
  bool up = to_high < to_low || (to_high == to_low && i % 2 == 0);
  return std::copysign(up ? sorted[i] : sorted[i - 1], x);
}

TEST_CASE_TEMPLATE("narrowing rounds to nearest, ties to even; a block as one element", Half,
                   Float16, BFloat16) {
  constexpr uint16_t kInfinity = std::is_same_v<Half, Float16> ? 0x7c00 : 0x7f80;
  Floats sorted;  // index = bits, of which the lowest tells even from odd
  for (uint16_t b = 0; b <= kInfinity; ++b) sorted.push_back(cpu::widen(Half{b}));
  Floats x = kSpecials;
  for (uint64_t b = 0; b < uint64_t(1) << 32; b += 8191) x.push_back(from_bits(uint32_t(b)));
  for (size_t i = 0; i + 1 < sorted.size() - 1; i += 7)
    x.push_back(0.5f * sorted[i] + 0.5f * sorted[i + 1]);  // ties
  for (float edge :
       {65519.996f, 65520.0f, 65504.0f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f, 0x1.ffcp-15f})
    x.push_back(edge);
  std::vector<Half> half(x.size());
  Floats rounded = x;
  cpu::narrow(x.data(), half.data(), std::ssize(x));
  cpu::round_to<Half>(rounded.data(), std::ssize(x));
  for (size_t i = 0; i < x.size(); ++i) {
    Half one;
    cpu::narrow(x[i], one);
    bool right = std::isnan(x[i]) ? std::isnan(rounded[i])
                                  : bits(rounded[i]) == bits(nearest<Half>(x[i], sorted));
    right = right && one.bits == half[i].bits && bits(cpu::widen(one)) == bits(rounded[i]);
    if (!right)
      FAIL_CHECK(x[i] << " -> " << half[i].bits << ", " << rounded[i] << ", alone " << one.bits);
  }
}
