"""A program as users write it, for type checkers alone: `test_types.py` runs them over it."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.utils import tree_flatten, tree_map


class Block(nn.Module):
    def __init__(self, dims: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiHeadAttention(dims, heads)
        self.norms = [nn.RMSNorm(dims), nn.LayerNorm(dims)]
        self.network = nn.Sequential(
            nn.Linear(dims, 4 * dims), nn.GELU(), nn.Dropout(0.1), nn.Linear(4 * dims, dims)
        )

    def __call__(self, x: mx.array, mask: mx.array | None = None) -> mx.array:
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, mask)
        return x + self.network(self.norms[1](x))


class Images(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, kernel_size=3, padding=1)
        self.norm = nn.BatchNorm(8)
        self.pool = nn.MaxPool2d(2)
        self.activation = nn.ReLU()
        self.flatten = nn.Flatten()
        self.out = nn.Linear(8 * 4 * 4, classes)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.pool(self.activation(self.norm(self.conv1(x))))
        return self.out(self.flatten(x))


def loss_fn(model: Images, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def batches(x: mx.array, y: mx.array, size: int) -> Iterator[tuple[mx.array, mx.array]]:
    order = mx.random.permutation(x.shape[0])
    for start in range(0, x.shape[0], size):
        chosen = order[start : start + size]
        yield x[chosen], y[chosen]


def accuracy(model: Images, x: mx.array, y: mx.array) -> float:
    model.eval()
    return mx.mean(mx.argmax(model(x), axis=1) == y).item()


def main() -> None:
    mx.random.seed(0)
    x, y = mx.random.normal((64, 8, 8, 1)), mx.random.randint(0, 10, (64,))
    model = Images()
    optimizer = optim.AdamW(optim.cosine_decay(1e-3, 100), weight_decay=0.1)
    mx.eval(model.parameters())
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def compiled_step(x: mx.array, y: mx.array) -> mx.array:
        loss, gradients = nn.value_and_grad(model, loss_fn)(model, x, y)
        gradients, _norm = optim.clip_grad_norm(gradients, 1.0)
        optimizer.update(model, gradients)
        return loss

    losses: list[float] = []
    for _ in range(2):
        for inputs, labels in batches(x, y, 16):
            loss = compiled_step(inputs, labels)
            mx.eval(state)
            losses.append(loss.item())
    last = loss_fn(model, x, y)
    value: float = last.item()
    if value > 1 or last.item() > 1:
        print(f"{value:.3f}", accuracy(model, x, y), sum(losses) / len(losses))
    rows: list[list[int]] = y.reshape(8, 8).tolist()
    total: int = mx.sum(y).item()
    whole: bool = mx.all(y >= 0).item()
    print(rows, total, whole, model.out.weight.shape, model.conv1)

    sizes: dict[str, int] = {name: p.size for name, p in tree_flatten(model.parameters())}
    halves: Any = tree_map(lambda p: p.astype(mx.float16), model.trainable_parameters())
    model.update(halves)
    model.freeze(keys="bias").set_dtype(mx.bfloat16)
    model.save_weights("images.safetensors")
    model.load_weights("images.safetensors", strict=False)
    nn.quantize(model, group_size=32, class_predicate=lambda path, layer: path != "out")
    print(sizes, Block(16, 2)(mx.ones((1, 4, 16)), None).shape)


if __name__ == "__main__":
    main()
