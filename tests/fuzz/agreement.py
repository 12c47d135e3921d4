"""What counts as equal in two libraries' answers, and which differences are documented."""

import re
from itertools import repeat

import numpy as np
import recipes

# Relative to the largest number of the result: float types by their digits.
ROOM = {"float16": 8e-3, "bfloat16": 5e-2, "float32": 2e-4, "float64": 2e-4, "complex64": 2e-4}
# Patterns of a call and of the difference, and the reason, from recipes/differences.txt.
KNOWN = [
    (call, difference.replace("MORE ", r"^gives .*expected "), why)
    for call, difference, why in (line.split(" ;; ") for line in recipes.read("differences"))
]
WORDS = {name: getattr(np, name) for name in ("abs", "conj", "isfinite", "isinf", "isnan", "sign")}


def close(x, y, name, room=0.0):
    """Which numbers are equal within what their type holds, or within more room."""
    if name not in ROOM:
        return np.asarray(x == y)
    room = max(ROOM[name], room)
    x, y = (np.asarray(v, np.complex128 if name == "complex64" else np.float64) for v in (x, y))
    with np.errstate(all="ignore"):
        finite = np.isfinite(x) & np.isfinite(y)
        odd = (x == y) | (np.isnan(x) & np.isnan(y))
        if name == "complex64":
            odd = np.isfinite(x) == np.isfinite(y)
        size = np.max(np.abs(y), initial=1.0, where=finite)
        return np.where(finite, np.abs(x - y) <= room * size, odd)


def near(x, y, name, room=0.0):
    """Whether all numbers are."""
    return bool(np.all(close(x, y, name, room)))


def short(value):
    return re.sub(r"\s+", " ", np.array2string(np.asarray(value), threshold=8, edgeitems=2))


def apart(x, y, room=0.0):
    """What differs in two descriptions (ours, theirs), or None."""
    if x[0] != y[0]:
        return f"kind {x[0]}, expected {y[0]}"
    if x[0] in ("array", "numpy"):
        if x[2] != y[2]:
            return f"shape {x[2]}, expected {y[2]}"
        if x[1] != y[1]:
            return f"type {x[1]}, expected {y[1]}"
        if x[3] is None or y[3] is None or near(x[3], y[3], x[1], room):
            return None
        return f"values {short(x[3])}, expected {short(y[3])} ({x[1]})"
    if isinstance(x[1], list):
        if len(x[1]) != len(y[1]):
            return f"{len(x[1])} results, expected {len(y[1])}"
        return next((d for d in map(apart, x[1], y[1], repeat(room)) if d), None)
    if isinstance(x[1], dict):
        if list(x[1]) != list(y[1]):
            what = "order of keys" if sorted(x[1]) == sorted(y[1]) else "keys"
            return f"{what} {list(x[1])}, expected {list(y[1])}"
        return next((d for d in (apart(x[1][k], y[1][k], room) for k in x[1]) if d), None)
    if x[0] in ("float", "complex"):
        name = "complex64" if x[0] == "complex" else "float32"
        return None if near(x[1], y[1], name, room) else f"values {x[1]}, expected {y[1]}"
    return None if x[1:] == y[1:] else f"value {x[1:]}, expected {y[1:]}"


def room_for(code):
    """The room of the narrowest type that a program names."""
    return max((room for name, room in ROOM.items() if name in code), default=0)


def apart_where(x, y, room):
    """(ours, theirs, type) of the elements that differ, array by array; ValueError if not alone."""
    if x[0] != y[0]:
        raise ValueError("kinds differ")
    if x[0] in ("array", "numpy"):
        if x[1:3] != y[1:3] or x[3] is None or y[3] is None:
            raise ValueError("types or shapes differ")
        far = ~close(x[3], y[3], x[1], room)
        if np.any(far):
            yield np.asarray(x[3])[far], np.asarray(y[3])[far], x[1]
    elif isinstance(x[1], (list, dict)):
        if len(x[1]) != len(y[1]) or (isinstance(x[1], dict) and list(x[1]) != list(y[1])):
            raise ValueError("parts differ")
        parts = (v.values() if isinstance(v, dict) else v for v in (x[1], y[1]))
        for a, b in zip(*parts, strict=True):
            yield from apart_where(a, b, room)
    elif x[0] in ("bool", "int", "float", "complex"):
        name = {"complex": "complex64", "float": "float32"}.get(x[0], x[0])
        if not near(x[1], y[1], name, room):
            yield np.array([x[1]]), np.array([y[1]]), name
    elif x[1:] != y[1:]:
        raise ValueError("values differ")


def holds(condition, x, y, name):
    """Whether a condition holds for all pairs; lo and hi are the ends of an integer type."""
    kind = np.dtype(name) if name.startswith(("int", "uint")) and name != "int" else None
    ends = (np.iinfo(kind).min, np.iinfo(kind).max) if kind else (0, 1)
    x, y = (v.astype(np.int8) if v.dtype == bool else v for v in (x, y))
    names = {
        **WORDS,
        "x": x,
        "y": y,
        "lo": ends[0],
        "hi": ends[1],
        "whole": name not in ROOM,
        "room": ROOM.get(name, 0),
    }
    with np.errstate(all="ignore"):
        return bool(np.all(eval(condition, {"__builtins__": {}}, names)))


def only_where(condition, code, expected, got):
    """Whether two results differ in elements for which a condition holds, and in nothing else."""
    if expected[0] != "gives" or got[0] != "gives":
        return False
    try:
        return all(
            holds(condition, *far) for far in apart_where(got[1], expected[1], room_for(code))
        )
    except ValueError:
        return False


def difference(code, expected, got):
    """How our answer to a program differs from theirs, or None."""
    if expected[0] in ("crashes", "hangs"):
        return None if got[0] in ("raises", "gives") else f"{got[0]}, as theirs {expected[0]}"
    if got[0] in ("crashes", "hangs"):
        return f"{got[0]} {got[1:]}, expected {expected[0]}"
    if got[0] == "gives" and expected[0] == "gives":
        return apart(got[1], expected[1], room_for(code))
    if got[0] == "gives":
        return f"gives {str(got[1])[:60]}, expected {expected[1][0]}: {expected[2][:100]}"
    if expected[0] == "gives":
        return f"raises {got[1][0]}: {got[2][:100]}, expected {str(expected[1])[:100]}"
    if expected[1][0] in got[1]:
        return None
    return f"raises {got[1][0]}, expected {expected[1][0]}: {got[2][:80]} / {expected[2][:80]}"


def explains(row, what, code, found, expected, got):
    """Whether a row of the table speaks of this difference."""
    call, pattern, _ = row
    if not re.search(call, f"{what} {code}"):
        return False
    if pattern.startswith("WHERE "):
        return only_where(pattern[6:], code, expected, got)
    return re.search(pattern, found, re.S) is not None


def explained(what, code, found, expected, got):
    """Whether a line of the table speaks of this difference."""
    return any(explains(row, what, code, found, expected, got) for row in KNOWN)
