// Scans: running sums, products, extremes and log-sum-exps along an axis.
//
// A scan works in buffers that a cache holds, halves as float. Its order is the same in all layouts
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
#include "cpu/columns.h"
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

constexpr std::int64_t kBand = 4096, kStage = 8 * kBand;  // bytes: some rows of columns

// Where the elements of a scan lie, `outer` times `n` places of `inner` columns, and how they get
// into a buffer, of kStage bytes at most, and out again.
struct Scanned {
  const std::byte* from;
  std::byte* to;
  std::int64_t outer, n, inner;
  bool reverse, past_caches;
  std::int64_t size, wide;  // bytes of an element, and of one in a buffer
  Loop widen, narrow;       // null but for 16-bit floats

  // The first element of some places, which are counted in the order of the scan.
  std::int64_t at(std::int64_t o, std::int64_t place, std::int64_t count) const {
    return (o * n + (reverse ? n - place - count : place)) * inner;
  }
  void load(std::byte* buffer, std::int64_t first, std::int64_t count) const {
    if (widen)
      widen(buffer, from + first * size, nullptr, nullptr, count);
    else
      std::memcpy(buffer, from + first * size, count * size);
  }
  void store(const std::byte* buffer, std::int64_t first, std::int64_t count) const {
    alignas(64) std::byte half[kStage / 2];
    std::byte* const out = to + first * size;
    if (narrow) {
      narrow(past_caches ? half : out, buffer, nullptr, nullptr, count);
      buffer = half;
    }
    if (past_caches)
      stream(out, buffer, count * size);
    else if (!narrow)
      std::memcpy(out, buffer, count * size);
  }
  void finish() const {
    if (past_caches) end_stream();
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

// Along rows of a group at most, some at a time.
void scan_short_rows(const Scanned& s, RunLoop scan_runs, GroupLoop scan_group) {
  const std::int64_t together = kStage / s.wide / s.n, step = s.reverse ? -1 : 1;
  parallel_for(s.outer, grain_for(s.n), [&](std::int64_t begin, std::int64_t end) {
    alignas(64) std::byte buffer[kStage];
    alignas(8) std::byte unused[8];
    for (; begin < end; begin += together) {
      const std::int64_t rows = std::min(together, end - begin);
      s.load(buffer, begin * s.n, rows * s.n);
      std::byte* const first = buffer + (s.reverse ? s.n - 1 : 0) * s.wide;
      if (s.n <= kScanRun)
        scan_runs(first, rows, s.n, s.n, step);
      else
        for (std::int64_t r = 0; r < rows; ++r) {
          const std::byte* later = s.from + (begin + rows + r) * s.n * s.size;
          for (std::int64_t i = 0; i < s.n * s.size; i += 64) __builtin_prefetch(later + i);
          scan_group(first + r * s.n * s.wide, s.n, step, nullptr, unused, true);
        }
      s.store(buffer, begin * s.n, rows * s.n);
    }
    s.finish();
  });
}

// Along longer rows, group by group.
void scan_rows(const Scanned& s, Loop combine, GroupLoop scan_group) {
  const std::int64_t groups = (s.n + kScanGroup - 1) / kScanGroup;
  const auto scan = [&](std::int64_t row, std::int64_t group, const ScanPrefix* before,
                        std::byte* total, bool store) {
    alignas(64) std::byte buffer[kScanGroup * 8];
    const std::int64_t place = group * kScanGroup, count = std::min(kScanGroup, s.n - place);
    s.load(buffer, s.at(row, place, count), count);
    scan_group(buffer + (s.reverse ? count - 1 : 0) * s.wide, count, s.reverse ? -1 : 1, before,
               total, store);
    if (store) s.store(buffer, s.at(row, place, count), count);
  };
  // What stands before the next group, from what stands before one and its total.
  const auto follow = [&](Carry& carry, const ScanPrefix* before, const std::byte* total) {
    ScanPrefix next;
    std::memcpy(next.runs, total, s.wide);
    if (before) combine(next.runs, before->groups, total, nullptr, 1);
    carry.push(total);
    std::memcpy(next.groups, carry.value(), s.wide);
    return next;
  };
  if (s.outer >= 2 * get_num_threads() || s.n <= 2 * kGrain)
    return parallel_for(s.outer, grain_for(s.n), [&](std::int64_t begin, std::int64_t end) {
      Carry carry(combine, 1, s.wide);
      alignas(8) std::byte total[8];
      ScanPrefix prefix;
      for (std::int64_t row = begin; row < end; ++row, carry.restart())
        for (std::int64_t group = 0; group < groups; ++group) {
          const ScanPrefix* before = group ? &prefix : nullptr;
          scan(row, group, before, total, true);
          prefix = follow(carry, before, total);
        }
      s.finish();
    });
  // A row for all threads, in parts that a cache holds: the groups' totals first.
  constexpr std::int64_t kGroups = kGrain / kScanGroup, kPart = 32 * kGroups;
  const Workspace<ScanPrefix> prefixes(groups + 1);
  for (std::int64_t row = 0; row < s.outer; ++row) {
    Carry carry(combine, 1, s.wide);
    for (std::int64_t first = 0; first < groups; first += kPart) {
      const std::int64_t last = std::min(groups, first + kPart);
      parallel_for(last - first, kGroups, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t g = first + begin; g < first + end; ++g)
          scan(row, g, nullptr, prefixes.get()[g + 1].runs, false);
      });
      for (std::int64_t g = first; g < last; ++g) {
        ScanPrefix& next = prefixes.get()[g + 1];
        next = follow(carry, g ? &next - 1 : nullptr, next.runs);
      }
      parallel_for(last - first, kGroups, [&](std::int64_t begin, std::int64_t end) {
        alignas(8) std::byte unused[8];
        for (std::int64_t g = first + begin; g < first + end; ++g)
          scan(row, g, g ? prefixes.get() + g : nullptr, unused, true);
        s.finish();
      });
    }
  }
}

