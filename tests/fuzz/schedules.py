"""Threads, forks, signals, interrupted imports and exits, in random orders: nothing hangs, crashes
or is left unusable. Each kind of program is a text with gaps for random work."""

import os
import random as randomness
import re
import signal
import subprocess
import sys
import time

# What a thread, a child or a signal's handler does with arrays that all of them know.
WORK = (
    "a[I] += mx.tanh(a[J] @ w @ w @ w)", "a[I] *= 0.5; mx.eval(a[I])",
    "a[I] = a[I] + 1", "a[I] += 1", "mx.eval(a[I])", "mx.async_eval(a[I])", "a[I].tolist()",
    "bytes(a[I])", "np.array(a[I])",
    "a[I].sum().item()", "a[I] = mx.tanh(a[I] @ w)", "a[I] = mx.sort(a[J], axis=-1)",
    "mx.eval(a)", "str(a[I])", "a[I][0] = 2",
    "a[I] = mx.random.normal(a[I].shape)", "mx.eval(mx.grad(lambda t: (t * t).sum())(a[I]))",
    "mx.eval(mx.compile(mx.sin)(a[I]))",
    "mx.synchronize()", "mx.clear_cache()", "memoryview(a[I] + 0)",
    "a[I] = mx.cumsum(a[J], axis=0) * 1e-3", "mx.set_num_threads(K)",
    "pickle.dumps(a[I])", "a[I] = mx.linalg.inv(w + mx.eye(SIZE))",
    "mx.eval(mx.add(a[I], a[J], stream=mx.new_stream(mx.cpu)))",
    "mx.savez(path + str(I), a[I])", "time.sleep(0.001)", "a[I] = mx.softmax(a[J], axis=-1)",
    "mx.async_eval(a[I] @ w @ w)",
)  # fmt: skip
HEAD = """import os, pickle, signal, sys, tempfile, threading, time
import numpy as np
import cermet.core as mx
path = tempfile.mkdtemp() + "/x"
mx.random.seed({seed})
w = mx.random.normal(({size}, {size})) * 0.01
a = [mx.random.normal(({size}, {size})) for _ in range(4)]
mx.eval(w, a)
for _ in range({depth}): a[0] = mx.tanh(a[0] @ w)
def work_1():
{work_1}
def work_2():
{work_2}
"""
END = "\nif (mx.arange(5.0) * 2).sum().item() != 20: raise SystemExit('wrong afterwards')\n"
THREADS = """
failed = []
def loop(work):
    try:
        for _ in range({rounds}): work()
    except Exception as error:
        failed.append(error)
threads = [threading.Thread(target=loop, args=(work,)) for work in (work_1, work_2, work_1)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if failed: raise failed[0]
"""
FORKS = """
busy = True
def loop():
    while busy: work_1()
threads = [threading.Thread(target=loop, daemon=True) for _ in range({threads})]
for thread in threads: thread.start()
{before}
for _ in range(8):
    time.sleep({pause})
    child = os.fork()
    if child == 0:
        signal.alarm(8)
        code = 1
        try:
            a = [mx.ones(({size}, {size})) for _ in range(4)]
            w = mx.ones(({size}, {size}))
            work_2(); mx.eval(a); code = 0
            mx.async_eval(a); mx.synchronize()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code: raise SystemExit(f"the child ended with {{code}}")
busy = False
for thread in threads: thread.join()
"""
SIGNALS = """
def handler(*_):
    work_2()
signal.signal(signal.SIGALRM, handler)
for _ in range({rounds}):
    signal.setitimer(signal.ITIMER_REAL, {pause})
    work_1(); mx.eval(a)
signal.setitimer(signal.ITIMER_REAL, 0)
"""
INTERRUPTS = """
def handler(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
for _ in range(10):
    try:
        signal.setitimer(signal.ITIMER_REAL, {pause})
        work_1(); mx.eval(a)
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
mx.eval(a)
"""
# What takes long, and must be left soon after Ctrl-C.
LONG = (
    "mx.eval(mx.broadcast_to(mx.array(V), (2**20, 2**17)).NAME())",
    "mx.eval((mx.broadcast_to(mx.array(V), (2**18, 2**17)) * 2).NAME(axis=0))",
    "x = mx.ones((2000, 2000)) * 1e-3\nfor _ in range(300): x = x @ x\nmx.eval(x)",
    "mx.eval(mx.sort(mx.random.normal((300_000_000,))))",
    "x = mx.ones((30_000_000,))\nfor _ in range(500): x = mx.sin(x)\nmx.eval(x)",
    "mx.eval(mx.cumsum(mx.ones((400_000_000,), mx.int8)))",
    "str(mx.zeros((N,) * 12))", "mx.zeros((30_000, 30_000)).tolist()",
    "mx.eval(mx.ones((6000, 6000)) @ mx.ones((6000, 6000)))",
    "mx.eval(mx.linalg.svd(mx.random.normal((2500, 2500))))",
)  # fmt: skip
EXITS = (
    "mx.async_eval(a)",
    "threading.Thread(target=lambda: [work_1() for _ in range(200)], daemon=True).start()",
    "threading.Thread(target=work_1).start()", "import atexit; atexit.register(work_1)",
    "sys.modules['keep'] = a", "raise SystemExit(0)",
    "keep = [a]; keep.append(keep); mx.async_eval(keep[0])", "time.sleep(0.01)", "work_2()",
    "del mx", "sys.exit()",
    "threading.Timer(0.01, work_2).start()", "class D:\n    def __del__(self): mx.eval(a)\nd = D()",
)  # fmt: skip
IMPORTS = (
    "import cermet.core", "import cermet.nn", "import cermet.core as mx; mx.eval(mx.ones(3))",
    "import cermet.optimizers, cermet.utils",
    "import importlib; importlib.import_module('cermet.core')",
)  # fmt: skip
AGAIN = (
    "[sys.modules.pop(n) for n in list(sys.modules) if n.startswith('cermet')]",
    "sys.modules.pop('cermet.core', None)", "pass", "import cermet; importlib.reload(cermet)",
)  # fmt: skip


