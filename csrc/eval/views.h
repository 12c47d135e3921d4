// Views: how the result of a primitive that moves no data lies in its input's buffer.
#pragma once

#include <functional>
#include <optional>

#include "cermet/array.h"

namespace cermet {

// Gives `node`, whose primitive is a view of `source`, its value. A reshape that the source's
// strides do not allow copies: `copy` gives `to` a row-major copy of `from`'s elements.
using CopyValue = std::function<void(const Node& from, Node& to)>;
void make_view(Node& node, const Node& source, const CopyValue& copy);
// Strides of `shape` over elements that lie at `strides` for `from`; nothing when no strides fit.
std::optional<Strides> reshaped(const Shape& from, const Strides& strides, const Shape& shape);
// The buffer of a constant that something other than a row program reads.
void materialize(const Node& constant, Node& into);

}  // namespace cermet
