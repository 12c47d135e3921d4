// Exported functions: every primitive there and back with the same bits, shapes that differ, rules
// of their own, and files that are not what they seem.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "cermet/cermet.h"
#include "export/primitives.h"
#include "folder.h"
#include "transforms/custom.h"
#include "transforms/recording.h"

using namespace cermet;
namespace fs = std::filesystem;

namespace {

// A nan is as good as another.
std::string bytes_of(const array& a) {
  const array rows =
      contiguous(is_inexact(a.dtype()) ? where(isnan(a), array(NAN, a.dtype()), a) : a);
  rows.eval();
  const std::string head = std::string(name_of(a.dtype())) + to_string(a.shape());
  return head + std::string(static_cast<const char*>(rows.raw_data()), rows.nbytes());
}

array drawn(const Shape& shape, std::uint64_t seed = 1, Dtype dtype = float32) {
  return astype(random::normal(shape, float32, {}, {}, random::key(seed)), dtype);
}
array counted(const Shape& shape, Dtype dtype, std::int64_t below = 1 << 30) {
  const array flat = arange(0, element_count(shape), 1, int64);
  return astype(reshape(remainder(flat, array(below)), shape), dtype);
}

NamedFunction positional(const Function& fun) {
  return [fun](const Arrays& args, const ArrayMap&) { return fun(args); };
}
std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
ImportedFunction imported(const std::string& bytes) {
  return import_function(in_memory(std::as_bytes(std::span(bytes)), "memory"));
}

// The gradients of the sum of a function's first output, and the outputs: products' derivatives
// are primitives of their own.
Function with_gradients(const Function& fun, std::vector<int> by) {
  return [=](const Arrays& in) {
    const auto summed = [&](const Arrays& a) {
      Arrays out = fun(a);
      out[0] = sum(out[0] * out[0]);
      return out;
    };
    auto [outputs, gradients] = value_and_grad(Function(summed), by)(in);
    outputs.insert(outputs.end(), gradients.begin(), gradients.end());
    return outputs;
  };
}

struct Case {
  const char* name;
  Function fun;
  Arrays inputs;
  bool shapeless = false;
};

const Quantized& packed() {
  static const Quantized q = quantize(drawn({8, 64}), 32, 4);
  return q;
}

std::vector<Case> cases() {
  const array x = drawn({4, 6}), y = drawn({4, 6}, 2), i = counted({4, 6}, int32, 4);
  const array square = matmul(drawn({4, 4}), drawn({4, 4}, 3));
  const array symmetric = matmul(square, transpose(square)) + eye(4, 4);
  const array image = drawn({2, 7, 6, 4}), kernel = drawn({8, 3, 3, 4}, 5);
  const array heads = drawn({2, 4, 5, 16}), keys = drawn({2, 2, 7, 16}, 6);
  const array wide = drawn({4, 64}), nv = drawn({4, 64}, 7);
  const array global = full({}, array(3.0f));
  std::vector<Case> all;
  for (int op = 0; op < kOpCount; ++op) {
    const Op o = static_cast<Op>(op);
    if (o == Op::cast) continue;
    const auto arity = static_cast<std::size_t>(info(o).arity);
    Arrays in(arity, info(o).rule == Rule::bitwise ? i : x);
    if (arity > 1) in.back() = info(o).rule == Rule::bitwise ? i : y;
    all.push_back(
        {info(o).name.data(), [o](const Arrays& a) { return Arrays{elementwise(o, a)}; }, in});
  }
  const auto one = [&](const char* name, std::function<array(const Arrays&)> f, Arrays in,
                       bool shapeless = false) {
    all.push_back({name, [f](const Arrays& a) { return Arrays{f(a)}; }, std::move(in), shapeless});
  };
  for (const Dtype t : {Dtype::bool_, uint8, int64, float16, bfloat16, float64, complex64})
    one("astype", [t](const Arrays& a) { return astype(a[0], t); }, {x});
  for (const ReduceOp op :
       {ReduceOp::sum, ReduceOp::prod, ReduceOp::min, ReduceOp::max, ReduceOp::all, ReduceOp::any})
    one("reduce", [op](const Arrays& a) { return reduce(op, a[0], {1}); }, {x});
  one("broadcast", [](const Arrays& a) { return broadcast_to(a[0], {3, 4, 6}); }, {x});
  one("reshape", [](const Arrays& a) { return reshape(a[0], {2, -1}); }, {x});
  one("flatten", [](const Arrays& a) { return flatten(expand_dims(a[0], {1}), 1, 2); }, {x});
  one("transpose", [](const Arrays& a) { return transpose(a[0]); }, {x});
  one("slice", [](const Arrays& a) { return slice(a[0], Shape{3, 1}, Shape{-1, 6}, Shape{-2, 3}); },
      {x});
  one("slice of nothing", [](const Arrays& a) { return slice(a[0], Shape{2, 0}, Shape{2, 6}); },
      {x});
  one("strided", [](const Arrays& a) { return as_strided(a[0], {3, 2}, {2, -1}, 5); }, {x});
  one("view", [](const Arrays& a) { return view(a[0], uint8); }, {x});
  one("identity", [](const Arrays& a) { return stop_gradient(depends({a[0]}, {a[1]})[0]); },
      {x, y});
  one("contiguous", [](const Arrays& a) { return contiguous(transpose(a[0]), true); }, {x});
  one("concatenate", [](const Arrays& a) { return concatenate(a, 1); }, {x, y});
  one("gather", [](const Arrays& a) { return take(a[0], a[1], 0); }, {x, i});
  one("gather two", [](const Arrays& a) { return gather(a[0], {a[1], a[1]}, {0, 1}); }, {x, i});
  for (const Update u : {Update::set, Update::add, Update::multiply, Update::minimum}) {
    one("scatter",
        [u](const Arrays& a) {
          return scatter(a[0], {slice(a[2], Shape{0, 0}, Shape{1, 1})},
                         slice(a[1], Shape{0, 0}, Shape{1, 6}), {0}, u);
        },
        {x, y, i});
    one("update",
        [u](const Arrays& a) {
          return slice_update(a[0], slice(a[1], Shape{0, 0}, Shape{2, 2}), {1, 5}, {4, 1}, {2, -2},
                              u);
        },
        {x, y});
  }
  for (const bool max : {false, true})
    one("arg_reduce", [max](const Arrays& a) { return max ? argmax(a[0], 1) : argmin(a[0]); }, {x});
  for (const ScanOp op : {ScanOp::sum, ScanOp::prod, ScanOp::min, ScanOp::max, ScanOp::logaddexp})
    one("scan",
        [op](const Arrays& a) { return scan(op, a[0], 1, op == ScanOp::min, op != ScanOp::max); },
        {x});
  one("sort", [](const Arrays& a) { return sort(a[0], 0); }, {x});
  one("argsort", [](const Arrays& a) { return argsort(a[0], 1); }, {x});
  one("partition", [](const Arrays& a) { return partition(a[0], 2, 1); }, {x});
  one("argpartition", [](const Arrays& a) { return argpartition(a[0], 2, 1); }, {x});
  one("random", [](const Arrays& a) { return random::normal({3, 5}, float32, {}, {}, a[0]); },
      {random::key(5)});
  one("bits", [](const Arrays& a) { return random::bits({3, 5}, 1, a[0]); }, {random::key(5)});
  one("mean", [](const Arrays& a) { return var(a[0], {1}, false, 1); }, {x}, true);
  one("zeros_like", [](const Arrays& a) { return full_like(a[0], array(3)); }, {x}, true);
  all.push_back(
      {"gradient",
       with_gradients([](const Arrays& a) { return Arrays{mean(a[0] * a[1], {0})}; }, {0, 1}),
       {x, y},
       true});
  one("searchsorted", [](const Arrays& a) { return searchsorted(sort(flatten(a[0])), a[1]); },
      {x, y});
  one("take_along_axis", [](const Arrays& a) { return take_along_axis(a[0], argsort(a[0], 1), 1); },
      {x});
  const auto graded = [&](const char* name, std::function<array(const Arrays&)> f, Arrays in,
                          std::vector<int> by) {
    one(name, f, in);
    all.push_back({name, with_gradients([f](const Arrays& a) { return Arrays{f(a)}; }, by), in});
  };
  graded("matmul", [](const Arrays& a) { return matmul(a[0], transpose(a[1])); }, {x, y}, {0, 1});
  graded("batched", [](const Arrays& a) { return matmul(a[0], swapaxes(a[1], 1, 2)); },
         {drawn({3, 4, 5}), drawn({3, 6, 5})}, {0, 1});
  graded("addmm", [](const Arrays& a) { return addmm(a[2], a[0], transpose(a[1]), 2, 0.5); },
         {x, y, drawn({4})}, {0, 1, 2});
  const auto quantized = [](const array& a, QuantizationMode mode) {
    const Quantized q = quantize(drawn({8, 64}), {}, {}, mode);
    return quantized_matmul(a, q.w, q.scales, q.biases, true, {}, {}, mode);
  };
  for (const auto mode : {QuantizationMode::affine, QuantizationMode::mxfp4,
                          QuantizationMode::mxfp8, QuantizationMode::nvfp4})
    graded("quantized", [=](const Arrays& a) { return quantized(a[0], mode); }, {wide}, {0});
  one("quantized input",
      [](const Arrays& a) { return quantized_matmul(a[0], a[1], a[2], a[3], true, 32, 4); },
      {wide, packed().w, packed().scales, *packed().biases});
  graded("gather_mm", [](const Arrays& a) { return gather_mm(a[0], a[1], a[2], a[2]); },
         {drawn({3, 4, 5}), drawn({3, 5, 2}), counted({6}, uint32, 3)}, {0, 1});
  graded("gather_qmm",
         [](const Arrays& a) {
           return gather_qmm(a[0], reshape(packed().w, {2, 4, 8}),
                             reshape(packed().scales, {2, 4, 2}),
                             reshape(*packed().biases, {2, 4, 2}), {}, a[1], true, 32, 4);
         },
         {wide, counted({3}, uint32, 2)}, {0});
  graded("block_masked",
         [](const Arrays& a) {
           return block_masked_mm(a[0], a[1], 32, a[2] > array(0), {}, a[2] < array(1));
         },
         {drawn({64, 64}), drawn({64, 64}, 2), counted({2, 2}, int32, 2)}, {0, 1});
  graded("segmented", [](const Arrays& a) { return segmented_mm(a[0], a[1], a[2]); },
         {drawn({4, 10}), drawn({10, 3}), counted({5, 2}, uint32)}, {0, 1});
  for (const auto mode :
       {QuantizationMode::affine, QuantizationMode::mxfp8, QuantizationMode::nvfp4}) {
    all.push_back({"quantize",
                   [mode](const Arrays& a) {
                     const Quantized q = quantize(a[0], {}, {}, mode);
                     return Arrays{q.w, q.scales, q.biases ? *q.biases : q.scales,
                                   dequantize(q.w, q.scales, q.biases, {}, {}, mode, {}, float32)};
                   },
                   {wide}});
  }
  one("nvfp4",
      [](const Arrays& a) {
        const Quantized q = quantize(a[0], {}, {}, QuantizationMode::nvfp4, a[1]);
        return dequantize(q.w, q.scales, {}, {}, {}, QuantizationMode::nvfp4, a[1]);
      },
      {nv, global});
  one("qqmm",
      [](const Arrays& a) {
        return qqmm(a[0], a[1], {}, {}, {}, QuantizationMode::nvfp4, a[2], a[2]);
      },
      {wide, nv, global});
  graded("attention",
         [](const Arrays& a) {
           return fast::scaled_dot_product_attention(a[0], a[1], a[1] * 2.0f, 0.25, {}, true);
         },
         {heads, keys}, {0, 1});
  graded("masked attention",
         [](const Arrays& a) {
           return fast::scaled_dot_product_attention(a[0], a[1], a[1], 0.25, a[2], false, a[3]);
         },
         {heads, keys, drawn({5, 7}), drawn({4})}, {0, 1, 2, 3});
  one("attention of entries",
      [](const Arrays& a) {
        return vmap([&](const Arrays& in) {
          return Arrays{
              fast::scaled_dot_product_attention(in[0], a[1], a[1], 0.25, {}, true, a[2])};
        })({a[0]})[0];
      },
      {drawn({3, 2, 4, 5, 16}), keys, drawn({4})});
  graded("convolution",
         [](const Arrays& a) {
           return conv_general(a[0], a[1], {{2, 1}, {1, 0}, {0, 1}, {1, 1}, {1, 1}, 1, true});
         },
         {image, kernel}, {0, 1});
  graded("groups", [](const Arrays& a) { return conv(2, a[0], a[1], {1}, {1}, {1}, 4); },
         {image, drawn({8, 3, 3, 1})}, {0, 1});
  graded("max_pool", [](const Arrays& a) { return fast::max_pool(a[0], {2, 2}, {2, 1}, {0, 1}); },
         {image}, {0});
  all.push_back({"max_pool pushed",
                 [](const Arrays& a) {
                   return jvp(
                              [](const Arrays& in) {
                                return Arrays{fast::max_pool(in[0], {2, 2}, {2, 2}, {0, 0})};
                              },
                              {a[0]}, {a[0]})
                       .second;
                 },
                 {image}});
  one("rope", [](const Arrays& a) { return fast::rope(a[0], 8, false, 1e4, 0.5, array(3)); },
      {heads});
  one("rope of frequencies",
      [](const Arrays& a) { return fast::rope(a[0], 16, true, {}, 1, a[1], a[2]); },
      {heads, counted({2}, int32), drawn({8})});
  graded("fft", [](const Arrays& a) { return fft::irfft(fft::fft(fft::rfft(a[0])), 7); }, {x}, {0});
#ifndef CERMET_NO_BLAS
  one("pinv", [](const Arrays& a) { return linalg::pinv(a[0]); }, {x});
  all.push_back({"qr",
                 [](const Arrays& a) {
                   auto [q, r] = linalg::qr(a[0]);
                   return Arrays{q, r};
                 },
                 {x}});
  all.push_back({"svd",
                 [](const Arrays& a) {
                   auto [u, s, v] = linalg::svd(a[0]);
                   return Arrays{v, s, u, linalg::singular_values(a[0])};
                 },
                 {x}});
  all.push_back({"eigh",
                 [](const Arrays& a) {
                   auto [w, v] = linalg::eigh(a[0], true);
                   return Arrays{w, v, linalg::eigvalsh(a[0])};
                 },
                 {symmetric}});
  all.push_back({"eig",
                 [](const Arrays& a) {
                   auto [w, v] = linalg::eig(a[0]);
                   return Arrays{w, v, linalg::eigvals(a[0])};
                 },
                 {square}});
  one("cholesky", [](const Arrays& a) { return linalg::cholesky(a[0], true); }, {symmetric});
  all.push_back({"lu",
                 [](const Arrays& a) {
                   auto [p, l, u] = linalg::lu(a[0]);
                   return Arrays{p, l, u, linalg::det(a[0])};
                 },
                 {square}});
  one("tri_inv", [](const Arrays& a) { return linalg::tri_inv(a[0]); }, {square});
  one("solve", [](const Arrays& a) { return linalg::solve(a[0], a[1]); },
      {square, drawn({3, 4, 2})});
  one("solve_triangular",
      [](const Arrays& a) { return linalg::solve_triangular(a[0], a[1], true); },
      {square, drawn({4})});
#endif
  // A function of results, of constants, and of nothing.
  all.push_back(
      {"outputs", [y](const Arrays& a) { return Arrays{a[0], y, a[0], array(2), exp(y)}; }, {x}});
  all.push_back({"nothing", [](const Arrays&) { return Arrays{array(2.5), zeros({0, 3})}; }, {}});
  all.push_back(
      {"compiled", compile([](const Arrays& a) { return Arrays{tanh(a[0]) + a[0]}; }), {x}});
  all.push_back({"types",
                 [](const Arrays& a) {
                   Arrays out;
                   for (int t = 0; t < kDtypeCount; ++t) {
                     const auto dtype = static_cast<Dtype>(t);
                     out.push_back(
                         where(a[0] > array(0.0f), array(1.5, dtype), counted({4, 6}, dtype, 7)));
                     out.push_back(full({4, 6}, array(3.0, dtype)));
                   }
                   return out;
                 },
                 {x}});
  return all;
}

}  // namespace

