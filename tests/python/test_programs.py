"""Small programs as a user writes them, from a model's definition to its training."""

import math

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.utils import tree_flatten, tree_map


class FeedForward(nn.Module):
    """The gated network of a Llama layer."""

    def __init__(self, dims: int, hidden_dims: int):
        super().__init__()
        self.w1 = nn.Linear(dims, hidden_dims, bias=False)
        self.w2 = nn.Linear(hidden_dims, dims, bias=False)
        self.w3 = nn.Linear(dims, hidden_dims, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        return self.w2(nn.silu(self.w1(x)) * self.w3(x))


def test_feed_forward_prints_as_a_tree():
    assert str(FeedForward(20, 64)) == (
        "FeedForward(\n"
        "  (w1): Linear(input_dims=20, output_dims=64, bias=False)\n"
        "  (w2): Linear(input_dims=64, output_dims=20, bias=False)\n"
        "  (w3): Linear(input_dims=20, output_dims=64, bias=False)\n"
        ")"
    )


def test_feed_forward_maps_its_parameters_to_shapes():
    assert FeedForward(20, 64).map_parameters(lambda p: p.shape) == {
        "w1": {"weight": (64, 20)},
        "w2": {"weight": (20, 64)},
        "w3": {"weight": (64, 20)},
    }


def test_feed_forward_computes_its_formula():
    model = FeedForward(20, 64)
    x = mx.random.normal((5, 20))
    w1, w2, w3 = (np.array(w.weight, np.float64) for w in (model.w1, model.w2, model.w3))
    v = np.array(x, np.float64)
    gate = v @ w1.T
    expected = (gate / (1 + np.exp(-gate)) * (v @ w3.T)) @ w2.T
    np.testing.assert_allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_feed_forward_matches_finite_differences():
    def loss_fn(model, x):
        return (model(x) ** 2).mean()

    mx.random.seed(0)
    with mx.stream(mx.cpu):
        model = FeedForward(20, 64)
        model.set_dtype(mx.float64)
        x = 3 * mx.random.normal((3, 20)).astype(mx.float64)
        _, gradients = nn.value_and_grad(model, loss_fn)(model, x)
        gradients = dict(tree_flatten(gradients))
        rng = np.random.default_rng(0)
        for name, weight in tree_flatten(model.parameters()):
            direction = mx.array(rng.normal(size=weight.shape) / 10, dtype=mx.float64)
            losses = []
            for h in (1e-2, -1e-2):
                model.load_weights([(name, weight + h * direction)], strict=False)
                losses.append(loss_fn(model, x).item())
            model.load_weights([(name, weight)], strict=False)
            slope = (gradients[name] * direction).sum().item()
            assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(slope, rel=1e-3, abs=1e-7), name


class RMSNorm(nn.Module):
    """Normalization written with array operations, in float32 inside."""

    def __init__(self, dims: int, eps: float = 1e-5):
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def __call__(self, x: mx.array) -> mx.array:
        y = x.astype(mx.float32)
        y = y * mx.rsqrt(mx.square(y).mean(-1, keepdims=True) + self.eps)
        return self.weight * y.astype(x.dtype)


@pytest.mark.parametrize("dtype, rtol", [(mx.float16, 2e-3), (mx.float32, 1e-5)])
def test_a_norm_of_array_operations(dtype, rtol):
    model = RMSNorm(64)
    model.weight = mx.random.uniform(0.5, 1.5, (64,))
    model.set_dtype(dtype)
    x = (300 * mx.random.normal((4, 64))).astype(dtype)  # the squares exceed float16
    v = np.array(x, np.float64)
    expected = v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-5)
    y = model(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected * np.array(model.weight, np.float64), rtol=rtol)
    library = nn.RMSNorm(64).update(model.parameters())
    np.testing.assert_allclose(library(x), y, rtol=rtol)


class Linear(nn.Module):
    """A linear layer of one's own."""

    def __init__(self, input_dims: int, output_dims: int):
        super().__init__()
        limit = math.sqrt(1 / input_dims)
        self.weight = mx.random.uniform(-limit, +limit, (output_dims, input_dims))

    def __call__(self, x: mx.array) -> mx.array:
        return x @ self.weight.T


def test_a_linear_layer_of_ones_own():
    mx.random.seed(0)
    weight = np.array(Linear(100, 500).weight)
    assert weight.shape == (500, 100)
    assert -0.1 <= weight.min() < -0.0999 and 0.0999 < weight.max() <= 0.1
    assert abs(weight.mean()) < 1e-3 and abs(weight.std() - 0.1 / math.sqrt(3)) < 1e-3
    mx.random.seed(0)
    np.testing.assert_array_equal(Linear(100, 500).weight, weight)


