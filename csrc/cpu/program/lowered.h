// A row program as calls of loops, or of machine code, on tiles. It follows from the program's
// structure and the class of its layout alone: extents, strides, pointers and constants come with
// each run.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cpu/loops.h"
#include "cpu/machine/code.h"
#include "plan/program.h"

namespace cermet::cpu {

inline constexpr std::int64_t kTile = 512;  // elements

using Location = std::uint32_t;  // an index into a context's table of tile pointers

// The type a value has in a tile.
inline Dtype tile_dtype(Dtype t) { return is_half(t) ? float32 : t; }

enum class Geometry : std::uint8_t { flat, lanes, rows };

// An input or output in memory: its element at index zero, and strides over the domain's axes.
struct BoundPort {
  std::byte* data;
  Strides strides;
};

// The numbers of one run.
struct Binding {
  std::span<const std::int64_t> domain;
  std::span<const std::uint64_t> constants;
  std::span<const BoundPort> inputs, outputs;
};

// All that a lowering depends on besides the program's structure.
struct LayoutClass {
  Geometry geometry = Geometry::flat;
  int outer = 0;                   // axes, as they are arranged
  bool keeps = true;               // what a pass computes is kept for the next ones
  bool by_rows = false;            // rows are adjacent in memory, so that code takes them
  std::uint8_t by_columns = 0;     // columns are, of which so many steps are reduced at once
  bool in_blocks = false;          // and are longer than a block
  SmallVector<bool, 16> linear;    // of inputs, then outputs: a tile is a run of adjacent elements
  SmallVector<bool, 16> constant;  // a row of it is one element, of these two
  bool operator==(const LayoutClass&) const = default;
};
LayoutClass classify(const Program& program, const Binding& binding);

// An input or output.
struct Port {
  ValueId value;
  Dtype dtype;
  Extent extent;
  bool linear;
  // A tile of the port is its memory itself.
  bool direct() const { return linear && !is_half(dtype); }
};

// A value of a row or of one element: these have tiles of their own.
struct SmallValue {
  ValueId id;
  Extent extent;
  Dtype dtype;
  Value::From from;
  std::uint32_t index;  // of the constant or the port
};

// One action on a tile: a loop, or the load or store of a port; or code for several of them.
struct Call {
  enum class Kind : std::uint8_t { operation, round, load, store, code } kind = Kind::operation;
  Op op = Op::cast;
  Dtype compute = float32, result = float32;  // in tiles; of `round`, the 16-bit type
  Loop loop = nullptr;                        // of an operation, or to round
  const machine::Code* code = nullptr;
  Location out = 0, a = 0, b = 0, c = 0;  // of a port: `a` is its index, `out` the value's location
};

// A tile pointer that moves with the tile: into a port's memory, or into scratch.
struct Moving {
  Location location;
  std::int32_t port;   // negative: scratch memory
  std::uint32_t slot;  // of scratch memory
  std::size_t size;    // of an element
};

struct Reduction {
  Dtype dtype;  // in tiles
  Dtype from;   // of what it reads: `dtype`, or halves in memory
  Location in;
  std::int32_t moving;  // of the pass's `moving`, where it is in memory; else negative
  ValueId out;
  Loop loop;
  RowLoop rows, fold_rows;
  ColumnLoop columns;
  BlockLoop block, fold_block;
  Loop round;    // for a 16-bit result
  Op op;         // that combines
  bool squares;  // of what is read
};

struct RowCode;
struct ColumnCode;

// What is done on the way over a row's tiles.
struct Pass {
  // What its calls cost an element, in loops.
  std::int64_t cost() const {
    std::int64_t sum = 0;
    for (const Call& call : calls) sum += call.code ? call.code->cost() : 1;
    return sum;
  }
  std::vector<Call> row_calls;       // before the tiles: on values a row
  std::vector<SmallValue> expanded;  // row values that the tiles' calls read
  std::vector<Moving> moving;
  std::vector<Call> calls;
  std::vector<Reduction> reductions;
  std::shared_ptr<const RowCode> code;  // for a block of a row, where that is all that is reduced
  std::array<std::shared_ptr<const ColumnCode>, 2> columns;  // for many steps of columns, for one
};

// A context's table holds, in this order: a tile a value, one for each row value's expansion, and
// registers.
struct Lowered {
  LayoutClass layout;
  int outer = 0, reduced = 0;            // axes of each group, as the program has them
  std::vector<Port> ports;               // inputs, then outputs
  std::size_t inputs = 0, products = 0;  // these are the first inputs
  std::vector<SmallValue> small;
  std::vector<Pass> passes;
  Location values = 0, registers = 0;
  std::size_t reductions = 0;  // of a pass, at most
  std::uint32_t slots = 0;     // values that scratch memory keeps between passes
  std::int64_t tile = kTile;   // the most elements of one
  std::int64_t splat = kTile;  // and of a scalar's
  std::vector<std::shared_ptr<const machine::Code>> codes;
  std::shared_ptr<const RowCode> rows;  // for all of it
};
Lowered lower(const Program& program, const LayoutClass& layout);
// The same with code for all that can be code. `streams`: what outputs get is stored past the
// caches.
Lowered with_code(const Lowered& program, bool streams = false);

}  // namespace cermet::cpu
