"""Functions beyond MLX's, each against NumPy, a closed form or a loop, in transforms too."""

import inspect
import math
from typing import NamedTuple

import numpy as np
import pytest
from conftest import assert_equal, to_mx

import cermet.core as mx
from cermet import _more
from cermet._more import distributions


def close(got, want, rtol=1e-5, atol=1e-6, **options):
    np.testing.assert_allclose(np.array(got), want, rtol=rtol, atol=atol, **options)


def test_they_are_names_of_the_core_with_signatures_and_docstrings():
    for scope, names in ((mx, _more.__all__), (mx.random, distributions.__all__)):
        for name in names:
            function = getattr(scope, name)
            assert function.__doc__.strip().endswith((".", ")", "]")), name
            if name != "cross":
                assert inspect.signature(function).parameters, name


# ---- Special functions ----


@pytest.mark.parametrize("dtype, bound", [("float32", 2e-6), ("float64", 3e-14)])
def test_erfc_and_lgamma(dtype, bound):
    x = np.concatenate([np.linspace(-5, 9, 301), [0.0, 1.0, 2.0]]).astype(dtype)
    want = [math.erfc(v) for v in x.tolist()]
    got = np.array(mx.erfc(to_mx(x)))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=bound)
    x = np.concatenate([np.geomspace(1e-3, 1e4, 301), -np.linspace(0.1, 9.85, 40)]).astype(dtype)
    want = np.array([math.lgamma(v) for v in x.tolist()])
    got = np.array(mx.lgamma(to_mx(x)))
    assert (np.abs(got - want) <= bound * np.maximum(1, np.abs(want))).all()


def test_digamma_follows_its_recurrence_and_reflection():
    x = mx.array(np.concatenate([np.linspace(0.05, 8.93, 50), [-0.3, -2.7]]), mx.float64)
    close(mx.digamma(x + 1) - mx.digamma(x), 1 / np.array(x), 1e-11)
    close(mx.digamma(1 - x) - mx.digamma(x), np.pi / np.tan(np.pi * np.array(x)), 1e-9, 1e-9)
    close(mx.digamma(mx.array(1.0, mx.float64)), -np.euler_gamma, 1e-14)


def test_special_functions_at_special_values():
    x = mx.array([mx.inf, -mx.inf, mx.nan, 0.0, -1.0])
    assert_equal(mx.erfc(x)[:4], np.array([0, 2, np.nan, 1], np.float32))
    assert_equal(mx.lgamma(x), np.array([np.inf, np.inf, np.nan, np.inf, np.inf], np.float32))
    assert np.isnan(np.array(mx.digamma(x[1:]))).all()
    for name in ("erfc", "lgamma", "digamma"):
        function = getattr(mx, name)
        assert function(mx.array([1, 2])).dtype == mx.float32
        assert function(mx.array([1, 2], mx.bfloat16)).dtype == mx.bfloat16
        assert function(mx.zeros((0, 3))).shape == (0, 3)
        with pytest.raises(ValueError, match=f"{name}: complex64"):
            function(mx.array(1j))


# ---- Without nans ----

NAN_REDUCTIONS = ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"]


@pytest.fixture
def holes(rng):
    x = rng.normal(size=(5, 7)).astype(np.float32)
    x[1, 2] = x[3, 0] = np.nan
    x[0, 5] = -np.inf
    return x


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("name", NAN_REDUCTIONS)
@pytest.mark.filterwarnings("ignore")
def test_reductions_without_nans(name, axis, keepdims, holes):
    for x in (holes, np.full((2, 3), np.nan, np.float32), np.arange(6).reshape(2, 3)):
        want = getattr(np, name)(x, axis=axis, keepdims=keepdims)
        got = getattr(mx, name)(to_mx(x), axis, keepdims)
        close(got, want, 1e-4)
    empty = (
        getattr(mx, name)(mx.zeros((0, 3)), 0) if name[3:] not in ("max", "min") else mx.zeros(3)
    )
    assert empty.shape == (3,)


