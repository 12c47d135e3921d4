// The submodule fast: compositions that language models call by name.
#include <nanobind/stl/variant.h>

#include "bindings.h"
#include "cermet/fast.h"

namespace cermet::python {

void bind_fast(nb::module_& m) {
  nb::module_ sub = m.def_submodule("fast", "Compositions that language models call by name.");
  sub.def(
      "rms_norm",
      [](const array& x, const std::optional<array>& weight, double eps, StreamOrDevice s) {
        return fast::rms_norm(x, weight, eps, s);
      },
      "x"_a, "weight"_a.none(), "eps"_a, nb::kw_only(), "stream"_a = nb::none(),
      "x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019).");
  sub.def(
      "layer_norm",
      [](const array& x, const std::optional<array>& weight, const std::optional<array>& bias,
         double eps, StreamOrDevice s) { return fast::layer_norm(x, weight, bias, eps, s); },
      "x"_a, "weight"_a.none(), "bias"_a.none(), "eps"_a, nb::kw_only(), "stream"_a = nb::none(),
      "(x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016).");
  sub.def(
      "rope",
      [](const array& a, int dims, bool traditional, std::optional<double> base, double scale,
         Operand offset, const std::optional<array>& freqs, StreamOrDevice s) {
        return fast::rope(a, dims, traditional, base, scale, to_array(offset), freqs, s);
      },
      "a"_a, "dims"_a, nb::kw_only(), "traditional"_a, "base"_a.none(), "scale"_a, "offset"_a,
      "freqs"_a = nb::none(), "stream"_a = nb::none(),
      "Rotary positions (Su et al. 2021) over the first `dims` of the last axis of (..., L, D): "
      "position i counts as scale * (offset + i). Either `base` or `freqs` is given; `traditional` "
      "pairs neighbours instead of halves.");
  sub.def(
      "scaled_dot_product_attention",
      [](const array& q, const array& k, const array& v, double scale,
         const std::variant<std::monostate, std::string, array>& mask,
         const std::optional<array>& sinks, bool, StreamOrDevice s) {
        const std::string* name = std::get_if<std::string>(&mask);
        if (name && *name != "causal")
          throw std::invalid_argument(
              "scaled_dot_product_attention: a mask is an array or 'causal', not '" + *name + "'");
        const array* given = std::get_if<array>(&mask);
        return fast::scaled_dot_product_attention(q, k, v, scale,
                                                  given ? std::optional(*given) : std::nullopt,
                                                  name != nullptr, sinks, s);
      },
      "q"_a, "k"_a, "v"_a, nb::kw_only(), "scale"_a, "mask"_a = nb::none(), "sinks"_a = nb::none(),
      "force_fused"_a = false, "stream"_a = nb::none(),
      "softmax(scale * q k^T + mask) v (Vaswani et al. 2017) for q (B, N, Lq, D) and k, v "
      "(B, Nkv, Lk, D), N a multiple of Nkv. A mask is boolean (true attends), added to the "
      "scores, "
      "or 'causal'; `sinks` (N,) join each softmax without a value. There is one implementation: "
      "force_fused changes nothing.");
  sub.def(
      "cross_entropy",
      [](const array& logits, const array& targets, StreamOrDevice s) {
        return fast::cross_entropy(logits, targets, s);
      },
      "logits"_a, "targets"_a, nb::kw_only(), "stream"_a = nb::none(),
      "The cross-entropy of logits (..., classes) at integer targets (...).");
}

}  // namespace cermet::python
