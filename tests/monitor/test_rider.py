"""The monitor on the training step's own backward pass: the same gradients as by a pass of their own."""

import pytest
import torch
from peft import LoraConfig

import ridden
import tiny
import trainers
import watched
from passk_trl import ConflictMonitor
from passk_trl.gradients import store
from passk_trl.monitor import rider


def starts_low(completions, **kwargs):
    return tiny.starts_low(completions)


OPTIONS = {
    **{loss: {"loss_type": loss} for loss in ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")},
    "accumulation": {"gradient_accumulation_steps": 4},
    "several iterations": {"num_iterations": 2},
    "several generations in a step": {"gradient_accumulation_steps": 4, "steps_per_generation": 2},
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
    for record in monitor.records:  # with the head, and the embedding that is tied to it
        assert record.left_out_parameters == []
        assert record.covered_parameters == record.trainable_parameters


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


def test_two_riders_and_a_prober_do_not_disturb_one_another(tmp_path):
    def inner_products(*monitors):
        torch.manual_seed(0)
        trainers.build(tmp_path, parts={"callbacks": list(monitors)}, max_steps=6, eval_strategy="no").train()
        return [record.report.inner_product.tolist() for record in monitors[0].records]

    alone = inner_products(ride())
    prober = ConflictMonitor(tiny.questions(), **watched.PROBE)
    assert inner_products(ride(), ConflictMonitor(ride=True, window=8, every=2, seed=5), prober) == alone
    assert prober.steps == [2, 4, 6]


def test_a_gradient_that_cannot_be_taken_does_not_end_training(tmp_path, caplog, monkeypatch):
    def state(monitor):
        torch.manual_seed(0)
        return watched.training_state(watched.trained(tmp_path, monitor))

    alone = state(None)
    monitor = ride(gram="sketch")
    prepare = rider.Rider.prepare

    def prepare_and_break(riding):
        prepare(riding)
        monkeypatch.setattr(store.SketchStore, "add_outer", lambda *args: 1 / 0)

    monkeypatch.setattr(rider.Rider, "prepare", prepare_and_break)
    assert state(monitor) == alone
    assert monitor.records == []
    assert caplog.text.count("step 1: gradients were not taken; training goes on.") == 1
    assert "ZeroDivisionError" in caplog.text
