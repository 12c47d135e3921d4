"""Compares random expressions with NumPy: values, shapes, types, and what is refused.

Differences that are known and documented stand in KNOWN; everything else is a finding.
"""

import re

from room.findings import form
from room.values import FAR, Values

DTYPES = "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64".split()
EXACT, CLOSE, LOOSE = "exact=True", "bound=8", "bound=1e9"
UNARY_EXACT = "negative floor ceil trunc rint round isnan isinf isfinite logical_not conj real imag isposinf isneginf bitwise_invert".split()
UNARY = "sqrt reciprocal exp expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos arctan arcsinh arccosh arctanh degrees radians nan_to_num".split()
BINARY_EXACT = "add subtract equal not_equal less less_equal greater greater_equal logical_and logical_or logical_xor".split()
INTEGER = "bitwise_and bitwise_or bitwise_xor left_shift right_shift".split()
BINARY = "maximum minimum multiply divide power arctan2 logaddexp floor_divide remainder".split()
OPERATORS = "+ - * / // % ** < <= > >= == != & | ^".split()

# (how results are compared, types of the arrays, the expression). {axis}, {axes}, {int}, {number}, {shape}, {index}, {bool} and {permuted} are drawn.
TEMPLATES = [
    *((EXACT, "any", f"xp.{name}(a)") for name in UNARY_EXACT),
    *((CLOSE, "any", f"xp.{name}(a)") for name in ("abs", "sign", "square", "positive")),
    *((CLOSE, "inexact", f"xp.{name}(a)") for name in UNARY),
    *((EXACT, "any", f"xp.{name}(a, b)") for name in BINARY_EXACT),
    *((EXACT, "integer", f"xp.{name}(a, b)") for name in INTEGER),
    *((CLOSE, "real", f"xp.{name}(a, b)") for name in BINARY),
    *((CLOSE, "any", f"a {sign} {{number}}") for sign in OPERATORS),
    *((CLOSE, "any", f"{{number}} {sign} a") for sign in OPERATORS),
    *((CLOSE, "any", f"a {sign} b") for sign in OPERATORS),
    *((LOOSE, "any", f"xp.{name}(a, axis={{axes}}, keepdims={{bool}})") for name in "sum prod mean".split()),
    *((LOOSE, "real", f"xp.{name}(a, axis={{axes}}, keepdims={{bool}}, ddof={{small}})") for name in "var std".split()),
    *((CLOSE, "any", f"xp.{name}(a, axis={{axes}}, keepdims={{bool}})") for name in "max min all any".split()),
    *((EXACT, "any", f"xp.{name}(a, axis={{axis}})") for name in "argmax argmin".split()),
    *((LOOSE, "real", f"xp.{name}(a, axis={{axis}})") for name in "cumsum cumprod median".split()),
    (CLOSE, "any", "xp.sort(a, axis={axis}{stable})"),
    (EXACT, "any", "law(xp, xp.sort(a, axis={last}), lambda: xp.take_along_axis(a, xp.argsort(a, axis={last}), axis={last}))"),
    (EXACT, "any", "xp.argsort(a, axis={axis}{stable})"),
    (CLOSE, "any", "xp.sort(xp.partition(a, {int}, axis=0), axis=0{stable})"),
    (EXACT, "any", "a[{index}]"),
    (EXACT, "any", "a[{index}]"),
    (EXACT, "any", "(a.__setitem__({index}, {number}), a)[1]"),
    (EXACT, "any", "(a.__setitem__({index}, b), a)[1]"),
    (EXACT, "any", "xp.take(a, {indices}, axis={axis})"),
    *((EXACT, "any", f"updated(xp, a, {{indices}}, {{number}}, {name!r})") for name in "add maximum minimum multiply".split()),
    (EXACT, "any", "xp.reshape(a, {shape})"),
    (EXACT, "any", "xp.broadcast_to(a, {shape})"),
    (EXACT, "any", "xp.transpose(a, {permuted})"),
    (EXACT, "any", "xp.swapaxes(a, {axis}, {axis})"),
    (EXACT, "any", "xp.moveaxis(a, {axis}, {axis})"),
    (EXACT, "any", "xp.expand_dims(a, {axis})"),
    (EXACT, "any", "xp.squeeze(a, {axes})"),
    (EXACT, "any", "xp.flip(a, {axes})"),
    (EXACT, "any", "xp.roll(a, {int}, {axis})"),
    (EXACT, "any", "xp.repeat(a, {small}, {axis})"),
    (EXACT, "any", "xp.tile(a, {shape})"),
    (EXACT, "any", "xp.pad(a, {small}, {pad})"),
    (EXACT, "any", "xp.concatenate([a, b], axis={axis})"),
    (EXACT, "any", "xp.stack([a, b], axis={axis})"),
    (EXACT, "any", "xp.split(a, {small}, axis={axis})"),
    (EXACT, "any", "xp.diagonal(a, {int})"),
    (EXACT, "any", "xp.diag(a, {int})"),
    (EXACT, "any", "xp.trace(a, {int})"),
    (EXACT, "any", "xp.tril(a, {int})"),
    (EXACT, "any", "xp.triu(a, {int})"),
    (EXACT, "any", "xp.where(a, b, {number})"),
    (CLOSE, "real", "xp.clip(a, {number}, {number})"),
    (EXACT, "real", "xp.diff(a, n={small}, axis={axis})"),
    (EXACT, "any", "xp.atleast_2d(a)"),
    (EXACT, "any", "xp.array_equal(a, b)"),
    (EXACT, "real", "xp.isclose(a, b)"),
    (EXACT, "any", "xp.unique(a)"),
    (EXACT, "real", "xp.searchsorted(xp.sort(a), b)"),
    (EXACT, "any", "a.astype(xp.{dtype})"),
    (EXACT, "any", "xp.count_nonzero(a, axis={axes})"),
    (LOOSE, "any", "xp.matmul(a, b)"),
    (LOOSE, "any", "a @ b.T"),
    (LOOSE, "any", "xp.outer(a, b)"),
    (LOOSE, "any", "xp.inner(a, b)"),
    (LOOSE, "any", "xp.kron(a, b)"),
    (LOOSE, "any", "xp.tensordot(a, b, {small})"),
    (LOOSE, "real", "xp.convolve(a, b, {mode})"),
    (LOOSE, "any", "xp.einsum({einsum}, a, b)"),
    (LOOSE, "real", "xp.linalg.norm(a, axis={axis}, keepdims={bool})"),
    (LOOSE, "any", "logsumexp(xp, a)"),
    (EXACT, "any", "xp.arange({number}, {number}, {number})[:9]"),
    (EXACT, "any", "xp.arange({far}, {far} + {small}, {small}, dtype=xp.int64)[:9]"),
    (LOOSE, "any", "xp.linspace({number}, {number}, {small})"),
    (EXACT, "any", "xp.eye({small}, {small}, {int})"),
    (EXACT, "any", "xp.tri({small}, {small}, {int})"),
    (EXACT, "any", "xp.full({shape}, {small}, dtype=xp.{dtype})"),
    (EXACT, "any", "xp.array({nested}, dtype=xp.float32).tolist()"),
    (EXACT, "any", "within(xp, {far}, {far}, {dtype!r})"),
    (EXACT, "any", "within(xp, {int}, {int}, {dtype!r})"),
    *((EXACT, "any", f"{name}(a)") for name in "int float complex bool len list operator.index".split()),
    *((EXACT, "any", f"a.{name}()") for name in "tolist item".split()),
    *((EXACT, "any", f"np.asarray({made}).flags.c_contiguous") for made in ("xp.ones({shape})", "xp.zeros({shape}, dtype=xp.{dtype})", "xp.full({shape}, {number})", "xp.copy(a) if xp is np else xp.array(a)", "a + 0")),
]  # fmt: skip
ELEMENTWISE = [*UNARY_EXACT, *UNARY]

