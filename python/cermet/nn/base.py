"""Module, the base class of all layers and models.

A module is a dict of its parameters (arrays) and its children (modules), possibly nested in lists,
tuples and dicts. So a model is a tree like those of `cermet.utils`, and the transforms of
`cermet.core` take it as it is.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import cermet.core as mx
from cermet.nn.update import (
    MissingKeysError,
    ShapeMismatchError,
    StructureMismatchError,
    UnusedKeysError,
    UpdateError,
    VerifyUpdate,
    check_keys,
    replace,
)
from cermet.utils import tree_flatten, tree_unflatten

__all__ = [
    "MissingKeysError",
    "Module",
    "ModuleInfo",
    "ParameterInfo",
    "ShapeMismatchError",
    "StructureMismatchError",
    "UnaryLayer",
    "UnusedKeysError",
    "UpdateError",
    "VerifyUpdate",
]

Filter = Callable[["Module", str, Any], bool]
Place = tuple[Any, tuple]
"""A module, list or dict, and the key of a child; those of nested tuples follow it."""


_IN_THE_TREE = (mx.array, dict, list, tuple)


@runtime_checkable
class UnaryLayer(Protocol):
    """A layer or function that takes one array and returns one array."""

    def __call__(self, x: mx.array) -> mx.array: ...


class _Renamed:
    """An attribute that stands under another key in the module's tree."""

    def __init__(self, key: str | None = None):
        self.key = key or ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.key = self.key or name

    def __get__(self, module: Module | None, owner: type | None = None) -> Any:
        if module is None:
            return self
        for place in (module, module.__dict__):
            if self.key in place:
                return place[self.key]
        raise AttributeError(self.name)  # Module.__getattr__ writes the message

    def __set__(self, module: Module, value: Any) -> None:
        module._store(self.key, value)

    def __delete__(self, module: Module) -> None:
        module._discard(self.key, self.name)


class ModuleInfo(_Renamed):
    """A child module whose key in the tree differs from its attribute's name.

    Example::

        class Block(nn.Module):
            feed_fwd = nn.ModuleInfo(key="feed_forward")

            def __init__(self) -> None:
                super().__init__()
                self.feed_fwd = nn.Linear(4, 4)  # its weight is "feed_forward.weight"
    """


class ParameterInfo(_Renamed):
    """A parameter whose key in the tree differs from its attribute's name."""


