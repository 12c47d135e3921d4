"""Pooling to a given size: the windows follow from it, and overlap where it does not divide."""

from __future__ import annotations

import cermet.core as mx
from cermet.nn.base import Module

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
]


class _AdaptivePool(Module):
    """Pools the spatial axes of ``(N, *space, C)``, one after the other.

    Element i of n along an axis of extent m covers ``floor(i m / n)`` to ``ceil((i + 1) m / n)``.

    Args:
        output_size: the extents of the result, one number for all axes or one for each; None keeps
            an axis as it is.

    Raises:
        ValueError: the argument has the wrong length or is too small.
    """

    _spatial_dims: int

    def __init__(self, output_size: int | tuple[int | None, ...] | None):
        super().__init__()
        n = self._spatial_dims
        sizes = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * n
        if len(sizes) != n or any(size is not None and size < 1 for size in sizes):
            raise ValueError(
                f"{type(self).__name__}: output_size is {output_size}, "
                f"expected an integer, None or {n} of them, at least 1"
            )
        self._output_size = tuple(sizes)

    def _extra_repr(self) -> str:
        return f"output_size={self._output_size}"

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim != self._spatial_dims + 2:
            raise ValueError(
                f"{type(self).__name__}: input has {x.ndim} dimensions, "
                f"expected {self._spatial_dims + 2}"
            )
        for axis, size in enumerate(self._output_size, start=1):
            if size is not None and size != x.shape[axis]:
                x = self._pool(x, axis, size)
        return x

    def _pool(self, x: mx.array, axis: int, size: int) -> mx.array:
        extent = x.shape[axis]
        if extent == 0:
            raise ValueError(f"{type(self).__name__}: axis {axis} of the input is empty")
        if extent % size == 0:
            return self._reduced(mx.unflatten(x, axis, (size, extent // size)), axis + 1)
        starts = [i * extent // size for i in range(size)]
        lengths = [-(-(i + 1) * extent // size) - start for i, start in enumerate(starts)]
        # Shorter windows are filled up with what they hold: with the last element.
        longest = max(lengths)
        places = [
            [start + min(k, n - 1) for k in range(longest)]
            for start, n in zip(starts, lengths, strict=True)
        ]
        windows = mx.take(x, mx.array(places), axis=axis)
        shape = [1] * windows.ndim
        shape[axis : axis + 2] = size, longest
        weights = [[1 / n if k < n else 0.0 for k in range(longest)] for n in lengths]
        return self._weighted(windows, mx.array(weights).reshape(shape), axis + 1)

    def _reduced(self, windows: mx.array, axis: int) -> mx.array:
        raise NotImplementedError

    def _weighted(self, windows: mx.array, weights: mx.array, axis: int) -> mx.array:
        raise NotImplementedError


class _AdaptiveAvgPool(_AdaptivePool):
    def _reduced(self, windows: mx.array, axis: int) -> mx.array:
        return mx.mean(windows, axis=axis)

    def _weighted(self, windows: mx.array, weights: mx.array, axis: int) -> mx.array:
        if mx.issubdtype(windows.dtype, mx.floating):
            weights = weights.astype(windows.dtype)
        # A window's last element, repeated, is not counted again, infinite or not.
        return mx.sum(mx.where(weights > 0, windows, 0) * weights, axis=axis)


class _AdaptiveMaxPool(_AdaptivePool):
    def _reduced(self, windows: mx.array, axis: int) -> mx.array:
        return mx.max(windows, axis=axis)

    def _weighted(self, windows: mx.array, weights: mx.array, axis: int) -> mx.array:
        return mx.max(windows, axis=axis)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The mean of windows of ``(N, L, C)``, as many as asked for.

    Args:
        output_size: the extent of the result; None keeps that of the input.
    """

    _spatial_dims = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The mean of windows of ``(N, H, W, C)``, as many as asked for.

    Args:
        output_size: the extents of the result, one number or one for each axis; None keeps that of
            the input.
    """

    _spatial_dims = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The mean of windows of ``(N, D, H, W, C)``, as many as asked for.

    Args:
        output_size: the extents of the result, one number or one for each axis; None keeps that of
            the input.
    """

    _spatial_dims = 3


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The maximum of windows of ``(N, L, C)``, as many as asked for.

    Args:
        output_size: the extent of the result; None keeps that of the input.
    """

    _spatial_dims = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The maximum of windows of ``(N, H, W, C)``, as many as asked for.

    Args:
        output_size: the extents of the result, one number or one for each axis; None keeps that of
            the input.
    """

    _spatial_dims = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The maximum of windows of ``(N, D, H, W, C)``, as many as asked for.

    Args:
        output_size: the extents of the result, one number or one for each axis; None keeps that of
            the input.
    """

    _spatial_dims = 3
