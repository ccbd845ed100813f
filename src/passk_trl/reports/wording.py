"""Sentences, numbers and table rows that several reports share: the text, the page and the audit."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from passk_trl.interference import NO_PAIRS, PASS1_IS_LOST, InterferenceReport, cosine_in_words, known_cosine
from passk_trl.records import ProbeRecord


ONSET = "onset, the k from which on the measured pass@k gradient works against the pass@1 gradient"
"""What the onset is, as the title of its values."""

ALARM_NOTE = "An alarm stands until later reports show the opposite. One report without an onset does not end it."
"""Why a run can be in conflict at a step whose own report has no onset."""

CURVE_NOTE = (
    "conflict: at this k, the band over all k is below 0. The interval is of this k alone. A dash: it cannot be told."
)
"""How to read a table over k."""

BEYOND_NOTE = "≥ 1 or ≤ −1: through noise, the estimate is larger than a cosine can be. Go by its interval."
"""How to read a cosine that is written as beyond ±1."""

NO_NEGATIVE_PROMPT = "No prompt lowers the inner product."

PROMPT_CHARACTERS = 600
"""The text of a prompt is cut to this many characters in a report."""


class CurvePoint(NamedTuple):
    """The conflict at one k as text: ⟨∇J_k, ∇J_1⟩, its interval, the cosine with its interval, and a dash for what
    cannot be told; and whether it is significant at all k at once."""

    k: float
    inner_product: str
    interval: str
    cosine: str
    conflict: bool


def curve_points(report: InterferenceReport) -> list[CurvePoint]:
    """The conflict at each measured k."""
    columns = (
        *(report.ks, report.inner_product, report.inner_product_low, report.inner_product_high),
        *(report.cosine, report.cosine_low, report.cosine_high),
    )
    rows = torch.stack(columns, dim=1).tolist()
    return [
        CurvePoint(k, *_with_interval(value, low, high), cosine_in_words(*cosine), k in report.conflict_ks)
        for k, value, low, high, *cosine in rows
    ]


def notes_on_cosines(points: Sequence[CurvePoint]) -> list[str]:
    """What a reader of a table over k has to know of its cosines, if one is written as beyond ±1."""
    return [BEYOND_NOTE] if any(point.cosine.startswith(("≥", "≤")) for point in points) else []


def _with_interval(value: float, low: float, high: float) -> tuple[str, str]:
    if not math.isfinite(low + high):
        return "–", "–"
    return f"{value:.3g}", f"{low:.3g} .. {high:.3g}"


def known_cosines(report: InterferenceReport) -> tuple[Tensor, Tensor, Tensor]:
    """For a chart: the cosine of each k, and how far its interval reaches below and above; NaN where it cannot be
    told, so that nothing is drawn there."""
    columns = torch.stack((report.cosine, report.cosine_low, report.cosine_high), dim=1)
    known = [known_cosine(*row) for row in columns.tolist()]
    cosine_K = torch.tensor([math.nan if cosine is None else cosine for cosine in known], dtype=torch.float64)
    return cosine_K, (cosine_K - report.cosine_low).clamp(min=0), (report.cosine_high - cosine_K).clamp(min=0)


def onset_sentence(record: ProbeRecord) -> str:
    """Where the measured curve of the latest report turns negative, whether this is significant or not."""
    report, alone = record.report, "In the latest report alone"
    if record.first_step is not None:  # of a ride, which is an average over a window
        alone = f"{alone}, over the prompts of steps {record.first_step} to {record.step}"
    if report.has_no_pairs:
        return f"{alone}, {NO_PAIRS}, so it tells nothing."
    if report.pass1_is_lost:
        return f"{alone}, {PASS1_IS_LOST}; raise {more_prompts(record)} to see it."
    if report.onset is None:
        agrees = report.ks[report.inner_product > 0].tolist()  # beyond them, no prompt has weight
        if not agrees:
            return f"{alone}, no prompt has weight at a measured k, so it tells nothing."
        told = f"{alone}, the measured pass@k gradient agrees with pass@1's up to k = {agrees[-1]:g}."
        return f"{told}{_doubt_of_agreement(record, agrees[-1])}"
    (low, high), level = report.onset_interval, f"{100 * report.confidence:g}%"
    told = f"{alone}, the measured pass@k gradient works against pass@1's from k = {report.onset:.1f} on"
    if high is not None:
        return f"{told} ({level} interval {low:.1f} to {high:.1f})."
    return (
        f"{told}. This report cannot tell whether it really does: at no k is the whole {level} band below 0. Raise "
        f"{more_prompts(record)} to see it."
    )


def _doubt_of_agreement(record: ProbeRecord, largest_k: float) -> str:
    """Up to which k, without a gap, the intervals exclude that the gradients do not agree; nothing if it is all."""
    report, level = record.report, f"{100 * record.report.confidence:g}%"
    is_sure_K = report.inner_product_low > 0
    sure = report.ks[is_sure_K.long().cumprod(0).bool()].tolist()
    if sure and sure[-1] >= largest_k:
        return ""
    if sure and sure[-1] > 1:  # at k = 1 the two gradients are the same
        return f" The {level} intervals show it up to k = {sure[-1]:g}. Beyond, it may be noise."
    unsure = report.ks[len(sure)]
    return (
        f" This report cannot tell whether it really does: the {level} interval at k = {unsure:g} holds 0. Raise "
        f"{more_prompts(record)} to see it."
    )


def more_prompts(record: ProbeRecord) -> str:
    """The setting that gives a report more prompts."""
    return "num_prompts" if record.first_step is None else "window"


def onset_or_why_not(report: InterferenceReport) -> str:
    """The onset for a table, such as `k = 3.2 (2.6 to 4.1)`; `none`, `lost in noise`, or `no pairs`: no two
    prompts with a gradient."""
    if report.has_no_pairs:
        return "no pairs"
    if report.pass1_is_lost:
        return "lost in noise"
    if report.onset is None:
        return "none"
    low, high = report.onset_interval
    return f"k = {report.onset:.1f} ({low:.1f} to {'?' if high is None else f'{high:.1f}'})"


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
    return "–" if value is None or not math.isfinite(value) else format(value, form)
