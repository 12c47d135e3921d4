// Attention forward: the keys' blocks of a softmax, each between two products.
#include "cpu/products/attention.h"

#include <bit>
#include <limits>
#include <utility>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/primitives.h"
#include "cpu/products/nest.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMostRows = 128;  // of a part: its scores and the packed keys fit the cache
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
void read_row(const T* from, std::int64_t step, std::int64_t n, float* to) {
  if constexpr (kIsHalf<T>)
    if (step == 1) return CERMET_DISPATCH(to_floats(from, to, n));
  for (std::int64_t i = 0; i < n; ++i)
    if constexpr (kIsHalf<T>)
      to[i] = to_float(from[i * step]);
    else
      to[i] = static_cast<float>(from[i * step]);
}

}  // namespace

AttentionCall::AttentionCall(const AttentionOptions& options, std::span<const Tensor> inputs)
    : q(inputs[0]),
      k(inputs[1]),
      v(inputs[2]),
      scale(static_cast<float>(options.scale)),
      causal(options.causal),
      batch(q.shape[0]),
      heads(q.shape[1]),
      groups(k.shape[1]),
      shared(heads / groups),
      rows(q.shape[2]),
      columns(k.shape[2]),
      dim(q.shape[3]),
      value_dim(v.shape[3]) {
  if (options.mask) {
    mask = inputs[3];
    Strides steps(4);  // of what is repeated 0
    for (std::size_t i = 0, n = mask.shape.size(); i < n; ++i)
      if (mask.shape[i] != 1) steps[4 - n + i] = mask.strides[i];
    mask.strides = steps;
  }
  if (options.sinks) sinks = inputs[3 + options.mask];
}

void AttentionCall::read_rows(const Tensor& t, std::int64_t entry, std::int64_t group,
                              std::int64_t first, std::int64_t count, float factor,
                              float* to) const {
  const std::int64_t n = t.shape[3];
  visit(t.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T> || std::is_same_v<T, float>)
      for (std::int64_t r = 0; r < count; ++r)
        read_row(data<const T>(t) + row_offset(t.strides, entry, group, first + r), t.strides[3], n,
                 to + r * n);
  });
  if (factor != 1) CERMET_DISPATCH(scale_row(to, count * n, factor));
}

float AttentionCall::sink(std::int64_t entry, std::int64_t head) const {
  const std::size_t axes = sinks.shape.size();
  const std::int64_t at = head * sinks.strides[axes - 1] +
                          (axes > 1 && sinks.shape[0] > 1 ? entry * sinks.strides[0] : 0);
  float value = 0;
  visit(sinks.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T> || std::is_floating_point_v<T>)
      read_row(data<const T>(sinks) + at, 1, 1, &value);
  });
  return value;
}

const std::byte* AttentionCall::mask_row(std::int64_t entry, std::int64_t group, std::int64_t r,
                                         std::int64_t key) const {
  const std::int64_t at = row_offset(mask.strides, entry, group, r) + key * mask.strides[3];
  return mask.data + at * static_cast<std::int64_t>(size_of(mask.dtype));
}

void AttentionCall::mean_value(std::int64_t entry, std::int64_t group, float* to) const {
  const std::int64_t n = value_dim;
  std::fill_n(to, n, 0.0f);
  const Workspace<float> value(n);
  for (std::int64_t key = 0; key < columns; ++key) {
    const std::int64_t at = entry * v.strides[0] + group * v.strides[1] + key * v.strides[2];
    visit(v.dtype, [&]<class T>(Type<T>) {
      if constexpr (kIsHalf<T> || std::is_same_v<T, float>)
        read_row(data<const T>(v) + at, v.strides[3], n, value.get());
    });
    for (std::int64_t i = 0; i < n; ++i) to[i] += value.get()[i];
  }
  for (std::int64_t i = 0; i < n; ++i) to[i] /= static_cast<float>(columns);
}

Strip AttentionCall::keys_of(const Tensor& t, std::int64_t entry, std::int64_t group,
                             std::int64_t key, std::int64_t count, bool along) const {
  const std::int64_t at = entry * t.strides[0] + group * t.strides[1] + key * t.strides[2];
  const std::byte* const data = t.data + at * static_cast<std::int64_t>(size_of(t.dtype));
  const std::int64_t n = t.shape[3], row = t.strides[2], column = t.strides[3];
  if (along) return {data, column, row, n, count, n, 0, 0, 0};
  return {data, row, column, count, n, count, 0, 0, 0};
}

