// Attention in blocks of keys, without a matrix of scores: what both directions share.
//
// Scores stand transposed, in panels of as many queries as a packed panel has columns: keys below
// each other, a query a lane. So the softmax is vertical, and its weights are a packed operand of
// the next product as they are.
#pragma once

#include "cpu/layout.h"
#include "cpu/products/kernels.h"
#include "cpu/products/softmax.h"
#include "graph/composites.h"

namespace cermet::cpu {

// Keys are taken in blocks counted from the first one. A block's weights are relative to its own
// highest score and are added by ascending keys; blocks are added in order. A masked key adds
// nothing, so that what a row adds up follows from the keys that it sees alone.
inline constexpr std::int64_t kKeyBlock = 256;

// A call: extents, operands and where a row's are. The queries that share a head of keys are rows
// of a group: those of one place lie side by side.
struct AttentionCall {
  AttentionCall(const AttentionOptions& options, std::span<const Tensor> inputs);

  std::int64_t group_rows() const { return shared * rows; }
  std::int64_t head(std::int64_t group, std::int64_t r) const {
    return group * shared + r % shared;
  }
  // How many keys causality leaves to a row.
  std::int64_t seen(std::int64_t r) const {
    if (!causal) return columns;
    return std::clamp<std::int64_t>(r / shared + columns - rows + 1, 0, columns);
  }
  // Where row r of an array with the queries' extents lies, in elements.
  std::int64_t row_offset(const Strides& s, std::int64_t entry, std::int64_t group,
                          std::int64_t r) const {
    return entry * s[0] + head(group, r) * s[1] + r / shared * s[2];
  }
  // Rows [first, first + count) as floats, times a factor.
  void read_rows(const Tensor& t, std::int64_t entry, std::int64_t group, std::int64_t first,
                 std::int64_t count, float factor, float* to) const;
  // The place of a row in an array of the queries' extents that is row-major.
  std::int64_t place(std::int64_t entry, std::int64_t group, std::int64_t r) const {
    return (entry * heads + head(group, r)) * rows + r / shared;
  }
  float sink(std::int64_t entry, std::int64_t head) const;
  const std::byte* mask_row(std::int64_t entry, std::int64_t group, std::int64_t r,
                            std::int64_t key) const;
  MaskFormat mask_format() const { return {mask.dtype, mask.strides.back()}; }
  bool has_mask() const { return mask.data != nullptr; }
  bool has_sinks() const { return sinks.data != nullptr; }
  // The mean of all values, for a row that sees no key.
  void mean_value(std::int64_t entry, std::int64_t group, float* to) const;

  // Keys [key, key + count) of a group, as an operand; by rows of keys or along them.
  Strip keys_of(const Tensor& t, std::int64_t entry, std::int64_t group, std::int64_t key,
                std::int64_t count, bool along) const;
  // Masks and causality, applied to a panel of rows [first, first + lanes).
  void hide(float* scores, std::int64_t entry, std::int64_t group, std::int64_t first,
            std::int64_t lanes, std::int64_t key, std::int64_t keys) const;

  Tensor q, k, v, mask{}, sinks{};
  float scale;
  bool causal;
  std::int64_t batch, heads, groups, shared, rows, columns, dim, value_dim;
};

// A packed left operand: rows of panels that lie step apart; of one row each where the kernel has
// tiles of rows.
struct Panels {
  Panels(const BlockKernel& kernel, std::int64_t rows, std::int64_t units)
      : strips(kernel.by_rows ? rows : (rows - 1) / kernel.rows + 1),
        width((rows - 1) / strips + 1),
        step(units * width + kSlack / 4) {}
  void pack(Packing packing, const Strip& strip, float* to) const {
    if (width == 1)
      product_kernels().rows[static_cast<int>(packing)](strip, step, to);
    else
      product_kernels().panels[static_cast<int>(packing)](strip, width, step, to);
  }
  std::int64_t strips, width, step;
  std::int64_t size() const { return strips * step + kSlack; }
};

// Packs keys [key, key + keys) of a group, which lie along the panels' depth.
void pack_along(const AttentionCall& call, const Tensor& t, std::int64_t entry, std::int64_t group,
                std::int64_t key, std::int64_t keys, Packing packing, const BlockKernel& kernel,
                const Panels& panels, float* to);

// The logsumexp of the scores of each row, (batch, heads, rows); computes no values without `out`.
void attend(const AttentionCall& call, const Tensor* out, float* logsumexp);

}  // namespace cermet::cpu
