"""The array class: construction, dtypes, promotion, conversions back, operators, printing."""

import array as buffer
import contextlib
import copy
import ctypes
import gc
import math
import operator
import pickle
import reprlib
import signal

import ml_dtypes
import numpy as np
import pytest
from conftest import (
    ALL_DTYPES,
    FLOATS,
    INTEGERS,
    NUMPY_DTYPES,
    SIGNED,
    UNSIGNED,
    assert_close,
    assert_equal,
    dtype_name,
    exact_sample,
    mx_dtype,
    to_mx,
    to_np,
)

import cermet.core as mx

# Construction


@pytest.mark.parametrize(
    "value, dtype, shape",
    [
        (True, "bool", ()),
        (7, "int32", ()),
        (-(2**31), "int32", ()),
        (2**40, "int64", ()),
        (1.5, "float32", ()),
        (1 + 2j, "complex64", ()),
        ([1, 2, 3], "int32", (3,)),
        ((1, 2), "int32", (2,)),
        ([True, False], "bool", (2,)),
        ([True, 2], "int32", (2,)),
        ([1, 2.5], "float32", (2,)),
        ([1, 2.5, 3j], "complex64", (3,)),
        ([1, 2**40], "int64", (2,)),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        ([[1, 2], (3, 4)], "int32", (2, 2)),
        ([[[1]], [[2]]], "int32", (2, 1, 1)),
    ],
)
def test_from_python(value, dtype, shape):
    a = mx.array(value)
    assert dtype_name(a.dtype) == dtype and a.shape == shape
    assert a.tolist() == np.array(value).tolist()


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_from_python_with_dtype(dtype):
    a = mx.array([0, 1, 1], dtype=mx_dtype(dtype))
    assert a.dtype == mx_dtype(dtype) and a.tolist() == [0, 1, 1]
    assert mx.array(a, dtype=mx.float32).dtype == mx.float32


def test_from_nested_arrays():
    a = mx.array([mx.array([1, 2]), [3, 4]])
    assert a.tolist() == [[1, 2], [3, 4]]
    assert mx.array([mx.array(1.5), 2]).dtype == mx.float32


@pytest.mark.parametrize("value", [[[1, 2], [3]], [[1, 2], 3], [1, [2]], [[[1]], [[2, 3]]]])
def test_ragged_sequences_are_refused(value):
    with pytest.raises(ValueError):
        mx.array(value)


@pytest.mark.parametrize("value", ["text", None, ["a"], [None], object(), {1: 2}])
def test_other_objects_are_refused(value):
    with pytest.raises((TypeError, ValueError)):
        mx.array(value)


def test_integer_too_large_is_refused():
    for value in (2**70, [1, -(2**70)]):
        with pytest.raises(OverflowError):
            mx.array(value)
        with pytest.raises(OverflowError):
            mx.array(value, mx.uint64)
        assert mx.array(value, mx.float32).tolist() == np.array(value, np.float32).tolist()
        assert mx.array(value, mx.bool_).tolist() == np.array(value, bool).tolist()


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4)])
def test_numpy_round_trip(dtype, shape, rng):
    x = exact_sample(rng, shape, dtype)
    a = to_mx(x)
    assert a.dtype == mx_dtype(dtype) and a.shape == shape
    back = to_np(a)
    assert back.dtype == x.dtype
    assert back.tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", [dtype for dtype in ALL_DTYPES if dtype != "bfloat16"])
def test_dlpack_and_buffer_round_trips(dtype, rng):
    x = exact_sample(rng, (3, 4), dtype)
    a = mx.array(x, dtype=mx_dtype(dtype))
    assert_equal(np.from_dlpack(a), x)
    assert_equal(mx.from_dlpack(x), x)
    assert_equal(mx.asarray(x), x)
    view = memoryview(a)
    assert view.shape == (3, 4) and view.nbytes == a.nbytes
    assert np.array_equal(np.asarray(view), x)
    assert bytes(a) == x.tobytes()


def test_doubles_become_single_unless_asked():
    assert mx.array(np.array([1.5])).dtype == mx.float32
    assert mx.array(np.array([1.5]), dtype=mx.float64).dtype == mx.float64
    assert mx.array(np.array([1j])).dtype == mx.complex64


def test_from_strided_numpy():
    x = np.arange(24).reshape(2, 3, 4)
    for view in (x.T, x[:, ::2], x[::-1], x[..., ::-3], np.broadcast_to(x[0], (5, 3, 4))):
        assert_equal(mx.array(view), view)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i2", "u4", "i8", "c8"])
