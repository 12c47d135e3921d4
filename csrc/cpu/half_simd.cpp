// Conversion of half-precision arrays.
#include "cpu/half.h"

#include "cpu/convert.h"

namespace cermet::cpu::CERMET_ISA {

void to_floats(const float16_t* src, float* dst, std::int64_t n) { widen(src, dst, n); }
void to_floats(const bfloat16_t* src, float* dst, std::int64_t n) { widen(src, dst, n); }
void from_floats(const float* src, float16_t* dst, std::int64_t n) { narrow(src, dst, n); }
void from_floats(const float* src, bfloat16_t* dst, std::int64_t n) { narrow(src, dst, n); }

}  // namespace cermet::cpu::CERMET_ISA
