// Reductions, scans, sorting and search.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

using Reduction = array(const array&, const OptionalAxes&, bool, StreamOrDevice);
constexpr Row<Reduction> kReductions[] = {
    {"sum", &sum, "The sum over the axes, or all. bool and narrow integers sum as 32-bit ones."},
    {"prod", &prod, "The product over the axes, or all."},
    {"mean", &mean, "The mean over the axes, or all; half types are averaged in float32."},
    {"min", &min, "The smallest element over the axes, or all; nan if one is nan."},
    {"max", &max, "The largest element over the axes, or all; nan if one is nan."},
    {"all", &all, "Whether all elements over the axes, or all, are true (not zero)."},
    {"any", &any, "Whether any element over the axes, or all, is true (not zero)."},
    {"logsumexp", &logsumexp, "log(sum(exp(a))) over the axes, or all, without overflow."},
};

constexpr Row<array(const array&, const OptionalAxes&, bool, int, StreamOrDevice)> kSpreads[] = {
    {"var", &var, "The variance over the axes, or all, with divisor N - ddof."},
    {"std", &std, "The standard deviation over the axes, or all, with divisor N - ddof."},
};

constexpr Row<array(const array&, std::optional<int>, bool, StreamOrDevice)> kArgExtremes[] = {
    {"argmin", &argmin,
     "The uint32 index of the first smallest element along an axis, or flattened."},
    {"argmax", &argmax,
     "The uint32 index of the first largest element along an axis, or flattened."},
};

using TypedScan = array(const array&, int, bool, bool, std::optional<Dtype>, StreamOrDevice);
constexpr Row<TypedScan> kTypedScans[] = {
    {"cumsum", &cumsum, "Running sums along an axis, or of the flattened array."},
    {"cumprod", &cumprod, "Running products along an axis, or of the flattened array."},
};

constexpr Row<array(const array&, int, bool, bool, StreamOrDevice)> kScans[] = {
    {"cummax", &cummax, "Running maxima along an axis, or of the flattened array."},
    {"cummin", &cummin, "Running minima along an axis, or of the flattened array."},
    {"logcumsumexp", &logcumsumexp, "Running logsumexp along an axis, or of the flattened array."},
};

constexpr Row<array(const array&, int, StreamOrDevice)> kSorts[] = {
    {"sort", &sort, "Sorted along an axis (flattened with None); stable, nan last."},
    {"argsort", &argsort, "The uint32 indices that sort along an axis (flattened with None)."},
};

constexpr Row<array(const array&, std::int64_t, int, StreamOrDevice)> kSelections[] = {
    {"partition", &partition,
     "Ordered so that element kth is where sorting puts it, smaller ones in front."},
    {"argpartition", &argpartition, "The uint32 indices that partition along an axis."},
    {"topk", &topk, "The k largest elements along an axis, in no promised order."},
};

// f(a, axis, ...) as a function whose axis may be None: of the flattened array then.
template <class... Rest>
auto of_axis_or_all(array (*f)(const array&, int, Rest...)) {
  return [f](const array& a, std::optional<int> axis, Rest... rest) {
    const array over = flat_unless(a, axis);
    return f(over, *axis, rest...);
  };
}

void bind_extremes(nb::module_& m, ArrayClass& cls) {
  for (const auto& row : kArgExtremes)
    def_both(m, cls, row.name, row.function, row.doc, "axis"_a = nb::none(), "keepdims"_a = false);
  def_op(
      m, "minmax",
      [](const array& a, const OptionalAxes& axis, bool keepdims, StreamOrDevice s) {
        return std::tuple(min(a, axis, keepdims, s), max(a, axis, keepdims, s));
      },
      "The smallest and the largest element over the axes, or all.", "a"_a, "axis"_a = nb::none(),
      "keepdims"_a = false);
}

void bind_scans(nb::module_& m, ArrayClass& cls) {
  for (const auto& row : kTypedScans)
    def_both(m, cls, row.name, of_axis_or_all(row.function), row.doc, "axis"_a = nb::none(),
             nb::kw_only(), "reverse"_a = false, "inclusive"_a = true, "dtype"_a = nb::none());
  m.attr("cumulative_sum") = m.attr("cumsum");
  m.attr("cumulative_prod") = m.attr("cumprod");
  for (const auto& row : kScans)
    def_both(m, cls, row.name, of_axis_or_all(row.function), row.doc, "axis"_a = nb::none(),
             nb::kw_only(), "reverse"_a = false, "inclusive"_a = true);
  def_op(m, "diff", &diff, "Differences of neighbours along an axis, taken n times.", "a"_a,
         "n"_a = 1, "axis"_a = -1);
}

