// Products of float rows with integer codes by the instruction for dot products of bytes, exactly:
// a row's numbers are integers of 24 bits times a scale of their group, in three slices of bytes.
// The order of a sum: a group's integers in any order, as they are exact; then groups ascending,
// each rounded when its sum becomes a float, when it is scaled and added, and when its bias is;
// spans as ever.
#pragma once

#include "cpu/products/dot.h"
#include "cpu/products/scaled.h"

namespace cermet::cpu::CERMET_ISA {

inline constexpr int kSlices = 3;                   // the highest first
inline constexpr float kMostInteger = 127 * 65536;  // one that rounds up fits the slices, too

// A unit is four bytes along the depth: signed ones of a, codes of b.
struct QuadDot {
  using Unit = std::uint32_t;
  using Sum = std::int32_t;
  static constexpr int kNumbers = 4;
  static Vector<Sum> add(Vector<Unit> a, Vector<Unit> b, Vector<Sum> c) {
#if defined(__AVX512VNNI__)
    return (Vector<Sum>)_mm512_dpbusd_epi32((__m512i)c, (__m512i)b, (__m512i)a);
#else
    return (Vector<Sum>)vusdotq_s32((int32x4_t)c, (uint8x16_t)b, (int8x16_t)a);
#endif
  }
};

// The sum that its slices stand for: of at most 30 bits without the lowest one.
inline Vector<float> joined(const Vector<std::int32_t> (&slices)[kSlices]) {
  const Vector<std::int32_t> high = (slices[0] << 8) + slices[1];
  return multiply_add(__builtin_convertvector(high, Vector<float>), splat(256.0f),
                      __builtin_convertvector(slices[2], Vector<float>));
}

// Of a row there are scale and sum of each group.
inline Vector<float> add_group(const Vector<std::int32_t> (&slices)[kSlices], Vector<float> scale,
                               Vector<float> bias, const float* row, Vector<float> total) {
  total = multiply_add(scale * splat(row[0]), joined(slices), total);
  return multiply_add(bias, splat(row[1]), total);
}

// ---- Rows ----

typedef std::int8_t Bytes __attribute__((vector_size(16)));
typedef std::int8_t Narrow __attribute__((vector_size(kVectorLanes<float>)));

inline Narrow low_bytes(Vector<std::int32_t> n) {
#if defined(__AVX512F__)
  return (Narrow)_mm512_cvtepi32_epi8((__m512i)n);  // GCC takes the lanes one by one
#else
  return __builtin_convertvector(n, Narrow);
#endif
}
template <int kApart = kVectorLanes<float> / 2>
std::uint32_t largest(Vector<std::uint32_t> v) {
  constexpr auto apart = [](int l) { return (l + kApart) % kVectorLanes<float>; };
  const Vector<std::uint32_t> other = shuffle<apart>(v, v);
  v = v > other ? v : other;
  if constexpr (kApart > 1)
    return largest<kApart / 2>(v);
  else
    return v[0];
}

// Splits `groups` groups of x; the bytes lie as codes of kBits bits do in units of b. A group that
// is not finite has a scale that is not.
template <class R, int kBits>
void split_groups_for(const typename R::Element* x, std::int64_t group, std::int64_t groups,
                      std::byte* rows, float* sums) {
  constexpr int kPart = sizeof(Bytes), L = kVectorLanes<float>, V = kPart / L,
                kMostParts = 128 / kPart;
  constexpr int kCodes = 32 / kBits, kUnits = 8 / kBits;  // of a word
  constexpr auto place = [](int l) {
    return l / kCodes * kCodes + l % kCodes / 4 + l % 4 * kUnits;
  };
  for (std::int64_t g = 0; g < groups; ++g, x += group, rows += kSlices * group) {
    const std::int64_t parts = group / kPart;
    Vector<float> values[kMostParts][V];
    Vector<std::uint32_t> most{};
    for (std::int64_t i = 0; i < parts; ++i)
      for (int v = 0; v < V; ++v) {
        values[i][v] = R::along(x + i * kPart + v * L);
        const auto magnitude = (Vector<std::uint32_t>)values[i][v] & 0x7fffffffu;
        most = magnitude > most ? magnitude : most;
      }
    const std::uint32_t top = largest(most);
    const bool finite = top < 0x7f800000u;
    // A power of two, so that integers stay what they are: the largest that no slice overflows.
    constexpr std::uint32_t kLeast = (127 - 100) << 23, kExponents = 0xffu << 23;
    const float largest = __builtin_bit_cast(float, top);
    const std::uint32_t exponent = (top > kLeast ? top : kLeast) & kExponents;
    float factor = __builtin_bit_cast(float, ((2 * 127 + 22u) << 23) - exponent);
    if (largest * factor > kMostInteger) factor /= 2;
    sums[2 * g] = finite ? 1 / factor : __builtin_nanf("");
    for (std::int64_t i = 0; i < parts; ++i) {
      Bytes slices[kSlices];
      for (int v = 0; v < V; ++v) {
        const Vector<float> scaled = finite ? values[i][v] * splat(factor) : Vector<float>{};
        const Vector<float> half = scaled < 0.0f ? splat(-0.5f) : splat(0.5f);
        Vector<std::int32_t> n = __builtin_convertvector(scaled + half, Vector<std::int32_t>);
        for (int s = kSlices - 1; s >= 0; --s) {
          const Narrow digits = low_bytes(n);
          std::memcpy(reinterpret_cast<std::byte*>(&slices[s]) + v * L, &digits, sizeof digits);
          n = (n - (n << 24 >> 24)) >> 8;
        }
      }
      for (int s = 0; s < kSlices; ++s) {
        const Bytes bytes = shuffle<place>(slices[s], slices[s]);
        std::memcpy(rows + s * group + i * kPart, &bytes, sizeof bytes);
      }
    }
  }
}
template <class R>
void split_groups(const void* from, std::int64_t bits, std::int64_t group, std::int64_t groups,
                  std::byte* rows, float* sums) {
  const auto* const x = static_cast<const typename R::Element*>(from);
  switch (bits) {
    case 2: return split_groups_for<R, 2>(x, group, groups, rows, sums);
    case 4: return split_groups_for<R, 4>(x, group, groups, rows, sums);
    default: return split_groups_for<R, 8>(x, group, groups, rows, sums);
  }
}

inline void copy_rows(const Strip& strip, std::int64_t step, void* rows) {
  for (std::int64_t r = 0; r < strip.width; ++r)
    std::memcpy(static_cast<std::uint32_t*>(rows) + r * step,
                static_cast<const std::byte*>(strip.data) + r * strip.width_step,
                static_cast<std::size_t>(strip.depth * strip.depth_step));
}

// ---- Kernels ----

inline constexpr int kQuadRows = 4;

template <int R, int V>
[[gnu::noinline]] void quad_tile(const std::uint32_t* a, const std::uint32_t* b, const Block& block,
                                 const float* row_sums, float* c, std::int64_t c_step) {
  constexpr std::int64_t L = kVectorLanes<float>, panel = kTileVectors * L;
  const std::int64_t group = block.sums.group, groups = (block.depth - 1) / group + 1;
  const auto* scales = reinterpret_cast<const float*>(b + block.depth * panel);
  for (std::int64_t g = 0; g < groups; ++g, scales += panel, row_sums += block.sums.parts) {
    Vector<std::int32_t> sums[R][V][kSlices] = {};
    for (std::int64_t p = 0; p < group; ++p, ++a, b += panel) {
      Vector<std::uint32_t> right[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) right[v] = load(b + v * L);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int s = 0; s < kSlices; ++s) {
          const Vector<std::uint32_t> left = splat_at(a + r * block.a_step + s * group);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sums[r][v][s] = QuadDot::add(left, right[v], sums[r][v][s]);
        }
    }
    a += (kSlices - 1) * group;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const Vector<float> scale = load(scales + v * L),
                          bias = load(scales + groups * panel + v * L);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        float* const to = c + r * c_step + v * L;
        const Vector<float> before = block.add || g > 0 ? load(to) : Vector<float>{};
        store(to, add_group(sums[r][v], scale, bias, row_sums + r * block.sums.step, before));
      }
    }
  }
}

