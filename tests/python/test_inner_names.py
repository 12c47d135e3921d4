"""Inner names and texts of modules and optimizers that published packages go by."""

import copy

import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.nn.layers.base import Module


class Halved(Module):
    """A layer that says itself what quantized and training mean for it."""

    def __init__(self):
        super().__init__()
        self.weight = mx.ones((4, 64))
        self.switched = 0

    def __call__(self, x):
        return x @ self.weight.T

    def to_quantized(self, group_size=64, bits=4, mode="affine"):
        layer = nn.QuantizedLinear(64, 4, False, group_size, bits, mode)
        layer.asked = (group_size, bits, mode)
        return layer

    def _set_training_mode(self, mode):
        super()._set_training_mode(mode)
        self.switched += 1

    def _extra_repr(self):
        return "by half"


def test_layers_that_quantize_themselves():
    model = nn.Sequential(Halved())
    nn.quantize(model, group_size=32, bits=8)
    assert isinstance(model.layers[0], nn.QuantizedLinear)
    assert model.layers[0].asked == (32, 8, "affine")


class OfNoMode(nn.Linear):
    """A layer from before there were modes."""

    def to_quantized(self, group_size=64, bits=4):
        layer = nn.QuantizedLinear.from_linear(self, group_size, bits)
        layer.asked = (group_size, bits)
        return layer


def test_layers_that_know_no_mode():
    model = nn.Sequential(OfNoMode(64, 4), nn.Linear(64, 4))
    nn.quantize(model, group_size=32, bits=8)
    assert model.layers[0].asked == (32, 8) and model.layers[1].mode == "affine"
    with pytest.raises(TypeError, match="mode"):  # which it would not obey
        nn.quantize(nn.Sequential(OfNoMode(64, 4)), mode="mxfp4")

    class Wide(OfNoMode):
        def to_quantized(self, **settings):
            assert settings == {"group_size": 64, "bits": 4, "mode": "affine"}
            return nn.QuantizedLinear.from_linear(self, 64, 4)

    nn.quantize(nn.Sequential(Wide(64, 4)), 64, 4)


class Hasty(Module):
    """A module that begins without Module's own beginning."""

    def __init__(self):
        self.inner = nn.Linear(2, 3)
        self.scale = mx.ones(3)

    def __call__(self, x):
        return self.inner(x) * self.scale


def test_modules_that_call_no_init():
    model = Hasty()
    assert model.training and not model.eval().training and model.train().training
    _, gradient = nn.value_and_grad(model, lambda m, x: m(x).sum())(model, mx.ones((1, 2)))
    assert gradient["inner"]["bias"].tolist() == [1, 1, 1] and "scale" in gradient
    model.freeze(keys="scale", recurse=False)
    assert list(model.trainable_parameters()) == ["inner"]
    assert list(copy.deepcopy(model).trainable_parameters()) == ["inner"]
    assert "scale" in Hasty().trainable_parameters()  # each has its own
    with pytest.raises(AttributeError, match="other"):
        _ = model.other


def test_training_and_frozen_keys():
    model = nn.Sequential(Halved())
    layer = model.layers[0]
    model.eval().train()
    assert layer.switched == 2 and layer._training is True
    assert repr(layer) == "Halved(by half)"
    layer._no_grad.add("weight")
    assert not model.trainable_parameters()["layers"][0]
    assert layer._validate_keys("weight", strict=True) == ["weight"]
    with pytest.raises(KeyError):
        layer._validate_keys(["other"], strict=True)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"weight": (3, 2)}, "Missing 1 parameters"),
        ({}, "Missing 2 parameters"),
        ({"weight": (3, 2), "bias": (3,), "a": (1,)}, "Received 1 parameters not in model"),
        (
            {"weight": (3, 2), "bias": (4,)},
            r"Expected shape \(3,\) but received shape \(4,\) for parameter bias",
        ),
    ],
)
def test_texts_of_load_weights(weights, text):
    with pytest.raises(ValueError, match=text):
        nn.Linear(2, 3).load_weights([(k, mx.zeros(shape)) for k, shape in weights.items()])


class Sign(optim.Optimizer):
    """An optimizer as packages write them."""

    def __init__(self, learning_rate, scale=1.0):
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self._maybe_schedule("scale", scale)

    def init_single(self, parameter, state):
        state["count"] = mx.array(0)

    def apply_single(self, gradient, parameter, state):
        state["count"] = state["count"] + 1
        return parameter - self.learning_rate * self.state["scale"] * mx.sign(gradient)


def test_schedules_of_optimizers():
    optimizer = Sign(lambda step: 0.5 / (step + 1), 2.0)
    assert optimizer.learning_rate.item() == 0.5 and optimizer.state["scale"].item() == 2
    assert not optimizer._initialized
    parameters = {"w": mx.zeros(2)}
    for expected in (-1.0, -1.5):
        parameters = optimizer.apply_gradients({"w": mx.array([1.0, 3.0])}, parameters)
        assert parameters["w"].tolist() == [expected] * 2
    assert optimizer._initialized and optimizer.state["w"]["count"].item() == 2


def test_what_dropout_keeps():
    layer = nn.Dropout(0.25)
    assert layer._p_1 == 0.75
    layer._p_1 = 1.0
    assert layer.p == 0 and layer(mx.ones(3)).tolist() == [1, 1, 1]


def test_statistics_of_a_subclass():
    class Centred(nn.BatchNorm):
        def _calc_stats(self, x, ddof=0):
            mean, var = super()._calc_stats(x, ddof)
            return mean + 1, var

    mean, var = nn.BatchNorm(1)._calc_stats(mx.array([[1.0], [3.0]]), ddof=1)
    assert mean.tolist() == [2] and var.tolist() == [2]
    layer = Centred(1, affine=False, eps=0)
    assert layer(mx.array([[1.0], [3.0]])).tolist() == [[-2], [0]]


def test_the_working_set_of_the_default_device():
    assert mx.device_info()["max_recommended_working_set_size"] > 0
