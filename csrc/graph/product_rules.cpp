// Rules of the matrix products.
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace {

// One matrix from a stack of them whose other factor is one matrix: rows of all, one below the
// other.
array rows_of(const array& a) { return reshape(a, {-1, a.shape(-1)}); }

}  // namespace

// ---- matmul ----

Ref<const Primitive> Matmul::instance() {
  static const Ref<const Primitive> it(new Matmul);
  return it;
}
Shape Matmul::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  if (shape.back() != inputs[1].shape(-2)) refuse_shapes(*this, inputs);
  shape.back() = inputs[1].shape(-1);
  return shape;
}
array Matmul::vjp(int i, std::span<const array> inputs, const array&,
                  const array& cotangent) const {
  const array other = conjugate(matrix_transpose(inputs[i == 0 ? 1 : 0]));
  // The cotangent of a transposed matrix is computed transposed: its owner gets it row-major.
  const Primitive* made_by = inputs[i].primitive();
  if (made_by && made_by->kind() == Kind::transpose) {
    const array left = matrix_transpose(cotangent), right = matrix_transpose(other);
    return matrix_transpose(i == 0 ? matmul(right, left) : matmul(left, right));
  }
  return i == 0 ? matmul(cotangent, other) : matmul(other, cotangent);
}
array Matmul::jvp(int i, std::span<const array> inputs, const array&, const array& tangent) const {
  return i == 0 ? matmul(tangent, inputs[1]) : matmul(inputs[0], tangent);
}
array Matmul::vmap(std::span<const array> inputs, std::span<const bool>, std::int64_t,
                   const array&) const {
  // Equal batch axes on both sides align from the right, so an unbatched side broadcasts.
  return matmul(inputs[0], inputs[1]);
}

// ---- addmm ----

std::string Addmm::parameters() const {
  return "alpha=" + std::to_string(alpha) + ", beta=" + std::to_string(beta);
}
Shape Addmm::output_shape(const Node& node, std::span<const array> inputs) const {
  return expand(node, inputs)[0].shape();
}
array Addmm::vjp(int i, std::span<const array> inputs, const array& output,
                 const array& cotangent) const {
  const double scale = i == 0 ? beta : alpha;
  const array scaled = scale == 1 ? cotangent : multiply(cotangent, scalar_like(scale, cotangent));
  if (i == 0) return sum_to_shape(scaled, inputs[0].shape());
  // With one matrix for a whole batch, the batch counts as rows.
  const bool folds = inputs[2].ndim() == 2 && inputs[1].ndim() > 2;
  const array factors[2] = {folds ? rows_of(inputs[1]) : inputs[1], inputs[2]};
  const array found =
      Matmul::instance()->vjp(i - 1, factors, output, folds ? rows_of(scaled) : scaled);
  return folds && i == 1 ? reshape(found, inputs[1].shape())
                         : sum_to_shape(found, inputs[i].shape());
}
array Addmm::jvp(int i, std::span<const array> inputs, const array& output,
                 const array& tangent) const {
  const double scale = i == 0 ? beta : alpha;
  const array change = i == 0   ? broadcast_to(tangent, output.shape())
                       : i == 1 ? matmul(tangent, inputs[2])
                                : matmul(inputs[1], tangent);
  return scale == 1 ? change : multiply(change, scalar_like(scale, change));
}
array Addmm::vmap(std::span<const array> inputs, std::span<const bool> batched, std::int64_t batch,
                  const array& output) const {
  // A batch axis in front of what has fewer axes than the product would align with another.
  Arrays wide;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!batched[i]) {
      wide.push_back(inputs[i]);
      continue;
    }
    Shape shape = inputs[i].shape();
    while (static_cast<int>(shape.size()) <= output.ndim()) shape.insert(shape.begin() + 1, 1);
    wide.push_back(reshape(inputs[i], shape));
  }
  (void)batch;
  return addmm(wide[0], wide[1], wide[2], alpha, beta);
}

// ---- quantized_matmul ----

Shape QuantizedMatmul::output_shape(const Node& node, std::span<const array> inputs) const {
  // The number of columns belongs to w, which is fixed.
  if (inputs[1].shape() != node.inputs[1].shape()) refuse_shapes(*this, inputs);
  Shape shape = inputs[0].shape();
  shape.back() = node.shape.back();
  return shape;
}

array QuantizedMatmul::vjp(int i, std::span<const array> inputs, const array&,
                           const array& cotangent) const {
  const array &x = inputs[0], &w = inputs[1], &scales = inputs[2], &biases = inputs[3];
  const auto [transpose, group_size, bits] = options;
  if (i == 0) return quantized_matmul(cotangent, w, scales, biases, !transpose, group_size, bits);
  // w = scale * q + bias, so both gather the cotangent of w over each group.
  const bool one = w.ndim() == 2;
  const array rows = one ? rows_of(x) : x, out = one ? rows_of(cotangent) : cotangent;
  array dw = transpose ? matmul(matrix_transpose(out), rows) : matmul(matrix_transpose(rows), out);
  if (i == 2)
    dw = dw * dequantize(w, ones_like(scales), zeros_like(biases), group_size, bits, dw.dtype());
  const array groups = unflatten(dw, -1, {-1, group_size});
  return astype(sum(groups, Axes{-1}), inputs[static_cast<std::size_t>(i)].dtype());
}

array QuantizedMatmul::jvp(int i, std::span<const array> inputs, const array&,
                           const array& tangent) const {
  const array &x = inputs[0], &w = inputs[1], &scales = inputs[2], &biases = inputs[3];
  const auto product = [&](const array& a, const array& s, const array& b) {
    return quantized_matmul(a, w, s, b, options.transpose, options.group_size, options.bits);
  };
  switch (i) {
    case 0: return product(tangent, scales, biases);
    case 2: return product(x, tangent, zeros_like(biases));
    default: return product(x, zeros_like(scales), tangent);
  }
}

array QuantizedMatmul::vmap(std::span<const array> inputs, std::span<const bool> batched,
                            std::int64_t batch, const array& output) const {
  Arrays all(inputs.begin(), inputs.end());
  const bool shared = !batched[1] && !batched[2] && !batched[3];
  if (!shared || output.node()->inputs[1].ndim() > 2) {
    // Every entry has its own w: all get the batch, and w the axes x has.
    all = all_batched(inputs, batched, batch);
    const bool row = output.ndim() == 1;  // a vector times a matrix
    if (row) all[0] = expand_dims(all[0], {1});
    const int leading = all[0].ndim() - 2;
    for (std::size_t i = 1; i < 4; ++i) {
      const array aligned = expand_entries(all[i], leading + 1);
      Shape shape(all[0].shape().begin(), all[0].shape().begin() + leading);
      shape.push_back(aligned.shape(-2));
      shape.push_back(aligned.shape(-1));
      all[i] = broadcast_to(aligned, shape);
    }
  }
  const array product = quantized_matmul(all[0], all[1], all[2], all[3], options.transpose,
                                         options.group_size, options.bits);
  return reshape(product, batch_shape(batch, output.shape()));
}
std::string QuantizedMatmul::parameters() const {
  return "transpose=" + std::string(options.transpose ? "true" : "false") +
         ", group_size=" + std::to_string(options.group_size) +
         ", bits=" + std::to_string(options.bits);
}

}  // namespace cermet
