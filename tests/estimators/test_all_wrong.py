"""Digits that are kept in groups of tens of thousands of rollouts."""

from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from passk_trl.estimators import (
    ESTIMATORS,
    UNBIASED_ESTIMATORS,
    allowed_k,
    max_at_k,
    pass_at_k,
    pass_hat_k,
    passk_advantages,
    unbiased_prompt_weight,
)
from reward_groups import NAN, binary_group, comb, relative_error


@pytest.mark.parametrize("n", [300, 50_000])
def test_values_and_weights_keep_ten_digits_in_groups_of_tens_of_thousands(n):
    for c in (0, 1, 30, n // 3, n):
        for k in (1, 2, 40, n // 2, n - 1):
            misses = Fraction(comb(n - c, k), comb(n, k))
            assert relative_error(pass_at_k(n, c, k), 1 - misses) < 1e-10
            if misses == 0 or misses > Fraction(1, 10**300):
                assert relative_error(pass_hat_k(n, n - c, k), misses) < 1e-10  # with right and wrong exchanged
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