@pytest.mark.parametrize("name", ["nanargmax", "nanargmin"])
def test_places_without_nans(name, holes):
    holes[2, :2] = np.nan, np.inf
    holes[4] = [np.nan, -np.inf, np.nan, -np.inf, np.nan, np.nan, np.nan]
    for axis in (None, 0, 1):
        want = np.asarray(getattr(np, name)(holes, axis))
        if axis == 1:
            want[4] = 1  # of which NumPy says for the maximum that it is the nan before
        assert_equal(getattr(mx, name)(to_mx(holes), axis).astype(mx.int64), want)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_means_without_nans_of_halves_are_those_of_means(dtype, rng):
    x = to_mx(rng.normal(size=100_001).astype(np.float32) + 3).astype(dtype)
    for name in ("mean", "var", "std"):
        want = getattr(mx, name)(x)
        got = getattr(mx, "nan" + name)(mx.concatenate([x, mx.full(7, mx.nan, dtype)]))
        assert got.dtype == dtype and math.isfinite(want.item())
        close(got.astype(mx.float32), np.array(want.astype(mx.float32)), 1e-2)


@pytest.mark.parametrize("name", NAN_REDUCTIONS)
def test_reductions_without_nans_of_complex_numbers(name):
    x = np.array([1 + 2j, complex(np.nan, 1), 3 - 1j, complex(0, np.nan), 1 + 1j], np.complex64)
    close(getattr(mx, name)(to_mx(x)), getattr(np, name)(x[[0, 2, 4]]), 1e-5)


def test_places_without_nans_of_complex_numbers():
    x = np.array([complex(np.nan, 1), complex(-np.inf, -1), complex(np.inf, 1)], np.complex64)
    assert mx.nanargmax(to_mx(x)).item() == 2 and mx.nanargmin(to_mx(x)).item() == 1
    assert mx.nanargmax(to_mx(x[:2])).item() == 1 and mx.nanargmin(to_mx(x[::2])).item() == 1


def test_nans_have_no_derivative():
    x = mx.array([1.0, mx.nan, 3.0])
    assert mx.grad(mx.nansum)(x).tolist() == [1, 0, 1]
    assert mx.grad(mx.nanmean)(x).tolist() == [0.5, 0, 0.5]
    assert mx.grad(mx.nanmax)(x).tolist() == [0, 0, 1]
    assert mx.grad(mx.nanvar)(x).tolist() == [-1, 0, 1]
    assert mx.vmap(mx.nansum)(mx.stack([x, x])).tolist() == [4, 4]


# ---- Counting ----


def test_bincount(rng):
    x, weights = rng.integers(0, 9, 50), rng.normal(size=50).astype(np.float32)
    assert_equal(mx.bincount(to_mx(x)), np.bincount(x).astype(np.int32))
    close(mx.bincount(to_mx(x), to_mx(weights), 12), np.bincount(x, weights, 12), atol=1e-5)
    assert mx.bincount(mx.zeros(0, mx.int32), minlength=2).tolist() == [0, 0]
    by_length = mx.compile(lambda x: mx.bincount(x, length=4))
    assert_equal(by_length(to_mx(x)), np.bincount(x)[:4].astype(np.int32))
    with pytest.raises(ValueError, match=r"bincount: in a trace, length="):
        mx.compile(mx.bincount)(to_mx(x))
    for options in ({"minlength": -1}, {"length": -1}):
        with pytest.raises(ValueError, match=r"bincount: .*length is -1, expected 0 or more"):
            mx.bincount(to_mx(x), **options)
    with pytest.raises(ValueError, match=r"bincount: expected numbers of 0 and more, got -2"):
        mx.bincount(mx.array([3, -2]))
    with pytest.raises(ValueError, match="bincount: expected integers"):
        mx.bincount(mx.array([1.0]))
    with pytest.raises(ValueError, match="bincount: weights"):
        mx.bincount(mx.array([1]), mx.ones(2))


