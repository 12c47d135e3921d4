// Maxima of windows, and what goes to their places and comes from there.
#include <limits>

#include "cermet/fast.h"
#include "graph/check.h"
#include "graph/composites.h"
#include "graph/convolution.h"
#include "graph/rules.h"

namespace cermet {
namespace {

using Role = MaxPoolOptions::Role;

array pooled(MaxPoolOptions options, Role role, const Arrays& inputs) {
  options.role = role;
  Shape shape = inputs[0].shape();
  if (role != Role::spread) {
    int axis = 1;
    for (const Along& a : options.axes(shape)) shape[axis++] = a.out();
  }
  SmallVector<array, 2> all;
  for (const array& a : inputs) all.push_back(a);
  return array(make_ref<const MaxPool>(std::move(options)), shape, inputs[0].dtype(), all,
               StreamOrDevice{}.resolve());
}

// The batch axis and the first one as one, of all.
Arrays folded(const Arrays& inputs) {
  Arrays all;
  for (const array& a : inputs) all.push_back(fold_batch(a));
  return all;
}

}  // namespace

std::vector<Along> MaxPoolOptions::axes(const Shape& input) const {
  Shape weight{1};
  for (const std::int64_t n : kernel) weight.push_back(n);
  weight.push_back(input.back());
  return spatial_axes("max_pool", input, weight, {stride, padding, padding});
}

array fast::max_pool(const array& x, const Shape& kernel, const Shape& stride, const Shape& padding,
                     StreamOrDevice s) {
  constexpr std::string_view op = "max_pool";
  require_floating(op, x.dtype());
  if (x.ndim() != static_cast<int>(kernel.size()) + 2)
    fail(op, "input ", x.shape(), " and window ", kernel,
         ": expected (n, *spatial, channels) and an extent for each spatial axis");
  const StreamContext context(s.resolve());
  return pooled({Role::maximum, kernel, stride, padding}, Role::maximum, {x});
}

std::string MaxPool::parameters() const {
  constexpr std::string_view roles[] = {"", "pick, ", "spread, "};
  return std::string(roles[static_cast<int>(options.role)]) + "kernel=" + tuple(options.kernel) +
         ", stride=" + tuple(options.stride) + ", padding=" + tuple(options.padding);
}

Shape MaxPool::output_shape(const Node&, std::span<const array> inputs) const {
  return pooled(options, options.role, Arrays(inputs.begin(), inputs.end())).shape();
}
array MaxPool::vjp(const Edge& e, const array& cotangent) const {
  const Role back = options.role == Role::spread ? Role::pick : Role::spread;
  return pooled(options, back, {e.inputs[0], cotangent});
}
array MaxPool::jvp(const Edge& e, const array& tangent) const {
  const Role along = options.role == Role::maximum ? Role::pick : options.role;
  return pooled(options, along, {e.inputs[0], tangent});
}
array MaxPool::vmap(const Batched& in, const array& output) const {
  return reshape(pooled(options, options.role, folded(in.all())),
                 batch_shape(in.size, output.shape()));
}

// Tap by tap: a greater element, or a NaN, takes the place of the one before.
Arrays MaxPool::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const array& x = inputs[0];
  const std::vector<Along> axes = options.axes(x.shape());
  std::vector<std::pair<std::int64_t, std::int64_t>> widths(x.ndim());
  std::int64_t taps = 1;
  for (std::size_t i = 0; i < axes.size(); ++i)
    widths[i + 1] = {axes[i].low, axes[i].high}, taps *= axes[i].kernel;
  const auto extended = [&](const array& a, double value) {
    return pad(a, widths, astype(array(value), a.dtype(), s), "constant", s);
  };
  // Where a tap's elements are in what is extended.
  const auto places = [&](std::int64_t t) {
    Shape start(x.ndim(), 0), stop = x.shape(), step(x.ndim(), 1);
    for (std::size_t i = axes.size(); i-- > 0; t /= axes[i].kernel) {
      start[i + 1] = t % axes[i].kernel;
      stop[i + 1] = start[i + 1] + (axes[i].out() - 1) * axes[i].stride + 1;
      step[i + 1] = axes[i].stride;
    }
    return std::array<Shape, 3>{start, stop, step};
  };
  const array elements = extended(x, -std::numeric_limits<double>::infinity());
  const array others = options.role == Role::pick ? extended(inputs[1], 0) : elements;
  std::optional<array> best, chosen;
  for (std::int64_t t = 0; t < taps; ++t) {
    const auto [start, stop, step] = places(t);
    const array part = slice(elements, start, stop, step, s);
    const array other = options.role == Role::pick ? slice(others, start, stop, step, s)
                                                   : full_like(part, array(t), int32, s);
    if (!best) {
      best = part, chosen = other;
      continue;
    }
    const array better = logical_or(greater(part, *best, s), isnan(part, s), s);
    best = where(better, part, *best, s);
    chosen = where(better, other, *chosen, s);
  }
  if (options.role == Role::maximum) return {*best};
  if (options.role == Role::pick) return {*chosen};
  array sum = zeros(elements.shape(), x.dtype(), s);
  const array zero = astype(array(0), x.dtype(), s);
  for (std::int64_t t = 0; t < taps; ++t) {
    const auto [start, stop, step] = places(t);
    const array part = where(equal(*chosen, array(static_cast<int>(t)), s), inputs[1], zero, s);
    sum = slice_update(sum, part, start, stop, step, Update::add, s);
  }
  Shape start(x.ndim(), 0), stop = x.shape();
  for (std::size_t i = 0; i < axes.size(); ++i)
    start[i + 1] = axes[i].low, stop[i + 1] += axes[i].low;
  return {slice(sum, start, stop, s)};
}

}  // namespace cermet
