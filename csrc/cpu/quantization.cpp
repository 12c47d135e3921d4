// Quantization of arrays and back, in pieces that the cache holds.
#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/quantized_kernel.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kPiece = 2048, kSmallestGroup = 16;

// The n elements from the first one given on as floats: in place, or in the buffer.
const float* floats(const Tensor& a, std::int64_t first, std::int64_t n, float* buffer) {
  if (a.dtype == float32) return data<const float>(a) + first;
  if (a.dtype == float16)
    CERMET_DISPATCH(to_floats(data<const float16_t>(a) + first, buffer, n));
  else
    CERMET_DISPATCH(to_floats(data<const bfloat16_t>(a) + first, buffer, n));
  return buffer;
}

// Calls body(first, n) for pieces of whole groups of so many elements, on the pool's threads.
template <class Body>
void for_pieces(std::int64_t elements, Body body) {
  parallel_for((elements + kPiece - 1) / kPiece, grain_for(kPiece),
               [&](std::int64_t begin, std::int64_t end) {
                 for (; begin < end; ++begin)
                   body(begin * kPiece, std::min(kPiece, elements - begin * kPiece));
               });
}

}  // namespace

void dequantize(const QuantizedFormat& f, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holders[3];
  const Tensor words = dense(inputs[0], holders[0]), scales = dense(inputs[1], holders[1]);
  std::optional<Tensor> biases;
  if (f.is_affine()) biases = dense(inputs[2], holders[2]);
  const float factor =
      inputs.size() > f.parts() ? *data<const float>(inputs[f.parts()]) / 2688 : 1.0f;
  for_pieces(out.size(), [&](std::int64_t first, std::int64_t n) {
    float scale_buffer[kPiece / kSmallestGroup], bias_buffer[kPiece / kSmallestGroup];
    float values[kPiece];
    const std::int64_t group = first / f.group_size, groups = n / f.group_size;
    const float *scale = scale_buffer, *bias = nullptr;
    if (f.is_affine()) {
      scale = floats(scales, group, groups, scale_buffer);
      bias = floats(*biases, group, groups, bias_buffer);
    } else if (f.mode == QuantizationMode::nvfp4) {
      CERMET_DISPATCH(
          decode_e4m3(data<const std::uint8_t>(scales) + group, factor, scale_buffer, groups));
    } else {
      CERMET_DISPATCH(decode_e8m0(data<const std::uint8_t>(scales) + group, scale_buffer, groups));
    }
    float* to = out.dtype == float32 ? data<float>(out) + first : values;
    CERMET_DISPATCH(dequantize(data<const std::uint32_t>(words) + first * f.bits / 32, scale, bias,
                               f.bits, f.group_size, to, n));
    if (out.dtype == float16)
      CERMET_DISPATCH(from_floats(to, data<float16_t>(out) + first, n));
    else if (out.dtype == bfloat16)
      CERMET_DISPATCH(from_floats(to, data<bfloat16_t>(out) + first, n));
  });
}

void quantize(const QuantizedFormat& f, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holders[3];
  const Tensor x = dense(inputs[0], holders[0]), scales = dense(inputs[1], holders[1]);
  std::optional<Tensor> biases;
  if (f.is_affine()) biases = dense(inputs[2], holders[2]);
  for_pieces(x.size(), [&](std::int64_t first, std::int64_t n) {
    float values[kPiece];
    const std::int64_t group = first / f.group_size;
    CERMET_DISPATCH(quantize(floats(x, first, n, values), data<const float>(scales) + group,
                             biases ? data<const float>(*biases) + group : nullptr, f.bits,
                             f.group_size, data<std::uint32_t>(out) + first * f.bits / 32, n));
  });
}

void group_range(int group_size, const Tensor& a, const Tensor& out) {
  std::optional<Scratch> holder;
  const Tensor x = dense(a, holder);
  for_pieces(x.size(), [&](std::int64_t first, std::int64_t n) {
    float values[kPiece];
    CERMET_DISPATCH(group_range(floats(x, first, n, values), group_size,
                                data<float>(out) + first / group_size * 2, n));
  });
}

}  // namespace cermet::cpu
