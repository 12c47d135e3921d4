"""The fuzzers' end of a process that runs programs (server.py)."""

import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


class Zygote:
    """Runs programs, each in a fork of a process with Cermet imported and nothing done yet."""

    def __init__(self, environment=None):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "server.py")],
            env={**os.environ, "PYTHONHASHSEED": "0", **(environment or {})},
            cwd=os.environ.get("TMPDIR"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code, seconds=5.0, limit=2 << 30):
        """How a program ended, as a dict (see server.py)."""
        request = json.dumps({"code": code, "seconds": seconds, "bytes": limit})
        print(request, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server ended with {self.process.wait()} on:\n{code}")
        return json.loads(answer)

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
