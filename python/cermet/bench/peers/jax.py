"""JAX, each operation alone and through its compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from .base import Peer, Unsupported


class Jax(Peer):
    """JAX, each operation dispatched alone."""

    name = "jax"

    def __init__(self, device: str, threads: int) -> None:
        self._jax = import_module("jax")
        self.xp, self.version = self._jax.numpy, self._jax.__version__
        try:
            chosen = self._jax.devices(device)[0]
        except RuntimeError as error:
            raise Unsupported(f"jax has no {device} here") from error
        self._jax.config.update("jax_default_device", chosen)

    def array(self, values: np.ndarray, dtype: str) -> Any:
        return self.xp.asarray(values, self.dtype(dtype) if values.dtype.kind == "f" else None)

    def wait(self, result: Any) -> None:
        self._jax.block_until_ready(result)

    def rsqrt(self, x: Any) -> Any:
        return self._jax.lax.rsqrt(x)

    def relu(self, x: Any) -> Any:
        return self._jax.nn.relu(x)

    def gelu(self, x: Any) -> Any:
        return self._jax.nn.gelu(x, approximate=False)

    def gelu_tanh(self, x: Any) -> Any:
        return self._jax.nn.gelu(x, approximate=True)

    def silu(self, x: Any) -> Any:
        return self._jax.nn.silu(x)

    def softplus(self, x: Any) -> Any:
        return self._jax.nn.softplus(x)

    def sigmoid(self, x: Any) -> Any:
        return self._jax.nn.sigmoid(x)

    def erf(self, x: Any) -> Any:
        return self._jax.lax.erf(x)

    def softmax(self, x: Any, axis: int) -> Any:
        return self._jax.nn.softmax(x, axis=axis)

    def log_softmax(self, x: Any, axis: int) -> Any:
        return self._jax.nn.log_softmax(x, axis=axis)

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        return x * self.rsqrt((x * x).mean(-1, keepdims=True) + eps) * weight

    def cross_entropy(self, x: Any, labels: Any) -> Any:
        return -self.xp.take_along_axis(self.log_softmax(x, -1), labels[:, None], -1).mean()

    def gradients(self, function: Callable[..., Any], inputs: Sequence[Any], out: Any) -> Any:
        return self._jax.vjp(function, *inputs)[1](out)

    def put(self, x: Any, where: Any, values: Any) -> Any:
        return x.at[where].set(values)

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * self.rsqrt(variance + eps) * weight + bias

    def transpose_copy(self, x: Any) -> Any:
        return x.T

    def permute_copy(self, x: Any, axes: Sequence[int]) -> Any:
        return self.xp.transpose(x, axes)

    def topk(self, x: Any, k: int) -> Any:
        return self._jax.lax.top_k(x, k)[0]

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        key, kind = self._jax.random.key(0), self.dtype(dtype)
        draw = self.prepare(lambda key: self._jax.random.normal(key, shape, kind))
        return lambda: draw(key)

    def trainer(self, widths: Sequence[int], x: Any, y: Any, dtype: str) -> Callable[[], Any]:
        jax, generator = self._jax, np.random.default_rng(0)
        weights = [
            (
                self.array(generator.normal(0, inputs**-0.5, (inputs, outputs)), dtype),
                self.array(np.zeros(outputs), dtype),
            )
            for inputs, outputs in pairwise(widths)
        ]

        def loss(weights: Any, x: Any, y: Any) -> Any:
            for weight, bias in weights[:-1]:
                x = jax.nn.relu(x @ weight + bias)
            logits = jax.nn.log_softmax(x @ weights[-1][0] + weights[-1][1])
            return -self.xp.take_along_axis(logits, y[:, None], axis=-1).mean()

        def update(weights: Any, x: Any, y: Any) -> Any:
            value, grads = jax.value_and_grad(loss)(weights, x, y)
            return value, jax.tree.map(lambda w, g: w - 0.01 * g, weights, grads)

        prepared = self.prepare(update)

        def step() -> Any:
            nonlocal weights
            value, weights = prepared(weights, x, y)
            return value, weights

        return step


class JaxJit(Jax):
    """JAX through `jax.jit`; compilation happens in the warm-up."""

    name = "jax-jit"
    compiled = True

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return self._jax.jit(function)
