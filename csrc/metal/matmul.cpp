// Matrix products on the GPU: from types, shapes, strides and the size of the device to a kernel of
// metal/matmul.metal and its dispatch.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "../../metal/arguments.h"
#include "metal/backend.h"

namespace cermet::metal {
namespace {

// ---- what is known of devices ------------------------------------------------------------------

// The last letter of an architecture ("applegpu_g13s") and about how many cores such a GPU has:
// phone, base, pro, max, ultra.
struct DeviceClass {
  char letter;
  int cores;
};
constexpr DeviceClass kDeviceClasses[] = {{'p', 5}, {'g', 10}, {'s', 18}, {'c', 36}, {'d', 72}};
constexpr int kCoresOfOthers = 10;
// Simdgroups that keep a core busy.
constexpr std::int64_t kSimdgroupsPerCore = 8;

int core_count() {
  static const int count = [] {
    const std::string architecture = device()->architecture();
    if (architecture.starts_with("applegpu_"))
      for (const DeviceClass& c : kDeviceClasses)
        if (architecture.back() == c.letter) return c.cores;
    return kCoresOfOthers;
  }();
  return count;
}

// A threadgroup's tile of the output, its simdgroups, and the part of the peak rate it reaches.
struct Tile {
  int rows, columns, simdgroups_down, simdgroups_across;
  double efficiency;

  int simdgroups() const { return simdgroups_down * simdgroups_across; }
};
constexpr Tile kTiles[] = {
    {64, 64, 2, 2, 1.0}, {32, 32, 2, 2, 0.7},  {16, 64, 1, 2, 0.6},
    {64, 16, 2, 1, 0.6}, {16, 16, 1, 1, 0.35},
};
// The tile's extent along k: one load of it moves as many bytes for each type.
int tile_depth(Dtype dtype) { return 64 / static_cast<int>(size_of(dtype)); }

// ---- small helpers -----------------------------------------------------------------------------

template <class T>
T divide_up(T a, T b) {
  return (a - 1) / b + 1;
}

std::uint32_t count(std::int64_t n) { return static_cast<std::uint32_t>(n); }

std::string text(bool x) { return x ? "true" : "false"; }

cermet_uint extent(std::int64_t n) {
  if (n > std::numeric_limits<std::int32_t>::max())
    throw std::length_error("matmul: an extent of " + std::to_string(n) +
                            " is more than the GPU's kernels take (2147483647)");
  return count(n);
}

// The type that sums are in.
Dtype accumulator(Dtype dtype) { return is_floating(dtype) ? float32 : dtype; }

// The axes before the last two.
Tensor batch_of(const Tensor& t) {
  Tensor batch;
  batch.shape = Shape(t.shape.begin(), t.shape.end() - 2);
  batch.strides = Strides(t.strides.begin(), t.strides.end() - 2);
  return batch;
}

// A copy with row-major matrices. An axis that repeats its matrix still does.
Tensor row_major(Commands& commands, const Tensor& t) {
  Tensor once = t;
  for (std::size_t i = 0; i + 2 < t.shape.size(); ++i)
    if (t.strides[i] == 0) once.shape[i] = 1;
  Tensor dense = commands.temporary(once.shape, t.dtype);
  copy(commands, once, dense);
  for (std::size_t i = 0; i + 2 < t.shape.size(); ++i)
    if (t.strides[i] == 0) dense.strides[i] = 0;
  dense.shape = t.shape;
  return dense;
}

// ---- the product -------------------------------------------------------------------------------

// c in alpha (a b) + beta c.
struct Addend {
  const Tensor& c;
  float alpha, beta;
};

class Product {
 public:
  Product(Commands& commands, const Tensor& a, const Tensor& b, const Addend* addend,
          const Tensor& out)
      : commands_(commands), a_(a), b_(b), c_(addend ? addend->c : a), out_(out), addend_(addend) {
    // Without an addend the output's strides stand for c's: they merge wherever others do.
    const Tensor& c = addend ? addend->c : out;
    const std::size_t row = out.shape.size() - 2, column = row + 1;
    p_.m = extent(out.shape[row]);
    p_.n = extent(out.shape[column]);
    p_.k = extent(a.shape[column]);
    p_.a_row = a.strides[row], p_.a_column = a.strides[column];
    p_.b_row = b.strides[row], p_.b_column = b.strides[column];
    p_.c_row = c.strides[row], p_.c_column = c.strides[column];
    if (addend) p_.alpha = addend->alpha, p_.beta = addend->beta;

    const Tensor batch_a = batch_of(a), batch_b = batch_of(b), batch_c = batch_of(c);
    const Layout batch = collapse({&batch_a, &batch_b, &batch_c});
    if (batch.shape.size() > CERMET_MAX_AXES)
      throw std::length_error(
          "matmul: " + std::to_string(batch.shape.size()) +
          " batch axes that do not merge are more than the GPU's kernels take (" +
          std::to_string(CERMET_MAX_AXES) + ")");
    p_.batch_axes = count(static_cast<std::int64_t>(batch.shape.size()));
    p_.batches = 1;
    for (std::size_t i = 0; i < batch.shape.size(); ++i) {
      p_.batch_shape[i] = extent(batch.shape[i]);
      p_.batches = extent(std::int64_t{p_.batches} * batch.shape[i]);
      p_.a_batch[i] = batch.strides[0][i];
      p_.b_batch[i] = batch.strides[1][i];
      p_.c_batch[i] = batch.strides[2][i];
    }
  }

