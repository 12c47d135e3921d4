// Pieces of an output are dealt to threads; a piece packs a block of each operand at a time and
// multiplies them.
#include "cpu/products/nest.h"

#include <type_traits>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMostRows = 384, kMostColumns = 512;  // of a piece: blocks fit the cache
constexpr std::int64_t kSmallTile = 1024;                    // sums: fewer are finished together
constexpr double kLeastWork = 250e3;  // multiplications that outweigh their hand-over

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::int64_t round_up(std::int64_t a, std::int64_t to) { return ceil_div(a, to) * to; }

std::size_t element_size(Packing p) {
  switch (p) {
    case Packing::f16:
    case Packing::bf16:
    case Packing::bf16_pairs: return 2;
    case Packing::f32: return 4;
    default: return 8;
  }
}

// How the output is cut.
struct Cut {
  std::int64_t rows, columns, down, across;

  // Of several products side by side.
  Cut(const Product& p, std::int64_t products, std::int64_t batches) {
    const std::int64_t tile_rows = p.kernel->rows, tile_columns = p.kernel->columns;
    rows = std::min(p.m, kMostRows / products);
    columns = std::min(p.n, kMostColumns);
    count(p);
    const std::int64_t wanted = 4 * get_num_threads();
    const auto work = [&] {
      return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(p.k);
    };
    // Parts that are square cost the least packing; columns are packed faster than rows.
    while (down * across * batches < wanted && work() > 2 * kLeastWork) {
      const bool can_rows = rows >= 4 * tile_rows, can_columns = columns >= 4 * tile_columns;
      if (!can_rows && !can_columns) break;
      if (can_rows && (!can_columns || rows >= columns))
        rows = round_up(ceil_div(rows, 2), tile_rows);
      else
        columns = round_up(ceil_div(columns, 2), tile_columns);
      count(p);
    }
  }

 private:
  void count(const Product& p) {
    down = ceil_div(p.m, rows), across = ceil_div(p.n, columns);
    // Even parts.
    rows = ceil_div(p.m, down);
    down = ceil_div(p.m, rows);
  }
};

template <class Sum>
class Nest {
 public:
  Nest(std::span<const Product> all, Sum* out, const Epilogue& finish)
      : all_(all),
        p_(all[0]),
        one_left_(all.size() == 1 || is_same_left(all[0], all[1])),
        out_(out),
        finish_(finish),
        batches_(p_.batch.size()),
        cut_(p_, static_cast<std::int64_t>(all.size()), batches_),
        block_depth_(kBlockDepth * p_.kernel->numbers) {
    const bool whole = !out_ && cut_.down * cut_.across == 1 && p_.k <= kSpan;
    if (whole) together_ = std::max<std::int64_t>(1, kSmallTile / area());
  }

  void run() {
    const std::int64_t pieces = cut_.down * cut_.across;
    const double work = static_cast<double>(cut_.rows) * static_cast<double>(cut_.columns) *
                        static_cast<double>(p_.k);
    const auto grain = static_cast<std::int64_t>(1 + kLeastWork / std::max(1.0, work));
    const std::int64_t spans = ceil_div(p_.k, kSpan);
    if (pieces * batches_ < get_num_threads() && spans > 1) return run_spans(spans);
    parallel_for(batches_ * pieces, grain, [&](std::int64_t begin, std::int64_t end) {
      const Panels panels(*this);
      const Workspace<Sum> memory((out_ ? 0 : areas()) + (spans > 1 ? areas() : 0) + 1);
      for (; begin < end; begin += together_) {
        Piece piece = piece_at(begin);
        Sum* const sums = out_ ? place(piece) : memory.get();
        const std::int64_t step = out_ ? p_.n : piece.columns;
        for (std::int64_t s = 0; s < spans; ++s) {
          Sum* const part = s == 0 ? sums : memory.get() + (out_ ? 0 : areas());
          const std::int64_t part_step = s == 0 ? step : piece.columns;
          span(piece, s, panels, part, part_step);
          if (s > 0) add(part, part_step, sums, step, piece);
        }
        const std::int64_t matrices = std::min(together_, end - begin);
        for (std::int64_t i = 1; i < matrices; ++i)
          span(piece_at(begin + i), 0, panels, sums + i * area(), step);
        piece.rows *= matrices;
        done(piece, sums, step);
      }
    });
  }

