"""Faults and limits of a GPU, injected in the simulated device: who fails, and who does not.

Expected values are NumPy's, or those of the same work without a fault.
"""

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from conftest import assert_equal, to_np

import cermet.core as mx
import cermet.nn as nn
from cermet import optimizers

if not mx.metal.is_available() or not mx.metal.device_info()["simulated"]:
    pytest.skip("needs the simulated Metal device", allow_module_level=True)
from cermet.metal import simulator

MB = 1 << 20


@pytest.fixture(autouse=True)
def without_faults(on_the_gpu):
    """Each test ends with a device without faults."""
    yield
    simulator.set_faults()


@contextmanager
def faults(**options):
    """What the device does wrong within."""
    simulator.set_faults(**options)
    try:
        yield
    finally:
        simulator.set_faults()


def wait_until(condition, what):
    """Waits for what another thread does."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def overrun(x):
    """What a kernel that writes out of bounds gives."""
    kernel = mx.fast.metal_kernel(
        name="overrun",
        input_names=["x"],
        output_names=["y"],
        source="y[thread_position_in_grid.x + 100] = x[thread_position_in_grid.x];",
    )
    (y,) = kernel(
        inputs=[x],
        grid=(x.size, 1, 1),
        threadgroup=(x.size, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )
    return y


# ---- One kernel fails ----------------------------------------------------------------------------
def test_a_failed_kernel_leaves_the_random_state_valid():
    def draw(x):
        return overrun(x + mx.random.uniform(shape=(4,)))

    draw = mx.compile(draw, inputs=mx.random.state, outputs=mx.random.state)
    mx.random.seed(3)
    mx.eval(mx.random.uniform(shape=(4,)))
    expected = [to_np(mx.random.uniform(shape=(4,))) for _ in range(2)]
    mx.random.seed(3)
    simulator.set_mode(sanitize=True)
    bad = draw(mx.ones(4))
    with pytest.raises(simulator.SanitizerError, match="overrun"):
        mx.eval(bad, mx.random.state)
    simulator.set_mode()
    for want in expected:
        assert_equal(mx.random.uniform(shape=(4,)), want)
    with pytest.raises(simulator.SanitizerError, match="overrun"):
        mx.eval(bad)


def test_a_failed_kernel_fails_its_own_arrays_only():
    x = mx.arange(64.0)
    mx.eval(x)
    before, after = mx.sort(x[::-1]) + 1, mx.cumsum(x)
    bad = overrun(x * 2)
    follows = mx.sum(bad) + 1
    simulator.set_mode(sanitize=True)
    with pytest.raises(simulator.SanitizerError, match="overrun"):
        mx.eval(before, bad, follows, after)
    simulator.set_mode()
    assert_equal(before, np.arange(64) + 1)
    assert_equal(after, np.cumsum(np.arange(64)))
    for failed in (bad, follows, follows * 2):
        with pytest.raises(simulator.SanitizerError):
            mx.eval(failed)


@pytest.mark.parametrize("kind, error", [("page", RuntimeError), ("memory", MemoryError)])
def test_the_error_names_the_kernel(kind, error):
    x = mx.arange(64.0)
    mx.eval(x)
    good, bad = mx.sort(x), mx.cumsum(x)
    message = r"Metal kernel .*scan.*(page fault|out of memory)"
    with faults(kernel="scan", kind=kind), pytest.raises(error, match=message):
        mx.eval(good, bad)
    assert_equal(good, np.arange(64))
    with pytest.raises(error, match="scan"):
        mx.eval(bad + 1)
    assert_equal(mx.cumsum(x), np.cumsum(np.arange(64)))


# ---- Command buffers that are aborted ------------------------------------------------------------
@pytest.mark.parametrize("kind", ["timeout", "interactivity", "page", "memory"])
@pytest.mark.parametrize("dispatch", [0, 1, 3, 100])
@pytest.mark.parametrize("signals", [False, True])
def test_aborted_work_is_run_again(kind, dispatch, signals, rng):
    n = rng.integers(0, 9, (32, 32)).astype(np.float32)
    x = mx.array(n)
    y = mx.remainder(mx.cumsum(x, 0) @ x, 7)
    z = mx.sort(y, 1) + mx.max(x, 0)
    with faults(command_buffer=0, dispatch=dispatch, kind=kind, signals=signals):
        mx.eval(z)
    want = np.remainder(np.cumsum(n, 0) @ n, 7)
    assert_equal(z, np.sort(want, 1) + n.max(0))


def test_what_cannot_be_run_again_is_an_error_of_its_own_arrays():
    x = mx.arange(100.0)
    mx.eval(x)
    other = mx.sort(mx.arange(50.0)[::-1])
    x = x * 2 + 1  # over its own memory
    error = pytest.raises(RuntimeError, match=r"Metal kernel .*time-out")
    with faults(command_buffer=0, dispatch=9), error:
        mx.eval(x, other)
    assert_equal(other, np.arange(50))
    with pytest.raises(RuntimeError, match=r"Metal kernel .*time-out"):
        mx.eval(x + 1)


def test_what_is_always_aborted_is_an_error():
    x = mx.arange(100.0)
    mx.eval(x)
    error = pytest.raises(RuntimeError, match=r"Metal kernel .*time-out")
    with faults(command_buffer=0, count=10_000), error:
        mx.eval(mx.cumsum(x))
    assert_equal(mx.cumsum(x), np.cumsum(np.arange(100)))


def test_long_command_buffers_are_cut():
    """The device aborts what has more threads than one of the steps."""
    x = mx.ones((64, 64))
    for _ in range(20):
        x = mx.sort(mx.cumsum(x, 0) / 8, 1)
    with faults(longest=64 * 64):
        mx.eval(x)
    want = np.ones((64, 64), np.float32)
    for _ in range(20):
        want = np.sort(np.cumsum(want, 0) / np.float32(8), 1)
    np.testing.assert_allclose(to_np(x), want, rtol=1e-5)


# ---- Work handed ahead ---------------------------------------------------------------------------
def test_the_next_batch_is_encoded_while_the_last_one_runs():
    x = mx.ones((64, 64))
    mx.eval(x)
    simulator.reset_counters()
    with faults(hold=True):
        for _ in range(3):
            x = mx.sort(mx.cumsum(x, 0) / 4, 1)
            mx.async_eval(x)
        wait_until(lambda: simulator.counters()["committed"] >= 3, "three batches are committed")
        assert simulator.counters()["command_buffers"] == 0
    want = np.ones((64, 64), np.float32)
    for _ in range(3):
        want = np.sort(np.cumsum(want, 0) / np.float32(4), 1)
    assert_equal(x, want)
    counts = simulator.counters()
    assert counts["command_buffers"] == counts["committed"] >= 3
    assert counts["idle"] == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_a_decoding_loop_never_leaves_the_gpu_without_work(compiled):
    step = decoding_step(compiled)
    tokens, _ = decode(step, 4)
    other = mx.ones((256, 256))  # work that takes longer than it takes to give it
    mx.eval(other, mx.sort(mx.cumsum(other, 0) / 8, 1))
    state, given = first_state(), []
    simulator.reset_counters()
    with faults(hold=True):
        for i in range(12):
            state, other = step(i, *state), mx.sort(mx.cumsum(other, 0) / 8, 1)
            mx.async_eval(state, other)
            given.append(state[0])
            if i == 2:
                wait_until(lambda: simulator.counters()["committed"] >= 3, "three are committed")
                assert simulator.counters()["command_buffers"] == 0
                simulator.set_faults()
            if i > 2:
                given[i - 3].item()
    assert [t.item() for t in given][:4] == tokens
    counts = simulator.counters()
    assert counts["command_buffers"] >= 12
    assert counts["idle"] == 0, counts


# ---- A model to train, and one that decodes ------------------------------------------------------
SIDE = 16


def decoding_step(compiled=False):
    """A step of a decoder whose cache is updated in place: a token and the next state."""
    rng = np.random.default_rng(1)
    weights = mx.array(rng.normal(size=(SIDE, 4 * SIDE)).astype(np.float32))
    table = mx.array(rng.normal(size=(50, SIDE)).astype(np.float32))
    mx.eval(weights, table)

    def step(at, token, cache):
        x = table[token]
        q, k, v, g = mx.split(x @ weights, 4, axis=-1)
        cache = cache.at[0, at].add(k).at[1, at].add(v) if compiled else update(cache, at, k, v)
        scores = cache[0] @ q + mx.where(mx.arange(40) > at, -mx.inf, 0)
        y = (mx.softmax(scores) @ cache[1]) * mx.sigmoid(g)
        return mx.argmax(mx.sin(100 * y) @ table.T), cache

    def update(cache, at, k, v):
        cache[0, at] = k
        cache[1, at] = v
        return cache

    if not compiled:
        return lambda at, token, cache: step(at, token, cache)
    whole = mx.compile(step)
    return lambda at, token, cache: whole(mx.array(at), token, cache)


def first_state():
    """The token and the cache that decoding begins with."""
    state = mx.array(7), mx.zeros((2, 40, SIDE))
    mx.eval(state)
    return state


def decode(step, n):
    """The numbers of the first tokens, each evaluated while the next is under way."""
    state, tokens = first_state(), []
    for i in range(n):
        state = step(i, *state)
        mx.async_eval(state)
        tokens.append(state[0])
    return [t.item() for t in tokens], state[1]


# ---- Faults everywhere ---------------------------------------------------------------------------
class Model(nn.Module):
    """Two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(SIDE, 2 * SIDE), nn.Linear(2 * SIDE, 4)

    def __call__(self, x):
        return self.second(mx.tanh(self.first(x)))


