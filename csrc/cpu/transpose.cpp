// Transposed copies.
//
// Squares of 16 bytes a side are transposed in registers. A block is a cache line wide on both
// sides: whole lines are read, and those of the next block asked for meanwhile, as rows are far
// apart in memory. Blocks are gathered for runs of several lines, which are what is written.
#include <cstdint>
#include <utility>

#include "cpu/layout.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace cermet::cpu {
namespace {

constexpr std::int64_t kLine = 64, kRun = 512;  // bytes

template <class U>
struct RegisterOf {
  using type [[gnu::vector_size(16)]] = U;
};
template <class U>
using Register = typename RegisterOf<U>::type;

// The elements of two registers by turns, from `kFirst` of each on.
template <int kFirst, class V, int... lane>
V by_turns(V a, V b, std::integer_sequence<int, lane...>) {
  constexpr int n = sizeof...(lane);
  return __builtin_shufflevector(a, b, (kFirst + lane / 2 + lane % 2 * n)...);
}

// A square, by perfect shuffles of its rows.
template <class U>
void transpose_square(const U* in, std::int64_t in_step, U* out, std::int64_t out_step) {
  constexpr int n = 16 / sizeof(U);
  constexpr std::make_integer_sequence<int, n> lanes;
  Register<U> rows[n], shuffled[n];
  for (int i = 0; i < n; ++i) std::memcpy(&rows[i], in + i * in_step, 16);
#pragma GCC unroll 4
  for (int k = 1; k < n; k *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; ++i) {
      shuffled[2 * i] = by_turns<0>(rows[i], rows[i + n / 2], lanes);
      shuffled[2 * i + 1] = by_turns<n / 2>(rows[i], rows[i + n / 2], lanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) rows[i] = shuffled[i];
  }
  for (int i = 0; i < n; ++i) std::memcpy(out + i * out_step, &rows[i], 16);
}

// As many rows and columns as are given, at most kLine bytes each way. Out come all columns, each
// of which has room for kLine bytes.
template <class U>
void transpose_block(const U* src, std::int64_t step, std::int64_t rows, std::int64_t columns,
                     U* out, std::int64_t out_step) {
  constexpr std::int64_t kSide = kLine / sizeof(U), kSquare = 16 / sizeof(U);
  alignas(kLine) U in[kSide][kSide];  // rows far apart would push each other out of the cache
  if (rows == kSide && columns == kSide)
    for (std::int64_t i = 0; i < kSide; ++i) {
      std::memcpy(in[i], src + i * step, kLine);
      __builtin_prefetch(src + i * step + 2 * kSide - 1);
    }
  else
    for (std::int64_t i = 0; i < rows; ++i) std::copy_n(src + i * step, columns, in[i]);
  for (std::int64_t i = 0; i < rows; i += kSquare)
    for (std::int64_t j = 0; j < columns; j += kSquare)
      transpose_square(&in[i][j], kSide, out + j * out_step + i, out_step);
}

template <class U>
void transpose_elements(const U* src, std::int64_t src_step, U* dst, std::int64_t dst_step,
                        std::int64_t rows, std::int64_t columns, bool past_caches) {
  constexpr std::int64_t kSide = kLine / sizeof(U), kRows = kRun / sizeof(U);
  alignas(kLine) U run[kSide][kRows];
  for (std::int64_t r = 0; r < rows; r += kRows) {
    const std::int64_t height = std::min(kRows, rows - r);
    for (std::int64_t next = 0; next < columns; next += kSide) {
      const std::int64_t width = std::min(kSide, columns), c = std::min(next, columns - width);
      const std::int64_t tall = std::min(kSide, height);
      for (std::int64_t below = 0; below < height; below += kSide) {
        const std::int64_t i = std::min(below, height - tall);
        transpose_block(src + (r + i) * src_step + c, src_step, tall, width, &run[0][i], kRows);
      }
      for (std::int64_t j = 0; j < width; ++j) {
        U* to = dst + (c + j) * dst_step + r;
        if (past_caches)
          stream(reinterpret_cast<std::byte*>(to), reinterpret_cast<const std::byte*>(run[j]),
                 static_cast<std::size_t>(height) * sizeof(U));
        else if (height == kRows)
          std::memcpy(to, run[j], kRun);
        else
          std::copy_n(run[j], height, to);
      }
    }
  }
}

}  // namespace

void stream(std::byte* to, const std::byte* from, std::size_t bytes) {
#if defined(__SSE2__)
  const std::size_t head =
      std::min<std::size_t>(-reinterpret_cast<std::uintptr_t>(to) % kLine, bytes);
  std::memcpy(to, from, head);
  std::size_t i = head;
  for (; i + kLine <= bytes; i += kLine)  // of part of a line memory would be read as well
    for (std::size_t k = i; k < i + kLine; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k)));
  std::memcpy(to + i, from + i, bytes - i);
#else
  std::memcpy(to, from, bytes);
#endif
}

void end_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

void transpose(std::size_t size, const std::byte* src, std::int64_t src_step, std::byte* dst,
               std::int64_t dst_step, std::int64_t rows, std::int64_t columns, bool stream) {
  by_size(size, [&]<class U>(Type<U>) {
    transpose_elements(reinterpret_cast<const U*>(src), src_step, reinterpret_cast<U*>(dst),
                       dst_step, rows, columns, stream);
  });
  if (stream) end_stream();
}

}  // namespace cermet::cpu
