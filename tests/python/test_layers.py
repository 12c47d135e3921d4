"""nn: activation functions, layers and initializers against NumPy in float64."""

import gc
import math

import numpy as np
import pytest
from conftest import SIMULATED

import cermet.core as mx
import cermet.nn as nn
from cermet.utils import tree_flatten

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(scale=3, size=20), [0.0, 0.5, -0.5, 3.0, -3.0, 30.0, -30.0]])

erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def softplus(x):
    return np.logaddexp(x, 0)


def random(*shape):
    """An array and its values in float64."""
    values = RNG.normal(size=shape).astype(np.float32)
    return mx.array(values), values.astype(np.float64)


def parameter(module, name):
    return np.array(dict(tree_flatten(module.parameters()))[name], np.float64)


def randomize(module):
    """Give all parameters random values, so that none is hidden by ones or zeros."""
    return module.apply(lambda p: mx.array(RNG.uniform(0.5, 1.5, p.shape).astype(np.float32)))


# function name, module with the same meaning, NumPy
ACTIVATIONS = {
    "sigmoid": (nn.Sigmoid(), sigmoid),
    "tanh": (nn.Tanh(), np.tanh),
    "relu": (nn.ReLU(), lambda x: np.maximum(x, 0)),
    "relu2": (nn.ReLU2(), lambda x: np.maximum(x, 0) ** 2),
    "relu6": (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    "leaky_relu": (nn.LeakyReLU(), lambda x: np.where(x > 0, x, 0.01 * x)),
    "elu": (nn.ELU(), lambda x: np.where(x > 0, x, np.expm1(x))),
    "celu": (nn.CELU(), lambda x: np.where(x > 0, x, np.expm1(x))),
    "selu": (
        nn.SELU(),
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    "softmax": (nn.Softmax(), softmax),
    "softmin": (nn.Softmin(), lambda x: softmax(-x)),
    "log_softmax": (nn.LogSoftmax(), lambda x: np.log(softmax(x))),
    "softplus": (nn.Softplus(), softplus),
    "log_sigmoid": (nn.LogSigmoid(), lambda x: -softplus(-x)),
    "softsign": (nn.Softsign(), lambda x: x / (1 + np.abs(x))),
    "softshrink": (
        nn.Softshrink(),
        lambda x: np.where(np.abs(x) > 0.5, x - 0.5 * np.sign(x), 0),
    ),
    "hard_shrink": (nn.HardShrink(), lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    "silu": (nn.SiLU(), lambda x: x * sigmoid(x)),
    "mish": (nn.Mish(), lambda x: x * np.tanh(softplus(x))),
    "hardswish": (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "hard_tanh": (nn.HardTanh(), lambda x: np.clip(x, -1, 1)),
    "gelu": (nn.GELU(), lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    "gelu_approx": (
        nn.GELU("tanh"),
        lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "gelu_fast_approx": (nn.GELU("fast"), lambda x: x * sigmoid(1.702 * x)),
    "step": (nn.Step(), lambda x: (x >= 0).astype(float)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    module, reference = ACTIVATIONS[name]
    x = mx.array(X.astype(np.float32))
    y = getattr(nn, name)(x)
    expected = reference(np.array(x, np.float64))
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_array_equal(module(x), y)
    assert y.dtype == (mx.int32 if name == "step" else mx.float32)


def test_relu6_of_integers():
    y = nn.relu6(mx.array([-1, 3, 9]))
    assert y.dtype == mx.float32 and y.tolist() == [0, 3, 6]


@pytest.mark.parametrize("dtype, rtol", [(mx.float16, 1e-2), (mx.bfloat16, 6e-2)])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "step"])
def test_activations_in_half_precision(name, dtype, rtol):
    x = mx.array(X.astype(np.float32)).astype(dtype)
    y = getattr(nn, name)(x)
    expected = ACTIVATIONS[name][1](np.array(x.astype(mx.float32), np.float64))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.astype(mx.float32), expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if "soft" not in name])
def test_activations_have_finite_derivatives_far_from_zero(name):
    x = mx.array([-200.0, -90.0, 90.0, 200.0])
    derivative = np.array(mx.grad(lambda x: getattr(nn, name)(x).sum())(x))
    expected = 0 if name == "step" else derivative
    assert np.isfinite(derivative).all()
    np.testing.assert_array_equal(derivative, expected)


def test_activation_settings():
    x, v = random(5, 6)
    cases = [
        (nn.LeakyReLU(0.2), np.where(v > 0, v, 0.2 * v)),
        (nn.ELU(0.5), np.where(v > 0, v, 0.5 * np.expm1(v))),
        (nn.CELU(0.5), np.where(v > 0, v, 0.5 * np.expm1(v / 0.5))),
        (nn.Softshrink(0.1), np.where(np.abs(v) > 0.1, v - 0.1 * np.sign(v), 0)),
        (nn.HardShrink(0.1), np.where(np.abs(v) > 0.1, v, 0)),
        (nn.Step(0.3), v >= 0.3),
        (nn.GLU(), v[:, :3] * sigmoid(v[:, 3:])),
        (nn.PReLU(6, 0.1), np.where(v > 0, v, 0.1 * v)),
        (lambda x: nn.softmax(x, axis=0), softmax(v, 0)),
        (lambda x: nn.hard_tanh(x, -0.1, 0.2), np.clip(v, -0.1, 0.2)),
    ]
    for fn, expected in cases:
        np.testing.assert_allclose(fn(x), expected, rtol=1e-5, atol=1e-6)


def test_gelu_refuses_an_unknown_approximation():
    with pytest.raises(ValueError, match="GELU: approx is 'rough'"):
        nn.GELU("rough")


# Linear maps and embeddings


@pytest.mark.parametrize("bias", [True, False])
def test_linear(bias):
    layer = nn.Linear(6, 4, bias=bias)
    x, v = random(2, 3, 6)
    expected = v @ parameter(layer, "weight").T + (parameter(layer, "bias") if bias else 0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)


def test_bilinear():
    layer = nn.Bilinear(3, 4, 5)
    (a, u), (b, v) = random(2, 6, 3), random(2, 6, 4)
    expected = np.einsum("...j,oji,...i->...o", v, parameter(layer, "weight"), u)
    expected += parameter(layer, "bias")
    np.testing.assert_allclose(layer(a, b), expected, rtol=1e-4, atol=1e-5)


def test_embedding():
    layer = nn.Embedding(10, 4)
    weight = parameter(layer, "weight")
    indices = np.array([[1, 9], [0, 1]])
    np.testing.assert_array_equal(layer(mx.array(indices)), weight[indices])
    x, v = random(3, 4)
    np.testing.assert_allclose(layer.as_linear(x), v @ weight.T, rtol=1e-4, atol=1e-5)


def test_identity_ignores_its_arguments():
    x, _ = random(3)
    assert nn.Identity(1, 2, key=3)(x) is x


# Dropout


@pytest.mark.parametrize(
    "layer, shape, whole",
    [
        (nn.Dropout(0.25), (200, 50), ()),
        (nn.Dropout2d(0.25), (20, 3, 4, 50), (1, 2)),
        (nn.Dropout2d(0.25), (3, 4, 1000), (0, 1)),
        (nn.Dropout3d(0.25), (20, 2, 3, 4, 50), (1, 2, 3)),
        (nn.Dropout3d(0.25), (2, 3, 4, 1000), (0, 1, 2)),
    ],
)
def test_dropout(layer, shape, whole):
    mx.random.seed(0)
    y = np.array(layer(mx.ones(shape)))
    assert set(np.unique(y)) == {np.float32(0), np.float32(4 / 3)}
    dropped = (y == 0).all(whole) if whole else y == 0
    np.testing.assert_array_equal((y == 0).any(whole) if whole else dropped, dropped)
    assert abs(dropped.mean() - 0.25) < 0.06
    x, _ = random(*shape)
    assert layer.eval()(x) is x
    layer.train()


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d, nn.Dropout3d])
def test_dropout_of_what_is_no_probability_is_refused(layer, p):
    with pytest.raises(ValueError, match=rf"{layer.__name__}: p is {p}, expected \[0, 1\)"):
        layer(p)


def test_dropout_keeps_half_precision_and_drops_infinities():
    y = nn.Dropout(0.5)(mx.full((1000,), math.inf, mx.float16))
    assert y.dtype == mx.float16 and not np.isnan(np.array(y)).any()


def test_channel_dropout_refuses_a_bad_number_of_dimensions():
    with pytest.raises(ValueError, match="Dropout3d: input has 2 dimensions, expected 4 or 5"):
        nn.Dropout3d()(mx.ones((2, 2)))


# Normalization


def standardize(v, axes, eps=1e-5):
    return (v - v.mean(axes, keepdims=True)) / np.sqrt(v.var(axes, keepdims=True) + eps)


def test_rms_norm():
    layer = randomize(nn.RMSNorm(6, eps=1e-3))
    x, v = random(4, 6)
    expected = v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-3) * parameter(layer, "weight")
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-5)


