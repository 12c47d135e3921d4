"""Muon, for parameters that are matrices."""

from __future__ import annotations

import math

import cermet.core as mx
from cermet.optimizers.base import Optimizer, Rate

__all__ = ["Muon"]


class Muon(Optimizer):
    """Momentum whose matrices are made orthogonal (Jordan et al., 2024).

    Args:
        learning_rate: the learning rate or a schedule.
        momentum: the rate of the running mean of the gradient.
        weight_decay: this times ``w`` is added to the gradient.
        nesterov: whether to look one step ahead.
        ns_steps: how many Newton-Schulz iterations make a matrix orthogonal.

    Arrays of more than two dimensions are matrices of the first and all other dimensions; those
    with fewer get plain momentum, and are better left to another optimizer.

    Examples:
        >>> optimizer = optim.Muon(learning_rate=0.01)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9949, 2.0048]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def _orthogonal(self, x: mx.array) -> mx.array:
        """Nearly the orthogonal factor of ``x``: all singular values come near to 1."""
        tall = x.shape[0] > x.shape[1]
        x = x.T if tall else x
        x = x / (mx.linalg.norm(x) + 1e-7)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return x.T if tall else x

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        if self.weight_decay != 0:
            gradient = gradient + parameter * self.weight_decay
        v = state["v"] * self.momentum + gradient * (1 - self.momentum)
        state["v"] = v
        update = v * self.momentum + gradient * (1 - self.momentum) if self.nesterov else v
        if update.ndim >= 2:
            matrix = self._orthogonal(update.reshape(update.shape[0], -1))
            rows, cols = matrix.shape
            update = matrix.reshape(update.shape)
            rate = rate * math.sqrt(max(1, rows / cols))
        return parameter - rate * update
