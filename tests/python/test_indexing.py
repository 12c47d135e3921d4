"""Reading and writing through indices, against NumPy's meaning of the same index expression."""

import numpy as np
import pytest
from conftest import assert_equal, axis_error, to_mx
from hypothesis import given
from hypothesis import strategies as st

import cermet.core as mx

CUBE = np.arange(60, dtype=np.int32).reshape(3, 4, 5)


def to_index(index):
    """The same index for Cermet: NumPy arrays become Cermet's."""
    if isinstance(index, tuple):
        return tuple(map(to_index, index))
    return mx.array(index) if isinstance(index, np.ndarray) else index


def assigned(x, index, value):
    x = x.copy()
    x[index] = value
    return x


REPEATED = np.array([0, 2, 2])
INDICES = [
    0,
    -1,
    (),
    ...,
    None,
    slice(None),
    slice(1, None),
    slice(None, -1),
    slice(5, 9),
    slice(2, 1),
    slice(None, None, 2),
    slice(None, None, -1),
    slice(-1, -9, -2),
    slice(2, 0, -1),
    (0, 1, 2),
    (-1, -1, -1),
    (1, slice(1, 3)),
    (slice(None), -2),
    (..., 0),
    (0, ...),
    (..., None),
    (None, 0, None, slice(None, None, -2)),
    (slice(None), None, 1),
    (slice(1, None), ..., slice(None, None, -3)),
    np.array(2),
    REPEATED,
    np.array([-1, -3]),
    np.array([[0, 1], [2, 0]]),
    np.array([], dtype=np.int32),
    (slice(None), np.array([3, 0])),
    (..., np.array([4, -5])),
    (np.array([0, 1]), np.array([1, 3])),
    (np.array([[0], [1]]), np.array([1, 3, 2])),
    (np.array([0, 1]), np.array([1, 3]), np.array([4, 0])),
    (slice(None, None, 2), np.array([0, 1]), np.array([1, 3])),
    (np.array([0, 1]), slice(1, 3)),
    (np.array([0, 1]), slice(None), np.array([4, 0])),
    (np.array([1, 2]), 0),
    (0, np.array([1, 2]), slice(None, None, -1)),
    (np.array([0, 1]), None, np.array([1, 3])),
    (None, np.array([0, 1])),
    (np.array([2, 0], dtype=np.uint8), ..., np.array([1, 0], dtype=np.int64)),
    (slice(None), 0, ..., np.array([0, 1])),
    (slice(None), 0, None, ..., np.array([0, 1])),
    (0, slice(None), ..., np.array([0, 1])),
    (slice(None), np.array([1, 3]), ..., 0),
    (np.array([0, 1]), ..., 0, np.array([4, 2])),
]


def indices(f):
    return pytest.mark.parametrize("index", INDICES, ids=lambda i: repr(i).replace("array", ""))(f)


@indices
def test_get(index):
    assert_equal(to_mx(CUBE)[to_index(index)], CUBE[index])
    assert_equal(to_mx(CUBE.T.copy()).T[to_index(index)], CUBE[index])


@indices
def test_set(index, rng):
    shape = CUBE[index].shape
    for value in (
        7,
        rng.integers(0, 9, shape[-1:]),
        rng.permutation(np.prod(shape, dtype=int)).reshape(shape),
    ):
        if index is not REPEATED:  # the order of whose writes is not defined
            a = to_mx(CUBE)
            a[to_index(index)] = value if isinstance(value, int) else to_mx(value)
            assert a.dtype == mx.int32
            assert_equal(a, assigned(CUBE, index, value))


@indices
def test_add_at(index, rng):
    update = rng.integers(0, 9, CUBE[index].shape).astype(np.int32)
    want = CUBE.copy()
    np.add.at(want, index, update)
    assert_equal(to_mx(CUBE).at[to_index(index)].add(to_mx(update)), want)


@indices
def test_gradient_of_get(index):
    """A slice's or gather's derivative adds each cotangent where its element was read."""
    cotangent = np.arange(CUBE[index].size, dtype=np.float32).reshape(CUBE[index].shape)
    want = np.zeros(CUBE.shape, np.float32)
    np.add.at(want, index, cotangent)
    a = to_mx(CUBE).astype(mx.float32)
    _, (got,) = mx.vjp(lambda a: a[to_index(index)], [a], [to_mx(cotangent)])
    assert_equal(got, want)


