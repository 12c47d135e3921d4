"""A table of vectors."""

from __future__ import annotations

import math

import cermet.core as mx
from cermet.nn.base import Module
from cermet.nn.layers.quantized import QuantizedEmbedding

__all__ = ["Embedding"]


class Embedding(Module):
    """Looks up the vectors of integers.

    Args:
        num_embeddings: how many vectors there are.
        dims: the size of a vector.

    The weight ``(num_embeddings, dims)`` is at first normal with variance ``1 / dims``.

    Examples:
        >>> nn.Embedding(100, 8)(mx.array([3, 1, 4])).shape
        (3, 8)
    """

    def __init__(self, num_embeddings: int, dims: int):
        super().__init__()
        self.weight = mx.random.normal((num_embeddings, dims), scale=math.sqrt(1 / dims))

    def _extra_repr(self) -> str:
        return ", ".join(map(str, self.weight.shape))

    def __call__(self, x: mx.array) -> mx.array:
        return self.weight[x]

    def as_linear(self, x: mx.array) -> mx.array:
        """``x @ weight.T``: the logits of a language model that shares its embedding."""
        return x @ self.weight.T

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> QuantizedEmbedding:
        """The layer with a quantized weight; see :class:`QuantizedEmbedding`."""
        if quantize_input:
            raise ValueError("Embedding.to_quantized: there is no input that could be quantized")
        return QuantizedEmbedding.from_embedding(self, group_size, bits, mode)
