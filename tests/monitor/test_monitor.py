"""The monitor: what it measures, what it leaves alone, what it refuses, and what survives a crash."""

import json
import logging
import random
import warnings

import numpy as np
import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

import tiny
from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.gradients import gram_matrix
from passk_trl.interference import InterferenceReport, measure_interference
from passk_trl.interference.forecasting import Forecast
from passk_trl.records import ProbeRecord, read_records
from passk_trl.rollouts.undisturbed import undisturbed


PROBE = {"every": 2, "num_prompts": 12, "num_rollouts": 8}


def noisy_reward(completions, log_metric, log_extra, **kwargs):
    """Draws from every random stream and logs, as reward functions in the field do."""
    draws = [random.random() + float(np.random.rand()) + torch.rand(()).item() for _ in completions]
    log_metric("mean_draw", sum(draws) / len(draws))
    log_extra("draw", draws)
    return [float(draw > 1.5) for draw in draws]


def trained(output_dir, monitor=None, trainer_class=PassKGRPOTrainer, config=PassKGRPOConfig, peft=None, **overrides):
    if config is PassKGRPOConfig:
        overrides.setdefault("pass_at_k", 4)
    trainer = trainer_class(
        model=tiny.policy(),
        reward_funcs=overrides.pop("reward_funcs", noisy_reward),
        args=tiny.training_args(output_dir, config, **overrides),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        peft_config=peft,
    )
    if monitor is not None:
        monitor.attach(trainer)
    trainer.train()
    return trainer


def training_state(trainer):
    """All that training consists of, and TRL's metrics without clock times."""
    optimizer = [value for state in trainer.optimizer.state.values() for value in state.values()]
    ours = ("conflict/", "passk/")
    clock = ("step_time", "runtime", "per_second")
    history = [
        {key: value for key, value in entry.items() if not key.startswith(ours) and not any(c in key for c in clock)}
        for entry in trainer.state.log_history
    ]
    streams = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    weights = [p.tolist() for p in trainer.model.state_dict().values()]
    return weights, [v.tolist() if isinstance(v, torch.Tensor) else v for v in optimizer], streams, history


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"trainer_class": GRPOTrainer, "config": GRPOConfig},
        {"peft": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)},
        {"num_iterations": 2, "steps_per_generation": 4, "gradient_checkpointing": False},
        {"report_to": ["tensorboard"]},
    ],
    ids=["pass@k", "plain GRPO", "LoRA", "reused rollouts", "figures logged"],
)
def test_training_is_bit_identical_with_and_without_the_monitor(tmp_path, setting):
    monitor = ConflictMonitor(tiny.questions(), at_start=True, **PROBE)
    watched = training_state(trained(tmp_path / "watched", monitor, **setting))
    alone = training_state(trained(tmp_path / "alone", **setting))
    assert monitor.steps == [0, 2, 4, 6]
    for of_watched, of_alone in zip(watched, alone, strict=True):
        assert of_watched == of_alone


