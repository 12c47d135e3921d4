// Row programs on the GPU: Metal source generated from a program (program/), and its launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/program.h"
#include "metal/backend.h"

namespace cermet::metal {

// Where the value of an argument comes from.
enum class AxisGroup : std::uint8_t { outer, reduced, inner };
struct Source {
  enum class What : std::uint8_t {
    constant,  // `index`, its bits shifted by `shift`
    extent,    // of the axis `index` of `group`
    stride,    // of `port` along it
    length,    // the rest are numbers of the geometry
    rows,
    columns,
    chunks,
    chunk_blocks,
    size,
  } what;
  AxisGroup group = AxisGroup::outer;
  std::size_t index = 0, port = 0;
  int shift = 0;
};

// A member of a kernel's argument struct: its value is read from the numbers of a launch.
struct Member {
  std::string type, name;
  std::size_t size;  // in bytes
  Source source;
};

// The kernels a program becomes: one, or two where few long rows are reduced in chunks.
struct ProgramKernel {
  enum class From : std::uint8_t { input, output, partial };
  std::string name;
  std::string text;  // a kernel for Metal; "types.h", "ops.h" and "reduce.h" go before it
  std::vector<std::pair<From, std::size_t>> buffers;  // what each slot binds, by its index
  std::vector<Member> members;                        // of its argument struct, the last buffer
  bool groups = false;                                // its grid counts threadgroups, not threads
};
std::vector<ProgramKernel> generate(const Program& program);

// The kernel of a text, compiled at its first use.
const Kernel& kernel(const ProgramKernel& program);

// Whether an output may have the memory of an input of the same layout: each thread reads only
// where it writes.
bool may_overwrite(const Program& program, std::size_t input, const ProgramOutput& output);

// A node's value.
Tensor tensor(const Node& node);

// Whether the GPU can run it: its types, and the number of its buffers.
bool supports(const Program& program);

// A program that only scales a matrix product and adds to it: alpha * product + beta * addend.
struct Addmm {
  std::uint32_t addend;  // an input of the program
  float alpha, beta;
  std::uint32_t references;  // to the product
};
std::optional<Addmm> as_addmm(const Program& program, const Node& product);
// Encodes the product and the program in one.
void addmm(Commands& commands, const Program& program, const Addmm& form, const Node& product);

// Encodes a program whose inputs have been encoded or evaluated, and gives its outputs memory. An
// input that may be overwritten by an output is marked in `donatable`.
void run(Commands& commands, const Program& program, const std::vector<bool>& donatable);

}  // namespace cermet::metal