TEST_CASE("every primitive is exported, and gives the same bits") {
  const Folder folder;
  const std::string path = folder / "f";
  std::set<std::string_view> met;
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    Results signature;
    for (const array& in : c.inputs) signature.push_back({in.shape(), in.dtype()});
    for (const auto& step : recorded("test", c.fun, signature, c.shapeless).steps)
      if (const auto* entry = exported::entry_of(*step.node.primitive())) met.insert(entry->name);
    export_function(path, positional(c.fun), c.inputs, {}, c.shapeless);
    const Arrays expected = c.fun(c.inputs), got = import_function(path)(c.inputs);
    REQUIRE(got.size() == expected.size());
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(bytes_of(got[i]) == bytes_of(expected[i]));
    // What was loaded can be exported, and so on.
    const ImportedFunction loaded = import_function(path);
    const std::string again = folder / "again";
    export_function(
        again, [&](const Arrays& a, const ArrayMap&) { return loaded(a); }, c.inputs, {},
        c.shapeless);
    const Arrays twice = import_function(again)(c.inputs);
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(bytes_of(twice[i]) == bytes_of(expected[i]));
  }
  for (const exported::Entry& entry : exported::entries()) {
    CAPTURE(entry.name);
    CHECK(met.contains(entry.name));
  }
}

