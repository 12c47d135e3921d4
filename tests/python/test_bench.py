"""The benchmark command: its table of cases, its clock, its files and its exit codes."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import cermet.core as mx
from cermet.bench import ab, bars, cases, measure, peers, report, works
from cermet.bench.__main__ import main, parse

TINY = ["--size", "4", "--threads", "1", "--repeat", "2", "--min-time", "0.0005"]
SLOWER, FASTER = 1e6, 1e-6
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """Shortens the waits that make real measurements sound."""
    monkeypatch.setattr(measure, "SETTLE", 0.001)
    monkeypatch.setattr(measure, "STALL", 0.001)
    # The machine that tests run on may be busy: each test says itself what others do.
    monkeypatch.setattr(measure, "busy_elsewhere", lambda: 0.0)
    monkeypatch.setattr(works, "ELEMENTS", 4096)


@pytest.fixture
def saved(tmp_path):
    """The file of a run of one case."""
    path = tmp_path / "run.json"
    assert main(["run", "exp", *TINY, "--json", str(path)]) == 0
    return path


def scaled(path, factor):
    """Multiplies every median in a saved file."""
    data = json.loads(path.read_text())
    for result in data["results"]:
        result["timing"]["median"] *= factor
    path.write_text(json.dumps(data))
    return path


def test_list_names_every_case(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in cases.CASES]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("logsumexp*", ["logsumexp_rows"]),
        ("matv", ["matvec", "quantized_matvec"]),
        ("matmul", ["matmul"]),
    ],
)
def test_pattern_selects(pattern, names, capsys):
    assert main(["list", pattern]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names


def test_pattern_without_match(capsys):
    assert main(["run", "no-such-case"]) == 2
    assert "no-such-case" in capsys.readouterr().err


def test_compare_saves_what_it_measured(tmp_path, capsys):
    path = tmp_path / "run.json"
    assert main(["compare", "softmax", "--peers", "numpy", *TINY, "--json", str(path)]) == 0
    head, row, mean = capsys.readouterr().out.splitlines()
    assert head.split() == ["case", "size", "dtype", "cermet", "rate", "numpy", "ratio"]
    assert row.split()[:3] == ["softmax", "4", "f32"]
    data = json.loads(path.read_text())
    assert data["options"]["threads"] == 1
    assert data["versions"]["numpy"] == np.__version__
    assert data["machine"]["cpus"] >= 1 and data["date"].endswith("+00:00")
    assert [r["peer"] for r in data["results"]] == ["cermet", "numpy"]
    for result in data["results"]:
        timing = result["timing"]
        assert 0 < timing["lower"] <= timing["median"] <= timing["upper"]
        assert len(timing["samples"]) == 2
    ratio = data["results"][0]["timing"]["median"] / data["results"][1]["timing"]["median"]
    assert row.split()[-1] == mean.split()[-1] == f"{ratio:.2f}"


class Absent(peers.Peer):
    name = "torch"

    def __init__(self, device, threads):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_missing_peer_is_named_and_left_out(monkeypatch, capsys):
    monkeypatch.setitem(peers.PEERS, "torch", Absent)
    assert main(["compare", "exp", "--peers", "torch,numpy", *TINY]) == 0
    captured = capsys.readouterr()
    assert "left out: torch: not installed" in captured.err
    assert "numpy" in captured.out and "torch" not in captured.out


def test_missing_operation_is_named(capsys):
    assert main(["compare", "graph_build", "--peers", "numpy", *TINY]) == 0
    assert "graph_build 4 f32 on numpy: numpy builds no graph" in capsys.readouterr().err


def test_unknown_peer(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "--peers", "fortran"])
    assert stopped.value.code == 2
    assert "'fortran'" in capsys.readouterr().err


def test_baseline_shows_the_ratio(saved, capsys):
    assert main(["run", "exp", *TINY, "--baseline", str(saved)]) == 0
    head, row, _ = capsys.readouterr().out.splitlines()[-3:]
    assert head.split()[-1] == "baseline"
    assert float(row.split()[-1]) > 0


@pytest.mark.parametrize(("factor", "code"), [(SLOWER, 0), (FASTER, 1)])
def test_fail_above(saved, factor, code, capsys):
    arguments = ["--baseline", str(scaled(saved, factor)), "--fail-above", "100"]
    assert main(["run", "exp", *TINY, *arguments]) == code
    assert ("exp 4 f32" in capsys.readouterr().err) == bool(code)


def test_fail_above_with_nothing_to_compare_fails(saved, capsys):
    arguments = ["--baseline", str(saved), "--fail-above", "100"]
    assert main(["run", "cumsum", *TINY, *arguments]) == 1
    assert "none of these cases" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["not json", "[]", '{"schema": 0}'])
def test_baseline_that_is_no_report(tmp_path, text, capsys):
    path = tmp_path / "other.json"
    path.write_text(text)
    assert main(["run", "exp", *TINY, "--baseline", str(path)]) == 2
    assert "--baseline" in capsys.readouterr().err


def test_plot_without_matplotlib(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("cermet.bench.__main__.find_spec", lambda name: None)
    assert main(["run", "exp", *TINY, "--plot", str(tmp_path / "plot.png")]) == 2
    assert "cermet[bench]" in capsys.readouterr().err


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.svg"
    assert main(["compare", "exp", "--peers", "numpy", *TINY, "--plot", str(path)]) == 0
    assert "<svg" in path.read_text()


def test_making_is_not_timed(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def pass_time(seconds):
        clock[0] += seconds
        return seconds

    work = measure.Work(run=lambda made: pass_time(2.0), make=partial(pass_time, 100.0))
    assert measure.sample(work, 3) == 2.0
    assert measure.sample(measure.Work(partial(pass_time, 2.0)), 3) == 2.0


def test_a_stalled_first_sample_does_not_set_the_loops(monkeypatch):
    clock, calls = [0.0], []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(measure, "STALL", 0.1)

    def run():
        calls.append(None)
        clock[0] += 0.016 if len(calls) <= 5 else 1e-5

    seconds, loops = measure.warm_up(measure.Work(run), measure.Plan(min_time=0.01))
    assert math.isclose(seconds, 1e-5, rel_tol=1e-6) and loops >= 1000


def test_a_slow_case_is_sampled_once():
    plan = measure.Plan(repeat=5, min_time=0.0, limit=0.0)
    outcome = measure.interleave({"cermet": measure.Work(lambda: None)}, plan)
    assert len(outcome.timings["cermet"].samples) == 1


def test_a_failing_peer_does_not_end_the_run():
    def fail():
        raise RuntimeError("out of luck")

    works = {"cermet": measure.Work(lambda: None), "numpy": measure.Work(fail)}
    outcome = measure.interleave(works, measure.Plan(repeat=1, min_time=0.0))
    assert list(outcome.timings) == ["cermet"]
    assert outcome.failures == {"numpy": "RuntimeError: out of luck"}


def test_a_disturbed_row_is_marked(monkeypatch, capsys):
    used = iter([0.0, 1000.0])
    monkeypatch.setattr(measure, "busy_elsewhere", lambda: next(used))
    assert main(["run", "exp", *TINY]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].startswith("exp!")
    assert "unreliable" in captured.err


def test_quartiles():
    timing = measure.Timing.of([4.0, 1.0, 3.0, 2.0, 5.0], 1)
    assert (timing.lower, timing.median, timing.upper) == (2.0, 3.0, 4.0)


def test_report_survives_saving(saved, tmp_path):
    again = tmp_path / "again.json"
    report.Report.load(saved).save(again)
    assert json.loads(again.read_text()) == json.loads(saved.read_text())


def values_of(case, name):
    """What `case` computes on a peer, at size 64."""
    peer = peers.load(name, "cpu", 1)
    results = []
    peer.wait = results.append
    work = case.build(peer, 64, case.dtypes[0])
    results.clear()
    work.run()
    return np.asarray(results[-1])


PURE = "add rsqrt gelu rms_norm silu exp softmax layer_norm sum_all sum_rows sum_columns cumsum"
PURE += " sort argmax transpose gather matmul matvec matmul_batch chain graph"
PURE += " unary_expm1 unary_log1p unary_arccosh unary_arctanh power remainder complex sum_middle"
PURE += (
    " cast cast_back sum_short max_rows max_columns mean_rows var_rows prod_columns argsort_rows"
)
PURE += " cumsum_columns cumprod_rows sort_columns searchsorted matmul_transposed linear"
PURE += (
    " sort_all take_along_rows take_along_columns norm heads_first add_transposed sum_transposed"
)
PURE += " softmax_transposed einsum take_along negative"
PURE += " power_constant cube_sum_all cube_mean_first cube_max_middle cube_var_last"
PURE += " cube_argmax_middle cube_cumsum_last rows_log_softmax rows_layer_norm rows_rms_norm"
PURE += " rows_cross_entropy jacobi ten density"


@pytest.mark.parametrize("name", PURE.split())
def test_peers_compute_the_same(name):
    (case,) = (case for case in cases.CASES if case.name == name)
    mine, theirs = values_of(case, "cermet"), values_of(case, "numpy")
    assert mine.shape == theirs.shape
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_every_case_runs_in_every_dtype(case):
    peer = peers.load("cermet", "cpu", 1)
    for dtype in dict.fromkeys((*case.dtypes, *case.ab_dtypes)):
        work = case.build(peer, 64, dtype)
        work.run(*([work.make()] if work.make else []))


# Bars


def run_bars(*options):
    return main(["bars", *options, "--threads", "1", "--repeat", "3", "--min-time", "0.0005"])


@pytest.fixture
def held(monkeypatch):
    """Sets the bars: a limit of a case that is only to be measured."""

    def set_(against, limit, case="exp"):
        bar = bars.Bar("some", (case,), (4,), against, limit)
        monkeypatch.setattr(bars, "BARS", (bar,))

    return set_


@pytest.mark.parametrize(("limit", "code"), [(SLOWER, 0), (FASTER, 1)])
def test_a_bar_is_held_or_not(held, limit, code, tmp_path, capsys):
    path = tmp_path / "bars.json"
    held(("numpy", "silu"), limit)
    assert run_bars("--json", str(path)) == code
    row, total = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == ["some", "exp", "4", "f32"] and (row.endswith("above")) == bool(code)
    assert f"{1 - code} of 1 within {limit}" in total
    (result,) = json.loads(path.read_text())["results"]
    assert set(result["ratios"]) == {"numpy", "silu"} and result["limit"] == limit


def test_the_slowest_counts():
    row = bars.Held("some", "exp", 4, "f32", 1e-3, {"copy": 2.5, "cpp": 1.1}, 1.25, None)
    assert row.ratio == 1.1 and not row.line().endswith("above")


def test_a_bar_without_its_peer(held, monkeypatch, capsys):
    monkeypatch.setitem(peers.PEERS, "torch", Absent)
    held(("torch",), 1.0)
    assert run_bars() == 0
    captured = capsys.readouterr()
    assert "left out: torch: not installed" in captured.err and " -  " in captured.out


def test_no_bar_matches(capsys):
    assert run_bars("no-such-bar") == 2
    assert "no-such-bar" in capsys.readouterr().err


def test_bars_are_of_cases_and_peers():
    known = {case.name for case in cases.CASES}
    for bar in bars.BARS:
        assert set(bar.cases) <= known and set(bar.against) <= known | set(peers.PEERS)


def test_bars_are_selected_by_group_or_case():
    rows = bars.selected(bars.BARS, parse(["bars", "formulas"]))
    assert len(rows) == 9 and len(rows["density", 4_000_000, "f32"]) == 2
    options = ["--dtype", "f16", "--size", "64"]
    assert list(bars.selected(bars.BARS, parse(["bars", "_rms_norm", *options]))) == [
        ("rows_rms_norm", 64, "f16"),
        ("rows_rms_norm_gradients", 64, "f16"),
    ]


@pytest.mark.skipif(not shutil.which("c++"), reason="there is no compiler")
@pytest.mark.parametrize("name", [n for b in bars.BARS if "copy" in b.against for n in b.cases])
def test_what_is_held_to_a_copy_has_one(name):
    (case,) = (case for case in cases.CASES if case.name == name)
    for dtype in case.dtypes if "c64" not in case.dtypes else ("f32", "f16"):
        case.build(peers.load("copy", "cpu", 1), 32, dtype).run()


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "cross_entropy"])
def test_gradients_are_those_of_differences(name):
    """Of the cases, by the sum of the result times what they are given as its gradient."""
    peer = peers.load("cermet", "cpu", 1)
    x, out = (np.float64(works.MANY_ROWS.values(4, i)[:3]) for i in range(2))
    rest = [works.VECTOR.values(4, i) for i in (2, 3)] if name == "layer_norm" else []
    options = {"layer_norm": {"eps": 1e-5}, "softmax": {"axis": -1}}.get(name, {})
    y = np.array([1, 0, 3], np.int32)
    plain = peers.load("numpy", "cpu", 1)

    def value(x):
        if name == "cross_entropy":
            return 2.0 * plain.cross_entropy(x, y)
        return (getattr(plain, name)(x, *rest, **options) * out).sum()

    arrays = [peer.array(np.float32(a), "f32") for a in (x, out, *rest)]
    if name == "cross_entropy":
        grads = works.cross_entropy_gradient(peer, arrays[0], mx.array(y), mx.array([2.0, 0.0]))
    else:
        grads = works.gradients(name, **options)(peer, *arrays)
    steps = 1e-5 * np.eye(x.size).reshape(x.size, *x.shape)
    wanted = [(value(x + step) - value(x - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(np.asarray(grads[0]).ravel(), wanted, atol=1e-4)


# Two builds in turns


# A build whose clock goes on by `seconds` in each evaluation, and never otherwise.
FAKE = """
import os, time
clock, calls = 0.0, 0
time.perf_counter = lambda: clock
__version__, float32, cpu = "fake", "float32", "cpu"
class array:
    def __init__(self, values): pass
    def astype(self, dtype): return self
