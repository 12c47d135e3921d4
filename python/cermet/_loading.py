"""Loads the core so that a signal waits: it cannot be stopped half-way, and loaded but once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The core's BLAS is called by threads of Cermet's own. It would start as many, and in a forked
# child, where they fail to start, raise SIGINT.
THREADS_OF_BLAS = "OPENBLAS_NUM_THREADS"


@contextmanager
def _signals_deferred() -> Iterator[None]:
    """Calls the handlers of signals that come in the block after it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread
        return
    came: list[int] = []
    handlers = {s: h for s in signal.valid_signals() if callable(h := signal.getsignal(s))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable in the block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


with _signals_deferred(), _variable(THREADS_OF_BLAS, "1"):
    from . import core

__all__ = ["core"]
