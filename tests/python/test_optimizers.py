"""cermet.optimizers against NumPy in float64."""

import copy
import math
import pickle

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.utils import tree_flatten, tree_map, tree_unflatten

SHAPES = {"w": (4, 3), "layers": [{"b": (3,)}, {"k": (3, 2, 2, 2)}]}
STEPS = 5


def random_tree(seed):
    rng = np.random.default_rng(seed)
    return tree_map(
        lambda shape: rng.normal(size=shape), SHAPES, is_leaf=lambda t: isinstance(t, tuple)
    )


def to_mx(tree, dtype=mx.float32):
    return tree_map(lambda a: mx.array(a.astype(np.float32)).astype(dtype), tree)


# One step of each method: step(w, g, state, t) -> w, with t = 1, 2, ... State begins with zeros.


def sgd(lr, momentum=0.0, decay=0.0, dampening=0.0, nesterov=False):
    def step(w, g, s, t):
        g = g + decay * w
        if momentum:
            s["v"] = momentum * s["v"] + (1 - dampening) * g
            g = g + momentum * s["v"] if nesterov else s["v"]
        return w - lr * g

    return step


def rmsprop(lr, alpha, eps):
    def step(w, g, s, t):
        s["v"] = alpha * s["v"] + (1 - alpha) * g**2
        return w - lr * g / (np.sqrt(s["v"]) + eps)

    return step


def adagrad(lr, eps):
    def step(w, g, s, t):
        s["v"] = s["v"] + g**2
        return w - lr * g / (np.sqrt(s["v"]) + eps)

    return step


def adadelta(lr, rho, eps):
    def step(w, g, s, t):
        s["v"] = rho * s["v"] + (1 - rho) * g**2
        d = np.sqrt(s["u"] + eps) / np.sqrt(s["v"] + eps) * g
        s["u"] = rho * s["u"] + (1 - rho) * d**2
        return w - lr * d

    return step


def adam(lr, b1=0.9, b2=0.999, eps=1e-8, correct=False, decay=0.0):
    def step(w, g, s, t):
        s["m"] = b1 * s["m"] + (1 - b1) * g
        s["v"] = b2 * s["v"] + (1 - b2) * g**2
        m = s["m"] / (1 - b1**t) if correct else s["m"]
        v = s["v"] / (1 - b2**t) if correct else s["v"]
        return w * (1 - lr * decay) - lr * m / (np.sqrt(v) + eps)

    return step


def adamax(lr, b1=0.9, b2=0.999, eps=1e-8):
    def step(w, g, s, t):
        s["m"] = b1 * s["m"] + (1 - b1) * g
        s["v"] = np.maximum(b2 * s["v"], np.abs(g))
        return w - lr * s["m"] / (s["v"] + eps)

    return step


def lion(lr, b1=0.9, b2=0.99, decay=0.0):
    def step(w, g, s, t):
        c = b1 * s["m"] + (1 - b1) * g
        s["m"] = b2 * s["m"] + (1 - b2) * g
        return w * (1 - lr * decay) - lr * np.sign(c)

    return step


def adafactor(lr=None, beta=None, decay=0.0, scale=True, warmup=False):
    def rms(x):
        return np.sqrt((x**2).mean())

    def step(w, g, s, t):
        rate = lr or min(1e-6 * t if warmup else 1e-2, 1 / math.sqrt(t))
        rate *= max(1e-3, rms(w)) if scale else 1
        keep = 1 - t**-0.8
        square = g**2 + 1e-30
        if g.ndim > 1:
            s["r"] = keep * s["r"] + (1 - keep) * square.mean(-1, keepdims=True)
            s["c"] = keep * s["c"] + (1 - keep) * square.mean(-2, keepdims=True)
            update = g / np.sqrt(s["r"] * s["c"] / s["r"].mean(-2, keepdims=True))
        else:
            s["v"] = keep * s["v"] + (1 - keep) * square
            update = g / np.sqrt(s["v"])
        update *= rate / max(1, rms(update))
        if beta:
            update = s["m"] = beta * s["m"] + (1 - beta) * update
        return w * (1 - decay * rate) - update

    return step


