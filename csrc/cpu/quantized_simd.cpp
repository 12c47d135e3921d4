// Packing and unpacking of quantized elements, 64 at a time: four neighbours are a *part*, of
// which a word holds some, and lanes hold the parts. So every shift is the same for all lanes.
#include "cpu/quantized_kernel.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

using u32 = std::uint32_t;
constexpr int kParts = 16, kChunk = 4 * kParts;

constexpr u32 bits_of(float x) { return __builtin_bit_cast(u32, x); }
constexpr float float_of(u32 x) { return __builtin_bit_cast(float, x); }

// ---- Elements ----

template <int kBitsOf>
struct Integer {
  static constexpr int kBits = kBitsOf;
  static constexpr bool kBiased = true;
  static constexpr u32 kMask = (1u << kBits) - 1;
  static float decode(u32 q) { return static_cast<float>(static_cast<int>(q)); }
  static u32 encode(float v) {
    v = v > 0.0f ? v : 0.0f;
    v = v < static_cast<float>(kMask) ? v : static_cast<float>(kMask);
    return bits_of(v + 0x1p23f) & kMask;  // rounded to its last bit
  }
};

// A sign, an exponent with the usual bias, a mantissa; no infinities, subnormals. Of 8 bits the
// code with all bits set is nan.
template <int kBitsOf, int kMantissa>
struct Float {
  static constexpr int kBits = kBitsOf;
  static constexpr bool kBiased = false;
  static constexpr u32 kMask = (1u << kBits) - 1, kMagnitude = kMask >> 1;
  static constexpr int kBias = (1 << (kBits - 2 - kMantissa)) - 1, kShift = 23 - kMantissa;
  static constexpr u32 kRebias = static_cast<u32>(127 - kBias) << kMantissa;
  static constexpr float kLargest = kBits == 8 ? 448.0f : 6.0f;
  static constexpr float power(int e) { return float_of(static_cast<u32>(127 + e) << 23); }
  static constexpr float kNormal = power(1 - kBias), kStep = power(1 - kBias - kMantissa);
  // A number whose last bit is a step.
  static constexpr float kLarge = power(24 - kBias - kMantissa);

  static float decode(u32 q) {
    const u32 magnitude = q & kMagnitude, sign = q >> (kBits - 1) << 31;
    const float small = static_cast<float>(static_cast<int>(magnitude)) * kStep;
    u32 value = magnitude < (1u << kMantissa) ? bits_of(small) : (magnitude + kRebias) << kShift;
    if constexpr (kBits == 8) value = magnitude == kMagnitude ? 0x7fc00000u : value;
    return float_of(value | sign);
  }
  static u32 encode(float v) {
    const u32 given = bits_of(v), sign = given >> 31 << (kBits - 1);
    float a = float_of(given & 0x7fffffffu);
    a = a < kLargest ? a : kLargest;
    const u32 bits = bits_of(a), odd = bits >> kShift & 1;
    const u32 normal = ((bits + odd + ((1u << (kShift - 1)) - 1)) >> kShift) - kRebias;
    const u32 small = bits_of(a + kLarge) - bits_of(kLarge);
    const u32 code = (a < kNormal ? small : normal) | sign;
    return v != v ? 0 : code;
  }
};

// ---- Words and parts ----

template <int kBits>
inline void to_parts(const u32* words, u32* parts) {
#pragma GCC unroll 16
  for (int h = 0; h < kParts; ++h) {
    const int word = h * 4 * kBits / 32, shift = h * 4 * kBits % 32;
    u32 v = words[word] >> shift;
    if (shift + 4 * kBits > 32) v |= words[word + 1] << (32 - shift) % 32;
    parts[h] = v;
  }
}

template <int kBits>
inline void to_words(const u32* parts, u32* words) {
#pragma GCC unroll 16
  for (int w = 0; w < 2 * kBits; ++w) words[w] = 0;
#pragma GCC unroll 16
  for (int h = 0; h < kParts; ++h) {
    const int word = h * 4 * kBits / 32, shift = h * 4 * kBits % 32;
    words[word] |= parts[h] << shift;
    if (shift + 4 * kBits > 32) words[word + 1] |= parts[h] >> (32 - shift) % 32;
  }
}

// ---- Chunks ----

