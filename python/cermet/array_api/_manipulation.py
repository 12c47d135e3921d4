"""Shapes: joining, moving and repeating."""

from collections.abc import Sequence

from .. import core as mx

__all__ = [
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "concat",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "tile",
    "unstack",
]

Axes = int | tuple[int, ...]
Arrays = Sequence[mx.array]


def broadcast_arrays(*arrays: mx.array) -> tuple[mx.array, ...]:
    """The arrays broadcast to one shape."""
    return tuple(mx.broadcast_arrays(*arrays))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that arrays of these shapes broadcast to."""
    return tuple(mx.broadcast_shapes((), *shapes))


def broadcast_to(x: mx.array, /, shape: tuple[int, ...]) -> mx.array:
    """The array repeated along axes of extent 1, up to a shape."""
    return mx.broadcast_to(x, shape)


def concat(arrays: Arrays, /, *, axis: int | None = 0) -> mx.array:
    """The arrays joined along an axis; flattened first where it is None."""
    dtype = mx.result_type(*arrays)
    return mx.concatenate([a.astype(dtype) for a in arrays], axis=axis)


def stack(arrays: Arrays, /, *, axis: int = 0) -> mx.array:
    """The arrays joined along a new axis."""
    dtype = mx.result_type(*arrays)
    return mx.stack([a.astype(dtype) for a in arrays], axis=axis)


def unstack(x: mx.array, /, *, axis: int = 0) -> tuple[mx.array, ...]:
    """The parts along an axis."""
    return tuple(mx.unstack(x, axis=axis))


def expand_dims(x: mx.array, /, axis: Axes) -> mx.array:
    """The array with axes of extent 1."""
    return mx.expand_dims(x, axis)


def squeeze(x: mx.array, /, axis: Axes) -> mx.array:
    """The array without axes of extent 1."""
    return mx.squeeze(x, axis)


def flip(x: mx.array, /, *, axis: Axes | None = None) -> mx.array:
    """The elements in reverse along axes, or along all."""
    return x if x.ndim == 0 else mx.flip(x, axis)


def moveaxis(x: mx.array, source: Axes, destination: Axes, /) -> mx.array:
    """The array with axes at other places; the others keep their order."""
    if isinstance(source, int) and isinstance(destination, int):
        return mx.moveaxis(x, source, destination)
    if isinstance(source, int) or isinstance(destination, int) or len(source) != len(destination):
        raise ValueError(f"moveaxis: sources {source} and destinations {destination} differ")
    moved = dict(zip((place(d, x.ndim) for d in destination),
                     (place(s, x.ndim) for s in source), strict=True))  # fmt: skip
    if len(moved) != len(source) or len(set(moved.values())) != len(source):
        raise ValueError(f"moveaxis: an axis stands twice in {source} or {destination}")
    rest = iter(i for i in range(x.ndim) if i not in moved.values())
    return mx.transpose(x, [moved[i] if i in moved else next(rest) for i in range(x.ndim)])


def place(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise mx.AxisError(f"axis {axis} is out of range for {ndim} dimensions")
    return axis % ndim


def permute_dims(x: mx.array, /, axes: tuple[int, ...]) -> mx.array:
    """The array with its axes in another order."""
    return mx.transpose(x, axes)


def repeat(x: mx.array, repeats: int | mx.array, /, *, axis: int | None = None) -> mx.array:
    """Each element several times; where the numbers are an array, it is evaluated."""
    if axis is None:
        x, axis = x.reshape(-1), 0
    if isinstance(repeats, int):
        return mx.repeat(x, repeats, axis)
    axis = place(axis, x.ndim)
    ends = mx.cumsum(mx.broadcast_to(repeats.astype(mx.int64), (x.shape[axis],)))
    total = int(ends[-1]) if x.shape[axis] else 0
    return mx.take(x, mx.searchsorted(ends, mx.arange(total), side="right"), axis=axis)


def reshape(x: mx.array, /, shape: tuple[int, ...], *, copy: bool | None = None) -> mx.array:
    """The elements in row-major order in another shape."""
    return mx.reshape(x, shape)


def roll(x: mx.array, /, shift: Axes, *, axis: Axes | None = None) -> mx.array:
    """The elements moved along axes, around the ends."""
    if axis is not None and not isinstance(axis, int) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return mx.roll(x, shift, axis)


def tile(x: mx.array, repetitions: tuple[int, ...], /) -> mx.array:
    """The array several times along each axis."""
    return mx.tile(x, repetitions)
