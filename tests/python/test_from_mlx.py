"""Calls that differed from MLX by mistake."""

import numpy as np
import pytest

import cermet.core as mx
from cermet import nn, optimizers, utils


@pytest.mark.parametrize("count", [2, np.int64(2), np.uint8(2), mx.array(2)], ids=repr)
def test_numbers_of_any_kind_count_parts(count):
    x = mx.arange(6)
    for parts in (mx.split(x, count), x.split(count)):
        assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5]]


def test_parts_that_a_bool_counts():
    assert [part.tolist() for part in mx.split(mx.arange(2), True)] == [[0, 1]]
    with pytest.raises(ValueError, match="split"):
        mx.split(mx.arange(2), False)


@pytest.mark.parametrize("places", [[2], (2,), np.array([2]), mx.array([2])], ids=repr)
def test_a_list_of_one_place_is_no_count(places):
    assert [part.size for part in mx.split(mx.arange(6), places)] == [2, 4]


def test_more_parts_than_integers_count():
    with pytest.raises(TypeError):
        mx.split(mx.arange(6), 2**40)


def test_padding_of_no_width_is_checked():
    with pytest.raises(ValueError, match='the mode is "x"'):
        mx.pad(mx.ones(2), 0, "x")
    with pytest.raises(ValueError, match="expected a scalar"):
        mx.pad(mx.ones(2), 0, constant_values=mx.ones(2))
    assert mx.pad(mx.ones(2), 0, "edge").shape == (2,)


def test_pairs_for_no_axes():
    assert mx.pad(mx.array(2.0), (), "edge").item() == 2


def test_leading_unit_axes_of_what_is_put():
    x, at = mx.zeros((2, 2)), mx.array([[1], [0]])
    assert mx.put_along_axis(x, at, mx.ones((1, 1, 2, 1)), 1).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError):
        mx.put_along_axis(x, at, mx.ones((2, 2, 1)), 1)


def test_the_bytes_of_a_number():
    assert mx.view(1.0, mx.int32).item() == 0x3F800000
    assert mx.view(-(2**33), mx.uint64).item() == 2**64 - 2**33


@pytest.mark.parametrize("wrong", [True, 1, "x", None, np.float32], ids=repr)
def test_what_is_no_type_is_no_subtype(wrong):
    for pair in ((wrong, mx.floating), (mx.floating, wrong), (mx.float32, wrong)):
        with pytest.raises(mx.KindError, match="issubdtype"):
            mx.issubdtype(*pair)


@pytest.mark.parametrize("wrong", [2.5, None, ("bool", 1), np.float32], ids=repr)
def test_kinds_and_types_of_other_kinds(wrong):
    for function in (lambda: mx.isdtype(mx.int8, wrong), lambda: mx.result_type(wrong)):
        with pytest.raises(mx.KindError):
            function()
    with pytest.raises(mx.KindError, match="can_cast"):
        mx.can_cast(wrong, mx.int8)


@pytest.mark.parametrize("base", [-1, 1j, -1j, complex(np.complex64(0.6 + 0.8j))], ids=str)
def test_complex_powers_of_many_turns(base):
    base = complex(base)
    want = base
    for bits in range(1, 27):
        want *= want
        got = (mx.array(base) ** mx.array(2.0**bits)).item()
        assert abs(got - want) < 1e-4 * abs(want), bits
    for bits in (40, 50, 59):
        n = mx.array(2.0**bits)
        assert abs((mx.array(base / 2) ** n).item()) == 0
        assert abs((mx.array(base * 2) ** n).item()) == mx.inf
        if abs(base) == 1:
            assert abs((mx.array(base) ** n).item()) == pytest.approx(1, abs=1e-5)


def test_a_range_of_one_number_is_its_start():
    assert mx.linspace(3, mx.inf, 1).tolist() == [3]
    assert mx.linspace(3, 9, 1, dtype=mx.int8).tolist() == [3]


def test_lists_and_tuples_merge():
    add = lambda a, b: a + b  # noqa: E731
    assert utils.tree_merge([1, 2], (3,), add) == [4, 2]
    assert utils.tree_merge(({"a": 1},), [{"b": 2}, 3]) == ({"a": 1, "b": 2}, 3)


def test_alibi_of_bools_marks_distances():
    got = nn.ALiBi()(mx.zeros((1, 1, 2, 2), mx.bool_))
    assert got.tolist() == [[[[False, True], [True, False]]]]


def test_adafactor_of_a_number():
    optimizer = optimizers.Adafactor(0.1)
    got = optimizer.apply_gradients({"w": mx.ones(1)}, {"w": 3})["w"]
    want = optimizers.Adafactor(0.1).apply_gradients({"w": mx.ones(1)}, {"w": mx.array([3.0])})
    assert got.tolist() == pytest.approx(want["w"].tolist())


def test_gelu_of_a_wrong_kind():
    for wrong in ({}, 3, "x"):
        with pytest.raises(ValueError, match="GELU"):
            nn.GELU(wrong)


def test_bytes_are_no_axes():
    with pytest.raises(TypeError):
        mx.reshape(mx.zeros(97), b"a")


