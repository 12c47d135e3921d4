// Products of matrices that indices choose, of parts that masks leave and of segments. Each kind is
// closed under derivatives, so no backward pass copies what was chosen.
#include <algorithm>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace {

array transposed(const array& a) { return swapaxes(a, -1, -2); }

std::int64_t matrices_in(const array& a) {
  std::int64_t count = 1;
  for (const std::int64_t n : batch_of(a)) count *= n;
  return count;
}

// ---- Chosen matrices ----

using Indices = std::optional<array>;

// The inputs of a node.
struct Chosen {
  Arrays factors;
  Indices left, right, sums;

  Chosen(const GatheredOptions& o, std::span<const array> inputs) {
    auto next = inputs.begin() + static_cast<std::ptrdiff_t>(o.factors() + o.global_scale);
    factors.assign(inputs.begin(), next);
    if (o.left) left = *next++;
    if (o.right) right = *next++;
    if (o.sums) sums = *next++;
  }
};

// The matrices of `a` (..., m, n), counted along the flattened leading axes, that the indices name.
array take_matrices(const array& a, const Indices& indices, StreamOrDevice s) {
  if (!indices) return a;
  return take(reshape(a, matrices({matrices_in(a)}, a.shape(-2), a.shape(-1)), s), *indices, 0, s);
}

// The node for a product of what was chosen, or for `count` sums of such.
array gathered(const Chosen& c, const std::optional<QuantizedFormat>& format, Dtype dtype,
               std::optional<std::int64_t> count, StreamOrDevice s) {
  GatheredOptions options{format, false, c.left.has_value(), c.right.has_value(), count};
  options.global_scale = c.factors.size() > options.factors();
  const auto primitive = make_ref<const GatheredMatmul>(options);
  SmallVector<array, 2> inputs;
  for (const array& a : c.factors) inputs.push_back(a);
  for (const auto& indices : {c.left, c.right, c.sums}) {
    if (!indices) continue;
    if (!is_integer(indices->dtype()))
      fail(primitive->name(), "indices are ", indices->dtype(), ", expected an integer type");
    inputs.push_back(*indices);
  }
  // Its expansion checks the shapes.
  array node(primitive, {}, dtype, inputs, s.resolve());
  Shape shape = expansion_of(*node.node()).shape();
  return array(primitive, std::move(shape), dtype, std::move(inputs), s.resolve());
}

// What the operand `from` of products gets, of which its indices named matrices: sums of the
// products that c now has. Those of a right operand are sums without indices, too.
array gathered_back(Chosen c, const array& from, Indices indices, Shape shape, bool right,
                    const std::optional<QuantizedFormat>& format, Dtype dtype) {
  const Shape batch = batch_of(from);
  const std::int64_t count = matrices_in(from);
  if (!indices && right) indices = reshape(arange(0, static_cast<double>(count), 1, int64), batch);
  if (indices) {
    c.sums = indices;
    return reshape(gathered(c, format, dtype, count, {}), shape);
  }
  const array each = gathered(c, format, dtype, {}, {});
  const Shape all = broadcast_shapes(batch_of(each), batch);
  return sum_to_shape(broadcast_to(each, matrices(all, shape.end()[-2], shape.back())), shape);
}

}  // namespace

array gathered(Arrays factors, const std::optional<array>& left, const std::optional<array>& right,
               const std::optional<QuantizedFormat>& format, Dtype dtype, StreamOrDevice s) {
  const GatheredOptions none{};
  Chosen c(none, factors);
  c.factors = std::move(factors), c.left = left, c.right = right;
  return gathered(c, format, dtype, {}, s);
}

array gather_mm(const array& a, const array& b, const std::optional<array>& lhs_indices,
                const std::optional<array>& rhs_indices, StreamOrDevice s) {
  if (a.ndim() < 2 || b.ndim() < 2)
    fail("gather_mm", "shapes ", a.shape(), " and ", b.shape(), ": expected at least 2 dimensions");
  const Dtype t = promote(a.dtype(), b.dtype());
  require_inexact("gather_mm", t);
  return gathered({astype(a, t, s), astype(b, t, s)}, lhs_indices, rhs_indices, {}, t, s);
}

