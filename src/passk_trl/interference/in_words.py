"""What the paper reads off a checkpoint besides the curve over k: easy and hard prompts, and what reweighting shifts.

Pure functions on what [`measure_interference`] takes and returns. Source: Barakat et al. 2026 (arXiv 2602.21189),
section 5 and Proposition 4.1; numbered equations are theirs.
"""

import torch
from torch import Tensor

from .report import InterferenceReport


def onset_interval(report: InterferenceReport) -> tuple[float | None, float | None]:
    """
    Where the onset of conflict may lie: the k at which the lower end of the interval for ⟨∇J_k, ∇J_1⟩ turns negative,
    and the k at which the upper end does, between measured k by straight lines.

    These are the k at which an interval would hold 0, a confidence set for the crossing of a curve that falls once
    (Fieller's argument). `None` where an end does not turn negative up to the largest k measured: (None, None) means
    that a conflict is excluded there, (low, None) that the probe cannot tell.
    """
    return tuple(_crossing(report.ks, end) for end in (report.inner_product_low, report.inner_product_high))  # type: ignore[return-value]


def _crossing(ks_K: Tensor, values_K: Tensor) -> float | None:
    """The first k at which the line through the values is below 0."""
    negative = values_K < 0
    if not negative.any():
        return None
    first = int(torch.argmax(negative.int()))
    if first == 0:
        return float(ks_K[0])
    above, below = float(values_K[first - 1]), float(values_K[first])
    return float(ks_K[first - 1] + (ks_K[first] - ks_K[first - 1]) * above / (above - below))


def verdict(report: InterferenceReport) -> str:
    """One or two sentences: whether, and from which k on, training for pass@k would lower pass@1."""
    level, num_prompts = f"{100 * report.confidence:g}%", len(report.agreement)
    low, high = onset_interval(report)
    if not report.agreement.any():
        return (
            "Nothing can be said: no prompt has both correct and incorrect rollouts, so none has a gradient. Choose "
            "prompts that the policy sometimes solves."
        )
    if report.pass1_norm_squared <= 0:
        return (
            "Nothing can be said: the squared norm of the pass@1 gradient itself is measured negative, so it is lost "
            f"in the noise of {num_prompts} prompts. Probe more of them."
        )
    if low is not None and high is not None:
        return (
            f"From k = {report.onset:.1f} on ({level} interval {low:.1f} to {high:.1f}), training for pass@k would "
            f"lower pass@1. The conflict is significant at k = {_runs(report.conflict_ks)}."
        )
    if report.onset is not None:
        return (
            f"Undecided: from k = {report.onset:.1f} on, training for pass@k is measured to lower pass@1, but at no k "
            f"is the whole {level} interval below 0. Probe more than {num_prompts} prompts."
        )
    clear = int((report.inner_product_low > 0).long().cumprod(0).sum())
    if not clear:
        return f"Undecided: at no k is the whole {level} interval above 0. Probe more than {num_prompts} prompts."
    told = (
        f"No conflict up to k = {report.ks[clear - 1]:g}: training for pass@k would raise pass@1 ({level} intervals)."
    )
    return told if clear == len(report.ks) else f"{told} Beyond it, {num_prompts} prompts cannot tell."


def _runs(ks: tuple[float, ...]) -> str:
    """`(4, 5, 6, 9)` as `"4 to 6, 9"`."""
    runs: list[list[float]] = []
    for k in ks:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    return ", ".join(f"{run[0]:g} to {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs)
