"""Affine quantization: packing, round trips, and products with quantized matrices; 8-bit floats."""

import ml_dtypes
import numpy as np
import pytest
from conftest import assert_close, assert_equal, mx_dtype, to_mx, to_np

import cermet.core as mx

BITS = (2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)


def unpack(packed, bits):
    """The unsigned integers of `bits` bits in rows of 32-bit words, the lowest bits first."""
    rows = packed.reshape(-1, packed.shape[-1])
    stream = np.unpackbits(rows.view(np.uint8), axis=1, bitorder="little")
    values = stream.reshape(*packed.shape[:-1], -1, bits)
    return (values * (1 << np.arange(bits))).sum(-1)


def dequantized(packed, scales, biases, bits):
    """The reference: scale times integer plus bias, for each group of a row."""
    q = unpack(to_np(packed), bits).astype(np.float64)
    scales, biases = (np.array(v.astype(mx.float64))[..., None] for v in (scales, biases))
    return (q.reshape(*scales.shape[:-1], -1) * scales + biases).reshape(q.shape)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_round_trip(bits, group_size, dtype, rng):
    w = to_mx(rng.normal(size=(6, 256))).astype(mx_dtype(dtype))
    packed, scales, biases = quantized = mx.quantize(w, group_size=group_size, bits=bits)
    assert packed.dtype == mx.uint32 and packed.shape == (6, 256 * bits // 32)
    assert scales.dtype == biases.dtype == w.dtype
    assert scales.shape == biases.shape == (6, 256 // group_size)
    got = mx.dequantize(*quantized, group_size=group_size, bits=bits)
    assert got.dtype == w.dtype
    rounding = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    assert_close(got, dequantized(*quantized, bits), rtol=rounding, atol=4 * rounding)
    error = np.abs(to_np(got.astype(mx.float32)) - to_np(w.astype(mx.float32)))
    step = np.abs(to_np(scales.astype(mx.float32))).repeat(group_size, axis=1)
    assert (error <= step + 4 * rounding).all()


@pytest.mark.parametrize("bits", BITS)
def test_exactly_representable_values(bits):
    """A group that holds each multiple of a power of two comes back exactly, and so does 0."""
    top = 2**bits - 1
    row = np.resize(np.arange(top + 1), 256) - (top + 1) // 2
    w = mx.array(row[None] / 8, dtype=mx.float32)
    if bits <= 6:  # a group of 64 holds every value
        got = mx.dequantize(*mx.quantize(w, bits=bits), bits=bits)
        assert_close(got, row[None] / 8, rtol=1e-6, atol=1e-6)
    assert_equal(
        mx.dequantize(*mx.quantize(mx.zeros((2, 64)), bits=bits), bits=bits), np.zeros((2, 64))
    )
    assert_close(
        mx.dequantize(*mx.quantize(mx.full((2, 64), 3.0), bits=bits), bits=bits),
        np.full((2, 64), 3.0),
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_nan_or_an_infinity_makes_its_group_nan(bits, value, rng):
    w = rng.normal(size=(3, 128)).astype(np.float32)
    w[1, 70] = value
    got = to_np(mx.dequantize(*mx.quantize(to_mx(w), bits=bits), bits=bits))
    assert np.isnan(got[1, 64:]).all() and np.isnan(got).sum() == 64


@pytest.mark.parametrize("bits", BITS)
def test_dequantize_given_words(bits, rng):
    """A checkpoint's words mean the same everywhere: the lowest bits come first."""
    words = rng.integers(0, 2**32, (3, 2 * bits), dtype=np.uint32)
    scales, biases = mx.array([[0.5], [2.0], [-1.0]]), mx.array([[1.0], [0.0], [7.0]])
    got = mx.dequantize(to_mx(words), scales, biases, group_size=64, bits=bits)
    assert_equal(got, dequantized(to_mx(words), scales, biases, bits))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_quantized_matmul(bits, transpose, dtype, rng):
    w = to_mx(rng.normal(size=(128, 256))).astype(mx_dtype(dtype))
    quantized = mx.quantize(w, bits=bits, group_size=64)
    wide = dequantized(*quantized, bits)
    rtol = {"float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}[dtype]
    for rows in ((), (1,), (3,), (33,), (2, 5), (0,)):
        x = to_mx(rng.normal(size=(*rows, 256 if transpose else 128)) / 16).astype(w.dtype)
        got = mx.quantized_matmul(x, *quantized, transpose=transpose, bits=bits, group_size=64)
        assert got.dtype == w.dtype
        want = np.array(x.astype(mx.float64)) @ (wide.T if transpose else wide)
        assert_close(got, want, rtol=rtol, atol=2 * rtol)


def test_quantized_matmul_of_batches(rng):
    w = to_mx(rng.normal(size=(2, 5, 64)).astype(np.float32))
    quantized = mx.quantize(w)
    x = to_mx(rng.normal(size=(2, 3, 64)).astype(np.float32))
    want = np.array(x).astype(np.float64) @ np.swapaxes(dequantized(*quantized, 4), -1, -2)
    assert_close(mx.quantized_matmul(x, *quantized), want, rtol=1e-5, atol=1e-5)
    transposed = mx.contiguous(x.swapaxes(1, 2)).swapaxes(1, 2)
    assert_close(mx.quantized_matmul(transposed, *quantized), want, rtol=1e-5, atol=1e-5)


def test_gather_qmm(rng):
    w = to_mx(rng.normal(size=(6, 5, 64)).astype(np.float32))
    quantized, index = mx.quantize(w), np.array([5, 0, 2, 2])
    x = to_mx(rng.normal(size=(4, 3, 64)).astype(np.float32))
    wide = dequantized(*quantized, 4)
    want = np.array(x).astype(np.float64) @ np.swapaxes(wide[index], -1, -2)
    got = mx.gather_qmm(x, *quantized, rhs_indices=mx.array(index))
    assert_close(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bits", [4, 8])
def test_gradient_of_quantized_matmul(bits, rng):
    quantized = mx.quantize(to_mx(rng.normal(size=(32, 64)).astype(np.float32)), bits=bits)
    wide = mx.dequantize(*quantized, bits=bits)
    x, c = (to_mx(rng.normal(size=(3, n)).astype(np.float32)) for n in (64, 32))
    _, (got,) = mx.vjp(lambda x: mx.quantized_matmul(x, *quantized, bits=bits), [x], [c])
    assert_close(got, np.array(c @ wide), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda w: mx.quantize(w[:, :60]),
        lambda w: mx.quantize(w[0]),
        lambda w: mx.quantize(w, bits=7),
        lambda w: mx.quantize(w, group_size=48),
        lambda w: mx.quantize(w.astype(mx.int32)),
        lambda w: mx.quantize(w, mode="magic"),
        lambda w: mx.quantized_matmul(mx.ones((3, 32)), *mx.quantize(w)),
        lambda w: mx.quantized_matmul(mx.ones((3, 64)), *mx.quantize(w), bits=8),
        lambda w: mx.dequantize(w, *mx.quantize(w)[1:]),
    ],
)
def test_errors(call):
    with pytest.raises(ValueError):
        mx.eval(call(mx.ones((4, 64))))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_fp8_reads_every_code(dtype):
    codes = np.arange(256, dtype=np.uint8)
    want = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    values = mx.from_fp8(mx.array(codes), getattr(mx, dtype))
    assert values.dtype == getattr(mx, dtype)
    assert_equal(values.astype(mx.float32), want)
    assert_equal(mx.to_fp8(values), np.where(np.isnan(want), 0x7F, codes))


def test_fp8_rounds_to_nearest_even(rng):
    exponents = rng.uniform(-12, 9, 5000)
    x = (rng.choice([-1, 1], 5000) * 2.0**exponents).clip(-448, 448).astype(np.float32)
    ties = (np.arange(64) + 0.5).astype(np.float32) / 512
    for values in (x, ties):
        want = values.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
        assert_equal(mx.to_fp8(mx.array(values)), want)


def test_fp8_limits():
    codes = mx.to_fp8(mx.array([464.0, 1e6, mx.inf, -mx.inf, mx.nan, -0.0]))
    assert codes.tolist() == [0x7E, 0x7E, 0x7E, 0xFE, 0x7F, 0x80]
    assert mx.from_fp8(codes).dtype == mx.bfloat16


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.to_fp8(mx.array([1])),
        lambda: mx.from_fp8(mx.array([1])),
        lambda: mx.from_fp8(mx.array([1], mx.uint8), mx.int32),
    ],
)
def test_fp8_errors(call):
    with pytest.raises(ValueError, match="fp8"):
        call()
