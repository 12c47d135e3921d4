// Quantized weights as the packers read them, for the *_simd.cpp files of products.
#pragma once

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {

// Unit (p, w) is scale * q + bias as dequantize has it, rounded after each: q is element p of row
// w, packed along the depth in a little-endian stream of kBits each.
template <int kBits>
class Weights {
 public:
  using Unit = float;
  static constexpr std::int64_t L = kVectorLanes<float>, kDepth = 1;
  static constexpr Reads kReads = Reads::along;

  explicit Weights(const Strip& s)
      : q_(*static_cast<const QuantizedWeights*>(s.data)),
        width_(s.width),
        first_(s.offset + s.first_width),
        start_(s.first_depth),
        depth(s.depth) {}

  template <class Sink>
  [[gnu::always_inline]] void visit(std::int64_t w, Sink&& sink) const {
    Vector<std::uint32_t> words[kChunk * kBits / 32];
    Vector<float> scales[kChunk / 16], biases[kChunk / 16];
    const std::int64_t group = q_.group;
    for (std::int64_t begin = 0; begin < depth; begin += kChunk) {
      const std::int64_t count = depth - begin < kChunk ? depth - begin : kChunk;
      gather_words(w, start_ + begin, count * kBits / 32, words);
      gather(q_.scales, w, (start_ + begin) / group, (count - 1) / group + 1, scales);
      gather(q_.biases, w, (start_ + begin) / group, (count - 1) / group + 1, biases);
      for (std::int64_t p = 0; p < count; p += 32) {
        const Vector<float> scale = scales[p / group], bias = biases[p / group];
        const Vector<std::uint32_t>* const from = words + p * kBits / 32;
        unpack(from, [&](int i, Vector<std::uint32_t> q) __attribute__((always_inline)) {
          const auto value = __builtin_convertvector(
              reinterpret_cast<const Vector<std::int32_t>&>(q), Vector<float>);
          sink(begin + p + i, scale * value + bias);
        });
      }
    }
  }

 private:
  static constexpr std::int64_t kChunk = 256;
  static constexpr std::uint32_t kMask = (1u << kBits) - 1;

  // 32 values of each lane, in order.
  template <class Sink>
  [[gnu::always_inline]] static void unpack(const Vector<std::uint32_t>* words, Sink&& sink) {
    if constexpr (32 % kBits == 0) {
      constexpr int each = 32 / kBits;
#pragma GCC unroll 1
      for (int word = 0; word < kBits; ++word)
#pragma GCC unroll 16
        for (int i = 0; i < each; ++i) sink(word * each + i, (words[word] >> (i * kBits)) & kMask);
    } else {
#pragma GCC unroll 32
      for (int i = 0; i < 32; ++i) {
        const int word = i * kBits / 32, shift = i * kBits % 32;
        Vector<std::uint32_t> q = words[word] >> shift;
        if (shift + kBits > 32) q |= words[word + 1] << (32 - shift);
        sink(i, q & kMask);
      }
    }
  }

  // words[i][l] = word i of row w + l, from element p on.
  void gather_words(std::int64_t w, std::int64_t p, std::int64_t count,
                    Vector<std::uint32_t>* words) const {
    const std::int64_t lanes = width_ - w < L ? width_ - w : L;
    const std::uint32_t* const from = q_.words + (first_ + w) * q_.row_words + p * kBits / 32;
    for (std::int64_t i = 0; i < count; i += L) {
      Vector<std::uint32_t> block[L];
      for (std::int64_t l = 0; l < L; ++l) {
        const std::uint32_t* const row = from + l * q_.row_words + i;
        if (l >= lanes) {
          block[l] = Vector<std::uint32_t>{};
        } else if (i + L <= count || row + L <= q_.end) {
          block[l] = load(row);
        } else {
          block[l] = Vector<std::uint32_t>{};
          for (std::int64_t j = 0; i + j < count; ++j) block[l][j] = row[j];
        }
      }
      transpose<std::uint32_t>(block);
      for (std::int64_t l = 0; l < L && i + l < count; ++l) words[i + l] = block[l];
    }
  }

  // to[g][l] = the value of group first + g of row w + l.
  void gather(const void* values, std::int64_t w, std::int64_t first, std::int64_t count,
              Vector<float>* to) const {
    const auto from = [&](auto type) {
      using T = decltype(type);
      for (std::int64_t l = 0; l < L; ++l) {
        const std::int64_t row = w + l < width_ ? w + l : width_ - 1;
        const T* const x = static_cast<const T*>(values) + (first_ + row) * q_.row_groups + first;
        for (std::int64_t g = 0; g < count; ++g) {
          if constexpr (std::is_same_v<T, float>)
            to[g][l] = x[g];
          else
            to[g][l] = widen(x[g]);
        }
      }
    };
    switch (q_.scale_type) {
      case Dtype::float16: return from(float16_t{});
      case Dtype::bfloat16: return from(bfloat16_t{});
      default: return from(float{});
    }
  }

  const QuantizedWeights& q_;
  const std::int64_t width_, first_, start_;

 public:
  const std::int64_t depth;
};

// The same of weights packed along the width: unit (p, w) is element w of row p.
template <int kBits>
class WeightRows {
 public:
  using Unit = float;
  static constexpr std::int64_t L = kVectorLanes<float>, kDepth = 1;
  static constexpr Reads kReads = Reads::rows;

  explicit WeightRows(const Strip& s)
      : q_(*static_cast<const QuantizedWeights*>(s.data)),
        width_(s.width),
        first_(s.first_width),
        start_(s.offset + s.first_depth),
        depth(s.depth) {}

  Vector<float> row(std::int64_t p, std::int64_t w) const {
    const std::int64_t at = first_ + w, r = start_ + p;
    const std::int64_t group = r * q_.row_groups + at / q_.group;
    const float scale = number(q_.scales, group), bias = number(q_.biases, group);
    const std::uint32_t* const words = q_.words + r * q_.row_words;
    float values[L] = {};
    for (std::int64_t l = 0; l < L && w + l < width_; ++l) {
      const std::int64_t bit = (at + l) * kBits, word = bit / 32, shift = bit % 32;
      std::uint32_t q = words[word] >> shift;
      if (shift + kBits > 32) q |= words[word + 1] << (32 - shift);
      values[l] = scale * static_cast<float>(q & ((1u << kBits) - 1)) + bias;
    }
    return load(values);
  }

 private:
  float number(const void* values, std::int64_t i) const {
    switch (q_.scale_type) {
      case Dtype::float16: return widen(static_cast<const float16_t*>(values)[i]);
      case Dtype::bfloat16: return widen(static_cast<const bfloat16_t*>(values)[i]);
      default: return static_cast<const float*>(values)[i];
    }
  }

  const QuantizedWeights& q_;
  const std::int64_t width_, first_, start_;

 public:
  const std::int64_t depth;
};

}  // namespace cermet::cpu::CERMET_ISA
