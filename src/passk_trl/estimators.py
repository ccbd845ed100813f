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

import math
import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


__all__ = [
    "ESTIMATORS",
    "UNBIASED_ESTIMATORS",
    "allowed_k",
    "max_at_k",
    "pass_at_k",
    "passk_advantages",
    "prompt_weight",
    "unbiased_prompt_weight",
    "weighted_advantages",
]


# Values and prompt weights ---------------------------------------------------------------------------------------


def pass_at_k(num_samples: int | Tensor, num_correct: int | Tensor, k: int | Tensor) -> float | Tensor:
    """
    Unbiased estimate of pass@k, the probability that at least one of `k` rollouts is correct.

    pass@k = 1 − C(n−c, k) / C(n, k): the share of all k-subsets of the n rollouts that hold a correct one.

    Args:
        num_samples (`int` or `torch.Tensor`):
            Rollouts n per prompt, at least 1.
        num_correct (`int` or `torch.Tensor`):
            How many of them are correct, from 0 to n. The three arguments broadcast.
        k (`int` or `torch.Tensor`):
            Attempts, from 1 to n.

    Returns:
        `float` if every argument is a plain number, otherwise a float64 `torch.Tensor`.

    Raises:
        ValueError: If an argument is not a whole number in its range.

    Source: Chen et al. 2021, https://huggingface.co/papers/2107.03374, equation 1.
    """
    samples, correct, attempts = _broadcast(num_samples=num_samples, num_correct=num_correct, k=k)
    _require_between("num_samples", samples, 1, math.inf)
    _require_between("num_correct", correct, 0, samples, high_name="num_samples")
    _require_between("k", attempts, 1, samples, high_name="num_samples")
    # expm1 keeps every digit of a small pass@k; abs, not minus, so that no correct rollout gives 0.0 and not -0.0
    value = torch.expm1(_log_all_wrong(samples, correct, attempts)).abs()
    return _number_if_all_numbers(value, num_samples, num_correct, k)


def max_at_k(rewards: Tensor, k: int) -> Tensor:
    """
    Unbiased estimate of max@k, the expected best reward of `k` rollouts. On 0/1 rewards it is pass@k.

    max@k = Σ_i r_(i) C(i−1, k−1) / C(n, k) with rewards ascending: the mean over all k-subsets of their maximum.

    Args:
        rewards (`torch.Tensor` of shape `[..., n]`):
            Rewards of any dtype, one group on the last axis. NaN marks a rollout that could not be scored: it is left
            out of its group.
        k (`int`):
            Attempts, from 1 to n.

    Returns:
        `torch.Tensor` of shape `[...]`, float64. NaN for a group with fewer than `k` scored rollouts.

    Raises:
        ValueError: If `rewards` is empty along its last axis or infinite somewhere, or `k` is not an integer from 1
            to n.

    Source: PKPO, Walder & Karkhanis 2025, https://huggingface.co/papers/2505.15201, equation 12 (ρ).
    """
    rewards = _checked_rewards(rewards)
    k = _whole_k(k, range(1, rewards.shape[-1] + 1), rewards.shape[-1])
    group = _sort_groups(rewards)
    best = group.lowest + ((group.rewards - group.lowest) * _max_probability(group, k)).sum(-1, keepdim=True)
    return torch.where(group.size >= k, best, math.nan).squeeze(-1)


def prompt_weight(p: float | Tensor, k: float | Tensor) -> float | Tensor:
    """
    Weight w_k(p) = k (1−p)^(k−1) that pass@k gives to a prompt of success probability `p`.

    It is the derivative of pass@k in p, so that ∇J_k = E_x[w_k(p(x)) ∇p(x)].

    Args:
        p (`float` or `torch.Tensor`):
            Success probability, from 0 to 1. Broadcasts with `k`.
        k (`float` or `torch.Tensor`):
            Attempts, a real number of at least 1.

    Returns:
        `float` if both arguments are plain numbers, otherwise a float64 `torch.Tensor`.

    Raises:
        ValueError: If an argument is out of its range.

    Source: https://huggingface.co/papers/2602.21189, equations 2 and 3.
    """
    probability, attempts = _broadcast(p=p, k=k)
    _require_between("p", probability, 0, 1, whole=False)
    _require_between("k", attempts, 1, math.inf, whole=False)
    weight = attempts * torch.exp(torch.special.xlog1py(attempts - 1, -probability))
    return _number_if_all_numbers(weight, p, k)


