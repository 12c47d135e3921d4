// Transforms of Python functions: derivatives, vmap, compile, checkpoint, custom rules; evaluation.
//
// C++ transforms work on lists of arrays. A transformed function here flattens its arguments to
// such a list, and rebuilds Python's containers around the tracers that come back.
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>

#include <algorithm>
#include <set>

#include "bindings.h"
#include "transforms/compile.h"
#include "tree.h"

namespace cermet::python {
namespace {

// The arguments of a call as one tree: (args, kwargs).
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

// A tree with one placeholder for its arrays: a structure that keeps no values alive.
nb::object without_arrays(nb::handle tree) {
  static const nb::handle placeholder = nb::cast(array(0)).release();
  return tree_map(tree,
                  [&](nb::handle leaf) { return nb::borrow(as_array(leaf) ? placeholder : leaf); });
}

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

  nb::object fun;
};

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  return nb::inst_ptr<Transformed>(self)->visit_objects(visit, arg);
}
int clear(PyObject* self) {
  nb::inst_ptr<Transformed>(self)->clear_objects();
  return 0;
}
PyType_Slot kCollected[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {0, nullptr},
};

// ---- Derivatives ----

using Argnums = std::variant<std::monostate, int, std::vector<int>>;
using Argnames = std::variant<std::string, std::vector<std::string>>;

class Gradient final : public Transformed {
 public:
  Gradient(const char* op, nb::object fun, const Argnums& argnums, const Argnames& argnames)
      : Transformed(std::move(fun)),
        op_(op),
        with_value_(std::string_view(op) == "value_and_grad") {
    if (const std::string* name = std::get_if<std::string>(&argnames))
      names_ = {*name};
    else
      names_ = std::get<std::vector<std::string>>(argnames);
    if (const int* n = std::get_if<int>(&argnums))
      numbers_ = {*n};
    else if (const auto* list = std::get_if<std::vector<int>>(&argnums))
      numbers_ = *list;
    else if (names_.empty())
      numbers_ = {0};
    for (const int n : numbers_)
      if (n < 0) fail("argnums must not be negative, got " + std::to_string(n));
    if (std::set(numbers_.begin(), numbers_.end()).size() != numbers_.size())
      fail("argnums names an argument twice");
    if (std::set(names_.begin(), names_.end()).size() != names_.size())
      fail("argnames names an argument twice");
  }

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    nb::list selected;  // the trees to differentiate by
    for (const int n : numbers_) {
      if (static_cast<std::size_t>(n) >= args.size())
        fail("there is no argument " + std::to_string(n) + ": the function is called with " +
             std::to_string(args.size()) + " positional arguments");
      selected.append(args[n]);
    }
    for (const std::string& name : names_) {
      if (!kwargs.contains(name.c_str()))
        fail("the function is called without the keyword argument '" + name + "'");
      selected.append(kwargs[name.c_str()]);
    }
    Arrays primals;
    flatten_only_arrays(selected, primals, op_);

    nb::object outputs;  // of the function, with the arrays it returned
    const Function traced = [&](const Arrays& in) {
      outputs = call_with(args, kwargs, rebuilt(selected, in));
      check_outputs(outputs);
      Arrays out;
      flatten_arrays(outputs, out);
      return out;
    };
    std::vector<int> all(primals.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    const auto [values, gradients] = value_and_grad(traced, all)(primals);

    const nb::object by_argument = arranged(rebuilt(selected, gradients));
    return with_value_ ? nb::make_tuple(rebuilt(outputs, values), by_argument) : by_argument;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::invalid_argument(std::string(op_) + ": " + what);
  }

  // Calls the function with the selected arguments replaced.
  nb::object call_with(const nb::args& args, const nb::kwargs& kwargs, nb::handle selected) const {
    nb::list positional(args);
    nb::dict keywords;
    keywords.update(nb::dict(kwargs));
    std::size_t next = 0;
    for (const int n : numbers_) positional[n] = selected[next++];
    for (const std::string& name : names_) keywords[name.c_str()] = selected[next++];
    return call(fun, nb::make_tuple(nb::tuple(positional), keywords));
  }

