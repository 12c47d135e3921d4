"""Published formulas of some hundred operations, over an adaptor (see `peers`) and arrays."""

from __future__ import annotations

from typing import Any

from .peers import Peer

# The 48 coefficients of the density of sea water: McDougall, Barker, Wright and Feistel, "A
# computationally efficient 48-term expression for the density of seawater in terms of Conservative
# Temperature" (2011), as the functions of the Gibbs-SeaWater toolbox 3.0 have them.
_DENOMINATOR = (
    9.998420897506056e2,
    2.839940833161907,
    -3.147759265588511e-2,
    1.181805545074306e-3,
    -6.698001071123802,
    -2.986498947203215e-2,
    2.327859407479162e-4,
    -3.988822378968490e-2,
    5.095422573880500e-4,
    -1.426984671633621e-5,
    1.645039373682922e-7,
    -2.233269627352527e-2,
    -3.436090079851880e-4,
    3.726050720345733e-6,
    -1.806789763745328e-4,
    6.876837219536232e-7,
    -3.087032500374211e-7,
    -1.988366587925593e-8,
    -1.061519070296458e-11,
    1.550932729220080e-10,
)
_NUMERATOR = (
    1.0,
    2.775927747785646e-3,
    -2.349607444135925e-5,
    1.119513357486743e-6,
    6.743689325042773e-10,
    -7.521448093615448e-3,
    -2.764306979894411e-5,
    1.262937315098546e-7,
    9.527875081696435e-10,
    -1.811147201949891e-11,
    -3.303308871386421e-5,
    3.801564588876298e-7,
    -7.672876869259043e-9,
    -4.634182341116144e-11,
    2.681097235569143e-12,
    5.419326551148740e-6,
    -2.742185394906099e-5,
    -3.212746477974189e-7,
    3.191413910561627e-9,
    -1.931012931541776e-12,
    -1.105097577149576e-7,
    6.211426728363857e-10,
    -1.119011592875110e-10,
    -1.941660213148725e-11,
    -1.864826425365600e-14,
    1.119522344879478e-14,
    -1.200507748551599e-15,
    6.057902487546866e-17,
)
_HEAT_CAPACITY = 3991.86795711963  # of Conservative Temperature, J / (kg K)
_PASCAL = 1e4  # of a decibar


def _denominator(f: Peer, s: Any, t: Any, root: Any) -> tuple[Any, Any, Any]:
    """The coefficients of the powers of the pressure."""
    a = _DENOMINATOR
    constant = a[0] + t * (a[1] + t * (a[2] + a[3] * t))
    constant = constant + s * (
        a[4] + t * (a[5] + a[6] * t) + root * (a[7] + t * (a[8] + t * (a[9] + a[10] * t)))
    )
    first = a[11] + t * (a[12] + a[13] * t) + s * (a[14] + a[15] * t)
    second = a[16] + t * (a[17] + a[18] * t) + a[19] * s
    return constant, first, second


def _numerator(f: Peer, s: Any, t: Any, root: Any) -> tuple[Any, Any, Any, Any]:
    """The same of the numerator."""
    b = _NUMERATOR
    constant = b[0] + t * (b[1] + t * (b[2] + t * (b[3] + b[4] * t)))
    haline = b[5] + t * (b[6] + t * (b[7] + t * (b[8] + b[9] * t))) + b[15] * s
    mixed = b[10] + t * (b[11] + t * (b[12] + t * (b[13] + b[14] * t)))
    constant = constant + s * (haline + root * mixed)
    first = b[16] + t * (b[17] + t * (b[18] + b[19] * t)) + s * (b[20] + b[21] * t)
    second = b[22] + t * (b[23] + b[24] * t + b[25] * s)
    return constant, first, second, b[26] + b[27] * t


def density(f: Peer, s: Any, t: Any, p: Any) -> Any:
    """The density of sea water, kg/m3.

    Args:
        f: the adaptor.
        s: Absolute Salinity, g/kg.
        t: Conservative Temperature, degrees Celsius.
        p: sea pressure, dbar.
    """
    root = f.sqrt(s)
    d0, d1, d2 = _denominator(f, s, t, root)
    n0, n1, n2, n3 = _numerator(f, s, t, root)
    return (d0 + p * (d1 + p * d2)) / (n0 + p * (n1 + p * (n2 + p * n3)))


