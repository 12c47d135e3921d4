"""Runs one expression with NumPy and with another library, and says how the results differ.

Programs of the differential fuzzer import this by name; `xp` in an expression is either library.
"""

import importlib
import os
import re

import numpy as np

import cermet.core as mx

PEERS = {"numpy": (np, np.array)}
for _name in os.environ.get("FUZZ_PEERS", "").split():  # before the first fork, as they take long
    _module = importlib.import_module({"mlx": "mlx.core"}.get(_name, _name))
    PEERS[_name] = (_module, _module.array if _name == "mlx" else _module.from_numpy)
SPECIAL = {
    "b": (False, True),
    "u": (0, 1, 2, 3, 7, 100, 255, -1),
    "i": (0, 1, -1, 2, -3, 7, 127, -128, -(2**63), 2**63 - 1),
    "f": (0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-40, 1e-8, 1e4, 1e30, np.inf, -np.inf, np.nan),
}
MUCH = 256 << 20  # bytes of a result which, beside NumPy's, a program may have no room for
SUMS = 1000  # bounds above which results are sums
SPECIAL["c"] = tuple(complex(x, y) for x in (0.0, -0.0, 1.0, -2.0) for y in (0.0, -0.0, 0.5, -3.0))


def data(dtype, shape, seed, kind):
    """An array: "small" numbers, all distinct or tied, "normal" ones, or "special" ones."""
    random, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if kind == "special":
        chosen = random.choice(np.array(SPECIAL[dtype.kind]), shape)
        with np.errstate(all="ignore"):
            return np.asarray(chosen).astype(dtype)
    if kind == "small" or dtype.kind in "biu":
        low = 0 if dtype.kind in "bu" else -4
        return np.asarray(random.integers(low, 2 if dtype.kind == "b" else 6, shape)).astype(dtype)
    made = random.standard_normal(shape)
    return np.asarray(
        made + 1j * made[..., ::-1] if dtype.kind == "c" and np.ndim(made) else made
    ).astype(dtype)


def of_numpy(x):
    """A Cermet array of the same type, in memory of its own."""
    return mx.array(
        np.array(x, order="C"), dtype=getattr(mx, "bool_" if x.dtype == bool else x.dtype.name)
    )


def to_numpy(value):
    """A result as NumPy arrays, numbers and lists of these."""
    if isinstance(value, mx.array):
        return np.array(value)
    if isinstance(value, (list, tuple)):
        return [to_numpy(part) for part in value]
    if value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, np.ndarray, np.generic)
    ):
        return value
    return np.array(value)


def attempt(function, *given):
    """(result, None) or (None, error)."""
    try:
        with np.errstate(all="ignore"):
            return to_numpy(function(*given)), None
    except Exception as error:
        return None, error


def ulps(x, y, beside=0):
    """The largest distance in units of the last place, of what stands `beside` where that is more;
    0s of other sign and nans count as equal."""
    x, y = np.asarray(x), np.asarray(y)
    if np.iscomplexobj(y):  # in units of the modulus, as in error_bounds.def
        far = np.abs(y.astype(complex))
        odd = ~(np.isfinite(x) & np.isfinite(far))  # C and NumPy differ in which part is nan
        with np.errstate(all="ignore"):
            unit = np.spacing(far.astype(y.real.dtype)).clip(np.finfo(y.dtype).tiny)
            return float(np.where(odd, 0, np.abs(x - y) / unit).max(initial=0))
    odd = ~(np.isfinite(x) & np.isfinite(y))
    with np.errstate(all="ignore"):
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        size = np.maximum(np.abs(y), np.where(np.isfinite(beside), np.abs(beside), 0))
        unit = np.maximum(np.spacing(size.astype(y.dtype)), np.finfo(y.dtype).tiny)
        apart = np.where(same, 0, np.where(odd, np.inf, np.abs(x - y) / unit))
    return float(apart.max(initial=0))


