"""Layers whose weights have another type than the vectors: these keep theirs."""

from __future__ import annotations

import cermet.core as mx
import cermet.nn as nn


class Linear(nn.Linear):
    """A matrix of 16-bit floats: what it is multiplied with is rounded to them, and back."""

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(x.astype(self.weight.dtype)).astype(x.dtype)


class Embedding(nn.Embedding):
    """A table of 16-bit floats for vectors of the type ``dtype``."""

    dtype = mx.float32

    def __call__(self, x: mx.array) -> mx.array:
        return super().__call__(x).astype(self.dtype)

    def as_linear(self, x: mx.array) -> mx.array:
        return super().as_linear(x.astype(self.weight.dtype)).astype(x.dtype)


class QuantizedEmbedding(nn.QuantizedEmbedding):
    """A packed table for vectors of the type ``dtype``, which are not rounded to its scales'."""

    dtype = mx.float32

    def __call__(self, x: mx.array) -> mx.array:
        biases = None if self.biases is None else self.biases[x]
        return mx.dequantize(
            self.weight[x], self.scales[x], biases, dtype=self.dtype, **self._settings()
        )


_KINDS: dict[type, type[nn.Module]] = {
    nn.Linear: Linear,
    nn.Embedding: Embedding,
    nn.QuantizedEmbedding: QuantizedEmbedding,
}


def mix(model: nn.Module, dtype: mx.Dtype) -> None:
    """Makes a model compute in ``dtype``: its vectors are cast, and layers above take the place of
    those with matrices of other types."""

    def change(_: str, layer: nn.Module) -> None:
        kind = _KINDS.get(type(layer))
        if kind is not None:
            weight = layer.scales if "scales" in layer else layer.weight
            if weight.dtype != dtype:
                object.__setattr__(layer, "__class__", kind)
                layer.dtype = dtype
        if "scales" not in layer:
            for name, a in list(layer.items()):
                if isinstance(a, mx.array) and a.ndim == 1 and a.dtype != dtype:
                    setattr(layer, name, a.astype(dtype))
        elif "bias" in layer and layer.bias.dtype != dtype:
            layer.bias = layer.bias.astype(dtype)

    model.apply_to_modules(change)
