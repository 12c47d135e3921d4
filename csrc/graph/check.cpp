// Axes, argument checks and the names of the enumerations that parameterize operations.
#include "graph/check.h"

#include <algorithm>

namespace cermet {

AxisError::AxisError(std::string_view op, std::int64_t axis, int ndim)
    : std::out_of_range(std::string(op) + ": axis " + std::to_string(axis) +
                        " is out of range for " + std::to_string(ndim) + " dimensions") {}

std::int64_t count_of(std::string_view op, const Shape& shape) {
  try {
    return element_count(shape);
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(std::string(op) + ": " + e.what());
  } catch (const std::length_error& e) {
    throw std::length_error(std::string(op) + ": " + e.what());
  }
}

int normalize_axis(std::string_view op, std::int64_t axis, int ndim) {
  if (axis < -ndim || axis >= ndim) throw AxisError(op, axis, ndim);
  return static_cast<int>(axis < 0 ? axis + ndim : axis);
}

Axes normalize_axes(std::string_view op, const OptionalAxes& axes, int ndim) {
  Axes out;
  if (!axes) {
    for (int i = 0; i < ndim; ++i) out.push_back(i);
    return out;
  }
  for (const int axis : *axes) out.push_back(normalize_axis(op, axis, ndim));
  std::sort(out.begin(), out.end());
  if (std::adjacent_find(out.begin(), out.end()) != out.end())
    fail(op, "axes ", *axes, " name an axis twice");
  return out;
}

Axes moved_last(int ndim, const Axes& last) {
  Axes order;
  for (int i = 0; i < ndim; ++i)
    if (std::find(last.begin(), last.end(), i) == last.end()) order.push_back(i);
  for (const int axis : last) order.push_back(axis);
  return order;
}

Axes inverse_of(const Axes& order) {
  Axes inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) inverse[order[i]] = static_cast<int>(i);
  return inverse;
}

Shape without(const Shape& shape, const Axes& axes) {
  Shape left;
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (std::find(axes.begin(), axes.end(), static_cast<int>(i)) == axes.end())
      left.push_back(shape[i]);
  return left;
}

Shape batch_of(const array& matrices) {
  return {matrices.shape().begin(), matrices.shape().end() - 2};
}

Shape matrices(Shape batch, std::int64_t rows, std::int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  const std::size_t skip = to.size() - from.size();
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] != to[skip + i] && from[i] != 1) return false;
  return true;
}

void require_places(std::string_view op, const Shape& shape, int axis) {
  constexpr std::int64_t kMost = std::int64_t{1} << 32;
  if (shape[axis] > kMost)
    fail(op, "axis ", axis, " of ", shape, " has more than ", kMost,
         " elements, the most that uint32 indices tell apart");
}

void require_floating(std::string_view op, Dtype dtype) {
  if (!is_floating(dtype)) fail(op, dtype, " is not supported, expected a floating type");
}

void require_inexact(std::string_view op, Dtype dtype) {
  if (!is_inexact(dtype))
    fail(op, dtype, " is not supported, expected a floating type or complex64");
}

std::string_view name_of(Update u) {
  constexpr std::string_view names[] = {"set", "add", "multiply", "minimum", "maximum"};
  return names[static_cast<int>(u)];
}

std::string_view name_of(ReduceOp r) {
  constexpr std::string_view names[] = {"sum", "prod", "min", "max", "all", "any"};
  return names[static_cast<int>(r)];
}

std::string_view name_of(ScanOp s) {
  constexpr std::string_view names[] = {"cumsum", "cumprod", "cummin", "cummax", "logcumsumexp"};
  return names[static_cast<int>(s)];
}

}  // namespace cermet
