// Places in a sorted sequence, on the GPU.
#include <algorithm>
#include <bit>

#include "metal/axes.h"
#include "metal/rows.h"

namespace cermet::metal {

bool search_supported(const Node& composite) {
  return dynamic_cast<const SearchSorted*>(composite.primitive.get()) &&
         !is_complex(composite.inputs[0].dtype());
}

void search_sorted(Commands& commands, bool right, std::span<const Tensor> inputs,
                   const Tensor& out) {
  const Tensor &sorted = inputs[0], &values = inputs[1];
  const Layout layout = collapse({&values});
  const auto n = static_cast<std::uint32_t>(sorted.size());
  const SearchArguments arguments{.values = strided_axes(layout.shape, layout.strides[0]),
                                  .stride = n > 1 ? sorted.strides[0] : 0,
                                  .size = out.size(),
                                  .key = key_arguments(values.dtype),
                                  .n = n,
                                  .first_step = std::bit_floor(n),
                                  .right = right};
  constexpr std::int64_t kWidth = std::int64_t{1} << 30;
  const Size grid{static_cast<std::uint32_t>(std::min(out.size(), kWidth)),
                  static_cast<std::uint32_t>((out.size() + kWidth - 1) / kWidth)};
  commands.threads(
      kernel("search", "searchsorted", {type_name(key_dtype(values.dtype)), index_type({&values})}),
      {in(n ? sorted : values), in(values), metal::out(out), value(arguments)}, grid,
      {std::min(grid.x, 256u)});
}

}  // namespace cermet::metal
