"""Derivatives of every operation: jvp against differences, and vjp as the transpose of jvp.

A row is a function, the intervals its inputs are drawn from and their shapes. Complex inputs have
imaginary parts from the same intervals. The transpose is that of the map between real and imaginary
parts: Re <w, jvp(v)> = Re <vjp(w), v>.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

import cermet.core as mx

WIDE, ABOVE, UNIT = (-2, 2), (0.3, 2), (-0.9, 0.9)


class Row(NamedTuple):
    """A function whose derivatives are checked."""

    function: Callable
    intervals: tuple = (WIDE,)
    shapes: tuple = ((3, 4),)
    kinds: str = "fc"  # float64, complex64


def unary(interval=WIDE, kinds="fc"):
    return interval, kinds


# Elementwise operations by name, with the interval where they are smooth and the kinds they take.
UNARY = {
    **dict.fromkeys(["negative", "square", "conjugate", "exp", "sin", "cos"], unary()),
    **dict.fromkeys(["real", "imag", "expm1", "sigmoid", "silu", "sinh", "cosh"], unary()),
    **dict.fromkeys(["abs", "sign", "sqrt", "rsqrt", "reciprocal", "log"], unary(ABOVE)),
    **dict.fromkeys(["log2", "log10", "log1p"], unary(ABOVE)),
    **dict.fromkeys(["arctan", "arcsinh", "tan", "tanh"], unary(UNIT)),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], unary(UNIT)),
    "arccosh": unary((1.2, 3)),
    "erf": unary(kinds="f"),
    "erfinv": unary(UNIT, "f"),
}
BINARY = {
    **dict.fromkeys(["add", "subtract", "multiply"], (WIDE, WIDE, "fc")),
    "divide": (WIDE, ABOVE, "fc"),
    "power": (ABOVE, WIDE, "fc"),
    "remainder": ((5.1, 5.9), (2.1, 2.4), "f"),
    **dict.fromkeys(["maximum", "minimum"], (WIDE, WIDE, "f")),
    "logaddexp": (WIDE, WIDE, "fc"),
    "arctan2": (ABOVE, WIDE, "f"),
}
# Of these the derivative is zero, or there is none.
FLAT = {"floor", "ceil", "trunc", "rint", "floor_divide", "isnan", "isinf", "isfinite"}
FLAT |= {"logical_not", "logical_and", "logical_or", "logical_xor", "left_shift", "right_shift"}
FLAT |= {"bitwise_invert", "bitwise_and", "bitwise_or", "bitwise_xor"}
FLAT |= {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}

INDEX = mx.array([2, 0, 2])
MASK = mx.array([True, False, True, True])
VECTOR, MATRIX = (4,), (3, 4)


def scan(name, reverse, inclusive):
    # The first result of an exclusive scan is a constant, perhaps an infinite one.
    part = slice(
        0 if inclusive or reverse else 1,
        4 if inclusive or not reverse else 3,
    )
    function = getattr(mx, name)
    return Row(
        lambda x: function(x, axis=1, reverse=reverse, inclusive=inclusive)[:, part],
        kinds="fc" if name in ("cumsum", "cumprod") else "f",
    )


def scans(name):
    options = [(r, i) for r in (False, True) for i in (False, True)]
    return {f"{name} {r} {i}": scan(name, r, i) for r, i in options}


def update(mode, place, kinds):
    return Row(lambda x, u: getattr(x.at[place], mode)(u), (ABOVE, ABOVE), (MATRIX, (2, 4)), kinds)


def updates(mode, kinds):
    places = {"rows": mx.array([2, 0]), "a row twice": mx.array([1, 1]), "a slice": slice(0, 3, 2)}
    return {f"at {name} {mode}": update(mode, place, kinds) for name, place in places.items()}


def overwrite(x):
    y = x * x
    y[1] = x[0] * y[2]
    y[:, ::2] = x[:, 1::2]
    return y


ROWS = {
    **{name: Row(getattr(mx, name), (i,), kinds=k) for name, (i, k) in UNARY.items()},
    **{
        name: Row(getattr(mx, name), (i, j), (MATRIX, MATRIX), k)
        for name, (i, j, k) in BINARY.items()
    },
    **{
        f"{name} broadcast": Row(getattr(mx, name), (i, j), ((3, 1), VECTOR), k)
        for name, (i, j, k) in BINARY.items()
    },
    "where": Row(lambda x, y: mx.where(MASK, x, y), (WIDE, WIDE), (MATRIX, VECTOR)),
    "clip": Row(lambda x: mx.clip(x, -1, 1), kinds="f"),
    "degrees": Row(mx.degrees, kinds="f"),
    "nan_to_num": Row(mx.nan_to_num),
    "astype": Row(lambda x: x.astype(mx.complex64) * (2 + 1j), kinds="c"),
    "real of complex": Row(lambda x: mx.real(x * x) + mx.imag(x), kinds="c"),
    "complex of real": Row(lambda x: x.astype(mx.float32) * mx.array(1 - 2j), kinds="c"),
    "divmod": Row(lambda x: mx.divmod(x, 0.75)[1], ((0.1, 0.7),), kinds="f"),
    # Reductions
    "sum": Row(lambda x: x.sum(axis=0)),
    "mean": Row(lambda x: x.mean(axis=1, keepdims=True)),
    "prod": Row(lambda x: x.prod(axis=1)),
    "prod of all": Row(lambda x: x.prod(), (UNIT,)),
    "prod with a zero": Row(lambda x: (x * mx.array([1, 0, 1, 1])).prod(axis=1)),
    "prod with zeros": Row(lambda x: (x * mx.array([1, 0, 0, 1])).prod(axis=1)),
    "max": Row(lambda x: x.max(axis=0), kinds="f"),
    "min": Row(lambda x: x.min(axis=1), kinds="f"),
    "var": Row(lambda x: x.var(axis=1)),
    "std": Row(lambda x: x.std(axis=1, ddof=1)),
    "median": Row(lambda x: mx.median(x, axis=1), kinds="f"),
    "logsumexp": Row(lambda x: mx.logsumexp(x, axis=1), kinds="f"),
    "softmax": Row(lambda x: mx.softmax(x, axis=0), kinds="f"),
    "norm": Row(lambda x: mx.linalg.norm(x, axis=1)),
    "norm 3": Row(lambda x: mx.linalg.norm(x, 3, axis=1)),
    "norm inf": Row(lambda x: mx.linalg.norm(x, float("inf"), axis=1), kinds="f"),
    "norm fro": Row(lambda x: mx.linalg.norm(x, "fro")),
    # Scans and order
    **scans("cumsum"),
    **scans("cumprod"),
    **scans("cummax"),
    **scans("cummin"),
    **scans("logcumsumexp"),
    "cumprod with zeros": Row(lambda x: mx.cumprod(x * mx.array([1, 0, 1, 0]), axis=1)),
    "sort": Row(lambda x: mx.sort(x, axis=0), kinds="f"),
    "partition": Row(lambda x: mx.sort(mx.partition(x, 1, axis=1), axis=1), kinds="f"),
    "topk": Row(lambda x: mx.sort(mx.topk(x, 2, axis=1), axis=1), kinds="f"),
    "diff": Row(lambda x: mx.diff(x, 2)),
    # Movement
    "broadcast_to": Row(lambda x: mx.broadcast_to(x, (2, 3, 4))),
    "reshape": Row(lambda x: x.reshape(2, 6)),
    "transpose": Row(lambda x: x.T),
    "slice": Row(lambda x: x[::-2, 1:]),
    "slices": Row(lambda x: x[0] * x[1] + x[1] * x[2]),
    "slice at": Row(lambda x: mx.slice(x, mx.array([1]), [0], (2, 4))),
    "as_strided": Row(lambda x: mx.as_strided(x, (3, 3), (2, 1), 1)),
    "contiguous": Row(lambda x: mx.contiguous(x.T)),
    "pad": Row(lambda x: mx.pad(x, 1)),
    "pad edge": Row(lambda x: mx.pad(x, 2, mode="edge")),
    "concatenate": Row(lambda x, y: mx.concatenate([x, y, x]), (WIDE, WIDE), (MATRIX, MATRIX)),
    "stack": Row(lambda x, y: mx.stack([x, y], axis=1), (WIDE, WIDE), (MATRIX, MATRIX)),
    "split": Row(lambda x: mx.split(x, 2, axis=1)[1] * mx.split(x, 2, axis=1)[0]),
    "roll": Row(lambda x: mx.roll(x, 1, axis=1)),
    "repeat and tile": Row(lambda x: mx.repeat(mx.tile(x, (1, 2)), 2, axis=0)),
    "diagonal": Row(lambda x: mx.diagonal(x) * mx.trace(x)),
    "tril": Row(mx.tril),
    "depends": Row(lambda x, y: mx.depends(x, y), (WIDE, WIDE), (MATRIX, MATRIX)),
    # Indexing
    "take": Row(lambda x: x[INDEX] * mx.take(x, INDEX, axis=1)[:, :1]),
    "gather": Row(lambda x: x[INDEX, mx.array([0, 1, 0])]),
    "take_along_axis": Row(lambda x: mx.take_along_axis(x, mx.array([[0], [3], [3]]), axis=1)),
    "put_along_axis": Row(
        lambda x, u: mx.put_along_axis(x, mx.array([[0], [3], [3]]), u, axis=1),
        (WIDE, WIDE),
        (MATRIX, (3, 1)),
    ),
    "slice_update": Row(
        lambda x, u: mx.slice_update(x, u, mx.array([1]), [0]), (WIDE, WIDE), (MATRIX, (1, 4))
    ),
    "set": Row(
        lambda x, u: mx.slice_update(x, u, mx.array([0, 1]), [0, 1]), (WIDE, WIDE), (MATRIX, (2, 2))
    ),
    "overwrite": Row(overwrite),
    **updates("add", "fc"),
    **updates("subtract", "fc"),
    **updates("multiply", "fc"),
    **updates("minimum", "f"),
    **updates("maximum", "f"),
    # Fourier transforms
    "fft": Row(lambda x: mx.fft.fft(x, 6), kinds="c"),
    "ifft": Row(lambda x: mx.fft.ifft(x, axis=0, norm="ortho"), kinds="c"),
    "rfft": Row(lambda x: mx.fft.rfft(mx.real(x), 3) * mx.fft.rfft(mx.imag(x), 3), kinds="c"),
    "irfft": Row(mx.fft.irfft, kinds="c"),
    "irfft odd": Row(lambda x: mx.fft.irfft(x, 5, axis=0, norm="forward"), kinds="c"),
    "rfft2": Row(lambda x: mx.fft.rfft2(mx.real(x)), kinds="c"),
    "irfftn": Row(lambda x: mx.fft.irfftn(x, (4, 5), (1, 0)), kinds="c"),
    "stft": Row(lambda x: mx.fft.stft(mx.real(x), 4, window=mx.arange(1, 5)), kinds="c"),
    "istft": Row(lambda x: mx.fft.istft(x, hop_length=2), kinds="c"),
    # Products
    "matmul": Row(lambda x, y: x @ y, (WIDE, WIDE), (MATRIX, (4, 2))),
    "matmul of batches": Row(lambda x, y: x @ y, (WIDE, WIDE), ((2, 1, 3, 4), (2, 4, 2))),
    "matmul of vectors": Row(lambda x, y: x @ y, (WIDE, WIDE), (VECTOR, VECTOR)),
    "matmul transposed": Row(lambda x, y: x.T @ y.T, (WIDE, WIDE), (MATRIX, (2, 3))),
    "addmm": Row(
        lambda c, x, y: mx.addmm(c, x, y, 2, 3), (WIDE,) * 3, (VECTOR, (3, 2), (2, 4)), "f"
    ),
    "einsum": Row(lambda x, y: mx.einsum("ij,kj->ki", x, y), (WIDE, WIDE), (MATRIX, MATRIX)),
    "outer, inner, kron": Row(
        lambda x, y: mx.kron(mx.outer(x, y), mx.inner(x, y)), (WIDE, WIDE), (VECTOR, VECTOR)
    ),
    "conv1d": Row(
        lambda x, w: mx.conv1d(x, w, stride=2, padding=1), (WIDE, WIDE), ((2, 7, 3), (4, 3, 3)), "f"
    ),
    "conv_transpose1d": Row(
        lambda x, w: mx.conv_transpose1d(x, w, stride=2), (WIDE, WIDE), ((2, 4, 3), (4, 3, 3)), "f"
    ),
    "gather_mm": Row(
        lambda x, w: mx.gather_mm(x, w, rhs_indices=mx.array([1, 0, 1])),
        (WIDE, WIDE),
        ((3, 2, 4), (2, 4, 2)),
        "f",
    ),
    "hadamard_transform": Row(lambda x: mx.hadamard_transform(x), kinds="f"),
    # Kernels by name
    "rms_norm": Row(lambda x, w: mx.fast.rms_norm(x, w, 1e-5), (WIDE, WIDE), (MATRIX, VECTOR), "f"),
    "layer_norm": Row(
        lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5),
        (WIDE,) * 3,
        (MATRIX, VECTOR, VECTOR),
        "f",
    ),
    "rope": Row(
        lambda x: mx.fast.rope(x, 4, traditional=False, base=100.0, scale=1.0, offset=1),
        shapes=((1, 3, 4),),
        kinds="f",
    ),
    "attention": Row(
        lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=0.5, mask="causal"),
        (WIDE,) * 3,
        ((1, 2, 3, 4), (1, 1, 3, 4), (1, 1, 3, 4)),
        "f",
    ),
    "cross_entropy": Row(lambda x: mx.fast.cross_entropy(x, INDEX), kinds="f"),
}


def inner(a, b):
    return float(np.real(np.vdot(np.array(a), np.array(b))))


@pytest.mark.parametrize("name, kind", [(n, k) for n, row in ROWS.items() for k in row.kinds])
def test_derivatives(name, kind, rng):
    row = ROWS[name]
    dtype = mx.float64 if kind == "f" else mx.complex64

    def draw(interval, shape):
        x = rng.uniform(*interval, shape)
        return mx.array(x + 1j * rng.uniform(*interval, shape) if kind == "c" else x, dtype=dtype)

    x = [draw(*pair) for pair in zip(row.intervals, row.shapes, strict=True)]
    v = [draw((-1, 1), shape) for shape in row.shapes]
    outputs, (pushed,) = mx.jvp(lambda *a: row.function(*a), x, v)
    out = outputs[0]
    assert pushed.shape == out.shape and pushed.dtype == out.dtype

    step = 1e-6 if kind == "f" else 2e-3
    ahead, behind = (
        np.array(row.function(*(a + sign * step * t for a, t in zip(x, v, strict=True))))
        for sign in (1, -1)
    )
    slope, tolerance = (ahead - behind) / (2 * step), 1e-7 if kind == "f" else 5e-3
    size = np.abs(slope).max() + np.abs(ahead).max()
    np.testing.assert_allclose(pushed, slope, atol=tolerance * size)

    w = rng.normal(size=out.shape) + (1j * rng.normal(size=out.shape) if out.dtype == dtype else 0)
    w = mx.array(w.real if out.dtype != mx.complex64 else w, dtype=out.dtype)
    _, pulled = mx.vjp(lambda *a: row.function(*a), x, [w])
    assert [(g.shape, g.dtype) for g in pulled] == [(a.shape, a.dtype) for a in x]
    forward = inner(w, pushed)
    backward = sum(inner(g, t) for g, t in zip(pulled, v, strict=True))
    scale = 1 + np.sqrt(inner(w, w) * inner(pushed, pushed))
    assert abs(forward - backward) <= (1e-12 if kind == "f" else 1e-5) * scale


@pytest.mark.parametrize("name", [n for n, row in ROWS.items() if "f" in row.kinds])
def test_second_derivatives(name, rng):
    """Of a gradient along a direction, forwards and backwards; and a batch of gradients."""
    row = ROWS[name]
    draw = lambda interval, shape: mx.array(rng.uniform(*interval, shape), mx.float64)  # noqa: E731
    x = [draw(*pair) for pair in zip(row.intervals, row.shapes, strict=True)]
    v = [draw((-1, 1), shape) for shape in row.shapes]
    out = row.function(*x)
    w = mx.array(rng.normal(size=out.shape), out.dtype)

    def gradient(*a):
        loss = lambda *a: (mx.square(row.function(*a)) * w).sum()  # noqa: E731
        return mx.vjp(loss, a, [mx.array(1, w.dtype)])[1]

    def along(*a):
        return sum((g * t).sum() for g, t in zip(gradient(*a), v, strict=True))

    def moved(step):
        return [np.array(g) for g in gradient(*(a + step * t for a, t in zip(x, v, strict=True)))]

    step = 1e-5
    ahead, behind = moved(step), moved(-step)
    forward = mx.jvp(lambda *a: gradient(*a), x, v)[1]
    backward = mx.vjp(along, x, [mx.array(1, mx.float64)])[1]
    batch = mx.vmap(gradient)(*(mx.stack([a * 0.99, a]) for a in x))
    for i, want in enumerate(moved(0)):
        slope = (ahead[i] - behind[i]) / (2 * step)
        atol = 1e-5 * (1 + np.abs(slope).max())
        np.testing.assert_allclose(forward[i], slope, atol=atol)
        np.testing.assert_allclose(backward[i], slope, atol=atol)
        np.testing.assert_allclose(batch[i][1], want, atol=1e-12 * (1 + np.abs(want).max()))


def test_integers():
    """They have tangents, in their type or as floats; an index has none."""
    x, t = mx.array([1, 2, 3]), mx.array([4, 5, 6])
    for f, want in [(mx.sum, 15), (mx.mean, 5), (mx.max, 6), (mx.prod, 51)]:
        outputs, (tangent,) = mx.jvp(f, [x], [t])
        assert tangent.item() == want and tangent.dtype == outputs[0].dtype
    assert mx.jvp(mx.sum, [x], [t / 8])[1][0].item() == 1.875
    assert mx.vjp(mx.square, [x], [mx.ones(3, mx.int32)])[1][0].tolist() == [2, 4, 6]
    assert mx.jvp(lambda i: mx.arange(4.0)[i], [x], [t])[1][0].tolist() == [0, 0, 0]
    assert mx.vjp(lambda i: mx.arange(4.0)[i], [x], [mx.ones(3)])[1][0].tolist() == [0, 0, 0]


def test_lengths_of_zero():
    zero = mx.zeros(3)
    assert mx.grad(mx.linalg.norm)(zero).tolist() == [0, 0, 0]
    assert mx.grad(lambda x: mx.linalg.norm(x, 3))(zero).tolist() == [0, 0, 0]
    assert mx.grad(mx.std)(zero).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", sorted(FLAT))
def test_operations_without_a_derivative_have_zeros(name):
    integers = name.startswith("bitwise") or name.endswith("shift")
    x = mx.array([3, 5]) if integers else mx.array([0.4, 1.6])
    function = getattr(mx, name)
    arity = next(op["arity"] for op in mx._operations() if op["name"] == name)
    primals = [x] * arity
    outputs, (pushed,) = mx.jvp(lambda *a: function(*a), primals, [mx.ones_like(x)] * arity)
    assert not pushed.any().item() and pushed.dtype == outputs[0].dtype
    _, pulled = mx.vjp(lambda *a: function(*a), primals, [mx.ones_like(outputs[0])])
    assert not any(g.any().item() for g in pulled)


def test_table_covers_every_operation():
    names = {op["name"] for op in mx._operations()}
    assert names <= set(UNARY) | set(BINARY) | FLAT | {"select"}
