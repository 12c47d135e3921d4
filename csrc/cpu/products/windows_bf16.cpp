// Products of rows of bfloat16 by the instruction that adds the products of pairs.
#include "cpu/products/dot.h"
#include "cpu/products/rows.h"

namespace cermet::cpu::CERMET_ISA {

void fill_windows(WindowKernels& table) {
  table.multiply_pairs = multiply_rows<Dot>;
  table.round_pairs = multiply_rows<Dot, bfloat16_t>;
  table.few_pairs = multiply_few<Dot>;
}

}  // namespace cermet::cpu::CERMET_ISA