@indices
def test_gradient_of_set(index):
    """Elements written over have no derivative; the update has theirs."""
    if index is REPEATED:
        pytest.skip("the order of repeated writes is not defined")

    def written(a, update):
        b = a + 0
        b[to_index(index)] = update
        return b

    a, cotangent = to_mx(CUBE).astype(mx.float32), to_mx(CUBE + 1).astype(mx.float32)
    _, (to_array, to_update) = mx.vjp(written, [a, mx.zeros(CUBE[index].shape)], [cotangent])
    assert_equal(to_array, assigned(CUBE + 1, index, 0))
    assert_equal(to_update, (CUBE + 1)[index])


def test_lists_index_as_arrays():
    assert_equal(to_mx(CUBE)[[0, 2]], CUBE[[0, 2]])


def test_set_keeps_dtype_and_other_views():
    a = mx.array([1, 2, 3])
    b, before = a, a[:2]
    a[0] = 7.9
    assert a.dtype == mx.int32 and a.tolist() == [7, 2, 3]
    assert b is a and before.tolist() == [1, 2]
    a += 1
    a[1] = mx.array(2.5)
    assert a.tolist() == [8, 2, 4]


def test_set_from_other_values():
    a = mx.zeros((2, 3))
    a[0] = np.array([7, 8, 9])
    a[1] = mx.array([1 + 5j]).real
    a[:, 0] = True
    assert a.tolist() == [[1, 8, 9], [1, 1, 1]]
    with pytest.raises((TypeError, ValueError)):
        a[0] = "text"


def test_set_then_evaluate_inside_a_chain():
    a = mx.arange(5)
    for i in range(5):
        a[i] = a[i] * a[i - 1] + 1
    want = list(range(5))
    for i in range(5):
        want[i] = want[i] * want[i - 1] + 1
    assert a.tolist() == want


# Boolean masks


@pytest.mark.parametrize(
    "mask",
    [CUBE % 3 == 0, CUBE < 0, CUBE >= 0, np.array([True, False, True]), CUBE[:, :, 0] > 12],
    ids=["some", "none", "all", "rows", "columns"],
)
def test_mask_assignment(mask, rng):
    count = CUBE[mask].shape
    for value in (-1, rng.permutation(np.prod(count, dtype=int)).reshape(count)):
        a = to_mx(CUBE)
        a[to_mx(mask)] = value if isinstance(value, int) else to_mx(value)
        assert_equal(a, assigned(CUBE, mask, value))


@pytest.mark.parametrize("mask", [True, False, np.array([True, False])])
def test_leading_unit_axes_of_what_a_mask_is_assigned(mask):
    x, value = np.zeros((2, 3), np.int32), np.arange(3).reshape(1, 1, 1, 3)
    a = to_mx(x)
    for v in (value, value[0], value[0, 0]):
        a[to_index(mask)] = to_mx(v)
        assert_equal(a, assigned(x, mask, v))


def test_mask_assignment_refuses_wrong_shapes():
    a = to_mx(CUBE)
    with pytest.raises((ValueError, IndexError)):
        a[mx.array([True, False])] = 0
        mx.eval(a)


def test_mask_assignment_refuses_too_few_values():
    a = mx.array([1, 2, 3])
    with pytest.raises(ValueError):
        a[mx.array([True, False, True])] = mx.array([7, 8, 9])[:0]
        mx.eval(a)


MASK = CUBE % 3 == 0
MASKED = [
    MASK,
    MASK[:, :, 0],
    MASK[:, 0, 0],
    CUBE < 0,
    CUBE >= 0,
    (MASK[:, 0, 0],),
    (slice(None), MASK[0, :, 0]),
    (..., MASK[0, 0]),
    (slice(1, None), MASK[0, :, 0]),
    (MASK[:, 0, 0], 1),
    (MASK[:, 0, 0], slice(None), np.array([4])),
    (MASK[:, 0, 0], None, MASK[0, :, 0][[0, 3, 1, 2]] | True),
    (slice(None), MASK[0], None),
    (None, MASK[:, :, 0], slice(None, None, -1)),
    (0, MASK[0, :, 0]),
    (MASK[:, 0, 0], ..., 2),
    (np.array([0, 1]), MASK[0, :, 0] & (np.arange(4) < 4), 0),
    [True, False, True],
    (slice(None), [True, False, False, True]),
    ([0, 2], [True, False, False, True]),
    ((0, 1), (1, 3)),
    False,
    (False, 0),
    (0, False, slice(2)),
    (False, [0]),
    np.array(True),
    np.array(False),
    np.True_,
    np.False_,
    (np.True_, np.int64(1)),
    np.int32(-1),
    (np.uint8(2), slice(None), np.int64(3)),
]


