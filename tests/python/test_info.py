"""What `python -m cermet.info` tells, and that it knows every environment variable that is read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cermet.core as mx
import cermet.info

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("csrc", "python")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".cpp", ".h", ".mm", ".py") and path.name != "info.py"
]
READ = re.compile(r'(?:getenv|variable|set|environ\.get|getenv)\(\s*"(CERMET_[A-Z_]+)"')


def run(**variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CERMET_")} | variables
    done = subprocess.run(
        [sys.executable, "-m", "cermet.info"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_variable_that_is_read_is_explained():
    read = {name for path in SOURCES for name in READ.findall(path.read_text())}
    assert len(read) > 8 and read == set(cermet.info.VARIABLES)
    quoted = {n for p in SOURCES for n in re.findall(r'"(CERMET_[A-Z_]+)"', p.read_text())}
    assert quoted == read


def test_it_prints_what_is_so():
    text = run(CERMET_NUM_THREADS="3", CERMET_ODD="1")
    facts = dict(re.findall(r"^([A-Za-z ]+?)  +(.*)$", text, re.MULTILINE))
    assert facts["version"] == mx.__version__ and facts["threads"] == "3"
    assert facts["Python"].startswith(sys.version.split()[0]) and facts["GPU"] == "none"
    assert str(mx.device_info(mx.cpu)["device_name"]) in facts["processor"]
    assert re.fullmatch(r"(\w+) \(the processor has up to \1\)", facts["instruction set"])
    assert re.search(r"^  CERMET_NUM_THREADS=3  \(threads", text, re.MULTILINE)
    assert "Not read by Cermet: CERMET_ODD" in text
    assert len(re.findall(r"^  CERMET_", text, re.MULTILINE)) == len(cermet.info.VARIABLES)


@pytest.mark.skipif(
    sys.platform != "linux", reason="the simulator and the map of memory are Linux's"
)
def test_it_knows_the_blas_and_the_simulator():
    facts = cermet.info.info()
    assert "blas" in facts["BLAS"] or facts["BLAS"] == "none"
    from cermet.metal import simulator

    if simulator.compiler_available():
        assert "GPU             none" not in run(CERMET_METAL="simulator")


def test_an_instruction_set_that_was_chosen_is_told(monkeypatch):
    monkeypatch.setenv("CERMET_ISA", "v2")
    assert re.fullmatch(
        r"v2 \(the processor has up to \w+\)", cermet.info.info()["instruction set"]
    )