 private:
  struct Piece {
    std::int64_t batch, row, rows, column, columns;
    std::array<std::array<std::int64_t, 2>, 2> offsets;  // of the operands of each product
  };
  static bool is_same_left(const Product& p, const Product& q) {
    return p.a.data == q.a.data && p.a.width_step == q.a.width_step &&
           p.a.depth_step == q.a.depth_step && p.batch.shape == q.batch.shape &&
           p.batch.strides[0] == q.batch.strides[0];
  }
  // Rows and panels a multiple of 4 KiB apart would be in each other's way in the cache.
  static constexpr std::int64_t kPad = 64 / static_cast<std::int64_t>(sizeof(Sum));
  // Memory for a block of each operand, of units as large as sums.
  struct Panels {
    explicit Panels(const Nest& n)
        : memory(n.a_units() + n.b_units()), a(memory.get()), b(a + n.a_units()) {}
    Workspace<Sum> memory;
    Sum *a, *b;
  };
  // Of `most` numbers at most.
  std::int64_t units(std::int64_t most) const {
    return ceil_div(std::min(most, p_.k), p_.kernel->numbers);
  }
  bool few(std::int64_t rows) const {
    return rows <= kStreamRows && product_kernels().stream[static_cast<int>(p_.b.packing)];
  }
  // Whether the kernel reads the rows of a where they are.
  bool in_place() const {
    return std::all_of(all_.begin(), all_.end(),
                       [this](const Product& p) { return is_in_place(p.a); });
  }
  bool is_in_place(const Factor& a) const {
    const auto is = [&](Packing p) { return a.packing == p; };
    const bool even = p_.k % 2 == 0 && a.width_step % 2 == 0;
    if (a.depth_step != 1 || !(is(Packing::f32) || is(Packing::f64) || is(Packing::c64) ||
                               (is(Packing::bf16_pairs) && even)))
      return false;
    const std::int64_t bytes = a.width_step * static_cast<std::int64_t>(element_size(a.packing));
    return bytes % 4096 != 0 || few(cut_.rows) || cut_.columns <= 4 * p_.kernel->columns;
  }
  std::int64_t a_units() const {
    if (in_place()) return 0;
    return round_up(cut_.rows * (units(few(cut_.rows) ? kSpan : block_depth_) + kPad), kPad);
  }
  std::int64_t b_units() const {
    if (few(cut_.rows)) return 0;
    return ceil_div(cut_.columns, p_.kernel->columns) * panel_units(units(block_depth_));
  }
  // Of a panel: its units and, for a scaled kernel, scales and biases.
  std::int64_t panel_units(std::int64_t depth) const {
    const std::int64_t groups = p_.sums.group ? ceil_div(depth, p_.sums.group) : 0;
    return p_.kernel->columns * (depth + 2 * groups) + kPad;
  }
  static RowSums sums_at(const Product& product, const Piece& piece, std::int64_t p) {
    RowSums sums = product.sums;
    if (sums.data)
      sums.data += (piece.batch * product.m + piece.row) * sums.step +
                   p / product.kernel->numbers / sums.group;
    return sums;
  }

