"""Unbiased estimates of pass@k and pass^k, from counts, and of max@k, from rewards."""

import math
from typing import Any

import torch
from torch import Tensor

from .all_wrong import log_all_wrong
from .arguments import broadcast, checked_rewards, number_if_all_numbers, require_between, whole_k
from .groups import max_probability, sort_groups


def pass_at_k(num_samples: int | Tensor, num_correct: int | Tensor, k: int | Tensor) -> float | Tensor:
    """
    Unbiased estimate of pass@k, the probability that at least one of `k` rollouts is correct.

    pass@k = 1 − C(n−c, k) / C(n, k): the share of all k-subsets of the n rollouts that contain a correct one.

    Args:
        num_samples (`int` or `torch.Tensor`):
            Rollouts n per prompt.
        num_correct (`int` or `torch.Tensor`):
            How many of them are correct, from 0 to n. The three arguments broadcast.
        k (`int` or `torch.Tensor`):
            Attempts, at least 1.

    Returns:
        `float` if every argument is a plain number, otherwise a float64 `torch.Tensor`. NaN where k is more than n:
        fewer than k rollouts have no unbiased estimate.

    Raises:
        ValueError: If an argument is not a whole number in its range.

    Source: Chen et al. 2021, https://huggingface.co/papers/2107.03374, equation 1.
    """
    samples, correct, attempts = _checked(num_samples, num_correct, k)
    # expm1 keeps every digit of a small pass@k; abs and not minus, because -expm1(0) is -0.0
    value = torch.expm1(log_all_wrong(samples, correct, attempts)).abs()
    return number_if_all_numbers(torch.where(attempts <= samples, value, math.nan), num_samples, num_correct, k)


def pass_hat_k(num_samples: int | Tensor, num_correct: int | Tensor, k: int | Tensor) -> float | Tensor:
    """
    Unbiased estimate of pass^k, the probability that all of `k` rollouts are correct: how reliable a policy is.

    pass^k = C(c, k) / C(n, k): the share of all k-subsets of the n rollouts that contain no wrong one. It falls with
    k where pass@k rises, and both are pass@1 at k = 1.

    Args:
        num_samples, num_correct, k (`int` or `torch.Tensor`):
            As in [`pass_at_k`].

    Returns:
        `float` or `torch.Tensor`, as from [`pass_at_k`]. NaN where k is more than n.

    Raises:
        ValueError: If an argument is not a whole number in its range.

    Source: τ-bench, Yao et al. 2024, https://huggingface.co/papers/2406.12045.
    """
    samples, correct, attempts = _checked(num_samples, num_correct, k)
    # with right and wrong exchanged, all right is all wrong
    value = torch.exp(log_all_wrong(samples, samples - correct, attempts))
    return number_if_all_numbers(torch.where(attempts <= samples, value, math.nan), num_samples, num_correct, k)


def _checked(num_samples: Any, num_correct: Any, k: Any) -> tuple[Tensor, ...]:
    samples, correct, attempts = broadcast(num_samples=num_samples, num_correct=num_correct, k=k)
    require_between("num_samples", samples, 0, math.inf)
    require_between("num_correct", correct, 0, samples, high_name="num_samples")
    require_between("k", attempts, 1, math.inf)
    return samples, correct, attempts


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
    rewards = checked_rewards(rewards)
    k = whole_k(k, range(1, rewards.shape[-1] + 1), rewards.shape[-1])
    group = sort_groups(rewards)
    best = group.lowest + ((group.rewards - group.lowest) * max_probability(group, k)).sum(-1, keepdim=True)
    return torch.where(group.size >= k, best, math.nan).squeeze(-1)