def test_numbers_of_the_other_byte_order(kind):
    other = np.arange(6, dtype=kind).reshape(2, 3).astype(np.dtype(kind).newbyteorder())
    assert not other.dtype.isnative
    made = mx.array(other.T)
    assert made.tolist() == other.T.tolist() and made.dtype == mx.array(np.ones(1, kind)).dtype
    assert mx.array(other, mx.float32).dtype == mx.float32
    with pytest.raises(ValueError, match="a copy is needed to import numbers of the other byte"):
        mx.asarray(other, copy=False)
    assert (mx.ones((2, 3)) + mx.array(other[:, :1])).tolist() == (
        1 + other[:, :1] + 0 * other
    ).tolist()


def test_from_buffers():
    assert mx.array(buffer.array("f", [1.5, 2])).tolist() == [1.5, 2]
    assert mx.array(buffer.array("i", [1, 2])).dtype == mx.int32
    assert mx.array(memoryview(b"abc")).tolist() == [97, 98, 99]
    assert mx.array(bytearray(b"ab")).dtype == mx.uint8


def test_construction_copies():
    x = np.ones(3, np.float32)
    a = mx.array(x)
    x[0] = 7
    assert a.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", ["U1", ">i4,>f4", "O"])
def test_other_numpy_dtypes_are_refused(dtype):
    with pytest.raises((TypeError, ValueError)):
        mx.array(np.array([1]).astype(dtype))


# Dtypes


def promoted(left, right):
    """The dtype of an operation between arrays of two dtypes."""
    if left == right:
        return left
    for single in ("complex64", "float64", "float32"):
        if single in (left, right):
            return single
    floats = {left, right} & set(FLOATS)
    if floats:
        return "float32" if len(floats) == 2 else floats.pop()
    if {left, right} & set(SIGNED) and "uint64" in (left, right):
        return "float32"
    return np.promote_types(left, right).name


@pytest.mark.parametrize("left", ALL_DTYPES)
@pytest.mark.parametrize("right", ALL_DTYPES)
def test_promotion(left, right):
    want = mx_dtype(promoted(left, right))
    a, b = mx.ones(2, mx_dtype(left)), mx.ones(2, mx_dtype(right))
    assert mx.result_type(a.dtype, b.dtype) == want
    assert mx.result_type(a, b.dtype) == want
    assert (a + b).dtype == want
    assert mx.where(True, a, b).dtype == want
    assert mx.concatenate([a, b]).dtype == want


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_python_scalars_are_weak(dtype):
    a = mx.ones(2, mx_dtype(dtype))
    floating = dtype if dtype in (*FLOATS, "complex64") else "float32"
    for scalar, want in [
        (True, dtype),
        (2, "int32" if dtype == "bool" else dtype),
        (1.5, floating),
        (1j, "complex64"),
    ]:
        for result in (a + scalar, scalar + a, a * scalar, mx.where(True, a, scalar)):
            assert result.dtype == mx_dtype(want), f"{dtype} with {scalar}"


def test_division_of_integers_is_floating():
    for dtype in ("bool", *INTEGERS):
        a = mx.ones(2, mx_dtype(dtype))
        assert (a / a).dtype == mx.float32 and (1 / a).dtype == mx.float32


def test_dtypes():
    for dtype in ALL_DTYPES:
        d = mx_dtype(dtype)
        assert d.size == np.dtype(NUMPY_DTYPES[dtype]).itemsize
        assert repr(d).endswith(dtype) and str(d) == repr(d)
        assert d == mx_dtype(dtype) and hash(d) == hash(mx_dtype(dtype))
        assert d != "float32" and (d == mx.float32) == (dtype == "float32")


HANDLES = {
    "Dtype": mx.float32,
    "Device": mx.Device(mx.cpu, 0),
    "Stream": mx.default_stream(mx.cpu),
    "ThreadLocalStream": mx.new_thread_local_stream(mx.cpu),
    "DtypeCategory": mx.floating,
    "finfo": mx.finfo(mx.float32),
}


@pytest.mark.parametrize("name", HANDLES)
def test_handles_differ_from_anything_else(name):
    one = HANDLES[name]
    others = [value for key, value in HANDLES.items() if key != name]
    for other in [None, "x", 0, 1.5, object(), [], float, np.float32, np.dtype("float32"), *others]:
        assert (one == other) is False and (other == one) is False
        assert (one != other) is True and (other != one) is True
    assert one == one and (one != one) is False
    assert other not in {one: "found"} and {one: "found"}[one] == "found"


def test_what_is_equal_has_one_hash():
    for kind in (mx.cpu, mx.gpu):
        assert mx.Device(kind, 0) == kind and hash(mx.Device(kind, 0)) == hash(kind)
        assert mx.Device(kind, 1) != kind
        assert mx.Device(kind, 1) == mx.Device(kind, 1)
        assert hash(mx.Device(kind, 1)) == hash(mx.Device(kind, 1))
    stream = mx.default_stream(mx.cpu)
    assert hash(stream) == hash(mx.default_stream(mx.cpu))


