// Sends a primitive to the function that computes it.
#include "cpu/backend.h"

#include <stdexcept>
#include <string>

#include "cpu/floating_mode.h"
#include "cpu/primitives.h"

namespace cermet::cpu {

void run(const Primitive& primitive, std::span<const Tensor> inputs, const Tensor& out) {
  if (out.size() == 0) return;
  const DefaultFloatingMode mode;
  auto as = [&]<class P>(Type<P>) -> const P& { return static_cast<const P&>(primitive); };
  switch (primitive.kind()) {
    case Kind::arange: return arange(as(Type<Arange>{}), out);
    case Kind::contiguous:
      if (out.data != inputs[0].data) copy(inputs[0], out);
      return;
    case Kind::concatenate: return concatenate(as(Type<Concatenate>{}), inputs, out);
    case Kind::gather: return gather(as(Type<Gather>{}), inputs, out);
    case Kind::scatter: return scatter(as(Type<Scatter>{}), inputs, out);
    case Kind::slice_update: return slice_update(as(Type<SliceUpdate>{}), inputs, out);
    case Kind::arg_reduce: return arg_reduce(as(Type<ArgReduce>{}), inputs[0], out);
    case Kind::scan: return scan(as(Type<Scan>{}), inputs[0], out);
    case Kind::sort: return sort(as(Type<Sort>{}), inputs[0], out);
    case Kind::matmul: return matmul(inputs[0], inputs[1], out);
    case Kind::quantized_matmul: return quantized_matmul(as(Type<QuantizedMatmul>{}), inputs, out);
    case Kind::random_bits: return random_bits(inputs[0], out);
    default:
      throw std::logic_error(std::string(primitive.name()) + ": the CPU runs this in another way");
  }
}

}  // namespace cermet::cpu