def masked(f):
    return pytest.mark.parametrize("index", MASKED, ids=lambda i: repr(i)[:40])(f)


def count(index):
    """The shape of what is chosen, or None where NumPy does not take the index."""
    try:
        return CUBE[index].shape
    except IndexError:
        return None


@masked
def test_get_by_masks_and_numpy_scalars(index):
    shape = count(index)
    if shape is None:
        with pytest.raises((ValueError, IndexError)):
            mx.eval(to_mx(CUBE)[to_index(index)])
        return
    for i in (to_index(index), index):  # Cermet's arrays and NumPy's
        assert_equal(to_mx(CUBE)[i], CUBE[index])
        assert_equal(to_mx(CUBE.T.copy()).T[i], CUBE[index])


@masked
def test_set_by_masks_and_numpy_scalars(index, rng):
    shape = count(index)
    if shape is None:
        return
    values = rng.permutation(np.prod(shape, dtype=int)).reshape(shape).astype(np.int32)
    for value in (7, values, values[None]):
        a = to_mx(CUBE)
        a[to_index(index)] = value if isinstance(value, int) else to_mx(value)
        assert_equal(a, assigned(CUBE, index, 7 if isinstance(value, int) else values))
    want = CUBE.copy()
    np.add.at(want, index, values)
    assert_equal(to_mx(CUBE).at[to_index(index)].add(to_mx(values)), want)


@masked
def test_gradients_through_masks(index):
    if count(index) is None:
        return
    cotangent = np.arange(CUBE[index].size, dtype=np.float32).reshape(CUBE[index].shape)
    want = np.zeros(CUBE.shape, np.float32)
    np.add.at(want, index, cotangent)
    a = to_mx(CUBE).astype(mx.float32)
    _, (got,) = mx.vjp(lambda a: a[to_index(index)], [a], [to_mx(cotangent)])
    assert_equal(got, want)
    found = mx.vmap(lambda a: a[to_index(index)])(mx.stack([a, 2 * a]))
    assert_equal(found[1], 2 * CUBE[index].astype(np.float32))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float16", "bfloat16", "float64", "complex64"])
def test_masks_choose_of_every_type(dtype):
    a = mx.arange(5).astype(getattr(mx, "bool_" if dtype == "bool" else dtype))
    mask = mx.array([True, False, True, False, True])
    assert a[mask].dtype == a.dtype
    assert a[mask].tolist() == [a[0].item(), a[2].item(), a[4].item()]
    assert mx.zeros((0, 3))[mx.zeros((0, 3), mx.bool_)].shape == (0,)
    assert mx.zeros((0, 3))[mx.zeros((0,), mx.bool_)].shape == (0, 3)


@pytest.mark.parametrize("index", [MASK[:2], MASK[:, :3], (0, MASK), (slice(None), MASK[:, 0, 0])])
def test_masks_that_do_not_fit_are_refused(index):
    a = to_mx(CUBE)
    with pytest.raises(IndexError, match=r"mask|indices"):
        a[to_index(index)]
    with pytest.raises((ValueError, IndexError), match=r"mask|indices"):
        a[to_index(index)] = 0


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_a_mask_of_nothing_chooses_nothing(shape):
    x, mask = np.ones((2, 3)), np.zeros(shape, bool)
    a = to_mx(x)
    assert a[mx.array(mask)].shape == x[mask].shape
    a[mx.array(mask)] = 5
    assert a.tolist() == x.tolist()


