"""Adaptors: each framework under the names that the cases use, which are those of `cermet.core`."""

from __future__ import annotations

import os

from .base import DTYPES, ITEM_SIZE, THREAD_VARIABLES, Peer, Unsupported
from .cermet import Cermet, Mlx
from .copy import Copy
from .cpp import Cpp
from .jax import Jax, JaxJit
from .numpy import NumPy
from .torch import Torch, TorchCompile

__all__ = ["DTYPES", "ITEM_SIZE", "PEERS", "THREAD_VARIABLES", "Peer", "Unsupported", "load"]

PEERS: dict[str, type[Peer]] = {
    kind.name: kind for kind in (Cermet, Mlx, NumPy, Torch, TorchCompile, Jax, JaxJit, Cpp, Copy)
}


def load(name: str, device: str, threads: int) -> Peer:
    """The adaptor called `name`.

    Raises:
        Unsupported: the framework is not installed or lacks the device.
    """
    try:
        return PEERS[name](device, threads)
    except ModuleNotFoundError as error:
        raise Unsupported(f"not installed (no module {error.name})") from error
    except ImportError as error:
        raise Unsupported(f"cannot be imported: {error}") from error


def available_threads() -> int:
    """The number of CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(threads: int) -> bool:
    """Sets `threads` in the environment and, on Linux, as many CPUs to run on.

    The CPUs hold frameworks to the limit that have no setting for it.

    Returns:
        Whether the environment changed: libraries loaded before do not know of it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    changed = any(os.environ.get(name) != value for name, value in wanted.items())
    os.environ.update(wanted)
    return changed
