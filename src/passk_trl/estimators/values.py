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

import torch
from torch import Tensor

from .advantages import _whole_k
from .all_wrong import _log_all_wrong
from .arguments import _broadcast, _checked_rewards, _number_if_all_numbers, _require_between
from .groups import _max_probability, _sort_groups


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
