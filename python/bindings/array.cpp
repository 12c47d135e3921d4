// The class array: construction, properties, conversions and operators.
//
// An operation in place (a += b, a[i] = b) gives the Python object a new array: every name of the
// object sees it, other arrays that shared the old value do not.
#include "cermet/array.h"

#include <nanobind/stl/complex.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

template <Op op>
array computed(Operand a, Operand b) {
  return binary(op, a, b);
}
array product(const array& a, const array& b) {
  static const auto f =
      repeatable("matmul", [](const array& a, const array& b) { return matmul(a, b); });
  return f(a, b);
}
array product(Operand a, Operand b) {
  const array* x = as_array(a.value);
  const array* y = as_array(b.value);
  if (!x || !y) throw nb::type_error("expected arrays");
  return product(*x, *y);
}

struct Operator {
  const char* name;  // without underscores
  Op op;
  bool reflected, in_place;
};
constexpr Operator kOperators[] = {
    {"add", Op::add, true, true},
    {"sub", Op::subtract, true, true},
    {"mul", Op::multiply, true, true},
    {"truediv", Op::divide, true, true},
    {"div", Op::divide, true, false},
    {"floordiv", Op::floor_divide, true, true},
    {"mod", Op::remainder, true, true},
    {"pow", Op::power, true, true},
    {"and", Op::bitwise_and, true, true},
    {"or", Op::bitwise_or, true, true},
    {"xor", Op::bitwise_xor, true, true},
    {"lshift", Op::left_shift, true, true},
    {"rshift", Op::right_shift, true, true},
    {"lt", Op::less, false, false},
    {"le", Op::less_equal, false, false},
    {"gt", Op::greater, false, false},
    {"ge", Op::greater_equal, false, false},
};

// What a pickle holds: the bytes in row-major order, shape and type.
using State = std::tuple<nb::bytes, Shape, Dtype>;
array restored(const State& state) {
  const auto& [bytes, shape, dtype] = state;
  return visit(dtype, [&]<class T>(Type<T>) {
    if (bytes.size() != static_cast<std::size_t>(element_count(shape)) * sizeof(T))
      throw std::invalid_argument("array: a pickle's bytes do not fit its shape");
    return array(static_cast<const T*>(bytes.data()), shape);
  });
}

// What one that MLX wrote holds: a NumPy array, of bfloat16 its bits, and the number of the type.
using StateOfMlx = std::tuple<nb::object, int>;
constexpr Dtype kTypesOfMlx[] = {Dtype::bool_,    Dtype::uint8,    Dtype::uint16,  Dtype::uint32,
                                 Dtype::uint64,   Dtype::int8,     Dtype::int16,   Dtype::int32,
                                 Dtype::int64,    Dtype::float16,  Dtype::float32, Dtype::float64,
                                 Dtype::bfloat16, Dtype::complex64};
array restored(const StateOfMlx& state) {
  const auto& [values, number] = state;
  if (number < 0 || number >= static_cast<int>(std::size(kTypesOfMlx)))
    throw std::invalid_argument("array: a pickle's type has the number " + std::to_string(number) +
                                ", expected 0 to 13");
  const Dtype dtype = kTypesOfMlx[number];
  const array a = to_array(Operand{values}, dtype == bfloat16 ? uint16 : dtype);
  return dtype == bfloat16 ? view(a, bfloat16) : a;
}

std::string dunder(const char* prefix, const char* name) {
  return "__" + std::string(prefix) + name + "__";
}

// Leaves an operation to an object whose class was written for it; Python's own are refused.
Operand checked(const Operator& row, Operand b) {
  const PyTypeObject* const type = Py_TYPE(b.value.ptr());
  if (is_operand(b.value)) return b;
  if (type->tp_flags & Py_TPFLAGS_HEAPTYPE) throw nb::next_overload();
  throw KindError(std::string(info(row.op).name) +
                  ": expected an array or a number beside an array, not " + class_name(b.value));
}