def test_the_comparison_would_notice_a_disturbance(tmp_path):
    class Disturbing(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            torch.rand(1)

    alone = trained(tmp_path / "alone")
    disturbed = PassKGRPOTrainer(
        model=tiny.policy(),
        reward_funcs=noisy_reward,
        args=tiny.training_args(tmp_path, pass_at_k=4),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[Disturbing()],
    )
    state_alone = training_state(alone)
    disturbed.train()
    assert training_state(disturbed)[0] != state_alone[0]


def test_what_is_logged_and_kept(tmp_path):
    monitor = ConflictMonitor(tiny.questions(), at_start=True, **PROBE)
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low)
    logged = [entry for entry in trainer.state.log_history if "conflict/probe_seconds" in entry]
    assert [entry["step"] for entry in logged] == [1, 2, 4, 6]  # the probe of step 0 is logged with the first step
    seldom = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 3})
    of_two = trained(tmp_path / "seldom", seldom, reward_funcs=tiny.starts_low, logging_steps=6).state.log_history[0]
    assert of_two["conflict/pass@1"] == pytest.approx(seldom.reports[-1].success_rate.mean().item())  # no average
    last = logged[-1]
    assert last["conflict/coverage"] == 1
    assert 0 < last["conflict/overhead"] < 1
    for k in (1, 2, 4):
        at_k = monitor.report.at(k)
        assert last[f"conflict/inner_product@{k}"] == pytest.approx(monitor.report.inner_product[at_k].item())
        forecast = monitor.forecasts[-1].change[at_k].item()
        assert last[f"conflict/forecast_pass@{k}"] == pytest.approx(forecast)
        assert forecast != 0
    rate = monitor.report.success_rate.mean().item()
    assert last["conflict/pass@1"] == pytest.approx(rate)
    assert 0 < rate < last["conflict/pass@8"] <= 1

    records = read_records(tmp_path / "conflict.jsonl")
    assert [record["step"] for record in records] == [0, 2, 4, 6]
    for record, report in zip(records, monitor.reports, strict=True):
        assert InterferenceReport.from_dict(record["report"]).to_dict() == report.to_dict()
        assert len(set(record["rows"])) == 12
        assert record["covered_parameters"] == record["trainable_parameters"]
    assert "forecast" not in records[0]  # before the first step
    assert [Forecast.from_dict(r["forecast"]).to_dict() for r in records[1:]] == [
        forecast.to_dict() for forecast in monitor.forecasts[1:]
    ]
    assert records[0]["rows"] != records[1]["rows"]  # drawn anew


def test_a_record_has_the_text_of_the_prompts_that_interfere_most(tmp_path):
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trained(tmp_path, monitor)  # on random rewards, so that gradients point anywhere
    (record,) = read_records(tmp_path / "conflict.jsonl")
    worst = [record["rows"][i] for i in monitor.report.most_negative(4, count=8)]
    assert worst
    assert record["texts"] == [[row, f"{row}?"] for row in worst]


def test_a_forecast_can_be_left_out_and_is_where_the_step_has_seen_the_rollouts(tmp_path):
    without = ConflictMonitor(tiny.questions(), forecast=False, **PROBE)
    trainer = trained(tmp_path / "without", without, reward_funcs=tiny.starts_low)
    of_training_batch = ConflictMonitor(every=2, num_prompts=8)
    trained(tmp_path / "batch", of_training_batch, reward_funcs=tiny.starts_low, generation_batch_size=64)
    assert without.forecasts == of_training_batch.forecasts == [None] * 3
    assert not any("forecast" in name for entry in trainer.state.log_history for name in entry)


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
    expected = (report.sampling_weights * report.success_rate).mean().item()
    assert trainer.state.log_history[-2]["conflict/pass@1"] == pytest.approx(expected)


def test_probe_prompts_that_are_trained_on_are_told(tmp_path, caplog):
    trained(tmp_path / "same", ConflictMonitor(tiny.questions(), **PROBE), max_steps=1)
    assert "32 of the 32 probe prompts are trained on too, row 0 for one" in caplog.text
    caplog.clear()
    others = tiny.questions(64).select(range(32, 64))
    trained(tmp_path / "others", ConflictMonitor(others, **PROBE), max_steps=1)
    assert "trained on too" not in caplog.text


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


def test_the_file_of_an_earlier_run_is_kept_apart(tmp_path, caplog):
    for _ in range(2):
        trained(tmp_path, ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6}), reward_funcs=tiny.starts_low)
    assert len(read_records(tmp_path / "conflict.jsonl")) == 1
    (earlier,) = tmp_path.glob("conflict.*.jsonl")
    assert len(read_records(earlier)) == 1
    assert "of an earlier run" in caplog.text


