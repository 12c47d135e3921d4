// Elementwise nodes: the table's facts, dtype rules and broadcasting. Building a node is the hot
// path of every program, so the common case (equal shapes and dtypes) does nothing twice.
#include "cermet/elementwise.h"

#include <optional>
#include <stdexcept>

#include "cermet/ops.h"
#include "graph/check.h"
#include "graph/follow.h"
#include "graph/primitives/arithmetic.h"
#include "graph/primitives/creation.h"

namespace cermet {
namespace {

constexpr OpInfo kTable[] = {
#define CERMET_ELEMENTWISE(name, arity, rule, doc) {#name, arity, Rule::rule, doc},
#include "cermet/elementwise.def"
#undef CERMET_ELEMENTWISE
    {"astype", 1, Rule::same, "Conversion to another type."},
};

[[noreturn]] void refuse(Op op, Dtype t, const char* expected) {
  throw std::invalid_argument(std::string(info(op).name) + ": " + std::string(name_of(t)) +
                              " is not supported, expected " + expected);
}

struct Types {
  Dtype compute, result;
};

Types types(Op op, Dtype t) {
  switch (info(op).rule) {
    case Rule::same:
      if (op == Op::negative && t == Dtype::bool_) refuse(op, t, "a number");
      [[fallthrough]];
    case Rule::choice: return {t, t};
    case Rule::inexact: t = to_inexact(t); return {t, t};
    case Rule::real_inexact:
      if (is_complex(t)) refuse(op, t, "a real type");
      t = to_inexact(t);
      return {t, t};
    case Rule::real:
    case Rule::rounding:
      if (is_complex(t)) refuse(op, t, "a real type");
      return {t, t};
    case Rule::magnitude:
    case Rule::component: return {t, is_complex(t) ? float32 : t};
    case Rule::comparison:
    case Rule::predicate: return {t, Dtype::bool_};
    case Rule::logical: return {Dtype::bool_, Dtype::bool_};
    case Rule::bitwise:
      if (is_inexact(t)) refuse(op, t, "an integer type or bool");
      return {t, t};
  }
  return {t, t};
}

Shape broadcast(Op op, std::span<const array> inputs) {
  Shape shape = rule_shape(inputs[0]);
  for (const array& in : inputs.subspan(1)) {
    if (rule_shape(in) == shape || in.ndim() == 0) continue;
    try {
      shape = broadcast_shapes(shape, rule_shape(in));
    } catch (const std::invalid_argument&) {
      std::string all;
      for (const array& a : inputs) all += (all.empty() ? "" : ", ") + to_string(a.shape());
      throw std::invalid_argument(std::string(info(op).name) + ": shapes " + all +
                                  " do not broadcast to one shape");
    }
  }
  return shape;
}

// Rounding leaves integers and conjugation leaves real numbers as they are.
bool is_noop(Op op, Dtype t) {
  return (info(op).rule == Rule::rounding && !is_inexact(t)) ||
         ((op == Op::conjugate || op == Op::real) && !is_complex(t));
}

// The operation that a power with a constant exponent is, with the same rounding: a square is
// common and costs a twentieth.
std::optional<Op> constant_power(const array& exponent) {
  const std::optional<double> value = known_value(exponent);
  if (value == 2.0) return Op::square;
  if (value == -1.0 && is_inexact(exponent.dtype())) return Op::reciprocal;
  return std::nullopt;
}

}  // namespace

const OpInfo& info(Op op) { return kTable[static_cast<int>(op)]; }
std::span<const OpInfo> elementwise_table() { return {kTable, std::size(kTable) - 1}; }

namespace {

array make(Op op, SmallVector<array, 2> inputs, StreamOrDevice s) {
  const std::size_t first = info(op).rule == Rule::choice ? 1 : 0;
  Dtype t = inputs[first].dtype();
  for (std::size_t i = first + 1; i < inputs.size(); ++i) t = promote(t, inputs[i].dtype());
  const Types dtypes = types(op, t);
  if (inputs.size() == 1 && is_noop(op, t)) return inputs[0];
  if (op == Op::power && t == inputs[0].dtype() && !is_complex(t) && inputs[1].ndim() == 0)
    if (const auto simpler = constant_power(inputs[1])) return elementwise(*simpler, inputs[0], s);

  Shape shape = broadcast(op, {inputs.data(), inputs.size()});
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Dtype wanted = i < first ? Dtype::bool_ : dtypes.compute;
    if (inputs[i].dtype() != wanted) inputs[i] = astype(inputs[i], wanted, s);
  }
  return array(Elementwise::instance(op), std::move(shape), dtypes.result, std::move(inputs),
               s.resolve());
}

}  // namespace

array elementwise(Op op, std::span<const array> inputs, StreamOrDevice s) {
  return make(op, {inputs.begin(), inputs.end()}, s);
}
array elementwise(Op op, const array& a, StreamOrDevice s) { return make(op, {a}, s); }
array elementwise(Op op, const array& a, const array& b, StreamOrDevice s) {
  return make(op, {a, b}, s);
}
array elementwise(Op op, const array& a, const array& b, const array& c, StreamOrDevice s) {
  return make(op, {a, b, c}, s);
}

array astype(const array& a, Dtype dtype, StreamOrDevice s) {
  if (a.dtype() == dtype) return a;
  return array(Elementwise::instance(Op::cast), rule_shape(a), dtype, {a}, s.resolve());
}

array scalar_like(double value, const array& like) {
  if (is_inexact(like.dtype())) return array(value, like.dtype());
  const bool whole = value == static_cast<double>(static_cast<std::int64_t>(value));
  if (!whole) return array(value, float32);
  return array(static_cast<std::int64_t>(value),
               like.dtype() == Dtype::bool_ ? int32 : like.dtype());
}

Shape broadcast_shapes(const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  const std::size_t skip = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    std::int64_t& d = out[skip + i];
    if (d == 1)
      d = shorter[i];
    else if (shorter[i] != 1 && shorter[i] != d)
      throw std::invalid_argument("broadcast_shapes: " + to_string(a) + " and " + to_string(b) +
                                  " do not broadcast to one shape");
  }
  return out;
}

Ref<const Primitive> Elementwise::instance(Op op) {
  static const std::vector<Elementwise*>* const all = [] {  // nodes may outlive static objects
    auto* v = new std::vector<Elementwise*>;
    for (int i = 0; i < kOpCount; ++i) v->push_back(new Elementwise(static_cast<Op>(i)));
    return v;
  }();
  return Ref<const Primitive>((*all)[static_cast<int>(op)]);
}
Shape Elementwise::output_shape(const Node&, std::span<const array> inputs) const {
  return broadcast(op, inputs);
}

Shape Constant::output_shape(const Node& node, std::span<const array>) const { return node.shape; }

}  // namespace cermet
