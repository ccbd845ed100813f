"""Reports of evaluations, made of counts."""

import numpy as np

from passk_trl.evaluation import EvaluationReport
from passk_trl.evaluation.evaluation_report import report_on
from success_counts import N, counts_of, drawn_counts


def report(num_policies: int = 2, num_prompts: int = N, rollouts: tuple[int, int] = (16, 16)) -> EvaluationReport:
    """A policy that solves prompts more often than another but fewer of them, or one alone."""
    rng = np.random.default_rng(0)
    other = rng.beta(0.6, 1.2, size=num_prompts)
    rates = (np.where(np.arange(num_prompts) % 4 == 0, 0.0, np.where(other > 0.1, 0.97, other)), other)
    counts = [counts_of(drawn_counts(rng, each, n), n) for each, n in zip(rates, rollouts, strict=True)]
    about = {"dataset": "some/data", "confidence": 0.95}
    ids = [f"p{i}" for i in range(num_prompts)]
    return report_on(["my/model", "my/other"][:num_policies], about, ids, counts[:num_policies], [], 0.95)
