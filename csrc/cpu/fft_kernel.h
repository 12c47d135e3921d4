// The kernels of Fourier transforms, and what they are given.
//
// A column transform goes along one step of memory, the elements, for many places side by side, the
// lanes: a vector holds the same element of several lanes. So the arithmetic of an element does not
// depend on the width of vectors, nor on what is beside it.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace cermet::cpu {

// Where element i of lane l is: at re[i * element + l * lane], and im likewise.
struct FftSide {
  float *re, *im;
  std::int64_t element, lane;

  FftSide at(std::int64_t floats) const { return {re + floats, im + floats, element, lane}; }
  // Real and imaginary parts exchanged, which makes the transform the inverse one.
  FftSide swapped() const { return {im, re, element, lane}; }
};

inline constexpr int kMostRadix = 61;

// One pass of a transform, in the manner of Stockham: n = stride * radix * rest.
struct FftPass {
  int radix;
  std::int64_t stride, rest;
  const float* twiddles;  // for each p < rest those of outputs 1 to radix - 1; re, im
  const float* roots;     // cos and sin of 2 pi i / radix, for odd radices
};
struct FftColumn {
  static constexpr int kMostPasses = 40;
  std::int64_t n;
  int count;
  FftPass passes[kMostPasses];
};

// What element i of lane l is multiplied by in the end: re[i * element + l * lane] and im likewise,
// and where there are `coarse` ones (re, im) by those of [l / kFftLanes][i] with the fine ones of
// lane l % kFftLanes.
inline constexpr std::int64_t kFftLanes = 16;
struct FftTwiddles {
  const float *re = nullptr, *im = nullptr;
  std::int64_t element = 0, lane = 0;
  const float* coarse = nullptr;
};

// Floats of scratch memory that a column transform needs.
constexpr std::int64_t fft_scratch(std::int64_t n) { return 4 * n * kFftLanes; }

struct FftKernels {
  // The transforms of lanes `begin` to `end`.
  void (*columns)(const FftColumn& c, const FftSide& from, const FftSide& to, std::int64_t begin,
                  std::int64_t end, const FftTwiddles& twiddles, float scale, float* scratch);
  // to[i] = from[i] * w[i] * scale for i < n, with w as n real parts and n imaginary ones.
  void (*multiply)(const FftSide& from, const float* w, const FftSide& to, std::int64_t n,
                   float scale);
  // From the transform z of pairs of real numbers that of the 2 n numbers, n + 1 elements; w[i] is
  // the root e^(-i pi i / n), as n real parts and n imaginary ones.
  void (*split_pairs)(const float* re, const float* im, const float* w, float* to, std::int64_t n,
                      float scale);
  // And back: what the inverse transform makes pairs of.
  void (*join_pairs)(const float* from, const float* w, float* re, float* im, std::int64_t n);
};

CERMET_EACH_ISA(const FftKernels& fft_kernels();)

}  // namespace cermet::cpu
