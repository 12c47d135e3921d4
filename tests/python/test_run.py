"""`tests/run` says what is missing, and how far a build is; files of the repository agree."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cermet.core as mx

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    bool(os.environ.get("CERMET_METAL")) or shutil.which("bash") is None,
    reason="no device matters to tests/run, a script of bash",
)


def run(tmp_path, compiler, *arguments):
    """What it says with a compiler that is this script."""
    path = tmp_path / "compiler"
    path.write_text("#!/bin/sh\n" + compiler)
    path.chmod(0o755)
    environment = {
        k: v for k, v in os.environ.items() if k not in ("doctest_DIR", "CMAKE_PREFIX_PATH")
    }
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        ["bash", str(ROOT / "tests/run"), *arguments],
        env=environment | {"CXX": str(path), "CONDA_PREFIX": "somewhere"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "compiler, message",
    [
        ("exit 1", "is no C++20 compiler: "),
        ('case "$(cat)" in *doctest*) exit 1;; esac', "doctest is missing: apt-get install"),
    ],
)
def test_what_is_missing_is_said_at_once_in_a_line(tmp_path, compiler, message):
    start = time.monotonic()
    done = run(tmp_path, compiler)
    assert done.returncode == 1 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert time.monotonic() - start < 10  # a second, on a machine with nothing else to do


def test_without_a_virtual_environment(tmp_path):
    """Here python is a script that says no to the question for one."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$2" in *base_prefix*) exit 0;; esac\n')
    python.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "CONDA_PREFIX"}
    environment |= {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CXX": "true"}
    done = subprocess.run(
        ["bash", str(ROOT / "tests/run")], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "tests/run: no virtual environment is active: "
        "python3 -m venv .venv && . .venv/bin/activate\n"
    )


def test_other_arguments_are_refused(tmp_path):
    done = run(tmp_path, "exit 0", "fast")
    assert (done.returncode, done.stderr) == (2, "usage: bash tests/run [quick [COMMIT]]\n")


def test_progress_shows_tenths_and_keeps_all(tmp_path):
    said = "begins\n" + "".join(f"  [{i}/200] Building {i}\n" for i in range(1, 201)) + "ends\n"
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/progress"), str(log)],
        input=said,
        capture_output=True,
        text=True,
        check=True,
    )
    assert log.read_text() == said
    assert done.stdout.split() == [f"[{i}/200]" for i in (1, *range(20, 201, 20))]


def test_the_version_is_the_same_everywhere():
    version = re.search(r"project\(cermet VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text())
    assert version and mx.__version__ == version[1]
    assert f"\nversion: {version[1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()


def test_forms_and_hooks_are_yaml():
    yaml = pytest.importorskip("yaml", reason='the extra "docs" brings it')
    forms = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))
    for path in [*forms, *(ROOT / ".github/workflows").glob("*.yml"), ROOT / "CITATION.cff"]:
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict), path
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form), path
            fields = [part for part in form["body"] if part["type"] != "markdown"]
            assert fields and all(part["attributes"]["label"] for part in fields), path
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    entries = [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]]
    checked = (ROOT / "tests/run").read_text(encoding="utf-8")
    for entry in entries:
        assert " ".join(word for word in entry.split() if not word.startswith("-")) in checked
