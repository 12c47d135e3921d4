// <metal_pack>: normalised integers in a word, the first element in the lowest bits.
#pragma once

namespace msl {

// Unsigned: [0, 1] to [0, 2^bits - 1]. Signed: [-1, 1] to [-(2^(bits-1) - 1), 2^(bits-1) - 1].
MSL_INLINE uint to_normalized(float x, int bits, bool is_signed) {
  const float scale = (float)((1u << (bits - (is_signed ? 1 : 0))) - 1);
  x = x != x ? 0.0f : metal::clamp(x, is_signed ? -1.0f : 0.0f, 1.0f);
  return (uint)(int)metal::rint(x * scale) & (~0u >> (32 - bits));
}
MSL_INLINE float from_normalized(uint word, int offset, int bits, bool is_signed) {
  if (!is_signed) return (float)metal::extract_bits(word, offset, bits) / (float)((1u << bits) - 1);
  const float scale = (float)((1u << (bits - 1)) - 1);
  return metal::max((float)metal::extract_bits((int)word, offset, bits) / scale, -1.0f);
}
MSL_INLINE float to_srgb(float x) {
  return x <= 0.0031308f ? x * 12.92f : 1.055f * metal::pow(x, 1.0f / 2.4f) - 0.055f;
}
MSL_INLINE float from_srgb(float x) {
  return x <= 0.04045f ? x / 12.92f : metal::pow((x + 0.055f) / 1.055f, 2.4f);
}

template <bool is_signed, int... bits, class V>
MSL_INLINE uint pack(V v) {
  uint word = 0;
  int i = 0, offset = 0;
  ((word |= to_normalized((float)v[i++], bits, is_signed) << offset, offset += bits), ...);
  return word;
}
template <class V, bool is_signed, int... bits>
MSL_INLINE V unpack(uint word) {
  V v;
  int i = 0, offset = 0;
  using E = metal::element_t<V>;
  ((v[i++] = (E)from_normalized(word, offset, bits, is_signed), offset += bits), ...);
  return v;
}

}  // namespace msl

namespace metal {

#define MSL_FORMAT(NAME, WORD, N, SIGNED, ...)            \
  MSL_INLINE WORD pack_float_to_##NAME(float##N v) {      \
    return (WORD)msl::pack<SIGNED, __VA_ARGS__>(v);       \
  }                                                       \
  MSL_INLINE WORD pack_half_to_##NAME(half##N v) {        \
    return (WORD)msl::pack<SIGNED, __VA_ARGS__>(v);       \
  }                                                       \
  MSL_INLINE float##N unpack_##NAME##_to_float(WORD w) {  \
    return msl::unpack<float##N, SIGNED, __VA_ARGS__>(w); \
  }                                                       \
  MSL_INLINE half##N unpack_##NAME##_to_half(WORD w) {    \
    return msl::unpack<half##N, SIGNED, __VA_ARGS__>(w);  \
  }
MSL_FORMAT(unorm4x8, uint, 4, false, 8, 8, 8, 8)
MSL_FORMAT(snorm4x8, uint, 4, true, 8, 8, 8, 8)
MSL_FORMAT(unorm2x16, uint, 2, false, 16, 16)
MSL_FORMAT(snorm2x16, uint, 2, true, 16, 16)
MSL_FORMAT(unorm10a2, uint, 4, false, 10, 10, 10, 2)
MSL_FORMAT(unorm565, ushort, 3, false, 5, 6, 5)
#undef MSL_FORMAT

#define MSL_SRGB(T)                                                    \
  MSL_INLINE uint pack_##T##_to_srgb_unorm4x8(T##4 v) {                \
    for (int i = 0; i < 3; ++i) v[i] = (T)msl::to_srgb((float)v[i]);   \
    return pack_##T##_to_unorm4x8(v);                                  \
  }                                                                    \
  MSL_INLINE T##4 unpack_srgb_unorm4x8_to_##T(uint word) {             \
    T##4 v = unpack_unorm4x8_to_##T(word);                             \
    for (int i = 0; i < 3; ++i) v[i] = (T)msl::from_srgb((float)v[i]); \
    return v;                                                          \
  }
MSL_SRGB(float)
MSL_SRGB(half)
#undef MSL_SRGB

}  // namespace metal