def test_layer_norm():
    x, v = random(4, 6)
    layer = randomize(nn.LayerNorm(6))
    expected = standardize(v, -1) * parameter(layer, "weight")
    np.testing.assert_allclose(layer(x), expected + parameter(layer, "bias"), atol=2e-5)
    layer.pop("bias")
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)
    np.testing.assert_allclose(nn.LayerNorm(6, affine=False)(x), standardize(v, -1), atol=2e-5)
    assert list(nn.LayerNorm(6, bias=False).parameters()) == ["weight"]


def test_instance_norm():
    layer = randomize(nn.InstanceNorm(3, affine=True))
    x, v = random(2, 4, 5, 3)
    expected = standardize(v, (1, 2)) * parameter(layer, "weight") + parameter(layer, "bias")
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)
    with pytest.raises(ValueError, match="InstanceNorm: input has 2 dimensions"):
        layer(mx.ones((2, 3)))


@pytest.mark.parametrize("neighbours", [True, False])
def test_group_norm(neighbours):
    layer = randomize(nn.GroupNorm(2, 6, pytorch_compatible=neighbours))
    x, v = random(2, 4, 5, 6)
    expected = np.empty_like(v)
    for group in range(2):
        members = slice(3 * group, 3 * group + 3) if neighbours else slice(group, None, 2)
        expected[..., members] = standardize(v[..., members], (1, 2, 3))
    expected = expected * parameter(layer, "weight") + parameter(layer, "bias")
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)
    with pytest.raises(ValueError, match="GroupNorm: dims is 4, expected a multiple of 3"):
        nn.GroupNorm(3, 4)


@pytest.mark.parametrize("shape", [(10, 3), (4, 5, 3), (2, 4, 5, 3)])
def test_batch_norm(shape):
    layer = nn.BatchNorm(3, momentum=0.2)
    x, v = random(*shape)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(layer(x), standardize(v, axes), atol=2e-5)
    mean, var = 0.2 * v.mean(axes), 0.8 + 0.2 * v.var(axes, ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, atol=1e-5)
    np.testing.assert_allclose(layer.running_var, var, atol=1e-5)
    layer.eval()
    np.testing.assert_allclose(layer(x), (v - mean) / np.sqrt(var + 1e-5), atol=2e-5)
    np.testing.assert_allclose(layer.running_mean, mean, atol=1e-5)


