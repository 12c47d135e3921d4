// Micro-operations done one by one with numbers, also those that the library leaves to the
// processor.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/machine/micro.h"

using Bits = std::uint32_t;

inline float as_float(Bits b) { return std::bit_cast<float>(b); }
inline Bits as_bits(float x) { return std::bit_cast<Bits>(x); }
inline bool is_nan(Bits b) { return (b & 0x7fffffffu) > 0x7f800000u; }

inline Bits compute(const cermet::cpu::machine::Step& s, Bits a, Bits b, Bits c) {
  using cermet::cpu::machine::Micro;
  const float x = as_float(a), y = as_float(b), z = as_float(c);
  switch (s.op) {
    case Micro::fma: return as_bits(std::fma(s.signs & 1 ? -x : x, y, s.signs & 2 ? -z : z));
    case Micro::sqrt: return as_bits(std::sqrt(x));
    case Micro::floor: return as_bits(std::floor(x));
    case Micro::ceil: return as_bits(std::ceil(x));
    case Micro::trunc: return as_bits(std::trunc(x));
    case Micro::rint: return as_bits(std::rint(x));
    case Micro::round_float16: return as_bits(cermet::to_float(cermet::to_float16(x)));
    case Micro::round_bfloat16: return as_bits(cermet::to_float(cermet::to_bfloat16(x)));
    default: return evaluate(s, a, b, c);
  }
}
