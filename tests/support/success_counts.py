"""Success counts of prompts that differ in difficulty, and pass@k of them by its definition."""

import math

import numpy as np
import scipy.special
import torch


N, n = 60, 16


def drawn_counts(rng: np.random.Generator, rates: np.ndarray, num_rollouts: int = n) -> torch.Tensor:
    return torch.from_numpy(rng.binomial(num_rollouts, rates))


def drawn_rates(rng: np.random.Generator, num_prompts: int = N) -> np.ndarray:
    """Mostly hard prompts: the estimates are skewed."""
    return rng.beta(0.5, 1.5, size=num_prompts)


def true_pass_at(k: int) -> float:
    """E[1 − (1−p)^k] of such prompts."""
    return 1 - scipy.special.beta(0.5, 1.5 + k) / scipy.special.beta(0.5, 1.5)


def values(num_correct: torch.Tensor, k: int, num_rollouts: int = n) -> np.ndarray:
    return np.array([1 - math.comb(num_rollouts - c, k) / math.comb(num_rollouts, k) for c in num_correct.tolist()])
