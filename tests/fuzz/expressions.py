"""The expressions in which Cermet is compared with NumPy, and the differences that are known."""

import re

DTYPES = """bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64
    complex64""".split()
TYPES = {
    "any": DTYPES,
    "real": DTYPES[1:-1],
    "integer": DTYPES[:9],
    "inexact": DTYPES[9:],
}
# How results are compared, by the arguments of `compare`: to the bit, in ULPs, or by their size.
EXACT, CLOSE, LOOSE = "exact=True", "bound=8", "bound=1e9"
SCALED = "bound=8, scaled=True"

EXACT_UNARY = """negative floor ceil trunc rint round isnan isinf isfinite logical_not conj real
    imag isposinf isneginf""".split()
UNARY = """sqrt reciprocal exp expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin arccos
    arctan arcsinh arccosh arctanh degrees radians nan_to_num""".split()
EXACT_BINARY = """add subtract equal not_equal less less_equal greater greater_equal logical_and
    logical_or logical_xor""".split()
BINARY = """maximum minimum multiply divide power arctan2 remainder""".split()
INTEGER = "bitwise_and bitwise_or bitwise_xor left_shift right_shift".split()
OPERATOR = "+ - * / % ** < <= > >= == != & | ^".split()
UPDATE = "add multiply".split()
CHOICE = "maximum minimum".split()  # of zeros, either
WORDS = {name: value for name, value in globals().items() if name.isupper()}
ELEMENTWISE = EXACT_UNARY + UNARY

# How to compare, types, and expressions of arrays `a` and `b`; what is in braces is drawn, and a
# word in capitals stands for each name of its list.
TABLE = """
EXACT any      xp.EXACT_UNARY(a) ; xp.EXACT_BINARY(a, b)
EXACT integer  xp.INTEGER(a, b) ; xp.bitwise_invert(a)
CLOSE any      xp.abs(a) ; xp.sign(a) ; xp.square(a) ; xp.positive(a)
CLOSE inexact  xp.UNARY(a)
CLOSE real     xp.BINARY(a, b)
SCALED real    xp.logaddexp(a, b)
CLOSE real     floored(xp.floor_divide, a, b)
CLOSE any      floored(operator.floordiv, a, {number}) ; floored(operator.floordiv, {number}, a)
CLOSE any      floored(operator.floordiv, a, b)
CLOSE any      a OPERATOR {number} ; {number} OPERATOR a ; a OPERATOR b
LOOSE any      xp.sum(a, axis={axes}, keepdims={bool}) ; xp.prod(a, axis={axes})
LOOSE any      xp.mean(a, axis={axes})
LOOSE real     xp.var(a, axis={axes}, ddof={small}) ; xp.std(a, axis={axes}, ddof={small})
CLOSE any      xp.max(a, axis={axes}, keepdims={bool}) ; xp.min(a, axis={axes})
CLOSE any      xp.all(a, axis={axes})
EXACT any      xp.any(a, axis={axes}) ; xp.argmax(a, axis={axis}) ; xp.argmin(a, axis={axis})
EXACT any      xp.count_nonzero(a, axis={axes})
LOOSE real     xp.cumsum(a, axis={axis}) ; xp.cumprod(a, axis={axis}) ; xp.median(a, axis={axis})
CLOSE any      xp.sort(a, axis={axis}{stable})
CLOSE any      xp.sort(xp.partition(a, {int}, axis=0), axis=0{stable})
EXACT any      law(xp, xp.sort(a), lambda: xp.take_along_axis(a, xp.argsort(a), axis=-1))
EXACT any      xp.argsort(a, axis={axis}{stable}) ; xp.searchsorted(xp.sort(a), b) ; xp.unique(a)
EXACT any      a[{index}] ; a[{index}] ; xp.take(a, {indices}, axis={axis})
EXACT any      (a.__setitem__({index}, {number}), a)[1] ; (a.__setitem__({index}, b), a)[1]
EXACT any      updated_at(xp, a, {indices}, {small}, 'UPDATE')
CLOSE any      updated_at(xp, a, {indices}, {small}, 'CHOICE')
EXACT any      xp.reshape(a, {shape}) ; xp.broadcast_to(a, {shape}) ; xp.transpose(a, {permuted})
EXACT any      xp.swapaxes(a, {axis}, {axis}) ; xp.moveaxis(a, {axis}, {axis})
EXACT any      xp.expand_dims(a, {axis})
EXACT any      xp.squeeze(a, {axes}) ; xp.flip(a, {axes}) ; xp.roll(a, {int}, {axis})
EXACT any      xp.tile(a, {shape})
EXACT any      xp.repeat(a, {small}, {axis}) ; xp.pad(a, {small}, {pad})
EXACT any      xp.split(a, {small}, axis={axis})
EXACT any      xp.concatenate([a, b], axis={axis}) ; xp.stack([a, b], axis={axis})
EXACT any      xp.atleast_2d(a)
EXACT any      xp.diagonal(a, {int}) ; xp.diag(a, {int})
LOOSE any      xp.trace(a, {int})
EXACT any      xp.where(a, b, {number})
EXACT any      xp.tril(a, {int}) ; xp.triu(a, {int}) ; xp.array_equal(a, b)
EXACT real     xp.diff(a, n={small}, axis={axis}) ; xp.isclose(a, b)
CLOSE real     xp.clip(a, {number}, {number})
EXACT any      a.astype(xp.{dtype}) ; a.tolist() ; a.item() ; len(a) ; list(a)
EXACT any      int(a) ; float(a) ; complex(a) ; bool(a) ; operator.index(a)
LOOSE any      xp.matmul(a, b) ; a @ b.T ; xp.outer(a, b) ; xp.inner(a, b) ; xp.kron(a, b)
LOOSE any      xp.tensordot(a, b, {small}) ; xp.einsum({einsum}, a, b) ; logsumexp(xp, a)
LOOSE real     convolved(xp, a, b, {mode}) ; xp.linalg.norm(a, axis={axis}, keepdims={bool})
EXACT any      xp.arange({number}, {number}, {number})[:9]
EXACT any      xp.arange({far}, {far} + {small}, {small}, dtype=xp.int64)[:9]
EXACT any      xp.arange({far}, {far} + {small}, 2, dtype=xp.int64)[:9]
LOOSE any      xp.linspace({number}, {number}, {small})
EXACT any      xp.eye({small}, {small}, {int}) ; xp.tri({small}, {small}, {int})
EXACT any      xp.full({shape}, {small}, dtype=xp.{dtype})
EXACT any      xp.array({nested}, dtype=xp.float32).tolist()
EXACT any      xp.array(foreign('{integer}', {small})) ; xp.asarray(foreign('{integer}', {small}))
EXACT any      within(xp, {far}, {far}, '{integer}') ; within(xp, {int}, {int}, '{integer}')
EXACT any      np.asarray(xp.ones({shape})).flags.c_contiguous
EXACT any      np.asarray(a + 0).flags.c_contiguous
EXACT any      np.asarray(xp.full({shape}, {small})).flags.c_contiguous
EXACT any      np.asarray(xp.zeros({shape}, dtype=xp.{dtype})).flags.c_contiguous
"""


