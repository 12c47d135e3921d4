// Linear algebra: LAPACK on batches of matrices, spread over the pool's threads.
#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <vector>

#include "cpu/backend.h"
#include "cpu/blas.h"
#include "cpu/floating_mode.h"
#include "cpu/layout.h"
#include "eval/interrupt.h"
#include "graph/check.h"

namespace cermet::cpu {
namespace {

using Routine = Factorization::Routine;

// The inputs and results for matrix `index` of the batch.
class Entry {
 public:
  Entry(std::span<const Tensor> inputs, std::span<const Tensor> outputs, std::int64_t index)
      : inputs_(inputs), outputs_(outputs), index_(index) {}

  // Input `i`, column-major.
  template <class T>
  Workspace<T> matrix(std::size_t i) const {
    const Tensor& t = inputs_[i];
    const std::size_t axes = t.shape.size();
    std::int64_t at = 0, rest = index_;
    for (std::size_t axis = axes - 2; axis-- > 0; rest /= t.shape[axis])
      at += rest % t.shape[axis] * t.strides[axis];
    Workspace<T> out(t.shape[axes - 2] * t.shape[axes - 1]);
    T* to = out.get();
    for (std::int64_t j = 0; j < t.shape[axes - 1]; ++j)
      for (std::int64_t i = 0; i < t.shape[axes - 2]; ++i)
        *to++ = data<const T>(t)[at + i * t.strides[axes - 2] + j * t.strides[axes - 1]];
    return out;
  }
  // Where result k, a vector of `n`, is written.
  template <class E>
  E* vector(std::size_t k, std::int64_t n) const {
    return data<E>(outputs_[k]) + index_ * n;
  }
  // Writes result k, given column-major.
  template <class E>
  void store(std::size_t k, const Workspace<E>& matrix) const {
    const auto n = static_cast<std::int64_t>(matrix.span().size()),
               columns = outputs_[k].shape.back();
    const std::int64_t rows = n / columns;
    E* const to = vector<E>(k, n);
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) to[i * columns + j] = matrix.get()[j * rows + i];
  }

 private:
  std::span<const Tensor> inputs_, outputs_;
  std::int64_t index_;
};

// Where LAPACK iterates it may write past its matrices, and print, when a number is none.
bool iterates(Routine r) { return r >= Routine::svd && r <= Routine::eigvals; }

template <class T>
bool is_finite(T x) {
  return std::isfinite(std::real(x)) && std::isfinite(std::imag(x));
}

// LAPACK's info for one matrix.
template <class T>
int factorize(Routine routine, bool upper, const Entry& entry, int m, int n, int columns) {
  using Complex = std::complex<float>;
  const Workspace<T> a = entry.matrix<T>(0);
  if (iterates(routine) && !std::ranges::all_of(a.span(), is_finite<T>)) return 1;
  const int k = std::min(m, n);
  const auto square = [](int rows, int width) { return std::int64_t{rows} * width; };
  const auto in_place = [&](int info) {
    entry.store(0, a);
    return info;
  };
  switch (routine) {
    case Routine::qr: {
      const Workspace<T> q(square(m, k)), r(square(k, n));
      const int info = qr(m, n, a.get(), q.get(), r.get());
      entry.store(0, q);
      entry.store(1, r);
      return info;
    }
    case Routine::svd: {
      const Workspace<T> u(square(m, m)), vt(square(n, n));
      const int info = svd(m, n, a.get(), u.get(), entry.vector<Real<T>>(1, k), vt.get());
      entry.store(0, u);
      entry.store(2, vt);
      return info;
    }
    case Routine::singular_values:
      return svd<T>(m, n, a.get(), nullptr, entry.vector<Real<T>>(0, k), nullptr);
    case Routine::pinv: {
      const Workspace<T> p(square(n, m));
      const int info = pinv(m, n, a.get(), p.get());
      entry.store(0, p);
      return info;
    }
    case Routine::eigh: return in_place(eigh(n, a.get(), upper, true, entry.vector<Real<T>>(1, n)));
    case Routine::eigvalsh: return eigh(n, a.get(), upper, false, entry.vector<Real<T>>(0, n));
    case Routine::eig: {
      const Workspace<Complex> v(square(n, n));
      const int info = eig(n, a.get(), entry.vector<Complex>(0, n), v.get());
      entry.store(1, v);
      return info;
    }
    case Routine::eigvals: return eig(n, a.get(), entry.vector<Complex>(0, n), nullptr);
    case Routine::cholesky: return in_place(cholesky(n, a.get(), upper));
    case Routine::lu:
      return in_place(
          lu(m, n, a.get(), entry.vector<std::uint32_t>(1, k), entry.vector<std::uint32_t>(2, m)));
    case Routine::tri_inv: return in_place(invert_triangular(n, a.get(), upper));
    case Routine::solve:
    case Routine::solve_triangular: {
      const Workspace<T> b = entry.matrix<T>(1);
      const int info = routine == Routine::solve
                           ? solve(n, columns, a.get(), b.get())
                           : solve_triangular(n, columns, a.get(), upper, b.get());
      entry.store(0, b);
      return info;
    }
  }
  return 0;
}

// From so many elements on a matrix takes long.
constexpr std::int64_t kLong = 1 << 16;

// Copies of the operands and room for the results, for work that is perhaps left behind.
struct Copies {
  Copies(std::span<const Tensor> from, std::span<const Tensor> to) {
    for (const Tensor& t : from) {
      inputs.push_back(room_for(t));
      copy(t, inputs.back());
    }
    for (const Tensor& t : to) outputs.push_back(room_for(t));
  }
  std::vector<Tensor> inputs, outputs;

