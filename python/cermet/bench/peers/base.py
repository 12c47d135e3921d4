"""What an adaptor is.

An operation that an adaptor does not define is looked up in the framework's own namespace, so an
adaptor holds only what differs. What a framework lacks raises `Unsupported`, and the case is left
out for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

DTYPES = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "bf16": "bfloat16",
    "c64": "complex64",
    "i32": "int32",
}
ITEM_SIZE = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2, "c64": 8, "i32": 4}

# Read by OpenMP, OpenBLAS, MKL, Accelerate and Cermet, each when it is loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "CERMET_NUM_THREADS",
)


class Unsupported(Exception):
    """A framework cannot run a case; the message says why."""


class Peer:
    """One framework. Subclasses set `xp`, the namespace that holds its operations.

    Args:
        device: "cpu" or "gpu".
        threads: number of CPU threads.
    """

    name: str
    version: str
    xp: Any
    lazy = False  # operations build a graph that `wait` computes
    compiled = False  # `prepare` hands the function to a compiler

    def __init__(self, device: str, threads: int) -> None:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "xp" not in vars(self):
            raise AttributeError(name)
        if not hasattr(self.xp, name):
            raise Unsupported(f"{self.name} has no {name}")
        setattr(
            self, name, getattr(self.xp, name)
        )  # the next look-up costs what the framework's does
        return getattr(self, name)

    def array(self, values: np.ndarray, dtype: str) -> Any:
        """The framework's array of `values`, floating ones in `dtype` (a key of `DTYPES`)."""
        raise NotImplementedError

    def places(self, values: np.ndarray) -> Any:
        """The framework's array of indices, in a type that all its operations take."""
        return self.array(values, "i32")

    def wait(self, result: Any) -> None:
        """Blocks until `result` is computed."""

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` as it will be measured."""
        return function

    def dtype(self, name: str) -> Any:
        """The framework's dtype for a key of `DTYPES`."""
        return getattr(self, DTYPES[name])

    def cast(self, x: Any, dtype: str) -> Any:
        """`x` in the dtype of a key of `DTYPES`."""
        return x.astype(self.dtype(dtype))

    def gradients(self, function: Callable[..., Any], inputs: Sequence[Any], out: Any) -> Any:
        """The gradients of all inputs, for the gradient `out` of the function's result."""
        raise Unsupported(f"{self.name} has no automatic differentiation")

    def put(self, x: Any, where: Any, values: Any) -> Any:
        """A copy of `x` with `values` at the index `where`, written as users write it."""
        raise Unsupported(f"{self.name} has no updates")

    def adamw(self, parameters: Any, gradient: Any) -> Callable[[], Any]:
        """A step of AdamW, always with the same gradient."""
        raise Unsupported(f"{self.name} has no AdamW")

    def sampler(self, shape: tuple[int, ...], dtype: str) -> Callable[[], Any]:
        """A function that draws standard normal values of `shape`."""
        raise Unsupported(f"{self.name} has no normal sampler")

    def trainer(self, widths: Sequence[int], x: Any, y: Any, dtype: str) -> Callable[[], Any]:
        """One SGD step of a ReLU network with layers of `widths`, on inputs `x` and labels `y`."""
        raise Unsupported(f"{self.name} has no automatic differentiation")

    def recurrent_trainer(self, width: int, x: Any, dtype: str) -> Callable[[], Any]:
        """One SGD step of an LSTM of `width` on sequences `x`; the loss is of the last rows."""
        raise Unsupported(f"{self.name} has no LSTM")

    def transformer_trainer(self, layers: int, x: Any, dtype: str) -> Callable[[], Any]:
        """One AdamW step of a transformer's encoder with heads of 64, on sequences `x`."""
        raise Unsupported(f"{self.name} has no transformer")

    def convolutional_trainer(
        self, channels: Sequence[int], x: Any, y: Any, dtype: str
    ) -> Callable[[], Any]:
        """One SGD step of a network of 3 x 3 convolutions, each with ReLU and a maximum of 2 x 2.

        Its last layer is linear, and gives ten logits from the mean of all positions.
        """
        raise Unsupported(f"{self.name} has no convolutional layers")
