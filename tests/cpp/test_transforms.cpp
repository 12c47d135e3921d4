// Transforms against finite differences, loops over batches and one another.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <tuple>

#include "cermet/eval.h"
#include "cermet/follow.h"
#include "cermet/linalg.h"
#include "cermet/ops.h"
#include "cermet/random.h"
#include "cermet/transforms.h"
#include "graph/primitives.h"

using namespace cermet;

namespace {

// Different values, none of them special, in float64 so that differences are accurate.
array values(const Shape& shape, double low, double high, std::uint64_t seed = 1) {
  const array a =
      astype(random::uniform(array(low), array(high), shape, float32, random::key(seed)), float64);
  a.eval();
  return a;
}

double largest(const array& a) { return a.size() ? max(abs(a)).item<double>() : 0; }

void check_close(const array& got, const array& expected, double tolerance = 1e-6) {
  REQUIRE(got.shape() == expected.shape());
  REQUIRE(got.dtype() == expected.dtype());
  CHECK(largest(got - expected) <= tolerance * (1 + largest(expected)));
}

// Both derivatives of `fun` along a direction equal the central difference.
void check_derivatives(const Function& fun, const Arrays& primals, double tolerance = 1e-5) {
  constexpr double h = 1e-5;
  Arrays tangents, ahead, behind;
  for (std::size_t i = 0; i < primals.size(); ++i) {
    tangents.push_back(values(primals[i].shape(), -1, 1, 100 + i));
    ahead.push_back(primals[i] + tangents[i] * h);
    behind.push_back(primals[i] - tangents[i] * h);
  }
  const Arrays after = fun(ahead), before = fun(behind);
  const auto [outputs, pushed] = jvp(fun, primals, tangents);
  Arrays cotangents;
  double by_cotangents = 0, by_tangents = 0;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    check_close(pushed[i], (after[i] - before[i]) / (2 * h), tolerance);
    cotangents.push_back(values(outputs[i].shape(), -1, 1, 200 + i));
    by_tangents += sum(pushed[i] * cotangents[i]).item<double>();
  }
  const Arrays pulled = vjp(fun, primals, cotangents).second;
  for (std::size_t i = 0; i < primals.size(); ++i) {
    REQUIRE(pulled[i].shape() == primals[i].shape());
    REQUIRE(pulled[i].dtype() == primals[i].dtype());
    by_cotangents += sum(pulled[i] * tangents[i]).item<double>();
  }
  CHECK(by_cotangents == doctest::Approx(by_tangents).epsilon(1e-9));
}

using Unary = std::function<array(const array&)>;
using Binary = std::function<array(const array&, const array&)>;

Function lift(Unary f) {
  return [f](const Arrays& in) { return Arrays{f(in[0])}; };
}
Function lift(Binary f) {
  return [f](const Arrays& in) { return Arrays{f(in[0], in[1])}; };
}

array row(const array& a, std::int64_t i) { return take(a, array(i), 0); }

// A mapped function gives what a loop over the entries of its inputs' first axes gives.
void check_vmap(const Function& fun, const Arrays& inputs, std::vector<int> axes = {},
                double tolerance = 1e-12) {
  if (axes.empty()) axes.assign(inputs.size(), 0);
  std::int64_t batch = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (axes[i] == 0) batch = inputs[i].shape(0);
  std::vector<Arrays> columns;
  for (std::int64_t b = 0; b < batch; ++b) {
    Arrays entry;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      entry.push_back(axes[i] == 0 ? row(inputs[i], b) : inputs[i]);
    const Arrays results = fun(entry);
    columns.resize(results.size());
    for (std::size_t i = 0; i < results.size(); ++i) columns[i].push_back(results[i]);
  }
  const Arrays mapped = vmap(fun, axes)(inputs);
  REQUIRE(mapped.size() == columns.size());
  for (std::size_t i = 0; i < mapped.size(); ++i) {
    const array expected = stack(columns[i]);
    REQUIRE(mapped[i].shape() == expected.shape());
    REQUIRE(mapped[i].dtype() == expected.dtype());
    const array got = astype(mapped[i], float64), wanted = astype(expected, float64);
    CHECK(allclose(got, wanted, tolerance, tolerance).item<bool>());
  }
}

// The inputs on which an elementwise operation is smooth.
std::pair<double, double> domain(Op op) {
  switch (op) {
    case Op::arccosh: return {1.2, 3};
    case Op::arcsin:
    case Op::arccos:
    case Op::arctanh:
    case Op::erfinv: return {-0.9, 0.9};
    case Op::sqrt:
    case Op::rsqrt:
    case Op::reciprocal:
    case Op::log:
    case Op::log2:
    case Op::log10:
    case Op::log1p:
    case Op::abs:
    case Op::sign:
    case Op::power:
    case Op::divide: return {0.3, 2};
    default: return {-1.5, 1.5};
  }
}

}  // namespace

