"""Fourier transforms against NumPy in double precision, and by what they must satisfy.

An error is the root mean square of the differences over that of the result: at most 2e-7 where all
prime factors are 61 or less, and 1e-6 where a transform becomes a convolution.
"""

import re

import numpy as np
import pytest
from conftest import ALL_DTYPES, SIMULATED, to_mx, to_np

import cermet.core as mx

NORMS = ("backward", "ortho", "forward")
# Steps of one kind, of two, with factors that have no function of their own, long and large primes.
LENGTHS = [*range(1, 34), 49, 61, 64, 67, 100, 121, 128, 169, 210, 243, 255, 256, 257, 360, 499]
LENGTHS += [512, 578, 961, 1000, 1024, 2021, 2401, 4096, 10007, 20014, 30030]
LONG = [65536, 65537, 3 * 2**15, 3**11, 2**18]
LARGE_PRIME = {67, 257, 499, 10007, 20014, 65537}


def bound(n):
    return 1e-6 if n in LARGE_PRIME else 2e-7


def error(got, want):
    got = to_np(got)
    assert got.shape == want.shape and got.dtype in ("complex64", "float32")
    if not want.size:
        return 0
    return np.sqrt((np.abs(got - want) ** 2).mean() / max((np.abs(want) ** 2).mean(), 1e-30))


def numbers(rng, *shape):
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype("complex64")


def raw(a):
    return to_np(a).tobytes()


