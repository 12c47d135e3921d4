// The gradient of a convolution's weight: a product of cotangents and windows whose depth are their
// positions. The order of its sums is that of other products: see nest.h.
#include <algorithm>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/products/convolution.h"
#include "cpu/products/nest.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

// Windows whose taps are counted as those of the kernel.
Phases kernel_phases(const WeightProblem& p) {
  Phases phases = phases_of(p.axes)[0];
  for (Phase& a : phases)
    if (p.flip) a.base = a.at(0, a.taps - 1), a.tap_step = -a.tap_step;
  return phases;
}

template <class T, class Sum>
void round_to(const Sum* from, T* to, std::int64_t n) {
  if constexpr (kIsHalf<T>)
    CERMET_DISPATCH(from_floats(from, to, n));
  else
    std::copy_n(from, n, to);
}

template <class T, class Sum>
class PositionProduct {
 public:
  explicit PositionProduct(const WeightProblem& p)
      : p_(p),
        method_(method_of(p.out.dtype)),
        channels_(p.x.shape.back() / p.groups),
        outs_(p.g.shape.back() / p.groups),
        phases_(kernel_phases(p)),
        taps_(phases_[0].taps * phases_[1].taps * phases_[2].taps),
        windows_(p.x, phases_, channels_, true),
        block_(kBlockDepth * method_.kernel->numbers),
        tile_(method_.kernel->rows),
        panel_(method_.kernel->columns) {
    constexpr std::int64_t kMost = 1536 / sizeof(Sum);  // a thread's memory is bounded
    const std::int64_t n = taps_ * channels_, threads = get_num_threads();
    down_ = ceil_div(outs_, kMost);
    across_ = ceil_div(n, std::min(kMostColumns, kMostSums / even_part(outs_, kMost)));
    // Parts of one size for each thread: to cut more is to pack more.
    if (p.groups * down_ * across_ % threads != 0)
      across_ = std::min(round_up(across_, threads), ceil_div(n, panel_));
    columns_ = round_up(ceil_div(n, across_), panel_);
    across_ = ceil_div(n, columns_);
    while (p.groups * down_ * across_ < threads && ceil_div(outs_, 2 * down_) >= tile_) down_ *= 2;
    rows_ = round_up(ceil_div(outs_, down_), tile_);
    down_ = ceil_div(outs_, rows_);
  }

  void run() const {
    const std::int64_t parts = p_.groups * down_ * across_, depth = windows_.count();
    const std::int64_t spans = ceil_div(depth, kSpan);
    if (parts >= get_num_threads() || spans == 1) {
      parallel_for(parts, 1, [&](std::int64_t begin, std::int64_t end) {
        const Memory memory(*this);
        const Workspace<Sum> sums(area()), more(spans > 1 ? area() : 0);
        for (; begin < end; ++begin) {
          span(begin, 0, memory, sums.get());
          for (std::int64_t s = 1; s < spans; ++s) {
            span(begin, s, memory, more.get());
            add(more.get(), sums.get());
          }
          store(begin, sums.get());
        }
      });
      return;
    }
    // Too few parts for the threads: these share the spans as well.
    const Workspace<Sum> sums(parts * spans * area());
    parallel_for(parts * spans, 1, [&](std::int64_t begin, std::int64_t end) {
      const Memory memory(*this);
      for (; begin < end; ++begin)
        span(begin / spans, begin % spans, memory, sums.get() + begin * area());
    });
    for (std::int64_t part = 0; part < parts; ++part) {
      Sum* const to = sums.get() + part * spans * area();
      for (std::int64_t s = 1; s < spans; ++s) add(to + s * area(), to);
      store(part, to);
    }
  }

 private:
  // Of a part, and of those that are pointed at together.
  static constexpr std::int64_t kMostColumns = 768, kMostSums = 600 * 1024 / sizeof(Sum);
  static constexpr std::int64_t kMostCopied = 256, kRowUnits = kBlockDepth + kPad<Sum>;
  static constexpr bool kInPlace = std::is_same_v<T, Sum>;  // cotangents are units
  std::int64_t area() const { return rows_ * columns_; }
  struct Memory {
    explicit Memory(const PositionProduct& p)
        : a(kInPlace ? 0 : p.rows_ * kRowUnits),
          b(p.panel_ * kBlockDepth + kPad<Sum>),
          partial(p.windows_.copies() ? p.block_ * kMostCopied : 0),
          pointers(p.block_ + 1) {}
    const Workspace<Sum> a, b;
    const Workspace<T> partial;
    const Workspace<const void*> pointers;
  };
  struct Part {
    std::int64_t group, row, rows, column, columns;
  };
  Part part_at(std::int64_t i) const {
    const std::int64_t row = i / across_ % down_ * rows_, column = i % across_ * columns_;
    return {i / across_ / down_, row, std::min(rows_, outs_ - row), column,
            std::min(columns_, taps_ * channels_ - column)};
  }
  void add(const Sum* from, Sum* to) const {
    for (std::int64_t i = 0; i < area(); ++i) to[i] += from[i];
  }

