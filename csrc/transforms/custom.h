// What the node of a function with rules of its own is made of.
#pragma once

#include <optional>

#include "cermet/transforms.h"
#include "graph/primitive.h"

namespace cermet {

struct CustomParts {
  const Function& fun;
  const CustomRules& rules;
  std::size_t primals;  // that many inputs of the node; the others are the outputs
};
// Absent for other primitives.
std::optional<CustomParts> parts_of_custom(const Primitive& primitive);

}  // namespace cermet
