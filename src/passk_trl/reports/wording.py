"""Sentences, numbers and table rows that several reports share: the text, the page and the audit."""

import math
from typing import NamedTuple

from passk_trl.interference import InterferenceReport


ONSET = "onset, the k from which on the measured pass@k gradient works against the pass@1 gradient"
"""What the onset is, as the title of its values."""

NO_NEGATIVE_PROMPT = "No prompt lowers the inner product."

PROMPT_CHARACTERS = 600
"""The text of a prompt is cut to this many characters in a report."""


class CurvePoint(NamedTuple):
    """The conflict at one k: ⟨∇J_k, ∇J_1⟩ with its interval, the cosine with half its interval, its significance."""

    k: float
    inner_product: float
    low: float
    high: float
    cosine: float
    cosine_margin: float
    conflict: bool


def curve_points(report: InterferenceReport) -> list[CurvePoint]:
    """The conflict at each measured k."""
    columns = (
        *(report.ks, report.inner_product, report.inner_product_low, report.inner_product_high),
        *(report.cosine, report.cosine_margin, report.conflict),
    )
    return [CurvePoint(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def onset_sentence(report: InterferenceReport) -> str:
    """Where the measured curve turns negative, whether this is significant or not."""
    if report.onset is None:
        return f"The measured pass@k gradient agrees with pass@1's up to k = {report.ks[-1]:g}."
    if report.onset == 1:
        return "The pass@1 gradient is lost in the noise of this probe; raise num_prompts to see it."
    return f"The measured pass@k gradient works against pass@1's from k = {report.onset:.1f} on."


def sample_size(report: InterferenceReport) -> str:
    """How many prompts and rollouts a report rests on, and the level of its intervals."""
    num_prompts, num_rollouts = len(report.agreement), int(report.num_samples.min())
    return f"{num_prompts} prompts x {num_rollouts} rollouts, {100 * report.confidence:g}% intervals"


def contribution_note(k: float) -> str:
    """How to read the prompts that lower the inner product most."""
    return (
        f"Each prompt adds its weight times its agreement, divided by the number of prompts, to ⟨∇J_k, ∇J_1⟩ at "
        f"k = {k:g}. The most negative prompts come first. Noise alone makes some of them negative."
    )


def prompt_summary(report: InterferenceReport, i: int, k: float) -> str:
    """The success, weight and agreement of prompt i at k."""
    weight, agreement = report.weights[report.at(k), i], report.agreement[i]
    counts = f"{report.num_correct[i]} of {report.num_samples[i]} correct"
    return f"{counts}, weight {weight:.3g} × agreement {agreement:.3g}"


def number_or_dash(value: float | None, form: str) -> str:
    """A formatted number, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else format(value, form)
