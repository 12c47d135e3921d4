// A depth-first search with a stack of its own, since graphs are deep.
#include "transforms/walk.h"

#include <algorithm>

#include "graph/follow.h"

namespace cermet {
namespace {

// Derivatives flow through floats, and among integers alone.
bool stops_derivatives(const Node& node) {
  const Kind kind = node.primitive->kind();
  if (has_several_results(kind) || kind == Kind::composite)
    return false;  // its results have dtypes
  if (!node.primitive->differentiable() || node.dtype == Dtype::bool_) return true;
  if (node.primitive->kind() == Kind::bitcast) {
    const auto parts = [](Dtype t) { return t == complex64 || t == float32; };
    return !parts(node.dtype) || !parts(node.inputs[0].dtype());
  }
  return !is_inexact(node.dtype) &&
         std::any_of(node.inputs.begin(), node.inputs.end(),
                     [](const array& in) { return is_inexact(in.dtype()); });
}

// Whether the expansion of a composite, or of one that a node is a result of, is followed. One that
// a derivative went through already is in use anyway.
bool is_expanded(const Node& node, Walk::Follow follow) {
  const Node* composite = composite_of(node);
  if (!composite) return false;
  if (identity_of(*composite)) return true;
  const auto rules = static_cast<const Composite&>(*composite->primitive).rules();
  if (rules == Composite::Rules::all ||
      (rules == Composite::Rules::backward && follow == Walk::Follow::backward))
    return false;
  if (follow == Walk::Follow::backward && composite->followed &&
      dynamic_cast<const Followed*>(composite->primitive.get()))
    return false;
  return follow >= Walk::Follow::forward ||
         (follow == Walk::Follow::all && rules == Composite::Rules::none) ||
         has_expansion(*composite);
}

}  // namespace

Walk::Walk(const Arrays& outputs, const Arrays& inputs, const Tracing& trace, Follow follow)
    : inputs_(inputs.size()) {
  for (std::size_t i = 0; i < inputs.size(); ++i) slots_.emplace(inputs[i].node(), i);

  struct Visit {
    const array* a;
    std::span<const array> reads;
    bool expanded;
    std::size_t next = 0;
    bool dependent = false;
  };
  std::vector<Visit> stack;
  const auto enter = [&](const array& a) {
    const Node& node = *a.node();
    if (node.trace < trace.id()) return;
    if (!slots_.try_emplace(&node, kIndependent).second) return;
    if (!node.primitive || (follow >= Follow::forward && stops_derivatives(node))) return;
    if (is_expanded(node, follow))
      stack.push_back({&a, {&expansion_of(node), 1}, true});
    else
      stack.push_back({&a, {a.inputs().data(), a.inputs().size()}, false});
  };
  for (const array& output : outputs) {
    enter(output);
    while (!stack.empty()) {
      Visit& visit = stack.back();
      const auto follows = [&](std::size_t i) {
        return follow < Follow::forward || visit.expanded ||
               visit.a->primitive()->differentiable_by(static_cast<int>(i));
      };
      if (visit.next < visit.reads.size()) {
        const std::size_t next = visit.next++;
        if (follows(next)) enter(visit.reads[next]);  // may move `visit`
        continue;
      }
      for (std::size_t i = 0; i < visit.reads.size(); ++i)
        visit.dependent = visit.dependent || (follows(i) && slot(visit.reads[i]));
      if (visit.dependent && visit.expanded) {
        slots_[visit.a->node()] = *slot(visit.reads[0]);
      } else if (visit.dependent) {
        slots_[visit.a->node()] = slot_count();
        nodes_.push_back(*visit.a);
      }
      stack.pop_back();
    }
  }
}

std::optional<std::size_t> Walk::slot(const array& a) const {
  const auto found = slots_.find(a.node());
  if (found == slots_.end() || found->second == kIndependent) return std::nullopt;
  return found->second;
}

Arrays all_results(const array& pick) {
  const auto& chosen = static_cast<const Pick&>(*pick.primitive());
  const Results& results = *chosen.results;
  Arrays all;
  for (int i = 0; i < static_cast<int>(results.size()); ++i) {
    const auto& [shape, dtype] = results[static_cast<std::size_t>(i)];
    all.push_back(i == chosen.index ? pick
                                    : array(make_ref<Pick>(i, chosen.results), shape, dtype,
                                            pick.inputs(), pick.stream()));
  }
  return all;
}

std::string count(std::size_t n, std::string_view what) {
  return std::to_string(n) + " " + std::string(what) + (n == 1 ? "" : "s");
}

}  // namespace cermet
