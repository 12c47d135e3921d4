"""The server of language models, as its clients see it: openai's package, and plain HTTP."""

import contextlib
import http.client
import itertools
import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import SIMULATED
from llm_reference import random_weights, settings, write_folder
from test_llm_model import smollm2

import cermet.core as mx

pytest.importorskip("tokenizers")
pytest.importorskip("uvicorn")
import cermet.llm as llm
from cermet.llm.__main__ import main
from cermet.llm.engine import Closed, Engine, Full, Job
from cermet.llm.protocol import Choice
from cermet.llm.server import Server

openai = pytest.importorskip("openai")

cpu_alone = pytest.mark.skipif(SIMULATED, reason="promised on the CPU, and slow on the simulator")
WAIT = 60  # seconds after which something hangs
GREEDY = {"temperature": 0}
TEXT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small model with a chat template; a token is a letter, and it does not end by itself."""
    config = {**settings("qwen3"), "max_position_embeddings": 4000}
    weights = random_weights(config)
    weights["lm_head.weight"][:2] = 0
    path = write_folder(tmp_path_factory.mktemp("talker"), config, weights)
    (path / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not that') }}"
        "{% endif %}{{ m.role[0] }}{{ m.content }}{% endfor %}"
    )
    return path


@pytest.fixture(scope="module")
def loaded(folder):
    return llm.load(folder)


class Service:
    """A server on a free port, and clients of it."""

    def __init__(self, model, tokenizer, options):
        application = llm.app(model, tokenizer, name="small", **options)
        self.engine = application.state.engine
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.server = Server(application)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()
        self.openai = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, timeout=WAIT
        )

    def chat(self, text, **options):
        messages = [{"role": "user", "content": text}]
        options = {"model": "small", **GREEDY, **options}
        return self.openai.chat.completions.create(messages=messages, **options)

    def complete(self, prompt, **options):
        options = {"model": "small", **GREEDY, **options}
        return self.openai.completions.create(prompt=prompt, **options)

    def ask(self, method, path, body=None, headers=None):
        """The status, headers and body of a plain request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def until(self, running, waiting=0):
        """Waits until so many texts are being written, and so many wait."""
        end = time.monotonic() + WAIT
        while self.engine.counts != (running, waiting):
            assert time.monotonic() < end, f"{self.engine.counts}"
            time.sleep(0.005)

    def close(self):
        self.openai.close()
        self.server.should_exit = True
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        self.socket.close()


@contextlib.contextmanager
def serving(loaded, **options):
    service = Service(*loaded, options)
    try:
        yield service
    finally:
        service.close()


@pytest.fixture(scope="module")
def service(loaded):
    with serving(loaded) as service:
        yield service


def alone(loaded, prompt, count, sampling=llm.Sampling(), **_):  # noqa: B008
    model, tokenizer = loaded
    return llm.generate(model, tokenizer, prompt, sampling, max_tokens=count)


def texts(stream):
    """The text of each choice of a stream of either kind, and the last chunk."""
    out = {}
    for chunk in stream:
        for choice in chunk.choices:
            piece = choice.delta.content if hasattr(choice, "delta") else choice.text
            out[choice.index] = out.get(choice.index, "") + (piece or "")
    return [out[i] for i in sorted(out)], chunk


# ---- Answers ----


def test_an_answer_and_its_usage(service, loaded):
    count = 4 if SIMULATED else 20
    answer = service.chat("ABC", max_tokens=count)
    prompt = loaded[1].chat([{"role": "user", "content": "ABC"}])
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == alone(loaded, prompt, count)
    assert choice.finish_reason == "length"
    assert answer.usage.prompt_tokens == len(prompt) == 5
    assert answer.usage.completion_tokens == count
    assert answer.usage.total_tokens == count + 5
    assert answer.id.startswith("chatcmpl-") and answer.object == "chat.completion"
    assert abs(answer.created - time.time()) < WAIT and answer.model == "small"