def test_masks_take_as_many_values_as_they_choose():
    for values in (mx.array([7, 8, 9]), mx.array([7, 8, 9])[:0], mx.ones((2, 2))):
        a = mx.array([1, 2, 3])
        with pytest.raises(ValueError):
            a[mx.array([True, False, True])] = values
        assert a.tolist() == [1, 2, 3]
    a = mx.zeros((2, 3))
    with pytest.raises(ValueError, match=r"setitem|broadcast"):
        a[mx.array([True, False])] = mx.ones((1, 2, 3))


def test_masks_in_traces():
    """Where the mask has no value, reading names `where`; writing what fits all needs none."""
    x = mx.array([1.0, -2.0, 3.0])
    for trace in (mx.compile, mx.vmap, lambda f: mx.compile(f, shapeless=True)):
        for choose in (lambda x: x[x > 0], lambda x: mx.nonzero(x)[0], lambda x: mx.argwhere(x)):
            rows = mx.stack([x, x]) if trace is mx.vmap else x
            with pytest.raises(ValueError, match=r"where\(mask, x, y\)"):
                trace(choose)(rows)

    def clipped(x):
        x = x * 1
        x[x < 0] = 0
        return x

    def filled(x):
        x = x * 1
        x[x > 0] = mx.array([7.0, 8.0])
        return x

    assert mx.compile(clipped)(x).tolist() == [1, 0, 3]
    assert mx.vmap(clipped)(mx.stack([x, -x])).tolist() == [[1, 0, 3], [0, 2, 0]]
    assert mx.compile(filled)(x).tolist() == [7, -2, 8]
    # A gradient's function has values, and a mask from outside has one in every trace.
    assert mx.grad(lambda x: (x[x > 0] ** 2).sum())(x).tolist() == [2, 0, 6]
    mask = mx.array([True, False, True])
    assert mx.compile(lambda x: x[mask])(x).tolist() == [1, 3]
    assert mx.vmap(lambda x: x[mask])(mx.stack([x, -x])).tolist() == [[1, 3], [-1, -3]]


# nonzero, argwhere, where of one argument


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5), (0,), (3, 0), (1, 1, 1), (1000, 3)])
@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "float32", "complex64"])
def test_nonzero(shape, dtype, rng):
    x = rng.integers(0, 3, shape).astype(dtype)
    for a, n in ((to_mx(x), x), (to_mx(x).T, x.T)):
        want = np.nonzero(n)
        for found in (mx.nonzero(a), mx.where(a)):
            assert isinstance(found, tuple) and len(found) == a.ndim
            for got, places in zip(found, want, strict=True):
                assert_equal(got, places.astype(np.int32))
        assert_equal(mx.argwhere(a), np.argwhere(n).astype(np.int32))


def test_nonzero_of_nans_zeros_and_numbers():
    assert mx.nonzero(mx.array([0.0, -0.0, mx.nan, 1e-40]))[0].tolist() == [2, 3]
    assert mx.argwhere(mx.array(2)).shape == (1, 0) and mx.argwhere(mx.array(0)).shape == (0, 0)
    with pytest.raises(ValueError, match="nonzero: expected at least one axis"):
        mx.nonzero(mx.array(1))


# Updates at indices


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_updates_with_colliding_indices(name, dtype):
    if (name, dtype) == ("divide", "int32"):
        pytest.skip("integers divide to floats")
    x = np.array([8, -4, 16, 2], dtype)
    index, update = np.array([0, 0, 2, -1, 0]), np.array([2, -2, 4, 8, 1], dtype)
    want = x.copy()
    getattr(np, name).at(want, index, update)
    at = to_mx(x).at[mx.array(index)]
    assert_equal(getattr(at, name)(to_mx(update)), want)
    for part in (slice(1, None), slice(None, None, -2)):
        want = x.copy()
        want[part] = getattr(np, name)(x[part], np.array(2, dtype))
        assert_equal(getattr(to_mx(x).at[part], name)(2), want)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply"])
def test_gradients_of_updates(name):
    x, update = mx.array([1.0, 2.0, 3.0]), mx.array([4.0, 5.0])
    index = mx.array([2, 0])

    def loss(x, update):
        return (getattr(x.at[index], name)(update) * mx.array([1.0, 10.0, 100.0])).sum()

    to_x, to_update = mx.grad(loss, (0, 1))(x, update)
    want = {
        "add": ([1, 10, 100], [100, 1]),
        "subtract": ([1, 10, 100], [-100, -1]),
        "multiply": ([5, 10, 400], [300, 1]),
    }[name]
    assert (to_x.tolist(), to_update.tolist()) == want


