// The loops of the binary operations and of select.
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// `apply` is there for a function of exactly T: a float's is not taken for a double.
template <Op op>
struct Function {};
#define CERMET_OVERLOAD(name) static_cast<decltype(name(x, y)) (*)(T, T)>(name)(x, y)
#define CERMET_ELEMENTWISE(name, arity, rule, doc)                   \
  template <>                                                        \
  struct Function<Op::name> {                                        \
    template <class T>                                               \
    static auto apply(T x, T y) -> decltype(CERMET_OVERLOAD(name)) { \
      return name(x, y);                                             \
    }                                                                \
    template <class T>                                               \
    static auto usual(T x, T y) -> decltype(name##_usual(x, y)) {    \
      return name##_usual(x, y);                                     \
    }                                                                \
    template <class T>                                               \
    static auto rare(T x, T y) -> decltype(name##_rare(x, y)) {      \
      return name##_rare(x, y);                                      \
    }                                                                \
  };
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
#undef CERMET_OVERLOAD

// Powers of positive numbers, in two stages: of half a chain of operations the processor has more
// elements under way at once. A chunk with others is left to the general function.
struct StagedPower : Function<Op::power> {
  static bool in_stages(f32* out, std::int64_t n, const f32* x, const f32* y) {
    if (!are_plain(n, x, y)) return each_usual<Function<Op::power>>(out, n, x, y);
    f32 high[kChunk], low[kChunk];
    logarithms(n, x, high, low);
    powers(out, n, y, high, low);
    return false;
  }
  // Whether all x are positive and normal, and all of both finite.
  static bool are_plain(std::int64_t n, const f32* x, const f32* y) {
    u32 most = 0, exponent = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      const u32 a = u32(bits(x[i])) - 0x00800000u, b = u32(bits(y[i])) << 1;
      most = a > most ? a : most;
      exponent = b > exponent ? b : exponent;
    }
    return most < 0x7f000000u && exponent < 0xff000000u;
  }
  [[gnu::flatten, gnu::noinline]] static void logarithms(std::int64_t n, const f32* x, f32* high,
                                                         f32* low) {
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) {
      const Pair log2_x = log2_pair(x[i]);
      high[i] = log2_x.hi, low[i] = log2_x.lo;
    }
  }
  [[gnu::flatten, gnu::noinline]] static void powers(f32* out, std::int64_t n, const f32* y,
                                                     const f32* high, const f32* low) {
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) out[i] = power_of_magnitude(y[i], Pair{high[i], low[i]});
  }
};

template <Op op, Rule rule>
void fill(Loops& table) {
  for_types<rule>([&]<class T>(Type<T>) {
    if constexpr (requires(T x) { Function<op>::apply(x, x); })
      table.op[static_cast<int>(op)][static_cast<int>(dtype_of<T>)] = binary_loop<Function<op>, T>;
  });
}

template <class T>
void select_loop(void* out, const void* a, const void* b, const void* c, std::int64_t n) {
  const auto* condition = static_cast<const bool*>(a);
  const auto* x = static_cast<const T*>(b);
  const auto* y = static_cast<const T*>(c);
  auto* z = static_cast<T*>(out);
  if constexpr (std::is_same_v<T, c64>) {
    for (std::int64_t i = 0; i < n; ++i) z[i] = select(condition[i], x[i], y[i]);
  } else {  // by bits: of a choice between values in memory GCC makes branches
    using Bits = std::conditional_t<
        sizeof(T) == 1, std::uint8_t,
        std::conditional_t<sizeof(T) == 2, std::uint16_t,
                           std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>>>;
    const auto* bytes = static_cast<const std::uint8_t*>(a);
    CERMET_VECTORIZE
    for (std::int64_t i = 0; i < n; ++i) {
      const Bits one = __builtin_bit_cast(Bits, x[i]), other = __builtin_bit_cast(Bits, y[i]);
      const auto chosen = static_cast<Bits>(-static_cast<std::int32_t>(bytes[i]) >> 31);
      z[i] = __builtin_bit_cast(T, static_cast<Bits>(other ^ ((one ^ other) & chosen)));
    }
  }
}

}  // namespace

void fill_binary(Loops& table) {
#define CERMET_ELEMENTWISE(name, arity, rule, doc) \
  if constexpr (arity == 2) fill<Op::name, Rule::rule>(table);
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
  table.op[static_cast<int>(Op::power)][static_cast<int>(float32)] = binary_loop<StagedPower, f32>;
  for_types<Rule::choice>([&]<class T>(Type<T>) {
    table.op[static_cast<int>(Op::select)][static_cast<int>(dtype_of<T>)] = select_loop<T>;
  });
}

}  // namespace cermet::cpu::CERMET_ISA