@pytest.mark.parametrize("right", [False, True])
def test_digitize(right, rng):
    bins = np.sort(rng.normal(size=6)).astype(np.float32)
    x = np.concatenate([rng.normal(size=20), bins, [np.inf, -np.inf]]).astype(np.float32)
    for limits in (bins, bins[::-1].copy()):
        got = mx.digitize(to_mx(x), to_mx(limits), right)
        assert_equal(got, np.digitize(x, limits, right).astype(np.int32))
    assert mx.digitize(mx.ones(3), mx.zeros(0)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="digitize: expected bins"):
        mx.digitize(mx.ones(3), mx.ones((2, 2)))


@pytest.mark.parametrize(
    "options",
    [{}, {"bins": 4}, {"bins": 7, "range": (-1, 1)}, {"density": True}, {"range": (0, 0)}],
    ids=str,
)
def test_histogram(options, rng):
    x = rng.normal(size=(6, 9)).astype(np.float32)
    got, want = mx.histogram(to_mx(x), **options), np.histogram(x, **options)
    close(got[0], want[0])
    close(got[1], want[1])


def test_histogram_of_limits_weights_and_little(rng):
    x = rng.integers(0, 9, 40)
    limits = np.array([1, 3, 8])
    assert_equal(
        mx.histogram(to_mx(x), to_mx(limits))[0].astype(mx.int64), np.histogram(x, limits)[0]
    )
    weights = rng.normal(size=40).astype(np.float32)
    close(mx.histogram(to_mx(x), weights=to_mx(weights))[0], np.histogram(x, weights=weights)[0])
    assert mx.histogram(mx.ones(3), 2)[0].tolist() == [0, 3]
    assert mx.histogram(mx.zeros(0), 3)[0].tolist() == [0, 0, 0]
    assert mx.compile(mx.histogram)(mx.arange(5.0))[0].sum().item() == 5
    for arguments in ((mx.ones(2), 0), (mx.ones(2), 3, (1, 0)), (mx.ones(2), mx.ones((2, 2)))):
        with pytest.raises(ValueError, match="histogram: "):
            mx.histogram(*arguments)


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2)])
def test_quantile(method, axis, rng):
    x = rng.normal(size=(4, 5, 3)).astype(np.float32)
    for q in (0.3, 0, 1, [0.1, 0.5, 0.9]):
        want = np.quantile(x, q, axis=axis, keepdims=True, method=method)
        close(mx.quantile(to_mx(x), q, axis, True, method=method), want)
        want = np.quantile(x, q, axis=axis, method=method)
        close(mx.quantile(to_mx(x), q, axis, method=method), want)
        if method == "linear":
            close(mx.quantile(to_mx(x), to_mx(np.array(q, np.float32)), axis), want, 1e-4, 1e-5)
            hundredths = [100 * p for p in q] if isinstance(q, list) else 100 * q
            close(mx.percentile(to_mx(x), hundredths, axis), want)


def test_quantile_of_nans_integers_and_bad_arguments():
    assert math.isnan(mx.quantile(mx.array([1.0, mx.nan]), 0.5).item())
    assert mx.quantile(mx.array([1, 2]), 0.5).item() == 1.5
    assert mx.grad(lambda x: mx.quantile(x, 0.25))(mx.arange(4.0)).tolist() == [0.25, 0.75, 0, 0]
    assert mx.vmap(lambda x: mx.quantile(x, 0.5))(mx.ones((2, 3))).tolist() == [1, 1]
    x = mx.ones(3)
    for call in (
        lambda: mx.quantile(x, 1.5),
        lambda: mx.quantile(x, 0.5, method="mean"),
        lambda: mx.quantile(mx.zeros(0), 0.5),
        lambda: mx.quantile(x, 0.5, axis=1),
        lambda: mx.quantile(mx.array([1j]), 0.5),
    ):
        with pytest.raises(ValueError, match="quantile: "):
            call()


