// Products of arrays, quantized products, and the norms of linalg.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include <cmath>

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

// ---- Norms ----

using Order = std::variant<std::monostate, double, std::string>;

array vector_norm(const array& a, double order, const OptionalAxes& axes, bool keepdims,
                  StreamOrDevice s) {
  const array size = abs(a, s);
  if (order == INFINITY) return max(size, axes, keepdims, s);
  if (order == -INFINITY) return min(size, axes, keepdims, s);
  if (order == 0) return astype(count_nonzero(a, axes, keepdims, s), size.dtype(), s);
  if (order == 1) return sum(size, axes, keepdims, s);
  if (order == 2) return sqrt(sum(square(size, s), axes, keepdims, s), s);
  const array powers = sum(power(size, scalar_like(order, size), s), axes, keepdims, s);
  return power(powers, scalar_like(1 / order, powers), s);
}

// The largest (or smallest) sum of a row or column's absolute values.
array matrix_norm(const array& a, double order, Axes axes, bool keepdims, StreamOrDevice s) {
  if (std::abs(order) != 1 && !std::isinf(order))
    throw std::invalid_argument("norm: a matrix norm's order is 1, -1, inf, -inf or 'fro'");
  for (int& axis : axes) axis = normalize_axis("norm", axis, a.ndim());
  const bool columns = std::abs(order) == 1;
  const array sums = sum(abs(a, s), Axes{columns ? axes[0] : axes[1]}, true, s);
  const array out = order > 0 ? max(sums, axes, true, s) : min(sums, axes, true, s);
  return keepdims ? out : squeeze(out, axes, s);
}

array norm(const array& a, const Order& order, const OptionalAxes& axis, bool keepdims,
           StreamOrDevice s) {
  const array x = astype(a, to_inexact(a.dtype()), s);
  if (std::holds_alternative<std::monostate>(order)) return vector_norm(x, 2, axis, keepdims, s);
  Axes axes = axis.value_or(Axes{});
  if (!axis)
    for (int i = 0; i < x.ndim(); ++i) axes.push_back(i);
  if (axes.size() != 1 && axes.size() != 2)
    throw std::invalid_argument(
        "norm: with an order, one axis (vectors) or two (matrices) are needed");
  if (const std::string* name = std::get_if<std::string>(&order)) {
    if (*name != "fro" && *name != "f")
      throw std::invalid_argument("norm: the order is a number or 'fro', not '" + *name + "'");
    return vector_norm(x, 2, axes, keepdims, s);
  }
  const double p = std::get<double>(order);
  return axes.size() == 1 ? vector_norm(x, p, axes, keepdims, s)
                          : matrix_norm(x, p, axes, keepdims, s);
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
  bind_quantization(m);

  nb::module_ linalg = m.def_submodule("linalg", "Linear algebra.");
  linalg.def(
      "norm", &norm, "a"_a, "ord"_a = nb::none(), "axis"_a = nb::none(), "keepdims"_a = false,
      nb::kw_only(), "stream"_a = nb::none(),
      "The norm of vectors along one axis or of matrices along two; without an order the root "
      "of the sum of squares over the axes, or all. Orders: any number, inf and -inf of "
      "vectors; 1, -1, inf, -inf and 'fro' of matrices.");
  m.attr("matrix_norm") = linalg.attr("norm");
}

}  // namespace cermet::python
