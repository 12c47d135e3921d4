"""The Metal backend, run on the simulated device: traffic, checked kernels, order, streams, memory.

Expected values are NumPy's or the CPU's.
"""

import gc
import os
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import (
    NUMPY_DTYPES,
    assert_close,
    assert_equal,
    counted,
    exact_sample,
    mx_dtype,
    to_mx,
    to_np,
)

import cermet.core as mx

if not mx.metal.is_available() or not mx.metal.device_info()["simulated"]:
    pytest.skip("needs the simulated Metal device", allow_module_level=True)
from cermet.metal import simulator

FLOAT = 4  # bytes
KINDS = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
         "float16", "bfloat16", "float32", "complex64")  # fmt: skip


pytestmark = pytest.mark.usefixtures("on_the_gpu")


@contextmanager
def mode(**options):
    """How the device runs kernels within."""
    simulator.set_mode(**options)
    try:
        yield
    finally:
        simulator.set_mode()


def floats(rng, *shape):
    """An evaluated array of small whole numbers, of which sums are exact."""
    return to_mx(exact_sample(rng, shape, "float32"))


def pointer(a):
    """Where the elements of an array lie."""
    return np.asarray(memoryview(a)).__array_interface__["data"][0]


# ---- Traffic -------------------------------------------------------------------------------------
def assert_traffic(read, written, *arrays):
    counts = counted(*arrays)
    assert (counts["device_read"], counts["device_written"]) == (read, written)
    return counts


@pytest.mark.parametrize("rows, columns", [(8, 4096), (37, 53)])
def test_elementwise_programs_read_and_write_once(rows, columns, rng):
    x, y = floats(rng, rows, columns), floats(rng, rows, columns)
    whole = rows * columns * FLOAT
    s = mx.sin(x) + y
    counts = assert_traffic(2 * whole, 2 * whole, s, mx.exp(s * x) - mx.tanh(y) * s)
    assert counts["dispatches"] == 1


def test_broadcast_operands_are_read_by_each_thread(rng):
    x, w = floats(rng, 8, 4096), floats(rng, 4096)
    whole = 8 * 4096 * FLOAT
    assert_traffic(2 * whole, whole, x * w + 1)


def rms_norm(x, w):
    return x * mx.rsqrt(mx.mean(mx.square(x), axis=-1, keepdims=True) + 1e-5) * w


def softmax(x):
    e = mx.exp(x - mx.max(x, axis=-1, keepdims=True))
    return e / mx.sum(e, axis=-1, keepdims=True)


