"""The engine of a trainer: what it may shard, and that it is reset after a failure too."""

from types import SimpleNamespace

import pytest

import tiny
from passk_trl.distributed import engine
from passk_trl.distributed.engine import engine_reset_afterwards, generates_layer_by_layer, may_shard, reset_engine


def trainer_under(zero_stage: int | None = None, gathers: bool = True, fsdp: bool = False) -> SimpleNamespace:
    model = tiny.policy()
    plugin = None if zero_stage is None else SimpleNamespace(zero_stage=zero_stage)
    state = SimpleNamespace(deepspeed_plugin=plugin)
    return SimpleNamespace(
        is_fsdp_enabled=fsdp,
        is_deepspeed_enabled=plugin is not None,
        accelerator=SimpleNamespace(state=state, unwrap_model=lambda wrapped: wrapped),
        args=SimpleNamespace(ds3_gather_for_generation=gathers, gradient_checkpointing_kwargs=None),
        model=model,
        model_wrapped=model,
    )


def test_fsdp_and_deepspeed_may_shard():
    assert may_shard(trainer_under(fsdp=True))
    assert may_shard(trainer_under(zero_stage=2))
    assert not may_shard(trainer_under())


@pytest.mark.parametrize(
    ("zero_stage", "gathers", "layer_by_layer"),
    [(None, True, True), (2, True, True), (3, True, False), (3, False, True)],
)
def test_only_zero3_gathers_the_whole_model_for_generation(zero_stage, gathers, layer_by_layer):
    assert generates_layer_by_layer(trainer_under(zero_stage, gathers)) == layer_by_layer


def test_without_an_engine_there_is_nothing_to_reset():
    reset_engine(trainer_under())
    reset_engine(trainer_under(zero_stage=2))


def generate_and_fail(trainer: SimpleNamespace) -> None:
    trainer.model.gradient_checkpointing_disable()  # as TRL does for a generation
    raise ZeroDivisionError


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_engine_and_gradient_checkpointing_are_restored_after_a_failure(checkpointing, monkeypatch):
    trainer, resets = trainer_under(), []
    monkeypatch.setattr(engine, "reset_engine", resets.append)
    if checkpointing:
        trainer.model.gradient_checkpointing_enable()
    with pytest.raises(ZeroDivisionError), engine_reset_afterwards(trainer):
        generate_and_fail(trainer)
    assert resets == [trainer]
    assert trainer.model.is_gradient_checkpointing == checkpointing
