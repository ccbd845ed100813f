"""What the log says of a run when a report is published."""

import logging
from itertools import pairwise

import torch
from tqdm.auto import tqdm

from passk_trl.interference import measure_interference
from passk_trl.monitor.publishing import announce
from passk_trl.records import ProbeRecord, alarms_of


class Trainer:  # all that announcing asks of a trainer
    accelerator = type("Accelerator", (), {"is_main_process": True})()


def report(sign):
    opposed = torch.tensor([1.0] * 12 + [-1.0] * 4)
    gram_NN = opposed[:, None] * opposed[None, :] if sign < 0 else torch.ones(16, 16)
    return measure_interference(gram_NN, [7] * 12 + [1] * 4, 8)


def test_the_announcement_begins_a_line_while_training_shows_its_bar(capsys):
    handler = logging.StreamHandler()  # which writes where the bar is
    logging.root.addHandler(handler)
    try:
        with tqdm(total=20, mininterval=0) as bar:
            bar.update(10)
            announce(Trainer(), [ProbeRecord(10, 4, report(-1), [], {}, {}, None)], None)
    finally:
        logging.root.removeHandler(handler)
    shown = capsys.readouterr().err
    before, announced, after = shown.partition("step 10: training for pass@4 works against pass@1")
    assert announced
    assert "10/20" in before
    assert before.endswith("\r")
    assert "10/20" in after.partition("\n")[2]  # it is drawn again


def test_each_crossing_is_announced_once(caplog):
    assert report(-1).in_conflict(4)
    assert not report(1).in_conflict(4)
    records: list[ProbeRecord] = []
    with caplog.at_level(logging.WARNING):
        for step, sign in enumerate([1, -1, -1, *[1] * 9, -1, -1, -1]):
            records.append(ProbeRecord(step, 4, report(sign), [], {}, {}, None))
            announce(Trainer(), records, None)
    said = [record.getMessage() for record in caplog.records]
    in_conflict = [False, *(alarm.in_conflict for alarm in alarms_of(records))]
    crossed = [step for step, (before, now) in enumerate(pairwise(in_conflict)) if before != now]
    assert [message.split(":")[0] for message in said] == [f"step {step}" for step in crossed]
    assert len(said) >= 2
    assert "training for pass@4 works against pass@1, by the evidence of the reports so far" in said[0]
    assert "Measured, the conflict begins at k = " in said[0]
    assert "training for pass@4 no longer works against pass@1, by the reports since then" in said[1]