TEST_CASE("elementwise derivatives agree with finite differences") {
  for (int i = 0; i < static_cast<int>(Op::select); ++i) {
    const Op op = static_cast<Op>(i);
    const OpInfo& facts = info(op);
    const bool real_valued = facts.rule == Rule::same || facts.rule == Rule::inexact ||
                             facts.rule == Rule::real_inexact || facts.rule == Rule::magnitude ||
                             facts.rule == Rule::component || op == Op::remainder;
    if (!real_valued) continue;
    CAPTURE(facts.name);
    const auto [low, high] = domain(op);
    if (facts.arity == 1)
      check_derivatives(lift([op](const array& a) { return elementwise(op, a); }),
                        {values({3, 5}, low, high)});
    else
      check_derivatives(
          lift([op](const array& a, const array& b) { return elementwise(op, a, b); }),
          {values({3, 5}, low, high), values({5}, low + 3 * (op == Op::remainder), high + 3, 2)});
  }
}

TEST_CASE("complex derivatives are conjugated products") {
  const std::complex<float> z(0.5F, -1.25F), t(1, 2);
  const auto pulled = [&](const Unary& f) {
    return vjp(lift(f), {array(z)}, {array(t)}).second[0].item<std::complex<float>>();
  };
  const auto close = [](std::complex<float> a, std::complex<float> b) {
    CHECK(std::abs(a - b) < 1e-5F);
  };
  close(pulled([](const array& a) { return a * a; }), std::conj(2.0F * z) * t);
  close(pulled([](const array& a) { return exp(a); }), std::conj(std::exp(z)) * t);
  close(pulled([](const array& a) { return conjugate(a); }), std::conj(t));
  const auto of_real = [&](const Unary& f) {
    return vjp(lift(f), {array(z)}, {array(1.0F)}).second[0].item<std::complex<float>>();
  };
  close(of_real([](const array& a) { return real(a); }), {1, 0});
  close(of_real([](const array& a) { return imag(a); }), {0, 1});
  close(of_real([](const array& a) { return abs(a); }), z / std::abs(z));
}

TEST_CASE("derivatives at special points") {
  const auto at = [](const Unary& f, const array& x) {
    return grad([f](const Arrays& in) { return sum(f(in[0])); })({x})[0].to_vector<float>();
  };
  CHECK(at([](const array& a) { return maximum(a, array(0.0F)); }, array{-1.0F, 0.0F, 1.0F}) ==
        std::vector<float>{0, 0, 1});
  CHECK(at([](const array& a) { return abs(a); }, array{-1.0F, 0.0F, 1.0F}) ==
        std::vector<float>{-1, 0, 1});
  CHECK(at([](const array& a) { return power(a, array(0.0F)); }, array{0.0F, 2.0F}) ==
        std::vector<float>{0, 0});
  CHECK(at([](const array& a) { return power(a, array(2.0F)); }, array{0.0F, -3.0F}) ==
        std::vector<float>{0, -6});
  CHECK(at([](const array& a) { return power(array(0.0F), a); }, array{1.0F, 2.0F}) ==
        std::vector<float>{0, 0});
  CHECK(at([](const array& a) { return prod(a); }, array{0.0F, 2.0F, 3.0F}) ==
        std::vector<float>{6, 0, 0});
  CHECK(at([](const array& a) { return max(a); }, array{1.0F, 2.0F, 2.0F}) ==
        std::vector<float>{0, 0.5F, 0.5F});
  CHECK(at([](const array& a) { return cumprod(a, 0); }, array{0.0F, 2.0F, 3.0F}) ==
        std::vector<float>{9, 0, 0});
  CHECK(at([](const array& a) { return floor(a) + a; }, array{0.5F, 1.5F}) ==
        std::vector<float>{1, 1});
  // Of a length of zero, a deviation of none; an angle without a radius.
  CHECK(at([](const array& a) { return linalg::norm(a); }, array{0.0F, 0.0F}) ==
        std::vector<float>{0, 0});
  CHECK(at([](const array& a) { return cermet::std(a); }, array{2.0F, 2.0F}) ==
        std::vector<float>{0, 0});
  CHECK(at([](const array& a) { return arctan2(a, 2.0 * a); }, array{0.0F}) ==
        std::vector<float>{0});
  // x^b at b = 0 is no constant of b: d/db (b x^(b - 1)) = 1 / x.
  CHECK(at(
            [](const array& b) {
              return grad([&](const Arrays& x) { return sum(power(x[0], b)); })(
                  {array{2.0F, 4.0F}})[0];
            },
            array{0.0F, 0.0F}) == std::vector<float>{0.5F, 0.25F});
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(at([](const array& b) { return power(array(0.0F), b); }, array{-1.0F, 0.0F, 1.0F}) ==
        std::vector<float>{-inf, 0, 0});
  // 1e36 + log 2 is 1e36.
  CHECK(at([](const array& a) { return logcumsumexp(a, 0); }, array{1e36F, 1e36F}) ==
        std::vector<float>{1.5F, 0.5F});
  // Equal updates share an element; the scalar that both come from gets the whole.
  CHECK(at(
            [](const array& v) {
              return scatter(array{9.0F, 9.0F}, {array{1, 1}}, v, {0}, Update::minimum);
            },
            array{2.0F, 2.0F}) == std::vector<float>{0.5F, 0.5F});
  CHECK(at([](const array& a) { return take(logcumsumexp(a, 0), array{1, 2}, 0); },
           array{-inf, 0.0F, 0.0F}) == std::vector<float>{0, 1.5F, 0.5F});
}

