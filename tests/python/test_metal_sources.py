"""The tool that counts which kernels of a folder the simulator takes."""

import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "darwin":
    pytest.skip("the simulator does not run on macOS", allow_module_level=True)
from cermet.metal import simulator

if not simulator.compiler_available():
    pytest.skip("no compiler for Metal source", allow_module_level=True)

TOOL = Path(__file__).parents[2] / "tools" / "metal-sources"


def run(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shared.metal").write_text(
        "#pragma once\nkernel void s(device int* a) { a[0] = 1; }\n"
    )
    (tmp_path / "good.metal").write_text(
        '#include "shared.metal"\n'
        "template <typename T> [[kernel]] void f(device T* a) { a[0] = T(SCALE); }\n"
        '#define INSTANCE(T) template [[host_name("f_" #T)]] [[kernel]] void f<T>(device T*);\n'
        "INSTANCE(float) INSTANCE(int)\n"
    )
    (tmp_path / "library.metal").write_text("constant int n = 3;\n")
    return tmp_path


def test_counts(folder):
    """Instances count, an included file counts where it is included, one without kernels not."""
    status, lines = run("-D", "SCALE=2", "--bar", 100, folder)
    assert status == 0
    assert lines == [f"{folder}/good.metal: 3", "3 of 3 kernels compile (100.0 %)"]


def test_refused(folder):
    (folder / "bad.metal").write_text(
        "// kernel void in_a_comment(device int* a);\n"
        "kernel void a(device int* a) { a[0] = missing; }\nkernel void b(device int* a) {}\n"
    )
    (folder / "lost.metal").write_text('#include "nowhere.h"\nkernel void c(device int* a) {}\n')
    status, lines = run("-D", "SCALE", "--bar", 60, folder)
    assert status == 1
    assert lines[0] == (
        f"{folder}/bad.metal: 2 refused: bad.metal:2:39: "
        "error: use of undeclared identifier 'missing'"
    )
    assert lines[1] == f"{folder}/good.metal: 3"
    assert lines[2].startswith(
        f"{folder}/lost.metal: 1 refused: lost.metal:1:10: error: 'nowhere.h'"
    )
    assert lines[3] == "3 of 6 kernels compile (50.0 %)"
    assert run("-D", "SCALE", "--bar", 50, folder)[0] == 0


def test_a_file(folder):
    """One that is named is counted, whoever includes it."""
    assert run(folder / "shared.metal")[1][-1] == "1 of 1 kernels compile (100.0 %)"


def test_nothing(tmp_path):
    assert run(tmp_path) == (1, ["0 of 0 kernels compile (0.0 %)"])