def test_normalisations_read_the_input_once(rng):
    x, w = floats(rng, 8, 4096), floats(rng, 4096)
    whole = 8 * 4096 * FLOAT
    assert whole == 131_072
    for y in (rms_norm(x, w), mx.fast.rms_norm(x, w, 1e-5)):
        # Each of the 8 rows reads the weight.
        assert assert_traffic(whole + 8 * 4096 * FLOAT, whole, y)["dispatches"] == 1
    for y in (softmax(x), mx.softmax(x, axis=-1)):
        assert assert_traffic(whole, whole, y)["dispatches"] == 1


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_norms_of_halves_read_and_write_once(name, dtype, rng):
    """The weight is widened as it is read, by no step of its own."""
    x, w = (mx.random.normal(shape).astype(dtype) for shape in [(16, 1024), (1024,)])
    mx.eval(x, w)
    weights = [w] if name == "rms_norm" else [w, w * 2]
    mx.eval(weights)
    y = getattr(mx.fast, name)(x, *weights, eps=1e-5)
    assert y.dtype == dtype
    counts = assert_traffic(x.nbytes + len(weights) * 16 * w.nbytes, x.nbytes, y)
    assert counts["dispatches"] == 1


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_long_rows_are_read_once_a_pass(rows, dtype):
    """By the whole GPU where they are few: the exponentials are computed again, not stored."""
    length = 128_000 if rows < 100 else 8_000
    x = mx.random.normal((rows, length)).astype(dtype)
    mx.eval(x)
    counts = counted(mx.softmax(x, axis=-1))
    # Where rows are few, each thread of the last program reads the two numbers of its row.
    twice = 0 if rows > 100 else 2 * FLOAT * x.size
    assert counts["device_read"] + counts["device_written"] <= 4.1 * x.nbytes + twice
    assert counts["threadgroups"] >= min(rows * length // 4096, 300)
    counts = counted(mx.logsumexp(x, axis=-1))
    assert counts["device_read"] + counts["device_written"] <= 2.1 * x.nbytes


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", [d for d in KINDS if d != "complex64"])
def test_searchsorted_is_one_kernel(dtype, side, rng):
    x, v = exact_sample(rng, (1000,), dtype), exact_sample(rng, (30, 20), dtype)
    if np.dtype(NUMPY_DTYPES[dtype]).kind in "fV":
        x[::7], v[::7] = np.nan, np.nan
    x = mx.sort(to_mx(x))
    v = to_mx(v)[:, ::2].T
    mx.eval(x, v)
    found = mx.searchsorted(x, v, side=side)
    with mx.stream(mx.cpu):
        want = mx.searchsorted(x, v, side=side)
    assert counted(found)["dispatches"] == 1
    assert_equal(found, to_np(want))


@pytest.mark.parametrize("traditional", [False, True])
def test_rope_reads_and_writes_once(traditional, rng):
    """Sines and cosines of the positions are computed before, once for all layers."""
    heads, length, dims = 8, 64, 32
    x = floats(rng, 1, heads, length, dims)

    def rope(x):
        return mx.fast.rope(x, dims, traditional=traditional, base=1e4, scale=1.0, offset=3)

    table, positions = length * dims // 2 * FLOAT, length * FLOAT
    angles = {"dispatches": 2, "written": positions + 2 * table}
    # Each head reads the tables, each frequency the positions, each position the frequencies.
    angles["read"] = table + table + heads * 2 * table
    counts = assert_traffic(x.nbytes + angles["read"], x.nbytes + angles["written"], rope(x))
    assert counts["dispatches"] == 1 + angles["dispatches"]
    again = counted(rope(rope(rope(x))))
    assert again["dispatches"] == 3 + angles["dispatches"]
    assert again["device_written"] == 3 * x.nbytes + angles["written"]


@pytest.mark.parametrize(
    "axis, shape, outputs, partials",
    [
        (1, (8, 4096), 8, 0),
        (1, (40, 100), 40, 0),
        (1, (50, 9), 50, 0),
        (0, (300, 77), 77, 0),
        (None, (8, 4096), 1, 8),  # chunks of a block
        (1, (3, 20_000), 3, 15),
        (0, (9000, 3), 3, 9),
    ],
)
def test_sums_read_the_input_once(axis, shape, outputs, partials, rng):
    x = floats(rng, *shape)
    y = mx.sum(x, axis)
    read = np.prod(shape) * FLOAT
    counts = assert_traffic(read + partials * FLOAT, (outputs + partials) * FLOAT, y)
    assert counts["dispatches"] == (2 if partials else 1)
    assert_equal(y, np.sum(to_np(x), axis))


def test_matrix_product(rng):
    a, b = floats(rng, 256, 256), floats(rng, 256, 256)
    for product in (a @ b, a.T @ b, a @ b.T):
        counts = counted(product)
        assert counts["device_read"] <= 2_097_152  # 4 x 4 tiles of 64 x 64: a quarter of it each
        assert counts["device_written"] == 256 * 256 * FLOAT
        assert counts["simdgroup_macs"] == 256**3 == 16_777_216


def test_matrix_vector_products_read_the_matrix_once(rng):
    rows, columns = 256, 384
    a = floats(rng, rows, columns)
    long, short = floats(rng, columns), floats(rng, rows)
    # Four results share a read of the vector.
    read = (rows * columns + rows * columns // 4) * FLOAT
    for y, n in [
        (a @ long, rows),
        (short @ a, columns),
        (a.T @ short, columns),
        (long @ a.T, rows),
    ]:
        assert_traffic(read, n * FLOAT, y)


# ---- Checked kernels -----------------------------------------------------------------------------
def check(cases, rtol=0, dispatches=None):
    """Evaluates on the GPU, checked and in a random order, and on the CPU: functions of nothing.

    Kernels of one evaluation compile together, so there is one for all.
    """
    got = {name: case() for name, case in cases.items()}
    simulator.reset_counters()
    with mode(sanitize=True, shuffle=len(cases)):
        mx.eval(got)
    least = len(cases) if dispatches is None else dispatches
    assert simulator.counters()["dispatches"] >= least, "some ran on the CPU"
    with mx.stream(mx.cpu):
        want = {name: case() for name, case in cases.items()}
        mx.eval(want)
    for name, value in want.items():
        assert got[name].dtype == value.dtype, name
        if rtol:
            assert_close(got[name], to_np(value), rtol, rtol, name)
        else:
            assert_equal(got[name], to_np(value), name)


def test_the_sanitizer_watches():
    """A kernel that writes beyond its output is found, so silence elsewhere means something."""
    kernel = mx.fast.metal_kernel("beyond", [], ["y"], "y[thread_position_in_grid.x + 1] = 1;")
    with mode(sanitize=True), pytest.raises(simulator.SanitizerError, match=r"beyond\.metal:1"):
        mx.eval(kernel(inputs=[], output_shapes=[(8,)], output_dtypes=[mx.float32], grid=(8, 1, 1),
                       threadgroup=(8, 1, 1)))  # fmt: skip


def centred(axis):
    """Has a value that three passes over a row, or column, need."""

    def f(x):
        d = x - mx.max(x, axis=axis, keepdims=True)
        return d * d + mx.min(d, axis=axis, keepdims=True)

    return f


def with_many_values(x):
    """More values for the second pass than registers hold."""
    a, b, c, d, e = (x * k for k in (2, 3, 5, 7, 11))
    m = mx.max(a + b + c + d + e, axis=1, keepdims=True)
    return (a - m) * (b - m) + (c - m) * (d - m) + (e - m)


# Each kind of generated program: an input's shape, a function, and what its source has in it.
PROGRAMS = {
    "flat 1-d": ((1000,), lambda x: x * x + x, "uint i [[thread_position_in_grid]]"),
    "flat 2-d": ((33, 70), lambda x: x * x[:, :1] + x[:1], "uint2 position"),
    "flat 3-d": ((9, 10, 11), lambda x: x * x[::-1, :, ::-1] + x[:, :1], "uint3 position"),
    "flat n-d": (
        (3, 4, 5, 6, 8),
        lambda x: x[:, ::-1, :, ::2] * x[:, :1, ::-1, 1::2] + x[:1, :, :1, :3],
        "plane1_extent",
    ),
    "solo": ((40, 9), lambda x: mx.sum(x * x, 1), "row = position;"),
    "solo columns": ((9, 40), lambda x: mx.max(x, 0), "row = position;"),
    "simd": ((13, 100), lambda x: mx.sum(x, 1) * 2, "fold_simdgroup<"),
    "simd kept": ((13, 100), centred(1), "j = lane + k * 32"),
    "simd looped": ((3, 4000), with_many_values, "base += 64"),
    "group": ((5, 2000), lambda x: mx.sum(x, 1), "fold_threadgroup<"),
    "group kept": ((5, 2000), centred(1), "j = thread_index + k * 256"),
    "columns": ((300, 37), lambda x: mx.sum(x, 0), "fold_slices<"),
    "columns kept": ((60, 37), centred(0), "j = slice + k * 8"),
    "columns looped": ((300, 37), centred(0), "base += 64"),
    "chunked rows": ((3, 20_000), lambda x: mx.sum(x, 1), "first = chunk * arguments.chunk_blocks"),
    "chunked columns": ((9000, 3), lambda x: mx.sum(x, 0), "position.z % arguments.chunks"),
    "middle axes": ((4, 50, 6, 7), lambda x: mx.sum(x, (1, 2)), "fold_slices<"),
    "outer axes": ((6, 5, 40, 3), lambda x: mx.max(x, (0, 2)), "j1_extent"),
}


# Of many long rows, which take their time on a simulator.
LONG_PROGRAMS = {
    "group of blocks": ((256, 4200), centred(1), "combine_simdgroups<"),
    "group of 1024": ((256, 40_000), centred(1), "(first + simdgroup)"),
    "columns of blocks": ((4200, 8200), centred(0), "Blocks<"),
}


@pytest.mark.parametrize("dtype", KINDS)
def test_programs(dtype, rng):
    cases = {}
    for name, (shape, f, _) in PROGRAMS.items():
        x = to_mx(exact_sample(rng, shape, dtype))
        cases[name] = lambda f=f, x=x: f(x)
    check(cases, dispatches=1)


@pytest.mark.parametrize("name", PROGRAMS | LONG_PROGRAMS)
def test_sources_of_programs(name):
    shape, f, expected = (PROGRAMS | LONG_PROGRAMS)[name]
    assert expected in mx.metal.source(f(mx.zeros(shape)))


def test_sources_tell_views_apart():
    x = mx.arange(100.0)
    views = [x[::2], x[::-2]]
    mx.eval(views)
    check({"strided": lambda: views[0] * views[1]})
    source = mx.metal.source(views[0] * views[1])
    assert "arguments.in0_i" in source and "arguments.in1_i" in source


def test_one_source_for_all_shapes_of_a_kind(rng):
    def source(rows, columns, f=softmax):
        return mx.metal.source(f(floats(rng, rows, columns)))

    assert source(8, 4096) == source(3, 4000)
    assert source(8, 4096) != source(8, 40)  # a simdgroup a row
    assert source(100, 3, lambda x: x * 2 + x) == source(7, 9, lambda x: x * 3 + x)
    text = source(8, 4096)
    for part in ("[[kernel]] void max_subtract_exp_sum_", "device const float* in0 [[buffer(0)]]",
                 "device float* out0 [[buffer(1)]]", "fold_threadgroup<Max<float>>",
                 "fold_threadgroup<Sum<float>>"):  # fmt: skip
        assert part in text
    assert text.count("in0[") == text.count("out0[") == 1


def test_complete_source_runs_as_it_is(rng):
    x = exact_sample(rng, (6, 1000), "float32")
    text = mx.metal.source(softmax(to_mx(x)), complete=True)
    name = text.rpartition("[[kernel]] void ")[2].partition("(")[0]
    members = text.rpartition(f"struct {name}_arguments {{")[2].partition("}")[0].split()
    assert members == ["int", "length;"]
    y = np.zeros_like(x)
    simulator.launch(text, name, {0: x, 1: y, 2: np.int32([1000])}, grid=6 * 256, group=256,
                     sanitize=True)  # fmt: skip
    e = np.exp(x - x.max(1, keepdims=True, initial=-9))
    assert_close(y, e / e.sum(1, keepdims=True))


def test_other_steps_are_named():
    text = mx.metal.source(mx.sort(mx.zeros(9) + 1), mx.linalg.inv(mx.eye(2), stream=mx.cpu))
    assert "// sort: a kernel of metal/." in text and "on the CPU." in text


# ---- Every family of kernels
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64"])
def test_matmul(dtype, rng):
    cases = {}

    def add(name, left, right, view=lambda a, b: (a, b), product=mx.matmul):
        arrays = [to_mx(exact_sample(rng, shape, dtype)) for shape in (left, right)]
        cases[name] = lambda: product(*view(*arrays))

    sizes = [(64, 64, 64), (33, 17, 65), (128, 40, 20), (20, 40, 128), (5, 200, 7),
             (16, 3000, 16), (1, 100, 90), (90, 100, 1), (200, 1, 100), (2, 2, 2),
             (257, 31, 66)]  # fmt: skip
    for m, k, n in sizes[4:-1] if dtype == "complex64" else sizes:
        add(f"{m} x {k} x {n}", (m, k), (k, n))
        add(f"{m} x {k} x {n} transposed", (k, m), (n, k), lambda a, b: (a.T, b.T))
    add("gemv, long", (3, 5000), (5000,))
    add("gemv, columns", (3000,), (3000, 5))
    add("batched", (2, 3, 20, 24), (3, 24, 40))
    add("batched gemv", (4, 20, 24), (4, 24, 1))
    add("broadcast batch", (2, 1, 40, 8), (1, 3, 8, 40))
    add("steps", (70, 90), (60, 60), lambda a, b: (a[::2, ::-3], b[::2, 7:41]))
    add("offsets", (70, 90), (60, 60), lambda a, b: (a[3:40, 1:54], b[5:58, 1:]))
    add("no k", (3, 0), (0, 4))
    if dtype != "complex64":
        c = to_mx(exact_sample(rng, (1, 33), dtype))
        for rows in (1, 40):
            add(f"addmm {rows}", (rows, 50), (50, 33),
                product=lambda a, b: mx.addmm(c, a, b, 2.0, 0.5))  # fmt: skip
    check(cases, dispatches=len(cases) - 1)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "complex64"])
