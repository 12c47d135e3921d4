// Functions and methods that change shape, layout or type, or take parts of arrays.
#include <nanobind/stl/variant.h>

#include <algorithm>

#include "bindings.h"

namespace cermet::python {
namespace {

// Integers given one by one or as a single sequence.
template <class Ints>
Ints gathered(const nb::args& args) {
  return nb::cast<Ints>(args.size() == 1 ? nb::object(args[0]) : nb::object(args));
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

using Sections = std::variant<int, Shape>;
Arrays split_sections(const array& a, const Sections& at, int axis, StreamOrDevice s) {
  if (const int* sections = std::get_if<int>(&at)) return split(a, *sections, axis, s);
  return split(a, std::get<Shape>(at), axis, s);
}

array roll_axes(const array& a, Shape shift, std::optional<Axes> axes, StreamOrDevice s) {
  if (!axes) {
    std::int64_t total = 0;
    for (const std::int64_t n : shift) total += n;
    return roll(a, total, s);
  }
  if (shift.size() == 1) shift.resize(axes->size(), shift[0]);
  if (axes->size() == 1) axes->resize(shift.size(), (*axes)[0]);
  return roll(a, shift, *axes, s);
}

array transposed(const array& a, const OptionalAxes& axes, StreamOrDevice s) {
  return axes ? transpose(a, *axes, s) : transpose(a, s);
}

void bind_layout(nb::module_& m, ArrayClass& cls) {
  m.def(
      "reshape",
      [](const array& a, const Shape& shape, StreamOrDevice s) { return reshape(a, shape, s); },
      "a"_a, "shape"_a, nb::kw_only(), "stream"_a = nb::none(),
      "The elements, row-major, in another shape; one extent may be -1 and takes what is left.");
  cls.def(
      "reshape",
      [](const array& a, const nb::args& shape, StreamOrDevice s) {
        return reshape(a, gathered<Shape>(shape), s);
      },
      nb::sig("def reshape(self, *shape: int | Sequence[int], stream: Stream | ThreadLocalStream | "
              "Device | DeviceType | None = None) -> array"),
      "shape"_a, "stream"_a = nb::none(), "See `reshape`.");
  for (const char* name : {"transpose", "permute_dims"})
    m.def(name, &transposed, "a"_a, "axes"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
          "The axes in the order given, or reversed.");
  cls.def(
      "transpose",
      [](const array& a, const nb::args& axes, StreamOrDevice s) {
        return axes.size() == 0 ? transpose(a, s) : transpose(a, gathered<Axes>(axes), s);
      },
      nb::sig(
          "def transpose(self, *axes: int | Sequence[int], stream: Stream | ThreadLocalStream | "
          "Device | DeviceType | None = None) -> array"),
      "axes"_a, "stream"_a = nb::none(), "See `transpose`.");
  def_both(
      m, cls, "flatten",
      [](const array& a, int start, int end, StreamOrDevice s) {
        return flatten(a, start, end, s);
      },
      "start_axis"_a = 0, "end_axis"_a = -1, nb::kw_only(), "stream"_a = nb::none(),
      "Joins the axes from start_axis to end_axis, inclusive, to one.");
  def_both(
      m, cls, "unflatten",
      [](const array& a, int axis, const Shape& shape, StreamOrDevice s) {
        return unflatten(a, axis, shape, s);
      },
      "axis"_a, "shape"_a, nb::kw_only(), "stream"_a = nb::none(),
      "Splits an axis to a shape, in which one extent may be -1.");
  def_both(
      m, cls, "squeeze",
      [](const array& a, const OptionalAxes& axis, StreamOrDevice s) {
        return axis ? squeeze(a, *axis, s) : squeeze(a, s);
      },
      "axis"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "Without the axes given, or all, that have extent 1; ValueError for another extent.");
  def_both(
      m, cls, "swapaxes",
      [](const array& a, int i, int j, StreamOrDevice s) { return swapaxes(a, i, j, s); },
      "axis1"_a, "axis2"_a, nb::kw_only(), "stream"_a = nb::none(), "Two axes exchanged.");
  def_both(
      m, cls, "moveaxis",
      [](const array& a, int from, int to, StreamOrDevice s) { return moveaxis(a, from, to, s); },
      "source"_a, "destination"_a, nb::kw_only(), "stream"_a = nb::none(),
      "One axis moved; the others keep their order.");
  def_both(
      m, cls, "diag", [](const array& a, int k, StreamOrDevice s) { return diag(a, k, s); },
      "k"_a = 0, nb::kw_only(), "stream"_a = nb::none(),
      "Diagonal k of a matrix, or a matrix with a 1-d array on diagonal k.");
  def_both(
      m, cls, "diagonal",
      [](const array& a, int offset, int axis1, int axis2, StreamOrDevice s) {
        return diagonal(a, offset, axis1, axis2, s);
      },
      "offset"_a = 0, "axis1"_a = 0, "axis2"_a = 1, "stream"_a = nb::none(),
      "The diagonals over two axes, which become one at the end.");
  def_both(m, cls, "split", &split_sections, "indices_or_sections"_a, "axis"_a = 0, nb::kw_only(),
           "stream"_a = nb::none(),
           "Parts along an axis: as many equal ones, or cut at the indices.");
  def_both(
      m, cls, "view",
      [](const array& a, Dtype dtype, StreamOrDevice s) { return view(a, dtype, s); }, "dtype"_a,
      nb::kw_only(), "stream"_a = nb::none(),
      "The same bytes as another type; the last axis scales with the sizes' ratio.");
  m.def(
      "astype", [](const array& a, Dtype dtype, StreamOrDevice s) { return astype(a, dtype, s); },
      "a"_a, "dtype"_a, nb::kw_only(), "stream"_a = nb::none(), "The elements as another type.");
  cls.def(
      "astype", [](const array& a, Dtype dtype, StreamOrDevice s) { return astype(a, dtype, s); },
      "dtype"_a, "stream"_a = nb::none(), "The elements as another type.");

  m.def(
      "expand_dims",
      [](const array& a, const Axes& axis, StreamOrDevice s) { return expand_dims(a, axis, s); },
      "a"_a, "axis"_a, nb::kw_only(), "stream"_a = nb::none(),
      "New axes of extent 1, at these places of the result.");
  m.def(
      "matrix_transpose", [](const array& a, StreamOrDevice s) { return matrix_transpose(a, s); },
      "a"_a, nb::kw_only(), "stream"_a = nb::none(), "The last two axes exchanged.");
  m.def(
      "flip",
      [](const array& a, const OptionalAxes& axis, StreamOrDevice s) {
        return axis ? flip(a, *axis, s) : flip(a, s);
      },
      "a"_a, "axis"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "The elements in reverse order along the axes, or all.");
  m.def(
      "as_strided",
      [](const array& a, const std::optional<Shape>& shape, const std::optional<Strides>& strides,
         std::int64_t offset, StreamOrDevice s) {
        const Shape to = shape.value_or(a.shape());
        return as_strided(a, to, strides ? *strides : row_major(to), offset, s);
      },
      "a"_a, "shape"_a = nb::none(), "strides"_a = nb::none(), "offset"_a = 0, nb::kw_only(),
      "stream"_a = nb::none(),
      "Any strides, in elements, over the row-major elements; ValueError when they reach outside.");
  m.def(
      "contiguous",
      [](const array& a, bool allow_col_major, StreamOrDevice s) {
        return contiguous(a, allow_col_major, s);
      },
      "a"_a, "allow_col_major"_a = false, nb::kw_only(), "stream"_a = nb::none(),
      "The array in row-major memory (or column-major where it is and that is allowed).");
  m.def(
      "trace",
      [](const array& a, int offset, int axis1, int axis2, std::optional<Dtype> dtype,
         StreamOrDevice s) { return trace(a, offset, axis1, axis2, dtype, s); },
      "a"_a, "offset"_a = 0, "axis1"_a = 0, "axis2"_a = 1, "dtype"_a = nb::none(), nb::kw_only(),
      "stream"_a = nb::none(), "The sum of a diagonal over two axes.");
}

void bind_joining(nb::module_& m) {
  for (const char* name : {"concatenate", "concat"})
    m.def(
        name,
        [](const Arrays& arrays, std::optional<int> axis, StreamOrDevice s) {
          return axis ? concatenate(arrays, *axis, s) : concatenate_flat(arrays, s);
        },
        "arrays"_a, "axis"_a.none() = 0, nb::kw_only(), "stream"_a = nb::none(),
        "Joins arrays along an axis; with None, flattened. Other extents must agree.");
  m.def(
      "stack",
      [](const Arrays& arrays, std::optional<int> axis, StreamOrDevice s) {
        return stack(arrays, axis.value_or(0), s);
      },
      "arrays"_a, "axis"_a.none() = 0, nb::kw_only(), "stream"_a = nb::none(),
      "Joins arrays of one shape along a new axis.");
  m.def(
      "unstack",
      [](const array& x, int axis, StreamOrDevice s) {
        return nb::tuple(nb::cast(unstack(x, axis, s)));
      },
      nb::sig("def unstack(x: array, /, *, axis: int = 0, stream: Stream | ThreadLocalStream | "
              "Device | DeviceType | None = None) -> tuple[array, ...]"),
      nb::arg(), nb::kw_only(), "axis"_a = 0, "stream"_a = nb::none(),
      "The parts along an axis, without it.");
  m.def(
      "repeat",
      [](const array& a, std::int64_t repeats, std::optional<int> axis, StreamOrDevice s) {
        return repeat(a, repeats, axis, s);
      },
      "array"_a, "repeats"_a, "axis"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "Each element repeated along an axis, or in the flattened array.");
  m.def(
      "tile", [](const array& a, const Shape& reps, StreamOrDevice s) { return tile(a, reps, s); },
      "a"_a, "reps"_a, nb::kw_only(), "stream"_a = nb::none(),
      "The whole array repeated along its last axes.");
  m.def(
      "pad",
      [](const array& a, nb::object pad_width, const std::string& mode, Operand constant_values,
         StreamOrDevice s) {
        return pad(a, pad_widths(pad_width, a.ndim()), to_array(constant_values, a.dtype()), mode,
                   s);
      },
      nb::sig("def pad(a: array, pad_width: int | tuple[int] | tuple[int, int] | "
              "Sequence[tuple[int, int]], mode: str = 'constant', constant_values: bool | int | "
              "float | complex | array = 0, *, stream: Stream | ThreadLocalStream | Device | "
              "DeviceType | None = None) -> array"),
      "a"_a, "pad_width"_a, "mode"_a = "constant", "constant_values"_a = nb::int_(0), nb::kw_only(),
      "stream"_a = nb::none(),
      "Elements added before and after each axis: a value ('constant'), the outermost element "
      "('edge'), or the array mirrored without ('reflect') or with ('symmetric') the outermost.");
  m.def("roll", &roll_axes, "a"_a, "shift"_a, "axis"_a = nb::none(), nb::kw_only(),
        "stream"_a = nb::none(), "Elements moved round along axes, or in the flattened array.");

  m.def(
      "broadcast_to",
      [](Operand a, const Shape& shape, StreamOrDevice s) {
        return broadcast_to(to_array(a), shape, s);
      },
      "a"_a, "shape"_a, nb::kw_only(), "stream"_a = nb::none(),
      "The array repeated along axes of extent 1 and new leading ones; ValueError when it cannot "
      "be.");
  m.def(
      "broadcast_arrays",
      [](const nb::args& arrays, StreamOrDevice s) {
        return broadcast_arrays(nb::cast<Arrays>(arrays), s);
      },
      nb::sig("def broadcast_arrays(*arrays: array, stream: Stream | ThreadLocalStream | Device | "
              "DeviceType | None = None) -> list[array]"),
      "arrays"_a, "stream"_a = nb::none(), "The arrays broadcast to their common shape.");
  m.def(
      "broadcast_shapes",
      [](const nb::args& shapes) {
        if (shapes.size() == 0) throw std::invalid_argument("broadcast_shapes: expected a shape");
        Shape common;
        for (nb::handle shape : shapes) common = broadcast_shapes(common, nb::cast<Shape>(shape));
        return common;
      },
      nb::sig("def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]"),
      "The shape that arrays of these shapes broadcast to; ValueError when there is none.");
  for (int n = 1; n <= 3; ++n) {
    const std::string name = "atleast_" + std::to_string(n) + "d";
    m.def(
        name.c_str(),
        [n](const nb::args& arrays, StreamOrDevice s) -> nb::object {
          Arrays out;
          for (const array& a : nb::cast<Arrays>(arrays)) out.push_back(atleast_nd(a, n, s));
          return out.size() == 1 ? nb::cast(out[0]) : nb::cast(out);
        },
        nb::sig(("def " + name +
                 "(*arys: array, stream: Stream | ThreadLocalStream | Device | DeviceType | None = "
                 "None) -> array | list[array]")
                    .c_str()),
        "arys"_a, "stream"_a = nb::none(), "Axes of extent 1 added up to this number of axes.");
  }
}

void bind_taking(nb::module_& m) {
  m.def(
      "take",
      [](const array& a, Operand indices, std::optional<int> axis, StreamOrDevice s) {
        const array i = to_array(indices);
        return axis ? take(a, i, *axis, s) : take(a, i, s);
      },
      "a"_a, "indices"_a, "axis"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "The parts at integer indices along an axis (of the flattened array). Negative ones count "
      "from "
      "the end; one out of range raises IndexError at evaluation.");
  m.def(
      "take_along_axis",
      [](const array& a, const array& indices, std::optional<int> axis, StreamOrDevice s) {
        const array from = flat_unless(a, axis);
        return take_along_axis(from, indices, *axis, s);
      },
      "a"_a, "indices"_a, "axis"_a.none() = -1, nb::kw_only(), "stream"_a = nb::none(),
      "The elements at indices along an axis; the other axes of both broadcast.");
  m.def(
      "put_along_axis",
      [](const array& a, const array& indices, const array& values, std::optional<int> axis,
         StreamOrDevice s) {
        const array into = flat_unless(a, axis);
        return reshape(put_along_axis(into, indices, values, *axis, s), a.shape(), s);
      },
      "a"_a, "indices"_a, "values"_a, "axis"_a = nb::none(), nb::kw_only(), "stream"_a = nb::none(),
      "A copy with the elements at indices along an axis set to values.");
  m.def(
      "slice",
      [](const array& a, const array& start, const Axes& axes, const Shape& size,
         StreamOrDevice s) { return slice(a, start, axes, size, s); },
      "a"_a, "start_indices"_a, "axes"_a, "slice_size"_a, nb::kw_only(), "stream"_a = nb::none(),
      "A block of a fixed size at start indices that are an array, one for each of `axes`.");
  m.def(
      "slice_update",
      [](const array& a, const array& update, const array& start, const Axes& axes,
         StreamOrDevice s) { return slice_update(a, update, start, axes, s); },
      "a"_a, "update"_a, "start_indices"_a, "axes"_a, nb::kw_only(), "stream"_a = nb::none(),
      "A copy with the block at the start indices, one for each of `axes`, replaced by `update`.");
}

}  // namespace

void bind_shape(nb::module_& m, ArrayClass& cls) {
  bind_layout(m, cls);
  bind_joining(m);
  bind_taking(m);
}

}  // namespace cermet::python
