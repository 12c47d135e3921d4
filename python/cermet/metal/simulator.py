"""Runs and checks Metal kernels without a GPU.

A kernel is compiled for this machine's CPU and executed faithfully: threadgroups, simdgroups of 32
lanes that wait for each other, barriers. With ``sanitize`` every access to memory is checked::

    y = numpy.zeros(100, numpy.float32)
    launch(source, "scale", {0: x, 1: y}, grid=100, group=32, sanitize=True)

The compiler is that of the package ``ziglang``. Compiled kernels are kept in a cache on disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from cermet.core import simulator as _core

CompileError = _core.CompileError
SanitizerError = _core.SanitizerError

compiler_available = _core.compiler_available
counters = _core.counters
reset_counters = _core.reset_counters
set_faults = _core.set_faults
set_mode = _core.set_mode

__all__ = [
    "CompileError",
    "SanitizerError",
    "compiler_available",
    "counters",
    "kernels",
    "launch",
    "reset_counters",
    "set_faults",
    "set_mode",
]


def launch(
    source: str | os.PathLike[str],
    kernel: str,
    buffers: Mapping[int, Any],
    grid: int | Sequence[int],
    group: int | Sequence[int],
    *,
    threadgroup: Sequence[int] = (),
    constants: Mapping[int, bool | int | float] | None = None,
    sanitize: bool = False,
    count: bool = False,
    shuffle: int | None = None,
    groups: bool = False,
    include: Sequence[str | os.PathLike[str]] = (),
    macros: Mapping[str, str | int] | None = None,
) -> dict[str, int]:
    """Runs a kernel to its end and returns what it ran and moved.

    Args:
        source: Metal source, or the path (a `pathlib.Path`) of a file of it. What a file includes
            is looked up beside it first.
        kernel: The kernel's name, or its ``host_name``.
        buffers: The arguments by slot: contiguous objects with the buffer protocol, such as NumPy
            arrays. What the kernel writes is in them afterwards; ``bytes`` are read-only.
        grid: How many threads, along one to three axes. At its edge threadgroups are smaller.
        group: The threads of a threadgroup, likewise; at most 1024 in all.
        threadgroup: The sizes in bytes of threadgroup arguments, by slot; multiples of 16.
        constants: The values of function constants by index.
        sanitize: Check accesses: bounds, alignment, read-only memory, races, uninitialised
            threadgroup memory, and barriers that not all threads reach.
        count: Count the bytes moved.
        shuffle: Run the threads in a random order, drawn from this seed.
        groups: ``grid`` counts threadgroups.
        include: More folders for what the source includes.
        macros: Predefined macros and their values.

    Returns:
        Counts: dispatches, threadgroups, threads, simd_operations, simdgroup_macs (multiply-adds
        of simdgroup matrices), atomics, threadgroup_barriers (one for a threadgroup),
        simdgroup_barriers, max_threadgroup_bytes, max_threads; with ``count`` also the bytes
        device_read, device_written, constant_read, threadgroup_read and threadgroup_written.

    Raises:
        CompileError: The source is not valid Metal.
        SanitizerError: Findings, one a line: what happened, the kernel, the thread, the line.
        ValueError: An argument that the kernel cannot be run with.
        TypeError: A buffer without the buffer protocol.
        RuntimeError: There is no compiler.
    """
    source, options = _read(source, include, macros)
    return _core.launch(
        source,
        kernel,
        dict(buffers),
        grid,
        group,
        threadgroup=list(threadgroup),
        constants=dict(constants or {}),
        sanitize=sanitize,
        count=count,
        shuffle=shuffle,
        groups=groups,
        **options,
    )


def kernels(
    source: str | os.PathLike[str],
    *,
    include: Sequence[str | os.PathLike[str]] = (),
    macros: Mapping[str, str | int] | None = None,
) -> dict[str, list[int]]:
    """Compiles Metal source and returns its kernels.

    Args:
        source: Metal source, or the path (a `pathlib.Path`) of a file of it. What a file includes
            is looked up beside it first.
        include: More folders for what the source includes.
        macros: Predefined macros and their values.

    Returns:
        The slots of each kernel's buffers, by the kernel's name or ``host_name``.

    Raises:
        CompileError: The source is not valid Metal.
        RuntimeError: There is no compiler.
    """
    source, options = _read(source, include, macros)
    return _core.kernels(source, **options)


def _read(
    source: str | os.PathLike[str],
    include: Sequence[str | os.PathLike[str]],
    macros: Mapping[str, str | int] | None,
) -> tuple[str, dict[str, Any]]:
    """The text, and the options that say where it is from."""
    label, folders = "kernel.metal", [os.fspath(folder) for folder in include]
    if not isinstance(source, str):
        label = os.path.basename(source)
        folders.insert(0, os.path.dirname(source) or ".")
        with open(source, encoding="utf-8") as file:
            source = file.read()
    named = {name: str(value) for name, value in (macros or {}).items()}
    return source, {"label": label, "include": folders, "macros": named}
