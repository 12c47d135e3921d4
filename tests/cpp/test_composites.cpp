// Composites with one and with several results: their expansion, and results through Pick.
#include <doctest/doctest.h>

#include "cermet/eval.h"
#include "cermet/fast.h"
#include "cermet/ops.h"
#include "cermet/random.h"
#include "cermet/transforms.h"
#include "graph/composites.h"

using namespace cermet;

namespace {

// The least and the largest of each row of exp(x): two results of a composite.
class Extremes final : public Composite {
 public:
  std::string_view name() const override { return "extremes"; }
  Arrays expand(const Node&, std::span<const array> inputs) const override {
    const array y = exp(inputs[0]);
    return {min(y, Axes{-1}), max(y, Axes{-1})};
  }
  bool equals(const Primitive& o) const override { return dynamic_cast<const Extremes*>(&o); }
};

Arrays extremes(const array& x) {
  Shape shape = x.shape();
  shape.pop_back();
  return make_outputs(make_ref<const Extremes>(), {{shape, x.dtype()}, {shape, x.dtype()}}, {x},
                      x.stream());
}
Arrays expanded(const array& x) { return {min(exp(x), Axes{-1}), max(exp(x), Axes{-1})}; }

array normal(const Shape& shape, std::uint64_t seed) {
  const array a = random::normal(shape, float32, {}, {}, random::key(seed));
  a.eval();
  return a;
}

bool same(const array& a, const array& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && array_equal(a, b).item<bool>();
}
void check_same(const Arrays& got, const Arrays& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(same(got[i], expected[i]));
}

int steps(const Arrays& arrays) {
  const std::string text = explain(arrays);
  int n = 0;
  for (auto at = text.find("step "); at != std::string::npos; at = text.find("step ", at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("results of a composite are those of its expansion, together or one alone") {
  const array x = normal({3, 5}, 1);
  check_same(extremes(x), expanded(x));
  check_same({extremes(x)[1]}, {expanded(x)[1]});
  const Arrays both = extremes(x);
  eval({both[0]});
  check_same(both, expanded(x));
  check_same({tanh(extremes(x)[0] * 2.0f)}, {tanh(expanded(x)[0] * 2.0f)});
}

TEST_CASE("results of a composite under transforms") {
  const array x = normal({4, 3, 5}, 2);
  check_same(vmap(Function([](const Arrays& in) { return extremes(in[0]); }))({x}), expanded(x));
  const auto loss = [](auto f) {
    return ScalarFunction([f](const Arrays& in) {
      const Arrays out = f(in[0]);
      return sum(out[1] * out[1] - out[0]);
    });
  };
  const Arrays gradient = grad(loss(expanded))({x});
  check_same(grad(loss(extremes))({x}), gradient);
  check_same(compile(Function(grad(loss(extremes))))({x}), gradient);
  check_same(compile(Function([](const Arrays& in) { return extremes(in[0]); }))({x}), expanded(x));
  const Function both = [](const Arrays& in) { return extremes(in[0]); };
  check_same(jvp(both, {x}, {cos(x)}).second,
             jvp(Function([](const Arrays& in) { return expanded(in[0]); }), {x}, {cos(x)}).second);
}

TEST_CASE("a composite has the bits of its expansion, in no more steps") {
  const array q = normal({2, 4, 5, 8}, 3);
  const array mask = normal({5, 6}, 6), sinks = normal({4}, 7);
  const std::vector<std::function<array()>> nodes{
      [&] { return fast::rope(q, 6, true, 1e4, 1, array(2), {}); },
      [&] { return searchsorted(sort(sinks, 0), mask, true); },
      [&] { return addmm(mask, normal({5, 3}, 9), normal({3, 6}, 10), 2, 3); },
      [&] { return gather_mm(q, swapaxes(q, -1, -2), {}, array({2, 1, 0, 3})); },
  };
  for (const auto& make : nodes) {
    const array whole = make(), other = make();
    REQUIRE(other.primitive()->kind() == Kind::composite);
    CAPTURE(other.primitive()->name());
    const auto& composite = static_cast<const Composite&>(*other.primitive());
    const Arrays parts =
        composite.expand(*other.node(), {other.inputs().data(), other.inputs().size()});
    CHECK(composite.output_shape(*other.node(), {other.inputs().data(), other.inputs().size()}) ==
          whole.shape());
    CHECK(steps({whole}) <= steps(parts));
    check_same({whole}, parts);
  }
}

TEST_CASE("an attention and its gradient are near their expansions") {
  const array q = normal({2, 4, 5, 8}, 3), k = normal({2, 2, 6, 8}, 4), v = normal({2, 2, 6, 8}, 5);
  const array mask = normal({5, 6}, 6), sinks = normal({4}, 7);
  const auto check = [&](const std::optional<array>& m, bool causal,
                         const std::optional<array>& s) {
    const array out = fast::scaled_dot_product_attention(q, k, v, 0.5, m, causal, s);
    const auto& whole = static_cast<const Attention&>(*out.primitive());
    const std::span<const array> inputs(out.inputs().data(), out.inputs().size());
    const array flat = whole.vjp_together(inputs, out, cos(out))[0]->inputs()[0].inputs()[0];
    for (const array& node : {out, flat}) {
      REQUIRE(node.primitive()->kind() == Kind::composite);
      const auto& composite = static_cast<const Composite&>(*node.primitive());
      const array parts =
          composite.expand(*node.node(), {node.inputs().data(), node.inputs().size()})[0];
      CHECK(parts.shape() == node.shape());
      CHECK(max(abs(parts - node)).item<float>() < 2e-6f);
    }
  };
  check({}, false, {});
  check({}, true, sinks);
  check(mask, false, {});
  check(less(mask, array(0.5f)), false, sinks);
}

TEST_CASE("a convolution and its gradients are near their expansions") {
  const array x = normal({2, 4, 5, 8}, 3), weight = normal({6, 3, 3, 4}, 4);
  for (const ConvOptions& o : {ConvOptions{{2}, {1}, {2}, {1}, {1}, 2, true},
                               ConvOptions{{1}, {2}, {1}, {2}, {2}, 2, false}}) {
    const Function convolve = [&](const Arrays& in) {
      return Arrays{conv_general(in[0], in[1], o)};
    };
    const auto [out, gradients] =
        vjp(convolve, {x, weight}, {normal(convolve({x, weight})[0].shape(), 5)});
    for (const array& node : {out[0], gradients[0], gradients[1]}) {
      REQUIRE(node.primitive()->kind() == Kind::composite);
      CAPTURE(node.primitive()->name());
      const std::span<const array> inputs(node.inputs().data(), node.inputs().size());
      const auto& composite = static_cast<const Composite&>(*node.primitive());
      CHECK(composite.output_shape(*node.node(), inputs) == node.shape());
      const array parts = composite.expand(*node.node(), inputs)[0];
      CHECK(max(abs(node - parts)).item<float>() < 1e-4f);
    }
  }
}

TEST_CASE("a quantized product is near its expansion, which computes float64") {
  const Quantized w = quantize(normal({6, 64}, 1), 32, 4);
  const array x = normal({3, 64}, 2);
  const array whole = quantized_matmul(x, w.w, w.scales, w.biases, true, 32, 4);
  const array wide = quantized_matmul(astype(x, float64), w.w, w.scales, w.biases, true, 32, 4);
  CHECK(wide.dtype() == float64);
  CHECK(max(abs(whole - astype(wide, float32))).item<float>() < 1e-4f);
}

TEST_CASE("quantizing and back have the bits of their expansions") {
  using Mode = QuantizationMode;
  const auto expanded = [](const array& a) {
    const Node& node = *a.node();
    return static_cast<const Composite&>(*node.primitive)
        .expand(node, {node.inputs.data(), node.inputs.size()})[0];
  };
  const auto check = [&](const array& a) {
    REQUIRE(dynamic_cast<const Composite*>(a.primitive()));
    CAPTURE(a.primitive()->name());
    const array by_parts = expanded(a);
    const array bits = view(a, a.itemsize() == 1 ? uint8 : a.itemsize() == 2 ? uint16 : uint32);
    CHECK(array_equal(a, by_parts, is_floating(a.dtype())).item<bool>());
    const array both_nan = is_floating(a.dtype()) ? isnan(a) : equal(a, a + 1);
    CHECK(all(logical_or(both_nan, equal(bits, view(by_parts, bits.dtype())))).item<bool>());
  };
  const array special({0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-42f, -3e38f, 1e-20f});
  for (const Mode mode : {Mode::affine, Mode::mxfp4, Mode::mxfp8, Mode::nvfp4})
    for (const int bits : {2, 3, 4, 5, 6, 8})
      for (const int group : {16, 32, 64, 128})
        for (const Dtype dtype : {float32, float16, bfloat16})
          for (const std::int64_t groups : {1, 2, 3, 37}) {
            const bool affine = mode == Mode::affine;
            if (affine ? group == 16 : bits != (mode == Mode::mxfp8 ? 8 : 4)) continue;
            if (!affine && group != (mode == Mode::nvfp4 ? 16 : 32)) continue;
            CAPTURE(name_of(mode));
            CAPTURE(bits);
            CAPTURE(group);
            CAPTURE(groups);
            // Some groups of all magnitudes, one with each special value, one of zeros.
            array x = astype(
                normal({9, groups * group}, 5) * exp(10 * normal({9, groups * group}, 6)), dtype);
            const array row = arange(9);
            x = select(expand_dims(equal(row, array(8)), {1}), zeros_like(x), x);
            x = slice_update(x, astype(reshape(special, {8, 1}), dtype), {0, 3}, {8, 4}, {1, 1},
                             Update::set);
            const std::optional<array> global =
                mode == Mode::nvfp4 && groups > 2 ? std::optional(array(7.0f)) : std::nullopt;
            const Quantized q = quantize(x, group, bits, mode, global);
            check(q.w);
            for (const Dtype to : {float32, float16, bfloat16})
              check(dequantize(q.w, q.scales, q.biases, group, bits, mode, global, to));
            Shape shape{9, groups};
            if (affine) shape.insert(shape.begin(), 2);
            SmallVector<array, 2> inputs{x};
            if (global) inputs.push_back(*global);
            check(array(make_ref<const QuantizeScales>(QuantizedFormat{mode, bits, group}), shape,
                        affine ? float32 : uint8, inputs, x.stream()));
          }
}
