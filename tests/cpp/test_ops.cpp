// The operations' shapes, dtypes and errors, none of which needs an evaluation, and values that
// compositions must get right.
#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "cermet/eval.h"
#include "cermet/fast.h"
#include "cermet/ops.h"
#include "cermet/random.h"

namespace {

using namespace cermet;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr Dtype kDtypes[] = {Dtype::bool_, uint8, uint16,  uint32,   uint64,  int8,    int16,
                             int32,        int64, float16, bfloat16, float32, float64, complex64};

array iota(const Shape& shape, Dtype dtype = float32) {
  return reshape(arange(0, static_cast<double>(element_count(shape)), 1, dtype), shape);
}

array floats(const std::vector<float>& values) {
  return array(values, {static_cast<std::int64_t>(values.size())});
}

// What `f` complains of, or "" when it does not throw E.
template <class E = std::invalid_argument>
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

void check_values(const array& a, const std::vector<double>& expected, double tolerance = 0) {
  const std::vector<double> got = a.to_vector<double>();
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    if (std::isnan(expected[i]))
      CHECK(std::isnan(got[i]));
    else if (tolerance == 0 || std::isinf(expected[i]))
      CHECK(got[i] == expected[i]);
    else
      CHECK(std::abs(got[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i])));
  }
}

}  // namespace

TEST_CASE("an operation that changes nothing returns its input") {
  const array a = iota({2, 3});
  CHECK(reshape(a, {2, -1}).is_same(a));
  CHECK(transpose(a, {0, 1}).is_same(a));
  CHECK(broadcast_to(a, {2, 3}).is_same(a));
  CHECK(slice(a, {0, 0}, {2, 3}).is_same(a));
  CHECK(astype(a, float32).is_same(a));
  CHECK(concatenate({a}).is_same(a));
  CHECK(squeeze(a).is_same(a));
  CHECK(pad(a, {{0, 0}}).is_same(a));
  CHECK(view(a, float32).is_same(a));
}

