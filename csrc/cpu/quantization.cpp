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

// Scales, and biases for affine, of groups as floats.
class Scales {
 public:
  // `inputs` begin with the scales; behind them stand the biases or a global scale.
  Scales(const QuantizedFormat& f, std::span<const Tensor> inputs)
      : format_(f), scales_(dense(inputs[0], holders_[0])) {
    if (f.is_affine())
      biases_ = dense(inputs[1], holders_[1]);
    else if (inputs.size() > 1)
      unit_ = unit_of(inputs[1]);
  }
  static float unit_of(const Tensor& global_scale) {
    return *data<const float>(global_scale) / kGlobalUnit;
  }

  struct Of {
    const float* scales;
    const float* biases;
    float memory[2][kPiece / kSmallestGroup];
  };
  void read(std::int64_t first, std::int64_t n, Of& to) const {
    const std::int64_t group = first / format_.group_size, groups = n / format_.group_size;
    to.scales = to.memory[0];
    to.biases = nullptr;
    if (biases_) {
      to.scales = floats(scales_, group, groups, to.memory[0]);
      to.biases = floats(*biases_, group, groups, to.memory[1]);
      return;
    }
    const auto* codes = data<const std::uint8_t>(scales_) + group;
    if (format_.mode == QuantizationMode::nvfp4)
      CERMET_DISPATCH(decode_e4m3(codes, unit_, to.memory[0], groups));
    else
      CERMET_DISPATCH(decode_e8m0(codes, to.memory[0], groups));
  }

 private:
  const QuantizedFormat& format_;
  std::optional<Scratch> holders_[2];
  const Tensor scales_;
  std::optional<Tensor> biases_;
  float unit_ = 1;
};

}  // namespace

void dequantize(const QuantizedFormat& f, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holder;
  const Tensor words = dense(inputs[0], holder);
  const Scales scales(f, inputs.subspan(1));
  for_pieces(out.size(), [&](std::int64_t first, std::int64_t n) {
    Scales::Of of;
    scales.read(first, n, of);
    float values[kPiece];
    float* to = out.dtype == float32 ? data<float>(out) + first : values;
    CERMET_DISPATCH(dequantize(data<const std::uint32_t>(words) + first * f.bits / 32, of.scales,
                               of.biases, f.bits, f.group_size, to, n));
    if (out.dtype == float16)
      CERMET_DISPATCH(from_floats(to, data<float16_t>(out) + first, n));
    else if (out.dtype == bfloat16)
      CERMET_DISPATCH(from_floats(to, data<bfloat16_t>(out) + first, n));
  });
}

void quantize(const QuantizedFormat& f, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holder;
  const Tensor x = dense(inputs[0], holder);
  const Scales scales(f, inputs.subspan(1));
  for_pieces(x.size(), [&](std::int64_t first, std::int64_t n) {
    Scales::Of of;
    scales.read(first, n, of);
    float values[kPiece];
    CERMET_DISPATCH(quantize(floats(x, first, n, values), of.scales, of.biases, f.bits,
                             f.group_size, data<std::uint32_t>(out) + first * f.bits / 32, n));
  });
}

void quantize_scales(const QuantizedFormat& f, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holder;
  const Tensor x = dense(inputs[0], holder);
  const float unit = inputs.size() > 1 ? Scales::unit_of(inputs[1]) : 1.0f;
  for_pieces(x.size(), [&](std::int64_t first, std::int64_t n) {
    float values[kPiece];
    const float* from = floats(x, first, n, values);
    const std::int64_t group = first / f.group_size;
    if (f.is_affine()) {
      float* to = data<float>(out) + group;
      CERMET_DISPATCH(find_scales(from, f.bits, f.group_size, to, to + out.size() / 2, n));
      return;
    }
    auto* codes = data<std::uint8_t>(out) + group;
    if (f.mode == QuantizationMode::nvfp4)
      CERMET_DISPATCH(find_e4m3(from, unit, f.group_size, codes, n));
    else
      CERMET_DISPATCH(find_e8m0(from, f.bits, f.group_size, codes, n));
  });
}

}  // namespace cermet::cpu
