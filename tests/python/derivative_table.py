"""Functions with sample arguments, by public name, to be differentiated and mapped.

A row is a function, what its inputs are drawn from and their shapes. Its key begins with the name
that it is for, as in `cermet.core`: "sum", "fft.rfft", "nn.gelu"; further words say which case.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import cermet.core as mx
from cermet import nn

WIDE, ABOVE, UNIT = (-2, 2), (0.3, 2), (-0.9, 0.9)
VECTOR, MATRIX, SQUARE = (4,), (3, 4), (4, 4)


class Row(NamedTuple):
    """A function and its sample arguments.

    An interval draws floats, or complex numbers whose parts lie in it; a range draws integers and
    `bool` booleans, which are mapped and not differentiated.
    """

    function: Callable
    inputs: tuple = (WIDE,)
    shapes: tuple = (MATRIX,)
    kinds: str = "fc"  # of the floats: f for float64, s for float32, c for complex64

    def differentiated(self) -> list[int]:
        """Which inputs are."""
        return [i for i, source in enumerate(self.inputs) if isinstance(source, tuple)]


def two(function, kinds="fc", shapes=(MATRIX, MATRIX), inputs=(WIDE, WIDE)):
    return Row(function, inputs, shapes, kinds)


# Elementwise operations by name, with the interval where they are smooth and the kinds they take.


def unary(interval=WIDE, kinds="fc"):
    return interval, kinds


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

INDEX = mx.array([2, 0, 2])
MASK = mx.array([True, False, True, True])


def scan(name, reverse, inclusive):
    # The first result of an exclusive scan is a constant, perhaps an infinite one.
    part = slice(
        0 if inclusive or reverse else 1,
        4 if inclusive or not reverse else 3,
    )
    function = getattr(mx, name)
    return Row(
        lambda x: function(x, axis=1, reverse=reverse, inclusive=inclusive)[:, part],
        kinds="f" if name in ("cummax", "cummin") else "fc",
    )


def scans(name):
    options = [(r, i) for r in (False, True) for i in (False, True)]
    return {f"{name} {r} {i}": scan(name, r, i) for r, i in options}


def update(mode, place, kinds):
    return Row(lambda x, u: getattr(x.at[place], mode)(u), (ABOVE, ABOVE), (MATRIX, (2, 4)), kinds)


def updates(mode, kinds):
    places = {"rows": mx.array([2, 0]), "a row twice": mx.array([1, 1]), "a slice": slice(0, 3, 2)}
    return {f"array.at {name} {mode}": update(mode, p, kinds) for name, p in places.items()}


def overwrite(x):
    y = x * x
    y[1] = x[0] * y[2]
    y[:, ::2] = x[:, 1::2]
    return y


def overwrite_at(x, i, u):
    y = x * x
    y[i] = u
    return y * x


def counted(x):
    return mx.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, mx.sin(c[1]) * x), (0, x))[1]


ELEMENTWISE = {
    **{name: Row(getattr(mx, name), (i,), kinds=k) for name, (i, k) in UNARY.items()},
    **{name: two(getattr(mx, name), k, inputs=(i, j)) for name, (i, j, k) in BINARY.items()},
    **{
        f"{name} broadcast": two(getattr(mx, name), k, ((3, 1), VECTOR), (i, j))
        for name, (i, j, k) in BINARY.items()
    },
    "positive": Row(mx.positive),
    "where": Row(mx.where, (bool, WIDE, WIDE), (VECTOR, MATRIX, VECTOR)),
    "clip": Row(lambda x: mx.clip(x, -1, 1), kinds="f"),
    "clip arrays": Row(mx.clip, (WIDE, (-1, -0.5), (0.5, 1)), (MATRIX, VECTOR, (3, 1)), "f"),
    "degrees": Row(mx.degrees, kinds="f"),
    "radians": Row(mx.radians, kinds="f"),
    "nan_to_num": Row(mx.nan_to_num),
    "astype": Row(lambda x: x.astype(mx.complex64) * (2 + 1j), kinds="c"),
    "astype half": Row(lambda x: x.astype(mx.float32).astype(mx.float64), kinds="s"),
    "real of a complex number": Row(lambda x: mx.real(x * x) + mx.imag(x), kinds="c"),
    "multiply by a complex number": Row(
        lambda x: x.astype(mx.float32) * mx.array(1 - 2j), kinds="c"
    ),
    "divmod": Row(lambda x, y: mx.divmod(x, y)[1], ((5.1, 5.9), (2.1, 2.4)), (MATRIX, VECTOR), "f"),
    "view": Row(lambda x: x.view(mx.float32), kinds="c"),
    "erfc": Row(mx.erfc, kinds="f"),
    "lgamma": Row(mx.lgamma, ((0.3, 5),), kinds="f"),
    "lgamma below 0": Row(mx.lgamma, ((-2.8, -2.2),), kinds="f"),
    "digamma": Row(mx.digamma, ((0.3, 5),), kinds="f"),
    "digamma below 0": Row(mx.digamma, ((-2.8, -2.2),), kinds="f"),
}


def without_nans(name, kinds):
    function = getattr(mx, name)
    return Row(lambda x: function(mx.where(MASK, x, math.nan), axis=1), kinds=kinds)


REDUCTIONS = {
    "sum": Row(lambda x: x.sum(axis=0)),
    "mean": Row(lambda x: x.mean(axis=1, keepdims=True)),
    "prod": Row(lambda x: x.prod(axis=1)),
    "prod of all": Row(lambda x: x.prod(), (UNIT,)),
    "prod with a zero": Row(lambda x: (x * mx.array([1, 0, 1, 1])).prod(axis=1)),
    "prod with zeros": Row(lambda x: (x * mx.array([1, 0, 0, 1])).prod(axis=1)),
    "max": Row(lambda x: x.max(axis=0), kinds="f"),
    "min": Row(lambda x: x.min(axis=1), kinds="f"),
    "minmax": Row(lambda x: mx.minmax(x, axis=1), kinds="f"),
    "var": Row(lambda x: x.var(axis=1)),
    "std": Row(lambda x: x.std(axis=1, ddof=1)),
    "median": Row(lambda x: mx.median(x, axis=1), kinds="f"),
    "median of all": Row(mx.median, kinds="f"),
    "quantile": Row(lambda x: mx.quantile(x, mx.array([0.2, 0.7]), axis=1), kinds="f"),
    "percentile": Row(lambda x: mx.percentile(x, 30.0), kinds="f"),
    "logsumexp": Row(lambda x: mx.logsumexp(x, axis=1)),
    "softmax": Row(lambda x: mx.softmax(x, axis=0)),
    "softmax precise": Row(lambda x: mx.softmax(x, axis=-1, precise=True), kinds="f"),
    **{f"nan{name}": without_nans(f"nan{name}", "fc") for name in ("sum", "prod", "mean")},
    **{f"nan{name}": without_nans(f"nan{name}", "f") for name in ("var", "std", "max", "min")},
    "cov": Row(mx.cov),
    "cov of two": two(lambda x, y: mx.cov(x, y, rowvar=False)),
    "corrcoef": Row(mx.corrcoef),
    "histogram_bin_edges": Row(lambda x: mx.histogram_bin_edges(x, 3), kinds="f"),
    "histogram": Row(
        lambda w: mx.histogram(mx.arange(4.0), 3, weights=w)[0], shapes=(VECTOR,), kinds="f"
    ),
    "bincount": Row(
        lambda w, i: mx.bincount(i, w, length=3), (WIDE, range(3)), (VECTOR, VECTOR), "f"
    ),
}

ORDER = {
    **scans("cumsum"),
    **scans("cumprod"),
    **scans("cummax"),
    **scans("cummin"),
    **scans("logcumsumexp"),
    "cumprod with zeros": Row(lambda x: mx.cumprod(x * mx.array([1, 0, 1, 0]), axis=1)),
    "sort": Row(lambda x: mx.sort(x, axis=0)),
    "partition": Row(lambda x: mx.sort(mx.partition(x, 1, axis=1), axis=1), kinds="f"),
    "topk": Row(lambda x: mx.sort(mx.topk(x, 2, axis=1), axis=1), kinds="f"),
    "unique": Row(lambda x: mx.unique(x, 12), kinds="f"),
    "diff": Row(lambda x: mx.diff(x, 2)),
    "gradient": Row(lambda x: mx.gradient(x, edge_order=2)),
    "gradient of places": Row(
        lambda f, x: mx.gradient(f, mx.cumsum(x, 0), axis=1), (WIDE, ABOVE), (MATRIX, VECTOR), "f"
    ),
    "interp": Row(
        lambda x, xp, fp: mx.interp(x, mx.cumsum(xp, 0), fp),
        ((1, 2), (0.5, 0.7), WIDE),
        ((3,), VECTOR, VECTOR),
        "f",
    ),
}

MOVEMENT = {
    "broadcast_to": Row(lambda x: mx.broadcast_to(x, (2, 3, 4))),
    "broadcast_arrays": two(mx.broadcast_arrays, shapes=((3, 1), VECTOR)),
    "reshape": Row(lambda x: x.reshape(2, 6)),
    "flatten": Row(mx.flatten),
    "unflatten": Row(lambda x: mx.unflatten(x, 1, (2, 2))),
    "squeeze": Row(lambda x: mx.squeeze(x, 1), shapes=((3, 1, 4),)),
    "expand_dims": Row(lambda x: mx.expand_dims(x, (0, 2))),
    "atleast_1d": Row(mx.atleast_1d, shapes=((),)),
    "atleast_2d": Row(mx.atleast_2d, shapes=(VECTOR,)),
    "atleast_3d": Row(mx.atleast_3d, shapes=(VECTOR,)),
    "transpose": Row(lambda x: x.T),
    "permute_dims": Row(lambda x: mx.permute_dims(x, (2, 0, 1)), shapes=((2, 3, 4),)),
    "matrix_transpose": Row(mx.matrix_transpose),
    "swapaxes": Row(lambda x: mx.swapaxes(x, 0, 2), shapes=((2, 3, 4),)),
    "moveaxis": Row(lambda x: mx.moveaxis(x, 0, 2), shapes=((2, 3, 4),)),
    "flip": Row(lambda x: mx.flip(x, 1)),
    "array.__getitem__ slice": Row(lambda x: x[::-2, 1:]),
    "array.__getitem__ rows": Row(lambda x: x[0] * x[1] + x[1] * x[2]),
    "slice": Row(lambda x, i: mx.slice(x, i, [0], (2, 4)), (WIDE, range(2)), (MATRIX, (1,))),
    "as_strided": Row(lambda x: mx.as_strided(x, (3, 3), (2, 1), 1)),
    "contiguous": Row(lambda x: mx.contiguous(x.T)),
    "pad": Row(lambda x: mx.pad(x, 1)),
    "pad value": two(lambda x, v: mx.pad(x, 1, constant_values=v), shapes=(MATRIX, ())),
    "pad edge": Row(lambda x: mx.pad(x, 2, mode="edge")),
    "concatenate": two(lambda x, y: mx.concatenate([x, y, x])),
    "concat": two(lambda x, y: mx.concat([x, y], axis=1)),
    "stack": two(lambda x, y: mx.stack([x, y], axis=1)),
    "unstack": Row(lambda x: mx.unstack(x, axis=1)),
    "split": Row(lambda x: mx.split(x, 2, axis=1)),
    "split of itself": Row(lambda x: mx.split(x, 2, axis=1)[1] * mx.split(x, 2, axis=1)[0]),
    "roll": Row(lambda x: mx.roll(x, 1, axis=1)),
    "repeat": Row(lambda x: mx.repeat(x, 2, axis=0)),
    "tile": Row(lambda x: mx.tile(x, (1, 2))),
    "meshgrid": two(mx.meshgrid, shapes=(VECTOR, (3,))),
    "diag": Row(mx.diag, shapes=(VECTOR,)),
    "diag of a matrix": Row(lambda x: mx.diag(x, 1)),
    "diagonal": Row(mx.diagonal),
    "trace": Row(mx.trace),
    "tril": Row(mx.tril),
    "triu": Row(lambda x: mx.triu(x, 1)),
    "full": Row(lambda x: mx.full((3, 4), x), shapes=(VECTOR,)),
    "full_like": two(lambda x, v: mx.full_like(x, v), shapes=(MATRIX, VECTOR)),
    "asarray": Row(mx.asarray),
    "depends": two(lambda x, y: mx.depends(x, y)),
}

INDEXING = {
    "take": Row(lambda x, i: mx.take(x, i, axis=1), (WIDE, range(4)), (MATRIX, (3,))),
    "take of all": Row(lambda x, i: mx.take(x, i), (WIDE, range(12)), (MATRIX, (2, 2))),
    "array.__getitem__": Row(
        lambda x, i, j: x[i, j], (WIDE, range(3), range(4)), (MATRIX, (3, 1), (2,))
    ),
    "array.__getitem__ by an array": Row(lambda x: x[INDEX] * mx.take(x, INDEX, axis=1)[:, :1]),
    "array.__getitem__ mask": Row(lambda x: x[:, MASK]),
    "take_along_axis": Row(
        lambda x, i: mx.take_along_axis(x, i, axis=1), (WIDE, range(4)), (MATRIX, (3, 2))
    ),
    "put_along_axis": Row(
        lambda x, i, u: mx.put_along_axis(x, i, u, axis=1),
        (WIDE, range(4), WIDE),
        (MATRIX, (3, 1), (3, 1)),
    ),
    "slice_update": Row(
        lambda x, u, i: mx.slice_update(x, u, i, [0]),
        (WIDE, WIDE, range(3)),
        (MATRIX, (1, 4), (1,)),
    ),
    "slice_update of two axes": two(
        lambda x, u: mx.slice_update(x, u, mx.array([0, 1]), [0, 1]), shapes=(MATRIX, (2, 2))
    ),
    "array.__setitem__": Row(overwrite),
    "array.__setitem__ by an array": Row(
        overwrite_at, (WIDE, range(3), WIDE), (MATRIX, (1,), (1, 4))
    ),
    **updates("add", "fc"),
    **updates("subtract", "fc"),
    **updates("multiply", "fc"),
    **updates("divide", "fc"),
    **updates("minimum", "f"),
    **updates("maximum", "f"),
}

FOURIER = {
    "fft.fft": Row(lambda x: mx.fft.fft(x, 6), kinds="cs"),
    "fft.ifft": Row(lambda x: mx.fft.ifft(x, axis=0, norm="ortho"), kinds="cs"),
    "fft.fft2": Row(mx.fft.fft2, kinds="cs"),
    "fft.ifft2": Row(mx.fft.ifft2, kinds="c"),
    "fft.fftn": Row(lambda x: mx.fft.fftn(x, (2, 5), (1, 0)), kinds="c"),
    "fft.ifftn": Row(lambda x: mx.fft.ifftn(x, norm="forward"), kinds="c"),
    "fft.rfft": Row(lambda x: mx.fft.rfft(x, 3), kinds="s"),
    "fft.rfft of parts": Row(
        lambda x: mx.fft.rfft(mx.real(x), 3) * mx.fft.rfft(mx.imag(x), 3), kinds="c"
    ),
    "fft.irfft": Row(mx.fft.irfft, kinds="c"),
    "fft.irfft odd": Row(lambda x: mx.fft.irfft(x, 5, axis=0, norm="forward"), kinds="c"),
    "fft.rfft2": Row(mx.fft.rfft2, kinds="s"),
    "fft.irfft2": Row(mx.fft.irfft2, kinds="c"),
    "fft.rfftn": Row(lambda x: mx.fft.rfftn(x, axes=(1, 0)), kinds="s"),
    "fft.irfftn": Row(lambda x: mx.fft.irfftn(x, (4, 5), (1, 0)), kinds="c"),
    "fft.fftshift": Row(mx.fft.fftshift),
    "fft.ifftshift": Row(lambda x: mx.fft.ifftshift(x, axes=0)),
    "fft.stft": Row(lambda x: mx.fft.stft(x, 4, window=mx.arange(1, 5)), kinds="s"),
    "fft.istft": Row(lambda x: mx.fft.istft(x, hop_length=2), kinds="c"),
}

# A matrix of scales, as products of 4 bits have them.
W = mx.quantize(mx.sin(mx.arange(4 * 32.0)).reshape(4, 32), 32, 4)
EXPERTS = mx.quantize(mx.sin(mx.arange(2 * 4 * 32.0)).reshape(2, 4, 32), 32, 4)
RAMP = mx.linspace(-1, 2, 32)  # no second edge of a group is as far from zero as the first
Q4 = {"group_size": 32, "bits": 4}
PRODUCTS = {
    "matmul": two(mx.matmul, shapes=(MATRIX, (4, 2))),
    "matmul of batches": two(mx.matmul, shapes=((2, 1, 3, 4), (2, 4, 2))),
    "matmul of vectors": two(mx.matmul, shapes=(VECTOR, VECTOR)),
    "matmul of a matrix and a vector": two(mx.matmul, shapes=(MATRIX, VECTOR)),
    "matmul transposed": two(lambda x, y: x.T @ y.T, shapes=(MATRIX, (2, 3))),
    "addmm": Row(
        lambda c, x, y: mx.addmm(c, x, y, 2, 3), (WIDE,) * 3, (VECTOR, (3, 2), (2, 4)), "fc"
    ),
    "einsum": two(lambda x, y: mx.einsum("ij,kj->ki", x, y)),
    "einsum of three": Row(
        lambda x, y, z: mx.einsum("ii,ij,k->jk", x, y, z), (WIDE,) * 3, (SQUARE, SQUARE, VECTOR)
    ),
    "inner": two(mx.inner, shapes=(MATRIX, (2, 4))),
    "outer": two(mx.outer, shapes=(VECTOR, (3,))),
    "vecdot": two(mx.vecdot),
    "tensordot": two(lambda x, y: mx.tensordot(x, y, 1), shapes=(MATRIX, (4, 2))),
    "kron": two(mx.kron, shapes=((2, 2), MATRIX)),
    "cross": two(mx.cross, shapes=((4, 3), (3,))),
    "conv1d": two(lambda x, w: mx.conv1d(x, w, stride=2, padding=1), "f", ((2, 7, 3), (4, 3, 3))),
    "conv2d": two(lambda x, w: mx.conv2d(x, w, 1, 1, groups=2), "f", ((1, 3, 4, 4), (2, 2, 3, 2))),
    "conv3d": two(mx.conv3d, "f", ((1, 3, 3, 2, 2), (2, 2, 2, 2, 2))),
    "conv_general": two(
        lambda x, w: mx.conv_general(x, w, 2, ([1], [0]), 2, 2, flip=True),
        "f",
        ((2, 4, 3), (2, 2, 3)),
    ),
    "conv_transpose1d": two(
        lambda x, w: mx.conv_transpose1d(x, w, stride=2), "f", ((2, 4, 3), (4, 3, 3))
    ),
    "conv_transpose2d": two(
        lambda x, w: mx.conv_transpose2d(x, w, 2, 1, output_padding=1),
        "f",
        ((1, 3, 2, 2), (2, 2, 3, 2)),
    ),
    "conv_transpose3d": two(mx.conv_transpose3d, "f", ((1, 2, 2, 2, 2), (2, 2, 1, 2, 2))),
    "convolve": two(mx.convolve, "f", ((5,), (3,))),
    "gather_mm": Row(
        lambda x, w, i: mx.gather_mm(x, w, rhs_indices=i),
        (WIDE, WIDE, range(2)),
        ((3, 2, 4), (2, 4, 2), (3,)),
        "f",
    ),
    "block_masked_mm": two(
        lambda x, y: mx.block_masked_mm(
            x, y, 32, mx.array([[True, False]]), mx.array([[True]]), mx.array([[True, True]])
        )[::8, ::16],
        "s",
        ((17, 8), (8, 40)),
    ),
    "segmented_mm": two(
        lambda x, y: mx.segmented_mm(x, y, mx.array([[0, 2], [1, 4]])), "f", (MATRIX, (4, 2))
    ),
    "hadamard_transform": Row(mx.hadamard_transform, kinds="f"),
    "quantized_matmul": Row(lambda x: mx.quantized_matmul(x, *W, **Q4), (UNIT,), ((2, 32),), "s"),
    "quantized_matmul not transposed": Row(
        lambda x: mx.quantized_matmul(x, *W, transpose=False, **Q4), (UNIT,), ((2, 4),), "s"
    ),
    "quantized_matmul scales": two(
        lambda s, b: mx.quantized_matmul(mx.ones((2, 32)), W[0], s, b, **Q4),
        "s",
        ((4, 1), (4, 1)),
        (UNIT, UNIT),
    ),
    "dequantize": two(
        lambda s, b: mx.dequantize(W[0], s, b, **Q4), "s", ((4, 1), (4, 1)), (UNIT, UNIT)
    ),
    "quantize": Row(lambda w: mx.quantize(0.1 * w + RAMP, 32, 4)[1:], shapes=((2, 32),), kinds="s"),
    "gather_qmm": Row(
        lambda x, i: mx.gather_qmm(x, *EXPERTS, rhs_indices=i, **Q4),
        (UNIT, range(2)),
        ((3, 1, 32), (3,)),
        "s",
    ),
}


def heads(length, n=2, dims=4):
    return (1, n, length, dims)


def attention(**options):
    return lambda q, k, v, **more: mx.fast.scaled_dot_product_attention(
        q, k, v, scale=0.5, **options, **more
    )


FAST = {
    "fast.rms_norm": two(lambda x, w: mx.fast.rms_norm(x, w, 1e-5), "f", (MATRIX, VECTOR)),
    "fast.rms_norm alone": Row(lambda x: mx.fast.rms_norm(x, None, 1e-5), kinds="f"),
    "fast.layer_norm": Row(
        lambda x, w, b: mx.fast.layer_norm(x, w, b, 1e-5),
        (WIDE,) * 3,
        (MATRIX, VECTOR, VECTOR),
        "f",
    ),
    "fast.rope": Row(
        lambda x: mx.fast.rope(x, 4, traditional=False, base=100.0, scale=1.0, offset=1),
        shapes=((1, 3, 4),),
        kinds="f",
    ),
    "fast.rope offsets": Row(
        lambda x, i: mx.fast.rope(x, 4, traditional=True, base=100.0, scale=1.0, offset=i),
        (WIDE, range(9)),
        ((2, 1, 3, 6), (2,)),
        "f",
    ),
    "fast.rope frequencies": two(
        lambda x, f: mx.fast.rope(x, 4, traditional=False, base=None, scale=1.0, offset=1, freqs=f),
        "s",  # angles are
        ((1, 3, 4), (2,)),
        (WIDE, ABOVE),
    ),
    "fast.scaled_dot_product_attention": Row(
        attention(mask="causal"), (WIDE,) * 3, (heads(3), heads(3, 1), heads(3, 1)), "f"
    ),
    "fast.scaled_dot_product_attention mask": Row(
        lambda q, k, v, m: attention()(q, k, v, mask=m),
        (WIDE, WIDE, WIDE, WIDE),
        (heads(2), heads(3), heads(3), (2, 3)),
        "f",
    ),
    "fast.scaled_dot_product_attention booleans": Row(
        lambda q, k, v, m: attention()(q, k, v, mask=m | (mx.arange(3) == 0)),
        (WIDE, WIDE, WIDE, bool),
        (heads(2), heads(3), heads(3), (2, 3)),
        "f",
    ),
    "fast.scaled_dot_product_attention sinks": Row(
        lambda q, k, v, s: attention()(q, k, v, sinks=s),
        (WIDE,) * 4,
        (heads(2), heads(3), heads(3), (2,)),
        "f",
    ),
    "fast.cross_entropy": Row(mx.fast.cross_entropy, (WIDE, range(4)), (MATRIX, (3,)), "f"),
    "fast.gated_delta_update": Row(
        mx.fast.gated_delta_update,
        (WIDE, UNIT, WIDE, (0.5, 1), UNIT, WIDE),
        (
            (1, 2, 1, 3),
            (1, 2, 1, 3),
            (1, 2, 2, 2),
            (1, 2, 2),
            (1, 2, 2),
            (1, 2, 2, 3),
        ),
        "f",
    ),
    "fast.max_pool": Row(
        lambda x: mx.fast.max_pool(x, (2, 2), (1, 2), (1, 0)), shapes=((1, 3, 4, 2),), kinds="f"
    ),
}

# Of parameters; the bits are the key's.
KEY = mx.random.key(3)
RANDOM = {
    "random.normal": two(
        lambda m, s: mx.random.normal(MATRIX, loc=m, scale=s, key=KEY), "s", (MATRIX, VECTOR)
    ),
    "random.uniform": two(
        lambda a, b: mx.random.uniform(a, b, MATRIX, key=KEY), "s", (MATRIX, VECTOR), (UNIT, (1, 2))
    ),
    "random.multivariate_normal": Row(
        lambda m: mx.random.multivariate_normal(m, mx.eye(3), (2,), key=KEY),
        shapes=((3,),),
        kinds="s",
    ),
    "random.truncated_normal": two(
        lambda a, b: mx.random.truncated_normal(a, b, VECTOR, key=KEY),
        "s",
        (VECTOR, VECTOR),
        ((-1, -0.5), (0.5, 1)),
    ),
    "random.exponential": Row(
        lambda s: mx.random.exponential(s, VECTOR, key=KEY), (ABOVE,), (VECTOR,), "s"
    ),
    "random.gamma": Row(
        lambda s: mx.random.gamma(1.5, s, VECTOR, key=KEY), (ABOVE,), (VECTOR,), "s"
    ),
    "random.choice": Row(lambda x: mx.random.choice(x, (2,), key=KEY), kinds="s"),
    "random.permutation": Row(lambda x: mx.random.permutation(x, key=KEY), kinds="s"),
}

TRANSFORMS = {
    "grad": Row(mx.grad(lambda x: (mx.sin(x) * x**2).sum()), kinds="f"),
    "value_and_grad": Row(mx.value_and_grad(lambda x: (mx.sin(x) * x**2).sum()), kinds="f"),
    "vjp": two(lambda x, w: mx.vjp(lambda x: mx.sin(x) * x[0], [x], [w])[1][0]),
    "jvp": two(lambda x, v: mx.jvp(lambda x: mx.sin(x) * x[0], [x], [v])[1][0]),
    "vmap": two(mx.vmap(lambda a, b: mx.cumsum(a * b), (1, 0)), shapes=(MATRIX, VECTOR)),
    "compile": two(mx.compile(lambda x, y: mx.softmax(x * y) * y), "f"),
    "checkpoint": two(mx.checkpoint(lambda x, y: mx.tanh(x * y) * y)),
    "custom_function": two(mx.custom_function(lambda x, y: mx.sin(x) * y)),
    "jacobian": Row(mx.jacobian(lambda x: mx.sin(x) * x[0]), shapes=(VECTOR,), kinds="f"),
    "hessian": Row(mx.hessian(lambda x: (mx.sin(x) * x[0] ** 2).sum()), shapes=((3,),), kinds="f"),
    "cond": Row(lambda p, x: mx.cond(p, mx.sin, mx.square, x), (bool, WIDE), ((), MATRIX), "fc"),
    "while_loop": Row(counted, (UNIT,)),
    "scan": two(
        lambda c, x: mx.scan(lambda c, x: (c * x + 1, mx.sin(c)), c, x), shapes=(VECTOR, MATRIX)
    ),
}

# Linear algebra: of matrices whose eigenvalues and singular values lie apart.
L = mx.linalg


def spread(function, shape=SQUARE, kinds="fc"):
    start = np.zeros(shape)
    np.fill_diagonal(start, 2 + 3 * np.arange(min(shape)))

    def of(x):
        return function(0.3 * x + mx.array(start, x.dtype))

    return Row(of, shapes=(shape,), kinds=kinds)


def hermitian(function):
    return spread(lambda a: function(a + mx.conj(a.T)))


def parts_of_svd(a):
    u, s, vt = L.svd(a)
    k = s.shape[-1]
    return mx.abs(u[..., :k]), s, (u[..., :k] * s[..., None, :] ** 2) @ vt[..., :k, :]


def with_vectors(function):
    """What does not depend on the vectors' phases."""

    def parts(a):
        values, vectors = function(a)
        return values, mx.abs(vectors)

    return parts


