// Products of arrays, quantized ones too.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

using Product = array (*)(const array&, const array&, StreamOrDevice);
struct ProductRow {
  const char* name;
  Product function;
  const char* doc;
};
constexpr ProductRow kProducts[] = {
    {"matmul", &matmul,
     "The matrix product of (..., m, k) and (..., k, n); leading axes broadcast. A 1-d array is a "
     "row "
     "on the left and a column on the right."},
    {"inner", &inner, "Sums of products over the last axes, shape a.shape[:-1] + b.shape[:-1]."},
    {"outer", &outer, "Products of all pairs of the flattened arrays, shape (a.size, b.size)."},
    {"kron", &kron, "The Kronecker product."},
};

using TensorAxes = std::variant<int, std::vector<Axes>>;

// Only the affine mode exists: w ~ scale * q + bias over groups of the last axis.
void check_mode(const char* op, const std::string& mode) {
  if (mode != "affine")
    throw std::invalid_argument(std::string(op) + ": mode 'affine' is the only one, not '" + mode +
                                "'");
}

const array& biases_of(const char* op, const std::optional<array>& biases) {
  if (!biases) throw std::invalid_argument(std::string(op) + ": mode 'affine' needs biases");
  return *biases;
}

void refuse_global_scale(const char* op, const std::optional<array>& scale) {
  if (scale) throw std::invalid_argument(std::string(op) + ": mode 'affine' has no global_scale");
}

void bind_quantization(nb::module_& m) {
  m.def(
      "quantize",
      [](const array& w, std::optional<int> group_size, std::optional<int> bits,
         const std::string& mode, const std::optional<array>& global_scale, StreamOrDevice s) {
        check_mode("quantize", mode);
        refuse_global_scale("quantize", global_scale);
        Quantized q = quantize(w, group_size.value_or(64), bits.value_or(4), s);
        return std::tuple(std::move(q.w), std::move(q.scales), std::move(q.biases));
      },
      "w"_a, "group_size"_a = nb::none(), "bits"_a = nb::none(), "mode"_a = "affine",
      "global_scale"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "Quantizes (..., k) in groups (64) of the last axis to `bits` (4) each: packed uint32 "
      "(..., k * bits / 32), scales and biases (..., k / group_size), w ~ scale * q + bias.");
  m.def(
      "dequantize",
      [](const array& w, const array& scales, const std::optional<array>& biases,
         std::optional<int> group_size, std::optional<int> bits, const std::string& mode,
         const std::optional<array>& global_scale, std::optional<Dtype> dtype, StreamOrDevice s) {
        check_mode("dequantize", mode);
        refuse_global_scale("dequantize", global_scale);
        return dequantize(w, scales, biases_of("dequantize", biases), group_size.value_or(64),
                          bits.value_or(4), dtype, s);
      },
      "w"_a, "scales"_a, "biases"_a = nb::none(), "group_size"_a = nb::none(),
      "bits"_a = nb::none(), "mode"_a = "affine", "global_scale"_a = nb::none(),
      "dtype"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "The values that `quantize` packed, scale * q + bias.");
  m.def(
      "quantized_matmul",
      [](const array& x, const array& w, const array& scales, const std::optional<array>& biases,
         bool transpose, std::optional<int> group_size, std::optional<int> bits,
         const std::string& mode, StreamOrDevice s) {
        check_mode("quantized_matmul", mode);
        return quantized_matmul(x, w, scales, biases_of("quantized_matmul", biases), transpose,
                                group_size.value_or(64), bits.value_or(4), s);
      },
      "x"_a, "w"_a, "scales"_a, "biases"_a = nb::none(), "transpose"_a = true,
      "group_size"_a = nb::none(), "bits"_a = nb::none(), "mode"_a = "affine", nb::kw_only(),
      "stream"_a = nb::none(), "x @ w.T (x @ w without `transpose`) for a quantized w.");
}

