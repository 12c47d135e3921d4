// ops/ as a recorder reads it: types that, instead of computing, write down the micro-operations
// that are done with them. Integers of fewer than 32 bits are kept in 32, in their range.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <type_traits>
#include <vector>

#include "cpu/machine/micro.h"

namespace cermet::cpu::machine {

// What the types below write to.
inline thread_local Trace* t_trace = nullptr;

namespace recorded {

inline std::int32_t put(Micro op, std::int32_t a, std::int32_t b = kNoValue,
                        std::int32_t c = kNoValue) {
  return t_trace->put(op, a, b, c);
}
inline std::int32_t put_constant(std::uint32_t bits) { return t_trace->constant(bits); }

// A value that is recorded already.
struct Known {
  std::int32_t id;
};

struct b32 {
  std::int32_t id;
  explicit b32(Known k) : id(k.id) {}
  b32(std::same_as<bool> auto value) : id(put_constant(value)) {}
  friend b32 operator&(b32 a, b32 b) { return b32(Known{put(Micro::condition_and, a.id, b.id)}); }
  friend b32 operator|(b32 a, b32 b) { return b32(Known{put(Micro::condition_or, a.id, b.id)}); }
  friend b32 operator^(b32 a, b32 b) { return b32(Known{put(Micro::condition_xor, a.id, b.id)}); }
  friend b32 operator!(b32 a) { return b32(Known{put(Micro::condition_not, a.id)}); }
  friend b32 operator==(b32 a, b32 b) { return !(a ^ b); }
  friend b32 operator!=(b32 a, b32 b) { return a ^ b; }
};
inline b32 condition(Micro op, std::int32_t a, std::int32_t b) { return b32(Known{put(op, a, b)}); }

struct f32;
template <int bits, bool is_signed>
struct Integer {
  std::int32_t id;
  explicit Integer(Known k) : id(k.id) {}
  Integer(std::same_as<int> auto value) : id(in_range(put_constant(std::uint32_t(value)))) {}
  explicit(bits != 32 || is_signed) Integer(std::same_as<unsigned> auto value)
      : id(in_range(put_constant(value))) {}
  explicit Integer(b32 x) : id(put(Micro::select, x.id, put_constant(1), put_constant(0))) {}
  explicit Integer(f32 x);
  template <int other_bits, bool other_signed>
  explicit Integer(Integer<other_bits, other_signed> x)
      : id(other_bits < bits && (is_signed || !other_signed) ? x.id : in_range(x.id)) {}

  friend Integer operator+(Integer a, Integer b) { return of(put(Micro::int_add, a.id, b.id)); }
  friend Integer operator-(Integer a, Integer b) {
    return of(put(Micro::int_subtract, a.id, b.id));
  }
  friend Integer operator*(Integer a, Integer b) {
    return of(put(Micro::int_multiply, a.id, b.id));
  }
  friend Integer operator-(Integer a) { return Integer(0) - a; }
  friend Integer operator&(Integer a, Integer b) { return as(put(Micro::bit_and, a.id, b.id)); }
  friend Integer operator|(Integer a, Integer b) { return as(put(Micro::bit_or, a.id, b.id)); }
  friend Integer operator^(Integer a, Integer b) { return as(put(Micro::bit_xor, a.id, b.id)); }
  friend Integer operator~(Integer a) { return of(put(Micro::bit_not, a.id)); }
  friend Integer operator<<(Integer a, Integer b) { return of(put(Micro::shift_left, a.id, b.id)); }
  friend Integer operator>>(Integer a, Integer b) {
    return as(put(is_signed ? Micro::shift_right : Micro::unsigned_shift_right, a.id, b.id));
  }
  friend b32 operator==(Integer a, Integer b) { return condition(Micro::int_equal, a.id, b.id); }
  friend b32 operator!=(Integer a, Integer b) {
    return condition(Micro::int_not_equal, a.id, b.id);
  }
  friend b32 operator<(Integer a, Integer b) {
    return condition(is_word ? Micro::unsigned_less : Micro::int_less, a.id, b.id);
  }
  friend b32 operator<=(Integer a, Integer b) {
    return condition(is_word ? Micro::unsigned_less_equal : Micro::int_less_equal, a.id, b.id);
  }
  friend b32 operator>(Integer a, Integer b) { return b < a; }
  friend b32 operator>=(Integer a, Integer b) { return b <= a; }

