"""The table of a model's layers: counts against formulas written here, and what it leaves alone."""

from html.parser import HTMLParser

import pytest
from conftest import SIMULATED

import cermet.core as mx
import cermet.nn as nn


def row(summary, path):
    (found,) = (layer for layer in summary.layers if layer.path == path)
    return found


class Attention(nn.Module):
    """Products of its own between those of its layers."""

    def __init__(self, dims, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dims, 3 * dims)
        self.out = nn.Linear(dims, dims)
        self.mixed = mx.ones((dims, dims))

    def __call__(self, x):
        batch, length, _ = x.shape
        qkv = self.qkv(x @ self.mixed).reshape(batch, length, 3, self.heads, -1)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=1.0)
        return self.out(y.transpose(0, 2, 1, 3).reshape(x.shape))


LAYERS = [
    (lambda: nn.Linear(5, 7), [(2, 3, 5)], 2 * 3 * 5 * 7, 5 * 7 + 7),
    (lambda: nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)], None, 3 * 4 * 5 + 5),
    (lambda: nn.Conv2d(4, 8, 3), [(2, 8, 8, 4)], 2 * 6 * 6 * 8 * 9 * 4, 8 * 9 * 4 + 8),
    (lambda: nn.Conv1d(4, 8, 3, padding=1), [(2, 9, 4)], 2 * 9 * 8 * 3 * 4, 8 * 3 * 4 + 8),
    (lambda: nn.Conv2d(4, 8, 3, groups=2), [(1, 8, 8, 4)], 6 * 6 * 8 * 9 * 2, 8 * 9 * 2 + 8),
    (lambda: nn.Conv3d(2, 3, 2), [(1, 4, 4, 4, 2)], 27 * 3 * 8 * 2, 3 * 8 * 2 + 3),
    (lambda: nn.ConvTranspose2d(4, 8, 3, 2), [(1, 5, 6, 4)], 5 * 6 * 4 * 9 * 8, 8 * 9 * 4 + 8),
    (lambda: nn.RMSNorm(6), [(2, 6)], 0, 6),
    (lambda: nn.MultiHeadAttention(8, 2), [(2, 5, 8)] * 3, 2 * 5 * 5 * 8 * 2, 0),
    (lambda: nn.LSTM(4, 8), [(2, 5, 4)], 2 * 5 * 4 * 32 + 2 * 4 * 8 * 32, 32 * 12 + 32),
    (lambda: nn.MaxPool2d(2), [(1, 4, 4, 3)], 0, 0),
]


@pytest.mark.parametrize("make, shapes, adds, parameters", LAYERS)
def test_a_layer_is_counted(make, shapes, adds, parameters):
    layer = make()
    summary = nn.summary(layer, *map(mx.zeros, shapes))
    one = row(summary, "")
    assert one.kind == type(layer).__name__ and one.calls == 1
    expected = layer(*map(mx.zeros, shapes))
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert one.shapes == [y.shape for y in expected]
    assert one.parameters == one.trainable == parameters and one.nbytes == 4 * parameters
    is_spread = SIMULATED and "Transpose" in one.kind  # a GPU multiplies the zeros in between
    if adds is not None and not is_spread:
        assert one.multiply_adds == adds


def test_products_of_a_module_are_its_own_and_those_of_its_layers_theirs():
    b, n, d, heads = 2, 5, 8, 2
    summary = nn.summary(Attention(d, heads), mx.zeros((b, n, d)))
    assert row(summary, "").multiply_adds == b * n * d * d + 2 * b * n * n * d
    assert row(summary, "qkv").multiply_adds == b * n * d * 3 * d
    assert row(summary, "out").multiply_adds == b * n * d * d
    assert [layer.path for layer in summary.layers] == ["", "qkv", "out"]
    assert summary.multiply_adds == sum(layer.multiply_adds for layer in summary.layers)
    assert row(summary, "").parameters == d * d


def test_a_product_given_to_two_layers_counts_once():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.ReLU(), nn.Tanh()]
            self.weight = mx.ones((3, 4))

        def __call__(self, x):
            y = x @ self.weight
            return self.layers[0](y + 1) * self.layers[1](y + 2)

    summary = nn.summary(Fork(), mx.zeros((2, 3)))
    assert [layer.multiply_adds for layer in summary.layers] == [2 * 3 * 4, 0, 0]


