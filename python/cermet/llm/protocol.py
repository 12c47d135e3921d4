"""What clients ask a server, checked, and what they are answered, in the form of OpenAI's API."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from cermet.llm.errors import ModelError
from cermet.llm.sample import Sampling
from cermet.llm.tokenizer import Tokenizer

_MOST_STOPS = 16
_ROLES = ("system", "developer", "user", "assistant")
# What would change the answer and is not done: the values that ask for nothing.
_MISSING: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "function_call": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
}


class RequestError(Exception):
    """A request that is not served, with HTTP's status and the fields of the error's body."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.body = {
            "error": {"message": message, "type": kind, "param": param, "code": code},
        }


def _refuse(param: str, value: object, expected: str) -> NoReturn:
    if isinstance(value, (list, dict)):
        shown = f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    else:
        shown = json.dumps(value)
        shown = shown if len(shown) < 60 else shown[:56] + " ..."
    raise RequestError(f"{param} is {shown}, expected {expected}", param=param)


@dataclass(frozen=True)
class Served:
    """What a server serves, and what holds where a request says nothing.

    Args:
        name: the name of the model.
        tokenizer: its tokenizer.
        vocabulary: how many tokens it has.
        limit: for how many tokens there is room, with the answer.
        most: how many answers one request may ask for.
        sampling: how tokens are chosen. Its seed is not used: a request without one gets another
            each time.
        max_tokens: how many tokens an answer has at most; None: as many as there is room for.
    """

    name: str
    tokenizer: Tokenizer
    vocabulary: int
    limit: int
    most: int
    sampling: Sampling
    max_tokens: int | None
    created: int = field(default_factory=lambda: int(time.time()))

    def model(self) -> dict[str, Any]:
        """The model's entry in the list of models."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "cermet",
            "max_model_len": self.limit,
        }

    def require(self, name: str) -> None:
        """Raises where another model is asked for."""
        if name != self.name:
            raise RequestError(
                f"there is no model '{name[:200]}': this server has '{self.name}'",
                status=404,
                param="model",
                code="model_not_found",
            )


@dataclass(frozen=True)
class Request:
    """What a request asks for."""

    prompts: list[list[int]]
    sampling: Sampling
    choices: int  # for each prompt
    max_tokens: int | None
    stops: list[str]
    stream: bool
    usage: bool  # whether a stream ends with the usage


def read(body: bytes, served: Served, *, chat: bool) -> Request:
    """The request of a body.

    Raises:
        RequestError: it is none, or asks for what is not there.
    """

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no number of JSON")

    try:
        given = json.loads(body, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is no JSON: {error}", code="invalid_json") from None
    if not isinstance(given, dict):
        raise RequestError("the body is JSON, but no object")
    fields = _Fields(given)
    served.require(fields.text("model", served.name))
    for name, nothing in _MISSING.items():
        value = given.get(name)
        if not any(value == n and isinstance(value, bool) == isinstance(n, bool) for n in nothing):
            raise RequestError(f"{name} is not supported", param=name, code="unsupported_parameter")
    default = served.sampling
    seed = fields.whole("seed", secrets.randbits(64), -(2**63), 2**64 - 1)
    try:
        sampling = replace(
            default,
            temperature=fields.number("temperature", default.temperature),
            top_k=fields.whole("top_k", default.top_k, 0, 2**31),
            top_p=fields.number("top_p", default.top_p),
            min_p=fields.number("min_p", default.min_p),
            repetition_penalty=fields.number("repetition_penalty", default.repetition_penalty),
            seed=seed % 2**64,
        )
    except ValueError as error:
        message = str(error).removeprefix("Sampling: ")
        raise RequestError(message, param=message.partition(" ")[0]) from None
    max_tokens = None
    for name in "max_completion_tokens", "max_tokens":
        if given.get(name) is not None and max_tokens is None:
            max_tokens = fields.whole(name, 1, 1, 2**31)
    options = given.get("stream_options") or {}
    if not isinstance(options, dict):
        _refuse("stream_options", options, "an object")
    request = Request(
        prompts=_messages(given, served) if chat else _prompts(given, served),
        sampling=sampling,
        choices=fields.whole("n", 1, 1, served.most),
        max_tokens=served.max_tokens if max_tokens is None else max_tokens,
        stops=_stops(given.get("stop")),
        stream=fields.truth("stream"),
        usage=_Fields(options).truth("include_usage"),
    )
    if len(request.prompts) * request.choices > served.most:
        raise RequestError(
            f"{len(request.prompts)} prompts with {request.choices} answers each, expected at "
            f"most {served.most} in all",
            param="n",
        )
    return request


class _Fields:
    """Values of an object, by their kinds."""

    def __init__(self, given: dict[str, Any]):
        self.given = given

    def _get(self, name: str, default: Any) -> Any:
        value = self.given.get(name)
        return default if value is None else value

    def number(self, name: str, default: float) -> float:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e9:
            _refuse(name, value, "a number")
        return float(value)

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            _refuse(name, value, f"an integer from {least} to {most}")
        return value

    def truth(self, name: str) -> bool:
        value = self._get(name, False)
        if not isinstance(value, bool):
            _refuse(name, value, "true or false")
        return value

    def text(self, name: str, default: str) -> str:
        value = self._get(name, default)
        if not isinstance(value, str):
            _refuse(name, value, "a string")
        return value


def _stops(value: object) -> list[str]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > _MOST_STOPS
        or not all(isinstance(s, str) and s for s in stops)
    ):
        _refuse("stop", value, f"a string or up to {_MOST_STOPS}, none of them empty")
    return stops


def _messages(given: dict[str, Any], served: Served) -> list[list[int]]:
    if served.tokenizer.template is None:
        raise RequestError("the model has no chat template: use /v1/completions")
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        _refuse("messages", messages, "a list of messages")
    plain = []
    for i, message in enumerate(messages):
        at = f"messages[{i}]"
        if not isinstance(message, dict):
            _refuse(at, message, "an object")
        role = message.get("role")
        if role not in _ROLES:
            _refuse(f"{at}.role", role, f"one of {', '.join(_ROLES)}")
        content = _content(f"{at}.content", message.get("content"))
        plain.append({"role": "system" if role == "developer" else role, "content": content})
    try:
        return [_fitting(served.tokenizer.chat(plain), "messages", served)]
    except ModelError as error:
        raise RequestError(str(error), param="messages") from None


def _content(at: str, content: object) -> str:
    """The text of a message, which may be given in parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        _refuse(at, content, "a string or a list of parts")
    texts = []
    for i, part in enumerate(content):
        if not isinstance(part, dict) or part.get("type") != "text":
            _refuse(f"{at}[{i}]", part, 'a part of type "text": the model reads nothing else')
        if not isinstance(part.get("text"), str):
            _refuse(f"{at}[{i}].text", part.get("text"), "a string")
        texts.append(part["text"])
    return "".join(texts)


