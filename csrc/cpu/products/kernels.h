// What an instruction set has for products: packers and block kernels, as tables.
//
// A product c = a b is computed from rows of a and packed panels of b. A panel has its elements by
// depth: unit (p, w) at p * panel width + w. A unit is what one multiplication takes: a float, a
// double, or a pair of bfloat16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

// How the elements of an operand become units.
enum class Packing : std::uint8_t {
  f32,
  f64,
  f16,         // to float
  bf16,        // to float
  bf16_pairs,  // two along the depth
  c64,         // of a: re, im along the depth. Of b: columns (re, im), below them (-im, re)
  quads,       // of a, and made before: slices of integers, byte by byte (see quads.h)
  weights,     // the first of those of kWeightFormats, packed along the depth: codes as floats
  weight_pairs = weights + 8,       // as pairs of bfloat16
  weight_quads = weight_pairs + 8,  // codes of 2, 4 or 8 bits as four bytes
  weight_rows = weight_quads + 8,   // packed along the width, as floats
  count = weight_rows + 8
};
// Integers with scale and bias; floats of 4 bits (E2M1) and 8 bits (E4M3) with a scale alone.
enum class WeightFormat : std::uint8_t { i2, i3, i4, i5, i6, i8, e2m1, e4m3 };
inline constexpr int kWeightFormats = 8;
inline Packing packing_of(Packing first, WeightFormat format) {
  return static_cast<Packing>(static_cast<int>(first) + static_cast<int>(format));
}

// Matrices of packed weights, one below the other. A group of integers has a scale and a bias of
// scale_type; one of floats a scale: 2 to a power (E8M0), or of 16 elements E4M3 times `factor`.
// Rows may lie side by side: then word i of row r is at i * rows + r, and scales and biases are so,
// too.
struct QuantizedWeights {
  const std::uint32_t *words, *end;
  const void *scales, *biases;
  Dtype scale_type;
  std::int64_t group, row_words, row_groups;
  std::int64_t rows = 0;  // of a matrix, if they lie side by side
  float factor = 1;
};
// Of rows that lie side by side no vector goes beyond the last one.
inline constexpr std::int64_t kRowsBeside = 16;

// The order of a sum: units by ascending depth in blocks of kBlockDepth, these ascending in spans
// of kSpan numbers, these ascending. It follows from k and the type alone, so that no bit of a row
// depends on the rows beside it, or on the threads.
inline constexpr std::int64_t kBlockDepth = 256, kSpan = 2048;

// A part of an operand. Steps are in elements; extents in numbers (a complex element has two).
struct Strip {
  const void* data;  // weights: what tells of them, and the strip's place
  std::int64_t width_step, depth_step;
  std::int64_t width, depth;  // a span's depth at most
  std::int64_t readable = 0;  // the width to which the operand goes on
  std::int64_t offset = 0, first_width = 0, first_depth = 0;
};
// Packs rows of units, `step` apart.
using PackRows = void (*)(const Strip& strip, std::int64_t step, void* rows);
// Packs panels, `step` units apart; what the last one lacks in width is zero. A panel has room for
// kSlack bytes more, and panels a multiple of 4 KiB apart would be in each other's way in the
// cache.
using PackPanels = void (*)(const Strip& strip, std::int64_t panel_width, std::int64_t step,
                            void* panels);

// A scaled kernel multiplies the sum over each group by its scale, and adds its bias times the sum
// of a's row over the group, of which group g of row r is at data[r * step + g * parts]. A panel
// has the scales behind its units, group by group, then the biases. Of quads there are two parts:
// the scale of the row's group, and its sum.
struct RowSums {
  const float* data = nullptr;
  std::int64_t step = 0, group = 0;  // in floats; in units
  std::int64_t parts = 1;
};

inline constexpr std::int64_t kSlack = 64;
template <class Unit>
inline constexpr std::int64_t kPad = kSlack / static_cast<std::int64_t>(sizeof(Unit));

// c (+)= a b.
struct Block {
  const void* a;
  std::int64_t a_step;  // between rows, in units
  const void* b;
  std::int64_t b_step;  // between panels, in units
  void* c;
  std::int64_t c_step, rows, columns, depth;  // in units
  bool add;
  RowSums sums = {};           // for scaled kernels
  std::int64_t a_width = 0;    // if a is in panels too: theirs; then a_step is between these
  std::int64_t a_depth = 1;    // else what is between the units of a row
  const void* next = nullptr;  // rows of the block that follows
  bool kept = false;           // b was packed long ago: it may have left the near caches
  std::int64_t b_row = 0;      // between depths, if b is not in panels but where it lies
};

struct BlockKernel {
  int rows = 0, columns = 0;  // the most of a tile, and of a panel
  int numbers = 1;            // of a unit, along the depth
  void (*multiply)(const Block& block) = nullptr;
  int slices = 1;        // units of a for each of b
  bool by_rows = false;  // a is read by rows: a_width and a_depth are at most 1
};

// c (+)= a b over a span for up to kStreamRows rows, b being read in place.
struct Stream {
  const void* a;
  std::int64_t a_step;
  Strip b;
  void* c;
  std::int64_t c_step, rows;
  RowSums sums = {};
  bool add = false;
};
inline constexpr std::int64_t kStreamRows = 8;

inline constexpr double kLeastWork = 250e3;  // multiplications that outweigh their hand-over
// Of few rows: those that take as long as so many numbers to read.
inline constexpr double kLeastReading = 60e3;

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t to) { return ceil_div(a, to) * to; }
// Parts of at most `most` that an extent has when they are about even.
inline std::int64_t even_part(std::int64_t extent, std::int64_t most) {
  const std::int64_t parts = (extent - 1) / most + 1;
  return (extent - 1) / parts + 1;
}

struct ProductKernels {
  static constexpr int kPackings = static_cast<int>(Packing::count);
  PackRows rows[kPackings] = {};                  // of left operands
  PackPanels panels[kPackings] = {};              // of right ones
  void (*stream[kPackings])(const Stream&) = {};  // some have none
  BlockKernel f32, f64, f32_scaled;
  BlockKernel bf16_pairs, bf16_scaled, quads;  // only where there is an instruction
  // The sums of x, of f32, f16 or bf16, over each group, as the last of its parts: those of every
  // sixteenth number ascending, then of halves of these.
  void (*sum_groups[kPackings])(const void* x, std::int64_t group, std::int64_t groups, float* sums,
                                std::int64_t parts) = {};
  // Rows of x as quads for codes of `bits` bits, with scales and sums.
  void (*split_groups[kPackings])(const void* x, std::int64_t bits, std::int64_t group,
                                  std::int64_t groups, std::byte* rows, float* sums) = {};
};

const ProductKernels& product_kernels();

CERMET_EACH_ISA(void fill_packs(ProductKernels& table); void fill_kernels(ProductKernels& table);
                void fill_weights(ProductKernels& table);)

namespace bf16 {
void fill_dot(ProductKernels& table);
void fill_scaled(ProductKernels& table);
}  // namespace bf16
namespace amx {
void fill_tiles(ProductKernels& table);
void fill_scaled(ProductKernels& table);
}  // namespace amx

}  // namespace cermet::cpu
