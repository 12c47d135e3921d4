// Fourier transforms along an axis: rows and columns, complex and real, spread over the threads.
#include <algorithm>
#include <optional>

#include "cpu/fft_plan.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"

namespace cermet::cpu {
namespace {

// A row of so many numbers is worth all threads; columns of more go through rows.
constexpr std::int64_t kLongRow = 1 << 15, kLongColumn = 1 << 14;
// Rows that are transformed together where they are short.
constexpr std::int64_t kGroup = 2 * kFftLanes;

// Real and imaginary parts by turns, the inverse transform's exchanged.
FftSide side(float* data, std::int64_t element, std::int64_t lane, bool inverse) {
  const FftSide s{data, data + 1, 2 * element, 2 * lane};
  return inverse ? s.swapped() : s;
}
// One after the other.
FftSide planes(float* data, std::int64_t n, bool inverse) {
  const FftSide s{data, data + n, 1, 2 * n};
  return inverse ? s.swapped() : s;
}

// Calls body(begin, end) for all of n lanes, in pieces of at least `grain`, a multiple of `unit`.
template <class Body>
void for_lanes(std::int64_t n, std::int64_t grain, std::int64_t unit, Body body) {
  grain = std::max(unit, (grain + unit - 1) / unit * unit);
  const std::int64_t pieces = std::max<std::int64_t>(1, n / grain);
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    body(begin * grain, end == pieces ? n : end * grain);
  });
}

// Rows that are lanes side by side should fill vectors.
std::int64_t unit_of(const FftPlan& plan) { return plan.is_short() ? kFftLanes : 1; }

// A long row, by all threads.
void transform_long(const FftPlan& plan, const FftSide& from, const FftSide& to, float scale) {
  const Workspace<float> memory(2 * plan.second.n * plan.pitch());
  const FftMatrix matrix(plan, memory.get());
  for_lanes(plan.second.n, kGrain / plan.first.n, kFftLanes,
            [&](std::int64_t begin, std::int64_t end) {
              const Workspace<float> scratch(fft_scratch(plan.first.n));
              matrix.transform_columns(from, begin, end, scratch.get());
            });
  for_lanes(plan.first.n, kGrain / plan.second.n, kFftLanes,
            [&](std::int64_t begin, std::int64_t end) {
              const Workspace<float> scratch(fft_scratch(plan.second.n));
              matrix.transform_rows(to, begin, end, scale, scratch.get());
            });
}

// Rows of complex numbers.
void complex_rows(const Fft& p, const Tensor& a, const Tensor& out, std::int64_t rows,
                  std::int64_t n, float scale) {
  const auto plan = fft_plan(n);
  const FftSide from = side(data<float>(a), 1, n, p.inverse),
                to = side(data<float>(out), 1, n, p.inverse);
  if (rows < get_num_threads() && n >= kLongRow && !plan->convolution) {
    for (std::int64_t r = 0; r < rows; ++r)
      transform_long(*plan, from.at(r * from.lane), to.at(r * to.lane), scale);
    return;
  }
  for_lanes(rows, grain_for(n), unit_of(*plan), [&](std::int64_t begin, std::int64_t end) {
    const Workspace<float> memory(plan->workspace());
    transform_rows(*plan, from.at(begin * from.lane), to.at(begin * to.lane), end - begin, scale,
                   memory.get());
  });
}