void bind_operators(ArrayClass& cls) {
  for (const Operator& row : kOperators) {
    cls.def(
        dunder("", row.name).c_str(),
        [&row](nb::handle_t<array> a, Operand b) { return binary(row.op, {a}, checked(row, b)); },
        "other"_a, nb::is_operator());
    if (row.reflected)
      cls.def(
          dunder("r", row.name).c_str(),
          [&row](nb::handle_t<array> a, Operand b) { return binary(row.op, checked(row, b), {a}); },
          "other"_a, nb::is_operator());
    if (row.in_place)
      cls.def(
          dunder("i", row.name).c_str(),
          [&row](nb::handle_t<array> a, Operand b) {
            array result = binary(row.op, {a}, checked(row, b));
            *as_array(a) = std::move(result);
            return nb::borrow(a);
          },
          nb::sig(("def " + dunder("i", row.name) + "(self, other: " + kOperand + ") -> array")
                      .c_str()),
          "other"_a, nb::is_operator());
  }
  // Objects that cannot be operands differ from every array.
  for (const bool equal : {true, false})
    cls.def(
        equal ? "__eq__" : "__ne__",
        [equal](nb::handle_t<array> a, nb::object b) -> nb::object {
          if (!is_operand(b)) return nb::bool_(!equal);
          try {
            return nb::cast(binary(equal ? Op::equal : Op::not_equal, {a}, {b}));
          } catch (const KindError&) {  // of another library's strings, say
            return nb::bool_(!equal);
          }
        },
        nb::sig(equal ? "def __eq__(self, other: object) -> typing.Any"
                      : "def __ne__(self, other: object) -> typing.Any"),
        "other"_a.none());

  cls.def("__neg__", [](const array& a) { return negative(a); })
      .def("__pos__", [](const array& a) { return a; })
      .def("__invert__", [](const array& a) { return bitwise_invert(a); })
      .def("__abs__", [](const array& a) { return abs(a); })
      .def(
          "__matmul__", [](const array& a, const array& b) { return product(a, b); }, "other"_a,
          nb::is_operator())
      .def(
          "__imatmul__",
          [](nb::handle_t<array> a, const array& b) {
            array* self = as_array(a);
            *self = product(*self, b);
            return nb::borrow(a);
          },
          nb::sig("def __imatmul__(self, other: array) -> array"), "other"_a, nb::is_operator());
}

// Python's own slots look an operator's method up by name on every call. These ones handle two
// arrays, or an array and a float or int, at once, and call the method for anything else: errors
// come from there.
template <array (*compute)(Operand, Operand)>
struct FastSlot {
  static inline PyObject *name = nullptr, *reflected = nullptr;

  static bool plain(PyObject* p) {
    return Py_TYPE(p) == array_type || PyFloat_CheckExact(p) || PyLong_CheckExact(p);
  }
  static PyObject* call(PyObject* a, PyObject* b) {
    if (plain(a) && plain(b)) {
      try {
        array result = compute({a}, {b});
        nb::object object = nb::inst_alloc(reinterpret_cast<PyObject*>(array_type));
        new (nb::inst_ptr<array>(object)) array(std::move(result));
        nb::inst_mark_ready(object);
        return object.release().ptr();
      } catch (...) {
        PyErr_Clear();
      }
    }
    if (is_array(a)) return PyObject_CallMethodOneArg(a, name, b);
    return reflected ? PyObject_CallMethodOneArg(b, reflected, a) : Py_NewRef(Py_NotImplemented);
  }
  static void install(binaryfunc& slot, const char* method, bool reflects = true) {
    name = PyUnicode_InternFromString(dunder("", method).c_str());
    if (reflects) reflected = PyUnicode_InternFromString(dunder("r", method).c_str());
    slot = &call;
  }
};

void install_fast_slots() {
  PyNumberMethods& slots = *array_type->tp_as_number;
  FastSlot<computed<Op::add>>::install(slots.nb_add, "add");
  FastSlot<computed<Op::subtract>>::install(slots.nb_subtract, "sub");
  FastSlot<computed<Op::multiply>>::install(slots.nb_multiply, "mul");
  FastSlot<computed<Op::divide>>::install(slots.nb_true_divide, "truediv");
  FastSlot<product>::install(slots.nb_matrix_multiply, "matmul", false);
}

struct ArrayIterator {
  nb::object value;
  std::int64_t next = 0;
};

