// The packers: from any strides to panels, a vector at a time where one step is 1.
#include "cpu/products/pack.h"

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// A complex matrix as a real one of twice the depth.
void pack_left(const Strip& s, std::int64_t W, std::int64_t step, void* panels) {
  const auto* const from = static_cast<const complex64_t*>(s.data);
  auto* const to = static_cast<float*>(panels);
  for (std::int64_t p = 0; p < s.depth / 2; ++p)
    for (std::int64_t w = 0; w < s.width; ++w) {
      const complex64_t x = from[w * s.width_step + p * s.depth_step];
      float* const above = to + w / W * step + 2 * p * W + w % W;
      above[0] = x.re;
      above[W] = x.im;
    }
}
// And of twice the columns.
void pack_right(const Strip& s, std::int64_t W, std::int64_t step, void* panels) {
  const auto* const from = static_cast<const complex64_t*>(s.data);
  auto* const to = static_cast<float*>(panels);
  for (std::int64_t p = 0; p < s.depth / 2; ++p)
    for (std::int64_t w = 0; w < (s.width + W - 1) / W * W; w += 2) {
      const complex64_t x =
          w < s.width ? from[w / 2 * s.width_step + p * s.depth_step] : complex64_t{0, 0};
      float* const above = to + w / W * step + 2 * p * W + w % W;
      above[0] = above[W + 1] = x.re;
      above[1] = x.im;
      above[W] = -x.im;
    }
}

}  // namespace

void fill_packs(ProductKernels& table) {
  const auto set = [&](Packing p, Pack pack) { table.pack[static_cast<int>(p)] = pack; };
  set(Packing::f32, pack<Source<Plain<float>>>);
  set(Packing::f64, pack<Source<Plain<double>>>);
  set(Packing::f16, pack<Source<Widened<float16_t>>>);
  set(Packing::bf16, pack<Source<Widened<bfloat16_t>>>);
  set(Packing::bf16_pairs, pack<Source<Pairs>>);
  set(Packing::c64_left, pack_left);
  set(Packing::c64_right, pack_right);
}

}  // namespace cermet::cpu::CERMET_ISA
