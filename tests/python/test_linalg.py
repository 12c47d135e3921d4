"""Linear algebra against NumPy: factors by what they must satisfy, the rest by value."""

import numpy as np
import pytest
from conftest import assert_close, to_mx, to_np

import cermet.core as mx

BATCHES = ((), (3,), (2, 0), (2, 3))
DTYPES = ("float32", "float64", "complex64")
SHAPES = ((1, 1), (4, 4), (5, 3), (3, 5), (0, 0), (0, 3), (3, 0))
TOLERANCE = {"float32": 2e-5, "float64": 1e-12, "complex64": 4e-5}

dtypes = pytest.mark.parametrize("dtype", DTYPES)
batches = pytest.mark.parametrize("batch", BATCHES, ids=str)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def matrices(rng, dtype, *shape):
    a = rng.normal(size=shape)
    if dtype == "complex64":
        a = a + 1j * rng.normal(size=shape)
    return a.astype(dtype)


def well_conditioned(rng, dtype, *batch, n=4):
    return matrices(rng, dtype, *batch, n, n) + 4 * np.eye(n, dtype=dtype)


def positive_definite(rng, dtype, *batch, n=4):
    a = matrices(rng, dtype, *batch, n, n)
    return a @ transposed(a) + np.eye(n, dtype=dtype)


