// ops/ read by a recorder: the micro-operations of every elementwise function, done one by one with
// scalars, give the bits of the function's loop.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "cpu/loops.h"
#include "recorder.h"

namespace {

using cermet::Op;
using cermet::Rule;
using recorder::Micro;
using recorder::Recording;
using recorder::Step;
using Bits = std::uint32_t;

float as_float(Bits b) { return std::bit_cast<float>(b); }
Bits as_bits(float x) { return std::bit_cast<Bits>(x); }
std::int32_t as_int(Bits b) { return static_cast<std::int32_t>(b); }

// What a step makes of the values before it.
Bits compute(const Step& s, const std::vector<Bits>& v, const Bits* inputs) {
  const Bits a = s.a < 0 ? 0 : v[s.a], b = s.b < 0 ? 0 : v[s.b], c = s.c < 0 ? 0 : v[s.c];
  const float x = as_float(a), y = as_float(b);
  switch (s.op) {
    case Micro::input: return inputs[s.bits];
    case Micro::constant: return s.bits;
    case Micro::table: return as_bits(s.table->at(a));
    case Micro::add: return as_bits(x + y);
    case Micro::subtract: return as_bits(x - y);
    case Micro::multiply: return as_bits(x * y);
    case Micro::divide: return as_bits(x / y);
    case Micro::negate: return a ^ 0x80000000u;
    case Micro::fma: return as_bits(std::fma(x, y, as_float(c)));
    case Micro::abs: return a & 0x7fffffffu;
    case Micro::copysign: return (a & 0x7fffffffu) | (b & 0x80000000u);
    case Micro::sqrt: return as_bits(std::sqrt(x));
    case Micro::floor: return as_bits(std::floor(x));
    case Micro::ceil: return as_bits(std::ceil(x));
    case Micro::trunc: return as_bits(std::trunc(x));
    case Micro::rint: return as_bits(std::rint(x));
    case Micro::equal: return x == y;
    case Micro::not_equal: return x != y;
    case Micro::less: return x < y;
    case Micro::less_equal: return x <= y;
    case Micro::from_int: return as_bits(static_cast<float>(as_int(a)));
    case Micro::from_unsigned: return as_bits(static_cast<float>(a));
    case Micro::to_int:
      REQUIRE(std::abs(x) <= 0x1p31f);  // clamped before
      return static_cast<Bits>(static_cast<std::int64_t>(x));
    case Micro::to_unsigned:
      REQUIRE(x > -1.0f);
      REQUIRE(x < 0x1p32f);
      return static_cast<Bits>(x);
    case Micro::int_add: return a + b;
    case Micro::int_subtract: return a - b;
    case Micro::int_multiply: return a * b;
    case Micro::int_negate: return 0 - a;
    case Micro::shift_left: REQUIRE(b < 32); return a << b;
    case Micro::shift_right: REQUIRE(b < 32); return static_cast<Bits>(as_int(a) >> b);
    case Micro::unsigned_shift_right: REQUIRE(b < 32); return a >> b;
    case Micro::int_equal: return a == b;
    case Micro::int_not_equal: return a != b;
    case Micro::int_less: return as_int(a) < as_int(b);
    case Micro::int_less_equal: return as_int(a) <= as_int(b);
    case Micro::unsigned_less: return a < b;
    case Micro::unsigned_less_equal: return a <= b;
    case Micro::bit_and: return a & b;
    case Micro::bit_or: return a | b;
    case Micro::bit_xor: return a ^ b;
    case Micro::bit_not: return ~a;
    case Micro::condition_not: return a ^ 1;
    case Micro::select: return a ? b : c;
    case Micro::rare: return a;
  }
  return 0;
}

// A function as recorded: its steps, and which of them are its results.
struct Recorded {
  Recording steps;
  std::vector<int> results;
};
std::vector<int> results_of(recorder::c64 z) { return {z.re.id, z.im.id}; }
template <class T>
std::vector<int> results_of(T x) {
  return {x.id};
}
template <class T>
T input(int number) {
  const auto word = [](int n) {
    return Step{Micro::input, -1, -1, -1, static_cast<Bits>(n), nullptr};
  };
  if constexpr (std::is_same_v<T, recorder::c64>)
    return {recorder::f32(word(2 * number)), recorder::f32(word(2 * number + 1))};
  else
    return T(word(number));
}
template <class T, class F>
Recorded record(F f) {
  Recorded r;
  recorder::t_recording = &r.steps;
  r.results = results_of(f(input<T>(0), input<T>(1)));
  recorder::t_recording = nullptr;
  return r;
}

// The results for these inputs; none where a rare case shows.
std::vector<Bits> replay(const Recorded& r, const Bits* inputs) {
  std::vector<Bits> values, out;
  for (const Step& s : r.steps) {
    values.push_back(compute(s, values, inputs));
    if (s.op == Micro::rare && values.back()) return {};
  }
  for (const int id : r.results) out.push_back(values[id]);
  return out;
}

std::vector<Bits> samples(bool floating) {
  std::mt19937 random(3);
  std::vector<Bits> x;
  for (int i = 0; i < 3000; ++i) x.push_back(static_cast<Bits>(random()));
  if (floating) {
    std::uniform_real_distribution<float> dense(-10, 10);
    for (int i = 0; i < 3000; ++i) x.push_back(as_bits(dense(random)));
    for (float s : {0.0f, 0x1p-149f, 0x1p-126f, 0.5f, 1.0f, 2.0f, 88.7f, 131072.0f, 0x1.fffffep127f,
                    recorder::kInf})
      for (float y : {s, -s})
        for (int i = 0; i < 9; ++i) x.push_back(as_bits(y));
    for (int i = 0; i < 9; ++i) x.push_back(as_bits(recorder::kNan));
  } else {
    for (Bits i = 0; i < 40; ++i) x.push_back(i), x.push_back(0 - i);
  }
  return x;
}

bool is_nan(Bits b) { return (b & 0x7fffffffu) > 0x7f800000u; }

// `bytes`: of an element of the loop's result, of which bool has one.
void check(const std::string& name, const Recorded& r, Op op, cermet::Dtype dtype, int arity,
           std::size_t bytes) {
  const int words = cermet::is_complex(dtype) ? 2 : 1;
  std::vector<Bits> x = samples(cermet::is_inexact(dtype));
  x.resize(x.size() / 2 * 2);
  std::vector<Bits> y = x;
  std::shuffle(y.begin(), y.end(), std::mt19937(5));
  const std::size_t n = x.size() / words;
  std::vector<unsigned char> out(n * 8);
  const cermet::cpu::Loop loop = cermet::cpu::loops().op[int(op)][int(dtype)];
  REQUIRE((loop != nullptr));
  loop(out.data(), x.data(), arity > 1 ? y.data() : nullptr, nullptr, std::int64_t(n));
  std::size_t wrong = 0, rare = 0, at = 0;
  for (std::size_t i = 0; i < n; ++i) {
    Bits inputs[4] = {};
    for (int w = 0; w < words; ++w)
      inputs[w] = x[i * words + w], inputs[words + w] = y[i * words + w];
    const std::vector<Bits> found = replay(r, inputs);
    rare += found.empty();
    for (std::size_t k = 0; k < found.size(); ++k) {
      Bits expected = 0;
      std::memcpy(&expected, out.data() + i * bytes + 4 * k, std::min<std::size_t>(bytes, 4));
      const bool same = found[k] == expected || (cermet::is_inexact(dtype) && bytes > 1 &&
                                                 is_nan(found[k]) && is_nan(expected));
      if (!same) at = i, ++wrong;
    }
  }
  INFO(name << " of " << cermet::name_of(dtype) << ": " << wrong << " differ, one at " << x[at]
            << ", " << y[at] << "; rare: " << rare);
  CHECK(wrong == 0);
  CHECK(rare < n);
}

// Records f where it takes T, and compares.
template <class T, class F>
int check_type(const char* name, F f, Op op, cermet::Dtype dtype, int arity) {
  if constexpr (requires(T x) { f(x, x); }) {
    using R = decltype(f(std::declval<T>(), std::declval<T>()));
    const std::size_t bytes = std::is_same_v<R, recorder::b32>   ? 1
                              : std::is_same_v<R, recorder::c64> ? 8
                                                                 : 4;
    check(name, record<T>(f), op, dtype, arity, bytes);
    return 1;
  }
  return 0;
}

struct Count {
  int floats = 0, integers = 0, complex = 0;
};
template <Rule rule, int arity, class F>
void check_types(Count& count, const char* name, F f, Op op) {
  constexpr bool bitwise = rule == Rule::bitwise;
  constexpr bool inexact = rule == Rule::inexact || rule == Rule::real_inexact;
  if constexpr (arity < 3 && rule != Rule::logical) {
    if constexpr (!bitwise)
      count.floats += check_type<recorder::f32>(name, f, op, cermet::float32, arity);
    if constexpr (!inexact && rule != Rule::rounding) {
      count.integers += check_type<recorder::i32>(name, f, op, cermet::int32, arity);
      count.integers += check_type<recorder::u32>(name, f, op, cermet::uint32, arity);
    }
    if constexpr (!bitwise && rule != Rule::real && rule != Rule::real_inexact &&
                  rule != Rule::rounding)
      count.complex += check_type<recorder::c64>(name, f, op, cermet::complex64, arity);
  }
}

}  // namespace

TEST_CASE("micro-operations of every function give the bits of its loop") {
  Count count;
#define CALL_1(name) [](auto x, auto) -> decltype(name(x)) { return name(x); }
#define CALL_2(name) [](auto x, auto y) -> decltype(name(x, y)) { return name(x, y); }
#define CALL_3(name) 0
#define CERMET_ELEMENTWISE(name, arity, rule, doc) \
  check_types<Rule::rule, arity>(count, #name, CALL_##arity(name), Op::name);
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
  CHECK(count.floats >= 50);
  CHECK(count.integers >= 40);
  CHECK(count.complex >= 40);
}