array self_or_copy(const array& a, std::optional<Dtype> dtype) {
  return dtype ? astype(a, *dtype) : a;
}

nb::object integer(const array& a) {
  const nb::object scalar = to_scalar(a);
  return nb::steal(PyNumber_Long(scalar.ptr()));
}

void bind_conversions(ArrayClass& cls) {
  cls.def("item", &to_scalar,
          "The only element as a bool, int, float or complex; ValueError unless there is one.")
      .def("tolist", &to_list, "The elements as nested lists; a scalar for a 0-d array.")
      .def("__bool__",
           [](const array& a) { return static_cast<bool>(PyObject_IsTrue(to_scalar(a).ptr())); })
      .def("__int__", &integer, nb::sig("def __int__(self) -> int"))
      .def("__float__",
           [](const array& a) {
             const double v = PyFloat_AsDouble(to_scalar(a).ptr());
             if (PyErr_Occurred()) throw nb::python_error();
             return v;
           })
      .def("__complex__",
           [](const array& a) {
             const Py_complex c = PyComplex_AsCComplex(to_scalar(a).ptr());
             return std::complex<double>(c.real, c.imag);
           })
      .def(
          "__index__",
          [](const array& a) {
            if (a.ndim() != 0 || !is_integer(a.dtype()))
              throw nb::type_error("only a 0-d integer array is an index");
            try {
              return to_scalar(a);
            } catch (const Interrupted&) {
              remember_interrupt(a);
              throw;
            }
          },
          nb::sig("def __index__(self) -> int"))
      .def("__bytes__",
           [](const array& a) {
             const array c = evaluated(contiguous(a));
             return nb::bytes(static_cast<const char*>(c.raw_data()), c.nbytes());
           })
      .def("__repr__", [](const array& a) { return to_string(evaluated(a)); })
      .def(
          "__format__",
          [](nb::handle_t<array> self, nb::object spec) -> nb::object {
            const array& a = *as_array(self);
            if (a.ndim() == 0) return nb::steal(PyObject_Format(to_scalar(a).ptr(), spec.ptr()));
            if (nb::len(spec) == 0) return nb::str(self);
            throw nb::type_error("only a 0-d array takes a format");
          },
          nb::sig("def __format__(self, format_spec: str, /) -> str"), nb::arg())
      .def(
          "__array__",
          [](array& a, nb::object dtype, nb::object copy) {
            if (interrupted_again(a)) throw nb::python_error();
            const bool must_copy = copy.ptr() == Py_True;
            nb::object out = to_numpy(a, must_copy);
            if (dtype.is_none() || out.attr("dtype").equal(dtype)) return out;
            if (copy.ptr() == Py_False)
              throw std::invalid_argument("array: another dtype needs a copy");
            return out.attr("astype")(dtype);
          },
          nb::sig("def __array__(self, dtype: object | None = None, copy: bool | None = None) -> "
                  "numpy.typing.NDArray"),
          "dtype"_a = nb::none(), "copy"_a = nb::none(),
          "A NumPy array: a view of the memory, or a copy. bfloat16 becomes ml_dtypes' "
          "type, or float32 without that package.")
      .def(
          "__dlpack__",
          [](const array& a, nb::kwargs options) {
            const bool copies = options.contains("copy") && options["copy"].ptr() == Py_True;
            if (copies) nb::del(options["copy"]);
            return to_dlpack(a, copies).attr("__dlpack__")(**options);
          },
          nb::sig("def __dlpack__(self, *, stream: object | None = None, max_version: tuple[int, "
                  "int] | None = None, dl_device: tuple[int, int] | None = None, copy: bool | None "
                  "= None) -> object"),
          "A DLPack capsule that shares the array's memory, or a copy of it, for the CPU.")
      .def(
          "__dlpack_device__", [](const array&) { return nb::make_tuple(1, 0); },
          nb::sig("def __dlpack_device__(self) -> tuple[int, int]"))
      .def(
          "__array_namespace__",
          [](const array&, nb::object version) {
            return nb::module_::import_("cermet.array_api").attr("_of_version")(version);
          },
          nb::sig("def __array_namespace__(self, api_version: str | None = None) -> "
                  "types.ModuleType"),
          "api_version"_a = nb::none(),
          "The module `cermet.array_api`, which conforms to the array API standard. ValueError for "
          "a version that it does not know.")
      .def_prop_ro(
          "device", [](const array& a) { return a.stream().device; },
          "The device that computes the array, or did.")
      .def(
          "to_device",
          [](const array& a, DeviceLike device, nb::object) {
            return a.stream().device == device.device ? a : contiguous(a, true, device.device);
          },
          nb::sig("def to_device(self, device: Device | DeviceType, /, *, stream: object | None = "
                  "None) -> array"),
          nb::arg(), nb::kw_only(), "stream"_a = nb::none(),
          "The array on a device: devices share memory, so it is copied only where it is not "
          "contiguous.")
      .def("__copy__", [](const array& a) { return a; })
      .def(
          "__deepcopy__", [](const array& a, nb::dict) { return a; }, "memo"_a)
      .def("__getstate__",
           [](nb::handle_t<array> self) {
             const array a = *as_array(self);  // others may change it meanwhile
             return nb::make_tuple(nb::steal<nb::bytes>(PyObject_Bytes(self.ptr())), a.shape(),
                                   a.dtype());
           })
      .def(
          "__setstate__",
          [](array& a, const std::variant<State, StateOfMlx>& state) {
            const State* own = std::get_if<State>(&state);
            new (&a) array(own ? restored(*own) : restored(std::get<StateOfMlx>(state)));
          },
          nb::sig("def __setstate__(self, state: tuple, /) -> None"));
}

