"""Text from a model: token by token, as it comes."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.model import Model
from cermet.llm.propose import Proposer, check_vocabulary, common
from cermet.llm.run import Runner
from cermet.llm.sample import Sampler, Sampling
from cermet.llm.tokenizer import Tokenizer

GREEDY = Sampling()


@dataclass
class Statistics:
    """What a generation took. Times are in seconds."""

    prompt_tokens: int = 0  # that were computed
    kept_tokens: int = 0  # that the cache had
    answer_tokens: int = 0
    prompt_time: float = 0.0  # up to the first token of the answer
    answer_time: float = 0.0  # of the others
    steps: int = 0  # that the model made for the answer; proposals make them fewer
    finish: str = "length"  # "stop" where the model ended the answer

    @property
    def prompt_rate(self) -> float:
        """Tokens of the prompt a second."""
        return self.prompt_tokens / self.prompt_time if self.prompt_time else 0.0

    @property
    def answer_rate(self) -> float:
        """Tokens of the answer a second, but for the first."""
        return (self.answer_tokens - 1) / self.answer_time if self.answer_time else 0.0


class Session:
    """A text that goes on: its tokens, and what the model keeps of them.

    What the next prompt has in common with the text so far is not computed again.

    Args:
        runner: what runs the model.
        limit: for how many tokens there may be room; None: as many as the model was trained for.
    """

    def __init__(self, runner: Runner, limit: int | None = None):
        self.runner = runner
        self.limit = limit or runner.model.config.max_position_embeddings
        self.cache = runner.cache()
        self.tokens: list[int] = []  # those that the cache has

    def keep(self, length: int) -> None:
        """Forgets all tokens but the first ``length``."""
        del self.tokens[length:]
        self.cache.lengths[0] = len(self.tokens)

    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling = GREEDY,
        *,
        max_tokens: int | None = None,
        ends: Collection[int] = (),
        proposer: Proposer | None = None,
        proposals: int = 7,
        statistics: Statistics | None = None,
    ) -> Iterator[int]:
        """Continues a text token by token.

        Args:
            prompt: the tokens of the whole text so far.
            sampling: how tokens are chosen.
            max_tokens: how many there are at most; None: as many as there is room for.
            ends: tokens that end the text; they are not given.
            proposer: what proposes tokens, which changes none of them.
            proposals: how many it proposes at once at most.
            statistics: where to note what it took.

        Raises:
            ModelError: the prompt is empty, has an unknown token, or leaves no room.
        """
        note = statistics or Statistics()
        count = check_prompt(self.runner, prompt, self.limit, max_tokens)
        if proposer is not None:
            check_vocabulary(proposer, self.runner)
        begin = time.perf_counter()
        same = common(self.tokens, prompt[:-1])
        self.keep(same)
        note.kept_tokens, note.prompt_tokens = same, len(prompt) - same
        if count < 1:
            return
        sampler = Sampler(sampling, self.runner.model.config.vocab_size, prompt)
        logits = self.runner.prompt(prompt[same:], self.cache)
        self.tokens.extend(prompt[same:])
        token = sampler(logits[0])
        mx.eval(token)
        first = time.perf_counter()
        note.prompt_time = first - begin
        values = (
            self._one_by_one(token, sampler, count, note)
            if proposer is None
            else self._proposed(token, sampler, count, proposer, proposals, note)
        )
        try:
            for value in values:
                note.answer_time = time.perf_counter() - first
                if value in ends:
                    note.finish = "stop"
                    return
                note.answer_tokens += 1
                yield value
        finally:
            values.close()
            self.keep(len(self.tokens))

    def _one_by_one(
        self, token: mx.array, sampler: Sampler, count: int, note: Statistics
    ) -> Generator[int]:
        """The tokens from the first on; the next one is on its way while one is used."""
        for i in range(count):
            following = None
            if i + 1 < count:
                logits = self.runner.step(token.reshape(1, 1), self.cache)
                following = sampler(logits[0, 0])
                # With the cache: what is left lazy holds the memory that it could be written to.
                mx.async_eval(following, self.cache.keys, self.cache.values)
            value = cast(int, token.item())
            if following is not None:
                note.steps += 1
                self.tokens.append(value)
            yield value
            if following is None:
                return
            token = following

    def _proposed(
        self,
        token: mx.array,
        sampler: Sampler,
        count: int,
        proposer: Proposer,
        most: int,
        note: Statistics,
    ) -> Generator[int]:
        """The same tokens, several from a step where proposals turn out right."""
        value = cast(int, token.item())
        yield value
        done = 1
        while done < count:
            guess = proposer.propose([*self.tokens, value], most)
            # One shape for all: a compiled step is made for each.
            given = [value, *guess, *[0] * (most - len(guess))] if guess else [value]
            logits = self.runner.step(mx.array([given]), self.cache)
            mx.eval(logits, self.cache.keys, self.cache.values)
            note.steps += 1
            for i in range(len(guess) + 1):
                self.tokens.append(value)
                value = cast(int, sampler(logits[0, i]).item())
                self.cache.lengths[0] = len(self.tokens)
                done += 1
                yield value
                if done == count or i == len(guess) or value != guess[i]:
                    break


def check_prompt(runner: Runner, prompt: Sequence[int], limit: int, max_tokens: int | None) -> int:
    """How many tokens may follow a prompt, where there is room for ``limit`` in all.

    Raises:
        ModelError: the prompt is empty, has an unknown token, or leaves no room.
    """
    vocabulary = runner.model.config.vocab_size
    if not prompt:
        raise ModelError("the prompt is empty")
    if not all(0 <= t < vocabulary for t in prompt):
        raise ModelError(f"the prompt has a token outside of the {vocabulary} of the model")
    room = limit - len(prompt)
    if room < 1:
        raise ModelError(
            f"the prompt has {len(prompt)} tokens, and there is room for {limit} with the answer"
        )
    return room if max_tokens is None else min(room, max_tokens)


def stream(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    sampling: Sampling = GREEDY,
    *,
    max_tokens: int | None = None,
    session: Session | None = None,
    proposer: Proposer | None = None,
    proposals: int = 7,
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
        proposer: what proposes tokens, which changes none of them.
        proposals: how many it proposes at once at most.
        statistics: where to note what it took.

    Raises:
        ModelError: the prompt is empty or leaves no room.
    """
    tokens = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    session = session or Session(Runner(model))
    text = tokenizer.stream()
    for token in session.generate(
        tokens,
        sampling,
        max_tokens=max_tokens,
        ends=tokenizer.ends,
        proposer=proposer,
        proposals=proposals,
        statistics=statistics,
    ):
        if piece := text.add(token):
            yield piece
    if piece := text.finish():
        yield piece


def generate(
    model: Model,
    tokenizer: Tokenizer,
    prompt: str | Sequence[int],
    sampling: Sampling = GREEDY,
    *,
    max_tokens: int | None = None,
) -> str:
    """The continuation of a text; see :func:`stream`."""
    return "".join(stream(model, tokenizer, prompt, sampling, max_tokens=max_tokens))
