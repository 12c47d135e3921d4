// The tile interpreter.
//
// A program's domain is cut into tiles of up to kTile elements that are adjacent in the order
// (outer, reduced, inner). Instructions are calls of contiguous loops on tiles; a tile is a
// register, the memory of a contiguous input or output itself, or scratch memory that keeps a value
// from one pass over a row for the next.
//
// Three geometries cover all programs:
//   flat     nothing is reduced: tiles in any order.
//   lanes    a unit is one outer index and up to kTile inner elements (one, when the last axis is
//            reduced). A tile holds as many reduced steps as fit. A reduction adds tiles up, in
//            chunks of kChunk tiles, then folds halves onto halves.
//   rows     several short rows (up to half a tile) share a tile; each reduces in one loop.
// The order of a reduction's additions follows from the domain's shape alone, so the result has the
// same bits for any fusion and number of threads.
#include "cpu/program/interpret.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "cermet/eval.h"
#include "cpu/floating_mode.h"
#include "cpu/parallel.h"
#include "cpu/program/layout.h"
#include "eval/interrupt.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kChunk = 64;               // tiles
constexpr std::int64_t kMaxScratch = 64 * 1024;   // elements of a unit kept between passes
constexpr std::int64_t kMinParallel = 16 * 1024;  // elements a thread should get, at least

// How a domain is cut.
struct Extents {
  std::int64_t outer = 1, reduced = 1, inner = 1;
  std::int64_t rows = 1;   // rows: rows a tile
  std::int64_t width = 1;  // lanes: inner elements a unit
  std::int64_t steps = 1;  // lanes: reduced steps a tile

  Extents(std::span<const std::int64_t> domain, int outer_axes, int reduced_axes) {
    int axis = 0;
    for (const std::int64_t n : domain) {
      (axis < outer_axes ? outer : axis < outer_axes + reduced_axes ? reduced : inner) *= n;
      ++axis;
    }
    const std::int64_t pieces = std::max<std::int64_t>(1, (inner + kTile - 1) / kTile);
    if (inner == 1 && reduced <= kTile / 2) rows = kTile / std::max<std::int64_t>(1, reduced);
    width = pieces == 1 ? std::max<std::int64_t>(1, inner)
                        : std::min(kTile, ((inner + pieces - 1) / pieces + 15) / 16 * 16);
    steps = pieces == 1 ? kTile / width : 1;
  }
  // Elements of a unit's tiles.
  std::int64_t unit() const { return (reduced + steps - 1) / steps * kTile; }
};

// Over the domain for full extent, over outer and inner axes for a row's.
Layout layout_of(std::span<const std::int64_t> domain, const Strides& strides, int outer,
                 int reduced, Extent extent) {
  Layout out;
  if (extent == Extent::scalar) return out;
  for (int i = 0; i < static_cast<int>(domain.size()); ++i)
    if (extent == Extent::full || i < outer || i >= outer + reduced) out.add(domain[i], strides[i]);
  return out;
}

// The memory of one thread at work on a program.
struct Context {
  std::byte** table;
  std::byte* scratch;
};

// The rows of a unit: where they are among all rows, and how many.
struct Unit {
  std::int64_t first_row, rows;
  std::int64_t first, lanes;  // of the first tile: its place in the domain and its elements
  std::int64_t tiles;
};

class Run {
 public:
  Run(const Lowered& program, const Binding& binding)
      : p_(program),
        b_(binding),
        loops_(loops()),
        geometry_(program.layout.geometry),
        x_(binding.domain, program.outer, program.reduced) {
    for (std::size_t i = 0; i < p_.ports.size(); ++i)
      layouts_.push_back(p_.ports[i].linear ? Layout()
                                            : layout_of(b_.domain, bound(i).strides, p_.outer,
                                                        p_.reduced, p_.ports[i].extent));
    if (geometry_ == Geometry::lanes) scratch_elements_ = x_.unit();
  }

  void run() {
    switch (geometry_) {
      case Geometry::flat: return run_flat();
      case Geometry::rows:
        return run_units((x_.outer + x_.rows - 1) / x_.rows, x_.rows * x_.reduced);
      case Geometry::lanes: {
        const std::int64_t units = x_.outer * ((x_.inner + x_.width - 1) / x_.width);
        if (units < 2 * get_num_threads() && scratch_elements_ > kMaxScratch &&
            get_num_threads() > 1)
          for (std::int64_t u = 0; u < units; ++u) run_together(u);
        else
          run_units(units, x_.reduced * x_.width);
      }
    }
  }

