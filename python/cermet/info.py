"""What a bug report needs: ``python -m cermet.info`` prints it.

Versions and the build, what the processor and the GPU are and how they are used, limits, and the
environment variables that are set, with what they do.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import cermet.core as mx

__all__ = ["VARIABLES", "info", "report"]

VARIABLES = {
    "CERMET_CACHE": "folder for what the simulator compiles; "
    "else XDG_CACHE_HOME/cermet, ~/.cache/cermet",
    "CERMET_DISABLE_COMPILE": "if set, compiled functions run as they were written",
    "CERMET_ISA": "instruction set of the kernels, up to the best that the processor has: "
    "v2, v3, v4, v4_bf16, v4_amx on x86-64, base or base_bf16 elsewhere",
    "CERMET_MACHINE_CODE": "when row programs become machine code: 0 never, 1 when it pays, always",
    "CERMET_METAL": "the GPU: simulator (Linux), off, or any that there is",
    "CERMET_METAL_COUNT": "1: the simulator counts what kernels do",
    "CERMET_METAL_SANITIZE": "1: the simulator looks for races, bounds and uninitialised reads",
    "CERMET_METAL_SHUFFLE": "a number: the simulator runs in a random order that follows from it",
    "CERMET_NUM_THREADS": "threads of the CPU, 1 to 4096; else as many as the process may run on",
    "CERMET_PERF_MAP": "if set, names of machine code go to /tmp/perf-PID.map for perf and gdb",
    "CERMET_SOURCE": "folder of Cermet's source, for cermet-bench bars",
    "CERMET_ZIG": "path of the compiler zig, which the simulator uses",
}
"""The environment variables that Cermet reads, and what each does."""


def info() -> dict[str, str]:
    """The facts that :func:`report` prints, by name.

    It starts a process that says what instruction set the processor has.

    Example::

        cermet.info.info()["version"]
    """
    device, gpu = mx.device_info(mx.cpu), "none"
    if mx.metal.is_available():
        of_gpu = mx.device_info(mx.gpu)
        gpu = ", ".join(f"{key} {value}" for key, value in of_gpu.items())
    return {
        "version": mx.__version__,
        "build": str(Path(getattr(mx, "__file__", None) or "?").name),
        "Python": f"{platform.python_version()}, {platform.python_implementation()}",
        "platform": platform.platform(),
        "packages": _packages("numpy", "mlx", "torch", "ziglang"),
        "processor": f"{device['device_name']}, {device['cores']} cores",
        "instruction set": _instruction_set(),
        "threads": str(mx.get_num_threads()),
        "BLAS": _blas(),
        "GPU": gpu,
        "default device": str(mx.default_device()),
        "memory": f"{_size(device['memory_size'])}, limit {_size(mx.get_memory_limit())}",
    }


def report() -> str:
    """What ``python -m cermet.info`` prints: the facts, and the environment variables."""
    facts = info()
    width = max(map(len, facts))
    lines = [f"{name.ljust(width)}  {fact}" for name, fact in facts.items()]
    known = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    lines += [
        "",
        "Environment variables that are set:" if known else "No environment variable is set.",
    ]
    lines += [f"  {name}={value}  ({VARIABLES[name]})" for name, value in known.items()]
    unknown = sorted(
        name for name in os.environ if name.startswith("CERMET_") and name not in known
    )
    if unknown:
        lines.append(f"Not read by Cermet: {', '.join(unknown)}")
    lines.append("Those that can be set:")
    lines += [f"  {name}: {use}" for name, use in VARIABLES.items() if name not in known]
    return "\n".join(lines)


def _size(count: object) -> str:
    return f"{int(str(count)) / 2**30:.1f} GiB"


def _packages(*names: str) -> str:
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found) or "none"


def _instruction_set() -> str:
    # The core tells what the processor has when it is asked for what no processor has.
    code = "import cermet.core as mx\nwith mx.stream(mx.cpu): mx.eval(mx.ones(3) + 1)"
    environment = os.environ | {"CERMET_ISA": "none", "CERMET_METAL": "off"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    found = re.search(r"CERMET_ISA=none: this processor has up to (\w+)", done.stderr)
    most = found[1] if found else "unknown"
    return f"{os.environ.get('CERMET_ISA') or most} (the processor has up to {most})"


def _blas() -> str:
    if sys.platform == "darwin":
        return "Accelerate"
    try:
        maps = Path("/proc/self/maps").read_text()
    except OSError:
        return "unknown"
    libraries = sorted(
        {Path(line.split()[-1]).name for line in maps.splitlines() if "blas" in line}
    )
    packages = _packages("scipy-openblas32")
    return ", ".join([*libraries, packages]) if libraries else "none"


if __name__ == "__main__":
    print(report())