  // The sums over the positions of span s.
  void span(std::int64_t i, std::int64_t s, const Memory& memory, Sum* sums) const {
    const Part part = part_at(i);
    const auto packing = static_cast<int>(method_.packing);
    const std::int64_t all = p_.groups * outs_, last = std::min(windows_.count(), (s + 1) * kSpan);
    const T* const cotangents = data<const T>(p_.g) + part.group * outs_ + part.row;
    const void** const at = memory.pointers.get();
    for (std::int64_t p = s * kSpan; p < last; p += block_) {
      const std::int64_t depth = std::min(block_, last - p);
      const std::int64_t units = ceil_div(depth, method_.kernel->numbers);
      const void* a = cotangents + p * all;
      std::int64_t a_step = 1, a_depth = kInPlace ? all : rows_;
      if (method_.kernel->by_rows) {
        a_step = kRowUnits, a_depth = 1;
        product_kernels().rows[packing]({a, 1, all, part.rows, depth, part.rows}, a_step,
                                        memory.a.get());
        a = memory.a.get();
      } else if (!kInPlace) {
        for (std::int64_t d = 0; d < depth; ++d) at[d] = cotangents + (p + d) * all;
        at[depth] = kZeros;
        window_kernels().columns[packing]({at, depth, 0, part.rows, memory.a.get(), rows_});
        a = memory.a.get();
      }
      at[depth] = kZeros;
      std::int64_t run = -1, run_first = 0, run_last = 0;
      for (std::int64_t j = 0; j < part.columns; j += panel_) {
        const std::int64_t width = std::min(panel_, part.columns - j);
        for (std::int64_t u = 0; width < panel_ && u < units; ++u)
          std::fill_n(memory.b.get() + u * panel_ + width, panel_ - width, Sum{});
        for (std::int64_t w = 0; w < width;) {
          const std::int64_t column = part.column + j + w, of = column / windows_.run();
          const std::int64_t first = column % windows_.run();
          if (of != run || first >= run_last) {
            run = of, run_first = first;
            run_last =
                std::min({windows_.run(), first + part.columns - j - w, first + kMostCopied});
            windows_.point(part.group * channels_, p, depth, run, first, run_last - first,
                           reinterpret_cast<std::byte*>(memory.partial.get()), at);
          }
          const std::int64_t count = std::min(run_last - first, width - w);
          window_kernels().columns[packing](
              {at, depth, first - run_first, count, memory.b.get() + w, panel_});
          w += count;
        }
        method_.kernel->multiply({a,
                                  a_step,
                                  memory.b.get(),
                                  0,
                                  sums + j,
                                  columns_,
                                  part.rows,
                                  width,
                                  units,
                                  p > s * kSpan,
                                  {},
                                  0,
                                  a_depth});
      }
    }
  }

  void store(std::int64_t i, const Sum* sums) const {
    const Part part = part_at(i);
    const std::int64_t all = taps_ * channels_, out = part.group * outs_ + part.row;
    for (std::int64_t r = 0; r < part.rows; ++r) {
      const Sum* const from = sums + r * columns_;
      if (!p_.swapped) {
        round_to(from, data<T>(p_.out) + (out + r) * all + part.column, part.columns);
        continue;
      }
      for (std::int64_t j = 0; j < part.columns; ++j) {
        const std::int64_t channel = part.group * channels_ + (part.column + j) % channels_;
        const std::int64_t tap = (part.column + j) / channels_;
        round_to(from + j, data<T>(p_.out) + (channel * taps_ + tap) * outs_ + part.row + r, 1);
      }
    }
  }

  const WeightProblem& p_;
  const Method method_;
  const std::int64_t channels_, outs_;
  const Phases phases_;
  const std::int64_t taps_;
  const Windows windows_;
  const std::int64_t block_, tile_, panel_;
  std::int64_t rows_, columns_, down_, across_;
};

}  // namespace

void multiply_by_windows(const WeightProblem& p) {
  visit(p.out.dtype, [&]<class T>(Type<T>) {
    if constexpr (std::is_floating_point_v<T> || kIsHalf<T>)
      PositionProduct<T, std::conditional_t<std::is_same_v<T, double>, double, float>>(p).run();
  });
}

}  // namespace cermet::cpu
