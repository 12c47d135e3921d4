// What the transforms of Python functions share.
//
// C++ transforms work on lists of arrays. A transformed function flattens its arguments to such a
// list, and rebuilds Python's containers around the tracers that come back.
#pragma once

#include "bindings.h"
#include "tree.h"

namespace cermet::python {

// A Python function with a transform around it. Python's collector sees the objects it holds.
class Transformed {
 public:
  explicit Transformed(nb::object fun) : fun(std::move(fun)) {}
  virtual ~Transformed() = default;
  virtual nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) = 0;
  virtual int visit_objects(visitproc visit, void* arg) {
    Py_VISIT(fun.ptr());
    return 0;
  }
  virtual void clear_objects() { fun.reset(); }

  Held fun;
};

// The arguments of a call as one tree, (args, kwargs), and a call with such a tree.
nb::object call_tree(const nb::args& args, const nb::kwargs& kwargs);
nb::object call(nb::handle fun, nb::handle tree);

// The tree with these arrays in place of its own.
nb::object rebuilt(nb::handle tree, const Arrays& arrays);

// Throws where a call's tree holds a module, which `rebuilt` would make a plain dict.
void refuse_modules(nb::handle tree, const char* op);

// A tree with one placeholder for its arrays: a structure that keeps no values alive.
nb::object without_arrays(nb::handle tree);

void bind_gradients(nb::module_& m);
void bind_vmap(nb::module_& m);
void bind_compile(nb::module_& m);
void bind_custom_functions(nb::module_& m);

}  // namespace cermet::python