  void encode() {
    fold_batch();
    if (p_.m == 1) {
      transpose();
      fold_batch();
    }
    if (p_.k > 0 && p_.n == 1)
      gemv();
    else if (p_.k > 0 && is_floating(out_.dtype))
      gemm();
    else
      plain();
  }

 private:
  // A batch that shares b is one product with more rows where the rows of a are equally spaced.
  void fold_batch() {
    const std::int64_t rows = std::int64_t{p_.m} * p_.batches;
    if (p_.batch_axes > 1 || p_.batches == 1 || rows > std::numeric_limits<std::int32_t>::max())
      return;
    const std::int64_t a_row = p_.m > 1 ? p_.a_row : p_.a_batch[0];
    const std::int64_t c_row = p_.m > 1 ? p_.c_row : p_.c_batch[0];
    if (p_.b_batch[0] != 0 || p_.a_batch[0] != p_.m * a_row || p_.c_batch[0] != p_.m * c_row)
      return;
    p_.a_row = a_row;
    p_.c_row = c_row;
    p_.m = count(rows);
    p_.batches = p_.batch_shape[0] = 1;
    p_.a_batch[0] = p_.c_batch[0] = 0;
  }

  // The transposed product. With m or n 1 the output is the same memory.
  void transpose() {
    std::swap(a_, b_);
    std::swap(p_.m, p_.n);
    std::swap(p_.a_row, p_.b_column);
    std::swap(p_.a_column, p_.b_row);
    std::swap(p_.c_row, p_.c_column);
    std::swap(p_.a_batch, p_.b_batch);
  }

  // Cuts k in parts, multiples of `unit` and at least `least`, so that they keep the device busy
  // when a whole sum a thread gives it but `simdgroups`. Returns their number.
  std::int64_t split(std::int64_t simdgroups, std::int64_t least, std::int64_t unit) {
    const std::int64_t wanted = core_count() * kSimdgroupsPerCore / simdgroups;
    const std::int64_t parts = std::max<std::int64_t>(1, std::min(wanted, p_.k / least));
    p_.k_part = count(divide_up(divide_up<std::int64_t>(p_.k, parts), unit) * unit);
    return divide_up(p_.k, p_.k_part);
  }

  // Runs body(output, its type, function constants) for the output or, with several parts, for
  // sums of them that a second kernel adds up.
  template <class Body>
  void with_output(std::int64_t parts, bool aligned, Body&& body) {
    const Dtype sum = accumulator(out_.dtype);
    if (parts == 1) return body(out_, out_.dtype, constants(aligned, addend_));
    const Tensor sums = commands_.temporary({parts, p_.batches, p_.m, p_.n}, sum);
    body(sums, sum, constants(aligned, false));
    const std::uint32_t across = std::min(256u, std::bit_ceil(p_.n));
    commands_.threads(
        kernel("matmul", "sum_parts", {type_name(out_.dtype)}, constants(false, addend_)),
        {in(sums), in(c_), out(out_), value(p_)}, {p_.n, p_.m, p_.batches},
        {across, std::min(256 / across, std::bit_ceil(p_.m))});
  }

  static std::array<Constant, 2> constants(bool aligned, bool has_addend) {
    return {{{0, Constant::Type::boolean, aligned}, {1, Constant::Type::boolean, has_addend}}};
  }

