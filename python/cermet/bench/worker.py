"""One side of `cermet-bench ab`: measures one installed build as lines of JSON on its input ask.

`ab` loads this package under a name of its own, so that both sides run the same cases, whatever
the benchmarks of their builds; only `cermet` itself is that of the build.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from . import measure, peers
from .cases import CASES

# Two builds of one framework follow each other: its threads sleep within a millisecond.
SETTLE = 0.003


class Bench:
    """What answers the requests, each a method."""

    def __init__(self) -> None:
        self.work: measure.Work | None = None

    def load(self, device: str, threads: int) -> dict[str, Any]:
        """Imports the build; tells its version and where it was found."""
        self.peer = peers.load("cermet", device, threads)
        return {"version": self.peer.version, "file": self.peer.xp.__file__}

    def open(self, name: str, size: int, dtype: str, min_time: float) -> dict[str, Any]:
        """Builds a case and warms it up; tells how many calls make a sample of `min_time`."""
        self.work = None  # frees the arrays of the case before
        gc.collect()
        case = next(case for case in CASES if case.name == name)
        self.work = case.build(self.peer, size, dtype)
        seconds, loops = measure.warm_up(self.work, measure.Plan(min_time=min_time))
        return {"seconds": seconds, "loops": loops}

    def sample(self, seconds: float, loops: int) -> dict[str, Any]:
        """Measures `loops` calls of the open case, of which each takes about `seconds`."""
        assert self.work is not None
        if seconds < SETTLE:
            measure.settle(self.work, seconds, SETTLE)
        return {"seconds": measure.sample(self.work, loops)}


def serve() -> None:
    """Answers requests, lines of [method, arguments...], until the input ends."""
    # Nothing else that is printed may come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    bench = Bench()
    gc.disable()
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = getattr(bench, method)(*arguments)
        except Exception as error:  # noqa: BLE001 (what a build lacks must not end the run)
            answer = {"error": measure.first_line(error)}
        answers.write(json.dumps({**answer, "cpu": time.process_time()}) + "\n")