@pytest.mark.parametrize("name, value", [("maximum", 2.0), ("minimum", -2.0)])
def test_an_update_at_equal_places_counts_once(name, value):
    def updated(v):
        return getattr(mx.zeros(3).at[mx.array([1, 1])], name)(v).sum()

    v, several = mx.array(value), mx.array([value, value])
    assert mx.grad(updated)(v).item() == 1
    assert mx.jvp(updated, [v], [mx.array(1.0)])[1][0].item() == 1
    assert mx.grad(updated)(several).tolist() == [0.5, 0.5]


def test_update_needs_indices():
    with pytest.raises((ValueError, TypeError)):
        mx.array([1]).at.add(1)


# take, take_along_axis, put_along_axis, slice, slice_update


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize(
    "index", [np.array(1), np.array([2, 0, -1]), np.array([[0], [1]])], ids=repr
)
def test_take(axis, index):
    assert_equal(mx.take(to_mx(CUBE), mx.array(index), axis=axis), np.take(CUBE, index, axis=axis))


def test_take_an_integer():
    assert_equal(mx.take(to_mx(CUBE), 1, axis=1), CUBE[:, 1])


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int8", "int64"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_take_and_put_along_axis(axis, dtype, rng):
    x = CUBE if axis is not None else CUBE.reshape(-1)
    at = 0 if axis is None else axis
    index = rng.permuted(np.argsort(x, axis=at), axis=at).take([0, 1], axis=at)
    if dtype != "uint32":
        index = np.where(rng.random(index.shape) < 0.5, index, index - x.shape[at])
    a, i = to_mx(CUBE), to_mx(index.astype(dtype))
    assert_equal(mx.take_along_axis(a, i, axis=axis), np.take_along_axis(x, index, at))
    want, values = x.copy(), -1 - np.arange(index.size, dtype=np.int32).reshape(index.shape)
    np.put_along_axis(want, index, values, at)
    assert_equal(mx.put_along_axis(a, i, to_mx(values), axis=axis), want.reshape(CUBE.shape))
    np.put_along_axis(want, index, 5, at)
    assert_equal(mx.put_along_axis(a, i, mx.array(5), axis=axis),
                 np.where(want == 5, 5, CUBE.reshape(want.shape)).reshape(CUBE.shape))  # fmt: skip


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", "int8", "uint8"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gradient_of_one_element_a_row_is_elementwise(axis, dtype, rng):
    a = mx.array(rng.standard_normal((5, 7, 6)).astype(np.float32))
    shape = list(a.shape)
    shape[axis] = 1
    low = 0 if dtype.startswith("u") else -a.shape[axis]
    index = rng.integers(low, a.shape[axis], shape)
    weights = mx.array(rng.standard_normal(shape).astype(np.float32))
    at = mx.array(index).astype(getattr(mx, dtype))
    gradient = mx.grad(lambda a: (mx.take_along_axis(a, at, axis) * weights).sum())(a)
    expected = np.zeros(a.shape, np.float32)
    np.put_along_axis(expected, index, weights, axis)
    np.testing.assert_array_equal(gradient, expected)
    again = mx.grad(lambda a: (mx.take_along_axis(a, at, axis) ** 3).sum())
    second = mx.grad(lambda a: again(a).sum())(a)
    np.put_along_axis(expected, index, 6 * np.take_along_axis(np.array(a), index, axis), axis)
    np.testing.assert_allclose(second, expected, rtol=1e-6)
    batched = mx.vmap(mx.grad(lambda a, i: mx.take_along_axis(a, i, axis).sum()))(
        mx.stack([a, a]), mx.stack([at, at])
    )
    np.put_along_axis(expected, index, 1, axis)
    np.testing.assert_array_equal(batched, np.stack([expected, expected]))


def test_gradient_of_take_along_axis():
    index = mx.array([[0, 0], [2, 1]])
    weights = mx.array([[1.0, 10.0], [100.0, 1000.0]])
    loss = lambda a: (mx.take_along_axis(a, index, 1) * weights).sum()  # noqa: E731
    assert mx.grad(loss)(mx.zeros((2, 3))).tolist() == [[11, 0, 0], [0, 1000, 100]]


