"""Counting and statistics: histograms, quantiles, covariances."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import core as mx

__all__ = [
    "bincount",
    "corrcoef",
    "cov",
    "digitize",
    "histogram",
    "histogram_bin_edges",
    "percentile",
    "quantile",
]


def _value(a: mx.array, name: str, instead: str) -> float:
    """The number that an array holds; in a trace, which cannot know it, an error that says so."""
    try:
        return a.item()
    except ValueError as error:
        raise ValueError(f"{name}: {instead}. {error}") from None


def bincount(
    x: mx.array,
    /,
    weights: mx.array | None = None,
    minlength: int = 0,
    *,
    length: int | None = None,
) -> mx.array:
    """How often each number from 0 on occurs.

    Args:
        x: integers of 0 and more, shape (n,).
        weights: what each counts, shape (n,); 1 by default.
        minlength: the least length of the result.
        length: the length of the result, which leaves out larger numbers. Without it `x` is
            evaluated, which a trace cannot.

    Returns:
        Shape (max(x) + 1,), int32 or the type of the weights.

    Raises:
        ValueError: `x` has another shape or type, or holds negative numbers.
    """
    if x.ndim != 1 or not mx.issubdtype(x.dtype, mx.integer):
        raise ValueError(f"bincount: expected integers of shape (n,), got {x.dtype} {x.shape}")
    if weights is not None and weights.shape != x.shape:
        raise ValueError(f"bincount: weights of shape {weights.shape} for numbers of {x.shape}")
    if minlength < 0:
        raise ValueError(f"bincount: minlength is {minlength}, expected 0 or more")
    if length is not None and length < 0:
        raise ValueError(f"bincount: length is {length}, expected 0 or more")
    dtype = mx.int32 if weights is None else weights.dtype
    if length is None:
        least, most = 0, -1
        if x.size:
            instead = "in a trace, length= gives the length of the result"
            least, most = (int(_value(f(x), "bincount", instead)) for f in (mx.min, mx.max))
        if least < 0:
            raise ValueError(f"bincount: expected numbers of 0 and more, got {least}")
        length = max(most + 1, minlength)
        return mx.zeros(length, dtype).at[x].add(1 if weights is None else weights)
    # What is out of range falls on an element more.
    inside = (x >= 0) & (x < length)
    counts = mx.zeros(length + 1, dtype)
    return counts.at[mx.where(inside, x, length)].add(1 if weights is None else weights)[:length]


def digitize(x: mx.array, /, bins: mx.array, right: bool = False) -> mx.array:
    """The number of the bin in which each element lies: bins[i - 1] <= x < bins[i].

    Args:
        x: numbers of any shape.
        bins: the limits, ascending or descending, shape (n,).
        right: a bin holds its upper limit instead of the lower one.

    Returns:
        Numbers from 0 (before all) to n, int32, in the shape of `x`.
    """
    if bins.ndim != 1:
        raise ValueError(f"digitize: expected bins of shape (n,), got {bins.shape}")
    if bins.size == 0:
        return mx.zeros(x.shape, mx.int32)
    dtype = mx.result_type(x, bins)
    x, bins = x.astype(dtype), bins.astype(dtype)
    side = "left" if right else "right"
    up = mx.searchsorted(bins, x, side=side).astype(mx.int32)
    down = bins.size - mx.searchsorted(bins[::-1], x, side=side).astype(mx.int32)
    return mx.where(bins[0] <= bins[-1], up, down)


def histogram_bin_edges(
    a: mx.array, /, bins: int | mx.array = 10, range: tuple[float, float] | None = None
) -> mx.array:
    """The limits of the bins of `histogram`, shape (bins + 1,)."""
    if isinstance(bins, mx.array):
        if bins.ndim != 1:
            raise ValueError(f"histogram: expected bins of shape (n,), got {bins.shape}")
        return bins
    if bins < 1:
        raise ValueError(f"histogram: {bins} bins, expected at least 1")
    dtype = a.dtype if mx.issubdtype(a.dtype, mx.floating) else mx.float32
    if range is not None:
        if len(range) != 2:
            raise ValueError(f"histogram: range has {len(range)} limits, expected 2")
        if not range[0] <= range[1]:
            raise ValueError(f"histogram: the range {range} is empty")
        low, high = (mx.array(limit, dtype) for limit in range)
    elif a.size == 0:
        low, high = mx.array(0, dtype), mx.array(1, dtype)
    else:
        low, high = mx.min(a).astype(dtype), mx.max(a).astype(dtype)
    apart = mx.where(low == high, 0.5, 0).astype(dtype)
    low, high = low - apart, high + apart
    part = mx.arange(bins + 1).astype(dtype) / bins
    return mx.where(part == 1, high, low + (high - low) * part)


def histogram(
    a: mx.array,
    /,
    bins: int | mx.array = 10,
    range: tuple[float, float] | None = None,
    density: bool = False,
    weights: mx.array | None = None,
) -> tuple[mx.array, mx.array]:
    """How many elements lie in each bin.

    Args:
        a: numbers of any shape.
        bins: their number, or their limits, ascending, shape (n + 1,).
        range: where the bins begin and end; by default at the smallest and largest element.
        density: give the density, whose integral is 1, instead of numbers.
        weights: what each element counts, in the shape of `a`.

    Returns:
        The numbers, shape (n,), and the limits of the bins, shape (n + 1,). The last bin holds its
        upper limit, too; what is in no bin is left out.
    """
    edges = histogram_bin_edges(a, bins, range)
    if weights is not None and weights.shape != a.shape:
        raise ValueError(f"histogram: weights of shape {weights.shape} for elements of {a.shape}")
    count = max(edges.size - 1, 0)
    dtype = mx.result_type(a, edges)
    flat, limits = a.reshape(-1).astype(dtype), edges.astype(dtype)
    bin = mx.searchsorted(limits, flat, side="right").astype(mx.int32) - 1
    bin = mx.where(flat == limits[-1], count - 1, bin)
    inside = (flat >= limits[0]) & (flat <= limits[-1])
    counts = mx.zeros(count + 1, mx.int32 if weights is None else weights.dtype)
    counts = counts.at[mx.where(inside, bin, count)].add(
        1 if weights is None else weights.reshape(-1)
    )[:count]
    if density:
        counts = counts / mx.sum(counts) / (edges[1:] - edges[:-1])
    return counts, edges


_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def quantile(
    a: mx.array,
    /,
    q: float | Sequence[float] | mx.array,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    method: str = "linear",
) -> mx.array:
    """The elements below which a part q of all lies, over axes.

    Args:
        a: real numbers; a nan makes its quantile one.
        q: parts between 0 and 1.
        axis: the axes to go over; all of them by default.
        keepdims: keep these axes, with extent 1.
        method: what a place between two elements stands for: "linear", "lower", "higher",
            "midpoint" or "nearest" (to even places).

    Returns:
        The shape of `q`, then that of `a` without the axes.
    """
    if method not in _METHODS:
        raise ValueError(f"quantile: method is {method!r}, expected one of {', '.join(_METHODS)}")
    if mx.issubdtype(a.dtype, mx.complexfloating):
        raise ValueError(f"quantile: {a.dtype} has no order, expected real numbers")
    if not mx.issubdtype(a.dtype, mx.floating):
        a = a.astype(mx.float32)
    given = range(a.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    axes = sorted({_axis(i, a.ndim) for i in given})
    kept = [i for i in range(a.ndim) if i not in axes]
    n = math.prod(a.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"quantile: no elements over axes {axes} of shape {a.shape}")
    rows = mx.sort(mx.transpose(a, [*kept, *axes]).reshape(*(a.shape[i] for i in kept), n), axis=-1)

    if not isinstance(q, mx.array):
        parts = [q] if isinstance(q, (int, float)) else list(q)
        if not all(0 <= part <= 1 for part in parts):
            raise ValueError(f"quantile: q is {q}, expected numbers between 0 and 1")
        shape: tuple[int, ...] = () if isinstance(q, (int, float)) else (len(parts),)
        places = [part * (n - 1) for part in parts]  # as Python's numbers, which lose no digits
        low = mx.array([math.floor(p) for p in places], mx.int32)
        rest = mx.array([p - math.floor(p) for p in places], a.dtype)
    else:
        shape, place = q.shape, q.reshape(-1).astype(mx.result_type(q, mx.float32)) * (n - 1)
        low = mx.clip(mx.floor(place), 0, n - 1).astype(mx.int32)
        rest = (place - low).astype(a.dtype)
    below, above = (mx.take(rows, i, axis=-1) for i in (low, mx.minimum(low + 1, n - 1)))
    if method == "lower":
        value = below
    elif method == "higher":
        value = mx.where(rest > 0, above, below)
    elif method == "midpoint":
        value = mx.where(rest > 0, 0.5 * (below + above), below)
    elif method == "nearest":
        value = mx.where((rest > 0.5) | ((rest == 0.5) & (low % 2 == 1)), above, below)
    else:
        value = mx.where(rest == 0, below, below + (above - below) * rest)
    value = mx.where(mx.isnan(rows[..., -1:]), mx.nan, value)  # they come last
    value = mx.moveaxis(value, -1, 0)
    left = [1 if i in axes else n for i, n in enumerate(a.shape)] if keepdims else value.shape[1:]
    return value.reshape(*shape, *left)


def percentile(
    a: mx.array,
    /,
    q: float | Sequence[float] | mx.array,
    axis: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    method: str = "linear",
) -> mx.array:
    """`quantile` of q hundredths."""
    if isinstance(q, (int, float, mx.array)):
        return quantile(a, q / 100, axis, keepdims, method=method)
    return quantile(a, [part / 100 for part in q], axis, keepdims, method=method)


def _axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise mx.AxisError(f"quantile: axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def cov(
    m: mx.array,
    /,
    y: mx.array | None = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
) -> mx.array:
    """The covariances of variables.

    Args:
        m: a variable in each row and an observation in each column, shape (n, k) or (k,).
        y: further variables of the same form.
        rowvar: False if the variables stand in columns.
        bias: divide by the number of observations k instead of by k - 1.
        ddof: divide by k - ddof, whatever `bias` says.

    Returns:
        Shape (n, n); () for one variable.
    """
    parts = [part for part in (m, y) if part is not None]
    if any(part.ndim > 2 for part in parts):
        raise ValueError(f"cov: expected 1 or 2 dimensions, got {[p.shape for p in parts]}")
    rows = [p.reshape(1, -1) if p.ndim < 2 else p if rowvar else p.T for p in parts]
    if len({row.shape[1] for row in rows}) > 1:
        raise ValueError(f"cov: numbers of observations differ in {[r.shape for r in rows]}")
    dtype = mx.result_type(*rows)
    dtype = dtype if mx.issubdtype(dtype, mx.inexact) else mx.float32
    x = mx.concatenate([row.astype(dtype) for row in rows])
    x = x - mx.mean(x, axis=1, keepdims=True)
    out = x @ mx.conj(x).T / (x.shape[1] - (int(not bias) if ddof is None else ddof))
    return out.reshape(()) if out.size == 1 else out


def corrcoef(x: mx.array, /, y: mx.array | None = None, rowvar: bool = True) -> mx.array:
    """The correlations of variables: `cov` by the deviations of both, in [-1, 1]."""
    c = cov(x, y, rowvar)
    if c.ndim == 0:
        return c / c
    deviation = mx.sqrt(mx.real(mx.diagonal(c)))
    out = c / deviation[:, None] / deviation
    return out if out.dtype == mx.complex64 else mx.clip(out, -1, 1)
