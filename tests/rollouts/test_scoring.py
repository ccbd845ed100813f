"""Rewards become success: 0 or 1."""

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, trained


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
