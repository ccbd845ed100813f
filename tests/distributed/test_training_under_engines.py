"""Under every engine, training with the monitor is bit for bit training without it."""

import pytest

import engines
import tiny
from engine_runs import PROBE, every_engine, everywhere, train_with
from passk_trl import ConflictMonitor
from passk_trl.records import read_records


def train(engine: str, lora: bool, output_dir, watched: bool, bf16: bool = False, policy: str | None = None) -> tuple:
    monitors = [ConflictMonitor(tiny.questions(), **PROBE)] if watched else []
    saving = {"save_strategy": "steps", "save_steps": 3}
    return train_with(monitors, engine, lora, output_dir, bf16=bf16, policy=policy, **saving)


@every_engine
def test_training_is_bit_identical_with_and_without_the_monitor(engine, lora, tmp_path):
    check_bit_identical(engine, lora, tmp_path)


# DeepSpeed makes their blocks of experts "leaf modules", whose backward hook reduces.
@pytest.mark.parametrize(
    "engine", ["fsdp2", "zero3", *(pytest.param(each, marks=pytest.mark.slow) for each in ("single", "ddp", "zero2"))]
)
def test_training_experts_is_bit_identical_too(engine, tmp_path):
    check_bit_identical(engine, False, tmp_path, "qwen3_moe")


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixtral", "qwen2_moe", "jamba", "qwen3_moe experts"])
@pytest.mark.parametrize("engine", ["single", "ddp", "fsdp2", "zero2", "zero3"])
def test_training_other_experts_is_bit_identical_too(engine, policy, tmp_path):
    check_bit_identical(engine, False, tmp_path, policy)


def check_bit_identical(engine: str, lora: bool, tmp_path, policy: str | None = None) -> None:
    watched = everywhere(train, engine, tmp_path, lora, tmp_path / "watched", True, False, policy)
    alone = everywhere(train, engine, tmp_path, lora, tmp_path / "alone", False, False, policy)
    for (steps, state), (_, state_alone) in zip(watched, alone, strict=True):
        assert steps == [[0, 2, 4]]
        for of_watched, of_alone in zip(state, state_alone, strict=True):
            assert of_watched == of_alone
        weights, optimizer, *_ = state
        assert any(any(values) for values in weights)
        assert any(any(values) for values in optimizer)
    records = read_records(tmp_path / "watched" / "conflict.jsonl")
    assert [len(record["rows"]) for record in records] == [11] * 3
    assert all(record["covered_parameters"] == record["trainable_parameters"] for record in records)


# transformers refuses bfloat16 on the CPU that FSDP2 is run on.
@pytest.mark.slow
@pytest.mark.parametrize("engine", [engine for engine in engines.ENGINES if engine != "fsdp2"])
def test_training_in_bfloat16_is_bit_identical_too(engine, tmp_path):
    watched = everywhere(train, engine, tmp_path, False, tmp_path / "watched", True, True)
    alone = everywhere(train, engine, tmp_path, False, tmp_path / "alone", False, True)
    for (steps, state), (_, state_alone) in zip(watched, alone, strict=True):
        assert steps == [[0, 2, 4]]
        assert state == state_alone


def train_with_rloo(engine: str, lora: bool, output_dir, watched: bool) -> tuple:
    monitors = [ConflictMonitor(None, every=3, num_prompts=8), ConflictMonitor(tiny.questions(), **PROBE)]
    options = {"generation_batch_size": 64, "save_strategy": "steps", "save_steps": 3}
    return train_with(monitors if watched else [], engine, lora, output_dir, rloo=True, **options)


@pytest.mark.parametrize("lora", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["full", "lora"])
@pytest.mark.parametrize("engine", ["single", "ddp", "fsdp2", "zero3"])
def test_training_with_rloo_is_bit_identical_too(engine, lora, tmp_path):
    watched = everywhere(train_with_rloo, engine, tmp_path, lora, tmp_path / "watched", True)
    alone = everywhere(train_with_rloo, engine, tmp_path, lora, tmp_path / "alone", False)
    for (steps, state), (_, state_alone) in zip(watched, alone, strict=True):
        assert steps == [[3], [0, 2, 4]]  # of the training batch, and of a probe set
        for of_watched, of_alone in zip(state, state_alone, strict=True):
            assert of_watched == of_alone
    found = [(record["step"], len(record["rows"])) for record in read_records(tmp_path / "watched" / "conflict.jsonl")]
    assert found == [(0, 11), (2, 11), (3, 8), (4, 11)]
