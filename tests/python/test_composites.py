"""Composites: nodes that a device computes whole or through their expansion, on any device."""

import numpy as np
import pytest
from conftest import assert_close

import cermet.core as mx

HEADS = mx.arange(2 * 4 * 5 * 8, dtype=mx.float32).reshape(2, 4, 5, 8).sin()
KEYS, VALUES = HEADS[:, 2:, 1:].cos(), HEADS[:, :2, :4].exp()
SCORES = (mx.arange(5 * 4).reshape(5, 4) % 3 != 1) | (mx.arange(4) == 0)
IMAGES, KERNEL = HEADS.reshape(2, 4, 5, 8), HEADS.reshape(-1)[:144].reshape(3, 2, 3, 8)
PACKED = mx.quantize(HEADS.reshape(10, 32), 32, 4)
EXPERTS = mx.quantize(HEADS.reshape(2, 5, 32), 32, 4)
FLOATS = mx.quantize(HEADS.reshape(10, 32), mode="mxfp8")
CHOICE = mx.array([1, 0, 1])
SORTED = mx.array([-0.5, 0.0, 0.0, 0.25, 0.75])


def attention(q, k, v, **options):
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=0.4, **options)


def rope(a, **options):
    return mx.fast.rope(a, **({"dims": 8, "traditional": False, "base": 1e4, "scale": 1.0,
                               "offset": 3} | options))  # fmt: skip


# A function and its arguments, of which the first is batched and has a derivative.
CASES = {
    "quantized": (
        lambda x: mx.quantized_matmul(x, *PACKED, group_size=32, bits=4),
        [HEADS.reshape(10, 32)],
    ),
    "quantized to floats": (
        lambda x: mx.quantized_matmul(x, *FLOATS, mode="mxfp8"),
        [HEADS.reshape(10, 32)],
    ),
    "gather_mm": (lambda a, b: mx.gather_mm(a, b, rhs_indices=CHOICE), [HEADS[0, :3], HEADS[0].mT]),
    "gather_qmm": (
        lambda x: mx.gather_qmm(x, *EXPERTS, rhs_indices=CHOICE, group_size=32, bits=4),
        [HEADS[0, :3].reshape(3, 2, 20)[..., :16].reshape(3, 1, 32)],
    ),
    "attention": (attention, [HEADS, KEYS, VALUES]),
    "causal": (lambda *qkv: attention(*qkv, mask="causal"), [HEADS, KEYS, VALUES]),
    "mask": (lambda *qkv: attention(*qkv, mask=SCORES), [HEADS, KEYS, VALUES]),
    "added mask": (
        lambda q, k, v, m: attention(q, k, v, mask=m),
        [HEADS, KEYS, VALUES, HEADS[:, :1, :, :4]],
    ),
    "sinks": (
        lambda q, k, v, s: attention(q, k, v, sinks=s),
        [HEADS, KEYS, VALUES, HEADS[0, 0, 0, :4]],
    ),
    "conv": (lambda x, w: mx.conv2d(x, w, padding=1), [IMAGES, KERNEL]),
    "strided": (lambda x, w: mx.conv2d(x, w, (2, 1), (1, 2), (1, 2)), [IMAGES, KERNEL]),
    "groups": (
        lambda x, w: mx.conv2d(x, w[..., :2], 1, 1, groups=4),
        [IMAGES, mx.tile(KERNEL, (4, 1, 1, 1))],
    ),
    "depthwise": (
        lambda x, w: mx.conv2d(x, w[..., :1], 1, 1, groups=8),
        [IMAGES, mx.tile(KERNEL, (8, 1, 1, 1))],
    ),
    "transposed": (lambda x, w: mx.conv_transpose2d(x, w, 2, 1), [IMAGES, KERNEL]),
    "max_pool": (lambda x: mx.fast.max_pool(x, (3, 2), (2, 1), (1, 0)), [IMAGES]),
    "rope": (rope, [HEADS]),
    "rope of a part": (lambda a: rope(a, dims=4, traditional=True), [HEADS]),
    "rope of frequencies": (
        lambda a, f: rope(a, base=None, freqs=f),
        [HEADS, mx.array([1.0, 2.0, 3.0, 4.0])],
    ),
    "rope of offsets": (lambda a: rope(a, offset=mx.array([3, 1])), [HEADS]),
    "searchsorted": (lambda v: mx.searchsorted(SORTED, v) * v, [HEADS[0]]),
}
ALL = pytest.mark.parametrize("name", CASES)


def total(f):
    return lambda *a: (f(*a) ** 2).sum()


@ALL
def test_vmap_is_a_loop(name):
    f, arguments = CASES[name]
    for which in range(len(arguments)):
        axes = [0 if i == which else None for i in range(len(arguments))]
        batch = mx.stack([arguments[which], arguments[which] * 0.5 - 0.1, -arguments[which]])
        entries = [[*arguments[:which], entry, *arguments[which + 1 :]] for entry in batch]
        got = mx.vmap(f, in_axes=axes)(*arguments[:which], batch, *arguments[which + 1 :])
        assert_close(
            got, np.stack([np.array(f(*entry)) for entry in entries]), rtol=1e-4, atol=1e-4
        )
    every = [mx.stack([a, a * 0.5]) for a in arguments]
    got = mx.vmap(f)(*every)
    want = [np.array(f(*[a[i] for a in every])) for i in range(2)]
    assert_close(got, np.stack(want), rtol=1e-4, atol=1e-4)


