"""How a module takes new parameters, modules and keys: what fits where, and what is checked."""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import cermet.core as mx
from cermet.utils import tree_flatten

M = TypeVar("M", bound=dict)


class VerifyUpdate(enum.Flag):
    """What an update checks before it changes anything."""

    NONE = 0
    NO_UNUSED_KEYS = enum.auto()
    """Every key given exists in the module."""
    ALL_MODEL_KEYS_SET = enum.auto()
    """Every key of the module is given."""
    SHAPE_MISMATCH = enum.auto()
    """Every array given has the shape of the parameter that it replaces."""
    ALL = NO_UNUSED_KEYS | ALL_MODEL_KEYS_SET | SHAPE_MISMATCH


class UpdateError(ValueError):
    """Parameters or modules that do not fit the module; ``keys`` are their dotted paths."""

    def __init__(self, module: dict, problem: str, keys: Iterable[str], details: str = ""):
        self.keys = list(keys)
        super().__init__(f"{type(module).__name__}: {problem}: {details or ', '.join(self.keys)}")


class UnusedKeysError(UpdateError):
    """Keys were given that the module does not have."""


class MissingKeysError(UpdateError):
    """Keys of the module were not given."""


class ShapeMismatchError(UpdateError):
    """Arrays were given whose shape is not that of the parameter."""


class StructureMismatchError(UpdateError):
    """A value was given whose kind (array, module, dict, list) is not what the module has."""


def replace(
    module: M,
    tree: dict,
    kind: type,
    all_leaves: Callable[[], dict],
    strict: bool,
    verify: VerifyUpdate | None,
) -> M:
    """Replace leaves of one kind, arrays or modules, by those of a tree; see `Module.update`.

    ``all_leaves`` makes the tree of all leaves that the module has.
    """
    if verify is None:
        verify = VerifyUpdate.NO_UNUSED_KEYS if strict else VerifyUpdate.NONE
    match = _Match(kind)
    match.walk(module, tree, ())
    if VerifyUpdate.NO_UNUSED_KEYS in verify:
        if match.unused:
            what = "parameters" if kind is mx.array else "modules"
            problem = f"Received {len(match.unused)} {what} not in model"
            raise UnusedKeysError(module, problem, match.unused)
        if match.misfits:
            details = "; ".join(f"{path} {what}" for path, what in match.misfits.items())
            raise StructureMismatchError(module, "wrong kind of value", match.misfits, details)
    if VerifyUpdate.ALL_MODEL_KEYS_SET in verify:
        given = {_dotted(path) for path, _, _ in match.pairs}
        names = [name for name, _ in tree_flatten(all_leaves(), is_leaf=_is_a(kind))]
        if missing := [name for name in names if not _covered(name, given)]:
            what = "parameters" if kind is mx.array else "modules"
            raise MissingKeysError(module, f"Missing {len(missing)} {what}", missing)
    if VerifyUpdate.SHAPE_MISMATCH in verify and kind is mx.array:
        wrong = {_dotted(p): (old, new) for p, old, new in match.pairs if old.shape != new.shape}
        if wrong:
            details = "; ".join(
                f"Expected shape {old.shape} but received shape {new.shape} for parameter {path}"
                for path, (old, new) in wrong.items()
            )
            raise ShapeMismatchError(module, "wrong shape", wrong, details)
    for path, _, value in match.pairs:
        assign(module, path, value)
    return module


def check_keys(
    name: str, modules: list[tuple[str, Any]], keys: str | list[str] | None, strict: bool
) -> None:
    """Tells of keys that a module lacks if it is strict, else of those that no module has.

    ``modules`` come with their paths, the outermost first.
    """
    if keys is None:
        return
    keys = [keys] if isinstance(keys, str) else keys
    kind = type(modules[0][1]).__name__
    if not strict:
        names = {key: None for _, module in modules for key in module._own_names()}
        there = {*names, *(key for _, module in modules for key in module)}
        if missing := [key for key in keys if key not in there]:
            warnings.warn(
                f"{name}: no module of {kind} has a key {', '.join(missing)}; "
                f"their parameters are {', '.join(names) or 'none'}",
                stacklevel=3,
            )
        return
    for path, module in modules:
        if missing := [key for key in keys if key not in module]:
            where = f"{path} ({type(module).__name__})" if path else kind
            has = ", ".join(module) or "none at all"
            raise KeyError(f"{name}: {where} has no key {', '.join(missing)}, but {has}")


def _is_a(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


class _Match:
    """Pairs the leaves of a tree with their places in a module."""

    def __init__(self, kind: type):
        self.kind = kind
        self.pairs: list[tuple[tuple, Any, Any]] = []  # path, old value, new value
        self.unused: list[str] = []
        self.misfits: dict[str, str] = {}

    def walk(self, old: Any, new: Any, path: tuple) -> None:
        if path and isinstance(old, self.kind) and isinstance(new, self.kind):
            self.pairs.append((path, old, new))
        elif isinstance(old, dict) and isinstance(new, dict):
            self._walk_children(old, new.items(), path)
        elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)):
            self._walk_children(dict(enumerate(old)), enumerate(new), path)
        elif not _is_empty(new):
            expected = self.kind if isinstance(old, self.kind) else type(old)
            self.misfits[_dotted(path) or "the tree"] = (
                f"is of type {type(new).__name__}, expected {expected.__name__}"
            )

    def _walk_children(self, old: dict, new: Iterable[tuple[Any, Any]], path: tuple) -> None:
        for key, value in new:
            child = (*path, key)
            if key in old:
                self.walk(old[key], value, child)
            else:
                leaves = tree_flatten(value, f".{_dotted(child)}", _is_a(self.kind))
                self.unused += [name for name, _ in leaves] or [_dotted(child)]


def _is_empty(value: Any) -> bool:
    """Whether the value is a container that keeps a place and says nothing about it."""
    return type(value) in (dict, list, tuple) and not value


def _dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def _covered(name: str, given: set[str]) -> bool:
    """Whether the name or a prefix of it, a module around it, was given."""
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in given for i in range(len(parts)))


def assign(node: Any, path: tuple, value: Any) -> Any:
    """``node`` with ``value`` at ``path``: changed in place, but for tuples, which are replaced."""
    key, *below = path
    child = assign(node[key], tuple(below), value) if below else value
    if isinstance(node, tuple):
        return (*node[:key], child, *node[key + 1 :])
    node[key] = child
    return node


def at(place: tuple[Any, tuple]) -> Any:
    """What stands at a place: a container and the keys from there on."""
    node, keys = place
    for key in keys:
        node = node[key]
    return node
