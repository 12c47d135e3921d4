"""Groups of one process: collective operations change nothing, and layers are what they were."""

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn
from cermet.nn.layers.distributed import shard_inplace, shard_linear, sum_gradients
from cermet.nn.utils import clip_grad_norm_sharded
from cermet.utils import tree_flatten


@pytest.mark.parametrize("name", ["all_sum", "all_max", "all_min", "all_gather", "sum_scatter"])
def test_collectives_are_the_identity(name):
    group = mx.distributed.init()
    assert (group.rank(), group.size()) == (0, 1)
    x = mx.array([[1.0, 2.0], [3.0, 4.0]])
    collective = getattr(mx.distributed, name)
    assert collective(x).tolist() == collective(x, group=group).tolist() == x.tolist()


def test_nothing_to_communicate_with():
    assert not mx.distributed.is_available()
    with pytest.raises(RuntimeError, match="init: "):
        mx.distributed.init(strict=True)
    with pytest.raises(RuntimeError, match="split: "):
        mx.distributed.init().split(0)
    for call in (
        lambda: mx.distributed.send(mx.ones(2), 1),
        lambda: mx.distributed.recv((2,), mx.float32, 1),
        lambda: mx.distributed.recv_like(mx.ones(2), 1),
    ):
        with pytest.raises(ValueError, match="no other process"):
            call()


def test_numbers_and_unknown_backends():
    assert mx.distributed.all_sum(3.0).item() == 3
    with pytest.raises(ValueError, match="init: backend is 'post', expected any"):
        mx.distributed.init(backend="post")


# ---- Layers ----
class TwoProcesses:
    """A group that there is not."""

    def size(self):
        return 2

    def rank(self):
        return 1


@pytest.mark.parametrize("kind", ["AllToSharded", "ShardedToAll"])
@pytest.mark.parametrize("bias", [True, False])
def test_sharded_layers(kind, bias):
    linear = nn.Linear(64, 32, bias)
    x = mx.random.normal((3, 64))
    sharding = {"AllToSharded": "all-to-sharded", "ShardedToAll": "sharded-to-all"}[kind]
    plain, packed = getattr(nn, f"{kind}Linear"), getattr(nn, f"Quantized{kind}Linear")
    assert repr(plain(64, 32, bias)) == f"{kind}Linear(input_dims=64, output_dims=32, bias={bias})"
    layer = shard_linear(linear, sharding)
    assert type(layer) is plain and not isinstance(layer, nn.Linear)
    assert layer.parameters().keys() == linear.parameters().keys()
    assert mx.array_equal(layer(x), linear(x))
    quantized = linear.to_quantized()
    layer = shard_linear(quantized, sharding, segments=3)
    assert type(layer) is packed and mx.array_equal(layer(x), quantized(x))
    assert not layer.unfreeze().trainable_parameters()
    layer = packed(64, 32, bias, group_size=32, bits=8)
    assert layer.weight.shape == (32, 16) and layer.scales.shape == (32, 2)
    assert ("bias" in layer) == bias and layer(x).shape == (3, 32)


def test_a_fully_sharded_module():
    embedding = nn.Embedding(5, 4)
    module = nn.FullyShardedModule(embedding)
    assert [name for name, _ in tree_flatten(module.parameters())] == ["module.weight"]
    assert repr(module).startswith("FullyShardedModule(num_sharded_params=1\n  (module): Embedding")
    i, x = mx.array([1, 3]), mx.random.normal((2, 4))
    assert mx.array_equal(module(i), embedding(i))
    assert mx.array_equal(module.as_linear(x), embedding.as_linear(x))
    assert nn.fully_shard(embedding) is embedding


def test_a_fully_sharded_module_computes_in_a_type():
    linear = nn.Linear(4, 2)
    module = nn.FullyShardedModule(linear, compute_dtype=mx.bfloat16)
    x = mx.ones((3, 4), mx.bfloat16)
    assert module(x).dtype == mx.bfloat16 and linear.weight.dtype == mx.float32
    _, gradients = nn.value_and_grad(module, lambda x: mx.sum(module(x)))(x)
    assert gradients["module"]["weight"].dtype == mx.float32
    assert gradients["module"]["weight"].tolist() == [[3.0] * 4] * 2
    assert linear.weight.dtype == mx.float32


def test_gradients_are_clipped_together():
    gradients = {"a": mx.array([3.0, 4.0]), "b": [mx.zeros(2)]}
    clipped, norm = clip_grad_norm_sharded(gradients, 1.0)
    assert norm.item() == 5 and np.allclose(np.array(clipped["a"]), [0.6, 0.8], atol=1e-5)
    assert sum_gradients(mx.distributed.init())(5) == 5


@pytest.mark.parametrize(
    "use",
    [
        lambda g: nn.AllToShardedLinear(4, 2, group=g),
        lambda g: nn.QuantizedShardedToAllLinear(64, 2, group=g),
        lambda g: shard_linear(nn.Linear(4, 2), "all-to-sharded", group=g),
        lambda g: shard_inplace(nn.Linear(4, 2), "sharded-to-all", group=g),
        lambda g: nn.FullyShardedModule(nn.Linear(4, 2), g),
        lambda g: nn.fully_shard(nn.Linear(4, 2), group=g),
        lambda g: clip_grad_norm_sharded({}, 1.0, g),
        sum_gradients,
    ],
)
def test_groups_that_there_are_not(use):
    with pytest.raises(NotImplementedError, match="group has 2 processes, expected 1"):
        use(TwoProcesses())


def test_what_cannot_be_sharded():
    with pytest.raises(ValueError, match="sharding is 'half'"):
        shard_linear(nn.Linear(4, 2), "half")
    with pytest.raises(ValueError, match="a RMSNorm is no linear layer"):
        shard_linear(nn.RMSNorm(4), "all-to-sharded")
