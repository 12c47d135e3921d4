"""Cermet: arrays and neural networks. The core's names stand here too: ``cermet.array``."""

from ._loading import core  # before all that needs it

from . import _reprlib as _reprlib  # isort: skip
from . import _more as _more  # isort: skip
from .core import *  # noqa: F403
from .core import __version__

__all__ = [name for name in vars(core) if not name.startswith("_")] + ["__version__"]
