"""pass@k and max@k against their definition over all k-subsets, and their order."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passk_trl.estimators import max_at_k, pass_at_k, pass_hat_k, unbiased_prompt_weight
from reward_groups import in_zoo, mean, rewards_on_a_grid, subset_maxima


@in_zoo
def test_max_at_k_is_the_mean_maximum_over_all_subsets(rewards):
    for k in range(1, len(rewards) + 1):
        expected = mean(subset_maxima(list(map(Fraction, rewards)), combinations(range(len(rewards)), k)))
        assert max_at_k(torch.tensor(rewards, dtype=torch.float64), k).item() == pytest.approx(float(expected), 1e-13)


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


@given(n=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_pass_hat_k_rises_with_c_falls_with_k_and_is_pass_at_1_at_first(n):
    ks, counts = torch.arange(1, n + 1), torch.arange(n + 1)
    table = pass_hat_k(n, counts, ks[:, None])
    assert ((table >= 0) & (table <= 1)).all()
    assert (table.diff(dim=0) <= 1e-13).all()
    assert (table.diff(dim=1) >= -1e-13).all()
    torch.testing.assert_close(table[0], pass_at_k(n, counts, 1), rtol=0, atol=1e-13)


@pytest.mark.parametrize("function", [pass_at_k, pass_hat_k])
def test_fewer_than_k_rollouts_have_no_estimate(function):
    """Both formulas would say 0 or 1 there, whatever the policy."""
    for n, c in ((0, 0), (1, 0), (4, 0), (4, 2), (4, 4)):
        for k in range(1, 9):
            assert math.isnan(function(n, c, k)) == (k > n)
    by_prompt = function(torch.tensor([8, 3, 0]), torch.tensor([8, 3, 0]), 4)
    assert by_prompt.isnan().tolist() == [False, True, True]