  void check_outputs(nb::handle outputs) const {
    const bool tuple =
        with_value_ && PyTuple_Check(outputs.ptr()) && PyTuple_GET_SIZE(outputs.ptr()) > 0;
    const nb::handle first = tuple ? nb::handle(PyTuple_GET_ITEM(outputs.ptr(), 0)) : outputs;
    const array* loss = as_array(first);
    if (!loss)
      fail("the function must return a scalar array" +
           std::string(with_value_ ? ", or a tuple that begins with one" : "") + ", not " +
           class_name(outputs));
    if (loss->ndim() != 0)
      fail("the function must return a scalar, not an array of shape " + to_string(loss->shape()));
  }

  // One tree for one argument, a tuple for several; (positional, {name: tree}) with names.
  nb::object arranged(nb::handle gradients) const {
    nb::list positional;
    for (std::size_t i = 0; i < numbers_.size(); ++i) positional.append(gradients[i]);
    nb::object first = nb::none();
    if (numbers_.size() == 1) first = positional[0];
    if (numbers_.size() > 1) first = nb::tuple(positional);
    if (names_.empty()) return first;
    nb::dict named;
    for (std::size_t i = 0; i < names_.size(); ++i)
      named[names_[i].c_str()] = gradients[numbers_.size() + i];
    return nb::make_tuple(first, named);
  }

  const char* op_;
  bool with_value_;
  std::vector<int> numbers_;
  std::vector<std::string> names_;
};

// A function of arrays that returns arrays, for vjp and jvp.
Function plain_function(nb::handle fun, const char* op) {
  return [fun, op](const Arrays& in) {
    nb::list args;
    for (const array& a : in) args.append(a);
    Arrays out;
    flatten_only_arrays(call(fun, nb::make_tuple(nb::tuple(args), nb::dict())), out, op);
    return out;
  };
}

// ---- vmap ----

class Vmapped final : public Transformed {
 public:
  Vmapped(nb::object fun, nb::object in_axes, nb::object out_axes)
      : Transformed(std::move(fun)), in_axes_(std::move(in_axes)), out_axes_(std::move(out_axes)) {}

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    if (kwargs.size() != 0) throw nb::type_error("vmap: keyword arguments cannot be mapped over");
    Arrays inputs;
    flatten_only_arrays(args, inputs, "vmap");
    std::vector<int> axes;
    // Axes of one argument need no tuple around them.
    if (PyDict_Check(in_axes_.ptr()) && args.size() == 1)
      spread(in_axes_, args[0], axes, "in_axes");
    else
      spread(in_axes_, args, axes, "in_axes");
    if (std::all_of(axes.begin(), axes.end(), [](int axis) { return axis == kNotMapped; }))
      throw std::invalid_argument("vmap: at least one of in_axes must be an axis");

    nb::object outputs;
    const Function mapped = [&](const Arrays& in) {
      outputs = call(fun, nb::make_tuple(rebuilt(args, in), nb::dict()));
      Arrays out;
      flatten_only_arrays(outputs, out, "vmap");
      return out;
    };
    Arrays results = vmap(mapped, axes)(inputs);
    std::vector<int> placed;
    spread(out_axes_, outputs, placed, "out_axes");
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (placed[i] == kNotMapped)
        results[i] = take(results[i], array(0), 0);
      else if (placed[i] != 0)
        results[i] = moveaxis(results[i], 0, placed[i]);
    }
    return rebuilt(outputs, results);
  }

  int visit_objects(visitproc visit, void* arg) override {
    Py_VISIT(in_axes_.ptr());
    Py_VISIT(out_axes_.ptr());
    return Transformed::visit_objects(visit, arg);
  }

 private:
  // An axis for each array of `tree`, from axes that stand for it or for a part of it.
  static void spread(nb::handle axes, nb::handle tree, std::vector<int>& out, const char* what) {
    const auto mismatch = [&] {
      throw std::invalid_argument("vmap: " + std::string(what) +
                                  " does not have the structure of what it maps");
    };
    if (axes.is_none() || PyLong_Check(axes.ptr())) {
      const int axis = axes.is_none() ? kNotMapped : nb::cast<int>(axes);
      tree_visit(tree, [&](nb::handle) { out.push_back(axis); });
    } else if (PyDict_Check(axes.ptr())) {
      if (!PyDict_Check(tree.ptr()) || PyDict_Size(axes.ptr()) != PyDict_Size(tree.ptr()))
        mismatch();
      for (auto item : nb::borrow<nb::dict>(tree)) {
        const nb::handle axis = PyDict_GetItem(axes.ptr(), item.first.ptr());
        if (!axis.is_valid()) mismatch();
        spread(axis, item.second, out, what);
      }
    } else if (nb::isinstance<nb::sequence>(axes) && nb::isinstance<nb::sequence>(tree)) {
      if (nb::len(axes) != nb::len(tree)) mismatch();
      for (std::size_t i = 0; i < nb::len(axes); ++i)
        spread(nb::object(axes[i]), nb::object(tree[i]), out, what);
    } else {
      mismatch();
    }
  }

  nb::object in_axes_, out_axes_;
};