  // Sums of a part, of those that are finished together, and of each product's.
  std::int64_t area() const { return cut_.rows * cut_.columns; }
  std::int64_t apart() const { return together_ * area(); }
  std::int64_t areas() const { return static_cast<std::int64_t>(all_.size()) * apart(); }
  Piece piece_at(std::int64_t i) const {
    const std::int64_t pieces = cut_.down * cut_.across, batch = i / pieces, part = i % pieces;
    const std::int64_t row = part / cut_.across * cut_.rows;
    const std::int64_t column = part % cut_.across * cut_.columns;
    Piece piece{
        batch, row, std::min(cut_.rows, p_.m - row), column, std::min(cut_.columns, p_.n - column),
        {}};
    for (std::size_t i = 0; i < all_.size(); ++i)
      piece.offsets[i] = Walk<2>(all_[i].batch, batch).offset;
    return piece;
  }
  Sum* place(const Piece& piece) const {
    return out_ + (piece.batch * p_.m + piece.row) * p_.n + piece.column;
  }
  void done(const Piece& piece, Sum* sums, std::int64_t step) const {
    if (out_) return;
    const Sum* const beside = all_.size() > 1 ? sums + apart() : nullptr;
    finish_(
        {piece.batch, piece.row, piece.rows, piece.column, piece.columns, {sums, beside}, step});
  }
  void add(const Sum* from, std::int64_t from_step, Sum* to, std::int64_t step,
           const Piece& piece) const {
    for (std::size_t k = 0; k < all_.size(); ++k, from += apart(), to += apart())
      for (std::int64_t i = 0; i < piece.rows; ++i)
        for (std::int64_t j = 0; j < piece.columns; ++j)
          to[i * step + j] += from[i * from_step + j];
  }

  // Numbers [p, p + depth) of `width` rows or columns from `first` on.
  static Strip strip(const Factor& f, std::int64_t offset, std::int64_t first, std::int64_t width,
                     std::int64_t extent, std::int64_t p, std::int64_t depth) {
    const bool complex = f.packing == Packing::c64;
    const std::int64_t scale = complex ? 2 : 1;
    const std::int64_t at = f.packing >= Packing::weights
                                ? 0
                                : offset + first * f.width_step + p / scale * f.depth_step;
    return {f.data + at * static_cast<std::int64_t>(element_size(f.packing)),
            f.width_step,
            f.depth_step,
            width,
            depth,
            extent - first,
            offset,
            first,
            p};
  }

  // Rows of a, packed or in place, and how far apart they are.
  std::pair<const void*, std::int64_t> rows_of(const Strip& strip, Sum* memory) const {
    const std::int64_t numbers = p_.kernel->numbers;
    if (in_place()) {
      const std::int64_t scale = p_.a.packing == Packing::c64 ? 2 : 1;
      return {strip.data, strip.width_step * scale / numbers};
    }
    const std::int64_t step = ceil_div(strip.depth, numbers) + kPad;
    product_kernels().rows[static_cast<int>(p_.a.packing)](strip, step, memory);
    return {memory, step};
  }

  // The sums over span s, of one product after the other.
  void span(const Piece& piece, std::int64_t s, const Panels& panels, Sum* to,
            std::int64_t step) const {
    const BlockKernel& kernel = *p_.kernel;
    const auto right = static_cast<int>(p_.b.packing);
    const std::int64_t first = s * kSpan, last = std::min(p_.k, first + kSpan);
    const auto left_strip = [&](std::size_t i, std::int64_t p, std::int64_t depth) {
      return strip(all_[i].a, piece.offsets[i][0], piece.row, piece.rows, p_.m, p, depth);
    };
    const auto right_strip = [&](std::size_t i, std::int64_t p, std::int64_t depth) {
      // Columns of complex numbers have two numbers each.
      const std::int64_t scale = p_.b.packing == Packing::c64 ? 2 : 1;
      return strip(all_[i].b, piece.offsets[i][1], piece.column / scale, piece.columns,
                   p_.n / scale, p, depth);
    };
    std::pair<const void*, std::int64_t> a;
    if (few(cut_.rows)) {
      const std::int64_t depth = last - first;
      for (std::size_t i = 0; i < all_.size(); ++i, to += apart()) {
        if (i == 0 || !one_left_) a = rows_of(left_strip(i, first, depth), panels.a);
        product_kernels().stream[right]({a.first, a.second, right_strip(i, first, depth), to, step,
                                         piece.rows, sums_at(all_[i], piece, first)});
      }
      return;
    }
    for (std::int64_t p = first; p < last; p += block_depth_) {
      const std::int64_t depth = std::min(block_depth_, last - p);
      const std::int64_t units = ceil_div(depth, kernel.numbers);
      const std::int64_t b_step = panel_units(units);
      Sum* sums = to;
      for (std::size_t i = 0; i < all_.size(); ++i, sums += apart()) {
        if (i == 0 || !one_left_) a = rows_of(left_strip(i, p, depth), panels.a);
        product_kernels().panels[right](right_strip(i, p, depth), kernel.columns, b_step, panels.b);
        kernel.multiply({a.first, a.second, panels.b, b_step, sums, step, piece.rows, piece.columns,
                         units, p > first, sums_at(all_[i], piece, p)});
      }
    }
  }

