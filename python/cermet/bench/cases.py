"""The table of cases: what is measured, at which sizes, and what it moves or computes.

A case is a function over an adaptor (see `peers`) and arrays. To add one, add a row to `CASES`.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import formulas, stencils
from .measure import Work
from .peers import Peer, Unsupported
from .works import (
    BATCH,
    BLOCKS,
    CHAIN,
    COMPLEX,
    CUBE,
    DEPTH,
    FEW,
    FLOATS,
    GRADIENTS,
    GROUP,
    HEADS,
    IMAGES,
    INTEGER,
    LABELS,
    MANY_ROWS,
    MATRIX,
    MILLION,
    PASSED,
    PLACES,
    POINTS,
    POSITIVE,
    QUERIES,
    QUERY,
    REDUCTIONS,
    RISING,
    ROUTED,
    ROWS,
    SHORT,
    SIGNALS,
    SMALL,
    STACK,
    TALL,
    TOKEN_COUNT,
    TOKENS,
    VECTOR,
    WIDE_HEADS,
    WIDE_QUERY,
    WIDE_ROW,
    WIDER,
    WIDTHS,
    Build,
    Input,
    above_one,
    adamw,
    along_axis,
    around,
    call,
    chain,
    cross_entropy_gradient,
    gated,
    gelu,
    gradients,
    halved,
    heads,
    linear,
    new_graph,
    of_transposed,
    over,
    packed_experts,
    packing,
    positive,
    quantized,
    random_normal,
    rms_norm,
    scores,
    ten,
    train_convolutional,
    train_lstm,
    train_mlp,
    train_transformer,
    unit,
)


def convolution(
    name: str,
    description: str,
    size: int,
    images: tuple[int, ...],
    channels: int,
    each: int,
    kernel: tuple[int, ...],
    **options: int,
) -> tuple[Case, Case]:
    """Two rows: a convolution to n channels, and its gradients.

    Args:
        name: what the row's name ends with.
        description: for the table.
        size: by default, n.
        images: their number and extents.
        channels: of the images, 0 for n.
        each: of a group, 0 for all.
        kernel: its extents.
        options: stride and padding.
    """
    pixels = Input(lambda n: (*images, channels or n))
    filters = Input(lambda n: (n, *kernel, each or channels or n))
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    places = [(n + 2 * padding - k) // stride + 1 for n, k in zip(images[1:], kernel, strict=True)]
    out = Input(lambda n: (images[0], *places, n))

    def run(operation: str) -> Callable[..., Any]:
        def function(f: Peer, x: Any, w: Any, *rest: Any) -> Any:
            groups = x.shape[-1] // w.shape[-1]
            return getattr(f, operation)(x, w, *rest, groups=groups, **options)

        return function

    return (
        extra(f"convolution{name}", description, size, FLOATS, run("convolution"), pixels, filters),
        extra(
            f"convolution{name}_gradients",
            f"both gradients, {description}",
            size,
            FLOATS,
            run("convolution_gradients"),
            pixels,
            filters,
            out,
        ),
    )


def pooling(kind: str, what: str, size: int) -> tuple[Case, Case]:
    """Two rows: pooling of every second window of 112 x 112, and with its gradient."""
    pixels = Input(lambda n: (4, 112, 112, n))
    out = Input(lambda n: (4, (112 - size) // 2 + 1, (112 - size) // 2 + 1, n))
    name, what = f"{what}_pooling", f"{what} of {size} x {size}, n channels"
    of, step = call("pooling", kind=kind, size=size), call("pooling_step", kind=kind, size=size)
    return (
        extra(name, what, 64, FLOATS, of, pixels),
        extra(f"{name}_step", f"{what}, and the gradient", 64, FLOATS, step, pixels, out),
    )


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: what `cermet-bench run` selects by.
        summary: one line for `cermet-bench list`; n is the size.
        build: makes the work to measure for a peer, a size and a dtype.
        sizes: default sizes.
        dtypes: default dtypes, keys of `peers.DTYPES`.
        bytes: least bytes read and written, from the size and the bytes of an element.
        flops: floating-point operations, from the size.
        nodes: nodes of the graph, from the size, where the cost of a node is the point.
        ab_sizes: sizes for `cermet-bench ab`, where the default ones take too long for it or say
            too little.
        ab_dtypes: dtypes for `cermet-bench ab`, where they are not the default ones.
        extra: whether `run` and `compare` leave it out unless a pattern selects it.
    """

    name: str
    summary: str
    build: Build
    sizes: tuple[int, ...] = (4096,)
    dtypes: tuple[str, ...] = ("f32",)
    bytes: Callable[[int, int], float] | None = None
    flops: Callable[[int], float] | None = None
    nodes: Callable[[int], int] | None = None
    ab_sizes: tuple[int, ...] = ()
    ab_dtypes: tuple[str, ...] = ()
    extra: bool = False