  static constexpr bool is_word = bits == 32 && !is_signed;

 private:
  static Integer as(std::int32_t id) { return Integer(Known{id}); }
  static Integer of(std::int32_t id) { return as(in_range(id)); }
  static std::int32_t in_range(std::int32_t id) {
    if constexpr (bits == 32) {
      return id;
    } else if constexpr (is_signed) {
      const std::int32_t count = put_constant(32 - bits);
      return put(Micro::shift_right, put(Micro::shift_left, id, count), count);
    } else {
      return put(Micro::bit_and, id, put_constant((1u << bits) - 1));
    }
  }
};
using i32 = Integer<32, true>;
using u32 = Integer<32, false>;

struct f32 {
  std::int32_t id;
  explicit f32(Known k) : id(k.id) {}
  f32(std::same_as<float> auto value) : id(put_constant(std::bit_cast<std::uint32_t>(value))) {}
  explicit f32(std::same_as<int> auto value) : f32(static_cast<float>(value)) {}
  explicit f32(b32 x) : id(select_one(x)) {}
  template <int bits, bool is_signed>
  explicit f32(Integer<bits, is_signed> x)
      : id(put(bits == 32 && !is_signed ? Micro::from_unsigned : Micro::from_int, x.id)) {}
  friend f32 operator+(f32 a, f32 b) { return as(put(Micro::add, a.id, b.id)); }
  friend f32 operator-(f32 a, f32 b) { return as(put(Micro::subtract, a.id, b.id)); }
  friend f32 operator*(f32 a, f32 b) { return as(put(Micro::multiply, a.id, b.id)); }
  friend f32 operator/(f32 a, f32 b) { return as(put(Micro::divide, a.id, b.id)); }
  friend f32 operator-(f32 a) { return as(put(Micro::negate, a.id)); }
  friend b32 operator==(f32 a, f32 b) { return condition(Micro::equal, a.id, b.id); }
  friend b32 operator!=(f32 a, f32 b) { return condition(Micro::not_equal, a.id, b.id); }
  friend b32 operator<(f32 a, f32 b) { return condition(Micro::less, a.id, b.id); }
  friend b32 operator<=(f32 a, f32 b) { return condition(Micro::less_equal, a.id, b.id); }
  friend b32 operator>(f32 a, f32 b) { return b < a; }
  friend b32 operator>=(f32 a, f32 b) { return b <= a; }
  static f32 as(std::int32_t id) { return f32(Known{id}); }

