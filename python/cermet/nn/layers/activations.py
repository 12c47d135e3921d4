"""The activation functions, under the name by which programs import them from the layers."""

from cermet.nn.activations import *  # noqa: F403
from cermet.nn.activations import __all__ as __all__
