// Gather and scatter on the GPU. What blocks, tuples and places are: metal/indexing.metal.
#include <algorithm>
#include <cstring>
#include <utility>

#include "graph/check.h"
#include "metal/axes.h"

namespace cermet::metal {
namespace {

bool contains(const Axes& axes, int axis) {
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}

StridedAxes merged_axes(const Shape& shape, const Strides& strides) {
  const Tensor t{{}, 0, uint8, shape, strides};
  const Layout layout = collapse({&t});
  return strided_axes(layout.shape, layout.strides[0]);
}

// From strides in elements to strides in units.
Strides in_units(Strides strides, Dtype dtype, std::int64_t unit) {
  for (auto& stride : strides) stride = stride * static_cast<std::int64_t>(size_of(dtype)) / unit;
  return strides;
}

// Where indices out of range of `a` are reported. It has the layout of IndexFault.
Tensor make_fault(Commands& commands, const Primitive& primitive, const Tensor& a) {
  return commands.check(
      [op = std::string(primitive.name()), shape = a.shape](const std::int64_t* words) {
        IndexFault fault;
        std::memcpy(&fault, words, sizeof fault);
        const auto axis = static_cast<int>(fault.axis);
        return std::make_exception_ptr(index_error(op, fault.index, axis, shape[axis]));
      });
}

// The indices along one axis of `a`, which the places step through by `stride`.
IndexArguments along_axis(const Tensor& indices, const Tensor& a, int axis, std::int64_t stride,
                          bool first) {
  return {.axes = merged_axes(indices.shape, indices.strides),
          .extent = a.shape[axis],
          .stride = stride,
          .axis = static_cast<cermet_uint>(axis),
          .first = first};
}

// The places that all tuples of indices name: the sums of index * stride over the axes.
Tensor locate(Commands& commands, const Primitive& primitive, const Tensor& a, const Axes& axes,
              std::span<const Tensor> indices, const Strides& strides, const std::string& index) {
  const std::int64_t tuples = indices[0].size();
  const Tensor places = commands.temporary({tuples}, index == "int" ? int32 : int64);
  const Tensor fault = make_fault(commands, primitive, a);
  const Size grid{block_grid(primitive.name(), 1, tuples).y};
  for (std::size_t k = 0; k < axes.size(); ++k) {
    const IndexArguments arguments = along_axis(indices[k], a, axes[k], strides[k], k == 0);
    commands.threads(
        kernel("indexing", "locate", {type_name(indices[k].dtype), index}),
        {in(indices[k]), k == 0 ? out(places) : in_out(places), in_out(fault), value(arguments)},
        grid, group_for(grid));
  }
  return places;
}

// The type of indices for these tensors, of which the result and the first input are counted in
// units.
std::string index_for_all(std::int64_t unit, std::span<const Tensor> inputs, const Tensor& out) {
  std::string index = index_for(unit, {&out, &inputs[0]});
  for (const Tensor& t : inputs.subspan(1))
    if (index == "int") index = index_type({&t});
  return index;
}

// The 32-bit words that hold the result, since atomic operations know no smaller ones, and which
// element of them is its first.
std::pair<Tensor, std::int64_t> containing_words(const Tensor& out) {
  const std::size_t before = out.address() % 4;
  const auto words = static_cast<std::int64_t>((before + out.nbytes() + 3) / 4);
  return {{out.buffer, out.offset - before, uint32, {words}, {1}},
          static_cast<std::int64_t>(before / size_of(out.dtype))};
}

}  // namespace

void gather(Commands& commands, const Gather& primitive, std::span<const Tensor> inputs,
            const Tensor& out) {
  if (out.size() == 0) return;
  const Tensor& a = inputs[0];
  const Axes& axes = primitive.axes;
  const auto indices = inputs.subspan(1);
  const auto leading = static_cast<int>(indices[0].shape.size());
  const Strides steps = select_axes(a, [&](int i) { return contains(axes, i); }).strides;
  const Walk block = in_words(select_axes(a, [&](int i) { return !contains(axes, i); }),
                              select_axes(out, [&](int i) { return i >= leading; }), steps);
  const Strides strides = in_units(steps, a.dtype, block.unit);
  const std::string word = word_name(block.unit), index = index_for_all(block.unit, inputs, out);
  const GatherArguments arguments{strided_axes(block.shape, block.from), block.size()};
  const Size grid = block_grid(primitive.name(), block.size(), indices[0].size());
  if (axes.size() > 1) {
    const Tensor places = locate(commands, primitive, a, axes, indices, strides, index);
    return commands.threads(kernel("indexing", "gather_blocks", {word, index}),
                            {in(a), metal::out(out), in(places), value(arguments)}, grid,
                            group_for(grid));
  }
  const IndexArguments along = along_axis(indices[0], a, axes[0], strides[0], true);
  const Tensor fault = make_fault(commands, primitive, a);
  commands.threads(
      kernel("indexing", "take_blocks", {word, type_name(indices[0].dtype), index}),
      {in(a), metal::out(out), in(indices[0]), in_out(fault), value(arguments), value(along)}, grid,
      group_for(grid));
}

bool scatter_supported(Dtype dtype, Update mode) {
  // Wider atomic operations are made of two, which only a sum allows.
  return mode == Update::set || mode == Update::add || size_of(dtype) <= 4;
}

void scatter(Commands& commands, const Scatter& primitive, std::span<const Tensor> inputs,
             const Tensor& out) {
  const Tensor& updates = inputs[1];
  const Axes& axes = primitive.axes;
  const auto indices = inputs.subspan(2);
  copy(commands, inputs[0], out);
  if (updates.size() == 0) return;

  const auto leading = static_cast<int>(indices[0].shape.size());
  const Tensor named = select_axes(out, [&](int i) { return contains(axes, i); });
  const Tensor tuples = select_axes(updates, [&](int i) { return i < leading; });
  const Tensor from_block = select_axes(updates, [&](int i) { return i >= leading; });
  const Tensor to_block = select_axes(out, [&](int i) { return !contains(axes, i); });
  Strides steps = named.strides;
  for (auto stride : tuples.strides) steps.push_back(stride);
  const bool set = primitive.mode == Update::set;
  const Walk block =
      set ? in_words(from_block, to_block, steps) : in_elements(from_block, to_block);

  const auto [target, origin] = containing_words(out);
  std::string index = index_for_all(block.unit, inputs.subspan(1), out);
  if (index == "int") index = index_type({&target});
  const Tensor places =
      locate(commands, primitive, out, axes, indices, row_major(named.shape), index);
  const ScatterArguments arguments{
      .tuples = merged_axes(tuples.shape, in_units(tuples.strides, out.dtype, block.unit)),
      .from_block = strided_axes(block.shape, block.from),
      .places = merged_axes(named.shape, in_units(named.strides, out.dtype, block.unit)),
      .to_block = strided_axes(block.shape, block.to),
      .size = block.size(),
      .origin = set ? 0 : origin};
  const Size grid = block_grid(primitive.name(), block.size(), tuples.size()), each{grid.y};
  if (!set) {
    const Combination combination = combination_of(out.dtype, primitive.mode);
    return commands.threads(
        kernel("indexing", "scatter_combine", {combination.type, combination.name, index}),
        {in(updates), in_out(target), in(places), value(arguments)}, grid, group_for(grid));
  }
  const Tensor winners = commands.temporary({named.size()}, uint32);
  arange(commands, Arange(0, 0), winners);  // zeros
  commands.threads(kernel("indexing", "elect", {index}), {in(places), in_out(winners)}, each,
                   group_for(each));
  commands.threads(kernel("indexing", "scatter_set", {word_name(block.unit), index}),
                   {in(updates), in_out(out), in(places), in(winners), value(arguments)}, grid,
                   group_for(grid));
}

}  // namespace cermet::metal