 private:
  static std::int32_t select_one(b32 x) {
    return put(Micro::select, x.id, put_constant(0x3f800000u), put_constant(0));
  }
};
template <int bits, bool is_signed>
Integer<bits, is_signed>::Integer(f32 x)
    : id(put(is_word ? Micro::to_unsigned : Micro::to_int, x.id)) {}

struct c64 {
  f32 re, im;
};

// ---- the names that ops/all.h asks for ---------------------------------------------------------

template <class T>
struct Wide {
  using type = T;
};
template <int bits, bool is_signed>
struct Wide<Integer<bits, is_signed>> {
  using type = u32;
};
template <class T>
using wide = typename Wide<T>::type;
template <class T>
inline constexpr unsigned width = 32;
template <int bits, bool is_signed>
inline constexpr unsigned width<Integer<bits, is_signed>> = bits;
template <class T>
inline constexpr bool is_signed = false;
template <int bits>
inline constexpr bool is_signed<Integer<bits, true>> = true;
template <class T>
T lowest_of() {
  return is_signed<T> ? T(1) << T(static_cast<int>(width<T>) - 1) : T(0);
}
template <class T>
T highest_of() {
  return ~lowest_of<T>();
}

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <class T>
T chosen(b32 c, T a, T b) {
  return T(Known{put(Micro::select, c.id, a.id, b.id)});
}
inline f32 select(b32 c, f32 a, f32 b) { return chosen(c, a, b); }
inline i32 select(b32 c, i32 a, i32 b) { return chosen(c, a, b); }
inline u32 select(b32 c, u32 a, u32 b) { return chosen(c, a, b); }
inline b32 select(b32 c, b32 a, b32 b) { return b ^ (c & (a ^ b)); }
template <int bits, bool is_signed>
Integer<bits, is_signed> select(b32 c, Integer<bits, is_signed> a, Integer<bits, is_signed> b) {
  return chosen(c, a, b);
}
inline f32 fma(f32 a, f32 b, f32 c) { return f32::as(put(Micro::fma, a.id, b.id, c.id)); }
inline f32 abs(f32 x) { return f32::as(put(Micro::abs, x.id)); }
inline f32 copysign(f32 x, f32 sign) { return f32::as(put(Micro::copysign, x.id, sign.id)); }
inline f32 sqrt(f32 x) { return f32::as(put(Micro::sqrt, x.id)); }
inline f32 floor(f32 x) { return f32::as(put(Micro::floor, x.id)); }
inline f32 ceil(f32 x) { return f32::as(put(Micro::ceil, x.id)); }
inline f32 trunc(f32 x) { return f32::as(put(Micro::trunc, x.id)); }
inline f32 rint(f32 x) { return f32::as(put(Micro::rint, x.id)); }
// As the templates of ops/ have it, in one step.
inline f32 maximum(f32 a, f32 b) { return f32::as(put(Micro::maximum, a.id, b.id)); }
inline f32 minimum(f32 a, f32 b) { return f32::as(put(Micro::minimum, a.id, b.id)); }
inline f32 scale_near_1(f32 x, i32 k) { return f32::as(put(Micro::scale, x.id, k.id)); }
template <int bits, bool is_signed>
Integer<bits, is_signed> maximum(Integer<bits, is_signed> a, Integer<bits, is_signed> b) {
  using I = Integer<bits, is_signed>;
  return I(Known{put(I::is_word ? Micro::unsigned_maximum : Micro::int_maximum, a.id, b.id)});
}
template <int bits, bool is_signed>
Integer<bits, is_signed> minimum(Integer<bits, is_signed> a, Integer<bits, is_signed> b) {
  using I = Integer<bits, is_signed>;
  return I(Known{put(I::is_word ? Micro::unsigned_minimum : Micro::int_minimum, a.id, b.id)});
}
inline i32 bits(f32 x) { return i32(Known{x.id}); }
inline f32 from_bits(i32 b) { return f32(Known{b.id}); }

// A table's entry, found by comparing.
struct Table {
  std::vector<float> values;
  Table(std::initializer_list<float> v) : values(v) {}
  f32 operator[](i32 i) const {
    f32 entry = values[0];
    for (int k = 1; k < static_cast<int>(values.size()); ++k)
      entry = select(i < i32(k), entry, f32(values[k]));
    return entry;
  }
};

// Where an argument is rare, the loop of the operation answers.
inline std::int32_t unless(b32 rare, f32 usual, f32 x, f32 y, Loop function) {
  Step step{Micro::rare};
  step.in[0] = rare.id, step.in[1] = usual.id, step.in[2] = x.id, step.in[3] = y.id;
  step.function = function;
  return t_trace->put(step);
}
inline f32 unless_rare(Op op, b32 rare, f32 usual, f32 x, f32 y) {
  const Loop function = loops().op[static_cast<int>(op)][static_cast<int>(float32)];
  return f32::as(unless(rare, usual, x, y, function));
}
// Without a loop a step cannot become code: such operations are called.
inline c64 unless_rare(Op, b32 rare, c64 usual, c64 x, c64) {
  return {f32::as(unless(rare, usual.re, x.re, x.im, nullptr)),
          f32::as(unless(rare, usual.im, x.re, x.im, nullptr))};
}

#define CONSTANT inline constexpr
#define TABLE(name, ...) \
  inline const Table name { __VA_ARGS__ }
#define RARE_1(f, T, g) \
  inline T f(T x) { return unless_rare(Op::f, f##_rare(x), f##_usual(x), x, x); }
#define RARE_2(f, T, g) \
  inline T f(T x, T y) { return unless_rare(Op::f, f##_rare(x, y), f##_usual(x, y), x, y); }

#include "ops/all.h"

#undef CONSTANT
#undef TABLE
#undef RARE_1
#undef RARE_2

}  // namespace recorded
}  // namespace cermet::cpu::machine
