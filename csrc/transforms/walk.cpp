// A depth-first search with a stack of its own, since graphs are deep.
#include "transforms/walk.h"

#include <algorithm>

namespace cermet {
namespace {

// Derivatives flow through floats, and among integers alone.
bool stops_derivatives(const Node& node) {
  if (node.primitive->kind() == Kind::custom) return false;  // its results have the dtypes
  if (!node.primitive->differentiable() || node.dtype == Dtype::bool_) return true;
  if (node.primitive->kind() == Kind::bitcast) {
    const auto parts = [](Dtype t) { return t == complex64 || t == float32; };
    return !parts(node.dtype) || !parts(node.inputs[0].dtype());
  }
  return !is_inexact(node.dtype) &&
         std::any_of(node.inputs.begin(), node.inputs.end(),
                     [](const array& in) { return is_inexact(in.dtype()); });
}

}  // namespace

Walk::Walk(const Arrays& outputs, const Arrays& inputs, const Tracing& trace, Follow follow)
    : inputs_(inputs.size()) {
  for (std::size_t i = 0; i < inputs.size(); ++i) slots_.emplace(inputs[i].node(), i);

  struct Visit {
    const array* a;
    std::size_t next = 0;
    bool dependent = false;
  };
  std::vector<Visit> stack;
  const auto enter = [&](const array& a) {
    const Node& node = *a.node();
    if (node.trace < trace.id()) return;
    if (!slots_.try_emplace(&node, kIndependent).second) return;
    if (!node.primitive || (follow == Follow::differentiable && stops_derivatives(node))) return;
    stack.push_back({&a});
  };
  for (const array& output : outputs) {
    enter(output);
    while (!stack.empty()) {
      Visit& visit = stack.back();
      const auto& from = visit.a->inputs();
      const auto follows = [&](std::size_t i) {
        return follow == Follow::all ||
               visit.a->primitive()->differentiable_by(static_cast<int>(i));
      };
      if (visit.next < from.size()) {
        const std::size_t next = visit.next++;
        if (follows(next)) enter(from[next]);  // may move `visit`
        continue;
      }
      for (std::size_t i = 0; i < from.size(); ++i)
        visit.dependent = visit.dependent || (follows(i) && slot(from[i]));
      if (visit.dependent) {
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
