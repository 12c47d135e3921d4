// The tile interpreter: how a lowered row program runs on the CPU.
#pragma once

#include "cpu/program/lowered.h"

namespace cermet::cpu {

// Runs a program that was lowered for the binding's layout class. With `overwrites`, an output has
// the memory of an input, so that the run is not interrupted.
void run(const Lowered& program, const Binding& binding, bool overwrites);

}  // namespace cermet::cpu
