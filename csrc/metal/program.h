// Row programs on the GPU: Metal source generated from a program (program/), and its launch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "eval/backend.h"
#include "metal/backend.h"

namespace cermet::metal {

// Where the value of an argument comes from.
enum class AxisGroup : std::uint8_t { outer, reduced, inner };
struct Numbers;
struct Source {
  enum class What : std::uint8_t {
    constant,  // `index`, its bits shifted by `shift`
    extent,    // of the axis `index` of `group`
    stride,    // of `port` along it
    number,    // of the geometry
  } what;
  AxisGroup group = AxisGroup::outer;
  std::size_t index = 0, port = 0;
  int shift = 0;
  std::int64_t Numbers::* number = nullptr;
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
  std::string text;  // a kernel for Metal; "types.h" and "reduce.h" go before it
  std::vector<std::pair<From, std::size_t>> buffers;  // what each slot binds, by its index
  std::vector<Member> members;                        // of its argument struct, the last buffer
  bool groups = false;                                // its grid counts threadgroups, not threads
};
std::vector<ProgramKernel> generate(const ProgramRun& run);

// The kernel of a text, compiled at its first use.
Kernel kernel(const ProgramKernel& program);

// A node's value.
Tensor tensor(const Node& node);

// In how many chunks each of few long rows (`outer` x `inner` of `length` elements) is reduced; 1:
// a row at once. A chunk is a run of 1, 2, 4, ... blocks.
std::int64_t reduction_chunks(std::int64_t outer, std::int64_t length, std::int64_t inner);

// Whether the GPU can run it: its types, and the number of its buffers.
bool supports(const ProgramRun& run);
// What its kernels depend on besides the program's structure.
LayoutClass classify(const ProgramRun& run);
// Its kernels, printed once and compiled at their first use.
std::shared_ptr<const cermet::Kernel> prepare(const ProgramRun& run);
void run(Commands& commands, const cermet::Kernel& prepared, const ProgramRun& run);

}  // namespace cermet::metal
