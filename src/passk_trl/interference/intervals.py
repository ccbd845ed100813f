"""Confidence intervals: their quantile, and how many prompts they need."""

from functools import lru_cache

from scipy.stats import t as student


FEWEST_PROMPTS = 8
"""With fewer prompts than this an error bar is too wide to mean anything."""


@lru_cache
def student_t(confidence: float, degrees: int) -> float:
    """The t with P(|T| ≤ t) = confidence, where T has Student's distribution with `degrees` degrees of freedom."""
    return float(student.ppf((1 + confidence) / 2, degrees))
