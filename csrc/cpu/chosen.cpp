// Products of what indices, masks and segments choose, read where it lies.
#include <algorithm>
#include <numeric>

#include "cpu/primitives.h"
#include "cpu/products/operands.h"
#include "cpu/products/runs.h"
#include "cpu/scalar.h"
#include "graph/check.h"

namespace cermet::cpu {
namespace {

using Offsets = std::vector<std::int64_t>;

Shape leading(const Shape& shape) { return Shape(shape.begin(), shape.end() - 2); }

// Steps that repeat an operand's batch over that of the results.
Strides spread(const Shape& shape, const Strides& strides, const Shape& batch) {
  Strides all(batch.size(), 0);
  const std::size_t missing = batch.size() - shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) all[missing + i] = strides[i];
  return all;
}

// For each entry of the batch the number of its matrix, counted along the flattened leading axes
// `own`: what the indices say, or that of the entry.
Offsets numbers_of(std::string_view op, const Shape& own, const Tensor* indices,
                   const Shape& batch) {
  const Shape shape = indices ? indices->shape : own;
  const Strides strides = indices ? indices->strides : row_major(own);
  Domain<1> domain{batch, {spread(shape, strides, batch)}};
  domain.collapse();
  Offsets numbers(static_cast<std::size_t>(element_count(batch)));
  Walk<1> walk(domain, 0);
  if (!indices) {
    for (std::int64_t& n : numbers) n = walk.offset[0], walk.next();
    return numbers;
  }
  const std::int64_t count = element_count(own);
  visit(indices->dtype, [&]<class I>(Type<I>) {
    if constexpr (std::is_integral_v<I>)
      for (std::int64_t& n : numbers) {
        const auto raw = static_cast<std::int64_t>(data<const I>(*indices)[walk.offset[0]]);
        n = raw < 0 ? raw + count : raw;
        if (n < 0 || n >= count) throw index_error(op, raw, 0, count);
        walk.next();
      }
  });
  return numbers;
}

// Where the matrices with these numbers begin, in elements.
Offsets offsets_of(const Tensor& a, const Offsets& numbers) {
  const Shape own = leading(a.shape);
  Domain<1> domain{own, {Strides(a.strides.begin(), a.strides.end() - 2)}};
  domain.collapse();
  Offsets offsets = numbers;
  for (std::int64_t& n : offsets)
    n = domain.shape.size() == 1 ? n * domain.strides[0][0] : Walk<1>(domain, n).offset[0];
  return offsets;
}

// The entries in the order of their numbers, equal ones as they were.
Offsets sorted(const Offsets& numbers) {
  Offsets order(numbers.size());
  std::iota(order.begin(), order.end(), 0);
  const auto less = [&](std::int64_t i, std::int64_t j) {
    return numbers[static_cast<std::size_t>(i)] < numbers[static_cast<std::size_t>(j)];
  };
  if (!std::is_sorted(numbers.begin(), numbers.end()))
    std::stable_sort(order.begin(), order.end(), less);
  return order;
}

// Rows into which m are cut: few enough parts to pack little, enough of them for the threads.
std::int64_t part_rows(std::int64_t m) {
  const std::int64_t wanted = ceil_div(m, 2 * get_num_threads());
  return std::max<std::int64_t>(1, even_part(std::max<std::int64_t>(m, 1),
                                             std::clamp<std::int64_t>(wanted, 96, kMostPartRows)));
}
// And columns, where there are so many parts of rows, of `work` multiplications a column.
std::int64_t part_columns(const Product& p, std::int64_t parts, double work) {
  const std::int64_t panel = p.kernel->columns;
  std::int64_t columns = round_up(even_part(p.n, kMostPartColumns), kRowsBeside);
  while (parts * ceil_div(p.n, columns) < 4 * get_num_threads() && columns >= 2 * panel &&
         static_cast<double>(columns) * work > 500e3)
    columns = ceil_div(ceil_div(columns, 2), panel) * panel;
  return columns;
}
void set_columns(Part& part, std::int64_t i, std::int64_t columns, std::int64_t n) {
  part.column = i * columns, part.columns = std::min(columns, n - part.column);
}

// A run goes on where the other begins, if its first row may say how far apart rows are.
bool extends(RowRun& run, const RowRun& next) {
  if (next.to != run.to + run.count) return false;
  const std::int64_t step = run.count == 1 ? next.a - run.a : run.step;
  if (next.a != run.a + run.count * step || (next.count > 1 && next.step != step)) return false;
  run.step = step, run.count += next.count;
  return true;
}

// Products of which those with one right matrix are computed together, as a product of more rows.
void multiply_groups(const Product& p, const Offsets& a, const Offsets& b, const Tensor& out) {
  struct Rows {
    std::size_t first, last;  // of the runs
    std::int64_t b;
  };
  const Offsets order = sorted(b);
  const std::int64_t most = part_rows(p.m * static_cast<std::int64_t>(a.size()));
  std::vector<RowRun> runs;
  std::vector<Rows> parts;
  std::int64_t most_rows = 0;
  const auto at = [](const Offsets& x, std::int64_t i) { return x[static_cast<std::size_t>(i)]; };
  for (std::size_t i = 0, end; i < order.size(); i = end) {
    const std::int64_t matrix = at(b, order[i]);
    for (end = i + 1; end < order.size() && at(b, order[end]) == matrix;) ++end;
    const std::int64_t each = even_part(p.m * static_cast<std::int64_t>(end - i), most);
    std::int64_t rows = each;  // of the last part
    for (std::size_t k = i; k < end; ++k)
      for (std::int64_t r = 0, count; r < p.m; r += count) {
        if (rows == each) parts.push_back({runs.size(), runs.size(), matrix}), rows = 0;
        count = std::min(p.m - r, each - rows);
        const RowRun next{count, at(a, order[k]) + r * p.a.width_step, p.a.width_step,
                          order[k] * p.m + r};
        if (rows == 0 || !extends(runs.back(), next)) runs.push_back(next);
        rows += count;
        parts.back().last = runs.size();
        most_rows = std::max(most_rows, rows);
      }
  }
  const auto count = static_cast<std::int64_t>(parts.size());
  const double rows = static_cast<double>(p.m) * static_cast<double>(a.size());
  const std::int64_t columns =
      part_columns(p, count, rows / static_cast<double>(count) * static_cast<double>(p.k));
  const std::int64_t across = ceil_div(p.n, columns);
  multiply_runs(
      p, {most_rows, columns, p.k}, count * across,
      [&](std::int64_t i, Part& part) {
        const Rows& r = parts[static_cast<std::size_t>(i / across)];
        part.rows.assign(runs.begin() + static_cast<std::ptrdiff_t>(r.first),
                         runs.begin() + static_cast<std::ptrdiff_t>(r.last));
        if (p.k > 0) part.depth.push_back({0, p.k, 0, r.b});
        set_columns(part, i % across, columns, p.n);
      },
      out);
}

// Matrices that are each the sum over its own depth, which `depth_of` appends.
void multiply_sums(const Product& p, std::int64_t matrices, std::int64_t most_depth,
                   FunctionRef<void(std::int64_t, std::vector<DepthRun>&)> depth_of,
                   const Tensor& out) {
  const std::int64_t rows = part_rows(p.m), down = ceil_div(p.m, rows);
  const std::int64_t columns =
      part_columns(p, matrices * down, static_cast<double>(rows) * static_cast<double>(most_depth));
  const std::int64_t across = ceil_div(p.n, columns);
  multiply_runs(
      p, {rows, columns, most_depth}, matrices * down * across,
      [&](std::int64_t i, Part& part) {
        const std::int64_t matrix = i / (down * across), row = i / across % down * rows;
        depth_of(matrix, part.depth);
        part.rows.push_back(
            {std::min(rows, p.m - row), row * p.a.width_step, p.a.width_step, matrix * p.m + row});
        set_columns(part, i % across, columns, p.n);
      },
      out);
}

// Depths, one after the other: of each entry the inner extent of its product.
void append(std::vector<DepthRun>& depth, DepthRun next, const Product& p) {
  if (!depth.empty()) {
    DepthRun& last = depth.back();
    next.first = last.first + last.count;
    if (next.a == last.a + last.count * p.a.depth_step &&
        next.b == last.b + last.count * p.b.depth_step) {
      last.count += next.count;
      return;
    }
  }
  depth.push_back(next);
}

void add_products(Product p, const Offsets& a, const Offsets& b, const Offsets& sums,
                  std::int64_t count, const Tensor& out) {
  const Offsets order = sorted(sums);
  Offsets begin(static_cast<std::size_t>(count) + 1, 0);
  for (const std::int64_t sum : sums) ++begin[static_cast<std::size_t>(sum) + 1];
  const std::int64_t most = *std::max_element(begin.begin(), begin.end()) * p.k;
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  if (p.k == 1) {  // rows that follow each other are depths that do
    const auto step = [&](const Offsets& x) {
      return order.size() < 2
                 ? 1
                 : x[static_cast<std::size_t>(order[1])] - x[static_cast<std::size_t>(order[0])];
    };
    p.a.depth_step = step(a), p.b.depth_step = step(b);
  }
  multiply_sums(
      p, count, most,
      [&](std::int64_t sum, std::vector<DepthRun>& depth) {
        for (auto i = begin[static_cast<std::size_t>(sum)];
             p.k > 0 && i < begin[static_cast<std::size_t>(sum) + 1]; ++i) {
          const auto entry = static_cast<std::size_t>(order[static_cast<std::size_t>(i)]);
          append(depth, {0, p.k, a[entry], b[entry]}, p);
        }
      },
      out);
}

}  // namespace

