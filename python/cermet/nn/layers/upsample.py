"""Resampling of the spatial axes of ``(N, *space, C)``.

Interpolation is separable: along each axis, an output is a weighted sum of a few inputs.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any, Literal

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Upsample", "upsample_cubic", "upsample_linear", "upsample_nearest"]

Scale = float | tuple[float, ...]
Kernel = Callable[[mx.array], mx.array]  # weights at distances


def _triangle(t: mx.array) -> mx.array:
    return mx.maximum(1 - mx.abs(t), 0)


def _cubic(a: float) -> Kernel:
    """The cubic convolution kernel with the slope ``a`` at 1 (Keys, 1981)."""

    def kernel(t: mx.array) -> mx.array:
        t = mx.abs(t)
        near = ((a + 2) * t - (a + 3)) * t * t + 1
        return mx.where(t <= 1, near, mx.where(t < 2, a * (((t - 5) * t + 8) * t - 4), 0))

    return kernel


def _outputs(size: int, scale: float) -> mx.array:
    """The numbers of the outputs along an axis, in float64."""
    return mx.arange(int(scale * size)).astype(mx.float64)


def _taps(
    size: int, scale: float, kernel: Kernel, radius: int, align_corners: bool, antialias: bool
) -> list[tuple[mx.array, mx.array]]:
    """The inputs that outputs take, with their weights: one of each output, then the next."""
    i = _outputs(size, scale)
    last_output = i.size - 1
    if align_corners:
        position = i * (size - 1) / max(last_output, 1)
    else:
        position = (i - last_output / 2) / scale + (size - 1) / 2
    if not antialias:  # repeat the ends
        start = mx.floor(position) - (radius - 1)
        inputs = [start + k for k in range(2 * radius)]
        return [(mx.clip(j, 0, size - 1).astype(mx.int32), kernel(j - position)) for j in inputs]
    # Widen the kernel when shrinking, and leave out what is beyond the ends.
    shrink = min(scale, 1.0) or 1.0
    reach = radius / shrink
    first = mx.floor(mx.maximum(position - reach + 1, 0))
    last = mx.floor(mx.minimum(position + reach + 1, size))
    inputs = [first + k for k in range(max(1, min(size, math.ceil(2 * reach))))]
    weights = [mx.where(j < last, kernel((j - position) * shrink), 0) for j in inputs]
    total = functools.reduce(operator.add, weights)
    return [
        (mx.where(j < last, j, 0).astype(mx.int32), w / total)
        for j, w in zip(inputs, weights, strict=True)
    ]


def _interpolate(
    x: mx.array,
    scale_factor: Scale,
    kernel: Kernel,
    radius: int,
    align_corners: bool,
    antialias: bool,
) -> mx.array:
    if antialias and align_corners:
        raise ValueError("upsample: antialias and align_corners exclude each other")
    if not mx.issubdtype(x.dtype, mx.inexact):
        x = x.astype(mx.float32)
    for axis, scale in enumerate(_scales(x, scale_factor), start=1):
        with mx.stream(mx.cpu):  # float64
            taps = _taps(x.shape[axis], scale, kernel, radius, align_corners, antialias)
            taps = [(j, w.astype(x.dtype)) for j, w in taps]
        column = [-1 if a == axis else 1 for a in range(x.ndim)]
        terms = [mx.take(x, j, axis) * w.reshape(column) for j, w in taps]
        x = functools.reduce(operator.add, terms)
    return x


def _listed(scale_factor: Any) -> Any:
    return scale_factor.tolist() if hasattr(scale_factor, "tolist") else scale_factor


def _scales(x: mx.array, scale_factor: Scale) -> tuple[float, ...]:
    spatial_dims = x.ndim - 2
    scale_factor = _listed(scale_factor)
    if spatial_dims < 1:
        raise ValueError(f"upsample: input has {x.ndim} dimensions, expected at least 3")
    if not isinstance(scale_factor, (tuple, list)):
        scale_factor = (scale_factor,) * spatial_dims
    if not all(0 <= scale < math.inf for scale in scale_factor):
        raise ValueError(f"upsample: scale_factor is {scale_factor}, expected numbers from 0 on")
    if len(scale_factor) != spatial_dims:
        raise ValueError(
            f"upsample: scale_factor is {scale_factor}, "
            f"expected {spatial_dims} numbers for an input of {x.ndim} dimensions"
        )
    return tuple(scale_factor)


def upsample_nearest(x: mx.array, scale_factor: Scale) -> mx.array:
    """Each output is the input at its position divided by the scale, rounded down."""
    for axis, scale in enumerate(_scales(x, scale_factor), start=1):
        with mx.stream(mx.cpu):  # float64
            indices = mx.floor(_outputs(x.shape[axis], scale) / scale).astype(mx.int32)
        x = mx.take(x, indices, axis)
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

    Examples:
        >>> nn.Upsample(2, mode="linear")(mx.array([[[0.0], [1.0]]])).squeeze()
        array([0, 0.25, 0.75, 1], dtype=float32)
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
        scale_factor = _listed(scale_factor)
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
