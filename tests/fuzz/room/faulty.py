"""Runs a program while its nth allocation, thread or file call fails (faults.c)."""

import ctypes
import functools
import hashlib
import os
import re
import subprocess
import sys

import numpy as np

import cermet.core as mx

KINDS = {"memory": 1, "threads": 2, "files": 4, "python": 8, "unchecked": 16}
ALLOWED = {"memory": MemoryError, "threads": MemoryError, "files": OSError, "python": MemoryError}
shim = ctypes.CDLL(None)


# nanobind's functions that end the process where they get no memory, which is not ours to mend; of
# these, some do not look whether Python gave them an object.
UNMENDABLE = re.compile(
    r"(\w+) (\w+) \w nanobind::detail::"
    r"((?:inst|nb)_\w+|(?:list|dict)_caster|type_caster<std::|cast_impl)"
)
UNCHECKED = re.compile("inst_|nb_(?!func_vectorcall)")


@functools.cache
def unmendable(library):
    """Where those lie in a library: offsets, sizes, and whether they check nothing."""
    symbols = subprocess.run(
        ["nm", "-CS", "--defined-only", library], capture_output=True, text=True, check=True
    )
    found = map(UNMENDABLE.match, symbols.stdout.splitlines())
    return [(int(m[1], 16), int(m[2], 16), bool(UNCHECKED.match(m[3]))) for m in found if m]


if os.environ.get("LD_PRELOAD"):  # once, before programs are forked off
    unmendable(mx.__file__)


def told():
    """Tells the shim whose code lies where."""

    def is_of(kind, begin, end):
        shim.faults_range(ctypes.c_size_t(begin), ctypes.c_size_t(end), kind)

    python = os.path.realpath(sys.executable)
    with open("/proc/self/maps") as maps:
        for line in maps:
            found = re.match(r"(\w+)-(\w+) r-xp (\S+) \S+ \S+ +(.*)", line)
            if not found:
                continue
            begin, end, offset = (int(found[i], 16) for i in (1, 2, 3))
            path = found[4]
            if path == mx.__file__:
                for place, size, unchecked in unmendable(path):
                    start = begin - offset + place
                    is_of(KINDS["unchecked"] if unchecked else 0, start, start + size)
            if path == python or "libpython" in path:
                is_of(KINDS["python"], begin, end)
            elif re.search(r"cermet/core\S*\.so|scipy_openblas32|libstdc\+\+", path):
                is_of(KINDS["memory"], begin, end)


def chain(error):
    """An exception, and those from which or while which it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def digest(value):
    """What a program came to, as a text."""
    if isinstance(value, mx.array):
        value = np.array(value.astype(mx.float32) if value.dtype == mx.bfloat16 else value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
    if isinstance(value, dict):
        return str(sorted((str(key), digest(part)) for key, part in value.items()))
    if isinstance(value, (list, tuple)):
        return str([digest(part) for part in value])
    return repr(value)


def shortened(value):
    """A digest of no more than a line."""
    text = digest(value)
    return text if len(text) < 60 else hashlib.sha256(text.encode()).hexdigest()[:12]


def faulted(setup, body, check, kind, nth, more, expected, names):
    """(calls that were counted, the result's digest, what went wrong or None).

    The body may fail, in the way of its kind; done again without a fault it must come to what is
    `expected`. `check` holds at any time: what is kept on disk, say.
    """
    told()
    exec(setup, names)
    code = compile(body, "<body>", "exec")
    problem = error = None
    try:
        shim.faults_arm(KINDS[kind], ctypes.c_long(nth), more)
        exec(code, names)
    except Exception as caught:
        error = caught
    count = None
    while count is None:
        try:
            count = shim.faults_disarm()
        except MemoryError:  # the call itself takes memory, as would contextlib.suppress
            continue
    came = shortened(names["result"]) if error is None else None
    if error is not None:
        text = f"{type(error).__name__}: {str(error)[:100]}"
        expected_kind = any(isinstance(cause, ALLOWED[kind]) for cause in chain(error))
        # A lock and a lookup of Python's own raise these.
        expected_kind |= kind == "python" and bool(re.search("allocate|PicklingError", text))
        if not expected_kind or (kind == "files" and not getattr(error, "errno", None)):
            problem = f"raises {text}"
    elif expected and came != expected:
        problem = "wrong, though nothing was raised"
    del error
    try:
        if not eval(check, names):
            problem = problem or f"afterwards, {check} is not so"
        exec(code, names)
        if expected and shortened(names["result"]) != expected:
            problem = problem or "wrong when done again"
    except Exception as caught:
        again = f"{type(caught).__name__}: {str(caught)[:100]}"
        problem = problem or f"fails when done again: {again}"
    return count, came, problem
