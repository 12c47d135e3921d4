// Conversion between the types of numbers, and of 16-bit floats as bits.

// Towards zero. Beyond the type's range it is the nearest value there, and 0 for a nan.
template <typename To, typename From>
inline To truncated(From x) {
  // As a float the highest integer may be the power of two after it.
  From low = From(lowest_of<To>()), high = From(highest_of<To>());
  b32 above = x >= high;
  From inside = select(above, low, select(x > low, x, low));
  return select(x != x, To(0), select(above, highest_of<To>(), To(inside)));
}

inline f32 widen_bfloat16(u32 h) { return from_bits(i32(h << 16)); }

// Narrowing rounds to nearest, ties to even; subnormals are exact, and a nan stays a nan.
inline u32 narrow_bfloat16(f32 x) {
  u32 b = u32(bits(x));
  return select(x != x, b | 0x400000u, b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
}

inline f32 widen_float16(u32 h) {
  u32 magnitude = h & 0x7fffu;
  u32 finite = u32(bits(from_bits(i32(magnitude << 13)) * 0x1p112f));
  u32 special = (magnitude << 13) | 0x7f800000u | select(magnitude > 0x7c00u, 0x400000u, 0u);
  return from_bits(i32(select(magnitude < 0x7c00u, finite, special) | ((h & 0x8000u) << 16)));
}

inline u32 narrow_float16(f32 x) {
  u32 b = u32(bits(x)), magnitude = b & 0x7fffffffu;
  u32 normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - (112u << 23)) >> 13;
  // The unit of 0.5f is that of the subnormals: the addition rounds.
  u32 subnormal = u32(bits(from_bits(i32(magnitude)) + 0.5f)) - 0x3f000000u;
  u32 nan = 0x7e00u | ((magnitude >> 13) & 0x1ffu);
  u32 h = select(magnitude < (113u << 23), subnormal, normal);
  h = select(magnitude >= 0x477ff000u, 0x7c00u, h);  // 65520: halfway to the next power of two
  return select(magnitude > 0x7f800000u, nan, h) | ((b >> 16) & 0x8000u);
}
