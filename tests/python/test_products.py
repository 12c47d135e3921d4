"""The engine of products: its exactness, and one order of sums whatever the layout or the batch.

Run as a program it prints digests of products, for the instruction set that CERMET_ISA names.
"""

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import cermet.core as mx

pytestmark = pytest.mark.skipif(
    mx.default_device() == mx.Device(mx.gpu), reason="the GPU's products have an order of their own"
)

FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64")
EPSILON = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
EPSILON["complex64"] = EPSILON["float32"]
# (m, k, n): around the extents of tiles, blocks and spans.
EXTENTS = [
    (1, 1, 1), (1, 300, 1), (1, 2500, 70), (2, 513, 33), (3, 31, 95), (5, 256, 64), (8, 4100, 17),
    (9, 255, 31), (12, 257, 32), (13, 70, 100), (40, 2049, 3), (77, 33, 1), (97, 512, 129),
    (130, 700, 65), (400, 40, 40), (30, 20, 1100),
]  # fmt: skip


def drawn(rng, shape, dtype):
    x = rng.standard_normal(shape)
    if dtype == "complex64":
        x = x + 1j * rng.standard_normal(shape)
    return mx.array(x.astype(np.complex64 if dtype == "complex64" else np.float64)).astype(
        getattr(mx, dtype)
    )


def exact(a):
    wide = mx.complex64 if a.dtype == mx.complex64 else mx.float64
    return np.array(a.astype(wide)).astype(np.complex128 if wide == mx.complex64 else np.float64)


def raw(a):
    return bytes(memoryview(np.array(mx.view(mx.contiguous(a), mx.uint8))))


@pytest.mark.parametrize("dtype", FLOATS)
def test_errors_are_within_the_bound_of_their_order(dtype, rng):
    for m, k, n in EXTENTS:
        a, b = drawn(rng, (m, k), dtype), drawn(rng, (k, n), dtype)
        x, y = exact(a), exact(b)
        magnitude = np.abs(x) @ np.abs(y)
        # Blocks of 256 units and spans of 2048 numbers, each added in turn; the result is rounded.
        length = 2 * (min(k, 256) + min(k / 256, 8) + k / 2048) + 4
        sums = EPSILON["float64" if dtype == "float64" else "float32"]
        bound = sums * length * magnitude + EPSILON[dtype] * np.abs(x @ y) * 1.01 + 1e-30
        assert (np.abs(exact(a @ b) - x @ y) <= bound).all(), (m, k, n)


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_bit_depends_on_the_layout(dtype, rng):
    for m, k, n in EXTENTS:
        a, b = drawn(rng, (m, k), dtype), drawn(rng, (k, n), dtype)
        want = raw(a @ b)
        columns, rows = mx.contiguous(a.T), mx.contiguous(b.T)
        spread = mx.contiguous(mx.repeat(mx.repeat(b, 2, 1), 2, 0))[::2, ::2]
        flipped = mx.contiguous(a[:, ::-1])[:, ::-1]
        for other in (columns.T @ b, a @ rows.T, columns.T @ rows.T, a @ spread, flipped @ b):
            assert raw(other) == want, (m, k, n)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype, rng):
    for k, n in ((1, 1), (64, 64), (300, 33), (2049, 70), (4200, 1)):
        b, a = drawn(rng, (k, n), dtype), drawn(rng, (64, k), dtype)
        whole = a @ b
        alone = raw(whole[5:6])
        for rows in range(1, 65):
            at = min(5, rows - 1)
            assert raw((mx.roll(a, at - 5, 0)[:rows] @ b)[at : at + 1]) == alone, (k, n, rows)
        stacked = mx.stack([a, a[::-1]]) @ b
        assert raw(stacked[0]) == raw(whole) and raw(stacked[1][::-1]) == raw(whole)
        apart = mx.stack([a, a]) @ mx.stack([b, b])
        assert raw(apart[0]) == raw(whole)


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_bit_depends_on_the_columns_beside_or_the_threads(dtype, rng):
    threads = mx.get_num_threads()
    try:
        for m, k, n in [*EXTENTS, (3, 20000, 5), (64, 9000, 64), (392, 2048, 20)]:
            a, b = drawn(rng, (m, k), dtype), drawn(rng, (k, n), dtype)
            want = a @ b
            for count in (1, 2, 3, 4, 8):
                mx.set_num_threads(count)
                assert raw(a @ b) == raw(want), (m, k, n, count)
            for width in {1, n // 2 + 1}:
                assert raw(a @ b[:, :width]) == raw(want[:, :width]), (m, k, n, width)
    finally:
        mx.set_num_threads(threads)


@pytest.mark.parametrize("bits", (2, 3, 4, 5, 6, 8))
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32"))
def test_quantized_rows_have_the_same_bits_alone_and_in_any_batch(dtype, bits, rng):
    for n, k in ((70, 640), (33, 4224)):
        w = mx.quantize(drawn(rng, (n, k), dtype), 64, bits)
        for transpose in (True, False):
            x = drawn(rng, (40, k if transpose else n), dtype)
            whole = mx.quantized_matmul(x, *w, transpose, 64, bits)
            for rows in (1, 2, 3, 4, 5, 8, 9, 16, 17, 37):
                part = mx.quantized_matmul(x[3 : 3 + rows], *w, transpose, 64, bits)
                assert raw(part) == raw(whole[3 : 3 + rows])
            stacked = mx.quantized_matmul(x[None], *w, transpose, 64, bits)
            assert raw(stacked[0]) == raw(whole)


def beside(a):
    """The same matrices, stored column by column."""
    return mx.contiguous(a.swapaxes(-1, -2)).swapaxes(-1, -2)


FORMATS = [("affine", bits, group) for bits in (2, 3, 4, 5, 6, 8) for group in (32, 64, 128)]
FORMATS += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]