@cpu_alone
def test_a_stream_is_the_answer_in_pieces(service):
    whole = service.chat("ABC", max_tokens=20)
    events = list(service.chat("ABC", max_tokens=20, stream=True))
    assert [e.choices[0].delta.role for e in events] == ["assistant"] + [None] * 21
    assert [e.choices[0].finish_reason for e in events] == [None] * 21 + ["length"]
    assert len({e.id for e in events}) == 1
    assert "".join(e.choices[0].delta.content or "" for e in events) == (
        whole.choices[0].message.content
    )
    options = {"max_tokens": 20, "stream_options": {"include_usage": True}}
    (text,), last = texts(service.chat("ABC", stream=True, **options))
    assert last.choices == [] and last.usage == whole.usage
    assert text == whole.choices[0].message.content
    status, headers, body = service.ask(
        "POST", "/v1/completions", json.dumps({"prompt": "A", "stream": True, "max_tokens": 1})
    )
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert body.endswith(b"\n\ndata: [DONE]\n\n")


@cpu_alone
def test_plain_texts(service, loaded):
    answer = service.complete("ABC", max_tokens=9)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert answer.choices[0].text == alone(loaded, "ABC", 9)
    prompts = ["ABC", "HELLO", "x"]
    want = [alone(loaded, p, 9) for p in prompts]
    answer = service.complete(prompts, max_tokens=9)
    assert [c.text for c in answer.choices] == want
    assert answer.usage.completion_tokens == 27
    assert answer.usage.prompt_tokens == 4 + 6 + 2
    tokens = [loaded[1].encode(p) for p in prompts]
    assert [c.text for c in service.complete(tokens, max_tokens=9).choices] == want
    assert service.complete(tokens[1], max_tokens=9).choices[0].text == want[1]
    assert texts(service.complete(prompts, max_tokens=9, stream=True))[0] == want


@cpu_alone
def test_messages_in_parts_and_of_all_roles(service, loaded):
    messages = [
        {"role": "developer", "content": "AB"},
        {"role": "user", "content": [{"type": "text", "text": t} for t in ("C", "D")]},
        {"role": "assistant", "content": "E", "name": "x"},
        {"role": "user", "content": "F"},
    ]
    answer = service.openai.chat.completions.create(
        model="small",
        messages=messages,
        max_completion_tokens=5,
        max_tokens=90,
        user="me",
        **GREEDY,
    )
    assert answer.choices[0].message.content == alone(loaded, "sABuCDaEuF", 5)


@cpu_alone
def test_several_answers_to_one_prompt(service, loaded):
    options = {"temperature": 1.5, "top_p": 0.9, "seed": 2**64 - 2, "max_tokens": 12}
    want = [
        alone(loaded, "ABC", 12, llm.Sampling(1.5, top_p=0.9, seed=seed))
        for seed in (2**64 - 2, 2**64 - 1, 0)
    ]
    answer = service.complete("ABC", n=3, **options)
    assert [c.text for c in answer.choices] == want
    assert len(set(want)) == 3
    assert answer.usage.prompt_tokens == 4 and answer.usage.completion_tokens == 36
    assert texts(service.complete("ABC", n=3, stream=True, **options))[0] == want
    with pytest.raises(openai.BadRequestError, match="2 prompts with 21 answers each"):
        service.complete(["A", "B"], n=21)


@cpu_alone
def test_all_ways_of_choosing_tokens(service, loaded):
    sampling = llm.Sampling(0.8, 20, 0.95, 0.01, 1.3, 5)
    extra = {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.3}
    answer = service.complete(
        "ABC", temperature=0.8, top_p=0.95, seed=5, extra_body=extra, max_tokens=20
    )
    assert answer.choices[0].text == alone(loaded, "ABC", 20, sampling)
    answer = service.complete("ABC", temperature=0.8, seed=-1, max_tokens=20)
    want = alone(loaded, "ABC", 20, llm.Sampling(0.8, seed=2**64 - 1))
    assert answer.choices[0].text == want
    # Without a seed each answer is another; without a temperature it is 1.
    random_ones = {service.complete("ABC", temperature=None, max_tokens=20).choices[0].text
                   for _ in range(4)}  # fmt: skip
    assert len(random_ones) == 4


