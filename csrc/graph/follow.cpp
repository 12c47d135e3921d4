// Shapeless traces: who asks for extents, and what is done again for others.
#include "graph/follow.h"

#include <exception>

namespace cermet {

static thread_local Following* innermost = nullptr;

Following::Following() : outer_(innermost), errors_(std::uncaught_exceptions()) {
  innermost = this;
}
Following::~Following() {
  innermost = outer_;
  const bool failed = std::uncaught_exceptions() > errors_;  // perhaps because of the extents
  if ((tied_ || failed) && outer_) outer_->tied_ = true;
}
bool Following::any() { return innermost != nullptr; }

void note_extents(const Node& node) {
  if (innermost && !node.shape.empty()) innermost->tied_ = true;
}

array follow_slowly(std::string_view name, std::span<const array> inputs, Again again,
                    bool by_value) {
  if (!Following::any()) return again(inputs);
  Following asked;
  const array once = again(inputs);
  if (!asked.tied()) return once;
  asked.forgive();
  return array(make_ref<Followed>(name, std::move(again), by_value), rule_shape(once), once.dtype(),
               {inputs.begin(), inputs.end()}, once.stream());
}

array Followed::of(std::span<const array> inputs) const {
  return follow(name_, inputs, again, by_value_);
}

array Followed::vmap(const Batched& in, const array& output) const {
  return Batched{{&expansion_of(*output.node()), 1}, std::array{false}, in.size}.all()[0];
}

}  // namespace cermet
