"""
Estimators against exact enumeration in rational arithmetic, against their definitions over all k-subsets, and against
the ways in which other implementations are known to fail.
"""

import inspect
import math
import subprocess
import sys
from fractions import Fraction
from functools import cache
from itertools import combinations, pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passk_trl import estimators
from passk_trl.estimators import (
    ESTIMATORS,
    UNBIASED_ESTIMATORS,
    allowed_k,
    max_at_k,
    pass_at_k,
    passk_advantages,
    prompt_weight,
    unbiased_prompt_weight,
)
from passk_trl.estimators.advantages import _against_baseline
from passk_trl.estimators.groups import passk_weight_from_others, sort_groups


MAX_N = 8
NAN = math.nan
ZOO = {
    "all wrong": [0.0] * 6,
    "one right": [0.0, 0.0, 1.0, 0.0, 0.0, 0.0],
    "half right": [1.0, 0.0, 1.0, 0.0, 0.0, 1.0],
    "one wrong": [1.0, 1.0, 1.0, 1.0, 0.0, 1.0],
    "all right": [1.0] * 6,
    "plus and minus one": [-1.0, 1.0, -1.0, -1.0, 1.0, -1.0],
    "real": [0.25, -1.5, 2.0, 0.5, 0.75, -0.125],
    "ties": [0.5, 2.0, 0.5, -1.0, 2.0, 0.5],
    "all equal": [0.1] * 6,
}
in_zoo = pytest.mark.parametrize("rewards", ZOO.values(), ids=ZOO.keys())
every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS)
unbiased_estimators = pytest.mark.parametrize("estimator", UNBIASED_ESTIMATORS)


def comb(a: int, b: int) -> int:
    """C(a, b), 0 when b > a, and 1 for C(·, 0)."""
    return 1 if b == 0 else math.comb(a, b) if a >= 0 else 0


def binary_group(n: int, c: int) -> list[float]:
    return [1.0] * c + [0.0] * (n - c)


def as_fraction(value: float) -> Fraction:
    """The rational that `value` is a rounding of: the only one near with a small denominator."""
    exact = Fraction(value).limit_denominator(10_000)
    assert abs(float(exact) - value) <= 1e-12 * max(1.0, abs(value))
    return exact


def groups_and_ks(estimator: str, max_n: int = MAX_N):
    return [(n, k) for n in range(1, max_n + 1) for k in allowed_k(estimator, n)]


# The definitions, over all k-subsets, in rational arithmetic


def mean(values) -> Fraction:
    values = list(values)
    return Fraction(sum(values)) / len(values)


def subset_maxima(rewards, subsets) -> list:
    return [max(rewards[i] for i in subset) for subset in subsets]


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


@in_zoo
def test_max_at_k_is_the_mean_maximum_over_all_subsets(rewards):
    for k in range(1, len(rewards) + 1):
        expected = mean(subset_maxima(list(map(Fraction, rewards)), combinations(range(len(rewards)), k)))
        assert max_at_k(torch.tensor(rewards, dtype=torch.float64), k).item() == pytest.approx(float(expected), 1e-13)


# Unbiasedness, proved by exact enumeration


@unbiased_estimators
def test_unbiased_for_every_success_probability(estimator):
    """
    E[(1/n) Σ_j A_j d/dp log π(y_j)] = k (1−p)^(k−1), exactly. Both sides are polynomials in p of degree below n, so
    equality at n points is equality at every p.
    """
    for n, k in groups_and_ks(estimator):
        groups = torch.tensor([binary_group(n, c) for c in range(n + 1)], dtype=torch.float64)
        table = [[as_fraction(a) for a in row] for row in passk_advantages(groups, k, estimator).tolist()]
        for p in (Fraction(i, n + 1) for i in range(1, n + 1)):
            expectation = sum(
                comb(n, c) * p**c * (1 - p) ** (n - c) * (sum(row[:c]) / p - sum(row[c:]) / (1 - p)) / n
                for c, row in enumerate(table)
            )
            assert expectation == k * (1 - p) ** (k - 1)