def muon(lr, momentum=0.95, decay=0.01, nesterov=True, steps=5):
    def step(w, g, s, t):
        g = g + decay * w
        s["v"] = momentum * s["v"] + (1 - momentum) * g
        u = momentum * s["v"] + (1 - momentum) * g if nesterov else s["v"]
        rate = lr
        if u.ndim > 1:
            x = u.reshape(len(u), -1)
            rate *= math.sqrt(max(1, x.shape[0] / x.shape[1]))
            # The iteration is an odd polynomial of the singular values.
            left, singular, right = np.linalg.svd(x, full_matrices=False)
            singular = singular / (np.linalg.norm(x) + 1e-7)
            for _ in range(steps):
                singular = 3.4445 * singular - 4.7750 * singular**3 + 2.0315 * singular**5
            u = ((left * singular) @ right).reshape(u.shape)
        return w - rate * u

    return step


METHODS = {
    "SGD": (optim.SGD(0.1), sgd(0.1)),
    "SGD dampening below 0": (optim.SGD(0.1, 0.9, dampening=-0.3), sgd(0.1, 0.9)),
    "SGD momentum": (optim.SGD(0.1, 0.9, 0.01, 0.3), sgd(0.1, 0.9, 0.01, 0.3)),
    "SGD nesterov": (
        optim.SGD(0.1, momentum=0.9, nesterov=True),
        sgd(0.1, 0.9, nesterov=True),
    ),
    "RMSprop": (optim.RMSprop(0.1, 0.9, 1e-6), rmsprop(0.1, 0.9, 1e-6)),
    "Adagrad": (optim.Adagrad(0.1), adagrad(0.1, 1e-8)),
    "AdaDelta": (optim.AdaDelta(0.5), adadelta(0.5, 0.9, 1e-6)),
    "Adam": (optim.Adam(0.1), adam(0.1)),
    "Adam corrected": (
        optim.Adam(0.1, [0.8, 0.9], 1e-6, bias_correction=True),
        adam(0.1, 0.8, 0.9, 1e-6, correct=True),
    ),
    "AdamW": (optim.AdamW(0.1, weight_decay=0.2), adam(0.1, decay=0.2)),
    "AdamW corrected": (
        optim.AdamW(0.1, bias_correction=True),
        adam(0.1, correct=True, decay=0.01),
    ),
    "Adamax": (optim.Adamax(0.1), adamax(0.1)),
    "Lion": (optim.Lion(0.1, weight_decay=0.2), lion(0.1, decay=0.2)),
    "Adafactor": (optim.Adafactor(), adafactor()),
    "Adafactor rate": (
        optim.Adafactor(0.1, beta_1=0.9, weight_decay=0.2, relative_step=False),
        adafactor(0.1, 0.9, 0.2),
    ),
    "Adafactor warmup": (
        optim.Adafactor(warmup_init=True, scale_parameter=False),
        adafactor(scale=False, warmup=True),
    ),
    "Muon": (optim.Muon(0.1), muon(0.1)),
    "Muon plain": (
        optim.Muon(0.1, weight_decay=0.0, nesterov=False, ns_steps=3),
        muon(0.1, decay=0.0, nesterov=False, steps=3),
    ),
}


@pytest.mark.parametrize("decay", [-0.5, float("nan")])
def test_lion_decays_by_what_is_positive(decay):
    stepped = [
        optim.Lion(0.1, weight_decay=d).apply_gradients(
            {"w": mx.array([0.3, -0.2])}, {"w": mx.array([1.0, 2.0])}
        )
        for d in (decay, 0.0)
    ]
    assert stepped[0]["w"].tolist() == stepped[1]["w"].tolist()


@pytest.mark.parametrize("optimizer, step", METHODS.values(), ids=METHODS)
def test_methods(optimizer, step):
    expected = random_tree(0)
    parameters = to_mx(expected)
    states = {path: dict.fromkeys("vumrc", 0.0) for path, _ in tree_flatten(expected)}
    for t in range(1, STEPS + 1):
        gradients = random_tree(t)
        parameters = optimizer.apply_gradients(to_mx(gradients), parameters)
        flat_gradients = dict(tree_flatten(gradients))
        expected = tree_unflatten(
            [
                (path, step(w, flat_gradients[path], states[path], t))
                for path, w in tree_flatten(expected)
            ]
        )
    assert optimizer.step.item() == STEPS
    flat = dict(tree_flatten(parameters))
    for path, w in tree_flatten(expected):
        np.testing.assert_allclose(flat[path], w, rtol=1e-4, atol=1e-5, err_msg=path)


