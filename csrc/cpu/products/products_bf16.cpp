// The kernels of bfloat16 by the instruction that adds the products of pairs.
#include "cpu/products/stream.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

struct Dot {
  using Unit = std::uint32_t;
  using Sum = float;
  static constexpr int kNumbers = 2;
  static Vector<float> add(Vector<Unit> a, Vector<Unit> b, Vector<float> c) {
#if defined(__AVX512BF16__)
    return (Vector<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    return (Vector<float>)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b);
#endif
  }
};

}  // namespace

void fill_dot(ProductKernels& table) {
  table.bf16_pairs = block_kernel<Dot>();
  table.stream[static_cast<int>(Packing::bf16_pairs)] = stream<Dot, Source<Pairs>>;
}

}  // namespace cermet::cpu::CERMET_ISA
