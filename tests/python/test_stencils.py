"""What slices, updates in place, pads, rolls and the like move: the bytes of their inputs and
outputs, as `mx.explain` counts them. And the values are those of NumPy, or of each node alone."""

import re

import numpy as np
import pytest
import simulations
from conftest import SIMULATED

import cermet.core as mx

RNG = np.random.default_rng(0)
N = 130 if SIMULATED else 520  # large enough to fall into many cells


def data(*shape):
    return RNG.uniform(0.5, 1.5, shape).astype(np.float32)


def moved(*arrays):
    """Steps that do something, and the bytes that they read and write."""
    text = mx.explain(*arrays)
    steps = sum(": view" not in line for line in text.splitlines() if line.startswith("step"))
    return steps, sum(map(int, re.findall(r"(\d+) bytes", text.splitlines()[-1])))


def check(out, expected, least, most=1.0, slack=0):
    """`out` moves at most so many times the bytes `least`, and has the values expected."""
    outs, expected = (out, expected) if isinstance(out, (list, tuple)) else ([out], [expected])
    _, bytes_ = moved(*outs)
    assert SIMULATED or bytes_ <= most * least + slack, mx.explain(*outs)
    for mine, theirs in zip(outs, expected, strict=True):
        np.testing.assert_allclose(np.array(mine), theirs, rtol=2e-5, atol=2e-5)


def grids(count):
    return [data(N, N) for _ in range(count)]


BORDERS = 64 * N  # bytes of some rows and columns


# ---- Simulations ----


@pytest.mark.parametrize("compiled", [False, True])
def test_a_jacobi_step(compiled):
    (a,) = grids(1)
    step = mx.compile(simulations.jacobi) if compiled else simulations.jacobi
    x = step(mx.array(a))
    check(x, simulations.jacobi(a.copy()), 2 * a.nbytes, 1.0, BORDERS)


def test_a_jacobi_step_with_boundaries():
    (a,) = grids(1)

    def step(x):
        x = simulations.jacobi(x)
        x[0], x[-1] = x[1], x[-2]
        x[:, 0], x[:, -1] = x[:, 1], x[:, -2]
        return x

    check(step(mx.array(a)), step(a.copy()), 2 * a.nbytes, 1.0, BORDERS)


def test_an_update_that_adds():
    (a,) = grids(1)
    x = mx.array(a)
    x = x.at[1:-1, 1:-1].add(x[2:, 1:-1] - x[:-2, 1:-1])
    expected = a.copy()
    expected[1:-1, 1:-1] += a[2:, 1:-1] - a[:-2, 1:-1]
    check(x, expected, 2 * a.nbytes, 1.0, BORDERS)


def test_an_advection_step_of_several_arrays():
    a, b, u, v = grids(4)
    u -= 1
    flow = mx.array(u), mx.array(v)
    out = [simulations.advect(mx, mx.array(c), *flow) for c in (a, b)]
    expected = [simulations.advect(np, c.copy(), u, v) for c in (a, b)]
    check(out, expected, 6 * a.nbytes, 1.0, BORDERS)


def test_a_shallow_water_step():
    h, u, v, depth, spin, *tracers = grids(8)
    u -= 1
    v -= 1

    def step(xp, make):
        parts = tuple(map(make, tracers))
        return simulations.shallow_water(xp, *map(make, (h, u, v, depth, spin)), parts)

    expected = step(np, np.array)
    least = 14 * h.nbytes  # eight inputs, six outputs
    check(step(mx, mx.array), expected, least, 1.0, 10 * BORDERS)


# ---- Models ----


def rotated(a, cosine, sine, xp):
    half = a.shape[-1] // 2
    x, y = a[..., :half], a[..., half:]
    return xp.concatenate([x * cosine - y * sine, y * cosine + x * sine], axis=-1)


def test_a_rotary_embedding_of_halves():
    a, c, s = data(2, 4, N, 32), data(N, 16), data(N, 16)
    out = rotated(mx.array(a), mx.array(c), mx.array(s), mx)
    check(out, rotated(a, c, s, np), 2 * a.nbytes + 2 * c.nbytes)


def test_a_rotary_embedding_by_rotated_halves():
    a, c, s = data(2, 4, N, 32), data(N, 32), data(N, 32)

    def rope(x, c, s, xp):
        return x * c + xp.concatenate([-x[..., 16:], x[..., :16]], axis=-1) * s

    out = rope(mx.array(a), mx.array(c), mx.array(s), mx)
    check(out, rope(a, c, s, np), 2 * a.nbytes + 2 * c.nbytes)


