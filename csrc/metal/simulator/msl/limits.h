// <metal_limits>.
#pragma once

namespace metal {

// Under this name of Apple's own, sources specialise them for their types.
template <class T>
struct _numeric_limits_impl {
  static constexpr constant bool is_specialized = is_integral_v<T>;
  static constexpr constant bool is_integer = true, is_exact = true;
  static constexpr constant bool is_signed = is_signed_v<T>;
  static constexpr constant bool has_infinity = false, has_quiet_NaN = false;
  static constexpr constant int radix = 2;
  static constexpr constant int digits =
      is_same_v<T, bool> ? 1 : (int)sizeof(T) * 8 - (is_signed ? 1 : 0);
  static constexpr T max() { return is_same_v<T, bool> ? (T)1 : (T)(~0ul >> (64 - digits)); }
  static constexpr T min() { return is_signed ? (T)(-(long)max() - 1) : (T)0; }
  static constexpr T lowest() { return min(); }
  static constexpr T epsilon() { return (T)0; }
  static constexpr T infinity() { return (T)0; }
  static constexpr T quiet_NaN() { return (T)0; }
};

#define MSL_LIMITS(T, DIGITS, MIN, MAX, EPSILON, DENORM)                      \
  template <>                                                                 \
  struct _numeric_limits_impl<T> {                                            \
    static constexpr constant bool is_specialized = true;                     \
    static constexpr constant bool is_integer = false, is_exact = false;      \
    static constexpr constant bool is_signed = true;                          \
    static constexpr constant bool has_infinity = true, has_quiet_NaN = true; \
    static constexpr constant int radix = 2, digits = DIGITS;                 \
    static constexpr T min() { return (T)MIN; }                               \
    static constexpr T max() { return (T)MAX; }                               \
    static constexpr T lowest() { return (T) - MAX; }                         \
    static constexpr T epsilon() { return (T)EPSILON; }                       \
    static constexpr T denorm_min() { return (T)DENORM; }                     \
    static constexpr T round_error() { return (T)0.5f; }                      \
    static constexpr T infinity() { return (T)__builtin_huge_valf(); }        \
    static constexpr T quiet_NaN() { return (T)__builtin_nanf(""); }          \
    static constexpr T signaling_NaN() { return (T)__builtin_nanf(""); }      \
  };
MSL_LIMITS(float, 24, FLT_MIN, FLT_MAX, 1.1920929e-7f, 1.40129846e-45f)
MSL_LIMITS(half, 11, 6.103515625e-5f, 65504.0f, 9.765625e-4f, 0x1p-24f)
MSL_LIMITS(bfloat, 8, FLT_MIN, 3.3895313892515355e38f, 7.8125e-3f, 9.18354961579912e-41f)
#undef MSL_LIMITS

template <class T>
struct numeric_limits : _numeric_limits_impl<T> {};

}  // namespace metal
