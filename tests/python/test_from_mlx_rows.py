"""Rows of docs/from-mlx.md without other tests."""

import fractions
import pickle

import numpy as np
import pytest

import cermet.core as mx
from cermet import nn, optimizers, utils


def test_segments_beyond_the_depth_add_nothing():
    a, b = mx.array([[2.0], [3.0]]), mx.array([[5.0, 7.0]])
    got = mx.segmented_mm(a, b, mx.array([[0, 1], [1, 2], [0, 9]]))
    assert got.tolist() == [[[10, 14], [15, 21]], [[0, 0], [0, 0]], [[10, 14], [15, 21]]]


@pytest.mark.parametrize("index", [None, ..., 0, slice(None)], ids=str)
@pytest.mark.parametrize("update", ["add", "multiply", "divide", "maximum"])
def test_updates_keep_the_type(index, update):
    x = mx.array([1.0, 2.0], mx.float16)
    got = getattr(x.at[index], update)(mx.array(3.0))
    assert got.dtype == mx.float16


def test_nan_stays_in_the_largest_and_the_least_at_places():
    for update in ("maximum", "minimum"):
        x = mx.array([1.0, mx.nan])
        got = getattr(x.at[mx.array([0, 1])], update)(mx.array([mx.nan, 1.0]))
        assert mx.all(mx.isnan(got)).item(), update


def test_gradients_by_no_argument_are_refused_when_called():
    for transform in (mx.grad, mx.value_and_grad):
        function = transform(lambda x: x.sum(), ())
        with pytest.raises(ValueError, match="argnums is empty"):
            function(mx.ones(2))


def test_equal_elements_share_the_derivatives_of_the_largest():
    x, t = mx.array([[3.0, 1.0], [3.0, 3.0]]), mx.array([[1.0, 5.0], [4.0, 10.0]])
    for function in (mx.max, lambda v: mx.min(-v), lambda v: mx.max(v, axis=(0, 1))):
        _, (cotangents,) = mx.vjp(function, [x], [mx.array(3.0)])
        _, (tangent,) = mx.jvp(function, [x], [t])
        assert mx.abs(cotangents).tolist() == [[1, 0], [1, 1]]
        assert abs(tangent.item()) == 5


def test_more_values_than_a_mask_chooses_are_refused():
    x = mx.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError):
        x[mx.array([True, False, True])] = mx.array([7.0, 8.0, 9.0])
    assert x.tolist() == [1, 2, 3]


def test_numbers_of_numpy_stay_floats_beside_bools():
    assert np.float32(1.5) not in mx.array([True, False])
    assert (mx.array([True]) + np.float32(1.5)).item() == 2.5
    assert (mx.array([True]) + np.array([4], np.int8)).item() == 5


def test_types_that_numpy_asks_for():
    x = mx.array([1, 2])
    assert x.__array__(np.float64).dtype == np.float64
    assert not np.shares_memory(x.__array__(None, True), np.asarray(x))


def test_an_empty_list_is_an_index():
    assert mx.array([1.0, 2.0])[[]].shape == (0,)


def test_paddings_that_are_refused():
    with pytest.raises(ValueError, match="is empty"):
        mx.pad(mx.ones((1, 0)), 1, "edge")
    with pytest.raises(ValueError, match="expected a scalar"):
        mx.pad(mx.ones(2), 1, constant_values=mx.ones(2))


def test_kernels_that_reach_beyond_the_input():
    with pytest.raises(ValueError, match="does not fit"):
        mx.conv2d(mx.ones((1, 4, 4, 3)), mx.ones((3, 3, 3, 3)), stride=3, dilation=[1, 2])


def test_rope_by_a_base_of_zero():
    x = mx.ones((1, 1, 2, 4))
    got = mx.fast.rope(x, 4, traditional=False, base=0.0, scale=1.0, offset=0)[0, 0]
    turned = mx.fast.rope(x, 4, traditional=False, base=1.0, scale=1.0, offset=0)[0, 0]
    assert mx.array_equal(got[:, ::2], turned[:, ::2]).item()


def test_nothing_follows_from_bools():
    b = mx.array([True, False])
    assert mx.jvp(lambda x: x.astype(mx.float32), [b], [b])[1][0].tolist() == [0, 0]
    assert mx.vjp(mx.add, [b, b], [b])[1][0].tolist() == [False, False]


def test_derivatives_of_what_is_not_chosen():
    x, y = mx.array([1.0, -mx.inf]), mx.array([2.0, 3.0])
    for function in (mx.maximum, lambda x, y: mx.where(x > y, x, y)):
        gradients = mx.vjp(function, [x, y], [mx.array([mx.inf, mx.nan])])[1]
        assert gradients[0].tolist() == [0, 0]
    assert mx.grad(mx.grad(lambda v: mx.tanh(v) * v))(mx.array(1e10)).item() == 0