void bind_printing(nb::module_& m) {
  nb::class_<PrintOptions>(m, "PrintOptions", "How arrays print.")
      .def(
          "__init__", [](PrintOptions* self, int precision) { new (self) PrintOptions{precision}; },
          "precision"_a = -1)
      .def_rw("precision", &PrintOptions::precision,
              "Digits behind the point; -1 lets each array choose.")
      .def("__repr__", [](const PrintOptions& o) {
        return "PrintOptions(precision=" + std::to_string(o.precision) + ")";
      });
  struct Scope {
    PrintOptions inside, before;
  };
  nb::class_<Scope>(m, "_PrintOptionsContext")
      .def("__enter__",
           [](Scope& self) {
             self.before = get_printoptions();
             set_printoptions(self.inside);
             return self.inside;
           })
      .def("__exit__", [](Scope& self, nb::args) { set_printoptions(self.before); });
  m.def("get_printoptions", &get_printoptions, "How arrays print now.");
  m.def(
      "set_printoptions", [](int precision) { set_printoptions({precision}); }, "precision"_a = -1,
      "Sets the digits that printing shows behind the point; -1 lets each array choose.");
  m.def(
      "printoptions", [](int precision) { return Scope{{precision}, {}}; },
      nb::sig("def printoptions(precision: int = -1) -> "
              "contextlib.AbstractContextManager[PrintOptions]"),
      "precision"_a = -1, "A context in which arrays print with these options.");
}

PyType_Slot kBufferSlots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(&release_buffer)},
    {0, nullptr},
};

}  // namespace

