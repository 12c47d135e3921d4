// The inner loop of searchsorted.
#pragma once

#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

// out[i] = how many of the n sorted elements are before values[i], or are equal to it with `right`,
// for i < m. A nan is behind everything.
using SearchLoop = void (*)(const void* sorted, std::int64_t n, const void* values,
                            std::uint32_t* out, std::int64_t m, bool right);

// Null for complex numbers.
CERMET_EACH_ISA(SearchLoop search_loop(Dtype t);)

}  // namespace cermet::cpu
