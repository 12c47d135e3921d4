"""The names that programs may use: Cermet, NumPy, and objects made to be awkward."""

# ruff: noqa: F401 (names for the programs)

import array as arrays
import collections
import copy
import ctypes
import datetime
import decimal
import enum
import fractions
import functools
import io
import json
import math
import operator
import os
import pathlib
import pickle
import pprint
import reprlib
import tempfile
import threading
import traceback
import types

import numpy as np
from compare import (
    alone,
    compare,
    convolved,
    data,
    floored,
    foreign,
    law,
    logsumexp,
    updated_at,
    whole_and_parts,
    within,
)
from faulty import digest, faulted
from ways import Backward, Forward, normal, possible, structures, updated, ways

import cermet.core as mx
from cermet import nn, optimizers, utils

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

inf, nan = math.inf, math.nan
mx.random.seed(0)


def cyclic(kind):
    """A container of a kind that holds itself."""
    made = {} if kind is dict else []
    if kind is dict:
        made["a"] = made
    elif kind is tuple:
        made.append((made,))
        return made[0]
    else:
        made.append(made)
    return made


def deep(kind, depth=100_000, leaf=1.0):
    """A tower of containers."""
    for _ in range(depth):
        leaf = {"a": leaf} if kind is dict else kind((leaf,))
    return leaf


def shared(kind, depth=64, leaf=1.0):
    """A tower in which each container stands twice in the next: small, and endless to walk."""
    for _ in range(depth):
        leaf = {"a": leaf, "b": leaf} if kind is dict else kind((leaf, leaf))
    return leaf


def tower(wrap, depth=100_000, function=mx.sin):
    """A function in many layers of a transform."""
    for _ in range(depth):
        function = wrap(function)
    return function


def bare(kind):
    """An instance of a subclass whose `__init__` does nothing, or else of the class itself."""
    try:
        made = type("Bare", (kind,), {"__init__": lambda self, *_, **__: None})
    except TypeError:
        return kind.__new__(kind)
    return made.__new__(made)


def answering(base, method, answer):
    """An instance whose special method gives an unexpected answer, or raises it."""

    def respond(self, *_, **__):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return type("Answering", (base,), {method: respond})()


class Emptying:
    """A number of a container that it empties when it is asked for its value."""

    def __init__(self, container):
        self.container = container

    def _value(self):
        self.container.clear()
        return 1

    __int__ = __index__ = __float__ = __bool__ = __len__ = item = __array__ = _value


def emptied(base=object, size=20):
    """A list whose elements, also instances of `base`, empty it while it is read."""
    made = []
    kind = type("Emptied", (Emptying, base), {"__new__": lambda cls, _: base.__new__(cls)})
    made.extend(kind(made) for _ in range(size))
    return made


def parent_and_child():
    """A module that holds its parent."""
    module = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    module.layers[0].parent = module
    return module


def closed(file):
    """A file that is closed."""
    file.close()
    return file


def file_of(content, suffix=""):
    """The path of a new file with these bytes."""
    descriptor, path = tempfile.mkstemp(suffix)
    os.write(descriptor, content)
    os.close(descriptor)
    return path


def saved(save, suffix, cut=None, change=()):
    """The path of a file that `save(path)` wrote, then cut short and with bytes changed."""
    path = os.path.join(tempfile.mkdtemp(), "file" + suffix)
    save(path)
    content = bytearray(pathlib.Path(path).read_bytes()[:cut])
    for place, byte in change:
        content[place % max(1, len(content))] = byte
    pathlib.Path(path).write_bytes(content)
    return path


def use(value):
    """Does with a result what programs do: evaluates, reads and shows it."""
    mx.eval(value)
    repr(value)
    if isinstance(value, mx.array):
        lists = value.shape[: value.shape.index(0)] if 0 in value.shape else value.shape
        many, endless = math.prod(lists) > 100_000, max(lists, default=0) >= 1 << 30
        if value.size < 100_000 and (not many or endless):
            value.tolist()
            np.array(value.astype(mx.float32) if value.dtype == mx.bfloat16 else value)
    elif isinstance(value, (list, tuple)) and len(value) < 100:
        for part in value:
            if isinstance(part, mx.array):
                use(part)


def sane():
    """Fails unless Cermet still does a sum."""
    values = mx.arange(5.0) * 2 + 1
    str(values)
    if values.tolist() != [1, 3, 5, 7, 9] or values.sum().item() != 25:
        raise Refusal("wrong sums after a call")


class Refusal(Exception):
    """What never raises did."""


def consumed(function, value):
    """Gives an array that can be used to what takes any object."""
    use(value)
    try:
        function(value)
    except MemoryError:
        pass
    except Exception as error:
        raise Refusal(f"{function.__name__}: {type(error).__name__}: {error}") from None


def described(error):
    """Type, text and place of an exception; its own `str` may raise."""
    try:
        text = str(error)
    except Exception:
        text = "<no text>"
    module = os.path.dirname(mx.__file__)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(module)]
    return {
        "type": type(error).__name__,
        "own": type(error).__module__.startswith(("cermet", "numpy", "pickle")),
        "text": text[:400].encode("ascii", "backslashreplace").decode(),
        "inside": f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "",
    }


def attempts(programs):
    """What each of some programs raised, or None."""
    answers = []
    for program in programs:
        try:
            exec(compile(program, "<program>", "exec"), dict(globals()))
            answers.append(None)
        except Exception as error:
            answers.append(described(error))
    return answers