# What is documented to be otherwise than in NumPy: (expression, difference, why), as patterns.
KNOWN = [
    ("", r"raises \w+: .*(does not take|not defined|not supported|needs? |takes |expected \w+ dimension|expected at least)", "refused"),
    ("", r"raises TypeError: \w+\(\): incompatible", "arguments of another kind"),
    ("", r"gives .*expected \w*TypeError", "types that NumPy alone refuses"),
    ("", r"expected ValueError: (Maximum allowed|low >= high|Integers to negative)", "NumPy alone refuses"),
    ("", r"gives .*expected \w*(IndexError|AxisError)", "places out of bounds have no effect"),
    ("", r"raises AxisError: .* 0 dimensions", "a number has no axis"),
    ("", r"type bool, expected int8", "bool stays bool"),
    ("", r"boolean mask selects|partition: position|median: .* hold no element", "the shape is not known, nothing is the middle"),
    ("reciprocal", "type float", "1 / a is a float"),
    ("rint|floor|ceil|trunc|round", "type (u?int|bool)", "integers are whole"),
    (r"astype|setitem|full|clip", r"OverflowError: cannot convert float", "casts saturate"),
    ("%|//|remainder|floor_divide", r"ulp.*\(float32\), expected.*\(float64\)", "of numbers rounded to float32"),
    (r"arange\(.*(inf|nan)", "", "endless ranges"),
    ("einsum", "values: .*int32.*int(8|16)|linspace.*inf", "sums of narrow integers have 32 bits"),
    ("linspace", "inf|nan", "endless ranges"),
    ("setitem", "gives", "a cast that NumPy refuses"),
    ("diff", "AxisError", "axes are checked when nothing is done, too"),
    (r"a\.at|updated|setitem", "expected (Value|Overflow)Error: cannot convert float", "casts saturate"),
    (r"\*\*|power", r"complex|ulp", "powers of far arguments"),
]  # fmt: skip
TYPES = {"any": DTYPES, "real": DTYPES[1:-1], "integer": DTYPES[:9], "inexact": DTYPES[9:]}

