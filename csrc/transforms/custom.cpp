// Functions with rules of their own, and checkpoints, which are one: the function's outputs pass
// through a node that knows the inputs and the rules, while the graph inside gets no derivative.
#include <algorithm>
#include <stdexcept>

#include "cermet/ops.h"
#include "cermet/random.h"
#include "graph/random_state.h"
#include "graph/rules.h"
#include "transforms/custom.h"
#include "transforms/walk.h"

namespace cermet {
namespace {

Arrays concat(std::initializer_list<std::span<const array>> lists) {
  Arrays all;
  for (const auto& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

Arrays part(const Arrays& all, std::size_t first, std::size_t n) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
  return Arrays(begin, begin + static_cast<std::ptrdiff_t>(n));
}

std::string kind_of(const Result& r) {
  return std::string(name_of(r.dtype)) + " of shape " + to_string(r.shape);
}

std::string named(const CustomRules& rules) {
  return "custom_function" + (rules.name.empty() ? "" : " " + rules.name);
}

// The function's own derivative is not that of a rule.
void refuse_other(const CustomRules& rules, const char* asked, const char* given) {
  throw std::invalid_argument(std::string(asked) + ": " + named(rules) + " has a " + given +
                              " rule of its own and no " + asked + " rule; expected one");
}

// What a rule returned: as many arrays as expected, of these shapes and types. One real floating
// type is as good as another, and of integers' derivatives the type does not count.
Arrays expect(Arrays arrays, const Results& expected, const CustomRules& rules, const char* rule) {
  const std::string head = named(rules) + ": its " + rule + " rule returned ";
  if (arrays.size() != expected.size())
    throw std::invalid_argument(head + count(arrays.size(), "array") + ", expected " +
                                std::to_string(expected.size()));
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    const Dtype is = arrays[i].dtype(), should = expected[i].dtype;
    if (is_floating(is) && is_floating(should)) arrays[i] = astype(arrays[i], should);
    const bool alike = arrays[i].dtype() == should || !is_inexact(should);
    if (arrays[i].shape() != expected[i].shape || !alike)
      throw std::invalid_argument(head + kind_of({arrays[i].shape(), is}) + " as array " +
                                  std::to_string(i) + ", expected " + kind_of(expected[i]));
  }
  return arrays;
}

Results results_of(const Arrays& arrays) {
  Results results;
  for (const array& a : arrays) results.push_back({a.shape(), a.dtype()});
  return results;
}

Arrays wrap(const Function& fun, const CustomRules& rules, const Arrays& primals,
            const Arrays& outputs);

// Inputs: the primals, then the outputs that pass through.
class CustomFunction final : public Custom {
 public:
  CustomFunction(Function fun, CustomRules rules, std::size_t primals)
      : fun_(std::move(fun)), rules_(std::move(rules)), n_(primals) {}
  std::string_view name() const override { return "custom_function"; }

  Arrays run(std::span<const array> inputs) const override {
    return Arrays(inputs.begin() + static_cast<std::ptrdiff_t>(n_), inputs.end());
  }

  std::vector<std::optional<array>> vjp_all(std::span<const array> inputs, const Arrays& outputs,
                                            const Arrays& cotangents) const override {
    if (rules_.jvp && !rules_.vjp) refuse_other(rules_, "vjp", "jvp");
    const Arrays primals = concat({inputs.first(n_)});
    const Arrays found = expect(rules_.vjp ? rules_.vjp(primals, cotangents, outputs)
                                           : cermet::vjp(fun_, primals, cotangents).second,
                                results_of(primals), rules_, "vjp");
    std::vector<std::optional<array>> all(found.begin(), found.end());
    all.resize(inputs.size());
    return all;
  }

  Arrays jvp_all(std::span<const array> inputs, const Arrays& outputs,
                 const std::vector<std::optional<array>>& tangents) const override {
    if (rules_.vjp && !rules_.jvp) refuse_other(rules_, "jvp", "vjp");
    const Arrays primals = concat({inputs.first(n_)});
    Arrays filled;
    for (std::size_t i = 0; i < n_; ++i)
      filled.push_back(tangents[i].value_or(zeros_like(primals[i])));
    return expect(
        rules_.jvp ? rules_.jvp(primals, filled) : cermet::jvp(fun_, primals, filled).second,
        results_of(outputs), rules_, "jvp");
  }