def shaped(name, function, kinds="fc"):
    shapes = {name: SQUARE, f"{name} tall": (4, 2), f"{name} wide": (2, 4)}
    return {key: spread(function, shape, kinds) for key, shape in shapes.items()}


LINALG = {
    "linalg.cholesky": hermitian(L.cholesky),
    "linalg.cholesky upper": hermitian(lambda a: L.cholesky(a, upper=True)),
    "linalg.cholesky_inv": spread(L.cholesky_inv),
    "linalg.cholesky_inv upper": spread(lambda a: L.cholesky_inv(a, upper=True)),
    "linalg.cross": two(L.cross, shapes=((4, 3), (4, 3))),
    "linalg.det": spread(L.det),
    "linalg.eig": spread(with_vectors(L.eig), kinds="sc"),
    "linalg.eigh": hermitian(with_vectors(L.eigh)),
    "linalg.eigh upper": hermitian(with_vectors(lambda a: L.eigh(a, "U"))),
    "linalg.eigvals": spread(L.eigvals, kinds="sc"),
    "linalg.eigvalsh": hermitian(L.eigvalsh),
    "linalg.eigvalsh upper": hermitian(lambda a: L.eigvalsh(a, "U")),
    "linalg.expm": spread(lambda a: L.expm(a / 4)),
    "linalg.inv": spread(L.inv),
    **shaped("linalg.lstsq", lambda a: L.lstsq(a, a[..., :2] ** 2)[0]),
    "linalg.lstsq residuals": spread(lambda a: L.lstsq(a, a * a, 1e-3)[1], (4, 2)),
    **shaped("linalg.lu", lambda a: L.lu(a)[1:]),
    **shaped("linalg.lu_factor", lambda a: L.lu_factor(a)[0]),
    "linalg.matrix_power": spread(lambda a: L.matrix_power(a / 4, 3)),
    "linalg.matrix_power below 0": spread(lambda a: L.matrix_power(a, -2)),
    "linalg.norm": Row(lambda x: L.norm(x, axis=1)),
    "linalg.norm 3": Row(lambda x: L.norm(x, 3, axis=1)),
    "linalg.norm inf": Row(lambda x: L.norm(x, math.inf, axis=1), kinds="f"),
    "linalg.norm fro": Row(lambda x: L.norm(x, "fro")),
    **shaped("linalg.norm 2", lambda a: L.norm(a, 2, axis=(-2, -1))),
    **shaped("linalg.norm nuc", lambda a: L.norm(a, "nuc", axis=(-2, -1))),
    **shaped("linalg.pinv", L.pinv),
    **shaped("linalg.qr", L.qr),
    "linalg.slogdet": spread(L.slogdet),
    "linalg.solve": spread(lambda a: L.solve(a, a[..., :2] ** 2)),
    "linalg.solve of a vector": spread(lambda a: L.solve(a, a[0] ** 2)),
    "linalg.solve_triangular": spread(lambda a: L.solve_triangular(a, a[..., :2] ** 2)),
    "linalg.solve_triangular upper": spread(
        lambda a: L.solve_triangular(a, a[..., :2] ** 2, upper=True)
    ),
    **shaped("linalg.svd", parts_of_svd),
    **shaped("linalg.svd values", lambda a: L.svd(a, compute_uv=False)),
    "linalg.tri_inv": spread(L.tri_inv),
    "linalg.tri_inv upper": spread(lambda a: L.tri_inv(a, upper=True)),
}

