"""What is announced and logged of a probe."""

import math
from dataclasses import replace

import torch

from passk_trl.interference import ProbeSample, measure_interference, measure_objectives
from passk_trl.interference.alarm import Alarm, alarms
from passk_trl.interference.forecasting import forecast
from passk_trl.monitor.logged import coverage_in_words, crossing, left_out_in_words, metrics_of
from passk_trl.objectives import objective_from
from passk_trl.records import ProbeRecord, alarms_of
from runs import record


def test_metrics_are_of_the_logged_k_only_and_without_an_onset_there_is_none():
    opposed, aligned = (ProbeRecord.from_dict(record(10, opposed=each)) for each in (True, False))
    alarm, calm = Alarm(True, 333.0), Alarm(False, 0.6)
    metrics = metrics_of(opposed, alarm)
    assert {name for name in metrics if "@" in name} == {
        *(f"conflict/inner_product@{k}" for k in (1, 2, 4)),
        *(
            f"conflict/cosine@{k}" for k in (2, 4)
        ),  # at k = 1 its interval has no end: ‖∇J_1‖² is within its error of 0
        *(f"conflict/forecast_pass@{k}" for k in (1, 2, 4)),
        *(f"conflict/pass@{k}" for k in (1, 2, 4, 8)),
    }
    assert metrics["conflict/onset_k"] == opposed.report.onset
    assert (metrics["conflict/in_conflict"], metrics["conflict/evidence"]) == (1, 333.0)
    assert "conflict/coverage" not in metrics  # which this record does not have
    assert "conflict/onset_k" not in metrics_of(aligned, calm)
    assert metrics_of(aligned, calm)["conflict/in_conflict"] == 0


def test_the_age_of_a_window_is_logged_and_its_drift_where_there_is_one():
    window = replace(ProbeRecord.from_dict(record(10, opposed=True)), first_step=3, drift=(-0.5, 0.2))
    calm = Alarm(False, 0.6)
    metrics = metrics_of(window, calm)
    assert (metrics["conflict/window_age"], metrics["conflict/drift"]) == (7, -0.5)
    for nothing in ((-0.1, 0.2), (math.nan, math.nan)):
        assert "conflict/drift" not in metrics_of(replace(window, drift=nothing), calm)
    of_a_probe = metrics_of(ProbeRecord.from_dict(record(10, opposed=True)), calm)
    assert not {"conflict/window_age", "conflict/drift"} & set(of_a_probe)


def test_what_a_probe_of_noise_cannot_tell_is_no_metric():
    gradients = torch.randn(16, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    report = measure_interference(gradients @ gradients.T, [7] * 12 + [1] * 4, 8)
    assert report.pass1_is_lost
    metrics = metrics_of(ProbeRecord(5, 4, report, [], {}, {}, None), Alarm(False, 1.0))
    assert not {name for name in metrics if "cosine" in name or "onset" in name}
    assert all(map(math.isfinite, metrics.values()))
    solved = measure_interference(torch.zeros(16, 16), [8] * 16, 8)
    assert "conflict/negative_fraction" not in metrics_of(
        ProbeRecord(5, 4, solved, [], {}, {}, None), Alarm(False, 1.0)
    )


def test_the_announcement_of_a_lost_gradient_names_no_onset():
    """⟨∇J_4, ∇J_1⟩ is significant, and ‖∇J_1‖² is not measured above 0."""
    opposed = ProbeRecord.from_dict(record(10, opposed=True))
    lost = replace(opposed.report, agreement=-opposed.report.agreement, onset=None)
    assert lost.pass1_is_lost
    said = crossing([replace(opposed, report=lost)])
    assert "begins at" not in said
    assert "pass@1's gradient is lost in the noise" in said


def test_a_crossing_is_seen_from_all_probes_before():
    opposed, aligned = (ProbeRecord.from_dict(record(10, opposed=each)) for each in (True, False))
    assert crossing([aligned]) is crossing([aligned, aligned]) is crossing([opposed, opposed]) is None
    assert crossing([opposed]) == crossing([aligned, opposed])
    said = [crossing([opposed, *[aligned] * times]) for times in range(1, 6)]
    assert said[0] is None  # two standard errors of one probe are not enough
    assert said.count("step 10: training for pass@4 no longer works against pass@1, by the reports since then.") == 1


def test_what_is_measured_is_said_in_words():
    counts = {"covered_parameters": 750, "in_graph_parameters": 50, "trainable_parameters": 1000}
    measured = {**record(10, opposed=True), **counts, "gram": "sketch"}
    whole = ProbeRecord.from_dict({**measured, "left_out_parameters": []})
    partial = ProbeRecord.from_dict({**measured, "left_out_parameters": ["a", "b"]})
    assert coverage_in_words(whole) == (
        "the monitor takes in 750 of 1000 trainable parameters, 700 in closed form and 50 by autograd, as sketches "
        "of a fixed size (gram='sketch')."
    )
    assert left_out_in_words(whole) is None
    assert left_out_in_words(partial) == (
        "the monitor leaves out 25.0% of the trainable parameters, whose gradients cannot be taken: a, b."
    )


def test_what_no_pair_of_prompts_tells_is_no_metric():
    sample = ProbeSample.of(torch.zeros(12, 12), [0] * 12, 8)
    objectives = measure_objectives(**sample.arguments, objectives=[objective_from("maxrl")])
    report = measure_interference(**sample.arguments)
    change = forecast(torch.zeros(12), **sample.counts, ks=report.ks)
    nothing = ProbeRecord(10, 4, report, [], {}, {each.name: each for each in objectives}, change)
    metrics = metrics_of(nothing, Alarm(False, 1.0))
    assert {name for name in metrics if "@" in name} == {f"conflict/pass@{k}" for k in (1, 2, 4, 8)}
    # And the alarm takes it for a report that was not made.
    told = ProbeRecord.from_dict(record(20, opposed=True))
    value, margin = told.against_pass1()
    assert alarms_of([told, nothing, told]) == alarms([value, math.nan, value], [margin] * 3)
    assert nothing.against_pass1("maxrl")[0] == 0
    assert math.isnan(nothing.against_pass1("maxrl")[1])
