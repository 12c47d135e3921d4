// compile: Python functions whose graph is recorded once and replayed.
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <array>
#include <bit>
#include <unordered_map>

#include "transforms.h"

namespace cermet::python {
namespace {

// ---- The structure of arguments: all of a tree but its arrays ----

// Whether a named tuple's: of others only what they hold counts.
PyTypeObject* named_type(nb::handle tuple) {
  return !PyTuple_CheckExact(tuple.ptr()) && nb::hasattr(tuple.type(), "_fields")
             ? Py_TYPE(tuple.ptr())
             : nullptr;
}

// The type of constants that an object is of, whatever a subclass makes of it; null for others.
PyTypeObject* constant_type(nb::handle h) {
  for (PyTypeObject* type :
       {&PyLong_Type, &PyFloat_Type, &PyComplex_Type, &PyUnicode_Type, Py_TYPE(Py_None)})
    if (PyObject_TypeCheck(h.ptr(), type)) return type;
  return as_dtype(h) ? Py_TYPE(h.ptr()) : nullptr;
}

// A float's or complex number's bits: zeros have signs, and a nan is like itself.
std::array<std::uint64_t, 2> bits_of(nb::handle number) {
  const Py_complex c = PyComplex_AsCComplex(number.ptr());
  return {std::bit_cast<std::uint64_t>(c.real), std::bit_cast<std::uint64_t>(c.imag)};
}
bool has_bits(PyTypeObject* type) { return type == &PyFloat_Type || type == &PyComplex_Type; }

std::size_t mix(std::size_t hash, std::uint64_t word) { return hash * 1000003 ^ word; }

// A constant, or the key of a dict, which may be any object.
std::size_t hash_constant(nb::handle h, std::size_t hash) {
  hash = mix(hash, reinterpret_cast<std::uintptr_t>(Py_TYPE(h.ptr())));
  PyTypeObject* type = constant_type(h);
  if (has_bits(type)) {
    const auto [real, imaginary] = bits_of(h);
    return mix(mix(hash, real), imaginary);
  }
  const Py_hash_t own = type ? type->tp_hash(h.ptr()) : PyObject_Hash(h.ptr());
  if (own == -1 && PyErr_Occurred()) throw nb::python_error();
  return mix(hash, static_cast<std::uint64_t>(own));
}
bool same_constant(nb::handle a, nb::handle b) {
  if (a.is(b)) return true;
  if (Py_TYPE(a.ptr()) != Py_TYPE(b.ptr())) return false;
  PyTypeObject* type = constant_type(a);
  if (has_bits(type)) return bits_of(a) == bits_of(b);
  const nb::object equal = nb::steal(type ? type->tp_richcompare(a.ptr(), b.ptr(), Py_EQ)
                                          : PyObject_RichCompare(a.ptr(), b.ptr(), Py_EQ));
  if (!equal) throw nb::python_error();
  const int answer = PyObject_IsTrue(equal.ptr());
  if (answer < 0) throw nb::python_error();
  return answer;
}

std::size_t hash_tree(nb::handle tree, std::size_t hash) {
  if (PyDict_Check(tree.ptr())) {
    hash = mix(hash, 'd');
    for (auto item : nb::borrow<nb::dict>(tree))
      hash = hash_tree(item.second, hash_constant(item.first, hash));
    return mix(hash, '.');
  }
  if (PyList_Check(tree.ptr()) || PyTuple_Check(tree.ptr())) {
    hash = mix(hash, PyList_Check(tree.ptr()) ? 'l' : 't');
    for (Py_ssize_t i = 0; i < Py_SIZE(tree.ptr()); ++i)
      hash = hash_tree(PySequence_Fast_GET_ITEM(tree.ptr(), i), hash);
    return mix(hash, '.');
  }
  if (as_array(tree)) return mix(hash, 'a');
  if (nb::isinstance<RandomState>(tree)) return mix(hash, 'r');
  if (constant_type(tree)) return hash_constant(tree, hash);
  throw std::invalid_argument(
      "compile: arguments are trees of arrays, numbers, strings, dtypes and None, not " +
      class_name(tree));
}

bool same_tree(nb::handle a, nb::handle b) {
  if (PyDict_Check(a.ptr())) {
    if (!PyDict_Check(b.ptr()) || PyDict_Size(a.ptr()) != PyDict_Size(b.ptr())) return false;
    auto other = nb::borrow<nb::dict>(b).begin();  // the order of keys is that of the arrays
    for (auto item : nb::borrow<nb::dict>(a)) {
      const auto [key, value] = *other;
      if (!same_constant(item.first, key) || !same_tree(item.second, value)) return false;
      ++other;
    }
    return true;
  }
  if (PyList_Check(a.ptr()) || PyTuple_Check(a.ptr())) {
    const bool tuple = PyTuple_Check(a.ptr());
    if (!(tuple ? PyTuple_Check(b.ptr()) : PyList_Check(b.ptr())) ||
        Py_SIZE(a.ptr()) != Py_SIZE(b.ptr()) || (tuple && named_type(a) != named_type(b)))
      return false;
    for (Py_ssize_t i = 0; i < Py_SIZE(a.ptr()); ++i)
      if (!same_tree(PySequence_Fast_GET_ITEM(a.ptr(), i), PySequence_Fast_GET_ITEM(b.ptr(), i)))
        return false;
    return true;
  }
  if (as_array(a) || as_array(b)) return as_array(a) && as_array(b);
  return same_constant(a, b);
}

// Arguments and captured state without arrays, by which calls are told apart.
struct Structure {
  std::shared_ptr<nb::object> arguments, state;
  std::string name;                       // unlike that of any other
  std::shared_ptr<const Structure> next;  // another one of the same hash
};

// The structures of what a traced function returned, and of the state that it left.
struct Returned {
  std::shared_ptr<nb::object> result, state;
};

class Compiled final : public Transformed {
 public:
  Compiled(nb::object fun, nb::object inputs, nb::object outputs, bool shapeless)
      : Transformed(std::move(fun)),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)),
        traces_(compile_by_key(shapeless)) {}

