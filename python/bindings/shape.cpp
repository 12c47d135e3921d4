// Functions and methods that change shape, layout or type, or take parts of arrays.
#include <algorithm>

#include "bindings.h"

namespace cermet::python {
namespace {

// How an array is split: in as many parts, or at the places.
struct Sections {
  std::optional<int> count;
  Shape places;
};

}  // namespace
}  // namespace cermet::python

namespace nanobind::detail {
template <>
struct type_caster<cermet::python::Sections> {
  NB_TYPE_CASTER(cermet::python::Sections, const_name("int | collections.abc.Sequence[int]"))
  bool from_python(handle src, uint32_t flags, cleanup_list* cleanup) noexcept {
    // Whatever is a number is a count; nanobind's integers leave out bools.
    if (PyIndex_Check(src.ptr())) {
      const Py_ssize_t n = PyNumber_AsSsize_t(src.ptr(), PyExc_OverflowError);
      if (n != -1 || !PyErr_Occurred()) {
        value.count = static_cast<int>(n);
        return *value.count == n;
      }
      PyErr_Clear();
    }
    make_caster<cermet::Shape> places;
    if (!places.from_python(src, flags, cleanup)) return false;
    value.places = places.value;
    return true;
  }
};
}  // namespace nanobind::detail

namespace cermet::python {
namespace {

// Integers given one by one or as a single sequence.
template <class Ints>
Ints gathered(const nb::args& args, const char* function) {
  return argument<Ints>(args.size() == 1 ? nb::object(args[0]) : nb::object(args), function,
                        "integers, or one sequence of them");
}

using Widths = std::vector<std::pair<std::int64_t, std::int64_t>>;
// An integer, one or two integers for all axes, one pair for all axes or a pair for each.
Widths pad_widths(nb::handle h, int ndim) {
  const auto same = [&](std::int64_t before, std::int64_t after) {
    return Widths(static_cast<std::size_t>(ndim), {before, after});
  };
  if (Shape ints; nb::try_cast(h, ints)) {
    if (ints.size() == 1) return same(ints[0], ints[0]);
    if (ints.size() == 2) return same(ints[0], ints[1]);
    if (ints.empty() && ndim == 0) return {};
  } else if (std::vector<Shape> rows; nb::try_cast(h, rows)) {
    Widths widths;
    for (const Shape& row : rows) {
      if (row.size() != 1 && row.size() != 2) break;
      widths.emplace_back(row.front(), row.back());
    }
    if (widths.size() == 1) return same(widths[0].first, widths[0].second);
    if (widths.size() == rows.size()) return widths;
  }
  throw std::invalid_argument(
      "pad: pad_width is an integer, one or two of them, or a pair for each axis");
}

Arrays split_sections(const array& a, const Sections& at, int axis, StreamOrDevice s) {
  return at.count ? split(a, *at.count, axis, s) : split(a, at.places, axis, s);
}

array roll_axes(const array& a, Shape shift, std::optional<Axes> axes, StreamOrDevice s) {
  if (!axes) {
    std::int64_t total = 0;
    for (const std::int64_t n : shift)
      if (a.size() > 0) total = (total + n % a.size()) % a.size();
    return roll(a, total, s);
  }
  if (shift.size() == 1) shift.resize(axes->size(), shift[0]);
  if (axes->size() == 1) axes->resize(shift.size(), (*axes)[0]);
  return roll(a, shift, *axes, s);
}

array transposed(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return axes ? transpose(a, *axes, s) : transpose(a, s);
}
array squeezed(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return axes ? squeeze(a, *axes, s) : squeeze(a, s);
}
array flipped(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return axes ? flip(a, *axes, s) : flip(a, s);
}
array joined(ArrayList list, std::optional<int> axis, StreamOrDevice s) {
  const Arrays arrays = array_arguments(list.value, "concatenate");
  return axis ? concatenate(arrays, *axis, s) : concatenate_flat(arrays, s);
}

void bind_layout(nb::module_& m, ArrayClass& cls) {
  def_op(m, "reshape", &reshape,
         "The elements, row-major, in another shape; one extent may be -1 and takes what is left.",
         "a"_a, "shape"_a);
  cls.def(
      "reshape",
      [](const array& a, const nb::args& shape, StreamOrDevice s) {
        return reshape(a, gathered<Shape>(shape, "reshape"), s);
      },
      nb::sig(signature("reshape(self, *shape: int | Sequence[int]").c_str()), "shape"_a,
      "stream"_a = nb::none(), "See `reshape`.");
  for (const char* name : {"transpose", "permute_dims"})
    def_op(m, name, &transposed, "The axes in the order given, or reversed.", "a"_a,
           "axes"_a = nb::none());
  cls.def(
      "transpose",
      [](const array& a, const nb::args& axes, StreamOrDevice s) {
        return axes.size() == 0 ? transpose(a, s)
                                : transpose(a, gathered<Axes>(axes, "transpose"), s);
      },
      nb::sig(signature("transpose(self, *axes: int | Sequence[int]").c_str()), "axes"_a,
      "stream"_a = nb::none(), "See `transpose`.");
  def_both(m, cls, "flatten", &flatten,
           "Joins the axes from start_axis to end_axis, inclusive, to one.", "start_axis"_a = 0,
           "end_axis"_a = -1);
  def_both(m, cls, "unflatten", &unflatten,
           "Splits an axis to a shape, in which one extent may be -1.", "axis"_a, "shape"_a);
  def_both(m, cls, "squeeze", &squeezed,
           "Without the axes given, or all, that have extent 1; ValueError for another extent.",
           "axis"_a = nb::none());
  def_both(m, cls, "swapaxes", &swapaxes, "Two axes exchanged.", "axis1"_a, "axis2"_a);
  def_both(m, cls, "moveaxis", &moveaxis, "One axis moved; the others keep their order.",
           "source"_a, "destination"_a);
  def_both(m, cls, "diag", &diag,
           "Diagonal k of a matrix, or a matrix with a 1-d array on diagonal k.", "k"_a = 0);
  const char* diagonal_doc = "The diagonals over two axes, which become one at the end.";
  m.def("diagonal", &diagonal, "a"_a, "offset"_a = 0, "axis1"_a = 0, "axis2"_a = 1,
        "stream"_a = nb::none(), diagonal_doc);
  cls.def("diagonal", &diagonal, "offset"_a = 0, "axis1"_a = 0, "axis2"_a = 1,
          "stream"_a = nb::none(), diagonal_doc);
  def_both(m, cls, "split", &split_sections,
           "Parts along an axis: as many equal ones, or cut at the indices.",
           "indices_or_sections"_a, "axis"_a = 0);
  const char* view_doc =
      "The same bytes as another type; the last axis scales with the sizes' ratio.";
  def_op(
      m, "view",
      [](Operand a, Dtype dtype, StreamOrDevice s) {
        const Arrays inputs{to_array(a)};
        return follow("view", inputs, [dtype, s](auto in) { return view(in[0], dtype, s); });
      },
      view_doc, "a"_a, "dtype"_a);
  def_op(cls, "view", &view, view_doc, "dtype"_a);
  def_op(m, "astype", &astype, "The elements as another type.", "a"_a, "dtype"_a);
  cls.def("astype", &astype, "dtype"_a, "stream"_a = nb::none(), "The elements as another type.");

  def_op(m, "expand_dims", &expand_dims, "New axes of extent 1, at these places of the result.",
         "a"_a, "axis"_a);
  def_op(m, "matrix_transpose", &matrix_transpose, "The last two axes exchanged.", "a"_a);
  def_op(m, "flip", &flipped, "The elements in reverse order along the axes, or all.", "a"_a,
         "axis"_a = nb::none());
  def_op(
      m, "as_strided",
      [](const array& a, const std::optional<Shape>& shape, const std::optional<Strides>& strides,
         std::int64_t offset, StreamOrDevice s) {
        const Shape to = shape.value_or(a.shape());
        return as_strided(a, to, strides ? *strides : row_major(to), offset, s);
      },
      "Any strides, in elements, over the row-major elements; ValueError when they reach outside.",
      "a"_a, "shape"_a = nb::none(), "strides"_a = nb::none(), "offset"_a = 0);
  def_op(m, "contiguous", &contiguous,
         "The array in row-major memory (or column-major where it is and that is allowed).", "a"_a,
         "allow_col_major"_a = false);
  def_op(m, "trace", &trace, "The sum of a diagonal over two axes.", "a"_a, "offset"_a = 0,
         "axis1"_a = 0, "axis2"_a = 1, "dtype"_a = nb::none());
}

void bind_joining(nb::module_& m) {
  for (const char* name : {"concatenate", "concat"})
    def_op(m, name, &joined,
           "Joins arrays along an axis; with None, flattened. Other extents must agree.",
           "arrays"_a, "axis"_a.none() = 0);
  def_op(
      m, "stack",
      [](ArrayList arrays, std::optional<int> axis, StreamOrDevice s) {
        return stack(array_arguments(arrays.value, "stack"), axis.value_or(0), s);
      },
      "Joins arrays of one shape along a new axis.", "arrays"_a, "axis"_a.none() = 0);
  m.def(
      "unstack",
      [](const array& x, int axis, StreamOrDevice s) {
        return nb::tuple(nb::cast(unstack(x, axis, s)));
      },
      nb::sig(signature("unstack(x: array, /, *, axis: int = 0", "tuple[array, ...]").c_str()),
      nb::arg(), nb::kw_only(), "axis"_a = 0, "stream"_a = nb::none(),
      "The parts along an axis, without it.");
  def_op(m, "repeat", &repeat, "Each element repeated along an axis, or in the flattened array.",
         "array"_a, "repeats"_a, "axis"_a = nb::none());
  def_op(m, "tile", &tile, "The whole array repeated along its last axes.", "a"_a, "reps"_a);
  m.def(
      "pad",
      [](const array& a, nb::object pad_width, const std::string& mode, Operand constant_values,
         StreamOrDevice s) {
        const Arrays inputs{a, to_array(constant_values, a.dtype())};
        return follow("pad", inputs, [mode, s, widths = pad_widths(pad_width, a.ndim())](auto in) {
          return pad(in[0], widths, in[1], mode, s);
        });
      },
      nb::sig(signature("pad(a: array, pad_width: int | tuple[int] | tuple[int, int] | "
                        "Sequence[tuple[int, int]], mode: str = 'constant', constant_values: bool "
                        "| int | float | complex | array = 0, *")
                  .c_str()),
      "a"_a, "pad_width"_a, "mode"_a = "constant", "constant_values"_a = nb::int_(0), nb::kw_only(),
      "stream"_a = nb::none(),
      "Elements added before and after each axis: a value ('constant'), the outermost element "
      "('edge'), or the array mirrored without ('reflect') or with ('symmetric') the outermost.");
  def_op(m, "roll", &roll_axes, "Elements moved round along axes, or in the flattened array.",
         "a"_a, "shift"_a, "axis"_a = nb::none());

  def_op(
      m, "broadcast_to",
      [](Operand a, const Shape& shape, StreamOrDevice s) {
        return broadcast_to(to_array(a), shape, s);
      },
      "The array repeated along axes of extent 1 and new leading ones; ValueError when it cannot "
      "be.",
      "a"_a, "shape"_a);
  m.def(
      "broadcast_arrays",
      [](const nb::args& arrays, StreamOrDevice s) {
        return broadcast_arrays(array_arguments(arrays, "broadcast_arrays"), s);
      },
      nb::sig(signature("broadcast_arrays(*arrays: array", "list[array]").c_str()), "arrays"_a,
      "stream"_a = nb::none(), "The arrays broadcast to their common shape.");
  m.def(
      "broadcast_shapes",
      [](const nb::args& shapes) {
        if (shapes.size() == 0) throw std::invalid_argument("broadcast_shapes: expected a shape");
        Shape common;
        for (nb::handle shape : shapes)
          common = broadcast_shapes(common, argument<Shape>(shape, "broadcast_shapes", "shapes"));
        return common;
      },
      nb::sig("def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]"),
      "The shape that arrays of these shapes broadcast to; ValueError when there is none.");
  for (int n = 1; n <= 3; ++n) {
    const std::string name = "atleast_" + std::to_string(n) + "d";
    m.def(
        name.c_str(),
        [n, name](const nb::args& arrays, StreamOrDevice s) -> nb::object {
          Arrays out = array_arguments(arrays, name.c_str());
          for (array& a : out) a = atleast_nd(a, n, s);
          return out.size() == 1 ? nb::cast(out[0]) : nb::cast(out);
        },
        nb::sig(signature(name + "(*arys: array", "array | list[array]").c_str()), "arys"_a,
        "stream"_a = nb::none(), "Axes of extent 1 added up to this number of axes.");
  }
}

void bind_taking(nb::module_& m) {
  def_op(
      m, "take",
      [](const array& a, Operand indices, std::optional<int> axis, StreamOrDevice s) {
        const array i = to_array(indices);
        return axis ? take(a, i, *axis, s) : take(a, i, s);
      },
      "The parts at integer indices along an axis (of the flattened array). Negative ones count "
      "from the end; one out of range raises IndexError at evaluation.",
      "a"_a, "indices"_a, "axis"_a = nb::none());
  def_op(
      m, "take_along_axis",
      [](const array& a, const array& indices, std::optional<int> axis, StreamOrDevice s) {
        const array from = flat_unless(a, axis);
        return take_along_axis(from, indices, *axis, s);
      },
      "The elements at indices along an axis; the other axes of both broadcast.", "a"_a,
      "indices"_a, "axis"_a.none() = -1);
  def_op(
      m, "put_along_axis",
      [](const array& a, const array& indices, const array& values, std::optional<int> axis,
         StreamOrDevice s) {
        const array into = flat_unless(a, axis);
        return reshape(put_along_axis(into, indices, values, *axis, s), a.shape(), s);
      },
      "A copy with the elements at indices along an axis set to values.", "a"_a, "indices"_a,
      "values"_a, "axis"_a = nb::none());
  def_op(m, "slice",
         nb::overload_cast<const array&, const array&, const Axes&, const Shape&, StreamOrDevice>(
             &slice),
         "A block of a fixed size at start indices that are an array, one for each of `axes`.",
         "a"_a, "start_indices"_a, "axes"_a, "slice_size"_a);
  def_op(m, "slice_update",
         nb::overload_cast<const array&, const array&, const array&, const Axes&, StreamOrDevice>(
             &slice_update),
         "A copy with the block at the start indices, one for each of `axes`, replaced by "
         "`update`.",
         "a"_a, "update"_a, "start_indices"_a, "axes"_a);
}

}  // namespace

void bind_shape(nb::module_& m, ArrayClass& cls) {
  bind_layout(m, cls);
  bind_joining(m);
  bind_taking(m);
}

}  // namespace cermet::python
