"""What programs written for MLX count on: errors, views that are written to, types, orders."""

import ctypes

import numpy as np
import pytest

import cermet.core as mx
from cermet import nn, optimizers, utils

KINDS = ["x", [1.0], (), {}, object(), range(2), mx]
FUNCTIONS = {
    "add": lambda v: mx.add(mx.ones(2), v),
    "exp": mx.exp,
    "where": lambda v: mx.where(v, mx.ones(2), mx.ones(2)),
    "clip": lambda v: mx.clip(mx.ones(2), v, None),
    "all_sum": mx.distributed.all_sum,
    "nan_to_num": mx.nan_to_num,
    "isclose": lambda v: mx.isclose(v, 1.0),
    "full": lambda v: mx.full((2,), v),
    "uniform": lambda v: mx.random.uniform(v),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("value", KINDS, ids=lambda v: type(v).__name__)
def test_what_is_no_array_is_a_wrong_kind_and_a_wrong_value(name, value):
    with pytest.raises(mx.KindError) as caught:
        FUNCTIONS[name](value)
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    assert name in str(caught.value) and type(value).__name__ in str(caught.value)


@pytest.mark.parametrize("value", ["x", object(), {}, np.array(["a"])])
def test_an_array_of_no_numbers(value):
    for make in (mx.array, mx.asarray, lambda v: mx.array([v])):
        with pytest.raises(mx.KindError, match="array"):
            make(value)


@pytest.mark.parametrize("value", ["x", [1.0], {}], ids=lambda v: type(v).__name__)
def test_operators_beside_what_is_no_array(value):
    a = mx.array([1.0, 2.0])
    for operate in (
        lambda: a + value,
        lambda: value - a,
        lambda: a < value,
        lambda: value >= a,
        lambda: a.__iadd__(value),
    ):
        with pytest.raises(mx.KindError):
            operate()
    assert (a == value) is False and (a != value) is True


def test_an_operand_of_another_class_is_asked():
    class Asked:
        def __radd__(self, other):
            return "added"

        def __gt__(self, other):
            return "greater"

    a = mx.ones(2)
    assert a + Asked() == "added" and (a < Asked()) == "greater"
    with pytest.raises(TypeError):
        a - Asked()


def test_numpys_strings_differ_from_every_array():
    assert (mx.ones(1) == np.array(["a"])) is False


@pytest.mark.parametrize("index", [1.0, "a", object(), mx.array([0.0])])
def test_an_index_of_a_wrong_kind(index):
    with pytest.raises(mx.KindError):
        mx.ones(3)[index]
    with pytest.raises(mx.KindError):
        mx.ones(3)[index] = 1


def test_an_integer_that_the_type_does_not_hold():
    for call in (
        lambda: mx.array([1], mx.uint8) + 300,
        lambda: mx.full((2,), 300, mx.int8),
        lambda: mx.array(2**70),
        lambda: mx.random.normal(dtype=mx.float32, loc=10**400),
    ):
        with pytest.raises(OverflowError):
            call()
    with pytest.raises(mx.IntegerRangeError, match="does not fit in uint8") as caught:
        mx.bitwise_xor(mx.array([1], mx.uint8), 2**31)
    assert isinstance(caught.value, (OverflowError)) and isinstance(caught.value, ValueError)


# ---- Views ----
@pytest.mark.parametrize("lend", [np.asarray, memoryview, lambda a: np.array(a, copy=False)])
@pytest.mark.parametrize(
    "make",
    [
        lambda: mx.array([1.0, 2.0, 3.0]),
        lambda: mx.zeros(3),
        lambda: mx.broadcast_to(mx.array(5.0), (3,)),
        lambda: mx.arange(6.0)[::2] + 1,
    ],
)
def test_what_is_written_to_a_view_is_written_to_the_array(lend, make):
    a = make()
    rest = a.tolist()[1:]
    view = lend(a)
    view[0] = 7.0
    assert a.tolist() == [7.0, *rest] and (a + 1).tolist()[0] == 8
    again = lend(a)
    again[1] = 9.0
    assert a.tolist()[:2] == [7.0, 9.0] and view[1] == 9.0


def test_a_written_broadcast_leaves_its_source():
    source = mx.array([1.0, 2.0])
    a = mx.broadcast_to(source, (2, 2))
    np.asarray(a)[0, 0] = 5
    assert source.tolist() == [1, 2] and a.tolist() == [[5, 2], [1, 2]]


def test_borrowed_memory_is_lent_to_read():
    x = np.arange(3, dtype=np.float32)
    x.flags.writeable = False
    a = mx.asarray(x, copy=False)
    assert memoryview(a).readonly and not np.asarray(a).flags.writeable
    with pytest.raises(TypeError, match="not writable"):
        (ctypes.c_float * 3).from_buffer(a)


def test_bytes_are_lent_to_write_in_place():
    a = mx.array([1, 2, 3])
    (ctypes.c_int * 3).from_buffer(a)[1] = 9
    assert a.tolist() == [1, 9, 3]


def test_a_transposed_array_is_written_in_place():
    a = mx.array([[1, 2], [3, 4]]).T
    np.asarray(a)[0, 1] = 9
    assert a.tolist() == [[1, 9], [2, 4]]


# ---- Types and orders ----
@pytest.mark.parametrize("dtype", ["int32", "bool_", "uint8", "float16", "bfloat16"])
def test_determinants_of_other_types(dtype):
    a = mx.array([[3, 1], [0, 1]]).astype(getattr(mx, dtype))
    halves = a.dtype if mx.issubdtype(a.dtype, mx.inexact) else mx.float32
    want = 1.0 if dtype == "bool_" else 3.0
    assert mx.linalg.det(a).dtype == halves and mx.linalg.det(a).item() == want
    sign, logarithm = mx.linalg.slogdet(a)
    assert sign.dtype == logarithm.dtype == halves and sign.item() == 1
    assert abs(logarithm.item() - np.log(want)) < 1e-2


def test_the_determinant_of_a_complex_matrix():
    sign, logarithm = mx.linalg.slogdet(mx.array([[2j, 0], [0, 1]]))
    assert sign.dtype == mx.complex64 and logarithm.dtype == mx.float32


def test_norms_of_integers_take_the_type_of_the_weight():
    x = mx.array([[1, 2, 3]])
    for dtype in (mx.float32, mx.float16):
        weight = mx.ones(3, dtype)
        assert mx.fast.rms_norm(x, weight, 1e-5).dtype == dtype
        assert mx.fast.layer_norm(x, weight, None, 1e-5).dtype == dtype
    assert np.allclose(nn.RMSNorm(3)(x), nn.RMSNorm(3)(x.astype(mx.float32)))
    assert np.allclose(nn.LayerNorm(3)(x), nn.LayerNorm(3)(x.astype(mx.float32)))
    assert mx.fast.layer_norm(x, mx.ones(3, mx.float16), mx.ones(3), 1e-5).dtype == mx.float32
    half = mx.ones((1, 3), mx.float16)
    assert mx.fast.layer_norm(half, None, mx.ones(3), 1e-5).dtype == mx.float16
    for norm in (lambda: mx.fast.rms_norm(x, None, 1e-5), lambda: nn.LayerNorm(3, affine=False)(x)):
        with pytest.raises(ValueError, match="int32"):
            norm()


def test_clipped_gradients_of_integers_are_floats():
    grads = {"a": mx.array([3, 4]), "b": mx.zeros(1, mx.float16)}
    for most, want in ((1.0, [0.6, 0.8]), (100.0, [3.0, 4.0])):
        clipped, norm = optimizers.clip_grad_norm(grads, most)
        assert clipped["a"].dtype == mx.float32 and clipped["b"].dtype == mx.float16
        assert np.allclose(clipped["a"], want) and norm.item() == 5


def test_parameters_stand_in_the_order_of_mlx():
    assert list(nn.GroupNorm(1, 2).parameters()) == ["bias", "weight"]
    layer = nn.TransformerDecoderLayer(4, 2)
    parts = ["self_attention", "cross_attention", "ln1", "ln2", "ln3", "linear1", "linear2"]
    assert [k for k, v in layer.parameters().items() if v] == parts


def test_a_destination_of_another_kind():
    with pytest.raises(ValueError, match="destination"):
        utils.tree_flatten([1], destination=())


class Pair(tuple):
    """A tuple of a user."""


def test_tuples_of_users_keep_their_class():
    pair = Pair((mx.array(2.0), mx.array(3.0)))

    def product(v):
        assert type(v) is Pair
        return v[0] * v[1]

    assert type(mx.grad(product)(pair)) is Pair
    assert [g.item() for g in mx.value_and_grad(product)(pair)[1]] == [3, 2]
    vectors = Pair((mx.ones(2), mx.ones(2)))
    for transform in (mx.compile, mx.checkpoint, mx.vmap):
        assert type(transform(lambda v: v)(vectors)) is Pair
    assert type(utils.tree_map(lambda v: v, pair)) is Pair


def test_transforms_along_no_axis():
    with pytest.raises(mx.AxisError):
        mx.fft.fft2(mx.array(1.0), axes=(0,))


# ---- Arguments that are checked, and those that are taken ----
@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.Adam(0.1, eps=-1),
        lambda: optimizers.AdamW(0.1, eps=float("nan")),
        lambda: optimizers.Adam(0.1, betas=[0.9, 1]),
        lambda: optimizers.Adamax(0.1, betas=[-0.1, 0.9]),
        lambda: optimizers.Lion(0.1, betas=[2, 3]),
        lambda: optimizers.Adagrad(0.1, eps=0),
        lambda: optimizers.RMSprop(0.1, eps=0),
        lambda: optimizers.AdaDelta(0.1, eps=0),
        lambda: optimizers.clip_grad_norm({}, -1),
        lambda: nn.SinusoidalPositionalEncoding(3),
        lambda: nn.SinusoidalPositionalEncoding(0),
        lambda: nn.BatchNorm(3)(mx.ones((1, 3))),
        lambda: nn.BatchNorm(3, track_running_stats=False)(mx.ones((1, 1, 3))),
        lambda: nn.losses.l1_loss(mx.ones(2), mx.ones(2), reduction=slice(None)),
        lambda: nn.losses.gaussian_nll_loss(mx.ones(2), mx.ones(2), 2.0),
    ],
)
def test_settings_out_of_their_range(make):
    with pytest.raises(ValueError, match=r"is|are|has|differ"):
        make()