HELPERS = """def updated(xp, a, indices, value, name):
    if xp is not np:
        return getattr(a.at[mx.array(indices)], name)(value)
    getattr(np, name).at(a, np.array(indices), value)
    return a
def law(xp, value, other):
    return xp is np or (np.array(value).tobytes() == np.array(other()).tobytes())
def logsumexp(xp, a):
    if xp is not np:
        return xp.logsumexp(a)
    wide = a.astype(complex if a.dtype.kind == "c" else float)
    most = np.max(wide.real, initial=-np.inf)
    most = most if np.isfinite(most) else 0
    return (np.log(np.sum(np.exp(wide - most))) + most).astype(a.dtype if a.dtype.kind in "fc" else np.float32)
def within(xp, low, high, dtype):
    if xp is np:
        drawn = np.random.default_rng(0).integers(low, high, 20, dtype=dtype)
    else:
        drawn = np.array(mx.random.randint(low, high, (20,), getattr(mx, dtype.replace("bool", "bool_"))))
    return all(low <= int(x) < high for x in drawn)
"""


class Expressions(Values):
    """Draws what the templates leave open."""

    def axis(self):
        rank = len(self.shape)
        return str(self.random.randrange(-rank, rank)) if rank and self.chance(0.85) else self.one(("None", "3", "-7"))

    def axes(self):
        if self.chance(0.6):
            return self.axis()
        rank = len(self.shape)
        return str(tuple(self.random.sample(range(rank), self.random.randrange(rank + 1))))

    def index(self):
        return self.one((self.one_index, lambda: self.sequence(self.one_index)))().replace("[,", "[").replace("(,)", "()")

    def one_index(self):
        bound = [self.one(("None", "0", "1", "-1", "2", str(self.one(FAR)))) for _ in range(3)]
        return self.one(
            ("...", "None", "slice(None)", f"slice({', '.join(bound)})", "0", "-1", "1", "[0, 1]", "[1, 1, 0]", "True", "[]", str(self.one(FAR)))
        )  # fmt: skip

    def fill(self, template):
        made = template.replace("{last}", self.one(("-1", "0")))
        for name, draw in (
            ("axis", self.axis), ("axes", self.axes), ("int", self.integer), ("number", self.scalar), ("far", lambda: str(self.one(FAR))),
            ("small", lambda: str(self.one((0, 1, 2, 3)))), ("shape", lambda: str(self.some_shape())), ("index", self.index),
            ("indices", lambda: str([self.random.randrange(-1, 2) for _ in range(self.random.randrange(4))])),
            ("bool", lambda: self.one(("True", "False"))), ("dtype", lambda: self.one(DTYPES)), ("stable", lambda: ", **STABLE"),
            ("dtype!r", lambda: repr(self.one(DTYPES[1:9]))), ("mode", lambda: self.one(("'full'", "'same'", "'valid'"))),
            ("pad", lambda: self.one(("mode='edge'", "mode='constant'"))), ("nested", lambda: self.nested(2)),
            ("einsum", lambda: repr(self.one(("ij,jk->ik", "i,i->", "...i,...i->...", "ii,i->i", "i,j", "ij,jk", "ab,bc")))),
            ("permuted", lambda: str(tuple(self.random.sample(range(len(self.shape)), len(self.shape))))),
        ):  # fmt: skip
            while f"{{{name}}}" in made:
                made = made.replace(f"{{{name}}}", draw(), 1)
        return made

    def scalar(self):
        plain = ("True", "False", "1j", "2", "0.5", "-1.5", "inf", "-inf", "nan", "0.0", "-0.0", "1e4", "1e-3")
        return self.one((self.integer, lambda: self.one(plain)))()

    def nested(self, depth):
        if depth == 0 or self.chance(0.3):
            return self.scalar()
        return f"[{', '.join(self.nested(depth - 1) for _ in range(self.random.randrange(4)))}]"

    def data(self, types):
        kind = self.one(("special", "special", "small", "normal"))
        return f"data({self.one(types)!r}, {self.some_shape()}, {self.random.randrange(1000)}, {kind!r})"


