// A wide tile goes row by row, in place where its ports lie adjacent in memory. Rows of a narrow
// one are put side by side first, so that a call has enough to do.
#include "cpu/program/epilogue.h"

#include <cstring>
#include <utility>

namespace cermet::cpu {
namespace {

constexpr std::int64_t kWide = 128;  // columns

}  // namespace

TileProgram::TileProgram(const Lowered& program, const Binding& binding, std::int64_t rows,
                         std::int64_t columns)
    : Tiles(program, binding),
      rows_(rows),
      columns_(columns),
      size_(size_of(tile_dtype(program.ports[0].dtype))),
      memory_(static_cast<std::int64_t>(context_bytes() + staging_bytes()) * get_num_threads()),
      contexts_(static_cast<std::size_t>(get_num_threads())) {}

void TileProgram::operator()(const FinishedTile& tile) {
  const auto thread = static_cast<std::size_t>(thread_index());
  const std::size_t bytes = context_bytes() + staging_bytes();
  if (thread >= contexts_.size()) {  // their number has just grown
    const Workspace<std::byte> own(static_cast<std::int64_t>(bytes));
    Context c = make_context(own.get());
    return run(c, tile);
  }
  Context& c = contexts_[thread];
  if (!c.table) c = make_context(memory_.get() + thread * bytes);
  begun_.store(true, std::memory_order_relaxed);
  run(c, tile);
}

void TileProgram::run(Context& c, const FinishedTile& t) const {
  if (t.rows == 1 || (t.columns == columns_ && t.step == columns_))
    return run_range(c, t, 0, t.rows * t.columns);
  if (t.columns < kWide) return run_rows(c, t);
  for (std::int64_t r = 0; r < t.rows; ++r) run_range(c, t, r, t.columns);
}

// Elements from a tile's row on that are adjacent in the tile and in the domain.
void TileProgram::run_range(Context& c, const FinishedTile& t, std::int64_t row,
                            std::int64_t n) const {
  const std::int64_t first = first_of(t, row), pieces = (n + tile_ - 1) / tile_;
  const std::int64_t most = std::min(tile_, ((n + pieces - 1) / pieces + 15) / 16 * 16);
  for (std::int64_t i = 0, count; i < n; i += count) {
    count = std::min(most, n - i);
    if (row_ != kNoRow) count = std::min(count, row_ - (first + i) % row_);
    for (std::size_t k = 0; k < p_.products; ++k)
      c.products[k] = product(t, k, row) + i * static_cast<std::int64_t>(size_);
    run_tile(p_.passes[0], c, first + i, 0, count);
  }
}

void TileProgram::run_rows(Context& c, const FinishedTile& t) const {
  const Pass& pass = p_.passes[0];
  std::byte** const table = c.table;
  const auto n = static_cast<std::size_t>(t.columns);
  const std::int64_t group = std::max<std::int64_t>(1, tile_ / t.columns);
  for (std::int64_t row = 0; row < t.rows; row += group) {
    const std::int64_t rows = std::min(group, t.rows - row);
    const auto each = [&](std::size_t size, auto visit) {  // place in the domain, and in a tile
      for (std::int64_t r = 0; r < rows; ++r) visit(first_of(t, row + r), r * n * size);
    };
    std::byte* staged = c.scratch;
    for (const Moving& m : pass.moving) {
      const auto port = static_cast<std::size_t>(m.port);
      std::byte* const at = table[m.location] = std::exchange(staged, staged + tile_bytes());
      const std::size_t bytes = n * m.size;
      if (port < p_.products)
        for (std::int64_t r = 0; r < rows; ++r)
          std::memcpy(at + r * bytes, product(t, port, row + r), bytes);
      else if (port < p_.inputs)
        each(m.size, [&](std::int64_t first, std::size_t to) {
          std::memcpy(at + to, place(port, first, m.size), bytes);
        });
    }
    for (const Call& call : pass.calls) {
      std::byte* const at = table[call.out];
      if (call.kind == Call::Kind::loop) {
        call.loop(at, table[call.a], table[call.b], table[call.c], rows * t.columns);
        continue;
      }
      const bool loads = call.kind == Call::Kind::load;
      each(size_of(tile_dtype(p_.ports[call.a].dtype)), [&](std::int64_t first, std::size_t to) {
        if (loads)
          load_port(call.a, first, t.columns, at + to);
        else
          store_port(call.a, first, t.columns, at + to);
      });
    }
    for (const Moving& m : pass.moving)
      if (const auto port = static_cast<std::size_t>(m.port); port >= p_.inputs)
        each(m.size, [&](std::int64_t first, std::size_t from) {
          std::memcpy(place(port, first, m.size), table[m.location] + from, n * m.size);
        });
  }
}

}  // namespace cermet::cpu
