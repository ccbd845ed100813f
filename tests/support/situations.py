"""Rewards and reports from made-up gradients, and the situation in which a controller decides on them."""

from typing import Any

import torch
from torch import Tensor

from passk_trl.control import Situation
from passk_trl.interference import InterferenceReport, measure_interference


NUM_ROLLOUTS = 16


def report(conflicting: bool, noise: float = 0.01) -> InterferenceReport:
    """24 easy prompts that pull one way, and 24 hard ones that pull against them (`conflicting`) or with them."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.tensor([[1.0, 0.0]] * 24 + [[-0.6 if conflicting else 0.6, 0.1]] * 24)
    gradients = direction + noise * torch.randn(48, 2, generator=generator)
    num_correct = torch.tensor([14] * 24 + [1] * 24)
    return measure_interference(gradients @ gradients.T, num_correct, NUM_ROLLOUTS, range(1, 9))


def line_report(
    num_correct: list[int], gradients: list[float], sampling_weights: list[float] | None = None
) -> InterferenceReport:
    """Prompts whose gradients lie on one line: each is a number."""
    gradient_N = torch.tensor(gradients).double()
    gram_NN = torch.outer(gradient_N, gradient_N)
    return measure_interference(gram_NN, num_correct, NUM_ROLLOUTS, range(1, 9), sampling_weights=sampling_weights)


def situation(rewards_PG: Tensor, reports: list[InterferenceReport] = (), **changes: Any) -> Situation:
    """The start of training for pass@8. Asking for the batch's Gram matrix fails, unless `gram` is given."""

    def no_gram() -> Tensor:
        raise AssertionError("this controller should not ask for the batch's Gram matrix")

    return Situation(
        **{"k": 8, "progress": 0.0, "rewards_PG": rewards_PG, "reports": reports, "gram": no_gram, **changes}
    )


def rewards(num_correct: list[int]) -> Tensor:
    """Rewards of prompts with so many of 16 rollouts right."""
    return torch.tensor([[1.0] * c + [0.0] * (NUM_ROLLOUTS - c) for c in num_correct])