void pack_along(const AttentionCall& call, const Tensor& t, std::int64_t entry, std::int64_t group,
                std::int64_t key, std::int64_t keys, Packing packing, const BlockKernel& kernel,
                const Panels& panels, float* to) {
  const std::int64_t n = t.shape[3], W = kernel.columns;
  const auto put = [&](std::int64_t first, std::int64_t count, bool followed) {
    Strip s = call.keys_of(t, entry, group, key + first, count, true);
    if (followed) s.readable += W;  // a vector may reach beyond a key that is not the last
    panels.pack(packing, s, to + first / kernel.numbers * panels.width);
  };
  if (t.strides[2] < n || n < W) return put(0, keys, false);
  if (key + keys < call.columns) return put(0, keys, true);
  const std::int64_t last = (keys - 1) / kernel.numbers * kernel.numbers;
  if (last > 0) put(0, last, true);
  put(last, keys - last, false);
}

void AttentionCall::hide(float* scores, std::int64_t entry, std::int64_t group, std::int64_t first,
                         std::int64_t lanes, std::int64_t key, std::int64_t keys) const {
  constexpr std::int64_t kMostLanes = 64;
  if (causal && seen(first) < key + keys) {
    std::int32_t left[kMostLanes] = {};
    for (std::int64_t l = 0; l < lanes; ++l)
      left[l] = static_cast<std::int32_t>(std::clamp<std::int64_t>(seen(first + l) - key, 0, keys));
    CERMET_DISPATCH(hide_later(scores, left, keys));
  }
  if (has_mask()) {
    const std::byte* from[kMostLanes] = {};
    for (std::int64_t l = 0; l < lanes; ++l) from[l] = mask_row(entry, group, first + l, key);
    CERMET_DISPATCH(add_mask(scores, from, lanes, mask_format(), keys));
  }
}

namespace {

class Forward {
 public:
  Forward(const AttentionCall& call, const Tensor* out, float* logsumexp)
      : c_(call),
        out_(out),
        logsumexp_(logsumexp),
        all_(product_kernels()),
        pairs_(call.q.dtype == bfloat16 && all_.bf16_pairs.multiply),
        kernel_(pairs_ ? all_.bf16_pairs : all_.f32),
        packing_(call.q.dtype == float32   ? Packing::f32
                 : call.q.dtype == float16 ? Packing::f16
                 : pairs_                  ? Packing::bf16_pairs
                                           : Packing::bf16),
        W(kernel_.columns),
        units_(ceil_div(call.dim, kernel_.numbers)),
        keys_(std::min(kKeyBlock, call.columns)),
        k_(kernel_, keys_, units_),
        v_(kernel_, call.value_dim, ceil_div(keys_, kernel_.numbers)),
        row_step_(ceil_div(call.value_dim, W) * W) {}

  void run() {
    const std::int64_t rows = c_.group_rows(), entries = c_.batch * c_.groups;
    part_ = std::min(rows, kMostRows);
    while (part_ >= 4 * W && entries * ceil_div(rows, part_) < 2 * get_num_threads())
      part_ = ceil_div(part_ / 2, W) * W;
    const std::int64_t parts = ceil_div(rows, part_), blocks = ceil_div(c_.columns, kKeyBlock);
    const double work = static_cast<double>(part_) * static_cast<double>(c_.columns) *
                        static_cast<double>(c_.dim + c_.value_dim);
    const double least =
        rows <= kStreamRows ? kLeastReading * static_cast<double>(rows) : kLeastWork;
    if (rows <= kStreamRows && entries < get_num_threads() && blocks > 1 && work > 2 * least)
      return run_split(blocks);
    const auto grain = static_cast<std::int64_t>(std::max(1.0, least / work));
    parallel_for(entries * parts, grain, [&](std::int64_t begin, std::int64_t end) {
      const Memory memory(*this);
      for (; begin < end; ++begin) {
        // The last rows see the most keys: they go first.
        const std::int64_t first = (parts - 1 - begin % parts) * part_;
        const Part part = part_of(begin / parts, first, std::min(part_, rows - first));
        if (part.count <= kStreamRows)
          few(part, memory);
        else
          many(part, memory);
      }
    });
  }

