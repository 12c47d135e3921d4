// Plans of Fourier transforms: factors, twiddles, and Bluestein's convolution.
//
// A plan follows from the length alone, and its tables from arithmetic that is the same everywhere:
// so are the results.
#include "cpu/fft_plan.h"

#include <algorithm>
#include <mutex>
#include <numbers>

#include "graph/fork.h"
#include "graph/lru_map.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kOneStep = 255, kFineTwiddles = 1 << 16;
constexpr std::size_t kKept = 64 << 20;  // bytes

struct Point {
  double re, im;
};

// e^(-2 pi i k / n) for 0 <= k < n: an eighth of the circle by Taylor's series, of which the next
// terms would be less than 1e-17.
Point root(std::int64_t k, std::int64_t n) {
  const std::int64_t octant = 8 * k / n, rest = 8 * k % n;
  const std::int64_t within = octant % 2 ? n - rest : rest;
  const double x = static_cast<double>(within) / static_cast<double>(n) * (std::numbers::pi / 4);
  const double y = x * x;
  double c = 0, s = 0;
  for (int i = 16; i > 0; i -= 2) {
    c = (1 - c) * y / (i * (i - 1));
    s = (1 - s) * y / (i * (i + 1));
  }
  c = 1 - c, s = x * (1 - s);
  switch (octant) {
    case 0: return {c, -s};
    case 1: return {s, -c};
    case 2: return {-s, -c};
    case 3: return {-c, -s};
    case 4: return {-c, s};
    case 5: return {-s, c};
    case 6: return {s, c};
    default: return {c, s};
  }
}

// Radices by which a column is transformed, in turn.
std::vector<int> radices_of(std::int64_t n) {
  std::vector<int> radices;
  int twos = 0;
  for (; n % 2 == 0; n /= 2) ++twos;
  if (twos == 1) radices.push_back(2);
  for (int left = twos; left > 1; left -= radices.back() == 4 ? 2 : 3)
    radices.push_back(left % 3 == 0 ? 8 : 4);
  for (int p = 3; n > 1; p += 2)
    for (; n % p == 0; n /= p) radices.push_back(p);
  return radices;
}

std::int64_t largest_prime(std::int64_t n) {
  std::int64_t largest = 1;
  for (std::int64_t p = 2; p * p <= n; ++p)
    for (; n % p == 0; n /= p) largest = p;
  return n > 1 ? std::max(largest, n) : largest;
}

FftColumn column(std::int64_t n, std::vector<std::vector<float>>& tables) {
  FftColumn c{n, 0, {}};
  std::int64_t stride = 1, rest = n;
  for (const int radix : radices_of(n)) {
    rest /= radix;
    std::vector<float> twiddles, roots;
    for (std::int64_t p = 0; rest > 1 && p < rest; ++p)
      for (int j = 1; j < radix; ++j) {
        const Point w = root(p * j, radix * rest);
        twiddles.push_back(static_cast<float>(w.re)), twiddles.push_back(static_cast<float>(w.im));
      }
    for (int i = 0; i < radix; ++i) roots.push_back(static_cast<float>(root(i, radix).re));
    for (int i = 0; i < radix; ++i) roots.push_back(-static_cast<float>(root(i, radix).im));
    c.passes[c.count++] = {radix, stride, rest, twiddles.data(), roots.data()};
    tables.push_back(std::move(twiddles)), tables.push_back(std::move(roots));
    stride *= radix;
  }
  return c;
}

// The rows of the matrix of n numbers: such that few lanes of vectors are idle, and columns fit
// the nearer caches.
std::int64_t rows_of(std::int64_t n) {
  if (n <= kOneStep) return n;
  const auto cost = [](std::int64_t columns, std::int64_t length) {
    const std::int64_t lanes = (columns + kFftLanes - 1) / kFftLanes * kFftLanes;
    // Into scratch memory and out of it: lanes that do not fill a vector are moved one by one.
    const int moves = columns < kFftLanes ? 12 : 2;
    const auto passes = static_cast<double>(radices_of(length).size()) + moves;
    return static_cast<double>(lanes) * static_cast<double>(length) * passes *
           (length > 2048 ? 1.5 : 1);
  };
  std::int64_t best = n;
  double least = 0;
  for (std::int64_t rows = 2; rows * rows <= n; ++rows)
    if (n % rows == 0)
      for (const std::int64_t d : {rows, n / rows}) {
        const double now = cost(n / d, d) + cost(d, n / d);
        if (best == n || now < least) best = d, least = now;
      }
  return best;
}

