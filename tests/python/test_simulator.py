"""The simulator of Metal: what kernels compute, what the sanitizer finds, what is counted.

The expected values are NumPy's, by the rules of the Metal Shading Language Specification.
"""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

if sys.platform == "darwin":
    pytest.skip("the simulator does not run on macOS", allow_module_level=True)
from cermet.metal import simulator

if not simulator.compiler_available():
    pytest.skip("no compiler for Metal source", allow_module_level=True)
launch = simulator.launch

FOLDER = Path(__file__).parents[1] / "metal"
LANES = 32
RNG = np.random.default_rng(1)


def run(file, kernel, *buffers, grid, group=None, **options):
    """Launches with the buffers in the slots 0, 1, ..."""
    return launch(
        FOLDER / f"{file}.metal",
        kernel,
        dict(enumerate(buffers)),
        grid,
        grid if group is None else group,
        **options,
    )


def in_groups(x, width, f):
    """f of each `width` elements, the last of which may be fewer."""
    return np.concatenate([np.atleast_1d(f(x[i : i + width])) for i in range(0, len(x), width)])


def reduced(f):
    return lambda v: np.full(len(v), f(v))


def exclusive(scan, start):
    return lambda v: np.concatenate([[start], scan(v)[:-1]])


# ---- Simdgroups ----------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "int32", "uint8"])
@pytest.mark.parametrize("n", [64, 77])
@pytest.mark.parametrize("shuffle", [None, 1])
def test_reductions(dtype, n, shuffle):
    x = RNG.integers(1, 4, n).astype(dtype)
    x[::3] = 1
    out = np.zeros((14, n), dtype)
    run("simdgroups", f"reductions_{dtype.replace('32', '').replace('uint8', 'uchar')}",
        x, out, grid=n, shuffle=shuffle)  # fmt: skip
    wide = x.astype("float64" if dtype == "float32" else "int64")
    functions = [reduced(np.sum), reduced(np.prod), reduced(np.min), reduced(np.max),
                 np.cumsum, exclusive(np.cumsum, 0), np.cumprod, exclusive(np.cumprod, 1),
                 reduced(np.sum), reduced(np.prod), reduced(np.min), reduced(np.max),
                 np.cumsum, exclusive(np.cumsum, 0)]  # fmt: skip
    for row, (got, f) in enumerate(zip(out, functions, strict=True)):
        expected = in_groups(wide, LANES if row < 8 else 4, f).astype(dtype)
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=f"row {row}")


def test_bits():
    x = RNG.integers(0, 2**32, 70, dtype=np.uint32)
    out = np.zeros((6, 70), np.uint32)
    run("simdgroups", "bits", x, out, grid=70)
    for row, got in enumerate(out):
        f = (np.bitwise_and, np.bitwise_or, np.bitwise_xor)[row % 3].reduce
        np.testing.assert_array_equal(got, in_groups(x, LANES if row < 3 else 4, reduced(f)))


def test_shuffles():
    x = RNG.normal(size=64).astype(np.float16)
    out = np.zeros((15, 64), np.float16)
    run("simdgroups", "shuffles", x, out, grid=64)
    lane = np.arange(64) % LANES
    first = np.arange(64) - lane
    quad = np.arange(64) % 4
    down, up = lane + 3 < LANES, lane >= 3

    def at(source):
        return x[first + source]

    expected = [at((lane * 7 + 3) % LANES), at(lane ^ 5), at(np.where(down, lane + 3, lane)),
                at(np.where(up, lane - 3, lane)), at((lane + 3) % LANES), at((lane - 3) % LANES),
                np.where(down, at((lane + 3) % LANES), -at((lane + 3) % LANES)),
                np.where(up, at((lane - 3) % LANES), -at((lane - 3) % LANES)),
                at(9), at(0), at(lane ^ 1), at(np.where(quad < 3, lane + 1, lane)),
                at(np.where(quad > 0, lane - 1, lane)), at(lane - quad + 2)]  # fmt: skip
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[row], values, err_msg=f"row {row}")
    np.testing.assert_allclose(out[14], 10 * at(lane ^ 1).astype(float), rtol=4e-3)


