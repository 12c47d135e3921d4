// The table of primitives. A row is a name and a class; its fields follow from the class, and
// `make` is the one thing to write: how a program comes to such a node. What a file says is thus
// checked where a program's arguments are.
#include "export/primitives.h"

#include <array>

#include "cermet/fast.h"
#include "cermet/linalg.h"
#include "graph/check.h"
#include "graph/follow.h"
#include "graph/rules.h"

namespace cermet::exported {

void Site::takes(std::size_t least, std::size_t most) const {
  if (inputs.size() < least || inputs.size() > most)
    throw std::invalid_argument("it has " + std::to_string(inputs.size()) + " inputs");
}

namespace {

constexpr std::size_t kAny = static_cast<std::size_t>(-1);

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(what);
}
// What kernels take for granted of operands.
void require_types(const Site& at, std::initializer_list<std::size_t> inputs) {
  for (const std::size_t i : inputs)
    require(at[i].dtype() == at.dtype, "its inputs are of other types");
}
void require_ndim(const array& a, int ndim) {
  require(a.ndim() == ndim, "an input has another number of dimensions");
}

// A node that nobody makes by a call: its inputs were checked, its shape and type are those of its
// expansion.
template <class P>
array node(const P& p, const Site& at) {
  const Stream stream = at.s.resolve();
  array made(Ref<const Primitive>(&p), at.shape, at.dtype, {at.inputs.begin(), at.inputs.end()},
             stream);
  if constexpr (std::is_base_of_v<Composite, P>) {
    const StreamContext context(stream);
    const Arrays results = p.expand(*made.node(), at.inputs);
    require(
        results.size() == 1 && rule_shape(results[0]) == at.shape && results[0].dtype() == at.dtype,
        "its expansion has another shape or type");
  }
  return made;
}

// The end of a slice of that many elements.
Shape stop_of(const Shape& start, const Shape& step, const Shape& count) {
  require(start.size() == count.size() && step.size() == count.size(),
          "the slice has another number of dimensions");
  Shape stop = start;
  for (std::size_t i = 0; i < stop.size(); ++i)
    if (count[i] > 0)
      stop[i] =
          ((Size("slice", count[i] - 1) * step[i] + start[i]) + (step[i] > 0 ? 1 : -1)).value();
  return stop;
}

Arrays from(const Site& at, std::size_t first) {
  return {at.inputs.begin() + static_cast<std::ptrdiff_t>(first), at.inputs.end()};
}

// ---- One result, of elements ----

array make(const Elementwise& p, const Site& at) {
  at.takes(static_cast<std::size_t>(info(p.op).arity));
  return p.op == Op::cast ? astype(at[0], at.dtype, at.s) : elementwise(p.op, at.inputs, at.s);
}
array make(const Reduce& p, const Site& at) {
  at.takes(1);
  return reduce(p.op, at[0], p.axes, false, at.s);
}
array make(const Broadcast&, const Site& at) {
  at.takes(1);
  return broadcast_to(at[0], at.shape, at.s);
}
array make(const Reshape& p, const Site& at) {
  at.takes(1);
  const Shape& from = rule_shape(at[0]);
  require(p.spec.size() == at.shape.size() && element_count(at.shape) == rule_size(at[0]),
          "the elements do not fill its shape");
  int rest = 0;
  for (std::size_t i = 0; i < p.spec.size(); ++i) {
    std::int64_t n = p.spec[i];
    if (n == -1) {
      ++rest;
      continue;
    }
    if (n < -1) {
      const auto axis = static_cast<std::size_t>(Reshape::extent_of(n));
      require(axis < from.size(), "it has no such axis");
      n = from[axis];
    }
    require(n == at.shape[i], "it does not lead to its shape");
  }
  require(rest < 2, "it leaves two extents open");
  return array(Ref<const Primitive>(&p), at.shape, at[0].dtype(), {at[0]}, at.s.resolve());
}
array make(const Transpose& p, const Site& at) {
  at.takes(1);
  return transpose(at[0], p.axes, at.s);
}
array make(const Slice& p, const Site& at) {
  at.takes(1);
  return slice(at[0], p.start, stop_of(p.start, p.step, at.shape), p.step, at.s);
}
array make(const AsStrided& p, const Site& at) {
  at.takes(1);
  return as_strided(at[0], at.shape, p.strides, p.offset, at.s);
}
array make(const Bitcast&, const Site& at) {
  at.takes(1);
  return view(at[0], at.dtype, at.s);
}
array make(const Identity& p, const Site& at) {
  at.takes(1, kAny);
  if (p.why == Identity::Why::stop_gradient) return stop_gradient(at[0], at.s);
  return at.inputs.size() == 1 ? at[0] : depends({at[0]}, from(at, 1))[0];
}
array make(const Contiguous& p, const Site& at) {
  at.takes(1);
  return contiguous(at[0], p.allow_col_major, at.s);
}
array make(const Concatenate& p, const Site& at) {
  at.takes(1, kAny);
  return concatenate(from(at, 0), p.axis, at.s);
}
array make(const Gather& p, const Site& at) {
  at.takes(1 + p.axes.size());
  return gather(at[0], from(at, 1), p.axes, at.s);
}
array make(const Scatter& p, const Site& at) {
  at.takes(2 + p.axes.size());
  return scatter(at[0], from(at, 2), at[1], p.axes, p.mode, at.s);
}
array make(const SliceUpdate& p, const Site& at) {
  at.takes(2);
  const Shape stop = stop_of(p.start, p.step, rule_shape(at[1]));
  return slice_update(at[0], at[1], p.start, stop, p.step, p.mode, at.s);
}
array make(const ArgReduce& p, const Site& at) {
  at.takes(1);
  return p.max ? argmax(at[0], p.axis, true, at.s) : argmin(at[0], p.axis, true, at.s);
}
array make(const Scan& p, const Site& at) {
  at.takes(1);
  return scan(p.op, at[0], p.axis, p.reverse, p.inclusive, at.s);
}
array make(const Sort& p, const Site& at) {
  at.takes(1);
  if (p.kth < 0) return p.indices ? argsort(at[0], p.axis, at.s) : sort(at[0], p.axis, at.s);
  return p.indices ? argpartition(at[0], p.kth, p.axis, at.s)
                   : partition(at[0], p.kth, p.axis, at.s);
}
array make(const Fft& p, const Site& at) {
  at.takes(1);
  const Shape& from = rule_shape(at[0]);
  require(p.axis >= 0 && static_cast<std::size_t>(p.axis) < from.size() && p.points(from) > 0 &&
              p.result(from) == at.shape,
          "a Fourier transform does not lead to its shape");
  require(at[0].dtype() == (p.type == Fft::Type::real ? float32 : complex64) &&
              at.dtype == (p.type == Fft::Type::half ? float32 : complex64),
          "a Fourier transform is of other types");
  return node(p, at);
}
array make(const RandomBits& p, const Site& at) {
  at.takes(1);
  Shape keys = rule_shape(at[0]);
  require(at[0].dtype() == uint32 && !keys.empty() && keys.back() == 2 && !at.shape.empty(),
          "a random key is not two numbers of uint32");
  keys.back() = at.shape.back();
  require(keys == at.shape && is_unsigned(at.dtype), "random bits are not of its type or shape");
  return node(p, at);
}
array make(const Count& p, const Site& at) {
  at.takes(1);
  const Axes& axes = p.options.axes;
  require(axes == normalize_axes("count", axes, at[0].ndim()) && p.options.less >= 0,
          "it does not count along axes");
  return node(p, at);
}
array make(const Filled& p, const Site& at) {
  at.takes(2);
  return node(p, at);
}
array make(const SearchSorted& p, const Site& at) {
  at.takes(2);
  return searchsorted(at[0], at[1], p.options, at.s);
}
array make(const TakeAlongAxis& p, const Site& at) {
  at.takes(2);
  return take_along_axis(at[0], at[1], p.options, at.s);
}

// ---- Products ----

array make(const Matmul&, const Site& at) {
  at.takes(2);
  return matmul(at[0], at[1], at.s);
}
array make(const Addmm& p, const Site& at) {
  at.takes(3);
  return addmm(at[0], at[1], at[2], p.alpha, p.beta, at.s);
}
array make(const QuantizedMatmul& p, const Site& at) {
  const auto& [mode, bits, group, transpose] = p.options;
  const std::size_t parts = 1 + p.options.parts();
  at.takes(parts, parts + 1);
  return quantized_matmul(at[0], at[1], at[2], at.at(3, parts > 3), transpose, group, bits, mode,
                          at.at(parts), at.s);
}
array make(const GatheredMatmul& p, const Site& at) {
  const GatheredOptions& o = p.options;
  const std::size_t first = o.factors() + o.global_scale;
  at.takes(first + o.left + o.right + o.sums.has_value());
  const auto left = at.at(first, o.left), right = at.at(first + o.left, o.right);
  const array product =
      !o.format ? gather_mm(at[0], at[1], left, right, at.s)
                : gather_qmm(at[0], at[1], at[2], at.at(3, o.format->is_affine()), left, right,
                             o.format->transpose, o.format->group_size, o.format->bits,
                             o.format->mode, at.at(o.factors(), o.global_scale), at.s);
  if (!o.sums) return product;
  require(product.dtype() == at.dtype && *o.sums >= 0 && is_integer(at.inputs.back().dtype()),
          "sums of products are not of their type");
  for (std::size_t i = 0; i < first; ++i)  // as the product itself has them
    require(at[i].is_same(product.inputs()[i]), "its inputs are of other types");
  return node(p, at);
}
array make(const BlockMaskedMatmul& p, const Site& at) {
  const BlockMaskedOptions& o = p.options;
  at.takes(2u + o.out + o.left + o.right);
  return block_masked_mm(at[0], at[1], o.block_size, at.at(2, o.out), at.at(2u + o.out, o.left),
                         at.at(2u + o.out + o.left, o.right), at.s);
}
array make(const SegmentedMatmul& p, const Site& at) {
  at.takes(3);
  if (!p.options) return segmented_mm(at[0], at[1], at[2], at.s);
  const array &x = at[0], &y = at[1], &segments = at[2];
  require_types(at, {0, 1});
  require_ndim(y, 2);
  require(x.ndim() >= 2 && x.ndim() == segments.ndim() + 1 && is_integer(segments.dtype()) &&
              segments.shape(-1) == 2 && x.shape(-1) == y.shape(0) && is_inexact(at.dtype) &&
              std::equal(segments.shape().begin(), segments.shape().end() - 1, x.shape().begin()),
          "segments do not fit what they are spread over");
  return node(p, at);
}

// ---- Quantizing ----

array make(const Dequantize& p, const Site& at) {
  const QuantizedFormat& f = p.options;
  const std::size_t parts = f.parts();
  at.takes(parts, parts + 1);
  return dequantize(at[0], at[1], at.at(2, parts > 2), f.group_size, f.bits, f.mode, at.at(parts),
                    at.dtype, at.s);
}
// Checks what is quantized, and gives the shape of a number for each group.
Shape groups_of(const QuantizedFormat& f, const array& x, const std::optional<array>& global) {
  constexpr std::string_view op = "quantize";
  format_of(op, f.mode, f.group_size, f.bits);
  require_floating(op, x.dtype());
  Shape groups = x.shape();
  require(groups.size() >= 2 && groups.back() % f.group_size == 0, "groups do not fit");
  groups.back() /= f.group_size;
  if (global) check_global(op, f.mode, *global, groups);
  return groups;
}
array make(const QuantizeScales& p, const Site& at) {
  at.takes(1, p.options.is_affine() ? 1 : 2);
  groups_of(p.options, at[0], at.at(1));
  return node(p, at);
}
array make(const QuantizeWords& p, const Site& at) {
  const bool affine = p.options.is_affine();
  at.takes(affine ? 3 : 2, 3);
  const Shape groups = groups_of(p.options, at[0], at.at(2, !affine));
  const Dtype t = affine ? accurate(at[0].dtype()) : uint8;
  for (std::size_t i = 1; i < p.options.parts(); ++i)
    require(at[i].shape() == groups && at[i].dtype() == t, "scales do not fit");
  return node(p, at);
}
array make(const Requantize& p, const Site& at) {
  at.takes(1, 2);
  require_types(at, {0});
  require(!p.options.is_affine(), "it is not a format of floats");
  groups_of(p.options, at[0], at.at(1));
  return node(p, at);
}

// ---- Attention ----

// Throws unless the first inputs are those of an attention; gives its output's shape.
Shape check_attention(const AttentionOptions& o, const Site& at) {
  require_types(at, {0, 1, 2});
  const auto mask = at.at(3, o.mask);
  const array out =
      fast::scaled_dot_product_attention(at[0], at[1], at[2], o.scale, mask, o.causal, {}, at.s);
  if (mask) require(!is_integer(mask->dtype()), "a mask is of integers");
  if (o.sinks) {
    const array& sinks = at[3u + o.mask];
    const std::int64_t n = at[0].shape(0), heads = at[0].shape(1);
    require(is_inexact(sinks.dtype()) && !is_complex(sinks.dtype()) &&
                (sinks.shape() == Shape{heads} || sinks.shape() == Shape{n, heads}),
            "sinks do not fit the heads");
  }
  return out.shape();
}
array make(const Attention& p, const Site& at) {
  at.takes(3u + p.options.mask + p.options.sinks);
  check_attention(p.options, at);
  return node(p, at);
}
array make(const AttentionGradient& p, const Site& at) {
  const std::size_t n = 3u + p.options.mask + p.options.sinks;
  at.takes(n + 2);
  const Shape out = check_attention(p.options, at);
  require_types(at, {n, n + 1});
  require(at[n].shape() == out && at[n + 1].shape() == out, "an output has another shape");
  return node(p, at);
}

// ---- Convolutions ----

array make(const Convolution& p, const Site& at) {
  at.takes(2);
  return conv_general(at[0], at[1], p.options, at.s);
}
// (first, *extents, last)
Shape around(std::int64_t first, const Shape& extents, std::int64_t last) {
  Shape shape{first};
  for (const std::int64_t n : extents) shape.push_back(n);
  shape.push_back(last);
  return shape;
}
// Whether a convolution of such an input and weight gives what the cotangent is one of.
void check_cotangent(const ConvolutionGradientOptions& o, const array& input, const array& weight,
                     const array& cotangent, const Site& at) {
  require_types(at, {0, 1});
  require(weight.shape(-1) > 0, "a convolution of nothing");  // which is no node
  require(conv_general(input, weight, o.forward, at.s).shape() == cotangent.shape(),
          "the cotangent is not a convolution's");
}
array make(const ConvolutionInputGradient& p, const Site& at) {
  at.takes(2);
  const auto& o = p.options;
  require(at[0].ndim() == at[1].ndim() && at[0].ndim() > 2, "its inputs differ in dimensions");
  const std::int64_t channels = (Size(p.name(), at[1].shape(-1)) * o.forward.groups).value();
  const Shape input = around(at[0].shape(0), o.extents, channels);
  check_cotangent(o, zeros(input, at.dtype, at.s), at[1], at[0], at);
  return node(p, at);
}
array make(const ConvolutionWeightGradient& p, const Site& at) {
  at.takes(2);
  const auto& o = p.options;
  require(at[0].ndim() == at[1].ndim() && at[0].ndim() > 2 && o.forward.groups > 0,
          "its inputs differ in dimensions");
  const Shape weight = around(at[1].shape(-1), o.extents, at[0].shape(-1) / o.forward.groups);
  check_cotangent(o, at[0], zeros(weight, at.dtype, at.s), at[1], at);
  return node(p, at);
}
array make(const MaxPool& p, const Site& at) {
  using Role = MaxPoolOptions::Role;
  const MaxPoolOptions& o = p.options;
  at.takes(o.role == Role::maximum ? 1 : 2);
  const array pooled = fast::max_pool(at[0], o.kernel, o.stride, o.padding, at.s);
  if (o.role == Role::maximum) return pooled;
  require_types(at, {0, 1});
  require(at[1].shape() == (o.role == Role::pick ? at[0].shape() : pooled.shape()),
          "its second input has another shape");
  return node(p, at);
}
array make(const Rope& p, const Site& at) {
  const auto& [dims, traditional, base, scale] = p.options;
  at.takes(base ? 2 : 3);
  return fast::rope(at[0], dims, traditional, base, scale, at[1], at.at(2, !base), at.s);
}

// ---- Derivatives, where extents are open ----

array make(const Pulled& p, const Site& at) {
  const Pull& pull = p.pull;
  at.takes(3u + pull.adds, kAny);
  const std::size_t n = at.inputs.size() - 2 - pull.adds;
  const array &output = at[n], &cotangent = at[n + 1];
  const auto i = static_cast<std::size_t>(pull.i);
  const auto alike = [](const array& a, const array& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype();
  };
  require(i < n && pull.primitive->differentiable() && pull.primitive->differentiable_by(pull.i),
          "there is no such derivative");
  const Site site{at.inputs.first(n), output.shape(), output.dtype(), at.s};
  require(alike(entry_of(*pull.primitive)->make(*pull.primitive, site), output) &&
              alike(cotangent, output) && (!pull.adds || alike(at.inputs.back(), at[i])),
          "a derivative is of other arrays");
  return pull(at.inputs);
}

// ---- Several results ----

array make(const Factorization& p, const Site& at) {
  using Routine = Factorization::Routine;
  const bool solves = p.routine == Routine::solve || p.routine == Routine::solve_triangular;
  at.takes(solves ? 2 : 1);
  const array& a = at[0];
  const auto result = [&]() -> array {
    switch (p.routine) {
      case Routine::qr: return linalg::qr(a, at.s).first;
      case Routine::svd: return std::get<0>(linalg::svd(a, at.s));
      case Routine::singular_values: return linalg::singular_values(a, at.s);
      case Routine::pinv: return linalg::pinv(a, at.s);
      case Routine::eigh: return linalg::eigh(a, p.upper, at.s).first;
      case Routine::eigvalsh: return linalg::eigvalsh(a, p.upper, at.s);
      case Routine::eig: return linalg::eig(a, at.s).first;
      case Routine::eigvals: return linalg::eigvals(a, at.s);
      case Routine::cholesky: return linalg::cholesky(a, p.upper, at.s);
      case Routine::lu: return linalg::lu_factor(a, at.s).first;
      case Routine::tri_inv: return linalg::tri_inv(a, p.upper, at.s);
      case Routine::solve: return linalg::solve(a, at[1], at.s);
      case Routine::solve_triangular: return linalg::solve_triangular(a, at[1], p.upper, at.s);
    }
    return a;
  }();
  require(result.primitive() && result.primitive()->kind() == Kind::pick,
          "a factorization is not of such matrices");
  return result.inputs()[0];
}

// ---- The table ----

template <class P>
Ref<const Primitive> read(Reader& in) {
  return std::apply(
      [](auto... field) -> Ref<const Primitive> {
        if constexpr (requires { P::instance(field...); })
          return P::instance(field...);
        else if constexpr (sizeof...(field) == 0)
          return the<P>();
        else
          return make_ref<const P>(std::move(field)...);
      },
      get_fields<P>(in));
}

template <class P>
constexpr Entry row(std::string_view name) {
  return {name,
          &typeid(P),
          [](Bytes& out, const Primitive& p) { put(out, static_cast<const P&>(p)); },
          [](const Primitive& p) {
            Values out;
            put(out, static_cast<const P&>(p));
            return out.take();
          },
          &read<P>,
          [](const Primitive& p, const Site& at) { return make(static_cast<const P&>(p), at); }};
}

// Names are for good. Without a row are those without inputs (constant, arange, load), which are
// constants of a function; calls of compiled functions, which are expanded; operations that a
// shapeless trace does again; and kernels of users, as a file holds no code.
const Entry kEntries[] = {
    row<Elementwise>("elementwise"),
    row<Reduce>("reduce"),
    row<Broadcast>("broadcast"),
    row<Reshape>("reshape"),
    row<Transpose>("transpose"),
    row<Slice>("slice"),
    row<AsStrided>("as_strided"),
    row<Bitcast>("bitcast"),
    row<Identity>("identity"),
    row<Contiguous>("contiguous"),
    row<Concatenate>("concatenate"),
    row<Gather>("gather"),
    row<Scatter>("scatter"),
    row<SliceUpdate>("slice_update"),
    row<ArgReduce>("arg_reduce"),
    row<Scan>("scan"),
    row<Sort>("sort"),
    row<Fft>("fft"),
    row<RandomBits>("random_bits"),
    row<Count>("count"),
    row<Filled>("filled"),
    row<SearchSorted>("searchsorted"),
    row<TakeAlongAxis>("take_along_axis"),
    row<Matmul>("matmul"),
    row<Addmm>("addmm"),
    row<QuantizedMatmul>("quantized_matmul"),
    row<GatheredMatmul>("gathered_matmul"),
    row<BlockMaskedMatmul>("block_masked_matmul"),
    row<SegmentedMatmul>("segmented_matmul"),
    row<Dequantize>("dequantize"),
    row<QuantizeScales>("quantize_scales"),
    row<QuantizeWords>("quantize_words"),
    row<Requantize>("requantize"),
    row<Attention>("attention"),
    row<AttentionGradient>("attention_gradient"),
    row<Convolution>("convolution"),
    row<ConvolutionInputGradient>("convolution_input_gradient"),
    row<ConvolutionWeightGradient>("convolution_weight_gradient"),
    row<MaxPool>("max_pool"),
    row<Rope>("rope"),
    row<Factorization>("factorization"),
    row<Pulled>("vjp"),
};

}  // namespace

