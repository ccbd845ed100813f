"""Rewards become success: 0 or 1."""

import pytest
import torch

import tiny
from passk_trl import ConflictMonitor
from passk_trl.rollouts.scoring import score_completions
from watched import PROBE, build, trained


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


def test_a_reward_function_raises_only_after_all_parts_are_scored(tmp_path):
    calls = []

    def fails_at_first(completions, **kwargs):
        calls.append(len(completions))
        if len(calls) == 1:
            raise ZeroDivisionError("the verifier gave up")
        return tiny.starts_low(completions)[1:] if len(calls) == 5 else tiny.starts_low(completions)

    trainer = build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), reward_funcs=fails_at_first)
    functions = trainer.reward_funcs
    inputs = tiny.questions(4).to_list()
    completions = [[{"role": "assistant", "content": text}] for text in ("1", "9", "?", "0")]
    arguments = (trainer, inputs, completions, [[3]] * 4)
    with pytest.raises(ZeroDivisionError, match="the verifier gave up"):
        score_completions(*arguments, at_once=2)
    assert calls == [2, 2]
    assert trainer.reward_funcs is functions
    assert score_completions(*arguments, at_once=2).tolist() == [[1], [0], [0], [1]]
    with pytest.raises(ValueError, match="returned 3 rewards for 4 completions"):
        score_completions(*arguments, at_once=4)
    assert torch.equal(score_completions(*arguments, at_once=4), torch.tensor([[1.0], [0.0], [0.0], [1.0]]))