bool takes_gathered(const GatheredOptions& o, const Node& node) {
  if (is_complex(node.dtype) || !is_inexact(node.dtype)) return false;
  // Few rows of each sum are better put together by the right matrix.
  return !o.sums || (!o.format && !(o.right && node.shape.end()[-2] < 16));
}

void gathered_matmul(const GatheredMatmul& op, std::span<const Tensor> inputs, const Tensor& out) {
  const GatheredOptions& o = op.options;
  std::size_t next = o.factors() + o.global_scale;
  const Tensor* const left = o.left ? &inputs[next++] : nullptr;
  const Tensor* const right = o.right ? &inputs[next++] : nullptr;
  const Tensor* const sums = o.sums ? &inputs[next] : nullptr;
  const Shape own_a = leading(inputs[0].shape), own_b = leading(inputs[1].shape);
  Shape batch = broadcast_shapes(left ? left->shape : own_a, right ? right->shape : own_b);
  if (sums) batch = broadcast_shapes(batch, sums->shape);
  const Offsets a = numbers_of(op.name(), own_a, left, batch),
                b = numbers_of(op.name(), own_b, right, batch);
  if (sums)
    return add_products(operands_of(inputs[0], inputs[1]), offsets_of(inputs[0], a),
                        offsets_of(inputs[1], b), numbers_of(op.name(), {*o.sums}, sums, batch),
                        *o.sums, out);
  if (!o.format)
    return multiply_groups(operands_of(inputs[0], inputs[1]), offsets_of(inputs[0], a),
                           offsets_of(inputs[1], b), out);
  const QuantizedProduct quantized(*o.format, inputs.first(o.factors() + o.global_scale), out);
  Product p = quantized.get();
  p.m = out.shape.end()[-2];
  Offsets rows = a, matrices = b;
  for (std::int64_t& n : rows) n *= p.m * p.a.width_step;
  for (std::int64_t& n : matrices) n *= inputs[1].shape.end()[-2];
  multiply_groups(p, rows, matrices, out);
}