def test_settings_at_the_ends_of_their_range():
    for make in (optimizers.Adam, optimizers.Adamax):
        make(0.1, eps=0)
    optimizers.AdaDelta(0.1, rho=0)
    layer = nn.BatchNorm(3, track_running_stats=False).eval()
    assert layer(mx.ones((1, 3))).tolist() == [[0, 0, 0]]
    assert nn.BatchNorm(3)(mx.ones((0, 3))).shape == (0, 3)


def test_flatten_ends_at_the_last_axis():
    a = mx.zeros((2, 3, 4))
    assert mx.flatten(a, 1, 5).shape == (2, 12) and a.flatten(-7, 1).shape == (6, 4)
    with pytest.raises(mx.AxisError):
        a.flatten(3)
    with pytest.raises(mx.AxisError):
        a.flatten(0, -4)


@pytest.mark.parametrize("dtype", ["int32", "bool_", "float16"])
def test_solving_for_other_types(dtype):
    a, b = mx.array([[2.0, 0], [1, 1]]), mx.array([1, 1]).astype(getattr(mx, dtype))
    assert mx.linalg.solve(a, b).tolist() == [0.5, 0.5]
    assert mx.linalg.solve_triangular(a, b).tolist() == [0.5, 0.5]
    assert mx.linalg.solve(a.astype(mx.float64), b).dtype == mx.float64
    with pytest.raises(ValueError, match="int32"):
        mx.linalg.solve(mx.array([[1]]), b[:1])


