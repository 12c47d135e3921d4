"""Joining axes into one."""

from __future__ import annotations

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Flatten"]


class Flatten(Module):
    """Joins axes, by default all but the batch's, into one.

    Args:
        start_axis: the first axis to join.
        end_axis: the last one.

    Examples:
        >>> nn.Flatten()(mx.ones((2, 3, 4, 5))).shape
        (2, 60)
    """

    def __init__(self, start_axis: int = 1, end_axis: int = -1):
        super().__init__()
        self.start_axis = start_axis
        self.end_axis = end_axis

    def _extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.flatten(x, self.start_axis, self.end_axis)
