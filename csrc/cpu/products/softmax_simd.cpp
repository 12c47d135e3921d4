// The softmax of attention: panels of scores, and rows of them, for which all has the same bits.
#include "cpu/products/softmax.h"

#include "cpu/convert.h"
#include "cpu/products/tile.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

constexpr std::int64_t L = kVectorLanes<float>, W = kTileVectors * L;

inline float value_of(float x) { return x; }
inline float value_of(float16_t x) { return widen(x); }
inline float value_of(bfloat16_t x) { return widen(x); }
inline float value_of(bool x) { return x ? 0.0f : -kInf; }

// A key that a mask of -inf hides has no score, also where it would be a nan.
inline float masked(float score, float mask) { return mask == -kInf ? -kInf : score + mask; }

template <class T>
void values_of(const T* from, std::int64_t step, std::int64_t n, float* to) {
  if (step == 1 && n == L) {
    for (std::int64_t i = 0; i < L; ++i) to[i] = value_of(from[i]);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) to[i] = value_of(from[i * step]);
}

template <class T>
void add_mask_of(float* scores, const std::byte* const* rows, std::int64_t lanes, std::int64_t step,
                 std::int64_t keys) {
  for (std::int64_t first = 0; first < lanes; first += L)
    for (std::int64_t k = 0; k < keys; k += L) {
      const std::int64_t count = keys - k < L ? keys - k : L;
      Vector<float> block[L];
      for (std::int64_t l = 0; l < L; ++l) {
        float values[L] = {};
        if (first + l < lanes)
          values_of(reinterpret_cast<const T*>(rows[first + l]) + k * step, step, count, values);
        block[l] = load(values);
      }
      transpose<float>(block);
      for (std::int64_t i = 0; i < count; ++i) {
        float* const to = scores + (k + i) * W + first;
        float values[L];
        store(values, block[i]);
        for (std::int64_t l = 0; l < L; ++l) to[l] = masked(to[l], values[l]);
      }
    }
}

template <class F>
void by_mask_type(Dtype dtype, F f) {
  switch (dtype) {
    case Dtype::bool_: return f(bool{});
    case Dtype::float16: return f(float16_t{});
    case Dtype::bfloat16: return f(bfloat16_t{});
    default: return f(float{});
  }
}

inline float higher(float a, float b) { return a > b ? a : b; }
// What scores are taken relative to: a block without any has weights of 0.
inline float base_of(float high) { return high == -kInf ? 0.0f : high; }

// Key k is added to sum k % kSums: a row alone has no other additions to do meanwhile.
constexpr std::int64_t kSums = 4;

}  // namespace

void hide_later(float* scores, const std::int32_t* seen, std::int64_t keys) {
  for (std::int64_t k = 0; k < keys; ++k, scores += W)
    for (std::int64_t l = 0; l < W; ++l)
      scores[l] = static_cast<std::int32_t>(k) < seen[l] ? scores[l] : -kInf;
}

void add_mask(float* scores, const std::byte* const* rows, std::int64_t lanes,
              const MaskFormat& format, std::int64_t keys) {
  by_mask_type(format.dtype, [&](auto type) {
    add_mask_of<decltype(type)>(scores, rows, lanes, format.step, keys);
  });
}

void add_mask_row(float* scores, const std::byte* mask, const MaskFormat& format,
                  std::int64_t keys) {
  by_mask_type(format.dtype, [&](auto type) {
    const auto* from = reinterpret_cast<const decltype(type)*>(mask);
    if (format.step == 1)
      for (std::int64_t k = 0; k < keys; ++k) scores[k] = masked(scores[k], value_of(from[k]));
    else
      for (std::int64_t k = 0; k < keys; ++k)
        scores[k] = masked(scores[k], value_of(from[k * format.step]));
  });
}

void soften(float* scores, std::int64_t keys, float scale, float* high, float* total) {
  constexpr int V = kTileVectors;
  Vector<float> top[V], sums[kSums][V] = {};
  for (int v = 0; v < V; ++v) top[v] = splat(-kInf);
  const Vector<float> factor = splat(scale);
  for (std::int64_t k = 0; k < keys; ++k)
    for (int v = 0; v < V; ++v) {
      float* const at = scores + k * W + v * L;
      Vector<float> x = load(at);
      if (scale != 1.0f) store(at, x *= factor);
      top[v] = x > top[v] ? x : top[v];  // a nan is not taken: its weight tells of it
    }
  float base[W];
  for (int v = 0; v < V; ++v) store(high + v * L, top[v]);
  for (std::int64_t l = 0; l < W; ++l) base[l] = base_of(high[l]);
  const auto add = [&](std::int64_t k, Vector<float>(&sum)[V]) {
    float* const at = scores + k * W;
    for (std::int64_t l = 0; l < W; ++l) at[l] = exp(at[l] - base[l]);
    for (int v = 0; v < V; ++v) sum[v] += load(at + v * L);
  };
  std::int64_t k = 0;
  for (; k + kSums <= keys; k += kSums)
    add(k, sums[0]), add(k + 1, sums[1]), add(k + 2, sums[2]), add(k + 3, sums[3]);
  if (k < keys) add(k, sums[0]);
  if (k + 1 < keys) add(k + 1, sums[1]);
  if (k + 2 < keys) add(k + 2, sums[2]);
  for (int v = 0; v < V; ++v)
    store(total + v * L, (sums[0][v] + sums[2][v]) + (sums[1][v] + sums[3][v]));
}

