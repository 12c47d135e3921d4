"""The documentation's Python code runs and prints what the page shows.

The blocks of a page share one namespace and run in order. A block in ```text that follows a block
of Python at once is what that one must print. Only a block after a paragraph that begins with
"Not run by the tests:", which gives the reader the reason, is left out.
"""

import contextlib
import io
import re
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pytest

import cermet.core as mx

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXCUSE = "Not run by the tests:"


class Block(NamedTuple):
    """A block of Python of a page."""

    line: int
    code: str
    output: str | None  # what the page says it prints


def blocks(text: str) -> list[Block]:
    fences = list(FENCE.finditer(text))
    found = []
    for fence, following in zip_longest(fences, fences[1:]):
        paragraph = text[: fence.start()].rstrip().rpartition("\n\n")[2]
        if fence[1] != "python" or paragraph.startswith(EXCUSE):
            continue
        between = text[fence.end() : following.start()] if following else "end"
        shown = following and following[1] == "text" and not between.strip()
        line = text.count("\n", 0, fence.start(2)) + 1
        found.append(Block(line, fence[2], following[2] if shown else None))
    return found


PAGES = {
    str(path.relative_to(ROOT)): blocks(path.read_text(encoding="utf-8"))
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
}
PAGES_WITH_CODE = [page for page, found in PAGES.items() if found]


def test_pages_with_code_are_found():
    assert {"README.md", "docs/lazy.md", "docs/modules.md"} <= {*PAGES_WITH_CODE}


def test_blocks_are_told_apart():
    page = "a\n\n```python\nx = 1\n```\n\n```text\n1\n```\n\n"
    page += f"{EXCUSE} needs a GPU.\n\n```python\ny\n```\n\n```sh\nls\n```\n"
    assert blocks(page) == [Block(4, "x = 1\n", "1\n")]


@pytest.mark.parametrize("page", PAGES_WITH_CODE)
def test_code_runs_and_prints_what_the_page_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for line, code, output in PAGES[page]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            # Blank lines in front: a traceback then has the page's own line numbers.
            exec(compile("\n" * (line - 1) + code, str(ROOT / page), "exec"), namespace)
        if output is not None:
            assert printed.getvalue().rstrip() == output.rstrip(), f"{page}:{line}"


def test_what_is_said_to_be_missing_is_missing():
    text = (ROOT / "docs" / "from-mlx.md").read_text(encoding="utf-8")
    section = text.partition("## Not there yet")[2].partition("\n## ")[0]
    names = re.findall(r"`mx\.([\w.]+)`", section)
    assert names

    def exists(name: str) -> bool:
        value = mx
        for part in name.split("."):
            value = getattr(value, part, None)
        return value is not None

    assert [name for name in names if exists(name)] == []


def test_links_between_pages_lead_to_files():
    for page in PAGES:
        text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            assert ((ROOT / page).parent / target).exists(), f"{page} links to {target}"
