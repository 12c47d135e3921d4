"""The command line: `cermet-bench list | run | compare | ab | bars`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TypeVar

from . import ab, bars
from .cases import Case, rows, select
from .measure import Plan, Work, first_line, interleave
from .peers import (
    DTYPES,
    ITEM_SIZE,
    PEERS,
    Peer,
    Unsupported,
    available_threads,
    limit_threads,
    load,
)
from .report import QUIET, SUBJECT, Report, Result, plot, table

T = TypeVar("T")


def program() -> None:
    """Entry point: holds all frameworks to the same number of threads, then runs `main`."""
    options = parse(sys.argv[1:])
    if options.command != "list" and limit_threads(options.threads):
        # Libraries read the variables when they load, and some are loaded by now: begin anew.
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Runs the command line `arguments`.

    Returns:
        0; 1 where Cermet failed a case, or exceeded `--fail-above`, `--tolerance` or a bar; 2 where
        the options are wrong.
    """
    options = parse(arguments)
    if options.command == "bars":
        return bars.run(options, progress)
    cases = select(options.pattern, extra=options.command in ("list", "ab"))
    if not cases:
        return _error(f"no case matches {options.pattern!r}; see cermet-bench list")
    if options.command == "list":
        for case in cases:
            sizes = ",".join(map(str, case.sizes))
            print(f"{case.name:<18} {sizes:>6} {','.join(case.dtypes):>16}  {case.summary}")
        return 0
    if options.command == "ab":
        return ab.run(cases, options, progress)
    try:
        baseline = Report.load(options.baseline) if options.baseline else None
    except (OSError, ValueError) as error:
        return _error(f"--baseline: {error}")
    if options.plot and not find_spec("matplotlib"):
        return _error("--plot needs Matplotlib: pip install 'cermet[bench]'")

    report, failed = measure(cases, options)
    for note in [
        *(f"left out: {reason}" for reason in report.left_out),
        *_doubts(report, baseline),
    ]:
        print(note, file=sys.stderr)
    if report.results:
        print(table(report, baseline))
    if options.json:
        report.save(options.json)
    if options.plot and report.results:
        plot(report, options.plot)
    return 1 if failed or not _within(report, baseline, options.fail_above) else 0


