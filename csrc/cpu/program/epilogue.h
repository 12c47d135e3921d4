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
  std::size_t staging_bytes() const { return p_.passes[0].moving.size() * tile_bytes(); }
  void run(Context& c, const FinishedTile& tile) const;
  void run_range(Context& c, const FinishedTile& tile, std::int64_t row, std::int64_t n) const;
  void run_rows(Context& c, const FinishedTile& tile) const;
  // The place in the domain of a tile's row.
  std::int64_t first_of(const FinishedTile& t, std::int64_t row) const {
    return (t.batch * rows_ + t.row + row) * columns_ + t.column;
  }
  std::byte* product(const FinishedTile& t, std::size_t k, std::int64_t row) const {
    return static_cast<std::byte*>(const_cast<void*>(t.values[k])) +
           row * t.step * static_cast<std::int64_t>(size_);
  }

  const std::int64_t rows_, columns_;
  const std::size_t size_;  // of an element of the products' tiles
  const Workspace<std::byte> memory_;
  std::vector<Context> contexts_;  // of threads; made when one has its first tile
  std::atomic<bool> begun_{false};
};

}  // namespace cermet::cpu
