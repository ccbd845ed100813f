"""What a probe leaves on disk, and what is made of a file that is not whole."""

import json
import logging
from dataclasses import replace
from math import isnan, nan

import pytest
import torch

from passk_trl.estimators import pass_at_k
from passk_trl.interference import ObjectiveReport, measure_interference
from passk_trl.records import (
    ProbeRecord,
    alarms_of,
    read_lines,
    read_records,
    weighed_k,
)
from runs import interference, record


def test_what_is_no_record_is_skipped_and_named(tmp_path, caplog):
    path = tmp_path / "conflict.jsonl"
    half = json.dumps(record(2, opposed=True))[:200]
    without_report = json.dumps({"step": 3})
    whole = [json.dumps(record(step, opposed=True)) for step in (0, 4)]
    path.write_bytes("\n".join([whole[0], half, without_report, "7", whole[1], ""]).encode() + b"\xff\x00\n")
    records, corrupt = read_lines(path)
    assert [each["step"] for each in records] == [0, 4]
    assert corrupt == [2, 3, 4, 6]
    with caplog.at_level(logging.WARNING):
        assert read_records(path) == records
    assert "skipped what is not a record, on line 2, 3, 4, 6" in caplog.text


def test_a_last_line_that_is_being_written_is_no_corruption(tmp_path):
    path = tmp_path / "conflict.jsonl"
    path.write_text(json.dumps(record(0, opposed=True)) + "\n" + json.dumps(record(2, opposed=True))[:300])
    records, corrupt = read_lines(path)
    assert ([each["step"] for each in records], corrupt) == ([0], [])


def test_a_record_is_read_as_it_was_written():
    content = record(10, opposed=True)
    read = ProbeRecord.from_dict(json.loads(json.dumps(content)))
    assert read.report.to_dict() == content["report"]
    assert read.forecast.to_dict() == content["forecast"]
    assert (read.step, read.training_k, read.rows[3]) == (10, 4, 30)
    assert read.texts[120] == "What is 2 + 2? (12)"
    of_an_earlier_version = ProbeRecord.from_dict({"step": 0, "report": content["report"]})
    assert (of_an_earlier_version.texts, of_an_earlier_version.forecast) == ({}, None)
    assert of_an_earlier_version.in_graph_parameters is None


def test_a_record_is_written_as_it_was_read_and_without_what_it_does_not_have():
    content = {
        "step": 10,
        "training_k": 4,
        "probe_seconds": 1.5,
        "covered_parameters": 90,
        "trainable_parameters": 120,
        "left_out_parameters": [],
        "in_graph_parameters": 30,
        "gram": "exact",
        "rows": [0, 1],
        "report": record(10, opposed=True)["report"],
        "objectives": [ObjectiveReport("maxrl", -1.0, -2.0, -0.5, 1.0, nan, nan, nan).to_dict()],
        "forecast": record(10, opposed=True)["forecast"],
        "texts": [[1, "1?"]],
    }
    whole = ProbeRecord.from_dict(content)
    assert json.dumps(whole.to_dict()) == json.dumps(content)  # the order of keys too
    assert whole.coverage == 0.75
    of_an_earlier_version = {key: content[key] for key in ("step", "training_k", "report")}
    assert ProbeRecord.from_dict(of_an_earlier_version).to_dict() == of_an_earlier_version
    assert ProbeRecord.from_dict(of_an_earlier_version).coverage is None


def test_the_inner_product_is_that_of_the_objective_where_it_was_measured():
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    measured = replace(probe, objectives={"maxrl": ObjectiveReport("maxrl", 1.0, 0.5, 1.5, 1.0, 1.0, 0.5, 1.0)})
    inner, high = float(probe.report.inner_product[3]), float(probe.report.inner_product_high[3])
    assert probe.against_pass1() == probe.against_pass1("maxrl") == measured.against_pass1() == (inner, high - inner)
    assert measured.against_pass1("maxrl") == (1.0, 0.5)
    assert [alarms_of([each], "maxrl")[0].in_conflict for each in (probe, measured)] == [True, False]


def test_a_k_that_was_not_measured_and_pass_at_1_say_nothing():
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    for k in (1, 64):
        silent = replace(probe, training_k=k)
        assert all(map(isnan, silent.against_pass1()))
        assert not any(each.in_conflict for each in alarms_of([silent] * 20))
    assert alarms_of([]) == []


def test_overlapping_windows_of_a_ride_without_looks_count_for_nothing():
    """A ride of an earlier version recorded no looks. Its windows share prompts, so they are no series of probes."""
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    window = replace(probe, first_step=3)
    assert alarms_of([probe])[0].in_conflict
    assert [each.in_conflict for each in alarms_of([window] * 20)] == [False] * 20
    look = replace(window, looks={128: (-30.0, 1.0), 256: (nan, nan)})
    mixed = alarms_of([window, window, look, look, probe])
    assert [each.in_conflict for each in mixed] == [False, False, True, True, True]
    assert not mixed[1].evidence > 1
    assert alarms_of([window, window, probe])[2].in_conflict


def test_pass_at_k_of_the_probe_prompts_has_the_interval_of_a_mean():
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    values = torch.as_tensor([float(pass_at_k(8, correct, 4)) for correct in [7] * 12 + [1] * 4])
    mean, margin = probe.pass_at(4)
    assert abs(mean - values.mean()) < 1e-6
    assert abs(margin - 2.1314 * values.std() / 4) < 1e-4  # t with 15 degrees of freedom at 95%


def test_the_prompts_that_interfere_most_are_those_of_the_most_negative_weight_times_agreement():
    agreement = torch.tensor([1.0, -3.0, 2.0, -1.0], dtype=torch.float64)
    vector = agreement.sign()
    report = measure_interference(vector[:, None] * vector * 1.0, [4, 4, 4, 1], 8)
    expected = (report.weights[3] * report.agreement).argsort().tolist()
    worst = report.most_negative(4, count=2)
    assert worst == [i for i in expected[:2] if report.agreement[i] < 0]
    assert interference(opposed=False).most_negative(4, count=8) == []


def test_pass_at_k_of_weighted_prompts_is_a_mean_of_theirs():
    """Strata of 900 and 100 prompts, drawn equally often: the mean of s v alone would be 1.35 here."""
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    weights = torch.tensor([1.8] * 12 + [0.2] * 4, dtype=torch.float64)
    solved = torch.tensor([8] * 12 + [4] * 4)
    weighted = replace(probe, report=replace(probe.report, sampling_weights=weights, num_correct=solved))
    mean, margin = weighted.pass_at(1)
    assert mean == pytest.approx((12 * 1.8 + 4 * 0.2 * 0.5) / (12 * 1.8 + 4 * 0.2))
    assert mean + margin < 1.02


@pytest.mark.parametrize("correct", [0, 4, 8])
def test_prompts_that_are_all_the_same_tell_no_interval_of_pass_at_k(correct):
    probe = ProbeRecord.from_dict(record(10, opposed=True))
    weights = torch.tensor([1.3] * 11 + [0.0] + [0.2] * 4, dtype=torch.float64)
    solved = torch.tensor([correct] * 11 + [2] + [correct] * 4)  # the one that differs was not drawn to be measured
    same = replace(probe, report=replace(probe.report, sampling_weights=weights, num_correct=solved))
    mean, margin = same.pass_at(1)
    assert mean == pytest.approx(correct / 8)
    assert isnan(margin)


def test_the_k_shown_is_one_that_was_measured():
    report = interference(opposed=True)
    assert [weighed_k(report, k) for k in (1, 2, 64)] == [4, 2, 7]
