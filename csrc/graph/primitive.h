// Primitives: the few operations from which all others are composed, and the rules transforms need.
//
// A primitive says what is computed and knows no device. It is immutable and shared.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "cermet/array.h"
#include "cermet/elementwise.h"
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

class Constant final : public Primitive {
 public:
  Constant() : Primitive(Kind::constant) { make_immortal(); }
  std::string_view name() const override { return "constant"; }
  Shape output_shape(const Node& node, std::span<const array>) const override;
};

class Elementwise final : public Primitive {
 public:
  explicit Elementwise(Op op) : Primitive(Kind::elementwise), op(op) { make_immortal(); }
  const Op op;
  CERMET_PARAMETERS(op)
  CERMET_RULES(info(op).name)
  bool differentiable() const override;
  bool differentiable_by(int i) const override { return op != Op::select || i > 0; }
  static Ref<const Primitive> instance(Op op);
};

class Reduce final : public Primitive {
 public:
  // The output keeps no reduced axis.
  Reduce(ReduceOp op, Axes axes) : Primitive(Kind::reduce), op(op), axes(std::move(axes)) {}
  const ReduceOp op;
  const Axes axes;  // ascending
  bool differentiable() const override { return op != ReduceOp::all && op != ReduceOp::any; }
  CERMET_RULES(name_of(op))
  std::string parameters() const override;
  CERMET_PARAMETERS(op, axes)
};

class Broadcast final : public Primitive {
 public:
  Broadcast() : Primitive(Kind::broadcast) { make_immortal(); }
  CERMET_RULES("broadcast_to")
};

class Reshape final : public Primitive {
 public:
  explicit Reshape(Shape spec) : Primitive(Kind::reshape), spec(std::move(spec)) {}
  // An extent, -1 for what is left, or an axis of the input whose extent it is.
  const Shape spec;
  static constexpr std::int64_t extent_of(std::int64_t axis) { return -2 - axis; }
  CERMET_PARAMETERS(spec)
  std::string parameters() const override;
  CERMET_RULES("reshape")
};

class Transpose final : public Primitive {
 public:
  explicit Transpose(Axes axes) : Primitive(Kind::transpose), axes(std::move(axes)) {}
  const Axes axes;
  CERMET_PARAMETERS(axes)
  std::string parameters() const override;
  CERMET_RULES("transpose")
};