@unbiased_estimators
@pytest.mark.parametrize("n", range(1, 6))
def test_unbiased_for_real_rewards(estimator, n):
    """Over all groups a four-outcome softmax policy can draw, the mean gradient is exactly that of E[max of k]."""
    reward_of = [Fraction(-1), Fraction(1, 2), Fraction(1, 2), Fraction(2)]  # two outcomes tie
    chance_of = [Fraction(1, 2), Fraction(1, 4), Fraction(1, 6), Fraction(1, 12)]
    outcomes = range(len(reward_of))

    def expected_gradient(num_draws, signals_of):
        """Σ over all draws of P(draw) Σ_j signal_j ∇log π(y_j), where ∇log π(y) = e_y − π in the logits."""
        gradient = [Fraction(0)] * len(outcomes)
        for draw in product(outcomes, repeat=num_draws):
            signals = signals_of(draw)
            probability, total = math.prod(chance_of[y] for y in draw), sum(signals)
            for a in outcomes:
                own = sum(signal for y, signal in zip(draw, signals, strict=True) if y == a)
                gradient[a] += probability * (own - chance_of[a] * total)
        return gradient

    groups = list(product(outcomes, repeat=n))
    rewards = torch.tensor([[float(reward_of[y]) for y in group] for group in groups], dtype=torch.float64)
    for k in allowed_k(estimator, n):
        advantages = dict(zip(groups, passk_advantages(rewards, k, estimator).tolist(), strict=True))
        actual = expected_gradient(n, lambda draw, of=advantages: [as_fraction(a) / n for a in of[draw]])
        assert actual == expected_gradient(k, lambda draw: [max(reward_of[y] for y in draw)] * len(draw))


def test_any_baseline_of_the_others_is_unbiased():
    """The claim that new estimators rest on, for a baseline b(m) made up here, and with two unscored rollouts."""
    n, k = 5, 3
    groups = torch.tensor([[*binary_group(n, c), NAN, NAN] for c in range(n + 1)], dtype=torch.float64)
    sorted_groups = sort_groups(groups)
    weight = passk_weight_from_others(sorted_groups, k)
    baseline = sorted_groups.num_correct * (sorted_groups.num_correct + 0.5)
    ascending = _against_baseline(sorted_groups, weight, baseline)
    for p in (Fraction(i, n + 1) for i in range(1, n + 1)):
        expectation = Fraction(0)
        for c, row in enumerate(ascending[:, :n].tolist()):
            wrong, correct = (sum(map(as_fraction, part)) for part in (row[: n - c], row[n - c :]))
            expectation += comb(n, c) * p**c * (1 - p) ** (n - c) * (correct / p - wrong / (1 - p)) / n
        assert expectation == k * (1 - p) ** (k - 1)


def test_values_are_unbiased_for_every_success_probability():
    for n in range(1, MAX_N + 1):
        for k in range(1, n + 1):
            passes = [as_fraction(pass_at_k(n, c, k)) for c in range(n + 1)]
            maxima = [as_fraction(max_at_k(torch.tensor(binary_group(n, c)), k).item()) for c in range(n + 1)]
            assert maxima == passes
            for p in (Fraction(i, n + 2) for i in range(n + 2)):  # degree n: n + 1 points are enough
                expectation = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * passes[c] for c in range(n + 1))
                assert expectation == 1 - (1 - p) ** k


def test_unbiased_prompt_weight_times_the_pass_at_1_gradient_is_the_loo_gradient():
    """`loo` is proved unbiased above, and (1/n) Σ_j A_j s_j = ω_k(n, c) / (n−1) Σ_j (r_j − r̄) s_j carries it over."""
    for n, k in groups_and_ks("loo"):
        for c in range(n + 1):
            omega = as_fraction(unbiased_prompt_weight(n, c, k))
            assert omega == Fraction(k * comb(n - 1 - c, k - 1), comb(n - 2, k - 1))
            rewards = binary_group(n, c)
            advantages = passk_advantages(torch.tensor(rewards, dtype=torch.float64), k, "loo").tolist()
            for reward, advantage in zip(rewards, advantages, strict=True):
                assert as_fraction(advantage) / n == omega * (Fraction(reward) - Fraction(c, n)) / (n - 1)


