// Loads and stores of tiles: a run of elements at one stride at a time.
#include "cpu/program/layout.h"

#include <cstring>

#include "cpu/layout.h"

namespace cermet::cpu {
namespace {

template <class T>
void gather_run(std::byte* out, const std::byte* in, std::int64_t stride, std::int64_t n) {
  auto* y = reinterpret_cast<T*>(out);
  const auto* x = reinterpret_cast<const T*>(in);
  if (stride == 0)
    std::fill_n(y, n, *x);
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = x[i * stride];
}
template <class T>
void scatter_run(std::byte* out, const std::byte* in, std::int64_t stride, std::int64_t n) {
  auto* y = reinterpret_cast<T*>(out);
  const auto* x = reinterpret_cast<const T*>(in);
  for (std::int64_t i = 0; i < n; ++i) y[i * stride] = x[i];
}
}  // namespace

void load(const Layout& layout, const std::byte* base, std::size_t size, std::int64_t first,
          std::int64_t n, std::byte* out) {
  layout.runs(first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t count) {
    const std::byte* in = base + offset * static_cast<std::int64_t>(size);
    if (stride == 1)
      std::memcpy(out, in, count * size);
    else
      by_size(size, [&]<class U>(Type<U>) { gather_run<U>(out, in, stride, count); });
    out += count * size;
  });
}

void store(const Layout& layout, std::byte* base, std::size_t size, std::int64_t first,
           std::int64_t n, const std::byte* in) {
  layout.runs(first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t count) {
    std::byte* out = base + offset * static_cast<std::int64_t>(size);
    if (stride == 1)
      std::memcpy(out, in, count * size);
    else
      by_size(size, [&]<class U>(Type<U>) { scatter_run<U>(out, in, stride, count); });
    in += count * size;
  });
}

void splat(std::byte* out, const std::byte* in, std::size_t size, std::int64_t n) {
  by_size(size, [&]<class U>(Type<U>) { gather_run<U>(out, in, 0, n); });
}

}  // namespace cermet::cpu