def seawater(f: Peer, s: Any, t: Any, p: Any) -> tuple[Any, ...]:
    """What the density of sea water gives, by its derivatives and its integral, in SI units.

    Results are the density, the speed of sound, the enthalpy, the thermal expansion, how many times
    the haline contraction that is, the thermobaric coefficient, and how much more a parcel's
    density grows from 2000 to 4000 dbar than above. Arguments are those of `density`.
    """
    a, b = _DENOMINATOR, _NUMERATOR
    root = f.sqrt(s)
    d0, d1, d2 = _denominator(f, s, t, root)
    n0, n1, n2, n3 = _numerator(f, s, t, root)
    above = d0 + p * (d1 + p * d2)
    below = n0 + p * (n1 + p * (n2 + p * n3))
    rho = above / below
    surface = d0 / n0
    middle, deep = (
        (d0 + q * (d1 + q * d2)) / (n0 + q * (n1 + q * (n2 + q * n3))) for q in (2e3, 4e3)
    )
    growth = (deep - middle) / (middle - surface)

    above_t = a[1] + t * (2 * a[2] + 3 * a[3] * t)
    above_t = above_t + s * (a[5] + 2 * a[6] * t + root * (a[8] + t * (2 * a[9] + 3 * a[10] * t)))
    above_t1, above_t2 = a[12] + 2 * a[13] * t + a[15] * s, a[17] + 2 * a[18] * t
    above_t = above_t + p * (above_t1 + p * above_t2)
    below_t = b[1] + t * (2 * b[2] + t * (3 * b[3] + 4 * b[4] * t))
    below_t = below_t + s * (
        b[6]
        + t * (2 * b[7] + t * (3 * b[8] + 4 * b[9] * t))
        + root * (b[11] + t * (2 * b[12] + t * (3 * b[13] + 4 * b[14] * t)))
    )
    below_t1 = b[17] + t * (2 * b[18] + 3 * b[19] * t) + b[21] * s
    below_t2 = b[23] + 2 * b[24] * t + b[25] * s
    below_t = below_t + p * (below_t1 + p * (below_t2 + b[27] * p))
    expansion = (below_t * rho - above_t) / above

    above_s = a[4] + t * (a[5] + a[6] * t)
    above_s = above_s + 1.5 * root * (a[7] + t * (a[8] + t * (a[9] + a[10] * t)))
    above_s1 = a[14] + a[15] * t
    above_s = above_s + p * (above_s1 + a[19] * p)
    below_s = b[5] + t * (b[6] + t * (b[7] + t * (b[8] + b[9] * t))) + 2 * b[15] * s
    below_s = below_s + 1.5 * root * (b[10] + t * (b[11] + t * (b[12] + t * (b[13] + b[14] * t))))
    below_s1, below_s2 = b[20] + b[21] * t, b[25] * t
    below_s = below_s + p * (below_s1 + below_s2 * p)
    contraction = (above_s - below_s * rho) / above

    above_p = d1 + 2 * d2 * p
    below_p = n1 + p * (2 * n2 + 3 * n3 * p)
    rho_p, shrink = (above_p - rho * below_p) / below, above_p / above
    expansion_p = (below_t1 + p * (2 * below_t2 + 3 * b[27] * p)) * rho + below_t * rho_p
    expansion_p = (expansion_p - above_t1 - 2 * p * above_t2) / above - expansion * shrink
    contraction_p = above_s1 + 2 * a[19] * p - (below_s1 + 2 * below_s2 * p) * rho
    contraction_p = (contraction_p - below_s * rho_p) / above - contraction * shrink
    ratio = expansion / contraction
    thermobaric = (expansion_p - ratio * contraction_p) / _PASCAL
    sound = 100 * f.sqrt(below * below / (above_p * below - above * below_p))

    # The specific volume's integral over the pressure, by partial fractions.
    half = 0.5 * d1
    square = half * half
    root_of_discriminant = f.sqrt(square - d0 * d2)
    free = n0 + (2 * n3 * d0 * half / d2 - n2 * d0) / d2
    linear = n1 + (4 * n3 * square / d2 - n3 * d0 - 2 * n2 * half) / d2
    low, high = half - root_of_discriminant, half + root_of_discriminant
    gap = high - low
    part = (free * d2 - linear * half) / (d2 * gap)
    integral = p * (n2 - 2 * n3 * half / d2 + 0.5 * n3 * p) / d2
    integral = integral + linear / (2 * d2) * f.log(1 + p * (2 * half + d2 * p) / d0)
    integral = integral + part * f.log(1 + d2 * p * gap / (low * (high + d2 * p)))
    enthalpy = _HEAT_CAPACITY * t + _PASCAL * integral
    return rho, sound, enthalpy, expansion, ratio, thermobaric, growth


def implied_volatility(f: Peer, call: Any, spot: Any, strike: Any, years: Any) -> Any:
    """The volatility for which a European call has its price (Black and Scholes 1973).

    Three steps of Newton's method from the approximation of Brenner and Subrahmanyam (1988), at an
    interest of 2 % and a dividend of 1 %.
    """
    interest, dividend = 0.02, 0.01
    root = f.sqrt(years)
    due, held = strike * f.exp(-interest * years), spot * f.exp(-dividend * years)
    ratio = f.log(held / due)
    volatility = 2.5066282746310002 * call / (spot * root)
    for _ in range(3):
        deviation = volatility * root
        first = ratio / deviation + 0.5 * deviation
        second = first - deviation
        above, below = (0.5 + 0.5 * f.erf(x * 0.7071067811865476) for x in (first, second))
        vega = 0.3989422804014327 * held * root * f.exp(-0.5 * first * first)
        step = (held * above - due * below - call) / vega
        volatility = f.clip(volatility - f.clip(step, -0.2, 0.2), 0.01, 10.0)
    return volatility