  // Whether rows (or columns) of contiguous elements, `extent` each and `step` apart, can be read
  // four elements at a time.
  bool in_fours(const Tensor& t, std::int64_t extent, std::int64_t step,
                const cermet_long* batch) const {
    return t.address() % (4 * size_of(t.dtype)) == 0 && extent % 4 == 0 && step % 4 == 0 &&
           std::all_of(batch, batch + p_.batch_axes, [](auto stride) { return stride % 4 == 0; });
  }

  // The tile of the shortest estimated time: rounds of the device's cores by the time of each.
  const Tile& choose_tile() const {
    auto time = [&](const Tile& t) {
      const double rounds = static_cast<double>(tiles(t)) / core_count();
      return std::max(1.0, rounds) * t.rows * t.columns / t.efficiency;
    };
    return *std::min_element(std::begin(kTiles), std::end(kTiles),
                             [&](const Tile& s, const Tile& t) { return time(s) < time(t); });
  }
  std::int64_t tiles(const Tile& t) const {
    return divide_up<std::int64_t>(p_.m, t.rows) * divide_up<std::int64_t>(p_.n, t.columns) *
           p_.batches;
  }

  void gemm() {
    // The kernel needs neighbours in memory along one of a matrix's axes.
    const bool a_direct = p_.a_column == 1 || p_.a_row == 1 || p_.k == 1;
    const bool b_direct = p_.b_column == 1 || p_.b_row == 1 || p_.k == 1;
    if (!a_direct || !b_direct)
      return Product(commands_, a_direct ? a_ : row_major(commands_, a_),
                     b_direct ? b_ : row_major(commands_, b_), addend_, out_)
          .encode();
    const bool a_k_inner = p_.a_row != 1, b_k_inner = p_.b_column != 1;
    const bool wide =
        in_fours(a_, a_k_inner ? p_.k : p_.m, a_k_inner ? p_.a_row : p_.a_column, p_.a_batch) &&
        in_fours(b_, b_k_inner ? p_.k : p_.n, b_k_inner ? p_.b_column : p_.b_row, p_.b_batch);

    const Tile& tile = choose_tile();
    const int depth = tile_depth(out_.dtype);
    const std::int64_t parts = split(tiles(tile) * tile.simdgroups(), 256, depth);
    const bool aligned = p_.m % tile.rows == 0 && p_.n % tile.columns == 0 && p_.k % depth == 0;
    const std::int64_t down = divide_up<std::int64_t>(p_.m, tile.rows);
    const std::int64_t across = divide_up<std::int64_t>(p_.n, tile.columns);
    p_.swizzle = std::min(down, across) >= 8 ? 2 : 0;
    with_output(parts, aligned, [&](const Tensor& to, Dtype type, const auto& flags) {
      commands_.groups(
          kernel("matmul", "gemm",
                 {type_name(out_.dtype), type_name(type), std::to_string(tile.rows),
                  std::to_string(tile.columns), std::to_string(depth),
                  std::to_string(tile.simdgroups_down), std::to_string(tile.simdgroups_across),
                  text(a_k_inner), text(b_k_inner), wide ? "4" : "1"},
                 flags),
          {in(a_), in(b_), in(c_), out(to), value(p_)},
          {count(across << p_.swizzle), count(divide_up<std::int64_t>(down, 1 << p_.swizzle)),
           count(parts * p_.batches)},
          {count(tile.simdgroups() * kSimdWidth)});
    });
  }

