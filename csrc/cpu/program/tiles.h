// What all geometries share: how a domain is cut, the memory of a thread at work on a program, and
// how a pass's calls run on one tile.
#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>

#include "cermet/eval.h"
#include "cpu/layout.h"
#include "cpu/parallel.h"
#include "cpu/program/layout.h"
#include "cpu/program/lowered.h"

namespace cermet::cpu {

inline constexpr std::int64_t kMaxScratch = 64 * 1024;  // elements of a unit kept between passes

// How a domain is cut.
struct Extents {
  std::int64_t outer = 1, reduced = 1, inner = 1;
  std::int64_t rows = 1;   // rows: rows a tile
  std::int64_t width = 1;  // lanes: inner elements a unit
  std::int64_t steps = 1;  // lanes: reduced steps a tile; a power of two, or all of up to kLanes

  Extents(std::span<const std::int64_t> domain, int outer_axes, int reduced_axes);
  std::int64_t blocks() const { return (reduced + kBlock - 1) / kBlock; }
  // Elements of a unit's tiles.
  std::int64_t unit() const { return (reduced + steps - 1) / steps * kTile; }
};

// A reduction on its way: a block's lanes, side by side for each of a unit's rows; and the sums of
// blocks, added as a binary counter carries.
struct Total {
  std::byte *lanes, *levels;
  std::int64_t blocks = 0, depth = 0;
};

// The memory of one thread at work on a program.
struct Context {
  std::byte** table;
  Total* totals;
  std::byte* scratch;
  std::array<std::byte*, 2> products;  // tiles of products' results, where there are such
};

// A run of a program, as far as it does not matter how the domain is cut.
class Tiles {
 public:
  Tiles(const Lowered& program, const Binding& binding);

 protected:
  const BoundPort& bound(std::size_t port) const {
    return port < p_.inputs ? b_.inputs[port] : b_.outputs[port - p_.inputs];
  }

  // ---- Contexts ----

  Location table_size() const { return 2 * p_.values + p_.registers; }
  // The bytes of a total's lanes, and with its levels.
  std::size_t lanes_size() const {
    return static_cast<std::size_t>(std::clamp<std::int64_t>(x_.reduced, 1, kLanes) * x_.width) * 8;
  }
  std::size_t total_size() const {
    if (geometry_ != Geometry::lanes) return 0;
    const auto levels =
        static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(x_.blocks()) / 2));
    return lanes_size() + (levels ? levels + 2 : 0) * static_cast<std::size_t>(x_.width) * 8;
  }

  // The bytes of a tile, whatever its type; and of a small value, of which a program may have
  // thousands: of a row's the elements of a unit, of a scalar's a tile.
  std::size_t tile_bytes(std::size_t size = 8) const { return whole(tile_ * size); }
  std::size_t small_bytes(const SmallValue& v) const {
    if (v.extent == Extent::scalar) return whole(splat_ * size_of(tile_dtype(v.dtype)));
    return whole((geometry_ == Geometry::lanes ? x_.width : x_.rows) * 8);
  }

  // The bytes of a thread's memory.
  std::size_t context_bytes() const;
  static std::size_t whole(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
  // Lays out a thread's memory. Only what a program uses of it is ever touched.
  Context make_context(std::byte* next) const;

  // Calls body(context, begin, end) for the pieces of a loop. The threads' memory is there before
  // anything is written, for what a program overwrites cannot be computed again.
  template <class Body>
  void for_each_piece(std::int64_t n, std::int64_t grain, Body body) const {
    const std::size_t bytes = context_bytes();
    const int threads = n > grain ? get_num_threads() : 1;
    const Workspace<std::byte> memory(static_cast<std::int64_t>(bytes) * threads);
    parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
      const int thread = threads == 1 ? 0 : thread_index();
      std::optional<Workspace<std::byte>> own;  // of a thread more, if their number has just grown
      if (thread >= threads) own.emplace(static_cast<std::int64_t>(bytes));
      Context c = make_context(own ? own->get() : memory.get() + thread * bytes);
      body(c, begin, end);
    });
  }

  void fill_scalar(const SmallValue& v, std::byte* out, std::int64_t n) const;

  // ---- Tiles ----

  // Where an element of a port is.
  std::byte* place(std::size_t port, std::int64_t first, std::size_t size) const {
    return bound(port).data + layouts_[port].at(first) * static_cast<std::int64_t>(size);
  }
  void load_port(std::size_t index, std::int64_t first, std::int64_t n, std::byte* out) const;
  void store_port(std::size_t index, std::int64_t first, std::int64_t n, const std::byte* in) const;

  // Where a value in memory is: a product's tile, `first` in its port, or `local` elements into
  // scratch memory.
  std::byte* address(const Moving& m, const Context& c, std::int64_t first,
                     std::int64_t local) const {
    const auto size = static_cast<std::int64_t>(m.size);
    if (m.port < 0) return c.scratch + m.slot * scratch_elements_ * 8 + local * size;
    const auto port = static_cast<std::size_t>(m.port);
    return port < p_.products ? c.products[port] : place(port, first, m.size);
  }

  // Runs a pass's calls on the tile of n elements at `first`, `local` elements into its unit.
  void run_tile(const Pass& pass, Context& c, std::int64_t first, std::int64_t local,
                std::int64_t n) const {
    for (const Moving& m : pass.moving) c.table[m.location] = address(m, c, first, local);
    run_calls(pass, c, first, n);
  }
  void run_calls(const Pass& pass, Context& c, std::int64_t first, std::int64_t n) const {
    std::byte** table = c.table;
    for (const Call& call : pass.calls) switch (call.kind) {
        case Call::Kind::operation:
        case Call::Kind::round:
          call.loop(table[call.out], table[call.a], table[call.b], table[call.c], n);
          break;
        case Call::Kind::code: call.code->run(table, n); break;
        case Call::Kind::load: load_port(call.a, first, n, table[call.out]); break;
        case Call::Kind::store: store_port(call.a, first, n, table[call.out]); break;
      }
  }

  const Lowered& p_;
  const Binding& b_;
  const Loops& loops_;
  const Geometry geometry_;
  const Extents x_;
  static constexpr std::int64_t kNoRow = std::numeric_limits<std::int64_t>::max();
  std::int64_t row_ = kNoRow;              // tiles end where rows of so many elements do
  SmallVector<Layout, 8> layouts_;         // of ports; empty where all elements are adjacent
  std::int64_t scratch_elements_ = kTile;  // of a unit's tiles
  std::int64_t tile_ = kTile;              // the most elements of a tile
  std::int64_t splat_ = kTile;             // of a scalar's
};

}  // namespace cermet::cpu