def test_a_reward_that_raises_in_a_probe_skips_it_and_says_so_once(tmp_path, caplog):
    def fails_on_probes(completions, from_probe, **kwargs):
        if any(from_probe):
            raise ZeroDivisionError("the verifier gave up")
        return tiny.starts_low(completions)

    probe_set = tiny.questions().map(lambda row: {"from_probe": True})
    trainer = PassKGRPOTrainer(
        model=tiny.policy(),
        reward_funcs=fails_on_probes,
        args=tiny.training_args(tmp_path, pass_at_k=4),
        train_dataset=tiny.questions().map(lambda row: {"from_probe": False}),
        processing_class=tiny.tokenizer(),
        callbacks=[monitor := ConflictMonitor(probe_set, **PROBE)],
    )
    trainer.train()
    assert trainer.state.global_step == 6
    assert monitor.reports == []
    failures = [record for record in caplog.records if "probe failed" in record.getMessage()]
    assert len(failures) == 1
    assert "the verifier gave up" in caplog.text
    assert "fails_on_probes" in caplog.text  # the traceback


def test_rewards_other_than_0_and_1_need_a_threshold(tmp_path, caplog):
    def graded(completions, **kwargs):
        return [0.3 + 0.4 * right for right in tiny.starts_low(completions)]

    trained(tmp_path / "none", monitor := ConflictMonitor(tiny.questions(), **PROBE), reward_funcs=graded)
    assert monitor.reports == []
    assert "set success_threshold" in caplog.text
    trained(
        tmp_path / "own",
        of_own := ConflictMonitor(tiny.questions(), success_threshold=0.5, **PROBE),
        reward_funcs=graded,
    )
    trained(
        tmp_path / "config",
        of_config := ConflictMonitor(tiny.questions(), **PROBE),
        reward_funcs=graded,
        success_threshold=0.5,
    )
    for monitor in (of_own, of_config):
        assert 0 < monitor.report.success_rate.mean() < 1


def test_prompts_that_cannot_be_scored_are_left_out(tmp_path):
    def scores_even(completions, solution, **kwargs):
        return [None if int(s) % 2 else r for s, r in zip(solution, tiny.starts_low(completions), strict=True)]

    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6, "num_prompts": 32})
    trained(tmp_path, monitor, reward_funcs=scores_even)
    (record,) = read_records(tmp_path / "conflict.jsonl")
    assert sorted(record["rows"]) == [row for row in range(32) if row % 10 % 2 == 0]
    assert len(monitor.report.agreement) == len(record["rows"])


