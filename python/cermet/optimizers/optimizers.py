"""All optimizers, under the name by which programs import them."""
# ruff: noqa: F405

from cermet.optimizers.adam import *  # noqa: F403
from cermet.optimizers.adaptive import *  # noqa: F403
from cermet.optimizers.base import *  # noqa: F403
from cermet.optimizers.clip import *  # noqa: F403
from cermet.optimizers.muon import *  # noqa: F403
from cermet.optimizers.sgd import *  # noqa: F403

# A literal: type checkers understand no list that is put together.
__all__ = [
    "SGD",
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
]
