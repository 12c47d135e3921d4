// Helpers over layouts: walking strided domains, collapsing axes, dense copies.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "cermet/memory.h"
#include "cpu/backend.h"
#include "cpu/parallel.h"
#include "graph/layout.h"

namespace cermet::cpu {

// The elements a piece of a parallel loop should have for the work to outweigh its hand-over.
inline constexpr std::int64_t kGrain = 32 * 1024;

// Grain for a loop whose iterations touch `each` elements.
inline std::int64_t grain_for(std::int64_t each) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, each));
}

template <class T>
T* data(const Tensor& t) {
  return reinterpret_cast<T*>(t.data);
}

// Calls f with the unsigned type of the given size.
template <class F>
void by_size(std::size_t size, F f) {
  switch (size) {
    case 1: return f(Type<std::uint8_t>{});
    case 2: return f(Type<std::uint16_t>{});
    case 4: return f(Type<std::uint32_t>{});
    default: return f(Type<std::uint64_t>{});
  }
}

// A row-major tensor in memory of its own.
struct Scratch {
  Scratch(Dtype dtype, const Shape& shape)
      : tensor{nullptr, dtype, shape, row_major(shape)},
        buffer(allocate(static_cast<std::size_t>(tensor.size()) * size_of(dtype))) {
    tensor.data = static_cast<std::byte*>(buffer->data());
  }
  Tensor tensor;
  Ref<Buffer> buffer;
};

// Uninitialised memory for n elements, from the caching allocator.
template <class T>
class Workspace {
 public:
  explicit Workspace(std::int64_t n) : buffer_(allocate(static_cast<std::size_t>(n) * sizeof(T))) {}
  T* get() const { return static_cast<T*>(buffer_->data()); }
  std::span<T> span() const { return {get(), buffer_->bytes() / sizeof(T)}; }

 private:
  Ref<Buffer> buffer_;
};

// The extents before, at and after an axis of a row-major tensor.
struct Split {
  Split(const Shape& shape, int axis) : n(shape[axis]) {
    for (int i = 0; i < static_cast<int>(shape.size()); ++i) {
      if (i < axis) outer *= shape[i];
      if (i > axis) inner *= shape[i];
    }
  }
  std::int64_t outer = 1, n, inner = 1;
};

// N tensors walked together: one shape, strides for each.
template <std::size_t N>
struct Domain {
  Shape shape;
  std::array<Strides, N> strides;

  void collapse() { merge_axes(shape, strides); }
  void swap_axes(std::size_t i, std::size_t j) {
    std::swap(shape[i], shape[j]);
    for (auto& s : strides) std::swap(s[i], s[j]);
  }
  // Removes the last axis and gives its extent and strides; extent 1 when there is none.
  std::pair<std::int64_t, std::array<std::int64_t, N>> pop() {
    std::pair<std::int64_t, std::array<std::int64_t, N>> last{1, {}};
    if (shape.empty()) return last;
    last.first = shape.back();
    shape.pop_back();
    for (std::size_t k = 0; k < N; ++k) {
      last.second[k] = strides[k].back();
      strides[k].pop_back();
    }
    return last;
  }
  std::int64_t size() const { return element_count(shape); }
};

// A position in a domain, moved in row-major order; offset[k] is tensor k's.
template <std::size_t N>
class Walk {
 public:
  Walk(const Domain<N>& domain, std::int64_t start) : domain_(domain), index_(domain.shape.size()) {
    for (std::size_t i = domain.shape.size(); i-- > 0;) {
      index_[i] = start % domain.shape[i];
      start /= domain.shape[i];
      for (std::size_t k = 0; k < N; ++k) offset[k] += index_[i] * domain.strides[k][i];
    }
  }
  void next() {
    for (std::size_t i = index_.size(); i-- > 0;) {
      for (std::size_t k = 0; k < N; ++k) offset[k] += domain_.strides[k][i];
      if (++index_[i] < domain_.shape[i]) return;
      for (std::size_t k = 0; k < N; ++k) offset[k] -= index_[i] * domain_.strides[k][i];
      index_[i] = 0;
    }
  }
  std::array<std::int64_t, N> offset{};

 private:
  const Domain<N>& domain_;
  Shape index_;
};

// Calls body(offsets, count, steps) for runs along the innermost axis, on the pool's threads.
template <std::size_t N, class Body>
void for_each_run(Domain<N> domain, Body&& body, std::int64_t grain = kGrain) {
  domain.collapse();
  const std::int64_t total = domain.size();
  const auto [n, steps] = domain.pop();
  parallel_for(total, grain, [&, n = n, steps = steps](std::int64_t begin, std::int64_t end) {
    Walk<N> walk(domain, begin / n);
    for (std::int64_t first = begin % n; begin < end; first = 0, walk.next()) {
      const std::int64_t count = std::min(n - first, end - begin);
      auto offsets = walk.offset;
      for (std::size_t k = 0; k < N; ++k) offsets[k] += first * steps[k];
      body(offsets, count, steps);
      begin += count;
    }
  });
}

// dst[c * dst_step + r] = src[r * src_step + c] for elements of `size` bytes; with `stream`, past
// the caches.
void transpose(std::size_t size, const std::byte* src, std::int64_t src_step, std::byte* dst,
               std::int64_t dst_step, std::int64_t rows, std::int64_t columns, bool stream);
template <class U>
void transpose(const U* src, std::int64_t src_step, U* dst, std::int64_t dst_step,
               std::int64_t rows, std::int64_t columns, bool stream = false) {
  transpose(sizeof(U), reinterpret_cast<const std::byte*>(src), src_step,
            reinterpret_cast<std::byte*>(dst), dst_step, rows, columns, stream);
}

// Copies bytes past the caches; end_stream() makes them visible to other threads as all stores are.
void stream(std::byte* to, const std::byte* from, std::size_t bytes);
void end_stream();
// What is larger than this would push everything else out of a cache on its way.
inline constexpr std::int64_t kStreamed = 32 << 20;  // bytes

// The tensor itself where it is row-major, else a copy that `holder` keeps.
Tensor dense(const Tensor& a, std::optional<Scratch>& holder);

// The same elements with `axis` last.
Tensor with_axis_last(Tensor a, int axis);

// The part of `a` that starts at `start` and steps by `step`, of the given shape.
Tensor slice_of(Tensor a, const Shape& start, const Shape& step, const Shape& shape);

}  // namespace cermet::cpu
