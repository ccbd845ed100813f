"""Probes that would take too much of the time are put off."""

import time

import pytest

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, build, trained


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


def test_a_second_training_does_not_count_the_probes_of_the_first(tmp_path):
    delay = [3.0]

    def slow_in_the_first_probe(completions, from_probe, **kwargs):
        time.sleep(delay.pop() if from_probe[0] and delay else 0)
        return tiny.starts_low(completions)

    probed, trained_on = (tiny.questions().map(lambda row, own=own: {"from_probe": own}) for own in (True, False))
    monitor = ConflictMonitor(probed, **PROBE)
    trainer = build(
        tmp_path, monitor, args={"max_steps": 2}, train_dataset=trained_on, reward_funcs=slow_in_the_first_probe
    )
    overheads = []
    for _ in range(2):
        trainer.train()
        overheads += [
            entry["conflict/overhead"] for entry in trainer.state.log_history if "conflict/overhead" in entry
        ]
    assert len(overheads) == 2
    assert all(0 < overhead < 1 for overhead in overheads)  # it was above 4
