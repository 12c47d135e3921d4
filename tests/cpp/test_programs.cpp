// Row programs as a backend sees them.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "cermet/cermet.h"
#include "cpu/program/interpret.h"

using namespace cermet;

namespace {

// The sum of squares of rows.
Program sum_of_squares(const array& x) {
  Program p;
  p.domain = x.shape();
  p.outer = p.reduced = 1;
  p.phases = 2;
  p.values = {{float32, Extent::full, Value::From::input, 0},
              {float32, Extent::full, Value::From::instruction, 0},
              {float32, Extent::row, Value::From::instruction, 1}};
  p.inputs.push_back({x, {0, 1}, Extent::full, 1});
  Instruction square, sum;
  square.op = Op::square;
  sum.is_reduce = true;
  sum.phase = 1;
  square.compute = sum.compute = float32;
  square.in[0] = 0;
  square.out = sum.in[0] = 1;
  sum.out = 2;
  p.instructions = {square, sum};
  p.outputs.push_back({2, {}, {1, 0}});
  return p;
}

}  // namespace

TEST_CASE("what a program is lowered to serves all extents of its class") {
  std::optional<cpu::Lowered> kept;
  for (const std::int64_t n : {600, 5000, 4097}) {
    std::vector<float> x(3 * n), y(3);
    std::iota(x.begin(), x.end(), -1000.0f);
    const array source(borrow(x.data(), x.size() * sizeof(float), {}), {3, n}, float32);
    const Program p = sum_of_squares(source);
    const cpu::BoundPort in{reinterpret_cast<std::byte*>(x.data()), {n, 1}};
    const cpu::BoundPort out{reinterpret_cast<std::byte*>(y.data()), {1, 0}};
    const cpu::Binding binding{{p.domain.data(), p.domain.size()}, {}, {&in, 1}, {&out, 1}};
    const cpu::LayoutClass layout = cpu::classify(p, binding);
    if (!kept) kept = cpu::lower(p, layout);
    REQUIRE(layout == kept->layout);
    cpu::run(*kept, binding, false);
    const array want = sum(square(source), {1});
    CHECK(std::memcmp(want.data<float>(), y.data(), 3 * sizeof(float)) == 0);
  }
}