TEST_CASE("a function of names, of several inputs and extents") {
  const Folder folder;
  const std::string path = folder / "f";
  const array weight = drawn({6, 3});
  const NamedFunction fun = [&](const Arrays& args, const ArrayMap& kwargs) {
    const array bias = kwargs.contains("bias") ? kwargs.at("bias") : array(0.0f);
    return Arrays{softmax(matmul(args[0], weight) + bias, Axes{-1}) - mean(args[0])};
  };
  FunctionExporter exporter(path, fun, true, "{}");
  exporter({drawn({2, 6})});
  exporter({drawn({2, 6})}, {{"bias", drawn({3})}});
  CHECK_THROWS_AS(exporter({drawn({5, 6})}), std::runtime_error);
  CHECK(!fs::exists(path));
  exporter.close();
  CHECK_THROWS_AS(exporter({drawn({5, 6, 1})}), std::runtime_error);
  const ImportedFunction loaded = import_function(path);
  CHECK(loaded.metadata() == "{}");
  for (const std::int64_t rows : {2, 5, 1, 5}) {
    const array x = drawn({rows, 6}), bias = drawn({3}, 4);
    CHECK(bytes_of(loaded({x})[0]) == bytes_of(fun({x}, {})[0]));
    const array both = loaded({x}, {{"bias", bias}})[0];
    CHECK(bytes_of(both) == bytes_of(fun({x}, {{"bias", bias}})[0]));
  }
  CHECK_THROWS_AS(loaded({drawn({2, 5})}), std::invalid_argument);  // the product's own
  CHECK_THROWS_WITH_AS(loaded({array(1)}, {{"b", array(2.0f)}}),
                       doctest::Contains("has no function of\n  int32 ()\n  b: float32 ()"),
                       std::invalid_argument);
}