TEST_CASE("shapes") {
  const array a = iota({2, 3, 4}), matrix = iota({3, 4});
  const array indices = zeros({5, 6}, int32);
  const std::pair<array, Shape> cases[] = {
      {reshape(a, {4, -1}), {4, 6}},
      {reshape(zeros({0, 3}), {-1}), {0}},
      {flatten(a, 1), {2, 12}},
      {flatten(array(1)), {1}},
      {unflatten(a, -1, {2, -1}), {2, 3, 2, 2}},
      {expand_dims(a, {0, -1}), {1, 2, 3, 4, 1}},
      {squeeze(zeros({1, 2, 1}), {-1}), {1, 2}},
      {transpose(a), {4, 3, 2}},
      {moveaxis(a, 0, -1), {3, 4, 2}},
      {swapaxes(a, 0, 2), {4, 3, 2}},
      {flip(a), {2, 3, 4}},
      {concatenate({a, a}, 1), {2, 6, 4}},
      {stack({a, a}, -1), {2, 3, 4, 2}},
      {split(a, 2, 2)[1], {2, 3, 2}},
      {split(a, Shape{1, -1}, 1)[1], {2, 1, 4}},
      {repeat(a, 2, 1), {2, 6, 4}},
      {repeat(a, 2), {48}},
      {tile(matrix, {2, 1, 3}), {2, 3, 12}},
      {pad(matrix, {{1, 2}, {0, 3}}), {6, 7}},
      {atleast_nd(array({1, 2}), 3), {1, 2, 1}},
      {diag(array({1, 2}), -1), {3, 3}},
      {diagonal(a, 1), {4, 2}},
      {diagonal(matrix, 9), {0}},
      {slice(a, Shape{1, 2, 3}, Shape{-1, -1, -1}, Shape{-1, -1, -1}), {2, 3, 4}},
      {gather(a, {indices}, {1}), {5, 6, 2, 4}},
      {take(a, indices, 1), {2, 5, 6, 4}},
      {take(a, array(1), 1), {2, 4}},
      {take_along_axis(matrix, zeros({1, 2}, int32), 1), {3, 2}},
      {sum(a, Axes{0, -1}), {3}},
      {sum(a, Axes{0, -1}, true), {1, 3, 1}},
      {sum(a), {}},
      {max(zeros({0, 3}), Axes{1}), {0}},
      {argmax(a, 1), {2, 4}},
      {argmax(a, {}, true), {1, 1, 1}},
      {median(a, Axes{0, 2}, true), {1, 3, 1}},
      {topk(a, 2), {2, 3, 2}},
      {diff(a, 5), {2, 3, 0}},
      {matmul(iota({4}), iota({2, 4, 5})), {2, 5}},
      {matmul(iota({2, 3, 4}), iota({4})), {2, 3}},
      {matmul(iota({7, 1, 2, 3}), iota({5, 3, 4})), {7, 5, 2, 4}},
      {matmul(iota({4}), iota({4})), {}},
      {matmul(zeros({2, 0}), zeros({0, 3})), {2, 3}},
      {tensordot(a, iota({3, 2, 5}), {0, 1}, {1, 0}), {4, 5}},
      {inner(matrix, iota({2, 4})), {3, 2}},
      {kron(matrix, iota({2})), {3, 8}},
      {einsum("b...i,bij->...bj", {iota({2, 3, 4}), iota({2, 4, 5})}), {3, 2, 5}},
      {linspace(0, 1, 0), {0}},
      {eye(2, 3), {2, 3}},
      {meshgrid({iota({2}), iota({3})})[0], {3, 2}},
      {meshgrid({iota({2}), iota({3})}, true, "ij")[1], {1, 3}},
      {random::categorical(a, 1), {2, 4}},
      {random::categorical(a, -1, 7), {2, 3, 7}},
      {fast::cross_entropy(a, zeros({2, 3}, int32)), {2, 3}},
      {fast::rope(iota({2, 5, 3, 8}), 6, false, 1e4, 1, array({1, 2})), {2, 5, 3, 8}},
      {fast::scaled_dot_product_attention(iota({1, 4, 2, 8}), iota({1, 2, 3, 8}),
                                          iota({1, 2, 3, 5}), 1, {}, true),
       {1, 4, 2, 5}},
  };
  for (const auto& [got, expected] : cases) {
    CAPTURE(to_string(expected));
    CHECK(to_string(got.shape()) == to_string(expected));
  }
}

TEST_CASE("dtypes of results") {
  for (const Dtype t : kDtypes) {
    CAPTURE(name_of(t));
    const array a = ones({4}, t);
    const bool small = !is_inexact(t) && size_of(t) < 4;
    const Dtype total = small ? (is_unsigned(t) ? uint32 : int32) : t;
    CHECK(sum(a).dtype() == total);
    CHECK(prod(a).dtype() == total);
    CHECK(max(a).dtype() == t);
    CHECK(all(a).dtype() == Dtype::bool_);
    CHECK(mean(a).dtype() == to_inexact(t));
    CHECK(median(a).dtype() == to_inexact(t));
    CHECK(var(a).dtype() == (is_complex(t) ? float32 : to_inexact(t)));
    CHECK(softmax(a).dtype() == to_inexact(t));
    CHECK(logsumexp(a).dtype() == to_inexact(t));
    CHECK(cumsum(a, 0).dtype() == (t == Dtype::bool_ ? int32 : t));
    CHECK(cumprod(a, 0).dtype() == t);
    CHECK(argsort(a).dtype() == uint32);
    CHECK(sort(a).dtype() == t);
    CHECK(diff(a).dtype() == t);
    CHECK(degrees(a).dtype() == to_inexact(t));
    CHECK(round(a, 1).dtype() == t);
    CHECK(nan_to_num(a).dtype() == t);
    CHECK(count_nonzero(a).dtype() == int32);
    CHECK(searchsorted(a, a).dtype() == uint32);
    CHECK(isposinf(a).dtype() == Dtype::bool_);
  }
  CHECK(concatenate({array({1, 2}), floats({1.5f})}).dtype() == float32);
  CHECK(cumsum(ones({2}, int8), 0, false, true, float16).dtype() == float16);
  CHECK(matmul(ones({2, 2}, int32), ones({2, 2}, float16)).dtype() == float16);
  CHECK(fast::rms_norm(ones({2}, bfloat16), ones({2}), 1e-5).dtype() == float32);
  CHECK(fast::cross_entropy(ones({2, 3}, bfloat16), zeros({2}, int32)).dtype() == float32);
}

