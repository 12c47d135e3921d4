"""The conformance table: each elementwise operation, in each dtype and layout, against float64.

A row of the table states an operation's reference, the interval its inputs are drawn from and its
tolerance in ULPs. A new operation is tested by adding its row.
"""

import math
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from conftest import (
    ALL_DTYPES,
    HALVES,
    LAYOUTS,
    NUMPY_DTYPES,
    assert_equal,
    assert_ulps,
    mx_dtype,
    to_mx,
)

import cermet.core as mx

EXACT, ROUNDED = 0, 0.5
# Computed in float32, then rounded.
HALF = 0.5 + 2**-10


def bounds(macro):
    text = (Path(__file__).parents[1] / "error_bounds.def").read_text()
    rows = re.findall(rf"^{macro}_\d\((\w+), ([\d.]+)", text, re.MULTILINE)
    return {name: float(bound) for name, bound in rows}


# The bounds in float32 and complex64, by operation.
BOUNDS, COMPLEX_BOUNDS = bounds("ERROR_BOUND"), bounds("COMPLEX_BOUND")


class Op(NamedTuple):
    """One elementwise operation: how its inputs are drawn and what its result must be."""

    name: str
    reference: Callable  # in float64 or complex128; in the dtype itself for integers that stay so
    tolerance: float  # ULPs in float64, and in float32 without a row in error_bounds.def
    domains: tuple = ((-100, 100),)  # one interval for each input
    kinds: str = "uif"  # NumPy's kinds of the dtypes taken: b, u, i, f, c
    result: str = "float"  # float: integers give float32; same: the dtype of the inputs; bool
    special: bool = True  # also zeros, infinities and NaN
    smooth: tuple | None = None  # where derivatives are checked, one interval for each input
    half_tolerance: float = HALF  # ULPs in float16 and bfloat16, if less than the tolerance
    complex_tolerance: float | None = None  # ULPs of the modulus, if not as error_bounds.def has it
    skip: tuple = ()  # dtypes for which the reference is not accurate enough


def erfinv(x):
    """The inverse error function from the normal quantile, corrected by one Newton step."""
    if not -1 < x < 1:
        return math.copysign(math.inf, x) if abs(x) == 1 else math.nan
    y = statistics.NormalDist().inv_cdf((x + 1) / 2) / math.sqrt(2)
    return y - (math.erf(y) - x) * math.sqrt(math.pi) / 2 * math.exp(y * y)


def logaddexp(x, y):
    """Also of complex numbers: from the operand with the greater real part."""
    if np.asarray(x).dtype.kind != "c":
        return np.logaddexp(x, y)
    high, low = np.maximum(x, y), np.minimum(x, y)
    return high + np.log1p(np.exp(low - high))


def elementwise(function):
    return np.vectorize(function, otypes=[np.float64])


def nan_to_num(x):
    info = np.finfo(np.float32)
    return np.nan_to_num(x, nan=0.5, posinf=info.max, neginf=info.min)


FULL = ((-1e4, 1e4),)
POSITIVE = ((0, 1e4),)
UNIT = ((-1, 1),)
PAIR = ((-50, 50), (-50, 50))
BITS = ((-100, 100), (-100, 100))
BITWISE = {"kinds": "bui", "result": "same"}
SAME = {"result": "same"}
TEST = {"result": "bool"}

