"""Shape and layout: each function against NumPy's of the same name, on several layouts."""

import io
import resource

import numpy as np
import pytest
from conftest import ALL_DTYPES, assert_equal, axis_error, exact_sample, to_mx

import cermet.core as mx

CUBE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)


def unflatten(x, axis, shape):
    axis %= x.ndim
    return x.reshape(x.shape[:axis] + tuple(shape) + x.shape[axis + 1 :])


def flatten(x, start_axis=0, end_axis=-1):
    start, end = (axis % max(x.ndim, 1) for axis in (start_axis, end_axis))
    return x.reshape(*x.shape[:start], -1, *x.shape[end + 1 :])


# Functions whose NumPy reference is not simply `np.<name>`.
REFERENCES = {
    "flatten": flatten,
    "unflatten": unflatten,
    "permute_dims": np.transpose,
    "matrix_transpose": lambda x: np.swapaxes(x, -1, -2),
    "contiguous": np.ascontiguousarray,
}

CALLS = [
    ("reshape", ((6, 4),)),
    ("reshape", ((-1, 2),)),
    ("reshape", ((1, 24, 1),)),
    ("reshape", ((-1,),)),
    ("flatten", ()),
    ("flatten", (1,)),
    ("flatten", (0, 1)),
    ("flatten", (-2, -1)),
    ("flatten", (1, 1)),
    ("unflatten", (2, (2, 2))),
    ("unflatten", (-1, (-1, 1, 2))),
    ("squeeze", ()),
    ("expand_dims", (0,)),
    ("expand_dims", (-1,)),
    ("expand_dims", ((0, 2, -1),)),
    ("transpose", ()),
    ("transpose", ((2, 0, 1),)),
    ("transpose", ((-1, 0, -2),)),
    ("permute_dims", ((1, 2, 0),)),
    ("matrix_transpose", ()),
    ("swapaxes", (0, 2)),
    ("swapaxes", (-1, 1)),
    ("moveaxis", (0, -1)),
    ("moveaxis", (2, 0)),
    ("flip", ()),
    ("flip", (1,)),
    ("flip", ((0, -1),)),
    ("repeat", (2,)),
    ("repeat", (3, 1)),
    ("repeat", (0, -1)),
    ("tile", (2,)),
    ("tile", ((2, 1, 3),)),
    ("tile", ((2, 1, 1, 1),)),
    ("tile", ((0, 1, 1),)),
    ("pad", (1,)),
    ("pad", ((1, 2),)),
    ("pad", (((0, 1), (2, 0), (0, 0)),)),
    ("pad", (2, "edge")),
    ("pad", (((1, 1), (2, 2), (3, 3)), "reflect")),
    ("pad", (((2, 1), (3, 2), (3, 4)), "symmetric")),
    ("broadcast_to", ((5, 2, 3, 4),)),
    ("atleast_1d", ()),
    ("atleast_2d", ()),
    ("atleast_3d", ()),
    ("roll", (1,)),
    ("roll", (-3, 1)),
    ("roll", ((1, 2), (0, 2))),
    ("roll", (1, (0, 1))),
    ("contiguous", ()),
    ("diagonal", ()),
    ("diagonal", (1, 0, 2)),
    ("diagonal", (-1, 2, 1)),
    ("trace", ()),
    ("trace", (1, 1, 2)),
    ("tril", ()),
    ("tril", (1,)),
    ("triu", (-1,)),
]
VIEWS = {
    "contiguous": lambda xp, x: x,
    "transposed": lambda xp, x: xp.transpose(xp.transpose(x + 0)),
    "reversed": lambda xp, x: x[::-1, :, ::-1],
    "broadcast": lambda xp, x: xp.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name, arguments", CALLS, ids=lambda v: repr(v))
def test_functions(name, arguments, view):
    x, a = VIEWS[view](np, CUBE), VIEWS[view](mx, to_mx(CUBE))
    want = REFERENCES.get(name, getattr(np, name, None))(x, *arguments)
    got = getattr(mx, name)(a, *arguments)
    assert got.dtype == a.dtype
    assert_equal(got, want)
    assert_equal(got + 0, want)  # read through the strides


@pytest.mark.parametrize("name, arguments", CALLS, ids=lambda v: repr(v))
def test_derivatives(name, arguments, rng):
    """These functions are linear: <f(t), c> must equal <t, transpose of f (c)>."""
    f = lambda a: getattr(mx, name)(a, *arguments)  # noqa: E731
    tangent = to_mx(rng.integers(-4, 5, CUBE.shape).astype(np.float32))
    (out,), (forward,) = mx.jvp(f, [tangent], [tangent])
    cotangent = to_mx(rng.integers(-4, 5, out.shape).astype(np.float32))
    _, (gradient,) = mx.vjp(f, [tangent], [cotangent])
    assert_equal(forward, np.array(out))
    assert gradient.shape == CUBE.shape
    assert (gradient * tangent).sum().item() == (cotangent * out).sum().item()


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_every_dtype_moves(dtype, rng):
    x = exact_sample(rng, (4, 5), dtype)
    for f in (
        lambda xp, x: xp.concatenate([x, x.T.reshape(4, 5)]),
        lambda xp, x: xp.repeat(x, 2, 1),
        lambda xp, x: xp.pad(x, 1),
        lambda xp, x: xp.flip(x, 0),
        lambda xp, x: xp.diagonal(x),
    ):
        assert_equal(f(mx, to_mx(x)), f(np, x))


SCALARS_AND_EMPTY = [
    lambda xp: xp.reshape(xp.zeros((0, 3)), (3, 0, 2)),
    lambda xp: xp.reshape(xp.zeros((0, 3)), (-1, 3)),
    lambda xp: xp.reshape(xp.ones(()), (1, 1)),
    lambda xp: xp.reshape(xp.ones((1, 1)), ()),
    lambda xp: xp.transpose(xp.ones(())),
    lambda xp: xp.transpose(xp.zeros((0, 3))),
    lambda xp: xp.concatenate([xp.zeros((0, 3)), xp.ones((2, 3))]),
    lambda xp: xp.stack([xp.ones(()), xp.zeros(())]),
    lambda xp: xp.repeat(xp.zeros((0,)), 3),
    lambda xp: xp.pad(xp.zeros((0,)), 2),
    lambda xp: xp.roll(xp.zeros((0,)), 1),
    lambda xp: xp.tile(xp.ones(()), (2, 3)),
    lambda xp: xp.flip(xp.zeros((0, 2))),
    lambda xp: xp.squeeze(xp.ones((1, 1))),
    lambda xp: xp.squeeze(xp.ones((1, 2, 1)), 0),
    lambda xp: xp.squeeze(xp.ones((1, 2, 1)), (0, -1)),
    lambda xp: xp.diag(xp.ones((0,))),
    lambda xp: xp.broadcast_to(xp.ones((1,)), (0,)),
]


@pytest.mark.parametrize("call", SCALARS_AND_EMPTY)
def test_scalars_and_empty(call):
    assert_equal(call(mx), call(np))


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_concatenate(axis):
    parts = [CUBE, CUBE[:, :, ::-1] + 100, CUBE.copy() * 2]
    want = np.concatenate(parts, axis)
    assert_equal(mx.concatenate([to_mx(p) for p in parts], axis=axis), want)
    assert_equal(mx.concat([to_mx(p) for p in parts], axis=axis), want)
    if axis is not None:
        uneven = [np.take(CUBE, range(n), axis) for n in (1, 0, 2)]
        assert_equal(mx.concatenate([to_mx(p) for p in uneven], axis), np.concatenate(uneven, axis))


@pytest.mark.parametrize("axis", [0, 1, 3, -1, -4])
def test_stack_and_unstack(axis):
    parts = [CUBE, CUBE + 100]
    stacked = mx.stack([to_mx(p) for p in parts], axis=axis)
    assert_equal(stacked, np.stack(parts, axis))
    for got, want in zip(mx.unstack(stacked, axis=axis), parts, strict=True):
        assert_equal(got, want)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("sections", [1, 2, [1], [0, 2], [2, 9], [-1], []])
def test_split(sections, axis):
    x = np.arange(64).reshape(4, 4, 4)
    parts = mx.split(to_mx(x), sections, axis=axis)
    for got, want in zip(parts, np.split(x, sections, axis), strict=True):
        assert_equal(got, want)


def test_what_is_joined_are_arrays():
    with pytest.raises(TypeError, match="stack: expected arrays, not int"):
        mx.stack([mx.ones(1), 1])
    with pytest.raises(TypeError, match="concatenate: expected a sequence of arrays"):
        mx.concatenate(mx.array(1))


def test_gradient_of_split_and_concatenate():
    def loss(a):
        first, second, third = mx.split(a, [1, 3])
        return (
            mx.concatenate([third, first]) * mx.array([1.0, 10.0, 100.0])
        ).sum() + 7 * second.sum()

    assert mx.grad(loss)(mx.zeros(5)).tolist() == [100, 7, 7, 1, 10]


def test_broadcasting():
    a, b, c = mx.broadcast_arrays(mx.ones((3, 1)), mx.zeros((1, 4)), mx.array(7))
    assert a.shape == b.shape == c.shape == (3, 4)
    assert mx.broadcast_shapes((1, 3), (2, 1), (3,), ()) == (2, 3)
    assert mx.broadcast_shapes((0, 1), (1, 5)) == (0, 5)
    assert mx.broadcast_to(7, (2, 2)).tolist() == [[7, 7], [7, 7]]


def test_atleast_several():
    for d in (1, 2, 3):
        rows = CUBE[0, 0], CUBE[0]
        results = getattr(mx, f"atleast_{d}d")(*map(to_mx, rows))
        for x, got in zip(rows, results, strict=True):
            assert_equal(got, getattr(np, f"atleast_{d}d")(x))


@pytest.mark.parametrize("k", [-2, 0, 1])
def test_diag(k):
    assert_equal(mx.diag(to_mx(CUBE[0]), k), np.diag(CUBE[0], k))
    assert_equal(mx.diag(to_mx(CUBE[0, 0]), k), np.diag(CUBE[0, 0], k))


def test_pad_with_values():
    x = CUBE[0]
    got = mx.pad(to_mx(x), [(1, 0), (0, 2)], constant_values=mx.array(9))
    assert_equal(got, np.pad(x, [(1, 0), (0, 2)], constant_values=9))


def test_as_strided():
    a = mx.arange(10)
    assert mx.as_strided(a, (3, 4), (2, 1), 1).tolist() == [
        [1, 2, 3, 4],
        [3, 4, 5, 6],
        [5, 6, 7, 8],
    ]
    assert mx.as_strided(a, (2, 3), (0, 1)).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert mx.as_strided(a, (3,), (-1,), 9).tolist() == [9, 8, 7]
    weights = mx.array([[1.0, 10.0], [100.0, 1000.0]])
    f = lambda a: (mx.as_strided(a, (2, 2), (1, 1)) * weights).sum()  # noqa: E731
    assert mx.grad(f)(mx.zeros(3)).tolist() == [1, 110, 1000]


def test_as_strided_stays_inside():
    for shape, strides, offset in [
        ((2, 2), (1, 9), 0),
        ((3,), (-1,), 1),
        ((11,), (1,), 0),
        ((1,), (1,), 10),
    ]:
        with pytest.raises((ValueError, IndexError)):
            mx.eval(mx.as_strided(mx.arange(10), shape, strides, offset))


@pytest.mark.parametrize("axis", [3, -4])
@pytest.mark.parametrize(
    "call",
    [
        lambda a, axis: mx.squeeze(a, axis=axis),
        lambda a, axis: mx.transpose(a, (0, 1, axis)),
        lambda a, axis: mx.swapaxes(a, 0, axis),
        lambda a, axis: mx.moveaxis(a, axis, 0),
        lambda a, axis: mx.flip(a, axis),
        lambda a, axis: mx.concatenate([a, a], axis=axis),
        lambda a, axis: mx.stack([a[0], a[0]], axis=axis),
        lambda a, axis: mx.unstack(a, axis=axis),
        lambda a, axis: mx.split(a, 1, axis=axis),
        lambda a, axis: mx.repeat(a, 2, axis=axis),
        lambda a, axis: mx.roll(a, 1, axis),
        lambda a, axis: mx.unflatten(a, axis, (1, 2)),
        lambda a, axis: mx.flatten(a, axis, axis),
    ],
)
def test_axis_errors(call, axis):
    with axis_error(axis):
        call(mx.zeros((2, 3, 4)), axis)


@pytest.mark.parametrize(
    "call",
    [
        lambda a: mx.reshape(a, (5, 5)),
        lambda a: mx.reshape(a, (-1, 5)),
        lambda a: mx.reshape(a, (-1, -1)),
        lambda a: mx.reshape(mx.zeros((0,)), (-1, 0)),
        lambda a: mx.flatten(a, 2, 1),
        lambda a: mx.unflatten(a, 1, (2, 2)),
        lambda a: mx.squeeze(a, 1),
        lambda a: mx.expand_dims(a, (0, 0)),
        lambda a: mx.transpose(a, (0, 0, 1)),
        lambda a: mx.transpose(a, (0, 1)),
        lambda a: mx.concatenate([]),
        lambda a: mx.stack([]),
        lambda a: mx.concatenate([a, a[:, :1]], axis=0),
        lambda a: mx.concatenate([a, a[0]]),
        lambda a: mx.stack([a, a[0]]),
        lambda a: mx.split(a, 2, axis=1),
        lambda a: mx.split(a, 0),
        lambda a: mx.repeat(a, -1),
        lambda a: mx.pad(a, -1),
        lambda a: mx.pad(a, 1, mode="circle"),
        lambda a: mx.pad(a, [(1, 1), (1, 1)]),
        lambda a: mx.broadcast_to(a, (2, 3, 5)),
        lambda a: mx.broadcast_to(a, (3, 4)),
        lambda a: mx.broadcast_shapes((2, 3), (4,)),
        lambda a: mx.matrix_transpose(a[0, 0]),
        lambda a: mx.tril(a[0, 0]),
        lambda a: mx.diagonal(a[0, 0]),
        lambda a: mx.diagonal(a, 0, 1, 1),
        lambda a: mx.diag(a),
    ],
)
def test_other_errors(call):
    with pytest.raises(ValueError):
        mx.eval(call(mx.zeros((2, 3, 4))))


HUGE = 2**40


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.zeros((2**62, 0, 2**60)),
        lambda: mx.zeros((0, 2**62, 2**60)),
        lambda: mx.reshape(mx.zeros(0), (HUGE, HUGE, 0)),
        lambda: mx.as_strided(mx.zeros(4, mx.int8), (5,), (2**62,)),
        lambda: mx.as_strided(mx.zeros(4), (2**62, 2**62)),
        lambda: mx.concatenate([mx.broadcast_to(mx.array(1), (2**58,))] * 64),
        lambda: mx.repeat(mx.zeros((0, HUGE)), HUGE, 1),
        lambda: mx.tile(mx.zeros(HUGE), HUGE),
        lambda: mx.pad(mx.zeros(3), 2**62),
        lambda: mx.pad(mx.zeros((3, 0)), (2**63 - 1, 2**63 - 1)),
        lambda: mx.kron(mx.zeros(HUGE), mx.zeros(HUGE)),
        lambda: mx.diag(mx.ones(2), -(2**31)),
        lambda: mx.conv1d(mx.ones((1, 4, 1)), mx.ones((1, 2, 1)), padding=2**62),
        lambda: mx.conv1d(mx.ones((1, 4, 1)), mx.ones((1, 3, 1)), dilation=2**62),
        lambda: mx.conv_transpose1d(mx.ones((1, 4, 1)), mx.ones((1, 2, 1)), stride=2**62),
    ],
)
def test_sizes_beyond_63_bits_are_refused(call):
    with pytest.raises(ValueError, match="63 bits"):
        call()