void bind_chosen(nb::module_& m) {
  m.def(
      "gather_mm",
      [](const array& a, const array& b, const std::optional<array>& lhs,
         const std::optional<array>& rhs, bool,
         StreamOrDevice s) { return gather_mm(a, b, lhs, rhs, s); },
      "a"_a, "b"_a, "lhs_indices"_a = nb::none(), "rhs_indices"_a = nb::none(), nb::kw_only(),
      "sorted_indices"_a = false, "stream"_a = nb::none(),
      "Products of matrices of a (..., m, k) and b (..., k, n) named by indices into the flattened "
      "leading axes; the indices broadcast, and stand for all matrices where omitted. "
      "`sorted_indices` is a hint.");
  m.def(
      "gather_qmm",
      [](const array& x, const array& w, const array& scales, const std::optional<array>& biases,
         const std::optional<array>& lhs, const std::optional<array>& rhs, bool transpose,
         std::optional<int> group_size, std::optional<int> bits, const std::string& mode,
         const std::optional<array>& global_scale, bool, StreamOrDevice s) {
        check_mode("gather_qmm", mode);
        refuse_global_scale("gather_qmm", global_scale);
        return gather_qmm(x, w, scales, biases_of("gather_qmm", biases), lhs, rhs, transpose,
                          group_size.value_or(64), bits.value_or(4), s);
      },
      "x"_a, "w"_a, "scales"_a, "biases"_a = nb::none(), "lhs_indices"_a = nb::none(),
      "rhs_indices"_a = nb::none(), "transpose"_a = true, "group_size"_a = nb::none(),
      "bits"_a = nb::none(), "mode"_a = "affine", "global_scale"_a = nb::none(), nb::kw_only(),
      "sorted_indices"_a = false, "stream"_a = nb::none(), "`gather_mm` with a quantized w.");
  m.def(
      "to_fp8", [](const array& x, StreamOrDevice s) { return to_fp8(x, s); }, "x"_a, nb::kw_only(),
      "stream"_a = nb::none(),
      "Floats as uint8 codes of the format E4M3 (Micikevicius et al., 2022, arXiv:2209.05433): "
      "rounded to nearest, halves to even, and limited to +-448, infinities too.");
  m.def(
      "from_fp8",
      [](const array& x, Dtype dtype, StreamOrDevice s) { return from_fp8(x, dtype, s); }, "x"_a,
      "dtype"_a = bfloat16, nb::kw_only(), "stream"_a = nb::none(),
      "The values of the uint8 codes that `to_fp8` makes, as a floating type.");
  m.def(
      "block_masked_mm",
      [](const array& a, const array& b, int block_size, const std::optional<array>& mask_out,
         const std::optional<array>& mask_lhs, const std::optional<array>& mask_rhs,
         StreamOrDevice s) {
        return block_masked_mm(a, b, block_size, mask_out, mask_lhs, mask_rhs, s);
      },
      "a"_a, "b"_a, "block_size"_a = 64, "mask_out"_a = nb::none(), "mask_lhs"_a = nb::none(),
      "mask_rhs"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "a @ b with square blocks of a, b and the result zeroed where a mask (..., row blocks, "
      "column "
      "blocks) is False, or scaled by a mask of numbers.");
  m.def(
      "segmented_mm",
      [](const array& a, const array& b, const array& segments, StreamOrDevice s) {
        return segmented_mm(a, b, segments, s);
      },
      "a"_a, "b"_a, "segments"_a, nb::kw_only(), "stream"_a = nb::none(),
      "a[:, i:j] @ b[i:j] for each pair (i, j) of segments (..., 2): shape (..., m, n).");
  m.def(
      "hadamard_transform",
      [](const array& a, std::optional<double> scale, StreamOrDevice s) {
        return hadamard_transform(a, scale, s);
      },
      "a"_a, "scale"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "The product of a Hadamard matrix and the last axis, which is m * 2^k long with m one of 1, "
      "12, 20, 28, times `scale`: 1 / sqrt(length) unless told. Powers of 2 by Sylvester's "
      "construction, 12 by Paley's (1933), 20 and 28 by Williamson's (1944).");
}

// The path as Python lists it, and a line on what it saves.
nb::tuple describe(const EinsumPath& path) {
  nb::list pairs;
  for (const auto& [i, j] : path.pairs) pairs.append(nb::make_tuple(i, j));
  if (path.pairs.empty()) pairs.append(nb::make_tuple(0));
  const auto number = [](double n) { return nb::str("{:.0f}").attr("format")(n); };
  return nb::make_tuple(pairs, nb::str("{} multiplications; in one sum over all labels {}")
                                   .attr("format")(number(path.work), number(path.work_at_once)));
}

}  // namespace

void bind_products(nb::module_& m) {
  for (const ProductRow& row : kProducts)
    m.def(
        row.name,
        [f = row.function](const array& a, const array& b, StreamOrDevice s) { return f(a, b, s); },
        "a"_a, "b"_a, nb::kw_only(), "stream"_a = nb::none(), row.doc);
  m.def(
      "addmm",
      [](const array& c, const array& a, const array& b, double alpha, double beta,
         StreamOrDevice s) { return addmm(c, a, b, alpha, beta, s); },
      "c"_a, "a"_a, "b"_a, "alpha"_a = 1.0, "beta"_a = 1.0, nb::kw_only(), "stream"_a = nb::none(),
      "alpha * (a @ b) + beta * c.");
  m.def(
      "vecdot",
      [](const array& a, const array& b, int axis, StreamOrDevice s) {
        return vecdot(a, b, axis, s);
      },
      "a"_a, "b"_a, "axis"_a = -1, nb::kw_only(), "stream"_a = nb::none(),
      "Sums of products along an axis, conj(a) * b.");
  m.def(
      "tensordot",
      [](const array& a, const array& b, const TensorAxes& axes, StreamOrDevice s) {
        if (const int* n = std::get_if<int>(&axes)) return tensordot(a, b, *n, s);
        const auto& pair = std::get<std::vector<Axes>>(axes);
        if (pair.size() != 2)
          throw std::invalid_argument(
              "tensordot: axes is a number or the axes of a and those of b");
        return tensordot(a, b, pair[0], pair[1], s);
      },
      "a"_a, "b"_a, "axes"_a = 2, nb::kw_only(), "stream"_a = nb::none(),
      "Sums of products over pairs of axes: the last of a with the first of b, or those listed.");
  m.def(
      "einsum",
      [](const std::string& subscripts, const nb::args& operands, StreamOrDevice s) {
        return einsum(subscripts, nb::cast<Arrays>(operands), s);
      },
      nb::sig("def einsum(subscripts: str, *operands: array, stream: Stream | ThreadLocalStream | "
              "Device | DeviceType | None = None) -> array"),
      "subscripts"_a, "operands"_a, "stream"_a = nb::none(),
      "Einstein's summation: 'ij,jk->ik' is a matrix product.");
  m.def(
      "einsum_path",
      [](const std::string& subscripts, const nb::args& operands) {
        return describe(einsum_path(subscripts, nb::cast<Arrays>(operands)));
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
