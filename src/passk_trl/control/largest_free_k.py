"""The largest k that does not work against pass@1."""

from passk_trl.interference import InterferenceReport


def largest_free_k(report: InterferenceReport, target: int, significant: bool = True) -> int | None:
    """
    The largest whole k ≤ `target` that was measured and below which, itself included, no measured k is in conflict.

    Args:
        report ([`~passk_trl.interference.InterferenceReport`]):
            What was measured.
        target (`int`):
            The largest k to return.
        significant (`bool`, *optional*, defaults to `True`):
            Whether a conflict counts only where its whole interval is below 0, or as soon as its estimate is.

    Returns:
        `int`, or `None` where the report cannot tell: noise hides pass@1's gradient (‖∇J_1‖² is not measured
        positive), or, if `significant`, the intervals of all k from above 1 to `target` hold 0.
    """
    if target == 1:
        return 1
    if not report.pass1_norm_squared > 0:
        return None
    in_conflict = report.conflict if significant else report.inner_product < 0
    asked = (report.ks > 1) & (report.ks <= target)  # the interval at k = 1 says nothing of a conflict
    if significant and not (in_conflict | (report.inner_product_low > 0))[asked].any():
        return None
    best = 1
    for k, conflicts in zip(report.ks.tolist(), in_conflict.tolist(), strict=True):
        if conflicts or k > target:
            break
        if k == int(k):
            best = int(k)
    return best
