// What a machine can do at best, to hold measurements against: multiply-adds, and reading memory.
//
//   c++ -std=c++20 -O3 -march=native -pthread benchmarks/probe.cpp -o probe && ./probe [seconds]
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

constexpr int kChains = 12;  // that hide the latency, and leave registers for factors
std::atomic<double> g_sink{0};

// Multiply-adds of `rounds` rounds, all independent but along a chain.
template <class T>
double multiply_adds(std::int64_t rounds) {
  Vector<T> sums[kChains];  // that differ, or a compiler makes one of them
  for (int c = 0; c < kChains; ++c) sums[c] = Vector<T>{} + T(c);
  const Vector<T> a = Vector<T>{} + T(0.999), b = Vector<T>{} + T(1e-3);
  for (std::int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * a + b;
  for (const Vector<T>& sum : sums) g_sink = g_sink + static_cast<double>(sum[0]);
  return 2.0 * kChains * (kBytes / sizeof(T)) * static_cast<double>(rounds);
}

#ifdef __AVX512BF16__
double bfloat16_dots(std::int64_t rounds) {
  __m512 sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = _mm512_set1_ps(static_cast<float>(c));
  const auto a = (__m512bh)_mm512_set1_epi32(0x3f803f80),
             b = (__m512bh)_mm512_set1_epi32(0x3c003c00);
  for (std::int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbf16_ps(sums[c], a, b);
  for (const __m512& sum : sums) g_sink = g_sink + sum[0];
  return 4.0 * kChains * 16 * static_cast<double>(rounds);
}
#endif

double read(const std::vector<float>& memory) {
  constexpr std::size_t kStep = 8 * kBytes / sizeof(float);
  Vector<float> sums[8] = {};
  for (std::size_t i = 0; i + kStep <= memory.size(); i += kStep)
#pragma GCC unroll 8
    for (std::size_t c = 0; c < 8; ++c)
      sums[c] += *reinterpret_cast<const Vector<float>*>(__builtin_assume_aligned(
          reinterpret_cast<const char*>(memory.data() + i) + c * kBytes, 4));
  for (const Vector<float>& sum : sums) g_sink = g_sink + static_cast<double>(sum[0]);
  return static_cast<double>(memory.size() * sizeof(float));
}

// The median rate of `work`, in units a second, that so many threads have together.
template <class Work>
double rate(unsigned threads, double seconds, Work work) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  std::vector<double> median(threads);
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t)
    all.emplace_back([&, t] {
      std::vector<double> rates;
      for (auto now = Clock::now(); rates.empty() || now < end;) {
        const auto start = now;
        const double done = work(t);
        now = Clock::now();
        rates.push_back(done / std::chrono::duration<double>(now - start).count());
      }
      const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
      std::nth_element(rates.begin(), middle, rates.end());
      median[t] = *middle;
    });
  double sum = 0;
  for (unsigned t = 0; t < threads; ++t) all[t].join(), sum += median[t];
  return sum;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 1;
  const unsigned most = std::max(1u, std::thread::hardware_concurrency());
  for (const unsigned threads : {1u, most}) {
    const auto show = [&](const char* what, const char* unit, auto work) {
      std::printf("%-26s %2u threads %8.1f %s\n", what, threads, rate(threads, seconds, work) / 1e9,
                  unit);
    };
    show("float32 multiply-add", "GFLOP/s",
         [](unsigned) { return multiply_adds<float>(1'000'000); });
    show("float64 multiply-add", "GFLOP/s",
         [](unsigned) { return multiply_adds<double>(1'000'000); });
#ifdef __AVX512BF16__
    show("bfloat16 dot product", "GFLOP/s", [](unsigned) { return bfloat16_dots(1'000'000); });
#endif
    std::vector<std::vector<float>> memory(threads, std::vector<float>(64 << 20, 1.0f));
    show("reading memory", "GB/s", [&](unsigned t) { return read(memory[t]); });
    if (most == 1) break;
  }
}