UNARY = [
    Op("abs", np.abs, EXACT, FULL, "buifc", **SAME, smooth=((0.1, 2),)),
    Op("negative", np.negative, EXACT, FULL, "uifc", **SAME, smooth=((-2, 2),)),
    Op("positive", np.positive, EXACT, FULL, "uifc", **SAME, smooth=((-2, 2),)),
    Op("sign", np.sign, EXACT, FULL, "uifc", **SAME, special=False, smooth=((0.1, 2),)),
    Op("square", lambda x: x * x, ROUNDED, FULL, "uifc", **SAME, smooth=((-2, 2),)),
    Op("sqrt", np.sqrt, ROUNDED, POSITIVE, "buifc", smooth=((0.1, 9),)),
    Op("rsqrt", lambda x: 1 / np.sqrt(x), 2, POSITIVE, "uifc", special=False, smooth=((0.1, 9),)),
    Op("reciprocal", lambda x: 1 / x, ROUNDED, FULL, "uifc", smooth=((0.3, 3),)),
    Op("exp", np.exp, 2, ((-85, 85),), "buifc", smooth=((-2, 2),)),
    Op("expm1", np.expm1, 4, ((-85, 85),), "buifc", smooth=((-2, 2),)),
    Op("log", np.log, 2, POSITIVE, "buifc", smooth=((0.3, 9),)),
    Op("log2", np.log2, 4, POSITIVE, "buifc", smooth=((0.3, 9),)),
    Op("log10", np.log10, 4, POSITIVE, "buifc", smooth=((0.3, 9),)),
    Op("log1p", np.log1p, 4, ((-0.99, 1e4),), "buifc", smooth=((-0.5, 9),)),
    Op("sigmoid", lambda x: 1 / (1 + np.exp(-x)), 4, ((-80, 80),), "buifc", smooth=((-4, 4),)),
    Op("silu", lambda x: x / (1 + np.exp(-x)), 4, ((-80, 80),), "buifc", smooth=((-4, 4),)),
    Op("erf", elementwise(math.erf), 4, ((-6, 6),), "buif", smooth=((-2, 2),)),
    Op("erfinv", elementwise(erfinv), 16, UNIT, "f", smooth=((-0.9, 0.9),), skip=("float64",)),
    Op("sin", np.sin, 2, kinds="buifc", smooth=((-3, 3),)),
    Op("cos", np.cos, 2, kinds="buifc", smooth=((-3, 3),)),
    Op("tan", np.tan, 4, kinds="buifc", smooth=((-1, 1),)),
    Op("arcsin", np.arcsin, 4, UNIT, "fc", smooth=((-0.9, 0.9),)),
    Op("arccos", np.arccos, 4, UNIT, "fc", smooth=((-0.9, 0.9),)),
    Op("arctan", np.arctan, 4, FULL, "buifc", smooth=((-2, 2),)),
    Op("sinh", np.sinh, 4, ((-80, 80),), "buifc", smooth=((-2, 2),)),
    Op("cosh", np.cosh, 4, ((-80, 80),), "buifc", smooth=((-2, 2),)),
    Op("tanh", np.tanh, 4, ((-20, 20),), "buifc", smooth=((-2, 2),)),
    Op("arcsinh", np.arcsinh, 4, FULL, "buifc", smooth=((-2, 2),)),
    Op("arccosh", np.arccosh, 4, ((1, 1e4),), "fc", smooth=((1.2, 9),)),
    Op("arctanh", np.arctanh, 4, ((-0.999, 0.999),), "fc", smooth=((-0.9, 0.9),)),
    Op("degrees", np.degrees, 2, FULL, "uif", smooth=((-2, 2),), half_tolerance=2),
    Op("radians", np.radians, 2, FULL, "uif", smooth=((-2, 2),), half_tolerance=2),
    Op("floor", np.floor, EXACT, FULL, "uif", **SAME, smooth=((0.1, 0.9),)),
    Op("ceil", np.ceil, EXACT, FULL, "uif", **SAME, smooth=((0.1, 0.9),)),
    Op("round", np.round, EXACT, FULL, "uif", **SAME, smooth=((0.1, 0.4),)),
    Op("trunc", np.trunc, EXACT, FULL, "uif", **SAME, smooth=((0.1, 0.9),)),
    Op("rint", np.rint, EXACT, FULL, "uif", **SAME, smooth=((0.1, 0.4),)),
    Op("isnan", np.isnan, EXACT, FULL, "buifc", **TEST),
    Op("isinf", np.isinf, EXACT, FULL, "buifc", **TEST),
    Op("isfinite", np.isfinite, EXACT, FULL, "buifc", **TEST),
    Op("isposinf", np.isposinf, EXACT, FULL, "uif", **TEST),
    Op("isneginf", np.isneginf, EXACT, FULL, "uif", **TEST),
    Op("logical_not", np.logical_not, EXACT, FULL, "buif", **TEST),
    Op("bitwise_invert", np.invert, EXACT, FULL, **BITWISE),
    Op("real", np.real, EXACT, FULL, "buifc", **SAME, smooth=((-2, 2),)),
    Op("imag", np.imag, EXACT, FULL, "buifc", **SAME),
    Op("conjugate", np.conjugate, EXACT, FULL, "uifc", **SAME, smooth=((-2, 2),)),
]

