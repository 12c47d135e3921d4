// Reductions, scans, sorting and search.
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

using Reduction = array (*)(const array&, const OptionalAxes&, bool, StreamOrDevice);
struct ReductionRow {
  const char* name;
  Reduction function;
  const char* doc;
};
constexpr ReductionRow kReductions[] = {
    {"sum", &sum, "The sum over the axes, or all. bool and narrow integers sum as 32-bit ones."},
    {"prod", &prod, "The product over the axes, or all."},
    {"mean", &mean, "The mean over the axes, or all; half types are averaged in float32."},
    {"min", &min, "The smallest element over the axes, or all; nan if one is nan."},
    {"max", &max, "The largest element over the axes, or all; nan if one is nan."},
    {"all", &all, "Whether all elements over the axes, or all, are true (not zero)."},
    {"any", &any, "Whether any element over the axes, or all, is true (not zero)."},
    {"logsumexp", &logsumexp, "log(sum(exp(a))) over the axes, or all, without overflow."},
};

using Spread = array (*)(const array&, const OptionalAxes&, bool, int, StreamOrDevice);
struct SpreadRow {
  const char* name;
  Spread function;
  const char* doc;
};
constexpr SpreadRow kSpreads[] = {
    {"var", &var, "The variance over the axes, or all, with divisor N - ddof."},
    {"std", &std, "The standard deviation over the axes, or all, with divisor N - ddof."},
};

using ArgExtreme = array (*)(const array&, std::optional<int>, bool, StreamOrDevice);
struct ArgRow {
  const char* name;
  ArgExtreme function;
  const char* doc;
};
constexpr ArgRow kArgExtremes[] = {
    {"argmin", &argmin,
     "The uint32 index of the first smallest element along an axis, or flattened."},
    {"argmax", &argmax,
     "The uint32 index of the first largest element along an axis, or flattened."},
};

using TypedScan = array (*)(const array&, int, bool, bool, std::optional<Dtype>, StreamOrDevice);
struct TypedScanRow {
  const char *name, *alias;
  TypedScan function;
  const char* doc;
};
constexpr TypedScanRow kTypedScans[] = {
    {"cumsum", "cumulative_sum", &cumsum, "Running sums along an axis, or of the flattened array."},
    {"cumprod", "cumulative_prod", &cumprod,
     "Running products along an axis, or of the flattened array."},
};

using Scan = array (*)(const array&, int, bool, bool, StreamOrDevice);
struct ScanRow {
  const char* name;
  Scan function;
  const char* doc;
};
constexpr ScanRow kScans[] = {
    {"cummax", &cummax, "Running maxima along an axis, or of the flattened array."},
    {"cummin", &cummin, "Running minima along an axis, or of the flattened array."},
    {"logcumsumexp", &logcumsumexp, "Running logsumexp along an axis, or of the flattened array."},
};

using Sort = array (*)(const array&, int, StreamOrDevice);
struct SortRow {
  const char* name;
  Sort function;
  const char* doc;
};
constexpr SortRow kSorts[] = {
    {"sort", &sort, "Sorted along an axis (flattened with None); stable, nan last."},
    {"argsort", &argsort, "The uint32 indices that sort along an axis (flattened with None)."},
};

using Selection = array (*)(const array&, std::int64_t, int, StreamOrDevice);
struct SelectionRow {
  const char *name, *count;
  Selection function;
  const char* doc;
};
constexpr SelectionRow kSelections[] = {
    {"partition", "kth", &partition,
     "Ordered so that element kth is where sorting puts it, smaller ones in front."},
    {"argpartition", "kth", &argpartition, "The uint32 indices that partition along an axis."},
    {"topk", "k", &topk, "The k largest elements along an axis, in no promised order."},
};

// The two spellings of the divisor's correction.
int correction_of(int ddof, std::optional<int> correction) { return correction.value_or(ddof); }

void bind_extremes(nb::module_& m, ArrayClass& cls) {
  for (const ArgRow& row : kArgExtremes)
    def_both(
        m, cls, row.name,
        [f = row.function](const array& a, std::optional<int> axis, bool keepdims,
                           StreamOrDevice s) { return f(a, axis, keepdims, s); },
        "axis"_a = nb::none(), "keepdims"_a = false, nb::kw_only(), "stream"_a = nb::none(),
        row.doc);
  m.def(
      "minmax",
      [](const array& a, const OptionalAxes& axis, bool keepdims, StreamOrDevice s) {
        return std::tuple(min(a, axis, keepdims, s), max(a, axis, keepdims, s));
      },
      "a"_a, "axis"_a = nb::none(), "keepdims"_a = false, nb::kw_only(), "stream"_a = nb::none(),
      "The smallest and the largest element over the axes, or all.");
}

