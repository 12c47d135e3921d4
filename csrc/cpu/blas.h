// LAPACK on the calling thread: Cermet's pool is the only one. A build without it
// (CERMET_BLAS=OFF) has no_blas.cpp in place of blas.cpp and factorization.cpp.
#pragma once

#include <complex>
#include <cstdint>

namespace cermet::cpu {

template <class T>
struct RealOf {
  using type = T;
};
template <class T>
struct RealOf<std::complex<T>> {
  using type = T;
};
template <class T>
using Real = typename RealOf<T>::type;

// Factorizations of one matrix. Matrices are column-major without gaps, and not empty; their
// elements are float, double or complex float, of which x^T is the conjugate transpose here. Every
// function returns LAPACK's info: not 0 when there is no result.

// a (m, n) = q (m, k) r (k, n) with k = min(m, n). Overwrites a.
template <class T>
int qr(int m, int n, T* a, T* q, T* r);
// a (m, n) = u (m, m) s vt (n, n), s descending; without u and vt (null) only s. Overwrites a.
template <class T>
int svd(int m, int n, T* a, T* u, Real<T>* s, T* vt);
// The pseudo-inverse p (n, m) of a (m, n), for which singular values that are not above max(m, n)
// eps times the largest are none. Overwrites a.
template <class T>
int pinv(int m, int n, T* a, T* p);
// Eigenvalues w, ascending, of the symmetric (Hermitian) a (n, n), given by one triangle; with
// `vectors` the columns of a become the eigenvectors.
template <class T>
int eigh(int n, T* a, bool upper, bool vectors, Real<T>* w);
// Eigenvalues w of a (n, n) and, unless null, eigenvectors v (n, n) of norm 1. Overwrites a.
template <class T>
int eig(int n, T* a, std::complex<float>* w, std::complex<float>* v);
// The factor of a symmetric (Hermitian) positive definite a (n, n) in place of it: a = l l^T or u^T
// u.
template <class T>
int cholesky(int n, T* a, bool upper);
// a (n, n) x = b with b (n, columns) replaced by x. Overwrites a.
template <class T>
int solve(int n, int columns, T* a, T* b);
// The same for a triangular a.
template <class T>
int solve_triangular(int n, int columns, const T* a, bool upper, T* b);
// The inverse of a triangular a (n, n) in place of it; the other triangle becomes zero.
template <class T>
int invert_triangular(int n, T* a, bool upper);
// L (unit, below the diagonal) and U in place of a (m, n). Row i was exchanged with row pivots[i],
// for i below min(m, n) in turn; row rows[i] of L U is row i of a.
template <class T>
int lu(int m, int n, T* a, std::uint32_t* pivots, std::uint32_t* rows);

}  // namespace cermet::cpu
