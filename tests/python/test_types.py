"""What type checkers see: they pass over programs as users write them, find what is wrong, and the
stubs have the names that are there at run time."""

import ast
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cermet
import cermet._more
import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.nn import layers

PACKAGE = Path(cermet.__file__).parent
PROGRAMS = Path(__file__).with_name("typed")
# Submodules whose names stand elsewhere.
NOT_PARTS = {"activations", "base", "distributions"}
CONFIGURATION = """[mypy]
strict = true
[mypy-cermet.*]
ignore_errors = true
"""


@pytest.fixture
def folder(tmp_path):
    """The programs, and beside them the package, whose own errors no user sees."""
    for program in PROGRAMS.glob("*.py"):
        shutil.copy(program, tmp_path)
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/cermet").symlink_to(PACKAGE)
    (tmp_path / "mypy.ini").write_text(CONFIGURATION)
    settings = {
        "include": [program.name for program in PROGRAMS.glob("*.py")],
        "extraPaths": ["packages"],
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": True,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    return tmp_path


def checked(folder, *command):
    environment = os.environ | {"MYPYPATH": "packages", "MYPY_CACHE_DIR": "../mypy_cache"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def mypy(folder):
    pytest.importorskip("mypy", reason="mypy is not installed")
    programs = sorted(program.name for program in folder.glob("*.py"))
    return checked(folder, sys.executable, "-m", "mypy", *programs)


def pyright(folder):
    command = shutil.which("basedpyright") or shutil.which("pyright")
    if command is None:
        pytest.skip("neither basedpyright nor pyright is installed")
    return checked(folder, command)


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_programs_of_users_have_no_errors(folder, checker):
    done = checker(folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_what_the_programs_expect_to_be_wrong_is_reported(folder, checker):
    program = folder / "revealed.py"
    program.write_text(program.read_text().replace("  # type: ignore", ""))
    done = checker(folder)
    wrong = {
        number
        for number, line in enumerate((PROGRAMS / "revealed.py").read_text().splitlines(), 1)
        if line.endswith("# type: ignore")
    }
    places = {line.split(":")[1] for line in done.stdout.splitlines() if "revealed.py:" in line}
    assert len(wrong) > 12 and {int(place) for place in places} == wrong, done.stdout


def stubs():
    """Each stub with the name of its module."""
    for path in sorted(PACKAGE.glob("**/*.pyi")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


def names(body, module):
    """What statements of a stub define, without what they import for themselves."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.AnnAssign):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets)
        elif isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            source = importlib.import_module(node.module, module)
            exported = getattr(source, "__all__", None)
            yield from (
                (n for n in vars(source) if not n.startswith("_"))
                if exported is None
                else (exported)
            )
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname for alias in node.names if alias.asname)


def public(found):
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("module, path", [*stubs()], ids=lambda value: str(value))
def test_stubs_have_the_names_of_run_time(module, path):
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError:  # a submodule of the core is an attribute
        loaded = mx
        for part in module.split(".")[2:]:
            loaded = getattr(loaded, part)
    body = ast.parse(path.read_text()).body
    imported = {
        alias.asname or alias.name
        for node in body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    there = public(vars(loaded))
    assert public(names(body, module)) <= there
    assert there <= public(names(body, module)) | imported | submodules(loaded)
    for node in body:
        if isinstance(node, ast.ClassDef) and hasattr(loaded, node.name):
            members = public(names(node.body, module))
            at_run_time = public(vars(getattr(loaded, node.name)))
            assert members == at_run_time, node.name


def submodules(module):
    return {name for name, value in vars(module).items() if inspect.ismodule(value)}


@pytest.mark.parametrize(
    "package", [layers, optim.optimizers, cermet._more], ids=lambda p: p.__name__
)
def test_lists_written_out_are_whole(package):
    """Type checkers understand no list that is put together of others."""
    parts = [vars(package)[name] for name in submodules(package) - NOT_PARTS]
    whole = {name for part in parts for name in getattr(part, "__all__", ())}
    if package is layers:  # which leaves functions out
        whole = {name for name in whole if isinstance(getattr(nn, name, None), type)}
    assert whole <= set(package.__all__)


def test_layers_and_parameters_are_completed():
    class Model(nn.Module):
        other = nn.ModuleInfo(key="renamed")

        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)
            self.other = [nn.ReLU()]
            self.setting = 3
            self["no identifier"] = mx.ones(1)

    found = dir(Model())
    assert {"first", "other", "renamed", "setting", "parameters", "training"} <= set(found)
    assert "no identifier" not in found and found == sorted(found)
    assert {"weight", "bias"} <= set(dir(nn.Linear(2, 3)))
    assert not hasattr(nn.Linear, "weight")


def test_activations_are_classes_of_their_module():
    found = [
        value for name, value in vars(nn.activations).items() if name in nn.activations.__all__
    ]
    classes = [value for value in found if isinstance(value, type)]
    assert len(classes) == 25
    for one in classes:
        assert (
            issubclass(one, nn.Module) and one.__doc__ and one.__module__ == "cermet.nn.activations"
        )
