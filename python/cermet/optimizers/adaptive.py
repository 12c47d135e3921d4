"""Optimizers with a rate of each element's own, from the squares of its gradients."""

from __future__ import annotations

import cermet.core as mx
from cermet.optimizers.base import Optimizer, Rate, check_positive

__all__ = ["AdaDelta", "Adafactor", "Adagrad", "RMSprop"]


class RMSprop(Optimizer):
    """Divides by the root of a running mean square (Hinton, 2012)::

        v = alpha * v + (1 - alpha) * g ** 2
        w = w - learning_rate * g / (sqrt(v) + eps)

    Args:
        learning_rate: the learning rate or a schedule.
        alpha: what the mean keeps of itself in a step.
        eps: see above.

    Raises:
        ValueError: ``alpha`` is negative, or ``eps`` not above 0.

    Examples:
        >>> optimizer = optim.RMSprop(learning_rate=0.01)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9, 2.1]], dtype=float32)
    """

    def __init__(self, learning_rate: Rate, alpha: float = 0.99, eps: float = 1e-8):
        super().__init__()
        check_positive("RMSprop", alpha=alpha)
        if not eps > 0:
            raise ValueError(f"RMSprop: eps is {eps}, expected more than 0")
        self._maybe_schedule("learning_rate", learning_rate)
        self.alpha = alpha
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        v = state["v"] * self.alpha + mx.square(gradient) * (1 - self.alpha)
        state["v"] = v
        return parameter - self._rate_for(gradient) * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """Divides by the root of the sum of all squares (Duchi et al., 2011)::

        v = v + g ** 2
        w = w - learning_rate * g / (sqrt(v) + eps)

    Args:
        learning_rate: the learning rate or a schedule.
        eps: see above.

    Raises:
        ValueError: ``eps`` is not above 0.

    Examples:
        >>> optimizer = optim.Adagrad(learning_rate=0.01)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.99, 2.01]], dtype=float32)
    """

    def __init__(self, learning_rate: Rate, eps: float = 1e-8):
        super().__init__()
        if not eps > 0:
            raise ValueError(f"Adagrad: eps is {eps}, expected more than 0")
        self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        v = state["v"] + mx.square(gradient)
        state["v"] = v
        return parameter - self._rate_for(gradient) * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(Optimizer):
    """Steps in proportion to the steps before (Zeiler, 2012)::

        v = rho * v + (1 - rho) * g ** 2
        d = sqrt(u + eps) / sqrt(v + eps) * g
        u = rho * u + (1 - rho) * d ** 2
        w = w - learning_rate * d

    Args:
        learning_rate: the learning rate or a schedule.
        rho: what the means keep of themselves in a step.
        eps: see above.

    Raises:
        ValueError: ``rho`` is negative, or ``eps`` not above 0.

    Examples:
        >>> optimizer = optim.AdaDelta(learning_rate=1.0)
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9968, 2.0032]], dtype=float32)
    """

    def __init__(self, learning_rate: Rate, rho: float = 0.9, eps: float = 1e-6):
        super().__init__()
        check_positive("AdaDelta", rho=rho)
        if not eps > 0:
            raise ValueError(f"AdaDelta: eps is {eps}, expected more than 0")
        self._maybe_schedule("learning_rate", learning_rate)
        self.rho = rho
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)
        state["u"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        v = state["v"] * self.rho + mx.square(gradient) * (1 - self.rho)
        d = mx.sqrt(state["u"] + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["v"] = v
        state["u"] = state["u"] * self.rho + mx.square(d) * (1 - self.rho)
        return parameter - self._rate_for(gradient) * d


class Adafactor(Optimizer):
    """Adam with little memory: keeps row and column means of the squares (Shazeer and Stern, 2018).

    Args:
        learning_rate: the learning rate or a schedule; may be None if ``relative_step``.
        eps: is added to squared gradients; the least root mean square of a parameter.
        clip_threshold: the greatest root mean square of an update.
        decay_rate: the mean of the squares forgets at the rate ``1 - step ** decay_rate``.
        beta_1: the rate of a running mean of the updates, or None for no such mean.
        weight_decay: this times the step size times ``w`` is subtracted from ``w``.
        scale_parameter: whether steps are in proportion to a parameter's root mean square.
        relative_step: whether the learning rate is ``min(1e-2, 1 / sqrt(step))``.
        warmup_init: whether the 1e-2 is ``1e-6 * step`` instead.

    Raises:
        ValueError: there is neither a learning rate nor ``relative_step``.

    Examples:
        >>> optimizer = optim.Adafactor()
        >>> parameters = {"w": mx.array([[1.0, 2.0]])}
        >>> gradients = {"w": mx.array([[0.5, -0.5]])}
        >>> optimizer.apply_gradients(gradients, parameters)["w"].round(4)
        array([[0.9842, 2.0158]], dtype=float32)
    """

    def __init__(
        self,
        learning_rate: Rate | None = None,
        eps: tuple[float, float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ):
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        elif not relative_step:
            raise ValueError("Adafactor: expected a learning_rate, or relative_step")
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: dict) -> None:
        shape, dtype = parameter.shape, parameter.dtype
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype)
            state["exp_avg_sq_col"] = mx.zeros((*shape[:-2], shape[-1]), dtype)
        else:
            state["exp_avg_sq"] = mx.zeros_like(parameter)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros_like(parameter)

    def _step_size(self, parameter: mx.array) -> mx.array:
        if self.relative_step:
            step = self.step.astype(mx.float32)
            rate = mx.minimum(1e-6 * step if self.warmup_init else 1e-2, mx.rsqrt(step))
        else:
            rate = self.learning_rate
        scale = mx.maximum(self.eps[1], _rms(parameter)) if self.scale_parameter else 1.0
        size = scale * rate
        return size.astype(parameter.dtype) if isinstance(parameter, mx.array) else size

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        step_size = self._step_size(parameter)
        keep = (1 - self.step.astype(mx.float32) ** self.decay_rate).astype(gradient.dtype)

        def running(name: str, value: mx.array) -> mx.array:
            state[name] = keep * state[name] + (1 - keep) * value
            return state[name]

        square = mx.square(gradient) + self.eps[0]
        if gradient.ndim >= 2:
            row = running("exp_avg_sq_row", mx.mean(square, axis=-1))
            col = running("exp_avg_sq_col", mx.mean(square, axis=-2))
            row = mx.rsqrt(row / mx.mean(row, axis=-1, keepdims=True))
            update = gradient * row[..., None] * mx.rsqrt(col)[..., None, :]
        else:
            update = gradient * mx.rsqrt(running("exp_avg_sq", square))
        update = step_size * update / mx.maximum(1.0, _rms(update) / self.clip_threshold)
        if self.beta_1 is not None:
            update = state["exp_avg"] * self.beta_1 + update * (1 - self.beta_1)
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter * (1 - self.weight_decay * step_size)
        return parameter - update


def _rms(x: mx.array) -> mx.array:
    return mx.sqrt(mx.mean(mx.square(x)))