bool takes_masked(const BlockMaskedOptions& o, const Node& node) {
  return is_inexact(node.dtype) && !is_complex(node.dtype) && o.block_size % 2 == 0 &&
         o.block_size <= kMostPartColumns;
}

void block_masked_matmul(const BlockMaskedMatmul& op, std::span<const Tensor> inputs,
                         const Tensor& out) {
  const BlockMaskedOptions& o = op.options;
  const std::int64_t size = o.block_size;
  const Product p = operands_of(inputs[0], inputs[1]);
  const Shape batch = leading(out.shape);
  std::size_t next = 2;
  // Of the masks of results, a and b.
  std::array<const Tensor*, 3> masks{o.out ? &inputs[next++] : nullptr,
                                     o.left ? &inputs[next++] : nullptr,
                                     o.right ? &inputs[next] : nullptr};
  Domain<5> entries{batch, {}};
  for (std::size_t i = 0; i < 5; ++i) {
    const Tensor* const t = i < 2 ? &inputs[i] : masks[i - 2];
    entries.strides[i] =
        t ? spread(leading(t->shape), Strides(t->strides.begin(), t->strides.end() - 2), batch)
          : Strides(batch.size(), 0);
  }
  // Whole blocks where a mask tells them apart.
  const std::int64_t rows = o.out || o.left ? std::min(size, p.m) : part_rows(p.m);
  const std::int64_t columns =
      o.out || o.right ? std::min(size, p.n)
                       : part_columns(p, ceil_div(p.m, rows), double(rows) * double(p.k));
  const std::int64_t down = ceil_div(p.m, rows), across = ceil_div(p.n, columns);
  multiply_runs(
      p, {rows, columns, p.k}, element_count(batch) * down * across,
      [&](std::int64_t i, Part& part) {
        const std::int64_t entry = i / (down * across), row = i / across % down * rows;
        set_columns(part, i % across, columns, p.n);
        const auto at = Walk<5>(entries, entry).offset;
        part.rows.push_back({std::min(rows, p.m - row), at[0] + row * p.a.width_step,
                             p.a.width_step, entry * p.m + row});
        const auto keeps = [&](std::size_t mask, std::int64_t r, std::int64_t c) {
          const Tensor* const t = masks[mask];
          return !t || data<const bool>(
                           *t)[at[2 + mask] + r * t->strides.end()[-2] + c * t->strides.back()];
        };
        const std::int64_t block_row = row / size, block_column = part.column / size;
        if (!keeps(0, block_row, block_column)) return;
        for (std::int64_t k = 0; k < p.k; k += size) {
          if (!keeps(1, block_row, k / size) || !keeps(2, k / size, block_column)) continue;
          const std::int64_t count = std::min(size, p.k - k);
          if (!part.depth.empty() && part.depth.back().first + part.depth.back().count == k)
            part.depth.back().count += count;
          else
            part.depth.push_back({k, count, k * p.a.depth_step, at[1] + k * p.b.depth_step});
        }
      },
      out);
}

