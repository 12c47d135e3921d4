// Fourier transforms of columns: passes over scratch memory, where the real parts of an element's
// lanes are a vector and the imaginary ones the next.
//
// Nothing is contracted, and every element's operations are the same in vectors of any width.
#include <algorithm>

#include "cpu/fft_kernel.h"
#include "cpu/products/vector.h"

namespace cermet::cpu::CERMET_ISA {
namespace {

using V = Vector<float>;
constexpr int W = kVectorLanes<float>;

template <class T>
struct Complex {
  T re, im;
};
template <class T>
inline Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <class T>
inline Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <class T>
inline Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <class T>
inline Complex<T> times_minus_i(Complex<T> a) {
  return {a.im, -a.re};
}
using C = Complex<V>;

inline C get(const float* x, std::int64_t i) {
  return {load(x + i * 2 * W), load(x + i * 2 * W + W)};
}
inline void put(float* x, std::int64_t i, C c) {
  store(x + i * 2 * W, c.re), store(x + i * 2 * W + W, c.im);
}
inline C splat_pair(const float* x) { return {splat(x[0]), splat(x[1])}; }

// ---- Passes ----

inline void four(C& a, C& b, C& c, C& d) {
  const C e = a + c, f = a - c, g = b + d, h = times_minus_i(b - d);
  a = e + g, b = f + h, c = e - g, d = f - h;
}
inline void transform(C (&x)[2]) {
  const C a = x[0];
  x[0] = a + x[1], x[1] = a - x[1];
}
inline void transform(C (&x)[4]) { four(x[0], x[1], x[2], x[3]); }
inline void transform(C (&x)[8]) {
  const V half = splat(0x1.6a09e6p-1f);  // the root of 1/2
  four(x[0], x[2], x[4], x[6]);
  four(x[1], x[3], x[5], x[7]);
  const C a = x[1], b = x[3], c = times_minus_i(x[5]), d = x[7];
  const C e{half * (b.re + b.im), half * (b.im - b.re)};
  const C g{half * (d.im - d.re), -half * (d.re + d.im)};
  const C y0 = x[0], y1 = x[2], y2 = x[4], y3 = x[6];
  x[0] = y0 + a, x[4] = y0 - a;
  x[1] = y1 + e, x[5] = y1 - e;
  x[2] = y2 + c, x[6] = y2 - c;
  x[3] = y3 + g, x[7] = y3 - g;
}

// The transform of `radix` numbers. kRadix is the same, or 0 for any odd one: these go by sums and
// differences of inputs whose roots are conjugate.
template <int kRadix, class In, class Out>
[[gnu::always_inline]] inline void butterfly(int radix, const float* roots, In in, Out out) {
  if constexpr (kRadix > 0 && kRadix % 2 == 0) {
    C x[kRadix];
#pragma GCC unroll 8
    for (int r = 0; r < kRadix; ++r) x[r] = in(r);
    transform(x);
#pragma GCC unroll 8
    for (int j = 0; j < kRadix; ++j) out(j, x[j]);
  } else {
    constexpr int kMost = kRadix ? kRadix / 2 : kMostRadix / 2;
    const int n = kRadix ? kRadix : radix, half = n / 2;
    const C first = in(0);
    C sum[kMost], difference[kMost], total = first;
#pragma GCC unroll 8
    for (int r = 0; r < half; ++r) {
      const C a = in(r + 1), b = in(n - r - 1);
      sum[r] = a + b, difference[r] = a - b;
      total = total + sum[r];
    }
    out(0, total);
#pragma GCC unroll 8
    for (int j = 1; j <= half; ++j) {
      C a = first, b{};
#pragma GCC unroll 8
      for (int r = 0, k = j; r < half; ++r, k = k + j < n ? k + j : k + j - n) {
        const V cosine = splat(roots[k]), sine = splat(roots[n + k]);
        a = {a.re + cosine * sum[r].re, a.im + cosine * sum[r].im};
        const C t{sine * difference[r].re, sine * difference[r].im};
        b = r == 0 ? t : b + t;
      }
      out(j, {a.re + b.im, a.im - b.re});
      out(n - j, {a.re - b.im, a.im + b.re});
    }
  }
}

template <int kRadix, bool kLast>
void pass_of(const FftPass& pass, const float* x, float* y) {
  const int radix = kRadix ? kRadix : pass.radix;
  const std::int64_t s = pass.stride, m = kLast ? 1 : pass.rest;
  const float* w = pass.twiddles;
  for (std::int64_t p = 0; p < m; ++p, w += 2 * (radix - 1))
    for (std::int64_t q = 0; q < s; ++q)
      butterfly<kRadix>(
          radix, pass.roots,
          [&](int r) __attribute__((always_inline)) { return get(x, q + s * (p + m * r)); },
          [&](int j, C c) __attribute__((always_inline)) {
            put(y, q + s * (radix * p + j), kLast || j == 0 ? c : c * splat_pair(w + 2 * (j - 1)));
          });
}

void run(const FftPass& pass, const float* x, float* y) {
  const auto of = [&]<int kRadix>() {
    pass.rest == 1 ? pass_of<kRadix, true>(pass, x, y) : pass_of<kRadix, false>(pass, x, y);
  };
  switch (pass.radix) {
    case 2: return of.operator()<2>();
    case 3: return of.operator()<3>();
    case 4: return of.operator()<4>();
    case 5: return of.operator()<5>();
    case 7: return of.operator()<7>();
    case 8: return of.operator()<8>();
    case 11: return of.operator()<11>();
    case 13: return of.operator()<13>();
    default: return of.operator()<0>();
  }
}

// ---- Into and out of scratch memory ----

constexpr auto kEven = [](int l) { return 2 * l; };
constexpr auto kOdd = [](int l) { return 2 * l + 1; };
constexpr auto kLow = [](int l) { return l / 2 + l % 2 * W; };
constexpr auto kHigh = [](int l) { return W / 2 + l / 2 + l % 2 * W; };
constexpr auto kReverse = [](int l) { return W - 1 - l; };

inline C load_pairs(const float* x) {
  const V a = load(x), b = load(x + W);
  return {shuffle<kEven>(a, b), shuffle<kOdd>(a, b)};
}
inline void store_pairs(float* x, C c) {
  store(x, shuffle<kLow>(c.re, c.im)), store(x + W, shuffle<kHigh>(c.re, c.im));
}

// How the lanes of a side lie in memory.
enum class Lanes : std::uint8_t { pairs, adjacent, rows_of_pairs, rows, apart };
Lanes lanes_of(const FftSide& s) {
  const bool pairs = s.im - s.re == 1 || s.re - s.im == 1;
  if (pairs && s.lane == 2) return Lanes::pairs;
  if (s.lane == 1) return Lanes::adjacent;
  if (pairs && s.element == 2) return Lanes::rows_of_pairs;
  return s.element == 1 ? Lanes::rows : Lanes::apart;
}
inline const float* first_of(const FftSide& s) { return s.im - s.re == 1 ? s.re : s.im; }
inline C ordered(const FftSide& s, C c) { return s.im - s.re == 1 ? c : C{c.im, c.re}; }

void load_some(const FftSide& s, std::int64_t begin, std::int64_t end, int count, float* x) {
  for (std::int64_t i = begin; i < end; ++i)
    for (int l = 0; l < W; ++l) {
      const std::int64_t at = i * s.element + l * s.lane;
      x[i * 2 * W + l] = l < count ? s.re[at] : 0;
      x[i * 2 * W + W + l] = l < count ? s.im[at] : 0;
    }
}

// The blocks of `size` that cover n elements, of which the last lies within, too: some elements are
// moved twice. Fewer elements than a block are left to others. Returns where they begin.
template <class Move>
[[gnu::always_inline]] inline std::int64_t in_blocks(std::int64_t n, std::int64_t size, Move move) {
  if (n < size) return 0;
  for (std::int64_t i = 0; i < n; i += size) move(std::min(i, n - size));
  return n;
}

// What is read or written in steps that the processor does not foresee is asked for in advance:
// elements that far apart, and the same place of the next rows.
constexpr std::int64_t kFar = 128, kAhead = 16;

void load_block(const FftSide& s, std::int64_t n, int count, float* x) {
  std::int64_t i = 0;
  const Lanes lanes = count == W ? lanes_of(s) : Lanes::apart;
  const bool far = s.element >= kFar;
  if (lanes == Lanes::pairs) {
    const float* from = first_of(s);
    for (; i < n; ++i, from += s.element) {
      if (far) {
        __builtin_prefetch(from + kAhead * s.element);
        if (W == 16) __builtin_prefetch(from + kAhead * s.element + W);
      }
      put(x, i, ordered(s, load_pairs(from)));
    }
  } else if (lanes == Lanes::adjacent) {
    for (; i < n; ++i) {
      if (far) {
        __builtin_prefetch(s.re + (i + kAhead) * s.element);
        __builtin_prefetch(s.im + (i + kAhead) * s.element);
      }
      put(x, i, {load(s.re + i * s.element), load(s.im + i * s.element)});
    }
  } else if (lanes == Lanes::rows_of_pairs) {
    const float* from = first_of(s);
    i = in_blocks(n, W / 2, [&](std::int64_t at) __attribute__((always_inline)) {
      V v[W];
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l) {
        v[l] = load(from + l * s.lane + 2 * at);
        __builtin_prefetch(from + (l + W) * s.lane + 2 * at, 0, 2);
      }
      transpose<float>(v);
#pragma GCC unroll 8
      for (int k = 0; k < W / 2; ++k) put(x, at + k, ordered(s, {v[2 * k], v[2 * k + 1]}));
    });
  } else if (lanes == Lanes::rows) {
    for (const bool imaginary : {false, true})
      i = in_blocks(n, W, [&](std::int64_t at) __attribute__((always_inline)) {
        V v[W];
#pragma GCC unroll 16
        for (int l = 0; l < W; ++l) v[l] = load((imaginary ? s.im : s.re) + l * s.lane + at);
        transpose<float>(v);
#pragma GCC unroll 16
        for (int k = 0; k < W; ++k) store(x + (at + k) * 2 * W + imaginary * W, v[k]);
      });
  }
  load_some(s, i, n, count, x);
}

// The twiddles of W lanes for element i.
struct Lane {
  const FftTwiddles& t;
  std::int64_t first;
  C operator()(std::int64_t i, int count) const {
    if (!t.coarse) {
      const std::int64_t at = i * t.element + first * t.lane;
      if (!t.lane) return {splat(t.re[at]), splat(t.im[at])};
      if (count == W) return {load(t.re + at), load(t.im + at)};
      C c{};
      for (int l = 0; l < count; ++l) c.re[l] = t.re[at + l], c.im[l] = t.im[at + l];
      return c;
    }
    const std::int64_t place = first % kFftLanes, at = i * kFftLanes + place;
    if (place % W == 0)
      return C{load(t.re + at), load(t.im + at)} *
             splat_pair(t.coarse + 2 * (first / kFftLanes * t.element + i));
    C c{};
    for (int l = 0; l < count; ++l) {
      const std::int64_t k = first + l, fine = i * kFftLanes + k % kFftLanes;
      const float* coarse = t.coarse + 2 * (k / kFftLanes * t.element + i);
      const Complex<float> product =
          Complex<float>{t.re[fine], t.im[fine]} * Complex<float>{coarse[0], coarse[1]};
      c.re[l] = product.re, c.im[l] = product.im;
    }
    return c;
  }
};

// `value(i)` is the element's result.
template <class Value>
void store_block(const FftSide& s, std::int64_t n, int count, Value value) {
  std::int64_t i = 0;
  const Lanes lanes = count == W ? lanes_of(s) : Lanes::apart;
  if (lanes == Lanes::pairs) {
    auto* to = const_cast<float*>(first_of(s));
    for (; i < n; ++i, to += s.element) {
      if (s.element >= kFar) {
        __builtin_prefetch(to + kAhead * s.element, 1);
        if (W == 16) __builtin_prefetch(to + kAhead * s.element + W, 1);
      }
      store_pairs(to, ordered(s, value(i)));
    }
  } else if (lanes == Lanes::adjacent) {
    for (; i < n; ++i) {
      const C c = value(i);
      store(s.re + i * s.element, c.re), store(s.im + i * s.element, c.im);
    }
  } else if (lanes == Lanes::rows_of_pairs) {
    auto* to = const_cast<float*>(first_of(s));
    i = in_blocks(n, W / 2, [&](std::int64_t at) __attribute__((always_inline)) {
      V v[W];
#pragma GCC unroll 8
      for (int k = 0; k < W / 2; ++k) {
        const C c = ordered(s, value(at + k));
        v[2 * k] = c.re, v[2 * k + 1] = c.im;
      }
      transpose<float>(v);
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l) {
        store(to + l * s.lane + 2 * at, v[l]);
        __builtin_prefetch(to + (l + W) * s.lane + 2 * at, 1, 2);
      }
    });
  } else if (lanes == Lanes::rows) {
    i = in_blocks(n, W, [&](std::int64_t at) __attribute__((always_inline)) {
      V re[W], im[W];
#pragma GCC unroll 16
      for (int k = 0; k < W; ++k) {
        const C c = value(at + k);
        re[k] = c.re, im[k] = c.im;
      }
      transpose<float>(re);
      transpose<float>(im);
#pragma GCC unroll 16
      for (int l = 0; l < W; ++l)
        store(s.re + l * s.lane + at, re[l]), store(s.im + l * s.lane + at, im[l]);
    });
  }
  for (; i < n; ++i) {
    const C c = value(i);
    for (int l = 0; l < count; ++l) {
      const std::int64_t at = i * s.element + l * s.lane;
      s.re[at] = c.re[l], s.im[at] = c.im[l];
    }
  }
}

