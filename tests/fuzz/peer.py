"""Compares random calls of everything public with mlx: values, shapes, types and classes of errors.

Each library has a process of its own (room/answers.py); recipes.py says what calls look like.
Differences that docs/from-mlx.md explains stand in agreement.py; everything else is a finding.
"""

import json
import os
import pickle
import subprocess
import sys

from agreement import difference, explained
from drawn import Calls
from room.findings import form

HERE = os.path.dirname(os.path.abspath(__file__))
BUNCH = 60  # programs that a fork runs


class Library:
    """A process that answers with one library."""

    def __init__(self, name):
        python = (
            os.environ.get("FUZZ_MLX_PYTHON", sys.executable) if name == "mlx" else sys.executable
        )
        self.process = subprocess.Popen(
            [python, os.path.join(HERE, "room", "answers.py"), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Compiled for a CPU, its functions wait for a C++ compiler.
            env={**os.environ, "PYTHONHASHSEED": "0", "MLX_DISABLE_COMPILE": "1"},
        )

    def ask(self, programs):
        """Sends programs, whose answers `answers` gives."""
        self.process.stdin.write(json.dumps(programs).encode() + b"\n")
        self.process.stdin.flush()

    def answers(self):
        return pickle.load(self.process.stdout)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def signature(what, found):
    """What differences are counted under: the function and the kind of difference."""
    return f"{what} | {form(found.split(',')[0])[:60]}"


def fuzz(session):
    """Compares until the time is over."""
    libraries = [Library("mlx"), Library("cermet")]
    calls = Calls(session.random)
    counts = {}
    try:
        while session.running():
            drawn = [calls.drawn() for _ in range(BUNCH)]
            for library in libraries:
                library.ask([code for _, code in drawn])
            theirs, ours = (library.answers() for library in libraries)
            session.programs += len(drawn)
            for (what, code), expected, got in zip(drawn, theirs, ours, strict=True):
                counts[what] = counts.get(what, 0) + 1
                found = difference(code, expected, got)
                if found and not explained(what, code, found, expected, got):
                    session.found("differs", signature(what, found), code, found)
    finally:
        for library in libraries:
            library.close()
    if path := os.environ.get("FUZZ_COUNTS"):
        with open(path, "w") as file:
            json.dump(counts, file)
