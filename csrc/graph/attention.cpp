// Attention: the softmax of products of queries and keys, as weights of values.
#include "cermet/fast.h"
#include "graph/check.h"
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace fast {

array scaled_dot_product_attention(const array& q, const array& k, const array& v, double scale,
                                   const std::optional<array>& mask, bool causal,
                                   const std::optional<array>& sinks, StreamOrDevice s) {
  constexpr std::string_view op = "scaled_dot_product_attention";
  for (const array& a : {q, k, v})
    if (a.ndim() != 4) fail(op, "expected 4 dimensions, got shape ", a.shape());
  const std::int64_t batch = q.shape(0), heads = q.shape(1), rows = q.shape(2), dim = q.shape(3);
  const std::int64_t groups = k.shape(1), columns = k.shape(2);
  if (k.shape(0) != batch || k.shape(3) != dim || v.shape(0) != batch || v.shape(1) != groups ||
      v.shape(2) != columns || groups == 0 || heads % groups != 0)
    fail(op, "queries ", q.shape(), ", keys ", k.shape(), " and values ", v.shape(), " do not fit");
  const Dtype t = promote(promote(q.dtype(), k.dtype()), v.dtype());
  require_floating(op, t);
  if (mask && causal) fail(op, "both a mask and causal are given");
  SmallVector<array, 2> inputs{astype(q, t, s), astype(k, t, s), astype(v, t, s)};
  if (mask) {
    const Shape full{batch, heads, rows, columns};
    if (!broadcasts_to(mask->shape(), full))
      fail(op, "the mask of shape ", mask->shape(), " does not broadcast to ", full);
    if (promote(mask->dtype(), t) != t)
      fail(op, "the mask is ", mask->dtype(), ", which does not promote to ", t);
    inputs.push_back(is_integer(mask->dtype()) ? astype(*mask, t, s) : *mask);
  }
  if (sinks) {
    if (sinks->shape() != Shape{heads})
      fail(op, "sinks have shape ", sinks->shape(), ", expected ", Shape{heads});
    inputs.push_back(is_inexact(sinks->dtype()) ? *sinks : astype(*sinks, t, s));
  }
  const AttentionOptions options{scale, causal, mask.has_value(), sinks.has_value()};
  return array(make_ref<const Attention>(options), {batch, heads, rows, v.shape(3)}, t,
               std::move(inputs), s.resolve());
}

}  // namespace fast

namespace {

// What the expansions have in common. Weights are in float32 or float64.
class Parts {
 public:
  Parts(const AttentionOptions& options, std::span<const array> inputs, Stream stream)
      : options_(options),
        inputs_(inputs),
        s_(stream),
        t_(q().dtype()),
        wide_(accurate(t_)),
        full_{q().shape(0), q().shape(1), q().shape(2), k().shape(2)} {}

  const array& q() const { return inputs_[0]; }
  const array& k() const { return inputs_[1]; }
  const array& v() const { return inputs_[2]; }

  // The queries that share a head of keys as the rows of one matrix: keys are not repeated.
  array grouped(const array& a) const {
    return reshape(a, {full_[0], k().shape(1), full_[1] / k().shape(1) * full_[2], a.shape(3)}, s_);
  }
  array like(const array& a, const array& b) const { return reshape(a, b.shape(), s_); }
  array narrow(const array& a) const { return astype(a, t_, s_); }
  array widen(const array& a) const { return astype(a, wide_, s_); }
  array scaled(const array& a) const { return multiply(a, array(options_.scale, t_), s_); }
  array turned(const array& a) const { return swapaxes(a, -1, -2, s_); }
  array products(const array& rows, const array& keys) const {
    return reshape(widen(matmul(grouped(rows), turned(keys), s_)), full_, s_);
  }

  // Which keys a row sees, where that is a condition.
  std::optional<array> attends() const {
    if (options_.mask && inputs_[3].dtype() == Dtype::bool_) return inputs_[3];
    if (!options_.causal) return std::nullopt;
    // The last query sees every key.
    const auto columns = static_cast<double>(full_[3]), rows = static_cast<double>(full_[2]);
    const array row = arange(columns - rows, columns, 1, int32, s_);
    return greater_equal(expand_dims(row, {1}, s_), arange(full_[3], s_), s_);
  }

  struct Weights {
    array keys;
    std::optional<array> sink;
  };
  Weights weights() const {
    array scores = products(scaled(q()), k());
    if (const auto seen = attends())
      scores = select(*seen, scores, array(-std::numeric_limits<float>::max(), wide_), s_);
    else if (options_.mask)
      scores = add(scores, widen(inputs_[3]), s_);
    if (!options_.sinks) return {softmax(scores, Axes{-1}, true, s_), std::nullopt};
    // One more score a head that takes part in the sum alone.
    const array& sinks = inputs_[3 + options_.mask];
    const array sink = reshape(widen(sinks), {-1, full_[1], 1, 1}, s_);
    const array high = stop_gradient(maximum(max(scores, Axes{-1}, true, s_), sink, s_), s_);
    const array e = exp(subtract(scores, high, s_), s_), f = exp(subtract(sink, high, s_), s_);
    const array total = add(sum(e, Axes{-1}, true, s_), f, s_);
    return {divide(e, total, s_), divide(f, total, s_)};
  }