def test_covariances(rng):
    x, y = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    for options in ({}, {"rowvar": False}, {"bias": True}, {"ddof": 3}):
        close(mx.cov(to_mx(x), **options), np.cov(x, **options), 1e-4)
    close(mx.cov(to_mx(x), to_mx(y)), np.cov(x, y), 1e-4)
    close(mx.cov(to_mx(y)), np.cov(y), 1e-4)
    close(mx.corrcoef(to_mx(x)), np.corrcoef(x), 1e-4)
    close(mx.corrcoef(to_mx(x[0]), to_mx(y)), np.corrcoef(x[0], y), 1e-4)
    assert mx.cov(mx.ones((2, 3), mx.float64)).dtype == mx.float64
    with pytest.raises(ValueError, match="cov: numbers of observations"):
        mx.cov(mx.ones((2, 3)), mx.ones((2, 4)))
    with pytest.raises(ValueError, match="cov: expected 1 or 2 dimensions"):
        mx.cov(mx.ones((2, 3, 4)))


# ---- Interpolation and differences ----


@pytest.mark.parametrize("options", [{}, {"left": -1.0, "right": 2.0}, {"period": 2.5}], ids=str)
def test_interp(options, rng):
    xp = np.sort(rng.normal(size=6)).astype(np.float32)
    fp = rng.normal(size=6).astype(np.float32)
    x = np.concatenate([rng.uniform(-4, 4, 40), xp]).astype(np.float32)
    close(
        mx.interp(*map(to_mx, (x, xp, fp)), **options), np.interp(x, xp, fp, **options), 1e-4, 1e-5
    )


def test_interp_of_one_point_and_derivatives():
    assert mx.interp(mx.array([-1.0, 0.0, 1.0]), mx.zeros(1), mx.array([7.0])).tolist() == [7] * 3
    xp, fp = mx.array([0.0, 1.0, 3.0]), mx.array([0.0, 2.0, 3.0])
    assert mx.grad(mx.interp)(mx.array(0.5), xp, fp).item() == 2
    assert mx.grad(mx.interp, 2)(mx.array(2.0), xp, fp).tolist() == [0, 0.5, 0.5]
    assert math.isnan(mx.interp(mx.array(mx.nan), xp, fp).item())
    assert mx.interp(xp, xp, mx.array([5.0, mx.inf, -mx.inf])).tolist() == [5, mx.inf, -mx.inf]
    with pytest.raises(ValueError, match="interp: points of shapes"):
        mx.interp(xp, xp, mx.ones(2))
    with pytest.raises(ValueError, match="interp: the period is 0"):
        mx.interp(xp, xp, fp, period=0)


@pytest.mark.parametrize("edge_order", [1, 2])
def test_gradient(edge_order, rng):
    f, places = rng.normal(size=(5, 7)).astype(np.float32), np.cumsum(rng.uniform(0.5, 1, 7))
    places = places.astype(np.float32)
    for given, axis in (((), None), ((2.0,), None), ((0.5,), 1), ((0.5, places), None), ((), (1,))):
        want = np.gradient(f, *given, axis=axis, edge_order=edge_order)
        ours = [to_mx(h) if isinstance(h, np.ndarray) else h for h in given]
        got = mx.gradient(to_mx(f), *ours, axis=axis, edge_order=edge_order)
        for g, w in zip(got, want, strict=True) if axis is None else [(got, want)]:
            close(
                g[0] if isinstance(g, list) else g, w[0] if isinstance(w, list) else w, 1e-4, 1e-5
            )


def test_gradient_refuses():
    for call in (
        lambda: mx.gradient(mx.ones(1)),
        lambda: mx.gradient(mx.ones((2, 2)), edge_order=2),
        lambda: mx.gradient(mx.ones(3), edge_order=3),
        lambda: mx.gradient(mx.ones((2, 2)), 1.0, 2.0, 3.0),
        lambda: mx.gradient(mx.ones(3), mx.ones(4)),
    ):
        with pytest.raises(ValueError, match="gradient: "):
            call()
    with pytest.raises(mx.AxisError, match="gradient: axis 2 is out of range for 2 dimensions"):
        mx.gradient(mx.ones((2, 2)), axis=2)


