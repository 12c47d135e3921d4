// Machine code: random traces give the bits of their steps done one by one, with every encoder for
// this processor, any number of elements and more values than registers. CERMET_TRACES says how
// many.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/machine/assembler.h"
#include "cpu/machine/code.h"
#include "steps.h"

#if defined(__x86_64__) || defined(__aarch64__)

// Leaves in registers what a call may.
extern "C" void scramble() asm("cermet_test_scramble");
#if defined(__aarch64__)
asm(R"(
  .text
cermet_test_scramble:
  .irp r, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
  movi v\r\().16b, #7
  .endr
  .irp r, 8, 9, 10, 11, 12, 13, 14, 15
  mov v\r\().d[1], xzr
  .endr
  .irp r, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
  mov x\r, #7
  .endr
  ret
)");
#else
asm(R"(
  .text
cermet_test_scramble:
  vzeroall
  ret
)");
#endif

namespace {

using namespace cermet;
using namespace cermet::cpu::machine;

// An element in memory as 32 bits, and back.
Bits widened(Dtype dtype, const std::byte* at) {
  return visit(dtype, [&]<class T>(Type<T>) -> Bits {
    T x;
    std::memcpy(&x, at, sizeof x);
    if constexpr (requires { x.bits; })
      return as_bits(to_float(x));
    else if constexpr (std::is_same_v<T, float>)
      return as_bits(x);
    else if constexpr (std::is_integral_v<T>)
      return static_cast<Bits>(static_cast<std::int64_t>(x));
    else
      return 0;
  });
}
void narrow(Dtype dtype, Bits value, std::byte* at) {
  const std::uint16_t half =
      dtype == float16 ? to_float16(as_float(value)).bits : static_cast<std::uint16_t>(value >> 16);
  if (is_half(dtype))
    std::memcpy(at, &half, 2);
  else
    std::memcpy(at, &value, size_of(dtype));
}

// clang-format off
constexpr Dtype kDtypes[] = {float32, float32, int32, uint32, float16, bfloat16, int16, uint16, int8, uint8};
// clang-format on

// What is called where an argument is rare.
void sum_loop(void* out, const void* a, const void* b, const void*, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i)
    static_cast<float*>(out)[i] = static_cast<const float*>(a)[i] + static_cast<const float*>(b)[i];
  scramble();
}

// A trace of about `steps` steps, from so many inputs to so many outputs.
class Random {
 public:
  explicit Random(unsigned seed) : random_(seed) {}
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  Bits word() {
    switch (below(4)) {
      case 0: return static_cast<Bits>(random_());
      case 1: return static_cast<Bits>(below(64) - 32);
      case 2: return as_bits(static_cast<float>(below(4000) - 2000) / 64.0f);
      default: {
        constexpr float special[] = {0.0f,    -0.0f,  1.0f,    -1.0f,   INFINITY,      -INFINITY,
                                     NAN,     1e-40f, -1e-40f, 3.4e38f, 0x1.ff8p-127f, 65504.0f,
                                     65520.f, 6e-8f,  2.5f,    -2.5f,   0x1p31f,       4.3e9f};
        return as_bits(special[below(std::size(special))]);
      }
    }
  }

