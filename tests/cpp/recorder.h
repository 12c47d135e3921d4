// ops/ as a recorder reads it: types that, instead of computing, write down the micro-operations
// that are done with them.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

namespace recorder {

// clang-format off
enum class Micro : std::uint8_t {
  input, constant, table,                                              // of 32 bits; table[a]
  add, subtract, multiply, divide, negate, fma,                        // floats
  abs, copysign, sqrt, floor, ceil, trunc, rint,
  equal, not_equal, less, less_equal,                                  // floats -> condition
  from_int, from_unsigned, to_int, to_unsigned,                        // floats <-> integers
  int_add, int_subtract, int_multiply, int_negate,                     // integers, wrapping
  shift_left, shift_right, unsigned_shift_right,
  int_equal, int_not_equal, int_less, int_less_equal,                  // integers -> condition
  unsigned_less, unsigned_less_equal,
  bit_and, bit_or, bit_xor, bit_not, condition_not,                    // integers and conditions
  select,                                                              // a ? b : c
  rare,  // where condition a holds, the operation's scalar function answers instead
};
// clang-format on

// A value is the index of its step.
struct Step {
  Micro op;
  int a = -1, b = -1, c = -1;
  std::uint32_t bits = 0;  // of a constant or condition; the number of an input
  const std::vector<float>* table = nullptr;
};
using Recording = std::vector<Step>;

// Where the types below write to.
inline thread_local Recording* t_recording = nullptr;
inline int put(Step step) {
  t_recording->push_back(step);
  return static_cast<int>(t_recording->size()) - 1;
}
inline int put_constant(std::uint32_t bits) { return put({Micro::constant, -1, -1, -1, bits}); }

struct b32 {
  int id;
  explicit b32(Step s) : id(put(s)) {}
  b32(std::same_as<bool> auto value) : id(put_constant(value)) {}
  friend b32 operator&(b32 a, b32 b) { return b32({Micro::bit_and, a.id, b.id}); }
  friend b32 operator|(b32 a, b32 b) { return b32({Micro::bit_or, a.id, b.id}); }
  friend b32 operator^(b32 a, b32 b) { return b32({Micro::bit_xor, a.id, b.id}); }
  friend b32 operator!(b32 a) { return b32({Micro::condition_not, a.id}); }
  friend b32 operator==(b32 a, b32 b) { return !(a ^ b); }
  friend b32 operator!=(b32 a, b32 b) { return a ^ b; }
};

template <class Self, bool is_signed>
struct Integer {
  int id;
  friend Self operator+(Self a, Self b) { return Self(Step{Micro::int_add, a.id, b.id}); }
  friend Self operator-(Self a, Self b) { return Self(Step{Micro::int_subtract, a.id, b.id}); }
  friend Self operator*(Self a, Self b) { return Self(Step{Micro::int_multiply, a.id, b.id}); }
  friend Self operator-(Self a) { return Self(Step{Micro::int_negate, a.id}); }
  friend Self operator&(Self a, Self b) { return Self(Step{Micro::bit_and, a.id, b.id}); }
  friend Self operator|(Self a, Self b) { return Self(Step{Micro::bit_or, a.id, b.id}); }
  friend Self operator^(Self a, Self b) { return Self(Step{Micro::bit_xor, a.id, b.id}); }
  friend Self operator~(Self a) { return Self(Step{Micro::bit_not, a.id}); }
  friend Self operator<<(Self a, Self b) { return Self(Step{Micro::shift_left, a.id, b.id}); }
  friend Self operator>>(Self a, Self b) {
    return Self(Step{is_signed ? Micro::shift_right : Micro::unsigned_shift_right, a.id, b.id});
  }
  friend b32 operator==(Self a, Self b) { return b32({Micro::int_equal, a.id, b.id}); }
  friend b32 operator!=(Self a, Self b) { return b32({Micro::int_not_equal, a.id, b.id}); }
  friend b32 operator<(Self a, Self b) {
    return b32({is_signed ? Micro::int_less : Micro::unsigned_less, a.id, b.id});
  }
  friend b32 operator<=(Self a, Self b) {
    return b32({is_signed ? Micro::int_less_equal : Micro::unsigned_less_equal, a.id, b.id});
  }
  friend b32 operator>(Self a, Self b) { return b < a; }
  friend b32 operator>=(Self a, Self b) { return b <= a; }
};

struct u32;
struct f32;
struct i32 : Integer<i32, true> {
  explicit i32(Step s) : Integer{put(s)} {}
  i32(std::same_as<int> auto value) : Integer{put_constant(static_cast<std::uint32_t>(value))} {}
  explicit i32(u32 x);
  explicit i32(f32 x);
};
struct u32 : Integer<u32, false> {
  explicit u32(Step s) : Integer{put(s)} {}
  u32(std::same_as<unsigned> auto value) : Integer{put_constant(value)} {}
  u32(std::same_as<int> auto value) : u32(static_cast<unsigned>(value)) {}
  explicit u32(i32 x) : Integer{x.id} {}
  explicit u32(f32 x);
};
inline i32::i32(u32 x) : Integer{x.id} {}

struct f32 {
  int id;
  explicit f32(Step s) : id(put(s)) {}
  f32(std::same_as<float> auto value) : id(put_constant(std::bit_cast<std::uint32_t>(value))) {}
  explicit f32(std::same_as<int> auto value) : f32(static_cast<float>(value)) {}
  explicit f32(i32 x) : id(put({Micro::from_int, x.id})) {}
  explicit f32(u32 x) : id(put({Micro::from_unsigned, x.id})) {}
  friend f32 operator+(f32 a, f32 b) { return f32({Micro::add, a.id, b.id}); }
  friend f32 operator-(f32 a, f32 b) { return f32({Micro::subtract, a.id, b.id}); }
  friend f32 operator*(f32 a, f32 b) { return f32({Micro::multiply, a.id, b.id}); }
  friend f32 operator/(f32 a, f32 b) { return f32({Micro::divide, a.id, b.id}); }
  friend f32 operator-(f32 a) { return f32({Micro::negate, a.id}); }
  friend b32 operator==(f32 a, f32 b) { return b32({Micro::equal, a.id, b.id}); }
  friend b32 operator!=(f32 a, f32 b) { return b32({Micro::not_equal, a.id, b.id}); }
  friend b32 operator<(f32 a, f32 b) { return b32({Micro::less, a.id, b.id}); }
  friend b32 operator<=(f32 a, f32 b) { return b32({Micro::less_equal, a.id, b.id}); }
  friend b32 operator>(f32 a, f32 b) { return b < a; }
  friend b32 operator>=(f32 a, f32 b) { return b <= a; }
};
inline i32::i32(f32 x) : Integer{put({Micro::to_int, x.id})} {}
inline u32::u32(f32 x) : Integer{put({Micro::to_unsigned, x.id})} {}

struct c64 {
  f32 re, im;
};

// ---- the names that ops/all.h asks for ---------------------------------------------------------

template <class T>
using wide = std::conditional_t<std::is_same_v<T, i32>, u32, T>;
template <class T>
inline constexpr unsigned width = 32;
template <class T>
T lowest_of() {
  return std::same_as<T, i32> ? T(1) << T(31) : T(0);
}
template <class T>
T highest_of() {
  return ~lowest_of<T>();
}

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline f32 select(b32 c, f32 a, f32 b) { return f32({Micro::select, c.id, a.id, b.id}); }
inline i32 select(b32 c, i32 a, i32 b) { return i32(Step{Micro::select, c.id, a.id, b.id}); }
inline u32 select(b32 c, u32 a, u32 b) { return u32(Step{Micro::select, c.id, a.id, b.id}); }
inline b32 select(b32 c, b32 a, b32 b) { return b32({Micro::select, c.id, a.id, b.id}); }
inline f32 fma(f32 a, f32 b, f32 c) { return f32({Micro::fma, a.id, b.id, c.id}); }
inline f32 abs(f32 x) { return f32({Micro::abs, x.id}); }
inline f32 copysign(f32 x, f32 sign) { return f32({Micro::copysign, x.id, sign.id}); }
inline f32 sqrt(f32 x) { return f32({Micro::sqrt, x.id}); }
inline f32 floor(f32 x) { return f32({Micro::floor, x.id}); }
inline f32 ceil(f32 x) { return f32({Micro::ceil, x.id}); }
inline f32 trunc(f32 x) { return f32({Micro::trunc, x.id}); }
inline f32 rint(f32 x) { return f32({Micro::rint, x.id}); }

// The same bits as another type: no step.
inline i32 bits(f32 x) {
  i32 r = 0;
  t_recording->pop_back();
  r.id = x.id;
  return r;
}
inline f32 from_bits(i32 b) {
  f32 r = 0.0f;
  t_recording->pop_back();
  r.id = b.id;
  return r;
}

struct Table {
  std::vector<float> values;
  Table(std::initializer_list<float> v) : values(v) {}
  f32 operator[](i32 i) const { return f32({Micro::table, i.id, -1, -1, 0, &values}); }
};

#define CONSTANT inline constexpr
#define TABLE(name, ...) inline const Table name = {__VA_ARGS__}
#define RARE_1(f, T, g)                 \
  inline T f(T x) {                     \
    put({Micro::rare, f##_rare(x).id}); \
    return f##_usual(x);                \
  }
#define RARE_2(f, T, g)                    \
  inline T f(T x, T y) {                   \
    put({Micro::rare, f##_rare(x, y).id}); \
    return f##_usual(x, y);                \
  }

#include "ops/all.h"

#undef CONSTANT
#undef TABLE
#undef RARE_1
#undef RARE_2

}  // namespace recorder
