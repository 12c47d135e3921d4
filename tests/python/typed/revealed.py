"""What type checkers know, and what they must refuse: an ignored line without an error is one.

`test_types.py` runs them over it, with warnings about what is ignored for nothing.
"""

from collections.abc import Callable
from typing import Any

from typing_extensions import assert_type

import cermet
import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim


def energy(x: mx.array, scale: float = 1.0) -> mx.array:
    return mx.sum(scale * x * x)


def several(x: mx.array) -> tuple[mx.array, dict[str, mx.array]]:
    return mx.sum(x), {"x": x}


@mx.compile
def decorated(x: mx.array, *, count: int) -> list[mx.array]:
    return [x] * count


def signatures(model: nn.Linear, x: mx.array) -> None:
    assert_type(mx.compile(energy)(x, scale=2.0), mx.array)
    assert_type(decorated(x, count=2), list[mx.array])
    assert_type(mx.checkpoint(several)(x), tuple[mx.array, dict[str, mx.array]])
    assert_type(mx.vmap(energy)(x), mx.array)
    assert_type(mx.value_and_grad(energy)(x), tuple[mx.array, Any])
    assert_type(mx.value_and_grad(several)(x)[0], tuple[mx.array, dict[str, mx.array]])
    assert_type(mx.jacobian(energy)(x), Any)
    value, gradients = nn.value_and_grad(model, energy)(x, scale=3.0)
    assert_type(value, mx.array)
    assert_type(nn.utils.checkpoint(model, energy)(x), mx.array)
    optim.SGD(0.1).update(model, gradients)

    mx.compile(energy)(x, 1, 2)  # type: ignore
    mx.compile(energy)(x, scales=2.0)  # type: ignore
    decorated(x, 2)  # type: ignore
    mx.grad(energy)("x")  # type: ignore
    mx.value_and_grad(energy)()  # type: ignore
    nn.value_and_grad(model, energy)(x, 1, 2)  # type: ignore
    mx.vmap(energy)(x, x, x)  # type: ignore
    mx.hessian(energy)(1, 2, 3)  # type: ignore


def layers(x: mx.array) -> None:
    assert_type(nn.Linear(2, 3)(x), mx.array)
    assert_type(nn.ReLU()(x), mx.array)
    assert_type(nn.Tanh()(x), mx.array)
    assert_type(nn.Linear(2, 3).weight, mx.array)
    activations: list[type[nn.Module]] = [nn.ReLU, nn.Softmax, nn.SELU, nn.Mish, nn.GELU]
    layer: Callable[[mx.array], mx.array] = nn.SiLU()
    unary: nn.UnaryLayer = nn.Sigmoid()
    print(activations, layer, unary, nn.Module().training)

    nn.ReLU(3)  # type: ignore
    nn.Softmax()("x")  # type: ignore
    nn.Linear("2", 3)  # type: ignore
    nn.Lineer(2, 3)  # type: ignore


def numbers(x: mx.array) -> float:
    count: int = x.item()
    yes: bool = x.item()
    size: float = x.item() / 2
    z: complex = x.item()
    first: list[float] = x.tolist()
    print(count, yes, size, z, first, x.tolist()[0], cermet.__version__.split("."))
    x.item() + "a"  # type: ignore
    return x.item()


def arrays(x: mx.array, path: str) -> None:
    for y in (x[0], x[:, None], x[..., 1:], 2 * x, x @ x.T, -x, x == 1, 1 - x, x**2, x > x, abs(x)):
        assert_type(y, mx.array)
    for row in x:
        assert_type(row, mx.array)
    x[0] = 1.0
    x += 1
    assert_type(x.shape[0], int)
    assert_type(x.astype(mx.float16).sum(axis=-1, keepdims=True), mx.array)
    assert_type(mx.split(x, 2), list[mx.array])
    assert_type(mx.linalg.norm(mx.fft.fft(x)), mx.array)
    assert_type(mx.random.uniform(shape=(2, 3), key=mx.random.key(0)), mx.array)
    assert_type(mx.fast.rms_norm(x, None, 1e-5), mx.array)
    assert_type(mx.nanmean(mx.random.gamma(2.0)), mx.array)
    with mx.stream(mx.cpu):
        mx.eval({"x": x}, [x])
    mx.save_safetensors(path, {"x": x})
    assert_type(mx.load(path, return_metadata=True), tuple[dict[str, mx.array], dict[str, Any]])
    one: mx.array = mx.load("x.npy")
    weights: dict[str, mx.array] = mx.load(path)
    print(one, weights["x"].shape, mx.load(path)["x"].shape)
    print(len(x), float(x), int(x), x.dtype == mx.float32, cermet.array([1, 2]).ndim)


@mx.custom_function
def rounded(x: mx.array) -> mx.array:
    return mx.round(x)


@rounded.vjp
def rounded_vjp(primals: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return cotangent


def arguments(x: mx.array) -> None:
    print(rounded(x))
    mx.matmul(x, "b")  # type: ignore
    mx.sum(x, dim=1)  # type: ignore
    mx.softmax(x, axis="a")  # type: ignore
