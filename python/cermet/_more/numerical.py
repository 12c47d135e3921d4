"""Interpolation, differences, cross products, one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import core as mx

__all__ = ["cross", "gradient", "interp", "one_hot"]

cross = mx.linalg.cross


def interp(
    x: mx.array,
    /,
    xp: mx.array,
    fp: mx.array,
    left: float | None = None,
    right: float | None = None,
    period: float | None = None,
) -> mx.array:
    """Linear interpolation between points.

    Args:
        x: where, any shape.
        xp: the places of the points, ascending unless there is a period, shape (n,).
        fp: their values, shape (n,).
        left, right: the values before the first and behind the last point; by default theirs.
        period: of the places.

    Returns:
        The shape of `x`.
    """
    if xp.ndim != 1 or xp.shape != fp.shape or xp.size == 0:
        raise ValueError(f"interp: points of shapes {xp.shape} and {fp.shape}, expected (n,)")
    dtype = mx.result_type(x, xp, fp, mx.float32)
    real = mx.result_type(x, xp, mx.float32)
    x, xp, fp = x.astype(real), xp.astype(real), fp.astype(dtype)
    if period is not None:
        if period == 0:
            raise ValueError("interp: the period is 0")
        period = abs(period)
        x, xp = x % period, xp % period
        order = mx.argsort(xp)
        xp, fp = xp[order], fp[order]
        xp = mx.concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = mx.concatenate([fp[-1:], fp, fp[:1]])
    n = xp.size
    above = mx.clip(mx.searchsorted(xp, x, side="right").astype(mx.int32), min(1, n - 1), n - 1)
    below = mx.maximum(above - 1, 0)
    start, width = xp[below], xp[above] - xp[below]
    part = mx.where(width > 0, (x - start) / mx.where(width > 0, width, 1), 0)
    value = mx.where(part == 0, fp[below], fp[below] + (fp[above] - fp[below]) * part)
    value = mx.where(x < xp[0], fp[0] if left is None else left, value)
    value = mx.where(x > xp[-1], fp[-1] if right is None else right, value)
    value = mx.where(x == xp[-1], fp[-1], value)
    return mx.where(mx.isnan(x), mx.nan, value)


def gradient(
    f: mx.array,
    /,
    *varargs: float | mx.array,
    axis: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> mx.array | list[mx.array]:
    """The slopes of values on a grid: central differences inside, one-sided ones at the ends.

    Args:
        f: values, at least `edge_order` + 1 along each axis.
        varargs: the distance of the points, one for all axes or one for each; or their places along
            an axis.
        axis: the axes to go along; all of them by default.
        edge_order: the order of accuracy at the ends, 1 or 2.

    Returns:
        An array in the shape of `f`; a list of them where there are several axes.
    """
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is {edge_order}, expected 1 or 2")
    axes = range(f.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    spacings: Sequence[Any] = varargs or (1.0,)
    if len(spacings) == 1 and getattr(spacings[0], "ndim", 0) == 0:
        spacings = tuple(spacings) * len(axes)
    if len(spacings) != len(axes):
        raise ValueError(f"gradient: {len(varargs)} distances for {len(axes)} axes")
    if not mx.issubdtype(f.dtype, mx.inexact):
        f = f.astype(mx.float32)
    out = [_slopes(f, h, a, edge_order) for h, a in zip(spacings, axes, strict=True)]
    return out[0] if len(out) == 1 and (axis is None or isinstance(axis, int)) else out


def _slopes(f: mx.array, h: Any, axis: int, edge_order: int) -> mx.array:
    if not -f.ndim <= axis < f.ndim:
        raise mx.AxisError(f"gradient: axis {axis} is out of range for {f.ndim} dimensions")
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ValueError(f"gradient: {n} values along axis {axis}, expected {edge_order + 1}")
    y = mx.moveaxis(f, axis, -1)
    if getattr(h, "ndim", 0) == 0:
        steps = mx.broadcast_to(mx.array(h).astype(f.dtype), (n - 1,))
    elif h.shape == (n,):
        steps = mx.diff(h.astype(mx.result_type(h, mx.float32)))
    else:
        raise ValueError(f"gradient: places of shape {h.shape} for {n} values along axis {axis}")
    slope = mx.diff(y) / steps
    # The slope at a point weighs those beside it by the other one's distance.
    a, b = steps[:-1], steps[1:]
    inner = (slope[..., :-1] * b + slope[..., 1:] * a) / (a + b)
    if edge_order == 1:
        first, last = slope[..., :1], slope[..., -1:]
    else:
        first = slope[..., :1] + (slope[..., :1] - slope[..., 1:2]) * (
            steps[0] / (steps[0] + steps[1])
        )
        last = slope[..., -1:] + (slope[..., -1:] - slope[..., -2:-1]) * (
            steps[-1] / (steps[-1] + steps[-2])
        )
    return mx.moveaxis(mx.concatenate([first, inner, last], axis=-1), -1, axis)


def one_hot(
    x: mx.array, /, num_classes: int, dtype: mx.Dtype = mx.float32, axis: int = -1
) -> mx.array:
    """Rows of zeros with a one at the place that x names; of zeros alone where there is none.

    Args:
        x: integers of any shape.
        num_classes: the length of a row.
        dtype: the type of the result.
        axis: where the rows' axis stands in the result.
    """
    if not mx.issubdtype(x.dtype, mx.integer):
        raise ValueError(f"one_hot: expected integers, not {x.dtype}")
    if num_classes < 0:
        raise ValueError(f"one_hot: {num_classes} classes, expected 0 or more")
    rows = (x[..., None] == mx.arange(num_classes)).astype(dtype)
    return rows if axis in (-1, x.ndim) else mx.moveaxis(rows, -1, axis)
