// Scans: running sums, products, extremes and log-sum-exps along an axis.
//
// A scan works in place on its output, halves as float. Its order is the same in all layouts
// (docs/design.md): runs of kScanRun elements one after the other; the runs' totals as a scan of
// their own; and each run's results combined with the total before it.
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/layout.h"
#include "cpu/loops.h"
#include "cpu/primitives.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

template <class T>
constexpr T lowest() {
  if constexpr (kIsComplex<T>)
    return {lowest<float>(), lowest<float>()};
  else if constexpr (std::is_floating_point_v<T>)
    return -std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::lowest();
}
template <class T>
constexpr T highest() {
  if constexpr (kIsComplex<T>)
    return {highest<float>(), highest<float>()};
  else if constexpr (std::is_floating_point_v<T>)
    return std::numeric_limits<T>::infinity();
  else
    return std::numeric_limits<T>::max();
}

// Where the elements of a scan lie: `outer` times `n` places of `inner` columns.
struct Scanned {
  std::byte* data;
  Dtype dtype;
  std::int64_t outer, n, inner;
  bool reverse;

  std::int64_t size() const { return static_cast<std::int64_t>(size_of(dtype)); }
  // The first column of a place, counted in the order of the scan.
  std::byte* at(std::int64_t o, std::int64_t place) const {
    return data + (o * n + (reverse ? n - 1 - place : place)) * inner * size();
  }
};

// The results of a scan of runs' totals, given one after the other: what stands before each run.
// Totals are scanned as the elements are, in runs of their own.
class Carry {
 public:
  Carry(Loop combine, std::int64_t columns, std::int64_t size)
      : combine_(combine), columns_(columns), bytes_(columns * size) {}

  // After the first push; of the runs so far.
  const std::byte* value() const { return levels_[0].result.get(); }
  void restart() {
    for (Level& l : levels_) l.count = 0;
  }
  void push(const std::byte* total) { push(total, 0); }

 private:
  struct Level {
    std::unique_ptr<std::byte[]> running, result;
    std::int64_t count = 0;
  };

  const std::byte* push(const std::byte* total, std::size_t depth) {
    if (depth == levels_.size()) {
      Level l;
      l.running = std::make_unique<std::byte[]>(static_cast<std::size_t>(bytes_));
      l.result = std::make_unique<std::byte[]>(static_cast<std::size_t>(bytes_));
      levels_.push_back(std::move(l));
    }
    if (const std::int64_t count = levels_[depth].count; count && count % kScanRun == 0)
      push(levels_[depth].running.get(), depth + 1);
    Level& l = levels_[depth];
    std::byte *running = l.running.get(), *result = l.result.get();
    if (l.count % kScanRun == 0)
      std::memcpy(running, total, bytes_);
    else
      combine_(running, running, total, nullptr, columns_);
    if (l.count++ < kScanRun)
      std::memcpy(result, running, bytes_);
    else
      combine_(result, levels_[depth + 1].result.get(), running, nullptr, columns_);
    return result;
  }

  const Loop combine_;
  const std::int64_t columns_, bytes_;
  std::vector<Level> levels_;
};

// Along rows, group by group.
void scan_rows(const Scanned& s, Loop combine, RunLoop scan_runs, GroupLoop scan_group) {
  const std::int64_t size = s.size(), step = s.reverse ? -1 : 1;
  if (s.n <= kScanRun)
    return parallel_for(s.outer, grain_for(s.n), [&](std::int64_t begin, std::int64_t end) {
      scan_runs(s.at(begin, 0), end - begin, s.n, s.n, step);
    });
  const std::int64_t groups = (s.n + kScanGroup - 1) / kScanGroup;
  const auto scan = [&](std::int64_t row, std::int64_t group, const ScanPrefix* before,
                        std::byte* total, bool store) {
    const std::int64_t first = group * kScanGroup;
    scan_group(s.at(row, first), std::min(kScanGroup, s.n - first), step, before, total, store);
  };
  // What stands before the next group, from what stands before one and its total.
  const auto follow = [&](Carry& carry, const ScanPrefix* before, const std::byte* total) {
    ScanPrefix next;
    std::memcpy(next.runs, total, size);
    if (before) combine(next.runs, before->groups, total, nullptr, 1);
    carry.push(total);
    std::memcpy(next.groups, carry.value(), size);
    return next;
  };
  if (s.outer >= 2 * get_num_threads() || s.n <= 2 * kGrain)
    return parallel_for(s.outer, grain_for(s.n), [&](std::int64_t begin, std::int64_t end) {
      Carry carry(combine, 1, size);
      alignas(8) std::byte total[8];
      ScanPrefix prefix;
      for (std::int64_t row = begin; row < end; ++row, carry.restart())
        for (std::int64_t group = 0; group < groups; ++group) {
          const ScanPrefix* before = group ? &prefix : nullptr;
          scan(row, group, before, total, true);
          prefix = follow(carry, before, total);
        }
    });
  // A long row: all groups' totals first.
  const Workspace<ScanPrefix> prefixes(groups);
  for (std::int64_t row = 0; row < s.outer; ++row) {
    constexpr std::int64_t kGroups = kGrain / kScanGroup;
    parallel_for(groups - 1, kGroups, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t g = begin; g < end; ++g)
        scan(row, g, nullptr, prefixes.get()[g + 1].runs, false);
    });
    Carry carry(combine, 1, size);
    for (std::int64_t g = 1; g < groups; ++g) {
      ScanPrefix& prefix = prefixes.get()[g];
      prefix = follow(carry, g > 1 ? &prefix - 1 : nullptr, prefix.runs);
    }
    parallel_for(groups, kGroups, [&](std::int64_t begin, std::int64_t end) {
      alignas(8) std::byte unused[8];
      for (std::int64_t g = begin; g < end; ++g)
        scan(row, g, g ? prefixes.get() + g : nullptr, unused, true);
    });
  }
}

