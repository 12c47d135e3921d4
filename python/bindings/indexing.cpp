// Indexing with NumPy's rules: a[i], a[i] = b and a.at[i].add(b).
//
// An index becomes a plan for a shape: one slice, one gather over the axes that arrays index, and
// the place of each axis in the result. Reading, writing and updating follow the same plan.
#include <algorithm>
#include <array>

#include "bindings.h"
#include "scalars.h"

namespace cermet::python {
namespace {

bool is_integer_object(nb::handle h) {
  return PyLong_Check(h.ptr()) ? !PyBool_Check(h.ptr())
                               : PyIndex_Check(h.ptr()) && !PySequence_Check(h.ptr());
}

std::int64_t to_integer(nb::handle h) {
  const Py_ssize_t i = PyNumber_AsSsize_t(h.ptr(), PyExc_IndexError);
  if (i == -1 && PyErr_Occurred()) throw nb::python_error();
  return i;
}

// True or False, of Python or NumPy.
std::optional<bool> to_truth(nb::handle h) {
  if (PyBool_Check(h.ptr())) return h.ptr() == Py_True;
  if (as_array(h) || PySlice_Check(h.ptr()) || is_integer_object(h) || !is_numpy_scalar(h))
    return {};
  const nb::object item = from_numpy_scalar(h);
  if (!PyBool_Check(item.ptr())) return {};
  return item.ptr() == Py_True;
}

// The array that an index is, or nothing for the other kinds of index.
std::optional<array> index_array(nb::handle h) {
  const array* a = as_array(h);
  const bool listed = PyList_Check(h.ptr()) || PyTuple_Check(h.ptr());
  if (!a && !listed && !is_foreign_array(h)) return {};
  array index = a ? *a : make_array(h);
  if (listed && index.size() == 0) index = astype(index, int32);
  if (is_inexact(index.dtype()))
    throw KindError("indexing: an index array must have integers or booleans, not " +
                    std::string(name_of(index.dtype())));
  return index;
}

// One boolean that is the whole index.
std::optional<array> mask_of(nb::handle index) {
  if (nb::isinstance<nb::tuple>(index)) {
    if (nb::len(index) != 1) return {};
    index = PyTuple_GET_ITEM(index.ptr(), 0);
  }
  if (const std::optional<bool> truth = to_truth(index)) return array(*truth);
  std::optional<array> a = index_array(index);
  if (!a || a->dtype() != bool_) return {};
  return a;
}

// What stands at one place of the index.
enum class Part : std::uint8_t { integer, slice, new_axis, array, truth, falsehood, ellipsis };
struct Item {
  Part part;
  Py_ssize_t start = 0, stop = 0, step = 1;  // an integer is a start
  std::int64_t extent = -1;                  // of the axis that a mask is for
};

// An index as Python gives it, whatever shape it is for.
struct Index {
  Index(nb::handle index, const char* op) : op(op) {
    const bool several = PyTuple_Check(index.ptr());
    for (Py_ssize_t i = 0; i < (several ? PyTuple_GET_SIZE(index.ptr()) : 1); ++i)
      parse(several ? PyTuple_GET_ITEM(index.ptr(), i) : index.ptr());
  }
  const char* op;
  SmallVector<Item, 4> items;
  Arrays arrays;

 private:
  void parse(nb::handle h) {
    Item item{Part::slice};
    if (h.is_none()) {
      item.part = Part::new_axis;
    } else if (h.ptr() == Py_Ellipsis) {
      item.part = Part::ellipsis;
    } else if (PySlice_Check(h.ptr())) {
      if (PySlice_Unpack(h.ptr(), &item.start, &item.stop, &item.step) < 0)
        throw nb::python_error();
    } else if (is_integer_object(h) && !as_array(h)) {
      item = {Part::integer, to_integer(h)};
    } else if (const std::optional<bool> truth = to_truth(h)) {
      item.part = *truth ? Part::truth : Part::falsehood;
    } else if (std::optional<array> a = index_array(h)) {
      if (a->dtype() == bool_) return add_mask(*a);
      arrays.push_back(std::move(*a));
      item.part = Part::array;
    } else {
      throw KindError(std::string(op) +
                      ": an index is an integer, a slice, None, an ellipsis, an array or a list, "
                      "not " +
                      class_name(h));
    }
    items.push_back(item);
  }

