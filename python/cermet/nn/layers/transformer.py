"""The transformer (Vaswani et al., 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cermet.core as mx
from cermet.nn.activations import relu
from cermet.nn.base import Module
from cermet.nn.layers.dropout import Dropout
from cermet.nn.layers.linear import Linear
from cermet.nn.layers.normalization import LayerNorm
from cermet.nn.utils import checkpoint as checkpointed

__all__ = [
    "MultiHeadAttention",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = Callable[[Any], Any]


class MultiHeadAttention(Module):
    """Scaled dot-product attention of several heads.

    Args:
        dims: the size of queries and keys, over all heads.
        num_heads: how many heads there are; divides ``dims``.
        query_input_dims, key_input_dims, value_input_dims: the sizes of the inputs; by default
            ``dims``, and for the values that of the keys.
        value_dims: the size of the values, over all heads; by default ``dims``.
        value_output_dims: the size of the output; by default ``dims``.
        bias: whether the projections have a bias.

    Raises:
        ValueError: ``dims`` is no multiple of ``num_heads``.

    Examples:
        >>> x = mx.ones((2, 10, 16))
        >>> nn.MultiHeadAttention(16, num_heads=4)(x, x, x).shape
        (2, 10, 16)
    """

    def __init__(
        self,
        dims: int,
        num_heads: int,
        query_input_dims: int | None = None,
        key_input_dims: int | None = None,
        value_input_dims: int | None = None,
        value_dims: int | None = None,
        value_output_dims: int | None = None,
        bias: bool = False,
    ):
        super().__init__()
        if dims % num_heads:
            raise ValueError(
                f"MultiHeadAttention: dims is {dims}, expected a multiple of {num_heads}"
            )
        query_input_dims = query_input_dims or dims
        key_input_dims = key_input_dims or dims
        value_input_dims = value_input_dims or key_input_dims
        value_dims = value_dims or dims
        value_output_dims = value_output_dims or dims
        self.num_heads = num_heads
        self.query_proj = Linear(query_input_dims, dims, bias=bias)
        self.key_proj = Linear(key_input_dims, dims, bias=bias)
        self.value_proj = Linear(value_input_dims, value_dims, bias=bias)
        self.out_proj = Linear(value_dims, value_output_dims, bias=bias)

    def _to_heads(self, x: mx.array) -> mx.array:
        return mx.unflatten(x, -1, (self.num_heads, -1)).transpose(0, 2, 1, 3)

    def __call__(
        self, queries: mx.array, keys: mx.array, values: mx.array, mask: mx.array | None = None
    ) -> mx.array:
        """Attend from queries ``(batch, L, dims)`` to keys and values ``(batch, S, dims)``.

        ``mask`` is boolean (True for what is seen) or added to the scores ``(batch, heads, L, S)``.
        """
        queries = self._to_heads(self.query_proj(queries))
        keys = self._to_heads(self.key_proj(keys))
        values = self._to_heads(self.value_proj(values))
        scale = math.sqrt(1 / queries.shape[-1])
        output = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
        return self.out_proj(output.transpose(0, 2, 1, 3).flatten(-2, -1))

    @staticmethod
    def create_additive_causal_mask(N: int, dtype: mx.Dtype = mx.float32) -> mx.array:  # noqa: N803
        """``(N, N)``: 0 up to the diagonal, the least finite value of ``dtype`` above it."""
        places = mx.arange(N)
        return mx.where(places[:, None] < places, mx.array(mx.finfo(dtype).min, dtype), 0)


class _Layer(Module):
    """Attentions and a two-layer network, each with normalization, dropout and a shortcut."""

    _attentions: tuple[str, ...]

    def __init__(
        self,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
    ):
        super().__init__()
        mlp_dims = mlp_dims or 4 * dims
        for name in self._attentions:
            setattr(self, name, MultiHeadAttention(dims, num_heads))
        blocks = range(1, len(self._attentions) + 2)
        for i in blocks:
            setattr(self, f"ln{i}", LayerNorm(dims))
        self.linear1 = Linear(dims, mlp_dims)
        self.linear2 = Linear(mlp_dims, dims)
        for i in blocks:
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = activation
        self.norm_first = norm_first

    def _with_shortcut(
        self, x: mx.array, norm: Module, block: Callable[[mx.array], mx.array]
    ) -> mx.array:
        return x + block(norm(x)) if self.norm_first else norm(x + block(x))

    def _transform(self, x: mx.array, norm: Module, dropout: Module) -> mx.array:
        def block(y: mx.array) -> mx.array:
            return self.linear2(dropout(self.activation(self.linear1(y))))

        return self._with_shortcut(x, norm, block)


class _Stack(Module):
    """A stack of layers and a normalization."""

    _layer: type[_Layer]

    def __init__(
        self,
        num_layers: int,
        dims: int,
        num_heads: int,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        norm_first: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        self.layers = [
            self._layer(dims, num_heads, mlp_dims, dropout, activation, norm_first)
            for _ in range(num_layers)
        ]
        self.ln = LayerNorm(dims)
        self.checkpoint = checkpoint

    def _run(self, x: mx.array, *others: mx.array | None) -> mx.array:
        for layer in self.layers:
            x = (checkpointed(layer) if self.checkpoint else layer)(x, *others)
        return self.ln(x)


class TransformerEncoderLayer(_Layer):
    """Self-attention and a two-layer network, each with normalization, dropout and a shortcut.

    Args:
        dims: the size of the features.
        num_heads: how many heads the attention has.
        mlp_dims: the size of the hidden layer; by default ``4 * dims``.
        dropout: the probability of dropout.
        activation: the activation function of the network.
        norm_first: whether to normalize the inputs of the blocks, or the sums after them.

    Examples:
        >>> nn.TransformerEncoderLayer(16, num_heads=4)(mx.ones((2, 10, 16)), mask=None).shape
        (2, 10, 16)
    """

    _attentions = ("attention",)

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        def attend(y: mx.array) -> mx.array:
            return self.dropout1(self.attention(y, y, y, mask))

        x = self._with_shortcut(x, self.ln1, attend)
        return self._transform(x, self.ln2, self.dropout2)


class TransformerEncoder(_Stack):
    """A stack of :class:`TransformerEncoderLayer` and a normalization.

    Args:
        num_layers: how many layers there are.
        dims: the size of the features.
        num_heads: how many heads the attention has.
        mlp_dims: the size of the hidden layer; by default ``4 * dims``.
        dropout: the probability of dropout.
        activation: the activation function of the network.
        norm_first: whether to normalize the inputs of the blocks, or the sums after them.
        checkpoint: whether the layers compute their intermediates again for the gradient, to save
            memory.

    Examples:
        >>> nn.TransformerEncoder(2, 16, num_heads=4)(mx.ones((2, 10, 16)), mask=None).shape
        (2, 10, 16)
    """

    _layer = TransformerEncoderLayer

    def __call__(self, x: mx.array, mask: mx.array | None) -> mx.array:
        return self._run(x, mask)


class TransformerDecoderLayer(_Layer):
    """Like :class:`TransformerEncoderLayer`, with attention to a memory after self-attention.

    Args:
        dims: the size of the features.
        num_heads: how many heads the attention has.
        mlp_dims: the size of the hidden layer; by default ``4 * dims``.
        dropout: the probability of dropout.
        activation: the activation function of the network.
        norm_first: whether to normalize the inputs of the blocks, or the sums after them.

    Examples:
        >>> x, memory = mx.ones((2, 10, 16)), mx.ones((2, 7, 16))
        >>> nn.TransformerDecoderLayer(16, num_heads=4)(x, memory, None, None).shape
        (2, 10, 16)
    """

    _attentions = ("self_attention", "cross_attention")

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        def attend(y: mx.array) -> mx.array:
            return self.dropout1(self.self_attention(y, y, y, x_mask))

        def attend_to_memory(y: mx.array) -> mx.array:
            return self.dropout2(self.cross_attention(y, memory, memory, memory_mask))

        x = self._with_shortcut(x, self.ln1, attend)
        x = self._with_shortcut(x, self.ln2, attend_to_memory)
        return self._transform(x, self.ln3, self.dropout3)


class TransformerDecoder(_Stack):
    """A stack of :class:`TransformerDecoderLayer` and a normalization.

    Args:
        num_layers: how many layers there are.
        dims: the size of the features.
        num_heads: how many heads the attention has.
        mlp_dims: the size of the hidden layer; by default ``4 * dims``.
        dropout: the probability of dropout.
        activation: the activation function of the network.
        norm_first: whether to normalize the inputs of the blocks, or the sums after them.
        checkpoint: whether the layers compute their intermediates again for the gradient, to save
            memory.

    Examples:
        >>> x, memory = mx.ones((2, 10, 16)), mx.ones((2, 7, 16))
        >>> nn.TransformerDecoder(2, 16, num_heads=4)(x, memory, None, None).shape
        (2, 10, 16)
    """

    _layer = TransformerDecoderLayer

    def __call__(
        self,
        x: mx.array,
        memory: mx.array,
        x_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        return self._run(x, memory, x_mask, memory_mask)


class Transformer(Module):
    """An encoder, and a decoder that attends to its output.

    Args:
        dims: the size of the features.
        num_heads: how many heads each attention has.
        num_encoder_layers, num_decoder_layers: how many layers each stack has.
        mlp_dims: the size of the hidden layers; by default ``4 * dims``.
        dropout: the probability of dropout.
        activation: the activation function of the layers.
        custom_encoder, custom_decoder: modules to use instead of the standard ones.
        norm_first: whether to normalize the inputs of the blocks, or the sums after them.
        checkpoint: whether to compute intermediates again for the gradient, to save memory.

    Examples:
        >>> source, target = mx.ones((2, 10, 16)), mx.ones((2, 7, 16))
        >>> model = nn.Transformer(16, 4, num_encoder_layers=1, num_decoder_layers=1)
        >>> model(source, target, None, None, None).shape
        (2, 7, 16)
    """

    def __init__(
        self,
        dims: int = 512,
        num_heads: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        mlp_dims: int | None = None,
        dropout: float = 0.0,
        activation: Activation = relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        norm_first: bool = True,
        checkpoint: bool = False,
    ):
        super().__init__()
        settings = (dims, num_heads, mlp_dims, dropout, activation, norm_first, checkpoint)
        if custom_encoder is None:
            custom_encoder = TransformerEncoder(num_encoder_layers, *settings)
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(num_decoder_layers, *settings)
        self.encoder = custom_encoder
        self.decoder = custom_decoder

    def __call__(
        self,
        src: mx.array,
        tgt: mx.array,
        src_mask: mx.array | None,
        tgt_mask: mx.array | None,
        memory_mask: mx.array | None,
    ) -> mx.array:
        memory = self.encoder(src, src_mask)
        return self.decoder(tgt, memory, tgt_mask, memory_mask)