void add_between(FftPlan& plan) {
  const std::int64_t n = plan.n, rows = plan.first.n, columns = plan.second.n;
  const bool fine = n <= kFineTwiddles;
  const std::int64_t width = fine ? columns : kFftLanes;
  std::vector<float> table(static_cast<std::size_t>(2 * rows * width)), coarse;
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t l = 0; l < width; ++l) {
      const Point w = root(i * l % n, n);
      const auto at = static_cast<std::size_t>(i * width + l);
      table[at] = static_cast<float>(w.re);
      table[at + static_cast<std::size_t>(rows * width)] = static_cast<float>(w.im);
    }
  if (!fine)
    for (std::int64_t l = 0; l < columns; l += kFftLanes)
      for (std::int64_t i = 0; i < rows; ++i) {
        const Point w = root(i * l % n, n);
        coarse.push_back(static_cast<float>(w.re)), coarse.push_back(static_cast<float>(w.im));
      }
  plan.between = {table.data(), table.data() + rows * width, fine ? width : rows, 1,
                  fine ? nullptr : coarse.data()};
  plan.tables.push_back(std::move(table)), plan.tables.push_back(std::move(coarse));
}

// A length of at least this whose transform is quick: with no prime factors but 2, 3 and 5.
std::int64_t quick_length(std::int64_t least) {
  for (std::int64_t n = (least + 15) / 16 * 16;; n += 16) {
    std::int64_t rest = n;
    for (const int p : {2, 3, 5})
      while (rest % p == 0) rest /= p;
    if (rest == 1) return n;
  }
}

void add_convolution(FftPlan& plan) {
  // In two steps, as rows are transformed one by one.
  const std::int64_t n = plan.n, length = quick_length(std::max(2 * n - 1, kOneStep + 1));
  plan.convolution = fft_plan(length);
  plan.chirp.resize(static_cast<std::size_t>(2 * n));
  std::vector<float> mirrored(static_cast<std::size_t>(2 * length));
  const auto at = [](std::int64_t i) { return static_cast<std::size_t>(i); };
  std::int64_t square = 0;  // modulo 2 n
  for (std::int64_t k = 0; k < n; square = (square + 2 * k + 1) % (2 * n), ++k) {
    const Point w = root(square, 2 * n);
    plan.chirp[at(k)] = static_cast<float>(w.re), plan.chirp[at(n + k)] = static_cast<float>(w.im);
    for (const std::int64_t i : {k, (length - k) % length})
      mirrored[at(i)] = static_cast<float>(w.re),
      mirrored[at(length + i)] = -static_cast<float>(w.im);
  }
  plan.spectrum.resize(mirrored.size());
  std::vector<float> memory(at(plan.convolution->workspace()));
  transform_rows(*plan.convolution, {mirrored.data(), mirrored.data() + length, 1, 0},
                 {plan.spectrum.data(), plan.spectrum.data() + length, 1, 0}, 1,
                 1 / static_cast<float>(length), memory.data());
}

std::size_t bytes_of(const FftPlan& plan) {
  std::size_t floats = plan.chirp.size() + plan.spectrum.size();
  for (const auto& table : plan.tables) floats += table.size();
  return floats * sizeof(float);
}
std::size_t bytes_of(const PairsPlan& plan) { return plan.roots.size() * sizeof(float); }

// The plan of a length: one of those used last, or made outside of the lock.
template <class Plan, class Make>
std::shared_ptr<const Plan> kept(std::int64_t n, Make make) {
  static auto& plans = *new LruMap<std::int64_t, std::shared_ptr<const Plan>>(kKept);
  std::mutex& mutex = mutex_of(Lock::kernels);
  {
    const std::scoped_lock lock(mutex);
    if (const auto* plan = plans.find(n)) return *plan;
  }
  auto made = std::make_shared<Plan>();
  make(*made);
  const std::scoped_lock lock(mutex);
  if (const auto* plan = plans.find(n)) return *plan;
  const std::size_t bytes = bytes_of(*made);
  return plans.insert(n, std::move(made), bytes);
}

}  // namespace

