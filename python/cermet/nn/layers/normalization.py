"""Normalization layers. Features are on the last axis."""

from __future__ import annotations

import math
from typing import Any

import cermet.core as mx
from cermet.nn.activations import _HALVES
from cermet.nn.base import Module

__all__ = ["BatchNorm", "GroupNorm", "InstanceNorm", "LayerNorm", "RMSNorm"]


class _Normalization(Module):
    """The optional trainable scale and shift of the features."""

    def _init_affine(self, dims: int, bias: bool = True) -> None:
        self.weight = mx.ones((dims,))
        if bias:
            self.bias = mx.zeros((dims,))

    def _affine(self, x: mx.array) -> mx.array:
        return x * self.weight + self.bias if "weight" in self else x


def _standardize(x: mx.array, axes: int | tuple[int, ...], eps: float) -> mx.array:
    if x.dtype in _HALVES:  # rounded once, in the end
        return _standardize(x.astype(mx.float32), axes, eps).astype(x.dtype)
    mean = mx.mean(x, axis=axes, keepdims=True)
    return (x - mean) * mx.rsqrt(mx.var(x, axis=axes, keepdims=True) + eps)


class RMSNorm(Module):
    """Divides by the root of the mean square of the features (Zhang and Sennrich, 2019).

    Args:
        dims: how many features there are.
        eps: added to the mean square.

    Examples:
        >>> nn.RMSNorm(4)(mx.full((1, 4), 3.0)).round(4)
        array([[1, 1, 1, 1]], dtype=float32)
    """

    def __init__(self, dims: int, eps: float = 1e-5):
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self.weight, self.eps)


class LayerNorm(_Normalization):
    """Normalizes mean and variance of the features (Ba et al., 2016).

    Args:
        dims: how many features there are.
        eps: added to the variance.
        affine: whether there is a trainable scale.
        bias: whether there is a trainable shift beside the scale.

    Examples:
        >>> nn.LayerNorm(2)(mx.array([[1.0, 3.0]])).round(4)
        array([[-1, 1]], dtype=float32)
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True):
        super().__init__()
        if affine:
            self._init_affine(dims, bias)
        self.eps = eps
        self.dims = dims

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class InstanceNorm(_Normalization):
    """Normalizes each feature of each sample over space (Ulyanov et al., 2016).

    Args:
        dims: how many features there are.
        eps: added to the variance.
        affine: whether there is a trainable scale and shift.

    The input is ``(N, ..., C)`` with at least 3 dimensions.

    Raises:
        ValueError: the input has fewer than 3 dimensions (when it is called).

    Examples:
        >>> nn.InstanceNorm(8)(mx.ones((2, 5, 5, 8))).shape
        (2, 5, 5, 8)
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False):
        super().__init__()
        if affine:
            self._init_affine(dims)
        self.dims = dims
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim < 3:
            raise ValueError(f"InstanceNorm: input has {x.ndim} dimensions, expected at least 3")
        return self._affine(_standardize(x, tuple(range(1, x.ndim - 1)), self.eps))


class GroupNorm(_Normalization):
    """Normalizes each group of features of each sample over space (Wu and He, 2018).

    Args:
        num_groups: how many groups there are.
        dims: how many features there are; a multiple of ``num_groups``.
        eps: added to the variance.
        affine: whether there is a trainable scale and shift.
        pytorch_compatible: whether a group is a run of neighbouring features; otherwise feature
            ``i`` belongs to group ``i % num_groups``.

    Raises:
        ValueError: ``dims`` is no multiple of ``num_groups``.

    Examples:
        >>> nn.GroupNorm(2, 8)(mx.ones((2, 5, 5, 8))).shape
        (2, 5, 5, 8)
    """

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ):
        super().__init__()
        if dims % num_groups:
            raise ValueError(f"GroupNorm: dims is {dims}, expected a multiple of {num_groups}")
        if affine:  # in the order in which other programs find them
            self.bias = mx.zeros((dims,))
            self.weight = mx.ones((dims,))
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, affine={'weight' in self}, "
            f"pytorch_compatible={self.pytorch_compatible}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if x.ndim == 0:
            raise ValueError("GroupNorm: input of shape (), expected (batch, ..., features)")
        if x.shape[-1] % self.num_groups:
            raise ValueError(
                f"GroupNorm: input of shape {x.shape}, expected a multiple of {self.num_groups} "
                "features"
            )
        size = x.shape[-1] // self.num_groups
        if self.pytorch_compatible:
            groups, axes = (self.num_groups, size), (1, 3)
        else:
            groups, axes = (size, self.num_groups), (1, 2)
        grouped = x.reshape(x.shape[0], -1, *groups)
        return self._affine(_standardize(grouped, axes, self.eps).reshape(x.shape))


class BatchNorm(_Normalization):
    """Normalizes each feature over the batch and space (Ioffe and Szegedy, 2015).

    Args:
        num_features: how many features there are.
        eps: added to the variance.
        momentum: how much of the batch's statistics enters the running ones.
        affine: whether there is a trainable scale and shift.
        track_running_stats: whether to keep running statistics, which evaluation mode then uses
            instead of those of the batch.

    The input is ``(N, C)``, ``(N, L, C)`` or ``(N, H, W, C)``. The running statistics are
    parameters that are always frozen.

    Examples:
        >>> norm = nn.BatchNorm(1)
        >>> norm(mx.array([[1.0], [3.0]])).round(4)
        array([[-1],
               [1]], dtype=float32)
        >>> norm.running_mean
        array([0.2], dtype=float32)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self._init_affine(num_features)
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self._freeze_running_stats()

    def _freeze_running_stats(self) -> None:
        self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def unfreeze(self, *args: Any, **kwargs: Any) -> Module:
        """Like :meth:`Module.unfreeze`, but the running statistics stay frozen."""
        super().unfreeze(*args, **kwargs)
        if self.track_running_stats:
            self._freeze_running_stats()
        return self

    def _calc_stats(self, x: mx.array, ddof: int = 0) -> tuple[mx.array, mx.array]:
        """The mean and variance of each feature; subclasses take others."""
        axes = tuple(range(x.ndim - 1))
        return mx.mean(x, axis=axes), mx.var(x, axis=axes, ddof=ddof)

    def _extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        if not 2 <= x.ndim <= 4:
            raise ValueError(f"BatchNorm: input has {x.ndim} dimensions, expected 2, 3 or 4")
        if self.track_running_stats and not self.training:
            mean, var = self.running_mean, self.running_var
        else:
            count = math.prod(x.shape[:-1])
            if self.training and count == 1:
                raise ValueError("BatchNorm: input has one value a feature, expected several")
            mean, var = self._calc_stats(x)
            if self.track_running_stats:
                unbiased = var * (count / max(count - 1, 1))
                self.running_mean += self.momentum * (mean - self.running_mean)
                self.running_var += self.momentum * (unbiased - self.running_var)
        return self._affine((x - mean) * mx.rsqrt(var + self.eps))
