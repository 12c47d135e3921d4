"""Function transforms: grad, vjp, jvp, vmap, compile, checkpoint, custom functions."""

import collections
import contextlib
import gc
import math
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import assert_close, assert_equal, to_mx

import cermet.core as mx
import cermet.nn as nn

X = mx.array([0.5, -1.0, 2.0])
Y = mx.array([2.0, 3.0, 0.25])


# grad and value_and_grad


def test_grad_of_a_scalar():
    assert mx.grad(lambda x: x * x)(mx.array(3.0)).item() == 6
    value, gradient = mx.value_and_grad(lambda x: (x * x).sum())(X)
    assert value.item() == 5.25 and gradient.tolist() == [1, -2, 4]


@pytest.mark.parametrize(
    "options, want",
    [
        ({}, "y"),
        ({"argnums": 1}, "x"),
        ({"argnums": (0, 1)}, ("y", "x")),
    ],
)
def test_argnums(options, want):
    gradients = mx.grad(lambda x, y: (x * y).sum(), **options)(X, Y)
    values = {"x": X.tolist(), "y": Y.tolist()}
    if isinstance(want, tuple):
        assert [g.tolist() for g in gradients] == [values[name] for name in want]
    else:
        assert gradients.tolist() == values[want]


def test_argnames():
    f = lambda x, *, y, z: (x * y * z).sum()  # noqa: E731
    one, named = mx.grad(f, argnames="y")(X, y=Y, z=mx.array(2.0))
    assert one is None and named.keys() == {"y"} and named["y"].tolist() == (2 * X).tolist()
    positional, named = mx.grad(f, argnums=0, argnames=["y", "z"])(X, y=Y, z=mx.array(2.0))
    assert positional.tolist() == (2 * Y).tolist()
    assert named["z"].item() == (X * Y).sum().item()


def test_nested_trees():
    tree = {"a": X, "b": [Y, (X, {"c": Y})], "unused": X}
    gradients = mx.grad(lambda t: (t["a"] * t["b"][0] + t["b"][1][0] * t["b"][1][1]["c"]).sum())(
        tree
    )
    assert gradients["a"].tolist() == Y.tolist()
    assert gradients["b"][0].tolist() == X.tolist()
    assert gradients["b"][1][1]["c"].tolist() == X.tolist()
    assert gradients["unused"].tolist() == [0, 0, 0]
    assert isinstance(gradients["b"], list) and isinstance(gradients["b"][1], tuple)


def test_auxiliary_outputs():
    (value, twice, text), gradient = mx.value_and_grad(lambda x: (x.sum(), x * 2, "text"))(X)
    assert value.item() == 1.5 and twice.tolist() == [1, -2, 4] and text == "text"
    assert gradient.tolist() == [1, 1, 1]


def test_inputs_used_in_several_places():
    f = lambda x: (x * x + mx.sin(x) * x).sum()  # noqa: E731
    x = np.array(X)
    assert_close(mx.grad(f)(X), 2 * x + np.cos(x) * x + np.sin(x))


def test_higher_derivatives():
    f, derivatives = mx.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin]
    for want in derivatives:
        f = mx.grad(f)
        assert f(mx.array(0.7)).item() == pytest.approx(want(0.7), rel=1e-5)


def test_hessian():
    matrix = mx.array([[2.0, 1.0], [1.0, 3.0]])
    f = lambda x: 0.5 * (x @ matrix @ x)  # noqa: E731
    x = mx.array([1.0, 2.0])
    hessian = mx.vmap(lambda v: mx.jvp(mx.grad(f), [x], [v])[1][0])(mx.eye(2))
    assert_close(hessian, np.array(matrix))
    rows = [mx.grad(lambda x, i=i: mx.grad(f)(x)[i])(x) for i in range(2)]
    assert_close(mx.stack(rows), np.array(matrix))


# Functions that use a part of an array in each of n rounds.
def overwritten(x, n):
    y = x * 2
    for i in range(n):
        y[i] = mx.tanh(x[i])
    return y


def carried(x, n):
    states = [x[0]]
    for i in range(n):
        states.append(mx.tanh(states[-1] + x[i]))
    return mx.stack(states)


ROUNDS = {
    "slices": lambda x, n: mx.concatenate([mx.tanh(x[i : i + 2]) for i in range(n)]),
    "takes": lambda x, n: mx.stack([mx.tanh(x[mx.array([i, i + 1])]) for i in range(n)]),
    "strided": lambda x, n: mx.stack(
        [mx.tanh(mx.as_strided(x, (2, 999), (1000, 1), i * 1000)) for i in range(n)]
    ),
    "split": lambda x, n: mx.stack([mx.tanh(part[0]) for part in mx.split(x, n)]),
    "overwritten": overwritten,
    "carried": carried,
}


@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize("mode", ["vjp", "jvp"])
def test_memory_of_derivatives_by_parts_is_linear(name, mode):
    x = mx.random.normal((80, 1000), key=mx.random.key(0))

    def peak(n):
        f = lambda x: ROUNDS[name](x, n)  # noqa: E731
        out = f(x)
        tangent = mx.ones_like(x if mode == "jvp" else out)
        mx.eval(tangent)
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(getattr(mx, mode)(f, [x], [tangent])[1])
        return (mx.get_peak_memory() - before) / x.nbytes

    mx.eval(x)
    assert max(peak(40), peak(80 if name == "split" else 78)) <= 6


@pytest.mark.parametrize("name", ROUNDS)
def test_derivatives_by_parts_agree(name):
    x = mx.random.normal((8, 1000), key=mx.random.key(1))
    v = mx.random.normal(x.shape, key=mx.random.key(2))
    f = lambda x: ROUNDS[name](x, 4)  # noqa: E731
    w = mx.random.normal(f(x).shape, key=mx.random.key(3))
    pushed = mx.jvp(f, [x], [v])[1][0]
    pulled = mx.vjp(f, [x], [w])[1][0]
    assert (pushed * w).sum().item() == pytest.approx((pulled * v).sum().item(), rel=1e-4)
    step = 1e-2
    assert_close(pushed, np.array((f(x + step * v) - f(x - step * v)) / (2 * step)), 1e-1, 1e-2)
    # The second derivative, both ways, and a batch of first ones.
    g = mx.grad(lambda x: (f(x) * f(x) * w).sum())
    assert_close(
        mx.grad(lambda x: (g(x) * v).sum())(x), np.array(mx.jvp(g, [x], [v])[1][0]), 1e-3, 1e-3
    )
    batch = mx.stack([x, v])
    if name != "strided":  # as_strided reads the memory of the whole batch
        assert_close(mx.vmap(g)(batch)[1], np.array(g(v)))


