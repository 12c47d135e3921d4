// Strided layouts: which axes step as one, and which elements are adjacent.
#pragma once

#include <span>

#include "cermet/array.h"

namespace cermet {

// Whether the elements lie one after the other in row-major order. Strides of unit axes mean
// nothing.
bool is_row_major(const Shape& shape, const Strides& strides);

// Drops unit axes, and merges neighbours that each of the strides steps through as one.
void merge_axes(Shape& shape, std::span<Strides> strides);

}  // namespace cermet
