"""Steps along the gradient itself."""

from __future__ import annotations

import cermet.core as mx
from cermet.optimizers.base import Optimizer, Rate

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro, 1951), with momentum if asked for::

        v = momentum * v + (1 - max(dampening, 0)) * g
        w = w - learning_rate * v

    Args:
        learning_rate: the learning rate or a schedule.
        momentum: how much of the last step enters this one.
        weight_decay: this times ``w`` is added to ``g``.
        dampening: see above.
        nesterov: whether to step along ``g + momentum * v`` (Sutskever et al., 2013).

    Raises:
        ValueError: ``nesterov`` without momentum, or with dampening.

    Examples:
        >>> optimizer = optim.SGD(learning_rate=0.01, momentum=0.9)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.995, 2.005]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ):
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"SGD: nesterov with momentum {momentum} and dampening {dampening}, "
                "expected a positive momentum and no dampening"
            )
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        if self.weight_decay != 0:
            gradient = gradient + parameter * self.weight_decay
        if self.momentum <= 0:
            return parameter - rate * gradient
        damped = gradient * (1 - self.dampening) if self.dampening > 0 else gradient
        v = state["v"] * self.momentum + damped
        state["v"] = v
        return parameter - rate * (gradient + v * self.momentum if self.nesterov else v)
