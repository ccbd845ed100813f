"""Objectives in the config, the trainer and the monitor."""

import pytest
import torch
from trl import TrlParser

import tiny
from passk_trl import ConflictMonitor, PassKGRPOConfig, PassKGRPOTrainer
from passk_trl.estimators import passk_advantages
from passk_trl.interference import ObjectiveReport, known_cosine, measure_interference
from passk_trl.monitor.publishing import announce
from passk_trl.objectives import objective_from
from passk_trl.records import ProbeRecord, alarms_of, read_records


TRAINED = ["majority@3", "maxrl", "maxrl@4", "power:0.5", "power:2", "risk:2", "grpo"]


def trainer_of(output_dir, monitor=None, **options) -> PassKGRPOTrainer:
    options = {"max_steps": 2, "gradient_checkpointing": False, **options}
    return PassKGRPOTrainer(
        tiny.policy(),
        options.pop("reward_funcs", tiny.starts_low),
        tiny.training_args(output_dir, **options),
        tiny.questions(),
        processing_class=tiny.tokenizer(),
        callbacks=[monitor] if monitor else [],
    )


def place_of_first_character(completions, **kwargs) -> list[float]:
    """A real reward."""
    return [tiny.CHARACTERS.find(completion[0]["content"][:1]) / 4 - 1 for completion in completions]


@pytest.mark.parametrize("name", TRAINED)
def test_the_trainer_trains_with_each(tmp_path, name):
    trainer = trainer_of(tmp_path, objective=name)
    seen = []
    compute_loss = trainer._compute_loss

    def watched(model, inputs):
        seen.append(inputs["advantages"])
        return compute_loss(model, inputs)

    trainer._compute_loss = watched
    before = {key: tensor.clone() for key, tensor in trainer.model.state_dict().items()}
    trainer.train()
    assert any(not torch.equal(tensor, before[key]) for key, tensor in trainer.model.state_dict().items())
    assert any(advantages.any() for advantages in seen)
    [rewards] = trainer._logs["rewards"].values()
    rewards_PG = torch.tensor(list(rewards)).view(-1, 8)
    expected = objective_from(name).advantages(rewards_PG).flatten()
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), expected, rtol=0, atol=0)
    assert not torch.allclose(expected, passk_advantages(rewards_PG, 1).flatten())


def test_several_real_rewards_sum_their_advantages(tmp_path):
    trainer = trainer_of(
        tmp_path,
        objective="majority@3",
        reward_funcs=[place_of_first_character, tiny.starts_low],
        reward_weights=[0.5, 2.0],
        multi_objective_aggregation="normalize_then_sum",
        max_steps=1,
    )
    trainer.train()
    place_PG, low_PG = (torch.tensor(list(values)).view(-1, 8) for values in trainer._logs["rewards"].values())
    median = objective_from("majority@3")
    expected = 0.5 * median.advantages(place_PG) + 2 * median.advantages(low_PG)
    torch.testing.assert_close(torch.tensor(list(trainer._logs["advantages"])), expected.flatten())


def test_pass_at_k_by_name_is_pass_at_k_bit_for_bit(tmp_path):
    trainers = []
    for options in ({"objective": "max@4"}, {"pass_at_k": 4}):
        trainers.append(trainer_of(tmp_path, **options))
        trainers[-1].train()  # before the next is built, which seeds the random streams anew
    by_name, by_number = trainers
    torch.testing.assert_close(by_name.model.state_dict(), by_number.model.state_dict(), rtol=0, atol=0)
    assert {**by_name.args.to_dict(), "logging_dir": None} == {**by_number.args.to_dict(), "logging_dir": None}


def config(**options) -> PassKGRPOConfig:
    defaults = {"use_cpu": True, "bf16": False, "report_to": [], "num_generations": 8}
    return PassKGRPOConfig(output_dir="unused", **{**defaults, **options})


def test_the_config_takes_pass_at_k_by_name_and_keeps_the_rest():
    assert (config().objective, config().pass_at_k) == (None, 1)
    by_name = config(objective="pass@8", advantage_estimator="loo_minus_one")
    assert (by_name.objective, by_name.pass_at_k, by_name.advantage_estimator) == (None, 8, "loo_minus_one")
    assert config(objective="pass@4", pass_at_k=4).pass_at_k == 4
    assert (config(objective="risk:2.0").objective, config(objective="risk:2.0").pass_at_k) == ("risk:2", 1)
    assert config(objective="majority@7").to_dict()["objective"] == "majority@7"
    assert config(objective="maxrl").scale_rewards == "none"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"objective": "best"}, ["objective='best'", "majority@k (odd k)", "grpo"]),
        ({"objective": "majority@4"}, ["objective='majority@4'", "odd k"]),
        ({"objective": "maxrl", "pass_at_k": 4}, ["pass_at_k=4", "objective='maxrl'", "one of the two"]),
        ({"objective": "pass@8", "pass_at_k": 4}, ["pass_at_k=4", "objective='pass@8'", "one of the two"]),
        ({"objective": "pass@9"}, ["pass_at_k=9", "num_generations=8"]),
        ({"objective": "majority@9"}, ["objective='majority@9'", "raise num_generations=8"]),
        ({"objective": "maxrl", "advantage_estimator": "loo"}, ["advantage_estimator='loo'", "objective='maxrl'"]),
        ({"objective": "grpo", "advantage_estimator": "grpo"}, ["advantage_estimator='grpo'", "'weighted_loo'"]),
        ({"objective": "maxrl", "scale_rewards": "group"}, ["scale_rewards='group'", "'none' or 'batch'"]),
    ],
)
def test_the_config_refuses(options, words):
    with pytest.raises(ValueError) as refusal:
        config(**options)
    for word in words:
        assert word in str(refusal.value)