def test_places_along_an_axis_without_elements():
    for shape in ((0,), (0, 2)):
        for index in ([0, 1], mx.array([0])):
            with pytest.raises(IndexError):
                mx.zeros(shape)[index] = 5
            with pytest.raises(IndexError):
                mx.zeros(shape).at[index].add(1)
        assert mx.zeros(shape).at[mx.array([], mx.int32)].add(1).shape == shape


def test_the_axis_of_differences_is_checked_first():
    with pytest.raises(mx.AxisError):
        mx.diff(mx.array(1), -1, -7)


def test_the_entropy_of_integers_is_float32():
    logits, half = mx.array([[1, 2, 3]], mx.uint64), mx.ones((1, 3), mx.float16)
    assert nn.losses.cross_entropy(logits, half).dtype == mx.float32


def test_cross_entropy_over_all_axes():
    rng = np.random.default_rng(0)
    logits, targets = (mx.array(rng.random((2, 3)), mx.float32) for _ in range(2))
    flat, at = logits.flatten(), mx.array(4)
    for smoothing in (0.0, 0.1):
        got = nn.losses.cross_entropy(logits, targets, axis=None, label_smoothing=smoothing)
        want = nn.losses.cross_entropy(flat, targets.flatten(), label_smoothing=smoothing)
        assert got.shape == () and got.item() == pytest.approx(want.item())
    got = nn.losses.cross_entropy(logits, at, axis=None)
    assert got.item() == pytest.approx(nn.losses.cross_entropy(flat, at).item())
    with pytest.raises(ValueError, match="targets have shape"):
        nn.losses.cross_entropy(logits, mx.array([1, 2]), axis=None)


@pytest.mark.parametrize("number", [np.float64(0.5), np.float32(0.5), np.bool_(True)], ids=repr)
def test_schedules_between_numbers_of_numpy_give_arrays(number):
    for schedule in (
        optimizers.linear_schedule(number, 0.0, 5),
        optimizers.linear_schedule(0.0, number, 5),
        optimizers.cosine_decay(number, 5),
        optimizers.cosine_decay(1.0, 5, number),
    ):
        assert isinstance(schedule(mx.array(2)), mx.array)


def test_the_axes_of_blocks_are_checked_first():
    x = mx.zeros((2, 4))
    for axes in ([0, 2], (-3,)):
        start = mx.array([0] * len(axes))
        with pytest.raises(mx.AxisError):
            mx.slice(x, start, axes, (1, 1, 1))
        with pytest.raises(mx.AxisError):
            mx.slice_update(x, mx.ones((1, 1, 1)), start, axes)


def test_bools_to_tens():
    assert mx.round(True, -1).item() is False
    assert mx.round(mx.array([True, False]), -2).tolist() == [False, False]
    assert mx.round(mx.array([True, False]), 1).tolist() == [True, False]


def test_vectors_in_products_of_blocks():
    a, v = mx.arange(16.0).reshape(4, 4), mx.arange(4.0)
    assert mx.block_masked_mm(a, v, 32).tolist() == (a @ v).tolist()
    assert mx.block_masked_mm(v, a, 32).tolist() == (v @ a).tolist()
    assert mx.block_masked_mm(v, v, 32).item() == 14
    mask = mx.array([[True, False]])
    assert mx.block_masked_mm(v, a, 2, mask_lhs=mask).tolist() == (v[:2] @ a[:2]).tolist()
    with pytest.raises(ValueError, match="block_masked_mm"):
        mx.block_masked_mm(a, mx.array(1.0), 32)


@pytest.mark.parametrize("heads", [2.0, 2.5, np.array(2.5), "x"], ids=repr)
def test_heads_are_counted(heads):
    with pytest.raises(TypeError):
        nn.ALiBi.create_alibi_slope(heads)
    with pytest.raises(TypeError):
        nn.ALiBi.create_alibi_matrix(2, 2, heads)


def test_alibi_needs_a_head():
    for heads in (0, -1):
        with pytest.raises(ValueError, match="num_heads"):
            nn.ALiBi.create_alibi_matrix(3, 1, heads, dtype=mx.array(2.0))


@pytest.mark.parametrize("gain", [np.float64(0.5), np.int64(2), np.array(2.5), mx.array(2.0)])
def test_gains_of_numpy(gain):
    got = nn.init.orthogonal(gain)(mx.zeros((2, 2)))
    assert isinstance(got, mx.array) and got.dtype == mx.float32
    assert np.allclose(got @ got.T, np.eye(2) * float(gain) ** 2, atol=1e-4)


