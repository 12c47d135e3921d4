"""Convolutions against their definition, and against PyTorch where it is installed."""

import itertools

import numpy as np
import pytest
from conftest import assert_close, assert_equal, exact_sample, to_mx, to_np

import cermet.core as mx


def convolution(
    x, w, stride=1, padding=0, kernel_dilation=1, input_dilation=1, groups=1, flip=False
):
    """The definition, channels last, in float64: one product for each tap of the kernel."""
    dims = x.ndim - 2

    def each(value):
        return (value,) * dims if isinstance(value, int) else tuple(value)

    low, high = padding if isinstance(padding, tuple) and len(padding) == 2 else (padding, padding)
    stride, kernel_dilation, input_dilation = map(each, (stride, kernel_dilation, input_dilation))
    spread = [(n - 1) * d + 1 for n, d in zip(x.shape[1:-1], input_dilation, strict=True)]
    dilated = np.zeros((x.shape[0], *spread, x.shape[-1]))
    dilated[(slice(None), *(slice(None, None, d) for d in input_dilation))] = x
    padded = np.pad(dilated, [(0, 0), *zip(each(low), each(high), strict=True), (0, 0)])
    kernel = w.shape[1:-1]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, kernel_dilation, strict=True)]
    counts = [(n - s) // t + 1 for n, s, t in zip(padded.shape[1:-1], spans, stride, strict=True)]
    out = np.zeros((x.shape[0], *counts, w.shape[0]))
    channels, outs = x.shape[-1] // groups, w.shape[0] // groups
    for tap in itertools.product(*map(range, kernel)):
        sections = [
            slice(t * d, t * d + (n - 1) * step + 1, step)
            for t, d, n, step in zip(tap, kernel_dilation, counts, stride, strict=True)
        ]
        met = padded[(slice(None), *sections)]
        at = tuple(k - 1 - t for k, t in zip(kernel, tap, strict=True)) if flip else tap
        for g in range(groups):
            weight = w[(slice(g * outs, (g + 1) * outs), *at)]
            out[..., g * outs : (g + 1) * outs] += (
                met[..., g * channels : (g + 1) * channels] @ weight.T
            )
    return out


# Shapes of the input and the weight, and options.
CASES = {
    "1d": ((2, 9, 4), (6, 3, 4), {}),
    "1d one tap": ((2, 9, 4), (6, 1, 4), {}),
    "1d strided": ((2, 9, 4), (6, 3, 4), {"stride": 2, "padding": 1}),
    "1d all options": (
        (2, 9, 4),
        (6, 3, 2),
        {
            "stride": 3,
            "padding": ([2], [1]),
            "kernel_dilation": 2,
            "input_dilation": 2,
            "groups": 2,
            "flip": True,
        },
    ),
    "1d long kernel": ((1, 90, 2), (3, 40, 2), {"stride": 2, "padding": 3, "kernel_dilation": 2}),
    "1d depthwise": ((2, 9, 4), (4, 4, 1), {"padding": ([3], [0]), "groups": 4}),
    "1d depthwise, two each": (
        (2, 9, 4),
        (8, 3, 1),
        {"groups": 4, "stride": 2, "kernel_dilation": 2},
    ),
    "1d depthwise, long kernel": ((1, 50, 2), (2, 40, 1), {"groups": 2}),
    "2d": ((2, 7, 6, 3), (5, 3, 3, 3), {"padding": 1}),
    "2d patches": ((2, 9, 8, 3), (5, 4, 2, 3), {"stride": (4, 2)}),
    "2d spread": ((2, 9, 8, 3), (5, 2, 2, 3), {"stride": 4, "kernel_dilation": (3, 2)}),
    "2d groups": (
        (2, 7, 6, 6),
        (4, 3, 2, 3),
        {"padding": ([1, 0], [0, 2]), "groups": 2, "stride": (2, 1)},
    ),
    "2d depthwise": ((2, 7, 6, 4), (4, 3, 3, 1), {"padding": 1, "groups": 4, "flip": True}),
    "2d one by one": ((2, 7, 6, 4), (5, 1, 1, 4), {"stride": 2}),
    "3d": ((1, 4, 5, 6, 2), (3, 2, 3, 2, 2), {"padding": (1, 0, 1), "input_dilation": (1, 2, 1)}),
    "2d deep": ((2, 6, 7, 37), (35, 3, 3, 37), {"padding": 1}),
    "2d wide": ((1, 5, 5, 300), (70, 1, 1, 300), {}),
    "2d many rows": ((3, 23, 25, 3), (33, 7, 7, 3), {"stride": 2, "padding": 3}),
    "2d spread by what dilates": (
        (2, 7, 6, 5),
        (4, 4, 3, 5),
        {
            "padding": ([3, 2], [2, 1]),
            "kernel_dilation": (2, 3),
            "input_dilation": (4, 2),
            "stride": (1, 3),
        },
    ),
    "2d more stride than kernel": ((2, 9, 8, 3), (5, 1, 2, 3), {"stride": 3, "input_dilation": 2}),
    "2d groups of pairs": ((2, 7, 6, 12), (18, 3, 2, 2), {"padding": 1, "groups": 6}),
    "2d transposed": (
        (2, 5, 6, 20),
        (18, 3, 4, 20),
        {"padding": ([2, 1], [1, 3]), "input_dilation": (2, 3), "flip": True},
    ),
    "2d depthwise, wide": (
        (2, 9, 12, 35),
        (35, 3, 3, 1),
        {"padding": 1, "groups": 35, "stride": (1, 2)},
    ),
    "2d depthwise, transposed": (
        (2, 5, 6, 17),
        (17, 3, 4, 1),
        {"padding": 2, "groups": 17, "input_dilation": (2, 3), "flip": True},
    ),
    "2d kernel larger than the image": ((1, 2, 3, 4), (5, 5, 7, 4), {"padding": ([2, 4], [2, 4])}),
    "2d long taps": ((1, 4, 5, 328), (5, 3, 3, 328), {"padding": 1}),
    "2d long taps in groups": (
        (2, 6, 5, 128),
        (70, 3, 2, 64),
        {"padding": ([1, 0], [0, 2]), "groups": 2, "stride": (2, 1), "kernel_dilation": (1, 2)},
    ),
    "2d few out": ((2, 7, 9, 64), (3, 3, 2, 64), {"padding": 1, "stride": (1, 2)}),
    "2d few in": ((2, 9, 9, 3), (64, 7, 7, 3), {"padding": 3, "stride": 2}),
    "2d one out": ((2, 7, 5, 160), (1, 3, 3, 160), {"kernel_dilation": 2}),
    "empty batch": ((0, 9, 4), (6, 3, 4), {}),
    "no outputs": ((2, 9, 4), (0, 3, 4), {}),
    "no channels": ((2, 9, 0), (4, 3, 0), {"padding": 1}),
}
cases = pytest.mark.parametrize("shape, kernel, options", CASES.values(), ids=CASES)


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "complex64"])
def test_values(shape, kernel, options, dtype, rng):
    """Sums of small integers are exact in every type but for the last rounding."""
    x, w = exact_sample(rng, shape, dtype), exact_sample(rng, kernel, dtype)
    got = mx.conv_general(to_mx(x), to_mx(w), **options)
    assert got.dtype == getattr(mx, dtype)
    if dtype == "complex64":
        parts = [[a.real, a.imag] for a in (x, w)]
        real, imag = ([convolution(a, b, **options) for b in parts[1]] for a in parts[0])
        return assert_equal(got, (real[0] - imag[1] + 1j * (real[1] + imag[0])).astype(x.dtype))
    wide = convolution(x.astype(np.float64), w.astype(np.float64), **options)
    assert_equal(got, wide.astype(x.dtype))


