// The one file that calls LAPACK, through the interfaces that OpenBLAS and Accelerate
// share.
#include "cpu/blas.h"

#include <algorithm>
#include <atomic>
#include <complex>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>
#ifdef __APPLE__
#include <Accelerate/Accelerate.h>
#define CERMET_LAPACK(function) function##_
#define CERMET_CBLAS(function) cblas_##function
#define CERMET_LENGTH
using LapackComplex = __CLPK_complex;
#else
#include <sys/mman.h>
using LapackComplex = std::complex<float>;
#define lapack_complex_float std::complex<float>
#define lapack_complex_double std::complex<double>
#define LAPACK_GLOBAL(lower, upper) scipy_##lower##_
#include <cblas.h>
#include <lapack.h>
#define CERMET_LAPACK(function) scipy_##function##_
#define CERMET_CBLAS(function) scipy_cblas_##function
#define CERMET_LENGTH , 1  // Fortran's hidden length, at the end for each argument of one character
#endif

#include "cermet/memory.h"
#include "cpu/layout.h"

// Calls the float's, the double's or the complex float's function by T.
#define CERMET_CALL(name, complex_name, ...)       \
  do {                                             \
    if constexpr (std::is_same_v<T, float>)        \
      CERMET_LAPACK(s##name)(__VA_ARGS__);         \
    else if constexpr (std::is_same_v<T, double>)  \
      CERMET_LAPACK(d##name)(__VA_ARGS__);         \
    else                                           \
      CERMET_LAPACK(c##complex_name)(__VA_ARGS__); \
  } while (false)

namespace cermet::cpu {
namespace {

// A call of the library under way. OpenBLAS's own threads stay unused. Its calls share buffers that
// it keeps, one for each of those under way at once; when it cannot have another it ends the
// process, so the system is asked for as much first.
class BlasCall {
 public:
#ifdef __APPLE__
  BlasCall() {}
#else
  BlasCall() {
    static const bool once = (scipy_openblas_set_num_threads(1), true);
    (void)once;
    const int mine = under_way.fetch_add(1) + 1;
    if (mine <= most.load(std::memory_order_relaxed)) return;
    void* const probe =
        mmap(nullptr, kBuffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) {
      --under_way;
      throw OutOfMemory("the BLAS library cannot have its buffer of " + std::to_string(kBuffer) +
                        " bytes");
    }
    munmap(probe, kBuffer);
    for (int known = most; known < mine && !most.compare_exchange_weak(known, mine);) {
    }
  }
  ~BlasCall() { --under_way; }

 private:
  static constexpr std::size_t kBuffer = std::size_t{33} << 20;
  static inline std::atomic<int> under_way{0}, most{0};
#endif
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;
};

template <class T>
constexpr bool is_complex_type = !std::is_same_v<T, Real<T>>;

// Elements as LAPACK's declarations have them.
template <class T>
auto* raw(T* p) {
  if constexpr (is_complex_type<T>)
    return reinterpret_cast<LapackComplex*>(p);
  else
    return p;
}

// Zeroes what lies on the other side of the diagonal of a (n, n).
template <class T>
void keep_triangle(int n, T* a, bool upper) {
  for (std::ptrdiff_t j = 0; j < n; ++j)
    upper ? std::fill(a + j * n + j + 1, a + (j + 1) * n, T(0))
          : std::fill(a + j * n, a + j * n + j, T(0));
}

// Runs call(work, size, info) twice: to ask for the size of its workspace, then with that.
template <class T, class Call>
int with_workspace(Call&& call) {
  const BlasCall under_way;
  T best = 0;
  int size = -1, info = 0;
  call(&best, &size, &info);
  if (info != 0) return info;
  size = std::max(1, static_cast<int>(std::real(best)));
  const Workspace<T> work(size);
  call(work.get(), &size, &info);
  return info;
}

}  // namespace

template <class T>
int qr(int m, int n, T* a, T* q, T* r) {
  int k = std::min(m, n);
  std::vector<T> tau(static_cast<std::size_t>(k));
  const int info = with_workspace<T>([&](T* work, int* size, int* info) {
    CERMET_CALL(geqrf, geqrf, &m, &n, raw(a), &m, raw(tau.data()), raw(work), size, info);
  });
  if (info != 0) return info;
  for (std::ptrdiff_t j = 0; j < n; ++j)
    for (std::ptrdiff_t i = 0; i < k; ++i) r[j * k + i] = i <= j ? a[j * m + i] : T(0);
  std::copy(a, a + std::ptrdiff_t{m} * k, q);
  return with_workspace<T>([&](T* work, int* size, int* info) {
    CERMET_CALL(orgqr, ungqr, &m, &k, &k, raw(q), &m, raw(tau.data()), raw(work), size, info);
  });
}

template <class T>
int svd(int m, int n, T* a, T* u, Real<T>* s, T* vt) {
  char job = u ? 'A' : 'N';
  std::vector<int> integers(static_cast<std::size_t>(8 * std::min(m, n)));
  if constexpr (is_complex_type<T>) {
    const std::int64_t k = std::min(m, n), most = std::max(m, n);
    const Workspace<Real<T>> reals(k * (u ? std::max(5 * k + 7, 2 * most + 2 * k + 1) : 7));
    return with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_LAPACK(cgesdd)
      (&job, &m, &n, raw(a), &m, s, raw(u), &m, raw(vt), &n, raw(work), size, reals.get(),
       integers.data(), info CERMET_LENGTH);
    });
  } else {
    return with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_CALL(gesdd, gesdd, &job, &m, &n, a, &m, s, u, &m, vt, &n, work, size, integers.data(),
                  info CERMET_LENGTH);
    });
  }
}