  // The cotangent of the output, weighted by it: what the slopes of a row's scores have in common.
  array mean(const array& output, const array& cotangent) const {
    return sum(multiply(widen(cotangent), widen(output), s_), Axes{-1}, true, s_);
  }
  array score_cotangent(const array& weights, const array& output, const array& cotangent) const {
    const array slopes = subtract(products(cotangent, v()), mean(output, cotangent), s_);
    const array found = multiply(weights, slopes, s_);
    const auto seen = attends();
    return seen ? select(*seen, found, array(0.0, wide_), s_) : found;
  }

 private:
  const AttentionOptions& options_;
  const std::span<const array> inputs_;
  const StreamOrDevice s_;
  const Dtype t_, wide_;
  const Shape full_;
};

std::string parameters_of(const AttentionOptions& options) {
  return "scale=" + std::to_string(options.scale) + (options.causal ? ", causal" : "") +
         (options.mask ? ", mask" : "") + (options.sinks ? ", sinks" : "");
}

// Entries of a batch as entries of the node's own: `count` inputs, of which `sinks` has two axes.
SmallVector<array, 2> fold_entries(const Batched& in, std::int64_t n, std::size_t sinks) {
  SmallVector<array, 2> folded;
  for (std::size_t i = 0; i < in.inputs.size(); ++i) {
    const int axes = i == sinks ? 2 : 4;
    array a = in.inputs[i];
    if (in.flags[i] || (a.ndim() == axes && a.shape(0) == n)) {
      a = expand_entries(Batched{{&a, 1}, {&in.flags[i], 1}, in.size}.all()[0], axes);
      Shape shape = a.shape();
      shape[1] = n;
      a = fold_batch(broadcast_to(a, shape));
    }
    folded.push_back(a);  // what has no entries of its own serves all
  }
  return folded;
}
std::size_t sinks_of(const AttentionOptions& options) {
  return options.sinks ? 3u + options.mask : static_cast<std::size_t>(-1);
}

}  // namespace

std::string Attention::parameters() const { return parameters_of(options); }

Arrays Attention::expand(const Node& node, std::span<const array> inputs) const {
  const Parts p(options, inputs, node.stream);
  const StreamOrDevice s = node.stream;
  const array weights = p.narrow(p.weights().keys);
  const array& q = p.q();
  return {reshape(matmul(p.grouped(weights), p.v(), s),
                  {q.shape(0), q.shape(1), q.shape(2), p.v().shape(3)}, s)};
}

array Attention::vmap(const Batched& in, const array& output) const {
  const SmallVector<array, 2> folded = fold_entries(in, output.shape(0), sinks_of(options));
  Shape shape = output.shape();
  shape[0] *= in.size;
  const array out(Ref<const Primitive>(this), shape, output.dtype(), folded, output.stream());
  return reshape(out, batch_shape(in.size, output.shape()));
}

std::vector<std::optional<array>> Attention::vjp_together(std::span<const array> inputs,
                                                          const array& output,
                                                          const array& cotangent) const {
  SmallVector<array, 2> all(inputs.begin(), inputs.end());
  all.push_back(output);
  all.push_back(cotangent);
  std::vector<std::optional<array>> found(inputs.size());
  std::int64_t size = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (AttentionGradient::gives(options, i)) size += inputs[i].size();
  const array flat(make_ref<const AttentionGradient>(options), {size}, output.dtype(),
                   std::move(all), output.stream());
  std::int64_t at = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!AttentionGradient::gives(options, i)) continue;
    const std::int64_t end = at + inputs[i].size();
    found[i] = reshape(section(flat, 0, at, end, 1, output.stream()), inputs[i].shape());
    at = end;
  }
  return found;
}

array Attention::vjp(const Edge& e, const array& cotangent) const {
  if (AttentionGradient::gives(options, static_cast<std::size_t>(e.i)))
    return *vjp_together(e.inputs, e.output, cotangent)[static_cast<std::size_t>(e.i)];
  if (e.input().dtype() == Dtype::bool_) return zeros_like(e.input());
  // An added mask's is as large as the scores unless it was repeated.
  const Parts p(options, e.inputs, e.output.stream());
  return sum_to_shape(p.score_cotangent(p.weights().keys, e.output, cotangent), e.input().shape());
}

// ---- The gradient ----

bool AttentionGradient::gives(const AttentionOptions& options, std::size_t i) {
  return i < 3 || i == sinks_of(options);
}
std::string AttentionGradient::parameters() const { return parameters_of(options); }

Arrays AttentionGradient::expand(const Node& node, std::span<const array> inputs) const {
  const Parts p(options, inputs, node.stream);
  const StreamOrDevice s = node.stream;
  const array &output = inputs[inputs.size() - 2], &cotangent = inputs.back();
  const auto [weights, sink] = p.weights();
  const array slopes = p.narrow(p.score_cotangent(weights, output, cotangent));
  const array scaled = p.grouped(p.scaled(slopes)), rows = p.grouped(cotangent);
  Arrays found{
      matmul(scaled, p.k(), s),
      matmul(p.turned(scaled), p.grouped(p.q()), s),
      matmul(p.turned(p.grouped(p.narrow(weights))), rows, s),
  };
  if (sink) {
    const array share = negative(multiply(*sink, p.mean(output, cotangent), s), s);
    const array& sinks = inputs[sinks_of(options)];
    const array each = sum(share, Axes{2, 3}, false, s);  // (n, heads)
    found.push_back(
        p.narrow(sinks.ndim() == 2 && sinks.shape(0) > 1 ? each : sum(each, Axes{0}, false, s)));
  }
  for (array& a : found) a = reshape(a, {-1}, s);
  return {concatenate(found, 0, s)};
}

}  // namespace cermet
