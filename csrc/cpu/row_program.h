// The tile interpreter: how a row program runs on the CPU.
#pragma once

#include <vector>

#include "eval/program.h"

namespace cermet::cpu {

// Computes the program's outputs: allocates their buffers and sets buffer, strides and offset of
// their nodes. `donatable` says which inputs' buffers an output may take over.
void run(const Program& program, const std::vector<bool>& donatable);

}  // namespace cermet::cpu
