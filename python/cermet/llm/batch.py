"""Several sequences at once: each step of the model serves them all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

import cermet.core as mx
from cermet.llm.cache import Cache
from cermet.llm.generate import GREEDY, check_prompt
from cermet.llm.model import Model
from cermet.llm.run import Runner
from cermet.llm.sample import Sampler, Sampling


@dataclass(eq=False)
class Member:
    """A sequence of a batch: what has been written so far, and what is next."""

    sampler: Sampler
    left: int  # how many tokens may still follow
    answer: list[int] = field(default_factory=list)
    rest: Sequence[int] = ()  # of its prompt: what is not computed yet
    cache: Cache | None = None  # its own, until its prompt is computed


class Batch:
    """Sequences that are continued together. They come and go at any time, and each has the tokens
    that it would have alone, bit for bit: a row of a product does not depend on the others.

    Args:
        runner: what runs the model.
        limit: for how many tokens of a sequence there may be room; None: as many as the model was
            trained for.
    """

    def __init__(self, runner: Runner, limit: int | None = None):
        self.runner = runner
        self.limit = limit or runner.model.config.max_position_embeddings
        self.members: list[Member] = []  # those whose prompts are computed
        self._cache: Cache | None = None

    def add(
        self, prompt: Sequence[int], sampling: Sampling = GREEDY, *, max_tokens: int | None = None
    ) -> Member:
        """Takes up a sequence: computes its prompt, and its first token.

        Raises:
            ModelError: the prompt is empty, has an unknown token, or leaves no room.
        """
        member = self.begin(prompt, sampling, max_tokens=max_tokens)
        while member.rest:
            self.take_up(member, len(prompt))
        return member

    def begin(
        self, prompt: Sequence[int], sampling: Sampling = GREEDY, *, max_tokens: int | None = None
    ) -> Member:
        """A sequence of which nothing is computed yet; :meth:`take_up` does that. In between, the
        others can be continued.

        Raises:
            ModelError: the prompt is empty, has an unknown token, or leaves no room.
        """
        count = check_prompt(self.runner, prompt, self.limit, max_tokens)
        sampler = Sampler(sampling, self.runner.model.config.vocab_size, prompt)
        cache = self.runner.cache()
        cache.reserve(len(prompt) + 1)
        return Member(sampler, count, rest=prompt, cache=cache)

    def take_up(self, member: Member, count: int) -> None:
        """Computes up to ``count`` more tokens of the prompt of a sequence that has begun. With the
        last ones comes its first token, and it is among those that :meth:`step` continues."""
        cache = member.cache
        if cache is None:
            raise ValueError("Batch.take_up: the prompt of this sequence is computed already")
        logits = self.runner.prompt(member.rest[:count], cache)
        member.rest = member.rest[count:]
        if member.rest:
            return
        self._choose([member], logits, cache)
        if self._cache is None:
            self._cache = cache
        else:
            self._cache.join(cache)
        self.members.append(member)
        member.cache = None

    def remove(self, members: Collection[Member]) -> None:
        """Lets sequences go."""
        stay = [i for i, member in enumerate(self.members) if member not in members]
        if len(stay) == len(self.members):
            return
        self.members = [self.members[i] for i in stay]
        if self._cache is not None and stay:
            self._cache.keep(stay)
        else:
            self._cache = None

    def step(self) -> None:
        """Adds a token to the answer of each member."""
        if self._cache is None:
            return
        tokens = mx.array([[member.answer[-1]] for member in self.members])
        logits = self.runner.step(tokens, self._cache)
        self._choose(self.members, logits[:, -1], self._cache)

    @staticmethod
    def _choose(members: list[Member], logits: mx.array, cache: Cache) -> None:
        tokens = [member.sampler(logits[i]) for i, member in enumerate(members)]
        # With the cache: what is left lazy holds the memory that it could be written to.
        mx.eval(tokens, cache.keys, cache.values)
        for member, token in zip(members, tokens, strict=True):
            member.answer.append(cast(int, token.item()))
            member.left -= 1


def generate_batch(
    model: Model,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling = GREEDY,
    *,
    max_tokens: int | None = None,
    ends: Collection[int] = (),
    limit: int | None = None,
) -> list[list[int]]:
    """Continues several texts together.

    Args:
        model: the model.
        prompts: the tokens of each text, of any lengths.
        sampling: how tokens are chosen.
        max_tokens: how many follow each at most; None: as many as there is room for.
        ends: tokens that end a text; they are not given.
        limit: for how many tokens of a text there is room; None: as many as the model was trained
            for.

    Returns:
        The tokens that follow each text: those that would follow it alone.

    Raises:
        ModelError: a prompt is empty, has an unknown token, or leaves no room.
    """
    batch = Batch(Runner(model), limit)
    for prompt in prompts:
        check_prompt(batch.runner, prompt, batch.limit, max_tokens)
    if max_tokens == 0:
        return [[] for _ in prompts]
    all_ = [batch.add(prompt, sampling, max_tokens=max_tokens) for prompt in prompts]
    while batch.members:
        done = {m for m in batch.members if m.left <= 0 or m.answer[-1] in ends}
        batch.remove(done)
        batch.step()
    return [m.answer[:-1] if m.answer[-1] in ends else m.answer for m in all_]
