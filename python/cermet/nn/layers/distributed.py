"""The division of layers over the processes of a group. So far a group has one process.

It has all of every layer, so that each layer here computes what the one that it is made of does. A
group of more processes is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module
from cermet.nn.layers.linear import Linear
from cermet.nn.layers.quantized import QuantizedLinear, _Quantized
from cermet.nn.utils import check_group
from cermet.utils import tree_flatten, tree_map

__all__ = [
    "AllToShardedLinear",
    "FullyShardedModule",
    "QuantizedAllToShardedLinear",
    "QuantizedShardedToAllLinear",
    "ShardedToAllLinear",
    "fully_shard",
]

_SHARDINGS = ("all-to-sharded", "sharded-to-all")


def _check_sharding(name: str, sharding: str | Callable) -> None:
    if not callable(sharding) and sharding not in _SHARDINGS:
        raise ValueError(f"{name}: sharding is '{sharding}', expected one of {[*_SHARDINGS]}")


def sum_gradients(group: mx.distributed.Group) -> Callable[[mx.array], mx.array]:
    """The identity, whose gradient is summed over the group."""
    check_group("sum_gradients", group)
    return lambda x: x


def shard_inplace(
    module: Module,
    sharding: str | Callable,
    *,
    segments: int | list = 1,
    group: mx.distributed.Group | None = None,
) -> None:
    """Keep only this process's part of the parameters; of one process that is all of them."""
    _check_sharding("shard_inplace", sharding)
    check_group("shard_inplace", group)


def shard_linear(
    module: Module,
    sharding: str,
    *,
    segments: int | list = 1,
    group: mx.distributed.Group | None = None,
) -> Module:
    """The layer of this process in place of a :class:`Linear` or :class:`QuantizedLinear`.

    Args:
        module: the linear layer.
        sharding: "all-to-sharded", where each process gives a part of the outputs, or
            "sharded-to-all", where each takes a part of the inputs.
        segments: into how many parts, or at which places, the divided axis is cut before each part
            is divided, as for the queries, keys and values that one layer computes.
        group: the processes; by default all.
    """
    _check_sharding("shard_linear", sharding)
    if isinstance(module, _Quantized):
        quantized = _QUANTIZED[sharding]
        return quantized.from_quantized_linear(module, segments=segments, group=group)
    if not isinstance(getattr(module, "weight", None), mx.array) or module.weight.ndim != 2:
        raise ValueError(f"shard_linear: a {type(module).__name__} is no linear layer")
    return _PLAIN[sharding].from_linear(module, segments=segments, group=group)


class _Sharded(Module):
    """A layer with the parameters and settings of another, and a group."""

    def __init__(self, layer: Module, group: mx.distributed.Group | None):
        Module.__init__(self)
        self.__dict__.update(vars(layer))
        self._no_grad = set(layer._no_grad)
        for key, value in layer.items():
            self[key] = value
        self.group = check_group(type(self).__name__, group)

    @classmethod
    def _of(cls, layer: Module, group: mx.distributed.Group | None) -> Any:
        new = cls.__new__(cls)
        _Sharded.__init__(new, layer, group)
        return new


class _ShardedLinear(_Sharded):
    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group: mx.distributed.Group | None = None,
    ):
        super().__init__(Linear(input_dims, output_dims, bias), group)

    _extra_repr = Linear._extra_repr

    def __call__(self, x: mx.array) -> mx.array:
        return Linear.__call__(self, x)  # type: ignore[arg-type]

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        *,
        segments: int | list = 1,
        group: mx.distributed.Group | None = None,
    ) -> Any:
        """The layer with the weight and bias of a :class:`Linear`."""
        return cls._of(linear_layer, group)


class AllToShardedLinear(_ShardedLinear):
    """A :class:`Linear` of which each process has a part of the outputs: it takes the whole input
    and gives its part.

    Args:
        input_dims: the size of the last axis of the input.
        output_dims: the size of the last axis of the output, of all processes together.
        bias: whether there is a bias.
        group: the processes; by default all.
    """


