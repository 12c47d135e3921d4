// Pieces of an output are dealt to threads; a piece packs its columns once and goes down the rows.
#include "cpu/products/nest.h"

#include <type_traits>

#include "cermet/eval.h"
#include "cpu/half.h"
#include "cpu/scalar.h"

namespace cermet::cpu {
namespace {

constexpr std::int64_t kMostRows = 384;     // that are computed at a time: their sums fit the cache
constexpr std::int64_t kMostColumns = 256;  // of a piece
constexpr std::int64_t kFewColumns = 1024;  // of one for few rows: long pieces of rows of memory
constexpr std::int64_t kMostKept = 1 << 20;    // units that a thread keeps of columns
constexpr std::int64_t kMostShared = 4 << 20;  // units that threads share of rows
constexpr std::int64_t kSmallTile = 1024;      // sums: fewer are finished together

bool few(const Product& p, std::int64_t rows) {
  return rows <= kStreamRows && product_kernels().stream[static_cast<int>(p.b.packing)];
}

// Multiplications of a product of `rows` rows that outweigh their hand-over.
double least_work(const Product& p, std::int64_t rows) {
  return few(p, rows) ? kLeastReading * static_cast<double>(rows) : kLeastWork;
}

// Whether it reads those of b, which then stay in the nearest cache.
bool reads_columns_in_place(const Product& p) {
  constexpr std::int64_t kMost = 16 << 10;  // bytes
  // A kernel takes a step of 0 for panels' own.
  return p.b.depth_step != 0 && (p.b.packing == Packing::f32 || p.b.packing == Packing::f64) &&
         p.b.width_step == 1 && 2 * p.n % p.kernel->columns == 0 &&
         p.k * p.n * static_cast<std::int64_t>(element_size(p.b.packing)) <= kMost;
}

// Whether a product is a single block, of operands that its kernel reads where they are.
bool is_block(const Product& p) {
  return p.m <= kMostRows && p.n <= kMostColumns && p.k > 0 && p.k <= kBlockDepth &&
         static_cast<double>(p.m * p.n * p.k) <= 2 * kLeastWork && !few(p, p.m) &&
         reads_columns_in_place(p) && p.a.packing == p.b.packing &&
         reads_in_place(p, p.m, p.a.width_step, p.k, p.n) && p.batch.size() == 1;
}

// How the output is cut. A piece is made of parts, one below the other, that have its panels of b.
struct Cut {
  std::int64_t rows, columns, down, across;
  std::int64_t part;  // rows of a part
  bool keeps;         // the panels of a piece's whole depth, for all of its parts
  bool shares;        // packed rows, with the pieces beside it

  // Of several products side by side.
  Cut(const Product& p, std::int64_t products, std::int64_t batches, bool in_place) {
    const std::int64_t tile_rows = p.kernel->rows, panel = p.kernel->columns;
    const std::int64_t most = kMostRows / products;
    const std::int64_t units = std::max<std::int64_t>(1, ceil_div(p.k, p.kernel->numbers));
    const std::int64_t kept = kMostKept / products / units;
    keeps = p.m > most && kept >= panel;
    rows = !keeps ? most : in_place ? p.m : std::max(most, kMostShared / products / units);
    rows = std::min(rows, p.m);
    const bool stream = few(p, p.m);
    columns = std::min(p.n, keeps    ? std::min(kMostColumns, kept / panel * panel)
                            : stream ? kFewColumns
                                     : 2 * kMostColumns);
    count(p);
    const std::int64_t threads = get_num_threads();
    const double total =
        static_cast<double>(p.m * batches) * static_cast<double>(p.n) * static_cast<double>(p.k);
    const double least = least_work(p, p.m);
    const auto wanted = std::clamp(static_cast<std::int64_t>(total / (8 * least)), threads,
                                   (stream ? 2 : 4) * threads);
    const auto work = [&] {
      return static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(p.k);
    };
    // Columns before rows: each is packed once then.
    while (down * across * batches < wanted && work() > 2 * least) {
      const bool can_rows = rows >= 4 * tile_rows, can_columns = columns >= 4 * panel;
      if (!can_rows && !can_columns) break;
      if (can_columns && (columns >= rows / 8 || !can_rows))
        columns = round_up(ceil_div(columns, 2), panel);
      else
        rows = round_up(ceil_div(rows, 2), tile_rows);
      count(p);
    }
    part = even_part(rows, most);
    keeps = keeps && part < rows;
    shares = !in_place && across > 1 && across >= get_num_threads() &&
             work() * static_cast<double>(across) > 16 * kLeastWork;
  }

