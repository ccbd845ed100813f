"""Advantages of pass@k and pass@1 mixed, each divided by its mean prompt weight, so that shares compare across k."""

import torch
from torch import Tensor

from passk_trl.estimators import pass_at_k, passk_advantages
from passk_trl.rollouts.success import are_binary


# Prompts with a mean weight below this are solved. Dividing by less would amplify noise.
SOLVED = 1e-3


def mixed_advantages(rewards_PG: Tensor, k: int, share: float, mean_weight: float) -> Tensor:
    r"""
    (1 − λ) A^(k)/ω̄ + λ A^(1): the pass@k advantages, divided by their mean prompt weight, mixed with those of pass@1.

    Args:
        rewards_PG (`torch.Tensor`):
            Rewards of P prompts × G rollouts.
        k (`int`):
            Attempts.
        share (`float`):
            λ, from 0 (pass@k) to 1 (pass@1).
        mean_weight (`float`):
            ω̄, the mean of the prompts' pass@k weights. It gives both gradients the same scale. The expected gradient
            is the mixture of ∇J_k and ∇J_1 only if ω̄ was not measured on these rewards. Less than 0.001 counts as
            0.001.

    Returns:
        `torch.Tensor` `(P, G)`.

    Raises:
        `ValueError`: if a reward is neither 0 nor 1; other rewards have no prompt weight.
    """
    check_binary(rewards_PG)
    passk = passk_advantages(rewards_PG, k) / max(SOLVED, mean_weight)
    return (1 - share) * passk + share * passk_advantages(rewards_PG, 1)


def mean_prompt_weight(
    num_samples_P: Tensor, num_correct_P: Tensor, k: int, sampling_weights_P: Tensor | None = None
) -> float:
    """
    Mean of k(1 − p)^(k−1) over prompts, estimated by k(1 − pass@(k−1)).

    The estimate is unbiased for every prompt, also for one that was never solved. ω_k is not: it is made to multiply
    a gradient, and such a prompt has none. Prompts with fewer than k − 1 scored rollouts are left out. The result is
    NaN if none is left.

    Args:
        num_samples_P (`torch.Tensor`), num_correct_P (`torch.Tensor`):
            Scored rollouts of each prompt, and how many of them are right, in int64.
        k (`int`):
            Attempts.
        sampling_weights_P (`torch.Tensor`, *optional*):
            How much each prompt counts; all the same if `None`.
    """
    if k == 1:
        return 1.0
    enough_P = num_samples_P >= k - 1
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
        raise ValueError(
            "rewards are neither 0 nor 1; set success_threshold to the reward from which a rollout counts as correct."
        )