template <class T>
int pinv(int m, int n, T* a, T* p) {
  const std::ptrdiff_t rows = m, columns = n, k = std::min(m, n);
  const Workspace<T> u(rows * rows), vt(columns * columns);
  std::vector<Real<T>> s(static_cast<std::size_t>(k));
  if (const int info = svd(m, n, a, u.get(), s.data(), vt.get()); info != 0) return info;
  const Real<T> least =
      static_cast<Real<T>>(std::max(m, n)) * std::numeric_limits<Real<T>>::epsilon() * s[0];
  // The rows of vt, divided; then p = vt^T u^T of those that count.
  int rank = 0;
  for (; rank < k && s[static_cast<std::size_t>(rank)] > least; ++rank)
    for (std::ptrdiff_t j = 0; j < n; ++j)
      vt.get()[j * n + rank] /= s[static_cast<std::size_t>(rank)];
  std::fill(p, p + columns * rows, T(0));
  if (rank == 0) return 0;
  const BlasCall under_way;
  const T one = 1, zero = 0;
  if constexpr (std::is_same_v<T, float>) CERMET_CBLAS(sgemm)
  (CblasColMajor, CblasTrans, CblasTrans, n, m, rank, one, vt.get(), n, u.get(), m, zero, p, n);
  else if constexpr (std::is_same_v<T, double>) CERMET_CBLAS(dgemm)(
      CblasColMajor, CblasTrans, CblasTrans, n, m, rank, one, vt.get(), n, u.get(), m, zero, p, n);
  else CERMET_CBLAS(cgemm)(CblasColMajor, CblasConjTrans, CblasConjTrans, n, m, rank, &one,
                           vt.get(), n, u.get(), m, &zero, p, n);
  return 0;
}

template <class T>
int eigh(int n, T* a, bool upper, bool vectors, Real<T>* w) {
  char job = vectors ? 'V' : 'N', side = upper ? 'U' : 'L';
  int integer_count = 3 + 5 * n;
  std::vector<int> integers(static_cast<std::size_t>(integer_count));
  const auto asked = [](int* size, int& count) {
    return *size < 0 ? size : &count;
  };  // all at once
  if constexpr (is_complex_type<T>) {
    const std::int64_t width = n;
    const Workspace<Real<T>> reals(vectors ? 1 + 5 * width + 2 * width * width : width);
    int real_count = static_cast<int>(reals.span().size());
    return with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_LAPACK(cheevd)
      (&job, &side, &n, raw(a), &n, w, raw(work), size, reals.get(), asked(size, real_count),
       integers.data(), asked(size, integer_count), info CERMET_LENGTH CERMET_LENGTH);
    });
  } else {
    return with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_CALL(syevd, syevd, &job, &side, &n, a, &n, w, work, size, integers.data(),
                  asked(size, integer_count), info CERMET_LENGTH CERMET_LENGTH);
    });
  }
}