# Under the thread sanitizer (tests/all) a data race ends the process.
SANITIZED = "tsan" in os.environ.get("LD_PRELOAD", "")


def work(random, size):
    """Some lines of random work, indented."""
    chosen = random.sample(WORK, random.randrange(1, 4))
    if random.random() < 0.5:  # what reads and what writes meets more often
        chosen = [random.choice(WORK[:14]) for _ in range(2)]
    lines = []
    for line in chosen:
        for name in "IJ":
            line = line.replace(
                f"[{name}]", f"[{random.randrange(random.choice((1, 4)))}]"
            ).replace(f"({name})", f"({random.randrange(random.choice((1, 4)))})")
        lines.append(
            "    " + line.replace("K)", f"{random.randrange(1, 5)})").replace("SIZE", str(size))
        )
    return "\n".join(lines)


def head(random):
    """The common beginning, and the size of its arrays."""
    size = random.choice((8, 64, 300, 700))
    depth = random.choice((0, 0, 5, 30))
    return size, HEAD.format(
        seed=random.randrange(99),
        size=size,
        depth=depth,
        work_1=work(random, size),
        work_2=work(random, size),
    )


def in_process(session, random):
    """A program of threads, forks or signals, in a process that has done nothing else."""
    kind = random.choice((THREADS,) * 4 + (FORKS, FORKS, SIGNALS, INTERRUPTS))
    size, code = head(random)
    before = random.choice(
        ("pass", "mx.async_eval(a)", "mx.async_eval(a); mx.synchronize()", "work_1()")
    )
    code += kind.format(
        rounds=random.choice((1, 10, 30)), threads=random.randrange(4), size=size, before=before,
        pause=random.choice((0.001, 0.003, 0.01, 0.03)),
    )  # fmt: skip
    name = {THREADS: "threads", FORKS: "forks", SIGNALS: "signals", INTERRUPTS: "interrupts"}[kind]
    answer = session.run(code + END, 60 if SANITIZED else 6)
    if answer["end"] in ("crash", "hang"):
        session.found(
            name, f"{answer['end']} {answer.get('text', '')}", code + END, answer["printed"][-200:]
        )
    elif answer["end"] == "raised" and answer["type"] not in ("KeyboardInterrupt", "MemoryError"):
        session.found(name, f"{answer['type']} {answer['text']}", code + END)


def long(session, random):
    """Something long: Ctrl-C must end it within the grace that the server gives."""
    code = random.choice(LONG).replace("NAME", random.choice(("sum", "max", "mean", "all", "prod")))
    code = code.replace("V", random.choice(("1.0", "True", "1"))).replace(
        "N,", random.choice(("5,", "6,"))
    )
    threads = random.randrange(1, 4)
    answer = session.run(code, 1.5, 8 << 30, CERMET_NUM_THREADS=str(threads))
    if answer["end"] in ("hang", "crash"):
        session.found(
            "long",
            f"{answer['end']} {code}",
            f"# {threads} threads\n{code}",
            answer.get("text", ""),
        )


def process(code, moment=None, seconds=30):
    """(exit code or None for a hang, what went to stderr) of Python with a program of its own."""
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=os.environ["TMPDIR"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if moment is not None:
        child.stdout.readline()
        time.sleep(moment)
        child.send_signal(signal.SIGINT)
    try:
        _, errors = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return None, ""
    return child.returncode, errors


def exits(session, random):
    """A program that ends in the middle of things."""
    _, code = head(random)
    code += "\n".join(random.sample(EXITS, random.randrange(1, 4))) + "\n"
    session.programs += 1
    status, errors = process(code)
    if status is None or status < 0 or re.search("Fatal|terminate|Sanitizer", errors):
        session.found(
            "exit",
            f"status {status} {errors[-60:]}" if status is None else f"status {status}",
            code,
            errors[-200:],
        )


def imports(session, random):
    """An import that is interrupted, and done again."""
    what = random.choice(IMPORTS)
    code = (
        "import importlib, sys\nprint('begins', flush=True)\n"
        f"try:\n    {what}\nexcept KeyboardInterrupt: pass\n"
        f"for _ in range({random.randrange(3)}):\n"
        f"    try:\n        {random.choice(AGAIN)}\n        {what}\n"
        "    except KeyboardInterrupt: pass\n"
    )
    session.programs += 1
    moment = random.choice((None, random.uniform(0, 0.06), random.uniform(0, 0.15)))
    status, errors = process(code, moment)
    last = (errors.strip().splitlines() or [""])[-1]
    clean = "KeyboardInterrupt" in errors and "Error" not in last
    if status is None or status < -2 or (status > 0 and not clean) or "Critical" in errors:
        session.found(
            "import",
            f"status {status} {last}",
            f"# interrupted after {moment}\n{code}",
            errors[-300:],
        )


def fuzz(session):
    """All kinds in turns until the time is over."""
    random = session.random
    counts = {}
    while session.running():
        kind = random.choice((in_process, in_process, exits, exits, imports, long))
        if SANITIZED and kind is long:
            continue
        kind(session, randomness.Random(random.random()))
        counts[kind.__name__] = counts.get(kind.__name__, 0) + 1
    print(f"schedules: {counts}", flush=True)