BINARY = [
    Op("add", np.add, ROUNDED, PAIR, "buifc", **SAME, smooth=((-2, 2), (-2, 2))),
    Op("subtract", np.subtract, ROUNDED, PAIR, "uifc", **SAME, smooth=((-2, 2), (-2, 2))),
    Op("multiply", np.multiply, ROUNDED, PAIR, "buifc", **SAME, smooth=((-2, 2), (-2, 2))),
    Op("divide", np.divide, ROUNDED, ((-50, 50), (1, 50)), "uifc", smooth=((-2, 2), (1, 3))),
    Op("floor_divide", np.floor_divide, EXACT, ((-50, 50), (1, 9)), "ui", **SAME),
    Op("remainder", np.remainder, ROUNDED, ((-50, 50), (1, 9)), "uif", **SAME, special=False),
    Op("power", np.power, 16, ((0, 8), (0, 4)), "uifc", **SAME, smooth=((0.5, 2), (-2, 3))),
    Op("maximum", np.maximum, EXACT, PAIR, "buifc", **SAME, smooth=((-2, -1), (1, 2))),
    Op("minimum", np.minimum, EXACT, PAIR, "buifc", **SAME, smooth=((-2, -1), (1, 2))),
    Op(
        "logaddexp",
        logaddexp,
        4,
        ((0, 50), (0, 50)),
        "uifc",
        smooth=((-2, 2), (-2, 2)),
        complex_tolerance=64,  # where the sum is near 1, the result is near 0
    ),
    Op("arctan2", np.arctan2, 4, PAIR, "uif", smooth=((0.5, 2), (0.5, 2))),
    Op("equal", np.equal, EXACT, PAIR, "buifc", **TEST),
    Op("not_equal", np.not_equal, EXACT, PAIR, "buifc", **TEST),
    Op("less", np.less, EXACT, PAIR, "buifc", **TEST),
    Op("less_equal", np.less_equal, EXACT, PAIR, "buifc", **TEST),
    Op("greater", np.greater, EXACT, PAIR, "buifc", **TEST),
    Op("greater_equal", np.greater_equal, EXACT, PAIR, "buifc", **TEST),
    Op("logical_and", np.logical_and, EXACT, BITS, "buif", **TEST),
    Op("logical_or", np.logical_or, EXACT, BITS, "buif", **TEST),
    Op("logical_xor", np.logical_xor, EXACT, BITS, "buif", **TEST),
    Op("bitwise_and", np.bitwise_and, EXACT, BITS, **BITWISE),
    Op("bitwise_or", np.bitwise_or, EXACT, BITS, **BITWISE),
    Op("bitwise_xor", np.bitwise_xor, EXACT, BITS, **BITWISE),
    Op("left_shift", np.left_shift, EXACT, ((0, 100), (0, 7)), "ui", **SAME),
    Op("right_shift", np.right_shift, EXACT, ((-100, 100), (0, 7)), "ui", **SAME),
]

ALIASES = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
    "atan2": "arctan2",
    "pow": "power",
    "conj": "conjugate",
    "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift",
}

