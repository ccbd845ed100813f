"""Rewards to pass@k / max@k values, prompt weights and advantages: pure functions on groups of rollouts.

Notation, the same in every function: a prompt x has a group of n rollouts y_1 … y_n, of which c are correct. The
*others* of a rollout are the n − 1 other rollouts of its group; m of them are correct. C(a, b) is the binomial
coefficient.

Everything here rests on one number, the probability that k rollouts drawn from the group without replacement are all
wrong, C(n−c, k) / C(n, k) (`_log_all_wrong`), and on one identity: without looking at a rollout, its others estimate
the weight that pass@k gives to the prompt (`_weight_from_others`),

    t(m) = k C(n−1−m, k−1) / C(n−1, k−1),    E[t(m)] = w_k(p) = k (1−p)^(k−1).

Hence, for *any* baseline b(m) of the others alone with b(0) = 0,

    A_j = t(m_j) r_j − b(m_j)    satisfies    E[(1/n) Σ_j A_j ∇log π(y_j|x)] = w_k(p) ∇p = ∇pass@k(x),

since E[∇log π] = 0 removes b. An unbiased estimator is a choice of b, and nothing else (`_against_baseline`). Without
b(0) = 0 a group would learn from thresholds that none of its rollouts passes, and which those are its rewards do not
tell.

Real rewards r_(1) ≤ … ≤ r_(n) are sums of successes over thresholds, r = r_(1) + Σ_l (r_(l+1) − r_(l)) 1[r > r_(l)].
So the maximum of k rewards is the same sum of pass@k's, and an advantage is the 0/1 advantage summed over the gaps
between sorted rewards (`_sum_over_gaps`). Tied rewards leave no gap between them and get the same advantage.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .all_wrong import _log_all_wrong
from .arguments import _in_dtype_of


class _SortedGroups(NamedTuple):
    """Groups with rewards ascending and unscored (NaN) rollouts at the end, where they open no gap."""

    rewards: Tensor  # [..., n] ascending; unscored rollouts repeat the highest reward of their group
    order: Tensor  # [..., n] where each sorted reward came from
    size: Tensor  # [..., 1] scored rollouts of each group; [1] if all are scored

    @property
    def lowest(self) -> Tensor:
        return self.rewards[..., :1]

    @property
    def num_wrong(self) -> Tensor:
        """[n] 0 to n−1: how many rollouts are below each place; how many of the others may be wrong."""
        return torch.arange(self.rewards.shape[-1], dtype=torch.float64, device=self.rewards.device)

    @property
    def num_correct(self) -> Tensor:
        """[..., n] how many of the others are correct when `num_wrong` are wrong."""
        return (self.size - 1 - self.num_wrong).clamp(min=0)

    @property
    def scored(self) -> Tensor:
        return self.num_wrong < self.size


# The mathematics they share --------------------------------------------------------------------------------------
def _weight_from_others(group: _SortedGroups, k: int) -> Tensor:
    """[..., n] t = k C(l, k−1) / C(n−1, k−1), the prompt weight w_k(p) as estimated by others of whom l are wrong."""

    def weight(others: Tensor, num_correct: Tensor) -> Tensor:
        return k * torch.exp(_log_all_wrong(others, num_correct, torch.full_like(others, k - 1)))

    return _by_group_size(group, weight)


def _by_group_size(group: _SortedGroups, weight: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[..., n] `weight` of the number of others and how many are correct, where l = 0 … n−1 of them are wrong."""
    sizes, which = group.size.squeeze(-1).unique(return_inverse=True)  # one table serves all groups of a size
    others = sizes.unsqueeze(-1) - 1
    num_correct = (others - group.num_wrong).clamp(min=0)
    return weight(others, num_correct)[which]


def _max_probability(group: _SortedGroups, k: int) -> Tensor:
    """[..., n] probability C(i−1, k−1) / C(n, k) that the i-th lowest reward is the maximum of a random k-subset."""
    return _weight_from_others(group, k) / group.size * group.scored


def _sum_over_gaps(group: _SortedGroups, if_correct: Tensor, if_wrong: Tensor) -> Tensor:
    """
    Sum the 0/1 advantages over the gaps between sorted rewards: each rollout is correct for the gaps below it and
    wrong for those above. `if_correct` and `if_wrong` ([..., n−1]) are indexed by gap, from the lowest.
    """
    gaps = group.rewards.diff(dim=-1)
    nothing = torch.zeros_like(group.lowest)
    from_below = torch.cat([nothing, (gaps * if_correct).cumsum(-1)], dim=-1)
    from_above = torch.cat([(gaps * if_wrong).flip(-1).cumsum(-1).flip(-1), nothing], dim=-1)
    return from_below + from_above


def _sort_groups(rewards: Tensor) -> _SortedGroups:
    sorted_rewards, order = rewards.sort(dim=-1)  # NaN sorts last
    scored = ~sorted_rewards.isnan()
    if scored.all():
        return _SortedGroups(sorted_rewards, order, rewards.new_tensor([rewards.shape[-1]]))
    size = scored.sum(-1, keepdim=True)
    highest = sorted_rewards.gather(-1, (size - 1).clamp(min=0))
    return _SortedGroups(torch.where(scored, sorted_rewards, highest), order, size.to(rewards.dtype))


# Arguments in, results out ---------------------------------------------------------------------------------------
def _in_order_of(rewards: Any, group: _SortedGroups, sorted_advantages: Tensor, fewest: int) -> Tensor:
    """Advantages in the places and the dtype of `rewards`; 0 where a rollout, or fewer than `fewest`, are scored."""
    kept = torch.where(group.scored & (group.size >= fewest), sorted_advantages, 0.0)
    return _in_dtype_of(rewards, torch.empty_like(kept).scatter_(-1, group.order, kept))