class Module(dict):
    """Base class of layers and models.

    Arrays, modules, and lists, tuples and dicts of them, become part of the tree when they are
    assigned to an attribute. An array is a parameter unless its attribute begins with an
    underscore. A parameter is trainable until it is frozen.

    Example::

        class MLP(nn.Module):
            def __init__(self, dims: int, hidden: int):
                super().__init__()
                self.up = nn.Linear(dims, hidden)
                self.down = nn.Linear(hidden, dims)

            def __call__(self, x: mx.array) -> mx.array:
                return self.down(nn.relu(self.up(x)))
    """

    __call__: Callable

    def __init__(self) -> None:
        self._no_grad: set[str] = set()
        self._training = True

    @property
    def training(self) -> bool:
        """Whether the module is in training mode, which dropout and batch norm look at."""
        return self._training

    @property
    def state(self) -> Module:
        """All arrays of the module, parameters or not, as a tree: the module itself."""
        return self

    # Attributes

    def _store(self, key: str, value: Any) -> None:
        """Arrays and containers go to the tree, anything else is a plain attribute."""
        if isinstance(value, _IN_THE_TREE):
            self.__dict__.pop(key, None)
            self[key] = value
        else:
            self.pop(key, None)
            self.__dict__[key] = value

    def _discard(self, key: str, name: str) -> None:
        for place in (self, self.__dict__):
            if key in place:
                del place[key]
                return
        raise _no_attribute(self, name)

    def __getattr__(self, key: str) -> Any:
        if key in self:
            return self[key]
        if key in ("_no_grad", "_training"):  # of a subclass that calls no `Module.__init__`
            return self.__dict__.setdefault(key, set() if key == "_no_grad" else True)
        raise _no_attribute(self, key)

    def __setattr__(self, key: str, val: Any) -> None:
        if key.startswith("__") and key.endswith("__"):  # Python's own, such as __class__
            super().__setattr__(key, val)
            return
        # Properties and ModuleInfo set it themselves, but beside a property that cannot be set the
        # tree may hold a parameter or child of its name.
        own = getattr(type(self), key, None)
        kept = isinstance(own, property) and own.fset is None and isinstance(val, _IN_THE_TREE)
        if hasattr(own, "__set__") and not kept:
            super().__setattr__(key, val)
        else:
            self._store(key, val)

    def __delattr__(self, name: str) -> None:
        own = getattr(type(self), name, None)
        kept = isinstance(own, property) and own.fdel is None and name in self
        if hasattr(own, "__delete__") and not kept:
            super().__delattr__(name)
        else:
            self._discard(name, name)

    def __dir__(self) -> list[str]:
        """Its attributes with parameters and children, so that they are completed when typed."""
        return sorted({*super().__dir__(), *(key for key in self if key.isidentifier())})

    def _extra_repr(self) -> str:
        """What stands in the parentheses when the module is printed."""
        return ""

    def __repr__(self) -> str:
        children = tree_flatten(self.children(), is_leaf=self.is_module)
        lines = [textwrap.indent(f"({name}): {child!r}", "  ") for name, child in children]
        body = "".join(f"\n{line}" for line in lines) + ("\n" if lines else "")
        try:
            extra = self._extra_repr()
        except (IndexError, ValueError):  # of parameters whose shapes the layer does not have
            extra = ", ".join(f"{k}={v.shape}" for k, v in self.items() if isinstance(v, mx.array))
        return f"{type(self).__name__}({extra}{body})"

    def _repr_html_(self) -> str:
        """The table of :func:`summary`, for notebooks."""
        from cermet.nn.summaries import summary  # which imports modules

        return summary(self)._repr_html_()

    # Trees

    @staticmethod
    def is_module(value: Any) -> bool:
        """Whether ``value`` is a module."""
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module: Module, key: str, value: Any) -> bool:
        """The filter of :meth:`children`: modules and containers."""
        return _is_container(value)

    @staticmethod
    def valid_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """The filter of :meth:`parameters`: arrays and containers without leading underscore."""
        return not key.startswith("_") and (isinstance(value, mx.array) or _is_container(value))

    @staticmethod
    def trainable_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """The filter of :meth:`trainable_parameters`: parameters that are not frozen."""
        return Module.valid_parameter_filter(module, key, value) and key not in module._no_grad

    def filter_and_map(
        self,
        filter_fn: Filter,
        map_fn: Callable[[Any], Any] | None = None,
        is_leaf_fn: Filter | None = None,
    ) -> dict[str, Any]:
        """The tree of what passes a filter, mapped.

        Args:
            filter_fn: ``filter_fn(module, key, value)`` tells whether to keep a value. For what is
                nested in a list, tuple or dict, ``key`` is the dotted path from ``module``; if it
                does not pass, an empty dict keeps its place.
            map_fn: maps each leaf; by default leaves stay as they are.
            is_leaf_fn: ``is_leaf_fn(module, key, value)`` tells whether to map a value instead of
                descending into it; by default true for all but modules, dicts, lists and tuples.
        """
        map_fn, is_leaf_fn = map_fn or (lambda x: x), is_leaf_fn or _is_plain
        return _filtered(self, "", (self, ()), self, filter_fn, map_fn, is_leaf_fn)

    def parameters(self) -> dict[str, Any]:
        """The tree of all parameters."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self) -> dict[str, Any]:
        """The tree of the parameters that are not frozen."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def map_parameters(
        self, map_fn: Callable[[mx.array], Any], is_leaf: Filter | None = None
    ) -> dict[str, Any]:
        """The tree of ``map_fn(parameter)`` for all parameters; the module does not change.

        Args:
            is_leaf: as ``is_leaf_fn`` of :meth:`filter_and_map`.
        """
        return self.filter_and_map(self.valid_parameter_filter, map_fn, is_leaf)

    def children(self) -> dict[str, Any]:
        """The tree of the modules directly below this one."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda _module, _key, value: self.is_module(value)
        )

    def leaf_modules(self) -> dict[str, Any]:
        """The tree of the modules that have no modules below them."""

        def is_leaf(_module: Module, _key: str, value: Any) -> bool:
            return self.is_module(value) and not tree_flatten(
                value.children(), is_leaf=self.is_module
            )

        return self.filter_and_map(self.valid_child_filter, is_leaf_fn=is_leaf)

    def apply_to_modules(self, apply_fn: Callable[[str, Module], Any]) -> Module:
        """Call ``apply_fn(path, module)`` for this module and all below it.

        Returns:
            The module itself.
        """

        def visit(path: str, module: Module, above: tuple[Module, ...]) -> None:
            if any(module is one for one in above):
                raise RecursionError(
                    f"{type(self).__name__}: the module at '{path}' is one that it is in, "
                    "and modules form a tree"
                )
            apply_fn(path, module)
            prefix = f".{path}" if path else ""
            below = tree_flatten(module.children(), prefix, self.is_module)
            for child_path, child in reversed(below):
                visit(child_path, child, (*above, module))

        visit("", self, ())
        return self

    def named_modules(self) -> list[tuple[str, Module]]:
        """This module and all below it, with their dotted paths; its own path is empty."""
        found: list[tuple[str, Module]] = []
        self.apply_to_modules(lambda path, module: found.append((path, module)))
        return found

    def modules(self) -> list[Module]:
        """This module and all below it."""
        found: list[Module] = []
        self.apply_to_modules(lambda _, module: found.append(module))
        return found

    # Updates

    def update(  # type: ignore[override]  # of the tree, where dict has one of keys
        self, parameters: dict, strict: bool = True, verify: VerifyUpdate | None = None
    ) -> Module:
        """Replace parameters. Nothing changes if a check fails.

        Args:
            parameters: a tree of arrays with some or all of the module's keys.
            strict: whether a key that the module does not have is an error, or is ignored.
            verify: what to check; takes the place of ``strict``.

        Returns:
            The module itself.

        Raises:
            UpdateError: a subclass for each check, a ValueError that names the dotted paths.
        """
        return replace(self, parameters, mx.array, self.parameters, strict, verify)

    def update_modules(
        self, modules: dict, strict: bool = True, verify: VerifyUpdate | None = None
    ) -> Module:
        """Replace modules below this one. Nothing changes if a check fails.

        Args:
            modules: a tree of modules, as :meth:`children` or :meth:`leaf_modules` give it.
            strict: whether a key that the module does not have is an error, or is ignored.
            verify: what to check; takes the place of ``strict``. ``ALL_MODEL_KEYS_SET`` asks for
                all leaf modules; ``SHAPE_MISMATCH`` does not apply.

        Returns:
            The module itself.

        Raises:
            UpdateError: a subclass for each check, a ValueError that names the dotted paths.
        """
        return replace(self, modules, Module, self.leaf_modules, strict, verify)

    def apply(
        self, map_fn: Callable[[mx.array], mx.array], filter_fn: Filter | None = None
    ) -> Module:
        """Replace each parameter ``p`` (that passes ``filter_fn``) by ``map_fn(p)``.

        Returns:
            The module itself.
        """
        return self.update(self.filter_and_map(filter_fn or self.valid_parameter_filter, map_fn))

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Callable[[mx.Dtype], bool] | None = lambda x: mx.issubdtype(x, mx.floating),
    ) -> None:
        """Cast to ``dtype`` the parameters whose dtype the predicate accepts (None: all)."""
        self.apply(lambda x: x.astype(dtype) if predicate is None or predicate(x.dtype) else x)

    def load_weights(
        self, file_or_weights: str | os.PathLike | list[tuple[str, mx.array]], strict: bool = True
    ) -> Module:
        """Replace parameters by those of a file.

        Args:
            file_or_weights: an ``.npz`` or ``.safetensors`` file, or pairs of path and array.
            strict: whether the weights must be those of the module exactly, in keys and shapes;
                otherwise unknown keys are ignored, missing ones keep their value, and no shape is
                checked.

        Returns:
            The module itself.

        Raises:
            UpdateError: the weights do not fit and ``strict`` is true.
        """
        weights = file_or_weights
        if isinstance(weights, (str, os.PathLike)):
            loaded = mx.load(os.fspath(weights))
            if not isinstance(loaded, dict):
                raise ValueError(f"load_weights: '{weights}' holds one array, expected named ones")
            weights = list(loaded.items())
        verify = VerifyUpdate.ALL if strict else VerifyUpdate.NONE
        return self.update(tree_unflatten(weights) or {}, verify=verify)

    def save_weights(self, file: str | os.PathLike) -> None:
        """Save all parameters to ``file``, by its extension ``.npz`` or ``.safetensors``.

        Raises:
            ValueError: the extension is another one.
        """
        file = os.fsdecode(file)
        weights = tree_flatten(self.parameters(), destination={})
        if file.endswith(".npz"):
            mx._savez(file, weights)
        elif file.endswith(".safetensors"):
            mx.save_safetensors(file, weights)
        else:
            raise ValueError(f"save_weights: '{file}' ends neither in .npz nor in .safetensors")

    # Training

    def train(self, mode: bool = True) -> Module:
        """Set training mode here and below; ``mode=False`` is :meth:`eval`.

        Returns:
            The module itself.
        """

        def set_mode(_path: str, module: Module) -> None:
            module._set_training_mode(mode)

        return self.apply_to_modules(set_mode)

    def _set_training_mode(self, mode: bool) -> None:
        """What :meth:`train` does to this module alone."""
        self._training = mode

    def eval(self) -> Module:
        """Set evaluation mode, the opposite of :meth:`train`.

        Returns:
            The module itself.
        """
        return self.train(False)

    def freeze(
        self, *, recurse: bool = True, keys: str | list[str] | None = None, strict: bool = False
    ) -> Module:
        """Take parameters out of the trainable ones.

        Args:
            recurse: whether the modules below are frozen, too.
            keys: the keys to freeze, in every module; by default all parameters. One that no module
                has is a UserWarning.
            strict: whether a module without one of the ``keys`` is an error.

        Returns:
            The module itself.

        Raises:
            KeyError: a module lacks one of the keys and ``strict`` is true; nothing is frozen then.
        """
        if recurse:
            check_keys("freeze", self.named_modules(), keys, strict)
            return self.apply_to_modules(lambda _, m: m.freeze(recurse=False, keys=keys))
        if keys is None:
            self._no_grad.update(self._own_names())
        else:
            self._no_grad.update(self._validate_keys(keys, strict))
        return self

    def unfreeze(
        self, *, recurse: bool = True, keys: str | list[str] | None = None, strict: bool = False
    ) -> Module:
        """Make frozen parameters trainable again; arguments and errors are :meth:`freeze`'s."""
        if recurse:
            check_keys("unfreeze", self.named_modules(), keys, strict)
            return self.apply_to_modules(lambda _, m: m.unfreeze(recurse=False, keys=keys))
        if keys is None:
            self._no_grad.clear()
        else:
            self._no_grad.difference_update(self._validate_keys(keys, strict))
        return self

    def _validate_keys(self, keys: str | list[str], strict: bool) -> list[str]:
        if strict:
            check_keys("freeze", [("", self)], keys, strict)
        return [keys] if isinstance(keys, str) else keys

    def _own_names(self) -> list[str]:
        """The names of its own parameters; those in lists and dicts have dots."""
        own = self.filter_and_map(
            lambda m, k, v: not self.is_module(v) and self.valid_parameter_filter(m, k, v)
        )
        return [name for name, _ in tree_flatten(own)]


