"""Attention on the simulated GPU: values, gradients, what is hidden, and what its kernels move."""

import numpy as np
import pytest
from conftest import SIMULATED, counted
from test_attention import (
    BOUNDS,
    HALVES,
    check,
    check_gradients,
    masks,
    mx,
    normal,
    qkv,
    sdpa,
    some,
    wide,
)

if not SIMULATED:
    pytest.skip("needs the simulated Metal device", allow_module_level=True)
from cermet.metal import simulator

pytestmark = pytest.mark.usefixtures("on_the_gpu")


def counted_of(f, *inputs):
    """What the device ran and moved for f(*inputs), of inputs that are there."""
    mx.eval(inputs)
    return counted(f(*inputs))


def causal(q, k, v):
    return sdpa(q, k, v, mask="causal")


def where(*arrays):
    """The steps of an evaluation, as text."""
    return mx.metal.source(*arrays)


# ---- Values --------------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize(
    "extents", [(1, 1), (1, 255), (4, 257), (5, 3), (5, 40), (17, 65), (33, 130)]
)
def test_values(extents, dtype):
    inputs = qkv(*extents, dim=32, dtype=dtype)
    check(inputs, dtype)
    if extents[0] <= extents[1]:
        check(inputs, dtype, mask="causal")


@HALVES
@pytest.mark.parametrize("dims", [(1, 1), (3, 5), (64, 96), (80, 7), (128, 128), (256, 200)])
def test_dimensions(dims, dtype):
    for rows, columns in [(2, 70), (10, 37)]:
        inputs = qkv(rows, columns, *dims, batch=1, dtype=dtype)
        assert "a kernel of metal/" in where(sdpa(*inputs))
        check(inputs, dtype, mask="causal")


def test_wide_heads_are_expanded():
    inputs = qkv(3, 20, 300, 33)
    assert "softmax" in where(sdpa(*inputs)) or "exp" in where(sdpa(*inputs))
    check(inputs, mask="causal")


@pytest.mark.parametrize("name", masks(1, 1))
@pytest.mark.parametrize("extents", [(3, 5), (3, 300), (21, 37)])
def test_masks(name, extents):
    if name == "causal" and extents[0] > extents[1]:
        return
    mask = masks(*extents)[name]
    check(qkv(*extents), mask=mask)
    for dtype in (mx.float32, mx.float16, mx.bfloat16):
        check(qkv(*extents), mask=mask, sinks=mx.array([0.5, -1.0, 30.0, 2.0]).astype(dtype))
    if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
        for dtype in (mx.float16, mx.bfloat16):
            check(qkv(*extents, dtype=dtype), dtype, mask=mask.astype(dtype))


@pytest.mark.parametrize("heads", [(1, 1), (6, 6), (6, 1), (9, 3)])
@pytest.mark.parametrize("rows", [1, 2, 21])
def test_grouped_heads(heads, rows):
    check(qkv(rows, 70, heads=heads[0], groups=heads[1]), mask="causal")


@pytest.mark.parametrize("rows", [1, 20])
def test_strides(rows):
    inputs = qkv(rows, 100, dim=16)
    want = wide(sdpa(*inputs, mask="causal"))
    for layout in (
        [mx.contiguous(a.swapaxes(1, 2)).swapaxes(1, 2) for a in inputs],
        [mx.contiguous(a.swapaxes(2, 3)).swapaxes(2, 3) for a in inputs],
        [mx.contiguous(a[:, :, ::-1, ::-1])[:, :, ::-1, ::-1] for a in inputs],
    ):
        np.testing.assert_array_equal(wide(sdpa(*layout, mask="causal")), want)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_long_caches_are_taken_in_parts(dtype):
    for columns, batch in [(1500, 1), (5000, 2)]:
        inputs = qkv(1, columns, 64, batch=batch, dtype=dtype)
        check(inputs, dtype)
        sinks = mx.array([0.5, -1.0, 3.0, 2.0])
        check(inputs, dtype, mask=some(batch, 1, 1, columns), sinks=sinks)
        assert counted_of(sdpa, *inputs)["dispatches"] == 2


