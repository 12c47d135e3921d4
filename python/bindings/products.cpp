// Products of arrays, quantized ones too.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

constexpr Row<array(const array&, const array&, StreamOrDevice)> kProducts[] = {
    {"matmul", &matmul,
     "The matrix product of (..., m, k) and (..., k, n); leading axes broadcast. A 1-d array is a "
     "row on the left and a column on the right."},
    {"inner", &inner, "Sums of products over the last axes, shape a.shape[:-1] + b.shape[:-1]."},
    {"outer", &outer, "Products of all pairs of the flattened arrays, shape (a.size, b.size)."},
    {"kron", &kron, "The Kronecker product."},
};

using TensorAxes = std::variant<int, std::vector<Axes>>;

using Size = std::optional<int>;
using MaybeArray = std::optional<array>;
using Packed = std::variant<std::tuple<array, array>, std::tuple<array, array, array>>;

void bind_quantization(nb::module_& m) {
  def_op(
      m, "quantize",
      [](const array& w, Size group_size, Size bits, const std::string& mode,
         const MaybeArray& global_scale, StreamOrDevice s) {
        Quantized q =
            quantize(w, group_size, bits, quantization_mode("quantize", mode), global_scale, s);
        Packed packed = std::tuple(q.w, q.scales);
        if (q.biases) packed = std::tuple(q.w, q.scales, *q.biases);
        return packed;
      },
      "Quantizes (..., k) in groups of the last axis: packed uint32 (..., k * bits / 32), lowest "
      "bits first, and scales (..., k / group_size).\n\n"
      "- `affine`: w ~ scale * q + bias, `bits` 2, 3, 4 (unless told), 5, 6 or 8, groups of 32, 64 "
      "(unless told) or 128; the third result are the biases.\n"
      "- `mxfp4`, `mxfp8`: OCP Microscaling Formats 1.0: E2M1 or E4M3 times a power of two, groups "
      "of 32, scales E8M0 in uint8.\n"
      "- `nvfp4`: E2M1 times E4M3, groups of 16, scales in uint8; with `global_scale`, the float32 "
      "magnitude of the largest element, in units of global_scale / 2688.\n\n"
      "Floats are rounded to nearest, halves to even, and limited to the largest. A group of zeros "
      "has the scale 1; one with a nan or an infinity is all nan.",
      "w"_a, "group_size"_a = nb::none(), "bits"_a = nb::none(), "mode"_a = "affine",
      "global_scale"_a = nb::none());
  def_op(
      m, "dequantize",
      [](const array& w, const array& scales, const MaybeArray& biases, Size group_size, Size bits,
         const std::string& mode, const MaybeArray& global_scale, std::optional<Dtype> dtype,
         StreamOrDevice s) {
        return dequantize(w, scales, biases, group_size, bits,
                          quantization_mode("dequantize", mode), global_scale, dtype, s);
      },
      "The values that `quantize` packed. Unless told their type is that of the scales; float32 "
      "with `global_scale`, else bfloat16 where scales are codes.",
      "w"_a, "scales"_a, "biases"_a = nb::none(), "group_size"_a = nb::none(),
      "bits"_a = nb::none(), "mode"_a = "affine", "global_scale"_a = nb::none(),
      "dtype"_a = nb::none());
  def_op(
      m, "quantized_matmul",
      [](const array& x, const array& w, const array& scales, const MaybeArray& biases,
         bool transpose, Size group_size, Size bits, const std::string& mode, StreamOrDevice s) {
        return quantized_matmul(x, w, scales, biases, transpose, group_size, bits,
                                quantization_mode("quantized_matmul", mode), {}, s);
      },
      "x @ w.T (x @ w without `transpose`) for a quantized w.", "x"_a, "w"_a, "scales"_a,
      "biases"_a = nb::none(), "transpose"_a = true, "group_size"_a = nb::none(),
      "bits"_a = nb::none(), "mode"_a = "affine");
  def_op(
      m, "qqmm",
      [](const array& x, const array& w, const MaybeArray& scales, Size group_size, Size bits,
         const std::string& mode, const MaybeArray& global_scale_x,
         const MaybeArray& global_scale_w, StreamOrDevice s) {
        return qqmm(x, w, scales, group_size, bits, quantization_mode("qqmm", mode), global_scale_x,
                    global_scale_w, s);
      },
      "x @ w.T of both quantized in a mode of floats; w is packed already where `scales` are "
      "given. "
      "Derivatives by x, and by a w that is not packed, are those of the product of the quantized "
      "values (straight-through).",
      "x"_a, "w"_a, "scales"_a = nb::none(), "group_size"_a = nb::none(), "bits"_a = nb::none(),
      "mode"_a = "nvfp4", "global_scale_x"_a = nb::none(), "global_scale_w"_a = nb::none());
}

