"""A Llama-family decoder in NumPy and float64, and small models with random weights, for tests."""

import json
import math

import numpy as np

import cermet.core as mx

# The families, by what makes them differ; the extents are shared.
FAMILIES = {
    "llama": {"model_type": "llama"},
    "llama3": {
        "model_type": "llama",
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    },
    "linear": {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}},
    "yarn": {
        "model_type": "llama",
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "biased": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral", "sliding_window": 5},
    "smollm2": {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", "rope_theta": 1000000.0},
    "qwen3": {"model_type": "qwen3", "head_dim": 16, "rms_norm_eps": 1e-6},
}
EXTENTS = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
}


def settings(family):
    """The config.json of a small model."""
    return {**EXTENTS, **FAMILIES[family]}


def random_weights(config, seed=0):
    """Weights under Hugging Face's names, float32."""
    rng = np.random.default_rng(seed)
    width, hidden = config["hidden_size"], config["intermediate_size"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim", width // heads)
    qwen2 = config["model_type"] == "qwen2"
    bias, mlp_bias = config.get("attention_bias", False), config.get("mlp_bias", False)
    out = {}

    def matrix(name, rows, columns, bias=False):
        out[name + ".weight"] = rng.normal(0, 1.5 / math.sqrt(columns), (rows, columns))
        if bias:
            out[name + ".bias"] = rng.normal(0, 0.3, rows)

    def norm(name, n):
        out[name + ".weight"] = rng.uniform(0.5, 1.5, n)

    matrix("model.embed_tokens", config["vocab_size"], width)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        matrix(at + "self_attn.q_proj", heads * size, width, bias or qwen2)
        matrix(at + "self_attn.k_proj", key_heads * size, width, bias or qwen2)
        matrix(at + "self_attn.v_proj", key_heads * size, width, bias or qwen2)
        matrix(at + "self_attn.o_proj", width, heads * size, bias)
        matrix(at + "mlp.gate_proj", hidden, width, mlp_bias)
        matrix(at + "mlp.up_proj", hidden, width, mlp_bias)
        matrix(at + "mlp.down_proj", width, hidden, mlp_bias)
        norm(at + "input_layernorm", width)
        norm(at + "post_attention_layernorm", width)
        if config["model_type"] == "qwen3":
            norm(at + "self_attn.q_norm", size)
            norm(at + "self_attn.k_norm", size)
    norm("model.norm", width)
    if not config.get("tie_word_embeddings"):
        matrix("lm_head", config["vocab_size"], width)
    return {name: a.astype(np.float32) for name, a in out.items()}


def tokenizer_json(size):
    """A tokenizer of single letters and <s>, with `size` tokens."""
    names = ["<s>", "</s>", *(chr(0x21 + i) for i in range(size - 2))]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
            for i, name in enumerate(names[:2])
        ],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "vocab": {name: i for i, name in enumerate(names)},
            "merges": [],
        },
    }  # fmt: skip


def write_folder(folder, config, weights, dtype=mx.float32):
    """A model as transformers writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(config["vocab_size"])))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True})
    )
    arrays = {name: mx.array(a).astype(dtype) for name, a in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), arrays)
    return folder


# ---- The decoder ----


def angles(config, length):
    """Angles (length, pairs) in float64, and the factor of queries and keys."""
    size = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    theta, rope = config["rope_theta"], config.get("rope_scaling") or {}
    i = np.arange(size // 2)
    speed = theta ** (-2.0 * i / size)
    kind, scale = rope.get("rope_type") or rope.get("type"), 1.0
    if kind == "linear":
        speed = speed / rope["factor"]
    elif kind == "llama3":
        original = rope["original_max_position_embeddings"]
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        wave = 2 * np.pi / speed
        smooth = (original / wave - low) / (high - low)
        mixed = (1 - smooth) * speed / rope["factor"] + smooth * speed
        speed = np.where(
            wave < original / high,
            speed,
            np.where(wave > original / low, speed / rope["factor"], mixed),
        )
    elif kind == "yarn":
        original = rope["original_max_position_embeddings"]

        def dimension(turns):
            return size * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(theta))

        low, high = max(np.floor(dimension(32)), 0), min(np.ceil(dimension(1)), size - 1)
        ramp = np.clip((i - low) / max(high - low, 0.001), 0, 1)
        speed = speed / rope["factor"] * ramp + speed * (1 - ramp)
        scale = 0.1 * np.log(rope["factor"]) + 1
    elif "factors" in rope:
        speed = speed / np.asarray(rope["factors"])
    return np.arange(length)[:, None] * speed, scale


def reference(config, weights, tokens):
    """Logits (length, vocabulary) in float64. `weights` gives an array for a name."""
    get = weights if callable(weights) else lambda name: weights.get(name)
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    length, eps = len(tokens), config["rms_norm_eps"]
    turn, scale = angles(config, length)
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]

    def linear(name, x):
        w, b = get(name + ".weight"), get(name + ".bias")
        y = x @ w.astype(np.float64).T
        return y if b is None else y + b

    def norm(name, x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * get(name + ".weight")

    def rotate(x):
        a, b = np.split(x, 2, axis=-1)
        return scale * np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    distance = np.arange(length)[:, None] - np.arange(length)
    seen = distance >= 0
    window = config.get("sliding_window") if config["model_type"] == "mistral" else None
    if window:
        seen &= distance < window
    table = get("model.embed_tokens.weight")
    x = table[np.asarray(tokens)].astype(np.float64)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = norm(at + "input_layernorm", x)
        q = linear(at + "self_attn.q_proj", h).reshape(length, heads, -1)
        k = linear(at + "self_attn.k_proj", h).reshape(length, key_heads, -1)
        v = linear(at + "self_attn.v_proj", h).reshape(length, key_heads, -1)
        if get(at + "self_attn.q_norm.weight") is not None:
            q, k = norm(at + "self_attn.q_norm", q), norm(at + "self_attn.k_norm", k)
        q, k = rotate(q), rotate(k)
        k, v = (np.repeat(a, heads // key_heads, axis=1) for a in (k, v))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(q.shape[-1])
        scores = np.where(seen, scores, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        y = np.einsum("hqk,khd->qhd", p, v).reshape(length, -1)
        x = x + linear(at + "self_attn.o_proj", y)
        h = norm(at + "post_attention_layernorm", x)
        gate = linear(at + "mlp.gate_proj", h)
        y = gate / (1 + np.exp(-gate)) * linear(at + "mlp.up_proj", h)
        x = x + linear(at + "mlp.down_proj", y)
    x = norm("model.norm", x)
    tied = config.get("tie_word_embeddings")
    return x @ (table if tied else get("lm_head.weight")).astype(np.float64).T
