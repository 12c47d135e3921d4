// Operations that a shapeless trace does again for other extents.
#pragma once

#include <functional>
#include <span>
#include <string_view>

#include "cermet/array.h"

namespace cermet {

// Whether one of the arrays depends on inputs of a shapeless trace: then to ask for its shape ties
// the trace to the extents that it was made with.
inline bool is_followed(std::span<const array> arrays) {
  for (const array& a : arrays)
    if (a.node()->followed) return true;
  return false;
}

// Makes an array of others. It reads no arrays but these, and runs in any thread.
using Again = std::function<array(std::span<const array>)>;
array follow_slowly(std::string_view name, std::span<const array> inputs, Again again,
                    bool by_value);
// `again(inputs)`. Where that asks for extents, a shapeless trace keeps it as one node, and does it
// again for others. `by_value`: whether the elements matter as well, and not only the shapes.
template <class F>
array follow(std::string_view name, std::span<const array> inputs, F&& again,
             bool by_value = true) {
  if (!is_followed(inputs)) return again(inputs);
  return follow_slowly(name, inputs, std::forward<F>(again), by_value);
}

}  // namespace cermet
