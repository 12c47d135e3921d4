// What a Fourier transform of one length needs to know, made once and kept.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "cpu/fft_kernel.h"

namespace cermet::cpu {

// A row of n = first.n * second.n complex numbers is a matrix with second.n columns. Its columns
// are transformed, multiplied by `between` and written as rows; then the columns of these are. So
// both steps go along lanes, through memory that is near. Short rows need one step: second.n is 1.
struct FftPlan {
  std::int64_t n;
  FftColumn first, second;
  FftTwiddles between;
  // Where n has a large prime factor: a convolution (Bluestein 1970) by transforms of this plan,
  // with e^(-i pi k^2 / n) and the transform of its conjugate, as real and imaginary parts.
  std::shared_ptr<const FftPlan> convolution;
  std::vector<float> chirp, spectrum;
  // Whether several rows are transformed at once.
  bool is_short() const { return !convolution && second.n == 1; }
  // Floats of memory for a row on its way, and from one row of the matrix in between to the next.
  std::int64_t workspace() const;
  std::int64_t pitch() const { return first.n + kFftLanes; }

  std::vector<std::vector<float>> tables;  // what the others point to
};

// Asks for a row that is read next, or written: its steps are too short for the processor to see.
template <bool kWritten = false>
inline void ask_for(const float* row, std::int64_t floats) {
  constexpr std::int64_t kLine = 16, kMost = 1 << 13;
  for (std::int64_t i = 0; i < std::min(floats, kMost); i += kLine)
    __builtin_prefetch(row + i, kWritten);
}

// The transforms of rows, on this thread: row r is lane r of both sides.
void transform_rows(const FftPlan& plan, const FftSide& from, const FftSide& to, std::int64_t rows,
                    float scale, float* workspace);

// The two steps of a row whose matrix in between lies in `memory`, for a part of their lanes.
class FftMatrix {
 public:
  FftMatrix(const FftPlan& plan, float* memory);
  void transform_columns(const FftSide& from, std::int64_t begin, std::int64_t end,
                         float* scratch) const;
  // The results are multiplied by `scale`, or by `factors` as they lie in a row.
  void transform_rows(const FftSide& to, std::int64_t begin, std::int64_t end, float scale,
                      float* scratch, const FftTwiddles& factors = {}) const;

 private:
  const FftPlan& plan_;
  const FftSide between_;
};

std::shared_ptr<const FftPlan> fft_plan(std::int64_t n);

// Of rows of 2 n real numbers: the plan of the n pairs, and e^(-i pi k / n) as real and imaginary
// parts.
struct PairsPlan {
  std::shared_ptr<const FftPlan> pairs;
  std::vector<float> roots;
};
std::shared_ptr<const PairsPlan> pairs_plan(std::int64_t n);

}  // namespace cermet::cpu
