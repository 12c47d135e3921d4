"""Pooling against its definition: maxima and means of windows, and where their gradients go."""

import itertools

import numpy as np
import pytest
from conftest import assert_equal, exact_sample, to_mx, to_np

import cermet.core as mx
import cermet.nn as nn

# The shape, and the window's size, stride and padding.
CASES = {
    "1d": ((2, 9, 4), (2,), (2,), (0,)),
    "1d overlapping": ((2, 11, 19), (3,), (2,), (1,)),
    "1d sparse": ((2, 11, 3), (2,), (4,), (0,)),
    "2d": ((2, 6, 8, 16), (2, 2), (2, 2), (0, 0)),
    "2d overlapping": ((3, 9, 7, 21), (3, 2), (2, 1), (1, 0)),
    "2d all": ((1, 3, 4, 5), (3, 4), (1, 1), (0, 0)),
    "2d wide": ((2, 5, 6, 150), (3, 3), (1, 1), (1, 1)),
    "3d": ((1, 4, 5, 6, 17), (2, 3, 2), (2, 1, 3), (1, 1, 0)),
    "empty batch": ((0, 9, 4), (2,), (2,), (0,)),
}
cases = pytest.mark.parametrize("shape, size, stride, padding", CASES.values(), ids=CASES)


def windows(shape, size, stride, padding):
    """Places of windows' elements in flattened space, -1 outside: (outputs, taps)."""
    index = np.arange(np.prod(shape[1:-1])).reshape(shape[1:-1])
    index = np.pad(index, [(p, p) for p in padding], constant_values=-1)
    counts = [(n - k) // s + 1 for n, k, s in zip(index.shape, size, stride, strict=True)]
    taps = []
    for tap in itertools.product(*map(range, size)):
        at = [slice(t, t + (n - 1) * s + 1, s) for t, n, s in zip(tap, counts, stride, strict=True)]
        taps.append(index[tuple(at)].reshape(-1))
    return np.stack(taps, -1), counts


def layer(kind, size, stride, padding):
    return getattr(nn, f"{kind}Pool{len(size)}d")(size, stride, padding)


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32"])
@pytest.mark.parametrize("kind", ["Max", "Avg"])
def test_values(kind, dtype, shape, size, stride, padding, rng):
    if kind == "Max" and dtype == "int32" and any(padding):
        pytest.skip("there is no integer below all")
    x = exact_sample(rng, shape, dtype)
    places, counts = windows(shape, size, stride, padding)
    wide = x.astype(np.float64).reshape(shape[0], int(np.prod(shape[1:-1])), shape[-1])
    fill = -np.inf if kind == "Max" else 0
    parts = np.where(places[None, :, :, None] < 0, fill, wide[:, places])
    want = parts.max(2) if kind == "Max" else parts.sum(2)
    got = layer(kind, size, stride, padding)(to_mx(x))
    if kind == "Avg":
        sums = to_mx(want.astype(x.dtype)) if dtype != "int32" else to_mx(want, "int32")
        want = to_np(sums / int(np.prod(size)))
    want = want.reshape(shape[0], *counts, shape[-1])
    assert_equal(got, want if kind == "Avg" else want.astype(x.dtype))


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_maximum_has_the_gradient(dtype, shape, size, stride, padding, rng):
    x = exact_sample(rng, shape, dtype)  # with ties
    places, counts = windows(shape, size, stride, padding)
    flat = x.reshape(shape[0], int(np.prod(shape[1:-1])), shape[-1])
    parts = np.where(places[None, :, :, None] < 0, -np.inf, flat[:, places])
    c = exact_sample(rng, (shape[0], *counts, shape[-1]), dtype)
    t = exact_sample(rng, shape, dtype)
    winners = np.take_along_axis(
        np.broadcast_to(places[None, :, :, None], parts.shape), parts.argmax(2)[:, :, None], 2
    )[:, :, 0]
    want = np.zeros_like(flat)
    n, channel = np.ogrid[: shape[0], : shape[-1]]
    np.add.at(
        want,
        (n[:, None, :], winners, channel[:, None, :]),
        c.reshape(winners.shape),
    )
    pool = layer("Max", size, stride, padding)
    _, (got,) = mx.vjp(pool, [to_mx(x)], [to_mx(c)])
    assert_equal(got, want.reshape(shape))
    # The tangents are those of the same elements, and the gradient's are gradients again.
    _, (pushed,) = mx.jvp(pool, [to_mx(x)], [to_mx(t)])
    picked = t.reshape(flat.shape)[n[:, None, :], winners, channel[:, None, :]]
    assert_equal(pushed, picked.reshape(c.shape))
    pull = lambda c: mx.vjp(pool, [to_mx(x)], [c])[1]  # noqa: E731
    _, (back,) = mx.vjp(pull, [to_mx(c)], [to_mx(t)])
    assert_equal(back, picked.reshape(c.shape))
    _, (again,) = mx.jvp(pull, [to_mx(c)], [to_mx(c)])
    assert_equal(again, want.reshape(shape))


@cases
def test_vmap(shape, size, stride, padding, rng):
    x = to_mx(exact_sample(rng, (2, *shape), "float32"))
    pool = layer("Max", size, stride, padding)
    assert_equal(mx.vmap(pool)(x), np.stack([to_np(pool(entry)) for entry in x]))
    gradient = mx.grad(lambda x: (pool(x) ** 2).sum())
    assert_equal(mx.vmap(gradient)(x), np.stack([to_np(gradient(entry)) for entry in x]))


@cases
def test_a_mean_is_linear(shape, size, stride, padding, rng):
    x, t = (to_mx(exact_sample(rng, shape, "float32")) for _ in range(2))
    pool = layer("Avg", size, stride, padding)
    scale = int(np.prod(size))  # so that all is exact
    call = lambda x: pool(x * scale)  # noqa: E731
    c = to_mx(exact_sample(rng, call(x).shape, "float32")) * scale
    _, (pulled,) = mx.vjp(call, [x], [c])
    assert (pulled * t).sum().item() == pytest.approx((c * call(t)).sum().item(), rel=1e-5)


def test_what_is_no_number_is_the_maximum():
    x = mx.array([1.0, float("nan"), 3.0, 2.0, -float("inf"), 0.0]).reshape(1, 6, 1)
    got = nn.MaxPool1d(2)(x).reshape(-1)
    assert_equal(got, [np.nan, 3.0, 0.0])


def test_maxima_and_their_gradient_are_computed_whole():
    if mx.default_device() != mx.cpu:
        pytest.skip("the GPU has the expansion")
    x, c = mx.random.normal((8, 32, 32, 64)), mx.random.normal((8, 16, 16, 64))
    mx.eval(x, c)
    gradient = lambda x: mx.vjp(nn.MaxPool2d(2), [x], [c])[1][0]  # noqa: E731
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    out = gradient(x)
    mx.eval(out)
    assert mx.get_peak_memory() - before < out.nbytes * 3 / 2  # a kept buffer may be larger


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: nn.MaxPool2d(2)(x[0]), "MaxPool2d: input has 3 dimensions"),
        (lambda x: nn.MaxPool2d(9)(x), "MaxPool2d: axis 1 has size 5"),
        (lambda x: mx.fast.max_pool(x, (2,), 1, 0), "max_pool: .*each spatial axis"),
        (lambda x: mx.fast.max_pool(x, (2, 2), 0, 0), "max_pool: stride .*at least 1"),
        (lambda x: mx.fast.max_pool(x.astype(mx.int32), (2, 2), 1, 0), "max_pool: .*int32"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(mx.ones((2, 5, 6, 3)))
