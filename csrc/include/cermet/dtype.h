// The element types of arrays, their promotion rules and categories.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace cermet {

enum class Dtype : std::uint8_t {
  bool_,
  uint8,
  uint16,
  uint32,
  uint64,
  int8,
  int16,
  int32,
  int64,
  float16,
  bfloat16,
  float32,
  float64,
  complex64,
};
inline constexpr int kDtypeCount = 14;

inline constexpr Dtype bool_ = Dtype::bool_, uint8 = Dtype::uint8, uint16 = Dtype::uint16,
                       uint32 = Dtype::uint32, uint64 = Dtype::uint64, int8 = Dtype::int8,
                       int16 = Dtype::int16, int32 = Dtype::int32, int64 = Dtype::int64,
                       float16 = Dtype::float16, bfloat16 = Dtype::bfloat16,
                       float32 = Dtype::float32, float64 = Dtype::float64,
                       complex64 = Dtype::complex64;

// Storage types of the elements C++ has no type for.
struct float16_t {
  std::uint16_t bits;
};
struct bfloat16_t {
  std::uint16_t bits;
};
struct complex64_t {
  float re, im;
};

// Exact widening, and narrowing by round-to-nearest-even (one element at a time; the CPU backend
// has vector forms).
float to_float(float16_t x);
float to_float(bfloat16_t x);
float16_t to_float16(float x);
bfloat16_t to_bfloat16(float x);

// The nodes of the type hierarchy that `issubdtype` understands.
enum class DtypeCategory : std::uint8_t {
  complexfloating,
  floating,
  inexact,
  signedinteger,
  unsignedinteger,
  integer,
  number,
  generic,
};

// Bytes an element.
constexpr std::size_t size_of(Dtype t) {
  constexpr std::uint8_t sizes[kDtypeCount] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 2, 4, 8, 8};
  return sizes[static_cast<int>(t)];
}

// The name as Python spells it: "float32", "bool".
std::string_view name_of(Dtype t);
std::string_view name_of(DtypeCategory c);

constexpr bool is_complex(Dtype t) { return t == complex64; }
constexpr bool is_floating(Dtype t) { return t >= float16 && t <= float64; }
constexpr bool is_inexact(Dtype t) { return t >= float16; }
constexpr bool is_half(Dtype t) { return t == float16 || t == bfloat16; }
constexpr bool is_unsigned(Dtype t) { return t >= uint8 && t <= uint64; }
constexpr bool is_signed_integer(Dtype t) { return t >= int8 && t <= int64; }
constexpr bool is_integer(Dtype t) { return t >= uint8 && t <= int64; }

// The smallest type that both promote to. Integers meet floats in the float's own type; uint64
// meets a signed integer in float32.
Dtype promote(Dtype a, Dtype b);

// The type floating operations compute an input of type `t` in: integers become float32.
constexpr Dtype to_inexact(Dtype t) { return is_inexact(t) ? t : float32; }

bool issubdtype(Dtype t, Dtype of);
bool issubdtype(Dtype t, DtypeCategory of);
bool issubdtype(DtypeCategory t, DtypeCategory of);

namespace detail {
template <class T>
struct DtypeOf;
#define CERMET_DTYPE(type, value)         \
  template <>                             \
  struct DtypeOf<type> {                  \
    static constexpr Dtype dtype = value; \
  }
CERMET_DTYPE(bool, bool_);
CERMET_DTYPE(std::uint8_t, uint8);
CERMET_DTYPE(std::uint16_t, uint16);
CERMET_DTYPE(std::uint32_t, uint32);
CERMET_DTYPE(std::uint64_t, uint64);
CERMET_DTYPE(std::int8_t, int8);
CERMET_DTYPE(std::int16_t, int16);
CERMET_DTYPE(std::int32_t, int32);
CERMET_DTYPE(std::int64_t, int64);
CERMET_DTYPE(float16_t, float16);
CERMET_DTYPE(bfloat16_t, bfloat16);
CERMET_DTYPE(float, float32);
CERMET_DTYPE(double, float64);
CERMET_DTYPE(complex64_t, complex64);
#undef CERMET_DTYPE
}  // namespace detail

// dtype_of<float> == float32.
template <class T>
inline constexpr Dtype dtype_of = detail::DtypeOf<T>::dtype;

template <class T>
struct Type {
  using type = T;
};

// Calls f(Type<T>{}) with the C++ storage type of `t`.
template <class F>
decltype(auto) visit(Dtype t, F&& f) {
  switch (t) {
    case Dtype::bool_: return f(Type<bool>{});
    case Dtype::uint8: return f(Type<std::uint8_t>{});
    case Dtype::uint16: return f(Type<std::uint16_t>{});
    case Dtype::uint32: return f(Type<std::uint32_t>{});
    case Dtype::uint64: return f(Type<std::uint64_t>{});
    case Dtype::int8: return f(Type<std::int8_t>{});
    case Dtype::int16: return f(Type<std::int16_t>{});
    case Dtype::int32: return f(Type<std::int32_t>{});
    case Dtype::int64: return f(Type<std::int64_t>{});
    case Dtype::float16: return f(Type<float16_t>{});
    case Dtype::bfloat16: return f(Type<bfloat16_t>{});
    case Dtype::float64: return f(Type<double>{});
    case Dtype::complex64: return f(Type<complex64_t>{});
    default: return f(Type<float>{});
  }
}

}  // namespace cermet
