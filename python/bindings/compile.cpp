// compile: Python functions whose graph is recorded once and replayed.
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <unordered_map>

#include "transforms.h"

namespace cermet::python {
namespace {

class Compiled final : public Transformed {
 public:
  Compiled(nb::object fun, nb::object inputs, nb::object outputs, bool shapeless)
      : Transformed(std::move(fun)),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)),
        shapeless_(shapeless) {}

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    const nb::object tree = call_tree(args, kwargs);
    Arrays in;
    std::string key;
    flatten_arrays(tree, in);
    const std::size_t explicit_count = in.size();
    describe(tree, key);
    flatten_arrays(inputs_, in);
    describe(inputs_, key);
    const auto found = traces_.find(key);
    std::shared_ptr<Trace> trace = found == traces_.end() ? nullptr : found->second;
    if (!trace) {
      refuse_modules(tree, "compile");
      trace = traces_[key] = std::make_shared<Trace>();
      trace->arguments = share(without_arrays(tree));
      trace->function = compile([this, t = trace.get(), explicit_count](
                                    const Arrays& in) { return run(*t, in, explicit_count); },
                                shapeless_);
    }
    trace->used = ++calls_;
    if (traces_.size() > kMostTraces) drop_oldest();
    const Arrays out = trace->function(in);
    std::size_t next = 0;
    const nb::object result = unflatten_arrays(*trace->result, out, next);
    if (!outputs_.is_none()) assign_arrays(outputs_, *trace->state, out, next);
    return result;
  }

  int visit_objects(visitproc visit, void* arg) override {
    Py_VISIT(inputs_.ptr());
    Py_VISIT(outputs_.ptr());
    return Transformed::visit_objects(visit, arg);
  }
  void clear_objects() override {
    inputs_.reset();
    outputs_.reset();
    traces_.clear();
    Transformed::clear_objects();
  }

 private:
  // One combination of shapes, dtypes, structure and constants; the trees are without arrays.
  struct Trace {
    Function function;
    std::shared_ptr<nb::object> arguments, result, state;
    std::uint64_t used = 0;  // the number of the last call
  };
  static constexpr std::size_t kMostTraces = 256;

  void drop_oldest() {
    traces_.erase(std::min_element(
        traces_.begin(), traces_.end(),
        [](const auto& a, const auto& b) { return a.second->used < b.second->used; }));
  }

  // Runs the Python function on tracers, with those of the captured state in its containers.
  Arrays run(Trace& trace, const Arrays& in, std::size_t explicit_count) {
    Arrays before;
    const nb::object captured = without_arrays(inputs_);
    const auto capture = [&](const Arrays& values, std::size_t next) {
      if (!inputs_.is_none()) assign_arrays(inputs_, captured, values, next);
    };
    flatten_arrays(inputs_, before);
    capture(in, explicit_count);
    Arrays out;
    try {
      const nb::object result = call(fun, rebuilt(*trace.arguments, in));
      flatten_arrays(result, out);
      trace.result = share(without_arrays(result));
      flatten_arrays(outputs_, out);
      trace.state = share(without_arrays(outputs_));
    } catch (...) {
      capture(before, 0);
      throw;
    }
    capture(before, 0);
    return out;
  }

  // Appends a constant's type and what `repr` makes of it, marked off from what follows.
  static void append(nb::handle constant, reprfunc repr, std::string& key) {
    const nb::object text = nb::steal(repr(constant.ptr()));
    if (!text) throw nb::python_error();
    for (const std::string& part : {class_name(constant), nb::cast<std::string>(text)})
      key += std::to_string(part.size()) + ':' + part;
  }

  // How a constant's own type shows it, whatever a subclass says; null for what is no constant.
  static reprfunc repr_of_constant(nb::handle h) {
    for (PyTypeObject* type :
         {&PyLong_Type, &PyFloat_Type, &PyComplex_Type, &PyUnicode_Type, Py_TYPE(Py_None)})
      if (PyObject_TypeCheck(h.ptr(), type)) return type->tp_repr;
    return as_dtype(h) ? &PyObject_Repr : nullptr;
  }

  // Appends what distinguishes calls: structure, constants, dtypes and shapes (or ranks).
  void describe(nb::handle tree, std::string& key) const {
    if (PyDict_Check(tree.ptr())) {
      key += '{';
      for (auto item : nb::borrow<nb::dict>(tree)) {
        const reprfunc repr = repr_of_constant(item.first);
        append(item.first, repr ? repr : &PyObject_Repr, key);
        describe(item.second, key);
      }
      key += '}';
    } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
      key += PyList_Check(tree.ptr()) ? '[' : '(';
      if (PyTuple_Check(tree.ptr()) && !PyTuple_CheckExact(tree.ptr())) key += class_name(tree);
      for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
        describe(PySequence_Fast_GET_ITEM(tree.ptr(), i), key);
      key += ')';
    } else if (const array* a = as_array(tree)) {
      key += 'a';
      key += static_cast<char>('A' + static_cast<int>(a->dtype()));
      key += static_cast<char>('A' + a->ndim());
      if (!shapeless_)
        key.append(reinterpret_cast<const char*>(a->shape().data()),
                   a->shape().size() * sizeof(std::int64_t));
    } else if (nb::isinstance<RandomState>(tree)) {
      key += 'r';
    } else if (const reprfunc repr = repr_of_constant(tree)) {
      append(tree, repr, key);
    } else {
      throw std::invalid_argument(
          "compile: arguments are trees of arrays, numbers, strings, dtypes and None, not " +
          class_name(tree));
    }
  }

  nb::object inputs_, outputs_;
  bool shapeless_;
  std::uint64_t calls_ = 0;
  std::unordered_map<std::string, std::shared_ptr<Trace>> traces_;
};

}  // namespace

void bind_compile(nb::module_& m) {
  m.def(
      "compile",
      [](nb::callable fun, nb::object inputs, nb::object outputs,
         bool shapeless) -> std::unique_ptr<Transformed> {
        return std::make_unique<Compiled>(std::move(fun), std::move(inputs), std::move(outputs),
                                          shapeless);
      },
      nb::sig("def compile(fun: Callable[..., typing.Any], inputs: object | None = None, outputs: "
              "object | None = None, shapeless: bool = False) -> Callable[..., typing.Any]"),
      "fun"_a, "inputs"_a = nb::none(), "outputs"_a = nb::none(), "shapeless"_a = false,
      "A function that is run once for each combination of shapes and types (of ranks and types "
      "when `shapeless`), of structure and of constants, and then replays its graph; the last 256 "
      "combinations are kept. `inputs` and `outputs` are containers of arrays that it reads or "
      "changes beside its arguments.");
  m.def("enable_compile", &enable_compile, "Lets `compile` work again.");
  m.def("disable_compile", &disable_compile, "Makes compiled functions run as they were written.");
}

}  // namespace cermet::python
