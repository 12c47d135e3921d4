"""Optimizers: from parameters and their gradients to better parameters.

An optimizer holds a state: its step and learning rate, and for each parameter a dict of arrays, in
a tree like that of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module
from cermet.utils import tree_map, tree_map_with_path, tree_merge, tree_reduce

__all__ = [
    "SGD",
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
]

Rate = float | Callable[[mx.array], mx.array]
"""A learning rate, or a schedule: a function from the number of steps done to one."""


class Optimizer:
    """Base class. A subclass defines :meth:`init_single` and :meth:`apply_single`."""

    def __init__(self, schedulers: dict[str, Callable[[mx.array], mx.array]] | None = None):
        self._state: dict[str, Any] = {"step": mx.array(0, mx.uint64)}
        self._schedulers = dict(schedulers or {})

    def update(self, model: Module, gradients: dict) -> None:
        """Update the parameters of a model, in place."""
        model.update(self.apply_gradients(gradients, model))

    def init(self, parameters: dict) -> None:
        """Create what is missing in the state for a tree of parameters.

        The first update does this, too; a program that compiles its step needs it before.
        """
        _init_state(self._state, parameters, self.init_single)

    def init_single(self, parameter: mx.array, state: dict) -> None:
        """Put into ``state`` what one parameter needs."""
        raise NotImplementedError(f"{type(self).__name__} does not define init_single")

    def apply_gradients(self, gradients: dict, parameters: dict) -> dict:
        """New values of the parameters.

        Args:
            gradients: a tree of arrays.
            parameters: a tree, or module, with at least the keys of ``gradients``.

        Returns:
            A tree like ``gradients``.
        """
        self.init(gradients)
        for name, schedule in self._schedulers.items():
            self._state[name] = mx.array(schedule(self.step))
        self._state["step"] = self.step + 1
        return tree_map(self.apply_single, gradients, parameters, self._state)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """The new value of one parameter; changes its state."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply_single")

    @property
    def state(self) -> dict:
        """The state, a tree of arrays."""
        return self._state

    @state.setter
    def state(self, state: dict) -> None:
        self._state = state

    @property
    def step(self) -> mx.array:
        """How many updates were done."""
        return self._state["step"]

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate of the last update, or of the next one if there is no schedule."""
        return self._state["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        self._state["learning_rate"] = mx.array(learning_rate)

    def _set_rate(self, learning_rate: Rate) -> None:
        if callable(learning_rate):
            self._schedulers["learning_rate"] = learning_rate
            self.learning_rate = learning_rate(self.step)
        else:
            self.learning_rate = learning_rate

    def _rate_for(self, gradient: mx.array) -> mx.array:
        # In the dtype of the gradient, so that half precision parameters stay what they are.
        return self.learning_rate.astype(gradient.dtype)


def _init_state(state: Any, parameters: Any, init_single: Callable[[mx.array, dict], None]) -> Any:
    """``state`` with a dict for each array of the tree ``parameters``; fills only what is empty."""
    if isinstance(parameters, dict):
        state = {} if state is None else state
        for key, value in parameters.items():
            state[key] = _init_state(state.get(key), value, init_single)
    elif isinstance(parameters, (list, tuple)):
        state = list(state or [])
        state += [None] * (len(parameters) - len(state))
        for i, value in enumerate(parameters):
            state[i] = _init_state(state[i], value, init_single)
    elif not state:
        state = {}
        init_single(parameters, state)
    return state


class MultiOptimizer(Optimizer):
    """Several optimizers, each for its part of the parameters.

    Args:
        optimizers: at least one.
        filters: ``filter(path, gradient)`` for each optimizer but the last tells whether the
            parameter is its own. The first that accepts it has it, the last has the rest.

    Raises:
        ValueError: there is not one filter less than optimizers.
    """

    def __init__(
        self,
        optimizers: list[Optimizer],
        filters: list[Callable[[str, mx.array], bool]] = [],  # noqa: B006
    ):
        super().__init__()
        if len(filters) != len(optimizers) - 1:
            raise ValueError(
                f"MultiOptimizer: got {len(filters)} filters, "
                f"expected {len(optimizers) - 1} for {len(optimizers)} optimizers"
            )
        self.optimizers = optimizers
        self.filters = [*filters, lambda _path, _gradient: True]

    def _parts(self, tree: dict) -> list[dict]:
        """The tree once for each optimizer, with an empty dict for what is not its own."""
        owners = tree_map_with_path(
            lambda path, leaf: next(i for i, f in enumerate(self.filters) if f(path, leaf)), tree
        )
        return [
            tree_map(lambda owner, leaf, i=i: leaf if owner == i else {}, owners, tree)
            for i in range(len(self.optimizers))
        ]

    def init(self, parameters: dict) -> None:
        """Like :meth:`Optimizer.init`, for each optimizer's part."""
        for optimizer, part in zip(self.optimizers, self._parts(parameters), strict=True):
            optimizer.init(part)

    def apply_gradients(self, gradients: dict, parameters: dict) -> dict:
        """Like :meth:`Optimizer.apply_gradients`, for each optimizer's part."""
        updated: dict = {}
        for optimizer, part in zip(self.optimizers, self._parts(gradients), strict=True):
            updated = tree_merge(updated, optimizer.apply_gradients(part, parameters))
        return updated

    @property
    def state(self) -> dict:
        """``{"states": [the state of each optimizer]}``"""
        return {"states": [optimizer.state for optimizer in self.optimizers]}

    @state.setter
    def state(self, state: dict) -> None:
        for optimizer, part in zip(self.optimizers, state["states"], strict=True):
            optimizer.state = part

    @property
    def learning_rate(self) -> mx.array:
        """The learning rate of the first optimizer; setting it sets that of all."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: float | mx.array) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate


class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro, 1951), with momentum if asked for::

        v = momentum * v + (1 - dampening) * g
        w = w - learning_rate * v

    Args:
        learning_rate: the learning rate or a schedule.
        momentum: how much of the last step enters this one.
        weight_decay: this times ``w`` is added to ``g``.
        dampening: see above.
        nesterov: whether to step along ``g + momentum * v`` (Sutskever et al., 2013).

    Raises:
        ValueError: ``nesterov`` without momentum, or with dampening.
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
        self._set_rate(learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum <= 0:
            return parameter - rate * gradient
        v = self.momentum * state["v"] + (1 - self.dampening) * gradient
        state["v"] = v
        return parameter - rate * (gradient + self.momentum * v if self.nesterov else v)


class RMSprop(Optimizer):
    """Divides by the root of a running mean square (Hinton, 2012)::

    v = alpha * v + (1 - alpha) * g ** 2
    w = w - learning_rate * g / (sqrt(v) + eps)
    """

    def __init__(self, learning_rate: Rate, alpha: float = 0.99, eps: float = 1e-8):
        super().__init__()
        _check_positive("RMSprop", alpha=alpha, eps=eps)
        self._set_rate(learning_rate)
        self.alpha = alpha
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        state["v"] = v
        return parameter - self._rate_for(gradient) * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """Divides by the root of the sum of all squares (Duchi et al., 2011)::

    v = v + g ** 2
    w = w - learning_rate * g / (sqrt(v) + eps)
    """

    def __init__(self, learning_rate: Rate, eps: float = 1e-8):
        super().__init__()
        _check_positive("Adagrad", eps=eps)
        self._set_rate(learning_rate)
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
    """

    def __init__(self, learning_rate: Rate, rho: float = 0.9, eps: float = 1e-6):
        super().__init__()
        _check_positive("AdaDelta", rho=rho, eps=eps)
        self._set_rate(learning_rate)
        self.rho = rho
        self.eps = eps

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["v"] = mx.zeros_like(parameter)
        state["u"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        v = self.rho * state["v"] + (1 - self.rho) * mx.square(gradient)
        d = mx.sqrt(state["u"] + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["v"] = v
        state["u"] = self.rho * state["u"] + (1 - self.rho) * mx.square(d)
        return parameter - self._rate_for(gradient) * d


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
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
        bias_correction: bool = False,
    ):
        super().__init__()
        self._set_rate(learning_rate)
        self.betas = betas
        self.eps = eps
        self.bias_correction = bias_correction

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["m"] = mx.zeros_like(parameter)
        state["v"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
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
        weight_decay: before the step, ``w`` is multiplied by ``1 - learning_rate * weight_decay``.

    The other arguments are those of :class:`Adam`.
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
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.999],  # noqa: B006
        eps: float = 1e-8,
    ):
        _check_positive("Adamax", eps=eps)
        super().__init__(learning_rate, betas, eps)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = mx.maximum(b2 * state["v"], mx.abs(gradient))
        state["m"], state["v"] = m, v
        return parameter - self._rate_for(gradient) * m / (v + self.eps)


