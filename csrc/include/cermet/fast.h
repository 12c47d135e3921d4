// Compositions that users of language models call by name. They fuse as the same operators written
// out would; there is no special kernel behind them.
#pragma once

#include <optional>
#include <string>

#include "cermet/ops.h"

namespace cermet::fast {

// x / sqrt(mean(x^2) + eps) * weight over the last axis, in float32 inside (Zhang and Sennrich
// 2019).
array rms_norm(const array& x, const std::optional<array>& weight, double eps,
               StreamOrDevice s = {});
// (x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016).
array layer_norm(const array& x, const std::optional<array>& weight,
                 const std::optional<array>& bias, double eps, StreamOrDevice s = {});
// Rotary positions (Su et al. 2021) over the first `dims` of the last axis of a (..., L, D) array;
// `offset` is a scalar or one for each batch element. Either `base` or `freqs` is given.
array rope(const array& a, int dims, bool traditional, std::optional<double> base, double scale,
           const array& offset, const std::optional<array>& freqs = {}, StreamOrDevice s = {});
// softmax(scale * q k^T + mask) v (Vaswani et al. 2017) for q (B, N, Lq, D), k and v
// (B, Nkv, Lk, D), N a multiple of Nkv. The mask is boolean (true attends) or additive, or causal.
array scaled_dot_product_attention(const array& q, const array& k, const array& v, double scale,
                                   const std::optional<array>& mask = {}, bool causal = false,
                                   const std::optional<array>& sinks = {}, StreamOrDevice s = {});
// The cross-entropy of logits (..., classes) at integer targets (...).
array cross_entropy(const array& logits, const array& targets, StreamOrDevice s = {});

}  // namespace cermet::fast
