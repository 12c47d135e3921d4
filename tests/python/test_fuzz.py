"""The fuzzers of tests/fuzz, each with a few programs of one seed; and what they found before."""

import pathlib
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


@pytest.mark.parametrize("name", PROGRAMS)
def test_fuzzer_finds_nothing(name):
    count = PROGRAMS[name]
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
