"""Limits of gradients."""

from __future__ import annotations

from typing import Any

import cermet.core as mx
from cermet.utils import tree_map, tree_reduce

__all__ = ["clip_grad_norm"]


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale gradients down so that their norm, over all arrays, is at most ``max_norm``.

    Returns:
        The tree of scaled gradients, and the norm before, in float32.
    """
    squares = tree_reduce(
        lambda total, g: total + mx.sum(mx.square(g.astype(mx.float32))), grads, mx.array(0.0)
    )
    norm = mx.sqrt(squares)
    scale = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * scale.astype(g.dtype), grads), norm
