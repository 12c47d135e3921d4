// argmax and argmin: the first index of the extreme; a nan is more extreme than any number.
#include <stdexcept>
#include <string>

#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// True when x, which comes later, takes the place of `best`.
template <bool kMax, class T>
bool replaces(T x, T best) {
  if constexpr (kIsComplex<T>)
    return !is_nan(best) && (is_nan(x) || (kMax ? less(best, x) : less(x, best)));
  else
    return (best == best) & !(kMax ? x <= best : x >= best);
}

constexpr std::int64_t kBlock = 1024;

// The elements in a type to compare in; halves are widened into the buffer.
template <class T>
struct Load {
  using Value = T;
  const T* operator()(const T* p, std::int64_t) { return p; }
};
template <class T>
  requires kIsHalf<T>
struct Load<T> {
  using Value = float;
  const float* operator()(const T* p, std::int64_t n) {
    CERMET_DISPATCH(to_floats(p, buffer, n));
    return buffer;
  }
  float buffer[kBlock];
};

// The extreme value of a block, in lanes that the compiler turns into vectors.
template <bool kMax, class V>
V extreme(const V* x, std::int64_t n) {
  constexpr std::int64_t kLanes = 128 / sizeof(V);
  V best = x[0];
  if (n >= kLanes) {
    V lanes[kLanes];
    for (std::int64_t l = 0; l < kLanes; ++l) lanes[l] = x[l];
    std::int64_t i = kLanes;
    for (; i + kLanes <= n; i += kLanes)
      for (std::int64_t l = 0; l < kLanes; ++l)
        lanes[l] = replaces<kMax>(x[i + l], lanes[l]) ? x[i + l] : lanes[l];
    for (V v : lanes) best = replaces<kMax>(v, best) ? v : best;
    x += i;
    n -= i;
  }
  for (std::int64_t i = 0; i < n; ++i) best = replaces<kMax>(x[i], best) ? x[i] : best;
  return best;
}

template <class V>
struct Best {
  V value;
  std::int64_t index;
};

// The first extreme of a run: its value block by block, then its place in the block that had it.
template <bool kMax, class T>
Best<typename Load<T>::Value> best_of(const T* x, std::int64_t n) {
  using V = typename Load<T>::Value;
  Load<T> load;
  Best<V> best{load(x, 1)[0], 0};
  std::int64_t block = 0;
  for (std::int64_t b = 0; b < n; b += kBlock) {
    const std::int64_t count = std::min(kBlock, n - b);
    const V value = extreme<kMax>(load(x + b, count), count);
    if (replaces<kMax>(value, best.value)) {
      best.value = value;
      block = b;
    }
  }
  const V* values = load(x + block, std::min(kBlock, n - block));
  std::int64_t i = 0;
  if (is_nan(best.value))
    while (!is_nan(values[i])) ++i;
  else  // neither goes before the other: equal
    while (replaces<kMax>(best.value, values[i]) || replaces<kMax>(values[i], best.value)) ++i;
  best.index = block + i;
  return best;
}

template <bool kMax, class T>
void along_rows(const T* a, std::uint32_t* out, std::int64_t rows, std::int64_t n) {
  const std::int64_t parts = (n - 1) / kGrain + 1;
  const Workspace<Best<typename Load<T>::Value>> found(rows * parts);
  auto* const best = found.get();
  parallel_for(
      rows * parts, grain_for(std::min(n, kGrain)), [&](std::int64_t begin, std::int64_t end) {
        for (; begin < end; ++begin) {
          const std::int64_t first = begin % parts * kGrain;
          best[begin] = best_of<kMax>(a + begin / parts * n + first, std::min(kGrain, n - first));
          best[begin].index += first;
        }
      });
  for (std::int64_t row = 0; row < rows; ++row) {
    auto winner = best[row * parts];
    for (std::int64_t p = 1; p < parts; ++p)
      if (replaces<kMax>(best[row * parts + p].value, winner.value)) winner = best[row * parts + p];
    out[row] = static_cast<std::uint32_t>(winner.index);
  }
}

template <bool kMax, class T>
void along_columns(const T* a, std::uint32_t* out, const Split& s) {
  using V = typename Load<T>::Value;
  constexpr std::int64_t kBand = 256;
  const std::int64_t bands = (s.inner - 1) / kBand + 1;
  parallel_for(s.outer * bands, grain_for(s.n * std::min(s.inner, kBand)),
               [&](std::int64_t begin, std::int64_t end) {
                 Load<T> load;
                 V best[kBand];
                 std::uint32_t index[kBand];
                 for (; begin < end; ++begin) {
                   const std::int64_t outer = begin / bands, first = begin % bands * kBand;
                   const std::int64_t columns = std::min(kBand, s.inner - first);
                   const T* from = a + outer * s.n * s.inner + first;
                   const V* x = load(from, columns);
                   for (std::int64_t c = 0; c < columns; ++c) best[c] = x[c], index[c] = 0;
                   for (std::int64_t j = 1; j < s.n; ++j) {
                     x = load(from + j * s.inner, columns);
                     for (std::int64_t c = 0; c < columns; ++c) {
                       const bool take = replaces<kMax>(x[c], best[c]);
                       best[c] = take ? x[c] : best[c];
                       index[c] = take ? static_cast<std::uint32_t>(j) : index[c];
                     }
                   }
                   std::copy_n(index, columns, out + outer * s.inner + first);
                 }
               });
}

}  // namespace

void arg_reduce(const ArgReduce& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  if (split.n == 0)
    throw std::invalid_argument(std::string(p.name()) + ": axis " + std::to_string(p.axis) +
                                " has no elements");
  std::optional<Scratch> holder;
  const Tensor x = dense(a, holder);
  visit(a.dtype, [&]<class T>(Type<T>) {
    auto apply = [&]<bool kMax>(std::bool_constant<kMax>) {
      if (split.inner == 1)
        along_rows<kMax>(data<const T>(x), data<std::uint32_t>(out), split.outer, split.n);
      else
        along_columns<kMax>(data<const T>(x), data<std::uint32_t>(out), split);
    };
    p.max ? apply(std::true_type{}) : apply(std::false_type{});
  });
}

}  // namespace cermet::cpu