 private:
  struct Part {
    std::int64_t entry, group, first, count, keys;
  };
  // A thread's. Everything is a float or as large as one. Few rows need no packed keys.
  struct Memory {
    explicit Memory(const Forward& f) : all(place(f, nullptr)) {
      place(f, all.get());
      if (f.part_ <= kStreamRows) return;
      // Lanes without a row are computed as well.
      std::fill_n(scores, kKeyBlock * f.W, 0.0f);
      std::fill_n(part, f.c_.value_dim * f.W, 0.0f);
    }
    // Gives the floats that are needed, and lays them out where there is memory.
    std::int64_t place(const Forward& f, float* at) {
      std::int64_t used = 0;
      const auto take = [&](float*& to, std::int64_t n) {
        if (at) to = at + used;
        used += n;
      };
      const std::int64_t W = f.W, panels = ceil_div(f.part_, W), n = f.c_.value_dim;
      const bool few = f.part_ <= kStreamRows;
      take(rows, f.part_ * f.c_.dim);
      take(halves, f.pairs_ ? f.part_ * f.c_.dim : 0);
      take(queries, panels * f.query_step());
      take(keys, few ? 0 : f.k_.size());
      take(values, few ? 0 : f.v_.size());
      take(scores, kKeyBlock * W);
      take(part, n * W);
      take(sums, panels * n * W);
      take(turned, std::max(W * f.row_step_, kKeyBlock * kStreamRows));  // or weights of few rows
      for (float** lanes : {&high, &total}) take(*lanes, panels * W);
      for (float** lanes : {&block_high, &block_total, &before, &block, &sinks, &factor})
        take(*lanes, W);
      return used;
    }
    float *rows, *halves, *queries, *keys, *values, *scores, *part, *sums, *turned;
    float *high, *total, *block_high, *block_total, *before, *block, *sinks, *factor;
    Workspace<float> all;
  };
  std::int64_t query_step() const { return units_ * W + kSlack / 4; }

  Part part_of(std::int64_t entry, std::int64_t first, std::int64_t count) const {
    return {entry / c_.groups, entry % c_.groups, first, count, c_.seen(first + count - 1)};
  }
  PackPanels pack(Packing p) const { return all_.panels[static_cast<int>(p)]; }

  // The queries as rows of dim; pairs are scaled later, as scores.
  Strip read_queries(const Part& p, const Memory& m) const {
    c_.read_rows(c_.q, p.entry, p.group, p.first, p.count, pairs_ ? 1 : c_.scale, m.rows);
    const void* from = m.rows;
    if (pairs_) {
      auto* const narrow = reinterpret_cast<bfloat16_t*>(m.halves);
      CERMET_DISPATCH(from_floats(m.rows, narrow, p.count * c_.dim));
      from = narrow;
    }
    return {from, c_.dim, 1, p.count, c_.dim, p.count, 0, 0, 0};
  }
  Packing query_packing() const { return pairs_ ? Packing::bf16_pairs : Packing::f32; }
  // What scores lack before their softmax: a mask is added to scaled ones.
  float score_scale() const { return pairs_ && !c_.has_mask() ? c_.scale : 1.0f; }

  // c = a b of packed panels, one of b.
  void multiply(const float* a, const Panels& panels, std::int64_t rows, const float* b,
                std::int64_t units, std::int64_t lanes, float* c) const {
    for (std::int64_t p = 0; p < units; p += kBlockDepth)
      kernel_.multiply({a + p * panels.width,
                        panels.step,
                        b + p * W,
                        0,
                        c,
                        W,
                        rows,
                        lanes,
                        std::min(kBlockDepth, units - p),
                        p > 0,
                        {},
                        panels.width});
  }

  void pack_values(const Part& p, std::int64_t key, std::int64_t keys, float* to) const {
    pack_along(c_, c_.v, p.entry, p.group, key, keys, packing_, kernel_, v_, to);
  }

