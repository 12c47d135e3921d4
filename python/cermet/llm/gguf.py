"""Models in GGUF files: their extents, and their weights under the names of the model."""

from __future__ import annotations

from typing import Any

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.model import Config, Rope

# Of an architecture: whether queries and keys have a bias, are normalized, and are stored with the
# two features of a pair side by side.
_ARCHITECTURES = {
    "llama": {"interleaved": True},
    "mistral": {"interleaved": True},
    "qwen2": {},
    "qwen3": {},
}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def plain(value: Any) -> Any:
    """A GGUF value as Python's own: numbers and lists of them are arrays in a loaded file."""
    return value.tolist() if isinstance(value, mx.array) else value


class Fields:
    """The metadata of a GGUF file, with errors that name what is missing."""

    def __init__(self, path: str, metadata: dict[str, Any]):
        self.path = path
        self.metadata = metadata
        self.architecture = self.get("general.architecture")

    def get(self, key: str, default: Any = None) -> Any:
        """A field's value, or the default."""
        return plain(self.metadata.get(key, default))

    def own(self, key: str, default: Any = None) -> Any:
        """A field of the architecture; without a default it must be there."""
        name = f"{self.architecture}.{key}"
        value = self.get(name, default)
        if value is None:
            raise ModelError(f"'{self.path}' has no field {name}")
        return value


def config(fields: Fields, weights: dict[str, mx.array]) -> Config:
    """The extents of the model in a GGUF file.

    Raises:
        ModelError: the architecture is none that can be run, or a field is missing.
    """
    path, architecture = fields.path, fields.architecture
    if architecture not in _ARCHITECTURES:
        raise ModelError(
            f"'{path}' has the architecture {architecture}, expected one of "
            f"{', '.join(_ARCHITECTURES)}"
        )
    if fields.own("expert_count", 0):
        raise ModelError(f"'{path}' has {fields.own('expert_count')} experts: not supported")
    if "token_embd.weight" not in weights:
        raise ModelError(f"'{path}' has no tensor token_embd.weight")
    heads = fields.own("attention.head_count")
    width, layers = fields.own("embedding_length"), fields.own("block_count")
    size = fields.own("attention.key_length", width // heads)
    window = fields.own("attention.sliding_window", 0)
    return Config(
        vocab_size=weights["token_embd.weight"].shape[0],
        hidden_size=width,
        intermediate_size=fields.own("feed_forward_length"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=fields.own("attention.head_count_kv", heads),
        head_dim=size,
        max_position_embeddings=fields.own("context_length", 2048),
        rms_norm_eps=fields.own("attention.layer_norm_rms_epsilon"),
        rope_theta=fields.own("rope.freq_base", 10000.0),
        rope_scaling=_rope(fields, weights),
        rotary_dims=fields.own("rope.dimension_count", size),
        tie_word_embeddings="output.weight" not in weights,
        attention_bias="blk.0.attn_q.bias" in weights,
        output_bias="blk.0.attn_output.bias" in weights,
        mlp_bias="blk.0.ffn_down.bias" in weights,
        qk_norm="blk.0.attn_q_norm.weight" in weights,
        windows=[window] * layers if window else None,
    )


def _rope(fields: Fields, weights: dict[str, mx.array]) -> Rope | None:
    if "rope_freqs.weight" in weights:
        return Rope("factors", factors=tuple(plain(weights["rope_freqs.weight"])))
    kind = fields.own("rope.scaling.type", "none")
    if kind == "none":
        return None
    if kind not in ("linear", "yarn"):
        raise ModelError(f"'{fields.path}' scales rotary positions by '{kind}': not supported")
    original = fields.own("rope.scaling.original_context_length", fields.own("context_length"))
    return Rope(
        kind,
        factor=fields.own("rope.scaling.factor", 1.0),
        original_max_position_embeddings=original,
        beta_fast=fields.own("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=fields.own("rope.scaling.yarn_beta_slow", 1.0),
    )


def renamed(weights: dict[str, mx.array], config: Config, architecture: str) -> dict[str, mx.array]:
    """The weights under the model's names, with the features of queries and keys in its order."""
    interleaved = _ARCHITECTURES[architecture].get("interleaved", False)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    out = {}
    for name, a in weights.items():
        tensor, _, part = name.rpartition(".")  # part: weight, scales, biases, bias
        if tensor == "rope_freqs":
            continue
        if tensor.startswith("blk."):
            _, layer, tensor = tensor.split(".", 2)
            new = f"model.layers.{layer}.{_LAYER_NAMES.get(tensor, tensor)}"
        else:
            new = _NAMES.get(tensor, tensor)
        if interleaved and tensor in heads:
            a = _halves(a, heads[tensor])
        out[f"{new}.{part}"] = a
    return out


def _halves(a: mx.array, heads: int) -> mx.array:
    """Rows of heads whose pairs are neighbours, in the order of all first and all second ones."""
    rows = a.reshape(heads, -1, 2, *a.shape[1:])
    return rows.swapaxes(1, 2).reshape(a.shape)
