// Parts whose rows and depth lie in runs: a block of each operand is packed run by run.
#include "cpu/products/runs.h"

#include <algorithm>

#include "cpu/half.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kShortRun = 16;  // numbers: shorter ones are put together before packing

template <class Sum>
class RunNest {
 public:
  RunNest(const Product& p, const PartLimits& limits, const Tensor& out)
      : p_(p),
        limits_(limits),
        out_(out),
        numbers_(p.kernel->numbers),
        slices_(p.kernel->slices),
        block_(kBlockDepth * numbers_),
        size_(static_cast<std::int64_t>(element_size(p.a.packing))),
        stream_(product_kernels().stream[static_cast<int>(p.b.packing)]) {}

  void run(std::int64_t count, FunctionRef<void(std::int64_t, Part&)> describe) const {
    const double work = static_cast<double>(limits_.rows) * static_cast<double>(limits_.columns) *
                        static_cast<double>(limits_.depth);
    const auto grain = static_cast<std::int64_t>(1 + kLeastWork / std::max(1.0, work));
    parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end) {
      const Memory memory(*this);
      Part part;
      for (; begin < end; ++begin) {
        part.rows.clear(), part.depth.clear();
        describe(begin, part);
        compute(part, memory);
      }
    });
  }

 private:
  // What a thread needs: sums of a part and of a span of it, blocks of the operands, and these as
  // they are put together.
  struct Memory {
    explicit Memory(const RunNest& n)
        : area(n.limits_.rows * n.limits_.columns),
          blocks(2 * area + n.a_units() + n.b_units()),
          row_sums(n.limits_.rows * n.p_.sums.step + 1),
          sums(blocks.get()),
          span(sums + area),
          a(span + area),
          b(a + n.a_units()) {}
    const std::int64_t area;
    const Workspace<Sum> blocks;
    const Workspace<float> row_sums;
    mutable std::optional<Workspace<std::byte>> elements;
    Sum *const sums, *const span, *const a, *const b;
  };
  // Of a run within a block: its place among the block's numbers, without what is left out.
  struct Piece {
    std::int64_t at, count, a, b;
  };

  std::int64_t most(std::int64_t numbers) const { return std::min(numbers, limits_.depth); }
  std::int64_t units(std::int64_t numbers) const { return ceil_div(numbers, numbers_); }
  std::int64_t a_units() const {
    return limits_.rows *
           (slices_ * units(most(limits_.rows <= kStreamRows ? kSpan : block_)) +
            kPad<Sum>)+kStreamRows *
           slices_ * units(most(kSpan));
  }
  std::int64_t b_units() const {
    return ceil_div(limits_.columns, p_.kernel->columns) * panel_units(p_, units(most(block_)));
  }

  void compute(const Part& part, const Memory& m) const {
    std::int64_t rows = 0;
    for (const RowRun& run : part.rows) rows += run.count;
    const RowSums row_sums = sums_of(part, m);
    const std::int64_t end =
        part.depth.empty() ? 0 : part.depth.back().first + part.depth.back().count;
    // Rows that follow each other are summed where they belong.
    const bool in_place = part.rows.size() == 1 && size_of(out_.dtype) == sizeof(Sum);
    const std::int64_t step = in_place ? p_.n : part.columns;
    Sum* const sums = in_place ? data<Sum>(out_) + part.rows[0].to * p_.n + part.column : m.sums;
    bool any = false;
    for (std::int64_t first = 0; first < end; first += kSpan) {
      Sum* const to = any ? m.span : sums;
      const std::int64_t to_step = any ? part.columns : step;
      if (!span(part, first, std::min(end, first + kSpan), rows, row_sums, m, to, to_step))
        continue;
      for (std::int64_t r = 0; any && r < rows; ++r)
        for (std::int64_t i = 0; i < part.columns; ++i)
          sums[r * step + i] += m.span[r * part.columns + i];
      any = true;
    }
    for (std::int64_t r = 0; !any && r < rows; ++r)
      std::fill_n(sums + r * step, part.columns, Sum{});
    if (!in_place) store(part, sums);
  }

  void store(const Part& part, const Sum* sums) const {
    visit(out_.dtype, [&]<class T>(Type<T>) {
      for (const RowRun& run : part.rows)
        for (std::int64_t r = 0; r < run.count; ++r, sums += part.columns) {
          T* const to = data<T>(out_) + (run.to + r) * p_.n + part.column;
          if constexpr (kIsHalf<T>)
            CERMET_DISPATCH(from_floats(reinterpret_cast<const float*>(sums), to, part.columns));
          else
            std::memcpy(to, sums, static_cast<std::size_t>(part.columns) * sizeof(Sum));
        }
    });
  }

  // The sums of the part's rows over groups, one below the other.
  RowSums sums_of(const Part& part, const Memory& m) const {
    RowSums sums = p_.sums;
    if (!sums.data || p_.k == 0) return sums;
    float* to = m.row_sums.get();
    for (const RowRun& run : part.rows)
      for (std::int64_t r = 0; r < run.count; ++r, to += sums.step)
        std::copy_n(p_.sums.data + (run.a + r * run.step) / p_.a.width_step * sums.step, sums.step,
                    to);
    sums.data = m.row_sums.get();
    return sums;
  }

  // Numbers [first, last) of a sum; whether there are any.
  bool span(const Part& part, std::int64_t first, std::int64_t last, std::int64_t rows,
            const RowSums& row_sums, const Memory& m, Sum* to, std::int64_t step) const {
    const auto sums_at = [&](std::int64_t p) {
      RowSums sums = row_sums;
      if (sums.data) sums.data += p / numbers_ / sums.group * sums.parts;
      return sums;
    };
    if (rows <= kStreamRows && stream_ && part.depth.size() == 1 && part.depth[0].first == 0) {
      const Piece piece = piece_of(part.depth[0], first, last, 0);
      const auto [a, a_step] = rows_of(part, {&piece, 1}, piece.count, m);
      stream_({a, a_step, columns_of(part, piece, first), to, step, rows, sums_at(first)});
      return true;
    }
    bool added = false;
    std::vector<Piece> pieces;
    auto run = std::partition_point(part.depth.begin(), part.depth.end(),
                                    [&](const DepthRun& r) { return r.first + r.count <= first; });
    for (std::int64_t p = first; p < last; p += block_) {
      const std::int64_t end = std::min(p + block_, last);
      std::int64_t depth = 0;
      pieces.clear();
      for (; run != part.depth.end() && run->first < end; ++run) {
        pieces.push_back(piece_of(*run, p, end, depth));
        depth += pieces.back().count;
        if (run->first + run->count > end) break;
      }
      if (depth == 0) continue;
      const std::int64_t b_step = panel_units(p_, units(depth));
      const auto pack = product_kernels().panels[static_cast<int>(p_.b.packing)];
      std::pair<const void*, std::int64_t> a;
      if (are_packed_apart(pieces)) {
        a = rows_of(part, pieces, depth, m);
        for (const Piece& piece : pieces)
          pack(columns_of(part, piece, p), p_.kernel->columns, b_step,
               m.b + piece.at / numbers_ * p_.kernel->columns);
      } else {
        if (!m.elements)
          m.elements.emplace((limits_.rows + limits_.columns) * most(block_) * size_);
        std::byte *const left = m.elements->get(), *const right = left + rows * depth * size_;
        put_together(part, pieces, rows, left, right);
        const std::int64_t a_step = units(depth) + kPad<Sum>;
        product_kernels().rows[static_cast<int>(p_.a.packing)]({left, 1, rows, rows, depth, rows},
                                                               a_step, m.a);
        a = {m.a, a_step};
        pack({right, 1, part.columns, part.columns, depth, part.columns}, p_.kernel->columns,
             b_step, m.b);
      }
      p_.kernel->multiply({a.first, a.second, m.b, b_step, to, step, rows, part.columns,
                           units(depth), added, sums_at(p)});
      added = true;
    }
    return added;
  }

  Piece piece_of(const DepthRun& run, std::int64_t from, std::int64_t to, std::int64_t at) const {
    const std::int64_t skipped = std::max<std::int64_t>(0, from - run.first);
    const std::int64_t count = std::min(run.first + run.count, to) - (run.first + skipped);
    return {at, count, run.a + skipped * p_.a.depth_step, run.b + skipped * p_.b.depth_step};
  }
  // Whether each piece fills units of its own.
  bool are_packed_apart(const std::vector<Piece>& pieces) const {
    return pieces.size() == 1 || std::all_of(pieces.begin(), pieces.end(), [&](const Piece& p) {
             return p.count >= kShortRun && p.at % numbers_ == 0;
           });
  }

  Strip columns_of(const Part& part, const Piece& piece, std::int64_t first) const {
    const bool packed = p_.b.packing >= Packing::weights;
    const std::int64_t at = packed ? 0 : piece.b + part.column * p_.b.width_step;
    return {p_.b.data + at * size_, p_.b.width_step, p_.b.depth_step, part.columns, piece.count,
            p_.n - part.column,     piece.b,         part.column,     first};
  }

  // Where the rows are, or have been packed, and how far apart.
  std::pair<const void*, std::int64_t> rows_of(const Part& part, std::span<const Piece> pieces,
                                               std::int64_t depth, const Memory& m) const {
    const RowRun& only = part.rows[0];
    if (pieces.size() == 1 && part.rows.size() == 1 &&
        reads_in_place(p_, only.count, only.step, pieces[0].count, part.columns))
      return {p_.a.data + (only.a + pieces[0].a) * size_, only.step / numbers_};
    const std::int64_t step = slices_ * units(depth) + kPad<Sum>;
    for (const Piece& piece : pieces) {
      Sum* to = m.a + slices_ * (piece.at / numbers_);
      for (const RowRun& run : part.rows) {
        product_kernels().rows[static_cast<int>(p_.a.packing)](
            {p_.a.data + (run.a + piece.a) * size_, run.step, p_.a.depth_step, run.count,
             piece.count, run.count},
            step, to);
        to += run.count * step;
      }
    }
    return {m.a, step};
  }

  // The elements of both operands by depth.
  void put_together(const Part& part, const std::vector<Piece>& pieces, std::int64_t rows,
                    std::byte* left, std::byte* right) const {
    by_size(static_cast<std::size_t>(size_), [&]<class U>(Type<U>) {
      const auto copy = [](const std::byte* data, std::int64_t at, std::int64_t step,
                           std::int64_t count, U* to) {
        const U* const from = reinterpret_cast<const U*>(data) + at;
        if (step == 1)
          std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(U));
        else
          for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * step];
      };
      for (const Piece& piece : pieces)
        for (std::int64_t p = 0; p < piece.count; ++p) {
          U* to = reinterpret_cast<U*>(left) + (piece.at + p) * rows;
          for (const RowRun& run : part.rows) {
            copy(p_.a.data, run.a + piece.a + p * p_.a.depth_step, run.step, run.count, to);
            to += run.count;
          }
          copy(p_.b.data, piece.b + p * p_.b.depth_step + part.column * p_.b.width_step,
               p_.b.width_step, part.columns,
               reinterpret_cast<U*>(right) + (piece.at + p) * part.columns);
        }
    });
  }

  const Product& p_;
  const PartLimits& limits_;
  const Tensor& out_;
  const std::int64_t numbers_, slices_, block_, size_;
  void (*const stream_)(const Stream&);
};

}  // namespace

void multiply_runs(const Product& product, const PartLimits& limits, std::int64_t count,
                   FunctionRef<void(std::int64_t, Part&)> describe, const Tensor& out) {
  if (product.a.packing == Packing::f64)
    RunNest<double>(product, limits, out).run(count, describe);
  else
    RunNest<float>(product, limits, out).run(count, describe);
}

}  // namespace cermet::cpu
