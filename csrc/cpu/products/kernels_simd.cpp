// The kernels of float32 and float64, and of 16-bit floats that are widened.
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {

void fill_kernels(ProductKernels& table) {
  table.f32 = block_kernel<Fma<float>>();
  table.f64 = block_kernel<Fma<double>>();
  const auto set = [&](Packing p, auto stream) { table.stream[static_cast<int>(p)] = stream; };
  set(Packing::f32, stream<Fma<float>, Source<Plain<float>>>);
  set(Packing::f64, stream<Fma<double>, Source<Plain<double>>>);
  set(Packing::f16, stream<Fma<float>, Source<Widened<float16_t>>>);
  set(Packing::bf16, stream<Fma<float>, Source<Widened<bfloat16_t>>>);
}

}  // namespace cermet::cpu::CERMET_ISA
