"""What follows a training: a rate that falls when a loss stops to, and means of parameters."""

from __future__ import annotations

import math
from typing import Any, Literal

import cermet.core as mx
from cermet.optimizers.base import Optimizer
from cermet.utils import tree_map

__all__ = ["ExponentialMovingAverage", "ReduceLROnPlateau"]


class ReduceLROnPlateau:
    """Multiplies an optimizer's learning rate by a factor when a metric stops getting better.

    Args:
        optimizer: whose learning rate is no schedule.
        mode: "min" if a smaller metric is better, "max" if a larger one is.
        factor: what the rate is multiplied by, less than 1.
        patience: how many steps in a row may be no better.
        threshold: by how much a better metric is better,
        threshold_mode: "rel": as a part of the best one; "abs": in its own measure.
        cooldown: how many steps after a reduction are not counted.
        min_lr: the least learning rate.
        eps: a smaller change of the rate is left out.

    Raises:
        ValueError: an argument is out of range, or the optimizer has a schedule.

    Example::

        schedule = optim.ReduceLROnPlateau(optimizer, patience=3)
        for epoch in range(epochs):
            train(model, optimizer)
            schedule.step(validation_loss(model))
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ):
        name = type(self).__name__
        if not 0 < factor < 1:
            raise ValueError(f"{name}: factor is {factor}, expected less than 1")
        if mode not in ("min", "max"):
            raise ValueError(f"{name}: mode is {mode!r}, expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"{name}: threshold_mode is {threshold_mode!r}, not 'rel' or 'abs'")
        if "learning_rate" in optimizer._schedulers:
            raise ValueError(f"{name}: the optimizer's learning rate is a schedule")
        self.optimizer = optimizer
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.min_lr, self.eps = cooldown, min_lr, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_steps = 0
        self.cooldown_left = 0

    def _is_better(self, metric: float) -> bool:
        if math.isinf(self.best):
            return not math.isnan(metric) and metric != self.best
        by = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1)
        return metric < self.best - by if self.mode == "min" else metric > self.best + by

    def step(self, metric: float | mx.array) -> bool:
        """Counts a metric, which is evaluated. Returns whether the rate was reduced."""
        metric = float(metric)
        if self._is_better(metric):
            self.best, self.num_bad_steps = metric, 0
        else:
            self.num_bad_steps += 1
        if self.cooldown_left > 0:
            self.cooldown_left -= 1
            self.num_bad_steps = 0
        if self.num_bad_steps <= self.patience:
            return False
        self.cooldown_left, self.num_bad_steps = self.cooldown, 0
        rate = float(self.optimizer.learning_rate)
        lower = max(rate * self.factor, self.min_lr)
        if rate - lower <= self.eps:
            return False
        self.optimizer.learning_rate = lower
        return True

    @property
    def state(self) -> dict[str, float]:
        """What :meth:`step` has counted."""
        names = ("best", "num_bad_steps", "cooldown_left")
        return {name: getattr(self, name) for name in names}

    @state.setter
    def state(self, state: dict[str, float]) -> None:
        for name in self.state:
            setattr(self, name, state[name])


class ExponentialMovingAverage:
    """Means of parameters in which earlier values count less and less.

    Args:
        parameters: a tree of arrays, or a module; what it holds now is the first mean. Arrays that
            are no floats are kept as they are now.
        decay: what the mean keeps of itself in a step, from 0 to less than 1.
        warmup: let the first steps keep less: ``min(decay, (1 + step) / (10 + step))``.

    Raises:
        ValueError: ``decay`` is out of range.

    Example::

        average = optim.ExponentialMovingAverage(model, decay=0.999)
        for batch in batches:
            step(model, batch)
            average.update(model)
        predictions = nn.functional_call(model, average.parameters, x)
    """

    def __init__(self, parameters: Any, decay: float = 0.999, warmup: bool = False):
        if not 0 <= decay < 1:
            raise ValueError(f"{type(self).__name__}: decay is {decay}, expected [0, 1)")
        self.decay, self.warmup = decay, warmup
        self.state: dict[str, Any] = {"step": mx.array(0), "mean": _tree(parameters)}

    @property
    def parameters(self) -> Any:
        """The tree of means."""
        return self.state["mean"]

    def update(self, parameters: Any) -> None:
        """Takes in the parameters as they are now."""
        step = self.state["step"]
        keep: Any = self.decay
        if self.warmup:
            keep = mx.minimum(self.decay, (1 + step) / (10 + step))

        def mean(old: mx.array, new: mx.array) -> mx.array:
            if not mx.issubdtype(old.dtype, mx.inexact):
                return new
            return new + mx.array(keep).astype(old.dtype) * (old - new)

        self.state["mean"] = tree_map(mean, self.state["mean"], _tree(parameters))
        self.state["step"] = step + 1


def _tree(parameters: Any) -> Any:
    return parameters.parameters() if hasattr(parameters, "parameters") else parameters
