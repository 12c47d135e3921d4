"""The quantization modes of floats against the formats' definitions: OCP Microscaling Formats (MX)
1.0 for mxfp4 and mxfp8, and E2M1 with E4M3 scales for nvfp4.
"""

import ml_dtypes
import numpy as np
import pytest
from conftest import assert_close, assert_equal, mx_dtype, to_mx, to_np

import cermet.core as mx

MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
ALL = pytest.mark.parametrize("mode", MODES)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
NAN = float("nan")

# ---- The definitions ----


def magnitudes(exponent_bits, mantissa_bits):
    """What the codes without a sign stand for, by the definition of a binary float."""
    bias = 2 ** (exponent_bits - 1) - 1
    values = []
    for code in range(2 ** (exponent_bits + mantissa_bits)):
        exponent, fraction = divmod(code, 2**mantissa_bits)
        fraction /= 2**mantissa_bits
        values.append(
            2.0 ** (exponent - bias) * (1 + fraction) if exponent else 2.0 ** (1 - bias) * fraction
        )
    return np.array(values)


E2M1, E4M3 = magnitudes(2, 1), magnitudes(4, 3)[:-1]  # the last code of E4M3 is nan
ELEMENTS = {"mxfp4": E2M1, "mxfp8": E4M3, "nvfp4": E2M1}


def decode(codes, table):
    sign_bit = 2 ** (int(np.ceil(np.log2(len(table)))))
    values = np.append(table, [NAN] * (sign_bit - len(table)))[codes % sign_bit]
    return np.where(codes >= sign_bit, -values, values)


def encode(values, table):
    """To nearest, halves to even codes, limited to the largest; the sign of a zero stays."""
    v = np.minimum(np.abs(values.astype(np.float64)), table[-1])
    low = np.searchsorted(table, v, side="right") - 1
    high = np.minimum(low + 1, len(table) - 1)
    below, above = v - table[low], table[high] - v
    up = (above < below) | ((above == below) & (low % 2 == 1))
    sign_bit = 2 ** (int(np.ceil(np.log2(len(table)))))
    return np.where(up, high, low) + sign_bit * np.signbit(values)


def decode_e8m0(codes):
    return np.where(codes == 255, NAN, 2.0 ** (codes.astype(np.float64) - 127))