class TransformerBlock(nn.Module):
    """A block whose attributes have other names than the keys of its weights."""

    self_attn = nn.ModuleInfo(key="attention")
    feed_fwd = nn.ModuleInfo(key="feed_forward")
    input_norm = nn.ModuleInfo(key="attention_norm")
    post_norm = nn.ModuleInfo(key="ffn_norm")
    residual_scale = nn.ParameterInfo(key="scale")

    def __init__(self, dims: int, num_heads: int):
        super().__init__()
        self.self_attn = nn.MultiHeadAttention(dims, num_heads)
        self.feed_fwd = FeedForward(dims, 4 * dims)
        self.input_norm = nn.RMSNorm(dims)
        self.post_norm = nn.RMSNorm(dims)
        self.residual_scale = mx.ones((dims,))

    def __call__(self, x: mx.array) -> mx.array:
        y = self.input_norm(x)
        x = x + self.residual_scale * self.self_attn(y, y, y)
        return x + self.residual_scale * self.feed_fwd(self.post_norm(x))


def test_a_block_loads_weights_by_their_keys(tmp_path):
    keys = [f"attention.{name}_proj.weight" for name in ("query", "key", "value", "out")]
    keys += [f"feed_forward.w{i}.weight" for i in (1, 2, 3)]
    keys += ["attention_norm.weight", "ffn_norm.weight", "scale"]
    block = TransformerBlock(16, 4)
    shapes = {name: p.shape for name, p in tree_flatten(block.parameters())}
    assert sorted(shapes) == sorted(keys)

    weights = {key: mx.random.normal(shapes[key]) for key in keys}
    file = str(tmp_path / "block.safetensors")
    mx.save_safetensors(file, weights)
    block.load_weights(file)
    np.testing.assert_array_equal(block.feed_fwd.w1.weight, weights["feed_forward.w1.weight"])
    np.testing.assert_array_equal(block.residual_scale, weights["scale"])

    x = mx.random.normal((1, 5, 16))
    copied = TransformerBlock(16, 4).update(block.parameters(), verify=nn.VerifyUpdate.ALL)
    np.testing.assert_array_equal(copied(x), block(x))
    copied.residual_scale = mx.zeros((16,))
    np.testing.assert_array_equal(copied(x), x)


def test_a_block_says_which_weights_do_not_fit():
    block = TransformerBlock(16, 4)
    weights = dict(tree_flatten(block.parameters()))
    del weights["feed_forward.w2.weight"]
    with pytest.raises(nn.MissingKeysError, match=r"feed_forward\.w2\.weight"):
        block.load_weights(list(weights.items()))
    weights["feed_fwd.w2.weight"] = mx.zeros((16, 64))
    with pytest.raises(nn.UnusedKeysError, match=r"feed_fwd\.w2\.weight"):
        block.load_weights(list(weights.items()))


class LowRank(nn.Module):
    """A linear layer and a trainable correction of low rank (Hu et al., 2021)."""

    def __init__(self, linear: nn.Linear, rank: int):
        super().__init__()
        output_dims, input_dims = linear.weight.shape
        self.linear = linear.freeze()
        self.a = mx.random.normal((input_dims, rank))
        self.b = mx.zeros((rank, output_dims))

    def __call__(self, x: mx.array) -> mx.array:
        return self.linear(x) + (x @ self.a) @ self.b


def make_model():
    return nn.Sequential(
        nn.Embedding(10, 64),
        nn.LayerNorm(64),
        nn.Linear(64, 128),
        nn.GELU(),
        nn.Sequential(nn.Linear(128, 64), nn.Dropout(0.0)),
        nn.Linear(64, 10),
    )


def test_every_linear_layer_is_replaced_and_nothing_else():
    model = make_model()
    tokens = mx.array([1, 2, 3])
    before, y = dict(model.named_modules()), model(tokens)

    def replaced(module):
        return LowRank(module, rank=2) if isinstance(module, nn.Linear) else module

    model.update_modules(tree_map(replaced, model.leaf_modules(), is_leaf=nn.Module.is_module))
    after = dict(model.named_modules())
    linear = ["layers.2", "layers.4.layers.0", "layers.5"]
    for path, module in before.items():
        if path in linear:
            assert isinstance(after[path], LowRank) and after[path].linear is module
        else:
            assert after[path] is module
    assert set(after) - set(before) == {f"{path}.linear" for path in linear}
    np.testing.assert_array_equal(model(tokens), y)
    names = [name for name, _ in tree_flatten(model.trainable_parameters())]
    assert "layers.2.a" in names and "layers.2.linear.weight" not in names


@pytest.mark.parametrize("bits", [4, 8])
def test_quantize_replaces_what_the_predicate_accepts(bits):
    model = make_model()
    tokens = mx.array([1, 2, 3])
    before, y = dict(model.named_modules()), np.array(model(tokens))
    nn.quantize(
        model,
        64,
        bits,
        class_predicate=lambda path, m: isinstance(m, nn.Linear) and path != "layers.5",
    )
    after = dict(model.named_modules())
    assert set(after) == set(before)
    for path, module in before.items():
        if path in ("layers.2", "layers.4.layers.0"):
            layer = after[path]
            assert isinstance(layer, nn.QuantizedLinear)
            assert (layer.group_size, layer.bits, layer.mode) == (64, bits, "affine")
        else:
            assert after[path] is module
    error = np.abs(np.array(model(tokens)) - y).max()
    assert 0 < error < (0.3 if bits == 4 else 0.02)