def test_copies(dtype, rng):
    def array(*shape):
        return to_mx(exact_sample(rng, shape, dtype))

    v, m, t, q = array(5003), array(67, 45), array(7, 33, 40), array(2, 3, 4, 5, 6)
    d = array(*[2] * 9)
    index = mx.array(3)
    cases = {
        "steps": lambda: mx.contiguous(v[1::3]),
        "reversed": lambda: mx.contiguous(v[::-1]),
        "transposed": lambda: mx.contiguous(m.T),
        "part transposed": lambda: mx.contiguous(m[1:40, 2:].T),
        "batch transposed": lambda: mx.contiguous(t.swapaxes(1, 2)),
        "rotated": lambda: mx.contiguous(t.transpose(2, 0, 1)),
        "five axes": lambda: mx.contiguous(q.transpose(4, 1, 3, 0, 2)[:, ::-1]),
        "nine axes": lambda: mx.contiguous(d.transpose(8, 0, 7, 1, 6, 2, 5, 3, 4)),
        "broadcast": lambda: mx.contiguous(mx.broadcast_to(m[:, :1], (9, 67, 45))),
        "reshape": lambda: m.T.reshape(9, 67, 5),
        "concatenate": lambda: mx.concatenate([m[:10], m[20:21], m[::-5]]),
        "concatenate columns": lambda: mx.concatenate([m, m[:, 3:4], m[:, ::-1]], 1),
        "stack": lambda: mx.stack([t[0], t[1, ::-1], t[2]], 1),
        "pad": lambda: mx.pad(m, ((1, 2), (3, 0))),
        "roll": lambda: mx.roll(t, 3, 1),
        "slice_update": lambda: mx.slice_update(m, m[:3, :4], mx.array([5, 6]), (0, 1)),
        "slice": lambda: mx.slice(m, index, (0,), (20, 45)),
        "view": lambda: mx.contiguous(m.view(mx.uint8)),
        "set": lambda: m.at[3:60:7, ::-2].multiply(m[:9, :23]),
    }  # fmt: skip
    check(cases, dispatches=len(cases) - 2)