  void many(const Part& p, const Memory& m) const {
    pack(query_packing())(read_queries(p, m), W, query_step(), m.queries);
    const std::int64_t panels = ceil_div(p.count, W);
    std::fill_n(m.sums, panels * c_.value_dim * W, 0.0f);
    std::fill_n(m.high, panels * W, -kInfinity);
    std::fill_n(m.total, panels * W, 0.0f);
    for (std::int64_t key = 0; key < p.keys; key += kKeyBlock) {
      const std::int64_t count = std::min(kKeyBlock, p.keys - key);
      k_.pack(packing_, c_.keys_of(c_.k, p.entry, p.group, key, count, false), m.keys);
      if (out_) pack_values(p, key, count, m.values);
      for (std::int64_t i = 0; i < panels; ++i) {
        const std::int64_t lanes = std::min(W, p.count - i * W), first = p.first + i * W;
        const std::int64_t keys = std::min(count, c_.seen(first + lanes - 1) - key);
        if (keys > 0) panel(p, m, i, first, lanes, key, keys);
      }
    }
    for (std::int64_t i = 0; i < panels; ++i) {
      const std::int64_t lanes = std::min(W, p.count - i * W);
      settle(p, m, p.first + i * W, lanes, m.high + i * W, m.total + i * W);
      if (!out_) continue;
      CERMET_DISPATCH(
          turn(m.sums + i * c_.value_dim * W, c_.value_dim, m.factor, m.turned, row_step_));
      for (std::int64_t l = 0; l < lanes; ++l)
        store_row(p, p.first + i * W + l, m.turned + l * row_step_);
    }
  }

  // One panel of rows and one block of keys.
  void panel(const Part& p, const Memory& m, std::int64_t i, std::int64_t first, std::int64_t lanes,
             std::int64_t key, std::int64_t keys) const {
    const std::int64_t half = W / 2, wide = lanes <= half ? half : W;
    multiply(m.keys, k_, keys, m.queries + i * query_step(), units_, wide, m.scores);
    if (pairs_ && c_.has_mask()) CERMET_DISPATCH(scale_row(m.scores, keys * W, c_.scale));
    c_.hide(m.scores, p.entry, p.group, first, lanes, key, keys);
    CERMET_DISPATCH(soften(m.scores, keys, score_scale(), m.block_high, m.block_total));
    if (out_) {
      if (pairs_) CERMET_DISPATCH(pair_up(m.scores, keys));
      const std::int64_t units = ceil_div(keys, kernel_.numbers);
      multiply(m.values, v_, c_.value_dim, m.scores, units, wide, m.part);
      if (!CERMET_DISPATCH(all_finite(m.part, c_.value_dim * W)))
        for (std::int64_t l = 0; l < lanes; ++l)
          multiply_seen(p, key, keys, m.scores + l, W, m.part + l, W);
    }
    CERMET_DISPATCH(
        join(W, m.high + i * W, m.total + i * W, m.block_high, m.block_total, m.before, m.block));
    if (out_)
      CERMET_DISPATCH(
          merge(m.sums + i * c_.value_dim * W, m.part, c_.value_dim, m.before, m.block));
  }

  // The sums of a lane without the values of keys that have no weight: these may be anything.
  void multiply_seen(const Part& p, std::int64_t key, std::int64_t keys, const float* weights,
                     std::int64_t step, float* to, std::int64_t to_step) const {
    const std::int64_t units = ceil_div(keys, kernel_.numbers);
    const Workspace<std::uint32_t> memory(v_.size() + units * W + c_.value_dim * W);
    std::uint32_t *const values = memory.get(), *const lane = values + v_.size();
    auto* const sums = reinterpret_cast<float*>(lane + units * W);
    std::fill_n(lane, units * W, 0u);
    pack_values(p, key, keys, reinterpret_cast<float*>(values));
    for (std::int64_t u = 0; u < units; ++u) {
      const auto weight = std::bit_cast<std::uint32_t>(weights[u * step]);
      lane[u * W] = weight;
      const std::uint32_t kept = kernel_.numbers == 1 ? (weight ? ~0u : 0u)
                                                      : (weight & 0xffffu ? 0xffffu : 0u) |
                                                            (weight >> 16 ? 0xffff0000u : 0u);
      for (std::int64_t s = 0; s < v_.strips; ++s)
        for (std::int64_t w = 0; w < v_.width; ++w) values[s * v_.step + u * v_.width + w] &= kept;
    }
    multiply(reinterpret_cast<float*>(values), v_, c_.value_dim, reinterpret_cast<float*>(lane),
             units, W / 2, sums);
    for (std::int64_t i = 0; i < c_.value_dim; ++i) to[i * to_step] = sums[i * W];
  }

