// Quantized weights as the packers read them, for the *_simd.cpp files of products.
#pragma once

#include <array>

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

// ---- Elements: a packed code of kBits, and the number that it stands for ----

template <int kBitsOf>
struct IntegerCode {
  static constexpr int kBits = kBitsOf;
  static constexpr bool kBiased = true;
  static constexpr float value(std::uint32_t q) { return static_cast<float>(q); }
  static Vector<float> decode(Vector<std::uint32_t> q) {
    return __builtin_convertvector((Vector<std::int32_t>)q, Vector<float>);
  }
};

// A sign, an exponent with the usual bias, a mantissa; subnormals, no infinities. Of 8 bits all
// bits set are nan.
template <int kBitsOf, int kMantissa>
struct FloatCode {
  static constexpr int kBits = kBitsOf;
  static constexpr bool kBiased = false;
  // Of 4 bits.
  static constexpr float value(std::uint32_t q) {
    constexpr float magnitudes[] = {0, .5f, 1, 1.5f, 2, 3, 4, 6};
    return q < 8 ? magnitudes[q] : -magnitudes[q - 8];
  }
  static Vector<float> decode(Vector<std::uint32_t> q) {
    constexpr std::uint32_t kMagnitude = (1u << (kBits - 1)) - 1;
    constexpr int kBias = (1 << (kBits - 2 - kMantissa)) - 1;
    constexpr float kStep = __builtin_bit_cast(float, std::uint32_t(128 - kBias - kMantissa) << 23);
    const Vector<std::uint32_t> magnitude = q & kMagnitude;
    const auto small = (Vector<std::uint32_t>)(IntegerCode<kBits>::decode(magnitude) * kStep);
    const Vector<std::uint32_t> normal = (magnitude + (std::uint32_t(127 - kBias) << kMantissa))
                                         << (23 - kMantissa);
    Vector<std::uint32_t> value = magnitude < (1u << kMantissa) ? small : normal;
    if constexpr (kBits == 8) value = magnitude == kMagnitude ? value | 0x7fc00000u : value;
    return (Vector<float>)(value | q >> (kBits - 1) << 31);
  }
};

// Calls f(format, a null pointer to its code).
template <class F>
void for_each_format(F&& f) {
  f(WeightFormat::i2, static_cast<IntegerCode<2>*>(nullptr));
  f(WeightFormat::i3, static_cast<IntegerCode<3>*>(nullptr));
  f(WeightFormat::i4, static_cast<IntegerCode<4>*>(nullptr));
  f(WeightFormat::i5, static_cast<IntegerCode<5>*>(nullptr));
  f(WeightFormat::i6, static_cast<IntegerCode<6>*>(nullptr));
  f(WeightFormat::i8, static_cast<IntegerCode<8>*>(nullptr));
  f(WeightFormat::e2m1, static_cast<FloatCode<4, 1>*>(nullptr));
  f(WeightFormat::e4m3, static_cast<FloatCode<8, 3>*>(nullptr));
}

#if defined(__AVX512BW__)
// Short codes are looked up, whatever bits stand above them.
template <class Code>
inline constexpr bool kLooksUp = Code::kBits <= 4;

