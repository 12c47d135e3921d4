// Rules of the primitives that move elements without computing: views, copies and concatenation.
#include <map>
#include <numeric>

#include "graph/check.h"
#include "graph/follow.h"
#include "graph/rules.h"

namespace cermet {
namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

bool is_zeros(const array& a) {
  const Node& n = *a.node();
  return n.primitive && n.primitive->kind() == Kind::broadcast && n.inputs[0].node()->constant &&
         n.inputs[0].node()->scalar == 0;
}

constexpr std::size_t kFewTerms = 8;

// A sum with a term added to a slice of it. Where it is zeros and terms that cover an axis, each
// element once, it becomes their concatenation: so the derivative of a split is one.
array add_to_slice(const array& sum, const array& term, const Shape& start, const Shape& step) {
  const array added =
      slice_update(sum, term, start, slice_stop(start, step, term.shape()), step, Update::add);
  int axis = 0;
  while (axis < sum.ndim() && term.shape(axis) == sum.shape(axis)) ++axis;
  if (axis == sum.ndim()) return added;
  // Of many terms the last is most often the first or the last on the axis. So they are not looked
  // through each time.
  const std::int64_t extent = sum.shape(axis), begin = start[at(axis)];
  const std::size_t most = begin && begin + term.shape(axis) != extent ? kFewTerms : extent;
  std::map<std::int64_t, array> terms;  // by where they begin
  array rest = added;
  for (std::int64_t left = extent; left > 0;) {
    // What nobody else refers to is no other thread's. (The caller and `rest` do.)
    const std::uint32_t refs = rest.node() == sum.node() ? 3 : 2;
    const auto* p = rest.node() == added.node() || rest.node()->refs() <= refs
                        ? dynamic_cast<const SliceUpdate*>(rest.primitive())
                        : nullptr;
    if (!p || (p->mode != Update::set && p->mode != Update::add)) return added;
    const array piece = rest.inputs()[1];
    Shape whole = piece.shape();
    whole[at(axis)] = extent;
    if (whole != sum.shape() || p->step != Shape(whole.size(), 1) ||
        !terms.emplace(p->start[at(axis)], piece).second || terms.size() > most)
      return added;
    left -= piece.shape(axis);
    rest = array(rest.inputs()[0]);
  }
  Arrays joined;
  std::int64_t next = 0;
  for (const auto& [first, piece] : terms) {
    if (first != next) return added;
    next += piece.shape(axis);
    joined.push_back(piece);
  }
  return next == extent && is_zeros(rest) ? concatenate(joined, axis) : added;
}

}  // namespace

// ---- broadcast_to ----

Shape Broadcast::output_shape(const Node& node, std::span<const array> inputs) const {
  if (!broadcasts_to(inputs[0].shape(), node.shape)) refuse_shapes(*this, inputs);
  return node.shape;
}
array Broadcast::vjp(const Edge& e, const array& cotangent) const {
  return sum_to_shape(cotangent, e.inputs[0].shape());
}
array Broadcast::jvp(const Edge& e, const array& tangent) const {
  return broadcast_to(tangent, e.output.shape());
}
array Broadcast::vmap(const Batched& in, const array& output) const {
  return broadcast_to(expand_entries(in.inputs[0], output.ndim()),
                      batch_shape(in.size, output.shape()));
}

// ---- reshape ----

