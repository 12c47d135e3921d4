// Threads that build and evaluate graphs over shared arrays at once. Meant to run under the thread
// and address sanitizers; CERMET_STRESS_SECONDS sets how long (2 by default).
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "cermet/cermet.h"

using namespace cermet;

namespace {

std::chrono::duration<double> stress_time() {
  const char* seconds = std::getenv("CERMET_STRESS_SECONDS");
  return std::chrono::duration<double>(seconds ? std::atof(seconds) : 2.0);
}

// One round of work: shared lazy inputs, reductions, views, products, gradients, asynchronous
// evaluation, a compiled function and an error, with a result that is known.
bool round_of_work(const array& x, const array& lazy, const Function& compiled, int i) {
  const array y = tanh(x * static_cast<double>(i % 7)) + lazy;
  const array rows = sum(y * y, Axes{1}, true);
  const array normal = y * rsqrt(rows + 1e-6);
  async_eval({normal});
  const array product = matmul(normal, transpose(normal));
  const array loss = sum(product);
  const Arrays gradient = grad([&](const Arrays& a) { return sum(square(a[0]) * lazy); })({x});
  const Arrays out = compiled({x, normal});
  eval({loss, gradient[0], out[0]});
  bool failed = false;
  try {
    eval({take(x, array({1000000}), 0)});
  } catch (const IndexError&) {
    failed = true;
  }
  return failed && allclose(gradient[0], 2.0 * x * lazy).item<bool>() &&
         allclose(out[0], exp(x) + normal).item<bool>() && !isnan(loss).item<bool>();
}

}  // namespace

TEST_CASE("eight threads share inputs") {
  const array x = random::normal({40, 33}, float32, {}, {}, random::key(1));
  const Function compiled = compile([](const Arrays& a) { return Arrays{exp(a[0]) + a[1]}; });
  const auto end = std::chrono::steady_clock::now() + stress_time();
  std::atomic<int> wrong{0}, rounds{0};
  while (std::chrono::steady_clock::now() < end) {
    // All threads meet a graph that none has evaluated yet.
    const array lazy = softmax(x * 0.5 + 1.0, Axes{1}) + sum(x, Axes{0});
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i, ++rounds)
          if (!round_of_work(x, lazy, compiled, t + i)) ++wrong;
      });
    for (auto& thread : threads) thread.join();
  }
  CHECK(wrong == 0);
  CHECK(rounds > 0);
}

TEST_CASE("a shared chain is destroyed by whoever is last") {
  for (int repeat = 0; repeat < 3; ++repeat) {
    array chain = zeros({8});
    for (int i = 0; i < 20000; ++i) chain = chain + 1.0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) threads.emplace_back([mine = chain] { mine.eval(); });
    chain = array(0.0);
    for (auto& thread : threads) thread.join();
  }
}
