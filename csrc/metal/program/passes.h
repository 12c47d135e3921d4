// What each pass over a row computes.
#pragma once

#include <set>
#include <vector>

#include "plan/program.h"

namespace cermet::metal {

// The full values of a pass, in order: what its reductions and outputs need.
struct Pass {
  std::vector<ValueId> values;
  std::vector<const Instruction*> reductions;
  std::vector<std::size_t> outputs;
};

// With `kept`, what an earlier pass computed is in registers, and is named there; else it is
// computed again.
std::vector<Pass> plan_passes(const Program& program, std::set<ValueId>* kept);

}  // namespace cermet::metal
