"""What a model keeps of the tokens it has seen: the keys and values of each layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cermet.core as mx

STEP = 128  # memory grows by so many tokens at once: a plan serves all lengths between


class Cache:
    """Keys and values (batch, key heads, capacity, head size) of each layer.

    ``lengths`` says how many tokens of each sequence are stored; to forget the last ones make it
    less. What stands in memory beyond a sequence's end is never seen and changes no bit.

    Args:
        layers: how many layers the model has.
        batch: how many sequences.
    """

    def __init__(self, layers: int, batch: int = 1):
        self.layers = layers
        self.lengths = [0] * batch
        self.keys: list[mx.array] = []
        self.values: list[mx.array] = []
        self._start: mx.array | None = None
        self._reserved = 0

    @classmethod
    def at(cls, start: mx.array, keys: list[mx.array], values: list[mx.array]) -> Cache:
        """A cache whose next tokens go to places that are an array (batch,): the graph of what is
        computed with it is the same for all places."""
        cache = cls(len(keys), start.shape[0])
        cache.keys, cache.values, cache._start = list(keys), list(values), start
        return cache

    def join(self, *others: Cache) -> None:
        """Takes over the sequences of other caches and leaves those empty; each has some tokens."""
        caches = (self, *others)
        self._reserved = max(cache.capacity for cache in caches)
        self._rewrite(
            caches, lambda parts: mx.concatenate([_extended(a, self._reserved) for a in parts])
        )
        self.lengths = [n for cache in caches for n in cache.lengths]
        for cache in others:
            cache.lengths, cache.keys, cache.values = [], [], []

    def keep(self, sequences: list[int]) -> None:
        """Forgets all but some of the sequences, and the memory that those do not need."""
        self.lengths = [self.lengths[i] for i in sequences]
        self._reserved = min(self.capacity, _rounded(max(self.lengths) + 1))
        rows = mx.array(sequences)
        self._rewrite((self,), lambda parts: parts[0][:, :, : self._reserved][rows])

    @staticmethod
    def _rewrite(caches: Sequence[Cache], make: Callable[[list[mx.array]], mx.array]) -> None:
        """Puts what ``make`` gives in the place of arrays, of one after the other: never more than
        one of them is in memory twice."""
        for lists in [cache.keys for cache in caches], [cache.values for cache in caches]:
            for i in range(len(lists[0])):
                made = make([arrays[i] for arrays in lists])
                mx.eval(made)
                for arrays in lists:
                    arrays[i] = made

    @property
    def capacity(self) -> int:
        """For how many tokens of a sequence there is memory."""
        return self.keys[0].shape[2] if self.keys else 0

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return sum(a.nbytes for a in (*self.keys, *self.values))

    @property
    def start(self) -> int | mx.array:
        """Where the next tokens go: a number, or an array (batch,) where sequences differ."""
        if self._start is not None:
            return self._start
        first = self.lengths[0]
        return first if self.lengths == [first] * len(self.lengths) else mx.array(self.lengths)

    def reserve(self, length: int) -> None:
        """Makes sure that there is memory for ``length`` tokens of each sequence."""
        self._reserved = max(self._reserved, _rounded(length))
        if self.keys and self._reserved > self.capacity:
            for arrays in (self.keys, self.values):
                for i, a in enumerate(arrays):
                    arrays[i] = _extended(a, self._reserved)

    def update(self, layer: int, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Stores keys and values (batch, key heads, length, head size) of a layer at ``start``.

        Returns:
            Those of all tokens up to these; where ``start`` is an array, all of the memory.
        """
        length, start = keys.shape[2], self.start
        if isinstance(start, int):
            stop = start + length
            if layer == len(self.keys):  # the first tokens
                self.reserve(length)
                self.keys.append(_extended(keys, self._reserved))
                self.values.append(_extended(values, self._reserved))
                return keys, values
            if stop > self.capacity:
                self.reserve(stop)
            k, v = self.keys[layer], self.values[layer]
            k[:, :, start:stop] = keys
            v[:, :, start:stop] = values
            return k[:, :, :stop], v[:, :, :stop]
        k, v = self.keys[layer], self.values[layer]
        sequence = mx.arange(keys.shape[0])[:, None]
        place = start[:, None] + mx.arange(length)
        k[sequence, :, place] = keys.swapaxes(1, 2)
        v[sequence, :, place] = values.swapaxes(1, 2)
        return k, v

    def mask(self, length: int, window: int | None) -> str | mx.array:
        """What ``length`` tokens from ``start`` on see of the keys: each itself and those before,
        at most ``window`` in all."""
        start = self.start
        if isinstance(start, int):
            stop = start + length
            if window is None or stop <= window:
                return "causal"
            distance = mx.arange(start, stop)[:, None] - mx.arange(stop)
        else:
            places = start[:, None] + mx.arange(length)
            distance = (places[:, :, None] - mx.arange(self.capacity))[:, None]
        seen = distance >= 0
        return seen if window is None else seen & (distance < window)

    def advance(self, length: int) -> None:
        """Counts tokens that all layers have stored."""
        self.lengths = [n + length for n in self.lengths]


def _rounded(length: int) -> int:
    return -(-length // STEP) * STEP


def _extended(a: mx.array, capacity: int) -> mx.array:
    return mx.pad(a, [(0, 0), (0, 0), (0, capacity - a.shape[2]), (0, 0)])
