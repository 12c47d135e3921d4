// Packers and streams of quantized weights as floats.
#include "cpu/products/weights.h"

#include "cpu/products/pack.h"
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {

void fill_weights(ProductKernels& table) {
  for_each_format([&]<class Code>(WeightFormat format, Code*) {
    table.panels[static_cast<int>(packing_of(Packing::weights, format))] =
        pack_panels<Weights<Code, false>>;
    table.panels[static_cast<int>(packing_of(Packing::weight_rows, format))] =
        pack_panels<WeightRows<Code>>;
    // The common widths; others go through panels for few rows as well.
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[static_cast<int>(packing_of(Packing::weights, format))] =
          stream<Fma<float>, Weights<Code, false>>;
  });
}

}  // namespace cermet::cpu::CERMET_ISA
