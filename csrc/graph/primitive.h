// What a primitive is: one of the few operations from which all others are composed, and the rules
// transforms need. Those there are stand in graph/primitives/, by family.
//
// A primitive says what is computed and knows no device. It is immutable and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "cermet/array.h"
#include "cermet/ops.h"

namespace cermet {

// The closed list a backend implements.
enum class Kind : std::uint8_t {
  constant,     // a scalar, its bits in the node
  elementwise,  // inputs broadcast to the node's shape
  reduce,
  // Views: the result shares its input's buffer where the layout allows.
  broadcast,
  reshape,
  transpose,
  slice,
  as_strided,
  bitcast,
  identity,  // stop_gradient, depends, tracers
  pick,      // one result of a primitive with several
  // Work of its own.
  arange,
  contiguous,
  concatenate,
  gather,
  scatter,
  slice_update,
  arg_reduce,
  scan,
  sort,
  matmul,
  fft,
  random_bits,
  load,       // a leaf from outside the graph, a file's part say
  composite,  // a graph of others, which a device may compute whole
  // Several results, each read by a pick.
  factorization,
  custom,  // computed by a function of the CPU
};
constexpr bool has_several_results(Kind k) { return k >= Kind::factorization; }
constexpr bool is_view(Kind k) { return k >= Kind::broadcast && k <= Kind::pick; }

// Where a derivative goes through a primitive: between input `i` and the output.
struct Edge {
  int i;
  std::span<const array> inputs;
  const array& output;
  const array& input() const { return inputs[static_cast<std::size_t>(i)]; }
};
// Inputs of which some have a batch, of `size` entries, as axis 0.
struct Batched {
  std::span<const array> inputs;
  std::span<const bool> flags;  // which
  std::int64_t size;
  // With the batch axis on every input.
  Arrays all() const;
  // `count` of them from the first one given on.
  Batched part(std::size_t first, std::size_t count = std::dynamic_extent) const {
    return {inputs.subspan(first, count), flags.subspan(first, count), size};
  }
};

class Primitive : public RefCounted {
 public:
  explicit Primitive(Kind kind) : kind_(kind) {}
  virtual ~Primitive() = default;
  Kind kind() const { return kind_; }
  virtual std::string_view name() const = 0;
  // The parameters, for explain: "axes=(0, 1)".
  virtual std::string parameters() const { return ""; }
  // True when the other, of the same kind, has the same parameters.
  virtual bool equals(const Primitive&) const { return true; }
  // The output's shape for other inputs than those of `node`, with the same parameters.
  // std::invalid_argument where the operation would not have made this node for them.
  virtual Shape output_shape(const Node& node, std::span<const array> inputs) const;

  // The cotangent of the input, given the output's. Default: no derivative (an error that names
  // it).
  virtual array vjp(const Edge& e, const array& cotangent) const;
  // What the tangent of the input adds to the output's tangent.
  virtual array jvp(const Edge& e, const array& tangent) const;
  // The same, added to what others contributed. Default: a sum; overridden where a contribution
  // falls on a part of the whole, which is then updated in place.
  virtual array add_vjp(const Edge& e, const array& cotangent, const array& sum) const;
  virtual array add_jvp(const Edge& e, const array& tangent, const array& sum) const;
  // The batched output, batch first; `output` is the unbatched node.
  virtual array vmap(const Batched& in, const array& output) const;
  // A derivative that is zero everywhere or undefined: transforms stop here without an error.
  virtual bool differentiable() const { return true; }
  // False for an input that chooses (indices, a condition): its derivative is zero.
  virtual bool differentiable_by(int) const { return true; }

