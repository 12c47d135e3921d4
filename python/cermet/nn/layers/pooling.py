"""Pooling: the maximum or mean of windows that slide over space.

Maximum and mean are separable, so each axis is pooled by itself: a window of k x k costs 2 k
elementwise operations on strided slices, which evaluation fuses.
"""

from __future__ import annotations

import functools
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
        values = as_tuple(value, self._spatial_dims)
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
        if any(self._padding):
            widths = [(0, 0), *((p, p) for p in self._padding), (0, 0)]
            x = mx.pad(x, widths, constant_values=self._padding_value)
        for axis, (size, stride) in enumerate(
            zip(self._kernel_size, self._stride, strict=True), start=1
        ):
            x = self._pool_axis(x, axis, size, stride)
        return x

    def _pool_axis(self, x: mx.array, axis: int, size: int, stride: int) -> mx.array:
        steps = (x.shape[axis] - size) // stride
        if steps < 0:
            raise ValueError(
                f"{type(self).__name__}: axis {axis} has size {x.shape[axis]}, "
                f"expected at least the window's {size}"
            )
        before = (slice(None),) * axis
        windows = [x[(*before, slice(i, i + steps * stride + 1, stride))] for i in range(size)]
        return functools.reduce(type(self)._combine, windows)


class _MaxPool(_Pool):
    _combine = staticmethod(mx.maximum)
    _padding_value = float("-inf")


class _AvgPool(_Pool):
    _combine = staticmethod(operator.add)
    _padding_value = 0

    def _pool_axis(self, x: mx.array, axis: int, size: int, stride: int) -> mx.array:
        return super()._pool_axis(x, axis, size, stride) / size


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
