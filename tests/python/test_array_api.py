"""The array API standard: signatures and special cases from tables, promotion, other libraries.

data-apis' own suite runs by tools/array-api.
"""

import inspect
import os
import subprocess
import sys
from math import inf, nan, pi
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_equal, to_mx

import cermet.array_api as xp
import cermet.core as mx

ROOT = Path(__file__).parents[2]
# "name(parameters)" of each function of the standard, without annotations.
SIGNATURES = (Path(__file__).parent / "array_api_signatures.txt").read_text().splitlines()


@pytest.mark.parametrize("row", SIGNATURES)
def test_signature(row):
    name, _, parameters = row.removeprefix("__array_namespace_info__().").partition("(")
    value = (
        xp
        if name == "__array_namespace_info__" or "()." not in row
        else xp.__array_namespace_info__()
    )
    for part in name.split("."):
        value = getattr(value, part)
    assert value.__doc__ and value.__name__ == name.rpartition(".")[2]
    signature = inspect.signature(value)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    found = signature.replace(parameters=plain, return_annotation=signature.empty)
    assert str(found) == f"({parameters}"


METHODS = """
    abs add and array_namespace bool complex dlpack dlpack_device eq float floordiv ge getitem
    gt iadd iand ifloordiv ilshift imatmul imod imul index int invert ior ipow irshift isub
    itruediv ixor le lshift lt matmul mod mul ne neg or pos pow radd rand rfloordiv rlshift rmod
    rmul ror rpow rrshift rshift rsub rtruediv rxor setitem sub truediv xor
""".split()


def test_the_array_has_its_methods():
    x = xp.ones((2, 2))
    missing = [name for name in METHODS if not hasattr(x, f"__{name}__")]
    assert missing == []
    assert x.mT.shape == x.T.shape == x.shape
    assert (x.ndim, x.size, x.dtype) == (2, 4, xp.float32)


def test_the_namespace_of_an_array():
    x = mx.array([1])
    assert x.__array_namespace__() is xp
    assert x.__array_namespace__(api_version="2023.12") is xp
    with pytest.raises(ValueError, match=r"version '2020\.01' of the array API standard"):
        x.__array_namespace__(api_version="2020.01")
    assert xp.__array_api_version__ == "2025.12"
    info = xp.__array_namespace_info__()
    assert info.default_device() in info.devices()
    assert info.default_dtypes()["indexing"] == xp.int32
    assert info.dtypes(kind=("bool", "real floating")).keys() == {"bool", "float32", "float64"}
    assert info.capabilities()["boolean indexing"] is True
    assert {*info.dtypes()} <= {*dir(xp)}


def test_devices():
    x = xp.ones(3)
    assert x.device == mx.default_device()
    assert x.to_device(x.device) is not None
    moved = x.to_device(mx.cpu)
    assert moved.device == mx.Device(mx.cpu, 0)
    assert_equal(moved, np.ones(3, np.float32))
    assert xp.asarray(1, device=x.device).device == x.device
    assert mx.grad(lambda x: x.to_device(mx.cpu).sum())(x).tolist() == [1, 1, 1]


# ---- Special cases: function, arguments, result ----

