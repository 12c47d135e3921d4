"""Cermet: arrays and neural networks. The core's names stand here too: ``cermet.array``."""

from . import _reprlib as _reprlib
from ._loading import core
from .core import *  # noqa: F403
from .core import __version__

__all__ = [name for name in vars(core) if not name.startswith("_")] + ["__version__"]
