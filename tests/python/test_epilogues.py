"""The elementwise work after a product runs on the product's tiles, as its epilogue, and changes no
bit: it is compared with the same work on the product's value, evaluated before."""

import numpy as np
import pytest
from conftest import FLOATS, SIMULATED, mx_dtype

import cermet.core as mx
import cermet.nn as nn

pytestmark = pytest.mark.skipif(SIMULATED, reason="the GPU's products have none")

RNG = np.random.default_rng(0)
INEXACT = (*FLOATS, "complex64")


def data(*shape, dtype="float32"):
    x = RNG.standard_normal(shape)
    if dtype == "complex64":
        x = x + 1j * RNG.standard_normal(shape)
    out = mx.array(x.astype(np.complex64 if dtype == "complex64" else np.float64))
    out = out.astype(mx_dtype(dtype))
    mx.eval(out)
    return out


def steps(*arrays):
    return [line for line in mx.explain(*arrays).splitlines() if line.startswith("step ")]


def work(*arrays):
    """The steps but views."""
    return [step for step in steps(*arrays) if ": view" not in step]


def bits(x):
    return np.array(mx.contiguous(x).view(mx.uint8)).tobytes()


def same(x, y):
    return x.shape == y.shape and x.dtype == y.dtype and bits(x) == bits(y)


def check(f, *products, fuses=True):
    """`f` of products, given as pairs of factors, is one step and has the bits of `f` of values."""
    out = f(*(a @ b for a, b in products))
    if fuses:
        assert len(work(out)) == 1 and "epilogue" in work(out)[0], mx.explain(out)
    values = [a @ b for a, b in products]
    mx.eval(values)
    assert same(out, f(*values))


# ---- What follows a product ----

SHAPES = [
    (1, 1, 1),
    (1, 5, 3),
    (4, 6, 1),
    (3, 5, 7),
    (17, 33, 65),
    (64, 20, 64),
    (30, 10, 200),
    (5, 8, 700),
    (200, 40, 600),
    (1000, 9, 70),
]


@pytest.mark.parametrize("dtype", INEXACT)
@pytest.mark.parametrize("shape", SHAPES)
def test_bias_residual_and_scale(shape, dtype):
    m, k, n = shape
    x, w = data(m, k, dtype=dtype), data(k, n, dtype=dtype)
    bias, residual = data(n, dtype=dtype), data(m, n, dtype=dtype)
    check(lambda p: p + bias, (x, w))
    check(lambda p: (p + bias) * 0.5 + residual, (x, w))
    check(lambda p: residual - p * residual, (x, w))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("f", [nn.relu, nn.gelu, nn.gelu_approx, nn.silu, mx.exp, nn.mish])
def test_activations(f, dtype):
    for m, k, n in SHAPES[2:]:
        bias = data(n, dtype=dtype)
        check(lambda p, bias=bias: f(p + bias), (data(m, k, dtype=dtype), data(k, n, dtype=dtype)))


@pytest.mark.parametrize("dtype", INEXACT)
@pytest.mark.parametrize("to", ["float16", "bfloat16", "float32", "int32", "bool", "complex64"])
def test_casts(dtype, to):
    x, w = data(33, 20, dtype=dtype), data(20, 300, dtype=dtype)
    if dtype != to:
        check(lambda p: p.astype(mx_dtype(to)), (x, w))
        check(lambda p: (p * 3).astype(mx_dtype(to)), (x, w))


def test_comparisons_and_choices():
    x, w, other = data(40, 30), data(30, 300), data(40, 300)
    check(lambda p: p > other, (x, w))
    check(lambda p: mx.where(p > 0, p, 0.1 * p), (x, w))


