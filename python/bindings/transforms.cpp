// Transforms of Python functions: what they share, and the evaluation of what they return.
#include <nanobind/stl/map.h>

#include "transforms.h"

namespace cermet::python {
namespace {

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  return nb::inst_ptr<Transformed>(self)->visit_objects(visit, arg);
}
int clear(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<Transformed>(self)->clear_objects();
  return 0;
}
PyType_Slot kCollected[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {0, nullptr},
};

void bind_evaluation(nb::module_& m) {
  m.def(
      "eval",
      [](const nb::args& args) {
        Arrays arrays;
        flatten_arrays(args, arrays);
        eval(arrays);
      },
      nb::sig("def eval(*args: typing.Any) -> None"),
      "Computes the arrays in the arguments, trees of lists, tuples and dicts, and waits.");
  m.def(
      "async_eval",
      [](const nb::args& args) {
        Arrays arrays;
        flatten_arrays(args, arrays);
        async_eval(arrays);
      },
      nb::sig("def async_eval(*args: typing.Any) -> None"),
      "Starts computing the arrays in the arguments. An error is raised where a value is asked "
      "for.");
  m.def(
      "explain",
      [](const nb::args& args, bool code) -> nb::object {
        Arrays arrays;
        flatten_arrays(args, arrays);
        nb::object text = nb::cast(explain(arrays, code));
        return code ? nb::module_::import_("cermet._listing").attr("readable")(text) : text;
      },
      nb::sig("def explain(*args: typing.Any, code: bool = False) -> str"), "args"_a,
      "code"_a = false,
      "The plan that evaluating the arrays would follow, as text. With `code` also the "
      "micro-operations and machine code of the CPU's row programs, disassembled where the package "
      "capstone is installed. Nothing is computed.");
  m.def(
      "plan_counts",
      [] {
        const PlanCounts c = plan_counts();
        return std::map<std::string, std::uint64_t>{
            {"made", c.made},           {"found", c.found},
            {"dropped", c.dropped},     {"kernels", c.kernels},
            {"expanded", c.expanded},   {"functions_made", c.functions_made},
            {"functions", c.functions}, {"function_bytes", c.function_bytes}};
      },
      "What planning has done so far, in all threads: plans `made`, `found` among those kept, "
      "`dropped` as not used for longest; `kernels` prepared for row programs; evaluations that "
      "`expanded` calls of compiled functions, as they had not been planned so; `functions_made` "
      "of "
      "machine code, `functions` that are kept, and their `function_bytes`.");
  m.def(
      "depends",
      [](nb::object inputs, nb::object dependencies) {
        Arrays in, waits;
        flatten_only_arrays(inputs, in, "depends");
        flatten_only_arrays(dependencies, waits, "depends");
        return rebuilt(inputs, depends(in, waits));
      },
      nb::sig("def depends(inputs: array | Sequence[array], dependencies: array | Sequence[array], "
              "/) -> array | list[array]"),
      nb::arg(), nb::arg(), "The inputs, available only once the dependencies are computed.");
  m.def("get_num_threads", &get_num_threads, "Threads that one operation may use on the CPU.");
  m.def("set_num_threads", &set_num_threads, "n"_a, "Sets the threads that one operation may use.");
}

}  // namespace

nb::object call_tree(const nb::args& args, const nb::kwargs& kwargs) {
  return nb::make_tuple(nb::object(args), nb::object(kwargs));
}

nb::object call(nb::handle fun, nb::handle tree) {
  const nb::object result = nb::steal(
      PyObject_Call(fun.ptr(), PyTuple_GET_ITEM(tree.ptr(), 0), PyTuple_GET_ITEM(tree.ptr(), 1)));
  if (!result) throw nb::python_error();
  return result;
}

nb::object rebuilt(nb::handle tree, const Arrays& arrays) {
  std::size_t next = 0;
  return unflatten_arrays(tree, arrays, next);
}

void refuse_modules(nb::handle tree, const char* op) {
  if (PyDict_Check(tree.ptr())) {
    if (PyCallable_Check(tree.ptr()))
      throw nb::type_error((std::string(op) +
                            ": the function would be called with a plain dict "
                            "in place of a " +
                            class_name(tree) +
                            "; let it hold the module, or pass the module's parameters()")
                               .c_str());
    const Level level(tree);
    for (auto item : nb::borrow<nb::dict>(tree)) refuse_modules(item.second, op);
  } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    const Level level(tree);
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      refuse_modules(PySequence_Fast_GET_ITEM(tree.ptr(), i), op);
  }
}

nb::object without_arrays(nb::handle tree) {
  static const nb::handle placeholder = nb::cast(array(0)).release();
  return tree_map(tree,
                  [&](nb::handle leaf) { return nb::borrow(as_array(leaf) ? placeholder : leaf); });
}

void bind_transforms(nb::module_& m) {
  nb::class_<Transformed>(m, "_Transformed", nb::type_slots(kCollected),
                          "A function with a transform around it.")
      .def("__call__", [](Transformed& self, const nb::args& args,
                          const nb::kwargs& kwargs) { return self(args, kwargs); })
      .def("__getattr__", [](const Transformed& self, nb::str name) {
        const Level level;
        return nb::object(self.fun.attr(name));
      });
  bind_gradients(m);
  bind_vmap(m);
  bind_compile(m);
  bind_custom_functions(m);
  bind_evaluation(m);
}

}  // namespace cermet::python
