"""What a session has computed, in a file: a long prompt is computed once."""

from __future__ import annotations

import hashlib
import json
import os
from typing import cast

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.generate import Session
from cermet.llm.model import Model

_KIND = "cermet prompt cache 1"


def save_session(session: Session, path: str | os.PathLike) -> None:
    """Writes the tokens of a session and the keys and values of the model for them.

    Raises:
        ModelError: it has none.
        OSError: the file cannot be written.
    """
    length = len(session.tokens)
    if not length:
        raise ModelError("the session has no tokens that could be saved")
    arrays = {}
    for name, layers in (("keys", session.cache.keys), ("values", session.cache.values)):
        for i, a in enumerate(layers):
            arrays[f"{name}.{i}"] = a[:, :, :length]
    metadata = {
        "kind": _KIND,
        "model": fingerprint(session.runner.model),
        "tokens": json.dumps(session.tokens),
    }
    mx.save_safetensors(os.fspath(path), arrays, metadata)


def load_session(session: Session, path: str | os.PathLike) -> None:
    """Takes up what :func:`save_session` has written; what the session had is forgotten.

    Raises:
        ModelError: the file is none of these, of another model, or too long for the session.
        OSError: the file cannot be read.
    """
    try:
        arrays, metadata = cast(
            tuple[dict[str, mx.array], dict[str, str]],
            mx.load(os.fspath(path), format="safetensors", return_metadata=True),
        )
    except ValueError as error:
        raise ModelError(f"'{path}' is no prompt cache: {error}") from None
    if metadata.get("kind") != _KIND:
        raise ModelError(f"'{path}' is no prompt cache")
    if metadata.get("model") != fingerprint(session.runner.model):
        raise ModelError(f"'{path}' is the prompt cache of another model")
    try:
        tokens = json.loads(metadata["tokens"])
        layers = range(session.cache.layers)
        keys = [arrays[f"keys.{i}"] for i in layers]
        values = [arrays[f"values.{i}"] for i in layers]
        fits = all(a.ndim == 4 and a.shape[2] == len(tokens) for a in (*keys, *values))
    except (KeyError, ValueError, TypeError):
        fits = False
    if not fits:
        raise ModelError(f"'{path}' is a broken prompt cache")
    if len(tokens) > session.limit:
        raise ModelError(
            f"'{path}' has {len(tokens)} tokens, and there is room for {session.limit}"
        )
    mx.eval(keys, values)
    session.cache.keys, session.cache.values = keys, values
    session.cache.lengths = [len(tokens)]
    session.cache.reserve(len(tokens) + 1)
    session.tokens = tokens


def fingerprint(model: Model) -> str:
    """What tells models apart: their extents, and some of their weights."""
    digest = hashlib.sha256(repr(model.config).encode())
    for layer in model.model.layers:
        digest.update(bytes(layer.input_layernorm.weight))
    digest.update(bytes(model.model.norm.weight))
    return digest.hexdigest()