  void gemv() {
    constexpr std::int64_t kRows = 4;        // that a simdgroup of gemv_rows computes
    constexpr std::int64_t kSimdgroups = 8;  // of a threadgroup
    const bool by_rows = std::abs(p_.a_column) <= std::abs(p_.a_row) || p_.m == 1;
    const bool wide = is_floating(out_.dtype) &&
                      (by_rows ? p_.a_column == 1 && in_fours(a_, p_.k, p_.a_row, p_.a_batch)
                               : p_.a_row == 1 && in_fours(a_, p_.m, p_.a_column, p_.a_batch));
    // Outputs that a simdgroup has of its own (by rows), or a threadgroup whose simdgroups share k.
    const std::int64_t block = by_rows ? kRows : wide ? 4 * kSimdWidth : kSimdWidth;
    const std::int64_t blocks = divide_up<std::int64_t>(p_.m, block);
    const std::int64_t simdgroups =
        std::min(kSimdgroups, by_rows ? blocks : divide_up<std::int64_t>(p_.k, 8));
    const std::int64_t groups = by_rows ? divide_up(blocks, simdgroups) : blocks;
    // As for narrow reads in any case: alignment changes no sum.
    const std::int64_t busy =
        by_rows ? blocks : divide_up<std::int64_t>(p_.m, kSimdWidth) * simdgroups;
    const std::int64_t parts = split(busy * p_.batches, by_rows ? 1024 : 256, 4);
    with_output(parts, false, [&](const Tensor& to, Dtype type, const auto& flags) {
      commands_.groups(kernel("matmul", by_rows ? "gemv_rows" : "gemv_columns",
                              {type_name(out_.dtype), type_name(type), wide ? "4" : "1"}, flags),
                       {in(a_), in(b_), in(c_), out(to), value(p_)},
                       {count(groups), 1, count(parts * p_.batches)},
                       {count(simdgroups * kSimdWidth)});
    });
  }

  void plain() {
    constexpr std::int64_t kSide = 16;
    // With k == 0 the operands have no memory to bind, and are not read.
    if (p_.k == 0) {
      a_ = b_ = commands_.temporary({1}, out_.dtype);
      if (!addend_) c_ = a_;
    }
    commands_.groups(
        kernel("matmul", "plain_product", {type_name(out_.dtype)}, constants(false, addend_)),
        {in(a_), in(b_), in(c_), out(out_), value(p_)},
        {count(divide_up<std::int64_t>(p_.n, kSide)), count(divide_up<std::int64_t>(p_.m, kSide)),
         p_.batches},
        {count(kSide), count(kSide)});
  }

  Commands& commands_;
  Tensor a_, b_, c_;  // c is bound even where it is not read
  const Tensor& out_;
  const Addend* addend_;
  MatmulArguments p_{};
};

void multiply(Commands& commands, const Tensor& a, const Tensor& b, const Addend* addend,
              const Tensor& out) {
  commands.add_work(std::uint64_t{2} * static_cast<std::uint64_t>(out.size()) *
                    static_cast<std::uint64_t>(a.shape.back()));
  Product(commands, a, b, addend, out).encode();
}

// A tensor repeated over the axes of a larger shape.
Tensor broadcast(Tensor t, const Shape& shape) {
  Strides strides(shape.size());
  const std::size_t skip = shape.size() - t.shape.size();
  for (std::size_t i = 0; i < t.shape.size(); ++i)
    if (t.shape[i] != 1) strides[skip + i] = t.strides[i];
  t.shape = shape;
  t.strides = std::move(strides);
  return t;
}

// The shape of a batch with other matrices.
Shape matrix_shape(Shape batch, std::int64_t rows, std::int64_t columns) {
  batch.end()[-2] = rows;
  batch.back() = columns;
  return batch;
}

}  // namespace

void matmul(Commands& commands, std::span<const Tensor> inputs, const Tensor& out) {
  multiply(commands, inputs[0], inputs[1], nullptr, out);
}

void addmm(Commands& commands, const Addmm& primitive, std::span<const Tensor> inputs,
           const Tensor& out) {
  const Shape &shape_a = inputs[1].shape, &shape_b = inputs[2].shape;
  const Tensor c = broadcast(inputs[0], out.shape);
  const Tensor a = broadcast(inputs[1], matrix_shape(out.shape, shape_a.end()[-2], shape_a.back()));
  const Tensor b = broadcast(inputs[2], matrix_shape(out.shape, shape_b.end()[-2], shape_b.back()));
  const auto alpha = static_cast<float>(primitive.alpha), beta = static_cast<float>(primitive.beta);
  // The order of a sum may not follow from the addend's strides, which decide what batches fold.
  Tensor rows = c;
  rows.shape.pop_back();
  rows.strides.pop_back();
  const std::size_t row = out.shape.size() - 2;
  const bool batched = out.size() > out.shape[row] * out.shape[row + 1];
  if (batched && !is_row_major(c) && (out.shape[row] == 1 || collapse({&rows}).shape.size() > 1)) {
    const Tensor dense = commands.temporary(out.shape, out.dtype);
    copy(commands, c, dense);
    const Addend addend{dense, alpha, beta};
    return multiply(commands, a, b, &addend, out);
  }
  const Addend addend{c, alpha, beta};
  multiply(commands, a, b, &addend, out);
}

}  // namespace cermet::metal
