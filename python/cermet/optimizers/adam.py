"""Adam and its relatives, which step along a running mean of the gradients."""

from __future__ import annotations

import cermet.core as mx
from cermet.optimizers.base import Optimizer, Rate, check_betas, check_positive

__all__ = ["Adam", "AdamW", "Adamax", "Lion"]


class Adam(Optimizer):
    """Divides the gradient's running mean by its root mean square (Kingma and Ba, 2015)::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g ** 2
        w = w - learning_rate * m / (sqrt(v) + eps)

    Args:
        learning_rate: the learning rate or a schedule.
        betas: ``beta1`` and ``beta2``.
        eps: see above.
        bias_correction: whether to divide ``m`` by ``1 - beta1 ** step`` and ``v`` by
            ``1 - beta2 ** step``, as the paper does.

    Raises:
        ValueError: ``eps`` is negative, or a beta not from 0 to less than 1.

    Examples:
        >>> optimizer = optim.Adam(learning_rate=0.01)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9684, 2.0316]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
        bias_correction: bool = False,
    ):
        super().__init__()
        check_positive(type(self).__name__, eps=eps)
        check_betas(type(self).__name__, betas)
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.eps = eps
        self.bias_correction = bias_correction

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["m"] = mx.zeros_like(parameter)
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        b1, b2 = self.betas
        m = state["m"] * b1 + gradient * (1 - b1)
        v = state["v"] * b2 + mx.square(gradient) * (1 - b2)
        state["m"], state["v"] = m, v
        if not self.bias_correction:
            return parameter - rate * m / (mx.sqrt(v) + self.eps)
        step = self.step.astype(mx.float32)
        m_scale = (rate / (1 - b1**step)).astype(gradient.dtype)
        v_scale = mx.rsqrt(1 - b2**step).astype(gradient.dtype)
        return parameter - m_scale * m / (mx.sqrt(v) * v_scale + self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    Args:
        learning_rate, betas, eps, bias_correction: as of :class:`Adam`.
        weight_decay: before the step, ``w`` is multiplied by ``1 - learning_rate * weight_decay``.

    Raises:
        ValueError: ``eps`` is negative, or a beta not from 0 to less than 1.

    Examples:
        >>> optimizer = optim.AdamW(learning_rate=0.01, weight_decay=0.1)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9674, 2.0296]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ):
        super().__init__(learning_rate, betas, eps, bias_correction)
        self.weight_decay = weight_decay

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        decayed = parameter * (1 - self._rate_for(gradient) * self.weight_decay)
        return super().apply_single(gradient, decayed, state)


class Adamax(Adam):
    """Adam with the maximum norm in place of the mean square (Kingma and Ba, 2015)::

        m = beta1 * m + (1 - beta1) * g
        v = max(beta2 * v, |g|)
        w = w - learning_rate * m / (v + eps)

    Args:
        learning_rate: the learning rate or a schedule.
        betas: ``beta1`` and ``beta2``.
        eps: see above.

    Raises:
        ValueError: ``eps`` is negative, or a beta not from 0 to less than 1.

    Examples:
        >>> optimizer = optim.Adamax(learning_rate=0.01)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.999, 2.001]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
    ):
        check_positive("Adamax", eps=eps)
        super().__init__(learning_rate, betas, eps)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        b1, b2 = self.betas
        m = state["m"] * b1 + gradient * (1 - b1)
        v = mx.maximum(state["v"] * b2, mx.abs(gradient))
        state["m"], state["v"] = m, v
        return parameter - self._rate_for(gradient) * m / (v + self.eps)


class Lion(Optimizer):
    """Steps by the sign of a running mean (Chen et al., 2023)::

        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        w = w * (1 - learning_rate * weight_decay) - learning_rate * sign(c)

    Good learning rates are 3 to 10 times less than for Adam, and weight decays so much greater.

    Args:
        learning_rate: the learning rate or a schedule.
        betas: ``beta1`` and ``beta2``.
        weight_decay: see above; one that is not above 0 does nothing.

    Raises:
        ValueError: a beta is not from 0 to less than 1.

    Examples:
        >>> optimizer = optim.Lion(learning_rate=0.001)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.999, 2.001]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.99],  # noqa: B006
        weight_decay: float = 0.0,
    ):
        super().__init__()
        check_betas("Lion", betas)
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = betas
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["m"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        b1, b2 = self.betas
        c = state["m"] * b1 + gradient * (1 - b1)
        state["m"] = state["m"] * b2 + gradient * (1 - b2)
        if self.weight_decay > 0:
            parameter = parameter * (1 - rate * self.weight_decay)
        return parameter - rate * mx.sign(c)