@pytest.mark.parametrize("name", ["SGD momentum", "AdamW corrected", "Lion", "Adafactor", "Muon"])
def test_half_precision_stays_half_precision(name):
    optimizer = type(METHODS[name][0])
    optimizer = optimizer() if optimizer is optim.Adafactor else optimizer(0.01)
    parameters = to_mx(random_tree(0), mx.bfloat16)
    gradients = to_mx(random_tree(1), mx.bfloat16)
    for _ in range(2):
        parameters = optimizer.apply_gradients(gradients, parameters)
    for _, p in tree_flatten(parameters):
        assert p.dtype == mx.bfloat16 and np.isfinite(np.array(p.astype(mx.float32))).all()


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: optim.SGD(0.1, nesterov=True), "SGD: nesterov with momentum 0"),
        (lambda: optim.RMSprop(0.1, eps=-1.0), "RMSprop: eps is -1"),
        (lambda: optim.AdaDelta(0.1, rho=-1.0), "AdaDelta: rho is -1"),
        (lambda: optim.Adafactor(relative_step=False), "Adafactor: expected a learning_rate"),
        (lambda: optim.MultiOptimizer([optim.SGD(0.1)], [lambda p, g: True]), "got 1 filters"),
        (lambda: optim.linear_schedule(0, 1, 0), "steps is 0"),
        (lambda: optim.join_schedules([], []), "got no schedules"),
        (lambda: optim.join_schedules([lambda s: s], [3]), "got 1 boundaries, expected 0"),
    ],
)
def test_bad_settings_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# Models and state


def test_update_changes_the_model_in_place():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model.layers[0].freeze()
    frozen, before = model.layers[0].weight, np.array(model.layers[1].weight)
    gradients = tree_map(mx.ones_like, model.trainable_parameters())
    optim.SGD(0.5).update(model, gradients)
    assert model.layers[0].weight is frozen
    np.testing.assert_allclose(model.layers[1].weight, before - 0.5, rtol=1e-6)


def test_the_state_is_a_tree_that_can_be_saved_and_restored():
    parameters = to_mx(random_tree(0))
    gradients = to_mx(random_tree(1))
    first = optim.Adam(0.1)
    first.init(parameters)
    names = [path for path, _ in tree_flatten(first.state)]
    assert names[:2] == ["step", "learning_rate"] and "layers.0.b.m" in names
    parameters = first.apply_gradients(gradients, parameters)
    second = optim.Adam(0.3)
    second.state = tree_unflatten(tree_flatten(first.state))
    assert second.learning_rate.item() == np.float32(0.1) and second.step.item() == 1
    for a, b in zip(
        tree_flatten(first.apply_gradients(gradients, parameters)),
        tree_flatten(second.apply_gradients(gradients, parameters)),
        strict=True,
    ):
        np.testing.assert_array_equal(a[1], b[1])


def test_parameters_may_join_later():
    optimizer = optim.Adam(0.1)
    optimizer.apply_gradients({"a": mx.ones((1,))}, {"a": mx.ones((1,))})
    m = optimizer.state["a"]["m"]
    both = {"a": mx.ones((1,)), "b": [mx.ones((2,))]}
    optimizer.init(both)
    assert optimizer.state["a"]["m"] is m
    assert optimizer.apply_gradients(both, both)["b"][0].shape == (2,)


def test_the_learning_rate_can_be_set():
    optimizer = optim.SGD(0.1)
    optimizer.learning_rate = 0.5
    new = optimizer.apply_gradients({"a": mx.ones((1,))}, {"a": mx.ones((1,))})
    assert new["a"].item() == 0.5


def test_a_base_optimizer_says_what_is_missing():
    tree = {"a": mx.ones((1,))}
    with pytest.raises(NotImplementedError, match="Optimizer does not define init_single"):
        optim.Optimizer().apply_gradients(tree, tree)


