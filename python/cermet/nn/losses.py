"""Loss functions.

`reduction` is "none" (a loss for each sample), "mean" or "sum", everywhere.
"""

from __future__ import annotations

import math
import operator
from typing import Literal

import cermet.core as mx
from cermet.nn.activations import _HALVES, _log_total

__all__ = [
    "binary_cross_entropy",
    "cosine_similarity_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_loss",
    "huber_loss",
    "kl_div_loss",
    "l1_loss",
    "log_cosh_loss",
    "margin_ranking_loss",
    "mse_loss",
    "nll_loss",
    "smooth_l1_loss",
    "triplet_loss",
]

Reduction = Literal["none", "mean", "sum"]

_REDUCTIONS = {"none": lambda loss: loss, "mean": mx.mean, "sum": mx.sum}


def _reduce(name: str, loss: mx.array, reduction: Reduction) -> mx.array:
    if not isinstance(reduction, str) or reduction not in _REDUCTIONS:
        raise ValueError(f"{name}: reduction is '{reduction}', expected one of {[*_REDUCTIONS]}")
    return _REDUCTIONS[reduction](loss)


def _check_same_shape(name: str, **arrays: mx.array) -> None:
    if len({mx.array(a).shape for a in arrays.values()}) > 1:
        shapes = ", ".join(f"{key} {mx.array(a).shape}" for key, a in arrays.items())
        raise ValueError(f"{name}: shapes differ, expected one shape: {shapes}")


def _weighted(name: str, loss: mx.array, weights: mx.array | None) -> mx.array:
    if weights is None:
        return loss
    _check_same_shape(name, weights=weights, loss=loss)
    return loss * weights


