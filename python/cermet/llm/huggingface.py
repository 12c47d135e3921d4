"""Models in folders as transformers writes them: config.json and safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.model import Config, Rope

_TYPES = ("llama", "mistral", "qwen2", "qwen3")


def read_json(path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        ModelError: it is missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"'{path.parent}' has no {path.name}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"'{path}' is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise ModelError(f"'{path}' holds no JSON object")
    return value


def config(folder: Path) -> Config:
    """The extents of the model in a folder.

    Raises:
        ModelError: the architecture is none that can be run, or a field is missing.
    """
    fields = read_json(folder / "config.json")
    kind = fields.get("model_type")
    if kind not in _TYPES:
        raise ModelError(
            f"'{folder}' has a model of type {kind}, expected one of {', '.join(_TYPES)}"
        )
    if fields.get("hidden_act", "silu") != "silu":
        raise ModelError(f"'{folder}' has the activation {fields['hidden_act']}, expected silu")

    def need(name: str) -> Any:
        if fields.get(name) is None:
            raise ModelError(f"'{folder / 'config.json'}' has no field {name}")
        return fields[name]

    heads, layers = need("num_attention_heads"), need("num_hidden_layers")
    size = fields.get("head_dim") or need("hidden_size") // heads
    rope = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    bias = bool(fields.get("attention_bias", False))
    return Config(
        vocab_size=need("vocab_size"),
        hidden_size=need("hidden_size"),
        intermediate_size=need("intermediate_size"),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=fields.get("num_key_value_heads") or heads,
        head_dim=size,
        max_position_embeddings=fields.get("max_position_embeddings", 2048),
        rms_norm_eps=fields.get("rms_norm_eps", 1e-6),
        rope_theta=rope.get("rope_theta") or fields.get("rope_theta", 10000.0),
        rope_scaling=_rope(folder, rope, fields),
        tie_word_embeddings=fields.get("tie_word_embeddings", False),
        attention_bias=bias or kind == "qwen2",
        output_bias=bias and kind != "qwen2",
        mlp_bias=bool(fields.get("mlp_bias", False)),
        qk_norm=kind == "qwen3",
        windows=_windows(kind, fields, layers),
    )


def _rope(folder: Path, rope: dict[str, Any], fields: dict[str, Any]) -> Rope | None:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "default":
        return None
    if kind not in ("linear", "llama3", "yarn"):
        raise ModelError(f"'{folder}' scales rotary positions by '{kind}': not supported")
    names = (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "beta_fast",
        "beta_slow",
        "attention_factor",
    )
    given = {name: rope[name] for name in names if rope.get(name) is not None}
    original = rope.get("original_max_position_embeddings")
    original = original or fields.get("max_position_embeddings", 2048)
    return Rope(kind, original_max_position_embeddings=original, **given)


def _windows(kind: str, fields: dict[str, Any], layers: int) -> list[int | None] | None:
    window = fields.get("sliding_window")
    if window is None or (kind.startswith("qwen") and not fields.get("use_sliding_window", False)):
        return None
    if kinds := fields.get("layer_types"):
        return [window if kind == "sliding_attention" else None for kind in kinds]
    first = fields.get("max_window_layers", layers) if kind.startswith("qwen") else 0
    return [window if i >= first else None for i in range(layers)]


def weights(folder: Path) -> dict[str, mx.array]:
    """The arrays of all safetensors files of a folder; each is read when it is evaluated.

    Raises:
        ModelError: there is none, or one that the index names is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
        files = [folder / name for name in names]
        if missing := [f.name for f in files if not f.exists()]:
            raise ModelError(f"'{folder}' lacks {', '.join(missing)}, which its index names")
        if outside := [name for name in names if Path(name).name != name]:
            raise ModelError(f"'{index}' names the file {outside[0]}, expected one beside it")
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"'{folder}' has no .safetensors file")
    out: dict[str, mx.array] = {}
    for file in files:
        arrays = mx.load(str(file))
        assert isinstance(arrays, dict)
        out.update(arrays)
    return out
