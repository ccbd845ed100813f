"""conflict.jsonl: continued by a resumed run, not mixed with an earlier run, and readable as JSON."""

import json

import pytest
from transformers import TrainerCallback

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.records import read_records
from watched import PROBE, build, trained


class Kill(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_a_resumed_run_has_the_reports_of_an_uninterrupted_one(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 3, "reward_funcs": tiny.starts_low}

    def build(output_dir, *callbacks):
        return PassKGRPOTrainer(
            model=tiny.policy(),
            reward_funcs=tiny.starts_low,
            args=tiny.training_args(output_dir, pass_at_k=4, save_strategy="steps", save_steps=3),
            train_dataset=tiny.questions(),
            processing_class=tiny.tokenizer(),
            callbacks=[ConflictMonitor(tiny.questions(), at_start=True, **PROBE), *callbacks],
        )

    trained(tmp_path / "whole", ConflictMonitor(tiny.questions(), at_start=True, **PROBE), **settings)
    killed = build(tmp_path / "parts", Kill(step=5))
    with pytest.raises(KeyboardInterrupt):
        killed.train()
    path = tmp_path / "parts" / "conflict.jsonl"
    assert [record["step"] for record in read_records(path)] == [0, 2, 4]
    with path.open("a") as file:
        file.write('{"step": 6, "rep')  # cut off in the middle of a line
    path.write_text("nonsense\n" + path.read_text())

    resumed = build(tmp_path / "parts")
    resumed.train(resume_from_checkpoint=True)  # from step 3: step 4 is measured again, 0 and 2 are kept

    def content(directory):
        return [(r["step"], r["rows"], r["report"]) for r in read_records(tmp_path / directory / "conflict.jsonl")]

    assert [step for step, *_ in content("parts")] == [0, 2, 4, 6]
    assert content("parts") == content("whole")
    monitor = next(c for c in resumed.callback_handler.callbacks if isinstance(c, ConflictMonitor))
    assert monitor.steps == [0, 2, 4, 6]


def test_a_run_that_is_resumed_elsewhere_says_that_it_lacks_the_reports(tmp_path, caplog):
    options = {"reward_funcs": tiny.starts_low, "save_strategy": "steps", "save_steps": 3}
    trained(tmp_path / "run", ConflictMonitor(tiny.questions(), **PROBE), **options)
    for every, is_warned in {2: True, 4: False}.items():  # at step 3 a run with every=4 has none either
        caplog.clear()
        directory = tmp_path / f"elsewhere-{every}"
        trainer = build(directory, ConflictMonitor(tiny.questions(), **{**PROBE, "every": every}))
        trainer.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
        said = f"step 3: training is resumed, but {directory / 'conflict.jsonl'} has no report up to this step"
        assert (said in caplog.text) is is_warned


def test_the_file_of_an_earlier_run_is_kept_apart(tmp_path, caplog):
    for _ in range(2):
        trained(tmp_path, ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6}), reward_funcs=tiny.starts_low)
    assert len(read_records(tmp_path / "conflict.jsonl")) == 1
    (earlier,) = tmp_path.glob("conflict.*.jsonl")
    assert len(read_records(earlier)) == 1
    assert "of an earlier run" in caplog.text


def test_records_are_json_that_any_reader_takes(tmp_path):
    trained(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), reward_funcs=tiny.starts_right)
    for line in (tmp_path / "conflict.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