def test_casting_copies(rng):
    x = {dtype: to_mx(exact_sample(rng, (33, 20), "uint8").astype(NUMPY_DTYPES[dtype]))
         for dtype in KINDS}  # fmt: skip
    check({f"{a} to {b}": lambda a=a, b=b: mx.contiguous(x[a].T.astype(mx_dtype(b)))
           for a in KINDS for b in KINDS if a != "complex64"}, dispatches=1)  # fmt: skip


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "float32", "int64", "complex64"])
def test_gather_and_scatter(dtype, rng):
    def array(*shape):
        return to_mx(exact_sample(rng, shape, dtype))

    def indices(n, *shape, dtype="int32"):
        low = 0 if dtype.startswith("u") else -n
        return to_mx(rng.integers(low, n, shape).astype(dtype))

    v, m, t = array(1000), array(60, 37), array(5, 6, 70)
    i, j, k = indices(60, 40), indices(37, 40), indices(6, 3, 4, dtype="uint8")
    few = indices(60, 500, dtype="int64")  # each is named about 8 times
    pairs = (indices(5, 90), indices(70, 90))
    order = to_mx(np.argsort(rng.random((60, 37)), 1).astype("int32"))
    cases = {
        "take": lambda: mx.take(v, few, 0),
        "take rows": lambda: m[i],
        "take columns": lambda: m[:, j],
        "take of a view": lambda: m[::-2, 3:][i % 30],
        "take of three axes": lambda: t[:, k],
        "two indices": lambda: m[i, j],
        "indices apart": lambda: t[pairs[0], :, pairs[1]],
        "take_along_axis": lambda: mx.take_along_axis(m, order, 1),
        "put_along_axis": lambda: mx.put_along_axis(m, order, m * m, 1),
    }
    updates, block = array(500, 37), array(90, 6)
    if dtype != "complex64":  # so that products stay small
        block = mx.sign(block)
        mx.eval(block)
    modes = ["add", "multiply", "maximum", "minimum"]
    if dtype in ("int64", "complex64"):
        modes = ["add"]  # others of 8 bytes run on the CPU
    if dtype != "bool":
        for update in modes:
            small = updates if update != "multiply" else mx.sign(updates)
            cases |= {
                f"{update} rows": lambda u=update, s=small: getattr(m.at[few], u)(s),
                f"{update} items": lambda u=update, s=small: getattr(v.at[few], u)(s[:, 0]),
                f"{update} view": lambda u=update, s=small[:, ::-1]: getattr(
                    m[1::2].at[few % 30], u)(s),
                f"{update} apart": lambda u=update: getattr(t.at[pairs[0], :, pairs[1]], u)(block),
            }  # fmt: skip

    def assigned(a, where, value):
        a = a + 0 if dtype != "bool" else a | False
        a[where] = value
        return a

    cases |= {
        "set rows": lambda: assigned(m, few, updates),
        "set items": lambda: assigned(v, few, updates[:, 0]),
        "set apart": lambda: assigned(t, (pairs[0], slice(None), pairs[1]), block),
        "set one value": lambda: assigned(m, (i, j), v[0]),
        "set columns": lambda: assigned(m, (slice(None), j), m[:, :1]),
    }
    check(cases)


def test_creation():
    dtypes = [mx_dtype(d) for d in KINDS if d not in ("bool", "complex64")]
    cases = {f"arange {d}": lambda d=d: mx.arange(3, 90, 2, dtype=d) for d in dtypes}
    cases |= {
        "arange, down": lambda: mx.arange(1000, -1000, -3),
        "arange, halves": lambda: mx.arange(0.0, 300, 0.5),
        "linspace": lambda: mx.linspace(0, 1, 65),
        "eye": lambda: mx.eye(33, 20, k=2),
        "tri": lambda: mx.tri(40),
    }
    check(cases, dispatches=len(dtypes))


