// Where the windows of a convolution lie.
#include "cpu/products/windows.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace cermet::cpu {

alignas(64) const std::byte kZeros[kMostSegment]{};

namespace {

std::int64_t ceil_quotient(std::int64_t a, std::int64_t b) {
  return a >= 0 ? (a + b - 1) / b : -(-a / b);
}

}  // namespace

std::pair<std::int64_t, std::int64_t> Phase::inside(std::int64_t tap) const {
  const std::int64_t start = at(0, tap);
  const std::int64_t first = std::clamp<std::int64_t>(ceil_quotient(-start, step), 0, outs);
  return {first, std::clamp(ceil_quotient(extent - start, step), first, outs)};
}

std::vector<Phase> phases_of(const Along& a) {
  // Output o and tap k are at place o * stride + k * dilation - low of the spread input.
  const std::int64_t spread = a.input_dilation, outs = a.out();
  const std::int64_t out_step = spread / std::gcd(spread, a.stride);
  const std::int64_t tap_stride = spread / std::gcd(spread, a.kernel_dilation);
  std::vector<Phase> all;
  for (std::int64_t o = 0; o < std::min(out_step, outs); ++o) {
    Phase p{o,
            out_step,
            ceil_quotient(outs - o, out_step),
            0,
            tap_stride,
            0,
            0,
            a.stride * out_step / spread,
            a.kernel_dilation * tap_stride / spread,
            a.extent};
    for (std::int64_t k = 0; k < std::min(tap_stride, a.kernel); ++k) {
      const std::int64_t place = o * a.stride + k * a.kernel_dilation - a.low;
      if (place % spread != 0) continue;
      p.first_tap = k;
      p.taps = ceil_quotient(a.kernel - k, tap_stride);
      p.base = place / spread;
      break;
    }
    all.push_back(p);
  }
  return all;
}

std::vector<Phases> phases_of(const std::vector<Along>& axes) {
  const Phase one{0, 1, 1, 0, 1, 1, 0, 1, 1, 1};
  std::vector<Phases> all{{one, one, one}};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::vector<Phases> more;
    for (const Phase& p : phases_of(axes[i]))
      for (Phases at : all) {
        at[3 - axes.size() + i] = p;
        more.push_back(at);
      }
    all = std::move(more);
  }
  return all;
}

Windows::Windows(const Tensor& x, const Phases& axes, std::int64_t channels, bool joins)
    : data_(x.data),
      size_(static_cast<std::int64_t>(size_of(x.dtype))),
      axes_(axes),
      images_(x.shape[0]),
      outs_(axes[0].outs * axes[1].outs * axes[2].outs),
      channels_(channels),
      strides_{} {
  strides_[0] = x.strides[0];
  const std::size_t space = x.shape.size() - 2;
  for (std::size_t i = 0; i < space; ++i) strides_[4 - space + i] = x.strides[i + 1];
  if (x.shape[space] == 1) strides_[3] = channels;  // of one place any stride is true
  joined_ = joins && x.shape.back() == channels && axes[2].tap_step == 1 &&
            (strides_[3] == channels || axes[2].taps == 1);
  run_ = joined_ ? axes[2].taps * channels : channels;
}

void Windows::point(std::int64_t offset, std::int64_t row, std::int64_t rows, std::int64_t run,
                    std::int64_t first, std::int64_t count, std::byte* scratch,
                    const void** to) const {
  const auto& [deep, high, wide] = axes_;
  const std::int64_t tap = joined_ ? 0 : run % wide.taps;
  if (!joined_) run /= wide.taps;
  const std::int64_t deep_tap = run / high.taps, high_tap = run % high.taps;
  std::int64_t w = row % wide.outs, line = row / wide.outs;
  std::int64_t h = line % high.outs;
  line /= high.outs;
  std::int64_t d = line % deep.outs, n = line / deep.outs;
  const std::int64_t last_row = row + rows;
  const void** const first_to = to;
  for (; row < last_row; w = 0) {
    const std::int64_t end = std::min(wide.outs, w + last_row - row), i = deep.at(d, deep_tap),
                       j = high.at(h, high_tap);
    row += end - w;
    const auto zeros = [&](std::int64_t until) {
      for (; w < until; ++w) *to++ = kZeros;
    };
    if (deep.has(i) && high.has(j)) {
      const std::byte* const from =
          data_ + (offset + n * strides_[0] + i * strides_[1] + j * strides_[2]) * size_;
      // Which outputs find all numbers inside, then which find some.
      const std::int64_t low_tap = joined_ ? first / channels_ : tap;
      const std::int64_t last_tap = joined_ ? (first + count - 1) / channels_ : tap;
      const std::int64_t inside = wide.inside(low_tap).first;
      const std::int64_t outside = std::max(inside, wide.inside(last_tap).second);
      const auto partly = [&](std::int64_t until) {
        for (; w < until; ++w) {
          const std::int64_t start = wide.at(w, 0) * channels_ + first;  // on the line
          const std::int64_t skipped = std::max<std::int64_t>(0, -start);
          const std::int64_t kept = std::min(count, wide.extent * channels_ - start);
          if (kept <= skipped) {
            *to++ = kZeros;
            continue;
          }
          std::byte* const copy = scratch + (to - first_to) * count * size_;
          std::memset(copy, 0, static_cast<std::size_t>(count * size_));
          std::memcpy(copy + skipped * size_, from + (start + skipped) * size_,
                      static_cast<std::size_t>((kept - skipped) * size_));
          *to++ = copy;
        }
      };
      const auto edge = [&](std::int64_t until) { copies() ? partly(until) : zeros(until); };
      edge(std::min(end, inside));
      if (w < std::min(end, outside)) {
        const std::int64_t step = wide.step * strides_[3] * size_;
        const std::byte* at = from + (wide.at(w, tap) * strides_[3] + first) * size_;
        for (; w < std::min(end, outside); ++w, at += step) *to++ = at;
      }
      edge(end);
    } else {
      zeros(end);
    }
    if (++h == high.outs) {
      h = 0;
      if (++d == deep.outs) d = 0, ++n;
    }
  }
}

const WindowKernels& window_kernels() {
  static const WindowKernels table = [] {
    WindowKernels t;
    CERMET_DISPATCH(fill_windows(t));
    CERMET_DISPATCH(fill_channels(t));
    CERMET_DISPATCH(fill_pools(t));
#ifdef CERMET_BF16
    if (has_bf16_products()) bf16::fill_windows(t);
#endif
#ifdef CERMET_AMX
    if (isa() == Isa::v4_amx) amx::fill_windows(t);
#endif
    return t;
  }();
  return table;
}

}  // namespace cermet::cpu