// Across rows: bands of columns, place by place.
void scan_columns(const Scanned& s, Loop combine) {
  constexpr std::int64_t kBand = 256;
  const std::int64_t size = s.size(), bands = (s.inner - 1) / kBand + 1;
  parallel_for(s.outer * bands, grain_for(s.n * std::min(s.inner, kBand)),
               [&](std::int64_t begin, std::int64_t end) {
                 alignas(64) std::byte running[kBand * 8];
                 for (; begin < end; ++begin) {
                   const std::int64_t first = begin % bands * kBand;
                   const std::int64_t columns = std::min(kBand, s.inner - first);
                   Carry carry(combine, columns, size);
                   for (std::int64_t place = 0; place < s.n; ++place) {
                     std::byte* x = s.at(begin / bands, place) + first * size;
                     if (place % kScanRun == 0) {
                       if (place) carry.push(running);
                       std::memcpy(running, x, columns * size);
                     } else {
                       combine(running, running, x, nullptr, columns);
                     }
                     if (place < kScanRun)
                       std::memcpy(x, running, columns * size);
                     else
                       combine(x, carry.value(), running, nullptr, columns);
                   }
                 }
               });
}

// From inclusive to exclusive: each place gets the result before it, the first the identity.
template <class T>
void shift_places(const Scanned& s, T identity) {
  parallel_for(s.outer, grain_for(s.n * s.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      std::byte *low = s.at(o, s.reverse ? s.n - 1 : 0), *next = low + s.inner * s.size();
      std::memmove(s.reverse ? low : next, s.reverse ? next : low, (s.n - 1) * s.inner * s.size());
      std::fill_n(reinterpret_cast<T*>(s.at(o, 0)), s.inner, identity);
    }
  });
}

Op combine_op(ScanOp op) {
  switch (op) {
    case ScanOp::sum: return Op::add;
    case ScanOp::prod: return Op::multiply;
    case ScanOp::min: return Op::minimum;
    case ScanOp::max: return Op::maximum;
    case ScanOp::logaddexp: return Op::logaddexp;
  }
  return Op::add;
}

template <class T>
T identity_of(ScanOp op) {
  switch (op) {
    case ScanOp::sum: return T{};
    case ScanOp::min: return highest<T>();
    case ScanOp::max: return lowest<T>();
    case ScanOp::prod:
      if constexpr (kIsComplex<T>)
        return {1, 0};
      else
        return T(1);
    case ScanOp::logaddexp:
      if constexpr (kIsComplex<T>)
        return {lowest<float>(), 0};
      else
        return lowest<T>();
  }
  return T{};
}

template <class T>
void scan_in_place(const Scan& p, T* x, const Split& split) {
  const Scanned s{
      reinterpret_cast<std::byte*>(x), dtype_of<T>, split.outer, split.n, split.inner, p.reverse};
  const int op = static_cast<int>(combine_op(p.op)), t = static_cast<int>(s.dtype);
  const RunLoop runs = loops().scan_runs[op][t];
  if (!runs)
    throw std::invalid_argument("logcumsumexp: expected a floating dtype, got " +
                                std::string(name_of(s.dtype)));
  if (s.inner == 1)
    scan_rows(s, loops().op[op][t], runs, loops().scan_group[op][t]);
  else
    scan_columns(s, loops().op[op][t]);
  if (!p.inclusive) shift_places(s, identity_of<T>(p.op));
}

template <class T>
void scan_part(const Scan& p, const T* from, T* to, const Split& split) {
  const std::int64_t size = split.outer * split.n * split.inner;
  if constexpr (kIsHalf<T>) {
    const Workspace<float> floats(size);
    float* const x = floats.get();
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
      CERMET_DISPATCH(to_floats(from + begin, x + begin, end - begin));
    });
    scan_in_place(p, x, split);
    parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
      CERMET_DISPATCH(from_floats(x + begin, to + begin, end - begin));
    });
  } else {
    if (from != to) std::copy(from, from + size, to);
    scan_in_place(p, to, split);
  }
}

}  // namespace

void scan(const Scan& p, const Tensor& a, const Tensor& out) {
  const Split split(a.shape, p.axis);
  // Many short rows are taken some at a time, which a cache holds; others by all threads together.
  const bool many = split.outer >= 2 * get_num_threads() && split.n <= 2 * kGrain;
  const std::int64_t row = split.n * split.inner, grain = many ? grain_for(row) : split.outer;
  const bool direct = is_row_major(a.shape, a.strides) && (many || is_half(a.dtype));
  if (!direct) copy(a, out);
  visit(out.dtype, [&]<class T>(Type<T>) {
    const T* const from = direct ? data<const T>(a) : data<T>(out);
    parallel_for(split.outer, grain, [&](std::int64_t begin, std::int64_t end) {
      Split part = split;
      part.outer = end - begin;
      scan_part(p, from + begin * row, data<T>(out) + begin * row, part);
    });
  });
}

}  // namespace cermet::cpu
