"""The peer `cpp`: Cermet's own row program printed as C++ and compiled (see `printed`)."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from .. import printed
from .base import Unsupported
from .cermet import Cermet

Typed = tuple[str, np.ndarray]  # an array's type, and its memory
TRIED = 4096  # elements that tell which argument is which input


class Cpp(Cermet):
    """Runs a case's row program as a compiler makes it, with the bits of Cermet."""

    name = "cpp"
    package = "cermet"
    lazy = False
    compiled = True

    def __init__(self, device: str, threads: int) -> None:
        if device != "cpu":
            raise Unsupported(f"cpp has no {device}")
        super().__init__(device, threads)
        self._threads = threads

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        made: list[Printed] = []

        def run(*arrays: Any) -> None:
            if not made:
                made.append(Printed(self.xp, function, arrays, self._threads))
            made[0].run()

        return run

    def adamw(self, parameters: Any, gradient: Any) -> Callable[[], Any]:
        raise Unsupported("cpp prints functions of arrays")

    def wait(self, result: Any) -> None:
        if result is not None:
            super().wait(result)


class Kernel:
    """A compiled text over given memory, in the faster of two widths of vectors.

    Args:
        text: C++ with the function `run` (see `printed`).
        threads: that it may use.
    """

    def __init__(self, text: str, threads: int) -> None:
        self._runs = [printed.build(text, f"-mprefer-vector-width={w}") for w in printed.WIDTHS]
        self._run, self._threads = self._runs[0], threads

    def bind(self, inputs: list[np.ndarray], outputs: list[np.ndarray], size: int) -> None:
        """Sets the memory, and how many elements there are."""
        self._arrays, self._size = inputs + outputs, size
        self._in, self._out = _pointers(inputs), _pointers(outputs)

    def run(self, size: int | None = None) -> None:
        """Computes all elements, or the first ones."""
        self._run(self._in, self._out, size or self._size, self._threads)

    def choose(self) -> None:
        """Keeps the faster width."""
        self._run = min(self._runs, key=self._seconds)

    def _seconds(self, run: Any) -> float:
        self._run = run
        times = []
        for _ in range(5):
            start = time.perf_counter()
            self.run()
            times.append(time.perf_counter() - start)
        return min(times)


class Printed(Kernel):
    """A function's row program over given arrays.

    Args:
        xp: Cermet's operations.
        function: its results are one row program of the arrays.
        arrays: what it computes from.
        threads: that it may use.

    Raises:
        printed.Unprintable: the results are no such program, or the bits are not Cermet's.
    """

    def __init__(
        self, xp: Any, function: Callable[..., Any], arrays: Sequence[Any], threads: int
    ) -> None:
        results = list(flat(function(*arrays)))
        program = printed.parse(xp.explain(*results))
        super().__init__(printed.cpp(program), threads)
        xp.eval(*results)
        size = max(x.size for x in results)
        wanted = [(type_of(x), memory(xp, x)) for x in results]
        empty = {kind: np.zeros_like(values) for kind, values in wanted}
        self._outputs = [(kind, empty[kind].copy()) for _, kind in program.stores]
        self._find(program, [(type_of(x), memory(xp, x)) for x in flat(arrays)], wanted, size)
        self.run()
        if not self._right(wanted, size):
            raise printed.Unprintable("the compiled program's bits differ from Cermet's")
        self.choose()

    def _find(
        self, program: printed.Program, arrays: list[Typed], wanted: list[Typed], size: int
    ) -> None:
        """Binds the inputs: the text does not tell which array is which, but the results do."""
        kinds, some = [kind for kind, _ in program.loads], min(TRIED, size)
        outputs = [values for _, values in self._outputs]
        for order in permutations(arrays, len(kinds)):
            if [kind for kind, _ in order] == kinds:
                self.bind([values for _, values in order], outputs, size)
                self.run(some)
                if self._right(wanted, some):
                    return
        raise printed.Unprintable("the compiled program's bits are Cermet's in no order of arrays")

    def _right(self, wanted: list[Typed], size: int) -> bool:
        """Whether each of the wanted arrays is among the outputs, by bits of all but nans."""
        return all(any(_same(x, y, size) for y in self._outputs) for x in wanted)


def flat(arrays: Any) -> Iterator[Any]:
    """The arrays in nested tuples and lists."""
    if isinstance(arrays, tuple | list):
        for x in arrays:
            yield from flat(x)
    else:
        yield arrays


def type_of(x: Any) -> str:
    """An array's type as the text of a program has it."""
    return f"{str(x.dtype).rpartition('.')[2]}{tuple(x.shape)}"


def memory(xp: Any, x: Any) -> np.ndarray:
    """The elements of an array in a row; those of 16-bit floats as their bits."""
    if x.dtype in (xp.float16, xp.bfloat16):
        x = x.view(xp.uint16)
    return np.ascontiguousarray(np.asarray(x)).reshape(-1)


def _pointers(arrays: Sequence[np.ndarray]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))


def _same(x: Typed, y: Typed, size: int) -> bool:
    if x[0] != y[0]:
        return False
    one, other = x[1][:size], y[1][:size]
    bits = np.dtype(f"u{one.itemsize}")
    differ = one.view(bits) != other.view(bits)
    return all(np.isnan(_numbers(x[0], values[differ])).all() for values in (one, other))


def _numbers(kind: str, values: np.ndarray) -> np.ndarray:
    """Elements as NumPy's numbers."""
    if kind.startswith("bfloat16"):
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.view(np.float16) if kind.startswith("float16") else values
