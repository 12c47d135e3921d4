"""The order of reductions and of scans, as docs/design.md states it, against a plain reference that
is compared by equality."""

import itertools

import numpy as np
import pytest
from conftest import NUMPY_DTYPES, SIMULATED, assert_equal, mx_dtype, to_mx, to_np

import cermet.core as mx

LANES, BLOCK, RUN = 64, 4096, 64


def by_mx(function):
    """A function of NumPy arrays from one of Cermet's, where NumPy rounds in another way."""
    return lambda a, b: to_np(function(to_mx(a), to_mx(b)))


FUNCTIONS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": lambda a, b: np.where((a > b) | (a != a), a, b),
    "min": lambda a, b: np.where((a < b) | (a != a), a, b),
}
SCANS = {"sum": "cumsum", "prod": "cumprod", "max": "cummax", "min": "cummin"}


def block_total(f, block):
    """Of up to BLOCK elements along the first axis."""
    lanes = block[:LANES].copy()
    for first in range(LANES, len(block), LANES):
        step = block[first : first + LANES]
        lanes[: len(step)] = f(lanes[: len(step)], step)
    half = LANES // 2
    while half:
        if (partners := len(lanes) - half) > 0:
            lanes[:partners] = f(lanes[:partners], lanes[half:])
            lanes = lanes[:half]
        half //= 2
    return lanes[0]


def total(f, x):
    """Along the first axis."""
    counter = []
    for number, first in enumerate(range(0, len(x), BLOCK), start=1):
        value = block_total(f, x[first : first + BLOCK])
        while number % 2 == 0:
            value = f(counter.pop(), value)
            number //= 2
        counter.append(value)
    value = counter.pop()
    while counter:
        value = f(counter.pop(), value)
    return value


def running(f, x):
    """Along the first axis."""
    runs = [x[first : first + RUN].copy() for first in range(0, len(x), RUN)]
    for run in runs:
        for i in range(1, len(run)):
            run[i] = f(run[i - 1], run[i])
    if len(runs) > 1:
        totals = running(f, np.stack([run[-1] for run in runs[:-1]]))
        runs[1:] = [
            f(np.broadcast_to(t, r.shape), r) for t, r in zip(totals, runs[1:], strict=True)
        ]
    return np.concatenate(runs)


def compute(name, apply, x, result):
    """In float32 for 16-bit floats, else in the result's type."""
    half = result.itemsize == 2 and result.kind not in "iu"
    f = FUNCTIONS[name]
    if result.kind == "c" and name == "prod":
        f = by_mx(mx.multiply)
    with np.errstate(all="ignore"):
        return apply(f, x.astype(np.float32 if half else result)).astype(result)


def reference(name, x, axes, result):
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    rows = x.transpose(*axes, *kept).reshape(-1, *(x.shape[axis] for axis in kept))
    return compute(name, total, rows, result)


def numpy_dtype(a):
    return to_np(a).dtype


def values(rng, shape, dtype="float32"):
    x = rng.standard_normal(shape) * (1 if dtype in ("float16", "bool") else 3)
    if dtype == "complex64":
        x = x + 1j * rng.standard_normal(shape)
    if dtype.startswith("uint"):
        x = np.abs(x)
    if dtype == "bool":
        x = x > 2
    return x.astype(NUMPY_DTYPES[dtype])


SHAPES = [(1,), (2, 3), (5, 7, 3), (33,), (64,), (65,), (130, 9), (9, 130), (700,), (3, 700),
          (4096,), (4097,), (5, 5000), (5000, 5), (13000, 2), (70, 60, 30), (20, 1030),
          (3, 90, 40), (50000,), (9000, 3, 2)]  # fmt: skip
LARGE = [(2, 13000), (300, 600), (5000, 70), (128, 128, 5), (150000,), (8200, 600)]


def axes_of(shape):
    for count in range(1, len(shape) + 1):
        yield from itertools.combinations(range(len(shape)), count)


@pytest.mark.parametrize("shape", SHAPES if SIMULATED else SHAPES + LARGE, ids=str)
def test_reductions_have_one_order(shape, rng):
    """For every set of axes, whatever else is computed with them and however they lie in memory."""
    x = values(rng, shape)
    for axes in axes_of(shape):
        want = reference("sum", x, axes, x.dtype)
        cases = {
            "alone": mx.sum(to_mx(x), axes),
            "transposed": mx.sum(to_mx(x.T).T, axes),
            "strided": mx.sum(to_mx(np.repeat(x, 2, -1))[..., ::2], axes),
            "fused": mx.sum(to_mx(x) * 0.5 + to_mx(x) * 0.5, axes),
            "kept": mx.sum(x_centred := to_mx(x) - 0, axes),
        }
        mx.eval(cases, mx.exp(x_centred - mx.max(x_centred, axes, keepdims=True)))
        for name, got in cases.items():
            assert_equal(got, want, f"{axes} {name}")