SPECIAL = """
abs (-inf) inf ; abs (-0.0) 0.0
acos (2.0) nan ; acos (1.0) 0.0
acosh (0.5) nan ; acosh (1.0) 0.0 ; acosh (inf) inf
asin (-0.0) -0.0 ; asin (1.5) nan
asinh (-0.0) -0.0 ; asinh (-inf) -inf
atan (-0.0) -0.0 ; atan (inf) pi/2
atan2 (0.0, -0.0) pi ; atan2 (-0.0, -0.0) -pi ; atan2 (-0.0, 0.0) -0.0 ; atan2 (1.0, -inf) pi
atan2 (inf, inf) pi/4 ; atan2 (-inf, -inf) -3*pi/4 ; atan2 (nan, 1.0) nan
atanh (1.0) inf ; atanh (-1.0) -inf ; atanh (2.0) nan ; atanh (-0.0) -0.0
ceil (-0.5) -0.0 ; ceil (inf) inf
copysign (3.0, -0.0) -3.0 ; copysign (nan, 1.0) nan ; copysign (-2.0, nan) 2.0
cos (inf) nan ; cos (-0.0) 1.0
cosh (-inf) inf
divide (1.0, 0.0) inf ; divide (-1.0, 0.0) -inf ; divide (0.0, 0.0) nan ; divide (inf, inf) nan
divide (-3.0, inf) -0.0
exp (-inf) 0.0 ; exp (-0.0) 1.0
expm1 (-0.0) -0.0 ; expm1 (-inf) -1.0
floor (-0.0) -0.0 ; floor (0.5) 0.0
floor_divide (inf, 2.0) inf ; floor_divide (-inf, 2.0) -inf ; floor_divide (1.0, -inf) -0.0
floor_divide (-1.0, inf) -0.0 ; floor_divide (-5.0, 2.0) -3.0 ; floor_divide (inf, inf) nan
hypot (inf, nan) inf ; hypot (-3.0, 4.0) 5.0 ; hypot (0.0, -0.0) 0.0 ; hypot (nan, 1.0) nan
hypot (3e38, 3e38) inf ; hypot (3e30, 4e30) 5e30
isfinite (nan) 0.0 ; isinf (-inf) 1.0 ; isnan (nan) 1.0
log (0.0) -inf ; log (-1.0) nan ; log (1.0) 0.0
log1p (-1.0) -inf ; log1p (-0.0) -0.0 ; log2 (8.0) 3.0 ; log10 (1000.0) 3.0
logaddexp (nan, 1.0) nan ; logaddexp (inf, 1.0) inf ; logaddexp (-inf, -inf) -inf
maximum (nan, 1.0) nan ; minimum (1.0, nan) nan
multiply (inf, 0.0) nan ; multiply (-0.0, 3.0) -0.0
nextafter (0.0, 1.0) 1e-45 ; nextafter (1.0, 2.0) 1.0000001 ; nextafter (inf, 0.0) 3.4028235e38
nextafter (0.0, -0.0) -0.0 ; nextafter (-1.0, -2.0) -1.0000001 ; nextafter (nan, 1.0) nan
pow (1.0, nan) 1.0 ; pow (nan, 0.0) 1.0 ; pow (nan, 1.0) nan ; pow (-1.0, inf) 1.0
pow (0.5, inf) 0.0 ; pow (2.0, -inf) 0.0 ; pow (-inf, 3.0) -inf ; pow (-inf, -2.0) 0.0
pow (-0.0, -3.0) -inf ; pow (-0.0, 3.0) -0.0 ; pow (-2.0, 0.5) nan
reciprocal (-0.0) -inf
remainder (-5.0, 3.0) 1.0 ; remainder (5.0, -3.0) -1.0 ; remainder (1.0, inf) 1.0
remainder (-1.0, inf) inf ; remainder (1.0, 0.0) nan ; remainder (inf, 1.0) nan
remainder (-0.0, 1.0) 0.0
round (0.5) 0.0 ; round (1.5) 2.0 ; round (-0.5) -0.0
sign (-0.0) 0.0 ; sign (nan) nan ; sign (-3.0) -1.0
signbit (-0.0) 1.0 ; signbit (0.0) 0.0 ; signbit (-inf) 1.0
sin (-0.0) -0.0 ; sin (inf) nan
sinh (-0.0) -0.0 ; sinh (-inf) -inf
sqrt (-1.0) nan ; sqrt (-0.0) -0.0
tan (inf) nan ; tan (-0.0) -0.0
tanh (inf) 1.0 ; tanh (-0.0) -0.0
trunc (-0.5) -0.0 ; trunc (-inf) -inf
max ([1.0, nan]) nan ; min ([nan, 1.0]) nan ; mean ([1.0, inf]) inf ; sum ([inf, -inf]) nan
prod ([nan, 1.0]) nan ; std ([1.0, nan]) nan ; var ([inf, 1.0]) nan
any ([0.0, nan]) 1.0 ; all ([1.0, nan]) 1.0
"""
ROWS = [row for line in SPECIAL.strip().splitlines() for row in line.split(" ; ")]
NAMES = {"inf": inf, "nan": nan, "pi": pi}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", ROWS)
def test_special_case(row, dtype):
    name, _, rest = row.partition(" ")
    arguments, _, result = rest.rpartition(" ")
    if dtype == "float64" and ("e3" in row or "e-45" in row or "0001" in row):
        pytest.skip("of float32 alone")
    arguments = eval(f"[{arguments[1:-1]}]", {}, NAMES)
    got = getattr(xp, name)(*(xp.asarray(x, dtype=getattr(xp, dtype)) for x in arguments))
    got = got.astype(getattr(xp, dtype)).item()
    want = float(np.dtype(dtype).type(eval(result, {}, NAMES)))
    assert got == pytest.approx(want, rel=1e-6, nan_ok=True)
    if want == 0:
        assert np.signbit(got) == np.signbit(want)


