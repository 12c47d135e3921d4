// What a shapeless trace may not depend on: the extents of its inputs.
//
// An array that depends on such inputs says so, and who asks it for its shape ties the trace to the
// extents that it was made with. There are two ways not to: a primitive's rule reads `rule_shape`,
// as it is asked again for other extents; and what is done through `follow` is done again.
#pragma once

#include "cermet/follow.h"
#include "graph/primitive.h"

namespace cermet {

// While it lives this thread makes a shapeless trace. What ties it ties those around it as well.
class Following {
 public:
  Following();
  ~Following();
  Following(const Following&) = delete;
  Following& operator=(const Following&) = delete;
  bool tied() const { return tied_; }
  void forgive() { tied_ = false; }
  static bool any();

 private:
  friend void note_extents(const Node&);
  Following* const outer_;
  const int errors_;
  bool tied_ = false;
};

// The shape as a rule reads it, that gives for any other extents what they call for.
inline const Shape& rule_shape(const array& a) { return a.node()->shape; }
inline std::int64_t rule_size(const array& a) { return a.node()->size; }
// Ties the trace where a condition on the extents of `a` leads off the way that its rule goes.
inline bool off_rule(bool condition, const array& a) {
  if (condition) a.shape();
  return condition;
}

// An operation that is done again for other extents.
class Followed : public Composite {
 public:
  Followed(std::string_view name, Again again, bool by_value)
      : again(std::move(again)), name_(name), by_value_(by_value) {}
  const Again again;
  std::string_view name() const override { return name_; }
  bool equals(const Primitive& o) const override { return this == &o; }
  Arrays expand(const Node&, std::span<const array> inputs) const override {
    return {again(inputs)};
  }
  // What depends on the inputs' shapes alone has no derivative.
  Rules rules() const override { return by_value_ ? Rules::none : Rules::all; }
  bool differentiable_by(int) const override { return by_value_; }
  // Within its trace a backward pass does not expand it, and its derivative is done again, too.
  array vjp(const Edge& e, const array& cotangent) const override;
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
  array vmap(const Batched& in, const array& output) const override;
  // The same for other inputs, as a node of a shapeless trace where it asks for extents.
  array of(std::span<const array> inputs) const;

 private:
  const std::string name_;
  const bool by_value_;
};

// The rule of a primitive for the cotangent of its input i, and what others contributed, if any.
struct Pull {
  Ref<const Primitive> primitive;
  int i;
  bool adds;
  auto tied() const { return std::tie(primitive, i, adds); }
  // Of the primitive's inputs, its output, the output's cotangent and, if it adds, the sum.
  array operator()(std::span<const array> all) const {
    const std::size_t n = all.size() - 2 - adds;
    const Edge e{i, all.first(n), all[n]};
    return adds ? primitive->add_vjp(e, all[n + 1], all[n + 2]) : primitive->vjp(e, all[n + 1]);
  }
};
// That, done again.
class Pulled final : public Followed {
 public:
  explicit Pulled(Pull pull)
      : Followed(pull.primitive->name(), pull, true), pull(std::move(pull)) {}
  const Pull pull;
  auto tied() const { return std::tie(pull); }
  Shape output_shape(const Node&, std::span<const array> inputs) const override {
    return rule_shape(inputs[static_cast<std::size_t>(pull.i)]);
  }
};

}  // namespace cermet
