"""Success counts of prompts that differ in difficulty, and pass@k of them by its definition."""

import math

import numpy as np
import torch


N, n = 60, 16


def drawn_counts(rng: np.random.Generator, rates: np.ndarray, num_rollouts: int = n) -> torch.Tensor:
    return torch.from_numpy(rng.binomial(num_rollouts, rates))


def drawn_rates(rng: np.random.Generator, num_prompts: int = N) -> np.ndarray:
    """Mostly hard prompts: the estimates are skewed."""
    return rng.beta(0.5, 1.5, size=num_prompts)


def counts_of(num_correct: torch.Tensor, num_rollouts: int = n) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts as `evaluate_counts` takes them."""
    return num_correct, torch.full_like(num_correct, num_rollouts)


def pass_at_ks(num_correct: torch.Tensor, num_rollouts: int = n) -> torch.Tensor:
    """Each prompt's pass@k for k = 1 … n, `(N, n)`."""
    table = [
        [1 - math.comb(num_rollouts - c, k) / math.comb(num_rollouts, k) for k in range(1, num_rollouts + 1)]
        for c in num_correct.tolist()
    ]
    return torch.tensor(table, dtype=torch.float64)
