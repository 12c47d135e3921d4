"""Runs a program while its nth allocation, thread or file call fails (faults.c)."""

import ctypes
import hashlib
import os
import re
import sys

import numpy as np

import cermet.core as mx

KINDS = {"memory": 1, "threads": 2, "files": 4, "python": 8}
ALLOWED = {"memory": MemoryError, "threads": MemoryError, "files": OSError, "python": MemoryError}
shim = ctypes.CDLL(None)


def told():
    """Tells the shim whose code lies where."""
    python = os.path.realpath(sys.executable)
    with open("/proc/self/maps") as maps:
        for line in maps:
            found = re.match(r"(\w+)-(\w+) r-xp \S+ \S+ \S+ +(.*)", line)
            if not found:
                continue
            path = found[3]
            kind = KINDS["python"] if path == python or "libpython" in path else 0
            if re.search(r"cermet/core\S*\.so|scipy_openblas32|libstdc\+\+", path):
                kind = KINDS["memory"]
            if kind:
                ends = (ctypes.c_size_t(int(found[i], 16)) for i in (1, 2))
                shim.faults_range(*ends, kind)


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
    came = digest(names["result"]) if error is None else None
    if error is not None:
        text = f"{type(error).__name__}: {str(error)[:100]}"
        expected_kind = any(isinstance(cause, ALLOWED[kind]) for cause in chain(error))
        expected_kind |= kind == "python" and "allocate" in text  # a lock of Python's own
        if not expected_kind or (kind == "files" and not getattr(error, "errno", None)):
            problem = f"raises {text}"
    elif expected and came != expected:
        problem = "wrong, though nothing was raised"
    del error
    try:
        if not eval(check, names):
            problem = problem or f"afterwards, {check} is not so"
        exec(code, names)
        if expected and digest(names["result"]) != expected:
            problem = problem or "wrong when done again"
    except Exception as caught:
        again = f"{type(caught).__name__}: {str(caught)[:100]}"
        problem = problem or f"fails when done again: {again}"
    return count, came, problem
