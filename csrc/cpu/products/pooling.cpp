// Maxima of windows: lines of outputs, vectors of channels.
#include <algorithm>
#include <cstring>

#include "cpu/products/convolution.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kChannels = 64;  // of a thread's part

// How an array with channels side by side is stepped through, in bytes.
struct Steps {
  Steps(const Tensor& a) : size(static_cast<std::int64_t>(size_of(a.dtype))) {
    const auto strides = strides_of(a);
    for (std::size_t i = 0; i < 4; ++i) by[i] = strides[i] * size;
  }
  std::int64_t size;
  std::array<std::int64_t, 4> by;
};

}  // namespace

void max_pool(const MaxPoolOptions& options, std::span<const Tensor> inputs, const Tensor& out) {
  using Role = MaxPoolOptions::Role;
  std::optional<Scratch> holders[2];
  const Tensor x = with_channels(inputs[0], holders[0]);
  const bool spreads = options.role == Role::spread, picks = options.role == Role::pick;
  // What has an element for each window, and what has the shape of x besides.
  const Tensor windows = spreads ? with_channels(inputs[1], holders[1]) : out;
  const Tensor other = spreads ? out : picks ? with_channels(inputs[1], holders[1]) : x;
  if (windows.size() == 0) {
    std::fill_n(out.data, out.size() * static_cast<std::int64_t>(size_of(out.dtype)), std::byte{});
    return;
  }
  const Phases axes = phases_of(options.axes(x.shape))[0];
  const Steps x_steps(x), other_steps(other), window_steps(windows);
  const std::int64_t channels = x.shape.back(), size = x_steps.size;
  const std::int64_t parts = spreads ? (channels - 1) / kChannels + 1 : 1;
  const std::int64_t each = spreads ? kChannels : channels;
  const std::int64_t lines = axes[0].outs * axes[1].outs;
  const auto kernel =
      (spreads ? window_kernels().spread
               : window_kernels().pool)[static_cast<std::size_t>(vector_packing(x.dtype))];

  // Of an image's windows the lines from `first` on, of `count` channels from c on.
  const auto run = [&](std::int64_t image, std::int64_t first, std::int64_t last, std::int64_t c,
                       std::int64_t count) {
    // What is spread to is zero, line by line, before the first window that meets it.
    std::int64_t zeroed = 0;
    const auto zero_until = [&](std::int64_t line) {
      for (; spreads && zeroed < line; ++zeroed) {
        std::byte* to =
            out.data + image * other_steps.by[0] + zeroed * other_steps.by[2] + c * size;
        if (count == channels) {
          std::memset(to, 0, static_cast<std::size_t>(axes[2].extent * count * size));
          continue;
        }
        for (std::int64_t w = 0; w < axes[2].extent; ++w, to += other_steps.by[3])
          std::memset(to, 0, static_cast<std::size_t>(count * size));
      }
    };
    std::vector<std::int64_t> from_x, from_other;
    std::vector<const void*> x_at, other_at;
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t d = i / axes[1].outs, h = i % axes[1].outs;
      from_x.clear(), from_other.clear();
      for (std::int64_t a = 0; a < axes[0].taps; ++a)
        for (std::int64_t b = 0; b < axes[1].taps; ++b) {
          const std::int64_t j = axes[0].at(d, a), k = axes[1].at(h, b);
          if (!axes[0].has(j) || !axes[1].has(k)) continue;
          zero_until(j * axes[1].extent + k + 1);
          const auto at = [&](const Steps& s) {
            return image * s.by[0] + j * s.by[1] + k * s.by[2] + c * size;
          };
          from_x.push_back(at(x_steps)), from_other.push_back(at(other_steps));
        }
      std::byte* const to = windows.data + image * window_steps.by[0] + d * window_steps.by[1] +
                            h * window_steps.by[2] + c * size;
      by_taps(axes[2], [&](std::int64_t o, std::int64_t outs, std::int64_t tap, std::int64_t taps) {
        x_at.clear(), other_at.clear();
        for (std::size_t l = 0; taps > 0 && l < from_x.size(); ++l) {
          x_at.push_back(x.data + from_x[l] + axes[2].at(o, tap) * x_steps.by[3]);
          other_at.push_back(other.data + from_other[l] + axes[2].at(o, tap) * other_steps.by[3]);
        }
        kernel({x_at.data(), other_at.data(), static_cast<std::int64_t>(x_at.size()), taps, count,
                axes[2].step * x_steps.by[3] / size, x_steps.by[3] / size,
                axes[2].step * other_steps.by[3] / size, other_steps.by[3] / size,
                to + o * window_steps.by[3], outs, window_steps.by[3] / size, picks});
      });
    }
    zero_until(axes[0].extent * axes[1].extent);
  };
  const std::int64_t taps = axes[0].taps * axes[1].taps * axes[2].taps;
  const std::int64_t line = axes[2].outs * taps;
  if (spreads) {  // windows may overlap: an image's lines follow each other
    parallel_for(x.shape[0] * parts, grain_for(lines * line * each),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (; begin < end; ++begin) {
                     const std::int64_t c = begin % parts * each;
                     run(begin / parts, 0, lines, c, std::min(each, channels - c));
                   }
                 });
    return;
  }
  parallel_for(x.shape[0] * lines, grain_for(line * channels),
               [&](std::int64_t begin, std::int64_t end) {
                 while (begin < end) {
                   const std::int64_t first = begin % lines;
                   const std::int64_t count = std::min(lines - first, end - begin);
                   run(begin / lines, first, first + count, 0, channels);
                   begin += count;
                 }
               });
}

}  // namespace cermet::cpu
