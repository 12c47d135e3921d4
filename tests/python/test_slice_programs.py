"""Random programs of slices, updates, pads, concatenations and rolls against NumPy, bit by bit:
what is stored where, what is taken over and what is computed again must not be seen."""

import random

import numpy as np
import pytest
from conftest import SIMULATED

import cermet.core as mx

SEEDS = 12 if SIMULATED else 400
SMALL, LARGE = (1, 2, 3, 4, 6), (513, 514, 517)  # the latter are rewritten before they are planned


class Program:
    """A pool of pairs of an array and what NumPy says of it; each step adds one or replaces one."""

    def __init__(self, seed, values=0):
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng((seed, values))
        large = seed % 8 == 0 and not SIMULATED
        extents = LARGE if large else SMALL
        axes = 2 if large else self.random.choice((1, 2, 2, 3))
        self.shape = tuple(self.random.choice(extents) for _ in range(axes))
        self.pool = [self.leaf(self.shape) for _ in range(3)]
        self.held = []

    def leaf(self, shape):
        a = self.numpy.integers(-8, 9, shape).astype(np.float32)
        return mx.array(a), a

    def pick(self):
        return self.random.choice(self.pool)

    def like(self, shape):
        """A pair of exactly this shape."""
        fitting = [pair for pair in self.pool if pair[1].shape == shape]
        if fitting and self.random.random() < 0.8:
            return self.random.choice(fitting)
        return self.leaf(shape)

    def index(self, shape):
        """A slice for each axis, most of them of unit steps and not empty."""
        out = []
        for n in shape:
            kind = self.random.random()
            if kind < 0.35 or n == 0:
                out.append(slice(None))
            elif kind < 0.75:
                i, j = sorted(self.random.randint(0, n) for _ in range(2))
                out.append(slice(i, j if j > i or kind < 0.45 else i + 1))
            elif kind < 0.85:
                out.append(slice(self.random.randrange(n), None, self.random.choice((2, 3))))
            elif kind < 0.95:
                out.append(slice(None, None, self.random.choice((-1, -2))))
            else:
                out.append(slice(-1, 0, -1))
        return tuple(out)

    def sliced(self):
        x, a = self.pick()
        at = self.index(a.shape)
        return x[at], a[at]

    def value(self, shape):
        """Something that can be set to a slice of this shape, preferably a slice, too."""
        for _ in range(4):
            x, a = self.sliced() if self.random.random() < 0.6 else self.pick()
            if a.shape == shape:
                return self.unary((x, a))
        if self.random.random() < 0.3:
            return self.leaf(shape[1:])
        return self.unary(self.like(shape))

    def unary(self, pair):
        x, a = pair
        kind = self.random.randrange(5)
        if kind == 0:
            return -x, -a
        if kind == 1:
            return mx.abs(x) + 1, np.abs(a) + np.float32(1)
        if kind == 2:
            return mx.minimum(x * 0.5, 3), np.minimum(a * np.float32(0.5), np.float32(3))
        return x, a

    def binary(self):
        x, a = self.sliced() if self.random.random() < 0.5 else self.pick()
        y, b = self.like(a.shape)
        kind = self.random.randrange(4)
        if kind == 0:
            return x + y, a + b
        if kind == 1:
            return mx.maximum(x, y), np.maximum(a, b)
        if kind == 2:
            return mx.where(x > y, x - y, y), np.where(a > b, a - b, b)
        if a.shape[0] > 1:  # neighbours
            return x[1:] - x[:-1] + y[:1], a[1:] - a[:-1] + b[:1]
        return x - y, a - b

    def update(self, at_method):
        i = self.random.randrange(len(self.pool))
        x, a = self.pool[i]
        at = self.index(a.shape)
        y, b = self.value(a[at].shape)
        expected = a.copy()
        if not at_method:
            expected[at] = b
            # Into this very array, or into one more handle on the same elements.
            elsewhere = [*self.pool[:i], *self.pool[i + 1 :], *self.held]
            again = self.random.random() < 0.3 or any(x is other for other, _ in elsewhere)
            z = x[...] if again else x
            z[at] = y
            self.pool[i] = (z, expected)
        elif self.random.random() < 0.5:
            expected[at] += b
            self.pool[i] = (x.at[at].add(y), expected)
        else:
            expected[at] = np.maximum(expected[at], b)
            self.pool[i] = (x.at[at].maximum(y), expected)

    def moved(self):
        x, a = self.unary(self.pick())
        axis = self.random.randrange(a.ndim)
        kind = self.random.randrange(7)
        if kind == 0:
            widths = [(self.random.randrange(3), self.random.randrange(3)) for _ in a.shape]
            return mx.pad(x, widths, constant_values=2.0), np.pad(a, widths, constant_values=2.0)
        if kind == 1:
            y, b = self.like(a.shape)
            return mx.concatenate([x, y], axis), np.concatenate([a, b], axis)
        if kind == 2:
            shift = self.random.randint(-4, 4)
            return mx.roll(x, shift, axis), np.roll(a, shift, axis)
        if kind == 3:
            at = [slice(None)] * a.ndim
            at[axis] = slice(None, None, -1)
            return x[tuple(at)], a[tuple(at)]
        if kind == 4:
            y, b = self.unary(self.like(a.shape))
            where = self.random.randint(0, a.ndim)
            s, c = mx.stack([x, y], where), np.stack([a, b], where)
            return s, c
        if kind == 5:
            return mx.swapaxes(x, 0, -1), np.swapaxes(a, 0, -1)
        return mx.cumsum(x, axis), np.cumsum(a, axis)

    def reduced(self):
        x, a = self.pick()
        axis = self.random.randrange(a.ndim)
        if a.shape[axis] == 0:
            return x, a
        return x - mx.max(x, axis=axis, keepdims=True), a - a.max(axis, keepdims=True)

    def add(self, pair):
        x, a = pair
        if a.ndim > 4 or a.size > 700_000 or np.abs(a).max(initial=0) > 1e5:
            return
        if len(self.pool) < 6:
            self.pool.append((x, a))
        else:
            self.pool[self.random.randrange(6)] = (x, a)

    def step(self):
        kind = self.random.random()
        if kind < 0.3:
            self.update(at_method=False)
        elif kind < 0.4:
            self.update(at_method=True)
        elif kind < 0.65:
            self.add(self.binary())
        elif kind < 0.75:
            self.add(self.sliced())
        elif kind < 0.9:
            self.add(self.moved())
        elif kind < 0.93:
            self.add(self.reduced())
        elif kind < 0.97:
            self.held.append(self.pick())
        else:
            mx.eval(self.pick()[0])

    def check(self):
        mx.eval(*(x for x, _ in (self.pool if self.random.random() < 0.5 else self.pool[:2])))
        for x, a in (*self.pool, *self.held):
            np.testing.assert_array_equal(np.array(x), a)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_programs_of_slices(seed):
    for values in range(2):  # the second time there are plans
        program = Program(seed, values)
        for _ in range(3):
            for _ in range(program.random.randint(4, 25)):
                program.step()
            program.check()