TEST_CASE("errors name the operation and what came") {
  const array a = iota({2, 3});
  const auto k = random::key(0);
  const std::pair<std::function<void()>, std::string> cases[] = {
      {[&] { reshape(a, {4, 2}); },
       "reshape: cannot make (2, 3) into (4, 2): 6 elements against 8"},
      {[&] { reshape(a, {-1, -1}); }, "reshape: shape (-1, -1)"},
      {[&] { reshape(zeros({0, 3}), {0, -1}); }, "reshape: cannot make (0, 3)"},
      {[&] { unflatten(a, 1, {2, 2}); }, "unflatten: cannot make (3,)"},
      {[&] { squeeze(a, {0}); }, "squeeze: axis 0 of (2, 3) has extent 2"},
      {[&] { expand_dims(a, {0, 0}); }, "expand_dims: axes (0, 0)"},
      {[&] { transpose(a, {0, 0}); }, "transpose: axes (0, 0)"},
      {[&] { transpose(a, {0}); }, "transpose: axes (0,)"},
      {[&] { concatenate({}); }, "concatenate: there are no arrays"},
      {[&] { concatenate({a, iota({3, 2})}); }, "concatenate: shapes (2, 3) and (3, 2)"},
      {[&] { stack({a, iota({2})}); }, "stack: shapes (2, 3) and (2,)"},
      {[&] { split(a, 2, 1); }, "split: an axis of extent 3"},
      {[&] { repeat(a, -1); }, "repeat: the count is -1"},
      {[&] { pad(a, {{-1, 0}}); }, "pad: the widths of axis 0 are -1 and 0"},
      {[&] { pad(a, {{1, 1}}, array(0), "wrap"); }, "pad: the mode is \"wrap\""},
      {[&] { broadcast_to(a, {2, 4}); }, "broadcast_to: shape (2, 3)"},
      {[&] { as_strided(a, {2}, {6}); }, "as_strided: shape (2,)"},
      {[&] { full({-1}, array(1)); }, "full: shape (-1,)"},
      {[&] { arange(0, 1, 0, int32); }, "arange: the step is zero"},
      {[&] { arange(0, kInf, 1, float32); }, "arange: cannot count"},
      {[&] { linspace(0, 1, -1); }, "linspace: the number of samples is -1"},
      {[&] { tril(iota({2})); }, "tril: expected at least 2 dimensions"},
      {[&] { meshgrid({a}, false, "x"); }, "meshgrid: indexing is \"x\""},
      {[&] { view(ones({3}, uint8), int16); }, "view: the last axis of (3,) uint8 holds 3 bytes"},
      {[&] { clip(a, {}, {}); }, "clip: neither"},
      {[&] { slice(a, {0, 0}, {2, 4}); }, "slice: elements 0 to 3 of axis 1"},
      {[&] { slice(a, Shape{0, 0}, Shape{2, 3}, Shape{1, 0}); },
       "slice: the step of axis 1 is zero"},
      {[&] { take(a, array(1.0f), 0); }, "gather: indices are float32"},
      {[&] { nonzero(array(1)); }, "nonzero: expected at least one axis"},
      {[&] { take_along_axis(a, array({0}), 1); }, "take_along_axis: shapes"},
      {[&] { take_along_axis(a, zeros({9, 3}, int32), 1); },
       "take_along_axis: shapes (2, 3) and (9, 3) differ off axis 1"},
      {[&] { take_along_axis(iota({4, 3}), zeros({2, 3}, int32), 1); }, "take_along_axis: shapes"},
      {[&] { put_along_axis(a, zeros({9, 3}, int32), array(1), 1); }, "put_along_axis: shapes"},
      {[&] { max(zeros({0, 3}), Axes{0}); }, "max: axis 0 of (0, 3) is empty"},
      {[&] { argmax(zeros({0})); }, "argmax: axis 0 of (0,) is empty"},
      {[&] { median(zeros({0})); }, "median: axes (0,) of (0,)"},
      {[&] { sum(a, Axes{0, -2}); }, "sum: axes (0, -2)"},
      {[&] { topk(a, 4); }, "topk: k is 4, expected 0 to 3"},
      {[&] { partition(a, 3); }, "partition: position 3"},
      {[&] { searchsorted(a, a); }, "searchsorted: the sorted sequence has shape (2, 3)"},
      {[&] { diff(a, -1); }, "diff: the order is -1"},
      {[&] { matmul(a, a); },
       "matmul: shapes (2, 3) and (2, 3) do not fit: 3 columns against 2 rows"},
      {[&] { matmul(array(1.0f), a); }, "matmul: shapes () and (2, 3)"},
      {[&] { matmul(ones({2, 2}, int32), ones({2, 2}, int32)); }, "matmul: int32 is not supported"},
      {[&] { matmul(iota({2, 1, 1}), iota({3, 1, 1})); }, "matmul: the batch axes"},
      {[&] { addmm(iota({5}), a, iota({3, 2})); }, "addmm: c of shape (5,)"},
      {[&] { tensordot(a, a, 1); }, "tensordot: axis 1 of (2, 3)"},
      {[&] { einsum("ij,jk", {a}); }, "einsum: \"ij,jk\": 2 terms for 1 operands"},
      {[&] { einsum("ijk", {a}); }, "einsum: \"ijk\": \"ijk\" labels 3 axes"},
      {[&] { einsum("ij->k", {a}); }, "einsum: \"ij->k\": the output names a label"},
      {[&] { einsum("i?", {a}); }, "einsum: \"i?\": unexpected '?'"},
      {[&] { einsum("\u2603->i", {a}); }, "einsum: \"\u2603->i\": unexpected '\u2603'"},
      {[&] { einsum("ij,kj", {a, iota({2, 4})}); }, "einsum: \"ij,kj\": an axis of operand 1"},
      {[&] { quantize(iota({2, 64}), 16, 4); }, "quantize: group_size is 16"},
      {[&] { quantize(iota({2, 64}), 64, 7); }, "quantize: bits is 7"},
      {[&] { quantize(iota({2, 65})); }, "quantize: the last axis of (2, 65)"},
      {[&] { dequantize(ones({2, 8}, uint32), iota({2, 2}), iota({2, 2})); }, "dequantize: packed"},
      {[&] { random::uniform(Shape{2}, int32); }, "uniform: int32 is not supported"},
      {[&] { random::randint(array(0), array(2), {2}, float32); }, "randint: float32"},
      {[&] { random::normal({2}, float32, {}, {}, array({1, 2})); }, "random: the key is int32"},
      {[&] { random::bernoulli(array(1)); }, "bernoulli: int32 is not supported"},
      {[&] { random::uniform(array(0), iota({2}), {3}, float32, k); }, "uniform: parameters"},
      {[&] { fast::rms_norm(a, iota({2}), 1e-5); }, "rms_norm: weight has shape (2,)"},
      {[&] { fast::rope(iota({1, 2, 4}), 3, false, 1e4, 1, array(0)); }, "rope: dims is 3"},
      {[&] { fast::cross_entropy(a, iota({2})); }, "cross_entropy: targets are float32"},
      {[&] {
         fast::scaled_dot_product_attention(iota({1, 3, 2, 8}), iota({1, 2, 3, 8}),
                                            iota({1, 2, 3, 8}), 1);
       },
       "scaled_dot_product_attention: queries (1, 3, 2, 8)"},
  };
  for (const auto& [call, expected] : cases) {
    const std::string got = error_of(call);
    INFO("got: ", got, "; expected: ", expected);
    CHECK(contains(got, expected));
  }
}

