"""Train a small language model on the reference manual that every Python brings along.

    python examples/train_lm.py

A run that was killed, at whatever moment, goes on from its last save when it is started again, and
ends with the very bytes of a run that nobody disturbed. Needs matplotlib and tqdm.
"""

import argparse
import json
import math
from pathlib import Path
from pydoc_data.topics import topics

import matplotlib.pyplot as plt
from tqdm import trange

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.utils import tree_flatten, tree_map, tree_unflatten


class Attention(nn.Module):
    """Causal attention of several heads, with rotary positions."""

    def __init__(self, dims: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dims, 3 * dims, bias=False)
        self.out = nn.Linear(dims, dims, bias=False)
        self.rope = nn.RoPE(dims // heads)

    def __call__(self, x: mx.array) -> mx.array:
        batch, length, dims = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, -1).transpose(2, 0, 3, 1, 4)
        q, k, v = self.rope(qkv[0]), self.rope(qkv[1]), qkv[2]
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5, mask="causal")
        return self.out(y.transpose(0, 2, 1, 3).reshape(batch, length, dims))


class Block(nn.Module):
    """Attention and a gated network, each beside a shortcut."""

    def __init__(self, dims: int, heads: int, dropout: float):
        super().__init__()
        self.attention = Attention(dims, heads)
        self.attention_norm = nn.RMSNorm(dims)
        self.gate = nn.Linear(dims, 3 * dims, bias=False)
        self.up = nn.Linear(dims, 3 * dims, bias=False)
        self.down = nn.Linear(3 * dims, dims, bias=False)
        self.network_norm = nn.RMSNorm(dims)
        self.dropout = nn.Dropout(dropout)

    def __call__(self, x: mx.array) -> mx.array:
        x = x + self.dropout(self.attention(self.attention_norm(x)))
        y = self.network_norm(x)
        return x + self.dropout(self.down(nn.silu(self.gate(y)) * self.up(y)))


class LanguageModel(nn.Module):
    """Bytes ``(batch, length)`` -> scores of what follows each of them ``(batch, length, 256)``."""

    def __init__(self, layers: int, dims: int, heads: int, dropout: float, checkpoint: bool):
        super().__init__()
        self.embedding = nn.Embedding(256, dims)
        self.blocks = [Block(dims, heads, dropout) for _ in range(layers)]
        self.norm = nn.RMSNorm(dims)
        self.checkpoint = checkpoint

    def __call__(self, text: mx.array) -> mx.array:
        x = self.embedding(text)
        for block in self.blocks:
            # A checkpointed block keeps its input alone, and runs again for the gradient.
            x = nn.utils.checkpoint(block)(x) if self.checkpoint else block(x)
        return self.embedding.as_linear(self.norm(x))


def loss_fn(model: LanguageModel, windows: mx.array) -> mx.array:
    """How many bits a byte costs, given those before it in its window."""
    scores = model(windows[:, :-1])
    return nn.losses.cross_entropy(scores, windows[:, 1:], reduction="mean") / math.log(2)


def load_text(limit: int | None, context: int) -> tuple[mx.array, mx.array]:
    """The bytes of the manual for training, and windows ``(n, context + 1)`` of its last part."""
    text = mx.array(list("\n\n".join(topics.values()).encode()[:limit]), mx.uint8)
    size = text.size * 19 // 20
    held_out = mx.arange(size, text.size - context, context)
    return text[:size], text[held_out[:, None] + mx.arange(context + 1)]