// Columns that lie side by side, as the lanes of both sides: the two steps of a row, each for all
// of these lanes.
std::int64_t column_workspace(const FftPlan& plan, std::int64_t lanes) {
  return fft_scratch(std::max(plan.first.n, plan.second.n)) +
         (plan.is_short() ? 0 : 2 * plan.n * lanes);
}
void transform_columns(const FftPlan& plan, const FftSide& from, const FftSide& to,
                       std::int64_t lanes, float scale, float* workspace) {
  const auto transform = CERMET_DISPATCH(fft_kernels()).columns;
  if (plan.is_short()) return transform(plan.first, from, to, 0, lanes, {}, scale, workspace);
  const std::int64_t rows = plan.first.n, columns = plan.second.n;
  const FftSide matrix{workspace, workspace + lanes, 2 * lanes, 1};
  float* const scratch = workspace + 2 * plan.n * lanes;
  const auto every = [](FftSide s, std::int64_t first, std::int64_t step) {
    s = s.at(first * s.element);
    s.element *= step;
    return s;
  };
  for (std::int64_t j = 0; j < columns; ++j) {
    FftTwiddles twiddles = plan.between;
    twiddles.re += j, twiddles.im += j, twiddles.lane = 0;
    transform(plan.first, every(from, j, columns), every(matrix, j, columns), 0, lanes, twiddles, 1,
              scratch);
  }
  for (std::int64_t i = 0; i < rows; ++i)
    transform(plan.second, matrix.at(i * columns * matrix.element), every(to, i, rows), 0, lanes,
              {}, scale, scratch);
}

void complex_columns(const Fft& p, const Tensor& a, const Tensor& out, const Split& split,
                     float scale) {
  const auto plan = fft_plan(split.n);
  const std::int64_t inner = split.inner, pieces = std::max<std::int64_t>(1, inner / kFftLanes);
  const std::int64_t grain = grain_for(split.n * kFftLanes);
  parallel_for(split.outer * pieces, grain, [&](std::int64_t begin, std::int64_t end) {
    const Workspace<float> memory(column_workspace(*plan, std::min(inner, 2 * kFftLanes)));
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % pieces * kFftLanes;
      const std::int64_t lanes = i % pieces + 1 == pieces ? inner - first : kFftLanes;
      const std::int64_t place = 2 * (i / pieces * split.n * inner + first);
      transform_columns(*plan, side(data<float>(a) + place, inner, 1, p.inverse),
                        side(data<float>(out) + place, inner, 1, p.inverse), lanes, scale,
                        memory.get());
    }
  });
}

// Rows of n real numbers and their n / 2 + 1 frequencies: of an even number the pairs are complex
// numbers, of an odd one the imaginary parts are zero.
class RealRows {
 public:
  RealRows(std::int64_t n, std::int64_t rows, float scale)
      : n_(n),
        points_(n % 2 ? n : n / 2),
        scale_(scale),
        pairs_(n % 2 ? nullptr : pairs_plan(n / 2)),
        plan_(n % 2 ? fft_plan(n) : pairs_->pairs),
        group_(plan_->is_short() ? std::min(rows, kGroup) : 1) {}

  void run(const Tensor& real, const Tensor& half, std::int64_t rows, bool forward) const {
    for_lanes(rows, grain_for(n_), unit_of(*plan_), [&](std::int64_t begin, std::int64_t end) {
      const Workspace<float> memory(plan_->workspace() + 4 * group_ * points_);
      for (std::int64_t first = begin; first < end; first += group_) {
        const std::int64_t count = std::min(group_, end - first);
        float *const x = data<float>(real) + first * n_, *const y =
                                                             data<float>(half) + first * width();
        if (group_ == 1 && first + 1 < end)
          forward ? ask_for(x + n_, n_) : ask_for(y + width(), width());
        if (forward)
          n_ % 2 ? odd_forward(x, y, count, memory.get()) : even_forward(x, y, count, memory.get());
        else
          n_ % 2 ? odd_back(y, x, count, memory.get()) : even_back(y, x, count, memory.get());
      }
    });
  }

 private:
  std::int64_t width() const { return 2 * (n_ / 2 + 1); }
  // Memory: rows that a transform reads and those that it writes, then its own.
  float* made(float* memory) const { return memory + 2 * group_ * points_; }
  float* rest(float* memory) const { return memory + 4 * group_ * points_; }
  FftSide pairs_of(float* real) const { return {real, real + 1, 2, n_}; }

