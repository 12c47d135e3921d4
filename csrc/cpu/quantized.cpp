// Products with quantized weights, which are unpacked to float a block at a time.
#include <list>
#include <stdexcept>
#include <string>

#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/matmul.h"
#include "cpu/primitives.h"
#include "cpu/quantized_kernel.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// A row-major copy of `a` in float, or `a` itself; kept by the holders.
const float* floats(const Tensor& a, std::optional<Scratch>& layout, std::optional<Scratch>& wide) {
  const Tensor x = dense(a, layout);
  if (x.dtype == float32) return data<const float>(x);
  wide.emplace(float32, x.shape);
  float* to = data<float>(wide->tensor);
  visit(x.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T>)
      parallel_for(x.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        CERMET_DISPATCH(to_floats(data<const T>(x) + begin, to + begin, end - begin));
      });
  });
  return to;
}

void store(const float* from, const Tensor& out, std::int64_t at, std::int64_t n) {
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T>)
      CERMET_DISPATCH(from_floats(from, data<T>(out) + at, n));
    else if constexpr (std::is_same_v<T, float>)
      std::copy_n(from, n, data<T>(out) + at);
  });
}

// Packed weights: their words, scales and biases.
struct Weights {
  explicit Weights(std::span<const Tensor> inputs)
      : packed(dense(inputs[0], holders[0])),
        words(data<const std::uint32_t>(packed)),
        scales(floats(inputs[1], holders[1], holders[2])),
        biases(floats(inputs[2], holders[3], holders[4])) {}
  std::optional<Scratch> holders[5];
  const Tensor packed;
  const std::uint32_t* const words;
  const float *const scales, *const biases;
};

void multiply(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out,
              const Epilogue& epilogue) {
  std::optional<Scratch> holders[2];
  const float* x = floats(inputs[0], holders[0], holders[1]);
  std::list<Weights> all;  // of each product
  for (std::size_t i = 1; i < inputs.size(); i += 4) all.emplace_back(inputs.subspan(i, 3));

  const Tensor& weights = all.front().packed;
  const std::size_t axes = weights.shape.size();
  const std::int64_t w_rows = weights.shape[axes - 2];
  const std::int64_t w_columns = weights.shape[axes - 1] * 32 / p.bits;
  const std::int64_t n = p.transpose ? w_rows : w_columns, k = p.transpose ? w_columns : w_rows;
  const std::int64_t row_words = weights.shape[axes - 1], row_groups = w_columns / p.group_size;
  std::int64_t batches = 1;
  for (std::size_t i = 0; i + 2 < axes; ++i) batches *= weights.shape[i];
  const std::int64_t m = out.size() / n / batches;

  // A tile is `width` columns of the output; its weights are unpacked `depth` of k at a time.
  const std::int64_t width = p.transpose ? (m <= 8 ? 16 : 64) : 512;
  const std::int64_t depth = p.transpose ? 4096 : 64;
  const std::int64_t tiles = (n - 1) / width + 1;
  const std::int64_t widest = std::min(width, n), deepest = std::min(depth, k);
  parallel_for(batches * tiles, grain_for(widest * k), [&](std::int64_t begin, std::int64_t end) {
    const Workspace<float> memory(widest * deepest +
                                  m * widest * static_cast<std::int64_t>(all.size()));
    float* const block = memory.get();
    for (; begin < end; ++begin) {
      const std::int64_t batch = begin / tiles, j = begin % tiles * width;
      const std::int64_t columns = std::min(width, n - j);
      // Unpacks `count` weights of row `row` from element `first` of it.
      auto unpack = [&](const Weights& w, std::int64_t row, std::int64_t first, std::int64_t count,
                        float* to) {
        const std::int64_t r = batch * w_rows + row, group = r * row_groups + first / p.group_size;
        CERMET_DISPATCH(dequantize(w.words + r * row_words + first * p.bits / 32, w.scales + group,
                                   w.biases + group, p.bits, p.group_size, to, count));
      };
      FinishedTile tile{batch, 0, m, j, columns, {}, columns};
      float* sum = block + widest * deepest;
      std::size_t product = 0;
      for (const Weights& w : all) {
        tile.values[product++] = sum;
        for (std::int64_t q = 0; q < k; q += depth) {
          const std::int64_t count = std::min(depth, k - q);
          const std::int64_t rows = p.transpose ? columns : count;
          const std::int64_t run = p.transpose ? count : columns;
          for (std::int64_t r = 0; r < rows; ++r) {
            if (p.transpose)
              unpack(w, j + r, q, run, block + r * run);
            else
              unpack(w, q + r, j, run, block + r * run);
          }
          gemm<float>({x + batch * m * k + q, k, false}, {block, run, p.transpose}, sum, columns, m,
                      columns, count, q > 0);
        }
        sum += m * columns;
      }
      epilogue(tile);
    }
  });
}

}  // namespace

void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out) {
  const std::int64_t n = out.shape.back();
  const std::int64_t m = out.shape.size() > 1 ? out.shape[out.shape.size() - 2] : 1;
  multiply(p, inputs, out, [&](const FinishedTile& t) {
    for (std::int64_t i = 0; i < t.rows; ++i)
      store(static_cast<const float*>(t.values[0]) + i * t.step, out,
            (t.batch * m + t.row + i) * n + t.column, t.columns);
  });
}

void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out,
                      const Epilogue& epilogue) {
  multiply(p, inputs, out, epilogue);
}

}  // namespace cermet::cpu
