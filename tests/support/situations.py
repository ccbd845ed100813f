"""Made-up gradients, for controllers to decide on."""

import torch
from torch import Tensor

from passk_trl.control import Situation
from passk_trl.interference import InterferenceReport, measure_interference


NUM_ROLLOUTS = 16


def report(conflicting: bool, noise: float = 0.01) -> InterferenceReport:
    """Of 24 easy prompts that pull one way, and of 24 hard ones that pull against them, or with them."""
    generator = torch.Generator().manual_seed(0)
    direction = torch.tensor([[1.0, 0.0]] * 24 + [[-0.6 if conflicting else 0.6, 0.1]] * 24)
    gradients = direction + noise * torch.randn(48, 2, generator=generator)
    num_correct = torch.tensor([14] * 24 + [1] * 24)
    return measure_interference(gradients @ gradients.T, num_correct, NUM_ROLLOUTS, range(1, 9))


def situation(rewards_PG: Tensor, reports: list[InterferenceReport] = (), **changes) -> Situation:
    def no_gram() -> Tensor:
        raise AssertionError("nobody should pay for a Gram matrix here")

    return Situation(
        **{"k": 8, "progress": 0.0, "rewards_PG": rewards_PG, "reports": reports, "gram": no_gram, **changes}
    )


def rewards(num_correct: list[int]) -> Tensor:
    return torch.tensor([[1.0] * c + [0.0] * (NUM_ROLLOUTS - c) for c in num_correct])
