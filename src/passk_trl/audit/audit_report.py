"""What follows from the measurement of an audit: the conflict over k, the paper's variants of it, and pass@k."""

from dataclasses import dataclass
from typing import Any

import torch

from passk_trl.estimators import pass_at_k
from passk_trl.interference import FilteredConflict, InterferenceReport, conflict_of_filtered, measure_interference
from passk_trl.interference.intervals import FEWEST_PROMPTS
from passk_trl.rollouts.metrics import reported_ks

from .audit import AuditMeasurement


__all__ = ["AuditReport", "diagnose"]


@dataclass(frozen=True)
class AuditReport:
    """
    The measurement of an audit, what was measured, and what follows from it.

    Args:
        measurement ([`~passk_trl.audit.AuditMeasurement`]): success counts and Gram matrix.
        about (`dict[str, Any]`): what was audited and how, JSON-safe: model, dataset, parameters, sampling.
        texts (`list[str]`): the text of each row of the dataset.
        rows (`list[int]`): the row of each in the dataset from which it was drawn.
        truncated (`list[str]`): settings that truncate sampling, such as `"top_p=0.95"`, so that rollouts do not come
            from the policy itself.
        k (`int`): the k at which weights, shift and prompts are shown.
        unbiased ([`InterferenceReport`]): the unbiased estimates for k = 1 … n − 1.
        plugin ([`InterferenceReport`]): the paper's estimates, with plug-in weights and self terms, for k = 1 … n.
        filtered (`list[FilteredConflict]`): the paper's grid of easy and hard prompts, `"plugin"` at k = n.
        filtered_unbiased (`list[FilteredConflict]`): the same with unbiased weights and no self terms, at `k`.
    """

    measurement: AuditMeasurement
    about: dict[str, Any]
    texts: list[str]
    rows: list[int]
    truncated: list[str]
    k: int
    unbiased: InterferenceReport
    plugin: InterferenceReport
    filtered: list[FilteredConflict]
    filtered_unbiased: list[FilteredConflict]

    @property
    def success_histogram(self) -> list[int]:
        """Number of prompts with 0, 1 … n correct rollouts."""
        counts = self.measurement.sample.num_correct
        return torch.bincount(counts, minlength=self.measurement.num_rollouts + 1).tolist()

    @property
    def pass_at_k(self) -> dict[int, float]:
        """Unbiased pass@k of the prompts, by k."""
        n, num_correct = self.measurement.num_rollouts, self.measurement.sample.num_correct
        return {k: torch.as_tensor(pass_at_k(torch.tensor(n), num_correct, k)).mean().item() for k in reported_ks(n)}

    def row(self, i: int) -> int:
        """The row of measured prompt i in the dataset from which it was drawn."""
        return self.rows[self.measurement.prompts[i]]

    def text(self, i: int) -> str:
        """The text of measured prompt i."""
        return self.texts[self.measurement.prompts[i]]


def diagnose(
    measurement: AuditMeasurement,
    about: dict[str, Any],
    texts: list[str],
    rows: list[int],
    truncated: list[str],
    k: int,
    confidence: float,
) -> AuditReport:
    """
    Computes everything that follows from a measurement.

    Args:
        measurement, about, texts, rows, truncated, k:
            As in [`AuditReport`].
        confidence (`float`):
            Level of the intervals.

    Returns:
        [`AuditReport`]

    Raises:
        `ValueError`: if fewer than eight prompts were measured.
    """
    sample, n = measurement.sample, measurement.num_rollouts
    if len(sample.num_correct) < FEWEST_PROMPTS:
        raise ValueError(
            f"only {len(sample.num_correct)} prompts could be measured, too few for an interval; set num_prompts to "
            f"at least {FEWEST_PROMPTS}, better 256, and check that the reward functions can score their rollouts."
        )
    return AuditReport(
        measurement,
        about,
        texts,
        rows,
        truncated,
        k,
        unbiased=measure_interference(**sample.arguments, confidence=confidence),
        plugin=measure_interference(**sample.arguments, ks=range(1, n + 1), confidence=confidence, estimator="plugin"),
        filtered=conflict_of_filtered(sample.gram, sample.num_correct, n, n, "plugin", confidence=confidence),
        filtered_unbiased=conflict_of_filtered(
            sample.gram, sample.num_correct, n, k, "unbiased", confidence=confidence
        ),
    )
