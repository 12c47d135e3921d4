// Kernels of convolutions: products of rows in place, and what brings numbers into units.
#include "cpu/products/rows.h"

namespace cermet::cpu::CERMET_ISA {

void fill_windows(WindowKernels& table) {
  table.multiply_f32 = multiply_rows<Fma<float>>;
  table.multiply_f64 = multiply_rows<Fma<double>>;
  table.few_f32 = multiply_few<Fma<float>>;
  table.few_f64 = multiply_few<Fma<double>>;
  const auto set = [&]<class R>(Packing p, Type<R>) {
    table.copy[static_cast<int>(p)] = copy_rows<R>;
    table.columns[static_cast<int>(p)] = copy_columns<R>;
  };
  set(Packing::f32, Type<Plain<float>>{});
  set(Packing::f64, Type<Plain<double>>{});
  set(Packing::f16, Type<Widened<float16_t>>{});
  set(Packing::bf16, Type<Widened<bfloat16_t>>{});
  set(Packing::bf16_pairs, Type<Pairs>{});
}

}  // namespace cermet::cpu::CERMET_ISA
