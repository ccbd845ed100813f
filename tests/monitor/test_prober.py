"""What one probe measures, of which prompts, and what it leaves out."""

import logging

import pytest
import torch
from transformers import TrainerCallback

import tiny
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.gradients import gram_matrix
from passk_trl.interference import forecast, measure_interference
from passk_trl.records import read_records
from watched import PROBE, build, trained


def test_a_report_is_the_interference_of_the_rollouts_sampled(tmp_path, monkeypatch):
    seen = []

    def recorded(model, rollouts, pad_token_id, temperature, **kwargs):
        seen.append(gram_matrix(model, rollouts, pad_token_id, temperature, method="parameters").gram_NN)
        seen.append(rollouts)
        return gram_matrix(model, rollouts, pad_token_id, temperature, **kwargs)

    monkeypatch.setattr("passk_trl.gradients.of_trainer.gram_matrix", recorded)
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low, temperature=0.8)
    reference_NN, rollouts = seen
    expected = measure_interference(reference_NN, rollouts.num_correct_N, 8)
    assert torch.allclose(monitor.report.inner_product, expected.inner_product, rtol=1e-4, atol=1e-9)
    rows = read_records(tmp_path / "conflict.jsonl")[0]["rows"]
    tokenizer = tiny.tokenizer()
    for row, prompt_ids, group, success_G in zip(
        rows, rollouts.prompt_ids, rollouts.completion_ids, rollouts.success_NG, strict=True
    ):
        assert tokenizer.decode(prompt_ids) == trainer.train_dataset[row]["prompt"][0]["content"]
        texts = [[{"content": text}] for text in tokenizer.batch_decode(group, skip_special_tokens=True)]
        assert tiny.starts_low(texts) == success_G.tolist()


def test_a_record_has_the_text_of_the_prompts_that_interfere_most(tmp_path):
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trained(tmp_path, monitor)  # on random rewards, so that gradients point anywhere
    (record,) = read_records(tmp_path / "conflict.jsonl")
    worst = [record["rows"][i] for i in monitor.report.most_negative(4, count=8)]
    assert worst
    assert record["texts"] == [[row, f"{row}?"] for row in worst]


def test_stratified_probes_draw_each_stratum_as_often_and_weigh_the_prompts(tmp_path):
    strata = ["rare" if row < 4 else "common" for row in range(32)]
    dataset = tiny.questions().add_column("level", strata)
    monitor = ConflictMonitor(dataset, stratify_by="level", **{**PROBE, "num_prompts": 24})
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low)
    records = read_records(tmp_path / "conflict.jsonl")
    rare = [row < 4 for record in records for row in record["rows"]]
    assert 0.3 < sum(rare) / len(rare) < 0.7  # of 72 draws
    weights = [weight for record in records for weight in record["report"]["sampling_weights"]]
    assert weights == [0.25 if is_rare else 1.75 for is_rare in rare]
    report = monitor.report
    expected = report.sampling_weights @ report.success_rate / report.sampling_weights.sum()
    assert trainer.state.log_history[-2]["conflict/pass@1"] == pytest.approx(float(expected))


def test_every_measure_of_a_stratified_probe_weighs_the_prompts(tmp_path, monkeypatch):
    """The forecast and the objectives too, from the products that the probe took."""
    seen = []

    def recorded(*args, **kwargs):
        seen.append(gram_matrix(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr("passk_trl.gradients.of_trainer.gram_matrix", recorded)
    strata = ["rare" if row < 4 else "common" for row in range(32)]
    dataset = tiny.questions().add_column("level", strata)
    settings = {**PROBE, "num_prompts": 24, "every": 6}
    monitor = ConflictMonitor(dataset, stratify_by="level", objectives=["pass@3"], **settings)
    trained(tmp_path, monitor)  # on random rewards
    (record,), (gram,) = monitor.records, seen
    report = record.report
    weights = torch.tensor([0.25 if row < 4 else 1.75 for row in record.rows], dtype=torch.float64)
    assert torch.equal(report.sampling_weights, weights)
    counts = (report.num_correct, report.num_samples)
    expected = measure_interference(gram.gram_MNN, *counts, report.ks, sampling_weights=weights)
    assert torch.equal(report.inner_product, expected.inner_product)
    objective = record.objectives["pass@3"]
    assert objective.inner_product == pytest.approx(float(expected.inner_product[2]), rel=1e-9)
    assert objective.inner_product_high == pytest.approx(float(expected.inner_product_high[2]), rel=1e-9)
    told = forecast(gram.step_MN, *counts, report.ks, sampling_weights=weights)
    assert torch.equal(record.forecast.change, told.change)
    assert not torch.allclose(told.change, forecast(gram.step_MN, *counts, report.ks).change)


def test_the_weights_of_what_is_left_of_a_stratified_probe_have_the_mean_of_all_drawn(tmp_path):
    """Rare prompts with an odd answer cannot be scored: rows 1 and 3."""

    def scores_some(completions, prompts, **kwargs):
        unscorable = [prompt[0]["content"] in ("1?", "3?") for prompt in prompts]
        return [None if no else r for no, r in zip(unscorable, tiny.starts_low(completions), strict=True)]

    strata = ["rare" if row < 4 else "common" for row in range(32)]
    dataset = tiny.questions().add_column("level", strata)
    monitor = ConflictMonitor(dataset, stratify_by="level", **{**PROBE, "num_prompts": 24, "every": 6})
    trained(tmp_path, monitor, reward_funcs=scores_some)
    (record,) = monitor.records
    assert not {1, 3} & set(record.rows)
    weights = record.report.sampling_weights
    rare = torch.tensor([row < 4 for row in record.rows])
    assert weights[~rare].unique().item() == pytest.approx(7 * weights[rare].unique().item())
    num_dropped = 24 - len(weights)  # rare ones all
    drawn = (0.25 * (rare.sum() + num_dropped) + 1.75 * (~rare).sum()) / 24
    assert weights.mean().item() == pytest.approx(float(drawn))


def test_probe_prompts_that_are_trained_on_are_told(tmp_path, caplog):
    trained(tmp_path / "same", ConflictMonitor(tiny.questions(), **PROBE), max_steps=1)
    assert "32 of the 32 probe prompts are trained on too, row 0 for one" in caplog.text
    caplog.clear()
    others = tiny.questions(64).select(range(32, 64))
    trained(tmp_path / "others", ConflictMonitor(others, **PROBE), max_steps=1)
    assert "trained on too" not in caplog.text


def test_prompts_that_cannot_be_scored_are_left_out(tmp_path):
    def scores_even(completions, solution, **kwargs):
        return [None if int(s) % 2 else r for s, r in zip(solution, tiny.starts_low(completions), strict=True)]

    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6, "num_prompts": 32})
    trained(tmp_path, monitor, reward_funcs=scores_even)
    (record,) = read_records(tmp_path / "conflict.jsonl")
    assert sorted(record["rows"]) == [row for row in range(32) if row % 10 % 2 == 0]
    assert len(monitor.report.agreement) == len(record["rows"])


