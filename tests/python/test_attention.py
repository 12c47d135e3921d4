"""Attention: values, gradients, memory, and bits that follow from a row's own sequence."""

import itertools

import numpy as np
import pytest
from conftest import assert_close

import cermet.core as mx

# Of an element, relative to the largest value.
BOUNDS = {mx.float32: 2e-6, mx.float16: 2e-3, mx.bfloat16: 1.2e-2}
HALVES = pytest.mark.parametrize("dtype", BOUNDS)
# Queries, keys: around panels of 16 and 32 queries, blocks of 128 and 256 keys.
EXTENTS = [(1, 1), (1, 255), (3, 256), (8, 257), (9, 7), (16, 129), (17, 513), (33, 300)]
EXTENTS += [(130, 130), (129, 128), (257, 513), (5, 3)]


@pytest.fixture(autouse=True)
def on_the_cpu():
    """A GPU runs the expansion, which tests of composites see to."""
    with mx.stream(mx.cpu):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def sdpa(q, k, v, **options):
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, **options)


def qkv(rows, columns, dim=8, value_dim=None, batch=2, heads=4, groups=2, dtype=mx.float32):
    arrays = [
        normal(batch, heads, rows, dim, seed=1) * 2,
        normal(batch, groups, columns, dim, seed=2),
        normal(batch, groups, columns, value_dim or dim, seed=3),
    ]
    return [mx.array(a.astype(np.float32)).astype(dtype) for a in arrays]


def wide(a):
    return np.array(a.astype(mx.float64))


def reference(q, k, v, mask=None, sinks=None):
    q, k, v = wide(q), wide(k), wide(v)
    shared = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, shared, 1), np.repeat(v, shared, 1)
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5
    rows, columns = scores.shape[-2:]
    if isinstance(mask, str):
        mask = np.arange(columns) <= np.arange(columns - rows, columns)[:, None]
    elif mask is not None:
        mask = np.array(mask) if mask.dtype == mx.bool_ else wide(mask)
    if mask is not None:
        scores = np.where(mask, scores, -1e300) if mask.dtype == bool else scores + mask
    high = scores.max(-1, keepdims=True)
    if sinks is not None:
        sinks = wide(sinks)[..., :, None, None]
        high = np.maximum(high, sinks)
    e = np.exp(scores - high)
    total = e.sum(-1, keepdims=True) + (0 if sinks is None else np.exp(sinks - high))
    return e / total @ v


def check(inputs, dtype=mx.float32, **options):
    got, want = wide(sdpa(*inputs, **options)), reference(*inputs, **options)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= BOUNDS[dtype] * max(1, np.abs(want).max())


def bits(a):
    mx.eval(a)
    return np.array(mx.contiguous(a).view(mx.uint8)).tobytes()


def some(*shape, seed=4):
    """A boolean mask that shows each row its first key."""
    mask = normal(*shape, seed=seed) > 0
    mask[..., 0] = True
    return mx.array(mask)


def masks(rows, columns, batch=2, heads=4):
    added = mx.array(normal(batch, heads, rows, columns, seed=5).astype(np.float32))
    return {
        "none": None,
        "causal": "causal",
        "boolean": some(batch, heads, rows, columns),
        "of keys": some(batch, 1, 1, columns),
        "of heads": some(heads, rows, columns),
        "of rows": some(rows, columns),
        "transposed": some(columns, rows).T | (mx.arange(columns) == 0),
        "one": some(1, 1),
        "added": added,
        "added by heads": added[0, :, :1],
        "infinite": mx.where(some(rows, columns), 0.25, -float("inf")),
        "repeated": mx.broadcast_to(added[:1, :1, :, :1], (batch, heads, rows, columns)),
        "stepped": mx.repeat(added, 2, 3)[..., ::2],
    }


@HALVES
@pytest.mark.parametrize("extents", EXTENTS)
def test_values(extents, dtype):
    inputs = qkv(*extents, dim=64, dtype=dtype)
    check(inputs, dtype)
    if extents[0] <= extents[1]:
        check(inputs, dtype, mask="causal")