ROWS = {
    **ELEMENTWISE,
    **REDUCTIONS,
    **ORDER,
    **MOVEMENT,
    **INDEXING,
    **FOURIER,
    **PRODUCTS,
    **FAST,
    **RANDOM,
    **TRANSFORMS,
    **LINALG,
}

# Of these the derivative is zero; they are mapped.


def flat(function, inputs=(WIDE,), shapes=(MATRIX,)):
    return Row(function, inputs, shapes, "f")


def flats(names, *inputs):
    shapes = (MATRIX, VECTOR)[: len(inputs)]
    return {name: flat(getattr(mx, name), inputs, shapes) for name in names.split()}


INTEGERS = range(1, 9)
FLAT = {
    **flats("floor ceil trunc rint round isnan isinf isfinite isposinf isneginf", WIDE),
    **flats("logical_not argmin argmax all any count_nonzero", WIDE),
    **flats("argsort nanargmin nanargmax zeros_like ones_like empty_like stop_gradient", WIDE),
    **flats("logical_and logical_or logical_xor floor_divide", WIDE, ABOVE),
    **flats("equal not_equal less less_equal greater greater_equal", WIDE, WIDE),
    **flats("isclose allclose array_equal", WIDE, WIDE),
    **flats("bitwise_invert", INTEGERS),
    **flats("bitwise_and bitwise_or bitwise_xor left_shift right_shift", INTEGERS, INTEGERS),
    **flats("bitwise_left_shift bitwise_right_shift", INTEGERS, INTEGERS),
    "argmax axis": flat(lambda x: mx.argmax(x, axis=1)),
    "argpartition": flat(lambda x: mx.take_along_axis(x, mx.argpartition(x, 1), -1) > 0),
    "searchsorted": flat(
        lambda a, v: mx.searchsorted(mx.sort(a), v), (WIDE, WIDE), (VECTOR, MATRIX)
    ),
    "digitize": flat(lambda x, b: mx.digitize(x, mx.sort(b)), (WIDE, WIDE), (MATRIX, VECTOR)),
    "one_hot": flat(lambda i: mx.one_hot(i, 4), (range(4),), (VECTOR,)),
    "to_fp8": flat(lambda x: mx.from_fp8(mx.to_fp8(x), mx.float32)),
    "from_fp8": flat(lambda x: mx.from_fp8(x.astype(mx.uint8), mx.float32), (range(120),)),
    "nn.step": flat(lambda x: nn.step(x, 0.3)),
    "random.poisson": flat(lambda a: mx.random.poisson(a, MATRIX, key=KEY), (ABOVE,)),
    "random.split": flat(lambda k: mx.random.split(k.astype(mx.uint32), 3), (range(9),), ((2,),)),
    "random.categorical": flat(lambda x: mx.random.categorical(x, key=KEY)),
    "random.bernoulli": flat(lambda p: mx.random.bernoulli(p, MATRIX, key=KEY), ((0, 1),)),
    "random.randint": flat(
        lambda a: mx.random.randint(mx.stop_gradient(a), 9, MATRIX, key=KEY), (range(3),)
    ),
}