def test_a_compiled_step_trains():
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(0.1)
    optimizer.init(model.trainable_parameters())
    state = [model.state, optimizer.state]
    x = mx.array([[1.0, 2.0], [3.0, 4.0], [-1.0, 0.5]])
    y = x @ mx.array([[2.0], [-1.0]]) + 0.5

    def loss_fn(model, x, y):
        return nn.losses.mse_loss(model(x), y)

    def step(x, y):
        loss, gradients = nn.value_and_grad(model, loss_fn)(model, x, y)
        optimizer.update(model, gradients)
        return loss

    compiled = mx.compile(step, inputs=state, outputs=state)
    losses = []
    for _ in range(200):
        losses.append(compiled(x, y).item())
    assert losses[-1] < 1e-2 * losses[0] and optimizer.step.item() == 200


def test_multi_optimizer_gives_each_parameter_to_the_first_filter_that_accepts_it():
    parameters = to_mx(random_tree(0))
    gradients = to_mx(random_tree(1))
    optimizer = optim.MultiOptimizer(
        [optim.Lion(0.1), optim.SGD(0.2)], [lambda path, g: g.ndim > 1 or path == "w"]
    )
    new = dict(tree_flatten(optimizer.apply_gradients(gradients, parameters)))
    old, g = dict(tree_flatten(parameters)), dict(tree_flatten(gradients))
    for path in old:
        change = 0.2 * np.array(g[path]) if path == "layers.0.b" else 0.1 * np.sign(g[path])
        np.testing.assert_allclose(new[path], np.array(old[path]) - change, rtol=1e-4, atol=1e-6)
    assert [s["step"].item() for s in optimizer.state["states"]] == [1, 1]
    optimizer.learning_rate = 0.7
    assert [o.learning_rate.item() for o in optimizer.optimizers] == [np.float32(0.7)] * 2
    assert optimizer.learning_rate.item() == np.float32(0.7)


def test_multi_optimizer_state_can_be_restored():
    def make():
        return optim.MultiOptimizer(
            [optim.Adam(0.1), optim.SGD(0.2)], [lambda path, g: path == "w"]
        )

    parameters = to_mx(random_tree(0))
    first, second = make(), make()
    first.init(parameters)
    second.state = tree_unflatten(tree_flatten(first.state))
    assert "m" in second.optimizers[0].state["w"]
    assert set(dict(tree_flatten(second.state))) == set(dict(tree_flatten(first.state)))


# Gradient norms


def test_clip_grad_norm():
    gradients = {"a": mx.array([3.0, 0.0]), "b": [mx.array([[4.0]])]}
    clipped, norm = optim.clip_grad_norm(gradients, 1.0)
    assert norm.item() == 5
    np.testing.assert_allclose(clipped["a"], [0.6, 0], rtol=1e-5)
    np.testing.assert_allclose(clipped["b"][0], [[0.8]], rtol=1e-5)
    same, _ = optim.clip_grad_norm(gradients, 100.0)
    np.testing.assert_array_equal(same["a"], gradients["a"])


def test_clip_grad_norm_does_not_overflow_in_half_precision():
    clipped, norm = optim.clip_grad_norm({"a": mx.full((100,), 1e3, mx.float16)}, 1.0)
    assert norm.item() == 1e4 and clipped["a"].dtype == mx.float16
    np.testing.assert_allclose(clipped["a"], 0.1, rtol=1e-2)


# Schedules

