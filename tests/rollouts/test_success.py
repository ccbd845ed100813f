"""From the rewards of several functions to one reward and its success."""

from math import nan

import pytest
import torch

from passk_trl.rollouts.success import are_binary, combine_rewards


def rewards(*rows) -> torch.Tensor:
    """One group of rollouts, each given as the rewards of all functions."""
    return torch.tensor([rows])


def assert_same(actual: torch.Tensor, expected: list) -> None:
    torch.testing.assert_close(actual, torch.tensor([expected]), rtol=0, atol=1e-7, equal_nan=True)


def test_rewards_are_summed_with_their_weights():
    combined = combine_rewards(rewards([1.0, 0.5], [0.0, 1.0], [1.0, 0.0]), torch.tensor([2.0, -1.0]))
    assert_same(combined, [1.5, -1.0, 2.0])


def test_a_missing_reward_counts_as_none_and_only_a_rollout_without_any_is_unscorable():
    combined = combine_rewards(rewards([1.0, nan], [nan, 1.0], [nan, nan]), torch.tensor([2.0, 3.0]))
    assert_same(combined, [2.0, 3.0, nan])


def test_a_function_of_weight_0_scores_nothing():
    group = rewards([1.0, 0.5], [nan, 0.5], [0.0, nan], [nan, nan])
    weights = torch.tensor([1.0, 0.0])
    assert_same(combine_rewards(group, weights), [1.0, nan, 0.0, nan])
    assert_same(combine_rewards(group, weights, success_threshold=1.0), [1.0, nan, 0.0, nan])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.5, [1.0, 1.0, 0.0, nan]), (0.75, [1.0, 0.0, 0.0, nan]), (0.0, [1.0, 1.0, 1.0, nan])],
)
def test_success_is_a_sum_that_reaches_the_threshold(threshold, expected):
    group = rewards([0.5, 0.5], [0.5, nan], [0.25, 0.0], [nan, nan])
    assert_same(combine_rewards(group, torch.ones(2), threshold), expected)


def test_weights_come_in_any_dtype():
    combined = combine_rewards(rewards([1.0], [0.0]), torch.tensor([2.0], dtype=torch.float64))
    assert combined.dtype == torch.float32
    assert_same(combined, [2.0, 0.0])


@pytest.mark.parametrize(
    ("values", "binary"), [([0.0, 1.0, nan], True), ([nan], True), ([0.0, 0.5], False), ([1.0, 2.0], False)]
)
def test_binary_rewards_are_0_or_1_where_scored(values, binary):
    assert are_binary(torch.tensor(values)) is binary
