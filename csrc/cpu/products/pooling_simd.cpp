// Kernels of pooling: vectors of channels.
#include "cpu/products/lanes.h"
#include "cpu/products/windows.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

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
          const auto takes = better(v, best);
          best = select(takes, v, best);
          if (y) chosen = select(takes, get<R>(y + t * s.other_tap, lanes), chosen);
        }
      }
      put<R>(out + c, s.pick ? chosen : best, lanes);
    });
  }
}

template <class R>
void spread(const PoolLine& s) {
  using Unit = typename R::Unit;
  using T = typename R::Element;
  constexpr std::int64_t L = kVectorLanes<Unit>;
  for (std::int64_t o = 0; o < s.outs; ++o) {
    const T* const from = static_cast<const T*>(s.out) + o * s.out_step;
    by_vectors<L>(s.channels, [&](std::int64_t c, auto lanes) __attribute__((always_inline)) {
      Vector<Unit> best = Vector<Unit>{} - static_cast<Unit>(__builtin_inff()), place = best;
      Unit tap = 0;
      for (std::int64_t i = 0; i < s.lines; ++i) {
        const T* x = static_cast<const T*>(s.x[i]) + o * s.x_step + c;
        for (std::int64_t t = 0; t < s.taps; ++t, x += s.x_tap, tap += 1) {
          const Vector<Unit> v = get<R>(x, lanes);
          const auto takes = better(v, best);
          best = select(takes, v, best);
          place = select(takes, splat(tap), place);
        }
      }
      const Vector<Unit> value = get<R>(from + c, lanes);
      tap = 0;
      for (std::int64_t i = 0; i < s.lines; ++i) {
        T* y = static_cast<T*>(const_cast<void*>(s.other[i])) + o * s.other_step + c;
        for (std::int64_t t = 0; t < s.taps; ++t, y += s.other_tap, tap += 1)
          put<R>(y, get<R>(y, lanes) + select(place == splat(tap), value, Vector<Unit>{}), lanes);
      }
    });
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