def unbiased_prompt_weight(num_samples: int | Tensor, num_correct: int | Tensor, k: float | Tensor) -> float | Tensor:
    """
    Weight ω_k(n, c) = k C(n−1−c, k−1) / C(n−2, k−1) that turns a prompt's pass@1 gradient into its pass@k gradient.

    With g = 1/(n−1) Σ_j (r_j − r̄) ∇log π(y_j|x), unbiased for ∇p(x), ω_k(n, c) g is unbiased for ∇pass@k(x): it is the
    gradient that the advantages `loo` give.

    Real k is allowed. For c ≥ 1 the gamma functions reduce to ω_k = k Π_{i=1}^{c−1} (n−k−i)/(n−1−i), a polynomial in k
    that is positive until its first zero at k = n−c+1 and then swings through zero at every integer. The weight is
    that polynomial up to the first zero and 0 from there on: continuous in k, never negative, exact at every integer.
    The one jump is at c = n, where the weight is 1 at k = 1 and 0 beyond, as w_k(1) is; the gradient it multiplies is
    then 0.

    Args:
        num_samples (`int` or `torch.Tensor`):
            Rollouts n per prompt, at least 2.
        num_correct (`int` or `torch.Tensor`):
            How many of them are correct, from 0 to n. The three arguments broadcast.
        k (`float` or `torch.Tensor`):
            Attempts, a real number from 1 to n − 1.

    Returns:
        `float` if every argument is a plain number, otherwise a float64 `torch.Tensor`.

    Raises:
        ValueError: If an argument is out of its range.
    """
    samples, correct, attempts = _broadcast(num_samples=num_samples, num_correct=num_correct, k=k)
    _require_between("num_samples", samples, 2, math.inf)
    _require_between("num_correct", correct, 0, samples, high_name="num_samples")
    _require_between("k", attempts, 1, samples - 1, high_name="num_samples - 1", whole=False)
    weight = attempts * torch.exp(_log_all_wrong(samples - 2, correct - 1, attempts - 1))
    return _number_if_all_numbers(weight, num_samples, num_correct, k)


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


def _log_all_wrong(num_samples: Tensor, num_correct: Tensor, k: Tensor) -> Tensor:
    """
    log of C(n−c, k) / C(n, k), the probability that k of n rollouts drawn without replacement are all wrong; real k.

    The four log-gammas of this ratio reach 5e5 at n = 50,000 while their sum may be 1e-5, so subtracting them leaves
    a relative error of 1e-6. The bulk cancels on paper instead: with z = n + 1 and

        f(x) = log Γ(z−x) + x log z − x,    the log ratio is    f(c) − f(0) + f(k) − f(c+k),

    and Stirling's formula gives f, up to a constant, from small numbers: (z−x−½) log1p(−x/z) + δ(z−x). What is
    left is an error of about n times the machine epsilon, 1e-11 at n = 50,000.
    """
    z = num_samples + 1
    drawn = torch.stack(torch.broadcast_tensors(num_correct, torch.zeros_like(z), k, num_correct + k))
    rest = torch.where(z > drawn, z - drawn, 1.0)  # 1.0 stands in where the ratio is 0
    f = (rest - 0.5) * torch.log1p(-drawn / z) + _stirling_error(rest)
    ratio = (f[0] - f[1]) + (f[2] - f[3])  # so paired, it is exactly 0 at c = 0 and at k = 0
    # C(n−c, k) is 0 from its first zero in k on, at k = n−c+1; C(·, 0) is 1 whatever stands there
    ratio = torch.where(z > num_correct + k, ratio, -math.inf)
    return torch.where(k == 0, 0.0, ratio)


def _stirling_error(z: Tensor) -> Tensor:
    """δ(z) = log Γ(z) − (z − ½) log z + z − ½ log 2π, for z > 0."""
    direct = torch.lgamma(z) - (z - 0.5) * torch.log(z) + z - 0.5 * math.log(2 * math.pi)
    inverse = 1 / z
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    return torch.where(z < 16, direct, series)  # from 16 on the next term of the series is below 1e-15


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


def _as_float64(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"`{name}` must be real numbers, but got {value!r}.") from None
    if tensor.is_complex():
        raise ValueError(f"`{name}` must be real numbers, but got dtype {tensor.dtype}.")
    return (tensor.cpu() if tensor.is_mps else tensor).double()  # Apple's mps has no float64


def _broadcast(**arguments: Any) -> tuple[Tensor, ...]:
    tensors = [_as_float64(name, value) for name, value in arguments.items()]
    try:
        return torch.broadcast_tensors(*tensors)
    except RuntimeError:
        shapes = ", ".join(f"`{name}` {tuple(t.shape)}" for name, t in zip(arguments, tensors, strict=True))
        raise ValueError(f"Shapes must broadcast, but got {shapes}.") from None


def _require_between(
    name: str, value: Tensor, low: float, high: float | Tensor, high_name: str = "", whole: bool = True
) -> None:
    high = torch.as_tensor(high, dtype=value.dtype, device=value.device).expand_as(value)
    refused = ~((value >= low) & (value <= high) & value.isfinite())
    if whole:
        refused |= value != value.round()
    if not refused.any():
        return
    bound, got = high[refused][0].item(), value[refused][0].item()
    kind = "an integer" if whole else "a number"
    span = f"of at least {low}" if bound == math.inf else f"from {low} to {bound:.15g}"
    raise ValueError(f"`{name}` must be {kind} {span}{f' ({high_name})' if high_name else ''}, but got {got:.15g}.")


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


def _checked_rewards(rewards: Any) -> Tensor:
    values = _as_float64("rewards", rewards)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"`rewards` must have shape [..., n], n at least 1, but got shape {tuple(values.shape)}.")
    infinite = values.isinf()
    if infinite.any():
        got = values[infinite][0].item()
        raise ValueError(f"`rewards` must be finite, or NaN for a rollout that could not be scored, but got {got}.")
    return values


def _in_dtype_of(rewards: Any, advantages: Tensor) -> Tensor:
    if not isinstance(rewards, Tensor):
        return advantages.to(torch.get_default_dtype())
    return advantages.to(rewards.device, rewards.dtype if rewards.is_floating_point() else torch.get_default_dtype())


def _number_if_all_numbers(value: Tensor, *arguments: Any) -> float | Tensor:
    return value.item() if all(isinstance(argument, numbers.Number) for argument in arguments) else value
