// The module cermet.core: its parts, and the translation of C++ exceptions.
#include <new>
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

void bind_exceptions(nb::module_& m) {
  const nb::object bases =
      nb::make_tuple(nb::handle(PyExc_ValueError), nb::handle(PyExc_IndexError));
  axis_error = PyErr_NewExceptionWithDoc("cermet.core.AxisError",
                                         "An axis is out of range: a ValueError and an IndexError.",
                                         bases.ptr(), nullptr);
  m.attr("AxisError") = nb::handle(axis_error);
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
  contents = nb::object(m.attr("__dict__")).release().ptr();
}
