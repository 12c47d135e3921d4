// Convolutions whose channels do not mix: lines of outputs, vectors of channels.
#include <algorithm>

#include "cpu/layout.h"
#include "cpu/products/convolution.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMostChunks = 64, kMostPartial = 256 * 1024;  // of sums of a weight

// A line of outputs: which image, and where along the first two axes.
struct Line {
  std::int64_t image, deep, high;
  Line(std::int64_t i, const Phases& axes)
      : image(i / axes[1].outs / axes[0].outs),
        deep(i / axes[1].outs % axes[0].outs),
        high(i % axes[1].outs) {}
};

template <class Sum, class T>
Sum widened(T x) {
  if constexpr (kIsHalf<T>)
    return to_float(x);
  else
    return x;
}

// The weight by taps, then channels.
template <class Sum, class T>
void arrange(const Kernel& k, std::int64_t channels, Sum* to) {
  const T* const from = reinterpret_cast<const T*>(k.data);
  for (std::int64_t a = 0; a < k.extents[0]; ++a)
    for (std::int64_t b = 0; b < k.extents[1]; ++b)
      for (std::int64_t e = 0; e < k.extents[2]; ++e)
        for (std::int64_t c = 0; c < channels; ++c)
          *to++ = widened<Sum>(from[c * k.group + a * k.taps[0] + b * k.taps[1] + e * k.taps[2]]);
}

template <class Sum, class T>
void lines(const Problem& p, const Phases& axes, const Sum* weights) {
  const std::int64_t channels = p.groups;
  const auto [n_step, d_step, h_step, w_step] = strides_of(p.x);
  const auto& [deep, high, wide] = axes;
  const Kernel& k = p.kernel;
  const auto kernel_tap = [&](std::size_t axis, std::int64_t t) {
    const std::int64_t tap = axes[axis].first_tap + t * axes[axis].tap_stride;
    return k.flip ? k.extents[axis] - 1 - tap : tap;
  };
  const std::int64_t tap_step = (k.flip ? -1 : 1) * wide.tap_stride * channels;
  const auto run = window_kernels().line[static_cast<int>(vector_packing(p.out.dtype))];
  const std::int64_t work =
      wide.outs * channels * std::max<std::int64_t>(1, deep.taps * high.taps * wide.taps);
  parallel_for(
      p.x.shape[0] * deep.outs * high.outs, grain_for(work),
      [&, n_step = n_step, d_step = d_step, h_step = h_step, w_step = w_step](std::int64_t begin,
                                                                              std::int64_t end) {
        std::vector<const T*> rows;
        std::vector<const Sum*> row_weights;
        std::vector<const void*> x, w;
        for (; begin < end; ++begin) {
          const Line line(begin, axes);
          rows.clear(), row_weights.clear();
          for (std::int64_t a = 0; a < axes[0].taps; ++a)
            for (std::int64_t b = 0; b < axes[1].taps; ++b) {
              const std::int64_t i = axes[0].at(line.deep, a), j = axes[1].at(line.high, b);
              if (!axes[0].has(i) || !axes[1].has(j)) continue;
              rows.push_back(data<const T>(p.x) + line.image * n_step + i * d_step + j * h_step);
              row_weights.push_back(
                  weights + ((kernel_tap(0, a) * k.extents[1] + kernel_tap(1, b)) * k.extents[2] +
                             kernel_tap(2, 0)) *
                                channels);
            }
          const std::int64_t out_line =
              (line.image * p.space[0] + axes[0].first_out + line.deep * axes[0].out_step) *
                  p.space[1] +
              axes[1].first_out + line.high * axes[1].out_step;
          by_taps(axes[2],
                  [&](std::int64_t o, std::int64_t outs, std::int64_t tap, std::int64_t taps) {
                    x.clear(), w.clear();
                    for (std::size_t i = 0; taps > 0 && i < rows.size(); ++i) {
                      x.push_back(rows[i] + axes[2].at(o, tap) * w_step);
                      w.push_back(row_weights[i] + tap * tap_step);
                    }
                    const std::int64_t place =
                        out_line * p.space[2] + axes[2].first_out + o * axes[2].out_step;
                    run({x.data(), w.data(), static_cast<std::int64_t>(x.size()), taps, channels,
                         axes[2].step * w_step, axes[2].tap_step * w_step, tap_step,
                         data<T>(p.out) + place * channels, outs, axes[2].out_step * channels});
                  });
        }
      });
}

}  // namespace

