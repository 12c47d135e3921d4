// What all primitives have in common: default rules, several results, and helpers of the rules.
#include "graph/primitive.h"
#include "graph/primitives/views.h"

#include <stdexcept>

#include "graph/fork.h"
#include "graph/rules.h"
#include "ops/cpp.h"

namespace cermet {
namespace {

[[noreturn]] void no_rule(const char* transform, const Primitive& primitive) {
  throw std::invalid_argument(std::string(transform) + ": " + std::string(primitive.name()) +
                              " has no rule for it");
}

bool same_shapes(std::span<const array> a, std::span<const array> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const array& x, const array& y) { return x.shape() == y.shape(); });
}

}  // namespace

void refuse_shapes(const Primitive& primitive, std::span<const array> inputs) {
  std::string shapes;
  for (const array& in : inputs) shapes += (shapes.empty() ? "" : ", ") + to_string(in.shape());
  throw std::invalid_argument(std::string(primitive.name()) + "(" + primitive.parameters() +
                              "): traced for other shapes than " + shapes);
}

Shape Primitive::output_shape(const Node& node, std::span<const array> inputs) const {
  if (!same_shapes(inputs, {node.inputs.data(), node.inputs.size()})) refuse_shapes(*this, inputs);
  return node.shape;
}
array Primitive::vjp(const Edge&, const array&) const { no_rule("vjp", *this); }
array Primitive::jvp(const Edge&, const array&) const { no_rule("jvp", *this); }
array Primitive::add_vjp(const Edge& e, const array& cotangent, const array& sum) const {
  return sum + vjp(e, cotangent);
}
array Primitive::add_jvp(const Edge& e, const array& tangent, const array& sum) const {
  return sum + jvp(e, tangent);
}
array Primitive::vmap(const Batched&, const array&) const { no_rule("vmap", *this); }

Arrays Batched::all() const {
  Arrays out(inputs.begin(), inputs.end());
  for (std::size_t i = 0; i < out.size(); ++i)
    if (!flags[i]) out[i] = broadcast_to(out[i], batch_shape(size, out[i].shape()));
  return out;
}

// ---- Composites ----

Shape Composite::output_shape(const Node& node, std::span<const array> inputs) const {
  const StreamContext context(node.stream);
  const Arrays results = expand(node, inputs);
  return results.size() == 1 ? results[0].shape() : Primitive::output_shape(node, inputs);
}

const Node* composite_of(const Node& node) {
  const Node& of = node.primitive->kind() == Kind::pick ? *node.inputs[0].node() : node;
  return of.primitive && of.primitive->kind() == Kind::composite ? &of : nullptr;
}

std::uint64_t identity_of(const Node& node) {
  return node.primitive && node.primitive->kind() == Kind::composite
             ? static_cast<const Composite&>(*node.primitive).identity()
             : 0;
}

const array& expansion_of(const Node& node) {
  const bool picks = node.primitive->kind() == Kind::pick;
  Node& composite = const_cast<Node&>(picks ? *node.inputs[0].node() : node);
  if (!has_expansion(composite)) {
    const StreamContext context(composite.stream);
    // Unlocked, as there may be a derivative in it, which asks for others. The first one stays.
    Arrays made = static_cast<const Composite&>(*composite.primitive)
                      .expand(composite, {composite.inputs.data(), composite.inputs.size()});
    const std::scoped_lock lock(mutex_of(Lock::expansions));
    if (composite.outputs.empty()) composite.outputs = std::move(made);
  }
  return composite.outputs[picks ? static_cast<const Pick&>(*node.primitive).index : 0];
}

bool has_expansion(const Node& composite) {
  const std::scoped_lock lock(mutex_of(Lock::expansions));
  return !composite.outputs.empty();
}

void become_expansion(Node& node) {
  const bool picks = node.primitive->kind() == Kind::pick;  // then the composite has it, too
  const array stand_in = expansion_of(node);
  node.outputs.clear();
  Node& e = *stand_in.node();
  const bool alone = e.refs() == 1u + picks && !e.constant && e.stream == node.stream &&
                     e.status.load(std::memory_order_acquire) == Status::lazy;
  const auto depends = Identity::instance(Identity::Why::depends);
  node.primitive = alone ? std::exchange(e.primitive, depends) : depends;
  node.inputs =
      alone ? std::exchange(e.inputs, {array(Ref<Node>(&node))}) : SmallVector<array, 2>{stand_in};
}

