"""A table of a model's layers: what shapes they give, what they hold, what they compute.

A layer's multiply-adds are those of the products in the graph that its call builds, as `mx.explain`
tells them. So nothing is computed, and products that a layer writes itself count like others'. What
a layer returns is replaced by placeholders: the graph of the next one begins there.
"""

from __future__ import annotations

import html
import math
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cermet.core as mx
from cermet.nn.base import Module
from cermet.utils import tree_flatten, tree_map

__all__ = ["LayerSummary", "Summary", "summary"]

_LOCK = threading.Lock()  # the classes of the layers are changed while a model is called
_PRODUCTS = (
    "matmul|addmm|quantized_matmul|qqmm|gather_mm|gather_qmm|block_masked_mm|segmented_mm|convolution"
    "|scaled_dot_product_attention"
)
_PRODUCT = re.compile(rf"\b({_PRODUCTS}) ")
_ARRAY = re.compile(r"\b(?:bool|u?int\d+|b?float\d+|complex64)\(([\d, ]*)\)")


class LayerSummary(NamedTuple):
    """A module of a model. Its children have rows of their own, and count there."""

    path: str
    """Its dotted path; empty for the model itself."""
    kind: str
    """The name of its class."""
    shapes: list[tuple[int, ...]] | None
    """The shapes that its last call gave; None if it was not called."""
    calls: int
    """How often it was called."""
    parameters: int
    """The numbers that its parameters hold, packed ones unpacked."""
    trainable: int
    """Those of them that are not frozen."""
    nbytes: int
    """The bytes of its parameters."""
    multiply_adds: int
    """Multiplications with an addition in the products of all its calls."""
    same_as: str | None
    """The path under which the same module stands before; its parameters count there."""


class Summary:
    """What :func:`summary` returns: a table when it is printed or shown in a notebook.

    ``layers`` has the rows; ``parameters``, ``trainable``, ``frozen``, ``nbytes`` and
    ``multiply_adds`` are the totals.
    """

    def __init__(self, layers: Sequence[LayerSummary], was_called: bool):
        self.layers = list(layers)
        self._was_called = was_called
        self.parameters = sum(layer.parameters for layer in layers)
        self.trainable = sum(layer.trainable for layer in layers)
        self.frozen = self.parameters - self.trainable
        self.nbytes = sum(layer.nbytes for layer in layers)
        self.multiply_adds = sum(layer.multiply_adds for layer in layers)

    def _table(self) -> list[list[str]]:
        """The header and the rows; of what is not known there are no columns."""
        rows = [["Layer", "Kind", "Result", "Parameters", "Bytes", "Multiply-adds"]]
        for layer in self.layers:
            result = ", ".join(map(str, layer.shapes or ()))
            note = f" ({layer.calls} calls)" if layer.calls > 1 else ""
            held = _count(layer.parameters)
            if layer.same_as is not None:
                held = f"as {layer.same_as or 'the model'}"
            elif layer.trainable == 0 < layer.parameters:
                held += " frozen"
            elif layer.trainable < layer.parameters:
                held += f" ({layer.trainable:,} trainable)"
            counts = [held, _count(layer.nbytes), _count(layer.multiply_adds)]
            rows.append([layer.path or "(model)", layer.kind, result + note, *counts])
        return rows if self._was_called else [[*row[:2], *row[3:5]] for row in rows]

    def _totals(self) -> str:
        text = (
            f"{self.parameters:,} parameters ({self.trainable:,} trainable, {self.frozen:,} frozen)"
            f", {self.nbytes:,} bytes"
        )
        return text + (f", {self.multiply_adds:,} multiply-adds" if self._was_called else "")

    def __repr__(self) -> str:
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        words = len(widths) - (3 if self._was_called else 2)  # columns before those of numbers
        lines = [
            "  ".join(
                cell.ljust(width) if i < words else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, self._totals()])

    def _repr_html_(self) -> str:
        header, *rows = self._table()

        def line(cells: Sequence[str], tag: str) -> str:
            inner = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inner}</tr>"

        body = "".join(line(row, "td") for row in rows)
        return (
            f"<table><caption>{html.escape(self._totals())}</caption>"
            f"<thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
        )


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def summary(model: Module, *inputs: Any, **kwargs: Any) -> Summary:
    """A table of a model's layers: shapes, parameters, bytes, multiply-adds.

    The model is called on the inputs to learn the shapes, but nothing is computed, and what that
    changes in it (running means) and in the random state is put back. A layer sees zeros in place
    of what other layers give. Multiply-adds are those of matrix products, convolutions and
    attention, which is counted as if it had no mask.

    Args:
        model: any module.
        inputs, kwargs: what to call it with; without any it is not called, and shapes and
            multiply-adds are left out.

    Returns:
        A :class:`Summary`.

    Raises:
        TypeError: ``model`` is no module.

    Example::

        model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
        print(nn.summary(model, mx.zeros((64, 784))))
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model is a {type(model).__name__}, expected a module")
    model.named_modules()  # which are a tree, or this raises
    named = list(_named("", model))
    was_called = bool(inputs or kwargs)
    calls: dict[int, _Calls] = {id(module): _Calls() for _, module in named}
    if was_called:
        modules = [module for _, module in named]
        with _LOCK, _as_before(modules), _watched(modules, _watcher(calls)):
            model(*inputs, **kwargs)
    rows = []
    first: dict[int, str] = {}
    for path, module in named:
        kind, shared = type(module).__name__, first.get(id(module))
        if shared is None:
            first[id(module)] = path
            held, call = _held(module), calls[id(module)]
            rows.append(LayerSummary(path, kind, call.shapes, call.count, *held, call.adds, None))
        else:
            rows.append(LayerSummary(path, kind, None, 0, 0, 0, 0, 0, shared))
    return Summary(rows, was_called)


def _named(path: str, module: Module) -> Iterator[tuple[str, Module]]:
    """The module and all below it, in the order in which they were assigned."""
    yield path, module
    prefix = f".{path}" if path else ""
    for below, child in tree_flatten(module.children(), prefix, Module.is_module):
        if Module.is_module(child):
            yield from _named(below, child)


def _held(module: Module) -> tuple[int, int, int]:
    """How many numbers its own parameters hold, how many of them can be trained, their bytes."""
    numbers = trainable = nbytes = 0
    own = module.filter_and_map(
        lambda m, k, v: not Module.is_module(v) and Module.valid_parameter_filter(m, k, v)
    )
    for name, array in tree_flatten(own):
        packed = array.dtype == mx.uint32 and isinstance(getattr(module, "bits", None), int)
        count = array.size * 32 // module.bits if packed else array.size
        numbers += count
        trainable += 0 if name.split(".")[0] in module._no_grad else count
        nbytes += array.nbytes
    return numbers, trainable, nbytes


# Calling a model


@dataclass
class _Calls:
    """What is known of a module's calls."""

    count: int = 0
    shapes: list[tuple[int, ...]] | None = None
    adds: int = 0


