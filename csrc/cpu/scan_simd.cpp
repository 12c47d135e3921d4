// The loops of scans: running results along short runs of elements.
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// `count` runs at once, of a long function in the lanes of a vector.
template <int count, class F, class T>
void scan_together(T* x, std::int64_t apart, std::int64_t n, std::int64_t step) {
  T total[count], next[count];
  for (int r = 0; r < count; ++r) total[r] = x[r * apart];
  for (std::int64_t i = 1; i < n; ++i) {
    x += step;
    if constexpr (F::is_long) {
      for (int r = 0; r < count; ++r) next[r] = x[r * apart];
      CERMET_VECTORIZE
      for (int r = 0; r < count; ++r) total[r] = F::apply(total[r], next[r]);
      for (int r = 0; r < count; ++r) x[r * apart] = total[r];
    } else {
#pragma GCC unroll 8
      for (int r = 0; r < count; ++r) x[r * apart] = total[r] = F::apply(total[r], x[r * apart]);
    }
  }
}

template <class F, class T>
void scan_loop(void* data, std::int64_t runs, std::int64_t apart, std::int64_t n,
               std::int64_t step) {
  auto* x = static_cast<T*>(data);
  for (; runs >= 8; runs -= 8, x += 8 * apart) scan_together<8, F>(x, apart, n, step);
  for (; runs >= 4; runs -= 4, x += 4 * apart) scan_together<4, F>(x, apart, n, step);
  for (; runs > 0; --runs, x += apart) scan_together<1, F>(x, apart, n, step);
}

// The totals of runs, in place of their scans.
template <int count, class F, class T>
void total_together(T* total, const T* x, std::int64_t apart, std::int64_t n, std::int64_t step) {
  T next[count];
  for (int r = 0; r < count; ++r) total[r] = x[r * apart];
  for (std::int64_t i = 1; i < n; ++i) {
    x += step;
    for (int r = 0; r < count; ++r) next[r] = x[r * apart];
    CERMET_VECTORIZE
    for (int r = 0; r < count; ++r) total[r] = F::apply(total[r], next[r]);
  }
}

// `count` runs of n elements: each scanned, and combined with what is before it. `sum` is what the
// runs add up to so far, `any` whether there were some.
template <int count, class F, class T>
void scan_part(T* x, std::int64_t n, std::int64_t step, const T* before, const T* first, T& sum,
               bool any, bool store) {
  const std::int64_t apart = step * kScanRun;
  T total[count];
  if (store) {
    scan_together<count, F>(x, apart, n, step);
    for (int r = 0; r < count; ++r) total[r] = x[r * apart + (n - 1) * step];
  } else {
    total_together<count, F>(total, x, apart, n, step);
  }
  for (int r = 0; r < count; ++r, any = true) {
    if (store && (any || before)) {
      const T carry = !any ? *first : before ? F::apply(*before, sum) : sum;
      T* run = x + r * apart + (step < 0 ? 1 - n : 0);
      CERMET_VECTORIZE
      for (std::int64_t i = 0; i < n; ++i) run[i] = F::apply(carry, run[i]);
    }
    sum = any ? F::apply(sum, total[r]) : total[r];
  }
}

template <class F, class T>
void scan_group(void* data, std::int64_t n, std::int64_t step, const ScanPrefix* prefix,
                void* total, bool store) {
  auto* x = static_cast<T*>(data);
  const T* before = prefix ? reinterpret_cast<const T*>(prefix->groups) : nullptr;
  const T* first = prefix ? reinterpret_cast<const T*>(prefix->runs) : nullptr;
  T sum = x[0];
  bool any = false;
  const auto part = [&]<int count>(std::integral_constant<int, count>, std::int64_t length) {
    scan_part<count, F>(x, length, step, before, first, sum, any, store);
    x += count * kScanRun * step;
    n -= count * length;
    any = true;
  };
  while (n >= 8 * kScanRun) part(std::integral_constant<int, 8>{}, kScanRun);
  while (n >= 4 * kScanRun) part(std::integral_constant<int, 4>{}, kScanRun);
  while (n > 0) part(std::integral_constant<int, 1>{}, n < kScanRun ? n : kScanRun);
  *static_cast<T*>(total) = sum;
}

#define CERMET_SCAN(name, rule)                                                    \
  struct name##_function {                                                         \
    static constexpr bool is_long = Rule::rule == Rule::inexact;                   \
    template <class T>                                                             \
    static T apply(T x, T y) {                                                     \
      return T(name(x, y));                                                        \
    }                                                                              \
  };                                                                               \
  void fill_##name(Loops& table) {                                                 \
    for_types<Rule::rule>([&]<class T>(Type<T>) {                                  \
      const int o = static_cast<int>(Op::name), t = static_cast<int>(dtype_of<T>); \
      table.scan_runs[o][t] = scan_loop<name##_function, T>;                       \
      table.scan_group[o][t] = scan_group<name##_function, T>;                     \
    });                                                                            \
  }
CERMET_SCAN(add, same)
CERMET_SCAN(multiply, same)
CERMET_SCAN(maximum, same)
CERMET_SCAN(minimum, same)
CERMET_SCAN(logaddexp, inexact)
#undef CERMET_SCAN

}  // namespace

void fill_scans(Loops& table) {
  fill_add(table);
  fill_multiply(table);
  fill_maximum(table);
  fill_minimum(table);
  fill_logaddexp(table);
}

}  // namespace cermet::cpu::CERMET_ISA
