"""The documentation's code runs and prints what the page shows.

Each page runs in a process of its own, on the CPU, or with the variables of a comment in it,
``<!-- environment: NAME=VALUE ... -->``. Its blocks of Python share a namespace and run in order. A
block in ```text that follows one of Python at once is what that one must print. A block in
```console is a command after "$ " and what it prints. Only a block after a paragraph that begins
with "Not run by the tests:", which gives the reader the reason, is left out.
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

import cermet.core as mx

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENVIRONMENT = re.compile(r"^<!-- environment: (.*) -->$", re.MULTILINE)
EXCUSE = "Not run by the tests:"


class Block(NamedTuple):
    """A block of a page that runs."""

    line: int
    language: str
    code: str
    output: str | None  # what the page says it prints


def blocks(text: str) -> list[Block]:
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in zip_longest(fences, fences[1:]):
        paragraph = text[: fence.start()].rstrip().rpartition("\n\n")[2]
        if fence[1] not in ("python", "console") or paragraph.startswith(EXCUSE):
            continue
        line = text.count("\n", 0, fence.start(2)) + 1
        if fence[1] == "console":
            command, _, output = fence[2].removeprefix("$ ").partition("\n")
            found.append(Block(line, fence[1], command, output))
            continue
        between = text[fence.end() : following.start()] if following else "end"
        shown = following and following[1] == "text" and not between.strip()
        found.append(Block(line, fence[1], fence[2], following[2] if shown else None))
    return found


def texts(*paths: Path) -> dict[str, str]:
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


PAGES = texts(ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
PAGES_WITH_CODE = [page for page, text in PAGES.items() if blocks(text)]


def run_page(page: str) -> list[str]:
    """What each block prints. Where one of Python fails, the traceback has the page's lines."""
    namespace = {"__name__": "__main__"}
    printed = []
    for line, language, code, _ in blocks(PAGES[page]):
        if language == "console":
            done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
            printed.append(done.stdout + done.stderr)
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile("\n" * (line - 1) + code, str(ROOT / page), "exec"), namespace)
        printed.append(out.getvalue())
    return printed


def test_pages_with_code_are_found():
    expected = {"README.md", "docs/custom-kernels.md", "docs/lazy.md", "docs/modules.md"}
    assert expected <= {*PAGES_WITH_CODE}


def test_blocks_are_told_apart():
    page = "a\n\n```python\nx = 1\n```\n\n```text\n1\n```\n\n```console\n$ ls\na\nb\n```\n\n"
    page += f"{EXCUSE} needs a GPU.\n\n```python\ny\n```\n\n```sh\nls\n```\n"
    assert blocks(page) == [
        Block(4, "python", "x = 1\n", "1\n"),
        Block(12, "console", "ls", "a\nb\n"),
    ]


@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_code_runs_and_prints_what_the_page_shows(page, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CERMET_METAL")}
    environment["CERMET_METAL"] = "off"
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if comment := ENVIRONMENT.search(PAGES[page]):
        environment.update(variable.split("=") for variable in comment[1].split())
    if environment["CERMET_METAL"] != "off":
        if sys.platform == "darwin" or not mx.simulator.compiler_available():
            pytest.skip("the simulator needs Linux and the package ziglang")
        pytest.importorskip("clang.cindex", reason="the lint needs the package libclang")
    done = subprocess.run(
        [sys.executable, __file__, page],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for block, printed in zip(blocks(PAGES[page]), json.loads(done.stdout), strict=True):
        if block.output is not None:
            assert printed.rstrip() == block.output.rstrip(), f"{page}:{block.line}"


def test_links_between_pages_lead_to_files():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", FENCE.sub("", text)):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


if __name__ == "__main__":
    json.dump(run_page(sys.argv[1]), sys.stdout)
