// How a row program is laid out on the GPU: which thread computes what, and over which axes.
//
//   flat     nothing is reduced: one thread an element.
//   solo     up to 16 elements are reduced: one thread a row.
//   simd     rows adjacent in their last axis: one simdgroup a row, if they are short.
//   group    longer rows: one threadgroup a row. It shares a block, or each simdgroup has its own.
//   columns  an axis before the last is reduced: 8 slices of 32 columns a threadgroup.
// Values that several passes need stay in registers where the rows are short enough. Few long rows
// are reduced in chunks to partial results, which a second kernel reduces. All reduce in the same
// order (reduce.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/backend.h"
#include "metal/program.h"

namespace cermet::metal {

enum class Geometry : std::uint8_t { flat, solo, simd, group, columns };
// Chunks are reduced to partial results, and these to the rows' values.
enum class Stage : std::uint8_t { whole, partial, final };

inline constexpr std::uint32_t kGridWidth = 1u << 30;  // of a grid too large for one axis

struct Port {
  std::string name;
  Dtype dtype;
  Extent extent;
  Strides strides;  // over the domain's axes
  bool output = false;
  ProgramKernel::From from = ProgramKernel::From::input;
  std::size_t index = 0;  // of the program's input, output or reduction
};

// An axis of the domain, or several merged, with each port's stride.
struct Axis {
  std::int64_t extent;
  std::vector<std::int64_t> strides;
};
using AxisList = std::vector<Axis>;

// A stride as far as a kernel's text depends on it.
enum class Step : std::uint8_t { none, one, length, any };

// What a kernel's text depends on besides the program's structure.
struct Form {
  Geometry geometry = Geometry::flat;
  Stage stage = Stage::whole;
  bool chunked = false;
  bool blocks = false;  // a row, or a chunk of one, has several
  bool long_index = false;
  int lanes = 1;                           // threads along the reduced axes
  int elements = 0;                        // of a row that a thread keeps in registers; 0: none
  std::vector<std::vector<Step>> axes[3];  // by AxisGroup, axis and port
  bool operator==(const Form&) const = default;
};

// What differs from launch to launch.
struct Numbers {
  std::int64_t size, rows, columns, length, chunks = 1;
  std::int64_t chunk_blocks = 0;  // blocks of a row's chunk
  AxisList axes[3];               // by AxisGroup
};

struct Launch {
  std::vector<Port> ports;
  Form form;
  Numbers numbers;
  Size grid, group;
};
Launch launch_of(const ProgramRun& run, Stage stage);

// In how many chunks each row is reduced; 1: whole. The planner sees to it that nothing after the
// reductions is full where there are chunks.
std::int64_t chunks_of(const ProgramRun& run);

// Sums of 16-bit numbers are accumulated in float32.
Dtype accumulator(const Program& program, const Instruction& instruction);

}  // namespace cermet::metal
