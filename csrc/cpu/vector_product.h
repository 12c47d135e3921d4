// A matrix times a vector, in one order of sums for both layouts of the matrix.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

namespace cermet::cpu {

// y[i] (+)= the sum over p < k of the matrix's (i, p) times x[p], for i < rows. Element p belongs
// to lane p mod 16 (mod 8 of double); a lane adds ascending, then halves fold onto halves.
// `by_rows`: (i, p) is at matrix[i * step + p], else at matrix[p * step + i].
CERMET_EACH_ISA(void vector_product(const float* matrix, std::int64_t step, bool by_rows,
                                    const float* x, float* y, std::int64_t rows, std::int64_t k,
                                    bool accumulate);
                void vector_product(const double* matrix, std::int64_t step, bool by_rows,
                                    const double* x, double* y, std::int64_t rows, std::int64_t k,
                                    bool accumulate);)

}  // namespace cermet::cpu
