"""`explain(..., code=True)`: micro-operations and machine code of the CPU's programs."""

import os
import re
import subprocess
import sys

import pytest

import cermet.core as mx

pytestmark = pytest.mark.skipif(
    mx.default_device().type != mx.DeviceType.cpu, reason="the CPU's programs are listed"
)
X = mx.random.normal((3, 100))
mx.eval(X)


def listing(y):
    return mx.explain(y, code=True)


def test_the_plan_is_the_same_with_code_between():
    y = mx.exp(X * 2).sum(axis=1)
    plan, text = mx.explain(y).splitlines(), listing(y).splitlines()
    assert [line for line in text if line in plan] == plan and len(text) > len(plan)


def test_micro_operations_are_listed():
    text = listing(mx.maximum(X * 2, 0.5))
    for line in [
        "t0 = load float32 p0",
        "multiply t0, t1",
        "maximum t2, t3",
        "store float32 p3, t4",
    ]:
        assert line in text


def test_nothing_is_made_or_computed():
    before = mx.plan_counts()["functions_made"]
    listing(mx.sin(X) + mx.cos(X) * 3)
    assert mx.plan_counts()["functions_made"] == before


def test_what_is_called_is_counted():
    assert "  calls of loops: 1\n" in listing(mx.sin(mx.zeros(3, mx.float64)))


@pytest.mark.parametrize("installed", [False, True])
def test_machine_code_is_bytes_or_instructions(installed, monkeypatch):
    if installed:
        pytest.importorskip("capstone")
    else:
        monkeypatch.setitem(sys.modules, "capstone", None)
    text = listing(mx.sqrt(X) + 1)
    if "machine code: none" in text:
        pytest.skip("there is no machine code here")
    size, lines = re.search(
        r"machine code: (\d+) bytes, \d+ elements a turn, \d+ values on the stack\n((?:    .*\n)+)",
        text,
    ).groups()
    if installed:
        assert "vsqrtps" in lines and "ret" in lines
    else:
        digits = "".join(line.partition(": ")[2] for line in lines.splitlines())
        assert len(bytes.fromhex(digits)) == int(size)


def test_a_setting_that_is_none_is_an_error():
    program = "import cermet.core as mx; mx.eval(mx.exp(mx.zeros(3)) + 1)"
    environment = os.environ | {"CERMET_MACHINE_CODE": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment
    )
    assert done.stderr.endswith("ValueError: CERMET_MACHINE_CODE=2: expected 0, 1 or always\n")
