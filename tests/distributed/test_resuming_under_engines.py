"""Under every engine, a run that is killed and resumed has the reports of one that was not."""

import itertools

import pytest
from transformers import TrainerCallback

import engines
import tiny
from engine_runs import PROBE, build, everywhere
from passk_trl import ConflictMonitor
from passk_trl.records import read_records


SAVING = {"save_strategy": "steps", "save_steps": 3}  # just before the kill
PARTS = ("step", "rows", "report", "forecast")


class Kill(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt


def train_and_kill(engine: str, lora: bool, output_dir) -> None:
    trainer = build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE), Kill(), **SAVING)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def resume(engine: str, lora: bool, output_dir) -> None:
    trainer = build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE), **SAVING)
    trainer.train(resume_from_checkpoint=True)
    engines.check_running(engine, trainer)


def train_through(engine: str, lora: bool, output_dir) -> None:
    build(engine, lora, output_dir, ConflictMonitor(tiny.questions(), **PROBE)).train()


def cases() -> list:
    """All engines, full and LoRA. ZeRO-1 and 2 hold whole parameters, as DDP does, which shows it quickly."""
    pairs = list(itertools.product(engines.ENGINES, (False, True)))
    slow = [engine in ("zero1", "zero2") for engine, _ in pairs]
    names = [f"{engine}-{'lora' if lora else 'full'}" for engine, lora in pairs]
    marks = [pytest.mark.slow if each else () for each in slow]
    return [pytest.param(*pair, marks=mark, id=name) for pair, mark, name in zip(pairs, marks, names, strict=True)]


@pytest.mark.parametrize(("engine", "lora"), cases())
def test_a_killed_and_resumed_run_has_the_reports_of_one_that_was_not(engine, lora, tmp_path):
    everywhere(train_through, engine, tmp_path, lora, tmp_path / "whole")
    everywhere(train_and_kill, engine, tmp_path, lora, tmp_path / "parts")
    assert [record["step"] for record in read_records(tmp_path / "parts" / "conflict.jsonl")] == [0, 2]
    everywhere(resume, engine, tmp_path, lora, tmp_path / "parts")
    reports = {}
    for directory in ("whole", "parts"):
        records = read_records(tmp_path / directory / "conflict.jsonl")
        reports[directory] = [[record.get(part) for part in PARTS] for record in records]
    assert [step for step, *_ in reports["whole"]] == [0, 2, 4]
    assert reports["parts"] == reports["whole"]