  Arrays vmap_all(const Batched& in, const Arrays& outputs) const override {
    const Arrays primals = concat({in.inputs.first(n_)});
    std::vector<int> axes;
    for (std::size_t i = 0; i < n_; ++i) axes.push_back(in.flags[i] ? 0 : kNotMapped);
    if (!rules_.vmap)
      return wrap(cermet::vmap(fun_, axes), batched_rules(axes), primals, in.part(n_).all());

    auto [results, result_axes] = rules_.vmap(primals, axes);
    if (result_axes.size() != results.size())
      throw std::invalid_argument(named(rules_) + ": its vmap rule returned " +
                                  count(results.size(), "array") + " and axes for " +
                                  std::to_string(result_axes.size()));
    for (std::size_t i = 0; i < results.size(); ++i) {
      const bool mapped = result_axes[i] != kNotMapped;
      if (mapped) results[i] = moveaxis(results[i], result_axes[i], 0);
      results[i] = Batched{{&results[i], 1}, {&mapped, 1}, in.size}.all()[0];
    }
    Results batched = results_of(outputs);
    for (Result& r : batched) r.shape = batch_shape(in.size, r.shape);
    results = expect(std::move(results), batched, rules_, "vmap");
    if (!rules_.vjp && !rules_.jvp) return results;
    for (array& r : results) r = stop_gradient(r);
    return wrap(cermet::vmap(fun_, axes), batched_rules(axes), primals, results);
  }

  CustomParts parts() const { return {fun_, rules_, n_}; }

 private:
  // The rules of the function mapped over these axes of its primals.
  CustomRules batched_rules(const std::vector<int>& axes) const {
    CustomRules mapped;
    mapped.name = rules_.name;
    if (rules_.vjp)
      mapped.vjp = [rule = rules_.vjp, axes](const Arrays& primals, const Arrays& cotangents,
                                             const Arrays& outputs) {
        const std::size_t n = primals.size(), m = outputs.size();
        const Function entry = [=](const Arrays& all) {
          return rule(part(all, 0, n), part(all, n, m), part(all, n + m, m));
        };
        std::vector<int> all_axes = axes;
        all_axes.resize(n + 2 * m, 0);
        Arrays found = cermet::vmap(entry, all_axes)(concat({primals, cotangents, outputs}));
        for (std::size_t i = 0; i < n && i < found.size(); ++i)
          if (axes[i] == kNotMapped) found[i] = sum(found[i], Axes{0});  // shared by all entries
        return found;
      };
    if (rules_.jvp)
      mapped.jvp = [rule = rules_.jvp, axes](const Arrays& primals, const Arrays& tangents) {
        const std::size_t n = primals.size();
        const Function entry = [=](const Arrays& all) {
          return rule(part(all, 0, n), part(all, n, n));
        };
        std::vector<int> all_axes = axes;
        all_axes.insert(all_axes.end(), axes.begin(), axes.end());
        return cermet::vmap(entry, all_axes)(concat({primals, tangents}));
      };
    return mapped;
  }

  const Function fun_;
  const CustomRules rules_;
  const std::size_t n_;
};

Arrays wrap(const Function& fun, const CustomRules& rules, const Arrays& primals,
            const Arrays& outputs) {
  if (outputs.empty()) return outputs;
  return make_outputs(make_ref<CustomFunction>(fun, rules, primals.size()), results_of(outputs),
                      concat({primals, outputs}), outputs[0].stream());
}

}  // namespace

std::optional<CustomParts> parts_of_custom(const Primitive& primitive) {
  const auto* custom = dynamic_cast<const CustomFunction*>(&primitive);
  return custom ? std::optional(custom->parts()) : std::nullopt;
}

namespace {

bool any_traced(const Arrays& inputs) {
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const array& in) { return is_traced(*in.node()); });
}
// The function without a derivative.
Arrays run_detached(const Function& fun, const Arrays& inputs) {
  Arrays detached;
  for (const array& in : inputs) detached.push_back(stop_gradient(in));
  return fun(detached);
}

}  // namespace

Function custom_function(Function fun, CustomRules rules) {
  return [fun = std::move(fun), rules = std::move(rules)](const Arrays& inputs) {
    return any_traced(inputs) ? wrap(fun, rules, inputs, run_detached(fun, inputs)) : fun(inputs);
  };
}

Function checkpoint(Function fun) {
  return [fun = std::move(fun)](const Arrays& inputs) {
    if (!any_traced(inputs)) return fun(inputs);
    const array state = random::state();
    const Arrays outputs = run_detached(fun, inputs);
    Arrays primals = inputs;
    Function again = fun;
    // Where it draws random numbers the state is an input, and the second run has the same ones.
    if (random::state().node() != state.node()) {
      primals.push_back(state);
      again = [fun, n = inputs.size()](const Arrays& all) {
        const random::StateContext own(all[n]);
        return fun(part(all, 0, n));
      };
    }
    CustomRules rules;
    // The dependence keeps the second run from starting before its cotangents are there.
    rules.vjp = [again](const Arrays& of, const Arrays& cotangents, const Arrays&) {
      return vjp(again, depends(of, cotangents), cotangents).second;
    };
    rules.jvp = [again](const Arrays& of, const Arrays& tangents) {
      return jvp(again, of, tangents).second;
    };
    return wrap(again, rules, primals, outputs);
  };
}

}  // namespace cermet
