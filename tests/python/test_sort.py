"""Sorting, partitions and search, against NumPy."""

import numpy as np
import pytest
from conftest import (
    ALL_DTYPES,
    FLOATS,
    ODD_SIZES,
    assert_equal,
    axis_error,
    exact_sample,
    mx_dtype,
    to_mx,
    to_np,
)

import cermet.core as mx

REAL = [dtype for dtype in ALL_DTYPES if dtype != "complex64"]


def wide(x):
    return x.astype(np.float64)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_sort_and_argsort(dtype, axis, rng):
    x = exact_sample(rng, (3, 9, 4), dtype)
    for v, a in ((x, to_mx(x)), (x.T, to_mx(x).T), (x[:, ::-2], to_mx(x)[:, ::-2])):
        want = np.sort(wide(v), axis=axis)
        got, order = mx.sort(a, axis=axis), mx.argsort(a, axis=axis)
        assert got.dtype == a.dtype and order.dtype == mx.uint32
        assert_equal(wide(to_np(got)), want)
        flat = v.reshape(-1) if axis is None else v
        assert_equal(wide(np.take_along_axis(flat, to_np(order).astype(int), axis or 0)), want)


@pytest.mark.parametrize("size", [*ODD_SIZES, 2048, 10_007])
@pytest.mark.parametrize("dtype", ["float32", "int32", "float16"])
def test_sizes(size, dtype, rng):
    x = rng.permutation(size) - size // 2
    x = np.stack([x, x[::-1]]).astype(dtype)
    assert_equal(mx.sort(to_mx(x)), np.sort(x))
    assert_equal(mx.sort(to_mx(x.T), axis=0), np.sort(x).T)
    if dtype != "float16":  # which holds fewer different values
        assert_equal(mx.argsort(to_mx(x)), np.argsort(x))


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("size", [300, 150_001])
def test_long_rows(dtype, size, rng):
    """With many equal elements, and of a size that several threads share."""
    x = exact_sample(rng, size, dtype)
    want = np.sort(x if dtype == "complex64" else wide(x))
    order = to_np(mx.argsort(to_mx(x)))
    assert_equal(
        wide(to_np(mx.sort(to_mx(x)))) if dtype != "complex64" else mx.sort(to_mx(x)), want
    )
    assert_equal(order, np.argsort(x if dtype == "complex64" else wide(x), kind="stable"))
    for k in (0, 7, size // 2, size - 3, size - 1):
        part, places = to_np(mx.partition(to_mx(x), k)), to_np(mx.argpartition(to_mx(x), k))
        for got in (part, x[places.astype(int)]):
            got = got if dtype == "complex64" else wide(got)
            assert got[k] == want[k]
            assert_equal(np.sort(got[:k]), want[:k])
            assert_equal(np.sort(got[k:]), want[k:])
        assert_equal(np.sort(places), np.arange(size))


@pytest.mark.parametrize("x", [np.arange(200_000), np.arange(200_000)[::-1], np.arange(200_000) % 7,
                               np.zeros(200_000), np.tile(np.arange(2000), 100)])  # fmt: skip
def test_patterns(x):
    """What is sorted already, backwards, or repeats."""
    x = x.astype(np.float32)
    assert_equal(mx.sort(mx.array(x)), np.sort(x))
    assert_equal(mx.argsort(mx.array(x)), np.argsort(x, kind="stable"))
    assert_equal(mx.partition(mx.array(x), 777)[777], np.sort(x)[777])


@pytest.mark.parametrize("dtype", ["float32", "int16", "float64"])
def test_threads_change_no_partition(dtype, rng):
    x = to_mx(exact_sample(rng, 300_000, dtype))
    threads = mx.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            mx.set_num_threads(count)
            results.append([bytes(mx.partition(x, 1000)), bytes(mx.argpartition(x, 200_000))])
    finally:
        mx.set_num_threads(threads)
    assert results[0] == results[1]


def test_argsort_is_stable(rng):
    x = rng.integers(0, 4, (3, 1030)).astype(np.int32)
    assert_equal(mx.argsort(to_mx(x), axis=1), np.argsort(x, axis=1, kind="stable"))
    assert_equal(mx.argsort(to_mx(x.T), axis=0), np.argsort(x.T, axis=0, kind="stable"))


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_is_last(dtype):
    a = mx.array([mx.nan, 2, -mx.inf, mx.nan, mx.inf, -0.0], dtype=mx_dtype(dtype))
    want = [-np.inf, 0, 2, np.inf, np.nan, np.nan]
    assert_equal(wide(to_np(mx.sort(a))), np.array(want))
    assert mx.argsort(a).tolist()[:4] == [2, 5, 1, 4]


def test_sort_complex():
    """By the real part, then the imaginary one."""
    z = [3 + 1j, 1 + 2j, 1 + 1j, -1 + 9j]
    assert mx.sort(mx.array(z)).tolist() == [-1 + 9j, 1 + 1j, 1 + 2j, 3 + 1j]


@pytest.mark.parametrize("kth", [0, 3, 8, -1, -9])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_partition(kth, axis, rng):
    x = np.stack([rng.permutation(9) for _ in range(9)]).astype(np.float32)
    at = 0 if axis is None else axis
    sizes = x.size if axis is None else 9
    k = kth % sizes
    got, order = (
        to_np(mx.partition(to_mx(x), kth, axis=axis)),
        mx.argpartition(to_mx(x), kth, axis=axis),
    )
    assert order.dtype == mx.uint32
    flat = x.reshape(-1) if axis is None else x
    for part in (got, np.take_along_axis(flat, to_np(order).astype(int), at)):
        assert_equal(np.sort(part, at), np.sort(flat, at))
        pivot = np.take(part, [k], at)
        assert_equal(pivot, np.take(np.sort(flat, at), [k], at))
        assert (np.take(part, range(k), at) <= pivot).all()
        assert (np.take(part, range(k, sizes), at) >= pivot).all()


@pytest.mark.parametrize("k", [1, 4, 9])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_topk(k, axis, rng):
    """The k largest, in any order."""
    x = rng.permutation(81).reshape(9, 9).astype(np.int32)
    at = 0 if axis is None else axis
    got = to_np(mx.topk(to_mx(x), k, axis=axis))
    largest = np.flip(np.sort(x, axis), at).take(range(k), at)
    assert_equal(np.flip(np.sort(got, at), at), largest)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8", "float16"])
def test_searchsorted(side, dtype, rng):
    x = np.sort(exact_sample(rng, 50, dtype))
    values = exact_sample(rng, (4, 6), dtype)
    got = mx.searchsorted(to_mx(x), to_mx(values), side=side)
    assert_equal(got, np.searchsorted(x, values, side=side))
    few = mx.searchsorted(to_mx(x), to_mx(values[0, :2]), side=side)  # halves are not widened
    assert_equal(few, got[0, :2])
    assert mx.searchsorted(to_mx(x[:0]), to_mx(values), side=side).tolist() == [[0] * 6] * 4


def test_unique():
    a = mx.array([3, 1, 1, 2, 3, 3])
    assert mx.unique(a, size=3).tolist() == [1, 2, 3]
    assert mx.unique(a, size=5, fill_value=9).tolist() == [1, 2, 3, 9, 9]
    assert mx.unique(a, size=2).tolist() == [1, 2]
    values, first, inverse, counts = mx.unique(
        a, size=3, return_index=True, return_inverse=True, return_counts=True
    )
    assert values.tolist() == [1, 2, 3] and counts.tolist() == [2, 1, 3]
    assert first.tolist() == [1, 3, 0] and inverse.tolist() == [2, 0, 0, 1, 2, 2]


def test_unique_of_nothing_is_what_fills():
    nothing = mx.zeros((0, 3), mx.int16)
    found = mx.unique(nothing, 2, True, True, True, fill_value=-1)
    assert [x.tolist() for x in found] == [[-1, -1], [0, 0], [], [0, 0]]
    whole = mx.unique(mx.zeros((4, 3), mx.int16), 2, True, True, True, fill_value=-1)
    assert [x.dtype for x in found] == [x.dtype for x in whole] and found[2].shape == (0, 3)
    with pytest.raises(ValueError, match=r"\(0, 3\) is empty, expected elements or a fill_value"):
        mx.unique(nothing, 2)


@pytest.mark.parametrize("size", [1, 4, 9])
def test_unique_against_numpy(size, rng):
    a = rng.integers(0, 6, (4, 5)).astype(np.int32)
    values, first, inverse, counts = np.unique(
        a, return_index=True, return_inverse=True, return_counts=True
    )
    got = mx.unique(mx.array(a), size, return_index=True, return_inverse=True, return_counts=True)
    kept = min(size, len(values))
    for result, want in zip(got, (values, first, inverse, counts), strict=True):
        if want is inverse:
            assert_equal(result, np.minimum(want.reshape(a.shape), size - 1))
        else:
            assert result.shape == (size,)
            assert_equal(result[:kept], want[:kept])
    assert got[3][kept:].tolist() == [0] * (size - kept)


def test_unique_keeps_every_nan():
    assert_equal(mx.unique(mx.array([1.0, np.nan, 1.0, np.nan]), 3), [1, np.nan, np.nan])


@pytest.mark.parametrize("shape, size, message", [((0,), 1, "is empty"), ((2,), 0, "size is 0")])
def test_errors_of_unique(shape, size, message):
    with pytest.raises(ValueError, match=f"unique: .*{message}"):
        mx.unique(mx.zeros(shape), size)


def test_empty_and_single():
    assert mx.sort(mx.zeros((0,))).shape == mx.argsort(mx.zeros((0,))).shape == (0,)
    assert mx.sort(mx.zeros((3, 0))).shape == (3, 0)
    assert mx.sort(mx.array([5])).tolist() == [5] and mx.argsort(mx.array([5])).tolist() == [0]
    assert mx.sort(mx.zeros((0, 3)), axis=1).shape == (0, 3)


def test_gradients():
    """Each element's cotangent goes back to where the element came from."""
    a, weights = mx.array([3.0, 1.0, 2.0]), mx.array([1.0, 10.0, 100.0])
    assert mx.grad(lambda a: (mx.sort(a) * weights).sum())(a).tolist() == [100, 1, 10]
    assert mx.grad(lambda a: (mx.partition(a, 1) * weights).sum())(a).tolist() == [100, 1, 10]
    assert mx.grad(lambda a: mx.topk(a, 1).sum())(a).tolist() == [1, 0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int32"])
def test_gradient_of_a_partition_of_equals(dtype, rng):
    """Whatever the order of a partition is, an element gets the cotangent of its own place."""
    x = rng.integers(-9, 9, 3000)
    a = mx.array(x * np.where(rng.random(3000) < 0.5, -1.0, 1.0)).astype(mx_dtype(dtype))
    if dtype == "int32":
        a = mx.concatenate([a, mx.arange(2000)]).astype(mx.float32)
    weights = mx.arange(a.size).astype(a.dtype)
    got = mx.grad(lambda a: (mx.partition(a, 2000) * weights).sum())(a)
    pairs = [
        np.stack([wide(to_np(v)), wide(to_np(w))])
        for v, w in ((a, got), (mx.partition(a, 2000), weights))
    ]
    first, second = (pair[:, np.lexsort(pair[::-1])] for pair in pairs)
    assert_equal(first, second)


@pytest.mark.parametrize(
    "call",
    [
        lambda a, axis: mx.sort(a, axis=axis),
        lambda a, axis: mx.argsort(a, axis=axis),
        lambda a, axis: mx.partition(a, 0, axis=axis),
        lambda a, axis: mx.argpartition(a, 0, axis=axis),
        lambda a, axis: mx.topk(a, 1, axis=axis),
    ],
)
@pytest.mark.parametrize("axis", [2, -3])
def test_axis_errors(call, axis):
    with axis_error(axis):
        call(mx.zeros((2, 3)), axis)


@pytest.mark.parametrize("call", [lambda a: mx.partition(a, 3), lambda a: mx.argpartition(a, -4),
                                  lambda a: mx.topk(a, 4), lambda a: mx.topk(a, -1),
                                  lambda a: mx.searchsorted(a, a, side="up")])  # fmt: skip
def test_other_errors(call):
    with pytest.raises(ValueError):
        mx.eval(call(mx.zeros(3)))


@pytest.mark.parametrize("name", ["argsort", "argmax", "argmin", "argpartition"])
def test_more_places_than_indices_tell_apart(name):
    """The indices are uint32; only values may be longer. No such array is ever made."""
    one = mx.array([1], mx.uint8)
    more = {"kth": 3} if name == "argpartition" else {}
    for shape, axis in (((2**32 + 1,), 0), ((2, 2**32 + 1, 3), -2), ((2**17, 2**17), None)):
        a = mx.broadcast_to(one, shape)
        with pytest.raises(ValueError, match=rf"{name}: axis.*4294967296.*uint32"):
            getattr(mx, name)(a, axis=axis, **more)
    a = mx.broadcast_to(one, (2**32,))
    getattr(mx, name)(a, axis=0, **more)
    with pytest.raises(ValueError, match=r"searchsorted: .*4294967296 elements.*uint32"):
        mx.searchsorted(a, one)
    with pytest.raises(ValueError, match=r"unique: .*2\^31"):
        mx.unique(a, size=3)
    mx.sort(mx.broadcast_to(one, (2**32 + 1,)))
    mx.partition(mx.broadcast_to(one, (2**32 + 1,)), 3)


def test_signs_of_complex_zeros():
    """They are equal in order, and stay what they are."""
    zeros = [complex(x, y) for x in (-0.0, 0.0) for y in (-0.0, 0.0, 1.0)]
    for seed in range(20):
        x = mx.array(np.random.default_rng(seed).permutation(np.array(zeros, np.complex64)))
        order = x[mx.argsort(x)]
        assert bytes(mx.sort(x)) == bytes(order)
        assert [v.imag for v in order.tolist()] == [0, 0, 0, 0, 1, 1]
        assert abs(mx.partition(x, 3).tolist()[3].imag) == 0 and mx.topk(x, 1).item().imag == 1
    x = mx.array([complex(-0.0, 1), complex(0.0, 0)])
    assert mx.sort(x).tolist() == [0, 1j] and mx.median(x).item() == 0.5j