def test_slice_with_array_starts():
    a = to_mx(CUBE)
    assert_equal(mx.slice(a, mx.array([1, 2]), [0, 2], [2, 4, 3]), CUBE[1:3, :, 2:5])
    assert_equal(mx.slice(a, mx.array(1), [1], [3, 2, 5]), CUBE[:, 1:3])
    update = mx.full((2, 4, 3), -1)
    want = assigned(CUBE, (slice(1, 3), slice(None), slice(2, 5)), -1)
    assert_equal(mx.slice_update(a, update, mx.array([1, 2]), [0, 2]), want)


# Errors


def out_of_bounds(index, axis, size):
    """Expects the error that tells which index missed which axis."""
    return pytest.raises(IndexError, match=rf"{index}\b.*axis {axis}\b.*size {size}\b")


MISSES = [
    (3, 3, 0, 3),
    (-4, -4, 0, 3),
    ((0, 4), 4, 1, 4),
    ((..., -6), -6, 2, 5),
    (np.array([0, 3]), 3, 0, 3),
    (np.array([-4]), -4, 0, 3),
    ((slice(None), np.array([0, 9])), 9, 1, 4),
    ((np.array([0]), np.array([2**31 - 1])), 2**31 - 1, 1, 4),
    ((np.array([0, 1]), np.array([0, 1]), np.array([0, 5])), 5, 2, 5),
]


@pytest.mark.parametrize("index, miss, axis, size", MISSES, ids=repr)
def test_out_of_bounds(index, miss, axis, size):
    a, i = to_mx(CUBE), to_index(index)
    with out_of_bounds(miss, axis, size):
        mx.eval(a[i])
    with out_of_bounds(miss, axis, size):
        a[i] = 0
        mx.eval(a)
    a = to_mx(CUBE)
    with out_of_bounds(miss, axis, size):
        mx.eval(a.at[i].add(1))
    assert_equal(a, CUBE)


def test_out_of_bounds_functions():
    a = to_mx(CUBE)
    with out_of_bounds(60, 0, 60):
        mx.eval(mx.take(a, mx.array([60])))
    with out_of_bounds(7, 1, 4):
        mx.eval(mx.take(a, 7, axis=1))
    bad = mx.zeros((3, 4, 1), mx.int32) + 5
    with out_of_bounds(5, 2, 5):
        mx.eval(mx.take_along_axis(a, bad, axis=2))
    with out_of_bounds(5, 2, 5):
        mx.eval(mx.put_along_axis(a, bad, mx.array(0), axis=2))
    with pytest.raises((IndexError, ValueError)):
        mx.eval(mx.slice(a, mx.array([2]), [0], [2, 4, 5]))
    with pytest.raises((IndexError, ValueError)):
        mx.eval(mx.slice_update(a, mx.zeros((2, 4, 5), mx.int32), mx.array([2]), [0]))


@pytest.mark.parametrize("shape", [(600, 5), (2, 5), (0, 5)])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.uint8])
def test_along_an_axis_other_extents_agree(shape, dtype):
    """Indices of more rows than there are would be read beyond the memory."""
    a, index = mx.ones((3, 4), dtype), mx.zeros(shape, mx.int32)
    for call in (
        lambda a, i: mx.take_along_axis(a, i, axis=1),
        lambda a, i: mx.take_along_axis(a.T, i.T, axis=0),
        lambda a, i: mx.put_along_axis(a, i, mx.array(1, dtype), axis=1),
    ):
        with pytest.raises(ValueError, match=r"along_axis: shapes .* differ off axis"):
            call(a, index)
        traced = mx.compile(call, shapeless=True)
        mx.eval(traced(a, mx.zeros((1, 5), mx.int32)))
        with pytest.raises(ValueError, match=r"along_axis: shapes .* differ off axis"):
            mx.eval(traced(a, index))


def test_out_of_bounds_zero_step():
    with pytest.raises(ValueError):
        mx.eval(to_mx(CUBE)[::0])


