"""Layers with quantized weights, and the replacement of a model's layers by them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module
from cermet.utils import tree_map_with_path

__all__ = ["QQLinear", "QuantizedEmbedding", "QuantizedLinear", "column_major", "quantize"]

# mode: (elements that share a scale, bits of an element)
_DEFAULTS = {"affine": (64, 4), "mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


def _accepted(function: Callable, settings: dict[str, Any]) -> dict[str, Any]:
    """``settings`` without the usual mode for a function from before there were modes."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.name == "mode" or p.kind is p.VAR_KEYWORD for p in parameters):
        return settings
    return {k: v for k, v in settings.items() if (k, v) != ("mode", "affine")}


def quantize(
    model: Module,
    group_size: int | None = None,
    bits: int | None = None,
    *,
    mode: str = "affine",
    quantize_input: bool = False,
    class_predicate: Callable[[str, Module], bool | dict] | None = None,
) -> None:
    """Replace layers of a model by quantized ones, in place.

    Args:
        model: the model; the layers below it are replaced, it is not replaced itself.
        group_size: how many elements of a row share a scale; the default depends on the mode.
        bits: how many bits an element has; the default depends on the mode.
        mode: "affine", "mxfp4", "mxfp8" or "nvfp4", see :func:`cermet.core.quantize`.
        quantize_input: passed to ``to_quantized`` of the layers: linear ones become
            :class:`QQLinear`, others raise a ValueError.
        class_predicate: ``class_predicate(path, module)`` tells whether to quantize a layer, or
            gives the arguments of its ``to_quantized`` as a dict. By default every layer that has
            the method ``to_quantized`` is quantized.

    Raises:
        ValueError: the predicate accepts a layer that cannot be quantized, or returns something
            else than a bool or a dict.
        TypeError: the layer's ``to_quantized`` does not take the arguments.
            Both name the layer's path, and no layer is replaced then.
    """
    settings = {"group_size": group_size, "bits": bits, "mode": mode}
    if not class_predicate:

        def class_predicate(_path: str, module: Module) -> bool:
            return hasattr(module, "to_quantized")

    def quantized(path: str, module: Module) -> Module:
        choice = class_predicate(path, module)
        if not choice:
            return module
        if not isinstance(choice, (bool, dict)):
            raise ValueError(
                f"quantize: class_predicate returned {type(choice).__name__} for '{path}', "
                "expected a bool or a dict"
            )
        if not hasattr(module, "to_quantized"):
            raise ValueError(
                f"quantize: '{path}' is a {type(module).__name__}, which has no to_quantized"
            )
        if quantize_input and not isinstance(choice, dict):
            settings["quantize_input"] = True
        given = choice if isinstance(choice, dict) else _accepted(module.to_quantized, settings)
        try:
            return module.to_quantized(**given)
        except (TypeError, ValueError) as error:
            kinds = (mx.KindError, ValueError, TypeError)
            kind = next(kind for kind in kinds if isinstance(error, kind))
            problem = str(error).removeprefix("quantize: ")
            raise kind(f"quantize: '{path}', {module!r}: {problem}") from error

    layers = tree_map_with_path(quantized, model.leaf_modules(), is_leaf=Module.is_module)
    model.update_modules(layers)


def column_major(model: Module) -> Module:
    """Store the packed matrices of a model column by column, for decoding on a CPU.

    What packs the same inputs of all outputs is then adjacent in memory, and a product with few
    rows takes vectors of it as they are, in about half of the time. No value, shape or bit of a
    result changes. Products take such matrices in place where the number of outputs is a multiple
    of 16, and where the transposed matrix is multiplied, as layers do; else they copy them.

    Args:
        model: a module; its :class:`QuantizedLinear` and :class:`QuantizedEmbedding` are changed.
            Their arrays are lazy: evaluated one by one, no two copies of a model are in memory.

    Returns:
        The model.
    """
    for module in model.modules():
        if isinstance(module, _Quantized):
            for name in ("weight", "scales", "biases"):
                if module.get(name) is not None:
                    module[name] = mx.contiguous(module[name].swapaxes(-1, -2)).swapaxes(-1, -2)
    return model


