"""What all optimizers share: their state, the learning rate, and several of them side by side.

An optimizer holds a state: its step and learning rate, and for each parameter a dict of arrays, in
a tree like that of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cermet.core as mx
from cermet.nn.base import Module
from cermet.utils import tree_flatten, tree_map, tree_map_with_path, tree_merge

__all__ = ["MultiOptimizer", "Optimizer"]

Rate = float | Callable[[mx.array], mx.array]
"""A learning rate, or a schedule: a function from the number of steps done to one."""


class Optimizer:
    """Base class. A subclass defines :meth:`init_single` and :meth:`apply_single`."""

    def __init__(self, schedulers: dict[str, Callable[[mx.array], mx.array]] | None = None):
        self._initialized = False
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
        self._initialized = True

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

        Raises:
            KeyError, IndexError: there is a gradient where there is no parameter.
            KindError: a gradient is no array, or a container where the parameter is an array.
            ValueError: a gradient does not fit the shape of its parameter.
                All of them name the path; before the first three nothing has changed.
        """
        check_places(type(self).__name__, gradients, parameters)
        self.init(gradients)
        for name, schedule in self._schedulers.items():
            self._state[name] = mx.array(schedule(self.step))
        self._state["step"] = self.step + 1
        try:
            return tree_map(self._apply_if_trained, gradients, parameters, self._state)
        except ValueError as error:
            if misfit := _misfit(gradients, parameters):
                raise ValueError(f"{type(self).__name__}: {misfit}") from error
            raise

    def _apply_if_trained(self, gradient: mx.array, parameter: mx.array, state: dict) -> mx.array:
        """:meth:`apply_single`, but integers with gradients of integers stay as they are."""
        if mx.issubdtype(gradient.dtype, mx.inexact) or mx.issubdtype(parameter.dtype, mx.inexact):
            return self.apply_single(gradient, parameter, state)
        return parameter

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

    def _maybe_schedule(self, name: str, param: Rate) -> None:
        """For subclasses: a setting in the state; a schedule gives it anew before each update."""
        if callable(param):
            self._schedulers[name] = param
        self._state[name] = mx.array(param(self.step) if callable(param) else param)

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
        check_places(type(self).__name__, gradients, parameters)
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


def check_places(name: str, gradients: Any, parameters: Any, path: tuple = ()) -> None:
    """Raises an error of the optimizer ``name`` where gradients have no parameter beside them."""

    def at(*further: Any) -> str:
        return ".".join(map(str, (*path, *further))) or "the tree"

    if isinstance(gradients, dict):
        if gradients and not isinstance(parameters, dict):
            raise mx.KindError(f"{name}: the gradient of {at()} is a dict, {_kind(parameters)}")
        for key, gradient in gradients.items():
            if key not in parameters:
                there = ", ".join(map(str, parameters)) or "nothing"
                raise KeyError(f"{name}: a gradient of {at(key)}, where parameters have {there}")
            check_places(name, gradient, parameters[key], (*path, key))
    elif isinstance(gradients, (list, tuple)):
        if gradients and not isinstance(parameters, (list, tuple)):
            kind = type(gradients).__name__
            raise mx.KindError(f"{name}: the gradient of {at()} is a {kind}, {_kind(parameters)}")
        if len(gradients) > len(parameters):
            raise IndexError(
                f"{name}: {len(gradients)} gradients of {at()}, which has {len(parameters)} places"
            )
        for i, gradient in enumerate(gradients):
            check_places(name, gradient, parameters[i], (*path, i))
    elif not isinstance(gradients, mx.array):
        kind = type(gradients).__name__
        raise mx.KindError(f"{name}: the gradient of {at()} is of type {kind}, expected an array")
    elif isinstance(parameters, (dict, list, tuple)):
        raise mx.KindError(f"{name}: the gradient of {at()} is an array, {_kind(parameters)}")


def _kind(parameter: Any) -> str:
    return f"its parameter of type {type(parameter).__name__}"


def _misfit(gradients: Any, parameters: Any) -> str | None:
    """What to say of the first gradient that has another shape than its parameter."""
    there = tree_flatten(parameters, destination={})
    for path, gradient in tree_flatten(gradients):
        shape = getattr(there.get(path), "shape", gradient.shape)
        if gradient.shape != shape:
            return f"the gradient of {path} has shape {gradient.shape}, its parameter {shape}"
    return None


def check_betas(name: str, betas: Sequence[float]) -> None:
    """Raises ValueError where a decay of the optimizer ``name`` is outside [0, 1)."""
    if any(not 0 <= beta < 1 for beta in betas):
        raise ValueError(f"{name}: betas are {betas}, expected numbers in [0, 1)")


def check_positive(name: str, **values: float) -> None:
    """Raises ValueError where a setting of the optimizer ``name`` is negative."""
    for key, value in values.items():
        if not value >= 0:  # nan, too
            raise ValueError(f"{name}: {key} is {value}, expected at least 0")
