"""The weight that pass@k gives to a prompt: from its success probability, or estimated from its rollouts."""

import math

import torch
from torch import Tensor

from .all_wrong import log_all_wrong
from .arguments import broadcast, number_if_all_numbers, require_between


def prompt_weight(p: float | Tensor, k: float | Tensor) -> float | Tensor:
    """
    Weight w_k(p) = k (1−p)^(k−1) that pass@k gives to a prompt of success probability `p`.

    It is the derivative of pass@k in p: ∇J_k = E_x[w_k(p(x)) ∇p(x)].

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
    probability, attempts = broadcast(p=p, k=k)
    require_between("p", probability, 0, 1, whole=False)
    require_between("k", attempts, 1, math.inf, whole=False)
    weight = attempts * torch.exp(torch.special.xlog1py(attempts - 1, -probability))
    return number_if_all_numbers(weight, p, k)


def unbiased_prompt_weight(num_samples: int | Tensor, num_correct: int | Tensor, k: float | Tensor) -> float | Tensor:
    """
    Weight ω_k(n, c) = k C(n−1−c, k−1) / C(n−2, k−1) that turns a prompt's pass@1 gradient into its pass@k gradient.

    g = 1/(n−1) Σ_j (r_j − r̄) ∇log π(y_j|x) is unbiased for ∇p(x), and ω_k(n, c) g is unbiased for ∇pass@k(x). The
    advantages `loo` give this same gradient.

    Real k is allowed. For c ≥ 1 the gamma functions reduce to ω_k = k Π_{i=1}^{c−1} (n−k−i)/(n−1−i), a polynomial in k
    that is positive up to its first zero at k = n−c+1 and crosses zero at every integer after it. The weight is that
    polynomial up to the first zero and 0 from there on: continuous in k, never negative, exact at every integer. The
    only jump is at c = n, where the weight is 1 at k = 1 and 0 above, as w_k(1) is; the gradient that it multiplies is
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
    samples, correct, attempts = broadcast(num_samples=num_samples, num_correct=num_correct, k=k)
    require_between("num_samples", samples, 2, math.inf)
    require_between("num_correct", correct, 0, samples, high_name="num_samples")
    require_between("k", attempts, 1, samples - 1, high_name="num_samples - 1", whole=False)
    weight = attempts * torch.exp(log_all_wrong(samples - 2, correct - 1, attempts - 1))
    return number_if_all_numbers(weight, num_samples, num_correct, k)