@cases
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_gradients_of_other_types(shape, kernel, options, dtype, rng):
    x, w = exact_sample(rng, shape, "float32"), exact_sample(rng, kernel, "float32")
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = exact_sample(rng, call(to_mx(x), to_mx(w)).shape, "float32")
    _, want = mx.vjp(call, [to_mx(x), to_mx(w)], [to_mx(c)])
    _, got = mx.vjp(call, [to_mx(x, dtype), to_mx(w, dtype)], [to_mx(c, dtype)])
    for a, b in zip(got, want, strict=True):
        assert_equal(a, to_np(b.astype(getattr(mx, dtype))))


@cases
def test_second_derivatives(shape, kernel, options, rng):
    """The sum of c f(x, w) is linear in each of the three: its mixed derivatives are f again."""
    x, w, dx, dw = (to_mx(exact_sample(rng, s, "float32")) for s in (shape, kernel) * 2)
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = to_mx(exact_sample(rng, call(x, w).shape, "float32"))
    pull = lambda *a: mx.vjp(call, list(a[:2]), [a[2]])[1]  # noqa: E731
    # Along (dx, dw), the gradients change by those of the other argument's change.
    _, (gx, gw) = mx.jvp(pull, [x, w, c], [dx, dw, mx.zeros_like(c)])
    assert_equal(gx, to_np(pull(x, dw, c)[0]))
    assert_equal(gw, to_np(pull(dx, w, c)[1]))
    # And the cotangents of the gradients reach all three.
    _, (tx, tw, tc) = mx.vjp(pull, [x, w, c], [dx, dw])
    assert_equal(tx, to_np(pull(x, dw, c)[0]))
    assert_equal(tw, to_np(pull(dx, w, c)[1]))
    assert_equal(tc, to_np(call(dx, w) + call(x, dw)))


