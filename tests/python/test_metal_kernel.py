"""Kernels that users write: `mx.fast.metal_kernel` on the simulated device."""

import numpy as np
import pytest
from conftest import assert_close, assert_equal, to_mx, to_np

import cermet.core as mx

if not mx.metal.is_available() or not mx.metal.device_info()["simulated"]:
    pytest.skip("needs the simulated Metal device", allow_module_level=True)
from cermet.metal import simulator

EXP = """
    uint elem = thread_position_in_grid.x;
    T tmp = inp[elem];
    out[elem] = metal::exp(tmp);
"""


@pytest.fixture(autouse=True)
def checked():
    """Every kernel here runs under the sanitizer."""
    simulator.set_mode(sanitize=True)
    with mx.stream(mx.gpu):
        yield
    mx.synchronize(mx.gpu)
    simulator.set_mode()


def elementwise(kernel, *inputs, dtype=None, group=64, **options):
    """Calls a kernel with a thread for each element of the first input. The output is like it."""
    a = inputs[0]
    return kernel(
        inputs=list(inputs),
        output_shapes=[a.shape],
        output_dtypes=[dtype or a.dtype],
        grid=(a.size, 1, 1),
        threadgroup=(group, 1, 1),
        **options,
    )[0]


def generator(name, n_outputs, source, **options):
    """A kernel of no inputs, called with a grid and output shapes of int32."""
    names = [f"out{i}" for i in range(n_outputs)]
    kernel = mx.fast.metal_kernel(name, [], names, source, **options)

    def call(grid, group, *shapes, **call_options):
        return kernel(inputs=[], output_shapes=list(shapes), output_dtypes=[mx.int32] * n_outputs,
                      grid=grid, threadgroup=group, **call_options)  # fmt: skip

    return call


# ---- What kernels can do -------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_a_type_as_template_argument(dtype, rng):
    x = rng.normal(size=(33, 7)).astype("float32")
    a = mx.array(x).astype(dtype)
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    got = elementwise(kernel, a, template=[("T", dtype)])
    assert got.dtype == dtype and got.shape == (33, 7)
    tolerance = {mx.float32: 1e-6, mx.float16: 2e-3, mx.bfloat16: 1e-2}[dtype]
    assert_close(got, np.exp(to_np(a).astype("float32")), tolerance)


def test_a_lazy_input_and_a_use_of_the_result(rng):
    x = rng.normal(size=500).astype("float32")
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    got = elementwise(kernel, mx.array(x) * 2, template=[("T", mx.float32)])
    assert_close(mx.sum(got + 1), np.sum(np.exp(2 * x) + 1), 1e-5)


def test_it_runs_on_the_gpu_where_the_default_device_is_the_cpu(rng):
    x = rng.normal(size=50).astype("float32")
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    with mx.stream(mx.cpu):
        got = elementwise(kernel, mx.array(x) * 2, template=[("T", mx.float32)])
        assert_close(mx.sum(got + 1), np.sum(np.exp(2 * x) + 1), 1e-5)


STRIDED = """
    uint elem = thread_position_in_grid.x;
    auto loc = elem_to_loc(elem, inp_shape, inp_strides, inp_ndim);
    out[elem] = inp[loc] * 2;
"""


@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a.T, lambda a: a[::2, 1::3], lambda a: a[::-1, ::-2]]
)
def test_strides(view, rng):
    x = rng.integers(0, 99, (20, 13)).astype("float32")
    kernel = mx.fast.metal_kernel("strided", ["inp"], ["out"], STRIDED, ensure_row_contiguous=False)
    assert_equal(elementwise(kernel, view(mx.array(x))), view(x) * 2)


