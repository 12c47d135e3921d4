// The complex functions: their error in ULPs of the modulus against long double, their special
// values, and that an element's place in an array changes no bit.
//
// Compiled once for each instruction set. The functions are called through loops, as kernels call
// them, so that it is the vectorised form that is tested.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "isa_loops.h"

namespace {

namespace cpu = cermet::cpu::CERMET_ISA;
using cermet::complex64_t;
using Real = long double;
using Wide = std::complex<Real>;
using Values = std::vector<complex64_t>;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// ---- references --------------------------------------------------------------------------------

// By parts: the library's operators treat infinities apart.
Wide product(Wide a, Wide b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}
Wide expm1(Wide z) {
  Real s = std::sin(z.imag() / 2);
  return {std::expm1(z.real()) * std::cos(z.imag()) - 2 * s * s,
          std::exp(z.real()) * std::sin(z.imag())};
}
Wide log1p(Wide z) {
  Real x = z.real(), y = z.imag();
  Real re =
      std::abs(z) < 0.5L ? std::log1p(x * (2 + x) + y * y) / 2 : std::log(Wide(1 + x, y)).real();
  return {re, std::atan2(y, 1 + x)};
}
// In terms of e^-2|x|, of which nothing overflows.
Wide tanh(Wide z) {
  Real x = -2 * std::abs(z.real()), e = std::exp(x), h = std::expm1(x);
  Real c = std::cos(z.imag()), d = h * h + 4 * e * c * c;
  return {std::copysign(h * (1 + e) / d, z.real()), 4 * e * c * std::sin(z.imag()) / d};
}
// From |1 + e^-z|^2 = (1 - e^-x)^2 + 2 e^-x (1 + cos y), where nothing cancels near a pole.
Wide sigmoid(Wide z) {
  Real e = std::exp(-std::abs(z.real())), h = std::expm1(-std::abs(z.real()));
  Real c = std::cos(z.imag() / 2), k = 2 * c * c, d = h * h + 2 * e * k;
  Real re = z.real() < 0 ? e * (k + h) : e * k - h;
  return {re / d, e * std::sin(z.imag()) / d};
}
Wide logaddexp(Wide a, Wide b) {
  if (a.real() < b.real() || (a.real() == b.real() && a.imag() < b.imag())) std::swap(a, b);
  return a + log1p(std::exp(b - a));
}
const Wide kI(0, 1);

// ---- the table of functions --------------------------------------------------------------------

struct Function {
  std::string name;
  cermet::Op op;
  double bound;  // ULPs of the modulus
  Wide (*exact)(Wide, Wide);
};
#define COMPLEX_BOUND(f, bound, a, b, expression) \
  {#f, cermet::Op::f, bound,                      \
   []([[maybe_unused]] Wide a, [[maybe_unused]] Wide b) -> Wide { return expression; }},
#define ERROR_BOUND_1(...)
#define ERROR_BOUND_2(...)
const Function kUnary[] = {
#define COMPLEX_BOUND_1(f, bound, expression) COMPLEX_BOUND(f, bound, z, unused, expression)
#define COMPLEX_BOUND_2(...)
#include "../error_bounds.def"
#undef COMPLEX_BOUND_1
#undef COMPLEX_BOUND_2
};
const Function kBinary[] = {
#define COMPLEX_BOUND_1(...)
#define COMPLEX_BOUND_2(f, bound, expression) COMPLEX_BOUND(f, bound, a, b, expression)
#include "../error_bounds.def"
};
const Function& binary(cermet::Op op) {
  return *std::find_if(std::begin(kBinary), std::end(kBinary), [=](auto& f) { return f.op == op; });
}

// out[i] = f(x[i], y[i]) for i in [begin, end), by the loop.
void run(const Function& f, const Values& x, const Values& y, Values& out, std::size_t begin,
         std::size_t end) {
  const auto loop = isa_loops().op[static_cast<int>(f.op)][static_cast<int>(cermet::complex64)];
  const auto n = static_cast<std::int64_t>(end - begin);
  if (f.op == cermet::Op::abs) {
    std::vector<float> moduli(end - begin);
    loop(moduli.data(), &x[begin], nullptr, nullptr, n);
    for (std::size_t i = begin; i < end; ++i) out[i] = {moduli[i - begin], 0};
  } else {
    loop(&out[begin], &x[begin], &y[begin], nullptr, n);
  }
}

// ---- arguments ---------------------------------------------------------------------------------

std::mt19937 random_bits(1);

float any_finite() {
  for (;;) {
    std::uint32_t b = random_bits();
    float x;
    std::memcpy(&x, &b, sizeof x);
    if (std::isfinite(x)) return x;
  }
}
float within(float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(random_bits);
}
// Of either sign, e^low to e^high.
float spread(float low, float high) {
  return (random_bits() & 1 ? 1.0f : -1.0f) * std::exp(within(low, high));
}
float one_of(std::initializer_list<float> values) {
  return values.begin()[random_bits() % values.size()];
}

constexpr std::size_t kCount = 20000;

template <class F>
Values generate(F f) {
  Values z(kCount);
  std::generate(z.begin(), z.end(), f);
  return z;
}
complex64_t box(float r) { return {within(-r, r), within(-r, r)}; }

// Everywhere; and where functions have zeros, poles, branch points and cuts.
std::vector<Values> arguments() {
  const float quarter = 1.57079633f;
  auto turned = [=] { return quarter * float(int(random_bits() % 41) - 20) + spread(-20, -2); };
  return {
      generate([] { return complex64_t{any_finite(), any_finite()}; }),
      generate([] { return box(2); }),
      generate([] { return box(12); }),
      generate([] { return box(100); }),
      generate([] { return complex64_t{within(-210, 210), spread(-100, 5)}; }),
      generate([] { return complex64_t{spread(-100, 5), within(-210, 210)}; }),
      generate([] { return complex64_t{spread(-5, 5), spread(-5, 5)}; }),
      generate([] { return complex64_t{spread(-100, 80), spread(-100, 80)}; }),
      generate([] {
        float s = within(-100, 86);
        return complex64_t{spread(s - 1, s + 1), spread(s - 1, s + 1)};
      }),
      generate([] {
        float t = within(-3.15f, 3.15f);
        return complex64_t{std::cos(t), std::sin(t)};
      }),
      generate([] { return complex64_t{one_of({1, -1}) + spread(-17, 0), spread(-17, 0)}; }),
      generate([] { return complex64_t{spread(-17, 0), one_of({1, -1}) + spread(-17, 0)}; }),
      generate([=] { return complex64_t{spread(-60, -2), turned()}; }),
      generate([=] { return complex64_t{turned(), spread(-60, -2)}; }),
      generate(
          [] { return complex64_t{one_of({any_finite(), within(-5, 5)}), one_of({0, -0.0f})}; }),
      generate(
          [] { return complex64_t{one_of({0, -0.0f}), one_of({any_finite(), within(-5, 5)})}; }),
      generate([] { return complex64_t{within(-5, 5), spread(-100, -5)}; }),
      generate([] { return complex64_t{spread(-100, -5), within(-5, 5)}; }),
  };
}

// ---- checks ------------------------------------------------------------------------------------

// The distance of y from the exact value in units of the last place of the exact value's modulus,
// or of `scale` where that is greater.
double ulp_error(complex64_t y, Wide exact, Real scale = 0) {
  constexpr Real kMax = std::numeric_limits<float>::max();
  constexpr double kWrong = 1e30;
  Real modulus = std::max(std::abs(exact), scale);
  int exponent = modulus == 0 ? -126 : std::clamp(std::ilogb(modulus), -126, 127);
  auto part = [&](float got, Real want) -> double {
    if (std::isinf(got))
      return std::abs(want) >= kMax * (1 - 5e-7L) && (got > 0) == (want > 0) ? 0 : kWrong;
    if (std::abs(want) > kMax) return std::abs(got) >= kMax * (1 - 5e-7L) ? 0 : kWrong;
    return static_cast<double>(std::abs(got - want) / std::ldexp(Real(1), exponent - 23));
  };
  double error = std::hypot(part(y.re, exact.real()), part(y.im, exact.imag()));
  return std::isnan(error) ? kWrong : error;
}

void check(const Function& f, const Values& x, const Values& y) {
  Values out(x.size());
  run(f, x, y, out, 0, x.size());
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    Wide a(x[i].re, x[i].im), b(y[i].re, y[i].im), exact = f.exact(a, b);
    if (std::isnan(exact.real()) || std::isnan(exact.imag())) continue;
    // One of four products may overflow where their sum and difference do not.
    bool product = f.op == cermet::Op::multiply || f.op == cermet::Op::square;
    if (product && !cpu::isfinite(out[i])) continue;
    Real scale = f.op == cermet::Op::logaddexp ? std::max(std::abs(a), std::abs(b)) : 0;
    double error = ulp_error(out[i], exact, scale);
    if (error > worst) worst = error, at = i;
  }
  Wide a(x[at].re, x[at].im), b(y[at].re, y[at].im), exact = f.exact(a, b);
  INFO(f.name << " of " << x[at].re << " + " << x[at].im << "i and " << y[at].re << " + "
              << y[at].im << "i: " << out[at].re << " + " << out[at].im << "i, expected "
              << double(exact.real()) << " + " << double(exact.imag()) << "i");
  CHECK(worst <= f.bound);
}

