"""Random numbers: reproducible from a key, in range, of the right distribution and dtype."""

import math

import numpy as np
import pytest
from conftest import HALVES, assert_equal, axis_error, mx_dtype, to_np

import cermet.core as mx

COUNT = 20_000

DRAWS = {
    "uniform": lambda **o: mx.random.uniform(shape=(6,), **o),
    "normal": lambda **o: mx.random.normal((6,), **o),
    "randint": lambda **o: mx.random.randint(0, 1000, (6,), **o),
    "bernoulli": lambda **o: mx.random.bernoulli(0.5, (64,), **o),
    "truncated_normal": lambda **o: mx.random.truncated_normal(-1, 1, (6,), **o),
    "gumbel": lambda **o: mx.random.gumbel((6,), **o),
    "laplace": lambda **o: mx.random.laplace((6,), **o),
    "categorical": lambda **o: mx.random.categorical(mx.zeros((6, 1000)), **o),
    "permutation": lambda **o: mx.random.permutation(100, **o),
    "multivariate_normal": lambda **o: mx.random.multivariate_normal(
        mx.zeros(2), mx.eye(2), (3,), **o
    ),
}


# Keys and the implicit state


@pytest.mark.parametrize("name", DRAWS)
def test_reproducible(name):
    draw = DRAWS[name]
    first, second = draw(key=mx.random.key(1)), draw(key=mx.random.key(1))
    assert first.tolist() == second.tolist() != draw(key=mx.random.key(2)).tolist()
    mx.random.seed(5)
    first, next_one = draw(), draw()
    mx.random.seed(5)
    assert draw().tolist() == first.tolist() != next_one.tolist()


def test_explicit_key_leaves_the_state_alone():
    mx.random.seed(3)
    want = mx.random.uniform(shape=(4,)).tolist()
    mx.random.seed(3)
    mx.random.uniform(shape=(4,), key=mx.random.key(9))
    assert mx.random.uniform(shape=(4,)).tolist() == want


def test_order_of_evaluation_does_not_matter():
    mx.random.seed(3)
    a, b = mx.random.uniform(shape=(4,)), mx.random.uniform(shape=(4,))
    mx.eval(b, a)
    mx.random.seed(3)
    assert mx.random.uniform(shape=(4,)).tolist() == a.tolist()
    assert mx.random.uniform(shape=(4,)).tolist() == b.tolist()


def test_state_advances_with_each_draw():
    state = lambda: [s.tolist() for s in mx.random.state]  # noqa: E731
    mx.random.seed(3)
    seeded = state()
    mx.random.uniform(shape=(4,), key=mx.random.key(0))
    assert state() == seeded
    mx.random.uniform(shape=(4,))
    assert state() != seeded
    mx.random.seed(3)
    assert state() == seeded


def test_keys():
    key = mx.random.key(2**32 + 5)
    assert key.dtype == mx.uint32 and key.tolist() == [1, 5]
    keys = mx.random.split(key, 100)
    assert keys.shape == (100, 2) and len({tuple(k) for k in keys.tolist()}) == 100
    left, right = mx.random.split(key)
    assert left.tolist() != right.tolist()
    for bad in (mx.zeros(3, mx.uint32), mx.zeros(2)):
        with pytest.raises(ValueError):
            mx.eval(mx.random.uniform(key=bad))


# Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011)


def threefry(key, counter):
    """The two output words of a counter under a key; arrays of counters work elementwise."""
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    keys = [np.uint32(k) for k in (*key, key[0] ^ key[1] ^ 0x1BD11BDA)]
    with np.errstate(over="ignore"):
        x, y = (np.uint32(c) + k for c, k in zip(counter, keys[:2], strict=True))
        for i in range(5):
            for r in rotations[i % 2]:
                x = x + y
                y = ((y << np.uint32(r)) | (y >> np.uint32(32 - r))) ^ x
            x, y = x + keys[(i + 1) % 3], y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("key, counter, want", KNOWN)
