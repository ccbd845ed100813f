"""A disk that is full takes a report, and nothing else: training goes on, on all ranks."""

import json
import os
import resource

import pytest
from transformers import TrainerCallback

import tiny
from engine_runs import build, everywhere
from passk_trl import ConflictMonitor
from passk_trl.monitor.record_file import take_up_records
from passk_trl.records import read_records
from ranks import run_ranks


class FullDisk(TrainerCallback):
    """From the first report to the third, the first rank can write no more than 100 bytes to conflict.jsonl."""

    def on_step_begin(self, args, state, control, **kwargs):
        if os.environ.get("RANK", "0") == "0" and state.global_step in (3, 5):
            size = os.path.getsize(os.path.join(args.output_dir, "conflict.jsonl")) + 100
            limit = size if state.global_step == 3 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def train_on_a_full_disk(engine: str, output_dir) -> tuple[int, list[int]]:
    monitor = ConflictMonitor(tiny.questions(), every=2, num_prompts=8, num_rollouts=5)
    trainer = build(engine, False, output_dir, monitor, FullDisk(), max_steps=6, logging_strategy="no")
    trainer.train()
    return trainer.state.global_step, monitor.steps


@pytest.mark.parametrize("engine", ["none", "ddp"])
def test_training_goes_on_and_the_file_holds_the_other_reports(engine, tmp_path):
    assert {*map(str, everywhere(train_on_a_full_disk, engine, tmp_path, tmp_path))} == {"(6, [2, 4, 6])"}
    lines = (tmp_path / "conflict.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 6]
    assert len(read_records(tmp_path / "conflict.jsonl")) == 2


def begin_with(path) -> str:
    import torch.distributed as dist

    dist.init_process_group("gloo")
    try:
        take_up_records(path, 3)
    except OSError as error:
        return type(error).__name__


def test_a_file_that_cannot_be_read_ends_all_ranks_before_training(tmp_path):
    (tmp_path / "conflict.jsonl").mkdir()
    assert run_ranks(begin_with, tmp_path / "conflict.jsonl") == ["IsADirectoryError"] * 2
