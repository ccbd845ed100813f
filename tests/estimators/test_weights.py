"""Prompt weights against the derivative of pass@k and against the polynomials that they are."""

import math
from fractions import Fraction

import pytest
import torch

from passk_trl.estimators import prompt_weight, unbiased_prompt_weight


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
