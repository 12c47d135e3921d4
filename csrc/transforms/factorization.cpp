// Derivatives of factorizations (Giles, "Collected matrix derivative results for forward and
// reverse mode algorithmic differentiation", 2008): the tangents of their results as compositions,
// and what pulls cotangents back as the transposes of those.
//
// x^H is the conjugate transpose, and F has 1 / (w_j - w_i) where two values differ.
#include <algorithm>
#include <utility>

#include "cermet/linalg.h"
#include "cermet/transforms.h"
#include "graph/check.h"
#include "graph/primitives/algebra.h"

namespace cermet {
namespace {

using Routine = Factorization::Routine;
using Tangents = std::vector<std::optional<array>>;

array transposed(const array& a) { return matrix_transpose(a); }
array adjoint(const array& a) {
  return is_complex(a.dtype()) ? conjugate(transposed(a)) : transposed(a);
}
array hermitian(const array& a) { return scalar_like(0.5, a) * (a + adjoint(a)); }
array unit(std::int64_t n, const array& like) { return identity(n, like.dtype()); }
array triangle(const array& a, bool upper) { return upper ? triu(a) : tril(a); }
// A number for each column, and for each row.
array columns(const array& v) { return expand_dims(v, {-2}); }
array rows(const array& v) { return expand_dims(v, {-1}); }
array diagonal_of(const array& a) { return diagonal(a, 0, -2, -1); }
array real_part(const array& a) { return is_complex(a.dtype()) ? real(a) : a; }
// i times the imaginary part.
array imaginary_part(const array& a) { return a - astype(real(a), a.dtype()); }
// Rows or columns of zeros behind those of a matrix.
array padded(const array& a, std::int64_t more_rows, std::int64_t more_columns) {
  std::vector<std::pair<std::int64_t, std::int64_t>> widths(static_cast<std::size_t>(a.ndim()));
  widths[widths.size() - 2].second = more_rows;
  widths[widths.size() - 1].second = more_columns;
  return pad(a, widths);
}
// a times the inverse of a triangular matrix.
array divided_by(const array& a, const array& triangular, bool upper) {
  return transposed(linalg::solve_triangular(transposed(triangular), transposed(a), !upper));
}

// F of the values.
array gaps(const array& values) {
  const array differences = columns(values) - rows(values);
  const array none = equal(differences, scalar_like(0, differences));
  return select(
      none, scalar_like(0, differences),
      scalar_like(1, differences) / select(none, scalar_like(1, differences), differences));
}

array cholesky(const array& factor, bool upper, const array& da) {
  const array l = upper ? adjoint(factor) : factor;
  const array half = linalg::solve_triangular(l, hermitian(da));
  const array both = adjoint(linalg::solve_triangular(l, adjoint(half)));
  const std::int64_t n = l.shape(-1);
  const array weights = tril(full({n, n}, 1, l.dtype()), -1) + scalar_like(0.5, l) * unit(n, l);
  const array dl = matmul(l, weights * both);
  return upper ? adjoint(dl) : dl;
}

// Of the values, and of the vectors.
std::pair<array, array> eigh(const array& values, const array& vectors, const array& da) {
  const array p = matmul(adjoint(vectors), matmul(hermitian(da), vectors));
  return {real_part(diagonal_of(p)), matmul(vectors, astype(gaps(values), p.dtype()) * p)};
}

// LAPACK gives vectors of length 1 whose largest element is real.
std::pair<array, array> eig(const array& values, const array& vectors, const array& da) {
  const array p = linalg::solve(vectors, matmul(astype(da, complex64), vectors));
  array dv = matmul(vectors, gaps(values) * p);
  const auto along = [&](const array& x) { return sum(x, Axes{-2}, true); };
  dv = dv - vectors * astype(real(along(conjugate(vectors) * dv)), complex64);
  if (vectors.shape(-1) == 0) return {diagonal_of(p), dv};
  const array at = argmax(abs(vectors), -2, true);
  const array turned = take_along_axis(dv, at, -2) / take_along_axis(vectors, at, -2);
  return {diagonal_of(p), dv - vectors * imaginary_part(turned)};
}

struct Svd {
  array u, s, vt;
};
// Of bases that are larger than k the further vectors follow the first ones. (JAX, PyTorch and this
// agree on what is defined: products in which the choice of bases does not count.)
Svd svd(const array& u, const array& s, const array& vt, const array& da) {
  const std::int64_t m = u.shape(-1), n = vt.shape(-1), k = s.shape(-1);
  const Dtype t = u.dtype();
  const array u1 = section(u, u.ndim() - 1, 0, k, 1, {});
  const array v = adjoint(vt), v1 = section(v, v.ndim() - 1, 0, k, 1, {});
  const array p = matmul(adjoint(u1), matmul(da, v1));
  const array across = astype(columns(s), t), down = astype(rows(s), t);
  const array f = astype(gaps(s * s), t);
  const array right = p * across, left = down * p;
  array inner = f * (right + adjoint(right));
  if (is_complex(t)) inner = inner + unit(k, u) * imaginary_part(p) / across;
  array du = matmul(u1, inner), dv = matmul(v1, f * (left + adjoint(left)));
  const auto outside = [&](const array& basis, const array& x) {  // of what the basis spans
    return (x - matmul(basis, matmul(adjoint(basis), x))) / across;
  };
  if (m > k) du = du + outside(u1, matmul(da, v1));
  if (n > k) dv = dv + outside(v1, matmul(adjoint(da), u1));
  const auto whole = [&](const array& basis, const array& first, const array& d) {
    const std::int64_t size = basis.shape(-1);
    if (size == k) return d;
    const array others = section(basis, basis.ndim() - 1, k, size, 1, {});
    return concatenate({d, -matmul(first, matmul(adjoint(d), others))}, -1);
  };
  return {whole(u, u1, du), real_part(diagonal_of(p)), adjoint(whole(v, v1, dv))};
}

// Of matrices with no more columns than rows.
std::pair<array, array> tall_qr(const array& q, const array& r, const array& da) {
  const array right = divided_by(da, r, true);
  const array p = matmul(adjoint(q), right), below = tril(p, -1);
  array turn = below - adjoint(below);
  if (is_complex(p.dtype())) turn = turn + unit(r.shape(-1), p) * imaginary_part(p);
  return {matmul(q, turn - p) + right, matmul(p - turn, r)};
}
std::pair<array, array> qr(const array& a, const array& q, const array& r, const array& da) {
  const std::int64_t m = a.shape(-2), n = a.shape(-1);
  if (m >= n) return tall_qr(q, r, da);
  const auto first = [&](const array& x) { return section(x, x.ndim() - 1, 0, m, 1, {}); };
  const auto others = [&](const array& x) { return section(x, x.ndim() - 1, m, n, 1, {}); };
  const auto [dq, dr] = tall_qr(q, first(r), first(da));
  const array rest = matmul(adjoint(dq), others(a)) + matmul(adjoint(q), others(da));
  return {dq, concatenate({dr, rest}, -1)};
}

// Of the packed factors; `order`: the row of l u that each row is.
array lu(const array& packed, const array& order, const array& da) {
  const std::int64_t m = da.shape(-2), n = da.shape(-1), k = std::min(m, n);
  const array l = tril(padded(corner(packed, m, k, {}), 0, m - k), -1) + unit(m, da);
  array u = padded(triu(corner(packed, k, n, {})), n - k, 0);
  if (n > k) u = u + diag(concatenate({zeros({k}, da.dtype()), ones({n - k}, da.dtype())}, 0));
  const array places = broadcast_to(rows(argsort(order, -1)), da.shape());
  const array exchanged = take_along_axis(da, places, -2);
  const array p = divided_by(linalg::solve_triangular(l, exchanged), u, true);
  return matmul(l, tril(p, -1)) + matmul(triu(p), u);
}

// Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems
// whose variables separate", 1973.
array pinv(const array& a, const array& p, const array& da) {
  const std::int64_t m = a.shape(-2), n = a.shape(-1);
  const array outside = unit(m, a) - matmul(a, p), null = unit(n, a) - matmul(p, a);
  return matmul(matmul(p, adjoint(p)), matmul(adjoint(da), outside)) +
         matmul(null, matmul(adjoint(da), matmul(adjoint(p), p))) - matmul(p, matmul(da, p));
}

}  // namespace

Arrays Factorization::jvp_all(std::span<const array> inputs, const Arrays& out,
                              const Tangents& tangents) const {
  const array& a = inputs[0];
  const array da = tangents[0].value_or(zeros_like(a));
  switch (routine) {
    case Routine::qr: {
      const auto [dq, dr] = cermet::qr(a, out[0], out[1], da);
      return {dq, dr};
    }
    case Routine::svd: {
      const Svd d = cermet::svd(out[0], out[1], out[2], da);
      return {d.u, d.s, d.vt};
    }
    case Routine::singular_values: {
      const auto [u, s, vt] = linalg::svd(a);
      return {cermet::svd(u, s, vt, da).s};
    }
    case Routine::pinv: return {cermet::pinv(a, out[0], da)};
    case Routine::eigh: {
      const auto [dw, dv] = cermet::eigh(out[1], out[0], da);
      return {dv, dw};
    }
    case Routine::eigvalsh: {
      const auto [values, vectors] = linalg::eigh(a, upper);
      return {cermet::eigh(values, vectors, da).first};
    }
    case Routine::eig: {
      const auto [dw, dv] = cermet::eig(out[0], out[1], da);
      return {dw, dv};
    }
    case Routine::eigvals: {
      const auto [values, vectors] = linalg::eig(a);
      return {cermet::eig(values, vectors, da).first};
    }
    case Routine::cholesky: return {cermet::cholesky(out[0], upper, da)};
    case Routine::lu:
      return {cermet::lu(out[0], out[2], da), zeros_like(out[1]), zeros_like(out[2])};
    case Routine::tri_inv: return {-matmul(out[0], matmul(triangle(da, upper), out[0]))};
    case Routine::solve:
    case Routine::solve_triangular: {
      const bool is_triangle = routine == Routine::solve_triangular;
      array right = tangents[1].value_or(zeros_like(inputs[1]));
      if (tangents[0]) right = right - matmul(is_triangle ? triangle(da, upper) : da, out[0]);
      return {is_triangle ? linalg::solve_triangular(a, right, upper) : linalg::solve(a, right)};
    }
  }
  return {};
}

Tangents Factorization::vjp_all(std::span<const array> inputs, const Arrays& outputs,
                                const Arrays& cotangents) const {
  if (routine == Routine::solve || routine == Routine::solve_triangular) {
    const bool is_triangle = routine == Routine::solve_triangular;
    const array a = adjoint(inputs[0]), &g = cotangents[0];
    const array db = is_triangle ? linalg::solve_triangular(a, g, !upper) : linalg::solve(a, g);
    const array da = -matmul(db, adjoint(outputs[0]));
    return {is_triangle ? triangle(da, upper) : da, db};
  }
  Arrays zeros, given;
  for (const array& in : inputs) zeros.push_back(zeros_like(in));
  for (const array& c : cotangents)
    if (is_inexact(c.dtype())) given.push_back(c);
  const auto push = [&](const Arrays& tangents) {
    Arrays all = jvp_all(inputs, outputs, {tangents.begin(), tangents.end()});
    std::erase_if(all, [](const array& t) { return !is_inexact(t.dtype()); });
    return all;
  };
  const Arrays pulled = cermet::vjp(push, zeros, given).second;
  return {pulled.begin(), pulled.end()};
}

}  // namespace cermet
