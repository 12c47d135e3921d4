"""Products of chosen matrices, masked blocks and segments: the bits of the plain product of each
part, memory for no copies, and derivatives of every order."""

import numpy as np
import pytest
from conftest import assert_close

import cermet.core as mx

CPU = mx.default_device() == mx.Device(mx.cpu)
ON_THE_CPU = pytest.mark.skipif(not CPU, reason="a GPU has another order, and takes copies")
FLOATS = ("float16", "bfloat16", "float32", "float64")
MODES = {
    "affine": {"bits": 4, "group_size": 32},
    "five bits": {"bits": 5, "group_size": 64},
    "mxfp4": {"mode": "mxfp4"},
    "nvfp4": {"mode": "nvfp4"},
}


def drawn(rng, shape, dtype="float32"):
    return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(getattr(mx, dtype))


def same(a, b):
    return mx.array_equal(mx.view(mx.contiguous(a), mx.uint8), mx.view(mx.contiguous(b), mx.uint8))


def peak_of(*arrays):
    mx.synchronize()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(*arrays)
    return mx.get_peak_memory() - before


# Rows of each product, their depth, columns; matrices, products.
SHAPES = [(1, 300, 70, 5, 64), (3, 64, 33, 9, 7), (40, 2100, 20, 2, 3), (13, 31, 600, 3, 40)]


@ON_THE_CPU
@pytest.mark.parametrize("dtype", FLOATS)
def test_each_product_has_the_bits_of_its_own(dtype, rng):
    for m, k, n, matrices, entries in SHAPES:
        a, b = drawn(rng, (entries, m, k), dtype), drawn(rng, (matrices, k, n), dtype)
        right = rng.integers(-matrices, matrices, entries)
        left = rng.integers(0, entries, entries)
        plain = [a[i] @ b[j] for i, j in enumerate(right.tolist())]
        assert same(mx.gather_mm(a, b, rhs_indices=mx.array(right)), mx.stack(plain))
        order = mx.array(np.sort(right % matrices))
        for other in (b, mx.contiguous(b.mT).mT):
            got = mx.gather_mm(a, other, rhs_indices=order, sorted_indices=True)
            assert same(got, mx.stack([a[i] @ b[j] for i, j in enumerate(order.tolist())]))
        both = mx.gather_mm(a.mT.mT, b, mx.array(left), mx.array(right))
        pairs = zip(left.tolist(), right.tolist(), strict=True)
        assert same(both, mx.stack([a[i] @ b[j] for i, j in pairs]))
        assert same(mx.gather_mm(a, b[0], mx.array(left)), mx.stack([a[i] @ b[0] for i in left]))


@ON_THE_CPU
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32"))
def test_each_quantized_product_has_the_bits_of_its_own(mode, dtype, rng):
    options = MODES[mode]
    for m, rows, entries in ((1, 96, 50), (5, 40, 6), (20, 64, 3)):
        w = mx.quantize(drawn(rng, (4, rows, 128), dtype), **options)
        right = rng.integers(0, 4, entries)
        for transpose in (True, False):
            if not transpose and rows % 32:
                continue
            x = drawn(rng, (entries, m, 128 if transpose else rows), dtype)
            got = mx.gather_qmm(x, *w, rhs_indices=mx.array(right), transpose=transpose, **options)
            plain = [
                mx.quantized_matmul(x[i], *[p[j] for p in w], transpose=transpose, **options)
                for i, j in enumerate(right.tolist())
            ]
            assert same(got, mx.stack(plain))


def experts(rng, dtype="float32", tokens=24, chosen=3, matrices=6, k=32, n=48):
    x = drawn(rng, (tokens, 1, 1, k), dtype)
    w = drawn(rng, (matrices, n, k), dtype)
    return x, w, mx.array(rng.integers(0, matrices, (tokens, chosen)))