  // A mask stands for the places of its true elements, an array for each of its axes.
  void add_mask(const array& mask) {
    const bool whole = mask.ndim() == 0;
    Arrays places = nonzero(whole ? reshape(mask, {1}) : mask, op);
    if (whole) return items.push_back({places[0].size() ? Part::truth : Part::falsehood});
    for (const std::int64_t n : mask.shape()) {
      items.push_back({Part::array});
      items.back().extent = n;
    }
    arrays.insert(arrays.end(), places.begin(), places.end());
  }
};

class Plan {
 public:
  Plan(const array& a, Index&& index) : Plan(a, index.items, std::move(index.arrays), index.op) {}
  Plan(const array& a, std::span<const Item> items, Arrays arrays, const char* op)
      : op_(op), shape_(a.shape()), arrays_(std::move(arrays)) {
    start_.resize(shape_.size(), 0);
    stop_ = shape_;
    step_.resize(shape_.size(), 1);
    place(items);
    arrange();
  }

  array get(const array& a) const {
    if (nothing_) return zeros(result_, a.dtype());
    array out = sliced_ ? slice(a, start_, stop_, step_) : a;
    if (!arrays_.empty()) {
      out = gather(out, arrays_, axes_);
      if (!order_.empty()) out = transpose(out, order_);
    }
    return out.shape() == result_ ? out : reshape(out, result_);
  }

  array update(const array& a, const array& value, Update mode) const {
    if (nothing_) {
      broadcast_to(trimmed(value), result_);
      return a;
    }
    const array v = arranged(astype(value, a.dtype()));
    if (arrays_.empty()) return slice_update(a, v, start_, stop_, step_, mode);
    if (!sliced_) return scatter(a, arrays_, v, axes_, mode);
    const array part = scatter(slice(a, start_, stop_, step_), arrays_, v, axes_, mode);
    return slice_update(a, part, start_, stop_, step_);
  }

 private:
  static bool is_without_axis(Part p) {
    return p == Part::new_axis || p == Part::truth || p == Part::falsehood;
  }

  void place(std::span<const Item> items) {
    std::size_t used = 0, ellipses = 0;
    for (const Item& item : items) {
      ellipses += item.part == Part::ellipsis;
      used += item.part < Part::new_axis || item.part == Part::array;
    }
    if (ellipses > 1)
      throw std::invalid_argument(std::string(op_) + ": an index has at most one ellipsis");
    if (used > shape_.size())
      throw AxisError(std::string(op_) + " with " + std::to_string(used) + " indices",
                      static_cast<std::int64_t>(used) - 1, static_cast<int>(shape_.size()));
    for (const Item& item : items) {
      if (item.part == Part::ellipsis) {  // which separates even where it stands for no axis
        parts_.push_back(Part::ellipsis);
        parts_.resize(parts_.size() + shape_.size() - used, Part::slice);
        axis_ += shape_.size() - used;
      } else {
        place(item);
      }
    }
    parts_.resize(parts_.size() + shape_.size() - axis_, Part::slice);
  }

  void place(const Item& item) {
    parts_.push_back(item.part);
    truth_ |= item.part == Part::truth;
    nothing_ |= item.part == Part::falsehood;
    if (is_without_axis(item.part)) return;
    const std::size_t axis = axis_++;
    const std::int64_t size = shape_[axis];
    if (item.part == Part::array) {
      if (item.extent > 0 && item.extent != size) {  // one of nothing chooses nothing
        const std::string what = std::string(op_) + ": a mask of " + std::to_string(item.extent) +
                                 " elements along axis " + std::to_string(axis) +
                                 " does not fit an array of shape " + to_string(shape_);
        if (std::string_view(op_) == "getitem") throw IndexError(what);  // as NumPy
        throw std::invalid_argument(what);  // as MLX, which writes only
      }
      axes_.push_back(static_cast<int>(axis));
    } else if (item.part == Part::slice) {
      Py_ssize_t start = item.start, stop = item.stop;
      const Py_ssize_t count = PySlice_AdjustIndices(size, &start, &stop, item.step);
      set_slice(axis, start, count == 0 ? start : stop, item.step);
    } else {
      const std::int64_t i = item.start;
      if (i < -size || i >= size)
        throw IndexError(std::string(op_) + ": index " + std::to_string(i) +
                         " is out of range for axis " + std::to_string(axis) + " with size " +
                         std::to_string(size));
      const std::int64_t at = i < 0 ? i + size : i;
      set_slice(axis, at, at + 1, 1);
    }
  }

  void set_slice(std::size_t axis, std::int64_t start, std::int64_t stop, std::int64_t step) {
    sliced_ |= start != 0 || stop != shape_[axis] || step != 1;
    start_[axis] = start;
    stop_[axis] = stop;
    step_[axis] = step;
  }

  // Where the axes go. NumPy puts the axes of the index arrays where the first of them (or of the
  // integers beside them) stands, and in front when something stands between them. True is such an
  // array, of one element and no axis, False one of none.
  void arrange() {
    Shape indices;
    for (const array& a : arrays_) indices = broadcast_shapes(indices, a.shape());
    Shape shown = truth_ ? broadcast_shapes(indices, {1}) : indices;
    if (nothing_) shown = broadcast_shapes(shown, {0});
    const auto advanced = [](Part p) {
      return p == Part::integer || p == Part::array || p == Part::truth || p == Part::falsehood;
    };
    std::size_t first = parts_.size(), last = 0, count = 0;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (!advanced(parts_[i])) continue;
      first = std::min(first, i);
      last = i;
      ++count;
    }
    if ((arrays_.empty() && !truth_ && !nothing_) || last - first + 1 != count) first = 0;

