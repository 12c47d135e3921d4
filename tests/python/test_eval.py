"""Evaluation: laziness, streams, memory, errors carried to who asks, interruption, threads."""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from conftest import SIMULATED, assert_equal

import cermet.core as mx

# A simulated GPU takes a thousandfold time for arithmetic.
MANY = 100_000 if SIMULATED else 1_000_000
SIZE = 64 if SIMULATED else 512


def run_python(code, **environment):
    """Run a program in a fresh interpreter and return what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# Laziness


def test_building_a_graph_computes_nothing():
    mx.synchronize()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    a = mx.zeros((1 << 20, 1 << 8)) + 1  # a gigabyte, if it were computed
    assert a.shape == (1 << 20, 1 << 8) and a.sum().shape == ()
    assert mx.get_active_memory() - before < 1 << 20
    assert mx.get_peak_memory() - before < 1 << 20


def test_eval_takes_trees_and_ignores_other_objects():
    a, b, c = (mx.ones(3) * i for i in range(3))
    assert mx.eval(a, {"b": [b, (c, None, "text")]}, 3) is None
    mx.eval()
    assert c.tolist() == [2, 2, 2]


def test_async_eval():
    a = mx.exp(mx.zeros((100, 100)))
    assert mx.async_eval(a, [a * 2]) is None
    b = a + 1
    mx.eval(b)
    assert b[0, 0].item() == 2 and a.sum().item() == 10_000


def test_evaluated_arrays_are_reused():
    a = mx.random.uniform(shape=(100,))
    first = a.tolist()
    assert a.tolist() == first == (a + 0).tolist()


@pytest.mark.parametrize(
    ("step", "length"),
    [
        ("a + 1", MANY),
        ("mx.sin(a)", MANY),
        ("a.reshape(1, 2)[0]", MANY),
        ("a.at[0].add(1)", MANY // 4),  # four nodes each
    ],
)
def test_long_chains(step, length):
    """Built, evaluated and destroyed without recursion, in a thread with a small stack."""
    run_python(f"""
import threading
import cermet.core as mx

def work():
    a = mx.zeros(2)
    for _ in range({length}):
        a = {step}
    mx.eval(a)
    a = mx.zeros(2)
    for _ in range({length}):
        a = {step}
    del a  # destroyed without having been evaluated
    print("done")