# ---- Rows that see nothing, numbers that are none ------------------------------------------------


@pytest.mark.parametrize("columns", [37, 1100])
def test_a_row_without_keys_takes_the_mean(columns):
    q, k, v = qkv(40, columns)
    mean = np.repeat(wide(v).mean(2, keepdims=True), 2, 1)
    if columns < 40:
        got = wide(sdpa(q, k, v, mask="causal"))[:, :, :3]
        np.testing.assert_allclose(got, np.broadcast_to(mean, got.shape), atol=1e-6)
    for rows in (2, 20):
        hidden = sdpa(q[:, :, :rows], k, v, mask=mx.zeros((rows, columns), dtype=mx.bool_))
        np.testing.assert_allclose(wide(hidden), np.broadcast_to(mean, hidden.shape), atol=1e-6)
        assert not np.array(sdpa(q, k, v, mask=mx.array(False), sinks=mx.zeros(4))).any()


@pytest.mark.parametrize("rows", [4, 20])
def test_a_row_that_an_added_mask_hides_is_nan(rows):
    mask = mx.where(mx.arange(rows)[:, None] == 3, -float("inf"), mx.zeros((rows, 300)))
    got = np.isnan(np.array(sdpa(*qkv(rows, 300), mask=mask)))
    assert got[:, :, 3].all()
    assert got.sum() == got[:, :, 3].size


@HALVES
@pytest.mark.parametrize("rows", [1, 20])
def test_what_is_masked_may_be_anything(rows, dtype):
    q, k, v = qkv(rows, 150, dim=16, dtype=dtype)
    mask = some(rows, 150) & (mx.arange(150) % 7 != 5)
    want = wide(sdpa(q, k, v, mask=mask))
    hidden = (mx.arange(150) % 7 == 5)[:, None]
    for x, y in [("nan", "nan"), ("inf", "-inf")]:
        spoiled_k = mx.where(hidden, mx.array(float(x), dtype), k)
        spoiled_v = mx.where(hidden, mx.array(float(y), dtype), v)
        got = wide(sdpa(q, spoiled_k, spoiled_v, mask=mask))
        assert np.abs(got - want).max() <= BOUNDS[dtype] * np.abs(want).max()


@pytest.mark.parametrize("rows", [1, 20])
def test_nan_and_infinity_arrive(rows):
    q, k, v = qkv(rows, 300)
    spoiled = mx.where((mx.arange(300) == 290)[:, None], float("nan"), k)
    assert np.isnan(np.array(sdpa(q, spoiled, v))).all()
    assert np.isnan(np.array(sdpa(q * float("nan"), k, v, mask="causal"))).all()
    high = mx.where((mx.arange(300) == 290)[:, None], float("inf"), v)
    assert np.isposinf(np.array(sdpa(q, k, high))).all()


# ---- Gradients -----------------------------------------------------------------------------------


@HALVES
@pytest.mark.parametrize("extents", [(1, 1), (3, 70), (17, 33), (40, 37), (37, 100)])
def test_gradients(extents, dtype):
    bound = {mx.float32: 4e-6, mx.float16: 8e-3, mx.bfloat16: 6e-2}[dtype]
    for options in ({}, {"mask": "causal"}):
        check_gradients(qkv(*extents, dim=24, value_dim=40, dtype=dtype), bound, **options)


@pytest.mark.parametrize("dims", [(128, 128), (256, 64)])
def test_gradients_of_wide_heads(dims):
    check_gradients(qkv(9, 20, *dims, batch=1), 4e-6, mask="causal")


@pytest.mark.parametrize("name", masks(1, 1))
def test_gradients_of_masked(name):
    mask = masks(40, 33)[name]
    check_gradients(qkv(40, 33), 4e-6, mask=mask)
    for sinks in (mx.array([0.5, -1.0, 3.0, 2.0]), mx.array([0.5, -1.0, 3.0, 2.0], mx.float16)):
        check_gradients(
            [*qkv(40, 33), sinks], 4e-3 if sinks.dtype == mx.float16 else 4e-6, mask=mask
        )


