// Texts and paths from Python, for what reads and writes files.
#pragma once

#include <string>

#include "bindings.h"

namespace cermet::python {

[[noreturn]] inline void wrong_type(const std::string& what, nb::handle got) {
  throw nb::type_error((what + ", got " + class_name(got)).c_str());
}

inline std::string text_of(nb::handle text, const char* what) {
  if (!PyUnicode_Check(text.ptr())) wrong_type(std::string(what) + " is to be a str", text);
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (!data) throw nb::python_error();
  return {data, static_cast<std::size_t>(size)};
}

inline bool is_path(nb::handle file) {
  return PyUnicode_Check(file.ptr()) || PyBytes_Check(file.ptr()) ||
         nb::hasattr(file, "__fspath__");
}

// A path as the system takes it.
inline std::string path_of(nb::handle file) {
  PyObject* bytes = nullptr;
  if (!PyUnicode_FSConverter(file.ptr(), &bytes)) {
    nb::python_error error;
    if (!error.matches(PyExc_UnicodeEncodeError)) throw error;
    nb::raise_from(error, PyExc_ValueError, "the system has no file of the name %R", file.ptr());
  }
  const nb::object owner = nb::steal(bytes);
  return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

}  // namespace cermet::python
