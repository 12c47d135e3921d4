"""Train a small network to read handwritten digits.

    python examples/digits.py

Needs scikit-learn (for the data: 1797 images of 8 x 8 pixels) and tqdm.
"""

import argparse
import math
import sys

import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim

BATCH_SIZE = 64
WANTED_ACCURACY = 0.97


class Network(nn.Module):
    """64 pixels -> 256 -> 256 -> a score for each of 10 digits."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(64, 256), nn.Linear(256, 256)]
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(256, 10)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = self.dropout(nn.relu(layer(x)))
        return self.head(x)


def load_data(seed: int) -> tuple[mx.array, mx.array, mx.array, mx.array]:
    """Images and labels for training, and a fifth of all held out for the test."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(images))
    x = mx.array((images[order] / 16).astype(np.float32))
    y = mx.array(labels[order].astype(np.int32))
    held_out = len(order) // 5
    return x[held_out:], y[held_out:], x[:held_out], y[:held_out]


def loss_fn(model: Network, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(x), y, label_smoothing=0.1, reduction="mean")


def accuracy(model: Network, x: mx.array, y: mx.array) -> float:
    return (model(x).argmax(axis=1) == y).astype(mx.float32).mean().item()


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a network to read handwritten digits.")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)
    mx.random.seed(args.seed)
    train_x, train_y, test_x, test_y = load_data(args.seed)

    model = Network()
    steps = args.epochs * math.ceil(len(train_x) / BATCH_SIZE)
    optimizer = optim.AdamW(learning_rate=optim.cosine_decay(2e-3, steps))
    loss_and_grad = nn.value_and_grad(model, loss_fn)

    progress = tqdm(range(args.epochs), unit="epoch")
    for _ in progress:
        order = mx.random.permutation(len(train_x))
        for start in range(0, len(train_x), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            loss, gradients = loss_and_grad(model, train_x[batch], train_y[batch])
            optimizer.update(model, gradients)
            # Nothing has been computed so far: arrays are lazy. Now compute this step.
            mx.eval(model.parameters(), optimizer.state)
        progress.set_postfix(loss=f"{loss.item():.4f}")

    model.eval()  # no dropout from here on
    result = accuracy(model, test_x, test_y)
    print(f"Accuracy on {len(test_x)} held-out digits: {100 * result:.1f} %")
    return 0 if result >= WANTED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