def test_the_statistics_of_batch_norm_stay_frozen():
    layer = nn.BatchNorm(3)
    for model in (layer, nn.Sequential(layer)):
        model.freeze().unfreeze()
        assert list(layer.trainable_parameters()) == ["weight", "bias"]
    assert list(nn.BatchNorm(3, affine=False, track_running_stats=False).parameters()) == []


def test_batch_norm_refuses_bad_input():
    with pytest.raises(ValueError, match="BatchNorm: input has 1 dimensions"):
        nn.BatchNorm(3)(mx.ones((3,)))
    with pytest.raises(ValueError, match="one value a feature"):
        nn.BatchNorm(3)(mx.ones((1, 3)))


# Positions and attention


@pytest.mark.parametrize("traditional", [True, False])
def test_rope(traditional):
    x, v = random(1, 2, 5, 8)
    angles = 2.0 * (3 + np.arange(5))[:, None] * 100.0 ** (-np.arange(3) / 3)
    pairs = v[..., :6].reshape(1, 2, 5, 3, 2) if traditional else None
    a, b = (pairs[..., 0], pairs[..., 1]) if traditional else (v[..., :3], v[..., 3:6])
    rotated = [a * np.cos(angles) - b * np.sin(angles), a * np.sin(angles) + b * np.cos(angles)]
    stacked = np.stack(rotated, -1).reshape(1, 2, 5, 6)
    expected = np.concatenate(
        [stacked if traditional else np.concatenate(rotated, -1), v[..., 6:]], -1
    )
    layer = nn.RoPE(6, traditional, base=100, scale=2.0)
    np.testing.assert_allclose(layer(x, offset=3), expected, rtol=1e-4, atol=1e-4)


def test_sinusoidal_encoding():
    positions = np.array([0.0, 1.0, 7.5])
    frequencies = np.geomspace(1, 1e-4, 4)
    waves = np.sin(positions[:, None] * frequencies), np.cos(positions[:, None] * frequencies)
    x = mx.array(positions.astype(np.float32))
    y = nn.SinusoidalPositionalEncoding(8)(x)
    np.testing.assert_allclose(y, 0.5 * np.concatenate(waves, -1), atol=1e-5)
    layer = nn.SinusoidalPositionalEncoding(8, scale=2.0, cos_first=True, full_turns=True)
    turns = 2 * np.pi * positions[:, None] * frequencies
    expected = 2 * np.concatenate([np.cos(turns), np.sin(turns)], -1)
    np.testing.assert_allclose(layer(x), expected, atol=1e-4)
    assert tree_flatten(layer.parameters()) == []


def test_alibi():
    slopes = np.array([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])
    np.testing.assert_allclose(nn.ALiBi.create_alibi_slope(6)[:, 0, 0], slopes)
    scores, v = random(2, 6, 2, 5)
    distances = np.abs(np.arange(3, 5)[:, None] - np.arange(5))
    expected = v - slopes[:, None, None] * distances
    np.testing.assert_allclose(nn.ALiBi()(scores, offset=3), expected, atol=1e-5)
    mask = np.tri(2, 5, 3).astype(bool)
    masked = nn.ALiBi()(scores, offset=3, mask=mx.array(mask))
    np.testing.assert_allclose(masked, np.where(mask, expected, -np.inf), atol=1e-5)
    np.testing.assert_array_equal(
        nn.ALiBi()(scores, 3, -1), nn.ALiBi()(scores, 3, mx.array(-1, scores.dtype))
    )
    added = nn.ALiBi()(scores, offset=3, mask=mx.ones((2, 5)))
    np.testing.assert_allclose(added, expected + 1, atol=1e-5)


def attention(layer, q, k, v, mask=0.0):
    """The reference, with the parameters of the layer and an additive mask."""

    def project(name, x):
        y = x @ parameter(layer, f"{name}_proj.weight").T
        return y + parameter(layer, f"{name}_proj.bias") if "bias" in layer.out_proj else y

    def heads(x):
        return x.reshape(*x.shape[:2], layer.num_heads, -1).swapaxes(1, 2)

    q, k, v = (heads(project(n, x)) for n, x in [("query", q), ("key", k), ("value", v)])
    weights = softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1]) + mask)
    y = (weights @ v).swapaxes(1, 2)
    return project("out", y.reshape(*y.shape[:2], -1))


def test_multi_head_attention():
    layer = nn.MultiHeadAttention(8, 2, 6, 5, 4, 10, 12, bias=True)
    (q, a), (k, b), (v, c) = random(2, 3, 6), random(2, 7, 5), random(2, 7, 4)
    np.testing.assert_allclose(layer(q, k, v), attention(layer, a, b, c), rtol=1e-4, atol=1e-5)


def test_causal_attention():
    layer = nn.MultiHeadAttention(8, 2)
    x, v = random(2, 5, 8)
    mask = layer.create_additive_causal_mask(5)
    expected = attention(layer, v, v, v, np.where(np.tri(5) > 0, 0, -np.inf))
    np.testing.assert_allclose(layer(x, x, x, mask), expected, rtol=1e-4, atol=1e-5)
    seen = mx.array(np.tri(5).astype(bool))
    np.testing.assert_allclose(layer(x, x, x, seen), expected, rtol=1e-4, atol=1e-5)
    half = layer.create_additive_causal_mask(3, mx.float16)
    assert half.dtype == mx.float16 and np.isfinite(np.array(half)).all()
    assert layer.create_additive_causal_mask(2.5).shape == (3, 3)  # as arange counts


def test_attention_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="MultiHeadAttention: dims is 7, expected a multiple of 2"):
        nn.MultiHeadAttention(7, 2)


