"""Layers, losses and helpers of training that MLX lacks, against loops and enumeration."""

import itertools
import math

import numpy as np
import pytest
from conftest import assert_equal

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.utils import tree_flatten


def close(got, want, rtol=1e-5, atol=1e-5):
    np.testing.assert_allclose(np.array(got), want, rtol=rtol, atol=atol)


def test_flatten():
    x = mx.arange(24).reshape(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
    assert repr(nn.Flatten()) == "Flatten(start_axis=1, end_axis=-1)"


def pooled(x, sizes, reduce):
    """By the definition, window for window."""
    spatial = x.shape[1:-1]
    sizes = [n if size is None else size for n, size in zip(spatial, sizes, strict=True)]
    out = np.zeros((x.shape[0], *sizes, x.shape[-1]))
    for place in itertools.product(*map(range, sizes)):
        window = tuple(
            slice(i * m // n, math.ceil((i + 1) * m / n))
            for i, n, m in zip(place, sizes, spatial, strict=True)
        )
        axes = tuple(range(1, x.ndim - 1))
        out[(slice(None), *place)] = reduce(x[(slice(None), *window)], axis=axes)
    return out


@pytest.mark.parametrize(
    "shape, size",
    [
        ((2, 10, 3), 4),
        ((2, 12, 3), 4),
        ((2, 3, 1), 5),
        ((2, 7, 3), 1),
        ((0, 7, 3), 2),
        ((1, 7, 9, 2), (3, 4)),
        ((1, 7, 9, 2), (None, 5)),
        ((1, 8, 6, 2), 2),
        ((1, 5, 4, 6, 2), (2, 3, 4)),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["Avg", "Max"])
def test_adaptive_pooling(kind, shape, size, rng):
    dims = len(shape) - 2
    x = rng.normal(size=shape).astype(np.float32)
    layer = getattr(nn, f"Adaptive{kind}Pool{dims}d")(size)
    reduce = np.mean if kind == "Avg" else np.max
    sizes = size if isinstance(size, tuple) else (size,) * dims
    want = pooled(x, sizes, reduce)
    close(layer(mx.array(x)), want)
    traced = mx.compile(layer)
    close(traced(mx.array(x)), want)
    half = layer(mx.array(x).astype(mx.bfloat16))
    assert half.dtype == mx.bfloat16 and half.shape == want.shape


def test_adaptive_pooling_of_infinities_derivatives_and_bad_arguments():
    x = mx.array([1.0, mx.inf, 2.0, 3.0, 4.0]).reshape(1, 5, 1)
    assert nn.AdaptiveAvgPool1d(2)(x).flatten().tolist() == [mx.inf, 3]
    slopes = mx.grad(lambda x: nn.AdaptiveAvgPool1d(2)(x).sum())(mx.zeros((1, 3, 1)))
    assert slopes.flatten().tolist() == [0.5, 1, 0.5]
    for arguments in ((0,), ((2, 3),)):
        with pytest.raises(ValueError, match="AdaptiveMaxPool1d: output_size is"):
            nn.AdaptiveMaxPool1d(*arguments)
    with pytest.raises(ValueError, match="AdaptiveAvgPool2d: input has 3 dimensions"):
        nn.AdaptiveAvgPool2d(2)(mx.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="AdaptiveAvgPool1d: axis 1 of the input is empty"):
        nn.AdaptiveAvgPool1d(2)(mx.ones((2, 0, 4)))


def test_functional_call():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    x, y = mx.random.normal((5, 3)), mx.random.normal((5, 1))
    before = model.parameters()
    doubled = model.map_parameters(lambda p: 2 * p)

    def loss(parameters, x, y):
        return nn.losses.mse_loss(nn.functional_call(model, parameters, x), y)

    want = np.array(loss(doubled, x, y))
    assert want != np.array(loss(before, x, y))
    assert np.array(loss(dict(tree_flatten(doubled)), x, y)) == want  # dotted paths
    each = mx.vmap(mx.grad(loss), (None, 0, 0))(before, x, y)
    _, all_of_them = nn.value_and_grad(model, lambda m, x, y: nn.losses.mse_loss(m(x), y))(
        model, x, y
    )
    for (_, one), (_, whole) in zip(tree_flatten(each), tree_flatten(all_of_them), strict=True):
        close(one.mean(axis=0), np.array(whole))
    for (_, now), (_, then) in zip(tree_flatten(model), tree_flatten(before), strict=True):
        assert now is then
    bias = {"layers": [{"bias": mx.zeros(4)}]}  # some of them
    assert nn.functional_call(model, bias, x).shape == (5, 1)
    with pytest.raises(nn.UpdateError):
        nn.functional_call(model, {"other": mx.ones(1)}, x)
    with pytest.raises(nn.UpdateError):
        nn.functional_call(model, {"layers": [{"bias": mx.ones(1)}]}, x)


# ---- CTC ----


def read(path, blank):
    return [k for k, _ in itertools.groupby(path) if k != blank]


def by_enumeration(log_probs, target, blank):
    """The negative logarithm of the sum over all paths that read as the target."""
    steps, classes = log_probs.shape
    total = sum(
        math.exp(sum(log_probs[t, k] for t, k in enumerate(path)))
        for path in itertools.product(range(classes), repeat=steps)
        if read(path, blank) == target
    )
    return -math.log(total) if total else math.inf


CASES = [
    ([[1, 2]], [5], [2]),
    ([[1, 1]], [4], [2]),
    ([[1, 2, 1], [2, 0, 0], [0, 0, 0]], [5, 4, 3], [3, 1, 0]),
    ([[1, 1]], [2], [2]),  # too few outputs
]


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("targets, lengths, counts", CASES, ids=str)
def test_ctc_loss(targets, lengths, counts, blank, rng):
    if blank == 2:
        targets = [[(k + 2) % 3 for k in row] for row in targets]
    x = rng.normal(size=(len(targets), max(lengths), 3)).astype(np.float32)
    log_probs = np.array(nn.log_softmax(mx.array(x)))
    want = [
        by_enumeration(rows[:n].astype(float), row[:m], blank)
        for rows, row, n, m in zip(log_probs, targets, lengths, counts, strict=True)
    ]
    arguments = [mx.array(a) for a in (log_probs, targets, lengths, counts)]
    loss = nn.losses.ctc_loss
    close(loss(*arguments, blank, "none"), want)
    close(mx.compile(lambda *a: loss(*a, blank, "none"))(*arguments), want)
    close(loss(*arguments, blank, "sum"), sum(want))
    close(loss(*arguments, blank), np.mean(np.array(want) / np.maximum(counts, 1)))
    finite = np.where(np.isinf(want), 0, want)
    close(loss(*arguments, blank, "none", True), finite)


def test_the_gradient_of_ctc_loss(rng):
    x = mx.array(rng.normal(size=(2, 4, 3)), mx.float64)
    rest = (mx.array([[1, 2], [2, 0]]), mx.array([4, 3]), mx.array([2, 1]))

    def total(x):
        log_probs = x - mx.logsumexp(x, axis=-1, keepdims=True)
        return nn.losses.ctc_loss(log_probs, *rest, reduction="sum")

    got = np.array(mx.grad(total)(x))
    want = np.zeros_like(got)
    h = 1e-6
    for place in np.ndindex(want.shape):
        step = np.zeros_like(want)
        step[place] = h
        want[place] = total(x + mx.array(step, mx.float64)) - total(x - mx.array(step, mx.float64))
        want[place] /= 2 * h
    close(got, want, 1e-6, 1e-8)
    assert (got[1, 3] == 0).all()  # beyond the input's length


def test_ctc_loss_refuses():
    one = mx.array([1])
    for arguments in (
        (mx.ones((1, 2)), mx.array([[1]]), one, one),
        (mx.ones((1, 2, 3)), mx.array([[1]]), one, mx.array([1, 1])),
        (mx.ones((1, 2, 3)), mx.array([[1]]), one, one, 3),
        (mx.ones((1, 2, 3)), mx.array([[1]]), one, one, 0, "median"),
    ):
        with pytest.raises(ValueError, match="ctc_loss: "):
            nn.losses.ctc_loss(*arguments)


# ---- Training ----


def test_reduce_on_plateau():
    optimizer = optim.SGD(1.0)
    schedule = optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=0.2)
    rates = []
    for metric in (3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1):
        reduced = schedule.step(mx.array(float(metric)))
        rates.append(optimizer.learning_rate.item())
        assert reduced == (len(rates) > 1 and rates[-1] != rates[-2])
    close(rates, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2])
    assert schedule.best == 1


def test_reduce_on_plateau_of_a_growing_metric_and_its_state():
    optimizer = optim.SGD(1.0)
    schedule = optim.ReduceLROnPlateau(
        optimizer, "max", patience=0, threshold=0.5, threshold_mode="abs"
    )
    assert [schedule.step(m) for m in (1.0, 2.0, 2.4, math.nan)] == [False, False, True, True]
    again = optim.ReduceLROnPlateau(optimizer, "max")
    again.state = schedule.state
    assert again.best == 2.0
    for options in ({"factor": 1.5}, {"mode": "up"}, {"threshold_mode": "no"}):
        with pytest.raises(ValueError, match="ReduceLROnPlateau: "):
            optim.ReduceLROnPlateau(optimizer, **options)
    with pytest.raises(ValueError, match="learning rate is a schedule"):
        optim.ReduceLROnPlateau(optim.SGD(optim.step_decay(1.0, 0.9, 10)))


def test_exponential_moving_average():
    model = nn.Linear(2, 3)
    average = optim.ExponentialMovingAverage(model, decay=0.9)
    want = np.array(model.weight)
    for i in range(3):
        model.weight = mx.full((3, 2), float(i))
        average.update(model)
        want = 0.9 * want + 0.1 * i
    close(average.parameters["weight"], want)
    assert average.state["step"].item() == 3
    warm = optim.ExponentialMovingAverage({"w": mx.array(0.0), "n": mx.array(3)}, warmup=True)
    warm.update({"w": mx.array(1.0), "n": mx.array(4)})
    close(warm.parameters["w"], 0.9)
    assert_equal(warm.parameters["n"], np.array(4, np.int32))
    half = optim.ExponentialMovingAverage([mx.zeros(2, mx.float16)])
    half.update([mx.ones(2, mx.float16)])
    assert half.parameters[0].dtype == mx.float16
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match="ExponentialMovingAverage: decay"):
            optim.ExponentialMovingAverage(model, decay)
