// Quantized weights as pairs of bfloat16: codes are multiplied exactly, groups scaled in float32.
#include "cpu/products/dot.h"
#include "cpu/products/scaled.h"

namespace cermet::cpu::CERMET_ISA {

namespace {

void sum_groups(const bfloat16_t* x, std::int64_t group, std::int64_t groups, float* sums) {
  for (std::int64_t g = 0; g < groups; ++g, x += group) {
    float sum = 0;
    for (std::int64_t i = 0; i < group; ++i) sum += widen(x[i]);
    sums[g] = sum;
  }
}

}  // namespace

void fill_scaled(ProductKernels& table) {
  table.sum_groups = sum_groups;
  table.bf16_scaled = {kTileRows, kTileVectors * kVectorLanes<float>, 2, &multiply_scaled<Dot>};
  for_each_format([&]<class Code>(WeightFormat format, Code*) {
    const auto at = static_cast<int>(packing_of(Packing::weight_pairs, format));
    table.panels[at] = pack_scaled<Weights<Code, true>, Code::kBiased>;
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[at] = stream_scaled<Dot, Weights<Code, true>, Code::kBiased>;
  });
}

}  // namespace cermet::cpu::CERMET_ISA
