// The seam between products and what follows them: an engine hands each tile of its results over
// when it is finished, while it is in a cache.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace cermet::cpu {

// Rows x columns of the results, before they are rounded to a 16-bit type: float32, or the
// product's own type where that is float64 or complex64. Rows of the batch's matrices count one
// after the other, so a tile of whole rows may go on into the next matrix.
struct FinishedTile {
  std::int64_t batch, row, rows, column, columns;
  std::array<const void*, 2> values;  // of two products side by side; else one and null
  std::int64_t step;                  // elements from a row to the next
};

// A reference to what is done with the tiles, a callable void(const FinishedTile&); valid during
// the product. Threads of the pool call it at once, for each element of the results once. Wide
// tiles (256 columns or more, or whole rows one after the other) are the cheapest.
class Epilogue {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Epilogue>)
  Epilogue(F&& f)
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(f)))),
        call_([](void* o, const FinishedTile& tile) {
          (*static_cast<std::remove_reference_t<F>*>(o))(tile);
        }) {}
  void operator()(const FinishedTile& tile) const { call_(object_, tile); }

 private:
  void* object_;
  void (*call_)(void*, const FinishedTile&);
};

}  // namespace cermet::cpu