TEST_CASE("integers have tangents, and what chooses has none") {
  const auto pushed = [](const Unary& f, const array& x, const array& t) {
    return jvp(lift(f), {x}, {t}).second[0];
  };
  const array x{1, 2, 3}, t{4, 5, 6}, part{0.5F, 1.5F, 2.5F};
  const Unary total = [](const array& a) { return sum(a); };
  CHECK(pushed(total, x, t).item<int>() == 15);
  CHECK(pushed(total, x, t).dtype() == int32);
  CHECK(pushed(total, x, part).item<float>() == 4.5F);
  CHECK(pushed([](const array& a) { return max(a); }, x, t).item<int>() == 6);
  CHECK(pushed([](const array& a) { return prod(a); }, x, t).item<int>() == 51);
  CHECK(pushed([](const array& a) { return mean(a); }, x, part).item<float>() == 1.5F);
  CHECK(pushed([](const array& a) { return square(a); }, x, t).to_vector<int>() ==
        std::vector<int>{8, 20, 36});
  CHECK(pushed([](const array& a) { return concatenate({a, a}, 0); }, x, part).to_vector<float>() ==
        std::vector<float>{0.5F, 1.5F, 2.5F, 0.5F, 1.5F, 2.5F});
  const array pulled = vjp(lift(total), {x}, {array(2)}).second[0];
  CHECK(pulled.to_vector<int>() == std::vector<int>{2, 2, 2});
  CHECK(pulled.dtype() == int32);

  // An index, a condition and a number that was rounded to an integer.
  const array values{10.0F, 20.0F, 30.0F, 40.0F};
  for (const Unary& f :
       {Unary([&](const array& i) { return take(values, i, 0); }),
        Unary([&](const array& i) { return scatter(values, {i}, array(1.0F), {0}, Update::add); }),
        Unary([&](const array& i) { return where(i > 1, values, 2.0 * values); }),
        Unary([&](const array& i) { return depends({values}, {i})[0]; })}) {
    const array i = broadcast_to(array(1), {1}), one = ones_like(i);
    const array tangent = pushed(f, i, one);
    CHECK(tangent.dtype() == float32);
    CHECK(largest(tangent) == 0);
    const array cotangent = vjp(lift(f), {i}, {ones_like(tangent)}).second[0];
    CHECK(cotangent.dtype() == int32);
    CHECK(largest(cotangent) == 0);
  }
  const array y{1.5F, 2.5F};
  CHECK(
      pushed([](const array& a) { return astype(astype(a, int32), float32) * a; }, y, ones_like(y))
          .to_vector<float>() == std::vector<float>{1, 2});
}

TEST_CASE("derivatives of the other primitives agree with finite differences") {
  const array a = values({3, 4}, 0.2, 1.5), b = values({3, 4}, 0.2, 1.5, 2);
  const array index = array{2, 0, 2};
  const std::vector<std::pair<std::string, Unary>> unary = {
      {"broadcast", [](const array& x) { return broadcast_to(x, {2, 3, 4}); }},
      {"reshape", [](const array& x) { return square(reshape(x, {2, -1})); }},
      {"transpose", [](const array& x) { return square(transpose(x)); }},
      {"slice",
       [](const array& x) { return square(slice(x, Shape{2, 1}, Shape{-1, 4}, Shape{-2, 2})); }},
      {"as_strided", [](const array& x) { return square(as_strided(x, {3, 3}, {2, 1}, 1)); }},
      {"contiguous", [](const array& x) { return contiguous(transpose(x)) * 2.0; }},
      {"pad", [](const array& x) { return square(pad(x, {{1, 0}, {0, 2}})); }},
      {"sum", [](const array& x) { return square(sum(x, Axes{0})); }},
      {"prod", [](const array& x) { return prod(x, Axes{1}); }},
      {"prod of all", [](const array& x) { return prod(x); }},
      {"max", [](const array& x) { return max(x, Axes{0}); }},
      {"min", [](const array& x) { return min(x, Axes{1}, true); }},
      {"softmax", [](const array& x) { return softmax(x, Axes{-1}); }},
      {"var", [](const array& x) { return var(x, Axes{1}); }},
      {"sort", [](const array& x) { return square(sort(x, 0)); }},
      {"partition", [](const array& x) { return square(sort(partition(x, 1, 1), 1)); }},
      {"gather", [&](const array& x) { return square(take(x, index, 1)); }},
      {"take_along_axis",
       [](const array& x) { return square(take_along_axis(x, argsort(x, 1), 1)); }},
      {"stop_gradient", [](const array& x) { return x * stop_gradient(array(2.0, float64)); }},
      {"astype", [](const array& x) { return square(astype(x, float64)); }},
  };
  for (const auto& [name, f] : unary) {
    CAPTURE(name);
    check_derivatives(lift(f), {a});
  }
  for (const ScanOp op : {ScanOp::sum, ScanOp::prod, ScanOp::min, ScanOp::max, ScanOp::logaddexp})
    for (const bool reverse : {false, true})
      for (const bool inclusive : {false, true}) {
        CAPTURE(name_of(op));
        CAPTURE(reverse);
        CAPTURE(inclusive);
        // The first result of an exclusive scan is a constant, perhaps an infinite one.
        const Shape start{0, inclusive || reverse ? 0 : 1}, stop{3, inclusive || !reverse ? 4 : 3};
        check_derivatives(lift([=](const array& x) {
                            return slice(scan(op, x, 1, reverse, inclusive), start, stop);
                          }),
                          {a});
      }
  const std::vector<std::pair<std::string, Binary>> binary = {
      {"matmul", [](const array& x, const array& y) { return matmul(x, transpose(y)); }},
      {"concatenate",
       [](const array& x, const array& y) { return square(concatenate({x, y}, 1)); }},
      {"where", [](const array& x, const array& y) { return where(x > y, x * y, y); }},
  };
  for (const auto& [name, f] : binary) {
    CAPTURE(name);
    check_derivatives(lift(f), {a, b});
  }
  for (const Update mode :
       {Update::set, Update::add, Update::multiply, Update::minimum, Update::maximum}) {
    CAPTURE(name_of(mode));
    const array update = values({2, 4}, 0.2, 1.5, 3);
    check_derivatives(lift([=](const array& x, const array& u) {
                        return square(scatter(x, {array{2, 0}}, u, {0}, mode));
                      }),
                      {a, update});
    check_derivatives(lift([=](const array& x, const array& u) {
                        return square(slice_update(x, u, {0, 0}, {3, 4}, {2, 1}, mode));
                      }),
                      {a, update});
  }
}