 private:
  void count(const Product& p) {
    down = ceil_div(p.m, rows), across = ceil_div(p.n, columns);
    // Even pieces.
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
        in_place_(std::all_of(
            all.begin(), all.end(),
            [](const Product& p) { return reads_in_place(p, p.m, p.a.width_step, p.k, p.n); })),
        columns_in_place_(std::all_of(all.begin(), all.end(), reads_columns_in_place)),
        out_(out),
        finish_(finish),
        batches_(p_.batch.size()),
        spans_(std::max<std::int64_t>(1, ceil_div(p_.k, kSpan))),
        block_depth_(kBlockDepth * p_.kernel->numbers),
        // Rows 4 KiB apart are not added to again and again.
        own_sums_(!out || (p_.n * static_cast<std::int64_t>(sizeof(Sum)) % 4096 == 0 &&
                           p_.k > 2 * block_depth_)),
        cut_(p_, static_cast<std::int64_t>(all.size()), batches_, in_place_) {
    const bool whole = !out_ && cut_.down * cut_.across == 1 && p_.k <= kSpan && !cut_.keeps;
    if (whole) together_ = std::max<std::int64_t>(1, kSmallTile / area());
  }

  void run() {
    const std::int64_t pieces = batches_ * cut_.down * cut_.across;
    const double work = static_cast<double>(cut_.rows) * static_cast<double>(cut_.columns) *
                        static_cast<double>(p_.k);
    if (pieces < get_num_threads() && spans_ > 1 && !cut_.keeps) return run_spans();
    if (!is_few() && cut_.shares) return run_sharing();
    const auto grain =
        static_cast<std::int64_t>(1 + least_work(p_, cut_.rows) / std::max(1.0, work));
    parallel_for(pieces, grain,
                 [&](std::int64_t begin, std::int64_t end) { compute(begin, end, nullptr); });
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
  // What a thread needs: rows, unless they are shared, panels, and sums of a part.
  struct Memory {
    Memory(const Nest& n, Sum* shared) {
      const std::int64_t of_a = n.a_units(shared), of_b = n.b_units();
      const std::int64_t of_sums = n.own_sums_ ? n.areas() : 0;
      const std::int64_t all = of_a + of_b + of_sums + (n.spans_ > 1 ? n.areas() : 0);
      if (all) memory.emplace(all);
      Sum* const first = memory ? memory->get() : nullptr;
      a = shared ? shared : first;
      b = first + of_a, sums = b + of_b, more_sums = sums + of_sums;
    }
    std::optional<Workspace<Sum>> memory;  // none for what is small and read in place
    Sum *a, *b, *sums, *more_sums;
  };

  // Pieces [begin, end).
  void compute(std::int64_t begin, std::int64_t end, Sum* shared) const {
    const Memory memory(*this, shared);
    for (; begin < end; begin += together_) {
      const Piece whole = piece_at(begin);
      for (std::int64_t done = 0; done < whole.rows; done += cut_.part) {
        Piece piece = whole;
        piece.row += done, piece.rows = std::min(cut_.part, whole.rows - done);
        const bool packs = done == 0 || !cut_.keeps;
        Sum* const sums = own_sums_ ? memory.sums : place(piece);
        const std::int64_t step = own_sums_ ? piece.columns : p_.n;
        for (std::int64_t s = 0; s < spans_; ++s) {
          Sum* const part = s == 0 ? sums : memory.more_sums;
          const std::int64_t part_step = s == 0 ? step : piece.columns;
          span(piece, s, memory, packs, part, part_step);
          if (s > 0) add(part, part_step, sums, step, piece);
        }
        const std::int64_t matrices = std::min(together_, end - begin);
        for (std::int64_t i = 1; i < matrices; ++i)
          span(piece_at(begin + i), 0, memory, true, sums + i * area(), step);
        piece.rows *= matrices;
        this->done(piece, sums, step);
      }
    }
  }

  // Of `most` numbers at most.
  std::int64_t units(std::int64_t most) const {
    return ceil_div(std::min(most, p_.k), p_.kernel->numbers);
  }
  bool is_few() const { return few(p_, cut_.rows); }
  std::int64_t row_units(std::int64_t depth) const {
    return ceil_div(depth, p_.kernel->numbers) + kPad<Sum>;
  }
  std::int64_t a_units(bool shared) const {
    if (in_place_ || shared) return 0;
    return round_up(cut_.part * row_units(std::min(is_few() ? kSpan : block_depth_, p_.k)),
                    kPad<Sum>);
  }
  std::int64_t blocks() const { return ceil_div(p_.k, block_depth_); }
  std::int64_t b_units() const {
    if (is_few() || columns_in_place_) return 0;
    return round_up(cut_.keeps ? static_cast<std::int64_t>(all_.size()) * blocks() * block_units()
                               : block_units(),
                    kPad<Sum>);
  }
  // Of a block's panels.
  std::int64_t block_units() const {
    return ceil_div(cut_.columns, p_.kernel->columns) * panel_units(p_, units(block_depth_));
  }
  static RowSums sums_at(const Product& product, const Piece& piece, std::int64_t p) {
    RowSums sums = product.sums;
    if (sums.data)
      sums.data += (piece.batch * product.m + piece.row) * sums.step +
                   p / product.kernel->numbers / sums.group * sums.parts;
    return sums;
  }

  // Sums of a part, of those that are finished together, and of each product's.
  std::int64_t area() const { return cut_.part * cut_.columns; }
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
    if (out_ && sums != place(piece))
      for (std::int64_t r = 0; r < piece.rows; ++r)
        std::copy_n(sums + r * step, piece.columns, place(piece) + r * p_.n);
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
    if (in_place_) {
      const std::int64_t scale = p_.a.packing == Packing::c64 ? 2 : 1;
      return {strip.data, strip.width_step * scale / p_.kernel->numbers};
    }
    const std::int64_t step = row_units(strip.depth);
    product_kernels().rows[static_cast<int>(p_.a.packing)](strip, step, memory);
    return {memory, step};
  }
  Strip left_strip(std::size_t i, const Piece& piece, std::int64_t p, std::int64_t depth) const {
    return strip(all_[i].a, piece.offsets[i][0], piece.row, piece.rows, p_.m, p, depth);
  }
  Strip right_strip(std::size_t i, const Piece& piece, std::int64_t p, std::int64_t depth) const {
    // Columns of complex numbers have two numbers each.
    const std::int64_t scale = p_.b.packing == Packing::c64 ? 2 : 1;
    return strip(all_[i].b, piece.offsets[i][1], piece.column / scale, piece.columns, p_.n / scale,
                 p, depth);
  }

  // Those of the block of depth p.
  std::pair<const void*, std::int64_t> rows_at(std::size_t i, const Piece& piece, std::int64_t p,
                                               const Memory& memory) const {
    const std::int64_t depth = std::min(block_depth_, p_.k - p);
    if (!cut_.shares) return rows_of(left_strip(i, piece, p, depth), memory.a);
    const std::int64_t step = row_units(depth);
    return {shared_rows(memory.a, i, p / block_depth_) + piece.row % cut_.rows * step, step};
  }
  // Where the rows are that are read after a block, if they are there.
  const void* next_rows(std::size_t i, Piece piece, std::int64_t p, const Memory& memory) const {
    if (p >= p_.k) p = 0, piece.row += cut_.part;
    return (in_place_ || cut_.shares) && piece.row < p_.m ? rows_at(i, piece, p, memory).first
                                                          : nullptr;
  }

  // The sums over span s, of one product after the other. `packs`: panels that are kept, too.
  void span(const Piece& piece, std::int64_t s, const Memory& memory, bool packs, Sum* to,
            std::int64_t step) const {
    const BlockKernel& kernel = *p_.kernel;
    const auto right = static_cast<int>(p_.b.packing);
    const std::int64_t first = s * kSpan, last = std::min(p_.k, first + kSpan);
    if (p_.k == 0) {  // sums of nothing
      for (std::size_t i = 0; i < all_.size(); ++i, to += apart())
        for (std::int64_t r = 0; r < piece.rows; ++r)
          std::fill_n(to + r * step, piece.columns, Sum{});
      return;
    }
    std::pair<const void*, std::int64_t> a;
    if (is_few()) {
      const std::int64_t depth = last - first;
      for (std::size_t i = 0; i < all_.size(); ++i, to += apart()) {
        if (i == 0 || !one_left_) a = rows_of(left_strip(i, piece, first, depth), memory.a);
        product_kernels().stream[right]({a.first, a.second, right_strip(i, piece, first, depth), to,
                                         step, piece.rows, sums_at(all_[i], piece, first)});
      }
      return;
    }
    for (std::int64_t p = first; p < last; p += block_depth_) {
      const std::int64_t depth = std::min(block_depth_, last - p);
      const std::int64_t units = ceil_div(depth, kernel.numbers);
      const std::int64_t b_step = panel_units(p_, units), block = p / block_depth_;
      Sum* sums = to;
      for (std::size_t i = 0; i < all_.size(); ++i, sums += apart()) {
        if (cut_.shares || i == 0 || !one_left_) a = rows_at(i, piece, p, memory);
        const auto product = static_cast<std::int64_t>(i);
        Sum* const b = memory.b + (cut_.keeps ? (product * blocks() + block) * block_units() : 0);
        const Strip columns = right_strip(i, piece, p, depth);
        Block task{a.first,
                   a.second,
                   b,
                   b_step,
                   sums,
                   step,
                   piece.rows,
                   piece.columns,
                   units,
                   p > first,
                   sums_at(all_[i], piece, p)};
        task.next = next_rows(i, piece, p + block_depth_, memory), task.kept = !packs;
        if (columns_in_place_)
          task.b = columns.data, task.b_step = kernel.columns, task.b_row = columns.depth_step;
        else if (packs)
          product_kernels().panels[right](columns, kernel.columns, b_step, b);
        kernel.multiply(task);
      }
    }
  }

  // Rows that many pieces read are packed before these.
  Sum* shared_rows(Sum* shared, std::size_t i, std::int64_t block) const {
    const std::int64_t product = one_left_ ? 0 : static_cast<std::int64_t>(i);
    return shared + (product * blocks() + block) * cut_.rows * row_units(block_depth_);
  }
  void run_sharing() {
    constexpr std::int64_t kRows = 48;
    const std::int64_t lefts = one_left_ ? 1 : 2;
    const Workspace<Sum> shared(lefts * blocks() * cut_.rows * row_units(block_depth_));
    for (std::int64_t i = 0; i < batches_ * cut_.down; ++i) {
      const Piece whole = piece_at(i * cut_.across);
      const std::int64_t groups = ceil_div(whole.rows, kRows);
      parallel_for(lefts * blocks() * groups, 1, [&](std::int64_t begin, std::int64_t end) {
        for (; begin < end; ++begin) {
          const auto left = static_cast<std::size_t>(begin / groups / blocks());
          const std::int64_t block = begin / groups % blocks(), p = block * block_depth_;
          const std::int64_t depth = std::min(block_depth_, p_.k - p);
          Piece piece = whole;
          const std::int64_t done = begin % groups * kRows;
          piece.row += done, piece.rows = std::min(kRows, whole.rows - done);
          rows_of(left_strip(left, piece, p, depth),
                  shared_rows(shared.get(), left, block) + done * row_units(depth));
        }
      });
      parallel_for(cut_.across, 1, [&](std::int64_t begin, std::int64_t end) {
        compute(i * cut_.across + begin, i * cut_.across + end, shared.get());
      });
    }
  }

  // Too few parts for the threads: these share the spans as well.
  void run_spans() {
    const std::int64_t pieces = batches_ * cut_.down * cut_.across, spans = spans_;
    const Workspace<Sum> memory(pieces * spans * areas());
    parallel_for(pieces * spans, 1, [&](std::int64_t begin, std::int64_t end) {
      const Memory own(*this, nullptr);
      for (; begin < end; ++begin) {
        const Piece piece = piece_at(begin / spans);
        span(piece, begin % spans, own, true, memory.get() + begin * areas(), piece.columns);
      }
    });
    for (std::int64_t i = 0; i < pieces; ++i) {
      const Piece piece = piece_at(i);
      Sum* const sums = memory.get() + i * spans * areas();
      for (std::int64_t s = 1; s < spans; ++s)
        add(sums + s * areas(), piece.columns, sums, piece.columns, piece);
      done(piece, sums, piece.columns);
    }
  }

  const std::span<const Product> all_;
  const Product& p_;
  const bool one_left_, in_place_, columns_in_place_;
  Sum* const out_;
  const Epilogue finish_;
  const std::int64_t batches_, spans_, block_depth_;
  const bool own_sums_;
  const Cut cut_;
  std::int64_t together_ = 1;  // small matrices of a batch
};

void run(std::span<const Product> all, void* out, const Epilogue& finish) {
  if (all[0].a.packing == Packing::f64)
    Nest<double>(all, static_cast<double*>(out), finish).run();
  else
    Nest<float>(all, static_cast<float*>(out), finish).run();
}

}  // namespace

std::size_t element_size(Packing p) {
  switch (p) {
    case Packing::f16:
    case Packing::bf16:
    case Packing::bf16_pairs: return 2;
    case Packing::f32: return 4;
    case Packing::quads: return 1;
    default: return 8;
  }
}

bool reads_in_place(const Product& p, std::int64_t rows, std::int64_t step, std::int64_t depth,
                    std::int64_t columns) {
  const auto is = [&](Packing packing) { return p.a.packing == packing; };
  if (is(Packing::quads)) return true;
  const bool even = depth % 2 == 0 && step % 2 == 0;
  if (p.a.depth_step != 1 || !(is(Packing::f32) || is(Packing::f64) || is(Packing::c64) ||
                               (is(Packing::bf16_pairs) && even)))
    return false;
  const std::int64_t bytes = step * static_cast<std::int64_t>(element_size(p.a.packing));
  return bytes % 4096 != 0 || rows == 1 || columns <= 4 * p.kernel->columns;
}

std::int64_t panel_units(const Product& p, std::int64_t depth) {
  const std::int64_t groups = p.sums.group ? ceil_div(depth, p.sums.group) : 0;
  return p.kernel->columns * (depth + 2 * groups) +
         (p.a.packing == Packing::f64 ? kPad<double> : kPad<float>);
}

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
#ifdef CERMET_AMX
    if (isa() == Isa::v4_amx) {
      amx::fill_tiles(t);
      amx::fill_scaled(t);
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
    else if (is_block(p))
      p.kernel->multiply({.a = p.a.data,
                          .a_step = p.a.width_step,
                          .b = p.b.data,
                          .b_step = p.kernel->columns,
                          .c = out.data,
                          .c_step = p.n,
                          .rows = p.m,
                          .columns = p.n,
                          .depth = p.k,
                          .add = false,
                          .b_row = p.b.depth_step});
    else
      run({&p, 1}, out.data, [](const FinishedTile&) {});
  });
}
void multiply(std::span<const Product> products, const Epilogue& finish) {
  run(products, nullptr, finish);
}

}  // namespace cermet::cpu