 private:
  Tensor room_for(const Tensor& t) { return held_.emplace_back(t.dtype, t.shape).tensor; }
  std::vector<Scratch> held_;
};

void check(const Factorization& p, int info) {
  if (info == 0) return;
  switch (p.routine) {
    case Routine::cholesky: fail(p.op, "a matrix is not positive definite");
    case Routine::tri_inv:
    case Routine::solve:
    case Routine::solve_triangular: fail(p.op, "a matrix is singular");
    default: fail(p.op, "the iteration did not converge; is a number infinite or nan?");
  }
}

// What there is of empty matrices: bases of all that is left out, and rows in their order.
void fill(Routine routine, std::span<const Tensor> outputs) {
  const auto each = [](const Tensor& t, auto value_at) {
    const std::int64_t columns = t.shape.back();
    for (std::int64_t i = 0; i < t.size(); ++i) value_at(i, columns);
  };
  for (const Tensor& t : outputs) {
    if (routine == Routine::lu && t.dtype == uint32)
      each(t, [&](std::int64_t i, std::int64_t n) {
        data<std::uint32_t>(t)[i] = static_cast<std::uint32_t>(i % n);
      });
    else if (routine == Routine::svd && t.size() > 0)
      each(t, [&](std::int64_t i, std::int64_t n) {
        const bool one = i % n == i / n % n;
        if (t.dtype == float64) data<double>(t)[i] = one;
        if (t.dtype == float32) data<float>(t)[i] = one;
        if (t.dtype == complex64) data<std::complex<float>>(t)[i] = static_cast<float>(one);
      });
  }
}

}  // namespace

void factorize(const Factorization& p, std::span<const Tensor> inputs,
               std::span<const Tensor> outputs) {
  const Shape& shape = inputs[0].shape;
  const auto extent = [](std::int64_t n) { return static_cast<int>(n); };
  const int m = extent(*(shape.end() - 2)), n = extent(shape.back());
  const int columns = inputs.size() > 1 ? extent(inputs[1].shape.back()) : 0;
  if (m == 0 || n == 0 || (inputs.size() > 1 && columns == 0)) return fill(p.routine, outputs);
  std::int64_t batch = 1;
  for (std::size_t i = 0; i + 2 < shape.size(); ++i) batch *= shape[i];
  const auto info = [=, routine = p.routine, upper = p.upper](const Entry& entry, Dtype dtype) {
    switch (dtype) {
      case float64: return factorize<double>(routine, upper, entry, m, n, columns);
      case complex64: return factorize<std::complex<float>>(routine, upper, entry, m, n, columns);
      default: return factorize<float>(routine, upper, entry, m, n, columns);
    }
  };
  if (batch == 1 && inputs[0].size() >= kLong) {
    struct Work {
      Copies copies;
      int info = 0;
    };
    const auto work = std::make_shared<Work>(Copies(inputs, outputs));
    run_apart([work, info] {
      const DefaultFloatingMode mode;
      const Copies& c = work->copies;
      work->info = info(Entry(c.inputs, c.outputs, 0), c.inputs[0].dtype);
    });
    check(p, work->info);
    for (std::size_t i = 0; i < outputs.size(); ++i) copy(work->copies.outputs[i], outputs[i]);
    return;
  }
  parallel_for(batch, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      check(p, info(Entry(inputs, outputs, i), inputs[0].dtype));
  });
}

}  // namespace cermet::cpu
