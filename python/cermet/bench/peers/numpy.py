"""NumPy: its operations, and compositions of them as users write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .base import Peer, Unsupported


class NumPy(Peer):
    """NumPy: its operations, and compositions of them as users write them."""

    name = "numpy"

    def __init__(self, device: str, threads: int) -> None:
        if device != "cpu":
            raise Unsupported(f"numpy has no {device}")
        self.xp, self.version = np, np.__version__

    def array(self, values: np.ndarray, dtype: str) -> Any:
        return values.astype(self.dtype(dtype)) if values.dtype.kind == "f" else values

    def rsqrt(self, x: Any) -> Any:
        return 1 / np.sqrt(x)

    def relu(self, x: Any) -> Any:
        return np.maximum(x, 0)

    def silu(self, x: Any) -> Any:
        return x / (1 + np.exp(-x))

    def softmax(self, x: Any, axis: int) -> Any:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred * centred).mean(axis=-1, keepdims=True)
        return centred / np.sqrt(variance + eps) * weight + bias

    def put(self, x: Any, where: Any, values: Any) -> Any:
        x = x.copy()
        x[where] = values
        return x

    def log_softmax(self, x: Any, axis: int) -> Any:
        x = x - x.max(axis=axis, keepdims=True)
        return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight

    def cross_entropy(self, x: Any, labels: Any) -> Any:
        return -np.take_along_axis(self.log_softmax(x, -1), labels[:, None], -1).mean()

    def transpose_copy(self, x: Any) -> Any:
        return np.ascontiguousarray(x.T)

    def permute_copy(self, x: Any, axes: Sequence[int]) -> Any:
        return np.ascontiguousarray(x.transpose(axes))

    def topk(self, x: Any, k: int) -> Any:
        return np.partition(x, -k, axis=-1)[..., -k:]

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        generator, kind = np.random.default_rng(0), self.dtype(dtype)
        return lambda: generator.standard_normal(shape, np.float32).astype(kind, copy=False)
