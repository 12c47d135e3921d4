// Rules of the matrix products.
#include <algorithm>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/rules.h"

namespace cermet {
namespace {

// One matrix from a stack of them whose other factor is one matrix: rows of all, one below the
// other.
array rows_of(const array& a) { return reshape(a, {-1, a.shape(-1)}); }
array scaled(const array& a, double by) { return by == 1 ? a : multiply(a, scalar_like(by, a)); }

}  // namespace

// ---- matmul ----

Shape Matmul::output_shape(const Node&, std::span<const array> inputs) const {
  Shape shape = inputs[0].shape();
  if (shape.back() != inputs[1].shape(-2) || shape.back() == 0 ||
      batch_of(inputs[0]) != batch_of(inputs[1]))
    refuse_shapes(*this, inputs);
  shape.back() = inputs[1].shape(-1);
  return shape;
}
array Matmul::vjp(const Edge& e, const array& cotangent) const {
  const array other = conjugate(matrix_transpose(e.inputs[e.i == 0 ? 1 : 0]));
  // The cotangent of a transposed matrix is computed transposed: its owner gets it row-major.
  const Primitive* made_by = e.input().primitive();
  if (made_by && made_by->kind() == Kind::transpose) {
    const array left = matrix_transpose(cotangent), right = matrix_transpose(other);
    return matrix_transpose(e.i == 0 ? matmul(right, left) : matmul(left, right));
  }
  return e.i == 0 ? matmul(cotangent, other) : matmul(other, cotangent);
}
array Matmul::jvp(const Edge& e, const array& tangent) const {
  return e.i == 0 ? matmul(tangent, e.inputs[1]) : matmul(e.inputs[0], tangent);
}
array Matmul::vmap(const Batched& in, const array&) const {
  // Equal batch axes on both sides align from the right, so an unbatched side broadcasts.
  return matmul(in.inputs[0], in.inputs[1]);
}

// ---- addmm ----

std::string Addmm::parameters() const {
  return "alpha=" + std::to_string(alpha) + ", beta=" + std::to_string(beta);
}
Shape Addmm::output_shape(const Node& node, std::span<const array> inputs) const {
  return expand(node, inputs)[0].shape();
}
array Addmm::vjp(const Edge& e, const array& cotangent) const {
  const array scaled_cotangent = scaled(cotangent, e.i == 0 ? beta : alpha);
  if (e.i == 0) return sum_to_shape(scaled_cotangent, e.inputs[0].shape());
  // With one matrix for a whole batch, the batch counts as rows.
  const bool folds = e.inputs[2].ndim() == 2 && e.inputs[1].ndim() > 2;
  const array factors[2] = {folds ? rows_of(e.inputs[1]) : e.inputs[1], e.inputs[2]};
  const array found = the<Matmul>()->vjp({e.i - 1, factors, e.output},
                                         folds ? rows_of(scaled_cotangent) : scaled_cotangent);
  return folds && e.i == 1 ? reshape(found, e.inputs[1].shape())
                           : sum_to_shape(found, e.input().shape());
}
array Addmm::jvp(const Edge& e, const array& tangent) const {
  const array change = e.i == 0   ? broadcast_to(tangent, e.output.shape())
                       : e.i == 1 ? matmul(tangent, e.inputs[2])
                                  : matmul(e.inputs[1], tangent);
  return scaled(change, e.i == 0 ? beta : alpha);
}
array Addmm::vmap(const Batched& in, const array& output) const {
  // A batch axis in front of what has fewer axes than the product would align with another.
  Arrays wide;
  for (std::size_t i = 0; i < in.inputs.size(); ++i) {
    if (!in.flags[i]) {
      wide.push_back(in.inputs[i]);
      continue;
    }
    Shape shape = in.inputs[i].shape();
    while (static_cast<int>(shape.size()) <= output.ndim()) shape.insert(shape.begin() + 1, 1);
    wide.push_back(reshape(in.inputs[i], shape));
  }
  // One product for all.
  if (!in.flags[1] && !in.flags[2])
    return add(scaled(matmul(wide[1], wide[2]), alpha), scaled(wide[0], beta));
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

array QuantizedMatmul::vjp(const Edge& e, const array& cotangent) const {
  const array &x = e.inputs[0], &w = e.inputs[1], &scales = e.inputs[2];
  const auto& [mode, bits, group_size, transpose] = options;
  if (e.i == 0) {
    Arrays factors(e.inputs.begin(), e.inputs.end());
    factors[0] = cotangent;
    return quantized_matmul(factors, {mode, bits, group_size, !transpose}, {});
  }
  if (!options.is_affine()) {  // the product is a multiple of the global scale
    const array change = astype(cotangent, float32) * astype(e.output, float32);
    return sum_to_shape(change, e.input().shape()) / e.input();
  }
  // w = scale * q + bias, so both gather the cotangent of w over each group.
  const bool one = w.ndim() == 2;
  const array rows = one ? rows_of(x) : x, out = one ? rows_of(cotangent) : cotangent;
  array dw = transpose ? matmul(matrix_transpose(out), rows) : matmul(matrix_transpose(rows), out);
  if (e.i == 2)
    dw = dw * dequantize(w, ones_like(scales), zeros_like(scales), group_size, bits, mode, {},
                         dw.dtype());
  const array groups = unflatten(dw, -1, {-1, group_size});
  return astype(sum(groups, Axes{-1}), e.input().dtype());
}

array QuantizedMatmul::jvp(const Edge& e, const array& tangent) const {
  Arrays factors(e.inputs.begin(), e.inputs.end());
  if (e.i > 0 && !options.is_affine())
    return astype(astype(e.output, float32) * (tangent / e.input()), e.output.dtype());
  factors[static_cast<std::size_t>(e.i)] = tangent;
  // Of scale * q + bias what the other one gives is no change.
  if (e.i > 1) factors[static_cast<std::size_t>(5 - e.i)] = zeros_like(tangent);
  return quantized_matmul(factors, options, {});
}

array QuantizedMatmul::vmap(const Batched& in, const array& output) const {
  Arrays all(in.inputs.begin(), in.inputs.end());
  const bool shared = std::find(in.flags.begin() + 1, in.flags.end(), true) == in.flags.end();
  if (!shared || output.node()->inputs[1].ndim() > 2) {
    // Every entry has its own w: all get the batch, and w the axes x has.
    all = in.all();
    const bool row = output.ndim() == 1;  // a vector times a matrix
    if (row) all[0] = expand_dims(all[0], {1});
    const int leading = all[0].ndim() - 2;
    for (std::size_t i = 1; i < all.size(); ++i) {
      all[i] = expand_entries(all[i], leading + 1);
      if (i <= options.parts())
        all[i] =
            broadcast_to(all[i], matrices(batch_of(all[0]), all[i].shape(-2), all[i].shape(-1)));
    }
  }
  return reshape(quantized_matmul(all, options, {}), batch_shape(in.size, output.shape()));
}

}  // namespace cermet