bool same_bits(complex64_t a, complex64_t b) {
  auto same = [](float x, float y) {
    return (std::isnan(x) && std::isnan(y)) || std::memcmp(&x, &y, sizeof x) == 0;
  };
  return same(a.re, b.re) && same(a.im, b.im);
}

}  // namespace

TEST_CASE("complex functions of one argument keep to their error bounds") {
  for (const Values& z : arguments())
    for (const Function& f : kUnary) check(f, z, z);
}

TEST_CASE("complex functions of two arguments keep to their error bounds") {
  for (Values& x : arguments()) {
    Values y = x;
    std::shuffle(y.begin(), y.end(), random_bits);
    for (cermet::Op op : {cermet::Op::multiply, cermet::Op::divide}) check(binary(op), x, y);
  }
  const Function& sum = binary(cermet::Op::logaddexp);
  for (float r : {2.0f, 12.0f, 100.0f})
    check(sum, generate([=] { return box(r); }), generate([=] { return box(r); }));
  // Near e^a = -e^b.
  Values a = generate([] { return box(2); }), b = a;
  for (complex64_t& z : b) z = {z.re + spread(-15, -3), z.im + 3.14159265f + spread(-15, -3)};
  check(sum, a, b);
}

TEST_CASE("complex powers keep to their error bound while b log a is below some 10^5") {
  auto around = [](float spread_of_modulus) {
    float t = within(-3.15f, 3.15f), r = std::exp(within(-spread_of_modulus, spread_of_modulus));
    return complex64_t{r * std::cos(t), r * std::sin(t)};
  };
  auto axes = [] {
    return random_bits() & 1 ? complex64_t{spread(-8, 8), 0} : complex64_t{0, spread(-8, 8)};
  };
  const Function& power = binary(cermet::Op::power);
  check(power, generate([] { return box(3); }), generate([] { return box(3); }));
  check(power, generate([] { return complex64_t{spread(-10, 10), spread(-10, 10)}; }),
        generate([] { return box(8); }));
  check(power, generate([] { return complex64_t{any_finite(), any_finite()}; }),
        generate([] { return box(1); }));
  check(power, generate([&] { return around(0.1f); }),
        generate([] { return complex64_t{within(-300, 300), within(-20, 20)}; }));
  check(power, generate([&] { return around(0); }),
        generate([] { return complex64_t{within(-50000, 50000), within(-20, 20)}; }));
  check(power, generate([] { return complex64_t{1 + spread(-15, -3), spread(-15, -3)}; }),
        generate([] { return box(500); }));
  check(power, generate(axes), generate(axes));
}

