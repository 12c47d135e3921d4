"""What the Python tests share: the dtypes, conversions to NumPy, ULP distances, memory layouts."""

import os
from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
from hypothesis import settings

import cermet.core as mx

# The same examples in every run, so that a failure is found again.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

NUMPY_DTYPES = {
    "bool": np.bool_,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
    "complex64": np.complex64,
}
# Whether the default device is the simulated GPU.
SIMULATED = mx.metal.device_info().get("simulated") == 1

BOOLS = ("bool",)
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
SIGNED = ("int8", "int16", "int32", "int64")
INTEGERS = UNSIGNED + SIGNED
HALVES = ("float16", "bfloat16")
FLOATS = (*HALVES, "float32", "float64")
COMPLEX = ("complex64",)
ALL_DTYPES = tuple(NUMPY_DTYPES)

# Sizes around the widths of vectors, tiles and blocks.
ODD_SIZES = (1, 3, 17, 513, 1030)


@pytest.fixture(autouse=True)
def same_device():
    """Tests of benchmarks choose devices; the tests after them have the default one."""
    device = mx.default_device()
    yield
    mx.set_default_device(device)


@pytest.fixture
def rng():
    """A NumPy generator with a fixed seed, fresh in each test."""
    return np.random.default_rng(0)


def mx_dtype(name):
    """The Cermet dtype of a name such as "float32"."""
    return getattr(mx, "bool_" if name == "bool" else name)


def dtype_name(dtype):
    """The name of a Cermet dtype: "float32" for `mx.float32`."""
    return str(dtype).rpartition(".")[2]


def to_mx(x, dtype=None):
    """A Cermet array with the values of `x`, in the dtype named (by default NumPy's own)."""
    x = np.asarray(x)
    return mx.array(np.array(x, order="C"), dtype=mx_dtype(dtype or x.dtype.name))


def to_np(a):
    """A NumPy array with the values and the dtype of a Cermet array (bfloat16 through its bits)."""
    if a.dtype == mx.bfloat16:
        return np.array(mx.contiguous(a).view(mx.uint16)).view(ml_dtypes.bfloat16)
    return np.array(a)


def exact_sample(rng, shape, dtype):
    """Random small integers, of which every dtype of the kind holds the sums exactly."""
    kind = np.dtype(NUMPY_DTYPES[dtype]).kind
    low = 0 if kind in "ub" else -4
    x = rng.integers(low, 2 if kind == "b" else 5, size=shape)
    if kind == "c":
        x = x + 1j * rng.integers(-4, 5, size=shape)
    return x.astype(NUMPY_DTYPES[dtype])


def ulps(got, want):
    """The errors of `got` in units in the last place of its own dtype, against a wide reference.

    A correctly rounded result has at most 0.5. Where the reference rounds to an infinity or is NaN,
    the result must be that (0), else the error is infinite. A complex number's error is measured
    against its modulus.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape}, expected {want.shape}"
    if got.dtype.kind == "c":
        finite = np.isfinite(want)
        wide, scale = got.astype(np.complex128), np.abs(np.where(finite, want, 1))
        info = np.finfo(got.dtype)
        same = ~finite & ~np.isfinite(wide)
    else:
        with np.errstate(over="ignore"):
            rounded = want.astype(got.dtype)
        finite = np.isfinite(rounded.astype(np.float64))
        wide, scale = got.astype(np.float64), np.where(finite, want.astype(np.float64), 1)
        info = ml_dtypes.finfo(got.dtype)
        same = (got == rounded) | ((got != got) & (rounded != rounded))
    exponent = np.maximum(np.frexp(scale)[1] - 1, info.minexp)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(wide - want) / np.ldexp(1.0, exponent - info.nmant)
    return np.where(same, 0, np.where(finite & np.isfinite(wide), error, np.inf))


def assert_ulps(got, want, tolerance, what=""):
    """Fail unless every element of a Cermet array is within `tolerance` ULPs of the reference."""
    got = to_np(got) if isinstance(got, mx.array) else np.asarray(got)
    errors = ulps(got, want)
    if errors.size and errors.max() > tolerance:
        worst = np.unravel_index(errors.argmax(), errors.shape)
        pytest.fail(
            f"{what}: {errors.max():.3g} ULPs (allowed {tolerance}) at {tuple(map(int, worst))}: "
            f"got {got[worst]!r}, expected {np.asarray(want)[worst]!r}"
        )


def assert_equal(got, want, what=""):
    """Fail unless a Cermet array has the reference's shape and exactly its values (NaN is NaN)."""
    got, want = to_np(got) if isinstance(got, mx.array) else np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    got, want = (x.astype(np.float32) if x.dtype == ml_dtypes.bfloat16 else x for x in (got, want))
    np.testing.assert_array_equal(got, want, what)


def assert_close(got, want, rtol=1e-5, atol=1e-6, what=""):
    """Fail unless a Cermet array has the reference's shape and about its values."""
    got = to_np(got) if isinstance(got, mx.array) else np.asarray(got)
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    assert got.shape == np.shape(want), f"{what}: shape {got.shape}, expected {np.shape(want)}"
    np.testing.assert_allclose(got.astype(wide), want, rtol, atol, err_msg=what)


@contextmanager
def axis_error(axis):
    """Expects the error for an axis out of range: a ValueError and an IndexError that names it."""
    with pytest.raises(ValueError) as error:
        yield
    assert isinstance(error.value, IndexError) and str(axis) in str(error.value)


# Each layout takes a module (NumPy or Cermet) and its array, 2-D with at least 1030 elements.
LAYOUTS = {
    "contiguous": lambda xp, a: a,
    "transposed": lambda xp, a: a.T,
    "broadcast rows": lambda xp, a: xp.broadcast_to(a[:1], a.shape),
    "broadcast columns": lambda xp, a: xp.broadcast_to(a[:, 1:2], a.shape),
    "negative step": lambda xp, a: a[::-1, ::-2],
    "offset slice": lambda xp, a: a[1:, 3:-2:3],
    "scalar": lambda xp, a: a[1, 2],
    "empty": lambda xp, a: a[:, :0],
    **{f"size {n}": lambda xp, a, n=n: a.reshape(-1)[:n] for n in ODD_SIZES},
}


# ---- The simulated GPU ---------------------------------------------------------------------------


@pytest.fixture
def on_the_gpu():
    """A test starts and ends with nothing in flight and the plain mode."""
    with mx.stream(mx.gpu):
        yield
    mx.synchronize(mx.gpu)
    mx.simulator.set_mode()


def counted(*trees):
    """What the simulated device ran and moved for an evaluation."""
    mx.simulator.set_mode(count=True)
    mx.simulator.reset_counters()
    mx.eval(trees)
    mx.simulator.set_mode()
    return mx.simulator.counters()