void bind_scans(nb::module_& m, ArrayClass& cls) {
  for (const TypedScanRow& row : kTypedScans) {
    const auto scan = [f = row.function](const array& a, std::optional<int> axis, bool reverse,
                                         bool inclusive, std::optional<Dtype> dtype,
                                         StreamOrDevice s) {
      const array over = flat_unless(a, axis);
      return f(over, *axis, reverse, inclusive, dtype, s);
    };
    def_both(m, cls, row.name, scan, "axis"_a = nb::none(), nb::kw_only(), "reverse"_a = false,
             "inclusive"_a = true, "dtype"_a = nb::none(), "stream"_a = nb::none(), row.doc);
    m.attr(row.alias) = m.attr(row.name);
  }
  for (const ScanRow& row : kScans)
    def_both(
        m, cls, row.name,
        [f = row.function](const array& a, std::optional<int> axis, bool reverse, bool inclusive,
                           StreamOrDevice s) {
          const array over = flat_unless(a, axis);
          return f(over, *axis, reverse, inclusive, s);
        },
        "axis"_a = nb::none(), nb::kw_only(), "reverse"_a = false, "inclusive"_a = true,
        "stream"_a = nb::none(), row.doc);
  m.def(
      "diff", [](const array& a, int n, int axis, StreamOrDevice s) { return diff(a, n, axis, s); },
      "a"_a, "n"_a = 1, "axis"_a = -1, nb::kw_only(), "stream"_a = nb::none(),
      "Differences of neighbours along an axis, taken n times.");
}

void bind_sorts(nb::module_& m) {
  for (const SortRow& row : kSorts)
    m.def(
        row.name,
        [f = row.function](const array& a, std::optional<int> axis, StreamOrDevice s) {
          const array over = flat_unless(a, axis);
          return f(over, *axis, s);
        },
        "a"_a, "axis"_a.none() = -1, nb::kw_only(), "stream"_a = nb::none(), row.doc);
  for (const SelectionRow& row : kSelections)
    m.def(
        row.name,
        [f = row.function](const array& a, std::int64_t count, std::optional<int> axis,
                           StreamOrDevice s) {
          const array over = flat_unless(a, axis);
          return f(over, count, *axis, s);
        },
        "a"_a, nb::arg(row.count), "axis"_a.none() = -1, nb::kw_only(), "stream"_a = nb::none(),
        row.doc);
  m.def(
      "searchsorted",
      [](const array& sorted, const array& values, const std::string& side, StreamOrDevice s) {
        if (side != "left" && side != "right")
          throw std::invalid_argument("searchsorted: side is 'left' or 'right', not '" + side +
                                      "'");
        return searchsorted(sorted, values, side == "right", s);
      },
      "sorted_sequence"_a, "values"_a, "side"_a = "left", nb::kw_only(), "stream"_a = nb::none(),
      "The uint32 index before which each value keeps a sorted 1-d array in order, before or "
      "behind "
      "equal elements.");
  m.def(
      "unique",
      [](const array& a, std::int64_t size, bool return_index, bool return_inverse,
         bool return_counts, std::optional<Operand> fill_value,
         StreamOrDevice s) -> std::variant<array, nb::tuple> {
        const Unique found =
            unique(a, size,
                   fill_value ? std::optional(to_array(*fill_value, a.dtype())) : std::nullopt, s);
        if (!return_index && !return_inverse && !return_counts) return found.values;
        nb::list results;
        results.append(found.values);
        if (return_index) results.append(found.indices);
        if (return_inverse) results.append(found.inverse);
        if (return_counts) results.append(found.counts);
        return nb::tuple(results);
      },
      "a"_a, "size"_a, "return_index"_a = false, "return_inverse"_a = false,
      "return_counts"_a = false, "fill_value"_a = nb::none(), nb::kw_only(),
      "stream"_a = nb::none(),
      "The first `size` of the distinct elements, ascending; missing ones are `fill_value`, or the "
      "smallest element. On request also: the uint32 index (into the flattened array) where each "
      "comes first; which of them each element of the array is, uint32, at most size - 1; and how "
      "often each comes, int32.");
}

}  // namespace

void bind_reductions(nb::module_& m, ArrayClass& cls) {
  const auto reduction = [](Reduction f) {
    return [f](const array& a, const OptionalAxes& axis, bool keepdims, StreamOrDevice s) {
      return f(a, axis, keepdims, s);
    };
  };
  for (const ReductionRow& row : kReductions)
    def_both(m, cls, row.name, reduction(row.function), "axis"_a = nb::none(), "keepdims"_a = false,
             nb::kw_only(), "stream"_a = nb::none(), row.doc);
  m.def("median", reduction(&median), "a"_a, "axis"_a = nb::none(), "keepdims"_a = false,
        nb::kw_only(), "stream"_a = nb::none(),
        "The median over the axes, or all; the mean of the middle two of an even number.");
  m.def("count_nonzero", reduction(&count_nonzero), "a"_a, "axis"_a = nb::none(), nb::kw_only(),
        "keepdims"_a = false, "stream"_a = nb::none(),
        "How many elements over the axes, or all, are not zero.");
  for (const SpreadRow& row : kSpreads)
    def_both(
        m, cls, row.name,
        [f = row.function](const array& a, const OptionalAxes& axis, bool keepdims, int ddof,
                           std::optional<int> correction, StreamOrDevice s) {
          return f(a, axis, keepdims, correction_of(ddof, correction), s);
        },
        "axis"_a = nb::none(), "keepdims"_a = false, "ddof"_a = 0, nb::kw_only(),
        "correction"_a = nb::none(), "stream"_a = nb::none(), row.doc);
  m.def(
      "softmax",
      [](const array& a, const OptionalAxes& axis, bool precise, StreamOrDevice s) {
        return softmax(a, axis, precise, s);
      },
      "a"_a, "axis"_a = nb::none(), nb::kw_only(), "precise"_a = false, "stream"_a = nb::none(),
      "exp(a) / sum(exp(a)) over the axes, or all, without overflow; `precise` computes half types "
      "in float32.");
  bind_extremes(m, cls);
  bind_scans(m, cls);
  bind_sorts(m);
}

}  // namespace cermet::python
