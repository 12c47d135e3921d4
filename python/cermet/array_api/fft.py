"""The standard's extension for Fourier transforms."""

from collections.abc import Sequence
from typing import Any

from .. import core as mx

Norm = str  # "backward", "ortho" or "forward"


def fft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The discrete Fourier transform along an axis."""
    return mx.fft.fft(x, n, axis, norm)


def ifft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The inverse of `fft`."""
    return mx.fft.ifft(x, n, axis, norm)


def rfft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The transform of real numbers, without what follows by symmetry."""
    return mx.fft.rfft(x, n, axis, norm)


def irfft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The inverse of `rfft`."""
    return mx.fft.irfft(x, n, axis, norm)


def fftn(
    x: mx.array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> mx.array:
    """The transform along several axes."""
    return mx.fft.fftn(x, s, axes, norm)


def ifftn(
    x: mx.array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> mx.array:
    """The inverse of `fftn`."""
    return mx.fft.ifftn(x, s, axes, norm)


def rfftn(
    x: mx.array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> mx.array:
    """The transform of real numbers along several axes."""
    return mx.fft.rfftn(x, s, axes, norm)


def irfftn(
    x: mx.array,
    /,
    *,
    s: Sequence[int] | None = None,
    axes: Sequence[int] | None = None,
    norm: Norm = "backward",
) -> mx.array:
    """The inverse of `rfftn`."""
    return mx.fft.irfftn(x, s, axes, norm)


def _turned(name: str, norm: Norm) -> Norm:
    """The norm of the opposite direction."""
    turned = {"backward": "forward", "ortho": "ortho", "forward": "backward"}
    if norm not in turned:
        raise ValueError(f"{name}: norm is {norm!r}, expected 'backward', 'ortho' or 'forward'")
    return turned[norm]


def hfft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The transform, real, of numbers whose other half follows by symmetry."""
    return mx.fft.irfft(mx.conjugate(x), n, axis, _turned("hfft", norm))


def ihfft(
    x: mx.array, /, *, n: int | None = None, axis: int = -1, norm: Norm = "backward"
) -> mx.array:
    """The inverse of `hfft`."""
    return mx.conjugate(mx.fft.rfft(x, n, axis, _turned("ihfft", norm)))


def fftfreq(
    n: int, /, *, d: float = 1.0, dtype: mx.Dtype | None = None, device: Any = None
) -> mx.array:
    """The frequencies of an `fft` of n samples, d apart."""
    numbers = list(range((n + 1) // 2)) + list(range(-(n // 2), 0))
    return _spaced(numbers, n, d, dtype, device)


def rfftfreq(
    n: int, /, *, d: float = 1.0, dtype: mx.Dtype | None = None, device: Any = None
) -> mx.array:
    """The frequencies of an `rfft` of n samples, d apart."""
    return _spaced(list(range(n // 2 + 1)), n, d, dtype, device)


def _spaced(numbers: list[int], n: int, d: float, dtype: Any, device: Any) -> mx.array:
    out = mx.array(numbers, dtype or mx.float32) / (n * d)
    return out if device is None else out.to_device(device)


def fftshift(x: mx.array, /, *, axes: int | Sequence[int] | None = None) -> mx.array:
    """The frequencies moved so that 0 is in the middle."""
    return mx.fft.fftshift(x, _listed(axes))


def ifftshift(x: mx.array, /, *, axes: int | Sequence[int] | None = None) -> mx.array:
    """The inverse of `fftshift`."""
    return mx.fft.ifftshift(x, _listed(axes))


def _listed(axes: int | Sequence[int] | None) -> Sequence[int] | None:
    return [axes] if isinstance(axes, int) else axes