Arrays GatheredMatmul::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const Chosen c(options, inputs);
  if (c.sums) {
    Chosen one = c;
    one.sums.reset();
    const array each = gathered(one, options.format, node.dtype, {}, s);
    const Shape batch = broadcast_shapes(batch_of(each), c.sums->shape());
    const std::int64_t m = each.shape(-2), n = each.shape(-1);
    return {scatter(zeros(matrices({*options.sums}, m, n), node.dtype, s),
                    {broadcast_to(*c.sums, batch, s)}, broadcast_to(each, matrices(batch, m, n), s),
                    {0}, Update::add, s)};
  }
  Arrays in = c.factors;
  in[0] = take_matrices(in[0], c.left, s);
  for (std::size_t i = 1; i < options.factors(); ++i) in[i] = take_matrices(in[i], c.right, s);
  if (!options.format) return {multiply_any(name(), in[0], in[1], node.dtype, s)};
  return {quantized_matmul(in, *options.format, s)};
}

bool GatheredMatmul::differentiable_by(int i) const {
  if (!options.format) return i < 2;
  const bool is_factor = i < static_cast<int>(options.factors() + options.global_scale);
  return is_factor && i != 1 && (i != 2 || options.format->is_affine());
}

array GatheredMatmul::vjp(const Edge& e, const array& cotangent) const {
  const Chosen c(options, e.inputs);
  const array &x = c.factors[0], &w = c.factors[1];
  const Dtype t = e.output.dtype();
  Chosen back = c;
  if (e.i == 0) {
    back.factors[0] = cotangent, back.left = c.sums, back.sums.reset();
    auto format = options.format;
    if (format)
      format->transpose = !format->transpose;
    else
      back.factors[1] = conjugate(transposed(w));
    return gathered_back(back, x, c.left, x.shape(), false, format, t);
  }
  if (options.format && !options.format->is_affine()) {  // the product is a multiple of the scale
    const array change = astype(cotangent, float32) * astype(e.output, float32);
    return sum_to_shape(change, e.input().shape()) / e.input();
  }
  const bool crosswise = options.format && options.format->transpose;
  back.factors =
      crosswise ? Arrays{transposed(cotangent), x} : Arrays{conjugate(transposed(x)), cotangent};
  back.left = crosswise ? c.sums : c.left, back.right = crosswise ? c.left : c.sums;
  back.sums.reset();
  if (!options.format) return gathered_back(back, w, c.right, w.shape(), true, {}, t);
  // As QuantizedMatmul has it.
  const auto& [mode, bits, group_size, transpose] = *options.format;
  Shape shape = w.shape();
  shape.back() = c.factors[2].shape(-1) * group_size;
  array dw = gathered_back(back, w, c.right, shape, true, {}, t);
  if (e.i == 2)
    dw = dw * dequantize(w, ones_like(c.factors[2]), zeros_like(c.factors[2]), group_size, bits,
                         mode, {}, t);
  return astype(sum(unflatten(dw, -1, {-1, group_size}), Axes{-1}), e.input().dtype());
}

array GatheredMatmul::jvp(const Edge& e, const array& tangent) const {
  Chosen c(options, e.inputs);
  if (options.format && e.i > 0 && !options.format->is_affine())
    return astype(astype(e.output, float32) * (tangent / e.input()), e.output.dtype());
  c.factors[static_cast<std::size_t>(e.i)] = tangent;
  // Of scale * q + bias what the other one gives is no change.
  if (e.i > 1) c.factors[static_cast<std::size_t>(5 - e.i)] = zeros_like(tangent);
  return gathered(c, options.format, e.output.dtype(), options.sums, {});
}