// Element i of an axis is element start + i * step of the input; the node's shape has the counts.
class Slice final : public Primitive {
 public:
  Slice(Shape start, Shape step)
      : Primitive(Kind::slice), start(std::move(start)), step(std::move(step)) {}
  const Shape start, step;
  CERMET_PARAMETERS(start, step)
  std::string parameters() const override;
  CERMET_RULES("slice")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

class AsStrided final : public Primitive {
 public:
  AsStrided(Strides strides, std::int64_t offset)
      : Primitive(Kind::as_strided), strides(std::move(strides)), offset(offset) {}
  const Strides strides;
  const std::int64_t offset;
  CERMET_PARAMETERS(strides, offset)
  CERMET_RULES("as_strided")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

// The same bytes as the node's dtype. Between complex64 and its parts as float32 it has a
// derivative.
class Bitcast final : public Primitive {
 public:
  Bitcast() : Primitive(Kind::bitcast) { make_immortal(); }
  CERMET_RULES("view")
};

// The first input; the others must be computed before it.
class Identity final : public Primitive {
 public:
  enum class Why : std::uint8_t { tracer, stop_gradient, depends };  // numbers: in exported files
  explicit Identity(Why why) : Primitive(Kind::identity), why(why) { make_immortal(); }
  const Why why;
  bool differentiable() const override { return why != Why::stop_gradient; }
  bool differentiable_by(int i) const override { return i == 0; }
  CERMET_PARAMETERS(why)
  static Ref<const Primitive> instance(Why why);
  CERMET_RULES("identity")
};

// Shape and dtype of one of several results.
struct Result {
  Shape shape;
  Dtype dtype;
  CERMET_FIELDS(shape, dtype)
  bool operator==(const Result&) const = default;
};
using Results = std::vector<Result>;

// Result `index` of a node with several. It knows all of them, so that a transform can ask for one
// that the program dropped.
class Pick final : public Primitive {
 public:
  Pick(int index, std::shared_ptr<const Results> results)
      : Primitive(Kind::pick), index(index), results(std::move(results)) {}
  const int index;
  const std::shared_ptr<const Results> results;
  CERMET_PARAMETERS(index)
  std::string_view name() const override { return "pick"; }
};

class Arange final : public Primitive {
 public:
  Arange(double start, double step);
  Arange(double start, double step, std::int64_t first, std::int64_t by)
      : Primitive(Kind::arange), start(start), step(step), first(first), by(by) {}
  const double start, step;
  const std::int64_t first, by;  // for elements that are integers
  CERMET_PARAMETERS(start, step, first, by)
  std::string_view name() const override { return "arange"; }
  Shape output_shape(const Node& node, std::span<const array>) const override;
};

// A row-major copy (or the input itself where it already is).
class Contiguous final : public Primitive {
 public:
  explicit Contiguous(bool allow_col_major)
      : Primitive(Kind::contiguous), allow_col_major(allow_col_major) {}
  const bool allow_col_major;
  CERMET_PARAMETERS(allow_col_major)
  CERMET_RULES("contiguous")
};

class Concatenate final : public Primitive {
 public:
  explicit Concatenate(int axis) : Primitive(Kind::concatenate), axis(axis) {}
  const int axis;
  CERMET_PARAMETERS(axis)
  std::string parameters() const override;
  CERMET_RULES("concatenate")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

// Inputs: a, then one index array (int32, uint32 or int64, all of one shape) for each of `axes`.
class Gather final : public Primitive {
 public:
  explicit Gather(Axes axes) : Primitive(Kind::gather), axes(std::move(axes)) {}
  const Axes axes;  // ascending
  bool differentiable_by(int i) const override { return i == 0; }
  CERMET_PARAMETERS(axes)
  std::string parameters() const override;
  CERMET_RULES("gather")
  array add_vjp(const Edge& e, const array& cotangent, const array& sum) const override;
};

// Inputs: a, updates (shape of the indices + the other axes), then the indices.
class Scatter final : public Primitive {
 public:
  Scatter(Axes axes, Update mode) : Primitive(Kind::scatter), axes(std::move(axes)), mode(mode) {}
  const Axes axes;
  const Update mode;
  bool differentiable_by(int i) const override { return i < 2; }
  CERMET_PARAMETERS(axes, mode)
  std::string parameters() const override;
  CERMET_RULES("scatter")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

// The uint32 index of the extreme along an axis, which the output keeps with extent 1.
class ArgReduce final : public Primitive {
 public:
  ArgReduce(bool max, int axis) : Primitive(Kind::arg_reduce), max(max), axis(axis) {}
  const bool max;
  const int axis;
  bool differentiable() const override { return false; }
  CERMET_PARAMETERS(max, axis)
  std::string parameters() const override;
  CERMET_SHAPE_RULES(max ? "argmax" : "argmin")
};

class Scan final : public Primitive {
 public:
  Scan(ScanOp op, int axis, bool reverse, bool inclusive)
      : Primitive(Kind::scan), op(op), axis(axis), reverse(reverse), inclusive(inclusive) {}
  const ScanOp op;
  const int axis;
  const bool reverse, inclusive;
  CERMET_PARAMETERS(op, axis, reverse, inclusive)
  std::string parameters() const override;
  CERMET_RULES(name_of(op))
};

// Sorted values, or the uint32 indices that sort. With `kth` >= 0 only a partition is promised.
class Sort final : public Primitive {
 public:
  Sort(int axis, bool indices, std::int64_t kth = -1)
      : Primitive(Kind::sort), axis(axis), indices(indices), kth(kth) {}
  const int axis;
  const bool indices;
  const std::int64_t kth;
  bool differentiable() const override { return !indices; }
  CERMET_PARAMETERS(axis, indices, kth)
  std::string parameters() const override;
  CERMET_RULES(kth < 0 ? (indices ? "argsort" : "sort") : (indices ? "argpartition" : "partition"))
};

// (..., m, k) x (..., k, n) -> (..., m, n): equal batch axes and dtypes (the caller broadcasts).
class Matmul final : public Primitive {
 public:
  Matmul() : Primitive(Kind::matmul) { make_immortal(); }
  CERMET_RULES("matmul")
};

// A Fourier transform along an axis: of complex numbers; of real ones, to the frequencies that are
// not negative; or of such a half to real numbers, for which it is the inverse.
class Fft final : public Primitive {
 public:
  enum class Type : std::uint8_t { complex, real, half };
  enum class Divisor : std::uint8_t { one, root, count };  // of the number of points
  Fft(Type type, int axis, bool inverse, bool odd, Divisor divisor)
      : Primitive(Kind::fft),
        type(type),
        axis(axis),
        inverse(inverse),
        odd(odd),
        divisor(divisor) {}
  const Type type;
  const int axis;
  const bool inverse, odd;  // odd: the number of points, where a half does not say
  const Divisor divisor;
  double factor(std::int64_t points) const;
  // The number of points and the result's shape for such an input.
  std::int64_t points(const Shape& input) const;
  Shape result(Shape input) const;
  CERMET_PARAMETERS(type, axis, inverse, odd, divisor)
  std::string parameters() const override;
  static constexpr std::string_view kNames[] = {"fft", "rfft", "irfft", "ifft"};
  CERMET_RULES(kNames[type == Type::complex && inverse ? 3 : static_cast<int>(type)])
};

// Threefry over a counter: input keys (..., 2) uint32, output (..., n) of unsigned elements, where
// the node's last axis is n. Bytes of the stream are the same for every element width.
class RandomBits final : public Primitive {
 public:
  RandomBits() : Primitive(Kind::random_bits) { make_immortal(); }
  bool differentiable() const override { return false; }
  CERMET_SHAPE_RULES("random_bits")
};

// A leaf whose elements come from outside, from a file say, when they are first asked for. What
// goes wrong there is an error of the system (std::system_error): then it can be asked for again.
class Load : public Primitive {
 public:
  Load() : Primitive(Kind::load) {}
  std::string_view name() const override { return "load"; }
  // Only the object itself is known to give the same.
  bool equals(const Primitive& o) const override { return this == &o; }
  // Bytes of the row-major elements from `begin` on, by any thread. Where `in_pieces`, several
  // threads may read a piece each, of a multiple of 16 bytes; else all bytes are read at once.
  virtual void read(std::uint64_t begin, std::span<std::byte> out) const = 0;
  virtual bool in_pieces() const { return true; }
};

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

// Inputs: a and the update, which has the shape of the slice. To combine it with the slice is a
// composite: the slice is set to what they give. Planning joins several that set slices of one
// array, which have no element in common: then the other updates follow.
class SliceUpdate final : public Composite {
 public:
  struct Slice {
    Shape start, step;
    bool operator==(const Slice&) const = default;
  };
  SliceUpdate(Shape start, Shape step, Update mode)
      : Composite(mode == Update::set ? Kind::slice_update : Kind::composite),
        start(std::move(start)),
        step(std::move(step)),
        mode(mode) {}
  explicit SliceUpdate(std::vector<Slice> slices)
      : Composite(Kind::slice_update),
        start(std::move(slices[0].start)),
        step(std::move(slices[0].step)),
        mode(Update::set),
        others(std::make_move_iterator(slices.begin() + 1), std::make_move_iterator(slices.end())) {
  }
  const Shape start, step;
  const Update mode;
  const std::vector<Slice> others;
  CERMET_FIELDS(start, step, mode)  // a trace has no others
  // Of input i >= 1.
  const Shape& start_of(std::size_t i) const { return i == 1 ? start : others[i - 2].start; }
  const Shape& step_of(std::size_t i) const { return i == 1 ? step : others[i - 2].step; }
  bool equals(const Primitive& o) const override {
    const auto* s = dynamic_cast<const SliceUpdate*>(&o);
    return s && tied() == s->tied() && others == s->others;
  }
  Arrays expand(const Node& node, std::span<const array> inputs) const override;
  Rules rules() const override { return Rules::all; }
  std::string parameters() const override;
  CERMET_RULES("slice_update")
  array add_jvp(const Edge& e, const array& tangent, const array& sum) const override;
};

// A routine of linear algebra, applied to every matrix (..., m, n); all inputs' other axes are
// equal.
class Factorization final : public Several {
 public:
  enum class Routine : std::uint8_t {
    qr,
    svd,
    singular_values,
    pinv,
    eigh,
    eigvalsh,
    eig,
    eigvals,
    cholesky,
    lu,
    tri_inv,
    solve,
    solve_triangular,
  };
  // `op` is the operation for errors; `entry` are the results of one matrix.
  Factorization(std::string op, Routine routine, bool upper, Results entry)
      : Several(Kind::factorization),
        op(std::move(op)),
        routine(routine),
        upper(upper),
        entry(std::move(entry)) {}
  const std::string op;
  const Routine routine;
  const bool upper;
  const Results entry;
  // Those of a batch of matrices that has this shape.
  Results results(const Shape& input) const;
  std::string_view name() const override { return op; }
  std::string parameters() const override { return upper ? "upper=true" : ""; }
  CERMET_PARAMETERS(op, routine, upper, entry)
  std::vector<std::optional<array>> vjp_all(std::span<const array> inputs, const Arrays& outputs,
                                            const Arrays& cotangents) const override;
  Arrays jvp_all(std::span<const array> inputs, const Arrays& outputs,
                 const std::vector<std::optional<array>>& tangents) const override;
  Arrays vmap_all(const Batched& in, const Arrays& outputs) const override;
};

// Several results with rules of their own.
class Custom : public Several {
 public:
  Custom() : Several(Kind::custom) {}
  // Its rules may be any function: only the object itself is known to be the same.
  bool equals(const Primitive& o) const override { return this == &o; }
  // Computes the outputs from evaluated inputs, on the CPU. Runs without Python's lock.
  virtual Arrays run(std::span<const array> inputs) const = 0;
};

// A user's kernel for the GPU: its source and how it is launched.
class GpuKernel final : public Custom {
 public:
  // What an input brings along besides its elements.
  struct Facts {
    bool shape, strides, ndim;
  };
  struct Launch {
    std::string kernel, source;
    std::array<std::uint32_t, 3> grid, group;
    std::vector<Facts> inputs;
    bool row_contiguous;
    std::optional<double> init;
    Results results;
  };
  explicit GpuKernel(Launch launch) : launch(std::move(launch)) {}
  const Launch launch;
  std::string_view name() const override { return launch.kernel; }
  Arrays run(std::span<const array>) const override {
    throw std::invalid_argument("metal_kernel: " + launch.kernel + " runs on the GPU only");
  }
};
// The results of a node with several as arrays: the node and one Pick for each.
Arrays make_outputs(Ref<const Primitive> primitive, Results results, SmallVector<array, 2> inputs,
                    Stream stream);

// Marks the run of a traced function by this thread. Until it ends, evaluation by any thread keeps
// the graph of what depends on the function's inputs.
class Tracing {
 public:
  Tracing();
  ~Tracing();
  Tracing(const Tracing&) = delete;
  Tracing& operator=(const Tracing&) = delete;
  // Grows with time, so that no node made before this trace has one as large: a walk that follows
  // only nodes with trace >= id() touches nothing another thread may be evaluating.
  std::uint64_t id() const { return id_; }

 private:
  std::uint64_t id_, outer_;
};
// Whether a trace that has not ended, of whatever thread, may need a node's graph.
bool is_traced(const Node& node);
// A node of the innermost trace that has the value of `a`.
array make_tracer(const array& a);
// A node of the innermost trace that has no value: to evaluate it is an error. `what` names the
// transform.
array make_placeholder(const Shape& shape, Dtype dtype, std::string_view what);

}  // namespace cermet