def program(v, template):
    """The comparison of an expression on arrays of one type or, at times, of two."""
    how, types, expression = template
    types = [v.one(TYPES[types])]
    given = [v.data(types) for _ in range(2)]
    if "(a)" in expression and v.chance(0.2):
        name = v.one(ELEMENTWISE)
        expression = v.one((f"xp.{name}(a)", f"a.astype(xp.{v.one(DTYPES)})"))
        x = f"data({v.one(types)!r}, ({v.one((1, 5, 17, 31, 33, 100))},), {v.random.randrange(99)}, 'special')"
        return expression, f"said = whole_and_parts(lambda xp, a: {spelled(expression)}, {x})\n"
    expression = v.fill(expression)
    return expression, f"said = compare(lambda xp, a, b: {spelled(expression)}, {', '.join(given)}, {how})\n"


def spelled(expression):
    """The expression with what the libraries name differently."""
    expression = re.sub(r"xp\.(bool)\b", "(np.bool_ if xp is np else mx.bool_)", expression)
    return expression.replace("**STABLE", "**({'kind': 'stable'} if xp is np else {})")


def known(expression, difference):
    """Whether a difference is in the table."""
    return any(re.search(e, expression) and re.search(d, difference, re.S) for e, d, _ in KNOWN)


def fuzz(session):
    """Compares until the time is over."""
    while session.running():
        v = Expressions(session.random)
        template = session.random.choice(TEMPLATES)
        expression, code = program(v, template)
        answer = session.run(HELPERS + code, 10)
        if answer["end"] in ("crash", "hang", "memory"):
            session.found(answer["end"], f"{answer.get('text')} {template[2]}", HELPERS + code)
        elif answer["end"] == "raised" and answer["type"] not in ("KeyboardInterrupt", "MemoryError"):
            session.found("broken", f"{answer['type']} {answer['text']}", HELPERS + code)
        elif answer.get("said") and not known(expression, answer["said"]):
            what = re.split(r"[:,(\[]", answer["said"])[0]
            signature = f"{expression if 'parts' in what else template[2]} | {form(what)}"
            if what.startswith("raises"):  # one text, however many operations give it
                signature = answer["said"]
            session.found("differs", signature, HELPERS + code, answer["said"])
