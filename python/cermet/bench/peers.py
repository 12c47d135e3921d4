"""Adaptors: each framework under the names that the cases use, which are those of `cermet.core`.

An operation that an adaptor does not define is looked up in the framework's own namespace, so an
adaptor holds only what differs. What a framework lacks raises `Unsupported`, and the case is left
out for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from .chosen import Composed, Whole

DTYPES = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "bf16": "bfloat16",
    "c64": "complex64",
    "i32": "int32",
}
ITEM_SIZE = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2, "c64": 8, "i32": 4}

# Read by OpenMP, OpenBLAS, MKL, Accelerate and Cermet, each when it is loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "CERMET_NUM_THREADS",
)


class Unsupported(Exception):
    """A framework cannot run a case; the message says why."""


class Peer:
    """One framework. Subclasses set `xp`, the namespace that holds its operations.

    Args:
        device: "cpu" or "gpu".
        threads: number of CPU threads.
    """

    name: str
    version: str
    xp: Any
    lazy = False  # operations build a graph that `wait` computes
    compiled = False  # `prepare` hands the function to a compiler

    def __init__(self, device: str, threads: int) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "xp" not in vars(self):
            raise AttributeError(name)
        if not hasattr(self.xp, name):
            raise Unsupported(f"{self.name} has no {name}")
        setattr(
            self, name, getattr(self.xp, name)
        )  # the next look-up costs what the framework's does
        return getattr(self, name)

    def array(self, values: np.ndarray, dtype: str) -> Any:
        """The framework's array of `values`, floating ones in `dtype` (a key of `DTYPES`)."""
        raise NotImplementedError

    def places(self, values: np.ndarray) -> Any:
        """The framework's array of indices, in a type that all its operations take."""
        return self.array(values, "i32")

    def wait(self, result: Any) -> None:
        """Blocks until `result` is computed."""

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` as it will be measured."""
        return function

    def dtype(self, name: str) -> Any:
        """The framework's dtype for a key of `DTYPES`."""
        return getattr(self, DTYPES[name])

    def cast(self, x: Any, dtype: str) -> Any:
        """`x` in the dtype of a key of `DTYPES`."""
        return x.astype(self.dtype(dtype))

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        """A function that draws standard normal values of `shape`."""
        raise Unsupported(f"{self.name} has no normal sampler")

    def trainer(self, widths: Sequence[int], x: Any, y: Any, dtype: str) -> Callable[[], Any]:
        """One SGD step of a ReLU network with layers of `widths`, on inputs `x` and labels `y`."""
        raise Unsupported(f"{self.name} has no automatic differentiation")

    def recurrent_trainer(self, width: int, x: Any, dtype: str) -> Callable[[], Any]:
        """One SGD step of an LSTM of `width` on sequences `x`; the loss is of the last rows."""
        raise Unsupported(f"{self.name} has no LSTM")

    def transformer_trainer(self, layers: int, x: Any, dtype: str) -> Callable[[], Any]:
        """One AdamW step of a transformer's encoder with heads of 64, on sequences `x`."""
        raise Unsupported(f"{self.name} has no transformer")

    def convolutional_trainer(
        self, channels: Sequence[int], x: Any, y: Any, dtype: str
    ) -> Callable[[], Any]:
        """One SGD step of a network of 3 x 3 convolutions, each with ReLU and a maximum of 2 x 2.

        Its last layer is linear, and gives ten logits from the mean of all positions.
        """
        raise Unsupported(f"{self.name} has no convolutional layers")


class Cermet(Whole, Peer):
    """Cermet, and under another root every package with the same interface."""

    name = "cermet"
    lazy = True

    def __init__(self, device: str, threads: int) -> None:
        self.xp = import_module(f"{self.name}.core")
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

    def silu(self, x: Any) -> Any:
        return self._package("nn").silu(x)

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
            return import_module(f"{self.name}.{name}")
        except ModuleNotFoundError as error:
            raise Unsupported(f"{self.name} has no {error.name}") from error


class Mlx(Cermet):
    """MLX, whose interface Cermet shares."""

    name = "mlx"


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

    def transpose_copy(self, x: Any) -> Any:
        return np.ascontiguousarray(x.T)

    def permute_copy(self, x: Any, axes: Sequence[int]) -> Any:
        return np.ascontiguousarray(x.transpose(axes))

    def topk(self, x: Any, k: int) -> Any:
        return np.partition(x, -k, axis=-1)[..., -k:]

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        generator, kind = np.random.default_rng(0), self.dtype(dtype)
        return lambda: generator.standard_normal(shape, np.float32).astype(kind, copy=False)


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

    def silu(self, x: Any) -> Any:
        return self.xp.nn.functional.silu(x)

    def softmax(self, x: Any, axis: int) -> Any:
        return self.xp.softmax(x, dim=axis)

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

    def silu(self, x: Any) -> Any:
        return self._jax.nn.silu(x)

    def softmax(self, x: Any, axis: int) -> Any:
        return self._jax.nn.softmax(x, axis=axis)

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


PEERS: dict[str, type[Peer]] = {
    kind.name: kind for kind in (Cermet, Mlx, NumPy, Torch, TorchCompile, Jax, JaxJit)
}


def load(name: str, device: str, threads: int) -> Peer:
    """The adaptor called `name`.

    Raises:
        Unsupported: the framework is not installed or lacks the device.
    """
    try:
        return PEERS[name](device, threads)
    except ModuleNotFoundError as error:
        raise Unsupported(f"not installed (no module {error.name})") from error
    except ImportError as error:
        raise Unsupported(f"cannot be imported: {error}") from error


def available_threads() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(threads: int) -> bool:
    """Sets `threads` in the environment and, on Linux, as many CPUs to run on.

    The CPUs hold frameworks to the limit that have no setting for it.

    Returns:
        Whether the environment changed: libraries loaded before do not know of it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    changed = any(os.environ.get(name) != value for name, value in wanted.items())
    os.environ.update(wanted)
    return changed
