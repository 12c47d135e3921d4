// Packers and streams of quantized weights as floats.
#include "cpu/products/pack.h"
#include "cpu/products/scaled.h"

namespace cermet::cpu::CERMET_ISA {

namespace {

template <class R>
void sum_groups(const void* from, std::int64_t group, std::int64_t groups, float* sums,
                std::int64_t parts) {
  constexpr int kParts = 16, L = kVectorLanes<float>, V = kParts / L;
  const auto* x = static_cast<const typename R::Element*>(from);
  for (std::int64_t g = 0; g < groups; ++g) {
    Vector<float> lanes[V] = {};
    for (std::int64_t i = 0; i < group; i += kParts, x += kParts)
      for (int v = 0; v < V; ++v) lanes[v] += R::along(x + v * L);
    float folded[kParts];
    std::memcpy(folded, lanes, sizeof folded);
    for (int half = kParts / 2; half > 0; half /= 2)
      for (int l = 0; l < half; ++l) folded[l] += folded[l + half];
    sums[(g + 1) * parts - 1] = folded[0];
  }
}

}  // namespace

void fill_weights(ProductKernels& table) {
  table.f32_scaled = scaled_kernel<Fma<float>>();
  table.sum_groups[static_cast<int>(Packing::f32)] = sum_groups<Plain<float>>;
  table.sum_groups[static_cast<int>(Packing::f16)] = sum_groups<Widened<float16_t>>;
  table.sum_groups[static_cast<int>(Packing::bf16)] = sum_groups<Widened<bfloat16_t>>;
  for_each_format([&]<class Code>(WeightFormat format, Code*) {
    table.panels[static_cast<int>(packing_of(Packing::weights, format))] =
        pack_scaled<Weights<Code, Form::numbers>, Code::kBiased>;
    table.panels[static_cast<int>(packing_of(Packing::weight_rows, format))] =
        pack_panels<WeightRows<Code>>;
    // The common widths; others go through panels for few rows as well.
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[static_cast<int>(packing_of(Packing::weights, format))] =
          stream_scaled<Fma<float>, Weights<Code, Form::numbers>, Code::kBiased>;
  });
}

}  // namespace cermet::cpu::CERMET_ISA