def test_stop_gradient():
    f = lambda x: (mx.stop_gradient(x * x) * x).sum()  # noqa: E731
    assert mx.grad(f)(X).tolist() == (X * X).tolist()
    assert mx.grad(lambda x: mx.stop_gradient(x).sum())(X).tolist() == [0, 0, 0]


def test_control_flow_inside_a_gradient():
    def f(x):
        while x.sum().item() < 100:
            x = x * 2
        return x.sum() if x[0] > 0 else -x.sum()

    assert mx.grad(f)(X).tolist() == [128] * 3
    assert mx.grad(lambda x: (x * float(x.sum().item())).sum())(X).tolist() == [1.5] * 3


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval, lambda a: a.tolist()])
def test_another_thread_evaluates_what_is_differentiated(evaluate):
    shared, built, evaluated = [], threading.Event(), threading.Event()

    def work():
        built.wait(30)
        evaluate(shared[0])
        mx.synchronize()
        evaluated.set()

    def f(x):
        y = mx.exp(x)
        shared.append(y * 2)
        built.set()
        assert evaluated.wait(30)
        return (shared[0] * y).sum()

    thread = threading.Thread(target=work)
    thread.start()
    assert_close(mx.grad(f)(X), 4 * np.exp(2 * np.array(X)))
    thread.join()


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval, str, lambda a: a.tolist()])
def test_evaluation_inside_a_gradient_beside_what_nobody_holds(evaluate):
    n = mx.arange(8.0)

    def f(s):
        k = 2.0 * n * s  # the first product is not differentiated, and only the graph's
        evaluate(k)
        return (k * k).sum()

    assert mx.grad(f)(mx.ones(8)).tolist() == [8.0 * i * i for i in range(8)]


def test_updates_in_place_inside_a_gradient():
    def f(x):
        y = x + 0
        y[0] = y[1] * y[2]
        y += x
        return y.sum()

    assert mx.grad(f)(X).tolist() == [1, 4, 1]
    assert X.tolist() == [0.5, -1, 2]


def plain(value):
    """Arrays in a tree as lists."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return (
            type(value)(*map(plain, value))
            if hasattr(value, "_fields")
            else type(value)(map(plain, value))
        )
    return value.tolist() if isinstance(value, mx.array) else value


def doubled(tree):
    """An update of each kind of a function's argument; the value depends on x twice."""
    tree["x"] = tree["x"] * 2
    tree["new"] = tree["x"] + 1
    tree["inner"]["list"][0] = tree["inner"]["list"][0] - 1
    tree["inner"]["list"].append(tree["x"])
    tree["pair"][1].append("text")
    del tree["gone"]
    return (tree["x"] * tree["inner"]["list"][1]).sum()


def containers():
    return {
        "x": mx.array([1.0, 2.0]),
        "inner": {"list": [mx.array([3.0, 4.0]), mx.array([5.0, 6.0])]},
        "pair": (mx.array([7.0, 8.0]), []),
        "gone": mx.array([9.0, 9.0]),
    }


@pytest.mark.parametrize("transform", [mx.grad, mx.value_and_grad, mx.custom_function])
def test_updates_of_an_argument_are_visible(transform):
    """As without a transform: in MLX, too."""
    want, tree = containers(), containers()
    value = doubled(want)
    kept, inner, pair = tree["inner"]["list"][1], tree["inner"], tree["pair"]
    result = transform(doubled)(tree)
    assert plain(tree) == plain(want)
    # What was not updated is what it was, the objects themselves.
    assert tree["inner"] is inner and tree["pair"] is pair and inner["list"][1] is kept
    if transform is mx.custom_function:
        assert result.item() == value.item()
        return
    gradient = result if transform is mx.grad else result[1]
    zero = [0, 0]
    assert plain(gradient) == {
        "x": [10, 12],
        "inner": {"list": [zero, [2, 4]]},
        "pair": (zero, []),
        "gone": zero,
    }
    # No stand-in is left: a second gradient goes to what is there now.
    again = mx.grad(lambda t: (t["x"] * t["new"]).sum())({"x": tree["x"], "new": tree["new"]})
    assert plain(again) == {"x": [3, 5], "new": [2, 4]}


def test_updates_before_an_error_are_visible_and_the_rest_is_restored():
    tree = {"x": X, "y": [Y]}

    def f(tree):
        tree["x"] = tree["x"] + 1
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        mx.grad(f)(tree)
    assert tree["x"].tolist() == (X + 1).tolist() and tree["y"][0] is Y


def test_arguments_are_the_callers_containers_inside_a_gradient():
    tree, seen = {"x": X}, []

    def f(given, *, named):
        seen.append((given is tree, named is tree))
        return given["x"].sum()

    mx.grad(f)(tree, named=tree)
    assert seen == [(True, True)]


def test_arrays_changed_in_place_inside_a_gradient():
    x, y, z = mx.array([1.0, 2.0]), mx.array([3.0, 4.0]), mx.array([5.0, 6.0])
    tree = {"y": y}

    def f(x, tree, pair):
        x += 1  # an argument itself keeps its value, as in MLX
        tree["y"] *= 2
        pair[0][0] = x[0]
        return (x * tree["y"] * pair[0]).sum()

    dx, dtree, (dz,) = mx.grad(f, argnums=(0, 1, 2))(x, tree, (z,))
    assert x.tolist() == [1, 2] and tree["y"] is y and y.tolist() == [6, 8]
    assert z.tolist() == [2, 6]
    assert dx.tolist() == [2 * 2 * 6, 8 * 6] and dtree["y"].tolist() == [2 * 2 * 2, 3 * 2 * 6]
    assert dz.tolist() == [0, 3 * 8]


def test_arrays_kept_by_a_traced_function_have_their_values():
    kept = []

    def f(x, tree):
        kept.extend([x, tree["y"], x * 2])
        tree["moved"] = tree["y"]
        return (x * tree["y"]).sum()

    tree = {"y": Y}
    mx.grad(f)(X, tree)
    mx.grad(lambda x: f(x, tree))(X)
    assert tree["moved"] is Y and [a.tolist() for a in kept[:2]] == [X.tolist(), Y.tolist()]
    # They belong to no trace: what follows has their derivative, not one through a dead trace.
    assert mx.grad(lambda x: (x * kept[0] * kept[2]).sum())(Y).tolist() == (X * X * 2).tolist()


