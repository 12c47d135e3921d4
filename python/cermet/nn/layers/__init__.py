"""The layers."""

from cermet.nn.layers import (
    activations as activations,
)
from cermet.nn.layers import (
    adaptive_pooling,
    containers,
    convolution,
    convolution_transpose,
    distributed,
    dropout,
    embedding,
    flatten,
    linear,
    normalization,
    pooling,
    positional_encoding,
    quantized,
    recurrent,
    transformer,
    upsample,
)
from cermet.nn.layers import (
    base as base,
)
from cermet.nn.layers.adaptive_pooling import *  # noqa: F403
from cermet.nn.layers.containers import *  # noqa: F403
from cermet.nn.layers.convolution import *  # noqa: F403
from cermet.nn.layers.convolution_transpose import *  # noqa: F403
from cermet.nn.layers.distributed import *  # noqa: F403
from cermet.nn.layers.dropout import *  # noqa: F403
from cermet.nn.layers.embedding import *  # noqa: F403
from cermet.nn.layers.flatten import *  # noqa: F403
from cermet.nn.layers.linear import *  # noqa: F403
from cermet.nn.layers.normalization import *  # noqa: F403
from cermet.nn.layers.pooling import *  # noqa: F403
from cermet.nn.layers.positional_encoding import *  # noqa: F403
from cermet.nn.layers.quantized import *  # noqa: F403
from cermet.nn.layers.recurrent import *  # noqa: F403
from cermet.nn.layers.transformer import *  # noqa: F403
from cermet.nn.layers.upsample import Upsample

__all__ = [
    "Upsample",
    "adaptive_pooling",
    "containers",
    "convolution",
    "convolution_transpose",
    "distributed",
    "dropout",
    "embedding",
    "flatten",
    "linear",
    "normalization",
    "pooling",
    "positional_encoding",
    "quantized",
    "recurrent",
    "transformer",
    "upsample",
    *adaptive_pooling.__all__,
    *containers.__all__,
    *convolution.__all__,
    *convolution_transpose.__all__,
    *distributed.__all__,
    *dropout.__all__,
    *embedding.__all__,
    *flatten.__all__,
    *linear.__all__,
    *normalization.__all__,
    *pooling.__all__,
    *positional_encoding.__all__,
    *quantized.__all__,
    *recurrent.__all__,
    *transformer.__all__,
]
