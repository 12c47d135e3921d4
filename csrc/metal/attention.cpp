// Attention and its gradient on the GPU: from types and extents to kernels of metal/attention.metal
// and metal/attention_gradient.metal.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "../../metal/arguments.h"
#include "metal/backend.h"

namespace cermet::metal {
namespace {

constexpr std::int64_t kMostDims = 256;  // of keys and of values: a row is held in registers

// A call: operands by name, and what all its kernels are told.
class AttentionCall {
 public:
  AttentionCall(Commands& commands, const AttentionOptions& options, std::span<const Tensor> inputs)
      : commands_(commands), options_(options), q_(inputs[0]), k_(inputs[1]), v_(inputs[2]) {
    set_strides(q_, p_.q);
    set_strides(k_, p_.k);
    set_strides(v_, p_.v);
    if (options.mask) set_strides(mask_ = inputs[3], p_.mask);
    if (options.sinks) {
      sinks_ = inputs[3 + options.mask];
      const bool apart = sinks_.shape.size() == 2 && sinks_.shape[0] > 1;
      p_.sinks[0] = apart ? sinks_.strides[0] : 0;
      p_.sinks[1] = sinks_.strides.back();
      p_.sinks_apart = apart;
      p_.sink_type = sinks_.dtype == float16    ? kSinkHalf
                     : sinks_.dtype == bfloat16 ? kSinkBfloat
                                                : kSinkFloat;
    }
    p_.entries = count(q_.shape[0]);
    p_.heads = count(q_.shape[1]);
    p_.shared = count(q_.shape[1] / k_.shape[1]);
    p_.rows = count(q_.shape[2]);
    p_.columns = count(k_.shape[2]);
    p_.dim = count(q_.shape[3]);
    p_.value_dim = count(v_.shape[3]);
    p_.part = p_.columns;
    p_.parts = 1;
    p_.scale = static_cast<float>(options.scale);
  }

  void forward(const Tensor& out) {
    add_work(dim() + value_dim());
    if (group_rows() <= kFewRows)
      few(out);
    else
      attend(value_dim(), out);
  }

  void gradient(const Tensor& output, const Tensor& cotangent, const Tensor& flat) {
    add_work(4 * dim() + 3 * value_dim());
    set_strides(output, p_.output);
    set_strides(cotangent, p_.cotangent);
    const Tensor logsumexp = commands_.temporary({entries(), heads(), rows()}, float32);
    const Tensor delta = commands_.temporary({entries(), heads(), rows()}, float32);
    attend(0, logsumexp);
    commands_.groups(kernel("attention_gradient", "deltas", {type()}),
                     {in(output), in(cotangent), out(delta), value(p_)},
                     {count(divide_up(rows(), 8)), count(heads()), count(entries())}, {256});

    std::int64_t at = 0;
    const auto part = [&](const Shape& shape) {
      Tensor t = flat;
      t.shape = {element_count(shape)};
      t.offset += static_cast<std::size_t>(at * flat.strides[0]) * size_of(flat.dtype);
      at += t.shape[0];
      return t;
    };
    const Tensor queries = part(q_.shape), keys = part(k_.shape), values = part(v_.shape);
    constexpr std::int64_t kSimdgroups = 4;
    // Two tiles.
    const std::int64_t at_once = tile_rows(pitch(padded(dim())) + pitch(padded(value_dim())), 16);
    const auto run = [&](std::string_view function, std::initializer_list<Argument> outputs,
                         std::int64_t extent) {
      std::vector<Argument> arguments{in(q_),        in(k_),        in(v_),   mask(),
                                      in(cotangent), in(logsumexp), in(delta)};
      arguments.insert(arguments.end(), outputs);
      arguments.push_back(value(p_));
      commands_.groups(
          kernel("attention_gradient", function,
                 {type(), mask_type(), text(padded(dim())), text(padded(value_dim())),
                  text(at_once), text(kSimdgroups), width({&q_, &k_, &v_, &cotangent})},
                 constants()),
          arguments, {count(divide_up(extent, 8 * kSimdgroups)), count(groups()), count(entries())},
          {kSimdgroups * kSimdWidth});
    };
    run("queries_gradient", {out(queries)}, group_rows());
    run("keys_gradient", {out(keys), out(values)}, columns());
    if (!options_.sinks) return;
    const Tensor sinks = part(sinks_.shape);
    commands_.groups(kernel("attention_gradient", "sinks_gradient", {type()}, constants()),
                     {in(sinks_), in(logsumexp), in(delta), out(sinks), value(p_)},
                     {count(heads()), p_.sinks_apart ? count(entries()) : 1}, {256});
  }