// The scale of each part of a chunk; kGroup is 64 for larger groups, too.
template <int kGroup>
inline void spread(const float* of_groups, float* of_parts) {
  for (int h = 0; h < kParts; ++h) of_parts[h] = of_groups[4 * h / kGroup];
}

template <class Element, int kGroup>
inline void unpack(const u32* __restrict parts, const float* scales, const float* biases,
                   float* __restrict dst) {
  float scale[kParts], bias[kParts];
  spread<kGroup>(scales, scale);
  if constexpr (Element::kBiased) spread<kGroup>(biases, bias);
  for (int h = 0; h < kParts; ++h)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const float v = scale[h] * Element::decode(parts[h] >> (j * Element::kBits) & Element::kMask);
      if constexpr (Element::kBiased)
        dst[4 * h + j] = v + bias[h];
      else
        dst[4 * h + j] = v;
    }
}

// Whether lanes can shift by different numbers. Then what crosses no word needs no parts.
#if defined(__AVX2__) || defined(__aarch64__)
constexpr bool kOwnShifts = true;
#else
constexpr bool kOwnShifts = false;
#endif

template <class Element, int kGroup>
inline void unpack_words(const u32* __restrict words, const float* scales, const float* biases,
                         float* __restrict dst) {
  constexpr int kEach = 32 / Element::kBits;
  for (int w = 0; w < kChunk / kEach; ++w, dst += kEach) {
    const int group = w * kEach / kGroup;
#pragma GCC unroll 1  // unrolled, it would not become a vector of shifts
    for (int i = 0; i < kEach; ++i) {
      const u32 q = words[w] >> (i * Element::kBits) & Element::kMask;
      if constexpr (Element::kBiased)
        dst[i] = scales[group] * Element::decode(q) + biases[group];
      else
        dst[i] = scales[group] * Element::decode(q);
    }
  }
}

template <class Element, int kGroup>
inline void pack(const float* x, const float* scales, const float* biases, u32* words) {
  u32 parts[kParts];
  float scale[kParts], bias[kParts];
  spread<kGroup>(scales, scale);
  if constexpr (Element::kBiased) spread<kGroup>(biases, bias);
  for (int h = 0; h < kParts; ++h) {
    u32 part = 0;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      float v = x[4 * h + j];
      if constexpr (Element::kBiased) v -= bias[h];
      part |= Element::encode(v / scale[h]) << (j * Element::kBits);
    }
    parts[h] = part;
  }
  to_words<Element::kBits>(parts, words);
}

// ---- Arrays: whole chunks, the last one through a chunk's memory ----

template <class T>
inline void copy(const T* from, T* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i];
}

template <class Element, int kGroup>
void dequantize_all(const u32* words, const float* scales, const float* biases, int group,
                    float* dst, std::int64_t n) {
  const auto biases_at = [&](std::int64_t g) { return Element::kBiased ? biases + g : nullptr; };
  std::int64_t i = 0;
  if constexpr (kOwnShifts && Element::kBits < 8 && 32 % Element::kBits == 0)
    for (; i + kChunk <= n; i += kChunk, words += 2 * Element::kBits)
      unpack_words<Element, kGroup>(words, scales + i / group, biases_at(i / group), dst + i);
  // Parts are stored one by one: some chunks ahead, as a vector of what was just stored waits.
  constexpr int kAhead = 4;
  u32 parts[kAhead * kParts];
  for (; i + kAhead * kChunk <= n; words += 2 * Element::kBits * kAhead) {
    for (int c = 0; c < kAhead; ++c)
      to_parts<Element::kBits>(words + c * 2 * Element::kBits, parts + c * kParts);
    for (int c = 0; c < kAhead; ++c, i += kChunk)
      unpack<Element, kGroup>(parts + c * kParts, scales + i / group, biases_at(i / group),
                              dst + i);
  }
  for (; i + kChunk <= n; i += kChunk, words += 2 * Element::kBits) {
    to_parts<Element::kBits>(words, parts);
    unpack<Element, kGroup>(parts, scales + i / group, biases_at(i / group), dst + i);
  }
  if (i == n) return;
  u32 some_words[2 * Element::kBits] = {};
  float some_scales[4] = {}, some_biases[4] = {}, values[kChunk];
  const std::int64_t groups = (n - i - 1) / group + 1;
  copy(words, some_words, (n - i) * Element::kBits / 32);
  copy(scales + i / group, some_scales, groups);
  if (Element::kBiased) copy(biases + i / group, some_biases, groups);
  to_parts<Element::kBits>(some_words, parts);
  unpack<Element, kGroup>(parts, some_scales, some_biases, values);
  copy(values, dst + i, n - i);
}

