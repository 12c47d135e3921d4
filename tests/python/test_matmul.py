"""Matrix products and contractions, against NumPy in float64."""

import itertools

import numpy as np
import pytest
from conftest import assert_close, assert_equal, exact_sample, mx_dtype, to_mx

import cermet.core as mx

INEXACT = ("float16", "bfloat16", "float32", "float64", "complex64")

SHAPES = [
    ((1,), (1,)),
    ((5,), (5,)),
    ((5,), (5, 3)),
    ((4, 5), (5,)),
    ((4, 5), (5, 3)),
    ((1, 1), (1, 1)),
    ((1, 17), (17, 1)),
    ((17, 1), (1, 17)),
    ((3, 513), (513, 2)),
    ((65, 33), (33, 129)),
    ((2, 4, 5), (5, 3)),
    ((4, 5), (2, 5, 3)),
    ((2, 4, 5), (2, 5, 3)),
    ((6, 1, 4, 5), (2, 5, 3)),
    ((2, 1, 4, 5), (1, 3, 5, 1)),
    ((5,), (2, 5, 3)),
    ((2, 3, 4, 5), (5,)),
    ((0, 5), (5, 3)),
    ((4, 0), (0, 3)),
    ((0, 4, 5), (5, 0)),
]


def matrices(rng, dtype, *shapes):
    """Small integers, of which every dtype holds the products and sums exactly."""
    return [exact_sample(rng, shape, dtype) for shape in shapes]


def reference(f, *arrays):
    return f(*(x.astype(np.complex128 if x.dtype.kind == "c" else np.float64) for x in arrays))


@pytest.mark.parametrize("dtype", INEXACT)
@pytest.mark.parametrize("left, right", SHAPES)
def test_shapes(left, right, dtype, rng):
    scale = 0.25 if dtype == "float16" and max(left) > 200 else 1  # to stay below 65504
    x, y = (v * np.asarray(scale, v.dtype) for v in matrices(rng, dtype, left, right))
    got, want = mx.matmul(to_mx(x), to_mx(y)), reference(np.matmul, x, y)
    assert got.dtype == mx_dtype(dtype)
    rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 0)
    assert_close(got, want, rtol=rtol, atol=0)


LAID = {
    "plain": lambda xp, x: x,
    "transposed": lambda xp, x: xp.swapaxes(xp.swapaxes(x, -1, -2) + 0, -1, -2),
    "strided": lambda xp, x: xp.repeat(xp.repeat(x, 2, -1), 3, -2)[..., ::3, ::2],
    "reversed": lambda xp, x: x[..., ::-1, :],
    "broadcast": lambda xp, x: xp.broadcast_to(x[..., :1, :], x.shape),
}


@pytest.mark.parametrize("dtype", INEXACT)
@pytest.mark.parametrize("left, right", list(itertools.product(LAID, LAID)))
def test_layouts(left, right, dtype, rng):
    for shapes in (((7, 9), (9, 5)), ((3, 7, 9), (3, 9, 5)), ((3, 7, 9), (1, 9, 5))):
        x, y = matrices(rng, dtype, *shapes)
        want = reference(np.matmul, LAID[left](np, x), LAID[right](np, y))
        assert_equal(
            mx.matmul(LAID[left](mx, to_mx(x)), LAID[right](mx, to_mx(y))).astype(mx.complex64),
            want,
        )


@pytest.mark.parametrize("dtype", INEXACT)
@pytest.mark.parametrize(
    "m, k, n", [(2, 3, 8), (16, 2, 16), (32, 32, 32), (64, 9, 64), (400, 3, 8)]
)
@pytest.mark.parametrize("lazily", [False, True])
def test_operands_that_repeat_a_row_or_column(m, k, n, lazily, dtype, rng):
    def repeated(shape, axis):
        cut = tuple(slice(1) if i == axis else slice(None) for i in range(2))
        x = exact_sample(rng, shape, dtype)[cut]
        wide = mx.broadcast_to(to_mx(x), shape)
        return np.broadcast_to(x, shape), wide if lazily else (mx.eval(wide), wide)[1]

    whole = [(x, to_mx(x)) for x in matrices(rng, dtype, (m, k), (k, n))]
    for left in (whole[0], repeated((m, k), 0), repeated((m, k), 1)):
        for right in (whole[1], repeated((k, n), 0), repeated((k, n), 1)):
            rtol = {"float16": 1e-3, "bfloat16": 8e-3}.get(dtype, 0)
            want = reference(np.matmul, left[0], right[0])
            assert_close(left[1] @ right[1], want, rtol=rtol, atol=0)


