"""The thread that runs a model for many: requests come and go between its steps."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import cermet.core as mx
from cermet.llm.batch import Batch, Member
from cermet.llm.run import Runner
from cermet.llm.sample import Sampling

PIECE = 128  # tokens of a prompt between two steps: others wait no longer than these take
IDLE = 5.0  # seconds without work after which free memory goes back to the system

_log = logging.getLogger("cermet.llm")


class Full(Exception):
    """All places are taken, and the queue is full."""


class Closed(Exception):
    """The engine has stopped."""


@dataclass(eq=False)
class Job:
    """A text to be continued.

    Args:
        prompt: its tokens.
        sampling: how the next ones are chosen.
        max_tokens: how many there are at most, one or more; None: as many as there is room for.
        put: is given each token as it comes, at last "stop", "length" or what went wrong; it is
            called in the engine's thread and must not wait.
    """

    prompt: Sequence[int]
    sampling: Sampling
    max_tokens: int | None
    put: Callable[[int | str | Exception], None]


class Engine:
    """Runs a model in a thread of its own, for several texts at once.

    Each step continues all texts that have a place. Between two steps, texts leave and others take
    their places; of one prompt at a time a piece is computed, of several in turn. No text has other
    tokens than it would have alone (docs/invariance.md).

    Args:
        runner: what runs the model.
        limit: for how many tokens of a text there is room; None: as many as the model was trained
            for.
        ends: tokens that end a text; they are not given.
        places: how many texts are continued at once.
        queue: how many more may wait for a place.
        piece: how many tokens of a prompt are computed between two steps.

    Raises:
        ValueError: there is no place, the queue is negative, or a piece has no token.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        limit: int | None = None,
        ends: Collection[int] = (),
        places: int = 8,
        queue: int = 32,
        piece: int = PIECE,
    ):
        for name, value, least in (("places", places, 1), ("queue", queue, 0), ("piece", piece, 1)):
            if value < least:
                raise ValueError(f"Engine: {name} is {value}, expected at least {least}")
        self.ends, self.places, self.queue, self.piece = ends, places, queue, piece
        self._batch = Batch(runner, limit)
        self.limit = self._batch.limit
        # Shared with other threads, under the lock of `_changed`.
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: dict[Job, Member | None] = {}  # in the order in which prompts have turns
        self._left: set[Job] = set()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def counts(self) -> tuple[int, int]:
        """How many texts have a place, and how many wait for one."""
        with self._changed:
            return len(self._running), len(self._waiting)

    def submit(self, jobs: Sequence[Job]) -> None:
        """Takes all of the jobs, or none.

        Raises:
            Full: there is no room for them now.
            Closed: the engine has stopped.
        """
        with self._changed:
            if self._closed:
                raise Closed("the engine has stopped")
            taken = len(self._running) + len(self._waiting)
            if taken + len(jobs) > self.places + self.queue:
                raise Full(f"{taken} texts are being written or wait, and there is room for "
                           f"{self.places + self.queue}")  # fmt: skip
            self._waiting.extend(jobs)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="cermet.llm engine", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def cancel(self, jobs: Collection[Job]) -> None:
        """Lets jobs go, whether they wait, run or are done; they are given nothing more but what is
        on its way."""
        with self._changed:
            self._waiting = [job for job in self._waiting if job not in jobs]
            self._left.update(job for job in jobs if job in self._running)
            self._changed.notify()

    def close(self) -> None:
        """Stops after the step that runs; jobs that are not done are given :class:`Closed`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    # ---- In the thread ----

    def _run(self) -> None:
        while self._next():
            for job in self._turn():
                self._try([job], self._prompt)
            if self._batch.members:
                self._try(self._written(), self._step)
        with self._changed:
            rest = [*self._running, *self._waiting]
            self._running.clear()
            self._waiting.clear()
        self._batch.remove(self._batch.members)
        for job in rest:
            job.put(Closed("the engine has stopped"))

    def _next(self) -> bool:
        """Waits for something to do; lets jobs go that were left, and others take their places."""

        def ready() -> bool:
            return bool(self._closed or self._waiting or self._running)

        with self._changed:
            if not self._changed.wait_for(ready, IDLE):
                mx.clear_cache()
                self._changed.wait_for(ready)
            if self._closed:
                return False
            left, self._left = self._left, set()
        self._try(self._written(), lambda _: self._drop(left))
        with self._changed:
            count = self.places - len(self._running)
            new, self._waiting = self._waiting[:count], self._waiting[count:]
            self._running.update(dict.fromkeys(new))
        return True

    def _written(self) -> list[Job]:
        """The jobs whose prompts are computed."""
        return [job for job, member in self._running.items() if member and not member.rest]

    def _turn(self) -> list[Job]:
        """The job whose prompt has its turn, if any; the next time it is another's."""
        for job, member in self._running.items():
            if member is None or member.rest:
                with self._changed:
                    self._running[job] = self._running.pop(job)
                return [job]
        return []

    def _prompt(self, jobs: Sequence[Job]) -> None:
        (job,) = jobs
        member = self._running[job]
        if member is None:
            member = self._batch.begin(job.prompt, job.sampling, max_tokens=job.max_tokens)
            with self._changed:
                self._running[job] = member
        self._batch.take_up(member, self.piece)
        if not member.rest:
            self._give(jobs)

    def _step(self, jobs: Sequence[Job]) -> None:
        self._batch.step()
        self._give(jobs)

    def _give(self, jobs: Sequence[Job]) -> None:
        """Hands out the last token of each, and lets go of those that are done."""
        done: dict[Job, str] = {}
        for job in jobs:
            member = self._running[job]
            assert member is not None
            token = member.answer[-1]
            if token in self.ends:
                done[job] = "stop"
                continue
            job.put(token)
            if member.left <= 0:
                done[job] = "length"
        self._drop(done)
        for job, finish in done.items():
            job.put(finish)

    def _drop(self, jobs: Collection[Job]) -> None:
        with self._changed:
            members = [self._running.pop(job, None) for job in jobs]
        self._batch.remove([member for member in members if member is not None])

    def _try(self, jobs: Sequence[Job], work: Callable[[Sequence[Job]], None]) -> None:
        """Does work for jobs. Where it fails they are let go, and the engine lives on."""
        try:
            work(jobs)
        except Exception as error:  # noqa: BLE001  (whatever it is, others are to be served)
            _log.error("a step failed, and with it %d texts", len(jobs), exc_info=error)
            failed = [job for job in jobs if job in self._running]
            self._drop(failed)
            for job in failed:
                job.put(error)