def train(steps, fault=None):
    """Losses and parameters of a few steps of training; a fault is set before the second."""
    mx.random.seed(5)
    rng = np.random.default_rng(2)
    x = mx.array(rng.normal(size=(8, SIDE)).astype(np.float32))
    y = mx.array(rng.integers(0, 4, 8))
    model, optimizer = Model(), optimizers.Adam(1e-2)
    loss_and_grad = nn.value_and_grad(
        model, lambda m: mx.mean(nn.losses.cross_entropy(m(x), y)) + 0 * mx.random.uniform()
    )
    mx.eval(model.parameters())
    optimizer.init(model.parameters())
    losses = []
    for i in range(steps):
        if fault and i == 1:
            simulator.set_faults(**fault)
        loss, grads = loss_and_grad(model)
        optimizer.update(model, grads)
        mx.async_eval(loss, model.parameters(), optimizer.state)
        losses.append(loss)
    return [a.item() for a in losses], [to_np(a) for _, a in parameters(model)]


def parameters(model):
    """The parameters by name."""
    from cermet.utils import tree_flatten

    return tree_flatten(model.parameters())


def check_afterwards(expected):
    """All that is new has its values, and the random state goes on."""
    simulator.set_faults()
    mx.synchronize()
    mx.eval(mx.random.uniform(shape=(3,)))
    losses, values = train(3)
    assert losses == expected[0]
    for got, want in zip(values, expected[1], strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["timeout", "memory"])
