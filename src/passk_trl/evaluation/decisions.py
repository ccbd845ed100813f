"""What a band of differences over k says: where there is a gain, where a loss, and from which k on."""

from dataclasses import dataclass
from itertools import groupby

from .bands import Band


__all__ = ["Crossing", "KRange", "loss_crossing", "ranges_of_k", "verdict"]


@dataclass(frozen=True)
class KRange:
    """
    A range of k with one outcome.

    Args:
        outcome (`str`): `"gain"` if the whole band is above 0, `"loss"` if it is below, else `"undecided"`.
        first, last (`int`): its ends, both included.
    """

    outcome: str
    first: int
    last: int


@dataclass(frozen=True)
class Crossing:
    """
    The k at which a curve of differences turns negative, and its confidence set.

    Args:
        k (`int`, *optional*): the smallest k at which the measured curve is negative; `None` if it is at none.
        possible (`list[tuple[int, int]]`): the k that the band allows, as ranges with both ends included.
        possibly_never (`bool`): whether the band allows a curve that is negative at none.
    """

    k: int | None
    possible: list[tuple[int, int]]
    possibly_never: bool


def ranges_of_k(band: Band) -> list[KRange]:
    """The outcome at every k from 1 to the largest, as the fewest ranges. Without a band, all k are undecided."""
    outcomes = ["gain" if low > 0 else "loss" if high < 0 else "undecided" for low, high in _ends(band)]
    return [KRange(outcome, first, last) for outcome, first, last in _runs(outcomes)]


def loss_crossing(band: Band) -> Crossing:
    """
    The smallest k at which the curve is negative, and all k that the band does not exclude.

    A k can be the smallest if the low end of the band is below 0 at k, and its high end is not below 0 at any smaller
    k. Wherever the band holds the whole curve, this set holds the true k, so it does so at least as often as the band.
    """
    ends = _ends(band)
    first_loss = next((k for k, (_, high) in enumerate(ends, start=1) if high < 0), len(ends) + 1)
    allowed = [low < 0 and k <= first_loss for k, (low, _) in enumerate(ends, start=1)]
    return Crossing(
        k=next((k for k, value in enumerate(band.value, start=1) if value < 0), None),
        possible=[(first, last) for is_allowed, first, last in _runs(allowed) if is_allowed],
        possibly_never=first_loss > len(ends),
    )


def verdict(ranges: list[KRange], crossing: Crossing, confidence: float) -> str:
    """The outcome at every k and, if some k are decided and others not, where the loss begins, in words."""
    level = f"{100 * confidence:.10g}%"
    parts = [f"{each.outcome} at {'' if i else 'k = '}{_span(each.first, each.last)}" for i, each in enumerate(ranges)]
    sentence = f"{', '.join(parts)} ({level}, all k at once)."
    if len(ranges) == 1 or not crossing.possible or ranges[0].outcome == "loss":
        return sentence
    largest = ranges[-1].last
    measured = f"the loss begins at k = {crossing.k}" if crossing.k else f"there is no loss up to k = {largest}"
    possible = " or ".join(_span(*each) for each in crossing.possible)
    never = f", or at no k up to {largest}" if crossing.possibly_never else ""
    return f"{sentence} Measured, {measured}; the data allow that it begins at {possible}{never} ({level})."


def _ends(band: Band) -> list[tuple[float, float]]:
    if band.low is None or band.high is None:
        return [(float("-inf"), float("inf"))] * len(band.value)
    return list(zip(band.low, band.high, strict=True))


def _runs(values: list) -> list[tuple]:
    """Each run of equal values, with the first and the last k at which it is."""
    runs = [(value, list(ks)) for value, ks in groupby(range(1, len(values) + 1), key=lambda k: values[k - 1])]
    return [(value, ks[0], ks[-1]) for value, ks in runs]


def _span(first: int, last: int) -> str:
    return f"{first}" if first == last else f"{first} to {last}"