@cpu_alone
def test_an_answer_fills_what_room_there_is(loaded):
    with serving(loaded, limit=30, max_tokens=7) as service:
        answer = service.complete("ABC", max_tokens=1000)
        assert answer.usage.completion_tokens == 26
        assert answer.choices[0].finish_reason == "length"
        assert service.complete("ABC").usage.completion_tokens == 7


@cpu_alone
def test_the_models_own_end(loaded, tmp_path):
    model, tokenizer = loaded
    text = alone(loaded, "ABC", 30)
    end = next(c for i, c in enumerate(text) if i > 4 and c not in text[:i])
    ending = llm.Tokenizer(tokenizer.inner, beginning=0, ends=tokenizer.encode(end)[1:])
    with serving((model, ending)) as service:
        answer = service.complete("ABC", max_tokens=30)
        assert answer.choices[0].text == text[: text.index(end)]
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens == text.index(end)
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            service.chat("ABC")


# ---- Stop strings ----


def stopped(text, stops):
    """Where the first stop string to be complete begins, and whether there is one."""
    for end in range(len(text) + 1):
        begins = [end - len(s) for s in stops if text[:end].endswith(s)]
        if begins:
            return text[: min(begins)], True
    return text, False


class Letters:
    """A tokenizer whose tokens are indices of pieces."""

    def __init__(self, pieces):
        self.pieces = pieces

    def stream(self):
        return self

    def add(self, token):
        return self.pieces[token]

    def finish(self):
        return ""


def test_stop_strings_whichever_way_the_text_is_cut():
    rng = random.Random(0)
    hits = 0
    for _ in range(3000):
        text = "".join(rng.choices("ab", k=rng.randrange(14)))
        stops = ["".join(rng.choices("ab", k=rng.randrange(1, 5))) for _ in range(rng.randrange(3))]
        pieces, rest = [], text
        while rest:
            n = rng.randrange(1, 5)
            pieces.append(rest[:n])
            rest = rest[n:]
        choice = Choice(Letters(pieces), stops)
        got = []
        for i in range(len(pieces)):
            got.append(choice.add(i))
            if choice.finish:
                break
        else:
            got.append(choice.end("length"))
        want, hit = stopped(text, stops)
        hits += hit
        assert "".join(got) == want
        assert choice.finish == ("stop" if hit else "length")
    assert 1000 < hits < 2500


@cpu_alone
def test_a_stop_string_ends_an_answer(service, loaded):
    text = alone(loaded, "ABC", 40)
    stop = text[10:13]  # of three tokens
    want = text[: text.index(stop)]
    for stops in stop, ["never", stop]:
        answer = service.complete("ABC", max_tokens=40, stop=stops)
        assert answer.choices[0].text == want
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage.completion_tokens == len(want) + 3
        (streamed,), last = texts(service.complete("ABC", max_tokens=40, stop=stops, stream=True))
        assert streamed == want and last.choices[0].finish_reason == "stop"
    # The beginning of one that does not come is given at the end.
    answer = service.complete("ABC", max_tokens=12, stop=text[10:12] + "never")
    assert answer.choices[0].text == text[:12]
    service.until(running=0)


# ---- Several clients ----


def spread(count):
    """Requests of all kinds, with what they are alone: a prompt, a number, a sampling."""
    rng = random.Random(1)
    for i in range(count):
        prompt = "".join(rng.choices(TEXT, k=rng.choice([1, 3, 20, 150, 400])))
        sampling = llm.Sampling(rng.choice([0.0, 1.0]), top_k=rng.choice([0, 5]), seed=i)
        yield prompt, rng.randrange(1, 40), sampling