def test_strides_and_windows_that_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        mx.as_strided(mx.ones(4), (3,), (0, 1))
    with pytest.raises(ValueError, match="expected at least the window"):
        nn.MaxPool2d((2, 3), 1)(mx.ones((1, 1, 5, 5)))
    with pytest.raises(ValueError, match="does not fit"):
        mx.conv2d(mx.ones((1, 5, 5, 2)), mx.ones((2, 0, 4, 2)))
    with pytest.raises(ValueError, match="does not broadcast"):
        mx.full_like(mx.ones(2), mx.ones((2, 2)))
    with pytest.raises(ValueError, match="as many columns as rows"):
        mx.segmented_mm(mx.ones((1, 7)), mx.ones((1, 1)), mx.array([[0, 2]]))
    with pytest.raises(ValueError, match="does not fit"):
        mx.slice_update(mx.ones((0, 3)), mx.ones((1, 3)), mx.array([0]), (0,))
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(mx.ones(2, mx.bfloat16))


def test_more_kinds_are_taken():
    assert nn.Dropout2d(0.0)(mx.nan) is mx.nan
    layer = nn.Linear(2, 3)
    layer.training = ()
    assert layer["training"] == () and layer.training is True
    assert utils.tree_merge((), []) == [] and utils.tree_merge([()], [[1]]) == [[1]]
    states = nn.LSTM(3, 8)(mx.ones((2, 4, 3)), mx.ones(8), mx.ones((2, 8)))
    assert states[0].shape == (2, 4, 8)
    assert optimizers.Adamax(0.1).apply_gradients([], {}) == []


@pytest.mark.parametrize("index", [None, ...], ids=str)
def test_assignments_keep_the_type(index):
    x = mx.array([True, False])
    x[index] = 2.5
    assert x.dtype == mx.bool_ and x.tolist() == [True, True]


def test_float64_stays():
    x = mx.array([0.1], mx.float64)
    assert mx.from_dlpack(x).dtype == pickle.loads(pickle.dumps(x)).dtype == mx.float64


def test_losses_of_halves_are_rounded_in_the_end():
    logits = mx.array([[1e4, 1e4]], mx.bfloat16)
    assert mx.fast.cross_entropy(logits, mx.array([0])).item() == pytest.approx(0.6931, abs=0.003)


def test_reductions_of_nothing():
    x = mx.zeros((3, 0))
    assert (
        mx.all(x).item() is True
        and mx.any(x).item() is False
        and mx.prod(x, axis=1).tolist() == [1, 1, 1]
    )
    assert mx.logsumexp(x).item() == -mx.inf and mx.sum(x[::-1]).item() == 0


def test_ranges_of_integers_are_exact():
    assert mx.arange(-(2**63), 2 - 2**63).tolist() == [-(2**63), 1 - 2**63]
    assert mx.arange(2.0, -mx.inf).shape == (0,)
    with pytest.raises(ValueError, match="cannot count"):
        mx.arange(0, mx.inf)
    assert mx.arange(2**31, 1e10).shape == (7852516352,)


def test_integers_do_not_wrap():
    small = mx.array([[200, 100]], mx.uint8)
    for dtype in (mx.uint32, mx.uint64):
        assert mx.mean(mx.full((4,), 2**32 - 2, dtype)).item() == 2**32
    assert mx.logsumexp(small).item() == 200
    loss = nn.losses.cosine_similarity_loss(small, small, axis=1)
    assert loss.item() == pytest.approx(1)
    for function in (mx.sum, mx.prod):
        assert function(mx.array(3, mx.int8)).dtype == function(small.astype(mx.int8)).dtype
    assert (mx.array([True]) + 2**31).dtype == mx.int64


def test_rounding_to_tens():
    for dtype in (mx.float32, mx.float64):
        assert mx.round(mx.array([5, 15, 25, 35], dtype), -1).tolist() == [0, 20, 20, 40]


def test_infinities():
    assert mx.sign(mx.array(complex(-mx.inf, 0))).item() == -1
    c, a, b = mx.array([-mx.inf]), mx.array([[0.0, 1.0]]), mx.array([[3.0], [2.0]])
    assert mx.addmm(c, a, b, alpha=-mx.inf).item() == -mx.inf
    for name in ("cummax", "cummin"):
        for dtype in (mx.float32, mx.bfloat16):
            got = getattr(mx, name)(mx.array([1, mx.nan, -2], dtype))
            assert mx.isnan(got).tolist() == [False, True, True]