@dataclass
class _Running:
    """A call under way: what the module gave to its children is a part of what it computes."""

    module: Module
    given: list[mx.array] = field(default_factory=list)


def _arrays(tree: Any) -> list[mx.array]:
    leaves = tree_flatten(tree, is_leaf=Module.is_module)
    return [leaf for _, leaf in leaves if isinstance(leaf, mx.array)]


def _placeholder(leaf: Any) -> Any:
    return mx.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, mx.array) else leaf


def _watcher(calls: dict[int, _Calls]) -> Callable[..., Any]:
    """What takes the place of a module's `__call__`, with that as its first argument."""
    running: list[_Running] = []

    def watch(call: Callable[..., Any], module: Module, *args: Any, **kwargs: Any) -> Any:
        known = calls.get(id(module))
        if known is None or any(one.module is module for one in running):  # as by super().__call__
            return call(module, *args, **kwargs)
        inputs = _arrays([args, kwargs])
        if running:
            running[-1].given += inputs
        running.append(_Running(module))
        try:
            result = call(module, *args, **kwargs)
        finally:
            inner = running.pop()
        outputs = _arrays(result)
        known.count += 1
        known.shapes = [array.shape for array in outputs]
        known.adds += _multiply_adds([*inputs, *inner.given, *outputs]) - _multiply_adds(inputs)
        return tree_map(_placeholder, result, is_leaf=Module.is_module)

    return watch


@contextmanager
def _watched(modules: Sequence[Module], watch: Callable[..., Any]) -> Iterator[None]:
    """Calls of the modules go through ``watch``."""

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda module, *args, **kwargs: watch(call, module, *args, **kwargs)

    classes = {type(module) for module in modules}
    own = {cls: vars(cls).get("__call__") for cls in classes}
    found = {
        cls: [vars(c)["__call__"] for c in cls.__mro__ if "__call__" in vars(c)] for cls in own
    }
    try:
        for cls, calls in found.items():
            if calls:
                type.__setattr__(cls, "__call__", watched(calls[0]))
        yield
    finally:
        for cls, call in own.items():
            if call is not None:
                type.__setattr__(cls, "__call__", call)
            elif found[cls]:
                type.__delattr__(cls, "__call__")


@contextmanager
def _as_before(modules: Sequence[Module]) -> Iterator[None]:
    """Puts back what the block changes of modules and of the random state."""
    before = [(module, dict(module), dict(vars(module))) for module in modules]
    key: Any = mx.random.state[0]
    try:
        yield
    finally:
        mx.random.state[0] = key
        for module, tree, attributes in before:
            dict.clear(module)
            dict.update(module, tree)
            vars(module).clear()
            vars(module).update(attributes)


# Counting


def _multiply_adds(arrays: Sequence[mx.array]) -> int:
    """Those of all products that have to be computed for the arrays."""
    return sum(map(_of_step, mx.explain(*arrays).splitlines())) if arrays else 0


def _of_step(line: str) -> int:
    if not line.startswith("step "):
        return 0
    _, *products = _PRODUCT.split(line)
    return sum(map(_of_product, products[::2], products[1::2]))


def _of_product(name: str, text: str) -> int:
    """The multiply-adds of a product, from what `mx.explain` says after its name."""
    shapes = [tuple(map(int, re.findall(r"\d+", shape))) for shape in _ARRAY.findall(text)]
    a, b = shapes[1:3] if name == "addmm" else shapes[:2]
    if name == "scaled_dot_product_attention":  # scores, and their product with the values
        return math.prod(a[:-1]) * b[-2] * (a[-1] + shapes[2][-1])
    if name in ("matmul", "addmm", "segmented_mm"):  # whose segments are parts of the inner axis
        return math.prod(a) * b[-1]
    domain = re.search(
        r"domain \(([\d, ]*)\)", text
    )  # of an epilogue, whose result is the product's
    result = math.prod(map(int, re.findall(r"\d+", domain[1])) if domain else shapes[-1])
    if name != "convolution":
        return result * a[-1]
    if re.search(r"input_dilation=\((?:1, )*1\)", text):
        return result * math.prod(b[1:])
    groups = re.search(r"groups=(\d+)", text)  # of a transposed one, which has zeros in between
    return math.prod(a) * math.prod(b[:-1]) // int(groups[1] if groups else 1)
