"""From the success of one checkpoint's rollouts, or of two checkpoints', to the report of their evaluation."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from passk_trl.reports.markdown import code_span

from .difficulty import group_by_label, split_by_success
from .evaluation_report import EvaluationReport, report_on
from .pass_at_k import NO_PROMPT, Counts, evaluate_counts


__all__ = ["Successes", "evaluate_checkpoints"]

Successes = dict[int, list[int] | None]
"""By prompt, the success of its rollouts, 0 or 1; `None` if a rollout could not be scored."""


def evaluate_checkpoints(
    models: list[str],
    successes: Sequence[Successes],
    rows: list[int],
    ks: Sequence[int],
    confidence: float,
    about: dict[str, Any],
    label_column: str | None = None,
    labels: list | None = None,
) -> EvaluationReport:
    """
    Evaluates checkpoints on all prompts whose rollouts could all be scored, and on groups of these prompts.

    Args:
        models (`list[str]`):
            Names of the one or two checkpoints.
        successes (`Sequence[Successes]`):
            The success of each checkpoint's rollouts of N prompts, as many for each prompt.
        rows (`list[int]`):
            Row of each of the N prompts in its split.
        ks (`Sequence[int]`):
            The k in the tables, each at most the number of rollouts.
        confidence (`float`):
            Level of the bands.
        about (`dict[str, Any]`):
            What they were evaluated on and how, for the report.
        label_column (`str`, *optional*):
            Name of the column of `labels`.
        labels (`list`, *optional*):
            Difficulty of each of the N prompts. If `None`, prompts are grouped by how often the first checkpoint
            solves them in the first half of the rollouts, and evaluated on the other half, for k up to its size.

    Returns:
        [`EvaluationReport`]

    Raises:
        `ValueError`: if no prompt's rollouts could all be scored, or from [`evaluate_counts`].
    """
    scored = [i for i in range(len(rows)) if all(success[i] is not None for success in successes)]
    if not scored:
        raise ValueError(NO_PROMPT)
    success_MNG = torch.tensor([[success[i] for i in scored] for success in successes])
    if labels is None:
        difficulty = f"how often {code_span(models[0])} solves them in other rollouts"
        groups, measuring = split_by_success(success_MNG[0])
    else:
        difficulty = code_span(label_column)
        groups, measuring = group_by_label([labels[i] for i in scored]), slice(None)
    by_difficulty = {
        name: evaluate_counts(_counts(success_MNG[:, members, measuring]), confidence)
        for name, members in groups.items()
    }
    group_of = {i: name for name, members in groups.items() for i in members}
    return report_on(
        models,
        {**about, "confidence": confidence},
        [rows[i] for i in scored],
        _counts(success_MNG),
        ks,
        confidence,
        unscorable=[rows[i] for i in sorted({*range(len(rows))} - {*scored})],
        difficulty=difficulty,
        by_difficulty=by_difficulty,
        group_of=[group_of[i] for i in range(len(scored))],
    )


def _counts(success_MNG: Tensor) -> list[Counts]:
    num_rollouts_N = torch.full((success_MNG.size(1),), success_MNG.size(2))
    return [(num_correct_N, num_rollouts_N) for num_correct_N in success_MNG.sum(dim=2)]