TEST_CASE("an element's place in an array changes no bit of a complex function") {
  std::vector<Function> functions(std::begin(kUnary), std::end(kUnary));
  functions.insert(functions.end(), std::begin(kBinary), std::end(kBinary));
  Values x = generate([] { return box(9); }), y = generate([] { return box(9); });
  for (std::size_t i = 0; i < 100; ++i) x[97 * i] = {any_finite(), one_of({1, kInf, kNan})};
  Values whole(x.size()), pieces(x.size());
  for (const Function& f : functions) {
    run(f, x, y, whole, 0, x.size());
    for (std::size_t i = 0, n = 1; i < x.size(); i += n, n = n % 37 + 1) {
      n = std::min(n, x.size() - i);
      run(f, x, y, pieces, i, i + n);
    }
    std::size_t differ = 0;
    for (std::size_t i = 0; i < x.size(); ++i) differ += !same_bits(whole[i], pieces[i]);
    CHECK_MESSAGE(differ == 0, f.name);
  }
}

// A part is free in sign where the other is not a number, and so is one that is 0 of a product.
TEST_CASE("complex functions of zeros, infinities and nans are those of C") {
  const std::string own[] = {"abs",  "square", "sign",  "rsqrt",   "reciprocal", "expm1",
                             "log2", "log10",  "log1p", "sigmoid", "silu"};
  const float values[] = {0, -0.0f, 1, -1.5f, 1e-40f, 3e38f, kInf, -kInf, kNan};
  for (const Function& f : kUnary) {
    if (std::find(std::begin(own), std::end(own), f.name) != std::end(own)) continue;
    for (float re : values) {
      for (float im : values) {
        Values one(1);
        run(f, {{re, im}}, {{re, im}}, one, 0, 1);
        const complex64_t y = one[0];
        Wide exact = f.exact({re, im}, 0);
        if (f.name == "tan") exact = std::tan(Wide(re, im));
        if (f.name == "tanh") exact = std::tanh(Wide(re, im));
        Real parts[] = {exact.real(), exact.imag()};
        const float got[] = {y.re, y.im};
        for (int k = 0; k < 2; ++k) {
          INFO(f.name << " of " << re << " + " << im << "i: " << y.re << " + " << y.im
                      << "i, expected " << double(parts[0]) << " + " << double(parts[1]) << "i");
          const float want = static_cast<float>(parts[k]), other = static_cast<float>(parts[1 - k]);
          if (std::isnan(want)) {
            CHECK(std::isnan(got[k]));
          } else if (std::isinf(want) || want == 0) {
            CHECK(std::abs(got[k]) == std::abs(want));
            CHECK((std::isnan(other) || std::signbit(got[k]) == std::signbit(want)));
          }
        }
      }
    }
  }
}

