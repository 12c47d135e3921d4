"""Checkpoints: a resumed run has the bits of one left alone, and kills leave whole files."""

import signal
import subprocess
import sys
import time

import pytest

import cermet.core as mx
import cermet.nn as nn
import cermet.optimizers as optim
from cermet.checkpoints import Checkpoints
from cermet.utils import tree_flatten


class Run:
    """A model with dropout, a schedule, a mean of its parameters, and a rate that falls."""

    def __init__(self):
        mx.random.seed(7)
        self.model = nn.Sequential(
            nn.Linear(4, 8), nn.Dropout(0.3), nn.BatchNorm(8), nn.Linear(8, 1)
        )
        self.optimizer = optim.AdamW(optim.cosine_decay(0.1, 20))
        self.slow = optim.SGD(0.1)
        self.plateau = optim.ReduceLROnPlateau(self.slow, patience=1)
        self.average = optim.ExponentialMovingAverage(self.model)
        self.losses = []

    @property
    def states(self):
        names = ("optimizer", "slow", "plateau", "average")
        return {name: getattr(self, name) for name in names}

    def train(self, steps):
        step = nn.value_and_grad(self.model, lambda x: (self.model(x) ** 2).mean())
        for i in steps:
            loss, gradients = step(mx.random.normal((16, 4), key=mx.random.key(i)))
            self.optimizer.update(self.model, gradients)
            self.average.update(self.model)
            self.plateau.step(1.0)
            self.losses.append(loss.item())

    def everything(self):
        trees = [self.model.parameters(), *(one.state for one in self.states.values())]
        leaves = tree_flatten(trees)
        return {k: v.tolist() if isinstance(v, mx.array) else v for k, v in leaves}, self.losses


def test_a_resumed_run_has_the_bits_of_one_that_was_not(tmp_path):
    whole, first = Run(), Run()
    whole.train(range(9))
    first = Run()
    first.train(range(5))
    checkpoints = Checkpoints(tmp_path / "run")
    file = checkpoints.save(5, first.model, first.losses, **first.states)
    assert file == checkpoints.path(5) and file.name == "step-00000005.safetensors"
    again = Run()
    again.train(range(2))  # all of which the checkpoint replaces
    step, again.losses = Checkpoints(tmp_path / "run").restore(again.model, **again.states)
    assert step == 5 and again.losses == first.losses
    again.train(range(5, 9))
    assert again.everything() == whole.everything()
    assert again.slow.learning_rate.item() == pytest.approx(whole.slow.learning_rate.item())


def test_the_last_ones_are_kept(tmp_path):
    checkpoints, model = Checkpoints(tmp_path, keep=2), nn.Linear(2, 2)
    assert checkpoints.restore(model) is None and checkpoints.steps() == []
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".cermet-1-0.part").write_text("a file that was never finished")
    for step in (1, 5, 10, 7):
        model.bias = mx.full((2,), step)
        checkpoints.save(step, model, {"at": step})
    assert checkpoints.steps() == [7, 10] and (tmp_path / "notes.txt").exists()
    assert checkpoints.restore(model) == (10, {"at": 10})
    assert checkpoints.restore(model, 7) == (7, {"at": 7}) and model.bias.tolist() == [7, 7]
    every = Checkpoints(tmp_path / "all", keep=None)
    for step in range(5):
        every.save(step, model)
    assert every.steps() == [*range(5)]


def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path):
    checkpoints, model, optimizer = Checkpoints(tmp_path), nn.Linear(2, 2), optim.SGD(0.1)
    checkpoints.save(3, model, optimizer=optimizer)
    other, key = nn.Linear(3, 2), mx.random.state[0].tolist()
    before = other.weight
    with pytest.raises(nn.ShapeMismatchError, match="weight"):
        checkpoints.restore(other)
    with pytest.raises(KeyError, match="no state of schedule, but of optimizer"):
        checkpoints.restore(model, schedule=optimizer)
    with pytest.raises(FileNotFoundError, match=r"step-00000004\.safetensors, but steps \[3\]"):
        checkpoints.restore(model, 4)
    with pytest.raises(ValueError, match="cannot have the name random"):
        checkpoints.save(4, model, random=optimizer)
    with pytest.raises(ValueError, match="step is -1"):
        checkpoints.save(-1, model)
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(TypeError, match="not JSON serializable"):
        checkpoints.save(4, model, object())
    assert other.weight is before and mx.random.state[0].tolist() == key
    assert checkpoints.steps() == [3]


KILLED = """
import sys, cermet.core as mx, cermet.nn as nn
from cermet.checkpoints import Checkpoints
model, checkpoints = nn.Linear(300, 300), Checkpoints(sys.argv[1], keep=2)
step = (checkpoints.restore(model) or (0, None))[0]
while True:
    step += 1
    model.update({"weight": mx.full((300, 300), step), "bias": mx.full((300,), step)})
    checkpoints.save(step, model, step)
    print(step, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_run_that_is_killed_finds_a_whole_checkpoint(tmp_path):
    reached = 0
    for turn in range(4):
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        done = int(process.stdout.readline())
        time.sleep(0.013 * turn)
        process.send_signal(signal.SIGKILL)
        done = int((process.communicate()[0].split() or [done])[-1])
        model, checkpoints = nn.Linear(300, 300), Checkpoints(tmp_path)
        step, log = checkpoints.restore(model)
        assert step == log >= done > reached and len(checkpoints.steps()) <= 3
        assert mx.all(model.weight == step).item() and mx.all(model.bias == step).item()
        reached = done
