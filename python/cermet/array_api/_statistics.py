"""Reductions and scans."""

from typing import Any

from .. import core as mx

__all__ = [
    "all",
    "any",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "max",
    "mean",
    "min",
    "prod",
    "std",
    "sum",
    "var",
]

Axes = int | tuple[int, ...]


def summed(dtype: mx.Dtype) -> mx.Dtype:
    """The type in which the standard adds and multiplies: integers in 32 bits at least."""
    if dtype == mx.bool_ or dtype in (mx.int8, mx.int16):
        return mx.int32
    return mx.uint32 if dtype in (mx.uint8, mx.uint16) else dtype


def sum(
    x: mx.array,
    /,
    *,
    axis: Axes | None = None,
    dtype: mx.Dtype | None = None,
    keepdims: bool = False,
) -> mx.array:
    """The sum over axes."""
    dtype = dtype or summed(x.dtype)
    return mx.sum(x.astype(dtype), axis=axis, keepdims=keepdims).astype(dtype)


def prod(
    x: mx.array,
    /,
    *,
    axis: Axes | None = None,
    dtype: mx.Dtype | None = None,
    keepdims: bool = False,
) -> mx.array:
    """The product over axes."""
    dtype = dtype or summed(x.dtype)
    return mx.prod(x.astype(dtype), axis=axis, keepdims=keepdims).astype(dtype)


def max(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """The largest element over axes."""
    return mx.max(x, axis=axis, keepdims=keepdims)


def min(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """The smallest element over axes."""
    return mx.min(x, axis=axis, keepdims=keepdims)


def mean(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """The mean over axes."""
    return mx.mean(x, axis=axis, keepdims=keepdims)


def var(
    x: mx.array, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False
) -> mx.array:
    """The variance over axes: the squared distances from the mean by n - correction."""
    if float(correction).is_integer():
        return mx.var(x, axis=axis, keepdims=keepdims, ddof=int(correction))
    out = mx.var(x, axis=axis, keepdims=keepdims)
    n = x.size / out.size if out.size else 0
    return out * (n / (n - correction)) if n > correction else mx.full(out.shape, mx.nan, out.dtype)


def std(
    x: mx.array, /, *, axis: Axes | None = None, correction: float = 0.0, keepdims: bool = False
) -> mx.array:
    """The standard deviation over axes, the root of `var`."""
    return mx.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def all(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """Whether all elements over axes are true."""
    return mx.all(x, axis=axis, keepdims=keepdims)


def any(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """Whether any element over axes is true."""
    return mx.any(x, axis=axis, keepdims=keepdims)


def cumulative_sum(
    x: mx.array,
    /,
    *,
    axis: int | None = None,
    dtype: mx.Dtype | None = None,
    include_initial: bool = False,
) -> mx.array:
    """The sums of the elements up to each, along an axis; from 0 on if `include_initial`."""
    return cumulative(mx.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: mx.array,
    /,
    *,
    axis: int | None = None,
    dtype: mx.Dtype | None = None,
    include_initial: bool = False,
) -> mx.array:
    """The products of the elements up to each, along an axis; from 1 on if `include_initial`."""
    return cumulative(mx.cumprod, 1, x, axis, dtype, include_initial)


def cumulative(
    function: Any,
    first: int,
    x: mx.array,
    axis: int | None,
    dtype: mx.Dtype | None,
    include_initial: bool,
) -> mx.array:
    if axis is None:
        if x.ndim > 1:
            raise ValueError(f"an axis is needed for an array of shape {x.shape}")
        axis = 0
    dtype = dtype or summed(x.dtype)
    out = function(mx.atleast_1d(x.astype(dtype)), axis=axis).astype(dtype)
    if not include_initial:
        return out.reshape(x.shape)
    shape = list(out.shape)
    shape[axis] = 1
    return mx.concatenate([mx.full(shape, first, dtype), out], axis=axis)


def diff(
    x: mx.array,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: mx.array | None = None,
    append: mx.array | None = None,
) -> mx.array:
    """The differences of neighbours along an axis, n times."""
    parts = [part for part in (prepend, x, append) if part is not None]
    return mx.diff(mx.concatenate(parts, axis=axis), n, axis)
