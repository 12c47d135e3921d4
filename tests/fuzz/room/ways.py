"""The ways in which one program is evaluated, and the bytes that come of it.

A program is a list of steps, source text in which `n[i]` is the result of step i; the first ones
are its inputs. No step may depend on how or when others are evaluated.
"""

import hashlib
import zlib
from collections import namedtuple

import numpy as np

import cermet.core as mx

Forward = namedtuple("Pair", "a b")
Backward = namedtuple("Pair", "b a")


def digest(x):
    """Type, shape and a digest of the bytes of an array; a nan is a nan."""
    if x.dtype == mx.bfloat16:
        x = mx.where(mx.isnan(x), mx.array(float("nan"), mx.bfloat16), x)
        x = mx.contiguous(x).view(mx.uint16)
    values = np.array(x, order="C")
    if values.dtype.kind in "fc":
        values[np.isnan(values)] = np.nan
    return f"{x.dtype} {x.shape} {hashlib.sha256(values.tobytes()).hexdigest()[:16]}"


def normal(shape, seed, dtype="float32"):
    """An input of a program: the same numbers in every process."""
    values = np.random.default_rng(seed).standard_normal(shape) * 3
    if dtype == "bfloat16":
        return mx.array(values.astype(np.float32)).astype(mx.bfloat16)
    return mx.array(np.asarray(values).astype(dtype))


def updated(x, index, value):
    """A copy of `x` in which the elements at an index are replaced."""
    y = x + 0
    y[index] = value
    return y


class Program:
    """Steps as functions of the results before them."""

    def __init__(self, inputs, steps, outputs):
        self.inputs, self.outputs = inputs, outputs
        self.steps = [eval(f"lambda n: {step}", STEP_NAMES) for step in steps]

    def __call__(self, *inputs, after=lambda i, x: None):
        """The outputs; `after` is told each step's result."""
        n = list(inputs)
        for step in self.steps:
            n.append(step(n))
            after(len(n) - 1, n[-1])
        return [n[i] for i in self.outputs]


STEP_NAMES = {"mx": mx, "np": np, "updated": updated, "normal": normal}


def possible(inputs, others, steps):
    """The numbers of the steps that can be done with both sets of inputs; others are left out."""
    kept, values = [], [list(map(list, (inputs, others)))][0]
    for i, step in enumerate(steps):
        function = eval(f"lambda n: {step}", STEP_NAMES)
        try:
            made = [function(n) for n in values]
            mx.eval(made)
            good = all(isinstance(x, mx.array) and x.size < 1 << 19 for x in made)
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError, KeyError):
            good = False
        for n, x in zip(values, made if good else [None, None], strict=True):
            n.append(x)
        if good:
            kept.append(i)
    return kept


def whole(program):
    return program(*program.inputs)


def pieces(program):
    return program(*program.inputs, after=lambda i, x: mx.eval(x))


def some_pieces(program):
    return program(*program.inputs, after=lambda i, x: mx.eval(x) if i % 3 == 0 else None)


def asynchronous(program):
    return program(*program.inputs, after=lambda i, x: mx.async_eval(x))


def compiled(program):
    function = mx.compile(program)
    mx.eval(function(*program.inputs))
    return function(*program.inputs)


def shapeless(program, others):
    """Traced with other shapes before; a trace that can't serve these may be refused."""
    function = mx.compile(program, shapeless=True)
    try:
        mx.eval(function(*others))
        made = function(*program.inputs)
        mx.eval(made)
    except (ValueError, TypeError, IndexError, RuntimeError):
        return None
    return made


def with_threads(program, count):
    before = mx.get_num_threads()
    mx.set_num_threads(count)
    try:
        made = whole(program)
        mx.eval(made)
    finally:
        mx.set_num_threads(before)
    return made


def gradients(program, evaluating):
    """Derivatives of the outputs' sum, while the function evaluates its own steps or not."""

    def loss(*inputs):
        made = program(
            *inputs,
            after=(lambda i, x: mx.eval(x) if i % 2 else None) if evaluating else lambda i, x: None,
        )
        return sum(x.astype(mx.float32).sum() for x in made)

    try:
        return mx.grad(loss, list(range(len(program.inputs))))(*program.inputs)
    except (ValueError, TypeError):
        return None


def evaluated(made):
    return None if made is None else [digest(x) for x in made]


def ways(inputs, others, steps, outputs):
    """The digests of a program's outputs, by the way of evaluation."""
    program = Program(inputs, steps, outputs)
    reference = evaluated(whole(program))
    found = {"whole": reference}
    for way in (pieces, some_pieces, asynchronous, compiled):
        found[way.__name__] = evaluated(way(program))
    for count in (1, 2, 3, 4):
        found[f"{count} threads"] = evaluated(with_threads(program, count))
    found["shapeless"] = evaluated(shapeless(program, others)) or reference
    found["grad"] = evaluated(gradients(program, False))
    found["grad, evaluating"] = evaluated(gradients(program, True))
    return found


def leaves(tree, path=()):
    """(path, leaf) of a tree."""
    if isinstance(tree, dict):
        pairs = tree.items()
    elif isinstance(tree, (list, tuple)):
        names = getattr(tree, "_fields", range(len(tree)))
        pairs = zip(names, tree, strict=True)
    else:
        return [(path, tree)]
    return [
        found for key, part in pairs for found in leaves(part, (*path, (type(tree).__name__, key)))
    ]


def described(tree):
    """A sum of a tree's numbers and arrays, each with a weight that stands for its path."""
    total = mx.array(0.0)
    for path, leaf in leaves(tree):
        if isinstance(leaf, (mx.array, int, float)):
            total = total + mx.array(leaf).sum() * float(
                zlib.crc32(repr((path, type(leaf).__name__)).encode()) % 1009
            )
    return total


def structures(trees):
    """Two trees that a compiled function takes for the same, or None."""
    function = mx.compile(described)
    for i, tree in enumerate(trees):
        if function(tree).item() == described(tree).item():
            continue
        for before in trees[:i]:
            function = mx.compile(described)
            function(before)
            if function(tree).item() != described(tree).item():
                return f"{before} then {tree}"
        return f"{trees[: i + 1]}"
    return None
