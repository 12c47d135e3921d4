"""nn.losses against NumPy in float64."""

import math

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 4, 5))
SIGNS = np.where(C > 0, 1.0, -1.0)
INDICES = np.array([0, 4, 2, 1])


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


P, Q = softmax(B), softmax(C)
LOG_P, LOG_Q = np.log(P), np.log(Q)
UNIT = 1 / (1 + np.exp(-A))


def norm(x, p=2, eps=0.0):
    return ((np.abs(x) ** p).sum(-1) + eps) ** (1 / p)


def smoothed(log_probabilities, targets, s):
    targets = (1 - s) * targets + s / targets.shape[-1]
    return -(targets * log_probabilities).sum(-1)


LOG_A = np.log(softmax(A))
ONE_HOT = np.eye(5)[INDICES]
WEIGHTS = np.array([1.0, 0.0, 2.0, 3.0])

# name: (loss, arguments, keyword arguments, expected losses of the samples)
CASES = {
    "cross_entropy": ("cross_entropy", (A, INDICES), {}, smoothed(LOG_A, ONE_HOT, 0)),
    "cross_entropy probabilities": ("cross_entropy", (A, P), {}, smoothed(LOG_A, P, 0)),
    "cross_entropy smoothed": (
        "cross_entropy",
        (A, INDICES),
        {"label_smoothing": 0.2},
        smoothed(LOG_A, ONE_HOT, 0.2),
    ),
    "cross_entropy probabilities smoothed": (
        "cross_entropy",
        (A, P),
        {"label_smoothing": 0.2},
        smoothed(LOG_A, P, 0.2),
    ),
    "cross_entropy weights": (
        "cross_entropy",
        (A, INDICES, WEIGHTS),
        {},
        WEIGHTS * smoothed(LOG_A, ONE_HOT, 0),
    ),
    "cross_entropy axis": (
        "cross_entropy",
        (A.T, INDICES),
        {"axis": 0},
        smoothed(LOG_A, ONE_HOT, 0),
    ),
    "cross_entropy large logits": (
        "cross_entropy",
        (np.array([[1e4, 0.0], [-1e4, 0.0]]), np.array([1, 0])),
        {},
        np.array([1e4, 1e4]),
    ),
    "binary_cross_entropy": (
        "binary_cross_entropy",
        (A, P),
        {},
        -(P * np.log(UNIT) + (1 - P) * np.log(1 - UNIT)),
    ),
    "binary_cross_entropy probabilities": (
        "binary_cross_entropy",
        (UNIT, P),
        {"with_logits": False},
        -(P * np.log(UNIT) + (1 - P) * np.log(1 - UNIT)),
    ),
    "binary_cross_entropy limit": (
        "binary_cross_entropy",
        (np.array([0.0, 1.0]), np.array([1.0, 1.0])),
        {"with_logits": False},
        np.array([100.0, 0.0]),
    ),
    "l1_loss": ("l1_loss", (A, B), {}, np.abs(A - B)),
    "mse_loss": ("mse_loss", (A, B), {}, (A - B) ** 2),
    "nll_loss": ("nll_loss", (LOG_P, INDICES), {}, -LOG_P[np.arange(4), INDICES]),
    "gaussian_nll_loss": (
        "gaussian_nll_loss",
        (A, B, UNIT),
        {"full": True},
        0.5 * (np.log(2 * np.pi * UNIT) + (A - B) ** 2 / UNIT),
    ),
    "gaussian_nll_loss limit": (
        "gaussian_nll_loss",
        (A, A, 0 * A),
        {"eps": 0.5},
        np.full_like(A, 0.5 * np.log(0.5)),
    ),
    "kl_div_loss": ("kl_div_loss", (LOG_P, LOG_Q), {}, (Q * (LOG_Q - LOG_P)).sum(-1)),
    "smooth_l1_loss": (
        "smooth_l1_loss",
        (A, B),
        {"beta": 0.5},
        np.where(np.abs(A - B) < 0.5, (A - B) ** 2, np.abs(A - B) - 0.25),
    ),
    "huber_loss": (
        "huber_loss",
        (A, B),
        {"delta": 0.5},
        np.where(np.abs(A - B) <= 0.5, (A - B) ** 2 / 2, 0.5 * (np.abs(A - B) - 0.25)),
    ),
    "triplet_loss": (
        "triplet_loss",
        (A, B, C),
        {},
        np.maximum(norm(A - B, eps=1e-6) - norm(A - C, eps=1e-6) + 1, 0),
    ),
    "triplet_loss p": (
        "triplet_loss",
        (A, B, C),
        {"p": 3, "margin": 2.0, "eps": 0.1},
        np.maximum(norm(A - B, 3, 0.1) - norm(A - C, 3, 0.1) + 2, 0),
    ),
    "hinge_loss": ("hinge_loss", (A, SIGNS), {}, np.maximum(1 - A * SIGNS, 0)),
    "log_cosh_loss": ("log_cosh_loss", (A, B), {}, np.log(np.cosh(A - B))),
    "log_cosh_loss large": (
        "log_cosh_loss",
        (np.array([1e3]), np.array([-1e3])),
        {},
        np.array([2e3 - np.log(2)]),
    ),
    "cosine_similarity_loss": (
        "cosine_similarity_loss",
        (A, B),
        {},
        (A * B).sum(-1) / (norm(A) * norm(B)),
    ),
    "cosine_similarity_loss zero": ("cosine_similarity_loss", (A, 0 * B), {}, np.zeros(4)),
    "margin_ranking_loss": (
        "margin_ranking_loss",
        (A, B, SIGNS),
        {"margin": 0.5},
        np.maximum(-SIGNS * (A - B) + 0.5, 0),
    ),
}