is_available = set_default_device = lambda device: True
def eval(x):
    global clock, calls
    clock, calls = clock + {seconds}, calls + 1
    {then}
{function} = lambda x: x
print("what a build prints is in nobody's way")
"""


@pytest.fixture
def build(tmp_path):
    """Writes a fake build; gives its folder."""

    def write(name, seconds=1e-3, function="exp", then="pass"):
        package = tmp_path / name / "cermet"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        core = FAKE.format(seconds=seconds, function=function, then=then)
        (package / "core.py").write_text(core)
        return str(package.parent)

    return write


def run_ab(old, new, *options):
    return main(["ab", old, new, "exp", "--threads", "1", "--size", "4", *options])


@pytest.mark.parametrize(
    ("count", "first", "last"), [(5, None, None), (6, 1, 6), (31, 10, 22), (100, 40, 61)]
)
def test_interval_of_a_median(count, first, last):
    # Ranks as tables of the sign test have them (Conover 1999).
    values = [float(i) for i in range(count, 0, -1)]
    assert ab.interval(values) == ((first, last) if first else (0, math.inf))


def test_interval_covers_the_median_as_often_as_it_says():
    draws = np.random.default_rng(0).lognormal(size=(4000, ab.PAIRS))
    inside = [lower <= 1 <= upper for lower, upper in map(ab.interval, draws)]
    assert 0.96 < np.mean(inside) < 0.98  # 0.9706 for 31 pairs


@pytest.mark.parametrize(
    ("lower", "upper", "verdict"),
    [(1.001, 1.2, "slower"), (0.9, 0.999, "faster"), (0.9, 1.1, ""), (1.0, 1.2, "")],
)
def test_verdict(lower, upper, verdict):
    assert ab.Comparison("exp", 4, "f32", 1, 1, 1, lower, upper, []).verdict == verdict


@pytest.mark.parametrize(
    ("seconds", "verdict", "code"),
    [(3e-3, "slower", 1), (1.02e-3, "slower", 0), (1e-3, "do", 0), (5e-4, "faster", 0)],
)
def test_ab_says_what_differs(build, seconds, verdict, code, tmp_path, capsys):
    path = tmp_path / "ab.json"
    assert run_ab(build("old"), build("new", seconds), "--json", str(path)) == code
    (result,) = json.loads(path.read_text())["results"]
    assert len(result["ratios"]) == 31 and result["ratio"] == pytest.approx(seconds / 1e-3)
    assert result["verdict"] == ("" if verdict == "do" else verdict)
    out = capsys.readouterr().out
    assert verdict in out and ("above 1.05: exp 4 f32" in out) == bool(code)


def test_tolerance(build):
    assert run_ab(build("old"), build("new", 3e-3), "--tolerance", "3.5") == 0


def test_each_pair_alternates_its_order(monkeypatch):
    order = []

    class Side:
        cpu = 0.0

        def __init__(self, name):
            self.name = name

        def ask(self, request, *arguments):
            order.append(self.name) if request == "sample" else None
            return {"seconds": 1e-3, "loops": 10}

    class Options:
        pairs, min_time = 3, 0.01

    ab.in_pairs(Side("old"), Side("new"), ("exp", 4, "f32"), Options)
    assert order == ["old", "new", "new", "old", "old", "new"]


@pytest.mark.parametrize(("lacking", "lost"), [("old", False), ("new", True)])
def test_ab_names_what_a_build_lacks(build, lacking, lost, capsys):
    builds = [build(name, function="log" if name == lacking else "exp") for name in ("old", "new")]
    assert run_ab(*builds) == 1
    captured = capsys.readouterr()
    assert f"exp 4 f32 absent in {lacking}: Unsupported" in captured.err
    assert ("absent in new alone: exp 4 f32" in captured.out) == lost


def test_ab_outlives_a_build_that_ends(build, capsys):
    dying = build("new", then="if calls > 500: os._exit(3)")
    assert run_ab(build("old"), dying) == 1
    assert "failed in new: the process ended with code 3" in capsys.readouterr().err


def test_ab_of_the_python_of_an_environment(build, tmp_path):
    python = tmp_path / "environment" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={build("new")} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    old = build("old")
    assert run_ab(old, str(python)) == run_ab(old, str(python.parents[1])) == 0


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_ab_without_a_build(build, path, tmp_path, capsys):
    assert run_ab(build("old"), str(tmp_path / path)) == 2
    assert "expected a folder with cermet" in capsys.readouterr().err


def test_ab_of_an_installed_build(capsys):
    site = str(Path(mx.__file__).parents[1])
    options = ["--pairs", "6", "--min-time", "0.0005", "--tolerance", "1000"]
    assert run_ab(site, site, *options) == 0
    assert "exp" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("c++"), reason="there is no compiler")
def test_the_probe_measures_with_one_thread_and_all(tmp_path):
    guide = (ROOT / "benchmarks" / "README.md").read_text()
    (build,) = re.findall(r"^(c\+\+ .* -o) probe && ./probe$", guide, re.M)
    probe = tmp_path / "probe"
    subprocess.run([*build.split(), probe], cwd=ROOT, check=True)
    lines = subprocess.run([probe, "0.001"], check=True, capture_output=True, text=True).stdout
    rates = re.findall(r"^(\D+?\d* .*?) +(\d+) threads +([\d.]+) ", lines, re.M)
    assert {what for what, *_ in rates} >= {"float32 multiply-add", "float64 multiply-add"}
    assert all(float(rate) > 0 for *_, rate in rates)
    assert {int(threads) for _, threads, _ in rates} == {1, max(1, os.cpu_count())}