def test_default_estimator_is_the_least_noisy_where_success_is_rare():
    """E[Σ_j A_j²] of n = 16, p = 0.1, beside the least that any unbiased estimator can reach: t(m)² p (1−p) n."""
    n, p = 16, 0.1
    for k in (4, 8):
        groups = torch.tensor([binary_group(n, c) for c in range(n + 1)], dtype=torch.float64)
        chances = torch.tensor([math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]).double()
        noise = {e: chances @ passk_advantages(groups, k, e).square().sum(-1) for e in UNBIASED_ESTIMATORS}
        weights = [k * comb(n - 1 - m, k - 1) / comb(n - 1, k - 1) for m in range(n)]
        least = sum(math.comb(n - 1, m) * p**m * (1 - p) ** (n - 1 - m) * w**2 for m, w in enumerate(weights))
        assert min(noise, key=noise.get) == "weighted_loo"
        assert noise["weighted_loo"] > n * p * (1 - p) * least


# What other implementations get wrong


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


# Shapes and dtypes


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


def test_plain_numbers_give_a_float_and_tensors_broadcast():
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)
    assert all(isinstance(value, float) for value in (pass_at_k(4, 1, 2), prompt_weight(0.5, 2)))
    assert isinstance(unbiased_prompt_weight(4, 1, 2), float)
    assert str(pass_at_k(4, 0, 2)) == "0.0"  # not -0.0
    num_correct, ks = torch.arange(5), torch.tensor([[1], [2], [3]], dtype=torch.int32)
    for function in (pass_at_k, unbiased_prompt_weight):
        table = function(4, num_correct, ks)
        assert table.dtype == torch.float64
        expected = [[function(4, c, k) for c in range(5)] for k in range(1, 4)]
        assert torch.equal(table, torch.tensor(expected, dtype=torch.float64))


# Large groups


def relative_error(actual: float, expected: Fraction) -> float:
    return float(abs(Fraction(actual) - expected) / abs(expected)) if expected else abs(actual)