# Tested below by themselves: they take other arguments, or several outputs.
OTHERS = {"select", "where", "clip", "nan_to_num", "isclose", "divmod", "astype"}

SHAPE = (10, 206)
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan])


def kind(dtype):
    return "f" if dtype == "bfloat16" else np.dtype(NUMPY_DTYPES[dtype]).kind


def sample(rng, domain, dtype, special):
    """Values in the domain, half of them spread over magnitudes, the first rows special ones."""
    low, high = domain
    size = math.prod(SHAPE)
    x = rng.uniform(low, high, size)
    small = rng.choice([-1, 1], size) * 10 ** rng.uniform(-5, 2, size)
    x = np.where(rng.random(size) < 0.5, x, np.clip(small, low, high))
    if kind(dtype) in "bui":
        x = np.abs(np.round(x)) if kind(dtype) in "bu" else np.round(x)
        return np.clip(x, low, min(high, 100)).astype(NUMPY_DTYPES[dtype]).reshape(SHAPE)
    if kind(dtype) == "c":
        return (np.clip(x, -9, 9) + 1j * rng.uniform(-9, 9, size)).astype("c8").reshape(SHAPE)
    if special:
        x[:: size // len(SPECIAL)][: len(SPECIAL)] = rng.permutation(SPECIAL)
    return x.astype(NUMPY_DTYPES[dtype]).reshape(SHAPE)


def expected(op, arguments, dtype):
    """The reference's result: in the dtype itself for integers that stay integers, else wide."""
    if kind(dtype) not in "bui" or op.result == "float":
        wide = np.complex128 if kind(dtype) == "c" else np.float64
        arguments = [x.astype(wide) for x in arguments]
    with np.errstate(all="ignore"):
        return op.reference(*arguments)


def expected_dtype(op, dtype):
    if op.result == "bool":
        return mx.bool_
    if op.result == "float" and kind(dtype) in "bui":
        return mx.float32
    if dtype == "complex64" and op.name in ("abs", "real", "imag"):
        return mx.float32
    return mx_dtype(dtype)


def check(op, arguments, got, dtype, what):
    want = expected(op, arguments, dtype)
    assert got.dtype == expected_dtype(op, dtype), what
    if op.result == "bool" or (op.result == "same" and kind(dtype) in "bui"):
        assert_equal(got, want, what)
    elif kind(dtype) == "c":
        assert_ulps(got, want, op.complex_tolerance or COMPLEX_BOUNDS.get(op.name, 1), what)
    else:
        half = dtype in HALVES
        tolerance = min(op.tolerance, op.half_tolerance) if half else op.tolerance
        if got.dtype == mx.float32:
            tolerance = BOUNDS.get(op.name, op.tolerance)
        assert_ulps(got, want, tolerance, what)


def cases(operations):
    return [
        pytest.param(op, dtype, id=f"{op.name}-{dtype}")
        for op in operations
        for dtype in ALL_DTYPES
        if kind(dtype) in op.kinds and dtype not in op.skip
    ]


@pytest.mark.parametrize("op, dtype", cases(UNARY))
def test_unary(op, dtype, rng):
    x = sample(rng, op.domains[0], dtype, op.special)
    results = [getattr(mx, op.name)(layout(mx, to_mx(x))) for layout in LAYOUTS.values()]
    mx.eval(results)  # together: a GPU then compiles their kernels together
    for (name, layout), got in zip(LAYOUTS.items(), results, strict=True):
        check(op, [np.asarray(layout(np, x))], got, dtype, f"{op.name} {name}")


@pytest.mark.parametrize("op, dtype", cases(BINARY))
def test_binary(op, dtype, rng):
    values = [sample(rng, domain, dtype, op.special) for domain in op.domains]
    cases = []
    for name, layout in LAYOUTS.items():
        for laid in (0, 1):  # which argument has the layout; the other one is contiguous
            arguments = [np.asarray(layout(np, x)) for x in values]
            arrays = [to_mx(x) for x in arguments]
            arrays[laid] = layout(mx, to_mx(values[laid]))
            got = getattr(mx, op.name)(*arrays)
            cases.append((arguments, got, dtype, f"{op.name} {name} of argument {laid}"))
    mx.eval([got for _, got, _, _ in cases])
    for case in cases:
        check(op, *case)


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.name)
def test_binary_broadcasts(op, rng):
    dtype = "float32" if "f" in op.kinds else "int32"
    x, y = (sample(rng, domain, dtype, op.special) for domain in op.domains)
    shapes = [((5, 1, 7), (3, 1)), ((), (4, 5)), ((4, 5), ()), ((1, 6), (5, 1)), ((0, 3), (1, 3))]
    cases = []
    for left, right in shapes:
        arguments = [np.resize(x, left), np.resize(y, right)]
        got = getattr(mx, op.name)(*map(to_mx, arguments))
        cases.append((arguments, got, dtype, f"{op.name} {left} {right}"))
    mx.eval([got for _, got, _, _ in cases])
    for case in cases:
        check(op, *case)
    with pytest.raises(ValueError, match=r"2.*3.*4"):
        getattr(mx, op.name)(to_mx(x[:2, :3]), to_mx(y[:1, :4]))


