"""Neural networks: modules, layers, activation functions, losses and initializers."""

from cermet.nn import activations, base, init, layers, losses, utils
from cermet.nn.activations import *  # noqa: F403
from cermet.nn.base import (
    MissingKeysError,
    Module,
    ModuleInfo,
    ParameterInfo,
    ShapeMismatchError,
    StructureMismatchError,
    UnaryLayer,
    UnusedKeysError,
    UpdateError,
    VerifyUpdate,
)
from cermet.nn.layers import *  # noqa: F403
from cermet.nn.summaries import LayerSummary, Summary, summary
from cermet.nn.utils import average_gradients, functional_call, value_and_grad

__all__ = [
    "LayerSummary",
    "MissingKeysError",
    "Module",
    "ModuleInfo",
    "ParameterInfo",
    "ShapeMismatchError",
    "StructureMismatchError",
    "Summary",
    "UnaryLayer",
    "UnusedKeysError",
    "UpdateError",
    "VerifyUpdate",
    "activations",
    "average_gradients",
    "base",
    "functional_call",
    "init",
    "layers",
    "losses",
    "summary",
    "utils",
    "value_and_grad",
    *activations.__all__,
    *layers.__all__,
]