  // Too few parts for the threads: these share the spans as well.
  void run_spans(std::int64_t spans) {
    const std::int64_t pieces = batches_ * cut_.down * cut_.across;
    const Workspace<Sum> memory(pieces * spans * areas());
    parallel_for(pieces * spans, 1, [&](std::int64_t begin, std::int64_t end) {
      const Panels panels(*this);
      for (; begin < end; ++begin) {
        const Piece piece = piece_at(begin / spans);
        span(piece, begin % spans, panels, memory.get() + begin * areas(), piece.columns);
      }
    });
    for (std::int64_t i = 0; i < pieces; ++i) {
      const Piece piece = piece_at(i);
      Sum* const sums = memory.get() + i * spans * areas();
      for (std::int64_t s = 1; s < spans; ++s)
        add(sums + s * areas(), piece.columns, sums, piece.columns, piece);
      if (!out_) {
        done(piece, sums, piece.columns);
        continue;
      }
      for (std::int64_t r = 0; r < piece.rows; ++r)
        std::copy_n(sums + r * piece.columns, piece.columns, place(piece) + r * p_.n);
    }
  }

  const std::span<const Product> all_;
  const Product& p_;
  const bool one_left_;
  Sum* const out_;
  const Epilogue finish_;
  const std::int64_t batches_;
  const Cut cut_;
  const std::int64_t block_depth_;
  std::int64_t together_ = 1;  // small matrices of a batch
};

void run(std::span<const Product> all, void* out, const Epilogue& finish) {
  if (all[0].a.packing == Packing::f64)
    Nest<double>(all, static_cast<double*>(out), finish).run();
  else
    Nest<float>(all, static_cast<float*>(out), finish).run();
}

}  // namespace

const ProductKernels& product_kernels() {
  static const ProductKernels table = [] {
    ProductKernels t;
    CERMET_DISPATCH(fill_packs(t));
    CERMET_DISPATCH(fill_kernels(t));
    CERMET_DISPATCH(fill_weights(t));
#ifdef CERMET_BF16
    if (has_bf16_products()) {
      bf16::fill_dot(t);
      bf16::fill_scaled(t);
    }
#endif
    return t;
  }();
  return table;
}

void store_product(const Product& p, const Tensor& out) {
  visit(out.dtype, [&]<class T>(Type<T>) {
    if constexpr (kIsHalf<T>)
      multiply({&p, 1}, [&](const FinishedTile& t) {
        T* to = data<T>(out) + (t.batch * p.m + t.row) * p.n + t.column;
        const auto* from = static_cast<const float*>(t.values[0]);
        for (std::int64_t r = 0; r < t.rows; ++r)
          CERMET_DISPATCH(from_floats(from + r * t.step, to + r * p.n, t.columns));
      });
    else
      run({&p, 1}, out.data, [](const FinishedTile&) {});
  });
}
void multiply(std::span<const Product> products, const Epilogue& finish) {
  run(products, nullptr, finish);
}

}  // namespace cermet::cpu
