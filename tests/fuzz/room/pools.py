"""The pools from which random values are drawn: types, extents, numbers, texts, functions."""

import numpy as np

DTYPES = (
    "bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 bfloat16 float32 "
    "float64 complex64"
).split()
EXTENTS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 33, 64, 100)
FAR = tuple(
    sign * (2**power + step)
    for power in (7, 8, 15, 16, 24, 31, 32, 33, 40, 53, 58, 62, 63, 64, 100)
    for step in (-1, 0, 1)
    for sign in (1, -1)
)
POWERS = tuple(2**power for power in (24, 31, 32, 33, 40, 53, 58, 60, 62))
FLOATS = (
    "0.0 -0.0 1.0 -1.0 0.5 -0.5 1.5 -3.0 1e-8 1e-45 1e30 -1e38 3e38 1e300 1e-320 inf -inf nan"
).split()
# ---- Other libraries' numbers and buffers ----
SCALARS = [code for code in np.typecodes["All"] if code not in "SUV"] + ["S3", "U3", "V3", "i4,f4"]
CTYPES = (
    "c_bool c_char c_byte c_ubyte c_short c_ushort c_int c_uint c_long c_ulong c_longlong c_size_t "
    "c_float c_double c_longdouble c_wchar c_void_p c_char_p"
).split()
CODES = "bBhHiIlLqQfd"
STRINGS = (
    "", "a", "L", "U", "full", "same", "valid", "edge", "constant", "affine", "float32", "linear",
    "i->i", "ij,jk->ik", "i,i", "...i->...", "ii", "i->ii", "->", "a\0b", "\ud800", "\N{SNOWMAN}",
    "{}", "%s%n", "-1", "1e9", "0" * 50, "x" * 5000, "../up", "/", "a.b.c", "__metadata__",
)  # fmt: skip
CLASSES = "array ArrayLike Dtype Device Stream StreamContext custom_function finfo ArrayAt".split()
KEYS = (
    "a",
    "b",
    "weight",
    "bias",
    "layers",
    "0",
    "l.0.w",
    "",
    "__class__",
    "training",
    "state",
    "__metadata__",
)
FUNCTIONS = (
    "lambda *a, **k: a[0] if a else mx.array(1.0)",
    "lambda *a: sum(x.sum() for x in a)",
    "lambda *a: None",
    "lambda *a: a",
    "lambda *a: [*a]",
    "lambda *a: mx.zeros((0,))",
    "lambda *a: (a[0] * a[0]).sum()",
    "lambda *a: {'a': a[0], 'b': (a[0],)}",
    "lambda: 1",
    "lambda *a: 1 / 0",
    "lambda *a: a[0].item()",
    "lambda *a: (mx.eval(*a), a[0].sum())[1]",
    "mx.sin",
    "tower(mx.compile)",
    "tower(mx.checkpoint)",
    "tower(mx.vmap)",
    "tower(mx.grad)",
    "mx.sum",
    "print",
    "int",
    "nn.Linear(3, 3)",
    "functools.partial(mx.add, 1)",
    "mx.array",
)