def asked(service, prompt, count, sampling, stream):
    options = {"temperature": sampling.temperature, "seed": sampling.seed}
    extra = {"top_k": sampling.top_k}
    answer = service.complete(prompt, max_tokens=count, stream=stream, extra_body=extra, **options)
    return texts(answer)[0][0] if stream else answer.choices[0].text


@cpu_alone
def test_clients_together_have_the_answers_of_each_alone(loaded):
    requests = list(spread(24))
    with serving(loaded, places=5) as service, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(asked, service, *r, i % 2 == 0) for i, r in enumerate(requests)]
        got = [future.result(WAIT) for future in futures]
    assert got == [alone(loaded, *r) for r in requests]


@cpu_alone
def test_smollm2_says_the_same_to_several_clients_as_alone():
    loaded = llm.load(smollm2())
    questions = ["What is 2 + 3?", "Name a colour.", "Write one line about the sea: \u00e9\u4e16"]
    prompts = [loaded[1].chat([{"role": "user", "content": q}]) for q in questions]
    want = [alone(loaded, p, 12) for p in prompts]
    with serving(loaded) as service, ThreadPoolExecutor(3) as pool:
        plain = pool.map(lambda q: service.chat(q, max_tokens=12).choices[0].message.content,
                         questions)  # fmt: skip
        assert list(plain) == want
        streams = pool.map(lambda q: texts(service.chat(q, max_tokens=12, stream=True))[0][0],
                           questions)  # fmt: skip
        assert list(streams) == want


@cpu_alone
def test_a_long_prompt_lets_others_be_written(loaded):
    """Its pieces are computed between the others' steps."""
    with serving(loaded) as service:
        stream = service.complete("AB", max_tokens=3000, stream=True)
        next(iter(stream))
        order = []
        take_up, step = llm.Batch.take_up, llm.Batch.step
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(llm.Batch, "take_up", lambda *a: (order.append("piece"), take_up(*a)))
            patch.setattr(llm.Batch, "step", lambda b: (order.append("step"), step(b)))
            service.complete(TEXT * 40, max_tokens=1)
        stream.close()
        pieces = [i for i, what in enumerate(order) if what == "piece"]
        assert len(pieces) == 9  # 1041 tokens by 128
        assert all(b - a == 2 for a, b in itertools.pairwise(pieces))
        service.until(running=0)


# ---- Clients that leave, and too many ----


