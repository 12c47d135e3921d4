// The packers: from any strides to panels, a vector at a time where one step is 1.
#include "cpu/products/pack.h"

#include "cpu/products/source.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

// A complex matrix as a real one of twice the depth.
void pack_complex_rows(const Strip& s, std::int64_t step, void* rows) {
  const auto* const from = static_cast<const complex64_t*>(s.data);
  auto* const to = static_cast<complex64_t*>(rows);
  for (std::int64_t w = 0; w < s.width; ++w)
    for (std::int64_t p = 0; p < s.depth / 2; ++p)
      to[w * step / 2 + p] = from[w * s.width_step + p * s.depth_step];
}
// And of twice the columns.
void pack_complex_panels(const Strip& s, std::int64_t W, std::int64_t step, void* panels) {
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
  const auto set = [&]<class R>(Packing p, R*) {
    table.rows[static_cast<int>(p)] = pack_rows<R>;
    table.panels[static_cast<int>(p)] = pack_panels<Source<R>>;
  };
  set(Packing::f32, static_cast<Plain<float>*>(nullptr));
  set(Packing::f64, static_cast<Plain<double>*>(nullptr));
  set(Packing::f16, static_cast<Widened<float16_t>*>(nullptr));
  set(Packing::bf16, static_cast<Widened<bfloat16_t>*>(nullptr));
  set(Packing::bf16_pairs, static_cast<Pairs*>(nullptr));
  table.rows[static_cast<int>(Packing::c64)] = pack_complex_rows;
  table.panels[static_cast<int>(Packing::c64)] = pack_complex_panels;
}

}  // namespace cermet::cpu::CERMET_ISA
