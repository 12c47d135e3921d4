// A wide tile goes row by row, in place where its ports lie adjacent in memory. Rows of a narrow
// one are put side by side first, so that a call has enough to do.
#include "cpu/program/epilogue.h"

#include <cstring>
#include <utility>

namespace cermet::cpu {
namespace {

constexpr std::int64_t kWide = 128;  // columns

// The longest pieces of up to `most` elements that n elements make.
std::int64_t even(std::int64_t n, std::int64_t most) {
  const std::int64_t pieces = (n + most - 1) / most;
  return std::min(most, ((n + pieces - 1) / pieces + 15) / 16 * 16);
}

}  // namespace

TileProgram::TileProgram(const Lowered& program, const Binding& binding, std::int64_t rows,
                         std::int64_t columns)
    : Tiles(program, binding),
      rows_(rows),
      columns_(columns),
      moving_(p_.passes[0].moving),
      memory_(static_cast<std::int64_t>(bytes()) * get_num_threads()),
      contexts_(static_cast<std::size_t>(get_num_threads())) {
  const auto step_of = [&](const Layout& layout) {
    const std::size_t axes = layout.extents.size();
    if (axes == 0) return columns_;
    const std::int64_t last = layout.extents[axes - 1];
    regular_ &= last == columns_ ? axes == 2 || layout.extents[axes - 2] == rows_
                                 : last % (rows_ * columns_) == 0;
    within_ |= last != columns_ || axes > 2;
    return last == columns_ ? layout.strides[axes - 2] : columns_;
  };
  for (std::size_t i = 0; i < p_.ports.size(); ++i)
    if (p_.ports[i].linear) step_of(layouts_[i]);
  for (const Moving& m : moving_)
    steps_.push_back(step_of(layouts_[static_cast<std::size_t>(m.port)]));
}

void TileProgram::operator()(const FinishedTile& tile) {
  const auto thread = static_cast<std::size_t>(thread_index());
  if (thread >= contexts_.size()) {  // their number has just grown
    const Workspace<std::byte> own(static_cast<std::int64_t>(bytes()));
    Context c = make_context(own.get());
    begun_.store(true, std::memory_order_relaxed);
    return run(c, tile);
  }
  Context& c = contexts_[thread];
  if (!c.table) c = make_context(memory_.get() + thread * bytes());
  begun_.store(true, std::memory_order_relaxed);
  run(c, tile);
}

void TileProgram::run(Context& c, const FinishedTile& t) const {
  if (t.rows == 1 || (t.columns == columns_ && t.step == columns_))
    return run_adjacent(c, t, 0, t.rows * t.columns);
  if (regular_ && (!within_ || t.row + t.rows <= rows_))
    return t.columns < kWide ? run_narrow(c, t) : run_wide(c, t);
  for (std::int64_t r = 0; r < t.rows; ++r) run_adjacent(c, t, r, t.columns);
}

// Elements from a tile's row on that are adjacent in the tile and in the domain.
void TileProgram::run_adjacent(Context& c, const FinishedTile& t, std::int64_t row,
                               std::int64_t n) const {
  const std::int64_t first = first_of(t, row), most = even(n, tile_);
  const auto size = static_cast<std::int64_t>(size_of(tile_dtype(p_.ports[0].dtype)));
  for (std::int64_t i = 0, count; i < n; i += count) {
    count = std::min(most, n - i);
    if (row_ != kNoRow) count = std::min(count, row_ - (first + i) % row_);
    for (std::size_t k = 0; k < p_.products; ++k)
      c.products[k] =
          static_cast<std::byte*>(const_cast<void*>(t.values[k])) + (row * t.step + i) * size;
    run_tile(p_.passes[0], c, first + i, 0, count);
  }
}

// Where what moves is for an element of a tile.
void TileProgram::find_places(Context& c, const FinishedTile& t, std::int64_t row,
                              std::int64_t column) const {
  for (std::size_t k = 0; k < p_.products; ++k)
    c.products[k] = static_cast<std::byte*>(const_cast<void*>(t.values[k]));
  for (std::size_t k = 0; k < moving_.size(); ++k) {
    const Moving& m = moving_[k];
    const bool product = static_cast<std::size_t>(m.port) < p_.products;
    places(c)[k] = address(m, c, first_of(t, row) + column, 0) +
                   (product ? (row * t.step + column) * static_cast<std::int64_t>(m.size) : 0);
  }
}

void TileProgram::fetch(const FinishedTile& t, std::int64_t row, std::int64_t column,
                        std::int64_t n) const {
  constexpr std::int64_t kLine = 64;
  if (row >= t.rows) return;
  for (std::size_t i = p_.products; i < p_.ports.size(); ++i) {
    if (!p_.ports[i].linear) continue;
    const std::size_t size = size_of(p_.ports[i].dtype);
    const std::byte* const from = place(i, first_of(t, row) + column, size);
    for (std::int64_t b = 0, end = n * static_cast<std::int64_t>(size); b < end; b += kLine)
      __builtin_prefetch(from + b);
  }
}

void TileProgram::run_wide(Context& c, const FinishedTile& t) const {
  constexpr std::int64_t kAhead = 2;
  std::byte** const at = places(c);
  const std::int64_t most = even(t.columns, tile_);
  for (std::int64_t column = 0; column < t.columns; column += most) {
    const std::int64_t n = std::min(most, t.columns - column);
    find_places(c, t, 0, column);
    for (std::int64_t row = 0; row < kAhead; ++row) fetch(t, row, column, n);
    for (std::int64_t row = 0; row < t.rows; ++row) {
      fetch(t, row + kAhead, column, n);
      for (std::size_t k = 0; k < moving_.size(); ++k)
        c.table[moving_[k].location] = std::exchange(at[k], at[k] + step(t, k));
      run_calls(p_.passes[0], c, first_of(t, row) + column, n);
    }
  }
}

void TileProgram::run_narrow(Context& c, const FinishedTile& t) const {
  const Pass& pass = p_.passes[0];
  std::byte** const table = c.table;
  std::byte** const at = places(c);
  std::byte* const staging = c.scratch + places_bytes();
  const auto n = static_cast<std::size_t>(t.columns);
  const std::int64_t group = std::max<std::int64_t>(1, tile_ / t.columns);
  for (std::int64_t row = 0; row < t.rows; row += group) {
    const std::int64_t rows = std::min(group, t.rows - row);
    find_places(c, t, row, 0);
    for (std::size_t k = 0; k < moving_.size(); ++k) {
      const Moving& m = moving_[k];
      const auto port = static_cast<std::size_t>(m.port);
      const bool dense = port < p_.products && t.step == t.columns;
      std::byte* const tile = table[m.location] = dense ? at[k] : staging + k * tile_bytes();
      if (port < p_.inputs && !dense)
        for (std::int64_t r = 0; r < rows; ++r)
          std::memcpy(tile + r * n * m.size, at[k] + r * step(t, k), n * m.size);
    }
    for (const Call& call : pass.calls) {
      std::byte* const tile = table[call.out];
      if (call.kind == Call::Kind::code) {
        call.code->run(table, rows * t.columns);
        continue;
      }
      if (call.kind < Call::Kind::load) {
        call.loop(tile, table[call.a], table[call.b], table[call.c], rows * t.columns);
        continue;
      }
      const std::size_t bytes = n * size_of(tile_dtype(p_.ports[call.a].dtype));
      for (std::int64_t r = 0; r < rows; ++r)
        if (call.kind == Call::Kind::load)
          load_port(call.a, first_of(t, row + r), t.columns, tile + r * bytes);
        else
          store_port(call.a, first_of(t, row + r), t.columns, tile + r * bytes);
    }
    for (std::size_t k = 0; k < moving_.size(); ++k)
      if (const Moving& m = moving_[k]; static_cast<std::size_t>(m.port) >= p_.inputs)
        for (std::int64_t r = 0; r < rows; ++r)
          std::memcpy(at[k] + r * step(t, k), table[m.location] + r * n * m.size, n * m.size);
  }
}

}  // namespace cermet::cpu