def test_quantize_by_default_takes_all_layers_that_it_can():
    model = make_model()
    nn.quantize(model, 32)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds[0] == "QuantizedEmbedding" and kinds[5] == "QuantizedLinear"
    assert model.layers[5].group_size == 32 and model.layers[5].bits == 4


def test_a_predicate_may_choose_the_settings_of_a_layer():
    model = make_model()
    settings = {"group_size": 32, "bits": 8}
    nn.quantize(model, class_predicate=lambda path, m: settings if path == "layers.5" else False)
    assert isinstance(model.layers[2], nn.Linear)
    assert (model.layers[5].group_size, model.layers[5].bits) == (32, 8)


def test_quantize_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match=r"'layers\.1' is a LayerNorm"):
        nn.quantize(make_model(), class_predicate=lambda path, m: path == "layers.1")
    with pytest.raises(ValueError, match="class_predicate returned int"):
        nn.quantize(make_model(), class_predicate=lambda path, m: 1)


def test_only_the_layer_that_is_not_frozen_is_trained():
    mx.random.seed(0)
    model = make_model()
    nn.quantize(model, 64, 8, class_predicate=lambda path, m: path == "layers.2")
    model.freeze()
    model.layers[5].unfreeze()
    before = {name: np.array(p) for name, p in tree_flatten(model.parameters())}
    tokens = mx.arange(10)

    def loss_fn(model, x):
        return nn.losses.cross_entropy(model(x), x, reduction="mean")

    optimizer = optim.Adam(0.02)
    step = nn.value_and_grad(model, loss_fn)
    losses = []
    for _ in range(50):
        loss, gradients = step(model, tokens)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    for name, p in tree_flatten(model.parameters()):
        unchanged = np.array_equal(before[name], np.array(p))
        assert unchanged != name.startswith("layers.5."), name


@pytest.mark.parametrize("shape, axis", [((100_000,), 0), ((3, 40_000), 1), ((20_000, 5), 0)])
def test_few_long_rows_have_the_same_bits_in_any_program(shape, axis, rng):
    """A GPU reduces these in chunks, whatever follows from them."""
    x = mx.array(rng.normal(size=shape).astype(np.float32))
    steps = [mx.exp(x)]
    for f in (lambda e: mx.sum(e, axis=axis, keepdims=True), lambda s: steps[0] / s):
        mx.eval(steps)
        steps.append(f(steps[-1]))
    fused = mx.exp(x) / mx.sum(mx.exp(x), axis=axis, keepdims=True)
    assert mx.array_equal(fused, steps[-1]).item()
    e = mx.exp(x)
    total = mx.sum(e, axis=axis, keepdims=True)
    mx.eval(e, total)  # one program writes both
    assert mx.array_equal(total, steps[1]).item() and mx.array_equal(e, steps[0]).item()


PROGRAMS = {
    "sum": lambda x, y: x + y,
    "product of transposes": lambda x, y: x * x,
    "reversed": lambda x, y: x[::-1] + y,
    "sums of rows": lambda x, y: mx.sum(x, axis=-1),
    "sums of columns": lambda x, y: mx.sum(x, axis=0),
    "largest of everything": lambda x, y: mx.max(x * y),
    "rows without their largest": lambda x, y: x - mx.max(x, axis=-1, keepdims=True),
    "columns without their largest": lambda x, y: x - mx.max(x, axis=0, keepdims=True) + y,
    "means": lambda x, y: mx.mean(x * x + y, axis=-1),
    "weighted": lambda x, y: mx.sum(x * mx.max(y, axis=0, keepdims=True), axis=-1),
}
ORDERS = [
    ((300, 200), (1, 0)),
    ((129, 1025), (1, 0)),
    ((9, 4099), (1, 0)),
    ((5, 70, 90), (0, 2, 1)),
    ((70, 5, 90), (2, 1, 0)),
    ((40, 33, 64), (2, 0, 1)),
    ((8, 40, 3, 32), (0, 2, 3, 1)),
]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.float64, mx.int32, mx.uint8], ids=str)
def test_how_arrays_lie_in_memory_changes_no_bit(name, dtype, rng):
    f = PROGRAMS[name]
    for shape, order in ORDERS:
        x = mx.array(rng.integers(0, 200, shape)).astype(dtype).transpose(order)
        y = mx.array(rng.integers(0, 200, x.shape)).astype(dtype)
        dense, odd = mx.contiguous(x), mx.contiguous(y.T).T
        mx.eval(x, y, dense, odd)
        want = bytes(f(dense, y))
        assert bytes(f(x, y)) == want
        assert bytes(f(dense, odd)) == want
        assert bytes(f(x, odd)) == want