def _matrix(name: str, layer: Module) -> mx.array:
    """The weight of a layer that is to be packed."""
    weight = getattr(layer, "weight", None)
    if not isinstance(weight, mx.array):
        raise TypeError(f"{name}: a {type(layer).__name__} has no weight")
    if weight.ndim != 2 or not mx.issubdtype(weight.dtype, mx.floating):
        raise ValueError(
            f"{name}: the weight of {type(layer).__name__} has shape {weight.shape} and type "
            f"{weight.dtype}, expected a matrix of floats"
        )
    return weight


class _Packed(Module):
    """How the layers pack their weights."""

    _modes = tuple(_DEFAULTS)

    def __init__(self, group_size: int | None, bits: int | None, mode: str):
        super().__init__()
        if mode not in self._modes:
            raise (ValueError if isinstance(mode, str) else mx.KindError)(
                f"{type(self).__name__}: mode is '{mode}', expected one of {[*self._modes]}"
            )
        default_group_size, default_bits = _DEFAULTS[mode]
        self.group_size, self.bits = group_size or default_group_size, bits or default_bits
        self.mode = mode

    def _settings(self) -> dict:
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def _settings_repr(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self._settings().items())

    def _take_bias(self, layer: Module) -> None:
        if "bias" in layer:
            self.bias = layer.bias


class _Quantized(_Packed):
    """The quantized weight that both layers have."""

    def __init__(self, weight: mx.array, group_size: int | None, bits: int | None, mode: str):
        super().__init__(group_size, bits, mode)
        self._quantize(weight)

    def _quantize(self, weight: mx.array) -> None:
        self.weight, self.scales, *biases = mx.quantize(
            weight, self.group_size, self.bits, mode=self.mode
        )
        self.biases = biases[0] if biases else None

    def _input_dims(self) -> int:
        return self.weight.shape[-1] * 32 // self.bits

    def _matmul(self, x: mx.array) -> mx.array:
        return mx.quantized_matmul(
            x, self.weight, self.scales, self.biases, transpose=True, **self._settings()
        )


