"""Initializers: functions from an array to a new array of its shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cermet.core as mx

__all__ = [
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "normal",
    "orthogonal",
    "sparse",
    "uniform",
]

Initializer = Callable[[mx.array], mx.array]


def constant(value: float, dtype: mx.Dtype = mx.float32) -> Initializer:
    """All elements are ``value``.

    Args:
        value: a number.
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Examples:
        >>> nn.init.constant(0.5)(mx.zeros(2))
        array([0.5, 0.5], dtype=float32)
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.full(a.shape, value, dtype=dtype)

    return initializer


def normal(mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Normally distributed with the given mean and standard deviation.

    Args:
        mean: the mean.
        std: the standard deviation.
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.normal(std=0.02)(mx.zeros((256, 256)))
        >>> 0.019 < weight.std().item() < 0.021
        True
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)

    return initializer


def uniform(low: float = 0.0, high: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """Uniformly distributed from ``low`` to ``high``.

    Args:
        low: the least value.
        high: what the values stay below.
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.uniform(-0.1, 0.1)(mx.zeros((256, 256)))
        >>> weight.min().item() >= -0.1, weight.max().item() < 0.1
        (True, True)
    """

    def initializer(a: mx.array) -> mx.array:
        return mx.random.uniform(low, high, a.shape, dtype=dtype)

    return initializer


def identity(dtype: mx.Dtype = mx.float32) -> Initializer:
    """The identity matrix.

    Args:
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Raises:
        ValueError: the array is no square matrix.

    Examples:
        >>> nn.init.identity()(mx.zeros((2, 2)))
        array([[1, 0],
               [0, 1]], dtype=float32)
    """

    def initializer(arr: mx.array) -> mx.array:
        if arr.ndim != 2 or arr.shape[0] != arr.shape[1]:
            raise ValueError(f"identity: shape is {arr.shape}, expected a square matrix")
        return mx.eye(arr.shape[0], dtype=dtype)

    return initializer


def _fans(name: str, a: mx.array) -> tuple[int, int]:
    """How many inputs an output sees, and outputs an input, for a weight (out, *kernel, in)."""
    if a.ndim < 2:
        raise ValueError(f"{name}: shape is {a.shape}, expected at least 2 dimensions")
    receptive_field = math.prod(a.shape[1:-1])
    return a.shape[-1] * receptive_field, a.shape[0] * receptive_field


def glorot_normal(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, float], mx.array]:
    """Normal with ``std = gain * sqrt(2 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    Args:
        dtype: of the result.

    Returns:
        A function from an array of shape ``(out, *kernel, in)``, and a ``gain`` (1),
        to a new one of that shape.

    Raises:
        ValueError: the array has fewer than two axes.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.glorot_normal()(mx.zeros((256, 256)))
        >>> 0.06 < weight.std().item() < 0.065
        True
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        std = gain * math.sqrt(2 / sum(_fans("glorot_normal", a)))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def glorot_uniform(dtype: mx.Dtype = mx.float32) -> Callable[[mx.array, float], mx.array]:
    """Uniform up to ``gain * sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010).

    Args:
        dtype: of the result.

    Returns:
        A function from an array of shape ``(out, *kernel, in)``, and a ``gain`` (1),
        to a new one of that shape.

    Raises:
        ValueError: the array has fewer than two axes.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.glorot_uniform()(mx.zeros((256, 256)))
        >>> weight.max().item() < (6 / 512) ** 0.5
        True
    """

    def initializer(a: mx.array, gain: float = 1.0) -> mx.array:
        limit = gain * math.sqrt(6 / sum(_fans("glorot_uniform", a)))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def _chosen_fan(name: str, a: mx.array, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode is '{mode}', expected 'fan_in' or 'fan_out'")
    fan_in, fan_out = _fans(name, a)
    return fan_in if mode == "fan_in" else fan_out


def he_normal(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, Literal["fan_in", "fan_out"], float], mx.array]:
    """Normal with ``std = gain / sqrt(fan)`` (He et al., 2015).

    Args:
        dtype: of the result.

    Returns:
        A function from an array of shape ``(out, *kernel, in)``, a ``mode``
        ("fan_in" or "fan_out") and a ``gain`` (1),
        to a new one of that shape.

    Raises:
        ValueError: the array has fewer than two axes, or the mode is another.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.he_normal()(mx.zeros((256, 256)))
        >>> 0.06 < weight.std().item() < 0.065
        True
    """

    def initializer(
        a: mx.array, mode: Literal["fan_in", "fan_out"] = "fan_in", gain: float = 1.0
    ) -> mx.array:
        std = gain / math.sqrt(_chosen_fan("he_normal", a, mode))
        return mx.random.normal(shape=a.shape, scale=std, dtype=dtype)

    return initializer


def he_uniform(
    dtype: mx.Dtype = mx.float32,
) -> Callable[[mx.array, Literal["fan_in", "fan_out"], float], mx.array]:
    """Uniform up to ``gain * sqrt(3 / fan)`` (He et al., 2015).

    Args:
        dtype: of the result.

    Returns:
        A function from an array of shape ``(out, *kernel, in)``, a ``mode``
        ("fan_in" or "fan_out") and a ``gain`` (1),
        to a new one of that shape.

    Raises:
        ValueError: the array has fewer than two axes, or the mode is another.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.he_uniform()(mx.zeros((256, 256)))
        >>> weight.max().item() < (3 / 256) ** 0.5
        True
    """

    def initializer(
        a: mx.array, mode: Literal["fan_in", "fan_out"] = "fan_in", gain: float = 1.0
    ) -> mx.array:
        limit = gain * math.sqrt(3 / _chosen_fan("he_uniform", a, mode))
        return mx.random.uniform(-limit, limit, a.shape, dtype=dtype)

    return initializer


def sparse(
    sparsity: float, mean: float = 0.0, std: float = 1.0, dtype: mx.Dtype = mx.float32
) -> Initializer:
    """Normal, with a fraction ``sparsity`` of each row set to zero (Martens, 2010).

    Args:
        sparsity: the fraction, rounded up to whole elements.
        mean: the mean of the others.
        std: their standard deviation.
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Raises:
        ValueError: the array has not two axes.

    Examples:
        >>> mx.random.seed(0)
        >>> weight = nn.init.sparse(0.75)(mx.zeros((256, 256)))
        >>> mx.sum(weight == 0, axis=1)[0].item()
        192
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"sparse: shape is {a.shape}, expected 2 dimensions")
        zeros = math.ceil(sparsity * a.shape[1])
        places = mx.argsort(mx.random.uniform(shape=a.shape), axis=1)[:, :zeros]
        values = mx.random.normal(shape=a.shape, scale=std, loc=mean, dtype=dtype)
        return mx.put_along_axis(values, places, mx.zeros(places.shape, dtype), axis=1)

    return initializer


def orthogonal(gain: float = 1.0, dtype: mx.Dtype = mx.float32) -> Initializer:
    """A random matrix with orthonormal rows or columns, times ``gain`` (Saxe et al., 2013).

    Args:
        gain: what it is multiplied by.
        dtype: of the result.

    Returns:
        A function from an array, whose shape alone counts, to a new one of that shape.

    Raises:
        ValueError: the array has not two axes.

    Examples:
        >>> q = nn.init.orthogonal()(mx.zeros((8, 8)))
        >>> mx.allclose(q @ q.T, mx.eye(8), atol=1e-5).item()
        True
    """

    def initializer(a: mx.array) -> mx.array:
        if a.ndim != 2:
            raise ValueError(f"orthogonal: shape is {a.shape}, expected 2 dimensions")
        rows, cols = a.shape
        sample = mx.random.normal(shape=(max(rows, cols), min(rows, cols)))
        q, r = mx.linalg.qr(sample, stream=mx.cpu)
        # The factorization leaves signs open; those of r make the distribution uniform.
        q = q * mx.sign(mx.diag(r))
        return ((q if rows >= cols else q.T) * gain).astype(dtype)

    return initializer
