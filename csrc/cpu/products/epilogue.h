// The seam between products and what follows them: the engine hands each tile of its results over
// when it is finished, while it is in a cache.
#pragma once

#include <array>
#include <cstdint>

#include "cpu/function_ref.h"

namespace cermet::cpu {

// Rows x columns of the results before they are rounded: float, or double for float64. (Of complex
// numbers the engine counts both parts, and an epilogue the numbers.)
struct FinishedTile {
  std::int64_t batch, row, rows, column, columns;
  std::array<const void*, 2> values;  // of two products side by side; else one and null
  std::int64_t step;                  // between rows
};

// Called by threads of the pool, for each element of the results once. Wide tiles (256 columns or
// more, or whole rows one after the other) are the cheapest.
using Epilogue = FunctionRef<void(const FinishedTile&)>;

}  // namespace cermet::cpu