def test_nested_gradients_share_an_argument():
    tree = {"x": X}

    def inner(tree):
        tree["x"] = tree["x"] * 2
        return (tree["x"] * tree["x"]).sum()

    def outer(tree):
        first = mx.grad(inner)(tree)  # 8 x; then tree["x"] is 2 x
        return (first["x"] * tree["x"]).sum()

    assert mx.grad(outer)(tree)["x"].tolist() == (X * 32).tolist()
    assert tree["x"].tolist() == (X * 2).tolist()


def test_a_container_that_stands_twice_in_an_argument():
    shared = [X]
    tree = {"a": shared, "b": shared}
    gradient = mx.grad(lambda t: (t["a"][0] * t["b"][0]).sum())(tree)
    total = np.array(gradient["a"][0]) + np.array(gradient["b"][0])
    assert total.tolist() == (X * 2).tolist()
    assert tree["a"] is shared and shared[0] is X


@pytest.mark.parametrize("transform", [mx.compile, mx.vmap, mx.checkpoint])
def test_containers_of_a_replayed_function_are_its_own(transform):
    """What runs later or not at all cannot show its updates; in MLX it does not, either."""
    tree = {"x": mx.array([1.0, 2.0])}

    def f(tree):
        tree["x"] = tree["x"] * 2
        return tree["x"]

    function = transform(f)
    for _ in range(2):
        assert function(tree).tolist() == [2, 4]
    assert tree["x"].tolist() == [1, 2]


def test_updates_of_a_custom_function_are_made_once():
    @mx.custom_function
    def f(tree):
        tree["x"] = tree["x"] * 2
        return tree["x"] * tree["x"]

    tree = {"x": X}
    gradient = mx.grad(lambda t: f(t).sum())(tree)  # its rule runs the function again
    assert gradient["x"].tolist() == (X * 8).tolist()
    assert tree["x"].tolist() == (X * 2).tolist()


@pytest.mark.parametrize("transform", [mx.compile, mx.checkpoint, mx.custom_function])
def test_the_random_state_as_an_argument(transform):
    f = lambda state, x: x * 2  # noqa: E731
    assert transform(f)(mx.random.state, X).tolist() == (X * 2).tolist()


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.grad(lambda x: x)(X),
        lambda: mx.grad(lambda x: 1.0)(X),
        lambda: mx.grad(lambda x: (x.sum(), x))(X),
        lambda: mx.grad(lambda x: x.sum(), argnums=3)(X),
        lambda: mx.grad(lambda x: x.sum(), argnums=(0, 0))(X),
        lambda: mx.grad(lambda x: x.sum(), argnames="y")(X),
        lambda: mx.grad(lambda x: x)(1.0),
        lambda: mx.value_and_grad(lambda x: ())(X),
        lambda: mx.vjp(lambda x: x, [X], [mx.zeros((2, 3))]),
        lambda: mx.vjp(lambda x: (x, x), [X], [X]),
        lambda: mx.jvp(lambda x: x, [X], [mx.zeros((2, 3))]),
        lambda: mx.jvp(lambda x, y: x, [X, Y], [X]),
    ],
)
def test_errors(call):
    with pytest.raises((ValueError, TypeError)):
        call()


def test_errors_of_the_function_pass_through():
    def f(x):
        raise KeyError("mine")

    for transform in (mx.grad, mx.vmap, mx.compile, mx.checkpoint):
        with pytest.raises(KeyError, match="mine"):
            transform(f)(X)
    assert mx.grad(lambda x: x.sum())(X).tolist() == [1, 1, 1]


# vjp and jvp


def test_vjp_and_jvp():
    f = lambda x, y: (x * y, mx.sin(x))  # noqa: E731
    outputs, gradients = mx.vjp(f, [X, Y], [mx.ones(3), 2 * mx.ones(3)])
    x, y = np.array(X), np.array(Y)
    assert_close(outputs[0], x * y)
    assert_close(gradients[0], y + 2 * np.cos(x))
    assert_close(gradients[1], x)
    outputs, tangents = mx.jvp(f, [X, Y], [mx.ones(3), Y])
    assert_close(outputs[1], np.sin(x))
    assert_close(tangents[0], y + x * y)
    assert_close(tangents[1], np.cos(x))


def test_forward_over_reverse_and_back():
    f = lambda x: mx.exp(mx.sin(x)).sum()  # noqa: E731
    v = Y
    forward_over_reverse = mx.jvp(mx.grad(f), [X], [v])[1][0]
    reverse_over_forward = mx.grad(lambda x: mx.jvp(f, [x], [v])[1][0])(X)
    x = np.array(X, np.float64)
    want = (np.cos(x) ** 2 - np.sin(x)) * np.exp(np.sin(x)) * np.array(v)
    assert_close(forward_over_reverse, want)
    assert_close(reverse_over_forward, want)


# vmap

MATRIX = mx.array(np.random.default_rng(0).uniform(0.5, 2, (4, 3, 5)), dtype=mx.float32)
OTHER = MATRIX[::-1] + 1
INDEX = mx.array([[0, 2, 1], [1, 1, 0], [2, 0, 0], [1, 2, 2]])