array GatheredMatmul::vmap(const Batched& in, const array& output) const {
  Chosen c(options, in.inputs);
  const std::int64_t entries = in.size;
  const std::size_t first = c.factors.size(), factors = options.factors();
  const bool scales = options.global_scale && in.flags[factors];
  const std::size_t right = first + options.left, sums = right + options.right;
  // How many axes an entry of the products has.
  const auto axes_of = [&](std::size_t factor, const Indices& i, std::size_t at) {
    return i ? i->ndim() - in.flags[at] : c.factors[factor].ndim() - 2 - in.flags[factor];
  };
  int axes = std::max(axes_of(0, c.left, first), axes_of(1, c.right, right));
  if (c.sums) axes = std::max(axes, axes_of(0, c.sums, sums));

  // Indices into `count` matrices of each entry.
  const auto spread = [&](const array& i, bool batched, std::int64_t count) {
    array all = astype(i, int64);
    all = where(all < 0, all + array(count, int64), all);
    if (batched) all = expand_entries(all, axes);
    Shape column(static_cast<std::size_t>(axes) + 1, 1);
    column[0] = entries;
    const double end = static_cast<double>(entries);
    return all + reshape(arange(0, end, 1, int64), column) * array(count, int64);
  };
  const auto side = [&](std::size_t from, std::size_t to, Indices& indices, std::size_t at,
                        bool every) {
    for (std::size_t i = from; i < to; ++i) every |= in.flags[i];
    if (!every) {
      if (indices && in.flags[at]) indices = expand_entries(*indices, axes);
      return;
    }
    for (std::size_t i = from; i < to; ++i) {
      array& a = c.factors[i];
      if (!in.flags[i]) a = broadcast_to(a, batch_shape(entries, a.shape()));
      if (!indices) a = expand_entries(a, axes + 2);
    }
    if (!indices) return;
    const Shape batch = batch_of(c.factors[from]);
    indices = spread(*indices, in.flags[at], element_count({batch.begin() + 1, batch.end()}));
  };
  side(0, 1, c.left, first, false);
  side(1, factors, c.right, right, scales);
  if (scales) c.factors.back() = expand_entries(c.factors.back(), axes + 2);
  auto count = options.sums;
  if (c.sums) {
    c.sums = spread(*c.sums, in.flags[sums], *count);
    count = *count * entries;
  }
  return reshape(gathered(c, options.format, output.dtype(), count, {}),
                 batch_shape(entries, output.shape()));
}

// ---- Masked blocks ----

namespace {

// A mask for matrices of m rows and n columns: (..., row blocks, column blocks).
std::optional<array> fitted(std::string_view what, const std::optional<array>& mask, std::int64_t m,
                            std::int64_t n, int block_size, StreamOrDevice s) {
  if (!mask) return mask;
  const std::int64_t down = (m + block_size - 1) / block_size;
  const std::int64_t across = (n + block_size - 1) / block_size;
  const Shape& given = mask->shape();
  const auto split = given.end() - std::min<std::size_t>(given.size(), 2);
  if (!broadcasts_to(Shape(split, given.end()), {down, across}))
    fail("block_masked_mm", what, " has shape ", given, ", expected (..., ", down, ", ", across,
         ") for blocks of ", block_size, " in ", Shape{m, n});
  return broadcast_to(*mask, matrices(Shape(given.begin(), split), down, across), s);
}

// Zeroes or scales the blocks of matrices by a mask.
array mask_blocks(const array& a, const std::optional<array>& mask, int block_size,
                  StreamOrDevice s) {
  if (!mask) return a;
  const std::int64_t m = a.shape(-2), n = a.shape(-1);
  const array rows = repeat(*mask, block_size, mask->ndim() - 2, s);
  const array whole = repeat(rows, block_size, mask->ndim() - 1, s);
  const array fitted = corner(whole, m, n, s);
  return mask->dtype() == bool_ ? where(fitted, a, zeros({}, a.dtype(), s), s)
                                : multiply(a, astype(fitted, a.dtype(), s), s);
}

struct Masks {
  std::optional<array> out, left, right;

  Masks() = default;
  Masks(const BlockMaskedOptions& o, std::span<const array> inputs) {
    auto next = inputs.begin() + 2;
    if (o.out) out = *next++;
    if (o.left) left = *next++;
    if (o.right) right = *next++;
  }
};

array masked_product(const array& a, const array& b, Dtype t, int block_size, const Masks& masks,
                     StreamOrDevice s) {
  const array x = mask_blocks(a, masks.left, block_size, s);
  const array y = mask_blocks(b, masks.right, block_size, s);
  return mask_blocks(multiply_any("block_masked_mm", x, y, t, s), masks.out, block_size, s);
}

std::optional<array> transposed(const std::optional<array>& mask) {
  return mask ? std::optional(transposed(*mask)) : mask;
}

}  // namespace