TEST_CASE("an exported function has derivatives and batches") {
  const Folder folder;
  const std::string path = folder / "f";
  const array x = drawn({4}), w = drawn({4, 4});
  const Function fun = [w](const Arrays& a) { return Arrays{sum(tanh(matmul(w, a[0])))}; };
  export_function(path, positional(fun), {x});
  const Function loaded = [f = import_function(path)](const Arrays& a) { return f(a); };
  const auto gradient = [&](const Function& f) { return value_and_grad(f)({x}).second[0]; };
  CHECK(bytes_of(gradient(loaded)) == bytes_of(gradient(fun)));
  CHECK(bytes_of(jvp(loaded, {x}, {x}).second[0]) == bytes_of(jvp(fun, {x}, {x}).second[0]));
  CHECK(bytes_of(vmap(loaded)({w})[0]) == bytes_of(vmap(fun)({w})[0]));
  CHECK(bytes_of(compile(loaded)({x})[0]) == bytes_of(fun({x})[0]));
}

TEST_CASE("functions with rules of their own keep them") {
  const Folder folder;
  const std::string path = folder / "f";
  const array scale = drawn({3});
  CustomRules rules;
  rules.vjp = [scale](const Arrays& primals, const Arrays& cotangents, const Arrays& outputs) {
    return Arrays{cotangents[0] * scale * outputs[0] + primals[1], primals[0]};
  };
  rules.jvp = [](const Arrays& primals, const Arrays& tangents) {
    return Arrays{tangents[0] * primals[1] * 7.0f};
  };
  const Function own =
      custom_function([](const Arrays& a) { return Arrays{sin(a[0]) * a[1]}; }, rules);
  const Function again = checkpoint([](const Arrays& a) { return Arrays{exp(sin(a[0])) + a[1]}; });
  const Function fun = [&](const Arrays& a) { return Arrays{sum(own({again(a)[0], a[1]})[0])}; };
  const Arrays in{drawn({3}, 2), drawn({3}, 3)};
  export_function(path, positional(fun), in);
  const Function loaded = [f = import_function(path)](const Arrays& a) { return f(a); };
  CHECK(bytes_of(loaded(in)[0]) == bytes_of(fun(in)[0]));
  const auto gradients = [&](const Function& f) { return value_and_grad(f, {0, 1})(in).second; };
  for (int i : {0, 1}) CHECK(bytes_of(gradients(loaded)[i]) == bytes_of(gradients(fun)[i]));
  CHECK(bytes_of(jvp(loaded, in, in).second[0]) == bytes_of(jvp(fun, in, in).second[0]));
  const Arrays batch{drawn({5, 3}), drawn({5, 3}, 4)};
  const auto each = [&](const Function& f) {
    return vmap([&](const Arrays& a) { return value_and_grad(f, {0, 1})(a).second; })(batch);
  };
  for (int i : {0, 1}) CHECK(bytes_of(each(loaded)[i]) == bytes_of(each(fun)[i]));
}

