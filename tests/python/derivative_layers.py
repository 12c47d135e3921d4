"""Activations, losses and layers with sample arguments: a part of derivative_table.py's table."""

from derivative_table import ABOVE, MATRIX, UNIT, VECTOR, WIDE, Row, two

import cermet.core as mx
from cermet import nn
from cermet.utils import tree_flatten, tree_unflatten

ACTIVATIONS = {
    **{
        f"nn.{name}": Row(getattr(nn, name), kinds="f")
        for name in """relu relu2 relu6 leaky_relu elu celu selu softmax softmin log_softmax
        softplus log_sigmoid softsign softshrink hard_shrink mish hardswish hard_tanh gelu
        gelu_approx gelu_fast_approx glu""".split()
    },
    **{f"nn.{name}": Row(getattr(nn, name)) for name in ("sigmoid", "tanh", "silu")},
    "nn.prelu": two(nn.prelu, "f", (MATRIX, VECTOR)),
}

losses = nn.losses
PROBABILITY = (0.1, 0.9)
LOSSES = {
    "nn.losses.cross_entropy": Row(losses.cross_entropy, (WIDE, range(4)), (MATRIX, (3,)), "f"),
    "nn.losses.cross_entropy probabilities": Row(
        lambda x, y, w: losses.cross_entropy(x, y, w, label_smoothing=0.1, reduction="mean"),
        (WIDE, PROBABILITY, ABOVE),
        (MATRIX, MATRIX, (3,)),
        "f",
    ),
    "nn.losses.binary_cross_entropy": two(
        losses.binary_cross_entropy, "f", inputs=(WIDE, PROBABILITY)
    ),
    "nn.losses.binary_cross_entropy probabilities": Row(
        lambda x, y, w: losses.binary_cross_entropy(x, y, w, with_logits=False),
        (PROBABILITY, PROBABILITY, ABOVE),
        (MATRIX,) * 3,
        "f",
    ),
    "nn.losses.l1_loss": two(losses.l1_loss, "f"),
    "nn.losses.mse_loss": two(losses.mse_loss, "f"),
    "nn.losses.nll_loss": Row(losses.nll_loss, (WIDE, range(4)), (MATRIX, (3,)), "f"),
    "nn.losses.gaussian_nll_loss": Row(
        losses.gaussian_nll_loss, (WIDE, WIDE, ABOVE), (MATRIX,) * 3, "f"
    ),
    "nn.losses.kl_div_loss": two(losses.kl_div_loss, "f"),
    "nn.losses.smooth_l1_loss": two(losses.smooth_l1_loss, "f"),
    "nn.losses.huber_loss": two(losses.huber_loss, "f"),
    "nn.losses.triplet_loss": Row(losses.triplet_loss, (WIDE,) * 3, (MATRIX,) * 3, "f"),
    "nn.losses.hinge_loss": Row(
        lambda x, y: losses.hinge_loss(x, 2 * y - 1), (WIDE, range(2)), (MATRIX,) * 2, "f"
    ),
    "nn.losses.log_cosh_loss": two(losses.log_cosh_loss, "f"),
    "nn.losses.cosine_similarity_loss": two(losses.cosine_similarity_loss, "f"),
    "nn.losses.margin_ranking_loss": Row(
        lambda x, y, t: losses.margin_ranking_loss(x, y, 2 * t - 1, 0.3),
        (WIDE, WIDE, range(2)),
        (MATRIX,) * 3,
        "f",
    ),
    "nn.losses.ctc_loss": Row(
        lambda x, t: losses.ctc_loss(
            nn.log_softmax(x), t, mx.array([5, 4]), mx.array([2, 1]), reduction="none"
        ),
        (WIDE, range(1, 3)),
        ((2, 5, 3), (2, 2)),
        "f",
    ),
}


def layer(module, *shapes, kinds="f", parameters=True, masks=0):
    """A row for a module: its inputs of these shapes, and its parameters unless they stay."""
    module.set_dtype(mx.float64)
    flat = tree_flatten(module.trainable_parameters()) if parameters else []

    def call(*x):
        inputs, values = x[: len(shapes)], x[len(shapes) :]
        named = zip([name for name, _ in flat], values, strict=True)
        result = nn.functional_call(module, tree_unflatten(list(named)), *inputs, *[None] * masks)
        return result if isinstance(result, mx.array) else [a for _, a in tree_flatten(result)]

    every = (*shapes, *(a.shape for _, a in flat))
    return Row(call, (UNIT,) * len(every), every, kinds)


def averaged():
    """With statistics that are not those of a batch."""
    norm = nn.BatchNorm(4).eval()
    norm.running_mean, norm.running_var = mx.array([0.1, 0.2, 0.3, 0.4]), mx.array([1.0, 2, 3, 4])
    return norm


def trained(x, w, b):
    """A BatchNorm of these parameters as in training; its statistics are not kept."""
    return nn.functional_call(
        nn.BatchNorm(4, track_running_stats=False), {"weight": w, "bias": b}, x
    )


