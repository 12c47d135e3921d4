"""How attention learns the order of its inputs."""

from __future__ import annotations

import math
import operator

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["ALiBi", "RoPE", "SinusoidalPositionalEncoding"]


class RoPE(Module):
    """Rotates pairs of features by angles proportional to the position (Su et al., 2021).

    Args:
        dims: how many features are rotated; the rest stay as they are.
        traditional: whether a pair is two neighbouring features; otherwise feature ``i`` goes with
            ``i + dims / 2``.
        base: the frequencies are ``base ** (-2 i / dims)``.
        scale: multiplies the positions.

    The input is ``(..., positions, features)``; ``offset`` is the first position.

    Examples:
        >>> nn.RoPE(8)(mx.ones((1, 5, 8)), offset=3).shape
        (1, 5, 8)
    """

    def __init__(
        self, dims: int, traditional: bool = False, base: float = 10000, scale: float = 1.0
    ):
        super().__init__()
        self.dims = dims
        self.traditional = traditional
        self.base = base
        self.scale = scale

    def _extra_repr(self) -> str:
        return f"{self.dims}, traditional={self.traditional}"

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.traditional,
            base=self.base,
            scale=self.scale,
            offset=offset,
        )


class SinusoidalPositionalEncoding(Module):
    """Sines and cosines of positions, at ``dims / 2`` frequencies (Vaswani et al., 2017).

    Args:
        dims: the size of the encoding.
        min_freq: the least frequency.
        max_freq: the greatest frequency; those between are spaced geometrically.
        scale: multiplies the encoding; by default ``sqrt(2 / dims)``.
        cos_first: whether the cosines stand before the sines.
        full_turns: whether frequencies are in turns instead of radians.

    The input holds positions, of any shape; the output has a new last axis of size ``dims``.

    Examples:
        >>> nn.SinusoidalPositionalEncoding(8)(mx.arange(5)).shape
        (5, 8)
    """

    def __init__(
        self,
        dims: int,
        min_freq: float = 0.0001,
        max_freq: float = 1,
        scale: float | None = None,
        cos_first: bool = False,
        full_turns: bool = False,
    ):
        super().__init__()
        if dims <= 0 or dims % 2:
            raise ValueError(
                f"SinusoidalPositionalEncoding: dims is {dims}, expected a positive even number"
            )
        logs = mx.linspace(math.log(max_freq), math.log(min_freq), dims // 2)
        self._sigmas = mx.exp(logs) * (2 * math.pi if full_turns else 1)
        self.scale = math.sqrt(2 / dims) if scale is None else scale
        self.cos_first = cos_first

    def __call__(self, x: mx.array) -> mx.array:
        angles = x[..., None] * self._sigmas
        waves = [mx.sin(angles), mx.cos(angles)]
        if self.cos_first:
            waves.reverse()
        return mx.concatenate(waves, axis=-1) * self.scale


class ALiBi(Module):
    """Lowers attention scores in proportion to the distance in positions (Press et al., 2021).

    Examples:
        >>> scores = mx.zeros((1, 2, 3, 3))  # (batch, heads, queries, keys)
        >>> nn.ALiBi()(scores)[0, 0, 2].round(4)
        array([-0.125, -0.0625, 0], dtype=float32)
    """

    @staticmethod
    def create_alibi_matrix(
        q_sequence_length: int,
        k_sequence_length: int,
        num_heads: int,
        offset: int = 0,
        dtype: mx.Dtype = mx.float32,
    ) -> mx.array:
        """What is added to scores: ``(1, heads, q_sequence_length - offset, k_sequence_length)``.

        The queries are those at positions ``offset`` to ``q_sequence_length``.
        """
        slopes = ALiBi.create_alibi_slope(num_heads, dtype)
        queries = mx.arange(offset, q_sequence_length)
        keys = mx.arange(k_sequence_length)
        distances = (-mx.abs(queries[:, None] - keys[None, :])).astype(dtype)
        return distances[None, None] * slopes

    @staticmethod
    def create_alibi_slope(num_heads: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """The slope of each head, ``(heads, 1, 1)``.

        The slopes for a power of two ``n`` are the powers of ``2 ** (-8 / n)``; the heads beyond it
        take every second one of those for ``2 n``.
        """
        num_heads = operator.index(num_heads)
        if num_heads < 1:
            raise ValueError(f"ALiBi: num_heads is {num_heads}, expected 1 or more")
        n = 2 ** math.floor(math.log2(num_heads))
        with mx.stream(mx.cpu):  # float64
            first, others = mx.arange(n), mx.arange(num_heads - n)
            steps = mx.concatenate([2 * (first + 1), 2 * others + 1]).astype(mx.float64)
            return (2 ** (steps * (-4 / n))).astype(dtype)[:, None, None]

    def __call__(
        self, attention_scores: mx.array, offset: int = 0, mask: mx.array | float | None = None
    ) -> mx.array:
        """Add the bias, and a mask: True (or 0) for what is seen, False (or -inf) for the rest.

        ``attention_scores`` are ``(batch, heads, queries, keys)``; ``offset`` is the position of
        the first query.
        """
        if attention_scores.ndim != 4:
            raise ValueError(
                f"ALiBi: scores of shape {attention_scores.shape}, expected "
                "(batch, heads, queries, keys)"
            )
        _, num_heads, queries, keys = attention_scores.shape
        bias = self.create_alibi_matrix(
            queries + offset, keys, num_heads, offset, attention_scores.dtype
        )
        if isinstance(mask, mx.array) and mask.dtype == mx.bool_:
            bias = mx.where(mask, bias, float("-inf"))
        elif mask is not None:
            bias = bias + mask
        return attention_scores + bias
