// Elementwise operations as micro-operations.
#pragma once

#include "cermet/elementwise.h"
#include "cpu/machine/micro.h"

namespace cermet::cpu::machine {

// Appends an operation that computes in `compute` on the values `in`, and gives its value; or
// kNoValue, where it can only be called. Values of float16 and bfloat16 are float32.
std::int32_t record(Trace& trace, Op op, Dtype compute, const std::int32_t* in);
// The same of a conversion.
std::int32_t record_cast(Trace& trace, Dtype from, Dtype to, std::int32_t in);
// The float32 of a float16 or bfloat16 that is given as an integer.
std::int32_t record_widening(Trace& trace, Dtype half, std::int32_t in);
// Whether values of the type fit the lanes.
bool is_recorded(Dtype dtype);

}  // namespace cermet::cpu::machine
