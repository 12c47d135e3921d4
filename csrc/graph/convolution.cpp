// Convolutions: windows of the padded input, then one matrix product (one for each group).
//
// The windows of an axis are a reshape where they do not overlap, few slices put together where
// they do, and a strided view for long kernels: slices have the fastest derivative. A depthwise
// convolution multiplies slices by the kernel's elements, which fuses into one row program.
#include <algorithm>
#include <limits>

#include "graph/check.h"
#include "graph/composites.h"
#include "graph/convolution.h"
#include "graph/rules.h"

namespace cermet {
namespace {

constexpr std::int64_t kMostSlices = 32;  // of an axis, or in a depthwise convolution's sum

Size size(std::int64_t n) { return {"convolution", n}; }

constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::min();

// An option's value for spatial axis i of `dims`: its own, or the one that serves all.
std::int64_t option(std::string_view op, std::string_view name, const Shape& values, int i,
                    int dims, std::int64_t least) {
  if (values.size() != 1 && static_cast<int>(values.size()) != dims)
    fail(op, name, " ", values, " has ", static_cast<int>(values.size()), " values for ", dims,
         " spatial axes");
  const std::int64_t value = values[values.size() == 1 ? 0 : i];
  if (value < least) fail(op, name, " is ", values, ", expected at least ", least);
  return value;
}

}  // namespace

std::int64_t Along::dilated() const { return (size(extent - 1) * input_dilation + 1).value(); }
std::int64_t Along::padded() const { return (size(dilated()) + low + high).value(); }
std::int64_t Along::span() const { return (size(kernel - 1) * kernel_dilation + 1).value(); }

Along Along::gradient() const {
  const std::int64_t reached = (size(out() - 1) * stride).value();
  return {out(),           kernel, input_dilation, span() - 1 - low, dilated() - 1 - reached + low,
          kernel_dilation, stride};
}

std::vector<Along> spatial_axes(std::string_view op, const Shape& input, const Shape& weight,
                                const ConvOptions& o) {
  const int dims = static_cast<int>(input.size()) - 2;
  if (dims < 1 || dims > 3 || weight.size() != input.size())
    fail(op, "input ", input, " and weight ", weight,
         ": expected (n, *spatial, channels) and (out channels, *kernel, channels / groups) with 1 "
         "to 3 spatial axes");
  const auto at = [&](std::string_view name, const Shape& values, int i, std::int64_t least) {
    return option(op, name, values, i, dims, least);
  };
  std::vector<Along> axes;
  for (int i = 0; i < dims; ++i) {
    Along a{input[i + 1],
            weight[i + 1],
            at("stride", o.stride, i, 1),
            at("padding", o.padding_low, i, kAny),
            at("padding", o.padding_high, i, kAny),
            at("kernel dilation", o.kernel_dilation, i, 1),
            at("input dilation", o.input_dilation, i, 1)};
    if (a.kernel < 1 || a.extent < 1 || a.padded() < a.span())
      fail(op, "a kernel that spans ", a.span(), " does not fit spatial axis ", i, " of extent ",
           std::max<std::int64_t>(0, a.padded()), " with padding: input ", input, ", weight ",
           weight);
    // Steps over a single place are none, so that no stride made of them wraps.
    a.stride = std::min(a.stride, a.padded());
    if (a.kernel == 1) a.kernel_dilation = 1;
    if (a.extent == 1) a.input_dilation = 1;
    axes.push_back(a);
  }
  return axes;
}

namespace {

Shape result_shape(const array& input, const array& weight, const std::vector<Along>& axes) {
  Shape shape{input.shape(0)};
  for (const Along& a : axes) shape.push_back(a.out());
  shape.push_back(weight.shape(0));
  return shape;
}

// Zeros between the elements of an axis.
array dilate(const array& x, int axis, std::int64_t by, StreamOrDevice s) {
  if (by == 1) return x;
  Shape shape = x.shape(), stop = shape, step(x.ndim(), 1);
  shape[axis] = stop[axis] = (x.shape(axis) - 1) * by + 1;
  step[axis] = by;
  return slice_update(zeros(shape, x.dtype(), s), x, Shape(x.ndim(), 0), stop, step, Update::set,
                      s);
}

// Zeros around the spatial axes; a negative padding crops.
array padded(array x, const std::vector<Along>& axes, StreamOrDevice s) {
  std::vector<std::pair<std::int64_t, std::int64_t>> widths(x.ndim());
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const auto [low, high] = std::pair(axes[i].low, axes[i].high);
    x = dilate(x, axis, axes[i].input_dilation, s);
    widths[axis] = {std::max<std::int64_t>(low, 0), std::max<std::int64_t>(high, 0)};
  }
  x = pad(x, widths, array(0), "constant", s);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const std::int64_t start = std::max<std::int64_t>(-axes[i].low, 0);
    if (axes[i].low < 0 || axes[i].high < 0)
      x = section(x, axis, start, start + axes[i].padded(), 1, s);
  }
  return x;
}