@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer(norm_first):
    model = nn.Transformer(8, 2, 1, 1, mlp_dims=16, activation=nn.gelu, norm_first=norm_first)
    (src, u), (tgt, v) = random(2, 3, 8), random(2, 4, 8)

    def block(x, fn):
        return x + fn(standardize(x, -1)) if norm_first else standardize(x + fn(x), -1)

    def mlp(layer, x):
        for linear, activation in [("linear1", ACTIVATIONS["gelu"][1]), ("linear2", lambda x: x)]:
            weight, bias = (parameter(layer, f"{linear}.{p}") for p in ("weight", "bias"))
            x = activation(x @ weight.T + bias)
        return x

    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    u = block(u, lambda x: attention(encoder.attention, x, x, x))
    memory = standardize(block(u, lambda x: mlp(encoder, x)), -1)
    causal = np.where(np.tri(4) > 0, 0, -np.inf)
    v = block(v, lambda x: attention(decoder.self_attention, x, x, x, causal))
    v = block(v, lambda x: attention(decoder.cross_attention, x, memory, memory))
    expected = standardize(block(v, lambda x: mlp(decoder, x)), -1)
    mask = nn.MultiHeadAttention.create_additive_causal_mask(4)
    y = model(src, tgt, None, mask, None)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)
    model.encoder.checkpoint = model.decoder.checkpoint = True
    np.testing.assert_allclose(model(src, tgt, None, mask, None), y, rtol=1e-5, atol=1e-6)


def test_transformer_with_custom_stacks():
    encoder, decoder = nn.Identity(), nn.Identity()
    model = nn.Transformer(8, 2, custom_encoder=encoder, custom_decoder=decoder)
    assert model.encoder is encoder and model.decoder is decoder


# Recurrent layers


def run(step, x, states):
    """The outputs at all times of ``step(x, states) -> states``."""
    outputs = []
    for t in range(x.shape[-2]):
        states = step(x[..., t, :], states)
        outputs.append(states)
    return [np.stack(o, -2) for o in zip(*outputs, strict=True)]


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("start", [True, False])
def test_recurrent_layers(shape, bias, start):
    x, v = random(*shape)
    (h, h0), (c, c0) = random(*shape[:-2], 4), random(*shape[:-2], 4)
    if not start:
        h, h0, c, c0 = None, np.zeros_like(h0), None, np.zeros_like(c0)

    def of(layer, name):
        return parameter(layer, name) if bias or name.startswith("W") else 0.0

    def rnn(x, states):
        y = x @ of(layer, "Wxh").T + states[0] @ of(layer, "Whh").T + of(layer, "bias")
        return [np.tanh(y)]

    def gru(x, states):
        xr, xz, xn = np.split(x @ of(layer, "Wx").T + of(layer, "b"), 3, -1)
        hr, hz, hn = np.split(states[0] @ of(layer, "Wh").T, 3, -1)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = np.tanh(xn + r * (hn + of(layer, "bhn")))
        return [(1 - z) * n + z * states[0]]

    def lstm(x, states):
        y = x @ of(layer, "Wx").T + states[0] @ of(layer, "Wh").T + of(layer, "bias")
        i, f, g, o = np.split(y, 4, -1)
        cell = sigmoid(f) * states[1] + sigmoid(i) * np.tanh(g)
        return [sigmoid(o) * np.tanh(cell), cell]

    for step, kind in [(rnn, nn.RNN), (gru, nn.GRU)]:
        layer = kind(3, 4, bias=bias)
        np.testing.assert_allclose(layer(x, h), run(step, v, [h0])[0], rtol=1e-4, atol=1e-5)
    layer = nn.LSTM(3, 4, bias=bias)
    for y, expected in zip(layer(x, h, c), run(lstm, v, [h0, c0]), strict=True):
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_rnn_nonlinearity():
    layer = nn.RNN(3, 4, nonlinearity=nn.relu)
    assert np.array(layer(mx.ones((5, 3)))).min() >= 0
    with pytest.raises(ValueError, match="RNN: nonlinearity is 3"):
        nn.RNN(3, 4, nonlinearity=3)


@pytest.mark.skipif(SIMULATED, reason="counts the CPU's memory")
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_memory_of_a_recurrent_training_step_is_linear(kind):
    layer = kind(64, 64)
    step = nn.value_and_grad(layer, lambda model, x: mx.mean(model(x)[0][:, -1]))

    def peak(length):
        x = mx.ones((4, length, 64))
        mx.eval(x, layer.parameters())
        gc.collect()  # what other tests left may not be freed meanwhile
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(step(layer, x))
        return mx.get_peak_memory() - before

    half, whole = peak(128), peak(256)
    assert whole <= 2 * half
    assert whole <= 8 << 20


# Convolution


def convolve(v, weight, stride, padding, dilation, groups):
    """Channels-last convolution of any number of dimensions, by its definition."""
    n = v.ndim - 2
    v = np.pad(v, [(0, 0), *((p, p) for p in padding), (0, 0)])
    kernel = weight.shape[1:-1]
    out = [(v.shape[i + 1] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1 for i in range(n)]
    y = np.zeros((v.shape[0], *out, weight.shape[0]))
    inputs, outputs = weight.shape[-1], weight.shape[0] // groups
    for k in np.ndindex(*kernel):
        window = v[
            (
                slice(None),
                *(
                    slice(
                        k[i] * dilation[i],
                        k[i] * dilation[i] + (out[i] - 1) * stride[i] + 1,
                        stride[i],
                    )
                    for i in range(n)
                ),
            )
        ]
        for g in range(groups):
            to, of = slice(g * outputs, (g + 1) * outputs), slice(g * inputs, (g + 1) * inputs)
            y[..., to] += window[..., of] @ weight[(to, *k)].T
    return y


CONVOLUTIONS = {
    "1d": (nn.Conv1d(4, 6, 3, 2, 1, 2, 2), (2, 9, 4), (2,), (1,), (2,), 2),
    "2d": (nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0)), (2, 9, 8, 4), (2, 1), (1, 0), (1, 1), 1),
    "2d groups": (nn.Conv2d(4, 4, 3, groups=4), (2, 6, 5, 4), (1, 1), (0, 0), (1, 1), 4),
    "3d": (nn.Conv3d(2, 3, 2, padding=1), (2, 4, 5, 4, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1),
}


