"""Dropout: in training, zero parts of the input at random (Srivastava et al., 2014)."""

from __future__ import annotations

import cermet.core as mx
from cermet.nn.base import Module

__all__ = ["Dropout", "Dropout2d", "Dropout3d"]


class Dropout(Module):
    """Zeroes elements with probability ``p`` in training, and scales the rest by ``1 / (1 - p)``.

    Args:
        p: the probability, from 0 to less than 1.

    Raises:
        ValueError: ``p`` is not in [0, 1).

    Examples:
        >>> nn.Dropout(0.5).eval()(mx.ones(3))
        array([1, 1, 1], dtype=float32)
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"{type(self).__name__}: p is {p}, expected [0, 1)")
        self.p = p

    @property
    def _p_1(self) -> float:
        """What is kept, by the name that programs for MLX use."""
        return 1 - self.p

    @_p_1.setter
    def _p_1(self, kept: float) -> None:
        self.p = 1 - kept

    def _extra_repr(self) -> str:
        return f"p={self.p}"

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        return x.shape

    def __call__(self, x: mx.array) -> mx.array:
        if self.p == 0 or not self.training:
            return x
        keep = mx.random.bernoulli(1 - self.p, self._mask_shape(x))
        return mx.where(keep, x * (1 / (1 - self.p)), 0)


class _ChannelDropout(Dropout):
    """Zeroes whole channels, which are on the last axis."""

    _spatial_dims: int

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        n = self._spatial_dims
        if x.ndim not in (n + 1, n + 2):
            raise ValueError(
                f"{type(self).__name__}: input has {x.ndim} dimensions, expected {n + 1} or {n + 2}"
            )
        return (*x.shape[: -n - 1], *(1,) * n, x.shape[-1])


class Dropout2d(_ChannelDropout):
    """Like :class:`Dropout` for whole channels of ``([N,] H, W, C)`` (Tompson et al., 2015).

    Args:
        p: the probability, from 0 to less than 1.

    Raises:
        ValueError: ``p`` is not in [0, 1).

    Examples:
        >>> y = nn.Dropout2d(0.5)(mx.ones((2, 4, 4, 8)))
        >>> mx.array_equal(y[:, 0, 0], y[:, 3, 3]).item()
        True
    """

    _spatial_dims = 2


class Dropout3d(_ChannelDropout):
    """Like :class:`Dropout` for whole channels of ``([N,] D, H, W, C)`` (Tompson et al., 2015).

    Args:
        p: the probability, from 0 to less than 1.

    Raises:
        ValueError: ``p`` is not in [0, 1).

    Examples:
        >>> nn.Dropout3d(0.5)(mx.ones((2, 4, 4, 4, 8))).shape
        (2, 4, 4, 4, 8)
    """

    _spatial_dims = 3
