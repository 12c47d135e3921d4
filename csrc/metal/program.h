// Row programs on the GPU: Metal source generated from a program, and its launch.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/program.h"
#include "metal/backend.h"

namespace cermet::metal {

// The kernels a program becomes: one, or two where few long rows are reduced in chunks.
struct ProgramKernel {
  enum class From : std::uint8_t { input, output, partial };
  std::string name;
  std::string text;  // a kernel for Metal; "types.h", "ops.h" and "reduce.h" go before it
  std::vector<std::pair<From, std::size_t>> buffers;  // what each slot binds, by its index
  std::vector<std::byte> arguments;                   // its Arguments struct, the last buffer
  bool groups = false;                                // `grid` counts threadgroups, not threads
  Size grid, group;
};
std::vector<ProgramKernel> generate(const Program& program);

// The kernel of a text, compiled at its first use.
const Kernel& kernel(const ProgramKernel& program);

// Whether the GPU can run it: its types, and the number of its buffers.
bool supports(const Program& program);

// Encodes a program whose inputs have been encoded or evaluated, and gives its outputs memory. An
// input that may be overwritten by an output is marked in `donatable`.
void run(Commands& commands, const Program& program, const std::vector<bool>& donatable);

}  // namespace cermet::metal
