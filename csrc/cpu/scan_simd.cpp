// The loops of scans: running results along short runs of elements.
#include "cpu/loop.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// `count` runs at once, to hide the operation's latency.
template <int count, class F, class T>
void scan_together(T* x, std::int64_t apart, std::int64_t n, std::int64_t step) {
  T total[count];
  for (int r = 0; r < count; ++r) total[r] = x[r * apart];
  for (std::int64_t i = 1; i < n; ++i)
#pragma GCC unroll 8
    for (int r = 0; r < count; ++r)
      x[r * apart + i * step] = total[r] = F::apply(total[r], x[r * apart + i * step]);
}

template <class F, class T>
void scan_loop(void* data, std::int64_t runs, std::int64_t apart, std::int64_t n,
               std::int64_t step) {
  auto* x = static_cast<T*>(data);
  for (; runs >= 8; runs -= 8, x += 8 * apart) scan_together<8, F>(x, apart, n, step);
  for (; runs > 0; --runs, x += apart) scan_together<1, F>(x, apart, n, step);
}

#define CERMET_SCAN(name, rule)                                               \
  struct name##_function {                                                    \
    template <class T>                                                        \
    static T apply(T x, T y) {                                                \
      return T(name(x, y));                                                   \
    }                                                                         \
  };                                                                          \
  void fill_##name(Loops& table) {                                            \
    for_types<Rule::rule>([&]<class T>(Type<T>) {                             \
      table.scan[static_cast<int>(Op::name)][static_cast<int>(dtype_of<T>)] = \
          scan_loop<name##_function, T>;                                      \
    });                                                                       \
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
