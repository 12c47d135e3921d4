"""Optimizers, and schedules of their learning rates."""

from cermet.optimizers import optimizers, schedulers
from cermet.optimizers.optimizers import *  # noqa: F403
from cermet.optimizers.schedulers import *  # noqa: F403

__all__ = [*optimizers.__all__, *schedulers.__all__]
