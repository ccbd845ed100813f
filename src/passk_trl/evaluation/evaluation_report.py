"""What was found of one policy, or of two on the same prompts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from passk_trl.rollouts.metrics import reported_ks

from .contributions import Contributions, find_contributions
from .pass_at_k import Counts, Evaluation, check_ks, evaluate_counts


__all__ = ["EvaluationReport", "report_on"]


@dataclass(frozen=True)
class EvaluationReport:
    """
    What was found of one policy, or of two side by side. `evaluation.json` has these fields.

    Args:
        models (`list[str]`): the checkpoint or the file of counts, and the one it is compared with, if any.
        about (`dict[str, Any]`): what they were evaluated on and how, JSON-safe: the `confidence` of the
            bands; dataset, sampling and verifiers, if the rollouts were sampled here.
        ks (`list[int]`): the k in the tables. The curves have every k.
        overall ([`Evaluation`]): on all prompts.
        contributions (`list[Contributions]`): the prompts that gain and lose most at k = 1 and at the largest k; empty
            if there is one policy.
        prompts (`list[dict]`): of each prompt, its id (for a dataset, its row in the split), its group and, by model,
            its rollouts and the correct ones.
        unscorable (`list[int | str]`): the prompts that are left out because a rollout could not be scored.
        difficulty (`str`, *optional*): what the prompts are grouped by, in words; `None` if they are not.
        by_difficulty (`dict[str, Evaluation]`): on each group, for every k that its rollouts allow.
    """

    models: list[str]
    about: dict[str, Any]
    ks: list[int]
    overall: Evaluation
    contributions: list[Contributions]
    prompts: list[dict[str, Any]]
    unscorable: list[int | str]
    difficulty: str | None = None
    by_difficulty: dict[str, Evaluation] = field(default_factory=dict)


def report_on(
    models: list[str],
    about: dict[str, Any],
    ids: Sequence[int | str],
    counts: Sequence[Counts],
    ks: Sequence[int],
    confidence: float,
    seed: int = 0,
    unscorable: Sequence[int | str] = (),
    difficulty: str | None = None,
    by_difficulty: dict[str, Evaluation] | None = None,
    group_of: Sequence[str] | None = None,
) -> EvaluationReport:
    """
    Evaluates counts on all prompts, and finds the prompts that carry the difference.

    Args:
        models, about, unscorable, difficulty, by_difficulty:
            As in [`EvaluationReport`].
        ids (`Sequence[int | str]`):
            The N prompts.
        counts (`Sequence[tuple[torch.Tensor, torch.Tensor]]`):
            Of each policy, as in [`evaluate_counts`].
        ks (`Sequence[int]`):
            The k in the tables. If empty, 1, 2, 4 … up to the fewest rollouts of a prompt.
        confidence (`float`):
            Level of the bands.
        seed (`int`, *optional*, defaults to `0`):
            Seed of their bootstrap.
        group_of (`Sequence[str]`, *optional*):
            The group of each prompt.

    Returns:
        [`EvaluationReport`]

    Raises:
        `ValueError`: if a k has no estimate from the fewest rollouts of a prompt, or from [`evaluate_counts`].
    """
    overall = evaluate_counts(counts, confidence, seed=seed)
    check_ks(ks, overall.largest_k)
    prompts = [
        {"id": prompt, "num_correct": correct, "num_samples": samples}
        for prompt, correct, samples in zip(
            ids,
            zip(*(num_correct_N.tolist() for num_correct_N, _ in counts), strict=True),
            zip(*(num_samples_N.tolist() for _, num_samples_N in counts), strict=True),
            strict=True,
        )
    ]
    for prompt, group in zip(prompts, group_of or [], strict=False):
        prompt["difficulty"] = group
    ends = sorted({1, overall.largest_k}) if len(counts) == 2 else []
    return EvaluationReport(
        models=models,
        about=about,
        ks=sorted({*ks}) or reported_ks(overall.largest_k),
        overall=overall,
        contributions=[find_contributions(ids, counts, k) for k in ends],
        prompts=prompts,
        unscorable=list(unscorable),
        difficulty=difficulty,
        by_difficulty=by_difficulty or {},
    )
