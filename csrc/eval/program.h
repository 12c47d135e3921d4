// Row programs: fused elementwise operations, casts, broadcasts and reductions as data.
//
// A program runs over a domain: outer axes, then the axes it reduces, then inner axes. A value of
// it has the extent of the full domain, of a row (what is left without the reduced axes) or of one
// element. Instructions are in single static assignment form and in order. A backend interprets
// them or generates source from them; the graph's nodes are not needed for that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cermet/array.h"
#include "cermet/elementwise.h"
#include "cermet/ops.h"

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

struct ProgramInput {
  array source;
  Axes axes;  // the domain's axis for each axis of the source that is not of extent 1
  Extent extent;
  std::uint32_t references = 0;  // by the nodes the program stands for
};

struct ProgramOutput {
  ValueId value;
  std::vector<Node*> nodes;  // one array, or several that differ in unit axes only
  Strides strides;           // over the domain's axes
};

struct Program {
  Shape domain;
  int outer = 0, reduced = 0;  // axes of each group; the rest is inner
  int phases = 1;
  std::vector<Value> values;
  std::vector<std::uint64_t> constants;
  std::vector<ProgramInput> inputs;
  std::vector<Instruction> instructions;
  std::vector<ProgramOutput> outputs;

  int inner() const { return static_cast<int>(domain.size()) - outer - reduced; }
  // Elements of the axes [first, first + count).
  std::int64_t extent_of(int first, int count) const {
    std::int64_t n = 1;
    for (int i = first; i < first + count; ++i) n *= domain[i];
    return n;
  }
  std::int64_t outer_size() const { return extent_of(0, outer); }
  std::int64_t reduced_size() const { return extent_of(outer, reduced); }
  std::int64_t inner_size() const { return extent_of(outer + reduced, inner()); }
  std::int64_t size() const { return extent_of(0, static_cast<int>(domain.size())); }
};

// The strides over the domain's axes of an input that lies at `strides`.
Strides domain_strides(const Program& program, const ProgramInput& input, const Strides& strides);

// A reduction is ordered by blocks of so many elements (docs/design.md, "Order of a reduction").
inline constexpr std::int64_t kReductionBlock = 4096;

// In how many chunks a GPU reduces each of few long rows (`outer` x `inner` of `length` elements);
// 1: a row at once. A chunk is a run of 1, 2, 4, ... blocks.
std::int64_t reduction_chunks(std::int64_t outer, std::int64_t length, std::int64_t inner);

// The operation that combines two partial results of a reduction.
Op combine_op(ReduceOp r);
// The instructions as text, a line each.
std::string to_string(const Program& program);

}  // namespace cermet
