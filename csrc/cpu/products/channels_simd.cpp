// Kernels of convolutions whose channels do not mix: vectors of channels.
#include "cpu/products/lanes.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// Calls f(m, t, j) where element m of a line meets tap t of three for output j of kOuts, kStep taps
// apart.
template <int kOuts, int kStep, class Met, class F>
[[gnu::always_inline]] inline void each_meeting(Met&& met, F&& f) {
#pragma GCC unroll 16
  for (int m = 0; m < (kOuts - 1) * kStep + 3; ++m) {
    met(m);
#pragma GCC unroll 3
    for (int t = m % kStep; t < 3; t += kStep)
      if (const int j = (m - t) / kStep; m >= t && j < kOuts) f(t, j);
  }
}

// kOuts outputs of all channels: taps are added line by line. Of three taps, which outputs that are
// kStep taps apart share, each element is read once; kStep is 0 for others.
template <class R, int kOuts, int kStep>
void line_of(const ChannelLine& s, std::int64_t o) {
  using Sum = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Sum>;
  auto* const out = static_cast<T*>(s.out) + o * s.out_step;
  std::int64_t first = 0;
  if constexpr (kStep > 0 && std::is_same_v<T, bfloat16_t>)
    for (; first + 2 * L <= s.channels; first += 2 * L) {
      Vector<Sum> sums[kOuts][2] = {};
      for (std::int64_t i = 0; i < s.lines; ++i) {
        const T* x = static_cast<const T*>(s.x[i]) + o * s.x_step + first;
        const Sum* w = static_cast<const Sum*>(s.weights[i]) + first;
        Vector<Sum> weights[3][2], met[2];
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) get_two(w + t * s.weight_tap, weights[t]);
        each_meeting<kOuts, kStep>(
            [&](int m) __attribute__((always_inline)) {
              get_two(x + m * s.x_tap, met);
              __builtin_prefetch(x + (m + kOuts * kStep) * s.x_tap);
            },
            [&](int t, int j) __attribute__((always_inline)) {
              for (int v = 0; v < 2; ++v)
                sums[j][v] = multiply_add(met[v], weights[t][v], sums[j][v]);
            });
      }
#pragma GCC unroll 8
      for (int j = 0; j < kOuts; ++j) put_two(out + j * s.out_step + first, sums[j]);
    }
  by_vectors<L>(s.channels - first, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
    c += first;
    Vector<Sum> sums[kOuts] = {};
    for (std::int64_t i = 0; i < s.lines; ++i) {
      const T* x = static_cast<const T*>(s.x[i]) + o * s.x_step + c;
      const Sum* w = static_cast<const Sum*>(s.weights[i]) + c;
      if constexpr (kStep > 0) {
        Vector<Sum> weights[3], met;
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) weights[t] = get<Plain<Sum>>(w + t * s.weight_tap, lanes);
        each_meeting<kOuts, kStep>(
            [&](int m) __attribute__((always_inline)) {
              met = get<R>(x + m * s.x_tap, lanes);
              __builtin_prefetch(x + (m + kOuts * kStep) * s.x_tap);
            },
            [&](int t, int j) __attribute__((always_inline)) {
              sums[j] = multiply_add(met, weights[t], sums[j]);
            });
        continue;
      }
      for (std::int64_t t = 0; t < s.taps; ++t, x += s.x_tap, w += s.weight_tap) {
        const Vector<Sum> weight = get<Plain<Sum>>(w, lanes);
#pragma GCC unroll 8
        for (int j = 0; j < kOuts; ++j) {
          sums[j] = multiply_add(get<R>(x + j * s.x_step, lanes), weight, sums[j]);
          __builtin_prefetch(x + (kOuts + j) * s.x_step);
        }
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < kOuts; ++j) put<R>(out + j * s.out_step + c, sums[j], lanes);
  });
}

template <class R>
void channel_line(const ChannelLine& s) {
  constexpr int kMost = 6;
  const bool shares = s.taps == 3 && s.x_step == s.x_tap;
  const bool skips = s.taps == 3 && s.x_step == 2 * s.x_tap;
  std::int64_t o = 0;
  for (; o + kMost <= s.outs; o += kMost)
    shares  ? line_of<R, kMost, 1>(s, o)
    : skips ? line_of<R, kMost, 2>(s, o)
            : line_of<R, kMost, 0>(s, o);
  for (; o + 2 <= s.outs; o += 2) line_of<R, 2, 0>(s, o);
  for (; o < s.outs; ++o) line_of<R, 1, 0>(s, o);
}