def test_one_hot_and_cross():
    assert mx.one_hot(mx.array([1, 3, -1]), 3, mx.int8).tolist() == [
        [0, 1, 0],
        [0, 0, 0],
        [0, 0, 0],
    ]
    assert mx.one_hot(mx.array([[1, 2]]), 3, axis=0).shape == (3, 1, 2)
    assert mx.one_hot(mx.array(2), 3).tolist() == [0, 0, 1]
    assert mx.one_hot(mx.zeros(0, mx.int32), 3).shape == (0, 3)
    with pytest.raises(ValueError, match="one_hot: expected integers"):
        mx.one_hot(mx.ones(2), 3)
    assert mx.cross(mx.array([1.0, 0, 0]), mx.array([0.0, 1, 0])).tolist() == [0, 0, 1]


# ---- Control flow ----


def test_cond_calls_one_side_where_it_can():
    calls = []

    def side(name, factor):
        return lambda x: calls.append(name) or factor * x

    def f(x):
        return mx.cond(x.sum() > 0, side("yes", 2), side("no", -1), x)

    assert f(mx.array(3.0)).item() == 6 and calls == ["yes"]
    assert mx.grad(f)(mx.array(-3.0)).item() == -1 and calls == ["yes", "no"]
    assert mx.vmap(f)(mx.array([3.0, -3.0])).tolist() == [6, 3] and calls[2:] == ["yes", "no"]
    assert mx.compile(f)(mx.array(-2.0)).item() == 2
    assert mx.vmap(mx.grad(f))(mx.array([3.0, -3.0])).tolist() == [2, -1]
    assert mx.cond(True, lambda: 1, lambda: 2) == 1
    with pytest.raises(ValueError, match="cond: in a trace both sides"):
        mx.vmap(lambda x: mx.cond(x > 0, lambda: x, lambda: mx.ones(2)))(mx.ones(3))
    with pytest.raises(ValueError, match="cond: a condition of shape"):
        mx.cond(mx.ones(2), lambda: 1, lambda: 2)


def test_while_loop():
    def doubled(x):
        return mx.while_loop(lambda v: v["x"] < 100, lambda v: {"x": v["x"] * 2}, {"x": x})["x"]

    def bounded(x):
        return mx.while_loop(lambda v: v < 100, lambda v: v * 2, x, max_steps=10)

    assert doubled(mx.array(3.0)).item() == 192
    assert mx.grad(doubled)(mx.array(3.0)).item() == 64
    assert mx.vmap(bounded)(mx.array([3.0, 30.0, 200.0])).tolist() == [192, 120, 200]
    assert mx.compile(bounded)(mx.array(7.0)).item() == 112
    assert mx.grad(mx.compile(bounded))(mx.array(3.0)).item() == 64
    assert mx.while_loop(lambda v: v < 100, lambda v: v * 2, mx.array(1.0), max_steps=2).item() == 4
    with pytest.raises(ValueError, match="max_steps"):
        mx.vmap(doubled)(mx.array([1.0, 2.0]))


def test_scan():
    def step(carry, x):
        return carry + x, carry * x

    last, products = mx.scan(step, mx.array(0.0), mx.arange(4.0))
    assert (last.item(), products.tolist()) == (6, [0, 0, 2, 9])
    last, products = mx.scan(step, mx.array(0.0), mx.arange(4.0), reverse=True)
    assert (last.item(), products.tolist()) == (6, [0, 5, 6, 0])
    assert mx.scan(lambda c, _: (c + 1, None), mx.array(0), length=3)[0].item() == 3
    trees = mx.scan(lambda c, x: (c, {"s": x["a"] + x["b"]}), 0, {"a": mx.ones(2), "b": mx.ones(2)})
    assert trees[1]["s"].tolist() == [2, 2]
    scanned = lambda x: mx.scan(step, mx.array(0.0), x)[1].sum()  # noqa: E731
    x = mx.array([1.0, 2.0, 3.0])  # 1*2 + (1+2)*3
    assert mx.grad(scanned)(x).tolist() == [5, 4, 3]
    assert mx.vmap(scanned)(mx.stack([x, 2 * x])).tolist() == [11, 44]
    assert mx.compile(scanned)(x).item() == 11
    for arguments in ((mx.ones(3), 2), (None, None), (mx.array(1.0), None)):
        with pytest.raises(ValueError, match="scan: "):
            mx.scan(step, mx.array(0.0), *arguments)


# ---- Matrices of derivatives ----


