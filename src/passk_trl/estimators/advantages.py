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

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .arguments import _checked_rewards
from .groups import (
    _by_group_size,
    _in_order_of,
    _max_probability,
    _sort_groups,
    _SortedGroups,
    _sum_over_gaps,
    _weight_from_others,
)


# Advantages ------------------------------------------------------------------------------------------------------
def passk_advantages(rewards: Tensor, k: int, estimator: str = "weighted_loo") -> Tensor:
    """
    Advantages whose policy gradient is that of pass@k, or of max@k if rewards are real.

    The unbiased estimators (`UNBIASED_ESTIMATORS`) satisfy E[(1/n) Σ_j A_j ∇log π(y_j|x)] = ∇pass@k(x), or ∇E[max of k
    rewards]; they differ in their variance. For 0/1 rewards, with t(m) the prompt weight estimated from the others, of
    whom m are correct:

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
            scored: it is left out of its group and gets advantage 0. If that leaves a group too few rollouts for `k`
            (fewer than k, or than k + 1 where k may not reach n), no estimate of its gradient exists and the whole
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
    values = _checked_rewards(rewards)
    num_rollouts = values.shape[-1]
    k = _whole_k(k, allowed_k(estimator, num_rollouts), num_rollouts, estimator)
    chosen = _ESTIMATORS[estimator]
    group = _sort_groups(values)
    return _in_order_of(rewards, group, chosen.advantages(group, k), fewest=k + chosen.spare_rollouts)


def weighted_advantages(
    rewards: Tensor, weight_from_others: Callable[[Tensor, Tensor], Tensor], fewest: int
) -> Tensor:
    """
    Advantages A_j = t(others of j) (r_j − mean of the others): a prompt weight times the leave-one-out advantage.

    The estimator `weighted_loo` for any weight: E[(1/n) Σ_j A_j ∇log π(y_j|x)] = E[t] ∇p(x) with t of the n − 1
    others, so ∇f(p(x)) where E[t] = f′(p). For real rewards it is summed over thresholds, the gradient of
    ∫ f(P(r > z)) dz.

    Args:
        rewards (`torch.Tensor` of shape `[..., n]`):
            As for [`passk_advantages`].
        weight_from_others (`Callable`):
            From float64 tensors, the number of others `[S, 1]` and how many of them are correct `[S, n]`, to the
            finite prompt weight t `[S, n]`.
        fewest (`int`):
            Scored rollouts that a group needs for its weight to be estimated; groups with fewer get advantage 0.

    Returns:
        `torch.Tensor` of shape `[..., n]`, as from [`passk_advantages`].

    Raises:
        ValueError: If `rewards` is empty along its last axis or infinite somewhere, or has fewer than `fewest` entries
            there.
    """
    values = _checked_rewards(rewards)
    if values.shape[-1] < fewest:
        raise ValueError(f"`rewards` must hold at least {fewest} rollouts a group, but got {values.shape[-1]}.")
    group = _sort_groups(values)
    advantages = _against_mean_of_others(group, _by_group_size(group, weight_from_others))
    return _in_order_of(rewards, group, advantages, fewest)


def allowed_k(estimator: str, num_rollouts: int) -> range:
    """
    The k that `estimator` can estimate from groups of `num_rollouts`; empty if the group is too small for any.

    Args:
        estimator (`str`):
            One of `ESTIMATORS`.
        num_rollouts (`int`):
            Rollouts n per prompt (TRL's `num_generations`).

    Returns:
        `range`, so that `k in allowed_k("loo", 8)` reads as it should.

    Raises:
        ValueError: If `estimator` is unknown.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"`estimator` must be one of {', '.join(map(repr, ESTIMATORS))}, but got {estimator!r}.")
    chosen = _ESTIMATORS[estimator]
    largest_k = num_rollouts - chosen.spare_rollouts
    return range(chosen.smallest_k, (largest_k if chosen.largest_k is None else min(largest_k, chosen.largest_k)) + 1)


def _none(group: _SortedGroups, k: int) -> Tensor:
    """No baseline: k times the mean of the maximum over the k-subsets that hold the rollout. PKPO's s."""
    weight = _weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=weight - k)


def _loo(group: _SortedGroups, k: int) -> Tensor:
    """`none` minus k times the others' own pass@k. PKPO's s_loo; on 0/1 rewards ω_k(n, c) (r_j − r̄) n/(n−1)."""
    weight = _weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=weight * (group.num_correct / (group.size - k)))


def _loo_minus_one(group: _SortedGroups, k: int) -> Tensor:
    """
    `none` minus the same mean without the rollout: what it adds to each subset. PKPO's s_loo−1. On 0/1 rewards a wrong
    rollout gets exactly 0, so a group learns only from its correct rollouts.
    """
    weight = _weight_from_others(group, k)
    return _against_baseline(group, weight, baseline=torch.zeros_like(weight))


