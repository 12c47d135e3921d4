"""Transposed convolutions: the derivatives of convolutions, which enlarge their input."""

from __future__ import annotations

from cermet.nn.layers.convolution import Convolution, as_tuple

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class ConvTranspose1d(Convolution):
    """Maps ``(N, L, in_channels)`` to ``(N, L_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the length of the kernel.
        stride: the step of the kernel in the output.
        padding: how many elements of the output to drop at both ends.
        dilation: the distance between the elements of the kernel.
        output_padding: how many elements to add at the end of the output.
        bias: whether there is a bias.

    Examples:
        >>> nn.ConvTranspose1d(3, 8, kernel_size=2, stride=2)(mx.ones((2, 10, 3))).shape
        (2, 20, 8)
    """

    _function = "conv_transpose1d"
    _options = ("stride", "padding", "dilation", "output_padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        output_padding: int = 0,
        bias: bool = True,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            output_padding=output_padding,
        )


class ConvTranspose2d(Convolution):
    """Maps ``(N, H, W, in_channels)`` to ``(N, H_out, W_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the height and width of the kernel, one number for both or a pair.
        stride: the distance of the places that inputs are put at, likewise.
        padding: how much to take away at both ends of each axis.
        dilation: the distance between the elements of the kernel.
        output_padding: how many elements to add at the end of each axis.
        bias: whether there is a bias.

    Examples:
        >>> nn.ConvTranspose2d(3, 8, kernel_size=2, stride=2)(mx.ones((2, 10, 10, 3))).shape
        (2, 20, 20, 8)
    """

    _function = "conv_transpose2d"
    _options = ("stride", "padding", "dilation", "output_padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        output_padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ):
        super().__init__(
            in_channels,
            out_channels,
            as_tuple(kernel_size, 2),
            bias,
            stride=as_tuple(stride, 2),
            padding=as_tuple(padding, 2),
            dilation=dilation,
            output_padding=as_tuple(output_padding, 2),
        )


class ConvTranspose3d(Convolution):
    """Maps ``(N, D, H, W, in_channels)`` to ``(N, D_out, H_out, W_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the extents of the kernel, one number for all or three.
        stride: the distance of the places that inputs are put at, likewise.
        padding: how much to take away at both ends of each axis.
        dilation: the distance between the elements of the kernel.
        output_padding: how many elements to add at the end of each axis.
        bias: whether there is a bias.

    Examples:
        >>> nn.ConvTranspose3d(1, 4, kernel_size=2, stride=2)(mx.ones((2, 4, 4, 4, 1))).shape
        (2, 8, 8, 8, 4)
    """

    _function = "conv_transpose3d"
    _options = ("stride", "padding", "dilation", "output_padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        output_padding: int | tuple[int, int, int] = 0,
        bias: bool = True,
    ):
        super().__init__(
            in_channels,
            out_channels,
            as_tuple(kernel_size, 3),
            bias,
            stride=as_tuple(stride, 3),
            padding=as_tuple(padding, 3),
            dilation=dilation,
            output_padding=as_tuple(output_padding, 3),
        )