# Names that have no row, by the reason.
WITHOUT = {
    "another name of a function in the table": """acos acosh asin asinh atan atan2 atanh conj pow
        cumulative_prod cumulative_sum matrix_norm""",
    "takes no array, or numbers": """arange bartlett blackman hamming hanning broadcast_shapes empty
        eye identity fft.fftfreq fft.rfftfreq linspace ones zeros tri random.gumbel random.key
        random.laplace random.seed""",
    "its result's shape depends on values: it evaluates, which no transform allows": """argwhere
        nonzero""",
    "about types, devices, streams, memory, printing, files, evaluation": """async_eval can_cast
        clear_cache clear_streams default_device default_stream device_count device_info
        disable_compile einsum_path enable_compile eval explain export_function export_to_dot
        exporter from_dlpack get_active_memory get_array_buffer_size get_cache_memory
        get_memory_limit get_num_threads get_peak_memory get_printoptions import_function
        is_available isdtype
        issubdtype load new_stream new_thread_local_stream new_thread_unsafe_stream plan_counts
        printoptions reset_peak_memory result_type save save_gguf save_safetensors savez
        savez_compressed set_cache_limit set_default_device set_default_stream set_memory_limit
        set_num_threads set_printoptions set_wired_limit stream synchronize random.RandomState""",
    "its derivative is that of the product of what was not quantized: test_quantization_modes.py":
        "qqmm gather_qqmm nn.QQLinear",
    "a kernel has the derivatives that its user gives: test_metal_kernel.py": """fast.MetalKernel
        fast.cuda_kernel fast.metal_kernel fast.precompiled_cuda_kernel""",
    "a composition of draws of random.gamma": "random.beta",
    "draws from the global state": "nn.Dropout nn.Dropout2d nn.Dropout3d",
    "a layer that calls the function of its name, in the table": """nn.CELU nn.ELU nn.GELU nn.GLU
        nn.HardShrink nn.HardTanh nn.Hardswish nn.LeakyReLU nn.LogSigmoid nn.LogSoftmax nn.Mish
        nn.PReLU nn.ReLU nn.ReLU2 nn.ReLU6 nn.SELU nn.SiLU nn.Sigmoid nn.Softmax nn.Softmin
        nn.Softplus nn.Softshrink nn.Softsign nn.Step nn.Tanh nn.UnaryLayer""",
    "rows of dequantize, or quantized_matmul": "nn.QuantizedEmbedding",
    "needs several processes: test_distributed.py": """nn.AllToShardedLinear nn.ShardedToAllLinear
        nn.QuantizedAllToShardedLinear nn.QuantizedShardedToAllLinear nn.FullyShardedModule
        nn.average_gradients nn.fully_shard""",
    "about modules and their errors": """nn.LayerSummary nn.MissingKeysError nn.Module nn.ModuleInfo
        nn.ParameterInfo nn.ShapeMismatchError nn.StructureMismatchError nn.UnusedKeysError
        nn.Summary nn.UpdateError nn.VerifyUpdate nn.column_major nn.quantize nn.summary
        nn.value_and_grad
        nn.losses.Literal nn.losses.Reduction""",
}  # fmt: skip