ONE = {
    "elementwise": lambda a: mx.exp(a) * 2 + 1,
    "comparison": lambda a: a > 1,
    "where": lambda a: mx.where(a > 1, a, -a),
    "cast": lambda a: a.astype(mx.int32),
    "sum": lambda a: a.sum(),
    "sum over axis": lambda a: a.sum(axis=0),
    "sum over last": lambda a: a.sum(axis=-1, keepdims=True),
    "max": lambda a: a.max(axis=1),
    "argmax": lambda a: mx.argmax(a, axis=1),
    "logsumexp": lambda a: mx.logsumexp(a, axis=0),
    "softmax": lambda a: mx.softmax(a, axis=-1),
    "cumsum": lambda a: mx.cumsum(a, axis=0),
    "sort": lambda a: mx.sort(a, axis=0),
    "argsort": lambda a: mx.argsort(a),
    "partition": lambda a: mx.partition(a, 1, axis=0),
    "reshape": lambda a: a.reshape(5, 3),
    "flatten": lambda a: a.flatten(),
    "transpose": lambda a: a.T,
    "expand and squeeze": lambda a: mx.squeeze(mx.expand_dims(a, 1), 1),
    "broadcast": lambda a: mx.broadcast_to(a, (2, 3, 5)),
    "slice": lambda a: a[1:, ::-2],
    "integer index": lambda a: a[1],
    "pad": lambda a: mx.pad(a, 1),
    "concatenate": lambda a: mx.concatenate([a, a * 2], axis=1),
    "stack": lambda a: mx.stack([a, -a], axis=1),
    "split": lambda a: mx.split(a, [2], axis=1)[1],
    "tile and repeat": lambda a: mx.repeat(mx.tile(a, (1, 2)), 2, axis=0),
    "gather": lambda a: a[mx.array([0, 2, 2])],
    "scatter": lambda a: a.at[mx.array([0, 0])].add(mx.ones(5)),
    "set": lambda a: mx.slice_update(a, mx.zeros((1, 5)), mx.array([1]), [0]),
    "take along axis": lambda a: mx.take_along_axis(a, mx.array([[0], [1], [2]]), axis=1),
    "matmul with a constant": lambda a: a @ mx.ones((5, 2)),
    "constant matmul": lambda a: mx.ones((2, 3)) @ a,
    "creation": lambda a: mx.zeros_like(a) + mx.arange(5),
    "constant output": lambda a: mx.array(1.0),
}
TWO = {
    "add": lambda a, b: a + b,
    "matmul": lambda a, b: a @ b.T,
    "where": lambda a, b: mx.where(a > b, a, b),
    "concatenate": lambda a, b: mx.concatenate([a, b]),
    "inner": lambda a, b: mx.inner(a, b),
    "vector": lambda a, b: a[0] @ b[1],
    "matrix-vector": lambda a, b: a @ b[0],
    "addmm": lambda a, b: mx.addmm(a[:, :3], a, b.T),
    "scatter": lambda a, b: a.at[mx.array([0, 0])].add(b[:2]),
    "einsum": lambda a, b: mx.einsum("ij,kj->ki", a, b),
}


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_vmap_is_a_loop(name, axis):
    f, a = ONE[name], mx.moveaxis(MATRIX, 0, axis)
    want = np.stack([np.array(f(row)) for row in MATRIX])
    assert_close(mx.vmap(f, in_axes=axis)(a), want)
    if want.ndim > 1:
        assert_close(mx.vmap(f, in_axes=axis, out_axes=1)(a), np.moveaxis(want, 0, 1))


@pytest.mark.parametrize("name", TWO)
@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (0, 2), (0, None), (None, 0)])
def test_vmap_of_two(name, axes):
    f = TWO[name]
    a, b = (
        v[1] if axis is None else mx.moveaxis(v, 0, axis)
        for v, axis in zip((MATRIX, OTHER), axes, strict=True)
    )
    rows = [
        [v] * 4 if axis is None else list(mx.moveaxis(v, axis, 0))
        for v, axis in zip((a, b), axes, strict=True)
    ]
    want = np.stack([np.array(f(x, y)) for x, y in zip(*rows, strict=True)])
    assert_close(mx.vmap(f, in_axes=axes)(a, b), want, rtol=1e-4)


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0)])
def test_vmap_of_indices(axes):
    table, index = (
        v[1] if axis is None else v for v, axis in zip((MATRIX, INDEX), axes, strict=True)
    )
    for f in (
        lambda t, i: t[i],
        lambda t, i: mx.take(t, i, axis=0),
        lambda t, i: t.at[i].add(1.0),
        lambda t, i: mx.take_along_axis(t, i[:, None], axis=1),
        lambda t, i: mx.put_along_axis(t, i[:, None], mx.array(0.0), axis=1),
        lambda t, i: t[i[0]],
    ):
        pairs = [
            (table if axes[0] is None else table[n], index if axes[1] is None else index[n])
            for n in range(4)
        ]
        want = np.stack([np.array(f(*pair)) for pair in pairs])
        assert_close(mx.vmap(f, in_axes=axes)(table, index), want)


def test_vmap_of_trees():
    outputs = mx.vmap(lambda a, b: {"s": a.sum(), "t": (a, b)}, in_axes=(0, None), out_axes=0)(
        MATRIX, X
    )
    assert outputs["s"].shape == (4,) and outputs["t"][1].shape == (4, 3)
    f = lambda d: d["a"] + d["b"]  # noqa: E731
    assert mx.vmap(f)({"a": MATRIX, "b": OTHER}).shape == (4, 3, 5)
    pair = mx.vmap(lambda a: (a, a), out_axes=(0, 1))(MATRIX)
    assert pair[0].shape == (4, 3, 5) and pair[1].shape == (3, 4, 5)


def test_axes_with_another_structure():
    for axes in ((), (0, 0), [0]):
        with pytest.raises(ValueError, match="out_axes does not have the structure"):
            mx.vmap(lambda x: mx.zeros((0,)), out_axes=axes)(mx.zeros(3))


def test_nested_vmap():
    outer = mx.vmap(lambda a: mx.vmap(lambda b: (a * b).sum(), in_axes=1)(MATRIX[0]))(
        MATRIX[:, :, 0]
    )
    assert_close(outer, np.array(MATRIX[:, :, 0]) @ np.array(MATRIX[0]))
    table = mx.vmap(mx.vmap(lambda a, b: a * b, (None, 0)), (0, None))(X, Y)
    assert_close(table, np.outer(X, Y))


def test_vmap_and_grad():
    f = lambda w, x: mx.tanh(x @ w).sum()  # noqa: E731
    w = mx.array([0.1, -0.2, 0.3, 0.5, 0.7])
    per_example = mx.vmap(mx.grad(f), in_axes=(None, 0))(w, MATRIX)
    assert_close(per_example, np.stack([np.array(mx.grad(f)(w, x)) for x in MATRIX]))
    total = mx.grad(lambda w: mx.vmap(f, in_axes=(None, 0))(w, MATRIX).sum())(w)
    assert_close(total, np.array(per_example).sum(0), rtol=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda: mx.vmap(lambda a, b: a + b)(MATRIX, X),
        lambda: mx.vmap(lambda a: a, in_axes=7)(X),
        lambda: mx.vmap(lambda a, b: a, in_axes=(0,))(X, Y),
        lambda: mx.vmap(lambda a: a)(mx.array(1.0)),
    ],
)
def test_vmap_errors(call):
    with pytest.raises((ValueError, IndexError)):
        call()