@pytest.mark.parametrize("name", masks(1, 1))
@pytest.mark.parametrize("extents", [(3, 5), (7, 300), (40, 37), (70, 513)])
def test_masks(name, extents):
    if name == "causal" and extents[0] > extents[1]:
        return
    mask = masks(*extents)[name]
    check(qkv(*extents), mask=mask)
    check(qkv(*extents), mask=mask, sinks=mx.array([0.5, -1.0, 30.0, 2.0]))
    if isinstance(mask, mx.array) and mask.dtype != mx.bool_:
        for dtype in (mx.float16, mx.bfloat16):
            check(qkv(*extents, dtype=dtype), dtype, mask=mask.astype(dtype))


@HALVES
@pytest.mark.parametrize("dims", [(1, 1), (3, 5), (64, 96), (80, 7), (128, 128), (300, 33)])
def test_dimensions(dims, dtype):
    for rows, columns in [(2, 300), (20, 67)]:
        check(qkv(rows, columns, *dims, dtype=dtype), dtype, mask="causal")


@pytest.mark.parametrize("heads", [(1, 1), (6, 6), (6, 1), (9, 3)])
def test_grouped_heads(heads):
    for rows in (1, 2, 21):
        check(qkv(rows, 70, heads=heads[0], groups=heads[1]), mask="causal")


@HALVES
@pytest.mark.parametrize("rows", [1, 50])
def test_strides_change_no_bit(rows, dtype):
    inputs = qkv(rows, 300, dim=64, dtype=dtype)
    want = bits(sdpa(*inputs, mask="causal"))
    turned = [mx.contiguous(a.swapaxes(1, 2)).swapaxes(1, 2) for a in inputs]
    assert bits(sdpa(*turned, mask="causal")) == want
    columns = [mx.contiguous(a.swapaxes(2, 3)).swapaxes(2, 3) for a in inputs]
    assert bits(sdpa(*columns, mask="causal")) == want
    flipped = [mx.contiguous(a[:, :, ::-1, ::-1])[:, :, ::-1, ::-1] for a in inputs]
    assert bits(sdpa(*flipped, mask="causal")) == want


def test_transposed_heads_are_not_copied():
    q, k, v = (mx.random.normal((1, 512, 8, 64)).swapaxes(1, 2) for _ in range(3))
    mx.eval(q, k, v)
    text = mx.explain(sdpa(q, k, v, mask="causal"))
    assert text.splitlines()[-1].startswith("1 step")


# ---- Rows that see nothing, numbers that are none ----


def test_a_row_without_keys_takes_the_mean():
    q, k, v = qkv(40, 37)
    mean = np.repeat(wide(v).mean(2, keepdims=True), 2, 1)
    got = wide(sdpa(q, k, v, mask="causal"))  # the first three rows come before every key
    np.testing.assert_allclose(got[:, :, :3], np.broadcast_to(mean, got[:, :, :3].shape), atol=1e-6)
    hidden = sdpa(q[:, :, :2], k, v, mask=mx.zeros((2, 37), dtype=mx.bool_))
    np.testing.assert_allclose(wide(hidden), np.broadcast_to(mean, hidden.shape), atol=1e-6)
    sinks = mx.zeros(4)
    assert not np.array(sdpa(q, k, v, mask=mx.array(False), sinks=sinks)).any()


def test_a_row_that_an_added_mask_hides_is_nan():
    mask = mx.where(mx.arange(20)[:, None] == 3, -float("inf"), mx.zeros((20, 300)))
    got = np.isnan(np.array(sdpa(*qkv(20, 300), mask=mask)))
    assert got[:, :, 3].all()
    assert got.sum() == got[:, :, 3].size


@HALVES
@pytest.mark.parametrize("rows", [1, 8, 40])
def test_what_is_masked_may_be_anything(rows, dtype):
    q, k, v = qkv(rows, 300, dim=64, dtype=dtype)
    mask = some(rows, 300) & (mx.arange(300) % 7 != 5)
    want = bits(sdpa(q, k, v, mask=mask))
    hidden = (mx.arange(300) % 7 == 5)[:, None]
    for x, y in [("nan", "nan"), ("inf", "-inf"), ("nan", "inf")]:
        spoiled_k = mx.where(hidden, mx.array(float(x), dtype), k)
        spoiled_v = mx.where(hidden, mx.array(float(y), dtype), v)
        assert bits(sdpa(q, spoiled_k, spoiled_v, mask=mask)) == want


