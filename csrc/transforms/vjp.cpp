// Reverse-mode derivatives: cotangents flow from the outputs of a traced function to its inputs.
#include <algorithm>
#include <stdexcept>

#include "cermet/ops.h"
#include "cermet/transforms.h"
#include "graph/follow.h"
#include "transforms/walk.h"

namespace cermet {
namespace {

using Cotangent = std::optional<array>;  // absent: zero
using Cotangents = std::vector<Cotangent>;

// What a rule gives for the cotangent of an input, added to what others contributed.
array pulled(const Primitive& primitive, const Edge& e, const array& cotangent,
             const Cotangent& sum) {
  if (!e.output.node()->followed && !cotangent.node()->followed)
    return sum ? primitive.add_vjp(e, cotangent, *sum) : primitive.vjp(e, cotangent);
  Arrays all(e.inputs.begin(), e.inputs.end());
  all.insert(all.end(), {e.output, cotangent});
  if (sum) all.push_back(*sum);
  const Pull pull{Ref<const Primitive>(&primitive), e.i, sum.has_value()};
  return make_ref<const Pulled>(pull)->of(all);
}

void accumulate(Cotangent& sum, const array& term) { sum = sum ? *sum + term : term; }

// Cotangents of inputs that are computed together. In a shapeless trace each is done again by
// itself; equal work is then merged.
Cotangents pulled_together(const array& node, const array& cotangent) {
  if (node.primitive()->kind() != Kind::composite || node.node()->followed ||
      cotangent.node()->followed)
    return {};
  return static_cast<const Composite&>(*node.primitive())
      .vjp_together({node.inputs().data(), node.inputs().size()}, node, cotangent);
}

// Whether the cotangent of the first input is the result's with some elements overwritten.
bool overwrites(const Primitive& p) {
  const auto by = [](Update mode) { return mode == Update::set || mode == Update::multiply; };
  if (p.kind() == Kind::scatter) return by(static_cast<const Scatter&>(p).mode);
  const auto* update = dynamic_cast<const SliceUpdate*>(&p);
  return update && by(update->mode);
}

// What has reached the results of a node with several, whose rule takes them together.
struct Reached {
  Arrays results;
  Cotangents cotangents;
};

void collect(Reached& reached, const array& pick, Cotangent cotangent) {
  if (reached.results.empty()) {
    reached.results = all_results(pick);
    reached.cotangents.resize(reached.results.size());
  }
  const auto i = static_cast<std::size_t>(static_cast<const Pick&>(*pick.primitive()).index);
  if (cotangent) accumulate(reached.cotangents[i], *cotangent);  // a result may be picked twice
}

Cotangents pull_through(const Several& several, std::span<const array> inputs, Reached reached) {
  Arrays filled;
  for (std::size_t i = 0; i < reached.results.size(); ++i)
    filled.push_back(reached.cotangents[i].value_or(zeros_like(reached.results[i])));
  return several.vjp_all(inputs, reached.results, filled);
}

Arrays pull_back(const Arrays& outputs, const Arrays& inputs, const Cotangents& seeds,
                 const Tracing& trace) {
  const Walk walk(outputs, inputs, trace, Walk::Follow::backward);
  Cotangents cotangents(walk.slot_count());
  for (std::size_t i = 0; i < outputs.size(); ++i)
    if (const auto slot = walk.slot(outputs[i]); slot && seeds[i])
      accumulate(cotangents[*slot], *seeds[i]);

  std::unordered_map<const Node*, Reached> customs;
  for (std::size_t i = walk.nodes().size(); i-- > 0;) {
    const array& node = walk.nodes()[i];
    const Primitive& primitive = *node.primitive();
    const std::span<const array> from(node.inputs().data(), node.inputs().size());
    const Cotangent cotangent = std::move(cotangents[walk.slot_of_node(i)]);
    cotangents[walk.slot_of_node(i)].reset();
    const StreamContext context(node.stream());

    if (primitive.kind() == Kind::pick) {
      if (cotangent) collect(customs[from[0].node()], node, cotangent);
    } else if (has_several_results(primitive.kind())) {
      auto reached = customs.extract(node.node());
      if (reached.empty()) continue;
      const Cotangents to =
          pull_through(static_cast<const Several&>(primitive), from, std::move(reached.mapped()));
      for (std::size_t k = 0; k < from.size(); ++k)
        if (const auto slot = walk.slot(from[k]); slot && to[k])
          accumulate(cotangents[*slot], *to[k]);
    } else if (cotangent) {
      const Cotangents together = pulled_together(node, *cotangent);
      const auto pull = [&](std::size_t k, const array& t) {
        const auto slot = walk.slot(from[k]);
        const Edge e{static_cast<int>(k), from, node};
        if (!slot || !primitive.differentiable_by(e.i)) return;
        Cotangent& sum = cotangents[*slot];
        if (k < together.size() && together[k])
          accumulate(sum, *together[k]);
        else
          sum = pulled(primitive, e, t, sum);
        sum = astype(*sum, from[k].dtype());  // a rule may compute an integer's in floats
      };
      if (overwrites(primitive)) {
        // The elements that were updated are read before the rest is overwritten in place.
        pull(1, *cotangent);
        const auto update = walk.slot(from[1]);
        pull(0, update ? depends({*cotangent}, {*cotangents[*update]})[0] : *cotangent);
      } else {
        for (std::size_t k = 0; k < from.size(); ++k) pull(k, *cotangent);
      }
    }
  }
  Arrays gradients;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    gradients.push_back(cotangents[i] ? *cotangents[i] : zeros_like(inputs[i]));
  return gradients;
}

void check_loss(const Arrays& outputs) {
  if (outputs.empty()) throw std::invalid_argument("grad: the function returned nothing");
  const array& loss = outputs[0];
  if (loss.ndim() != 0)
    throw std::invalid_argument(
        "grad: expected a function whose first output is a scalar, of shape (), got shape " +
        to_string(loss.shape()));
}

void check_argnums(const std::vector<int>& argnums, const Arrays& inputs) {
  if (argnums.empty()) throw std::invalid_argument("grad: argnums is empty");
  for (auto at = argnums.begin(); at != argnums.end(); ++at) {
    const std::string which = "grad: argument " + std::to_string(*at);
    if (*at < 0 || *at >= static_cast<int>(inputs.size()))
      throw std::invalid_argument(which + " of a call with " + count(inputs.size(), "argument"));
    if (std::find(argnums.begin(), at, *at) != at)
      throw std::invalid_argument(which + " stands in argnums twice");
    const Dtype dtype = inputs[static_cast<std::size_t>(*at)].dtype();
    if (!is_inexact(dtype))
      throw std::invalid_argument(which + " is " + std::string(name_of(dtype)) +
                                  "; a gradient needs a floating or complex type");
  }
}

}  // namespace

std::pair<Arrays, Arrays> vjp(const Function& fun, const Arrays& primals,
                              const Arrays& cotangents) {
  const Tracing trace;
  Arrays tracers;
  for (const array& primal : primals) tracers.push_back(make_tracer(primal));
  Arrays outputs = fun(tracers);
  if (outputs.size() != cotangents.size())
    throw std::invalid_argument("vjp: " + count(cotangents.size(), "cotangent") + " for " +
                                count(outputs.size(), "output"));
  Cotangents seeds;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (cotangents[i].shape() != outputs[i].shape())
      throw std::invalid_argument("vjp: cotangent " + std::to_string(i) + " has shape " +
                                  to_string(cotangents[i].shape()) + ", its output " +
                                  to_string(outputs[i].shape()));
    seeds.emplace_back(astype(cotangents[i], outputs[i].dtype()));
  }
  Arrays gradients = pull_back(outputs, tracers, seeds, trace);
  return {std::move(outputs), std::move(gradients)};
}