class Pair(NamedTuple):
    first: mx.array
    second: mx.array


@pytest.mark.parametrize("forward", [False, True])
def test_jacobian(forward):
    def f(x, y):
        return mx.sin(x) * y.sum() + y[:2, None] * x

    x, y = mx.arange(3.0), mx.arange(4.0)
    by_x, by_y = mx.jacobian(f, (0, 1), forward=forward)(x, y)
    want = np.zeros((2, 3, 3), np.float32)
    for i in range(2):
        want[i] = np.diag(np.cos(np.arange(3)) * 6 + i)
    close(by_x, want)
    want = np.zeros((2, 3, 4), np.float32)
    want += np.sin(np.arange(3))[None, :, None]
    for i in range(2):
        want[i, :, i] += np.arange(3)
    close(by_y, want)
    pair = mx.jacobian(lambda x: (x, x.sum()), forward=forward)(x)
    assert isinstance(pair, tuple) and [p.shape for p in pair] == [(3, 3), (3,)]
    found = mx.jacobian(lambda x: Pair(x, x.sum()), forward=forward)(x)
    assert isinstance(found, Pair) and found.second.tolist() == [1, 1, 1]
    empty = mx.jacobian(lambda x: x * x, forward=forward)(mx.zeros(0, mx.float16))
    assert empty.shape == (0, 0) and empty.dtype == mx.float16
    assert mx.vmap(mx.jacobian(mx.sin, forward=forward))(mx.ones((2, 3))).shape == (2, 3, 3)


def test_hessian():
    f = lambda x: (x**3).sum() * x[0]  # noqa: E731
    x = mx.array([1.0, 2.0])
    assert mx.hessian(f)(x).tolist() == [[12, 12], [12, 12]]
    assert_equal(mx.compile(mx.hessian(f))(x), np.array(mx.hessian(f)(x)))
    ((_, xy), (yx, _)) = mx.hessian(lambda x, y: (x * y).sum(), (0, 1))(x, x)
    assert xy.tolist() == yx.tolist() == [[1, 0], [0, 1]]


def test_jacobian_refuses():
    with pytest.raises(ValueError, match=r"jacobian: argument 0 is .*int32, expected floats"):
        mx.jacobian(mx.sin)(mx.array([1]))
    with pytest.raises(TypeError, match="jacobian: argument 0 is no array"):
        mx.jacobian(mx.sin)(1.0)
    with pytest.raises(ValueError, match="jacobian: there is no argument 1"):
        mx.jacobian(mx.sin, 1)(mx.ones(2))
    with pytest.raises(ValueError, match=r"jacobian: argnums .* name an argument twice"):
        mx.jacobian(mx.add, (0, -2))(mx.ones(2), mx.ones(2))
    with pytest.raises(ValueError, match="hessian: there is no argument 1"):
        mx.hessian(mx.sum, 1)(mx.ones(2))
    with pytest.raises(ValueError, match=r"hessian: argument 0 is .*int32, expected floats"):
        mx.hessian(mx.sum)(mx.array([1]))


# ---- Random numbers ----

KEY = mx.random.key(7)


def moments(x):
    x = np.array(x).astype(np.float64)
    assert np.isfinite(x).all()
    return x.mean(), x.var()


@pytest.mark.parametrize("a", [0.2, 1.0, 3.0, 50.0])
def test_gamma(a):
    mean, variance = moments(mx.random.gamma(a, 2.0, (40000,), key=KEY))
    assert abs(mean / (2 * a) - 1) < 0.05 and abs(variance / (4 * a) - 1) < 0.1


@pytest.mark.parametrize("lam", [0.1, 4.0, 9.9, 12.0, 300.0, 1e6])
def test_poisson(lam):
    mean, variance = moments(mx.random.poisson(lam, (40000,), key=KEY))
    assert abs(mean / lam - 1) < 0.05 and abs(variance / lam - 1) < 0.05


def test_small_poisson_counts_have_their_probabilities():
    for lam in (2.0, 15.0):
        counts = np.bincount(np.array(mx.random.poisson(lam, (40000,), key=KEY)), minlength=40)
        want = [math.exp(-lam + k * math.log(lam) - math.lgamma(k + 1)) for k in range(len(counts))]
        assert np.abs(counts / 40000 - want).max() < 0.01


