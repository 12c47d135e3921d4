// argmax and argmin on the GPU.
#include <stdexcept>

#include "metal/rows.h"

namespace cermet::metal {

void arg_reduce(Commands& commands, const ArgReduce& primitive, const Tensor& in,
                const Tensor& out) {
  if (out.size() == 0) return;
  if (in.shape[primitive.axis] == 0)
    throw std::invalid_argument(std::string(primitive.name()) + ": axis " +
                                std::to_string(primitive.axis) + " has no elements");
  const auto [from, rows] = rows_of(commands, in, primitive.axis);
  const Kernel& reduce = kernel("arg_reduce", "arg_reduce",
                                {type_name(key_dtype(in.dtype)), index_type({&from, &out})});
  ArgReduceArguments arguments{.in = rows,
                               .key = key_arguments(in.dtype),
                               .max = primitive.max,
                               .candidates = 0,
                               .chunk = 0,
                               .lanes = 0};
  // Each pass leaves a candidate for each chunk, the last one for the row.
  Tensor candidates = out;
  for (std::uint32_t count = arguments.in.n;;) {
    const Division division = divide(arguments.in, count);
    arguments.chunk = division.chunk;
    arguments.lanes = division.lanes;
    const Tensor found =
        division.chunks == 1 ? out : commands.temporary({division.rows, division.chunks}, uint32);
    const Tensor& places = arguments.candidates > 0 ? candidates : from;  // read or not
    commands.threads(reduce,
                     {metal::in(from), metal::in(places), metal::out(found), value(arguments)},
                     division.grid(), division.group());
    if (division.chunks == 1) return;
    candidates = found;
    arguments.candidates = count = division.chunks;
  }
}

}  // namespace cermet::metal
