"""The monitor on the training step's own backward pass: the same gradients as by a pass of their own."""

import pytest
import torch
from peft import LoraConfig

import ridden
import tiny
import watched
from passk_trl import ConflictMonitor


def starts_low(completions, **kwargs):
    return tiny.starts_low(completions)


OPTIONS = {
    **{loss: {"loss_type": loss} for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")},
    "accumulation": {"gradient_accumulation_steps": 4},
    "several iterations": {"num_iterations": 2},
    "sequence level": {"importance_sampling_level": "sequence"},
    "scaled by the batch": {"scale_rewards": "batch"},
    "TRL's own advantages": {"advantage_estimator": "grpo", "pass_at_k": 1, "scale_rewards": "group"},
    "checkpointing": {"gradient_checkpointing": True},
    "reentrant checkpointing": {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": True},
    },
}


def ride(**options) -> ConflictMonitor:
    return ConflictMonitor(ride=True, window=16, every=1, **options)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_each_prompt_has_the_gradient_that_a_pass_of_its_own_gives(options, tmp_path):
    with ridden.compared() as pairs:
        watched.trained(tmp_path, ride(gram="sketch"), reward_funcs=starts_low, **options)
    ridden.assert_equal(pairs)


def test_whole_gradients(tmp_path):
    with ridden.compared() as pairs:
        monitor = ride()
        watched.trained(tmp_path, monitor, reward_funcs=starts_low)
    ridden.assert_equal(pairs)
    assert {record.gram for record in monitor.records} == {"exact"}


def test_an_adapter(tmp_path):
    with ridden.compared() as pairs:
        adapter = LoraConfig(r=4, target_modules="all-linear")
        watched.trained(tmp_path, ride(), reward_funcs=starts_low, peft=adapter)
    ridden.assert_equal(pairs)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_is_the_same_to_the_last_bit(options, tmp_path):
    def state(monitor):
        torch.manual_seed(0)
        return watched.training_state(watched.trained(tmp_path, monitor, **options))

    assert state(ride()) == state(None)