@pytest.mark.parametrize("dtype", ["bool", "int32", "float16", "bfloat16", "float32", "complex64"])
def test_where(dtype, rng):
    x, y = (sample(rng, (-100, 100), dtype, False) for _ in range(2))
    condition = rng.random(SHAPE) < 0.5
    results = [
        mx.where(*(layout(mx, to_mx(v)) for v in (condition, x, y))) for layout in LAYOUTS.values()
    ]
    mx.eval(results)
    for (name, layout), got in zip(LAYOUTS.items(), results, strict=True):
        assert_equal(got, np.where(*(layout(np, v) for v in (condition, x, y))), name)
    assert_equal(mx.where(to_mx(condition), to_mx(x[:1]), to_mx(y[:, :1])),
                 np.where(condition, x[:1], y[:, :1]))  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float16", "bfloat16", "float32"])
def test_clip(dtype, rng):
    x = sample(rng, (-100, 100), dtype, True)
    low, high = (np.asarray(v, x.dtype) for v in (3, 20))
    cases = []
    for name, layout in LAYOUTS.items():
        v, laid = layout(np, x), lambda layout=layout: layout(mx, to_mx(x))
        cases.append((mx.clip(laid(), 3, 20), np.clip(v, low, high), name))
        cases.append((mx.clip(laid(), 3, None), np.maximum(v, low), name))
        cases.append((mx.clip(laid(), None, to_mx(high)), np.minimum(v, high), name))
    mx.eval([got for got, _, _ in cases])
    for case in cases:
        assert_equal(*case)


@pytest.mark.parametrize("function", [mx.maximum, mx.minimum])
@pytest.mark.parametrize("nan", [complex(1.5, np.nan), complex(np.nan, 1)])
def test_complex_extremes_keep_nans(function, nan):
    for pair in ([-2 - 1.5j, nan], [nan, -2 - 1.5j], [9 + 1j, nan]):
        x, y = (to_mx(np.array([v], np.complex64)) for v in pair)
        assert np.isnan(np.array(function(x, y))).all()


def test_nan_to_num():
    x = np.array([np.nan, np.inf, -np.inf, 1.5], np.float32)
    info = np.finfo(np.float32)
    assert_equal(mx.nan_to_num(to_mx(x)), np.array([0, info.max, info.min, 1.5], np.float32))
    assert_equal(mx.nan_to_num(to_mx(x), 9, 7, -7), np.array([9, 7, -7, 1.5], np.float32))


