"""Runs programs with one library, `mlx` or `cermet`, and gives plain descriptions of their results.

The process imports the library once, and forks for some programs together: what crashes or hangs
ends these alone. It reads a JSON list of programs a line and writes a pickled list of answers.
"""

import gc
import importlib
import io
import json
import math
import os
import pickle
import resource
import select
import sys
import time

import numpy as np

NAME = sys.argv[1] if __name__ == "__main__" else "cermet"
if NAME == "cermet":
    importlib.import_module("cermet.as_mlx")  # so that a program sees the same names
mx = importlib.import_module("mlx.core")
nn = importlib.import_module("mlx.nn")
optimizers = importlib.import_module("mlx.optimizers")
utils = importlib.import_module("mlx.utils")
upsample = importlib.import_module("mlx.nn.layers.upsample")
inf, nan = math.inf, math.nan
SECONDS, WORK = 60, 4  # that a program may take, and compute
MANY = 1 << 20  # elements of a result above which its values are not looked at
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-8, 1e4, inf, -inf, nan)


def data(dtype, shape, seed, kind):
    """A NumPy array of these numbers, wider than the type where NumPy lacks it."""
    random = np.random.default_rng(seed)
    wide = {"bfloat16": "float32", "bool_": "bool"}.get(dtype, dtype)
    if kind == "special":
        values = random.choice(np.array(SPECIAL), shape)
        if np.dtype(wide).kind in "biu":
            ends = (
                (0, 1, 0, 1) if dtype == "bool_" else (np.iinfo(wide).min, np.iinfo(wide).max, 0, 1)
            )
            return np.asarray(random.choice(np.array(ends, wide), shape))
    elif kind == "places":
        values = random.integers(-1, 2, shape)
    elif kind == "few":
        values = random.integers(0, 3, shape)
    elif kind == "zero":
        values = np.zeros(shape)
    elif kind == "positive":
        values = random.uniform(0.1, 3, shape) + (1 if np.dtype(wide).kind in "iu" else 0)
    elif kind == "unit":
        values = random.uniform(-0.9, 0.9, shape)
    elif kind == "definite" and len(shape) >= 2:
        values = random.standard_normal(shape)
        values = abs(values) if np.dtype(wide).kind in "bu" else values
        if shape[-1] == shape[-2]:
            values = values @ values.swapaxes(-1, -2) + 2 * np.eye(shape[-1])
    elif kind == "triangular" and len(shape) >= 2:
        values = np.tril(random.standard_normal(shape), -1) + 2 * np.eye(*shape[-2:])
    elif kind == "normal" and np.dtype(wide).kind not in "biu":
        values = random.standard_normal(shape)
        if dtype == "complex64":
            values = values + 1j * random.standard_normal(shape)
    else:
        values = random.integers(0 if np.dtype(wide).kind in "bu" else -4, 6, shape)
        values = values % 2 if dtype == "bool_" else values
    with np.errstate(all="ignore"):
        return np.asarray(values).astype(wide)


def arr(dtype, shape, seed=0, kind="small", layout=""):
    """An array of the library, laid out as asked for."""
    made, axes = np.array(data(dtype, shape, seed, kind), order="C"), range(len(shape))
    to = getattr(mx, dtype)
    if layout == "transposed":
        return mx.array(np.ascontiguousarray(made.T).reshape(shape[::-1])).astype(to).transpose()
    if layout == "sliced":
        padded = mx.array(np.pad(made, [(1, 2)] * made.ndim) if shape else made).astype(to)
        return padded[tuple(slice(1, 1 + shape[i]) for i in axes)] if shape else padded
    if layout == "reversed" and shape:
        return (
            mx.array(np.array(made[::-1], order="C", copy=True)).astype(to)[::-1]
            if made.size > 1
            else mx.array(made).astype(to)
        )
    if layout == "strided" and shape:
        return mx.array(np.repeat(made, 2, -1)).astype(to)[..., ::2]
    if layout == "broadcast" and shape and shape[0]:
        return mx.broadcast_to(mx.array(made[:1]).astype(to), shape)
    if layout == "lazy":
        return mx.where(mx.array(True), mx.array(made).astype(to), mx.array(made).astype(to))
    return mx.array(made).astype(to)


def shaped(value):
    """Shapes and types alone, of what has random values."""
    if isinstance(value, mx.array):
        mx.eval(value)
        return ("shaped", tuple(value.shape), str(value.dtype).split(".")[-1])
    if isinstance(value, (list, tuple)):
        return [shaped(part) for part in value]
    if isinstance(value, dict):
        return {key: shaped(part) for key, part in value.items()}
    return value


def filled(layer):
    """The layer with parameters that both libraries have."""

    def drawn(path, leaf):
        seed = sum(map(ord, path)) % 1000
        if mx.issubdtype(leaf.dtype, mx.floating):
            return (arr("float32", leaf.shape, seed, "normal") * 0.5).astype(leaf.dtype)
        return arr(str(leaf.dtype).split(".")[-1], leaf.shape, seed, "positive")

    layer.update(utils.tree_map_with_path(drawn, layer.parameters()))
    return layer


def called(layer, *given, **named):
    """What a layer holds at first and what it gives when filled, in evaluation and in training."""
    held = {k: shaped(v) for k, v in utils.tree_flatten(layer.parameters())}
    trained = sorted(k for k, _ in utils.tree_flatten(layer.trainable_parameters()))
    layer = filled(layer)
    return held, trained, layer(*given, **named), layer.eval()(*given, **named)


