"""Advantages of pass@k and pass@1 mixed, each by its mean prompt weight: a share means the same for every k."""

import torch
from torch import Tensor

from passk_trl.estimators import pass_at_k, passk_advantages
from passk_trl.rollouts.success import are_binary


# A mean prompt weight below this is that of prompts that are solved; dividing by it would blow noise up.
SOLVED = 1e-3


def mixed_advantages(rewards_PG: Tensor, k: int, share: float, mean_weight: float | None = None) -> Tensor:
    r"""
    (1 − λ) A^(k)/ω̄ + λ A^(1): the pass@k advantages, by their mean prompt weight, mixed with those of pass@1.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts.
        k (`int`):
            Attempts.
        share (`float`):
            λ, from 0 (pass@k) to 1 (pass@1).
        mean_weight (`float`, *optional*):
            ω̄, the mean of the prompts' pass@k weights, by which λ compares like with like; the batch's if `None`.

    Returns:
        `torch.Tensor` `(P, G)`.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1, of which there is no prompt weight.
    """
    check_binary(rewards_PG)
    if mean_weight is None:
        scored_P, correct_P = (~rewards_PG.isnan()).sum(dim=1), rewards_PG.nansum(dim=1).long()
        mean_weight = max(SOLVED, mean_prompt_weight(scored_P, correct_P, k))
    passk = passk_advantages(rewards_PG, k) / mean_weight
    return (1 - share) * passk + share * passk_advantages(rewards_PG, 1)


def mean_prompt_weight(
    num_samples_P: Tensor, num_correct_P: Tensor, k: int, sampling_weights_P: Tensor | None = None
) -> float:
    """
    Mean of k(1 − p)^(k−1) over prompts, estimated by k(1 − pass@(k−1)), which is unbiased: also where a prompt was
    never solved, and ω_k, made for what multiplies a gradient, would count what it has not. Prompts with fewer than
    k − 1 scored rollouts are left out; 1 without any.

    Args:
        num_samples_P (`torch.Tensor`), num_correct_P (`torch.Tensor`):
            Scored rollouts of each prompt, and how many of them are right, in int64.
        k (`int`):
            Attempts.
        sampling_weights_P (`torch.Tensor`, *optional*):
            How much each prompt counts; all alike if `None`.
    """
    enough_P = num_samples_P >= k - 1
    if k == 1 or not enough_P.any():
        return 1.0
    counted_P = torch.ones(len(num_samples_P)) if sampling_weights_P is None else sampling_weights_P
    counted_P = counted_P[enough_P].double()
    weights_P = k * (1 - torch.as_tensor(pass_at_k(num_samples_P[enough_P], num_correct_P[enough_P], k - 1)))
    return float(counted_P @ weights_P / counted_P.sum())


def check_binary(rewards_PG: Tensor) -> None:
    """
    Raises:
        `ValueError`: if a reward is neither 0 nor 1.
    """
    if not are_binary(rewards_PG):
        raise ValueError("rewards are neither 0 nor 1; set success_threshold to the one from which a rollout counts.")
