"""Which prompts carry the gain and the loss of one policy against another at a k."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from passk_trl.estimators import pass_at_k

from .pass_at_k import Counts


__all__ = ["Contributions", "PromptDifference", "find_contributions"]

PROMPTS_SHOWN = 5
"""How many of the prompts that gain most, and of those that lose most, are shown."""


@dataclass(frozen=True)
class PromptDifference:
    """
    The counts of a prompt under two policies, and its part of their difference.

    Args:
        id (`int` or `str`): the prompt.
        num_correct (`list[int]`): its correct rollouts by policy.
        num_samples (`list[int]`): its rollouts by policy.
        difference (`float`): the estimates of its pass@k, the first policy's minus the second's.
    """

    id: int | str
    num_correct: list[int]
    num_samples: list[int]
    difference: float


@dataclass(frozen=True)
class Contributions:
    """
    The prompts behind the difference of two policies in pass@k. Gain and loss add up to the difference.

    Args:
        k (`int`): attempts.
        gain (`float`): sum of the positive differences over the number of all prompts.
        loss (`float`): sum of the negative differences over the number of all prompts.
        num_gaining, num_losing (`int`): how many prompts have a positive and a negative difference.
        most_gaining, most_losing (`list[PromptDifference]`): those that gain or lose most, the largest first.
    """

    k: int
    gain: float
    loss: float
    num_gaining: int
    num_losing: int
    most_gaining: list[PromptDifference]
    most_losing: list[PromptDifference]


def find_contributions(ids: Sequence[int | str], counts: Sequence[Counts], k: int) -> Contributions:
    """
    Finds the prompts that gain and lose most between two policies.

    Noise alone makes some prompts gain and others lose, and the largest differences are partly luck: a prompt that is
    sampled again gains or loses less.

    Args:
        ids (`Sequence[int | str]`):
            The N prompts.
        counts (`Sequence[tuple[torch.Tensor, torch.Tensor]]`):
            Of the two policies, as in [`evaluate_counts`].
        k (`int`):
            Attempts, at most the fewest rollouts of a prompt.

    Returns:
        [`Contributions`]
    """
    at_k_N, at_1_N = (
        torch.as_tensor(_pass_at(counts[0], attempts) - _pass_at(counts[1], attempts)) for attempts in (k, 1)
    )
    differences, firsts = at_k_N.tolist(), at_1_N.tolist()
    # At a large k many prompts tie at 1 or −1. Of these, those that differ most at k = 1 come first.
    ascending = sorted(range(len(ids)), key=lambda i: (differences[i], firsts[i]))
    losing = [i for i in ascending if differences[i] < 0]
    gaining = [i for i in reversed(ascending) if differences[i] > 0]

    def shown(prompts: list[int]) -> list[PromptDifference]:
        return [
            PromptDifference(
                ids[i], [int(c_N[i]) for c_N, _ in counts], [int(n_N[i]) for _, n_N in counts], differences[i]
            )
            for i in prompts[:PROMPTS_SHOWN]
        ]

    return Contributions(
        k=k,
        gain=float(at_k_N.clamp(min=0).mean()),
        loss=float(at_k_N.clamp(max=0).mean()),
        num_gaining=len(gaining),
        num_losing=len(losing),
        most_gaining=shown(gaining),
        most_losing=shown(losing),
    )


def _pass_at(counts: Counts, k: int) -> torch.Tensor:
    num_correct_N, num_samples_N = counts
    return torch.as_tensor(pass_at_k(num_samples_N, num_correct_N, k))
