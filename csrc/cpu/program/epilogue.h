// Programs as epilogues of products: the interpreter on one tile, on whatever thread computed it.
#pragma once

#include <atomic>
#include <vector>

#include "cpu/products/epilogue.h"
#include "cpu/program/tiles.h"

namespace cermet::cpu {

// A run of a program, lowered for the binding's layout class, whose products have results of
// matrices of rows x columns.
class TileProgram : Tiles {
 public:
  TileProgram(const Lowered& program, const Binding& binding, std::int64_t rows,
              std::int64_t columns);
  // Called by threads of the pool.
  void operator()(const FinishedTile& tile);
  // Whether anything has been written.
  bool has_begun() const { return begun_.load(std::memory_order_relaxed); }

 private:
  // A thread's memory: its context, then places of what moves and tiles to put rows side by side.
  std::size_t places_bytes() const { return whole(moving_.size() * sizeof(std::byte*)); }
  std::size_t bytes() const {
    return context_bytes() + places_bytes() + moving_.size() * tile_bytes();
  }
  std::byte** places(const Context& c) const { return reinterpret_cast<std::byte**>(c.scratch); }

  void run(Context& c, const FinishedTile& tile) const;
  void run_adjacent(Context& c, const FinishedTile& tile, std::int64_t row, std::int64_t n) const;
  void run_wide(Context& c, const FinishedTile& tile) const;
  void run_narrow(Context& c, const FinishedTile& tile) const;
  // Asks for what else is read and written for a row: the start of each row is far from the last.
  void fetch(const FinishedTile& tile, std::int64_t row, std::int64_t column, std::int64_t n) const;
  void find_places(Context& c, const FinishedTile& tile, std::int64_t row,
                   std::int64_t column) const;
  std::int64_t step(const FinishedTile& t, std::size_t moving) const {
    const bool product = static_cast<std::size_t>(moving_[moving].port) < p_.products;
    return (product ? t.step : steps_[moving]) * static_cast<std::int64_t>(moving_[moving].size);
  }
  // The place in the domain of a tile's row.
  std::int64_t first_of(const FinishedTile& t, std::int64_t row) const {
    return (t.batch * rows_ + t.row + row) * columns_ + t.column;
  }

  const std::int64_t rows_, columns_;
  const std::vector<Moving>& moving_;     // all in ports: nothing is kept between passes
  SmallVector<std::int64_t, 8> steps_;    // of what moves, from one row of a matrix to the next
  bool regular_ = true, within_ = false;  // whether there are such; only within a matrix?
  const Workspace<std::byte> memory_;
  std::vector<Context> contexts_;  // of threads; made when one has its first tile
  std::atomic<bool> begun_{false};
};

}  // namespace cermet::cpu
