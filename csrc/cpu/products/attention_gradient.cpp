// Attention backward: a block of weights is computed again from queries, keys and each row's
// logsumexp, and serves the gradients of queries, keys and values at once.
#include <limits>
#include <utility>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/primitives.h"
#include "cpu/products/attention.h"
#include "cpu/products/nest.h"
#include "cpu/scalar.h"
#include "ops/cpp.h"

namespace cermet::cpu {
namespace {

// Sums over keys go by blocks of kKeys, sums over a group's rows by blocks of kRows.
constexpr std::int64_t kRows = 128, kKeys = 128;

void store_floats(const float* from, std::int64_t n, const Tensor& out, std::int64_t at) {
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T>)
      CERMET_DISPATCH(from_floats(from, data<T>(out) + at, n));
    else if constexpr (std::is_same_v<T, float>)
      std::copy_n(from, n, data<T>(out) + at);
  });
}

class Backward {
 public:
  Backward(const AttentionCall& call, const Tensor& output, const Tensor& cotangent,
           const Tensor& out)
      : c_(call),
        output_(output),
        cotangent_(cotangent),
        out_(out),
        pairs_(call.q.dtype == bfloat16 && product_kernels().bf16_pairs.multiply),
        kernel_(pairs_ ? product_kernels().bf16_pairs : product_kernels().f32),
        packing_(call.q.dtype == float32   ? Packing::f32
                 : call.q.dtype == float16 ? Packing::f16
                 : pairs_                  ? Packing::bf16_pairs
                                           : Packing::bf16),
        own_(pairs_ ? Packing::bf16_pairs : Packing::f32),
        W(kernel_.columns),
        panels_(ceil_div(std::min(kRows, call.group_rows()), W)),
        by_dim_(kernel_, kKeys, units(call.dim)),
        by_value_(kernel_, kKeys, units(call.value_dim)),
        by_key_(kernel_, call.dim, units(kKeys)),
        by_row_(kernel_, kKeys, units(panels_ * W)),
        logsumexp_(call.batch * call.heads * call.rows),
        mean_(call.batch * call.heads * call.rows) {}

  void run() {
    attend(c_, nullptr, logsumexp_.get());
    find_means();
    const std::int64_t entries = c_.batch * c_.groups, blocks = ceil_div(c_.columns, kKeys);
    const std::int64_t threads = get_num_threads(), rows = c_.group_rows();
    if (entries >= threads || blocks == 1) {
      parallel_for(entries, 1, [&](std::int64_t begin, std::int64_t end) {
        const Memory memory(*this);
        for (; begin < end; ++begin) entry(begin, memory, 0, blocks, 0, rows, true, true);
      });
    } else {  // what is asked of a block twice is computed twice, by as many threads as there are
      const std::int64_t parts = std::min(blocks, 2 * threads), step = ceil_div(blocks, parts);
      parallel_for(entries * parts, 1, [&](std::int64_t begin, std::int64_t end) {
        const Memory memory(*this);
        for (; begin < end; ++begin) {
          const std::int64_t from = begin % parts * step;
          entry(begin / parts, memory, from, std::min(blocks, from + step), 0, rows, false, true);
        }
      });
      const std::int64_t queries = ceil_div(rows, kRows);
      parallel_for(entries * queries, 1, [&](std::int64_t begin, std::int64_t end) {
        const Memory memory(*this);
        for (; begin < end; ++begin) {
          const std::int64_t from = begin % queries * kRows;
          entry(begin / queries, memory, 0, blocks, from, std::min(rows, from + kRows), true,
                false);
        }
      });
    }
    if (c_.has_sinks()) find_sinks();
  }

