"""Sorted groups, and the sums over them, against loops."""

import math

import pytest
import torch

from passk_trl.estimators.groups import (
    by_group_size,
    in_order_of,
    max_probability,
    passk_weight_from_others,
    sort_groups,
    sum_over_gaps,
)
from reward_groups import NAN, comb


GROUPS = torch.tensor([[0.5, NAN, -1.0, 2.0], [1.0, 0.0, 0.0, 1.0], [NAN, NAN, NAN, 3.0]], dtype=torch.float64)


def test_unscored_rollouts_stand_at_the_end_and_add_no_gap():
    group = sort_groups(GROUPS)
    assert group.rewards.tolist() == [[-1.0, 0.5, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0], [3.0] * 4]
    assert group.size.tolist() == [[3], [4], [1]]
    assert group.scored.tolist() == [[True] * 3 + [False], [True] * 4, [True] + [False] * 3]
    assert group.num_correct.tolist() == [[2, 1, 0, 0], [3, 2, 1, 0], [0] * 4]
    assert group.lowest.tolist() == [[-1.0], [0.0], [3.0]]


def test_results_go_back_where_their_rewards_came_from():
    group = sort_groups(GROUPS)
    back = in_order_of(GROUPS.float(), group, group.rewards, fewest=3)
    assert back.tolist() == [[0.5, 0, -1.0, 2.0], [1.0, 0.0, 0.0, 1.0], [0.0] * 4]
    assert back.dtype == torch.float32


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_weight_from_others_counts_subsets_of_the_others(k):
    weights = passk_weight_from_others(sort_groups(GROUPS), k)
    for size, row in zip((3, 4), weights, strict=False):
        expected = [k * comb(num_wrong, k - 1) / comb(size - 1, k - 1) for num_wrong in range(size)]
        assert row[:size].tolist() == pytest.approx(expected)


def test_a_weight_is_asked_once_for_each_size_of_group():
    asked = []

    def weight(others, num_correct):
        asked.append(others.flatten().tolist())
        return num_correct / others.clamp(min=1)

    by_size = by_group_size(sort_groups(torch.cat([GROUPS, GROUPS])), weight)
    assert asked == [[0, 2, 3]]
    assert by_size.shape == (6, 4)
    assert by_size[1].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])


@pytest.mark.parametrize("k", [1, 2, 3])
def test_one_of_the_scored_rewards_is_the_maximum_of_a_subset(k):
    probability = max_probability(sort_groups(GROUPS[:2]), k)
    assert probability.sum(-1).tolist() == pytest.approx([1, 1])
    assert probability[0, 3] == 0
    assert probability[1].tolist() == pytest.approx([comb(i, k - 1) / math.comb(4, k) for i in range(4)])


def test_a_rollout_is_correct_for_the_gaps_below_it_and_wrong_for_those_above():
    group = sort_groups(torch.tensor([-1.0, 0.5, 2.0, 2.0], dtype=torch.float64))
    if_correct, if_wrong = torch.tensor([10.0, 20.0, 30.0]).double(), torch.tensor([1.0, 2.0, 3.0]).double()
    expected = [1.5 * 1 + 1.5 * 2, 1.5 * 10 + 1.5 * 2, 1.5 * 10 + 1.5 * 20, 1.5 * 10 + 1.5 * 20]
    assert sum_over_gaps(group, if_correct, if_wrong).tolist() == expected