TEST_CASE("derivatives of a quantized product") {
  const array x = random::normal({3, 64}, float32, {}, {}, random::key(1));
  const Quantized q = quantize(random::normal({32, 64}, float32, {}, {}, random::key(2)), 32, 4);
  const array cotangent = random::normal({3, 32}, float32, {}, {}, random::key(3));
  const Function product = [&](const Arrays& in) {
    return Arrays{quantized_matmul(in[0], q.w, in[1], in[2], true, 32, 4)};
  };
  const Function plain = [&](const Arrays& in) {
    return Arrays{matmul(in[0], transpose(dequantize(q.w, in[1], in[2], 32, 4)))};
  };
  const Arrays got = vjp(product, {x, q.scales, *q.biases}, {cotangent}).second;
  const Arrays expected = vjp(plain, {x, q.scales, *q.biases}, {cotangent}).second;
  for (std::size_t i = 0; i < got.size(); ++i) check_close(got[i], expected[i], 1e-4);
}

TEST_CASE("gradients have the shape and dtype of the primal") {
  const array x = ones({2, 1}, float16), w = ones({3});
  const auto [outputs, gradients] = vjp(lift([](const array& a, const array& b) { return a * b; }),
                                        {x, w}, {ones({2, 3}, float32)});
  CHECK(outputs[0].dtype() == float32);
  CHECK(gradients[0].dtype() == float16);
  CHECK(gradients[0].shape() == Shape{2, 1});
  CHECK(gradients[0].to_vector<float>() == std::vector<float>{3, 3});
  CHECK(gradients[1].to_vector<float>() == std::vector<float>{2, 2, 2});
}

TEST_CASE("bad calls of derivatives say what does not fit") {
  const array x{1.0F, 2.0F};
  const Function same = [](const Arrays& in) { return in; };
  CHECK_THROWS_AS(vjp(same, {x}, {}), std::invalid_argument);
  CHECK_THROWS_AS(vjp(same, {x}, {array(1.0F)}), std::invalid_argument);
  CHECK_THROWS_AS(jvp(same, {x}, {array(1.0F)}), std::invalid_argument);
  const ScalarFunction first = [](const Arrays& in) { return in[0]; };
  CHECK_THROWS_AS(grad(first)({x}), std::invalid_argument);
  CHECK_THROWS_AS(grad(first)({array(1)}), std::invalid_argument);
  CHECK_THROWS_AS(grad(first, {1})({x}), std::invalid_argument);
  CHECK_THROWS_AS(grad(first, {0, 0})({array(1.0F)}), std::invalid_argument);
}

TEST_CASE("an array evaluated inside a differentiated function keeps its derivative") {
  const auto gradient = grad([](const Arrays& in) {
    const array y = square(in[0]);
    return y.item<float>() > 1 ? y * in[0] : y;
  });
  CHECK(gradient({array(2.0F)})[0].item<float>() == doctest::Approx(12));
  CHECK(gradient({array(0.5F)})[0].item<float>() == doctest::Approx(1));
}

