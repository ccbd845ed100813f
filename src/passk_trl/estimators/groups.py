"""Groups of sorted rewards, and the sums over them that give values and advantages."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .all_wrong import log_all_wrong


class SortedGroups(NamedTuple):
    """Groups with ascending rewards. Unscored (NaN) rollouts stand at the end, where they add no gap."""

    rewards: Tensor  # [..., n] ascending; unscored rollouts repeat the highest reward of their group
    order: Tensor  # [..., n] where each sorted reward came from
    size: Tensor  # [..., 1] scored rollouts of each group; [1] if all are scored

    @property
    def lowest(self) -> Tensor:
        return self.rewards[..., :1]

    @property
    def num_wrong(self) -> Tensor:
        """[n] 0 to n−1: how many rollouts are below each place, and so how many of the others may be wrong."""
        return torch.arange(self.rewards.shape[-1], dtype=torch.float64, device=self.rewards.device)

    @property
    def num_correct(self) -> Tensor:
        """[..., n] how many of the others are correct if `num_wrong` are wrong."""
        return (self.size - 1 - self.num_wrong).clamp(min=0)

    @property
    def scored(self) -> Tensor:
        return self.num_wrong < self.size


def passk_weight_from_others(group: SortedGroups, k: int) -> Tensor:
    """[..., n] t = k C(l, k−1) / C(n−1, k−1), the estimate of w_k(p) from the others, l of which are wrong."""

    def weight(others: Tensor, num_correct: Tensor) -> Tensor:
        return k * torch.exp(log_all_wrong(others, num_correct, torch.full_like(others, k - 1)))

    return by_group_size(group, weight)


def by_group_size(group: SortedGroups, weight: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[..., n] `weight` of the number of others and of the correct ones among them, if l = 0 … n−1 are wrong."""
    sizes, which = group.size.squeeze(-1).unique(return_inverse=True)  # one table serves all groups of a size
    others = sizes.unsqueeze(-1) - 1
    num_correct = (others - group.num_wrong).clamp(min=0)
    return weight(others, num_correct)[which]


def max_probability(group: SortedGroups, k: int) -> Tensor:
    """[..., n] probability C(i−1, k−1) / C(n, k) that the i-th lowest reward is the maximum of a random k-subset."""
    return passk_weight_from_others(group, k) / group.size * group.scored


def sum_over_gaps(group: SortedGroups, if_correct: Tensor, if_wrong: Tensor) -> Tensor:
    """
    [..., n] the 0/1 advantages summed over the gaps between sorted rewards. Each rollout is correct for the gaps below
    it and wrong for the gaps above. `if_correct` and `if_wrong` ([..., n−1]) are indexed by gap, from the lowest.
    """
    gaps = group.rewards.diff(dim=-1)
    nothing = torch.zeros_like(group.lowest)
    from_below = torch.cat([nothing, (gaps * if_correct).cumsum(-1)], dim=-1)
    from_above = torch.cat([(gaps * if_wrong).flip(-1).cumsum(-1).flip(-1), nothing], dim=-1)
    return from_below + from_above


def sort_groups(rewards: Tensor) -> SortedGroups:
    """The groups on the last axis of float64 rewards."""
    sorted_rewards, order = rewards.sort(dim=-1)  # NaN sorts last
    scored = ~sorted_rewards.isnan()
    if scored.all():
        return SortedGroups(sorted_rewards, order, rewards.new_tensor([rewards.shape[-1]]))
    size = scored.sum(-1, keepdim=True)
    highest = sorted_rewards.gather(-1, (size - 1).clamp(min=0))
    return SortedGroups(torch.where(scored, sorted_rewards, highest), order, size.to(rewards.dtype))


def in_order_of(rewards: Any, group: SortedGroups, sorted_advantages: Tensor, fewest: int) -> Tensor:
    """
    Advantages in the order and the dtype of `rewards`. Unscored rollouts get 0, and so do all rollouts of a group with
    fewer than `fewest` scored ones.
    """
    kept = torch.where(group.scored & (group.size >= fewest), sorted_advantages, 0.0)
    return _in_dtype_of(rewards, torch.empty_like(kept).scatter_(-1, group.order, kept))


def _in_dtype_of(rewards: Any, advantages: Tensor) -> Tensor:
    if not isinstance(rewards, Tensor):
        return advantages.to(torch.get_default_dtype())
    return advantages.to(rewards.device, rewards.dtype if rewards.is_floating_point() else torch.get_default_dtype())
