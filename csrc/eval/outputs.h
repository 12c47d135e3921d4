// Memory for the outputs of a program: an input's that dies with it, or fresh.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "cermet/memory.h"
#include "eval/program.h"

namespace cermet {

// Whether a backend can write an output over an input that has the same layout.
using MayOverwrite = bool (*)(const Program& program, std::size_t input,
                              const ProgramOutput& output);

// Sets buffer, strides and offset of the outputs' nodes. `donatable` says which inputs' buffers an
// output may take over. True if one did.
bool place_outputs(const Program& program, std::vector<bool> donatable, MayOverwrite may_overwrite,
                   const std::function<Ref<Buffer>(std::size_t)>& allocate);

}  // namespace cermet