def test_swapped_batch_axes(rng):
    x, y = matrices(rng, "float32", (4, 2, 7, 9), (4, 2, 9, 5))
    a, b = (to_mx(v).transpose(1, 0, 2, 3) for v in (x, y))
    assert_equal(a @ b, np.swapaxes(x @ y, 0, 1))
    heads = to_mx(x).swapaxes(1, 2)  # as attention splits its heads
    v = np.swapaxes(x, 1, 2)
    assert_equal(heads @ heads.swapaxes(-1, -2), v @ np.swapaxes(v, -1, -2))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("size", [64, 200, 333])
def test_accuracy(dtype, size, rng):
    """Random values: halves accumulate in float32 and round once."""
    x, y = (rng.normal(size=(size, size)) for _ in range(2))
    a, b = (to_mx(v).astype(mx_dtype(dtype)) for v in (x, y))
    x, y = (np.array(v.astype(mx.float64)) for v in (a, b))
    rtol = {"float32": 1e-5, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    assert_close(a @ b, x @ y, rtol=rtol, atol=1e-4)


def test_mixed_dtypes(rng):
    x, y = matrices(rng, "float32", (3, 4), (4, 2))
    for left, right, want in [
        ("int32", "float32", "float32"),
        ("float16", "float32", "float32"),
        ("float16", "bfloat16", "float32"),
        ("float32", "complex64", "complex64"),
    ]:
        got = to_mx(x).astype(mx_dtype(left)) @ to_mx(y).astype(mx_dtype(right))
        assert got.dtype == mx_dtype(want)
        assert_close(got, x @ y)


def test_integers_are_refused():
    with pytest.raises(ValueError):
        mx.matmul(mx.ones((2, 2), mx.int32), mx.ones((2, 2), mx.int32))


@pytest.mark.parametrize(
    "left, right", [((2, 3), (4, 5)), ((), (3,)), ((3,), ()), ((2, 4, 3), (3, 3, 5)), ((3,), (4,))]
)
def test_shape_errors(left, right):
    with pytest.raises(ValueError):
        mx.matmul(mx.zeros(left), mx.zeros(right))


@pytest.mark.parametrize("alpha, beta", [(1.0, 1.0), (2.0, 0.5), (0.5, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("c", [(4, 3), (3,), (4, 1), (1,), (2, 4, 3)])
def test_addmm(alpha, beta, c, rng):
    x, y = matrices(rng, "float32", (2, 4, 5) if len(c) == 3 else (4, 5), (5, 3))
    (z,) = matrices(rng, "float32", c)
    got = mx.addmm(to_mx(z), to_mx(x), to_mx(y), alpha=alpha, beta=beta)
    assert_equal(got, alpha * (x @ y) + beta * z)
    got = mx.addmm(to_mx(z), to_mx(x), to_mx(y.T.copy()).T, alpha, beta)
    assert_equal(got, alpha * (x @ y) + beta * z)


def test_inner_outer_vecdot_kron(rng):
    x, y = matrices(rng, "float32", (3, 4, 5), (2, 5))
    assert_equal(mx.inner(to_mx(x), to_mx(y)), np.inner(x, y))
    assert_equal(mx.outer(to_mx(x), to_mx(y)), np.outer(x, y))
    assert_equal(mx.vecdot(to_mx(x), to_mx(y[0])), np.vecdot(x, y[0]))
    assert_equal(mx.vecdot(to_mx(x), to_mx(x), axis=-2), (x * x).sum(1))
    assert_equal(mx.kron(to_mx(x[0]), to_mx(y)), np.kron(x[0], y))
    assert mx.outer(mx.array([1, 2]), mx.array([3, 4])).tolist() == [[3, 4], [6, 8]]


@pytest.mark.parametrize("axes", [0, 1, 2, ([1], [0]), ([2, 1], [1, 0]), ([-1], [1])], ids=repr)
def test_tensordot(axes, rng):
    x, y = matrices(rng, "float32", (3, 4, 5), (4, 5, 2))
    if axes == 1:
        y = y.transpose(1, 0, 2).copy()
    assert_equal(mx.tensordot(to_mx(x), to_mx(y), axes), np.tensordot(x, y, axes))


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("ij,kj->ki", (3, 4), (5, 4)),
    ("i,j->ij", (3,), (4,)),
    ("i,i->", (4,), (4,)),
    ("ii->i", (4, 4)),
    ("ii", (4, 4)),
    ("iij->j", (3, 3, 4)),
    ("ijk->kij", (2, 3, 4)),
    ("ijk->j", (2, 3, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("...j,jk->...k", (2, 3, 4), (4, 5)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,ij->ij", (3, 4), (3, 4)),
    ("ij,i->ij", (3, 4), (3,)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("ab,cd->abcd", (2, 3), (4, 5)),
    ("i->", (0,)),
]


@pytest.mark.parametrize(
    "subscripts, shapes", [(s, shapes) for s, *shapes in EINSUMS], ids=lambda v: repr(v)
)
def test_einsum(subscripts, shapes, rng):
    arrays = matrices(rng, "float32", *shapes)
    assert_equal(mx.einsum(subscripts, *map(to_mx, arrays)), np.einsum(subscripts, *arrays))


@pytest.mark.parametrize(
    "subscripts, shapes",
    [
        ("ij,jk->ik", [(3, 4)]),
        ("ij->i", [(3,)]),
        ("i->j", [(3,)]),
        ("ij,jk->ik", [(3, 4), (5, 6)]),
        ("i$->i", [(3,)]),
    ],
)
def test_einsum_errors(subscripts, shapes):
    with pytest.raises(ValueError):
        mx.einsum(subscripts, *(mx.ones(shape) for shape in shapes))


def test_einsum_path():
    path, text = mx.einsum_path(
        "ij,jk,kl->il", mx.ones((2, 30)), mx.ones((30, 40)), mx.ones((40, 5))
    )
    assert sorted(map(len, path)) == [2, 2] and isinstance(text, str)


@pytest.mark.parametrize(
    "left, right", [(x, y) for x, y in SHAPES if 0 not in x + y and max(x + y) < 100]
)
def test_derivatives(left, right, rng):
    """A product is linear in each argument: <f(t), c> = <t, transpose of f (c)>."""
    x, y = (to_mx(v) for v in matrices(rng, "float32", left, right))
    dx, dy = (to_mx(v) for v in matrices(rng, "float32", left, right))
    (out,), (forward,) = mx.jvp(mx.matmul, [x, y], [dx, dy])
    assert_equal(forward, np.array(dx @ y + x @ dy))
    c = to_mx(exact_sample(rng, out.shape, "float32"))
    _, (gx, gy) = mx.vjp(mx.matmul, [x, y], [c])
    assert gx.shape == left and gy.shape == right
    assert (c * forward).sum().item() == (gx * dx).sum().item() + (gy * dy).sum().item()


def test_gradient_of_addmm(rng):
    z, x, y = (to_mx(v) for v in matrices(rng, "float32", (3,), (4, 5), (5, 3)))
    fused = mx.grad(lambda z, x, y: mx.addmm(z, x, y, 2.0, 3.0).square().sum(), (0, 1, 2))(z, x, y)
    plain = mx.grad(lambda z, x, y: (2 * (x @ y) + 3 * z).square().sum(), (0, 1, 2))(z, x, y)
    for got, want in zip(fused, plain, strict=True):
        assert_equal(got, np.array(want))


def test_gather_mm(rng):
    x, y = matrices(rng, "float32", (4, 3, 5), (6, 5, 2))
    lhs, rhs = np.array([0, 3, 3, 1], np.uint32), np.array([5, 0, 2, 2], np.uint32)
    a, b = to_mx(x), to_mx(y)
    got = mx.gather_mm(a, b, lhs_indices=to_mx(lhs), rhs_indices=to_mx(rhs))
    assert_equal(got, x[lhs] @ y[rhs])
    assert_equal(mx.gather_mm(a, b, rhs_indices=to_mx(rhs)), x @ y[rhs])
    order = np.sort(rhs)
    got = mx.gather_mm(a, b, rhs_indices=to_mx(order), sorted_indices=True)
    assert_equal(got, x @ y[order])
    loss = lambda a, b: mx.gather_mm(a, b, rhs_indices=to_mx(rhs)).sum()  # noqa: E731
    plain = lambda a, b: (a @ b[to_mx(rhs)]).sum()  # noqa: E731
    for got, want in zip(mx.grad(loss, (0, 1))(a, b), mx.grad(plain, (0, 1))(a, b), strict=True):
        assert_equal(got, np.array(want))


@pytest.mark.parametrize("size", [1, 4, 64, 12, 20, 28, 40, 256])
def test_hadamard_transform(size, rng):
    (x,) = matrices(rng, "float32", (3, size))
    got = mx.hadamard_transform(to_mx(x), scale=1.0)
    basis = np.array(mx.hadamard_transform(mx.eye(size), scale=1.0))
    assert set(np.unique(basis)) <= {-1, 1}
    assert_equal(basis @ basis.T, size * np.eye(size))
    assert_close(got, x @ basis)
    assert_close(mx.hadamard_transform(to_mx(x)), x @ basis / np.sqrt(size))


def test_hadamard_transform_of_a_number():
    assert mx.hadamard_transform(mx.array(3), 0.5).item() == 1.5


def test_hadamard_transform_is_an_involution_for_powers_of_two(rng):
    (x,) = matrices(rng, "float64", (2, 3, 8192))
    assert_close(mx.hadamard_transform(mx.hadamard_transform(to_mx(x))), x, 1e-12, 1e-12)


@pytest.mark.parametrize("numbers", [False, True])
def test_block_masked_mm(numbers, rng):
    """Blocks at the edge are smaller; a mask has an entry for each block."""
    x, y = matrices(rng, "float32", (2, 70, 64), (64, 40))
    masks = {
        name: rng.integers(0, 3 if numbers else 2, size).astype(np.float32 if numbers else bool)
        for name, size in {"mask_out": (2, 3, 2), "mask_lhs": (3, 2), "mask_rhs": (2, 2)}.items()
    }

    def scaled(a, mask):
        return a * mask.repeat(32, -2).repeat(32, -1)[..., : a.shape[-2], : a.shape[-1]]

    product = scaled(x, masks["mask_lhs"]) @ scaled(y, masks["mask_rhs"])
    got = mx.block_masked_mm(to_mx(x), to_mx(y), 32, **{k: to_mx(m) for k, m in masks.items()})
    assert_equal(got, scaled(product, masks["mask_out"]))
    assert_equal(mx.block_masked_mm(to_mx(x), to_mx(y)), x @ y)


def test_segmented_mm(rng):
    x, y = matrices(rng, "float32", (4, 10), (10, 6))
    segments = np.array([[[0, 3], [3, 10]], [[2, 2], [1, 9]]], np.uint32)
    want = [[x[:, i:j] @ y[i:j] for i, j in pairs] for pairs in segments]
    assert_equal(mx.segmented_mm(to_mx(x), to_mx(y), to_mx(segments)), want)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mx.hadamard_transform(mx.ones((2, 7))), "hadamard_transform: .*12, 20, 28"),
        (lambda: mx.hadamard_transform(mx.ones((2, 14))), "hadamard_transform: .*12, 20, 28"),
        (lambda: mx.gather_mm(mx.ones(3), mx.ones((3, 2))), "gather_mm: .*2 dimensions"),
        (
            lambda: mx.gather_mm(mx.ones((2, 2, 3)), mx.ones((3, 2)), mx.ones(2)),
            "gather_mm: indices are float32",
        ),
        (
            lambda: mx.block_masked_mm(mx.ones((64, 64)), mx.eye(64), 32, mx.ones((3, 2))),
            "block_masked_mm: mask_out",
        ),
        (
            lambda: mx.segmented_mm(mx.eye(4), mx.eye(4), mx.zeros((2, 3), mx.int32)),
            "segmented_mm: segments",
        ),
    ],
)
def test_errors_of_chosen_products(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_array_answers_for_itself_in_a_product():
    class Other:
        def __matmul__(self, _):
            return "left"

        def __rmatmul__(self, _):
            return "right"

    a = mx.ones((2, 2))
    assert (Other() @ a, a @ Other()) == ("left", "right")
    for number in (2, 3.0):
        with pytest.raises(TypeError, match="unsupported operand"):
            a @ number
        with pytest.raises(TypeError, match="unsupported operand"):
            number @ a