TEST_CASE("sizes and places of more than 63 bits are refused by the operation") {
  constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();
  const array a = iota({2, 3});
  const std::pair<std::function<void()>, std::string> calls[] = {
      {[&] { as_strided(a, {5}, {kFar}); }, "as_strided: a size or place"},
      {[&] { slice(a, {-kFar, 0}, {kFar, 3}); }, "slice: a size or place"},
      {[&] { slice(a, Shape{kFar, 0}, Shape{-kFar, 3}, Shape{-1, 1}); }, "slice: a size or place"},
      {[&] { zeros({kFar, 0, 4}); }, "broadcast_to: shape (9223372036854775807, 0, 4) has more"},
      {[&] { reshape(zeros({0}), {0, kFar, 2}); }, "reshape: shape (0, 9223372036854775807, 2)"},
      {[&] { repeat(a, kFar, 1); }, "repeat: a size or place"},
      {[&] { tile(a, {2, kFar}); }, "tile: a size or place"},
      {[&] { pad(a, {{kFar, kFar}}); }, "pad: a size or place"},
      {[&] { random::bits({kFar, 2}); }, "random: shape (9223372036854775807, 2)"},
  };
  for (const auto& [call, message] : calls) {
    const std::string said = error_of<std::length_error>(call);
    INFO(said);
    CHECK(contains(said, message));
  }
  CHECK(slice(a, Shape{1, 0}, Shape{kFar, 3}, Shape{kFar, 1}).shape() == Shape{1, 3});
}