// The elements of `axis` that tap k of the kernel meets.
array tap(const array& x, int axis, const Along& a, std::int64_t k, StreamOrDevice s) {
  const std::int64_t start = k * a.kernel_dilation;
  return section(x, axis, start, start + (a.out() - 1) * a.stride + 1, a.stride, s);
}

// Cuts an axis into its windows: their number in its place, their elements at `inside`.
array windows(const array& x, int axis, const Along& a, int inside, StreamOrDevice s) {
  if (a.kernel == 1) return expand_dims(tap(x, axis, a, 0, s), {inside}, s);
  if (a.stride >= a.span() && a.out() <= x.shape(axis) / a.stride) {
    const array whole = section(x, axis, 0, a.out() * a.stride, 1, s);
    const array cut = unflatten(whole, axis, {a.out(), a.stride}, s);
    return moveaxis(section(cut, axis + 1, 0, a.span(), a.kernel_dilation, s), axis + 1, inside, s);
  }
  if (a.kernel <= kMostSlices) {
    Arrays taps;
    for (std::int64_t k = 0; k < a.kernel; ++k) taps.push_back(tap(x, axis, a, k, s));
    return stack(taps, inside, s);
  }
  Shape shape = x.shape();
  Strides strides = row_major(shape);
  const std::int64_t step = strides[axis];
  shape[axis] = a.out();
  strides[axis] = step * a.stride;
  shape.insert(shape.begin() + inside, a.kernel);
  strides.insert(strides.begin() + inside, step * a.kernel_dilation);
  return as_strided(x, shape, strides, 0, s);
}

// The windows of the padded input: (groups, n * out, kernel elements * channels of a group).
array window_rows(array x, const std::vector<Along>& axes, std::int64_t groups, StreamOrDevice s) {
  const int dims = static_cast<int>(axes.size());
  const std::int64_t each = x.shape(-1) / groups;
  std::int64_t rows = x.shape(0), taps = 1;
  for (const Along& a : axes) rows *= a.out(), taps *= a.kernel;
  x = unflatten(padded(x, axes, s), -1, {groups, each}, s);
  for (int i = dims; i-- > 0;) x = windows(x, i + 1, axes[i], dims + 2, s);
  return reshape(moveaxis(x, dims + 1, 0, s), {groups, rows, taps * each}, s);
}

// The kernel read backwards.
array flipped(const array& weight, StreamOrDevice s) {
  Axes spatial;
  for (int i = 1; i + 1 < weight.ndim(); ++i) spatial.push_back(i);
  return flip(weight, spatial, s);
}

