"""`cermet-bench ab`: two installed builds in turns, and which case differs.

Each build runs in a process of its own. A pair of samples follows each other closely, so that a
slow spell hits both, and gives one ratio; the median of the ratios is compared with 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import measure
from .cases import Case, rows
from .peers import THREAD_VARIABLES
from .report import QUIET, align, duration, machine

LEVEL = 0.95
PAIRS = 31

# The benchmarks under a name that is in neither build, without the current folder in the path.
_START = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
if not sys.path[0]: del sys.path[0]
folder = sys.argv[1]
spec = spec_from_file_location("cermet_ab", folder + "/__init__.py",
                               submodule_search_locations=[folder])
sys.modules["cermet_ab"] = module_from_spec(spec)
from cermet_ab.worker import serve
serve()
"""


class Side:
    """A build and the process that measures it.

    Args:
        name: "old" or "new".
        path: a folder with the package `cermet`, a virtual environment, or a Python executable.

    Raises:
        ValueError: no build is there, or another one is imported.
    """

    def __init__(self, name: str, path: str, device: str, threads: int) -> None:
        self.name, self.path, self._load = name, Path(path), ("load", device, threads)
        self._environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads))
        packaged = (self.path / "cermet").is_dir()
        if packaged:
            self._python = Path(sys.executable)
            paths = [str(self.path.absolute()), os.environ.get("PYTHONPATH")]
            self._environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        else:
            inside = self.path / "bin" / "python"
            self._python = inside if self.path.is_dir() else self.path
            self._environment.pop("PYTHONPATH", None)
        if not self._python.is_file():
            raise ValueError(
                f"{path}: expected a folder with cermet, a virtual environment or a Python"
            )
        loaded = self._start()
        error, file = loaded.get("error"), Path(loaded.get("file", ""))
        if not error and packaged and self.path.resolve() not in file.resolve().parents:
            error = f"not this cermet is imported, but {file}"
        if error:
            self.close()
            raise ValueError(f"{path}: {error}")
        self.version = loaded["version"]

    def ask(self, *request: Any) -> dict[str, Any]:
        """The answer to a request. One that ends the process gives an error and a new process."""
        answer = self._exchange(request)
        if answer is None:
            code = self._process.wait()
            self.close()
            self._start()
            return {"error": f"the process ended with code {code}"}
        self.cpu = answer.pop("cpu")
        return answer

    def close(self) -> None:
        """Ends the process."""
        for stream in (self._requests, self._answers):
            with suppress(BrokenPipeError):
                stream.close()
        self._process.wait()

    def _start(self) -> dict[str, Any]:
        self.cpu = 0.0
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [str(self._python), "-c", _START, str(Path(__file__).parent)],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        return self._exchange(self._load) or {"error": "the process ended while it was loading"}

    def _exchange(self, request: Sequence[Any]) -> dict[str, Any] | None:
        try:
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            return None
        return json.loads(line) if line else None