std::span<const Entry> entries() { return kEntries; }

// So that fields end.
static bool is_field(const Primitive& p) {
  return p.kind() != Kind::factorization && !dynamic_cast<const Pulled*>(&p) && entry_of(p);
}
void put(Bytes& out, const Ref<const Primitive>& primitive) {
  const Entry* entry = entry_of(*primitive);
  out.text(entry->name);
  entry->write(out, *primitive);
}
void put(Values& out, const Ref<const Primitive>& primitive) { out.text(primitive->name()); }
Ref<const Primitive> get_primitive(Reader& in) {
  const Entry* entry = entry_named(in.text());
  require(entry && *entry->type != typeid(Pulled), "a field is no primitive");
  Ref<const Primitive> primitive = entry->read(in);
  require(is_field(*primitive), "a field is no such primitive");
  return primitive;
}

const Entry* entry_of(const Primitive& primitive) {
  const auto* pulled = dynamic_cast<const Pulled*>(&primitive);
  if (pulled && !is_field(*pulled->pull.primitive)) return nullptr;
  for (const Entry& e : kEntries)
    if (*e.type == typeid(primitive)) return &e;
  return nullptr;
}
const Entry* entry_named(std::string_view name) {
  for (const Entry& e : kEntries)
    if (e.name == name) return &e;
  return nullptr;
}

}  // namespace cermet::exported
