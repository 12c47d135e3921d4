"""Convolutions against their definition, and against PyTorch where it is installed."""

import itertools

import numpy as np
import pytest
from conftest import assert_close, assert_equal, exact_sample, to_mx

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
    "empty batch": ((0, 9, 4), (6, 3, 4), {}),
}
cases = pytest.mark.parametrize("shape, kernel, options", CASES.values(), ids=CASES)


@cases
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_values(shape, kernel, options, dtype, rng):
    """Sums of small integers are exact in every type."""
    x, w = exact_sample(rng, shape, dtype), exact_sample(rng, kernel, dtype)
    got = mx.conv_general(to_mx(x), to_mx(w), **options)
    assert got.dtype == getattr(mx, dtype)
    wide = convolution(x.astype(np.float64), w.astype(np.float64), **options)
    assert_equal(got, wide.astype(dtype))


@cases
def test_derivatives(shape, kernel, options, rng):
    """A convolution is linear in each argument: <f(t), c> = <t, transpose of f (c)>."""
    x, w, dx, dw = (to_mx(exact_sample(rng, s, "float32")) for s in (shape, kernel) * 2)
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    (out,), (forward,) = mx.jvp(call, [x, w], [dx, dw])
    assert_equal(forward, np.array(call(dx, w) + call(x, dw)))
    c = to_mx(exact_sample(rng, out.shape, "float32"))
    _, (gx, gw) = mx.vjp(call, [x, w], [c])
    assert gx.shape == shape and gw.shape == kernel
    assert (c * forward).sum().item() == (gx * dx).sum().item() + (gw * dw).sum().item()


@cases
def test_vmap(shape, kernel, options, rng):
    x = to_mx(exact_sample(rng, (3, *shape), "float32"))
    w = to_mx(exact_sample(rng, (3, *kernel), "float32"))
    call = lambda x, w: mx.conv_general(x, w, **options)  # noqa: E731
    assert_equal(mx.vmap(call)(x, w), np.stack([np.array(call(x[i], w[i])) for i in range(3)]))
    assert_equal(
        mx.vmap(call, (0, None))(x, w[0]), np.stack([np.array(call(x[i], w[0])) for i in range(3)])
    )


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