def test_strides_are_those_of_the_view(rng):
    source = "out[0] = a_strides[0]; out[1] = a_strides[1]; out[2] = a_ndim; out[3] = a_shape[1];"

    def facts(a, row_contiguous):
        kernel = mx.fast.metal_kernel("facts", ["a"], ["out"], source + " out[4] = int(a[0]);",
                                      ensure_row_contiguous=row_contiguous)  # fmt: skip
        return kernel(inputs=[a], output_shapes=[(5,)], output_dtypes=[mx.int32], grid=(1, 1, 1),
                      threadgroup=(1, 1, 1))[0].tolist()  # fmt: skip

    a = mx.arange(12).reshape(3, 4)
    mx.eval(a)
    assert facts(a.T, False) == [1, 4, 2, 3, 0]
    assert facts(a.T, True) == [3, 1, 2, 3, 0]
    assert facts(a[1:, ::-2], False) == [4, -2, 2, 2, 7]
    assert facts(mx.broadcast_to(a[2:, :1], (5, 6)), False) == [0, 0, 2, 6, 8]
    assert facts(a[1:, ::-2], True) == [2, 1, 2, 2, 7]


def test_scalars_are_values(rng):
    kernel = mx.fast.metal_kernel(
        "axpy", ["x", "y", "a", "n"], ["out"],
        "uint i = thread_position_in_grid.x; out[i] = a * x[i] + (int(i) < n ? y[i] : 0);",
    )  # fmt: skip
    x, y = rng.integers(0, 9, (2, 40)).astype("float32")
    got = elementwise(kernel, mx.array(x), mx.array(y), 3.0, mx.array(10))
    assert_equal(got, 3 * x + np.where(np.arange(40) < 10, y, 0))


def test_several_outputs_of_other_shapes_and_types(rng):
    kernel = mx.fast.metal_kernel(
        "split", ["x"], ["whole", "flag", "last"],
        """
        uint i = thread_position_in_grid.x;
        whole[i] = int(floor(x[i]));
        flag[i] = x[i] < 0;
        if (i == x_shape[0] - 1) last[0] = half(x[i]);
        """,
    )  # fmt: skip
    x = rng.normal(size=100).astype("float32") * 5
    whole, flag, last = kernel(
        inputs=[mx.array(x)], output_shapes=[(100,), (100,), (1, 1)],
        output_dtypes=[mx.int32, mx.bool_, mx.float16], grid=(100, 1, 1), threadgroup=(32, 1, 1),
    )  # fmt: skip
    assert_equal(whole, np.floor(x).astype("int32"))
    assert_equal(flag, x < 0)
    assert_equal(last, x[-1:, None].astype("float16"))


@pytest.mark.parametrize("dtype", [mx.int32, mx.uint32, mx.float32])
def test_atomic_outputs(dtype, rng):
    kernel = mx.fast.metal_kernel(
        "histogram", ["x"], ["counts"],
        """
        uint i = thread_position_in_grid.x;
        atomic_fetch_add_explicit(&counts[x[i]], 1, memory_order_relaxed);
        """,
        atomic_outputs=True,
    )  # fmt: skip
    x = rng.integers(0, 9, 700).astype("int32")
    for init in (0, 5):
        (counts,) = kernel(inputs=[mx.array(x)], output_shapes=[(9,)], output_dtypes=[dtype],
                           grid=(700, 1, 1), threadgroup=(128, 1, 1), init_value=init)  # fmt: skip
        assert counts.dtype == dtype
        assert_equal(counts, np.bincount(x, minlength=9) + init)


def test_init_value_is_there_where_nothing_is_written():
    source = "uint i = thread_position_in_grid.x; out0[i * 3] = 1; if (i == 1) out1[i] += 1;"
    call = generator("sparse", 2, source)
    first, second = call((4, 1, 1), (1, 1, 1), (3, 4), (2,), init_value=7)
    want = np.full(12, 7)
    want[::3] = 1
    assert_equal(first, want.reshape(3, 4))
    assert_equal(second, [7, 8])


def test_undefined_outputs_are_found():
    call = generator("reads", 1, "out0[0] += 1;")
    with pytest.raises(simulator.SanitizerError, match="uninitialised"):
        mx.eval(call((1, 1, 1), (1, 1, 1), (1,)))