def close(got, want, dtype):
    assert_close(got, want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def transposed(a):
    return np.swapaxes(a, -1, -2).conj()


# Factorizations


@dtypes
@batches
@shapes
def test_qr(dtype, batch, shape, rng):
    a = matrices(rng, dtype, *batch, *shape)
    q, r = map(to_np, mx.linalg.qr(to_mx(a)))
    k = min(shape)
    assert q.shape == (*batch, shape[0], k) and r.shape == (*batch, k, shape[1])
    assert q.dtype == r.dtype == dtype and (r == np.triu(r)).all()
    close(q @ r, a, dtype)
    close(transposed(q) @ q, np.broadcast_to(np.eye(k), (*batch, k, k)), dtype)


@dtypes
@batches
@shapes
def test_svd(dtype, batch, shape, rng):
    a = matrices(rng, dtype, *batch, *shape)
    u, s, vt = map(to_np, mx.linalg.svd(to_mx(a)))
    (m, n), k = shape, min(shape)
    assert (u.shape, s.shape, vt.shape) == ((*batch, m, m), (*batch, k), (*batch, n, n))
    close(u[..., :k] * s[..., None, :] @ vt[..., :k, :], a, dtype)
    for q, size in ((u, m), (vt, n)):
        close(q @ transposed(q), np.broadcast_to(np.eye(size), q.shape), dtype)
    close(s, np.linalg.svd(a, compute_uv=False), dtype)
    close(mx.linalg.svd(to_mx(a), compute_uv=False), s, dtype)


@dtypes
@batches
@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigh(dtype, batch, triangle, rng):
    a = positive_definite(rng, dtype, *batch)
    read = np.tril(a) if triangle == "L" else np.triu(a)  # the other triangle is not needed
    w, v = map(to_np, mx.linalg.eigh(to_mx(read), UPLO=triangle))
    assert (np.diff(w) >= 0).all()
    np.testing.assert_allclose(a @ v, v * w[..., None, :], rtol=1e-3, atol=1e-4)
    close(transposed(v) @ v, np.broadcast_to(np.eye(4), a.shape), dtype)
    close(mx.linalg.eigvalsh(to_mx(read), UPLO=triangle), w, dtype)


@dtypes
@batches
def test_eig(dtype, batch, rng):
    """Real matrices of this size have conjugate pairs and real eigenvalues."""
    a = matrices(rng, dtype, *batch, 5, 5)
    w, v = map(to_np, mx.linalg.eig(to_mx(a)))
    assert w.dtype == v.dtype == np.complex64 and w.shape == (*batch, 5)
    np.testing.assert_allclose(a @ v, v * w[..., None, :], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.abs(v * v.conj()).sum(-2), np.ones(w.shape), rtol=1e-5)
    np.testing.assert_allclose(
        np.sort_complex(to_np(mx.linalg.eigvals(to_mx(a)))), np.sort_complex(w), 1e-4, 1e-4
    )


@dtypes
@batches
@pytest.mark.parametrize("upper", [False, True])
def test_cholesky(dtype, batch, upper, rng):
    a = positive_definite(rng, dtype, *batch)
    factor = to_np(mx.linalg.cholesky(to_mx(a), upper=upper))
    lower = transposed(factor) if upper else factor
    assert (lower == np.tril(lower)).all()
    close(lower @ transposed(lower), a, dtype)
    inverse = to_np(mx.linalg.cholesky_inv(to_mx(factor), upper=upper))
    close(inverse @ a, np.broadcast_to(np.eye(4), a.shape), dtype)


@dtypes
@batches
@shapes
def test_lu(dtype, batch, shape, rng):
    a = matrices(rng, dtype, *batch, *shape)
    p, lower, upper = map(to_np, mx.linalg.lu(to_mx(a)))
    k = min(shape)
    assert p.shape == (*batch, shape[0]) and p.dtype == np.uint32
    assert lower.shape == (*batch, shape[0], k) and upper.shape == (*batch, k, shape[1])
    close(np.take_along_axis(lower, p[..., None].astype(int), -2) @ upper, a, dtype)
    packed, pivots = map(to_np, mx.linalg.lu_factor(to_mx(a)))
    assert pivots.shape == (*batch, k) and (np.triu(packed)[..., :k, :] == upper).all()
    for index in np.ndindex(*batch):
        rows = a[index].copy()
        for i, j in enumerate(pivots[index]):
            rows[[i, j]] = rows[[j, i]]
        close(lower[index] @ upper[index], rows, dtype)


# Solutions


@dtypes
@batches
def test_inverses(dtype, batch, rng):
    a = well_conditioned(rng, dtype, *batch)
    close(mx.linalg.inv(to_mx(a)), np.linalg.inv(a), dtype)
    close(mx.linalg.pinv(to_mx(a)), np.linalg.inv(a), dtype)
    close(mx.linalg.tri_inv(to_mx(a)), np.linalg.inv(np.tril(a)), dtype)
    close(mx.linalg.tri_inv(to_mx(a), upper=True), np.linalg.inv(np.triu(a)), dtype)


@dtypes
@batches
def test_solve(dtype, batch, rng):
    a, b = well_conditioned(rng, dtype, *batch), matrices(rng, dtype, *batch, 4, 2)
    close(mx.linalg.solve(to_mx(a), to_mx(b)), np.linalg.solve(a, b), dtype)
    vector = matrices(rng, dtype, 4)
    want = (np.linalg.inv(a) @ vector[:, None])[..., 0]
    close(mx.linalg.solve(to_mx(a), to_mx(vector)), want, dtype)
    for upper, part in ((False, np.tril(a)), (True, np.triu(a))):
        got = mx.linalg.solve_triangular(to_mx(a), to_mx(b), upper=upper)
        close(got, np.linalg.solve(part, b), dtype)


def test_batches_broadcast(rng):
    a, b = well_conditioned(rng, "float64", 3, 1), matrices(rng, "float64", 2, 4, 5)
    close(mx.linalg.solve(to_mx(a), to_mx(b)), np.linalg.solve(a, b), "float64")


@dtypes
@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 5), (6, 2)], ids=str)
def test_pinv_of_deficient_rank(dtype, shape, rng):
    a = matrices(rng, dtype, *shape[:-1], 1) * matrices(rng, dtype, *shape[:-2], 1, shape[-1])
    rcond = max(shape[-2:]) * np.finfo(dtype).eps
    np.testing.assert_allclose(
        to_np(mx.linalg.pinv(to_mx(a))), np.linalg.pinv(a, rcond), rtol=1e-4, atol=1e-4
    )


@dtypes
@batches
def test_determinant(dtype, batch, rng):
    a = matrices(rng, dtype, *batch, 4, 4)
    close(mx.linalg.det(to_mx(a)), np.linalg.det(a), dtype)
    sign, logarithm = mx.linalg.slogdet(to_mx(a))
    close(sign, np.linalg.slogdet(a)[0], dtype)
    close(logarithm, np.linalg.slogdet(a)[1], dtype)


def test_determinant_of_a_singular_matrix():
    a = mx.array([[1.0, 2.0], [2.0, 4.0]])
    sign, logarithm = mx.linalg.slogdet(a)
    assert mx.linalg.det(a).item() == sign.item() == 0 and logarithm.item() == -np.inf


