"""Pass@k with its uncertainty, of one policy or of two on the same prompts: pure functions of success counts.

The prompts of a benchmark count as drawn at random from the prompts it stands for. A prompt's unbiased estimate of
pass@k is then one draw, of a prompt and its rollouts together. These draws are independent and identically
distributed, however many rollouts each rests on. So it is enough to resample prompts: the spread over prompts contains
what the rollouts add to the uncertainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from passk_trl.estimators import pass_at_k

from .resampling import mean_intervals, sign_flip_p_values


__all__ = [
    "Evaluation",
    "PassAtKDifference",
    "PassAtKEstimate",
    "check_ks",
    "compare",
    "evaluate",
    "evaluate_counts",
]

NO_PROMPT = "there is no prompt to evaluate: give at least one whose rollouts could all be scored."


@dataclass(frozen=True)
class PassAtKEstimate:
    """
    Pass@k of one policy over prompts.

    Args:
        k (`int`): attempts.
        value (`float`): mean of the unbiased estimates.
        low, high (`float`, *optional*): ends of its interval; `None` with fewer than eight prompts.
    """

    k: int
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class PassAtKDifference(PassAtKEstimate):
    """
    Pass@k of one policy minus that of another, on the same prompts.

    Args:
        k, value, low, high: as in [`PassAtKEstimate`], of the difference.
        p_value (`float`): of the two-sided test that the two policies are alike.
    """

    p_value: float


@dataclass(frozen=True)
class Evaluation:
    """
    Pass@k of one policy, or of two and their difference, on one set of prompts.

    Args:
        num_prompts (`int`): number of prompts.
        policies (`list[list[PassAtKEstimate]]`): of each policy, an estimate for each k.
        differences (`list[PassAtKDifference]`): first minus second policy, for each k; empty if there is one policy.
    """

    num_prompts: int
    policies: list[list[PassAtKEstimate]]
    differences: list[PassAtKDifference]


def evaluate_counts(
    num_correct_N: Tensor,
    num_samples_N: Tensor | int,
    ks: Sequence[int],
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PassAtKEstimate]:
    """
    Unbiased pass@k with bootstrap intervals over prompts.

    The intervals are bias-corrected and accelerated (BCa), because pass@k of hard prompts is skewed, which plain
    percentiles would ignore. Where all prompts have the same estimate, for example because all are solved, the
    interval has no width. It then says that these prompts do not differ, not that the value is certain.

    Args:
        num_correct_N (`torch.Tensor`):
            Correct rollouts of each of N prompts.
        num_samples_N (`torch.Tensor` or `int`):
            Rollouts of each.
        ks (`Sequence[int]`):
            Attempts, each at most the fewest rollouts of a prompt.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the intervals.
        num_resamples (`int`, *optional*, defaults to `10_000`):
            Bootstrap samples.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the bootstrap.

    Returns:
        `list[PassAtKEstimate]`: one for each k.

    Raises:
        `ValueError`: if there is no prompt, a k is out of range or `confidence` is not between 0 and 1.

    Sources: Chen et al. 2021 (arXiv 2107.03374), eq. 1; Efron 1987, Better Bootstrap Confidence Intervals.
    """
    values_NK = _pass_at_ks(num_correct_N, num_samples_N, ks)
    means = values_NK.mean(dim=0).tolist()
    intervals = mean_intervals(values_NK, confidence, num_resamples, seed)
    return [PassAtKEstimate(k, mean, *interval) for k, mean, interval in zip(ks, means, intervals, strict=True)]


def compare(
    counts: tuple[Tensor, Tensor | int],
    counts_against: tuple[Tensor, Tensor | int],
    ks: Sequence[int],
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> list[PassAtKDifference]:
    """
    Pass@k of one policy minus that of another, paired on prompts, so that what a prompt gives to both cancels.

    The test flips the sign of each prompt's difference: if the two policies are alike, the rollouts of one might as
    well be those of the other. It takes all 2^N combinations of signs if these are no more than `num_resamples`, and
    else as many at random. The test is exact for two policies that are alike on every prompt. For two policies that
    are only equal in pass@k over all prompts, its error vanishes as prompts are added. Each k has a test of its own:
    of many tests, some are significant by chance.

    Args:
        counts, counts_against (`tuple[torch.Tensor, torch.Tensor | int]`):
            Correct rollouts of each of the N prompts, and rollouts of each; the same prompts in the same order.
        ks, confidence, num_resamples, seed:
            As in [`evaluate_counts`].

    Returns:
        `list[PassAtKDifference]`: one for each k.

    Raises:
        `ValueError`: as from [`evaluate_counts`], or if the two sides have different numbers of prompts.
    """
    if len(counts[0]) != len(counts_against[0]):
        raise ValueError(
            f"{len(counts[0])} prompts cannot be paired with {len(counts_against[0])}: give the same prompts twice."
        )
    differences_NK = _pass_at_ks(*counts, ks) - _pass_at_ks(*counts_against, ks)
    intervals = mean_intervals(differences_NK, confidence, num_resamples, seed)
    p_values = sign_flip_p_values(differences_NK, num_resamples, seed)
    means = differences_NK.mean(dim=0).tolist()
    return [
        PassAtKDifference(k, mean, *interval, p_value)
        for k, mean, interval, p_value in zip(ks, means, intervals, p_values, strict=True)
    ]


def evaluate(successes: Sequence[Tensor], ks: Sequence[int], confidence: float = 0.95, seed: int = 0) -> Evaluation:
    """
    Evaluates the rollouts of one policy, or of two on the same prompts.

    Args:
        successes (`Sequence[torch.Tensor]`):
            One or two tensors of shape `[N, n]`: success of each prompt's rollouts, 0 or 1; n may differ.
        ks, confidence, seed:
            As in [`evaluate_counts`].

    Returns:
        [`Evaluation`]

    Raises:
        `ValueError`: as from [`evaluate_counts`] and [`compare`].
    """
    counts = [(success_NG.sum(dim=1), success_NG.size(1)) for success_NG in successes]
    policies = [evaluate_counts(*of_policy, ks, confidence, seed=seed) for of_policy in counts]
    differences = compare(counts[0], counts[1], ks, confidence, seed=seed) if len(counts) == 2 else []
    return Evaluation(len(successes[0]), policies, differences)


def check_ks(ks: Sequence[int], num_rollouts: int) -> None:
    """Raises `ValueError` for the first k that cannot be estimated from this many rollouts of a prompt."""
    for k in ks:
        if not 1 <= k <= num_rollouts:
            raise ValueError(
                f"pass@{k} has no unbiased estimate from {num_rollouts} rollouts of a prompt: set ks between 1 and "
                f"{num_rollouts}" + (f", or num_rollouts to at least {k}." if k > num_rollouts else ".")
            )


def _pass_at_ks(num_correct_N: Tensor, num_samples_N: Tensor | int, ks: Sequence[int]) -> Tensor:
    """Each prompt's unbiased estimate, `(N, K)`."""
    if not len(num_correct_N):
        raise ValueError(NO_PROMPT)
    check_ks(ks, int(torch.as_tensor(num_samples_N).min()))
    num_samples_N = torch.as_tensor(num_samples_N).expand_as(num_correct_N)
    return torch.as_tensor(pass_at_k(num_samples_N[:, None], num_correct_N[:, None], torch.tensor(ks)))
