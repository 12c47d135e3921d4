"""The fuzzers of tests/fuzz, each with a few programs of one seed; and what they found before."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import cermet.core as mx

RUN = pathlib.Path(__file__).parents[1] / "fuzz" / "run"
PROGRAMS = {
    "calls": 1500,
    "numpy": 500,
    "bits": 120,
    "faults": 500,
    "kill": 8,
    "functions": 20,
    "schedules": 12,
    "leaks": 2,
    "corpus": None,
}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the fuzzers watch /proc"),
    pytest.mark.skipif(mx.default_device() != mx.cpu, reason="what they run is meant for the CPU"),
]


@pytest.mark.skipif(not importlib.util.find_spec("mlx"), reason="compares with mlx")
def test_what_mlx_answers():
    test_fuzzer_finds_nothing("mlx", 3000)


def test_every_known_difference_has_two_patterns_and_a_reason(monkeypatch):
    monkeypatch.syspath_prepend(str(RUN.parent))
    known = importlib.import_module("agreement").KNOWN
    assert len(known) > 100
    for call, difference, why in known:
        assert re.compile(call) and why
        if difference.startswith("WHERE "):
            compile(difference[6:], "<row>", "eval")
        else:
            re.compile(difference)


def test_conditions_hold_for_all_that_differs(monkeypatch):
    monkeypatch.syspath_prepend(str(RUN.parent))
    only_where = importlib.import_module("agreement").only_where

    def answer(*values, dtype="float32"):
        array = np.array(values, dtype)
        return "gives", ("tuple", [("int", 1), ("array", dtype, array.shape, array)])

    ours, theirs = answer(1.0, np.nan, 3.0), answer(1.0, 2.0, 3.0)
    assert only_where("isnan(x)", "", theirs, ours)
    assert not only_where("isnan(y)", "", theirs, ours)
    assert not only_where("isnan(x)", "", answer(2.0, 2.0, 3.0), ours)
    assert not only_where("isnan(x)", "", answer(1.0, 2.0), ours)
    assert not only_where("isnan(x)", "", ("raises", ["ValueError"], ""), ours)
    assert not only_where("x - y > 1", "", answer(True, dtype="bool"), answer(False, dtype="bool"))
    low, high = answer(-128, 0, dtype="int8"), answer(127, 0, dtype="int8")
    assert only_where("(x == hi) & (y == lo)", "", low, high)
    assert not only_where("x == lo", "", low, high)


def test_quotients_rounded_down_are_the_standards(monkeypatch):
    monkeypatch.syspath_prepend(str(RUN.parent / "room"))
    floored = importlib.import_module("compare").floored
    with np.errstate(all="ignore"):
        a, b = np.array([np.inf, 5.0, -5.0, 7.0, np.inf]), np.array([-2, np.inf, np.inf, 2, np.inf])
        got = floored(np.floor_divide, a, b)
    assert np.array_equal(got, [-np.inf, 0, -0.0, 3, np.nan], equal_nan=True)
    assert np.signbit(got[2])
    assert floored(np.floor_divide, np.array([7]), np.array([2])).dtype == np.int64


@pytest.mark.parametrize("name", PROGRAMS)
def test_fuzzer_finds_nothing(name, count=None):
    count = count or PROGRAMS[name]
    limit = ["--programs", str(count)] if count else []
    command = [sys.executable, RUN, name, "--seconds", "120", "--seed", "1", *limit]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_programs_follow_from_the_seed():
    sys.path.insert(0, str(RUN.parent))
    try:
        import random

        import bits
        from room.values import Values
    finally:
        sys.path.remove(str(RUN.parent))

    def drawn(seed):
        source = random.Random(seed)
        values = Values(source)
        made = [values.array(), values.wild(), values.file(), values.extents(), values.tree()]
        return made, bits.inputs(source), bits.expression(source, 3), bits.tree(source)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_calls_beside_mlx_leave_no_name_out():
    sys.path.insert(0, str(RUN.parent))
    try:
        import random

        import drawn
        import recipes
    finally:
        sys.path.remove(str(RUN.parent))

    calls = drawn.Calls(random.Random(1))
    known = {path for group in calls.groups.values() for _, path, *_ in group}
    layers = {name for name, *_ in calls.layers}
    programs = "\n".join([*recipes.read("programs"), *map(str, recipes.parts().values())])
    for module, name, _ in recipes.signatures():
        last = name.split(".")[-1]
        called = any(path.endswith(f".{name}") for path in known) or name.split(".")[0] in layers
        mentioned = last in programs or last.startswith(("__", "init_single", "apply_single"))
        assert called or mentioned or recipes.is_left(f"{module}.{name}"), f"{module}.{name}"

    def some():
        calls = drawn.Calls(random.Random(7))
        return [calls.drawn() for _ in range(300)]

    assert some() == some()
    for what, program in some():
        compile(program, what, "exec")