# ---- Types ----


def test_promotion_with_python_scalars():
    for dtype, scalar, want in (
        (xp.int8, 1, xp.int8),
        (xp.uint8, 200, xp.uint8),
        (xp.float64, 1, xp.float64),
        (xp.float64, 0.1, xp.float64),
        (xp.float32, 0.1, xp.float32),
        (xp.float32, 1j, xp.complex64),
        (xp.bool, True, xp.bool),
        (xp.complex64, 1.0, xp.complex64),
    ):
        x = xp.ones(2, dtype=dtype)
        assert (x + scalar).dtype == (scalar + x).dtype == want
        assert xp.result_type(x, scalar) == xp.result_type(scalar, dtype) == want
    assert xp.asarray(0.1, dtype=xp.float64).item() == 0.1
    assert (xp.zeros(1, dtype=xp.float64) + 0.1).tolist() == [0.1]
    with pytest.raises(ValueError, match="result_type: expected an array or a dtype"):
        xp.result_type(1, 2.0)


def test_promotion_of_types():
    assert xp.result_type(xp.int8, xp.uint8) == xp.int16
    assert xp.result_type(xp.int32, xp.uint32) == xp.int64
    assert xp.result_type(xp.float32, xp.float64) == xp.float64
    assert xp.can_cast(xp.int8, xp.int16) and not xp.can_cast(xp.int16, xp.int8)
    assert xp.isdtype(xp.uint8, ("bool", "unsigned integer"))
    assert xp.finfo(xp.ones(1)).bits == 32 and xp.iinfo(xp.int16).bits == 16
    with pytest.raises(TypeError, match=r"astype: .*complex64 does not become"):
        xp.astype(xp.asarray(1j), xp.float32)


def test_types_of_indices_and_sums():
    x = xp.asarray([3, 1, 2], dtype=xp.uint8)
    for index in (xp.argmax(x), xp.argsort(x), xp.nonzero(x)[0], xp.searchsorted(x, x)):
        assert index.dtype == xp.int32
    assert xp.count_nonzero(x).dtype == xp.int32
    assert xp.sum(x).dtype == xp.prod(x).dtype == xp.cumulative_sum(x).dtype == xp.uint32
    assert xp.sum(x.astype(xp.int64)).dtype == xp.int64
    assert xp.sum(x, dtype=xp.float64).dtype == xp.float64
    assert xp.vecdot(x, x).dtype == xp.uint8
    assert xp.argsort(xp.asarray([1, 0, 1]), descending=True).tolist() == [0, 2, 1]


# ---- Arrays of other libraries ----


def test_arrays_from_numpy_keep_float64():
    x = np.array([0.1, 0.2])
    assert xp.asarray(x).dtype == xp.float64 and mx.array(x).dtype == mx.float32
    assert xp.from_dlpack(x).dtype == xp.float64
    assert xp.asarray(memoryview(x)).dtype == xp.float64
    assert xp.asarray(x.astype(np.float32)).dtype == xp.float32


