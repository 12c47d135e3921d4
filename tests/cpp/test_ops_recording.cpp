// ops/ read by a recorder: the micro-operations of every elementwise function, done one by one with
// scalars, give the bits of the function's loop.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "cpu/loops.h"
#include "cpu/machine/recorder.h"
#include "steps.h"

namespace {

using cermet::Op;
using cermet::Rule;
using cermet::cpu::machine::Micro;
using cermet::cpu::machine::Step;
using cermet::cpu::machine::Trace;
namespace recorded = cermet::cpu::machine::recorded;

// A function as recorded: its steps, and which of them are its results.
struct Recorded {
  Trace trace;
  std::vector<int> results;
};
std::vector<int> results_of(recorded::c64 z) { return {z.re.id, z.im.id}; }
template <class T>
std::vector<int> results_of(T x) {
  return {x.id};
}
template <class T>
T input(Trace& trace, Bits number) {
  const auto word = [&](Bits n) {
    Step step{Micro::load};
    step.bits = n;
    return recorded::Known{trace.put(step)};
  };
  if constexpr (std::is_same_v<T, recorded::c64>)
    return {recorded::f32(word(2 * number)), recorded::f32(word(2 * number + 1))};
  else
    return T(word(number));
}
template <class T, class F>
Recorded record(F f) {
  Recorded r;
  cermet::cpu::machine::t_trace = &r.trace;
  r.results = results_of(f(input<T>(r.trace, 0), input<T>(r.trace, 1)));
  return r;
}

// The results for these inputs; none where a rare case shows.
std::vector<Bits> replay(const Recorded& r, const Bits* inputs) {
  std::vector<Bits> values, out;
  for (const Step& s : r.trace.steps()) {
    Bits in[3] = {};
    for (int i = 0; i < 3; ++i)
      if (s.in[i] >= 0) in[i] = values[s.in[i]];
    if (s.op == Micro::rare && in[0]) return {};
    if (s.op == Micro::to_int) REQUIRE(std::abs(as_float(in[0])) <= 0x1p31f);  // clamped before
    if (s.op >= Micro::shift_left && s.op <= Micro::unsigned_shift_right) REQUIRE(in[1] < 32);
    values.push_back(s.op == Micro::load   ? inputs[s.bits]
                     : s.op == Micro::rare ? in[1]
                                           : compute(s, in[0], in[1], in[2]));
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
                    recorded::kInf})
      for (float y : {s, -s})
        for (int i = 0; i < 9; ++i) x.push_back(as_bits(y));
    for (int i = 0; i < 9; ++i) x.push_back(as_bits(recorded::kNan));
  } else {
    for (Bits i = 0; i < 40; ++i) x.push_back(i), x.push_back(0 - i);
  }
  return x;
}

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
    const std::size_t bytes = std::is_same_v<R, recorded::b32>   ? 1
                              : std::is_same_v<R, recorded::c64> ? 8
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
      count.floats += check_type<recorded::f32>(name, f, op, cermet::float32, arity);
    if constexpr (!inexact && rule != Rule::rounding) {
      count.integers += check_type<recorded::i32>(name, f, op, cermet::int32, arity);
      count.integers += check_type<recorded::u32>(name, f, op, cermet::uint32, arity);
    }
    if constexpr (!bitwise && rule != Rule::real && rule != Rule::real_inexact &&
                  rule != Rule::rounding)
      count.complex += check_type<recorded::c64>(name, f, op, cermet::complex64, arity);
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