void soften_row(float* scores, std::int64_t keys, float scale, float* high, float* total) {
  float top[L];
  for (std::int64_t l = 0; l < L; ++l) top[l] = -kInf;
  std::int64_t k = 0;
  if (scale != 1.0f)
    for (std::int64_t i = 0; i < keys; ++i) scores[i] *= scale;
  for (; k + L <= keys; k += L)
    for (std::int64_t l = 0; l < L; ++l) top[l] = higher(scores[k + l], top[l]);
  for (; k < keys; ++k) top[0] = higher(scores[k], top[0]);
  for (std::int64_t l = 1; l < L; ++l) top[0] = higher(top[l], top[0]);
  *high = top[0];
  const float base = base_of(top[0]);
  for (k = 0; k < keys; ++k) scores[k] = exp(scores[k] - base);
  float sums[kSums] = {};
  for (k = 0; k + kSums <= keys; k += kSums)
    for (std::int64_t i = 0; i < kSums; ++i) sums[i] += scores[k + i];
  for (std::int64_t i = 0; k + i < keys; ++i) sums[i] += scores[k + i];
  *total = (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

void pair_up(float* weights, std::int64_t keys) {
  for (std::int64_t k = 0; k < keys; k += 2) {
    const float *low = weights + k * W, *high = low + W;
    const bool both = k + 1 < keys;
    std::uint32_t pairs[W];
    for (std::int64_t l = 0; l < W; ++l) pairs[l] = narrow_bfloat16(low[l]);
    if (both)
      for (std::int64_t l = 0; l < W; ++l)
        pairs[l] |= std::uint32_t(narrow_bfloat16(high[l])) << 16;
    std::memcpy(weights + k / 2 * W, pairs, sizeof pairs);
  }
}

void join(std::int64_t lanes, float* high, float* total, const float* block_high,
          const float* block_total, float* before, float* block) {
  for (std::int64_t l = 0; l < lanes; ++l) {
    const float top = higher(high[l], block_high[l]), base = base_of(top);
    before[l] = top == -kInf ? 1.0f : exp(high[l] - base);
    block[l] = exp(block_high[l] - base);
    total[l] = total[l] * before[l] + block_total[l] * block[l];
    high[l] = top;
  }
}

void merge(float* sums, const float* part, std::int64_t n, const float* before,
           const float* block) {
  for (std::int64_t l = 0; l < W; l += L) {
    const Vector<float> x = load(before + l), y = load(block + l);
    for (std::int64_t i = l; i < n * W; i += W)
      store(sums + i, multiply_add(load(sums + i), x, load(part + i) * y));
  }
}
void merge_row(float* sums, const float* part, std::int64_t n, float before, float block) {
  const Vector<float> x = splat(before), y = splat(block);
  std::int64_t i = 0;
  for (; i + L <= n; i += L) store(sums + i, multiply_add(load(sums + i), x, load(part + i) * y));
  if (i == n) return;
  float last[2][L] = {};
  for (std::int64_t l = 0; i + l < n; ++l) last[0][l] = sums[i + l], last[1][l] = part[i + l];
  store(last[0], multiply_add(load(last[0]), x, load(last[1]) * y));
  for (std::int64_t l = 0; i + l < n; ++l) sums[i + l] = last[0][l];
}

void settle(std::int64_t lanes, const float* high, const float* total, const float* sinks,
            float none, float* factor, float* logsumexp) {
  for (std::int64_t l = 0; l < lanes; ++l) {
    float top = high[l], sum = total[l], share = 1.0f;
    if (sinks) {
      top = higher(high[l], sinks[l]);
      share = exp(high[l] - top);
      sum = sum * share + exp(sinks[l] - top);
    }
    factor[l] = sum == 0.0f ? none : share / sum;
    logsumexp[l] = sum == 0.0f ? none * kInf : top + log(sum);
  }
}

void turn(const float* panel, std::int64_t n, const float* factor, float* rows, std::int64_t step) {
  for (std::int64_t i = 0; i < n; i += L)
    for (std::int64_t l = 0; l < W; l += L) {
      const Vector<float> by = load(factor + l);
      Vector<float> block[L];
      for (std::int64_t j = 0; j < L; ++j)
        block[j] = i + j < n ? load(panel + (i + j) * W + l) * by : Vector<float>{};
      transpose<float>(block);
      for (std::int64_t j = 0; j < L; ++j) store(rows + (l + j) * step + i, block[j]);
    }
}

void scale_row(float* x, std::int64_t n, float factor) {
  for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

bool all_finite(const float* x, std::int64_t n) {
  float sums[L] = {};
  std::int64_t i = 0;
  for (; i + L <= n; i += L)
    for (std::int64_t l = 0; l < L; ++l) sums[l] += x[i + l] * 0.0f;
  for (; i < n; ++i) sums[0] += x[i] * 0.0f;
  for (std::int64_t l = 1; l < L; ++l) sums[0] += sums[l];
  return sums[0] == 0.0f;
}

void weigh(float* scores, std::int64_t keys, const float* logsumexp) {
  for (std::int64_t k = 0; k < keys; ++k, scores += W)
    for (std::int64_t l = 0; l < W; ++l) scores[l] = exp(scores[l] - logsumexp[l]);
}

void pull_back(float* slopes, const float* weights, std::int64_t keys, const float* mean) {
  for (std::int64_t k = 0; k < keys * W; k += W)
    for (std::int64_t l = 0; l < W; ++l) slopes[k + l] = weights[k + l] * (slopes[k + l] - mean[l]);
}

float dot_row(const float* a, const float* b, std::int64_t n) {
  float sums[L] = {};
  std::int64_t i = 0;
  for (; i + L <= n; i += L)
    for (std::int64_t l = 0; l < L; ++l) sums[l] += a[i + l] * b[i + l];
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  for (std::int64_t l = 1; l < L; ++l) sums[0] += sums[l];
  return sums[0];
}

}  // namespace cermet::cpu::CERMET_ISA