// The sum over the taps of slices times the kernel's elements: groups of one channel.
array depthwise(const array& x, const array& weight, const std::vector<Along>& axes,
                const Shape& out_shape, StreamOrDevice s) {
  const Dtype t = accurate(x.dtype());
  const std::int64_t channels = x.shape(-1), taps = element_count(weight.shape()) / weight.shape(0);
  // (taps, channels, out channels of each)
  const array kernel = transpose(
      reshape(astype(weight, t, s), {channels, weight.shape(0) / channels, taps}, s), {2, 0, 1}, s);
  std::optional<array> total;
  for (std::int64_t i = 0; i < taps; ++i) {
    array part = x;
    std::int64_t left = i;
    for (int d = static_cast<int>(axes.size()) - 1; d >= 0; --d) {
      part = tap(part, d + 1, axes[d], left % axes[d].kernel, s);
      left /= axes[d].kernel;
    }
    const array product = multiply(expand_dims(astype(part, t, s), {-1}, s),
                                   squeeze(section(kernel, 0, i, i + 1, 1, s), {0}, s), s);
    total = total ? add(*total, product, s) : product;
  }
  return astype(reshape(*total, out_shape, s), x.dtype(), s);
}

array convolve_nd(std::string_view op, const array& input, const array& weight,
                  const ConvOptions& o, StreamOrDevice s) {
  const std::vector<Along> axes = spatial_axes(op, input.shape(), weight.shape(), o);
  const std::int64_t channels = input.shape(-1), outs = weight.shape(0);
  const std::int64_t groups = o.groups, each = weight.shape(-1);
  if (groups < 1 || each * groups != channels || outs % groups != 0)
    fail(op, "input ", input.shape(), " and weight ", weight.shape(), " do not fit ", groups,
         " groups: the weight's last axis is the input's channels / groups, and its first a "
         "multiple of groups");
  const Dtype t = promote(input.dtype(), weight.dtype());
  require_inexact(op, t);
  if (each == 0) return zeros(result_shape(input, weight, axes), t, s);
  return array(make_ref<const Convolution>(o), result_shape(input, weight, axes), t,
               {astype(input, t, s), astype(weight, t, s)}, s.resolve());
}

std::string numbered(std::string_view name, int dims) {
  return std::string(name) + std::to_string(dims) + "d";
}

void check_dims(std::string_view op, int dims, const array& input) {
  if (input.ndim() != dims + 2)
    fail(op, "input ", input.shape(), " has ", input.ndim(), " dimensions, expected ", dims + 2,
         ": (n, *spatial, channels)");
}

}  // namespace

Arrays Convolution::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const std::vector<Along> axes =
      spatial_axes(name(), inputs[0].shape(), inputs[1].shape(), options);
  const Shape out_shape = result_shape(inputs[0], inputs[1], axes);
  array w = inputs[1];
  const std::int64_t outs = w.shape(0), each = w.shape(-1), groups = options.groups;
  if (options.flip) w = flipped(w, s);
  std::int64_t taps = 1;
  for (const Along& a : axes) taps *= a.kernel;
  if (each == 1 && groups > 1 && taps <= kMostSlices)
    return {depthwise(padded(inputs[0], axes, s), w, axes, out_shape, s)};

  // Times (groups, kernel elements, out channels of a group).
  const array x = window_rows(inputs[0], axes, groups, s);
  w = transpose(reshape(w, {groups, outs / groups, taps * each}, s), {0, 2, 1}, s);
  return {reshape(transpose(matmul(x, w, s), {1, 0, 2}, s), out_shape, s)};
}

Arrays ConvolutionInputGradient::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const array &cotangent = inputs[0], &w = inputs[1];
  const int dims = w.ndim() - 2, groups = options.forward.groups;
  const Shape input = input_shape(inputs);
  ConvOptions o{{}, {}, {}, {}, {}, groups, !options.forward.flip};
  for (const Along& forward : spatial_axes(name(), input, w.shape(), options.forward)) {
    const Along a = forward.gradient();
    o.stride.push_back(a.stride);
    o.padding_low.push_back(a.low);
    o.padding_high.push_back(a.high);
    o.kernel_dilation.push_back(a.kernel_dilation);
    o.input_dilation.push_back(a.input_dilation);
  }
  // (channels, *kernel, out channels of a group)
  Axes order{0, dims + 2};
  for (int i = 0; i < dims; ++i) order.push_back(i + 2);
  order.push_back(1);
  const array parts = transpose(unflatten(w, 0, {groups, w.shape(0) / groups}, s), order, s);
  return {conv_general(cotangent, flatten(parts, 0, 1, s), o, s)};
}

