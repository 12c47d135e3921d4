"""Speculation: several tokens are proposed cheaply, and the model confirms them in one step.

What is confirmed are the tokens that the model would have chosen one by one, bit for bit: a step
gives a token the same logits alone and among others (docs/invariance.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import cermet.core as mx
from cermet.llm.errors import ModelError
from cermet.llm.run import Runner


class Proposer(Protocol):
    """What proposes tokens."""

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """Up to ``count`` tokens that may follow the text so far, whose beginning stays the same
        from call to call."""


class PromptLookup:
    """Proposes what followed when the last tokens occurred before (Saxena 2023).

    Args:
        longest, shortest: how many last tokens are looked for, the longest first.
    """

    def __init__(self, longest: int = 3, shortest: int = 2):
        self.sizes = range(longest, shortest - 1, -1)
        self._followed: dict[tuple[int, ...], int] = {}  # where the tokens after these begin
        self._done = 0

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """The tokens after the last place where the text went on the same way."""
        for end in range(self._done, len(tokens)):
            for size in self.sizes:
                if size <= end:
                    self._followed[tuple(tokens[end - size : end])] = end
        self._done = len(tokens)
        for size in self.sizes:
            begin = self._followed.get(tuple(tokens[-size:]))
            if begin is not None:
                return list(tokens[begin : begin + count])
        return []


class Draft:
    """Proposes what a smaller model with the same tokens would write (Leviathan et al. 2023).

    Args:
        runner: what runs the small model.
    """

    def __init__(self, runner: Runner):
        self.runner = runner
        self._cache = runner.cache()
        self._tokens: list[int] = []  # those that the cache has

    def propose(self, tokens: Sequence[int], count: int) -> list[int]:
        """The small model's likeliest tokens, one after the other."""
        same = common(self._tokens, tokens[:-1])
        self._cache.lengths[0] = same
        self._tokens = list(tokens)
        new = list(tokens[same:])
        if same and len(new) <= count + 1:  # one shape for all: a compiled step is made for each
            padded = mx.array([new + [0] * (count + 1 - len(new))])
            logits = self.runner.step(padded, self._cache)[:, len(new) - 1]
            self._cache.lengths[0] = len(tokens)
        else:
            logits = self.runner.prompt(new, self._cache)
        out: list[int] = []
        for _ in range(count):
            if out:
                logits = self.runner.step(mx.array([out[-1:]]), self._cache)[:, -1]
                self._tokens.append(out[-1])
            out.append(cast(int, mx.argmax(logits).item()))
        return out


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts begin with together."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


def check_vocabulary(proposer: Proposer, runner: Runner) -> None:
    """Raises a ModelError where a small model has other tokens than the large one."""
    if isinstance(proposer, Draft):
        small, large = (r.model.config.vocab_size for r in (proposer.runner, runner))
        if small != large:
            raise ModelError(
                f"the draft model has {small} tokens, expected the {large} of the model"
            )
