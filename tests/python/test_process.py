"""The process around evaluations: threads, signals, forks, exits and imports."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import SIMULATED

pytestmark = pytest.mark.skipif(SIMULATED, reason="they are the CPU's")
POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")
# Work of some tenths of a second, which the tests meet in the middle.
WORK = """
import os, signal, sys, threading, time
import cermet.core as mx

mx.set_default_device(mx.cpu)
w = mx.random.normal((700, 700)) * 0.04
mx.eval(w)

def slow(n, x=None):
    x = w if x is None else x
    for _ in range(n):
        x = mx.tanh(x @ w)
    return x

def close(a, b):
    return mx.allclose(a, b).item()
"""


def run(code, check=0, **options):
    """Runs a program after WORK in an interpreter of its own; returns what it printed."""
    result = subprocess.run(
        [sys.executable, "-c", WORK + code], capture_output=True, text=True, timeout=300, **options
    )
    assert result.returncode == check, (result.returncode, result.stdout, result.stderr)
    return result.stdout


# Threads


@pytest.mark.parametrize(
    "read",
    ["a.tolist()", "a[0, 0].item()", "bytes(a)", "repr(a)", "np.array(a)", "memoryview(a)",
     "a == a", "bool((a == a).all())", "mx.eval(a)", "f'{a}'", "a.__dlpack__()"],
)  # fmt: skip
def test_an_array_may_become_another_while_it_is_read(read):
    """The name `a` is updated in place by a thread while another waits for its value."""
    run(f"""
import numpy as np
a = slow(12)
def other():
    global a
    time.sleep(0.02)
    a += slow(12)
    mx.eval(a)
thread = threading.Thread(target=other)
thread.start()
{read}
thread.join()
""")


def test_threads_that_update_and_read_the_same_array():
    run("""
import numpy as np
a = mx.zeros(1000)
stop = time.time() + 3
def update():
    global a
    while time.time() < stop:
        a += 1
        mx.eval(a)
def read():
    while time.time() < stop:
        np.array(a), a.tolist(), bytes(a)
threads = [threading.Thread(target=f) for f in (update, read) * 3]
for t in threads: t.start()
for t in threads: t.join()
""")


def test_other_threads_run_while_one_waits():
    """For whatever it waits: its own work, another's, a stream's."""
    run("""
def counts_during(wait):
    count, done = 0, threading.Event()
    def work():
        wait()
        done.set()
    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        count += 1
        time.sleep(0.001)
    return count

x = slow(20)
assert counts_during(lambda: mx.eval(x)) > 20
y = slow(20)
mx.async_eval(y)
assert counts_during(mx.synchronize) > 20
z = slow(20)
mx.async_eval(z)
assert counts_during(lambda: repr(z)) > 20
""")


def test_a_trace_that_goes_may_call_its_function():
    """What a kept trace holds of the function's results ends when others take its place."""
    run("""
class Ends:
    def __del__(self):
        if mx:
            f(mx.ones(2), "the end").tolist()
f = mx.compile(lambda x, name: x * 2 if name == "the end" else (x * 3, Ends()))
for i in range(400):
    f(mx.ones(2), str(i))
""")


# Signals


@POSIX
@pytest.mark.parametrize(
    "handler",
    [
        "x.sum().item()",  # of what is being computed
        "x.tolist()",
        "middle.sum().item()",
        "close(slow(3), slow(3))",  # of something else
        "mx.synchronize()",
        "mx.async_eval(x * 2); mx.synchronize()",
        "mx.grad(lambda a: (a * x).sum())(w).sum().item()",
        "mx.random.normal((3,)).tolist()",
    ],
)
@pytest.mark.parametrize("wait", ["mx.eval(x)", "mx.async_eval(x); mx.eval(x)", "x.item()"])
def test_a_handler_may_evaluate(handler, wait):
    """What a signal's handler needs of the evaluation that it interrupted is computed for it."""
    run(f"""
middle = slow(40)
x = slow(40, middle)
expected = slow(80)
if {wait!r} == "x.item()":
    x, expected = x.sum(), expected.sum()
ran = []
def handle(*_):
    {handler}
    ran.append(1)
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.03)
{wait}
time.sleep(0.1)
assert ran == [1]
assert close(x, expected)
""")


@POSIX
def test_handlers_that_evaluate_again_and_again_do_not_stop_the_work():
    run("""
x = slow(60)
ran = 0
def handle(*_):
    global ran
    ran += 1
    mx.eval(x[0, 0], mx.random.normal((4,)))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
mx.eval(x)
signal.setitimer(signal.ITIMER_REAL, 0)
assert ran and close(x, slow(60))
""")


@POSIX
@pytest.mark.parametrize("compiled", [False, True])
def test_an_exception_of_a_handler_stops_the_evaluation(compiled):
    run(f"""
f = mx.compile(lambda x: slow(80, x)) if {compiled} else lambda x: slow(80, x)
mx.eval(f(w * 2))
x = f(w)
def handle(*_):
    x.sum().item()
    raise KeyError("mine")
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.03)
try:
    mx.eval(x)
    time.sleep(1)
except KeyError as e:
    assert e.args == ("mine",)
else:
    sys.exit("not stopped")
assert close(x, slow(80))
""")