threading.stack_size(256 * 1024)
thread = threading.Thread(target=work)
thread.start()
thread.join()
""")


def test_gradient_of_a_long_chain():
    def f(a):
        for _ in range(20_000):
            a = a + 1
        return a

    assert mx.grad(f)(mx.array(1.0)).item() == 1


def test_wide_sums():
    assert sum((mx.array(float(i)) for i in range(2000)), mx.array(0.0)).item() == 1999000
    assert mx.stack([mx.array(i) for i in range(2000)]).sum().item() == 1999000


# Devices and streams


def test_devices():
    assert mx.is_available(mx.cpu)
    assert mx.Device(mx.cpu, 0) == mx.Device(mx.cpu) and mx.Device(mx.cpu).type == mx.cpu
    assert mx.default_device() == mx.default_stream(mx.default_device()).device
    assert mx.device_count(mx.cpu) >= 1
    assert isinstance(mx.device_info(mx.cpu), dict)
    if not mx.is_available(mx.gpu):
        for call in (
            lambda: mx.set_default_device(mx.gpu),
            lambda: mx.ones(3, stream=mx.gpu),
            lambda: mx.new_stream(mx.gpu),
        ):
            with pytest.raises((ValueError, RuntimeError)):
                mx.eval(call())


def test_streams():
    device = mx.default_device()
    before, stream = mx.default_stream(device), mx.new_stream(device)
    assert stream != before and stream.device == device
    with mx.stream(stream):
        assert mx.default_stream(device) == stream
    assert mx.default_stream(device) == before
    mx.set_default_stream(stream)
    assert mx.default_stream(device) == stream
    mx.set_default_stream(before)
    with pytest.raises(KeyError), mx.stream(stream):
        raise KeyError
    assert mx.default_stream(device) == before


def test_streams_wait_for_each_other():
    first, second = mx.new_stream(mx.cpu), mx.new_stream(mx.cpu)
    a = mx.ones((200, 200), stream=first)
    for _ in range(40):
        a = mx.add(mx.matmul(a, mx.eye(200), stream=first), 1, stream=second)
    assert_equal(a[::50, ::50], np.full((4, 4), 41))
    with mx.stream(first):
        b = mx.cumsum(mx.ones(1000))
    with mx.stream(second):
        c = b * 2
    mx.async_eval(c)
    mx.synchronize(second)
    mx.synchronize()
    assert c[-1].item() == 2000


# Memory


def test_memory_counters():
    mx.clear_cache()
    assert mx.get_cache_memory() == 0
    before = mx.get_active_memory()
    a = mx.zeros((1 << 20,)) + 1
    mx.eval(a)
    assert mx.get_active_memory() - before >= 4 << 20
    mx.reset_peak_memory()
    mx.eval(a * 2)
    assert mx.get_peak_memory() >= 8 << 20
    del a
    assert mx.get_active_memory() - before < 1 << 20
    mx.clear_cache()
    assert mx.get_cache_memory() == 0


@pytest.mark.skipif(SIMULATED, reason="counts the CPU's memory")
def test_scratch_memory_is_counted():
    x = mx.arange(1 << 15, dtype=mx.float32)
    mx.eval(x)
    y = mx.sin(x)
    total = mx.sum(y - mx.max(y))
    del y  # never an array: it is kept from one pass over the row for the next
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(total)
    assert mx.get_peak_memory() - before >= x.nbytes
    assert mx.get_active_memory() - before < 4096


@pytest.mark.skipif(SIMULATED or sys.platform != "linux", reason="counts the CPU's memory")
def test_a_full_reduction_takes_little_memory():
    """Whatever its domain: neither of the counted nor of other memory."""
    program = """
        import resource
        import cermet.core as mx

        def most():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

        x = mx.arange(40_000.0)
        mx.eval(x, (x[:1000, None] - x[None]).sum())
        before, counted = most(), mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(mx.abs(x[:, None] - x[None]).sum())
        print(most() - before, mx.get_peak_memory() - counted)
    """
    for taken in run_python(textwrap.dedent(program)).split():
        assert int(taken) < 8 << 20


def test_cache_limit():
    previous = mx.set_cache_limit(0)
    try:
        mx.clear_cache()
        for _ in range(3):
            mx.eval(mx.zeros((1 << 20,)) + 1)
        assert mx.get_cache_memory() == 0
    finally:
        assert mx.set_cache_limit(previous) == 0


def test_memory_is_reused_in_a_long_computation():
    a = mx.ones((1 << 18,))
    mx.eval(a)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    for _ in range(100):
        a = mx.sin(a) + 1
    mx.eval(a)
    assert mx.get_peak_memory() - before < 16 << 20


@pytest.mark.skipif(SIMULATED, reason="counts the CPU's memory")
def test_a_sum_of_many_arrays_holds_few_of_them_at_once():
    x = mx.ones((1 << 16,))

    def peak(count):
        total = sum((mx.cumsum(x + i) for i in range(count)), mx.zeros(1))
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(total)
        return mx.get_peak_memory() - before

    mx.eval(x)
    assert peak(400) <= peak(200) + x.nbytes
    # Views of one array are one.
    views = sum((x[i : i + 1000] for i in range(200)), mx.zeros(1))
    assert mx.explain(views).count("program") == mx.explain(x[:1000] + x[5:1005]).count("program")


def test_a_growing_array_leaves_a_bounded_cache():
    """As a cache of keys and values that gets a row with each token."""
    mx.clear_cache()
    row = mx.ones((1, 1 << 13))  # 32 KiB
    cache, most = row, 0
    for _ in range(500):
        cache = mx.concatenate([cache, row])
        mx.eval(cache)
        most = max(most, mx.get_cache_memory())
    assert cache.nbytes < 16 << 20
    assert most <= 96 << 20


@pytest.mark.skipif(SIMULATED or sys.platform != "linux", reason="counts the CPU's memory")
@pytest.mark.parametrize("size", [40_000, 300_000, 5_000_000])
def test_memory_of_blocks_goes_back_to_the_system(size):
    def resident():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    mx.clear_cache()
    before = resident()
    count = 200_000_000 // size
    arrays = [mx.zeros((size // 4,)) + float(i) for i in range(count)]
    mx.eval(arrays)
    assert resident() - before > 150_000_000
    del arrays
    mx.clear_cache()
    assert resident() - before < 40_000_000


@pytest.mark.skipif(not mx.metal.is_available(), reason="without a GPU nothing is wired")
def test_the_wired_limit_of_a_device():
    largest = mx.metal.device_info()["max_recommended_working_set_size"]
    before = mx.set_wired_limit(largest)
    try:
        assert (mx.ones(1000) + 1).sum().item() == 2000
        assert mx.set_wired_limit(1 << 20) == largest
        with pytest.raises(ValueError, match=f"set_wired_limit: {largest + 1} bytes.*{largest}"):
            mx.set_wired_limit(largest + 1)
    finally:
        assert mx.set_wired_limit(before) == 1 << 20


@pytest.mark.skipif(mx.metal.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_wired():
    assert mx.set_wired_limit(1 << 20) == 0
    assert mx.set_wired_limit(0) == 0


def test_out_of_memory_is_an_error_and_then_all_is_well():
    previous = mx.set_memory_limit(64 << 20)
    try:
        huge = mx.matmul(mx.ones((1 << 14, 8)), mx.ones((8, 1 << 14)))  # a gigabyte
        for _ in range(2):
            with pytest.raises((MemoryError, RuntimeError), match=r"(?i)matmul"):
                mx.eval(huge)
        with pytest.raises((MemoryError, RuntimeError)):
            mx.eval(huge + 1)
        assert (mx.ones(3) + 1).tolist() == [2, 2, 2]
    finally:
        assert mx.set_memory_limit(previous) == 64 << 20
    assert (mx.ones(3) + 1).tolist() == [2, 2, 2]


def test_absurd_sizes_are_errors():
    for shape in ((1 << 31, 1 << 31), (1 << 30, 1 << 30, 1 << 30)):
        with pytest.raises((MemoryError, RuntimeError, ValueError, OverflowError)):
            mx.eval(mx.contiguous(mx.broadcast_to(mx.array(1.0), shape)))


# Errors while evaluating


def test_errors_reach_who_asks():
    """An error stays with the arrays of the failed step; others of the same graph are unharmed."""
    good, bad = mx.ones(3) * 2, mx.arange(3)[mx.array([7])]
    dependent = bad + 1
    for _ in range(2):
        with pytest.raises(IndexError):
            mx.eval(good, dependent)
    assert good.tolist() == [2, 2, 2]
    mx.async_eval(dependent * 2)
    with pytest.raises(IndexError):
        (dependent * 2).tolist()
    with pytest.raises(IndexError):
        repr(bad)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of the process")
def test_without_a_thread_async_eval_computes_at_once():
    code = """
