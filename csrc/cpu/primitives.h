// The CPU's functions for the primitives that are not row programs, one file a family.
#pragma once

#include <span>

#include "cpu/backend.h"
#include "cpu/products/epilogue.h"
#include "graph/composites.h"
#include "graph/primitives.h"

namespace cermet::cpu {

void arange(const Arange& p, const Tensor& out);
void concatenate(const Concatenate& p, std::span<const Tensor> inputs, const Tensor& out);
void gather(const Gather& p, std::span<const Tensor> inputs, const Tensor& out);
void scatter(const Scatter& p, std::span<const Tensor> inputs, const Tensor& out);
void arg_reduce(const ArgReduce& p, const Tensor& a, const Tensor& out);
void scan(const Scan& p, const Tensor& a, const Tensor& out);
void sort(const Sort& p, const Tensor& a, const Tensor& out);
void search_sorted(const SearchSorted& p, std::span<const Tensor> inputs, const Tensor& out);
void take_along_axis(const TakeAlongAxis& p, const Tensor& a, const Tensor& indices,
                     const Tensor& out);
void matmul(const Tensor& a, const Tensor& b, const Tensor& out);
void quantized_matmul(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out);
// The same with results that go to an epilogue, and `out` without memory. What they read may be
// that of two products of one shape and left operand, one after the other (`count`).
void matmul(std::span<const Tensor> inputs, const Tensor& out, const Epilogue& epilogue);
void quantized_matmul(const QuantizedFormat& p, std::size_t count, std::span<const Tensor> inputs,
                      const Tensor& out, const Epilogue& epilogue);
// Products of what is chosen, and which of them are computed whole.
void gathered_matmul(const GatheredMatmul& p, std::span<const Tensor> inputs, const Tensor& out);
bool takes_gathered(const GatheredOptions& options, const Node& node);
void block_masked_matmul(const BlockMaskedMatmul& p, std::span<const Tensor> inputs,
                         const Tensor& out);
bool takes_masked(const BlockMaskedOptions& options, const Node& node);
void segmented_matmul(const SegmentedMatmul& p, std::span<const Tensor> inputs, const Tensor& out);
void dequantize(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out);
void quantize(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out);
void quantize_scales(const QuantizedFormat& p, std::span<const Tensor> inputs, const Tensor& out);
void attention(const AttentionOptions& p, std::span<const Tensor> inputs, const Tensor& out);
void attention_gradient(const AttentionOptions& p, std::span<const Tensor> inputs,
                        const Tensor& out);
void max_pool(const MaxPoolOptions& p, std::span<const Tensor> inputs, const Tensor& out);
// Convolutions and their gradients, and which of them are computed whole.
void convolution(const Primitive& p, std::span<const Tensor> inputs, const Tensor& out);
bool takes_convolution(const Node& node);
void fft(const Fft& p, const Tensor& a, const Tensor& out);
void random_bits(const Tensor& keys, const Tensor& out);
void load(const Load& p, const Tensor& out);

}  // namespace cermet::cpu