@cpu_alone
def test_who_leaves_frees_a_place(loaded):
    with serving(loaded, places=1, queue=4) as service:
        stream = service.complete("AB", max_tokens=3000, stream=True)
        next(iter(stream))
        service.until(running=1)
        stream.close()
        service.until(running=0)
        body = json.dumps({"prompt": "AB", "max_tokens": 3000}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        sockets = []
        for _ in range(3):  # without a stream, one that runs and two that wait
            sockets.append(socket.create_connection(("127.0.0.1", service.port)))
            sockets[-1].sendall(head.encode() + body)
        service.until(running=1, waiting=2)
        sockets[2].close()  # from the queue
        service.until(running=1, waiting=1)
        sockets[0].close()
        sockets[1].close()
        service.until(running=0)
        assert service.complete("ABC", max_tokens=5).choices[0].text == alone(loaded, "ABC", 5)


@cpu_alone
def test_a_full_queue_refuses(loaded):
    with serving(loaded, places=1, queue=1) as service:
        first = service.complete("AB", max_tokens=3000, stream=True)
        next(iter(first))
        second = service.complete("AB", max_tokens=3000, stream=True)  # its headers have come
        service.until(running=1, waiting=1)
        with pytest.raises(openai.RateLimitError) as refused:
            service.complete("AB")
        assert refused.value.response.headers["retry-after"] == "1"
        assert refused.value.code == "queue_full"
        status, _, body = service.ask("GET", "/health")
        assert status == 200
        assert json.loads(body) == {"status": "ok", "running": 1, "waiting": 1}
        first.close()
        service.until(running=1, waiting=0)
        third = service.complete("AB", max_tokens=3000, stream=True)
        for stream in second, third:
            stream.close()
        service.until(running=0)
        with pytest.raises(openai.BadRequestError, match="n is 3, expected an integer from 1 to 2"):
            service.complete("AB", n=3)


# ---- Requests that are wrong ----

WRONG = [
    ("", None, "the body is no JSON"),
    ("{", None, "the body is no JSON"),
    ("[" * 100_000, None, "the body is no JSON"),
    ("\xff\xfe\xff", None, "the body is no JSON"),
    ('{"messages": NaN}', None, "NaN is no number"),
    ('{"temperature": ' + "9" * 5000 + "}", None, "the body is no JSON"),
    ("[1]", None, "no object"),
    ({"messages": None}, "messages", "messages is null, expected a list"),
    ({"messages": []}, "messages", "messages is a list of 0, expected"),
    ({"messages": "hello"}, "messages", 'messages is "hello", expected a list'),
    ({"messages": ["hello"]}, "messages[0]", "expected an object"),
    ({"messages": [{"content": "a"}]}, "messages[0].role", "role is null, expected one of"),
    (
        {"messages": [{"role": "king", "content": "a"}]},
        "messages[0].role",
        'role is "king", expected one of system, developer, user, assistant',
    ),
    ({"messages": [{"role": ["user"], "content": "a"}]}, "messages[0].role", "is a list of 1"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "content is null, expected"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "content is 3"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0]",
        "reads nothing else",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
        "messages[0].content[0].text",
        "expected a string",
    ),
    ({"messages": [{"role": "user", "content": "no"}]}, "messages", "not that"),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages", "half of a character"),
    ({"model": 3}, "model", "model is 3, expected a string"),
    ({"temperature": "hot"}, "temperature", 'temperature is "hot", expected a number'),
    ({"temperature": True}, "temperature", "temperature is true, expected a number"),
    ({"temperature": -1}, "temperature", "temperature is -1.0, expected 0 or more"),
    ({"temperature": 1e300}, "temperature", "expected a number"),
    ({"top_p": 0}, "top_p", "expected more than 0"),
    ({"min_p": 2}, "min_p", "expected 0 to 1"),
    ({"top_k": 1.5}, "top_k", "top_k is 1.5, expected an integer"),
    ({"repetition_penalty": 0}, "repetition_penalty", "expected more than 0"),
    ({"seed": 2**64}, "seed", "expected an integer from"),
    ({"seed": "x"}, "seed", "expected an integer"),
    ({"max_tokens": 0}, "max_tokens", "max_tokens is 0, expected an integer from 1"),
    ({"max_completion_tokens": "9"}, "max_completion_tokens", "expected an integer"),
    ({"n": 0}, "n", "n is 0, expected an integer from 1"),
    ({"n": 1e3}, "n", "n is 1000.0, expected"),
    ({"stop": 3}, "stop", "stop is 3, expected a string or up to 16"),
    ({"stop": [""]}, "stop", "none of them empty"),
    ({"stop": ["a"] * 17}, "stop", "stop is a list of 17"),
    ({"stream": "yes"}, "stream", 'stream is "yes", expected true or false'),
    ({"stream_options": 3}, "stream_options", "expected an object"),
    ({"stream_options": {"include_usage": 1}}, "include_usage", "expected true or false"),
    ({"logprobs": True}, "logprobs", "logprobs is not supported"),
    ({"logprobs": 0}, "logprobs", "logprobs is not supported"),
    ({"tools": [{}]}, "tools", "tools is not supported"),
    ({"response_format": {"type": "json_object"}}, "response_format", "not supported"),
    ({"presence_penalty": 0.5}, "presence_penalty", "not supported"),
]


