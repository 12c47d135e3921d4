"""What cases measure: inputs, and functions over an adaptor (see `peers`) and arrays."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .measure import Work
from .peers import Peer, Unsupported

CHAIN = 100
BATCH, IMAGES = 64, 32
TOKEN_COUNT = 512
MILLION = 1_000_000
ELEMENTS = 2**24  # of many rows of n
POINTS = (18_000, 262_144, 4_000_000)  # of formulas
FLOATS = ("f32", "f16", "bf16")
WIDTHS = ("f32", "f64", "bf16")
INTEGER, COMPLEX = (*FLOATS, "i32"), (*FLOATS, "c64")
GROUP = 64  # quantization: weights that share a scale
Build = Callable[[Peer, int, str], Work]


@dataclass(frozen=True)
class Input:
    """An input array: standard normal values, or row numbers below the size.

    Attributes:
        shape: from the size.
        rows: whether it holds row numbers.
        real: maps real values to those that a function takes.
    """

    shape: Callable[[int], tuple[int, ...]]
    rows: bool = False
    real: Callable[[np.ndarray], np.ndarray] | None = None

    def values(self, size: int, position: int, dtype: str = "f32") -> np.ndarray:
        """The same values for every peer; `position` tells the inputs of a case apart."""
        values = _values(self.shape(size), size if self.rows else None, position)
        if self.rows:
            return values
        if dtype == "c64":
            return values + np.complex64(1j) * _values(values.shape, None, position + 100)
        if self.real:
            values = self.real(values)
        return (1000 * values).astype(np.int32) if dtype == "i32" else values


@lru_cache(maxsize=3)
def _values(shape: tuple[int, ...], below: int | None, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    if below is not None:
        return generator.integers(below, size=shape, dtype=np.int32)
    return generator.standard_normal(shape, np.float32)


MATRIX = Input(lambda n: (n, n))
VECTOR = Input(lambda n: (n,))
STACK = Input(lambda n: (BATCH, n, n))
RISING = Input(VECTOR.shape, real=np.sort)
FEW = Input(lambda n: (BATCH, n))
TALL, SMALL = Input(lambda n: (n, BATCH)), Input(lambda n: (BATCH, BATCH))
TOKENS, WIDER, WIDE_ROW = (
    Input(lambda n: (TOKEN_COUNT, n)),
    Input(lambda n: (4 * n, n)),
    Input(lambda n: (4 * n,)),
)
MANY_ROWS = Input(lambda n: (max(1, ELEMENTS // n), n))
LABELS = Input(lambda n: (max(1, ELEMENTS // n),), rows=True)
CUBE = Input(lambda n: (n, n, n))
SHORT = Input(lambda n: (n, 16))
SIGNALS = Input(lambda n: (max(1, 2**20 // n), n))
HEADS, QUERY = Input(lambda n: (1, 8, n, BATCH)), Input(lambda n: (1, 8, 1, BATCH))
WIDE_HEADS, WIDE_QUERY = (
    Input(lambda n: (1, 8, n, 2 * BATCH)),
    Input(lambda n: (1, 8, 1, 2 * BATCH)),
)
GRADIENTS = (("_gradient", ""), ("_gradient", "_full"))
ROWS = Input(lambda n: (n,), rows=True)
PLACES = Input(MATRIX.shape, rows=True)
QUERIES = Input(lambda n: (4, n, 8, 64))
ROUTED = Input(lambda n: (128, n)), STACK, Input(lambda n: (128, 8), rows=True)
PASSED = Input(lambda n: (128, 8, n))
BLOCKS = Input(lambda n: (n // BATCH, n // BATCH), rows=True)


def positive(x: np.ndarray) -> np.ndarray:
    """Where logarithms, roots and powers have real values."""
    return abs(x) + np.float32(0.01)


POSITIVE = Input(MATRIX.shape, real=positive)
REDUCTIONS = ("sum", "mean", "max", "var", "argmax")


def unit(x: np.ndarray) -> np.ndarray:
    """Where the inverses of sine, tanh and erf have values."""
    return np.tanh(x)


def above_one(x: np.ndarray) -> np.ndarray:
    """Where the inverse of cosh has values."""
    return abs(x) + 1


def around(mean: float) -> Callable[[np.ndarray], np.ndarray]:
    """Maps to values from 0.8 to 1.2 of a mean."""
    return lambda x: np.float32(mean) * (1 + np.float32(0.2) * np.tanh(x))


DEPTH = Input(MATRIX.shape, real=around(100))


def over(function: Callable[..., Any], *inputs: Input) -> Build:
    """Builds the work that applies `function(peer, *arrays)` and waits for its result."""

    def build(f: Peer, size: int, dtype: str) -> Work:
        arrays = [
            f.places(values) if x.rows else f.array(values, dtype)
            for x, values in ((x, x.values(size, i, dtype)) for i, x in enumerate(inputs))
        ]
        prepared, wait = f.prepare(partial(function, f)), f.wait
        return Work(lambda: wait(prepared(*arrays)))

    return build


def call(name: str, **options: Any) -> Callable[..., Any]:
    """The peer's operation of this name, as a function for `over`."""
    return lambda f, *x: getattr(f, name)(*x, **options)