TEST_CASE("axes out of range raise AxisError, impossible indices IndexError") {
  const array a = iota({2, 3});
  CHECK(error_of<AxisError>([&] { sum(a, Axes{2}); }) ==
        "sum: axis 2 is out of range for 2 dimensions");
  CHECK(error_of<AxisError>([&] { sort(array(1)); }) ==
        "sort: axis -1 is out of range for 0 dimensions");
  CHECK(
      contains(error_of<IndexError>([&] { eval({take(zeros({0, 3}), array(0), 0)}); }), "index 0"));
}

TEST_CASE("creation") {
  check_values(arange(0, 1, 0.3, float32), {0, 0.3f, 0.6f, 0.9f}, 1e-6);
  check_values(arange(5, 0, -2, int32), {5, 3, 1});
  check_values(linspace(0, 10, 4, true, int32), {0, 3, 6, 10});
  CHECK(linspace(-3.3, 17.1, 11).to_vector<float>().back() == 17.1f);
  check_values(eye(2, 3, 1), {0, 1, 0, 0, 0, 1});
  check_values(tril(iota({2, 2}), 0), {0, 0, 2, 3});
  check_values(triu(iota({2, 2}), 1), {0, 1, 0, 0});
  check_values(meshgrid({array({1, 2}), array({3, 4, 5})})[1], {3, 3, 4, 4, 5, 5});
}

TEST_CASE("rounding and closeness") {
  check_values(round(array({5, 15, 25, -15, 123}), -1), {0, 20, 20, -20, 120});
  const std::vector<std::uint8_t> bytes{5, 15, 25, 250};
  check_values(round(array(bytes, {4}), -1), {0, 20, 20, 250});
  check_values(round(floats({1.25f, 2.35f}), 1), {1.2f, 2.4f}, 1e-6);
  check_values(
      isclose(floats({1, kInf, kInf, NAN}), floats({1, kInf, -kInf, NAN}), 1e-5, 1e-8, true),
      {1, 1, 0, 1});
  check_values(nan_to_num(floats({kInf, -kInf, NAN, 1}), 7),
               {3.4028234663852886e38, -3.4028234663852886e38, 7, 1});
  CHECK(!array_equal(array({1, 2}), array({1, 2, 3})).item<bool>());
}