def differs(ours, theirs, given, exact, bound, room=None, beside=0):
    """What is different in two results, or None. Where `room` is large, sums may overflow."""
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        if len(ours) != len(theirs):
            return f"{len(ours)} results, {len(theirs)} expected"
        found = (differs(x, y, given, exact, bound) for x, y in zip(ours, theirs, strict=True))
        return next((text for text in found if text), None)
    if isinstance(theirs, (str, bytes, type(None))) or isinstance(ours, (str, bytes, type(None))):
        return None if ours == theirs else f"{ours!r}, expected {theirs!r}"
    if isinstance(theirs, int) and isinstance(ours, int):
        return None if ours == theirs else f"values: {ours}, expected {theirs}"
    x, y = np.asarray(ours), np.asarray(theirs)
    if x.shape != y.shape:
        return f"shape {x.shape}, expected {y.shape}"
    kinds = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    if kinds.get(x.dtype.kind) != kinds.get(y.dtype.kind):
        return f"type {x.dtype}, expected {y.dtype}"
    if x.dtype.kind in "biu":
        with np.errstate(all="ignore"):
            equal = x == y.astype(x.dtype)  # sums of narrow types wrap at other places
        return None if np.all(equal) else shown("values", x, y)
    kept, common = (x, y), x.dtype if x.dtype.itemsize <= y.dtype.itemsize else y.dtype
    with np.errstate(all="ignore"):
        x, y = x.astype(common), y.astype(common)
    if exact:
        same = np.array_equal(x, y, equal_nan=True)
        if same and common.kind == "f":
            same = np.array_equal(np.signbit(x)[~np.isnan(x)], np.signbit(y)[~np.isnan(y)])
        return None if same else shown("values", *kept)
    if room is not None and np.shape(room) == x.shape:
        x, y = (np.where(room < np.finfo(common).max / 4, a, a.dtype.type(0)) for a in (x, y))
    if bound and ulps(x, y, beside) > bound:
        sizes = [
            np.max(np.abs(a), initial=0, where=np.isfinite(a))
            for a in (*given, x, y)
            if a.dtype.kind in "fciu"
        ]
        room = 100 * np.finfo(common).eps * max([1.0, *map(float, sizes)]) ** 2
        with np.errstate(all="ignore"):
            if bound < SUMS or not np.allclose(
                x, y, rtol=1e-3 if common.itemsize < 4 else 1e-4, atol=room, equal_nan=True
            ):
                return shown(f"{ulps(x, y):.3g} ulp", *kept)
    return None


def held(result):
    """Bytes of a result, and of what it is a part of."""
    whole = getattr(result, "base", None)
    return getattr(result if whole is None else whole, "nbytes", 0)


def magnitudes(function, given):
    """What an expression comes to on the finite magnitudes, in a type that holds it."""
    with np.errstate(all="ignore"):
        wide = (np.where(np.isfinite(x), np.abs(x), 0).astype(np.longdouble) for x in given)
    return attempt(function, np, *wide)[0]


def shown(what, x, y):
    """Both results, short."""
    ours, theirs = (f"{np.array2string(v, threshold=8, edgeitems=2)} ({v.dtype})" for v in (x, y))
    return f"{what}: {ours}, expected {theirs}"