void bind_sorts(nb::module_& m) {
  for (const auto& row : kSorts)
    def_op(m, row.name, of_axis_or_all(row.function), row.doc, "a"_a, "axis"_a.none() = -1);
  for (const auto& row : kSelections)
    def_op(
        m, row.name,
        [f = row.function](const array& a, std::int64_t count, std::optional<int> axis,
                           StreamOrDevice s) {
          const array over = flat_unless(a, axis);
          return f(over, count, *axis, s);
        },
        row.doc, "a"_a, nb::arg(row.function == &topk ? "k" : "kth"), "axis"_a.none() = -1);
  m.def(
      "nonzero", [](const array& a) { return nb::tuple(nb::cast(nonzero(a))); },
      nb::sig("def nonzero(a: array, /) -> tuple[array, ...]"), nb::arg(),
      "The places of the elements that are not zero, in row-major order: for each axis an integer "
      "array of shape (n,). Evaluates `a`.");
  m.def(
      "argwhere",
      [](const array& a) {
        if (a.ndim() > 0) return stack(nonzero(a, "argwhere"), 1);
        return zeros({nonzero(reshape(a, {1}), "argwhere")[0].size(), 0}, int32);
      },
      nb::sig("def argwhere(a: array, /) -> array"), nb::arg(),
      "The places of the elements that are not zero, in row-major order: shape (n, a.ndim). "
      "Evaluates `a`.");
  def_op(
      m, "searchsorted",
      [](const array& sorted, const array& values, const std::string& side, StreamOrDevice s) {
        if (side != "left" && side != "right")
          throw std::invalid_argument("searchsorted: side is 'left' or 'right', not '" + side +
                                      "'");
        return searchsorted(sorted, values, side == "right", s);
      },
      "The uint32 index before which each value keeps a sorted 1-d array in order, before or "
      "behind equal elements.",
      "sorted_sequence"_a, "values"_a, "side"_a = "left");
  def_op(
      m, "unique",
      [](const array& a, std::int64_t size, bool return_index, bool return_inverse,
         bool return_counts, std::optional<Operand> fill_value,
         StreamOrDevice s) -> std::variant<array, nb::tuple> {
        const Unique found = unique(a, size, to_optional_array(fill_value, a.dtype()), s);
        if (!return_index && !return_inverse && !return_counts) return found.values;
        nb::list results;
        results.append(found.values);
        if (return_index) results.append(found.indices);
        if (return_inverse) results.append(found.inverse);
        if (return_counts) results.append(found.counts);
        return nb::tuple(results);
      },
      "The first `size` of the distinct elements, ascending; missing ones are `fill_value`, or the "
      "smallest element. On request also: the uint32 index (into the flattened array) where each "
      "comes first; which of them each element of the array is, uint32, at most size - 1; and how "
      "often each comes, int32.",
      "a"_a, "size"_a, "return_index"_a = false, "return_inverse"_a = false,
      "return_counts"_a = false, "fill_value"_a = nb::none());
}

}  // namespace

void bind_reductions(nb::module_& m, ArrayClass& cls) {
  for (const auto& row : kReductions)
    def_both(m, cls, row.name, row.function, row.doc, "axis"_a = nb::none(), "keepdims"_a = false);
  def_op(m, "median", &median,
         "The median over the axes, or all; the mean of the middle two of an even number.", "a"_a,
         "axis"_a = nb::none(), "keepdims"_a = false);
  def_op(m, "count_nonzero", &count_nonzero,
         "How many elements over the axes, or all, are not zero.", "a"_a, "axis"_a = nb::none(),
         nb::kw_only(), "keepdims"_a = false);
  for (const auto& row : kSpreads)
    def_both(
        m, cls, row.name,
        [f = row.function](const array& a, const OptionalAxes& axis, bool keepdims, int ddof,
                           std::optional<int> correction, StreamOrDevice s) {
          return f(a, axis, keepdims, correction.value_or(ddof), s);  // two names of one thing
        },
        row.doc, "axis"_a = nb::none(), "keepdims"_a = false, "ddof"_a = 0, nb::kw_only(),
        "correction"_a = nb::none());
  def_op(m, "softmax", &softmax,
         "exp(a) / sum(exp(a)) over the axes, or all, without overflow; `precise` computes half "
         "types in float32.",
         "a"_a, "axis"_a = nb::none(), nb::kw_only(), "precise"_a = false);
  bind_extremes(m, cls);
  bind_scans(m, cls);
  bind_sorts(m);
}

}  // namespace cermet::python
