"""Random choices and further distributions, in `cermet.core.random`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import core as mx

__all__ = ["beta", "choice", "exponential", "gamma", "poisson"]

Shape = int | Sequence[int]
Number = float | mx.array


def _shape(name: str, shape: Shape | None, *parameters: mx.array) -> tuple[int, ...]:
    common = tuple(mx.broadcast_shapes(*(p.shape for p in parameters)))
    if shape is None:
        return common
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    try:
        fits = tuple(mx.broadcast_shapes(shape, common)) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: parameters of shape {common} for the shape {shape}")
    return shape


def _keys(key: mx.array | None, n: int) -> Sequence[Any]:
    """Keys for n draws; None for each takes the next of the global state."""
    return [None] * n if key is None else list(mx.random.split(key, n))


def _real(name: str, dtype: mx.Dtype) -> mx.Dtype:
    """The type to draw in."""
    if not mx.issubdtype(dtype, mx.floating):
        raise ValueError(f"{name}: dtype is {dtype}, expected a floating type")
    return mx.float64 if dtype == mx.float64 else mx.float32


def choice(
    a: int | mx.array,
    shape: Shape = (),
    replace: bool = True,
    p: mx.array | None = None,
    axis: int = 0,
    key: mx.array | None = None,
) -> mx.array:
    """Parts of an array, chosen at random.

    Args:
        a: the array, or a number n for the integers below it.
        shape: how many, in which shape.
        replace: whether a part may be chosen again.
        p: the probability of each, shape (n,); equal by default. Taken for weights: their sum
            need not be 1.
        axis: the axis of `a` along which the parts lie.
        key: of the random numbers; by default the global state's next.

    Returns:
        `shape`, at the place of `axis`, among the other axes of `a`.
    """
    if isinstance(a, mx.array) and not -a.ndim <= axis < a.ndim:
        raise mx.AxisError(f"choice: axis {axis} is out of range for {a.ndim} dimensions")
    n = a.shape[axis] if isinstance(a, mx.array) else a
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    count = 1
    for extent in shape:
        count *= extent
    if p is not None and p.shape != (n,):
        raise ValueError(f"choice: probabilities of shape {p.shape}, expected ({n},)")
    if count and n < 1:
        raise ValueError("choice: there is nothing to choose from")
    if not replace and count > n:
        raise ValueError(f"choice: {count} of {n} without replacement")
    if count == 0:
        index = mx.zeros(0, mx.int32)
    elif p is None:
        index = (
            mx.random.randint(0, n, (count,), key=key)
            if replace
            else mx.random.permutation(n, key=key)[:count]
        )
    elif replace:
        index = mx.random.categorical(mx.log(p), num_samples=count, key=key)
    else:  # the largest of logarithms plus Gumbel noise
        noisy = mx.log(p) + mx.random.gumbel((n,), key=key)
        index = mx.argsort(-noisy)[:count]
    index = index.astype(mx.int32).reshape(shape)
    return mx.take(a, index, axis=axis) if isinstance(a, mx.array) else index


def exponential(
    scale: Number = 1.0,
    shape: Shape | None = None,
    dtype: mx.Dtype = mx.float32,
    key: mx.array | None = None,
) -> mx.array:
    """Numbers with density exp(-x / scale) / scale, in `shape` or that of `scale`."""
    work = _real("exponential", dtype)
    scale = mx.array(scale).astype(work)
    u = mx.random.uniform(shape=_shape("exponential", shape, scale), dtype=work, key=key)
    return (-mx.log1p(-u) * scale).astype(dtype)


# Proposals of each number. Of them one is accepted but for one draw in 10^10.
_GAMMA_ROUNDS, _POISSON_ROUNDS = 8, 16


def _log_gamma(a: mx.array, shape: tuple[int, ...], key: mx.array | None) -> mx.array:
    """Logarithms of gamma draws (Marsaglia and Tsang, 2000)."""
    keys = _keys(key, 3)
    a = mx.broadcast_to(mx.stop_gradient(a), shape)
    d = mx.where(a < 1, a + 1, a) - 1 / 3  # for less than 1, of a + 1 by a power
    c = 1 / mx.sqrt(9 * d)
    rounds = (_GAMMA_ROUNDS, *shape)
    x = mx.random.normal(rounds, a.dtype, key=keys[0])
    u = mx.random.uniform(shape=rounds, dtype=a.dtype, key=keys[1])
    v = 1 + c * x
    log_v = 3 * mx.log(mx.where(v > 0, v, 1))
    fits = (v > 0) & (mx.log(u) < 0.5 * x * x + d * (1 - mx.exp(log_v) + log_v))
    first = mx.argmax(fits.astype(mx.uint8), axis=0)[None]
    value = mx.log(d) + mx.take_along_axis(log_v, first, axis=0)[0]
    power = mx.log(1 - mx.random.uniform(shape=shape, dtype=a.dtype, key=keys[2])) / a
    return mx.where(a < 1, value + power, value)


def gamma(
    a: Number,
    scale: Number = 1.0,
    shape: Shape | None = None,
    dtype: mx.Dtype = mx.float32,
    key: mx.array | None = None,
) -> mx.array:
    """Numbers with density proportional to x**(a - 1) exp(-x / scale), for positive a.

    In `shape`, or that to which the parameters broadcast. There is a derivative by `scale`, none
    by `a`.
    """
    work = _real("gamma", dtype)
    a, scale = mx.array(a).astype(work), mx.array(scale).astype(work)
    shape = _shape("gamma", shape, a, scale)
    return (mx.exp(_log_gamma(a, shape, key)) * scale).astype(dtype)


def beta(
    a: Number,
    b: Number,
    shape: Shape | None = None,
    dtype: mx.Dtype = mx.float32,
    key: mx.array | None = None,
) -> mx.array:
    """Numbers with density proportional to x**(a - 1) (1 - x)**(b - 1), for positive a and b.

    In `shape`, or that to which the parameters broadcast. There is no derivative.
    """
    work = _real("beta", dtype)
    a, b = mx.array(a).astype(work), mx.array(b).astype(work)
    shape = _shape("beta", shape, a, b)
    keys = _keys(key, 2)
    return mx.sigmoid(_log_gamma(a, shape, keys[0]) - _log_gamma(b, shape, keys[1])).astype(dtype)


def poisson(
    lam: Number,
    shape: Shape | None = None,
    dtype: mx.Dtype = mx.int32,
    key: mx.array | None = None,
) -> mx.array:
    """How often something happens that happens `lam` times on average.

    In `shape`, or that of `lam`. There is no derivative.
    """
    lam = mx.stop_gradient(mx.array(lam).astype(mx.float32))
    shape = _shape("poisson", shape, lam)
    lam = mx.broadcast_to(lam, shape)
    keys = _keys(key, 3)
    few = _few(mx.minimum(lam, 10), mx.random.uniform(shape=shape, key=keys[0]))
    rounds = (_POISSON_ROUNDS, *shape)
    u = mx.random.uniform(-0.5, 0.5, rounds, key=keys[1])
    many = _many(mx.maximum(lam, 10), u, mx.random.uniform(shape=rounds, key=keys[2]))
    count = mx.where(lam < 10, few, many)
    return mx.where((lam >= 0) & mx.isfinite(lam), count, -1).astype(dtype)


def _few(lam: mx.array, u: mx.array) -> mx.array:
    """Counts by inversion: how many sums of probabilities a uniform number exceeds."""
    probability = total = mx.exp(-lam)
    count = (u >= total).astype(mx.float32)
    for k in range(1, 42):
        probability = probability * lam / k
        total = total + probability
        count = count + (u >= total)
    return count


def _many(lam: mx.array, u: mx.array, v: mx.array) -> mx.array:
    """Counts by transformed rejection (Hörmann, 1993, PTRS), for lam of 10 and more."""
    b = 0.931 + 2.53 * mx.sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    us = 0.5 - mx.abs(u)
    k = mx.floor((2 * a / us + b) * u + lam + 0.43)
    usual = (us >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
    refused = (k < 0) | ((us < 0.013) & (v > us))
    density = mx.log(v) + mx.log(inverse_alpha) - mx.log(a / (us * us) + b)
    fits = ~refused & (usual | (density <= _log_probability(k, lam)))
    first = mx.argmax(fits.astype(mx.uint8), axis=0)[None]
    return mx.take_along_axis(k, first, axis=0)[0]


def _log_probability(k: mx.array, lam: mx.array) -> mx.array:
    """log(lam**k exp(-lam) / k!) without the difference of large terms (Loader, 2000)."""
    n = mx.maximum(k, 1)
    apart = (n - lam) / lam
    deviance = lam * ((1 + apart) * mx.log1p(apart) - apart)
    rest = 1 / (12 * n) - 1 / (360 * n**3) + 1 / (1260 * n**5)
    return mx.where(k == 0, -lam, -rest - deviance - 0.5 * mx.log(2 * mx.pi * n))