LAYOUTS = {
    "rows": lambda m, n: data(1, n),
    "columns": lambda m, n: data(m, 1),
    "scalar": lambda m, n: data(1, 1),
    "transposed": lambda m, n: data(n, m).T,
    "part": lambda m, n: data(m + 2, 2 * n + 3)[1:-1, 2 : n + 2],
    "every other": lambda m, n: data(m, 2 * n)[:, ::2],
    "reversed": lambda m, n: data(m, n)[::-1, ::-1],
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_what_is_added(layout, dtype):
    for m, k, n in SHAPES:
        c = LAYOUTS[layout](m, n).astype(mx_dtype(dtype))
        mx.eval(c)
        x, w = data(m, k, dtype=dtype), data(k, n, dtype=dtype)
        check(lambda p, c=c: mx.maximum(p + c, 0), (x, w))
        columns = mx.contiguous(w.T)
        mx.eval(columns)
        check(lambda p, c=c: mx.maximum(p + c, 0), (x, columns.T))


@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
@pytest.mark.parametrize(
    "batch,m,k,n", [((5,), 3, 4, 6), ((2, 3), 70, 20, 90), ((700,), 2, 3, 2), ((9,), 30, 8, 300)]
)
def test_batches(batch, m, k, n, dtype):
    x, w = data(*batch, m, k, dtype=dtype), data(*batch, k, n, dtype=dtype)
    for shape in [
        (n,),
        (m, n),
        (*batch, 1, n),
        (*batch, m, n),
        (batch[0], *[1] * (len(batch) + 1)),
    ]:
        c = data(*shape, dtype=dtype)
        check(lambda p, c=c: p * c + p, (x, w))
    check(lambda p: p + 1, (x, mx.broadcast_to(w[(0,) * len(batch)], w.shape)))
    check(lambda p, q: p * q + p, (x, w), (x, data(*w.shape, dtype=dtype)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
@pytest.mark.parametrize("m,n", [(1, 40), (3, 300), (60, 5), (40, 1)])
def test_deep_products(m, n, dtype):
    x, w, v = data(m, 30_000, dtype=dtype), *(data(30_000, n, dtype=dtype) for _ in "wv")
    bias = data(n, dtype=dtype)
    check(lambda p: p * 0.5 + bias, (x, w))
    check(lambda p, q: p * q, (x, w), (x, v))


def test_any_number_of_threads():
    before = mx.get_num_threads()
    x, w, bias = data(300, 50), data(50, 400), data(400)
    expected = nn.gelu(x @ w + bias)
    mx.eval(expected)
    try:
        for threads in (1, 3, 8):
            mx.set_num_threads(threads)
            check(lambda p: nn.gelu(p + bias), (x, w))
            assert same(nn.gelu(x @ w + bias), expected)
    finally:
        mx.set_num_threads(before)


def test_addmm_and_linear_layers():
    x, layer = data(4, 10, 20), nn.Linear(20, 300)
    mx.eval(layer.parameters())
    for out in (
        nn.gelu(layer(x)),
        mx.addmm(layer.bias, x, layer.weight.T, 2.0),
        mx.addmm(data(4, 10, 300), x, layer.weight.T, 2.0, 0.5),
        (x @ layer.weight.T).reshape(4, 10, 3, 100) * 2,
    ):
        assert len(work(out)) == 1 and "epilogue" in work(out)[0], mx.explain(out)
    product = x @ layer.weight.T
    mx.eval(product)
    assert same(nn.gelu(layer(x)), nn.gelu(product + layer.bias))
    heads = (x @ layer.weight.T).reshape(4, 10, 3, 100) * 2
    assert same(heads, product.reshape(4, 10, 3, 100) * 2)


def test_the_product_gets_no_memory():
    x, w, bias = data(512, 64), data(64, 512), data(512)
    out = nn.gelu(x @ w + bias)
    text = mx.explain(out)
    n = 512 * 512 * 4
    assert (
        text.splitlines()[-1] == f"1 step, reads {2 * 512 * 64 * 4 + 2048} bytes, writes {n} bytes"
    )
    assert "in0 = product float32(512, 512) full" in text


# ---- Two products ----


@pytest.mark.parametrize("dtype", INEXACT)
def test_gating(dtype):
    for m, k, n in SHAPES:
        x, w1, w2 = data(m, k, dtype=dtype), data(k, n, dtype=dtype), data(k, n, dtype=dtype)
        check(lambda p, q: p * q, (x, w1), (x, w2))
        if dtype != "complex64":
            check(lambda p, q: nn.silu(p) * q, (x, w1), (x, w2))


def test_gating_of_more_than_rows():
    x, w1, w2 = data(2, 7, 20), data(20, 300), data(20, 300)
    check(lambda p, q: nn.silu(p) * q, (x, w1), (x, w2))


def test_products_of_other_operands_are_steps_of_their_own():
    x, y, w1, w2 = data(30, 20), data(30, 20), data(20, 50), data(20, 50)
    out = nn.silu(x @ w1) * (y @ w2)
    assert len(work(out)) == 2 and "epilogue" in work(out)[1]
    check(lambda p, q: nn.silu(p) * q, (x, w1), (y, w2), fuses=False)
    out = (x @ w1) * (x @ w2) + (x @ (w1 + w2))
    assert len(work(out)) == 3
    check(lambda p, q, r: p * q + r, (x, w1), (x, w2), (x, w1 + w2), fuses=False)


# ---- Quantized products ----


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("bits_", [4, 8])
def test_quantized_products(dtype, transpose, bits_):
    for rows in (1, 5, 33):
        n = 192 if transpose else 128
        x, other = data(rows, 128, dtype=dtype), data(rows, n, dtype=dtype)
        w, v = (
            mx.quantize(data(*((n, 128) if transpose else (128, n)), dtype=dtype), 64, bits_)
            for _ in "wv"
        )
        mx.eval(w, v)

        def product(q, x=x):
            return mx.quantized_matmul(x, *q, transpose=transpose, group_size=64, bits=bits_)

        def f(p, q, other=other):
            return nn.silu(p) * q + other

        out = f(product(w), product(v))
        assert len(work(out)) == 1, mx.explain(out)
        values = product(w), product(v)
        mx.eval(values)
        assert same(out, f(*values))
        assert same(product(w) + other, values[0] + other)


def test_quantized_products_of_other_formats():
    x, w = data(5, 128), data(192, 128)
    four, eight = mx.quantize(w, 64, 4), mx.quantize(w, 64, 8)
    mx.eval(four, eight)
    values = mx.quantized_matmul(x, *four, bits=4), mx.quantized_matmul(x, *eight, bits=8)
    mx.eval(values)
    out = mx.quantized_matmul(x, *four, bits=4) * mx.quantized_matmul(x, *eight, bits=8)
    assert len(work(out)) == 2
    assert same(out, values[0] * values[1])


# ---- What others read ----


def test_a_product_that_is_asked_for_is_stored_too():
    x, w, bias = data(40, 20), data(20, 300), data(300)
    product = x @ w
    out = nn.relu(product + bias)
    assert len(work(out, product)) == 1
    mx.eval(out, product)
    assert same(product, x @ w) and same(out, nn.relu(product + bias))
    held = x @ w
    mx.eval(held * 2)
    assert same(held, product)


def test_a_product_that_a_reduction_reads_is_a_step():
    x, w = data(40, 20), data(20, 300)
    out = mx.softmax(x @ w * 0.5, axis=-1)
    assert len(work(out)) == 2 and "epilogue" not in mx.explain(out)
    p = x @ w
    total = mx.sum(p)
    out = p * total
    mx.eval(p)
    assert same(out, p * mx.sum(p))


def test_what_reads_a_product_in_two_ways():
    x, w = data(40, 40), data(40, 40)
    for f in (
        lambda p: p + p.T,
        lambda p: p + p[:1],
        lambda p: p * 2 + (p * 3) @ p,
        lambda p: mx.maximum(p, 0) + p @ (p + 1),
        lambda p: p + mx.cumsum(p, axis=1),
        lambda p: p.reshape(-1) * p.reshape(-1),
    ):
        check(f, (x, w), fuses=False)


def test_random_graphs():
    """All at once or node by node: the same bits."""
    for seed in range(150):
        rng = np.random.default_rng(seed)
        n = int(rng.choice([3, 8, 40]))
        values, lazy = [data(n, n) * 0.5 for _ in range(3)], []
        mx.eval(values)
        lazy = list(values)
        kept = []
        for _ in range(int(rng.integers(3, 14))):
            i, j = (int(k) for k in rng.integers(max(0, len(lazy) - 5), len(lazy), 2))
            f = [
                lambda a, b: mx.tanh(a @ b),
                lambda a, b: a @ b,
                lambda a, b: a + b,
                lambda a, b: a * b[:1],
                lambda a, b: (a.reshape(1, -1) * 2).reshape(a.shape),
                lambda a, b: (a @ b).reshape(-1).reshape(b.shape) + b,
                lambda a, b: a - b.T,
                lambda a, b: mx.softmax(a, axis=int(b.shape[0] > 8)),
                lambda a, b: mx.concatenate([a @ b + 1, b * 2])[::2],
            ][int(rng.integers(9))]
            lazy.append(f(lazy[i], lazy[j]))
            values.append(f(values[i], values[j]))
            mx.eval(values[-1])
            if rng.random() < 0.2:
                kept.append(len(lazy) - 1)
        kept.append(len(lazy) - 1)
        out = [lazy[k] for k in kept]
        if rng.random() < 0.7:
            del lazy
        mx.eval(out)
        for k, x in zip(kept, out, strict=True):
            assert same(x, values[k]), seed


def test_streams():
    x, w, other = data(40, 20), data(20, 30), mx.new_stream(mx.cpu)
    product = mx.matmul(x, w, stream=other)
    assert len(work(product + 1)) == 2
    assert same(product + 1, (x @ w) + 1)


# ---- Memory ----


def peak(make):
    out = make()
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(out)
    return mx.get_peak_memory() - before, out


def test_a_residual_that_dies_is_overwritten():
    x, w = data(64, 16), data(16, 4096)
    n = 64 * 4096 * 4

    def make():
        residual = mx.ones((64, 4096)) * 3
        mx.eval(residual)
        return residual + x @ w

    used, out = peak(make)
    product = x @ w
    mx.eval(product)
    assert same(out, 3 + product)
    tiles = n  # where the engine has results before they are finished
    assert used <= tiles + n // 8
    assert "-> float32(64, 4096)" in mx.explain(make())


def test_a_factor_is_not_overwritten():
    w = data(40, 40)
    for f in (
        lambda x: x @ w + x,
        lambda x: w @ x + x,
        lambda x: x.reshape(40, 40) @ w + x,
        lambda x: x.T @ w + x,
        lambda x: x @ w + x.T,
        lambda x: x + x @ x,
        lambda x: (x @ w) * (x @ (w * 2)) + x,
    ):
        x = data(40, 40)
        expected = f(x + 0)
        product = (x + 0) @ w
        mx.eval(expected, product)
        y = x * 1
        mx.eval(y)
        out = f(y)
        del y
        assert same(out, expected)


def test_a_base_that_a_factor_reads_is_not_overwritten():
    w, x = data(30, 20), data(5, 30)

    def update(base):
        base[5:10] = base[:5] @ w[:20] + base[5:10]
        return base

    y = data(10, 20)
    expected = np.array(y)
    product = y[:5] @ w[:20]
    mx.eval(product)
    expected[5:10] = np.array(product + y[5:10])
    np.testing.assert_array_equal(np.array(update(y * 1)), expected)
    z = y * 1
    mx.eval(z)
    np.testing.assert_array_equal(np.array(update(z)), expected)
    cache = mx.zeros((10, 20))
    mx.eval(cache)
    cache[2:7] = x @ w + 1
    p = x @ w
    mx.eval(p)
    assert same(cache[2:7], p + 1)


def test_results_are_stored_in_their_places():
    x, w, y = data(6, 20), data(20, 300), data(6, 300)
    out = mx.concatenate([x @ w + 1, y * 2], axis=1)
    assert len(work(out)) == 2, mx.explain(out)
    p = x @ w
    mx.eval(p)
    assert same(out, mx.concatenate([p + 1, y * 2], axis=1))


# ---- Transforms, and plans that are kept ----


def test_one_plan_for_all_extents():
    w, bias = data(20, 30), data(30)
    mx.eval(nn.gelu(data(4, 20) @ w + bias))
    before = mx.plan_counts()
    for rows in range(5, 12):
        x = data(rows, 20)
        out = nn.gelu(x @ w + bias)
        p = x @ w
        mx.eval(out)
    after = mx.plan_counts()
    mx.eval(p)
    assert after["made"] - before["made"] <= 1  # of the data
    assert same(out, nn.gelu(p + bias))


def test_gradients_and_batches():
    x, w1, w2, w3 = data(8, 20), data(20, 50), data(20, 50), data(50, 20)

    def f(x, w1, w2, w3):
        return mx.sum(mx.square((nn.silu(x @ w1) * (x @ w2)) @ w3 + x))

    gradients = mx.grad(f, argnums=(0, 1, 2, 3))(x, w1, w2, w3)
    # The products that the backward pass needs are stored by the forward pass.
    products = sum("epilogue" in step for step in steps(*gradients))
    assert products >= 2, mx.explain(*gradients)
    compiled = mx.compile(mx.grad(f, argnums=(0, 1, 2, 3)))
    for _ in range(3):
        for a, b in zip(compiled(x, w1, w2, w3), gradients, strict=True):
            assert same(a, b)
    eps = 1e-2
    direction = data(20, 50)
    along = (f(x, w1 + eps * direction, w2, w3) - f(x, w1 - eps * direction, w2, w3)) / (2 * eps)
    np.testing.assert_allclose(
        np.array(along), np.array(mx.sum(gradients[1] * direction)), rtol=2e-2
    )
    rows = mx.vmap(lambda row: nn.silu(row @ w1) * (row @ w2))(x)
    assert same(rows, nn.silu(x @ w1) * (x @ w2))


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_update_is_computed_with_the_gradient(dtype):
    x, w, g = (data(*shape, dtype=dtype) for shape in ((70, 20), (50, 20), (70, 50)))
    gradient = mx.vjp(lambda w: x @ w.T, [w], [g])[1][0]
    updated = w - 0.5 * gradient
    assert len(work(updated)) == 1 and "epilogue" in work(updated)[0], mx.explain(updated)
    assert same(updated, w - 0.5 * mx.contiguous((x.T @ g).T))


def test_calls_of_compiled_functions():
    w, bias = data(20, 30), data(30)

    @mx.compile
    def layer(x):
        return nn.gelu(x @ w + bias)

    for rows in (3, 4, 3, 5):
        x = data(rows, 20)
        p = x @ w
        mx.eval(p)
        for _ in range(3):
            out = layer(x)
            assert same(out, nn.gelu(p + bias))
        twice = layer(layer(x)[:, :20])
        assert same(twice, nn.gelu(out[:, :20] @ w + bias))


def test_a_trace_may_ask_again():
    x, w = data(6, 20), data(20, 30)

    def f(x):
        h = mx.tanh(x @ w)
        mx.eval(h)
        return mx.sum(h * h)

    def g(x):
        h = mx.tanh(x @ w)
        return mx.sum(h * h)

    np.testing.assert_array_equal(np.array(mx.grad(f)(x)), np.array(mx.grad(g)(x)))


def test_out_of_memory_leaves_what_can_be_asked_for_again():
    x, w, other = data(256, 16), data(16, 2048), data(256, 2048)
    expected = x @ w
    mx.eval(expected)
    expected = mx.tanh(expected + other)
    mx.eval(expected)
    out = mx.tanh(x @ w + other)
    mx.clear_cache()
    limit = mx.set_memory_limit(mx.get_active_memory() + other.nbytes // 2)
    try:
        with pytest.raises(MemoryError):
            mx.eval(out)
    finally:
        mx.set_memory_limit(limit)
    assert same(out, expected)


@pytest.mark.parametrize("rows", [1, 3, 12, 500])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.complex64])
def test_a_product_of_no_depth(rows, dtype):
    a, b, bias = mx.zeros((rows, 0), dtype), mx.zeros((0, 40), dtype), mx.ones((40,), dtype)
    for y in (mx.square(a @ b + bias), mx.addmm(bias, a, b), mx.square(a @ b) * (a @ b) + bias):
        assert y.tolist() == mx.ones((rows, 40), dtype).tolist()
