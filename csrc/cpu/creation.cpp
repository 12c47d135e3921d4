// Primitives that make values from parameters, or from outside the graph.
#include "cpu/layout.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {

// Each element is computed from its index, in double or for integers exactly, so rounding does not
// build up along the range.
void arange(const Arange& p, const Tensor& out) {
  const auto first = static_cast<std::uint64_t>(p.first), by = static_cast<std::uint64_t>(p.by);
  visit(out.dtype, [&]<class T>(Type<T>) {
    parallel_for(out.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      T* to = data<T>(out);
      for (std::int64_t i = begin; i < end; ++i) {
        if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
          to[i] = static_cast<T>(first + static_cast<std::uint64_t>(i) * by);
        } else {
          const double v = p.start + static_cast<double>(i) * p.step;
          if constexpr (kIsHalf<T>)
            to[i] = from_float<T>(static_cast<float>(v));
          else if constexpr (kIsComplex<T>)
            to[i] = {static_cast<float>(v), 0};
          else
            to[i] = static_cast<T>(v);
        }
      }
    });
  });
}

void load(const Load& p, const Tensor& out) {
  constexpr std::int64_t kPiece = 1 << 22;
  const std::int64_t bytes = out.size() * static_cast<std::int64_t>(size_of(out.dtype));
  parallel_for(bytes, p.in_pieces() ? kPiece : bytes, [&](std::int64_t begin, std::int64_t end) {
    p.read(static_cast<std::uint64_t>(begin),
           {out.data + begin, static_cast<std::size_t>(end - begin)});
  });
}

}  // namespace cermet::cpu
