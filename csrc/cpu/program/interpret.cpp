// The tile interpreter.
//
// A program's domain is cut into tiles of up to kTile elements that are adjacent in the order
// (outer, reduced, inner). Instructions are calls of contiguous loops on tiles; a tile is a
// register, the memory of a contiguous input or output itself, or scratch memory that keeps a value
// from one pass over a row for the next.
//
// Three geometries cover all programs:
//   flat     nothing is reduced: tiles in any order. They end where the rows of an array do that is
//            a region of another's memory, and are then that memory.
//   rows     several short rows (up to a tile) share a tile; each reduces in one loop.
//   lanes    a unit is one outer index and some inner elements (one, when the last axis is
//            reduced). A tile holds as many reduced steps as fit.
// The order of a reduction's additions is the same in all (docs/design.md): it follows from the
// reduced extents alone, and geometry, widths and threads from whatever is fast.
#include "cpu/program/interpret.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "cpu/floating_mode.h"
#include "cpu/program/arrange.h"
#include "cpu/program/columns.h"
#include "cpu/program/rows.h"
#include "cpu/program/tiles.h"
#include "eval/interrupt.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMinParallel = 16 * 1024;  // elements a thread should get, at least
constexpr std::int64_t kNarrow = 64;  // elements of a row that shares a loop with the next ones
constexpr std::int64_t kCached = 32 * 1024;  // elements that a core's cache holds for sure
constexpr std::int64_t kLong = 256 * 1024;   // elements of a row that no cache has

// The rows of a unit: where they are among all rows, and how many.
struct Unit {
  std::int64_t first_row, rows;
  std::int64_t first, lanes;  // of the first tile: its place in the domain and its elements
};

class Run : Tiles {
 public:
  using Tiles::Tiles;

  void run() {
    switch (geometry_) {
      case Geometry::flat: return run_flat();
      case Geometry::rows:
        return run_units((x_.outer + x_.rows - 1) / x_.rows, x_.rows * x_.reduced);
      case Geometry::lanes: {
        const std::int64_t units = x_.outer * ((x_.inner + x_.width - 1) / x_.width);
        if (units < 2 * get_num_threads() && x_.blocks() > 1 && scratch_elements_ > kMaxScratch &&
            get_num_threads() > 1)
          for (std::int64_t u = 0; u < units; ++u) run_together(u);
        else
          run_units(units, x_.reduced * x_.width);
      }
    }
  }

