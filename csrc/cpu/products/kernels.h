// What an instruction set has for products: packers and block kernels, as tables.
//
// A product c = a b is computed from packed panels. A panel of `width` rows of a, or columns of b,
// has its elements by depth: unit (p, w) at p * width + w. A unit is what one multiplication takes:
// a float, a double, or a pair of bfloat16.
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
  f16,                        // to float
  bf16,                       // to float
  bf16_pairs,                 // two along the depth
  c64_left,                   // the real part, then the imaginary one, along the depth
  c64_right,                  // columns (re, im), below them (-im, re)
  weights,                    // the first of those of kWeightBits, packed along the depth
  weight_rows = weights + 6,  // and along the width
  count = weight_rows + 6
};
inline constexpr int kWeightBits[] = {2, 3, 4, 5, 6, 8};

// Matrices of packed weights, one below the other. A group has a scale and a bias of scale_type.
struct QuantizedWeights {
  const std::uint32_t *words, *end;
  const void *scales, *biases;
  Dtype scale_type;
  std::int64_t group, row_words, row_groups;
};

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
// Packs into panels of panel_width, `panel_step` units apart; what the last one lacks is zero. A
// panel has room for kSlack bytes more, which also keeps panels out of each other's cache sets.
using Pack = void (*)(const Strip& strip, std::int64_t panel_width, std::int64_t panel_step,
                      void* panels);
inline constexpr std::int64_t kSlack = 64;

// c (+)= a b, of packed panels.
struct Block {
  const void *a, *b;
  std::int64_t a_width, a_step, b_step;  // of panels, in units
  void* c;
  std::int64_t c_step, rows, columns, depth;  // in units
  bool add;
};

struct BlockKernel {
  int rows = 0, columns = 0;  // the most of a panel of a, all of a panel of b
  int numbers = 1;            // of a unit, along the depth
  void (*multiply)(const Block& block) = nullptr;
};

// c = a b over a span for up to kStreamRows rows, b being read in place. `a` is one panel of
// stream_width(rows).
struct Stream {
  const void* a;
  Strip b;
  void* c;
  std::int64_t c_step, rows;
};
inline constexpr std::int64_t kStreamRows = 8;
inline std::int64_t stream_width(std::int64_t rows) {
  return rows <= 2 ? rows : rows <= 4 ? 4 : kStreamRows;
}

struct ProductKernels {
  Pack pack[static_cast<int>(Packing::count)] = {};
  void (*stream[static_cast<int>(Packing::count)])(const Stream&) = {};  // some have none
  BlockKernel f32, f64, bf16_pairs;  // the last one only where there is an instruction
};

const ProductKernels& product_kernels();

CERMET_EACH_ISA(void fill_packs(ProductKernels& table); void fill_kernels(ProductKernels& table);
                void fill_weights(ProductKernels& table);)

namespace bf16 {
void fill_dot(ProductKernels& table);
}

}  // namespace cermet::cpu
