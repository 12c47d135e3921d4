// Compositions that users of language models call by name, which fuse as the same operators written
// out would (there is no special kernel behind them), and kernels that users write themselves.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

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
// The maxima of windows that slide over the spatial axes of x (n, *spatial, channels), beyond which
// there is nothing but padding.
array max_pool(const array& x, const Shape& kernel, const Shape& stride, const Shape& padding,
               StreamOrDevice s = {});
// The cross-entropy of logits (..., classes) at integer targets (...).
array cross_entropy(const array& logits, const array& targets, StreamOrDevice s = {});
// The gated delta rule (Yang et al. 2024): a state (Dv, Dk) of each head is scaled by gamma, moved
// to what answers k with v by the part beta, and asked q, at each time. q and k are (B, T, Hk, Dk),
// v (B, T, Hv, Dv), Hv a multiple of Hk, gamma (B, T, Hv) or (B, T, Hv, Dk), beta (B, T, Hv). Where
// the mask (B, T) is false the state stays and the result is zero. Gives the results (B, T, Hv,
// Dv), in q's type, and the last state (B, Hv, Dv, Dk), in float32 or wider; the first is zero
// unless given.
Arrays gated_delta_update(const array& q, const array& k, const array& v, const array& gamma,
                          const array& beta, const std::optional<array>& initial_state = {},
                          const std::optional<array>& mask = {}, StreamOrDevice s = {});

// A kernel of the user's own, in Metal: the body of a function whose signature is made from what
// the body mentions.
//
// The inputs are `device const T*` (a scalar: `constant T&`), the outputs `device T*`, or
// `device atomic<T>*`. Of an input `a`, the body may also name `a_shape` (constant const int*),
// `a_strides` (constant const long*, in elements) and `a_ndim`. Metal's kernel attributes, such as
// thread_position_in_grid (uint3), are arguments under their own names when the body names them.
class MetalKernel {
 public:
  using Extents = std::array<std::int64_t, 3>;
  // A template parameter of the body: an int, a bool or a type.
  using TemplateArgument = std::variant<std::int64_t, bool, Dtype>;
  using TemplateArguments = std::vector<std::pair<std::string, TemplateArgument>>;

  // `header` stands before the function. std::invalid_argument for names that cannot be arguments.
  MetalKernel(std::string name, std::vector<std::string> input_names,
              std::vector<std::string> output_names, std::string source, std::string header = "",
              bool ensure_row_contiguous = true, bool atomic_outputs = false);

  // One output for each shape and dtype. `grid` counts threads. Outputs hold `init_value` before
  // the kernel runs, if it is given. The kernel is compiled when the outputs are evaluated, and its
  // errors are raised there. `verbose` prints the source.
  Arrays operator()(const Arrays& inputs, const std::vector<Shape>& output_shapes,
                    const std::vector<Dtype>& output_dtypes, Extents grid, Extents threadgroup,
                    const TemplateArguments& template_arguments = {},
                    std::optional<double> init_value = {}, bool verbose = false,
                    StreamOrDevice s = {}) const;
  // The whole source for such a call.
  std::string source(const Arrays& inputs, const std::vector<Dtype>& output_dtypes,
                     const TemplateArguments& template_arguments = {}) const;

 private:
  std::string kernel_name(const TemplateArguments& template_arguments) const;
  bool mentions(std::string_view word) const;

  std::string name_;
  std::vector<std::string> input_names_, output_names_;
  std::string body_, header_;
  bool ensure_row_contiguous_, atomic_outputs_;
};

}  // namespace cermet::fast
