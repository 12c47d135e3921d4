// Linear algebra: norms, factorizations and what follows from them.
//
// Matrices are the last two axes of float32, float64 or complex64 arrays, and leading axes are a
// batch (those of two arguments broadcast). Another dtype, or a matrix that is not square where it
// must be, raises std::invalid_argument. A matrix without a result (singular, not positive
// definite) is found out at evaluation: the array carries the error. Factorizations run on the CPU.
// Below, a^T is the conjugate transpose, and a complex matrix that is called symmetric is
// Hermitian.
//
// All have derivatives. Those of matrices that are symmetric are those of their symmetric part. Of
// bases that are not unique (u and vt beyond the first min(m, n) vectors, vectors of equal values,
// their signs) only what does not depend on the choice has one.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "cermet/ops.h"

namespace cermet::linalg {

// a (..., m, n) = q (..., m, k) r (..., k, n), k = min(m, n): q^T q = 1, r upper triangular.
std::pair<array, array> qr(const array& a, StreamOrDevice s = {});
// a (..., m, n) = u (..., m, m) diag(s) vt (..., n, n); s (..., min(m, n)) descends.
std::tuple<array, array, array> svd(const array& a, StreamOrDevice s = {});
array singular_values(const array& a, StreamOrDevice s = {});
// Eigenvalues (..., n), ascending, and eigenvectors (the columns of (..., n, n)) of symmetric
// matrices; only the one triangle is read.
std::pair<array, array> eigh(const array& a, bool upper = false, StreamOrDevice s = {});
array eigvalsh(const array& a, bool upper = false, StreamOrDevice s = {});
// Eigenvalues and right eigenvectors of norm 1, complex64.
std::pair<array, array> eig(const array& a, StreamOrDevice s = {});
array eigvals(const array& a, StreamOrDevice s = {});
// The triangular l with a = l l^T, or u with a = u^T u, of symmetric positive definite matrices.
array cholesky(const array& a, bool upper = false, StreamOrDevice s = {});
// l and u of a = l[p] u for the row numbers p: (p, l, u).
std::tuple<array, array, array> lu(const array& a, StreamOrDevice s = {});
// l without its unit diagonal and u in one matrix, and the rows that were exchanged in turn.
std::pair<array, array> lu_factor(const array& a, StreamOrDevice s = {});

array inv(const array& a, StreamOrDevice s = {});
// The inverse of triangular matrices.
array tri_inv(const array& a, bool upper = false, StreamOrDevice s = {});
// The inverse of l l^T (of u^T u with `upper`).
array cholesky_inv(const array& a, bool upper = false, StreamOrDevice s = {});
// The pseudo-inverse (Moore, Penrose): singular values below max(m, n) eps times the largest are
// taken for zero.
array pinv(const array& a, StreamOrDevice s = {});
// x with a x = b; b is (..., n, columns), or one vector (n).
array solve(const array& a, const array& b, StreamOrDevice s = {});
array solve_triangular(const array& a, const array& b, bool upper = false, StreamOrDevice s = {});
// a times itself, n times; for n < 0 the inverse of that; for n = 0 the identity.
array matrix_power(const array& a, int n, StreamOrDevice s = {});
// The exponential of square matrices, by scaling and squaring of a Pade approximation (Higham, "The
// scaling and squaring method for the matrix exponential revisited", 2005). Norms up to 2^17: of
// larger ones the result is nan.
array expm(const array& a, StreamOrDevice s = {});
struct LeastSquares {
  array x;                // (..., n, columns), of least norm where several are as good
  array residuals;        // (..., columns): the sums of squares that are left
  array rank;             // (...), int32
  array singular_values;  // (..., min(m, n)), of a
};
// What makes the norm of b - a x smallest, for a (..., m, n) and b (..., m, columns) or one vector
// (m). Singular values that are not above rcond (max(m, n) eps when absent) times the largest are
// taken for zero.
LeastSquares lstsq(const array& a, const array& b, std::optional<double> rcond = {},
                   StreamOrDevice s = {});
array det(const array& a, StreamOrDevice s = {});
// The determinant's sign and the logarithm of its absolute value.
std::pair<array, array> slogdet(const array& a, StreamOrDevice s = {});

// The root of the sum of squares over the axes (all when absent).
array norm(const array& a, const OptionalAxes& axes = {}, bool keepdims = false,
           StreamOrDevice s = {});
// With an order: along one axis that of vectors, any number; along two that of matrices: 1, -1, inf
// and -inf (sums of columns and rows), 2 and -2 (singular values).
array norm(const array& a, double order, const OptionalAxes& axes = {}, bool keepdims = false,
           StreamOrDevice s = {});
// Norms of matrices by name: "fro" (the root of the sum of squares), "nuc" (the sum of singular
// values).
array norm(const array& a, const std::string& order, const OptionalAxes& axes = {},
           bool keepdims = false, StreamOrDevice s = {});
// The vector product along an axis of 3, or of 2: of vectors whose third part is 0.
array cross(const array& a, const array& b, int axis = -1, StreamOrDevice s = {});

}  // namespace cermet::linalg
