"""Module, under the name by which programs import it from the layers."""

from cermet.nn.base import *  # noqa: F403
from cermet.nn.base import Module

__all__ = ["Module"]
