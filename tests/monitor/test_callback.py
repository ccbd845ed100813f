"""When the monitor probes, that training does not change, and what is kept when a probe fails."""

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

import tiny
import trainers
from passk_trl import ConflictMonitor, PassKGRPOTrainer
from passk_trl.interference import InterferenceReport
from passk_trl.interference.forecasting import Forecast
from passk_trl.monitor.trackers import TrackerFigures
from passk_trl.records import read_records
from watched import PROBE, noisy_reward, trained, training_state


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"trainer_class": GRPOTrainer, "config": GRPOConfig},
        {"trainer_class": RLOOTrainer, "config": RLOOConfig, "beta": 0.0, "num_generations": 4},
        {"trainer_class": RLOOTrainer, "config": RLOOConfig, "beta": 0.0, "report_to": ["tensorboard"]},
        {"trainer_class": GMPOTrainer, "config": GMPOConfig},
        {"peft": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], lora_dropout=0.1)},
        {"num_iterations": 2, "steps_per_generation": 4, "gradient_checkpointing": False},
        {"report_to": ["tensorboard"]},
    ],
    ids=["pass@k", "GRPO", "RLOO", "RLOO, figures logged", "GMPO", "LoRA", "reused rollouts", "figures logged"],
)
def test_training_is_bit_identical_with_and_without_the_monitor(tmp_path, setting):
    monitor = ConflictMonitor(tiny.questions(), at_start=True, **PROBE)
    watched = training_state(trained(tmp_path / "watched", monitor, **setting))
    alone = training_state(trained(tmp_path / "alone", **setting))
    assert monitor.steps == [0, 2, 4, 6]
    assert monitor.report.num_samples.tolist() == [PROBE["num_rollouts"]] * PROBE["num_prompts"]
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


def test_a_forecast_can_be_left_out_and_is_where_the_step_has_seen_the_rollouts(tmp_path):
    without = ConflictMonitor(tiny.questions(), forecast=False, **PROBE)
    trainer = trained(tmp_path / "without", without, reward_funcs=tiny.starts_low)
    of_training_batch = ConflictMonitor(every=2, num_prompts=8)
    trained(tmp_path / "batch", of_training_batch, reward_funcs=tiny.starts_low, generation_batch_size=64)
    assert without.forecasts == of_training_batch.forecasts == [None] * 3
    assert not any("forecast" in name for entry in trainer.state.log_history for name in entry)


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
    failures = [record for record in caplog.records if "report failed" in record.getMessage()]
    assert len(failures) == 1
    assert "the verifier gave up" in caplog.text
    assert "fails_on_probes" in caplog.text  # the traceback


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


@pytest.mark.parametrize("add", [ConflictMonitor.attach, lambda monitor, trainer: trainer.add_callback(monitor)])
@pytest.mark.parametrize("is_among_the_callbacks", [True, False])
def test_a_monitor_that_is_added_again_reports_once(tmp_path, is_among_the_callbacks, add):
    monitor = ConflictMonitor(every=1, ride=True, window=16)
    trainer = trainers.build(tmp_path, max_steps=6, parts={"callbacks": [monitor]} if is_among_the_callbacks else None)
    for _ in range(2):
        add(monitor, trainer)
    trainer.train()
    assert monitor.steps == [record["step"] for record in read_records(tmp_path / "conflict.jsonl")]
    assert len(set(monitor.steps)) == len(monitor.steps) > 0
    assert sum(isinstance(callback, TrackerFigures) for callback in trainer.callback_handler.callbacks) == 1


@pytest.mark.parametrize("ride", [False, True])
def test_a_monitor_with_a_second_trainer_leaves_the_first(tmp_path, caplog, ride):
    probe = {"probe_dataset": tiny.questions(), "num_prompts": 8, "num_rollouts": 5}
    monitor = ConflictMonitor(every=1, **({"ride": True, "window": 16} if ride else probe))
    first = trainers.build(tmp_path / "first", pass_at_k=2, max_steps=6, parts={"callbacks": [monitor]})
    first.train()
    assert monitor.reports
    second = trainers.build(tmp_path / "second", objective="maxrl", num_generations=4, max_steps=6)
    monitor.attach(second)
    assert monitor.reports == []
    assert "leaves its earlier one" in caplog.text
    assert monitor not in first.callback_handler.callbacks
    first.train()
    assert monitor.reports == []
    second.train()
    assert [*monitor.objective_reports[0]] == ["maxrl"]
    assert monitor.report.ks.tolist() == ([1, 2, 3] if ride else [1, 2, 3, 4])


def test_a_trainer_that_is_refused_leaves_the_first_one_its_monitor(tmp_path, caplog):
    monitor = ConflictMonitor(ride=True, window=16, every=1)
    first = trainers.build(tmp_path / "first", pass_at_k=2, max_steps=6, parts={"callbacks": [monitor]})
    refused = trainers.build(tmp_path / "second", mask_truncated_completions=True)
    with pytest.raises(ValueError, match="mask_truncated_completions"):
        monitor.attach(refused)
    first.train()
    assert monitor.reports
    assert "leaves its earlier one" not in caplog.text
