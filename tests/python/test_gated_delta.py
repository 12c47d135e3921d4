"""`fast.gated_delta_update` against the recurrence written out, step by step, in float64."""

import numpy as np
import pytest
from conftest import SIMULATED, assert_close, to_mx

import cermet.core as mx

update = mx.fast.gated_delta_update


def recurrence(q, k, v, gamma, beta, state=None, mask=None):
    """Results (B, T, Hv, Dv) and last state (B, Hv, Dv, Dk)."""
    batch, length, heads, values = v.shape
    q, k = (np.repeat(x, heads // x.shape[2], 2) for x in (q, k))
    state = np.zeros((batch, heads, values, q.shape[3])) if state is None else state.astype(float)
    results = np.zeros(v.shape)
    for b, t, h in np.ndindex(batch, length, heads):
        if mask is not None and not mask[b, t]:
            continue
        kept = state[b, h] * gamma[b, t, h]
        change = beta[b, t, h] * (v[b, t, h] - kept @ k[b, t, h])
        state[b, h] = kept + np.outer(change, k[b, t, h])
        results[b, t, h] = state[b, h] @ q[b, t, h]
    return results, state


def inputs(rng, batch=2, length=5, key_heads=2, heads=4, keys=8, values=6, by_key=False):
    def normal(*shape):
        return rng.normal(size=shape).astype("float32")

    gamma = rng.uniform(0.5, 1, (batch, length, heads) + (keys,) * by_key).astype("float32")
    beta = rng.uniform(0, 1, (batch, length, heads)).astype("float32")
    q, k = normal(batch, length, key_heads, keys), normal(batch, length, key_heads, keys) / 3
    return q, k, normal(batch, length, heads, values), gamma, beta


@pytest.mark.parametrize("by_key", [False, True])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_values(rng, key_heads, by_key):
    x = inputs(rng, key_heads=key_heads, by_key=by_key)
    results, state = update(*map(to_mx, x))
    expected, expected_state = recurrence(*x)
    assert_close(results, expected, 1e-5, 1e-5)
    assert_close(state, expected_state, 1e-5, 1e-5)


def test_state_and_mask(rng):
    x = inputs(rng)
    start = rng.normal(size=(2, 4, 6, 8)).astype("float32")
    mask = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 1, 1]], bool)
    results, state = update(*map(to_mx, x), to_mx(start), mask=to_mx(mask))
    expected, expected_state = recurrence(*x, start, mask)
    assert_close(results, expected, 1e-5, 1e-5)
    assert_close(state, expected_state, 1e-5, 1e-5)


def test_in_pieces_as_in_one(rng):
    x = [to_mx(a) for a in inputs(rng)]
    whole, last = update(*x)
    first, state = update(*(a[:, :2] for a in x))
    second, end = update(*(a[:, 2:] for a in x), state)
    assert mx.array_equal(mx.concatenate([first, second], 1), whole) and mx.array_equal(end, last)


@pytest.mark.parametrize(
    ("dtype", "of_state"),
    [("float16", "float32"), ("bfloat16", "float32"), ("int32", "float32"),
     ("float64", "float64"), ("complex64", "complex64")],
)  # fmt: skip
def test_types(rng, dtype, of_state):
    if SIMULATED and dtype == "float64":
        pytest.skip("float64 is the CPU's")
    x = [to_mx(a).astype(getattr(mx, dtype)) for a in inputs(rng)]
    results, state = update(*x)
    assert state.dtype == getattr(mx, of_state)
    assert results.dtype == (mx.float32 if dtype == "int32" else x[0].dtype)
    mixed, _ = update(*x[:3], *map(to_mx, inputs(rng)[3:]))
    assert mixed.dtype == results.dtype


@pytest.mark.parametrize(
    "empty", [{"batch": 0}, {"length": 0}, {"keys": 0}, {"values": 0}, {"key_heads": 1, "heads": 0}]
)
def test_empty(rng, empty):
    x = inputs(rng, **empty)
    results, state = update(*map(to_mx, x))
    assert results.shape == x[2].shape and not mx.any(results)
    assert state.shape == (x[2].shape[0], *x[2].shape[2:], x[0].shape[3])


@pytest.mark.parametrize(
    ("place", "shape", "error"),
    [
        (0, (5, 2, 8), "q has shape"),
        (1, (2, 5, 2, 4), "k has shape"),
        (2, (2, 4, 4, 6), "v has shape"),
        (2, (2, 5, 3, 6), "3 heads, expected a multiple of the 2 of q"),
        (3, (2, 5, 2), "gamma has shape"),
        (4, (2, 5, 4, 1), "beta has shape"),
        (5, (2, 4, 8, 6), "initial_state has shape"),
        (6, (2, 4), "mask has shape"),
    ],
)
def test_wrong_shapes(rng, place, shape, error):
    x = [*map(to_mx, inputs(rng)), None, None]
    x[place] = mx.zeros(shape)
    with pytest.raises(ValueError, match=f"gated_delta_update: .*{error}"):
        update(*x)
