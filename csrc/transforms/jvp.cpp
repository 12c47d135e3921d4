// Forward-mode derivatives: tangents flow from the inputs of a traced function to its outputs.
#include <stdexcept>

#include "cermet/ops.h"
#include "cermet/transforms.h"
#include "transforms/walk.h"

namespace cermet {
namespace {

using Tangents = std::vector<std::optional<array>>;  // absent: zero

std::optional<array> push_through(const Primitive& primitive, std::span<const array> inputs,
                                  const array& output, const Tangents& tangents) {
  std::optional<array> sum;
  bool whole = true;
  for (int k = 0; k < static_cast<int>(inputs.size()); ++k) {
    const auto& tangent = tangents[static_cast<std::size_t>(k)];
    if (!tangent || !primitive.differentiable_by(k)) continue;
    whole = whole && !is_inexact(tangent->dtype());
    const Edge e{k, inputs, output};
    sum = sum ? primitive.add_jvp(e, *tangent, *sum) : primitive.jvp(e, *tangent);
  }
  // An integer's tangent may be a float. One that is an integer stays so, whatever a rule makes of
  // it.
  if (sum && (is_inexact(output.dtype()) || whole)) return astype(*sum, output.dtype());
  return sum;
}

}  // namespace

std::pair<Arrays, Arrays> jvp(const Function& fun, const Arrays& primals, const Arrays& tangents) {
  if (primals.size() != tangents.size())
    throw std::invalid_argument("jvp: " + count(tangents.size(), "tangent") + " for " +
                                count(primals.size(), "primal"));
  const Tracing trace;
  Arrays tracers;
  for (std::size_t i = 0; i < primals.size(); ++i) {
    if (primals[i].shape() != tangents[i].shape())
      throw std::invalid_argument("jvp: tangent " + std::to_string(i) + " has shape " +
                                  to_string(tangents[i].shape()) + ", its primal " +
                                  to_string(primals[i].shape()));
    tracers.push_back(make_tracer(primals[i]));
  }
  Arrays outputs = fun(tracers);

  const Walk walk(outputs, tracers, trace, Walk::Follow::forward);
  Tangents known(walk.slot_count());
  for (std::size_t i = 0; i < tangents.size(); ++i) {
    const Dtype t = primals[i].dtype();
    if (t == Dtype::bool_) continue;  // nothing follows from it smoothly
    known[i] =
        is_inexact(tangents[i].dtype()) && !is_inexact(t) ? tangents[i] : astype(tangents[i], t);
  }
  const auto tangent_of = [&](const array& a) {
    const auto slot = walk.slot(a);
    return slot ? known[*slot] : std::nullopt;
  };
  const auto tangents_of = [&](const auto& arrays) {
    Tangents all;
    for (const array& a : arrays) all.push_back(tangent_of(a));
    return all;
  };

  std::unordered_map<const Node*, Arrays> customs;  // the tangents of all results
  for (std::size_t i = 0; i < walk.nodes().size(); ++i) {
    const array& node = walk.nodes()[i];
    const Primitive& primitive = *node.primitive();
    const StreamContext context(node.stream());
    if (has_several_results(primitive.kind())) continue;  // its first result runs the rule
    const auto& from = node.inputs();
    auto& tangent = known[walk.slot_of_node(i)];
    if (primitive.kind() == Kind::pick) {
      const array& owner = from[0];
      const auto [at, first] = customs.try_emplace(owner.node());
      if (first)
        at->second = static_cast<const Several&>(*owner.primitive())
                         .jvp_all({owner.inputs().data(), owner.inputs().size()}, all_results(node),
                                  tangents_of(owner.inputs()));
      tangent = at->second.at(static_cast<std::size_t>(static_cast<const Pick&>(primitive).index));
    } else {
      tangent = push_through(primitive, {from.data(), from.size()}, node, tangents_of(from));
    }
  }
  Arrays results;
  for (const array& output : outputs) {
    const auto tangent = tangent_of(output);
    results.push_back(tangent ? *tangent : zeros_like(output));
  }
  return {std::move(outputs), std::move(results)};
}

}  // namespace cermet
