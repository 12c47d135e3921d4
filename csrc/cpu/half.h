// Arrays of half-precision numbers to float and back.
#pragma once

#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

CERMET_EACH_ISA(void to_floats(const float16_t* src, float* dst, std::int64_t n);
                void to_floats(const bfloat16_t* src, float* dst, std::int64_t n);
                void from_floats(const float* src, float16_t* dst, std::int64_t n);
                void from_floats(const float* src, bfloat16_t* dst, std::int64_t n);)

}  // namespace cermet::cpu
