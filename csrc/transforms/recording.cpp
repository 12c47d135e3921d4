// Recording a function's graph, and making it of new nodes, with no search and no checks.
#include "transforms/recording.h"

#include <algorithm>
#include <stdexcept>
#include <unordered_map>

#include "graph/follow.h"
#include "graph/hash.h"
#include "transforms/walk.h"

namespace cermet {
namespace {

bool same_operation(const Node& a, const Node& b) {
  return a.primitive->kind() == b.primitive->kind() && a.dtype == b.dtype && a.shape == b.shape &&
         a.stream == b.stream && a.primitive->equals(*b.primitive);
}

bool is_tracer(const Primitive& primitive) {
  return primitive.kind() == Kind::identity &&
         static_cast<const Identity&>(primitive).why == Identity::Why::tracer;
}

}  // namespace

Recording recorded(std::string_view transform, const Function& fun, Results inputs,
                   bool shapeless) {
  using Slot = Recording::Slot;
  Recording r;
  r.inputs = std::move(inputs);
  const Tracing trace;
  std::optional<Following> following;
  if (shapeless) following.emplace();
  Arrays placeholders;
  for (const auto& [shape, dtype] : r.inputs) {
    placeholders.push_back(make_placeholder(shape, dtype, transform));
    placeholders.back().node()->followed = shapeless;
  }
  const Arrays outputs = fun(placeholders);

  const Walk walk(outputs, placeholders, trace, Walk::Follow::whole);
  // Whatever does not depend on the inputs is a constant of the recording.
  std::unordered_map<const Node*, Slot> constants;
  const auto note_constant = [&](const array& a) {
    if (walk.slot(a)) return;
    const auto slot = static_cast<Slot>(r.inputs.size() + r.constants.size());
    if (constants.emplace(a.node(), slot).second) r.constants.push_back(a);
  };
  for (const array& node : walk.nodes())
    for (const array& in : node.inputs()) note_constant(in);
  for (const array& out : outputs) note_constant(out);

  std::vector<Slot> slots(walk.slot_count());
  for (std::size_t i = 0; i < r.inputs.size(); ++i) slots[i] = static_cast<Slot>(i);
  const auto slot_of = [&](const array& a) {
    const auto at = walk.slot(a);
    return at ? slots[*at] : constants.at(a.node());
  };
  const std::size_t before_steps = r.before_steps();
  std::unordered_multimap<std::size_t, std::size_t> known;  // steps by hash
  bool tied = !following || following->tied();
  for (std::size_t i = 0; i < walk.nodes().size(); ++i) {
    const array& node = walk.nodes()[i];
    const Primitive& primitive = *node.primitive();
    Slot& slot = slots[walk.slot_of_node(i)];
    if (is_tracer(primitive)) {  // of a transform inside, which has ended
      slot = slot_of(node.inputs()[0]);
      continue;
    }
    const bool several = has_several_results(primitive.kind());
    tied = tied || several;  // the shapes of several results are not derived anew
    Recording::Step step{node, r.operands.size(), node.inputs().size()};
    std::size_t hash = static_cast<std::size_t>(primitive.kind());
    for (const array& in : node.inputs()) {
      r.operands.push_back(slot_of(in));
      hash = mix(hash, r.operands.back());
    }
    const auto [begin, end] = known.equal_range(hash);
    const auto twin = std::find_if(begin, end, [&](const auto& entry) {
      const Recording::Step& other = r.steps[entry.second];
      const auto operands = r.operands.begin();
      return !several && same_operation(*node.node(), *other.node.node()) &&
             std::equal(operands + step.first, r.operands.end(), operands + other.first,
                        operands + other.first + other.count);
    });
    if (twin != end) {
      slot = static_cast<Slot>(before_steps + twin->second);
      r.operands.resize(step.first);
      continue;
    }
    slot = static_cast<Slot>(before_steps + r.steps.size());
    known.emplace(hash, r.steps.size());
    r.steps.push_back(std::move(step));
  }
  r.tied = tied;
  for (const array& out : outputs) r.outputs.push_back(slot_of(out));
  return r;
}

bool Recording::fits(std::span<const array> in) const {
  return std::equal(in.begin(), in.end(), inputs.begin(), inputs.end(),
                    [](const array& a, const Result& r) { return rule_shape(a) == r.shape; });
}

std::optional<Arrays> Recording::replay(std::span<const array> in) const {
  const bool same_shapes = fits(in);
  if (tied && !same_shapes) return std::nullopt;
  Following asked;  // by rules, which a trace around this one asks again
  Arrays values;
  values.reserve(before_steps() + steps.size());
  values.insert(values.end(), in.begin(), in.end());
  values.insert(values.end(), constants.begin(), constants.end());
  for (const Step& step : steps) {
    const Node& node = *step.node.node();
    SmallVector<array, 2> from;
    from.reserve(step.count);
    for (const Slot slot : operands_of(step)) from.push_back(values[slot]);
    const std::span<const array> read(from.data(), from.size());
    try {
      const auto* again =
          same_shapes ? nullptr : dynamic_cast<const Followed*>(node.primitive.get());
      if (again) {
        const StreamContext context(node.stream);
        values.push_back(again->of(read));
        if (values.back().dtype() != node.dtype) return std::nullopt;  // so many that they need it
        continue;
      }
      Shape shape = same_shapes ? node.shape : node.primitive->output_shape(node, read);
      values.emplace_back(node.primitive, std::move(shape), node.dtype, std::move(from),
                          node.stream);
    } catch (const std::logic_error&) {
      return std::nullopt;
    }
  }
  asked.forgive();
  return values;
}

}  // namespace cermet