@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: optimizers.SGD(0.1, n(0.9), n(0.1), n(0.1)),
        lambda n: optimizers.SGD(0.1, n(0.9), nesterov=True),
        lambda n: optimizers.RMSprop(0.1, n(0.9), n(1e-3)),
        lambda n: optimizers.Adagrad(0.1, n(1e-3)),
        lambda n: optimizers.AdaDelta(0.1, n(0.9), n(1e-3)),
        lambda n: optimizers.Adam(0.1, (n(0.9), n(0.99)), n(1e-3)),
        lambda n: optimizers.AdamW(0.1, (n(0.9), n(0.99)), n(1e-3), n(0.1)),
        lambda n: optimizers.Adamax(0.1, (n(0.9), n(0.99)), n(1e-3)),
        lambda n: optimizers.Lion(0.1, (n(0.9), n(0.99)), n(0.1)),
        lambda n: optimizers.Adafactor(0.1, beta_1=n(0.9), weight_decay=n(0.1)),
        lambda n: optimizers.Muon(0.1, n(0.9), n(0.1)),
    ],
)
def test_settings_of_numpy_keep_types(make, number):
    steps = {}
    for kind in (number, float):
        optimizer, parameters = make(kind), {"w": mx.ones((2, 2), mx.float16)}
        for _ in range(2):
            parameters = optimizer.apply_gradients(
                {"w": mx.full((2, 2), 0.5, mx.float16)}, parameters
            )
        assert parameters["w"].dtype == mx.float16
        states = [leaf for _, leaf in utils.tree_flatten(optimizer.state)]
        assert all(isinstance(leaf, mx.array) for leaf in states)
        steps[kind] = parameters["w"]
    assert np.allclose(steps[number], steps[float], rtol=2e-3)


def test_what_does_not_fit_a_bilinear_layer():
    layer = nn.Bilinear(2, 3, 1)
    for x1, x2 in (((4, 2), (4, 1)), ((0, 2), (0, 7)), ((3, 2), (3, 1)), ((4, 1), (4, 3))):
        with pytest.raises(ValueError, match="Bilinear: x"):
            layer(mx.ones(x1), mx.ones(x2))
    with pytest.raises(AttributeError):
        layer(mx.ones((1, 2)), {})


def test_axes_of_cross_entropy_are_integers():
    logits, targets = mx.zeros((2, 3)), mx.array([0, 1])
    for axis in (np.array([[1.0, 2.0]]), [1], "x", 1.0):
        with pytest.raises(TypeError):
            nn.losses.cross_entropy(logits, targets, axis=axis)
    assert nn.losses.cross_entropy(logits, targets, axis=mx.array(1)).shape == (2,)


@pytest.mark.parametrize("mode", [{}, [], None, 1], ids=repr)
def test_modes_that_are_no_texts(mode):
    for make in (
        lambda: nn.QuantizedLinear(64, 64, mode=mode),
        lambda: nn.quantize(nn.Sequential(nn.Linear(64, 64)), mode=mode),
        lambda: nn.Embedding(64, 64).to_quantized(mode=mode),
    ):
        with pytest.raises(mx.KindError, match="mode"):
            make()


def test_cosine_similarity_checks_its_axis_first():
    with pytest.raises(mx.AxisError):
        nn.losses.cosine_similarity_loss(mx.ones((2, 2)), 2.5, axis=-3)
    with pytest.raises(TypeError):
        nn.losses.cosine_similarity_loss(mx.ones((2, 2)), 2.5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_normalizing_halves_rounds_once(dtype):
    x = mx.array([[2.787, 2.848, 1.0, 3.0]], dtype)
    for layer, value in (
        (nn.GroupNorm(2, 4, affine=False, pytorch_compatible=True), x),
        (nn.GroupNorm(2, 4, affine=False), x[:, mx.array([0, 2, 1, 3])]),
        (nn.InstanceNorm(2), x.reshape(2, 2, 1)),
    ):
        got = layer(value)
        assert got.dtype == dtype
        assert got.tolist() == layer(value.astype(mx.float32)).astype(dtype).tolist()


def test_groups_of_other_features():
    x = mx.arange(12.0).reshape(1, 3, 4)
    got, want = nn.GroupNorm(2, 6, affine=False)(x), nn.GroupNorm(2, 4, affine=False)(x)
    assert got.tolist() == want.tolist()
    with pytest.raises(ValueError, match="GroupNorm: input of shape"):
        nn.GroupNorm(2, 4, affine=False)(mx.ones((2, 4, 5)))


def test_log_softmax_of_nothing():
    with pytest.raises(mx.AxisError):
        nn.log_softmax(mx.zeros(0), 1)
    assert nn.log_softmax(mx.zeros((2, 0), mx.int32)).dtype == mx.float32


def test_a_predicate_that_is_empty_is_none():
    model = nn.Sequential(nn.Linear(64, 32))
    nn.quantize(model, class_predicate=())
    assert isinstance(model.layers[0], nn.QuantizedLinear)
    nn.quantize(nn.Linear(64, 3), quantize_input=np.array([1, 2]))  # no layer is asked


def test_one_value_fills_what_is_missing():
    x = mx.array([[3]])
    for fill in (7, mx.array([7]), mx.array([[7]])):
        assert mx.unique(x, 2, fill_value=fill).tolist() == [3, 7]
        assert mx.unique(mx.zeros((0,), mx.int32), 2, fill_value=fill).tolist() == [7, 7]
    with pytest.raises(ValueError, match="unique: fill_value"):
        mx.unique(x, 2, fill_value=mx.array([0, 1]))
