"""Text from a model: token by token, as it comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import cermet.core as mx
from cermet.llm.cache import Cache
from cermet.llm.errors import ModelError
from cermet.llm.model import Model
from cermet.llm.run import Runner
from cermet.llm.sample import Sampler, Sampling
from cermet.llm.tokenizer import Tokenizer


@dataclass
class Statistics:
    """What a generation took. Times are in seconds."""

    prompt_tokens: int = 0  # that were computed
    kept_tokens: int = 0  # that the cache had
    answer_tokens: int = 0
    prompt_time: float = 0.0  # up to the first token of the answer
    answer_time: float = 0.0  # of the others
    finish: str = "length"  # "stop" where the model ended the answer

    @property
    def prompt_rate(self) -> float:
        """Tokens of the prompt a second."""
        return self.prompt_tokens / self.prompt_time if self.prompt_time else 0.0

    @property
    def answer_rate(self) -> float:
        """Tokens of the answer a second, but for the first."""
        return (self.answer_tokens - 1) / self.answer_time if self.answer_time else 0.0


@dataclass
class Session:
    """A text that goes on: its tokens, and what the model keeps of them.

    What the next prompt has in common with the text so far is not computed again.

    Args:
        runner: what runs the model.
        limit: for how many tokens there may be room; None: as many as the model was trained for.
    """

    runner: Runner
    limit: int | None = None
    cache: Cache = field(init=False)
    tokens: list[int] = field(init=False, default_factory=list)  # those that the cache has

    def __post_init__(self) -> None:
        if self.limit is None:
            self.limit = self.runner.model.config.max_position_embeddings
        self.cache = self.runner.cache()

    def keep(self, length: int) -> None:
        """Forgets all tokens but the first ``length``."""
        del self.tokens[length:]
        self.cache.lengths[0] = len(self.tokens)

    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling = Sampling(),  # noqa: B008  (immutable)
        *,
        max_tokens: int | None = None,
        ends: frozenset[int] | set[int] = frozenset(),
        statistics: Statistics | None = None,
    ) -> Iterator[int]:
        """Continues a text token by token.

        Args:
            prompt: the tokens of the whole text so far.
            sampling: how tokens are chosen.
            max_tokens: how many there are at most; None: as many as there is room for.
            ends: tokens that end the text; they are not given.
            statistics: where to note what it took.

        Raises:
            ModelError: the prompt is empty, has an unknown token, or leaves no room.
        """
        note = statistics or Statistics()
        assert self.limit is not None
        vocabulary = self.runner.model.config.vocab_size
        if not prompt:
            raise ModelError("the prompt is empty")
        if not all(0 <= t < vocabulary for t in prompt):
            raise ModelError(f"the prompt has a token outside of the {vocabulary} of the model")
        room = self.limit - len(prompt)
        if room < 1:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens, and there is room for {self.limit} with "
                "the answer"
            )
        count = room if max_tokens is None else min(room, max_tokens)
        begin = time.perf_counter()
        common = 0
        for a, b in zip(self.tokens, prompt[:-1], strict=False):
            if a != b:
                break
            common += 1
        self.keep(common)
        note.kept_tokens, note.prompt_tokens = common, len(prompt) - common
        if count < 1:
            return
        sampler = Sampler(sampling, vocabulary, prompt)
        logits = self.runner.prompt(prompt[common:], self.cache)
        self.tokens.extend(prompt[common:])
        token = sampler(logits[0])
        mx.eval(token)
        first = time.perf_counter()
        note.prompt_time = first - begin
        try:
            for i in range(count):
                following = None
                if i + 1 < count:  # the next one is on its way while this one is used
                    logits = self.runner.step(token.reshape(1, 1), self.cache)
                    following = sampler(logits[0, 0])
                    mx.async_eval(following)
                value = cast(int, token.item())
                note.answer_time = time.perf_counter() - first
                if value in ends:
                    note.finish = "stop"
                    return
                note.answer_tokens += 1
                if following is not None:
                    self.tokens.append(value)
                yield value
                if following is None:
                    return
                token = following
        finally:
            self.keep(len(self.tokens))


def stream(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    sampling: Sampling = Sampling(),  # noqa: B008  (immutable)
    *,
    max_tokens: int | None = None,
    session: Session | None = None,
    statistics: Statistics | None = None,
) -> Iterator[str]:
    """Continues a text, piece by piece.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        prompt: a text or its tokens.
        sampling: how tokens are chosen.
        max_tokens: how many tokens there are at most; None: as many as there is room for.
        session: what computed earlier parts of the text, if anything did.
        statistics: where to note what it took.

    Raises:
        ModelError: the prompt is empty or leaves no room.
    """
    tokens = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    session = session or Session(Runner(model))
    text = tokenizer.stream()
    for token in session.generate(
        tokens, sampling, max_tokens=max_tokens, ends=tokenizer.ends, statistics=statistics
    ):
        if piece := text.add(token):
            yield piece
    if piece := text.finish():
        yield piece


def generate(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    sampling: Sampling = Sampling(),  # noqa: B008  (immutable)
    *,
    max_tokens: int | None = None,
) -> str:
    """The continuation of a text; see :func:`stream`."""
    return "".join(stream(model, tokenizer, prompt, sampling, max_tokens=max_tokens))
