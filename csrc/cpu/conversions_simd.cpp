// Casts between the types that tiles hold, and the 16-bit floats' way in and out of them.
#include "cpu/convert.h"
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

template <class To, class From>
To cast(From x) {
  if constexpr (std::is_same_v<To, From>)
    return x;
  else if constexpr (std::is_same_v<From, c64>)
    return cast<To>(x.re);
  else if constexpr (std::is_same_v<To, c64>)
    return {static_cast<float>(x), 0};
  else if constexpr (std::is_same_v<To, bool>)
    return x != From(0);
  else if constexpr (std::floating_point<From> && std::integral<To>)
    return truncated<To>(x);
  else
    return static_cast<To>(x);
}

template <class From, class To>
struct Cast {
  static To apply(From x) { return cast<To>(x); }
};

template <>
struct Cast<c64, bool> {
  static bool apply(c64 z) { return z.re != 0 || z.im != 0; }
};

void truncate_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  truncate(static_cast<const float*>(a), static_cast<std::int32_t*>(out), n);
}
template <class Half>
void widen_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  widen(static_cast<const Half*>(a), static_cast<float*>(out), n);
}
template <class Half>
void narrow_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  narrow(static_cast<const float*>(a), static_cast<Half*>(out), n);
}
template <class Half>
void round_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  if (out != a) __builtin_memcpy(out, a, static_cast<std::size_t>(n) * sizeof(float));
  round_to<Half>(static_cast<float*>(out), n);
}

template <class Half>
void fill_half(Loops& table) {
  constexpr int t = static_cast<int>(dtype_of<Half>);
  table.widen[t] = widen_loop<Half>;
  table.narrow[t] = narrow_loop<Half>;
  table.round[t] = round_loop<Half>;
}

}  // namespace

void fill_conversions(Loops& table) {
  for_types<Rule::same>([&]<class From>(Type<From>) {
    for_types<Rule::same>([&]<class To>(Type<To>) {
      table.cast[static_cast<int>(dtype_of<From>)][static_cast<int>(dtype_of<To>)] =
          unary_loop<Cast<From, To>, From>;
    });
  });
  table.cast[static_cast<int>(float32)][static_cast<int>(int32)] = truncate_loop;
  fill_half<float16_t>(table);
  fill_half<bfloat16_t>(table);
}

}  // namespace cermet::cpu::CERMET_ISA