def test_a_header(rng):
    header = """
    #include <metal_math>
    #define TWICE(x) ((x) + (x))
    constant constexpr float kScale = 2.5f;
    template <typename T>
    T scaled(T x) { return x * T(kScale); }
    """
    kernel = mx.fast.metal_kernel(
        "headed", ["x"], ["out"],
        "uint i = thread_position_in_grid.x; out[i] = TWICE(scaled(x[i]));", header=header,
    )  # fmt: skip
    x = rng.integers(0, 99, 50).astype("float32")
    assert_equal(elementwise(kernel, mx.array(x)), x * 5)


def test_threadgroup_memory_and_barriers(rng):
    kernel = mx.fast.metal_kernel(
        "reverse_blocks", ["x"], ["out"],
        """
        threadgroup float block[N];
        uint i = thread_position_in_threadgroup.x;
        uint base = threadgroup_position_in_grid.x * N;
        block[i] = x[base + i];
        threadgroup_barrier(mem_flags::mem_threadgroup);
        out[base + i] = block[threads_per_threadgroup.x - 1 - i] + simd_sum(1);
        """,
    )  # fmt: skip
    x = rng.integers(0, 99, (6, 64)).astype("float32")
    got = elementwise(kernel, mx.array(x), template=[("N", 64)])
    assert_equal(got, x[:, ::-1] + 32)


def test_a_missing_barrier_is_found(rng):
    kernel = mx.fast.metal_kernel(
        "hasty", ["x"], ["out"],
        """
        threadgroup float block[64];
        uint i = thread_position_in_grid.x;
        block[i] = x[i];
        out[i] = block[63 - i];
        """,
    )  # fmt: skip
    with pytest.raises(simulator.SanitizerError, match=r"hasty\.metal:5"):
        mx.eval(elementwise(kernel, mx.ones(64)))


def test_grids_of_three_axes():
    source = """
    uint3 p = thread_position_in_grid;
    uint3 n = threads_per_grid;
    out0[(p.z * n.y + p.y) * n.x + p.x] = p.x + 100 * p.y + 10000 * p.z;
    """
    (got,) = generator("grid", 1, source)(
        (5, 6, 7), (4, 4, 2), (7, 6, 5)
    )  # groups do not divide it
    z, y, x = np.indices((7, 6, 5))
    assert_equal(got, x + 100 * y + 10000 * z)


def test_a_threadgroup_larger_than_the_grid():
    (got,) = generator("few", 1, "out0[thread_position_in_grid.x] = threads_per_threadgroup.x;")(
        (10, 1, 1), (256, 1, 1), (10,)
    )
    assert_equal(got, np.full(10, 10))


