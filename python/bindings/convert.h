// Conversions between Python values and Cermet's types, as nanobind type casters and functions.
//
// Including this file is what lets a bound function take a Shape, Axes, Dtype, StreamOrDevice or
// Operand; every file of the bindings includes it.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "cermet/cermet.h"

namespace cermet::python {

namespace nb = nanobind;
using namespace nb::literals;

// How stubs spell an operand.
inline constexpr char kOperand[] =
    "bool | int | float | complex | cermet.core.array | numpy.typing.NDArray | "
    "cermet.core.ArrayLike";

// An argument that is an array, a Python or NumPy scalar, or an object with the buffer protocol or
// DLPack. It is borrowed for the call.
struct Operand {
  nb::handle value;
};
// An argument that is a sequence of arrays, read in the call: nanobind's reading of lists may not
// raise, and ends the process where there is no memory for one.
struct ArrayList {
  nb::handle value;
};
// Raised for a value of a kind that is not taken: a TypeError, and a ValueError as in MLX.
class KindError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};
// Python's classes for this, and for an integer that a type does not hold.
inline PyObject* kind_error = nullptr;
inline PyObject* integer_range_error = nullptr;
// A device, or a type of device for its first one.
struct DeviceLike {
  Device device;
};
// Stands for an object that converts itself to an array through the buffer protocol or DLPack.
struct ArrayLike {
  nb::object value;
};
// A stream of each thread's own, made when the thread first uses it.
struct ThreadLocalStream {
  Device device;
  int index;
  Stream resolve() const;
  bool operator==(const ThreadLocalStream&) const = default;
};

[[noreturn]] void refuse_uninitialized(nb::handle h);

// Python's class of arrays; set when it is bound.
inline PyTypeObject* array_type = nullptr;

// The C++ object in an object of a bound class; TypeError where its __init__ has not run.
template <class T>
T* held(nb::handle h) {
  if (!nb::inst_ready(h)) refuse_uninitialized(h);
  return nb::inst_ptr<T>(h);
}

inline bool is_array(nb::handle h) {
  return Py_TYPE(h.ptr()) == array_type || PyType_IsSubtype(Py_TYPE(h.ptr()), array_type);
}
// The array that a Python object holds, or nullptr for another object.
inline array* as_array(nb::handle h) { return is_array(h) ? held<array>(h) : nullptr; }

bool is_operand(nb::handle h);
// True for an array of another library or a buffer.
bool is_foreign_array(nb::handle h);
// An operand as an array. A Python scalar or another library's array takes the type `like` where
// that can hold its kind: it does not promote what it meets.
array to_array(Operand operand, std::optional<Dtype> like = {}, Rule rule = Rule::same);
// A bound for arrays of the type: an integer beyond all of these is the last of them.
array to_bound(Operand operand, Dtype like, bool lower);
std::optional<array> to_optional_array(std::optional<Operand> operand, Dtype like);
// Two operands of an operation as arrays, each scalar in the type of the other. An integer that
// this does not hold raises OverflowError, unless the operation compares or computes in floats.
std::pair<array, array> to_arrays(Operand a, Operand b, Rule rule = Rule::same);

// What the constructor of arrays makes of a value: scalars, nested sequences, arrays of others.
// Doubles become float32 unless `dtype` says otherwise.
array make_array(nb::handle value, std::optional<Dtype> dtype = {});
// An array of another library: copied, or borrowed (where its type allows) when `copy` is false.
array import_array(nb::handle value, std::optional<Dtype> dtype, bool copy);

// The array, with its value. A handle of its own: Python may make the object another array while
// this waits.
array evaluated(array a);

// The only element as a Python scalar.
nb::object to_scalar(const array& a);
// Nested lists of Python scalars; a scalar for a 0-d array.
nb::object to_list(const array& a);
// A NumPy array: a view of the array's memory, or a copy. What is written to a view is written to
// the array; borrowed memory is read-only. bfloat16 needs ml_dtypes to be a view; without it the
// values come as float32.
nb::object to_numpy(array& a, bool copy);
// An object with `__dlpack__` that shares the array's memory, or that of a copy.
nb::object to_dlpack(const array& a, bool copy);
// The buffer protocol, for the array's type slots.
int get_buffer(PyObject* self, Py_buffer* view, int flags);
void release_buffer(PyObject* self, Py_buffer* view);
// NumPy clears the error of an index or a buffer, Ctrl-C as well, and asks for the array in another
// way at once, where the second of these raises it again.
void remember_interrupt(const array& a);
bool interrupted_again(const array& a);

// Python's text; that of nb::str is a RuntimeError where there is no memory for it.
inline nb::str to_text(const char* characters) {
  PyObject* made = PyUnicode_FromString(characters);
  if (!made) throw nb::python_error();
  return nb::steal<nb::str>(made);
}

std::string class_name(nb::handle h);
[[noreturn]] void refuse_argument(nb::handle h, const char* function, const char* expected);
// An argument as a T; TypeError that names the function and what it expects.
template <class T>
T argument(nb::handle h, const char* function, const char* expected) {
  T value;
  if (!nb::try_cast(h, value)) refuse_argument(h, function, expected);
  return value;
}
// Arguments that are arrays, one by one or in a sequence.
Arrays array_arguments(nb::handle args, const char* function);
StreamOrDevice to_stream(nb::handle h);
// What a sequence holds, as a list or tuple; nothing for other objects, and for those that hold
// more than shapes have, or never end.
nb::object to_items(nb::handle h) noexcept;
nb::handle to_python(Dtype dtype);
std::optional<Dtype> as_dtype(nb::handle h);

}  // namespace cermet::python

