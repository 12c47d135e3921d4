// Names, promotion and categories of element types, and scalar conversion of the 16-bit floats.
#include "cermet/dtype.h"

#include <array>
#include <utility>

#include "ops/cpp.h"

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

float to_float(bfloat16_t x) { return cpu::plain::widen_bfloat16(x.bits); }
float to_float(float16_t x) { return cpu::plain::widen_float16(x.bits); }
bfloat16_t to_bfloat16(float x) {
  return {static_cast<std::uint16_t>(cpu::plain::narrow_bfloat16(x))};
}
float16_t to_float16(float x) {
  return {static_cast<std::uint16_t>(cpu::plain::narrow_float16(x))};
}

}  // namespace cermet