GROUPS = {
    "generic": ALL_DTYPES,
    "number": [d for d in ALL_DTYPES if d != "bool"],
    "integer": INTEGERS,
    "signedinteger": SIGNED,
    "unsignedinteger": UNSIGNED,
    "inexact": (*FLOATS, "complex64"),
    "floating": FLOATS,
    "complexfloating": ("complex64",),
}


@pytest.mark.parametrize("group", GROUPS)
def test_issubdtype(group):
    for dtype in ALL_DTYPES:
        member = dtype in GROUPS[group]
        assert mx.issubdtype(mx_dtype(dtype), getattr(mx, group)) == member, dtype
        assert mx.issubdtype(mx_dtype(dtype), mx_dtype(dtype))
    for other in GROUPS:
        contained = set(GROUPS[group]) <= set(GROUPS[other])
        assert mx.issubdtype(getattr(mx, group), getattr(mx, other)) == contained


@pytest.mark.parametrize("dtype", FLOATS)
def test_finfo(dtype):
    info, want = mx.finfo(mx_dtype(dtype)), ml_dtypes.finfo(NUMPY_DTYPES[dtype])
    for name in ("bits", "min", "max", "eps", "smallest_normal"):
        assert getattr(info, name) == float(getattr(want, name)), name
    assert info.dtype == mx_dtype(dtype)
    with pytest.raises(ValueError):
        mx.iinfo(mx_dtype(dtype))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_iinfo(dtype):
    info, want = mx.iinfo(mx_dtype(dtype)), np.iinfo(dtype)
    assert (info.min, info.max, info.dtype) == (want.min, want.max, mx_dtype(dtype))
    with pytest.raises(ValueError):
        mx.finfo(mx_dtype(dtype))


def test_constants():
    assert (mx.pi, mx.e, mx.inf, mx.newaxis) == (np.pi, np.e, np.inf, None)
    assert mx.nan != mx.nan


# Conversions to Python


def test_properties():
    a = mx.zeros((2, 3), mx.float16)
    assert (a.shape, a.ndim, a.size, a.itemsize, a.nbytes) == ((2, 3), 2, 6, 2, 12)
    assert a.T.shape == (3, 2) and mx.zeros((2, 3, 4)).mT.shape == (2, 4, 3)
    assert isinstance(a.shape, tuple)
    z = mx.array([1 + 2j])
    assert z.real.tolist() == [1] and z.imag.tolist() == [2] and z.real.dtype == mx.float32


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_item_and_tolist(dtype):
    a = mx.array([[1, 0]], dtype=mx_dtype(dtype))
    python = bool if dtype == "bool" else int if dtype in INTEGERS else float
    python = complex if dtype == "complex64" else python
    assert a.tolist() == [[1, 0]] and type(a.tolist()[0][0]) is python
    assert a[0, 0].item() == 1 and type(a[0, 0].item()) is python
    assert a[:, :1].item() == 1
    assert bool(a[0, 0]) and not a[0, 1]
    if dtype != "complex64":
        assert int(a[0, 0]) == 1 and float(a[0, 0]) == 1.0
    assert complex(a[0, 0]) == 1


@pytest.mark.parametrize("convert", [bool, int, float, complex, lambda a: a.item()])
@pytest.mark.parametrize("shape", [(2,), (0,)])
def test_only_one_element_converts(convert, shape):
    with pytest.raises((ValueError, TypeError)):
        convert(mx.zeros(shape))


def test_index_protocol():
    assert [5, 6, 7][mx.array(1)] == 6
    assert list(range(mx.array(3))) == [0, 1, 2]
    for a in (mx.array(1.0), mx.array([1, 2])):
        with pytest.raises(TypeError):
            operator.index(a)


def test_length_and_iteration():
    a = mx.array([[1, 2], [3, 4], [5, 6]])
    assert len(a) == 3
    assert [row.tolist() for row in a] == a.tolist()
    assert [x.item() for x in mx.array([1, 2])] == [1, 2]
    for function in (len, iter):
        with pytest.raises(TypeError):
            function(mx.array(1))


def test_hash_is_identity():
    a, b = mx.array([1, 2]), mx.array([1, 2])
    table = {a: "a", b: "b"}
    assert len(table) == 2 and table[a] == "a" and hash(a) == hash(a)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))]
)
def test_copies(dtype, duplicate, rng):
    a = to_mx(exact_sample(rng, (3, 4), dtype)).T
    b = duplicate(a)
    assert b.dtype == a.dtype and mx.array_equal(a, b)
    kept = to_np(a).copy()
    b[0] = 1 - b[0]
    assert_equal(a, kept)


# Printing


