// Random bits on the GPU. The stream's layout: metal/random.metal.
#include "metal/axes.h"

namespace cermet::metal {

void random_bits(Commands& commands, std::span<const Tensor> inputs, const Tensor& out) {
  if (out.size() == 0) return;
  const Tensor& keys = inputs[0];
  const std::int64_t bytes = out.shape.back() * static_cast<std::int64_t>(size_of(out.dtype));
  const std::int64_t streams = out.size() / out.shape.back();
  const std::int64_t words = (bytes - 1) / 4 + 1, blocks = (words - 1) / 2 + 1;
  const std::int64_t bits = 4 | bytes | static_cast<std::int64_t>(out.address());
  const std::int64_t unit = bits & -bits;

  const int last = static_cast<int>(keys.shape.size()) - 1;
  const Tensor first = select_axes(keys, [&](int i) { return i < last; });
  const Layout layout = collapse({&first});
  const RandomArguments arguments{strided_axes(layout.shape, layout.strides[0]), keys.strides[last],
                                  bytes / unit};
  const std::string index = index_for(unit, {&out, &keys});
  const Size grid = block_grid("random_bits", blocks, streams);
  commands.threads(kernel("random", "random_bits", {word_name(unit), index}),
                   {in(keys), metal::out(out), value(arguments)}, grid, group_for(grid));
}

}  // namespace cermet::metal
