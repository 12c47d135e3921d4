// Names, promotion and categories of element types, and scalar conversion of the 16-bit floats.
#include "cermet/dtype.h"

#include <array>
#include <bit>

namespace cermet {
namespace {

constexpr std::array<std::string_view, kDtypeCount> kNames = {
    "bool",  "uint8", "uint16",  "uint32",   "uint64",  "int8",    "int16",
    "int32", "int64", "float16", "bfloat16", "float32", "float64", "complex64"};

constexpr std::array<std::string_view, 8> kCategoryNames = {
    "complexfloating", "floating", "inexact", "signedinteger",
    "unsignedinteger", "integer",  "number",  "generic"};

constexpr DtypeCategory category_of(Dtype t) {
  if (is_complex(t)) return DtypeCategory::complexfloating;
  if (is_floating(t)) return DtypeCategory::floating;
  if (is_signed_integer(t)) return DtypeCategory::signedinteger;
  if (is_unsigned(t)) return DtypeCategory::unsignedinteger;
  return DtypeCategory::generic;
}

}  // namespace

std::string_view name_of(Dtype t) { return kNames[static_cast<int>(t)]; }
std::string_view name_of(DtypeCategory c) { return kCategoryNames[static_cast<int>(c)]; }

Dtype promote(Dtype a, Dtype b) {
  if (a == b) return a;
  if (a > b) std::swap(a, b);  // the enumeration is in ascending kind
  if (is_complex(b)) return b;
  if (is_floating(b)) {
    if (a == float16 && b == bfloat16) return float32;
    return b;
  }
  if (a == Dtype::bool_) return b;
  if (is_unsigned(a) && is_signed_integer(b)) {
    if (a == uint64) return float32;
    const std::size_t bytes = std::max(2 * size_of(a), size_of(b));
    return bytes == 2 ? int16 : bytes == 4 ? int32 : int64;
  }
  return b;  // the wider of one kind
}

bool issubdtype(DtypeCategory t, DtypeCategory of) {
  using enum DtypeCategory;
  while (t != of) {
    switch (t) {
      case complexfloating:
      case floating: t = inexact; break;
      case signedinteger:
      case unsignedinteger: t = integer; break;
      case inexact:
      case integer: t = number; break;
      case number: t = generic; break;
      case generic: return false;
    }
  }
  return true;
}
bool issubdtype(Dtype t, Dtype of) { return t == of; }
bool issubdtype(Dtype t, DtypeCategory of) { return issubdtype(category_of(t), of); }

float to_float(bfloat16_t x) { return std::bit_cast<float>(std::uint32_t{x.bits} << 16); }

bfloat16_t to_bfloat16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if (x != x) return {static_cast<std::uint16_t>((u >> 16) | 0x40)};
  return {static_cast<std::uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16)};
}

float to_float(float16_t x) {
  const std::uint32_t sign = std::uint32_t{x.bits & 0x8000u} << 16;
  const std::uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00)  // infinity or nan
    return std::bit_cast<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13 |
                                (magnitude > 0x7c00 ? 0x400000 : 0));
  // 2^112 moves the exponent's bias from 15 to 127, subnormals included.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

float16_t to_float16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>((u >> 16) & 0x8000);
  const std::uint32_t magnitude = u & 0x7fffffff;
  const auto bits = [&](std::uint32_t m) {
    return float16_t{static_cast<std::uint16_t>(sign | m)};
  };
  if (magnitude > 0x7f800000) return bits(0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x47800000) return bits(0x7c00);  // 65536 and more
  if (magnitude < 0x38800000) {                      // subnormal: let the adder round
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return bits(std::bit_cast<std::uint32_t>(shifted) - 0x3f000000);
  }
  return bits((magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13);
}

}  // namespace cermet
