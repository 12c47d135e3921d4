// How the windows of a convolution are read: by pointers to where they lie in the input.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "cpu/backend.h"
#include "cpu/products/kernels.h"
#include "graph/convolution.h"

namespace cermet::cpu {

// One spatial axis for outputs that meet the same taps: with elements spread over the input, others
// meet the zeros between. Output i and tap t meet element base + step * i + tap_step * t.
struct Phase {
  std::int64_t first_out, out_step, outs;
  std::int64_t first_tap, tap_stride, taps;
  std::int64_t base, step, tap_step, extent;

  std::int64_t at(std::int64_t out, std::int64_t tap) const {
    return base + step * out + tap_step * tap;
  }
  bool has(std::int64_t i) const { return i >= 0 && i < extent; }
  // The outputs [first, last) which tap t finds inside of the input.
  std::pair<std::int64_t, std::int64_t> inside(std::int64_t tap) const;
};
// Calls f(first output, outputs, first tap, taps) for outputs that meet the same taps of a line.
template <class F>
void by_taps(const Phase& p, F&& f) {
  const auto alone = [&](std::int64_t o) {
    std::int64_t first = 0, last = p.taps;
    while (first < last && !p.has(p.at(o, first))) ++first;
    while (first < last && !p.has(p.at(o, last - 1))) --last;
    f(o, std::int64_t{1}, first, last - first);
  };
  const std::int64_t low = p.tap_step > 0 ? 0 : p.taps - 1, high = p.taps - 1 - low;
  const std::int64_t inside = p.taps ? p.inside(low).first : 0;
  const std::int64_t outside = p.taps ? std::max(inside, p.inside(high).second) : p.outs;
  for (std::int64_t o = 0; o < inside; ++o) alone(o);
  if (inside < outside) f(inside, outside - inside, std::int64_t{0}, p.taps);
  for (std::int64_t o = outside; o < p.outs; ++o) alone(o);
}
std::vector<Phase> phases_of(const Along& axis);
using Phases = std::array<Phase, 3>;
// All combinations, of one to three axes; those that lack have extent 1.
std::vector<Phases> phases_of(const std::vector<Along>& axes);

// Windows of images whose channels lie side by side. A window is cut into runs, of as many numbers
// as lie side by side in memory: a tap's channels, or those of a row of taps.
class Windows {
 public:
  // Of `channels` of x, where a row of taps may be one run if `joins`.
  Windows(const Tensor& x, const Phases& axes, std::int64_t channels, bool joins);

  std::int64_t count() const { return images_ * outs_; }
  std::int64_t run() const { return run_; }                     // in numbers
  bool copies() const { return joined_ && axes_[2].taps > 1; }  // whether it needs scratch
  // Points to[i] at numbers [first, first + count) of a run of window row + i. What is outside of
  // the image is zero: a window that has both is copied to scratch, of `count` elements for each.
  void point(std::int64_t offset, std::int64_t row, std::int64_t rows, std::int64_t run,
             std::int64_t first, std::int64_t count, std::byte* scratch, const void** to) const;

 private:
  const std::byte* const data_;
  const std::int64_t size_;
  const Phases axes_;
  std::int64_t images_, outs_, channels_, run_;
  std::array<std::int64_t, 4> strides_;  // of images and space, in elements
  bool joined_;
};

// c (+)= a b for a panel of b and rows of a that lie anywhere, in segments.
struct RowBlock {
  const void* const* rows;  // of each segment
  std::int64_t row_count, segment_step, segments;
  const std::int64_t* lengths;  // of the segments, in units
  const void* b;
  void* const* c;
  std::int64_t column, columns;
  bool add;
  std::int64_t b_step;  // of few columns: b has these by depth, so far apart
};
inline constexpr std::int64_t kFewColumns = 4;
// Numbers become units, rows to_step units apart.
struct RowCopy {
  const void* const* rows;
  std::int64_t row_count, numbers;
  void* to;
  std::int64_t to_step;
};

// Numbers side by side become columns of a panel of `width`, which has the rows as its depth.
struct ColumnCopy {
  const void* const* rows;
  std::int64_t depth, skipped, columns;  // in numbers; rows has a further one where a unit lacks it
  void* to;
  std::int64_t width;
};

// A line of outputs of a convolution whose channels do not mix. Steps are in elements.
struct ChannelLine {
  const void* const* x;        // what the first output meets of each line of taps
  const void* const* weights;  // of each: one for each channel and tap
  std::int64_t lines, taps, channels;
  std::int64_t x_step, x_tap, weight_tap;
  void* out;
  std::int64_t outs, out_step;
};
// sums[tap][channel] += x g over a line of outputs.
struct ChannelSums {
  const void *x, *g;
  std::int64_t outs, taps, channels;
  std::int64_t x_step, x_tap, g_step;
  void* sums;
  std::int64_t sum_tap;
};

// A line of maxima of windows. Steps are in elements.
struct PoolLine {
  const void* const* x;      // what the first window meets of each line of taps
  const void* const* other;  // the same of what is picked, or of what is spread to
  std::int64_t lines, taps, channels;
  std::int64_t x_step, x_tap, other_step, other_tap;
  void* out;  // the result, or what is spread
  std::int64_t outs, out_step;
  bool pick;
};

struct WindowKernels {
  void (*multiply_f32)(const RowBlock&) = nullptr;
  void (*multiply_f64)(const RowBlock&) = nullptr;
  void (*multiply_pairs)(const RowBlock&) = nullptr;
  void (*round_pairs)(const RowBlock&) = nullptr;  // whole sums, to bfloat16
  // Of few columns, where segments are whole vectors.
  void (*few_f32)(const RowBlock&) = nullptr;
  void (*few_f64)(const RowBlock&) = nullptr;
  void (*few_pairs)(const RowBlock&) = nullptr;
  // By Packing, as far as bf16_pairs.
  void (*copy[static_cast<int>(Packing::bf16_pairs) + 1])(const RowCopy&) = {};
  void (*columns[static_cast<int>(Packing::bf16_pairs) + 1])(const ColumnCopy&) = {};
  void (*line[static_cast<int>(Packing::bf16) + 1])(const ChannelLine&) = {};
  void (*sums[static_cast<int>(Packing::bf16) + 1])(const ChannelSums&) = {};
  void (*pool[static_cast<int>(Packing::bf16) + 1])(const PoolLine&) = {};
  void (*spread[static_cast<int>(Packing::bf16) + 1])(const PoolLine&) = {};
};
const WindowKernels& window_kernels();

CERMET_EACH_ISA(void fill_windows(WindowKernels& table); void fill_channels(WindowKernels& table);
                void fill_pools(WindowKernels& table);)
namespace bf16 {
void fill_windows(WindowKernels& table);
}
namespace amx {
void fill_windows(WindowKernels& table);
}

inline constexpr std::int64_t kMostSegment = 5120;  // bytes
extern const std::byte kZeros[kMostSegment];

}  // namespace cermet::cpu
