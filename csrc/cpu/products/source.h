// How an operand's elements are read: vectors of units from any strides, for the *_simd.cpp files
// of products.
#pragma once

#include "cermet/dtype.h"
#include "cpu/convert.h"
#include "cpu/products/kernels.h"
#include "cpu/products/vector.h"

namespace cermet::cpu::CERMET_ISA {

// A reader turns elements into units: `along`, a vector of units that follow each other by depth;
// `across`, one that lie side by side, `across_twice`, two; `one`, for what is left.
template <class T>
struct Plain {
  using Element = T;
  using Unit = T;
  static constexpr int kDepth = 1;  // elements of a unit
  static Vector<T> along(const T* x) { return load(x); }
  static Vector<T> across(const T* x, std::int64_t) { return load(x); }
  static void across_twice(const T* x, std::int64_t, T* to) {
    std::memcpy(to, x, 2 * sizeof(Vector<T>));
  }
  static T one(const T* x, std::int64_t, bool) { return *x; }
};

template <class Half>
struct Widened {
  using Element = Half;
  using Unit = float;
  static constexpr int kDepth = 1;
  static Vector<float> along(const Half* x) {
    float wide[kVectorLanes<float>];
    widen(x, wide, kVectorLanes<float>);
    return load(wide);
  }
  static Vector<float> across(const Half* x, std::int64_t) { return along(x); }
  static void across_twice(const Half* x, std::int64_t, float* to) {
    widen(x, to, 2 * kVectorLanes<float>);
  }
  static float one(const Half* x, std::int64_t, bool) { return widen(*x); }
};

struct Pairs {
  using Element = bfloat16_t;
  using Unit = std::uint32_t;
  static constexpr int kDepth = 2;
  static Vector<Unit> along(const Element* x) {
    Vector<Unit> v;
    std::memcpy(&v, x, sizeof v);
    return v;
  }
  static Vector<Unit> across(const Element* x, std::int64_t depth_step) {
    return widened(x) | widened(x + depth_step) << 16;
  }
  static void across_twice(const Element* x, std::int64_t depth_step, Unit* to) {
    constexpr int L = kVectorLanes<std::uint16_t>;
    constexpr auto low = [](int l) { return l / 2 + l % 2 * L; };
    constexpr auto high = [](int l) { return L / 2 + l / 2 + l % 2 * L; };
    Vector<std::uint16_t> a, b;
    std::memcpy(&a, x, sizeof a);
    std::memcpy(&b, x + depth_step, sizeof b);
    store(to, (Vector<Unit>)shuffle<low>(a, b));
    store(to + L / 2, (Vector<Unit>)shuffle<high>(a, b));
  }
  static Unit one(const Element* x, std::int64_t depth_step, bool whole) {
    return x->bits | (whole ? Unit{x[depth_step].bits} << 16 : 0);
  }

 private:
  static Vector<Unit> widened(const Element* x) {
    typedef std::uint16_t Narrow __attribute__((vector_size(kVectorBytes / 2)));
    Narrow v;
    std::memcpy(&v, x, sizeof v);
    return __builtin_convertvector(v, Vector<Unit>);
  }
};

// How a source is read: by rows of equal depth, or along it, a vector of columns at a time.
enum class Reads { rows, along, either };

// A strip as its reader gives it; along() where the depth is contiguous.
template <class R>
class Source {
 public:
  using Unit = typename R::Unit;
  using Element = typename R::Element;
  static constexpr std::int64_t L = kVectorLanes<Unit>, kDepth = R::kDepth;
  static constexpr Reads kReads = Reads::either;

  explicit Source(const Strip& s)
      : from_(static_cast<const Element*>(s.data)),
        width_step_(s.width_step),
        depth_step_(s.depth_step),
        width_(s.width),
        readable_(s.readable),
        whole_(s.depth / kDepth),
        depth((s.depth + kDepth - 1) / kDepth) {}

  bool along() const { return depth_step_ == 1; }
  // Whether vectors of columns lie so near each other that memory is read as one stream.
  bool is_near() const { return width_step_ * static_cast<std::int64_t>(sizeof(Element)) <= 2048; }
  // Whether `count` rows of L units from (p, w) can be read by row_at.
  bool has_rows(std::int64_t p, std::int64_t w, std::int64_t count) const {
    return width_step_ == 1 && p + count <= whole_ && w + L <= readable_;
  }
  Vector<Unit> row_at(std::int64_t p, std::int64_t w) const {
    return R::across(from_ + p * kDepth * depth_step_ + w, depth_step_);
  }
  Unit one(std::int64_t p, std::int64_t w) const {
    if (w >= width_) return Unit{};
    return R::one(from_ + w * width_step_ + p * kDepth * depth_step_, depth_step_, p < whole_);
  }

  void prefetch(std::int64_t p, std::int64_t w) const {
    __builtin_prefetch(from_ + p * kDepth * depth_step_ + w * width_step_);
  }
  // Units (p, w) to (p + L, w), where the depth is contiguous and goes on so far.
  bool has_depths(std::int64_t p) const { return p + L <= whole_; }
  Vector<Unit> depths_at(std::int64_t p, std::int64_t w) const {
    return R::along(from_ + w * width_step_ + p * kDepth);
  }
  Vector<Unit> row(std::int64_t p, std::int64_t w) const {
    if (has_rows(p, w, 1)) return row_at(p, w);
    if constexpr (kDepth == 1) {
      Element elements[L] = {};
      for (std::int64_t l = 0; l < L && w + l < width_; ++l)
        elements[l] = from_[(w + l) * width_step_ + p * depth_step_];
      return R::along(elements);
    } else {
      Vector<Unit> v{};
      for (std::int64_t l = 0; l < L; ++l) v[l] = one(p, w + l);
      return v;
    }
  }
  // A vector of columns from w on. visit calls sink(p, {row(p, w)}) for depths from <= p < to:
  // blocks are transposed in registers.
  template <int G>
  class Columns {
    static_assert(G == 1, "more would be too many streams of memory for a machine");

   public:
    Columns(const Source& source, std::int64_t w) : s_(source), w_(w) {}
    template <class Sink>
    [[gnu::always_inline]] void visit(std::int64_t p, std::int64_t to, Sink&& sink) const {
      const Element* const x = s_.from_ + w_ * s_.width_step_;
      const std::int64_t last = to < s_.whole_ ? to : s_.whole_;
      Vector<Unit> v[L];
      if (w_ + L <= s_.width_) {
        for (; p + L <= last; p += L) {
#pragma GCC unroll 16
          for (std::int64_t l = 0; l < L; ++l) v[l] = R::along(x + l * s_.width_step_ + p * kDepth);
          transpose<Unit>(v);
#pragma GCC unroll 16
          for (std::int64_t l = 0; l < L; ++l) sink(p + l, {v[l]});
        }
      } else {
        for (; p + L <= last; p += L) {
          for (std::int64_t l = 0; l < L; ++l)
            v[l] =
                w_ + l < s_.width_ ? R::along(x + l * s_.width_step_ + p * kDepth) : Vector<Unit>{};
          transpose<Unit>(v);
          for (std::int64_t l = 0; l < L; ++l) sink(p + l, {v[l]});
        }
      }
      for (; p < to; ++p) sink(p, {s_.row(p, w_)});
    }

   private:
    const Source& s_;
    const std::int64_t w_;
  };

 private:
  const Element* const from_;
  const std::int64_t width_step_, depth_step_, width_, readable_, whole_;

 public:
  const std::int64_t depth;  // in units
};

}  // namespace cermet::cpu::CERMET_ISA