TEST_CASE("layout") {
  const array a = iota({2, 3});
  check_values(flip(a, {1}), {2, 1, 0, 5, 4, 3});
  check_values(roll(a, {1, 2}, {0, 1}), {4, 5, 3, 1, 2, 0});
  check_values(tile(array({1, 2}), {2, 2}), {1, 2, 1, 2, 1, 2, 1, 2});
  check_values(repeat(array({1, 2}), 2), {1, 1, 2, 2});
  const array v = array({1, 2, 3});
  check_values(pad(v, {{2, 1}}, array(9)), {9, 9, 1, 2, 3, 9});
  check_values(pad(v, {{2, 4}}, array(0), "edge"), {1, 1, 1, 2, 3, 3, 3, 3, 3});
  check_values(pad(v, {{2, 4}}, array(0), "reflect"), {3, 2, 1, 2, 3, 2, 1, 2, 3});
  check_values(pad(v, {{2, 4}}, array(0), "symmetric"), {2, 1, 1, 2, 3, 3, 2, 1, 1});
  check_values(diagonal(iota({2, 2, 3}), -1, 1, 2), {3, 9});
  check_values(diag(array({1, 2}), -1), {0, 0, 0, 1, 0, 0, 0, 2, 0});
  check_values(trace(iota({2, 2}, uint8)), {3});
}

TEST_CASE("indexing") {
  const array a = iota({3, 4});
  check_values(slice(a, Shape{2, 3}, Shape{-1, -1}, Shape{-2, -2}), {11, 9, 3, 1});
  check_values(slice(a, array({1}), {1}, {2, 2}), {1, 2, 5, 6});
  check_values(slice_update(a, array(7.0f), {0, 1}, {3, 2}, {1, 1}, Update::add),
               {0, 8, 2, 3, 4, 12, 6, 7, 8, 16, 10, 11});
  check_values(slice_update(a, reshape(array({7, 8}), {2, 1}), array({1}), {1}),
               {0, 7, 2, 3, 4, 8, 6, 7, 8, 9, 10, 11});
  check_values(take(a, reshape(array({0, -1}), {1, 2}), 1), {0, 3, 4, 7, 8, 11});
  check_values(gather(a, {array({1, 2}), array({0})}, {1, 0}), {1, 2});
  check_values(take_along_axis(a, reshape(array({0, 1, -1}), {3, 1}), 1), {0, 5, 11});
  check_values(put_along_axis(a, reshape(array({0, 1, 2}), {3, 1}), array(99), 1),
               {99, 1, 2, 3, 4, 99, 6, 7, 8, 9, 99, 11});
  check_values(scatter(zeros({3}), {array({0, 0, 2})}, ones({3}), {0}, Update::add), {2, 0, 1});
  const Arrays places = nonzero(equal(remainder(a, array(5)), array(0)));
  REQUIRE(places.size() == 2);
  check_values(places[0], {0, 1, 2});
  check_values(places[1], {0, 1, 2});
}