@pytest.mark.parametrize(
    "value, dtype, want",
    [
        ([1, 2, 3], "int32", "array([1, 2, 3], dtype=int32)"),
        (7, "int64", "array(7, dtype=int64)"),
        ([1.5, 2, -0.25], "float32", "array([1.5, 2, -0.25], dtype=float32)"),
        ([1.5], "bfloat16", "array([1.5], dtype=bfloat16)"),
        ([True, False], "bool", "array([True, False], dtype=bool)"),
        ([1 + 2j], "complex64", "array([1+2j], dtype=complex64)"),
        ([mx.inf, mx.nan], "float32", "array([inf, nan], dtype=float32)"),
        ([], "float32", "array([], dtype=float32)"),
        ([[1, 2], [3, 4]], "int32", "array([[1, 2],\n       [3, 4]], dtype=int32)"),
    ],
)
def test_repr(value, dtype, want):
    assert repr(mx.array(value, dtype=mx_dtype(dtype))) == want
    assert str(mx.array(value, dtype=mx_dtype(dtype))) == want


def test_repr_of_large_arrays_is_short():
    text = repr(mx.arange(100000).reshape(1000, 100))
    assert len(text) < 2000 and text.count("...") >= 2
    assert repr(mx.arange(5000)) == "array([0, 1, 2, ..., 4997, 4998, 4999], dtype=int32)"


def test_print_options():
    a, before = mx.array([1 / 3]), mx.get_printoptions().precision
    with mx.printoptions(precision=2):
        assert mx.get_printoptions().precision == 2
        assert repr(a) == "array([0.33], dtype=float32)"
    assert mx.get_printoptions().precision == before
    mx.set_printoptions(precision=3)
    try:
        assert repr(a) == "array([0.333], dtype=float32)"
    finally:
        mx.set_printoptions(precision=before)


# Operators

ARITHMETIC = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
]
COMPARISONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
BITS = [operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift]
IN_PLACE = ["iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow"]
IN_PLACE_BITS = ["iand", "ior", "ixor", "ilshift", "irshift"]


@pytest.mark.parametrize("op", ARITHMETIC + COMPARISONS + BITS, ids=lambda op: op.__name__)
def test_operators(op):
    for x, y, scalar in [([7, 1, 9], [2, 1, 3], 2), ([7.5, 1, -9], [2, 0.5, 3], 1.5)]:
        if op in BITS and isinstance(scalar, float):
            continue
        a, b = mx.array(x), mx.array(y)
        x, y = np.array(x, to_np(a).dtype), np.array(y, to_np(a).dtype)
        assert_close(op(a, b), op(x, y))
        assert_close(op(a, scalar), op(x, np.array(scalar, x.dtype)))
        if op not in BITS:
            assert_close(op(scalar, mx.abs(a)), op(np.array(scalar, x.dtype), np.abs(x)))


@pytest.mark.parametrize("name", IN_PLACE + IN_PLACE_BITS)
def test_in_place_operators(name):
    op, plain = (
        getattr(operator, name),
        getattr(operator, {"iand": "and_", "ior": "or_"}.get(name, name[1:])),
    )
    a = mx.array([8, 9]) if name in IN_PLACE_BITS else mx.array([8.0, 9.0])
    alias, before = a, a + 0
    a = op(a, 2)
    assert_equal(a, np.array(plain(before, 2)))
    assert alias is a


def test_matrix_multiplication_operator():
    a, b = mx.arange(6.0).reshape(2, 3), mx.arange(12.0).reshape(3, 4)
    assert_equal(a @ b, np.array(a) @ np.array(b))
    square = mx.eye(2)
    square @= 2 * mx.eye(2)
    assert square.tolist() == [[2, 0], [0, 2]]


def test_unary_operators():
    a = mx.array([-2, 3])
    assert (-a).tolist() == [2, -3] and (+a).tolist() == [-2, 3]
    assert abs(a).tolist() == [2, 3] and (~a).tolist() == [1, -4]
    assert (~mx.array([True, False])).tolist() == [False, True]
    for refused in (lambda: -mx.array([True]), lambda: ~mx.array([1.0])):
        with pytest.raises((ValueError, TypeError)):
            refused()


def test_integer_arithmetic_wraps():
    assert (mx.array([255], dtype=mx.uint8) + 1).tolist() == [0]
    assert (mx.array([127], dtype=mx.int8) + mx.array([1], dtype=mx.int8)).tolist() == [-128]
    assert (mx.array([0], dtype=mx.uint32) - 1).tolist() == [2**32 - 1]


@pytest.mark.parametrize("op", ARITHMETIC, ids=lambda op: op.__name__)
@pytest.mark.parametrize("other", ["a", [1, 2], object()])
def test_operators_refuse_other_objects(op, other):
    with pytest.raises((TypeError, ValueError)):
        op(mx.array([1, 2]), other)


def test_equality_with_other_objects():
    assert (mx.array([1, 2]) == "a") is False and (mx.array([1, 2]) != "a") is True
    assert (mx.array([1, 2]) == None) is False  # noqa: E711


def test_operators_with_numpy():
    a, x = mx.array([1.0, 2.0]), np.array([3, 4], np.float32)
    assert_equal(a + x, np.array([4, 6], np.float32))
    assert isinstance(a * x, mx.array)


