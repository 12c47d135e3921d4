// The submodule linalg.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

using Order = std::variant<std::monostate, double, std::string>;

constexpr Row<array(const array&, StreamOrDevice)> kMatrices[] = {
    {"inv", &linalg::inv, "The inverse of square matrices (..., n, n)."},
    {"pinv", &linalg::pinv,
     "The pseudo-inverse (Moore, Penrose) of (..., m, n), shape (..., n, m). Singular values below "
     "max(m, n) * eps of the largest count as zero."},
    {"expm", &linalg::expm,
     "The matrix exponential of (..., n, n), by scaling and squaring (Higham 2005), for norms up "
     "to "
     "2^17."},
    {"det", &linalg::det, "The determinant of (..., n, n)."},
    {"eigvals", &linalg::eigvals, "The eigenvalues (..., n) of (..., n, n), complex64."},
};
constexpr Row<std::pair<array, array>(const array&, StreamOrDevice)> kPairs[] = {
    {"qr", &linalg::qr,
     "q (..., m, k) with orthonormal columns and r (..., k, n), upper triangular, with a = q @ r "
     "and k = min(m, n)."},
    {"eig", &linalg::eig,
     "The eigenvalues (..., n) and eigenvectors (the columns of (..., n, n), of norm 1) of square "
     "matrices, complex64."},
    {"lu_factor", &linalg::lu_factor,
     "The factors of `lu` packed in one matrix (..., m, n), and the row each of the first rows was "
     "exchanged with in turn, uint32 (..., min(m, n))."},
    {"slogdet", &linalg::slogdet,
     "The sign of the determinant of (..., n, n) and the logarithm of its absolute value."},
};
constexpr Row<array(const array&, bool, StreamOrDevice)> kTriangles[] = {
    {"cholesky", &linalg::cholesky,
     "The lower triangular l with a = l @ l.T, or u with a = u.T @ u, of symmetric positive "
     "definite matrices (..., n, n)."},
    {"tri_inv", &linalg::tri_inv, "The inverse of lower (upper) triangular matrices."},
    {"cholesky_inv", &linalg::cholesky_inv,
     "The inverse of l @ l.T (of u.T @ u with `upper`), from the factor."},
};

bool upper_from(const char* op, const std::string& triangle) {
  if (triangle != "L" && triangle != "U")
    throw std::invalid_argument(std::string(op) + ": UPLO is 'L' or 'U', not '" + triangle + "'");
  return triangle == "U";
}

array norm(const array& a, const Order& order, const OptionalAxes& axis, bool keepdims,
           StreamOrDevice s) {
  if (const double* p = std::get_if<double>(&order)) return linalg::norm(a, *p, axis, keepdims, s);
  if (const std::string* name = std::get_if<std::string>(&order))
    return linalg::norm(a, *name, axis, keepdims, s);
  return linalg::norm(a, axis, keepdims, s);
}

void bind_solvers(nb::module_& m) {
  def_op(m, "solve", &linalg::solve,
         "x with a @ x = b, for a (..., n, n) and b (..., n, columns) or one vector (n,).", "a"_a,
         "b"_a);
  def_op(m, "solve_triangular", &linalg::solve_triangular,
         "As `solve`, for a lower (upper) triangular a, whose other triangle is not read.", "a"_a,
         "b"_a, nb::kw_only(), "upper"_a = false);
  def_op(
      m, "eigh",
      [](const array& a, const std::string& triangle, StreamOrDevice s) {
        return linalg::eigh(a, upper_from("eigh", triangle), s);
      },
      "The eigenvalues (..., n), ascending, and eigenvectors (the columns of (..., n, n)) of "
      "symmetric matrices, of which only the lower ('L') or upper ('U') triangle is read.",
      "a"_a, "UPLO"_a = "L");
  def_op(
      m, "eigvalsh",
      [](const array& a, const std::string& triangle, StreamOrDevice s) {
        return linalg::eigvalsh(a, upper_from("eigvalsh", triangle), s);
      },
      "The eigenvalues of `eigh`.", "a"_a, "UPLO"_a = "L");
  def_op(
      m, "svd",
      [](const array& a, bool compute_uv,
         StreamOrDevice s) -> std::variant<array, std::tuple<array, array, array>> {
        if (!compute_uv) return linalg::singular_values(a, s);
        return linalg::svd(a, s);
      },
      "u (..., m, m), the singular values s (..., min(m, n)), descending, and vt (..., n, n) of "
      "a = u @ diag(s) @ vt; only s without `compute_uv`.",
      "a"_a, "compute_uv"_a = true);
  def_op(m, "lu", &linalg::lu,
         "Row numbers p (..., m), l (..., m, k), lower triangular with a unit diagonal, and u "
         "(..., k, n), upper triangular, with a = l[p] @ u and k = min(m, n).",
         "a"_a);
}

void bind_beyond(nb::module_& m) {
  def_op(
      m, "matrix_power", &linalg::matrix_power,
      "The product of n square matrices a (..., n, n), for n < 0 of their inverses, for n = 0 the "
      "identity.",
      "a"_a, "n"_a);
  def_op(
      m, "lstsq",
      [](const array& a, const array& b, std::optional<double> rcond, StreamOrDevice s) {
        const linalg::LeastSquares out = linalg::lstsq(a, b, rcond, s);
        return std::tuple(out.x, out.residuals, out.rank, out.singular_values);
      },
      "x (..., n, columns), or one vector, for which the norm of b - a @ x is smallest, the sums "
      "of "
      "squares that are left (..., columns), the rank of a (..., m, n), int32, and its singular "
      "values. Of these, those up to `rcond` (max(m, n) * eps) times the largest count as zero.",
      "a"_a, "b"_a, "rcond"_a = nb::none());
}

}  // namespace

void bind_linalg(nb::module_& m) {
  nb::module_ sub = m.def_submodule(
      "linalg",
      "Linear algebra on float32, float64 and complex64 matrices: the last two axes; leading axes "
      "are a batch. A matrix without a result raises a ValueError when the array is evaluated.");
  for (const auto& row : kMatrices) def_op(sub, row.name, row.function, row.doc, "a"_a);
  for (const auto& row : kPairs) def_op(sub, row.name, row.function, row.doc, "a"_a);
  for (const auto& row : kTriangles)
    def_op(sub, row.name, row.function, row.doc, "a"_a, "upper"_a = false);
  bind_solvers(sub);
  bind_beyond(sub);
  def_op(sub, "norm", &norm,
         "The norm of vectors along one axis or of matrices along two; without an order the root "
         "of the sum of squares over the axes, or all. Orders: any number, inf and -inf of "
         "vectors; 1, -1, 2, -2, inf, -inf, 'fro' and 'nuc' of matrices.",
         "a"_a, "ord"_a = nb::none(), "axis"_a = nb::none(), "keepdims"_a = false);
  m.attr("matrix_norm") = sub.attr("norm");
  def_op(sub, "cross", &linalg::cross,
         "The vector product along an axis of 3, or of 2: of vectors whose third part is 0.", "a"_a,
         "b"_a, "axis"_a = -1);
}

}  // namespace cermet::python
