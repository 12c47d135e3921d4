"""A language model of the Llama family: Llama, Mistral, Qwen 2 and 3, SmolLM2.

This is the whole model, to be read from top to bottom. What a text becomes, integers that are
called tokens, goes in; for each place comes out how likely every token is to follow.

    tokens (batch, length) -> vectors (batch, length, width) -> logits (batch, length, vocabulary)

Arrays are lazy: the functions below describe the computation, and nothing runs until a value is
asked for. Names of parameters are those of the checkpoints that Hugging Face's transformers writes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cermet.core as mx
import cermet.nn as nn
from cermet.llm.cache import Cache


@dataclass(frozen=True)
class Config:
    """The extents of a model and how it computes, under the names of transformers' config.json."""

    vocab_size: int
    hidden_size: int  # the width: how long the vector of a token is
    intermediate_size: int  # within the feed-forward network
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int  # less than heads: several share their keys and values
    head_dim: int
    max_position_embeddings: int = 2048  # the longest text that it was trained for
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: Rope | None = None
    rotary_dims: int | None = None  # how much of a head is rotated; None: all
    tie_word_embeddings: bool = False  # whether the first and the last matrix are one
    attention_bias: bool = False  # of queries, keys and values
    output_bias: bool = False  # of attention's output
    mlp_bias: bool = False
    qk_norm: bool = False  # whether queries and keys are normalized
    windows: Sequence[int | None] | None = None  # of each layer: how many tokens back it sees

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"Config: {self.num_attention_heads} attention heads, expected a multiple of the "
                f"{self.num_key_value_heads} key heads"
            )
        if self.windows is not None and len(self.windows) != self.num_hidden_layers:
            raise ValueError(
                f"Config: {len(self.windows)} windows, expected one for each of the "
                f"{self.num_hidden_layers} layers"
            )


@dataclass(frozen=True)
class Rope:
    """How rotary positions are stretched for texts longer than those of the first training.

    ``kind`` is "linear" (Chen et al. 2023), "llama3" (Grattafiori et al. 2024), "yarn" (Peng et al.
    2023), or "factors": one factor for each wavelength is given.
    """

    kind: str
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    original_max_position_embeddings: int = 8192
    attention_factor: float | None = None
    factors: tuple[float, ...] = ()


