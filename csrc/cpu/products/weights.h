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
  static constexpr std::int64_t kChunk = 256, kLeastGroup = 16;

  explicit Weights(const Strip& s)
      : q_(*static_cast<const QuantizedWeights*>(s.data)),
        width_(s.width),
        first_(s.offset + s.first_width),
        start_(s.first_depth),
        depth(s.depth) {}

  static constexpr bool along() { return true; }
  // G vectors of columns together: their sums are chains that do not wait for each other.
  template <int G>
  class Columns {
   public:
    Columns(const Weights& weights, std::int64_t w) : weights_(weights), w_(w) {
      const QuantizedWeights& q = weights.q_;
      const std::int64_t first = weights.start_ / q.group;
      const std::int64_t count = (weights.depth - 1) / q.group + 1;
      for (int g = 0; g < G; ++g) {
        weights.gather(q.scales, w + g * L, first, count, scales_[g]);
        weights.gather(q.biases, w + g * L, first, count, biases_[g]);
      }
    }
    template <class Sink>
    [[gnu::always_inline]] void visit(std::int64_t from, std::int64_t to, Sink&& sink) {
      for (; from < to; from += kChunk) {
        const std::int64_t count = to - from < kChunk ? to - from : kChunk;
        for (int g = 0; g < G; ++g)
          weights_.gather_words(w_ + g * L, weights_.start_ + from, count * kBits / 32, words_[g]);
        for (std::int64_t p = from; p < from + count; p += 32) {
          const std::int64_t group = p / weights_.q_.group;
          const auto unpacked =
              [&](int i, const Vector<std::uint32_t>(&q)[G]) __attribute__((always_inline)) {
                Vector<float> value[G];
#pragma GCC unroll 4
                for (int g = 0; g < G; ++g)
                  value[g] = scales_[g][group] * to_float(q[g]) + biases_[g][group];
                sink(p + i, value);
              };
          unpack((p - from) * kBits / 32, unpacked);
        }
      }
    }

   private:
    // 32 values of each lane, in order.
    template <class Sink>
    [[gnu::always_inline]] void unpack(std::int64_t first, Sink&& sink) const {
      if constexpr (32 % kBits == 0) {
        constexpr int each = 32 / kBits;
#pragma GCC unroll 1
        for (int word = 0; word < kBits; ++word)
#pragma GCC unroll 16
          for (int i = 0; i < each; ++i) {
            Vector<std::uint32_t> q[G];
#pragma GCC unroll 4
            for (int g = 0; g < G; ++g) q[g] = (words_[g][first + word] >> (i * kBits)) & kMask;
            sink(word * each + i, q);
          }
      } else {
#pragma GCC unroll 32
        for (int i = 0; i < 32; ++i) {
          const int word = i * kBits / 32, shift = i * kBits % 32;
          Vector<std::uint32_t> q[G];
#pragma GCC unroll 4
          for (int g = 0; g < G; ++g) {
            q[g] = words_[g][first + word] >> shift;
            if (shift + kBits > 32) q[g] |= words_[g][first + word + 1] << (32 - shift);
            q[g] &= kMask;
          }
          sink(i, q);
        }
      }
    }

    const Weights& weights_;
    const std::int64_t w_;
    Vector<std::uint32_t> words_[G][kChunk * kBits / 32];
    Vector<float> scales_[G][kSpan / kLeastGroup], biases_[G][kSpan / kLeastGroup];
  };

 private:
  static constexpr std::uint32_t kMask = (1u << kBits) - 1;

  static Vector<float> to_float(Vector<std::uint32_t> q) {
    return __builtin_convertvector(reinterpret_cast<const Vector<std::int32_t>&>(q), Vector<float>);
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
    const auto from = [&]<class R>(R*) {
      const auto* const x = static_cast<const typename R::Element*>(values);
      const Strip groups{x + first_ * q_.row_groups + first, q_.row_groups, 1, width_, count};
      const Source<R> source(groups);
      typename Source<R>::template Columns<1>(source, w).visit(
          0, count, [&](std::int64_t g, const Vector<float>(&v)[1]) { to[g] = v[0]; });
    };
    switch (q_.scale_type) {
      case Dtype::float16: return from(static_cast<Widened<float16_t>*>(nullptr));
      case Dtype::bfloat16: return from(static_cast<Widened<bfloat16_t>*>(nullptr));
      default: return from(static_cast<Plain<float>*>(nullptr));
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

  void prefetch(std::int64_t, std::int64_t) const {}
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