@pytest.mark.parametrize("mode, bits, group", FORMATS)
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32"))
def test_matrices_stored_by_columns_give_the_same_bits(mode, bits, group, dtype, rng):
    kind = {"group_size": group, "bits": bits, "mode": mode}
    for n, k in ((16, 128), (48, 384), (80, 2304), (1040, 256), (33, 256)):
        w = mx.quantize(drawn(rng, (n, k), dtype), **kind)
        columns = [beside(a) for a in w]
        mx.eval(columns)
        for rows in (1, 2, 3, 8, 9, 33):
            x = drawn(rng, (rows, k), dtype)
            want = mx.quantized_matmul(x, *w, transpose=True, **kind)
            assert raw(mx.quantized_matmul(x, *columns, transpose=True, **kind)) == raw(want)
    # One of the arrays as it was, and the product with the matrix itself.
    mixed = [columns[0], *w[1:]]
    assert raw(mx.quantized_matmul(x, *mixed, transpose=True, **kind)) == raw(want)
    y = drawn(rng, (2, n), dtype)
    want = mx.quantized_matmul(y, *w, transpose=False, **kind)
    assert raw(mx.quantized_matmul(y, *columns, transpose=False, **kind)) == raw(want)


@pytest.mark.parametrize("mode, bits, group", FORMATS[::4])
def test_several_matrices_stored_by_columns_give_the_same_bits(mode, bits, group, rng):
    kind = {"group_size": group, "bits": bits, "mode": mode}
    for n in (48, 1072):  # the second is cut into pieces that are no multiple of 16 as even parts
        w = mx.quantize(drawn(rng, (3, n, 128), "float32"), **kind)
        columns = [beside(a) for a in w]
        mx.eval(columns)
        index = mx.array([2, 0, 0, 1, 2])
        for rows in (1, 5, 40):
            x = drawn(rng, (3, rows, 128), "float32")
            want = mx.quantized_matmul(x, *w, **kind)
            assert raw(mx.quantized_matmul(x, *columns, **kind)) == raw(want)
            x = drawn(rng, (5, rows, 128), "float32")
            want = mx.gather_qmm(x, *w, rhs_indices=index, **kind)
            assert raw(mx.gather_qmm(x, *columns, rhs_indices=index, **kind)) == raw(want)


@pytest.mark.parametrize("rows", (1, 40))
def test_matrices_stored_by_columns_are_read_in_place(rows, rng):
    columns = [beside(a) for a in mx.quantize(drawn(rng, (4096, 2048), "float32"))]
    x = drawn(rng, (rows, 2048), "float32")
    mx.eval(columns, x)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(mx.quantized_matmul(x, *columns))
    assert mx.get_peak_memory() - before < columns[0].nbytes  # of the words alone


def test_a_quantized_product_is_that_of_the_dequantized_weights(rng):
    for bits in (2, 3, 4, 5, 6, 8):
        w = mx.quantize(drawn(rng, (50, 2304), "float32"), 32, bits)
        whole = mx.dequantize(*w, 32, bits)
        exact = np.array(whole).astype(np.float64)
        # Codes are multiplied before their scale and bias: errors are relative to these parts.
        size = np.abs(exact) + 2 * np.repeat(np.abs(np.array(w[2])), 32, axis=1)
        for rows in (1, 7, 30):
            x = drawn(rng, (rows, 2304), "float32")
            wide = np.array(x).astype(np.float64)
            error = np.abs(np.array(mx.quantized_matmul(x, *w, True, 32, bits)) - wide @ exact.T)
            assert np.all(error <= 2**-22 * (np.abs(wide) @ size.T))
            y = drawn(rng, (rows, 50), "float32")
            assert raw(mx.quantized_matmul(y, *w, False, 32, bits)) == raw(y @ whole)