def wavelengths(config: Config) -> tuple[list[float], float]:
    """The wavelengths of rotary positions, in units of 2 pi, and a factor for queries and keys.

    Pair ``i`` of a head's features turns by ``position / wavelength[i]`` (Su et al. 2021).
    """
    dims = config.rotary_dims or config.head_dim
    plain = [config.rope_theta ** (2 * i / dims) for i in range(dims // 2)]
    rope = config.rope_scaling
    if rope is None:
        return plain, 1.0
    if rope.kind == "linear":
        return [w * rope.factor for w in plain], 1.0
    if rope.kind == "factors":
        return [w * f for w, f in zip(plain, rope.factors, strict=True)], 1.0
    original = rope.original_max_position_embeddings
    if rope.kind == "llama3":  # short waves stay, long ones are stretched, those between mixed
        low, high = rope.low_freq_factor, rope.high_freq_factor
        kept = [min(max((original / (2 * math.pi * w) - low) / (high - low), 0), 1) for w in plain]
        scale = 1.0
    elif rope.kind == "yarn":  # as llama3, by the pair's place

        def pair(turns: float) -> float:
            return (
                dims * math.log(original / (turns * 2 * math.pi)) / 2 / math.log(config.rope_theta)
            )

        first = max(math.floor(pair(rope.beta_fast)), 0)
        last = min(math.ceil(pair(rope.beta_slow)), dims - 1)
        kept = [1 - min(max((i - first) / max(last - first, 1e-3), 0), 1) for i in range(dims // 2)]
        scale = rope.attention_factor or 0.1 * math.log(max(rope.factor, 1)) + 1
    else:
        raise ValueError(
            f"rotary positions: the scaling is '{rope.kind}', expected linear, llama3, yarn or "
            "factors"
        )
    mixed = [1 / (k / w + (1 - k) / (w * rope.factor)) for k, w in zip(kept, plain, strict=True)]
    return mixed, scale


class Attention(nn.Module):
    """Each place asks those before it (Vaswani et al. 2017), several queries to a key (Ainslie et
    al. 2023)."""

    def __init__(self, config: Config):
        super().__init__()
        width, size = config.hidden_size, config.head_dim
        self.heads, self.key_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(width, self.heads * size, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, self.key_heads * size, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, self.key_heads * size, bias=config.attention_bias)
        self.o_proj = nn.Linear(self.heads * size, width, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(size, config.rms_norm_eps)
            self.k_norm = nn.RMSNorm(size, config.rms_norm_eps)
        waves, scale = wavelengths(config)
        self._waves = mx.array(waves)  # the underscore: no parameter
        self.scale = scale**2 * size**-0.5

    def rotate(self, x: mx.array, start: int | mx.array) -> mx.array:
        """Turns the features of places ``start``, ``start + 1``, ... by their positions."""
        dims = 2 * self._waves.size
        return mx.fast.rope(
            x, dims, traditional=False, base=None, scale=1.0, offset=start, freqs=self._waves
        )

    def __call__(
        self, x: mx.array, mask: str | mx.array, cache: Cache | None, layer: int
    ) -> mx.array:
        batch, length, _ = x.shape

        def split(y: mx.array, heads: int) -> mx.array:  # (batch, length, heads, size)
            return y.reshape(batch, length, heads, -1)

        queries = split(self.q_proj(x), self.heads)
        keys = split(self.k_proj(x), self.key_heads)
        values = split(self.v_proj(x), self.key_heads).swapaxes(1, 2)
        if "q_norm" in self:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        start = 0 if cache is None else cache.start
        queries = self.rotate(queries.swapaxes(1, 2), start)
        keys = self.rotate(keys.swapaxes(1, 2), start)
        if cache is not None:
            keys, values = cache.update(layer, keys, values)
        y = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=self.scale, mask=mask)
        return self.o_proj(y.swapaxes(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """A network of two layers with a gate (Shazeer 2020), for each place by itself."""

    def __init__(self, config: Config):
        super().__init__()
        width, hidden, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(width, hidden, bias=bias)
        self.up_proj = nn.Linear(width, hidden, bias=bias)
        self.down_proj = nn.Linear(hidden, width, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        return self.down_proj(nn.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention and a feed-forward network, each added to what it read."""

    def __init__(self, config: Config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)

    def __call__(
        self, x: mx.array, mask: str | mx.array, cache: Cache | None, layer: int
    ) -> mx.array:
        x = x + self.self_attn(self.input_layernorm(x), mask, cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The layers, between the embedding of tokens and a last normalization."""

    def __init__(self, config: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = [Layer(config) for _ in range(config.num_hidden_layers)]
        for layer in self.layers:  # one array: angles of rotation are computed once for all
            layer.self_attn._waves = self.layers[0].self_attn._waves
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.windows = config.windows or [None] * config.num_hidden_layers

    def __call__(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """Vectors (batch, length, width) of tokens (batch, length), which follow those that the
        cache has seen; it takes up their keys and values."""
        length = tokens.shape[1]
        x = self.embed_tokens(tokens)
        masks = {
            window: cache.mask(length, window) if cache is not None else causal(length, window)
            for window in set(self.windows)
        }
        for i, (layer, window) in enumerate(zip(self.layers, self.windows, strict=True)):
            x = layer(x, masks[window], cache, i)
        if cache is not None:
            cache.advance(length)
        return self.norm(x)


def causal(length: int, window: int | None) -> str | mx.array:
    """Which places see which: themselves and those before them, at most ``window`` in all."""
    if window is None or length <= window:
        return "causal"
    places = mx.arange(length)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


class Model(nn.Module):
    """The decoder and the matrix that makes logits of its vectors.

    Args:
        config: extents and kinds. The weights are random until others are loaded.
    """

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def logits(self, vectors: mx.array) -> mx.array:
        """Logits (..., vocabulary) of the decoder's vectors (..., width)."""
        if self.config.tie_word_embeddings:
            return self.model.embed_tokens.as_linear(vectors)
        return self.lm_head(vectors)

    def __call__(self, tokens: mx.array, cache: Cache | None = None) -> mx.array:
        """Logits (batch, length, vocabulary) of tokens (batch, length), which follow those that
        the cache has seen."""
        return self.logits(self.model(tokens, cache))
