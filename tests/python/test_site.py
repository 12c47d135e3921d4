"""The documentation site: its tables are right, its reference names the whole core, it builds."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import cermet.core as mx

ROOT = Path(__file__).parents[2]
PUBLIC = {name for name in dir(mx) if not name.startswith("_")}
MODULES = {name for name in PUBLIC if isinstance(getattr(mx, name), ModuleType)}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def rows(page: str) -> list[list[str]]:
    """The cells of the rows of its tables."""
    return [
        [cell.strip(" `") for cell in line.strip("| ").split(" | ")]
        for line in text_of(page).splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]


def test_the_table_of_promotion_is_what_arrays_do():
    table = [row for row in rows("docs/types.md") if len(row) >= 14]
    short = dict(zip(table[0], [row[0] for row in table[1:]], strict=True))
    assert len(short) == 14 and sorted(short.values()) == sorted(
        name for name in dir(mx) if isinstance(getattr(mx, name), mx.Dtype)
    )
    for left, *cells in table[1:]:
        for right, cell in zip(short.values(), cells, strict=True):
            a, b = mx.ones(1, getattr(mx, left)), mx.ones(1, getattr(mx, right))
            want = getattr(mx, short[cell])
            assert (a + b).dtype == mx.result_type(a, b) == want, (left, right)


def test_the_table_of_environment_variables_has_those_that_are_read():
    """A variable's name is a literal of its own, in the library and in the package."""
    read = set()
    for folder, suffixes in (("csrc", (".cpp", ".h", ".mm")), ("python/cermet", (".py",))):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in suffixes:
                read |= set(re.findall(r'["\'](CERMET_\w+)["\']', path.read_text(encoding="utf-8")))
    assert "CERMET_NUM_THREADS" in read
    listed = [row[0] for row in rows("docs/environment.md") if row[0].startswith("CERMET_")]
    assert sorted(listed) == sorted(read)


def test_the_first_page_has_figures_of_the_readme():
    measured = text_of("docs/index.md").partition("## Measured")[2].partition("\n## ")[0]
    figures = [line for line in measured.splitlines() if line.startswith("| ")]
    assert len(figures) > 5 and set(figures) <= set(text_of("README.md").splitlines())


def members(page: Path) -> list[str]:
    return re.findall(r"^ {8}- (\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_the_reference_has_every_name_of_the_core_in_one_group():
    pages = sorted((ROOT / "docs/api/core").glob("*.md"))
    listed = Counter(name for page in pages for name in members(page))
    assert {name for name, n in listed.items() if n > 1} == set()
    assert set(listed) == PUBLIC - MODULES


def test_every_module_of_the_core_has_a_page():
    shown = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/api").glob("*.md"))
    for name in MODULES:
        assert re.search(rf"^::: cermet\.(core|metal)\.{name}$", shown, re.MULTILINE), name


def test_every_function_class_and_module_of_the_core_says_what_it_is():
    names = {name for name in PUBLIC if callable(getattr(mx, name))} | MODULES
    assert {name for name in names if not (getattr(mx, name).__doc__ or "").strip()} == set()


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    shown = re.findall(r": ([\w/-]+\.md)$", navigation, re.MULTILINE)
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert sorted(shown) == sorted(pages)


@pytest.mark.skipif(bool(os.environ.get("CERMET_METAL")), reason="no device matters to the site")
def test_the_site_builds_without_a_warning(tmp_path):
    for needed in ("zensical", "mkdocstrings", "griffe"):
        pytest.importorskip(needed, reason='the site needs the extra "docs"')
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    paths = os.pathsep.join(filter(None, sys.path))  # where this Python found the package
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (ROOT / "docs/api/core").glob("*.md"):
        built = (tmp_path / f"site/api/core/{page.stem}/index.html").read_text(encoding="utf-8")
        shown = set(re.findall(r'id="cermet\.core\.(\w+)"', built))
        assert set(members(page)) - shown == set(), page.name
    layers = (tmp_path / "site/api/nn/index.html").read_text(encoding="utf-8")
    assert 'id="cermet.nn.layers.Linear"' in layers and ":class:" not in layers