TEST_CASE("constants are read when they are needed") {
  const Folder folder;
  const std::string path = folder / "f";
  const array large = drawn({300, 100}), filled = zeros({1000, 1000});
  const NamedFunction fun = [&](const Arrays& a, const ArrayMap&) {
    return Arrays{a[0] + large, a[0] + sum(filled * a[0])};
  };
  FunctionExporter exporter(path, fun);
  for (const Dtype t : {float32, float16}) exporter({array(1.0, t)});
  exporter.close();
  // Once for both, and one number for all zeros.
  CHECK(fs::file_size(path) < large.nbytes() + 5000);
  CHECK(fs::file_size(path) % 64 == large.nbytes() % 64);
  const ImportedFunction loaded = import_function(path);
  fs::resize_file(path, fs::file_size(path) - 64);
  CHECK(loaded({array(1.0f)})[1].item<float>() == 1);
  CHECK_THROWS_AS(loaded({array(1.0f)})[0].eval(), FileError);
}

TEST_CASE("what is no operation of the library's is refused by name") {
  const Folder folder;
  const std::string path = folder / "f";
  const fast::MetalKernel kernel("mine", {"x"}, {"y"}, "y[0] = x[0];");
  const Function fun = [&](const Arrays& a) {
    return kernel(a, {{1}}, {float32}, {1, 1, 1}, {1, 1, 1});
  };
  CHECK_THROWS_AS(export_function(path, positional(fun), {drawn({1})}), std::invalid_argument);
  CHECK(!fs::exists(path));
}