@ON_THE_CPU
@pytest.mark.parametrize("quantized", [False, True])
def test_experts_take_no_memory_but_the_result(quantized, rng):
    """Neither what indices choose nor what a gradient sums is copied."""
    x, w, indices = experts(rng, tokens=64, chosen=4, matrices=8, k=256, n=512)
    packed = mx.quantize(w, bits=4)
    mx.eval(x, w, indices, packed)

    def layer(x, w):
        if quantized:
            return mx.gather_qmm(x, *packed, rhs_indices=indices, bits=4)
        return mx.gather_mm(x, w.mT, rhs_indices=indices)

    out = layer(x, w)
    threads = 2 << 20  # bytes each, of which there are few
    assert peak_of(out) <= out.nbytes + 4 * threads
    # The chosen matrices would take 128 MiB.
    gradients = mx.grad(lambda x, w: layer(x, w).square().sum(), (0, 1))(x, w)
    each = 4 * indices.size * 256
    assert peak_of(*gradients) <= 3 * out.nbytes + each + x.nbytes + w.nbytes + 4 * threads


@ON_THE_CPU
def test_sums_of_large_matrices_take_no_memory_but_their_own(rng):
    a, b = drawn(rng, (2, 128, 256)), drawn(rng, (3, 256, 128))
    left, right = mx.array([0, 1] * 40), mx.array([0, 1, 2, 1] * 20)
    cotangent = drawn(rng, (80, 128, 128))
    mx.eval(a, b, left, right, cotangent)
    _, gradients = mx.vjp(lambda a, b: mx.gather_mm(a, b, left, right), [a, b], [cotangent])
    assert peak_of(*gradients) <= a.nbytes + b.nbytes + (12 << 20)
    want = np.zeros((2, 128, 256)), np.zeros((3, 256, 128))
    for i, (j, k) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        c = np.array(cotangent[i], np.float64)
        want[0][j] += c @ np.array(b[k], np.float64).T
        want[1][k] += np.array(a[j], np.float64).T @ c
    for got, sums in zip(gradients, want, strict=True):
        assert_close(got, sums, rtol=1e-4, atol=1e-2)


def plain_gather(a, b, left, right):
    def chosen(x, index):
        return x if index is None else x.reshape(-1, *x.shape[-2:])[index]

    return chosen(a, left) @ chosen(b, right)


@pytest.mark.parametrize("dtype", ("float32", "bfloat16"))
@pytest.mark.parametrize("m", [1, 3, 17])
@pytest.mark.parametrize("sides", ["left", "right", "both", "neither", "batches"])
def test_gradients_are_those_of_copies(dtype, m, sides, rng):
    a = drawn(rng, (2, 3, m, 20) if sides == "batches" else (6, m, 20), dtype)
    b = drawn(rng, (3, 20, 9) if sides == "batches" else (6, 20, 9), dtype)
    left = mx.array([5, 0, 0, 3, 5, 5]) if sides in ("left", "both") else None
    right = mx.array([[1, -5, 1, 2, 0, 0]]) if sides in ("right", "both") else None
    cotangent = drawn(rng, plain_gather(a, b, left, right).shape, dtype)

    def gradients(f):
        return mx.vjp(lambda *x: f(*x, left, right), [a, b], [cotangent])[1]

    bound = 0.1 if dtype == "bfloat16" else 1e-4
    for got, want in zip(gradients(mx.gather_mm), gradients(plain_gather), strict=True):
        assert got.shape == want.shape
        assert_close(got.astype(mx.float32), want.astype(mx.float32), rtol=bound, atol=bound)


def second(f):
    """A function with the derivatives of f's gradients by all arguments."""

    def total(*arguments):
        gradients = mx.grad(lambda *x: (f(*x) ** 2).sum(), tuple(range(len(arguments))))(*arguments)
        return sum((g**2).sum() for g in gradients)

    return total


def masked(a, b, out, left, right, size):
    def whole(mask, x):
        rows = mx.repeat(mask, size, -2)
        return mx.repeat(rows, size, -1)[..., : x.shape[-2], : x.shape[-1]]

    product = mx.where(whole(left, a), a, 0) @ mx.where(whole(right, b), b, 0)
    return mx.where(whole(out, product), product, 0)


