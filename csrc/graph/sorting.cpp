// Sorting, selection and search along an axis.
#include <algorithm>
#include <bit>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/follow.h"
#include "graph/primitives/arithmetic.h"

namespace cermet {
namespace {

array make_sort(std::string_view op, const array& a, int axis, bool indices,
                std::optional<std::int64_t> kth, StreamOrDevice s) {
  axis = normalize_axis(op, axis, a.ndim());
  if (indices) require_places(op, rule_shape(a), axis);
  if (kth) {
    const std::int64_t n = *kth < 0 ? a.shape()[axis] : rule_shape(a)[axis];
    if (*kth < -n || *kth >= n)
      fail(op, "position ", *kth, " is outside axis ", axis, " of ", a.shape());
    if (*kth < 0) *kth += n;
  }
  if (!indices && is_complex(a.dtype()))  // equal zeros have signs that their keys would not show
    return take_along_axis(a, make_sort(op, a, axis, true, kth, s), axis, s);
  return array(make_ref<const Sort>(axis, indices, kth.value_or(-1)), rule_shape(a),
               indices ? uint32 : a.dtype(), {a}, s.resolve());
}

}  // namespace

array sort(const array& a, int axis, StreamOrDevice s) {
  return make_sort("sort", a, axis, false, {}, s);
}
array argsort(const array& a, int axis, StreamOrDevice s) {
  return make_sort("argsort", a, axis, true, {}, s);
}
array partition(const array& a, std::int64_t kth, int axis, StreamOrDevice s) {
  return make_sort("partition", a, axis, false, kth, s);
}
array argpartition(const array& a, std::int64_t kth, int axis, StreamOrDevice s) {
  return make_sort("argpartition", a, axis, true, kth, s);
}

array topk(const array& a, std::int64_t k, int axis, StreamOrDevice s) {
  axis = normalize_axis("topk", axis, a.ndim());
  const std::int64_t n = a.shape()[axis];
  if (k < 0 || k > n)
    fail("topk", "k is ", k, ", expected 0 to ", n, ", the extent of axis ", axis, " of ",
         a.shape());
  if (k == n) return a;
  return section(k == 0 ? a : partition(a, n - k, axis, s), axis, n - k, n, 1, s);
}

array searchsorted(const array& sorted, const array& values, bool right, StreamOrDevice s) {
  if (sorted.ndim() != 1)
    fail("searchsorted", "the sorted sequence has shape ", sorted.shape(),
         ", expected 1 dimension");
  const std::int64_t n = sorted.size();
  if (n >= std::int64_t{1} << 32)
    fail("searchsorted", "the sorted sequence has ", n, " elements, places are uint32");
  const Dtype t = promote(sorted.dtype(), values.dtype());
  return array(make_ref<const SearchSorted>(right), values.shape(), uint32,
               {astype(sorted, t, s), astype(values, t, s)}, s.resolve());
}

Arrays SearchSorted::expand(const Node& node, std::span<const array> inputs) const {
  const array &x = inputs[0], &v = inputs[1];
  const bool right = options;
  const StreamOrDevice s = node.stream;
  const std::int64_t n = x.size();
  array position = zeros(v.shape(), uint32, s);
  // A binary search for all values at once: one step for each bit of the answer.
  for (auto step = std::bit_floor(static_cast<std::uint64_t>(n)); step > 0; step /= 2) {
    const array next = add(position, array(static_cast<std::int64_t>(step), uint32), s);
    const array within = less_equal(next, array(n, uint32), s);
    const array last =
        subtract(minimum(next, array(n, uint32), s), array(std::int64_t{1}, uint32), s);
    const array at = take(x, last, 0, s);
    array before = elementwise(right ? Op::less_equal : Op::less, at, v, s);
    if (is_inexact(v.dtype())) {  // nan is behind everything
      const array nan = isnan(v, s);
      before =
          logical_or(before, right ? nan : logical_and(nan, logical_not(isnan(at, s), s), s), s);
    }
    position = select(logical_and(within, before, s), next, position, s);
  }
  return {position};
}

Unique unique(const array& a, std::int64_t size, const std::optional<array>& fill_value,
              StreamOrDevice s) {
  if (fill_value && fill_value->size() != 1)
    fail("unique", "fill_value has shape ", fill_value->shape(), ", expected one element");
  std::optional<array> fill;
  if (fill_value) fill = reshape(astype(*fill_value, a.dtype(), s), {}, s);
  const std::int64_t n = a.size();
  if (size < 1) fail("unique", "size is ", size, ", expected 1 or more");
  if (n == 0) {
    if (!fill)
      fail("unique", "the array of shape ", a.shape(),
           " is empty, expected elements or a fill_value");
    return {broadcast_to(*fill, {size}, s), zeros({size}, uint32, s), zeros(a.shape(), uint32, s),
            zeros({size}, int32, s)};
  }
  if (n >= std::int64_t{1} << 31)
    fail("unique", "the array of shape ", a.shape(),
         " has 2^31 elements or more, counts are int32");
  const array flat = reshape(a, {n}, s), order = argsort(flat, 0, s);
  const array sorted = take(flat, order, 0, s);
  // Equal elements are neighbours now, and each run has a rank.
  const array changes = not_equal(slice(sorted, {1}, {n}, s), slice(sorted, {0}, {n - 1}, s), s);
  const array first = concatenate({ones({1}, bool_, s), changes}, 0, s);
  const array rank = subtract(cumsum(astype(first, int32, s), 0, false, true, {}, s),
                              array(std::int64_t{1}, int32), s);
  // One slot behind the last takes what is too much.
  const array slot = minimum(rank, array(size, int32), s);
  const auto dropped = [&](const array& slots) { return slice(slots, {0}, {size}, s); };
  const array start =
      dropped(scatter(zeros({size + 1}, int32, s), {select(first, slot, array(size, int32), s)},
                      arange(0, static_cast<double>(n), 1, int32, s), {0}, Update::set, s));
  const array counts = dropped(
      scatter(zeros({size + 1}, int32, s), {slot}, ones({n}, int32, s), {0}, Update::add, s));
  array values = take(sorted, start, 0, s);
  if (fill) values = where(greater(counts, array(std::int64_t{0}, int32), s), values, *fill, s);
  const array place = astype(minimum(rank, array(size - 1, int32), s), uint32, s);
  const array inverse = scatter(zeros({n}, uint32, s), {order}, place, {0}, Update::set, s);
  return {values, take(order, start, 0, s), reshape(inverse, a.shape(), s), counts};
}

}  // namespace cermet
