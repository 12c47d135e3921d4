"""The strict check of Metal source: what it rejects, what it accepts, and Cermet's own kernels."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from metal_sources import SOURCES, metal_source

import cermet.core as mx

if sys.platform == "darwin":
    pytest.skip("the lint does not run on macOS", allow_module_level=True)
pytest.importorskip("clang.cindex")
if not mx.simulator.compiler_available():
    pytest.skip("no compiler for Metal source", allow_module_level=True)
from cermet.metal.lint import lint, lint_source

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "metal" / "lint"


def accepted(source):
    problems = lint_source(source)
    assert not problems, "\n".join(map(str, problems))


# ---- Snippets ------------------------------------------------------------------------------------
def snippets(name):
    """The cases of a file, a name and a text each, with the same beginning."""
    parts = re.split(r"^// ---- (\w+) ----\n", (CASES / name).read_text(), flags=re.MULTILINE)
    head = "#include <metal_stdlib>\nusing namespace metal;\n"
    return [
        pytest.param(head + text, id=case)
        for case, text in zip(parts[1::2], parts[2::2], strict=True)
    ]


@pytest.mark.parametrize("source", snippets("wrong.metal"))
def test_wrong(source):
    marks = (re.search(r"// error: ?(.*)", line) for line in source.splitlines())
    expected = {number: mark[1] for number, mark in enumerate(marks, 1) if mark}
    found = {p.line: p.message for p in lint_source(source)}
    assert found.keys() == expected.keys(), found
    for line, words in expected.items():
        assert words in found[line]


@pytest.mark.parametrize("source", snippets("right.metal"))
def test_right(source):
    accepted(source)


# ---- Cermet's own --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", SOURCES)
def test_sources(name):
    accepted(metal_source(name))


# ---- Files ---------------------------------------------------------------------------------------
def test_includes(tmp_path):
    """Problems are at their own file and line, in included files too."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "deep.h").write_text("#pragma once\nint counter = 0;\n")
    (tmp_path / "near.h").write_text('#pragma once\n#include "deep.h"\nfloat f(float* p);\n')
    file = tmp_path / "k.metal"
    file.write_text(
        '#include "near.h"\n#include "deep.h"\nusing namespace metal;\n  int late = 1;\n'
    )
    places = [(Path(p.file).name, p.line, p.column) for p in lint(file, [str(tmp_path / "lib")])]
    assert places == [("k.metal", 4, 7), ("deep.h", 2, 5), ("near.h", 3, 16)]
    assert [(p.file, p.line) for p in lint(file)] == [(str(tmp_path / "near.h"), 2)]


def test_places_in_rewritten_lines():
    """Columns are those of the source, whatever the translation has inserted before them."""
    source = "kernel void k(device metal::float4* a [[buffer(0)]]) {\n  using namespace metal;\n"
    source += "  a[0] = float4(1, 2, 3, 4) + missing;\n}\n"
    (problem,) = lint_source(source, "k.metal")
    assert str(problem).startswith("k.metal:3:31: error: ")


def test_program(tmp_path):
    good, bad = tmp_path / "good.metal", tmp_path / "bad.metal"
    good.write_text("kernel void k(device float* a [[buffer(0)]]) { a[0] = 1; }\n")
    bad.write_text("int counter = 0;\n")

    def run(*files):
        command = [sys.executable, "-m", "cermet.metal.lint", *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    accept, reject = run(good), run(good, bad)
    assert (accept.returncode, accept.stdout, accept.stderr) == (0, "", "")
    assert (reject.returncode, reject.stderr) == (1, "")
    assert reject.stdout.startswith(f"{bad}:1:5: error: counter: ")
    missing = run(tmp_path / "missing.metal")
    assert missing.returncode == 2 and "missing.metal" in missing.stderr


def test_without_libclang(monkeypatch):
    monkeypatch.setitem(sys.modules, "clang.cindex", None)
    with pytest.raises(ImportError, match=r"pip install 'cermet\[simulator\]'"):
        lint_source("")