def test_each_crossing_is_announced_once(caplog):
    class Trainer:  # all that announcing asks of a trainer
        args = type("Args", (), {"pass_at_k": 4})()
        accelerator = type("Accelerator", (), {"is_main_process": True})()

    def report(sign):
        opposed = torch.tensor([1.0] * 12 + [-1.0] * 4)
        gram_NN = opposed[:, None] * opposed[None, :] if sign < 0 else torch.ones(16, 16)
        return measure_interference(gram_NN, [7] * 12 + [1] * 4, 8)

    assert report(-1).in_conflict(4)
    assert not report(1).in_conflict(4)
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    monitor._trainer = Trainer()
    with caplog.at_level(logging.WARNING):
        for step, sign in enumerate([1, -1, -1, 1, 1, -1]):
            record = ProbeRecord(step, 4, report(sign), [], {}, {}, None)
            monitor._announce(record)
            monitor.records.append(record)
    said = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in said] == ["step 1", "step 3", "step 5"]
    assert "training for pass@4 now works against pass@1" in said[0]
    assert "The conflict begins at k = " in said[0]
    assert "no longer works against pass@1" in said[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probe_dataset": tiny.questions(0)}, "probe_dataset has 0 rows, fewer than num_prompts=12; give more rows"),
        ({"probe_dataset": tiny.questions(11)}, "probe_dataset has 11 rows, fewer than num_prompts=12"),
        ({"probe_dataset": tiny.questions().rename_column("prompt", "question")}, "has no column 'prompt', only"),
        ({"num_prompts": 3}, "num_prompts=3 is too few for an error bar; set at least 8"),
        ({"num_rollouts": 1}, "num_rollouts=1 shows no k above 1; set at least 3"),
        ({"every": 0}, "every=0 is not a number of steps; set at least 1"),
        ({"gram": "magic"}, "gram='magic' is unknown; set 'auto', 'exact' or 'sketch'"),
        ({"probe_batch_size": 0}, "probe_batch_size=0 is not a number of prompts; set at least 1"),
        ({"confidence": 95}, "confidence=95 is not a level; set a number between 0 and 1"),
        ({"ks": [0.5, 2]}, r"ks=\[0.5, 2\] holds a k below 1; set numbers from 1"),
        ({"parameters": "("}, r"parameters='\(' is not a regular expression"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConflictMonitor(**{"probe_dataset": tiny.questions(), **PROBE, **arguments})


def build(tmp_path, monitor, **overrides):
    arguments = {
        "model": tiny.policy(),
        "reward_funcs": tiny.starts_right,
        "train_dataset": tiny.questions(),
        "processing_class": tiny.tokenizer(),
    }
    args = tiny.training_args(tmp_path, pass_at_k=4, **overrides.pop("args", {}))
    return PassKGRPOTrainer(args=args, callbacks=[monitor], **{**arguments, **overrides})


def test_a_probe_set_without_the_columns_that_rewards_need_is_refused(tmp_path):
    monitor = ConflictMonitor(tiny.questions().remove_columns("solution"), **PROBE)
    with pytest.raises(
        ValueError, match="reward function 'starts_right' needs solution, which the probe prompts lack"
    ):
        build(tmp_path, monitor)


def test_too_few_rollouts_for_the_k_trained_for_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="num_rollouts=4 shows k up to 3 only, not k=4; set num_rollouts to 5 or more"
    ):
        build(tmp_path, ConflictMonitor(tiny.questions(), **{**PROBE, "num_rollouts": 4}))


def test_rollouts_that_cannot_be_repeated_are_refused(tmp_path):
    def rollout_func(prompts, trainer):
        raise AssertionError("not called")

    with pytest.raises(ValueError, match="has a rollout_func, tools or an environment_factory"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), rollout_func=rollout_func)


@pytest.mark.parametrize("truncation", [{"top_p": 0.9}, {"top_k": 10}, {"min_p": 0.1}, {"repetition_penalty": 1.1}])
def test_truncated_sampling_is_warned_about(tmp_path, truncation):
    (name, value), *_ = truncation.items()
    with pytest.warns(UserWarning, match=f"{name}={value}: completions are sampled from a truncated policy"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), args=truncation)


def test_the_whole_distribution_is_not_warned_about(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE))
    assert not [w for w in caught if "truncated policy" in str(w.message)]


def test_a_monitor_without_a_trainer_says_how_to_get_one(tmp_path):
    trainer = GRPOTrainer(
        model=tiny.policy(),
        reward_funcs=tiny.starts_low,
        args=tiny.training_args(tmp_path, GRPOConfig),
        train_dataset=tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[ConflictMonitor(tiny.questions(), **PROBE)],
    )
    with pytest.raises(ValueError, match=r"call ConflictMonitor\(\.\.\.\)\.attach\(trainer\)"):
        trainer.train()