# Norms and products


@pytest.mark.parametrize("order", [None, 1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"])
@pytest.mark.parametrize("axis", [(0, 1), (1, 0), (-1, 0)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_matrix_norms(order, axis, keepdims, rng):
    a = matrices(rng, "float32", 3, 4, 5)
    got = mx.linalg.norm(to_mx(a), order, axis=list(axis), keepdims=keepdims)
    assert_close(got, np.linalg.norm(a, order, axis, keepdims))


@pytest.mark.parametrize("order", [None, 0, 1, 2, 3, 0.5, -1, np.inf, -np.inf])
def test_vector_norms(order, rng):
    a = matrices(rng, "float32", 3, 4)
    assert_close(mx.linalg.norm(to_mx(a), order, axis=1), np.linalg.norm(a, order, 1))
    assert_close(mx.linalg.norm(to_mx(a[0]), order), np.linalg.norm(a[0], order))


@pytest.mark.parametrize("extents", [(3, 3), (2, 3), (3, 2)])
@pytest.mark.parametrize("axis", [-1, 0])
def test_cross(extents, axis, rng):
    a, b = (np.moveaxis(matrices(rng, "float32", 4, n), -1, axis) for n in extents)
    wide = [np.pad(np.moveaxis(v, axis, -1), ((0, 0), (0, 3 - v.shape[axis]))) for v in (a, b)]
    want = np.moveaxis(np.cross(*wide), -1, axis)
    assert_close(mx.linalg.cross(to_mx(a), to_mx(b), axis=axis), want)


def test_cross_of_different_ranks():
    a, b = mx.array([[1.0, 2.0]]), mx.array([[[1.0, 2.0, 3.0]], [[0.0, 1.0, 0.0]]])
    want = np.cross([[[1.0, 2.0, 0.0]]], to_np(b))
    assert_close(mx.linalg.cross(a, b), want)
    assert_close(mx.linalg.cross(b, a), -want)
    for scalar in (0, -1):
        with pytest.raises(mx.AxisError, match="cross"):
            mx.linalg.cross(mx.ones((2, 3)), mx.array(1), axis=scalar)


def test_cross_in_a_plane():
    assert mx.linalg.cross(mx.array([1.0, 2.0]), mx.array([3.0, 5.0])).tolist() == [0, 0, -1]


# What all have in common


def test_any_layout(rng):
    a = well_conditioned(rng, "float64", 3, n=8)
    x = to_mx(a)
    close(mx.linalg.inv(mx.swapaxes(x, 1, 2)), np.linalg.inv(transposed(a)), "float64")
    close(mx.linalg.inv(x[::-2, 1:5, 1:5]), np.linalg.inv(a[::-2, 1:5, 1:5]), "float64")
    close(mx.linalg.inv(2 * mx.eye(3)), np.eye(3) / 2, "float32")
    close(mx.linalg.svd(mx.ones((2, 2)), compute_uv=False), np.array([2, 0]), "float32")


def test_vmap_and_compile(rng):
    a, b = well_conditioned(rng, "float64", 3), matrices(rng, "float64", 4)
    close(
        mx.vmap(mx.linalg.solve, (0, None))(to_mx(a), to_mx(b)),
        np.linalg.inv(a) @ b,
        "float64",
    )
    symmetric = a + transposed(a)
    values, vectors = map(to_np, mx.vmap(mx.linalg.eigh)(to_mx(symmetric)))
    close(values, np.linalg.eigvalsh(symmetric), "float64")
    close(symmetric @ vectors, vectors * values[:, None], "float64")
    both = mx.compile(lambda a: (mx.linalg.inv(a), mx.linalg.tri_inv(a), mx.linalg.qr(a)[1]))
    inverse, triangular, r = both(to_mx(a))
    close(inverse, np.linalg.inv(a), "float64")
    close(triangular, np.linalg.inv(np.tril(a)), "float64")
    close(r, np.linalg.qr(a)[1], "float64")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mx.linalg.inv(mx.zeros((3, 2, 2))), "inv: a matrix is singular"),
        (lambda: mx.linalg.solve(mx.ones((2, 2)), mx.ones(2)), "solve: a matrix is singular"),
        (lambda: mx.linalg.tri_inv(mx.zeros((2, 2))), "tri_inv: a matrix is singular"),
        (
            lambda: mx.linalg.solve_triangular(mx.zeros((2, 2)), mx.ones(2)),
            "solve_triangular: a matrix is singular",
        ),
        (lambda: mx.linalg.cholesky(-mx.eye(2)), "cholesky: a matrix is not positive definite"),
        (lambda: mx.linalg.svd(mx.full((2, 2), float("nan")))[1], "svd: the iteration"),
        (lambda: mx.linalg.eig(mx.full((3, 3), float("inf")))[1].real, "eig: the iteration"),
        (lambda: mx.linalg.eigvals(mx.full((3, 3), float("nan"))).real, "eigvals: the iteration"),
    ],
)
def test_failures_are_carried_by_the_array(call, message):
    """Nothing fails before the values are needed, and the sums of a failed array fail too."""
    result = call() + 1
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            mx.eval(result)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: mx.linalg.qr(mx.eye(2, dtype=mx.float16)), "qr: float16"),
        (lambda: mx.linalg.svd(mx.eye(2, dtype=mx.int32)), "svd: int32"),
        (lambda: mx.linalg.eigh(mx.eye(2, dtype=mx.float16)), "eigh: float16"),
        (lambda: mx.linalg.inv(mx.ones((2, 3))), "inv: .*not square"),
        (lambda: mx.linalg.cholesky(mx.ones(3)), "cholesky: .*2 dimensions"),
        (lambda: mx.linalg.solve(mx.eye(3), mx.ones((2, 2))), "solve: .*do not fit"),
        (lambda: mx.linalg.eigh(mx.eye(2), UPLO="X"), "eigh: UPLO"),
        (lambda: mx.linalg.norm(mx.eye(2), 3), "norm: a matrix norm's order"),
        (lambda: mx.linalg.norm(mx.eye(2), "max"), "norm: .*'max'"),
        (lambda: mx.linalg.norm(mx.ones((2, 2, 2)), 1), "norm: 3 axes"),
        (lambda: mx.linalg.norm(mx.ones(2), "nuc"), "norm: 'nuc'"),
        (lambda: mx.linalg.cross(mx.ones(4), mx.ones(4)), "cross: .*2 or 3"),
        (lambda: mx.linalg.matrix_power(mx.ones((2, 3)), 2), "matrix_power: .*not square"),
        (lambda: mx.linalg.lstsq(mx.eye(3), mx.ones((2, 2))), "lstsq: .*do not fit"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lapack_prints_nothing(capfd):
    """Where it iterates over numbers that are none, it would."""
    for bad in (float("inf"), float("nan")):
        for function in (mx.linalg.eig, mx.linalg.eigvals, mx.linalg.eigh, mx.linalg.svd):
            with pytest.raises(ValueError, match="did not converge"):
                mx.eval(function(mx.full((3, 3), bad)))
    assert capfd.readouterr() == ("", "")


# What is made of others


@dtypes
@batches
@pytest.mark.parametrize("n", [-3, -1, 0, 1, 2, 7])
def test_matrix_power(dtype, batch, n, rng):
    a = well_conditioned(rng, dtype, *batch) / 4
    got = to_np(mx.linalg.matrix_power(to_mx(a), n))
    want = np.linalg.matrix_power(a, n)
    assert got.dtype == dtype
    scale = max(1, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got / scale, want / scale, atol=50 * TOLERANCE[dtype])


@dtypes
@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6)], ids=str)
@pytest.mark.parametrize("rcond", [None, 1e-4])
@pytest.mark.parametrize("columns", [(), (1,), (2,)], ids=str)
def test_lstsq(dtype, shape, rcond, columns, rng):
    a, b = matrices(rng, dtype, *shape), matrices(rng, dtype, shape[0], *columns)
    for full in (True,) if rcond is None else (True, False):
        if not full:  # of rank 2
            a = (a[:, :2] @ matrices(rng, dtype, 2, shape[1])).astype(dtype)
        x, residuals, rank, values = map(to_np, mx.linalg.lstsq(to_mx(a), to_mx(b), rcond))
        want, _, want_rank, want_values = np.linalg.lstsq(a, b, rcond)
        tolerance = 1e-9 if dtype == "float64" else 2e-3
        np.testing.assert_allclose(x, want, rtol=tolerance, atol=tolerance)
        assert rank == want_rank == (min(shape) if full else 2)
        np.testing.assert_allclose(values, want_values, atol=tolerance)
        left = np.sum(np.abs(b - a @ want) ** 2, 0)
        np.testing.assert_allclose(residuals, left, rtol=tolerance, atol=tolerance)