@pytest.mark.parametrize(
    "layer, shape, stride, padding, dilation, groups", CONVOLUTIONS.values(), ids=CONVOLUTIONS
)
def test_convolution(layer, shape, stride, padding, dilation, groups):
    randomize(layer)
    x, v = random(*shape)
    expected = convolve(v, parameter(layer, "weight"), stride, padding, dilation, groups)
    np.testing.assert_allclose(layer(x), expected + parameter(layer, "bias"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "transposed, plain, shape",
    [
        (nn.ConvTranspose1d(4, 6, 3, 2, 1, bias=False), (2,), (2, 5, 4)),
        (nn.ConvTranspose2d(4, 6, 3, (2, 1), 1, bias=False), (2, 1), (2, 5, 4, 4)),
        (nn.ConvTranspose3d(2, 3, 3, 1, 1, bias=False), (1, 1, 1), (1, 3, 4, 3, 2)),
    ],
)
def test_transposed_convolution_is_the_transpose(transposed, plain, shape):
    """<conv(y), x> = <y, conv_transpose(x)> for all x and y."""
    x, u = random(*shape)
    y = transposed(x)
    _, v = random(*y.shape)
    n = len(plain)
    weight = parameter(transposed, "weight").swapaxes(0, -1)
    convolved = convolve(v, weight, plain, (1,) * n, (1,) * n, 1)
    np.testing.assert_allclose(
        (np.array(y, np.float64) * v).sum(), (convolved * u).sum(), rtol=1e-3
    )


def test_output_padding_enlarges_the_output():
    x = mx.ones((1, 5, 4))
    assert nn.ConvTranspose1d(4, 6, 3, 2, 1)(x).shape == (1, 9, 6)
    assert nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1)(x).shape == (1, 10, 6)


def test_convolution_prints_its_settings():
    assert repr(nn.Conv2d(4, 6, 3, groups=2)) == (
        "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0), dilation=1, groups=2, "
        "bias=True)"
    )
    with pytest.raises(ValueError, match="Conv2d: in_channels is 3, expected a multiple"):
        nn.Conv2d(3, 4, 3, groups=2)
    with pytest.raises(TypeError, match="'list' object cannot be interpreted as an integer"):
        nn.ConvTranspose2d(2**32, 4, [[3], [3]])  # which is no order for 2**32 lists


# Pooling and resampling


@pytest.mark.parametrize(
    "name, shape, kernel, stride, padding",
    [
        ("Pool1d", (2, 9, 3), (3,), (2,), (1,)),
        ("Pool2d", (2, 9, 8, 3), (2, 3), (1, 2), (1, 0)),
        ("Pool3d", (1, 4, 5, 6, 2), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ],
)
def test_pooling(name, shape, kernel, stride, padding):
    x, v = random(*shape)
    axes = tuple(range(1, len(shape) - 1))
    for kind, fill, reduce in [("Max", -np.inf, np.max), ("Avg", 0, np.mean)]:
        padded = np.pad(v, [(0, 0), *((p, p) for p in padding), (0, 0)], constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axes)
        windows = windows[(slice(None), *(slice(None, None, s) for s in stride))]
        expected = reduce(windows, axis=tuple(range(len(shape), windows.ndim)))
        layer = getattr(nn, kind + name)(kernel, stride, padding)
        np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


def test_pooling_defaults_and_errors():
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"
    with pytest.raises(ValueError, match=r"MaxPool2d: kernel_size is \(2, 2, 2\)"):
        nn.MaxPool2d((2, 2, 2))
    with pytest.raises(ValueError, match="AvgPool1d: stride is 0"):
        nn.AvgPool1d(2, 0)
    with pytest.raises(ValueError, match="AvgPool1d: input has 2 dimensions, expected 3"):
        nn.AvgPool1d(2)(mx.ones((4, 2)))
    with pytest.raises(ValueError, match="axis 1 has size 4, expected at least the window's 5"):
        nn.AvgPool1d(5)(mx.ones((1, 4, 2)))


# settings: outputs for the inputs 0, 1, 4, 9
UPSAMPLED = {
    (2, "nearest", False, False): [0, 0, 1, 1, 4, 4, 9, 9],
    (0.5, "nearest", False, False): [0, 4],
    (2, "linear", False, False): [0, 0.25, 0.75, 1.75, 3.25, 5.25, 7.75, 9],
    (0.5, "linear", False, False): [0.5, 6.5],
    (1.5, "linear", True, False): [0, 0.6, 1.6, 3.4, 6, 9],
    (0.5, "linear", False, True): [
        (0.75 * 0 + 0.75 * 1 + 0.25 * 4) / 1.75,
        (0.25 * 1 + 0.75 * 4 + 0.75 * 9) / 1.75,
    ],
    (0.5, "cubic", False, False): [
        (-3 * 0 + 19 * 0 + 19 * 1 - 3 * 4) / 32,
        (-3 * 1 + 19 * 4 + 19 * 9 - 3 * 9) / 32,
    ],
}


@pytest.mark.parametrize("settings", UPSAMPLED)
def test_upsample(settings):
    x = mx.array([0.0, 1.0, 4.0, 9.0]).reshape(1, 4, 1)
    y = nn.Upsample(*settings)(x)
    np.testing.assert_allclose(y.reshape(-1), UPSAMPLED[settings], rtol=1e-5, atol=1e-6)


def test_upsample_takes_scales_of_a_numpy_array():
    x, _ = random(2, 4, 6, 3)
    assert mx.array_equal(nn.Upsample(np.array([2, 1]))(x), nn.Upsample((2, 1))(x))
    upsample_cubic = nn.layers.upsample.upsample_cubic
    assert mx.array_equal(upsample_cubic(x, np.array([2, 1])), upsample_cubic(x, (2, 1)))


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_upsample_treats_axes_apart_and_keeps_constants(mode):
    layer = nn.Upsample((2, 0.5), mode)
    x, _ = random(2, 4, 6, 3)
    assert layer(x).shape == (2, 8, 3, 3)
    along = nn.Upsample((1, 0.5), mode)(nn.Upsample((2, 1), mode)(x))
    np.testing.assert_allclose(layer(x), along, rtol=1e-5, atol=1e-6)
    constant = mx.full((1, 4, 6, 2), 2.5, mx.float16)
    assert layer(constant).dtype == mx.float16
    np.testing.assert_allclose(layer(constant), 2.5, rtol=1e-2)


@pytest.mark.parametrize("scale", [0.5, 1.7, 3])
def test_antialiased_cubic_resampling_reproduces_lines_inside(scale):
    line = mx.arange(40.0).reshape(1, 40, 1)
    y = np.array(nn.Upsample(scale, "cubic", antialias=True)(line)).ravel()
    inner = np.diff(y)[len(y) // 4 : -len(y) // 4]
    np.testing.assert_allclose(inner, 1 / scale, rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"align_corners": True}, {"antialias": True}])
