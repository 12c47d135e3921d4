"""Runs what was found before, each program of corpus/ again: it must end as a sound one does."""

import glob
import os

from bits import unlike
from calls import verdict
from differential import known
from schedules import process

HERE = os.path.dirname(os.path.abspath(__file__))


def problem(session, fuzzer, code):
    """What is wrong with a program now, or None."""
    if fuzzer == "schedules":
        session.programs += 1
        status, errors = process(code)
        return f"status {status} {errors[-200:]}" if status != 0 else None
    answer = session.run(code, 6, 3 << 30)
    said = answer.get("said")
    if found := verdict(answer):
        return " ".join(found)
    if isinstance(said, dict):
        return unlike(said) or None
    return said if said and not known(code, said) else None


def fuzz(session):
    """All of the corpus, once."""
    for path in sorted(glob.glob(os.path.join(HERE, "corpus", "*", "*.py"))):
        with open(path) as file:
            code = file.read()
        fuzzer = os.path.basename(os.path.dirname(path))
        if found := problem(session, fuzzer, code):
            session.found(
                "corpus", os.path.relpath(path, HERE).replace("/", " "), code, str(found)[:300]
            )