  nb::object operator()(const nb::args& args, const nb::kwargs& kwargs) override {
    const nb::object tree = call_tree(args, kwargs);
    Arrays in;
    flatten_arrays(tree, in);
    const std::size_t explicit_count = in.size();
    flatten_arrays(inputs_, in);
    refuse_modules(tree, "compile");
    const auto structure = structure_of(tree);
    const auto trace = [&](const Arrays& in) { return run(*structure, in, explicit_count); };
    const Traced traced = traces_(std::ref(trace), in, structure->name);
    const auto& [result_form, state_form] = *static_cast<const Returned*>(traced.extra.get());
    std::size_t next = 0;
    const nb::object result = unflatten_arrays(*result_form, traced.outputs, next);
    if (!outputs_.is_none()) assign_arrays(outputs_, *state_form, traced.outputs, next);
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
    structures_.clear();
    Transformed::clear_objects();
  }

 private:
  using List = std::shared_ptr<const Structure>;
  struct Known {
    List list;
    std::uint64_t used = 0;  // the number of the last call
  };

  List structure_of(nb::handle tree) {
    const std::size_t hash = hash_tree(inputs_, hash_tree(tree, 0));
    const auto known = [&]() -> Known& {
      Known& k = structures_[hash];
      k.used = ++calls_;
      return k;
    };
    // To compare may run a key's own function, so it is done on a list that does not change.
    for (List s = known().list; s; s = s->next)
      if (same_tree(tree, *s->arguments) && same_tree(inputs_, *s->state)) return s;
    auto made = std::make_shared<Structure>(Structure{share(without_arrays(tree)),
                                                      share(without_arrays(inputs_)),
                                                      std::to_string(calls_), nullptr});
    Known& k = known();
    made->next = k.list;
    k.list = made;
    if (structures_.size() > kMaxTraces) drop_oldest();
    return made;
  }
  void drop_oldest() {
    structures_.erase(std::min_element(
        structures_.begin(), structures_.end(),
        [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
  }

  // Runs the Python function on tracers, with those of the captured state in its containers.
  Traced run(const Structure& structure, const Arrays& in, std::size_t explicit_count) {
    Arrays before;
    const auto capture = [&](const Arrays& values, std::size_t next) {
      if (!inputs_.is_none()) assign_arrays(inputs_, *structure.state, values, next);
    };
    flatten_arrays(inputs_, before);
    capture(in, explicit_count);
    Traced traced;
    const auto returned = std::make_shared<Returned>();
    try {
      const nb::object result = call(fun, rebuilt(*structure.arguments, in));
      flatten_arrays(result, traced.outputs);
      returned->result = share(without_arrays(result));
      flatten_arrays(outputs_, traced.outputs);
      returned->state = share(without_arrays(outputs_));
    } catch (...) {
      capture(before, 0);
      throw;
    }
    capture(before, 0);
    traced.extra = returned;
    return traced;
  }

  Held inputs_, outputs_;
  KeyedCalls traces_;
  std::uint64_t calls_ = 0;
  std::unordered_map<std::size_t, Known> structures_;
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
      "A function that is run once for each combination of shapes and types, of structure and of "
      "constants, and then replays its graph; the last 256 combinations are kept. With `shapeless` "
      "it is run once for all extents, but again for others if it asks for them. `inputs` and "
      "`outputs` are containers of arrays that it reads or "
      "changes beside its arguments.");
  m.def("enable_compile", &enable_compile, "Lets `compile` work again.");
  m.def("disable_compile", &disable_compile, "Makes compiled functions run as they were written.");
}

}  // namespace cermet::python