def test_records_are_json_that_any_reader_takes(tmp_path):
    trained(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), reward_funcs=tiny.starts_right)
    for line in (tmp_path / "conflict.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_without_a_probe_set_the_training_batch_is_probed_and_nothing_generated(tmp_path):
    seen = []

    def recorded(completions, **kwargs):
        seen.append(completions)
        return tiny.starts_low(completions)

    setting = {
        "reward_funcs": recorded,
        "per_device_train_batch_size": 32,
        "num_iterations": 2,
        "steps_per_generation": 4,
    }
    monitor = ConflictMonitor(None, every=2, num_prompts=8)
    watched = training_state(trained(tmp_path / "watched", monitor, **setting))
    calls = len(seen)
    alone = training_state(trained(tmp_path / "alone", **setting))
    assert len(seen) == 2 * calls  # the reward functions were never called for a probe
    for of_watched, of_alone in zip(watched, alone, strict=True):
        assert of_watched == of_alone
    assert monitor.steps == [2, 4, 6]
    assert monitor.report.num_samples.tolist() == [8] * 8
    # The last probe, at step 6, is of the rollouts generated for steps 5 to 8: the last that were scored.
    last = tiny.starts_low(seen[calls - 1])
    num_correct = [int(sum(last[first : first + 8])) for first in range(0, len(last), 8)]
    record = read_records(tmp_path / "watched" / "conflict.jsonl")[-1]
    rows = record["rows"]
    assert "texts" not in record
    assert monitor.report.num_correct.tolist() == [num_correct[group] for group in rows]


def test_a_training_batch_of_too_few_prompts_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_prompts=64 is more than the 2 prompts of a training batch"):
        build(tmp_path, ConflictMonitor(None))
    with pytest.raises(ValueError, match="at_start=True finds no training batch before the first step"):
        ConflictMonitor(None, at_start=True)


def test_max_overhead_puts_probes_off_and_leaves_each_as_it_is(tmp_path):
    every = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 1})
    trained(tmp_path / "every", every, reward_funcs=tiny.starts_low)
    seldom = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 1}, max_overhead=1e-6)
    trained(tmp_path / "seldom", seldom, reward_funcs=tiny.starts_low)
    assert every.steps == [1, 2, 3, 4, 5, 6]
    assert seldom.steps == [1]  # what a probe costs is not known before the first
    assert seldom.report.to_dict() == every.reports[0].to_dict()
    with pytest.raises(ValueError, match="max_overhead=5 is not a fraction of the time; set a number between 0 and 1"):
        ConflictMonitor(tiny.questions(), max_overhead=5)


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


def out_of_memory_above(most: int, sizes: list[int], generate):
    def limited(prompt_ids, *args, num_generations):
        sizes.append(len(prompt_ids))
        if len(prompt_ids) > most:
            raise torch.OutOfMemoryError("no memory left")
        return generate(prompt_ids, *args, num_generations=num_generations)

    return limited


def test_generation_that_runs_out_of_memory_is_halved(tmp_path, monkeypatch):
    sizes: list[int] = []
    monitor = ConflictMonitor(tiny.questions(), **{**PROBE, "every": 6})
    trainer = trained(tmp_path, monitor, reward_funcs=tiny.starts_low, max_steps=1, generation_batch_size=64)
    limited = out_of_memory_above(2 * PROBE["num_rollouts"], sizes, trainer._generate_single_turn)
    monkeypatch.setattr(trainer, "_generate_single_turn", limited)
    monitor._probe(trainer.state)
    assert sizes == [64, 32, *[16] * 6]  # of 8 rollouts each for 12 prompts
    assert len(monitor.reports) == 1


def test_what_is_left_out_is_named_once(tmp_path, caplog):
    class Scaled(torch.nn.Module):  # no layer kind that is covered
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
    trainer.train()
    assert len(monitor.reports) == 2
    (said,) = [record.getMessage() for record in caplog.records if "leave out" in record.getMessage()]
    assert "model.layers.1.mlp.1.scale" in said
    first, _ = read_records(tmp_path / "conflict.jsonl")
    assert first["left_out_parameters"] == ["model.layers.1.mlp.1.scale"]
    assert first["trainable_parameters"] - first["covered_parameters"] == 32


def test_ranks_that_share_a_vllm_draw_the_same(tmp_path, monkeypatch):
    trainer = trained(tmp_path, reward_funcs=tiny.starts_low, max_steps=1)
    draws = {}
    for tensor_parallel_size in (1, 2):
        trainer.args.vllm_tensor_parallel_size = tensor_parallel_size
        for rank in range(4):
            monkeypatch.setattr(type(trainer.accelerator), "process_index", rank)
            with undisturbed(trainer, seed=0):
                draws[tensor_parallel_size, rank] = torch.rand(()).item()
    assert len({draws[1, rank] for rank in range(4)}) == 4
    assert draws[2, 0] == draws[2, 1] != draws[2, 2] == draws[2, 3]
