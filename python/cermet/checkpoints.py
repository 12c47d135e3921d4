"""States of a training run in files: saved whole or not at all, the last few kept, and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, Protocol

import cermet.core as mx
from cermet.nn.base import Module
from cermet.nn.update import VerifyUpdate
from cermet.utils import tree_flatten, tree_unflatten

__all__ = ["Checkpoints", "HasState"]

_NAME = re.compile(r"step-(\d+)\.safetensors")
_OWN = ("model", "random")


class HasState(Protocol):
    """An optimizer, a schedule, a mean of parameters: what has a ``state`` to read and to set."""

    state: Any


class Checkpoints:
    """The checkpoints of a run: a folder with a file for each step that was saved.

    A checkpoint has the model's parameters, the random state, the states of what else the run has
    (an optimizer's counts its steps, so its schedule is in it) and a log of the program's own. Its
    file appears under its name when it is whole and on the disk, so a run that is killed at any
    moment finds the last one. It is a safetensors file: other programs can read it.

    Args:
        folder: where the files are; made if it is not there.
        keep: how many are kept, the last ones; None keeps all.

    Raises:
        ValueError: ``keep`` is less than 1.

    Example::

        checkpoints = cermet.checkpoints.Checkpoints("run", keep=3)
        step, log = checkpoints.restore(model, optimizer=optimizer) or (0, [])
        while step < 1000:
            log.append(train_step(model, optimizer, step))
            step += 1
            if step % 100 == 0:
                checkpoints.save(step, model, log, optimizer=optimizer)
    """

    def __init__(self, folder: str | os.PathLike[str], keep: int | None = 3):
        if keep is not None and keep < 1:
            raise ValueError(f"Checkpoints: keep is {keep}, expected at least 1, or None")
        self.folder, self.keep = Path(folder), keep

    def path(self, step: int) -> Path:
        """The file of a step, which need not be there."""
        return self.folder / f"step-{step:08}.safetensors"

    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, the last one last."""
        if not self.folder.is_dir():
            return []
        found = [_NAME.fullmatch(name) for name in os.listdir(self.folder)]
        return sorted(int(match[1]) for match in found if match)

    def save(self, step: int, model: Module, log: Any = None, **states: HasState) -> Path:
        """Save a checkpoint, then remove those that are too many.

        Args:
            step: how many steps are done, 0 or more. Another checkpoint of this step is replaced.
            model: its parameters are saved.
            log: what JSON can hold; :meth:`restore` gives it back.
            states: what else to save, by name: optimizers and all that has a ``state``, a tree of
                arrays, numbers and strings.

        Returns:
            The file.

        Raises:
            ValueError: a negative step, or a name that the checkpoint has itself.
            TypeError: something in a state or the log that a file cannot hold.
            OSError: the file cannot be written; the checkpoints before it are still there.
        """
        if step < 0:
            raise ValueError(f"Checkpoints.save: step is {step}, expected 0 or more")
        self._check_names("save", states)
        trees: dict[str, Any] = {name: owner.state for name, owner in states.items()}
        trees |= {"model": model.parameters(), "random": mx.random.state[0]}
        arrays: dict[str, mx.array] = {}
        plain: dict[str, Any] = {}
        for path, leaf in tree_flatten(trees):
            (arrays if isinstance(leaf, mx.array) else plain)[path] = leaf
        metadata = {"step": str(step), "log": json.dumps(log), "plain": json.dumps(plain)}
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.path(step)
        mx.save_safetensors(file, arrays, metadata)  # which replaces when all is on the disk
        if self.keep is not None:
            for old in self.steps()[: -self.keep]:
                if old != step:
                    with contextlib.suppress(FileNotFoundError):
                        self.path(old).unlink()
        return file

    def restore(
        self, model: Module, step: int | None = None, **states: HasState
    ) -> tuple[int, Any] | None:
        """Put a checkpoint's values into a model, the random state and the objects given.

        Args:
            model: has the parameters of the one that was saved, in keys and shapes.
            step: whose checkpoint; by default the last one.
            states: as for :meth:`save`.

        Returns:
            The step and the log, or None if there is no checkpoint and no step was asked for.

        Raises:
            FileNotFoundError: there is none of the step.
            KeyError: an object has no state in the checkpoint.
            UpdateError: the parameters are not those of the model. Nothing has changed then.
        """
        self._check_names("restore", states)
        there = self.steps()
        if step is None:
            if not there:
                return None
            step = there[-1]
        file = self.path(step)
        if step not in there:
            raise FileNotFoundError(f"Checkpoints.restore: no {file}, but steps {there}")
        arrays, metadata = mx.load(file, return_metadata=True)
        tree = tree_unflatten({**arrays, **json.loads(metadata["plain"])})
        if missing := [name for name in states if name not in tree]:
            raise KeyError(
                f"Checkpoints.restore: {file} has no state of {', '.join(missing)}, "
                f"but of {', '.join(name for name in tree if name not in _OWN) or 'nothing'}"
            )
        model.update(tree.get("model", {}), verify=VerifyUpdate.ALL)
        mx.random.state[0] = tree["random"]
        for name, owner in states.items():
            owner.state = tree[name]
        return step, json.loads(metadata["log"])

    def _check_names(self, method: str, states: dict[str, HasState]) -> None:
        if wrong := [name for name in states if name in _OWN]:
            raise ValueError(f"Checkpoints.{method}: a state cannot have the name {wrong[0]}")