Shape Reshape::output_shape(const Node& node, std::span<const array> inputs) const {
  const Shape &now = inputs[0].shape(), &then = rule_shape(node.inputs[0]);
  if (now == then) return node.shape;
  Shape shape = spec;
  std::int64_t known = 1;
  for (auto& n : shape) {
    if (n < -1) n = now[static_cast<std::size_t>(extent_of(n))];
    if (n >= 0) known = (Size(name(), known) * n).value();
  }
  const std::int64_t size = inputs[0].size();
  const auto rest = std::find(shape.begin(), shape.end(), -1);
  // Of no elements it cannot be said which of them went where.
  if (size == 0 || known == 0 || (rest == shape.end() ? known != size : size % known != 0))
    refuse_shapes(*this, inputs);
  if (rest != shape.end()) *rest = size / known;
  return shape;
}
array Reshape::vjp(const Edge& e, const array& cotangent) const {
  return reshape(cotangent, e.inputs[0].shape());
}
array Reshape::jvp(const Edge& e, const array& tangent) const {
  return reshape(tangent, e.output.shape());
}
array Reshape::vmap(const Batched& in, const array& output) const {
  return reshape(in.inputs[0], batch_shape(in.size, output.shape()));
}
std::string Reshape::parameters() const {
  std::string text = "shape=(";
  for (const auto n : spec) {
    if (text.back() != '(') text += ", ";
    text += n < -1 ? "axis " + std::to_string(extent_of(n)) : std::to_string(n);
  }
  return text + ")";
}

// ---- transpose ----

Shape Transpose::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape;
  for (int axis : axes) shape.push_back(inputs[0].shape(axis));
  return shape;
}
array Transpose::vjp(const Edge&, const array& cotangent) const {
  // A product's rule gives what is transposed back here: then no step stands behind the product.
  const Primitive* made_by = cotangent.primitive();
  if (made_by && made_by->kind() == kind() && equals(*made_by)) return cotangent.inputs()[0];
  return cermet::transpose(cotangent, inverse_of(axes));
}
array Transpose::jvp(const Edge&, const array& tangent) const {
  return cermet::transpose(tangent, axes);
}
array Transpose::vmap(const Batched& in, const array&) const {
  Axes all = batch_axes(axes);
  all.insert(all.begin(), 0);
  return cermet::transpose(in.inputs[0], all);
}
std::string Transpose::parameters() const { return "axes=" + tuple(axes); }

// ---- slice ----

Shape Slice::output_shape(const Node& node, std::span<const array> inputs) const {
  // The same elements, where they are there.
  const Shape& now = inputs[0].shape();
  if (now.size() != start.size()) refuse_shapes(*this, inputs);
  for (std::size_t i = 0; i < now.size(); ++i) {
    const std::int64_t last = start[i] + (node.shape[i] - 1) * step[i];
    if (node.shape[i] && std::max(start[i], last) >= now[i]) refuse_shapes(*this, inputs);
  }
  return node.shape;
}
array Slice::vjp(const Edge& e, const array& cotangent) const {
  return slice_update(zeros_like(e.inputs[0]), cotangent, start,
                      slice_stop(start, step, e.output.shape()), step);
}
array Slice::add_vjp(const Edge&, const array& cotangent, const array& sum) const {
  return add_to_slice(sum, cotangent, start, step);
}
array Slice::jvp(const Edge& e, const array& tangent) const {
  return slice(tangent, start, slice_stop(start, step, e.output.shape()), step);
}
array Slice::vmap(const Batched& in, const array& output) const {
  return slice(in.inputs[0], batch_shape(0, start),
               batch_shape(in.size, slice_stop(start, step, output.shape())), batch_shape(1, step));
}
std::string Slice::parameters() const { return "start=" + tuple(start) + ", step=" + tuple(step); }

// ---- as_strided ----

Shape AsStrided::output_shape(const Node& node, std::span<const array> inputs) const {
  return Primitive::output_shape(node, inputs);
}
array AsStrided::vjp(const Edge& e, const array& cotangent) const {
  return add_vjp(e, cotangent, zeros_like(e.inputs[0]));
}
array AsStrided::add_vjp(const Edge& e, const array& cotangent, const array& sum) const {
  const array element = as_strided(arange(sum.size()), e.output.shape(), strides, offset);
  return reshape(scatter(reshape(sum, {-1}), {element}, cotangent, {0}, Update::add), sum.shape());
}
array AsStrided::jvp(const Edge& e, const array& tangent) const {
  return as_strided(tangent, e.output.shape(), strides, offset);
}
array AsStrided::vmap(const Batched& in, const array& output) const {
  const std::int64_t entry = in.size ? in.inputs[0].size() / in.size : 0;
  return as_strided(in.inputs[0], batch_shape(in.size, output.shape()), batch_shape(entry, strides),
                    offset);
}