def test_published_vectors(key, counter, want):
    assert threefry(key, counter) == want


@pytest.mark.parametrize("key", [key for key, _, _ in KNOWN])
@pytest.mark.parametrize("count", [2, 8, 514])
def test_uniform_is_threefry(key, count):
    """Element i and element i + n/2 of n are the words of the counter (i, i + n/2)."""
    half = np.arange(count // 2, dtype=np.uint32)
    words = np.concatenate(threefry(key, (half, half + np.uint32(count // 2))))
    got = mx.random.uniform(shape=(count,), key=mx.array(key, dtype=mx.uint32))
    np.testing.assert_allclose(np.array(got), words / 2.0**32, atol=2**-23)


# Distributions


def check_moments(a, mean, variance):
    """The sample's mean and variance, within five standard errors."""
    x = to_np(a).astype(np.float64)
    error = math.sqrt(variance / x.size)
    kurtosis = ((x - x.mean()) ** 4).mean() / max(x.var(), 1e-30) ** 2
    assert abs(x.mean() - mean) < 5 * error
    assert abs(x.var() / variance - 1) < 5 * math.sqrt(kurtosis / x.size) + 1e-2


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_floating_distributions(dtype):
    options = {"dtype": mx_dtype(dtype), "key": mx.random.key(4)}
    for a, mean, variance in [
        (mx.random.uniform(-1, 3, (COUNT,), **options), 1, 16 / 12),
        (mx.random.normal((COUNT,), **options), 0, 1),
        (mx.random.normal((COUNT,), loc=2, scale=3, **options), 2, 9),
        (mx.random.gumbel((COUNT,), **options), 0.57722, math.pi**2 / 6),
        (mx.random.laplace((COUNT,), loc=1, scale=2, **options), 1, 8),
        (mx.random.truncated_normal(-1, 1, (COUNT,), **options), 0, 0.29112),
    ]:
        assert a.dtype == mx_dtype(dtype) and a.shape == (COUNT,)
        assert mx.isfinite(a).all()
        check_moments(a.astype(mx.float32), mean, variance)


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_uniform_stays_below_its_upper_bound(dtype):
    a = mx.random.uniform(shape=(200_000,), dtype=mx_dtype(dtype), key=mx.random.key(0))
    assert a.min().item() >= 0 and a.max().item() < 1
    a = mx.random.truncated_normal(-0.5, 2, (COUNT,), mx_dtype(dtype), key=mx.random.key(0))
    assert a.min().item() >= -0.5 and a.max().item() <= 2


def test_normal_follows_its_distribution():
    x = np.sort(to_np(mx.random.normal((COUNT,), key=mx.random.key(2))).astype(np.float64))
    cdf = 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x]))
    assert np.abs(cdf - np.arange(COUNT) / COUNT).max() < 1.95 / math.sqrt(
        COUNT
    )  # Kolmogorov-Smirnov


@pytest.mark.parametrize("dtype", ["int32", "uint8", "int8", "uint32", "int64", "uint64"])
def test_randint(dtype):
    a = mx.random.randint(3, 9, (COUNT,), mx_dtype(dtype), key=mx.random.key(7))
    assert a.dtype == mx_dtype(dtype)
    values, counts = np.unique(to_np(a), return_counts=True)
    assert values.tolist() == [3, 4, 5, 6, 7, 8]
    assert np.abs(counts - COUNT / 6).max() < 5 * math.sqrt(COUNT / 6)


@pytest.mark.parametrize("name", ["int64", "uint64"])
def test_randint_to_the_end_of_a_type(name):
    dtype, limits = mx_dtype(name), np.iinfo(name)
    end = int(limits.max) + 1
    assert set(mx.random.randint(end - 3, end, (100,), dtype).tolist()) == {*range(end - 3, end)}
    tenths = mx.random.randint(int(limits.min), end, (1000,), dtype).astype(mx.float64) / 2**64 * 10
    assert len(np.unique(np.floor(to_np(tenths)))) in (10, 11)  # the last may be rounded up
    with pytest.raises(OverflowError):
        mx.random.randint(0, end + 1, (1,), dtype)


def test_randint_of_arrays():
    low = mx.array([[0], [100]])
    a = to_np(mx.random.randint(low, low + mx.array([1, 5, 9]), (50, 2, 3), key=mx.random.key(1)))
    assert (a >= np.array(low)).all() and (a < np.array(low) + np.array([1, 5, 9])).all()
    assert (a[:, 0, 0] == 0).all()


def test_bernoulli():
    p = mx.array([0.0, 0.1, 0.9, 1.0])
    a = mx.random.bernoulli(p, (COUNT, 4), key=mx.random.key(0))
    assert a.dtype == mx.bool_
    mean = to_np(a).mean(0)
    assert mean[0] == 0 and mean[3] == 1
    assert np.abs(mean - np.array(p)).max() < 0.02
    assert mx.random.bernoulli(p).shape == (4,) and mx.random.bernoulli().shape == ()


def test_categorical():
    p = np.array([0.1, 0.2, 0.3, 0.4])
    logits = mx.log(mx.array(p)) + 7
    a = mx.random.categorical(logits, num_samples=COUNT, key=mx.random.key(0))
    assert a.shape == (COUNT,) and a.dtype == mx.uint32
    counts = np.bincount(to_np(a), minlength=4)
    assert np.abs(counts - COUNT * p).max() < 5 * math.sqrt(COUNT * 0.25)
    never = mx.array([[0.0, -mx.inf], [-mx.inf, 0.0]])
    assert mx.random.categorical(never, num_samples=50).tolist() == [[0] * 50, [1] * 50]


@pytest.mark.parametrize(
    "options, shape",
    [({}, (3,)), ({"axis": 0}, (5,)), ({"num_samples": 7}, (3, 7)), ({"shape": (2, 3)}, (2, 3))],
)
def test_categorical_shapes(options, shape):
    assert mx.random.categorical(mx.zeros((3, 5)), **options).shape == shape


def test_permutation():
    a = mx.random.permutation(1000, key=mx.random.key(0)).tolist()
    assert a != list(range(1000)) and sorted(a) == list(range(1000))
    x = mx.arange(20).reshape(4, 5)
    for axis in (0, 1, -1):
        shuffled = to_np(mx.random.permutation(x, axis=axis, key=mx.random.key(1)))
        lines = np.moveaxis(shuffled, axis, 0)
        assert sorted(map(tuple, lines)) == sorted(map(tuple, np.moveaxis(np.array(x), axis, 0)))


def test_multivariate_normal():
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]])
    a = mx.random.multivariate_normal(mx.array(mean), mx.array(cov), (COUNT,), key=mx.random.key(0))
    np.testing.assert_allclose(to_np(a).mean(0), mean, atol=0.06)
    np.testing.assert_allclose(np.cov(to_np(a).T), cov, atol=0.1)


