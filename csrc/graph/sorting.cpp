// Sorting, selection and search along an axis.
#include <algorithm>
#include <bit>

#include "graph/check.h"
#include "graph/primitive.h"

namespace cermet {
namespace {

array make_sort(std::string_view op, const array& a, int axis, bool indices,
                std::optional<std::int64_t> kth, StreamOrDevice s) {
  axis = normalize_axis(op, axis, a.ndim());
  const std::int64_t n = a.shape()[axis];
  if (kth) {
    if (*kth < -n || *kth >= n)
      fail(op, "position ", *kth, " is outside axis ", axis, " of ", a.shape());
    if (*kth < 0) *kth += n;
  }
  return array(make_ref<const Sort>(axis, indices, kth.value_or(-1)), a.shape(),
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
  Shape start(a.ndim(), 0);
  start[axis] = n - k;
  return slice(k == 0 ? a : partition(a, n - k, axis, s), start, a.shape(), s);
}

array searchsorted(const array& sorted, const array& values, bool right, StreamOrDevice s) {
  if (sorted.ndim() != 1)
    fail("searchsorted", "the sorted sequence has shape ", sorted.shape(),
         ", expected 1 dimension");
  const std::int64_t n = sorted.size();
  const Dtype t = promote(sorted.dtype(), values.dtype());
  const array x = astype(sorted, t, s), v = astype(values, t, s);
  array position = zeros(values.shape(), uint32, s);
  // A binary search for all values at once: one step for each bit of the answer.
  for (auto step = std::bit_floor(static_cast<std::uint64_t>(n)); step > 0; step /= 2) {
    const array next = add(position, array(static_cast<std::int64_t>(step), uint32), s);
    const array within = less_equal(next, array(n, uint32), s);
    const array last =
        subtract(minimum(next, array(n, uint32), s), array(std::int64_t{1}, uint32), s);
    const array at = take(x, last, 0, s);
    array before = elementwise(right ? Op::less_equal : Op::less, at, v, s);
    if (is_inexact(t)) {  // nan is behind everything
      const array nan = isnan(v, s);
      before =
          logical_or(before, right ? nan : logical_and(nan, logical_not(isnan(at, s), s), s), s);
    }
    position = select(logical_and(within, before, s), next, position, s);
  }
  return position;
}

}  // namespace cermet
