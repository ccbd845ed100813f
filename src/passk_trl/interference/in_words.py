"""A report in one or two sentences, and its numbers as people read them."""

import math

from .interference_report import InterferenceReport


def verdict(report: InterferenceReport) -> str:
    """One or two sentences: whether training for pass@k would lower pass@1, and from which k on."""
    level, num_prompts = f"{100 * report.confidence:g}%", len(report.agreement)
    low, high = report.onset_interval
    if report.has_no_pairs:
        return f"Nothing can be said: {NO_PAIRS}. Choose prompts that the policy sometimes solves."
    if report.pass1_is_lost:
        return f"{_known_of_lost(report)}{PASS1_IS_LOST} ({num_prompts} prompts). Probe more of them."
    if report.onset is not None and low is not None and high is not None:
        significant = f" The conflict is significant at k = {_runs(report.conflict_ks)}." * bool(report.conflict_ks)
        return (
            f"From k = {report.onset:.1f} on ({level} interval {low:.1f} to {high:.1f}), training for pass@k would "
            f"lower pass@1.{significant}"
        )
    if report.onset is not None:
        return (
            f"Undecided: from k = {report.onset:.1f} on, training for pass@k is measured to lower pass@1, but at no k "
            f"is the whole {level} band below 0. Probe more than {num_prompts} prompts."
        )
    above = report.inner_product - report.band_factor * report.inner_product_se > 0
    num_clear = int(above.long().cumprod(0).sum())
    if not num_clear:
        return f"Undecided: at no k is the whole {level} band above 0. Probe more than {num_prompts} prompts."
    clear_up_to = report.ks[num_clear - 1]
    text = f"No conflict up to k = {clear_up_to:g}: training for pass@k would raise pass@1 ({level}, all k at once)."
    return text if num_clear == len(report.ks) else f"{text} Beyond it, {num_prompts} prompts cannot tell."


NO_PAIRS = "no two prompts with a gradient were measured"
"""What a report says where there is nothing to compare. A prompt has a gradient if it has correct and incorrect
rollouts."""

PASS1_IS_LOST = "pass@1's gradient is lost in the noise"
"""What a report says of a squared norm ‖∇J_1‖² that is measured ≤ 0."""


def _known_of_lost(report: InterferenceReport) -> str:
    if not report.conflict_ks:
        return "Nothing can be said: "
    return f"The conflict is significant at k = {_runs(report.conflict_ks)}. Where it begins cannot be told: "


def known_cosine(cosine: float, low: float, high: float) -> float | None:
    """
    A cosine for a chart, between −1 and 1. `None` if the probe cannot tell it: it or its interval is not finite, or
    the interval excludes no cosine, or all of them.
    """
    finite = all(map(math.isfinite, (cosine, low, high)))
    says_nothing = (low <= -1 and high >= 1) or low > 1 or high < -1
    return min(1.0, max(-1.0, cosine)) if finite and not says_nothing else None


def cosine_in_words(cosine: float, low: float, high: float) -> str:
    """A cosine with its interval for people, such as `0.91 (0.84 to 0.96)`; a dash if the probe cannot tell it."""
    if known_cosine(cosine, low, high) is None:
        return "–"
    beyond = 1 + 1e-9  # not by rounding alone, as at k = 1
    value = "≥ 1" if cosine > beyond else "≤ −1" if cosine < -beyond else f"{cosine:.2f}"
    return f"{value} ({low:.2f} to {high:.2f})"


def _runs(ks: tuple[float, ...]) -> str:
    """`(4, 5, 6, 9)` as `"4 to 6, 9"`."""
    runs: list[list[float]] = []
    for k in ks:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    return ", ".join(f"{run[0]:g} to {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs)