@cases
def test_vmap_of_gradients(shape, kernel, options, rng):
    x, w = (to_mx(exact_sample(rng, (2, *s), "float32")) for s in (shape, kernel))
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = to_mx(exact_sample(rng, (2, *call(x[0], w[0]).shape), "float32"))
    pull = lambda x, w, c: mx.vjp(call, [x, w], [c])[1]  # noqa: E731
    each = [pull(x[i], w[i], c[i]) for i in range(2)]
    shared = [pull(x[0], w[0], c[i]) for i in range(2)]
    for i in range(2):
        assert_equal(mx.vmap(pull)(x, w, c)[i], np.stack([to_np(entry[i]) for entry in each]))
        got = mx.vmap(pull, (None, None, 0))(x[0], w[0], c)[i]
        assert_equal(got, np.stack([to_np(entry[i]) for entry in shared]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize(
    "channels, outs, groups",
    [(6, 6, (1, 2, 6)), (64, 34, (1, 2)), (64, 3, (1,)), (3, 64, (1,))],
    ids=["short taps", "long taps", "few out", "few in"],
)
def test_every_combination_of_options(channels, outs, groups, dtype, rng):
    def small(*shape):
        return rng.integers(-1, 2, shape).astype(np.float64)  # sums are exact in all types

    for stride, padding, kernel_dilation, input_dilation, group in itertools.product(
        (1, 2, (2, 1)), (0, ([1, 0], [2, 1])), (1, (1, 2)), (1, (2, 1)), groups
    ):
        options = {
            "stride": stride,
            "padding": padding,
            "kernel_dilation": kernel_dilation,
            "input_dilation": input_dilation,
            "groups": group,
        }
        shapes = (2, 7, 6, channels), (outs, 3, 2, channels // group)
        x, w, dx, dw = (small(*shape) for shape in shapes * 2)
        call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731, B023
        want = convolution(x, w, **options)
        c = small(*want.shape)
        (got,), pulled = mx.vjp(call, [to_mx(x, dtype), to_mx(w, dtype)], [to_mx(c, dtype)])
        np.testing.assert_array_equal(to_np(got.astype(mx.float64)), want, err_msg=str(options))
        # A gradient is told by what it gives along a direction.
        gx, gw = (to_np(g.astype(mx.float64)) for g in pulled)
        assert (gx * dx).sum() == (c * convolution(dx, w, **options)).sum(), options
        assert (gw * dw).sum() == (c * convolution(x, dw, **options)).sum(), options


def test_negative_padding_crops(rng):
    x, w = exact_sample(rng, (1, 9, 2), "float32"), exact_sample(rng, (3, 3, 2), "float32")
    got = mx.conv_general(to_mx(x), to_mx(w), padding=([-2], [1]))
    assert_equal(got, convolution(np.pad(x, ((0, 0), (0, 1), (0, 0)))[:, 2:], w))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": 3, "dilation": 2, "output_padding": 1},
        {"groups": 2, "padding": 3},
    ],
    ids=str,
)
def test_dimensions_against_torch(dims, options, rng):
    functional = pytest.importorskip("torch.nn.functional")
    import torch

    groups = options.get("groups", 1)
    x = exact_sample(rng, (2, *(9, 7, 8)[:dims], 4), "float32")
    w = exact_sample(rng, (6, *(3, 2, 3)[:dims], 4 // groups), "float32")
    image = torch.tensor(np.moveaxis(x, -1, 1).copy())

    plain = {k: v for k, v in options.items() if k != "output_padding"}
    kernel = torch.tensor(np.moveaxis(w, -1, 1).copy())
    want = getattr(functional, f"conv{dims}d")(image, kernel, **plain).numpy()
    got = getattr(mx, f"conv{dims}d")(to_mx(x), to_mx(w), **plain)
    assert_equal(got, np.moveaxis(want, 1, -1))

    # PyTorch's transposed weight is (channels, out channels / groups, *kernel).
    parts = [np.moveaxis(part, (0, -1), (1, 0)) for part in np.split(w, groups)]
    kernel = torch.tensor(np.concatenate(parts).copy())
    want = getattr(functional, f"conv_transpose{dims}d")(image, kernel, **options).numpy()
    got = getattr(mx, f"conv_transpose{dims}d")(to_mx(x), to_mx(w), **options)
    assert_equal(got, np.moveaxis(want, 1, -1))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("sizes", [(7, 3), (3, 7), (6, 4), (5, 5), (1, 4), (200, 50)])
def test_convolve(mode, sizes, rng):
    a, v = (exact_sample(rng, (n,), "float32") for n in sizes)
    assert_equal(mx.convolve(to_mx(a), to_mx(v), mode), np.convolve(a, v, mode))


def test_mixed_types_promote(rng):
    x, w = exact_sample(rng, (1, 5, 2), "float16"), exact_sample(rng, (3, 2, 2), "float32")
    assert mx.conv1d(to_mx(x), to_mx(w)).dtype == mx.float32
    assert_close(mx.conv1d(to_mx(x), to_mx(w)), convolution(x, w))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x, w: mx.conv1d(x, w), "conv1d: .*4 dimensions, expected 3"),
        (lambda x, w: mx.conv2d(x, w[..., :2]), r"conv2d: .*groups"),
        (lambda x, w: mx.conv2d(x, w, groups=2), r"conv2d: .*2 groups"),
        (lambda x, w: mx.conv2d(x[:, :2], w), r"conv2d: .*does not fit"),
        (lambda x, w: mx.conv2d(x, w, stride=0), "conv2d: stride .*at least 1"),
        (lambda x, w: mx.conv2d(x, w, stride=(1, 1, 1)), "conv2d: stride .*3 values"),
        (lambda x, w: mx.conv_transpose2d(x, w, stride=0), "conv_transpose2d: stride .*at least 1"),
        (lambda x, w: mx.conv_transpose2d(x, w, padding=(1, 1, 1)), "padding .*3 values"),
        (lambda x, w: mx.conv_transpose2d(x, w[0]), "conv_transpose2d: weight"),
        (lambda x, w: mx.conv_general(x[0, 0], w[0, 0]), "conv_general: .*spatial"),
        (lambda x, w: mx.conv2d(x.astype(mx.int32), w.astype(mx.int32)), "conv2d: int32"),
        (lambda x, w: mx.convolve(x, w), "convolve: .*1 dimension"),
        (lambda x, w: mx.convolve(mx.ones(3), mx.ones(2), "most"), "convolve: the mode is 'most'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(mx.ones((2, 5, 6, 3)), mx.ones((4, 3, 3, 3)))


# ---- Bits and memory ----

BITS = {
    "3 x 3": ((5, 13, 11, 20), (40, 3, 3, 20), {"padding": 1}),
    "few channels": ((5, 29, 31, 3), (16, 7, 7, 3), {"padding": 3, "stride": 2}),
    "1 x 1": ((5, 9, 9, 300), (20, 1, 1, 300), {}),
    "groups": ((5, 13, 11, 24), (12, 3, 3, 6), {"padding": 1, "groups": 4}),
    "depthwise": ((5, 13, 11, 20), (20, 3, 3, 1), {"padding": 1, "groups": 20}),
    "transposed": ((5, 13, 11, 20), (12, 3, 3, 20), {"input_dilation": 2, "flip": True}),
    "1d": ((5, 130, 20), (40, 3, 20), {"padding": 1, "kernel_dilation": 2}),
    "long taps": ((5, 9, 7, 192), (136, 3, 3, 192), {"padding": 1}),
    "few out": ((5, 9, 11, 64), (3, 5, 3, 64), {"padding": 1, "stride": 2}),
    "deep": ((5, 6, 6, 480), (20, 2, 3, 480), {}),
}


def bits(a):
    mx.eval(a)
    return to_np(a).tobytes()


@pytest.mark.skipif(
    mx.default_device() == mx.Device(mx.gpu), reason="the GPU's products have an order of their own"
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", BITS)
def test_an_image_has_its_bits_in_every_batch(name, dtype, rng):
    shape, kernel, options = BITS[name]
    x, w = (to_mx(rng.standard_normal(s), dtype) for s in (shape, kernel))
    call = lambda x: mx.conv_general(x, w, **options)  # noqa: E731
    c = to_mx(rng.standard_normal(call(x).shape), dtype)
    pull = lambda x, c: mx.vjp(call, [x], [c])[1][0]  # noqa: E731
    whole, pulled = call(x), pull(x, c)
    for i in range(shape[0]):
        for first in {i, max(0, i - 2)}:
            part = slice(first, i + 1)
            assert bits(call(x[part])[-1]) == bits(whole[i])
            assert bits(pull(x[part], c[part])[-1]) == bits(pulled[i])


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", BITS)
def test_a_view_has_the_bits_of_its_copy(name, dtype, rng):
    shape, kernel, options = BITS[name]
    w = to_mx(rng.standard_normal(kernel), dtype)
    x = to_mx(rng.standard_normal([2 * n for n in shape]), dtype)
    view = x[tuple(slice(2 * n - 1, None, -2) if i == 1 else slice(n) for i, n in enumerate(shape))]
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = mx.ones_like(call(view, w))

    def all_bits(x):
        out, gradients = mx.vjp(call, [x, w], [c])
        return [bits(a) for a in (*out, *gradients)]

    for a in (view, x[tuple(slice(0, 2 * n, 2) for n in shape)]):
        assert all_bits(a) == all_bits(mx.contiguous(a))


@pytest.mark.parametrize("channels", [6, 8, 20, 32, 48, 80])
def test_a_large_view_has_the_bits_of_its_copy(channels, rng):
    # So many sums that one shows an order of its own, which rounding hides in most.
    x = to_mx(rng.standard_normal((4, 32, 64, 2 * channels)), "bfloat16")
    w = to_mx(rng.standard_normal((32, 3, 3, channels)), "bfloat16")
    for view in (x[..., :channels], x[:, :, ::2, :channels]):
        copy = mx.contiguous(view)
        assert bits(mx.conv2d(view, w, padding=1)) == bits(mx.conv2d(copy, w, padding=1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_place_of_a_line_may_have_any_stride(dtype, channels, rng):
    x = to_mx(rng.standard_normal((1, 1, 4, channels)), dtype)[:, :, ::2, :][:, :, :1, :]
    w = to_mx(rng.standard_normal((4, 3, 3, channels)), dtype)
    got, want = (mx.conv2d(a, w, padding=1) for a in (x, mx.array(x.tolist(), x.dtype)))
    assert bits(got) == bits(want) and mx.any(got).item()


@pytest.mark.parametrize("name", BITS)
def test_threads_change_no_bits(name, rng):
    shape, kernel, options = BITS[name]
    x, w = (to_mx(rng.standard_normal(s), "float32") for s in (shape, kernel))
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = to_mx(rng.standard_normal(call(x, w).shape), "float32")
    before, seen = mx.get_num_threads(), set()
    try:
        for threads in (1, 2, 3, 4):
            mx.set_num_threads(threads)
            seen.add((bits(call(x, w)), *map(bits, mx.vjp(call, [x, w], [c])[1])))
    finally:
        mx.set_num_threads(before)
    assert len(seen) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", BITS)
def test_memory_is_that_of_panels(name, dtype, rng):
    """Neither windows nor padding is stored: what is needed besides does not grow with images."""
    if mx.default_device() != mx.cpu:
        pytest.skip("the GPU has convolutions by their expansion")
    shape, kernel, options = BITS[name]
    x, w = (to_mx(rng.standard_normal(s), dtype) for s in ((40, *shape[1:]), kernel))
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    c = to_mx(rng.standard_normal(call(x, w).shape), dtype)
    mx.eval(x, w, c)
    pull = lambda i: mx.vjp(call, [x, w], [c])[1][i]  # noqa: E731
    for f in (lambda: call(x, w), lambda: pull(0), lambda: pull(1)):
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        out = f()
        mx.eval(out)
        threads = mx.get_num_threads()
        assert mx.get_peak_memory() - before <= out.nbytes + threads * (2 << 20)


def test_convolutions_and_gradients_are_computed_whole():
    if mx.default_device() != mx.cpu:
        pytest.skip("the GPU has convolutions by their expansion")
    x, w = mx.ones((2, 8, 8, 4)), mx.ones((6, 3, 3, 4))
    c = mx.ones((2, 6, 6, 6))
    mx.eval(x, w, c)
    text = mx.explain(*mx.vjp(mx.conv2d, [x, w], [c])[1], mx.conv2d(x, w))
    lines = [line for line in text.splitlines() if line.startswith("step")]
    steps = [line for line in lines if ": view" not in line]
    assert len(steps) == 3
    for name in ("convolution ", "convolution_input_gradient ", "convolution_weight_gradient "):
        assert sum(name in step for step in steps) == 1
