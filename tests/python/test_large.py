"""Products whose operands and results have more than 2**31 elements.

Those that need memory run when CERMET_LARGE is set: 6 GB, and a minute.
"""

import os

import numpy as np
import pytest

import cermet.core as mx

COLUMNS, ROWS = 1 << 16, (1 << 15) + 1  # more than 2**31 elements, the last row behind them
pytestmark = pytest.mark.skipif(
    mx.default_device() == mx.Device(mx.gpu), reason="it is the CPU's arithmetic of places"
)
BEHIND = pytest.mark.skipif("CERMET_LARGE" not in os.environ, reason="CERMET_LARGE is not set")


def test_a_view_of_more_elements_than_31_bits_count():
    """Rows that overlap in memory: row i sums the elements from i on."""
    n = 46_400
    base = np.arange(2 * n) % 7
    view = mx.as_strided(mx.array(base.astype(np.float32)), (n, n), (1, 1))
    assert view.size > 1 << 31
    ends = np.concatenate([[0], base.cumsum()])
    want = ends[n : 2 * n] - ends[:n]
    assert np.array_equal(np.array(view @ mx.ones((n, 1)))[:, 0], want)
    assert np.array_equal(np.array(mx.ones((1, n)) @ view)[0], want)


@pytest.fixture(scope="module")
def rows():
    """Equal rows, but the last one, whose elements all lie behind the others."""
    each = mx.broadcast_to((mx.arange(COLUMNS) % 5 - 2).astype(mx.float16), (ROWS, COLUMNS))
    whole = mx.contiguous(each)
    whole[-1] = 1
    mx.eval(whole)
    assert whole.size > 1 << 31
    return whole


@BEHIND
def test_operands_that_reach_behind(rows):
    ones = mx.ones((COLUMNS, 1), mx.float16) / 1024
    total = int(np.array(rows[0].astype(mx.float32)).sum())
    want = np.full(ROWS, total / 1024)
    want[-1] = COLUMNS / 1024
    for got in (rows @ ones, (ones.T @ rows.T).T, rows.T.T[:] @ mx.repeat(ones, 20, 1)):
        assert np.array_equal(np.array(got.astype(mx.float32))[:, 0], want.astype(np.float16))
    # The depth goes beyond.
    picks = (mx.arange(ROWS) == ROWS - 1).astype(mx.float16)[None]
    for pick in (picks, mx.repeat(picks, 20, 0)):
        assert mx.all(pick @ rows == 1).item()


@BEHIND
def test_a_sum_of_more_terms_than_31_bits_count(rows):
    # Each of its spans of 2048 has a number of ones and twos that float32 adds exactly.
    squares = (rows.reshape(1, -1) @ rows.reshape(-1, 1)).item()
    assert squares == np.inf  # beyond float16, but read to its end
    small = rows.reshape(1, -1) @ mx.broadcast_to(mx.array(0, mx.float16), (rows.size, 1))
    assert small.item() == 0


@BEHIND
def test_a_matrix_that_lies_behind(rows):
    ones = mx.ones((2, COLUMNS, 3), mx.float16) / 1024
    got = mx.gather_mm(rows[:, None], ones, mx.array([0, ROWS - 1]), mx.array([1, 0]))
    assert mx.all(got[1] == COLUMNS / 1024).item()


@BEHIND
def test_packed_weights_that_lie_behind(rows):
    packed = mx.quantize(rows, 64, 4)
    assert packed[0].size * 8 > 1 << 31
    x = mx.ones((3, COLUMNS), mx.float16) / 1024
    got = mx.quantized_matmul(x, *packed, bits=4)
    assert mx.all(got[:, -1] == COLUMNS / 1024).item()
    pick = (mx.arange(ROWS) == ROWS - 1).astype(mx.float16)[None]
    assert mx.all(mx.quantized_matmul(pick, *packed, bits=4, transpose=False) == 1).item()


@BEHIND
def test_a_result_that_reaches_behind():
    left = (mx.arange(ROWS) % 100).astype(mx.float16)[:, None]
    got = left @ mx.ones((1, COLUMNS), mx.float16)
    assert got.size > 1 << 31
    last = got[-1]
    assert mx.all(last == left[-1]).item() and mx.all(got[:, -1:] == left).item()
