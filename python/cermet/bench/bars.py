"""`cermet-bench bars`: how row programs stand to what they should reach.

A bar says how many times longer than a peer a case may take. Cermet and all the peers that a case
is held to take turns; a ratio is the median of those of the turns.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .cases import CASES
from .measure import Outcome, Plan, Work, first_line, interleave
from .peers import PEERS, Peer, Unsupported, load
from .report import QUIET, SUBJECT, duration, machine
from .works import FLOATS, MILLION, POINTS, REDUCTIONS

Row = tuple[str, int, str]


@dataclass(frozen=True)
class Bar:
    """A limit of some cases.

    Attributes:
        group: what it belongs to.
        cases: their names.
        sizes: of each.
        against: peers, or other cases on Cermet; the slowest counts.
        limit: of Cermet's time divided by the other's.
        dtypes: of each.
    """

    group: str
    cases: Sequence[str]
    sizes: Sequence[int]
    against: Sequence[str]
    limit: float
    dtypes: Sequence[str] = ("f32",)


_FORMULAS = "density", "implied_volatility", "seawater"
_FUNCTIONS = "sigmoid", "gelu", "gelu_tanh", "tanh", "erf", "exp", "log", "sin", "softplus"
_ACTIVATIONS = "silu", *(f"unary_{name}" for name in _FUNCTIONS), "power_constant"
_NORMALIZATIONS = "softmax", "log_softmax", "layer_norm", "rms_norm"
_ROWS = (
    *(f"rows_{name}{part}" for name in _NORMALIZATIONS for part in ("", "_gradients")),
    *("rows_cross_entropy", "rows_cross_entropy_gradient"),
)
_PLACES = "all", "first", "middle", "last"
_REDUCTIONS = [f"cube_{name}_{place}" for name in REDUCTIONS for place in _PLACES]
_SCANS = [f"cube_cumsum_{place}" for place in _PLACES[1:]]
_STENCILS = "jacobi", "shallow_water"

BARS = (
    Bar("formulas", _FORMULAS, POINTS[2:], ("cpp",), 1.3),
    Bar("formulas", _FORMULAS, POINTS[2:], ("jax-jit",), 0.4),
    Bar("formulas", _FORMULAS, POINTS[:2], ("jax-jit",), 1.0),
    Bar("activations", _ACTIVATIONS, (4096,), ("copy", "cpp"), 1.25, FLOATS),
    Bar("rows", _ROWS, (64, 256, 1024, 4096, 16_384), ("copy",), 1.3),
    Bar("reductions", _REDUCTIONS, (256,), ("copy",), 1.2),
    Bar("reductions", _SCANS, (256,), ("copy",), 1.5),
    Bar("adamw", ("adamw",), (MILLION, 100 * MILLION), ("copy",), 1.2),
    Bar("stencils", _STENCILS, (2048,), ("jax-jit",), 0.5),
    Bar("stencils", _STENCILS, (128,), ("jax-jit",), 1.0),
    Bar("small", ("ten",), (64,), ("torch",), 0.3),
    Bar("small", ("chain",), (64,), ("torch-compile",), 1.2),
    Bar("small", ("linear_gelu",), (768,), ("linear_product",), 1.06),
)


@dataclass(frozen=True)
class Held:
    """A bar's case as it was measured: seconds of Cermet, and the ratio to each that ran."""

    group: str
    case: str
    size: int
    dtype: str
    seconds: float
    ratios: dict[str, float]
    limit: float
    others: float | None

    @property
    def ratio(self) -> float | None:
        """That to the slowest; None where none ran."""
        return min(self.ratios.values(), default=None)

    def line(self) -> str:
        """A row of the table; "!" marks what other processes may have disturbed."""
        noisy = self.others is not None and self.others > QUIET
        ratios = "  ".join(f"{name} {ratio:.2f}" for name, ratio in self.ratios.items())
        verdict = "" if self.ratio is None or self.ratio <= self.limit else "above"
        return (
            f"{self.group:<12} {self.case + '!' * noisy:<29} {self.size:>9} {self.dtype:>5}  "
            f"{duration(self.seconds):>9}  {ratios or '-':<24}  {self.limit:>4} {verdict}"
        ).rstrip()


