"""Advantages against their definitions over all k-subsets, and against the known failures of other implementations."""

import math
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise, product

import pytest
import torch

from passk_trl.estimators import ESTIMATORS, allowed_k, max_at_k, passk_advantages
from reward_groups import MAX_N, NAN, ZOO, binary_group, every_estimator, groups_and_ks, in_zoo, mean, subset_maxima


@cache
def advantages_by_definition(rewards: tuple, k: int, estimator: str) -> list:
    """Each estimator as its paper defines it, from rational rewards; nothing is shared with the implementation."""
    return [advantage_by_definition(rewards, j, k, estimator) for j in range(len(rewards))]


def advantage_by_definition(rewards: tuple, j: int, k: int, estimator: str) -> Fraction | float:
    rollouts = range(len(rewards))
    others = [i for i in rollouts if i != j]
    holding_j = [(*subset, j) for subset in combinations(others, k - 1)]
    credit = k * mean(subset_maxima(rewards, holding_j))
    match estimator:
        case "none":
            return credit
        case "loo":
            return credit - k * mean(subset_maxima(rewards, combinations(others, k)))
        case "loo_minus_one":
            return credit - k * mean(subset_maxima(rewards, combinations(others, k - 1)))
        case "weighted_loo":
            return weighted_loo_by_thresholds(rewards, j, others, k)
        case "analytic":
            average, deviation = mean_and_deviation(subset_maxima(rewards, combinations(rollouts, k)))
            return float(credit / k - average) / deviation if deviation else 0.0
        case "grpo":
            average, deviation = mean_and_deviation(rewards)
            return float(rewards[j] - average) / (deviation * math.sqrt(len(rewards) / len(others)) + 1e-4)
    raise AssertionError(f"no definition for {estimator}")


def mean_and_deviation(values) -> tuple[Fraction, float]:
    average = mean(values)
    return average, math.sqrt(mean((value - average) ** 2 for value in values))


def weighted_loo_by_thresholds(rewards, j: int, others: list[int], k: int) -> Fraction:
    """Per gap between reward values: k times the share of (k−1)-subsets of the others that fail, times r_j − mean."""
    if not others:
        return rewards[j]
    values = sorted(set(rewards))
    total = Fraction(0)
    for low, high in pairwise(values):
        success = [int(reward > low) for reward in rewards]
        weight = k * mean(not any(success[i] for i in subset) for subset in combinations(others, k - 1))
        total += (high - low) * weight * (success[j] - mean(success[i] for i in others))
    return total


@every_estimator
def test_binary_advantages_match_the_definition_for_every_group_up_to_n_8(estimator):
    for n, k in groups_and_ks(estimator):
        groups = [(1,) * c + (0,) * (n - c) for c in range(n + 1)]
        expected = [advantages_by_definition(group, k, estimator) for group in groups]
        actual = passk_advantages(torch.tensor(groups, dtype=torch.float64), k, estimator)
        torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@every_estimator
@in_zoo
def test_advantages_match_the_definition_on_the_zoo(estimator, rewards):
    for k in allowed_k(estimator, len(rewards)):
        actual = passk_advantages(torch.tensor(rewards, dtype=torch.float64), k, estimator)
        expected = torch.tensor(
            advantages_by_definition(tuple(map(Fraction, rewards)), k, estimator), dtype=torch.float64
        )
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int32, torch.int64, torch.bool])
def test_integer_rewards_are_not_truncated(estimator, dtype):
    """PKPO's listing fills an array of the rewards' own dtype, which rounds every integer group to zero."""
    rewards = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]])
    for k in allowed_k(estimator, 5):
        actual = passk_advantages(rewards.to(dtype), k, estimator)
        assert actual.dtype == torch.get_default_dtype()
        assert torch.equal(actual, passk_advantages(rewards.float(), k, estimator))
        assert actual.count_nonzero() > 0 or k == 5  # at k = n only the lonely success carries signal
        assert torch.equal(max_at_k(rewards.to(dtype), k), max_at_k(rewards.double(), k))


@in_zoo
def test_k_1_is_finite_and_is_rloo(rewards):
    """PKPO's listing divides by k − 1."""
    values = torch.tensor(rewards, dtype=torch.float64)
    rloo = values - (values.sum() - values) / (len(rewards) - 1)
    torch.testing.assert_close(passk_advantages(values, 1, "loo"), rloo)
    torch.testing.assert_close(passk_advantages(values, 1, "weighted_loo"), rloo)
    torch.testing.assert_close(passk_advantages(values, 1, "none"), values)
    assert passk_advantages(values, 1, "analytic").isfinite().all()


@pytest.mark.parametrize("estimator", ["none", "loo_minus_one", "weighted_loo"])
def test_k_equal_to_n_is_not_identically_zero(estimator):
    """rllm and Pass@k Training return zero for every group at k = n."""
    for n in range(2, MAX_N + 1):
        advantages = passk_advantages(torch.tensor(binary_group(n, 1)), n, estimator)
        assert advantages[0] == pytest.approx(n)