std::shared_ptr<const FftPlan> fft_plan(std::int64_t n) {
  return kept<FftPlan>(n, [&](FftPlan& plan) {
    plan.n = n;
    if (largest_prime(n) > kMostRadix) return add_convolution(plan);
    const std::int64_t rows = rows_of(n);
    plan.first = column(rows, plan.tables);
    plan.second = column(n / rows, plan.tables);
    if (plan.second.n > 1) add_between(plan);
  });
}

std::shared_ptr<const PairsPlan> pairs_plan(std::int64_t n) {
  return kept<PairsPlan>(n, [&](PairsPlan& plan) {
    plan.pairs = fft_plan(n);
    plan.roots.resize(static_cast<std::size_t>(2 * n));
    for (std::int64_t k = 0; k < n; ++k) {
      const Point w = root(k, 2 * n);
      plan.roots[static_cast<std::size_t>(k)] = static_cast<float>(w.re);
      plan.roots[static_cast<std::size_t>(n + k)] = static_cast<float>(w.im);
    }
  });
}

std::int64_t FftPlan::workspace() const {
  if (convolution) return 2 * convolution->n + convolution->workspace();
  return fft_scratch(std::max(first.n, second.n)) + (second.n > 1 ? 2 * second.n * pitch() : 0);
}

void transform_rows(const FftPlan& plan, const FftSide& from, const FftSide& to, std::int64_t rows,
                    float scale, float* workspace) {
  const FftKernels& kernels = CERMET_DISPATCH(fft_kernels());
  if (plan.convolution) {
    const FftPlan& longer = *plan.convolution;
    const std::int64_t n = plan.n, length = longer.n;
    const FftSide inner{workspace, workspace + length, 1, 0};
    float* const memory = workspace + 2 * length;
    for (std::int64_t row = 0; row < rows; ++row) {
      kernels.multiply(from.at(row * from.lane), plan.chirp.data(), inner, n, 1);
      std::fill(inner.re + n, inner.re + length, 0.0f);
      std::fill(inner.im + n, inner.im + length, 0.0f);
      const FftMatrix matrix(longer, memory);
      float* const scratch = memory + 2 * longer.second.n * longer.pitch();
      matrix.transform_columns(inner, 0, longer.second.n, scratch);
      matrix.transform_rows(
          inner, 0, longer.first.n, 1, scratch,
          {plan.spectrum.data(), plan.spectrum.data() + length, longer.first.n, 1});
      transform_rows(longer, inner.swapped(), inner.swapped(), 1, 1, memory);
      kernels.multiply(inner, plan.chirp.data(), to.at(row * to.lane), n, scale);
    }
    return;
  }
  if (plan.is_short()) return kernels.columns(plan.first, from, to, 0, rows, {}, scale, workspace);
  const FftMatrix matrix(plan, workspace);
  float* const scratch = workspace + 2 * plan.second.n * plan.pitch();
  for (std::int64_t row = 0; row < rows; ++row) {
    if (row + 1 < rows) ask_for(from.at((row + 1) * from.lane).re, plan.n * from.element);
    matrix.transform_columns(from.at(row * from.lane), 0, plan.second.n, scratch);
    ask_for<true>(to.at(row * to.lane).re, plan.n * to.element);
    matrix.transform_rows(to.at(row * to.lane), 0, plan.first.n, scale, scratch);
  }
}

FftMatrix::FftMatrix(const FftPlan& plan, float* memory)
    : plan_(plan), between_{memory, memory + plan.second.n * plan.pitch(), 1, plan.pitch()} {}

void FftMatrix::transform_columns(const FftSide& from, std::int64_t begin, std::int64_t end,
                                  float* scratch) const {
  CERMET_DISPATCH(fft_kernels())
      .columns(plan_.first, {from.re, from.im, plan_.second.n * from.element, from.element},
               between_, begin, end, plan_.between, 1, scratch);
}
void FftMatrix::transform_rows(const FftSide& to, std::int64_t begin, std::int64_t end, float scale,
                               float* scratch, const FftTwiddles& factors) const {
  CERMET_DISPATCH(fft_kernels())
      .columns(plan_.second, {between_.re, between_.im, between_.lane, between_.element},
               {to.re, to.im, plan_.first.n * to.element, to.element}, begin, end, factors, scale,
               scratch);
}

}  // namespace cermet::cpu
