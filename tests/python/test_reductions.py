"""Reductions and scans over every combination of axes, against NumPy in float64."""

import itertools

import numpy as np
import pytest
from conftest import (
    ALL_DTYPES,
    FLOATS,
    HALVES,
    LAYOUTS,
    ODD_SIZES,
    SIMULATED,
    assert_close,
    assert_equal,
    axis_error,
    exact_sample,
    mx_dtype,
    to_mx,
)

import cermet.core as mx

SHAPE = (3, 4, 5)
AXES = [None, *range(-3, 3), *itertools.combinations(range(3), 2), (0, 1, 2), (-1, 0), ()]
NARROW = ("bool", "int8", "int16", "uint8", "uint16")


def logsumexp(x, axis=None, keepdims=False):
    top = np.max(x, axis=axis, keepdims=True)
    total = np.sum(np.exp(x - top), axis=axis, keepdims=True)
    result = np.log(total) + top
    return (
        result if keepdims else np.squeeze(result, tuple(range(x.ndim)) if axis is None else axis)
    )


def softmax(x, axis=None):
    return np.exp(x - logsumexp(x, axis, keepdims=True))


def sum_dtype(dtype):
    """Small integers are added and multiplied in 32 bits; every other dtype in itself."""
    return ("uint32" if dtype[0] == "u" else "int32") if dtype in NARROW else dtype


def mean_dtype(dtype):
    return dtype if dtype in (*FLOATS, "complex64") else "float32"


REDUCTIONS = {
    "sum": (np.sum, sum_dtype),
    "prod": (np.prod, sum_dtype),
    "min": (np.min, str),
    "max": (np.max, str),
    "mean": (np.mean, mean_dtype),
    "var": (np.var, mean_dtype),
    "std": (np.std, mean_dtype),
    "median": (np.median, mean_dtype),
    "all": (np.all, lambda dtype: "bool"),
    "any": (np.any, lambda dtype: "bool"),
    "logsumexp": (logsumexp, mean_dtype),
    "count_nonzero": (np.count_nonzero, lambda dtype: "int32"),
}
ORDERED = {"min", "max", "median", "logsumexp", "var", "std"}  # not for complex numbers
OPTIONS = {"count_nonzero": {"keepdims"}}
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-12}


@pytest.mark.parametrize("axis", AXES, ids=repr)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_axes(name, axis, keepdims, rng):
    x = rng.uniform(0.5, 1.5, SHAPE).astype(np.float32)
    x[rng.random(SHAPE) < 0.2] = 0
    if axis == () and name in ("median", "logsumexp"):
        pytest.skip("over no axis")
    want = REDUCTIONS[name][0](x.astype(np.float64), axis=axis, keepdims=keepdims)
    got = getattr(mx, name)(to_mx(x), axis=axis, keepdims=keepdims)
    assert_close(got, want)
    if axis is not None and not isinstance(axis, int):
        assert_close(getattr(mx, name)(to_mx(x), axis=list(axis), keepdims=keepdims), want)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_dtypes(name, dtype, rng):
    if dtype == "complex64" and name in ORDERED:
        pytest.skip("not for complex numbers")
    x = exact_sample(rng, (4, 6), dtype)
    wide = np.complex128 if dtype == "complex64" else np.float64
    reference, result_dtype = REDUCTIONS[name]
    axes = (None, 0, 1)
    results = [getattr(mx, name)(to_mx(x), axis=axis) for axis in axes]
    mx.eval(results)  # together: a GPU then compiles their kernels together
    for axis, got in zip(axes, results, strict=True):
        want = reference(x.astype(wide), axis=axis)
        assert got.dtype == mx_dtype(result_dtype(dtype))
        if name == "prod" and dtype not in (*FLOATS, "complex64"):
            want = np.prod(x, axis=axis, dtype=result_dtype(dtype))  # which wraps
        assert_close(got, want, rtol=TOLERANCE.get(dtype, 1e-5), atol=TOLERANCE.get(dtype, 1e-5))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "mean", "logsumexp", "any"])