@pytest.mark.parametrize("shape", SHAPES if SIMULATED else SHAPES + LARGE, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_sums_of_squares_have_it_too(shape, dtype, rng):
    """They may square what they read themselves."""
    x = values(rng, shape, dtype)
    a = to_mx(x)
    for axes in axes_of(shape):
        want = reference("sum", x * x, axes, x.dtype)
        assert_equal(mx.sum(mx.square(a), axes), want)
        assert_equal(mx.sum(to_mx(x.T).T * to_mx(x.T).T, axes), want)
        both = [mx.sum(mx.square(a), axes), mx.max(mx.square(a), axes)]
        mx.eval(both)
        assert_equal(both[0], want)
    assert_equal(mx.sum(a * a, axes, keepdims=True) + a, want + x)


@pytest.mark.parametrize("dtype", [dtype for dtype in NUMPY_DTYPES if dtype != "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_reductions_of_every_type(name, dtype, rng):
    if dtype == "complex64" and name in ("max", "min"):
        pytest.skip("NumPy has another order of complex numbers with nan")
    x = values(rng, (4200, 3), dtype)
    for shape, axes in {
        (12600,): (0,),
        (4200, 3): (0,),
        (3, 4200): (1,),
        (20, 70, 9): (1,),
    }.items():
        y = x.reshape(shape)
        got = getattr(mx, name)(mx.array(y, mx_dtype(dtype)), axes)
        assert_equal(got, reference(name, y, axes, numpy_dtype(got)), str(shape))


def test_zeros_and_nans_keep_their_places(rng):
    x = rng.choice(
        np.float32([0.0, -0.0, 1, -1, np.nan, np.inf]), (300, 70), p=[0.6, 0.39, *[0.0025] * 4]
    )
    for name, axes in itertools.product(FUNCTIONS, [(0,), (1,), (0, 1)]):
        got = to_np(getattr(mx, name)(to_mx(x), axes))
        want = reference(name, x, axes, x.dtype)
        assert_equal(got, want)
        assert_equal(np.signbit(got)[got == 0], np.signbit(want)[want == 0], name)


@pytest.mark.skipif(SIMULATED, reason="threads of the CPU")
def test_threads_change_no_bit_of_a_reduction(rng):
    before = mx.get_num_threads()
    try:
        for shape in [(300000,), (3, 90000), (40000, 5), (9000, 64), (5000, 700)]:
            x = values(rng, shape)
            for axes in axes_of(shape):
                want = reference("sum", x, axes, x.dtype)
                for threads in (1, 2, 3):
                    mx.set_num_threads(threads)
                    assert_equal(mx.sum(to_mx(x), axes), want, f"{axes} {threads}")
                    assert_equal(mx.sum(to_mx(x) * 0.5 + to_mx(x) * 0.5, axes), want)
                    got = mx.softmax(to_mx(x), axes)
                    mx.set_num_threads(1)
                    assert_equal(got, mx.softmax(to_mx(x), axes), f"softmax {axes} {threads}")
    finally:
        mx.set_num_threads(before)


# ---- Scans


@pytest.mark.parametrize("dtype", [dtype for dtype in NUMPY_DTYPES if dtype != "float64"])
@pytest.mark.parametrize("name", SCANS)
def test_scans_of_every_type(name, dtype, rng):
    if dtype == "complex64" and name in ("max", "min"):
        pytest.skip("NumPy has another order of complex numbers with nan")
    for shape, axis in {(5,): 0, (64, 3): 0, (3, 65): 1, (4200,): 0, (3, 300, 5): 1}.items():
        x = values(rng, shape, dtype)
        got = getattr(mx, SCANS[name])(mx.array(x, mx_dtype(dtype)), axis=axis)
        want = compute(name, running, np.moveaxis(x, axis, 0), numpy_dtype(got))
        assert_equal(got, np.moveaxis(want, 0, axis), str(shape))


SCANNED = [(1,), (63,), (64,), (65,), (4096,), (4097,), (9, 200), (200, 9), (3, 70, 300), (5000, 3)]


@pytest.mark.parametrize(
    "shape", SCANNED if SIMULATED else [*SCANNED, (300000,), (4, 70000)], ids=str
)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("inclusive", [False, True])
def test_scans_have_one_order(shape, reverse, inclusive, rng):
    x = values(rng, shape)
    for axis in range(len(shape)):
        rows = np.moveaxis(x, axis, 0)
        rows = rows[::-1] if reverse else rows
        want = compute("sum", running, rows, x.dtype)
        if not inclusive:
            want = np.concatenate([np.zeros_like(want[:1]), want[:-1]])
        want = np.moveaxis(want[::-1] if reverse else want, 0, axis)
        cases = {
            "alone": to_mx(x),
            "transposed": to_mx(x.T).T,
            "strided": to_mx(np.repeat(x, 2, -1))[..., ::2],
        }
        for name, array in cases.items():
            got = mx.cumsum(array, axis=axis, reverse=reverse, inclusive=inclusive)
            assert_equal(got, want, f"axis {axis} {name}")


@pytest.mark.skipif(SIMULATED, reason="what goes past the caches of a CPU")
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_large_scans_have_the_bits_of_their_parts(dtype):
    size = mx_dtype(dtype).size
    x = (mx.random.normal((8, (5 << 20) // size + 7)) * 4).astype(mx_dtype(dtype))
    for shape, at in {(8, -1): 1, (-1, 5, 8): 1, (8, -1, 8): 1, (40, -1): 0}.items():
        y = x[:, : x.shape[1] // 40 * 40].reshape(shape)
        for reverse in (False, True):
            got = mx.cumsum(y, axis=at, reverse=reverse)
            for part in (slice(0, 2), slice(-3, None)):
                where = (slice(None), part) if at == 0 else (part,)
                assert_equal(got[where], mx.cumsum(y[where], axis=at, reverse=reverse))


def test_sums_of_logarithms_have_the_order_of_scans(rng):
    x = values(rng, (3, 300))
    want = running(by_mx(mx.logaddexp), x.T).T
    assert_equal(mx.logcumsumexp(to_mx(x), axis=1), want)


@pytest.mark.skipif(SIMULATED, reason="threads of the CPU")
def test_threads_change_no_bit_of_a_scan(rng):
    before = mx.get_num_threads()
    try:
        for shape in [(300000,), (3, 90000), (9000, 64), (500, 700)]:
            x = values(rng, shape)
            for axis in range(len(shape)):
                want = np.moveaxis(running(np.add, np.moveaxis(x, axis, 0)), 0, axis)
                for threads in (1, 2, 3):
                    mx.set_num_threads(threads)
                    assert_equal(mx.cumsum(to_mx(x), axis=axis), want, f"{axis} {threads}")
    finally:
        mx.set_num_threads(before)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.int16, mx.uint8])
@pytest.mark.parametrize("columns", [1024, 1001])
def test_results_that_no_cache_keeps_have_the_bits_of_their_parts(columns, dtype):
    """They may be stored in another way."""
    rows = (1 << 20 if SIMULATED else 40 << 20) // columns // dtype.size
    few = mx.random.randint(0, 100, (128, columns)).astype(dtype)
    x = mx.contiguous(mx.broadcast_to(few, (rows // 128, 128, columns))).reshape(-1, columns)
    mx.eval(few, x)

    def work(x):
        y = (x * x + 3) * (x - 7)
        return y, mx.softmax(x, axis=-1) if mx.issubdtype(dtype, mx.floating) else y + x

    for large, small in zip(work(x), work(few), strict=True):
        assert large.dtype == dtype
        parts = large.reshape(-1, *few.shape)
        assert mx.array_equal(parts, mx.broadcast_to(small, parts.shape), equal_nan=True).item()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int8", "float64"])
@pytest.mark.parametrize(
    "shape, axis",
    [((600, 33), 0), ((1025, 64), 0), ((5000, 17), 0), ((2, 700, 40), 1), ((1100, 1030), 0),
     ((3, 520, 5, 24), (0, 1))],
    ids=str,
)  # fmt: skip
def test_columns_of_what_is_computed_have_the_order_of_what_is_in_memory(shape, axis, dtype, rng):
    """Whatever is fused with the reduction, and whether it is code by then."""
    x, y = (to_mx(rng.integers(-9, 9, shape)).astype(getattr(mx, dtype)) for _ in range(2))
    if dtype.endswith(("16", "32", "64")) and not dtype.startswith("int"):
        x = x + mx.random.normal(shape).astype(x.dtype)
    of_column = to_mx(rng.integers(1, 5, shape[-1:])).astype(x.dtype)
    of_row = to_mx(rng.integers(1, 5, (*shape[:-1], 1))).astype(x.dtype)
    mx.eval(x, y, of_column, of_row)

    def values():
        return (x * 3 - y, x * of_row + of_column, mx.where(x > y, x, of_row), x * x)

    for _ in range(3):
        for fused, plain in zip(values(), values(), strict=True):
            mx.eval(plain)
            for reduce in (mx.sum, mx.max, mx.min, mx.mean):
                results = [reduce(v, axis=axis) for v in (fused, plain)]
                assert mx.array_equal(*results, equal_nan=True).item(), reduce
        several = values()
        mx.eval([v.sum(axis) for v in several], several[0].max(axis))
        together = [v.sum(axis) for v in values()]
        mx.eval(together)
        for a, v in zip(together, values(), strict=True):
            mx.eval(v)
            assert mx.array_equal(a, v.sum(axis), equal_nan=True).item()