 private:
  static constexpr std::int64_t kFewRows = 8;  // of a group, that attend_few takes
  static constexpr std::int64_t kKeysAtOnce = 256;
  // Threadgroups that keep a large device busy, and the keys that are worth one of them.
  static constexpr std::int64_t kThreadgroups = 128, kLeastKeys = 512;
  static constexpr std::int64_t kTileBytes = 18 << 10;  // of a threadgroup's memory, for tiles

  static std::uint32_t count(std::int64_t n) { return static_cast<std::uint32_t>(n); }
  static std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a - 1) / b + 1; }
  static std::int64_t whole(std::int64_t n, std::int64_t unit) { return divide_up(n, unit) * unit; }

  std::int64_t entries() const { return q_.shape[0]; }
  std::int64_t heads() const { return q_.shape[1]; }
  std::int64_t groups() const { return k_.shape[1]; }
  std::int64_t rows() const { return q_.shape[2]; }
  std::int64_t columns() const { return k_.shape[2]; }
  std::int64_t dim() const { return q_.shape[3]; }
  std::int64_t value_dim() const { return v_.shape[3]; }
  std::int64_t group_rows() const { return p_.shared * rows(); }

  static void set_strides(const Tensor& t, cermet_long* to) {
    for (std::size_t i = 0, n = t.shape.size(); i < n; ++i)
      to[4 - n + i] = t.shape[i] == 1 ? 0 : t.strides[i];
  }
  void add_work(std::int64_t depth) {
    commands_.add_work(static_cast<std::uint64_t>(entries() * heads() * rows()) *
                       static_cast<std::uint64_t>(columns()) * static_cast<std::uint64_t>(depth) *
                       (options_.causal ? 1 : 2));
  }

  std::string type() const { return type_name(q_.dtype); }
  std::string mask_type() const { return options_.mask ? type_name(mask_.dtype) : "bool"; }
  static std::string text(std::int64_t n) { return std::to_string(n); }
  // What is not there is bound to something that is.
  Argument mask() const { return in(options_.mask ? mask_ : k_); }
  Argument sinks() const { return in(options_.sinks ? sinks_ : k_); }
  std::array<Constant, 4> constants() const {
    const bool added = options_.mask && mask_.dtype != Dtype::bool_;
    return {{{10, Constant::Type::boolean, options_.causal},
             {11, Constant::Type::boolean, options_.mask},
             {12, Constant::Type::boolean, added},
             {13, Constant::Type::boolean, options_.sinks}}};
  }

  // Extents in whole matrices, and a tile's row of such in bytes.
  static std::int64_t padded(std::int64_t n) { return whole(n, 16); }
  std::int64_t pitch(std::int64_t n) const {
    return n * static_cast<std::int64_t>(size_of(q_.dtype)) + 16;
  }
  static std::int64_t tile_rows(std::int64_t row_bytes, std::int64_t most) {
    while (most > 8 && most * row_bytes > kTileBytes) most /= 2;
    return most;
  }
  // "4" where rows of all can be read four elements at a time.
  static std::string width(std::initializer_list<const Tensor*> tensors) {
    const bool wide = std::all_of(tensors.begin(), tensors.end(), [](const Tensor* t) {
      bool fits =
          t->strides[3] == 1 && t->shape[3] % 4 == 0 && t->address() % (4 * size_of(t->dtype)) == 0;
      for (std::size_t i = 0; i < 3; ++i)
        fits = fits && (t->shape[i] == 1 || t->strides[i] % 4 == 0);
      return fits;
    });
    return wide ? "4" : "1";
  }