ValueAndGrad value_and_grad(Function fun, std::vector<int> argnums) {
  return [fun = std::move(fun), argnums = std::move(argnums)](const Arrays& inputs) {
    check_argnums(argnums, inputs);
    const Tracing trace;
    Arrays arguments = inputs, tracers;
    for (int i : argnums) {
      array& argument = arguments[static_cast<std::size_t>(i)];
      argument = make_tracer(argument);
      tracers.push_back(argument);
    }
    Arrays outputs = fun(arguments);
    check_loss(outputs);
    Cotangents seeds(outputs.size());
    seeds[0] = ones_like(outputs[0]);
    Arrays gradients = pull_back(outputs, tracers, seeds, trace);
    return std::pair(std::move(outputs), std::move(gradients));
  };
}

std::function<std::pair<array, Arrays>(const Arrays&)> value_and_grad(ScalarFunction fun,
                                                                      std::vector<int> argnums) {
  const auto list = [fun = std::move(fun)](const Arrays& in) { return Arrays{fun(in)}; };
  return [both = value_and_grad(Function(list), std::move(argnums))](const Arrays& inputs) {
    auto [outputs, gradients] = both(inputs);
    return std::pair(outputs[0], std::move(gradients));
  };
}

std::function<Arrays(const Arrays&)> grad(ScalarFunction fun, std::vector<int> argnums) {
  return [both = value_and_grad(std::move(fun), std::move(argnums))](const Arrays& inputs) {
    return both(inputs).second;
  };
}

}  // namespace cermet
