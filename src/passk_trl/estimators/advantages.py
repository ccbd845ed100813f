"""Advantages: the estimators of the gradient of pass@k and max@k, by name."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .arguments import checked_rewards, whole_k
from .groups import (
    SortedGroups,
    by_group_size,
    in_order_of,
    max_probability,
    passk_weight_from_others,
    sort_groups,
    sum_over_gaps,
)


def passk_advantages(rewards: Tensor, k: int, estimator: str = "weighted_loo") -> Tensor:
    """
    Advantages whose policy gradient is that of pass@k, or of max@k if rewards are real.

    The unbiased estimators (`UNBIASED_ESTIMATORS`) satisfy E[(1/n) Σ_j A_j ∇log π(y_j|x)] = ∇pass@k(x), or ∇E[max of k
    rewards]; they differ in their variance. For 0/1 rewards, where t(m) is the prompt weight estimated from the others
    and m of the others are correct:

    | `estimator` | correct rollout | wrong rollout | k | source |
    |---|---|---|---|---|
    | `none` | k | k − t(m) | 1 to n | PKPO's s, equation 19 |
    | `loo` | t(m) (1 − m/(n−k)) | −t(m) m/(n−k) | 1 to n − 1 | PKPO's s_loo, equation 29 |
    | `loo_minus_one` | t(m) | 0 | 2 to n | PKPO's s_loo−1, equation 33 |
    | `weighted_loo` | t(m) (1 − m/(n−1)) | −t(m) m/(n−1) | 1 to n | weight × leave-one-out advantage |
    | `analytic` | z-score over k-subsets | not unbiased | 1 to n − 1 | Pass@k Training |
    | `grpo` | z-score over rollouts | not unbiased | 1 | GRPO, as in TRL |

    At k = 1, `loo` and `weighted_loo` are RLOO: r_j − mean(others). PKPO's listing gives A_j/n.

    Args:
        rewards (`torch.Tensor` of shape `[..., n]`):
            Rewards of any dtype, 0/1 or real, one group on the last axis. NaN marks a rollout that could not be
            scored: it is left out of its group and gets advantage 0. If too few rollouts for `k` are left in a group
            (fewer than k, or than k + 1 where k may not reach n), there is no estimate of its gradient, and the whole
            group gets advantage 0.
        k (`int`):
            Attempts, in the range of the table above (see `allowed_k`).
        estimator (`str`, *optional*, defaults to `"weighted_loo"`):
            One of `ESTIMATORS`.

    Returns:
        `torch.Tensor` of shape `[..., n]`, computed in float64 and returned in the dtype of `rewards`, or in the
        default dtype if `rewards` are integers or booleans. It carries no gradient.

    Raises:
        ValueError: If `estimator` is unknown, `k` is outside the estimator's range, or `rewards` is empty along its
            last axis or infinite somewhere.

    Sources: PKPO, Walder & Karkhanis 2025, https://huggingface.co/papers/2505.15201; Pass@k Training, Chen et al.
    2025, https://huggingface.co/papers/2508.10751; RLOO, Ahmadian et al. 2024,
    https://huggingface.co/papers/2402.14740; GRPO, Shao et al. 2024, https://huggingface.co/papers/2402.03300.
    """
    values = checked_rewards(rewards)
    num_rollouts = values.shape[-1]
    k = whole_k(k, allowed_k(estimator, num_rollouts), num_rollouts, estimator)
    chosen = _ESTIMATORS[estimator]
    group = sort_groups(values)
    return in_order_of(rewards, group, chosen.advantages(group, k), fewest=k + chosen.spare_rollouts)


def weighted_advantages(
    rewards: Tensor, weight_from_others: Callable[[Tensor, Tensor], Tensor], fewest: int
) -> Tensor:
    """
    Advantages A_j = t(others of j) (r_j − mean of the others): a prompt weight times the leave-one-out advantage.

    The estimator `weighted_loo` for any weight: E[(1/n) Σ_j A_j ∇log π(y_j|x)] = E[t] ∇p(x) with t of the n − 1
    others. That is ∇f(p(x)) where E[t] = f′(p). Real rewards are summed over thresholds, which gives the gradient of
    ∫ f(P(r > z)) dz.

    Args:
        rewards (`torch.Tensor` of shape `[..., n]`):
            As for [`passk_advantages`].
        weight_from_others (`Callable`):
            From float64 tensors, the number of others `[S, 1]` and how many of them are correct `[S, n]`, to the
            finite prompt weight t `[S, n]`.
        fewest (`int`):
            Scored rollouts that a group needs so that its weight can be estimated; groups with fewer get advantage 0.

    Returns:
        `torch.Tensor` of shape `[..., n]`, as from [`passk_advantages`].

    Raises:
        ValueError: If `rewards` is empty along its last axis or infinite somewhere, or has fewer than `fewest` entries
            there.
    """
    values = checked_rewards(rewards)
    if values.shape[-1] < fewest:
        raise ValueError(f"`rewards` must hold at least {fewest} rollouts a group, but got {values.shape[-1]}.")
    group = sort_groups(values)
    advantages = _against_mean_of_others(group, by_group_size(group, weight_from_others))
    return in_order_of(rewards, group, advantages, fewest)


def allowed_k(estimator: str, num_rollouts: int) -> range:
    """
    The k that `estimator` can estimate from groups of `num_rollouts`; empty if the group is too small for any.

    Args:
        estimator (`str`):
            One of `ESTIMATORS`.
        num_rollouts (`int`):
            Rollouts n per prompt (TRL's `num_generations`).

    Returns:
        `range`, for checks such as `k in allowed_k("loo", 8)`.

    Raises:
        ValueError: If `estimator` is unknown.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"`estimator` must be one of {', '.join(map(repr, ESTIMATORS))}, but got {estimator!r}.")
    chosen = _ESTIMATORS[estimator]
    largest_k = num_rollouts - chosen.spare_rollouts
    return range(chosen.smallest_k, (largest_k if chosen.largest_k is None else min(largest_k, chosen.largest_k)) + 1)


