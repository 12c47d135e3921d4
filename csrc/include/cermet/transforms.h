// Function transforms: derivatives, batching, compilation.
//
// A function takes and returns arrays. Transforms run it on tracers (arrays that stand for its
// inputs) and work on the graph it builds, so they compose.
#pragma once

#include <functional>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "cermet/array.h"

namespace cermet {

using Function = std::function<Arrays(const Arrays&)>;
using ScalarFunction = std::function<array(const Arrays&)>;

// The outputs, and the products of the cotangents with the Jacobian: one for each primal.
std::pair<Arrays, Arrays> vjp(const Function& fun, const Arrays& primals, const Arrays& cotangents);
// The outputs, and the products of the Jacobian with the tangents: one for each output.
std::pair<Arrays, Arrays> jvp(const Function& fun, const Arrays& primals, const Arrays& tangents);

using ValueAndGrad = std::function<std::pair<Arrays, Arrays>(const Arrays&)>;
// A function that returns fun's outputs and the gradients of the first, a scalar, with respect to
// the inputs numbered `argnums`. std::invalid_argument when the first output is not a scalar.
ValueAndGrad value_and_grad(Function fun, std::vector<int> argnums = {0});
// The same of a function with one output.
std::function<std::pair<array, Arrays>(const Arrays&)> value_and_grad(ScalarFunction fun,
                                                                      std::vector<int> argnums = {
                                                                          0});
std::function<Arrays(const Arrays&)> grad(ScalarFunction fun, std::vector<int> argnums = {0});

// Whether a trace that has not ended may need the array's graph.
bool is_traced(const array& a);

// The axis of an input or output that a vmap leaves whole.
inline constexpr int kNotMapped = std::numeric_limits<int>::min();
// Maps `fun` over one axis of each input (0 when `in_axes` is empty) and stacks the results along
// `out_axes`.
Function vmap(Function fun, std::vector<int> in_axes = {}, std::vector<int> out_axes = {});
// The same at once, where the outputs' axes are known only when `fun` has returned: `out_axes` is
// then asked for them, with the number of outputs.
Arrays vmap_call(const Function& fun, const std::vector<int>& in_axes, const Arrays& inputs,
                 const std::function<std::vector<int>(std::size_t)>& out_axes);

// A function that is traced once for each combination of input shapes and dtypes, and afterwards
// replays the graph; when `shapeless`, for each of dtypes and ranks, unless something in it asks an
// array for its extents.
Function compile(Function fun, bool shapeless = false);

// What a function gave when it was traced. `extra` is the caller's own (the structure of the
// outputs, say) and comes back with every call.
struct Traced {
  Arrays outputs;
  std::shared_ptr<const void> extra;
};
using TraceFunction = std::function<Traced(const Arrays&)>;
// The same for functions that depend on more than arrays: what they depend on is in the key.
using KeyedCalls = std::function<Traced(const TraceFunction&, const Arrays&, std::string_view key)>;
KeyedCalls compile_by_key(bool shapeless = false);

// How many traces of a function are kept: those used last.
inline constexpr std::size_t kMaxTraces = 256;
void disable_compile();
void enable_compile();

// A function that keeps no intermediates for its gradient: they are computed again (Chen et al.,
// "Training deep nets with sublinear memory cost", 2016).
Function checkpoint(Function fun);

// A function with its own derivatives or batching. Where neither derivative is given, both follow
// from `fun`; where one is, the other is refused: `fun` would contradict it. Batching keeps the
// derivatives.
struct CustomRules {
  // (primals, cotangents, outputs) -> a cotangent for each primal
  std::function<Arrays(const Arrays&, const Arrays&, const Arrays&)> vjp;
  // (primals, tangents) -> a tangent for each output
  std::function<Arrays(const Arrays&, const Arrays&)> jvp;
  // (inputs, axes) -> outputs and their axes
  std::function<std::pair<Arrays, std::vector<int>>(const Arrays&, const std::vector<int>&)> vmap;
  std::string name = {};  // for errors
};
Function custom_function(Function fun, CustomRules rules);

}  // namespace cermet