@POSIX
@pytest.mark.parametrize(
    "work",
    [
        "mx.broadcast_to(mx.array(1.0), (2_000_000, 1000, 1000)).sum()",
        "mx.set_num_threads(3) or mx.broadcast_to(mx.array(True), (2**21, 2**21)).sum()",
        "mx.exp(mx.broadcast_to(mx.array(1.0), (2_000_000, 1000, 1000))).max()",
        "mx.zeros((4000, 4000)) @ mx.zeros((4000, 4000))",
        "mx.linalg.svd(mx.random.normal((1500, 1500)))[1]",
    ],
)
def test_work_is_interrupted_within_a_step(work):
    """No matter how long the step takes."""
    run(f"""
mx.set_num_threads(1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
mx.eval(mx.zeros((600, 600)) @ mx.zeros((600, 600)))
signal.setitimer(signal.ITIMER_REAL, 0.1)
x = {work}
try:
    mx.eval(x)
    time.sleep(1)
except KeyboardInterrupt:
    pass
try:
    mx.get_array_buffer_size(x)
except ValueError:  # it has no value
    sys.exit()
sys.exit("the step came to its end")
""")


@POSIX
@pytest.mark.parametrize(
    "reading",
    [
        "np.asarray(x)", "np.float32(x)", "np.ones(3) + x", "np.array([x, x])", "np.from_dlpack(x)",
        "np.ones(3)[x]", "memoryview(x)", "bytearray(x)", "bytes(x)", "float(x)", "range(x)",
    ],
)  # fmt: skip
def test_what_reads_an_array_is_interrupted(reading):
    """NumPy clears a buffer's error, and asks for the array again in another way."""
    run(f"""
import numpy as np
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.1)
x = (mx.broadcast_to(mx.array(1.0), (2_000_000, 1000, 1000)).sum() < 0).astype(mx.int32)
try:
    {reading}
except KeyboardInterrupt:
    pass
else:
    sys.exit("not interrupted")
assert mx.ones((2,)).__array__().tolist() == [1, 1]
try:
    mx.get_array_buffer_size(x)
except ValueError:  # it has no value
    sys.exit()
sys.exit("the step came to its end")
""")


# Exits


@pytest.mark.parametrize(
    "busy",
    [
        "mx.async_eval(slow(10_000))",
        "for _ in range(5): mx.async_eval(slow(2000))",
        "s = mx.new_stream(mx.cpu)\nwith mx.stream(s): mx.async_eval(slow(5000))",
        "threading.Thread(target=lambda: mx.eval(slow(10_000)), daemon=True).start()",
        "for _ in range(3):\n"
        "  threading.Thread(target=lambda: mx.eval(slow(9000)), daemon=True).start()",
        "x = slow(9000); mx.async_eval(x); "
        "threading.Thread(target=lambda: mx.eval(x), daemon=True).start()",
        "threading.Thread(target=lambda: [mx.eval(slow(1)) for _ in iter(int, 1)], daemon=True)"
        ".start()",
    ],
)
@pytest.mark.parametrize("end", ["", "sys.exit(0)", "x = mx.ones(3)\nimport atexit; "
                         "atexit.register(lambda: mx.eval(slow(3)))"])  # fmt: skip
def test_a_process_ends_while_work_is_under_way(busy, end):
    started = time.monotonic()
    run(f"{busy}\ntime.sleep(0.03)\n{end}")
    assert time.monotonic() - started < 30


def test_objects_of_python_under_way_at_the_end():
    """Memory of NumPy's that a thread of ours lets go of, also while the interpreter ends."""
    run("""
import numpy as np
for i in range(40):
    a = mx.asarray(np.ones((300, 300), np.float32))
    mx.async_eval(mx.tanh(a @ a))
    del a
""")


def test_an_object_is_released_that_another_thread_let_go_of():
    run("""
import gc, weakref
import numpy as np
class Memory(np.ndarray): pass
def borrowed():
    memory = np.ones((300, 300), np.float32).view(Memory)
    mx.async_eval(slow(5), mx.asarray(memory) + slow(10)[:300, :300])
    return weakref.ref(memory)
alive = borrowed()
mx.synchronize()
end = time.time() + 10
while alive() is not None and time.time() < end:
    gc.collect()
    time.sleep(0.01)
assert alive() is None
""")


# Forks


@POSIX
@pytest.mark.parametrize(
    "before",
    [
        "mx.async_eval(slow(2)); mx.synchronize()",
        "mx.async_eval(slow(300))",
        "threading.Thread(target=lambda: mx.eval(slow(300)), daemon=True).start()",
        "threading.Thread(target=lambda: [mx.eval(slow(1)) for _ in iter(int, 1)], daemon=True)"
        ".start()",
        "threading.Thread(target=lambda: [mx.random.normal((3,)).tolist() for _ in iter(int, 1)],"
        " daemon=True).start()",
    ],
)
def test_a_forked_child_works(before):
    run(f"""
import warnings
warnings.simplefilter("ignore")
{before}
time.sleep(0.02)
children = []
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        x = slow(3)
        mx.async_eval(x)
        mx.synchronize()
        assert close(x, slow(3))
        f = mx.compile(lambda a: mx.exp(a).sum())
        assert close(f(x), mx.exp(x).sum())
        mx.eval(mx.random.normal((100, 100)).sum(), mx.random.state)
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
""")