def test_a_fault_anywhere_in_training(kind):
    expected = train(3)
    outcomes = set()
    for buffer in range(3):
        for dispatch in (0, 1, 2, 5, 9, 14, 1000):
            fault = {"command_buffer": buffer, "dispatch": dispatch, "kind": kind}
            try:
                losses, values = train(3, fault)
            except (RuntimeError, MemoryError) as error:
                assert "Metal kernel" in str(error)
                outcomes.add("error")
            else:
                assert losses == expected[0]
                for got, want in zip(values, expected[1], strict=True):
                    np.testing.assert_array_equal(got, want)
                outcomes.add("value")
            simulator.set_faults()
            assert mx.sum(mx.ones((3, 3)) * 2).item() == 18
    assert outcomes
    check_afterwards(expected)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_fault_anywhere_in_decoding(compiled):
    step = decoding_step(compiled)
    tokens, cache = decode(step, 8)
    cache = to_np(cache)
    for buffer in (0, 3, 7):
        for dispatch in (0, 1, 3, 7, 1000):
            with faults(command_buffer=buffer, dispatch=dispatch):
                try:
                    got, end = decode(step, 8)
                except RuntimeError as error:
                    assert "Metal kernel" in str(error)
                else:
                    assert got == tokens
                    np.testing.assert_array_equal(to_np(end), cache)
    got, end = decode(step, 8)
    assert got == tokens
    np.testing.assert_array_equal(to_np(end), cache)


# ---- Limits --------------------------------------------------------------------------------------
def test_small_arrays_share_buffers():
    """Ten thousand arrays take less than a hundred buffers."""
    with faults(resources=100):
        arrays = [mx.full((k % 5000 + 1,), 1.0) + k for k in range(10_000)]
        mx.eval(arrays)
    for k in (0, 17, 4999, 9999):
        assert_equal(arrays[k], np.full(k % 5000 + 1, k + 1))