@pytest.mark.parametrize("how", ["stack", "updates"])
def test_a_rotary_embedding_of_neighbours(how):
    a, c, s = data(2, 4, N, 32), data(N, 16), data(N, 16)

    def rope(a, c, s, xp):
        x, y = a[..., ::2], a[..., 1::2]
        first, second = x * c - y * s, y * c + x * s
        if how == "stack":
            return xp.stack([first, second], axis=-1).reshape(a.shape)
        out = xp.zeros_like(a)
        out[..., ::2] = first
        out[..., 1::2] = second
        return out

    out = rope(mx.array(a), mx.array(c), mx.array(s), mx)
    check(out, rope(a, c, s, np), 2 * a.nbytes + 2 * c.nbytes)


@pytest.mark.parametrize("traditional", [False, True])
@pytest.mark.parametrize("dims", [32, 24])
def test_the_rotary_embedding_of_the_library(traditional, dims):
    x = mx.array(data(2, 16, N, 32))
    out = mx.fast.rope(x, dims, traditional=traditional, base=10000.0, scale=1.0, offset=3)
    # It computes tables of sines and cosines, too: of a head, not of 32.
    assert moved(out)[1] <= 2 * x.nbytes + 24 * N * dims


@pytest.mark.parametrize("value", ["there", "computed"])
def test_a_cache_write(value):
    a, b = data(2, 4, N, 16), data(2, 4, 3, 16)
    cache, new = mx.array(a), mx.array(b)
    cache[:, :, 5:8] = new if value == "there" else new * 2
    expected = a.copy()
    expected[:, :, 5:8] = b if value == "there" else b * 2
    check(cache, expected, 2 * b.nbytes)


def test_a_gated_layer():
    h, b = data(N, 160), data(160)

    def gate(h, xp):
        x, y = xp.split(h, 2, -1)
        return x * xp.maximum(x, 1) * y

    check(gate(mx.array(h), mx), gate(h, np), 1.5 * h.nbytes)
    check(gate(mx.array(h) + mx.array(b), mx), gate(h + b, np), 1.5 * h.nbytes + b.nbytes)


# ---- Arrangements, and work before and after them ----


@pytest.mark.parametrize("axis", [0, 1])
def test_rolls(axis):
    a, b = grids(2)
    x, y = mx.array(a), mx.array(b)
    n = a.nbytes
    check(mx.roll(x, 3, axis), np.roll(a, 3, axis), 2 * n)
    check(mx.roll(x * 2 + 1, 3, axis), np.roll(a * 2 + 1, 3, axis), 2 * n)
    check(mx.roll(x, -2, axis) * 2 + y, np.roll(a, -2, axis) * 2 + b, 3 * n)


def test_a_periodic_jacobi_step():
    (a,) = grids(1)

    def step(x, xp):
        return 0.25 * (xp.roll(x, 1, 0) + xp.roll(x, -1, 0) + xp.roll(x, 1, 1) + xp.roll(x, -1, 1))

    check(step(mx.array(a), mx), step(a, np), 2 * a.nbytes, 1.0, BORDERS)


def test_flips():
    a, b = grids(2)
    x, y = mx.array(a), mx.array(b)
    check((x * 2)[:, ::-1] + y, (a * 2)[:, ::-1] + b, 3 * a.nbytes)
    check(mx.exp(x[::-1, ::-1]), np.exp(a[::-1, ::-1]), 2 * a.nbytes)


def test_pads():
    a, b = data(N, N), data(N + 2, N + 2)
    x, y = mx.array(a), mx.array(b)
    padded = np.pad(a, 1, constant_values=2)
    n = a.nbytes
    check(mx.pad(x, 1, constant_values=2), padded, n + padded.nbytes, slack=4)
    check(mx.pad(x * 2, 1), np.pad(a * 2, 1), n + padded.nbytes, slack=4)
    check(mx.pad(x, 1, constant_values=2) * 3 + 1, padded * 3 + 1, n + padded.nbytes)
    work = mx.pad(x * 2, 1) * y + 1
    check(work, np.pad(a * 2, 1) * b + 1, n + 2 * padded.nbytes)

    def neighbours(p):
        return p[2:, 1:-1] + p[:-2, 1:-1] - p[1:-1, 2:] * p[1:-1, :-2]

    check(neighbours(mx.pad(x, 1)), neighbours(np.pad(a, 1)), 2 * n, 1.0, BORDERS)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacks(axis):
    a, b = grids(2)
    x, y = mx.array(a), mx.array(b)
    both = mx.stack([x * 2, x + y], axis) * 3
    check(both, np.stack([a * 2, a + b], axis) * 3, 6 * a.nbytes)