@every_estimator
@in_zoo
def test_nan_is_left_out_of_its_group_only(estimator, rewards):
    """PKPO's listing turns a whole group into NaN."""
    with_nan = torch.tensor([[NAN, *rewards[:4], NAN, *rewards[4:]], [*rewards, 0.5, 1.5]], dtype=torch.float64)
    for k in allowed_k(estimator, len(rewards)):
        advantages = passk_advantages(with_nan, k, estimator)
        assert advantages[0, [0, 5]].tolist() == [0, 0]
        expected = passk_advantages(torch.tensor(rewards, dtype=torch.float64), k, estimator)
        torch.testing.assert_close(advantages[0, [1, 2, 3, 4, 6, 7]], expected, rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(advantages[1], passk_advantages(with_nan[1], k, estimator), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(max_at_k(with_nan, k)[0], max_at_k(torch.tensor(rewards).double(), k))


@every_estimator
def test_group_with_too_few_scored_rollouts_gets_no_advantage(estimator):
    n = 5
    rewards = torch.eye(n).cumsum(-1).double() + 1  # no group is constant, but for the first
    for num_scored in range(n + 1):
        group = torch.where(torch.arange(n) < num_scored, rewards[2], NAN)
        for k in allowed_k(estimator, n):
            advantages = passk_advantages(group, k, estimator)
            expected = torch.zeros(n).double()
            if k in allowed_k(estimator, num_scored):
                expected[:num_scored] = passk_advantages(rewards[2, :num_scored], k, estimator)
            torch.testing.assert_close(advantages, expected, rtol=1e-13, atol=1e-13)
            assert max_at_k(group, k).isnan() == (num_scored < k)


def test_a_lone_rollout_has_no_baseline():
    assert passk_advantages(torch.tensor([0.75]), 1, "weighted_loo").tolist() == [0.75]
    assert passk_advantages(torch.tensor([NAN, 0.75]), 1, "weighted_loo").tolist() == [0, 0.75]


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("shift", [0.0, -1.0, 0.5])
def test_analytic_does_not_need_rewards_of_0_and_1(scale, shift):
    """Pass@k Training's code returns any other reward as its own advantage."""
    rewards = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    for k in range(1, 6):
        expected = passk_advantages(rewards, k, "analytic")
        torch.testing.assert_close(passk_advantages(scale * rewards + shift, k, "analytic"), expected)


@every_estimator
def test_tied_rewards_share_one_advantage(estimator):
    """EasyR1 credits one of several equal bests."""
    for k in allowed_k(estimator, 6):
        advantages = passk_advantages(torch.tensor(ZOO["ties"], dtype=torch.float64), k, estimator)
        assert advantages[0] == advantages[2] == advantages[5]
        assert advantages[1] == advantages[4]


def test_grpo_is_trls_group_z_score():
    rewards = torch.tensor(list(ZOO.values()), dtype=torch.float64)
    expected = (rewards - rewards.mean(-1, keepdim=True)) / (rewards.std(-1, keepdim=True) + 1e-4)
    torch.testing.assert_close(passk_advantages(rewards, 1, "grpo"), expected)


@every_estimator
@pytest.mark.parametrize("group", ["all wrong", "all right", "all equal"])
def test_a_group_without_contrast_gets_exactly_zero_but_for_none(estimator, group):
    for k in allowed_k(estimator, 6):
        advantages = passk_advantages(torch.tensor(ZOO[group]), k, estimator)
        expected = k * torch.tensor(ZOO[group]) if estimator == "none" else torch.zeros(6)
        assert torch.equal(advantages, expected)


@every_estimator
@pytest.mark.parametrize("batch", [(), (0,), (1,), (3,), (2, 3), (2, 1, 3)])
@pytest.mark.parametrize("unscored", [False, True])
def test_any_leading_shape_is_a_batch_of_independent_groups(estimator, batch, unscored):
    rewards = torch.randn(*batch, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if unscored:
        rewards = rewards.masked_fill(rewards > 1, NAN)
    for k in allowed_k(estimator, 6):
        advantages, best = passk_advantages(rewards, k, estimator), max_at_k(rewards, k)
        assert advantages.shape == rewards.shape
        assert best.shape == batch
        for where in product(*map(range, batch)):
            torch.testing.assert_close(advantages[where], passk_advantages(rewards[where], k, estimator))
            torch.testing.assert_close(best[where], max_at_k(rewards[where], k), equal_nan=True)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_floating_dtype_is_kept_and_float64_is_used_inside(estimator, dtype):
    rewards = torch.tensor([ZOO["real"], ZOO["ties"]], dtype=dtype)
    for k in allowed_k(estimator, 6):
        actual = passk_advantages(rewards, k, estimator)
        assert actual.dtype == dtype
        assert torch.equal(actual, passk_advantages(rewards.double(), k, estimator).to(dtype))
        assert max_at_k(rewards, k).dtype == torch.float64


@every_estimator
def test_rewards_are_left_alone_and_advantages_carry_no_gradient(estimator):
    rewards = torch.tensor(ZOO["real"], requires_grad=True)
    advantages = passk_advantages(rewards, allowed_k(estimator, 6)[-1], estimator)
    assert not advantages.requires_grad
    assert rewards.tolist() == ZOO["real"]


def test_layout_in_memory_does_not_matter():
    rewards = torch.tensor([ZOO["real"], ZOO["ties"]], dtype=torch.float64)
    strided = rewards.t().contiguous().t()
    assert torch.equal(passk_advantages(strided, 3), passk_advantages(rewards, 3))


def test_allowed_k():
    ranges = {estimator: list(allowed_k(estimator, 4)) for estimator in ESTIMATORS}
    assert ranges == {
        "none": [1, 2, 3, 4],
        "loo": [1, 2, 3],
        "loo_minus_one": [2, 3, 4],
        "weighted_loo": [1, 2, 3, 4],
        "analytic": [1, 2, 3],
        "grpo": [1],
    }
    assert not allowed_k("loo", 1)
    assert not allowed_k("grpo", 1)
