"""The clock: warm-up, inner loops for short work, repetitions that take turns among the peers."""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

# Threads of OpenBLAS spin for tens of milliseconds after their work, and then sleep: for so long the
# next one runs untimed, until the others' threads sleep and its own are awake.
SETTLE = 0.1
# A descheduled thread can stall a call for some slices of the scheduler, but no longer than this.
STALL = 0.1


@dataclass(frozen=True)
class Work:
    """What is measured: `run`, which blocks until its result is computed and drops it.

    Where `make` is given, `run` takes what it returns; making is not timed.
    """

    run: Callable[..., Any]
    make: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        repeat: number of samples.
        min_time: seconds that a sample lasts at least, by an inner loop.
        limit: a call that takes more seconds than this is sampled once.
    """

    repeat: int = 10
    min_time: float = 0.02
    limit: float = 5.0


@dataclass(frozen=True)
class Timing:
    """Seconds a call: median and quartiles of the samples, each the mean of `loops` calls."""

    median: float
    lower: float
    upper: float
    samples: list[float]
    loops: int

    @staticmethod
    def of(samples: list[float], loops: int) -> Timing:
        """The timing that `samples` give."""
        lower = upper = median = statistics.median(samples)
        if len(samples) > 1:
            lower, median, upper = statistics.quantiles(samples, n=4, method="inclusive")
        return Timing(median, lower, upper, samples, loops)


def sample(work: Work, loops: int) -> float:
    """Seconds a call, over `loops` calls."""
    run, make, clock = work.run, work.make, time.perf_counter
    if make is None:
        start = clock()
        for _ in repeat(None, loops):
            run()
        return (clock() - start) / loops
    total = 0.0
    for _ in repeat(None, loops):
        made = make()
        start = clock()
        run(made)
        total += clock() - start
    return total / loops


def warm_up(work: Work, plan: Plan) -> tuple[float, int]:
    """Calls `work` until it is warm.

    Returns:
        Seconds a call, and how many calls make a sample of `plan.min_time`.
    """
    sample(work, 1)  # may compile
    loops = 1
    while True:
        end = time.perf_counter() + STALL
        seconds = sample(work, loops)
        while loops * seconds >= plan.min_time and time.perf_counter() < end:
            # A stalled sample would leave too few loops for good, so the fastest one decides.
            seconds = min(seconds, sample(work, loops))
        if loops * seconds >= plan.min_time:
            return seconds, loops
        wanted = math.ceil(1.1 * plan.min_time / max(seconds, 1e-9))
        loops = max(2 * loops, min(10 * loops, wanted))


def settle(work: Work, seconds: float, span: float) -> None:
    """Readies the machine for `span` seconds for `work`, which takes `seconds` a call."""
    if seconds > span:
        time.sleep(span)
        return
    end = time.perf_counter() + span
    while time.perf_counter() < end:
        sample(work, 1)


def busy_elsewhere() -> float | None:
    """CPU seconds used by other processes since the machine started; None where not told."""
    try:
        with open("/proc/stat") as file:
            user, nice, system, _, _, *interrupts = map(int, file.readline().split()[1:9])
    except OSError:
        return None
    own = os.times()
    ticks = user + nice + system + sum(interrupts)
    return ticks / os.sysconf("SC_CLK_TCK") - own.user - own.system


def watch(own: Callable[[], float] = lambda: 0.0) -> Callable[[], float | None]:
    """Gives a function that tells how many CPUs other processes kept busy since now.

    Args:
        own: CPU seconds used so far by processes that are not to count.
    """

    def busy() -> float | None:
        everyone = busy_elsewhere()
        return None if everyone is None else everyone - own()

    start, before = time.perf_counter(), busy()

    def others() -> float | None:
        after, end = busy(), time.perf_counter()
        if before is None or after is None:
            return None
        return max(0.0, (after - before) / (end - start))

    return others


@dataclass(frozen=True)
class Outcome:
    """Timings by peer, what the peers that failed said, and the CPUs that others kept busy."""

    timings: dict[str, Timing]
    failures: dict[str, str]
    others: float | None


def interleave(works: Mapping[str, Work], plan: Plan) -> Outcome:
    """Measures works in turns, one sample of each a repetition, so that slow spells hit all."""
    failures: dict[str, str] = {}
    calls: dict[str, tuple[float, int]] = {}
    samples: dict[str, list[float]] = {}
    with _no_collection():
        for name, work in works.items():
            try:
                calls[name] = warm_up(work, plan)
                samples[name] = []
            except Exception as error:  # noqa: BLE001 (one peer must not end the run)
                failures[name] = first_line(error)
        others = watch()
        for turn in range(plan.repeat):
            names = [name for name in samples if turn == 0 or calls[name][0] <= plan.limit]
            first = turn % max(len(names), 1)
            for name in names[first:] + names[:first]:
                seconds, loops = calls[name]
                settle(works[name], seconds, SETTLE)
                samples[name].append(sample(works[name], loops))
        busy = others() if samples else None
    timings = {name: Timing.of(values, calls[name][1]) for name, values in samples.items()}
    return Outcome(timings, failures, busy)


def first_line(error: Exception) -> str:
    """The error's kind and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _no_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