@dtypes
@batches
@pytest.mark.parametrize("scale", [1e-3, 1, 20])
def test_expm(dtype, batch, scale, rng):
    a = matrices(rng, dtype, *batch, 4, 4)
    a = (scale * (a - transposed(a))).astype(dtype)  # the exponential is unitary
    w, v = np.linalg.eigh(1j * a.astype(np.complex128))
    want = v * np.exp(-1j * w)[..., None, :] @ transposed(v)
    got = to_np(mx.linalg.expm(to_mx(a)))
    assert got.dtype == dtype
    tolerance = (1 + 10 * scale) * TOLERANCE[dtype]
    np.testing.assert_allclose(got, want if dtype == "complex64" else want.real, atol=tolerance)


def test_expm_of_other_matrices():
    nilpotent = mx.array([[0.0, 3.0, 5.0], [0, 0, 2], [0, 0, 0]])
    assert_close(mx.linalg.expm(nilpotent), [[1, 3, 8], [0, 1, 2], [0, 0, 1]], 1e-6, 1e-6)
    assert_close(mx.linalg.expm(mx.diag(mx.array([-700.0, 1, 0]))), np.diag([0, np.e, 1]), 1e-5)
    assert mx.isnan(mx.linalg.expm(mx.eye(2) * 1e8)).all().item()
    assert mx.linalg.expm(mx.zeros((0, 0))).shape == (0, 0)