 private:
  const BoundPort& bound(std::size_t port) const {
    return port < p_.inputs ? b_.inputs[port] : b_.outputs[port - p_.inputs];
  }

  // ---- Contexts ----

  Location table_size() const {
    return 2 * p_.values + p_.registers + static_cast<Location>(2 * p_.accumulators);
  }
  Location accumulator(std::size_t reduction, int which) const {
    return 2 * p_.values + p_.registers + static_cast<Location>(2 * reduction) + which;
  }

  // Lays out a thread's memory. Only what a program uses of it is ever touched.
  Context make_context(std::vector<std::byte>& memory) const {
    const std::size_t pointers = (table_size() * sizeof(std::byte*) + 63) / 64 * 64;
    std::size_t tiles = p_.registers + 2 * p_.accumulators;
    for (const SmallValue& v : p_.small) tiles += v.extent == Extent::row ? 2 : 1;
    const std::size_t scratch = p_.slots * static_cast<std::size_t>(scratch_elements_) * 8;
    const std::size_t bytes = pointers + tiles * kRegister + scratch + 64;
    if (memory.size() < bytes) memory.resize(bytes);
    auto* next = reinterpret_cast<std::byte*>(
        (reinterpret_cast<std::uintptr_t>(memory.data()) + 63) & ~std::uintptr_t{63});
    Context c{reinterpret_cast<std::byte**>(next), nullptr};
    next += pointers;
    std::fill_n(c.table, table_size(), nullptr);
    const auto place = [&](Location at) {
      c.table[at] = next;
      next += kRegister;
    };
    for (const SmallValue& v : p_.small) {
      place(v.id);
      if (v.extent == Extent::row) place(p_.values + v.id);
    }
    for (Location at = 2 * p_.values; at < table_size(); ++at) place(at);
    c.scratch = next;
    const std::int64_t n =
        geometry_ == Geometry::flat ? std::min(kTile, x_.outer * x_.inner) : kTile;
    for (const SmallValue& v : p_.small)
      if (v.extent == Extent::scalar) fill_scalar(v, c.table[v.id], n);
    return c;
  }
  Context make_context() const {
    thread_local std::vector<std::byte> memory;
    return make_context(memory);
  }

  void fill_scalar(const SmallValue& v, std::byte* out, std::int64_t n) const {
    const std::byte* in = v.from == Value::From::constant
                              ? reinterpret_cast<const std::byte*>(&b_.constants[v.index])
                              : b_.inputs[v.index].data;
    float wide;
    if (is_half(v.dtype)) {
      loops_.widen[static_cast<int>(v.dtype)](&wide, in, nullptr, nullptr, 1);
      in = reinterpret_cast<const std::byte*>(&wide);
    }
    splat(out, in, size_of(tile_dtype(v.dtype)), n);
  }

  // ---- Tiles ----

  void load_port(std::size_t index, std::int64_t first, std::int64_t n, std::byte* out) const {
    const Port& port = p_.ports[index];
    const std::size_t size = size_of(port.dtype);
    const std::byte* base = bound(index).data;
    if (!is_half(port.dtype)) {
      if (!port.linear) return load(layouts_[index], base, size, first, n, out);
      std::memcpy(out, base + first * static_cast<std::int64_t>(size), n * size);
      return;
    }
    const Loop widen = loops_.widen[static_cast<int>(port.dtype)];
    if (port.linear)
      return widen(out, base + first * static_cast<std::int64_t>(size), nullptr, nullptr, n);
    alignas(64) std::byte narrow[kTile * 2];
    load(layouts_[index], base, size, first, n, narrow);
    widen(out, narrow, nullptr, nullptr, n);
  }
  void store_port(std::size_t index, std::int64_t first, std::int64_t n,
                  const std::byte* in) const {
    const Port& port = p_.ports[index];
    const std::size_t size = size_of(port.dtype);
    std::byte* base = bound(index).data;
    if (!is_half(port.dtype)) {
      if (!port.linear) return store(layouts_[index], base, size, first, n, in);
      std::memcpy(base + first * static_cast<std::int64_t>(size), in, n * size);
      return;
    }
    const Loop narrow_loop = loops_.narrow[static_cast<int>(port.dtype)];
    if (port.linear)
      return narrow_loop(base + first * static_cast<std::int64_t>(size), in, nullptr, nullptr, n);
    alignas(64) std::byte narrow[kTile * 2];
    narrow_loop(narrow, in, nullptr, nullptr, n);
    store(layouts_[index], base, size, first, n, narrow);
  }

