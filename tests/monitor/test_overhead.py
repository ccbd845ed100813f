"""Probes that would take too much of the time are put off."""

import pytest

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, trained


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
