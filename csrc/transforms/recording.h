// The graph of a function as a flat list: what compile replays and what is exported.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "cermet/transforms.h"
#include "graph/primitives.h"

namespace cermet {

// A value is numbered by its slot: inputs first, then constants, then steps.
struct Recording {
  using Slot = std::uint32_t;
  struct Step {
    array node;         // a new node differs in its inputs (and shape) only
    std::size_t first;  // of `operands`; as many as the primitive has inputs
    std::size_t count;
  };

  Results inputs;  // shapes and types that it was recorded with
  Arrays constants;
  std::vector<Step> steps;
  std::vector<Slot> operands;
  std::vector<Slot> outputs;
  bool tied = true;  // holds for inputs of its own shapes only

  std::size_t before_steps() const { return inputs.size() + constants.size(); }
  std::span<const Slot> operands_of(const Step& step) const {
    return std::span(operands).subspan(step.first, step.count);
  }
  bool fits(std::span<const array> in) const;
  // The value of each slot, made of new nodes; absent when the shapes do not follow for these
  // inputs.
  std::optional<Arrays> replay(std::span<const array> in) const;
};

// Runs the function on stand-ins for such inputs, for `transform`.
Recording recorded(std::string_view transform, const Function& fun, Results inputs, bool shapeless);

}  // namespace cermet