template <class T>
int eig(int n, T* a, std::complex<float>* w, std::complex<float>* v) {
  char no = 'N', job = v ? 'V' : 'N';
  const auto count = static_cast<std::size_t>(n);
  if constexpr (is_complex_type<T>) {
    std::vector<Real<T>> reals(2 * count);
    return with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_LAPACK(cgeev)
      (&no, &job, &n, raw(a), &n, raw(w), nullptr, &n, raw(v), &n, raw(work), size, reals.data(),
       info CERMET_LENGTH CERMET_LENGTH);
    });
  } else {
    std::vector<T> real(count), imaginary(count), packed(v ? count * count : 1);
    const int info = with_workspace<T>([&](T* work, int* size, int* info) {
      CERMET_CALL(geev, geev, &no, &job, &n, a, &n, real.data(), imaginary.data(), nullptr, &n,
                  packed.data(), &n, work, size, info CERMET_LENGTH CERMET_LENGTH);
    });
    const auto complex = [](T re, T im) {
      return std::complex<float>(static_cast<float>(re), static_cast<float>(im));
    };
    for (std::size_t j = 0; j < count; ++j) w[j] = complex(real[j], imaginary[j]);
    // Of a conjugate pair the columns hold the real and the imaginary part.
    for (std::size_t j = 0; v && j < count; ++j) {
      const bool pair = j + 1 < count && imaginary[j] != 0;
      for (std::size_t i = 0; i < count; ++i) {
        const T re = packed[j * count + i], im = pair ? packed[(j + 1) * count + i] : T(0);
        v[j * count + i] = complex(re, im);
        if (pair) v[(j + 1) * count + i] = complex(re, -im);
      }
      j += pair;
    }
    return info;
  }
}

template <class T>
int cholesky(int n, T* a, bool upper) {
  const BlasCall under_way;
  char side = upper ? 'U' : 'L';
  int info = 0;
  CERMET_CALL(potrf, potrf, &side, &n, raw(a), &n, &info CERMET_LENGTH);
  keep_triangle(n, a, upper);
  return info;
}

template <class T>
int solve(int n, int columns, T* a, T* b) {
  const BlasCall under_way;
  std::vector<int> pivots(static_cast<std::size_t>(n));
  int info = 0;
  CERMET_CALL(gesv, gesv, &n, &columns, raw(a), &n, pivots.data(), raw(b), &n, &info);
  return info;
}

template <class T>
int solve_triangular(int n, int columns, const T* a, bool upper, T* b) {
  const BlasCall under_way;
  char side = upper ? 'U' : 'L', no = 'N';
  int info = 0;
  CERMET_CALL(trtrs, trtrs, &side, &no, &no, &n, &columns, raw(const_cast<T*>(a)), &n, raw(b), &n,
              &info CERMET_LENGTH CERMET_LENGTH CERMET_LENGTH);
  return info;
}

template <class T>
int invert_triangular(int n, T* a, bool upper) {
  const BlasCall under_way;
  char side = upper ? 'U' : 'L', no = 'N';
  int info = 0;
  CERMET_CALL(trtri, trtri, &side, &no, &n, raw(a), &n, &info CERMET_LENGTH CERMET_LENGTH);
  keep_triangle(n, a, upper);
  return info;
}

template <class T>
int lu(int m, int n, T* a, std::uint32_t* pivots, std::uint32_t* rows) {
  const BlasCall under_way;
  const auto k = static_cast<std::size_t>(std::min(m, n));
  std::vector<int> exchanged(k);
  int info = 0;
  CERMET_CALL(getrf, getrf, &m, &n, raw(a), &m, exchanged.data(), &info);
  std::vector<std::uint32_t> order(static_cast<std::size_t>(m));
  std::iota(order.begin(), order.end(), 0u);
  for (std::size_t i = 0; i < k; ++i) {
    pivots[i] = static_cast<std::uint32_t>(exchanged[i] - 1);
    std::swap(order[i], order[pivots[i]]);
  }
  for (std::uint32_t i = 0; i < order.size(); ++i) rows[order[i]] = i;
  return std::min(info, 0);  // a zero on U's diagonal is no failure
}

#define CERMET_INSTANTIATE(T)                                            \
  template int qr(int, int, T*, T*, T*);                                 \
  template int svd(int, int, T*, T*, Real<T>*, T*);                      \
  template int pinv(int, int, T*, T*);                                   \
  template int eigh(int, T*, bool, bool, Real<T>*);                      \
  template int eig(int, T*, std::complex<float>*, std::complex<float>*); \
  template int cholesky(int, T*, bool);                                  \
  template int solve(int, int, T*, T*);                                  \
  template int solve_triangular(int, int, const T*, bool, T*);           \
  template int invert_triangular(int, T*, bool);                         \
  template int lu(int, int, T*, std::uint32_t*, std::uint32_t*);
CERMET_INSTANTIATE(float)
CERMET_INSTANTIATE(double)
CERMET_INSTANTIATE(std::complex<float>)

}  // namespace cermet::cpu