def test_random_bits():
    keys = mx.random.split(mx.random.key(5), 6)
    mx.eval(keys)
    key = keys[0]
    cases = {
        f"{shape}": lambda s=shape: mx.random.randint(0, 2**31 - 1, s, key=key)
        for shape in [(1,), (2,), (3,), (7, 3), (1000,), (33, 5)]
    }
    cases |= {
        "many keys": lambda: mx.vmap(lambda k: mx.random.randint(0, 99, (9,), key=k))(keys),
        "keys that lie apart": lambda: mx.vmap(lambda k: mx.random.split(k, 3))(keys[::-2]),
        "halves": lambda: mx.random.uniform(shape=(33, 5), dtype=mx.float16, key=key),
        "bfloats": lambda: mx.random.uniform(shape=(77,), dtype=mx.bfloat16, key=key),
        "wide": lambda: mx.random.randint(-(2**62), 2**62, (33,), dtype=mx.int64, key=key),
        "split": lambda: mx.random.split(key, 100),
        "integers": lambda: mx.random.randint(-5, 5, (300,), key=key),
        "permutation": lambda: mx.random.permutation(500, key=key),
    }
    check(cases)
    check({"uniform": lambda: mx.random.uniform(shape=(1000,), key=key),
           "normal": lambda: mx.random.normal((1000,), key=key)}, rtol=1e-6)  # fmt: skip


SORTED_SHAPES = [(1,), (50,), (1000,), (3000,), (9000,), (40, 33), (300, 7), (3, 4, 5)]


@pytest.mark.parametrize("dtype", ["bool", "int8", "bfloat16", "float32", "int64", "complex64"])
def test_sorts_scans_and_arg_reductions(dtype, rng):
    scans = {"cumsum": mx.cumsum, "cummax": mx.cummax, "cummin": mx.cummin}
    plain = dtype not in ("bool", "complex64")
    cases = {}
    for shape in SORTED_SHAPES:
        x = to_mx(exact_sample(rng, shape, dtype))
        views = {"": x, " reversed": x[::-1]} if x.size < 5000 else {"": x}
        for axis in range(len(shape)):
            name = f"{shape} axis {axis}"
            for kind, v in views.items():
                cases[f"sort {name}{kind}"] = lambda v=v, a=axis: mx.sort(v, a)
                cases[f"argsort {name}{kind}"] = lambda v=v, a=axis: mx.argsort(v, a)
                cases[f"argmax {name}{kind}"] = lambda v=v, a=axis: mx.argmax(v, a)
                cases[f"argmin {name}{kind}"] = lambda v=v, a=axis: mx.argmin(v, a)
            for i, (kind, scan) in enumerate(scans.items() if plain else ()):
                cases[f"{kind} {name}"] = lambda f=scan, a=axis: f(x, a)  # noqa: B023
                cases[f"{kind} {name} reversed"] = lambda f=scan, v=x[::-1], a=axis, i=i: f(
                    v, a, reverse=True, inclusive=i == 0)  # fmt: skip
    check(cases)


def test_scans_of_products_and_logarithms(rng):
    cases = {}
    for n in (20, 1000, 5000):
        x = to_mx(rng.choice([-1, 1], (3, n)).astype("float32"))
        cases[f"cumprod {n}"] = lambda x=x: mx.cumprod(x, 1)
        cases[f"cumprod {n} down"] = lambda x=x: mx.cumprod(x.T, 0, reverse=True, inclusive=False)
    check(cases)
    x = to_mx(rng.normal(size=(3, 3000)).astype("float32"))
    check({"rows": lambda: mx.logcumsumexp(x, 1), "columns": lambda: mx.logcumsumexp(x.T, 0),
           "reversed": lambda: mx.logcumsumexp(x, 1, reverse=True)}, rtol=1e-5)  # fmt: skip


