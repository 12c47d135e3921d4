"""Modules that hold other modules."""

from __future__ import annotations

from collections.abc import Callable

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Sequential"]


class Sequential(Module):
    """Calls modules or functions one after the other, each with the output of the one before.

    Args:
        modules: callables that take one array and return one.

    Examples:
        >>> nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))(mx.ones((5, 3))).shape
        (5, 1)
    """

    def __init__(self, *modules: Callable[[mx.array], mx.array]):
        super().__init__()
        self.layers = list(modules)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x
