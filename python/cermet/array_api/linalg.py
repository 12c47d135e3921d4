"""The standard's extension for linear algebra."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from .. import core as mx
from ._statistics import summed

Axes = int | tuple[int, ...]


class EigenResult(NamedTuple):
    eigenvalues: mx.array
    eigenvectors: mx.array


class QRResult(NamedTuple):
    Q: mx.array
    R: mx.array


class SlogdetResult(NamedTuple):
    sign: mx.array
    logabsdet: mx.array


class SVDResult(NamedTuple):
    U: mx.array
    S: mx.array
    Vh: mx.array


def matmul(x1: mx.array, x2: mx.array, /) -> mx.array:
    """The product of two matrices, also of integers."""
    dtype = mx.result_type(x1, x2)
    if x1.ndim == 0 or x2.ndim == 0 or mx.issubdtype(dtype, mx.inexact):
        return mx.matmul(x1, x2)
    a = x1[None] if x1.ndim == 1 else x1
    b = x2[:, None] if x2.ndim == 1 else x2
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {x1.shape} and {x2.shape} do not fit")
    out = mx.sum(a[..., None].astype(dtype) * b[..., None, :, :].astype(dtype), axis=-2)
    out = out[..., 0, :] if x1.ndim == 1 else out
    return (out[..., 0] if x2.ndim == 1 else out).astype(dtype)


def matrix_transpose(x: mx.array, /) -> mx.array:
    """The last two axes exchanged."""
    return mx.matrix_transpose(x)


def tensordot(
    x1: mx.array, x2: mx.array, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> mx.array:
    """The sum of products over pairs of axes."""
    dtype = mx.result_type(x1, x2)
    if mx.issubdtype(dtype, mx.inexact):
        return mx.tensordot(x1, x2, axes if isinstance(axes, int) else [list(a) for a in axes])
    pairs = (range(-axes, 0), range(axes)) if isinstance(axes, int) else axes
    left, right = ([i % x.ndim for i in own] for x, own in zip((x1, x2), pairs, strict=True))
    rest = [[i for i in range(x.ndim) if i not in own] for x, own in ((x1, left), (x2, right))]
    shape = [x.shape[i] for x, own in zip((x1, x2), rest, strict=True) for i in own]
    if [x1.shape[i] for i in left] != [x2.shape[i] for i in right]:
        raise ValueError(f"tensordot: axes {axes} of shapes {x1.shape} and {x2.shape} differ")
    n = math.prod(x1.shape[i] for i in left)
    rows = math.prod(x1.shape[i] for i in rest[0])
    columns = math.prod(x2.shape[i] for i in rest[1])
    a = mx.transpose(x1, [*rest[0], *left]).reshape(rows, n)
    b = mx.transpose(x2, [*right, *rest[1]]).reshape(n, columns)
    return matmul(a, b).reshape(shape)


def vecdot(x1: mx.array, x2: mx.array, /, *, axis: int = -1) -> mx.array:
    """The sum of products over an axis, of the conjugate of x1."""
    return mx.vecdot(x1, x2, axis=axis).astype(mx.result_type(x1, x2))


def outer(x1: mx.array, x2: mx.array, /) -> mx.array:
    """The products of all pairs of elements of two vectors."""
    return mx.outer(x1, x2)


def cross(x1: mx.array, x2: mx.array, /, *, axis: int = -1) -> mx.array:
    """The cross product of vectors of three elements along an axis."""
    for x in (x1, x2):
        if not -x.ndim <= axis < x.ndim:
            raise mx.AxisError(f"cross: axis {axis} is out of range for {x.ndim} dimensions")
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(f"cross: axis {axis} of {x1.shape} and {x2.shape} has no extent of 3")
    x1, x2 = mx.broadcast_arrays(x1, x2)
    return mx.linalg.cross(x1, x2, axis=axis)


def diagonal(x: mx.array, /, *, offset: int = 0) -> mx.array:
    """A diagonal of the matrices in the last two axes."""
    return mx.diagonal(x, offset, -2, -1)


def trace(x: mx.array, /, *, offset: int = 0, dtype: mx.Dtype | None = None) -> mx.array:
    """The sum of a diagonal."""
    dtype = dtype or summed(x.dtype)
    return mx.sum(diagonal(x, offset=offset).astype(dtype), axis=-1).astype(dtype)


def cholesky(x: mx.array, /, *, upper: bool = False) -> mx.array:
    """The triangular factor of positive definite matrices."""
    return mx.linalg.cholesky(x, upper=upper)


def det(x: mx.array, /) -> mx.array:
    """The determinants."""
    return mx.linalg.det(x)


def slogdet(x: mx.array, /) -> SlogdetResult:
    """The signs of the determinants, and the logarithms of their magnitudes."""
    return SlogdetResult(*mx.linalg.slogdet(x))


def eig(x: mx.array, /) -> EigenResult:
    """Eigenvalues and eigenvectors."""
    return EigenResult(*mx.linalg.eig(x))


def eigvals(x: mx.array, /) -> mx.array:
    """Eigenvalues."""
    return mx.linalg.eigvals(x)


def eigh(x: mx.array, /) -> EigenResult:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices."""
    return EigenResult(*mx.linalg.eigh(x))


