"""A run of a fuzzer: its random numbers, its time, and what is done with what it finds."""

import hashlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time

from .zygote import Zygote


def form(text):
    """A text without its numbers and names, so that two of one cause are equal."""
    text = re.sub(r"/\S*/", "/", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'", text)
    text = re.sub(r"0x[0-9a-f]+|-?\d+(\.\d+)?(e[+-]?\d+)?", "0", text)
    return re.sub(r"(0[, ]*)+", "0", text)


class Session:
    """What a fuzzer is given. Its programs depend on the seed alone."""

    def __init__(self, name, seconds, seed, corpus=None, log=None, most=None):
        self.name, self.seconds, self.corpus, self.most = name, seconds, corpus, most
        self.random = random.Random(seed)
        # A job in the background has its programs ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.log = log
        self.began = time.monotonic()
        self.programs = 0
        self.findings = {}
        self.zygotes = {}
        self.folder = tempfile.TemporaryDirectory()  # where programs put their files
        os.environ["TMPDIR"] = self.folder.name
        path = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # programs run elsewhere
        os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(part) for part in path if part)

    def elapsed(self):
        """Seconds since the start."""
        return time.monotonic() - self.began

    def running(self):
        """Whether there is time left, and a program to run."""
        return self.elapsed() < self.seconds and (not self.most or self.programs < self.most)

    def zygote(self, **environment):
        """The process that runs programs with these environment variables."""
        key = tuple(sorted(environment.items()))
        if key not in self.zygotes:
            self.zygotes[key] = Zygote(environment)
        return self.zygotes[key]

    def run(self, code, seconds=5.0, limit=2 << 30, **environment):
        """Runs a program (see server.py). A hang is one only if it is one with ample time, too."""
        self.programs += 1
        answer = self.zygote(**environment).run(code, seconds, limit)
        if answer["end"] == "hang":
            answer = self.zygote(**environment).run(code, 3 * seconds, limit)
        return answer

    def found(self, kind, signature, program, detail=""):
        """Reports a finding, unless one of its kind and signature was reported; keeps it."""
        key = (kind, form(signature))
        if key in self.findings:
            self.findings[key] += 1
            return False
        self.findings[key] = 1
        seconds = round(self.elapsed())
        print(f"[{seconds} s, {self.programs}] {kind}: {signature}\n    {detail}", flush=True)
        print("".join(f"    {line}\n" for line in program.splitlines()), flush=True)
        if self.log:
            entry = {"fuzzer": self.name, "seconds": seconds, "kind": kind, "detail": detail}
            with open(self.log, "a") as file:
                print(json.dumps(entry | {"signature": signature, "program": program}), file=file)
        if self.corpus:
            folder = os.path.join(self.corpus, self.name)
            os.makedirs(folder, exist_ok=True)
            name = hashlib.sha256(program.encode()).hexdigest()[:12] + ".py"
            with open(os.path.join(folder, name), "w") as file:
                file.write(f"# {kind}: {' '.join(detail.split())[:80]}\n{program.rstrip()}\n")
        return True

    def close(self):
        """Ends the processes and says what came of the run."""
        for zygote in self.zygotes.values():
            zygote.close()
        self.folder.cleanup()
        total = sum(self.findings.values())
        print(
            f"{self.name}: {self.programs} programs in {self.elapsed():.0f} s, "
            f"{len(self.findings)} findings ({total} with repetitions)",
            file=sys.stderr,
        )
