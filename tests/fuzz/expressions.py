"""The expressions in which Cermet is compared with NumPy, and the differences that are known."""

DTYPES = (
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 complex64"
).split()
EXACT, CLOSE, LOOSE = "exact=True", "bound=8", "bound=1e9"
UNARY_EXACT = (
    "negative floor ceil trunc rint round isnan isinf isfinite logical_not conj real imag "
    "isposinf isneginf bitwise_invert"
).split()
UNARY = (
    "sqrt reciprocal exp expm1 log log2 log10 log1p sin cos tan sinh cosh tanh arcsin "
    "arccos arctan arcsinh arccosh arctanh degrees radians nan_to_num"
).split()
BINARY_EXACT = (
    "add subtract equal not_equal less less_equal greater greater_equal logical_and "
    "logical_or logical_xor"
).split()
INTEGER = "bitwise_and bitwise_or bitwise_xor left_shift right_shift".split()
BINARY = "maximum minimum multiply divide power arctan2 logaddexp floor_divide remainder".split()
UPDATES = "add maximum minimum multiply".split()
OPERATORS = "+ - * / // % ** < <= > >= == != & | ^".split()

# (how results are compared, types of the arrays, the expression with what is drawn in braces).
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
    *((LOOSE, "any",
    f"xp.{name}(a, axis={{axes}}, keepdims={{bool}})") for name in "sum prod mean".split()),
    *((LOOSE, "real", f"xp.{name}(a, axis={{axes}}, ddof={{small}})") for name in ("var", "std")),
    *((CLOSE, "any",
    f"xp.{name}(a, axis={{axes}}, keepdims={{bool}})") for name in "max min all any".split()),
    *((EXACT, "any", f"xp.{name}(a, axis={{axis}})") for name in "argmax argmin".split()),
    *((LOOSE, "real", f"xp.{name}(a, axis={{axis}})") for name in "cumsum cumprod median".split()),
    (CLOSE, "any", "xp.sort(a, axis={axis}{stable})"),
    (EXACT, "any",
    "law(xp, xp.sort(a, axis={last}), lambda: "
    "xp.take_along_axis(a, xp.argsort(a, axis={last}), axis={last}))"),
    (EXACT, "any", "xp.argsort(a, axis={axis}{stable})"),
    (CLOSE, "any", "xp.sort(xp.partition(a, {int}, axis=0), axis=0{stable})"),
    (EXACT, "any", "a[{index}]"),
    (EXACT, "any", "a[{index}]"),
    (EXACT, "any", "(a.__setitem__({index}, {number}), a)[1]"),
    (EXACT, "any", "(a.__setitem__({index}, b), a)[1]"),
    (EXACT, "any", "xp.take(a, {indices}, axis={axis})"),
    *((EXACT, "any",
    f"updated_at(xp, a, {{indices}}, {{small}}, {name!r})") for name in UPDATES),
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
    *((EXACT, "any",
    f"{name}(a)") for name in "int float complex bool len list operator.index".split()),
    *((EXACT, "any", f"a.{name}()") for name in "tolist item".split()),
    *((EXACT, "any", f"np.asarray({made}).flags.c_contiguous") for made in ("xp.ones({shape})",
    "xp.zeros({shape}, dtype=xp.{dtype})", "xp.full({shape}, {number})",
    "xp.copy(a) if xp is np else xp.array(a)", "a + 0")),
]  # fmt: skip
ELEMENTWISE = [*UNARY_EXACT, *UNARY]

# What is documented to be otherwise than in NumPy: (expression, difference, why), as patterns.
KNOWN = [
    ("", r"raises \w+: .*(does not take|not defined|not supported|needs? |takes )", "refused"),
    ("", r"raises \w+: .*expected (\w+ dimension|at least)", "shapes that it refuses"),
    ("", r"raises TypeError: \w+\(\): incompatible", "arguments of another kind"),
    ("", r"gives .*expected \w*TypeError", "types that NumPy alone refuses"),
    ("", r"expected ValueError: (Maximum allowed|low >= high|Integers to negative)",
    "NumPy alone refuses"),
    ("", r"gives .*expected \w*(IndexError|AxisError)", "places out of bounds have no effect"),
    ("", r"raises AxisError: .* 0 dimensions", "a number has no axis"),
    ("", r"type bool, expected int8", "bool stays bool"),
    ("", r"boolean mask selects|partition: position|median: .* hold no element",
    "the shape is not known, nothing is the middle"),
    ("reciprocal", "type float", "1 / a is a float"),
    ("rint|floor|ceil|trunc|round", "type (u?int|bool)", "integers are whole"),
    (r"astype|setitem|full|clip", r"OverflowError: cannot convert float", "casts saturate"),
    ("%|//|remainder|floor_divide", r"ulp.*\(float32\), expected.*\(float64\)",
    "of numbers rounded to float32"),
    (r"arange\(.*(inf|nan)", "", "endless ranges"),
    ("einsum", "values: .*int32.*int(8|16)|linspace.*inf", "sums of narrow integers have 32 bits"),
    ("linspace", "inf|nan", "endless ranges"),
    ("setitem", "gives", "a cast that NumPy refuses"),
    ("diff", "AxisError", "axes are checked when nothing is done, too"),
    (r"a\.at|updated|setitem", "expected (Value|Overflow)Error: cannot convert float",
    "casts saturate"),
    (r"\*\*|power", r"complex|ulp", "powers of far arguments"),
]  # fmt: skip
TYPES = {"any": DTYPES, "real": DTYPES[1:-1], "integer": DTYPES[:9], "inexact": DTYPES[9:]}
