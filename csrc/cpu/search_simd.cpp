// Binary searches for many values at once: without branches, a step for all of them, then the next.
// So what the steps read from memory is on its way for all at the same time.
#include "cpu/convert.h"
#include "cpu/loop.h"
#include "cpu/search.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

template <class T>
bool is_before(T at, T value, bool right) {
  if constexpr (std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>)
    return is_before(widen(at), widen(value), right);
  else if constexpr (std::is_floating_point_v<T>)
    return right ? (at <= value) | (value != value)
                 : (at < value) | ((value != value) & (at == at));
  else
    return right ? at <= value : at < value;
}

template <bool kRight, class T, class I>
void search_block(const T* sorted, I n, const T* values, std::uint32_t* out, I m) {
  for (I i = 0; i < m; ++i) out[i] = 0;
  const auto last = static_cast<std::uint32_t>(n);
  for (auto step = std::uint32_t{1} << (31 - __builtin_clz(last)); step > 0; step /= 2) {
    CERMET_VECTORIZE
    for (I i = 0; i < m; ++i) {
      const std::uint32_t next = out[i] + step, inside = next < last ? next : last;
      const bool before = is_before(sorted[static_cast<I>(inside - 1)], values[i], kRight);
      out[i] = (next <= last) & before ? next : out[i];
    }
  }
}

template <class T>
void search(const void* sorted, std::int64_t n, const void* values, std::uint32_t* out,
            std::int64_t m, bool right) {
  constexpr std::int64_t kTogether = 128;
  const auto* x = static_cast<const T*>(sorted);
  const auto* v = static_cast<const T*>(values);
  const auto blocks = [&]<class I>(Type<I>) {
    for (std::int64_t i = 0; i < m; i += kTogether) {
      const I count = static_cast<I>(m - i < kTogether ? m - i : kTogether);
      (right ? search_block<true, T, I> : search_block<false, T, I>)(x, static_cast<I>(n), v + i,
                                                                     out + i, count);
    }
  };
  if (n == 0)
    __builtin_memset(out, 0, static_cast<std::size_t>(m) * sizeof *out);
  else if (n < std::int64_t{1} << 30)  // sums of two places are in range
    blocks(Type<std::int32_t>{});
  else
    blocks(Type<std::int64_t>{});
}

}  // namespace

SearchLoop search_loop(Dtype t) {
  switch (t) {
    case Dtype::bool_:
    case Dtype::uint8: return search<std::uint8_t>;
    case Dtype::uint16: return search<std::uint16_t>;
    case Dtype::uint32: return search<std::uint32_t>;
    case Dtype::uint64: return search<std::uint64_t>;
    case Dtype::int8: return search<std::int8_t>;
    case Dtype::int16: return search<std::int16_t>;
    case Dtype::int32: return search<std::int32_t>;
    case Dtype::int64: return search<std::int64_t>;
    case Dtype::float16: return search<float16_t>;
    case Dtype::bfloat16: return search<bfloat16_t>;
    case Dtype::float32: return search<float>;
    case Dtype::float64: return search<double>;
    default: return nullptr;
  }
}

}  // namespace cermet::cpu::CERMET_ISA
