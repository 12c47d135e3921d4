"""A call of a compiled function is one node: planned once, lazy, fused, differentiable."""

import threading

import numpy as np
import pytest

import cermet.core as mx

X = mx.random.normal((33, 17), key=mx.random.key(1))
W = mx.random.normal((17, 17), key=mx.random.key(2))
mx.eval(X, W)


def same(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def layer(x, w):
    for _ in range(3):
        x = mx.tanh(x @ w) + x
    return x, mx.softmax(x, axis=-1), x.sum()


def counts():
    return mx.plan_counts()


def made(run):
    """Plans made by `run` when it is called again."""
    run()
    before = counts()["made"]
    run()
    return counts()["made"] - before


def test_a_call_has_the_bits_of_the_function():
    call = mx.compile(layer)
    for _ in range(3):
        for a, b in zip(call(X, W), layer(X, W), strict=True):
            assert same(a, b)


@pytest.mark.parametrize("wanted", [(0,), (2,), (0, 1), (1, 2), (0, 1, 2)])
def test_some_results_of_a_call(wanted):
    call, plain = mx.compile(layer), layer(X, W)
    for _ in range(3):
        results = call(X, W)
        mx.eval([results[i] for i in wanted])
        for a, b in zip(results, plain, strict=True):
            assert same(a, b)


def test_results_dropped_or_asked_for_one_by_one():
    call, plain = mx.compile(layer), layer(X, W)
    for _ in range(3):
        middle = call(X, W)[1]
        assert same(middle, plain[1])
        first, _, last = call(X, W)
        assert same(last, plain[2]) and same(first, plain[0])


def test_a_call_is_planned_once_whatever_its_inputs_hold():
    call = mx.compile(layer)

    def run():
        mx.eval(call(X + 1, W * 2))

    run()
    assert made(run) == 0


def test_a_call_fuses_with_what_follows_and_what_precedes():
    call = mx.compile(lambda x: mx.exp(x) * 2)

    def around(f):
        return mx.explain(mx.sin(f(X + 1)) - 1)

    assert around(call) == around(lambda x: mx.exp(x) * 2)


def test_what_follows_a_call_may_change():
    call = mx.compile(lambda x: mx.exp(x) * 2)
    for number in (1.0, 2.0, 7.5, 2.0):
        assert same(call(X) * number, mx.exp(X) * 2 * number)
    for start in (0, 3, 5, 3):
        assert same(call(X)[start : start + 4], (mx.exp(X) * 2)[start : start + 4])
    for length in (4, 17, 33, 4):  # equal to an extent within the call, or not
        y = mx.ones((length, 1))
        assert same(call(X).sum() + y, (mx.exp(X) * 2).sum() + y)


def test_a_call_leaves_the_arrays_of_its_expansion_as_they_were():
    # One position: what is multiplied by the signs has their size, and could take their memory.
    x = mx.array([[[1.0, 2.0]]])
    rope = lambda x: mx.fast.rope(x, 2, traditional=False, base=1e4, scale=1.0, offset=1)  # noqa: E731
    call = mx.compile(rope)
    for _ in range(4):
        assert same(call(x), rope(x))


def test_several_calls_in_one_evaluation():
    f, g = mx.compile(layer), mx.compile(lambda x: x / 3)
    for _ in range(3):
        a = g(f(X, W)[0]) + f(g(X), W)[1]
        b = layer(X, W)[0] / 3 + layer(X / 3, W)[1]
        assert same(a, b)


def test_a_compiled_function_within_another_and_within_itself():
    inner = mx.compile(lambda x: mx.sin(x) + 1)
    outer = mx.compile(lambda x: inner(inner(x)) * 2)
    for _ in range(3):
        assert same(outer(X), (mx.sin(mx.sin(X) + 1) + 1) * 2)
        assert same(inner(inner(X)), mx.sin(mx.sin(X) + 1) + 1)


def test_captured_arrays():
    late = X * 3  # not evaluated when the function is traced
    call = mx.compile(lambda x: (x + late) @ W)
    for _ in range(3):
        assert same(call(X), (X + X * 3) @ W)
        assert same(call(late), (late + late) @ W)
    for other in (late, X, late + 1):  # a captured one as argument, and then another
        assert same(call(other), (other + late) @ W)


def test_equal_constants_inside_are_computed_at_once():
    def stack(x):
        for w in weights:
            x = x[mx.arange(2)[:, None], mx.arange(3)] * w
        return x

    weights = [mx.array(1.5 + i) for i in range(8)]
    call, x = mx.compile(stack), mx.random.normal((4, 5))
    want = stack(x)
    assert same(call(x), want) and same(call(x), want)
    before = counts()["expanded"]
    for _ in range(3):
        assert same(call(x), want)
    assert counts()["expanded"] == before


def test_inputs_and_constants_come_back():
    call = mx.compile(lambda x, y: (y, mx.array(3.0), x + y, x))
    for _ in range(3):
        y, three, total, x = call(X, W[0])
        assert same(y, W[0]) and three.item() == 3.0 and same(total, X + W[0]) and same(x, X)


def test_several_results_primitives_inside():
    square = X[:17] @ X[:17].T
    call = mx.compile(lambda x: mx.linalg.qr(x, stream=mx.cpu)[1] * 2)
    for _ in range(3):
        assert same(call(square), mx.linalg.qr(square, stream=mx.cpu)[1] * 2)


def test_rope_and_attention_inside():
    q = mx.random.normal((1, 2, 5, 8), key=mx.random.key(3))

    def block(x):
        x = mx.fast.rope(x, 8, traditional=False, base=1e4, scale=1.0, offset=3)
        return mx.fast.scaled_dot_product_attention(x, x, x, scale=0.3, mask="causal")

    call = mx.compile(block)
    for _ in range(3):
        assert same(call(q) + call(q * 2), block(q) + block(q * 2))


def test_derivatives_through_a_call():
    call = mx.compile(lambda x, w: layer(x, w)[1].square().sum())
    plain = mx.grad(lambda x, w: layer(x, w)[1].square().sum(), argnums=(0, 1))
    for _ in range(3):
        for a, b in zip(mx.grad(call, argnums=(0, 1))(X, W), plain(X, W), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)
    rows = mx.vmap(mx.compile(lambda r: mx.exp(r).sum()))(X)
    assert same(rows, mx.exp(X).sum(axis=1))


def test_a_call_is_computed_once_when_a_derivative_used_it():
    call = mx.compile(layer)

    def loss(x):
        return call(x, W)[2]

    value, gradient = mx.value_and_grad(loss)(X)
    steps = mx.explain(value, gradient).count("matmul")
    assert steps == mx.explain(*mx.value_and_grad(lambda x: layer(x, W)[2])(X)).count("matmul")


def test_asynchronous_calls_and_other_threads():
    call, plain = mx.compile(layer), layer(X, W)
    mx.eval(call(X, W))
    for _ in range(3):
        results = call(X, W)
        mx.async_eval(results)
        for a, b in zip(results, plain, strict=True):
            assert same(a, b)
    results, seen = call(X, W), []
    threads = [
        threading.Thread(target=lambda i=i: seen.append(same(results[i], plain[i])))
        for i in (0, 1, 2, 0)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == [True] * 4


def test_an_argument_that_dies_gives_its_memory():
    step = mx.compile(lambda w: w * 0.5 + 1)
    w = mx.ones((1024, 1024))
    for _ in range(3):
        w = step(w)
        mx.eval(w)
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    for _ in range(3):
        w = step(w)
        mx.eval(w)
    assert mx.get_peak_memory() - before < w.nbytes // 2
    kept, out = w, step(w)
    mx.eval(out)
    assert same(kept * 0.5 + 1, out)


def test_intermediates_are_freed_as_soon_as_in_a_plain_evaluation():
    def chain(x):
        for _ in range(6):
            x = mx.tanh(x @ x)
        return x

    def peak(f):
        x = mx.random.normal((256, 256))
        mx.eval(x)
        for _ in range(2):
            mx.eval(f(x))
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(f(x))
        return mx.get_peak_memory() - before

    threads = mx.get_num_threads()
    mx.set_num_threads(1)  # of several each has memory of its own, if it comes to work at all
    try:
        assert peak(mx.compile(chain)) <= peak(chain)
    finally:
        mx.set_num_threads(threads)


def test_out_of_memory_can_be_tried_again():
    def big(x):
        y = mx.tanh(x @ x)  # done before memory ends
        return y.sum(), mx.broadcast_to(y[0, 0], (8 << 20,)) + mx.arange(8 << 20)

    call = mx.compile(big)
    x = mx.random.normal((64, 64))
    for _ in range(3):
        mx.eval(call(x))
        mx.clear_cache()
        results = call(x)
        limit = mx.set_memory_limit(mx.get_active_memory() + (8 << 20))
        try:
            with pytest.raises(MemoryError):
                mx.eval(results)
        finally:
            mx.set_memory_limit(limit)
        assert same(results[0], mx.tanh(x @ x).sum())
        assert same(results[1][:100], big(x)[1][:100])


def test_an_error_inside_a_call_is_that_results():
    def bad(x):
        return mx.linalg.cholesky(x - 10 * mx.eye(3), stream=mx.cpu), x + 1

    call = mx.compile(bad)
    good = mx.eye(3) * 20
    for _ in range(2):
        mx.eval(call(good))
    failed, fine = call(mx.eye(3))
    with pytest.raises((ValueError, RuntimeError), match="cholesky"):
        mx.eval(failed, fine)
    assert same(fine, mx.eye(3) + 1)
    with pytest.raises((ValueError, RuntimeError), match="cholesky"):
        mx.eval(failed)


def test_calls_on_two_streams():
    stream = mx.new_stream(mx.cpu)

    def two(x):
        return mx.add(x, 1, stream=stream) * 2

    call = mx.compile(two)
    for _ in range(3):
        assert same(call(X), (X + 1) * 2)


def test_results_that_are_the_inputs_of_what_made_them():
    @mx.custom_function
    def double(x):
        return x * 2

    @double.vjp
    def double_vjp(primals, cotangent, _):
        return cotangent * 2

    call = mx.compile(lambda x: double(x) + double(x + 1))
    for _ in range(3):
        assert same(call(X + 0), X * 2 + (X + 1) * 2)


def test_other_results_of_another_primitive_beside_a_call():
    call, square = mx.compile(lambda x: x * 2), X[:17, :17] + 3 * mx.eye(17)
    for i in (0, 1, 0, 1):
        factor = mx.linalg.qr(square, stream=mx.cpu)[i]
        assert same(call(square) + factor, square * 2 + mx.linalg.qr(square, stream=mx.cpu)[i])