TEST_CASE("what an evaluated array of a trace was computed from without a value is kept") {
  const array c{1.0F, 2.0F};
  const auto gradient = grad([&](const Arrays& in) {
    const array y = in[0] * (square(c) * 2.0);  // the second factor is not of the trace
    y.eval();
    return sum(y);
  });
  CHECK(gradient({c})[0].to_vector<float>() == std::vector<float>{2, 8});
}

TEST_CASE("transforms of transforms") {
  const ScalarFunction cube = [](const Arrays& in) { return in[0] * in[0] * in[0]; };
  const auto d = [](const ScalarFunction& f) -> ScalarFunction {
    return [f](const Arrays& in) { return grad(f)(in)[0]; };
  };
  const array x(2.0, float64);
  CHECK(d(cube)({x}).item<double>() == doctest::Approx(12));
  CHECK(d(d(cube))({x}).item<double>() == doctest::Approx(12));
  CHECK(d(d(d(cube)))({x}).item<double>() == doctest::Approx(6));

  const Function pushed = [&](const Arrays& in) {
    return jvp([&](const Arrays& y) { return Arrays{d(cube)(y)}; }, in, {array(1.0, float64)})
        .second;
  };
  CHECK(pushed({x})[0].item<double>() == doctest::Approx(12));
  CHECK(d([&](const Arrays& in) { return pushed(in)[0]; })({x}).item<double>() ==
        doctest::Approx(6));

  // The inner derivative's variable is not the outer one's: d/dx x * (d/dy (x + y)) = 1.
  const ScalarFunction confusing = [&](const Arrays& in) {
    const array outer = in[0];
    return outer * d([&](const Arrays& y) { return outer + y[0]; })({array(1.0, float64)});
  };
  CHECK(d(confusing)({x}).item<double>() == doctest::Approx(1));

  const array points = values({4}, -1, 1);
  const Function both = vmap([&](const Arrays& in) { return Arrays{d(cube)(in)}; });
  check_close(both({points})[0], square(points) * 3.0, 1e-12);
  const auto through = d([&](const Arrays& in) { return sum(both(in)[0]); });
  check_close(through({points}), points * 6.0, 1e-12);

  const array matrix = values({3, 4}, -1, 1);
  const Function outer_product = vmap(
      [](const Arrays& in) {
        return vmap([](const Arrays& s) { return Arrays{s[0] * s[1]}; }, {0, kNotMapped})(in);
      },
      {kNotMapped, 0});
  check_close(outer_product({points, row(matrix, 0)})[0], transpose(outer(points, row(matrix, 0))),
              1e-12);

  const Function compiled = compile([&](const Arrays& in) { return Arrays{d(cube)(in)}; });
  CHECK(compiled({x})[0].item<double>() == doctest::Approx(12));
  CHECK(d([&](const Arrays& in) { return compiled(in)[0]; })({x}).item<double>() ==
        doctest::Approx(12));
  check_close(vmap(compiled)({points})[0], square(points) * 3.0, 1e-12);
}

TEST_CASE("vmap equals a loop") {
  const array a = values({2, 3, 4}, 0.2, 1.5), b = values({2, 3, 4}, 0.2, 1.5, 2);
  const array shared = values({3, 4}, 0.2, 1.5, 3);
  const std::vector<std::pair<std::string, Unary>> unary = {
      {"exp", [](const array& x) { return exp(x); }},
      {"astype", [](const array& x) { return astype(x, float32); }},
      {"broadcast", [](const array& x) { return broadcast_to(x, {2, 3, 4}); }},
      {"reshape", [](const array& x) { return reshape(x, {2, 6}); }},
      {"transpose", [](const array& x) { return transpose(x); }},
      {"slice", [](const array& x) { return slice(x, Shape{2, 1}, Shape{-1, 4}, Shape{-2, 2}); }},
      {"slice_update",
       [&](const array& x) {
         return slice_update(shared, slice(x, {0, 0}, {2, 4}), {1, 0}, {3, 4}, {1, 1});
       }},
      {"as_strided", [](const array& x) { return as_strided(x, {3, 3}, {2, 1}, 1); }},
      {"view", [](const array& x) { return view(x, int32); }},
      {"contiguous", [](const array& x) { return contiguous(transpose(x)); }},
      {"sum", [](const array& x) { return sum(x, Axes{0}); }},
      {"argmax", [](const array& x) { return argmax(x, 1); }},
      {"cumsum", [](const array& x) { return cumsum(x, 1, true); }},
      {"sort", [](const array& x) { return sort(x, 0); }},
      {"argsort", [](const array& x) { return argsort(x, 1); }},
      {"take", [](const array& x) { return take(x, array{2, 0}, 1); }},
      {"take_along_axis", [](const array& x) { return take_along_axis(x, argsort(x, 1), 1); }},
      {"shared rows", [&](const array& x) { return take(shared, argmax(x, 1), 1); }},
      {"scatter",
       [&](const array& x) {
         return scatter(shared, {argmax(x, 1)}, slice(x, {0, 0}, {3, 3}), {1}, Update::add);
       }},
      {"matmul", [&](const array& x) { return matmul(shared, transpose(x)); }},
      {"constant", [](const array&) { return array(3.0F); }},
      {"gradient",
       [](const array& x) {
         return grad([](const Arrays& in) { return sum(exp(in[0]) * in[0]); })({x})[0];
       }},
  };
  for (const auto& [name, f] : unary) {
    CAPTURE(name);
    check_vmap(lift(f), {a});
  }
  const std::vector<std::pair<std::string, Binary>> binary = {
      {"broadcast against fewer axes",
       [](const array& x, const array& y) { return x + row(y, 0); }},
      {"concatenate", [](const array& x, const array& y) { return concatenate({x, y}, 1); }},
      {"where", [](const array& x, const array& y) { return where(x > y, x, y); }},
      {"matmul", [](const array& x, const array& y) { return matmul(x, transpose(y)); }},
      {"scatter",
       [](const array& x, const array& y) {
         return scatter(x, {argmax(y, 1)}, slice(y, {0, 0}, {3, 3}), {1}, Update::maximum);
       }},
  };
  for (const auto& [name, f] : binary) {
    CAPTURE(name);
    check_vmap(lift(f), {a, b});
    check_vmap(lift(f), {a, shared}, {0, kNotMapped});
    check_vmap(lift(f), {shared, a}, {kNotMapped, 0});
  }
  const array keys = random::split(random::key(0), 3);
  check_vmap(lift([](const array& k) { return random::uniform({5}, float32, k); }), {keys});
}

