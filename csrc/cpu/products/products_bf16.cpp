// The kernels of bfloat16 by the instructions that add the products of pairs.
#include "cpu/products/dot.h"
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {

void fill_dot(ProductKernels& table) {
  table.bf16_pairs = block_kernel<MatrixDot>();
  table.stream[static_cast<int>(Packing::bf16_pairs)] = stream<Dot, Source<Pairs>>;
}

}  // namespace cermet::cpu::CERMET_ISA