def _copies(n: int, item: int) -> float:
    return 2 * n * n * item


def _reads(n: int, item: int) -> float:
    return n * n * item


def graph(name: str, what: str) -> Case:
    """The case of a chain of n additions of 8 elements: of "graph_build", "graph_eval" or both."""

    def build(f: Peer, size: int, dtype: str) -> Work:
        if name != "graph" and not f.lazy:
            raise Unsupported(f"{f.name} builds no graph")
        if f.compiled:
            raise Unsupported(f"{f.name} compiles the graph away")
        x, y = (f.array(VECTOR.values(8, seed), dtype) for seed in (0, 1))
        make = partial(chain, f, x, y, size)
        works = {"graph_build": Work(make), "graph_eval": Work(f.wait, make)}
        return works.get(name) or Work(lambda: f.wait(make()))

    what = f"n additions of 8 elements: {what}"
    return Case(name, what, build, sizes=(10_000,), nodes=lambda n: n)


def moves(name: str, what: str, bytes: Any, of: Any, *x: Input, **options: Any) -> Case:
    """A case that memory bounds: `of` the inputs `x`."""
    return Case(name, what, over(of, *x), bytes=bytes, **options)


def extra(name: str, what: str, n: int, dtypes: tuple[str, ...], of: Any, *x: Input) -> Case:
    """A case that only `ab` measures unless it is named."""
    return Case(name, what, over(of, *x), (n,), dtypes, extra=True)


def product(name: str, what: str, sizes: tuple[int, ...], *x: Input) -> Case:
    """The extra case of a matrix product."""
    flops = lambda n: 2 * x[0].shape(n)[0] * math.prod(x[1].shape(n))  # noqa: E731
    build = over(lambda f, x, y: x @ y, *x)
    return Case(name, what, build, sizes, WIDTHS, flops=flops, extra=True)


def fourier(name: str, what: str, sizes: tuple[int, ...], dtype: str, x: Input) -> Case:
    """The extra case of a transform: of real numbers half the work of complex ones."""
    each = 5 if name == "fft" else 2.5
    flops = lambda n: each * math.prod(x.shape(n)) * math.log2(math.prod(x.shape(n)[-1:]))  # noqa: E731
    build = over(lambda f, x: getattr(f.fft, name)(x), x)
    return Case(name, what, build, sizes, (dtype,), flops=flops, extra=True)


def feed_forward(name: str, what: str, of: Any, *x: Input) -> Case:
    """A case of a transformer's wide layer: `of` tokens and the inputs `x`, weights first."""
    products = sum(source is WIDER for source in x)
    return Case(
        name,
        f"{what}, {TOKEN_COUNT} x n times n x 4n",
        over(of, TOKENS, *x),
        sizes=(768,),
        flops=lambda n: 2 * products * TOKEN_COUNT * 4 * n * n,
        ab_dtypes=FLOATS,
    )