void bind_chosen(nb::module_& m) {
  def_op(
      m, "gather_mm",
      [](const array& a, const array& b, const std::optional<array>& lhs,
         const std::optional<array>& rhs, bool,
         StreamOrDevice s) { return gather_mm(a, b, lhs, rhs, s); },
      "Products of matrices of a (..., m, k) and b (..., k, n) named by indices into the flattened "
      "leading axes; the indices broadcast, and stand for all matrices where omitted. "
      "`sorted_indices` is a hint.",
      "a"_a, "b"_a, "lhs_indices"_a = nb::none(), "rhs_indices"_a = nb::none(), nb::kw_only(),
      "sorted_indices"_a = false);
  def_op(
      m, "gather_qmm",
      [](const array& x, const array& w, const array& scales, const MaybeArray& biases,
         const MaybeArray& lhs, const MaybeArray& rhs, bool transpose, Size group_size, Size bits,
         const std::string& mode, const MaybeArray& global_scale, bool, StreamOrDevice s) {
        return gather_qmm(x, w, scales, biases, lhs, rhs, transpose, group_size, bits,
                          quantization_mode("gather_qmm", mode), global_scale, s);
      },
      "`gather_mm` with a quantized w.", "x"_a, "w"_a, "scales"_a, "biases"_a = nb::none(),
      "lhs_indices"_a = nb::none(), "rhs_indices"_a = nb::none(), "transpose"_a = true,
      "group_size"_a = nb::none(), "bits"_a = nb::none(), "mode"_a = "affine",
      "global_scale"_a = nb::none(), nb::kw_only(), "sorted_indices"_a = false);
  def_op(
      m, "gather_qqmm",
      [](const array& x, const array& w, const MaybeArray& scales, const MaybeArray& lhs,
         const MaybeArray& rhs, Size group_size, Size bits, const std::string& mode,
         const MaybeArray& global_scale_x, const MaybeArray& global_scale_w, bool,
         StreamOrDevice s) {
        return gather_qqmm(x, w, scales, lhs, rhs, group_size, bits,
                           quantization_mode("gather_qqmm", mode), global_scale_x, global_scale_w,
                           s);
      },
      "`qqmm` of matrices named by indices, as `gather_mm` takes them.", "x"_a, "w"_a,
      "scales"_a = nb::none(), "lhs_indices"_a = nb::none(), "rhs_indices"_a = nb::none(),
      "group_size"_a = nb::none(), "bits"_a = nb::none(), "mode"_a = "nvfp4",
      "global_scale_x"_a = nb::none(), "global_scale_w"_a = nb::none(), nb::kw_only(),
      "sorted_indices"_a = false);
  def_op(m, "to_fp8", &to_fp8,
         "Floats as uint8 codes of the format E4M3 (Micikevicius et al., 2022, arXiv:2209.05433): "
         "rounded to nearest, halves to even, and limited to +-448, infinities too.",
         "x"_a);
  def_op(m, "from_fp8", &from_fp8,
         "The values of the uint8 codes that `to_fp8` makes, as a floating type.", "x"_a,
         "dtype"_a = bfloat16);
  def_op(m, "block_masked_mm", &block_masked_mm,
         "a @ b with square blocks of a, b and the result zeroed where a mask (..., row blocks, "
         "column blocks) is False, or scaled by a mask of numbers. A vector is a row or a column, "
         "as in `matmul`.",
         "a"_a, "b"_a, "block_size"_a = 64, "mask_out"_a = nb::none(), "mask_lhs"_a = nb::none(),
         "mask_rhs"_a = nb::none());
  def_op(m, "segmented_mm", &segmented_mm,
         "a[:, i:j] @ b[i:j] for each pair (i, j) of segments (..., 2): shape (..., m, n).", "a"_a,
         "b"_a, "segments"_a);
  def_op(m, "hadamard_transform", &hadamard_transform,
         "The product of a Hadamard matrix and the last axis, which is m * 2^k long with m one of "
         "1, 12, 20, 28, times `scale`: 1 / sqrt(length) unless told. Powers of 2 by Sylvester's "
         "construction, 12 by Paley's (1933), 20 and 28 by Williamson's (1944).",
         "a"_a, "scale"_a = nb::none());
}