  // ---- Few rows: keys and values are read in place, rows lie along ----

  void few(const Part& p, const Memory& m) const {
    const std::int64_t n = c_.value_dim;
    all_.rows[static_cast<int>(query_packing())](read_queries(p, m), units_, m.queries);
    std::fill_n(m.sums, p.count * n, 0.0f);
    std::fill_n(m.high, p.count, -kInfinity);
    std::fill_n(m.total, p.count, 0.0f);
    for (std::int64_t key = 0; key < p.keys; key += kKeyBlock) {
      few_block(p, m, key, m.part, m.block_high, m.block_total);
      join_rows(p, m, m.part, m.block_high, m.block_total);
    }
    finish_few(p, m);
  }

  void few_block(const Part& p, const Memory& m, std::int64_t key, float* part, float* high,
                 float* total) const {
    const std::int64_t keys = std::min(kKeyBlock, p.keys - key);
    const auto stream = all_.stream[static_cast<int>(packing_)];
    for (std::int64_t d = 0; d < c_.dim; d += kSpan) {
      Strip s = c_.keys_of(c_.k, p.entry, p.group, key, keys, false);
      s.data = static_cast<const std::byte*>(s.data) +
               d * s.depth_step * static_cast<std::int64_t>(size_of(c_.k.dtype));
      s.depth = std::min(kSpan, c_.dim - d);
      stream({m.queries + d / kernel_.numbers, units_, s, m.scores, kKeyBlock, p.count, {}, d > 0});
    }
    // Rows of weights are the left operand of the next product as they stand.
    const std::int64_t row = kKeyBlock / kernel_.numbers;
    auto* const weights = reinterpret_cast<std::uint32_t*>(pairs_ ? m.turned : m.scores);
    for (std::int64_t r = 0; r < p.count; ++r) {
      float* const scores = m.scores + r * kKeyBlock;
      const std::int64_t seen = std::clamp<std::int64_t>(c_.seen(p.first + r) - key, 0, keys);
      if (pairs_ && c_.has_mask()) CERMET_DISPATCH(scale_row(scores, keys, c_.scale));
      std::fill(scores + seen, scores + keys, -kInfinity);
      if (c_.has_mask())
        CERMET_DISPATCH(add_mask_row(scores, c_.mask_row(p.entry, p.group, p.first + r, key),
                                     c_.mask_format(), keys));
      CERMET_DISPATCH(soften_row(scores, keys, score_scale(), high + r, total + r));
      if (!pairs_) continue;
      auto* const narrow = reinterpret_cast<bfloat16_t*>(weights + r * row);
      CERMET_DISPATCH(from_floats(scores, narrow, keys));
      if (keys % 2) narrow[keys] = {};
    }
    if (!out_) return;
    const std::int64_t n = c_.value_dim;
    stream({weights, row, c_.keys_of(c_.v, p.entry, p.group, key, keys, true), part, n, p.count});
    if (!CERMET_DISPATCH(all_finite(part, p.count * n)))
      for (std::int64_t r = 0; r < p.count; ++r)
        multiply_seen(p, key, keys, reinterpret_cast<float*>(weights + r * row), 1, part + r * n,
                      1);
  }

  void join_rows(const Part& p, const Memory& m, const float* part, const float* high,
                 const float* total) const {
    const std::int64_t n = c_.value_dim;
    CERMET_DISPATCH(join(p.count, m.high, m.total, high, total, m.before, m.block));
    for (std::int64_t r = 0; out_ && r < p.count; ++r)
      CERMET_DISPATCH(merge_row(m.sums + r * n, part + r * n, n, m.before[r], m.block[r]));
  }