  Trace trace(int inputs, int steps, int outputs) {
    Trace t;
    std::vector<std::int32_t> numbers, conditions;
    for (int k = 0; k < inputs; ++k) {
      Step s{k % 5 == 4 ? Micro::broadcast : Micro::load};
      s.dtype = kDtypes[below(std::size(kDtypes))];
      if (s.op == Micro::broadcast && is_half(s.dtype)) s.dtype = float32;
      s.bits = static_cast<Bits>(k);
      numbers.push_back(t.put(s));
    }
    const auto number = [&] {
      if (below(8) == 0) return t.constant(word());
      // Recent ones more often than others.
      const int n = static_cast<int>(numbers.size());
      return numbers[below(2) ? below(n) : n - 1 - below(std::min(n, 6))];
    };
    while (static_cast<int>(t.steps().size()) < steps) {
      const auto op = static_cast<Micro>(below(static_cast<int>(Micro::reduce)));
      if (op <= Micro::constant) continue;
      // Integers read no nan, whose bits nobody promises.
      const auto integer = [&] {
        const std::int32_t x = number();
        return t.put(Micro::select, t.put(Micro::equal, x, x), x, t.constant(7));
      };
      if (op == Micro::to_int || op == Micro::to_unsigned) {  // of what is in range
        const std::int32_t x =
            t.put(Micro::from_int, t.put(Micro::bit_and, integer(), t.constant(0xffffff)));
        numbers.push_back(t.put(op, x));
      } else if (op >= Micro::shift_left && op <= Micro::unsigned_shift_right) {
        const std::int32_t count = below(2) ? t.constant(static_cast<Bits>(below(32)))
                                            : t.put(Micro::bit_and, integer(), t.constant(31));
        numbers.push_back(t.put(op, integer(), count));
      } else if (op >= Micro::condition_and && op <= Micro::condition_not) {
        if (conditions.empty()) continue;
        const auto condition = [&] {
          return conditions[below(static_cast<int>(conditions.size()))];
        };
        const std::int32_t a = condition();
        conditions.push_back(op == Micro::condition_not ? t.put(op, a) : t.put(op, a, condition()));
      } else if (is_condition(op)) {
        const bool is_int = op >= Micro::int_equal;
        const std::int32_t a = is_int ? integer() : number(), b = is_int ? integer() : number();
        const std::int32_t c = t.put(op, a, b);
        if (t[c].op != Micro::constant) conditions.push_back(c);
      } else if (op == Micro::select || op == Micro::rare) {
        if (conditions.empty()) continue;
        Step s{op};
        s.in[0] = conditions[below(static_cast<int>(conditions.size()))];
        s.in[1] = number(), s.in[2] = number();
        if (op == Micro::rare) {  // what is usual is wrong where the condition holds
          s.in[3] = s.in[1];
          const std::int32_t sum = t.put(Micro::add, s.in[2], s.in[3]);
          s.in[1] = t.put(Micro::select, s.in[0], t.constant(7), sum);
          s.function = sum_loop;
        }
        numbers.push_back(t.put(s));
      } else {
        Step s{op};
        const bool unary = op == Micro::negate || op == Micro::abs || op == Micro::bit_not ||
                           (op >= Micro::sqrt && op <= Micro::to_unsigned);
        const bool is_int = op == Micro::from_int || op == Micro::from_unsigned ||
                            (op >= Micro::int_add && op <= Micro::bit_not) ||
                            (op >= Micro::int_maximum && op <= Micro::unsigned_minimum);
        s.in[0] = is_int ? integer() : number();
        // Nor is the sign of one.
        if (!unary) s.in[1] = is_int || op == Micro::copysign ? integer() : number();
        if (op == Micro::scale) {  // of what is in [1, 2)
          const std::int32_t fraction = t.put(Micro::bit_and, integer(), t.constant(0x7fffff));
          const std::int32_t power = t.put(Micro::bit_and, integer(), t.constant(0x1f8));
          s.in[0] = t.put(Micro::bit_or, fraction, t.constant(0x3f800000));
          s.in[1] = t.put(Micro::int_subtract, power, t.constant(252));
        }
        if (op == Micro::fma) s.in[2] = number(), s.signs = static_cast<std::uint8_t>(below(4));
        numbers.push_back(t.put(s));
      }
    }
    for (int k = 0; k < outputs; ++k) {
      Step s{Micro::store};
      s.dtype = kDtypes[below(std::size(kDtypes))];
      s.streams = below(2);
      s.bits = static_cast<Bits>(inputs + k);
      const int n = static_cast<int>(numbers.size());
      s.in[0] = numbers[below(4) ? n - 1 - below(std::min(n, 8)) : below(n)];
      if (s.dtype == bfloat16) s.in[0] = t.put(Micro::round_bfloat16, s.in[0]);
      if (!is_half(s.dtype) && s.dtype != float32)
        s.in[0] =
            t.put(Micro::select, t.put(Micro::equal, s.in[0], s.in[0]), s.in[0], t.constant(7));
      t.put(s);
    }
    return t;
  }