template <class Code>
inline Vector<float> look_up(Vector<std::uint32_t> q) {
  static constexpr auto table = [] {
    std::array<float, 16> t{};
    for (std::uint32_t i = 0; i < 16; ++i) t[i] = Code::value(i % (1u << Code::kBits));
    return t;
  }();
  return (Vector<float>)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)q,
                                                    _mm512_loadu_ps(table.data()));
}
// Pair i of the eight codes of each word, as bfloat16.
template <class Code>
inline Vector<std::uint32_t> look_up_pair(Vector<std::uint32_t> words, int i) {
  static constexpr auto table = [] {
    std::array<std::uint16_t, 32> t{};
    for (std::uint32_t j = 0; j < 32; ++j)
      t[j] =
          static_cast<std::uint16_t>(__builtin_bit_cast(std::uint32_t, Code::value(j % 16)) >> 16);
    return t;
  }();
  const Vector<std::uint32_t> low = words >> (8 * i);
  const Vector<std::uint32_t> high = i == 0   ? words << 12
                                     : i == 1 ? words << 4
                                              : words >> (8 * i - 12);
  const Vector<std::uint32_t> at = (low & 0xffffu) | (high & 0xffff0000u);
  return (Vector<std::uint32_t>)_mm512_maskz_permutexvar_epi16(0xffffffff, (__m512i)at,
                                                               _mm512_loadu_si512(table.data()));
}
#else
template <class Code>
inline constexpr bool kLooksUp = false;
#endif

// ---- Scales of E8M0 and E4M3 codes, as readers ----

template <class Decode>
struct ScaleCode {
  using Element = std::uint8_t;
  using Unit = float;
  static constexpr int kDepth = 1;
  static Vector<float> along(const Element* x) {
    Vector<std::uint32_t> q;
    for (int l = 0; l < kVectorLanes<float>; ++l) q[l] = x[l];
    return Decode::decode(q);
  }
  static Vector<float> across(const Element* x, std::int64_t) { return along(x); }
  static float one(const Element* x, std::int64_t, bool) {
    return Decode::decode(Vector<std::uint32_t>{} + *x)[0];
  }
};
// 2 to the code less 127; 255 is nan.
struct PowerCode {
  static Vector<float> decode(Vector<std::uint32_t> q) {
    const Vector<std::uint32_t> normal = q == 255u ? q << 23 | 0x400000u : q << 23;
    return (Vector<float>)(q == 0u ? Vector<std::uint32_t>{} + 0x400000u : normal);
  }
};

// ---- Sources ----

// What a unit is: a float, a pair of bfloat16, which holds every code, or four bytes. Of a word of
// codes of 2, 4 or 8 bits byte b of unit i is code i + b * units of the word.
enum class Form { numbers, pairs, quads };

// Packed along the depth in a little-endian stream: unit (p, w) is code p of row w, or several.
// Scale and bias are left to the kernel.
template <class Code, Form kForm>
class Weights {
 public:
  static constexpr bool kPairs = kForm == Form::pairs;
  using Unit = std::conditional_t<kForm == Form::numbers, float, std::uint32_t>;
  static constexpr int kBits = Code::kBits;
  static constexpr std::int64_t L = kVectorLanes<float>;
  static constexpr std::int64_t kDepth = kForm == Form::quads ? 4 : kPairs ? 2 : 1;
  static constexpr Reads kReads = Reads::along;
  static constexpr std::int64_t kChunk = 256, kLeastGroup = 16;

  explicit Weights(const Strip& s)
      : q_(*static_cast<const QuantizedWeights*>(s.data)),
        width_(s.width),
        first_(s.offset + s.first_width),
        start_(s.first_depth),
        numbers_(s.depth),
        last_(q_.rows - s.first_width - L),
        beside_(s.offset * q_.row_words + start_ * kBits / 32 * q_.rows + s.first_width),
        scales_beside_(s.offset * q_.row_groups + start_ / q_.group * q_.rows + s.first_width),
        depth((s.depth + kDepth - 1) / kDepth) {}

  static constexpr bool along() { return true; }
  // Whether they lie side by side. Then memory is read by groups, each for all columns.
  bool beside() const { return q_.rows != 0; }
  std::int64_t group() const { return q_.group; }
  std::int64_t groups() const { return (numbers_ - 1) / q_.group + 1; }

