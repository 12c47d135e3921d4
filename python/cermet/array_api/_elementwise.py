"""Elementwise functions. Those with two operands take a Python scalar for one of them."""

from collections.abc import Callable
from typing import Any

from .. import core as mx

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
]


def unary(name: str, function: Callable[..., mx.array]) -> Callable[[mx.array], mx.array]:
    """The standard's function of one array."""

    def call(x: mx.array, /) -> mx.array:
        return function(x)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    return call


def binary(name: str, function: Callable[..., mx.array]) -> Callable[[Any, Any], mx.array]:
    """The standard's function of two arrays or an array and a scalar."""

    def call(x1: Any, x2: Any, /) -> mx.array:
        return function(x1, x2)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    return call


abs = unary("abs", mx.abs)
acos = unary("acos", mx.arccos)
acosh = unary("acosh", mx.arccosh)
asin = unary("asin", mx.arcsin)
asinh = unary("asinh", mx.arcsinh)
atan = unary("atan", mx.arctan)
atanh = unary("atanh", mx.arctanh)
bitwise_invert = unary("bitwise_invert", mx.bitwise_invert)
ceil = unary("ceil", mx.ceil)
conj = unary("conj", mx.conjugate)
cos = unary("cos", mx.cos)
cosh = unary("cosh", mx.cosh)
exp = unary("exp", mx.exp)
floor = unary("floor", mx.floor)
imag = unary("imag", mx.imag)
isfinite = unary("isfinite", mx.isfinite)
isinf = unary("isinf", mx.isinf)
isnan = unary("isnan", mx.isnan)
log = unary("log", mx.log)
log1p = unary("log1p", mx.log1p)
log2 = unary("log2", mx.log2)
log10 = unary("log10", mx.log10)
logical_not = unary("logical_not", mx.logical_not)
negative = unary("negative", mx.negative)
positive = unary("positive", mx.positive)
real = unary("real", mx.real)
reciprocal = unary("reciprocal", mx.reciprocal)
round = unary("round", mx.round)
sign = unary("sign", mx.sign)
sin = unary("sin", mx.sin)
sinh = unary("sinh", mx.sinh)
sqrt = unary("sqrt", mx.sqrt)
square = unary("square", mx.square)
tan = unary("tan", mx.tan)
tanh = unary("tanh", mx.tanh)
trunc = unary("trunc", mx.trunc)

add = binary("add", mx.add)
atan2 = binary("atan2", mx.arctan2)
bitwise_and = binary("bitwise_and", mx.bitwise_and)
bitwise_left_shift = binary("bitwise_left_shift", mx.left_shift)
bitwise_or = binary("bitwise_or", mx.bitwise_or)
bitwise_right_shift = binary("bitwise_right_shift", mx.right_shift)
bitwise_xor = binary("bitwise_xor", mx.bitwise_xor)
divide = binary("divide", mx.divide)
equal = binary("equal", mx.equal)
floor_divide = binary("floor_divide", mx.floor_divide)
greater = binary("greater", mx.greater)
greater_equal = binary("greater_equal", mx.greater_equal)
less = binary("less", mx.less)
less_equal = binary("less_equal", mx.less_equal)
logaddexp = binary("logaddexp", mx.logaddexp)
logical_and = binary("logical_and", mx.logical_and)
logical_or = binary("logical_or", mx.logical_or)
logical_xor = binary("logical_xor", mx.logical_xor)
maximum = binary("maximum", mx.maximum)
minimum = binary("minimum", mx.minimum)
multiply = binary("multiply", mx.multiply)
not_equal = binary("not_equal", mx.not_equal)
pow = binary("pow", mx.power)
remainder = binary("remainder", mx.remainder)
subtract = binary("subtract", mx.subtract)


def expm1(x: mx.array, /) -> mx.array:
    """exp(x) - 1, accurate near zero."""
    out = mx.expm1(x)  # of -0, a real part is -0 and a complex number's 0
    return out + complex(0.0, -0.0) if x.dtype == mx.complex64 else out


def clip(x: mx.array, /, min: Any = None, max: Any = None) -> mx.array:
    """Moves the elements into [min, max]; None leaves a side open."""
    return x if min is None and max is None else mx.clip(x, min, max)


def paired(x1: Any, x2: Any) -> list[mx.array]:
    """Two operands as arrays of one type and shape."""
    like = x1 if isinstance(x1, mx.array) else x2
    arrays = [x if isinstance(x, mx.array) else mx.array(x, like.dtype) for x in (x1, x2)]
    dtype = mx.result_type(*arrays)
    return list(mx.broadcast_arrays(*(x.astype(dtype) for x in arrays)))


def bits(x: mx.array) -> mx.array:
    """The bits of floating elements, as signed integers."""
    if not mx.issubdtype(x.dtype, mx.floating):
        raise TypeError(f"expected a real floating type, not {x.dtype}")
    return mx.view(x, {2: mx.int16, 4: mx.int32, 8: mx.int64}[x.itemsize])


def signbit(x: mx.array, /) -> mx.array:
    """True where the sign is set, also that of zeros and nans."""
    return bits(x) < 0


def copysign(x1: Any, x2: Any, /) -> mx.array:
    """The magnitudes of x1 with the signs of x2."""
    x1, x2 = paired(x1, x2)
    return mx.where(signbit(x1) == signbit(x2), x1, -x1)


def hypot(x1: Any, x2: Any, /) -> mx.array:
    """sqrt(x1**2 + x2**2) without overflow on the way."""
    x1, x2 = map(mx.abs, paired(x1, x2))
    large, small = mx.maximum(x1, x2), mx.minimum(x1, x2)
    ratio = small / mx.where(large > 0, large, 1)
    length = large * mx.sqrt(1 + ratio * ratio)
    return mx.where(mx.isinf(x1) | mx.isinf(x2), mx.inf, length)


def nextafter(x1: Any, x2: Any, /) -> mx.array:
    """The number next to x1 in the direction of x2."""
    x1, x2 = paired(x1, x2)
    at = bits(x1)
    one = mx.ones_like(at)
    stepped = mx.view(at + mx.where((x2 > x1) == (x1 > 0), one, -one), x1.dtype)
    stepped = mx.where(x1 == 0, copysign(mx.view(one, x1.dtype), x2), stepped)
    stepped = mx.where(x1 == x2, x2, stepped)
    return mx.where(mx.isnan(x1) | mx.isnan(x2), mx.nan, stepped)
