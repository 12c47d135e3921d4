// What an evaluation of little work costs besides the work: allocations are counted, never time.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include "cermet/cermet.h"
#include "plan/numbering.h"

using namespace cermet;

namespace {

std::atomic<int> allocations{0};

// How often `f` asks for memory by `new`.
template <class F>
int allocations_of(F f) {
  const int before = allocations;
  f();
  return allocations - before;
}

array ten_operations(const array& x, const array& y) {
  const array a = abs((x + y) * x - y) + array(1.0f);
  return maximum(sqrt(a) / y, x) * array(0.5f) - x;
}
array chain(array x, const array& y, int n) {
  for (int i = 0; i < n; ++i) x = x + y;
  return x;
}

}  // namespace

void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("a plan found again allocates its results, and scratch memory") {
  const StreamContext cpu(DeviceType::cpu);
  const array x = exp(arange(256)), y = exp(arange(256)) + array(1.0f);
  const array a = reshape(x, {16, 16}), b = reshape(y, {16, 16});
  eval({x, y, a, b});
  const auto evaluating = [](auto build) {
    int count = 0;
    for (int i = 0; i < 3; ++i) {  // the first time it is planned, and lists grow
      const Arrays wanted = build();
      count = allocations_of([&] { eval(wanted); });
      CHECK(!wanted[0].node()->batch);  // which serves the next evaluation
    }
    return count;
  };
  CHECK(evaluating([&] { return Arrays{x + y}; }) <= 2);
  CHECK(evaluating([&] { return Arrays{ten_operations(x, y)}; }) <= 2);
  CHECK(evaluating([&] { return Arrays{ten_operations(x, y), x * y}; }) <= 3);
  CHECK(evaluating([&] { return Arrays{chain(x, y, 1000)}; }) <= 2);
  CHECK(evaluating([&] { return Arrays{matmul(a, b)}; }) <= 1);
}

TEST_CASE("a node is all that an operation allocates") {
  const StreamContext cpu(DeviceType::cpu);
  const array x = exp(arange(256)), y = exp(arange(256));
  eval({x, y});
  for (int n : {1, 100}) {
    CHECK(allocations_of([&] { chain(x, y, n); }) <= n);
    CHECK(allocations_of([&] {
            for (int i = 0; i < n; ++i) where(x < y, x, y);
          }) <= 3 * n);
  }
}

TEST_CASE("values are numbered as they are met") {
  struct Hash {
    std::size_t operator()(std::int64_t v) const { return static_cast<std::size_t>(v % 7); }
  };
  Numbering<std::int64_t, Hash> numbers;
  for (int round = 0; round < 2; ++round, numbers.clear()) {
    for (std::uint32_t i = 0; i < 1000; ++i) {
      const std::int64_t value = 3 * i;
      CHECK(numbers.number(value) == std::pair{i, true});
      CHECK(numbers.number(3 * (i / 2)) == std::pair{i / 2, false});
    }
    CHECK(numbers.values().size() == 1000);
    CHECK(numbers.values()[999] == 2997);
  }
}
