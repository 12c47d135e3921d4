"""Makes ``import mlx`` mean Cermet in this process, so that packages written for MLX run on it.

Importing this module is all: ``import cermet.as_mlx`` before the first ``import mlx``,
``python -m cermet.as_mlx program.py``, or ``pytest -p cermet.as_mlx``. Modules, types and functions
go by MLX's names from then on: ``str(mx.float32)`` is "mlx.core.float32". Python processes that
this one starts do the same.

Everything below ``mlx`` that Cermet has is the same objects as below ``cermet``, whether MLX is
installed or not. C++ extensions of MLX are the exception: they need MLX's own library.

Kernels of ``mx.fast.metal_kernel`` run on the GPU. Where there is none they run on the simulator,
if that is installed, and all the rest on the CPU.
"""

from __future__ import annotations

import copy
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any

import cermet
from cermet import core, nn, optimizers, utils
from cermet._loading import _variable

__all__ = ["API_VERSION"]

API_VERSION = "0.32.4"
"""The version of MLX whose names and meanings these are: what ``mlx.core.__version__`` says."""

_MODULES = ("core", "extension", "nn", "optimizers", "utils")
# Where MLX defines what Cermet defines in another module.
_PLACES = {
    "cermet.nn.activations": "mlx.nn.layers.activations",
    "cermet.nn.base": "mlx.nn.layers.base",
    **{
        f"cermet.optimizers.{name}": "mlx.optimizers.optimizers"
        for name in ("adam", "adaptive", "base", "clip", "muon", "sgd")
    },
}


def _is_ours(name: str, top: str) -> bool:
    parts = name.split(".")
    return parts[0] == top and parts[1:2] != [] and parts[1] in _MODULES


def _renamed(name: str) -> str:
    return "mlx" + name.removeprefix("cermet") if name.startswith("cermet") else name


class _Loader(importlib.abc.Loader):
    """Loads the package mlx, or Cermet's module of a name below it."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        if spec.name == "mlx":
            return None
        module = importlib.import_module("cermet" + spec.name.removeprefix("mlx"))
        self.spec = module.__spec__  # the import system puts another in its place
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == "mlx":
            _fill(module)
        else:
            module.__spec__ = self.spec
            _rename(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds mlx and what is below it, and the distribution that is asked for its version."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == "mlx":
            return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)
        if fullname == "mlx.data":  # another package's, which needs nothing of MLX
            folders = [os.path.join(folder, "mlx") for folder in sys.path]
            return importlib.machinery.PathFinder.find_spec(fullname, folders)
        if _is_ours(fullname, "mlx") and _exists("cermet" + fullname.removeprefix("mlx")):
            return importlib.machinery.ModuleSpec(fullname, _Loader())
        return None

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        name = None if context is None else context.name
        return [_Distribution()] if name is None or name.lower() == "mlx" else []


def _exists(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # below what is no package
        return False


class _Distribution(importlib.metadata.Distribution):
    """The distribution mlx, as far as there is something to say of it."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        summary = f"MLX's API, by Cermet {cermet.__version__}"
        return f"Metadata-Version: 2.1\nName: mlx\nVersion: {API_VERSION}\nSummary: {summary}\n"

    def locate_file(self, path: Any) -> Any:
        return os.path.join(os.path.dirname(cermet.__file__), path)


def _fill(package: types.ModuleType) -> None:
    package.core, package.nn = core, nn  # type: ignore[attr-defined]
    package.optimizers, package.utils = optimizers, utils  # type: ignore[attr-defined]
    for name, module in list(sys.modules.items()):
        if _is_ours(name, "cermet"):
            sys.modules[_renamed(name)] = module
            _rename(module)


def _rename(module: types.ModuleType) -> None:
    """Lets a module, and what is defined in it, go by MLX's names."""
    module.__name__ = _renamed(module.__name__)
    if module.__spec__ is not None:
        module.__spec__ = copy.copy(module.__spec__)
        module.__spec__.name = module.__name__
    for thing in vars(module).values():
        if isinstance(thing, (type, types.FunctionType)):
            home = thing.__module__
            if isinstance(home, str) and _is_ours(home, "cermet"):
                thing.__module__ = _PLACES.get(home) or _renamed(home)


def _take_a_simulator() -> None:
    """Makes the simulator the GPU where there is none; the CPU stays the default device.

    The environment's word is kept. Where a device was asked for before, it is too late.
    """
    simulator = getattr(core, "simulator", None)
    if os.environ.get("CERMET_METAL") or simulator is None or not simulator.compiler_available():
        return
    with _variable("CERMET_METAL", "simulator"):
        if core.is_available(core.gpu):
            core.set_default_device(core.cpu)


def _begin() -> None:
    if "mlx.core" in sys.modules:
        raise ImportError("cermet.as_mlx: MLX is imported already; import cermet.as_mlx before it")
    _take_a_simulator()
    core.__version__ = API_VERSION
    sys.modules.pop("mlx", None)
    sys.meta_path.insert(0, _Finder())
    importlib.import_module("mlx")
    # For processes that this one starts: by the environment, and by what multiprocessing hands on.
    children = os.path.join(os.path.dirname(__file__), "children")
    paths = [children, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if children not in sys.path:
        sys.path.append(children)


def pytest_report_header() -> str:
    """What pytest prints above its results."""
    kernels = "there is no GPU for Metal kernels"
    if core.is_available(core.gpu):
        kernels = f"Metal kernels on {core.device_info(core.gpu)['device_name']}"
    return f"mlx: Cermet {cermet.__version__}, {core.default_device()}; {kernels}"


_begin()