 private:
  std::mt19937 random_;
};

using Encoder = std::unique_ptr<Assembler> (*)();

// Elements that differ from those of the steps done one by one.
int differences(Random& random, const Trace& trace, int locations, Encoder make, std::int64_t n) {
  std::vector<std::vector<std::byte>> memory(static_cast<std::size_t>(locations));
  std::vector<std::byte*> table;
  std::vector<std::int64_t> first;  // arrays may begin anywhere, or at a cache's line
  const bool aligned = random.below(2);
  for (auto& m : memory) {
    m.resize(static_cast<std::size_t>(n + 2) * 4 + 64);
    for (std::size_t i = 0; i < m.size(); i += 4) {
      const Bits w = random.word();
      std::memcpy(&m[i], &w, 4);
    }
    const auto at = reinterpret_cast<std::uintptr_t>(m.data());
    first.push_back(aligned ? static_cast<std::int64_t>(-at % 64) : 1);
    table.push_back(m.data() + first.back());
  }
  const auto before = memory;
  const std::vector<std::byte*> places = table;
  Trace plain = trace;
  plain.never_stream();
  const Generated streaming = generate(trace, *make());
  const Code code(trace, generate(plain, *make()), 0, &streaming);
  code.run(table.data(), n);
  CHECK(table == places);

  auto expected = before;
  std::vector<Bits> values(trace.steps().size());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::size_t v = 0; v < values.size(); ++v) {
      const Step& s = trace.steps()[v];
      const auto size = static_cast<std::int64_t>(size_of(s.dtype));
      Bits in[4] = {};
      for (int k = 0; k < 4; ++k)
        if (s.in[k] >= 0) in[k] = values[s.in[k]];
      switch (s.op) {
        case Micro::load:
          values[v] = widened(s.dtype, &before[s.bits][first[s.bits] + i * size]);
          break;
        case Micro::broadcast: values[v] = widened(s.dtype, &before[s.bits][first[s.bits]]); break;
        case Micro::store:
          narrow(s.dtype, in[0], &expected[s.bits][first[s.bits] + i * size]);
          break;
        case Micro::rare:
          values[v] = in[0] ? as_bits(as_float(in[2]) + as_float(in[3])) : in[1];
          break;
        default: values[v] = compute(s, in[0], in[1], in[2]);
      }
    }
  int wrong = 0;
  for (const Step& s : trace.steps()) {
    if (s.op != Micro::store) continue;
    const auto size = static_cast<std::int64_t>(size_of(s.dtype));
    for (std::int64_t i = 0; i < n; ++i) {
      const std::byte *found = &memory[s.bits][first[s.bits] + i * size],
                      *right = &expected[s.bits][first[s.bits] + i * size];
      if (std::memcmp(found, right, size) == 0) continue;
      const bool both = (is_half(s.dtype) || s.dtype == float32) &&
                        is_nan(widened(s.dtype, found)) && is_nan(widened(s.dtype, right));
      wrong += !both;
    }
    // Nothing behind the last element is written.
    const auto end = static_cast<std::size_t>(first[s.bits] + n * size);
    wrong +=
        std::memcmp(&memory[s.bits][end], &before[s.bits][end], memory[s.bits].size() - end) != 0;
  }
  return wrong;
}

std::vector<Encoder> encoders() {
#if defined(__aarch64__)
  return {make_arm};
#else
  using cermet::cpu::Isa;
  std::vector<Encoder> all;
  if (cermet::cpu::isa() >= Isa::v3) all.push_back([] { return make_x86(false); });
  if (cermet::cpu::isa() >= Isa::v4) all.push_back([] { return make_x86(true); });
  return all;
#endif
}

}  // namespace