def measure(cases: Sequence[Case], options: argparse.Namespace) -> tuple[Report, bool]:
    """Measures `cases` on Cermet and the peers.

    Returns:
        The report, and whether Cermet itself failed a case or is missing.
    """
    peers: dict[str, Peer] = {}
    report = Report(options=vars(options), versions={})
    for name in dict.fromkeys((SUBJECT, *options.peers)):
        try:
            peers[name] = load(name, options.device, options.threads)
            report.versions[name] = peers[name].version
        except Unsupported as reason:
            report.left_out.append(f"{name}: {reason}")
    failed = SUBJECT not in peers
    plan = Plan(options.repeat, options.min_time)
    for case, size, dtype in progress(rows(cases, options)):
        works: dict[str, Work] = {}
        failures: dict[str, str] = {}
        for name, peer in peers.items():
            try:
                works[name] = case.build(peer, size, dtype)
            except Unsupported as reason:
                report.left_out.append(f"{case.name} {size} {dtype} on {name}: {reason}")
            except Exception as error:  # noqa: BLE001 (one peer must not end the run)
                failures[name] = first_line(error)
        outcome = interleave(works, plan)
        failures |= outcome.failures
        failed |= SUBJECT in failures
        for name, message in failures.items():
            report.left_out.append(f"{case.name} {size} {dtype} on {name}: {message}")
        for name, timing in outcome.timings.items():
            report.results.append(
                Result(
                    case.name,
                    size,
                    dtype,
                    name,
                    timing,
                    bytes=case.bytes and case.bytes(size, ITEM_SIZE[dtype]),
                    flops=case.flops and case.flops(size),
                    nodes=case.nodes and case.nodes(size),
                    others=outcome.others,
                )
            )
    return report, failed


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; exits with a message where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="cermet-bench", description="Measures Cermet, alone or side by side with its peers."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list the cases")
    run = commands.add_parser("run", help="measure Cermet")
    compare = commands.add_parser("compare", help="measure Cermet and its peers in turns")
    two = commands.add_parser("ab", help="measure two installed builds in turns")
    held = commands.add_parser("bars", help="measure what row programs are held to")
    build = "a folder with cermet, a virtual environment or its Python"
    two.add_argument("old", metavar="OLD", help=build)
    two.add_argument("new", metavar="NEW", help=build)
    for command in (listing, run, compare, two, held):
        command.add_argument(
            "pattern", nargs="?", help="a case's name or part of one, wildcards allowed"
        )
    run.set_defaults(peers=[])
    others = [name for name in PEERS if name != SUBJECT]
    compare.add_argument(
        "--peers",
        type=_names(others),
        default=["torch", "numpy", "mlx", "jax"],
        help=f"of {', '.join(others)} (default: torch,numpy,mlx,jax)",
    )
    for command in (run, compare, two):
        add = command.add_argument
        add("--device", choices=("cpu", "gpu"), default="cpu", help="where arrays live (cpu)")
    threads = available_threads()
    for command in (run, compare, two, held):
        add = command.add_argument
        add("--size", type=_sizes, help="sizes, as 256,1024, in place of each case's own")
        dtypes = f"of {', '.join(DTYPES)}, in place of each case's own"
        add("--dtype", type=_names(DTYPES), help=dtypes)
        add("--threads", type=_positive, default=threads, help="CPU threads of every peer")
        add("--json", metavar="FILE", help="save the results")
    two.add_argument(
        "--pairs", type=_positive, default=ab.PAIRS, help="pairs of samples (default: %(default)s)"
    )
    two.add_argument(
        "--tolerance",
        metavar="R",
        type=float,
        default=1.05,
        help="fail where a ratio exceeds R and its interval is above 1 (default: %(default)s)",
    )
    two.add_argument("--min-time", type=float, default=0.01, help="seconds of a sample, at least")
    for command in (run, compare, held):
        add = command.add_argument
        add("--repeat", type=_positive, default=Plan.repeat, help="samples (default: %(default)s)")
        add("--min-time", type=float, default=Plan.min_time, help="seconds of a sample, at least")
    for command in (run, compare):
        add = command.add_argument
        add("--baseline", metavar="FILE", help="compare with results saved before")
        limit = "fail where a ratio to the baseline exceeds R"
        add("--fail-above", metavar="R", type=float, help=limit)
        add("--plot", metavar="FILE", help="draw the results (needs Matplotlib)")
    options = parser.parse_args(arguments)
    if getattr(options, "fail_above", None) is not None and not options.baseline:
        parser.error("--fail-above needs --baseline")
    return options


def progress(items: Sequence[T]) -> Iterable[T]:
    """`items` with a progress bar, where tqdm is installed and a person watches."""
    if not sys.stderr.isatty():
        return items
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return items
    return tqdm(items, file=sys.stderr, leave=False)


def _doubts(report: Report, baseline: Report | None) -> list[str]:
    """What makes the results unreliable."""
    doubts = []
    noisy = {r.case: r.others for r in report.results if r.others is not None and r.noisy}
    if noisy:
        doubts.append(
            f"unreliable (marked !): other processes kept more than {QUIET} CPUs busy, up to "
            f"{max(noisy.values()):.1f}, during {', '.join(noisy)}"
        )
    for name in ("threads", "device"):
        if baseline and baseline.options[name] != report.options[name]:
            doubts.append(
                f"unlike the baseline: {name} {report.options[name]}, was {baseline.options[name]}"
            )
    if baseline and baseline.machine != report.machine:
        doubts.append("unlike the baseline: another machine, system or Python")
    return doubts


def _within(report: Report, baseline: Report | None, limit: float | None) -> bool:
    if baseline is None or limit is None:
        return True
    ratios = report.ratios(SUBJECT, baseline)
    if not ratios:
        print("--fail-above: the baseline has none of these cases", file=sys.stderr)
    for (case, size, dtype), ratio in ratios.items():
        if ratio > limit:
            print(
                f"{case} {size} {dtype}: {ratio:.2f} of the baseline, above {limit}",
                file=sys.stderr,
            )
    return bool(ratios) and max(ratios.values()) <= limit


def _error(message: str) -> int:
    print(f"cermet-bench: {message}", file=sys.stderr)
    return 2


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def _sizes(text: str) -> list[int]:
    return [_positive(part) for part in text.split(",")]


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    known = list(known)

    def names(text: str) -> list[str]:
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(f"expected of {', '.join(known)}, got {name!r}")
        return text.split(",")

    return names


if __name__ == "__main__":
    program()