def test_positions_of_threads():
    source = """
    uint i = thread_position_in_grid.x;
    out0[i] = thread_index_in_threadgroup; out1[i] = threadgroup_position_in_grid.x;
    out2[i] = thread_index_in_simdgroup; out3[i] = simdgroup_index_in_threadgroup;
    out4[i] = threadgroups_per_grid.x * 100 + threads_per_simdgroup;
    """
    got = generator("places", 5, source)((192, 1, 1), (64, 1, 1), *[(192,)] * 5)
    i = np.arange(192)
    for a, want in zip(got, [i % 64, i // 64, i % 32, i % 64 // 32, i * 0 + 332], strict=True):
        assert_equal(a, want)


def test_numbers_as_template_arguments(rng):
    source = "uint i = thread_position_in_grid.x; out[i] = flip ? -x[i] * T(k) : x[i] * T(k);"
    kernel = mx.fast.metal_kernel("times", ["x"], ["out"], source)
    x = rng.integers(0, 99, 30).astype("int32")
    for flip in (True, False):
        for k in (3, -2):
            template = [("flip", flip), ("k", k), ("T", mx.int32)]
            got = elementwise(kernel, mx.array(x), template=template)
            assert_equal(got, x * k * (-1 if flip else 1))


def test_complex_numbers(rng):
    x = (rng.integers(-9, 9, 64) + 1j * rng.integers(-9, 9, 64)).astype("complex64")
    kernel = mx.fast.metal_kernel(
        "conjugate", ["x", "factor"], ["out"],
        """
        threadgroup complex64_t block[32];
        uint i = thread_index_in_simdgroup, base = threadgroup_position_in_grid.x * 32;
        complex64_t z = x[base + i];
        z.imag = -z.imag;
        complex64_t f = factor;
        block[i] = product(z, f);
        threadgroup_barrier(mem_flags::mem_threadgroup);
        out[base + i] = block[31 - i];
        """,
        header="""
        complex64_t product(complex64_t a, complex64_t b) {
          return complex64_t(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real);
        }
        """,
    )  # fmt: skip
    got = elementwise(kernel, to_mx(x), mx.array(2 - 3j), group=32)
    assert_equal(got, (x.conj() * (2 - 3j)).astype("complex64").reshape(2, 32)[:, ::-1].ravel())


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int64", "uint64"]
)
def test_integer_types(dtype, rng):
    x = rng.integers(0, 2 if dtype == "bool" else 100, 33).astype(dtype)
    kernel = mx.fast.metal_kernel(
        "same", ["x"], ["out"], "uint i = thread_position_in_grid.x; out[i] = x[i];"
    )
    assert_equal(elementwise(kernel, to_mx(x)), x)


def test_verbose_prints_the_source(capfd):
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    a = elementwise(kernel, mx.zeros(3), template=[("T", mx.float32)], verbose=True)
    mx.eval(a)
    printed = capfd.readouterr().out
    for part in (
        "template <typename T>",
        "device const float* inp [[buffer(0)]]",
        "metal::exp(tmp)",
        "uint3 thread_position_in_grid [[thread_position_in_grid]]",
    ):
        assert part in printed
    assert "thread_index_in_simdgroup" not in printed
    mx.eval(elementwise(kernel, mx.zeros(3), template=[("T", mx.float32)]))
    assert capfd.readouterr().out == ""


# ---- Transformations -----------------------------------------------------------------------------
def sine():
    """sin with a gradient of its own, both as kernels."""
    forward = mx.fast.metal_kernel(
        "my_sin", ["x"], ["y"], "uint i = thread_position_in_grid.x; y[i] = precise::sin(x[i]);"
    )
    backward = mx.fast.metal_kernel(
        "my_sin_gradient", ["x", "c"], ["g"],
        "uint i = thread_position_in_grid.x; g[i] = c[i] * precise::cos(x[i]);",
    )  # fmt: skip

    @mx.custom_function
    def f(x):
        return elementwise(forward, x)

    @f.vjp
    def f_vjp(primals, cotangent, _):
        x = primals[0] if isinstance(primals, (list, tuple)) else primals
        return elementwise(backward, x, cotangent)

    @f.vmap
    def f_vmap(x, axis):
        x, axis = (v[0] if isinstance(v, (list, tuple)) else v for v in (x, axis))
        return f(x), axis

    return f


def test_gradients(rng):
    x = rng.normal(size=(8, 5)).astype("float32")
    f = sine()
    value, gradient = mx.value_and_grad(lambda x: mx.sum(f(x * 2)))(mx.array(x))
    assert_close(value, np.sin(2 * x).sum(), 1e-5)
    assert_close(gradient, 2 * np.cos(2 * x), 1e-5)


def test_derivatives_need_a_rule():
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)

    def f(x):
        return mx.sum(elementwise(kernel, x, template=[("T", mx.float32)]))

    with pytest.raises(ValueError, match="custom_kernel_myexp"):
        mx.grad(f)(mx.ones(3))
    with pytest.raises(ValueError, match="custom_kernel_myexp"):
        mx.jvp(f, [mx.ones(3)], [mx.ones(3)])


