"""Pass@k and pass^k with their uncertainty, of one policy or of two on the same prompts: pure functions of counts.

The prompts of a benchmark count as drawn at random from the prompts it stands for. A prompt's unbiased estimate of
pass@k is then one draw, of a prompt and its rollouts together. These draws are independent and identically
distributed, however many rollouts each rests on. So it is enough to resample prompts: the spread over prompts contains
what the rollouts add to the uncertainty.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from passk_trl.estimators import pass_at_k, pass_hat_k

from .bands import Band, simultaneous_band
from .decisions import Crossing, KRange, loss_crossing, ranges_of_k


__all__ = ["Curves", "Evaluation", "check_ks", "evaluate_counts"]

NO_PROMPT = "there is no prompt to evaluate: give at least one whose rollouts could all be scored."

Counts = tuple[Tensor, Tensor]
"""Correct rollouts of each of N prompts, and rollouts of each."""


@dataclass(frozen=True)
class Curves:
    """
    Pass@k or pass^k over k = 1, 2 … K, of one policy or of two and their difference.

    Args:
        policies (`list[Band]`): the curve of each policy.
        difference ([`Band`], *optional*): that of the first policy minus that of the second; `None` if there is one.
        ranges (`list[KRange]`): where the first policy gains and where it loses; empty if there is one.
        crossing ([`Crossing`], *optional*): where the first policy begins to lose; `None` if there is one.
    """

    policies: list[Band]
    difference: Band | None
    ranges: list[KRange]
    crossing: Crossing | None


@dataclass(frozen=True)
class Evaluation:
    """
    Pass@k and pass^k of one policy, or of two, on one set of prompts, for k from 1 to the fewest rollouts of a prompt.

    Args:
        num_prompts (`int`): number of prompts.
        pass_at_k ([`Curves`]): at least one of k rollouts is correct.
        pass_hat_k ([`Curves`]): all of k rollouts are correct.
    """

    num_prompts: int
    pass_at_k: Curves
    pass_hat_k: Curves

    @property
    def largest_k(self) -> int:
        """The fewest rollouts of a prompt."""
        return len(self.pass_at_k.policies[0].value)


def evaluate_counts(
    counts: Sequence[Counts], confidence: float = 0.95, num_resamples: int = 10_000, seed: int = 0
) -> Evaluation:
    """
    Unbiased pass@k and pass^k with bands that hold for all k at once, of one policy, or of two on the same prompts.

    The difference of two policies is paired on prompts, so that what a prompt gives to both cancels. Each curve has a
    band of its own ([`simultaneous_band`]): the level is that of one curve, not of all of them together.

    Args:
        counts (`Sequence[tuple[torch.Tensor, torch.Tensor]]`):
            Of each policy, the correct rollouts of each of N prompts and the rollouts of each. The same prompts in the
            same order. The number of rollouts may differ by prompt and by policy.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the bands.
        num_resamples (`int`, *optional*, defaults to `10_000`):
            Bootstrap samples.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the bootstrap.

    Returns:
        [`Evaluation`]

    Raises:
        `ValueError`: if there is no prompt, the policies have different numbers of prompts, a prompt has no rollout,
        or `confidence` is not between 0 and 1.

    Sources: Chen et al. 2021 (arXiv 2107.03374), eq. 1; Yao et al. 2024 (arXiv 2406.12045).
    """
    num_prompts = [len(num_correct_N) for num_correct_N, _ in counts]
    if not num_prompts[0]:
        raise ValueError(NO_PROMPT)
    if len({*num_prompts}) > 1:
        raise ValueError(
            f"{num_prompts[0]} prompts cannot be paired with {num_prompts[1]}: give the same prompts twice."
        )
    fewest = min(int(num_samples_N.min()) for _, num_samples_N in counts)
    if not fewest:
        raise ValueError("a prompt has no rollout: leave it out, or sample it.")
    ks = torch.arange(1, fewest + 1)

    def curves(measure: Callable) -> Curves:
        values = [torch.as_tensor(measure(n_N[:, None], c_N[:, None], ks)) for c_N, n_N in counts]
        policies = [simultaneous_band(values_NK, (0, 1), confidence, num_resamples, seed) for values_NK in values]
        if len(values) == 1:
            return Curves(policies, None, [], None)
        difference = simultaneous_band(values[0] - values[1], (-1, 1), confidence, num_resamples, seed)
        return Curves(policies, difference, ranges_of_k(difference), loss_crossing(difference))

    return Evaluation(num_prompts[0], curves(pass_at_k), curves(pass_hat_k))


def check_ks(ks: Sequence[int], num_rollouts: int) -> None:
    """Raises `ValueError` for the first k that cannot be estimated from this many rollouts of a prompt."""
    for k in ks:
        if not 1 <= k <= num_rollouts:
            raise ValueError(
                f"pass@{k} has no unbiased estimate from {num_rollouts} rollouts of a prompt: set ks between 1 and "
                f"{num_rollouts}" + (f", or sample at least {k} of each (num_rollouts)." if k > num_rollouts else ".")
            )