def _prompts(given: dict[str, Any], served: Served) -> list[list[int]]:
    value = given.get("prompt")
    if isinstance(value, str) or (isinstance(value, list) and value and _is_token(value[0])):
        value = [value]
    if not isinstance(value, list) or not value:
        _refuse("prompt", value, "a string, a list of strings, of tokens or of lists of tokens")
    if len(value) > served.most:
        raise RequestError(
            f"prompt has {len(value)} texts, expected at most {served.most}", param="prompt"
        )
    return [_fitting(_tokens(one, served), "prompt", served) for one in value]


def _tokens(prompt: object, served: Served) -> list[int]:
    if isinstance(prompt, str):
        try:
            return served.tokenizer.encode(prompt)
        except ModelError as error:
            raise RequestError(str(error), param="prompt") from None
    if not isinstance(prompt, list) or not all(_is_token(token) for token in prompt):
        _refuse("prompt", prompt, "a string or a list of tokens")
    if not all(0 <= token < served.vocabulary for token in prompt):
        raise RequestError(
            f"prompt has a token outside of the {served.vocabulary} of the model", param="prompt"
        )
    return prompt


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _fitting(tokens: list[int], param: str, served: Served) -> list[int]:
    if not tokens:
        raise RequestError(f"{param}: there is no token to begin with", param=param)
    if len(tokens) >= served.limit:
        raise RequestError(
            f"{param}: {len(tokens)} tokens, and the context has room for {served.limit} with the "
            "answer",
            param=param,
            code="context_length_exceeded",
        )
    return tokens