def attention(name: str, of: str, keys: Input, which: str, query: Input) -> Case:
    """The extra case of attention of n keys: causal, or by `which` full or of one query."""
    what = f"{'full' if which else 'causal'}, 8 heads{', one query' if which == '_one' else ''}"
    queries = query if which == "_one" else keys
    build = over(call(of, causal=not which), queries, keys, keys)
    sizes, dtypes = (512, 2048, 4096), ("f32", "bf16")
    return Case(name, what, build, sizes, dtypes, ab_sizes=(512,), extra=True)


def along(name: str, axis: int, dtypes: tuple[str, ...]) -> Case:
    """The extra case of a function along rows or columns."""
    lines = "rows" if axis == -1 else "columns"
    function = call(name, axis=axis)
    return extra(f"{name}_{lines}", f"{name} of {lines}", 2048, dtypes, function, MATRIX)


def unary(name: str, real: Callable[[np.ndarray], np.ndarray] | None = None) -> Case:
    """The extra case of a function of one array, in every dtype that it has."""
    real_only = ("erf", "erfc", "erfinv", "gelu", "gelu_tanh", "softplus", "lgamma", "digamma")
    dtypes = FLOATS if name in real_only else COMPLEX
    source = Input(MATRIX.shape, real=real)
    return extra(f"unary_{name}", f"{name}(x)", 512, dtypes, call(name), source)


def formula(of: Callable[..., Any], what: str, *means: float) -> Case:
    """The extra case of a formula (see `formulas`) of n points, each input around its mean."""
    inputs = (Input(VECTOR.shape, real=around(mean)) for mean in means)
    return Case(of.__name__, what, over(of, *inputs), POINTS, ab_sizes=POINTS[1:2], extra=True)


def stencil(of: Callable[..., Any], what: str, *x: Input) -> Case:
    """The extra case of a step on a grid (see `stencils`)."""
    return Case(of.__name__, what, over(of, *x), (128, 2048), ab_sizes=(128, 512), extra=True)


def many_rows(name: str, what: str, of: Any, *x: Input) -> Case:
    """The extra case of a function of many rows of n."""
    sizes = (64, 256, 1024, 4096, 16_384)
    return Case(f"rows_{name}", what, over(of, *x), sizes, ab_sizes=(256, 16_384), extra=True)


def normalization(name: str, rest: Sequence[Input], **options: Any) -> tuple[Case, Case]:
    """Two rows: a function of many rows of n, and its gradients."""
    of, back = call(name, **options), gradients(name, **options)
    return (
        many_rows(name, f"{name} of rows of n", of, MANY_ROWS, *rest),
        many_rows(f"{name}_gradients", "its gradients", back, MANY_ROWS, MANY_ROWS, *rest),
    )


def cube(name: str, axis: int | None) -> Case:
    """The extra case of a reduction or sum of n x n x n over everything or an axis."""
    where = "all" if axis is None else ("first", "middle", "last")[axis]
    of = call(name) if axis is None else call(name, axis=axis)
    return extra(f"cube_{name}_{where}", f"{name} of n x n x n, {where}", 256, ("f32",), of, CUBE)


