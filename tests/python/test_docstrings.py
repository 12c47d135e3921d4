"""Docstrings say what a function takes, gives and raises, with an example that runs."""

import doctest
import inspect
import re

import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
import cermet.utils as utils

COMPLETE = {"nn.losses": nn.losses, "nn.init": nn.init, "optim": optim, "utils": utils}
# Base classes of the user's own, and what several of them are made of: their examples are pages.
WITHOUT_EXAMPLE = {"optim.Optimizer", "optim.MultiOptimizer"}
PUBLIC = {
    f"{module}.{name}": getattr(space, name)
    for module, space in COMPLETE.items()
    for name in sorted(dir(space))
    if not name.startswith("_")
    and getattr(getattr(space, name), "__module__", "").startswith("cermet.")
    and (inspect.isfunction(getattr(space, name)) or inspect.isclass(getattr(space, name)))
}
# Of the layers, those that most programs use.
LAYERS = """
ALiBi BatchNorm Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
Dropout Dropout2d Dropout3d Embedding Flatten GRU GroupNorm Identity InstanceNorm LSTM LayerNorm
Linear MultiHeadAttention RMSNorm RNN RoPE Sequential SinusoidalPositionalEncoding Transformer
TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer Upsample
"""
PUBLIC |= {f"nn.{name}": getattr(nn, name) for name in LAYERS.split()}
NAMES = {"mx": mx, "nn": nn, "optim": optim, "utils": utils}


def sections(function):
    return set(re.findall(r"^(\w+)::?$", inspect.getdoc(function) or "", re.MULTILINE))


def test_the_names_are_found():
    assert len(PUBLIC) > 45
    assert {"nn.losses.mse_loss", "nn.init.he_normal", "optim.Adam", "utils.tree_map"} <= {*PUBLIC}


@pytest.mark.parametrize("name", PUBLIC)
def test_arguments_results_and_examples_are_told(name):
    function = PUBLIC[name]
    told = sections(function)
    if name in WITHOUT_EXAMPLE:
        return
    assert told & {"Example", "Examples"}
    parameters = [*inspect.signature(function).parameters]
    if parameters:
        assert "Args" in told
        documented = inspect.getdoc(function).split("\nArgs:\n")[1].split("\n\n")[0]
        listed = re.findall(r"^    ([\w, ]+):", documented, re.MULTILINE)
        assert {name for names in listed for name in names.split(", ")} == set(parameters)
    if inspect.isfunction(function):
        assert "Returns" in told


EXAMPLES = [
    pytest.param(test, id=name)
    for name, function in PUBLIC.items()
    for test in doctest.DocTestFinder(recurse=False).find(function, name, globs=NAMES)
    if test.examples
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_give_what_they_show(example):
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


def test_most_names_have_an_example_that_runs():
    assert len(EXAMPLES) > 75


@pytest.mark.parametrize("name", [name for name in PUBLIC if name.startswith("nn.losses.")])
def test_losses_raise_what_they_say(name):
    loss = PUBLIC[name]
    if name == "nn.losses.ctc_loss":  # test_losses.py has its errors
        return
    needed = [
        p
        for p in inspect.signature(loss).parameters.values()
        if p.default is inspect.Parameter.empty
    ]
    shapes = [(2, 3), (4, 5), (2, 3)][: len(needed)]
    with pytest.raises(ValueError):
        mx.eval(loss(*(mx.ones(shape) for shape in shapes)))
    same = [mx.zeros((2, 3)) for _ in needed]
    if name == "nn.losses.nll_loss":
        same[1] = mx.zeros((2,), mx.int32)
    with pytest.raises(ValueError, match="reduction is 'most'"):
        loss(*same, reduction="most")