  // Runs a pass's calls on the tile of n elements at `first`, the `local`-th of its unit.
  void run_tile(const Pass& pass, Context& c, std::int64_t first, std::int64_t local,
                std::int64_t n) const {
    std::byte** table = c.table;
    for (const Moving& m : pass.moving) {
      const auto size = static_cast<std::int64_t>(m.size);
      table[m.location] = m.port >= 0
                              ? bound(m.port).data + first * size
                              : c.scratch + m.slot * scratch_elements_ * 8 + local * kTile * size;
    }
    for (const Call& call : pass.calls) {
      if (call.kind == Call::Kind::loop)
        call.loop(table[call.out], table[call.a], table[call.b], table[call.c], n);
      else if (call.kind == Call::Kind::load)
        load_port(call.a, first, n, table[call.out]);
      else
        store_port(call.a, first, n, table[call.out]);
    }
  }

  void run_flat() {
    const Pass& pass = p_.passes[0];
    const auto cost = static_cast<std::int64_t>(pass.calls.size() + 1);
    const std::int64_t grain =
        std::clamp(std::int64_t{1 << 18} / cost / kTile * kTile, 2 * kTile, 4 * kMinParallel);
    parallel_for(x_.outer * x_.inner, grain, [&](std::int64_t begin, std::int64_t end) {
      Context c = make_context();
      for (std::int64_t i = begin; i < end; i += kTile)
        run_tile(pass, c, i, 0, std::min(kTile, end - i));
    });
  }

  // ---- Rows ----

  Unit unit(std::int64_t u) const {
    if (geometry_ == Geometry::rows) {
      const std::int64_t r = u * x_.rows, rows = std::min(x_.rows, x_.outer - r);
      return {r, rows, r * x_.reduced, rows * x_.reduced, 1};
    }
    const std::int64_t pieces = (x_.inner + x_.width - 1) / x_.width;
    const std::int64_t o = u / pieces, column = u % pieces * x_.width;
    const std::int64_t width = std::min(x_.width, x_.inner - column);
    return {o * x_.inner + column, width, o * x_.reduced * x_.inner + column,
            std::min(x_.steps, x_.reduced) * width, (x_.reduced + x_.steps - 1) / x_.steps};
  }
  // The elements of tile t of a unit of the lanes geometry.
  std::int64_t tile_size(const Unit& u, std::int64_t t) const {
    return std::min(x_.steps, x_.reduced - t * x_.steps) * u.rows;
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

  // Folds a sum over lanes to one value a row, and rounds it.
  void finish(const Reduction& r, Context& c, std::byte* total, const Unit& u) const {
    const std::size_t size = size_of(r.dtype);
    for (std::int64_t steps = u.lanes / u.rows; steps > 1;) {
      const std::int64_t half = (steps + 1) / 2;
      r.loop(total, total, total + half * u.rows * size, nullptr, (steps - half) * u.rows);
      steps = half;
    }
    std::byte* out = c.table[r.out];
    if (r.round)
      r.round(out, total, nullptr, nullptr, u.rows);
    else
      std::memcpy(out, total, u.rows * size);
  }

  // Sums the tiles [begin, end) of a unit, a chunk, into the accumulators `which`.
  void run_chunk(const Pass& pass, Context& c, const Unit& u, std::int64_t begin, std::int64_t end,
                 int which) const {
    for (std::int64_t t = begin; t < end; ++t) {
      const std::int64_t n = tile_size(u, t);
      run_tile(pass, c, u.first + t * x_.steps * x_.inner, t, n);
      for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
        const Reduction& r = pass.reductions[k];
        std::byte* sum = c.table[accumulator(k, which)];
        if (t == begin)
          std::memcpy(sum, c.table[r.in], n * size_of(r.dtype));
        else
          r.loop(sum, sum, c.table[r.in], nullptr, n);
      }
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
      for (std::int64_t t = 0; t < u.tiles; t += kChunk) {
        run_chunk(pass, c, u, t, std::min(u.tiles, t + kChunk), t == 0 ? 0 : 1);
        if (t == 0) continue;
        for (std::size_t k = 0; k < pass.reductions.size(); ++k)
          add_chunk(pass.reductions[k], c.table[accumulator(k, 0)], c.table[accumulator(k, 1)], u,
                    t);
      }
      for (std::size_t k = 0; k < pass.reductions.size(); ++k)
        finish(pass.reductions[k], c, c.table[accumulator(k, 0)], u);
    }
    end_unit(c, u);
  }
  // Adds the sum of the chunk that begins with tile t.
  void add_chunk(const Reduction& r, std::byte* total, const std::byte* chunk, const Unit& u,
                 std::int64_t t) const {
    r.loop(total, total, chunk, nullptr, tile_size(u, t));
  }