// Across rows: some places of a band of columns at a time.
void scan_columns(const Scanned& s, Loop combine) {
  for_each_band(
      s.outer, s.n, s.inner, kBand / s.wide,
      [&](std::int64_t outer, std::int64_t first, std::int64_t columns) {
        alignas(64) std::byte buffer[kStage], running[kBand];
        const std::int64_t bytes = columns * s.wide, rows = kStage / bytes;
        const std::int64_t step = s.reverse ? -bytes : bytes;
        Carry carry(combine, columns, s.wide);
        for (std::int64_t place = 0, count; place < s.n; place += count) {
          count = std::min({rows, kScanRun - place % kScanRun, s.n - place});
          const auto move = [&](auto each) {
            const std::int64_t at = s.at(outer, place, count) + first;
            if (columns == s.inner) return each(buffer, at, count * columns);
            for (std::int64_t k = 0; k < count; ++k)
              each(buffer + k * bytes, at + k * s.inner, columns);
          };
          if (s.widen)
            move([&](std::byte* x, std::int64_t at, std::int64_t n) { s.load(x, at, n); });
          std::byte* x = buffer + (s.reverse ? (count - 1) * bytes : 0);
          for (std::int64_t k = 0; k < count; ++k, x += step) {
            const std::byte* next =
                s.widen ? x : s.from + (s.at(outer, place + k, 1) + first) * s.size;
            if ((place + k) % kScanRun) {
              combine(x, k ? x - step : running, next, nullptr, columns);
            } else {
              if (place) carry.push(running);
              std::memmove(x, next, bytes);
            }
          }
          std::memcpy(running, x - step, bytes);
          for (std::int64_t k = 0; place >= kScanRun && k < count; ++k)
            combine(buffer + k * bytes, carry.value(), buffer + k * bytes, nullptr, columns);
          move([&](std::byte* x, std::int64_t at, std::int64_t n) { s.store(x, at, n); });
        }
        s.finish();
      });
}

// From inclusive to exclusive: each place gets the result before it, the first the identity.
template <class T>
void shift_places(const Scanned& s, T identity) {
  parallel_for(s.outer, grain_for(s.n * s.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) {
      std::byte *low = s.to + o * s.n * s.inner * s.size, *next = low + s.inner * s.size;
      std::memmove(s.reverse ? low : next, s.reverse ? next : low, (s.n - 1) * s.inner * s.size);
      std::fill_n(reinterpret_cast<T*>(s.to) + s.at(o, 0, 1), s.inner, identity);
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

}  // namespace

void scan(const Scan& p, const Tensor& a, const Tensor& out) {
  const Loops& l = loops();
  const Split split(a.shape, p.axis);
  if (out.size() == 0) return;
  const bool direct = is_row_major(a.shape, a.strides), half = is_half(out.dtype);
  const auto size = static_cast<std::int64_t>(size_of(out.dtype));
  const int op = static_cast<int>(combine_op(p.op)), memory = static_cast<int>(out.dtype);
  const int t = half ? static_cast<int>(Dtype::float32) : memory;
  if (!l.scan_runs[op][t])
    throw std::invalid_argument("logcumsumexp: expected a floating dtype, got " +
                                std::string(name_of(out.dtype)));
  if (!direct) copy(a, out);
  const Scanned s{direct ? a.data : out.data,
                  out.data,
                  split.outer,
                  split.n,
                  split.inner,
                  p.reverse,
                  out.size() * size >= kStreamed,
                  size,
                  half ? 4 : size,
                  half ? l.widen[memory] : nullptr,
                  half ? l.narrow[memory] : nullptr};
  if (s.inner > 1)
    scan_columns(s, l.op[op][t]);
  else if (s.n <= kScanGroup)
    scan_short_rows(s, l.scan_runs[op][t], l.scan_group[op][t]);
  else
    scan_rows(s, l.op[op][t], l.scan_group[op][t]);
  if (!p.inclusive)
    visit(out.dtype, [&]<class T>(Type<T>) {
      if constexpr (kIsHalf<T>)
        shift_places(s, from_float<T>(identity_of<float>(p.op)));
      else
        shift_places(s, identity_of<T>(p.op));
    });
}

}  // namespace cermet::cpu
