"""Schedules: functions from the number of steps done to a learning rate.

An optimizer takes one in place of its learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cermet.core as mx

__all__ = [
    "cosine_decay",
    "exponential_decay",
    "join_schedules",
    "linear_schedule",
    "step_decay",
]

Schedule = Callable[[mx.array], mx.array]


# A schedule is a partial application of a function of this module, so that it can be pickled.


def exponential_decay(init: float, decay_rate: float) -> Schedule:
    """``init * decay_rate ** step``.

    Args:
        init: the rate of the first step.
        decay_rate: what each further step multiplies it by.

    Returns:
        The schedule.

    Examples:
        >>> schedule = optim.exponential_decay(0.1, 0.5)
        >>> [round(schedule(step), 3) for step in range(3)]
        [0.1, 0.05, 0.025]
    """
    return partial(_exponential, init, decay_rate)


def _exponential(init: float, decay_rate: float, step: mx.array) -> mx.array:
    return init * decay_rate**step


def step_decay(init: float, decay_rate: float, step_size: int) -> Schedule:
    """``init``, multiplied by ``decay_rate`` after every ``step_size`` steps.

    Args:
        init: the rate of the first steps.
        decay_rate: the factor.
        step_size: how many steps have one rate.

    Returns:
        The schedule.

    Raises:
        ValueError: ``step_size`` is less than 1.

    Examples:
        >>> schedule = optim.step_decay(0.1, 0.5, 10)
        >>> [schedule(step) for step in (0, 9, 10)]
        [0.1, 0.1, 0.05]
    """
    if step_size < 1:
        raise ValueError(f"step_decay: step_size is {step_size}, expected at least 1")
    return partial(_steps, init, decay_rate, step_size)


def _steps(init: float, decay_rate: float, step_size: int, step: mx.array) -> mx.array:
    return init * decay_rate ** (step // step_size)


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Schedule:
    """From ``init`` to ``end`` along half a wave in ``decay_steps`` steps (Loshchilov, 2016).

    Args:
        init: the rate of the first step.
        decay_steps: how many steps it takes.
        end: the rate from then on.

    Returns:
        The schedule.

    Raises:
        ValueError: ``decay_steps`` is less than 1.

    Examples:
        >>> schedule = optim.cosine_decay(0.1, 100)
        >>> [round(schedule(mx.array(step)).item(), 3) for step in (0, 50, 100)]
        [0.1, 0.05, 0.0]
    """
    if decay_steps < 1:
        raise ValueError(f"cosine_decay: decay_steps is {decay_steps}, expected at least 1")
    return partial(_cosine, init, decay_steps, end)


def _cosine(init: float, decay_steps: int, end: float, step: mx.array) -> mx.array:
    fraction = mx.minimum(step, decay_steps) / decay_steps
    return (1 + mx.cos(math.pi * fraction)) * (0.5 * (init - end)) + end


def linear_schedule(init: float, end: float, steps: int) -> Schedule:
    """From ``init`` to ``end`` along a line in ``steps`` steps.

    Args:
        init: the rate of the first step.
        end: the rate after ``steps`` steps, and from then on.
        steps: how many steps it takes.

    Returns:
        The schedule.

    Raises:
        ValueError: ``steps`` is less than 1.

    Examples:
        >>> schedule = optim.linear_schedule(0.0, 0.1, 10)
        >>> [round(schedule(mx.array(step)).item(), 3) for step in (0, 5, 20)]
        [0.0, 0.05, 0.1]
    """
    if steps < 1:
        raise ValueError(f"linear_schedule: steps is {steps}, expected at least 1")
    return partial(_line, init, end, steps)


def _line(init: float, end: float, steps: int, step: mx.array) -> mx.array:
    return (mx.minimum(step, steps) / steps) * (end - init) + init


def join_schedules(schedules: list[Schedule], boundaries: list[int]) -> Schedule:
    """Schedules one after the other, each of which counts from the step at which it begins.

    Args:
        schedules: at least one.
        boundaries: the steps at which the schedules after the first begin.

    Returns:
        The schedule of all.

    Raises:
        ValueError: there is no schedule, or not one boundary less than schedules.

    Examples:
        >>> rise = optim.linear_schedule(0.0, 0.1, 10)
        >>> schedule = optim.join_schedules([rise, optim.cosine_decay(0.1, 90)], [10])
        >>> [round(schedule(mx.array(step)).item(), 3) for step in (5, 10, 100)]
        [0.05, 0.1, 0.0]
    """
    if not schedules:
        raise ValueError("join_schedules: got no schedules, expected at least one")
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"join_schedules: got {len(boundaries)} boundaries, "
            f"expected {len(schedules) - 1} for {len(schedules)} schedules"
        )
    return partial(_joined, schedules, boundaries)


def _joined(schedules: list[Schedule], boundaries: list[int], step: mx.array) -> mx.array:
    value = schedules[0](step)
    for begin, following in zip(boundaries, schedules[1:], strict=True):
        value = mx.where(step < begin, value, following(step - begin))
    return value