def arrays(args):
    return [mx.array(a.astype(np.int32 if a.dtype.kind == "i" else np.float32)) for a in args]


@pytest.mark.parametrize("name, args, kwargs, expected", CASES.values(), ids=CASES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_values(name, args, kwargs, expected, reduction):
    loss = getattr(nn.losses, name)(*arrays(args), reduction=reduction, **kwargs)
    if reduction != "none":
        expected = getattr(np, reduction)(expected)
    assert loss.dtype == mx.float32 and loss.shape == np.shape(expected)
    np.testing.assert_allclose(loss, expected, rtol=2e-5, atol=2e-6)


DEFAULT_IS_MEAN = {
    "binary_cross_entropy",
    "gaussian_nll_loss",
    "l1_loss",
    "mse_loss",
    "smooth_l1_loss",
}


@pytest.mark.parametrize("name, args, kwargs, expected", CASES.values(), ids=CASES)
def test_default_reductions(name, args, kwargs, expected):
    loss = getattr(nn.losses, name)(*arrays(args), **kwargs)
    assert loss.shape == (() if name in DEFAULT_IS_MEAN else expected.shape)


@pytest.mark.parametrize("name", sorted({case[0] for case in CASES.values()}))
def test_an_unknown_reduction_is_refused(name):
    args = next(case[1] for case in CASES.values() if case[0] == name)
    with pytest.raises(ValueError, match=f"{name}: reduction is 'max'"):
        getattr(nn.losses, name)(*arrays(args), reduction="max")


BAD = {
    "targets": ("cross_entropy", ((4, 5), (3,)), {}, r"targets have shape \(3,\)"),
    "axis": (
        "cross_entropy",
        ((4,), (1,)),
        {"axis": 1},
        r"axis 1 is out of range of logits \(4,\)",
    ),
    "smoothing": ("cross_entropy", ((4, 5), (4, 5)), {"label_smoothing": 1.0}, "label_smoothing"),
    "weights": ("cross_entropy", ((4, 5), (4, 5), (3,)), {}, r"weights \(3,\), loss \(4,\)"),
    "binary": ("binary_cross_entropy", ((3,), (4,)), {}, r"inputs \(3,\), targets \(4,\)"),
    "mse": ("mse_loss", ((3,), (3, 1)), {}, r"predictions \(3,\), targets \(3, 1\)"),
    "l1": ("l1_loss", ((3,), (4,)), {}, "l1_loss: shapes differ"),
    "vars": ("gaussian_nll_loss", ((3,), (3,), (1,)), {}, r"vars \(1,\)"),
    "ranking": ("margin_ranking_loss", ((3,), (4,), (3,)), {}, r"inputs2 \(4,\)"),
}


@pytest.mark.parametrize("name, shapes, kwargs, text", BAD.values(), ids=BAD)
def test_bad_input_is_refused(name, shapes, kwargs, text):
    with pytest.raises(ValueError, match=text):
        getattr(nn.losses, name)(*map(mx.ones, shapes), **kwargs)


def test_the_gradient_of_cross_entropy_is_softmax_minus_target():
    grad = mx.grad(lambda x: nn.losses.cross_entropy(x, mx.array(INDICES)).sum())
    expected = softmax(A) - ONE_HOT
    np.testing.assert_allclose(grad(mx.array(A.astype(np.float32))), expected, atol=1e-6)


def test_losses_keep_half_precision():
    x = mx.array(A.astype(np.float16))
    loss = nn.losses.cross_entropy(x, mx.array(INDICES))
    assert loss.dtype == mx.float16
    np.testing.assert_allclose(loss, smoothed(LOG_A, ONE_HOT, 0), rtol=1e-2)


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("logit", [6e4, 1e36, -1e36])
def test_equal_huge_logits_are_equally_likely(logit, dtype):
    if dtype == mx.float16 and abs(logit) > 6e4:
        return
    logits = mx.full((2, 4), logit, dtype=dtype)
    log = mx.array(math.log(1 / 4), dtype=dtype).item()
    assert nn.log_softmax(logits).tolist() == [[log] * 4] * 2
    for targets in (mx.array([1, 2]), mx.full((2, 4), 0.25, dtype=dtype)):
        for smoothing in (0.0, 0.5):
            loss = nn.losses.cross_entropy(logits, targets, label_smoothing=smoothing)
            assert loss.tolist() == [-log] * 2 and loss.dtype == dtype
    gradient = mx.grad(lambda x: nn.losses.cross_entropy(x, mx.array([1, 2])).sum())(logits)
    assert gradient[0].tolist() == [0.25, -0.75, 0.25, 0.25]
    wide = mx.array(math.log(4)).item()  # float32, whatever the logits are
    assert mx.fast.cross_entropy(logits, mx.array([1, 2])).tolist() == [wide] * 2


def test_a_triplet_of_one_number_has_its_magnitude_as_distance():
    x = mx.random.normal((1000, 1), scale=1e3)
    loss = nn.losses.triplet_loss(x, mx.zeros_like(x), x, margin=0, eps=0)
    assert mx.array_equal(loss, mx.abs(x[:, 0]))  # the root of a square is exact, a power is not


@pytest.mark.parametrize(
    ("name", "targets", "kwargs"),
    [
        ("cross_entropy", mx.array([0]), {"label_smoothing": 0.5}),
        ("huber_loss", mx.ones((1, 3)), {"delta": 0.5}),
        ("smooth_l1_loss", mx.ones((1, 3)), {"beta": 0.5}),
        ("triplet_loss", mx.ones((1, 3)), {"negatives": mx.zeros((1, 3)), "margin": 0.5}),
        ("margin_ranking_loss", mx.ones((1, 3)), {"targets": mx.ones((1, 3)), "margin": 0.5}),
        ("gaussian_nll_loss", mx.ones((1, 3)), {"vars": mx.ones((1, 3)), "eps": 0.5}),
    ],
)
def test_numpy_numbers_are_taken(name, targets, kwargs):
    loss = getattr(nn.losses, name)
    x = mx.full((1, 3), 2.5)
    expected = loss(x, targets, **kwargs, reduction="mean")
    numbers = {k: np.float64(v) if isinstance(v, float) else v for k, v in kwargs.items()}
    assert mx.array_equal(loss(x, targets, **numbers, reduction="mean"), expected)
