"""nn.Module: attributes, trees, updates, freezing, files."""

import contextlib
import copy
import pickle

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optimizers
from cermet.utils import tree_flatten, tree_map


class Model(nn.Module):
    """Arrays and modules nested in every kind of container."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(1, 1))]
        self.pair = (nn.Linear(2, 2, bias=False), mx.zeros((4,)))
        self.table = {"a": nn.Linear(1, 1, bias=False), "b": mx.zeros((5,))}
        self.scale = mx.ones((2, 2))
        self.kernel_size = (3, 3)
        self._hidden = mx.zeros((1,))
        self.name = "model"


PARAMETERS = {
    "layers.0.weight": (3, 2),
    "layers.0.bias": (3,),
    "layers.1.layers.1.weight": (1, 1),
    "layers.1.layers.1.bias": (1,),
    "pair.0.weight": (2, 2),
    "pair.1": (4,),
    "table.a.weight": (1, 1),
    "table.b": (5,),
    "scale": (2, 2),
}


@pytest.fixture
def model():
    return Model()


def names(tree):
    return [name for name, _ in tree_flatten(tree)]


def values(module):
    return {name: np.array(p) for name, p in tree_flatten(module.parameters())}


# Attributes


def test_parameters_are_arrays_in_modules_lists_tuples_and_dicts(model):
    shapes = {name: p.shape for name, p in tree_flatten(model.parameters())}
    assert shapes == PARAMETERS


def test_an_attribute_changes_between_array_and_plain_value(model):
    model.scale = 3
    assert model.scale == 3 and "scale" not in model
    model.scale = mx.zeros((1,))
    assert model["scale"] is model.scale and "scale" in names(model.parameters())
    del model.scale
    del model.name
    assert not hasattr(model, "scale") and not hasattr(model, "name")


def test_a_missing_attribute_is_named(model):
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'wheels'"):
        _ = model.wheels
    with pytest.raises(AttributeError, match="'Model' object has no attribute 'wheels'"):
        del model.wheels
    with pytest.raises(AttributeError):
        model.training = False


def test_properties_with_setters_work():
    class Scaled(nn.Module):
        @property
        def gain(self):
            return self.raw * 2

        @gain.setter
        def gain(self, value):
            self.raw = value

    module = Scaled()
    module.gain = mx.array([1.0])
    assert module.gain.item() == 2 and names(module.parameters()) == ["raw"]


def test_a_module_takes_another_class(model):
    class Doubled(nn.Linear):
        def __call__(self, x):
            return 2 * super().__call__(x)

    x = mx.ones((1, 4))
    layer = nn.Linear(4, 3)
    y = layer(x)
    layer.__class__ = Doubled
    assert type(layer) is Doubled
    assert mx.array_equal(layer(x), 2 * y)
    assert set(layer.parameters()) == {"weight", "bias"}
    with pytest.raises(TypeError):
        layer.__class__ = 3


def test_copies_are_independent(model):
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        clone.eval()
        clone.layers[0].weight = mx.zeros((3, 2))
        assert model.training and np.abs(values(model)["layers.0.weight"]).sum() > 0
        assert names(clone.parameters()) == names(model.parameters())


def test_prints_as_a_tree(model):
    assert repr(nn.Linear(2, 3)) == "Linear(input_dims=2, output_dims=3, bias=True)"
    assert repr(nn.Module()) == "Module()"
    assert repr(nn.Sequential(model.layers[0], nn.Sequential(nn.Tanh()))) == (
        "Sequential(\n"
        "  (layers.0): Linear(input_dims=2, output_dims=3, bias=True)\n"
        "  (layers.1): Sequential(\n"
        "    (layers.0): Tanh()\n"
        "  )\n"
        ")"
    )


# Trees


def test_children_and_leaf_modules(model):
    def types(tree):
        leaves = tree_flatten(tree, is_leaf=nn.Module.is_module)
        return {name: type(m).__name__ for name, m in leaves}

    direct = {"layers.0": "Linear", "layers.1": "Sequential", "pair.0": "Linear"}
    assert types(model.children()) == direct | {"table.a": "Linear"}
    leaves = {"layers.0": "Linear", "layers.1.layers.0": "ReLU", "layers.1.layers.1": "Linear"}
    assert types(model.leaf_modules()) == leaves | {"pair.0": "Linear", "table.a": "Linear"}


def test_named_modules_cover_the_tree(model):
    found = dict(model.named_modules())
    paths = ["layers.0", "layers.1", "layers.1.layers.0", "layers.1.layers.1"]
    assert set(found) == {"", *paths, "pair.0", "table.a"}
    assert found[""] is model and found["layers.0"] is model.layers[0]
    assert [id(m) for m in model.modules()] == [id(m) for m in found.values()]


class Knot(nn.Module):
    """A module whose child holds it."""

    def __init__(self):
        super().__init__()
        self.child = nn.Linear(2, 2)
        self.child.above = [self]


def deep_module():
    module = nn.Linear(1, 1)
    for _ in range(5_000):
        around = nn.Module()
        around.below = module
        module = around
    return module


@pytest.mark.parametrize("module", [Knot, deep_module])
@pytest.mark.parametrize(
    "walk",
    [
        nn.Module.freeze,
        nn.Module.unfreeze,
        nn.Module.train,
        nn.Module.eval,
        nn.Module.modules,
        nn.Module.named_modules,
        nn.Module.leaf_modules,
        nn.Module.parameters,
        nn.Module.trainable_parameters,
        repr,
        mx.eval,
        tree_flatten,
        lambda m: m.apply(lambda x: x),
        lambda m: m.update(m),
        lambda m: tree_map(lambda x: x, m),
        lambda m: mx.compile(lambda x: x, inputs=m.state)(mx.array(1.0)),
        lambda m: nn.value_and_grad(m, lambda: mx.array(1.0))(),
        lambda m: optimizers.Adam(0.1).init(m),
    ],
)
def test_a_module_without_an_end_is_an_error(module, walk):
    with pytest.raises(RecursionError):
        walk(module())


def test_a_module_that_holds_itself_is_named():
    with pytest.raises(RecursionError, match=r"Knot: the module at 'child\.above\.0' is one that"):
        Knot().freeze()


def test_filter_and_map(model):
    biases = model.filter_and_map(
        lambda m, k, v: isinstance(v, (dict, list)) or k == "bias", lambda x: x.size
    )
    assert dict(tree_flatten(biases)) == {"layers.0.bias": 3, "layers.1.layers.1.bias": 1}


def test_filter_sees_the_path_inside_containers(model):
    seen = []

    def record(module, key, value):
        seen.append((type(module).__name__, key))
        return True

    model.filter_and_map(record)
    assert {("Model", "layers.0"), ("Linear", "weight"), ("Model", "table.b")} <= set(seen)


def test_map_parameters_leaves_the_module_alone(model):
    before = values(model)
    shapes = model.map_parameters(lambda p: p.shape)
    is_leaf = lambda v: isinstance(v, tuple) and isinstance(v[0], int)  # noqa: E731
    assert dict(tree_flatten(shapes, is_leaf=is_leaf)) == PARAMETERS
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_map_parameters_with_is_leaf(model):
    kinds = model.map_parameters(
        lambda v: type(v).__name__, is_leaf=lambda m, k, v: isinstance(v, (nn.Linear, mx.array))
    )
    assert kinds["layers"][0] == "Linear" and kinds["scale"] == "array"


def test_apply(model):
    assert model.apply(lambda p: p + 1) is model
    np.testing.assert_array_equal(values(model)["table.b"], np.ones(5))
    np.testing.assert_array_equal(values(model)["pair.1"], np.ones(4))

    def scale_only(module, key, value):
        return key == "scale"

    model.apply(mx.zeros_like, scale_only)
    np.testing.assert_array_equal(values(model)["scale"], np.zeros((2, 2)))
    np.testing.assert_array_equal(values(model)["table.b"], np.ones(5))


def test_set_dtype(model):
    model.count = mx.array([3])
    model.set_dtype(mx.float16)
    assert model.layers[0].weight.dtype == mx.float16 and model.count.dtype == mx.int32
    model.set_dtype(mx.float32, predicate=None)
    assert model.count.dtype == mx.float32
    assert model._hidden.dtype == mx.float32


def test_train_and_eval(model):
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())


def test_state_is_the_module(model):
    assert model.state is model


# Updates


def test_update_changes_only_what_is_given(model):
    before = values(model)
    weight, pair = mx.full((3, 2), 7.0), mx.full((4,), 8.0)
    model.update({"layers": [{"weight": weight}], "pair": [{}, pair]})
    after = values(model)
    assert (after.pop("layers.0.weight") == 7).all() and (after.pop("pair.1") == 8).all()
    assert isinstance(model.pair, tuple)
    for name, value in after.items():
        np.testing.assert_array_equal(value, before[name])


BAD_UPDATES = {
    "unused": ({"scale": mx.zeros((2, 2)), "x": {"y": mx.zeros((1,))}}, nn.UnusedKeysError, "x.y"),
    "index": ({"layers": [{}, {}, {"w": mx.zeros((1,))}]}, nn.UnusedKeysError, "layers.2.w"),
    "plain": ({"name": mx.zeros((1,))}, nn.UnusedKeysError, "name"),
    "number": ({"scale": 3}, nn.StructureMismatchError, "scale is of type int, expected array"),
    "dict": ({"layers": {"0": {}}}, nn.StructureMismatchError, "layers is of type dict"),
    "array": ({"table": mx.zeros((1,))}, nn.StructureMismatchError, "table is of type array"),
}


@pytest.mark.parametrize("parameters, error, text", BAD_UPDATES.values(), ids=BAD_UPDATES)
def test_a_bad_update_is_refused_and_changes_nothing(model, parameters, error, text):
    before = values(model)
    with pytest.raises(error, match=text) as caught:
        model.update(parameters)
    assert isinstance(caught.value, nn.UpdateError) and isinstance(caught.value, ValueError)
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_an_update_that_is_not_strict_ignores_what_does_not_fit(model):
    model.update({"x": mx.zeros((1,)), "scale": mx.zeros((2, 2)), "table": 3}, strict=False)
    assert values(model)["scale"].sum() == 0 and isinstance(model.table, dict)


def test_verify_missing_keys(model):
    flags = nn.VerifyUpdate.ALL_MODEL_KEYS_SET
    parameters = model.parameters()
    model.update(parameters, verify=flags)
    del parameters["layers"][1]["layers"][1]["bias"], parameters["scale"]
    with pytest.raises(nn.MissingKeysError) as caught:
        model.update(parameters, verify=flags)
    assert caught.value.keys == ["layers.1.layers.1.bias", "scale"]
    assert "layers.1.layers.1.bias, scale" in str(caught.value)


def test_verify_shapes(model):
    bad = {"layers": [{"bias": mx.zeros((9,))}], "scale": mx.zeros((2, 2))}
    with pytest.raises(nn.ShapeMismatchError, match=r"\(3,\).*\(9,\).*layers\.0\.bias") as caught:
        model.update(bad, verify=nn.VerifyUpdate.SHAPE_MISMATCH)
    assert caught.value.keys == ["layers.0.bias"]
    assert values(model)["scale"].sum() == 4
    model.update(bad)
    assert model.layers[0].bias.shape == (9,)


def test_verify_decides_in_place_of_strict(model):
    unknown = {"x": mx.zeros((1,))}
    model.update(unknown, strict=True, verify=nn.VerifyUpdate.NONE)
    with pytest.raises(nn.UnusedKeysError):
        model.update(unknown, strict=False, verify=nn.VerifyUpdate.ALL)


def test_update_modules(model):
    old = model.layers[0]
    new, other = nn.Tanh(), nn.ReLU()
    model.update_modules({"layers": [{}, {"layers": [new]}], "pair": [other]})
    assert model.layers[0] is old and model.layers[1].layers[0] is new
    assert model.pair[0] is other and isinstance(model.pair, tuple)


BAD_MODULES = {
    "unused": ({"x": nn.ReLU()}, nn.UnusedKeysError, "x"),
    "index": ({"layers": [{}, {}, nn.ReLU()]}, nn.UnusedKeysError, "layers.2"),
    "array": ({"scale": nn.ReLU()}, nn.StructureMismatchError, "scale is of type ReLU"),
    "number": ({"layers": [3]}, nn.StructureMismatchError, "layers.0 is of type int"),
}


@pytest.mark.parametrize("modules, error, text", BAD_MODULES.values(), ids=BAD_MODULES)
def test_a_bad_update_of_modules_is_refused(model, modules, error, text):
    with pytest.raises(error, match=text):
        model.update_modules(modules)
    model.update_modules(modules, strict=False)
    assert names(model.parameters()) == names(Model().parameters())


def test_verify_missing_modules(model):
    flags = nn.VerifyUpdate.ALL_MODEL_KEYS_SET
    model.update_modules(model.leaf_modules(), verify=flags)
    model.update_modules(model.children(), verify=flags)
    with pytest.raises(nn.MissingKeysError, match=r"layers\.1\.layers\.0"):
        model.update_modules({"layers": [nn.ReLU()]}, verify=flags)


# Freezing


def test_freeze_and_unfreeze(model):
    model.freeze()
    assert names(model.trainable_parameters()) == []
    model.layers[0].unfreeze()
    assert names(model.trainable_parameters()) == ["layers.0.weight", "layers.0.bias"]
    model.unfreeze()
    assert names(model.trainable_parameters()) == list(PARAMETERS)


def test_freeze_by_key(model):
    model.freeze(keys="bias")
    assert names(model.trainable_parameters()) == [n for n in PARAMETERS if "bias" not in n]
    model.unfreeze(keys=["bias"])
    assert names(model.trainable_parameters()) == list(PARAMETERS)


def test_freeze_without_recursion(model):
    model.freeze(recurse=False)
    frozen = {"pair.1", "table.b", "scale"}
    assert names(model.trainable_parameters()) == [n for n in PARAMETERS if n not in frozen]
    model.freeze().unfreeze(recurse=False)
    assert set(names(model.trainable_parameters())) == frozen


def test_strict_freezing_wants_the_key(model):
    before = names(model.trainable_parameters())
    for change in (model.freeze, model.unfreeze):
        with pytest.raises(KeyError, match="has no key wheels"):
            change(keys=["wheels"], strict=True)
    with pytest.raises(KeyError, match=r"freeze: Linear has no key wieght, but weight, bias"):
        model.layers[0].freeze(keys=["bias", "wieght"], strict=True, recurse=False)
    two = nn.Sequential(nn.Linear(2, 2))
    two["bias"] = mx.ones(1)
    two.layers[0].pop("bias")
    with pytest.raises(KeyError, match=r"layers\.0 \(Linear\) has no key bias, but weight"):
        two.freeze(keys="bias", strict=True)
    assert names(two.trainable_parameters()) == ["layers.0.weight", "bias"]  # nothing was frozen
    assert names(model.trainable_parameters()) == before


def test_freezing_warns_of_a_key_that_no_module_has(model):
    for change in (model.freeze, model.unfreeze):
        with pytest.warns(
            UserWarning, match=r"no module of Model has a key wieght; .*weight"
        ) as told:
            change(keys=["bias", "wieght"])
        assert told[0].filename == __file__
    model.freeze(keys=["bias", "pair.1", "table"])  # which some module has
    assert "pair.1" not in names(model.trainable_parameters())


# Files


@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_save_and_load(model, tmp_path, extension):
    file = str(tmp_path / f"weights.{extension}")
    model.save_weights(file)
    other = Model()
    assert other.load_weights(file) is other
    for name, value in values(other).items():
        np.testing.assert_array_equal(value, values(model)[name])


def test_save_wants_a_known_extension(model, tmp_path):
    with pytest.raises(ValueError, match=r"weights\.txt"):
        model.save_weights(str(tmp_path / "weights.txt"))


WEIGHT, BIAS = mx.ones((3, 2)), mx.ones((3,))
BAD_WEIGHTS = {
    "unused": ([("weight", WEIGHT), ("bias", BIAS), ("x", BIAS)], nn.UnusedKeysError),
    "missing": ([("weight", WEIGHT)], nn.MissingKeysError),
    "shape": ([("weight", WEIGHT), ("bias", WEIGHT)], nn.ShapeMismatchError),
    "kind": ([("weight", WEIGHT), ("bias", 3)], nn.StructureMismatchError),
}


@pytest.mark.parametrize("weights, error", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_strict_loading_wants_exactly_the_parameters(weights, error):
    layer = nn.Linear(2, 3)
    before = values(layer)["weight"]
    with pytest.raises(error):
        layer.load_weights(weights)
    np.testing.assert_array_equal(values(layer)["weight"], before)
    layer.load_weights(weights, strict=False)
    np.testing.assert_array_equal(values(layer)["weight"], np.ones((3, 2)))


# Keys that differ from attributes


class Renamed(nn.Module):
    feed_fwd = nn.ModuleInfo(key="feed_forward")
    towers = nn.ModuleInfo(key="blocks")
    gain = nn.ParameterInfo(key="scale")
    plain = nn.ParameterInfo()

    def __init__(self):
        super().__init__()
        self.feed_fwd = nn.Linear(2, 2, bias=False)
        self.towers = [nn.Linear(1, 1, bias=False)]
        self.gain = mx.ones((2,))
        self.plain = mx.ones((1,))


RENAMED = ["feed_forward.weight", "blocks.0.weight", "scale", "plain"]


def test_the_key_stands_in_the_tree_and_the_attribute_in_the_code():
    model = Renamed()
    assert names(model.parameters()) == RENAMED
    assert {path for path, _ in model.named_modules()} == {"", "feed_forward", "blocks.0"}
    assert "(feed_forward): Linear" in repr(model)
    assert model.feed_fwd is model["feed_forward"] is model.feed_forward
    assert not hasattr(Renamed.__new__(Renamed), "feed_fwd")


def test_updates_and_freezing_go_by_the_key():
    model = Renamed()
    model.update({"scale": mx.zeros((2,))})
    assert model.gain.sum().item() == 0
    model.update_modules({"feed_forward": nn.Tanh()})
    assert isinstance(model.feed_fwd, nn.Tanh)
    model.freeze(keys="scale")
    assert "scale" not in names(model.trainable_parameters())
    with pytest.raises(nn.UnusedKeysError, match="gain"):
        model.update({"gain": mx.zeros((2,))})


def test_a_renamed_attribute_may_be_none_and_may_be_deleted():
    model = Renamed()
    model.gain = None
    assert model.gain is None and "scale" not in names(model.parameters())
    del model.gain
    with pytest.raises(AttributeError, match="'Renamed' object has no attribute 'gain'"):
        _ = model.gain
    with pytest.raises(AttributeError, match="'gain'"):
        del model.gain


def test_copies_keep_renamed_attributes():
    model = Renamed()
    assert names(copy.deepcopy(model).parameters()) == RENAMED


# Functions of modules


def test_unary_layer():
    assert isinstance(nn.Linear(1, 1), nn.UnaryLayer) and isinstance(nn.gelu, nn.UnaryLayer)
    assert not isinstance(nn.Module(), nn.UnaryLayer)


def square_loss(model, x, scale=1.0):
    return (model(x) ** 2).sum() * scale


def test_value_and_grad_has_the_tree_of_the_trainable_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model.layers[0].freeze(keys="weight")
    x = mx.ones((2, 3))
    value, grads = nn.value_and_grad(model, square_loss)(model, x, scale=2.0)
    assert names(grads) == names(model.trainable_parameters())
    hidden = np.array(model.layers[0](x), np.float64)
    y = np.array(model(x), np.float64)
    np.testing.assert_allclose(value.item(), 2 * (y**2).sum(), rtol=1e-5)
    expected = 4 * y.T @ hidden
    np.testing.assert_allclose(grads["layers"][1]["weight"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "optimizer", [optimizers.SGD(0.1), optimizers.AdamW(0.1, weight_decay=0.5)]
)
def test_parameters_of_integers_are_not_trained(optimizer):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.packed = mx.array([1, 2], mx.uint8)
            self.places = [mx.array([3], mx.int32), mx.array([2.0, 4.0])]
            self.scale = mx.array([0.5])

        def __call__(self, x):
            return (x * self.packed * self.scale + self.places[1]).sum()

    model = Packed()
    value, gradients = nn.value_and_grad(model, lambda model, x: model(x))(model, mx.ones(2))
    assert value.item() == 7.5
    assert gradients["scale"].item() == 3
    assert gradients["packed"].tolist() == [0, 0]
    assert [g.tolist() for g in gradients["places"]] == [[0], [1, 1]]
    optimizer.update(model, gradients)
    assert (model.packed.dtype, model.packed.tolist()) == (mx.uint8, [1, 2])
    assert (model.places[0].dtype, model.places[0].tolist()) == (mx.int32, [3])
    assert model.scale.item() < 0.5
    assert model.places[1].tolist() != [2, 4]


def test_value_and_grad_passes_other_results_through_and_restores_the_parameters():
    model = nn.Linear(2, 2)
    before = model.weight

    def fn(x):
        return model(x).sum(), "more"

    (_, more), _ = nn.value_and_grad(model, fn)(mx.ones((1, 2)))
    assert more == "more" and model.weight is before

    def failing(x):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        nn.value_and_grad(model, failing)(mx.ones((1, 2)))
    assert model.weight is before


def test_value_and_grad_walks_the_parameters_three_times_at_most(monkeypatch):
    walks = []

    class Walked(nn.Linear):
        def items(self):
            walks.append(self)
            return super().items()

    def walked_map(fn, tree, *rest):
        walks.append(tree)
        return tree_map(fn, tree, *rest)

    monkeypatch.setattr(nn.utils, "tree_map", walked_map)
    given = []
    transform = mx.value_and_grad
    monkeypatch.setattr(
        mx, "value_and_grad", lambda fn: lambda p, *a: given.append(p) or transform(fn)(p, *a)
    )
    model = nn.Sequential(Walked(2, 3), nn.Tanh(), nn.Linear(3, 2))
    nn.value_and_grad(model, lambda x: (model(x) ** 2).sum())(mx.ones((1, 2)))
    # One walk finds the parameters, one arranges the gradients; the transform gets a plain list.
    assert len(walks) == 2
    assert [type(p) for p in given[0]] == [mx.array] * 4


@pytest.mark.parametrize("fails", [False, True])
def test_updates_of_parameters_inside_value_and_grad_stay(fails):
    """As in MLX; what was not updated is what it was."""
    model = Model()
    model.layers[0].bias = mx.zeros(3)
    kept, pair, table = model.layers[0].weight, model.pair[1], model.table["b"]

    def fn():
        model.scale = model.scale * 3
        model.layers[0].bias += 1
        model.layers.append(nn.Linear(1, 1))
        if fails:
            raise RuntimeError("stop")
        return model.scale.sum() + model.pair[1].sum() + model.table["b"].sum()

    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        _, gradients = nn.value_and_grad(model, fn)()
        assert gradients["scale"].tolist() == [[3, 3], [3, 3]] and len(gradients["layers"]) == 2
        assert gradients["pair"][1].tolist() == [1] * 4
        assert gradients["table"]["b"].tolist() == [1] * 5
    assert model.scale.tolist() == [[3, 3], [3, 3]] and len(model.layers) == 3
    assert model.layers[0].bias.tolist() == [1, 1, 1]
    assert model.layers[0].weight is kept and model.pair[1] is pair and model.table["b"] is table


def test_a_module_that_stands_twice_has_its_parameters_back():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, layer)
    before = layer.weight
    nn.value_and_grad(model, lambda x: model(x).sum())(mx.ones((1, 2)))
    assert layer.weight is before


def test_a_module_as_the_argument_of_a_gradient():
    model = nn.Linear(2, 1)
    before = model.weight
    seen = []

    def fn(given):
        seen.append(given is model)
        return given(mx.array([[2.0, 3.0]])).sum()

    gradient = mx.grad(fn)(model)
    assert seen == [True] and gradient["weight"].tolist() == [[2, 3]]
    assert model.weight is before


def test_checkpoint_changes_no_value_and_no_gradient():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh())
    checkpointed = nn.utils.checkpoint(model)
    x = mx.ones((2, 3))
    np.testing.assert_array_equal(checkpointed(x), model(x))
    _, plain = nn.value_and_grad(model, lambda x: (model(x) ** 2).sum())(x)
    _, again = nn.value_and_grad(model, lambda x: (checkpointed(x) ** 2).sum())(x)
    for (_, a), (_, b) in zip(tree_flatten(plain), tree_flatten(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    doubled = nn.utils.checkpoint(model, lambda x: 2 * model(x))
    np.testing.assert_array_equal(doubled(x), 2 * model(x))


class FakeGroup:
    """Two processes with the same gradients."""

    def size(self):
        return 2


@pytest.mark.parametrize("all_reduce_size", [0, 8, 1 << 20])
def test_average_gradients(monkeypatch, all_reduce_size):
    sent = []

    def all_sum(x, group, stream):
        sent.append(x.size)
        return 2 * x

    monkeypatch.setattr(mx.distributed, "all_sum", all_sum)
    grads = {"a": mx.array([1.0, 2.0]), "b": [mx.ones((2, 2)), mx.ones((3,), mx.float16)]}
    averages = nn.average_gradients(grads, FakeGroup(), all_reduce_size)
    assert len(sent) == (2 if all_reduce_size > 8 else 3)
    same = tree_map(
        lambda a, b: a.shape == b.shape and mx.array_equal(a, b).item(), grads, averages
    )
    assert all(ok for _, ok in tree_flatten(same))


def test_average_gradients_of_one_process():
    grads = {"a": mx.array([1.0])}
    assert nn.average_gradients(grads) is grads


def test_modules_can_be_imported_where_programs_look_for_them():
    from cermet.nn.layers.activations import gelu
    from cermet.nn.layers.base import Module

    assert Module is nn.Module and gelu is nn.gelu


def test_a_child_beside_a_property_that_cannot_be_set():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [nn.Linear(2, 2)]
            self.scale = mx.ones(1)

        @property
        def layers(self):
            return self["layers"][::-1]

        @property
        def scale(self):
            return 2 * self["scale"]

        @property
        def settable(self):
            return self._value

        @settable.setter
        def settable(self, value):
            self._value = value

    module = Stack()
    assert set(module.parameters()) == {"layers", "scale"} and module.scale.item() == 2
    with pytest.raises(AttributeError):
        module.scale = 3.0
    module.settable = mx.ones(2)
    assert "settable" not in module and "_value" in module
    del module.scale
    assert "scale" not in module
    with pytest.raises(AttributeError):
        del module.scale


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 2, 2, 2)])
def test_layers_with_parameters_of_other_shapes_are_printed(shape):
    for layer in (
        nn.Linear(2, 3),
        nn.Bilinear(2, 3, 4),
        nn.Conv2d(2, 3, 3),
        nn.ConvTranspose1d(2, 3, 3),
        nn.Embedding(3, 4),
        nn.LSTM(2, 3),
        nn.GRU(2, 3),
        nn.RNN(2, 3),
        nn.RMSNorm(3),
        nn.QuantizedLinear(64, 64),
        nn.TransformerEncoder(1, 8, 2),
    ):
        layer.apply(lambda p: mx.zeros(shape, p.dtype))
        assert type(layer).__name__ in repr(layer)


def test_weights_without_names_are_refused():
    for weights in ([mx.ones(3)], [("a", mx.ones(3), 1)], [(1, mx.ones(3))]):
        with pytest.raises(ValueError, match="pairs of a dotted path and a leaf"):
            nn.Linear(2, 2).load_weights(weights)
