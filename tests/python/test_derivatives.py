"""Derivatives and maps of every function of derivative_table.py and derivative_layers.py.

jvp is compared with differences, vjp with jvp as the transpose of the map between real and
imaginary parts, Re <w, jvp(v)> = Re <vjp(w), v>, second derivatives of four kinds with differences
of first ones, and vmap with a loop: over each input and axis, nested, and of derivatives.
"""

from itertools import product

import numpy as np
import pytest
from conftest import SIMULATED
from derivative_layers import ACTIVATIONS, LAYERS, LOSSES
from derivative_table import BINARY, FLAT, UNARY, WITHOUT
from derivative_table import ROWS as OF_THE_CORE

import cermet.core as mx
from cermet import nn

ROWS = {**OF_THE_CORE, **ACTIVATIONS, **LOSSES, **LAYERS}

DTYPES = {"f": mx.float64, "s": mx.float32, "c": mx.complex64}


def flat(results):
    return list(results) if isinstance(results, (list, tuple)) else [results]


class Sample:
    """A row's function with inputs of a kind: of those that have derivatives, or of all."""

    def __init__(self, row, kind, rng):
        self.row, self.kind, self.rng = row, kind, rng
        self.dtype, self.precise = DTYPES[kind], kind == "f"
        self.all = [self.draw(*pair) for pair in zip(row.inputs, row.shapes, strict=True)]
        self.which = row.differentiated()
        self.x = [self.all[i] for i in self.which]
        self.v = [self.draw((-1, 1), a.shape) for a in self.x]

    def draw(self, source, shape):
        rng = self.rng
        if source is bool:
            return mx.array(rng.integers(0, 2, shape) > 0)
        if isinstance(source, range):
            return mx.array(rng.choice(source, shape), mx.int32)
        x = rng.uniform(*source, shape)
        return mx.array(x + 1j * rng.uniform(*source, shape) if self.kind == "c" else x, self.dtype)

    def weights(self, results):
        """One for each element of results."""
        return [
            mx.array(
                self.rng.normal(size=y.shape) + 1j * self.rng.normal(size=y.shape)
                if y.dtype == mx.complex64
                else self.rng.normal(size=y.shape),
                y.dtype,
            )
            for y in results
        ]

    def apply(self, *inputs):
        return flat(self.row.function(*inputs))

    def of(self, inputs):
        """The function of those inputs that have derivatives, and these."""

        def function(*x):
            every = list(inputs)
            for i, a in zip(self.which, x, strict=True):
                every[i] = a
            return self.apply(*every)

        return function, [inputs[i] for i in self.which]

    def __call__(self, *x):
        return self.of(self.all)[0](*x)

    def moved(self, step):
        return [a + step * t for a, t in zip(self.x, self.v, strict=True)]

    def loss(self, weights):
        """A number that is not linear in the results."""

        def loss(*x):
            parts = [
                (mx.real(mx.conj(y) * y) * mx.real(w) + mx.real(mx.conj(w) * y)).sum()
                for y, w in zip(self(*x), weights, strict=True)
            ]
            return sum(p.astype(parts[0].dtype) for p in parts)

        return loss

    def slope(self, function, step):
        """Of a function along the direction v, by differences."""
        ahead, behind = (
            [np.array(y) for y in function(*self.moved(sign * step))] for sign in (1, -1)
        )
        return [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]


def inner(a, b):
    return sum(float(np.real(np.vdot(np.array(x), np.array(y)))) for x, y in zip(a, b, strict=True))


