"""PyTorch, eager and compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from .base import Peer, Unsupported
from .chosen import Composed


class Torch(Composed, Peer):
    """PyTorch, eager."""

    name = "torch"

    def __init__(self, device: str, threads: int) -> None:
        torch = self.xp = import_module("torch")
        self.version = torch.__version__
        torch.set_num_threads(threads)
        kinds = {"cpu": torch.cpu, "cuda": torch.cuda, "mps": torch.mps}
        found = [
            k for k in (("cpu",) if device == "cpu" else ("cuda", "mps")) if kinds[k].is_available()
        ]
        if not found:
            raise Unsupported(f"torch has no {device} here")
        self._device, self._synchronize = found[0], kinds[found[0]].synchronize

    def array(self, values: np.ndarray, dtype: str) -> Any:
        made = self.xp.from_numpy(values).to(self._device)
        return made.to(self.dtype(dtype)) if values.dtype.kind == "f" else made

    def places(self, values: np.ndarray) -> Any:
        return self.array(values.astype(np.int64), "i32")

    def wait(self, result: Any) -> None:
        self._synchronize()

    def relu(self, x: Any) -> Any:
        return self.xp.relu(x)

    def gelu(self, x: Any) -> Any:
        return self.xp.nn.functional.gelu(x)

    def gelu_tanh(self, x: Any) -> Any:
        return self.xp.nn.functional.gelu(x, approximate="tanh")

    def silu(self, x: Any) -> Any:
        return self.xp.nn.functional.silu(x)

    def softplus(self, x: Any) -> Any:
        return self.xp.nn.functional.softplus(x)

    def softmax(self, x: Any, axis: int) -> Any:
        return self.xp.softmax(x, dim=axis)

    def log_softmax(self, x: Any, axis: int) -> Any:
        return self.xp.log_softmax(x, dim=axis)

    def rms_norm(self, x: Any, weight: Any, eps: float) -> Any:
        return self.xp.nn.functional.rms_norm(x, weight.shape, weight, eps)

    def cross_entropy(self, x: Any, labels: Any) -> Any:
        return self.xp.nn.functional.cross_entropy(x, labels)

    def gradients(self, function: Callable[..., Any], inputs: Sequence[Any], out: Any) -> Any:
        with self.xp.enable_grad():
            inputs = [x.detach().requires_grad_() for x in inputs]
            return self.xp.autograd.grad(function(*inputs), inputs, out)

    def put(self, x: Any, where: Any, values: Any) -> Any:
        x = x.clone()
        x[where] = values
        return x

    def adamw(self, parameters: Any, gradient: Any) -> Callable[[], Any]:
        parameters.grad = gradient
        return self.xp.optim.AdamW([parameters], lr=0.01).step

    def layer_norm(self, x: Any, weight: Any, bias: Any, eps: float) -> Any:
        return self.xp.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)

    def sort(self, x: Any, axis: int) -> Any:
        return self.xp.sort(x, dim=axis).values

    def take(self, x: Any, rows: Any, axis: int) -> Any:
        return self.xp.index_select(x, axis, rows)

    def transpose_copy(self, x: Any) -> Any:
        return x.T.contiguous()

    def permute_copy(self, x: Any, axes: Sequence[int]) -> Any:
        return x.permute(*axes).contiguous()

    def topk(self, x: Any, k: int) -> Any:
        return self.xp.topk(x, k).values

    def take_along_axis(self, x: Any, places: Any, axis: int) -> Any:
        return self.xp.take_along_dim(x, places, axis)

    def cast(self, x: Any, dtype: str) -> Any:
        return x.to(self.dtype(dtype))

    def scatter_add(self, x: Any, rows: Any, values: Any) -> Any:
        return x.index_add(0, rows, values)

    def convolution(self, x: Any, weight: Any, **options: int) -> Any:
        x, weight = x.movedim(-1, 1), weight.movedim(-1, 1)  # channels last in memory
        out = getattr(self.xp.nn.functional, f"conv{x.ndim - 2}d")(x, weight, **options)
        return out.movedim(1, -1)

    def convolution_gradients(
        self, x: Any, weight: Any, out: Any, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> Any:
        x, weight, out = (a.movedim(-1, 1) for a in (x, weight, out))
        each = [[n] * (x.ndim - 2) for n in (stride, padding, 1, 0)]
        return self.xp.ops.aten.convolution_backward(
            out, x, weight, None, *each[:3], False, each[3], groups, [True, True, False]
        )

    def pooling(self, x: Any, kind: str, size: int) -> Any:
        pool = getattr(self.xp.nn.functional, f"{kind.lower()}_pool2d")
        return pool(x.movedim(-1, 1), size, 2).movedim(1, -1)

    def pooling_step(self, x: Any, out: Any, kind: str, size: int) -> Any:
        with self.xp.enable_grad():
            x = x.detach().requires_grad_()
            pooled = self.pooling(x, kind, size)
            return pooled, self.xp.autograd.grad(pooled, x, out)

    def attention(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        attend = self.xp.nn.functional.scaled_dot_product_attention
        return attend(q, k, v, is_causal=causal, scale=0.125)

    def attention_gradient(self, q: Any, k: Any, v: Any, causal: bool) -> Any:
        with self.xp.enable_grad():
            inputs = [x.detach().requires_grad_() for x in (q, k, v)]
            out = self.attention(inputs[0], inputs[1], inputs[2], causal)
            return self.xp.autograd.grad(out, inputs, v)

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        torch, kind, device = self.xp, self.dtype(dtype), self._device
        return self.prepare(lambda: torch.randn(shape, dtype=kind, device=device))

    def trainer(self, widths: Sequence[int], x: Any, y: Any, dtype: str) -> Callable[[], Any]:
        torch = self.xp
        layers: list[Any] = []
        for inputs, outputs in pairwise(widths):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        return self._steps(torch.nn.Sequential(*layers[:-1]), x, self._cross_entropy(y), dtype)

    def transformer_trainer(self, layers: int, x: Any, dtype: str) -> Callable[[], Any]:
        nn, width = self.xp.nn, x.shape[-1]
        layer = nn.TransformerEncoderLayer(
            width, max(1, width // 64), 4 * width, 0.0, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(width)
        model = nn.TransformerEncoder(layer, layers, norm, enable_nested_tensor=False)
        return self._steps(model, x, lambda out: (out**2).mean(), dtype, "AdamW")

    def convolutional_trainer(
        self, channels: Sequence[int], x: Any, y: Any, dtype: str
    ) -> Callable[[], Any]:
        nn = self.xp.nn
        layers: list[Any] = []
        for inputs, outputs in pairwise(channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 10)
        )
        images = x.movedim(-1, 1)  # channels last in memory, which is faster
        return self._steps(model, images, self._cross_entropy(y), dtype)

    def _cross_entropy(self, y: Any) -> Callable[[Any], Any]:
        labels = y.long()
        return lambda out: self.xp.nn.functional.cross_entropy(out, labels)

    def _steps(
        self, model: Any, x: Any, loss: Callable[[Any], Any], dtype: str, optimizer: str = "SGD"
    ) -> Callable[[], Any]:
        model = model.to(self._device, self.dtype(dtype))
        if x.ndim == 4:
            model = model.to(memory_format=self.xp.channels_last)
        updates = getattr(self.xp.optim, optimizer)(model.parameters(), lr=0.01)
        forward = self.prepare(model)

        def step() -> Any:
            updates.zero_grad()
            value = loss(forward(x))
            value.backward()
            updates.step()
            return value

        return step


class TorchCompile(Torch):
    """PyTorch through `torch.compile`; compilation happens in the warm-up."""

    name = "torch-compile"
    compiled = True

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        self.xp.compiler.reset()  # past its limit of recompilations it would run eagerly
        return self.xp.compile(function, dynamic=False)
