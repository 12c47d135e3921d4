// Functions that make arrays from shapes and numbers.
#include <nanobind/stl/variant.h>

#include <algorithm>
#include <numbers>

#include "bindings.h"

namespace cermet::python {
namespace {

using Number = std::variant<std::int64_t, double>;
double value_of(const Number& n) {
  return std::visit([](auto v) { return static_cast<double>(v); }, n);
}

// int32 holds integers unless one is wider; a float makes float32.
Dtype range_dtype(std::initializer_list<Number> numbers) {
  Dtype t = int32;
  for (const Number& n : numbers) {
    if (std::holds_alternative<double>(n)) return float32;
    const std::int64_t v = std::get<std::int64_t>(n);
    if (v != static_cast<std::int32_t>(v)) t = int64;
  }
  return t;
}

array range(Number start, Number stop, std::optional<Number> step, std::optional<Dtype> dtype,
            StreamOrDevice s) {
  const Number by = step.value_or(Number(std::int64_t{1}));
  const Dtype t = dtype.value_or(range_dtype({start, stop, by}));
  const auto whole = [](const Number& n) { return std::get_if<std::int64_t>(&n); };
  if (whole(start) && whole(stop) && whole(by))
    return arange(*whole(start), *whole(stop), *whole(by), t, s);
  return arange(value_of(start), value_of(stop), value_of(by), t, s);
}

using Filled = array (*)(const Shape&, Dtype, StreamOrDevice);
using FilledLike = array (*)(const array&, std::optional<Dtype>, StreamOrDevice);
struct Fill {
  const char *name, *like_name;
  Filled function;
  FilledLike like;
  const char* doc;
};
constexpr Fill kFills[] = {
    {"zeros", "zeros_like", &zeros, &zeros_like, "An array of zeros."},
    {"ones", "ones_like", &ones, &ones_like, "An array of ones."},
    {"empty", "empty_like", &zeros, &zeros_like, "An array for values to come: zeros."},
};

// A window is a sum of cosines, sum_k c[k] cos(2 pi k n / (M - 1)).
struct Window {
  const char* name;
  double c0, c1, c2;
  const char* doc;
};
constexpr Window kWindows[] = {
    {"hanning", 0.5, -0.5, 0, "The Hann window, shape (M,): a raised cosine."},
    {"hamming", 0.54, -0.46, 0, "The Hamming window, shape (M,)."},
    {"blackman", 0.42, -0.5, 0.08, "The Blackman window, shape (M,)."},
};

array window(const Window& w, std::int64_t m, StreamOrDevice s) {
  if (m <= 1) return ones({std::max<std::int64_t>(m, 0)}, float32, s);
  const array angle = linspace(0, 2 * std::numbers::pi, m, true, float32, s);
  return w.c0 + w.c1 * cos(angle, s) + w.c2 * cos(2 * angle, s);
}

array bartlett(std::int64_t m, StreamOrDevice s) {
  if (m <= 1) return ones({std::max<std::int64_t>(m, 0)}, float32, s);
  return 1 - abs(linspace(-1, 1, m, true, float32, s), s);
}

constexpr Row<array(const array&, int, StreamOrDevice)> kTriangles[] = {
    {"tril", &tril, "The last two axes with zeros above diagonal k."},
    {"triu", &triu, "The last two axes with zeros below diagonal k."},
};

}  // namespace

void bind_creation(nb::module_& m) {
  for (const Fill& fill : kFills) {
    def_op(
        m, fill.name,
        [f = fill.function](const Shape& shape, std::optional<Dtype> dtype, StreamOrDevice s) {
          return f(shape, dtype.value_or(float32), s);
        },
        fill.doc, "shape"_a, "dtype"_a.none() = float32);
    def_op(m, fill.like_name, fill.like,
           (std::string(fill.doc) + " It has the shape of `a`, and its type unless told.").c_str(),
           "a"_a, "dtype"_a = nb::none());
  }
  def_op(
      m, "full",
      [](const Shape& shape, Operand vals, std::optional<Dtype> dtype, StreamOrDevice s) {
        return full(shape, to_array(vals, dtype), dtype, s);
      },
      "An array filled with a value, which broadcasts to the shape.", "shape"_a, "vals"_a,
      "dtype"_a = nb::none());
  def_op(
      m, "full_like",
      [](const array& a, Operand vals, std::optional<Dtype> dtype, StreamOrDevice s) {
        return full_like(a, to_array(vals, dtype.value_or(a.dtype())), dtype, s);
      },
      "An array with the shape of `a`, and its type unless told, filled with a value.", "a"_a,
      "vals"_a, "dtype"_a = nb::none());

  def_op(
      m, "arange",
      [](Number start, std::optional<Number> stop, std::optional<Number> step,
         std::optional<Dtype> dtype, StreamOrDevice s) {
        if (!stop) return range(std::int64_t{0}, start, step, dtype, s);
        return range(start, *stop, step, dtype, s);
      },
      "The numbers start, start + step, ... below stop (above it for a negative step). Without "
      "`dtype` integers give int32 (int64 where needed) and floats float32.",
      "start"_a, "stop"_a.none(), "step"_a = nb::none(), "dtype"_a = nb::none());
  def_op(
      m, "arange",
      [](Number stop, std::optional<Number> step, std::optional<Dtype> dtype, StreamOrDevice s) {
        return range(std::int64_t{0}, stop, step, dtype, s);
      },
      "As above, from 0.", "stop"_a, "step"_a = nb::none(), "dtype"_a = nb::none());
  m.def(
      "linspace",
      [](double start, double stop, std::optional<std::int64_t> num, bool endpoint,
         std::optional<Dtype> dtype, StreamOrDevice s) {
        return linspace(start, stop, num.value_or(50), endpoint, dtype.value_or(float32), s);
      },
      "start"_a, "stop"_a, "num"_a.none() = 50, "endpoint"_a = true, "dtype"_a.none() = float32,
      "stream"_a = nb::none(),
      "`num` numbers in equal steps from start to stop, which counts if `endpoint`.");

  def_op(
      m, "eye",
      [](std::int64_t n, std::optional<std::int64_t> cols, int k, std::optional<Dtype> dtype,
         StreamOrDevice s) { return eye(n, cols.value_or(n), k, dtype.value_or(float32), s); },
      "Shape (n, m) with ones on diagonal k and zeros elsewhere.", "n"_a, "m"_a = nb::none(),
      "k"_a = 0, "dtype"_a.none() = float32);
  def_op(
      m, "identity",
      [](std::int64_t n, std::optional<Dtype> dtype, StreamOrDevice s) {
        return identity(n, dtype.value_or(float32), s);
      },
      "The identity matrix, shape (n, n).", "n"_a, "dtype"_a.none() = float32);
  def_op(
      m, "tri",
      [](std::int64_t n, std::optional<std::int64_t> cols, int k, std::optional<Dtype> dtype,
         StreamOrDevice s) { return tri(n, cols.value_or(n), k, dtype.value_or(float32), s); },
      "Shape (n, m) with ones on and below diagonal k, zeros above.", "n"_a, "m"_a = nb::none(),
      "k"_a = 0, "dtype"_a = nb::none());
  for (const auto& row : kTriangles) def_op(m, row.name, row.function, row.doc, "x"_a, "k"_a = 0);
  for (const Window& w : kWindows)
    def_op(
        m, w.name, [&w](std::int64_t size, StreamOrDevice s) { return window(w, size, s); }, w.doc,
        "M"_a);
  def_op(m, "bartlett", &bartlett, "The Bartlett window, shape (M,): a triangle.", "M"_a);
  m.def(
      "meshgrid",
      [](const nb::args& arrays, std::optional<bool> sparse, std::optional<std::string> indexing,
         StreamOrDevice s) {
        return nb::tuple(nb::cast(meshgrid(array_arguments(arrays, "meshgrid"),
                                           sparse.value_or(false), indexing.value_or("xy"), s)));
      },
      nb::sig(signature("meshgrid(*arrays: array, sparse: bool | None = False, indexing: str | "
                        "None = 'xy'",
                        "tuple[array, ...]")
                  .c_str()),
      "arrays"_a, "sparse"_a.none() = false, "indexing"_a.none() = "xy", "stream"_a = nb::none(),
      "Coordinate grids of 1-d arrays. With indexing 'xy' the first two axes are exchanged; "
      "`sparse` keeps extents of 1 instead of repeating.");
}

}  // namespace cermet::python