 private:
  // A thread's. Queries and cotangents are packed twice: as columns, and as the depth of a product.
  struct Memory {
    explicit Memory(const Backward& b) : all(place(b, nullptr)) {
      place(b, all.get());
      std::fill_n(mean, b.panels_ * b.W, 0.0f);
    }
    // Gives the floats that are needed, and lays them out where there is memory.
    std::int64_t place(const Backward& b, float* at) {
      std::int64_t used = 0;
      const auto take = [&](float*& to, std::int64_t n) {
        if (at) to = at + used;
        used += n;
      };
      const std::int64_t W = b.W, rows = b.panels_ * W;
      const std::int64_t dim = b.c_.dim, value_dim = b.c_.value_dim;
      take(query_rows, rows * dim);
      take(slope_rows, rows * value_dim);
      take(halves, b.pairs_ ? std::max(rows * std::max(dim, value_dim), kKeys * W) : 0);
      take(queries, b.panels_ * b.column_step(dim));
      take(slopes, b.panels_ * b.column_step(value_dim));
      take(query_depths, ceil_div(dim, W) * b.depth_step());
      take(slope_depths, ceil_div(value_dim, W) * b.depth_step());
      take(keys, b.by_dim_.size());
      take(values, b.by_value_.size());
      take(turned_keys, b.by_key_.size());
      take(weights, kKeys * rows);
      take(changes, kKeys * rows);
      take(packed, b.by_row_.size());
      take(sums, b.panels_ * dim * W);
      take(turned, W * b.row_step());
      for (float** lanes : {&logsumexp, &mean}) take(*lanes, rows);
      take(factor, W);
      return used;
    }
    float *query_rows, *slope_rows, *halves, *queries, *slopes, *query_depths, *slope_depths;
    float *keys, *values, *turned_keys, *weights, *changes, *packed, *sums, *turned;
    float *logsumexp, *mean, *factor;
    Workspace<float> all;
  };
  std::int64_t units(std::int64_t depth) const { return ceil_div(depth, kernel_.numbers); }
  std::int64_t column_step(std::int64_t depth) const { return units(depth) * W + kSlack / 4; }
  std::int64_t depth_step() const { return units(panels_ * W) * W + kSlack / 4; }
  std::int64_t row_step() const { return ceil_div(c_.dim, W) * W; }
  PackPanels pack(Packing p) const { return product_kernels().panels[static_cast<int>(p)]; }

  // Of each row the product of output and cotangent.
  void find_means() const {
    const std::int64_t rows = c_.group_rows(), n = c_.value_dim;
    parallel_for(c_.batch * c_.groups * rows, grain_for(2 * n),
                 [&](std::int64_t begin, std::int64_t end) {
                   const Workspace<float> memory(2 * n);
                   float *const a = memory.get(), *const b = a + n;
                   for (; begin < end; ++begin) {
                     const std::int64_t e = begin / rows, r = begin % rows;
                     const std::int64_t entry = e / c_.groups, group = e % c_.groups;
                     c_.read_rows(output_, entry, group, r, 1, 1, a);
                     c_.read_rows(cotangent_, entry, group, r, 1, 1, b);
                     mean_.get()[c_.place(entry, group, r)] = CERMET_DISPATCH(dot_row(a, b, n));
                   }
                 });
  }

  void find_sinks() const {
    const bool each = c_.sinks.shape.size() == 2 && c_.sinks.shape[0] > 1;
    const std::int64_t at = out_.size() - (each ? c_.batch : 1) * c_.heads;
    std::vector<float> sums(static_cast<std::size_t>((each ? c_.batch : 1) * c_.heads));
    for (std::int64_t entry = 0; entry < c_.batch; ++entry)
      for (std::int64_t head = 0; head < c_.heads; ++head) {
        float& sum = sums[static_cast<std::size_t>((each ? entry * c_.heads : 0) + head)];
        for (std::int64_t row = 0; row < c_.rows; ++row) {
          const std::int64_t place = (entry * c_.heads + head) * c_.rows + row;
          sum -= plain::exp(c_.sink(entry, head) - logsumexp_.get()[place]) * mean_.get()[place];
        }
      }
    store_floats(sums.data(), static_cast<std::int64_t>(sums.size()), out_, at);
  }