def test_layouts(name, layout, rng):
    x = rng.uniform(0.9, 1.1, (10, 206)).astype(np.float32)
    v = np.asarray(LAYOUTS[layout](np, x))
    cases = []
    for axis in [None, *range(v.ndim)]:
        reduced = v.shape if axis is None else v.shape[axis : axis + 1]
        if name in ("max", "logsumexp") and 0 in reduced:
            continue
        with np.errstate(invalid="ignore"):
            want = REDUCTIONS[name][0](v.astype(np.float64), axis=axis)
        cases.append((getattr(mx, name)(LAYOUTS[layout](mx, to_mx(x)), axis=axis), want))
    mx.eval([got for got, _ in cases])
    for got, want in cases:
        assert_close(got, want, rtol=1e-4)


@pytest.mark.parametrize("size", [*ODD_SIZES, 100_003])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
def test_sums_of_many(size, dtype, rng):
    """Pairwise or blocked summation: the error grows far slower than one rounding an element."""
    x = exact_sample(rng, (2, size), dtype) if dtype == "int32" else rng.random((2, size))
    a = to_mx(x).astype(mx_dtype(dtype))
    x = np.array(a.astype(mx.float32)).astype(np.float64)
    rtol = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 1e-2, "int32": 0}[dtype]
    with np.errstate(over="ignore"):
        for axis in (None, 0, 1):
            want = x.sum(axis).astype(np.float16 if dtype == "float16" else np.float64)
            assert_close(mx.sum(a, axis=axis), want, rtol=rtol)
    assert_close(mx.mean(a, axis=1), x.mean(1), rtol=rtol)


@pytest.mark.parametrize("dtype", HALVES)
def test_means_of_many_halves_do_not_overflow(dtype):
    a = mx.full((100_000,), 100, dtype=mx_dtype(dtype))
    assert a.mean().item() == 100 and a.var().item() == 0


def test_variance_of_shifted_values(rng):
    x = (rng.normal(size=(4, 1000)) + 1e4).astype(np.float32)
    assert_close(mx.var(to_mx(x), axis=1), x.astype(np.float64).var(1), rtol=1e-3)


@pytest.mark.parametrize("ddof", [0, 1, 2])
def test_ddof(ddof, rng):
    x = rng.normal(size=(3, 7)).astype(np.float32)
    for name in ("var", "std"):
        want = getattr(np, name)(x.astype(np.float64), axis=1, ddof=ddof)
        assert_close(getattr(mx, name)(to_mx(x), axis=1, ddof=ddof), want)
        assert_close(getattr(to_mx(x), name)(axis=1, correction=ddof), want)


def test_minmax(rng):
    x = rng.normal(size=SHAPE).astype(np.float32)
    for axis in AXES:
        if axis != ():
            low, high = mx.minmax(to_mx(x), axis=axis, keepdims=True)
            assert_equal(low, x.min(axis, keepdims=True))
            assert_equal(high, x.max(axis, keepdims=True))


# argmin, argmax


@pytest.mark.parametrize("dtype", [dtype for dtype in ALL_DTYPES if dtype != "complex64"])
@pytest.mark.parametrize("name", ["argmin", "argmax"])
def test_argmin_argmax(name, dtype, rng):
    """The first of equal values wins, as with NumPy."""
    x = exact_sample(rng, (5, 37), dtype)
    for v, a in ((x, to_mx(x)), (x.T, to_mx(x).T), (x[:, ::-2], to_mx(x)[:, ::-2])):
        for axis in (None, 0, 1, -1):
            got = getattr(mx, name)(a, axis=axis)
            assert got.dtype == mx.uint32
            assert_equal(got, getattr(np, name)(v.astype(np.float64), axis=axis))
    assert getattr(mx, name)(to_mx(x), axis=1, keepdims=True).shape == (5, 1)
    assert getattr(mx, name)(to_mx(x), keepdims=True).shape == (1, 1)