@pytest.mark.parametrize("rows", [1, 40])
def test_nan_and_infinity_arrive(rows):
    q, k, v = qkv(rows, 300)
    spoiled = mx.where((mx.arange(300) == 290)[:, None], float("nan"), k)
    assert np.isnan(np.array(sdpa(q, spoiled, v))).all()
    assert np.isnan(np.array(sdpa(q * float("nan"), k, v, mask="causal"))).all()
    high = mx.where((mx.arange(300) == 290)[:, None], float("inf"), v)
    assert np.isposinf(np.array(sdpa(q, k, high))).all()


# ---- Bits ----


@HALVES
@pytest.mark.parametrize("shape", [(8, 8, 64), (6, 2, 40), (4, 1, 300)])
def test_a_prompt_in_pieces_has_the_same_bits(shape, dtype):
    heads, groups, dim = shape
    n = 530
    q, k, v = qkv(n, n, dim, batch=1, heads=heads, groups=groups, dtype=dtype)
    whole = sdpa(q, k, v, mask="causal")
    for pieces in ([256, 274], [1, 1, 3, 251, 8, 9, 257], [255, 2, 273]):
        ends = list(itertools.accumulate(pieces))
        parts = [
            sdpa(q[:, :, end - size : end], k[:, :, :end], v[:, :, :end], mask="causal")
            for size, end in zip(pieces, ends, strict=True)
        ]
        assert bits(mx.concatenate(parts, 2)) == bits(whole)
    for end in [*range(1, 40), *range(250, 262), n]:  # token by token
        one = sdpa(q[:, :, end - 1 : end], k[:, :, :end], v[:, :, :end])
        assert bits(one) == bits(whole[:, :, end - 1 : end])


@HALVES
def test_a_sequence_of_a_batch_has_the_same_bits(dtype):
    for rows in (1, 5, 50):
        q, k, v = qkv(rows, 300, 64, batch=5, dtype=dtype)
        together = sdpa(q, k, v, mask="causal")
        for i in range(5):
            at = slice(i, i + 1)
            assert bits(sdpa(q[at], k[at], v[at], mask="causal")) == bits(together[at])
            head = sdpa(q[at, :2], k[at, :1], v[at, :1], mask="causal")
            assert bits(head) == bits(together[at, :2])


@HALVES
def test_a_mask_that_says_the_same_has_the_same_bits(dtype):
    for rows, columns in [(1, 300), (7, 300), (300, 300), (70, 600)]:
        inputs = qkv(rows, columns, 64, dtype=dtype)
        causal = bits(sdpa(*inputs, mask="causal"))
        mask = mx.arange(columns) <= mx.arange(columns - rows, columns)[:, None]
        assert bits(sdpa(*inputs, mask=mask)) == causal
        added = mx.where(mask, 0, -float("inf")).astype(dtype)
        assert bits(sdpa(*inputs, mask=added)) == causal


def test_padding_behind_a_sequence_changes_no_bit():
    for rows in (1, 12, 60):
        q, k, v = qkv(rows, 700, 64)
        seen = mx.arange(700) < 333
        alone = sdpa(q, k[:, :, :333], v[:, :, :333])
        assert bits(sdpa(q, k, v, mask=seen)) == bits(alone)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_threads_change_no_bit(rows, dtype):
    inputs = qkv(rows, 2100, 64, batch=1, heads=2, groups=1, dtype=dtype)
    before = mx.get_num_threads()
    found = set()
    try:
        for threads in (1, 2, 3, 4):
            mx.set_num_threads(threads)
            gradient = mx.grad(
                lambda *a: sdpa(*a, mask="causal").astype(mx.float32).sum(), (0, 1, 2)
            )
            found.add((bits(sdpa(*inputs, mask="causal")), *map(bits, gradient(*inputs))))
    finally:
        mx.set_num_threads(before)
    assert len(found) == 1


# ---- Gradients ----


def loss(**options):
    def f(*inputs):
        out = sdpa(*inputs[:3], **options, **({"sinks": inputs[3]} if len(inputs) > 3 else {}))
        weights = mx.array(normal(*out.shape, seed=9)).astype(out.dtype)
        return (out * weights).sum()

    return f


