"""Random values as source text, by the kind of thing that a parameter asks for.

All text refers to the names of prelude.py. A value depends on the random numbers alone.
"""

import numpy as np

from . import pools


class Values:
    """Draws values. Many arrays of a program have one `shape`, so that some fit together."""

    def __init__(self, random):
        self.random = random
        self.shape = self.fresh_shape()

    def one(self, choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    # ---- Numbers ----
    def integer(self):
        """Mostly an axis or extent, at times one at the end of some type's range."""
        if self.chance(0.15):
            return str(self.one(pools.FAR))
        return str(self.one((-3, -2, -1, -1, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 8, 16, 32, 64)))

    def floating(self):
        return self.one(pools.FLOATS)

    def number(self):
        kind = self.random.randrange(10)
        if kind < 4:
            return self.integer()
        if kind < 7:
            return self.floating()
        if kind == 7:
            return self.one(("True", "False"))
        if kind == 8:
            return f"complex({self.floating()}, {self.floating()})"
        return self.foreign_scalar()

    def foreign_scalar(self):
        kind = self.random.randrange(5)
        if kind < 3:
            return f"np.{self.one(('zeros', 'ones'))}((), {self.one(pools.SCALARS)!r})[()]"
        if kind == 3:
            return f"ctypes.{self.one(pools.CTYPES)}()"
        return self.one(
            ("fractions.Fraction(1, 3)", "decimal.Decimal(2)", "np.float64(nan)",
            "np.uint64(2**64 - 1)",
             "np.datetime64('now')", "datetime.datetime.now()", "enum.IntEnum('E', 'a')(1)")
        )  # fmt: skip

    # ---- Shapes and arrays ----
    def fresh_shape(self):
        rank = self.one((0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5))
        if rank >= 2 and self.chance(0.4):
            return (self.one(pools.EXTENTS[1:8]),) * rank
        return tuple(
            self.one(pools.EXTENTS if rank < 3 else pools.EXTENTS[:7]) for _ in range(rank)
        )

    def some_shape(self):
        """The program's shape, one of its relatives, or another."""
        if self.chance(0.6):
            return self.shape
        if self.shape and self.chance(0.5):
            cut = self.random.randrange(len(self.shape))
            return self.one(
                (self.shape[cut:], self.shape[:cut], self.shape[::-1], (1, *self.shape))
            )
        return self.fresh_shape()

    def extents(self):
        """A shape as an argument, at times absurd."""
        if self.chance(0.1):
            far = self.one((pools.FAR, pools.POWERS, pools.POWERS, pools.POWERS))
            rank = self.random.randrange(1, 4)
            return str(
                tuple(self.one(far if self.chance(0.6) else (0, 1, 2, 5)) for _ in range(rank))
            )
        if self.chance(0.03):
            return f"({self.one((0, 1, 1, 2))},) * {self.one((32, 33, 63, 64, 65, 100, 1000))}"
        return str(self.some_shape())

    def dtype(self):
        return f"mx.{self.one(pools.DTYPES)}"

    def array(self):
        """An array of Cermet."""
        shape, kind = self.some_shape(), self.random.randrange(16)
        if kind < 5:
            made = f"mx.random.normal({shape})"
            if self.chance(0.5):
                made += f".astype({self.dtype()})"
        elif kind < 7:
            made = f"mx.{self.one(('zeros', 'ones'))}({shape}, {self.dtype()})"
        elif kind < 9:
            made = f"mx.arange({int(np.prod(shape))}).reshape({shape})"
        elif kind < 11:
            made = f"mx.full({shape}, {self.number()})"
        elif kind == 11:
            made = f"mx.random.randint(0, {self.one((2, 5, 100))}, {shape})"
        elif kind == 12:
            made = f"mx.array({self.number()})"
        elif kind == 13:
            made = f"mx.{self.one(('zeros', 'ones'))}({self.extents()}, {self.dtype()})"
        elif kind == 14:
            made = f"mx.broadcast_to(mx.array({self.number()}), {self.extents()})"
        else:
            made = (
                f"mx.array([{', '.join(self.number() for _ in range(self.random.randrange(4)))}])"
            )
        if self.chance(0.15):
            made += self.one(
                (".T", "[::2]", "[..., ::-1]", "[None]", ".flatten()", "[...]", " * 2")
            )
        return made

    def buffer(self):
        """An array or buffer of another library."""
        shape, kind = self.some_shape(), self.random.randrange(8)
        if kind < 3:
            made = (
                f"np.{self.one(('zeros', 'ones', 'empty'))}({shape}, {self.one(pools.SCALARS)!r})"
            )
            return made + self.one(("", "", ".T", "[..., ::-1]", "[None, ..., ::2]"))
        if kind == 3:
            return f"np.ones({shape}, {self.one(('>f4', '>i8', '<c16', '>u2'))!r})"
        if kind == 4:
            code, offset = self.one(("i2", "f4", "f8", "u1")), self.one((0, 1))
            return f"np.frombuffer(bytes(33), {code!r}, 4, {offset})"
        if kind == 5:
            return f"(ctypes.{self.one(pools.CTYPES)} * {self.one((0, 1, 3))})()"
        if kind == 6:
            return f"arrays.array({self.one(pools.CODES)!r}, [1, 2, 3])"
        return self.one(
            ("memoryview(b'abcd')", "bytearray(8)", "memoryview(bytes(8)).cast('d')",
            "memoryview(bytes(8))[::2]",
             "np.ma.masked_array([1, 2], [0, 1])", "np.array([None, 1])",
             "np.broadcast_to(1.0, (3, 2**40))",
             "((ctypes.c_int * 2) * 3)()", "np.ones(3, ml_dtypes.bfloat16)",
             "np.ones(3, ml_dtypes.int4)")
        )  # fmt: skip

    # ---- Containers, functions, files, and what nobody asks for ----
    def sequence(self, item, most=4):
        if self.chance(0.03):
            return f"[{item()}] * {self.one((10, 64, 100))}"
        parts = [item() for _ in range(self.random.randrange(most))]
        text = ", ".join(parts)
        return f"[{text}]" if self.chance(0.5) else f"({text}{',' if len(parts) == 1 else ''})"

    def mapping(self, item):
        pairs = (f"{self.key()!r}: {item()}" for _ in range(self.random.randrange(4)))
        return f"{{{', '.join(pairs)}}}"

    def key(self):
        """A key, or a path of keys and places."""
        if self.chance(0.6):
            return self.one(pools.KEYS)
        parts = [
            self.one((*pools.KEYS, "0", "1", str(self.one(pools.FAR))))
            for _ in range(self.random.randrange(1, 4))
        ]
        return ".".join(parts)

    def tree(self, depth=2):
        if depth == 0 or self.chance(0.4):
            return self.one((self.array, self.array, self.number, self.string))()
        return self.one((self.sequence, self.mapping))(lambda: self.tree(depth - 1))

    def string(self):
        return repr(self.one(pools.STRINGS))

    def mode(self):
        return self.one(
            (
                "'edge'",
                "'constant'",
                "'full'",
                "'same'",
                "'valid'",
                "'affine'",
                "'nearest'",
                self.string(),
            )
        )

    def function(self):
        return self.one(pools.FUNCTIONS)

    def module(self):
        return self.one(
            ("nn.Linear(3, 3)", "nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(0.5))",
            "nn.LSTM(3, 4)",
             "nn.Module()", "nn.MultiHeadAttention(4, 2)", "nn.BatchNorm(3)",
             "parent_and_child()", "nn.Embedding(4, 3)")
        )  # fmt: skip

    def file(self):
        """A file to read or write: sound, cut short, changed, closed, of another mode, no file."""
        if self.chance(0.5):
            save, suffix = self.one(
                (("mx.save(p, {})", ".npy"), ("mx.savez(p, {}, b={})", ".npz"),
                 ("mx.savez_compressed(p, {})", ".npz"), ("mx.save_safetensors(p, {{KEY: {}}})",
                 ".safetensors"), ("mx.save_gguf(p, {{KEY: {}}}, {{'k': ['v']}})", ".gguf"))
            )  # fmt: skip
            save = save.format(*(self.array() for _ in range(2))).replace("KEY", repr(self.key()))
            cut = self.one((None, None, None, 0, 1, 7, 50, 100, -1, -5))
            changes = [
                (self.one((self.random.randrange(200), -self.random.randrange(150))),
                self.random.randrange(256))
                for _ in range(self.one((0, 0, 1, 1, 3)))
            ]  # fmt: skip
            return f"saved(lambda p: {save}, {suffix!r}, {cut}, {changes})"
        return self.one(
            ("tempfile.mktemp('.npy')", "tempfile.mktemp('.npz')",
            "tempfile.mktemp('.safetensors')", "tempfile.mktemp('.gguf')", "io.BytesIO()",
             "io.StringIO()", "open(os.devnull, 'rb')", "open(os.devnull, 'w')",
             "closed(io.BytesIO())", "'/nowhere/x.npz'",
             "open('/dev/full', 'wb')", "'/dev/full'", "'a\\0.npy'", "'a\\ud800.npy'",
             "b'a.npy'", "'/tmp'", "7",
             "answering(io.BytesIO, 'read', None)",
             "answering(io.BytesIO, 'read', OSError(5, 'Input/output'))",
             "answering(io.BytesIO, 'write', OSError(28, 'No space'))", "file_of(b'', '.npy')",
             "file_of(bytes(100), '.npz')")
        )  # fmt: skip

    def wild(self):
        """Anything at all."""
        kind = self.random.randrange(12)
        if kind < 2:
            return self.number()
        if kind == 2:
            return self.buffer()
        if kind == 3:
            if self.chance(0.01):  # seconds each; a tuple's hash is Python's and not interrupted
                return f"shared({self.one(('list', 'dict'))})"
            return f"{self.one(('cyclic', 'deep'))}({self.one(('list', 'tuple', 'dict'))})"
        if kind == 4:
            return f"bare(mx.{self.one(pools.CLASSES)})"
        if kind == 5:
            base = self.one(
                ("object", "int", "float", "str", "list", "tuple", "dict", "np.float64", "mx.array")
            )
            method = self.one(
                ("__int__", "__float__", "__index__", "__len__", "__iter__", "__getitem__",
                "__array__", "__bool__",
                 "__dlpack__", "__buffer__", "__eq__", "__hash__", "__repr__", "item", "shape",
                 "__call__")
            )  # fmt: skip
            answer = self.one(
                ("-1", "None", "2**100", "ValueError('x')", "KeyboardInterrupt()", "'x'", "()")
            )
            if base == "mx.array":
                return "types.SimpleNamespace(shape=(1,))"
            return f"answering({base}, {method!r}, {answer})"
        if kind == 6:
            return f"emptied({self.one(('object', 'int', 'float', 'np.float64', 'np.int64'))})"
        if kind == 7:
            return self.one((self.string, self.file, self.function, self.module))()
        if kind == 8:
            return self.one((self.tree, self.array))()
        if kind == 9:
            return self.one(
                (
                    "[]",
                    "()",
                    "{}",
                    "set()",
                    "range(3)",
                    "iter([1])",
                    "(x for x in [1])",
                    "slice(None)",
                )
            )
        return self.one(
            (
                "None",
                "...",
                "NotImplemented",
                "object()",
                "type",
                "mx",
                "mx.array",
                "b'abc'",
                "mx.cpu",
                "lambda: 0",
            )
        )