  // The output, or the logsumexp of each row where there are no values.
  void attend(std::int64_t values, const Tensor& to) {
    const std::int64_t widest = pitch(padded(std::max(dim(), values)));
    const std::int64_t simdgroups = group_rows() > 32 ? 8 : 4;
    commands_.groups(
        kernel("attention", "attend",
               {type(), type_name(to.dtype), mask_type(), text(padded(dim())),
                text(values ? padded(values) : 0), text(tile_rows(widest, 32)), text(simdgroups),
                width({&k_, &v_})},
               constants()),
        {in(q_), in(k_), in(v_), mask(), sinks(), out(to), value(p_)},
        {count(divide_up(group_rows(), 8 * simdgroups)), count(groups()), count(entries())},
        {count(simdgroups * kSimdWidth)});
  }

  void few(const Tensor& to) {
    const std::int64_t busy = entries() * groups();
    const std::int64_t wanted =
        std::min(divide_up(kThreadgroups, busy), std::max<std::int64_t>(1, columns() / kLeastKeys));
    p_.part = count(whole(divide_up(columns(), wanted), kKeysAtOnce));
    p_.parts = count(divide_up(columns(), p_.part));
    const std::string wide = width({&k_, &v_});
    const std::int64_t lanes = kSimdWidth * (wide == "4" ? 4 : 1);
    const auto most_rows = std::bit_ceil(static_cast<std::uint64_t>(group_rows()));
    const Tensor sums =
        p_.parts > 1
            ? commands_.temporary({entries(), heads(), rows(), p_.parts, value_dim() + 2}, float32)
            : to;
    commands_.groups(kernel("attention", "attend_few",
                            {type(), type_name(sums.dtype), mask_type(),
                             text(static_cast<std::int64_t>(most_rows)), text(padded(dim())),
                             text(whole(value_dim(), lanes) / kSimdWidth), wide},
                            constants()),
                     {in(q_), in(k_), in(v_), mask(), sinks(), out(sums), value(p_)},
                     {p_.parts, count(groups()), count(entries())}, {256});
    if (p_.parts == 1) return;
    const std::uint32_t across = std::min(256u, std::bit_ceil(p_.value_dim));
    commands_.threads(kernel("attention", "join_parts", {type()}, constants()),
                      {in(sums), in(v_), sinks(), out(to), value(p_)},
                      {p_.value_dim, count(group_rows()), count(entries() * groups())},
                      {across, std::min(256 / across, std::bit_ceil(count(group_rows())))});
  }

  Commands& commands_;
  const AttentionOptions& options_;
  const Tensor &q_, &k_, &v_;
  Tensor mask_, sinks_;
  AttentionArguments p_{};
};

}  // namespace

bool attention_supported(const Node& composite) {
  const auto* forward = dynamic_cast<const Attention*>(composite.primitive.get());
  const auto* gradient = dynamic_cast<const AttentionGradient*>(composite.primitive.get());
  if (!forward && !gradient) return false;
  const auto fits = [](std::int64_t n) { return n <= std::numeric_limits<std::int32_t>::max(); };
  const array &q = composite.inputs[0], &k = composite.inputs[1], &v = composite.inputs[2];
  for (const array& in : composite.inputs)
    if (in.size() == 0 || is_complex(in.dtype())) return false;
  return q.shape(3) <= kMostDims && v.shape(3) <= kMostDims && fits(q.shape(1) * q.shape(2)) &&
         fits(k.shape(2)) && fits(q.shape(0));
}

void attention(Commands& commands, const AttentionOptions& options, std::span<const Tensor> inputs,
               const Tensor& out) {
  AttentionCall(commands, options, inputs).forward(out);
}

void attention_gradient(Commands& commands, const AttentionOptions& options,
                        std::span<const Tensor> inputs, const Tensor& out) {
  AttentionCall(commands, options, inputs).gradient(inputs[inputs.size() - 2], inputs.back(), out);
}

}  // namespace cermet::metal