@pytest.mark.parametrize("bits", (2, 4, 8))
def test_rows_of_any_size_keep_their_precision_beside_packed_weights(bits, rng):
    w = mx.quantize(drawn(rng, (50, 256), "float32"), 32, bits)
    weights = exact(mx.dequantize(*w, 32, bits))
    size = np.abs(weights) + 2 * np.repeat(np.abs(np.array(w[2])), 32, axis=1)
    for scale in (1e-36, 1e-30, 1e-9, 1.0, 1e20):
        # Groups of all sizes, outliers in some of them, and rows of nothing.
        x = np.array(drawn(rng, (9, 256), "float32")) * np.float32(scale)
        x[:, 32:64] *= 1e6
        x[:, 70] *= 1e3
        x[2] = 0
        got = exact(mx.quantized_matmul(mx.array(x), *w, True, 32, bits))
        wide = x.astype(np.float64)
        largest = np.repeat(np.abs(wide).reshape(9, 8, 32).max(axis=2), 32, axis=1)
        bound = 2**-22 * (np.abs(wide) @ size.T) + 2**-24 * (largest @ size.T) + 2e-45 * 256
        assert (np.abs(got - wide @ weights.T) <= bound).all(), scale
        assert not got[2].any()
    for special in (np.inf, -np.inf, np.nan):
        x = np.ones((3, 256), np.float32)
        x[1, 100] = special
        got = np.array(mx.quantized_matmul(mx.array(x), *w, True, 32, bits))
        assert not np.isfinite(got[1]).any() and np.isfinite(got[[0, 2]]).all()


@pytest.mark.parametrize("scale_type", ("float16", "bfloat16"))
def test_scales_of_16_bits_are_read_as_they_are(scale_type, rng):
    dtype = getattr(mx, scale_type)
    for bits in (3, 4, 8):
        words, *scales = mx.quantize(drawn(rng, (50, 640), "float32"), 32, bits)
        narrow = [s.astype(dtype) for s in scales]
        wide = [s.astype(mx.float32) for s in narrow]
        mx.eval(words, narrow, wide)
        for transpose in (True, False):
            for rows in (1, 4, 30):
                x = drawn(rng, (rows, 640 if transpose else 50), "float32")
                mx.eval(x)

                def product(parts, x=x, transpose=transpose, bits=bits, words=words):
                    return mx.quantized_matmul(x, words, *parts, transpose, 32, bits)

                assert product(narrow).dtype == mx.float32
                assert raw(product(narrow)) == raw(product(wide))
                assert "astype" not in mx.explain(product(narrow))
                batched = mx.vmap(lambda row, f=product, n=narrow: f(n, x=row))(x[:, None])
                assert raw(batched) == raw(product(wide)[:, None])
                grad = mx.grad(lambda x, f=product, n=narrow: f(n, x=x).square().sum())
                want = mx.grad(lambda x, f=product, w=wide: f(w, x=x).square().sum())
                assert raw(grad(x)) == raw(want(x))