# ---- Answers ----


class Choice:
    """One answer as it is written: its text so far, cut before a stop string.

    Args:
        tokenizer: what makes text of tokens.
        stops: strings that end the answer; they are not given. Of several, the one that is complete
            first ends it.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]):
        self._detokenizer = tokenizer.stream()
        self._stops = stops
        self._held = ""  # may be the beginning of a stop string
        self.tokens = 0
        self.finish: str | None = None

    def add(self, token: int) -> str:
        """The text that a token adds."""
        self.tokens += 1
        return self._give(self._detokenizer.add(token))

    def end(self, finish: str) -> str:
        """The text that is left at the end, for the reason ``finish``."""
        piece = self._give(self._detokenizer.finish())
        if self.finish is None:
            self.finish = finish
            piece += self._held
        return piece

    def _give(self, new: str) -> str:
        text = self._held + new
        ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops
                if stop in text]  # fmt: skip
        if ends:
            self.finish = "stop"
            return text[: min(ends)[1]]
        cut = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[cut:]
        return text[:cut]


def _overlap(text: str, stop: str) -> int:
    """How much of the text's end may be the beginning of a stop string."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


class Form:
    """The objects of which the answer to one request is made.

    Args:
        name: of the model.
        chat: whether messages were asked for, or plain text.
        prompt_tokens: how many tokens all prompts have.
    """

    def __init__(self, name: str, chat: bool, prompt_tokens: int):
        self.chat = chat
        self._prompt_tokens = prompt_tokens
        self._kind = "chat.completion" if chat else "text_completion"
        self._head = {
            "id": ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12),
            "created": int(time.time()),
            "model": name,
        }

    def usage(self, choices: Sequence[Choice]) -> dict[str, int]:
        """How many tokens it took."""
        written = sum(choice.tokens for choice in choices)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self._prompt_tokens + written,
        }

    def whole(self, choices: Sequence[Choice], texts: Sequence[str]) -> dict[str, Any]:
        """The answer at once."""
        entries: list[dict[str, Any]] = []
        for i, (choice, text) in enumerate(zip(choices, texts, strict=True)):
            message = {"role": "assistant", "content": text, "refusal": None}
            said = {"message": message} if self.chat else {"text": text}
            entries.append({"index": i, **said, "finish_reason": choice.finish, "logprobs": None})
        return {
            "object": self._kind,
            **self._head,
            "choices": entries,
            "usage": self.usage(choices),
        }

    def piece(self, index: int, text: str | None, finish: str | None = None) -> dict[str, Any]:
        """A piece of an answer that comes in pieces; without text, its end."""
        said: dict[str, Any] = {"text": text or ""}
        if self.chat:
            said = {"delta": {} if text is None else {"content": text}}
        return self._chunk([{"index": index, **said, "finish_reason": finish, "logprobs": None}])

    def beginning(self, index: int) -> dict[str, Any]:
        """What stands before the pieces of a message."""
        delta = {"role": "assistant", "content": ""}
        return self._chunk(
            [{"index": index, "delta": delta, "finish_reason": None, "logprobs": None}]
        )

    def last(self, choices: Sequence[Choice]) -> dict[str, Any]:
        """The usage, after all pieces."""
        return {**self._chunk([]), "usage": self.usage(choices)}

    def _chunk(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.chat else self._kind
        return {"object": kind, **self._head, "choices": entries}
