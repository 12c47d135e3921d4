"""Activation functions, and a module for each.

All functions are elementwise unless they have an `axis`; they keep the shape and the floating dtype
of their input. Each is a composition of a few core operations, which evaluation fuses.
"""

from __future__ import annotations

import math

import cermet.core as mx
from cermet.nn.base import Module

__all__ = [
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "HardShrink",
    "HardTanh",
    "Hardswish",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "Mish",
    "PReLU",
    "ReLU",
    "ReLU2",
    "ReLU6",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Step",
    "Tanh",
    "celu",
    "elu",
    "gelu",
    "gelu_approx",
    "gelu_fast_approx",
    "glu",
    "hard_shrink",
    "hard_tanh",
    "hardswish",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "relu",
    "relu2",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "step",
    "tanh",
]


def sigmoid(x: mx.array) -> mx.array:
    """``1 / (1 + exp(-x))``"""
    return mx.sigmoid(x)


def tanh(x: mx.array) -> mx.array:
    """The hyperbolic tangent."""
    return mx.tanh(x)


def relu(x: mx.array) -> mx.array:
    """``max(x, 0)``"""
    return mx.maximum(x, 0)


def relu2(x: mx.array) -> mx.array:
    """``max(x, 0) ** 2`` (So et al., 2021, "Primer")."""
    return mx.square(relu(x))


def relu6(x: mx.array) -> mx.array:
    """``min(max(x, 0), 6)``"""
    return mx.clip(x, 0.0, 6.0)


def leaky_relu(x: mx.array, negative_slope: float = 0.01) -> mx.array:
    """``x`` where positive, else ``negative_slope * x``."""
    return mx.where(x > 0, x, negative_slope * x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """``x`` where positive, else ``alpha * x``; ``alpha`` broadcasts (He et al., 2015)."""
    return mx.maximum(x, 0) + alpha * mx.minimum(x, 0)


def elu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """``x`` where positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., 2015)."""
    return mx.where(x > 0, x, alpha * _expm1_negative(x))


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """``max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`` (Barron, 2017)."""
    return mx.maximum(x, 0) + alpha * _expm1_negative(mx.divide(x, alpha))


def selu(x: mx.array) -> mx.array:
    """The self-normalizing ELU (Klambauer et al., 2017)."""
    return elu(x, 1.6732632423543772) * 1.0507009873554805


def _expm1_negative(x: mx.array) -> mx.array:
    # Where x is positive the result is unused, and must not overflow: its derivative would be NaN.
    return mx.expm1(mx.minimum(x, 0))


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """``exp(x)`` divided by its sum over ``axis``."""
    return mx.softmax(x, axis=axis)


def softmin(x: mx.array, axis: int = -1) -> mx.array:
    """``softmax(-x)``"""
    return mx.softmax(-x, axis=axis)


_HALVES = (mx.float16, mx.bfloat16)


def _log_total(x: mx.array, axis: int) -> tuple[mx.array, mx.array, mx.array]:
    # x - maximum (in float32 at least), the maximum and log(sum(exp(x - maximum))), over an axis
    # that stays: the sum of the last two is logsumexp, which may be too large to hold the second.
    exact = x.dtype in _HALVES or not mx.issubdtype(x.dtype, mx.inexact)
    wide = x.astype(mx.float32) if exact else x
    high = mx.stop_gradient(mx.max(wide, axis=axis, keepdims=True))
    high = mx.where(mx.isfinite(high), high, 0)
    low = wide - high
    return low, high, mx.log(mx.sum(mx.exp(low), axis=axis, keepdims=True))


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """The logarithm of the softmax over ``axis``."""
    if x.size == 0:
        return mx.softmax(x, axis=axis)
    low, _, total = _log_total(x, axis)
    return (low - total).astype(x.dtype if x.dtype in _HALVES else total.dtype)


def softplus(x: mx.array) -> mx.array:
    """``log(1 + exp(x))``"""
    return mx.logaddexp(x, 0)


def log_sigmoid(x: mx.array) -> mx.array:
    """The logarithm of the sigmoid."""
    return -softplus(-x)


def softsign(x: mx.array) -> mx.array:
    """``x / (1 + |x|)``"""
    return mx.divide(x, 1 + mx.abs(x))


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """``x`` moved towards zero by ``lambd``, zero where ``|x| <= lambd``."""
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


def hard_shrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """``x``, but zero where ``|x| <= lambd``."""
    return mx.where(mx.abs(x) > lambd, x, 0)


def silu(x: mx.array) -> mx.array:
    """``x * sigmoid(x)``, also known as swish (Hendrycks and Gimpel, 2016)."""
    return x * mx.sigmoid(x)


def mish(x: mx.array) -> mx.array:
    """``x * tanh(softplus(x))`` (Misra, 2019)."""
    return x * mx.tanh(softplus(x))


def hardswish(x: mx.array) -> mx.array:
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al., 2019)."""
    return x * relu6(x + 3.0) / 6  # floats, which do not wrap


def hard_tanh(x: mx.array, min_val: float = -1.0, max_val: float = 1.0) -> mx.array:
    """``x`` limited to ``min_val`` and ``max_val``."""
    return mx.clip(x, min_val, max_val)


def gelu(x: mx.array) -> mx.array:
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel, 2016)."""
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def gelu_approx(x: mx.array) -> mx.array:
    """GELU approximated by ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``."""
    return 0.5 * x * (1 + mx.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def gelu_fast_approx(x: mx.array) -> mx.array:
    """GELU approximated by ``x * sigmoid(1.702 x)``."""
    return x * mx.sigmoid(1.702 * x)


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """The first half of ``x`` times the sigmoid of the second half (Dauphin et al., 2016).

    The result has half the size along ``axis``, which must be even.
    """
    a, b = mx.split(x, 2, axis=axis)
    return a * mx.sigmoid(b)


def step(x: mx.array, threshold: float = 0.0) -> mx.array:
    """1 where ``x >= threshold``, else 0, as int32."""
    return mx.where(x >= threshold, 1, 0)


class Hardswish(Module):
    """Applies :func:`hardswish`."""

    def __call__(self, x: mx.array) -> mx.array:
        return hardswish(x)


class HardTanh(Module):
    """Applies :func:`hard_tanh`."""

    def __call__(self, x: mx.array) -> mx.array:
        return hard_tanh(x)


class LogSigmoid(Module):
    """Applies :func:`log_sigmoid`."""

    def __call__(self, x: mx.array) -> mx.array:
        return log_sigmoid(x)


class LogSoftmax(Module):
    """Applies :func:`log_softmax`."""

    def __call__(self, x: mx.array) -> mx.array:
        return log_softmax(x)


class Mish(Module):
    """Applies :func:`mish`."""

    def __call__(self, x: mx.array) -> mx.array:
        return mish(x)


class ReLU(Module):
    """Applies :func:`relu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu(x)


class ReLU2(Module):
    """Applies :func:`relu2`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu2(x)


class ReLU6(Module):
    """Applies :func:`relu6`."""

    def __call__(self, x: mx.array) -> mx.array:
        return relu6(x)


class SELU(Module):
    """Applies :func:`selu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return selu(x)


class Sigmoid(Module):
    """Applies :func:`sigmoid`."""

    def __call__(self, x: mx.array) -> mx.array:
        return sigmoid(x)


class SiLU(Module):
    """Applies :func:`silu`."""

    def __call__(self, x: mx.array) -> mx.array:
        return silu(x)


class Softmax(Module):
    """Applies :func:`softmax`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softmax(x)


class Softmin(Module):
    """Applies :func:`softmin`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softmin(x)


class Softplus(Module):
    """Applies :func:`softplus`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softplus(x)


class Softsign(Module):
    """Applies :func:`softsign`."""

    def __call__(self, x: mx.array) -> mx.array:
        return softsign(x)


class Tanh(Module):
    """Applies :func:`tanh`."""

    def __call__(self, x: mx.array) -> mx.array:
        return tanh(x)


class LeakyReLU(Module):
    """Applies :func:`leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01):
        super().__init__()
        self._negative_slope = negative_slope

    def __call__(self, x: mx.array) -> mx.array:
        return leaky_relu(x, self._negative_slope)


class PReLU(Module):
    """Applies :func:`prelu` with a trainable ``alpha``.

    Args:
        num_parameters: 1, or the size of the last axis.
        init: the first value of ``alpha``.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25):
        super().__init__()
        self.weight = mx.full((num_parameters,), init)

    def __call__(self, x: mx.array) -> mx.array:
        return prelu(x, self.weight)