// The path as Python lists it, and a line on what it saves.
nb::tuple describe(const EinsumPath& path) {
  nb::list pairs;
  for (const auto& [i, j] : path.pairs) pairs.append(nb::make_tuple(i, j));
  if (path.pairs.empty()) pairs.append(nb::make_tuple(0));
  const auto number = [](double n) { return to_text("{:.0f}").attr("format")(n); };
  return nb::make_tuple(pairs, to_text("{} multiplications; in one sum over all labels {}")
                                   .attr("format")(number(path.work), number(path.work_at_once)));
}

}  // namespace

void bind_products(nb::module_& m) {
  for (const auto& row : kProducts) def_op(m, row.name, row.function, row.doc, "a"_a, "b"_a);
  def_op(m, "addmm", &addmm, "alpha * (a @ b) + beta * c.", "c"_a, "a"_a, "b"_a, "alpha"_a = 1.0,
         "beta"_a = 1.0);
  def_op(m, "vecdot", &vecdot, "Sums of products along an axis, conj(a) * b.", "a"_a, "b"_a,
         "axis"_a = -1);
  def_op(
      m, "tensordot",
      [](const array& a, const array& b, const TensorAxes& axes, StreamOrDevice s) {
        if (const int* n = std::get_if<int>(&axes)) return tensordot(a, b, *n, s);
        const auto& pair = std::get<std::vector<Axes>>(axes);
        if (pair.size() != 2)
          throw std::invalid_argument(
              "tensordot: axes is a number or the axes of a and those of b");
        return tensordot(a, b, pair[0], pair[1], s);
      },
      "Sums of products over pairs of axes: the last of a with the first of b, or those listed.",
      "a"_a, "b"_a, "axes"_a = 2);
  m.def(
      "einsum",
      [](const std::string& subscripts, const nb::args& operands, StreamOrDevice s) {
        return einsum(subscripts, array_arguments(operands, "einsum"), s);
      },
      nb::sig(signature("einsum(subscripts: str, *operands: array").c_str()), "subscripts"_a,
      "operands"_a, "stream"_a = nb::none(),
      "Einstein's summation: 'ij,jk->ik' is a matrix product.");
  m.def(
      "einsum_path",
      [](const std::string& subscripts, const nb::args& operands) {
        return describe(einsum_path(subscripts, array_arguments(operands, "einsum_path")));
      },
      nb::sig("def einsum_path(subscripts: str, *operands: array) -> tuple[list[tuple[int, ...]], "
              "str]"),
      "subscripts"_a, "operands"_a,
      "How `einsum` contracts: which terms are replaced by their product, put last, in turn, and a "
      "line on the multiplications that takes.");
  bind_quantization(m);
  bind_chosen(m);
}

}  // namespace cermet::python