  // G vectors of columns together: their sums are chains that do not wait for each other.
  template <int G>
  class Columns {
   public:
    Columns(const Weights& weights, std::int64_t w)
        : weights_(weights),
          w_(w),
          ahead_(w + G * L),
          ahead_step_((G * L * 32 - 1) / weights.numbers_ + 1) {
      for (int g = 0; g < G; ++g) {
        weights.gather_scales(w + g * L, scales_[g]);
        if constexpr (Code::kBiased) weights.gather(weights.q_.biases, w + g * L, biases_[g]);
      }
      if (w == 0) weights.prefetch_words(0, G * L);
      weights.prefetch_scales(w + G * L, G * L);
    }
    // Units from <= p < to, ascending from call to call, of whole groups or blocks.
    template <class Sink>
    [[gnu::always_inline]] void visit(std::int64_t from, std::int64_t to, Sink&& sink) {
      const auto word = [&](int g, std::int64_t i)
                            __attribute__((always_inline)) { return words_[g][i]; };
      for (from *= kDepth, to *= kDepth; from < to;) {
        const std::int64_t chunk = from / kChunk * kChunk;
        const std::int64_t left = weights_.numbers_ - chunk;
        if (from == chunk)
          for (int g = 0; g < G; ++g)
            weights_.gather_words(w_ + g * L, weights_.start_ + chunk,
                                  left < kChunk ? left : kChunk, words_[g]);
        const std::int64_t end = to < chunk + kChunk ? to : chunk + kChunk;
        for (const std::int64_t run = weights_.run(); from < end; from += run) {
          weights_.prefetch_words(ahead_, ahead_ + ahead_step_);  // little by little
          ahead_ += ahead_step_;
          weights_.template decode<G>(word, (from - chunk) * kBits / 32, from, run, sink);
        }
      }
    }
    Vector<float> scale(int g, std::int64_t group) const { return scales_[g][group]; }
    Vector<float> bias(int g, std::int64_t group) const { return biases_[g][group]; }

   private:
    const Weights& weights_;
    const std::int64_t w_;
    std::int64_t ahead_;  // the next row, of those below, to be read ahead
    const std::int64_t ahead_step_;
    Vector<float> scales_[G][kSpan / kLeastGroup];
    Vector<float> biases_[G][Code::kBiased ? kSpan / kLeastGroup : 1];
    Vector<std::uint32_t> words_[G][(kChunk * kBits / 32 + L - 1) / L * L];
  };

  // The same of rows that lie side by side, as they are. Of kTogether codes all columns are read
  // before the next ones, which are read ahead.
  static constexpr std::int64_t kTogether = kBits < 8 ? 128 : 32;
  template <int G>
  class Beside {
   public:
    Beside(const Weights& weights, std::int64_t w) : weights_(weights) {
      for (int g = 0; g < G; ++g)  // in place of one that is missing the last is read
        column_[g] = w + g * L < weights.last_ ? w + g * L : weights.last_;
    }
    template <class Sink>
    [[gnu::always_inline]] void visit(std::int64_t from, std::int64_t to, Sink&& sink) const {
      constexpr std::int64_t kAhead = kTogether * kBits / 32;
      const std::int64_t step = weights_.q_.rows;
      const std::uint32_t* const words = weights_.q_.words + weights_.beside_;
      const auto word = [&](int g, std::int64_t i) __attribute__((always_inline)) {
        const std::uint32_t* const at = words + i * step + column_[g];
        __builtin_prefetch(at + kAhead * step);
        return load(at);
      };
      for (from *= kDepth, to *= kDepth; from < to; from += weights_.run())
        weights_.template decode<G>(word, from * kBits / 32, from, weights_.run(), sink);
    }
    Vector<float> scale(int g, std::int64_t group) const {
      return weights_.scale_beside(group * weights_.q_.rows + column_[g]);
    }
    Vector<float> bias(int g, std::int64_t group) const {
      return weights_.beside_at(weights_.q_.biases, group * weights_.q_.rows + column_[g]);
    }

   private:
    const Weights& weights_;
    std::int64_t column_[G];
  };