array block_masked_mm(const array& a, const array& b, int block_size,
                      const std::optional<array>& mask_out, const std::optional<array>& mask_lhs,
                      const std::optional<array>& mask_rhs, StreamOrDevice s) {
  if (block_size < 1) fail("block_masked_mm", "block_size is ", block_size, ", expected 1 or more");
  if (a.ndim() == 0 || b.ndim() == 0)
    fail("block_masked_mm", "shapes ", a.shape(), " and ", b.shape(),
         ": expected at least 1 dimension");
  if (a.ndim() == 1 || b.ndim() == 1) {  // a row, a column: as in matmul
    const array y = block_masked_mm(a.ndim() == 1 ? expand_dims(a, {0}, s) : a,
                                    b.ndim() == 1 ? expand_dims(b, {1}, s) : b, block_size,
                                    mask_out, mask_lhs, mask_rhs, s);
    Axes gone;
    if (a.ndim() == 1) gone.push_back(-2);
    if (b.ndim() == 1) gone.push_back(-1);
    return squeeze(y, gone, s);
  }
  const Dtype t = promote(a.dtype(), b.dtype());
  Masks masks;
  const std::int64_t m = a.shape(-2), k = a.shape(-1), n = b.shape(-1);
  masks.out = fitted("mask_out", mask_out, m, n, block_size, s);
  masks.left = fitted("mask_lhs", mask_lhs, m, k, block_size, s);
  masks.right = fitted("mask_rhs", mask_rhs, k, n, block_size, s);
  const array composed = masked_product(a, b, t, block_size, masks, s);
  SmallVector<array, 2> inputs{astype(a, t, s), astype(b, t, s)};
  for (const auto& mask : {masks.out, masks.left, masks.right}) {
    if (mask && mask->dtype() != bool_) return composed;
    if (mask) inputs.push_back(*mask);
  }
  if (inputs.size() == 2) return composed;
  const BlockMaskedOptions options{block_size, mask_out.has_value(), mask_lhs.has_value(),
                                   mask_rhs.has_value()};
  return array(make_ref<const BlockMaskedMatmul>(options), composed.shape(), t, std::move(inputs),
               s.resolve());
}

std::string BlockMaskedMatmul::parameters() const {
  return "block_size=" + std::to_string(options.block_size);
}
Arrays BlockMaskedMatmul::expand(const Node& node, std::span<const array> inputs) const {
  return {masked_product(inputs[0], inputs[1], node.dtype, options.block_size,
                         Masks(options, inputs), node.stream)};
}
Shape BlockMaskedMatmul::output_shape(const Node& node, std::span<const array> inputs) const {
  return Composite::output_shape(node, inputs);
}
array BlockMaskedMatmul::vjp(const Edge& e, const array& cotangent) const {
  const Masks m(options, e.inputs);
  const array other = conjugate(transposed(e.inputs[e.i == 0 ? 1 : 0]));
  const array found = e.i == 0 ? block_masked_mm(cotangent, other, options.block_size, m.left,
                                                 m.out, transposed(m.right))
                               : block_masked_mm(other, cotangent, options.block_size, m.right,
                                                 transposed(m.left), m.out);
  return sum_to_shape(found, e.input().shape());
}
array BlockMaskedMatmul::jvp(const Edge& e, const array& tangent) const {
  const Masks m(options, e.inputs);
  const array change =
      block_masked_mm(e.i == 0 ? tangent : e.inputs[0], e.i == 1 ? tangent : e.inputs[1],
                      options.block_size, m.out, m.left, m.right);
  return broadcast_to(change, e.output.shape());
}
array BlockMaskedMatmul::vmap(const Batched& in, const array& output) const {
  Arrays all(in.inputs.begin(), in.inputs.end());
  for (std::size_t i = 0; i < all.size(); ++i)
    if (in.flags[i]) all[i] = expand_entries(all[i], output.ndim());
  const Masks m(options, all);
  return block_masked_mm(all[0], all[1], options.block_size, m.out, m.left, m.right);
}

