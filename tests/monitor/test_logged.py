"""What is announced and logged of a probe."""

import logging

import torch

import tiny
from passk_trl import ConflictMonitor
from passk_trl.interference import measure_interference
from passk_trl.records import ProbeRecord
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
    assert "no longer works against pass@1" in said[1]
