// The submodule fast: compositions that language models call by name, and users' kernels.
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"
#include "cermet/fast.h"

namespace cermet::python {
namespace {

fast::MetalKernel::TemplateArguments template_of(const std::optional<nb::sequence>& pairs) {
  fast::MetalKernel::TemplateArguments out;
  if (!pairs) return out;
  for (nb::handle item : *pairs) {
    const auto [name, value] = nb::cast<std::pair<std::string, nb::object>>(item);
    if (nb::isinstance<nb::bool_>(value))
      out.emplace_back(name, nb::cast<bool>(value));
    else if (nb::isinstance<nb::int_>(value))
      out.emplace_back(name, nb::cast<std::int64_t>(value));
    else if (nb::isinstance<Dtype>(value))
      out.emplace_back(name, nb::cast<Dtype>(value));
    else
      throw nb::type_error(
          ("metal_kernel: the template argument " + name + " is no int, bool or Dtype").c_str());
  }
  return out;
}

[[noreturn]] void needs_nvidia(const char* op) {
  throw std::runtime_error(std::string(op) +
                           ": needs an NVIDIA GPU, for which there is no backend");
}

}  // namespace

void bind_fast(nb::module_& m) {
  nb::module_ sub = m.def_submodule("fast", "Compositions that language models call by name.");
  def_op(sub, "rms_norm", &fast::rms_norm,
         "x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang and Sennrich 2019).", "x"_a,
         "weight"_a.none(), "eps"_a);
  def_op(sub, "layer_norm", &fast::layer_norm,
         "(x - mean) / sqrt(var + eps) * weight + bias over the last axis (Ba et al. 2016).", "x"_a,
         "weight"_a.none(), "bias"_a.none(), "eps"_a);
  def_op(
      sub, "rope",
      [](const array& a, int dims, bool traditional, std::optional<double> base, double scale,
         Operand offset, const std::optional<array>& freqs, StreamOrDevice s) {
        return fast::rope(a, dims, traditional, base, scale, to_array(offset), freqs, s);
      },
      "Rotary positions (Su et al. 2021) over the first `dims` of the last axis of (..., L, D): "
      "position i counts as scale * (offset + i). Either `base` or `freqs` is given; `traditional` "
      "pairs neighbours instead of halves.",
      "a"_a, "dims"_a, nb::kw_only(), "traditional"_a, "base"_a.none(), "scale"_a, "offset"_a,
      "freqs"_a = nb::none());
  def_op(
      sub, "scaled_dot_product_attention",
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
      "softmax(scale * q k^T + mask) v (Vaswani et al. 2017) for q (B, N, Lq, D) and k, v "
      "(B, Nkv, Lk, D), N a multiple of Nkv. A mask is boolean (true attends), added to the "
      "scores, or 'causal'; `sinks` (N,) join each softmax without a value. There is one "
      "implementation: force_fused changes nothing.",
      "q"_a, "k"_a, "v"_a, nb::kw_only(), "scale"_a, "mask"_a = nb::none(), "sinks"_a = nb::none(),
      "force_fused"_a = false);
  def_op(sub, "max_pool", &fast::max_pool,
         "The maxima of windows that slide over the spatial axes of x (n, *spatial, channels). "
         "Options are one integer for each of these axes. Of equal elements the first is the "
         "maximum: to it goes the gradient.",
         "x"_a, "kernel_size"_a, "stride"_a, "padding"_a);
  def_op(
      sub, "cross_entropy", &fast::cross_entropy,
      "The cross-entropy of logits (..., classes) at integer targets (...), in float32 or wider.",
      "logits"_a, "targets"_a);
  sub.def(
      "gated_delta_update", &fast::gated_delta_update, "q"_a, "k"_a, "v"_a, "gamma"_a, "beta"_a,
      "initial_state"_a = nb::none(), "mask"_a = nb::none(), "stream"_a = nb::none(),
      "The gated delta rule (Yang et al. 2024) along T, for q and k (B, T, Hk, Dk), v "
      "(B, T, Hv, Dv), gamma (B, T, Hv) or (B, T, Hv, Dk) and beta (B, T, Hv): a state (Dv, Dk) "
      "of each head is scaled by gamma, moved by the part beta to what answers k with v, and "
      "asked q. Where `mask` (B, T) is false the state stays and the result is zero. Gives the "
      "results (B, T, Hv, Dv) and the last state (B, Hv, Dv, Dk); the first is "
      "`initial_state`, or zero.");

  nb::class_<fast::MetalKernel>(sub, "MetalKernel",
                                "A kernel of the user's own, made by metal_kernel.")
      .def(
          "__call__",
          [](const fast::MetalKernel& kernel, const std::vector<Operand>& inputs,
             const std::vector<Shape>& output_shapes, const std::vector<Dtype>& output_dtypes,
             fast::MetalKernel::Extents grid, fast::MetalKernel::Extents threadgroup,
             const std::optional<nb::sequence>& parameters, std::optional<double> init_value,
             bool verbose, StreamOrDevice s) {
            Arrays arrays;
            for (const Operand& in : inputs) arrays.push_back(to_array(in));
            if (verbose)
              nb::print(
                  to_text(kernel.source(arrays, output_dtypes, template_of(parameters)).c_str()));
            return kernel(arrays, output_shapes, output_dtypes, grid, threadgroup,
                          template_of(parameters), init_value, false, s);
          },
          nb::kw_only(), "inputs"_a, "output_shapes"_a, "output_dtypes"_a, "grid"_a,
          "threadgroup"_a, "template"_a = nb::none(), "init_value"_a = nb::none(),
          "verbose"_a = false, "stream"_a = nb::none(),
          "Runs the kernel on `grid` threads in threadgroups of `threadgroup` (at most 1024 in "
          "all) and gives an array for each output shape and dtype. `template` lists pairs of a "
          "name and an int, a bool or a Dtype. With `init_value` the outputs hold that before; "
          "`verbose` prints the source. ValueError for counts that do not match; errors of the "
          "source are raised, with file, line and column, when the outputs are evaluated.");
  sub.def(
      "metal_kernel",
      [](const std::string& name, const std::vector<std::string>& input_names,
         const std::vector<std::string>& output_names, const std::string& source,
         const std::string& header, bool ensure_row_contiguous, bool atomic_outputs, nb::object) {
        return fast::MetalKernel(name, input_names, output_names, source, header,
                                 ensure_row_contiguous, atomic_outputs);
      },
      "name"_a, "input_names"_a, "output_names"_a, "source"_a, "header"_a = "",
      "ensure_row_contiguous"_a = true, "atomic_outputs"_a = false,
      "compile_options"_a = nb::none(),
      "A kernel from `source`, the body of a Metal function; its signature follows from what the "
      "body mentions. Inputs are `device const T*` (a scalar: `constant T&`), outputs `device T*`, "
      "with atomic_outputs `device atomic<T>*`. Of an input `a` the body may name `a_shape`, "
      "`a_strides` (in elements) and `a_ndim`; Metal's attributes, such as the uint3 "
      "thread_position_in_grid, are arguments by their own names. Inputs that are not row-major "
      "are copied unless ensure_row_contiguous is False. `header` stands before the function; "
      "compile_options is ignored: math is always safe. Runs on the GPU, or on the simulator, also "
      "where the stream is the CPU's.");
  sub.def(
      "cuda_kernel",
      [](const std::string&, const std::vector<std::string>&, const std::vector<std::string>&,
         const std::string&, const std::string&, bool,
         int) -> nb::object { needs_nvidia("cuda_kernel"); },
      "name"_a, "input_names"_a, "output_names"_a, "source"_a, "header"_a = "",
      "ensure_row_contiguous"_a = true, "shared_memory"_a = 0,
      "A kernel of CUDA source; RuntimeError: it needs an NVIDIA GPU.");
  sub.def(
      "precompiled_cuda_kernel",
      [](const std::string&, nb::bytes, const std::vector<Operand>&, const std::vector<Shape>&,
         const std::vector<Dtype>&, nb::sequence, fast::MetalKernel::Extents,
         fast::MetalKernel::Extents, int, std::optional<double>, bool,
         StreamOrDevice) -> Arrays { needs_nvidia("precompiled_cuda_kernel"); },
      nb::kw_only(), "name"_a, "compiled_source"_a, "inputs"_a, "output_shapes"_a,
      "output_dtypes"_a, "scalars"_a, "grid"_a, "threadgroup"_a, "shared_memory"_a = 0,
      "init_value"_a = nb::none(), "ensure_row_contiguous"_a = false, "stream"_a = nb::none(),
      "Runs a compiled CUDA kernel; RuntimeError: it needs an NVIDIA GPU.");
}

}  // namespace cermet::python