@POSIX
def test_a_child_that_ends_as_a_process_does():
    run("""
import warnings
warnings.simplefilter("ignore")
mx.async_eval(slow(500))
pid = os.fork()
if pid == 0:
    mx.eval(slow(2))
    mx.async_eval(slow(1000))
    sys.exit(3)
assert os.waitpid(pid, 0)[1] == 3 << 8
""")


@POSIX
@pytest.mark.parametrize(
    "start",
    ["mx.async_eval(x)", "threading.Thread(target=lambda: mx.eval(x), daemon=True).start()"],
)
def test_what_was_under_way_is_an_error_in_a_child(start):
    said = run(f"""
import warnings
warnings.simplefilter("ignore")
x = slow(500)
y = x + 1
{start}
time.sleep(0.05)
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    for read in (lambda: mx.eval(x), lambda: y.tolist(), lambda: mx.eval(x * 2), lambda: repr(x)):
        try:
            read()
        except RuntimeError as e:
            print(e, flush=True)
        else:
            os._exit(1)
    mx.eval(slow(2))
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")
    assert len(said.splitlines()) == 4
    assert all("being computed by another thread when this process was forked" in line
               for line in said.splitlines())  # fmt: skip


@POSIX
def test_a_handler_may_fork():
    run("""
import warnings
warnings.simplefilter("ignore")
x = slow(100)
def handle(*_):
    global pid
    pid = os.fork()
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.05)
mx.eval(x)
assert close(x, slow(100))
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")


@POSIX
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts processes as Linux does")
def test_without_threads_work_is_done_by_fewer():
    """No thread can start: neither of the pool nor of a stream."""
    run("""
import resource
if os.getuid() == 0:  # whom no limit holds
    os.setgid(65534)
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    threading.Thread(target=int).start()
except RuntimeError:
    pass
else:
    sys.exit("has threads")
mx.set_num_threads(4)
x = slow(5)
mx.async_eval(x)
mx.synchronize()
assert close(x, slow(5))
a = mx.random.normal((2000, 2000))
assert mx.exp(a).sum().item() > 0
""")


# Imports


@POSIX
def test_a_signal_during_import_is_handled_after_it():
    """Whenever it comes: the import is not cut in pieces, and can be repeated."""
    code = """
import signal, sys
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
try:
    import cermet.core
    import time
    time.sleep(1)
    print("late")
except KeyboardInterrupt:
    pass
import cermet.core as mx
assert (mx.ones(3) + 1).tolist() == [2, 2, 2]
"""
    for delay in range(20):
        result = subprocess.run(
            [sys.executable, "-c", code, str(0.0005 + delay * 0.002)],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr


def test_the_core_imported_again_has_the_same_types():
    run("""
import cermet.nn
first = mx.array
for _ in range(3):
    for name in [n for n in sys.modules if n.startswith("cermet")]:
        del sys.modules[name]
    import cermet.core as again
    import cermet.core.random
    assert again.array is first and again.random is cermet.core.random
    assert (again.ones(3) + mx.ones(3)).tolist() == [2, 2, 2]
""")


def test_import_leaves_signals_and_environment():
    run("""
assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_IGN)
assert "OPENBLAS_NUM_THREADS" not in os.environ
""", env={k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"})  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is not None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux can forbid executable memory")
def test_programs_are_interpreted_where_memory_for_code_is_refused():
    code = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1
refused = "refused" in sys.argv and ctypes.CDLL(None).prctl(PR_SET_MDWE, 1, 0, 0, 0) == 0
import numpy as np
import cermet.core as mx
x = np.linspace(-3, 3, 100_000, dtype=np.float32)
for _ in range(3):
    y = mx.softmax(mx.exp(mx.array(x)).reshape(100, 1000) + 1, -1)
    mx.eval(y)
made = os.path.exists(f"/tmp/perf-{os.getpid()}.map")
if made:
    os.remove(f"/tmp/perf-{os.getpid()}.map")
print(refused, made, np.array(y).tobytes().hex()[-64:], float(mx.sum(y)))
"""
    always = {**os.environ, "CERMET_MACHINE_CODE": "always", "CERMET_PERF_MAP": "1"}
    command = [sys.executable, "-c", code]
    usual, refused = (
        subprocess.run([*command, word], env=always, capture_output=True, text=True, check=True)
        for word in ("usual", "refused")
    )
    was_refused, made, *rest = refused.stdout.split()
    if was_refused != "True":
        pytest.skip("the kernel is older than that (6.3)")
    assert made == "False"
    assert rest == usual.stdout.split()[2:]
