// Quantized weights as pairs of bfloat16 or as bytes: codes are multiplied exactly, groups scaled
// in float32.
#include "cpu/products/quads.h"

namespace cermet::cpu::CERMET_ISA {

void fill_scaled(ProductKernels& table) {
  table.bf16_scaled = scaled_kernel<Dot>();
  table.quads = {kQuadRows, kTileVectors * kVectorLanes<float>, QuadDot::kNumbers, multiply_quads,
                 kSlices};
  table.rows[static_cast<int>(Packing::quads)] = copy_rows;
  table.split_groups[static_cast<int>(Packing::f32)] = split_groups<Plain<float>>;
  table.split_groups[static_cast<int>(Packing::f16)] = split_groups<Widened<float16_t>>;
  table.split_groups[static_cast<int>(Packing::bf16)] = split_groups<Widened<bfloat16_t>>;
  for_each_format([&]<class Code>(WeightFormat format, Code*) {
    const auto at = static_cast<int>(packing_of(Packing::weight_pairs, format));
    table.panels[at] = pack_scaled<Weights<Code, Form::pairs>, Code::kBiased>;
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[at] = stream_scaled<Dot, Weights<Code, Form::pairs>, Code::kBiased>;
    if constexpr (Code::kBiased && 8 % Code::kBits == 0) {
      const auto quads = static_cast<int>(packing_of(Packing::weight_quads, format));
      table.panels[quads] = pack_scaled<Weights<Code, Form::quads>, true>;
      table.stream[quads] = stream_quads<Weights<Code, Form::quads>>;
    }
  });
}

}  // namespace cermet::cpu::CERMET_ISA