def eigvalsh(x: mx.array, /) -> mx.array:
    """Eigenvalues, ascending, of symmetric matrices."""
    return mx.linalg.eigvalsh(x)


def inv(x: mx.array, /) -> mx.array:
    """The inverses."""
    return mx.linalg.inv(x)


def solve(x1: mx.array, x2: mx.array, /) -> mx.array:
    """The solutions of x1 @ x = x2."""
    return mx.linalg.solve(x1, x2)


def qr(x: mx.array, /, *, mode: str = "reduced") -> QRResult:
    """The factors of x = Q @ R, Q with orthonormal columns, R upper triangular."""
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode is 'reduced' or 'complete', not {mode!r}")
    rows, columns = x.shape[-2:]
    if mode == "reduced" or rows <= columns:
        return QRResult(*mx.linalg.qr(x))
    # More columns, which complete the basis.
    wide = mx.concatenate(
        [x, mx.broadcast_to(mx.eye(rows, dtype=x.dtype), (*x.shape[:-1], rows))], axis=-1
    )
    q, r = mx.linalg.qr(wide)
    return QRResult(q, r[..., :columns])


def svd(x: mx.array, /, *, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition x = U @ diag(S) @ Vh."""
    u, s, vh = mx.linalg.svd(x)
    k = s.shape[-1]
    return SVDResult(u, s, vh) if full_matrices else SVDResult(u[..., :k], s, vh[..., :k, :])


def svdvals(x: mx.array, /) -> mx.array:
    """The singular values, descending."""
    return mx.linalg.svd(x, compute_uv=False)  # type: ignore[return-value]


def _tolerance(x: mx.array, s: mx.array, rtol: Any) -> mx.array:
    """What is below it counts as zero, of singular values."""
    if rtol is None:
        rtol = max(x.shape[-2:]) * mx.finfo(x.dtype).eps
    if not isinstance(rtol, mx.array):
        rtol = mx.array(rtol, s.dtype)
    return mx.max(s, axis=-1, keepdims=True) * rtol[..., None]


def matrix_rank(x: mx.array, /, *, rtol: float | mx.array | None = None) -> mx.array:
    """The number of singular values above `rtol` times the largest."""
    s = svdvals(x)
    if s.shape[-1] == 0:
        return mx.zeros(s.shape[:-1], mx.int32)
    return mx.sum(s > _tolerance(x, s, rtol), axis=-1).astype(mx.int32)


def pinv(x: mx.array, /, *, rtol: float | mx.array | None = None) -> mx.array:
    """The pseudo-inverses."""
    u, s, vh = svd(x, full_matrices=False)
    if s.shape[-1] == 0:
        return mx.zeros((*x.shape[:-2], x.shape[-1], x.shape[-2]), x.dtype)
    keeps = s > _tolerance(x, s, rtol)
    inverse = mx.where(keeps, 1 / mx.where(keeps, s, 1), 0)
    return mx.conj(vh).mT @ (inverse[..., None] * mx.conj(u).mT)


def matrix_power(x: mx.array, n: int, /) -> mx.array:
    """The product of n equal matrices; of the inverses for a negative n."""
    return mx.linalg.matrix_power(x, n)


def matrix_norm(x: mx.array, /, *, keepdims: bool = False, ord: Any = "fro") -> mx.array:
    """The norms of the matrices in the last two axes."""
    if ord == "fro":
        return mx.sqrt(mx.sum(mx.square(mx.abs(x)), axis=(-2, -1), keepdims=keepdims))
    if ord in (2, -2, "nuc"):
        s = svdvals(x)
        reduce = mx.sum if ord == "nuc" else mx.max if ord == 2 else mx.min
        out = reduce(s, axis=-1)
        return out[..., None, None] if keepdims else out
    if ord not in (1, -1, mx.inf, -mx.inf):
        raise ValueError(f"matrix_norm: no norm of order {ord!r}")
    sums = mx.sum(mx.abs(x), axis=-2 if ord in (1, -1) else -1, keepdims=True)
    return (mx.max if ord > 0 else mx.min)(sums, axis=(-2, -1), keepdims=keepdims)


def vector_norm(
    x: mx.array, /, *, axis: Axes | None = None, keepdims: bool = False, ord: float = 2
) -> mx.array:
    """The norms of vectors along axes, or of all elements."""
    size = mx.abs(x)
    if ord == mx.inf:
        return mx.max(size, axis=axis, keepdims=keepdims)
    if ord == -mx.inf:
        return mx.min(size, axis=axis, keepdims=keepdims)
    if ord == 0:
        return mx.sum((size != 0).astype(size.dtype), axis=axis, keepdims=keepdims)
    if ord == 1:
        return mx.sum(size, axis=axis, keepdims=keepdims)
    if ord == 2:
        return mx.sqrt(mx.sum(mx.square(size), axis=axis, keepdims=keepdims))
    return mx.power(mx.sum(mx.power(size, ord), axis=axis, keepdims=keepdims), 1 / ord)
