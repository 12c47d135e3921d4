"""The Metal device of this machine, and ``simulator``, which runs Metal source on its CPU."""

from cermet.core.metal import *  # noqa: F403
