"""A model on tokens, through a cache: prompts in pieces, then a few tokens at a time."""

from __future__ import annotations

from collections.abc import Sequence

import cermet.core as mx
from cermet.llm.cache import Cache
from cermet.llm.model import Model

PIECE = 512  # tokens of a prompt that are computed at once


class Runner:
    """Runs a model. Every way gives the same bits (docs/invariance.md): a prompt at once or in
    pieces, tokens one by one or several together, a sequence alone or beside others.

    Args:
        model: the model. Its weights must not change while the runner is in use: they are
            constants of the compiled step.
        piece: how many tokens of a prompt are computed at once.
    """

    def __init__(self, model: Model, piece: int = PIECE):
        if piece < 1:
            raise ValueError(f"Runner: pieces of {piece} tokens, expected at least 1")
        self.model = model
        self.piece = piece
        self._compiled = mx.compile(self._step)

    def cache(self, batch: int = 1) -> Cache:
        """An empty cache for the model."""
        return Cache(self.model.config.num_hidden_layers, batch)

    def prompt(self, tokens: Sequence[int], cache: Cache) -> mx.array:
        """Takes up tokens of one sequence, and gives the logits (1, vocabulary) after the last."""
        if not tokens:
            raise ValueError("Runner.prompt: no tokens")
        cache.reserve(cache.lengths[0] + len(tokens) + 1)
        for begin in range(0, len(tokens), self.piece):
            piece = mx.array([tokens[begin : begin + self.piece]])
            vectors = self.model.model(piece, cache)
            mx.eval(vectors, cache.keys, cache.values)
        return self.model.logits(vectors[:, -1])

    def step(self, tokens: mx.array, cache: Cache) -> mx.array:
        """Takes up a few tokens (batch, n) of each sequence, and gives the logits (batch, n,
        vocabulary) after each. Nothing is computed before they are asked for."""
        count = tokens.shape[1]
        cache.reserve(max(cache.lengths) + count)
        start = mx.array(cache.lengths)
        keys, values = cache.keys, cache.values
        cache.keys, cache.values = [], []  # so that nothing but the graph holds them: no copy
        try:
            logits, cache.keys, cache.values = self._compiled(tokens, start, keys, values)
        except BaseException:  # Ctrl-C while it is traced, say
            cache.keys, cache.values = keys, values
            raise
        cache.advance(count)
        return logits

    def _step(
        self, tokens: mx.array, start: mx.array, keys: list[mx.array], values: list[mx.array]
    ) -> tuple[mx.array, list[mx.array], list[mx.array]]:
        cache = Cache.at(start, keys, values)
        logits = self.model(tokens, cache)
        return logits, cache.keys, cache.values
