"""Cermet: arrays and neural networks. The core's names stand here: ``cermet.array``, ``cermet.grad``."""

from . import core
from .core import *
from .core import __version__

__all__ = [name for name in vars(core) if not name.startswith("_")] + ["__version__"]