def test_copies():
    x = xp.asarray([1.0, 2.0])
    assert xp.asarray(x, copy=False) is xp.asarray(x) is x
    other = xp.asarray(x, copy=True)
    other[0] = 9
    assert x.tolist() == [1, 2]
    for value, options in ((x, {"dtype": xp.int32}), ([1.0], {}), (1.0, {})):
        with pytest.raises(ValueError, match="asarray: "):
            xp.asarray(value, copy=False, **options)


def test_dlpack():
    x = mx.arange(3.0)
    assert np.from_dlpack(x).tolist() == [0, 1, 2]
    copied = np.from_dlpack(x, copy=True)
    assert copied.tolist() == [0, 1, 2]
    assert x.__dlpack_device__() == (1, 0)
    assert x.__dlpack__(copy=True, max_version=(1, 0), dl_device=(1, 0)) is not None
    assert xp.from_dlpack(x, device=x.device, copy=True).tolist() == [0, 1, 2]


# ---- What has no counterpart in cermet.core, against NumPy ----


def test_sets(rng):
    x = rng.integers(0, 5, (4, 6))
    want = np.unique_all(x)
    for got, value in zip(xp.unique_all(to_mx(x)), want, strict=True):
        assert_equal(got.astype(xp.int64), value)
    floats = xp.asarray([2.0, nan, -0.0, 0.0, nan])
    found = xp.unique_all(floats)
    assert found.counts.tolist() == [2, 1, 1, 1] and found.values.tolist()[1] == 2
    assert xp.unique_values(xp.asarray([1j, 1, 1j])).tolist() == [1j, 1]
    assert xp.unique_counts(xp.zeros((0, 3))).counts.tolist() == []
    assert xp.unique_inverse(xp.asarray(3)).inverse_indices.shape == ()
    members = xp.isin(to_mx(x), xp.asarray([1, 4]))
    assert_equal(members, np.isin(x, [1, 4]))
    assert_equal(xp.isin(to_mx(x), 3, invert=True), np.isin(x, 3, invert=True))
    assert xp.isin(xp.asarray([1]), xp.zeros(0, dtype=xp.int32)).tolist() == [False]


def test_moving_and_repeating(rng):
    x = rng.integers(0, 9, (2, 3, 4)).astype(np.int32)
    a = to_mx(x)
    assert_equal(xp.moveaxis(a, (0, 2), (-1, 0)), np.moveaxis(x, (0, 2), (-1, 0)))
    assert_equal(xp.repeat(a, to_mx(np.array([2, 0, 1])), axis=1), np.repeat(x, [2, 0, 1], axis=1))
    assert_equal(xp.roll(a, (1, 2), axis=(0, 2)), np.roll(x, (1, 2), axis=(0, 2)))
    assert_equal(xp.cumulative_sum(a, axis=1, include_initial=True),
                 np.cumulative_sum(x, axis=1, include_initial=True).astype(np.int32))  # fmt: skip
    assert_equal(xp.diff(a, prepend=a[..., :1], n=2), np.diff(x, prepend=x[..., :1], n=2))
    for axes in (((0, 0), (1, 2)), ((0,), (1, 2)), ((0, 5), (1, 2))):
        with pytest.raises(ValueError, match=r"moveaxis|axis 5"):
            xp.moveaxis(a, *axes)
    with pytest.raises(ValueError, match="take: an axis is needed"):
        xp.take(a, to_mx(np.array([0])))


