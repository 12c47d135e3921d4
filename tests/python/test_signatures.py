"""Every public name is there and takes what `signatures.txt` says, as ``inspect`` tells it."""

import ast
import inspect
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest

import cermet
import cermet.core as mx
import cermet.extension
import cermet.nn as nn
import cermet.optimizers
import cermet.utils
from cermet import _signature

# Names still to come. The test fails where one is there: take it out then.
MISSING: set[str] = set()
Kind = inspect._ParameterKind


class Entry(NamedTuple):
    """A line of the table."""

    name: str
    parameters: str | None  # in Python's syntax; None where there is nothing to call
    alias: str | None


def table() -> Iterator[Entry]:
    module = ""
    for line in Path(__file__).with_name("signatures.txt").read_text().splitlines():
        if line.startswith("["):
            module = line.strip("[]") + "."
        elif line and not line.startswith("#"):
            name, parenthesis, parameters = line.partition("(")
            name, _, alias = name.partition(" = ")
            yield Entry(
                module + name,
                parameters.removesuffix(")") if parenthesis else None,
                module + alias if alias else None,
            )


TABLE = list(table())


def is_missing(name: str) -> bool:
    return any(name == start or name.startswith(start + ".") for start in MISSING)


def parameters_of(text: str) -> list[tuple[str, object, str | None]]:
    """Name, kind and default of each, as `inspect` has them."""
    function = ast.parse(f"def f({text}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    args = function.args
    plain = [(arg.arg, Kind.POSITIONAL_ONLY) for arg in args.posonlyargs]
    plain += [(arg.arg, Kind.POSITIONAL_OR_KEYWORD) for arg in args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + [*map(ast.unparse, args.defaults)]
    found = [(*one, default) for one, default in zip(plain, defaults, strict=True)]
    if args.vararg:
        found.append((args.vararg.arg, Kind.VAR_POSITIONAL, None))
    for arg, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append((arg.arg, Kind.KEYWORD_ONLY, value and ast.unparse(value)))
    if args.kwarg:
        found.append((args.kwarg.arg, Kind.VAR_KEYWORD, None))
    return found


def same_default(default: object, expected: str) -> bool:
    if expected.startswith("lambda"):
        return callable(default)
    value = eval(expected, {**vars(mx), **vars(nn)})
    if isinstance(value, (list, tuple)):
        return isinstance(default, (list, tuple)) and tuple(value) == tuple(default)
    return type(value) in (type(default), int) and value == default


def misfit(signature: inspect.Signature, expected: str) -> str | None:
    """What a caller would miss who goes by the table."""
    given = {p.name: p for p in signature.parameters.values() if p.name != "self"}
    wanted = [one for one in parameters_of(expected) if one[0] != "self"]
    in_order = iter([*given.values()])
    for name, kind, default in wanted:
        if kind in (Kind.VAR_POSITIONAL, Kind.VAR_KEYWORD):
            parameter = next((p for p in given.values() if p.kind is kind), None)
        elif kind is Kind.POSITIONAL_ONLY:
            parameter = next(in_order, None)  # its own name does not matter
        elif kind is Kind.KEYWORD_ONLY:
            parameter = given.get(name)
        else:
            parameter = next(in_order, None)
            if parameter is None or parameter.name != name:
                return f"{name} is missing at its place"
        if parameter is None:
            return f"{name} is missing"
        if parameter.kind not in (kind, Kind.POSITIONAL_OR_KEYWORD):
            return f"{name} is {parameter.kind.name}"
        if default is not None and not same_default(parameter.default, default):
            return f"{name} is {parameter.default!r} by default"
        given.pop(parameter.name)
    more = [p.name for p in given.values() if p.default is inspect.Parameter.empty]
    return f"{more} must be given" if more else None


def signatures(thing: object) -> list[inspect.Signature]:
    target = thing
    if inspect.isclass(thing) and type(thing).__name__ == "nb_type":
        target = thing.__init__
    if hasattr(target, "__nb_signature__"):
        return _signature.overloads(target)
    return [inspect.signature(thing)]


@pytest.mark.parametrize("entry", TABLE, ids=lambda entry: entry.name)
def test_table(entry):
    if is_missing(entry.name):
        with pytest.raises(AttributeError):
            attrgetter(entry.name)(cermet)
        return
    thing = attrgetter(entry.name)(cermet)
    if entry.alias:
        assert signatures(thing) == signatures(attrgetter(entry.alias)(cermet))
    if entry.parameters is not None:
        found = [misfit(signature, entry.parameters) for signature in signatures(thing)]
        assert None in found, f"{found}, expected ({entry.parameters})"


def test_missing_names_are_in_the_table():
    assert all(any(is_missing(e.name) and e.name.startswith(m) for e in TABLE) for m in MISSING)


@pytest.mark.parametrize("module", [mx, mx.fast, mx.linalg, mx.random, mx.metal, mx.distributed])
def test_inspect_signature(module):
    functions = {name: f for name, f in vars(module).items() if type(f).__name__ == "nb_func"}
    assert functions
    for name, function in functions.items():
        assert isinstance(inspect.signature(function), inspect.Signature), name


def test_inspect_signature_of_methods():
    unbound = inspect.signature(mx.array.sum)
    bound = inspect.signature(mx.array(1).sum)
    assert [*unbound.parameters] == ["self", "axis", "keepdims", "stream"]
    assert [*bound.parameters] == ["axis", "keepdims", "stream"]
    assert bound.parameters["keepdims"].default is False
    assert bound.parameters["stream"].kind is Kind.KEYWORD_ONLY
    assert [*inspect.signature(mx.array).parameters] == ["val", "dtype"]