namespace nanobind::detail {

template <>
struct type_caster<cermet::Dtype> {
  NB_TYPE_CASTER(cermet::Dtype, const_name("cermet.core.Dtype"))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    const auto dtype = cermet::python::as_dtype(src);
    if (dtype) value = *dtype;
    return dtype.has_value();
  }
  static handle from_cpp(cermet::Dtype dtype, rv_policy, cleanup_list*) noexcept {
    return cermet::python::to_python(dtype).inc_ref();
  }
};

template <>
struct type_caster<cermet::python::Operand> {
  NB_TYPE_CASTER(cermet::python::Operand, const_name(cermet::python::kOperand))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    value.value = src;  // its conversion may raise, as a caster may not
    return !src.is_none();
  }
};

template <>
struct type_caster<cermet::python::ArrayList> {
  NB_TYPE_CASTER(cermet::python::ArrayList,
                 const_name("collections.abc.Sequence[cermet.core.array]"))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    value.value = src;
    return PySequence_Check(src.ptr()) && !PyUnicode_Check(src.ptr()) && !PyBytes_Check(src.ptr());
  }
};

template <>
struct type_caster<cermet::python::DeviceLike> {
  NB_TYPE_CASTER(cermet::python::DeviceLike,
                 const_name("cermet.core.Device | cermet.core.DeviceType"))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    if (isinstance<cermet::Device>(src) && inst_ready(src))
      value.device = *inst_ptr<cermet::Device>(src);
    else if (isinstance<cermet::DeviceType>(src))
      value.device = {nanobind::cast<cermet::DeviceType>(src), 0};
    else
      return false;
    return true;
  }
};

template <>
struct type_caster<cermet::StreamOrDevice> {
  NB_TYPE_CASTER(cermet::StreamOrDevice,
                 const_name("cermet.core.Stream | cermet.core.ThreadLocalStream | "
                            "cermet.core.Device | cermet.core.DeviceType"))
  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    if (src.is_none()) return true;
    try {
      value = cermet::python::to_stream(src);
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }
};

// Shapes and axes: an integer or a sequence of them.
template <class T, std::size_t N>
  requires std::is_integral_v<T>
struct type_caster<cermet::SmallVector<T, N>> {
  using Vector = cermet::SmallVector<T, N>;
  NB_TYPE_CASTER(Vector, io_name("int | collections.abc.Sequence[int]", "tuple[int, ...]"))

  bool from_python(handle src, uint32_t, cleanup_list*) noexcept {
    value.clear();
    if (PyTuple_CheckExact(src.ptr()) || PyList_CheckExact(src.ptr())) {
      for (Py_ssize_t i = 0; i < Py_SIZE(src.ptr());
           ++i)  // an item's __index__ may change the list
        if (!push(borrow(PySequence_Fast_GET_ITEM(src.ptr(), i)))) return false;
      return true;
    }
    if (push(borrow(src))) return true;
    const object items = cermet::python::to_items(src);
    return items && from_python(items, 0, nullptr);
  }
  static handle from_cpp(const Vector& v, rv_policy, cleanup_list*) noexcept {
    object out = steal(PyTuple_New(static_cast<Py_ssize_t>(v.size())));
    for (std::size_t i = 0; out && i < v.size(); ++i) {
      PyObject* const item = PyLong_FromLongLong(v[i]);
      if (!item) return {};
      PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(i), item);
    }
    return out.release();
  }

 private:
  bool push(const object& item) {
    const Py_ssize_t i =
        PyIndex_Check(item.ptr()) ? PyNumber_AsSsize_t(item.ptr(), PyExc_OverflowError) : -1;
    if (i == -1 && (!PyIndex_Check(item.ptr()) || PyErr_Occurred())) {
      PyErr_Clear();
      return false;
    }
    if (static_cast<T>(i) != i) return false;
    try {
      value.push_back(static_cast<T>(i));
    } catch (const std::bad_alloc&) {  // of millions of axes
      return false;
    }
    return true;
  }
};

// Sequences of them, of which the numbers' methods may change no list while it is read.
template <class T, std::size_t N>
struct type_caster<std::vector<cermet::SmallVector<T, N>>>
    : list_caster<std::vector<cermet::SmallVector<T, N>>, cermet::SmallVector<T, N>> {
  using Base = list_caster<std::vector<cermet::SmallVector<T, N>>, cermet::SmallVector<T, N>>;
  bool from_python(handle src, std::uint32_t flags, cleanup_list* cleanup) noexcept {
    const object given = cermet::python::to_items(src);
    const object items = given ? steal(PySequence_Tuple(given.ptr())) : object();
    PyErr_Clear();
    return items && Base::from_python(items, flags, cleanup);
  }
};

template <>
struct type_caster<cermet::OptionalAxes> : optional_caster<cermet::OptionalAxes> {};
template <>
struct has_arg_defaults<cermet::OptionalAxes> : std::true_type {};

}  // namespace nanobind::detail