def chain(f: Peer, x: Any, y: Any, count: int = CHAIN) -> Any:
    """`count` additions of `y` to `x`, each of the result before."""
    for _ in range(count):
        x = x + y
    return x


def gelu(f: Peer, x: Any) -> Any:
    """GELU with tanh (Hendrycks and Gimpel 2016), written out as users write it."""
    return 0.5 * x * (1 + f.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def linear(activation: str) -> Callable[..., Any]:
    """A linear layer and the peer's activation of this name."""
    return lambda f, x, w, b: getattr(f, activation)(x @ w.T + b)


def gated(f: Peer, x: Any, w: Any, v: Any) -> Any:
    """SwiGLU without its last product (Shazeer 2020)."""
    return f.silu(x @ w.T) * (x @ v.T)


def rms_norm(f: Peer, x: Any, weight: Any) -> Any:
    """RMSNorm of rows (Zhang and Sennrich 2019), written out as users write it."""
    return x * f.rsqrt(f.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight


def gradients(name: str, **options: Any) -> Callable[..., Any]:
    """The gradients of an operation: of all its arrays, from that of its result, the second one."""

    def function(f: Peer, x: Any, out: Any, *rest: Any) -> Any:
        return f.gradients(lambda *x: getattr(f, name)(*x, **options), [x, *rest], out)

    return function


def cross_entropy_gradient(f: Peer, x: Any, labels: Any, out: Any) -> Any:
    """The gradient of the logits for the mean's, the first of `out`."""
    return f.gradients(lambda x: f.cross_entropy(x, labels), [x], out[0])


def ten(f: Peer, x: Any, y: Any) -> Any:
    """Ten operations."""
    z = f.tanh((x + y) * x - y) * 0.5 + 1
    return f.sqrt(f.exp(z)) / y - x


def new_graph(f: Peer, size: int, dtype: str) -> Work:
    """Builds the evaluation of `size` operations on 8 elements, each time in another structure."""
    if not f.lazy:
        raise Unsupported(f"{f.name} builds no graph")
    x, y = (f.array(VECTOR.values(8, seed), dtype) for seed in (0, 1))
    operations, draw = (f.add, f.subtract, f.multiply, f.maximum), random.Random(0)

    def make() -> Any:
        z = x + y
        for operation in draw.choices(operations, k=size - 1):
            z = operation(z, draw.choice((x, y, z)))
        return z

    return Work(f.wait, make)


def adamw(f: Peer, size: int, dtype: str) -> Work:
    """Builds a step of AdamW."""
    step, wait = f.adamw(*(f.array(VECTOR.values(size, i), dtype) for i in range(2))), f.wait
    return Work(lambda: wait(step()))


def random_normal(f: Peer, size: int, dtype: str) -> Work:
    """Builds the drawing of a `size` x `size` array."""
    draw, wait = f.sampler((size, size), dtype), f.wait
    return Work(lambda: wait(draw()))


def train_lstm(f: Peer, size: int, dtype: str) -> Work:
    """Builds a training step of an LSTM of width `size` on 4 random sequences of `BATCH` rows."""
    generator = np.random.default_rng(0)
    x = f.array(generator.standard_normal((4, BATCH, size), np.float32), dtype)
    step, wait = f.recurrent_trainer(size, x, dtype), f.wait
    return Work(lambda: wait(step()))


def train_transformer(f: Peer, size: int, dtype: str) -> Work:
    """Builds a training step of four layers of width `size` on 4 sequences of 128."""
    x = f.array(Input(lambda n: (4, 128, n)).values(size, 0), dtype)
    step, wait = f.transformer_trainer(4, x, dtype), f.wait
    return Work(lambda: wait(step()))


def train_convolutional(f: Peer, size: int, dtype: str) -> Work:
    """Builds a training step of three convolutions on 32 x 32 pixels, to `size` channels."""
    x = f.array(Input(lambda n: (IMAGES, 32, 32, 3)).values(size, 0), dtype)
    y = f.array(np.arange(IMAGES, dtype=np.int32) % 10, dtype)
    step, wait = f.convolutional_trainer((3, size // 4, size // 2, size), x, y, dtype), f.wait
    return Work(lambda: wait(step()))


def train_mlp(f: Peer, size: int, dtype: str) -> Work:
    """Builds a training step on `BATCH` random inputs of `size` values and ten labels."""
    generator = np.random.default_rng(0)
    x = f.array(generator.standard_normal((BATCH, size), np.float32), dtype)
    y = f.array(generator.integers(10, size=BATCH, dtype=np.int32), dtype)
    step, wait = f.trainer((size, size, size, 10), x, y, dtype), f.wait
    return Work(lambda: wait(step()))


def quantized(rows: int, by_columns: bool = False) -> Build:
    """Builds `rows` rows times the transpose of a 4-bit square matrix, by rows or columns."""

    def build(f: Peer, size: int, dtype: str) -> Work:
        if size % GROUP:
            raise Unsupported(f"the size must be a multiple of {GROUP}, got {size}")
        packed = f.quantize(f.array(MATRIX.values(size, 0), dtype), group_size=GROUP, bits=4)
        if by_columns:
            packed = [f.transpose_copy(part).T for part in packed]
        f.wait(packed)
        x = f.array(Input(lambda n: (rows, n)).values(size, 1), dtype)
        product, wait = partial(f.quantized_matmul, group_size=GROUP, bits=4), f.wait
        return Work(lambda: wait(product(x, *packed)))

    return build


def packed_experts(f: Peer, size: int, dtype: str) -> Work:
    """Builds the case "experts" with 4-bit matrices."""
    x, w, rows = (source.values(size, i) for i, source in enumerate(ROUTED))
    packed = f.quantize(f.array(w, dtype), group_size=GROUP, bits=4)
    f.wait(packed)
    arrays = f.array(x, dtype), *packed, f.places(rows % BATCH)
    return Work(lambda: f.wait(f.packed_experts(*arrays)))


def packing(mode: str, back: bool) -> Build:
    """Builds the quantization of a square matrix with 4 bits, or the way back."""

    def build(f: Peer, size: int, dtype: str) -> Work:
        if size % GROUP:
            raise Unsupported(f"the size must be a multiple of {GROUP}, got {size}")
        w = f.array(MATRIX.values(size, 0), dtype)
        pack, unpack, wait = partial(f.quantize, mode=mode), f.dequantize, f.wait
        packed = pack(w)
        wait(packed)
        unpack = partial(unpack, mode=mode, dtype=f.dtype(dtype))
        return Work((lambda: wait(unpack(*packed))) if back else (lambda: wait(pack(w))))

    return build


def halved(name: str) -> Callable[..., Any]:
    """A partition in the middle."""
    return lambda f, x: getattr(f, name)(x, x.shape[0] // 2)


def along_axis(axis: int) -> Callable[..., Any]:
    """Elements chosen along an axis."""
    return call("take_along_axis", axis=axis)


def of_transposed(name: str) -> Callable[..., Any]:
    """A function along the rows of a transpose."""
    return lambda f, x: getattr(f, name)(x.T, axis=-1)


def heads(f: Peer, x: Any) -> Any:
    """A copy of (batch, length, heads, width) with the heads before the length."""
    return f.permute_copy(x, axes=(0, 2, 1, 3))


def scores(f: Peer, q: Any, k: Any) -> Any:
    """The products of queries and keys, (batch, length, heads, width) both."""
    return f.einsum("blhd,bmhd->bhlm", q, k)
