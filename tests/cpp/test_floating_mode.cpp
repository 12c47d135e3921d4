// Kernels round to nearest and keep subnormals, whatever mode the caller's thread is in.
#include <doctest/doctest.h>

#ifdef __x86_64__
#include <xmmintrin.h>

#include <cstring>
#include <vector>

#include "cermet/cermet.h"

namespace mx = cermet;

namespace {

constexpr unsigned kFlush = 0x8040, kRoundUp = 0x4000;

std::vector<mx::array> results(std::int64_t n) {
  const mx::array x = mx::arange(0, static_cast<double>(n), 1, mx::float32) * 1e-41;
  return {x + x, mx::exp(x * 1e40), mx::divide(x, mx::array(3.0f)), mx::sum(x),
          mx::cumsum(x * 1e38, 0)};
}

}  // namespace

TEST_CASE("the caller's floating-point mode changes no bit, and is as before") {
  const unsigned mode = _mm_getcsr();
  for (const std::int64_t n : {100, 1000000}) {
    auto expected = results(n), found = results(n);
    mx::eval(expected);
    _mm_setcsr(mode | kFlush | kRoundUp);
    mx::eval(found);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(mode);
    CHECK((after & (kFlush | kRoundUp)) == (kFlush | kRoundUp));
    for (std::size_t i = 0; i < found.size(); ++i) {
      INFO("result " << i << " of " << n);
      CHECK(std::memcmp(found[i].raw_data(), expected[i].raw_data(), found[i].nbytes()) == 0);
    }
  }
}
#endif
