"""A trainer that cannot be probed is refused, and truncated sampling is warned about."""

import warnings

import pytest

import tiny
from passk_trl import ConflictMonitor
from watched import PROBE, build


def test_a_probe_set_without_the_columns_that_rewards_need_is_refused(tmp_path):
    monitor = ConflictMonitor(tiny.questions().remove_columns("solution"), **PROBE)
    with pytest.raises(
        ValueError, match="reward function 'starts_right' needs solution, which the probe prompts lack"
    ):
        build(tmp_path, monitor)


def test_rollouts_that_cannot_be_repeated_are_refused(tmp_path):
    def rollout_func(prompts, trainer):
        raise AssertionError("not called")

    with pytest.raises(ValueError, match="has a rollout_func, tools or an environment_factory"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), rollout_func=rollout_func)


@pytest.mark.parametrize("truncation", [{"top_p": 0.9}, {"top_k": 10}, {"min_p": 0.1}, {"repetition_penalty": 1.1}])
def test_truncated_sampling_is_warned_about(tmp_path, truncation):
    (name, value), *_ = truncation.items()
    with pytest.warns(UserWarning, match=f"{name}={value}: completions are sampled from a truncated policy"):
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE), args=truncation)


def test_the_whole_distribution_is_not_warned_about(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        build(tmp_path, ConflictMonitor(tiny.questions(), **PROBE))
    assert not [w for w in caught if "truncated policy" in str(w.message)]