def test_out_of_bounds_of_an_empty_axis():
    with out_of_bounds(0, 0, 0):
        mx.eval(mx.zeros((0, 3))[mx.array([0])])


@pytest.mark.parametrize("index", ["a", 1.5, {1: 2}, object(), mx.array(1.5), mx.array([0.0])])
def test_other_indices_are_refused(index):
    with pytest.raises((TypeError, ValueError, IndexError)):
        mx.eval(to_mx(CUBE)[index])


@pytest.mark.parametrize(
    "index", [(0, 0, 0, 0), (..., ...), (None, 0, 0, 0, slice(None))], ids=repr
)
def test_too_many_indices_are_refused(index):
    for access in (lambda a: a[index], lambda a: a.__setitem__(index, 0)):
        with pytest.raises((IndexError, ValueError)):
            mx.eval(access(to_mx(CUBE)))


def test_values_that_do_not_broadcast_are_refused():
    a = to_mx(CUBE)
    for value in (mx.zeros(3), mx.zeros((2, 1, 1, 5))):
        with pytest.raises(ValueError):
            a[0] = value
    with pytest.raises(ValueError):
        a.at[0].add(mx.zeros(3))


@pytest.mark.parametrize("axis", [2, -3, 100])
def test_axis_errors(axis):
    a, i = mx.zeros((2, 3)), mx.zeros((2, 3), mx.int32)
    for call in (
        lambda: mx.take(a, i, axis=axis),
        lambda: mx.take_along_axis(a, i, axis=axis),
        lambda: mx.put_along_axis(a, i, a, axis=axis),
    ):
        with axis_error(axis):
            call()


# Random index expressions


@st.composite
def random_access(draw):
    """A shape and an index expression: integers, slices, None, an ellipsis, index arrays."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    length = draw(st.integers(0, 3))  # of all index arrays

    def part(size):
        bound = st.integers(-size - 2, size + 2) | st.none()
        step = st.sampled_from([1, 2, 3, -1, -2, -3]) | st.none()
        element = st.integers(-size, size - 1)
        elements = st.lists(element, min_size=length, max_size=length)
        arrays = elements.map(lambda values: np.array(values, np.int32))
        return draw(element | st.builds(slice, bound, bound, step) | arrays)

    front = draw(st.integers(0, len(shape)))
    back = draw(st.integers(front, len(shape)))
    index = [part(size) for size in shape[:front]]
    if back < len(shape) or draw(st.booleans()):
        index += [..., *(part(size) for size in shape[back:])]
    if draw(st.booleans()):
        index.insert(draw(st.integers(0, len(index))), None)
    return shape, tuple(index)


@given(random_access())
def test_random_access(access):
    shape, index = access
    x = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    want = x[index]
    assert_equal(to_mx(x)[to_index(index)], want, f"{index}")
    update = np.arange(want.size, dtype=np.int32).reshape(want.shape) + 100
    added = x.copy()
    np.add.at(added, index, update)
    assert_equal(to_mx(x).at[to_index(index)].add(to_mx(update)), added, f"{index}")
    a = to_mx(x)
    a[to_index(index)] = -1
    assert_equal(a, assigned(x, index, -1), f"{index}")


@pytest.mark.parametrize("step", [2**63 - 1, -(2**63), 2**62, -(2**62), 5, -5])
def test_a_step_longer_than_the_axis(step):
    a, n = mx.arange(5), np.arange(5)
    for start, stop in ((None, None), (1, 4), (4, 1), (2, 2), (-1, None)):
        assert_equal(a[start:stop:step], n[start:stop:step])
    a[::step], n[::step] = 7, 7
    assert_equal(a, n)


@pytest.mark.parametrize(
    "index",
    [
        (True,),
        (slice(0, None, 2), True, slice(-1, 2)),
        (True, True, 1),
        (Ellipsis, True),
        (None, True, None),
        (1, True),
        (1, slice(None), True),
        (slice(None), True, [0, 2]),
        (True, slice(None), [[0], [2]]),
        (slice(None), 1, True, np.array(2)),
    ],
)
def test_true_among_the_indices_adds_an_axis(index):
    n = np.arange(24).reshape(2, 3, 4)
    a = to_mx(n)
    assert_equal(a[index], n[index])
    a[index], n[index] = 7, 7
    assert_equal(a, n)
