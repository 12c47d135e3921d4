// Batching: a function of entries, traced once, becomes one of batches by each node's batching
// rule.
#include <array>
#include <memory>
#include <stdexcept>

#include "cermet/ops.h"
#include "cermet/transforms.h"
#include "transforms/walk.h"

namespace cermet {
namespace {

using Axis = int;

std::vector<Axis> axes_for(const std::vector<Axis>& axes, std::size_t n, const char* what) {
  if (axes.empty()) return std::vector<Axis>(n, 0);
  if (axes.size() != n)
    throw std::invalid_argument("vmap: axes for " + count(axes.size(), what) +
                                " given, there are " + std::to_string(n));
  return axes;
}

// What is known of the inputs of a node: batched where they depend on a mapped input.
struct Batch {
  Arrays arrays;
  std::unique_ptr<bool[]> batched;
  Batched of(std::int64_t size) const { return {arrays, {batched.get(), arrays.size()}, size}; }
};

class Batcher {
 public:
  Batcher(const Walk& walk, Arrays inputs, std::int64_t batch) : walk_(walk), batch_(batch) {
    known_.resize(walk.slot_count());
    for (std::size_t i = 0; i < inputs.size(); ++i) known_[i] = std::move(inputs[i]);
  }

  void run() {
    for (std::size_t i = 0; i < walk_.nodes().size(); ++i) {
      const array& node = walk_.nodes()[i];
      const StreamContext context(node.stream());
      const Kind kind = node.primitive()->kind();
      if (has_several_results(kind)) continue;  // its first result runs the rule
      auto& result = known_[walk_.slot_of_node(i)];
      if (kind == Kind::pick) {
        result = result_of_custom(node);
      } else {
        result = node.primitive()->vmap(inputs_of(node).of(batch_), node);
      }
    }
  }
  std::optional<array> batched(const array& a) const {
    const auto slot = walk_.slot(a);
    return slot ? known_[*slot] : std::nullopt;
  }

 private:
  Batch inputs_of(const array& node) const {
    const std::size_t n = node.inputs().size();
    Batch batch{{}, std::make_unique<bool[]>(n)};
    for (std::size_t k = 0; k < n; ++k) {
      const array& in = node.inputs()[k];
      const auto known = batched(in);
      batch.arrays.push_back(known ? *known : in);
      batch.batched[k] = known.has_value();
    }
    return batch;
  }
  array result_of_custom(const array& pick) {
    const array& owner = pick.inputs()[0];
    const auto [at, first] = customs_.try_emplace(owner.node());
    if (first)
      at->second = static_cast<const Several&>(*owner.primitive())
                       .vmap_all(inputs_of(owner).of(batch_), all_results(pick));
    return at->second.at(
        static_cast<std::size_t>(static_cast<const Pick&>(*pick.primitive()).index));
  }

  const Walk& walk_;
  std::int64_t batch_;
  std::vector<std::optional<array>> known_;
  std::unordered_map<const Node*, Arrays> customs_;
};

}  // namespace

Function vmap(Function fun, std::vector<int> in_axes, std::vector<int> out_axes) {
  return [fun = std::move(fun), in_axes = std::move(in_axes),
          out_axes = std::move(out_axes)](const Arrays& inputs) {
    return vmap_call(fun, in_axes, inputs,
                     [&](std::size_t n) { return axes_for(out_axes, n, "output"); });
  };
}

Arrays vmap_call(const Function& fun, const std::vector<int>& in_axes, const Arrays& inputs,
                 const std::function<std::vector<int>(std::size_t)>& out_axes) {
  const auto from = axes_for(in_axes, inputs.size(), "input");
  const Tracing trace;
  std::optional<std::int64_t> batch;
  Arrays arguments, placeholders, batches;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    arguments.push_back(inputs[i]);
    if (from[i] == kNotMapped) continue;
    batches.push_back(moveaxis(inputs[i], normalize_axis("vmap", from[i], inputs[i].ndim()), 0));
    const Shape& shape = batches.back().shape();
    if (batch.value_or(shape[0]) != shape[0])
      throw std::invalid_argument(
          "vmap: input " + std::to_string(i) + " of shape " + to_string(inputs[i].shape()) +
          " has " + std::to_string(shape[0]) + " entries along axis " + std::to_string(from[i]) +
          ", the inputs before it have " + std::to_string(*batch));
    batch = shape[0];
    arguments.back() =
        make_placeholder(Shape(shape.begin() + 1, shape.end()), inputs[i].dtype(), "vmap");
    placeholders.push_back(arguments.back());
  }
  if (!batch) throw std::invalid_argument("vmap: no input is mapped over an axis");

  const Arrays outputs = fun(arguments);
  const auto to = out_axes(outputs.size());
  const Walk walk(outputs, placeholders, trace, Walk::Follow::all);
  Batcher batcher(walk, std::move(batches), *batch);
  batcher.run();
  Arrays results;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    auto result = batcher.batched(outputs[i]);
    if (to[i] == kNotMapped) {
      if (result)
        throw std::invalid_argument("vmap: output " + std::to_string(i) +
                                    " depends on a mapped input and needs an output axis");
      results.push_back(outputs[i]);
      continue;
    }
    if (!result) result = Batched{{&outputs[i], 1}, std::array{false}, *batch}.all()[0];
    results.push_back(moveaxis(*result, 0, normalize_axis("vmap", to[i], result->ndim())));
  }
  return results;
}

}  // namespace cermet