def test_linear_algebra(rng):
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    a, linalg = to_mx(x), xp.linalg
    q, r = linalg.qr(a, mode="complete")
    assert q.shape == (2, 4, 4) and r.shape == (2, 4, 3)
    np.testing.assert_allclose(np.array(q @ r), x, atol=1e-5)
    assert [part.shape for part in linalg.svd(a)] == [(2, 4, 4), (2, 3), (2, 3, 3)]
    assert linalg.svd(a, full_matrices=False).U.shape == (2, 4, 3)
    for order in ("fro", "nuc", 1, -1, 2, -2, inf, -inf):
        want = np.linalg.matrix_norm(x, ord=order)
        np.testing.assert_allclose(np.array(linalg.matrix_norm(a, ord=order)), want, rtol=1e-5)
    for order in (0, 1, 2, 3, inf, -inf, 0.5):
        want = np.linalg.vector_norm(x, axis=(0, 2), ord=order)
        got = linalg.vector_norm(a, axis=(0, 2), ord=order)
        np.testing.assert_allclose(np.array(got), want, rtol=1e-4)
    assert linalg.matrix_rank(to_mx(np.ones((3, 3), np.float32))).item() == 1
    np.testing.assert_allclose(np.array(linalg.pinv(a)), np.linalg.pinv(x), atol=1e-4)
    crossed = linalg.cross(a, xp.asarray([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(np.array(crossed), np.cross(x, [0, 0, 1]), rtol=1e-6)
    assert linalg.cross(xp.ones(3), xp.ones((0, 2, 3))).shape == (0, 2, 3)
    square = to_mx(np.array([[1.0, 2], [3, 5]]))
    m, n, v = (rng.integers(-9, 9, shape) for shape in ((2, 4, 3), (3, 5), (3,)))
    for left, right in ((m, n), (m, v), (v, n), (v, v)):
        assert_equal(xp.matmul(to_mx(left), to_mx(right)), np.asarray(left @ right))
    for axes in (0, 1, ((2,), (0,)), ((0, -1), (1, 0))):
        left, right = (m, n) if axes != ((0, -1), (1, 0)) else (m, rng.integers(-9, 9, (3, 2, 2)))
        assert_equal(xp.tensordot(to_mx(left), to_mx(right), axes=axes),
                     np.tensordot(left, right, axes=axes))  # fmt: skip
    assert xp.matmul(xp.ones((2, 0), dtype=xp.int8), xp.ones((0, 3), dtype=xp.int8)).shape == (2, 3)
    with pytest.raises(ValueError, match="matmul: shapes"):
        xp.matmul(to_mx(n), to_mx(n))
    for n in (0, 1, 3, -2):
        want = np.linalg.matrix_power(np.array(square), n)
        np.testing.assert_allclose(np.array(linalg.matrix_power(square, n)), want, rtol=1e-9)


# ---- Other libraries, each in a process that has what it needs in its environment ----

ALIKE = (  # the same as of NumPy's arrays, and arrays of Cermet
    "import numpy as np",
    "m = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)",
    "c = lambda a: (a[:, 0] > 0) * 1",
    "def check(f):",
    "    got, want = f(mx.array(m)), f(m)",
    "    assert isinstance(got, (mx.array, float)), type(got)",
    "    np.testing.assert_allclose(np.asarray(got), np.asarray(want), 1e-3, 1e-4)",
)
LIBRARIES = {
    "scipy": (
        "from scipy import cluster, fft, integrate, ndimage, special, stats",
        "assert abs(special.logsumexp(x).item() - 4.4402) < 1e-3",
        "assert abs(stats.zscore(x)[0].item() + 1.3416) < 1e-3",
        *ALIKE,
        "for name in 'zscore skew kurtosis sem variation differential_entropy'.split():",
        "    check(getattr(stats, name))",
        "for name in 'expit entr gammaln ndtr logsumexp'.split():",
        "    check(lambda a: getattr(special, name)(abs(a) + 1))",
        "check(lambda a: special.xlogy(a, a * a))",
        "check(lambda a: stats.entropy(abs(a)))",
        "check(lambda a: stats.gmean(abs(a)))",
        "check(lambda a: stats.pearsonr(a[:, 0], a[:, 1]).statistic)",
        "check(lambda a: stats.ttest_1samp(a, 0.0).statistic)",
        "check(lambda a: stats.directional_stats(a).mean_direction)",
        "check(lambda a: ndimage.gaussian_filter(a, 1.0))",
        "check(lambda a: fft.dct(a[:, 0]))",
        "check(lambda a: integrate.trapezoid(a))",
        "check(lambda a: cluster.vq.whiten(a))",
    ),
    "sklearn": (
        "import sklearn",
        "from sklearn import decomposition, discriminant_analysis, linear_model, metrics",
        "from sklearn import preprocessing",
        "sklearn.set_config(array_api_dispatch=True)",
        "assert metrics.accuracy_score(mx.array([1, 0]), mx.array([1, 1])) == 0.5",
        *ALIKE,
        "for name in 'MinMaxScaler MaxAbsScaler Normalizer Binarizer'.split():",
        "    check(getattr(preprocessing, name)().fit_transform)",
        "check(lambda a: preprocessing.KernelCenterer().fit_transform(a @ a.T))",
        "check(lambda a: abs(decomposition.PCA(2, svd_solver='full').fit_transform(a)))",
        "check(lambda a: linear_model.Ridge(solver='svd').fit(a, a[:, 1] * 3).predict(a))",
        "lda = discriminant_analysis.LinearDiscriminantAnalysis",
        "check(lambda a: lda().fit(a, c(a)).predict(a))",
        "for name in 'r2_score mean_squared_error mean_absolute_error'.split():",
        "    check(lambda a: getattr(metrics, name)(a[:, 0], a[:, 1]))",
        "for name in 'cosine_similarity euclidean_distances rbf_kernel linear_kernel'.split():",
        "    check(getattr(metrics.pairwise, name))",
        "for name in 'accuracy_score f1_score zero_one_loss'.split():",
        "    check(lambda a: float(getattr(metrics, name)(c(a), c(a[:, 1:]))))",
    ),
    "array_api_compat": (
        "import array_api_compat as compat",
        "assert compat.is_array_api_obj(x) and compat.array_namespace(x, x) is xp",
        "assert compat.device(x) == x.device and compat.size(x) == 4",
    ),
    "einops": (
        "import einops",
        "from einops import array_api",
        "y = array_api.rearrange(x, '(a b) -> b a', a=2)",
        "assert type(y) is mx.array and y.tolist() == [[1, 3], [2, 4]]",
        "assert array_api.reduce(x, '(a b) -> a', 'mean', a=2).tolist() == [1.5, 3.5]",
    ),
    "safetensors": (
        "import numpy as np",
        "from safetensors.numpy import load, save",
        "from safetensors import numpy as st",
        "data = save({'x': np.asarray(x)})",
        "open('x.safetensors', 'wb').write(data)",
        "assert mx.load('x.safetensors')['x'].tolist() == [1, 2, 3, 4]",
        "mx.save_safetensors('y.safetensors', {'y': x})",
        "assert load(open('y.safetensors', 'rb').read())['y'].tolist() == [1, 2, 3, 4]",
    ),
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_other_libraries_take_arrays(name, tmp_path):
    lines = (
        "import cermet.core as mx, cermet.array_api as xp",
        "x = mx.array([1.0, 2.0, 3.0, 4.0])",
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join((*lines, *LIBRARIES[name]))],
        cwd=tmp_path,
        # On the CPU: factorizations are there, and scikit-learn wants one device for all.
        env={**os.environ, "SCIPY_ARRAY_API": "1", "CERMET_METAL": "off"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_list_of_failures_is_short():
    rows = (ROOT / "tests" / "array_api_failures.txt").read_text().splitlines()
    failures = [row for row in rows if row and not row.startswith("#")]
    assert len(failures) <= 15


def test_counts_and_places_beyond_31_bits_are_int64():
    long = mx.broadcast_to(mx.array(1.0), (2**31,))  # lazy: nothing is counted here
    assert xp.count_nonzero(long).dtype == mx.int64
    assert xp.count_nonzero(long[:-1]).dtype == mx.int32
    assert xp.searchsorted(long, mx.ones(2)).dtype == mx.int64


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"hfft: norm is 'x', expected"):
        xp.fft.hfft(mx.ones(3), norm="x")
    with pytest.raises(ValueError, match=r"ihfft: norm is 'x', expected"):
        xp.fft.ihfft(mx.ones(3), norm="x")
    with pytest.raises(ValueError, match=r"qr: mode is .* not 'x'"):
        xp.linalg.qr(mx.ones((2, 3)), mode="x")
    with pytest.raises(mx.AxisError, match="cross: axis 4 is out of range for 1 dimensions"):
        xp.linalg.cross(mx.ones(3), mx.ones(3), axis=4)
