// How a loop is made from a function of elements; for the *_simd.cpp files alone.
#pragma once

#include "cpu/float64.h"
#include "cpu/loops.h"

namespace cermet::cpu::CERMET_ISA {

#define CERMET_VECTORIZE _Pragma("GCC ivdep")
#ifdef __clang__
#undef CERMET_VECTORIZE
#define CERMET_VECTORIZE _Pragma("clang loop vectorize(assume_safety)")
#endif

// out[i] = f(in[i]...). All that f calls is inlined, however long: a call would stay scalar.
template <class F, class R, class... T>
[[gnu::flatten, gnu::noinline]] void each(F f, R* out, std::int64_t n, const T*... in) {
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) out[i] = f(in[i]...);
}
template <class F, class... T>
[[gnu::flatten]] bool any_rare(std::int64_t n, const T*... in) {
  std::int32_t rare = 0;
  for (std::int64_t i = 0; i < n; ++i) rare |= F::rare(in[i]...) ? 1 : 0;
  return rare != 0;
}
// out[i] = F::usual(in[i]...); whether an argument is rare.
template <class F, class R, class... T>
[[gnu::flatten, gnu::noinline]] bool each_usual(R* out, std::int64_t n, const T*... in) {
  std::int32_t rare = 0;
  CERMET_VECTORIZE
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = F::usual(in[i]...);
    rare |= F::rare(in[i]...) ? 1 : 0;
  }
  return rare != 0;
}

inline constexpr std::int64_t kChunk = 256;

// F::apply is the function of elements. Where some of them are rare, F::usual answers for the
// others: a chunk with rare elements goes through a buffer, since `out` may be one of the inputs. F
// may go over a chunk in stages.
template <class F, class R, class... T>
void map(R* out, std::int64_t n, const T*... in) {
  constexpr bool f32_or_c64 = (... && (std::is_same_v<T, f32> || std::is_same_v<T, c64>));
  if constexpr (f32_or_c64 && requires { F::rare(*in...); }) {
    for (std::int64_t begin = 0; begin < n; begin += kChunk) {
      const std::int64_t count = n - begin < kChunk ? n - begin : kChunk;
      R chunk[kChunk];
      bool rare;
      if constexpr (requires { F::in_stages(chunk, count, (in + begin)...); }) {
        rare = F::in_stages(chunk, count, (in + begin)...);
      } else if constexpr (sizeof...(T) == 2 && std::is_same_v<R, f32>) {  // both are read once
        rare = each_usual<F>(chunk, count, (in + begin)...);
      } else {
        rare = any_rare<F>(count, (in + begin)...);
        each([](T... x) { return F::usual(x...); }, rare ? chunk : out + begin, count,
             (in + begin)...);
        if (!rare) continue;
      }
      for (std::int64_t i = 0; rare && i < count; ++i)
        if (F::rare(in[begin + i]...)) chunk[i] = F::apply(in[begin + i]...);
      for (std::int64_t i = 0; i < count; ++i) out[begin + i] = chunk[i];
    }
  } else {
    each([](T... x) { return F::apply(x...); }, out, n, in...);
  }
}

template <class F, class T>
void unary_loop(void* out, const void* a, const void*, const void*, std::int64_t n) {
  const auto* x = static_cast<const T*>(a);
  map<F>(static_cast<decltype(F::apply(*x))*>(out), n, x);
}
template <class F, class T>
void binary_loop(void* out, const void* a, const void* b, const void*, std::int64_t n) {
  const auto* x = static_cast<const T*>(a);
  const auto* y = static_cast<const T*>(b);
  map<F>(static_cast<decltype(F::apply(*x, *y))*>(out), n, x, y);
}

using Integers = void(std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, std::int8_t,
                      std::int16_t, std::int32_t, std::int64_t);

// Calls f(Type<T>) for each type that tiles hold and the rule allows an operation to compute in.
template <Rule rule, class F>
constexpr void for_types(F f) {
  constexpr bool logical = rule == Rule::logical;
  constexpr bool exact = rule == Rule::same || rule == Rule::real || rule == Rule::magnitude ||
                         rule == Rule::component || rule == Rule::comparison ||
                         rule == Rule::predicate || rule == Rule::bitwise || rule == Rule::choice;
  constexpr bool inexact = !logical && rule != Rule::bitwise;
  constexpr bool complex =
      inexact && rule != Rule::real_inexact && rule != Rule::real && rule != Rule::rounding;
  if constexpr (logical || exact) f(Type<bool>{});
  if constexpr (exact) [&]<class... T>(Type<void(T...)>) { (f(Type<T>{}), ...); }(Type<Integers>{});
  if constexpr (inexact) f(Type<float>{}), f(Type<double>{});
  if constexpr (complex) f(Type<complex64_t>{});
}

}  // namespace cermet::cpu::CERMET_ISA