TEST_CASE("vmap of a quantized product, whichever side is batched") {
  const auto normal = [](const Shape& shape, std::uint64_t seed) {
    return random::normal(shape, float32, {}, {}, random::key(seed));
  };
  const Quantized one = quantize(normal({8, 64}, 1), 32, 4),
                  many = quantize(normal({3, 8, 64}, 2), 32, 4);
  for (const Shape& entry : {Shape{64}, Shape{2, 64}, Shape{5, 2, 64}}) {
    CAPTURE(to_string(entry));
    Shape batch = entry;
    batch.insert(batch.begin(), 3);
    const Function product = [](const Arrays& in) {
      return Arrays{quantized_matmul(in[0], in[1], in[2], in[3], true, 32, 4)};
    };
    check_vmap(product, {normal(batch, 3), one.w, one.scales, *one.biases},
               {0, kNotMapped, kNotMapped, kNotMapped}, 1e-4);
    check_vmap(product, {normal(batch, 3), many.w, many.scales, *many.biases}, {}, 1e-4);
    check_vmap(product, {normal(entry, 3), many.w, many.scales, *many.biases},
               {kNotMapped, 0, 0, 0}, 1e-4);
  }
}

namespace {

// The sum and the difference of two vectors, by hand: an operation with two results and a vjp.
class SumAndDifference final : public Custom {
 public:
  std::string_view name() const override { return "sum_and_difference"; }
  Arrays run(std::span<const array> in) const override {
    auto a = in[0].to_vector<float>(), b = in[1].to_vector<float>();
    for (std::size_t i = 0; i < a.size(); ++i)
      std::tie(a[i], b[i]) = std::pair(a[i] + b[i], a[i] - b[i]);
    return {array(a, in[0].shape()), array(b, in[0].shape())};
  }
  std::vector<std::optional<array>> vjp_all(std::span<const array>, const Arrays& outputs,
                                            const Arrays& t) const override {
    CHECK(outputs[0].shape() == t[0].shape());
    return {t[0] + t[1], t[0] - t[1]};
  }
};

Arrays sum_and_difference(const Arrays& in) {
  const Result like_the_first{in[0].shape(), float32};
  return make_outputs(make_ref<SumAndDifference>(), {like_the_first, like_the_first},
                      {in[0], in[1]}, in[0].stream());
}

}  // namespace

TEST_CASE("operations with several results") {
  const array a{1.0F, 2.0F}, b{3.0F, 5.0F};
  const Arrays both = sum_and_difference({a, b});
  CHECK(both[0].to_vector<float>() == std::vector<float>{4, 7});
  CHECK(both[1].to_vector<float>() == std::vector<float>{-2, -3});
  const Arrays t{array{1.0F, 2.0F}, array{10.0F, 20.0F}};
  const Arrays pulled = vjp(sum_and_difference, {a, b}, t).second;
  CHECK(pulled[0].to_vector<float>() == std::vector<float>{11, 22});
  CHECK(pulled[1].to_vector<float>() == std::vector<float>{-9, -18});
  // The other result is dropped by the function.
  const auto second = grad([](const Arrays& in) { return sum(sum_and_difference(in)[1]); }, {1});
  CHECK(second({a, b})[0].to_vector<float>() == std::vector<float>{-1, -1});
  check_vmap(sum_and_difference, {stack({a, b, a}), stack({b, b, a})});
  check_vmap(sum_and_difference, {stack({a, b, a}), b}, {0, kNotMapped});
  // Without a rule the error names the operation.
  CHECK_THROWS_WITH_AS(jvp(sum_and_difference, {a, b}, {a, b}),
                       "jvp: sum_and_difference has no rule for it", std::invalid_argument);
  // Its shapes are not derived for other inputs: a shapeless function is traced again.
  const Function f = compile(sum_and_difference, true);
  CHECK(f({a, b})[0].to_vector<float>() == std::vector<float>{4, 7});
  const array longer{1.0F, 2.0F, 3.0F};
  CHECK(f({longer, longer})[1].to_vector<float>() == std::vector<float>{0, 0, 0});
}