def test_vmap(rng):
    x = rng.normal(size=(4, 5, 6)).astype("float32")
    for axis in range(3):
        got = mx.vmap(sine(), in_axes=axis, out_axes=axis)(mx.array(x))
        assert_close(got, np.sin(x), 1e-5)


def test_vmap_without_a_rule_runs_the_kernel_for_each(rng):
    kernel = mx.fast.metal_kernel(
        "norm", ["x", "y"], ["out"], "out[0] = x_shape[0] * 1000 + x[0] * x[0] + y[1];"
    )

    def f(x, y):
        return kernel(inputs=[x, y], output_shapes=[(1,)], output_dtypes=[mx.float32],
                      grid=(1, 1, 1), threadgroup=(1, 1, 1))[0]  # fmt: skip

    x, y = rng.integers(0, 9, (5, 4)).astype("float32"), rng.integers(0, 9, 2).astype("float32")
    got = mx.vmap(f, in_axes=(1, None))(mx.array(x), mx.array(y))
    assert_equal(got, (5000 + x[0] ** 2 + y[1])[:, None])


def test_compile(rng):
    x = rng.normal(size=(4, 5)).astype("float32")
    f = sine()
    compiled = mx.compile(lambda x: f(x) * 2 + f(x + 1))
    for _ in range(2):
        assert_close(compiled(mx.array(x)), np.sin(x) * 2 + np.sin(x + 1), 1e-5)


# ---- Errors --------------------------------------------------------------------------------------
def test_wrong_counts():
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    call = {
        "inputs": [mx.ones(4)],
        "output_shapes": [(4,)],
        "output_dtypes": [mx.float32],
        "grid": (4, 1, 1),
        "threadgroup": (4, 1, 1),
        "template": [("T", mx.float32)],
    }
    mx.eval(kernel(**call))
    for wrong, message in [
        ({"inputs": []}, r"myexp takes 1 inputs, got 0"),
        ({"inputs": [mx.ones(4)] * 2}, r"takes 1 inputs, got 2"),
        ({"output_shapes": []}, r"1 outputs, got 0 shapes"),
        ({"output_dtypes": [mx.float32] * 2}, r"1 outputs, got 1 shapes and 2 dtypes"),
        ({"grid": (0, 1, 1)}, r"grid has 0"),
        ({"threadgroup": (1, -1, 1)}, r"threadgroup has -1"),
        ({"output_dtypes": [mx.float64]}, r"float64"),
    ]:
        with pytest.raises(ValueError, match=message):
            kernel(**{**call, **wrong})
    for wrong in ({"template": [("T", "float")]}, {"grid": (4, 1)}, {"inputs": ["text"]}):
        with pytest.raises((TypeError, ValueError)):
            kernel(**{**call, **wrong})


def test_too_many_buffers():
    names = [f"x{i}" for i in range(31)]
    kernel = mx.fast.metal_kernel("wide", names, ["out"], "out[0] = x0[0] + x30[0];")
    with pytest.raises(ValueError, match="wide has 32 buffers, Metal has 31"):
        elementwise(kernel, *[mx.ones(1)] * 31)
    kernel = mx.fast.metal_kernel("wide", names[:30], ["out"], "out[0] = x0[0] + x29[0];")
    assert elementwise(kernel, *[mx.ones(1)] * 30).item() == 2


def test_arrays_of_no_elements():
    kernel = mx.fast.metal_kernel("none", ["x"], ["out"], "if (x_shape[0] > 5) out[0] = x[0];")
    (got,) = kernel(inputs=[mx.ones((0, 3))], output_shapes=[(2, 0)], output_dtypes=[mx.float32],
                    grid=(1, 1, 1), threadgroup=(1, 1, 1))  # fmt: skip
    assert got.tolist() == [[], []]


