"""Optimizers, schedules of their learning rates, and means of parameters."""

from cermet.optimizers import following, optimizers, schedulers
from cermet.optimizers.following import *  # noqa: F403
from cermet.optimizers.optimizers import *  # noqa: F403
from cermet.optimizers.schedulers import *  # noqa: F403

__all__ = [*optimizers.__all__, *schedulers.__all__, *following.__all__]
