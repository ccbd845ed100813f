"""Properties of all advantages, over random groups."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from passk_trl.estimators import UNBIASED_ESTIMATORS, max_at_k, passk_advantages
from reward_groups import every_setting, rewards_on_a_grid


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