@pytest.mark.parametrize(
    ("array", "foreign", "result"),
    [
        ("float16", "float32", "float16"),
        ("bfloat16", "float64", "bfloat16"),
        ("float32", "int64", "float32"),
        ("uint8", "int64", "uint8"),
        ("int32", "float32", "float32"),
        ("bool_", "int64", "int64"),
        ("float32", "complex64", "complex64"),
    ],
)
def test_numpy_operands_take_the_type(array, foreign, result):
    a, x = mx.ones(2, getattr(mx, array)), np.array([1, 2], foreign)
    for b in (a + x, mx.add(x, a), mx.where(True, a, x)):
        assert b.dtype == getattr(mx, result)
    assert (a + x).tolist() == [2, 3]


def test_round_of_numbers():
    assert mx.round(2.5).item() == 2 and mx.round(13, -1).item() == 10
    assert mx.round(np.array([0.26], np.float32), 1).dtype == mx.float32


def test_numpy_operands_keep_double_precision():
    third = np.array([1 / 3])
    assert (mx.zeros(1, mx.float64) + third).tolist() == third.tolist()


@pytest.mark.parametrize("to", INTEGERS)
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32", "float64", "complex64"))
def test_floats_saturate_as_integers(dtype, to):
    low, high = int(np.iinfo(to).min), int(np.iinfo(to).max)
    # Each of few bits, for bfloat16.
    values = [-math.inf, -24576.0, -130.0, -1.0, -0.5, 0.5, 1.5, 127.5, 255.0, 258.0, math.inf]
    values += [] if dtype == "float16" else [-(2.0**64), -3 * 2.0**30, 3 * 2.0**30, 1.5 * 2.0**63]
    want = [low if v < low else high if v > high else int(v) for v in values] + [0]
    values = [*values, math.nan]
    x = mx.array(values * 9, mx_dtype(dtype))  # longer than a vector
    assert x.astype(mx_dtype(to)).tolist() == want * 9
    # A constant is what the array's element is.
    constants = [mx.array(v, mx_dtype(dtype)).astype(mx_dtype(to)).item() for v in values]
    assert constants == want
    if dtype == "float64":
        assert [mx.array(v, mx_dtype(to)).item() for v in values] == want


def test_bytes_viewed_as_bools_are_read_by_value():
    x = mx.array([0, 1, 2, 128, 255, 0], mx.uint8)
    flags = x.view(mx.bool_)
    assert flags.tolist() == [False, True, True, True, True, False]
    assert flags.astype(mx.int32).tolist() == [0, 1, 1, 1, 1, 0]
    assert mx.sum(flags).item() == 4
    assert (flags == mx.array(True)).tolist() == flags.tolist()
    assert mx.array([256, 0], mx.int16).view(mx.bool_).tolist() == [False, True, False, False]


def test_astype_and_view():
    assert mx.array([1.9, -1.9]).astype(mx.int32).tolist() == [1, -1]
    assert mx.array([300, -1]).astype(mx.uint8).tolist() == [44, 255]  # integers wrap
    assert mx.array([0.0, 0.5, mx.nan]).astype(mx.bool_).tolist() == [False, True, True]
    assert mx.array([1 + 2j]).astype(mx.float32).tolist() == [1]
    assert mx.array([1.0]).view(mx.int32).tolist() == [0x3F800000]
    x = np.arange(8, dtype=np.int32).reshape(2, 4)
    for dtype in ("uint8", "int16", "int64", "float32"):
        assert_equal(to_mx(x).view(mx_dtype(dtype)), x.view(dtype))
        assert_equal(to_mx(x)[:, ::2].view(mx_dtype(dtype)), x[:, ::2].copy().view(dtype))
    with pytest.raises(ValueError):
        mx.array([1, 2, 3], dtype=mx.uint8).view(mx.int32)


