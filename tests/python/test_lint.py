"""The strict check of Metal source: what it rejects, what it accepts, and Cermet's own kernels."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NUMPY_DTYPES, mx_dtype

import cermet.core as mx

if sys.platform == "darwin":
    pytest.skip("the lint does not run on macOS", allow_module_level=True)
pytest.importorskip("clang.cindex")
if not mx.simulator.compiler_available():
    pytest.skip("no compiler for Metal source", allow_module_level=True)
from cermet.metal.lint import lint, lint_source

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "metal" / "lint"
INSTANCES = ROOT / "tests" / "metal" / "instances.txt"
KERNELS = sorted((ROOT / "metal").iterdir())
OPERATIONS = re.findall(
    r"^CERMET_ELEMENTWISE\((\w+), (\d)",
    (ROOT / "csrc/include/cermet/elementwise.def").read_text(),
    re.MULTILINE,
)
NAMES = {"select": "where"}  # in Python, where it differs


def accepted(source, path="kernel.metal"):
    problems = lint_source(source, str(path))
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
@pytest.mark.parametrize("file", KERNELS, ids=lambda file: file.name)
def test_kernels(file):
    """Each file by itself, and each family with the instances that the host asks for."""
    source = file.read_text()
    rows = [line.split(maxsplit=1) for line in INSTANCES.read_text().splitlines()]
    instances = [row[1] for row in rows if row and row[0] == file.stem]
    assert bool(instances) == (file.suffix == ".metal")
    for number, instance in enumerate(instances):
        attributes = f'[[host_name("kernel_{number}")]] [[kernel]]'
        source += f"template {attributes} decltype({instance}) {instance};\n"
    accepted(source, file)


def values(*shape, dtype=mx.float32):
    return mx.zeros(shape, dtype)


PROGRAMS = {
    "flat": lambda: mx.exp(values(100)) * 2,
    "flat_long": lambda: mx.exp(mx.broadcast_to(values(1), (3 << 30,))),
    "strided_2d": lambda: values(30, 40).T + values(40, 1),
    "strided_3d": lambda: values(4, 5, 6).transpose(2, 0, 1) * values(6, 4, 5),
    "strided_5d": lambda: values(2, 3, 4, 5, 6).transpose(4, 2, 0, 3, 1) * values(6, 4, 2, 5, 3),
    "solo": lambda: mx.sum(values(100, 8), axis=1),
    "simd": lambda: mx.softmax(values(10, 100), axis=-1),
    "group_kept": lambda: mx.softmax(values(10, 3000), axis=-1),
    "group_looped": lambda: mx.softmax(values(3, 70000), axis=-1),
    "columns": lambda: mx.sum(values(300, 40), axis=0),
    "columns_kept": lambda: mx.softmax(values(60, 40), axis=0),
    "chunks": lambda: mx.sum(values(1000, 1000) * 2),
    "chunks_of_columns": lambda: mx.mean(values(100000, 40), axis=0),
    "float16": lambda: mx.softmax(values(10, 100, dtype=mx.float16), axis=-1),
    "bfloat16": lambda: mx.var(values(1000, 100, dtype=mx.bfloat16), axis=0),
    "complex64": lambda: mx.sum(values(10, 100, dtype=mx.complex64) * 2j, axis=-1),
    "complex64_columns": lambda: (
        mx.prod(values(100, 40, dtype=mx.complex64), axis=0) + values(40, dtype=mx.complex64)
    ),
    "int64": lambda: mx.max(values(10, 100, dtype=mx.int64) // 3, axis=-1),
    "uint8": lambda: mx.min(values(10, 10, dtype=mx.uint8) + 1, axis=-1),
    "bool": lambda: mx.any(values(10, 100) > 1, axis=-1),
}


@pytest.mark.parametrize("make", PROGRAMS.values(), ids=PROGRAMS)
def test_programs(make):
    source = mx.metal.source(make(), complete=True)
    assert "[[kernel]]" in source
    accepted(source)


@pytest.mark.parametrize("dtype", [t for t in NUMPY_DTYPES if t != "float64"])
def test_operations(dtype):
    """Every elementwise operation that takes the type."""
    x = values(1, dtype=mx_dtype(dtype))
    results = []
    for name, arity in OPERATIONS:
        try:
            results.append(getattr(mx, NAMES.get(name, name))(*[x] * int(arity)))
        except (ValueError, TypeError):
            continue  # not of this type
    assert len(results) > len(OPERATIONS) / 3
    accepted(mx.metal.source(*results, complete=True))


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