MODES = [("affine", b, 64) for b in (2, 3, 4, 5, 6, 8)]
MODES += [("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]


@pytest.mark.parametrize("mode, bits, group", MODES)
@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32"))
def test_quantized_products_of_every_mode_are_exact_but_for_sums(mode, bits, group, dtype, rng):
    for n, k in ((50, 640), (17, 2304)):
        w = mx.quantize(drawn(rng, (n, k), dtype), group, bits, mode)
        # The weights in float32: of integers, a product and a sum that round.
        scales = [v.astype(mx.float32) if v.dtype != mx.uint8 else v for v in w[1:]]
        whole = exact(
            mx.dequantize(w[0], *scales, group_size=group, bits=bits, mode=mode, dtype=mx.float32)
        )
        for transpose, y in ((True, whole.T), (False, whole)):
            for rows in (1, 3, 8, 29):
                x = drawn(rng, (rows, y.shape[0]), dtype)
                got = mx.quantized_matmul(
                    x, *w, transpose=transpose, group_size=group, bits=bits, mode=mode
                )
                # Integers are multiplied before they are scaled: up to all bits times the scale.
                magnitude = np.abs(exact(x)) @ (np.abs(y) + (2.0 * np.abs(y).max()))
                bound = 2.0**-24 * 300 * magnitude + EPSILON[dtype] * 1.01 * np.abs(exact(x) @ y)
                assert (np.abs(exact(got) - exact(x) @ y) <= bound).all(), (n, k, transpose, rows)
                alone = mx.quantized_matmul(
                    x[-1:], *w, transpose=transpose, group_size=group, bits=bits, mode=mode
                )
                assert raw(alone) == raw(got[-1:])


def test_a_sum_over_nothing_is_zero_and_special_values_go_through():
    for dtype in FLOATS:
        zeros = mx.ones((3, 0)).astype(getattr(mx, dtype)) @ mx.ones((0, 4)).astype(
            getattr(mx, dtype)
        )
        assert zeros.shape == (3, 4) and not np.array(zeros.astype(mx.complex64)).any()
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        a = mx.ones((20, 40)).astype(getattr(mx, dtype))
        a = mx.where(mx.arange(40) == 7, mx.array(float("inf")), a).astype(getattr(mx, dtype))
        b = mx.ones((40, 50)).astype(getattr(mx, dtype))
        assert np.isposinf(np.array((a @ b).astype(mx.float32))).all()
        assert np.isnan(np.array((a @ (b * 0)).astype(mx.float32))).all()


def test_an_extent_above_2_to_the_31(rng):
    ones = mx.broadcast_to(mx.array(0.5, mx.float16), (2**31 + 2, 1))
    # Views of one element: nothing of that size is in memory.
    assert mx.matmul(ones[: 2**31 + 1 : 2**30].T, ones[: 2**31 + 1 : 2**30]).item() == 0.75
    wide = mx.broadcast_to(drawn(rng, (1, 40), "float32"), (2**32, 40))
    assert raw(wide[2**32 - 3 :] @ mx.ones((40, 5))) == raw(wide[:3] @ mx.ones((40, 5)))


def digests():
    rng = np.random.default_rng(3)
    for dtype in FLOATS:
        found = hashlib.sha256()
        for m, k, n in EXTENTS:
            a, b = drawn(rng, (m, k), dtype), drawn(rng, (k, n), dtype)
            x, y = exact(a), exact(b)
            bound = (np.abs(x) @ np.abs(y)) * (EPSILON[dtype] * 2 + 2.0**-24 * 8) + 1e-30
            assert (np.abs(exact(a @ b) - x @ y) <= bound).all(), (dtype, m, k, n)
            assert raw((a @ b)[:1]) == raw(a[:1] @ b), (dtype, m, k, n)
            found.update(raw(a @ b))
        print(dtype, found.hexdigest())
    for dtype in ("float32", "float16"):
        found = hashlib.sha256()
        for bits, group in itertools.product((2, 4, 8), (32, 64, 128)):
            for m, n, k in ((1, 40, 256), (5, 33, 640), (17, 100, 2176), (70, 130, 1024)):
                w = mx.quantize(drawn(rng, (n, k), "float32"), group, bits)
                x = drawn(rng, (m, k), dtype)
                product = mx.quantized_matmul(x, *w, group_size=group, bits=bits)
                dense = exact(mx.dequantize(*w, group_size=group, bits=bits))
                bound = (np.abs(exact(x)) @ np.abs(dense.T)) * (EPSILON[dtype] * 2 + 2.0**-24 * 16)
                assert (np.abs(exact(product) - exact(x) @ dense.T) <= bound).all(), (bits, m, n, k)
                assert raw(product[m // 2 :]) == raw(
                    mx.quantized_matmul(x[m // 2 :], *w, group_size=group, bits=bits)
                ), (bits, group, m, n, k)
                found.update(raw(product))
        print("packed-" + dtype, found.hexdigest())


def test_every_instruction_set_and_which_share_their_bits():
    found = {}
    for isa in ("base", "base_bf16", "v2", "v3", "v4", "v4_bf16", "v4_amx"):
        run = subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "CERMET_ISA": isa},
            capture_output=True,
            text=True,
        )
        if "this processor has" in run.stderr:
            continue
        assert run.returncode == 0, (isa, run.stderr)
        found[isa] = dict(line.split() for line in run.stdout.splitlines())
    assert found
    for one, other in (
        ("v3", "v4"),
        ("v4", "v4_bf16"),
        ("v4_bf16", "v4_amx"),
        ("base", "base_bf16"),
    ):
        if one in found and other in found:
            for dtype in FLOATS:
                if dtype != "bfloat16":  # whose instructions add pairs
                    assert found[one][dtype] == found[other][dtype], (one, other, dtype)
    if "v4_amx" in found:  # tiles of bytes add integers, which vectors of bytes do, too
        for name in ("packed-float32", "packed-float16"):
            assert found["v4_bf16"][name] == found["v4_amx"][name], name


if __name__ == "__main__":
    digests()
