"""What is announced and logged of a probe."""

import logging

import torch

import tiny
from passk_trl import ConflictMonitor
from passk_trl.interference import measure_interference
from passk_trl.monitor.logged import coverage_in_words, crossing, left_out_in_words, metrics_of
from passk_trl.records import ProbeRecord
from runs import record
from watched import PROBE


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
    assert "the conflict between pass@4 and pass@1 is no longer significant" in said[1]


def test_metrics_are_of_the_logged_k_only_and_without_an_onset_there_is_none():
    opposed, aligned = (ProbeRecord.from_dict(record(10, opposed=each)) for each in (True, False))
    metrics = metrics_of(opposed)
    assert {name for name in metrics if "@" in name} == {
        *(f"conflict/{kind}@{k}" for kind in ("inner_product", "cosine") for k in (1, 2, 4)),
        *(f"conflict/forecast_pass@{k}" for k in (1, 2, 4)),
        *(f"conflict/pass@{k}" for k in (1, 2, 4, 8)),
    }
    assert metrics["conflict/onset_k"] == opposed.report.onset
    assert metrics["conflict/in_conflict"] == 1
    assert "conflict/coverage" not in metrics  # which this record does not have
    assert "conflict/onset_k" not in metrics_of(aligned)
    assert metrics_of(aligned)["conflict/in_conflict"] == 0


def test_a_crossing_is_seen_from_the_probe_before():
    opposed, aligned = (ProbeRecord.from_dict(record(10, opposed=each)) for each in (True, False))
    assert crossing(aligned, None) is crossing(aligned, aligned) is crossing(opposed, opposed) is None
    assert crossing(opposed, None) == crossing(opposed, aligned)
    assert crossing(aligned, opposed) == "step 10: the conflict between pass@4 and pass@1 is no longer significant."


def test_what_is_measured_is_said_in_words():
    counts = {"covered_parameters": 750, "in_graph_parameters": 50, "trainable_parameters": 1000}
    measured = {**record(10, opposed=True), **counts, "gram": "sketch"}
    whole = ProbeRecord.from_dict({**measured, "left_out_parameters": []})
    partial = ProbeRecord.from_dict({**measured, "left_out_parameters": ["a", "b"]})
    assert coverage_in_words(whole) == (
        "probes take in 750 of 1000 trainable parameters, 700 in closed form and 50 by autograd, as sketches of a "
        "fixed size (gram='sketch')."
    )
    assert left_out_in_words(whole) is None
    assert left_out_in_words(partial) == (
        "probes leave out 25.0% of the trainable parameters, whose gradients cannot be taken: a, b."
    )
