"""Limits of gradients."""

from __future__ import annotations

from typing import Any

import cermet.core as mx
from cermet.utils import tree_map, tree_reduce

__all__ = ["clip_grad_norm"]


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale gradients down so that their norm, over all arrays, is at most ``max_norm``.

    Args:
        grads: a tree of arrays.
        max_norm: the largest norm that stays as it is.

    Returns:
        The tree of scaled gradients, and the norm before, in float32.

    Raises:
        ValueError: ``max_norm`` is negative.

    Examples:
        >>> gradients, norm = optim.clip_grad_norm({"w": mx.array([3.0, 4.0])}, 1.0)
        >>> gradients["w"].round(3), norm.item()
        (array([0.6, 0.8], dtype=float32), 5.0)
    """
    if max_norm < 0:
        raise ValueError(f"clip_grad_norm: max_norm is {max_norm}, expected 0 or more")
    squares = tree_reduce(
        lambda total, g: total + mx.sum(mx.square(g.astype(mx.float32))), grads, mx.array(0.0)
    )
    norm = mx.sqrt(squares)
    scale = mx.minimum(max_norm / (norm + 1e-6), 1.0)

    def scaled(g: mx.array) -> mx.array:
        return g * (scale.astype(g.dtype) if mx.issubdtype(g.dtype, mx.inexact) else scale)

    return tree_map(scaled, grads), norm