def _weighted_loo(group: _SortedGroups, k: int) -> Tensor:
    """
    The prompt's pass@k weight times the leave-one-out advantage of pass@1, both from the others.

    The baseline of least variance is p t(m); this is it with p replaced by the mean of the others. A rollout alone in
    its group (n = 1) has no others and gets no baseline, which is still unbiased.
    """
    return _against_mean_of_others(group, _weight_from_others(group, k))


def _analytic(group: _SortedGroups, k: int) -> Tensor:
    """
    z-score of the maximum over all k-subsets, averaged over the subsets that hold the rollout.

    With μ and σ the mean and standard deviation of the maximum over all C(n, k) subsets, A_j = (mean over the subsets
    that hold j − μ) / σ, and 0 where σ = 0. On 0/1 rewards that is Pass@k Training's (1 − R)/σ for a correct rollout
    and (1 − R − C(n−c−1, k−1)/C(n−1, k−1))/σ for a wrong one, with R = pass@k and σ² = R (1 − R). The definition does
    not ask for 0/1 rewards, so real ones need nothing new. Dividing by σ reweights the prompts: not ∇pass@k.
    """
    num_wrong = group.num_wrong[1:]
    all_others_wrong = _weight_from_others(group, k)[..., :-1] / k  # for a wrong rollout, at each gap
    centred = _sum_over_gaps(
        group,
        if_correct=all_others_wrong * num_wrong / group.size,
        if_wrong=all_others_wrong * (num_wrong / group.size - 1),
    )
    probability = _max_probability(group, k)
    # measured down from the best reward, so that a maximum that almost never varies keeps its digits
    shortfall = group.rewards[..., -1:] - group.rewards
    mean = (probability * shortfall).sum(-1, keepdim=True)
    sigma = (probability * (shortfall - mean).square()).sum(-1, keepdim=True).sqrt()
    return torch.where(sigma > 0, centred / sigma, 0.0)


def _grpo(group: _SortedGroups, k: int) -> Tensor:
    """z-score over the rollouts, (r − r̄) / (std + 1e-4), Bessel-corrected: TRL's `scale_rewards="group"`."""
    above = group.rewards - group.lowest  # exactly 0 where all rewards are equal
    mean = (above * group.scored).sum(-1, keepdim=True) / group.size
    centred = (above - mean) * group.scored
    std = (centred.square().sum(-1, keepdim=True) / (group.size - 1)).sqrt()
    return centred / (std + 1e-4)


class _Estimator(NamedTuple):
    advantages: Callable[[_SortedGroups, int], Tensor]  # in sorted order
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
"""The names of the unbiased ones among them."""


def _against_baseline(group: _SortedGroups, weight: Tensor, baseline: Tensor) -> Tensor:
    """
    A_j = weight · r_j − baseline, where both come from the others alone: every unbiased estimator is this.

    `weight` and `baseline` are indexed by the number of wrong others; the baseline is 0 where no other is correct. At
    the gap that has l rewards below it, a rollout above (correct) sees l wrong others and one below (wrong) l − 1.
    """
    if_correct = weight - baseline
    all_correct = group.lowest * if_correct[..., :1]  # the thresholds below the lowest reward
    return all_correct + _sum_over_gaps(group, if_correct[..., 1:], -baseline[..., :-1])


def _against_mean_of_others(group: _SortedGroups, weight: Tensor) -> Tensor:
    """A_j = weight · (r_j − mean of the others)."""
    mean_of_others = group.num_correct / (group.size - 1).clamp(min=1)
    return _against_baseline(group, weight, baseline=weight * mean_of_others)


def _whole_k(k: Any, allowed: range, num_rollouts: int, estimator: str | None = None) -> int:
    try:
        index = operator.index(k)
    except (TypeError, ValueError, RuntimeError):  # what floats and tensors of several elements raise
        index = None
    if index is not None and index in allowed:
        return index
    if not allowed:
        fewest = num_rollouts + allowed.start - allowed.stop + 1
        raise ValueError(
            f"`estimator={estimator!r}` needs at least {fewest} rollouts on the last axis of `rewards`, but got "
            f"{num_rollouts} (with `k={k!r}`)."
        )
    span = f"an integer from {allowed[0]} to {allowed[-1]}" if len(allowed) > 1 else f"{allowed[0]}"
    using = f" with `estimator={estimator!r}`" if estimator else ""
    message = f"`k` must be {span} for groups of {num_rollouts} rollouts{using}, but got {k!r}"
    if index is not None and estimator and index in allowed_k("weighted_loo", num_rollouts):
        message += "; set `estimator='weighted_loo'` to use that k"
    raise ValueError(f"{message}.")