def test_a_recipe_names_the_objective(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("output_dir: out\nuse_cpu: true\nbf16: false\nreport_to: none\nobjective: majority@3\n")
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path)])
    assert args.objective == "majority@3"
    [args] = TrlParser(PassKGRPOConfig).parse_args_and_config(["--config", str(path), "--objective", "maxrl"])
    assert args.objective == "maxrl"


PROBE = {"every": 2, "num_prompts": 12, "num_rollouts": 8}


def test_the_monitor_measures_each_from_one_backward_pass(tmp_path, monkeypatch):
    passes = []
    from passk_trl.gradients import gram_matrix

    monkeypatch.setattr(
        "passk_trl.gradients.of_trainer.gram_matrix", lambda *a, **k: passes.append(1) or gram_matrix(*a, **k)
    )
    names = [*TRAINED, "pass@4"]
    monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=names)
    trainer = trainer_of(tmp_path, monitor, pass_at_k=4)
    trainer.train()
    assert len(passes) == 1
    [logged] = [entry for entry in trainer.state.log_history if "conflict/probe_seconds" in entry]
    [reports], [record] = monitor.objective_reports, read_records(tmp_path / "conflict.jsonl")
    assert list(reports) == names
    assert repr([ObjectiveReport.from_dict(each) for each in record["objectives"]]) == repr(list(reports.values()))
    for name, report in reports.items():
        assert logged[f"conflict/inner_product@{name}"] == report.inner_product
        told = known_cosine(report.cosine, report.cosine_low, report.cosine_high)
        assert logged.get(f"conflict/cosine@{name}") == (None if told is None else pytest.approx(told))
    at_4 = monitor.report.at(4)
    assert reports["pass@4"].inner_product == pytest.approx(monitor.report.inner_product[at_4].item(), rel=1e-9)
    [alarm] = alarms_of(monitor.records)
    assert (logged["conflict/in_conflict"], logged["conflict/evidence"]) == (float(alarm.in_conflict), alarm.evidence)


def test_without_objectives_logs_and_file_are_as_they_were(tmp_path):
    logs = {}
    for name, objectives in {"with": ["maxrl"], "without": []}.items():
        monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=objectives)
        trainer = trainer_of(tmp_path / name, monitor, pass_at_k=4)
        trainer.train()
        [logged] = [entry for entry in trainer.state.log_history if "conflict/probe_seconds" in entry]
        [record] = read_records(tmp_path / name / "conflict.jsonl")
        logs[name] = (set(logged), record)
    of_the_objective = {"conflict/inner_product@maxrl", "conflict/cosine@maxrl"}
    assert {"conflict/inner_product@maxrl"} <= logs["with"][0] - logs["without"][0] <= of_the_objective
    assert set(logs["with"][1]) - set(logs["without"][1]) == {"objectives"}
    assert logs["with"][1]["report"] == logs["without"][1]["report"]


def test_the_objective_trained_for_is_measured_and_a_resumed_run_knows_it(tmp_path):
    options = {"objective": "majority@3", "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = trainer_of(tmp_path, monitor, **options)
    trainer.train()
    assert [list(each) for each in monitor.objective_reports] == [["majority@3"]] * 2
    again = ConflictMonitor(tiny.questions(), **PROBE)
    trainer_of(tmp_path, again, **options).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert repr(again.objective_reports) == repr(monitor.objective_reports)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_in_conflict_speaks_of_the_objective_trained_for(tmp_path, monkeypatch, sign):
    """At k = 1, which the config then has, there is none."""
    measured = ObjectiveReport("maxrl", sign, sign - 0.4, sign + 0.4, 1.0, sign, sign, sign)
    monkeypatch.setattr("passk_trl.monitor.prober.measure_objectives", lambda **arguments: [measured])
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = trainer_of(tmp_path, monitor, objective="maxrl")
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "conflict/in_conflict" in entry]
    assert logged["conflict/in_conflict"] == (sign < 0)
    assert not monitor.report.in_conflict(1)


def test_a_conflict_of_the_objective_trained_for_is_announced(tmp_path, caplog):
    monitor = ConflictMonitor(tiny.questions(), **PROBE)
    trainer = trainer_of(tmp_path, monitor, objective="maxrl")
    report = measure_interference(torch.ones(12, 12), [4] * 12, 8)
    for step, sign in enumerate([1, -1, -1, 1]):
        measured = ObjectiveReport("maxrl", sign, sign - 0.25, sign + 0.25, 1.0, float(sign), -1.0, 1.0)
        record = ProbeRecord(step, 1, report, [], {}, {"maxrl": measured}, None)
        monitor.records.append(record)
        announce(trainer, monitor.records, monitor.training_objective)
    assert [record.getMessage() for record in caplog.records if "pass@1" in record.getMessage()] == [
        "step 1: training for maxrl works against pass@1, by the evidence of the reports so far (95% of runs without "
        "a conflict never raise this alarm). In this report, <grad J_f, grad J_1> is -1, 95% interval -1.25 to -0.75.",
        "step 3: training for maxrl no longer works against pass@1, by the reports since then.",
    ]


def test_the_monitor_refuses_what_it_cannot_measure(tmp_path):
    with pytest.raises(ValueError, match="objective='best' is unknown"):
        ConflictMonitor(tiny.questions(), **PROBE, objectives=["best"])
    monitor = ConflictMonitor(tiny.questions(), **PROBE, objectives=["majority@9"])
    with pytest.raises(ValueError, match=r"num_rollouts=8 does not show majority@9; set num_rollouts to 10 or more"):
        trainer_of(tmp_path, monitor)