TEST_CASE("special values that C has not") {
  auto is = [](complex64_t got, float re, float im) { return same_bits(got, {re, im}); };
  const complex64_t zero{0, 0}, big{3e38f, 3e38f}, small{1e-40f, -1e-40f};
  CHECK(is(cpu::divide(big, big), 1, 0));
  CHECK(cpu::divide(small, small).re == 1);
  CHECK(cpu::divide(complex64_t{1, 0}, zero).re == kInf);
  CHECK(cpu::divide(complex64_t{1, 1}, complex64_t{kInf, kNan}).re == 0);
  CHECK(cpu::divide(complex64_t{kInf, 1}, complex64_t{1, 1}).re == kInf);
  CHECK(cpu::reciprocal(zero).re == kInf);
  CHECK(is(cpu::reciprocal(complex64_t{-2, 0}), -0.5f, -0.0f));
  CHECK(cpu::rsqrt(zero).re == kInf);
  CHECK(cpu::abs(complex64_t{2e38f, 2e38f}) == doctest::Approx(2.828427e38));
  CHECK(cpu::abs(complex64_t{3e-40f, 4e-40f}) == doctest::Approx(5e-40));
  CHECK(cpu::abs(complex64_t{kNan, kInf}) == kInf);
  CHECK(std::isnan(cpu::abs(complex64_t{kNan, 1})));
  CHECK(is(cpu::sign(complex64_t{-0.0f, 0}), 0, 0));
  CHECK(is(cpu::sign(complex64_t{-kInf, 5}), -1, 0));
  CHECK(is(cpu::sign(complex64_t{kInf, kInf}), kNan, kNan));
  CHECK(is(cpu::multiply(complex64_t{1.1f, 2.3f}, complex64_t{1.1f, -2.3f}),
           1.1f * 1.1f + 2.3f * 2.3f, 0));
  CHECK(is(cpu::power(zero, zero), 1, 0));
  CHECK(is(cpu::power(zero, complex64_t{2, 0}), 0, 0));
  CHECK(is(cpu::power(complex64_t{kInf, 0}, zero), 1, 0));
  CHECK(is(cpu::power(complex64_t{0, 1}, complex64_t{0, 3e38f}), 0, 0));
  CHECK(is(cpu::sigmoid(complex64_t{-1000, 1}), 0, 0));
  CHECK(is(cpu::sigmoid(complex64_t{-kInf, kInf}), 0, 0));
  CHECK(is(cpu::silu(complex64_t{kInf, 1}), kInf, 1));
  CHECK(is(cpu::expm1(complex64_t{-kInf, 2}), -1, 0));
  CHECK(is(cpu::log1p(complex64_t{-1, 0}), -kInf, 0));
  CHECK(is(cpu::log2(complex64_t{8, 0}), 3, 0));
  CHECK(is(cpu::log10(zero), -kInf, 0));
  CHECK(is(cpu::logaddexp(complex64_t{-kInf, 0}, complex64_t{2, 1}), 2, 1));
  CHECK(cpu::isnan(cpu::logaddexp(complex64_t{kNan, 0}, complex64_t{2, 1})));
  CHECK(cpu::arctanh(complex64_t{1, 0}).re == kInf);
}
