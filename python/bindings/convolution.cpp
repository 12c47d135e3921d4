// Convolutions, channels last.
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>

#include "bindings.h"

namespace cermet::python {
namespace {

// Padding of both sides, or (low, high).
using Padding = std::variant<Shape, std::pair<Shape, Shape>>;

// Binds conv1d, conv2d and conv3d, and their transposes.
template <int dims>
void bind_dimensions(nb::module_& m) {
  const std::string digit = std::to_string(dims);
  def_op(
      m, ("conv" + digit + "d").c_str(),
      [](const array& input, const array& weight, const Shape& stride, const Shape& padding,
         const Shape& dilation, int groups, StreamOrDevice s) {
        return conv(dims, input, weight, stride, padding, dilation, groups, s);
      },
      "Correlates (n, *spatial, channels) with a weight (out channels, *kernel, channels / "
      "groups): (n, *out, out channels). Options are one integer, or one for each spatial axis.",
      "input"_a, "weight"_a, "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1, "groups"_a = 1);
  def_op(
      m, ("conv_transpose" + digit + "d").c_str(),
      [](const array& input, const array& weight, const Shape& stride, const Shape& padding,
         const Shape& dilation, const Shape& output_padding, int groups, StreamOrDevice s) {
        return conv_transpose(dims, input, weight, stride, padding, dilation, output_padding,
                              groups, s);
      },
      "The transpose of a convolution: every element of (n, *spatial, channels) adds a scaled "
      "kernel of the weight (out channels, *kernel, channels / groups) to the output, `stride` "
      "apart, of which `padding` is cropped and `output_padding` added at the end.",
      "input"_a, "weight"_a, "stride"_a = 1, "padding"_a = 0, "dilation"_a = 1,
      "output_padding"_a = 0, "groups"_a = 1);
}

}  // namespace

void bind_convolution(nb::module_& m) {
  bind_dimensions<1>(m);
  bind_dimensions<2>(m);
  bind_dimensions<3>(m);
  def_op(
      m, "conv_general",
      [](const array& input, const array& weight, const Shape& stride, const Padding& padding,
         const Shape& kernel_dilation, const Shape& input_dilation, int groups, bool flip,
         StreamOrDevice s) {
        ConvOptions o{stride, {}, {}, kernel_dilation, input_dilation, groups, flip};
        if (const Shape* both = std::get_if<Shape>(&padding))
          o.padding_low = o.padding_high = *both;
        else
          std::tie(o.padding_low, o.padding_high) = std::get<std::pair<Shape, Shape>>(padding);
        return conv_general(input, weight, o, s);
      },
      "Correlates (n, *spatial, channels) with a weight (out channels, *kernel, channels / "
      "groups), 1 to 3 spatial axes; `flip` turns the kernel around. `padding` may be (low, high), "
      "and crops where negative. `input_dilation` puts zeros between the input's elements.",
      "input"_a, "weight"_a, "stride"_a = 1, "padding"_a = 0, "kernel_dilation"_a = 1,
      "input_dilation"_a = 1, "groups"_a = 1, "flip"_a = false);
  def_op(
      m, "convolve", &convolve,
      "The convolution of two 1-d arrays: 'full', 'same' (as long as the longer) or 'valid'. The "
      "longer one's ends count as zeros, so that infinities of the other are nan there.",
      "a"_a, "v"_a, "mode"_a = "full");
}

}  // namespace cermet::python