  void finish_few(const Part& p, const Memory& m) const {
    const std::int64_t n = c_.value_dim;
    settle(p, m, p.first, p.count, m.high, m.total);
    for (std::int64_t r = 0; out_ && r < p.count; ++r) {
      CERMET_DISPATCH(scale_row(m.sums + r * n, n, m.factor[r]));
      store_row(p, p.first + r, m.sums + r * n);
    }
  }

  // Fewer parts than threads: these share the blocks of keys.
  void run_split(std::int64_t blocks) const {
    const std::int64_t entries = c_.batch * c_.groups, rows = c_.group_rows();
    const std::int64_t each = rows * (c_.value_dim + 2);
    const Workspace<float> found(entries * blocks * each);
    parallel_for(entries * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
      const Memory memory(*this);
      for (std::int64_t packed = -1; begin < end; ++begin) {
        const Part p = part_of(begin / blocks, 0, rows);
        const std::int64_t key = begin % blocks * kKeyBlock;
        if (key >= p.keys) continue;
        if (std::exchange(packed, begin / blocks) != begin / blocks)
          all_.rows[static_cast<int>(query_packing())](read_queries(p, memory), units_,
                                                       memory.queries);
        float* const to = found.get() + begin * each;
        few_block(p, memory, key, to + 2 * rows, to, to + rows);
      }
    });
    const Memory memory(*this);
    for (std::int64_t entry = 0; entry < entries; ++entry) {
      const Part p = part_of(entry, 0, rows);
      std::fill_n(memory.sums, rows * c_.value_dim, 0.0f);
      std::fill_n(memory.high, rows, -kInfinity);
      std::fill_n(memory.total, rows, 0.0f);
      for (std::int64_t b = 0; b * kKeyBlock < p.keys; ++b) {
        const float* const from = found.get() + (entry * blocks + b) * each;
        join_rows(p, memory, from + 2 * rows, from, from + rows);
      }
      finish_few(p, memory);
    }
  }

  // ---- Results ----

  void settle(const Part& p, const Memory& m, std::int64_t first, std::int64_t lanes,
              const float* high, const float* total) const {
    for (std::int64_t l = 0; c_.has_sinks() && l < lanes; ++l)
      m.sinks[l] = c_.sink(p.entry, c_.head(p.group, first + l));
    const bool added = c_.has_mask() && c_.mask.dtype != Dtype::bool_;
    float logsumexp[64];
    CERMET_DISPATCH(settle(lanes, high, total, c_.has_sinks() ? m.sinks : nullptr,
                           added ? std::numeric_limits<float>::quiet_NaN() : 1.0f, m.factor,
                           logsumexp));
    for (std::int64_t l = 0; l < lanes; ++l)
      logsumexp_[c_.place(p.entry, p.group, first + l)] = logsumexp[l];
  }

  void store_row(const Part& p, std::int64_t r, float* values) const {
    const std::int64_t place = c_.place(p.entry, p.group, r);
    // A row that sees no key takes the mean.
    if (logsumexp_[place] == kInfinity) c_.mean_value(p.entry, p.group, values);
    visit(out_->dtype, [&]<class T>(Type<T>) {
      T* const to = data<T>(*out_) + place * c_.value_dim;
      if constexpr (kIsHalf<T>)
        CERMET_DISPATCH(from_floats(values, to, c_.value_dim));
      else if constexpr (std::is_same_v<T, float>)
        std::copy_n(values, c_.value_dim, to);
    });
  }

  const AttentionCall& c_;
  const Tensor* const out_;
  float* const logsumexp_;
  const ProductKernels& all_;
  const bool pairs_;
  const BlockKernel& kernel_;
  const Packing packing_;
  const std::int64_t W, units_, keys_;
  const Panels k_, v_;
  const std::int64_t row_step_;
  std::int64_t part_ = 0;
};

}  // namespace

void attend(const AttentionCall& call, const Tensor* out, float* logsumexp) {
  Forward(call, out, logsumexp).run();
}

void attention(const AttentionOptions& p, std::span<const Tensor> inputs, const Tensor& out) {
  const AttentionCall call(p, inputs);
  const Workspace<float> logsumexp(call.batch * call.heads * call.rows);
  attend(call, &out, logsumexp.get());
}

}  // namespace cermet::cpu