 private:
  void run_flat() {
    const Pass& pass = p_.passes[0];
    const std::int64_t cost = pass.cost() + 1;
    const std::int64_t n = x_.outer * x_.inner;
    const std::int64_t most = std::clamp(std::int64_t{1 << 18} / cost, 2 * kTile, 4 * kMinParallel);
    // A power of two of pieces, so that few threads get equal shares.
    const auto pieces =
        static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>((n + most - 1) / most)));
    const std::int64_t grain = (n + pieces * kTile - 1) / (pieces * kTile) * kTile;
    // A row's tiles are about as long.
    const std::int64_t tiles = (std::min(row_, n) + tile_ - 1) / tile_;
    const std::int64_t tile = row_ == kNoRow ? tile_ : ((row_ + tiles - 1) / tiles + 15) / 16 * 16;
    for_each_piece(n, grain, [&](Context& c, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin, count; i < end; i += count) {
        count = std::min({tile, end - i, row_ - i % row_});
        run_tile(pass, c, i, 0, count);
      }
    });
  }

  // ---- Rows ----

  Unit unit(std::int64_t u) const {
    if (geometry_ == Geometry::rows) {
      const std::int64_t r = u * x_.rows, rows = std::min(x_.rows, x_.outer - r);
      return {r, rows, r * x_.reduced, rows * x_.reduced};
    }
    const std::int64_t pieces = (x_.inner + x_.width - 1) / x_.width;
    const std::int64_t o = u / pieces, column = u % pieces * x_.width;
    const std::int64_t width = std::min(x_.width, x_.inner - column);
    return {o * x_.inner + column, width, o * x_.reduced * x_.inner + column,
            std::min(x_.steps, x_.reduced) * width};
  }

  // Values a row that are ready before the pass, and their expansion to tiles.
  void begin_pass(std::size_t index, Context& c, const Unit& u) const {
    const Pass& pass = p_.passes[index];
    if (index == 0)
      for (std::size_t i = 0; i < p_.inputs; ++i)
        if (p_.ports[i].extent == Extent::row)
          load_port(i, u.first_row, u.rows, c.table[p_.ports[i].value]);
    for (const Call& call : pass.row_calls)
      call.loop(c.table[call.out], c.table[call.a], c.table[call.b], c.table[call.c], u.rows);
    for (const SmallValue& v : pass.expanded) {
      const std::size_t size = size_of(tile_dtype(v.dtype));
      const std::byte* in = c.table[v.id];
      std::byte* out = c.table[p_.values + v.id];
      if (geometry_ == Geometry::rows) {
        for (std::int64_t r = 0; r < u.rows; ++r)
          splat(out + r * x_.reduced * size, in + r * size, size, x_.reduced);
      } else if (u.rows == 1) {
        splat(out, in, size, u.lanes);
      } else {
        for (std::int64_t i = 0; i < u.lanes; i += u.rows)
          std::memcpy(out + i * size, in, u.rows * size);
      }
    }
  }

  void end_unit(Context& c, const Unit& u) const {
    for (std::size_t i = p_.inputs; i < p_.ports.size(); ++i)
      if (p_.ports[i].extent == Extent::row)
        store_port(i, u.first_row, u.rows, c.table[p_.ports[i].value]);
  }

  // ---- Reductions ----

  // Combines a tile, whose first step is the `step`-th of its block, with the block's lanes.
  void add_tile(const Reduction& r, const Total& total, const std::byte* in, std::int64_t step,
                std::int64_t rows, std::int64_t n) const {
    const auto size = static_cast<std::int64_t>(size_of(r.dtype));
    const std::int64_t period = kLanes * rows, whole = n / period;
    const bool first = step < kLanes;
    std::byte* lanes = total.lanes + step % kLanes * rows * size;
    if (whole) r.columns(lanes, in, period, whole, period, first);
    if (const std::int64_t rest = n % period; rest)
      r.columns(lanes, in + whole * period * static_cast<std::int64_t>(size_of(r.from)), 0, 1, rest,
                first && !whole);
  }

  // Folds the lanes of a block of `steps` steps.
  void fold(const Reduction& r, const Total& total, std::int64_t steps, std::int64_t rows) const {
    if (rows == 1)
      r.fold_rows(total.lanes, total.lanes, 1, std::min(steps, kLanes));
    else
      r.fold_block(total.lanes, total.lanes, rows, std::min(steps, kLanes), rows);
  }

  // Reduces a block of `steps` steps that lie in memory `stride` elements apart.
  void add_block(const Reduction& r, const Total& total, const std::byte* in, std::int64_t stride,
                 std::int64_t steps, std::int64_t rows) const {
    const std::size_t bytes = steps * size_of(r.from);
    if (stride == 1 && x_.reduced >= kLong) prefetch(in + bytes, bytes);  // the next block
    if (stride == 1) return r.rows(total.lanes, in, 1, steps);
    if (stride != rows || rows > kNarrow || steps <= kLanes)
      return r.block(total.lanes, in, stride, steps, rows);
    add_tile(r, total, in, 0, rows, steps * rows);
    fold(r, total, steps, rows);
  }

  // Adds the sum of a block, or of an aligned run of blocks, to those before it.
  void push(const Reduction& r, Total& total, const std::byte* sum, std::int64_t rows) const {
    const std::int64_t bytes = rows * static_cast<std::int64_t>(size_of(r.dtype));
    std::byte* top = total.levels + total.depth * bytes;
    std::int64_t n = total.blocks++;
    if (!(n & 1)) {
      std::memcpy(top, sum, bytes);
      ++total.depth;
    }
    for (; n & 1; n >>= 1, sum = top) {
      top -= bytes;
      r.loop(top, top, sum, nullptr, rows);
      if (n & 2) --total.depth;
    }
  }

  // What the blocks add up to.
  std::byte* sum(const Reduction& r, Total& total, std::int64_t rows) const {
    if (x_.blocks() == 1) return total.lanes;
    const std::int64_t bytes = rows * static_cast<std::int64_t>(size_of(r.dtype));
    for (; total.depth > 1; --total.depth) {
      std::byte* top = total.levels + (total.depth - 1) * bytes;
      r.loop(top - bytes, top - bytes, top, nullptr, rows);
    }
    total.blocks = total.depth = 0;
    return total.levels;
  }

  void finish(const Reduction& r, Context& c, Total& total, const Unit& u) const {
    const std::byte* value = sum(r, total, u.rows);
    if (r.round)
      r.round(c.table[r.out], value, nullptr, nullptr, u.rows);
    else
      std::memcpy(c.table[r.out], value, u.rows * size_of(r.dtype));
  }

  // Runs a pass over one block of a unit.
  void run_block(const Pass& pass, Context& c, const Unit& u, std::int64_t block) const {
    const std::int64_t step = block * kBlock, steps = std::min(kBlock, x_.reduced - step);
    const std::int64_t first = u.first + step * x_.inner;
    if (pass.code && machine::takes_rows(steps)) return run_code(pass, c, first, step, steps);
    const std::int64_t done = add_columns(pass, c, u, first, step, steps);
    // What lies in memory is reduced there, if it is still in a cache when it has been computed.
    const bool cached = !done && (pass.calls.empty() || steps * u.rows <= kCached);
    const auto from_memory = [&](const Reduction& r) { return r.moving >= 0 && cached; };
    bool tiles = !pass.calls.empty();
    for (const Reduction& r : pass.reductions) tiles |= !from_memory(r);
    const auto tile = [&](std::int64_t s) {
      const std::int64_t n = std::min(x_.steps, steps - s) * u.rows;
      run_tile(pass, c, first + s * x_.inner, (step + s) * u.rows, n);
      for (std::size_t k = 0; k < pass.reductions.size(); ++k)
        if (const Reduction& r = pass.reductions[k]; !from_memory(r))
          add_tile(r, c.totals[k], c.table[r.in], s, u.rows, n);
    };
    // Eight tiles of the same lanes follow each other: their partial results stay in the
    // first-level cache, and memory is read in eight streams.
    constexpr std::int64_t kSteps = 8 * kLanes;
    for (std::int64_t s = done; tiles && s < steps; s += kSteps)
      for (std::int64_t lane = s; lane < std::min(s + kLanes, steps); lane += x_.steps)
        for (std::int64_t t = lane; t < std::min(s + kSteps, steps);
             t += std::max(kLanes, x_.steps))
          tile(t);
    for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
      const Reduction& r = pass.reductions[k];
      if (from_memory(r)) {
        const Moving& m = pass.moving[r.moving];
        add_block(r, c.totals[k], address(m, c, first, step * u.rows),
                  m.port >= 0 ? x_.inner : u.rows, steps, u.rows);
      } else {
        fold(r, c.totals[k], steps, u.rows);
      }
      if (x_.blocks() > 1) push(r, c.totals[k], c.totals[k].lanes, u.rows);
    }
  }

  // The same by code that goes over a block of one row.
  void run_code(const Pass& pass, Context& c, std::int64_t first, std::int64_t step,
                std::int64_t steps) const {
    const RowCode& code = *pass.code;
    SmallVector<std::byte*, 32> table(2 * code.places.size(), nullptr);
    for (std::size_t k = 0; k < code.places.size(); ++k) {
      const auto [kind, index, bytes] = code.places[k];
      switch (kind) {
        case RowCode::Place::Kind::port:
          table[k] = place(index, first, size_of(p_.ports[index].dtype));
          break;
        case RowCode::Place::Kind::scratch:
          table[k] = c.scratch + index * scratch_elements_ * 8 + step * bytes;
          break;
        case RowCode::Place::Kind::scalar: table[k] = c.table[p_.small[index].id]; break;
        case RowCode::Place::Kind::value: table[k] = c.table[index]; break;
        case RowCode::Place::Kind::result: table[k] = c.totals[index].lanes; break;
      }
    }
    code.code->run_rows(table.data(), steps, 1);
    if (x_.blocks() == 1) return;
    for (std::size_t k = 0; k < pass.reductions.size(); ++k)
      push(pass.reductions[k], c.totals[k], c.totals[k].lanes, 1);
  }

  // Adds as many steps of a block to its lanes as code can; the others are left.
  std::int64_t add_columns(const Pass& pass, Context& c, const Unit& u, std::int64_t first,
                           std::int64_t step, std::int64_t steps) const {
    std::int64_t done = 0;
    for (const auto& code : pass.columns) {
      if (!code || (code->steps == 1 && u.rows < ColumnCode::kWide)) continue;
      const std::int64_t together = code->steps == 1 ? 1 : code->steps * kLanes;
      const std::int64_t whole = done + (steps - done) / together * together;
      for (std::size_t k = 0; !done && whole && k < code->nothing.size(); ++k)
        splat(c.totals[k].lanes, reinterpret_cast<const std::byte*>(&code->nothing[k]), 4,
              std::min(steps, kLanes) * u.rows);
      add_columns(*code, c, u, first, step, done, whole);
      done = whole;
    }
    return done;
  }

  // Adds the steps [begin, end) of a block.
  void add_columns(const ColumnCode& code, Context& c, const Unit& u, std::int64_t first,
                   std::int64_t step, std::int64_t begin, std::int64_t end) const {
    const std::int64_t lanes = code.steps == 1 ? 1 : kLanes;
    SmallVector<std::byte*, 32> table(code.places.size(), nullptr);
    for (std::int64_t s = begin; s < end; s += lanes * code.steps)
      for (std::int64_t lane = 0; lane < lanes; ++lane) {
        for (std::size_t k = 0; k < code.places.size(); ++k) {
          const auto [kind, index, number, size] = code.places[k];
          const std::int64_t at = s + lane + number * kLanes;
          switch (kind) {
            case ColumnCode::Place::Kind::port:
              table[k] = place(index, first + at * x_.inner, size);
              break;
            case ColumnCode::Place::Kind::scratch:
              table[k] = c.scratch + index * scratch_elements_ * 8 + (step + at) * u.rows * size;
              break;
            case ColumnCode::Place::Kind::value: table[k] = c.table[index]; break;
            case ColumnCode::Place::Kind::result:
              table[k] = c.totals[index].lanes + (s + lane) % kLanes * u.rows * 4;
              break;
          }
        }
        code.code->run(table.data(), u.rows);
      }
  }

  void run_unit(Context& c, const Unit& u) const {
    for (std::size_t index = 0; index < p_.passes.size(); ++index) {
      const Pass& pass = p_.passes[index];
      begin_pass(index, c, u);
      if (pass.calls.empty() && pass.reductions.empty()) continue;
      if (geometry_ == Geometry::rows) {
        run_tile(pass, c, u.first, 0, u.lanes);
        for (const Reduction& r : pass.reductions) {
          r.rows(c.table[r.out], c.table[r.in], u.rows, x_.reduced);
          if (r.round) r.round(c.table[r.out], c.table[r.out], nullptr, nullptr, u.rows);
        }
        continue;
      }
      for (std::int64_t block = 0; block < x_.blocks(); ++block) {
        if (block % 8 == 7) poll_interrupt();
        run_block(pass, c, u, block);
      }
      for (std::size_t k = 0; k < pass.reductions.size(); ++k)
        finish(pass.reductions[k], c, c.totals[k], u);
    }
    end_unit(c, u);
  }

  void run_units(std::int64_t units, std::int64_t elements) {
    std::int64_t cost = 1;
    for (const Pass& pass : p_.passes) cost += pass.cost();
    const std::int64_t grain = std::max<std::int64_t>(
        1, std::int64_t{1 << 17} / std::max<std::int64_t>(1, elements * cost / 2));
    for_each_piece(units, grain, [&](Context& c, std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) run_unit(c, unit(i));
    });
  }

  // One large unit by all threads: aligned runs of the blocks of each pass in parallel.
  void run_together(std::int64_t index) {
    const Unit u = unit(index);
    // The calling thread's share of the loops below has its own memory.
    const Workspace<std::byte> memory(static_cast<std::int64_t>(context_bytes()));
    Context c = make_context(memory.get());
    std::int64_t run = 1;
    constexpr std::int64_t kLongestRun = 1 << 24;  // elements: between runs the loop can be left
    while (x_.blocks() / (2 * run) >= 8 * get_num_threads() &&
           2 * run * kBlock * u.rows <= kLongestRun)
      run *= 2;
    const std::int64_t runs = (x_.blocks() + run - 1) / run;
    const std::int64_t bytes = u.rows * 8;
    const auto reductions = static_cast<std::int64_t>(p_.reductions);
    const Workspace<std::byte> sums(runs * bytes * reductions);
    const auto sum_of = [&](std::int64_t r, std::size_t k) {
      return sums.get() + (r * reductions + static_cast<std::int64_t>(k)) * bytes;
    };
    for (std::size_t i = 0; i < p_.passes.size(); ++i) {
      const Pass& pass = p_.passes[i];
      begin_pass(i, c, u);
      if (pass.calls.empty() && pass.reductions.empty()) continue;
      for_each_piece(runs, 1, [&](Context& mine, std::int64_t begin, std::int64_t end) {
        for (const SmallValue& v : p_.small) {  // these are shared and only read
          mine.table[v.id] = c.table[v.id];
          mine.table[p_.values + v.id] = c.table[p_.values + v.id];
        }
        for (std::int64_t r = begin; r < end; ++r) {
          for (std::int64_t b = r * run; b < std::min(x_.blocks(), (r + 1) * run); ++b)
            run_block(pass, mine, u, b);
          for (std::size_t k = 0; k < pass.reductions.size(); ++k)
            std::memcpy(sum_of(r, k), sum(pass.reductions[k], mine.totals[k], u.rows),
                        u.rows * size_of(pass.reductions[k].dtype));
        }
      });
      for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
        for (std::int64_t r = 0; r < runs; ++r)
          push(pass.reductions[k], c.totals[k], sum_of(r, k), u.rows);
        finish(pass.reductions[k], c, c.totals[k], u);
      }
    }
    end_unit(c, u);
  }
};

}  // namespace

void run(const Lowered& program, const Binding& binding, bool overwrites) {
  for (const std::int64_t n : binding.domain)
    if (n == 0) return;
  const DefaultFloatingMode mode;
  std::optional<Uninterrupted> guard;
  if (overwrites) guard.emplace();
  const Arranged arranged(program, binding);
  if (program.rows) return run_rows(program, arranged.binding);
  run_in_parts(program, arranged.binding, overwrites,
               [&](const Binding& b) { Run(program, b).run(); });
}

}  // namespace cermet::cpu