class QuantizedLinear(_Quantized):
    """``x @ weight.T + bias`` with a quantized weight.

    Args:
        input_dims: the size of the last axis of the input; a multiple of ``group_size``.
        output_dims: the size of the last axis of the output.
        bias: whether there is a bias, which is not quantized.
        group_size: how many elements of a row share a scale; the default depends on the mode.
        bits: how many bits an element has; the default depends on the mode.
        mode: "affine", "mxfp4", "mxfp8" or "nvfp4", see :func:`cermet.core.quantize`.

    The parameters are frozen: a quantized weight has no gradient.
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ):
        limit = math.sqrt(1 / input_dims)
        weight = mx.random.uniform(-limit, limit, (output_dims, input_dims))
        super().__init__(weight, group_size, bits, mode)
        if bias:
            self.bias = mx.zeros((output_dims,))
        self.freeze()

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self._input_dims()}, output_dims={self.weight.shape[0]}, "
            f"bias={'bias' in self}, {self._settings_repr()}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = self._matmul(x)
        return y + self.bias if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedLinear:
        """Quantize the weight of a :class:`Linear`. Its bias stays as it is, and trainable."""
        weight = _matrix("QuantizedLinear.from_linear", linear_layer)
        output_dims, input_dims = weight.shape
        layer = cls(input_dims, output_dims, False, group_size, bits, mode)
        layer._quantize(weight)
        layer._take_bias(linear_layer)
        return layer


class QuantizedEmbedding(_Quantized):
    """Looks up the vectors of integers in a quantized table; in bfloat16 where the mode is not
    "affine".

    Args:
        num_embeddings: how many vectors there are.
        dims: the size of a vector; a multiple of ``group_size``.
        group_size: how many elements of a vector share a scale; the default depends on the mode.
        bits: how many bits an element has; the default depends on the mode.
        mode: "affine", "mxfp4", "mxfp8" or "nvfp4", see :func:`cermet.core.quantize`.

    The parameters are frozen: a quantized weight has no gradient.
    """

    def __init__(
        self,
        num_embeddings: int,
        dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ):
        weight = mx.random.normal((num_embeddings, dims), scale=math.sqrt(1 / dims))
        super().__init__(weight, group_size, bits, mode)
        self.num_embeddings = num_embeddings
        self.dims = dims
        self.freeze()

    def _extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.dims}, {self._settings_repr()}"

    def __call__(self, x: mx.array) -> mx.array:
        biases = None if self.biases is None else self.biases[x]
        return mx.dequantize(self.weight[x], self.scales[x], biases, **self._settings())

    def as_linear(self, x: mx.array) -> mx.array:
        """``x @ weight.T``: the logits of a language model that shares its embedding."""
        return self._matmul(x)

    @classmethod
    def from_embedding(
        cls,
        embedding_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedEmbedding:
        """Quantize the weight of an :class:`Embedding`."""
        weight = _matrix("QuantizedEmbedding.from_embedding", embedding_layer)
        num_embeddings, dims = weight.shape
        layer = cls(num_embeddings, dims, group_size, bits, mode)
        layer._quantize(weight)
        return layer


class QQLinear(_Packed):
    """``x @ weight.T``, both quantized to floats of 4 or 8 bits: see :func:`cermet.core.qqmm`.

    While the layer trains its weight is a plain array, quantized for each product, and has a
    gradient as if it were not. ``eval()`` packs it, ``train()`` unpacks it; packed, it is frozen.
    So a file of packed weights is loaded into a layer on which ``eval()`` was called.

    Args:
        input_dims: the size of the last axis of the input; a multiple of ``group_size``.
        output_dims: the size of the last axis of the output.
        group_size: how many elements of a row share a scale; the default depends on the mode.
        bits: how many bits an element has; the default depends on the mode.
        mode: "nvfp4", "mxfp8" or "mxfp4", see :func:`cermet.core.quantize`.

    Only a layer made by :meth:`from_linear` has a bias, which is not quantized.
    """

    _modes = tuple(mode for mode in _DEFAULTS if mode != "affine")

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ):
        super().__init__(group_size, bits, mode)
        limit = math.sqrt(1 / input_dims)
        self.weight = mx.random.uniform(-limit, limit, (output_dims, input_dims))

    def _extra_repr(self) -> str:
        input_dims = self.weight.shape[-1] * (32 // self.bits if "scales" in self else 1)
        output_dims = self.weight.shape[0]
        return f"input_dims={input_dims}, output_dims={output_dims}, {self._settings_repr()}"

    def quantize(self) -> None:
        """Pack the weight, if it is not packed."""
        if "scales" in self:
            return
        self._unpacked = (self.weight.dtype, "weight" in self._no_grad)
        packed = mx.quantize(self.weight, **self._settings())
        self.weight, self.scales = packed[0], packed[1]
        self.freeze(recurse=False, keys=["weight", "scales"])

    def dequantize(self) -> None:
        """Unpack the weight, if it is packed: its type is that of before."""
        if "scales" not in self:
            return
        dtype, frozen = self._unpacked
        self.weight = mx.dequantize(self.weight, self.scales, dtype=dtype, **self._settings())
        del self.scales
        self.unfreeze(recurse=False, keys=["scales"] if frozen else ["weight", "scales"])

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(mode)
        if mode:
            self.dequantize()
        else:
            self.quantize()

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.qqmm(x, self.weight, self.get("scales"), **self._settings())
        return y + self.bias if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ) -> QQLinear:
        """The layer with the weight of a :class:`Linear`, packed unless that one trains."""
        weight = _matrix("QQLinear.from_linear", linear_layer)
        output_dims, input_dims = weight.shape
        layer = cls(input_dims, output_dims, group_size, bits, mode)
        layer.weight = weight
        layer._take_bias(linear_layer)
        layer.train(linear_layer.training)
        return layer