void columns(const FftColumn& c, const FftSide& from, const FftSide& to, std::int64_t begin,
             std::int64_t end, const FftTwiddles& twiddles, float scale, float* scratch) {
  const bool full = end - begin >= W;
  for (std::int64_t lane = begin; lane < end; lane += W) {
    // The last vector is full, too: some lanes are computed twice.
    const std::int64_t first = full && lane + W > end ? end - W : lane;
    const int count = static_cast<int>(full ? W : end - begin);
    float *x = scratch, *y = scratch + 2 * W * c.n;
    load_block(from.at(first * from.lane), c.n, count, x);
    for (int i = 0; i < c.count; ++i) {
      run(c.passes[i], x, y);
      float* const last = x;
      x = y, y = last;
    }
    const FftSide out = to.at(first * to.lane);
    const V factor = splat(scale);
    if (twiddles.re)
      store_block(out, c.n, count,
                  [&, at = Lane{twiddles, first}](std::int64_t i)
                      __attribute__((always_inline)) { return get(x, i) * at(i, count); });
    else
      store_block(out, c.n, count, [&](std::int64_t i) __attribute__((always_inline)) {
        const C v = get(x, i);
        return C{v.re * factor, v.im * factor};
      });
  }
}

// ---- Along a row ----

void multiply(const FftSide& from, const float* w, const FftSide& to, std::int64_t n, float scale) {
  std::int64_t i = 0;
  const bool in_pairs = from.element == 2, out_pairs = to.element == 2;
  for (; i + W <= n; i += W) {
    const C x = in_pairs ? ordered(from, load_pairs(first_of(from) + 2 * i))
                         : C{load(from.re + i), load(from.im + i)};
    const C product = x * C{load(w + i), load(w + n + i)};
    const C y{product.re * splat(scale), product.im * splat(scale)};
    if (out_pairs)
      store_pairs(const_cast<float*>(first_of(to)) + 2 * i, ordered(to, y));
    else
      store(to.re + i, y.re), store(to.im + i, y.im);
  }
  for (; i < n; ++i) {
    const Complex<float> x{from.re[i * from.element], from.im[i * from.element]};
    const Complex<float> y = x * Complex<float>{w[i], w[n + i]};
    to.re[i * to.element] = y.re * scale, to.im[i * to.element] = y.im * scale;
  }
}