def test_numbers_of_any_size_are_true():
    assert mx.logical_or(mx.zeros(1, mx.int8), -200).item() is True
    assert mx.logical_and(mx.ones(1, mx.uint8), 2**70).item() is True


def test_complex_numbers_are_true_by_both_parts():
    assert mx.array([1j, 0j, 1 + 0j, 2 - 1j]).astype(mx.bool_).tolist() == [True, False, True, True]
    assert mx.array([1j], mx.bool_).tolist() == [True] == [bool(mx.array(1j))]


@pytest.mark.parametrize("dtype", [mx.bool_, mx.int8, mx.uint32])
def test_hadamard_transforms_of_integers_are_floats(dtype):
    for extent in (1, 2):
        assert mx.hadamard_transform(mx.ones((2, extent), dtype), scale=1.0).dtype == mx.float32


@pytest.mark.parametrize("steps", [0, -1, 0.5])
def test_schedules_without_steps(steps):
    for schedule in (
        lambda: optimizers.step_decay(0.1, 0.9, steps),
        lambda: optimizers.cosine_decay(0.1, steps),
        lambda: optimizers.linear_schedule(0.1, 0.0, steps),
    ):
        with pytest.raises(ValueError, match=rf"is {steps}, expected at least 1"):
            schedule()


@pytest.mark.parametrize("layer", [nn.AvgPool2d, nn.MaxPool2d])
def test_sizes_of_windows(layer):
    x = mx.arange(16.0).reshape(1, 4, 4, 1)
    for two in (2, np.int64(2), np.array(2), mx.array(2), mx.array([2, 2]), [2, 2]):
        assert mx.array_equal(layer(two, stride=two)(x), layer((2, 2))(x))
    for wrong in (2.0, "xx", None):
        with pytest.raises(mx.KindError, match="kernel_size"):
            layer(wrong)