def check_gradients(inputs, bound, **options):
    which = tuple(range(len(inputs)))
    got = mx.grad(loss(**options), which)(*inputs)
    if isinstance(options.get("mask"), mx.array) and options["mask"].dtype != mx.bool_:
        options["mask"] = options["mask"].astype(mx.float64)
    want = mx.grad(loss(**options), which)(*[a.astype(mx.float64) for a in inputs])
    for a, b in zip(got, want, strict=True):
        a, b = wide(a), np.array(b)
        assert a.shape == b.shape
        assert np.abs(a - b).max() <= bound * max(1, np.abs(b).max())


@HALVES
@pytest.mark.parametrize("extents", EXTENTS)
def test_gradients(extents, dtype):
    bound = {mx.float32: 4e-6, mx.float16: 8e-3, mx.bfloat16: 6e-2}[dtype]
    for options in ({}, {"mask": "causal"}):
        check_gradients(qkv(*extents, dim=24, value_dim=40, dtype=dtype), bound, **options)


@pytest.mark.parametrize("name", masks(1, 1))
@pytest.mark.parametrize("extents", [(7, 300), (140, 133)])
def test_gradients_of_masked(name, extents):
    mask = masks(*extents)[name]
    sinks = mx.array([0.5, -1.0, 3.0, 2.0])
    check_gradients(qkv(*extents), 4e-6, mask=mask)
    check_gradients([*qkv(*extents), sinks], 4e-6, mask=mask)


def test_gradient_of_rows_without_keys():
    check_gradients(qkv(9, 20), 4e-6, mask=some(9, 20) & (mx.arange(9) % 4 != 2)[:, None])


def test_gradient_of_an_added_mask():
    q, k, v = qkv(6, 9)
    for shape in [(2, 4, 6, 9), (6, 9), (2, 1, 1, 9), (1, 4, 6, 1)]:
        mask = mx.array(normal(*shape, seed=8).astype(np.float32))
        f = mx.grad(lambda m, *a: (sdpa(*a, mask=m) ** 2).sum())
        got = f(mask, q, k, v)
        want = f(*[a.astype(mx.float64) for a in (mask, q, k, v)])
        assert_close(got, np.array(want), rtol=1e-5, atol=1e-5)


def test_gradients_against_differences():
    inputs = [a.astype(mx.float64) for a in [*qkv(3, 5), mx.array([0.5, -1.0, 3.0, 2.0])]]
    f = loss(mask="causal")
    gradients = mx.grad(f, (0, 1, 2, 3))(*inputs)
    for i, (a, gradient) in enumerate(zip(inputs, gradients, strict=True)):
        direction = mx.array(normal(*a.shape, seed=7))
        sides = [[*inputs[:i], a + h * direction, *inputs[i + 1 :]] for h in (1e-5, -1e-5)]
        slope = (f(*sides[0]) - f(*sides[1])).item() / 2e-5
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-6)


def test_second_derivatives():
    q, k, v = qkv(5, 7)

    def curvature(q, k, v):
        return (mx.grad(lambda q: (sdpa(q, k, v, mask="causal") ** 2).sum())(q) ** 2).sum()

    got = mx.grad(curvature, (0, 1, 2))(q, k, v)
    want = mx.grad(curvature, (0, 1, 2))(*[a.astype(mx.float64) for a in (q, k, v)])
    for a, b in zip(got, want, strict=True):
        assert_close(a, np.array(b), rtol=1e-4, atol=1e-4)


# ---- Memory ----


def peak(f, *inputs):
    mx.eval(f(*inputs))
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(f(*inputs))
    return mx.get_peak_memory() - before


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_memory_is_linear_in_the_length(dtype, mask):
    def value(*inputs):
        return sdpa(*inputs, mask=mask)

    gradient = mx.grad(lambda *a: value(*a).astype(mx.float32).sum(), (0, 1, 2))
    for f in (value, gradient):
        short, long = (peak(f, *qkv(n, n, 32, 32, 1, 1, 1, dtype)) for n in (1024, 4096))
        assert long <= 4.5 * short
        assert long <= 24 * 4096 * 32 * 4 + 4 * 2**20
    one = peak(value, *qkv(1, 4096, 64, batch=1, dtype=dtype))
    assert one <= 2**20 * mx.get_num_threads()