@pytest.mark.parametrize(
    "limit, what",
    [
        ({"resources": 0}, "buffers, the most there can be"),
        ({"buffer": 32 * MB}, f"at most {32 * MB}"),
        ({"working_set": 0}, "the working set is"),
    ],
)
def test_a_limit_is_a_memory_error_after_which_all_is_as_before(limit, what):
    x = mx.ones((1024, 1024))
    mx.eval(x)
    mx.clear_cache()
    before = mx.get_active_memory()
    y = mx.concatenate([x + k for k in range(12)])  # 48 MB
    small = mx.sort(mx.arange(9)[::-1])
    with faults(**limit):
        for _ in range(2):
            with pytest.raises(MemoryError, match=what):
                mx.eval(y)
        if "buffer" in limit:
            assert_equal(small, np.arange(9))
        assert mx.get_active_memory() <= before + MB
    mx.eval(y)
    assert mx.sum(y).item() == 1024 * 1024 * sum(range(1, 13))


def test_borrowed_memory_is_mapped_once_and_copied_where_that_is_refused():
    n = np.arange(5000, dtype=np.float32)
    x = mx.asarray(n, copy=False)
    mx.eval(mx.ones(5000) * 2 + 1)
    with faults(resources=0):
        assert_equal(x * 2 + 1, n * 2 + 1)
    for k in range(3):
        assert_equal(x * 2 + k, n * 2 + k)


# ---- Time ----------------------------------------------------------------------------------------
def test_slow_work_is_cut_by_the_time_it_takes():
    """Once a command buffer has taken long, those that follow are shorter."""
    x = mx.ones((512, 512))
    mx.eval(x)

    def buffers():
        y = x
        for _ in range(12):
            y = mx.cumsum(y, 0) / 8
        simulator.reset_counters()
        mx.eval(y)
        return simulator.counters()["committed"]

    stream = mx.new_stream(mx.gpu)
    with mx.stream(stream):
        assert buffers() == 1
        with faults(seconds=1e-6):
            buffers()
            assert buffers() >= 4


# ---- Threads, and who stops waiting --------------------------------------------------------------
def test_an_interrupt_ends_the_wait_for_work_in_flight():
    """It reaches who waits for the GPU; the work goes on and its values come."""
    code = """
import signal, time
import cermet.core as mx
from cermet.metal import simulator
x = mx.ones((64, 64))
mx.eval(x, mx.sort(mx.cumsum(x, 0), 1))
y = mx.sort(mx.cumsum(x, 0), 1)
simulator.set_faults(hold=True)
signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    mx.eval(y)
    raise SystemExit("not interrupted")
except KeyboardInterrupt:
    pass
simulator.set_faults()
assert mx.sum(y).item() == 64 * 64 * 65 / 2
assert mx.sum(y + 1).item() == 64 * 64 * 67 / 2
mx.synchronize()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", [{}, {"command_buffer": 20, "dispatch": 1}])
def test_threads_share_streams_and_models(fault):
    """Two models in two threads each, two threads on one stream, others synchronise and drop."""
    streams = [mx.new_stream(mx.gpu), mx.new_stream(mx.gpu)]
    model, x = Model(), mx.ones((4, SIDE))
    mx.eval(model.parameters(), x)
    want = to_np(model(x))
    wrong, done = [], threading.Event()

    def infer(stream):
        with mx.stream(stream):
            for _ in range(15):
                try:
                    y = model(x)
                    mx.async_eval(y)
                    if not np.array_equal(to_np(y), want):
                        wrong.append("a value")
                except RuntimeError as error:
                    if "Metal kernel" not in str(error):
                        wrong.append(error)

    def drop():
        while not done.is_set():
            try:
                other = Model()
                mx.async_eval(other(x))
                del other
                mx.synchronize()
            except RuntimeError as error:
                if "Metal kernel" not in str(error):
                    wrong.append(error)

    threads = [threading.Thread(target=infer, args=(streams[k % 2],)) for k in range(4)]
    others = [threading.Thread(target=drop) for _ in range(2)]
    with faults(**fault):
        for t in threads + others:
            t.start()
        for t in threads:
            t.join(120)
        done.set()
        for t in others:
            t.join(120)
    assert not wrong and not any(t.is_alive() for t in threads + others)
    np.testing.assert_array_equal(to_np(model(x)), want)


def test_decoding_keeps_memory_flat():
    """A long loop with work handed ahead holds what its first steps held."""
    step = decoding_step(True)
    state, used = first_state(), []
    for i in range(200):
        state = step(i % 40, *state)
        mx.async_eval(state)
        if i % 20 == 19:
            mx.synchronize()
            used.append(mx.get_active_memory() + mx.get_cache_memory())
    assert max(used[2:]) <= used[1] + MB