def test_vmap_keeps_apart_what_is_mapped_and_what_is_not():
    constant, mapped = mx.vmap(lambda a: (Y, a + Y), out_axes=(None, 0))(MATRIX[0, :, :3])
    assert constant.tolist() == Y.tolist() and mapped.shape == (3, 3)
    with pytest.raises(ValueError, match="output 0 depends on a mapped input"):
        mx.vmap(lambda a: a, out_axes=None)(X)
    with pytest.raises(ValueError, match="output 1 depends on a mapped input"):
        mx.vmap(lambda a: {"a": Y, "b": a * 2}, out_axes={"a": None, "b": None})(X)
    with pytest.raises(ValueError, match="out_axes"):  # an array is no sequence of outputs
        mx.vmap(lambda a: mx.zeros((0,)), out_axes=())(X)


def test_evaluation_inside_vmap_and_compile_is_refused():
    for transform in (mx.vmap, mx.compile):
        with pytest.raises((ValueError, RuntimeError)):
            transform(lambda a: a + a.sum().item())(X)
        # Programs that evaluate where they can, and go on where not, look for these words of MLX's.
        with pytest.raises(ValueError, match="during function transformations"):
            transform(lambda a: [mx.eval(a), a][1])(X)


def deep():
    tree = [X]
    for _ in range(100_000):
        tree = [tree]
    return tree


def cyclic():
    tree = [X]
    tree.append({"itself": tree})
    return tree


@pytest.mark.parametrize("tree", [deep, cyclic])
@pytest.mark.parametrize(
    "function",
    [
        mx.eval,
        mx.async_eval,
        mx.explain,
        mx.grad(lambda t: X.sum()),
        mx.vmap(lambda t: X),
        mx.compile(lambda t: X),
        mx.checkpoint(lambda t: X),
        mx.custom_function(lambda t: X),
    ],
)
def test_trees_without_an_end_are_an_error(function, tree):
    with pytest.raises(RecursionError):
        function(tree())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer's signals")
@pytest.mark.parametrize(
    "function",
    [
        mx.eval,
        mx.async_eval,
        mx.explain,
        lambda tree: mx.depends(X, tree),
        mx.grad(lambda t: X.sum()),
        mx.vmap(lambda t: X),
        mx.compile(lambda t: X),
        mx.checkpoint(lambda t: X),
        mx.custom_function(lambda t: X),
    ],
)
def test_trees_that_share_parts_are_left_by_signals(function):
    """Each level is there twice: a small tree that is walked for ever."""
    levels = [[1]]  # no array, so that the walk takes no memory

    def interrupt(*_):
        raise KeyboardInterrupt

    def emptied(*_):
        for level in levels:
            level.clear()

    for _ in range(64):
        levels.append([levels[-1], levels[-1]])
    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # an exception is lost in a callback of the collector
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises((KeyboardInterrupt, ValueError)):  # that 1 is no array
            function(levels[-1])
        signal.signal(signal.SIGALRM, emptied)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with contextlib.suppress(ValueError):
            function(levels[-1])  # while which it loses all that it holds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def test_a_tower_of_transforms_ends_in_a_loop():
    # In another process, as a recursion that is too deep ends it.
    program = """
import gc
import cermet.core as mx

def custom(f, rule="vjp"):
    g = mx.custom_function(mx.sin)
    getattr(g, rule)(f)
    return g

wrappers = [mx.compile, mx.grad, mx.value_and_grad, mx.vmap, mx.checkpoint, mx.custom_function]
wrappers += [custom, lambda f: custom(f, "jvp"), lambda f: custom(f, "vmap")]
wrappers += [lambda f: mx.compile(mx.sin, inputs=[f]), lambda f: mx.vmap(mx.sin, in_axes=[f])]
wrappers += [lambda f: mx.compile(lambda x: f(x)), lambda f: mx.grad(mx.vmap(f))]
for wrap in wrappers:
    f = mx.sin
    for _ in range(50_000):
        f = wrap(f)
    for use in (lambda: f(mx.array([1.0])), lambda: f.missing):
        try:
            use()
        except (RecursionError, AttributeError, ValueError, TypeError):
            pass
    del f
f = mx.sin
for _ in range(100_000):
    f = mx.compile(f)
cycle = [f]
cycle.append(cycle)
del f, cycle
gc.collect()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_an_array_of_many_axes_is_no_deep_recursion():
    many = mx.ones((1,) * 100_000)
    for use in (mx.array.tolist, str, np.array, lambda a: a.__dlpack__()):
        with pytest.raises((RecursionError, ValueError)):
            use(many)


def test_a_result_without_an_end_is_an_error():
    for transform in (mx.value_and_grad, mx.compile, mx.checkpoint, mx.custom_function):
        with pytest.raises(RecursionError):
            transform(lambda x: (x.sum(), cyclic()))(X)


# compile


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.f(*args, **kwargs)


@pytest.mark.parametrize("name", ONE)
def test_compiled_functions_give_the_same(name):
    compiled = mx.compile(ONE[name])
    for a in (MATRIX[0], MATRIX[1]):
        assert_close(compiled(a), np.array(ONE[name](a)), rtol=1e-6)


def test_compile_traces_once_for_each_signature():
    f = Counted(lambda x, scale=1: mx.exp(x) * scale)
    compiled = mx.compile(f)
    for argument, count in [
        (X, 1), (Y, 1), (X.astype(mx.float16), 2), (MATRIX, 3), (X, 3), (OTHER, 3), (X[None], 4),
    ]:  # fmt: skip
        assert_close(compiled(argument), np.array(mx.exp(argument)), rtol=1e-6)
        assert f.calls == count
    assert_close(compiled(X, scale=2), 2 * np.exp(np.array(X)))
    assert f.calls == 5
    compiled(X, scale=2)
    assert f.calls == 5
    compiled(X, scale=3)
    assert f.calls == 6


class Disguised(int):
    """An integer that prints like any other of its kind."""

    def __repr__(self):
        return "1"


Pair = collections.namedtuple("Pair", "a b")
Riap = collections.namedtuple("Pair", "b a")


class Key:
    """A key that prints like any other of its kind."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return 0

    def __eq__(self, other):
        return self.value == other.value

    def __repr__(self):
        return "key"


