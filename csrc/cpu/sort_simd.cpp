// The inner loops of sorting. Where registers can be compressed, a quicksort: partitions that keep
// the order of either side, and a network on registers for what is left.
#include "cpu/sort_loops.h"
#include "ops/cpp.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace cermet::cpu::CERMET_ISA {
namespace {

// ---- Keys --------------------------------------------------------------------------------------

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, float16_t> || std::is_same_v<T, bfloat16_t>;
template <class T>
using Bits = std::conditional_t<
    sizeof(T) == 8, std::uint64_t,
    std::conditional_t<sizeof(T) == 4, std::uint32_t,
                       std::conditional_t<sizeof(T) == 2, std::uint16_t, std::uint8_t>>>;
template <class T>
using Key = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;

template <class T>
constexpr Bits<T> infinity() {
  if constexpr (std::is_same_v<T, double>)
    return __builtin_bit_cast(Bits<T>, __builtin_inf());
  else if constexpr (std::is_same_v<T, float>)
    return __builtin_bit_cast(Bits<T>, kInf);
  else
    return std::is_same_v<T, float16_t> ? 0x7c00 : 0x7f80;
}

template <class T>
Key<T> to_key(T x, bool tied) {
  if constexpr (std::is_same_v<T, complex64_t>) {  // by parts
    return Key<T>{to_key(x.re, tied)} << 32 | to_key(x.im, tied);
  } else {
    const auto b = __builtin_bit_cast(Bits<T>, x);
    const auto sign = sign_bit<Bits<T>>(width<T>);
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T>)
      return float_to_key(b, sign, infinity<T>(), tied);
    else
      return Bits<T>(std::is_signed_v<T> ? b ^ sign : b);
  }
}

template <class T>
T from_key(Key<T> key) {
  if constexpr (std::is_same_v<T, complex64_t>) {
    return {from_key<float>(u32(key >> 32)), from_key<float>(u32(key))};
  } else {
    const auto b = static_cast<Bits<T>>(key);
    const auto sign = sign_bit<Bits<T>>(width<T>);
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T>)
      return __builtin_bit_cast(T, float_from_key(b, sign));
    else
      return static_cast<T>(std::is_signed_v<T> ? b ^ sign : b);
  }
}

template <class T>
void to_keys(void* keys, const void* in, std::int64_t n, bool tied) {
  auto* y = static_cast<Key<T>*>(keys);
  const auto* x = static_cast<const T*>(in);
  if (tied)
    for (std::int64_t i = 0; i < n; ++i) y[i] = to_key(x[i], true);
  else
    for (std::int64_t i = 0; i < n; ++i) y[i] = to_key(x[i], false);
}
template <class T>
void from_keys(void* out, const void* keys, std::int64_t n) {
  auto* y = static_cast<T*>(out);
  const auto* x = static_cast<const Key<T>*>(keys);
  for (std::int64_t i = 0; i < n; ++i) y[i] = from_key<T>(x[i]);
}

// ---- Registers ---------------------------------------------------------------------------------

#if defined(__AVX2__)
#if defined(__AVX512F__)
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;

// For each mask of eight lanes the lanes that it has, then the others.
struct Compressions {
  alignas(8) std::uint8_t lanes[256][8];
};
constexpr Compressions compressions() {
  Compressions c{};
  for (int mask = 0; mask < 256; ++mask) {
    int k = 0;
    for (int has = 1; has >= 0; --has)
      for (int lane = 0; lane < 8; ++lane)
        if ((mask >> lane & 1) == has) c.lanes[mask][k++] = std::uint8_t(lane);
  }
  return c;
}
constexpr Compressions kCompressions = compressions();
#endif

template <class T>
constexpr int kLanes = kBytes / sizeof(T);
template <class T>
struct RegisterOf {
  using type [[gnu::vector_size(kBytes)]] = T;
};
template <class T>
using Register = typename RegisterOf<T>::type;

template <class T>
Register<T> load(const T* p) {
  Register<T> r;
  __builtin_memcpy(&r, p, kBytes);
  return r;
}
template <class T>
void store(T* p, Register<T> r) {
  __builtin_memcpy(p, &r, kBytes);
}

