"""Functions that create arrays, against NumPy's of the same name."""

import numpy as np
import pytest
from conftest import ALL_DTYPES, assert_close, assert_equal, mx_dtype

import cermet.core as mx


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("shape", [(), 3, (0,), (2, 3), [1, 0, 2]], ids=repr)
def test_filled(dtype, shape):
    d = mx_dtype(dtype)
    for name, value in [("zeros", 0), ("ones", 1)]:
        want = getattr(np, name)(shape)
        a = getattr(mx, name)(shape, d)
        assert a.dtype == d
        assert_equal(a.astype(mx.float32), want)
        like = getattr(mx, f"{name}_like")(mx.full(shape, 7, d))
        assert like.dtype == d
        assert_equal(like.astype(mx.float32), want)
        assert_equal(mx.full(shape, value, dtype=d).astype(mx.float32), want)
    assert mx.empty(shape, d).shape == mx.zeros(shape).shape


def test_default_dtypes():
    for f in (mx.zeros, mx.ones, mx.eye, mx.identity, mx.tri):
        assert f(2).dtype == mx.float32
    for value, dtype in [(True, mx.bool_), (3, mx.int32), (2.5, mx.float32), (1j, mx.complex64)]:
        assert mx.full((2,), value).dtype == dtype
    assert mx.ones_like(mx.zeros(2, mx.int8), dtype=mx.float16).dtype == mx.float16


def test_full_of_arrays():
    assert mx.full((2, 3), mx.array([1, 2, 3])).tolist() == [[1, 2, 3]] * 2
    assert mx.full((2,), mx.array(1.5), dtype=mx.int32).tolist() == [1, 1]
    like = mx.full_like(mx.zeros((2,), mx.int32), 2.5)
    assert like.dtype == mx.int32 and like.tolist() == [2, 2]
    with pytest.raises(ValueError):
        mx.full((2, 3), mx.zeros(2))


@pytest.mark.parametrize(
    "arguments",
    [
        (5,),
        (0,),
        (2, 7),
        (7, 2),
        (1, 10, 3),
        (10, 1, -4),
        (0, 1, 0.25),
        (1.5,),
        (-1.0, 1.0, 0.5),
        (5, 5),
    ],
)
def test_arange(arguments):
    a, want = mx.arange(*arguments), np.arange(*arguments)
    assert a.dtype == (mx.int32 if want.dtype.kind == "i" else mx.float32)
    assert_close(a, want)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "bfloat16", "float64"])
def test_arange_dtypes(dtype):
    a = mx.arange(1, 9, 2, dtype=mx_dtype(dtype))
    assert a.dtype == mx_dtype(dtype) and a.tolist() == [1, 3, 5, 7]


def test_arange_by_endless_steps():
    for arguments in ((-1, 1e10, mx.inf), (5, 1, -mx.inf), (0, 1e-200, 1e200), (5, 5, mx.inf)):
        assert mx.arange(*arguments).tolist() == np.arange(*arguments).tolist()
    assert mx.arange(5, 1, mx.inf).shape == mx.arange(1, 5, -mx.inf).shape == (0,)


def test_arange_forms():
    assert mx.arange(stop=3).tolist() == [0, 1, 2]
    assert mx.arange(start=1, stop=3, step=None).tolist() == [1, 2]
    assert mx.arange(2**33, 2**33 + 2, dtype=mx.int64).tolist() == [2**33, 2**33 + 1]
    for bad in ((1, 5, 0), (0, mx.inf), (mx.nan,)):
        with pytest.raises(ValueError):
            mx.arange(*bad)


@pytest.mark.parametrize("num", [0, 1, 2, 5, 50])
@pytest.mark.parametrize("endpoint", [True, False])
def test_linspace(num, endpoint):
    for start, stop in ((0, 1), (-3, 7.5), (5, 5), (2, -2)):
        got = mx.linspace(start, stop, num, endpoint=endpoint)
        assert got.dtype == mx.float32
        assert_close(got, np.linspace(start, stop, num, endpoint=endpoint))
    assert_equal(mx.linspace(0, 10, 3, dtype=mx.int32), np.array([0, 5, 10]))


def test_linspace_ends_exactly():
    for stop in (0.1, 1 / 3, 1e7 + 1):
        assert mx.linspace(0, stop, 1001)[-1].item() == np.float32(stop)


@pytest.mark.parametrize("k", [-5, -1, 0, 2, 5])
@pytest.mark.parametrize("n, m", [(3, None), (3, 5), (4, 2), (0, 2)])
def test_eye_and_tri(n, m, k):
    assert_equal(mx.eye(n, m, k), np.eye(n, m, k))
    assert_equal(mx.tri(n, m, k, dtype=mx.int32), np.tri(n, m, k))
    x = np.arange(2 * n * (m or n)).reshape(2, n, m or n)
    for name in ("tril", "triu"):
        assert_equal(getattr(mx, name)(mx.array(x), k), getattr(np, name)(x, k))
        assert getattr(mx, name)(mx.array(x > 3), k).dtype == mx.bool_
        assert_equal(getattr(mx, name)(mx.array(x > 3), k), getattr(np, name)(x > 3, k))


def test_identity():
    assert_equal(mx.identity(3, mx.float16), np.identity(3))


@pytest.mark.parametrize("indexing", ["xy", "ij"])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_meshgrid(indexing, sparse, count):
    vectors = [np.arange(n + 2.0) for n in range(count)]
    got = mx.meshgrid(*map(mx.array, vectors), indexing=indexing, sparse=sparse)
    want = np.meshgrid(*vectors, indexing=indexing, sparse=sparse)
    for g, w in zip(got, want, strict=True):
        assert_equal(g, w)


@pytest.mark.parametrize("name", ["hanning", "hamming", "bartlett", "blackman"])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 16, 101])
def test_windows(name, size):
    assert_close(getattr(mx, name)(size), getattr(np, name)(size), atol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.zeros((2, -1)),
        lambda: mx.ones(-3),
        lambda: mx.eye(-1),
        lambda: mx.linspace(0, 1, -1),
        lambda: mx.meshgrid(mx.zeros(2), mx.zeros(2), indexing="yx"),
    ],
)
def test_errors(call):
    with pytest.raises(ValueError):
        mx.eval(call())


@pytest.mark.parametrize(
    "arguments",
    [
        (2**53 + 1, 2**53 + 6, 2),
        (-(2**63), 2**63 - 1, 2**62),
        (2**63 - 1, -(2**63), -(2**62)),
        (2**62 + 1, 2**62 - 3, -1),
        (0, 10, -1),
        (2**63 - 3, 2**63 - 1),
    ],
)
def test_arange_counts_integers_exactly(arguments):
    a = mx.arange(*arguments, dtype=mx.int64)
    assert a.tolist() == list(range(*arguments)) and (a + 0).tolist() == a.tolist()


def test_arange_of_integers_and_floats():
    assert mx.arange(0, 3, 0.5, dtype=mx.int32).tolist() == [0] * 6
    assert mx.arange(3, dtype=mx.float16).tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="cannot count"):
        mx.arange(0, 2**63 - 1)