def test_scales_in_arrays():
    x = mx.arange(8.0).reshape(1, 2, 4, 1)
    for mode in ("nearest", "linear", "cubic"):
        want = nn.Upsample((2, 3), mode)(x)
        assert mx.array_equal(nn.Upsample(mx.array([2, 3]), mode)(x), want)


def test_activations_of_integers_do_not_wrap():
    assert nn.hardswish(mx.array([255, 1], mx.uint8)).tolist() == pytest.approx([255, 2 / 3])
    assert nn.log_softmax(mx.array([127, -128], mx.int8)).tolist() == [0, -255]
    assert nn.celu(2.5, 0.0).item() == nn.celu(2.5, False).item() == 2.5


@pytest.mark.parametrize("logits", [mx.float16, mx.bfloat16, mx.float32])
@pytest.mark.parametrize("targets", [mx.float16, mx.bfloat16, mx.float32, mx.int32])
def test_cross_entropy_has_the_type_of_its_products(logits, targets):
    x, p = mx.ones((2, 4), logits), mx.ones((2, 4), targets)
    assert nn.losses.cross_entropy(x, p).dtype == (x * p).dtype
    assert nn.losses.cross_entropy(x, mx.array([1, 2])).dtype == logits


def test_losses_of_answers_that_are_bools():
    answers, truth = mx.array([True, False]), mx.array([True, True])
    loss = nn.losses.binary_cross_entropy(answers, truth, with_logits=False)
    assert loss.tolist() == 50


@pytest.mark.parametrize("path", [None, "", [], ()])
def test_paths_without_a_prefix(path):
    tree = {"a": [1], "b": 2}
    got = utils.tree_map_with_path(lambda p, leaf: p, tree, path=path)
    assert got == {"a": ["a.0"], "b": "b"}


def test_rolling_by_no_shift():
    x = mx.arange(4).reshape(2, 2)
    for shifts, axes in (((), (0,)), ((), ()), (1, ()), ((1,), ())):
        assert mx.array_equal(mx.roll(x, shifts, axes), x)
    with pytest.raises(ValueError, match="roll: shifts"):
        mx.roll(x, (2, 0, 3), ())


def test_clipping_a_number():
    assert mx.clip(5.0, 0, 1).item() == 1 and nn.hard_tanh(np.float64(-3)).item() == -1


def test_subtracting_a_bool_at_places():
    a = mx.array([3.0, 4.0])
    assert a.at[0].subtract(True).tolist() == [2, 4]
    assert a.at[mx.array([1, 1])].subtract(mx.array([True, True])).tolist() == [3, 2]


def test_losses_of_integer_logits():
    logits, targets = mx.array([[1, 2, 3], [4, 5, 0]], mx.uint8), mx.array([0, 1])
    want = nn.losses.cross_entropy(logits.astype(mx.float32), targets)
    assert np.allclose(nn.losses.cross_entropy(logits, targets), want)
    assert np.allclose(
        nn.log_softmax(mx.array([True, False])), nn.log_softmax(mx.array([1.0, 0.0]))
    )
    for dtype in (mx.float16, mx.bfloat16):
        assert mx.fast.cross_entropy(logits.astype(dtype), targets).dtype == mx.float32


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_integers_between_integers_are_floats(mode):
    x = mx.array([[[0], [4]]])
    got = nn.Upsample(2, mode)(x)
    assert got.dtype == mx.float32
    assert np.allclose(got, nn.Upsample(2, mode)(x.astype(mx.float32)))


# ---- Values ----
def test_places_of_axes_that_arrays_index():
    x, i = mx.arange(120).reshape(2, 3, 4, 5), mx.array([0, 1])
    n, j = np.array(x), np.array([0, 1])
    for got, want in (
        (x[i, ..., i], n[j, ..., j]),
        (x[0, ..., i], n[0, ..., j]),
        (x[:, i, ..., i], n[:, j, ..., j]),
        (x[..., i, :, i], n[..., j, :, j]),
        (x[None, i, ..., i], n[None, j, ..., j]),
        (x[i, None, i], n[j, None, j]),
        (x[0, :, i], n[0, :, j]),
        (x[:, i, i], n[:, j, j]),
    ):
        assert got.shape == want.shape and np.array_equal(got, want)


def test_variances_of_integers_beyond_floats():
    for dtype, start in ((mx.int64, 2**53 + 1), (mx.uint64, 2**60)):
        a = mx.array([start, start + 2], dtype)
        assert mx.var(a).dtype == mx.float32
        assert mx.var(a).item() in (0, 1) and mx.std(a).item() in (0, 1)