SCHEDULES = {
    "exponential": (optim.exponential_decay(0.1, 0.9), lambda t: 0.1 * 0.9**t),
    "step": (optim.step_decay(0.1, 0.5, 3), lambda t: 0.1 * 0.5 ** (t // 3)),
    "cosine": (
        optim.cosine_decay(0.1, 4, 0.01),
        lambda t: 0.01 + 0.045 * (1 + math.cos(math.pi * min(t, 4) / 4)),
    ),
    "linear": (optim.linear_schedule(0.2, 0.1, 4), lambda t: 0.2 - 0.1 * min(t, 4) / 4),
    "joined": (
        optim.join_schedules(
            [optim.linear_schedule(0, 0.1, 3), optim.exponential_decay(0.1, 0.5), lambda t: 0.7],
            [3, 5],
        ),
        lambda t: 0.1 * t / 3 if t < 3 else 0.1 * 0.5 ** (t - 3) if t < 5 else 0.7,
    ),
}


@pytest.mark.parametrize("schedule, expected", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules(schedule, expected):
    optimizer = optim.SGD(schedule)
    tree = {"a": mx.zeros((1,))}
    assert optimizer.learning_rate.item() == pytest.approx(expected(0), rel=1e-5)
    for t in range(8):
        new = optimizer.apply_gradients({"a": mx.ones((1,))}, tree)
        assert new["a"].item() == pytest.approx(-expected(t), rel=1e-5)
        assert float(schedule(mx.array(t, mx.uint64))) == pytest.approx(expected(t), rel=1e-5)


@pytest.mark.parametrize(
    "schedule",
    [
        optim.exponential_decay(0.1, 0.9),
        optim.step_decay(0.1, 0.9, 2),
        optim.cosine_decay(0.1, 4),
        optim.linear_schedule(0.1, 0.0, 4),
        optim.join_schedules([optim.linear_schedule(0.0, 0.1, 2), optim.cosine_decay(0.1, 4)], [2]),
    ],
)
def test_optimizers_with_a_schedule_are_pickled_and_copied(schedule):
    optimizer = optim.Adam(schedule)
    parameters, gradients = {"x": mx.ones(3)}, {"x": mx.array([1.0, 2, 3])}
    optimizer.apply_gradients(gradients, parameters)
    optimizers = [optimizer, pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)]
    results = []
    for o in optimizers:
        for _ in range(3):
            updated = o.apply_gradients(gradients, parameters)
        results.append(updated["x"].tolist())
    assert results[0] == results[1] == results[2] != [1, 1, 1]


def test_cosine_decay_to_a_numpy_number_gives_an_array():
    rate = optim.cosine_decay(0.1, 10, np.float32(0.05))(mx.array(10))
    assert isinstance(rate, mx.array) and rate.item() == pytest.approx(0.05)


GRADIENTS = [
    ({"layers": [{"wieght": (4, 4)}]}, KeyError, r"layers\.0\.wieght, where .* have weight, bias"),
    ({"layrs": []}, KeyError, "of layrs, where parameters have layers"),
    ({"layers": [{}, {}, {}]}, IndexError, "3 gradients of layers, which has 2 places"),
    ({"layers": {"0": {}}}, mx.KindError, "of layers is a dict, its parameter of type list"),
    ({"layers": [[()]]}, mx.KindError, r"of layers\.0 is a list, its parameter of type Linear"),
    ({"layers": [(4, 4)]}, mx.KindError, r"layers\.0 is an array, its parameter of type Linear"),
    ({"layers": [{"bias": None}]}, mx.KindError, r"layers\.0\.bias is of type NoneType"),
    ({"layers": [{}, {"bias": (5,)}]}, ValueError, r"layers\.1\.bias has shape \(5,\).* \(2,\)"),
]


@pytest.mark.parametrize("make", [lambda: optim.SGD(0.1), lambda: optim.Adam(0.1)])
@pytest.mark.parametrize("shapes, kind, message", GRADIENTS)
def test_gradients_that_do_not_fit_are_named(make, shapes, kind, message):
    def is_shape(tree):
        return isinstance(tree, tuple)

    gradients = tree_map(lambda s: mx.ones(s) if is_shape(s) else s, shapes, is_leaf=is_shape)
    model, optimizer = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), make()
    before = tree_flatten(model.parameters())
    with pytest.raises(kind, match=f"^['\"]?{type(optimizer).__name__}: .*{message}"):
        optimizer.update(model, gradients)
    for (_, old), (_, new) in zip(before, tree_flatten(model.parameters()), strict=True):
        assert mx.array_equal(old, new)
    if kind is not ValueError:
        assert optimizer.step.item() == 0 and "layers" not in optimizer.state
        optimizer.update(model, {"layers": [{}, {"bias": mx.ones(2)}]})  # as if nothing had been


def test_several_optimizers_name_a_gradient_that_does_not_fit():
    model = nn.Sequential(nn.Linear(4, 4))
    optimizer = optim.MultiOptimizer([optim.SGD(0.1), optim.Adam(0.1)], [lambda p, _: "bias" in p])
    with pytest.raises(KeyError, match=r"MultiOptimizer: a gradient of layers\.0\.wieght"):
        optimizer.update(model, {"layers": [{"wieght": mx.ones((4, 4)), "bias": mx.ones(4)}]})
    with pytest.raises(ValueError, match=r"SGD: the gradient of layers\.0\.bias has shape \(3,\)"):
        optimizer.update(model, {"layers": [{"weight": mx.ones((4, 4)), "bias": mx.ones(3)}]})
