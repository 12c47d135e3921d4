"""How the next token is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cermet.core as mx

LEAST = 1e-6  # quotients by smaller temperatures may overflow


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest one, or by chance.

    Args:
        temperature: what logits are divided by; 0, or less than a millionth: always the likeliest
            token.
        top_k: only among so many of the likeliest; 0: all.
        top_p: only among the likeliest that together have this probability (Holtzman et al. 2020).
        min_p: only among those of at least this part of the likeliest's probability (Nguyen et al.
            2024).
        repetition_penalty: what positive logits of tokens that occurred are divided by, and
            negative ones multiplied with (Keskar et al. 2019).
        seed: of the random numbers: the same seed gives the same tokens.

    Restrictions follow each other in this order, and hold for the probabilities at the temperature.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "more than 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", self.repetition_penalty > 0, "more than 0"),
            ("seed", 0 <= self.seed < 2**64, "0 to 2**64 - 1"),
        ):
            if not fits:
                raise ValueError(f"Sampling: {name} is {getattr(self, name)}, expected {expected}")


class Sampler:
    """Chooses the tokens of one sequence, one after the other.

    The random numbers of a place follow from the seed and the place alone: whether tokens were
    computed one by one, several at once or beside other sequences makes no difference.

    Args:
        sampling: how.
        vocabulary: how many tokens there are.
        tokens: what the sequence began with, for the repetition penalty.
    """

    def __init__(self, sampling: Sampling, vocabulary: int, tokens: Sequence[int] = ()):
        self.sampling = sampling
        self.place = 0
        self._key = mx.random.split(mx.random.key(sampling.seed), 1)[0]
        self._seen: mx.array | None = None
        if sampling.repetition_penalty != 1:
            self._seen = mx.zeros((vocabulary,), mx.bool_)
            if tokens:
                self._seen[mx.array(list(tokens))] = True
        self._choose = mx.compile(self._chosen)

    def __call__(self, logits: mx.array) -> mx.array:
        """The next token, an integer without axes, by the logits (vocabulary,); it is not
        evaluated."""
        if self.sampling.temperature < LEAST and self._seen is None:
            return mx.argmax(logits)
        place = mx.array(self.place)
        self.place += 1
        seen, self._seen = self._seen, None  # so that it can be changed in place
        if seen is None:
            (token,) = self._choose(logits, place)
        else:
            token, self._seen = self._choose(logits, place, seen)
        return token

    def _chosen(
        self, logits: mx.array, place: mx.array, seen: mx.array | None = None
    ) -> tuple[mx.array, ...]:
        s = self.sampling
        logits = logits.astype(mx.float32)
        if seen is not None:
            penalty = s.repetition_penalty
            less = mx.where(logits > 0, logits / penalty, logits * penalty)
            logits = mx.where(seen, less, logits)
        if s.temperature < LEAST:
            token = mx.argmax(logits)
        else:
            key = self._key + place.astype(mx.uint32)
            token = mx.random.categorical(restricted(logits / s.temperature, s), key=key)
        if seen is None:
            return (token,)
        seen[token] = True
        return token, seen


def restricted(logits: mx.array, sampling: Sampling) -> mx.array:
    """Logits (vocabulary,) with minus infinity where a token may not be chosen."""
    nothing = mx.array(-mx.inf)
    if 0 < sampling.top_k < logits.size:
        least = mx.min(mx.topk(logits, sampling.top_k))
        logits = mx.where(logits < least, nothing, logits)
    if sampling.top_p < 1:
        ordered = mx.sort(-logits)
        p = mx.softmax(-ordered)
        before = mx.cumsum(p) - p  # the first is always kept
        least = mx.min(mx.where(before < sampling.top_p, -ordered, mx.inf))
        logits = mx.where(logits < least, nothing, logits)
    if sampling.min_p > 0:
        p = mx.softmax(logits)
        logits = mx.where(p < sampling.min_p * mx.max(p), nothing, logits)
    return logits