import resource
import cermet.core as mx

a = mx.sort(mx.ones(3) * 2)
with open("/proc/self/statm") as f:
    used = int(f.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 20), limits[1]))  # a stack takes more
mx.async_eval(a)
resource.setrlimit(resource.RLIMIT_AS, limits)
print(a.tolist())
mx.async_eval(a + 1)
mx.synchronize()
"""
    assert run_python(code) == "[2.0, 2.0, 2.0]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space of the process")
def test_a_factorization_without_memory_for_the_blas():
    code = """
import resource
import cermet.core as mx

mx.set_default_device(mx.cpu)
mx.set_num_threads(1)
a = mx.eye(300) * 4
mx.eval(a, mx.exp(a))
with open("/proc/self/statm") as f:
    used = int(f.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), limits[1]))
b = mx.linalg.cholesky(a)
for _ in range(2):
    try:
        mx.eval(b)
    except MemoryError as error:
        print(error)
resource.setrlimit(resource.RLIMIT_AS, limits)
print(b[0, 0].item())
"""
    *messages, value = run_python(code).splitlines()
    assert len(messages) == 2 and all("cholesky" in m and "BLAS" in m for m in messages)
    assert value == "2.0"


def test_all_that_follows_from_a_failed_array_carries_its_error():
    bad = mx.arange(3)[mx.array([7])]
    followers = [bad]
    for _ in range(20_000):
        followers.append(mx.sort(followers[-1]))  # a step each
    mx.async_eval(followers[-1])
    for a in followers[::1000]:
        with pytest.raises(IndexError):
            mx.eval(a)


def test_errors_in_other_streams_reach_who_asks():
    stream = mx.new_stream(mx.cpu)
    bad = mx.take(mx.arange(3), mx.array([7]), stream=stream)
    mx.async_eval(bad)
    with pytest.raises(IndexError):
        mx.eval(bad + 1)


# Fusion


def test_a_broadcast_row_value_is_written_whole():
    """One step computes a value a row, its broadcast for another step, and a reduction of that."""
    broadcast = mx.broadcast_to(mx.square(mx.array([[2.0], [3.0]])), (2, 3))
    ordered = mx.sort(broadcast)
    totals = mx.sort(mx.negative(broadcast).sum(axis=1))  # farther up: the broadcast joins this sum
    del broadcast
    mx.eval(ordered, totals)
    assert_equal(ordered, np.array([[4, 4, 4], [9, 9, 9]]))
    assert_equal(totals, np.array([-27, -12]))


# Interruption


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_interrupt_leaves_everything_usable():
    code = f"""
import os, signal, threading, time
import cermet.core as mx

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
start = time.time()
try:
    while time.time() - start < 20:
        a = mx.ones(({SIZE}, {SIZE}))
        for _ in range(50):
            a = mx.sin(a @ a)
        mx.eval(a)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