// Of the transforms of even and odd elements, E + w O; z is E + i O, and `mirrored` the conjugate
// of what it has for the opposite frequency.
template <class T>
inline Complex<T> from_pairs(Complex<T> z, Complex<T> mirrored, Complex<T> w, T half) {
  const Complex<T> even = z + mirrored, odd = times_minus_i(z - mirrored), sum = even + odd * w;
  return {sum.re * half, sum.im * half};
}
void split_pairs(const float* re, const float* im, const float* w, float* to, std::int64_t n,
                 float scale) {
  to[0] = (re[0] + im[0]) * scale, to[1] = 0;
  to[2 * n] = (re[0] - im[0]) * scale, to[2 * n + 1] = 0;
  const float half = 0.5f * scale;
  std::int64_t i = 1;
  for (; i + W <= n; i += W) {
    const std::int64_t last = n - i - W + 1;
    const V a = load(re + last), b = load(im + last);
    const C mirrored{shuffle<kReverse>(a, a), -shuffle<kReverse>(b, b)};
    store_pairs(to + 2 * i, from_pairs(C{load(re + i), load(im + i)}, mirrored,
                                       C{load(w + i), load(w + n + i)}, splat(half)));
  }
  for (; i < n; ++i) {
    const Complex<float> y =
        from_pairs<float>({re[i], im[i]}, {re[n - i], -im[n - i]}, {w[i], w[n + i]}, half);
    to[2 * i] = y.re, to[2 * i + 1] = y.im;
  }
}