def test_shapes_and_broadcasting():
    assert mx.random.uniform().shape == () and mx.random.normal().shape == ()
    assert mx.random.uniform(shape=(0, 3)).shape == (0, 3)
    assert mx.random.uniform(mx.zeros((3,)), mx.ones((2, 1)), (2, 3)).shape == (2, 3)
    assert mx.random.normal((2, 3), loc=mx.zeros(3), scale=mx.ones((2, 1))).shape == (2, 3)
    for size in (1, 3, 17, 513):
        assert len(set(mx.random.uniform(shape=(size,), key=mx.random.key(0)).tolist())) == size


def test_vmap_over_keys():
    keys = mx.random.split(mx.random.key(0), 4)
    together = mx.vmap(lambda k: mx.random.uniform(shape=(3,), key=k))(keys)
    for k, row in zip(keys, together, strict=True):
        assert_equal(row, np.array(mx.random.uniform(shape=(3,), key=k)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.random.uniform(shape=(2,), dtype=mx.int32),
        lambda: mx.random.uniform(shape=(-1,)),
        lambda: mx.random.uniform(mx.zeros(3), 1, (2, 4)),
        lambda: mx.random.randint(0, 5, (2,), mx.float32),
        lambda: mx.random.randint(mx.zeros(3, mx.int32), 5, (2,)),
        lambda: mx.random.categorical(mx.zeros((3, 5)), shape=(2,)),
    ],
)
def test_errors(call):
    with pytest.raises(ValueError):
        mx.eval(call())


