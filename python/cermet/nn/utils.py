"""Functions of modules: gradients with respect to parameters, and checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, ParamSpec, TypeVar, overload

import cermet.core as mx
from cermet.nn.base import Module, Place, trainable_places
from cermet.nn.update import VerifyUpdate, assign, at
from cermet.utils import tree_flatten, tree_map, tree_unflatten

__all__ = [
    "average_gradients",
    "checkpoint",
    "clip_grad_norm_sharded",
    "functional_call",
    "value_and_grad",
]

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def _lent(places: list[Place], values: list[mx.array], updates: bool) -> Iterator[None]:
    """Lets the values stand at the places: a transform's tracers must not stay in a module.

    Where ``updates``, what the code within put in their place stays.
    """
    before = [at(place) for place in places]
    for (owner, keys), value in zip(places, values, strict=True):
        assign(owner, keys, value)
    try:
        yield
    finally:
        for place, value, own in zip(places, values, before, strict=True):
            with suppress(LookupError, TypeError):  # the place is gone
                if not updates or at(place) is value:
                    assign(*place, own)


def value_and_grad(model: Module, fn: Callable[P, R]) -> Callable[P, tuple[R, dict[str, Any]]]:
    """The value of ``fn`` and its gradient with respect to the model's trainable parameters.

    Args:
        model: the module whose parameters ``fn`` uses.
        fn: returns a scalar, or a tuple or list whose first element is the scalar to differentiate.

    Returns:
        A function with the arguments of ``fn`` that returns its value and a tree of gradients,
        which are zeros for integers; optimizers leave those as they are.

    Example::

        def loss_fn(model, x, y):
            return nn.losses.mse_loss(model(x), y)

        loss, grads = nn.value_and_grad(model, loss_fn)(model, x, y)
        optimizer.update(model, grads)
    """

    @functools.wraps(fn)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> tuple[R, dict[str, Any]]:
        tree, every = trainable_places(model)
        # Integers, such as packed weights, stay where they are.
        places = [place for place in every if mx.issubdtype(at(place).dtype, mx.inexact)]

        def of_parameters(parameters: list[mx.array], *args: Any, **kwargs: Any) -> Any:
            with _lent(places, parameters, updates=True):
                return fn(*args, **kwargs)

        parameters = [at(place) for place in places]
        value, gradients = mx.value_and_grad(of_parameters)(parameters, *args, **kwargs)
        one_by_one = iter(gradients)

        def gradient(parameter: mx.array) -> mx.array:
            is_number = mx.issubdtype(parameter.dtype, mx.inexact)
            return next(one_by_one) if is_number else mx.zeros_like(parameter)

        return value, tree_map(gradient, tree)

    return wrapped


def functional_call(module: Module, parameters: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """What a module gives with other parameters, which it does not keep.

    A function of the parameters, as ``mx.grad``, ``mx.vmap`` and ``mx.jvp`` take it.

    Args:
        module: the module to call.
        parameters: a tree of arrays with some or all of its keys, or a flat dict of dotted paths.
        args, kwargs: what to call it with.

    Raises:
        UpdateError: a key that the module does not have, or another shape.

    Example::

        # The gradient for each sample, in the place of one for all.
        def loss(parameters, x, y):
            return nn.losses.mse_loss(nn.functional_call(model, parameters, x), y)

        gradients = mx.vmap(mx.grad(loss), (None, 0, 0))(model.parameters(), x, y)
    """
    if any("." in key for key in parameters):
        parameters = tree_unflatten(list(parameters.items()))
    before = module.parameters()
    verify = VerifyUpdate.NO_UNUSED_KEYS | VerifyUpdate.SHAPE_MISMATCH
    try:
        module.update(parameters, verify=verify)
        return module(*args, **kwargs)
    finally:
        module.update(before)


@overload
def checkpoint(module: Module) -> Callable[..., Any]: ...
@overload
def checkpoint(module: Module, fn: Callable[P, R]) -> Callable[P, R]: ...
@overload
def checkpoint(module: Module, fn: None) -> Callable[..., Any]: ...
def checkpoint(module: Module, fn: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """``fn`` that stores no intermediates, and computes them again for the gradient.

    Saves memory for time (Chen et al., 2016).

    Args:
        module: the module whose parameters ``fn`` uses.
        fn: by default the module itself.
    """
    fn = module if fn is None else fn

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        _, places = trainable_places(module)

        # It runs again for the gradient, so its updates of parameters do not stay.
        def of_parameters(parameters: list[mx.array], *args: Any, **kwargs: Any) -> Any:
            with _lent(places, parameters, updates=False):
                return fn(*args, **kwargs)

        parameters = [at(place) for place in places]
        return mx.checkpoint(of_parameters)(parameters, *args, **kwargs)

    return wrapped


def average_gradients(
    gradients: Any,
    group: Any = None,
    all_reduce_size: int = 32 * 1024**2,
    communication_stream: mx.Stream | None = None,
) -> Any:
    """Average gradients over the processes of a group.

    Args:
        gradients: a tree of arrays, alike in all processes.
        group: the processes; by default all. A group of one returns the gradients as they are.
        all_reduce_size: gradients are sent together until they have this many bytes; zero or less
            sends each alone.
        communication_stream: the stream for the communication.
    """
    group = group or mx.distributed.init()
    if group.size() == 1:
        return gradients

    def average(x: mx.array) -> mx.array:
        total = mx.distributed.all_sum(x, group=group, stream=communication_stream)
        return total / group.size()

    if all_reduce_size <= 0:
        return tree_map(average, gradients)

    batches: list[list[tuple[str, mx.array]]] = []
    room = 0
    for path, g in tree_flatten(gradients):
        if room <= 0 or g.dtype != batches[-1][-1][1].dtype:
            batches.append([])
            room = all_reduce_size
        batches[-1].append((path, g))
        room -= g.nbytes

    averages = []
    for batch in batches:
        ends = [0]
        for _, g in batch:
            ends.append(ends[-1] + g.size)
        flat = average(mx.concatenate([g.reshape(-1) for _, g in batch]))
        averages += [
            (path, flat[start:end].reshape(g.shape))
            for (path, g), start, end in zip(batch, ends, ends[1:], strict=False)
        ]
    return tree_unflatten(averages)


def check_group(name: str, group: mx.distributed.Group | None) -> mx.distributed.Group:
    """The group, or that of all processes, of which there is one; else the error of ``name``."""
    group = group or mx.distributed.init()
    if group.size() > 1:
        raise NotImplementedError(f"{name}: the group has {group.size()} processes, expected 1")
    return group


def clip_grad_norm_sharded(
    gradients: Any, max_norm: float, group: mx.distributed.Group | None = None
) -> tuple[Any, mx.array]:
    """Scale gradients of which each process has a part down, so that the norm of all parts is at
    most ``max_norm``.

    Args:
        gradients: a tree of arrays, this process's part; of one process that is all of them.
        max_norm: the limit.
        group: the processes; by default all. So far a group has one process.

    Returns:
        The tree of scaled gradients, and the norm before, in float32.
    """
    from cermet.optimizers.clip import clip_grad_norm  # which imports modules

    check_group("clip_grad_norm_sharded", group)
    return clip_grad_norm(gradients, max_norm)