def test_upsample_to_nothing_and_to_more_than_there_is(options):
    """No Python lists as long as the output: what is too large is told at once."""
    for mode in ["linear", "cubic"] + ([] if options else ["nearest"]):
        assert nn.Upsample(0.3, mode, **options)(mx.ones((2, 3, 5))).shape == (2, 0, 5)
        with pytest.raises((ValueError, MemoryError)):
            mx.eval(nn.Upsample(1e30, mode, **options)(mx.ones((2, 3, 5))))


@pytest.mark.parametrize("heads", [1, 3, 8, 20])
def test_alibi_slopes(heads):
    n = 2 ** int(np.log2(heads))
    want = [2 ** (-8 * (i + 1) / n) for i in range(n)]
    want += [2 ** (-4 * (2 * i + 1) / n) for i in range(heads - n)]
    got = np.array(nn.ALiBi.create_alibi_slope(heads)).ravel()
    np.testing.assert_allclose(got, want, rtol=1e-7)


@pytest.mark.parametrize("heads", [2**40, 2**100])
def test_alibi_of_more_heads_than_there_is_memory(heads):
    with pytest.raises((ValueError, MemoryError)):
        mx.eval(nn.ALiBi.create_alibi_slope(heads))


def test_upsample_refuses_bad_settings():
    for scale in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="expected numbers from 0 on"):
            nn.Upsample(scale)(mx.ones((1, 4, 1)))
    with pytest.raises(ValueError, match="Upsample: mode is 'area'"):
        nn.Upsample(2, "area")
    with pytest.raises(ValueError, match="antialias excludes"):
        nn.Upsample(2, "nearest", antialias=True)
    with pytest.raises(ValueError, match="expected 1 numbers"):
        nn.Upsample((2, 2))(mx.ones((1, 4, 1)))
    with pytest.raises(ValueError, match="input has 2 dimensions, expected at least 3"):
        nn.Upsample(2)(mx.ones((4, 1)))


# Initial values


def limits(p):
    return np.array(p).min(), np.array(p).max()


@pytest.mark.parametrize(
    "layer, name, limit",
    [
        (nn.Linear(100, 400), "weight", 0.1),
        (nn.Linear(100, 4000), "bias", 0.1),
        (nn.Bilinear(25, 20, 300), "weight", 0.2),
        (nn.Conv1d(8, 64, 9), "weight", 1 / math.sqrt(72)),
        (nn.Conv2d(8, 64, 9, groups=2), "weight", 1 / math.sqrt(4 * 81)),
        (nn.ConvTranspose1d(8, 64, 9), "weight", 1 / math.sqrt(72)),
        (nn.RNN(30, 64), "Wxh", 0.125),
        (nn.GRU(30, 64), "Wh", 0.125),
        (nn.LSTM(30, 64), "Wx", 0.125),
    ],
)
def test_first_values_are_uniform_up_to_a_limit(layer, name, limit):
    p = layer[name]
    low, high = limits(p)
    assert -limit <= low < -0.98 * limit and 0.98 * limit < high <= limit
    assert abs(np.array(p).std() - limit / math.sqrt(3)) < 0.05 * limit


def test_first_values_of_embeddings_and_biases():
    assert abs(np.array(nn.Embedding(1000, 64).weight).std() - 0.125) < 0.003
    assert np.array(nn.Conv2d(2, 3, 3).bias).any() == False  # noqa: E712


SHAPE = (200, 5, 60)  # fans: 300 in, 1000 out
SPREADS = {
    "normal": (nn.init.normal(0.0, 2.0), {}, 2.0),
    "uniform": (nn.init.uniform(-3.0, 3.0), {}, math.sqrt(3)),
    "glorot_normal": (nn.init.glorot_normal(), {"gain": 2.0}, 2 * math.sqrt(2 / 1300)),
    "glorot_uniform": (nn.init.glorot_uniform(), {}, math.sqrt(2 / 1300)),
    "he_normal": (nn.init.he_normal(), {}, math.sqrt(1 / 300)),
    "he_normal fan_out": (nn.init.he_normal(), {"mode": "fan_out"}, math.sqrt(1 / 1000)),
    "he_uniform": (nn.init.he_uniform(), {"gain": 3.0}, 3 * math.sqrt(1 / 300)),
}