def reference(x, mode, global_scale=None):
    """Codes, codes of scales, and the values that they stand for, in float64."""
    table, (group, _) = ELEMENTS[mode], MODES[mode]
    x = x.astype(np.float32).reshape(*x.shape[:-1], x.shape[-1] // group, group)
    largest = np.abs(x).max(-1, keepdims=True)
    finite, zero = np.isfinite(largest), largest == 0
    some = np.where(finite & ~zero, largest, 1)
    if mode == "nvfp4":
        unit = np.float32(1 if global_scale is None else np.float32(global_scale) / 2688)
        codes = np.maximum(encode(some / (unit * np.float32(6)), E4M3), 1)
        codes = np.where(zero, 0x38, np.where(finite, codes, 0x7F))
        scales = decode(codes, E4M3).astype(np.float32) * unit
    else:
        largest_exponent = np.floor(np.log2(table[-1]))
        exponent = np.frexp(some)[1] - 1 - largest_exponent
        codes = np.where(zero, 127, np.where(finite, np.maximum(exponent + 127, 0), 255))
        scales = decode_e8m0(codes)
    with np.errstate(invalid="ignore"):
        scaled = np.where(finite, x / scales.astype(scales.dtype), 0)
        q = np.where(finite, encode(scaled, table), 0)
        values = decode(q, table) * scales
    shape = (*x.shape[:-2], x.shape[-2] * group)
    return q.reshape(shape), codes.astype(np.uint8)[..., 0], values.reshape(shape)


def packed(codes, bits):
    """Words of codes, the first one in the lowest bits."""
    lanes = codes.astype(np.uint32).reshape(
        *codes.shape[:-1], codes.shape[-1] * bits // 32, 32 // bits
    )
    return (lanes << np.arange(0, 32, bits, dtype=np.uint32)).sum(-1, dtype=np.uint32)


def check(x, mode, global_scale=None):
    q, scales, values = reference(np.array(x.astype(mx.float32)), mode, global_scale)
    options = {"mode": mode}
    if global_scale is not None:
        options["global_scale"] = mx.array(global_scale, mx.float32)
    words, codes = both = mx.quantize(x, **options)
    assert isinstance(both, tuple)
    assert words.dtype == mx.uint32 and codes.dtype == mx.uint8
    assert_equal(codes, scales)
    assert_equal(words, packed(q, MODES[mode][1]))
    got = mx.dequantize(words, codes, dtype=mx.float32, **options)
    assert_equal(got, values.astype(np.float32))


# ---- Elements and scales ----


def test_every_code_of_an_element():
    codes = np.arange(16)
    words = to_mx(packed(np.tile(codes, 2)[None], 4))
    for mode, scales in (("mxfp4", [[127]]), ("nvfp4", [[0x38, 0x38]])):
        got = mx.dequantize(words, mx.array(scales, mx.uint8), mode=mode)
        assert got.dtype == mx.bfloat16
        assert_equal(got.astype(mx.float32), np.tile(decode(codes, E2M1), 2)[None])
        assert np.signbit(to_np(got.astype(mx.float32)))[0, 8]  # minus zero
    codes = np.arange(256)
    want = codes.astype(np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    assert_equal(decode(codes, E4M3), want)  # the definition agrees with another's
    got = mx.dequantize(to_mx(packed(codes[None], 8)), mx.full((1, 8), 127, mx.uint8), mode="mxfp8")
    assert_equal(got.astype(mx.float32), want[None])


def test_every_code_of_a_scale():
    codes = np.arange(256)
    scale_codes = to_mx(codes.astype(np.uint8)[:, None])
    ones = to_mx(np.full((256, 4), 0x22222222, np.uint32))  # 1.0 in E2M1
    got = mx.dequantize(ones, scale_codes, mode="mxfp4", dtype=mx.float32)
    assert_equal(got, np.repeat(decode_e8m0(codes)[:, None].astype(np.float32), 32, 1))
    got = mx.dequantize(ones[:, :2], scale_codes, mode="nvfp4", dtype=mx.float32)
    assert_equal(got, np.repeat(decode(codes, E4M3)[:, None].astype(np.float32), 16, 1))


@ALL
def test_values_between_two_codes(mode):
    """Halves go to the even code, and their neighbours to the nearest; the largest is the limit."""
    table, (group, _) = ELEMENTS[mode], MODES[mode]
    halves = ((table[1:] + table[:-1]) / 2).astype(np.float32)
    values = np.concatenate(
        [halves, np.nextafter(halves, np.float32(0)), np.nextafter(halves, np.float32(1e3)), table]
    ).astype(np.float32)
    rows = np.zeros((2 * len(values), group), np.float32)
    rows[:, 0] = table[-1]  # a scale of 1
    rows[:, 1] = np.concatenate([values, -values])
    check(to_mx(rows), mode)


def test_what_is_above_the_largest_is_limited():
    """A group's power of two is that of its largest element, 7.9, which E2M1 has no code for."""
    x = mx.array([[7.9, -7.9, 5.1, 5.0] + 28 * [0.0]])
    words, scales = mx.quantize(x, mode="mxfp4")
    assert scales.tolist() == [[127]]
    got = mx.dequantize(words, scales, mode="mxfp4")
    assert got[0, :4].tolist() == [6.0, -6.0, 6.0, 4.0]


# ---- Arrays ----


@ALL
@DTYPES
def test_quantize(mode, dtype, rng):
    for shape in ((3, 32), (5, 96), (2, 3, 160), (7, 4160), (0, 64), (2, 0)):
        x = rng.normal(size=shape) * 2.0 ** rng.integers(-6, 7, shape)
        check(to_mx(x).astype(mx_dtype(dtype)), mode)


@ALL
def test_quantize_of_all_magnitudes(mode, rng):
    bits = rng.integers(0, 2**32, (300, 96), dtype=np.uint32)
    x = bits.view(np.float32)
    x = np.where(np.isfinite(x), x, np.float32(0))
    check(to_mx(x), mode)
    rows = x.reshape(-1, 32) * 0 + np.float32(1) * rng.normal(size=(900, 32)).astype(np.float32)
    check(to_mx(np.ldexp(rows, rng.integers(-149, 127, (900, 1)))), mode)  # a magnitude a group


@ALL
def test_quantize_of_layouts(mode, rng):
    x = to_mx(rng.normal(size=(96, 6)).astype(np.float32))
    check(x.T, mode)
    check(to_mx(rng.normal(size=(1, 64)).astype(np.float32))[:, ::-1], mode)
    assert_equal(
        mx.quantize(mx.broadcast_to(x[:32, :1].T, (3, 32)), mode=mode)[0],
        mx.concatenate([mx.quantize(x[:32, :1].T, mode=mode)[0]] * 3),
    )


@ALL
@DTYPES
def test_special_groups(mode, dtype):
    """Zeros have the scale 1. One nan or infinity makes a group nan, and no other one."""
    rows = mx.full((6, 64), 3.0).astype(mx_dtype(dtype))
    rows[1, 5], rows[2, 40], rows[3, 0] = NAN, float("inf"), -float("inf")
    rows[4, :32] = 0.0
    rows[5] = -0.0
    check(rows, mode)
    words, scales = mx.quantize(rows, mode=mode)
    got = to_np(mx.dequantize(words, scales, mode=mode).astype(mx.float32))
    group = MODES[mode][0]
    assert np.isnan(got[1, :group]).all() and not np.isnan(got[1, group:]).any()
    assert np.isnan(got[2]).sum() == np.isnan(got[3]).sum() == group
    assert (got[4, :32] == 0).all() and (got[4, 32:] == 3).all()
    assert np.signbit(got[5]).all()
    assert to_np(scales)[5, 0] == (0x38 if mode == "nvfp4" else 127)


def test_the_smallest_scale_of_nvfp4_is_not_zero():
    check(mx.full((1, 16), 0.003), "nvfp4")
    got = mx.dequantize(*mx.quantize(mx.full((1, 16), 0.003), mode="nvfp4"), mode="nvfp4")
    assert_equal(got.astype(mx.float32), np.full((1, 16), 1.5 / 512))


@pytest.mark.parametrize("scale", [1e-4, 0.7, 3.0, 1e6])
def test_a_global_scale_uses_the_range_of_the_scales(scale, rng):
    x = to_mx((rng.normal(size=(8, 128)) * scale).astype(np.float32))
    largest = mx.abs(x).max()
    check(x, "nvfp4", largest.item())
    words, scales = mx.quantize(x, mode="nvfp4", global_scale=largest)
    assert scales.max().item() == 0x7E  # 448
    got = mx.dequantize(words, scales, mode="nvfp4", global_scale=largest)
    assert got.dtype == mx.float32
    assert np.abs(to_np(got - x)).max() <= largest.item() / 6


def test_a_global_scale_for_each_matrix(rng):
    x = to_mx(
        rng.normal(size=(3, 4, 32)).astype(np.float32)
        * np.array([1, 10, 100], np.float32)[:, None, None]
    )
    each = mx.abs(x).max((1, 2), keepdims=True)
    words, scales = mx.quantize(x, mode="nvfp4", global_scale=each)
    got = mx.dequantize(words, scales, mode="nvfp4", global_scale=each)
    for i in range(3):
        one = mx.quantize(x[i], mode="nvfp4", global_scale=each[i])
        assert_equal(words[i], one[0])
        assert_equal(scales[i], one[1])
        assert_equal(got[i], mx.dequantize(*one, mode="nvfp4", global_scale=each[i]))


def test_a_global_scale_of_zero_is_that_of_zeros():
    options = {"mode": "nvfp4", "global_scale": mx.array(0.0)}
    assert_equal(
        mx.dequantize(*mx.quantize(mx.zeros((2, 32)), **options), **options), np.zeros((2, 32))
    )


@ALL
def test_types(mode):
    words, scales = mx.quantize(mx.full((2, 64), 3.0, mx.float16), mode=mode)
    assert mx.dequantize(words, scales, mode=mode).dtype == mx.bfloat16
    for dtype in (mx.float16, mx.float32, mx.bfloat16, mx.float64):
        got = mx.dequantize(words, scales, mode=mode, dtype=dtype)
        assert got.dtype == dtype
        assert_equal(got.astype(mx.float32), np.full((2, 64), 3.0))
    with mx.stream(mx.cpu):
        wide = mx.quantize(mx.full((2, 64), 1.1, mx.float64), mode=mode)
        narrow = mx.quantize(mx.full((2, 64), 1.1, mx.float32), mode=mode)
    assert_equal(wide[0], narrow[0])
    assert_equal(wide[1], narrow[1])


@ALL
def test_transforms_go_through_the_same_bits(mode, rng):
    """`vmap` and `compile` of quantizing and back; vmap takes the composition apart."""
    x = to_mx(rng.normal(size=(3, 4, 96)).astype(np.float32))

    def both(x):
        words, scales = mx.quantize(x, mode=mode)
        return words, scales, mx.dequantize(words, scales, mode=mode)

    for got, batched, compiled in zip(both(x), mx.vmap(both)(x), mx.compile(both)(x), strict=True):
        assert_equal(batched.astype(mx.float32), to_np(got.astype(mx.float32)))
        assert_equal(compiled.astype(mx.float32), to_np(got.astype(mx.float32)))


# ---- Products ----


def quantized(shape, mode, rng, dtype="float32", **options):
    """Packed arrays, and what they stand for in float64."""
    words, scales = mx.quantize(to_mx(rng.normal(size=shape)).astype(mx_dtype(dtype)), mode=mode)
    values = mx.dequantize(words, scales, mode=mode, dtype=mx.float32, **options)
    return (words, scales), np.array(values).astype(np.float64)


TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}


@ALL
@DTYPES
@pytest.mark.parametrize("transpose", [True, False])
def test_quantized_matmul(mode, dtype, transpose, rng):
    parts, w = quantized((96, 160), mode, rng)
    rtol = TOLERANCE[dtype]
    for rows in ((), (1,), (3,), (33,), (2, 5), (0,)):
        x = to_mx(rng.normal(size=(*rows, 160 if transpose else 96)) / 16).astype(mx_dtype(dtype))
        got = mx.quantized_matmul(x, *parts, transpose=transpose, mode=mode)
        assert got.dtype == mx_dtype(dtype)
        want = np.array(x.astype(mx.float32)).astype(np.float64) @ (w.T if transpose else w)
        assert_close(got, want, rtol=rtol, atol=2 * rtol)


@ALL
def test_quantized_matmul_of_batches(mode, rng):
    parts, w = quantized((2, 5, 64), mode, rng)
    x = to_mx(rng.normal(size=(3, 2, 7, 64)).astype(np.float32))
    want = np.array(x).astype(np.float64) @ np.swapaxes(w, -1, -2)
    assert_close(mx.quantized_matmul(x, *parts, mode=mode), want, rtol=1e-5, atol=1e-5)


@ALL
def test_gather_qmm(mode, rng):
    parts, w = quantized((6, 5, 64), mode, rng)
    index = np.array([5, 0, 2, 2])
    x = to_mx(rng.normal(size=(4, 3, 64)).astype(np.float32))
    want = np.array(x).astype(np.float64) @ np.swapaxes(w[index], -1, -2)
    got = mx.gather_qmm(x, *parts, rhs_indices=mx.array(index), mode=mode)
    assert_close(got, want, rtol=1e-5, atol=1e-5)
    if mode == "nvfp4":
        scaled = mx.gather_qmm(
            x, *parts, rhs_indices=mx.array(index), mode=mode, global_scale=mx.array(5376.0)
        )
        assert_close(scaled, 2 * want, rtol=1e-5, atol=1e-5)


@ALL
@DTYPES
def test_qqmm(mode, dtype, rng):
    x, w = (to_mx(rng.normal(size=(n, 96))).astype(mx_dtype(dtype)) for n in (7, 10))

    def rounded(a):
        return reference(np.array(a.astype(mx.float32)), mode)[2]

    want, rtol = rounded(x) @ rounded(w).T, TOLERANCE[dtype]
    for args in ((w,), mx.quantize(w, mode=mode)):
        got = mx.qqmm(x, *args, mode=mode)
        assert got.dtype == x.dtype
        assert_close(got, want, rtol=rtol, atol=4 * rtol)
    assert_close(mx.qqmm(x[0], w, mode=mode), want[0], rtol=rtol, atol=4 * rtol)
    index = mx.array([1, 0, 1])
    for args in ((w.reshape(2, 5, 96),), mx.quantize(w.reshape(2, 5, 96), mode=mode)):
        got = mx.gather_qqmm(x[None], *args, rhs_indices=index, mode=mode)
        each = want.reshape(7, 2, 5).swapaxes(0, 1)[[1, 0, 1]]
        assert_close(got, each, rtol=rtol, atol=4 * rtol)


def test_qqmm_with_global_scales(rng):
    x, w = (rng.normal(size=(n, 64)).astype(np.float32) for n in (3, 5))
    gx, gw = np.abs(x).max(), np.abs(w).max()
    want = reference(x, "nvfp4", gx)[2] @ reference(w, "nvfp4", gw)[2].T
    scales = {"global_scale_x": mx.array(gx), "global_scale_w": mx.array(gw)}
    packed_w = mx.quantize(to_mx(w), mode="nvfp4", global_scale=mx.array(gw))
    assert_close(mx.qqmm(to_mx(x), to_mx(w), **scales), want, rtol=1e-5, atol=1e-5)
    assert_close(mx.qqmm(to_mx(x), *packed_w, **scales), want, rtol=1e-5, atol=1e-5)
    got = mx.gather_qqmm(to_mx(x)[None], *(p[None] for p in packed_w), **scales)
    assert_close(got, want[None], rtol=1e-5, atol=1e-5)


# ---- Their transforms ----


@ALL
def test_derivatives_of_quantized_matmul(mode, rng):
    parts, w = quantized((32, 64), mode, rng)
    x, t = (to_mx(rng.normal(size=(3, 64)).astype(np.float32)) for _ in range(2))
    c = to_mx(rng.normal(size=(3, 32)).astype(np.float32))

    def f(x):
        return mx.quantized_matmul(x, *parts, mode=mode)

    assert_close(mx.vjp(f, [x], [c])[1][0], np.array(c) @ w, rtol=1e-5, atol=1e-5)
    assert_close(mx.jvp(f, [x], [t])[1][0], np.array(t) @ w.T, rtol=1e-5, atol=1e-5)


@ALL
def test_derivatives_of_qqmm_are_straight_through(mode, rng):
    x, w = (to_mx(rng.normal(size=(n, 64)).astype(np.float32)) for n in (3, 5))
    c = to_mx(rng.normal(size=(3, 5)).astype(np.float32))
    wx, ww = (reference(np.array(a), mode)[2] for a in (x, w))
    dx, dw = mx.vjp(lambda x, w: mx.qqmm(x, w, mode=mode), [x, w], [c])[1]
    assert_close(dx, np.array(c) @ ww, rtol=1e-5, atol=1e-5)
    assert_close(dw, np.array(c).T @ wx, rtol=1e-5, atol=1e-5)
    (dx,) = mx.vjp(lambda x: mx.qqmm(x, *mx.quantize(w, mode=mode), mode=mode), [x], [c])[1]
    assert_close(dx, np.array(c) @ ww, rtol=1e-5, atol=1e-5)
    (moved,) = mx.jvp(lambda x: mx.qqmm(x, w, mode=mode), [x], [x])[1]
    assert_close(moved, np.array(x) @ ww.T, rtol=1e-5, atol=1e-5)


def test_derivatives_by_the_global_scale(rng):
    x, w = (to_mx(rng.normal(size=(n, 64)).astype(np.float32)) for n in (3, 5))
    packed_w = mx.quantize(w, mode="nvfp4")
    c = to_mx(rng.normal(size=(3, 5)).astype(np.float32))

    def f(g):
        return mx.qqmm(x, *packed_w, global_scale_w=g)

    (slope,) = mx.vjp(f, [mx.array(3.0)], [c])[1]
    assert_close(slope, np.array((f(mx.array(1.0)) * c).sum()), rtol=1e-4)
    (moved,) = mx.jvp(f, [mx.array(3.0)], [mx.array(2.0)])[1]
    assert_close(moved, np.array(f(mx.array(2.0))), rtol=1e-5, atol=1e-6)


@ALL
def test_vmap_of_products(mode, rng):
    x = to_mx(rng.normal(size=(2, 3, 64)).astype(np.float32))
    w = to_mx(rng.normal(size=(2, 5, 64)).astype(np.float32))
    parts = mx.quantize(w, mode=mode)
    product = {
        "quantized": lambda x, *p: mx.quantized_matmul(x, *p, mode=mode),
        "qqmm": lambda x, *p: mx.qqmm(x, *p, mode=mode),
    }
    for f in product.values():
        each = mx.stack([f(x[i], *(p[i] for p in parts)) for i in range(2)])
        assert_close(mx.vmap(f)(x, *parts), np.array(each), rtol=1e-5, atol=1e-5)
        shared = mx.stack([f(x[i], *(p[0] for p in parts)) for i in range(2)])
        got = mx.vmap(f, in_axes=(0, None, None))(x, *(p[0] for p in parts))
        assert_close(got, np.array(shared), rtol=1e-5, atol=1e-5)
    each = mx.stack([mx.qqmm(x[i], w[i], mode=mode) for i in range(2)])
    got = mx.vmap(lambda x, w: mx.qqmm(x, w, mode=mode))(x, w)
    assert_close(got, np.array(each), rtol=1e-5, atol=1e-5)


def test_vmap_of_global_scales(rng):
    x = to_mx(rng.normal(size=(2, 3, 64)).astype(np.float32))
    w, g = to_mx(rng.normal(size=(5, 64)).astype(np.float32)), mx.array([4.0, 2.0])
    parts = mx.quantize(w, mode="nvfp4", global_scale=mx.array(4.0))

    def f(x, g):
        return mx.qqmm(x, *parts, global_scale_x=g, global_scale_w=g)

    each = mx.stack([f(x[i], g[i]) for i in range(2)])
    assert_close(mx.vmap(f)(x, g), np.array(each), rtol=1e-5, atol=1e-5)


# ---- Errors ----

W = mx.ones((4, 64))


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: mx.quantize(W, mode="fp4"), "quantize: mode is 'fp4', expected 'affine', 'mxfp4'"),
        (lambda: mx.quantize(W, bits=8, mode="mxfp4"), "quantize: bits is 8, mode 'mxfp4' has 4"),
        (
            lambda: mx.quantize(W, 64, mode="nvfp4"),
            "quantize: group_size is 64, mode 'nvfp4' has 16",
        ),
        (
            lambda: mx.quantize(W, 48),
            "quantize: group_size is 48, mode 'affine' has 32, 64, 128",
        ),
        (
            lambda: mx.quantize(W, mode="mxfp8", global_scale=mx.array(1.0)),
            "quantize: mode 'mxfp8' has no global_scale",
        ),
        (
            lambda: mx.quantize(W, mode="nvfp4", global_scale=mx.array([1.0, 2.0])),
            r"quantize: global_scale \(2,\) is not one number for each matrix",
        ),
        (
            lambda: mx.quantize(W, mode="nvfp4", global_scale=mx.array(1)),
            "quantize: global_scale is int32, expected float32",
        ),
        (lambda: mx.quantize(W[:, :60], mode="mxfp4"), r"quantize: the last axis of \(4, 60\)"),
        (lambda: mx.quantize(W.astype(mx.int32), mode="mxfp4"), "quantize: .*int32"),
        (
            lambda: mx.dequantize(*mx.quantize(W, mode="mxfp4"), W, mode="mxfp4"),
            "dequantize: mode 'mxfp4' has no biases",
        ),
        (
            lambda: mx.dequantize(*mx.quantize(W)[:2]),
            "dequantize: mode 'affine' needs biases",
        ),
        (
            lambda: mx.dequantize(mx.quantize(W, mode="mxfp4")[0], W, mode="mxfp4"),
            "dequantize: scales are float32, mode 'mxfp4' has codes in uint8",
        ),
        (
            lambda: mx.dequantize(*mx.quantize(W, mode="mxfp4"), mode="nvfp4"),
            r"dequantize: packed \(4, 8\), scales \(4, 2\) do not fit groups of 16",
        ),
        (
            lambda: mx.quantized_matmul(W[:, :32], *mx.quantize(W, mode="mxfp4"), mode="mxfp4"),
            r"quantized_matmul: x \(4, 32\) has 32 columns, the quantized matrix needs 64",
        ),
        (
            lambda: mx.qqmm(W, W, mode="affine"),
            "qqmm: mode 'affine' is not supported, expected 'mxfp4', 'mxfp8' or 'nvfp4'",
        ),
        (
            lambda: mx.gather_qqmm(W, W, mode="affine"),
            "gather_qqmm: mode 'affine' is not supported",
        ),
        (lambda: mx.qqmm(W[:, :60], W), r"qqmm: the last axis of \(4, 60\) is not a multiple"),
        (lambda: mx.qqmm(W.astype(mx.int32), W), "qqmm: .*int32"),
        (
            lambda: mx.gather_qmm(
                W, *mx.quantize(W, mode="nvfp4"), mode="nvfp4", global_scale=mx.ones((2, 1, 1))
            ),
            "gather_qmm: global_scale",
        ),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


@pytest.mark.parametrize("rows", [1, 12, 500])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_a_quantized_product_of_no_depth(rows, dtype):
    words, scales = mx.zeros((40, 0), mx.uint32), mx.zeros((40, 0), dtype)
    x = mx.zeros((rows, 0), dtype)
    y = mx.quantized_matmul(x, words, scales, scales, True, 64, 4)
    for z in (y, mx.square(y)):
        assert z.tolist() == mx.zeros((rows, 40), dtype).tolist()
    out = mx.gather_qmm(x, words[None], scales[None], scales[None], rhs_indices=mx.array([0, 0]))
    assert out.tolist() == mx.zeros((2, rows, 40), dtype).tolist()