METHODS = {
    "abs": {}, "square": {}, "sqrt": {}, "rsqrt": {}, "reciprocal": {}, "exp": {}, "log": {},
    "log2": {}, "log10": {}, "sin": {}, "cos": {}, "log1p": {}, "round": {"decimals": 1},
    "all": {"axis": 1}, "any": {"axis": 0}, "sum": {"axis": 1, "keepdims": True},
    "prod": {"axis": 0}, "min": {"axis": 0}, "max": {"axis": 1}, "mean": {"axis": 1},
    "var": {"axis": 1, "ddof": 1}, "std": {"axis": 0}, "logsumexp": {"axis": 1},
    "argmin": {"axis": 0}, "argmax": {"axis": 1}, "cumsum": {"axis": 1}, "cumprod": {"axis": 0},
    "cummax": {"axis": 1, "reverse": True}, "cummin": {"axis": 1}, "logcumsumexp": {"axis": 0},
    "flatten": {}, "squeeze": {}, "transpose": {}, "diagonal": {"offset": 1}, "diag": {},
    "swapaxes": {"axis1": 0, "axis2": 1}, "moveaxis": {"source": 0, "destination": 1},
    "conj": {}, "astype": {"dtype": mx.float16}, "view": {"dtype": mx.int32},
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_functions(name):
    a = mx.arange(1.0, 7).reshape(2, 3) / 4
    arguments = dict(METHODS[name])
    positional = [arguments.pop("dtype")] if "dtype" in arguments else []
    want = getattr(mx, name)(a, *positional, **arguments)
    got = getattr(a, name)(*positional, **arguments)
    assert got.dtype == want.dtype and mx.array_equal(got, want)


def test_methods_with_several_arguments():
    a = mx.arange(6)
    assert a.reshape(2, 3).shape == a.reshape((2, 3)).shape == a.reshape(2, -1).shape == (2, 3)
    assert a.reshape(1, 2, 3).transpose(2, 0, 1).shape == (3, 1, 2)
    assert [part.tolist() for part in a.split(3)] == [[0, 1], [2, 3], [4, 5]]


def test_a_wider_view_of_borrowed_memory_that_begins_anywhere():
    for start in range(1, 4):
        x = np.arange(20, dtype=np.uint8)[start : start + 16]
        a = mx.asarray(x, copy=False)
        assert a.view(mx.uint32).tolist() == x.copy().view(np.uint32).tolist()
        assert mx.add(a.view(mx.uint32), 1).tolist() == (x.copy().view(np.uint32) + 1).tolist()


class OnlyDLPack:
    def __init__(self, values):
        self.values = values

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.values.__dlpack_device__()


@pytest.mark.parametrize("copy", [None, False])
@pytest.mark.parametrize("wrap", [lambda x: x, memoryview, OnlyDLPack])
def test_every_byte_but_0_of_a_borrowed_bool_is_true(wrap, copy):
    for values in ([0, 1, 2, 128, 255, 0], [0, 1, 1, 0]):
        x = np.repeat(np.array(values, np.uint8), 2).view(np.bool_)[::2]
        a = mx.asarray(wrap(x), copy=copy)
        true = [v != 0 for v in values]
        assert a.dtype == mx.bool_ and a.tolist() == true
        assert mx.sum(a).item() == sum(true)
        assert mx.equal(a, mx.array(true)).tolist() == [True] * len(values)
        assert a.astype(mx.int32).tolist() == list(map(int, true))
        assert mx.any(mx.logical_not(a)).item() and a.view(mx.uint8).max().item() == 1


def test_clean_bools_are_shared():
    x = np.array([True, False])
    a = mx.asarray(x, copy=False)
    assert np.asarray(a).__array_interface__["data"][0] == x.__array_interface__["data"][0]


def test_an_array_of_a_sequence_without_an_end():
    deep, cyclic = 1.0, []
    for _ in range(100_000):
        deep = [deep]
    cyclic.append(cyclic)
    for sequence in (deep, cyclic, [mx.array(1.0), deep]):
        with pytest.raises(ValueError, match="1000 levels"):
            mx.array(sequence)


@pytest.mark.parametrize("leaf", [1, mx.array(1)])
def test_an_array_of_sequences_that_share_parts(leaf):
    for _ in range(40):
        leaf = [leaf, leaf]
    with pytest.raises(MemoryError, match="array: out of memory: the sequences"):
        mx.array(leaf)


def test_a_shape_of_millions_of_rows():
    with pytest.raises(TypeError, match="incompatible"):
        mx.zeros(mx.broadcast_to(mx.array(1), (2**24,)))
    assert mx.zeros(mx.array([2, 3])).shape == (2, 3)


class Uninitialized(mx.array):
    def __init__(self):
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda a: a + 1,
        lambda a: 1 + a,
        lambda a: mx.array(1) + a,
        lambda a: a.__iadd__(1),
        lambda a: a == 1,
        lambda a: f"{a:3}",
        lambda a: iter(a),
        lambda a: a[0],
        mx.eval,
        mx.grad(lambda x: x),
        repr,
        pickle.dumps,
        lambda a: mx.array([a]),
        lambda a: mx.add(mx.ArrayLike.__new__(mx.ArrayLike), 1),
    ],
)
@pytest.mark.filterwarnings("ignore:nanobind")
def test_arrays_whose_init_did_not_run(use):
    with pytest.raises(TypeError):
        use(Uninitialized())


@pytest.mark.filterwarnings("ignore:nanobind")
def test_objects_whose_init_did_not_run():
    with pytest.raises(BufferError):
        memoryview(Uninitialized())
    for kind in (mx.Device, mx.Stream):
        with pytest.raises(TypeError):
            mx.zeros(3, stream=kind.__new__(kind))
    with pytest.raises(TypeError):
        mx.zeros(3, mx.Dtype.__new__(mx.Dtype))
    with pytest.raises(TypeError):
        mx.custom_function.__new__(mx.custom_function).vjp(lambda *_: None)