def optimized(optimizer, dtype="float32", shape=(3, 4), steps=3):
    """Parameters and state after some steps."""
    parameters = {"a": arr(dtype, shape, 1, "normal"), "b": [arr(dtype, shape[:1], 2, "normal")]}
    for step in range(steps):
        gradients = {
            "a": arr(dtype, shape, 3 + step, "normal"),
            "b": [arr(dtype, shape[:1], step, "normal")],
        }
        parameters = optimizer.apply_gradients(gradients, parameters)
    return parameters, dict(utils.tree_flatten(optimizer.state))


def scheduled(schedule):
    """What a learning rate is at some steps."""
    return [schedule(mx.array(step)) for step in (0, 1, 2, 7)]


def product(parts, how):
    """Of a factorization, what does not depend on signs and order."""
    if not isinstance(parts, (tuple, list)):
        return parts
    parts = list(parts)
    shapes = shaped(parts)
    if how == "qr":
        return shapes, parts[0] @ parts[1]
    if how == "svd":
        u, s, v = parts
        k = s.shape[-1]
        return shapes, s, (u[..., :k] * s[..., None, :]) @ v[..., :k, :]
    if how == "eigh":
        return (
            shapes,
            parts[0],
            (parts[1] * parts[0][..., None, :]) @ mx.swapaxes(mx.conj(parts[1]), -1, -2),
        )
    return shapes, ordered(parts[0])


def ordered(values):
    """Values of an array in an order of their own."""
    found = np.array(values)
    if found.dtype.kind == "c":
        found = found[..., None].view("float32").round(3) + 0.0
        return np.sort(found, -2)
    return np.sort(found, -1)


def picked(a, places, axis):
    """What stands at the places that a sort gave, whichever of equal ones they are."""
    if axis is None:
        return mx.take(a.flatten(), places), places.dtype == mx.uint32
    return mx.take_along_axis(a, places, axis), places.dtype == mx.uint32


def changed(a, index, value):
    """An array after an assignment."""
    a[index] = value
    return a


def inplace(a, name, other):
    """An array after an operation in place, and whether it is the same object."""
    before = a
    b = getattr(a, name)(other)
    return b, (b is before) if b is not NotImplemented else None


class Pair(tuple):
    """A tuple of a user."""


NAMES = {k: v for k, v in globals().items() if not k.startswith("_")}


def plain(value, depth=0):
    """A description of a result that another library's can be compared with."""
    if isinstance(value, mx.array):
        name = str(value.dtype).split(".")[-1]
        if value.size > MANY:
            return ("array", name, tuple(value.shape), None)
        if name == "bfloat16":
            value = value.astype(mx.float32)
        return ("array", name, tuple(value.shape), np.array(value))
    if isinstance(value, mx.Dtype):
        return ("dtype", str(value).split(".")[-1])
    if isinstance(value, np.ndarray) and value.dtype != object:
        return ("numpy", value.dtype.name, value.shape, np.array(value))
    if isinstance(value, np.ndarray):
        return ("objects", [plain(value.tolist(), depth)])
    if depth < 8 and isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(part, depth + 1) for part in value])
    if depth < 8 and isinstance(value, dict):
        kind = "dict" if type(value) is dict else "module"
        return (kind, {str(key): plain(part, depth + 1) for key, part in value.items()})
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, complex, bytes, str)):
        return (type(value).__name__, value)
    return ("object", type(value).__name__)


def answer(code):
    """What a program gives: its description, or the classes and the text of what it raised."""
    names = dict(NAMES)
    try:
        mx.random.seed(7)
        with np.errstate(all="ignore"):
            exec(compile(code, "<program>", "exec"), names)
            return ("gives", plain(names["result"]))
    except Exception as error:
        classes = [
            c.__name__ for c in type(error).__mro__ if c not in (Exception, BaseException, object)
        ]
        return ("raises", classes, str(error)[:300])


def child(programs, write):
    """Answers one after the other, in the forked process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (6 << 30),) * 2)
    gc.disable()
    with os.fdopen(write, "wb") as file:
        for code in programs:
            pickle.dump(answer(code), file)
            file.flush()
    os._exit(0)


def answers(programs):
    """Of all programs, in as many forks as it takes."""
    found = []
    while len(found) < len(programs):
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            child(programs[len(found) :], write)
        os.close(write)
        ended = collect(process, read, found, len(programs))
        os.close(read)
        os.kill(process, 9)
        status = os.waitpid(process, 0)[1]
        if len(found) < len(programs):
            found.append(("hangs",) if not ended else ("crashes", status))
    return found


def worked(process):
    """Seconds that a process has computed."""
    with open(f"/proc/{process}/stat") as file:
        ticks = file.read().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def collect(process, read, found, most):
    """Appends what comes; whether it ended by itself."""
    held, last, before = b"", time.monotonic(), worked(process)
    while time.monotonic() - last < SECONDS and worked(process) - before < WORK:
        if not select.select([read], [], [], 0.5)[0]:
            continue
        part = os.read(read, 1 << 20)
        if not part:
            return True
        last, before, held = time.monotonic(), worked(process), held + part
        while held:
            stream = memoryview(held)
            try:
                loaded, used = loads(stream)
            except (EOFError, pickle.UnpicklingError):
                break
            found.append(loaded)
            held = held[used:]
        if len(found) == most:
            return True
    return False


def loads(data):
    """The first pickle of some bytes, and its length."""
    file = io.BytesIO(data)
    return pickle.load(file), file.tell()


def main():
    with os.fdopen(os.dup(1), "wb") as out:  # what programs print goes elsewhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        for line in sys.stdin:
            pickle.dump(answers(json.loads(line)), out)
            out.flush()


if __name__ == "__main__":
    main()