@pytest.mark.parametrize("init, kwargs, std", SPREADS.values(), ids=SPREADS)
def test_initializers(init, kwargs, std):
    a = np.array(init(mx.zeros(SHAPE), **kwargs))
    assert a.shape == SHAPE and a.dtype == np.float32
    assert abs(a.mean()) < 0.05 * std and abs(a.std() - std) < 0.05 * std


def test_constant_identity_sparse_and_orthogonal():
    zeros = mx.zeros((30, 50))
    constant = nn.init.constant(3, mx.float16)(zeros)
    assert constant.dtype == mx.float16 and (np.array(constant) == 3).all()
    np.testing.assert_array_equal(nn.init.identity()(mx.zeros((3, 3))), np.eye(3))
    sparse = np.array(nn.init.sparse(0.3, mean=1.0)(zeros))
    assert ((sparse == 0).sum(1) == 15).all()
    for shape in [(30, 50), (50, 30)]:
        q = np.array(nn.init.orthogonal(2.0)(mx.zeros(shape)), np.float64)
        gram = q @ q.T if shape[0] < shape[1] else q.T @ q
        np.testing.assert_allclose(gram, 4 * np.eye(30), atol=1e-5)


@pytest.mark.parametrize(
    "init, shape, text",
    [
        (nn.init.glorot_normal(), (3,), "glorot_normal: shape is"),
        (nn.init.he_uniform(), (3,), "he_uniform: shape is"),
        (nn.init.identity(), (2, 3), "identity: shape is"),
        (nn.init.sparse(0.5), (3,), "sparse: shape is"),
        (nn.init.orthogonal(), (2, 3, 3), "orthogonal: shape is"),
    ],
)
def test_initializers_refuse_bad_shapes(init, shape, text):
    with pytest.raises(ValueError, match=text):
        init(mx.zeros(shape))


def test_he_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="he_normal: mode is 'fan'"):
        nn.init.he_normal()(mx.zeros((2, 2)), mode="fan")


# Quantization


@pytest.mark.parametrize("bits, step", [(4, 1 / 15), (8, 1 / 255)])
@pytest.mark.parametrize("bias", [True, False])
def test_quantized_linear(bits, step, bias):
    linear = nn.Linear(128, 16, bias=bias)
    layer = linear.to_quantized(64, bits)
    weight = np.array(mx.dequantize(layer.weight, layer.scales, layer.biases, 64, bits), np.float64)
    assert np.abs(weight - np.array(linear.weight)).max() <= step * 2 / math.sqrt(128) * 1.01
    x, v = random(3, 128)
    expected = v @ weight.T + (parameter(linear, "bias") if bias else 0)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-3, atol=1e-4)
    assert repr(layer) == (
        f"QuantizedLinear(input_dims=128, output_dims=16, bias={bias}, group_size=64, "
        f"bits={bits}, mode=affine)"
    )


def test_quantized_embedding():
    embedding = nn.Embedding(10, 64)
    layer = embedding.to_quantized(32, 8)
    weight = np.array(mx.dequantize(layer.weight, layer.scales, layer.biases, 32, 8), np.float64)
    indices = np.array([[1, 9], [0, 1]])
    np.testing.assert_allclose(layer(mx.array(indices)), weight[indices], rtol=1e-5, atol=1e-6)
    x, v = random(3, 64)
    np.testing.assert_allclose(layer.as_linear(x), v @ weight.T, rtol=1e-3, atol=1e-4)
    assert repr(layer) == "QuantizedEmbedding(10, 64, group_size=32, bits=8, mode=affine)"


@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
def test_column_major_changes_no_value(mode):
    group = 32
    model = nn.Sequential(nn.Embedding(16, 64), nn.Linear(64, 32), nn.LayerNorm(32))
    nn.quantize(model, group, 4, mode=mode, class_predicate=lambda _, m: hasattr(m, "to_quantized"))
    tokens = mx.array([[3, 15, 0]])
    before, output = tree_flatten(model.parameters()), model(tokens)
    mx.eval(before, output)
    assert nn.column_major(model) is model
    after = tree_flatten(model.parameters())
    assert [name for name, _ in after] == [name for name, _ in before]
    for (_, a), (_, b) in zip(after, before, strict=True):
        assert a.dtype == b.dtype and mx.array_equal(a, b)
    assert mx.array_equal(model(tokens), output)
    packed = memoryview(model.layers[1].weight)
    assert packed.f_contiguous and not packed.c_contiguous


def test_quantized_weights_are_frozen():
    fresh = [nn.QuantizedLinear(64, 8), nn.QuantizedEmbedding(8, 64)]
    for layer in [*fresh, nn.Embedding(8, 64).to_quantized()]:
        assert tree_flatten(layer.trainable_parameters()) == []
    assert list(nn.Linear(64, 8).to_quantized().trainable_parameters()) == ["bias"]


def test_quantized_layers_refuse_bad_settings():
    with pytest.raises(ValueError, match="QuantizedLinear: mode is 'int4'"):
        nn.QuantizedLinear(64, 8, mode="int4")
    with pytest.raises(ValueError, match="quantize: bits is 8, mode 'mxfp4' has 4"):
        nn.QuantizedLinear(64, 8, bits=8, mode="mxfp4")
    with pytest.raises(ValueError, match="QQLinear: mode is 'affine'"):
        nn.Linear(64, 8).to_quantized(quantize_input=True)
    with pytest.raises(ValueError, match=r"Embedding\.to_quantized: there is no input"):
        nn.Embedding(8, 64).to_quantized(mode="nvfp4", quantize_input=True)