def test_a_prompt_with_a_gradient_that_is_not_finite_is_named_and_dropped(tmp_path, monkeypatch, caplog):
    def with_nan(*args, **kwargs):
        gram = gram_matrix(*args, **kwargs)
        gram.gram_MNN[:, 3] = gram.gram_MNN[:, :, 3] = torch.nan
        return gram

    monkeypatch.setattr("passk_trl.gradients.of_trainer.gram_matrix", with_nan)
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trained(tmp_path, monitor, reward_funcs=tiny.starts_low)
    (record,) = read_records(tmp_path / "conflict.jsonl")
    assert len(monitor.report.agreement) == len(record["rows"]) == 11
    (dropped,) = {row for row in range(32) if f"prompts [{row}] are not finite" in caplog.text}
    assert dropped not in record["rows"]


def test_the_sketch_agrees_with_exact_gradients_within_its_error_bars(tmp_path):
    reports = {}
    for gram in ("exact", "sketch"):
        monitor = ConflictMonitor(tiny.questions(), gram=gram, **{**PROBE, "every": 6, "num_prompts": 32})
        trained(tmp_path / gram, monitor, reward_funcs=tiny.starts_low)
        (record,) = read_records(tmp_path / gram / "conflict.jsonl")
        assert record["gram"] == gram
        reports[gram] = monitor.report
    exact, sketch = reports.values()
    assert torch.equal(exact.num_correct, sketch.num_correct)  # the same rollouts
    assert ((exact.inner_product - sketch.inner_product).abs() < 3 * sketch.inner_product_se).all()
    assert not torch.equal(exact.inner_product, sketch.inner_product)


def test_what_autograd_forms_is_told_once_and_recorded(tmp_path, caplog):
    class Scaled(torch.nn.Module):  # no closed form
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(32))

        def forward(self, x):
            return self.scale * x

    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 1})
    trainer = PassKGRPOTrainer(
        model=(policy := tiny.policy()),
        reward_funcs=tiny.starts_low,
        args=tiny.training_args(tmp_path, max_steps=2),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[monitor],
    )
    policy.model.layers[1].mlp = torch.nn.Sequential(policy.model.layers[1].mlp, Scaled())
    with caplog.at_level(logging.INFO):
        trainer.train()
    assert len(monitor.reports) == 2
    (said,) = [record.getMessage() for record in caplog.records if "the monitor takes in" in record.getMessage()]
    total = sum(parameter.numel() for parameter in policy.parameters())
    assert f"{total} of {total} trainable parameters, {total - 32} in closed form and 32 by autograd" in said
    first, _ = read_records(tmp_path / "conflict.jsonl")
    assert first["covered_parameters"] == first["trainable_parameters"] == total
    assert first["in_graph_parameters"] == 32
    assert first["left_out_parameters"] == []


def test_too_few_rollouts_for_the_k_trained_for_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="num_rollouts=4 shows k up to 3 only, not k=4; set num_rollouts to 5 or more"
    ):
        build(tmp_path, ConflictMonitor(tiny.questions(), **{**PROBE, "num_rollouts": 4}))


def test_a_callback_may_change_the_k_trained_for(tmp_path):
    class Annealing(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            args.pass_at_k = 4 - state.global_step // 2

    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = build(tmp_path, monitor)
    trainer.add_callback(Annealing())
    trainer.train()
    assert [record.training_k for record in monitor.records] == [4, 3, 2]
