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

// A row of a table of functions that are bound alike.
template <class F>
struct Row {
  const char* name;
  F* function;
  const char* doc;
};

// Binds an operation to a module or class. Its stream comes last and by keyword only.
template <class Scope, class F, class... Args>
void def_op(Scope& scope, const char* name, F f, const char* doc, const Args&... args) {
  if constexpr ((std::is_same_v<Args, nb::kw_only> || ...))
    scope.def(name, f, args..., "stream"_a = nb::none(), doc);
  else
    scope.def(name, f, args..., nb::kw_only(), "stream"_a = nb::none(), doc);
}

// Binds f(a, ...) as a function of the module and as a method of arrays.
template <class F, class... Args>
void def_both(nb::module_& m, ArrayClass& cls, const char* name, F f, const char* doc,
              const Args&... args) {
  def_op(m, name, f, doc, "a"_a, args...);
  def_op(cls, name, f, doc, args...);
}

// A signature for stubs, "reshape(self, *shape: int", with the stream as its last argument.
inline std::string signature(const std::string& head, const char* result = "array") {
  return "def " + head +
         ", stream: Stream | ThreadLocalStream | Device | DeviceType | None = None" + ") -> " +
         result;
}

// An axis that may be None, of a function whose operation flattens the array then.
inline array flat_unless(const array& a, std::optional<int>& axis, int otherwise = 0) {
  if (axis) return a;
  axis = otherwise;
  return reshape(a, {-1});
}

}  // namespace cermet::python
