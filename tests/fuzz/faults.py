"""Lets the nth allocation, start of a thread or file call of a program fail, for every n: nothing
crashes or hangs, errors are MemoryError or OSError, and done again the program comes out right."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

from programs import PROGRAMS

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = ("memory", "threads", "files", "python")
FAR = 10**9
# What ends the process when there is no memory for records of its own, which is not ours to mend:
# nanobind, and OpenBLAS in the moment after the system said that there is some.
UNMENDABLE = re.compile(
    "nanobind error: (scoped_pymalloc|encountered an unrecoverable|.*out of memory)"
    "|OpenBLAS error: Memory allocation still failed"
)


def built(folder):
    """The shim, compiled, or None where there is no compiler or no LD_PRELOAD."""
    compiler = (
        os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    )
    if not compiler or sys.platform != "linux":
        return None
    library = os.path.join(folder, "faults.so")
    source = os.path.join(HERE, "faults.c")
    options = ["-O1", "-shared", "-fPIC", "-fexceptions", "-o", library, source, "-ldl", "-lstdc++"]
    subprocess.run([compiler, *options], check=True)
    return library


def written(name, kind, nth, more, expected):
    setup, body, check = PROGRAMS[name]
    lines = "".join(f"    {text!r},\n" for text in (setup, body, check))
    return f"said = faulted(\n{lines}    {kind!r}, {nth}, {more}, {expected!r}, globals()\n)\n"


def fuzz(session):
    """All places of all programs in a random order, as far as the time goes."""
    with tempfile.TemporaryDirectory() as folder:
        library = built(folder)
        if library is None:
            print("faults: skipped, as there is no C compiler or this is not Linux")
            return
        environment = {"LD_PRELOAD": library, "PYTHONMALLOC": "malloc", "CERMET_NUM_THREADS": "4"}
        environment["MALLOC_ARENA_MAX"] = "2"
        places = []
        for name in PROGRAMS:
            for kind in KINDS:
                answer = session.run(written(name, kind, FAR, 0, ""), 30, **environment)
                if answer["end"] != "ok" or answer["said"][2]:
                    session.found(
                        "broken", f"{name} {kind} {answer}", written(name, kind, FAR, 0, "")
                    )
                    continue
                count, expected, _ = answer["said"]
                places += [
                    (name, kind, n, more, expected)
                    for n in range(1, count + 1)
                    for more in ((0,) if kind == "python" else (0, FAR))
                ]
        session.random.shuffle(places)
        done = 0
        for name, kind, nth, more, expected in places:
            if not session.running():
                break
            done += 1
            code = written(name, kind, nth, more, expected)
            answer = session.run(code, 4, **environment)
            if answer["end"] == "slow":  # others may have had the processor
                answer = session.run(code, 60, **environment)
            if answer["end"] in ("crash", "hang", "memory"):
                what = f"{answer['end']} {answer.get('text', '')} {answer['printed'][-120:]}"
            elif answer["end"] != "ok":
                what = f"{answer['end']} {answer.get('type')}: {answer.get('text', '')[:100]}"
            else:
                what = answer["said"][2]
            if what and not UNMENDABLE.search(answer["printed"]):
                session.found(
                    "fault", f"{kind} | {name} | {what}", code, f"call {nth}, more={more}"
                )
        print(f"faults: {done} of {len(places)} places, {len(PROGRAMS)} programs", file=sys.stderr)
