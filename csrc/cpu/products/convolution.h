// What the CPU's convolutions have in common.
#pragma once

#include <vector>

#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/products/windows.h"

namespace cermet::cpu {

// The weight of a convolution as its product reads it, which may be that of another direction.
// Strides are in elements.
struct Kernel {
  const std::byte* data;
  std::int64_t group, out, channel;
  std::array<std::int64_t, 3> extents, taps;
  bool flip;

  // Of tap t of a phase along an axis.
  std::int64_t place(std::size_t axis, const Phase& p, std::int64_t t) const {
    const std::int64_t k = p.first_tap + t * p.tap_stride;
    return (flip ? extents[axis] - 1 - k : k) * taps[axis];
  }
};

// A convolution of x (n, *spatial, groups * channels) to out (n, *out, groups * outs).
struct Problem {
  Tensor x;
  Kernel kernel;
  Tensor out;
  std::vector<Along> axes;
  std::array<std::int64_t, 3> space;  // extents of out
  std::int64_t groups, channels, outs;
};

// How elements of a type are read where vectors are not products' units.
Packing vector_packing(Dtype t);
// x, with channels that lie side by side.
Tensor with_channels(const Tensor& x, std::optional<Scratch>& holder);
// Of images and three axes of space.
std::array<std::int64_t, 4> strides_of(const Tensor& x);

// How products of windows are computed in a type.
struct Method {
  Packing packing;
  const BlockKernel* kernel;
  void (*multiply)(const RowBlock&);
  void (*round)(const RowBlock&);  // where whole sums are stored in the type, or null
  void (*multiply_few)(const RowBlock&);
  bool in_place;  // elements are units, or pairs of them
};
Method method_of(Dtype type);

// The gradient of the weight of a convolution from x to g, both with channels side by side. Where
// `swapped` it goes from g to x, and so has the weight its axes.
struct WeightProblem {
  Tensor x, g, out;
  std::vector<Along> axes;
  std::int64_t groups;
  bool flip, swapped;
};
void multiply_by_windows(const WeightProblem& p);

// One channel in and out for each group.
void convolve_channels(const Problem& p);
void channel_weights(const Tensor& x, const Tensor& g, const std::vector<Along>& axes, bool flip,
                     const Tensor& out);

}  // namespace cermet::cpu