def test_differences_of_fluxes():
    a, b = grids(2)

    def difference(flux):
        return flux[1:] - flux[:-1]

    check(difference(mx.array(a) * mx.array(b)), difference(a * b), 3 * a.nbytes)


# ---- Rewrites ----


def test_updates_that_later_ones_overwrite_are_not_computed():
    a, b, c = data(N, N), data(N, N), data(2, N)
    x = mx.array(a)
    x[3:5] = mx.exp(mx.array(b)[3:5])
    x[7] = mx.array(c)[1] * 2
    x[2:6] = mx.array(b)[2:6] * 2
    x[3:5] = mx.array(c) + 1
    expected = a.copy()
    expected[2:6] = b[2:6] * 2
    expected[7] = c[1] * 2
    expected[3:5] = c + 1
    assert "exp" not in mx.explain(x)
    check(x, expected, 2 * 7 * N * 4, 1.0)


def test_a_value_that_is_read_between_updates_is_computed():
    a, b = data(N, N), data(N, N)
    x = mx.array(a)
    x[3:5] = mx.exp(mx.array(b)[3:5])
    between = x[4] + 1
    x[2:6] = mx.array(b)[2:6] * 2
    mx.eval(x, between)
    np.testing.assert_allclose(np.array(between), np.exp(b[4]) + 1, rtol=1e-5)
    expected = a.copy()
    expected[2:6] = b[2:6] * 2
    np.testing.assert_array_equal(np.array(x), expected)


def test_several_updates_are_stored_in_one_memory():
    a, b, c = data(N - 2, N - 2), data(N), data(N)
    x = mx.array(data(N, N))
    x[1:-1, 1:-1] = mx.array(a) * 2
    x[0] = mx.array(b) + 1
    x[-1] = mx.array(c) + 1
    x[1:-1, 0], x[1:-1, -1] = 0.0, 0.0
    expected = np.pad(a * 2, 1)
    expected[0], expected[-1] = b + 1, c + 1
    check(x, expected, a.nbytes + b.nbytes + c.nbytes + N * N * 4, 1.0, 8 * N)


def test_reductions_read_what_is_put_together():
    a, b = data(N, 8), data(N, 8)
    x, y = mx.array(a), mx.array(b)
    both, expected = mx.concatenate([x * 2, y], axis=1), np.concatenate([a * 2, b], 1)
    out = both / mx.sum(both * both, axis=-1, keepdims=True)
    check(out, expected / (expected * expected).sum(-1, keepdims=True), 8 * a.nbytes)
    soft = mx.softmax(x, axis=-1)[:, :3]
    assert moved(soft)[0] == 1


def test_views_of_an_epilogue_stay_views():
    x, w, b = mx.array(data(32, 64)), mx.array(data(64, 96)), mx.array(data(96))
    q, k, v = mx.split(x @ w + b, 3, axis=-1)
    assert moved(q, k, v)[0] == (2 if SIMULATED else 1)  # the CPU's products have epilogues


# ---- Derivatives and compilation ----


def test_gradients_through_slices_and_updates():
    a, w = data(6, 7), data(6, 7)

    def f(x, xp):
        y = xp.zeros_like(x)
        y[1:-1, 1:-1] = x[2:, 1:-1] * x[:-2, 1:-1]
        y[0] = x[1]
        flux = y * x
        return (flux[1:] - flux[:-1]) * w[1:]

    gradient = np.array(mx.grad(lambda x: mx.sum(f(x, mx)))(mx.array(a)))
    for i, j in ((0, 0), (1, 3), (2, 2), (5, 6), (4, 1)):
        step = np.zeros_like(a, dtype=np.float64)
        step[i, j] = 1e-4
        slope = (f(a + step, np).sum() - f(a - step, np).sum()) / 2e-4
        np.testing.assert_allclose(gradient[i, j], slope, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shapeless", [False, True])
def test_compiled_steps_have_the_same_bits(shapeless):
    a, u, v = grids(3)

    def step(c, u, v):
        c = mx.roll(c * 2, 1, 0) + mx.pad(u * v, 1)[:-2, 2:]
        return simulations.advect(mx, c, u, v)

    compiled = mx.compile(step, shapeless=shapeless)
    expected = np.array(step(*map(mx.array, (a, u, v))))
    for _ in range(3):
        np.testing.assert_array_equal(np.array(compiled(*map(mx.array, (a, u, v)))), expected)
        # The calls with what stands around them.
        out = compiled(mx.array(a)[:, ::-1] * 1, mx.array(u), mx.array(v))[1:] * 2
        whole = step(mx.array(a)[:, ::-1] * 1, mx.array(u), mx.array(v))[1:] * 2
        np.testing.assert_array_equal(np.array(out), np.array(whole))