template <class Element, int kGroup>
void quantize_all(const float* x, const float* scales, const float* biases, int group, u32* words,
                  std::int64_t n) {
  const auto biases_at = [&](std::int64_t g) { return Element::kBiased ? biases + g : nullptr; };
  std::int64_t i = 0;
  for (; i + kChunk <= n; i += kChunk, words += 2 * Element::kBits)
    pack<Element, kGroup>(x + i, scales + i / group, biases_at(i / group), words);
  if (i == n) return;
  u32 some_words[2 * Element::kBits];
  float some_scales[4] = {1, 1, 1, 1}, some_biases[4] = {}, values[kChunk] = {};
  const std::int64_t groups = (n - i - 1) / group + 1;
  copy(x + i, values, n - i);
  copy(scales + i / group, some_scales, groups);
  if (Element::kBiased) copy(biases + i / group, some_biases, groups);
  pack<Element, kGroup>(values, some_scales, some_biases, some_words);
  copy(some_words, words, (n - i) * Element::kBits / 32);
}

// Calls f with the type of the elements and the group size that a chunk sees.
template <class Element>
struct Of {
  using type = Element;
};
template <int kSize>
struct Group {
  static constexpr int size = kSize;
};
template <class F>
inline void by_format(bool integers, int bits, int group, F f) {
  const auto grouped = [&](auto element) {
    group == 32 ? f(element, Group<32>()) : f(element, Group<64>());
  };
  if (!integers) {
    if (bits == 8) return f(Of<Float<8, 3>>(), Group<32>());
    return group == 32 ? f(Of<Float<4, 1>>(), Group<32>()) : f(Of<Float<4, 1>>(), Group<16>());
  }
  switch (bits) {
    case 2: return grouped(Of<Integer<2>>());
    case 3: return grouped(Of<Integer<3>>());
    case 4: return grouped(Of<Integer<4>>());
    case 5: return grouped(Of<Integer<5>>());
    case 6: return grouped(Of<Integer<6>>());
    default: return grouped(Of<Integer<8>>());
  }
}

// ---- Extremes ----

// Ordered as the floats are, nan above or below all by its sign.
inline std::int32_t key_of(float x) {
  const auto k = __builtin_bit_cast(std::int32_t, x);
  return k ^ (k >> 31 & 0x7fffffff);
}
inline float of_key(std::int32_t k) {
  return __builtin_bit_cast(float, k ^ (k >> 31 & 0x7fffffff));
}
inline std::int32_t larger(std::int32_t a, std::int32_t b) { return a > b ? a : b; }
inline std::int32_t smaller(std::int32_t a, std::int32_t b) { return a < b ? a : b; }

// The extremes of `kEach` neighbours each.
template <int kEach>
inline void fold(const std::int32_t* __restrict high, const std::int32_t* __restrict low,
                 std::int32_t* __restrict highs, std::int32_t* __restrict lows, int n) {
  for (int i = 0; i < n; ++i) {
    std::int32_t h = high[kEach * i], l = low[kEach * i];
#pragma GCC unroll 4
    for (int j = 1; j < kEach; ++j) {
      h = larger(h, high[kEach * i + j]);
      l = smaller(l, low[kEach * i + j]);
    }
    highs[i] = h;
    lows[i] = l;
  }
}

constexpr int kTile = 512;  // elements whose extremes are found together

