"""Special functions: erfc, lgamma, digamma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import core as mx

__all__ = ["digamma", "erfc", "lgamma"]

# Chebyshev coefficients of log(exp(x^2) erfc(x) / t) in 2 t - 1, where t = 2 / (2 + x): a fit made
# for this file. float32 takes the first 13.
_ERFC = (
    -0.6513268598908547, 0.6419697923564902, 0.01947647320418578, -0.0095615147868087,
    -0.0009465953444820032, 0.00036683949785262164, 4.2523324806897333e-05,
    -2.0278578112710428e-05, -1.624290004617715e-06, 1.3036558353955327e-06,
    1.5626441905272595e-08, -8.523809633952376e-08, 6.529054987484638e-09,
    5.059342787246712e-09, -9.913633440318859e-10, -2.2736590201084264e-10,
    9.646878584056188e-11, 2.3930391648376706e-12, -6.884744632115025e-12,
    8.928677632760877e-13, 3.14950918984453e-13, -1.14316994403091e-13,
)  # fmt: skip
# B(2k) / (2k (2k - 1)): the coefficients of Stirling's series.
_STIRLING = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400,
)  # fmt: skip


def _working(a: Any, name: str) -> tuple[mx.array, mx.Dtype]:
    """The argument in the type to compute in, and the type of the result."""
    a = a if isinstance(a, mx.array) else mx.array(a)
    if a.dtype == mx.complex64:
        raise ValueError(f"{name}: complex64 is not supported")
    to = a.dtype if mx.issubdtype(a.dtype, mx.floating) else mx.float32
    return a.astype(mx.float64 if to == mx.float64 else mx.float32), to


def _chebyshev(coefficients: Sequence[float], y: mx.array) -> mx.array:
    above, twice = mx.zeros_like(y), 2 * y
    value = above
    for c in reversed(coefficients[1:]):
        value, above = twice * value - above + c, value
    return y * value - above + coefficients[0]


@mx.custom_function
def _erfc(x: mx.array) -> mx.array:
    size = mx.minimum(mx.abs(x), 30)
    t = 2 / (2 + size)
    # x^2 in two parts: exp makes a relative error of an absolute one.
    high = mx.round(size * 64) / 64
    square = mx.exp(-high * high) * mx.exp(-(size - high) * (size + high))
    fit = _ERFC if x.dtype == mx.float64 else _ERFC[:13]
    tail = t * square * mx.exp(_chebyshev(fit, 2 * t - 1))
    return mx.where(x < 0, 2 - tail, tail)


def _slope_of_erfc(x: mx.array) -> mx.array:
    return -2 / math.sqrt(math.pi) * mx.exp(-x * x)


@_erfc.vjp
def _erfc_vjp(primal: mx.array, cotangent: mx.array, _output: mx.array) -> mx.array:
    return cotangent * _slope_of_erfc(primal)


@_erfc.jvp
def _erfc_jvp(primal: mx.array, tangent: mx.array) -> mx.array:
    return tangent * _slope_of_erfc(primal)


def erfc(a: mx.array, /) -> mx.array:
    """The complementary error function, 1 - erf(a), accurate where it is small."""
    x, to = _working(a, "erfc")
    return _erfc(x).astype(to)


def _least(dtype: mx.Dtype) -> int:
    """From where on Stirling's series is exact to the last digits."""
    return 8 if dtype == mx.float64 else 4


def _stirling(x: mx.array) -> mx.array:
    """log of the gamma function, for x of `_least` and more."""
    inverse = 1 / x
    square = inverse * inverse
    rest = mx.zeros_like(x)
    for c in reversed(_STIRLING):
        rest = rest * square + c
    return (x - 0.5) * mx.log(x) - x + 0.5 * math.log(2 * math.pi) + rest * inverse


def _log_gamma(x: mx.array) -> mx.array:
    """log of the gamma function for x > 0."""
    # For less, of x + n, by the product of what lies between.
    least = _least(x.dtype)
    product, shifted = mx.ones_like(x), x
    for _ in range(least):
        steps = shifted < least
        product = mx.where(steps, product * shifted, product)
        shifted = mx.where(steps, shifted + 1, shifted)
    value = _stirling(shifted)
    return mx.where(x < least, value - mx.log(product), value)


@mx.custom_function
def _lgamma(x: mx.array) -> mx.array:
    flipped = x < 0.5
    value = _log_gamma(mx.where(flipped, 1 - x, x))
    # gamma(x) gamma(1 - x) = pi / sin(pi x), the sine of what x differs from an integer by.
    sine = mx.abs(mx.sin(math.pi * (x - mx.round(x))))
    value = mx.where(flipped, math.log(math.pi) - mx.log(sine) - value, value)
    return mx.where(mx.isinf(x), mx.inf, value)


@_lgamma.vjp
def _lgamma_vjp(primal: mx.array, cotangent: mx.array, _output: mx.array) -> mx.array:
    return cotangent * digamma(primal)


@_lgamma.jvp
def _lgamma_jvp(primal: mx.array, tangent: mx.array) -> mx.array:
    return tangent * digamma(primal)


def lgamma(a: mx.array, /) -> mx.array:
    """The logarithm of the magnitude of the gamma function; infinite at 0, -1, -2, ..."""
    x, to = _working(a, "lgamma")
    return _lgamma(x).astype(to)


def digamma(a: mx.array, /) -> mx.array:
    """The derivative of `lgamma`; nan at 0, -1, -2, ..."""
    x, to = _working(a, "digamma")
    flipped = x < 0.5
    y = mx.where(flipped, 1 - x, x)
    least, lifted = _least(y.dtype), mx.zeros_like(y)
    for _ in range(least):
        steps = y < least
        lifted = mx.where(steps, lifted - 1 / y, lifted)
        y = mx.where(steps, y + 1, y)
    square = 1 / (y * y)
    rest = mx.zeros_like(y)
    for k, c in reversed(list(enumerate(_STIRLING))):
        rest = (rest + (2 * k + 1) * c) * square
    value = lifted + mx.log(y) - 0.5 / y - rest
    apart = math.pi * (x - mx.round(x))  # the tangent has the period pi
    apart = mx.where(flipped, apart, 1)
    turned = value - math.pi / mx.tan(apart)
    turned = mx.where(apart == 0, mx.nan, turned)
    return mx.where(flipped, turned, value).astype(to)