  // What a group's rows in [row, last_row) and blocks of keys in [block, last_block) give the
  // gradient of these rows, if asked for, and of these keys and their values.
  void entry(std::int64_t e, const Memory& m, std::int64_t block, std::int64_t last_block,
             std::int64_t row, std::int64_t last_row, bool of_queries, bool of_keys) const {
    const std::int64_t entry = e / c_.groups, group = e % c_.groups;
    const std::int64_t first = block * kKeys;
    const std::int64_t count = std::min(last_block * kKeys, c_.columns) - first;
    if (count <= 0) return;
    // float32 adds up in place.
    const std::int64_t k_at = c_.q.size() + (e * c_.columns + first) * c_.dim;
    const std::int64_t v_at = c_.q.size() + c_.k.size() + (e * c_.columns + first) * c_.value_dim;
    const bool wide = out_.dtype == float32;
    const Workspace<float> sums(wide || !of_keys ? 0 : count * (c_.dim + c_.value_dim));
    float* const k = wide ? data<float>(out_) + k_at : sums.get();
    float* const v = wide ? data<float>(out_) + v_at : sums.get() + count * c_.dim;
    if (of_keys) std::fill_n(k, count * c_.dim, 0.0f), std::fill_n(v, count * c_.value_dim, 0.0f);
    for (; row < last_row; row += kRows) {
      const std::int64_t rows = std::min(kRows, last_row - row);
      read(entry, group, row, rows, m, of_keys);
      const std::int64_t seen = c_.seen(row + rows - 1);
      for (std::int64_t at = first; at < std::min(first + count, seen); at += kKeys) {
        const std::int64_t keys = std::min(kKeys, std::min(first + count, seen) - at);
        weigh(entry, group, row, rows, at, keys, m, of_queries, k + (at - first) * c_.dim,
              v + (at - first) * c_.value_dim, of_keys);
      }
      if (of_keys) spread(rows, count, m, v);
      if (of_queries) finish(entry, group, row, rows, m);
    }
    if (wide || !of_keys) return;
    if (pairs_) CERMET_DISPATCH(scale_row(k, count * c_.dim, c_.scale));
    store_floats(k, count * c_.dim, out_, k_at);
    store_floats(v, count * c_.value_dim, out_, v_at);
  }