# NaN, infinities, empty arrays


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("at", [0, 7, 40])
def test_nan_propagates(dtype, at):
    x = np.ones(41)
    x[at] = np.nan
    a = to_mx(x).astype(mx_dtype(dtype))
    for name in ("sum", "prod", "min", "max", "mean", "var", "median", "logsumexp"):
        assert np.isnan(getattr(mx, name)(a).item()), name
    assert mx.isnan(mx.cummax(a)).tolist() == [i >= at for i in range(41)]
    assert mx.isnan(mx.cumsum(a)).tolist() == [i >= at for i in range(41)]


@pytest.mark.parametrize("values, want", [
    ([-np.inf, -np.inf], -np.inf), ([np.inf, 1], np.inf), ([1000, 1000], 1000 + np.log(2)),
    ([-1000, -1000], -1000 + np.log(2)), ([-np.inf, 3], 3),
])  # fmt: skip
def test_logsumexp_of_extremes(values, want):
    assert mx.logsumexp(mx.array(values)).item() == pytest.approx(want)
    assert mx.logaddexp(*mx.array(values)).item() == pytest.approx(want)
    assert mx.logcumsumexp(mx.array(values))[-1].item() == pytest.approx(want)


@pytest.mark.parametrize("name, want", [("sum", 0), ("prod", 1), ("all", True), ("any", False)])
def test_empty(name, want):
    function = getattr(mx, name)
    assert function(mx.zeros((0,))).item() == want
    assert function(mx.zeros((2, 0)), axis=1).tolist() == [want, want]
    assert function(mx.zeros((0, 2)), axis=1).shape == (0,)
    assert function(mx.zeros((0, 2)), axis=0, keepdims=True).tolist() == [[want, want]]


@pytest.mark.parametrize("name", ["min", "max", "argmin", "argmax", "median"])
def test_empty_without_identity(name):
    for call in (lambda f: f(mx.zeros((0,))), lambda f: f(mx.zeros((3, 0)), axis=1)):
        with pytest.raises(ValueError):
            mx.eval(call(getattr(mx, name)))
    if name in ("min", "max"):
        assert getattr(mx, name)(mx.zeros((0, 3)), axis=1).shape == (0,)


def test_mean_of_nothing_is_nan():
    assert np.isnan(mx.mean(mx.zeros((0,))).item())


@pytest.mark.parametrize("name", [*REDUCTIONS, "argmax", "argmin", "softmax", "cumsum", "cumprod",
                                  "cummax", "cummin", "logcumsumexp", "minmax"])  # fmt: skip
def test_axis_errors(name):
    function = getattr(mx, name)
    for axis in (2, -3, 99):
        with axis_error(axis):
            function(mx.zeros((2, 3)), axis=axis)
    if name in REDUCTIONS:
        with pytest.raises(ValueError):
            function(mx.zeros((2, 3)), axis=(0, -2))


# softmax


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), [1, 2]], ids=repr)
def test_softmax(dtype, axis, rng):
    x = (rng.normal(size=(3, 5, 7)) * 3).astype(np.float32)
    a = to_mx(x).astype(mx_dtype(dtype))
    want = softmax(np.array(a.astype(mx.float64)), tuple(axis) if isinstance(axis, list) else axis)
    tolerance = TOLERANCE.get(dtype, 1e-6)
    for precise in (False, True):
        got = mx.softmax(a, axis=axis, precise=precise)
        assert got.dtype == a.dtype
        assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("size", [*ODD_SIZES, 5000])