 private:
  // Codes that are decoded at a time.
  std::int64_t run() const { return q_.group < 32 ? q_.group : 32; }
  // Calls sink(unit, G vectors of it) for `run` codes from p on, in order, of the words from
  // `first` on; word(g, i) is word i of vector g.
  template <int G, class Word, class Sink>
  [[gnu::always_inline]] void decode(Word&& word, std::int64_t first, std::int64_t p,
                                     std::int64_t run, Sink&& sink) const {
    if constexpr (kForm == Form::quads) {
      constexpr int kUnits = 8 / kBits;
      constexpr std::uint32_t kMask = 0x01010101u * ((1u << kBits) - 1);
      for (std::int64_t n = 0; n < run * kBits / 32; ++n) {
        Vector<std::uint32_t> words[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) words[g] = word(g, first + n);
#pragma GCC unroll 4
        for (int i = 0; i < kUnits; ++i) {
          Vector<Unit> unit[G];
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g)
            unit[g] = kUnits == 1 ? words[g] : words[g] >> (i * kBits) & kMask;
          sink(p / 4 + kUnits * n + i, unit);
        }
      }
    } else if constexpr (kPairs && kLooksUp<Code> && kBits == 4) {
      for (std::int64_t n = 0; n < run / 8; ++n) {
        Vector<std::uint32_t> words[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) words[g] = word(g, first + n);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          Vector<Unit> unit[G];
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) unit[g] = look_up_pair<Code>(words[g], i);
          sink(p / 2 + 4 * n + i, unit);
        }
      }
    } else {
      Vector<std::uint32_t> low[G];
      const auto each = [&](int i, const Vector<std::uint32_t>(&q)[G])
                            __attribute__((always_inline)) {
                              Vector<Unit> unit[G];
#pragma GCC unroll 4
                              for (int g = 0; g < G; ++g) {
                                Vector<float> value;
                                if constexpr (kLooksUp<Code>)
                                  value = look_up<Code>(q[g]);
                                else
                                  value = Code::decode(q[g]);
                                if constexpr (kPairs) {
                                  if (i % 2 == 0)
                                    low[g] = (Vector<std::uint32_t>)value >> 16;
                                  else
                                    unit[g] = low[g] | ((Vector<std::uint32_t>)value & 0xffff0000u);
                                } else {
                                  unit[g] = value;
                                }
                              }
                              if (!kPairs || i % 2 == 1) sink((p + i) / kDepth, unit);
                            };
      if (run == 32)
        unpack<32, G>(word, first, each);
      else
        unpack<16, G>(word, first, each);
    }
  }
  // `count` codes of each lane, in order.
  template <int count, int G, class Word, class Sink>
  [[gnu::always_inline]] static void unpack(Word&& word, std::int64_t first, Sink&& sink) {
    constexpr std::uint32_t mask = kLooksUp<Code> ? ~0u : (1u << kBits) - 1;
    if constexpr (32 % kBits == 0) {
      constexpr int each = 32 / kBits;
#pragma GCC unroll 1
      for (int n = 0; n < count / each; ++n) {
        Vector<std::uint32_t> words[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) words[g] = word(g, first + n);
#pragma GCC unroll 16
        for (int i = 0; i < each; ++i) {
          Vector<std::uint32_t> q[G];
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) q[g] = (words[g] >> (i * kBits)) & mask;
          sink(n * each + i, q);
        }
      }
    } else {
      Vector<std::uint32_t> words[G];
#pragma GCC unroll 32
      for (int i = 0; i < count; ++i) {
        const int n = i * kBits / 32, shift = i * kBits % 32;
        Vector<std::uint32_t> q[G];
#pragma GCC unroll 4
        for (int g = 0; g < G; ++g) {
          if (shift == 0) words[g] = word(g, first + n);
          q[g] = words[g] >> shift;
          if (shift + kBits > 32) {
            words[g] = word(g, first + n + 1);
            q[g] |= words[g] << (32 - shift);
          }
          q[g] &= mask;
        }
        sink(i, q);
      }
    }
  }

  // The words of rows [first, last): what follows is read ahead as it lies in memory.
  void prefetch_words(std::int64_t first, std::int64_t last) const {
    const std::uint32_t* row = q_.words + (first_ + first) * q_.row_words + start_ * kBits / 32;
    for (; first < last; ++first, row += q_.row_words) prefetch_lines(row, numbers_ * kBits / 32);
  }
  template <class T>
  static void prefetch_lines(const T* from, std::int64_t count) {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    for (std::int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i);
  }
  // words[i][l] = word i of row w + l, from code p on, for `codes` of them. There is room for whole
  // vectors of words.
  void gather_words(std::int64_t w, std::int64_t p, std::int64_t codes,
                    Vector<std::uint32_t>* words) const {
    const std::int64_t count = codes * kBits / 32;
    const std::int64_t lanes = width_ - w < L ? width_ - w : L;
    const std::uint32_t* const from = q_.words + (first_ + w) * q_.row_words + p * kBits / 32;
    for (std::int64_t i = 0; i < count; i += L) {
      Vector<std::uint32_t> block[L];
      const std::uint32_t* const last = from + (L - 1) * q_.row_words + i;
      if (lanes == L && (i + L <= count || last + L <= q_.end))
#pragma GCC unroll 16
        for (std::int64_t l = 0; l < L; ++l) block[l] = load(from + l * q_.row_words + i);
      else
        for (std::int64_t l = 0; l < L; ++l) {
          block[l] = Vector<std::uint32_t>{};
          for (std::int64_t j = 0; l < lanes && j < L && i + j < count; ++j)
            block[l][j] = from[l * q_.row_words + i + j];
        }
      transpose<std::uint32_t>(block);
#pragma GCC unroll 16
      for (std::int64_t l = 0; l < L; ++l) words[i + l] = block[l];
    }
  }

  void prefetch_scales(std::int64_t w, std::int64_t rows) const {
    const auto size = static_cast<std::int64_t>(size_of(q_.scale_type));
    const std::int64_t at = ((first_ + w) * q_.row_groups + start_ / q_.group) * size;
    for (const void* values : {q_.scales, Code::kBiased ? q_.biases : nullptr}) {
      if (!values) continue;
      const auto* row = static_cast<const std::byte*>(values) + at;
      for (std::int64_t l = 0; l < rows; ++l, row += q_.row_groups * size)
        prefetch_lines(row, groups() * size);
    }
  }
  // to[g][l] = the value of the strip's group g in row w + l.
  template <class R>
  void gather_with(const void* values, std::int64_t w, Vector<float>* to) const {
    const auto* const x = static_cast<const typename R::Element*>(values);
    const Strip strip{x + first_ * q_.row_groups + start_ / q_.group, q_.row_groups, 1, width_,
                      groups()};
    const Source<R> source(strip);
    const auto put = [&](std::int64_t g, const Vector<float>(&v)[1]) { to[g] = v[0]; };
    typename Source<R>::template Columns<1> columns(source, w);
    // Of many that are left over some are read again.
    const std::int64_t count = groups(), left = count % L;
    const bool again = count > L && left > 4;
    columns.visit(0, again ? count - left : count, put);
    if (again) columns.visit(count - L, count, put);
  }
  void gather(const void* values, std::int64_t w, Vector<float>* to) const {
    switch (q_.scale_type) {
      case Dtype::float16: return gather_with<Widened<float16_t>>(values, w, to);
      case Dtype::bfloat16: return gather_with<Widened<bfloat16_t>>(values, w, to);
      default: return gather_with<Plain<float>>(values, w, to);
    }
  }
  void gather_scales(std::int64_t w, Vector<float>* to) const {
    if constexpr (Code::kBiased) {
      gather(q_.scales, w, to);
    } else if (q_.group == 16) {
      gather_with<ScaleCode<FloatCode<8, 3>>>(q_.scales, w, to);
      for (std::int64_t g = 0; g < groups(); ++g) to[g] = q_.factor * to[g];
    } else {
      gather_with<ScaleCode<PowerCode>>(q_.scales, w, to);
    }
  }

  // Of rows that lie side by side: values of those from an index of `scales_beside_` on.
  Vector<float> beside_at(const void* values, std::int64_t i) const {
    i += scales_beside_;
    switch (q_.scale_type) {
      case Dtype::float16:
        return Widened<float16_t>::along(static_cast<const float16_t*>(values) + i);
      case Dtype::bfloat16:
        return Widened<bfloat16_t>::along(static_cast<const bfloat16_t*>(values) + i);
      default: return load(static_cast<const float*>(values) + i);
    }
  }
  Vector<float> scale_beside(std::int64_t i) const {
    if constexpr (Code::kBiased) return beside_at(q_.scales, i);
    const auto* const codes = static_cast<const std::uint8_t*>(q_.scales) + scales_beside_ + i;
    if (q_.group == 16) return q_.factor * ScaleCode<FloatCode<8, 3>>::along(codes);
    return ScaleCode<PowerCode>::along(codes);
  }

  const QuantizedWeights& q_;
  const std::int64_t width_, first_, start_, numbers_;
  const std::int64_t last_, beside_, scales_beside_;  // of rows that lie side by side

 public:
  const std::int64_t depth;  // in units
};

