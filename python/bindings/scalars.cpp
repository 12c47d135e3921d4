// Python's numbers as C++'s and as arrays without axes.
#include "scalars.h"

#include <cmath>
#include <utility>

namespace cermet::python {
namespace {

[[noreturn]] void raise_overflow(nb::handle value, const char* type) {
  PyErr_Format(integer_range_error, "the integer %R does not fit in %s", value.ptr(), type);
  throw nb::python_error();
}

double infinity_of(nb::handle h) { return is_negative(h) ? -HUGE_VAL : HUGE_VAL; }

// The integer beside an array of floats.
double beside_floats(nb::handle h, Rule rule) {
  const double v = PyFloat_AsDouble(h.ptr());
  if (v != -1 || !PyErr_Occurred()) return v;
  if (rule != Rule::comparison || !PyErr_ExceptionMatches(PyExc_OverflowError))
    throw nb::python_error();
  PyErr_Clear();
  return infinity_of(h);
}

// The integer beside an array of integers. Where it must be of their type it has to fit; compared
// with them, one that does not is an infinity.
array beside_integers(nb::handle h, Dtype dtype, Rule rule) {
  if (rule == Rule::inexact || rule == Rule::real_inexact)
    return array(to_double(h), to_inexact(dtype));
  if (holds(dtype, h)) return array(to_int64(h, dtype), dtype);
  if (rule == Rule::comparison || rule == Rule::logical) return array(infinity_of(h));
  raise_overflow(h, name_of(dtype).data());
}

}  // namespace

Scalar scalar_kind(PyObject* p) {
  if (PyFloat_Check(p)) return Scalar::floating;
  if (PyBool_Check(p)) return Scalar::boolean;
  if (PyLong_Check(p)) return Scalar::integer;
  return PyComplex_Check(p) ? Scalar::complex : Scalar::none;
}

// NumPy is looked up only where something else has imported it.
bool is_numpy_scalar(nb::handle h) {
  static PyTypeObject* generic = nullptr;
  if (!generic) {
    const nb::object numpy = nb::steal(PyImport_GetModule(to_text("numpy").ptr()));
    if (!numpy && PyErr_Occurred()) throw nb::python_error();
    if (!numpy) return false;
    generic = reinterpret_cast<PyTypeObject*>(nb::object(numpy.attr("generic")).release().ptr());
  }
  return PyObject_TypeCheck(h.ptr(), generic);
}

// A NumPy scalar as the Python scalar nearest to it. Spans of time (kind m) are integers to `item`.
nb::object from_numpy_scalar(nb::handle h) {
  nb::object item = h.attr("item")();
  if (scalar_kind(item.ptr()) == Scalar::none || h.attr("dtype").attr("kind").equal(to_text("m")))
    throw KindError("array: expected a number, not " + class_name(h));
  return item;
}

std::int64_t to_int64(nb::handle h, Dtype dtype) {
  int overflow = 0;
  const std::int64_t v = PyLong_AsLongLongAndOverflow(h.ptr(), &overflow);
  if (overflow == 0) return v;
  if (overflow > 0 && dtype == uint64) {
    const std::uint64_t u = PyLong_AsUnsignedLongLong(h.ptr());
    if (!PyErr_Occurred()) return static_cast<std::int64_t>(u);
    PyErr_Clear();
  }
  raise_overflow(h, dtype == uint64 ? "uint64" : "int64");
}

double to_double(nb::handle h) {
  const double v = PyFloat_AsDouble(h.ptr());
  if (v == -1 && PyErr_Occurred()) throw nb::python_error();
  return v;
}

std::complex<float> to_complex(nb::handle h) {
  const Py_complex c = PyComplex_AsCComplex(h.ptr());
  if (PyErr_Occurred()) throw nb::python_error();
  return {static_cast<float>(c.real), static_cast<float>(c.imag)};
}

bool is_negative(nb::handle h) {
  int overflow = 0;
  const std::int64_t v = PyLong_AsLongLongAndOverflow(h.ptr(), &overflow);
  return overflow < 0 || (overflow == 0 && v < 0);
}

bool holds(Dtype dtype, nb::handle h) {
  int overflow = 0;
  const std::int64_t v = PyLong_AsLongLongAndOverflow(h.ptr(), &overflow);
  if (overflow != 0) {
    if (dtype == uint64 && overflow > 0) PyLong_AsUnsignedLongLong(h.ptr());
    const bool fits = dtype == uint64 && overflow > 0 && !PyErr_Occurred();
    PyErr_Clear();
    return fits;
  }
  return visit(dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>)
      return std::in_range<T>(v);
    else
      return true;
  });
}

array weak_scalar(nb::handle h, Scalar kind, std::optional<Dtype> like, Rule rule) {
  switch (kind) {
    case Scalar::boolean: return array(h.ptr() == Py_True);
    case Scalar::integer:
      if (!like) return array(to_int64(h));
      if (is_inexact(*like)) return array(beside_floats(h, rule), *like);
      if (*like != bool_) return beside_integers(h, *like, rule);
      return holds(int32, h) ? array(to_int64(h)) : beside_integers(h, int64, rule);
    case Scalar::floating: return array(to_double(h), like ? to_inexact(*like) : float32);
    default: return array(to_complex(h));
  }
}

array strong_scalar(nb::handle h, Scalar kind, std::optional<Dtype> dtype) {
  if (!dtype) return weak_scalar(h, kind, {});
  if (kind == Scalar::complex) return array(to_complex(h), *dtype);
  if (kind == Scalar::floating) return array(to_double(h), *dtype);
  if (*dtype == bool_) return array(PyObject_IsTrue(h.ptr()) != 0);
  if (is_inexact(*dtype) && !holds(int64, h)) return array(to_double(h), *dtype);
  return array(to_int64(h, *dtype), *dtype);
}

}  // namespace cermet::python