@pytest.mark.parametrize(
    "value, want, dtype",
    [
        ((ctypes.c_int * 3)(1, 2, 3), [1, 2, 3], "int32"),
        (((ctypes.c_double * 2) * 2)((1, 2), (3, 4)), [[1, 2], [3, 4]], "float32"),
        ((ctypes.c_uint8 * 0)(), [], "uint8"),
        (ctypes.c_int(3), 3, "int32"),
        (np.int8(3), 3, "int8"),
        (np.complex128(1j), 1j, "complex64"),
        (bytearray(b"ab"), [97, 98], "uint8"),
    ],
)
def test_buffers_without_strides(value, want, dtype):
    a = mx.array(value)
    assert a.tolist() == want and dtype_name(a.dtype) == dtype
    assert mx.all(mx.equal(mx.zeros(1, a.dtype) + value, mx.array(want, a.dtype))).item()


@pytest.mark.parametrize(
    "value", [np.datetime64("2020-01-01"), np.timedelta64(3), np.timedelta64(3, "ns"), np.str_("a")]
)
def test_scalars_that_are_no_numbers(value):
    for use in (mx.array, lambda v: mx.array([1]) + v, lambda v: mx.array([v])):
        with pytest.raises(TypeError):
            use(value)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "complex64", "complex128"])
def test_misaligned_memory_is_copied(dtype):
    size = np.dtype(dtype).itemsize
    data = np.arange(12 * size, dtype=np.uint8)
    x = np.frombuffer(data.tobytes(), dtype, 8, offset=1).reshape(2, 4)[:, ::2]
    single = {"float64": "float32", "complex128": "complex64"}.get(dtype, dtype)
    for a in (mx.array(x), mx.asarray(x), mx.array(memoryview(x))):
        assert_equal(a, x.astype(single))
    with pytest.raises(ValueError, match="aligned"):
        mx.asarray(x, copy=False)


def test_tolist_without_memory():
    for a in (mx.zeros((2**58, 0)), mx.broadcast_to(mx.array(1.0), (2**58,))):
        with pytest.raises(MemoryError, match="tolist"):
            a.tolist()


class Emptying:
    """Empties a list where a number is asked of it."""

    def __init__(self, sequence):
        self.sequence = sequence

    def __index__(self):
        self.sequence.clear()
        return 0


def test_sequences_that_change_while_they_are_read():
    for use in (
        lambda axes: mx.tensordot(mx.ones((2, 2)), mx.ones((2, 2)), axes),
        lambda axes: mx.sum(mx.ones((2, 2)), axis=axes),
        lambda axes: mx.grad(lambda x: x.sum(), axes)(mx.ones(2)),
        mx.zeros,
    ):
        sequence = []
        sequence += [Emptying(sequence) for _ in range(1000)]
        with contextlib.suppress(TypeError, ValueError):  # whatever it makes of the list
            use(sequence)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signals")
@pytest.mark.parametrize(
    "walk",
    [
        lambda: mx.broadcast_to(mx.array(1.0), (2**26, 2**10)).tolist(),
        lambda: "x" in mx.zeros((2**40,)),
        lambda: any(mx.zeros((2**40,))),
        lambda: mx.stack(mx.zeros((2**40,))),
        lambda: mx.vjp(mx.sin, [mx.ones(2)], mx.zeros((2**40,))),
    ],
)
def test_walks_over_arrays_are_interrupted(walk):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        gc.disable()  # whose callbacks, of other tests' libraries, swallow what is raised in them
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            walk()
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("ndim", [64, 100, 1000])
def test_many_axes(ndim):
    a = mx.ones((1,) * ndim)
    assert (a + 1).sum().item() == 2
    assert (mx.zeros((0,) * ndim) + 1).sum(0).ndim == ndim - 1
    assert str(a) == f"array({'[' * ndim}1{']' * ndim}, dtype=float32)"
    assert copy.deepcopy(a).shape == a.shape
    if ndim > 64:
        for lend in (np.array, memoryview):
            with pytest.raises((ValueError, BufferError), match="at most 64 axes"):
                lend(a)
    if ndim == 1000:
        with pytest.raises(RecursionError):
            a.tolist()


@pytest.mark.parametrize(
    "shape, most", [((6,) * 14, 1000), ((2,) * 30, 1000), ((6, 6, 6), 216), ((40, 40), 36)]
)
def test_what_is_printed_is_bounded(shape, most):
    text = str(mx.zeros(shape, mx.int32))
    assert most / 2 <= text.count("0") <= most
    assert ("..." in text) == (text.count("0") < math.prod(shape))