def _none(group: SortedGroups, k: int) -> Tensor:
    """No baseline: k times the mean maximum over the k-subsets that contain the rollout. PKPO's s."""
    weight = passk_weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=weight - k)


def _loo(group: SortedGroups, k: int) -> Tensor:
    """`none` minus k times the others' own pass@k. PKPO's s_loo; on 0/1 rewards ω_k(n, c) (r_j − r̄) n/(n−1)."""
    weight = passk_weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=weight * (group.num_correct / (group.size - k)))


def _loo_minus_one(group: SortedGroups, k: int) -> Tensor:
    """
    `none` minus the same mean without the rollout: what the rollout adds to each subset. PKPO's s_loo−1. On 0/1
    rewards a wrong rollout gets exactly 0, so a group learns only from its correct rollouts.
    """
    weight = passk_weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=torch.zeros_like(weight))


def _weighted_loo(group: SortedGroups, k: int) -> Tensor:
    """
    The prompt's pass@k weight times the leave-one-out advantage of pass@1, both from the others.

    The baseline of least variance is p t(m). This one replaces p by the mean of the others. A rollout that is alone in
    its group (n = 1) has no others and gets no baseline, which is still unbiased.
    """
    return _against_mean_of_others(group, passk_weight_from_others(group, k))


def _analytic(group: SortedGroups, k: int) -> Tensor:
    """
    z-score of the maximum over all k-subsets, averaged over the subsets that contain the rollout.

    With μ and σ the mean and standard deviation of the maximum over all C(n, k) subsets, A_j = (mean over the subsets
    that contain j − μ) / σ, and 0 where σ = 0. On 0/1 rewards that is Pass@k Training's (1 − R)/σ for a correct
    rollout and (1 − R − C(n−c−1, k−1)/C(n−1, k−1))/σ for a wrong one, with R = pass@k and σ² = R (1 − R). The
    definition does not require 0/1 rewards, so it also covers real ones. Dividing by σ reweights the prompts, so this
    is not ∇pass@k.
    """
    num_wrong = group.num_wrong[1:]
    all_others_wrong = passk_weight_from_others(group, k)[..., :-1] / k  # for a wrong rollout, at each gap
    centred = sum_over_gaps(
        group,
        if_correct=all_others_wrong * num_wrong / group.size,
        if_wrong=all_others_wrong * (num_wrong / group.size - 1),
    )
    probability = max_probability(group, k)
    # distances from the best reward: a maximum that hardly varies keeps its digits
    shortfall = group.rewards[..., -1:] - group.rewards
    mean = (probability * shortfall).sum(-1, keepdim=True)
    sigma = (probability * (shortfall - mean).square()).sum(-1, keepdim=True).sqrt()
    return torch.where(sigma > 0, centred / sigma, 0.0)


def _grpo(group: SortedGroups, k: int) -> Tensor:
    """z-score over the rollouts, (r − r̄) / (std + 1e-4), Bessel-corrected: TRL's `scale_rewards="group"`."""
    above = group.rewards - group.lowest  # exactly 0 where all rewards are equal
    mean = (above * group.scored).sum(-1, keepdim=True) / group.size
    centred = (above - mean) * group.scored
    std = (centred.square().sum(-1, keepdim=True) / (group.size - 1)).sqrt()
    return centred / (std + 1e-4)


class _Estimator(NamedTuple):
    advantages: Callable[[SortedGroups, int], Tensor]  # in sorted order
    unbiased: bool
    smallest_k: int = 1
    spare_rollouts: int = 0  # k reaches n - spare_rollouts
    largest_k: int | None = None


_ESTIMATORS = {
    "none": _Estimator(_none, unbiased=True),
    "loo": _Estimator(_loo, unbiased=True, spare_rollouts=1),
    "loo_minus_one": _Estimator(_loo_minus_one, unbiased=True, smallest_k=2),
    "weighted_loo": _Estimator(_weighted_loo, unbiased=True),
    "analytic": _Estimator(_analytic, unbiased=False, spare_rollouts=1),
    "grpo": _Estimator(_grpo, unbiased=False, spare_rollouts=1, largest_k=1),
}


ESTIMATORS = tuple(_ESTIMATORS)
"""The names of all estimators, which [`passk_advantages`] explains."""


UNBIASED_ESTIMATORS = tuple(name for name, chosen in _ESTIMATORS.items() if chosen.unbiased)
"""The names of the unbiased estimators."""


def _against_baseline(group: SortedGroups, weight: Tensor, baseline: Tensor) -> Tensor:
    """
    A_j = weight · r_j − baseline, both from the others alone: every unbiased estimator has this form.

    `weight` and `baseline` are indexed by the number of wrong others; the baseline is 0 where no other is correct. At
    the gap with l rewards below it, a rollout above the gap (correct) has l wrong others, one below it (wrong) l − 1.
    """
    if_correct = weight - baseline
    all_correct = group.lowest * if_correct[..., :1]  # the thresholds below the lowest reward
    return all_correct + sum_over_gaps(group, if_correct[..., 1:], -baseline[..., :-1])


def _against_mean_of_others(group: SortedGroups, weight: Tensor) -> Tensor:
    """A_j = weight · (r_j − mean of the others)."""
    mean_of_others = group.num_correct / (group.size - 1).clamp(min=1)
    return _against_baseline(group, weight, baseline=weight * mean_of_others)
