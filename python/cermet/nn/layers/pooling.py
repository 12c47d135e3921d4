"""Pooling: the maximum or mean of windows that slide over space.

Of floats, the mean is a convolution of each channel. Of other types, each axis is pooled by itself:
a window of k x k costs 2 k elementwise operations on strided slices, which evaluation fuses.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

import cermet.core as mx
from cermet.nn.base import Module
from cermet.nn.layers.convolution import as_tuple

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"]


class _Pool(Module):
    """Slides a window over the spatial axes of ``(N, *space, C)``.

    Args:
        kernel_size: the size of the window, one number for all axes or one for each.
        stride: the step of the window; by default its size.
        padding: by how much to extend both ends of each axis.

    Raises:
        ValueError: an argument has the wrong length or is too small.
    """

    _spatial_dims: int
    _combine: Callable[[mx.array, mx.array], mx.array]
    _padding_value: float

    def __init__(
        self,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] | None = None,
        padding: int | tuple[int, ...] | None = 0,
    ):
        super().__init__()
        self._kernel_size = self._checked("kernel_size", kernel_size, least=1)
        self._stride = self._checked("stride", kernel_size if stride is None else stride, least=1)
        self._padding = self._checked("padding", padding or 0, least=0)

    def _checked(self, name: str, value: int | tuple[int, ...], least: int) -> tuple[int, ...]:
        try:
            values = as_tuple(value, self._spatial_dims)
        except (TypeError, ValueError):
            raise mx.KindError(
                f"{type(self).__name__}: {name} is {type(value).__name__}, "
                f"expected an integer or {self._spatial_dims} of them"
            ) from None
        if len(values) != self._spatial_dims or any(v < least for v in values):
            raise ValueError(
                f"{type(self).__name__}: {name} is {value}, "
                f"expected an integer or {self._spatial_dims} of them, at least {least}"
            )
        return values

    def _extra_repr(self) -> str:
        return f"kernel_size={self._kernel_size}, stride={self._stride}, padding={self._padding}"

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim != self._spatial_dims + 2:
            raise ValueError(
                f"{type(self).__name__}: input has {x.ndim} dimensions, "
                f"expected {self._spatial_dims + 2}"
            )
        sizes = [n + 2 * p for n, p in zip(x.shape[1:-1], self._padding, strict=True)]
        for axis, (n, size) in enumerate(zip(sizes, self._kernel_size, strict=True), start=1):
            if n < size:
                raise ValueError(
                    f"{type(self).__name__}: axis {axis} has size {n}, "
                    f"expected at least the window's {size}"
                )
        return self._pool(x)

    def _pool(self, x: mx.array) -> mx.array:
        if any(self._padding):
            widths = [(0, 0), *((p, p) for p in self._padding), (0, 0)]
            x = mx.pad(x, widths, constant_values=self._padding_value)
        for axis, (size, stride) in enumerate(
            zip(self._kernel_size, self._stride, strict=True), start=1
        ):
            last = (x.shape[axis] - size) // stride * stride
            before = (slice(None),) * axis
            windows = [x[(*before, slice(i, i + last + 1, stride))] for i in range(size)]
            x = functools.reduce(type(self)._combine, windows)
        return x


class _MaxPool(_Pool):
    _combine = staticmethod(mx.maximum)
    _padding_value = float("-inf")

    def _pool(self, x: mx.array) -> mx.array:
        if not mx.issubdtype(x.dtype, mx.floating):
            return super()._pool(x)
        return mx.fast.max_pool(x, self._kernel_size, self._stride, self._padding)


class _AvgPool(_Pool):
    _combine = staticmethod(operator.add)
    _padding_value = 0

    def _pool(self, x: mx.array) -> mx.array:
        count = math.prod(self._kernel_size)
        if not mx.issubdtype(x.dtype, mx.inexact):
            return super()._pool(x) / count
        weight = 1 / count if count & (count - 1) == 0 else 1  # divides where that is exact
        filters = mx.full((x.shape[-1], *self._kernel_size, 1), weight, x.dtype)
        sums = mx.conv_general(x, filters, self._stride, self._padding, groups=x.shape[-1])
        return sums / count if weight == 1 else sums


def _pool(base: type[_Pool], name: str, spatial_dims: int, space: str, what: str) -> type[_Pool]:
    details = (_Pool.__doc__ or "").partition(".")[2]
    doc = f"The {what} of windows of ``(N, {space}, C)``.\n{details}"
    members = {"__module__": __name__, "__doc__": doc, "_spatial_dims": spatial_dims}
    return type(name, (base,), members)


MaxPool1d = _pool(_MaxPool, "MaxPool1d", 1, "L", "maximum")
MaxPool2d = _pool(_MaxPool, "MaxPool2d", 2, "H, W", "maximum")
MaxPool3d = _pool(_MaxPool, "MaxPool3d", 3, "D, H, W", "maximum")
AvgPool1d = _pool(_AvgPool, "AvgPool1d", 1, "L", "mean")
AvgPool2d = _pool(_AvgPool, "AvgPool2d", 2, "H, W", "mean")
AvgPool3d = _pool(_AvgPool, "AvgPool3d", 3, "D, H, W", "mean")