// E + i O of E = x + mirrored and O = (x - mirrored) / w.
template <class T>
inline Complex<T> to_pairs(Complex<T> x, Complex<T> mirrored, Complex<T> w) {
  const Complex<T> odd = (x - mirrored) * Complex<T>{w.re, -w.im};
  return x + mirrored - times_minus_i(odd);
}
void join_pairs(const float* from, const float* w, float* re, float* im, std::int64_t n) {
  re[0] = from[0] + from[2 * n], im[0] = from[0] - from[2 * n];
  std::int64_t i = 1;
  for (; i + W <= n; i += W) {
    const C x = load_pairs(from + 2 * i), m = load_pairs(from + 2 * (n - i - W + 1));
    const C y = to_pairs(x, C{shuffle<kReverse>(m.re, m.re), -shuffle<kReverse>(m.im, m.im)},
                         C{load(w + i), load(w + n + i)});
    store(re + i, y.re), store(im + i, y.im);
  }
  for (; i < n; ++i) {
    const std::int64_t k = 2 * (n - i);
    const Complex<float> y =
        to_pairs<float>({from[2 * i], from[2 * i + 1]}, {from[k], -from[k + 1]}, {w[i], w[n + i]});
    re[i] = y.re, im[i] = y.im;
  }
}

}  // namespace

const FftKernels& fft_kernels() {
  static constexpr FftKernels kernels{columns, multiply, split_pairs, join_pairs};
  return kernels;
}

}  // namespace cermet::cpu::CERMET_ISA