@pytest.mark.parametrize("n", [300, 50_000])
def test_values_and_weights_keep_ten_digits_in_groups_of_tens_of_thousands(n):
    for c in (0, 1, 30, n // 3, n):
        for k in (1, 2, 40, n // 2, n - 1):
            misses = Fraction(comb(n - c, k), comb(n, k))
            assert relative_error(pass_at_k(n, c, k), 1 - misses) < 1e-10
            omega = Fraction(k * comb(n - 1 - c, k - 1), comb(n - 2, k - 1))
            if omega == 0 or omega > Fraction(1, 10**300):
                assert relative_error(unbiased_prompt_weight(n, c, k), omega) < 1e-10


@pytest.mark.parametrize("n", [300, 20_000])
@pytest.mark.parametrize("share_unscored", [0, 0.01])
def test_advantages_keep_ten_digits_in_groups_of_tens_of_thousands(n, share_unscored):
    num_unscored = int(share_unscored * n)
    for c in (1, 7, n // 4):
        rewards = torch.tensor(binary_group(n, c) + [NAN] * num_unscored, dtype=torch.float64)
        for k in (1, 2, 50, n // 2, n - 1, n):
            t_c, t_w = (Fraction(k * comb(n - 1 - m, k - 1), comb(n - 1, k - 1)) for m in (c - 1, c))
            expected = {
                "none": (k, k - t_w),
                "loo": (t_c * (1 - Fraction(c - 1, n - k)), -t_w * Fraction(c, n - k)) if k < n else None,
                "loo_minus_one": (t_c, 0),
                "weighted_loo": (t_c * (1 - Fraction(c - 1, n - 1)), -t_w * Fraction(c, n - 1)),
            }
            for estimator in UNBIASED_ESTIMATORS:
                if k not in allowed_k(estimator, n):
                    continue
                advantages = passk_advantages(rewards, k, estimator)
                for actual, exact in zip(advantages[[0, c]].tolist(), map(Fraction, expected[estimator]), strict=True):
                    if exact == 0 or abs(exact) > Fraction(1, 10**300):
                        assert relative_error(actual, exact) < 1e-10
            assert relative_error(max_at_k(rewards, k).item(), 1 - Fraction(comb(n - c, k), comb(n, k))) < 1e-10


def test_real_rewards_in_a_large_group():
    n, levels, counts = 30_000, [-2.0, 0.25, 0.5, 3.0], [20_000, 9_000, 990, 10]
    rewards = torch.repeat_interleave(torch.tensor(levels, dtype=torch.float64), torch.tensor(counts))
    shuffled = rewards[torch.randperm(n, generator=torch.Generator().manual_seed(0))]
    for k in (1, 3, 100, n // 2):
        below = [0, *torch.tensor(counts).cumsum(0).tolist()]
        shares = [Fraction(comb(hi, k) - comb(lo, k), comb(n, k)) for lo, hi in pairwise(below)]
        expected = sum(Fraction(level) * share for level, share in zip(levels, shares, strict=True))
        assert relative_error(max_at_k(shuffled, k).item(), expected) < 1e-10
        for estimator in ESTIMATORS:
            if k in allowed_k(estimator, n):
                assert passk_advantages(shuffled, k, estimator).isfinite().all()


# Prompt weights


def test_prompt_weight_is_the_derivative_of_pass_at_k():
    for k in range(1, 9):
        for p in (Fraction(i, 8) for i in range(9)):
            assert prompt_weight(float(p), k) == pytest.approx(float(k * (1 - p) ** (k - 1)), rel=1e-14)
    small = 99_999e-12  # rounding 1 − p would cost six digits of this
    assert 1 - prompt_weight(1e-12, 100_000) / 100_000 == pytest.approx(small - small**2 / 2, rel=1e-8)


def exact_real_k_weight(n: int, c: int, k: Fraction) -> Fraction:
    """ω_k(n, c) for real k as the polynomial that the gamma functions reduce to, 0 from its first zero on."""
    if c == 0:
        return k * (n - 1) / (n - k)
    if k >= n - c + 1:
        return Fraction(int(k == 1))
    return k * math.prod((n - k - i) / Fraction(n - 1 - i) for i in range(1, c))


def test_unbiased_prompt_weight_at_real_k_is_exact_and_never_negative():
    for n in range(2, 13):
        ks = [1 + Fraction(i, 16) for i in range(16 * (n - 2) + 1)]
        table = unbiased_prompt_weight(n, torch.arange(n + 1)[:, None], torch.tensor(list(map(float, ks))).double())
        expected = [[float(exact_real_k_weight(n, c, k)) for k in ks] for c in range(n + 1)]
        assert (table >= 0).all()
        torch.testing.assert_close(table, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_unbiased_prompt_weight_is_continuous_in_k():
    """No step of 1e-7 moves the weight by more than its steepest slope, (n−1)² at c = 0, allows."""
    n, step = 9, 1e-7
    for c in range(n):
        for k in torch.arange(1, n - 1, 0.5, dtype=torch.float64):
            before, after = unbiased_prompt_weight(n, c, torch.stack([k, k + step]))
            assert abs(after - before) < step * n**2


# Properties


rewards_on_a_grid = (
    st.integers(2, 7)
    .flatmap(
        lambda n: st.lists(
            st.lists(st.integers(-16, 16).map(lambda i: i / 8) | st.just(NAN), min_size=n, max_size=n),
            min_size=1,
            max_size=4,
        )
    )
    .map(lambda rows: torch.tensor(rows, dtype=torch.float64))
)


def every_setting(num_rollouts: int):
    return [(estimator, k) for estimator in ESTIMATORS for k in allowed_k(estimator, num_rollouts)]


@given(rewards=rewards_on_a_grid, data=st.data())
@settings(max_examples=30, deadline=None)
def test_permutation_equivariance(rewards, data):
    order = torch.tensor(data.draw(st.permutations(range(rewards.shape[-1]))))
    for estimator, k in every_setting(rewards.shape[-1]):
        assert torch.equal(
            passk_advantages(rewards[:, order], k, estimator), passk_advantages(rewards, k, estimator)[:, order]
        )
    torch.testing.assert_close(max_at_k(rewards[:, order], 2), max_at_k(rewards, 2), rtol=0, atol=0, equal_nan=True)


@given(rewards=rewards_on_a_grid, shift=st.integers(-32, 32).map(lambda i: i / 8))
@settings(max_examples=30, deadline=None)
def test_shift_invariance(rewards, shift):
    """A constant added to every reward of a group changes nothing, but for `none` (no baseline) and a lone rollout."""
    rewards = rewards[(~rewards.isnan()).sum(-1) != 1]
    for estimator, k in every_setting(rewards.shape[-1]):
        before, after = (passk_advantages(values, k, estimator) for values in (rewards, rewards + shift))
        if estimator == "none":
            scored = ~rewards.isnan()
            before = before + k * shift * (scored & (scored.sum(-1, keepdim=True) >= k))
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(max_at_k(rewards + shift, 2), max_at_k(rewards, 2) + shift, equal_nan=True)


@given(rewards=rewards_on_a_grid, scale=st.sampled_from([0.125, 0.5, 3.0, 1024.0]))
@settings(max_examples=30, deadline=None)
def test_unbiased_advantages_scale_with_the_rewards(rewards, scale):
    for estimator, k in every_setting(rewards.shape[-1]):
        before, after = (passk_advantages(values, k, estimator) for values in (rewards, scale * rewards))
        if estimator in UNBIASED_ESTIMATORS:
            torch.testing.assert_close(after, scale * before, rtol=1e-12, atol=1e-12 * scale)
        elif estimator == "analytic":
            torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


@given(rewards=rewards_on_a_grid)
@settings(max_examples=30, deadline=None)
def test_a_better_reward_never_gets_a_smaller_advantage(rewards):
    for estimator, k in every_setting(rewards.shape[-1]):
        for group, advantages in zip(rewards, passk_advantages(rewards, k, estimator), strict=True):
            scored = ~group.isnan()
            ascending = advantages[scored][group[scored].argsort()]
            assert (ascending.diff() >= -1e-12).all()


@given(rewards=rewards_on_a_grid, data=st.data())
@settings(max_examples=30, deadline=None)
def test_max_at_k_rises_with_k_and_with_any_reward(rewards, data):
    n = rewards.shape[-1]
    raised = rewards.clone()
    raised[:, data.draw(st.integers(0, n - 1))] += data.draw(st.integers(1, 8)) / 8
    values = torch.stack([max_at_k(rewards, k) for k in range(1, n + 1)])
    assert not (values.diff(dim=0) < -1e-12).any()  # NaN, too few scored rollouts, compares false
    raised_values = torch.stack([max_at_k(raised, k) for k in range(1, n + 1)])
    assert not (raised_values < values - 1e-12).any()


@given(n=st.integers(2, 60), data=st.data())
@settings(max_examples=30, deadline=None)
def test_pass_at_k_rises_with_c_and_k_and_the_weight_falls_with_c(n, data):
    ks, counts = torch.arange(1, n + 1), torch.arange(n + 1)
    table = pass_at_k(n, counts, ks[:, None])
    assert ((table >= 0) & (table <= 1)).all()
    assert (table.diff(dim=0) >= -1e-13).all()
    assert (table.diff(dim=1) >= -1e-13).all()
    k = data.draw(st.floats(1, n - 1))
    weights = unbiased_prompt_weight(n, counts, k)
    assert (weights >= 0).all()
    assert (weights.diff() <= 1e-12 * weights[:-1]).all()


# Refusals: each names the argument, the value and what is allowed


GROUP = torch.tensor(ZOO["real"])
REFUSED = [
    (pass_at_k, (0, 0, 1), "`num_samples` must be an integer of at least 1, but got 0."),
    (pass_at_k, (8.5, 1, 1), "`num_samples` must be an integer of at least 1, but got 8.5."),
    (pass_at_k, (8, 9, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got 9."),
    (pass_at_k, (8, -1, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got -1."),
    (pass_at_k, (8, NAN, 1), "`num_correct` must be an integer from 0 to 8 (num_samples), but got nan."),
    (pass_at_k, (8, 2, 9), "`k` must be an integer from 1 to 8 (num_samples), but got 9."),
    (pass_at_k, (8, 2, 0), "`k` must be an integer from 1 to 8 (num_samples), but got 0."),
    (pass_at_k, (torch.tensor([9, 4]), 2, torch.tensor([5, 5])), "from 1 to 4 (num_samples), but got 5."),
    (pass_at_k, (torch.ones(2), torch.ones(3), 1), "`num_samples` (2,), `num_correct` (3,), `k` ()."),
    (pass_at_k, ("8", 2, 1), "`num_samples` must be real numbers, but got '8'."),
    (pass_at_k, (8, torch.tensor(1j), 1), "`num_correct` must be real numbers, but got dtype torch.complex64."),
    (prompt_weight, (1.5, 2), "`p` must be a number from 0 to 1, but got 1.5."),
    (prompt_weight, (NAN, 2), "`p` must be a number from 0 to 1, but got nan."),
    (prompt_weight, (0.5, 0.5), "`k` must be a number of at least 1, but got 0.5."),
    (prompt_weight, (0.5, math.inf), "`k` must be a number of at least 1, but got inf."),
    (unbiased_prompt_weight, (1, 1, 1), "`num_samples` must be an integer of at least 2, but got 1."),
    (unbiased_prompt_weight, (8, 0.5, 2), "`num_correct` must be an integer from 0 to 8 (num_samples), but got 0.5."),
    (unbiased_prompt_weight, (8, 2, 7.5), "`k` must be a number from 1 to 7 (num_samples - 1), but got 7.5."),
    (max_at_k, (GROUP, 7), "`k` must be an integer from 1 to 6 for groups of 6 rollouts, but got 7."),
    (max_at_k, (GROUP, 2.0), "`k` must be an integer from 1 to 6 for groups of 6 rollouts, but got 2.0."),
    (max_at_k, (torch.tensor(1.0), 1), "`rewards` must have shape [..., n], n at least 1, but got shape ()."),
    (max_at_k, (torch.tensor([1.0, -math.inf]), 1), "`rewards` must be finite, or NaN for a rollout"),
    (passk_advantages, (GROUP, 0), "`k` must be an integer from 1 to 6 for groups of 6 rollouts with"),
    (passk_advantages, (GROUP, 7), "with `estimator='weighted_loo'`, but got 7."),
    (passk_advantages, (GROUP, "2"), "but got '2'."),
    (passk_advantages, (GROUP, torch.tensor([1, 2])), "but got tensor([1, 2])."),
    (
        passk_advantages,
        (GROUP, 6, "loo"),
        "from 1 to 5 for groups of 6 rollouts with `estimator='loo'`, but got 6; set",
    ),
    (passk_advantages, (GROUP, 6, "analytic"), "but got 6; set `estimator='weighted_loo'` to use that k."),
    (passk_advantages, (GROUP, 1, "loo_minus_one"), "`k` must be an integer from 2 to 6"),
    (
        passk_advantages,
        (GROUP, 4, "grpo"),
        "`k` must be 1 for groups of 6 rollouts with `estimator='grpo'`, but got 4;",
    ),
    (passk_advantages, (GROUP[:1], 1, "loo"), "`estimator='loo'` needs at least 2 rollouts on the last axis"),
    (
        passk_advantages,
        (GROUP, 2, "rloo"),
        "`estimator` must be one of 'none', 'loo', 'loo_minus_one', 'weighted_loo',",
    ),
    (
        passk_advantages,
        (torch.ones(3, 0), 1),
        "`rewards` must have shape [..., n], n at least 1, but got shape (3, 0).",
    ),
    (passk_advantages, (torch.tensor([1.0, math.inf]), 1), "that could not be scored, but got inf."),
    (passk_advantages, (torch.tensor([1j, 2j]), 1), "`rewards` must be real numbers, but got dtype torch.complex64."),
    (allowed_k, ("rloo", 8), "but got 'rloo'."),
]


@pytest.mark.parametrize(("function", "arguments", "message"), REFUSED)
def test_out_of_range_is_refused_in_words(function, arguments, message):
    with pytest.raises(ValueError) as refusal:
        function(*arguments)
    assert message in str(refusal.value)


# The contract with the rest of the package


def test_public_names_and_signatures():
    signatures = {
        "pass_at_k": "num_samples, num_correct, k",
        "max_at_k": "rewards, k",
        "prompt_weight": "p, k",
        "unbiased_prompt_weight": "num_samples, num_correct, k",
        "passk_advantages": "rewards, k, estimator",
        "allowed_k": "estimator, num_rollouts",
        "weighted_advantages": "rewards, weight_from_others, fewest",
    }
    for name, expected in signatures.items():
        assert ", ".join(inspect.signature(getattr(estimators, name)).parameters) == expected
    assert inspect.signature(passk_advantages).parameters["estimator"].default == "weighted_loo"
    assert set(estimators.__all__) == {*signatures, "ESTIMATORS", "UNBIASED_ESTIMATORS"}
    assert ESTIMATORS == ("none", "loo", "loo_minus_one", "weighted_loo", "analytic", "grpo")
    assert UNBIASED_ESTIMATORS == ("none", "loo", "loo_minus_one", "weighted_loo")


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


def test_importing_estimators_needs_torch_only():
    heavy = "{'trl', 'transformers', 'accelerate', 'datasets'}"
    program = f"import sys, passk_trl.estimators; sys.exit(str(sorted({heavy} & sys.modules.keys()) or ''))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""
