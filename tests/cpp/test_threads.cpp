// Threads that build and evaluate graphs over shared arrays at once. Meant to run under the thread
// and address sanitizers; CERMET_STRESS_SECONDS sets how long (2 by default).
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <optional>
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
bool round_of_work(const array& x, const array& lazy, const array& called, const Function& compiled,
                   int i) {
  const array y = tanh(x * static_cast<double>(i % 7)) + lazy;
  const array rows = sum(y * y, Axes{1}, true);
  const array normal = y * rsqrt(rows + 1e-6);
  async_eval({normal});
  const array product = matmul(normal, transpose(normal));
  const array loss = sum(product);
  const Arrays gradient = grad([&](const Arrays& a) { return sum(square(a[0]) * lazy); })({x});
  const Arrays out = compiled({x, normal});
  eval({loss, gradient[0], out[0], called + static_cast<double>(i)});
  bool failed = false;
  try {
    eval({take(x, array({1000000}), 0)});
  } catch (const IndexError&) {
    failed = true;
  }
  return failed && allclose(gradient[0], 2.0 * x * lazy).item<bool>() &&
         allclose(out[0], exp(x) + normal).item<bool>() &&
         allclose(called, exp(x) + lazy).item<bool>() && !isnan(loss).item<bool>();
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
    const array called = compiled({x, lazy})[0];
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t)
      threads.emplace_back([&, t] {
        for (int i = 0; i < 10; ++i, ++rounds)
          if (!round_of_work(x, lazy, called, compiled, t + i)) ++wrong;
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

TEST_CASE("what a trace needs is kept by whichever thread evaluates it") {
  const auto by_another = [](const array& a) { std::thread([&] { a.eval(); }).join(); };
  const array x{0.5F, 2.0F};
  const auto gradient = grad([&](const Arrays& in) {
    const array y = exp(in[0]);
    by_another(y);
    return sum(y * y);
  });
  CHECK(allclose(gradient({x})[0], 2.0 * exp(2.0 * x)).item<bool>());
  const Function square_of = [&](const Arrays& in) {
    const array y = in[0] * in[0];
    by_another(y);
    return Arrays{y * 3.0};
  };
  CHECK(allclose(jvp(square_of, {x}, {ones_like(x)}).second[0], 6.0 * x).item<bool>());

  // A nested trace that has ended leaves what the outer one needs.
  const auto outer = grad([&](const Arrays& in) {
    const array slope = grad([](const Arrays& a) { return sum(a[0] * a[0] * a[0]); })(in)[0];
    by_another(slope);
    return sum(slope);
  });
  CHECK(allclose(outer({x})[0], 6.0 * x).item<bool>());

  // The rule of a custom function holds on a thread that the traced function starts.
  CustomRules rules;
  rules.vjp = [](const Arrays&, const Arrays& t, const Arrays&) { return Arrays{t[0] * 10.0}; };
  const Function f = custom_function([](const Arrays& in) { return Arrays{sin(in[0])}; }, rules);
  const auto on_a_thread = grad([&](const Arrays& in) {
    std::optional<array> y;
    std::thread([&] { y = f({in[0]})[0]; }).join();
    return sum(*y);
  });
  CHECK(on_a_thread({x})[0].to_vector<float>() == std::vector<float>{10, 10});
}

TEST_CASE("a trace keeps nothing of what another thread computes meanwhile") {
  const array x{0.5F, 2.0F};
  const auto gradient = grad([&](const Arrays& in) {
    std::thread([&] {
      array weight{1.0F, 2.0F};
      for (int step = 0; step < 3; ++step) {
        weight = weight - grad([](const Arrays& a) { return sum(square(a[0])); })({weight})[0];
        weight.eval();
        CHECK(weight.inputs().empty());
      }
    }).join();
    return sum(in[0]);
  });
  CHECK(gradient({x})[0].to_vector<float>() == std::vector<float>{1, 1});
}
