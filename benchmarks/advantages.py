"""Times `passk_advantages` for 512 prompts × 64 rollouts at k = 8, on one CPU core, against PKPO's own way.

    python benchmarks/advantages.py

PKPO's estimators are written here as in the paper's listing: one group at a time in Python, with the coefficients
computed again for every group. The claim is that `passk_advantages` is at least 50 times faster. `training_step.py`
prints what share of a training step that is.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch

from passk_trl.estimators import ESTIMATORS, allowed_k, passk_advantages


NUM_PROMPTS, NUM_ROLLOUTS, K = 512, 64, 8
CLAIMED_SPEEDUP = 50


# PKPO (arXiv 2505.15201), one group at a time. Multiplied by n, because passk_advantages leaves the division by n to
# the loss.


def max_probability(i: int, n: int, k: int) -> float:
    """C(i−1, k−1) / C(n, k): the chance that the i-th lowest of n rewards is the maximum of k of them."""
    return k / (n - k + 1) * np.prod(np.arange(i - k + 1, i) / np.arange(n - k + 2, n + 1)) if i >= k else 0.0


def pair_probability(j: int, n: int, k: int) -> float:
    """C(j−2, k−2) / C(n, k): the same for the j-th lowest, together with one given lower reward."""
    if k < 2 or j < k:
        return 0.0
    factors = np.arange(j - k + 1, j - 1) / np.arange(n - k + 2, n)
    return k / (n - k + 1) * (k - 1) / n * np.prod(factors)


def sorted_pkpo_none(rewards: np.ndarray, k: int) -> np.ndarray:
    """s_i, for rewards ascending: the rewards of all k-subsets that hold i, by their maximum, over C(n, k)."""
    n = len(rewards)
    as_maximum = np.array([rewards[i] * max_probability(i + 1, n, k) for i in range(n)])
    as_other = np.array([rewards[j] * pair_probability(j + 1, n, k) for j in range(n)])
    above = np.append(np.cumsum(as_other[::-1])[::-1][1:], 0.0)
    return as_maximum + above


def sorted_baseline(rewards: np.ndarray, k: int) -> np.ndarray:
    """For each rollout, max@k of the others."""
    n = len(rewards)
    probability = np.array([max_probability(i + 1, n - 1, k) for i in range(n - 1)])
    below = np.append(0.0, np.cumsum(rewards[:-1] * probability))
    above = np.append(np.cumsum((rewards[1:] * probability)[::-1])[::-1], 0.0)
    return below + above


def pkpo_none(rewards: np.ndarray, k: int) -> np.ndarray:
    return len(rewards) * sorted_pkpo_none(rewards, k)


def pkpo_loo(rewards: np.ndarray, k: int) -> np.ndarray:
    return len(rewards) * sorted_pkpo_none(rewards, k) - k * sorted_baseline(rewards, k)


def pkpo_loo_minus_one(rewards: np.ndarray, k: int) -> np.ndarray:
    return len(rewards) * sorted_pkpo_none(rewards, k) - k * sorted_baseline(rewards, k - 1)


PKPO = {"none": pkpo_none, "loo": pkpo_loo, "loo_minus_one": pkpo_loo_minus_one}


def group_by_group(rewards_PG: np.ndarray, k: int, estimator: str) -> np.ndarray:
    advantages_PG = np.empty(rewards_PG.shape, dtype=float)
    for rewards_G, advantages_G in zip(rewards_PG, advantages_PG, strict=True):
        order = np.argsort(rewards_G)
        advantages_G[order] = PKPO[estimator](rewards_G[order], k)
    return advantages_PG


# Measurement


def fastest_ms(function: Callable[..., object], *arguments: object, repetitions: int) -> float:
    """The fastest of several calls: the cost when nothing else uses the core."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function(*arguments)
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def reward_sets() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    success_P1 = torch.rand(NUM_PROMPTS, 1, generator=generator)
    draws_PG = torch.rand(NUM_PROMPTS, NUM_ROLLOUTS, generator=generator)
    real_PG = torch.randn(NUM_PROMPTS, NUM_ROLLOUTS, generator=generator)
    return {
        "0/1": (draws_PG < success_P1).float(),
        "real": real_PG,
        "real, 2% NaN": real_PG.masked_fill(draws_PG < 0.02, math.nan),
    }


def check_same_answer(rewards_PG: torch.Tensor) -> None:
    for estimator in PKPO:
        expected = torch.from_numpy(group_by_group(rewards_PG.double().numpy(), K, estimator))
        torch.testing.assert_close(passk_advantages(rewards_PG.double(), K, estimator), expected)


def print_speedup(rewards: dict[str, torch.Tensor], repetitions: int) -> None:
    """One line for every estimator and reward set."""
    print(f"{'estimator':15}{'rewards':14}{'ms per call':>12}{'ms group by group':>19}{'times faster':>14}")
    speedups = []
    for estimator in ESTIMATORS:
        k = K if K in allowed_k(estimator, NUM_ROLLOUTS) else 1
        for name, rewards_PG in rewards.items():
            ms = fastest_ms(passk_advantages, rewards_PG, k, estimator, repetitions=repetitions)
            line = f"{estimator:15}{name:14}{ms:12.2f}"
            if estimator in PKPO and not rewards_PG.isnan().any():
                slow_ms = fastest_ms(group_by_group, rewards_PG.numpy(), K, estimator, repetitions=2)
                speedups.append(slow_ms / ms)
                line += f"{slow_ms:19.0f}{speedups[-1]:14.0f}"
            print(line)
    print(f"at least {min(speedups):.0f} times faster; claimed: {CLAIMED_SPEEDUP}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    print(f"{NUM_PROMPTS} prompts × {NUM_ROLLOUTS} rollouts, k = {K} (1 for grpo), one CPU core, fastest call")
    rewards = reward_sets()
    check_same_answer(rewards["real"])
    print_speedup(rewards, arguments.repetitions)


if __name__ == "__main__":
    main()