 private:
  Kind kind_;
};

// The one object of a primitive that has no parameters.
template <class P>
const Ref<const Primitive>& the() {
  static const Ref<const Primitive> it(new P);
  return it;
}

// Declare what a primitive overrides, so that the classes below read as their parameters: its rules
// of shape and batching, and for most the derivatives too; and what tells it from others of its
// kind: its fields, in the order of its constructor's arguments, which exported files hold, too.
#define CERMET_SHAPE_RULES(kind_name)                                                 \
  std::string_view name() const override { return kind_name; }                        \
  Shape output_shape(const Node& node, std::span<const array> inputs) const override; \
  array vmap(const Batched& in, const array& output) const override;
#define CERMET_RULES(kind_name)                                    \
  CERMET_SHAPE_RULES(kind_name)                                    \
  array vjp(const Edge& e, const array& cotangent) const override; \
  array jvp(const Edge& e, const array& tangent) const override;
#define CERMET_FIELDS(...) \
  auto tied() const { return std::tie(__VA_ARGS__); }
#define CERMET_PARAMETERS(...)                               \
  CERMET_FIELDS(__VA_ARGS__)                                 \
  bool equals(const Primitive& o) const override {           \
    return tied() == static_cast<decltype(*this)>(o).tied(); \
  }

// Shape and dtype of one of several results.
struct Result {
  Shape shape;
  Dtype dtype;
  CERMET_FIELDS(shape, dtype)
  bool operator==(const Result&) const = default;
};
using Results = std::vector<Result>;

// A primitive with several results (read through Pick), whose rules take them together.
class Several : public Primitive {
 public:
  using Primitive::Primitive;
  // A cotangent for every input (absent: zero), given those of the outputs.
  virtual std::vector<std::optional<array>> vjp_all(std::span<const array> inputs,
                                                    const Arrays& outputs,
                                                    const Arrays& cotangents) const;
  // A tangent for every output; absent tangents of inputs are zero.
  virtual Arrays jvp_all(std::span<const array> inputs, const Arrays& outputs,
                         const std::vector<std::optional<array>>& tangents) const;
  // Batched outputs, batch first.
  virtual Arrays vmap_all(const Batched& in, const Arrays& outputs) const;
};
// The results of a node with several as arrays: the node and one Pick for each.
Arrays make_outputs(Ref<const Primitive> primitive, Results results, SmallVector<array, 2> inputs,
                    Stream stream);

// An operation that stands for a graph of others, its expansion. A device that has something better
// computes it whole. One or several results; of several, each is read through Pick.
class Composite : public Primitive {
 public:
  explicit Composite(Kind kind = Kind::composite) : Primitive(kind) {}
  virtual Arrays expand(const Node& node, std::span<const array> inputs) const = 0;
  // The rules that keep it whole: none, vmap, that and vjp, or all. Transforms that have none go
  // through its expansion.
  enum class Rules : std::uint8_t { none, vmap, backward, all };
  virtual Rules rules() const { return Rules::none; }
  // The cotangents of inputs that are computed together; vjp gives the others.
  virtual std::vector<std::optional<array>> vjp_together(std::span<const array>, const array&,
                                                         const array&) const {
    return {};
  }
  // By the expansion's.
  Shape output_shape(const Node& node, std::span<const array> inputs) const override;
  // Of a call of a compiled function the number of its trace, else 0. Calls of one trace have the
  // same expansion, but for their inputs, and refer to the same `captured` arrays. Their results
  // are picks, also one alone.
  virtual std::uint64_t identity() const { return 0; }
  virtual std::span<const array> captured() const { return {}; }
};
// The composite that a node is, or is a result of; null for others.
const Node* composite_of(const Node& node);
// Of a call of a compiled function, see Composite::identity(); 0 for other nodes.
std::uint64_t identity_of(const Node& node);
// What stands for a composite node, or for one of its results: made at its first use and kept as
// long as its graph.
const array& expansion_of(const Node& node);
// Whether somebody has used it.
bool has_expansion(const Node& composite);
// Turns a node that no trace needs into what stands for it, so that it keeps nothing else alive.
void become_expansion(Node& node);

}  // namespace cermet
