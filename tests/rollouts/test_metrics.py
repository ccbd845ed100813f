"""The k that are logged, and pass@k and pass^k of groups."""

from itertools import combinations
from math import comb, nan

import pytest
import torch

from passk_trl.rollouts.metrics import passk_metrics, reported_ks


@pytest.mark.parametrize(
    ("num_rollouts", "training_k", "expected"),
    [(1, 1, [1]), (2, 1, [1, 2]), (6, 3, [1, 2, 3, 4, 6]), (8, 8, [1, 2, 4, 8]), (4, 7, [1, 2, 4])],
)
def test_reported_ks_are_powers_of_two_the_group_and_the_training_k_where_it_fits(num_rollouts, training_k, expected):
    assert reported_ks(num_rollouts, training_k) == expected


def test_the_metrics_of_success_groups_are_the_chances_to_draw_not_only_wrong_and_only_correct_ones():
    groups = torch.zeros(3, 6)
    num_correct = (0, 1, 4)
    for group, count in zip(groups, num_correct, strict=True):
        group[:count] = 1
    expected = {
        f"passk/pass@{k}": sum(1 - comb(6 - c, k) / comb(6, k) for c in num_correct) / 3 for k in (1, 2, 3, 4, 6)
    } | {f"passk/pass^{k}": sum(comb(c, k) / comb(6, k) for c in num_correct) / 3 for k in (2, 3, 4, 6)}
    assert passk_metrics(groups, training_k=3, binary=True) == pytest.approx(expected)


def test_max_at_k_of_real_rewards_is_the_mean_best_over_all_subsets():
    groups = [[0.25, -1.0, 2.0, 0.5], [0.0, 0.0, 1.0, 3.0]]
    expected = {
        f"passk/max@{k}": sum(max(drawn) for group in groups for drawn in combinations(group, k)) / (2 * comb(4, k))
        for k in (1, 2, 4)
    }
    assert passk_metrics(torch.tensor(groups), training_k=1, binary=False) == pytest.approx(expected)


def test_a_group_with_too_few_scored_rollouts_is_left_out_of_that_k_only():
    groups = torch.tensor([[1.0, nan, nan, nan], [0.0, 1.0, 0.0, 0.0]])
    metrics = passk_metrics(groups, training_k=1, binary=True)
    expected = {"passk/pass@1": (1 + 0.25) / 2, "passk/pass@2": 0.5, "passk/pass@4": 1.0}
    assert metrics == pytest.approx(expected | {"passk/pass^2": 0.0, "passk/pass^4": 0.0})


def test_a_k_that_no_group_has_scored_rollouts_for_is_not_reported():
    metrics = passk_metrics(torch.tensor([[1.0, nan]]), training_k=1, binary=True)
    assert metrics == pytest.approx({"passk/pass@1": 1.0})


def test_a_batch_without_a_scored_rollout_has_no_metric():
    """Its counts, 0 correct of 0, would make pass@k 0 or 1."""
    assert passk_metrics(torch.full((2, 4), nan), training_k=2, binary=True) == {}