TEST_CASE("depends orders and differentiates as the identity") {
  const Function f = [](const Arrays& in) { return depends({in[0] * 2.0}, {in[1]}); };
  const array a{1.0F, 2.0F};
  const Arrays pulled = vjp(f, {a, a}, {a}).second;
  CHECK(pulled[0].to_vector<float>() == std::vector<float>{2, 4});
  CHECK(pulled[1].to_vector<float>() == std::vector<float>{0, 0});
  check_vmap(f, {stack({a, a}), stack({a, a})});
  check_vmap(f, {a, stack({a, a})}, {kNotMapped, 0});
}

TEST_CASE("vmap over other axes") {
  const array a = values({3, 4}, -1, 1);
  const Function f = [](const Arrays& in) { return Arrays{in[0] * in[1], in[1]}; };
  const Arrays out = vmap(f, {-1, kNotMapped}, {1, kNotMapped})({a, array(2.0, float64)});
  check_close(out[0], a * 2.0);
  CHECK(out[1].ndim() == 0);
  CHECK_THROWS_AS(vmap(f)({a, ones({4})}), std::invalid_argument);
  CHECK_THROWS_AS(vmap(f, {0})({a, a}), std::invalid_argument);
  CHECK_THROWS_AS(vmap(f, {0, 0}, {0, kNotMapped})({a, a}), std::invalid_argument);
  CHECK_THROWS_AS(vmap(f, {kNotMapped, kNotMapped})({a, a}), std::invalid_argument);
  CHECK_THROWS_AS(vmap(f, {2, 0})({a, a}), AxisError);
  const Function asks = [](const Arrays& in) { return Arrays{array(in[0].item<float>())}; };
  CHECK_THROWS_AS(vmap(asks)({ones({3})}), std::invalid_argument);
}

TEST_CASE("compile traces once for each shape and dtype") {
  int traces = 0;
  const Function body = [&](const Arrays& in) {
    ++traces;
    return Arrays{exp(in[0]) + exp(in[0]), in[0], array(7)};
  };
  const Function f = compile(body);
  for (int i = 0; i < 3; ++i) {
    const array x = values({3}, -1, 1, static_cast<std::uint64_t>(i));
    const Arrays out = f({x});
    check_close(out[0], exp(x) * 2.0);
    CHECK(out[1].is_same(x));
    CHECK(out[2].item<int>() == 7);
  }
  CHECK(traces == 1);
  // exp(x) is there once.
  const array x = values({3}, -1, 1);
  const array total = f({x})[0];
  const array& sum = expansion_of(*total.node());
  CHECK(sum.inputs()[0].is_same(sum.inputs()[1]));

  f({values({4}, -1, 1)});
  CHECK(traces == 2);
  f({ones({3}, float32)});
  CHECK(traces == 3);
  disable_compile();
  f({ones({3}, float32)});
  CHECK(traces == 4);
  enable_compile();
}

TEST_CASE("a shapeless trace fits other extents, or is made anew where it cannot") {
  int traces = 0;
  const auto traced = [&](Unary f) {
    traces = 0;
    return compile([&traces, f](const Arrays& in) { return ++traces, Arrays{f(in[0])}; }, true);
  };
  const array small = values({2, 3}, -1, 1), tall = values({5, 3}, -1, 1),
              wide = values({2, 7}, -1, 1);
  const Unary soft = [](const array& x) { return softmax(x, Axes{-1}); };
  const Function f = traced(soft);
  for (const array& x : {small, tall}) check_close(f({x})[0], soft(x));
  CHECK(traces == 1);
  check_close(f({wide})[0], soft(wide));

  const Unary average = [](const array& x) { return mean(x, Axes{1}); };
  const Function g = traced(average);
  for (const array& x : {small, wide, tall}) check_close(g({x})[0], average(x));

  const Unary matrix = [](const array& x) { return matmul(x, transpose(x)) + x.ndim(); };
  const Function h = traced(matrix);
  for (const array& x : {small, tall, wide}) check_close(h({x})[0], matrix(x));
  CHECK(traces == 1);
}