def test_softmax_rows(size, rng):
    x = (rng.normal(size=(3, size)) * 5 + 100).astype(np.float32)
    assert_close(mx.softmax(to_mx(x), axis=-1), softmax(x.astype(np.float64), 1), rtol=1e-5)
    assert_close(mx.softmax(to_mx(x.T), axis=0), softmax(x.T.astype(np.float64), 0), rtol=1e-5)


def test_softmax_of_extremes():
    rows = mx.array([[1e4, 0], [-mx.inf, 0], [3e38, -3e38]])
    assert mx.softmax(rows, axis=1).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert mx.softmax(mx.zeros((0,))).shape == (0,)


# Scans


def scanned(ufunc, x, axis, reverse, inclusive, identity):
    """A scan by NumPy's `accumulate`, reversed and shifted as asked."""
    x = np.flip(x, axis) if reverse else x
    result = ufunc.accumulate(x, axis)
    if not inclusive:
        first = np.full_like(result.take([0], axis), identity)
        rest = result.take(range(x.shape[axis] - 1), axis)
        result = np.concatenate([first, rest], axis)
    return np.flip(result, axis) if reverse else result


SCANS = {
    "cumsum": (np.add, 0),
    "cumprod": (np.multiply, 1),
    "cummax": (np.maximum, -np.inf),
    "cummin": (np.minimum, np.inf),
    "logcumsumexp": (np.logaddexp, -np.inf),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("name", SCANS)
def test_scans(name, reverse, inclusive, rng):
    ufunc, identity = SCANS[name]
    x = rng.uniform(0.8, 1.2, SHAPE).astype(np.float32)
    options = {"reverse": reverse, "inclusive": inclusive}
    function = getattr(mx, name)
    for view in (lambda x: x, lambda x: x.T, lambda x: x[:, ::-2]):
        for axis in range(-3, 3):
            want = scanned(ufunc, view(x).astype(np.float64), axis, identity=identity, **options)
            assert_close(function(view(to_mx(x)), axis=axis, **options), want)
    want = scanned(ufunc, x.reshape(-1).astype(np.float64), 0, identity=identity, **options)
    assert_close(function(to_mx(x), **options), want, rtol=1e-4)


@pytest.mark.parametrize("size", [*ODD_SIZES, 20_001])
def test_scans_of_many(size, rng):
    x = rng.integers(-9, 9, (2, size)).astype(np.int32)
    for name in ("cumsum", "cummax", "cummin"):
        want = SCANS[name][0].accumulate(x, 1)
        assert_equal(getattr(mx, name)(to_mx(x), axis=1), want)
        assert_equal(getattr(mx, name)(to_mx(x.T), axis=0), want.T)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_scan_dtypes(dtype, rng):
    x = exact_sample(rng, (3, 4), dtype)
    want = np.add.accumulate(x.astype(np.complex128), 1)
    got = mx.cumsum(to_mx(x), axis=1)
    assert got.dtype == (mx.int32 if dtype == "bool" else mx_dtype(dtype))
    assert_close(got.astype(mx.complex64), want)
    assert mx.cumsum(to_mx(x), axis=1, dtype=mx.float32).dtype == mx.float32


def test_empty_scans():
    for name in SCANS:
        assert getattr(mx, name)(mx.zeros((0,))).shape == (0,)
        assert getattr(mx, name)(mx.zeros((2, 0)), axis=1).shape == (2, 0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_diff(n, axis, rng):
    x = rng.integers(-9, 9, (4, 5)).astype(np.int32)
    assert_equal(mx.diff(to_mx(x), n=n, axis=axis), np.diff(x, n=n, axis=axis))


# Derivatives

SMOOTH = ("sum", "prod", "min", "max", "mean", "var", "std", "logsumexp")
DIFFERENTIABLE = {
    **{name: f for name, (f, _) in REDUCTIONS.items() if name in SMOOTH},
    "softmax": softmax,
    "cumsum": lambda x, axis: np.cumsum(x, axis),
    "cumprod": lambda x, axis: np.cumprod(x, axis),
    "logcumsumexp": lambda x, axis: np.logaddexp.accumulate(x, axis),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name, axis, rng):
    """Against central differences of the reference in float64, in reverse and forward mode."""
    reference, function = DIFFERENTIABLE[name], getattr(mx, name)
    x = rng.uniform(0.5, 2, (4, 5)).astype(np.float32)
    tangent = rng.normal(size=x.shape)
    step = 1e-5
    slope = (reference(x + step * tangent, axis) - reference(x - step * tangent, axis)) / (2 * step)
    f = lambda a: function(a, axis=axis)  # noqa: E731
    _, (forward,) = mx.jvp(f, [to_mx(x)], [to_mx(tangent.astype(np.float32))])
    assert_close(forward, slope, rtol=2e-4, atol=1e-4)
    cotangent = rng.normal(size=slope.shape)
    _, (gradient,) = mx.vjp(f, [to_mx(x)], [to_mx(cotangent.astype(np.float32))])
    assert (np.array(gradient) * tangent).sum() == pytest.approx(
        (slope * cotangent).sum(), rel=1e-3
    )


def test_gradient_of_product_with_zeros():
    x = mx.array([[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [0.0, 0.0, 4.0]])
    want = [[12, 8, 6], [12, 0, 0], [0, 0, 0]]
    assert mx.grad(lambda a: mx.prod(a, axis=1).sum())(x).tolist() == want


MANY = 2**31


def test_counts_of_more_than_31_bits():
    """Only the types: counting takes a while."""
    for a in (
        mx.broadcast_to(mx.array(True), (MANY,)),
        mx.broadcast_to(mx.array(1), (2**16, MANY)),
    ):
        assert mx.count_nonzero(a).dtype == mx.int64
    for dtype, wide, usual in (("bool_", "int64", "int32"), ("uint8", "uint64", "uint32")):
        a = mx.broadcast_to(mx.array(1, getattr(mx, dtype)), (2, MANY))
        assert mx.sum(a, axis=1).dtype == getattr(mx, wide)
        assert mx.sum(a, axis=0).dtype == getattr(mx, usual)
    a = mx.broadcast_to(mx.array(True), (2, MANY))
    assert mx.cumsum(a, axis=1).dtype == mx.int64 and mx.cumsum(a, axis=0).dtype == mx.int32


@pytest.mark.skipif(SIMULATED, reason="2^31 elements")
def test_a_count_of_32_bits():
    assert mx.sum(mx.broadcast_to(mx.array(True), (MANY,))).item() == MANY


@pytest.mark.parametrize("function", [mx.argmax, mx.argmin, mx.argsort])
def test_more_places_than_an_index_has(function):
    with pytest.raises(ValueError, match="more than 4294967296 elements"):
        function(mx.broadcast_to(mx.array(True), (2**32 + 5,)), axis=0)


@pytest.mark.parametrize(
    "values", [[1 + 3j, 1 + 3j, -2j], [2 + 5j] * 3, [-7j], [1e3 + 4j, 1], [-np.inf, 1 + 4j]]
)
def test_logsumexp_of_complex_numbers_is_a_logarithm(values):
    got = mx.logsumexp(mx.array(values, mx.complex64)).item()
    shift = max(np.real(values))
    want = np.log(np.sum(np.exp(np.array(values, np.complex128) - shift))) + shift
    assert -np.pi <= got.imag <= np.float32(np.pi)
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_variance_of_large_integers(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max] * 50, dtype)
    want = np.var(x.astype(np.float64))
    assert_close(mx.var(to_mx(x)), want, rtol=1e-6)
    assert_close(mx.std(to_mx(x).reshape(10, 10), axis=1), np.full(10, np.sqrt(want)), rtol=1e-6)
    small = np.array([1, 2, 2, 5], dtype)
    assert mx.var(to_mx(small)).item() == mx.var(mx.array(small.astype(np.float32))).item()