def test_beta_and_exponential():
    mean, variance = moments(mx.random.beta(2.0, 5.0, (40000,), key=KEY))
    assert abs(mean - 2 / 7) < 0.01 and abs(variance - 10 / 392) < 0.002
    moments(mx.random.beta(0.01, 0.01, (1000,), key=KEY))
    mean, variance = moments(mx.random.exponential(3.0, (40000,), key=KEY))
    assert abs(mean - 3) < 0.1 and abs(variance - 9) < 0.6
    scaled = lambda scale: mx.random.exponential(scale, (3,), key=KEY).sum()  # noqa: E731
    close(mx.grad(scaled)(mx.array(2.0)) * 2, np.array(scaled(mx.array(2.0))))


def test_draws_follow_shapes_types_keys_and_transforms():
    draws = {
        "gamma": lambda **o: mx.random.gamma(mx.ones((2, 1)), mx.ones(3), **o),
        "beta": lambda **o: mx.random.beta(mx.ones((2, 1)), mx.ones(3), **o),
        "poisson": lambda **o: mx.random.poisson(mx.ones((2, 3)), **o),
        "exponential": lambda **o: mx.random.exponential(mx.ones((2, 3)), **o),
    }
    for name, draw in draws.items():
        assert draw().shape == (2, 3), name
        assert draw(shape=(4, 2, 3)).shape == (4, 2, 3)
        assert draw(shape=(0, 2, 3)).shape == (0, 2, 3)
        assert_equal(draw(key=KEY), np.array(draw(key=KEY)))
        assert (np.array(draw(key=KEY)) != np.array(draw(key=mx.random.key(8)))).any()
        assert_equal(mx.compile(lambda k, d=draw: d(key=k))(KEY), np.array(draw(key=KEY)))
        assert mx.vmap(lambda k, d=draw: d(key=k))(mx.random.split(KEY, 5)).shape == (5, 2, 3)
        with pytest.raises(ValueError, match=f"{name}: parameters of shape"):
            draw(shape=(2, 2))
        if name != "poisson":
            assert draw(dtype=mx.float16).dtype == mx.float16
            assert draw(dtype=mx.float64).dtype == mx.float64
            with pytest.raises(ValueError, match=f"{name}: dtype is"):
                draw(dtype=mx.int32)


def test_choice():
    assert mx.random.choice(5, (2, 3)).shape == (2, 3)
    assert sorted(mx.random.choice(5, 5, replace=False).tolist()) == [0, 1, 2, 3, 4]
    rows = mx.arange(10).reshape(5, 2)
    assert mx.random.choice(rows, (3,)).shape == (3, 2)
    assert mx.random.choice(rows, (3, 4), axis=1).shape == (5, 3, 4)
    assert mx.random.choice(rows, (0,)).shape == (0, 2)
    p = mx.array([0.1, 0.0, 0.2, 0.7])
    counts = np.bincount(np.array(mx.random.choice(4, 20000, p=p, key=KEY)), minlength=4)
    assert np.abs(counts / 20000 - np.array(p)).max() < 0.02
    for seed in range(9):
        few = mx.random.choice(4, 3, replace=False, p=p, key=mx.random.key(seed))
        assert sorted(few.tolist()) == [0, 2, 3]
    for arguments in ((0, 1), (3, 4, False), (3, 1, True, mx.ones(2))):
        with pytest.raises(ValueError, match="choice: "):
            mx.random.choice(*arguments)


def test_limits_and_pairs_of_other_lengths_are_refused_by_name():
    with pytest.raises(ValueError, match="range has 3 limits, expected 2"):
        mx.histogram_bin_edges(mx.ones((2,)), range=(0, 1, 2))
    for wrong in (mx.zeros((0,)), mx.zeros((2,)), (1, 2, 3)):
        with pytest.raises(ValueError, match="scan: the function gave"):
            mx.scan(lambda c, x, w=wrong: w, mx.array(0), length=3)