// Whatever a file says: it is loaded or refused, and a loaded one computes or raises.
TEST_CASE("spoilt files do no harm") {
  const Folder folder;
  const std::string path = folder / "f";
  std::size_t refused = 0, loaded = 0;
  std::uint64_t state = 1;
  const auto next = [&](std::uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  for (const Case& c : cases()) {
    export_function(path, positional(c.fun), c.inputs, {}, c.shapeless);
    const std::string whole = read_file(path);
    for (int round = 0; round < 12; ++round) {
      std::string spoilt = whole;
      for (std::uint64_t n = 1 + next(3); n > 0; --n) {
        const std::size_t at = 8 + next(std::min<std::size_t>(whole.size(), 700) - 8);
        constexpr unsigned char kWild[] = {0, 1, 2, 3, 0x7f, 0x80, 0xff};
        spoilt[at] = static_cast<char>(round % 2 ? kWild[next(7)] : spoilt[at] ^ (1 << next(8)));
      }
      if (round == 0) spoilt.resize(next(spoilt.size()));
      try {
        const ImportedFunction f = imported(spoilt);
        ++loaded;
        for (const array& out : f(c.inputs))
          if (out.nbytes() < 1 << 20) out.eval();
      } catch (const FormatError&) {
        ++refused;
      } catch (const std::exception&) {  // of the call: other inputs, an index out of range
      }
    }
  }
  CHECK(refused > 500);
  CHECK(loaded > 100);
}

TEST_CASE("a graph as text") {
  array x = drawn({2});
  x.eval();
  const array y = exp(x) + x;
  CHECK(to_dot({y}, {{"x", x}, {"y \"here\"", y}}) ==
        R"(digraph {
{ rank=source; "x"; }
{ 0 [label="Exp", shape=rectangle]; }
"x" -> 0
{ "A"; }
0 -> "A"
{ 1 [label="Add", shape=rectangle]; }
"A" -> 1
"x" -> 1
{ rank=sink; "y \"here\""; }
1 -> "y \"here\""
}
)");
}
