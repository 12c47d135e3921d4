// Packers and streams of quantized weights as floats.
#include "cpu/products/weights.h"

#include "cpu/products/pack.h"
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {

void fill_weights(ProductKernels& table) {
  const auto set = [&]<class Code>(WeightFormat format, Code*) {
    table.panels[static_cast<int>(packing_of(Packing::weights, format))] =
        pack_panels<Weights<Code, false>>;
    table.panels[static_cast<int>(packing_of(Packing::weight_rows, format))] =
        pack_panels<WeightRows<Code>>;
    // The common widths; others go through panels for few rows as well.
    if constexpr (Code::kBits == 4 || (Code::kBits == 8 && Code::kBiased))
      table.stream[static_cast<int>(packing_of(Packing::weights, format))] =
          stream<Fma<float>, Weights<Code, false>>;
  };
  set(WeightFormat::i2, static_cast<IntegerCode<2>*>(nullptr));
  set(WeightFormat::i3, static_cast<IntegerCode<3>*>(nullptr));
  set(WeightFormat::i4, static_cast<IntegerCode<4>*>(nullptr));
  set(WeightFormat::i5, static_cast<IntegerCode<5>*>(nullptr));
  set(WeightFormat::i6, static_cast<IntegerCode<6>*>(nullptr));
  set(WeightFormat::i8, static_cast<IntegerCode<8>*>(nullptr));
  set(WeightFormat::e2m1, static_cast<FloatCode<4, 1>*>(nullptr));
  set(WeightFormat::e4m3, static_cast<FloatCode<8, 3>*>(nullptr));
}

}  // namespace cermet::cpu::CERMET_ISA