// Calls found(i, high, low) for each group i of up to kTile elements.
template <class F>
inline void find_in_tile(const float* x, int group, int n, F found) {
  std::int32_t keys[kTile], high[kTile / 4], low[kTile / 4], highs[kTile / 16], lows[kTile / 16];
  for (int i = 0; i < n; ++i) keys[i] = key_of(x[i]);
  fold<4>(keys, keys, high, low, n / 4);
  fold<4>(high, low, highs, lows, n / 16);
  const std::int32_t *h = highs, *l = lows;
  if (group == 32 || group == 128) {
    fold<2>(highs, lows, high, low, n / 32);
    h = high, l = low;
  }
  if (group == 64) {
    fold<4>(highs, lows, high, low, n / 64);
    h = high, l = low;
  } else if (group == 128) {
    fold<4>(high, low, highs, lows, n / 128);
    h = highs, l = lows;
  }
  constexpr std::int32_t kInfinity = 0x7f800000;
  for (int i = 0; i < n / group; ++i) {
    const bool nan = (h[i] > kInfinity) | (l[i] < ~kInfinity);
    found(i, nan ? __builtin_nanf("") : of_key(h[i]), nan ? __builtin_nanf("") : of_key(l[i]));
  }
}
template <class F>
inline void find_in_tiles(const float* x, int group, std::int64_t n, F found_in) {
  for (std::int64_t i = 0; i < n; i += kTile)
    find_in_tile(x + i, group, static_cast<int>(n - i < kTile ? n - i : kTile),
                 found_in(i / group));
}

inline float magnitude(float x) { return float_of(bits_of(x) & 0x7fffffffu); }
// The code given where the largest magnitude is a number, else those for zeros and for nan.
inline std::uint8_t code_of(float largest, u32 code, u32 one, u32 nan) {
  code = largest == 0.0f ? one : code;
  return static_cast<std::uint8_t>(largest < __builtin_inff() ? code : nan);
}
inline float largest_of(float high, float low) {
  const u32 a = bits_of(high) & 0x7fffffffu, b = bits_of(low) & 0x7fffffffu;
  return float_of(a < b ? b : a);
}

}  // namespace

void dequantize(const u32* words, const float* scales, const float* biases, int bits, int group,
                float* dst, std::int64_t n) {
  by_format(biases, bits, group, [&](auto element, auto size) {
    dequantize_all<typename decltype(element)::type, size.size>(words, scales, biases, group, dst,
                                                                n);
  });
}

void quantize(const float* x, const float* scales, const float* biases, int bits, int group,
              u32* words, std::int64_t n) {
  by_format(biases, bits, group, [&](auto element, auto size) {
    quantize_all<typename decltype(element)::type, size.size>(x, scales, biases, group, words, n);
  });
}

// As the expansion of QuantizeScales has it, which says why.
void find_scales(const float* x, int bits, int group, float* scales, float* biases,
                 std::int64_t n) {
  const auto steps = static_cast<float>((1 << bits) - 1);
  find_in_tiles(x, group, n, [&](std::int64_t first) {
    return [=](int i, float high, float low) {
      const bool from_low = magnitude(low) > magnitude(high);
      float width = (high - low) / steps;
      width = width < 1e-7f ? 1e-7f : width;
      const float step = from_low ? width : -width, edge = from_low ? low : high;
      const float whole = __builtin_rintf(edge / step);
      const bool zero = whole == 0.0f;
      scales[first + i] = zero ? step : edge / (zero ? 1.0f : whole);
      biases[first + i] = zero ? 0.0f : edge;
    };
  });
}

void find_e8m0(const float* x, int bits, int group, std::uint8_t* codes, std::int64_t n) {
  const u32 emax = bits == 8 ? 8 : 2;
  find_in_tiles(x, group, n, [&](std::int64_t first) {
    return [=](int i, float high, float low) {
      const float largest = largest_of(high, low);
      const u32 exponent = bits_of(largest) >> 23;
      codes[first + i] = code_of(largest, (exponent > emax ? exponent : emax) - emax, 127, 255);
    };
  });
}

void find_e4m3(const float* x, float unit, int group, std::uint8_t* codes, std::int64_t n) {
  const float six = unit * 6;
  find_in_tiles(x, group, n, [&](std::int64_t first) {
    return [=](int i, float high, float low) {
      const float largest = largest_of(high, low), scale = largest / six;
      u32 code = scale != scale ? 0x7f : Float<8, 3>::encode(scale);
      code = code < 1 ? 1 : code;
      codes[first + i] = code_of(largest, code, 0x38, 0x7f);
    };
  });
}

void decode_e8m0(const std::uint8_t* codes, float* dst, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const u32 code = codes[i], bits = code == 0 ? 1u << 22 : code << 23;
    dst[i] = float_of(code == 255 ? 0x7fc00000u : bits);
  }
}
void decode_e4m3(const std::uint8_t* codes, float unit, float* dst, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dst[i] = Float<8, 3>::decode(codes[i]) * unit;
}

}  // namespace cermet::cpu::CERMET_ISA