// kTaps taps of V vectors of channels.
template <class R, int kTaps, int V>
void sums_of(const ChannelSums& s, std::int64_t first, std::int64_t c) {
  using Sum = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Sum>;
  const T* x = static_cast<const T*>(s.x) + first * s.x_tap + c;
  const T* g = static_cast<const T*>(s.g) + c;
  Sum* const to = static_cast<Sum*>(s.sums) + first * s.sum_tap + c;
  Vector<Sum> sums[kTaps][V];
#pragma GCC unroll 4
  for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sums[t][v] = load(to + t * s.sum_tap + v * L);
  std::int64_t o = 0;
  if (s.x_step == s.x_tap && s.outs >= kTaps) {
    // What a tap meets, the one before met an output earlier.
    Vector<Sum> met[kTaps][V];
#pragma GCC unroll 4
    for (int t = 0; t + 1 < kTaps; ++t)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) met[t][v] = R::along(x + t * s.x_tap + v * L);
    for (; o + kTaps <= s.outs; o += kTaps)
#pragma GCC unroll 4
      for (int u = 0; u < kTaps; ++u, x += s.x_step, g += s.g_step)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          met[(u + kTaps - 1) % kTaps][v] = R::along(x + (kTaps - 1) * s.x_tap + v * L);
          const Vector<Sum> right = R::along(g + v * L);
#pragma GCC unroll 4
          for (int t = 0; t < kTaps; ++t)
            sums[t][v] = multiply_add(met[(u + t) % kTaps][v], right, sums[t][v]);
        }
  }
  for (; o < s.outs; ++o, x += s.x_step, g += s.g_step) {
    Vector<Sum> right[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) right[v] = R::along(g + v * L);
#pragma GCC unroll 4
    for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        sums[t][v] = multiply_add(R::along(x + t * s.x_tap + v * L), right[v], sums[t][v]);
  }
#pragma GCC unroll 4
  for (int t = 0; t < kTaps; ++t)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(to + t * s.sum_tap + v * L, sums[t][v]);
}

template <class R, int V>
void sums_at(const ChannelSums& s, std::int64_t c) {
  constexpr int kMost = V == 4 ? 3 : 4;
  std::int64_t t = 0;
  for (; t + kMost <= s.taps; t += kMost) sums_of<R, kMost, V>(s, t, c);
  switch (s.taps - t) {
    case 3: return sums_of<R, 3, V>(s, t, c);
    case 2: return sums_of<R, 2, V>(s, t, c);
    case 1: return sums_of<R, 1, V>(s, t, c);
    default: return;
  }
}

template <class R>
void channel_sums(const ChannelSums& s) {
  using Sum = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Sum>;
  std::int64_t c = 0;
#if defined(__AVX512F__) || defined(__aarch64__)  // registers for this
  for (; c + 4 * L <= s.channels; c += 4 * L) sums_at<R, 4>(s, c);
#endif
  for (; c + 2 * L <= s.channels; c += 2 * L) sums_at<R, 2>(s, c);
  for (; c + L <= s.channels; c += L) sums_at<R, 1>(s, c);
  for (; c < s.channels; ++c)
    for (std::int64_t t = 0; t < s.taps; ++t) {
      Sum& to = static_cast<Sum*>(s.sums)[t * s.sum_tap + c];
      Vector<Sum> sum = splat(to);
      const T* x = static_cast<const T*>(s.x) + t * s.x_tap + c;
      const T* g = static_cast<const T*>(s.g) + c;
      for (std::int64_t o = 0; o < s.outs; ++o, x += s.x_step, g += s.g_step)
        sum = multiply_add(splat(R::one(x, 0, true)), splat(R::one(g, 0, true)), sum);
      to = sum[0];
    }
}

}  // namespace

void fill_channels(WindowKernels& table) {
  const auto set = [&](Packing p, auto line, auto sums) {
    table.line[static_cast<int>(p)] = line, table.sums[static_cast<int>(p)] = sums;
  };
  set(Packing::f32, channel_line<Plain<float>>, channel_sums<Plain<float>>);
  set(Packing::f64, channel_line<Plain<double>>, channel_sums<Plain<double>>);
  set(Packing::f16, channel_line<Widened<float16_t>>, channel_sums<Widened<float16_t>>);
  set(Packing::bf16, channel_line<Widened<bfloat16_t>>, channel_sums<Widened<bfloat16_t>>);
}

}  // namespace cermet::cpu::CERMET_ISA
