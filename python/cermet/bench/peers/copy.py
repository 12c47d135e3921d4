"""The peer `copy`: what moving a case's bytes takes, which no program can go below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import printed
from .cermet import Cermet
from .cpp import Kernel, flat, memory


class Copy(Cermet):
    """Reads a case's large arrays and writes as many as its results are.

    Where there is something to write, Cermet's own simplest program does it; where there is not,
    a compiled loop reads.
    """

    name = "copy"
    lazy = False
    compiled = True

    def __init__(self, device: str, threads: int) -> None:
        super().__init__(device, threads)
        self._threads = threads

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        made: list[Callable[[], Any]] = []

        def run(*arrays: Any) -> Any:
            if not made:
                made.append(self._moving(list(flat(arrays)), list(flat(function(*arrays)))))
            return made[0]()

        return run

    def adamw(self, parameters: Any, gradient: Any) -> Callable[[], Any]:
        state = [parameters, parameters + 1, parameters + 2]
        self.wait(state)

        def step() -> Any:
            nonlocal state
            state = copies([*state, gradient], 3)
            return state

        return step

    def _moving(self, read: list[Any], written: list[Any]) -> Callable[[], Any]:
        self.wait(written)
        most = max(x.nbytes for x in read + written)
        large = [x.nbytes for x in (*read, *written) if x.nbytes > most // 8]
        if len(set(large)) > 1:
            raise ValueError(f"arrays of different sizes are moved: {large} bytes")
        inputs = [self._words(x) for x in read if x.nbytes == most]
        outputs = sum(x.nbytes == most for x in written)
        if not outputs:
            return self._reading(inputs)
        self.wait(inputs)
        return lambda: copies(inputs, outputs)

    def _words(self, x: Any) -> Any:
        words = self.xp.contiguous(x).reshape(-1)
        return words if x.dtype.size == 4 else words.view(self.xp.int32)

    def _reading(self, inputs: list[Any]) -> Callable[[], None]:
        kernels = []
        for x in inputs:
            words = memory(self.xp, x).view(np.uint8)
            words = words[: len(words) // 8 * 8].view(np.uint64)
            kernels.append(Kernel(printed.reading(), self._threads))
            pieces = len(words) // printed.PIECE + 1
            kernels[-1].bind([words], [np.zeros(pieces, np.uint64)], len(words))
            kernels[-1].run()
            kernels[-1].choose()

        def read() -> None:
            for kernel in kernels:
                kernel.run()

        return read

    def wait(self, result: Any) -> None:
        if result is not None:
            super().wait(result)


def copies(inputs: Sequence[Any], outputs: int) -> list[Any]:
    """As many arrays as `outputs`, by one program that reads all the inputs."""
    last = inputs[-1]
    results = []
    for i in range(outputs):
        x = inputs[i % len(inputs)]
        results.append(x + last if x is not last else x + i if i else -x)
    for x in inputs[outputs:-1]:
        results[0] = results[0] + x
    return results