class ShardedToAllLinear(_ShardedLinear):
    """A :class:`Linear` of which each process has a part of the inputs: it takes that part and
    gives the sum of all processes' outputs.

    Args:
        input_dims: the size of the last axis of the input, of all processes together.
        output_dims: the size of the last axis of the output.
        bias: whether there is a bias.
        group: the processes; by default all.
    """


class _QuantizedShardedLinear(_Sharded, _Quantized):
    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: mx.distributed.Group | None = None,
    ):
        layer = QuantizedLinear(input_dims, output_dims, bias, group_size, bits, mode)
        super().__init__(layer, group)

    _extra_repr = QuantizedLinear._extra_repr

    def unfreeze(self, *args: Any, **kwargs: Any) -> Module:
        """Nothing here trains: a quantized weight has no gradient."""
        super().unfreeze(*args, **kwargs)
        return self.freeze(recurse=False)

    def __call__(self, x: mx.array) -> mx.array:
        return QuantizedLinear.__call__(self, x)  # type: ignore[arg-type]

    @classmethod
    def from_quantized_linear(
        cls,
        quantized_linear_layer: Module,
        *,
        segments: int | list = 1,
        group: mx.distributed.Group | None = None,
    ) -> Any:
        """The layer with the packed weight and the bias of a :class:`QuantizedLinear`."""
        return cls._of(quantized_linear_layer, group).freeze()


class QuantizedAllToShardedLinear(_QuantizedShardedLinear):
    """:class:`AllToShardedLinear` with a quantized weight; see :class:`QuantizedLinear`."""


class QuantizedShardedToAllLinear(_QuantizedShardedLinear):
    """:class:`ShardedToAllLinear` with a quantized weight; see :class:`QuantizedLinear`."""


_PLAIN = dict(zip(_SHARDINGS, (AllToShardedLinear, ShardedToAllLinear), strict=True))
_QUANTIZED = dict(
    zip(_SHARDINGS, (QuantizedAllToShardedLinear, QuantizedShardedToAllLinear), strict=True)
)


class FullyShardedModule(Module):
    """A module of which each process has a part of every parameter, and gathers the rest for the
    time of a call.

    Args:
        module: the module, which is called with what this one is called with.
        group: the processes; by default all.
        compute_dtype: the type in which its floating parameters are used; by default their own.
            They are kept, and have their gradients, in their own.
    """

    def __init__(
        self,
        module: Module,
        group: mx.distributed.Group | None = None,
        compute_dtype: mx.Dtype | None = None,
    ):
        super().__init__()
        check_group("FullyShardedModule", group)
        self.module = module
        self.compute_dtype = compute_dtype

    def _extra_repr(self) -> str:
        return f"num_sharded_params={len(tree_flatten(self.module.parameters()))}"

    def _gathered(self, call: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        dtype = self.compute_dtype
        if dtype is None:
            return call(*args, **kwargs)
        own = self.module.parameters()

        def used(x: mx.array) -> mx.array:
            return x.astype(dtype) if mx.issubdtype(x.dtype, mx.floating) else x

        own = self.module.parameters()
        self.module.update(tree_map(used, own))
        try:
            return call(*args, **kwargs)
        finally:
            self.module.update(own)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._gathered(self.module, args, kwargs)

    def as_linear(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own ``as_linear``, as an embedding has it."""
        return self._gathered(self.module.as_linear, args, kwargs)


def fully_shard(
    module: Module,
    *,
    group: mx.distributed.Group | None = None,
    compute_dtype: mx.Dtype | None = None,
) -> Module:
    """Divide a module's parameters over the processes; of one process it stays what it is.

    See :class:`FullyShardedModule`.
    """
    check_group("fully_shard", group)
    return module
