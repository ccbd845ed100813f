"""From which k on pass@k is in conflict with pass@1: where the measured curve turns negative, and how sure that is."""

import math
from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor

from .interference_report import InterferenceReport


def first_negative(curve: Callable[[Tensor], Tensor], largest_k: float) -> float | None:
    """
    The smallest k in [1, largest_k] from which `curve` is negative, to 1e-9; `None` if it is not.

    Looks at 257 points spread evenly in log k, then for the zero between the first negative point and the point before
    it. 1.0 means that the curve is negative at 1 itself.
    """
    grid = torch.linspace(0.0, math.log(largest_k), 257, dtype=torch.float64).exp().clamp(1.0, largest_k)
    negative = curve(grid) < 0
    if not negative.any():
        return None
    first = int(negative.int().argmax())
    if first == 0:
        return 1.0

    def value(k: float) -> float:
        # A curve may stay at 0 for a while before it turns negative: 0 counts as positive.
        return float(curve(torch.tensor([k], dtype=torch.float64))) or math.ulp(0.0)

    before, after = float(grid[first - 1]), float(grid[first])
    # A sum over many k at once is rounded differently from that at one k: a curve that is 0 at an end but for rounding
    # may have the other sign there.
    if value(before) < 0:
        onset = before
    elif value(after) > 0:
        onset = after
    else:
        onset = float(brentq(value, before, after, xtol=1e-12, rtol=1e-12))
    return max(onset, math.nextafter(1.0, 2.0))


def onset_interval(report: InterferenceReport) -> tuple[float | None, float | None]:
    """
    Where the onset of conflict may lie: the k at which the lower end of the interval for ⟨∇J_k, ∇J_1⟩ turns negative,
    and the k at which the upper end does. Between measured k both ends are straight lines.

    In between, the interval holds 0: a confidence set for the crossing of a curve that falls once (Fieller's
    argument). An end that does not turn negative up to the largest k measured gives `None`: (None, None) means that a
    conflict is excluded up to there, (low, None) that the probe cannot tell.
    """
    return _crossing(report.ks, report.inner_product_low), _crossing(report.ks, report.inner_product_high)


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
