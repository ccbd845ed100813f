"""Under every engine: what rides on training does not disturb it, and is what a pass of its own gives."""

import pytest

import engines
import ridden
import rollout_kinds
from engine_runs import build, every_engine, everywhere, train_with
from passk_trl import ConflictMonitor
from passk_trl.records import read_records


def train(engine: str, lora: bool, output_dir, rides: bool) -> tuple:
    monitors = [ConflictMonitor(ride=True, window=8, every=2)] if rides else []
    return train_with(monitors, engine, lora, output_dir, generation_batch_size=64, gradient_accumulation_steps=8)


@every_engine
def test_training_is_bit_identical_with_and_without_it(engine, lora, tmp_path):
    riding = everywhere(train, engine, tmp_path, lora, tmp_path / "riding", True)
    alone = everywhere(train, engine, tmp_path, lora, tmp_path / "alone", False)
    for (steps, state), (_, state_alone) in zip(riding, alone, strict=True):
        assert steps == [[2, 4]]
        for of_riding, of_alone in zip(state, state_alone, strict=True):
            assert of_riding == of_alone
    records = read_records(tmp_path / "riding" / "conflict.jsonl")
    assert [len(record["report"]["num_correct"]) for record in records] == [8, 8]


def compare(engine: str, lora: bool, output_dir) -> None:
    with ridden.compared() as pairs:
        monitor = ConflictMonitor(ride=True, window=8, every=2, gram="sketch")
        trainer = build(engine, lora, output_dir, monitor, pass_at_k=6)
        trainer.train()
    engines.check_running(engine, trainer)
    ridden.assert_equal(pairs)
    assert pairs.own > 0


@pytest.mark.parametrize("lora", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["full", "lora"])
@pytest.mark.parametrize("engine", engines.ENGINES)
def test_each_prompt_has_the_gradient_that_a_pass_of_its_own_gives(engine, lora, tmp_path):
    everywhere(compare, engine, tmp_path, lora, tmp_path)


def train_on(engine: str, kind: str, output_dir, rides: bool) -> list:
    size = {"per_device_train_batch_size": 8 // engines.world_size(engine), "max_steps": 2}
    trainer = rollout_kinds.KINDS[kind](output_dir, **size, **engines.arguments(engine))
    if rides:
        monitor = ConflictMonitor(ride=True, window=8, every=1).attach(trainer)
    trainer.train()
    engines.check_running(engine, trainer)
    if rides:
        assert monitor.steps == [1, 2]
    return [engines.local_values(p) for p in trainer.model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "kind"),
    [("ddp", "images"), ("zero3", "images"), ("fsdp2", "rollout function"), ("zero3", "vLLM's correction")],
)
def test_training_on_what_a_probe_cannot_repeat_is_bit_identical(engine, kind, tmp_path):
    riding = everywhere(train_on, engine, tmp_path, kind, tmp_path / "riding", True)
    assert riding == everywhere(train_on, engine, tmp_path, kind, tmp_path / "alone", False)
