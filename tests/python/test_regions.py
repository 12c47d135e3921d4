"""Results are stored where they belong: a concatenation, a stack, a pad, a slice update is then a
place and no step."""

import itertools
import re

import numpy as np
import pytest
from conftest import SIMULATED, mx_dtype

import cermet.core as mx

RNG = np.random.default_rng(0)


def data(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def counts(*arrays):
    """How many steps that do something, and the bytes they read and write."""
    text = mx.explain(*arrays)
    steps = sum(": view" not in line for line in text.splitlines() if line.startswith("step"))
    return (steps, *map(int, re.findall(r"(\d+) bytes", text.splitlines()[-1])))


def check(out, expected, steps, read, written):
    """`out` takes so many steps and bytes, and is `expected`."""
    assert counts(out) == (steps, read, written), mx.explain(out)
    np.testing.assert_array_equal(np.array(out), expected)


# ---- Concatenations ----


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_computed_parts_of_a_concatenation(axis):
    a, b = data(4, 6, 8), data(4, 6, 8)
    x, y = mx.array(a), mx.array(b)
    n = a.nbytes
    out = mx.concatenate([-x, mx.abs(y)], axis=axis)
    assert counts(out)[1:] == (2 * n, 2 * n)
    assert f"operand 1 of concatenate axis={axis}" in mx.explain(out)
    check(out, np.concatenate([-a, np.abs(b)], axis), 2, 2 * n, 2 * n)


def test_parts_that_are_there_are_copied():
    a, b = data(4, 6), data(4, 6)
    n = a.nbytes
    out = mx.concatenate([-mx.array(a), mx.array(b)], axis=1)
    check(out, np.concatenate([-a, b], 1), 2, 2 * n, 2 * n)


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_stack_of_computed_rows(axis):
    a = data(5, 3, 7)
    rows = [mx.array(row) * 2 for row in a]
    out = mx.stack(rows, axis=axis)
    del rows
    check(out, np.stack([row * 2 for row in a], axis), 5, a.nbytes, a.nbytes)


def test_half_turns_of_a_rotary_embedding():
    a = data(2, 5, 8)
    x = mx.array(a)
    x1, x2 = x[..., :4], x[..., 4:]
    out = mx.concatenate([-x2, x1], axis=-1) * 3
    n = a.nbytes
    expected = np.concatenate([-a[..., 4:], a[..., :4]], -1) * 3
    # A program, a copy of x1, and the product over it: it is too small for more.
    check(out, expected, 3, 2 * n, 2 * n)


def test_nested_concatenations():
    a, b, c, d = (data(3, n) for n in (2, 3, 4, 5))
    x, y, z, w = map(mx.array, (a, b, c, d))
    out = mx.concatenate(
        [mx.concatenate([mx.concatenate([-x, y], axis=1), -z], axis=1), -w], axis=1
    )
    n = out.nbytes
    check(out, np.concatenate([-a, b, -c, -d], 1), 4, n, n)


def test_rows_appended_in_a_loop_are_written_once():
    a = data(200, 16)
    rows = [mx.array(row[None]) for row in a]
    out = rows[0]
    for row in rows[1:]:
        out = mx.concatenate([out, row + 1])
    expected = np.concatenate([a[:1], a[1:] + 1])
    check(out, expected, 200, a.nbytes, a.nbytes)


def test_the_same_array_twice_is_copied():
    a = data(3, 4)
    y = -mx.array(a)
    out = mx.concatenate([y, y], axis=1)
    del y
    n = a.nbytes
    check(out, np.concatenate([-a, -a], 1), 2, 2 * n, 3 * n)


def test_what_others_hold_or_read_has_memory_of_its_own():
    a, b = data(3, 4), data(3, 4)
    n = a.nbytes
    held = -mx.array(a)
    out = mx.concatenate([held, mx.exp(mx.array(b))], axis=1)
    assert counts(out) == (3, 3 * n, 3 * n)
    mx.eval(out)
    held += 1  # over its own memory
    np.testing.assert_array_equal(np.array(out)[:, :4], -a)
    np.testing.assert_array_equal(np.array(held), -a + 1)

    y = -mx.array(a)
    out = mx.concatenate([y, mx.cumsum(y, axis=0)], axis=1)
    del y
    np.testing.assert_allclose(np.array(out)[:, 4:], np.cumsum(-a, 0), rtol=1e-5)
    np.testing.assert_array_equal(np.array(out)[:, :4], -a)


def test_what_a_trace_needs_has_memory_of_its_own():
    a = data(3, 4)
    kept = []

    def f(x):
        y = mx.concatenate([mx.sin(x), mx.cos(x)], axis=1)
        kept.append(counts(y)[0])
        mx.eval(y)
        return mx.sum(y * y * y)

    gradient = mx.grad(f)(mx.array(a))
    s, c = np.sin(a), np.cos(a)
    np.testing.assert_allclose(np.array(gradient), 3 * s * s * c - 3 * c * c * s, atol=1e-5)
    assert kept == [2]  # a program for both, and the concatenation


def test_parts_of_other_types_and_streams():
    a, b = data(3, 4), np.arange(12, dtype=np.int32).reshape(3, 4)
    out = mx.concatenate([mx.array(a) * 2, mx.array(b)], axis=0)  # a cast is a program
    check(out, np.concatenate([a * 2, b.astype(np.float32)]), 2, 2 * a.nbytes, 2 * a.nbytes)
    other = mx.new_stream(mx.default_device())
    out = mx.concatenate([mx.negative(mx.array(a), stream=other), mx.abs(mx.array(a))], axis=0)
    check(out, np.concatenate([-a, np.abs(a)]), 3, 3 * a.nbytes, 3 * a.nbytes)


def test_empty_parts():
    a, none = data(3, 4), np.zeros((0, 4), np.float32)
    out = mx.concatenate([-mx.array(none), -mx.array(a), mx.abs(mx.array(none))])
    np.testing.assert_array_equal(np.array(out), -a)
    out = mx.concatenate([-mx.array(none), mx.abs(mx.array(none))], axis=1)
    assert np.array(out).shape == (0, 8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool", "int8", "int64", "complex64"])
def test_all_sizes_of_elements(dtype):
    a = mx.array(RNG.integers(0, 2, (3, 5, 4))).astype(mx_dtype(dtype))
    twice = a + a
    mx.eval(a, twice)
    for axis in range(3):
        out = mx.concatenate([a + a, twice], axis=axis)
        copied = mx.concatenate([twice, twice], axis=axis)
        assert counts(out) == (2, 2 * a.nbytes, 2 * a.nbytes)
        assert mx.array_equal(out, copied).item()


def test_a_reduction_in_a_region():
    a = data(6, 5, 4)
    x = mx.array(a)
    for axis in range(3):
        small = mx.stack([mx.max(x, axis=axis), mx.min(x, axis=axis)], axis=-1)
        expected = np.stack([a.max(axis), a.min(axis)], -1)
        assert counts(small)[0] == 1
        np.testing.assert_array_equal(np.array(small), expected)
    soft = mx.concatenate([mx.softmax(x, axis=1), x], axis=1)
    np.testing.assert_array_equal(
        np.array(soft), np.concatenate([np.array(mx.softmax(x, axis=1)), a], 1)
    )


def test_large_regions():
    a = data(64, 3, 1000)
    x = mx.array(a)
    for axis in range(3):
        out = mx.concatenate([x + 1, x * 2, x], axis=axis)
        np.testing.assert_array_equal(np.array(out), np.concatenate([a + 1, a * 2, a], axis))


# ---- Memory ----


def allocated(make):
    """The bytes at most that evaluation takes for an array above what was there before."""
    out = make()
    mx.clear_cache()  # its blocks may be larger than what is asked for
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(out)
    return max(0, mx.get_peak_memory() - before)


@pytest.mark.skipif(SIMULATED, reason="counts the CPU's memory")
def test_memory_is_allocated_once():
    x, row = mx.ones((64, 1024)), mx.ones((1, 1024))
    mx.eval(x, row)
    n = x.nbytes
    assert (
        allocated(lambda: mx.concatenate([x * 2, x + 1], axis=1)) <= 2.5 * n
    )  # a kept block may be larger
    assert allocated(lambda: mx.pad(x * 2, 1)) <= 1.5 * n

    def fresh(update):
        y = x * 3
        mx.eval(y)
        return update(y)

    def place(y):
        y[7:8] = row * 2
        return y

    def move(y):
        y[7:8] = y[5:6] * 2
        return y

    assert allocated(lambda: fresh(move)) <= n / 4
    assert allocated(lambda: fresh(place)) <= n / 4  # scratch memory
    assert allocated(lambda: fresh(lambda y: y.at[7:8].add(row))) <= n / 4
    assert allocated(lambda: fresh(lambda y: y.at[:, 100:900].multiply(row[:, 100:900]))) <= n / 4
    assert allocated(lambda: fresh(lambda y: y.at[1:].add(y[:-1]))) <= 1.25 * n


# ---- Pads and slice updates ----


def test_a_pad_is_a_fill_and_a_store():
    a = data(4, 6)
    out = mx.pad(-mx.array(a), [(1, 2), (3, 0)], constant_values=7)
    padded = np.pad(-a, [(1, 2), (3, 0)], constant_values=7)
    check(out, padded, 2, a.nbytes + 4, padded.nbytes)  # the border is one number


def test_a_dying_cache_is_written_in_place():
    a, b = data(2, 3, 16, 4), data(2, 3, 1, 4)
    n = b.nbytes
    for at in range(16):
        cache = mx.array(a)
        cache[:, :, at : at + 1] = mx.array(b) * 2
        expected = a.copy()
        expected[:, :, at : at + 1] = b * 2
        check(cache, expected, 1, n, n)


def test_what_stays_of_a_cache_that_others_hold_is_copied():
    a, b = data(4, 8), data(4, 2)
    cache = mx.array(a)
    held = cache[:]
    mx.eval(held)
    expected = a.copy()
    expected[:, 3:5] = b * 2
    cache[:, 3:5] = mx.array(b) * 2
    check(cache, expected, 2, a.nbytes, a.nbytes)
    np.testing.assert_array_equal(np.array(held), a)


def test_negative_steps():
    a, b = data(6, 8), data(3, 4)
    x = mx.array(a)
    x[::-2, ::-2] = mx.exp(mx.array(b))
    expected = a.copy()
    expected[::-2, ::-2] = np.array(mx.exp(mx.array(b)))
    check(x, expected, 1, b.nbytes, b.nbytes)


def test_elements_updated_from_themselves():
    a = data(6, 8)
    x = mx.array(a)
    x[1:3, 2:5] = x[1:3, 2:5] * 2 + 1
    expected = a.copy()
    expected[1:3, 2:5] = a[1:3, 2:5] * 2 + 1
    check(x, expected, 1, 24, 24)


def test_elements_updated_from_others():
    a = data(6, 8)
    for source in (np.s_[::-1, 2:5], np.s_[:, 3:6], np.s_[:, 0:6:2]):
        x = mx.array(a)
        x[:, 2:5] = x[source] * 2
        expected = a.copy()
        expected[:, 2:5] = a[source] * 2
        np.testing.assert_array_equal(np.array(x), expected)
    x = mx.array(a)
    row = x[0] * 1
    x[1:] = row + mx.sum(x)
    expected = a.copy()
    expected[1:] = a[0] + np.array(mx.sum(mx.array(a)))
    np.testing.assert_allclose(np.array(x), expected, rtol=1e-6)


def test_old_elements_are_read_before_they_are_overwritten():
    a, b = data(64, 8), data(64, 2)
    for held_first in (False, True):
        x = mx.array(a) + 0
        old = mx.cumsum(x, axis=0), x * 3, mx.sum(x, axis=1)
        x[:, 2:4] = mx.array(b) + 1
        mx.eval(*((*old, x) if held_first else (x, *old)))
        expected = a.copy()
        expected[:, 2:4] = b + 1
        np.testing.assert_array_equal(np.array(x), expected)
        np.testing.assert_allclose(np.array(old[0]), np.cumsum(a, 0), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.array(old[1]), a * 3)


def test_updates_in_a_row():
    a = data(8, 4)
    x = mx.zeros((8, 4))
    for i in range(8):
        x[i] = mx.array(a[i]) * 2
    check(x, a * 2, 8, a.nbytes, a.nbytes)


def test_a_view_of_a_cache_keeps_its_elements():
    a, b = data(4, 8), data(4, 2)
    x = mx.array(a)
    view = x[:, 3:5]
    mx.eval(view)
    x[:, 3:5] = view + mx.array(b)
    expected = a.copy()
    expected[:, 3:5] = a[:, 3:5] + b
    np.testing.assert_array_equal(np.array(x), expected)
    np.testing.assert_array_equal(np.array(view), a[:, 3:5])


@pytest.mark.parametrize("how", ["concatenate", "stack"])
def test_what_is_put_together_of_parts_goes_to_its_place_in_a_cache(how):
    a, b = data(2, 6, 8), data(2, 1, 8)

    def turned(b, xp):
        x, y = (b[..., :4], b[..., 4:]) if how == "concatenate" else (b[..., ::2], b[..., 1::2])
        if how == "concatenate":
            return xp.concatenate([x * 2 - y, y + x], -1)
        return xp.stack([x * 2 - y, y + x], -1).reshape(b.shape)

    cache, new = mx.array(a), mx.array(b)
    cache[:, 3:4] = turned(new, mx)
    expected = a.copy()
    expected[:, 3:4] = turned(b, np)
    check(cache, expected, 1, b.nbytes, b.nbytes)


def test_a_reader_between_the_parts_of_an_update_sees_what_was_before():
    a, b = data(2, 6, 8), data(2, 1, 8)
    cache, new = mx.array(a), mx.array(b)
    before = mx.sum(cache[:, 3:4] * mx.sum(new * 2), axis=-1)
    cache[:, 3:4] = mx.concatenate([new[..., :4] * before[..., None], new[..., 4:] + 1], -1)
    first = (a[:, 3:4] * (b * 2).sum(dtype=np.float32)).sum(-1)
    expected = a.copy()
    expected[:, 3:4] = np.concatenate([b[..., :4] * first[..., None], b[..., 4:] + 1], -1)
    np.testing.assert_allclose(np.array(cache), expected, rtol=1e-5)
    np.testing.assert_allclose(np.array(before), first, rtol=1e-5)


def test_one_plan_for_a_growing_cache():
    before = None
    for n in range(3, 12):
        x, y = mx.ones((2, n, 4)), mx.ones((2, 1, 4))
        mx.eval(x, y)
        mx.eval(mx.concatenate([x * 2, y + 1], axis=1))
        x[:, n - 1 : n] = y * 5
        mx.eval(x)
        if n == 5:  # before, n or n + 1 is one of the other extents
            before = mx.plan_counts()["made"]
    assert mx.plan_counts()["made"] == before


def test_gradients_of_slices_are_stored_in_their_places():
    a = data(4, 12)

    def f(x):
        return sum(mx.sum(mx.sin(part)) for part in mx.split(x, 3, axis=1))

    gradient = mx.grad(f)(mx.array(a))
    np.testing.assert_allclose(np.array(gradient), np.cos(a), rtol=1e-5, atol=1e-6)


def test_calls_of_compiled_functions():
    a, b, row = data(4, 6), data(4, 6), data(1, 6)

    @mx.compile
    def f(x, y, row):
        both = mx.concatenate([mx.concatenate([-x, y]), mx.abs(y)])
        both[3:4] = row * 2
        return mx.pad(both * 3, 1)

    expected = np.concatenate([-a, b, np.abs(b)])
    expected[3:4] = row * 2
    for _ in range(3):
        out = f(mx.array(a), mx.array(b), mx.array(row))
        np.testing.assert_array_equal(np.array(out), np.pad(expected * 3, 1))


def sum_of_sines(parts):
    return lambda x: sum(mx.sum(mx.sin(x[:, i:j])) for i, j in parts)


def test_slices_that_cover_an_axis_have_one_gradient():
    a = data(5, 12)
    fine = [(i, i + 1) for i in range(12)]
    for parts in (*itertools.permutations([(0, 4), (4, 5), (5, 12)]), fine, fine[::-1]):
        gradient = mx.grad(sum_of_sines(parts))(mx.array(a))
        assert "slice_update" not in mx.explain(gradient)
        np.testing.assert_allclose(np.array(gradient), np.cos(a), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "parts", [[(0, 5), (4, 12)], [(0, 5), (6, 12)], [(0, 6), (6, 12), (0, 6)], [(0, 6), (0, 12)]]
)
def test_slices_that_overlap_or_leave_a_gap(parts):
    a = data(5, 12)
    gradient = mx.grad(sum_of_sines(parts))(mx.array(a))
    times = sum(((np.arange(12) >= i) & (np.arange(12) < j)).astype(np.float32) for i, j in parts)
    np.testing.assert_allclose(np.array(gradient), np.cos(a) * times, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mode", ["add", "multiply", "minimum", "maximum"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "complex64"])
def test_combined_slices_are_computed_in_place(mode, dtype):
    a, b = (RNG.integers(-4, 5, s).astype(np.float32) for s in ((6, 8), (3, 4)))
    if dtype == "complex64" and mode in ("minimum", "maximum"):
        a, b = a + 1j * a[::-1], b + 1j * b[::-1]
    x, u = mx.array(a).astype(mx_dtype(dtype)), mx.array(b).astype(mx_dtype(dtype))
    mx.eval(x, u)
    for at in (np.s_[1:4, 2:6], np.s_[::-2, ::-2], np.s_[::2, 4:]):
        whole = mx.abs(x) if dtype != "complex64" else -x
        out = getattr(whole.at[at], mode)(u + u)
        expected = np.array(whole)
        combine = getattr(np, mode)
        expected[at] = combine(expected[at], np.array(u + u))
        del whole
        assert counts(out)[0] == 1 and "operand 1 of slice_update" in mx.explain(out)
        np.testing.assert_array_equal(np.array(out), expected)


def test_out_of_memory_leaves_what_can_be_asked_for_again():
    a = data(256, 1024)
    x = mx.array(a)
    mx.eval(x)
    mx.clear_cache()
    first, cache = mx.sin(x), x * 1
    mx.eval(cache)
    held = cache[:]
    mx.eval(held)
    cache[:, :512] = mx.cos(x[:, :512])  # needs a copy
    out = [mx.concatenate([first, mx.concatenate([-x, x], axis=1)], axis=1), cache]
    del first
    limit = mx.set_memory_limit(mx.get_active_memory() + x.nbytes // 2)
    try:
        for array in out:
            with pytest.raises(MemoryError):
                mx.eval(array)
    finally:
        mx.set_memory_limit(limit)
    np.testing.assert_allclose(np.array(out[0]), np.concatenate([np.sin(a), -a, a], 1), atol=1e-6)
    expected = a.copy()
    expected[:, :512] = np.cos(a[:, :512])
    np.testing.assert_allclose(np.array(out[1]), expected, atol=1e-6)


def test_a_part_that_fails_fails_the_whole():
    a = data(3, 3)
    x = mx.array(a)
    singular = mx.linalg.inv(mx.zeros((3, 3)), stream=mx.cpu)
    whole = mx.concatenate([-x, singular + 1, mx.abs(x)])
    with pytest.raises(ValueError, match="singular"):
        mx.eval(whole)
    base = mx.linalg.inv(mx.zeros((3, 3)), stream=mx.cpu)
    base[1:2] = x[:1] * 2
    with pytest.raises(ValueError, match="singular"):
        mx.eval(base)
    np.testing.assert_array_equal(np.array(-x), -a)
