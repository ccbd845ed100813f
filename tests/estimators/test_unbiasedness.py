"""Unbiasedness of advantages, values and weights, proved by exact enumeration in rational arithmetic."""

import math
from fractions import Fraction
from itertools import product
from operator import mul

import pytest
import torch

from passk_trl.estimators import (
    UNBIASED_ESTIMATORS,
    allowed_k,
    max_at_k,
    pass_at_k,
    pass_hat_k,
    passk_advantages,
    unbiased_prompt_weight,
)
from passk_trl.estimators.advantages import _against_baseline
from passk_trl.estimators.groups import passk_weight_from_others, sort_groups
from reward_groups import MAX_N, NAN, as_fraction, binary_group, comb, groups_and_ks, unbiased_estimators


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
    """The claim that new estimators rely on, for a made-up baseline b(m), and with two unscored rollouts."""
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
            hats = [as_fraction(pass_hat_k(n, c, k)) for c in range(n + 1)]
            for p in (Fraction(i, n + 2) for i in range(n + 2)):  # degree n: n + 1 points are enough
                chances = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
                assert sum(map(mul, chances, passes)) == 1 - (1 - p) ** k
                assert sum(map(mul, chances, hats)) == p**k


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
    """E[Σ_j A_j²] at n = 16, p = 0.1, and the least that any unbiased estimator can reach: t(m)² p (1−p) n."""
    n, p = 16, 0.1
    for k in (4, 8):
        groups = torch.tensor([binary_group(n, c) for c in range(n + 1)], dtype=torch.float64)
        chances = torch.tensor([math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]).double()
        noise = {e: chances @ passk_advantages(groups, k, e).square().sum(-1) for e in UNBIASED_ESTIMATORS}
        weights = [k * comb(n - 1 - m, k - 1) / comb(n - 1, k - 1) for m in range(n)]
        least = sum(math.comb(n - 1, m) * p**m * (1 - p) ** (n - 1 - m) * w**2 for m, w in enumerate(weights))
        assert min(noise, key=noise.get) == "weighted_loo"
        assert noise["weighted_loo"] > n * p * (1 - p) * least
