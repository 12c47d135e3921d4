// Python functions with rules of their own, and checkpoint, whose rule is to run again.
#include <nanobind/stl/unique_ptr.h>

#include "transforms.h"

namespace cermet::python {
namespace {

// The function of the arrays in a call's tree; its result's structure goes to `result`. It runs on
// containers of its own, but on those in `caller` while there are any.
Function function_of_arrays(std::shared_ptr<nb::object> fun, std::shared_ptr<nb::object> tree,
                            std::shared_ptr<nb::object> result,
                            std::shared_ptr<nb::object> caller = nullptr) {
  return [fun, tree, result, caller](const Arrays& in) {
    nb::object returned;
    if (caller && caller->is_valid()) {
      const Lent lent(*caller, in, 2);
      returned = call(*fun, lent.tree());
    } else {
      returned = call(*fun, rebuilt(*tree, in));
    }
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
    refuse_modules(arguments, "checkpoint");
    const auto tree = share(without_arrays(arguments)), result = share(nb::object());
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
    const auto tree = share(without_arrays(arguments)), result = share(nb::object());
    // One argument is passed to the rules as it is, several as a tuple.
    const auto primals =
        share(without_arrays(args.size() == 1 ? nb::object(args[0]) : nb::object(args)));
    Arrays in;
    flatten_arrays(arguments, in);
    const std::size_t count = in.size();
    CustomRules rules;
    rules.name =
        nb::hasattr(fun, "__name__") ? nb::cast<std::string>(nb::str(fun.attr("__name__"))) : "";
    if (vjp.is_valid())
      rules.vjp = [rule = share(vjp), primals, result, count](const Arrays& in, const Arrays& ct,
                                                              const Arrays& out) {
        return checked((*rule)(rebuilt(*primals, in), rebuilt(*result, ct), rebuilt(*result, out)),
                       *primals, count, "vjp: a cotangent for each primal");
      };
    if (jvp.is_valid())
      rules.jvp = [rule = share(jvp), primals, result](const Arrays& in, const Arrays& tangents) {
        Arrays outputs;
        flatten_arrays(*result, outputs);
        return checked((*rule)(rebuilt(*primals, in), rebuilt(*primals, tangents)), *result,
                       outputs.size(), "jvp: a tangent for each output");
      };
    if (vmap.is_valid())
      rules.vmap = [rule = share(vmap), primals, result](const Arrays& in,
                                                         const std::vector<int>& axes) {
        std::size_t next = 0;
        const nb::object axes_tree = tree_map(*primals, [&](nb::handle leaf) -> nb::object {
          const int axis = as_array(leaf) ? axes.at(next++) : kNotMapped;
          return axis == kNotMapped ? nb::none() : nb::object(nb::int_(axis));
        });
        const nb::object answer = (*rule)(rebuilt(*primals, in), axes_tree);
        if (!nb::isinstance<nb::tuple>(answer) || nb::len(answer) != 2)
          throw std::invalid_argument("custom_function: vmap must return (outputs, axes)");
        std::pair<Arrays, std::vector<int>> out;
        out.first = arrays_in_order(answer[0], *result);
        tree_visit(nb::object(answer[1]), [&](nb::handle axis) {
          out.second.push_back(axis.is_none() ? kNotMapped : nb::cast<int>(axis));
        });
        if (out.second.size() == 1) out.second.resize(out.first.size(), out.second[0]);
        return out;
      };
    // A rule that runs the function again must not change the caller's containers once more.
    const auto caller = share(arguments);
    const Function function = function_of_arrays(share(fun), tree, result, caller);
    const Arrays out = custom_function(function, rules)(in);
    caller->reset();
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

  Held vjp, jvp, vmap;

 private:
  // The arrays of a tree, those of a dict in the order of the keys that `like` has in its place.
  static Arrays arrays_in_order(nb::handle tree, nb::handle like) {
    const auto sequence = [](nb::handle t) {
      return nb::isinstance<nb::list>(t) || nb::isinstance<nb::tuple>(t);
    };
    Arrays arrays;
    const auto add = [&](nb::handle part, nb::handle like_part) {
      const Arrays more = arrays_in_order(part, like_part);
      arrays.insert(arrays.end(), more.begin(), more.end());
    };
    if (nb::isinstance<nb::dict>(tree) && nb::isinstance<nb::dict>(like)) {
      const nb::dict by_key = nb::borrow<nb::dict>(tree);
      if (!nb::object(by_key.attr("keys")()).equal(like.attr("keys")()))
        throw std::invalid_argument("custom_function: a rule returned a dict of the keys " +
                                    text_of_keys(by_key) + ", expected " + text_of_keys(like));
      for (auto item : nb::borrow<nb::dict>(like)) add(by_key[item.first], item.second);
    } else if (sequence(tree) && sequence(like) && nb::len(tree) == nb::len(like)) {
      for (std::size_t i = 0; i < nb::len(tree); ++i) add(tree[i], like[i]);
    } else {
      flatten_only_arrays(tree, arrays, "custom_function");
    }
    return arrays;
  }
  static std::string text_of_keys(nb::handle dict) {
    return nb::cast<std::string>(nb::str(nb::list(dict)));
  }

  static Arrays checked(nb::handle tree, nb::handle like, std::size_t count, const char* what) {
    const Arrays arrays = arrays_in_order(tree, like);
    if (arrays.size() != count)
      throw std::invalid_argument("custom_function: " + std::string(what) + " was expected, " +
                                  std::to_string(count) + " arrays, not " +
                                  std::to_string(arrays.size()));
    return arrays;
  }
};

}  // namespace

void bind_custom_functions(nb::module_& m) {
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
  struct Rule {
    const char* name;
    Held CustomFunction::* member;
  };
  for (const Rule& rule : {Rule{"vjp", &CustomFunction::vjp}, Rule{"jvp", &CustomFunction::jvp},
                           Rule{"vmap", &CustomFunction::vmap}})
    custom.def(
        rule.name,
        [member = rule.member](nb::handle_t<CustomFunction> self, nb::callable f) {
          held<CustomFunction>(self)->*member = std::move(f);
          return nb::borrow(self);
        },
        nb::sig(("def " + std::string(rule.name) +
                 "(self, f: Callable[..., typing.Any]) -> custom_function")
                    .c_str()),
        "f"_a);
}

}  // namespace cermet::python
