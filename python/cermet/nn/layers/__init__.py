"""The layers."""
# ruff: noqa: F405

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

# A literal: type checkers understand no list that is put together.
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "ALiBi",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AllToShardedLinear",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BatchNorm",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dropout",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "Flatten",
    "FullyShardedModule",
    "GroupNorm",
    "Identity",
    "InstanceNorm",
    "LayerNorm",
    "Linear",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MultiHeadAttention",
    "QQLinear",
    "QuantizedAllToShardedLinear",
    "QuantizedEmbedding",
    "QuantizedLinear",
    "QuantizedShardedToAllLinear",
    "RMSNorm",
    "RoPE",
    "Sequential",
    "ShardedToAllLinear",
    "SinusoidalPositionalEncoding",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "Upsample",
    "adaptive_pooling",
    "column_major",
    "containers",
    "convolution",
    "convolution_transpose",
    "distributed",
    "dropout",
    "embedding",
    "flatten",
    "fully_shard",
    "linear",
    "normalization",
    "pooling",
    "positional_encoding",
    "quantize",
    "quantized",
    "recurrent",
    "transformer",
    "upsample",
]
