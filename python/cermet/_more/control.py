"""Control flow that is usable inside transforms: scan, cond, while_loop.

Where a condition has a value, it is asked for, as `item` does; in a trace, where it has none, both
sides are computed and the condition chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import core as mx
from ..utils import tree_flatten, tree_map

__all__ = ["cond", "scan", "while_loop"]


def _truth(condition: Any, name: str) -> bool | None:
    """Whether a condition holds, or None where a trace does not know it."""
    if not isinstance(condition, mx.array):
        return bool(condition)
    if condition.size != 1:
        raise ValueError(f"{name}: a condition of shape {condition.shape}, expected one element")
    try:
        return bool(condition.item())
    except ValueError:
        return None


def _chosen(name: str, condition: mx.array, yes: Any, no: Any) -> Any:
    """A tree whose leaves are those of either tree."""
    kinds = [
        [(path, getattr(leaf, "shape", ()), getattr(leaf, "dtype", None)) for path, leaf in leaves]
        for leaves in (tree_flatten(yes), tree_flatten(no))
    ]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"{name}: in a trace both sides give the same shapes and types; "
            f"these give {kinds[0]} and {kinds[1]}"
        )
    condition = condition.reshape(())
    return tree_map(lambda y, n: y if y is n else mx.where(condition, y, n), yes, no)


def cond(
    pred: bool | mx.array,
    true_fun: Callable[..., Any],
    false_fun: Callable[..., Any],
    *operands: Any,
) -> Any:
    """The result of `true_fun` where `pred` holds, else that of `false_fun`.

    One of them is called. In a trace that does not know `pred` (`vmap`, `compile`) both are, whose
    results then have the same structure, shapes and types; the derivative of the one not chosen is
    zero, unless it is infinite or nan.

    Args:
        pred: a bool or an array of one element.
        true_fun, false_fun: functions of the operands, whose results are trees of arrays.
        operands: what they are called with.
    """
    holds = _truth(pred, "cond")
    if holds is None:
        return _chosen("cond", pred, true_fun(*operands), false_fun(*operands))  # type: ignore[arg-type]
    return true_fun(*operands) if holds else false_fun(*operands)


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init: Any,
    *,
    max_steps: int | None = None,
) -> Any:
    """Calls `body_fun` on its own result, from `init` on, while `cond_fun` of it holds.

    Args:
        cond_fun: a function of the value that gives a bool or an array of one element.
        body_fun: a function of the value that gives the next one, a tree of the same structure.
        init: the first value, a tree of arrays.
        max_steps: how often `body_fun` is called at most. A trace that does not know the condition
            (`vmap`, `compile`) needs it: there `body_fun` is always called as often.

    Returns:
        The last value.
    """
    value, running, steps = init, None, 0
    while max_steps is None or steps < max_steps:
        condition = cond_fun(value)
        holds = _truth(condition, "while_loop")
        if holds is False:
            break
        if holds is None:
            if max_steps is None:
                raise ValueError(
                    "while_loop: the condition has no value in a trace; max_steps says how many "
                    "steps to take, of which those that do not count are left out by where"
                )
            condition = condition.reshape(())
            running = condition if running is None else running & condition
        after = body_fun(value)
        value = after if running is None else _chosen("while_loop", running, after, value)
        steps += 1
    return value


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Carries a value along the first axis of arrays.

    Args:
        f: a function of the carried value and of the slices of `xs` at one place, that gives the
            next value and a result.
        init: the first carried value, a tree of arrays.
        xs: a tree of arrays of one extent along their first axis; None with a `length`.
        length: the number of steps, by default that extent.
        reverse: begin at the end.

    Returns:
        The last carried value, and the results of all steps, stacked along a new first axis in the
        order of `xs`.
    """
    leaves = [leaf for _, leaf in tree_flatten(xs)] if xs is not None else []
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in leaves} | (
        set() if length is None else {length}
    )
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            f"scan: arrays of shapes {[leaf.shape for leaf in leaves]} and length {length}, "
            "expected one length"
        )
    (n,) = lengths
    carry, results = init, []
    steps = range(n)  # type: ignore[arg-type]
    for i in reversed(steps) if reverse else steps:
        pair = f(carry, None if xs is None else tree_map(lambda x, i=i: x[i], xs))
        several = isinstance(pair, (tuple, list))
        if not several or len(pair) != 2:
            gave = f"{len(pair)} values" if several else type(pair).__name__
            raise ValueError(f"scan: the function gave {gave}, expected the next one and a result")
        carry, result = pair
        results.append(result)
    if reverse:
        results.reverse()
    if not results or results[0] is None:
        return carry, None
    return carry, tree_map(lambda *parts: mx.stack(parts), results[0], *results[1:])