@ALL
def test_vmap_of_a_gradient_is_a_loop(name):
    f, arguments = CASES[name]
    gradient = mx.grad(total(f))
    batch = mx.stack([arguments[0], arguments[0] * 0.5 - 0.1])
    got = mx.vmap(gradient, in_axes=[0] + [None] * (len(arguments) - 1))(batch, *arguments[1:])
    want = np.stack([np.array(gradient(a, *arguments[1:])) for a in batch])
    assert_close(got, want, rtol=1e-3, atol=1e-3)


@ALL
def test_compiled_has_the_same_bits(name):
    f, arguments = CASES[name]
    assert mx.array_equal(mx.compile(f)(*arguments), f(*arguments)).item()
    gradient = mx.grad(total(f))
    assert mx.array_equal(mx.compile(gradient)(*arguments), gradient(*arguments)).item()


@ALL
def test_both_derivatives_agree(name):
    f, arguments = CASES[name]
    out, cotangent = f(*arguments), mx.ones_like(f(*arguments))
    tangents = [a.cos() for a in arguments]
    (pushed,) = mx.jvp(f, arguments, tangents)[1]
    pulled = mx.vjp(f, arguments, [cotangent])[1]
    assert pushed.shape == out.shape
    along = sum((p * t).sum() for p, t in zip(pulled, tangents, strict=True))
    assert_close(pushed.sum(), along, rtol=1e-3, atol=1e-3)


@ALL
def test_a_value_inside_of_a_gradient_changes_nothing(name):
    f, arguments = CASES[name]

    def looked_at(*a):
        out = f(*a)
        mx.eval(out)
        return (out**2).sum()

    assert mx.array_equal(mx.grad(looked_at)(*arguments), mx.grad(total(f))(*arguments)).item()


def steps(*arrays):
    return int(mx.explain(*arrays).splitlines()[-1].split()[0])


def count(text, what):
    return sum(what in line for line in text.splitlines() if line.startswith("step"))


@pytest.mark.parametrize(
    ("f", "most"),
    [
        (lambda: attention(HEADS, KEYS, VALUES, mask="causal"), 13),
        (lambda: attention(HEADS, KEYS, VALUES) + 1, 10),
        (lambda: mx.conv2d(IMAGES, KERNEL, 1, 1), 23),
        (lambda: rope(HEADS), 7),
        (lambda: mx.tanh(rope(HEADS)) * 2, 8),
    ],
)
def test_an_expansion_takes_no_steps_of_its_own(f, most):
    mx.eval(HEADS, KEYS, VALUES, KERNEL)
    assert steps(f()) <= most


def test_a_forward_pass_is_computed_once_for_its_derivative():
    gradients = mx.value_and_grad(total(attention), argnums=(0, 1, 2))
    plain = steps(gradients(HEADS, KEYS, VALUES))
    assert steps(mx.compile(gradients)(HEADS, KEYS, VALUES)) <= plain


def test_what_is_computed_whole_is_named():
    text = mx.explain(mx.quantized_matmul(HEADS.reshape(10, 32), *PACKED, group_size=32, bits=4))
    assert count(text, "quantized_matmul transpose=true, group_size=32, bits=4, mode=affine") == 1


def test_layers_share_what_is_equal_in_their_expansions():
    def layers(x):
        for _ in range(3):
            q, k = rope(x), rope(x[:, :2] * 2)
            x = x + attention(q, k, k, mask="causal")
        return x

    for f in (layers, mx.compile(layers)):
        text = mx.explain(f(HEADS))
        assert count(text, "arange") == 1  # positions of rope, of queries and of keys
        assert text.count("= sin") == 1
        assert text.count("= cos") == 1
        assert text.count("scaled_dot_product_attention") == 3  # whole
    assert mx.array_equal(mx.compile(layers)(HEADS), layers(HEADS)).item()


def test_equal_parts_of_expansions_are_released():
    x = HEADS + 1
    mx.eval(x)
    before = mx.get_active_memory()
    out = rope(x) + rope(x)
    mx.eval(out)
    assert mx.get_active_memory() - before <= out.nbytes + 4096


@pytest.mark.parametrize(
    "name", ["quantized", "causal", "conv", "transposed", "rope", "searchsorted"]
)
def test_one_trace_serves_other_shapes(name):
    f, arguments = CASES[name]
    compiled = mx.compile(f, shapeless=True)
    for n in (1, 2, 3):
        batched = arguments if name == "causal" else arguments[:1]
        more = [mx.concatenate([a] * n) for a in batched] + arguments[len(batched) :]
        assert mx.array_equal(compiled(*more), f(*more)).item()
