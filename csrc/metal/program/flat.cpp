// Programs that reduce nothing: a thread an element.
#include <algorithm>

#include "metal/program/text.h"

namespace cermet::metal {

void Writer::flat() {
  const auto& steps = axes(AxisGroup::inner);
  Coordinates at;
  if (steps.size() > 1) {
    at = grid();
  } else if (form_.long_index) {
    builtins_ = {"uint2 position [[thread_position_in_grid]]"};
    line("const long i = long(position.y) * ", kGridWidth, " + position.x;");
    line("if (i >= ", number("size", &Numbers::size), ") return;");
    at = {{"i", AxisGroup::inner, 0}};
  } else {
    const bool adjacent =
        steps.empty() || std::none_of(steps[0].begin(), steps[0].end(), [](Step step) {
          return step == Step::length || step == Step::any;
        });
    if (adjacent) {
      builtins_ = {"uint i [[thread_position_in_grid]]"};
    } else {
      builtins_ = {"uint position [[thread_position_in_grid]]"};
      line("const int i = position;");
    }
    if (!steps.empty()) at = {{"i", AxisGroup::inner, 0}};
  }
  for (const ValueId v : passes_[0].values) compute(v, at);
  for (const std::size_t i : passes_[0].outputs) write(i, at);
}

// A grid of up to three axes; what is left of the domain's are parts of the third.
Writer::Coordinates Writer::grid() {
  const std::size_t n = axes(AxisGroup::inner).size();
  builtins_ = {std::string(n == 2 ? "uint2" : "uint3") + " position [[thread_position_in_grid]]"};
  line("const ", index_, " column = position.x, row = position.y;");
  Coordinates at = {{"column", AxisGroup::inner, n - 1}, {"row", AxisGroup::inner, n - 2}};
  if (n > 2) {
    line("const ", index_, " plane = position.z;");
    for (const Coordinate& c : unflatten(AxisGroup::inner, n - 2, "plane")) at.push_back(c);
  }
  return at;
}

}  // namespace cermet::metal