def _at_targets(inputs: mx.array, targets: mx.array, axis: int) -> mx.array:
    return mx.take_along_axis(inputs, mx.expand_dims(targets, axis), axis).squeeze(axis)


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    axis: int | None = -1,
    label_smoothing: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """The cross entropy of the softmax of ``logits``.

    Args:
        logits: unnormalized log-probabilities of the classes along ``axis``.
        targets: class indices, of the shape of ``logits`` without ``axis``; or class probabilities,
            of the shape of ``logits``.
        weights: factors for the losses, of the shape of the result for ``reduction="none"``.
        axis: the axis of the classes; None for all axes together.
        label_smoothing: how much of the target is spread over all classes, from 0 up to (not
            including) 1 (Szegedy et al., 2015).
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``logits`` without ``axis``.

    Raises:
        ValueError: shapes do not fit, ``axis`` or ``label_smoothing`` is out of range.

    Examples:
        >>> logits = mx.array([[2.0, 0.0], [0.0, 0.0]])
        >>> nn.losses.cross_entropy(logits, mx.array([0, 1])).round(4)
        array([0.1269, 0.6931], dtype=float32)
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"cross_entropy: label_smoothing is {label_smoothing}, expected [0, 1)")
    axis = axis if axis is None else operator.index(axis)
    if axis is None:
        targets = targets.flatten() if targets.shape == logits.shape else targets
        logits, axis = logits.flatten(), 0
    if not -logits.ndim <= axis < logits.ndim:
        raise mx.AxisError(f"cross_entropy: axis {axis} is out of range of logits {logits.shape}")
    positions = list(logits.shape)
    positions.pop(axis)
    low, high, total = _log_total(logits, axis)
    if targets.shape == logits.shape:
        loss = mx.sum(targets * (total - low), axis=axis)
    elif targets.shape == tuple(positions):
        chosen = _at_targets(logits, targets, axis).astype(high.dtype)
        loss = total.squeeze(axis) - (chosen - high.squeeze(axis))
    else:
        raise ValueError(
            f"cross_entropy: targets have shape {targets.shape}, expected {tuple(positions)} "
            f"(indices) or {logits.shape} (probabilities)"
        )
    if label_smoothing > 0:
        uniform_loss = total.squeeze(axis) - mx.mean(low, axis=axis)
        # An array on the left, as a NumPy number would make one of its own.
        loss = loss * (1 - label_smoothing) + uniform_loss * label_smoothing
    # Probabilities of a wider type widen the result.
    dtype = mx.result_type(logits, targets) if targets.shape == logits.shape else logits.dtype
    if logits.dtype in _HALVES:
        loss = loss.astype(dtype)
    return _reduce("cross_entropy", _weighted("cross_entropy", loss, weights), reduction)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    with_logits: bool = True,
    reduction: Reduction = "mean",
) -> mx.array:
    """The cross entropy of yes-or-no predictions.

    Args:
        inputs: logits, or probabilities if ``with_logits`` is false. The logarithms of
            probabilities are limited to at least -100.
        targets: probabilities, of the same shape.
        weights: factors for the losses, of the same shape.
        with_logits: what ``inputs`` are.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``inputs``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> logits, targets = mx.array([0.0, 0.0]), mx.array([1.0, 0.0])
        >>> round(nn.losses.binary_cross_entropy(logits, targets).item(), 4)  # log 2
        0.6931
    """
    _check_same_shape("binary_cross_entropy", inputs=inputs, targets=targets)
    if with_logits:
        loss = mx.logaddexp(inputs, 0) - inputs * targets
    else:
        log_yes = mx.maximum(mx.log(inputs), -100)
        log_no = mx.maximum(mx.log1p(0.0 - inputs), -100)
        loss = -(targets * log_yes + (1 - targets) * log_no)
    loss = _weighted("binary_cross_entropy", loss, weights)
    return _reduce("binary_cross_entropy", loss, reduction)


def l1_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """``|predictions - targets|``.

    Args:
        predictions: any shape.
        targets: of the same shape.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``predictions``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> nn.losses.l1_loss(mx.array([1.0, 2.0]), mx.array([1.0, 4.0])).item()
        1.0
    """
    _check_same_shape("l1_loss", predictions=predictions, targets=targets)
    return _reduce("l1_loss", mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: Reduction = "mean") -> mx.array:
    """``(predictions - targets) ** 2``.

    Args:
        predictions: any shape.
        targets: of the same shape.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``predictions``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> nn.losses.mse_loss(mx.array([1.0, 2.0]), mx.array([1.0, 4.0])).item()
        2.0
    """
    _check_same_shape("mse_loss", predictions=predictions, targets=targets)
    return _reduce("mse_loss", mx.square(predictions - targets), reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """The negative of the log-probabilities at the classes ``targets``.

    Args:
        inputs: log-probabilities of the classes along ``axis``.
        targets: class indices, of the shape of ``inputs`` without ``axis``.
        axis: the axis of the classes.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``targets``.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> log_probs = mx.array([[-1.0, -2.0], [-3.0, -4.0]])
        >>> nn.losses.nll_loss(log_probs, mx.array([0, 1]))
        array([1, 4], dtype=float32)
    """
    return _reduce("nll_loss", -_at_targets(inputs, targets, axis), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "mean",
) -> mx.array:
    """The negative log-likelihood of ``targets`` under normal distributions.

    Args:
        inputs: the means.
        targets: the samples, of the same shape.
        vars: the variances, of the same shape; limited to at least ``eps``.
        full: whether to add the constant ``log(2 pi) / 2``.
        eps: the least variance.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``inputs``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> mean, variance = mx.zeros(2), mx.ones(2)
        >>> nn.losses.gaussian_nll_loss(mean, mx.array([0.0, 2.0]), variance).item()
        1.0
    """
    _check_same_shape("gaussian_nll_loss", inputs=inputs, targets=targets, vars=vars)
    vars = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(vars) + mx.square(targets - inputs) / vars)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce("gaussian_nll_loss", loss, reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: Reduction = "none"
) -> mx.array:
    """The Kullback-Leibler divergence of ``targets`` from ``inputs``.

    Args:
        inputs: log-probabilities along ``axis``.
        targets: log-probabilities, of a shape that broadcasts with it.
        axis: the axis over which the probabilities add up to 1.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``inputs`` without ``axis``.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> even = mx.log(mx.array([0.5, 0.5]))
        >>> nn.losses.kl_div_loss(even, even).item()
        0.0
    """
    loss = mx.sum(mx.exp(targets) * (targets - inputs), axis=axis)
    return _reduce("kl_div_loss", loss, reduction)


def smooth_l1_loss(
    predictions: mx.array, targets: mx.array, beta: float = 1.0, reduction: Reduction = "mean"
) -> mx.array:
    """Half the squared error over ``beta`` below ``beta``, the L1 error less ``beta / 2`` above.

    Args:
        predictions: any shape.
        targets: of the same shape.
        beta: where the one becomes the other.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``predictions``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> nn.losses.smooth_l1_loss(mx.array([0.5, 3.0]), mx.zeros(2), reduction="none")
        array([0.125, 2.5], dtype=float32)
    """
    _check_same_shape("smooth_l1_loss", predictions=predictions, targets=targets)
    error = mx.abs(predictions - targets)
    loss = mx.where(error < beta, 0.5 * mx.square(error) / beta, error - 0.5 * beta)
    return _reduce("smooth_l1_loss", loss, reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: Reduction = "none"
) -> mx.array:
    """Half the squared error up to ``delta``, linear in the error above (Huber, 1964).

    Args:
        inputs: predictions.
        targets: of a shape that broadcasts with it.
        delta: where the one becomes the other.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        both.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> nn.losses.huber_loss(mx.array([0.5, 3.0]), mx.zeros(2))
        array([0.125, 2.5], dtype=float32)
    """
    error = mx.abs(inputs - targets)
    loss = mx.where(error <= delta, 0.5 * mx.square(error), (error - 0.5 * delta) * delta)
    return _reduce("huber_loss", loss, reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: int = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> mx.array:
    """How much nearer the positives are than the negatives, up to a margin (Schroff et al., 2015).

    Args:
        anchors, positives, negatives: vectors along ``axis``, of shapes that broadcast.
        axis: the axis of the vectors.
        p: the distances are ``(sum(|difference| ** p) + eps) ** (1 / p)``.
        margin: the loss is zero where the distances differ by more than this.
        eps: keeps the derivative finite.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        the anchors without ``axis``.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> near, far = mx.array([[0.0, 1.0]]), mx.array([[3.0, 4.0]])
        >>> nn.losses.triplet_loss(near, near, far).item()
        0.0
    """

    def distance(others: mx.array) -> mx.array:
        total = mx.sum(mx.power(mx.abs(anchors - others), p), axis=axis) + eps
        return mx.sqrt(total) if p == 2 else mx.power(total, 1 / p)

    loss = mx.maximum(distance(positives) - distance(negatives) + margin, 0)
    return _reduce("triplet_loss", loss, reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """``max(1 - inputs * targets, 0)``.

    Args:
        inputs: scores.
        targets: 1 and -1, of a shape that broadcasts with it.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        both.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> nn.losses.hinge_loss(mx.array([2.0, 0.5, 1.0]), mx.array([1.0, 1.0, -1.0]))
        array([0, 0.5, 2], dtype=float32)
    """
    return _reduce("hinge_loss", mx.maximum(1 - inputs * targets, 0), reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: Reduction = "none") -> mx.array:
    """``log(cosh(inputs - targets))``.

    Args:
        inputs: predictions.
        targets: of a shape that broadcasts with it.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        both.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> nn.losses.log_cosh_loss(mx.array([0.0, 100.0]), mx.zeros(2)).round(2)
        array([0, 99.31], dtype=float32)
    """
    errors = inputs - targets
    return _reduce("log_cosh_loss", mx.logaddexp(errors, -errors) - math.log(2), reduction)


def cosine_similarity_loss(
    x1: mx.array,
    x2: mx.array,
    axis: int = 1,
    eps: float = 1e-8,
    reduction: Reduction = "none",
) -> mx.array:
    """The cosine of the angle between vectors.

    Args:
        x1, x2: vectors along ``axis``, of shapes that broadcast.
        axis: the axis of the vectors.
        eps: the least product of the norms, by which the inner product is divided.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``x1`` without ``axis``.

    Raises:
        ValueError: shapes do not fit, or the reduction is another.

    Examples:
        >>> x = mx.array([[1.0, 0.0], [1.0, 0.0]])
        >>> nn.losses.cosine_similarity_loss(x, mx.array([[2.0, 0.0], [0.0, 2.0]]))
        array([1, 0], dtype=float32)
    """
    norms = mx.linalg.norm(x1, axis=axis) * mx.linalg.norm(x2, axis=axis)
    if not mx.issubdtype(mx.result_type(x1, x2), mx.inexact):
        x1, x2 = x1.astype(mx.float32), x2.astype(mx.float32)  # products of integers may wrap
    loss = mx.sum(x1 * x2, axis=axis) / mx.maximum(norms, eps)
    return _reduce("cosine_similarity_loss", loss, reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> mx.array:
    """``max(-targets * (inputs1 - inputs2) + margin, 0)``.

    Args:
        inputs1, inputs2: scores, of one shape.
        targets: 1 where ``inputs1`` shall be the larger, else -1, of that shape.
        margin: by how much.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, without axes unless the reduction is "none": then it has the shape of
        ``inputs1``.

    Raises:
        ValueError: shapes differ, or the reduction is another.

    Examples:
        >>> first, second = mx.array([2.0, 1.0]), mx.array([1.0, 3.0])
        >>> nn.losses.margin_ranking_loss(first, second, mx.array([1.0, 1.0]))
        array([0, 2], dtype=float32)
    """
    _check_same_shape("margin_ranking_loss", inputs1=inputs1, inputs2=inputs2, targets=targets)
    loss = mx.maximum(-targets * (inputs1 - inputs2) + margin, 0)
    return _reduce("margin_ranking_loss", loss, reduction)


def ctc_loss(
    log_probs: mx.array,
    targets: mx.array,
    input_lengths: mx.array,
    target_lengths: mx.array,
    blank: int = 0,
    reduction: Reduction = "mean",
    zero_infinity: bool = False,
) -> mx.array:
    """Connectionist temporal classification (Graves et al., 2006).

    The probability, as a negative logarithm, of all paths through the outputs that read as the
    targets once repetitions are joined and blanks are dropped.

    Args:
        log_probs: logarithms of probabilities, shape ``(N, T, C)``.
        targets: classes other than the blank, shape ``(N, S)``, filled up with anything.
        input_lengths: how many outputs count, shape ``(N,)``.
        target_lengths: how many targets count, shape ``(N,)``.
        blank: the class of the blank.
        reduction: "mean" divides each loss by the length of its targets first.
        zero_infinity: 0 instead of infinity where there are more targets than outputs can read.

    Returns:
        The loss, shape ``(N,)`` for the reduction "none".

    Raises:
        ValueError: shapes do not fit, or the blank is no class.

    Examples:
        >>> even = mx.log(mx.full((1, 2, 2), 0.5))  # two outputs, classes blank and 1
        >>> one = mx.array([[1]]), mx.array([2]), mx.array([1])
        >>> mx.exp(-nn.losses.ctc_loss(even, *one)).item()  # 1 1, blank 1, 1 blank
        0.75
    """
    if log_probs.ndim != 3 or targets.ndim != 2 or len(log_probs) != len(targets):
        raise ValueError(
            f"ctc_loss: log_probs {log_probs.shape} and targets {targets.shape}, "
            "expected (N, T, C) and (N, S)"
        )
    n, steps, classes = log_probs.shape
    lengths = {"input_lengths": input_lengths, "target_lengths": target_lengths}
    _check_same_shape("ctc_loss", **lengths, log_probs=mx.zeros(n))
    if not 0 <= blank < classes:
        raise ValueError(f"ctc_loss: blank is {blank}, expected a class below {classes}")
    # What stands for a probability of 0, whose differences are numbers.
    never = -1e30
    dtype = mx.float64 if log_probs.dtype == mx.float64 else mx.float32
    log_probs = mx.maximum(log_probs.astype(dtype), never)
    s = targets.shape[1]
    places = mx.arange(s)
    targets = mx.where(places < target_lengths[:, None], targets, blank)
    # Blanks before, between and behind the targets.
    blanks = mx.full((n, s), blank, targets.dtype)
    labels = mx.stack([blanks, targets], axis=2).reshape(n, 2 * s)
    labels = mx.concatenate([labels, mx.full((n, 1), blank, targets.dtype)], axis=1)
    # From a label one goes on to the next, and over a blank to another label.
    jumps = mx.concatenate(
        [mx.zeros((n, min(2, 2 * s + 1)), mx.bool_), labels[:, 2:] != labels[:, :-2]], axis=1
    ) & (labels != blank)
    seen = mx.take_along_axis(
        log_probs, mx.broadcast_to(labels[:, None], (n, steps, 2 * s + 1)), axis=2
    )
    path = mx.full((n, 2 * s + 1), never, dtype)
    start = (mx.arange(2 * s + 1) < 2) & (mx.arange(2 * s + 1) < 2 * target_lengths[:, None] + 1)
    for t in range(steps):
        if t == 0:
            after = mx.where(start, seen[:, 0], never)
        else:
            one = mx.pad(path[:, :-1], [(0, 0), (1, 0)], constant_values=never)
            two = mx.pad(path[:, :-2], [(0, 0), (min(2, 2 * s + 1), 0)], constant_values=never)
            two = mx.where(jumps, two, never)
            after = mx.logaddexp(mx.logaddexp(path, one), two) + seen[:, t]
        path = mx.where(t < input_lengths[:, None], mx.maximum(after, never), path)
    ends = 2 * target_lengths[:, None].astype(mx.int32)
    last = mx.take_along_axis(path, ends, axis=1)[:, 0]
    before = mx.take_along_axis(path, mx.maximum(ends - 1, 0), axis=1)[:, 0]
    total = mx.logaddexp(last, mx.where(target_lengths > 0, before, never))
    # Without outputs, the empty target is certain.
    total = mx.where(input_lengths > 0, total, mx.where(target_lengths > 0, never, 0))
    loss = mx.where(total > never / 2, -total, 0.0 if zero_infinity else mx.inf)
    if reduction == "mean":
        return mx.mean(loss / mx.maximum(target_lengths, 1))
    return _reduce("ctc_loss", loss, reduction)