  void run_units(std::int64_t units, std::int64_t elements) {
    std::int64_t cost = 1;
    for (const Pass& pass : p_.passes) cost += static_cast<std::int64_t>(pass.calls.size());
    const std::int64_t grain = std::max<std::int64_t>(
        1, std::int64_t{1 << 17} / std::max<std::int64_t>(1, elements * cost / 2));
    parallel_for(units, grain, [&](std::int64_t begin, std::int64_t end) {
      Context c = make_context();
      for (std::int64_t i = begin; i < end; ++i) run_unit(c, unit(i));
    });
  }

  // One large unit by all threads: the chunks of each pass in parallel.
  void run_together(std::int64_t index) {
    const Unit u = unit(index);
    // The calling thread's share of the loops below has its own memory.
    std::vector<std::byte> memory;
    Context c = make_context(memory);
    const std::int64_t chunks = (u.tiles + kChunk - 1) / kChunk;
    std::vector<std::byte> sums(static_cast<std::size_t>(chunks) * p_.accumulators * kRegister);
    const auto sum = [&](std::int64_t chunk, std::size_t k) {
      return sums.data() + (static_cast<std::size_t>(chunk) * p_.accumulators + k) * kRegister;
    };
    for (std::size_t i = 0; i < p_.passes.size(); ++i) {
      const Pass& pass = p_.passes[i];
      begin_pass(i, c, u);
      if (pass.calls.empty() && pass.reductions.empty()) continue;
      parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
        Context mine = make_context();
        for (const SmallValue& v : p_.small) {  // these are shared and only read
          mine.table[v.id] = c.table[v.id];
          mine.table[p_.values + v.id] = c.table[p_.values + v.id];
        }
        for (std::int64_t chunk = begin; chunk < end; ++chunk) {
          for (std::size_t k = 0; k < pass.reductions.size(); ++k)
            mine.table[accumulator(k, 0)] = sum(chunk, k);
          run_chunk(pass, mine, u, chunk * kChunk, std::min(u.tiles, (chunk + 1) * kChunk), 0);
        }
      });
      for (std::size_t k = 0; k < pass.reductions.size(); ++k) {
        for (std::int64_t chunk = 1; chunk < chunks; ++chunk)
          add_chunk(pass.reductions[k], sum(0, k), sum(chunk, k), u, chunk * kChunk);
        finish(pass.reductions[k], c, sum(0, k), u);
      }
    }
    end_unit(c, u);
  }

  const Lowered& p_;
  const Binding& b_;
  const Loops& loops_;
  const Geometry geometry_;
  const Extents x_;
  SmallVector<Layout, 8> layouts_;         // of ports that are not linear
  std::int64_t scratch_elements_ = kTile;  // of a unit's tiles
};

}  // namespace

LayoutClass classify(const Program& p, const Binding& b) {
  const Extents x(b.domain, p.outer, p.reduced);
  LayoutClass out;
  if (p.reduced) out.geometry = x.rows > 1 ? Geometry::rows : Geometry::lanes;
  out.keeps = out.geometry != Geometry::lanes || x.unit() <= kMaxScratch;
  for (std::size_t i = 0; i < p.inputs.size() + p.outputs.size(); ++i) {
    const bool input = i < p.inputs.size();
    const std::size_t k = input ? i : i - p.inputs.size();
    const Extent extent = input ? p.inputs[k].extent : p.values[p.outputs[k].value].extent;
    const BoundPort& port = input ? b.inputs[k] : b.outputs[k];
    out.linear.push_back(layout_of(b.domain, port.strides, p.outer, p.reduced, extent).linear());
  }
  return out;
}

void run(const Lowered& program, const Binding& binding, bool overwrites) {
  for (const std::int64_t n : binding.domain)
    if (n == 0) return;
  const DefaultFloatingMode mode;
  std::optional<Uninterrupted> guard;
  if (overwrites) guard.emplace();
  Run(program, binding).run();
}

}  // namespace cermet::cpu
