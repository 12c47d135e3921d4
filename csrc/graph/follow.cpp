// Shapeless traces: who asks for extents, and what is done again for others.
#include "graph/follow.h"

#include <exception>

#include "cermet/transforms.h"

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
  return make_ref<const Followed>(name, std::move(again), by_value)->of(inputs);
}

array Followed::of(std::span<const array> inputs) const {
  if (!is_followed(inputs) || !Following::any()) return again(inputs);
  Following asked;
  const array once = again(inputs);
  if (!asked.tied()) return once;
  asked.forgive();
  return array(Ref<const Primitive>(this), rule_shape(once), once.dtype(),
               {inputs.begin(), inputs.end()}, once.stream());
}

// What is done again, as a function of one of its inputs; its second result is the input.
static Function of_input(const Again& again, const Edge& e) {
  return [&again, inputs = Arrays(e.inputs.begin(), e.inputs.end()), i = e.i](const Arrays& in) {
    Arrays all = inputs;
    all[static_cast<std::size_t>(i)] = in[0];
    return Arrays{again(all), in[0]};
  };
}
array Followed::vjp(const Edge& e, const array& cotangent) const {
  const Function f = of_input(again, e);
  return cermet::vjp([&](const Arrays& in) { return Arrays{f(in)[0]}; }, {e.input()}, {cotangent})
      .second[0];
}
array Followed::add_vjp(const Edge& e, const array& cotangent, const array& sum) const {
  return cermet::vjp(of_input(again, e), {e.input()}, {cotangent, sum}).second[0];
}
array Followed::vmap(const Batched& in, const array& output) const {
  return Batched{{&expansion_of(*output.node()), 1}, std::array{false}, in.size}.all()[0];
}

}  // namespace cermet