@pytest.mark.parametrize(
    "one, other",
    [
        ({1: X}, {"1": X}),
        ({"a": X, "b": Y}, {"b": X, "a": Y}),
        ([{"a": X}, {}], [{}, {"a": X}]),
        ((1, X), (True, X)),
        ((1, X), (1.0, X)),
        ((0.0, X), (-0.0, X)),
        ((Disguised(2), X), (Disguised(3), X)),
        (("a,1:b", X), ("a", X)),
        (Pair(X, Y), (X, Y)),
        (Pair(X, Y), Riap(X, Y)),
        ({Key(1): X}, {Key(2): X}),
        ({Pair(1, 2): X}, {Riap(1, 2): X}),
        ((math.nan, X), (-math.nan, X)),
        ((1j, X), (complex(-0.0, 1), X)),
        ((mx.float16, X), (mx.float32, X)),
        ([X, [Y]], [[X], Y]),
        ([X, Y], (X, Y)),
    ],
)
def test_compile_tells_calls_apart(one, other):
    f = Counted(lambda tree: tree)
    compiled = mx.compile(f)
    for tree in (one, other, one, other):
        result = compiled(tree)
        assert repr(plain(result)) == repr(plain(tree)) and type(result) is type(tree)
    assert f.calls == 2


def test_compile_keeps_the_last_256_traces():
    f = Counted(lambda x, scale: x * scale)
    compiled = mx.compile(f)
    for scale in range(300):
        compiled(X, scale)
        compiled(X, 0)
    assert f.calls == 300
    for scale in (0, *range(299, 299 - 255, -1)):  # what was used last
        assert compiled(X, scale).tolist() == (X * scale).tolist()
    assert f.calls == 300
    compiled(X, 1)
    assert f.calls == 301


def test_compile_of_trees():
    compiled = mx.compile(lambda t, k: {"out": [t["a"] + k, (t["b"],)], "k": k * 2})
    result = compiled({"a": X, "b": Y}, mx.array(1.0))
    assert (
        result["out"][0].tolist() == (X + 1).tolist() and result["out"][1][0].tolist() == Y.tolist()
    )


def test_compile_without_shapes():
    f = Counted(lambda x: mx.sin(x).sum(axis=-1, keepdims=True) * 2)
    compiled = mx.compile(f, shapeless=True)
    for shape in ((2, 5), (4, 1), (6, 9)):
        a = mx.ones(shape)
        assert_close(compiled(a), np.array(f.f(a)))
    assert f.calls == 1


def test_compile_with_state():
    state = {"w": mx.array(1.0), "steps": [mx.array(0)]}

    def step(x):
        state["w"] = state["w"] * 0.5 + x
        state["steps"][0] = state["steps"][0] + 1
        return state["w"] * 10

    compiled = mx.compile(step, inputs=state, outputs=state)
    results = [compiled(mx.array(1.0)).item() for _ in range(3)]
    assert results == [15, 17.5, 18.75]
    assert state["steps"][0].item() == 3 and state["w"].item() == 1.875
    state["w"] = mx.array(0.0)
    assert compiled(mx.array(2.0)).item() == 20


@pytest.mark.parametrize("other", [None, 5, (), (None,), (5, None), [], {}, "text", [mx.ones(3)]])
@pytest.mark.parametrize(
    "part", [mx.array(1.0), [mx.array(1.0)], (mx.array(1.0), [mx.array(2.0)]), {"a": mx.array(1.0)}]
)
def test_compile_with_state_that_is_replaced_between_calls(part, other):
    def step(x):
        state[0] = part
        return x + 1

    state = [part]
    compiled = mx.compile(step, outputs=state)
    for between in (part, other, other[0] if isinstance(other, list) and other else other):
        state[0] = between
        assert compiled(mx.array(1.0)).item() == 2
        assert repr(state) == repr([part])


def test_compile_with_random_state():
    mx.random.seed(0)
    draw = mx.compile(
        lambda: mx.random.uniform(shape=(3,)), inputs=mx.random.state, outputs=mx.random.state
    )
    first, second = draw().tolist(), draw().tolist()
    assert first != second
    mx.random.seed(0)
    assert draw().tolist() == first
    mx.random.seed(0)
    assert mx.random.uniform(shape=(3,)).tolist() == first


def test_compile_of_gradients_and_gradients_of_compiled():
    f = lambda x: (mx.exp(x) * x).sum()  # noqa: E731
    want = np.array(mx.grad(f)(X))
    assert_close(mx.compile(mx.grad(f))(X), want)
    assert_close(mx.grad(mx.compile(f))(X), want)
    assert_close(mx.vmap(mx.compile(mx.exp))(MATRIX), np.exp(np.array(MATRIX)))
    assert_close(mx.compile(mx.vmap(mx.exp))(MATRIX), np.exp(np.array(MATRIX)))


def test_disable_compile():
    f = Counted(lambda x: x + 1)
    compiled = mx.compile(f)
    mx.disable_compile()
    try:
        for _ in range(3):
            compiled(X)
        assert f.calls == 3
    finally:
        mx.enable_compile()
    for _ in range(3):
        compiled(X)
    assert f.calls == 4


def test_compile_outlives_its_arguments():
    def build():
        constant = mx.array([1.0, 2.0, 3.0])
        return mx.compile(lambda x: x + constant)

    compiled = [build() for _ in range(3)]
    assert all(f(X).tolist() == [1.5, 1, 5] for f in compiled)


def test_compile_returns_an_input():
    assert mx.compile(lambda x, y: (y, x, x))(X, Y)[0].tolist() == Y.tolist()


# checkpoint and custom functions


def test_checkpoint_recomputes():
    f = Counted(lambda x, y: mx.sin(x) * y)
    wrapped = mx.checkpoint(f)
    assert_close(wrapped(X, Y), np.array(f.f(X, Y)))
    for got, want in zip(
        mx.grad(lambda x, y: wrapped(x, y).sum(), (0, 1))(X, Y),
        mx.grad(lambda x, y: f.f(x, y).sum(), (0, 1))(X, Y),
        strict=True,
    ):
        assert_close(got, np.array(want))
    tree = mx.checkpoint(lambda t: {"out": mx.exp(t["a"])})
    assert_close(mx.grad(lambda t: tree(t)["out"].sum())({"a": X})["a"], np.exp(np.array(X)))


