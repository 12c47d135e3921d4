// Reductions over an axis before the last, of what is computed, as code for each pass.
#pragma once

#include <memory>
#include <vector>

#include "cpu/machine/code.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {

// Adds steps that are kLanes apart to the lane that they belong to, for all columns of a unit.
struct ColumnCode {
  static constexpr std::uint32_t kSteps = 8;  // at once, where there are as many for each lane
  static constexpr std::int64_t kWide = 64;   // columns from which on one step is worth a call
  // What a pointer of the function's table is: to a step's elements in a port, or in scratch
  // memory; to a value of each column, or of all; to a reduction's lane.
  struct Place {
    enum class Kind : std::uint8_t { port, scratch, value, result } kind;
    std::uint32_t index;  // of the port, slot, value, or reduction of the pass
    std::uint32_t step;
    std::uint32_t size;  // of an element in memory
    bool operator==(const Place&) const = default;
  };
  std::uint32_t steps;
  std::vector<Place> places;
  std::vector<std::uint32_t> nothing;  // what each reduction begins with
  std::shared_ptr<const machine::Code> code;
};

// Of a pass before its calls are code. Null where a call or a type cannot become code.
std::shared_ptr<const ColumnCode> compile_columns(const Lowered& program, const Pass& pass,
                                                  std::uint32_t steps);

}  // namespace cermet::cpu