def test_complex_sums_of_exponentials():
    z = np.array([1 + 3j, 2 - 3j, -1 + 2j], np.complex64)
    want = np.log(np.cumsum(np.exp(z.astype(complex))))
    assert np.allclose(mx.logcumsumexp(mx.array(z)), want, atol=1e-5)
    assert np.allclose(mx.logsumexp(mx.array(z)), want[-1], atol=1e-5)


def test_logsumexp_of_a_number_has_no_axis():
    for options in ({}, {"keepdims": True}, {"axis": (), "keepdims": True}):
        assert mx.logsumexp(mx.array(2.0), **options).shape == ()
    assert mx.logsumexp(mx.ones((2, 3)), axis=(), keepdims=True).tolist() == [[1] * 3] * 2


def test_order_of_complex_numbers():
    z = mx.array([2 + 1j, 1 + 2j, 1 - 1j, 2 - 5j])
    assert mx.sort(z).tolist() == [1 - 1j, 1 + 2j, 2 - 5j, 2 + 1j]
    assert mx.argsort(z).tolist() == [2, 1, 3, 0]


def test_the_middle_of_nothing():
    for shape, axis in (((0,), None), ((0, 2), 0)):
        with pytest.raises(ValueError, match="median"):
            mx.median(mx.zeros(shape), axis)
    assert mx.median(mx.ones((2, 0)), 0).shape == (0,)


@pytest.mark.parametrize("value", [mx.ones(4), mx.ones((2, 2, 3)), mx.ones((3, 3))], ids=str)
def test_assigning_what_does_not_fit(value):
    for index in (..., slice(None)):
        a = mx.zeros((2, 3))
        with pytest.raises(ValueError):
            a[index] = value
        a[index] = mx.ones((1, 1, 2, 3))
        assert a.tolist() == [[1] * 3] * 2


def test_what_cannot_be_differentiated():
    a = mx.array([1.0, 2.0])
    for arguments in ((), [], (0, 0)):
        with pytest.raises(ValueError, match="argnums"):
            mx.value_and_grad(lambda x: x.sum(), arguments)(a)
    with pytest.raises(ValueError, match="int32"):
        mx.grad(lambda i: mx.take(a, i).sum())(mx.array([0, 1]))


def test_counts_and_places():
    assert mx.arange(0).shape == mx.arange(-2).shape == mx.arange(5, 0).shape == (0,)
    assert mx.arange(1.5).tolist() == [0, 1] and mx.arange(1, 4.0).dtype == mx.float32
    assert mx.arange(0, 5, None).tolist() == [*range(5)] and mx.arange(0, None).shape == (0,)
    assert mx.arange(2**33, 2**33 + 2).tolist() == [2**33, 2**33 + 1]
    for arguments in ((0, 1, 0), (float("nan"),), (float("inf"),)):
        with pytest.raises(ValueError, match="arange"):
            mx.arange(*arguments)
    a = mx.array([1.0, 2, 3])
    assert mx.take(a, -1).item() == 3 and mx.take(mx.ones((2, 3)), 1, axis=0).shape == (3,)
    assert mx.take(a, mx.array([], mx.int32)).shape == (0,)
    with pytest.raises(mx.KindError):
        mx.take(a, [0])


@pytest.mark.parametrize("index", [2**33, 2**70, -(2**70)])
def test_places_far_beyond(index):
    a = mx.array([1.0, 2, 3])
    for read in (lambda: a[index], lambda: mx.eval(mx.take(a, index))):
        with pytest.raises((IndexError, ValueError)):
            read()
    assert a[:index].shape == ((3,) if index > 0 else (0,))
    assert a.at[:index].add(1).tolist() == ([2, 3, 4] if index > 0 else [1, 2, 3])


def test_corners_of_interpolation():
    x = mx.array([[[1.0], [3.0], [2.0]]])
    got = nn.Upsample(2.0, "linear", align_corners=True)(x).flatten()
    assert np.allclose(got, [1, 1.8, 2.6, 2.8, 2.4, 2], atol=1e-6)
    got = nn.Upsample(1.5, "cubic", align_corners=True)(x).flatten()
    assert np.allclose(got, [1, 2.4815, 2.9074, 2], atol=1e-4)


def test_copies_that_are_refused():
    for value, dtype in ((np.ones(2, np.float64), None), ([1, 2], None), (np.ones(2), mx.int32)):
        with pytest.raises(ValueError):
            mx.asarray(value, dtype, copy=False)
