// Elements and arrays in memory as Python's numbers and lists. Python may have no memory for these.
#pragma once

#include "convert.h"

namespace cermet::python {

// A new object, or the error of not having made it.
inline nb::object made(PyObject* object) {
  if (!object) throw nb::python_error();
  return nb::steal(object);
}

template <class T>
nb::object scalar_object(const T* p) {
  if constexpr (std::is_same_v<T, bool>)
    return nb::bool_(*p);
  else if constexpr (std::is_same_v<T, complex64_t>)
    return made(PyComplex_FromDoubles(p->re, p->im));
  else if constexpr (std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>)
    return made(PyFloat_FromDouble(to_float(*p)));
  else if constexpr (std::is_integral_v<T>)
    return made(std::is_signed_v<T> ? PyLong_FromLongLong(*p) : PyLong_FromUnsignedLongLong(*p));
  else
    return made(PyFloat_FromDouble(*p));
}

// Makes nested lists of an array's memory. Signals are looked for as it goes.
template <class T>
class Lists {
 public:
  explicit Lists(const array& a) : shape_(a.shape()), strides_(a.strides()) {}

  nb::object made_of(const T* p, std::size_t axis = 0) {
    if (axis == shape_.size()) return scalar_object(p);
    if (Py_EnterRecursiveCall(" in tolist")) throw nb::python_error();
    nb::object out;
    try {
      out = nb::steal(PyList_New(shape_[axis]));
      if (!out) {
        PyErr_SetString(PyExc_MemoryError, "tolist: there is no memory for the lists");
        throw nb::python_error();
      }
      for (std::int64_t i = 0; i < shape_[axis]; ++i) {
        if (++count_ % 65536 == 0 && PyErr_CheckSignals() != 0) throw nb::python_error();
        PyList_SET_ITEM(out.ptr(), i, made_of(p + i * strides_[axis], axis + 1).release().ptr());
      }
    } catch (...) {
      Py_LeaveRecursiveCall();
      throw;
    }
    Py_LeaveRecursiveCall();
    return out;
  }

 private:
  const Shape& shape_;
  const Strides& strides_;
  std::int64_t count_ = 0;
};

}  // namespace cermet::python