@pytest.mark.parametrize(("body", "param", "message"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_request_is_refused(service, body, param, message):
    if isinstance(body, dict):
        good = {"messages": [{"role": "user", "content": "A"}], "max_tokens": 1}
        body = json.dumps({**good, **body})
    status, headers, answer = service.ask("POST", "/v1/chat/completions", body.encode("latin-1"))
    assert status == 400 and headers["content-type"] == "application/json"
    error = json.loads(answer)["error"]
    assert message in error["message"]
    assert error["param"] == param and error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (None, "prompt is null, expected a string"),
        ([], "prompt is a list of 0, expected"),
        ([True], "expected a string or a list of tokens"),
        ([1, "a"], "expected a string or a list of tokens"),
        (["a", 1], "expected a string or a list of tokens"),
        ([[1], []], "no token to begin with"),
        ([1, 96], "outside of the 96"),
        ([-1], "outside of the 96"),
        (["a"] * 41, "prompt has 41 texts, expected at most 40"),
        ("\udfff", "half of a character"),
    ],
)
def test_a_wrong_prompt_is_refused(service, prompt, message):
    body = json.dumps({"prompt": prompt, "max_tokens": 1})
    status, _, answer = service.ask("POST", "/v1/completions", body)
    error = json.loads(answer)["error"]
    assert (status, error["param"]) == (400, "prompt")
    assert message in error["message"]


def test_a_prompt_that_is_too_long_is_refused(service):
    for ask in service.chat, service.complete:
        with pytest.raises(openai.BadRequestError, match="room for 4000 with the answer") as error:
            ask("A" * 4000)
        assert error.value.code == "context_length_exceeded"


@pytest.mark.parametrize("size", [5_000, 200_000])
def test_a_body_that_is_too_large_is_refused(loaded, size):
    with serving(loaded, max_body=1000) as service:
        with pytest.raises(openai.APIStatusError) as error:
            service.complete("A" * size)
        assert error.value.status_code == 413
        status, _, _ = service.ask("GET", "/health")
        assert status == 200


def test_models_and_what_is_not_there(service):
    (model,) = service.openai.models.list().data
    assert model.id == "small" and model.owned_by == "cermet"
    assert service.openai.models.retrieve("small") == model
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'") as error:
        service.openai.models.retrieve("gpt")
    assert error.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="this server has 'small'") as error:
        service.complete("A", model="gpt")
    assert error.value.param == "model"
    for method, path, status in (
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
    ):
        got, headers, body = service.ask(method, path)
        assert got == status
        assert json.loads(body)["error"]["message"].startswith(f"{method} {path}: ")
        assert status != 405 or "allow" in headers


# ---- Errors within ----


@cpu_alone
def test_a_step_that_fails_fails_its_texts_alone(loaded, caplog, monkeypatch):
    with serving(loaded, places=2) as service:
        stream = service.complete("AB", max_tokens=3000, stream=True)
        next(iter(stream))

        def fail(*_):
            monkeypatch.undo()
            raise MemoryError("of another client")

        monkeypatch.setattr(llm.Runner, "step", fail)
        with pytest.raises(openai.APIError, match="the model failed: MemoryError"):
            list(stream)
        assert "a step failed" in caplog.text
        service.until(running=0)

        stream = service.complete("AB", max_tokens=3000, stream=True)
        next(iter(stream))
        monkeypatch.setattr(llm.Runner, "prompt", fail)
        with pytest.raises(openai.InternalServerError, match="MemoryError") as error:
            service.complete("ABC")
        assert "client" not in str(error.value)
        assert service.engine.counts == (1, 0)  # the stream goes on
        next(iter(stream))
        assert service.complete("ABC", max_tokens=5).choices[0].text == alone(loaded, "ABC", 5)
        stream.close()
        service.until(running=0)