def selected(bars: Sequence[Bar], options: argparse.Namespace) -> dict[Row, list[Bar]]:
    """The bars of each row whose group or case matches the pattern, wildcards allowed."""
    rows: dict[Row, list[Bar]] = {}
    wanted = f"*{options.pattern or ''}*"
    for bar in bars:
        for name in bar.cases:
            if not any(fnmatch.fnmatch(x, wanted) for x in (bar.group, name)):
                continue
            for size in options.size or bar.sizes:
                for dtype in options.dtype or bar.dtypes:
                    rows.setdefault((name, size, dtype), []).append(bar)
    return rows


class Runner:
    """Builds and measures rows.

    Args:
        options: of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._peers: dict[str, Peer | None] = {}
        self.failed = False

    def held(self, row: Row, bars: Sequence[Bar]) -> list[Held]:
        """What a row gives for each of its bars; nothing where Cermet fails."""
        works = {}
        for name in (SUBJECT, *dict.fromkeys(name for bar in bars for name in bar.against)):
            if work := self._work(row, name):
                works[name] = work
        outcome = interleave(works, Plan(self._options.repeat, self._options.min_time))
        for name, message in outcome.failures.items():
            self._note(row, name, message)
        if SUBJECT not in outcome.timings:
            return []
        return [
            Held(
                bar.group,
                *row,
                outcome.timings[SUBJECT].median,
                {name: _ratio(outcome, name) for name in bar.against if name in outcome.timings},
                bar.limit,
                outcome.others,
            )
            for bar in bars
        ]

    def _work(self, row: Row, against: str) -> Work | None:
        name, size, dtype = row
        if against not in PEERS:
            name, against = against, SUBJECT
        try:
            if (peer := self._peer(against)) is None:
                return None
            (case,) = (case for case in CASES if case.name == name)
            return case.build(peer, size, dtype)
        except Exception as error:  # noqa: BLE001 (one row must not end the run)
            self._note(row, against, first_line(error))
            return None

    def _peer(self, name: str) -> Peer | None:
        if name not in self._peers:
            self._peers[name] = None
            try:
                self._peers[name] = load(name, "cpu", self._options.threads)
            except Unsupported as reason:
                print(f"left out: {name}: {reason}", file=sys.stderr)
                self.failed |= name == SUBJECT
        return self._peers[name]

    def _note(self, row: Row, name: str, message: str) -> None:
        print(f"left out: {row[0]} {row[1]} {row[2]} on {name}: {message}", file=sys.stderr)
        self.failed |= name == SUBJECT


def _ratio(outcome: Outcome, name: str) -> float:
    mine, theirs = outcome.timings[SUBJECT].samples, outcome.timings[name].samples
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=False))


def summary(results: Sequence[Held]) -> list[str]:
    """For each group and limit how many rows hold it, and the mean of what they are beyond."""
    lines = []
    for group, limit in dict.fromkeys((r.group, r.limit) for r in results):
        ratios = [r.ratio for r in results if (r.group, r.limit) == (group, limit) and r.ratio]
        if ratios:
            within = sum(ratio <= limit for ratio in ratios)
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            lines.append(
                f"{group}: {within} of {len(ratios)} within {limit}, geometric mean {mean:.2f}"
            )
    return lines


def run(options: argparse.Namespace, progress: Any) -> int:
    """Runs `cermet-bench bars` and prints what it finds, row by row.

    Returns:
        0; 1 where a ratio is above its limit or Cermet failed; 2 where no bar matches.
    """
    rows = selected(BARS, options)
    if not rows:
        print(f"cermet-bench: no bar matches {options.pattern!r}", file=sys.stderr)
        return 2
    runner, results = Runner(options), []
    for row, bars in progress(list(rows.items())):
        for held in runner.held(row, bars):
            results.append(held)
            print(held.line(), flush=True)
    print("\n".join(summary(results)))
    if options.json:
        found = [asdict(result) for result in results]
        data = {"machine": machine(), "options": vars(options), "results": found}
        Path(options.json).write_text(json.dumps(data, indent=1) + "\n")
    above = any(r.ratio is not None and r.ratio > r.limit for r in results)
    return 1 if above or runner.failed else 0