// Stores the lanes up to `last` at `low`, the others at `high`, each with the register's length,
// and gives the number of the former.
template <class T>
int deal(Register<T> r, Register<T> last, T* low, T* high) {
#if defined(__AVX512F__)
  const auto v = __builtin_bit_cast(__m512i, r), most = __builtin_bit_cast(__m512i, last);
  if constexpr (sizeof(T) == 4) {
    const __mmask16 mask = _mm512_cmple_epu32_mask(v, most);
    _mm512_storeu_si512(low, _mm512_maskz_compress_epi32(mask, v));
    _mm512_storeu_si512(high, _mm512_maskz_compress_epi32(__mmask16(~mask), v));
    return __builtin_popcount(mask);
  } else {
    const __mmask8 mask = _mm512_cmple_epu64_mask(v, most);
    _mm512_storeu_si512(low, _mm512_maskz_compress_epi64(mask, v));
    _mm512_storeu_si512(high, _mm512_maskz_compress_epi64(__mmask8(~mask), v));
    return __builtin_popcount(mask);
  }
#else
  const auto v = __builtin_bit_cast(__m256i, r);
  const auto within = __builtin_bit_cast(__m256, r <= last);
  const int mask = _mm256_movemask_ps(within);
  const auto compressed = [&](int of) {
    const auto lanes = reinterpret_cast<const __m128i*>(kCompressions.lanes[of]);
    return _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(_mm_loadl_epi64(lanes)));
  };
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(low), compressed(mask));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(high), compressed(255 - mask));
  return __builtin_popcount(unsigned(mask)) / int(sizeof(T) / 4);
#endif
}

// ---- A network on registers --------------------------------------------------------------------

template <class V>
V smaller(V a, V b) {
  return a < b ? a : b;
}
template <class V>
V larger(V a, V b) {
  return a < b ? b : a;
}

template <class T, int... lane>
struct Network {
  using V = Register<T>;
  static constexpr int kWidth = sizeof...(lane);

  template <int kXor>
  static V partner(V v) {
    return __builtin_shufflevector(v, v, (lane ^ kXor)...);
  }
  // Of lanes i and i ^ kXor, that without the bit kUpper gets the smaller element.
  template <int kXor, int kUpper>
  static V exchange(V v) {
    const V other = partner<kXor>(v);
    return __builtin_shufflevector(smaller(v, other), larger(v, other),
                                   (lane & kUpper ? lane + kWidth : lane)...);
  }
  // Sorts bitonic runs of 2 * kHalf lanes.
  template <int kHalf>
  static V clean(V v) {
    if constexpr (kHalf > 0)
      return clean<kHalf / 2>(exchange<kHalf, kHalf>(v));
    else
      return v;
  }
  // Makes of sorted runs of kRun lanes one.
  template <int kRun = 1>
  static V sort(V v) {
    if constexpr (kRun < kWidth)
      return sort<2 * kRun>(clean<kRun / 2>(exchange<2 * kRun - 1, kRun>(v)));
    else
      return v;
  }

  template <int kCount>
  static void sort_registers(V* r) {
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) r[i] = sort(r[i]);
#pragma GCC unroll 4
    for (int run = 1; run < kCount; run *= 2) {
#pragma GCC unroll 16
      for (int first = 0; first < kCount; first += 2 * run) {
        V back[kCount];
#pragma GCC unroll 8
        for (int i = 0; i < run; ++i) back[i] = partner<kWidth - 1>(r[first + 2 * run - 1 - i]);
#pragma GCC unroll 8
        for (int i = 0; i < run; ++i) {
          const V a = r[first + i];
          r[first + i] = smaller(a, back[i]);
          r[first + run + i] = larger(a, back[i]);
        }
      }
#pragma GCC unroll 4
      for (int half = run / 2; half > 0; half /= 2)
#pragma GCC unroll 16
        for (int i = 0; i < kCount; ++i)
          if (!(i & half)) {
            const V a = r[i], b = r[i + half];
            r[i] = smaller(a, b);
            r[i + half] = larger(a, b);
          }
#pragma GCC unroll 16
      for (int i = 0; i < kCount; ++i) r[i] = clean<kWidth / 2>(r[i]);
    }
  }

  // Sorts up to kCount registers' worth of items.
  template <int kCount>
  static void sort_items(T* items, std::int64_t n) {
    V r[kCount];
    alignas(kBytes) T padded[kCount * kWidth];
    __builtin_memset(padded, 0xff, sizeof padded);
    __builtin_memcpy(padded, items, static_cast<std::size_t>(n) * sizeof(T));
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) r[i] = load(padded + i * kWidth);
    sort_registers<kCount>(r);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) store(padded + i * kWidth, r[i]);
    __builtin_memcpy(items, padded, static_cast<std::size_t>(n) * sizeof(T));
  }
};