// ---- view ----

Shape Bitcast::output_shape(const Node& node, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  if (shape.empty()) return shape;
  const auto bytes = shape.back() * static_cast<std::int64_t>(inputs[0].itemsize());
  const auto itemsize = static_cast<std::int64_t>(size_of(node.dtype));
  if (bytes % itemsize) refuse_shapes(*this, inputs);
  shape.back() = bytes / itemsize;
  return shape;
}
array Bitcast::vjp(const Edge& e, const array& cotangent) const {
  return view(cotangent, e.inputs[0].dtype());
}
array Bitcast::jvp(const Edge& e, const array& tangent) const {
  return view(tangent, e.output.dtype());
}
array Bitcast::vmap(const Batched& in, const array& output) const {
  return view(in.inputs[0], output.dtype());
}

// ---- identity ----

Ref<const Primitive> Identity::instance(Why why) {
  static const Ref<const Primitive> tracer(new Identity(Why::tracer)),
      stop_gradient(new Identity(Why::stop_gradient)), depends(new Identity(Why::depends));
  switch (why) {
    case Why::tracer: return tracer;
    case Why::stop_gradient: return stop_gradient;
    default: return depends;
  }
}
Shape Identity::output_shape(const Node&, std::span<const array> inputs) const {
  return inputs[0].shape();
}
array Identity::vjp(const Edge&, const array& cotangent) const { return cotangent; }
array Identity::jvp(const Edge&, const array& tangent) const { return tangent; }
array Identity::vmap(const Batched& in, const array& output) const {
  const array first = in.part(0, 1).all()[0];
  SmallVector<array, 2> all(in.inputs.begin(), in.inputs.end());
  all[0] = first;
  return array(instance(why), first.shape(), output.dtype(), std::move(all), output.stream());
}

// ---- contiguous ----

Shape Contiguous::output_shape(const Node&, std::span<const array> inputs) const {
  return inputs[0].shape();
}
array Contiguous::vjp(const Edge&, const array& cotangent) const { return cotangent; }
array Contiguous::jvp(const Edge&, const array& tangent) const {
  return contiguous(tangent, allow_col_major);
}
array Contiguous::vmap(const Batched& in, const array&) const {
  return contiguous(in.inputs[0], allow_col_major);
}

// ---- concatenate ----

Shape Concatenate::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  shape[at(axis)] = 0;
  for (const array& in : inputs) {
    for (int i = 0; i < in.ndim(); ++i)
      if (i == axis ? in.shape(i) == 0 : in.shape(i) != shape[at(i)]) refuse_shapes(*this, inputs);
    shape[at(axis)] += in.shape(axis);
  }
  return shape;
}
// Where an input begins in the output.
static std::int64_t start_of(const Edge& e, int axis) {
  std::int64_t start = 0;
  for (const array& before : e.inputs.first(at(e.i))) start += before.shape(axis);
  return start;
}
array Concatenate::vjp(const Edge& e, const array& cotangent) const {
  const std::int64_t start = start_of(e, axis);
  return section(cotangent, axis, start, start + e.input().shape(axis), 1, {});
}
array Concatenate::jvp(const Edge& e, const array& tangent) const {
  return add_jvp(e, tangent, zeros(e.output.shape(), tangent.dtype()));
}
array Concatenate::add_jvp(const Edge& e, const array& tangent, const array& sum) const {
  Shape start(at(sum.ndim()), 0);
  start[at(axis)] = start_of(e, axis);
  return add_to_slice(sum, tangent, start, Shape(start.size(), 1));
}
array Concatenate::vmap(const Batched& in, const array&) const {
  return concatenate(in.all(), axis + 1);
}
std::string Concatenate::parameters() const { return "axis=" + std::to_string(axis); }

}  // namespace cermet