def test_segments_in_float16():
    rng = np.random.default_rng(1)
    a, b = (mx.array(rng.standard_normal(s), mx.float16) for s in ((4, 4), (4, 1)))
    got = mx.segmented_mm(a, b, mx.array([[0, 2]]))[0]
    assert np.allclose(got, a[:, :2] @ b[:2], atol=1e-2)


def test_codes_of_float64():
    x = mx.array([0.5, -3.0], mx.float64)
    assert mx.to_fp8(x).tolist() == mx.to_fp8(x.astype(mx.float32)).tolist()


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_scans_of_halves_are_rounded_once(dtype):
    x = mx.full((300,), 1.0, dtype)
    assert mx.logcumsumexp(x)[-1].item() == mx.logsumexp(x.astype(mx.float32)).astype(dtype).item()
    assert mx.cumsum(mx.full((600,), 1.0, dtype))[-1].item() == 600


def test_bools_as_the_mask_of_alibi():
    scores = mx.zeros((1, 1, 2, 2))
    got = nn.ALiBi()(scores, 0, mx.array([[True, False], [True, True]]))
    assert got.tolist() == [[[[0, -mx.inf], [-(2.0**-8), 0]]]]


def test_factors_and_weights_that_are_infinite():
    half = mx.zeros((1, 1), mx.float16)
    assert mx.isnan(mx.addmm(half, half, half, beta=2.0**40)).item()
    got = mx.conv_transpose1d(mx.ones((1, 2, 1)), mx.array([1.0, mx.inf]).reshape(1, 2, 1))
    assert mx.isnan(got).flatten().tolist() == [True, False, False]
    logits = mx.array([1.0, mx.inf])
    assert nn.log_softmax(logits)[0].item() == -mx.inf


def test_axes_of_empty_arrays():
    with pytest.raises(mx.AxisError):
        nn.softmax(mx.zeros(0), 3)
    with pytest.raises(mx.AxisError):
        mx.repeat(mx.array([0, 1]), -1, -2)


def test_the_axis_of_vecdot_is_that_of_each_array():
    a, b = mx.array([[1.0, 2.0], [3.0, 4.0]]), mx.array([10.0, 1.0])
    assert mx.vecdot(a, b, 0).tolist() == np.vecdot(np.array(a), np.array(b), axis=0).tolist()


def test_attention_by_infinite_scores():
    q, k = mx.full((1, 1, 1, 2), mx.inf), mx.ones((1, 1, 3, 2))
    assert mx.all(mx.isnan(mx.fast.scaled_dot_product_attention(q, k, k, scale=1.0))).item()


def test_masked_blocks_are_not_read():
    bad = mx.full((32, 32), mx.inf)
    mask = mx.array([[False]])
    assert not mx.any(mx.block_masked_mm(mx.ones((32, 32)), bad, 32, mask_rhs=mask)).item()


def test_ranks_that_differ():
    a, b = mx.array([[1.0, 0.0, 0.0]]), mx.array([0.0, 1.0, 0.0])
    assert mx.linalg.cross(a, b).tolist() == [[0, 0, 1]]
    assert mx.roll(mx.array([1, 2]), (), 3).tolist() == [1, 2]
    x = mx.array([[4.0, 6.0]])
    assert x.at[:, None].divide(mx.array(2)).tolist() == [[2, 3]]


def test_normalizing_a_number():
    with pytest.raises(ValueError, match="GroupNorm"):
        nn.GroupNorm(1, 4)(mx.array(1.0))


def test_activations_of_numbers_of_numpy():
    assert isinstance(nn.softsign(np.float64(0.5)), mx.array)


def test_settings_of_optimizers_that_are_nan():
    with pytest.raises(ValueError, match="eps is nan"):
        optimizers.Adagrad(0.1, mx.nan)


def test_tangents_of_integers_have_their_type():
    y, tangent = mx.array([3], mx.uint8), mx.array([2], mx.int8)
    _, grown = mx.jvp(lambda y: y * y, [y], [tangent])
    assert grown[0].dtype == mx.uint8 and grown[0].item() == 12


def test_convolutions_of_real_input_by_complex_weights():
    got = mx.conv1d(mx.ones((1, 3, 1)), mx.array([1, 1j]).reshape(1, 2, 1))
    assert got.flatten().tolist() == [1 + 1j, 1 + 1j]


def test_transposed_convolutions_with_much_padding():
    x, w = mx.ones((1, 5, 1)), mx.array([1.0, 2.0]).reshape(1, 2, 1)
    got = mx.conv_transpose1d(x, w, stride=3, padding=2).flatten().tolist()
    whole = mx.conv_transpose1d(x, w, stride=3).flatten().tolist()
    assert got == whole[2:-2]