namespace {

// Parts [begin, end) of `extent`, one each segment.
std::vector<std::array<std::int64_t, 2>> segments_of(const Tensor& t, std::int64_t extent) {
  std::vector<std::array<std::int64_t, 2>> segments;
  Shape shape = t.shape;
  Strides strides = t.strides;
  const std::int64_t step = strides.back();
  shape.pop_back(), strides.pop_back();
  Domain<1> domain{shape, {strides}};
  domain.collapse();
  Walk<1> walk(domain, 0);
  visit(t.dtype, [&]<class I>(Type<I>) {
    if constexpr (std::is_integral_v<I>)
      for (std::int64_t i = element_count(shape); i > 0; --i, walk.next()) {
        const I* const ends = data<const I>(t) + walk.offset[0];
        const auto begin = std::clamp<std::int64_t>(static_cast<std::int64_t>(ends[0]), 0, extent);
        const auto end = static_cast<std::int64_t>(ends[step]);
        segments.push_back({begin, std::clamp<std::int64_t>(end, begin, extent)});
      }
  });
  return segments;
}

// The columns of the result between two ends of segments are one product: its depth is that of all
// segments that have them.
void spread_products(const Tensor& x, const Tensor& y, const Tensor& ends, const Tensor& out) {
  const Product p = operands_of(x, y);
  const auto segments = segments_of(ends, p.n);
  Offsets numbers(segments.size());
  std::iota(numbers.begin(), numbers.end(), 0);
  const Offsets offsets = offsets_of(x, numbers);
  Offsets cuts{0, p.n};
  for (const auto& s : segments) cuts.insert(cuts.end(), s.begin(), s.end());
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::vector<std::array<std::int64_t, 2>> columns;  // and where they end
  std::int64_t most = 0;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    const std::int64_t each = even_part(cuts[i + 1] - cuts[i], kMostPartColumns);
    most = std::max(most, each);
    for (std::int64_t c = cuts[i]; c < cuts[i + 1]; c += each)
      columns.push_back({c, std::min(c + each, cuts[i + 1])});
  }
  const std::int64_t rows = part_rows(p.m), down = ceil_div(p.m, rows);
  multiply_runs(
      p, {rows, most, p.k * static_cast<std::int64_t>(segments.size())},
      down * static_cast<std::int64_t>(columns.size()),
      [&](std::int64_t i, Part& part) {
        const auto& [begin, end] = columns[static_cast<std::size_t>(i / down)];
        const std::int64_t row = i % down * rows;
        part.rows.push_back({std::min(rows, p.m - row), row * p.a.width_step, p.a.width_step, row});
        part.column = begin, part.columns = end - begin;
        for (std::size_t s = 0; s < segments.size(); ++s)
          if (p.k > 0 && segments[s][0] <= begin && end <= segments[s][1])
            append(part.depth, {0, p.k, offsets[s], 0}, p);
      },
      out);
}

}  // namespace

void segmented_matmul(const SegmentedMatmul& op, std::span<const Tensor> inputs,
                      const Tensor& out) {
  if (op.options) return spread_products(inputs[0], inputs[1], inputs[2], out);
  const Product p = operands_of(inputs[0], inputs[1]);
  const auto segments = segments_of(inputs[2], p.k);
  std::int64_t most = 0;
  for (const auto& [begin, end] : segments) most = std::max(most, end - begin);
  multiply_sums(
      p, static_cast<std::int64_t>(segments.size()), most,
      [&](std::int64_t i, std::vector<DepthRun>& depth) {
        const auto& [begin, end] = segments[static_cast<std::size_t>(i)];
        if (end > begin)
          depth.push_back({0, end - begin, begin * p.a.depth_step, begin * p.b.depth_step});
      },
      out);
}

}  // namespace cermet::cpu