template <class T>
struct NetworkOf;
template <>
struct NetworkOf<std::uint32_t> {
#if defined(__AVX512F__)
  using type = Network<std::uint32_t, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;
#else
  using type = Network<std::uint32_t, 0, 1, 2, 3, 4, 5, 6, 7>;
#endif
};
template <>
struct NetworkOf<std::uint64_t> {
#if defined(__AVX512F__)
  using type = Network<std::uint64_t, 0, 1, 2, 3, 4, 5, 6, 7>;
#else
  using type = Network<std::uint64_t, 0, 1, 2, 3>;
#endif
};

template <class T>
constexpr std::int64_t kFew = 16 * kLanes<T>;  // what the network sorts

template <class T>
void sort_few(T* items, std::int64_t n) {
  using Sorter = typename NetworkOf<T>::type;
  if (n <= kLanes<T>) return Sorter::template sort_items<1>(items, n);
  if (n <= 2 * kLanes<T>) return Sorter::template sort_items<2>(items, n);
  if (n <= 4 * kLanes<T>) return Sorter::template sort_items<4>(items, n);
  if (n <= 8 * kLanes<T>) return Sorter::template sort_items<8>(items, n);
  Sorter::template sort_items<16>(items, n);
}
#endif  // __AVX2__

// ---- Partitions --------------------------------------------------------------------------------

template <class T>
std::int64_t partition(T* items, T* spare, std::int64_t n, T last) {
  std::int64_t low = 0, high = 0, i = 0;
#if defined(__AVX2__)
  constexpr int kTogether = 4;  // loads ahead of the stores that might be of the same memory
  const Register<T> most = last - Register<T>{};
  for (; i + kTogether * kLanes<T> <= n; i += kTogether * kLanes<T>) {
    Register<T> r[kTogether];
    for (int k = 0; k < kTogether; ++k) r[k] = load(items + i + k * kLanes<T>);
    for (int k = 0; k < kTogether; ++k) {
      const int count = deal(r[k], most, items + low, spare + high);
      low += count;
      high += kLanes<T> - count;
    }
  }
#endif
  for (; i < n; ++i) {
    const T x = items[i];
    items[low] = spare[high] = x;
    low += x <= last;
    high += x > last;
  }
  __builtin_memcpy(items + low, spare, static_cast<std::size_t>(high) * sizeof(T));
  return low;
}

#if defined(__AVX2__)
// About the median: that of a sample, which irregular steps keep apart from patterns.
template <class T>
T pivot_of(const T* items, std::int64_t n) {
  constexpr int kMost = 64;
  const int count = n < 16 * kMost ? 16 : kMost;
  const std::int64_t step = n / count;
  T sample[kMost];
  std::uint64_t random = 1;
  for (int i = 0; i < count; ++i) {
    random = random * kRandomFactor + kRandomAddend;
    sample[i] = items[i * step + std::int64_t((random >> 33) % std::uint64_t(step))];
  }
  sort_few(sample, count);
  return sample[(count - 1) / 2];
}

// False where so many pivots were bad that the rest is left unsorted.
template <class T>
bool quicksort(T* items, T* spare, std::int64_t n, int depth) {
  while (n > kFew<T>) {
    if (depth-- == 0) return false;
    const T pivot = pivot_of(items, n);
    const std::int64_t low = partition(items, spare, n, pivot);
    if (low < n) {
      if (!quicksort(items + low, spare, n - low, depth)) return false;
      n = low;
    } else if (pivot == 0) {
      return true;
    } else {  // it is the largest: those equal to it are in their places
      n = partition(items, spare, n, T(pivot - 1));
    }
  }
  sort_few(items, n);
  return true;
}

template <class T>
bool sort(T* items, T* spare, std::int64_t n) {
  return quicksort(items, spare, n, 2 * (64 - __builtin_clzll(static_cast<u64>(n) | 1)));
}
#endif

template <class Item>
void fill(ItemLoops<Item>& loops) {
  loops.partition = partition<Item>;
#if defined(__AVX2__)
  loops.sort = sort<Item>;
#endif
}

template <class... T>
void fill_keys(SortLoops& table) {
  ((table.to_keys[static_cast<int>(dtype_of<T>)] = to_keys<T>), ...);
  ((table.from_keys[static_cast<int>(dtype_of<T>)] = from_keys<T>), ...);
}

}  // namespace

void fill_sort(SortLoops& table) {
  fill_keys<bool, std::uint8_t, std::uint16_t, std::uint32_t, std::uint64_t, std::int8_t,
            std::int16_t, std::int32_t, std::int64_t, float16_t, bfloat16_t, float, double,
            complex64_t>(table);
  fill(table.narrow);
  fill(table.wide);
}

}  // namespace cermet::cpu::CERMET_ISA
