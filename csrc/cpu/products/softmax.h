// The softmax of attention, block of keys by block of keys.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cermet/dtype.h"
#include "cpu/isa.h"

namespace cermet::cpu {

struct MaskFormat {
  Dtype dtype;
  std::int64_t step;  // from key to key
};

// Of panels with `keys` rows of a lane each: W lanes, those of ProductKernels::f32.
CERMET_EACH_ISA(
    // Scores become -inf from key seen[lane] on.
    void hide_later(float* scores, const std::int32_t* seen, std::int64_t keys);
    // Adds a mask, of which rows[lane] is the first key's; boolean ones hide where they are false.
    void add_mask(float* scores, const std::byte* const* rows, std::int64_t lanes,
                  const MaskFormat& format, std::int64_t keys);
    // Scores, to be scaled, become weights e^(score - high), with total their sum.
    void soften(float* scores, std::int64_t keys, float scale, float* high, float* total);
    // Weights become pairs of bfloat16, in place.
    void pair_up(float* weights, std::int64_t keys);
    // Factors for the sums so far and for a block, whose highest scores and totals join theirs.
    void join(std::int64_t lanes, float* high, float* total, const float* block_high,
              const float* block_total, float* before, float* block);
    // sums[i][lane] = sums[i][lane] * before[lane] + part[i][lane] * block[lane]
    void merge(float* sums, const float* part, std::int64_t n, const float* before,
               const float* block);
    // What sums are multiplied by in the end, and the logsumexp: where no key was seen, `none` and
    // inf times it. Sinks may be null.
    void settle(std::int64_t lanes, const float* high, const float* total, const float* sinks,
                float none, float* factor, float* logsumexp);
    // rows[lane][i] = panel[i][lane] * factor[lane], rows being `step` apart, a multiple of W.
    void turn(const float* panel, std::int64_t n, const float* factor, float* rows,
              std::int64_t step);
    bool all_finite(const float* x, std::int64_t n);
    // The same of one row of scores.
    void add_mask_row(float* scores, const std::byte* mask, const MaskFormat& format,
                      std::int64_t keys);
    void soften_row(float* scores, std::int64_t keys, float scale, float* high, float* total);
    void merge_row(float* sums, const float* part, std::int64_t n, float before, float block);
    void scale_row(float* x, std::int64_t n, float factor);
    // Backward: scores become weights, given the logsumexp of each lane;
    void weigh(float* scores, std::int64_t keys, const float* logsumexp);
    // slopes become weights * (slopes - mean of the lane).
    void pull_back(float* slopes, const float* weights, std::int64_t keys, const float* mean);
    float dot_row(const float* a, const float* b, std::int64_t n);)

}  // namespace cermet::cpu
