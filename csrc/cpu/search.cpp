// Places in a sorted sequence.
#include "cpu/search.h"

#include "cpu/layout.h"
#include "cpu/loops.h"
#include "cpu/primitives.h"

namespace cermet::cpu {
namespace {

Tensor widened(const Tensor& a, std::optional<Scratch>& holder) {
  const Loop loop = loops().widen[static_cast<int>(a.dtype)];
  const Tensor& out = holder.emplace(Dtype::float32, a.shape).tensor;
  parallel_for(out.size(), grain_for(1), [&](std::int64_t begin, std::int64_t end) {
    loop(data<float>(out) + begin, a.data + 2 * begin, nullptr, nullptr, end - begin);
  });
  return out;
}

}  // namespace

void search_sorted(const SearchSorted& p, std::span<const Tensor> inputs, const Tensor& out) {
  std::optional<Scratch> holders[2], floats[2];
  Tensor sorted = dense(inputs[0], holders[0]), values = dense(inputs[1], holders[1]);
  // Vectors gather floats, and no halves.
  if (is_half(values.dtype) && sorted.size() / 4 <= values.size()) {
    sorted = widened(sorted, floats[0]);
    values = widened(values, floats[1]);
  }
  const auto width = static_cast<std::int64_t>(size_of(values.dtype));
  const SearchLoop loop = CERMET_DISPATCH(search_loop(values.dtype));
  constexpr std::int64_t kSteps = 16;
  parallel_for(out.size(), grain_for(kSteps), [&](std::int64_t begin, std::int64_t end) {
    loop(sorted.data, sorted.size(), values.data + begin * width, data<std::uint32_t>(out) + begin,
         end - begin, p.options);
  });
}

}  // namespace cermet::cpu