def test_round_to_decimals(rng):
    x = sample(rng, (-100, 100), "float32", False)
    np.testing.assert_allclose(mx.round(to_mx(x), 2), np.round(x, 2), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(mx.round(to_mx(x), decimals=-1), np.round(x, -1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "float32", "float16"])
def test_floor_division_and_remainder_agree(dtype, rng):
    """On quarters, of which quotients are far from rounding to the next integer."""
    x = (rng.integers(-100, 100, 500) / (1 if dtype == "int32" else 4)).astype(dtype)
    y = (rng.choice([-9, -3, -1, 1, 2, 7], 500) / (1 if dtype == "int32" else 4)).astype(dtype)
    a, b = to_mx(x), to_mx(y)
    quotient, remainder = mx.divmod(a, b)
    for got, want in [(mx.floor_divide(a, b), quotient), (mx.remainder(a, b), remainder)]:
        assert_equal(got, np.array(want))
    assert_equal(quotient, np.floor_divide(x, y))
    assert_equal(remainder, np.remainder(x, y))


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floor_division_of_and_by_zeros_and_infinities(name, dtype):
    special = np.array([-np.inf, -1.5, -0.5, -0.0, 0.0, 0.5, 2.0, np.inf, np.nan], dtype)
    x, y = (values.ravel() for values in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x, y)
        if name == "floor_divide":  # NumPy has nan of infinities, and -1 by those of the other sign
            want = np.where(np.isinf(x) | np.isinf(y), np.floor(x / y), want)
    got = getattr(mx, name)(to_mx(x), to_mx(y))
    assert_equal(got, want)
    numbers = ~np.isnan(want)
    assert_equal(np.signbit(np.array(got))[numbers], np.signbit(want)[numbers])


@pytest.mark.parametrize("to", ALL_DTYPES)
@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_astype(dtype, to, rng):
    """Values that both dtypes hold, and fractions where the target has them."""
    kinds = kind(dtype) + kind(to)
    low, high = (0, 1) if "b" in kinds else (0, 100) if "u" in kinds else (-100, 100)
    x = sample(rng, (low, high), dtype, False)
    x = np.clip(x.real, low, high).astype(x.dtype)
    with np.errstate(all="ignore"):
        want = (x.real if kind(to) != "c" else x).astype(NUMPY_DTYPES[to])
    names = ("contiguous", "negative step", "broadcast columns", "empty")
    results = [LAYOUTS[name](mx, to_mx(x)).astype(mx_dtype(to)) for name in names]
    mx.eval(results)
    for name, got in zip(names, results, strict=True):
        assert got.dtype == mx_dtype(to)
        assert_equal(got, np.asarray(LAYOUTS[name](np, want)), name)


@pytest.mark.parametrize("function", [mx.isclose, mx.allclose])
def test_closeness(function):
    x = np.array([1, 1e5, np.inf, np.nan, 0, -np.inf], np.float32)
    y = np.array([1 + 1e-6, 1e5 + 2, np.inf, np.nan, 1e-9, np.inf], np.float32)
    reference = getattr(np, function.__name__)
    for options in ({}, {"rtol": 1e-4}, {"atol": 1.0}, {"equal_nan": True}):
        assert_equal(function(to_mx(x), to_mx(y), **options), reference(x, y, **options))
        assert_equal(function(to_mx(x[:3]), to_mx(x[:3]), **options), reference(x[:3], x[:3]))


def test_array_equal():
    a = mx.array([1.0, mx.nan])
    assert mx.array_equal(a[:1], mx.array([1])).item()
    assert not mx.array_equal(a, a).item()
    assert mx.array_equal(a, a, equal_nan=True).item()
    assert not mx.array_equal(a, a[:1]).item()


@pytest.mark.parametrize("op", [op for op in UNARY + BINARY if op.smooth], ids=lambda op: op.name)
def test_derivatives(op, rng):
    """Reverse and forward mode against central differences of the reference in float64."""
    points = [rng.uniform(low, high, 40).astype(np.float32) for low, high in op.smooth]
    arrays = [to_mx(x) for x in points]
    cotangent, step = rng.normal(size=40).astype(np.float32), 1e-5
    function = getattr(mx, op.name)
    _, gradients = mx.vjp(function, arrays, [to_mx(cotangent)])
    for i in range(len(points)):
        up, down = np.float64([points, points])
        up[i] += step
        down[i] -= step
        slope = (op.reference(*up) - op.reference(*down)) / (2 * step)
        tangents = [mx.ones(40) if j == i else mx.zeros(40) for j in range(len(points))]
        _, (forward,) = mx.jvp(function, arrays, tangents)
        np.testing.assert_allclose(forward, slope, rtol=2e-4, atol=1e-5)
        np.testing.assert_allclose(gradients[i], slope * cotangent, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("op", [op for op in UNARY + BINARY if op.smooth], ids=lambda op: op.name)
def test_gradients_keep_dtype(op, dtype):
    arrays = [mx.full((3,), sum(interval) / 2, dtype=mx_dtype(dtype)) for interval in op.smooth]
    (value,), gradients = mx.vjp(getattr(mx, op.name), arrays, [mx.ones(3, mx_dtype(dtype))])
    for a in (value, *gradients):
        assert a.dtype == mx_dtype(dtype) and a.shape == (3,)


@pytest.mark.parametrize(
    "low, high, want",
    [
        (1j, -32769, [-32769] * 2),
        (-32769.5, mx.array(1.0), [1, -32769.5]),
        (mx.array(32769.0), 32771, [32771, 32769]),
    ],
)
def test_bounds_are_rounded_to_the_type_of_the_result(low, high, want):
    assert mx.clip(mx.array([60000, -60000], mx.float16), low, high).tolist() == want


def test_derivatives_of_where_and_clip():
    x, y = mx.array([-2.0, 0.5, 3.0]), mx.array([1.0, 2.0, 3.0])
    condition = mx.array([True, False, True])
    gx, gy = mx.grad(lambda x, y: mx.where(condition, x * 2, y * 3).sum(), (0, 1))(x, y)
    assert gx.tolist() == [2, 0, 2] and gy.tolist() == [0, 3, 0]
    assert mx.grad(lambda x: mx.clip(x, -1, 1).sum())(x).tolist() == [0, 1, 0]


def test_derivative_of_where_ignores_the_other_branch():
    """An infinite slope in the branch not taken times 0 would be NaN: the branch must be masked."""
    safe = lambda x: mx.where(x > 0, mx.sqrt(mx.where(x > 0, x, 1)), 0).sum()  # noqa: E731
    assert mx.grad(safe)(mx.array([0.0, 4.0])).tolist() == [0, 0.25]


@pytest.mark.parametrize("alias, name", ALIASES.items())
def test_aliases(alias, name):
    op = next(op for op in UNARY + BINARY if op.name == name)
    arrays = [mx.array([2, 3]) if "f" not in op.kinds else mx.array([0.3, 1.0])] * len(op.domains)
    assert mx.array_equal(getattr(mx, alias)(*arrays), getattr(mx, name)(*arrays), equal_nan=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.bitwise_and(mx.array([1.0]), mx.array([1.0])),
        lambda: mx.bitwise_invert(mx.array([1.0])),
        lambda: mx.left_shift(mx.array([1.0]), 1),
        lambda: mx.negative(mx.array([True])),
        lambda: mx.floor(mx.array([1j])),
        lambda: mx.clip(mx.array([1]), None, None),
    ],
)
def test_refused_dtypes_and_arguments(call):
    with pytest.raises((ValueError, TypeError)):
        call()


def test_table_covers_every_operation():
    missing = {op["name"] for op in mx._operations()}
    missing -= {op.name for op in UNARY + BINARY} | set(ALIASES) | OTHERS
    assert not missing, f"operations without a row in the conformance table: {sorted(missing)}"
