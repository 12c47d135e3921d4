"""Draws the calls that are compared with mlx, as source text, by the tables of recipes/."""

import math
import re

import recipes

DTYPES = """float32 float32 float32 float32 float32 float32 float16 bfloat16 float64 complex64 bool_
    uint8 uint16 uint32 uint64 int8 int16 int32 int64""".split()
LAYOUTS = ["", "", "", *"transposed sliced reversed strided broadcast lazy".split()]
KINDS = "small small small normal normal positive unit unit special".split()
FAR = tuple(
    sign * (2**power + step)
    for power in (31, 32, 33, 40, 63, 64, 100)
    for step in (-1, 0, 1)
    for sign in (1, -1)
)
EXTENTS = {
    "S": (64,),
    "Z": (32, 64), "P": (4, 8), "Q": (1, 2, 8, 12, 20, 28), "w": (3, 4, 5), "e": (2, 4, 8),
    "n": (1, 2, 3), "v": (3, 4), "b": (1, 2), "g": (2,), "h": (1, 2), "o": (1, 2, 3),
    "c": (1, 2, 3, 4), "p": (0, 1, 2, 4, 5),
}  # fmt: skip
INTEGERS = ("int32", "uint32", "int64")
TREES = ("float32", "float32", "float16", "int32")


def alternatives(text):
    """The parts between bars, except within brackets."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += letter in "([{"
        depth -= letter in ")]}"
        if letter == "|" and depth == 0:
            found.append(text[start:place])
            start = place + 1
    return [*found, text[start:]]


def tuple_of(parts):
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


class Calls:
    """Draws programs. All follows from the random numbers."""

    def __init__(self, random):
        self.random = random
        self.parts, self.layers = recipes.parts(), recipes.layers()
        self.programs = recipes.read("programs")
        self.groups = {}
        for target in recipes.targets():
            self.groups.setdefault(target[0].split(".")[0], []).append(target)
        self.draws = {name[5:]: getattr(self, name) for name in dir(self) if name[:5] == "draw_"}

    def one(self, choices):
        return self.random.choice(choices)

    def chance(self, probability):
        return self.random.random() < probability

    def several(self, item, counts=(0, 1, 2, 2, 3)):
        return [item() for _ in range(self.one(counts))]

    def begin(self):
        """What the arrays of one call have in common."""
        self.dtype, self.kind = self.one(DTYPES), self.one(KINDS)
        sizes = (1, 2, 2, 3, 3, 4, 5, 0) if self.chance(0.4) else (1, 2, 3, 4)
        self.shape = tuple(self.several(lambda: self.one(sizes), (0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4)))
        self.extents, self.mode = {}, []
        self.wild = 0.08 if self.chance(0.35) else 0.0

    # ---- Arrays ----
    def extent(self, letter):
        if letter.isdigit():
            return int(letter)
        if letter not in self.extents:
            usual = (1, 2, 3, 4, 2, 3, 4, 0) if self.chance(0.3) else (1, 2, 3, 4)
            self.extents[letter] = self.one(EXTENTS.get(letter, usual))
        return self.extents[letter]

    def arr(self, shape, dtype=None, kind=None):
        dtype = dtype or (self.one(DTYPES) if self.chance(0.12) else self.dtype)
        seed = self.random.randrange(99)
        return f"arr('{dtype}', {shape}, {seed}, '{kind or self.kind}', '{self.one(LAYOUTS)}')"

    def array(self, letters):
        """The array between brackets: of any shape, one that fits, or by its letters."""
        if self.chance(self.wild):
            return self.draw_wild()
        if letters in ("", "fit"):
            return self.draw_fit() if letters else self.arr(self.shape)
        shape = tuple(map(self.extent, letters))
        if self.chance(0.03):
            shape = self.one((shape[1:], (1, *shape), (*shape[:-1], 7), self.shape))
        return self.arr(shape)

    def draw_fit(self):
        """An operand beside arrays of the call's shape."""
        shape = self.shape
        for probability, name in ((0.15, "number"), (0.06, "buffer"), (0.05, "nested")):
            if self.chance(probability):
                return self.draw(name)
        if self.chance(0.3):
            shape = tuple(1 if self.chance(0.4) else n for n in shape)
            shape = shape[self.random.randrange(len(shape) + 1) :]
        elif self.chance(0.05):
            shape = (*shape, 2)
        return self.arr(shape)

    def draw_places(self):
        if self.chance(0.2):
            return self.one(self.parts["one_place"])
        shape = self.one(((2,), (3,), (2, 2), (), (0,), self.shape))
        dtype = self.one((*INTEGERS, "uint8", "int16"))
        return self.arr(shape, dtype, "places" if self.chance(0.6) else "zero")

    # ---- Other arguments ----
    def draw_axis(self):
        rank = len(self.shape)
        if not rank or self.chance(0.12):
            return self.one(("None", "3", "-7", "0", "-1"))
        return str(self.random.randrange(-rank, rank))

    def draw_axes(self):
        rank = len(self.shape)
        if self.chance(0.6):
            return self.draw_axis()
        made = self.random.sample(range(rank), self.random.randrange(rank + 1))
        made = [*made, *made[:1]] if self.chance(0.1) else made
        return str(made if self.chance(0.4) else tuple(made))

    def draw_permuted(self):
        rank = len(self.shape)
        made = self.random.sample(range(rank), rank)
        if self.chance(0.3):
            made = [i - rank for i in made]
        if self.chance(0.1):
            made = made[:-1]
        return self.one(("None", str(tuple(made)), str(made)))

    def draw_reshaped(self):
        size = math.prod(self.shape)
        known = ((size,), (1, size), (size, 1), self.shape[::-1])
        return str(self.one((*known, (-1,), (-1, 1), (2, -1), (3, -1), (size, -1), (-1, -1))))

    def draw_shape(self):
        return str(self.one((self.shape, (2, 3), (), (2,), 3, [2, 2], (0, 2), (1, 2, 2))))

    def draw_wider(self):
        front = self.one(((), (2,), (3, 1)))
        return str((*front, *(3 if n == 1 and self.chance(0.5) else n for n in self.shape)))

    def draw_farshape(self):
        sizes = (*FAR, 0, 1, 2)
        return str(tuple(self.several(lambda: self.one(sizes), (1, 2))))

    def draw_cuts(self):
        return str(sorted(self.random.sample(range(-1, 6), self.random.randrange(3))))

    def draw_far(self):
        return str(self.one(FAR))

    def draw_pads(self):
        each = f"((1, 1),) * {len(self.shape)}"
        return self.one(("1", "(1, 2)", "[1, 0]", each, "[(0, 1)]", "0", "-1", "((1,),)", "(2,)"))

    def draw_index(self):
        if self.chance(0.6):
            return ", ".join(self.several(self.one_index, (1, 2, 3)))
        return self.one_index()

    def one_index(self):
        if self.chance(0.3):
            bounds = ("None", "None", "0", "1", "-1", "2", "-2", "9", "-9")
            return f"slice({', '.join(self.one(bounds) for _ in range(3))})"
        return self.one(self.parts["odd_index" if self.chance(0.15) else "index"])

    def draw_nested(self, depth=2):
        """A number, or lists and tuples of numbers, mostly of one length."""
        if depth == 0 or self.chance(0.3):
            return self.one(self.parts["number" if self.chance(0.8) else "leaf"])
        count, inner = self.one((0, 1, 2, 2, 2, 3)), self.draw_nested(depth - 1)
        same = inner[0] in "([" or self.chance(0.5)
        parts = [inner if same else self.draw_nested(0) for _ in range(count)]
        if self.chance(0.2):
            parts = [self.draw_nested(depth - 1) for _ in range(count)]
        return f"[{', '.join(parts)}]" if self.chance(0.7) else tuple_of(parts)

    def draw_tree(self, depth=2):
        if depth == 0 or self.chance(0.3):
            return self.arr(self.one(((2,), (), (2, 2))), self.one(TREES), "normal")
        parts = self.several(lambda: self.draw_tree(depth - 1), (0, 1, 2, 2))
        kind = self.random.randrange(6)
        if kind < 3:
            pairs = zip("abc", parts, strict=False)
            return f"{{{', '.join(f'{key!r}: {part}' for key, part in pairs)}}}"
        listed = f"[{', '.join(parts)}]"
        return (listed, tuple_of(parts), f"Pair({listed})")[kind - 3]

    def draw_dtype(self):
        return f"mx.{self.one(DTYPES)}"

    def draw_dtype_or_none(self):
        return self.one(("None", self.draw_dtype()))

    def draw_array(self):
        return self.array("")

    def draw_operand(self):
        choices = (self.draw_fit, self.draw_fit, self.draw_array, self.draw_wild)
        return self.one((*choices, lambda: self.draw("number")))()

    def draw_wild(self):
        return self.one(self.parts["wild"])

    def draw_list(self):
        return f"[{', '.join(self.several(self.draw_array))}]"

    def draw_alike(self):
        def item():
            return self.arr(self.shape if self.chance(0.9) else self.shape[1:])

        parts = self.several(item)
        return f"[{', '.join(parts)}]" if self.chance(0.5) else tuple_of(parts)

    def draw_several(self):
        return ", ".join(self.several(lambda: self.array(self.one(("", "fit")))))

    def draw_vectors(self):
        return ", ".join(self.several(lambda: self.arr((self.one((0, 1, 2, 3)),))))

    def draw_shapes(self):
        return ", ".join(
            self.several(lambda: str(self.one((self.shape, (1,), (2, 1), (3,), [1, 3]))))
        )

    def draw_types(self):
        return ", ".join(self.several(self.one((self.draw_dtype, self.draw_array))))

    def draw_two(self):
        return f"[{self.draw_array()}, {self.draw_array()}]"

    def draw_cotangents(self):
        return f"[{', '.join(self.several(self.draw_array, (1, 1, 2)))}]"

    def draw_x(self):
        return self.arr(self.shape)

    draw_y = draw_x

    def draw_w(self):
        return self.arr((4, 64), self.one(("float32", "float16", "bfloat16")), "normal")

    def draw_w2(self):
        return self.arr((3, self.one((64, 4))), "float32", "normal")

    def draw_w3(self):
        return self.arr((2, 4, 64), "float32", "normal")

    def draw(self, name):
        """What a name stands for, as text, or None."""
        if name == "quantized":  # a mode, which all calls of a program share
            self.mode = self.mode or [self.one(self.parts[name])]
            return self.mode[0]
        if name in self.draws:
            return self.draws[name]()
        return self.filled(self.one(self.parts[name])) if name in self.parts else None

    def filled(self, text):
        """A text with the values of the names in its braces."""

        def drawn(match):
            made = self.draw(match[1])
            return match[0] if made is None else made

        return re.sub(r"(?<!\{)\{([a-z]\w*)\}", drawn, text)

    def with_arrays(self, text):
        """A text with arrays in place of letters in brackets, and of integers in angles."""
        shapes = r"\[((?:[0-9]*[A-Za-z][A-Za-z0-9]*)?)\]"
        text = re.sub(shapes, lambda m: self.array(m[1]), text)

        def integers(match):
            kind = "places" if self.chance(0.2) else "few"
            return self.arr(tuple(map(self.extent, match[1])), self.one(INTEGERS), kind)

        return re.sub(r"<([a-z]+)>", integers, text)

    def value(self, choices):
        """A value of a parameter."""
        choice = self.one(alternatives(choices))
        if self.chance(self.wild):
            return self.draw_wild()
        if (made := self.draw(choice)) is not None:
            return made
        choice = choice.replace("lambda_", "lambda ").replace("seed", str(self.random.randrange(9)))
        return self.with_arrays(choice)

    # ---- Programs ----
    def arguments(self, listed, draws):
        """The arguments as text, and those by name that others depend on."""
        texts, named, known = [], False, {}
        for name, kind, optional in listed:
            if optional and self.chance(0.5):
                named = True
                continue
            text = self.value(draws.get(name, "[]"))
            known.setdefault("first", text)
            known[name] = text
            if kind == "name" or (kind == "either" and (named or self.chance(0.2))):
                texts.append(f"{name}={text}")
                named = True
            elif not named and text:
                texts.append(text)
        return texts, known

    def call(self):
        """(what, program) of a call of a function or method."""
        often = ["core"] * 6 + ["array"] * 3
        group = self.groups[self.one([*often, *sorted({*self.groups} - {"core", "array"})])]
        key, path, listed, draws = self.one(group)
        self.begin()
        if key.startswith("linalg."):
            self.dtype = self.one(("float32", "float32", "float64", "complex64", self.dtype))
            self.kind = "triangular" if "tri" in key else self.one(("definite", "normal"))
        texts, known = self.arguments(listed, draws)
        if key.startswith("array.") and path != "mx.array":
            self.wild = 0
            path = f"({self.with_arrays(draws.get('self', '[]'))}).{key[6:]}"
        call = f"{path}({', '.join(texts)})"
        axis = known.get("axis", "-1")
        along = "-1" if axis == "None" else axis
        if key in recipes.POSTS:
            first = known.get("first")
            call = recipes.POSTS[key].format(call=call, a=first, axis=axis, along=along)
        room, name = key.split(".", 1)
        if room == "random":
            call = f"shaped({call})"
        elif room == "optimizers" and name[0].isupper():
            shape = self.one(((3, 4), (2, 2), (4, 2)))
            call = f"optimized({call}, {self.one(('float32', 'float16', 'bfloat16'))!r}, {shape})"
        elif room == "optimizers" and name != "clip_grad_norm":
            call = f"scheduled({call})"
        elif room == "init":
            shape = self.one(((3, 4), (2, 2), (3,), (2, 3, 3), (0, 2)))
            call = f"{call}({self.arr(shape, kind='positive')})"
            call = call if name in ("constant", "identity") else f"shaped({call})"
        return key, f"result = {call}"

    def layer(self):
        """(what, program) of a layer that is made and called."""
        name, made, given = self.one(self.layers)
        self.begin()
        if self.chance(0.6):
            self.dtype = "float32"
        letters = r"(?<![\w.'])[a-z](?![\w.'(=])"
        constructor = re.sub(letters, lambda m: str(self.extent(m[0])), self.one(made).strip())
        if self.chance(self.wild / 2):
            constructor = self.draw_wild()
        given = self.with_arrays(self.one(given).strip())
        return f"nn.{name}", f"result = called(nn.{name}({constructor}), {given})"

    def drawn(self):
        """(what, program) of a random call."""
        kind = self.random.randrange(20)
        if 4 <= kind < 6:
            return self.layer()
        if kind >= 6:
            return self.call()
        line = self.one(self.programs)
        self.begin()
        return line.replace("result = ", "")[:60], self.filled(line).replace("; ", "\n")
