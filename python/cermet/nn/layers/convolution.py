"""Convolutions. Channels are on the last axis, as in all of Cermet."""

from __future__ import annotations

import math
import operator
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


def as_tuple(value: int | tuple[int, ...], n: int) -> tuple[int, ...]:
    """``value`` for each of ``n`` dimensions."""
    try:
        return (operator.index(value),) * n  # type: ignore[arg-type]
    except (TypeError, ValueError):  # also of several in an array
        return tuple(map(operator.index, value))  # type: ignore[arg-type]


class Convolution(Module):
    """What all convolutions have: the weight, the bias, and the options of the core function.

    The weight ``(out_channels, *kernel_size, in_channels / groups)`` is at first uniform up to
    ``sqrt(1 / (in_channels / groups * prod(kernel_size)))``, the bias ``(out_channels,)`` is zero.
    """

    _function: str
    _options: tuple[str, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        bias: bool,
        **options: Any,
    ):
        super().__init__()
        groups = options.get("groups", 1)
        if in_channels % groups:
            raise ValueError(
                f"{type(self).__name__}: in_channels is {in_channels}, "
                f"expected a multiple of groups, {groups}"
            )
        kernel = as_tuple(kernel_size, 1)
        limit = math.sqrt(1 / (in_channels // groups * math.prod(kernel)))
        shape = (out_channels, *kernel, in_channels // groups)
        self.weight = mx.random.uniform(-limit, limit, shape)
        if bias:
            self.bias = mx.zeros((out_channels,))
        for name in self._options:
            setattr(self, name, options[name])

    def _extra_repr(self) -> str:
        out_channels, *kernel, in_channels = self.weight.shape
        in_channels *= self._values().get("groups", 1)
        kernel_size = kernel[0] if len(kernel) == 1 else tuple(kernel)
        options = ", ".join(f"{name}={value}" for name, value in self._values().items())
        return (
            f"{in_channels}, {out_channels}, kernel_size={kernel_size}, {options}, "
            f"bias={'bias' in self}"
        )

    def _values(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._options}

    def __call__(self, x: mx.array) -> mx.array:
        y = getattr(mx, self._function)(x, self.weight, **self._values())
        return y + self.bias if "bias" in self else y


class Conv1d(Convolution):
    """Convolves ``(N, L, in_channels)`` to ``(N, L_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the length of the kernel.
        stride: the step of the kernel.
        padding: how many zeros to put at both ends.
        dilation: the distance between the elements of the kernel.
        groups: into how many groups the channels are divided that do not see each other.
        bias: whether there is a bias.

    Raises:
        ValueError: ``in_channels`` is no multiple of ``groups``.

    Examples:
        >>> nn.Conv1d(3, 8, kernel_size=5, padding=2)(mx.ones((2, 100, 3))).shape
        (2, 100, 8)
    """

    _function = "conv1d"
    _options = ("stride", "padding", "dilation", "groups")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
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
            groups=groups,
        )


class Conv2d(Convolution):
    """Convolves ``(N, H, W, in_channels)`` to ``(N, H_out, W_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the height and width of the kernel, one number for both or a pair.
        stride: the step of the kernel, likewise.
        padding: how many zeros to put at both ends of each axis.
        dilation: the distance between the elements of the kernel.
        groups: into how many groups the channels are divided that do not see each other.
        bias: whether there is a bias.

    Raises:
        ValueError: ``in_channels`` is no multiple of ``groups``.

    Examples:
        >>> nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)(mx.ones((2, 32, 32, 3))).shape
        (2, 16, 16, 8)
    """

    _function = "conv2d"
    _options = ("stride", "padding", "dilation", "groups")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
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
            groups=groups,
        )


class Conv3d(Convolution):
    """Convolves ``(N, D, H, W, in_channels)`` to ``(N, D_out, H_out, W_out, out_channels)``.

    Args:
        in_channels: how many channels the input has.
        out_channels: how many channels the output has.
        kernel_size: the extents of the kernel, one number for all or three.
        stride: the step of the kernel, likewise.
        padding: how many zeros to put at both ends of each axis.
        dilation: the distance between the elements of the kernel.
        bias: whether there is a bias.

    Examples:
        >>> nn.Conv3d(1, 4, kernel_size=3)(mx.ones((2, 8, 8, 8, 1))).shape
        (2, 6, 6, 6, 4)
    """

    _function = "conv3d"
    _options = ("stride", "padding", "dilation")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
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
        )
