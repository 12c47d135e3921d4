// The tile interpreter: how a lowered row program runs on the CPU.
#pragma once

#include "cpu/program/lowered.h"

namespace cermet::cpu {

// Runs a program that was lowered for the binding's layout class. With `overwrites`, an output has
// the memory of an input, so that the run is not interrupted.
void run(const Lowered& program, const Binding& binding, bool overwrites);

// Whether an output may have the memory of an input of the same layout: nothing reads the input
// after the output's first tile is written.
bool may_overwrite(const Program& program, std::size_t input, const ProgramOutput& output);

}  // namespace cermet::cpu
