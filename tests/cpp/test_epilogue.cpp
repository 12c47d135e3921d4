// Epilogues on tiles of any shape, as an engine of products may hand them over.
#include <doctest/doctest.h>

#include <cstring>
#include <random>
#include <vector>

#include "cermet/cermet.h"
#include "cpu/program/epilogue.h"
#include "eval/batch.h"

using namespace cermet;
using namespace cermet::cpu;

namespace {

std::mt19937 rng(3);

array noise(const Shape& shape, Dtype dtype) {
  std::vector<float> x(static_cast<std::size_t>(element_count(shape)));
  for (float& v : x) v = std::normal_distribution<float>()(rng);
  const array wide(borrow(x.data(), x.size() * sizeof(float), {}), shape, float32);
  const array out = multiply(astype(wide, dtype, DeviceType::cpu), 1, DeviceType::cpu);
  eval({out});
  return out;
}

std::vector<BoundPort> ports(const SmallVector<BoundArray, 8>& arrays) {
  std::vector<BoundPort> out;
  for (const BoundArray& a : arrays) {
    const Node& n = *a.node;
    auto* data = n.buffer ? static_cast<std::byte*>(n.buffer->data()) : nullptr;
    const auto size = static_cast<std::int64_t>(size_of(n.dtype));
    out.push_back({data ? data + n.offset * size : nullptr, a.strides});
  }
  return out;
}

// Cuts [0, n) at random.
std::vector<std::int64_t> cuts(std::int64_t n, std::int64_t most) {
  std::vector<std::int64_t> out{0};
  while (out.back() < n) {
    std::uniform_int_distribution<std::int64_t> length(1, most);
    out.push_back(std::min(n, out.back() + length(rng)));
  }
  return out;
}

bool same_bits(const array& a, const array& b) {
  const auto bytes = static_cast<std::size_t>(a.size()) * size_of(a.dtype());
  return std::memcmp(a.data<std::byte>(), b.data<std::byte>(), bytes) == 0;
}

// f(product, other things), of a product that is handed over in random tiles, against the same of
// its value.
template <class F>
void check(const Shape& batch, std::int64_t m, std::int64_t n, Dtype dtype, F f) {
  Shape shape = batch;
  shape.push_back(m);
  shape.push_back(n);
  Shape left = shape, right = shape;
  left.back() = 2;
  right[right.size() - 2] = 2;
  // What the engine has before it rounds.
  const Dtype wide = tile_dtype(dtype);
  const array values = noise(shape, wide);
  const array expected = f(astype(values, dtype, DeviceType::cpu));
  eval({expected});

  const array x = noise(left, dtype), w = noise(right, dtype);
  const array out = f(matmul(x, w, DeviceType::cpu));
  const std::scoped_lock lock(graph_mutex());
  const Tape tape = record({out}, limits_of);
  const auto plan = plan_of(tape, limits_of);
  const Step& step = plan->steps.back();
  REQUIRE(step.products.size() == 1);
  std::vector<std::uint64_t> constants;
  for (const Node* c : tape.constants) constants.push_back(c->scalar);
  const ProgramRun run = bind(*step.program, tape.nodes.data(), constants.data());
  Node& node = *run.outputs[0].node;
  node.buffer = allocate(static_cast<std::size_t>(node.size) * size_of(node.dtype));
  node.strides = row_major(node.shape);
  const auto inputs = ports(run.inputs), outputs = ports(run.outputs);
  const Binding binding{{run.domain.data(), run.domain.size()},
                        {run.constants.data(), run.constants.size()},
                        inputs,
                        outputs};
  const auto size = static_cast<std::int64_t>(size_of(wide));
  const auto* from = values.data<std::byte>();
  const std::int64_t batches = values.size() / (m * n);
  std::vector<Lowered> ways{lower(*step.program, classify(*step.program, binding))};
  if (machine::use() != machine::Use::never) ways.push_back(with_code(ways[0]));
  for (const Lowered& lowered : ways) {
    std::memset(node.buffer->data(), 0, static_cast<std::size_t>(node.size) * size_of(node.dtype));
    TileProgram program(lowered, binding, m, n);
    const Epilogue epilogue(program);
    for (std::int64_t b = 0; b < batches; ++b) {
      const auto rows = cuts(m, 40), columns = cuts(n, b % 2 ? n : 70);
      for (std::size_t i = 1; i < rows.size(); ++i)
        for (std::size_t j = 1; j < columns.size(); ++j) {
          FinishedTile t{b,
                         rows[i - 1],
                         rows[i] - rows[i - 1],
                         columns[j - 1],
                         columns[j] - columns[j - 1],
                         {},
                         0};
          t.step = t.columns + static_cast<std::int64_t>(rng() % 2 * 5);
          std::vector<std::byte> tile(static_cast<std::size_t>(t.rows * t.step * size));
          for (std::int64_t r = 0; r < t.rows; ++r)
            std::memcpy(tile.data() + r * t.step * size,
                        from + ((b * m + t.row + r) * n + t.column) * size,
                        static_cast<std::size_t>(t.columns * size));
          t.values[0] = tile.data();
          epilogue(t);
        }
    }
    const array got(node.buffer, node.shape, node.dtype, node.strides, 0);
    CHECK(same_bits(got, expected));
  }
}

}  // namespace

TEST_CASE("epilogue: tiles of any shape") {
  const StreamOrDevice s = DeviceType::cpu;
  for (const Dtype dtype : {float32, float64, bfloat16, float16, complex64})
    for (const Shape& batch : {Shape{}, Shape{3}})
      for (const auto& [m, n] : {std::pair{1, 1}, {70, 3}, {5, 90}, {33, 300}, {3, 1500}}) {
        const array bias = noise({n}, dtype), column = noise({m, 1}, dtype);
        const array other = transpose(noise({n, m}, dtype), {1, 0}, s);
        eval({other});
        check(batch, m, n, dtype, [&](const array& p) { return add(p, bias, s); });
        check(batch, m, n, dtype,
              [&](const array& p) { return multiply(add(p, column, s), add(p, bias, s), s); });
        check(batch, m, n, dtype,
              [&](const array& p) { return astype(add(p, other, s), complex64, s); });
      }
}

TEST_CASE("epilogue: a reshaped result") {
  const StreamOrDevice s = DeviceType::cpu;
  const array scale = noise({7, 1, 300}, float32);
  check({}, 70, 900, float32,
        [&](const array& p) { return multiply(reshape(p, {10, 7, 3, 300}, s), scale, s); });
}