def test_products_of_a_factor_of_zero():
    a, c = mx.array([[mx.nan, 1.0]]), mx.ones((1, 2))
    assert mx.all(mx.isnan(mx.addmm(c, a, mx.ones((2, 2)), alpha=0.0))).item()
    assert mx.all(mx.isnan(mx.addmm(c * mx.nan, c, mx.ones((2, 2)), beta=0.0))).item()


def test_axes_and_values_that_are_refused():
    for order in (None, 1, 2, mx.inf, "nuc"):
        with pytest.raises(ValueError, match="twice"):
            mx.linalg.norm(mx.ones((3, 4)), order, axis=(0, 0))
    with pytest.raises(ValueError, match="does not broadcast"):
        mx.put_along_axis(mx.zeros((2, 1)), mx.array([[0], [0]]), mx.ones((2, 7)), 1)
    for layer in (nn.Dropout, nn.Dropout2d, nn.Dropout3d):
        with pytest.raises(ValueError, match="p is nan"):
            layer(mx.nan)
    with pytest.raises(IndexError, match="gather"):
        mx.eval(mx.gather_mm(mx.ones((2, 2)), mx.ones((2, 2)), rhs_indices=mx.array([1])))
    with pytest.raises(ValueError, match="more bytes"):
        mx.zeros((2**31 - 1, 2**31 - 1))


def test_norms_of_integers_do_not_wrap():
    x = mx.array([[127, -128]], mx.int8)
    assert mx.linalg.norm(x, 1, axis=1).item() == 255
    assert mx.linalg.norm(x, axis=1).item() == pytest.approx(180.31361)


def test_a_large_number_is_true():
    assert mx.full_like(mx.ones(1), 2**40, mx.bool_).item() is True


def test_the_largest_of_complex_numbers_keeps_nan():
    x = mx.array(complex(-mx.inf, mx.nan))
    for function in (mx.maximum, mx.minimum):
        assert mx.isnan(function(mx.array(0.0), x)).item()
        assert mx.isnan(function(x, mx.array(0.0))).item()


def test_gradients_of_complex_powers_are_conjugated():
    x = mx.array([0.3 + 0.7j, 1 - 2j])
    want = mx.grad(lambda x: mx.square(x).sum())(x)
    assert np.allclose(mx.grad(lambda x: (x**2).sum())(x), want)
    assert np.allclose(mx.grad(lambda x: (x * x).sum())(x), want)


def test_weights_of_a_norm_are_not_rounded():
    x, w = mx.array([[1.0, 0.0]], mx.float16), mx.array([3, 2**31 - 1], mx.int32)
    assert mx.fast.rms_norm(x, w, 1e-5)[0, 1].item() == 0


def test_shifts_for_one_axis_add_up():
    x = mx.arange(6).reshape(2, 3)
    assert mx.roll(x, (0, 1), [1]).tolist() == np.roll(np.arange(6).reshape(2, 3), 1, 1).tolist()


def test_fused_attention_may_be_asked_for():
    q = mx.ones((1, 2, 4, 2))
    got = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.5, force_fused=True)
    assert np.allclose(got, 1)


def test_states_of_adafactor_have_the_type_of_gradients():
    optimizer = optimizers.Adafactor(0.1, beta_1=mx.array(0.5))
    weights, gradients = ({"w": mx.full((2, 2), v, mx.float16)} for v in (1.0, 0.5))
    for _ in range(2):
        weights = optimizer.apply_gradients(gradients, weights)
    assert optimizer.state["w"]["exp_avg_sq_row"].dtype == mx.float16


def test_updates_with_leading_axes_of_one():
    x = mx.ones((2, 3)).at[1, :9].add(mx.ones((1, 3)))
    assert x.tolist() == [[1, 1, 1], [2, 2, 2]]


def test_equal_numbers():
    x = mx.array([1.0, 1.0])
    assert mx.isclose(x, x, mx.nan).tolist() == [True, True]
    assert mx.isnan(mx.var(x, ddof=2)).item()


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32, mx.float64])
def test_quotients_are_rounded_down_once(dtype):
    a, b = mx.array([1.0, 3.0], dtype), mx.array([0.333984375, 1.0], dtype)
    assert (a // b).tolist() == [2, 3]
    tenth = mx.array(0.1, dtype)
    exact = 1 // fractions.Fraction(tenth.astype(mx.float64).item())
    assert (mx.array(1.0, dtype) // tenth).item() == exact


def test_products_of_no_depth_are_zero():
    got = mx.addmm(mx.array([1.0, 3.0]), mx.ones((3, 0)), mx.ones((0, 2)), beta=300.0)
    assert got.tolist() == [[300, 900]] * 3
