// Scans: running sums, products, extremes and log-sum-exps along an axis.
//
// A scan works in place on its output. Halves are scanned as float. The order of operations depends
// on the shape alone, never on the number of threads.
#include <limits>
#include <memory>
#include <stdexcept>

#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

template <class T>
constexpr T lowest() {
  if constexpr (kIsComplex<T>)
    return {lowest<float>(), lowest<float>()};
  else if constexpr (std::is_floating_point_v<T>)
    return -std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::lowest();
}
template <class T>
constexpr T highest() {
  if constexpr (kIsComplex<T>)
    return {highest<float>(), highest<float>()};
  else if constexpr (std::is_floating_point_v<T>)
    return std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::max();
}

// Along runs of n elements a step apart: kRuns of them together, to hide the operation's latency.
// Returns the last run's total.
template <int kRuns, class T, class F>
T scan_runs(T* x, std::int64_t run_step, std::int64_t n, std::int64_t step, bool inclusive,
            T identity, F combine) {
  T total[kRuns];
  for (T& t : total) t = identity;
  for (std::int64_t i = 0; i < n; ++i) {
    for (int r = 0; r < kRuns; ++r) {
      T& at = x[r * run_step + i * step];
      const T before = total[r];
      total[r] = i == 0 ? at : combine(before, at);
      at = inclusive ? total[r] : before;
    }
  }
  return total[kRuns - 1];
}

// One long run: chunks are scanned on their own, then shifted by what comes before them.
template <class T, class F>
void scan_chunked(T* x, std::int64_t n, std::int64_t step, bool inclusive, T identity, F combine) {
  const std::int64_t chunks = (n - 1) / kGrain + 1;
  const auto before = std::make_unique<T[]>(static_cast<std::size_t>(chunks));
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    before[begin / kGrain] =
        scan_runs<1>(x + begin * step, 0, end - begin, step, inclusive, identity, combine);
  });
  scan_runs<1>(before.get(), 0, chunks, 1, false, identity, combine);
  parallel_for(n - kGrain, kGrain, [&](std::int64_t begin, std::int64_t end) {
    begin += kGrain;
    end += kGrain;
    const T carry = before[begin / kGrain];
    for (std::int64_t i = begin; i < end; ++i) x[i * step] = combine(carry, x[i * step]);
  });
}

template <class T, class F>
void scan_rows(T* x, std::int64_t rows, std::int64_t n, bool reverse, bool inclusive, T identity,
               F combine) {
  constexpr int kRuns = 4;
  const std::int64_t step = reverse ? -1 : 1;
  if (reverse) x += n - 1;
  if (rows < 32 && n > kGrain) {
    for (std::int64_t r = 0; r < rows; ++r)
      scan_chunked(x + r * n, n, step, inclusive, identity, combine);
    return;
  }
  parallel_for(rows, (grain_for(n) + kRuns - 1) / kRuns * kRuns,
               [&](std::int64_t r, std::int64_t end) {
                 for (; r + kRuns <= end; r += kRuns)
                   scan_runs<kRuns>(x + r * n, n, n, step, inclusive, identity, combine);
                 for (; r < end; ++r)
                   scan_runs<1>(x + r * n, n, n, step, inclusive, identity, combine);
               });
}

template <class T, class F>
void scan_columns(T* x, const Split& s, bool reverse, bool inclusive, T identity, F combine) {
  constexpr std::int64_t kBand = 256;
  const std::int64_t bands = (s.inner - 1) / kBand + 1;
  parallel_for(s.outer * bands, grain_for(s.n * std::min(s.inner, kBand)),
               [&](std::int64_t begin, std::int64_t end) {
                 T total[kBand];
                 for (; begin < end; ++begin) {
                   const std::int64_t first = begin % bands * kBand;
                   const std::int64_t columns = std::min(kBand, s.inner - first);
                   T* base = x + begin / bands * s.n * s.inner + first;
                   for (std::int64_t j = 0; j < s.n; ++j) {
                     T* at = base + (reverse ? s.n - 1 - j : j) * s.inner;
                     for (std::int64_t c = 0; c < columns; ++c) {
                       const T before = j == 0 ? identity : total[c];
                       total[c] = j == 0 ? at[c] : combine(before, at[c]);
                       at[c] = inclusive ? total[c] : before;
                     }
                   }
                 }
               });
}

template <class T>
void scan_in_place(const Scan& p, T* x, const Split& split) {
  auto apply = [&](T identity, auto combine) {
    if (split.inner == 1)
      scan_rows(x, split.outer, split.n, p.reverse, p.inclusive, identity, combine);
    else
      scan_columns(x, split, p.reverse, p.inclusive, identity, combine);
  };
  T zero{}, one{};
  if constexpr (kIsComplex<T>)
    one = {1, 0};
  else
    one = T(1);
  switch (p.op) {
    case ScanOp::sum: return apply(zero, Add());
    case ScanOp::prod: return apply(one, Multiply());
    case ScanOp::min: return apply(highest<T>(), Minimum());
    case ScanOp::max: return apply(lowest<T>(), Maximum());
    case ScanOp::logaddexp:
      if constexpr (std::is_floating_point_v<T>)
        return apply(lowest<T>(), LogAddExp());
      else if constexpr (kIsComplex<T>)
        return apply({lowest<float>(), 0}, LogAddExp());
      else
        throw std::invalid_argument("logcumsumexp: expected a floating dtype, got " +
                                    std::string(name_of(dtype_of<T>)));
  }
}

}  // namespace

void scan(const Scan& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  if (out.data != a.data) copy(a, out);
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T>) {
      const Scratch floats(float32, out.shape);
      float* x = data<float>(floats.tensor);
      parallel_for(out.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        CERMET_DISPATCH(to_floats(data<const T>(out) + begin, x + begin, end - begin));
      });
      scan_in_place(p, x, split);
      parallel_for(out.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        CERMET_DISPATCH(from_floats(x + begin, data<T>(out) + begin, end - begin));
      });
    } else {
      scan_in_place(p, data<T>(out), split);
    }
  });
}

}  // namespace cermet::cpu