def test_the_precision_of_printing_is_bounded():
    for precision in (10**8, 2**31 - 1, -2):
        with pytest.raises(ValueError, match="precision"):
            mx.set_printoptions(precision=precision)
        with pytest.raises(ValueError, match="precision"), mx.printoptions(precision=precision):
            pass
    with mx.printoptions(precision=100):
        assert str(mx.array(1.5)) == f"array(1.5{'0' * 99}, dtype=float32)"


def test_reprlib_shows_arrays():
    for a in (
        mx.array(1.5),
        mx.ones(300),
        mx.ones((2, 2)),
        mx.zeros((0,)),
        mx.ones(3, mx.bfloat16),
    ):
        assert reprlib.repr(a) == reprlib.Repr().repr_instance(a, 1)
        assert reprlib.repr([a]) == f"[{reprlib.repr(a)}]"
    assert reprlib.repr(buffer.array("i", [1, 2])) == "array('i', [1, 2])"


BEYOND = [300, -1, 2**70, -(2**70), 2**2000]


@pytest.mark.parametrize("compare", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint64", "int64", "float16"])
def test_comparisons_with_any_integer(compare, dtype):
    x = np.array([0, 1] if dtype == "bool" else [0, 1, 100]).astype(dtype)
    a, function = to_mx(x, dtype), getattr(operator, compare)
    for value in [*BEYOND, 1, 2**63, 2**64 - 1]:
        want = [function(v, value) for v in x.tolist()]
        assert function(a, value).tolist() == want
        assert function(value, a).tolist() == [function(value, v) for v in x.tolist()]
    assert mx.array_equal(a, 2**70).item() is False


@pytest.mark.parametrize("value", BEYOND[:-1])
def test_integers_beyond_the_type_of_an_array(value):
    a = mx.array([1, 100], mx.uint8)
    assert_close(a / value, np.array([1, 100]) / value, atol=0)
    assert_close(mx.arctan2(a, value), np.arctan2([1, 100], float(value)), rtol=1e-6)
    assert not mx.any(mx.isclose(a, value)).item()
    low, high = (value, None) if value < 0 else (None, value)
    assert mx.clip(a, low, high).tolist() == [1, 100]
    for call in (
        lambda: a + value,
        lambda: a**value,
        lambda: mx.minimum(a, value),
        lambda: mx.where(a > 1, a, value),
        lambda: mx.clip(a, high, low),
        lambda: a.at[0].add(value),
        lambda: mx.full(2, value, mx.uint8),
    ):
        with pytest.raises(OverflowError, match="does not fit in uint8"):
            call()


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_a_power_with_a_bool(dtype):
    a = to_mx(np.array([0, 1, 3]), dtype)
    for exponent, want in ((True, a), (False, mx.ones_like(a))):
        assert_equal(a**exponent, to_np(want.astype((a**exponent).dtype)))


@pytest.mark.parametrize("lend", [np.asarray, memoryview, np.from_dlpack])
def test_what_is_lent_has_memory_of_its_own_for_each_element(lend):
    for a in (
        mx.ones((4, 3)),
        mx.full((4, 3), 2.5),
        mx.broadcast_to(mx.array([1.0, 2, 3]), (4, 3)),
    ):
        lent = lend(a)
        assert tuple(lent.strides) == (12, 4) and lent.tolist() == a.tolist()
    x = mx.arange(12).reshape(3, 4)
    assert tuple(lend(x).strides) == (16, 4) and tuple(lend(x.T).strides) == (4, 16)
    assert lend(mx.zeros((0, 3))).shape == (0, 3) and lend(mx.ones((1, 1))).shape == (1, 1)


class Endless:
    """By the old protocol: it has an element for each number."""

    def __init__(self, element):
        self.element = element

    def __getitem__(self, place):
        return self.element


@pytest.mark.parametrize("element", [(), 1, "x", mx.array(1)])
def test_a_sequence_without_an_end_is_refused(element):
    endless = Endless(element)
    for call in (
        lambda: mx.zeros(endless),
        lambda: mx.sum(mx.ones((2, 2)), axis=endless),
        lambda: mx.grad(mx.sum, argnums=endless),
        lambda: mx.grad(mx.sum, argnames=endless),
        lambda: mx.pad(mx.ones((2, 2)), endless),
        lambda: mx.tensordot(mx.ones((2, 2)), mx.ones((2, 2)), endless),
    ):
        with pytest.raises((TypeError, ValueError)):
            call()


@pytest.mark.parametrize("name", ["uint8", "int8", "int32", "uint32", "int64", "uint64"])
def test_floats_beyond_an_integer_type_are_its_nearest(name):
    """In a sequence as alone, and as by a cast."""
    dtype = getattr(mx, name)
    for value in (1e30, -1e30, 1e10, -1.5, float("nan"), float("inf"), 1e30 + 2j):
        alone = mx.array(value, dtype).item()
        assert mx.array([value, 1], dtype).tolist() == [alone, 1]
        if not isinstance(value, complex):
            assert mx.array([value], mx.float32).astype(dtype).item() == alone