// ---- compile ----

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
    const std::shared_ptr<Trace>* found = traces_.find(key);
    const auto trace = found ? *found : std::make_shared<Trace>();
    if (!found) {
      traces_.insert(std::move(key), trace);
      trace->arguments = share(without_arrays(tree));
      trace->function = compile([this, t = trace.get(), explicit_count](
                                    const Arrays& in) { return run(*t, in, explicit_count); },
                                shapeless_);
    }
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
  };

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

  // Appends what distinguishes calls: structure, constants, dtypes and shapes (or ranks).
  void describe(nb::handle tree, std::string& key) const {
    if (PyDict_Check(tree.ptr())) {
      key += '{';
      for (auto item : nb::borrow<nb::dict>(tree)) {
        key += nb::cast<std::string>(nb::repr(item.first));
        key += ':';
        describe(item.second, key);
      }
      key += '}';
    } else if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
      key += PyList_Check(tree.ptr()) ? '[' : '(';
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
    } else if (tree.is_none() || PyLong_Check(tree.ptr()) || PyFloat_Check(tree.ptr()) ||
               PyComplex_Check(tree.ptr()) || PyUnicode_Check(tree.ptr()) || as_dtype(tree)) {
      key += nb::cast<std::string>(nb::repr(tree));
      key += ',';
    } else {
      throw std::invalid_argument(
          "compile: arguments are trees of arrays, numbers, strings, dtypes and None, not " +
          class_name(tree));
    }
  }

  nb::object inputs_, outputs_;
  bool shapeless_;
  LruMap<std::string, std::shared_ptr<Trace>> traces_{kMaxTraces};
};

// ---- checkpoint and custom functions ----

// The function of the arrays in a call's tree; its result's structure goes to `result`.
Function function_of_arrays(std::shared_ptr<nb::object> fun, std::shared_ptr<nb::object> tree,
                            std::shared_ptr<nb::object> result) {
  return [fun, tree, result](const Arrays& in) {
    const nb::object returned = call(*fun, rebuilt(*tree, in));
    *result = without_arrays(returned);
    Arrays out;
    flatten_arrays(returned, out);
    return out;
  };
}

class Checkpointed final : public Transformed {
 public:
  using Transformed::Transformed;
  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    const nb::object arguments = call_tree(args, kwargs);
    const auto tree = share(without_arrays(arguments)), result = share({});
    Arrays in;
    flatten_arrays(arguments, in);
    const Arrays out = checkpoint(function_of_arrays(share(fun), tree, result))(in);
    return rebuilt(*result, out);
  }
};

