// Kernels of pooling: vectors of channels.
#include "cpu/products/lanes.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

constexpr std::int64_t kAhead = 4;  // windows

// What is greater, or no number, takes the place of what was before.
template <class V>
auto better(V x, V best) {
  return (x > best) | (x != x);
}

template <class R>
void pool(const PoolLine& s) {
  using Unit = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  for (std::int64_t o = 0; o < s.outs; ++o) {
    T* const out = static_cast<T*>(s.out) + o * s.out_step;
    by_vectors<L>(s.channels, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
      Vector<Unit> best = Vector<Unit>{} - static_cast<Unit>(__builtin_inff()), chosen{};
      for (std::int64_t i = 0; i < s.lines; ++i) {
        const T* x = static_cast<const T*>(s.x[i]) + o * s.x_step + c;
        const T* y = s.pick ? static_cast<const T*>(s.other[i]) + o * s.other_step + c : nullptr;
        for (std::int64_t t = 0; t < s.taps; ++t, x += s.x_tap) {
          const Vector<Unit> v = get<R>(x, lanes);
          __builtin_prefetch(x + kAhead * s.x_step);
          const auto takes = better(v, best);
          best = select(takes, v, best);
          if (y) chosen = select(takes, get<R>(y + t * s.other_tap, lanes), chosen);
        }
      }
      put<R>(out + c, s.pick ? chosen : best, lanes);
    });
  }
}

// V vectors at a time, which wait for each other's comparisons.
template <class R, int V>
void spread_at(const PoolLine& s, std::int64_t o, std::int64_t c, auto lanes) {
  using Unit = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  Vector<Unit> best[V], place[V], value[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) {
    best[v] = place[v] = Vector<Unit>{} - static_cast<Unit>(__builtin_inff());
    value[v] = get<R>(static_cast<const T*>(s.out) + o * s.out_step + c + v * L, lanes);
  }
  Unit tap = 0;
  for (std::int64_t i = 0; i < s.lines; ++i) {
    const T* x = static_cast<const T*>(s.x[i]) + o * s.x_step + c;
    for (std::int64_t t = 0; t < s.taps; ++t, x += s.x_tap, tap += 1)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const Vector<Unit> met = get<R>(x + v * L, lanes);
        __builtin_prefetch(x + v * L + kAhead * s.x_step);
        const auto takes = better(met, best[v]);
        best[v] = select(takes, met, best[v]);
        place[v] = select(takes, splat(tap), place[v]);
      }
  }
  tap = 0;
  for (std::int64_t i = 0; i < s.lines; ++i) {
    T* y = static_cast<T*>(const_cast<void*>(s.other[i])) + o * s.other_step + c;
    for (std::int64_t t = 0; t < s.taps; ++t, y += s.other_tap, tap += 1)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v)
        put<R>(y + v * L,
               get<R>(y + v * L, lanes) + select(place[v] == splat(tap), value[v], Vector<Unit>{}),
               lanes);
  }
}

template <class R>
void spread(const PoolLine& s) {
  constexpr std::int64_t L = kVectorLanes<typename R::Unit>, kMost = 4;
  for (std::int64_t o = 0; o < s.outs; ++o) {
    std::int64_t c = 0;
    for (; c + kMost * L <= s.channels; c += kMost * L)
      spread_at<R, kMost>(s, o, c, std::integral_constant<std::int64_t, L>{});
    by_vectors<L>(s.channels - c,
                  [&](std::int64_t i, auto lanes) { spread_at<R, 1>(s, o, c + i, lanes); });
  }
}

}  // namespace

void fill_pools(WindowKernels& table) {
  const auto set = [&]<class R>(Packing p, Type<R>) {
    table.pool[static_cast<int>(p)] = pool<R>;
    table.spread[static_cast<int>(p)] = spread<R>;
  };
  set(Packing::f32, Type<Plain<float>>{});
  set(Packing::f64, Type<Plain<double>>{});
  set(Packing::f16, Type<Widened<float16_t>>{});
  set(Packing::bf16, Type<Widened<bfloat16_t>>{});
}

}  // namespace cermet::cpu::CERMET_ISA
