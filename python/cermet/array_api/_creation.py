"""Making arrays from shapes, numbers and other libraries' arrays."""

from collections.abc import Sequence
from typing import Any

from .. import core as mx
from ._types import DTYPES, SCALARS, astype

__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

Shape = int | Sequence[int]


def foreign_dtype(x: Any) -> mx.Dtype | None:
    """The type of another library's array: `cermet.core` alone takes doubles for float32."""
    if hasattr(x, "dtype"):
        return DTYPES.get(str(x.dtype).rpartition(".")[2])
    try:
        return mx.float64 if memoryview(x).format == "d" else None
    except TypeError:
        return None


def placed(x: mx.array, device: Any) -> mx.array:
    return x if device is None else x.to_device(device)


def asarray(
    obj: Any, /, *, dtype: mx.Dtype | None = None, device: Any = None, copy: bool | None = None
) -> mx.array:
    """An array of a scalar, nested sequences, or an array of any library."""
    if isinstance(obj, mx.array):
        if dtype is not None and dtype != obj.dtype:
            if copy is False:
                raise ValueError(f"asarray: {obj.dtype} as {dtype} needs a copy")
            return astype(obj, dtype, device=device)
        return placed(mx.array(obj) if copy else obj, device)
    if isinstance(obj, (*SCALARS, list, tuple)):
        if copy is False:
            raise ValueError("asarray: scalars and sequences are always copied")
        return placed(mx.array(obj, dtype), device)
    dtype = foreign_dtype(obj) if dtype is None else dtype
    return placed(mx.asarray(obj, dtype, copy=copy is not False), device)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> mx.array:
    """An array of another library's, through DLPack."""
    if isinstance(x, mx.array):
        return placed(mx.array(x), device)
    return placed(mx.asarray(x, foreign_dtype(x), copy=copy is not False), device)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: mx.Dtype | None = None,
    device: Any = None,
) -> mx.array:
    """The numbers start, start + step, ... before stop."""
    start, stop = (0, start) if stop is None else (start, stop)
    return mx.arange(start, stop, step, dtype, stream=device)


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: mx.Dtype | None = None,
    device: Any = None,
    endpoint: bool = True,
) -> mx.array:
    """`num` numbers in equal steps from start to stop, which counts if `endpoint`."""
    if isinstance(start, complex) or isinstance(stop, complex):
        a, b = complex(start), complex(stop)
        parts = (
            mx.linspace(x, y, num, endpoint, stream=device)
            for x, y in ((a.real, b.real), (a.imag, b.imag))
        )
        return next(parts) + 1j * next(parts)
    return mx.linspace(start, stop, num, endpoint, dtype or mx.float32, stream=device)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: mx.Dtype | None = None,
    device: Any = None,
) -> mx.array:
    """Shape (n_rows, n_cols) with ones on diagonal k and zeros elsewhere."""
    k = min(max(k, -n_rows), n_rows if n_cols is None else n_cols)  # which may be any integer
    return mx.eye(n_rows, n_cols, k, dtype or mx.float32, stream=device)


def full(
    shape: Shape, fill_value: complex, *, dtype: mx.Dtype | None = None, device: Any = None
) -> mx.array:
    """An array filled with a value."""
    return mx.full(shape, fill_value, dtype, stream=device)


def full_like(
    x: mx.array, /, fill_value: complex, *, dtype: mx.Dtype | None = None, device: Any = None
) -> mx.array:
    """An array of x's shape filled with a value."""
    return mx.full(x.shape, fill_value, dtype or x.dtype, stream=device or x.device)


def zeros(shape: Shape, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array of zeros."""
    return mx.zeros(shape, dtype or mx.float32, stream=device)


def zeros_like(x: mx.array, /, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array of zeros in x's shape."""
    return mx.zeros(x.shape, dtype or x.dtype, stream=device or x.device)


def ones(shape: Shape, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array of ones."""
    return mx.ones(shape, dtype or mx.float32, stream=device)


def ones_like(x: mx.array, /, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array of ones in x's shape."""
    return mx.ones(x.shape, dtype or x.dtype, stream=device or x.device)


def empty(shape: Shape, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array for values to come: zeros."""
    return zeros(shape, dtype=dtype, device=device)


def empty_like(x: mx.array, /, *, dtype: mx.Dtype | None = None, device: Any = None) -> mx.array:
    """An array for values to come, in x's shape: zeros."""
    return zeros_like(x, dtype=dtype, device=device)


def meshgrid(*arrays: mx.array, indexing: str = "xy") -> tuple[mx.array, ...]:
    """Coordinate grids of 1-d arrays."""
    return mx.meshgrid(*arrays, indexing=indexing)


def tril(x: mx.array, /, *, k: int = 0) -> mx.array:
    """The last two axes with zeros above diagonal k."""
    return mx.tril(x, min(max(k, -x.shape[-2]), x.shape[-1]))


def triu(x: mx.array, /, *, k: int = 0) -> mx.array:
    """The last two axes with zeros below diagonal k."""
    return mx.triu(x, min(max(k, -x.shape[-2]), x.shape[-1]))