Arrays ConvolutionWeightGradient::expand(const Node& node, std::span<const array> inputs) const {
  const StreamOrDevice s = node.stream;
  const std::int64_t groups = options.forward.groups;
  const Shape shape = output_shape(node, inputs);
  const array x = window_rows(
      inputs[0], spatial_axes(name(), inputs[0].shape(), shape, options.forward), groups, s);
  array cotangent = moveaxis(unflatten(inputs[1], -1, {groups, shape[0] / groups}, s), -2, 0, s);
  cotangent = reshape(cotangent, {groups, x.shape(1), shape[0] / groups}, s);
  const array weight = reshape(matmul(transpose(cotangent, {0, 2, 1}, s), x, s), shape, s);
  return {options.forward.flip ? flipped(weight, s) : weight};
}

array conv_general(const array& input, const array& weight, const ConvOptions& options,
                   StreamOrDevice s) {
  return convolve_nd("conv_general", input, weight, options, s);
}

array conv(int dims, const array& input, const array& weight, const Shape& stride,
           const Shape& padding, const Shape& dilation, int groups, StreamOrDevice s) {
  const std::string op = numbered("conv", dims);
  check_dims(op, dims, input);
  return convolve_nd(op, input, weight, {stride, padding, padding, dilation, {1}, groups, false},
                     s);
}

array conv_transpose(int dims, const array& input, const array& weight, const Shape& stride,
                     const Shape& padding, const Shape& dilation, const Shape& output_padding,
                     int groups, StreamOrDevice s) {
  const std::string op = numbered("conv_transpose", dims);
  check_dims(op, dims, input);
  if (weight.ndim() != input.ndim())
    fail(op, "weight ", weight.shape(), " has ", weight.ndim(), " dimensions, expected ",
         input.ndim(), ": (out channels, *kernel, channels / groups)");
  // Every input element puts a copy of the kernel at its place among the outputs.
  ConvOptions o{{1}, {}, {}, dilation, {}, groups, true};
  for (int i = 0; i < dims; ++i) {
    const Size span =
        Size(op, option(op, "dilation", dilation, i, dims, 1)) * (weight.shape(i + 1) - 1);
    const Size low = span - option(op, "padding", padding, i, dims, kAny);
    const std::int64_t extra = option(op, "output_padding", output_padding, i, dims, 0);
    o.padding_low.push_back(low.value());
    o.padding_high.push_back((low + extra).value());
    o.input_dilation.push_back(option(op, "stride", stride, i, dims, 1));
  }
  return convolve_nd(op, input, weight, o, s);
}

array convolve(const array& a, const array& v, const std::string& mode, StreamOrDevice s) {
  constexpr std::string_view op = "convolve";
  if (a.ndim() != 1 || v.ndim() != 1)
    fail(op, "shapes ", a.shape(), " and ", v.shape(), ": expected 1 dimension");
  if (a.size() == 0 || v.size() == 0)
    fail(op, "a sequence is empty: shapes ", a.shape(), " and ", v.shape());
  const bool longer = a.size() >= v.size();
  const array &x = longer ? a : v, &kernel = longer ? v : a;
  const std::int64_t n = kernel.size();
  ConvOptions o;
  o.flip = true;
  if (mode == "full") {
    o.padding_low = o.padding_high = {n - 1};
  } else if (mode == "same") {
    o.padding_low = {n / 2};
    o.padding_high = {(n - 1) / 2};
  } else if (mode != "valid") {
    fail(op, "the mode is '", mode, "', expected 'full', 'same' or 'valid'");
  }
  return reshape(convolve_nd(op, reshape(x, {1, -1, 1}, s), reshape(kernel, {1, -1, 1}, s), o, s),
                 {-1}, s);
}

}  // namespace cermet
