// Rules of convolutions: the derivatives of the three nodes are these three again.
#include "graph/check.h"
#include "graph/composites.h"
#include "graph/convolution.h"
#include "graph/rules.h"

namespace cermet {
namespace {

std::string text(const ConvOptions& o) {
  return "stride=" + tuple(o.stride) + ", padding=" + tuple(o.padding_low) + "-" +
         tuple(o.padding_high) + ", kernel_dilation=" + tuple(o.kernel_dilation) +
         ", input_dilation=" + tuple(o.input_dilation) + ", groups=" + std::to_string(o.groups) +
         (o.flip ? ", flip" : "");
}

Shape spatial(const Shape& shape) { return Shape(shape.begin() + 1, shape.end() - 1); }

// (first, *extents, last)
Shape around(std::int64_t first, const Shape& extents, std::int64_t last) {
  Shape shape{first};
  for (const std::int64_t n : extents) shape.push_back(n);
  shape.push_back(last);
  return shape;
}

template <class Gradient>
array gradient(const array& a, const array& b, const ConvOptions& forward, const Shape& extents) {
  const auto primitive = make_ref<const Gradient>(ConvolutionGradientOptions{forward, extents});
  // The rule of shapes needs no more of the node than its inputs.
  const array inputs[2] = {a, b};
  Shape shape;
  if constexpr (std::is_same_v<Gradient, ConvolutionInputGradient>)
    shape = primitive->input_shape(inputs);
  else
    shape = around(b.shape(-1), extents, a.shape(-1) / forward.groups);
  return array(primitive, shape, a.dtype(), {a, b}, StreamOrDevice{}.resolve());
}
array input_gradient(const array& cotangent, const array& weight, const ConvOptions& forward,
                     const Shape& extents) {
  return gradient<ConvolutionInputGradient>(cotangent, weight, forward, extents);
}
array weight_gradient(const array& x, const array& cotangent, const ConvOptions& forward,
                      const Shape& extents) {
  return gradient<ConvolutionWeightGradient>(x, cotangent, forward, extents);
}

// Channels of all entries of a batch, side by side, and back.
array join_channels(const array& a) { return flatten(moveaxis(a, 0, -2), -2, -1); }
array split_channels(const array& a, std::int64_t batch) {
  return moveaxis(unflatten(a, -1, {batch, a.shape(-1) / batch}), -2, 0);
}
ConvOptions for_each(ConvOptions o, std::int64_t batch) {
  o.groups *= static_cast<int>(batch);
  return o;
}

}  // namespace

// ---- the convolution ----

std::string Convolution::parameters() const { return text(options); }

Shape Convolution::output_shape(const Node&, std::span<const array> inputs) const {
  return conv_general(inputs[0], inputs[1], options).shape();
}
array Convolution::vjp(const Edge& e, const array& cotangent) const {
  const array &x = e.inputs[0], &w = e.inputs[1];
  return e.i == 0 ? input_gradient(cotangent, conjugate(w), options, spatial(x.shape()))
                  : weight_gradient(conjugate(x), cotangent, options, spatial(w.shape()));
}
array Convolution::jvp(const Edge& e, const array& tangent) const {
  return e.i == 0 ? conv_general(tangent, e.inputs[1], options)
                  : conv_general(e.inputs[0], tangent, options);
}
array Convolution::vmap(const Batched& in, const array& output) const {
  if (!in.flags[1])  // more images
    return reshape(conv_general(fold_batch(in.inputs[0]), in.inputs[1], options),
                   batch_shape(in.size, output.shape()));
  // Every entry has its weight: more groups.
  const Arrays all = in.all();
  return split_channels(
      conv_general(join_channels(all[0]), fold_batch(all[1]), for_each(options, in.size)), in.size);
}

// ---- its input's gradient ----

std::string ConvolutionInputGradient::parameters() const {
  return text(options.forward) + ", extents=" + tuple(options.extents);
}
Shape ConvolutionInputGradient::input_shape(std::span<const array> inputs) const {
  return around(inputs[0].shape(0), options.extents, inputs[1].shape(-1) * options.forward.groups);
}
Shape ConvolutionInputGradient::output_shape(const Node& node,
                                             std::span<const array> inputs) const {
  // The input's extents do not follow from those of the cotangent.
  if (spatial(inputs[0].shape()) != spatial(node.inputs[0].shape()) ||
      spatial(inputs[1].shape()) != spatial(node.inputs[1].shape()) ||
      inputs[0].shape(-1) != inputs[1].shape(0))
    refuse_shapes(*this, inputs);
  return input_shape(inputs);
}
array ConvolutionInputGradient::vjp(const Edge& e, const array& cotangent) const {
  const array &out = e.inputs[0], &w = e.inputs[1];
  return e.i == 0 ? conv_general(cotangent, conjugate(w), options.forward)
                  : weight_gradient(cotangent, conjugate(out), options.forward, spatial(w.shape()));
}
array ConvolutionInputGradient::jvp(const Edge& e, const array& tangent) const {
  return input_gradient(e.i == 0 ? tangent : e.inputs[0], e.i == 1 ? tangent : e.inputs[1],
                        options.forward, options.extents);
}
array ConvolutionInputGradient::vmap(const Batched& in, const array& output) const {
  if (!in.flags[1])
    return reshape(
        input_gradient(fold_batch(in.inputs[0]), in.inputs[1], options.forward, options.extents),
        batch_shape(in.size, output.shape()));
  const Arrays all = in.all();
  return split_channels(input_gradient(join_channels(all[0]), fold_batch(all[1]),
                                       for_each(options.forward, in.size), options.extents),
                        in.size);
}

// ---- its weight's gradient ----

std::string ConvolutionWeightGradient::parameters() const {
  return text(options.forward) + ", extents=" + tuple(options.extents);
}
Shape ConvolutionWeightGradient::output_shape(const Node&, std::span<const array> inputs) const {
  const array &x = inputs[0], &cotangent = inputs[1];
  const Shape shape =
      around(cotangent.shape(-1), options.extents, x.shape(-1) / options.forward.groups);
  std::size_t i = 1;
  bool fits = x.shape(0) == cotangent.shape(0);
  for (const Along& a : spatial_axes(name(), x.shape(), shape, options.forward))
    fits = fits && a.out() == cotangent.shape(static_cast<int>(i++));
  if (!fits) refuse_shapes(*this, inputs);
  return shape;
}
array ConvolutionWeightGradient::vjp(const Edge& e, const array& cotangent) const {
  const array &x = e.inputs[0], &out = e.inputs[1];
  return e.i == 0 ? input_gradient(conjugate(out), cotangent, options.forward, spatial(x.shape()))
                  : conv_general(conjugate(x), cotangent, options.forward);
}
array ConvolutionWeightGradient::jvp(const Edge& e, const array& tangent) const {
  return weight_gradient(e.i == 0 ? tangent : e.inputs[0], e.i == 1 ? tangent : e.inputs[1],
                         options.forward, options.extents);
}
array ConvolutionWeightGradient::vmap(const Batched& in, const array&) const {
  const Arrays all = in.all();
  const array found = weight_gradient(join_channels(all[0]), join_channels(all[1]),
                                      for_each(options.forward, in.size), options.extents);
  return unflatten(found, 0, {in.size, found.shape(0) / in.size});
}

}  // namespace cermet