def test_axis_errors():
    for axis in (2, -3):
        with axis_error(axis):
            mx.random.categorical(mx.zeros((3, 5)), axis=axis)
        with axis_error(axis):
            mx.random.permutation(mx.zeros((3, 5)), axis=axis)


@pytest.mark.parametrize(
    "low, high, dtype",
    [
        (0, 1000, mx.int8),
        (0, 2**40, mx.int32),
        (-5, 5, mx.uint8),
        (-1, 5, mx.uint64),
        (0, 3, mx.bool_),
    ],
)
def test_bounds_outside_a_type_of_integers(low, high, dtype):
    with pytest.raises((ValueError, OverflowError)):
        mx.random.randint(low, high, (5,), dtype)


def test_bounds_that_are_arrays_end_with_the_type():
    low, high = mx.array([250, -5, -300]), mx.array([1000, 3, 2**30])
    got = mx.random.randint(low, high, (2000, 3), mx.uint8)
    assert mx.min(got, axis=0).tolist() == [250, 0, 0]
    assert mx.max(got, axis=0).tolist() == [255, 2, 255]
    whole = mx.random.randint(-128, 128, (5000,), mx.int8)
    assert (mx.min(whole).item(), mx.max(whole).item()) == (-128, 127)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
@pytest.mark.parametrize(
    "lower, upper", [(8, 9), (-9, -8), (3.5, np.inf), (-np.inf, -6), (6, 6.1), (2.9, 3.1)]
)
def test_truncated_normal_far_from_the_middle(lower, upper, dtype):
    n = 5000
    low, high = (lower, upper) if lower > 0 else (-upper, -lower)

    def share_above(v):
        return math.erfc(v / math.sqrt(2)) if np.isfinite(v) else 0.0

    inside = share_above(low) - share_above(high)
    for bounds in ((lower, upper), (mx.array([lower], dtype), mx.array([upper], dtype))):
        x = np.array(mx.random.truncated_normal(*bounds, (n,), dtype), np.float64)
        assert x.min() >= lower and x.max() <= upper and len(set(x)) > 0.9 * n
        u = np.sort([(share_above(low) - share_above(v)) / inside for v in np.abs(x)])
        assert np.abs(u - np.arange(n) / n).max() < 2 / math.sqrt(n)


def test_draws_that_are_never_evaluated_leave_no_graph():
    mx.random.seed(0)
    for _ in range(1000):
        mx.random.normal((3,))
    held = mx.get_active_memory()
    for _ in range(10000):
        mx.random.normal((3,))
    assert mx.get_active_memory() == held
    assert "random_bits" not in mx.explain(mx.random.state)


def test_the_state_changed_in_place():
    mx.random.seed(3)
    saved = mx.random.state[0]
    assert mx.random.state[0] is saved
    first = mx.random.normal((4,)).tolist()
    assert mx.random.state[0] is not saved
    mx.random.state[0][:] = saved
    assert mx.random.state[0].tolist() == saved.tolist()
    assert mx.random.normal((4,)).tolist() == first
    mx.random.state[0] = saved
    assert mx.random.normal((4,)).tolist() == first
    saved[:] = mx.array([1, 2], mx.uint32)  # no longer the state
    assert mx.random.normal((4,)).tolist() != first
    for key in mx.random.state:
        key += 1.5
    with pytest.raises(ValueError, match="the state is float32"):
        mx.random.normal()
    mx.random.seed(3)
    assert mx.random.normal((4,)).tolist() == first
