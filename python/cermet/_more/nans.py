"""Reductions that leave nans out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import core as mx

__all__ = [
    "nanargmax",
    "nanargmin",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
]

Axes = int | Sequence[int] | None


def _filled(a: mx.array, value: complex) -> mx.array:
    return mx.where(mx.isnan(a), value, a) if mx.issubdtype(a.dtype, mx.inexact) else a


def nansum(a: mx.array, /, axis: Axes = None, keepdims: bool = False) -> mx.array:
    """The sum over axes (all of them by default), in which a nan counts as 0."""
    return mx.sum(_filled(a, 0), axis=axis, keepdims=keepdims)


def nanprod(a: mx.array, /, axis: Axes = None, keepdims: bool = False) -> mx.array:
    """The product over axes (all of them by default), in which a nan counts as 1."""
    return mx.prod(_filled(a, 1), axis=axis, keepdims=keepdims)


def _count(a: mx.array, axis: Axes, keepdims: bool) -> mx.array:
    return mx.sum(~mx.isnan(a), axis=axis, keepdims=keepdims)


def _wide(a: mx.array) -> mx.array:
    """In the type that means are computed in, which holds the number of elements."""
    return a.astype(mx.float32) if a.dtype in (mx.float16, mx.bfloat16) else a


def nanmean(a: mx.array, /, axis: Axes = None, keepdims: bool = False) -> mx.array:
    """The mean over axes of what is no nan; nan where there is nothing else."""
    if not mx.issubdtype(a.dtype, mx.inexact):
        return mx.mean(a, axis=axis, keepdims=keepdims)
    wide = _wide(a)
    count = _count(a, axis, keepdims).astype(wide.dtype)
    return (mx.sum(_filled(wide, 0), axis=axis, keepdims=keepdims) / count).astype(a.dtype)


def nanvar(a: mx.array, /, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> mx.array:
    """The variance over axes of what is no nan, its squares' sum by their number less `ddof`."""
    if not mx.issubdtype(a.dtype, mx.inexact):
        return mx.var(a, axis=axis, keepdims=keepdims, ddof=ddof)
    wide = _wide(a)
    apart = mx.where(mx.isnan(a), 0, wide - nanmean(wide, axis, keepdims=True))
    squares = mx.square(mx.abs(apart) if a.dtype == mx.complex64 else apart)
    count = _count(a, axis, keepdims) - ddof
    count = mx.where(count > 0, count, mx.nan).astype(squares.dtype)
    out = mx.sum(squares, axis=axis, keepdims=keepdims) / count
    return out.astype(a.dtype if wide is not a else squares.dtype)


def nanstd(a: mx.array, /, axis: Axes = None, keepdims: bool = False, ddof: int = 0) -> mx.array:
    """The standard deviation over axes of what is no nan: the root of `nanvar`."""
    return mx.sqrt(nanvar(a, axis, keepdims, ddof))


def _like(a: mx.array, worst: float) -> complex:
    """What every element beats: of complex numbers, which are ordered by both parts, both."""
    return complex(worst, worst) if a.dtype == mx.complex64 else worst


def _extreme(
    reduce: Callable[..., mx.array], worst: float, a: mx.array, axis: Axes, keepdims: bool
) -> mx.array:
    if not mx.issubdtype(a.dtype, mx.inexact):
        return reduce(a, axis=axis, keepdims=keepdims)
    value = reduce(_filled(a, _like(a, worst)), axis=axis, keepdims=keepdims)
    return mx.where(mx.all(mx.isnan(a), axis=axis, keepdims=keepdims), mx.nan, value)


def nanmax(a: mx.array, /, axis: Axes = None, keepdims: bool = False) -> mx.array:
    """The largest element over axes of what is no nan; nan where there is nothing else."""
    return _extreme(mx.max, -mx.inf, a, axis, keepdims)


def nanmin(a: mx.array, /, axis: Axes = None, keepdims: bool = False) -> mx.array:
    """The smallest element over axes of what is no nan; nan where there is nothing else."""
    return _extreme(mx.min, mx.inf, a, axis, keepdims)


def nanargmax(a: mx.array, /, axis: int | None = None, keepdims: bool = False) -> mx.array:
    """The place of the largest element that is no nan; 0 where there is none."""
    return _placed(mx.argmax, -mx.inf, a, axis, keepdims)


def nanargmin(a: mx.array, /, axis: int | None = None, keepdims: bool = False) -> mx.array:
    """The place of the smallest element that is no nan; 0 where there is none."""
    return _placed(mx.argmin, mx.inf, a, axis, keepdims)


def _placed(
    search: Callable[..., mx.array], worst: float, a: mx.array, axis: Any, keepdims: bool
) -> mx.array:
    filled = _filled(a, _like(a, worst))
    place = search(filled, axis=axis, keepdims=keepdims)
    if not mx.issubdtype(a.dtype, mx.inexact):
        return place
    # Beside nans alone, an element may be as bad as what stands for these.
    kept = ~mx.isnan(a)
    hidden = filled == _like(a, worst)
    all_worst = mx.all(hidden, axis=axis, keepdims=keepdims)
    first = mx.argmax(kept.astype(mx.uint8), axis=axis, keepdims=keepdims)
    return mx.where(all_worst, first, place)