@pytest.mark.parametrize("dtype", [mx.float32, mx.complex64])
@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 3, 3), (0, 3), (3, 0)], ids=str)
@pytest.mark.parametrize(
    "name", ["inv", "pinv", "qr", "svd", "eig", "eigvals", "eigh", "eigvalsh", "cholesky", "lu"]
)
def test_derivatives_of_empty_matrices(name, shape, dtype):
    if shape[-1] != shape[-2] and name not in ("pinv", "qr", "svd", "lu"):
        pytest.skip("of square matrices")

    def function(a):
        results = getattr(mx.linalg, name)(a)
        results = results if isinstance(results, (list, tuple)) else [results]
        return [r for r in results if r.dtype != mx.uint32]

    a = mx.zeros(shape, dtype)
    slope = mx.grad(lambda a: mx.sum(mx.stack([mx.abs(r).sum() for r in function(a)])))(a)
    assert slope.shape == shape and slope.dtype == dtype
    values, tangents = mx.jvp(function, [a], [a])
    mx.eval(slope, values, tangents)
    assert [t.shape for t in tangents] == [v.shape for v in values]


def test_matrices_that_lapack_cannot_count_are_refused():
    wide = mx.broadcast_to(mx.array(1.0), (1, 2**31))
    for call in (
        lambda: mx.linalg.svd(wide, compute_uv=False),
        lambda: mx.linalg.qr(wide.T),
        lambda: mx.linalg.solve(mx.eye(1), wide),
    ):
        with pytest.raises(ValueError, match="more rows or columns than 31 bits count"):
            call()


def test_empty_matrices():
    a = mx.zeros((2, 0, 0))
    assert mx.linalg.det(a).tolist() == [1, 1]
    assert [x.tolist() for x in mx.linalg.slogdet(a)] == [[1, 1], [0, 0]]
    assert mx.linalg.solve(a, mx.zeros((2, 0, 3))).shape == (2, 0, 3)
    assert mx.linalg.solve(mx.eye(3), mx.zeros((3, 0))).shape == (3, 0)
    assert mx.linalg.svd(mx.zeros((0, 3)))[2].tolist() == np.eye(3).tolist()
    assert mx.linalg.qr(mx.zeros((3, 0)))[0].shape == (3, 0)
    assert mx.linalg.lu(mx.zeros((3, 0)))[0].tolist() == [0, 1, 2]
    assert mx.linalg.pinv(mx.zeros((2, 0, 3))).shape == (2, 3, 0)
    assert mx.linalg.pinv(mx.zeros((2, 3))).tolist() == np.zeros((3, 2)).tolist()
