"""Affine maps."""

from __future__ import annotations

import math
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module
from cermet.nn.layers.quantized import QQLinear, QuantizedLinear

__all__ = ["Bilinear", "Identity", "Linear"]


class Identity(Module):
    """Returns its input. All arguments are ignored, so that it can stand for any layer.

    Args:
        args, kwargs: ignored.

    Examples:
        >>> nn.Identity("anything")(mx.array([1, 2]))
        array([1, 2], dtype=int32)
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Linear(Module):
    """``x @ weight.T + bias``

    Args:
        input_dims: the size of the last axis of the input.
        output_dims: the size of the last axis of the output.
        bias: whether there is a bias.

    Weight ``(output_dims, input_dims)`` and bias ``(output_dims,)`` are at first uniform up to
    ``sqrt(1 / input_dims)``.

    Examples:
        >>> nn.Linear(3, 2)(mx.ones((5, 3))).shape
        (5, 2)
    """

    def __init__(self, input_dims: int, output_dims: int, bias: bool = True) -> None:
        super().__init__()
        limit = math.sqrt(1 / input_dims)
        self.weight = mx.random.uniform(-limit, limit, (output_dims, input_dims))
        if bias:
            self.bias = mx.random.uniform(-limit, limit, (output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if "bias" in self:
            return mx.addmm(self.bias, x, self.weight.T)
        return x @ self.weight.T

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> QuantizedLinear | QQLinear:
        """The layer with a quantized weight, and with ``quantize_input`` a quantized input; see
        :class:`QuantizedLinear` and :class:`QQLinear`.
        """
        kind = QQLinear if quantize_input else QuantizedLinear
        return kind.from_linear(self, group_size, bits, mode)


class Bilinear(Module):
    """``x2 @ weight[i] @ x1 + bias[i]`` for each output ``i``

    Args:
        input1_dims: the size of the last axis of ``x1``.
        input2_dims: the size of the last axis of ``x2``.
        output_dims: the size of the last axis of the output.
        bias: whether there is a bias.

    Weight ``(output_dims, input2_dims, input1_dims)`` and bias ``(output_dims,)`` are at first
    uniform up to ``sqrt(1 / input1_dims)``.

    Examples:
        >>> nn.Bilinear(3, 4, 2)(mx.ones((5, 3)), mx.ones((5, 4))).shape
        (5, 2)
    """

    def __init__(
        self, input1_dims: int, input2_dims: int, output_dims: int, bias: bool = True
    ) -> None:
        super().__init__()
        limit = math.sqrt(1 / input1_dims)
        self.weight = mx.random.uniform(-limit, limit, (output_dims, input2_dims, input1_dims))
        if bias:
            self.bias = mx.random.uniform(-limit, limit, (output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input2_dims, input1_dims = self.weight.shape
        return (
            f"input1_dims={input1_dims}, input2_dims={input2_dims}, "
            f"output_dims={output_dims}, bias={'bias' in self}"
        )

    def __call__(self, x1: mx.array, x2: mx.array) -> mx.array:
        output_dims, input2_dims, input1_dims = self.weight.shape
        for name, x, size in (("x1", x1, input1_dims), ("x2", x2, input2_dims)):
            if x.shape[-1:] != (size,):
                raise ValueError(f"Bilinear: {name} has shape {x.shape}, expected (..., {size})")
        y = x1 @ self.weight.reshape(-1, input1_dims).T
        y = y.reshape(*x1.shape[:-1], output_dims, input2_dims)
        y = (y @ x2[..., None]).squeeze(-1)
        return y + self.bias if "bias" in self else y
