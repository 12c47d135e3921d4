"""The fuzzers of tests/fuzz, each with a few programs of one seed; and what they found before."""

import importlib.util
import pathlib
import re
import subprocess
import sys

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
        assert re.compile(call) and re.compile(difference) and why


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
