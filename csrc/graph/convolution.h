// The geometry of convolutions, which graph and backends share.
#pragma once

#include <string_view>
#include <vector>

#include "cermet/ops.h"

namespace cermet {

// One spatial axis of a convolution.
struct Along {
  std::int64_t extent, kernel, stride, low, high, kernel_dilation, input_dilation;

  std::int64_t dilated() const;
  std::int64_t padded() const;
  std::int64_t span() const;
  std::int64_t out() const { return (padded() - span()) / stride + 1; }
  // That of the convolution of a cotangent with the flipped kernel which is the input's gradient.
  Along gradient() const;
};

// Of an input (n, *spatial, c) and a weight (o, *kernel, c / groups); std::invalid_argument where
// they or the options do not fit.
std::vector<Along> spatial_axes(std::string_view op, const Shape& input, const Shape& weight,
                                const ConvOptions& options);

}  // namespace cermet
