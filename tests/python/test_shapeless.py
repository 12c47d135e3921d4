"""compile(shapeless=True): at other shapes a function gives what it gives uncompiled, whatever it
is made of, and is traced once where its operations follow the shapes of their inputs."""

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn


def updated(x, index, value):
    y = x + 0
    y[index] = value
    return y


def at_most(x, n):
    return x * 2 if x.shape[0] <= n else x * 3


def caught(x):
    try:
        return mx.reshape(x, (3, 4)) * 2
    except ValueError:
        return x * 3


# Functions of two matrices that are traced once. Operations of one line have one kind of rule.
FOLLOW = """
x + y * 2 - 1 ; mx.where(x > y, x, -y) ; mx.clip(x, -1, 1) ; x.astype(mx.float16) ; x ** 2
mx.isnan(x) ; x.sum() ; x.sum(axis=0) ; x.max(axis=-1, keepdims=True) ; mx.prod(x, axis=(0, 1))
mx.all(x > 0, axis=1) ; x.mean() ; x.mean(axis=0) ; x.var(axis=-1, ddof=1) ; mx.std(x)
mx.softmax(x, axis=-1) ; mx.logsumexp(x, axis=0) ; mx.argmax(x) ; mx.argmin(x, axis=1)
mx.argmax(x, axis=0, keepdims=True) ; mx.cumsum(x, axis=1) ; mx.cumprod(x, axis=0)
mx.sort(x, axis=0) ; mx.argsort(x) ; mx.partition(x, 0) ; mx.ones_like(x) ; mx.zeros_like(x) + y
mx.full_like(x, 3) ; mx.full_like(x, y.max()) ; x.T @ y ; x @ y.T ; mx.matmul(x, x.T)
mx.inner(x, y) ; (x.T @ y) @ y.T ; x.T ; x.swapaxes(0, 1) ; mx.moveaxis(x, 0, 1)
mx.expand_dims(x, 1) ; x.flatten() ; mx.contiguous(x) ; mx.expand_dims(x, (0, 2)).squeeze((0, 2))
mx.unflatten(x, 1, (1, -1)) ; x.reshape(-1) ; mx.concatenate([x, y])
mx.concatenate([x, y], axis=1) ; mx.concatenate([x, y], axis=None) ; mx.stack([x, y], axis=1)
x.view(mx.int32) ; mx.stop_gradient(x) ; mx.depends(x, y) ; mx.take(x, mx.array([0, 0]), axis=1)
mx.take(x, mx.array([0])) ; mx.take(x, mx.argmax(y, axis=1) * 0, axis=0)
mx.take_along_axis(x, mx.argsort(x, axis=1), axis=1) ; mx.tril(x) ; mx.triu(x, 1) ; mx.diag(x)
mx.flip(x, axis=0) ; mx.roll(x, 1, axis=0) ; mx.repeat(x, 2, axis=1) ; mx.tile(x, (2, 1))
mx.trace(x) ; mx.diff(x) ; mx.median(x, axis=0) ; mx.topk(x, 1) ; mx.linalg.norm(x)
mx.outer(x, y) ; mx.tensordot(x, y, [[0], [0]]) ; mx.addmm(mx.array(1.0), x, y.T) ; mx.kron(x, y)
mx.squeeze(x) ; mx.grad(lambda t: (t * y).sum())(x) ; mx.grad(lambda t: mx.mean((t - y) ** 2))(x)
mx.grad(lambda t: (mx.softmax(t) * y).sum())(x) ; mx.grad(lambda t: mx.logsumexp(x @ t.T))(y)
mx.value_and_grad(lambda t: (t @ y.T).var())(x)[1]
mx.grad(lambda t: mx.concatenate([t, y * t]).sum())(x) ; mx.grad(lambda t: mx.tanh(t).max())(x)
mx.grad(lambda t: (t.sum(axis=0) * y).sum())(x) ; mx.grad(lambda t: mx.cumsum(t, axis=0).sum())(x)
mx.grad(lambda t: mx.take(t, mx.array([0]), axis=1).sum())(x)
mx.grad(lambda t: mx.sort(t).sum())(x) ; mx.fast.rms_norm(x, None, 1e-5)
mx.fast.layer_norm(x, None, None, 1e-5) ; nn.gelu(x) ; nn.softmax(x)
x[0] ; x[1:] ; x[..., ::-1] ; x[:, None] ; x[-1] ; x[mx.array([0, 1])] ; updated(x, 0, 1)
updated(x, (..., 0), 3) ; x.at[mx.array([0, 0])].multiply(2)
x[None] @ y.T ; mx.pad(x, 1) ; mx.pad(x, 2, mode="edge")
mx.grad(lambda t: t[1:].sum())(x) ; mx.grad(lambda t: mx.median(t, axis=0).sum())(x)
mx.grad(lambda t: (t[None] @ y.T[None]).sum())(x) ; mx.grad(lambda t: t.mean(axis=1).var())(x)
mx.grad(lambda t: mx.conv1d(x[None], t[:, None]).sum())(y)
mx.grad(lambda t: mx.grad(lambda u: (u * u * y[0]).sum())(t).sum())(x)
"""
# Functions that are traced again, or raise what they raise uncompiled.
OTHERS = """
x[::2] ; x[0:1] ; x[:4] ; x[mx.argsort(x[:, 0])] ; updated(x, slice(1, None), 2)
updated(x, ..., y) ; updated(x, x > 0, 5) ; x.at[0].add(1)
mx.slice_update(x, y[:1, :1], mx.array([0, 0]), (0, 1))
x.sum() / x.size ; x * x.shape[0] ; x * len(x) ; x.nbytes * x ; at_most(x, 3) ; caught(x)
sum(row for row in x) ; x.reshape(3, 4) ; x.reshape(4, -1) ; x.reshape(y.shape)
mx.broadcast_to(x, (3, 4)) ; mx.broadcast_to(x, y.shape) ; mx.zeros(x.shape) + x
mx.pad(x, ((0, 1), (1, 0)))
mx.split(x, 2, axis=1)[1]
mx.split(x, [1], axis=0)[1] ; mx.unstack(x)[0] ; mx.put_along_axis(x, mx.argsort(x), y, axis=1)
mx.unflatten(x, 1, (2, -1)) ; mx.atleast_3d(x) ; mx.partition(x, -1) ; mx.topk(x, 2)
mx.einsum("ij,ij->i", x, y) ; mx.einsum("ij,kj->ik", x, y)
mx.convolve(x.flatten(), y.flatten()[:2]) ; mx.conv1d(x[None], y[:, None])
mx.conv2d(x[None, ..., None], y[None, :2, :2, None]) ; mx.eye(*x.shape) + x ; mx.arange(x.size)
mx.fast.rope(x[None], 2, traditional=False, base=1e4, scale=1.0, offset=1)
mx.fast.scaled_dot_product_attention(x[None, None], y[None, None], y[None, None], scale=0.5)
mx.random.permutation(x, key=mx.random.key(1)) ; mx.random.normal(x.shape, key=mx.random.key(1))
mx.searchsorted(mx.sort(x.flatten()), y) ; mx.as_strided(x, (2, 2), (1, 1))
mx.grad(lambda t: t[0].sum())(x) ; mx.grad(lambda t: t[::-2, 0].sum())(x)
mx.grad(lambda t: mx.pad(t, 1, mode="edge").sum())(x) ; mx.grad(lambda t: (t @ y[0]).sum())(x)
mx.grad(lambda t: mx.take_along_axis(t, mx.argsort(t), axis=-1).sum())(x)
mx.grad(lambda t: (t / y[0:1]).sum())(x) ; mx.grad(lambda t: (x * t).sum())(y)
mx.grad(lambda t: mx.grad(lambda u: (u * u * y).sum())(t).sum())(x)
mx.grad(lambda t: mx.flip(t, axis=0)[0].sum())(x)
mx.vmap(lambda t: t.mean() + t)(x) ; mx.vmap(lambda t: t * y)(x)
mx.vmap(lambda t, u: t * u, in_axes=(0, 1))(x, y.T) ; mx.vmap(lambda t: mx.ones_like(t))(x)
mx.vmap(mx.grad(lambda t: (t * t).mean()))(x) ; mx.jvp(lambda t: t.mean(axis=0), [x], [y])[1][0]
mx.jvp(lambda t: t * t, [x], [x])[1][0] ; mx.vjp(lambda t: t.mean(axis=1), [x], [y[:, 0]])[1][0]
mx.checkpoint(lambda t: mx.tanh(t) * y)(x) ; mx.grad(lambda t: mx.checkpoint(mx.sin)(t).sum())(x)
mx.custom_function(lambda t: t.mean() * t)(x) ; mx.compile(lambda t: t.mean() * t)(x)
mx.compile(lambda t: t.mean() * t, shapeless=True)(x)
mx.compile(lambda t: t * t.shape[1], shapeless=True)(x)
mx.compile(lambda t: mx.ones_like(t) + t @ y.T @ t, shapeless=True)(x)
mx.fft.fft(x) ; mx.fft.rfft(x, axis=0) ; mx.fft.irfft2(x) ; mx.fft.fftshift(x)
mx.grad(lambda t: mx.abs(mx.fft.rfft(t)).sum())(x) ; mx.fft.stft(x, 4, center=False)
mx.linalg.inv(x @ x.T + 9 * mx.eye(x.shape[0]), stream=mx.cpu) ; mx.linalg.qr(x, stream=mx.cpu)[1]
mx.meshgrid(x[0], y[0])[0] ; mx.broadcast_arrays(x, y)[0] ; mx.hadamard_transform(x)
mx.quantized_matmul(x, *mx.quantize(mx.ones((2, 32)), 32, 4), True, 32, 4)
mx.quantize(mx.tile(x, (1, 32)), 32, 4)[1] ; mx.quantize(mx.tile(x, (1, 32)), mode="mxfp4")[0]
mx.dequantize(*mx.quantize(mx.tile(x, (1, 32)), mode="nvfp4"), mode="nvfp4", dtype=mx.float32)
mx.qqmm(mx.tile(x, (1, 32)), mx.tile(y, (1, 32)), mode="mxfp8")
mx.grad(lambda t: mx.qqmm(mx.tile(t, (1, 32)), mx.tile(y, (1, 32))).sum())(x)
nn.losses.cross_entropy(x, mx.argmax(y, axis=1)) ; nn.glu(x) ; nn.log_softmax(x)
"""