TEST_CASE("who asks for extents ties a shapeless trace to them, unless it is done again") {
  int traces = 0;
  const auto check = [&](const Unary& f, int times) {
    traces = 0;
    const Function g =
        compile([&](const Arrays& in) { return ++traces, Arrays{f(in[0])}; }, /*shapeless=*/true);
    for (const Shape& shape : {Shape{2, 3}, {5, 7}, {1, 4}}) {
      const array x = values(shape, -1, 1);
      check_close(g({x})[0], f(x));
    }
    CHECK(traces == times);
  };
  check([](const array& x) { return x * static_cast<double>(x.size()); }, 3);
  check([](const array& x) { return x.ndim() == 2 ? x * 2.0 : x; }, 1);
  check([](const array& x) { return tile(x, {2, 1}); }, 3);
  const auto tiled = [](std::span<const array> in) { return tile(in[0], {2, 1}); };
  check([&](const array& x) { return follow("tile", {&x, 1}, tiled); }, 1);
  const ScalarFunction loss = [&](const Arrays& in) { return sum(exp(follow("tile", in, tiled))); };
  check([&](const array& x) { return grad(loss)({x})[0]; }, 1);
  check([](const array& x) { return mean(ones_like(x) + x, Axes{0}); }, 1);
}

TEST_CASE("a compiled function keeps the traces that were used last") {
  int traces = 0;
  const Function f = compile([&](const Arrays& in) { return ++traces, Arrays{in[0] + 1}; });
  const auto call = [&](std::int64_t n) { f({zeros({n}, float32)}); };
  const auto most = static_cast<std::int64_t>(kMaxTraces);
  for (std::int64_t n = 1; n <= most; ++n) call(n);
  call(1);  // used again: number 2 is now the first to go
  CHECK(traces == most);
  call(most + 1);
  CHECK(traces == most + 1);
  call(1);
  call(3);
  CHECK(traces == most + 1);
  call(2);
  CHECK(traces == most + 2);
}

TEST_CASE("a compiled function does not evaluate its stand-ins") {
  const Function f = compile(
      [](const Arrays& in) { return Arrays{in[0] + static_cast<double>(in[0].item<float>())}; });
  CHECK_THROWS_AS(f({array(1.0F)}), std::invalid_argument);
}

TEST_CASE("checkpoint computes twice and differentiates the same") {
  int runs = 0;
  const Function body = [&](const Arrays& in) {
    ++runs;
    return Arrays{sin(in[0]) * in[1], cos(in[0])};
  };
  const Function kept = checkpoint(body);
  const ScalarFunction loss = [&](const Arrays& in) {
    const Arrays out = kept(in);
    return sum(out[0] * out[1]);
  };
  const ScalarFunction plain = [&](const Arrays& in) {
    const Arrays out = body(in);
    return sum(out[0] * out[1]);
  };
  const Arrays inputs{values({3}, -1, 1), values({3}, -1, 1, 2)};
  const Arrays gradients = grad(loss, {0, 1})(inputs);
  CHECK(runs == 2);
  const Arrays expected = grad(plain, {0, 1})(inputs);
  for (std::size_t i = 0; i < 2; ++i) check_close(gradients[i], expected[i], 1e-12);
  // One of two results is used.
  const ScalarFunction half = [&](const Arrays& in) { return sum(kept(in)[1]); };
  check_close(grad(half)(inputs)[0], -sin(inputs[0]), 1e-12);
}

TEST_CASE("custom rules replace those that follow from the function") {
  CustomRules rules;
  rules.vjp = [](const Arrays& primals, const Arrays& cotangents, const Arrays&) {
    return Arrays{cotangents[0] * primals[1] * 10.0, zeros_like(primals[1])};
  };
  const Function f = custom_function([](const Arrays& in) { return Arrays{in[0] * in[1]}; }, rules);
  const array x = values({3}, -1, 1), y = values({3}, -1, 1, 2);
  check_close(f({x, y})[0], x * y);
  const auto gradients = grad([&](const Arrays& in) { return sum(f(in)[0]); }, {0, 1});
  check_close(gradients({x, y})[0], y * 10.0);
  CHECK(largest(gradients({x, y})[1]) == 0);
  // The function's tangents are not those of the rule.
  CHECK_THROWS_WITH_AS(
      jvp(f, {x, y}, {ones_like(x), zeros_like(y)}),
      "jvp: custom_function has a vjp rule of its own and no jvp rule; expected one",
      std::invalid_argument);
  // The rule holds under a map, with a shared input too.
  const array matrix = values({4, 3}, -1, 1);
  const auto mapped = grad([&](const Arrays& in) { return sum(vmap(f, {0, kNotMapped})(in)[0]); });
  check_close(mapped({matrix, y})[0], broadcast_to(y * 10.0, {4, 3}));

  rules = {};
  rules.vmap = [](const Arrays& inputs, const std::vector<int>& axes) {
    CHECK(axes == std::vector<int>{0});
    return std::pair(Arrays{transpose(inputs[0])}, std::vector<int>{1});
  };
  const Function g = custom_function([](const Arrays& in) { return in; }, rules);
  check_close(vmap(g)({matrix})[0], matrix);
}

TEST_CASE("a chain of a million nodes is differentiated") {
  const auto [value, gradients] = value_and_grad(ScalarFunction([](const Arrays& in) {
    array y = in[0];
    for (int i = 0; i < 1'000'000; ++i) y = -y;
    return y;
  }))({array(3.0F)});
  CHECK(value.item<float>() == 3);
  CHECK(gradients[0].item<float>() == 1);
}