def expanded(text):
    """An expression for each name that a word in it stands for."""
    for word in re.findall(r"\b[A-Z_]+\b", text):
        if word in WORDS:
            return [text.replace(word, name) for name in WORDS[word]]
    return [text]


TEMPLATES = [
    (WORDS[how], types, expression)
    for how, types, texts in (line.split(None, 2) for line in TABLE.strip().splitlines())
    for text in texts.split(" ; ")
    for expression in expanded(text)
]

# What is documented to be otherwise than in NumPy: expression and difference as patterns, and why.
KNOWN = [
    ("", r"raises \w+: .*(does not take|not defined|not supported|needs? |takes )", "refused"),
    ("", r"raises \w+: .*expected (\w+ dimension|at least)", "shapes that are refused"),
    ("", r"raises TypeError: \w+\(\): incompatible|raises KindError", "arguments of another kind"),
    ("", r"raises AxisError: .* 0 dimensions", "a number has no axis"),
    ("", r"gives .*expected \w*TypeError", "types that NumPy alone refuses"),
    ("", r"expected ValueError: (Maximum allowed|low >= high|high <=|Integers to neg)", "likewise"),
    ("", r"gives .*expected \w*(IndexError|AxisError)", "places out of bounds have no effect"),
    ("", r"type bool, expected int8", "bool stays bool"),
    ("", r"partition: position", "there is no such place"),
    ("median", "hold no element", "nothing has no middle"),
    ("reciprocal", "type float", "1 / a is a float"),
    ("rint|floor|ceil|trunc|round", "type (u?int|bool)", "integers are whole"),
    ("astype|setitem|full|clip|updated_at", "cannot convert float", "casts saturate"),
    ("astype", r"values: .*\(u?int", "numbers beyond the type saturate"),
    (r"arange\(-0\.0", "values", "the sign of a zero"),
    ("setitem", "gives", "a cast that NumPy refuses"),
    (
        "%|remainder|floored",
        r"ulp.*\(float32\), expected.*\(float64\)",
        "of rounded numbers",
    ),
    (r"% 1e-3|floored\(.* 1e-3\)", "ulp", "of a rounded divisor"),
    (r"arange\(.*(inf|nan)|linspace.*(inf|nan)", "", "endless ranges"),
    ("where", "does not fit", "numbers that NumPy wraps"),
    ("clip", "does not fit", "a bound between which and the type there is nothing"),
    (r"law\(xp, xp.sort", "values: False", "sort has zeros by sign, argsort as they come"),
    (r"arange\(.*\d{19}", "", "numbers that int64 does not hold are floats"),
    ("einsum", "values: .*int32.*int(8|16)", "sums of narrow integers have 32 bits"),
    ("einsum", "type int32, expected bool", "sums of bools count"),
    ("[=<>]", "gives .*expected OverflowError: Python int", "any integer can be compared"),
    ("prod", "inf ulp", "the order of 0 and what overflows"),
    (r"(diag|diagonal|trace)\(a, -2147483648", "shape|values", "NumPy negates it as an int"),
    ("diff", "AxisError", "axes are checked when nothing is done, too"),
    (r"\*\*|power", "complex|ulp", "powers of far arguments"),
    ("log1p", "ulp.*complex64", "NumPy's own error where the modulus of 1 + z is near 1"),
]
