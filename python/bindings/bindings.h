// The parts of the module: one function for each file, called in this order by module.cpp.
#pragma once

#include "convert.h"

namespace cermet::python {

using ArrayClass = nb::class_<array>;

void bind_dtype(nb::module_& m);
void bind_device(nb::module_& m);
void bind_memory(nb::module_& m);
void bind_metal(nb::module_& m);
ArrayClass bind_array(nb::module_& m);
void bind_indexing(nb::module_& m, ArrayClass& cls);
void bind_elementwise(nb::module_& m, ArrayClass& cls);
void bind_creation(nb::module_& m);
void bind_shape(nb::module_& m, ArrayClass& cls);
void bind_reductions(nb::module_& m, ArrayClass& cls);
void bind_products(nb::module_& m);
void bind_convolution(nb::module_& m);
void bind_linalg(nb::module_& m);
void bind_random(nb::module_& m);
void bind_fast(nb::module_& m);
void bind_transforms(nb::module_& m);
void bind_io(nb::module_& m);
void bind_distributed(nb::module_& m);
void bind_simulator(nb::module_& m);  // not on Apple's systems
void bind_lint(nb::module_& m);       // not on Apple's systems

// Binds f(a, ...) as a function of the module and as a method of arrays; `extra` describes the
// arguments behind the array and documents both.
template <class F, class... Extra>
void def_both(nb::module_& m, ArrayClass& cls, const char* name, F f, const Extra&... extra) {
  m.def(name, f, "a"_a, extra...);
  cls.def(name, f, extra...);
}

// An axis that may be None, of a function whose operation flattens the array then.
inline array flat_unless(const array& a, std::optional<int>& axis, int otherwise = 0) {
  if (axis) return a;
  axis = otherwise;
  return reshape(a, {-1});
}

}  // namespace cermet::python