# Values


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_lengths(n, rows, rng):
    z = numbers(rng, rows, n)
    x, half = z.real.copy(), z[:, : n // 2 + 1].copy()
    assert error(mx.fft.fft(to_mx(z)), np.fft.fft(z.astype(complex))) < bound(n)
    assert error(mx.fft.ifft(to_mx(z)), np.fft.ifft(z.astype(complex))) < bound(n)
    assert error(mx.fft.rfft(to_mx(x)), np.fft.rfft(x.astype(float))) < bound(n)
    assert error(mx.fft.irfft(to_mx(half), n), np.fft.irfft(half.astype(complex), n)) < bound(n)


@pytest.mark.parametrize("n", LONG)
def test_long(n, rng):
    z = numbers(rng, n)
    assert error(mx.fft.fft(to_mx(z)), np.fft.fft(z.astype(complex))) < bound(n)
    x, half = z.real.copy(), z[: n // 2 + 1].copy()
    assert error(mx.fft.rfft(to_mx(x)), np.fft.rfft(x.astype(float))) < bound(n)
    assert error(mx.fft.irfft(to_mx(half), n), np.fft.irfft(half.astype(complex), n)) < bound(n)


@pytest.mark.parametrize("n", [1, 2, 7, 16, 67, 100, 256, 300, 1000])
@pytest.mark.parametrize("inner", [1, 2, 8, 16, 19, 50])
def test_columns(n, inner, rng):
    """Along an axis that is not the last one, the bits are those of rows."""
    z = to_mx(numbers(rng, 2, n, inner))
    rows = mx.contiguous(mx.swapaxes(z, 1, 2))
    for name in ("fft", "ifft", "rfft", "irfft"):
        if (name, n) == ("irfft", 1):
            continue
        f = getattr(mx.fft, name)
        assert raw(f(z, axis=1)) == raw(mx.swapaxes(f(rows), 1, 2)), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft"])
def test_lengths_and_axes(name, norm, rng):
    z = numbers(rng, 3, 5, 8)
    x = z.real.copy() if name == "rfft" else z
    for n in (None, 1, 2, 4, 5, 7, 16):
        for axis in (0, 1, -1):
            want = getattr(np.fft, name)(x.astype(complex if x is z else float), n, axis, norm)
            assert error(getattr(mx.fft, name)(to_mx(x), n, axis, norm), want) < 3e-7


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_several_axes(name, norm, rng):
    z = numbers(rng, 3, 4, 5, 6)
    x = z.real.copy() if name == "rfftn" else z
    wide, given = x.astype(complex if x is z else float), to_mx(x)
    of_numpy, f = getattr(np.fft, name), getattr(mx.fft, name)
    assert error(f(given, norm=norm), of_numpy(wide, norm=norm)) < 3e-7
    for axes in ((0, 1), (-1, 0), (2, -3, 3), (1,), [3, 2, 1, 0]):
        assert error(f(given, None, axes, norm), of_numpy(wide, None, axes, norm)) < 3e-7
        s = [7, 2, 5, 8][: len(axes)]
        assert error(f(given, s, axes, norm), of_numpy(wide, s, axes, norm)) < 3e-7
    two, of_numpy = getattr(mx.fft, name[:-1] + "2"), getattr(np.fft, name[:-1] + "2")
    assert error(two(given, norm=norm), of_numpy(wide, norm=norm)) < 3e-7
    assert error(two(given, (3, 9), (0, 2), norm), of_numpy(wide, (3, 9), (0, 2), norm)) < 3e-7


def test_no_axes_are_nothing_to_do():
    x = mx.array([1.0, 2])
    assert mx.fft.fftn(x, axes=[]).dtype == mx.float32
    assert mx.fft.irfft2(x, axes=()).tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_types(dtype, rng):
    """All are computed as complex64, or as float32."""
    if SIMULATED and dtype == "float64":
        pytest.skip("the GPU has no float64")
    x = to_mx(rng.integers(0, 2, (3, 12)), dtype)
    wide, real = x.astype(mx.complex64), x.astype(mx.float32)
    assert raw(mx.fft.fft(x)) == raw(mx.fft.fft(wide))
    assert raw(mx.fft.rfft2(x)) == raw(mx.fft.rfft2(real))
    assert raw(mx.fft.irfft(x)) == raw(mx.fft.irfft(wide))
    assert mx.fft.fft(x).dtype == mx.fft.rfft(x).dtype == mx.complex64
    assert mx.fft.irfft(x).dtype == mx.float32


def test_layouts(rng):
    z = to_mx(numbers(rng, 6, 4, 40))
    for view in (z[:, ::2], z[..., ::-1], z.T, mx.broadcast_to(z[:1], (5, 4, 40)), z[1:, 1:, 3:]):
        for axis in range(3):
            assert raw(mx.fft.fft(view, axis=axis)) == raw(
                mx.fft.fft(mx.contiguous(view), axis=axis)
            )
        assert raw(mx.fft.rfft(view)) == raw(mx.fft.rfft(mx.contiguous(view)))
        assert raw(mx.fft.irfft(view)) == raw(mx.fft.irfft(mx.contiguous(view)))


def test_empty():
    assert mx.fft.fft(mx.zeros((0, 3))).shape == (0, 3)
    assert mx.fft.rfft(mx.zeros((0, 3))).shape == (0, 2)
    assert mx.fft.irfft(mx.zeros((0, 3))).shape == (0, 4)
    assert mx.fft.fft2(mx.zeros((2, 0, 4, 5))).shape == (2, 0, 4, 5)
    assert mx.fft.fft(mx.zeros((2, 0)), 4).tolist() == [[0] * 4] * 2
    assert mx.fft.irfft(mx.ones((2, 1)), 1).tolist() == [[1], [1]]


def test_real_results_ignore_what_is_not_theirs():
    """The imaginary parts of frequency 0 and of the highest one of an even number."""
    x = mx.array([1 + 5j, 2 + 1j, 3 - 7j])
    assert raw(mx.fft.irfft(x)) == raw(mx.fft.irfft(mx.array([1, 2 + 1j, 3])))
    assert raw(mx.fft.irfft(x, 5)) == raw(mx.fft.irfft(mx.array([1, 2 + 1j, 3 - 7j]), 5))
    for n in (5, 6, 64, 300, 67):
        ends = mx.imag(mx.fft.rfft(mx.arange(n)))[:: n // 2]
        assert ends[0].item() == 0 and (n % 2 or ends[1].item() == 0)


@pytest.mark.parametrize("n", [12, 35, 67, 1000])
def test_identities(n, rng):
    z = numbers(rng, 4, n)
    a, spectrum = to_mx(z), mx.fft.fft(to_mx(z))
    assert error(mx.fft.ifft(spectrum), z) < 2 * bound(n)
    assert error(mx.fft.ifft(spectrum, norm="forward"), n * z) < 2 * bound(n)
    real = mx.fft.rfft(mx.real(a))
    assert error(mx.fft.irfft(real, n), z.real) < 2 * bound(n)
    energy = (np.abs(to_np(spectrum).astype(complex)) ** 2).sum()
    assert abs(energy / n / (np.abs(z.astype(complex)) ** 2).sum() - 1) < 1e-6
    turned = mx.exp(mx.arange(n) * mx.array(-2j * np.pi * 3 / n, mx.complex64))
    assert error(mx.fft.fft(mx.roll(a, 3, axis=1)), to_np(spectrum * turned)) < 5e-6
    assert raw(mx.fft.fft(a * 2)) == raw(spectrum * 2)


# Order


@pytest.mark.parametrize("n", [5, 16, 17, 64, 67, 200, 255, 300, 1000, 1021, 4096])
def test_a_row_does_not_depend_on_others(n, rng):
    z = to_mx(numbers(rng, 50, n))
    for f in (mx.fft.fft, mx.fft.ifft, mx.fft.rfft, mx.fft.irfft):
        whole = f(z)
        for part in (slice(0, 1), slice(7, 9), slice(20, 37), slice(49, 50)):
            assert raw(f(z[part])) == raw(whole[part])
    columns = mx.fft.fft(mx.contiguous(z.T), axis=0)
    assert raw(columns.T) == raw(mx.fft.fft(z))


def test_threads(rng):
    arrays = [
        to_mx(numbers(rng, *shape)) for shape in ((70, 200), (3, 40000), (1, 2**17), (9, 1021))
    ]
    results, before = [], mx.get_num_threads()
    try:
        for threads in (1, 2, 3):
            mx.set_num_threads(threads)
            results.append(
                [
                    raw(f(a, axis=axis))
                    for a in arrays
                    for f in (mx.fft.fft, mx.fft.rfft, mx.fft.irfft)
                    for axis in (0, 1)
                    if a.shape[axis] > 1
                ]
            )
    finally:
        mx.set_num_threads(before)
    assert results[0] == results[1] == results[2]


# Frequencies


@pytest.mark.parametrize("n", [1, 2, 7, 8, 1001])
def test_frequencies(n):
    for d in (1.0, 0.3, -2.5):
        np.testing.assert_allclose(mx.fft.fftfreq(n, d), np.fft.fftfreq(n, d), rtol=2e-7)
        np.testing.assert_allclose(mx.fft.rfftfreq(n, d), np.fft.rfftfreq(n, d), rtol=2e-7)
    assert mx.fft.fftfreq(n).dtype == mx.fft.rfftfreq(n=n, d=2).dtype == mx.float32


def test_shifts(rng):
    x = rng.integers(0, 99, (4, 5, 3))
    for axes in (None, 0, -1, (0, 1), [2, 0], ()):
        assert mx.fft.fftshift(mx.array(x), axes).tolist() == np.fft.fftshift(x, axes).tolist()
        assert mx.fft.ifftshift(mx.array(x), axes).tolist() == np.fft.ifftshift(x, axes).tolist()
    assert mx.fft.fftshift(mx.array(3)).item() == 3
    assert mx.fft.fftshift(mx.zeros((0, 3))).shape == (0, 3)


# Errors

x46 = mx.zeros((4, 6))
ERRORS = {
    "fft: axis 1 of (4, 6) gives 0 points": lambda: mx.fft.fft(x46, 0),
    "rfft: axis 0 of (4, 6) gives -1 points": lambda: mx.fft.rfft(x46, -1, 0),
    "irfft: axis 0 of (1,) gives 0 points": lambda: mx.fft.irfft(mx.zeros(1)),
    "ifft: axis 1 of (3, 0) gives 0 points": lambda: mx.fft.ifft(mx.zeros((3, 0))),
    "fft: norm is 'unitary', expected 'backward', 'ortho' or 'forward'": lambda: mx.fft.fft(
        x46, norm="unitary"
    ),
    "fft: axis 2": lambda: mx.fft.fft(x46, axis=2),
    "rfft: axis -1": lambda: mx.fft.rfft(mx.array(1.0)),
    "fftn: the input has no axis": lambda: mx.fft.fftn(mx.array(1.0)),
    "ifftn: lengths are given without their axes": lambda: mx.fft.ifftn(x46, (2, 2)),
    "rfftn: 1 lengths for axes (0, 1)": lambda: mx.fft.rfft2(x46, (3,)),
    "fftn: axes (0, -2) name an axis twice": lambda: mx.fft.fftn(x46, axes=(0, -2)),
    "fftfreq: 0 samples": lambda: mx.fft.fftfreq(0),
    "rfftfreq: the distance of samples is 0": lambda: mx.fft.rfftfreq(5, 0),
    "fftshift: axis 5": lambda: mx.fft.fftshift(x46, 5),
    "stft: n_fft is 0": lambda: mx.fft.stft(x46, 0),
    "stft: frames are 0 samples apart": lambda: mx.fft.stft(x46, 2),
    "stft: a window of 300 samples, expected 0 to n_fft, 256": lambda: mx.fft.stft(
        x46, 256, win_length=300
    ),
    "stft: the window has shape (2, 2)": lambda: mx.fft.stft(x46, 4, window=mx.ones((2, 2))),
    "stft: 6 samples are less than a frame of 8": lambda: mx.fft.stft(x46, 8, center=False),
    "stft: the input has no axis": lambda: mx.fft.stft(mx.array(1.0)),
    "stft: norm is 'x'": lambda: mx.fft.stft(x46, 4, norm="x"),
    "istft: the input has shape (4,)": lambda: mx.fft.istft(mx.zeros(4)),
    "istft: n_fft is 0": lambda: mx.fft.istft(mx.zeros((1, 4))),
    "istft: frames are 0": lambda: mx.fft.istft(x46, hop_length=0),
    "istft: the input has shape (4, 0), without a frame": lambda: mx.fft.istft(mx.zeros((4, 0))),
    "istft: a length of -1": lambda: mx.fft.istft(x46, length=-1),
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors(text):
    with pytest.raises(ValueError, match=re.escape(text)):
        ERRORS[text]()


def test_memory_that_is_not_there():
    z = mx.ones((1000, 1 << 10), mx.complex64)
    mx.eval(z)
    limit = mx.set_memory_limit(mx.get_active_memory() + z.nbytes // 2)
    try:
        with pytest.raises(MemoryError):
            mx.eval(mx.fft.fft(z))
    finally:
        mx.set_memory_limit(limit)
    assert mx.fft.fft(z)[0, 0].item() == 1 << 10


# Derivatives: those of first order are in test_derivatives.py


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("norm", NORMS)
def test_adjoints(n, norm, rng):
    """Of real transforms the adjoint counts the frequencies that stand for two."""
    x, w = to_mx(rng.normal(size=(3, n)), "float32"), to_mx(numbers(rng, 3, n // 2 + 1))
    _, (pulled,) = mx.vjp(lambda a: mx.fft.rfft(a, norm=norm), [x], [w])
    columns = np.fft.rfft(np.eye(n), norm=norm)
    assert error(pulled, (to_np(w) @ columns.conj().T).real) < 5e-7
    _, (pulled,) = mx.vjp(lambda a: mx.fft.irfft(a, n, norm=norm), [w], [x])
    parts = [np.fft.irfft(unit * np.eye(n // 2 + 1), n, norm=norm) for unit in (1, 1j)]
    assert error(pulled, to_np(x) @ parts[0].T + 1j * (to_np(x) @ parts[1].T)) < 5e-7


@pytest.mark.parametrize("n", [5, 6])
def test_second_derivatives(n, rng):
    """Of a loss that is a quadratic form its Hessian's product with a vector, forwards and back."""
    x, v = (to_mx(rng.normal(size=n), "float32") for _ in range(2))
    weights = to_mx(rng.uniform(1, 2, n // 2 + 1), "float32")
    loss = lambda a: (mx.square(mx.abs(mx.fft.rfft(a))) * weights).sum()  # noqa: E731
    columns = np.fft.rfft(np.eye(n))
    hessian = 2 * (columns @ np.diag(to_np(weights)) @ columns.conj().T).real
    assert error(mx.jvp(mx.grad(loss), [x], [v])[1][0], hessian @ to_np(v)) < 1e-5
    along = lambda a: (mx.grad(loss)(a) * v).sum()  # noqa: E731
    assert error(mx.grad(along)(x), hessian @ to_np(v)) < 1e-5


def test_vmap(rng):
    z = to_mx(numbers(rng, 3, 4, 5))
    for name in ("fft", "ifft", "rfft", "irfft"):
        f = getattr(mx.fft, name)
        for in_axis in range(3):
            want = mx.stack(
                [f(mx.take(z, i, axis=in_axis), axis=0) for i in range(z.shape[in_axis])]
            )
            assert raw(mx.vmap(lambda a, f=f: f(a, axis=0), in_axes=in_axis)(z)) == raw(want)
    several = mx.vmap(lambda a: mx.fft.irfft2(mx.fft.rfft2(a)))(mx.real(z)[..., :4])
    assert error(several, to_np(z).real[..., :4]) < 1e-6


def test_compile(rng):
    z = to_mx(numbers(rng, 3, 12))
    f = lambda a: mx.fft.irfft(mx.fft.rfft(mx.real(a) * 2), 12, norm="ortho")  # noqa: E731
    assert raw(mx.compile(f)(z)) == raw(f(z))
    shapeless = mx.compile(lambda a: mx.fft.irfft(mx.fft.rfft(a)), shapeless=True)
    for shape in ((2, 6), (5, 10), (1, 4), (3, 5)):
        x = to_mx(rng.normal(size=shape), "float32")
        assert raw(shapeless(x)) == raw(mx.fft.irfft(mx.fft.rfft(x)))


# Short-time transforms


def framed(x, n_fft, hop, window, center, mode="reflect"):
    if center:
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(n_fft // 2,) * 2], mode)
    count = (x.shape[-1] - n_fft) // hop + 1
    rows = np.stack([x[..., i * hop : i * hop + n_fft] for i in range(count)], -2)
    before = (n_fft - len(window)) // 2
    return rows * np.pad(window, (before, n_fft - len(window) - before))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(
    "n_fft, hop, length", [(16, None, 16), (16, 5, 11), (15, 15, 15), (8, 1, 8)]
)
def test_stft(center, n_fft, hop, length, rng):
    x, window = rng.normal(size=(2, 3, 90)), np.hanning(length + 2)[1:-1]
    given = to_mx(x, "float32")
    options = {"hop_length": hop, "window": to_mx(window, "float32"), "center": center}
    rows = framed(x, n_fft, hop or n_fft // 4, window, center)
    want = np.swapaxes(np.fft.rfft(rows), -1, -2)
    spectra = mx.fft.stft(given, n_fft, **options)
    assert error(spectra, want) < 3e-7
    whole = mx.fft.stft(given, n_fft, onesided=False, norm="ortho", **options)
    assert error(whole, np.swapaxes(np.fft.fft(rows, norm="ortho"), -1, -2)) < 3e-7

    inside = slice(n_fft, -n_fft)
    back = mx.fft.istft(spectra, n_fft, length=90, **options)
    assert back.shape == (2, 3, 90) and error(back[..., inside], x[..., inside]) < 5e-6
    back = mx.fft.istft(whole, onesided=False, norm="ortho", length=90, **options)
    assert error(back[..., inside], x[..., inside]) < 5e-6
    natural = (rows.shape[-2] - 1) * (hop or n_fft // 4) + n_fft - (n_fft // 2 * 2 if center else 0)
    assert mx.fft.istft(spectra, n_fft, **options).shape == (2, 3, natural)


def test_stft_options(rng):
    x = rng.normal(size=100)
    a = to_mx(x, "float32")
    for mode in ("reflect", "constant", "edge"):
        rows = framed(x, 8, 2, np.ones(8), True, mode)
        assert error(mx.fft.stft(a, 8, pad_mode=mode), np.fft.rfft(rows).T) < 3e-7
    short = framed(x, 8, 2, np.ones(5), True)
    assert error(mx.fft.stft(a, 8, win_length=5), np.fft.rfft(short).T) < 3e-7
    z = numbers(rng, 100)
    both = mx.fft.stft(to_mx(z), 8)
    assert error(both, np.fft.fft(framed(z, 8, 2, np.ones(8), True)).T) < 3e-7
    assert mx.fft.stft(to_mx(np.arange(100)), 8).shape == (5, 51)
    assert mx.fft.stft(mx.zeros((0, 100)), 8).shape == (0, 5, 51)
    spectra = mx.fft.stft(a, 8)
    assert mx.fft.istft(spectra).shape == (100,)
    assert error(mx.fft.istft(spectra, length=104)[:100], x) < 1e-6
    assert mx.fft.istft(spectra, length=300)[150:].tolist() == [0] * 150
    assert mx.fft.istft(spectra, length=0).shape == (0,)
    assert mx.fft.istft(spectra[:, :1], 8).shape == (0,)
    assert mx.fft.istft(spectra, window=mx.zeros(8)).tolist() == [0] * 100
    assert mx.fft.istft(mx.zeros((0, 5, 3))).shape == (0, 4)
    with pytest.raises(ValueError, match="more bytes than 63 bits count"):
        mx.fft.istft(spectra[:, :3], hop_length=2**63 - 1)


def test_stft_derivatives(rng):
    x, w = to_mx(rng.normal(size=(2, 40)), "float32"), to_mx(numbers(rng, 2, 5, 21))
    f = lambda a: mx.fft.stft(a, 8, window=mx.arange(1, 9))  # noqa: E731
    v = to_mx(rng.normal(size=(2, 40)), "float32")
    pushed, pulled = mx.jvp(f, [x], [v])[1][0], mx.vjp(f, [x], [w])[1][0]
    assert error(pushed, to_np(f(v))) < 1e-6
    forward = np.vdot(to_np(w), to_np(pushed)).real
    assert abs(forward - np.vdot(to_np(pulled), to_np(v))) < 1e-5 * abs(forward) + 1e-2
    loss = lambda a: mx.square(mx.fft.istft(f(a), 8, length=40) - x).sum()  # noqa: E731
    assert mx.grad(loss)(x * 2).shape == (2, 40)
    assert error(mx.vmap(f)(x), to_np(f(x))) < 1e-6
