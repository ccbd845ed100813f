"""A run that is killed at random moments and started again and again ends as one that was never interrupted."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_resume import pass_at_k, recipe

import tiny
from passk_trl.records import read_records


KILLS = 12
STEPS = {"max_steps": 24, "save_steps": 1, "save_total_limit": 3, "resume_from_checkpoint": True}


def started(path: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(tiny.__file__).parent), *sys.path])}
    command = [sys.executable, "-m", "passk_trl.cli.train", "--config", path]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until_it_trains(process: subprocess.Popen, run: Path) -> None:
    """Until the run writes its settings, which it does right before the first step, or ends."""
    settings, begun = run / "training_args.json", time.time()
    while process.poll() is None and not (settings.exists() and settings.stat().st_mtime > begun):
        time.sleep(0.01)


def outcome(run: Path) -> tuple:
    """The weights at the end, and every report and evaluation."""
    records = read_records(run / "conflict.jsonl")
    reports = [(record["step"], record["report"], record["forecast"]) for record in records]
    return load_file(run / "model.safetensors"), json.dumps(reports), pass_at_k(run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))  # sixty kills
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_was(tmp_path, model, seed):
    rng = random.Random(seed)
    whole, killed = (tmp_path / name for name in ("whole", "killed"))
    for directory in (whole, killed):
        directory.mkdir()
    assert started(recipe(whole, model, **STEPS)).wait(timeout=300) == 0
    kills = 0
    while True:
        process = started(recipe(killed, model, **STEPS))
        if kills == KILLS:
            break
        wait_until_it_trains(process, killed / "run")
        time.sleep(rng.uniform(0, 0.6))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    (weights, *rest), (expected, *others) = outcome(killed / "run"), outcome(whole / "run")
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert rest == others
    assert kills == KILLS, f"the run ended after {kills} kills: make it longer"
