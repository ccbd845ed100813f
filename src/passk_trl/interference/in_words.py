"""A report in one or two sentences."""

from .interference_report import InterferenceReport
from .onset import onset_interval


def verdict(report: InterferenceReport) -> str:
    """One or two sentences: whether training for pass@k would lower pass@1, and from which k on."""
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
    num_clear = int((report.inner_product_low > 0).long().cumprod(0).sum())
    if not num_clear:
        return f"Undecided: at no k is the whole {level} interval above 0. Probe more than {num_prompts} prompts."
    clear_up_to = report.ks[num_clear - 1]
    text = f"No conflict up to k = {clear_up_to:g}: training for pass@k would raise pass@1 ({level} intervals)."
    return text if num_clear == len(report.ks) else f"{text} Beyond it, {num_prompts} prompts cannot tell."


def _runs(ks: tuple[float, ...]) -> str:
    """`(4, 5, 6, 9)` as `"4 to 6, 9"`."""
    runs: list[list[float]] = []
    for k in ks:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    return ", ".join(f"{run[0]:g} to {run[-1]:g}" if len(run) > 1 else f"{run[0]:g}" for run in runs)