@pytest.mark.parametrize("wrap", [mx.checkpoint, mx.custom_function])
def test_a_wrapped_function_may_return_a_constant(wrap):
    for f in (mx.zeros_like, lambda t: mx.array(2.5), lambda t: (t, mx.array(3))):
        want = f(mx.array(1.0))
        got = mx.compile(wrap(f))(mx.array(1.0))
        assert str(got) == str(want)


def test_custom_function():
    @mx.custom_function
    def f(x, y):
        return mx.sin(x) * y

    assert_close(f(X, Y), np.sin(np.array(X)) * np.array(Y))
    assert_close(mx.grad(lambda x: f(x, Y).sum())(X), np.cos(np.array(X)) * np.array(Y))

    @f.vjp
    def f_vjp(primals, cotangent, output):
        return 100 * cotangent, output

    gx, gy = mx.grad(lambda x, y: f(x, y).sum(), (0, 1))(X, Y)
    assert gx.tolist() == [100] * 3
    assert_close(gy, np.array(f(X, Y)))

    @f.jvp
    def f_jvp(primals, tangents):
        return 7 * tangents[0]

    _, (tangent,) = mx.jvp(lambda x: f(x, Y), [X], [mx.ones(3)])
    assert tangent.tolist() == [7] * 3

    @f.vmap
    def f_vmap(inputs, axes):
        return inputs[0] * 1000, axes[0]

    assert mx.vmap(f, in_axes=(0, None))(X, mx.array(1.0)).tolist() == (X * 1000).tolist()


def test_custom_function_of_several_outputs():
    @mx.custom_function
    def f(x, y):
        return x * y, x + y

    @f.vjp
    def f_vjp(primals, cotangents, outputs):
        x, y = primals
        first, second = cotangents
        return first * y + second, first * x + second

    gx, gy = mx.grad(lambda x, y: (f(x, y)[0] + 2 * f(x, y)[1]).sum(), (0, 1))(X, Y)
    assert_close(gx, np.array(Y) + 2)
    assert_close(gy, np.array(X) + 2)


def test_custom_function_of_trees():
    @mx.custom_function
    def f(tree):
        return {"out": tree["a"] * tree["b"]}

    @f.vjp
    def f_vjp(primals, cotangents, outputs):
        (tree,) = [primals] if isinstance(primals, dict) else primals
        return {"a": cotangents["out"] * 5, "b": tree["a"]}

    gradients = mx.grad(lambda t: f(t)["out"].sum())({"a": X, "b": Y})
    assert gradients["a"].tolist() == [5] * 3 and gradients["b"].tolist() == X.tolist()


def test_rules_may_return_dicts_in_any_order():
    @mx.custom_function
    def f(tree):
        return {"first": tree["a"] * tree["b"], "second": [tree["a"], tree["b"]]}

    f.vjp(lambda tree, ct, out: {"b": ct["second"][1] * 3, "a": ct["first"] * 5})
    f.jvp(lambda tree, t: {"second": [t["a"], t["b"]], "first": t["a"] * 7})
    f.vmap(
        lambda tree, axes: ({"second": [tree["a"], tree["b"]], "first": tree["a"] * tree["b"]}, 0)
    )

    def total(a, b):
        out = f({"a": a, "b": b})
        return (out["first"] + out["second"][0] + 2 * out["second"][1]).sum()

    assert [g.tolist() for g in mx.grad(total, (0, 1))(X, Y)] == [[5] * 3, [6] * 3]
    ones = mx.ones(3)
    _, (first, *second) = mx.jvp(
        lambda a, b: [f({"a": a, "b": b})["first"], *f({"a": a, "b": b})["second"]],
        [X, Y],
        [ones, 2 * ones],
    )
    assert (first.tolist(), [s.tolist() for s in second]) == ([7] * 3, [[1] * 3, [2] * 3])
    out = mx.vmap(f)({"b": mx.stack([Y, X]), "a": mx.stack([X, Y])})
    assert mx.array_equal(out["first"], mx.stack([X * Y] * 2)).item()
    f.vjp(lambda tree, ct, out: {"a": ct["first"], "c": ct["first"]})
    with pytest.raises(ValueError, match=r"keys \['a', 'c'\], expected \['a', 'b'\]"):
        mx.grad(total)(X, Y)


def test_the_other_derivative_of_a_function_with_one_of_its_own_is_refused():
    """Both follow from the function where it has neither rule, as for a checkpoint."""

    def twice(x):
        return mx.sin(x) * 2

    for given, other in (("vjp", "jvp"), ("jvp", "vjp")):
        f = mx.custom_function(twice)
        assert_close(mx.jvp(f, [X], [Y])[1][0], 2 * np.cos(np.array(X)) * np.array(Y))
        getattr(f, given)(lambda primal, t, output=None: t * 3)
        assert getattr(mx, given)(f, [X], [Y])[1][0].tolist() == (Y * 3).tolist()
        text = f"{other}: custom_function twice has a {given} rule of its own and no {other} rule"
        for g in (f, mx.compile(f), mx.checkpoint(f), lambda x, f=f: mx.vmap(f)(x[None])[0]):
            assert_close(g(X), 2 * np.sin(np.array(X)))
            with pytest.raises(ValueError, match=text):
                getattr(mx, other)(g, [X], [Y])
    tangent = mx.jvp(mx.checkpoint(twice), [X], [Y])[1][0]
    assert_close(tangent, 2 * np.cos(np.array(X)) * np.array(Y))


def test_a_vmap_rule_keeps_the_derivatives_of_its_function():
    f = mx.custom_function(lambda x, y: mx.sin(x) * y)
    f.vjp(lambda primals, ct, out: (ct * 3, ct * 5))
    f.jvp(lambda primals, tangents: tangents[0] * 7 + tangents[1])
    f.vmap(lambda primals, axes: (mx.sin(primals[0]) * primals[1][None], 0))
    x = mx.stack([X, Y])
    mapped = mx.vmap(f, (0, None))
    assert_close(mapped(x, Y), np.sin(np.array(x)) * np.array(Y))
    pulled = mx.vjp(mapped, [x, Y], [mx.ones((2, 3))])[1]
    assert [p.tolist() for p in pulled] == [[[3] * 3] * 2, [10] * 3]
    pushed = mx.jvp(mapped, [x, Y], [x, Y])[1][0]
    assert_close(pushed, np.array(x * 7 + Y))