@dataclass(frozen=True)
class Comparison:
    """One case on both builds: seconds a call, and the median of the ratios new / old.

    The interval holds the ratio's true median with a probability of `LEVEL` at least.
    """

    case: str
    size: int
    dtype: str
    old: float
    new: float
    ratio: float
    lower: float
    upper: float
    ratios: list[float]
    others: float | None = None

    @property
    def verdict(self) -> str:
        """ "slower" or "faster" where 1 is outside of the interval, else ""."""
        return "slower" if self.lower > 1 else "faster" if self.upper < 1 else ""

    @property
    def spread(self) -> str:
        """The interval as text."""
        return f"{self.lower:.3f} - {self.upper:.3f}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that holds the median of what `values` are drawn from, whatever that is.

    How many of n values lie below the median is binomially distributed, so the interval ends at
    two of the values; fewer than six say nothing.
    """
    ordered, n, rank = sorted(values), len(values), 0
    outside = 0.5**n
    while 2 * outside <= 1 - LEVEL:
        rank += 1
        outside += math.comb(n, rank) * 0.5**n
    return (ordered[rank - 1], ordered[n - rank]) if rank else (0.0, math.inf)


def in_pairs(old: Side, new: Side, case: tuple[str, int, str], options: Any) -> Comparison | str:
    """Measures a case on both builds in turns; what a build lacks or fails instead."""
    opened = {}
    for side in (old, new):
        opened[side] = side.ask("open", *case, options.min_time)
        if error := opened[side].get("error"):
            return f"absent in {side.name}: {error}"
    loops = max(answer["loops"] for answer in opened.values())
    samples: dict[Side, list[float]] = {old: [], new: []}
    others = measure.watch(lambda: old.cpu + new.cpu)
    for pair in range(options.pairs):
        for side in (old, new) if pair % 2 == 0 else (new, old):
            answer = side.ask("sample", opened[side]["seconds"], loops)
            if error := answer.get("error"):
                return f"failed in {side.name}: {error}"
            samples[side].append(answer["seconds"])
    ratios = [b / a for a, b in zip(samples[old], samples[new], strict=True)]
    return Comparison(
        *case,
        statistics.median(samples[old]),
        statistics.median(samples[new]),
        statistics.median(ratios),
        *interval(ratios),
        ratios,
        others(),
    )


def run(cases: Sequence[Case], options: argparse.Namespace, progress: Any) -> int:
    """Runs `cermet-bench ab` and prints what it finds.

    Returns:
        0; 1 where a case is slower than the tolerance, or only the old build has it, or nothing
        could be measured; 2 where a path holds no build.
    """
    results, lost = [], []
    try:
        with (
            closing(Side("old", options.old, options.device, options.threads)) as old,
            closing(Side("new", options.new, options.device, options.threads)) as new,
        ):
            print(f"old: {old.path}, cermet {old.version}\nnew: {new.path}, cermet {new.version}")
            for case, size, dtype in progress(rows(cases, options, ab=True)):
                row = (case.name, size, dtype)
                outcome = in_pairs(old, new, row, options)
                if isinstance(outcome, Comparison):
                    results.append(outcome)
                    continue
                print(*row, outcome, file=sys.stderr)
                if " in new:" in outcome:
                    lost.append(row)
    except ValueError as error:
        print(f"cermet-bench: {error}", file=sys.stderr)
        return 2
    above = [r for r in results if r.ratio > options.tolerance and r.lower > 1]
    if results:
        print(table(results))
        print(summary(results, above, options.tolerance))
    if lost:
        print(f"absent in new alone: {', '.join(' '.join(map(str, row)) for row in lost)}")
    if options.json:
        found = [{**asdict(result), "verdict": result.verdict} for result in results]
        data = {"machine": machine(), "options": vars(options), "results": found}
        Path(options.json).write_text(json.dumps(data, indent=1) + "\n")
    return 1 if above or lost or not results else 0


def table(results: Sequence[Comparison]) -> str:
    """A row a case; "!" marks what other processes may have disturbed."""
    lines = [["case", "size", "dtype", "old", "new", "ratio", "95 % interval", ""]]
    for r in results:
        case = r.case + "!" * (r.others is not None and r.others > QUIET)
        times = duration(r.old), duration(r.new), f"{r.ratio:.3f}"
        lines.append([case, str(r.size), r.dtype, *times, r.spread, r.verdict])
    return align(lines)


def summary(results: Sequence[Comparison], above: Sequence[Comparison], tolerance: float) -> str:
    """How many cases differ, and which are slower than the tolerance."""
    counts = {v: sum(r.verdict == v for r in results) for v in ("faster", "slower")}
    mean = math.exp(statistics.fmean(math.log(r.ratio) for r in results))
    lines = [
        f"{len(results)} cases: {counts['faster']} faster, {counts['slower']} slower, the others "
        f"do not differ; geometric mean of the ratios {mean:.3f}"
    ]
    lines += [
        f"above {tolerance}: {r.case} {r.size} {r.dtype}, {r.ratio:.3f} ({r.spread})" for r in above
    ]
    return "\n".join(lines)