class CustomFunction final : public Transformed {
 public:
  using Transformed::Transformed;

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    if (kwargs.size() != 0 && (vjp.is_valid() || jvp.is_valid() || vmap.is_valid()))
      throw nb::type_error("custom_function: its own rules take positional arguments only");
    const nb::object arguments = call_tree(args, kwargs);
    const auto tree = share(without_arrays(arguments)), result = share({});
    // One argument is passed to the rules as it is, several as a tuple.
    const auto primals =
        share(without_arrays(args.size() == 1 ? nb::object(args[0]) : nb::object(args)));
    Arrays in;
    flatten_arrays(arguments, in);
    const std::size_t count = in.size();
    CustomRules rules;
    if (vjp.is_valid())
      rules.vjp = [rule = share(vjp), primals, result, count](const Arrays& in, const Arrays& ct,
                                                              const Arrays& out) {
        return checked((*rule)(rebuilt(*primals, in), rebuilt(*result, ct), rebuilt(*result, out)),
                       count, "vjp: a cotangent for each primal");
      };
    if (jvp.is_valid())
      rules.jvp = [rule = share(jvp), primals, result](const Arrays& in, const Arrays& tangents) {
        Arrays outputs;
        flatten_arrays(*result, outputs);
        return checked((*rule)(rebuilt(*primals, in), rebuilt(*primals, tangents)), outputs.size(),
                       "jvp: a tangent for each output");
      };
    if (vmap.is_valid())
      rules.vmap = [rule = share(vmap), primals](const Arrays& in, const std::vector<int>& axes) {
        std::size_t next = 0;
        const nb::object axes_tree = tree_map(*primals, [&](nb::handle leaf) -> nb::object {
          const int axis = as_array(leaf) ? axes.at(next++) : kNotMapped;
          return axis == kNotMapped ? nb::none() : nb::object(nb::int_(axis));
        });
        const nb::object answer = (*rule)(rebuilt(*primals, in), axes_tree);
        if (!nb::isinstance<nb::tuple>(answer) || nb::len(answer) != 2)
          throw std::invalid_argument("custom_function: vmap must return (outputs, axes)");
        std::pair<Arrays, std::vector<int>> out;
        flatten_arrays(nb::object(answer[0]), out.first);
        tree_visit(nb::object(answer[1]), [&](nb::handle axis) {
          out.second.push_back(axis.is_none() ? kNotMapped : nb::cast<int>(axis));
        });
        if (out.second.size() == 1) out.second.resize(out.first.size(), out.second[0]);
        return out;
      };
    const Arrays out = custom_function(function_of_arrays(share(fun), tree, result), rules)(in);
    return rebuilt(*result, out);
  }

  int visit_objects(visitproc visit, void* arg) override {
    Py_VISIT(vjp.ptr());
    Py_VISIT(jvp.ptr());
    Py_VISIT(vmap.ptr());
    return Transformed::visit_objects(visit, arg);
  }
  void clear_objects() override {
    vjp.reset();
    jvp.reset();
    vmap.reset();
    Transformed::clear_objects();
  }

  nb::object vjp, jvp, vmap;

 private:
  static Arrays checked(nb::handle tree, std::size_t count, const char* what) {
    Arrays arrays;
    flatten_only_arrays(tree, arrays, "custom_function");
    if (arrays.size() != count)
      throw std::invalid_argument("custom_function: " + std::string(what) + " was expected, " +
                                  std::to_string(count) + " arrays, not " +
                                  std::to_string(arrays.size()));
    return arrays;
  }
};

void bind_evaluation(nb::module_& m) {
  m.def(
      "eval",
      [](const nb::args& args) {
        Arrays arrays;
        flatten_arrays(args, arrays);
        evaluate(arrays);
      },
      nb::sig("def eval(*args: typing.Any) -> None"),
      "Computes the arrays in the arguments, trees of lists, tuples and dicts, and waits.");
  m.def(
      "async_eval",
      [](const nb::args& args) {
        Arrays arrays;
        flatten_arrays(args, arrays);
        nb::gil_scoped_release unlocked;
        async_eval(arrays);
      },
      nb::sig("def async_eval(*args: typing.Any) -> None"),
      "Starts computing the arrays in the arguments. An error is raised where a value is asked "
      "for.");
  m.def(
      "explain",
      [](const nb::args& args) {
        Arrays arrays;
        flatten_arrays(args, arrays);
        return explain(arrays);
      },
      nb::sig("def explain(*args: typing.Any) -> str"),
      "The plan that evaluating the arrays would follow, as text. Nothing is computed.");
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
  m.def(
      "stop_gradient", [](const array& a, StreamOrDevice s) { return stop_gradient(a, s); }, "a"_a,
      nb::kw_only(), "stream"_a = nb::none(), "The same values, through which no gradient flows.");
  m.def("enable_compile", &enable_compile, "Lets `compile` work again.");
  m.def("disable_compile", &disable_compile, "Makes compiled functions run as they were written.");
  m.def("get_num_threads", &get_num_threads, "Threads that one operation may use on the CPU.");
  m.def("set_num_threads", &set_num_threads, "n"_a, "Sets the threads that one operation may use.");
}

}  // namespace

