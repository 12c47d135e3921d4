// Row programs: fused elementwise operations, casts, broadcasts and reductions as data.
//
// A program runs over a domain: outer axes, then the axes it reduces, then inner axes. A value of
// it has the extent of the full domain, of a row (what is left without the reduced axes) or of one
// element. Instructions are in single static assignment form and in order. A program knows no
// numbers: extents, strides and the values of constants come with each run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cermet/elementwise.h"
#include "cermet/ops.h"
#include "plan/tape.h"

namespace cermet {

using ValueId = std::uint32_t;
inline constexpr ValueId kNoValue = 0xffffffff;

enum class Extent : std::uint8_t { full, row, scalar };

struct Value {
  enum class From : std::uint8_t { constant, input, instruction };
  Dtype dtype;
  Extent extent;
  From from;
  std::uint32_t index;  // in the program's constants, inputs or instructions
};

struct Instruction {
  Op op = Op::cast;
  ReduceOp reduce = ReduceOp::sum;
  bool is_reduce = false;
  std::uint16_t phase = 0;  // a full value: the pass that computes it. A row value: the first pass
                            // that may use it.
  Dtype compute;            // the inputs' type; Value::dtype is the result's
  ValueId out = kNoValue;
  ValueId in[3] = {kNoValue, kNoValue, kNoValue};
};

// An array that a program reads or writes.
struct ProgramInput {
  ValueId value;
  Slot slot;
  Dtype dtype;
  Extent extent;
  Axes axes;  // the domain's axis for each axis of the array that is not of extent 1
};
struct ProgramOutput {
  ValueId value;
  std::vector<Slot> slots;  // one array, or several that differ in unit axes only
  Axes axes;
  std::vector<std::uint32_t> donors;  // inputs whose memory it may take over
};

struct Program {
  struct Axis {
    Slot slot;  // a node whose shape has the axis, and where
    int axis;
  };
  std::vector<Axis> domain;
  int outer = 0, reduced = 0;  // axes of each group; the rest is inner
  int phases = 1;
  std::vector<Value> values;
  std::vector<std::uint32_t> constants;  // by their numbers on the tape
  std::vector<ProgramInput> inputs;
  // The first inputs are results of products, tiles of which it is given: it is their epilogue.
  std::uint32_t products = 0;
  std::vector<Instruction> instructions;
  std::vector<ProgramOutput> outputs;

  int axes() const { return static_cast<int>(domain.size()); }
  int inner() const { return axes() - outer - reduced; }
};

// The extents of a program's domain, by the nodes of a tape.
Shape domain_of(const Program& program, Node* const* nodes);
// The strides over a domain of an array with this shape and these strides.
Strides over_domain(int domain_axes, const Axes& axes, const Shape& shape, const Strides& strides);

// A reduction is ordered by blocks of so many elements (docs/design.md, "Order of a reduction").
inline constexpr std::int64_t kReductionBlock = 4096;

// The operation that combines two partial results of a reduction.
Op combine_op(ReduceOp r);

}  // namespace cermet
