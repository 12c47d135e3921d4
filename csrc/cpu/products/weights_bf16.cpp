// Quantized weights as pairs of bfloat16: codes are multiplied exactly, groups scaled in float32.
#include "cpu/products/dot.h"
#include "cpu/products/scaled.h"

namespace cermet::cpu::CERMET_ISA {

void fill_scaled(ProductKernels& table) {
  table.bf16_scaled = scaled_kernel<Dot>();
  for_each_format([&]<class Code>(WeightFormat format, Code*) {
    const auto at = static_cast<int>(packing_of(Packing::weight_pairs, format));
    table.panels[at] = pack_scaled<Weights<Code, true>, Code::kBiased>;
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[at] = stream_scaled<Dot, Weights<Code, true>, Code::kBiased>;
  });
}

}  // namespace cermet::cpu::CERMET_ISA