def test_quantize_names_the_layer_that_does_not_fit():
    model = nn.Sequential(nn.Linear(64, 64), nn.Sequential(nn.Linear(100, 4)))
    with pytest.raises(
        ValueError, match=r"'layers\.1\.layers\.0', Linear\(input_dims=100.*group size"
    ):
        nn.quantize(model)
    with pytest.raises(TypeError, match=r"'layers\.0', Linear\(.*: .*bitz"):
        nn.quantize(model, class_predicate=lambda path, _: path == "layers.0" and {"bitz": 3})
    assert type(model.layers[0]) is nn.Linear


def packed(layer):
    layer.eval()
    return layer


@pytest.mark.parametrize(
    "method",
    [
        nn.QuantizedLinear.from_linear,
        nn.QQLinear.from_linear,
        nn.QuantizedEmbedding.from_embedding,
    ],
)
@pytest.mark.parametrize(
    "layer, error",
    [
        (nn.BatchNorm(3), r"the weight of BatchNorm has shape \(3,\) and type .*float32, expected"),
        (nn.Conv1d(64, 4, 2), "the weight of Conv1d has shape"),
        (nn.QuantizedLinear(64, 64), "the weight of QuantizedLinear has .* type .*uint32"),
        (packed(nn.QQLinear(64, 64)), "the weight of QQLinear has .* type .*uint32"),
        (nn.ReLU(), "a ReLU has no weight"),
        (None, "a NoneType has no weight"),
    ],
)
def test_what_is_no_matrix_is_not_packed(method, layer, error):
    """Least of all words of packed numbers, as if these were the numbers."""
    with pytest.raises((TypeError, ValueError), match=f"{method.__qualname__}: {error}"):
        method(layer)


FLOAT_MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


@pytest.mark.parametrize("mode", FLOAT_MODES)
def test_layers_of_the_modes_of_floats(mode):
    (group_size, bits), settings = FLOAT_MODES[mode], {"mode": mode}
    linear, embedding = nn.Linear(128, 16), nn.Embedding(10, 64)
    layer, table = linear.to_quantized(**settings), embedding.to_quantized(**settings)
    assert (layer.group_size, layer.bits) == (table.group_size, table.bits) == (group_size, bits)
    assert set(layer.parameters()) == {"weight", "scales", "bias"}
    assert layer.weight.shape == (16, 128 * bits // 32)
    assert layer.scales.shape == (16, 128 // group_size) and layer.scales.dtype == mx.uint8
    weight = mx.dequantize(layer.weight, layer.scales, dtype=mx.float32, **settings)
    x, v = random(3, 128)
    expected = v @ np.array(weight, np.float64).T + parameter(linear, "bias")
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-4)
    rows = mx.dequantize(table.weight, table.scales, dtype=mx.float32, **settings)
    np.testing.assert_array_equal(
        table(mx.array([9, 0])).astype(mx.float32), rows[mx.array([9, 0])]
    )
    x, v = random(3, 64)
    expected = v @ np.array(rows, np.float64).T
    np.testing.assert_allclose(table.as_linear(x), expected, rtol=1e-4, atol=1e-4)
    assert f"group_size={group_size}, bits={bits}, mode={mode}" in repr(layer)


@pytest.mark.parametrize("mode", FLOAT_MODES)
@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_layers_of_the_modes_of_floats_come_back_from_a_file(mode, extension, tmp_path):
    def model():
        return nn.Sequential(
            nn.QuantizedEmbedding(10, 64, mode=mode),
            nn.QuantizedLinear(64, 32, mode=mode),
            nn.QQLinear(32, 32, mode=mode).eval(),
        )

    saved, loaded, tokens = model(), model(), mx.array([1, 2, 3])
    assert not mx.array_equal(saved(tokens), loaded(tokens)).item()
    saved.save_weights(tmp_path / f"weights.{extension}")
    loaded.load_weights(tmp_path / f"weights.{extension}")
    assert mx.array_equal(saved(tokens), loaded(tokens)).item()


@pytest.mark.parametrize("mode", FLOAT_MODES)
def test_qq_linear(mode):
    linear = nn.Linear(64, 32)
    layer = linear.to_quantized(mode=mode, quantize_input=True)
    x, _ = random(3, 64)
    expected = mx.qqmm(x, linear.weight, mode=mode) + linear.bias
    assert set(layer.parameters()) == set(layer.trainable_parameters()) == {"weight", "bias"}
    assert layer.weight.dtype == mx.float32
    np.testing.assert_array_equal(layer(x), expected)
    gradient = nn.value_and_grad(layer, lambda x: layer(x).sum())(x)[1]
    rounded = mx.dequantize(*mx.quantize(x, mode=mode), mode=mode, dtype=mx.float32)
    np.testing.assert_allclose(
        gradient["weight"], mx.broadcast_to(rounded.sum(0), (32, 64)), rtol=1e-5, atol=1e-5
    )
    # Packed.
    text = repr(layer)
    layer.eval()
    assert set(layer.parameters()) == {"weight", "scales", "bias"} and layer.training is False
    assert set(layer.trainable_parameters()) == {"bias"}
    assert repr(layer) == text
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    # And unpacked: the weight is now the rounded one.
    layer.train()
    assert set(layer.parameters()) == set(layer.trainable_parameters()) == {"weight", "bias"}
    assert layer.weight.dtype == mx.float32
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)
    frozen = nn.QQLinear(64, 32, mode=mode).freeze()
    assert not frozen.eval().train().trainable_parameters()


def test_quantizing_a_model_that_is_evaluated_packs_it():
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 8)).eval()
    nn.quantize(model, mode="nvfp4", quantize_input=True)
    assert [type(layer).__name__ for layer in model.layers] == ["QQLinear", "ReLU", "QQLinear"]
    assert model.layers[0].weight.dtype == mx.uint32
    assert model.train().layers[0].weight.dtype == mx.float32