def test_steps_and_shifts_as_large_as_can_be():
    a = mx.arange(4)
    assert mx.roll(a, (2**63 - 1, 2**63 - 1)).tolist() == [2, 3, 0, 1]
    assert mx.roll(a, -(2**63)).tolist() == mx.roll(a, -(2**63), 0).tolist() == [0, 1, 2, 3]
    assert mx.as_strided(a, (1, 2), (2**62, 1), 1).tolist() == [[1, 2]]
    assert mx.as_strided(a, (5, 0), (2**62, 1)).shape == (5, 0)
    x, w = mx.ones((1, 4, 1)), mx.ones((1, 2, 1))
    assert mx.conv1d(x, w, stride=2**62).tolist() == [[[2]]]
    assert mx.conv1d(x, w[:, :1], dilation=2**62).shape == x.shape


@pytest.mark.parametrize("mode", ["edge", "reflect", "symmetric"])
def test_padding_wider_than_the_axis(mode):
    for n in (1, 2, 5):
        for widths in ((0, 0), (1, 2), (7, 11)):
            assert_equal(mx.pad(mx.arange(n), widths, mode), np.pad(np.arange(n), widths, mode))


def test_places_of_padding_are_computed_where_they_are_counted():
    """A list of them on the host would take a GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    padded = mx.pad(mx.ones(3, mx.int8), 2**27, "edge")
    assert padded.shape == (2**28 + 3,)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mx.arange(2).reshape((1, 2), (2,)), "reshape: expected integers"),
        (lambda: mx.arange(2).reshape("a"), "reshape: expected integers.* not str"),
        (lambda: mx.arange(2).transpose((0,), 1), "transpose: expected integers"),
        (lambda: mx.broadcast_shapes("a"), "broadcast_shapes: expected shapes, not str"),
        (lambda: mx.broadcast_arrays(1), "broadcast_arrays: expected arrays, not int"),
        (lambda: mx.atleast_2d(1.0), "atleast_2d: expected arrays, not float"),
        (lambda: mx.einsum("i->i", 5), "einsum: expected arrays, not int"),
        (lambda: mx.einsum_path("i->i", 5), "einsum_path: expected arrays, not int"),
        (lambda: mx.meshgrid(1, 2), "meshgrid: expected arrays, not int"),
        (lambda: mx.savez(io.BytesIO(), 5), "savez: 'arr_0' is to be an array, got int"),
        (lambda: mx.vmap(abs, in_axes=2**70)(mx.ones(3)), "vmap: expected the number of an axis"),
    ],
)
def test_arguments_of_other_types(call, message):
    with pytest.raises(TypeError, match=message):
        call()
