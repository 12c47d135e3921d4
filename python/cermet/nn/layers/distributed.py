"""The division of layers over the processes of a group. So far a group has one process."""

from __future__ import annotations

from collections.abc import Callable

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["shard_inplace", "shard_linear", "sum_gradients"]

_SHARDINGS = ("all-to-sharded", "sharded-to-all")


def _check_group(name: str, group: mx.distributed.Group | None) -> None:
    size = (group or mx.distributed.init()).size()
    if size > 1:
        raise NotImplementedError(f"{name}: the group has {size} processes, expected 1")


def _check_sharding(name: str, sharding: str | Callable) -> None:
    if not callable(sharding) and sharding not in _SHARDINGS:
        raise ValueError(f"{name}: sharding is '{sharding}', expected one of {[*_SHARDINGS]}")


def sum_gradients(group: mx.distributed.Group) -> Callable[[mx.array], mx.array]:
    """The identity, whose gradient is summed over the group."""
    _check_group("sum_gradients", group)
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
    _check_group("shard_inplace", group)


def shard_linear(
    module: Module,
    sharding: str,
    *,
    segments: int | list = 1,
    group: mx.distributed.Group | None = None,
) -> Module:
    """The linear layer for this process; of one process that is the layer itself."""
    _check_sharding("shard_linear", sharding)
    _check_group("shard_linear", group)
    return module
