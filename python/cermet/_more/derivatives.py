"""Whole matrices of derivatives: jacobian and hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from .. import core as mx

__all__ = ["hessian", "jacobian"]

P = ParamSpec("P")


def jacobian(
    fun: Callable[P, Any], argnums: int | Sequence[int] = 0, *, forward: bool = False
) -> Callable[P, Any]:
    """A function that gives all derivatives of `fun`'s result by its arguments.

    Args:
        fun: a function that returns an array or a tuple or list of arrays.
        argnums: the arguments, arrays of floats, to take derivatives by.
        forward: by one pass for each element of the arguments instead of each of the result: the
            better way where the result is the larger one.

    Returns:
        A function of the same arguments. It gives an array in the shape of the result followed by
        that of the argument: a tuple of them for several arguments, and a list or tuple of those
        where `fun` returns one.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    call: Callable[..., Any] = fun

    def derivatives(*args: P.args, **kwargs: P.kwargs) -> Any:
        primals = _arguments("jacobian", numbers, args)
        structure: list[Any] = []

        def flat(*values: mx.array) -> list[mx.array]:
            given = list(args)
            for i, value in zip(numbers, values, strict=True):
                given[i] = value
            out = call(*given, **kwargs)
            structure.append(out if isinstance(out, (list, tuple)) else None)
            return list(out) if isinstance(out, (list, tuple)) else [out]

        rows = (_forward if forward else _reverse)(flat, primals)
        if isinstance(argnums, int):
            rows = [row[0] for row in rows]
        kind = structure[0]
        if kind is None:
            return rows[0]
        return type(kind)(*rows) if hasattr(kind, "_fields") else type(kind)(rows)

    return derivatives


def _arguments(name: str, numbers: Sequence[int], args: Sequence[Any]) -> list[mx.array]:
    """The arguments to take derivatives by."""
    for i in numbers:
        if not -len(args) <= i < len(args):
            raise ValueError(f"{name}: there is no argument {i} of {len(args)}")
        if not isinstance(args[i], mx.array):
            raise TypeError(f"{name}: argument {i} is no array")
        if not mx.issubdtype(args[i].dtype, mx.floating):
            raise ValueError(f"{name}: argument {i} is {args[i].dtype}, expected floats")
    if len({i % len(args) for i in numbers}) < len(numbers):
        raise ValueError(f"{name}: argnums {tuple(numbers)} name an argument twice")
    return [args[i] for i in numbers]


def _unit(a: mx.array) -> mx.array:
    return mx.eye(a.size, dtype=a.dtype).reshape(a.size, *a.shape)


def _reverse(flat: Callable[..., list[mx.array]], primals: list[mx.array]) -> list[tuple]:
    outputs = flat(*primals)
    rows = []
    for k, out in enumerate(outputs):

        def pulled(cotangent: mx.array, k: int = k) -> list[mx.array]:
            return mx.vjp(lambda *a: [flat(*a)[k]], primals, [cotangent])[1]

        if out.size == 0:
            rows.append(tuple(mx.zeros((*out.shape, *p.shape), p.dtype) for p in primals))
            continue
        found = mx.vmap(pulled)(_unit(out))
        rows.append(
            tuple(f.reshape(*out.shape, *p.shape) for f, p in zip(found, primals, strict=True))
        )
    return rows


def _forward(flat: Callable[..., list[mx.array]], primals: list[mx.array]) -> list[tuple]:
    columns = []
    for i, primal in enumerate(primals):

        def pushed(tangent: mx.array, i: int = i) -> list[mx.array]:
            tangents = [mx.zeros_like(p) for p in primals]
            tangents[i] = tangent
            return mx.jvp(flat, primals, tangents)[1]

        if primal.size == 0:
            outputs = flat(*primals)
            columns.append([mx.zeros((*out.shape, *primal.shape), out.dtype) for out in outputs])
            continue
        found = mx.vmap(pushed, out_axes=-1)(_unit(primal))
        columns.append([f.reshape(*f.shape[:-1], *primal.shape) for f in found])
    return [tuple(column) for column in zip(*columns, strict=True)]


def hessian(fun: Callable[P, mx.array], argnums: int | Sequence[int] = 0) -> Callable[P, Any]:
    """A function that gives all second derivatives of `fun`, whose result has no axes.

    It gives an array in the shape of the argument twice; for several arguments a tuple of tuples,
    the derivatives of each argument's gradient by each.
    """
    numbers = argnums if isinstance(argnums, int) else tuple(argnums)
    second = jacobian(mx.grad(fun, numbers), numbers, forward=True)

    def derivatives(*args: P.args, **kwargs: P.kwargs) -> Any:
        _arguments("hessian", (numbers,) if isinstance(numbers, int) else numbers, args)
        return second(*args, **kwargs)

    return derivatives
