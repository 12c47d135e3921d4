"""Language models on the simulated GPU: where a decoding step runs, and what it moves."""

import pytest
from conftest import SIMULATED, counted

import cermet.core as mx

if not SIMULATED:
    pytest.skip("needs the simulated Metal device", allow_module_level=True)
from cermet.llm.cache import Cache
from cermet.llm.model import Config, Model
from cermet.utils import tree_flatten

CONFIG = {
    "vocab_size": 512,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}


pytestmark = pytest.mark.usefixtures("on_the_gpu")


def decoding(layers, prompt, dtype=mx.bfloat16):
    """What the device counts for a token after a prompt, with the steps as text, the bytes of the
    weights that a token reads, and those of what the cache holds."""
    model = Model(Config(num_hidden_layers=layers, **CONFIG))
    model.set_dtype(dtype)
    mx.eval(model.parameters())
    cache = Cache(layers)
    for length in (prompt, 1, 1):
        mx.eval(model(mx.zeros((1, length), mx.int32), cache), cache.keys, cache.values)
    results = model(mx.zeros((1, 1), mx.int32), cache), cache.keys, cache.values
    text = mx.metal.source(results[0], *cache.keys, *cache.values)
    counts = counted(results)
    weights = sum(
        a.nbytes for name, a in tree_flatten(model.parameters()) if "embed_tokens" not in name
    )
    held = cache.nbytes * cache.lengths[0] // cache.capacity
    return counts, text, weights, held


@pytest.mark.parametrize("prompt", [20, 100])
def test_a_decoding_step_takes_fourteen_dispatches_a_layer(prompt):
    few, text, *_ = decoding(2, prompt)
    many, *_ = decoding(4, prompt)
    assert "on the CPU" not in text
    assert (many["dispatches"] - few["dispatches"]) / 2 <= 14
    # The token's vector, positions and their angles, the last norm, logits.
    assert few["dispatches"] <= 2 * 14 + 6


def test_a_decoding_step_reads_weights_and_cache_about_once():
    """Each four rows of a matrix read the vector that they are multiplied by."""
    counts, _, weights, cache = decoding(2, 100)
    assert weights + cache <= counts["device_read"] <= 1.3 * (weights + cache)
    assert counts["device_written"] <= 0.02 * weights