class Lion(Optimizer):
    """Steps by the sign of a running mean (Chen et al., 2023)::

        c = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        w = w * (1 - learning_rate * weight_decay) - learning_rate * sign(c)

    Good learning rates are 3 to 10 times less than for Adam, and weight decays so much greater.
    """

    def __init__(
        self,
        learning_rate: Rate,
        betas: list[float] = [0.9, 0.99],  # noqa: B006
        weight_decay: float = 0.0,
    ):
        super().__init__()
        self._set_rate(learning_rate)
        self.betas = betas
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict) -> None:
        state["m"] = mx.zeros_like(parameter)

    def apply_single(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        rate = self._rate_for(gradient)
        b1, b2 = self.betas
        c = b1 * state["m"] + (1 - b1) * gradient
        state["m"] = b2 * state["m"] + (1 - b2) * gradient
        if self.weight_decay != 0:
            parameter = parameter * (1 - rate * self.weight_decay)
        return parameter - rate * mx.sign(c)


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
            self._set_rate(learning_rate)
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
        return (scale * rate).astype(parameter.dtype)

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
            update = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * update
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter * (1 - self.weight_decay * step_size)
        return parameter - update


def _rms(x: mx.array) -> mx.array:
    return mx.sqrt(mx.mean(mx.square(x)))


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
        self._set_rate(learning_rate)
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
            gradient = gradient + self.weight_decay * parameter
        v = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = v
        update = self.momentum * v + (1 - self.momentum) * gradient if self.nesterov else v
        if update.ndim >= 2:
            matrix = self._orthogonal(update.reshape(update.shape[0], -1))
            rows, cols = matrix.shape
            update = matrix.reshape(update.shape)
            rate = rate * math.sqrt(max(1, rows / cols))
        return parameter - rate * update


def _check_positive(name: str, **values: float) -> None:
    for key, value in values.items():
        if value < 0:
            raise ValueError(f"{name}: {key} is {value}, expected at least 0")


def clip_grad_norm(grads: Any, max_norm: float) -> tuple[Any, mx.array]:
    """Scale gradients down so that their norm, over all arrays, is at most ``max_norm``.

    Returns:
        The tree of scaled gradients, and the norm before, in float32.
    """
    squares = tree_reduce(
        lambda total, g: total + mx.sum(mx.square(g.astype(mx.float32))), grads, mx.array(0.0)
    )
    norm = mx.sqrt(squares)
    scale = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: g * scale.astype(g.dtype), grads), norm