@pytest.mark.parametrize("n", [32, 84])
def test_votes(n):
    x = RNG.integers(0, 2, n).astype(np.int32)
    x[32:64] = 1
    out = np.zeros((7, n), np.uint32)
    run("simdgroups", "votes", x, out, grid=n)

    def bits(v):
        return sum(1 << i for i, vote in enumerate(v) if vote)

    np.testing.assert_array_equal(out[0], in_groups(x, LANES, reduced(bits)))
    np.testing.assert_array_equal(out[1], in_groups(x, LANES, reduced(np.all)))
    np.testing.assert_array_equal(out[2], in_groups(x, LANES, reduced(np.any)))
    np.testing.assert_array_equal(out[3], in_groups(x * 0 + 1, LANES, reduced(bits)))
    np.testing.assert_array_equal(out[4], np.arange(n) % LANES == 0)
    np.testing.assert_array_equal(out[5], in_groups(x, 4, reduced(np.all)))
    np.testing.assert_array_equal(out[6], in_groups(x, 4, reduced(np.any)))


@pytest.mark.parametrize("shuffle", [None, *range(5)])
def test_divergence(shuffle):
    out = np.zeros((5, LANES), np.uint32)
    run("simdgroups", "divergence", out, grid=LANES, shuffle=shuffle, sanitize=True)
    lane = np.arange(LANES)
    np.testing.assert_array_equal(out[0], np.where(lane % 2, 256, 0))
    np.testing.assert_array_equal(out[1], 32)
    # In round k the lanes above k take part.
    np.testing.assert_array_equal(out[2], [sum(31 - k for k in range(i)) for i in lane])
    np.testing.assert_array_equal(out[3], 256)
    np.testing.assert_array_equal(out[4], np.where(lane < 20, 20, 0))


# ---- simdgroup_matrix ----------------------------------------------------------------------------
def test_matrix_layout():
    a = np.arange(64, dtype=np.float32).reshape(8, 8)
    out = np.zeros((LANES, 2), np.float32)
    run("simdgroup_matrix", "layout", a, out, grid=LANES)
    for lane in range(LANES):
        quad = lane // 4
        row, column = (quad & 4) + lane // 2 % 4, (quad & 2) * 2 + lane % 2 * 2
        np.testing.assert_array_equal(out[lane], a[row, column : column + 2])


