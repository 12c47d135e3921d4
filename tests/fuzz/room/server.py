"""The process that runs programs. It imports Cermet once and forks for each program, so that every
program starts from the same state, and may crash, hang or eat memory.

It reads a request a line from its input, {"code", "seconds", "bytes"}, and answers with a line: how
the program ended ("ok", "raised", "crash", "slow", "hang" or "memory") and what it said.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time

import prelude

GRACE = 3  # seconds that a program has to answer Ctrl-C, of which others may have the processors
PATIENCE = 60  # seconds after which nothing comes any more, whoever had these


def resident(process):
    """Bytes of memory that a process has."""
    try:
        with open(f"/proc/{process}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def worked(process):
    """Seconds that a program's threads have run, on one processor after another."""
    try:
        with open(f"/proc/{process}/stat") as file:
            ticks = file.read().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") / os.cpu_count()
    except (OSError, IndexError):
        return 0


def run(code, limit, write):
    """Runs a program in this, the forked, process and writes what became of it."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + limit, mapped + limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    names = {name: value for name, value in vars(prelude).items() if name[:2] != "__"}
    names["__name__"] = "program"
    answer = {"end": "ok"}
    try:
        exec(compile(code, "<program>", "exec"), names)
        answer["said"] = names.get("said")
    except BaseException as error:
        answer = {"end": "raised"} | prelude.described(error)
    answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer["counted"] = prelude.mx.get_peak_memory()
    os.write(write, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def watch(process, read, seconds, limit):
    """Waits for a program's answer within its limits, then ends it."""
    began, message, interrupted, most = time.monotonic(), b"", None, 0
    pause, closed = 0.001, False
    while not message.endswith(b"\n"):
        if select.select([read], [], [], pause)[0]:
            part = os.read(read, 1 << 16)
            message += part
            closed = not part
            if closed:
                break
            continue
        pause = min(pause * 2, 0.05)
        most = max(most, resident(process))
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if not select.select([read], [], [], 0)[0]:
                break
        elif most > limit:
            break
        elif interrupted is None and time.monotonic() - began > seconds:
            os.kill(process, signal.SIGINT)
            interrupted, before = time.monotonic(), worked(process)
        elif interrupted and (
            worked(process) - before > GRACE or time.monotonic() - interrupted > PATIENCE
        ):
            break
    for _ in range(100):  # a process that dies closes its pipe first
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended or not closed:
            break
        time.sleep(0.01)
    if message.endswith(b"\n"):
        answer = json.loads(message)
        if interrupted and answer.get("type") == "KeyboardInterrupt":
            answer["end"] = "slow"
    elif ended:
        killed = ended.si_code != os.CLD_EXITED
        cause = signal.Signals(ended.si_status).name if killed else f"status {ended.si_status}"
        answer = {"end": "slow" if cause == "SIGINT" else "crash", "text": cause}
    else:
        answer = {"end": "hang"} if most <= limit else {"end": "memory", "peak": most}
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            end(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return answer | {"seconds": round(time.monotonic() - began, 3)}


def serve():
    """Answers requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    output = os.memfd_create("output")
    for descriptor in (1, 2):  # what a program and its libraries print is theirs
        os.dup2(output, descriptor)
    for line in sys.stdin:
        request = json.loads(line)
        os.ftruncate(output, 0)
        os.lseek(output, 0, os.SEEK_SET)
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            run(request["code"], request["bytes"], write)
        os.close(write)
        answer = watch(process, read, request["seconds"], request["bytes"])
        os.close(read)
        size = os.fstat(output).st_size
        printed = os.pread(output, 600, max(0, size - 600))
        answer["printed"] = printed.decode("ascii", "backslashreplace")
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
