// Derivatives of Python functions: grad, value_and_grad, vjp, jvp.
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/variant.h>

#include <set>

#include "transforms.h"

namespace cermet::python {
namespace {

using Argnums = std::variant<std::monostate, int, Axes>;

std::vector<std::string> names_of(const char* op, nb::handle argnames) {
  if (nb::isinstance<nb::str>(argnames)) return {nb::cast<std::string>(argnames)};
  std::vector<std::string> names;
  const nb::object items = to_items(argnames);
  if (!items) refuse_argument(argnames, op, "names of arguments");
  for (nb::handle name : items) {
    if (!nb::isinstance<nb::str>(name)) refuse_argument(name, op, "names of arguments");
    names.push_back(nb::cast<std::string>(name));
  }
  return names;
}

class Gradient final : public Transformed {
 public:
  Gradient(const char* op, nb::object fun, const Argnums& argnums, nb::handle argnames)
      : Transformed(std::move(fun)),
        op_(op),
        with_value_(std::string_view(op) == "value_and_grad"),
        names_(names_of(op, argnames)) {
    if (const int* n = std::get_if<int>(&argnums))
      numbers_ = {*n};
    else if (const Axes* list = std::get_if<Axes>(&argnums))
      numbers_.assign(list->begin(), list->end());
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
    const nb::object before = rebuilt(selected, primals);  // the function may change its arguments

    nb::object outputs;  // of the function, with the arrays it returned
    const Function traced = [&](const Arrays& in) {
      const Lent lent(selected, in, 1);
      outputs = call_with(args, kwargs, lent.tree());
      check_outputs(outputs);
      Arrays out;
      flatten_arrays(outputs, out);
      return out;
    };
    std::vector<int> all(primals.size());
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
    const auto [values, gradients] = value_and_grad(traced, all)(primals);

    const nb::object by_argument = arranged(rebuilt(before, gradients));
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

}  // namespace

void bind_gradients(nb::module_& m) {
  for (const char* op : {"grad", "value_and_grad"})
    m.def(
        op,
        [op](nb::callable fun, const Argnums& argnums,
             nb::object argnames) -> std::unique_ptr<Transformed> {
          return std::make_unique<Gradient>(op, std::move(fun), argnums, argnames);
        },
        nb::sig(("def " + std::string(op) +
                 "(fun: Callable[..., typing.Any], argnums: int | Sequence[int] | None = None, "
                 "argnames: str | Sequence[str] = []) -> Callable[..., typing.Any]")
                    .c_str()),
        "fun"_a, "argnums"_a = nb::none(), "argnames"_a = nb::list(),
        op[0] == 'g' ? "A function that returns the gradient of a scalar function with respect to "
                       "the arguments numbered or named, the first unless told. They may be trees, "
                       "which the function may change. With names the result is (by number, {name: "
                       "gradient})."
                     : "As `grad`, but returns (value, gradient). The function may return a tuple "
                       "whose first element is the scalar.");

  m.def(
      "vjp",
      [](nb::callable fun, ArrayList primals, ArrayList cotangents) {
        return vjp(plain_function(fun, "vjp"), array_arguments(primals.value, "vjp"),
                   array_arguments(cotangents.value, "vjp"));
      },
      "fun"_a, "primals"_a, "cotangents"_a,
      "The outputs of fun(*primals), and the products of the cotangents with its Jacobian.");
  m.def(
      "jvp",
      [](nb::callable fun, ArrayList primals, ArrayList tangents) {
        return jvp(plain_function(fun, "jvp"), array_arguments(primals.value, "jvp"),
                   array_arguments(tangents.value, "jvp"));
      },
      "fun"_a, "primals"_a, "tangents"_a,
      "The outputs of fun(*primals), and the products of its Jacobian with the tangents.");
  def_op(m, "stop_gradient", &stop_gradient, "The same values, through which no gradient flows.",
         "a"_a);
}

}  // namespace cermet::python