def batch_of_step(text: mx.array, step: int, size: int, context: int) -> mx.array:
    """The windows of a step. Each epoch reads the text once, in an order of its own, which follows
    from the step alone: that is all there is to remember of the position in the data."""
    count = text.size // context - 1
    epoch, part = divmod(step, count // size)
    order_key, offset_key = mx.random.split(mx.random.key(epoch))
    order = mx.random.permutation(count, key=order_key)[part * size : (part + 1) * size]
    starts = order * context + mx.random.randint(0, context, key=offset_key)
    return text[starts[:, None] + mx.arange(context + 1)]


def evaluate(model: LanguageModel, windows: mx.array, size: int) -> float:
    model.eval()  # no dropout
    batches = [windows[i : i + size] for i in range(0, len(windows), size)]
    bits = sum(loss_fn(model, batch).item() * len(batch) for batch in batches)
    model.train()
    return bits / len(windows)


def save(path: Path, model: LanguageModel, optimizer: optim.Optimizer, log: dict) -> None:
    """All that a run consists of in one file, which takes the old one's place when it is whole."""
    state = {"model": model.parameters(), "optimizer": optimizer.state, "key": mx.random.state[0]}
    mx.save_safetensors(path, dict(tree_flatten(state)), {"log": json.dumps(log)})


def restore(path: Path, model: LanguageModel, optimizer: optim.Optimizer) -> dict:
    arrays, metadata = mx.load(path, return_metadata=True)
    state = tree_unflatten(arrays)
    model.update(state["model"])
    optimizer.state = state["optimizer"]
    mx.random.state[0] = state["key"]
    return json.loads(metadata["log"])


def plot(path: Path, losses: list[float], held_out: list[tuple[int, float]]) -> None:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses, linewidth=0.8, alpha=0.6, label="training")
    axes.plot(*zip(*held_out, strict=True), "o-", label="held out")
    axes.set(xlabel="step", ylabel="bits per byte")
    axes.legend()
    figure.savefig(path, dpi=150)


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Train a small language model on Python's manual.")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--folder", type=Path, default=Path("train_lm"), help="for state and plot")
    parser.add_argument("--text", type=int, help="how many bytes of it are used")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16, help="windows that run at once")
    parser.add_argument("--accumulate", type=int, default=2, help="batches of a step")
    parser.add_argument("--context", type=int, default=128, help="bytes of a window")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dims", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--checkpoint", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--every", type=int, default=50, help="steps between evaluations, saved")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = options().parse_args()
    mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)
    mx.random.seed(args.seed)
    text, held_out = load_text(args.text, args.context)
    model = LanguageModel(args.layers, args.dims, args.heads, args.dropout, args.checkpoint)
    warmup = args.steps // 10 + 1
    rise = optim.linear_schedule(0, args.learning_rate, warmup)
    fall = optim.cosine_decay(args.learning_rate, args.steps - warmup + 1)
    optimizer = optim.AdamW(optim.join_schedules([rise, fall], [warmup]), weight_decay=0.1)
    loss_and_grad = nn.value_and_grad(model, loss_fn)

    args.folder.mkdir(parents=True, exist_ok=True)
    file = args.folder / "state.safetensors"
    settings = {key: value for key, value in vars(args).items() if key not in ("device", "folder")}
    log: dict = {"settings": settings, "losses": [], "held_out": []}
    if file.exists():
        log = restore(file, model, optimizer)
        if log["settings"] != settings:
            raise SystemExit(f"{file} is of a run with other settings: {log['settings']}")

    progress = trange(len(log["losses"]), args.steps, initial=len(log["losses"]), total=args.steps)
    for step in progress:
        windows = batch_of_step(text, step, args.batch_size * args.accumulate, args.context)
        loss, gradients = mx.array(0.0), tree_map(mx.zeros_like, model.trainable_parameters())
        for batch in mx.split(windows, args.accumulate):
            loss, gradients = tree_map(mx.add, (loss, gradients), loss_and_grad(model, batch))
            mx.eval(loss, gradients)  # so that what this batch stores is gone before the next one
        loss, gradients = tree_map(lambda x: x / args.accumulate, (loss, gradients))
        optimizer.update(model, optim.clip_grad_norm(gradients, 1.0)[0])
        mx.eval(model.parameters(), optimizer.state)

        log["losses"].append(loss.item())
        progress.set_postfix(bits_per_byte=f"{log['losses'][-1]:.3f}")
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            log["held_out"].append((step + 1, evaluate(model, held_out, args.batch_size)))
            save(file, model, optimizer, log)

    plot(args.folder / "loss.png", log["losses"], log["held_out"])
    print(f"The held-out part of the manual takes {log['held_out'][-1][1]:.3f} bits per byte")


if __name__ == "__main__":
    main()
