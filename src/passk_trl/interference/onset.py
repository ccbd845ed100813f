"""From which k on pass@k is in conflict with pass@1: where the measured curve turns negative, and how sure that is."""

import math
from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor


def grid_with(ks_K: Tensor) -> tuple[Tensor, Tensor]:
    """257 points from 1 to the largest k, spread evenly in log k, together with the k given; and the place of each."""
    largest_k = float(ks_K[-1])
    even_G = torch.linspace(0.0, math.log(largest_k), 257, dtype=torch.float64).exp().clamp(1.0, largest_k)
    grid_G = torch.cat([even_G, ks_K]).unique()
    return grid_G, torch.searchsorted(grid_G, ks_K)


def first_negative(curve: Callable[[Tensor], Tensor], grid_G: Tensor) -> float | None:
    """
    The smallest k from which `curve` is negative on a grid that begins at 1, to 1e-9. `None` if it is not, or if it
    is negative at 1 itself: there it estimates a squared norm, which is then lost in the noise.

    Looks for the zero between the first negative point and the point before it.
    """
    negative_G = curve(grid_G) < 0
    first = int(negative_G.int().argmax())
    if not negative_G.any() or first == 0:
        return None

    def value(k: float) -> float:
        # A curve may stay at 0 for a while before it turns negative: 0 counts as positive.
        return float(curve(torch.tensor([k], dtype=torch.float64))) or math.ulp(0.0)

    before, after = float(grid_G[first - 1]), float(grid_G[first])
    # A sum over many k at once is rounded differently from that at one k: a curve that is 0 at an end but for rounding
    # may have the other sign there.
    if value(before) < 0:
        onset = before
    elif value(after) > 0:
        onset = after
    else:
        onset = float(brentq(value, before, after, xtol=1e-12, rtol=1e-12))
    return max(onset, math.nextafter(1.0, 2.0))


def interval_of_onset(
    grid_G: Tensor, low_G: Tensor, high_G: Tensor, onset: float | None
) -> tuple[float | None, float | None]:
    """
    Where the onset may lie: the k at which the lower end of a band around the curve turns negative, and the k at
    which the upper end does. Between points of the grid both ends are straight lines.

    If the whole true curve is in the band, its onset is in between. An end that does not turn negative gives `None`:
    (None, None) means that a conflict is excluded up to the largest k, (low, None) that the probe cannot tell. A lower
    end of 0 excludes nothing: no prompt has weight there.
    """
    low, high = _crossing(grid_G, low_G, low_G <= 0), _crossing(grid_G, high_G, high_G < 0)
    if onset is None:
        return low, high
    # The onset is more exact than a straight line.
    return min(onset, onset if low is None else low), None if high is None else max(onset, high)


def _crossing(grid_G: Tensor, values_G: Tensor, crossed_G: Tensor) -> float | None:
    """Where the line through the values crosses 0, before the first point at which it has."""
    if not crossed_G.any():
        return None
    first = int(torch.argmax(crossed_G.int()))
    if first == 0:
        return float(grid_G[0])
    above, below = float(values_G[first - 1]), float(values_G[first])
    return float(grid_G[first - 1] + (grid_G[first] - grid_G[first - 1]) * above / (above - below))
