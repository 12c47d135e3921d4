"""Cermet, and MLX, whose interface it shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from .base import Peer, Unsupported
from .chosen import Whole


class Cermet(Whole, Peer):
    """Cermet, and under another root every package with the same interface."""

    name = package = "cermet"
    lazy = True

    def __init__(self, device: str, threads: int) -> None:
        self.xp = import_module(f"{self.package}.core")
        self.version = self.xp.__version__
        kind = getattr(self.xp, device)
        if not self.xp.is_available(kind):
            raise Unsupported(f"{self.name} has no {device} here")
        self.xp.set_default_device(kind)

    def array(self, values: np.ndarray, dtype: str) -> Any:
        made = self.xp.array(values)
        if values.dtype.kind == "f":
            made = made.astype(self.dtype(dtype))
        self.wait(made)
        return made

    def wait(self, result: Any) -> None:
        self.xp.eval(result)

    def relu(self, x: Any) -> Any:
        return self._package("nn").relu(x)

    def gelu(self, x: Any) -> Any:
        return self._package("nn").gelu(x)

    def gelu_tanh(self, x: Any) -> Any:
        return self._package("nn").gelu_approx(x)

    def silu(self, x: Any) -> Any:
        return self._package("nn").silu(x)

    def softplus(self, x: Any) -> Any:
        return self._package("nn").softplus(x)

    def log_softmax(self, x: Any, axis: int) -> Any:
        return self._package("nn").log_softmax(x, axis)

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        return self.xp.fast.rms_norm(x, weight, eps)

    def cross_entropy(self, x: Any, labels: Any) -> Any:
        return self._package("nn").losses.cross_entropy(x, labels, reduction="mean")

    def gradients(self, function: Callable[..., Any], inputs: Sequence[Any], out: Any) -> Any:
        return self.xp.vjp(function, list(inputs), [out])[1]

    def put(self, x: Any, where: Any, values: Any) -> Any:
        x = self.xp.array(x)
        x[where] = values
        return x

    def adamw(self, parameters: Any, gradient: Any) -> Callable[[], Any]:
        optimizer = self._package("optimizers").AdamW(learning_rate=0.01)
        tree, gradients = {"x": parameters}, {"x": gradient}
        optimizer.init(tree)

        def step() -> Any:
            nonlocal tree
            tree = optimizer.apply_gradients(gradients, tree)
            return tree, optimizer.state

        return step

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        return self.xp.fast.layer_norm(x, weight, bias, eps)

    def transpose_copy(self, x: Any) -> Any:
        return self.xp.contiguous(x.T)

    def permute_copy(self, x: Any, axes: Sequence[int]) -> Any:
        return self.xp.contiguous(self.xp.transpose(x, axes))

    def scatter_add(self, x: Any, rows: Any, values: Any) -> Any:
        return x.at[rows].add(values)

    def convolution(self, x: Any, weight: Any, **options: int) -> Any:
        return getattr(self.xp, f"conv{x.ndim - 2}d")(x, weight, **options)

    def convolution_gradients(self, x: Any, weight: Any, out: Any, **options: int) -> Any:
        convolve = partial(self.convolution, **options)
        return self.xp.vjp(convolve, [x, weight], [out])[1]

    def pooling(self, x: Any, kind: str, size: int) -> Any:
        return getattr(self._package("nn"), f"{kind}Pool2d")(size, 2)(x)

    def pooling_step(self, x: Any, out: Any, kind: str, size: int) -> Any:
        return self.xp.vjp(partial(self.pooling, kind=kind, size=size), [x], [out])

    def attention(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        mask = "causal" if causal else None
        return self.xp.fast.scaled_dot_product_attention(q, k, v, scale=0.125, mask=mask)

    def attention_gradient(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        return self.xp.vjp(lambda *x: self.attention(x[0], x[1], x[2], causal), [q, k, v], [v])[1]

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        normal, kind = self.xp.random.normal, self.dtype(dtype)
        return lambda: normal(shape, dtype=kind)

    def trainer(self, widths: Sequence[int], x: Any, y: Any, dtype: str) -> Callable[[], Any]:
        nn = self._package("nn")
        layers: list[Any] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        model = nn.Sequential(*layers[:-1])
        return self._steps(
            model, lambda: nn.losses.cross_entropy(model(x), y, reduction="mean"), dtype
        )

    def recurrent_trainer(self, width: int, x: Any, dtype: str) -> Callable[[], Any]:
        model = self._package("nn").LSTM(width, width)
        return self._steps(model, lambda: self.xp.mean(model(x)[0][:, -1] ** 2), dtype)

    def transformer_trainer(self, layers: int, x: Any, dtype: str) -> Callable[[], Any]:
        width = x.shape[-1]
        model = self._package("nn").TransformerEncoder(layers, width, max(1, width // 64))
        return self._steps(model, lambda: self.xp.mean(model(x, None) ** 2), dtype, "AdamW")

    def convolutional_trainer(
        self, channels: Sequence[int], x: Any, y: Any, dtype: str
    ) -> Callable[[], Any]:
        nn = self._package("nn")
        layers: list[Any] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        mean = nn.AvgPool2d(x.shape[1] >> len(channels) - 1)  # of all that the layers leave
        model = nn.Sequential(*layers, mean, nn.Linear(outputs, 10))

        def loss() -> Any:
            return nn.losses.cross_entropy(model(x)[:, 0, 0], y, reduction="mean")

        return self._steps(model, loss, dtype)

    def _steps(
        self, model: Any, loss: Callable[[], Any], dtype: str, optimizer: str = "SGD"
    ) -> Callable[[], Any]:
        model.set_dtype(self.dtype(dtype))
        updates = getattr(self._package("optimizers"), optimizer)(learning_rate=0.01)
        updates.init(model.trainable_parameters())
        state = [model.state, updates.state]
        gradients = self._package("nn").value_and_grad(model, loss)

        @partial(self.xp.compile, inputs=state, outputs=state)
        def step() -> Any:
            value, grads = gradients()
            updates.update(model, grads)
            return value

        return lambda: (step(), state)

    def _package(self, name: str) -> Any:
        try:
            return import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as error:
            raise Unsupported(f"{self.name} has no {error.name}") from error


class Mlx(Cermet):
    """MLX, whose interface Cermet shares."""

    name = package = "mlx"