NAMES = {"mx": mx, "nn": nn, "updated": updated, "at_most": at_most, "caught": caught}
SHAPES = [(3, 4), (5, 7), (4, 3), (1, 4), (3, 1), (1, 1), (2, 6), (6, 2), (0, 4), (4, 4)]


def functions(table):
    return [f.strip() for line in table.strip().splitlines() for f in line.split(" ; ")]


def function(text):
    return eval(f"lambda x, y: {text}", NAMES)


def operands(shape, other=None):
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    y = np.random.default_rng(2).standard_normal(other or shape).astype(np.float32)
    return mx.array(x), mx.array(y)


def outcome(f, arguments):
    """What a call gives, or that it raises."""
    try:
        result = f(*arguments)
        result = np.array(result)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, RuntimeError):
        return "raises"
    if result.dtype.kind in "fc":
        result[np.isnan(result)] = np.nan
    return result.dtype, result.shape, result.tobytes()


@pytest.mark.parametrize("text", functions(FOLLOW) + functions(OTHERS))
def test_other_shapes_give_what_they_give_uncompiled(text):
    f = function(text)
    calls = [operands(shape) for shape in SHAPES]
    calls += [operands((3, 4), (1, 4)), operands((1, 7), (5, 7)), operands((2, 2), (3, 2))]
    want = [outcome(f, call) for call in calls]
    for first in range(len(calls)):
        compiled = mx.compile(f, shapeless=True)
        for i in (first, *range(len(calls)), first):
            assert outcome(compiled, calls[i]) == want[i], (
                calls[first][0].shape,
                calls[i][0].shape,
            )


@pytest.mark.parametrize("text", functions(FOLLOW))
def test_what_follows_its_inputs_is_traced_once(text):
    f, traces = function(text), 0

    def counted(x, y):
        nonlocal traces
        traces += 1
        return f(x, y)

    compiled = mx.compile(counted, shapeless=True)
    for shape in ((3, 4), (5, 7), (2, 9)):
        mx.eval(compiled(*operands(shape)))
    assert traces == 1
