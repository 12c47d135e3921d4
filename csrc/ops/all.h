// The arithmetic of the elementwise operations: one text for every backend.
//
// A reader opens a namespace, puts its own meaning of these names before this file and includes it:
// the C++ compiler once for each instruction set (ops/cpp.h), Metal (metal/ops.h), and a type that
// records what is done with it (cpu/machine/recorder.h). All of them then give the same bits.
//
//   f32 i32 u32 b32 c64{re, im}       the types; wide<T>: where the integers T wrap, T for others;
//                                     width<T>, lowest_of<T>(), highest_of<T>() of integers
//   select(c, a, b)                   a where c, else b
//   fma abs copysign sqrt floor ceil trunc rint       of f32, each exact or rounded once
//   bits(f32) -> i32, from_bits(i32) -> f32, f32(i32), i32(f32)
//   CONSTANT float k = ...; TABLE(k, ...): floats that an i32 indexes; kInf, kNan
//   RARE_1(f, T, g), RARE_2(f, T, g)  f is f_usual, but g for arguments of which f_rare holds
//
// The text has no ?:, &&, ||, if, loop, double, or return but the last; conditions are b32,
// combined by &, |, ^ and !. What a select does not choose is computed all the same and must be
// defined: clamp before a cast, an index, a shift. A difference of two products is an explicit fma:
// GCC contracts it otherwise, whatever the flag. rare.h and calls.h alone are free of these rules;
// a recorder does not read them.
//
// An elementwise operation is the function of its name, for complex numbers an overload of c64. The
// polynomials are minimax fits (Remez) made for these files; error bounds stand in
// tests/error_bounds.def.
// clang-format off
#include "ops/arithmetic.h"
#include "ops/cast.h"
#include "ops/keys.h"
#include "ops/threefry.h"
#include "ops/base.h"
#include "ops/exp_log.h"
#include "ops/trig.h"
#include "ops/erf.h"
#include "ops/power.h"
#include "ops/complex.h"
// clang-format on