CASES = (
    Case(
        "chain",
        f"{CHAIN} additions of an n x n array, built and evaluated",
        over(chain, MATRIX, MATRIX),
        sizes=(64,),
        nodes=lambda n: CHAIN,
    ),
    moves("add", "x + x", _copies, lambda f, x: x + x, MATRIX, ab_dtypes=FLOATS),
    moves("rsqrt", "rsqrt(x * x + 1)", _copies, lambda f, x: f.rsqrt(x * x + 1), MATRIX),
    moves("gelu", "GELU (tanh) in operators", _copies, gelu, MATRIX, ab_dtypes=FLOATS),
    moves("rms_norm", "RMSNorm in operators", _copies, rms_norm, MATRIX, VECTOR, ab_dtypes=FLOATS),
    moves("silu", "SiLU", _copies, call("silu"), MATRIX),
    moves("exp", "exp(x)", _copies, call("exp"), MATRIX),
    moves(
        "softmax", "softmax of rows", _copies, call("softmax", axis=-1), MATRIX, ab_dtypes=FLOATS
    ),
    moves(
        "layer_norm",
        "layer normalization of rows with weight and bias",
        _copies,
        call("layer_norm", eps=1e-5),
        *(MATRIX, VECTOR, VECTOR),
        ab_dtypes=FLOATS,
    ),
    moves("sum_all", "sum of everything", _reads, call("sum"), MATRIX, ab_dtypes=FLOATS),
    moves("sum_rows", "sum of each row", _reads, call("sum", axis=-1), MATRIX, ab_dtypes=INTEGER),
    moves(
        "sum_columns", "sum of each column", _reads, call("sum", axis=0), MATRIX, ab_dtypes=INTEGER
    ),
    moves(
        "cumsum",
        "cumulative sum of rows",
        _copies,
        call("cumsum", axis=-1),
        MATRIX,
        ab_sizes=(2048,),
        ab_dtypes=INTEGER,
    ),
    moves("sort", "sort of rows", _copies, call("sort", axis=-1), MATRIX, ab_sizes=(1024,)),
    moves("argmax", "argmax of rows", _reads, call("argmax", axis=-1), MATRIX),
    moves(
        "transpose",
        "contiguous copy of the transpose",
        _copies,
        call("transpose_copy"),
        MATRIX,
        ab_sizes=(2048,),
    ),
    moves("gather", "n random rows (embedding)", _copies, call("take", axis=0), MATRIX, ROWS),
    Case(
        "matmul",
        "n x n times n x n",
        over(lambda f, x, y: x @ y, MATRIX, MATRIX),
        sizes=(2048,),
        flops=lambda n: 2 * n**3,
        ab_sizes=(64, 256, 1024),
        ab_dtypes=FLOATS,
    ),
    moves(
        "matvec", "n x n times n", _reads, lambda f, x, y: x @ y, MATRIX, VECTOR, ab_dtypes=FLOATS
    ),
    Case(
        "matmul_batch",
        f"{BATCH} products n x n times n x n",
        over(lambda f, x, y: x @ y, STACK, STACK),
        sizes=(64,),
        flops=lambda n: 2 * BATCH * n**3,
    ),
    feed_forward("linear_product", "x @ w.T", lambda f, x, w: x @ w.T, WIDER),
    feed_forward("linear_relu", "ReLU of x @ w.T + b", linear("relu"), WIDER, WIDE_ROW),
    feed_forward("linear_gelu", "GELU of x @ w.T + b", linear("gelu"), WIDER, WIDE_ROW),
    feed_forward("gated", "SiLU of x @ w.T times x @ v.T", gated, WIDER, WIDER),
    Case(
        "quantized_matvec",
        "1 row times n x n of 4 bits",
        quantized(1),
        bytes=lambda n, item: n * n * (0.5 + 2 * item / GROUP),
    ),
    Case(
        "quantized_matmul",
        f"{BATCH} rows times n x n of 4 bits",
        quantized(BATCH),
        flops=lambda n: 2 * BATCH * n**2,
    ),
    *(
        Case(
            ("dequantize" if back else "quantize") + suffix,
            f"n x n {'from' if back else 'to'} 4 bits, mode {mode}",
            packing(mode, back),
            bytes=lambda n, item: n * n * (0.5 + item),
            ab_sizes=(2048,),
        )
        for mode, suffix in (("affine", ""), ("nvfp4", "_nvfp4"))
        for back in (False, True)
    ),
    Case("random_normal", "n x n normal values", random_normal, bytes=_reads, ab_sizes=(2048,)),
    Case(
        "train_mlp",
        f"SGD step of a 3-layer network of width n, batch {BATCH}",
        train_mlp,
        sizes=(32, 512, 1024),
        flops=lambda n: 6 * BATCH * (2 * n * n + 10 * n),
    ),
    Case(
        "train_transformer",
        "AdamW step of 4 layers of width n, batch 4 x 128",
        train_transformer,
        (256,),
        ("f32", "bf16"),
    ),
    Case(
        "train_convolutional",
        f"SGD step of 3 convolutions to n channels, {IMAGES} images of 32 x 32",
        train_convolutional,
        (128,),
    ),
    graph("graph_build", "build only"),
    graph("graph_eval", "evaluate only"),
    graph("graph", "build and evaluate"),
    *map(unary, ("exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsinh", "arctan")),
    *map(unary, ("square", "sigmoid", "erf", "gelu", "gelu_tanh", "softplus")),
    *(unary(name, positive) for name in ("log", "log1p", "log2", "log10", "sqrt", "rsqrt")),
    *(unary(name, unit) for name in ("arcsin", "arccos", "arctanh", "erfinv")),
    unary("arccosh", above_one),
    *(along(name, -1, FLOATS) for name in ("max", "mean", "var", "logsumexp")),
    *(along(name, 0, FLOATS) for name in ("prod", "softmax", "cumsum")),
    along("max", 0, ("i32",)),
    *(along(name, -1, ("f32",)) for name in ("cumprod", "argsort")),
    along("sort", 0, ("f32", "f16", "i32")),
    extra("power_constant", "x ** 2.5", 512, FLOATS, lambda f, x: x**2.5, POSITIVE),
    formula(formulas.density, "density of sea water, 94 operations", 35, 10, 1000),
    formula(formulas.seawater, "density and what it gives, 350 operations", 35, 10, 1000),
    formula(formulas.implied_volatility, "of options, 99 operations with erf", 12, 100, 100, 1),
    *normalization("softmax", (), axis=-1),
    *normalization("log_softmax", (), axis=-1),
    *normalization("layer_norm", (VECTOR, VECTOR), eps=1e-5),
    *normalization("rms_norm", (VECTOR,), eps=1e-5),
    many_rows("cross_entropy", "mean of rows of n", call("cross_entropy"), MANY_ROWS, LABELS),
    many_rows(
        "cross_entropy_gradient",
        "its gradient",
        cross_entropy_gradient,
        *(MANY_ROWS, LABELS, VECTOR),
    ),
    *(cube(name, axis) for name in REDUCTIONS for axis in (None, 0, 1, 2)),
    *(cube("cumsum", axis) for axis in (0, 1, 2)),
    Case("adamw", "AdamW of n", adamw, (MILLION, 100 * MILLION), ab_sizes=(MILLION,), extra=True),
    Case(
        "new_graph",
        "evaluate n operations never seen before",
        new_graph,
        sizes=(100,),
        nodes=lambda n: n,
        extra=True,
    ),
    stencil(stencils.jacobi, "an iteration of n x n", MATRIX, MATRIX),
    stencil(stencils.shallow_water, "a step of n x n", DEPTH, MATRIX, MATRIX),
    extra("ten", "ten operations on n", 64, ("f32",), ten, VECTOR, VECTOR),
    extra("power", "x ** y", 1024, COMPLEX, lambda f, x, y: x**y, POSITIVE, MATRIX),
    extra("remainder", "x % y", 512, INTEGER, lambda f, x, y: x % y, MATRIX, POSITIVE),
    extra(
        "complex", "x * y / (x + y)", 512, ("c64",), lambda f, x, y: x * y / (x + y), MATRIX, MATRIX
    ),
    extra("cast", "x as int32", 1024, FLOATS, lambda f, x: f.cast(x, "i32"), MATRIX),
    extra("cast_back", "x as float32", 1024, ("i32",), lambda f, x: f.cast(x, "f32"), MATRIX),
    extra("sum_middle", "sums in a stack", 256, INTEGER, lambda f, x: f.sum(x, axis=1), STACK),
    extra("sum_short", "n sums of 16", 65_536, FLOATS, lambda f, x: f.sum(x, axis=-1), SHORT),
    extra("searchsorted", "n among n", MILLION, ("f32",), call("searchsorted"), RISING, VECTOR),
    extra("sort_all", "sort of n", MILLION, (*FLOATS, "i32", "c64"), call("sort", axis=0), VECTOR),
    extra("mask_read", "x[x > 0]", 1024, FLOATS, lambda f, x: x[x > 0], MATRIX),
    extra(
        "mask_write",
        "x[y > 0] = 0",
        1024,
        FLOATS,
        lambda f, x, y: f.put(x, y > 0, 0),
        MATRIX,
        MATRIX,
    ),
    extra("nonzero", "places of x > 0", 1024, ("f32",), lambda f, x: f.nonzero(x > 0), MATRIX),
    extra("quantile", "of rows", 1024, ("f32",), call("quantile", q=0.9, axis=-1), MATRIX),
    *(along(name, -1, ("f32",)) for name in ("nansum", "nanvar", "nanmax")),
    *map(unary, ("erfc", "lgamma", "digamma")),
    extra("bincount", "n among n", MILLION, ("f32",), lambda f, x, i: f.bincount(i), VECTOR, ROWS),
    extra("histogram", "n in 100 bins", MILLION, ("f32",), call("histogram", bins=100), VECTOR),
    extra("digitize", "n among n", MILLION, ("f32",), call("digitize"), VECTOR, RISING),
    extra("interp", "n among n", MILLION, ("f32",), call("interp"), VECTOR, RISING, VECTOR),
    extra("cov", "of n variables", 1024, ("f32",), call("cov"), MATRIX),
    extra("gradient", "of n x n", 1024, ("f32",), call("gradient"), MATRIX),
    extra("partition", "n around their median", MILLION, ("f32",), halved("partition"), VECTOR),
    extra("argpartition", "the same, places", MILLION, ("f32",), halved("argpartition"), VECTOR),
    extra("topk", "the 50 largest of n", MILLION, ("f32",), call("topk", k=50), VECTOR),
    extra("topk_rows", "the 50 largest of rows", 1024, ("f32",), call("topk", k=50), MATRIX),
    extra("take_along_rows", "n of each row", 1024, ("f32",), along_axis(-1), MATRIX, PLACES),
    extra("take_along_columns", "n of each column", 1024, ("f32",), along_axis(0), MATRIX, PLACES),
    extra("take_along", "n of n", MILLION, ("f32",), along_axis(0), VECTOR, ROWS),
    extra("negative", "-x, which moves what a copy does", 4096, ("f32",), lambda f, x: -x, MATRIX),
    extra("norm", "norm of everything", 4096, ("f32",), lambda f, x: f.linalg.norm(x), MATRIX),
    fourier("fft", "of rows of n", (64, 97, 480, 1000, 1024, 4096, 10007, 2**20), "c64", SIGNALS),
    fourier("rfft", "of rows of n real numbers", (256, 960, 1000, 4096, 2**20), "f32", SIGNALS),
    fourier("irfft", "of rows of n", (257, 4097), "c64", SIGNALS),
    extra("fft_row", "fft of one row", 1024, ("c64",), lambda f, x: f.fft.fft(x), VECTOR),
    extra("fft2", "of n x n", 1024, ("c64",), lambda f, x: f.fft.fft2(x), MATRIX),
    extra("rfft2", "of n x n", 1024, ("f32",), lambda f, x: f.fft.rfft2(x), MATRIX),
    extra("heads_first", "(4, n, 8, 64) with heads first", 512, ("f32", "bf16"), heads, QUERIES),
    extra("add_transposed", "x + x.T", 2048, ("f32",), lambda f, x: x + x.T, MATRIX),
    extra("sum_transposed", "sums of x.T", 2048, ("f32",), of_transposed("sum"), MATRIX),
    extra("softmax_transposed", "of x.T", 2048, ("f32",), of_transposed("softmax"), MATRIX),
    extra("einsum", "scores of 8 heads", 256, ("f32",), scores, QUERIES, QUERIES),
    extra(
        "scatter", "n rows added to n", 1024, ("f32",), call("scatter_add"), MATRIX, ROWS, MATRIX
    ),
    product("matmul_sizes", "n x n times n x n", (64, 128, 256, 512, 1024), MATRIX, MATRIX),
    product("matmul_tall", "n x 64 times 64 x 64", (65536,), TALL, SMALL),
    product("matmul_wide", "64 x 64 times 64 x n", (65536,), SMALL, FEW),
    product("matmul_deep", "64 x n times n x 64", (65536,), FEW, TALL),
    product("matmul_row", "1 x n times n x n", (4096,), Input(lambda n: (1, n)), MATRIX),
    product("dense_512", "512 x n times n x n", (4096,), TOKENS, MATRIX),
    *(
        Case(
            f"quantized_{n}", f"{n} rows of 4 bits", quantized(n), (4096,), WIDTHS[::2], extra=True
        )
        for n in (8, 512)
    ),
    *(
        Case(
            f"quantized_columns_{n}",
            f"{n} rows times n x n of 4 bits, stored by columns",
            quantized(n, by_columns=True),
            (4096,),
            WIDTHS[::2],
            bytes=lambda n, item: n * n * (0.5 + 2 * item / GROUP),
            extra=True,
        )
        for n in (1, 8, 512)
    ),
    extra("matmul_transposed", "x @ y.T", 512, FLOATS, lambda f, x, y: x @ y.T, MATRIX, MATRIX),
    extra(
        "linear", "x @ w.T + b", 1024, FLOATS, lambda f, x, w, b: x @ w.T + b, FEW, MATRIX, VECTOR
    ),
    *convolution("", "3 x 3, n to n channels", 128, (4, 28, 28), 0, 0, (3, 3), padding=1),
    *convolution("_1x1", "1 x 1, n to n channels", 256, (4, 28, 28), 0, 0, (1, 1)),
    *convolution("_first", "7 x 7, 3 to n", 64, (4, 112, 112), 3, 0, (7, 7), stride=2, padding=3),
    *convolution("_depthwise", "3 x 3 of n channels", 128, (4, 56, 56), 0, 1, (3, 3), padding=1),
    *convolution("_1d", "3, n to n channels", 256, (4, 512), 0, 0, (3,), padding=1),
    *pooling("Max", "maximum", 3),
    *pooling("Avg", "mean", 2),
    *(
        attention(f"attention{of}{which}{wide}", f"attention{of}", keys, which, query)
        for wide, keys, query in (("", HEADS, QUERY), ("_wide", WIDE_HEADS, WIDE_QUERY))
        for of, which in (("", ""), ("", "_full"), ("", "_one"), *GRADIENTS)
    ),
    extra("experts", "128 rows by 8 of 64 n x n", 512, FLOATS, call("experts"), *ROUTED),
    extra("experts_back", "gradients", 512, FLOATS, call("experts_gradients"), *ROUTED, PASSED),
    Case("experts_packed", "experts of 4 bits", packed_experts, (512,), FLOATS, extra=True),
    extra("masked", "half the blocks of x", 1024, FLOATS, call("masked"), MATRIX, MATRIX, BLOCKS),
    extra("segments", "64 parts of x @ y.T", 8192, FLOATS, call("segments"), FEW, FEW),
    Case("train_lstm", "SGD step of an LSTM of width n", train_lstm, (64,), extra=True),
)


def select(pattern: str | None, extra: bool = False) -> list[Case]:
    """The case called `pattern`, else those whose name contains it, wildcards allowed.

    Without a pattern all, the extra ones if asked for.
    """
    if pattern is None:
        return [case for case in CASES if extra or not case.extra]
    exact = [case for case in CASES if case.name == pattern]
    return exact or [case for case in CASES if fnmatch.fnmatch(case.name, f"*{pattern}*")]


def rows(cases: Sequence[Case], options: Any, ab: bool = False) -> list[tuple[Case, int, str]]:
    """Cases with each size and dtype that is asked for, or that is their own."""
    return [
        (case, size, dtype)
        for case in cases
        for size in options.size or (ab and case.ab_sizes) or case.sizes
        for dtype in options.dtype or (ab and case.ab_dtypes) or case.dtypes
    ]
