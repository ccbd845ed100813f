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

from .all_wrong import _log_all_wrong
from .arguments import _broadcast, _number_if_all_numbers, _require_between


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
