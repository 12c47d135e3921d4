"""Searching, sorting, taking and sets. Indices and counts are int32, or int64 if need be."""

from typing import Any, NamedTuple

from .. import core as mx
from ._types import index_type

__all__ = [
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "isin",
    "nonzero",
    "searchsorted",
    "sort",
    "take",
    "take_along_axis",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "where",
]

Axes = int | tuple[int, ...]


def argmax(x: mx.array, /, *, axis: int | None = None, keepdims: bool = False) -> mx.array:
    """The place of the largest element."""
    return extreme(mx.argmax, x, axis, keepdims)


def argmin(x: mx.array, /, *, axis: int | None = None, keepdims: bool = False) -> mx.array:
    """The place of the smallest element."""
    return extreme(mx.argmin, x, axis, keepdims)


def extreme(function: Any, x: mx.array, axis: int | None, keepdims: bool) -> mx.array:
    return function(x, axis=axis, keepdims=keepdims).astype(index_type(x.size))


def count_nonzero(x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False) -> mx.array:
    """The number of elements that are not zero."""
    return mx.sum((x != 0).astype(index_type(x.size)), axis=axis, keepdims=keepdims)


def nonzero(x: mx.array, /) -> tuple[mx.array, ...]:
    """The places of the elements that are not zero: an array for each axis. Evaluates x."""
    return mx.nonzero(x)


def searchsorted(
    x1: mx.array, x2: Any, /, *, side: str = "left", sorter: mx.array | None = None
) -> mx.array:
    """Where x2 would be inserted into x1, which is sorted, or by `sorter`."""
    if not isinstance(x2, mx.array):
        x2 = mx.array(x2, x1.dtype)
    if sorter is not None:
        x1 = mx.take(x1, sorter)
    dtype = mx.result_type(x1, x2)
    places = mx.searchsorted(x1.astype(dtype), x2.astype(dtype), side=side)
    return places.astype(index_type(x1.size))


def where(condition: mx.array, x1: Any, x2: Any, /) -> mx.array:
    """The elements of x1 where the condition is true, else those of x2."""
    return mx.where(condition, x1, x2)


def take(x: mx.array, indices: mx.array, /, *, axis: int | None = None) -> mx.array:
    """The parts at indices along an axis, which arrays of one axis may leave out."""
    if axis is None and x.ndim != 1:
        raise ValueError(f"take: an axis is needed for an array of shape {x.shape}")
    return mx.take(x, indices, axis=axis or 0)


def take_along_axis(x: mx.array, indices: mx.array, /, *, axis: int = -1) -> mx.array:
    """The elements at indices along an axis; the other axes of both broadcast."""
    return mx.take_along_axis(x, indices, axis=axis)


def argsort(
    x: mx.array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> mx.array:
    """The places that sort the elements along an axis; equal ones keep their order."""
    index = index_type(x.size)
    if not descending:
        return mx.argsort(x, axis=axis).astype(index)
    # Turned around twice, so that equal elements keep their order.
    order = mx.argsort(mx.flip(x, axis), axis=axis)
    return x.shape[axis] - 1 - mx.flip(order, axis).astype(index)


def sort(
    x: mx.array, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> mx.array:
    """The elements along an axis, sorted."""
    out = mx.sort(x, axis=axis)
    return mx.flip(out, axis) if descending else out


# ---- Sets ----


class UniqueAll(NamedTuple):
    values: mx.array
    indices: mx.array
    inverse_indices: mx.array
    counts: mx.array


class UniqueCounts(NamedTuple):
    values: mx.array
    counts: mx.array


class UniqueInverse(NamedTuple):
    values: mx.array
    inverse_indices: mx.array


def order_of(x: mx.array) -> mx.array:
    """The places that sort a vector; complex numbers by real part, then imaginary."""
    if x.dtype != mx.complex64:
        return mx.argsort(x)
    order = mx.argsort(mx.imag(x))
    return order[mx.argsort(mx.real(x)[order])]


def unique_all(x: mx.array, /) -> UniqueAll:
    """The distinct elements, sorted; where each stands first, which each is, and how many are.

    Every nan is an element of its own. Evaluates x.
    """
    flat = x.reshape(-1)
    order = order_of(flat)
    ordered = flat[order]
    begins = mx.concatenate([mx.ones(min(flat.size, 1), mx.bool_), ordered[1:] != ordered[:-1]])
    (starts,) = mx.nonzero(begins)
    ends = mx.concatenate([starts[1:], mx.full(min(starts.size, 1), flat.size, starts.dtype)])
    inverse = mx.zeros(flat.size, starts.dtype)
    if flat.size:
        inverse[order] = mx.cumsum(begins.astype(starts.dtype)) - 1
    return UniqueAll(
        ordered[starts],
        order[starts].astype(index_type(x.size)),
        inverse.reshape(x.shape),
        ends - starts,
    )


def unique_counts(x: mx.array, /) -> UniqueCounts:
    """The distinct elements, sorted, and how many of each there are."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: mx.array, /) -> UniqueInverse:
    """The distinct elements, sorted, and for each element of x the place of its equal."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: mx.array, /) -> mx.array:
    """The distinct elements, sorted."""
    return unique_all(x).values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> mx.array:
    """Whether each element of x1 is one of x2's."""
    if not isinstance(x1, mx.array):
        x1 = mx.array(x1, x2.dtype)
    elif not isinstance(x2, mx.array):
        x2 = mx.array(x2, x1.dtype)
    dtype = mx.result_type(x1, x2)
    x1, members = x1.astype(dtype), mx.sort(x2.astype(dtype).reshape(-1))
    if members.size == 0:
        return mx.full(x1.shape, invert)
    near = mx.minimum(mx.searchsorted(members, x1), members.size - 1)
    return (members[near] == x1) != invert
