// The submodule random: numbers drawn from keys, or from the global state when no key is given.
#include <nanobind/stl/variant.h>

#include "bindings.h"
#include "scalars.h"
#include "tree.h"

namespace cermet::python {
namespace {

using random::Key;

// Binds a function that draws: a key and the stream are its last arguments.
template <class F, class... Args>
void def_draw(nb::module_& m, const char* name, F f, const std::string& doc, const Args&... args) {
  m.def(name, named(name, f), args..., "key"_a = nb::none(), "stream"_a = nb::none(),
        (doc + " With a `key` the same numbers come every time.").c_str());
}

// The state as an array object; one changed in place before the next draw is the new state.
nb::object state_object() {
  static nb::handle shown;  // lives as long as it is lent, which may be for ever
  if (shown && random::is_lent(*as_array(shown))) return nb::borrow(shown);
  nb::object fresh = nb::cast(array(0));
  random::lend_state(*as_array(fresh));
  if (shown) shown.dec_ref();
  shown = fresh.inc_ref();
  return fresh;
}

}  // namespace

void bind_random(nb::module_& m) {
  nb::module_ sub = m.def_submodule(
      "random", "Random numbers from keys (Threefry; Salmon et al. 2011) or the global state.");

  nb::class_<RandomState>(sub, "RandomState",
                          "The global state as a list of one key; `inputs` and `outputs` of "
                          "`compile` may hold it.")
      .def("__len__", [](const RandomState&) { return 1; })
      .def(
          "__getitem__",
          [](const RandomState&, std::int64_t i) {
            if (i != 0 && i != -1) throw nb::index_error("the state has one key");
            return state_object();
          },
          nb::arg())
      .def(
          "__setitem__",
          [](const RandomState&, std::int64_t i, const array& key) {
            if (i != 0 && i != -1) throw nb::index_error("the state has one key");
            random::set_state(key);
          },
          nb::arg(), nb::arg())
      .def("__iter__", [](const RandomState&) { return nb::iter(nb::make_tuple(state_object())); })
      .def("__repr__", [](const RandomState&) { return '[' + to_string(random::state()) + ']'; });
  sub.attr("state") = RandomState{};

  sub.def("seed", &random::seed, "seed"_a, "Starts the global state anew.");
  sub.def("key", &random::key, "seed"_a, "A key, shape (2,) uint32, made of a number.");
  sub.def("split", &random::split, "key"_a, "num"_a = 2, "stream"_a = nb::none(),
          "Independent keys, shape (num, 2).");
  def_draw(
      sub, "uniform",
      [](Operand low, Operand high, const Shape& shape, std::optional<Dtype> dtype, const Key& key,
         StreamOrDevice s) {
        const Dtype t = dtype.value_or(float32);
        return random::uniform(to_array(low, t), to_array(high, t), shape, t, key, s);
      },
      "Uniform in [low, high), which broadcast to the shape.", "low"_a = 0, "high"_a = 1,
      "shape"_a = Shape(), "dtype"_a.none() = float32);
  def_draw(
      sub, "normal",
      [](const Shape& shape, std::optional<Dtype> dtype, std::optional<Operand> loc,
         std::optional<Operand> scale, const Key& key, StreamOrDevice s) {
        const Dtype t = dtype.value_or(float32);
        return random::normal(shape, t, to_optional_array(loc, t), to_optional_array(scale, t), key,
                              s);
      },
      "Normal with mean `loc` (0) and standard deviation `scale` (1).", "shape"_a = Shape(),
      "dtype"_a.none() = float32, "loc"_a = nb::none(), "scale"_a = nb::none());
  def_draw(
      sub, "multivariate_normal",
      [](const array& mean, const array& cov, const Shape& shape, std::optional<Dtype> dtype,
         const Key& key, StreamOrDevice s) {
        return random::multivariate_normal(mean, cov,
                                           shape.empty() ? std::nullopt : std::optional(shape),
                                           dtype.value_or(float32), key, s);
      },
      "Normal vectors (*shape, n) with mean (..., n) and covariance (..., n, n), whose leading "
      "axes broadcast to the shape and are the shape when it is ().",
      "mean"_a, "cov"_a, "shape"_a = Shape(), "dtype"_a.none() = float32);
  def_draw(
      sub, "randint",
      [](Operand low, Operand high, const Shape& shape, std::optional<Dtype> dtype, const Key& key,
         StreamOrDevice s) {
        const Dtype t = dtype.value_or(int32), wide = t == uint64 ? uint64 : int64;
        const bool all = t == wide && PyLong_Check(high.value.ptr()) && !holds(t, high.value) &&
                         holds(t, high.value - nb::int_(1));  // an end that the type does not hold
        const auto end = all ? std::nullopt : std::optional(to_array(high, wide));
        return random::randint(to_array(low, wide), end, shape, t, key, s);
      },
      "Integers in [low, high), which broadcast to the shape.", "low"_a, "high"_a,
      "shape"_a = Shape(), "dtype"_a.none() = int32);
  def_draw(
      sub, "bernoulli",
      [](Operand p, const std::optional<Shape>& shape, const Key& key, StreamOrDevice s) {
        return random::bernoulli(to_array(p), shape, key, s);
      },
      "True with probability p; the shape is that of p unless told.", "p"_a = 0.5,
      "shape"_a = nb::none());
  def_draw(
      sub, "truncated_normal",
      [](Operand lower, Operand upper, const std::optional<Shape>& shape,
         std::optional<Dtype> dtype, const Key& key, StreamOrDevice s) {
        const Dtype t = dtype.value_or(float32);
        return random::truncated_normal(to_array(lower, t), to_array(upper, t), shape, t, key, s);
      },
      "Standard normal numbers within [lower, upper].", "lower"_a, "upper"_a,
      "shape"_a = nb::none(), "dtype"_a.none() = float32);
  def_draw(
      sub, "gumbel",
      [](const Shape& shape, std::optional<Dtype> dtype, const Key& key, StreamOrDevice s) {
        return random::gumbel(shape, dtype.value_or(float32), key, s);
      },
      "The standard Gumbel distribution.", "shape"_a = Shape(), "dtype"_a.none() = float32);
  def_draw(
      sub, "laplace",
      [](const Shape& shape, std::optional<Dtype> dtype, double loc, double scale, const Key& key,
         StreamOrDevice s) {
        return random::laplace(shape, dtype.value_or(float32), loc, scale, key, s);
      },
      "The Laplace distribution with mean `loc` and width `scale`.", "shape"_a = Shape(),
      "dtype"_a.none() = float32, "loc"_a = 0.0, "scale"_a = 1.0);
  def_draw(
      sub, "categorical",
      [](const array& logits, int axis, const std::optional<Shape>& shape,
         std::optional<int> num_samples, const Key& key, StreamOrDevice s) {
        if (shape && num_samples)
          throw std::invalid_argument(
              "categorical: either shape or num_samples is given, not both");
        return num_samples ? random::categorical(logits, axis, *num_samples, key, s)
                           : random::categorical(logits, axis, shape, key, s);
      },
      "Indices drawn with the probabilities softmax(logits) along an axis. `shape` is the "
      "result's; `num_samples` puts as many draws along a new last axis.",
      "logits"_a, "axis"_a = -1, "shape"_a = nb::none(), "num_samples"_a = nb::none());
  def_draw(
      sub, "permutation",
      [](const std::variant<std::int64_t, const array*>& x, int axis, const Key& key,
         StreamOrDevice s) {
        if (const std::int64_t* n = std::get_if<std::int64_t>(&x))
          return random::permutation(*n, key, s);
        return random::permutation(*std::get<const array*>(x), axis, key, s);
      },
      "The parts of an array along an axis, or the numbers below one, in random order.", "x"_a,
      "axis"_a = 0);
}

}  // namespace cermet::python