def test_quantized_layers_count_what_they_stand_for():
    model = nn.Sequential(nn.Linear(64, 128, bias=False), nn.Linear(128, 64))
    whole = nn.summary(model, mx.zeros((3, 64)))
    nn.quantize(model, group_size=64, bits=4)
    packed = nn.summary(model, mx.zeros((3, 64)))
    assert packed.multiply_adds == whole.multiply_adds == 2 * 3 * 64 * 128
    scales = 2 * 2 * 128  # with the biases of the groups
    assert packed.parameters == whole.parameters + scales
    assert packed.nbytes == 2 * 64 * 128 // 2 + 4 * scales + 4 * 64
    assert packed.trainable == 64


def test_layers_are_called_repeated_and_shared():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = self.first
            self.unused = nn.Linear(4, 4)

        def __call__(self, x):
            return self.second(self.first(x))

    summary = nn.summary(Tied(), mx.zeros((3, 4)))
    first, second, unused = (row(summary, path) for path in ("first", "second", "unused"))
    assert first.calls == 2 and first.multiply_adds == 2 * 3 * 16 and first.parameters == 20
    assert second.same_as == "first" and second.parameters == second.multiply_adds == 0
    assert unused.calls == 0 and unused.shapes is None and summary.parameters == 40
    assert "(3, 4) (2 calls)" in repr(summary) and "as first" in repr(summary)


def test_frozen_parameters_are_told_apart():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm(4), nn.Linear(4, 2))
    model.layers[0].freeze()
    model.layers[2].freeze(keys="bias")
    summary = nn.summary(model)
    assert (summary.parameters, summary.trainable, summary.frozen) == (46, 16, 30)
    text = repr(summary)
    assert "20 frozen" in text and "10 (8 trainable)" in text and "16 (8 trainable)" in text
    assert "46 parameters (16 trainable, 30 frozen), 184 bytes" in text
    assert "Multiply-adds" not in text and "Result" not in text


@pytest.mark.parametrize("checkpointed", [False, True])
def test_nothing_is_computed_and_nothing_changes(checkpointed):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide = nn.Linear(100_000, 100_000)  # 40 GB, which must never be there
            self.norm = nn.BatchNorm(100_000)
            self.dropout = nn.Dropout(0.5)
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            wide = nn.utils.checkpoint(self.wide) if checkpointed else self.wide
            return self.dropout(self.norm(wide(x)))

    mx.random.seed(3)
    model, inputs, key = Model(), mx.zeros((2, 100_000)), mx.random.state[0]
    mean, call = model.norm.running_mean, nn.Linear.__call__
    before = mx.get_active_memory()
    summary = nn.summary(model, inputs)
    assert mx.get_active_memory() - before < 2**20
    assert summary.multiply_adds == 2 * 10**10 and summary.nbytes > 40 * 10**9
    assert model.norm.running_mean is mean and mx.random.state[0].tolist() == key.tolist()
    assert model.calls == 0 and model.training
    assert nn.Linear.__call__ is call and "__call__" in vars(nn.Linear)


def test_classes_are_as_before_when_a_call_fails():
    class Child(nn.Linear):
        pass

    model = nn.Sequential(Child(3, 4), nn.ReLU())
    calls = nn.Linear.__call__, nn.ReLU.__call__
    with pytest.raises(ValueError, match=r"addmm|matmul"):
        nn.summary(model, mx.zeros((2, 5)))
    assert (nn.Linear.__call__, nn.ReLU.__call__) == calls and "__call__" not in vars(Child)


def test_super_call_is_no_second_call():
    class Scaled(nn.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    summary = nn.summary(nn.Sequential(Scaled(3, 4), nn.Linear(4, 4)), mx.zeros((2, 3)))
    assert [layer.calls for layer in summary.layers] == [1, 1, 1]
    assert row(summary, "layers.0").multiply_adds == 24


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.text = [], []

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.rows:
            self.rows[-1].append(data)
        self.text.append(data)


def test_notebooks_show_tables():
    model = nn.Sequential(nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 10))
    model["<b>"] = nn.Identity()
    cells = Cells()
    cells.feed(nn.summary(model, mx.zeros((64, 784)))._repr_html_())
    assert cells.rows[0] == ["Layer", "Kind", "Result", "Parameters", "Bytes", "Multiply-adds"]
    linear = ["layers.0", "Linear", "(64, 32)", "25,120", "100,480", "1,605,632"]
    assert linear in cells.rows
    assert ["<b>", "Identity"] in cells.rows  # as text
    assert cells.text[0].startswith("25,450 parameters")
    cells = Cells()
    cells.feed(model._repr_html_())
    assert cells.rows[0] == ["Layer", "Kind", "Parameters", "Bytes"] and len(cells.rows) == 6


def test_what_is_no_module_is_named():
    with pytest.raises(TypeError, match="summary: model is a list, expected a module"):
        nn.summary([nn.Linear(2, 2)])
