"""Types of elements: promotion, limits, casts, and what the namespace says of itself."""

import builtins
from typing import Any

from .. import core as mx

__all__ = [
    "__array_namespace_info__",
    "astype",
    "bool",
    "can_cast",
    "complex64",
    "finfo",
    "float32",
    "float64",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "isdtype",
    "result_type",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

bool = mx.bool_
int8, int16, int32, int64 = mx.int8, mx.int16, mx.int32, mx.int64
uint8, uint16, uint32, uint64 = mx.uint8, mx.uint16, mx.uint32, mx.uint64
float32, float64, complex64 = mx.float32, mx.float64, mx.complex64

# The standard's types; float16 and bfloat16 have no name in it.
DTYPES: dict[str, mx.Dtype] = {
    "bool": bool,
    "int8": int8,
    "int16": int16,
    "int32": int32,
    "int64": int64,
    "uint8": uint8,
    "uint16": uint16,
    "uint32": uint32,
    "uint64": uint64,
    "float32": float32,
    "float64": float64,
    "complex64": complex64,
}
SCALARS = (builtins.bool, int, float, complex)
INDEX = int32  # of results that are indices or counts


def index_type(n: int) -> mx.Dtype:
    """The type of indices into `n` elements, and of their counts."""
    return INDEX if n < 2**31 else int64


def dtype_of(x: Any) -> mx.Dtype:
    return x.dtype if isinstance(x, mx.array) else x


def astype(
    x: mx.array, dtype: mx.Dtype, /, *, copy: builtins.bool = True, device: Any = None
) -> mx.array:
    """The array with elements of another type; complex ones do not become real ones."""
    if mx.isdtype(x.dtype, "complex floating") and not mx.isdtype(dtype, "complex floating"):
        raise TypeError(f"astype: {x.dtype} does not become {dtype}; use real or imag")
    if x.dtype != dtype:
        x = mx.astype(x, dtype, stream=device)
    elif copy:
        x = mx.array(x)
    return x if device is None else x.to_device(device)


def can_cast(from_: mx.Dtype | mx.array, to: mx.Dtype, /) -> builtins.bool:
    """Whether promotion turns the first type into the second."""
    return mx.can_cast(from_, to)


def finfo(type: mx.Dtype | mx.array, /) -> mx.finfo:
    """Limits of a floating type."""
    return mx.finfo(dtype_of(type))


def iinfo(type: mx.Dtype | mx.array, /) -> mx.iinfo:
    """Limits of an integer type."""
    return mx.iinfo(dtype_of(type))


def isdtype(dtype: mx.Dtype, kind: mx.Dtype | str | tuple[mx.Dtype | str, ...]) -> builtins.bool:
    """Whether a type is of a kind, such as ``"integral"``, or is the type given."""
    return mx.isdtype(dtype, kind)


def result_type(*arrays_and_dtypes: Any) -> mx.Dtype:
    """The type that arrays, types and Python scalars promote to; scalars are weak."""
    strong = [x for x in arrays_and_dtypes if not isinstance(x, SCALARS)]
    if not strong:
        raise ValueError("result_type: expected an array or a dtype")
    found = mx.result_type(*strong)
    for x in arrays_and_dtypes:
        if isinstance(x, SCALARS):
            found = (mx.zeros((), found) + x).dtype
    return found


class Info:
    """Facts of the namespace: what it can do, its devices and types."""

    def capabilities(self) -> dict[str, Any]:
        """What the namespace can do."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> mx.Device:
        """Where arrays are computed unless told."""
        return mx.default_device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, mx.Dtype]:
        """The types of what is given none."""
        return {
            "real floating": float32,
            "complex floating": complex64,
            "integral": int32,
            "indexing": INDEX,
        }

    def devices(self) -> tuple[mx.Device, ...]:
        """The devices of this machine."""
        return mx.__array_namespace_info__().devices()

    def dtypes(
        self, *, device: Any = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, mx.Dtype]:
        """The standard's types by name, all or those of a kind."""
        return {n: t for n, t in DTYPES.items() if kind is None or mx.isdtype(t, kind)}


def __array_namespace_info__() -> Info:  # noqa: N807
    """Facts of this namespace."""
    return Info()
