"""What the build scripts of C++ extensions of MLX import, so that they can say what is amiss.

An extension of MLX is C++ written against MLX's headers and library. Neither Cermet nor
`cermet.as_mlx` can stand in for those: the classes can be made, and building them is an error.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

__all__ = ["BuildExtension", "CMakeBuild", "CMakeExtension", "MetalExtension", "MetalLibrary"]


class MetalLibrary:
    """A library of Metal kernels, compiled from sources."""

    def __init__(
        self,
        name: str,
        sources: Sequence[os.PathLike[str] | str],
        *,
        extra_compile_args: Sequence[str] = (),
        deployment_target: str | None = None,
    ) -> None:
        self.name = name
        self.sources = [os.fspath(source) for source in sources]
        self.extra_compile_args = list(extra_compile_args)
        self.deployment_target = deployment_target


class MetalExtension(Extension):
    """An extension module with libraries of Metal kernels."""

    def __init__(
        self,
        name: str,
        sources: Sequence[os.PathLike[str] | str],
        *args: Any,
        metal_libraries: Sequence[MetalLibrary] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, [os.fspath(source) for source in sources], *args, **kwargs)
        self.metal_libraries = list(metal_libraries or ())


class CMakeExtension(Extension):
    """An extension module that CMake builds in a folder."""

    def __init__(self, name: str, sourcedir: str = "") -> None:
        super().__init__(name, sources=[])
        self.sourcedir = os.path.abspath(sourcedir)


class CMakeBuild(build_ext):
    """The command that would build a :class:`CMakeExtension`; it says why it cannot."""

    def build_extension(self, ext: Extension) -> None:
        """CompileError: there is nothing to build against."""
        raise CompileError(
            f"{ext.name}: C++ extensions of MLX need MLX's own library. Write the kernel with "
            "mx.fast.metal_kernel, or an extension of Cermet in C++: find_package(cermet)"
        )

    def run(self) -> None:
        """CompileError where there is an extension to build."""
        for ext in self.extensions or ():
            self.build_extension(ext)


class BuildExtension(CMakeBuild):
    """The command that would build a :class:`MetalExtension`; it says why it cannot."""

    @classmethod
    def with_options(cls, **options: Any) -> type[BuildExtension]:
        """A class of commands; the options say how to build."""
        return type(cls.__name__, (cls,), {"options": options})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