void convolve_channels(const Problem& p) {
  const Kernel& k = p.kernel;
  visit(p.out.dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T>) {
      using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
      const Workspace<Sum> weights(k.extents[0] * k.extents[1] * k.extents[2] * p.groups);
      arrange<Sum, T>(k, p.groups, weights.get());
      for (const Phases& axes : phases_of(p.axes)) lines<Sum, T>(p, axes, weights.get());
    }
  });
}

void channel_weights(const Tensor& x, const Tensor& g, const std::vector<Along>& axes, bool flip,
                     const Tensor& out) {
  const Phases phases = phases_of(axes)[0];
  const auto& [deep, high, wide] = phases;
  const std::int64_t channels = out.shape[0], taps = deep.taps * high.taps * wide.taps;
  const std::int64_t lines = x.shape[0] * deep.outs * high.outs;
  // Parts that follow from the shape alone are summed by themselves, then in order.
  const std::int64_t most =
      std::clamp<std::int64_t>(kMostPartial / (taps * channels), 1, kMostChunks);
  const std::int64_t each = (lines + most - 1) / most, parts = (lines + each - 1) / each;
  const auto x_steps = strides_of(x), g_steps = strides_of(g);
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T>) {
      using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
      const Workspace<Sum> memory(parts * taps * channels);
      const auto run = window_kernels().sums[static_cast<int>(vector_packing(out.dtype))];
      parallel_for(parts, 1, [&](std::int64_t begin, std::int64_t end) {
        for (; begin < end; ++begin) {
          Sum* const sums = memory.get() + begin * taps * channels;
          std::fill_n(sums, taps * channels, Sum{});
          for (std::int64_t i = begin * each; i < std::min(lines, (begin + 1) * each); ++i) {
            const Line line(i, phases);
            const T* const right = data<const T>(g) + line.image * g_steps[0] +
                                   line.deep * g_steps[1] + line.high * g_steps[2];
            for (std::int64_t a = 0; a < phases[0].taps; ++a)
              for (std::int64_t b = 0; b < phases[1].taps; ++b) {
                const std::int64_t d = phases[0].at(line.deep, a), h = phases[1].at(line.high, b);
                if (!phases[0].has(d) || !phases[1].has(h)) continue;
                const T* const left =
                    data<const T>(x) + line.image * x_steps[0] + d * x_steps[1] + h * x_steps[2];
                Sum* const to = sums + (a * phases[1].taps + b) * phases[2].taps * channels;
                by_taps(phases[2], [&](std::int64_t o, std::int64_t outs, std::int64_t tap,
                                       std::int64_t count) {
                  run({left + phases[2].at(o, tap) * x_steps[3], right + o * g_steps[3], outs,
                       count, channels, phases[2].step * x_steps[3],
                       phases[2].tap_step * x_steps[3], g_steps[3], to + tap * channels, channels});
                });
              }
          }
        }
      });
      for (std::int64_t c = 0; c < channels; ++c)
        for (std::int64_t t = 0; t < taps; ++t) {
          Sum sum = memory.get()[t * channels + c];
          for (std::int64_t i = 1; i < parts; ++i)
            sum += memory.get()[(i * taps + t) * channels + c];
          T& to = data<T>(out)[c * taps + (flip ? taps - 1 - t : t)];
          if constexpr (kIsHalf<T>)
            to = from_float<T>(sum);
          else
            to = sum;
        }
    }
  });
}

}  // namespace cermet::cpu