class ELU(Module):
    """Applies :func:`elu`."""

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return elu(x, self._alpha)


class CELU(Module):
    """Applies :func:`celu`."""

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return celu(x, self._alpha)


class Softshrink(Module):
    """Applies :func:`softshrink`."""

    def __init__(self, lambd: float = 0.5):
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return softshrink(x, self.lambd)


class HardShrink(Module):
    """Applies :func:`hard_shrink`."""

    def __init__(self, lambd: float = 0.5):
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return hard_shrink(x, self.lambd)


class Step(Module):
    """Applies :func:`step`."""

    def __init__(self, threshold: float = 0.0):
        super().__init__()
        self.threshold = threshold

    def __call__(self, x: mx.array) -> mx.array:
        return step(x, self.threshold)


class GLU(Module):
    """Applies :func:`glu`."""

    def __init__(self, axis: int = -1):
        super().__init__()
        self.axis = axis

    def __call__(self, x: mx.array) -> mx.array:
        return glu(x, self.axis)


_GELUS = {
    "none": gelu,
    "precise": gelu_approx,
    "tanh": gelu_approx,
    "fast": gelu_fast_approx,
}


class GELU(Module):
    """Applies :func:`gelu` or an approximation of it.

    Args:
        approx: ``"none"``, ``"precise"`` or ``"tanh"`` (both :func:`gelu_approx`), or ``"fast"``
            (:func:`gelu_fast_approx`).

    Raises:
        ValueError: another ``approx``.
    """

    def __init__(self, approx: str = "none"):
        super().__init__()
        if approx not in [*_GELUS]:  # which need not be hashable
            raise ValueError(f"GELU: approx is '{approx}', expected one of {[*_GELUS]}")
        self._approx = approx

    def __call__(self, x: mx.array) -> mx.array:
        return _GELUS[self._approx](x)