// ---- Segments ----

namespace {

// Which of `k` places are in each segment: (..., k).
array within(const array& segments, std::int64_t k, StreamOrDevice s) {
  const Arrays ends = split(astype(segments, int64, s), 2, -1, s);
  const array at = arange(0, static_cast<double>(k), 1, int64, s);
  return logical_and(greater_equal(at, ends[0], s), less(at, ends[1], s), s);
}

array spread_segments(const array& x, const array& y, const array& segments) {
  return array(make_ref<const SegmentedMatmul>(true), {x.shape(-2), y.shape(-1)}, x.dtype(),
               {x, y, segments}, StreamOrDevice{}.resolve());
}

}  // namespace

array segmented_mm(const array& a, const array& b, const array& segments, StreamOrDevice s) {
  if (a.ndim() != 2 || b.ndim() != 2 || a.shape(1) != b.shape(0))
    fail("segmented_mm", "shapes ", a.shape(), " and ", b.shape(),
         ": expected 2 dimensions, and as many columns as rows");
  if (segments.ndim() < 1 || segments.shape(-1) != 2 || !is_integer(segments.dtype()))
    fail("segmented_mm", "segments of shape ", segments.shape(), " and ", segments.dtype(),
         ": expected integers (..., 2)");
  const Dtype t = promote(a.dtype(), b.dtype());
  require_inexact("segmented_mm", t);
  const Shape batch(segments.shape().begin(), segments.shape().end() - 1);
  return array(make_ref<const SegmentedMatmul>(false), matrices(batch, a.shape(0), b.shape(1)), t,
               {astype(a, t, s), astype(b, t, s), segments}, s.resolve());
}

Arrays SegmentedMatmul::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const array &x = inputs[0], &y = inputs[1];
  const array zero = zeros({}, node.dtype, s);
  if (!options) {  // outside of its segment a copy of a is zero
    const array in = expand_dims(within(inputs[2], x.shape(1), s), {-2}, s);
    return {multiply_any(name(), where(in, x, zero, s), y, node.dtype, s)};
  }
  const array in = expand_dims(within(inputs[2], y.shape(1), s), {-2}, s);
  return {sum_to_shape(where(in, multiply_any(name(), x, y, node.dtype, s), zero, s), node.shape)};
}
Shape SegmentedMatmul::output_shape(const Node& node, std::span<const array> inputs) const {
  if (options) return {inputs[0].shape(-2), inputs[1].shape(-1)};
  return segmented_mm(inputs[0], inputs[1], inputs[2], node.stream).shape();
}
array SegmentedMatmul::vjp(const Edge& e, const array& cotangent) const {
  const array &x = e.inputs[0], &segments = e.inputs[2];
  const array other = conjugate(transposed(e.inputs[e.i == 0 ? 1 : 0]));
  if (options)
    return e.i == 0 ? segmented_mm(cotangent, other, segments)
                    : spread_segments(other, cotangent, segments);
  return e.i == 0 ? spread_segments(cotangent, other, segments)
                  : transposed(spread_segments(transposed(cotangent), conjugate(x), segments));
}
array SegmentedMatmul::jvp(const Edge& e, const array& tangent) const {
  const array &x = e.i == 0 ? tangent : e.inputs[0], &y = e.i == 1 ? tangent : e.inputs[1];
  return options ? spread_segments(x, y, e.inputs[2]) : segmented_mm(x, y, e.inputs[2]);
}
// One by one: segments are parts of one pair of matrices.
array SegmentedMatmul::vmap(const Batched& in, const array& output) const {
  Arrays entries;
  for (std::int64_t b = 0; b < in.size; ++b) {
    Arrays one;
    for (std::size_t i = 0; i < 3; ++i)
      one.push_back(in.flags[i] ? take(in.inputs[i], array(b), 0) : in.inputs[i]);
    entries.push_back(options ? spread_segments(one[0], one[1], one[2])
                              : segmented_mm(one[0], one[1], one[2]));
  }
  return in.size ? stack(entries) : zeros(batch_shape(0, output.shape()), output.dtype());
}

}  // namespace cermet