def test_what_fails_elsewhere_is_answered(loaded, caplog, monkeypatch):
    with serving(loaded) as service:
        monkeypatch.setattr("cermet.llm.server.read", lambda *_, **__: 1 // 0)
        status, _, body = service.ask("POST", "/v1/completions", "{}")
        assert status == 500
        assert json.loads(body)["error"]["message"] == "the model failed: ZeroDivisionError"
        assert service.ask("GET", "/health")[0] == 200


# ---- The engine by itself ----


@cpu_alone
def test_the_engine_takes_all_jobs_or_none(loaded):
    model, _ = loaded
    engine = Engine(llm.Runner(model), places=1, queue=2)
    got = []
    jobs = [Job([1, 2], llm.Sampling(), 3000, got.append) for _ in range(3)]
    with pytest.raises(Full, match=r"0 texts .* room for 3"):
        engine.submit([*jobs, jobs[0]])
    engine.submit(jobs)
    with pytest.raises(Full):
        engine.submit([Job([1], llm.Sampling(), 1, got.append)])
    engine.close()
    assert sum(isinstance(item, Closed) for item in got) == 3
    with pytest.raises(Closed):
        engine.submit(jobs)
    engine.close()
    with pytest.raises(ValueError, match="Engine: places is 0, expected at least 1"):
        Engine(llm.Runner(model), places=0)


@cpu_alone
def test_the_memory_of_those_who_left_is_free(loaded):
    model, _ = loaded
    engine = Engine(llm.Runner(model))
    done = threading.Event()

    def put(item):
        if isinstance(item, str):
            done.set()

    def ask(prompt, count):
        done.clear()
        engine.submit([Job(prompt, llm.Sampling(), count, put)])
        assert done.wait(WAIT)

    ask([1, 2], 3)
    before = mx.get_active_memory()
    ask([1] * 3000, 3)
    assert mx.get_active_memory() - before < 100_000  # 512 a token
    engine.close()


# ---- The program, and the package without the extra ----


@cpu_alone
def test_all_kinds_of_clients_for_some_seconds(folder):
    file = str(Path(__file__).parents[1] / "clients.py")
    options = ["--model", str(folder), "--seconds", "2", "--seed", "3"]
    done = subprocess.run([sys.executable, file, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) whole", done.stdout)[1]) > 3


@contextlib.contextmanager
def program(folder, *options):
    command = [sys.executable, "-m", "cermet.llm", "serve", "--model", str(folder), "--port", "0"]
    with subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run in the background, it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@cpu_alone
@pytest.mark.parametrize("which", ["SIGINT", "SIGTERM"])
def test_the_program_serves_until_it_is_stopped(folder, loaded, which):
    number = getattr(signal, which)
    with program(folder, "--max-tokens", "6", "--temperature", "0") as (process, url):
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=WAIT) as client:
            (model,) = client.models.list().data
            answer = client.completions.create(model=model.id, prompt="ABC")
            assert answer.choices[0].text == alone(loaded, "ABC", 6)
            stream = client.completions.create(
                model=model.id, prompt="AB", max_tokens=3000, stream=True
            )
            next(iter(stream))
            process.send_signal(number)
            with pytest.raises(openai.APIError, match="the server is stopping"):
                list(stream)
        _, errors = process.communicate(timeout=WAIT)
        assert process.returncode == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in errors


def test_the_program_says_what_is_wrong(folder, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--model", str(folder), "--quiet", "--port", port]) == 1
    assert "error: [Errno" in capsys.readouterr().err
    options = "--quiet", "--max-clients", "0"
    assert main(["serve", "--model", str(folder), *options]) == 1
    assert "places is 0, expected at least 1" in capsys.readouterr().err


def test_without_the_extra_only_the_server_is_missing():
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "import cermet.llm as llm\n"
        "from cermet.llm.__main__ import main\n"
        "try: llm.serve\n"
        "except ImportError as error: print(error)\n"
        "sys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    message = "the server of cermet.llm needs the package uvicorn: python -m pip install"
    assert done.stdout == f"{message} 'cermet[serve]'\n"
    assert done.stderr == f"error: {message} 'cermet[serve]'\n" and done.returncode == 1
