// Packers and streams of quantized weights.
#include "cpu/products/weights.h"

#include "cpu/products/pack.h"
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {

void fill_weights(ProductKernels& table) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    const auto at = [](Packing first, std::size_t j) {
      return static_cast<std::size_t>(first) + j;
    };
    ((table.panels[at(Packing::weights, i)] = pack_panels<Weights<kWeightBits[i]>>), ...);
    ((table.panels[at(Packing::weight_rows, i)] = pack_panels<WeightRows<kWeightBits[i]>>), ...);
  }(std::make_index_sequence<std::size(kWeightBits)>());
  // The common widths; others go through panels for few rows as well.
  table.stream[static_cast<int>(Packing::weights) + 2] = stream<Fma<float>, Weights<4>>;
  table.stream[static_cast<int>(Packing::weights) + 5] = stream<Fma<float>, Weights<8>>;
}

}  // namespace cermet::cpu::CERMET_ISA