TEST_CASE("reductions") {
  const array a = iota({2, 3});
  check_values(sum(a, Axes{0}), {3, 5, 7});
  check_values(sum(zeros({0, 2}), Axes{0}), {0, 0});
  check_values(prod(zeros({0})), {1});
  check_values(mean(zeros({0})), {NAN});
  check_values(mean(full({3}, array(60000.0, float16))), {60000});
  check_values(var(a, Axes{1}), {2.0 / 3, 2.0 / 3}, 1e-6);
  check_values(var(a, Axes{1}, false, 3), {kInf, kInf});
  check_values(median(array({4, 1, 3, 2})), {2.5});
  check_values(median(floats({1, NAN, 3})), {NAN});
  check_values(argmax(floats({1, NAN, 3})), {1});
  check_values(logsumexp(floats({-kInf, -kInf})), {-kInf});
  check_values(logsumexp(floats({kInf, 1})), {kInf});
  check_values(logsumexp(array({1000, 1000})), {1000 + std::log(2.0)}, 1e-6);
  check_values(softmax(array({1000, 1000})), {0.5, 0.5});
  check_values(softmax(floats({NAN, 1})), {NAN, NAN});
  check_values(diff(array({1, 4, 9}), 2), {2});
  check_values(cumsum(array({1, 2, 3}), 0, true, false), {5, 3, 0});
}

TEST_CASE("search") {
  const array sorted = floats({1, 2, 2, 3, NAN});
  const array values = floats({0, 2, 2.5f, 5, NAN});
  check_values(searchsorted(sorted, values), {0, 1, 3, 4, 4});
  check_values(searchsorted(sorted, values, true), {0, 3, 3, 4, 5});
  check_values(searchsorted(zeros({0}), values), {0, 0, 0, 0, 0});
  check_values(sort(topk(array({3, 1, 2, 5}), 2)), {3, 5});
}

TEST_CASE("products") {
  const array a = iota({2, 3}), b = iota({3, 2});
  check_values(matmul(a, b), {10, 13, 28, 40});
  check_values(matmul(zeros({2, 0}), zeros({0, 1})), {0, 0});
  check_values(addmm(array({1, 2}), a, b, 2, 3), {23, 32, 59, 86});
  check_values(einsum("ij,jk->ki", {a, b}), {10, 28, 13, 40});
  check_values(einsum("ij,jk,k->i", {a, b, floats({1.0f, -1.0f})}), {-3, -12});
  check_values(einsum("ii", {iota({2, 2})}), {3});
  check_values(einsum("...i,...i->...", {a, floats({1.0f, 1.0f, 1.0f})}), {3, 12});
  check_values(einsum("i,i->", {array({1, 2}), array({3, 4})}), {11});
  check_values(vecdot(a, a), {5, 50});
  check_values(kron(array({1, 2}), reshape(array({1, 2, 3, 4}), {2, 2})), {1, 2, 2, 4, 3, 4, 6, 8});
  check_values(tensordot(a, b, {0, 1}, {1, 0}), {sum(multiply(a, transpose(b))).item<double>()});
}

TEST_CASE("quantization is exact for representable values") {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    CAPTURE(bits);
    // Steps of 1/2 from a whole number of them below zero; every group reaches both ends.
    const int levels = 1 << bits;
    const array place = remainder(arange(512), array(64));
    const array q =
        select(equal(place, array(63)), array(levels - 1), minimum(place, array(levels - 1)));
    const array w = reshape((q - (levels - 2)) * 0.5, {2, 256});
    const auto [packed, scales, biases] = quantize(w, 64, bits);
    CHECK(packed.shape() == Shape{2, 8 * bits});
    CHECK(array_equal(scales, full({2, 4}, array(0.5))).item<bool>());
    CHECK(array_equal(dequantize(packed, scales, biases, 64, bits), w).item<bool>());
  }
}

TEST_CASE("random numbers follow from their key") {
  const array k = random::key((std::uint64_t{1} << 40) + 5);
  check_values(k, {256, 5});
  const array a = random::uniform(Shape{100}, float32, k),
              b = random::uniform(Shape{100}, float32, k);
  CHECK(array_equal(a, b).item<bool>());
  // Threefry-2x32-20 of counter (0, 0) under a zero key (Salmon et al. 2011).
  check_values(random::bits({1}, 4, random::key(0)), {0x6b200159});
  check_values(random::split(random::key(7)), {966301609, 989289821, 1948237315, 1058547403});
  random::seed(3);
  const array first = random::normal({4});
  random::seed(3);
  CHECK(array_equal(first, random::normal({4})).item<bool>());
  CHECK(!array_equal(first, random::normal({4})).item<bool>());
}