def test_indices_beyond_32_bits():
    step = 1 << 26
    x = np.zeros((1 << 31) + step, np.uint8)  # of which few pages are ever touched
    x[::step] = np.arange(x.size // step)
    a = mx.asarray(x, copy=False)
    view = a[::step]
    far = mx.array([1 << 31, 5, 31 * step])
    check({
        "program": lambda: view + 1,
        "sum": lambda: mx.sum(view.astype(mx.int32)),
        "copy": lambda: mx.contiguous(view),
        "take": lambda: mx.take(a, far),
    })  # fmt: skip
    assert simulator.counters()["threads"] < 10_000
    assert "const long " in mx.metal.source(view + 1)


def test_programs_with_many_operands(rng):
    arrays = [floats(rng, 5, 3) for _ in range(60)]
    check({"inputs": lambda: sum(arrays[1:], arrays[0])})

    def constants():
        a = arrays[0]
        for i in range(400):
            a = a * (1 + i % 2) - i % 7
        return mx.remainder(a, 97)

    check({"constants": constants}, dispatches=0)


def test_a_kernel_is_compiled_once(rng):
    def evaluate(n):
        a = mx.array(rng.normal(size=(n, 5)).astype("float32"))
        mx.eval(mx.sort(mx.erf(a) * 3 - mx.cosh(a)))
        return mx.metal._kernel_counts()

    first = evaluate(300)
    assert first["compiled"] <= first["kept"] + first["dropped"]
    assert evaluate(400) == first


# ---- Order: what overlaps in memory --------------------------------------------------------------
SIDE = 24


def entangled(seed, steps=300):
    """Arrays after many steps that update a few of them in place, through views and with others.

    What a step replaces has no other owner, so later steps write over it or reuse its memory. All
    values are whole numbers below 97, so that every order of sums gives the same bits.
    """
    rng = np.random.default_rng(seed)
    pool = [mx.array(rng.integers(0, 97, (SIDE, SIDE)).astype("float32")) for _ in range(4)]

    def part():
        first = [int(i) for i in rng.integers(0, SIDE // 2, 2)]
        return tuple(slice(i, i + SIDE // 2) for i in first)

    def update(a, b):
        return a.at[part()].add(b[part()])

    def move(a, b):
        a = a + 0
        a[part()] = b[part()].T
        return a

    def shift(a, b):  # within one array
        a[part()] = a[part()]
        return a

    def rows(a, b):
        return a.at[mx.array(rng.integers(0, SIDE, SIDE))].add(b[::-1])

    def take(a, b):
        return mx.take(a, mx.array(rng.integers(0, SIDE, SIDE)), int(rng.integers(2))) + b

    def multiply(a, b):
        return mx.remainder(a, 7) @ mx.remainder(b.T, 5)

    def arithmetic(a, b):
        return a[::-1] * 3 + mx.cumsum(b, 1)

    def reduce(a, b):
        return mx.sort(a, 0) + mx.max(b, 1, keepdims=True)

    operations = [update, move, shift, rows, take, multiply, arithmetic, reduce]
    for _ in range(steps):
        i, j = (int(i) for i in rng.integers(0, len(pool), 2))
        f = operations[rng.integers(len(operations))]
        pool[i] = mx.remainder(f(pool[i], pool[j]), 97)
    return pool


def run_entangled(seed, **options):
    pool = entangled(seed)
    with mode(**options):
        mx.eval(pool)
    return np.stack([to_np(a) for a in pool])


@pytest.mark.parametrize("seed", range(4))
def test_overlapping_work_is_ordered(seed):
    with mx.stream(mx.cpu):
        expected = run_entangled(seed)
    assert len(np.unique(expected)) > 30
    np.testing.assert_array_equal(run_entangled(seed), expected)
    for shuffle in range(3):
        np.testing.assert_array_equal(run_entangled(seed, shuffle=shuffle), expected)
    np.testing.assert_array_equal(run_entangled(seed, sanitize=True, shuffle=9), expected)


def test_without_barriers_the_same_work_goes_wrong():
    mx.metal._set_hazard_tracking(False)
    try:
        with pytest.raises(simulator.SanitizerError, match="race"):
            run_entangled(0, sanitize=True)
    finally:
        mx.metal._set_hazard_tracking(True)
    # In a process of its own: indices that are read before they are written may be anything.
    code = """
import numpy as np, cermet.core as mx, test_metal
with mx.stream(mx.cpu):
    expected = test_metal.run_entangled(0)
mx.metal._set_hazard_tracking(False)
for seed in range(3):
    np.testing.assert_array_equal(test_metal.run_entangled(0, shuffle=seed), expected)
"""
    wrong = subprocess.run(
        [sys.executable, "-c", code], cwd=os.path.dirname(__file__), capture_output=True
    )
    assert wrong.returncode < 0 or b"AssertionError" in wrong.stderr, wrong.stderr


def test_independent_work_needs_no_barriers(rng):
    """With tracking off and in any order: only what overlaps has to be ordered."""
    arrays = [floats(rng, 5000) for _ in range(8)]
    mx.metal._set_hazard_tracking(False)
    try:
        with mode(sanitize=True, shuffle=1):
            copies = [mx.contiguous(a[::-1]) for a in arrays]
            mx.eval(copies)
    finally:
        mx.metal._set_hazard_tracking(True)
    for a, b in zip(arrays, copies, strict=True):
        assert_equal(b, to_np(a)[::-1])


def test_a_gpu_that_was_used_is_an_error_in_a_forked_child():
    code = """
import os, signal, warnings
import cermet.core as mx
warnings.simplefilter("ignore")
mx.eval(mx.add(mx.ones(3), 1, stream=mx.gpu))
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    for _ in range(2):
        try:
            mx.eval(mx.add(mx.ones(3), 1, stream=mx.gpu))
        except RuntimeError as e:
            print(e, flush=True)
    mx.eval(mx.add(mx.ones(3, stream=mx.cpu), 1, stream=mx.cpu))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("cannot be used in the child") == 2


# ---- One memory for both devices -----------------------------------------------------------------
def test_arrays_move_without_a_copy(rng):
    a = floats(rng, 1000, 100)
    mx.clear_cache()  # a free block of a near size would be counted whole
    first, place = mx.get_active_memory(), pointer(a)
    b = mx.add(a, 1, stream=mx.gpu)
    mx.eval(b)
    one = mx.get_active_memory() - first
    c = mx.multiply(b, 2, stream=mx.cpu)
    d = mx.subtract(c, a, stream=mx.gpu)
    mx.eval(c, d)
    assert pointer(a) == place
    assert mx.get_active_memory() == first + 3 * one  # b, c and d
    assert_equal(d, (to_np(a) + 1) * 2 - to_np(a))


def test_views_on_one_device_of_memory_from_the_other(rng):
    a = mx.add(floats(rng, 100, 80), 1, stream=mx.cpu)
    mx.eval(a)
    active = mx.get_active_memory()
    for device in (mx.gpu, mx.cpu):
        view = mx.transpose(a[3:, ::2], stream=device)
        mx.eval(view)
        assert pointer(view) == pointer(a) + 3 * 80 * FLOAT
    assert mx.get_active_memory() == active
    assert_equal(mx.sum(view, 0, stream=mx.gpu), to_np(a)[3:, ::2].sum(1))


def test_borrowed_memory_is_an_input(rng):
    x = rng.integers(0, 9, (500, 33)).astype("float32")
    active = mx.get_active_memory()
    a = mx.asarray(x, copy=False)
    assert mx.get_active_memory() == active and pointer(a) == x.ctypes.data
    assert_equal(a * 2 + mx.sum(a, 0), x * 2 + x.sum(0))
    assert_equal(a[7:, 3:30].T @ a[7:], x[7:, 3:30].T @ x[7:])
    before = x.copy()
    mx.eval(mx.asarray(x, copy=False).at[0].add(1))  # has no owner, but NumPy has
    np.testing.assert_array_equal(x, before)


def test_a_cpu_step_among_gpu_steps(rng):
    x = floats(rng, 40, 40)
    with mode(sanitize=True, shuffle=3):
        a = x
        for i in range(6):
            a = mx.remainder(mx.matmul(a, x), 13)
            a = mx.cumsum(a, 1, stream=mx.cpu) if i % 2 else mx.sort(a, 0)
            a = a.at[mx.array([1, 1, 5])].add(1) if i % 3 else mx.add(a, a.T, stream=mx.cpu)
        mx.eval(a)
    n = to_np(x)
    b = n
    for i in range(6):
        b = np.remainder(b @ n, 13)
        b = np.cumsum(b, 1) if i % 2 else np.sort(b, 0)
        if i % 3:
            np.add.at(b, [1, 1, 5], 1)
        else:
            b = b + b.T
    assert_equal(a, b)


def test_a_cpu_step_does_not_overwrite_what_the_gpu_still_reads(rng):
    for _ in range(5):
        x = floats(rng, 300, 300)
        want = to_np(x) @ to_np(x) + 0
        product = mx.matmul(x, x)
        changed = mx.add(x, 1, stream=mx.cpu)
        del x
        mx.eval(product, changed)
        assert_equal(product, want)


def test_what_only_the_cpu_computes(rng):
    a = rng.normal(size=(5, 5)).astype("float32")
    x = to_mx(a)
    assert_close(mx.linalg.inv(x * 2) @ x, np.eye(5) / 2, 1e-4, 1e-4)
    q, r = mx.linalg.qr(x + 0)
    assert_close(q @ r, a, 1e-5, 1e-5)


def test_float64_runs_on_the_cpu(rng):
    a = rng.normal(size=(50, 3))
    x = mx.array(a, dtype=mx.float64)
    simulator.reset_counters()
    y = mx.sort(mx.sin(x) * x, 0)
    mx.eval(y)
    assert simulator.counters()["dispatches"] == 0 and y.dtype == mx.float64
    assert_close(y, np.sort(np.sin(a) * a, 0), 1e-14)
    z = y.astype(mx.float32)
    mx.eval(z)
    assert_equal(mx.sort(z[::-1], 0), to_np(y).astype("float32"))
    assert simulator.counters()["dispatches"] > 0


# ---- Streams -------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(3))
def test_streams_wait_for_each_other(seed):
    rng = np.random.default_rng(seed)
    streams = [mx.new_stream(mx.gpu) for _ in range(3)] + [mx.default_stream(mx.cpu)]
    arrays = [rng.integers(0, 97, (30, 30)).astype("float32") for _ in range(3)]
    pool = [mx.array(a) for a in arrays]
    for _ in range(120):
        i, j = rng.integers(0, 3, 2)
        row = int(rng.integers(0, 15))
        with mx.stream(streams[rng.integers(len(streams))]):
            if rng.random() < 0.3:
                pool[i] = mx.remainder(pool[i] @ pool[j], 97)
                arrays[i] = np.remainder(arrays[i] @ arrays[j], 97)
            else:
                pool[i] = pool[i].at[row : row + 10].add(pool[j][5:15])
                update = arrays[j][5:15].copy()
                arrays[i] = arrays[i].copy()
                arrays[i][row : row + 10] += update
                pool[i], arrays[i] = mx.remainder(pool[i], 97), np.remainder(arrays[i], 97)
    with mode(shuffle=seed):
        mx.eval(pool)
    for got, want in zip(pool, arrays, strict=True):
        assert_equal(got, want)


def test_async_evaluation(rng):
    x = floats(rng, 64, 64)
    a = x
    for _ in range(20):
        a = mx.remainder(a @ x, 31)
        mx.async_eval(a)
    b = mx.add(a, 1, stream=mx.cpu)  # uses what may be in flight
    c = mx.sum(b * 2)
    mx.async_eval(c)
    mx.synchronize(mx.gpu)
    mx.synchronize()
    n = to_np(x)
    want = n
    for _ in range(20):
        want = np.remainder(want @ n, 31)
    assert_equal(b, want + 1)
    assert c.item() == 2 * (want + 1).sum()


def test_threads_evaluate_at_once(rng):
    x = floats(rng, 40, 40)
    shared = mx.remainder(x @ x, 5)  # not evaluated yet
    results, errors = {}, []

    def work(k):
        try:
            with mx.stream(mx.gpu if k % 2 else mx.new_stream(mx.gpu)):
                a = shared
                for _ in range(10):
                    a = mx.remainder(mx.sort(a @ shared + k, 1), 11)
                results[k] = to_np(a)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not errors and len(results) == 6
    s = np.remainder(to_np(x) @ to_np(x), 5)
    for k, got in results.items():
        want = s
        for _ in range(10):
            want = np.remainder(np.sort(want @ s + k, 1), 11)
        np.testing.assert_array_equal(got, want)


# ---- Errors --------------------------------------------------------------------------------------
def bad_index(n):
    return mx.take(mx.arange(8.0), mx.array([1, n, 2]))


@pytest.mark.parametrize("n", [8, -9])
def test_an_index_out_of_range(n):
    good, bad = mx.arange(4) * 2 + 1, bad_index(n)
    after = mx.sum(bad * 2)
    with pytest.raises(IndexError, match=rf"take.*{n}.*8|gather.*{n}.*8"):
        mx.eval(good, bad, after)
    assert_equal(good, [1, 3, 5, 7])
    for failed in (bad, after, after + 1):
        with pytest.raises(IndexError):
            mx.eval(failed)
    assert_equal(good + 1, [2, 4, 6, 8])


def test_an_index_out_of_range_on_the_way():
    """The error reaches the CPU's steps and those of other streams."""
    bad = mx.sin(bad_index(100))
    on_cpu = mx.add(bad, 1, stream=mx.cpu)
    elsewhere = mx.cumsum(bad, stream=mx.new_stream(mx.gpu))
    mx.async_eval(on_cpu, elsewhere)
    mx.synchronize()
    for a in (on_cpu, elsewhere, mx.zeros(4).at[mx.array([4])].add(1)):
        with pytest.raises(IndexError):
            mx.eval(a)
    assert mx.sum(mx.ones(5)).item() == 5


def test_an_error_leaves_other_arrays_of_the_command_buffer_valid(rng):
    x = floats(rng, 100)
    results = [mx.sort(x + k) for k in range(5)]
    with pytest.raises(IndexError):
        mx.eval(*results[:2], bad_index(9), *results[2:])
    for k, result in enumerate(results):
        assert_equal(result, np.sort(to_np(x)) + k)


def test_out_of_memory_and_another_try(rng):
    x = floats(rng, 512, 512)  # a megabyte
    before = mx.set_memory_limit(mx.get_active_memory() + (8 << 20))
    try:
        sums = mx.cumsum(x, 0)
        huge = mx.concatenate([sums] * 9) * 2
        small = mx.sort(mx.arange(9)[::-1])
        for arrays in [(small, huge), (huge,)]:
            with pytest.raises(MemoryError, match="out of memory"):
                mx.eval(*arrays)
        assert_equal(small, np.arange(9))
    finally:
        mx.set_memory_limit(before)
    assert_equal(huge, np.tile(np.cumsum(to_np(x), 0), (9, 1)) * 2)


def test_the_simulator_cannot_capture(tmp_path):
    with pytest.raises(RuntimeError, match="capture"):
        mx.metal.start_capture(str(tmp_path / "work.gputrace"))


# ---- Memory --------------------------------------------------------------------------------------
def test_a_long_evaluation_reuses_memory_in_flight(rng):
    x = floats(rng, 256, 256)
    a = x
    for _ in range(100):
        a = mx.cumsum(mx.remainder(a, 3), 0)
    mx.synchronize()
    mx.reset_peak_memory()
    start = mx.get_active_memory()
    mx.eval(a)
    assert mx.get_peak_memory() - start <= 6 * 256 * 256 * FLOAT
    want = to_np(x)
    for _ in range(100):
        want = np.cumsum(np.remainder(want, 3), 0)
    assert_equal(a, want)


def test_small_arrays_share_slabs(rng):
    gc.collect()
    mx.clear_cache()
    start = mx.get_active_memory()
    one = mx.arange(10) + 1
    mx.eval(one)
    block = mx.get_active_memory() - start
    assert block == 64
    arrays = [one * k for k in range(3000)]
    mx.eval(arrays)
    assert mx.get_active_memory() == start + 3001 * block
    for k in (0, 1, 1234, 2999):
        assert_equal(arrays[k], np.arange(1, 11) * k)
    kept = arrays[::100]
    del arrays
    assert mx.get_active_memory() == start + 31 * block
    assert mx.get_cache_memory() >= 2970 * block
    mx.clear_cache()
    assert mx.get_cache_memory() == 0
    assert mx.get_active_memory() == start + 31 * block
    for k, a in enumerate(kept):
        assert_equal(a + one, np.arange(1, 11) * (100 * k + 1))
    del kept, one, a
    assert mx.get_active_memory() == start
    mx.clear_cache()
    assert mx.get_cache_memory() == 0


def test_sizes_of_blocks_and_pages(rng):
    """Arrays around the size where blocks stop being parts of slabs keep their values."""
    mx.clear_cache()
    start = mx.get_active_memory()
    for _ in range(2):
        sizes = [1, 15, 16, 17, 1000, 4000, 4095, 4096, 4097, 100_000]
        with mode(sanitize=True):
            arrays = [mx.arange(n) * 2 for n in sizes]
            mx.eval(arrays)
        for n, a in zip(sizes, arrays, strict=True):
            assert_equal(a, np.arange(n) * 2)
        del arrays, a
        mx.clear_cache()  # the slabs go back, and others come
    assert mx.get_active_memory() == start and mx.get_cache_memory() == 0


@pytest.mark.parametrize(
    "a, b, c",
    [
        ((4, 10, 8192), (8192, 16), (10, 16)),  # alone, the batch folds into rows
        ((4, 10, 100), (100, 16), (16,)),
        ((3, 1, 4096), (4096, 5), (3, 1, 1)),
        ((1, 2048), (5, 2048, 7), (7,)),
    ],
)
def test_an_addend_changes_no_bit_of_a_product(a, b, c, rng):
    x, y, z = (mx.array(rng.normal(size=shape).astype(np.float32)) for shape in (a, b, c))
    product = x @ y
    mx.eval(product)
    assert mx.array_equal(mx.addmm(z, x, y), product + z).item()


def test_many_reductions_in_chunks(rng):
    """Each takes a buffer for its partial results, of which Metal binds few."""
    x = to_mx(rng.integers(-3, 4, 40_000).astype(np.float32))
    total = sum(mx.sum(x * k) for k in range(1, 41))
    assert total.item() == 820 * np.sum(to_np(x))


def test_synchronize_awaits_work_of_any_thread():
    done, x = mx.ones(3), mx.ones((64, 64)) + 0
    mx.eval(done, x)
    simulator.reset_counters()
    for _ in range(20):
        x = x @ x / 64
    mx.async_eval(done, x)
    mx.synchronize()
    assert simulator.counters()["simdgroup_macs"] == 20 * 64**3