template <int... i>
constexpr auto quad_tiles(std::integer_sequence<int, i...>) {
  struct {
    decltype(&quad_tile<1, 1>) at[sizeof...(i)];
  } table{{&quad_tile<i / kTileVectors + 1, i % kTileVectors + 1>...}};
  return table;
}

inline void multiply_quads(const Block& block) {
  static constexpr auto table =
      quad_tiles(std::make_integer_sequence<int, kQuadRows * kTileVectors>());
  for_tiles<std::uint32_t, float, kQuadRows>(
      block, even_part(block.rows, kQuadRows), block.b_step,
      [&](std::int64_t i, std::int64_t rows, std::int64_t vectors, const std::uint32_t* b,
          float* to, std::int64_t step) {
        table.at[(rows - 1) * kTileVectors + vectors - 1](
            static_cast<const std::uint32_t*>(block.a) + i * block.a_step, b, block,
            block.sums.data + i * block.sums.step, to, step);
      });
}

template <class Source, int R>
void stream_quad_rows(const Stream& s) {
  constexpr int G = R == 1 ? 4 : 2;
  const Source source(s.b);
  const std::uint32_t* a[R];  // a missing row is the last one
  const float* row_sums[R];
  for (int r = 0; r < R; ++r) {
    const std::int64_t row = r < s.rows ? r : s.rows - 1;
    a[r] = static_cast<const std::uint32_t*>(s.a) + row * s.a_step;
    row_sums[r] = s.sums.data + row * s.sums.step;
  }
  const std::int64_t group = s.sums.group;
  stream_groups<Source, R, G>(
      s, source,
      [&](auto& b, std::int64_t g, Vector<float>(&totals)[R][G]) __attribute__((always_inline)) {
        const std::int64_t p = g * group, skipped = (kSlices - 1) * p;
        Vector<std::int32_t> sums[R][G][kSlices] = {};
        b.visit(p, p + group,
                [&](std::int64_t q, const Vector<std::uint32_t>(&v)[G])
                    __attribute__((always_inline)) {
#pragma GCC unroll 8
                      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
                        for (int n = 0; n < kSlices; ++n) {
                          const auto left = splat_at(a[r] + skipped + q + n * group);
#pragma GCC unroll 4
                          for (int i = 0; i < G; ++i)
                            sums[r][i][n] = QuadDot::add(left, v[i], sums[r][i][n]);
                        }
                    });
#pragma GCC unroll 4
        for (int i = 0; i < G; ++i) {
          const Vector<float> scale = b.scale(i, g), bias = b.bias(i, g);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r)
            totals[r][i] =
                add_group(sums[r][i], scale, bias, row_sums[r] + g * s.sums.parts, totals[r][i]);
        }
      });
}

// Four rows at a time fill the registers.
template <class Source>
void stream_quads(const Stream& all) {
  for (std::int64_t r = 0; r < all.rows; r += kQuadRows) {
    Stream s = all;
    s.a = static_cast<const std::uint32_t*>(s.a) + r * s.a_step;
    s.c = static_cast<float*>(s.c) + r * s.c_step;
    s.sums.data += r * s.sums.step;
    s.rows = s.rows - r < kQuadRows ? s.rows - r : kQuadRows;
    switch (s.rows) {
      case 1: stream_quad_rows<Source, 1>(s); break;
      case 2: stream_quad_rows<Source, 2>(s); break;
      default: stream_quad_rows<Source, kQuadRows>(s);
    }
  }
}

}  // namespace cermet::cpu::CERMET_ISA