def compare(function, *given, exact=False, bound=8.0, scaled=False, peer="numpy"):
    """What differs between a peer's result and ours, as a text, or None. If `scaled`, ULPs are
    those of what is given, which may cancel.

    What is refused is compared with NumPy alone; what others refuse is theirs.
    """
    xp, make = PEERS[peer]
    theirs, refusal = attempt(function, xp, *(make(np.array(x)) for x in given))
    if peer == "torch" and isinstance(theirs, list):  # values and their places
        theirs = theirs[0]
    ours, error = attempt(function, mx, *map(of_numpy, given))
    if isinstance(error, MemoryError) and held(theirs) > MUCH:
        return None
    if error is not None:
        text = f"{type(error).__name__}: {re.sub(chr(10) + '.*', '', str(error), flags=re.S)}"
        return None if refusal is not None or peer != "numpy" else f"raises {text}"
    if refusal is not None and peer == "numpy":
        return f"gives {str(ours)[:80]}, expected {type(refusal).__name__}: {str(refusal)[:80]}"
    if refusal is not None:
        return None
    beside = np.maximum(*map(np.abs, given)) if scaled else 0
    found = differs(ours, theirs, given, exact, bound, beside=beside)
    if found and bound > SUMS and not exact:  # in which order sums overflow is nobody's promise
        found = differs(ours, theirs, given, exact, bound, magnitudes(function, given))
    return found


def alone(function, *given, peer="numpy", **_):
    """The peer's part of a comparison."""
    xp, make = PEERS[peer]
    attempt(function, xp, *(make(np.array(x)) for x in given))


def whole_and_parts(function, x):
    """How an elementwise function's values depend on the place in the array, or None."""
    whole, error = attempt(function, mx, of_numpy(x))
    if error is not None:
        return None
    parts = [attempt(function, mx, of_numpy(x[i : i + 1]))[0] for i in range(len(x))]
    if any(part is None for part in parts):
        return "a part raises"
    apart = np.concatenate(parts)
    return None if whole.tobytes() == apart.tobytes() else shown("parts", whole, apart)


def updated_at(xp, a, indices, value, name):
    """`a` with a value added, ... at places that may be repeated."""
    if xp is not np:
        return getattr(a.at[xp.array(np.array(indices, np.int32))], name)(value)
    getattr(np, name).at(a, np.array(indices, int), np.array(value).astype(a.dtype))
    return a


def convolved(xp, a, b, mode):
    """The convolution, with zeros at the ends of the longer sequence: times inf they are nan."""
    if xp is not np or mode == "valid" or (a.ndim, b.ndim) != (1, 1) or 0 in (a.size, b.size):
        return xp.convolve(a, b, mode)
    a, b = (a, b) if len(a) >= len(b) else (b, a)
    n = len(b)
    return np.convolve(np.pad(a, n - 1 if mode == "full" else (n // 2, (n - 1) // 2)), b, "valid")


def floored(function, a, b):
    """Quotients rounded down. NumPy's of one infinity become the array API standard's, IEEE's."""
    made = function(a, b)
    if isinstance(made, mx.array) or to_numpy(made).dtype.kind != "f":
        return made
    made = to_numpy(made)
    a, b = (np.asarray(to_numpy(x)).astype(made.dtype) for x in (a, b))
    return np.where(np.isinf(a) != np.isinf(b), np.divide(a, b), made)


def foreign(dtype, offset):
    """A read-only view of bytes that need not be aligned."""
    return np.frombuffer(bytes(range(64)), dtype, 3, offset)


def law(xp, value, other):
    """Whether ours has the bytes of another way to it."""
    return xp is not mx or np.array(value).tobytes() == np.array(other()).tobytes()


def logsumexp(xp, a):
    """What NumPy lacks, in double precision."""
    if xp is not np:
        return xp.logsumexp(a)
    wide = a.astype(complex if a.dtype.kind == "c" else float)
    most = np.max(wide.real, initial=-np.inf)
    most = most if np.isfinite(most) else 0
    made = np.log(np.sum(np.exp(wide - most))) + most
    return made.astype(a.dtype if a.dtype.kind in "fc" else np.float32)


def within(xp, low, high, dtype):
    """Whether random integers are where they were asked for."""
    if xp is np:
        drawn = np.random.default_rng(0).integers(low, high, 20, dtype=dtype)
    else:
        drawn = np.array(mx.random.randint(low, high, (20,), getattr(mx, dtype)))
    return all(low <= int(x) < high for x in drawn)
