"""tools/check: it finds what is planted in a small project, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[2] / "tools" / "check"

# A header in each room.
ROOMS = {
    "csrc/include/cermet/array.h": "",
    "csrc/ops/exp.h": "",
    "csrc/graph/node.h": '#include "cermet/array.h"\n',
    "csrc/transforms/walk.h": '#include "graph/node.h"\n',
    "csrc/plan/plan.h": '#include "graph/node.h"\n#include "cermet/array.h"\n',
    "csrc/eval/batch.h": '#include "plan/plan.h"\n',
    "csrc/io/file.h": '#include "graph/node.h"\n',
    "csrc/cpu/loop.h": '#include "eval/batch.h"\n#include "ops/exp.h"\n',
    "csrc/metal/device.h": '#include "../../metal/arguments.h"\n#include "eval/batch.h"\n',
    "csrc/metal/apple/device.h": '#include "metal/device.h"\n',
    "csrc/metal/simulator/engine.h": '#include "metal/device.h"\n',
    "csrc/metal/device.cpp": '#include "metal/simulator/engine.h"\n',
    "csrc/backends.cpp": '#include "cpu/loop.h"\n#include "metal/device.h"\n',
    "metal/arguments.h": '#include "../csrc/ops/exp.h"\n',
    "python/bindings/convert.h": "#include <cermet/array.h>\n#include <vector>\n",
    "python/bindings/tree.h": '#include "convert.h"\n',
    "python/cermet/nn.py": '"""Layers."""\n',
}


@pytest.fixture
def project(tmp_path):
    """Writes the rooms above with further files; gives the root."""

    def write(files=()):
        for name, text in {**ROOMS, **dict(files)}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def check(root, *names):
    """The exit code and the lines printed."""
    command = [sys.executable, str(CHECK), *names, "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_a_project_in_order_passes_every_check(project):
    code, lines = check(project())
    assert code == 0 and len(lines) == 4  # the counts of lines


@pytest.mark.parametrize(
    ("file", "header", "arrow"),
    [
        ("csrc/graph/array.cpp", "eval/batch.h", "csrc/graph -> csrc/eval"),
        ("csrc/graph/array.cpp", "../eval/batch.h", "csrc/graph -> csrc/eval"),
        ("csrc/graph/array.cpp", "transforms/walk.h", "csrc/graph -> csrc/transforms"),
        ("csrc/include/cermet/ops.h", "graph/node.h", "csrc/include -> csrc/graph"),
        ("csrc/transforms/vjp.cpp", "plan/plan.h", "csrc/transforms -> csrc/plan"),
        ("csrc/plan/order.cpp", "eval/batch.h", "csrc/plan -> csrc/eval"),
        ("csrc/eval/batch.cpp", "cpu/loop.h", "csrc/eval -> csrc/cpu"),
        ("csrc/eval/batch.cpp", "transforms/walk.h", "csrc/eval -> csrc/transforms"),
        ("csrc/cpu/loop.cpp", "metal/device.h", "csrc/cpu -> csrc/metal"),
        ("csrc/metal/work.cpp", "cpu/loop.h", "csrc/metal -> csrc/cpu"),
        ("csrc/metal/work.cpp", "metal/simulator/engine.h", "csrc/metal -> csrc/metal/simulator"),
        ("csrc/metal/simulator/a.cpp", "eval/batch.h", "csrc/metal/simulator -> csrc/eval"),
        ("csrc/ops/log.h", "graph/node.h", "csrc/ops -> csrc/graph"),
        ("csrc/io/npy.cpp", "eval/batch.h", "csrc/io -> csrc/eval"),
        ("metal/exp.metal", "../csrc/graph/node.h", "metal -> csrc/graph"),
        ("python/bindings/array.cpp", "graph/node.h", "python/bindings -> csrc/graph"),
    ],
)
def test_an_arrow_that_goes_up_is_found(project, file, header, arrow):
    code, lines = check(project({file: f'// A file.\n#include "{header}"\n'}), "includes")
    assert code == 1 and lines == [f"includes: {file}:2: {arrow} ({header})"]


def test_a_room_without_a_row_is_named(project):
    code, lines = check(project({"csrc/attic/old.h": ""}), "includes")
    assert code == 1 and "csrc/attic/old.h" in lines[0] and "no row" in lines[0]


def test_an_include_in_a_comment_is_none(project):
    text = '// #include "eval/batch.h"\n/*\n#include "eval/batch.h"\n*/\n'
    assert check(project({"csrc/graph/array.cpp": text}), "includes") == (0, [])


@pytest.mark.parametrize("folder", ["csrc/graph", "metal", "python/cermet", "tools", "examples"])
@pytest.mark.parametrize(("count", "code"), [(600, 0), (601, 1)])
def test_a_long_file_is_named(project, folder, count, code):
    root = project({f"{folder}/long.h": "\n" * count})
    assert check(root, "lengths")[0] == code


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("1.44269502f", "-1.44269502", "1.44269502"),
        ("1.44269502f", "0.144269502f", None),
        ("0x1BD11BDAu", "0x1bd11bda", "0x1bd11bda"),
        ("1'234'567", "1234567ull", "1234567"),
        ("3.14159e-5f", "3.14159e-5", "3.14159e-5"),
        ("100000000", "100000000", None),  # one significant digit
        ("12345", "12345", None),
        ("0x7fffffff", "0x7fffffff", None),
        ("x1234567", "y.f1234567", None),  # names
        ("0123456789abcdef", "0123456789abcdef", None),
        ("// 1234567", "/* 1234567 */", None),
        ('"1234567"', "1234567", "1234567"),
    ],
)
def test_a_long_constant_that_stands_twice_is_found(project, one, other, found):
    root = project({"csrc/cpu/math.h": f"{one}\n", "metal/ops.h": f"\n{other}\n"})
    want = [f"constants: {found}: csrc/cpu/math.h:1, metal/ops.h:2"] if found else []
    assert check(root, "constants") == (bool(found), want)


def test_lines_of_code(project):
    cpp = '// A comment.\n\n/* one\n   two */ int x;\nint y;  // why\nauto s = "// no comment";\n'
    python = '"""What it is."""\n\n\ndef f():\n    """Does."""\n    # Why.\n    return """a\nb"""\n'
    root = project({"csrc/graph/a.cpp": cpp, "python/cermet/a.py": python, "metal/notes.txt": "x"})
    before = check(project(dict.fromkeys(["csrc/graph/a.cpp", "python/cermet/a.py"], "")), "lines")
    project({"csrc/graph/a.cpp": cpp, "python/cermet/a.py": python})
    after = check(root, "lines")
    counts = [[int(line.split()[1]) for line in lines] for _, lines in (before, after)]
    assert [b - a for a, b in zip(*counts, strict=True)] == [3, 0, 3, 6]


def test_an_unknown_check(project):
    assert check(project(), "spelling")[0] == 2