// The same of weights packed along the width: unit (p, w) is element w of row p.
template <class Code>
class WeightRows {
 public:
  using Unit = float;
  static constexpr int kBits = Code::kBits;
  static constexpr std::int64_t L = kVectorLanes<float>, kDepth = 1;
  static constexpr Reads kReads = Reads::rows;

  explicit WeightRows(const Strip& s)
      : q_(*static_cast<const QuantizedWeights*>(s.data)),
        width_(s.width),
        first_(s.first_width),
        start_(s.offset + s.first_depth),
        depth(s.depth) {}

  void prefetch(std::int64_t, std::int64_t) const {}
  // Vectors do not straddle groups.
  Vector<float> row(std::int64_t p, std::int64_t w) const {
    if (w >= width_) return Vector<float>{};
    const std::int64_t at = first_ + w, r = start_ + p;
    const std::uint32_t* const words = q_.words + r * q_.row_words;
    Vector<std::uint32_t> q{};
    for (std::int64_t l = 0; l < L && w + l < width_; ++l) {
      const std::int64_t bit = (at + l) * kBits, word = bit / 32, shift = bit % 32;
      std::uint32_t code = words[word] >> shift;
      if (shift + kBits > 32) code |= words[word + 1] << (32 - shift);
      q[l] = code & ((1u << kBits) - 1);
    }
    const std::int64_t group = r * q_.row_groups + at / q_.group;
    const Vector<float> value = scale(group) * Code::decode(q);
    if constexpr (Code::kBiased) return value + number(q_.biases, group);
    return value;
  }

 private:
  float number(const void* values, std::int64_t i) const {
    switch (q_.scale_type) {
      case Dtype::float16: return widen(static_cast<const float16_t*>(values)[i]);
      case Dtype::bfloat16: return widen(static_cast<const bfloat16_t*>(values)[i]);
      default: return static_cast<const float*>(values)[i];
    }
  }
  float scale(std::int64_t group) const {
    if constexpr (Code::kBiased) return number(q_.scales, group);
    const auto* const code = static_cast<const std::uint8_t*>(q_.scales) + group;
    if (q_.group == 16) return q_.factor * ScaleCode<FloatCode<8, 3>>::one(code, 0, true);
    return ScaleCode<PowerCode>::one(code, 0, true);
  }

  const QuantizedWeights& q_;
  const std::int64_t width_, first_, start_;

 public:
  const std::int64_t depth;
};

}  // namespace cermet::cpu::CERMET_ISA