ArrayClass bind_array(nb::module_& m) {
  nb::class_<ArrayLike>(m, "ArrayLike",
                        "Marks an object that becomes an array through DLPack or its buffer.")
      .def(
          "__init__", [](ArrayLike* self, nb::object o) { new (self) ArrayLike{std::move(o)}; },
          nb::arg());
  ArrayClass cls(
      m, "array", nb::type_slots(kBufferSlots), nb::is_weak_referenceable(), nb::pooled(),
      "An n-dimensional array of one element type. Operations on it are lazy: values are "
      "computed when they are asked for.");
  array_type = reinterpret_cast<PyTypeObject*>(cls.ptr());

  cls.def(
         "__init__",
         [](array* self, nb::object val, std::optional<Dtype> dtype) {
           new (self) array(make_array(val, dtype));
         },
         nb::sig("def __init__(self, val: bool | int | float | complex | list | tuple | array | "
                 "ArrayLike | typing.Any, dtype: Dtype | None = None) -> None"),
         "val"_a, "dtype"_a = nb::none(),
         "Copies a number, nested lists or tuples, or another library's array. Without `dtype`, "
         "Python floats and doubles become float32 and integers int32 (int64 where needed). Raises "
         "ValueError for ragged sequences.")
      .def_prop_ro(
          "size", [](const array& a) { return a.size(); }, "The number of elements.")
      .def_prop_ro(
          "ndim", [](const array& a) { return a.ndim(); }, "The number of axes.")
      .def_prop_ro(
          "itemsize", [](const array& a) { return a.itemsize(); }, "Bytes an element.")
      .def_prop_ro(
          "nbytes", [](const array& a) { return a.nbytes(); }, "Bytes of all elements.")
      .def_prop_ro(
          "shape", [](const array& a) { return a.shape(); }, "The extents of the axes.")
      .def_prop_ro(
          "dtype", [](const array& a) { return a.dtype(); }, "The type of the elements.")
      .def_prop_ro(
          "real", [](const array& a) { return real(a); }, "The real parts.")
      .def_prop_ro(
          "imag", [](const array& a) { return imag(a); }, "The imaginary parts.")
      .def_prop_ro(
          "T", [](const array& a) { return transpose(a); }, "The axes reversed.")
      .def_prop_ro(
          "mT", [](const array& a) { return matrix_transpose(a); }, "The last two axes exchanged.")
      .def(
          "__hash__",
          [](nb::handle_t<array> a) { return reinterpret_cast<std::intptr_t>(a.ptr()) >> 4; },
          nb::sig("def __hash__(self) -> int"))
      .def("__len__",
           [](const array& a) {
             if (a.ndim() == 0) throw nb::type_error("a 0-d array has no length");
             return a.shape(0);
           })
      .def(
          "__iter__",
          [](nb::handle_t<array> self) {
            if (as_array(self)->ndim() == 0)
              throw nb::type_error("a 0-d array cannot be iterated over");
            return ArrayIterator{nb::borrow(self)};
          },
          nb::sig("def __iter__(self) -> ArrayIterator"));
  bind_operators(cls);
  install_fast_slots();
  bind_conversions(cls);
  bind_printing(m);

  nb::class_<ArrayIterator>(m, "ArrayIterator",
                            "Yields the parts of an array along its first axis.")
      .def(
          "__iter__", [](nb::object self) { return self; },
          nb::sig("def __iter__(self) -> ArrayIterator"))
      .def(
          "__next__",
          [](nb::handle_t<ArrayIterator> iterator) {
            ArrayIterator& self = *held<ArrayIterator>(iterator);
            // Python's own loops (`in`, any, list) look for no signals.
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            if (self.next >= as_array(self.value)->shape(0)) throw nb::stop_iteration();
            return self.value[nb::int_(self.next++)];
          },
          nb::sig("def __next__(self) -> array"));

  using Copies = std::optional<bool>;
  m.def(
      "asarray",
      [](nb::object a, const std::optional<Dtype>& dtype, Copies copy) {
        if (const array* own = as_array(a)) return self_or_copy(*own, dtype);
        return copy == false ? import_array(a, dtype, false) : make_array(a, dtype);
      },
      nb::sig("def asarray(a: bool | int | float | complex | list | tuple | array | ArrayLike | "
              "typing.Any, dtype: Dtype | None = None, *, copy: bool | None = None) -> array"),
      "a"_a, "dtype"_a = nb::none(), nb::kw_only(), "copy"_a = nb::none(),
      "An array of a value, as the constructor makes it. With `copy=False` another library's "
      "memory is shared, and must not change afterwards; ValueError when that cannot be. Bools of "
      "other bytes than 0 and 1 are copied all the same.");
  m.def(
      "from_dlpack", [](nb::object x, Copies copy) { return import_array(x, {}, copy != false); },
      nb::sig("def from_dlpack(x: typing.Any, /, *, copy: bool | None = None) -> array"), nb::arg(),
      nb::kw_only(), "copy"_a = nb::none(),
      "An array of another library's through DLPack or its buffer. With `copy=False` its memory is "
      "shared, and must not change afterwards.");
  return cls;
}

}  // namespace cermet::python