def close(got, want, tolerance, size=1):
    """Up to a part of the largest value, or of `size`."""
    got, want = np.array(got), np.array(want)
    assert got.shape == want.shape and np.isfinite(want).all()
    atol = tolerance * max(size, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


PAIRS = [(name, kind) for name, row in ROWS.items() for kind in row.kinds]
each = pytest.mark.parametrize("name, kind", PAIRS)
# The simulated GPU compiles a kernel for each program: what follows from rules alone, which know no
# device, is checked there in one kind.
each_rule = pytest.mark.parametrize(
    "name, kind", [p for p in PAIRS if not SIMULATED or p[1] == ROWS[p[0]].kinds[0]]
)


@each
def test_derivatives(name, kind, rng):
    f = Sample(ROWS[name], kind, rng)
    out, pushed = mx.jvp(lambda *x: f(*x), f.x, f.v)
    assert [(t.shape, t.dtype) for t in pushed] == [(y.shape, y.dtype) for y in out]
    size = sum(np.abs(np.array(y)).max(initial=0) for y in out)
    for tangent, slope in zip(pushed, f.slope(f, 1e-6 if f.precise else 2e-3), strict=True):
        close(tangent, slope, 1e-7 if f.precise else 5e-3, size + np.abs(slope).max(initial=0))

    w = f.weights(out)
    _, pulled = mx.vjp(lambda *x: f(*x), f.x, w)
    assert [(g.shape, g.dtype) for g in pulled] == [(a.shape, a.dtype) for a in f.x]
    scale = 1 + np.sqrt(inner(w, w) * inner(pushed, pushed))
    assert abs(inner(w, pushed) - inner(pulled, f.v)) <= (1e-12 if f.precise else 1e-5) * scale


@each_rule
def test_second_derivatives(name, kind, rng):
    """Of a number along a direction: gradients forwards and backwards, tangents likewise."""
    f = Sample(ROWS[name], kind, rng)
    loss = f.loss(f.weights(f(*f.x)))
    one = mx.array(1, loss(*f.x).dtype)

    def gradient(*x):
        return mx.vjp(loss, x, [one])[1]

    def along(*x):
        parts = [mx.real(mx.conj(g) * t).sum() for g, t in zip(gradient(*x), f.v, strict=True)]
        return sum(p.astype(one.dtype) for p in parts)

    def tangent(*x):
        return mx.jvp(loss, x, f.v)[1][0]

    want = f.slope(gradient, 1e-5 if f.precise else 2e-3)
    size = max(np.abs(np.array(g)).max(initial=0) for g in gradient(*f.x))
    tolerance = 1e-6 if f.precise else 1e-2
    for got in (
        mx.jvp(lambda *x: gradient(*x), f.x, f.v)[1],
        mx.vjp(along, f.x, [one])[1],
        mx.vjp(tangent, f.x, [one])[1],
    ):
        for g, slope in zip(got, want, strict=True):
            close(g, slope, tolerance, 1 + size)
    twice = mx.jvp(tangent, f.x, f.v)[1][0].item()
    assert abs(twice - inner(want, f.v)) <= tolerance * (1 + size) * sum(a.size for a in f.x)


def entries(f, which, axis):
    """Two values of an input, on an axis of one array; or an input alone."""
    a = f.all[which]
    other = f.draw(f.row.inputs[which], a.shape)
    return [a, other], mx.stack([a, other], axis=axis)


def check_map(function, f, axes, tolerance, out_axis=0):
    """vmap of a function of all inputs is a loop, where the axes are not None."""
    pairs = [entries(f, i, axis or 0) for i, axis in enumerate(axes)]
    each = [
        function(*(f.all[i] if axis is None else pairs[i][0][n] for i, axis in enumerate(axes)))
        for n in range(2)
    ]
    batch = [f.all[i] if axis is None else pairs[i][1] for i, axis in enumerate(axes)]
    got = mx.vmap(lambda *x: function(*x), in_axes=tuple(axes), out_axes=out_axis)(*batch)
    assert len(got) == len(each[0])
    for mapped, *alone in zip(got, *each, strict=True):
        assert mapped.dtype == alone[0].dtype
        close(mapped, np.stack([np.array(y) for y in alone], axis=out_axis), tolerance)


@each_rule
def test_vmap(name, kind, rng):
    """Over each axis of each input, over all of them, and twice."""
    f = Sample(ROWS[name], kind, rng)
    tolerance = 1e-12 if f.precise else 2e-5
    none = [None] * len(f.all)
    for which, a in enumerate(f.all):
        for axis in range(a.ndim + 1):
            check_map(f.apply, f, [*none[:which], axis, *none[which + 1 :]], tolerance)
    check_map(f.apply, f, [0] * len(f.all), tolerance)
    check_map(f.apply, f, [-1] * len(f.all), tolerance, out_axis=-1)

    grid = [[[f.draw(s, a.shape) for s, a in zip(f.row.inputs, f.all, strict=True)]
             for _ in range(2)] for _ in range(2)]  # fmt: skip
    batch = [mx.stack([mx.stack([p[i] for p in row]) for row in grid]) for i in range(len(f.all))]
    got = mx.vmap(mx.vmap(lambda *x: f.apply(*x)))(*batch)
    for i, j in product(range(2), range(2)):
        for mapped, alone in zip(got, f.apply(*grid[i][j]), strict=True):
            close(mapped[i, j], alone, tolerance)


@each_rule
def test_vmap_and_derivatives(name, kind, rng):
    """vmap of gradients and of tangents is a loop, and the derivative of vmap is that of a loop."""
    f = Sample(ROWS[name], kind, rng)
    w = f.weights(f(*f.x))
    tolerance = 1e-11 if f.precise else 1e-4

    def gradient(*inputs):
        function, x = f.of(inputs)
        return mx.vjp(function, x, w)[1]

    def tangent(*inputs):
        function, x = f.of(inputs)
        return mx.jvp(function, x, f.v)[1]

    for function in (gradient, tangent):
        for which in range(len(f.all)):
            axes = [0 if i == which else None for i in range(len(f.all))]
            check_map(function, f, axes, tolerance)
        check_map(function, f, [0] * len(f.all), tolerance)

    pairs = [entries(f, i, 0) for i in range(len(f.all))]
    batch = [b for _, b in pairs]
    _, x = f.of(batch)

    def mapped(*x):
        every = list(batch)
        for i, a in zip(f.which, x, strict=True):
            every[i] = a
        return mx.vmap(lambda *a: f.apply(*a))(*every)

    pulled = mx.vjp(mapped, x, [mx.stack([a, a]) for a in w])[1]
    pushed = mx.jvp(mapped, x, [mx.stack([a, a]) for a in f.v])[1]
    for got, alone in ((pulled, gradient), (pushed, tangent)):
        want = [alone(*(p[n] for p, _ in pairs)) for n in range(2)]
        for g, *both in zip(got, *want, strict=True):
            close(g, np.stack([np.array(a) for a in both]), tolerance)


@pytest.mark.parametrize("name", FLAT)
def test_functions_without_a_derivative_have_zeros(name, rng):
    f = Sample(FLAT[name], "f", rng)
    out, pushed = mx.jvp(lambda *x: f.apply(*x), f.all, [mx.ones_like(a) for a in f.all])
    for y, t in zip(out, pushed, strict=True):
        assert not t.any().item() and (t.shape, t.dtype) == (y.shape, y.dtype)
    _, pulled = mx.vjp(lambda *x: f.apply(*x), f.all, [mx.ones_like(y) for y in out])
    assert not any(g.any().item() for g in pulled)
    none = [None] * len(f.all)
    for which, a in enumerate(f.all):
        for axis in range(a.ndim + 1):
            check_map(f.apply, f, [*none[:which], axis, *none[which + 1 :]], 0)
    check_map(f.apply, f, [0] * len(f.all), 0)


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
    direction = lambda z: mx.jvp(mx.abs, [z], [mx.array(1j)])[1][0]  # noqa: E731
    for z in (mx.array(0j), mx.array(0.0)):
        assert mx.grad(direction)(z).item() == 0


def public():
    """The names of what can be called, as the table's keys have them."""
    modules = {"": mx, "linalg.": mx.linalg, "fft.": mx.fft, "fast.": mx.fast, "random.": mx.random}
    for prefix, module in {**modules, "nn.": nn, "nn.losses.": nn.losses}.items():
        for name, value in vars(module).items():
            kind = isinstance(value, type) and module is mx  # such as Dtype
            if name[0] != "_" and callable(value) and not kind:
                yield prefix + name


def test_every_public_function_is_in_the_table_or_has_a_reason():
    rows = {name.split()[0] for name in (*ROWS, *FLAT)}
    named = [name for names in WITHOUT.values() for name in names.split()]
    assert sorted(set(public()) - rows - set(named)) == []
    assert sorted(set(named) - set(public())) == []
    assert sorted(name for name in named if named.count(name) > 1 or name in rows) == []
    assert {op["name"] for op in mx._operations()} <= {*UNARY, *BINARY, *FLAT, "select"}