  void read(std::int64_t entry, std::int64_t group, std::int64_t row, std::int64_t rows,
            const Memory& m, bool of_keys) const {
    // Pairs are scaled later, as scores and as sums.
    c_.read_rows(c_.q, entry, group, row, rows, pairs_ ? 1 : c_.scale, m.query_rows);
    c_.read_rows(cotangent_, entry, group, row, rows, 1, m.slope_rows);
    const auto put = [&](const float* floats, std::int64_t n, float* columns, float* depths) {
      const void* const from = narrow(floats, rows * n, m);
      pack(own_)({from, n, 1, rows, n, rows, 0, 0, 0}, W, column_step(n), columns);
      if (of_keys) pack(own_)({from, 1, n, n, rows, n, 0, 0, 0}, W, depth_step(), depths);
    };
    put(m.query_rows, c_.dim, m.queries, m.query_depths);
    put(m.slope_rows, c_.value_dim, m.slopes, m.slope_depths);
    std::fill_n(m.sums, panels_ * c_.dim * W, 0.0f);
    // Lanes without a row have no weights.
    std::fill_n(m.logsumexp, panels_ * W, std::numeric_limits<float>::infinity());
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t place = c_.place(entry, group, row + r);
      m.logsumexp[r] = logsumexp_.get()[place];
      m.mean[r] = mean_.get()[place];
    }
  }

  // What is packed: floats, or their halves where there are pairs.
  const void* narrow(const float* from, std::int64_t n, const Memory& m) const {
    if (!pairs_) return from;
    auto* const to = reinterpret_cast<bfloat16_t*>(m.halves);
    CERMET_DISPATCH(from_floats(from, to, n));
    return to;
  }

  // c (+)= a b of packed panels.
  void multiply(const float* a, const Panels& panels, std::int64_t rows, const float* b,
                std::int64_t b_step, std::int64_t columns, std::int64_t depth, float* c,
                std::int64_t c_step, bool add) const {
    for (std::int64_t p = 0, n = units(depth); p < n; p += kBlockDepth)
      kernel_.multiply({a + p * panels.width,
                        panels.step,
                        b + p * W,
                        b_step,
                        c,
                        c_step,
                        rows,
                        columns,
                        std::min(kBlockDepth, n - p),
                        add || p > 0,
                        {},
                        panels.width});
  }

  // One block of rows by one of keys.
  void weigh(std::int64_t entry, std::int64_t group, std::int64_t row, std::int64_t rows,
             std::int64_t key, std::int64_t keys, const Memory& m, bool of_queries, float* k,
             float* v, bool of_keys) const {
    by_dim_.pack(packing_, c_.keys_of(c_.k, entry, group, key, keys, false), m.keys);
    by_value_.pack(packing_, c_.keys_of(c_.v, entry, group, key, keys, false), m.values);
    if (of_queries)
      pack_along(c_, c_.k, entry, group, key, keys, packing_, kernel_, by_key_, m.turned_keys);
    const std::int64_t panels = ceil_div(rows, W);
    std::int64_t from = 0;  // the first panel that sees a key
    while (c_.seen(std::min(row + (from + 1) * W, row + rows) - 1) <= key) ++from;
    for (std::int64_t i = from; i < panels; ++i) {
      float *const weights = m.weights + i * kKeys * W, *const changes = m.changes + i * kKeys * W;
      const std::int64_t lanes = std::min(W, rows - i * W);
      multiply(m.keys, by_dim_, keys, m.queries + i * column_step(c_.dim), 0, W, c_.dim, weights, W,
               false);
      if (pairs_) CERMET_DISPATCH(scale_row(weights, keys * W, c_.scale));
      c_.hide(weights, entry, group, row + i * W, lanes, key, keys);
      CERMET_DISPATCH(weigh(weights, keys, m.logsumexp + i * W));
      multiply(m.values, by_value_, keys, m.slopes + i * column_step(c_.value_dim), 0, W,
               c_.value_dim, changes, W, false);
      CERMET_DISPATCH(pull_back(changes, weights, keys, m.mean + i * W));
    }
    if (of_keys) {
      add_rows(m.weights, from, rows, keys, m.slope_depths, c_.value_dim, m, v);
      add_rows(m.changes, from, rows, keys, m.query_depths, c_.dim, m, k);
    }
    for (std::int64_t i = from; of_queries && i < panels; ++i) {
      float* const changes = m.changes + i * kKeys * W;
      if (pairs_) CERMET_DISPATCH(pair_up(changes, keys));
      multiply(m.turned_keys, by_key_, c_.dim, changes, 0, W, keys, m.sums + i * c_.dim * W, W,
               true);
    }
  }

  // sums += the transposed panels from `from` on, times rows.
  void add_rows(const float* panels, std::int64_t from, std::int64_t rows, std::int64_t keys,
                const float* depths, std::int64_t n, const Memory& m, float* sums) const {
    const std::int64_t start = from * W;
    for (std::int64_t r = start; r < rows; r += W)
      by_row_.pack(own_,
                   {narrow(panels + r * kKeys, keys * W, m), W, 1, keys, std::min(W, rows - r),
                    keys, 0, 0, 0},
                   m.packed + units(r - start) * by_row_.width);
    multiply(m.packed, by_row_, keys, depths + units(start) * W, depth_step(), n, rows - start,
             sums, n, true);
  }

  // A row that sees no key has taken the mean of all values.
  void spread(std::int64_t rows, std::int64_t count, const Memory& m, float* v) const {
    const std::int64_t n = c_.value_dim;
    const float share = 1.0f / static_cast<float>(c_.columns);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (m.logsumexp[r] != std::numeric_limits<float>::infinity()) continue;
      for (std::int64_t key = 0; key < count; ++key)
        for (std::int64_t i = 0; i < n; ++i) v[key * n + i] += m.slope_rows[r * n + i] * share;
    }
  }

  void finish(std::int64_t entry, std::int64_t group, std::int64_t row, std::int64_t rows,
              const Memory& m) const {
    std::fill_n(m.factor, W, c_.scale);
    for (std::int64_t i = 0; i * W < rows; ++i) {
      CERMET_DISPATCH(turn(m.sums + i * c_.dim * W, c_.dim, m.factor, m.turned, row_step()));
      for (std::int64_t l = 0; l < std::min(W, rows - i * W); ++l)
        store_floats(m.turned + l * row_step(), c_.dim, out_,
                     c_.place(entry, group, row + i * W + l) * c_.dim);
    }
  }

  const AttentionCall& c_;
  const Tensor &output_, &cotangent_, &out_;
  const bool pairs_;
  const BlockKernel& kernel_;
  const Packing packing_, own_;  // of keys and values, of what is computed here
  const std::int64_t W, panels_;
  const Panels by_dim_, by_value_, by_key_, by_row_;
  const Workspace<float> logsumexp_, mean_;
};

}  // namespace

void attention_gradient(const AttentionOptions& p, std::span<const Tensor> inputs,
                        const Tensor& out) {
  const AttentionCall call(p, inputs);
  Backward(call, inputs[inputs.size() - 2], inputs.back(), out).run();
}

}  // namespace cermet::cpu
