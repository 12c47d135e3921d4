"""Results as a table, a JSON file and a plot.

Every ratio is a time of Cermet divided by the other's (a peer's now, or Cermet's of an earlier
file): below 1, Cermet now is faster.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .measure import Timing

SUBJECT = "cermet"
SCHEMA = 1
QUIET = 0.1  # CPUs that other processes may keep busy before a time is called unreliable
Key = tuple[str, int, str]


@dataclass(frozen=True)
class Result:
    """One case on one peer.

    `bytes`, `flops` and `nodes` are those of a call, where they mean something; `others` is the
    number of CPUs that other processes kept busy meanwhile, where the system tells.
    """

    case: str
    size: int
    dtype: str
    peer: str
    timing: Timing
    bytes: float | None = None
    flops: float | None = None
    nodes: int | None = None
    others: float | None = None

    @property
    def key(self) -> Key:
        """What makes results of peers and of files comparable."""
        return self.case, self.size, self.dtype

    @property
    def noisy(self) -> bool:
        """Whether other processes may have disturbed it."""
        return self.others is not None and self.others > QUIET

    def rate(self) -> str:
        """The time in the case's own unit."""
        seconds = self.timing.median
        if self.nodes:
            return f"{seconds / self.nodes * 1e9:.0f} ns/node"
        if self.flops:
            return f"{self.flops / seconds / 1e9:.1f} GFLOP/s"
        if self.bytes:
            return f"{self.bytes / seconds / 1e9:.1f} GB/s"
        return ""


@dataclass
class Report:
    """All that a run found.

    Attributes:
        options: the command line's options.
        versions: of each peer that ran.
        results: what was measured.
        left_out: what was not, and why.
        machine: what it ran on.
        date: when it began, ISO 8601, UTC.
    """

    options: dict[str, Any]
    versions: dict[str, str]
    results: list[Result] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    date: str = field(
        default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds")
    )

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON."""
        Path(path).write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")

    @staticmethod
    def load(path: str | Path) -> Report:
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is no report, or one of another schema.
        """
        data = json.loads(Path(path).read_text())
        schema = data.pop("schema", None) if isinstance(data, dict) else None
        if schema != SCHEMA:
            raise ValueError(f"{path}: expected a report of schema {SCHEMA}, got schema {schema}")
        results = [Result(**{**r, "timing": Timing(**r["timing"])}) for r in data.pop("results")]
        return Report(**data, results=results)

    def of(self, peer: str) -> dict[Key, Result]:
        """The results of one peer."""
        return {r.key: r for r in self.results if r.peer == peer}

    def peers(self) -> list[str]:
        """The peers that have results, in their order."""
        return list(dict.fromkeys(r.peer for r in self.results))

    def ratios(self, peer: str, earlier: Report | None = None) -> dict[Key, float]:
        """Cermet's times divided by those of `peer` here, or in an `earlier` report."""
        others = (earlier or self).of(peer)
        return {
            key: mine.timing.median / others[key].timing.median
            for key, mine in self.of(SUBJECT).items()
            if key in others
        }


def machine() -> dict[str, Any]:
    """The processor, its CPUs, the memory in bytes, the system and the Python."""
    return {
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    if platform.system() == "Darwin":
        query = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(report: Report, baseline: Report | None = None) -> str:
    """The results as text: a row a case; for each peer its time, spread and Cermet's ratio.

    A "!" marks a row that other processes may have disturbed.
    """
    peers = report.peers()
    others = [peer for peer in peers if peer != SUBJECT]
    ratios = {peer: report.ratios(peer) for peer in others}
    earlier = report.ratios(SUBJECT, baseline) if baseline else {}
    head = ["case", "size", "dtype", *([SUBJECT, "rate"] if SUBJECT in peers else [])]
    for peer in others:
        head += [peer, "ratio"]
    head += ["baseline"] if baseline else []
    rows = [head]
    by_peer = {peer: report.of(peer) for peer in peers}
    noisy = {r.key for r in report.results if r.noisy}
    for key in dict.fromkeys(r.key for r in report.results):
        row = [key[0] + "!" * (key in noisy), str(key[1]), key[2]]
        if SUBJECT in peers:
            mine = by_peer[SUBJECT].get(key)
            row += [_time(mine), mine.rate() if mine else ""]
        for peer in others:
            row += [_time(by_peer[peer].get(key)), _ratio(ratios[peer].get(key))]
        rows.append(row + ([_ratio(earlier.get(key))] if baseline else []))
    if any(ratios.values()) or earlier:
        row = ["geometric mean", "", "", *([""] * 2 if SUBJECT in peers else [])]
        for peer in others:
            row += ["", _ratio(_mean(ratios[peer].values()))]
        rows.append(row + ([_ratio(_mean(earlier.values()))] if baseline else []))
    return align(rows)


def plot(report: Report, path: str | Path) -> None:
    """Draws Cermet's ratio to each peer, or its times where it ran alone, and saves the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    others = [peer for peer in report.peers() if peer != SUBJECT]
    bars = {peer: report.ratios(peer) for peer in others}
    label = "Cermet's time / the peer's (below 1: Cermet is faster)"
    if not others:
        bars = {SUBJECT: {k: 1e3 * r.timing.median for k, r in report.of(SUBJECT).items()}}
        label = "milliseconds"
    keys = list(dict.fromkeys(key for values in bars.values() for key in values))
    height = 0.8 / len(bars)
    figure, axes = pyplot.subplots(
        figsize=(8, 1.5 + 0.2 * len(keys) * (1 + len(bars))), layout="constrained"
    )
    for i, (peer, values) in enumerate(bars.items()):
        places = [
            n + (i - (len(bars) - 1) / 2) * height for n, key in enumerate(keys) if key in values
        ]
        axes.barh(places, [values[k] for k in keys if k in values], height, label=peer)
    if others:
        axes.axvline(1, color="black", linewidth=0.8)
        axes.legend()
    axes.set_xscale("log")
    axes.set_xlabel(label)
    axes.set_yticks(range(len(keys)), [" ".join(map(str, key)) for key in keys])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_title(f"{report.machine['processor']}, {report.options['threads']} threads")
    figure.savefig(path)
    pyplot.close(figure)


def _time(result: Result | None) -> str:
    if result is None:
        return "-"
    timing = result.timing
    spread = 100 * (timing.upper - timing.lower) / timing.median
    return f"{duration(timing.median)} ({spread:.0f}%)"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    units = {"s": 1, "ms": 1e3, "us": 1e6}
    unit = next((u for u, scale in units.items() if seconds * scale >= 1), "us")
    return f"{seconds * units[unit]:.4g} {unit}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _mean(values: Iterable[float]) -> float | None:
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [c.rjust(w) for c, w in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