print((mx.ones(3) + 1).tolist())
"""
    assert run_python(code).split("\n")[:2] == ["interrupted", "[2.0, 2.0, 2.0]"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_interrupted_work_can_be_done_again():
    """Also where results were to overwrite an operand that nobody else holds."""
    code = f"""
import signal, time
import cermet.core as mx

signal.signal(signal.SIGALRM, signal.default_int_handler)
for milliseconds in range(25, 75, 10):
    a = mx.zeros({1 << (19 if SIMULATED else 23)}) + 1
    mx.eval(a)
    for _ in range(12):
        a = mx.sin(a) + 1
    try:
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        mx.eval(a)
        time.sleep(1)
    except KeyboardInterrupt:
        pass
    print((mx.max(a) - mx.min(a)).item())
"""
    assert run_python(code).split() == ["0.0"] * 5


# Threads


def in_threads(work, count=4):
    """Run `work(i)` in several threads at once; raise the first error."""
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_threads_share_a_graph():
    """Each evaluates a different part of one graph that nobody has evaluated yet."""
    for _ in range(20):
        shared = mx.cumsum(mx.ones(1000)) * 2
        parts = [shared[i::4].sum() for i in range(4)]
        results = [None] * 4

        def work(i, parts=parts, results=results):
            results[i] = parts[i].item()

        in_threads(work)
        assert sum(results) == 1001000


def test_threads_with_their_own_graphs():
    def work(i):
        for n in range(50):
            a = mx.full((100,), i) + n
            assert a.sum().item() == 100 * (i + n)
            assert mx.grad(lambda x, a=a: (x * a).sum())(mx.ones(100))[0].item() == i + n

    in_threads(work)


def test_python_runs_while_others_evaluate():
    """Evaluation releases the interpreter's lock: however long it takes, Python gets its turns."""
    n = 2 * SIZE
    ticks, products = 0, 4
    while ticks <= 3 and products <= 1024:
        products *= 2
        a = mx.ones((n, n))
        for _ in range(products):
            a = a @ a / n
        done = threading.Event()
        thread = threading.Thread(target=lambda a=a, done=done: (mx.eval(a), done.set()))
        thread.start()
        ticks = 0
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)
        thread.join()
    assert ticks > 3


def test_the_choice_of_a_gpu_is_checked():
    program = """
        import cermet.core as mx
        try:
            print(mx.metal.is_available(), mx.ones(2).sum().item())
        except ValueError as e:
            print(e)
    """
    for choice in ("off", ""):
        assert run_python(textwrap.dedent(program), CERMET_METAL=choice) == "False 2.0\n"
    said = run_python(textwrap.dedent(program), CERMET_METAL="nonsense")
    assert said == 'CERMET_METAL is "nonsense", expected "simulator", "off" or "any"\n'


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory by /proc and setrlimit")
def test_tolist_near_the_end_of_memory():
    """Python's numbers and lists take more than there is."""
    program = """
        import resource
        import cermet.core as mx
        mx.set_default_device(mx.cpu)  # to be quick: lists are made on the CPU anyway
        arrays = [mx.arange(3e7) + 0.5, mx.arange(3 * 10**7) + 1000, mx.ones((2**22, 3, 2))]
        arrays.append((mx.arange(1e7) + 0.5).astype(mx.complex64))
        mx.eval(arrays)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        for a in arrays:
            for spare in (16, 100, 300):
                limits = (used + (spare << 20), resource.getrlimit(resource.RLIMIT_AS)[1])
                resource.setrlimit(resource.RLIMIT_AS, limits)
                try:
                    a.tolist()
                except MemoryError:
                    print("MemoryError")
    """
    assert run_python(textwrap.dedent(program)) == 12 * "MemoryError\n"


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory by /proc and setrlimit")
def test_long_lists_near_the_end_of_memory():
    program = """
        import resource
        import cermet.core as mx
        x = mx.ones(2)
        arrays, ones = [x] * 2**22, [1] * 2**22
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        limits = (used + (8 << 20), resource.getrlimit(resource.RLIMIT_AS)[1])
        resource.setrlimit(resource.RLIMIT_AS, limits)
        for use in (
            lambda: mx.stack(arrays),
            lambda: mx.concatenate(arrays),
            lambda: mx.vjp(mx.sin, arrays, arrays),
            lambda: mx.jvp(mx.sin, [x], arrays),
            lambda: mx.zeros(ones),
            lambda: mx.sum(x, axis=ones),
        ):
            try:
                use()
            except (MemoryError, TypeError) as error:
                print(type(error).__name__)
    """
    assert run_python(textwrap.dedent(program)).split() == 4 * ["MemoryError"] + 2 * ["TypeError"]