TEST_CASE("code gives the bits of its steps") {
  const char* asked = std::getenv("CERMET_TRACES");
  const unsigned traces = asked ? static_cast<unsigned>(std::stoul(asked)) : 300;
  for (const Encoder make : encoders())
    for (unsigned seed = 0; seed < traces; ++seed) {
      Random random(seed);
      const int inputs = 1 + random.below(seed % 5 == 0 ? 24 : 5), outputs = 1 + random.below(4);
      const Trace trace =
          random.trace(inputs, 10 + random.below(seed % 7 == 0 ? 600 : 80), outputs);
      INFO("seed " << seed << ", lanes " << make()->facts().lanes);
      CHECK(differences(random, trace, inputs + outputs, make, 1 + random.below(150)) == 0);
    }
}

namespace {

std::int32_t put_source(Trace& t, Micro op, Bits location) {
  Step s{op};
  s.bits = location;
  return t.put(s);
}
void put_store(Trace& t, std::int32_t value, Bits location) {
  Step s{Micro::store};
  s.in[0] = value;
  s.bits = location;
  t.put(s);
}

}  // namespace

TEST_CASE("constants may be used before the loop and in it") {
  for (const Encoder make : encoders()) {
    Trace t;
    const std::int32_t two = t.constant(as_bits(2.0f)), three = t.constant(as_bits(3.0f));
    const std::int32_t before = t.put(Micro::fma, put_source(t, Micro::broadcast, 0), two, three);
    std::int32_t x = t.put(Micro::fma, put_source(t, Micro::load, 1), before, three);
    std::vector<std::int32_t> live;  // which take the registers of all constants
    for (int k = 0; k < 40; ++k) live.push_back(x = t.put(Micro::sqrt, x));
    for (const std::int32_t other : live) x = t.put(Micro::add, x, other);
    put_store(t, x, 2);
    Random random(0);
    CHECK(differences(random, t, 3, make, 200) == 0);
  }
}

TEST_CASE("what does not change leaves registers to a step of four operands") {
  for (const Encoder make : encoders()) {
    Trace t;
    constexpr int count = 40;
    std::vector<std::int32_t> same;
    for (Bits k = 0; k < count; ++k) same.push_back(put_source(t, Micro::broadcast, k));
    Step s{Micro::rare};
    s.function = sum_loop;
    s.in[2] = same[count - 1], s.in[3] = same[count - 2];
    s.in[1] = t.put(Micro::add, s.in[2], s.in[3]);
    s.in[0] = t.put(Micro::less, put_source(t, Micro::load, count), same[0]);
    std::int32_t y = t.put(Micro::add, t.put(s), s.in[1]);
    for (int round = 0; round < 20; ++round)  // too long to be done for several vectors at once
      for (int k = 0; k < count - 2; ++k) y = t.put(Micro::multiply, y, same[k]);
    put_store(t, y, count + 1);
    Random random(0);
    CHECK(differences(random, t, count + 2, make, 200) == 0);
  }
}

