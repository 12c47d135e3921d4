// Ranges on the GPU.
#include <cmath>

#include "metal/axes.h"

namespace cermet::metal {

bool arange_supported(const Arange& primitive, Dtype dtype, std::int64_t size) {
  if (!is_inexact(dtype)) return true;
  // The CPU computes in double, which integers equal where all are whole.
  auto whole = [](double x) { return std::trunc(x) == x && !(x == 0 && std::signbit(x)); };
  return whole(primitive.start) && whole(primitive.step) &&
         std::abs(primitive.start) + static_cast<double>(size) * std::abs(primitive.step) <= 0x1p53;
}

void arange(Commands& commands, const Arange& primitive, const Tensor& out) {
  if (out.size() == 0) return;
  const ArangeArguments arguments{primitive.first, primitive.by, out.size()};
  const Size grid = block_grid("arange", out.size(), 1);
  commands.threads(kernel("creation", "arange",
                          {type_name(out.dtype), is_inexact(out.dtype) ? "float" : "long"}),
                   {metal::out(out), value(arguments)}, grid, group_for(grid));
}

}  // namespace cermet::metal
