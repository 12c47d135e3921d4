// The module cermet.core: its parts, and the translation of C++ exceptions.
#include <new>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

#include "bindings.h"
#include "interpreter.h"

namespace cermet::python {
namespace {

PyObject* axis_error = nullptr;  // a ValueError and an IndexError, as NumPy's is

void translate(const std::exception_ptr& error, void*) {
  try {
    std::rethrow_exception(error);
  } catch (const AxisError& e) {
    PyErr_SetString(axis_error, e.what());
  } catch (const KindError& e) {
    PyErr_SetString(kind_error, e.what());
  } catch (const IndexError& e) {
    PyErr_SetString(PyExc_IndexError, e.what());
  } catch (const OutOfMemory& e) {
    PyErr_SetString(PyExc_MemoryError, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "there is no memory left for what describes arrays");
  } catch (const std::bad_cast&) {
    PyErr_SetString(PyExc_TypeError, "an argument or a result is of another type than expected");
  } catch (const Interrupted&) {
    if (!PyErr_Occurred()) PyErr_SetNone(PyExc_KeyboardInterrupt);
  }
}

PyObject* new_exception(nb::module_& m, const char* name, PyObject* first, const char* doc) {
  const nb::object bases = nb::make_tuple(nb::handle(first), nb::handle(PyExc_ValueError));
  PyObject* const made = PyErr_NewExceptionWithDoc((std::string("cermet.core.") + name).c_str(),
                                                   doc, bases.ptr(), nullptr);
  m.attr(name) = nb::handle(made);
  return made;
}

void bind_exceptions(nb::module_& m) {
  axis_error = new_exception(m, "AxisError", PyExc_IndexError,
                             "An axis is out of range: a ValueError and an IndexError.");
  kind_error = new_exception(m, "KindError", PyExc_TypeError,
                             "A value of a kind that is not taken: a TypeError and a ValueError.");
  integer_range_error =
      new_exception(m, "IntegerRangeError", PyExc_OverflowError,
                    "An integer that a type does not hold: an OverflowError and a ValueError.");
  nb::register_exception_translator(translate);
}

// inspect.signature asks a function for its __signature__. nanobind's functions have none, and
// their types are closed to what Python sets.
void bind_signatures(nb::module_& m) {
  const nb::object get = nb::cpp_function([](nb::handle function) {
    return nb::module_::import_("cermet._signature").attr("of")(function);
  });
  const nb::object property = nb::module_::import_("builtins").attr("property")(get);
  const nb::object method = m.attr("array").attr("reshape");
  const nb::object bound = nb::cast(array(0)).attr("reshape");
  for (const nb::object& function : {nb::object(m.attr("add")), method, bound}) {
    PyTypeObject* const type = Py_TYPE(function.ptr());
    if (PyDict_SetItemString(type->tp_dict, "__signature__", property.ptr()))
      throw nb::python_error();
    PyType_Modified(type);
  }
}

// A function's __module__ is nanobind's from when it was made: these follow the module's name.
PyObject* core = nullptr;
getattrofunc plain_attribute = nullptr;
PyObject* function_attribute(PyObject* self, PyObject* name) {
  PyObject* const value = plain_attribute(self, name);
  constexpr std::string_view ours = "cermet.core";
  if (!value || !PyUnicode_Check(value) || PyUnicode_CompareWithASCIIString(name, "__module__"))
    return value;
  const nb::object text = nb::steal(value);
  const char* const home = PyUnicode_AsUTF8(value);
  if (!home || !std::string_view(home).starts_with(ours)) return text.inc_ref().ptr();
  const nb::object now = nb::steal(PyObject_GetAttrString(core, "__name__"));
  return now ? PyUnicode_FromFormat("%U%s", now.ptr(), home + ours.size()) : nullptr;
}

void bind_names(nb::module_& m) {
  core = m.ptr();
  PyTypeObject* const type = Py_TYPE(nb::object(m.attr("add")).ptr());
  plain_attribute = std::exchange(type->tp_getattro, &function_attribute);
  PyType_Modified(type);
}

// What the module holds, once it is whole. Types are made once in a process: a module that was
// deleted and is imported again gets those that there are.
PyObject* contents = nullptr;
bool begun = false;

bool is_imported_again(nb::module_& m) {
  if (!std::exchange(begun, true)) return false;
  if (!contents)
    throw std::runtime_error(
        "cermet.core: an earlier import in this process did not come to its end");
  if (PyDict_Merge(m.attr("__dict__").ptr(), contents, 0)) throw nb::python_error();
  const nb::object modules = nb::module_::import_("sys").attr("modules");
  for (const auto& [name, value] : nb::borrow<nb::dict>(contents))
    if (nb::isinstance<nb::module_>(value)) modules[value.attr("__name__")] = value;
  return true;
}

}  // namespace
}  // namespace cermet::python

NB_MODULE(core, m) {
  using namespace cermet::python;
  if (is_imported_again(m)) return;
  m.doc() = "Arrays, their operations, and transforms of functions of arrays.";
  m.attr("__version__") = CERMET_VERSION;
  nb::set_leak_warnings(false);
  bind_interpreter();
  bind_exceptions(m);
  bind_dtype(m);
  bind_device(m);
  bind_metal(m);
  ArrayClass cls = bind_array(m);
  bind_indexing(m, cls);
  bind_elementwise(m, cls);
  bind_creation(m);
  bind_shape(m, cls);
  bind_reductions(m, cls);
  bind_products(m);
  bind_convolution(m);
  bind_linalg(m);
  bind_fft(m);
  bind_random(m);
  bind_fast(m);
  bind_transforms(m);
  bind_io(m);
  bind_export(m);
  bind_distributed(m);
  bind_machine(m);
#ifndef __APPLE__
  bind_simulator(m);
  bind_lint(m);
#endif
  bind_signatures(m);
  bind_names(m);
  contents = nb::object(m.attr("__dict__")).release().ptr();
}