def test_an_error_of_an_input_is_the_results():
    kernel = mx.fast.metal_kernel("myexp", ["inp"], ["out"], EXP)
    bad = mx.take(mx.arange(3.0), mx.array([5]))
    with pytest.raises(IndexError, match="5"):
        mx.eval(elementwise(kernel, bad, template=[("T", mx.float32)]))


def test_wrong_names():
    for names in (([], []), (["a"], ["a"]), (["a b"], ["c"]), (["1a"], ["c"])):
        with pytest.raises(ValueError, match="metal_kernel"):
            mx.fast.metal_kernel("named", *names, "")
    with pytest.raises(ValueError, match="identifier"):
        mx.fast.metal_kernel("my kernel", [], ["out"], "")


@pytest.mark.parametrize(
    "source, header, place",
    [
        ("\n  out[0] = undeclared;", "", r"broken\.metal:2:12: error: .*undeclared"),
        ("out[0] = f();", "int f() {\n  return 1 +;\n}", r"broken\.h:2:13: error"),
        ("out[0] = 1", "", r"broken\.metal:1:\d+: error"),
    ],
)
def test_source_that_does_not_compile(source, header, place):
    kernel = mx.fast.metal_kernel("broken", ["x"], ["out"], source, header=header)
    bad = elementwise(kernel, mx.ones(4))
    with pytest.raises(simulator.CompileError, match=place):
        mx.eval(bad)
    with pytest.raises(simulator.CompileError, match=place):
        mx.eval(bad + 1)
    good = mx.fast.metal_kernel("mended", ["x"], ["out"], "out[0] = x[0];")
    assert elementwise(good, mx.ones(1)).item() == 1


def test_a_broken_kernel_among_others():
    """Kernels of the same evaluation compile and run all the same."""
    kernel = mx.fast.metal_kernel("broken", ["x"], ["out"], "out[0] = nothing;")
    before, after = mx.sort(mx.arange(9)[::-1]), mx.cumsum(mx.arange(9))
    bad = elementwise(kernel, mx.ones(4))
    with pytest.raises(simulator.CompileError, match="broken"):
        mx.eval(before, bad, after)
    assert_equal(before, np.arange(9))
    assert_equal(after, np.cumsum(np.arange(9)))


def test_too_many_threads():
    call = generator("crowded", 1, "out0[thread_position_in_grid.x] = 1;")
    mx.eval(call((4096, 1, 1), (64, 32, 1), (4096,)))  # the grid has no more rows than one
    with pytest.raises(ValueError, match=r"crowded.*1024.*2048"):
        mx.eval(call((4096, 32, 1), (64, 32, 1), (4096,)))
    (got,) = call((2048, 1, 1), (1024, 1, 1), (2048,))
    assert_equal(got, np.ones(2048))


def test_too_much_threadgroup_memory():
    source = """
    threadgroup int big[10000];
    big[0] = 1;
    out0[thread_position_in_grid.x] = big[0];
    """
    with pytest.raises((ValueError, RuntimeError), match=r"(?i)threadgroup"):
        mx.eval(generator("large", 1, source)((1, 1, 1), (1, 1, 1), (1,)))
    assert mx.sum(mx.ones(5)).item() == 5


@pytest.mark.parametrize("size", [3, 16, 64, 1000, 4096, 100_000])
def test_an_overrun_is_found_whatever_lies_behind(size):
    """Also where the next array, to which the same kernel writes, would follow at once."""
    shift = mx.fast.metal_kernel(
        "shift", ["x"], ["y"], "uint i = thread_position_in_grid.x;\ny[i] = x[i + 1];\n"
    )
    y = shift(
        inputs=[mx.ones(size) + 0],
        output_shapes=[(size,)],
        output_dtypes=[mx.float32],
        grid=(size, 1, 1),
        threadgroup=(32, 1, 1),
    )[0]
    with pytest.raises(RuntimeError, match=r"out-of-bounds read.*shift\.metal:2:8"):
        mx.eval(y)