@pytest.mark.parametrize(
    "returned, text",
    [
        (mx.ones((2,)), r"vjp rule returned float32 of shape \(2,\) as array 0, expected"),
        (
            mx.ones((1, 3)),
            r"float32 of shape \(1, 3\) as array 0, expected float32 of shape \(3,\)",
        ),
        (mx.ones((3,), mx.complex64), "complex64"),
        (mx.ones((3,), mx.int32), "int32"),
    ],
)
def test_a_custom_rule_returns_the_shape_and_kind_of_what_it_is_for(returned, text):
    f = mx.custom_function(lambda x: mx.sin(x))
    f.vjp(lambda primal, cotangent, output: returned)
    with pytest.raises(ValueError, match=text):
        mx.grad(lambda x: f(x).sum())(X)
    f.jvp(lambda primal, tangent: returned)
    with pytest.raises(ValueError, match=text.replace("vjp", "jvp")):
        mx.jvp(f, [X], [X])
    f.vmap(lambda primal, axis: (returned[None], 0))
    with pytest.raises(ValueError, match="its vmap rule returned"):
        mx.vmap(f)(X[None])


def test_a_custom_rule_may_compute_in_another_floating_type():
    f = mx.custom_function(lambda x: mx.sin(x))
    f.vjp(lambda primal, cotangent, output: cotangent.astype(mx.float32) * 3)
    gradient = mx.grad(lambda x: f(x).sum())(X.astype(mx.float16))
    assert gradient.dtype == mx.float16 and gradient.tolist() == [3, 3, 3]


def test_depends():
    a, b = mx.depends([X, Y], [mx.exp(X)])
    assert a.tolist() == X.tolist() and b.tolist() == Y.tolist()
    assert mx.grad(lambda x: (mx.depends(x, mx.sin(x)) * Y).sum())(X).tolist() == Y.tolist()


# Training converges: all of it together


def test_gradient_descent_fits_a_line(rng):
    x = rng.uniform(-1, 1, (64, 1)).astype(np.float32)
    inputs, targets = to_mx(x), to_mx(3 * x - 0.5)
    state = [mx.zeros((1, 1)), mx.zeros((1,))]

    def step():
        loss = lambda w, b: (inputs @ w + b - targets).square().mean()  # noqa: E731
        value, gradients = mx.value_and_grad(loss, (0, 1))(*state)
        state[:] = [p - 0.5 * g for p, g in zip(state, gradients, strict=True)]
        return value

    compiled = mx.compile(step, inputs=state, outputs=state)
    losses = [compiled().item() for _ in range(100)]
    assert losses[-1] < 1e-6 and all(math.isfinite(v) for v in losses)
    assert_close(state[0], [[3.0]], rtol=1e-2)
    assert_equal(state[1].shape, (1,))


def test_modules_as_arguments():
    """Where arguments are rebuilt, a module would become a dict."""
    model, x = nn.Linear(2, 2), mx.ones((1, 2))

    def f(model, x):
        return model(x).sum()

    assert set(mx.grad(f)(model, x)) == {"weight", "bias"}
    for transform in (mx.compile, mx.checkpoint, lambda f: mx.vmap(f, in_axes=(None, 0))):
        for arguments in ((model, x), ([model], x)):
            with pytest.raises(TypeError, match="plain dict in place of a Linear"):
                transform(f)(*arguments)
    compiled = mx.compile(lambda p, x: x @ p["weight"].T)
    assert compiled(model.parameters(), x).shape == (1, 2)


def test_the_second_derivative_of_a_rule_that_reads_several_results():
    """Each result of the function is read twice: by whoever wants it, and by the rule."""

    @mx.custom_function
    def both(x):
        return mx.exp(x), mx.exp(2 * x)

    @both.vjp
    def both(x, cotangents, results):
        return cotangents[0] * results[0] + cotangents[1] * 2 * results[1]

    def total(x):
        one, two = both(x)
        return (one * two).sum() + one.sum()

    x = mx.array([0.25, -0.5])
    second = mx.grad(lambda x: mx.grad(total)(x).sum())(x)
    assert_close(second, 9 * np.exp(3 * np.array(x)) + np.exp(np.array(x)), 1e-5)


def noisy(x):
    """Draws twice, and depends on what is drawn."""
    kept = x * mx.random.bernoulli(0.5, x.shape)
    return mx.sin(kept) * mx.random.uniform(shape=x.shape)


def compiled(f):
    return mx.compile(f, inputs=mx.random.state, outputs=mx.random.state)


@pytest.mark.parametrize(
    "transform",
    [
        mx.grad,
        lambda f: mx.grad(mx.checkpoint(f)),
        lambda f: compiled(mx.grad(f)),
        lambda f: mx.grad(compiled(f)),
        lambda f: lambda x: mx.jvp(f, [x], [mx.ones_like(x)])[1][0],
        lambda f: mx.vmap(mx.grad(f)),
        lambda f: mx.grad(lambda x: mx.vmap(f)(x).sum()),
    ],
)
def test_a_checkpoint_draws_the_same_numbers_again(transform):
    x = mx.arange(1.0, 65).reshape(4, 16)
    results = []
    for f in lambda x: noisy(x).sum(), mx.checkpoint(lambda x: noisy(x).sum()):
        mx.random.seed(7)
        derivative = transform(f)
        results.append([derivative(x), derivative(x + 1), mx.random.uniform(shape=(4,))])
    for plain, again in zip(*results, strict=True):
        assert_close(again, np.array(plain), rtol=1e-6)
    assert not mx.array_equal(results[0][0], results[0][1]).item()


def test_a_checkpoint_that_runs_again_leaves_the_random_state_as_it_is():
    def shown(x):
        seen.append(mx.random.state[0].tolist())
        y = x * mx.random.uniform(shape=x.shape)
        seen.append(mx.random.state[0].tolist())
        return y.sum()

    seen = []
    mx.random.seed(3)
    key = mx.random.state[0]
    before = key.tolist()
    gradient = mx.grad(mx.checkpoint(shown))(mx.ones((3,)))
    assert seen == [before, seen[1], before, seen[1]] and seen[1] != before
    assert mx.random.state[0].tolist() == seen[1]
    mx.random.seed(3)
    assert_close(gradient, np.array(mx.random.uniform(shape=(3,))))
