"""The monitor on the training step's own backward pass: the same gradients as by a pass of their own."""

import math

import pytest
import torch
from peft import LoraConfig
from torch import nn
from transformers import TrainerCallback
from trl import RLOOConfig, RLOOTrainer

import ridden
import rollout_kinds
import tiny
import trainers
import watched
from passk_trl import ConflictMonitor
from passk_trl.gradients import store, training_pass
from passk_trl.monitor import ridden_batch, rider, window
from passk_trl.reports.text import write_report


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
    assert (pairs.own > 0) == ("pass_at_k" not in options)  # TRL's own give all rollouts an advantage


def test_whole_gradients(tmp_path):
    with ridden.compared() as pairs:
        monitor = ride()
        watched.trained(tmp_path, monitor, reward_funcs=starts_low)
    ridden.assert_equal(pairs)
    assert {record.gram for record in monitor.records} == {"exact"}
    for record in monitor.records:  # with the head, and the embedding that is tied to it
        assert record.left_out_parameters == []
        assert record.covered_parameters == record.trainable_parameters


def test_the_head_alone(tmp_path):
    with ridden.compared() as pairs:
        monitor = ride(parameters="lm_head")
        watched.trained(tmp_path, monitor, reward_funcs=starts_low, policy=tiny.policy(tie_word_embeddings=False))
    ridden.assert_equal(pairs)
    assert pairs.own > 0
    assert monitor.records[-1].covered_parameters > 0


def test_where_no_prompt_has_a_gradient_yet_nothing_is_said_to_be_left_out(tmp_path, caplog):
    monitor = ride()
    watched.trained(tmp_path, monitor, reward_funcs=lambda completions, **_: [0.0] * len(completions))
    assert monitor.records
    assert "leaves out" not in caplog.text