def test_gradient_of_rows_without_keys():
    check_gradients(qkv(9, 20), 4e-6, mask=some(9, 20) & (mx.arange(9) % 4 != 2)[:, None])


def test_sinks_of_each_entry():
    q, k, v = qkv(5, 20)
    sinks = mx.array(normal(3, 4).astype(np.float32))
    f = mx.grad(lambda s, *a: (sdpa(*a, sinks=s) ** 2).sum())
    got = mx.vmap(f, in_axes=(0, None, None, None))(sinks, q, k, v)
    for i in range(3):
        np.testing.assert_allclose(got[i], f(sinks[i], q, k, v), rtol=1e-5, atol=1e-5)


# ---- Kernels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [{"sanitize": True}, {"shuffle": 3}])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_checked_kernels(mode, dtype):
    sinks = mx.array([0.5, -1.0, 3.0, 2.0])
    bound = {mx.float32: 4e-6, mx.bfloat16: 6e-2}[dtype]
    simulator.set_mode(**mode)
    for extents in [(2, 70), (21, 37)]:
        inputs = qkv(*extents, dim=20, value_dim=12, batch=1, dtype=dtype)
        for mask in ("causal", masks(*extents, batch=1)["of rows"]):
            check(inputs, dtype, mask=mask, sinks=sinks)
            check_gradients([*inputs, sinks], bound, mask=mask)
    check(qkv(1, 1100, 20, batch=1, dtype=dtype), dtype)  # in parts
    spoiled = mx.where((mx.arange(37) == 36)[:, None], float("inf"), inputs[2])
    mx.eval(sdpa(*inputs[:2], spoiled.astype(dtype), mask="causal"))


def test_no_step_runs_on_the_cpu():
    inputs = qkv(20, 37)
    gradient = mx.grad(lambda *a: sdpa(*a, mask="causal").sum(), (0, 1, 2))
    assert "on the CPU" not in where(sdpa(*inputs, mask="causal"), *gradient(*inputs))


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
def test_a_block_of_queries_reads_keys_and_values_once(dtype):
    """64 rows of a group at a time, and no scores in memory."""
    rows, columns, dim = 96, 2048, 64
    q, k, v = qkv(rows, columns, dim, batch=1, heads=2, groups=1, dtype=dtype)
    counts = counted_of(sdpa, q, k, v)
    blocks = 2 * rows // 64
    assert counts["dispatches"] == 1
    assert counts["device_read"] == q.nbytes + blocks * (k.nbytes + v.nbytes)
    assert counts["device_written"] == q.nbytes
    assert counts["simdgroup_macs"] == 2 * 2 * rows * columns * dim
    # A block that causality hides is not read.
    q, k, v = qkv(256, 256, dim, batch=1, heads=1, groups=1, dtype=dtype)
    counts = counted_of(causal, q, k, v)
    assert counts["device_read"] == q.nbytes + (k.nbytes + v.nbytes) * (1 + 2 + 3 + 4) // 4


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_one_query_reads_the_cache_once(dtype):
    q, k, v = qkv(1, 2048, 128, batch=1, heads=8, groups=2, dtype=dtype)
    counts = counted_of(causal, q, k, v)
    cache = k.nbytes + v.nbytes
    assert counts["dispatches"] == 2
    assert cache <= counts["device_read"] <= 1.1 * cache
    assert counts["device_written"] <= 0.05 * cache


def test_a_gradient_stores_no_scores():
    rows = 256
    inputs = qkv(rows, rows, 64, batch=1, heads=1, groups=1)
    counts = counted_of(mx.grad(lambda *a: causal(*a).sum(), (0, 1, 2)), *inputs)
    each = inputs[0].nbytes
    # Queries, keys, values; the output; a cotangent; two numbers a row.
    assert counts["device_written"] <= 8 * each
    assert counts["device_written"] < rows * rows * 4 * 2