TEST_CASE("distributions keep to their range") {
  const array k = random::key(1);
  for (const Dtype t : {float16, bfloat16, float32, float64}) {
    CAPTURE(name_of(t));
    const array unit = random::uniform(Shape{100000}, t, k);
    CHECK(max(unit).item<double>() < 1);
    CHECK(min(unit).item<double>() >= 0);
    CHECK(mean(astype(unit, float32)).item<double>() == doctest::Approx(0.5).epsilon(0.02));
    const array narrow = random::uniform(array(1000), array(1016), {10000}, t, k);
    CHECK(max(narrow).item<double>() < 1016);
    CHECK(min(narrow).item<double>() >= 1000);
    const array x = astype(random::normal({100000}, t, {}, {}, k), float32);
    CHECK(std::abs(mean(x).item<double>()) < 0.02);
    CHECK(var(x).item<double>() == doctest::Approx(1).epsilon(0.02));
  }
  const array die = random::randint(array(-5), array(17), {100000}, int32, k);
  CHECK(min(die).item<int>() == -5);
  CHECK(max(die).item<int>() == 16);
  const array clipped = random::truncated_normal(array(-0.5), array(1.5), Shape{1000}, float32, k);
  CHECK(min(clipped).item<float>() >= -0.5f);
  CHECK(max(clipped).item<float>() <= 1.5f);
  check_values(sort(random::permutation(9, k)), {0, 1, 2, 3, 4, 5, 6, 7, 8});
  check_values(random::categorical(floats({-kInf, 0, -kInf}), -1, 5, k), {1, 1, 1, 1, 1});
}

TEST_CASE("attention with shared heads equals attention with repeated ones") {
  const array q = random::normal({2, 4, 3, 8}, float32, {}, {}, random::key(1));
  const array keys = random::normal({2, 2, 5, 8}, float32, {}, {}, random::key(2));
  const array values = random::normal({2, 2, 5, 6}, float32, {}, {}, random::key(3));
  const array shared = fast::scaled_dot_product_attention(q, keys, values, 0.3, {}, true);
  const array row = expand_dims(arange(2, 5, 1, int32), {1});
  const array mask = greater_equal(row, arange(5));
  const array scores =
      select(mask, matmul(q * 0.3, swapaxes(repeat(keys, 2, 1), -1, -2)), array(-kInf));
  const array expected = matmul(softmax(scores, Axes{-1}), repeat(values, 2, 1));
  CHECK(allclose(shared, expected, 1e-5, 1e-6).item<bool>());
}

TEST_CASE("normalization, rotation and cross-entropy") {
  check_values(fast::rms_norm(floats({1.0f, 2.0f}), floats({1.0f, 2.0f}), 1e-5),
               {0.6324542760848999, 2.5298171043395996}, 1e-6);
  check_values(fast::layer_norm(floats({1.0f, 2.0f}), {}, floats({1.0f, 2.0f}), 1e-5),
               {1 - 0.99998, 2.99998}, 1e-6);
  check_values(fast::cross_entropy(reshape(floats({1.0f, 2.0f}), {1, 2}), array({1})),
               {std::log1p(std::exp(-1.0))}, 1e-6);
  const double c = std::cos(0.5), s = std::sin(0.5);
  const array pair = fast::rope(ones({1, 1, 4}), 2, true, 1e4, 0.5, array(1));
  check_values(pair, {c - s, s + c, 1, 1}, 1e-6);
  const array halves =
      fast::rope(ones({2, 1, 4}), 4, false, {}, 0.5, array({1, 2}), floats({1.0f, 2.0f}));
  check_values(slice(halves, {0, 0, 0}, {1, 1, 4}),
               {c - s, std::cos(0.25) - std::sin(0.25), c + s, std::cos(0.25) + std::sin(0.25)},
               1e-6);
}