@pytest.mark.parametrize(
    "rewards",
    [[0.0] * 8, [1.0] * 7 + [0.0]],  # of a group: without a gradient, and with one that no rollout's advantage carries
    ids=["all wrong", "not drawn"],
)
def test_a_report_of_prompts_that_were_not_measured_says_that_nothing_is_known(rewards, tmp_path, monkeypatch):
    monkeypatch.setattr(ridden_batch, "_SHARE", 1e-9)
    monitor = ConflictMonitor(ride=True, window=8, every=1)
    trainer = watched.trained(
        tmp_path, monitor, reward_funcs=lambda completions, **_: rewards * (len(completions) // len(rewards))
    )
    assert monitor.records
    for record in monitor.records:
        assert record.report.has_no_pairs
        assert record.report.inner_product_se.isnan().all()
        assert math.isnan(record.looks[8][1])
    assert not any("conflict/inner_product" in name for entry in trainer.state.log_history for name in entry)
    assert "no two prompts with a gradient were measured" in write_report(tmp_path)


def test_prompts_with_a_rollout_that_was_not_scored_are_counted(tmp_path, caplog):
    watched.trained(tmp_path, ride(), reward_funcs=lambda completions, **_: [None, *[1.0] * (len(completions) - 1)])
    assert "prompts are left out: a rollout of theirs was not scored." in caplog.text


def test_an_adapter(tmp_path):
    with ridden.compared() as pairs:
        adapter = LoraConfig(r=4, target_modules="all-linear")
        watched.trained(tmp_path, ride(), reward_funcs=starts_low, peft=adapter)
    ridden.assert_equal(pairs)


def assert_same_training(output_dir, **options) -> None:
    """With a ride and without, to the last bit."""

    def state(monitor):
        torch.manual_seed(0)
        return watched.training_state(watched.trained(output_dir, monitor, **options))

    assert state(ride()) == state(None)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_is_the_same_to_the_last_bit(options, tmp_path):
    assert_same_training(tmp_path, **options)


RLOO = {
    "plain": {"beta": 0.0},
    "normalized": {"beta": 0.0, "normalize_advantages": True, "num_iterations": 2},
    "KL in the reward": {"beta": 0.1, "peft": LoraConfig(r=4, init_lora_weights=False, target_modules="all-linear")},
}


@pytest.mark.parametrize("options", RLOO.values(), ids=RLOO)
def test_rloo(options, tmp_path):
    of_rloo = {"trainer_class": RLOOTrainer, "config": RLOOConfig, "reward_funcs": starts_low, **options}
    with ridden.compared() as pairs:
        watched.trained(tmp_path, ride(gram="sketch"), **of_rloo)
    ridden.assert_equal(pairs)
    assert {len(measured) for measured, *_ in pairs} == {2}  # none is left out
    assert pairs.own == 0
    assert_same_training(tmp_path, **of_rloo)


def with_dropout():
    policy = tiny.policy()
    policy.config.attention_dropout = 0.2
    for layer in policy.model.layers:
        layer.self_attn.attention_dropout = 0.2
    return policy


@pytest.mark.parametrize("policy", [tiny.policy, with_dropout])
def test_the_prompts_add_up_to_the_gradient_that_trains(policy, tmp_path, monkeypatch):
    """For pass@1 they do but for a factor. Layers with the same input in all rollouts share the prompt's tokens."""
    of_prompts, of_step, shares = [], [], []
    share, parts = ridden_batch.RiddenBatch.share, training_pass.CountedRollouts.parts

    def keep_rows(batch, rows_PMD, missed_P):
        of_prompts.append(rows_PMD.sum(dim=(0, 1)))
        return share(batch, rows_PMD, missed_P)

    def note_sharing(counted, a, b):
        some = list(parts(counted, a, b))
        shares.append(len(some) == 2)
        return iter(some)

    class KeepGradient(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
            named = dict(model.named_parameters())
            of_step.append(
                torch.cat([named[each.name].grad.flatten() for each in monitor._rider._gradients._measured])
            )

    monkeypatch.setattr(ridden_batch.RiddenBatch, "share", keep_rows)
    monkeypatch.setattr(training_pass.CountedRollouts, "parts", note_sharing)
    options = {"pass_at_k": 1, "max_steps": 1, "max_grad_norm": 0.0, "loss_type": "dr_grpo"}
    monitor = ride()
    trainer = watched.build(tmp_path, monitor, model=policy(), reward_funcs=starts_low, args=options)
    trainer.add_callback(KeepGradient())
    trainer.train()
    (rows_D,), (gradient_D,) = of_prompts, of_step
    assert rows_D.norm() > 0
    torch.testing.assert_close(rows_D / rows_D.norm(), -gradient_D / gradient_D.norm(), rtol=1e-4, atol=1e-6)
    assert any(shares)
    assert all(shares) == (policy is tiny.policy)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_dropout_with_several_iterations(level, tmp_path, caplog, monkeypatch):
    """It changes the probabilities of tokens since they were sampled. Only first iterations ride."""
    begun, batches = [], []
    begin, share = ridden_batch.RiddenRows.__init__, ridden_batch.RiddenBatch.share

    def count_rows(rows, *args):
        begun.append(rows)
        begin(rows, *args)

    def count_prompts(batch, *args):
        prompts, number = share(batch, *args)
        batches.append(number)
        return prompts, number

    monkeypatch.setattr(ridden_batch.RiddenRows, "__init__", count_rows)
    monkeypatch.setattr(ridden_batch.RiddenBatch, "share", count_prompts)
    options = {"num_iterations": 2, "importance_sampling_level": level, "max_steps": 4, "epsilon": 100.0}

    def state(monitor):
        torch.manual_seed(0)
        trainer = watched.trained(tmp_path, monitor, reward_funcs=starts_low, policy=with_dropout(), **options)
        return watched.training_state(trainer)

    assert state(ride()) == state(None)
    assert len(begun) == 2 * 2  # micro-batches of the two generations
    if level == "sequence":
        assert batches == [2, 2]
    else:
        assert sum(batches) < 4
        assert "a rollout of theirs was clipped, masked or off-policy" in caplog.text


def test_mixed_precision(tmp_path):
    """Of the same rollouts, against autograd in single precision."""
    with ridden.compared(ridden.by_autograd) as pairs:
        watched.trained(tmp_path, ride(), reward_funcs=starts_low, bf16=True, max_steps=6)
    rows_NMD, expected_NMD = (torch.cat(rows).double() for rows in list(zip(*pairs, strict=True))[:2])
    gram_NN, expected_NN = (torch.einsum("imd,jmd->ij", rows, rows) for rows in (rows_NMD, expected_NMD))
    assert len(gram_NN) == 12
    assert 1e-4 < (gram_NN - expected_NN).norm() / expected_NN.norm() < 1e-2  # bfloat16 has 8 bits
    assert_same_training(tmp_path, bf16=True)


@pytest.mark.parametrize("kind", rollout_kinds.KINDS)
def test_rollouts_that_a_probe_cannot_repeat(kind, tmp_path):
    with ridden.compared(ridden.by_autograd) as pairs:
        ride().attach(rollout_kinds.KINDS[kind](tmp_path)).trainer.train()
    ridden.assert_equal(pairs)
    assert [len(measured) for measured, *_ in pairs] == [8, 8, 8]  # none is left out
    assert 0 < pairs.own < 24


def test_of_a_policy_that_reads_images_the_language_model_is_measured(tmp_path):
    monitor = ride().attach(rollout_kinds.with_images(tmp_path))
    monitor.trainer.train()
    record = monitor.records[-1]
    model = monitor.trainer.model
    language = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    assert record.covered_parameters == sum(p.numel() for p in language)
    parts = {name.removeprefix("model.").partition(".")[0] for name in record.left_out_parameters}
    assert parts == {"vision_tower", "multi_modal_projector"}


@pytest.mark.parametrize("kind", rollout_kinds.KINDS)
def test_training_on_them_is_the_same_to_the_last_bit(kind, tmp_path):
    def state(rides):
        trainer = rollout_kinds.KINDS[kind](tmp_path)
        if rides:
            ride().attach(trainer)
        trainer.train()
        return watched.training_state(trainer)

    assert state(True) == state(False)


class RowsLast(nn.Module):
    """An MLP that sees the columns of a batch in the place of its rows."""

    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def forward(self, x):
        return self.mlp(x.transpose(0, 1)).transpose(0, 1)


def test_a_layer_that_mixes_rollouts_is_left_out_by_name(tmp_path):
    policy = tiny.policy(tie_word_embeddings=False)
    policy.model.layers[0].mlp = RowsLast(policy.model.layers[0].mlp)
    with ridden.compared(ridden.by_autograd) as pairs:
        monitor = ride().attach(rollout_kinds.with_a_rollout_function(tmp_path, policy))
        monitor.trainer.train()
    ridden.assert_equal(pairs)
    mixing = [f"model.layers.0.mlp.mlp.{name}_proj.weight" for name in ("gate", "up", "down")]
    assert monitor.records[-1].left_out_parameters == mixing


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
    assert caplog.text.count("step 1: its prompts are not measured; training goes on.") == 1
    assert "ZeroDivisionError" in caplog.text


def test_a_block_whose_sums_fail_is_lost_and_the_next_has_projections_of_its_own(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(window, "FEWEST_OF_LOOK", 8)
    monitor, seeds, pair_sums = ride(gram="sketch"), {}, window._pair_sums

    def may_fail(*args):
        step = monitor.trainer.state.global_step + 1
        if step in (8, 12):  # 2 prompts a step: 8 are the first block, and 8 and 16 of the second one are looked at
            raise ZeroDivisionError("in the sums")
        return pair_sums(*args)

    def note_seed(riding, batch, num_rows):
        seeds[monitor.trainer.state.global_step + 1] = riding._projections.seed
        return begin(riding, batch, num_rows)

    begin = rider.Rider._begin
    monkeypatch.setattr(window, "_pair_sums", may_fail)
    monkeypatch.setattr(rider.Rider, "_begin", note_seed)
    watched.trained(tmp_path, monitor, reward_funcs=starts_low, max_steps=13)
    block = "the block of prompts that it adds to"
    said = [record.getMessage() for record in caplog.records if block in record.getMessage()]
    assert said == [
        f"step 8: the alarm does not look at {block}; training goes on.",
        f"step 12: {block} is not measured; training goes on.",
    ]
    assert [step for step in range(2, 14) if seeds[step] != seeds[step - 1]] == [5, 13]


def test_a_record_says_how_far_the_window_drifted(tmp_path):
    monitor = ride()
    watched.trained(tmp_path, monitor, reward_funcs=starts_low, max_steps=17)
    records = monitor.records
    assert all(record.first_step <= record.step for record in records)
    assert [record.step for record in records if record.drift[0] == record.drift[0]] == [16]  # the second block's end
    at_step = {record.step: record for record in records}
    first, second, drift = at_step[8].looks[16], at_step[16].looks[16], at_step[16].drift
    assert first == pytest.approx(at_step[8].against_pass1())  # the report is of the same block
    assert drift[0] == pytest.approx(second[0] - first[0])
    assert drift[1] == pytest.approx((second[1] ** 2 + first[1] ** 2) ** 0.5)


def test_positions_of_their_own_are_left_out_by_name(tmp_path):
    monitor = ride()
    watched.trained(tmp_path, monitor, reward_funcs=starts_low, policy=tiny.policy_of("gpt2"))
    assert monitor.records[-1].left_out_parameters == ["transformer.wpe.weight"]
    assert len(monitor.records[-1].report.agreement) == 12  # every prompt of six steps was measured


def test_a_resumed_run_says_that_its_window_starts_anew(tmp_path, caplog):
    def train(steps, **resumed):
        monitor = ride()
        options = {"max_steps": steps, "save_strategy": "steps", "save_steps": 2}
        trainers.build(tmp_path, parts={"callbacks": [monitor]}, **options).train(**resumed)
        return monitor

    train(2)
    assert "starts anew" not in caplog.text
    monitor = train(8, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert "step 2: the window of the monitor starts anew" in caplog.text
    assert min(record.first_step for record in monitor.records) == 3