    std::size_t axis = 0, before = 0;  // `before`: axes that stand in front of the index arrays'
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      if (i == first) {
        before = part_.size();
        for (const std::int64_t n : shown) result_.push_back(n);
        for (const std::int64_t n : indices) part_.push_back(n);
      }
      const Part p = parts_[i];
      if (p == Part::truth || p == Part::falsehood || p == Part::ellipsis) continue;
      if (p == Part::new_axis) {
        result_.push_back(1);
        continue;
      }
      const std::int64_t n = extent(axis++);
      if (p == Part::slice) result_.push_back(n);
      if (p != Part::array) part_.push_back(n);
    }
    if (before == 0 || indices.empty()) return;
    const auto rank = static_cast<int>(indices.size()), moved = static_cast<int>(before);
    for (int i = 0; i < static_cast<int>(part_.size()); ++i)
      order_.push_back(i < moved ? rank + i : i < moved + rank ? i - moved : i);
  }

  std::int64_t extent(std::size_t axis) const {
    const std::int64_t span = stop_[axis] - start_[axis], step = step_[axis];
    if (step > 0 ? span <= 0 : span >= 0) return 0;
    return step == 1 ? span : (span - (step > 0 ? 1 : -1)) / step + 1;
  }

  // NumPy lets leading unit axes of a value fall away.
  array trimmed(const array& v) const {
    const int extra = v.ndim() - static_cast<int>(result_.size());
    if (extra <= 0) return v;
    const Shape& shape = v.shape();
    if (std::any_of(shape.begin(), shape.begin() + extra, [](auto n) { return n != 1; })) return v;
    return reshape(v, Shape(shape.begin() + extra, shape.end()));
  }

  // A value for the indexed part, with the axes as slice_update or scatter takes them.
  array arranged(const array& value) const {
    array v = value;
    if (v.ndim() == 0 || (v.shape() == part_ && order_.empty())) return v;
    v = broadcast_to(trimmed(v), result_);
    if (result_ != part_) v = reshape(v, part_);
    if (order_.empty()) return v;
    Axes inverse(order_.size());
    for (std::size_t i = 0; i < order_.size(); ++i) inverse[order_[i]] = static_cast<int>(i);
    return transpose(v, inverse);
  }

  const char* op_;
  Shape shape_;
  Arrays arrays_;
  Shape start_, stop_, step_;
  bool sliced_ = false, truth_ = false, nothing_ = false;  // nothing is chosen
  SmallVector<Part, 8> parts_;
  std::size_t axis_ = 0;
  Axes axes_;
  Shape result_;  // of a[index]
  Shape part_;    // as result_, with the integers' axes and without the new ones
  Axes order_;    // from gather's order of axes to part_'s; empty when equal
};

// a[mask] = value without evaluation: for a value with a row for each true element, the rows'
// numbers are counted.
array set_masked(const array& a, const array& mask, const array& value) {
  const int k = mask.ndim();
  const auto fits = [](std::int64_t m, std::int64_t n) { return m == n || m == 0; };
  if (k > a.ndim() ||
      !std::equal(mask.shape().begin(), mask.shape().end(), a.shape().begin(), fits))
    throw std::invalid_argument("setitem: a mask of shape " + to_string(mask.shape()) +
                                " does not fit an array of shape " + to_string(a.shape()));
  if (mask.size() == 0 && a.size() > 0) return a;
  Shape wide = mask.shape(), rest(a.shape().begin() + k, a.shape().end());
  wide.resize(static_cast<std::size_t>(a.ndim()), 1);
  const array condition = reshape(mask, wide);
  const auto inner = static_cast<int>(rest.size());
  array v = astype(value, a.dtype());
  while (v.ndim() > inner && v.shape(0) == 1) v = squeeze(v, {0});
  if (v.ndim() > inner + 1)
    throw std::invalid_argument("setitem: values of shape " + to_string(value.shape()) +
                                " for the elements of " + to_string(a.shape()) +
                                " that a mask of shape " + to_string(mask.shape()) + " chooses");
  if (v.ndim() == inner + 1) {
    if (v.shape(0) == 0) return a;
    const array rows = cumsum(reshape(mask, {-1}), 0);
    v = gather(v, {reshape(maximum(rows - 1, array(0)), mask.shape())}, {0});
  }
  return where(condition, broadcast_to(v, a.shape()), a);
}