mx.random.seed(5)
QUANTIZED = nn.QuantizedLinear(32, 4, group_size=32)
PICTURE = (1, 4, 4, 2)
LAYERS = {
    "nn.Identity": layer(nn.Identity(), MATRIX),
    "nn.Linear": layer(nn.Linear(4, 2), MATRIX),
    "nn.Bilinear": layer(nn.Bilinear(4, 3, 2), MATRIX, (3, 3)),
    "nn.Embedding": Row(
        lambda i, w: nn.functional_call(nn.Embedding(4, 3), {"weight": w}, i),
        (range(4), WIDE),
        ((5,), (4, 3)),
        "f",
    ),
    "nn.Embedding as_linear": Row(
        lambda x, w: nn.functional_call(nn.Embedding(4, 3), {"weight": w}, mx.array([1])) @ x,
        (WIDE, WIDE),
        ((3,), (4, 3)),
        "f",
    ),
    "nn.QuantizedLinear": Row(QUANTIZED, (UNIT,), ((2, 32),), "s"),
    "nn.Conv1d": layer(nn.Conv1d(2, 3, 3, padding=1), (1, 4, 2)),
    "nn.Conv2d": layer(nn.Conv2d(2, 2, 2, stride=2), PICTURE),
    "nn.Conv3d": layer(nn.Conv3d(1, 2, 2), (1, 2, 3, 2, 1)),
    "nn.ConvTranspose1d": layer(nn.ConvTranspose1d(2, 3, 3, stride=2), (1, 4, 2)),
    "nn.ConvTranspose2d": layer(nn.ConvTranspose2d(2, 2, 2), (1, 2, 2, 2)),
    "nn.ConvTranspose3d": layer(nn.ConvTranspose3d(1, 1, 2), (1, 2, 1, 2, 1)),
    "nn.InstanceNorm": layer(nn.InstanceNorm(2, affine=True), PICTURE),
    "nn.LayerNorm": layer(nn.LayerNorm(4), MATRIX),
    "nn.RMSNorm": layer(nn.RMSNorm(4), MATRIX),
    "nn.GroupNorm": layer(nn.GroupNorm(2, 4), (2, 3, 4)),
    "nn.GroupNorm compatible": layer(nn.GroupNorm(2, 4, pytorch_compatible=True), (2, 3, 4)),
    "nn.BatchNorm": layer(averaged(), MATRIX),
    "nn.BatchNorm training": Row(trained, (WIDE, ABOVE, WIDE), ((5, 4), VECTOR, VECTOR), "f"),
    "nn.MaxPool1d": layer(nn.MaxPool1d(2), (1, 4, 2)),
    "nn.MaxPool2d": layer(nn.MaxPool2d(3, 1, 1), PICTURE),
    "nn.MaxPool3d": layer(nn.MaxPool3d(2), (1, 2, 2, 4, 1)),
    "nn.AvgPool1d": layer(nn.AvgPool1d(3, 1), (1, 4, 2)),
    "nn.AvgPool2d": layer(nn.AvgPool2d(2), PICTURE),
    "nn.AvgPool3d": layer(nn.AvgPool3d(2), (1, 2, 2, 4, 1)),
    "nn.AdaptiveAvgPool1d": layer(nn.AdaptiveAvgPool1d(3), (1, 5, 2)),
    "nn.AdaptiveAvgPool2d": layer(nn.AdaptiveAvgPool2d(3), (1, 5, 4, 1)),
    "nn.AdaptiveAvgPool3d": layer(nn.AdaptiveAvgPool3d(2), (1, 3, 2, 2, 1)),
    "nn.AdaptiveMaxPool1d": layer(nn.AdaptiveMaxPool1d(3), (1, 5, 2)),
    "nn.AdaptiveMaxPool2d": layer(nn.AdaptiveMaxPool2d(3), (1, 5, 4, 1)),
    "nn.AdaptiveMaxPool3d": layer(nn.AdaptiveMaxPool3d(2), (1, 3, 2, 2, 1)),
    "nn.Flatten": layer(nn.Flatten(), PICTURE),
    "nn.RoPE": layer(nn.RoPE(4), (1, 3, 4)),
    "nn.SinusoidalPositionalEncoding": layer(nn.SinusoidalPositionalEncoding(4), (3,), kinds="s"),
    "nn.ALiBi": layer(nn.ALiBi(), (1, 2, 3, 3), kinds="s"),
    "nn.MultiHeadAttention": layer(nn.MultiHeadAttention(4, 2, bias=True), *[(1, 3, 4)] * 3),
    "nn.RNN": layer(nn.RNN(3, 2), (1, 3, 3)),
    "nn.GRU": layer(nn.GRU(3, 2), (1, 3, 3)),
    "nn.LSTM": layer(nn.LSTM(3, 2), (1, 3, 3)),
    "nn.Upsample": layer(nn.Upsample(1.5, "nearest"), PICTURE),
    "nn.Upsample linear": layer(nn.Upsample((2, 1.5), "linear", align_corners=True), PICTURE),
    "nn.Upsample cubic": layer(nn.Upsample(1.5, "cubic"), PICTURE),
    "nn.Sequential": layer(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), MATRIX),
    **{
        f"nn.Transformer{name}": layer(
            getattr(nn, f"Transformer{name}")(dims=4, num_heads=2, mlp_dims=3, **options).eval(),
            *[(1, 3, 4)] * inputs,
            parameters=False,
            masks=inputs,
        )
        for name, inputs, options in [
            ("EncoderLayer", 1, {}),
            ("DecoderLayer", 2, {}),
            ("Encoder", 1, {"num_layers": 1}),
            ("Decoder", 2, {"num_layers": 1}),
        ]
    },
    "nn.Transformer": layer(
        nn.Transformer(4, 2, 1, 1, mlp_dims=3).eval(),
        *[(1, 3, 4)] * 2,
        parameters=False,
        masks=3,
    ),
    "nn.functional_call": Row(
        lambda w, x: nn.functional_call(nn.Linear(4, 2, bias=False), {"weight": w}, x),
        (WIDE, WIDE),
        ((2, 4), MATRIX),
        "f",
    ),
}