  void even_forward(float* real, float* half, std::int64_t count, float* memory) const {
    float* y = made(memory);
    transform_rows(*plan_, pairs_of(real), planes(y, points_, false), count, 1, rest(memory));
    for (; count-- > 0; y += 2 * points_, half += width())
      kernels_.split_pairs(y, y + points_, pairs_->roots.data(), half, points_, scale_);
  }
  void even_back(const float* half, float* real, std::int64_t count, float* memory) const {
    float* x = memory;
    for (std::int64_t r = 0; r < count; ++r, x += 2 * points_, half += width())
      kernels_.join_pairs(half, pairs_->roots.data(), x, x + points_, points_);
    transform_rows(*plan_, planes(memory, points_, true), pairs_of(real).swapped(), count, scale_,
                   rest(memory));
  }
  void odd_forward(const float* real, float* half, std::int64_t count, float* memory) const {
    float *x = memory, *y = made(memory);
    for (std::int64_t r = 0; r < count; ++r, x += 2 * n_, real += n_) {
      std::copy_n(real, n_, x);
      std::fill_n(x + n_, n_, 0.0f);
    }
    transform_rows(*plan_, planes(memory, n_, false), planes(y, n_, false), count, scale_,
                   rest(memory));
    for (; count-- > 0; y += 2 * n_, half += width()) {
      for (std::int64_t k = 0; 2 * k < width(); ++k)
        half[2 * k] = y[k], half[2 * k + 1] = y[n_ + k];
      half[1] = 0;
    }
  }
  void odd_back(const float* half, float* real, std::int64_t count, float* memory) const {
    float *x = memory, *y = made(memory);
    for (std::int64_t r = 0; r < count; ++r, x += 2 * n_, half += width()) {
      x[0] = half[0], x[n_] = 0;
      for (std::int64_t k = 1; 2 * k < width(); ++k) {
        x[k] = x[n_ - k] = half[2 * k];
        x[n_ + k] = half[2 * k + 1], x[2 * n_ - k] = -half[2 * k + 1];
      }
    }
    transform_rows(*plan_, planes(memory, n_, true), planes(y, n_, true), count, scale_,
                   rest(memory));
    for (; count-- > 0; y += 2 * n_, real += n_) std::copy_n(y, n_, real);
  }

  const std::int64_t n_, points_;  // real numbers, and complex ones that are transformed
  const float scale_;
  const std::shared_ptr<const PairsPlan> pairs_;
  const std::shared_ptr<const FftPlan> plan_;
  const std::int64_t group_;  // rows at once
  const FftKernels& kernels_ = CERMET_DISPATCH(fft_kernels());
};

}  // namespace

void fft(const Fft& p, const Tensor& a, const Tensor& out) {
  const std::int64_t n = p.points(a.shape), rows = out.size() / out.shape[p.axis];
  const auto scale = static_cast<float>(p.factor(n));
  const Split split(a.shape, p.axis);
  std::optional<Scratch> holder, made;
  if (p.type == Fft::Type::complex && split.inner >= kFftLanes / 2 && n <= kLongColumn &&
      !fft_plan(n)->convolution)
    return complex_columns(p, dense(a, holder), out, split, scale);
  // Others are rows, for which the axis goes last.
  const Tensor in = dense(with_axis_last(a, p.axis), holder), to = with_axis_last(out, p.axis);
  if (split.inner > 1) made.emplace(out.dtype, to.shape);
  const Tensor& result = made ? made->tensor : out;
  switch (p.type) {
    case Fft::Type::complex: complex_rows(p, in, result, rows, n, scale); break;
    case Fft::Type::real: RealRows(n, rows, scale).run(in, result, rows, true); break;
    case Fft::Type::half: RealRows(n, rows, scale).run(result, in, rows, false); break;
  }
  if (made) copy(result, to);
}

}  // namespace cermet::cpu