@pytest.mark.parametrize("dtype", ["float", "half", "bfloat"])
def test_matrix_product(dtype):
    a, b = RNG.integers(-8, 9, (2, 24, 24)).astype(np.float32)  # exact in every type
    c = RNG.normal(size=(8, 8)).astype(np.float32)
    out = np.zeros(16 * 16, np.float32)

    def stored(x):
        if dtype == "bfloat":
            return (x.view(np.uint32) >> 16).astype(np.uint16)
        return x.astype({"float": np.float32, "half": np.float16}[dtype])

    counts = run("simdgroup_matrix", f"multiply_{dtype}", stored(a), stored(b), c, out,
                 grid=LANES, sanitize=True)  # fmt: skip
    left, right = a[8:16, 8:16], b[16:, :8]
    np.testing.assert_allclose(out[:64].reshape(8, 8), left @ right + c, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(
        out.reshape(16, 16)[8:, 8:], (left.T @ right + c).T, rtol=1e-6, atol=1e-5
    )
    assert counts["simdgroup_macs"] == 2 * 8**3


def test_matrix_through_threadgroup_memory():
    out = np.zeros((8, 8), np.float32)
    run("simdgroup_matrix", "through_threadgroup", out, grid=LANES, sanitize=True)
    np.testing.assert_array_equal(out, 9 * np.eye(8) + 1)


# ---- Atomics -------------------------------------------------------------------------------------
@pytest.mark.parametrize("shuffle", [None, 3])
def test_atomics(shuffle):
    a = np.array([5, 0, 100, -100, 0, 0], np.int32)
    b = np.array([2**32 - 1, 0, 0, 0], np.uint32)
    c = np.zeros(1, np.float32)
    old = np.zeros(48, np.int32)
    counts = run("atomics", "all_operations", a, b, c, old, grid=48, group=16, sanitize=True,
                 shuffle=shuffle)  # fmt: skip
    i = np.arange(48)
    np.testing.assert_array_equal(a, [5 + 96, -(i - 10).sum(), -10, 37, 42, 42])
    np.testing.assert_array_equal(b, [0, 2**32 - 1, np.bitwise_xor.reduce(i), 47])
    assert c[0] == 24
    np.testing.assert_array_equal(np.sort(old), 5 + 2 * i)
    assert counts["atomics"] == 9 * 48 + 3


def test_compare_exchange():
    product = np.ones(1, np.uint32)
    run("atomics", "compare_exchange", product, grid=8, group=4)
    assert product[0] == math.prod(range(1, 16, 2))


def test_threadgroup_atomics():
    x = RNG.integers(0, 8, 300).astype(np.uint32)
    counts = np.zeros((3, 8), np.uint32)
    run("atomics", "histogram", x, counts, grid=300, group=128, sanitize=True)
    parts = [np.bincount(x[i : i + 128], minlength=8) for i in (0, 128, 256)]
    np.testing.assert_array_equal(counts, parts)


# ---- Values --------------------------------------------------------------------------------------
def test_vectors():
    out = np.zeros(20, np.float32)
    run("values", "vectors", out, grid=1)
    w, u = np.array([1, 2, 9]), np.array([10, 3, 2])
    expected = [10, 2, 1, 2, *u, w @ u, *np.cross(w, u), 5, 5, 0, -1, 3, 2, 1, 0, 5]
    np.testing.assert_array_equal(out, expected)


def test_packed_vectors():
    x, out = np.arange(15, dtype=np.float32).reshape(5, 3), np.zeros((5, 3), np.float32)
    aligned = RNG.integers(0, 9, (5, 4)).astype(np.float32)
    run("values", "packed", x, out, aligned, grid=5, sanitize=True)
    np.testing.assert_array_equal(out, 2 * x + aligned[:, :3])


def to_bfloat(x):
    """The bits of float32 rounded to bfloat16, to nearest even."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bfloat(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_conversions():
    x = np.array([0, 1.5, -2.75, 1e-3, 65504, 65519.9, 65520, 1 + 2**-8, 1 + 2**-7 + 2**-8, 2**-24,
                  2**-25, -1e6, np.inf], np.float32)  # fmt: skip
    n = len(x)
    ints, halves = np.zeros(n, np.int32), np.zeros(n, np.float16)
    bfloats, patterns = np.zeros(n, np.uint16), np.zeros(n, np.uint32)
    run("values", "conversions", x, ints, halves, bfloats, patterns, grid=n)
    np.testing.assert_array_equal(ints[:-1], np.trunc(x[:-1]).astype(np.int32))
    np.testing.assert_array_equal(halves, x.astype(np.float16))
    np.testing.assert_array_equal(bfloats, to_bfloat(x))
    np.testing.assert_array_equal(patterns, x.view(np.uint32))


@pytest.mark.parametrize("dtype", ["half", "bfloat"])
def test_each_operation_rounds(dtype):
    def rounded(x):
        if dtype == "bfloat":
            return from_bfloat(to_bfloat(x)).astype(np.float64)
        return x.astype(np.float16).astype(np.float64)

    a, b = rounded(RNG.normal(size=(2, 500)))
    store = to_bfloat if dtype == "bfloat" else np.float16
    out = np.zeros((5, 500), np.uint16 if dtype == "bfloat" else np.float16)
    run("values", f"rounding_{dtype}", store(a), store(b), out, grid=500)
    got = from_bfloat(out) if dtype == "bfloat" else out
    # float32 holds these sums and products closely enough to round twice without harm.
    expected = [a + b, a - b, a * b, a / b, rounded((a * b).astype(np.float32)) + a]
    for row, values in zip(got, expected, strict=True):
        np.testing.assert_array_equal(row, rounded(values.astype(np.float32)))


def test_packing():
    x = np.concatenate([RNG.uniform(-1.2, 1.2, (9, 4)), [[-1, 0, 1, 0.5]]]).astype(np.float32)
    words, back = np.zeros((4, 10), np.uint32), np.zeros((2, 10, 4), np.float32)
    run("values", "packing", x, words, back, grid=10)
    unsigned, signed = np.clip(x, 0, 1), np.clip(x, -1, 1)
    layouts = [
        (np.uint8, np.rint(unsigned * np.float32(255))),
        (np.int8, np.rint(signed * np.float32(127))),
        (np.uint16, np.rint(unsigned[:, :2] * np.float32(65535))),
        (np.int16, np.rint(signed[:, :2] * np.float32(32767))),
    ]
    for row, (dtype, integers) in zip(words, layouts, strict=True):
        np.testing.assert_array_equal(row.view(dtype).reshape(10, -1), integers.astype(dtype))
    np.testing.assert_allclose(back[0], unsigned, atol=0.51 / 255)
    np.testing.assert_allclose(back[1], signed, atol=0.51 / 127)


# ---- Functions -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["uint32", "int32", "uint8", "int16"])
def test_integer_functions(name):
    dtype, info = np.dtype(name), np.iinfo(name)
    bits = info.bits
    x = RNG.integers(info.min, info.max, 60, dtype, endpoint=True)
    y = RNG.integers(info.min, info.max, 60, dtype, endpoint=True)
    x[:3] = info.min, info.max, 0
    out = np.zeros((15, 60), dtype)
    metal = {"uint32": "uint", "int32": "int", "uint8": "uchar", "int16": "short"}[name]
    run("functions", f"integers_{metal}", x, y, out, grid=60)

    def each(f):
        return [f(int(a), int(b), int(a) % 2**bits) for a, b in zip(x, y, strict=True)]

    def wrapped(v):
        return (np.array(v, object) % 2**bits).astype(f"uint{bits}").view(dtype)

    def saturated(v):
        return min(max(v, info.min), info.max)

    def field(u):
        v = u >> 3 & 15
        return v - 16 if info.min < 0 and v > 7 else v

    expected = [
        each(lambda a, b, u: u.bit_count()),
        each(lambda a, b, u: bits - u.bit_length()),
        each(lambda a, b, u: (u & -u).bit_length() - 1 if u else bits),
        each(lambda a, b, u: int(f"{u:0{bits}b}"[::-1], 2)),
        each(lambda a, b, u: saturated(a + b)),
        each(lambda a, b, u: saturated(a - b)),
        each(lambda a, b, u: (a + b) >> 1),
        each(lambda a, b, u: (a + b + 1) >> 1),
        each(lambda a, b, u: (a * b) >> bits),
        each(lambda a, b, u: min(a, b)),
        each(lambda a, b, u: max(a, b)),
        each(lambda a, b, u: min(max(a, 3), 90)),
        each(lambda a, b, u: field(u)),
        each(lambda a, b, u: u << 3 | u >> (bits - 3)),
        each(lambda a, b, u: abs(a - b)),
    ]
    for row, values in enumerate(expected):
        np.testing.assert_array_equal(out[row], wrapped(values), err_msg=f"row {row}")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_mathematical_functions(dtype):
    x = np.linspace(0.01, 0.99, 80).astype(dtype)
    out = np.zeros((32, 80), dtype)
    run("functions", "math_float" if dtype == np.float32 else "math_half", x, out, grid=80)
    v = x.astype(np.float64)
    nine = (dtype(9) * x).astype(np.float64)
    one_more = (x + dtype(1)).astype(np.float64)
    expected = [np.exp(v), np.log(v), np.exp2(v), np.log2(v), np.sin(v), np.cos(v), np.tan(v),
                np.arcsin(v), np.arccos(v), np.arctan(v), np.sinh(v), np.cosh(v), np.tanh(v),
                np.arcsinh(v), np.arccosh(one_more), np.arctanh(v), np.sqrt(v), v**-0.5, v**2.5,
                np.arctan2(v, 0.5), np.fmod(nine, 2), np.floor(nine), np.ceil(nine),
                np.trunc(-nine), np.rint(nine), v * v + 1, np.clip(v, 0.25, 0.75), 2 + 4 * v,
                v * v * (3 - 2 * v), v >= 0.5, np.sign((x - dtype(0.5)).astype(float)),
                -v]  # fmt: skip
    units = 4 * np.finfo(dtype).eps  # the specification allows 4 ULP and more
    for row, values in enumerate(expected):
        np.testing.assert_allclose(out[row], values, rtol=units, atol=units, err_msg=f"row {row}")


def test_special_values():
    out = np.zeros(16, np.float32)
    run("functions", "special", out, grid=1)
    np.testing.assert_array_equal(
        out, [1, 2, 3, 2, -1, 0.625, 4, 6, -0.25, -2, 1, 1, 0, 0, 1, 0.75]
    )


# ---- What others write --------------------------------------------------------------------------
def halves(*values):
    return np.array(values, np.float16)


IN = halves(1, 2, 3, 4)
F32 = np.float32
# The buffers that a kernel reads, by slot, then the output's slot and what it must hold.
IDIOMS = {
    "casts": ({0: IN}, 1, F32([-12, -9, -6, -3, 3, 4, 5, 6, 2, 4, 6, 8])),
    "lists": ({1: F32([7])}, 0, F32([2, 3, 7, 1, 7, 2, 3, 0, 7, 8, 7, 8])),
    "ranks": (
        {1: F32([0.1, 0.3, 5, 3]), 2: IN, 3: np.array([0], bool)},
        0,
        np.concatenate(
            [
                x := IN * halves(0.1) + halves(0.3),
                halves(5) - x / halves(3),
                halves(0.1).repeat(4),
                x * halves(0.7),
            ]
        ),
    ),
    "loaded_half": ({0: np.tile(IN, 2) * halves(2)}, 1, F32([8, 6, 4, 2])),
    "loaded_short": ({0: np.arange(8, dtype=np.int16)}, 1, F32([7, 6, 5, 4])),
    "filled_three": ({}, 0, F32([3])),
    "filled_with": ({1: F32([5])}, 0, F32([5])),
    "copies": ({1: F32([1, 2, 4]), 2: F32([1, 2, 3, 4])}, 0, F32([12, 9, 7, 6, 20])),
    "others": ({1: F32([2, -1, 3, 0])}, 0, F32([5, 1, 26, 8, 6, 7])),
}


@pytest.mark.parametrize("kernel", IDIOMS)
def test_idioms(kernel):
    buffers, slot, expected = IDIOMS[kernel]
    out = np.zeros_like(expected)
    constants = {7: 0.7} if kernel == "ranks" else {}
    file = FOLDER / "idioms.metal"
    launch(file, kernel, {**buffers, slot: out}, 1, 1, constants=constants, sanitize=True)
    np.testing.assert_array_equal(out, expected)


def test_a_filled_tile():
    out, by_columns = np.zeros((2, 64), np.float16)
    run("idioms", "tile", out, by_columns, grid=32)
    np.testing.assert_array_equal(out, np.full(64, 1.5))
    np.testing.assert_array_equal(by_columns, out)


def test_kernels():
    """What a source has, by the names that the host knows."""
    found = simulator.kernels(FOLDER / "idioms.metal")
    assert found.keys() == IDIOMS.keys() | {"tile"}
    assert found["ranks"] == [0, 1, 2, 3] and found["filled_three"] == [0]


def test_columns_after_a_converted_scalar():
    """A place behind what the compiler's answer has inserted is still the source's."""
    source = """#include <metal_stdlib>
kernel void k(device half4* a [[buffer(0)]], constant float& s [[buffer(1)]]) {
  a[0] = a[0] * s; a[3] = a[2];
}
"""
    with pytest.raises(simulator.SanitizerError, match=r"kernel\.metal:3:(2[0-9]|3[0-9])\b"):
        launch(source, "k", {0: np.zeros(4, np.float16), 1: F32([1])}, 1, 1, sanitize=True)


def test_includes_and_macros(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "deep.h").write_text(
        "#pragma once\n#include <metal_stdlib>\n#include <metal_math>\n"
        "using namespace metal;\n#define SCALED(x) (SCALE * (x))\n"
    )
    (tmp_path / "near.h").write_text('#include <deep.h>\n#include "lib/deep.h"\n')
    file = tmp_path / "k.metal"
    file.write_text(
        '#include "near.h"\nkernel void k(device float* a) { a[0] = SCALED(sqrt(a[0])); }\n'
    )
    options = {"include": [tmp_path / "lib"], "macros": {"SCALE": 3}}
    a = F32([16])
    launch(file, "k", {0: a}, 1, 1, **options)
    assert a == 12 and simulator.kernels(file, **options) == {"k": [0]}
    for options, message in [
        ({"macros": {"SCALE": 3}}, r"near\.h:1:10: error: 'deep\.h' file not found"),
        ({"include": [tmp_path / "lib"]}, r"k\.metal:2:\d+: error: .*SCALE"),
    ]:
        with pytest.raises(simulator.CompileError, match=message):
            simulator.kernels(file, **options)


# ---- Execution -----------------------------------------------------------------------------------
@pytest.mark.parametrize("shuffle", [None, 9])
def test_places(shuffle):
    grid, group = (10, 7, 5), (4, 3, 2)
    out = np.zeros((5, 7, 10, 8), np.uint32)
    counts = run("execution", "places", out, grid=grid, group=group, shuffle=shuffle)
    for z, y, x in np.ndindex(5, 7, 10):
        at = x // 4, y // 3, z // 2
        size = [min(g, n - t * g) for n, g, t in zip(grid, group, at, strict=True)]
        p = x % 4, y % 3, z % 2
        index = p[0] + size[0] * (p[1] + size[1] * p[2])
        assert list(out[z, y, x]) == [
            p[0] + 4 * (p[1] + 3 * p[2]),
            at[0] + 3 * (at[1] + 3 * at[2]),
            size[0] + 100 * (size[1] + 100 * size[2]),
            index,
            index % LANES,
            index // LANES,
            -(-math.prod(size) // LANES),
            LANES,
        ]
    assert (counts["threads"], counts["threadgroups"], counts["max_threads"]) == (350, 27, 24)


def test_whole_threadgroups():
    out = np.zeros((6, 4), np.uint32)
    run("execution", "two_axes", out, grid=(2, 3), group=(2, 2), groups=True)
    np.testing.assert_array_equal(out, [[x * 10 + y for x in range(4)] for y in range(6)])


@pytest.mark.parametrize("n", [256, 300])
def test_threadgroup_memory(n):
    x = RNG.normal(size=n).astype(np.float32)
    expected = in_groups(x, 128, lambda v: v[::-1])
    counts = run("execution", "reverse", x, grid=n, group=128, threadgroup=[512], sanitize=True)
    np.testing.assert_array_equal(x, expected)
    assert counts["max_threadgroup_bytes"] == 512 + 1024
    assert counts["threadgroup_barriers"] == 2 * -(-n // 128)


def test_tree_sum():
    x = RNG.integers(0, 100, 512).astype(np.float32)
    sums = np.zeros(4, np.float32)
    run("execution", "tree_sum", x, sums, grid=512, group=128, sanitize=True)
    np.testing.assert_array_equal(sums, x.reshape(4, 128).sum(1))


@pytest.mark.parametrize(
    "values, expected",
    [
        ({}, [0, 0, 0, -1]),
        ({0: True, 1: -5, 2: 7, 3: 2.5}, [1, -5, 7, 2.5]),
        ({0: False, 3: 0.5}, [0, 0, 0, 0.5]),
    ],
)
def test_function_constants(values, expected):
    out = np.zeros(4, np.float32)
    run("execution", "constants", out, grid=1, constants=values)
    np.testing.assert_array_equal(out, expected)


def test_constant_memory():
    out, bias = np.zeros(9, np.float32), np.arange(9, dtype=np.float32)
    settings = np.float32(3).tobytes() + np.int32(2).tobytes()
    run("execution", "constant_memory", out, settings, bias, grid=9, sanitize=True)
    np.testing.assert_array_equal(out, 3 * 2.0 ** ((np.arange(9) + 2) % 4) + bias)


# ---- The sanitizer -------------------------------------------------------------------------------
BUGS = FOLDER / "bugs.metal"
LINES = BUGS.read_text().splitlines()


def planted():
    """Each kernel with the line and the class of its bug, or None."""
    kernel, found = None, {}
    for number, line in enumerate(LINES, 1):
        if match := re.match(r"kernel void (\w+)", line):
            kernel = match[1]
            found[kernel] = None
        if match := re.search(r"// expect: (.+)", line):
            found[kernel] = number, match[1]
    return [pytest.param(kernel, bug, id=kernel) for kernel, bug in found.items()]


def launch_bug(kernel, **options):
    x, y = np.zeros(128, np.float32), np.zeros(128, np.float32)
    z = np.zeros(4, np.float32)
    words = " ".join(LINES)
    words = words[words.index(f"kernel void {kernel}(") :]
    slots = {int(s) for s in re.findall(r"buffer\((\d)\)", words[: words.index("{")])}
    buffers = {slot: (x, y, z)[slot] for slot in slots}
    return launch(BUGS, kernel, buffers, 128, 64, threadgroup=[256], **options)


@pytest.mark.parametrize("shuffle", [None, 4])
@pytest.mark.parametrize("kernel, bug", planted())
def test_planted_bugs(kernel, bug, shuffle):
    if bug is None:
        launch_bug(kernel, sanitize=True, shuffle=shuffle)
        return
    line, what = bug
    with pytest.raises(simulator.SanitizerError) as error:
        launch_bug(kernel, sanitize=True, shuffle=shuffle)
    findings = str(error.value).splitlines()
    assert any(what in f and f"bugs.metal:{line}:" in f and f"kernel {kernel}," in f
               for f in findings), findings  # fmt: skip
    assert all(f"bugs.metal:{line}:" in f for f in findings), findings


def test_out_of_bounds_writes_do_not_happen():
    memory = np.zeros(200, np.float32)
    with pytest.raises(simulator.SanitizerError, match="at byte 400 of buffer 0"):
        launch(BUGS, "write_past_end", {0: memory[:100]}, 128, 64, sanitize=True)
    assert not memory.any()


def test_a_finding_names_everything():
    x, y = np.zeros(128, np.float32), np.zeros(100, np.float32)
    with pytest.raises(simulator.SanitizerError) as error:
        launch(BUGS, "read_past_end", {0: x, 1: y}, 128, 64, sanitize=True)
    line = next(i for i, text in enumerate(LINES, 1) if "expect" in text)
    assert re.fullmatch(
        r"out-of-bounds read of 4 bytes at byte 400 of buffer 1 \(400 bytes\): kernel "
        r"read_past_end, thread \(35, 0, 0\) of threadgroup \(1, 0, 0\), at "
        rf"bugs\.metal:{line}:\d+",
        str(error.value),
    )


def test_a_race_names_both_threads():
    with pytest.raises(simulator.SanitizerError) as error:
        launch_bug("across_threadgroups", sanitize=True)
    threads = re.findall(r"thread \((\d+), 0, 0\) of threadgroup \((\d), 0, 0\)", str(error.value))
    assert threads == [("0", "1"), ("0", "0")]
    assert len(re.findall(r"at bugs\.metal:\d+:\d+", str(error.value))) == 2


def test_buffers_may_share_memory():
    x = np.zeros(8, np.float32)
    source = """
        kernel void shift(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                          uint i [[thread_position_in_grid]]) { y[i] = x[i]; }"""
    launch(source, "shift", {0: x, 1: x}, 8, 8, sanitize=True)
    with pytest.raises(simulator.SanitizerError, match="data race"):
        launch(source, "shift", {0: x[:4], 1: x[1:5]}, 4, 4, sanitize=True)


# ---- Limits and errors ---------------------------------------------------------------------------
BIG = """
kernel void big(device float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[9000];
  s[i] = 1;
  x[i] = s[i];
}
[[max_total_threads_per_threadgroup(64)]]
kernel void small(device float* x [[buffer(0)]]) { x[0] = 1; }
"""


@pytest.mark.parametrize(
    "kernel, slots, grid, group, message",
    [
        ("big", [0], 32, 32, "threadgroup memory"),
        ("big", [], 32, 32, "nothing is bound to buffer 0"),
        ("big", [0, 31], 32, 32, "slots are 0 to 30"),
        ("small", [0], 65, 65, "1 to 64"),
        ("big", [0], 1025, 1025, "1 to 1024"),
        ("big", [0], 0, 32, "no threads"),
        ("big", [0], (1, 2, 3, 4), 32, "1 to 3 counts"),
        ("none", [0], 32, 32, "no kernel none"),
    ],
)
def test_limits(kernel, slots, grid, group, message):
    buffers = {slot: np.zeros(64, np.float32) for slot in slots}
    with pytest.raises(ValueError, match=message):
        launch(BIG, kernel, buffers, grid, group)
    # Nothing is left behind.
    launch(BIG, "small", {0: np.zeros(1, np.float32)}, 8, 8)


def test_errors_of_arguments():
    out = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="index 9"):
        run("execution", "constants", out, grid=1, constants={9: 1})
    with pytest.raises(TypeError, match="buffer 0"):
        run("execution", "constants", 3, grid=1)
    with pytest.raises(ValueError, match="multiple of 16"):
        run("execution", "constants", out, grid=1, threadgroup=[20])


def test_compile_errors_name_the_line():
    with pytest.raises(simulator.CompileError, match=r"kernel\.metal:2:\d+: error: .*unknown"):
        launch(
            "kernel void f(device float* x [[buffer(0)]]) {\n  x[0] = unknown;\n}", "f", {}, 1, 1
        )


# ---- Counts --------------------------------------------------------------------------------------
TRAFFIC = """
#include <metal_stdlib>
using namespace metal;
kernel void traffic(device const float* x [[buffer(0)]], device half* y [[buffer(1)]],
                    constant float& scale [[buffer(2)]], uint g [[thread_position_in_grid]],
                    uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = x[g];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float v = s[63 - i] + s[i ^ 1];
  y[g] += half(simd_sum(v) * scale);
}
"""


def test_traffic():
    x, y = np.ones(256, np.float32), np.zeros(256, np.float16)
    counts = launch(
        TRAFFIC, "traffic", {0: x, 1: y, 2: np.float32(2).tobytes()}, 256, 64, count=True
    )
    np.testing.assert_array_equal(y, 128)
    expected = {
        "dispatches": 1,
        "threadgroups": 4,
        "threads": 256,
        "max_threads": 64,
        "max_threadgroup_bytes": 256,
        "device_read": 256 * (4 + 2),
        "device_written": 256 * 2,
        "constant_read": 256 * 4,
        "threadgroup_read": 256 * 8,
        "threadgroup_written": 256 * 4,
        "atomics": 0,
        "simdgroup_macs": 0,
        "simd_operations": 8,
        "threadgroup_barriers": 4,
        "simdgroup_barriers": 0,
    }
    assert counts == expected
