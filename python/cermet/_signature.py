"""What ``inspect.signature`` says of the core: read from what nanobind writes of functions."""

import ast
import inspect
import re
from collections.abc import Iterator
from typing import Any


def of(function: Any) -> inspect.Signature:
    """The signature of a function or method of the core, of an overloaded one that of the first."""
    return overloads(function)[0]


def overloads(function: Any) -> list[inspect.Signature]:
    """The signatures of a function or method of the core."""
    is_bound = hasattr(function, "__self__")
    return [_read(text, values, is_bound) for text, _, values in function.__nb_signature__]


def _read(text: str, defaults: tuple | None, is_bound: bool) -> inspect.Signature:
    # Defaults that have no literal stand in the text as numbers after a backslash.
    tree = ast.parse(re.sub(r"\\(\d+)", r"_\1", text) + ": ...").body[0]
    assert isinstance(tree, ast.FunctionDef)
    names = {f"_{i}": value for i, value in enumerate(defaults or ())}
    parameters = list(_parameters(tree.args, names))
    if is_bound:
        del parameters[0]
    returns = ast.unparse(tree.returns) if tree.returns else inspect.Signature.empty
    return inspect.Signature(parameters, return_annotation=returns)


def _parameters(args: ast.arguments, names: dict[str, Any]) -> Iterator[inspect.Parameter]:
    def parameter(arg: ast.arg, kind: Any, default: ast.expr | None = None) -> inspect.Parameter:
        empty = inspect.Parameter.empty
        annotation = ast.unparse(arg.annotation) if arg.annotation else empty
        value = empty if default is None else _value(default, names)
        return inspect.Parameter(arg.arg, kind, default=value, annotation=annotation)

    kinds = inspect._ParameterKind
    positional = [(arg, kinds.POSITIONAL_ONLY) for arg in args.posonlyargs]
    positional += [(arg, kinds.POSITIONAL_OR_KEYWORD) for arg in args.args]
    without = len(positional) - len(args.defaults)
    defaults: list[ast.expr | None] = [*[None] * without, *args.defaults]
    for (arg, kind), default in zip(positional, defaults, strict=True):
        yield parameter(arg, kind, default)
    if args.vararg:
        yield parameter(args.vararg, kinds.VAR_POSITIONAL)
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield parameter(arg, kinds.KEYWORD_ONLY, default)
    if args.kwarg:
        yield parameter(args.kwarg, kinds.VAR_KEYWORD)


def _value(default: ast.expr, names: dict[str, Any]) -> Any:
    from . import core

    return eval(compile(ast.Expression(default), "<default>", "eval"), vars(core) | names)