void bind_transforms(nb::module_& m) {
  const auto call_transformed = [](Transformed& self, const nb::args& args,
                                   const nb::kwargs& kwargs) { return self(args, kwargs); };
  nb::class_<Transformed>(m, "_Transformed", nb::type_slots(kCollected),
                          "A function with a transform around it.")
      .def("__call__", call_transformed)
      .def("__getattr__",
           [](const Transformed& self, nb::str name) { return nb::object(self.fun.attr(name)); });

  for (const char* op : {"grad", "value_and_grad"})
    m.def(
        op,
        [op](nb::callable fun, const Argnums& argnums,
             const Argnames& argnames) -> std::unique_ptr<Transformed> {
          return std::make_unique<Gradient>(op, std::move(fun), argnums, argnames);
        },
        nb::sig(("def " + std::string(op) +
                 "(fun: Callable[..., typing.Any], argnums: int | Sequence[int] | None = None, "
                 "argnames: str | Sequence[str] = []) -> Callable[..., typing.Any]")
                    .c_str()),
        "fun"_a, "argnums"_a = nb::none(), "argnames"_a = std::vector<std::string>(),
        op[0] == 'g' ? "A function that returns the gradient of a scalar function with respect to "
                       "the arguments numbered or named, the first unless told. They may be trees. "
                       "With names the result is (by number, {name: gradient})."
                     : "As `grad`, but returns (value, gradient). The function may return a tuple "
                       "whose first element is the scalar.");

  m.def(
      "vjp",
      [](nb::callable fun, const Arrays& primals, const Arrays& cotangents) {
        return vjp(plain_function(fun, "vjp"), primals, cotangents);
      },
      "fun"_a, "primals"_a, "cotangents"_a,
      "The outputs of fun(*primals), and the products of the cotangents with its Jacobian.");
  m.def(
      "jvp",
      [](nb::callable fun, const Arrays& primals, const Arrays& tangents) {
        return jvp(plain_function(fun, "jvp"), primals, tangents);
      },
      "fun"_a, "primals"_a, "tangents"_a,
      "The outputs of fun(*primals), and the products of its Jacobian with the tangents.");
  m.def(
      "vmap",
      [](nb::callable fun, nb::object in_axes,
         nb::object out_axes) -> std::unique_ptr<Transformed> {
        return std::make_unique<Vmapped>(std::move(fun), std::move(in_axes), std::move(out_axes));
      },
      nb::sig(
          "def vmap(fun: Callable[..., typing.Any], in_axes: object = 0, out_axes: object = 0) -> "
          "Callable[..., typing.Any]"),
      "fun"_a, "in_axes"_a.none() = 0, "out_axes"_a.none() = 0,
      "Maps a function over an axis of each array in its arguments (None: over none) and stacks "
      "the "
      "results along out_axes. Axes are numbers, or trees like the arguments.");
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
      "when "
      "`shapeless`), of structure and of constants, and then replays its graph. `inputs` and "
      "`outputs` are containers of arrays that it reads or changes beside its arguments.");
  m.def(
      "checkpoint",
      [](nb::callable fun) -> std::unique_ptr<Transformed> {
        return std::make_unique<Checkpointed>(std::move(fun));
      },
      nb::sig("def checkpoint(fun: Callable[..., typing.Any]) -> Callable[..., typing.Any]"),
      "fun"_a,
      "A function that computes its intermediates again for the gradient instead of keeping them "
      "(Chen et al. 2016).");

  nb::class_<CustomFunction, Transformed> custom(
      m, "custom_function", nb::sig("class custom_function()"),
      "A function with derivatives or batching of its own, set by the decorators `vjp` (primals, "
      "cotangents, outputs), `jvp` (primals, tangents) and `vmap` (inputs, axes).");
  custom.def(
      "__init__",
      [](CustomFunction* self, nb::callable f) { new (self) CustomFunction(std::move(f)); }, "f"_a);
  custom.def("__call__", call_transformed);
  struct Rule {
    const char* name;
    nb::object CustomFunction::* member;
  };
  for (const Rule& rule : {Rule{"vjp", &CustomFunction::vjp}, Rule{"jvp", &CustomFunction::jvp},
                           Rule{"vmap", &CustomFunction::vmap}})
    custom.def(
        rule.name,
        [member = rule.member](nb::handle_t<CustomFunction> self, nb::callable f) {
          nb::inst_ptr<CustomFunction>(self)->*member = std::move(f);
          return nb::borrow(self);
        },
        nb::sig(("def " + std::string(rule.name) +
                 "(self, f: Callable[..., typing.Any]) -> custom_function")
                    .c_str()),
        "f"_a);
  bind_evaluation(m);
}

}  // namespace cermet::python