def masks_of(rng, m, k, n, size, batch=()):
    blocks = [-(-extent // size) for extent in (m, k, n)]
    pairs = ((0, 2), (0, 1), (1, 2))
    return [mx.array(rng.integers(0, 2, (*batch, blocks[i], blocks[j])) > 0) for i, j in pairs]


def masked_case(rng):
    a, b = drawn(rng, (2, 10, 12)) / 4, drawn(rng, (12, 8)) / 4
    out, left, right = masks_of(rng, 10, 12, 8, 4)
    arguments = {"mask_out": out, "mask_lhs": left, "mask_rhs": right}
    return (
        lambda a, b: mx.block_masked_mm(a, b, 4, **arguments),
        lambda a, b: masked(a, b, out, left, right, 4),
        [a, b],
    )


def segmented_case(rng):
    a, b = drawn(rng, (5, 12)) / 4, drawn(rng, (12, 7)) / 4
    ends = [(0, 4), (3, 9), (9, 9), (8, 12)]
    return (
        lambda a, b: mx.segmented_mm(a, b, mx.array(ends)),
        lambda a, b: mx.stack([a[:, i:j] @ b[i:j] for i, j in ends]),
        [a, b],
    )


def gathered_case(rng):
    a, b = drawn(rng, (3, 4, 5)) / 4, drawn(rng, (4, 5, 6)) / 4
    left, right = mx.array([0, 2, 2]), mx.array([[3, 0, 0], [1, 1, -1]])
    return (
        lambda a, b: mx.gather_mm(a, b, left, right),
        lambda a, b: plain_gather(a, b, left, right),
        [a, b],
    )


CASES = [masked_case, segmented_case, gathered_case]


@pytest.mark.parametrize("case", CASES)
def test_derivatives_of_all_orders_and_batches(case, rng):
    ours, plain, arguments = case(rng)
    assert_close(ours(*arguments), plain(*arguments), rtol=1e-4, atol=1e-5)
    tangents = [x.cos() for x in arguments]
    for change in (lambda f: f, second):
        (got,), (want,) = (mx.jvp(change(f), arguments, tangents)[1] for f in (ours, plain))
        assert_close(got, want, rtol=1e-3, atol=1e-4)
    every = [mx.stack([x, -x, x * 0.5]) for x in arguments]
    none = mx.vmap(ours)(*(e[:0] for e in every))
    assert none.shape == (0, *ours(*arguments).shape)
    for f, g in ((ours, plain), (mx.grad(second(ours), (0, 1)), mx.grad(second(plain), (0, 1)))):
        for axes in ((0, 0), (0, None), (None, 0)):
            batch = [
                e if axis == 0 else x for e, x, axis in zip(every, arguments, axes, strict=True)
            ]
            got, want = (mx.vmap(h, in_axes=axes)(*batch) for h in (f, g))
            for one, other in zip(*([x] if isinstance(x, mx.array) else x for x in (got, want)),
                                  strict=True):  # fmt: skip
                assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_shapeless_trace_follows_the_extents(rng):
    def gathered(a, b, right):
        return mx.gather_mm(a, b, rhs_indices=right)

    def blocks(a, b, mask):
        return mx.block_masked_mm(a, b, 32, mask_lhs=mask)

    def cases(n):
        yield gathered, drawn(rng, (n + 1, 2, 8)), drawn(rng, (n, 8, n)), mx.arange(n + 1) % n
        mask = mx.array(rng.integers(0, 2, (n + 1, 2)) > 0)
        yield blocks, drawn(rng, (32 * n + 3, 64)), drawn(rng, (64, n)), mask
        ends = mx.array([[0, 3], [2, 20]] * n)
        yield mx.segmented_mm, drawn(rng, (n, 20 + n)), drawn(rng, (20 + n, 4)), ends

    traces = {}
    for n in (3, 5, 2):
        for f, *inputs in cases(n):

            def change(a, b, i, f=f):
                return mx.grad(lambda *x: f(*x, i).square().sum(), (0, 1))(a, b)

            trace = traces.setdefault(f, mx.compile(change, shapeless=True))
            for got, want in zip(trace(*inputs), change(*inputs), strict=True):
                assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_over_indices(axes, rng):
    a, b = drawn(rng, (3, 4, 5)), drawn(rng, (4, 5, 6))
    lefts, rights = mx.array([[0, 2], [1, -1], [2, 2]]), mx.array([[3, 0], [-4, 1], [2, 2]])
    left = lefts if axes[0] == 0 else lefts[1]
    right = rights if axes[1] == 0 else rights[1]

    def products(left, right):
        return mx.gather_mm(a, b, left, right)

    def changes(left, right):
        return mx.grad(lambda a, b: mx.gather_mm(a, b, left, right).square().sum(), (0, 1))(a, b)

    for f in (lambda *x: (products(*x),), changes):
        want = [f(left[i] if axes[0] == 0 else left, right[i] if axes[1] == 0 else right)
                for i in range(3)]  # fmt: skip
        for i, got in enumerate(mx.vmap(f, in_axes=axes)(left, right)):
            assert_close(got, mx.stack([w[i] for w in want]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["affine", "nvfp4"])
@pytest.mark.parametrize("sides", ["left", "right", "both"])
def test_derivatives_of_quantized_products(mode, sides, rng):
    options = MODES[mode]
    x = drawn(rng, (4, 2, 64))
    scale = mx.array(3.0)
    more = {"global_scale": scale} if mode == "nvfp4" else {}
    w, *scales = mx.quantize(drawn(rng, (4, 32, 64)), **options, **more)
    scales += list(more.values())
    left = mx.array([3, 0, 0, -1]) if sides != "right" else None
    right = mx.array([1, 1, 0, -2]) if sides != "left" else None

    def named(parts):
        return {"scales": parts[0], ("biases" if mode == "affine" else "global_scale"): parts[1]}

    def ours(x, *parts):
        return mx.gather_qmm(x, w, lhs_indices=left, rhs_indices=right, **named(parts), **options)

    def plain(x, *parts):
        whole = mx.dequantize(w, **named(parts), **options).astype(mx.float32)
        return plain_gather(x, whole.mT, left, right)

    which = (0, 1, 2) if mode == "affine" else (0, 2)
    got, want = (
        mx.grad(lambda *x, f=f: f(*x).square().sum(), which)(x, *scales) for f in (ours, plain)
    )
    for one, other in zip(got, want, strict=True):
        assert_close(one, other, rtol=1e-3, atol=1e-2)
    tangents = [mx.cos(x), *(p * 0 + 1.0 for p in scales[len(which) == 2 :])]

    def pushed(f):
        def of(*y):
            return f(y[0], *(y[1:] if len(which) == 3 else (scales[0], y[1])))

        return mx.jvp(of, [x, *scales[len(which) == 2 :]], tangents)[1][0]

    assert_close(pushed(ours), pushed(plain), rtol=1e-3, atol=1e-2)
    if mode == "nvfp4":  # a scale for each entry of a batch
        each = mx.array([1.0, 2.0])
        got, want = (mx.vmap(lambda g, f=f: f(x, scales[0], g))(each) for f in (ours, plain))
        assert_close(got, want, rtol=1e-4, atol=1e-4)


@ON_THE_CPU
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", [4, 32, 64])
def test_masked_blocks_are_as_zeros(size, dtype, rng):
    for m, k, n in ((70, 600, 130), (7, 2200, 5), (200, 64, 64)):
        a, b = drawn(rng, (m, k), dtype), drawn(rng, (k, n), dtype)
        masks = masks_of(rng, m, k, n, size)
        for kept in range(8):
            out, left, right = (
                mask if kept >> i & 1 else mx.ones_like(mask) for i, mask in enumerate(masks)
            )
            given = {
                name: mask
                for i, (name, mask) in enumerate(
                    zip(("mask_out", "mask_lhs", "mask_rhs"), masks, strict=True)
                )
                if kept >> i & 1
            }
            got = mx.block_masked_mm(a, b, size, **given)
            assert same(got + 0.0, masked(a, b, out, left, right, size) + 0.0), (m, k, n, kept)


def test_masks_of_blocks_broadcast(rng):
    a, b = drawn(rng, (10, 12)), drawn(rng, (2, 12, 8))
    for out, left, right in (((1, 1), (3, 1), (2,)), ((2, 3, 1), (), (2, 1, 1))):
        given = [mx.array(rng.integers(0, 2, shape) > 0) for shape in (out, left, right)]
        whole = ((2, 3, 2), (2, 3, 3), (2, 3, 2))
        masks = [mx.broadcast_to(m, shape) for m, shape in zip(given, whole, strict=True)]
        for dtype in (mx.bool_, mx.float32):
            got = mx.block_masked_mm(a, b, 4, *[m.astype(dtype) for m in given])
            want = mx.block_masked_mm(a, b, 4, *[m.astype(dtype) for m in masks])
            assert mx.array_equal(got, want)
        loss = lambda a, masks: mx.block_masked_mm(a, b, 4, *masks).sum()  # noqa: E731
        assert_close(mx.grad(loss)(a, given), mx.grad(loss)(a, masks), rtol=1e-5, atol=1e-5)


@ON_THE_CPU
def test_blocks_without_a_mark_are_not_read(rng):
    a, b = drawn(rng, (128, 256)), drawn(rng, (256, 64))
    left = mx.ones((2, 4), mx.bool_)
    left[0, 2] = False
    a[:64, 128:192] = mx.nan
    b[:, :] = mx.where(mx.arange(256)[:, None] // 64 == 9, mx.inf, b)
    got = mx.block_masked_mm(a, b, 64, mask_lhs=left)
    assert np.isfinite(np.array(got)[:64]).all()
    mx.eval(a, b, left)
    assert peak_of(mx.block_masked_mm(a, b, 64, mask_lhs=left)) < got.nbytes + (4 << 20)


@ON_THE_CPU
@pytest.mark.parametrize("dtype", FLOATS)
def test_segments_have_the_bits_of_plain_products(dtype, rng):
    a, b = drawn(rng, (70, 5000), dtype), drawn(rng, (5000, 33), dtype)
    ends = [(0, 1), (7, 2600), (2600, 5000), (4000, 4000), (0, 5000)]
    got = mx.segmented_mm(a, b, mx.array(ends))
    for i, (start, stop) in enumerate(ends):
        assert same(got[i], a[:, start:stop] @ b[start:stop])
    # Outside of the matrices there is nothing.
    got = mx.segmented_mm(a, b, mx.array([[[-5, 3]], [[4990, 6000]], [[9, 3]]]))
    assert same(got[0, 0], a[:, :3] @ b[:3]) and same(got[1, 0], a[:, 4990:] @ b[4990:])
    assert not mx.any(got[2]).item()


@ON_THE_CPU
def test_segments_take_no_memory_but_the_result(rng):
    a, b = drawn(rng, (64, 4096)), drawn(rng, (4096, 64))
    segments = mx.arange(0, 4096, 64)[:, None] + mx.array([0, 64])
    mx.eval(a, b, segments)
    out = mx.segmented_mm(a, b, segments)
    assert peak_of(out) <= out.nbytes + (4 << 20)
    cotangent = drawn(rng, out.shape)
    mx.eval(cotangent)
    _, gradients = mx.vjp(lambda a, b: mx.segmented_mm(a, b, segments), [a, b], [cotangent])
    assert peak_of(*gradients) <= a.nbytes + b.nbytes + (4 << 20)


def test_empty_extents():
    a, b = mx.ones((2, 3, 0)), mx.ones((4, 0, 5))
    index = mx.array([0, 3, 3])
    assert mx.array_equal(mx.gather_mm(a, b, index % 2, index), mx.zeros((3, 3, 5))).item()
    none = mx.gather_mm(mx.ones((2, 3, 4)), mx.ones((4, 4, 5)), index[:0], index[:0])
    assert none.shape == (0, 3, 5)
    loss = lambda a, b: mx.gather_mm(a, b, index[:0], index[:0]).sum()  # noqa: E731
    for x in mx.grad(loss, (0, 1))(mx.ones((2, 3, 4)), mx.ones((4, 4, 5))):
        assert not mx.any(x).item()
    segments = mx.zeros((0, 2), mx.int32)
    x, y = mx.ones((3, 4)), mx.ones((4, 5))
    assert mx.segmented_mm(x, y, segments).shape == (0, 3, 5)
    assert not mx.any(mx.grad(lambda x: mx.segmented_mm(x, y, segments).sum())(x)).item()
    none = mx.ones((1, 0), mx.bool_)
    assert mx.block_masked_mm(mx.ones((0, 4)), y, 64, mask_out=none.T).shape == (0, 5)
    got = mx.block_masked_mm(mx.ones((3, 0)), mx.ones((0, 5)), 64, mask_lhs=none)
    assert mx.array_equal(got, mx.zeros((3, 5))).item()


def test_an_index_out_of_range_is_named():
    with pytest.raises(IndexError, match="index 4 is out of range for axis 0 of size 4"):
        mx.eval(mx.gather_mm(mx.ones((2, 3)), mx.ones((4, 3, 2)), rhs_indices=mx.array([0, 4])))