// f(plan, inputs), where the plan is for the first of the inputs. A shapeless trace does it again
// for other extents.
template <class F>
array by_plan(Index&& index, std::span<const array> inputs, F f) {
  if (!is_followed(inputs) && !is_followed(index.arrays))
    return f(Plan(inputs[0], std::move(index)), inputs);
  Arrays all(inputs.begin(), inputs.end());
  all.insert(all.end(), index.arrays.begin(), index.arrays.end());
  return follow(index.op, all,
                [f, own = inputs.size(), items = index.items, op = index.op](auto all) {
                  const auto arrays = all.subspan(own);
                  return f(Plan(all[0], items, {arrays.begin(), arrays.end()}, op), all);
                });
}

array get_item(const array& a, nb::handle index) {
  return by_plan(Index(index, "getitem"), {&a, 1},
                 [](const Plan& plan, auto in) { return plan.get(in[0]); });
}

array updated(const array& a, Index&& index, const array& value, Update mode) {
  return by_plan(std::move(index), std::array{a, value},
                 [mode](const Plan& plan, auto in) { return plan.update(in[0], in[1], mode); });
}

void set_item(array& a, nb::handle index, Operand value) {
  const array v = to_array(value, a.dtype());
  const std::optional<array> mask = mask_of(index);
  // Rows for the true elements are to be as many as these are, which a trace may not ask.
  const auto has_rows = [&] {
    const int extra = v.ndim() - (a.ndim() - mask->ndim());
    const auto first = v.shape().begin();
    return extra > 0 && std::any_of(first, first + extra, [](auto n) { return n != 1; });
  };
  if (mask && (!has_rows() || is_traced(*mask)))
    a = set_masked(a, *mask, v);
  else
    a = updated(a, Index(index, "setitem"), v, Update::set);
}

// a.at[index], whose methods give a changed copy in which colliding updates all count.
struct ArrayAt {
  array value;
  nb::object index;

  array update(Operand operand, Update mode, array (*prepare)(const array&)) const {
    if (!index) throw std::invalid_argument("at: indices are needed, as in a.at[0].add(1)");
    array v = to_array(operand, value.dtype());
    if (v.dtype() == bool_) v = astype(v, value.dtype());  // which has no negative
    return updated(value, Index(index, "at"), prepare(v), mode);
  }
};

struct AtMethod {
  const char* name;
  Update mode;
  array (*prepare)(const array&);
  const char* doc;
};
constexpr AtMethod kAtMethods[] = {
    {"add", Update::add, [](const array& v) { return v; }, "Adds to the elements."},
    {"subtract", Update::add, [](const array& v) { return negative(v); },
     "Subtracts from the elements."},
    {"multiply", Update::multiply, [](const array& v) { return v; }, "Multiplies the elements."},
    {"divide", Update::multiply, [](const array& v) { return reciprocal(v); },
     "Divides the elements (by multiplication with the reciprocal)."},
    {"maximum", Update::maximum, [](const array& v) { return v; },
     "The larger of each element and the values."},
    {"minimum", Update::minimum, [](const array& v) { return v; },
     "The smaller of each element and the values."},
};

}  // namespace

void bind_indexing(nb::module_& m, ArrayClass& cls) {
  nb::class_<ArrayAt> at(m, "ArrayAt",
                         "Updates at indices: `a.at[i].add(b)` is a copy of `a` in which every "
                         "occurrence of an index counts, unlike `a[i] += b`.");
  at.def(
      "__getitem__",
      [](const ArrayAt& self, nb::object index) { return ArrayAt{self.value, std::move(index)}; },
      "indices"_a.none());
  for (const AtMethod& row : kAtMethods)
    at.def(
        row.name,
        [mode = row.mode, prepare = row.prepare](const ArrayAt& self, Operand value) {
          return self.update(value, mode, prepare);
        },
        "value"_a, row.doc);

  cls.def_prop_ro(
         "at", [](const array& a) { return ArrayAt{a, {}}; },
         "Updates at indices: `a.at[i].add(b)`; also subtract, multiply, divide, maximum, minimum.")
      .def(
          "__getitem__", [](const array& a, nb::handle index) { return get_item(a, index); },
          nb::arg().none(),
          "NumPy's indexing by integers, slices, None, an ellipsis, arrays and lists of integers "
          "or booleans. An integer out of range raises IndexError at once, one in an array when it "
          "is evaluated. A boolean mask is evaluated; in a trace, which cannot, it raises "
          "ValueError: use `where`.")
      .def(
          "__setitem__",
          [](array& a, nb::handle index, Operand value) { set_item(a, index, value); },
          nb::arg().none(), nb::arg(),
          "Sets the indexed part, whose shape the value broadcasts to, in the array's own type. "
          "A boolean mask that is the whole index takes a value for all, or one for each element "
          "that it "
          "chooses.");
}

}  // namespace cermet::python