// ---- Several results ----

std::vector<std::optional<array>> Several::vjp_all(std::span<const array>, const Arrays&,
                                                   const Arrays&) const {
  no_rule("vjp", *this);
}
Arrays Several::jvp_all(std::span<const array>, const Arrays&,
                        const std::vector<std::optional<array>>&) const {
  no_rule("jvp", *this);
}

Arrays Several::vmap_all(const Batched& in, const Arrays& outputs) const {
  Results results;
  for (const array& out : outputs) results.push_back({out.shape(), out.dtype()});
  std::vector<Arrays> rows(outputs.size());
  for (std::int64_t b = 0; b < in.size; ++b) {
    SmallVector<array, 2> entry;
    for (std::size_t i = 0; i < in.inputs.size(); ++i)
      entry.push_back(in.flags[i] ? take(in.inputs[i], array(b), 0) : in.inputs[i]);
    const Arrays row =
        make_outputs(Ref<const Several>(this), results, std::move(entry), outputs[0].stream());
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].push_back(row[i]);
  }
  Arrays stacked;
  for (std::size_t i = 0; i < rows.size(); ++i)
    stacked.push_back(in.size ? stack(rows[i])
                              : zeros(batch_shape(0, results[i].shape), results[i].dtype));
  return stacked;
}

Arrays make_outputs(Ref<const Primitive> primitive, Results results, SmallVector<array, 2> inputs,
                    Stream stream) {
  const auto shared = std::make_shared<const Results>(std::move(results));
  const array node(std::move(primitive), {}, shared->at(0).dtype, std::move(inputs), stream);
  Arrays outputs;
  for (std::size_t i = 0; i < shared->size(); ++i)
    outputs.emplace_back(make_ref<Pick>(static_cast<int>(i), shared), (*shared)[i].shape,
                         (*shared)[i].dtype, SmallVector<array, 2>{node}, stream);
  return outputs;
}

// ---- Sources ----

Arange::Arange(double start, double step)
    : Arange(start, step, cpu::plain::truncated<std::int64_t>(start),
             cpu::plain::truncated<std::int64_t>(step)) {}
Shape Arange::output_shape(const Node& node, std::span<const array>) const { return node.shape; }

Shape RandomBits::output_shape(const Node& node, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  shape.back() = node.shape.back();
  return shape;
}
array RandomBits::vmap(const Batched& in, const array& output) const {
  return array(the<RandomBits>(), batch_shape(in.size, output.shape()), output.dtype(),
               {in.inputs[0]}, output.stream());
}

// ---- Helpers of the rules ----

array sum_to_shape(const array& a, const Shape& shape) {
  if (a.shape() == shape) return a;
  const int added = a.ndim() - static_cast<int>(shape.size());
  Axes axes;
  for (int i = 0; i < a.ndim(); ++i)
    if (i < added || (shape[static_cast<std::size_t>(i - added)] == 1 && a.shape(i) != 1))
      axes.push_back(i);
  return reshape(sum(a, axes), shape);
}

array expand_entries(const array& a, int ndim) {
  Axes axes;
  for (int i = 0; i < ndim + 1 - a.ndim(); ++i) axes.push_back(i + 1);
  return axes.empty() ? a : expand_dims(a, axes);
}

Shape batch_shape(std::int64_t batch, const Shape& entry) {
  Shape shape{batch};
  for (auto d : entry) shape.push_back(d);
  return shape;
}

array fold_batch(const array& a) {
  Shape shape(a.shape().begin() + 1, a.shape().end());
  shape[0] *= a.shape(0);
  return reshape(a, shape);
}

Axes batch_axes(const Axes& axes) {
  Axes shifted = axes;
  for (int& axis : shifted) ++axis;
  return shifted;
}

Shape slice_stop(const Shape& start, const Shape& step, const Shape& count) {
  Shape stop = start;
  for (std::size_t i = 0; i < stop.size(); ++i)
    if (count[i] > 0) stop[i] += (count[i] - 1) * step[i] + (step[i] > 0 ? 1 : -1);
  return stop;
}

}  // namespace cermet