TEST_CASE("rows are reduced lane by lane, and read again") {
  constexpr int location = 8;  // of how far pointers advance
  struct Kind {
    Micro combine;
    Bits nothing;
  };
  for (const Encoder make : encoders())
    for (const Kind& kind : {Kind{Micro::add, 0x80000000u}, Kind{Micro::maximum, 0xff800000u},
                             Kind{Micro::minimum, 0x7f800000u}, Kind{Micro::int_add, 0u}})
      for (const int n : {64, 128, 640, 100}) {
        const std::unique_ptr<Assembler> assembler = make();
        if (n % cpu::kLanes && !assembler->facts().masks) continue;
        constexpr int rows = 3;
        // A row's elements are combined; then the result with each of them, and with one a row.
        Trace t;
        Step reduce{Micro::reduce};
        reduce.in[0] = put_source(t, Micro::load, 0);
        reduce.combine = kind.combine, reduce.bits = kind.nothing;
        const std::int32_t all = t.put(reduce);
        const std::int32_t shift = t.put(Micro::bit_xor, all, put_source(t, Micro::row, 2));
        Step again{Micro::load}, to{Micro::store}, row{Micro::store_row};
        again.loop = to.loop = 1;
        again.bits = 0, to.bits = 1, row.bits = 3;
        to.in[0] = t.put(Micro::bit_xor, t.put(again), shift);
        row.in[0] = all;
        t.put(to);
        t.put(row);

        Random random(static_cast<unsigned>(n));
        std::vector<Bits> in(rows * n), out(rows * n + 1), each(rows), results(rows + 1);
        for (Bits& b : in) b = as_bits(static_cast<float>(random.below(4000) - 2000) / 64.0f);
        for (Bits& b : each) b = random.word();
        const std::int64_t steps[] = {4 * n, 4 * n, 4, 4};
        std::byte* table[location + 4] = {};
        const auto point = [&](int k, void* to) { table[k] = static_cast<std::byte*>(to); };
        point(0, in.data()), point(1, out.data()), point(2, each.data()), point(3, results.data());
        std::memcpy(table + location, steps, sizeof steps);
        const std::uint32_t moving[] = {0, 1, 2, 3};
        const Code code(t, generate(t, *assembler, Rows{moving, location}));
        code.run_rows(table, n, rows);

        int wrong = out.back() != 0 || results.back() != 0;
        for (int r = 0; r < rows; ++r) {
          const auto combine = [&](Bits x, Bits y) {
            return evaluate(Step{kind.combine}, x, y, 0);
          };
          Bits lanes[cpu::kLanes];
          std::fill(std::begin(lanes), std::end(lanes), kind.nothing);
          for (int i = 0; i < n; ++i)
            lanes[i % cpu::kLanes] = combine(lanes[i % cpu::kLanes], in[r * n + i]);
          for (int half = cpu::kLanes / 2; half > 0; half /= 2)
            for (int l = 0; l < half; ++l) lanes[l] = combine(lanes[l], lanes[l + half]);
          wrong += results[r] != lanes[0];
          for (int i = 0; i < n; ++i)
            wrong += out[r * n + i] != (in[r * n + i] ^ lanes[0] ^ each[r]);
        }
        INFO("lanes " << assembler->facts().lanes << ", n " << n);
        CHECK(wrong == 0);
      }
}

TEST_CASE("equal steps of a trace are one, and signs go where they cost nothing") {
  Trace t;
  Step s{Micro::load};
  const std::int32_t x = t.put(s), one = t.constant(as_bits(1.0f));
  CHECK(t.put(Micro::add, x, one) == t.put(Micro::add, one, x));
  CHECK(t.put(Micro::subtract, x, one) != t.put(Micro::subtract, one, x));
  const std::int32_t minus = t.put(Micro::negate, x);
  CHECK(t.put(Micro::negate, minus) == x);
  CHECK(t.put(Micro::subtract, one, minus) == t.put(Micro::add, one, x));
  CHECK(t[t.put(Micro::fma, minus, one, x)].signs == 1);
  CHECK(t[t.put(Micro::fma, minus, minus, minus)].signs == 2);
  CHECK(t.put(Micro::int_add, t.constant(2), t.constant(3)) == t.constant(5));
  CHECK(t.put(Micro::round_bfloat16, t.put(Micro::round_bfloat16, x)) ==
        t.put(Micro::round_bfloat16, x));
  const std::int32_t is = t.put(Micro::less, x, one);
  CHECK(t.put(Micro::condition_and, is, t.constant(0)) == t.constant(0));
  CHECK(t.put(Micro::condition_or, is, t.constant(0)) == is);
  CHECK(t.put(Micro::select, t.constant(1), x, one) == x);
  CHECK(t.put(Micro::select, is, x, one) == t.put(Micro::lesser, x, one));
  CHECK(t.put(Micro::select, is, one, x) == t.put(Micro::greater, one, x));
  CHECK(t.put(Micro::maximum, x, one) == t.put(Micro::greater, one, x));
  CHECK(t[t.put(Micro::minimum, x, t.constant(0))].op == Micro::minimum);  // of zeros the second
  CHECK(t.put(Micro::minimum, t.constant(0), x) == t.put(Micro::lesser, t.constant(0), x));
  CHECK(t.put(Micro::int_subtract, x, t.constant(0)) == x);
  CHECK(t.put(Micro::int_add, t.constant(0), x) == x);
}

#endif
