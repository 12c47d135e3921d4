"""Resampling of the spatial axes of ``(N, *space, C)``.

Interpolation is separable: along each axis, an output is a weighted sum of a few inputs.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Literal

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Upsample", "upsample_cubic", "upsample_linear", "upsample_nearest"]

Scale = float | tuple[float, ...]


def _triangle(t: float) -> float:
    return max(1 - abs(t), 0.0)


def _cubic(a: float) -> Callable[[float], float]:
    """The cubic convolution kernel with the slope ``a`` at 1 (Keys, 1981)."""

    def kernel(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return ((a + 2) * t - (a + 3)) * t * t + 1
        if t < 2:
            return a * (((t - 5) * t + 8) * t - 4)
        return 0.0

    return kernel


def _taps(
    size: int,
    scale: float,
    kernel: Callable[[float], float],
    radius: int,
    align_corners: bool,
    antialias: bool,
) -> list[list[tuple[int, float]]]:
    """For each output, the inputs and their weights, all of one length."""
    out_size = int(scale * size)
    taps = []
    for i in range(out_size):
        if align_corners:
            position = i * (size - 1) / (out_size - 1) if out_size > 1 else 0.0
        else:
            position = (i - (out_size - 1) / 2) / scale + (size - 1) / 2
        if antialias:  # widen the kernel when shrinking, and leave out what is beyond the ends
            shrink = min(scale, 1.0)
            reach = radius / shrink
            first = int(max(position - reach + 1, 0))
            last = int(min(position + reach + 1, size))
            weights = [kernel((j - position) * shrink) for j in range(first, last)]
            total = sum(weights)
            row = [(first + k, w / total) for k, w in enumerate(weights)]
        else:  # repeat the ends
            start = math.floor(position) - radius + 1
            indices = range(start, start + 2 * radius)
            row = [(min(max(j, 0), size - 1), kernel(j - position)) for j in indices]
        taps.append(row)
    longest = max(map(len, taps), default=0)
    return [row + [(0, 0.0)] * (longest - len(row)) for row in taps]


def _interpolate(
    x: mx.array,
    scale_factor: Scale,
    kernel: Callable[[float], float],
    radius: int,
    align_corners: bool,
    antialias: bool,
) -> mx.array:
    if antialias and align_corners:
        raise ValueError("upsample: antialias and align_corners exclude each other")
    for axis, scale in enumerate(_scales(x, scale_factor), start=1):
        taps = _taps(x.shape[axis], scale, kernel, radius, align_corners, antialias)
        column = [-1 if a == axis else 1 for a in range(x.ndim)]
        terms = [
            mx.take(x, mx.array([j for j, _ in tap]), axis)
            * mx.array([w for _, w in tap], dtype=x.dtype).reshape(column)
            for tap in zip(*taps, strict=True)
        ]
        x = functools.reduce(operator.add, terms)
    return x


def _scales(x: mx.array, scale_factor: Scale) -> tuple[float, ...]:
    spatial_dims = x.ndim - 2
    if spatial_dims < 1:
        raise ValueError(f"upsample: input has {x.ndim} dimensions, expected at least 3")
    if not isinstance(scale_factor, (tuple, list)):
        return (scale_factor,) * spatial_dims
    if len(scale_factor) != spatial_dims:
        raise ValueError(
            f"upsample: scale_factor is {scale_factor}, "
            f"expected {spatial_dims} numbers for an input of {x.ndim} dimensions"
        )
    return tuple(scale_factor)


def upsample_nearest(x: mx.array, scale_factor: Scale) -> mx.array:
    """Each output is the input at its position divided by the scale, rounded down."""
    for axis, scale in enumerate(_scales(x, scale_factor), start=1):
        indices = [int(i / scale) for i in range(int(scale * x.shape[axis]))]
        x = mx.take(x, mx.array(indices), axis)
    return x


def upsample_linear(
    x: mx.array, scale_factor: Scale, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Linear interpolation between the two nearest inputs along each axis.

    The arguments are those of :class:`Upsample`.
    """
    return _interpolate(x, scale_factor, _triangle, 1, align_corners, antialias)


def upsample_cubic(
    x: mx.array, scale_factor: Scale, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Cubic convolution of the four nearest inputs along each axis (Keys, 1981).

    The slope of the kernel is -0.5 with antialiasing, else -0.75. The arguments are those of
    :class:`Upsample`.
    """
    kernel = _cubic(-0.5 if antialias else -0.75)
    return _interpolate(x, scale_factor, kernel, 2, align_corners, antialias)


class Upsample(Module):
    """Resizes the spatial axes of ``(N, *space, C)``.

    Args:
        scale_factor: the scale of all axes, or one for each. The new size of an axis is
            ``scale * size``, rounded down.
        mode: "nearest", "linear" or "cubic".
        align_corners: whether the first and last elements of input and output lie on each other,
            or their centers and spacings do.
        antialias: whether to average over more inputs where an axis shrinks; not with
            ``align_corners`` nor for "nearest".

    Raises:
        ValueError: another mode, or options that exclude each other.
    """

    def __init__(
        self,
        scale_factor: Scale,
        mode: Literal["nearest", "linear", "cubic"] = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ):
        super().__init__()
        if mode not in ("nearest", "linear", "cubic"):
            raise ValueError(f"Upsample: mode is '{mode}', expected 'nearest', 'linear' or 'cubic'")
        if antialias and (align_corners or mode == "nearest"):
            raise ValueError("Upsample: antialias excludes align_corners and mode 'nearest'")
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor: float | tuple[float, ...] = tuple(map(float, scale_factor))
        else:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def _extra_repr(self) -> str:
        antialias = ", antialias=True" if self.antialias else ""
        return (
            f"scale_factor={self.scale_factor}, mode='{self.mode}', "
            f"align_corners={self.align_corners}{antialias}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if self.mode == "nearest":
            return upsample_nearest(x, self.scale_factor)
        resize = upsample_linear if self.mode == "linear" else upsample_cubic
        return resize(x, self.scale_factor, self.align_corners, self.antialias)