def _no_attribute(module: Module, name: str) -> AttributeError:
    return AttributeError(f"'{type(module).__name__}' object has no attribute '{name}'")


def _is_container(value: Any) -> bool:
    """Modules, dicts and lists, and tuples that hold arrays: (3, 3) is a setting, not a tree."""
    if isinstance(value, tuple):
        return any(isinstance(v, mx.array) or _is_container(v) for v in value)
    return isinstance(value, (dict, list))


def _is_plain(_module: Module, _key: str, value: Any) -> bool:
    return not isinstance(value, (dict, list, tuple))


def trainable_places(module: Module) -> tuple[dict[str, Any], list[Place]]:
    """The tree of the trainable parameters, and where each of them stands."""
    places: list[Place] = []
    filter_fn = module.trainable_parameter_filter
    tree = _filtered(module, "", (module, ()), module, filter_fn, lambda x: x, _is_plain, places)
    return tree, places


def _filtered(
    module: Module,
    path: str,
    place: Place,
    node: Any,
    filter_fn: Filter,
    map_fn: Callable[[Any], Any],
    is_leaf_fn: Filter,
    places: list[Place] | None = None,
) -> Any:
    """What `filter_and_map` makes of ``node``, which stands at ``path`` in ``module``.

    The places of leaves are added to ``places``; ``place`` is that of the node.
    """

    def visit(owner: Module, key: str, value: Any, place: Place) -> Any:
        if not is_leaf_fn(owner, key, value):
            return _filtered(owner, key, place, value, filter_fn, map_fn, is_leaf_fn, places)
        if places is not None:
            places.append(place)
        return map_fn(value)

    if isinstance(node, Module):
        return {
            k: visit(node, k, v, (node, (k,))) for k, v in node.items() if filter_fn(node, k, v)
        }

    def visit_nested(key: Any, value: Any) -> Any:
        name = f"{path}.{key}"
        if not filter_fn(module, name, value):
            return {}
        inner = (place[0], (*place[1], key)) if isinstance(node, tuple) else (node, (key,))
        return visit(module, name, value, inner)

    if isinstance(node, dict):
        return {k: visit_nested(k, v) for k, v in node.items()}
    if isinstance(node, list):
        return [visit_nested(i, v) for i, v in enumerate(node)]
    if isinstance(node, tuple):
        return tuple(visit_nested(i, v) for i, v in enumerate(node))
    raise TypeError(f"filter_and_map: '{path}' is no leaf, but a {type(node).__name__}")
